"""The ground under every picture: whatever is asked of a machine, its recording rebuilds it, list order included.

Random requests, good ones and bad ones, to all kinds of small machines; and for each primitive, that a change which is
not said is seen: the property would fail.
"""
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mmviz as mv
from mmviz.kernel import (
    ALLOC_KSWAPD,
    GFP_ATOMIC,
    GFP_DMA32,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_NOWAIT,
    MAX_ORDER,
    NR_FREE_CMA_PAGES,
    NR_FREE_PAGES,
    PF_MEMALLOC,
    PF_MEMALLOC_NOCMA,
    PF_MEMALLOC_NOIO,
)
from mmviz.kernel import MIGRATE_MOVABLE as M
from mmviz.kernel import MIGRATE_RECLAIMABLE as R
from mmviz.kernel import MIGRATE_UNMOVABLE as U
from mmviz.mm import events as ev
from mmviz.mm.fallback import get_pageblock_migratetype, reserve_highatomic_pageblock, unreserve_highatomic_pageblock
from mmviz.mm.freelist import AllocContext
from mmviz.mm.machine import MACHINE_PRIMITIVES
from mmviz.mm.page_free import drain_zone_pages, page_zone, refresh_cpu_vm_stats
from mmviz.mm.rmqueue import __rmqueue
from mmviz.mm.vmscan import balance_pgdat_begin, balance_pgdat_end
from mmviz.mm.watermark import __setup_per_zone_wmarks
from mmviz.mm.zone import (
    PRIMITIVES,
    add_to_free_area,
    del_page_from_free_area,
    page_ref_add,
    set_page_lru,
    set_pageblock_migratetype,
)
from mmviz.recording import record

# Python mangles names with two underscores in a class body, so they are given others here.
free_block, make_marks = mv.__free_pages, __setup_per_zone_wmarks
COMP, ZERO, THISNODE = mv.__GFP_COMP, mv.__GFP_ZERO, mv.__GFP_THISNODE
RECLAIMABLE, MOVABLE, MEMALLOC, HIGHMEM = mv.__GFP_RECLAIMABLE, mv.__GFP_MOVABLE, mv.__GFP_MEMALLOC, mv.__GFP_HIGHMEM

MASKS = [GFP_KERNEL, GFP_NOWAIT, GFP_ATOMIC, GFP_HIGHUSER_MOVABLE, GFP_KERNEL | RECLAIMABLE, GFP_NOWAIT | GFP_DMA32,
         GFP_ATOMIC | COMP | ZERO, GFP_NOWAIT | THISNODE, GFP_NOWAIT | MEMALLOC, GFP_NOWAIT | MOVABLE]


# ---------------------------------------------------------------- machines


def with_typed_blocks(migratetype, start=0x1000, order=10):
    """A machine of 32 MiB whose block at `start` is CMA or isolated, all of it free."""
    machine = mv.boot([("DMA32", 0x1000, 0x2000)], batch=3, high=6, grouping=True)
    zone = machine.zone("DMA32")
    others = []
    while next(zone.free_list(10, M)) != 0x1000:
        others.append(next(zone.free_list(10, M)))
        del_page_from_free_area(zone, others[-1], 10, M)
    del_page_from_free_area(zone, 0x1000, 10, M)
    for pfn in range(0x1000, 0x1400, 1 << order):
        typed = migratetype if pfn == start else M
        for block in range(pfn, pfn + (1 << order), 512):
            set_pageblock_migratetype(zone, block, typed)
        add_to_free_area(zone, pfn, order, typed)
    for pfn in reversed(others):
        add_to_free_area(zone, pfn, 10, M)
    return machine


def with_cma():
    machine = with_typed_blocks(machine_types()["CMA"])
    machine.zone("DMA32").vm_stat[NR_FREE_CMA_PAGES] += 1024
    return machine


def with_isolated():
    machine = with_typed_blocks(machine_types()["Isolate"], start=0x1200, order=9)
    machine.zone("DMA32").vm_stat[NR_FREE_PAGES] -= 512
    return machine


def machine_types():
    return {name: number for number, name in enumerate(mv.Config().migrate_names)}


MACHINES = {
    "toy(4)": lambda: mv.toy(4),
    "toy(64)": lambda: mv.toy(64),
    "a crowded zone": lambda: mv.toy(4, batch=3, high=9, grouping=True),
    "duo": mv.duo,
    "zones": mv.zones_toy,
    "two CPUs": lambda: mv.boot([("DMA32", 0x1000, 0x800)], cpus=(0, 0), batch=2, high=5, grouping=True),
    "CMA": with_cma,
    "an isolated pageblock": with_isolated,
    "guard pages": lambda: mv.boot([("DMA32", 0x1000, 0x800)], batch=3, high=6, grouping=True,
                                   config=mv.Config(debug_guardpage_minorder=2)),
    "odd borders": lambda: mv.boot([("DMA", 1, 0x3FF), ("DMA32", 0x1003, 0x7F7)], batch=1, high=4, grouping=True),
    "i386": lambda: mv.boot([("Normal", 0x1000, 0x800), ("HighMem", 0x1800, 0x800)], config=mv.kernel.I386),
}


# ---------------------------------------------------------------- what holds in every state


def places(zone):
    """Every place where a page can be: (first pfn, pages)."""
    for order, area in enumerate(zone.free_area):
        for migratetype in range(len(area.free_list)):
            yield from ((pfn, 1 << order) for pfn in zone.free_list(order, migratetype))
    for pcp in zone.pageset:
        yield from ((pfn, 1) for pages in pcp.lists for pfn in pages)
    for blocks in (zone.allocated, zone.guard):
        yield from ((pfn, 1 << order) for pfn, order in blocks.items())


def check_every_page_is_once(zone):
    expected = zone.zone_start_pfn
    for pfn, pages in sorted(places(zone)):
        assert pfn == expected, f"{zone.label}: page {min(pfn, expected):#x} is nowhere, or twice"
        expected += pages
    assert expected == zone.end_pfn


def check_counts(zone):
    for order, area in enumerate(zone.free_area):
        assert area.nr_free == sum(zone.nr_listed(order, migratetype) for migratetype in range(len(area.free_list)))
        assert zone.nr_listed(order, M) == len(list(zone.free_list(order, M)))
    for pcp in zone.pageset:
        assert pcp.count == sum(map(len, pcp.lists))


def pages_listed(zone, migratetype):
    return 0 if migratetype is None else sum(zone.nr_listed(order, migratetype) << order for order in range(MAX_ORDER))


def check_counters(zone):
    """The counter, with what the CPUs have not told it yet, is what is on the lists; isolated pages do not count."""
    config = zone.machine.config
    exact = [counter + sum(pcp.vm_stat_diff[item] for pcp in zone.pageset) for item, counter in enumerate(zone.vm_stat)]
    assert exact[NR_FREE_PAGES] == zone.nr_pages_on_lists() - pages_listed(zone, config.migrate_isolate)
    assert exact[NR_FREE_CMA_PAGES] == pages_listed(zone, config.migrate_cma)
    for pcp in zone.pageset:
        assert all(-pcp.stat_threshold <= diff <= pcp.stat_threshold for diff in pcp.vm_stat_diff)


def check_buddies_have_merged(zone):
    """No block is free beside its free buddy; but from pageblock_order on, an isolated one stays apart."""
    isolate, pageblock_order = zone.machine.config.migrate_isolate, zone.machine.config.pageblock_order
    free = {pfn: order for pfn, (order, _) in zone.buddy.items()} | dict.fromkeys(zone.untouched, MAX_ORDER - 1)
    blocks = free | zone.guard
    for pfn, order in free.items():
        buddy = pfn ^ (1 << order)
        if order < MAX_ORDER - 1 and blocks.get(buddy) == order:
            types = [get_pageblock_migratetype(zone, block) == isolate for block in (pfn, buddy)]
            assert order >= pageblock_order and types[0] != types[1], f"{pfn:#x} and {buddy:#x} are free, order {order}"


# ---------------------------------------------------------------- random requests


class Requests(RuleBasedStateMachine):
    """A machine, its recording, and what we hold of it: pfn -> order."""

    @initialize(name=st.sampled_from(sorted(MACHINES)))
    def boot(self, name):
        self.machine = MACHINES[name]()
        self.held = {}
        self.open = ExitStack()
        self.recording = self.open.enter_context(record(self.machine))

    def teardown(self):
        if hasattr(self, "open"):
            self.open.close()

    def ask_for(self, gfp_mask, order, nid):
        pfn = mv.alloc_pages_node(self.machine, nid % (len(self.machine.node) + 1) - 1, gfp_mask, order)
        if pfn is not None:
            assert pfn % (1 << order) == 0 and pfn not in self.held
            self.held[pfn] = order
        return pfn

    def pick(self, number):
        return sorted(self.held)[number % len(self.held)]

    # -- good requests

    @rule(gfp_mask=st.sampled_from(MASKS), order=st.integers(0, MAX_ORDER - 1), nid=st.integers(0, 2))
    def ask(self, gfp_mask, order, nid):
        self.ask_for(gfp_mask, order, nid)

    @rule(gfp_mask=st.sampled_from(MASKS), order=st.integers(0, 4), count=st.integers(2, 300))
    def ask_again_and_again(self, gfp_mask, order, count):
        while count and self.ask_for(gfp_mask, order, 0) is not None:
            count -= 1

    @rule(pages=st.integers(1, 40), gfp_mask=st.sampled_from([GFP_KERNEL, GFP_ATOMIC]))
    def ask_for_bytes(self, pages, gfp_mask):
        addr = mv.alloc_pages_exact(self.machine, pages * 4096, gfp_mask)
        first = (addr - self.machine.config.page_offset) >> 12
        self.held.update((first + page, 0) for page in range(pages) if addr)

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 10000))
    def give_back(self, number):
        pfn = self.pick(number)
        free_block(self.machine, pfn, self.held.pop(pfn))

    @precondition(lambda self: self.held)
    @rule(step=st.integers(2, 5), first=st.integers(0, 4))
    def give_every_nth_back(self, step, first):
        for pfn in sorted(self.held)[first::step]:
            free_block(self.machine, pfn, self.held.pop(pfn))

    @rule(count=st.integers(0, 40))
    def give_a_list_back(self, count):
        pages = [pfn for pfn, order in self.held.items() if order == 0][:count]
        mv.free_unref_page_list(self.machine, pages)
        for pfn in pages:
            del self.held[pfn]

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 10000))
    def hold_twice_and_drop_once(self, number):
        pfn = self.pick(number)
        page_ref_add(page_zone(self.machine, pfn), pfn, 1)
        free_block(self.machine, pfn, self.held[pfn])

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 10000))
    def put_on_the_lru(self, number):
        pfn = self.pick(number)
        set_page_lru(page_zone(self.machine, pfn), pfn)

    @rule(cpu=st.integers(0, 1))
    def drain(self, cpu):
        mv.drain_pages(self.machine, cpu % len(self.machine.cpu_to_node))

    @rule()
    def drain_all(self):
        mv.drain_all_pages(self.machine)

    @rule(cpu=st.integers(0, 1))
    def vmstat_worker(self, cpu):
        for zone in self.machine.zones():
            drain_zone_pages(zone, cpu % len(self.machine.cpu_to_node))
        refresh_cpu_vm_stats(self.machine, cpu % len(self.machine.cpu_to_node))

    @rule(cpu=st.integers(0, 1), flags=st.sampled_from([0, 0, PF_MEMALLOC, PF_MEMALLOC_NOIO, PF_MEMALLOC_NOCMA]),
          in_interrupt=st.integers(0, 1), rt_task=st.integers(0, 1), oom_victim=st.integers(0, 1))
    def another_task_runs(self, cpu, **task):
        mv.set_current(self.machine, cpu % len(self.machine.cpu_to_node), **task)

    @rule(function=st.sampled_from([balance_pgdat_begin, balance_pgdat_end]))
    def kswapd(self, function):
        for node in self.machine.node:
            function(node)

    @rule(min_free_kbytes=st.integers(0, 512))
    def new_marks(self, min_free_kbytes):
        make_marks(self.machine, min_free_kbytes)

    @rule(migratetype=st.sampled_from([U, M, R]), force=st.booleans())
    def give_the_highatomic_reserve_back(self, migratetype, force):
        ac = AllocContext()
        ac.zonelist, ac.nodemask, ac.migratetype = self.machine.node[0].node_zonelists[0], None, migratetype
        ac.high_zoneidx = len(self.machine.config.zone_names) - 1
        unreserve_highatomic_pageblock(ac, force)

    # -- bad requests leave everything as it was

    @contextmanager
    def refused(self, *errors):
        before, steps = self.machine.copy(), len(self.recording)
        with pytest.raises(errors):
            yield
        assert self.machine == before
        assert all(step.event.decision for step in self.recording.steps[steps:])

    @rule(gfp_mask=st.sampled_from([GFP_DMA32 | HIGHMEM, MOVABLE | RECLAIMABLE, 1 << 24, -1]))
    def flags_that_clash(self, gfp_mask):
        with self.refused(ValueError):
            mv.alloc_pages(self.machine, gfp_mask, 0)

    @rule(order=st.sampled_from([-1, 1.0, "1", None, True]), nid=st.integers(0, 1))
    def no_order(self, order, nid):
        with self.refused(ValueError):
            mv.alloc_pages(self.machine, GFP_KERNEL, order)

    @rule(order=st.integers(MAX_ORDER, 100))
    def an_order_too_large_is_a_null(self, order):
        before = self.machine.copy()
        assert mv.alloc_pages(self.machine, GFP_KERNEL, order) is None
        assert self.machine == before

    @rule(nid=st.sampled_from([-2, 7]))
    def no_node(self, nid):
        with self.refused(ValueError):
            mv.alloc_pages_node(self.machine, nid, GFP_KERNEL, 0)

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 10000), order=st.integers(-1, MAX_ORDER))
    def free_with_a_wrong_order(self, number, order):
        pfn = self.pick(number)
        if order != self.held[pfn]:
            with self.refused(mv.KernelBug, ValueError):
                free_block(self.machine, pfn, order)

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 10000), tail=st.integers(1, 1023))
    def free_a_part_of_a_block(self, number, tail):
        pfn = self.pick(number)
        tail %= 1 << self.held[pfn]
        if tail:
            with self.refused(mv.KernelBug):
                free_block(self.machine, pfn + tail, 0)

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 10000))
    def free_twice(self, number):
        pfn = self.pick(number)
        order = self.held.pop(pfn)
        free_block(self.machine, pfn, order)
        with self.refused(mv.KernelBug):
            free_block(self.machine, pfn, order)

    @rule(number=st.integers(0, 10000))
    def free_what_is_free(self, number):
        free = sorted(place for zone in self.machine.zones() for place in places(zone) if place[0] not in self.held)
        if free:
            with self.refused(mv.KernelBug):
                free_block(self.machine, free[number % len(free)][0], 0)

    @rule(pfn=st.sampled_from([-1, 0, 1 << 40]))
    def free_outside(self, pfn):
        with self.refused(ValueError):
            free_block(self.machine, pfn, 0)

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 10000))
    def free_no_whole_number(self, number):
        pfn = self.pick(number)
        order = self.held[pfn]
        for wrong_pfn, wrong_order in ((float(pfn), order), (pfn, float(order)), (str(pfn), order), (pfn, None)):
            with self.refused(ValueError, TypeError):
                free_block(self.machine, wrong_pfn, wrong_order)

    @rule()
    def a_list_with_a_page_twice(self):
        pages = [pfn for pfn, order in self.held.items() if order == 0][:3]
        if pages:
            with self.refused(mv.KernelBug):
                mv.free_unref_page_list(self.machine, [*pages, pages[0]])
            with self.refused(ValueError):
                mv.free_unref_page_list(self.machine, [*pages, -1])

    @rule(cpu=st.sampled_from([-1, 2]))
    def no_cpu(self, cpu):
        with self.refused(ValueError):
            mv.set_current(self.machine, cpu)

    # -- what always holds

    @invariant()
    def the_recording_rebuilds_the_machine(self):
        assert self.recording.at(len(self.recording)) == self.machine

    @invariant()
    def what_we_hold_is_allocated(self):
        assert {pfn: order for zone in self.machine.zones() for pfn, order in zone.allocated.items()} == self.held

    @invariant()
    def all_is_in_order(self):
        for zone in self.machine.zones():
            check_every_page_is_once(zone)
            check_counts(zone)
            check_counters(zone)
            check_buddies_have_merged(zone)


Requests.TestCase.settings = settings(max_examples=70, stateful_step_count=30, deadline=None,
                                      suppress_health_check=list(HealthCheck))
TestRequests = Requests.TestCase


# ---------------------------------------------------------------- a change that is not said is seen


def everything_once(machine):
    """Operations that use every primitive; after each, the recording must rebuild the machine."""
    zone = machine.zone("DMA32")

    def take(gfp_mask, *orders):
        return [mv.alloc_pages(machine, gfp_mask, order) for order in orders]

    pairs = take(GFP_HIGHUSER_MOVABLE, 1, 1, 1, 1)
    yield
    for pfn in (pairs[2], pairs[3], pairs[0]):  # the last one waits at the tail: 0 and 1 would merge with 2 and 3
        mv.__free_pages(machine, pfn, 1)
        yield
    [page] = take(GFP_HIGHUSER_MOVABLE, 0)
    yield
    set_page_lru(zone, page)
    yield
    page_ref_add(zone, page, 1)
    yield
    mv.__free_pages(machine, page, 0)
    yield
    mv.__free_pages(machine, page, 0)
    yield
    mv.drain_all_pages(machine)
    yield
    take(GFP_HIGHUSER_MOVABLE | mv.__GFP_COMP, 2)
    yield
    mv.alloc_pages_exact(machine, 3 * 4096, GFP_HIGHUSER_MOVABLE)
    yield
    take(GFP_HIGHUSER_MOVABLE, 10, 9)
    yield
    __rmqueue(zone, 0, U, ALLOC_KSWAPD)  # a theft below pageblock_order: it boosts the marks
    yield
    take(GFP_KERNEL, 1)
    yield
    balance_pgdat_begin(machine.node[0])
    yield
    balance_pgdat_end(machine.node[0])
    yield
    reserve_highatomic_pageblock(zone, pairs[1])
    yield
    __setup_per_zone_wmarks(machine, 128)
    yield
    mv.set_current(machine, 1, flags=PF_MEMALLOC)
    yield
    refresh_cpu_vm_stats(machine, 0)
    yield
    mv.set_mempolicy(machine, mv.MPOL_BIND, [0])
    yield
    mv.set_il_prev(machine, 1)
    yield


def small():
    return mv.boot([("DMA32", 0x1000, 0x800)], cpus=(0, 0), batch=3, high=6, grouping=True, watermarks=(0, 0, 99),
                   config=mv.Config(debug_guardpage_minorder=1))


def test_a_recording_of_everything_is_the_machine():
    with mv.record(small()) as recording:
        for _ in everything_once(recording.live):
            assert recording.at(len(recording)) == recording.live


TASK_PRIMITIVES = [kind for kind in MACHINE_PRIMITIVES if kind.__module__ == ev.__name__]


@pytest.fixture(scope="module")
def told():
    with mv.record(small()) as recording:
        for _ in everything_once(recording.live):
            pass
    return recording


@pytest.mark.parametrize("kind", [*PRIMITIVES, *TASK_PRIMITIVES], ids=lambda kind: kind.__name__)
def test_a_change_that_is_not_said_is_seen(kind, told, shows):
    assert shows(told, kind)


def test_every_change_is_made_by_a_primitive(leaves):
    changes = {kind for kind in leaves(ev) if not kind.decision}
    assert changes == {*PRIMITIVES, *TASK_PRIMITIVES}
