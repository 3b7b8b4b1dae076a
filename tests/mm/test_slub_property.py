"""The ground under SLUB's pictures: replay equals live, objects never overlap, counts are right, memory comes back.

Random requests of several CPUs and nodes; and for each primitive, that a change which is not said is seen.
"""
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mmviz as mv
from mmviz.kernel import GFP_ATOMIC, GFP_KERNEL, GFP_NOWAIT
from mmviz.mm import slub
from mmviz.mm.slab_common import SLAB_RECLAIM_ACCOUNT, SLAB_TYPESAFE_BY_RCU
from mmviz.mm.slab_state import SLAB_PRIMITIVES, slab, write_object
from mmviz.mm.slub_page import rcu_free_slab
from mmviz.mm.slub_partial import flush_all
from mmviz.recording import Recording, record

THISNODE, ZERO = mv.__GFP_THISNODE, mv.__GFP_ZERO
at_run_time = slub.__kmalloc_node  # a class body would mangle its name
SIZES = [8, 64, 96, 500, 1024, 2000, 4096, 8192, 9000]
MASKS = [GFP_KERNEL, GFP_NOWAIT, GFP_ATOMIC, GFP_NOWAIT | THISNODE, GFP_KERNEL | ZERO,
         GFP_KERNEL | mv.__GFP_RECLAIMABLE, GFP_NOWAIT | mv.__GFP_DMA]


def small(cpus=(0,), **config):
    return mv.boot([("DMA", 0x100, 0x300), ("DMA32", 0x1000, 0x500)], cpus=cpus, batch=3, high=6, grouping=True,
                   config=mv.Config(**config))


MACHINES = {
    "one CPU": small,
    "three CPUs": lambda: small(cpus=(0, 0, 0)),
    "two nodes": lambda: mv.boot([("DMA32", 0x1000, 0x400, 0), ("DMA32", 0x1400, 0x400, 1)], cpus=(0, 1), batch=3,
                                 high=6, grouping=True),
    "no cpu partial": lambda: small(cpus=(0, 0), slub_cpu_partial=False),
    "random and hardened": lambda: small(cpus=(0, 0), slab_freelist_random=True, slab_freelist_hardened=True),
    "UMA": lambda: small(cpus=(0, 0), numa=False),
}


# ---------------------------------------------------------------- what holds in every state


def free_objects(page):
    """The free objects of a slab, those of the CPU's list included; a list must be well formed."""
    lists = [list(page.walk(page.freelist))]
    lists += [list(page.walk(c.freelist)) for c in page.slab_cache.cpu_slab if c.page is page]
    free = [each for objects in lists for each in objects]
    assert len(set(free)) == len(free) and set(free) <= set(page.addresses())
    for objects in lists:
        assert not objects or page.freepointer[objects[-1]] == 0, "a list must end with 0"
    return free, len(lists[0])


def check_slab(page):
    free, on_page = free_objects(page)
    assert page.live == set(page.addresses()) - set(free)
    assert page.inuse == page.objects - on_page
    size = page.slab_cache.size
    assert page.start % 4096 == 0 and page.start + page.objects * size <= page.start + (4096 << page.order)
    if page.frozen is False and page.freelist:
        assert page.inuse == len(page.live), "inuse counts the live objects of a slab that is no CPU's"


def check_place(cache, page, waiting):
    """A slab is in one place, and frozen says in which kind of place."""
    at_cpus = sum(c.page is page for c in cache.cpu_slab) + sum(c.partial.count(page.pfn) for c in cache.cpu_slab)
    at_nodes = [nid for nid, node in enumerate(cache.node) for pfn in node.partial if pfn == page.pfn]
    assert at_cpus + len(at_nodes) <= 1 and page.frozen == (at_cpus == 1)
    assert not at_nodes or (at_nodes == [page.nid] and page.freelist)
    if not at_cpus and not at_nodes and page.pfn not in waiting:
        assert page.inuse == page.objects and not page.freelist, "a slab on no list is full"


def check_cpu_partial(part, cache):
    for c in cache.cpu_slab:
        pages = [part.pages[pfn] for pfn in c.partial]
        assert [page.pages for page in pages] == list(range(len(pages), 0, -1))
        assert all(a.pobjects > b.pobjects for a, b in pairwise(pages))


def check_slabs(machine):
    part = slab(machine)
    for name, cache in part.caches.items():
        for page in part.slabs(name):
            check_slab(page)
            check_place(cache, page, part.rcu)
        check_cpu_partial(part, cache)
        for c in cache.cpu_slab:
            assert c.page is None or part.pages[c.page.pfn] is c.page
        assert all(node.nr_partial == len(set(node.partial)) for node in cache.node)


def pages_in_hand(machine):
    return sum(1 << order for zone in machine.zones() for order in zone.allocated.values())


class Requests(RuleBasedStateMachine):
    """Anything may be asked of SLUB; what it says rebuilds what it did."""

    @initialize(name=st.sampled_from(sorted(MACHINES)), flags=st.sampled_from([0, SLAB_TYPESAFE_BY_RCU,
                                                                               SLAB_RECLAIM_ACCOUNT]))
    def boot(self, name, flags):
        self.machine = MACHINES[name]()
        mv.kmem_cache_create(self.machine, "own", 700, flags=flags, ctor=flags == 0)
        self.held, self.owned = {}, []
        self.recording = Recording(self.machine.copy(), self.machine)
        self.listening = self.machine.trace.listen(self.recording)
        self.listening.__enter__()

    def keep(self, addr, size):
        if addr:
            end = addr + mv.ksize(self.machine, addr)
            assert all(end <= other or addr >= other_end for other, other_end in self.held.items()), "objects overlap"
            assert addr + size <= end
            self.held[addr] = end

    @rule(size=st.sampled_from(SIZES), gfp=st.sampled_from(MASKS), count=st.integers(1, 12), node=st.integers(-1, 1))
    def kmalloc(self, size, gfp, count, node):
        nid = min(node, len(self.machine.node) - 1)
        for number in range(count):
            ask = mv.kmalloc_node if number % 2 else at_run_time
            self.keep(ask(self.machine, size, gfp, nid), size)

    @rule(count=st.integers(1, 12))
    def kmem_cache_alloc(self, count):
        for _ in range(count):
            addr = mv.kmem_cache_alloc(self.machine, "own", GFP_NOWAIT)
            if addr:
                assert addr not in self.owned
                self.owned.append(addr)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), count=st.integers(1, 20))
    def kfree(self, data, count):
        for _ in range(min(count, len(self.held))):
            addr = data.draw(st.sampled_from(sorted(self.held)))
            del self.held[addr]
            mv.kfree(self.machine, addr)

    @precondition(lambda self: self.owned)
    @rule(count=st.integers(1, 20), last=st.booleans())
    def kmem_cache_free(self, count, last):
        for _ in range(min(count, len(self.owned))):
            mv.kmem_cache_free(self.machine, "own", self.owned.pop(-1 if last else 0))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), step=st.integers(1, 7))
    def free_what_is_not_held(self, data, step):
        addr = data.draw(st.sampled_from(sorted(self.held))) + step
        before = self.machine.copy()
        with pytest.raises(mv.KernelBug):
            mv.kfree(self.machine, addr)
        assert self.machine == before

    @rule(cpu=st.integers(0, 2))
    def move(self, cpu):
        mv.set_current(self.machine, min(cpu, len(self.machine.cpu_to_node) - 1))

    @rule(cache=st.sampled_from(["own", "kmalloc-64", "kmalloc-4k"]))
    def shrink(self, cache):
        mv.kmem_cache_shrink(self.machine, cache)
        assert all(page.live for page in slab(self.machine).slabs(cache) if page.pfn not in slab(self.machine).rcu)

    @rule()
    def let_grace_periods_pass(self):
        for pfn in slab(self.machine).rcu[:]:
            rcu_free_slab(self.machine, pfn)

    @invariant()
    def slabs_are_whole(self):
        if hasattr(self, "machine"):
            check_slabs(self.machine)

    def teardown(self):
        if not hasattr(self, "machine"):
            return
        for addr in self.held:
            mv.kfree(self.machine, addr)
        for addr in self.owned:
            mv.kmem_cache_free(self.machine, "own", addr)
        for name in slab(self.machine).caches:
            mv.kmem_cache_shrink(self.machine, name)
        self.let_grace_periods_pass()
        assert slab(self.machine).pages == {} and pages_in_hand(self.machine) == 0
        self.listening.__exit__(None, None, None)
        self.recording.close()
        assert self.recording.at(len(self.recording)) == self.machine


Requests.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None,
                                      suppress_health_check=list(HealthCheck))
TestRequests = Requests.TestCase


# ---------------------------------------------------------------- keeping


def busy_machine():
    machine = MACHINES["random and hardened"]()
    for cpu, size in ((0, 64), (1, 64), (0, 2000), (1, 8192)):
        mv.set_current(machine, cpu)
        for addr in [mv.kmalloc(machine, size, GFP_KERNEL) for _ in range(70 if size == 64 else 9)][::2]:
            mv.kfree(machine, addr)
    mv.kmem_cache_create(machine, "own", 700, flags=SLAB_TYPESAFE_BY_RCU)
    mv.kmem_cache_create(machine, "dentry", 192)
    mv.kmem_cache_create(machine, "vma", 192)
    mv.kmem_cache_free(machine, "own", mv.kmem_cache_alloc(machine, "own", GFP_KERNEL))
    mv.kmem_cache_shrink(machine, "own")
    return machine


def test_a_copy_and_a_saved_machine_are_equal_and_apart(tmp_path):
    machine = busy_machine()
    machine.save(tmp_path / "m.gz")
    for twin in (machine.copy(), mv.Machine.load(tmp_path / "m.gz")):
        assert twin == machine
        check_slabs(twin)
        assert slab(twin).kmalloc_caches[0][6] is slab(twin).caches["kmalloc-64"]
        assert slab(twin).cache("vma") is slab(twin).cache("dentry")
        [mv.kfree(twin, mv.kmalloc(twin, size, GFP_KERNEL)) for size in SIZES]
        assert twin != machine and machine == busy_machine()


def test_what_a_reader_needs():
    machine = busy_machine()
    pages = slab(machine).slabs("kmalloc-64")
    assert [page.name for page in pages] == [hex(page.pfn) for page in pages]
    with record(machine) as rec:
        mv.kmalloc(machine, 64, GFP_KERNEL)
    [call] = rec.calls()[0].calls()
    assert ("s", "kmalloc-64") in call.args and ("size", 64) in call.args


def test_a_recording_is_kept_in_a_file(tmp_path):
    with record(mv.toy(4)) as rec:
        for addr in [mv.kmalloc(rec.live, 1000, GFP_KERNEL) for _ in range(10)]:
            mv.kfree(rec.live, addr)
    rec.save(tmp_path / "rec.gz")
    loaded = Recording.load(tmp_path / "rec.gz", mv.Machine.from_dict)
    assert loaded.at(len(loaded)) == rec.live and loaded.steps == rec.steps


# ---------------------------------------------------------------- a change that is not said is seen


def everything_once(machine):
    """Requests that use every primitive."""
    mv.kmem_cache_create(machine, "dentry", 192, flags=SLAB_TYPESAFE_BY_RCU)
    mv.kmem_cache_create(machine, "inode", 600)
    mv.kmem_cache_create(machine, "inode too", 600)
    objects = [mv.kmalloc(machine, 4096, GFP_KERNEL | ZERO) for _ in range(33)]
    mv.set_current(machine, 1)
    for addr in objects[::7]:
        mv.kfree(machine, addr)
    mv.set_current(machine, 0)
    mv.kfree(machine, objects[-2] if objects[-2] not in objects[::7] else objects[-3])
    flush_all(machine, slab(machine).cache("kmalloc-4k"))
    mv.kfree(machine, objects[1])
    mv.kmalloc(machine, 4096, GFP_KERNEL)
    for _ in range(2):
        mv.kmem_cache_free(machine, "dentry", mv.kmem_cache_alloc(machine, "dentry", GFP_KERNEL))
        mv.kmem_cache_shrink(machine, "dentry")
    rcu_free_slab(machine, slab(machine).rcu[0])
    mv.kfree(machine, mv.kmalloc(machine, 96, GFP_KERNEL))
    mv.kmem_cache_shrink(machine, "kmalloc-96")
    addr = mv.kmalloc(machine, 512, GFP_KERNEL)
    write_object(machine, slab(machine).page_of(addr, machine.config.page_offset).pfn, addr, 0x4141)


def fresh():
    return mv.boot([("DMA32", 0x1000, 0x2000)], cpus=(0, 0), config=mv.Config(slab_freelist_random=True))


@pytest.fixture(scope="module")
def told():
    with mv.record(fresh()) as recording:
        everything_once(recording.live)
    return recording


@pytest.mark.parametrize("kind", SLAB_PRIMITIVES, ids=lambda kind: kind.__name__)
def test_a_change_that_is_not_said_is_seen(kind, told, shows):
    assert shows(told, kind)


def test_with_every_event_it_is_rebuilt_and_each_step_can_be_kept():
    with record(fresh()) as rec:
        everything_once(rec.live)
    assert rec.at(len(rec)) == rec.live
    for number, state in enumerate(rec.states()):
        if number % 7 == 0:
            assert mv.Machine.from_dict(state.copy().to_dict()) == state


def test_a_step_in_the_middle_of_a_discard_can_be_kept():
    machine = fresh()
    objects = [mv.kmalloc(machine, 4096, GFP_KERNEL) for _ in range(80)]
    for addr in objects:
        mv.kfree(machine, addr)
    with record(machine) as rec:
        mv.kmem_cache_shrink(machine, "kmalloc-4k")
    assert all(state.copy() == state for state in rec.states())
