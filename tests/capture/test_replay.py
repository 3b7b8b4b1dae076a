"""What a real v5.4 did is predicted without a miss; and where a rule is broken on purpose, it shows."""
import gzip
import lzma
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import mmviz as mv
from mmviz.capture.load import load_capture
from mmviz.capture.replay import Operation, replay, run, schedule, timeline
from mmviz.capture.resync import force, mend
from mmviz.capture.score import Miss
from mmviz.kernel import GFP_HIGHUSER_MOVABLE, GFP_KERNEL, GFP_NOWAIT, MAX_ORDER
from mmviz.kernel import MIGRATE_MOVABLE as M
from mmviz.kernel import MIGRATE_RECLAIMABLE as R
from mmviz.kernel import MIGRATE_UNMOVABLE as U
from mmviz.mm import page_free, rmqueue
from mmviz.mm.zone import (
    add_to_free_area,
    del_page_from_free_area,
    pcp_list_add,
    pcp_list_add_tail,
    set_pcppage_migratetype,
)

ROOT = Path(__file__).resolve().parents[2]
CAPTURES = sorted(path for kind in ("*.json.gz", "*/*.snaps.gz") for path in (ROOT / "data" / "captures").glob(kind))
LINE = re.compile(r"(?P<name>\S+) kind=page_alloc allocs=(?P<allocs>\d+) exact=(?P<exact>\d+) "
                  r"inner=(?P<inner>\d+)/(?P<of>\d+) final=(?P<final>\S+) events=(?P<events>\d+) "
                  r"seconds=\d+\.\d( unseen_folds=\d+)?")
W2, W2B = "m512_W2_alloc_random.json.gz", "m512_W2b_small.json.gz"


# ---------------------------------------------------------------- every capture, exactly


def test_there_are_captures_of_both_kinds():
    assert {path.suffixes[-2] for path in CAPTURES} == {".json", ".snaps"}


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_every_answer_of_the_real_kernel_is_predicted(path):
    scores = [replay(capture) for capture in load_capture(path)]
    for score in scores:
        assert score.misses == [] and score.final == []
        assert score.perfect and score.exact == score.allocs and score.inner_exact == score.inner
    assert scores[0].allocs > 0


def test_the_command_says_one_line_a_capture():
    paths = [path for path in CAPTURES if path.stat().st_size < 20000 and path.parent.name != "m512slub"]
    done = subprocess.run([sys.executable, "-m", "mmviz", "replay", *paths], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [LINE.fullmatch(line) for line in done.stdout.splitlines() if "kind=page_alloc" in line]
    assert [line["name"] for line in lines] == [path.name for path in paths]
    for line in lines:
        assert line["exact"] == line["allocs"] != "0" and line["inner"] == line["of"]
        assert line["final"] == "identical"
    assert sum(line["of"] != "0" for line in lines) > 3  # N4 is a single request, without inner events


def test_golden_and_raw_form_of_a_capture_are_the_same(capture_path):
    [golden], [raw] = load_capture(capture_path(W2B)), load_capture(capture_path("m512/W2b_small.snaps.gz"))
    assert golden.rows == raw.rows
    assert golden.machine() == raw.machine() and golden.truth() == raw.truth()


def test_a_file_with_three_snapshots_is_two_captures(raw_copy):
    def three(text):
        lines = text.splitlines()
        middle = next(line for line in lines if "MMCAP snap=1" in line)
        return "\n".join([*lines, middle.replace("snap=1", "snap=2"), ""])

    path = raw_copy("m512/W0_idle", trace=three, snaps=lambda text: text + text[text.index("snap 1"):])
    first, second = load_capture(path)
    assert (first.name, second.name) == ("W0_idle.snaps.gz:before-after", "W0_idle.snaps.gz:after-after")
    assert replay(first).perfect and replay(second).perfect and second.rows == []


def test_the_trace_may_be_xz(capture_path, tmp_path):
    for kind in ("snaps", "trace"):
        data = capture_path(f"m512/W0_idle.{kind}.gz").read_bytes()
        if kind == "trace":
            (tmp_path / "W0_idle.trace.xz").write_bytes(lzma.compress(gzip.decompress(data)))
        else:
            (tmp_path / "W0_idle.snaps.gz").write_bytes(data)
    [capture] = load_capture(tmp_path / "W0_idle.snaps.gz")
    assert replay(capture).perfect


# ---------------------------------------------------------------- the replay bites


def nth_alloc(rows, n):
    return [index for index, row in enumerate(rows) if row[0] == "a" and row[2] is not None][n]


@pytest.fixture
def w2b(capture_path):
    """W2b, whose operations are its rows without the inner ones."""
    [capture] = load_capture(capture_path(W2B))
    return capture


def number_of(capture, index):
    return next(operation.number for operation in schedule(capture.rows) if operation.row is capture.rows[index])


@pytest.mark.parametrize("n", [0, 100, 1000])
def test_a_shifted_pfn_is_a_miss_there(w2b, n):
    index = nth_alloc(w2b.rows, n)
    true = w2b.rows[index][2]
    w2b.rows[index][2] += 4096
    score = replay(w2b)
    number = number_of(w2b, index)
    assert score.misses[0] == Miss(number, "pfn", true, true + 4096) and score.exact == n
    assert {miss.number for miss in score.misses} == {number}
    assert not score.finished and not score.perfect and "final=not_reached" in str(score)


def from_the_pile(rows):
    """The second of three requests in a row that the pile of the CPU answers: its page and the next may be swapped."""
    return next(index for index in range(1, len(rows) - 1)
                if [row[0] + str(row[3]) for row in rows[index - 1:index + 2]] == ["a0", "a0", "a0"]
                and rows[index][3:] == rows[index + 1][3:] and index > 50)


def test_after_a_swap_of_two_pages_resync_counts_one_miss_and_goes_on(w2b):
    index = from_the_pile(w2b.rows)
    one, two = w2b.rows[index], w2b.rows[index + 1]
    one[2], two[2] = two[2], one[2]
    score = replay(w2b, resync=True)
    assert score.misses == [Miss(number_of(w2b, index), "pfn", two[2], one[2])]
    assert (score.exact, score.inner_exact, score.final) == (score.allocs - 1, score.inner, [])
    assert score.finished and not score.perfect


def test_a_wrong_inner_event_is_a_miss(w2b):
    index = next(index for index, row in enumerate(w2b.rows) if row[0] == "z")
    w2b.rows[index][4] = R
    [miss] = replay(w2b).misses
    assert miss.what == "inner events" and [row[4] for row in miss.predicted] != [row[4] for row in miss.truth]


def test_a_wrong_final_state_is_named(w2b):
    pages = w2b.after["zones"][1]["free"]["0,1"]
    pages[0], pages[1] = pages[1], pages[0]
    score = replay(w2b)
    assert score.exact == score.allocs and not score.perfect
    assert [line.split(":")[0] for line in score.final] == ["zone DMA32 free list order 0 type 1"]
    assert "final=1_differences" in str(score)


@pytest.fixture
def lost(capture_path):
    """lost(rows): the share of the pages and inner events in so many rows of W2 that a replay with resync loses."""
    [capture] = load_capture(capture_path(W2))

    def share(rows):
        score = replay(replace(capture, rows=capture.rows[:rows]), resync=True)
        return 1 - (score.exact + score.inner_exact) / (score.allocs + score.inner)

    return share


def upper_half_first(zone, order, migratetype):
    """__rmqueue_smallest with an expand that keeps the upper half."""
    for grown in range(order, MAX_ORDER):
        pfn = rmqueue.get_page_from_free_area(zone, grown, migratetype)
        if pfn is not None:
            del_page_from_free_area(zone, pfn, grown, migratetype)
            for half in reversed(range(order, grown)):
                add_to_free_area(zone, pfn, half, migratetype)
                pfn += 1 << half
            set_pcppage_migratetype(zone, pfn, migratetype)
            return pfn
    return None


# The second is rare: it needs all of W2. The others lose so much that a part is enough, and all would take minutes.
BROKEN = {
    "a freed page goes under the pile": (5000, page_free, "pcp_list_add", pcp_list_add_tail),
    "no block is put at the tail": (20000, page_free, "add_to_free_area_tail", add_to_free_area),
    "a refill is put on top of the pile": (5000, rmqueue, "pcp_list_add_tail", pcp_list_add),
    "the upper half is used first": (2000, rmqueue, "__rmqueue_smallest", upper_half_first),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_shows(monkeypatch, lost, rule):
    rows, *patch = BROKEN[rule]
    monkeypatch.setattr(*patch)
    assert lost(rows) > 0.001  # resync heals much of it


@pytest.mark.parametrize("rows", sorted({rows for rows, *_ in BROKEN.values()}))
def test_an_unbroken_rule_loses_nothing(lost, rows):
    assert lost(rows) == 0


# ---------------------------------------------------------------- what the command says of a miss


@pytest.fixture
def swapped(altered):
    """W2b with two pages swapped, as a file."""

    def swap(data):
        index = from_the_pile(data["ops"])
        one, two = data["ops"][index], data["ops"][index + 1]
        one[2], two[2] = two[2], one[2]

    return altered(W2B, swap)


def test_a_miss_is_exit_status_1(command, swapped):
    status, out, err = command("replay", swapped)
    assert (status, err) == (1, "")
    assert LINE.fullmatch(out.strip())["final"] == "not_reached"


def test_verbose_says_what_was_predicted(command, swapped):
    status, out, _ = command("replay", "--verbose", swapped)
    assert status == 1
    assert re.search(r"^  event \d+, pfn: predicted \d+, truth \d+$", out, re.MULTILINE)


def test_resync_goes_on_after_a_miss(command, swapped):
    status, out, _ = command("replay", "--resync", swapped)
    line = LINE.fullmatch(out.strip())
    assert status == 1
    assert int(line["exact"]) == int(line["allocs"]) - 1 and line["final"] == "identical"


def test_verbose_shows_every_difference_of_the_final_state(command, altered):
    def change(data):
        zone = data["after"]["zones"][1]
        zone["nr_free_pages"] += 1
        zone["free"]["0,1"].reverse()

    status, out, _ = command("replay", "--verbose", altered(W2B, change))
    assert status == 1
    assert [line.split(":")[0] for line in out.splitlines()[1:]] == [
        "  zone DMA32 free list order 0 type 1", "  zone DMA32 free counter"]
    assert all(len(line) < 450 for line in out.splitlines())


# ---------------------------------------------------------------- a capture as a Timeline


def test_an_operation_of_a_timeline_opens_as_a_recording(w2b):
    line = timeline(w2b)
    assert len(line) == sum(row[0] not in "zdx" for row in w2b.rows)
    i = next(i for i, operation in enumerate(line.operations) if operation.row[0] == "a" and operation.inner)
    recording = line.open(i)
    assert recording.at(0) == line.at(i) and recording.at(len(recording)) == line.at(i + 1)
    assert [call.symbol for call in recording.calls()] == ["alloc_pages_node"]
    assert recording[0].stack[0].symbol == "alloc_pages_node"
    assert [type(step.event).__name__ for step in recording][-1] == "MmPageAlloc"


def test_a_timeline_reaches_any_operation(w2b):
    line = timeline(w2b)
    assert line.at(len(line)) == replay_of_all(w2b)
    assert repr(line) == f"Timeline({len(line)} operations)"


def replay_of_all(capture):
    machine = capture.machine()
    for operation in schedule(capture.rows):
        run(machine, operation)
    return machine


# ---------------------------------------------------------------- rows -> operations


def a(cpu, pfn, order=0):
    return ["a", cpu, pfn, order, U, GFP_KERNEL, 0]


def z(cpu, pfn, order=0):
    return ["z", cpu, pfn, order, U]


def f(cpu, pfn):
    return ["f", cpu, pfn, 0]


def d(cpu, pfn):
    return ["d", cpu, pfn, U]


def test_an_allocation_starts_at_its_first_inner_event():
    rows = [z(0, 7), f(1, 3), z(0, 8), a(0, 7)]
    assert schedule(rows) == [Operation(3, rows[3], [rows[0], rows[2]]), Operation(1, rows[1], [])]


def test_an_extfrag_is_an_inner_event_too():
    rows = [["x", 0, 7, 0, 3, U, M, 1], f(1, 3), z(0, 7), a(0, 7)]
    assert [operation.row for operation in schedule(rows)] == [rows[3], rows[1]]


def test_an_allocation_from_the_pile_starts_where_it_stands():
    rows = [f(1, 3), a(0, 7), f(1, 4)]
    assert [operation.number for operation in schedule(rows)] == [0, 1, 2]


def test_a_flush_starts_at_its_first_drain():
    rows = [f(0, 7), f(1, 3), d(0, 7), d(0, 6)]
    assert schedule(rows) == [Operation(1, rows[1], []), Operation(0, rows[0], [rows[2], rows[3]])]


def test_a_flush_does_not_wait_for_its_last_drain():
    rows = [f(0, 7), d(0, 7), f(1, 3), d(0, 6)]
    assert schedule(rows) == [Operation(0, rows[0], [rows[1], rows[3]]), Operation(2, rows[2], [])]


def test_a_drain_that_no_free_explains_comes_from_outside():
    rows = [a(0, 7), d(0, 6), d(0, 5)]
    assert schedule(rows) == [Operation(0, rows[0], []), Operation(1, ["drain", 0], [rows[1], rows[2]])]


def test_a_drain_of_a_cpu_that_did_nothing_yet_comes_from_outside():
    rows = [f(1, 3), d(0, 6)]
    assert schedule(rows) == [Operation(0, rows[0], []), Operation(1, ["drain", 0], [rows[1]])]


def test_an_allocation_of_an_interrupt_between_claims_nothing():
    rows = [z(0, 7), z(0, 8), a(0, 3), a(0, 7)]
    assert schedule(rows) == [Operation(3, rows[3], [rows[0], rows[1]]), Operation(2, rows[2], [])]


def test_an_allocation_claims_nothing_of_another_cpu():
    rows = [z(0, 7), a(1, 3), a(0, 7)]
    assert schedule(rows) == [Operation(2, rows[2], [rows[0]]), Operation(1, rows[1], [])]


def test_a_refused_allocation_claims_what_waits():
    rows = [["x", 0, 7, 3, 3, U, M, 0], a(0, None, 3)]
    assert schedule(rows) == [Operation(1, rows[1], [rows[0]])]


BPE, BPR = ["k", "bpe", 0], ["k", "bpr", 0]


@pytest.mark.parametrize("rows, order", [
    ([f(0, 3), BPE, BPR, a(0, None), f(0, 4)], [0, 3, 1, 2, 4]),  # refused before the pass
    ([f(0, 3), BPE, f(0, 5), BPR, a(0, None)], [0, 4, 1, 2, 3]),  # what kswapd freed came later, too
    ([BPE, BPR, BPE, BPR, a(0, None)], [4, 0, 1, 2, 3]),  # before the first of two passes
    ([BPE, BPR, a(0, 7)], [0, 1, 2]),  # served: its last try stands where its row is
    ([BPE, BPR, f(0, 3), a(0, None)], [0, 1, 2, 3]),  # it had the CPU in between
    ([BPE, BPR, a(1, None)], [0, 1, 2]),  # another CPU's
    ([BPE, a(0, None), BPR], [0, 1, 2]),  # asked by kswapd itself
    ([BPE, BPR, a(0, None), a(0, None)], [2, 0, 1, 3]),  # the second comes after the first
])
def test_a_refused_request_starts_before_the_pass_of_kswapd_that_it_waited_for(rows, order):
    assert [operation.number for operation in schedule(rows)] == order


# ---------------------------------------------------------------- one operation


@pytest.fixture
def piled():
    """A machine whose CPU 0 holds ten pages of type U on its pile; and these pages, the first on top."""
    machine = mv.toy(64, batch=3, high=12)
    pages = [mv.alloc_pages(machine, GFP_KERNEL, 0) for _ in range(21)]
    mv.drain_all_pages(machine)
    for pfn in pages[:20:2]:
        mv.__free_pages(machine, pfn, 0)
    return machine, pages[18::-2]


def drained(machine, operation):
    heard = []
    with machine.trace.listen(heard.append, tracepoints_only=True):
        run(machine, operation)
    return [event.pfn for event in heard if event.tracepoint == "kmem:mm_page_pcpu_drain"]


def test_the_order_of_a_drain_from_outside_is_predicted(piled):
    machine, pile = piled
    operation = Operation(0, ["drain", 0], [d(0, pfn) for pfn in pile[:3]])
    assert drained(machine, operation) == pile[:-4:-1]
    assert machine.zone("DMA32").pageset[0].count == 7


def test_a_drain_of_more_than_there_is_takes_all(piled):
    machine, pile = piled
    assert drained(machine, Operation(0, ["drain", 0], [d(0, 0x1000)] * 20)) == pile[::-1]


def test_drains_behind_a_flush_come_from_outside(piled):
    machine, pile = piled
    zone = machine.zone("DMA32")
    one, two = (mv.alloc_pages(machine, GFP_KERNEL, 0) for _ in range(2))
    run(machine, Operation(0, f(0, two), []))
    run(machine, Operation(1, f(0, one), []))
    assert zone.pageset[0].count == 10
    pages = [mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 0) for _ in range(3)]
    for pfn in pages[:1]:
        run(machine, Operation(2, f(0, pfn), []))
    assert zone.pageset[0].count == 11
    operation = Operation(3, f(0, pages[1]), [d(0, pfn) for pfn in (pages[0], *pile[:-5:-1])])
    assert len(drained(machine, operation)) == 5
    assert zone.pageset[0].count == 7


def test_a_boost_goes_when_kswapd_returns():
    machine = mv.toy(64)
    machine.zone("DMA32").watermark_boost = 512
    for what in ("bpe", "bpr"):
        assert machine.zone("DMA32").watermark_boost == 512
        run(machine, Operation(0, ["k", what, 0], []))
    assert machine.zone("DMA32").watermark_boost == 0


UNRES = ["k", "unres", 0]


@pytest.mark.parametrize("rows, reserved", [
    ([UNRES, a(0, None)], 0),  # nothing else helped: the last one goes as well
    ([UNRES, d(0, 0x1000), a(0, None)], 512),  # reclaim found pages, and the drain is tried first
    ([UNRES, a(1, None)], 512),  # no request of that CPU ends: nobody knows for whom
])
def test_a_reserve_is_given_back_when_direct_reclaim_says_so(rows, reserved):
    machine = mv.boot([("DMA32", 0x1000, 0x4000)], watermarks=(64, 1 << 20, 1 << 20), cpus=(0, 0))
    mv.alloc_pages(machine, mv.GFP_ATOMIC, 1)
    zone = machine.zone("DMA32")
    assert zone.nr_reserved_highatomic == 512
    run(machine, schedule(rows)[0])
    assert zone.nr_reserved_highatomic == reserved


def test_the_drain_behind_it_is_no_flush_of_an_earlier_free():
    rows = [f(0, 7), UNRES, d(0, 7), a(0, None)]
    assert [(each.number, each.inner) for each in schedule(rows)] == [(0, []), (1, []), (2, [rows[2]]), (3, [])]


def test_of_two_reserved_pageblocks_one_is_given_back_before_the_drain():
    machine = mv.boot([("DMA32", 0x1000, 0x4000)], watermarks=(64, 1 << 20, 1 << 20))
    mv.alloc_pages(machine, mv.GFP_ATOMIC, 1)
    zone = machine.zone("DMA32")
    zone.nr_reserved_highatomic = 1024
    run(machine, schedule([UNRES, d(0, 0x1000), a(0, None)])[0])
    assert zone.nr_reserved_highatomic == 512 and list(zone.free_list(8, U)) == [0x4D00]


def test_a_fold_empties_the_differences_of_its_cpu_only():
    machine = mv.boot([("DMA32", 0x1000, 0x4000)], cpus=(0, 0))
    zone = machine.zone("DMA32")
    zone.pageset[0].vm_stat_diff[0], zone.pageset[1].vm_stat_diff[0] = 2, 1
    run(machine, Operation(0, ["k", "fold", 1], []))
    assert [pcp.vm_stat_diff[0] for pcp in zone.pageset] == [2, 0]


# ---------------------------------------------------------------- after a miss: the truth is put in


@pytest.fixture
def machine():
    return mv.toy(4)


def lists(machine):
    zone = machine.zone("DMA32")
    return {order: [hex(pfn) for pfn in zone.free_list(order, U)] for order in range(MAX_ORDER)
            if zone.nr_listed(order, U)}


def test_force_takes_a_page_from_a_pile():
    machine = mv.toy(64)
    mv.alloc_pages(machine, GFP_KERNEL, 0)
    zone = machine.zone("DMA32")
    top, below = zone.pageset[0].lists[U]
    force(machine, a(0, below))
    assert list(zone.pageset[0].lists[U]) == [top] and zone.pageset[0].count == 1
    assert zone.allocated[below] == 0 and below not in zone.index


@pytest.mark.parametrize("pfn, left", [
    (0x1000, {7: ["0x1080"], 8: ["0x1100"], 9: ["0x1200"]}),
    (0x1280, {7: ["0x1200"], 8: ["0x1300"], 9: ["0x1000"]}),
])
def test_force_cuts_a_block_out_of_the_block_it_lies_in(machine, pfn, left):
    force(machine, a(0, mv.alloc_pages(machine, GFP_NOWAIT, 3), 3))  # the block is U now
    mv.__free_pages(machine, 0x1000, 3)
    force(machine, a(0, pfn, 7))
    assert lists(machine) == left
    assert machine.zone("DMA32").allocated == {pfn: 7}


def test_force_leaves_alone_what_is_not_free(machine):
    pfn = mv.alloc_pages(machine, GFP_NOWAIT, 3)
    before = machine.copy()
    force(machine, a(0, pfn, 3))
    assert machine == before


def test_force_gathers_a_block_whose_pages_are_free_in_parts():
    """Else a page would be handed out and free at once, and twice on a list when it is freed."""
    machine = mv.toy(64)
    pfn = mv.alloc_pages(machine, GFP_KERNEL, 0)
    mv.__free_pages(machine, pfn, 0)
    zone = machine.zone("DMA32")
    assert list(zone.pageset[0].lists[U]) == [pfn, pfn + 1, pfn + 2] and zone.block_of(pfn + 3)
    force(machine, a(0, pfn, 2))
    assert zone.pageset[0].count == 0 and zone.block_of(pfn + 3) is None
    assert zone.block_of(pfn + 4) == (pfn + 4, 2, U)
    assert zone.allocated == {pfn: 2}


def test_force_does_nothing_for_a_refusal(machine):
    before = machine.copy()
    force(machine, a(0, None))
    assert machine == before


@pytest.fixture
def whole():
    """toy(64), its blocks on their list one by one, as a snapshot has them."""
    machine = mv.toy(64, watermarks=(0, 0, 0))
    for pfn in mv.take(machine, GFP_HIGHUSER_MOVABLE, order=10):
        mv.__free_pages(machine, pfn, 10)
    return machine


def test_a_forced_refill_is_that_of_the_trace(whole):
    """What was left of the pile is not free in the kernel: it fetches only when its list is empty."""
    machine = whole
    stale = mv.alloc_pages(machine, GFP_KERNEL, 0) + 1
    zone = machine.zone("DMA32")
    before = zone.vm_stat[0] + zone.pageset[0].vm_stat_diff[0]
    mend(machine, a(0, 0x2000), [z(0, pfn) for pfn in (0x2000, 0x2001, 0x2002)])
    assert list(zone.pageset[0].lists[U]) == [0x2001, 0x2002] and zone.pageset[0].count == 2
    assert zone.vm_stat[0] + zone.pageset[0].vm_stat_diff[0] == before - 3
    assert stale not in zone.index and zone.block_of(stale) is None


@pytest.mark.parametrize("order, claimed, moved", [(10, 1, 1024), (10, 0, 0), (4, 1, 512)])
def test_a_forced_theft_is_that_of_the_trace(whole, order, claimed, moved):
    machine, zone = whole, whole.zone("DMA32")
    if order < 10:  # the first pageblock in parts: its upper half is taken
        block = mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 9)
        mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 8)
        mv.__free_pages(machine, block, 9)
        head = block
    else:
        head = next(zone.free_list(10, M))
    force(machine, a(0, None), [["x", 0, head, 0, order, U, M, claimed]])
    assert sum(zone.nr_listed(each, U) << each for each in range(MAX_ORDER)) == moved
    assert [zone.pageblock.get((head >> 9) + each, M) for each in (0, 1)] == \
        [U if claimed else M, U if claimed and order == 10 else M]


def test_a_forced_theft_of_a_block_that_is_not_free_moves_nothing(whole):
    head = mv.alloc_pages(whole, GFP_HIGHUSER_MOVABLE, 10)
    force(whole, a(0, None), [["x", 0, head, 0, 10, U, M, 1]])
    zone = whole.zone("DMA32")
    assert zone.nr_listed(10, U) == 0 and zone.pageblock == {head >> 9: U, (head >> 9) + 1: U}


def test_a_mended_flush_takes_what_the_trace_says(piled):
    machine, pile = piled
    zone = machine.zone("DMA32")
    one = mv.alloc_pages(machine, GFP_KERNEL, 0)
    mend(machine, f(0, one), [d(0, pfn) for pfn in pile[3:5]])
    assert list(zone.pageset[0].lists[U]) == [one, *pile[1:3], *pile[5:]]
    assert all(zone.block_of(pfn) for pfn in pile[3:5])
    mend(machine, ["drain", 0], [d(0, pile[5])])
    assert list(zone.pageset[0].lists[U]) == [one, *pile[1:3], *pile[6:]]


def test_a_mended_commit_and_a_mended_block():
    machine = mv.boot([("DMA32", 0x1000, 0x4000)], cpus=[0, 0])
    zone = machine.zone("DMA32")
    pfn, block = mv.alloc_pages(machine, GFP_KERNEL, 0), mv.alloc_pages(machine, GFP_KERNEL, 3)
    mend(machine, ["p", 1, pfn], [])
    mend(machine, ["c", 1, pfn], [])
    assert list(zone.pageset[1].lists[U]) == [pfn]
    mend(machine, ["f", 1, block, 3], [])
    assert zone.block_of(block) and machine.current.cpu == 1


@pytest.mark.parametrize("row", [["f", 0, 0x1000, 0], ["p", 0, 0x1000], ["f", 0, 0x1000, 3]])
def test_what_is_freed_though_it_is_free_was_taken_without_a_word(whole, row):
    """As compaction does; a replay says so, and one with resync goes on."""
    machine = whole
    rows = [row] if row[0] == "f" else [row, ["c", 0, 0x1000]]
    capture = SimpleNamespace(name="taken", rows=rows, machine=machine.copy, truth=machine.copy)
    score = replay(capture)
    assert score.misses == [Miss(0, "free", "on a list already", "in use")] and not score.finished
    score = replay(capture, resync=True)
    assert len(score.misses) == 1 and score.finished


def test_a_page_predicted_wrongly_three_times_is_not_free(whole):
    machine = whole
    rows = [a(0, next(reversed(list(machine.zone("DMA32").free_list(10, M)))) + 8 * i, 3) for i in range(5)]
    capture = SimpleNamespace(name="stale", rows=rows, machine=machine.copy, truth=machine.copy)
    score = replay(capture, resync=True)
    predicted = [miss.predicted for miss in score.misses if miss.what == "pfn"]
    assert predicted[:3] == [predicted[0]] * 3 and predicted[3] != predicted[0]


def test_resync_takes_a_refusal_of_the_kernel_for_granted(machine):
    """The kernel refused where the simulator serves: the page stays where it is."""
    before = machine.copy()
    capture = SimpleNamespace(name="refused", rows=[a(0, None)], machine=machine.copy, truth=before.copy)
    score = replay(capture, resync=True)
    assert score.misses[0] == Miss(0, "pfn", 0x1000, None) and score.final == []


def test_a_commit_is_done_by_its_own_cpu():
    machine = mv.boot([("DMA32", 0x1000, 0x4000)], cpus=[0, 0])
    pfn = mv.alloc_pages(machine, GFP_KERNEL, 0)
    run(machine, Operation(0, ["p", 1, pfn], []))
    run(machine, Operation(1, ["c", 1, pfn], []))
    assert list(machine.zone("DMA32").pageset[1].lists[U]) == [pfn]
