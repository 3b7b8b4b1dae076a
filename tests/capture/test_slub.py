"""SLUB of a real kernel: every object, every page, every list; what a wrong rule would show; what a bad file says."""
import random
import re

import pytest

import mmviz as mv
from mmviz.capture.replay import as_inner
from mmviz.capture.slub import replay_slub
from mmviz.capture.slub_rows import ObjectOperation, Request, load_slub, schedule_objects
from mmviz.capture.slub_snapshot import parse_slub, slab_differences
from mmviz.kernel import GFP_KERNEL
from mmviz.mm import events, slub, slub_free, slub_page, slub_partial
from mmviz.mm import slab_events as ev
from mmviz.mm.slab_common import SLAB_TYPESAFE_BY_RCU
from mmviz.mm.slab_state import slab
from mmviz.mm.slub_page import rcu_free_slab

S1, S2, S4 = "m512slub/S1_own_cache_256", "m512slub/S2_own_cache_40", "m512slub/S4_shell_system_caches"
N4 = "m512numa/N4_kmalloc_node"
LINES = {
    S1: ["mmcap-256 allocs=2065 exact=2065 final=identical", "mmcap-256 allocs=0 exact=0 final=identical"],
    S2: ["mmcap-40 allocs=3160 exact=3160 final=identical", "mmcap-40 allocs=0 exact=0 final=identical"],
    S4: ["kmalloc-64 allocs=0 exact=0 final=identical", "kmalloc-192 allocs=8 exact=8 final=identical",
         "kmalloc-1k allocs=16 exact=16 final=identical", "dentry allocs=1116 exact=1116 final=identical",
         "vm_area_struct allocs=216 exact=216 final=identical", "anon_vma allocs=88 exact=88 final=identical"],
    N4: ["kmalloc-128 allocs=8 exact=8 final=identical"],
}


def scores(path):
    return [score for capture in load_slub(path) for score in replay_slub(capture)]


@pytest.mark.parametrize("name", LINES)
def test_every_object_and_every_list_is_exact(capture_path, name):
    found = scores(capture_path(f"{name}.snaps.gz"))
    assert [str(score).partition(" kind=slub cache=")[2] for score in found] == LINES[name]
    assert all(score.perfect for score in found)


def test_the_command_prints_a_line_a_cache(command, capture_path):
    status, out, _ = command("replay", "--verbose", capture_path(f"{S1}.snaps.gz"))
    lines = out.splitlines()
    assert status == 0 and len(lines) == 4
    assert [line.split()[1] for line in lines] == ["kind=page_alloc"] * 2 + ["kind=slub"] * 2
    assert lines[2] == ("S1_own_cache_256.snaps.gz:slub_before-slub_mid kind=slub cache=mmcap-256 allocs=2065 "
                        "exact=2065 final=identical")


def test_pages_of_slabs_are_predicted_inside_the_requests(capture_path):
    [capture] = load_slub(capture_path(f"{S4}.snaps.gz"))
    operations = schedule_objects(capture, capture.machine())
    new = [each for each in operations if isinstance(each, ObjectOperation) and each.pages]
    assert len(new) == 15 and {each.cache for each in new} == {"dentry"}
    assert all(each.pages[0].row[0] == "a" for each in new)
    first, _ = load_slub(capture_path(f"{S1}.snaps.gz"))
    kinds = [page.row[0] for each in schedule_objects(first, first.machine())
             if isinstance(each, ObjectOperation) for page in each.pages]
    assert kinds.count("a") - kinds.count("f") == 14 and kinds.count("f") > 0


def test_a_capture_without_caches_has_none(capture_path):
    assert load_slub(capture_path("m512/W0_idle.snaps.gz")) == []
    assert load_slub(capture_path("m512_W1_shell.json.gz")) == []


# ---------------------------------------------------------------- the simulator's own trace


class OwnCapture:
    """What the simulator says while it works, in the form of a trace: it must replay itself."""

    name = "own"

    def __init__(self, start, work):
        self.start, self.live, self.rows, self.nid = start.copy(), start, [], 0
        self.before = dict.fromkeys(slab(start).caches)
        with start.trace.listen(self.keep):
            work(start)
        self.after = {name: {"slabs": [(page.start, page.objects) for page in slab(start).slabs(name)]}
                      for name in self.before}

    def keep(self, event):
        cpu = self.live.current.cpu
        if isinstance(event, events.RequestPrepared):
            self.nid = event.nid
        elif isinstance(event, events.MmPageAlloc):
            self.rows.append(["a", cpu, event.pfn if event.pfn >= 0 else None, event.order, event.migratetype,
                              event.gfp_mask, self.nid])
        elif isinstance(event, events.MmPageFree):
            self.rows.append(["f", cpu, event.pfn, event.order])
        elif isinstance(event, (events.MmPageAllocZoneLocked, events.MmPagePcpuDrain, events.MmPageAllocExtfrag)):
            self.rows.append(as_inner(event, cpu))
        elif isinstance(event, (ev.Kfree, ev.KmemCacheFree)):
            self.rows.append(["o", cpu, Request(event.tracepoint.removeprefix("kmem:"), cpu, event.ptr)])
        elif isinstance(event, ev.Allocated):
            self.rows.append(["o", cpu, Request(event.tracepoint.removeprefix("kmem:"), cpu, event.ptr, event.bytes_req,
                                                event.bytes_alloc, event.gfp_mask, getattr(event, "node", -1),
                                                f"site of {event.bytes_req}")])

    def machine(self):
        return self.start.copy()

    def truth(self):
        return self.live


def random_work(seed):
    """Some hundred requests of several caches, CPUs and nodes; grace periods end now and then."""
    dice = random.Random(seed)

    def work(machine):
        held = []
        for _ in range(700):
            if dice.random() < 0.1:
                mv.set_current(machine, dice.randrange(len(machine.cpu_to_node)))
            what = dice.random()
            if what < 0.05 and slab(machine).rcu:
                rcu_free_slab(machine, dice.choice(slab(machine).rcu))
            elif held and what < (0.3 if len(held) < 150 else 0.7):
                give_back, cache, addr = held.pop(dice.randrange(len(held)))
                give_back(machine, *cache, addr)
            elif what < 0.75:
                size = dice.choice((64, 600, 2048, 4096, 10_000))
                node = dice.choice((-1, -1, *range(len(machine.node))))
                held.append((mv.kfree, (), mv.kmalloc_node(machine, size, GFP_KERNEL, node)))
            else:
                cache = dice.choice(("inode", "seen by others"))
                held.append((mv.kmem_cache_free, (cache,), mv.kmem_cache_alloc(machine, cache, GFP_KERNEL)))
    return work


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cpus", [(0,), (0, 1)])
def test_the_simulators_own_trace_replays_exactly(seed, cpus):
    machine = mv.boot([("DMA32", 0x1000, 0x2000, nid) if not nid else ("DMA32", 0x3000, 0x2000, nid)
                       for nid in sorted(set(cpus))], cpus=cpus)
    mv.kmem_cache_create(machine, "inode", 1000, ctor=True)
    mv.kmem_cache_create(machine, "seen by others", 7000, flags=SLAB_TYPESAFE_BY_RCU)
    for name in ("inode", "seen by others"):  # so that the lines that ask are known
        mv.kmem_cache_alloc(machine, name, GFP_KERNEL)
    for cache in slab(machine).caches.values():  # the fewer are kept, the more slabs go back
        cache.min_partial = 1
    capture = OwnCapture(machine, random_work(seed))
    found = replay_slub(capture)
    assert [score for score in found if not score.perfect] == []
    assert sum(score.allocs for score in found) > 200


def test_a_slab_that_waited_before_the_first_snapshot():
    machine = mv.toy(64)
    name = "seen by others"
    mv.kmem_cache_create(machine, name, 700, flags=SLAB_TYPESAFE_BY_RCU)
    mv.kmem_cache_free(machine, name, mv.kmem_cache_alloc(machine, name, GFP_KERNEL))
    mv.kmem_cache_shrink(machine, name)
    [pfn] = slab(machine).rcu

    def work(machine):
        rcu_free_slab(machine, pfn)
        mv.kmalloc(machine, 64, GFP_KERNEL)

    capture = OwnCapture(machine, work)
    part = slab(capture.start)  # a snapshot shows such a slab as one that is on no list
    part.rcu, part.pages[pfn].inuse, part.pages[pfn].freelist = [], part.pages[pfn].objects, 0
    assert all(score.perfect for score in replay_slub(capture))


@pytest.mark.parametrize(("sites", "known"), [("ABBBBBBB", True), ("BAAAAAAA", True), ("BBBBBBBB", False),
                                              ("CBBBBBBA", True), ("BCCCCCCC", False)])
def test_a_slab_is_known_by_any_line_that_took_of_it(sites, known):
    """Line A took an object of the slab that the first snapshot has; no snapshot has the new slab."""
    machine = mv.toy(64)
    mv.kmem_cache_create(machine, "inode", 1000, ctor=True)
    name, size = "inode", slab(machine).cache("inode").oo.objects
    held = [mv.kmem_cache_alloc(machine, name, GFP_KERNEL) for _ in range(size - 1)]

    def work(machine):
        for _ in range(9):
            mv.kmem_cache_alloc(machine, name, GFP_KERNEL)

    capture = OwnCapture(machine, work)
    asked = [row for row in capture.rows if row[0] == "o"]
    for row, site in zip(asked, ["A", *sites], strict=True):
        row[2] = row[2]._replace(site=site)
    capture.after[name] = {"slabs": []}
    operations = schedule_objects(capture, capture.machine())
    ours = [each for each in operations if isinstance(each, ObjectOperation)]
    assert len(held) > 5 and len(ours) == (9 if known else 1)
    assert [len(each.pages) for each in ours] == [0, 1, *[0] * 7][:len(ours)]


# ---------------------------------------------------------------- interrupts


def alloc_behind_a_free(machine, first, second):
    """The task took its object; before it said so, an interrupt freed another one."""
    mv.kmem_cache_alloc(machine, "inode", GFP_KERNEL)
    mv.kmem_cache_free(machine, "inode", first)
    return [1, 0]


def free_behind_an_alloc(machine, first, second):
    """The task gave its object back; before it said so, an interrupt took it."""
    mv.kmem_cache_free(machine, "inode", first)
    mv.kmem_cache_alloc(machine, "inode", GFP_KERNEL)
    mv.kmem_cache_free(machine, "inode", second)
    return [1, 2, 0]


def kfree_before_what_was_first(machine, first, second):
    """The task said that it frees; before it did, an interrupt freed another one."""
    mv.kmem_cache_free(machine, "inode", second)
    mv.kfree(machine, first)
    return [1, 0]


def free_behind_a_free(machine, first, second):
    """The task gave its object back; before it said so, an interrupt did too: it shows when both are taken again."""
    mv.kmem_cache_free(machine, "inode", first)
    mv.kmem_cache_free(machine, "inode", second)
    return [1, 0]


@pytest.mark.parametrize("work", [alloc_behind_a_free, free_behind_an_alloc, kfree_before_what_was_first,
                                  free_behind_a_free])
@pytest.mark.parametrize("interrupt", [True, False])
def test_an_interrupt_between_a_request_and_its_line(work, interrupt):
    machine = mv.toy(64)
    mv.kmem_cache_create(machine, "inode", 1000, ctor=True)
    first, second, *_ = [mv.kmem_cache_alloc(machine, "inode", GFP_KERNEL) for _ in range(5)]
    order = []

    def run(machine):
        order.extend(work(machine, first, second))
        mv.kmalloc(machine, 64, GFP_KERNEL)
        for _ in range(3):  # where the order shows
            mv.kmem_cache_alloc(machine, "inode", GFP_KERNEL)

    capture = OwnCapture(machine, run)
    task = order.index(0) if work is not kfree_before_what_was_first else 0
    asked = [capture.rows[each] for each in order]
    for place, row in enumerate(asked):
        asked[place] = [*row[:2], row[2]._replace(interrupt=interrupt and place != task)]
    capture.rows[:len(asked)] = asked
    [score] = [each for each in replay_slub(capture) if each.cache == "inode"]
    assert score.perfect is interrupt
    assert score.exact == score.allocs if interrupt else score.exact < score.allocs


def test_a_miss_behind_an_interrupt_stays_a_miss():
    machine = mv.toy(64)
    mv.kmem_cache_create(machine, "inode", 1000, ctor=True)
    first, second = [mv.kmem_cache_alloc(machine, "inode", GFP_KERNEL) for _ in range(2)]

    def work(machine):
        mv.kmem_cache_free(machine, "inode", first)
        mv.kmem_cache_alloc(machine, "inode", GFP_KERNEL)

    capture = OwnCapture(machine, work)
    capture.rows[0][2] = capture.rows[0][2]._replace(interrupt=True)
    capture.rows[1][2] = capture.rows[1][2]._replace(ptr=second + 2 * (second - first))
    [score] = [each for each in replay_slub(capture) if each.cache == "inode"]
    [miss] = score.misses
    assert (miss.number, miss.predicted) == (1, hex(first)) and list(score.lines()) == [
        f"event 1, {miss.what}: predicted {hex(first)}, truth {miss.truth}"]


def test_an_empty_slab_on_a_list_does_not_wait():
    """It is freed in the trace and nobody's object was of it, but it was on a CPU's list in the first snapshot."""
    machine, name = mv.toy(64), "seen by others"
    s = mv.kmem_cache_create(machine, name, 4000, flags=SLAB_TYPESAFE_BY_RCU)
    s.min_partial = 0
    held = [mv.kmem_cache_alloc(machine, name, GFP_KERNEL) for _ in range(s.oo.objects * 10)]
    for addr in held[:s.oo.objects]:
        mv.kmem_cache_free(machine, name, addr)
    [pfn] = s.cpu_slab[0].partial

    def work(machine):
        for addr in held[s.oo.objects::s.oo.objects]:  # the first of each slab: one of them drains the CPU's list
            mv.kmem_cache_free(machine, name, addr)
        rcu_free_slab(machine, pfn)

    capture = OwnCapture(machine, work)
    start = capture.machine()
    schedule_objects(capture, start)
    assert slab(start).rcu == []
    assert all(score.perfect for score in replay_slub(capture))


def test_a_slab_that_rcu_freed_and_nobody_emptied():
    machine = mv.toy(64)
    mv.kmem_cache_create(machine, "seen by others", 700, flags=SLAB_TYPESAFE_BY_RCU)
    addr = mv.kmem_cache_alloc(machine, "seen by others", GFP_KERNEL)

    def work(machine):
        mv.kmem_cache_free(machine, "seen by others", addr)
        mv.kmem_cache_shrink(machine, "seen by others")
        rcu_free_slab(machine, slab(machine).rcu[0])

    [score] = [each for each in replay_slub(OwnCapture(machine, work)) if each.cache == "seen by others"]
    assert [miss.what for miss in score.misses] == ["slab freed by RCU"]  # the trace does not show the shrink


# ---------------------------------------------------------------- a wrong rule is seen


def head_instead_of_tail(monkeypatch):
    monkeypatch.setattr(slub_partial, "add_partial", lambda machine, pfn, tail: ADD(machine, pfn, False))


def drain_later(monkeypatch):
    monkeypatch.setattr(slub_free, "put_cpu_partial", lambda machine, s, page, drain: PUT(machine, s, page, False))


def keep_no_empty(monkeypatch):
    monkeypatch.setattr(slub_free, "may_discard", lambda machine, s, page: not page.inuse)


def eager_as_plain(monkeypatch):
    monkeypatch.setattr(slub_page, "__GFP_NORETRY", 0)


def no_partial(monkeypatch):
    monkeypatch.setattr(slub, "get_partial", lambda machine, s, flags, node: 0)


ADD, PUT = slub_partial.add_partial, slub_partial.put_cpu_partial


@pytest.mark.parametrize("wrong", [head_instead_of_tail, drain_later, keep_no_empty, eager_as_plain, no_partial])
def test_a_wrong_rule_misses(capture_path, monkeypatch, wrong):
    wrong(monkeypatch)
    [score, _] = scores(capture_path(f"{S1}.snaps.gz"))
    assert not score.perfect and not score.finished and score.exact < 2065
    assert str(score).endswith("final=not_reached")
    assert score.misses[0].what.startswith(("object of Request(", "pages of Request("))


def test_the_final_state_is_compared(capture_path):
    capture = load_slub(capture_path(f"{S1}.snaps.gz"))[1]
    wrong = capture.__class__(capture.capture, capture.before, load_slub(capture_path(f"{S1}.snaps.gz"))[0].after,
                              capture.rows)
    [score] = replay_slub(wrong)
    assert "differences" in str(score) and not score.perfect
    assert score.final[0].startswith("cache mmcap-256 cpu 0 slab and tid: predicted (")


def test_each_part_of_the_state_is_told_apart(capture_path):
    capture = load_slub(capture_path(f"{S1}.snaps.gz"))[0]
    truth, cache = slab(capture.truth()), "mmcap-256"
    for change, what in (
            (lambda part: part.caches[cache].node[0].partial.reverse(), "node 0 partial"),
            (lambda part: part.caches[cache].cpu_slab[0].partial.reverse(), "cpu 0 partial"),
            (lambda part: setattr(part.caches[cache].cpu_slab[0], "tid", 1), "cpu 0 slab and tid")):
        other = truth.copy()
        change(other)
        assert [text.partition(":")[0] for text in slab_differences(cache, other, truth)] == [f"cache {cache} {what}"]
    other = truth.copy()
    other.rcu.append(other.slabs(cache)[0].pfn)  # it waits: a snapshot may hold it, or not
    assert list(slab_differences(cache, other, truth)) == []


# ---------------------------------------------------------------- bad files


def refused(path, match):
    with pytest.raises(mv.CaptureError, match=match) as caught:
        scores(path)
    return str(caught.value)


@pytest.mark.parametrize("line, changed, what", [
    (r"cache name=mmcap-256 size=264", "cache name=mmcap-256 size=big", "does not parse"),
    (r"cache name=mmcap-256 size=264", "cache name=mmcap-256", "KeyError\\('size'\\)"),
    (r"cpuslab cache=mmcap-256 cpu=0", "cpuslab cache=other cpu=0", "KeyError\\('other'\\)"),
])
def test_a_line_that_does_not_parse_is_named(raw_copy, line, changed, what):
    path = raw_copy(S1, snaps=lambda text: text.replace(line, changed))
    assert re.match(r"S1_own_cache_256.snaps.gz:\d+: ", refused(path, what))


def test_a_line_before_the_first_snapshot():
    with pytest.raises(mv.CaptureError, match="x:1: does not parse"):
        parse_slub("node cache=a node=0 nr_slabs=0", "x")


@pytest.mark.parametrize("pattern, changed, what", [
    (r"(partial cache=mmcap-256 nr=0 pfn=)107565", r"\g<1>99", "KeyError"),
    (r"(freelist : ffff88801a42ad68) ffff88801a42a528", r"\1 ffff88801a42ad68", "once and no other"),
    (r"slabs cache=mmcap-256 : ffff88801a41d000/15", "slabs cache=mmcap-256 : 0/15", "not whole"),
])
def test_a_snapshot_that_contradicts_itself(raw_copy, pattern, changed, what):
    path = raw_copy(S1, snaps=lambda text: re.sub(pattern, changed, text, count=1))
    assert "cache mmcap-256 is not whole" in refused(path, what)


def test_snapshots_must_tell_of_the_same_caches(raw_copy):
    def rename(text):
        first, second, third = text.split("\nsnap ")
        return "\nsnap ".join((first, second.replace("mmcap-256", "mmcap-257"), third))
    refused(raw_copy(S1, snaps=rename), "every snapshot must tell of the same caches")


@pytest.mark.parametrize("field", ["ptr", "bytes_req", "gfp_flags", "call_site"])
def test_a_request_without_a_field(raw_copy, field):
    path = raw_copy(S1, trace=lambda text: re.sub(rf"(kmem_cache_alloc: .*?){field}=", r"\1other=", text))
    assert re.match(r"S1_own_cache_256.trace.gz:\d+: kmem_cache_alloc without ", refused(path, f"without {field}="))


def test_a_free_of_what_nobody_holds(raw_copy):
    """The simulator would BUG where the kernel did not: the state before was not what the snapshot says."""
    def twice(text):
        lines = text.splitlines(keepends=True)
        place = next(i for i, line in enumerate(lines) if "kmem_cache_free" in line and "ptr=ffff88801a41d" in line)
        return "".join([*lines[:place], lines[place], *lines[place:]])
    [score, _] = scores(raw_copy(S1, trace=twice))
    assert "is free already" in score.misses[0].predicted and not score.finished


def test_a_page_that_is_no_slabs_is_compared_too(raw_copy):
    def other(text):
        before, line, after = re.split(r"(.*mm_page_alloc: .*order=0.*gfp_flags=GFP_KERNEL_ACCOUNT.*\n)", text,
                                       maxsplit=1)
        return before + re.sub(r"pfn=(\d+)", lambda m: f"pfn={int(m[1]) + 1}", line) + after
    found = scores(raw_copy(S4, trace=other))
    assert {score.misses[0].what for score in found} == {"pfn, no slab's"} and not any(s.finished for s in found)


def test_an_operation_that_makes_no_sense(raw_copy):
    path = raw_copy(S1, trace=lambda text: text.replace("order=0 migratetype=0 gfp_flags=GFP_KERNEL|__GFP_NOWARN",
                                                        "order=77 migratetype=0 gfp_flags=GFP_KERNEL|__GFP_NOWARN"))
    [capture, _] = load_slub(path)
    with pytest.raises(mv.CaptureError, match="order must be 0 to 10, got 77"):
        replay_slub(capture)
