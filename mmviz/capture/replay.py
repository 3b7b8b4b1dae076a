"""Replay: what a real kernel was asked is asked of the simulator, and every answer is compared.

    schedule     rows of a trace -> operations, each with the inner events that belong to it
    run          one operation, done to a Machine
    replay       all of them; compares returned pfns, inner events, and the final state, list order included

No predicted pfn is ever taken from the trace. An operation starts at its first inner event: with several CPUs,
mm_page_alloc is printed after the fact, and another CPU's operation may stand between. (Which mm_page_alloc an inner
event belongs to is read from the trace: by its pfn, so that an interrupt's own allocation is told from the one that it
interrupted.) A refused request starts before the pass of kswapd that it waited for.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

from ..errors import CaptureError
from ..mm import events as ev
from ..mm.fallback import unreserve_highatomic_pageblock
from ..mm.freelist import AllocContext
from ..mm.machine import Machine, set_current
from ..mm.page_alloc import alloc_pages_node, prepare_alloc_pages
from ..mm.page_free import (
    free_pcppages_bulk,
    free_the_page,
    free_unref_page_commit,
    free_unref_page_prepare,
    refresh_cpu_vm_stats,
)
from ..mm.page_ref import page_zone
from ..mm.vmscan import balance_pgdat_begin, balance_pgdat_end
from ..mm.zone import set_page_lru
from ..recording import Timeline
from ..trace import Event
from .ftrace import Row
from .load import Capture
from .resync import Mender, is_free
from .score import BaseScore, Miss
from .snapshot import differences

NOTHING: list[Row] = []  # shared by the operations without inner rows


class Operation(NamedTuple):
    """One thing that the kernel was asked, and the inner events that the trace shows of it."""

    number: int
    row: Row
    inner: list[Row]


# ---------------------------------------------------------------- rows -> operations


def schedule(rows: Sequence[Row]) -> list[Operation]:
    """Give every inner row to its operation, and put the operations in the order in which they start."""
    pending: dict[int, list[tuple[int, Row]]] = {}  # cpu -> zone_locked and extfrag rows, before their mm_page_alloc
    last: dict[int, tuple[int, Row]] = {}  # cpu -> its last operation, which pcpu_drain rows may still join
    inner: dict[int, list[Row]] = {}  # number of an operation -> its inner rows
    starts = _refusals(rows)  # number of an operation -> where it starts, if that is not its own row
    found: list[tuple[int, Row]] = []
    overtaken = bool(starts)  # by kswapd, or by an interrupt's operation, on the same CPU
    for number, row in enumerate(rows):
        kind = row[0]
        if kind in "plk":
            if row[:2] == ["k", "unres"]:
                row = _unreserving(rows, number)
                last.pop(row[2], None)  # what is drained from here on is no flush
            found.append((number, row))
            continue
        if kind in "zx":
            pending.setdefault(row[1], []).append((number, row))
            continue
        if kind == "d":
            before = last.get(row[1])
            if before is not None and before[1][0] != "a":
                starts.setdefault(before[0], number)
                inner.setdefault(before[0], []).append(row)
                continue
            row, inner[number] = ["drain", row[1]], [row]  # nobody's flush: a drain from outside
        elif kind == "a" and pending and (claimed := _claim(pending, row)):
            starts[number] = claimed[0][0]
            inner[number] = [each for _, each in claimed]
            overtaken |= bool(found) and found[-1][0] > claimed[0][0]
        found.append((number, row))
        if kind in "afcd":
            last[row[1]] = found[-1]
    if len(last) > 1 or overtaken:  # else they start in the order of the rows
        found.sort(key=lambda operation: starts.get(operation[0], operation[0]))
    return [Operation(number, row, inner.get(number, NOTHING)) for number, row in found]


def _refusals(rows: Sequence[Row]) -> dict[int, int]:
    """Where the refused requests start that kswapd overtook: number of the row -> the row before the pass.

    A request that is not served wakes kswapd, tries once more, and only then gives its CPU away (cond_resched in
    __perform_reclaim). Its mm_page_alloc is printed after the pass, which frees pages and ends the watermark's boost.
    """
    starts: dict[int, int] = {}
    passes: dict[int, int] = {}  # cpu -> where its passes began, after the last row of another task
    running: set[int] = set()  # CPUs on which kswapd is at work
    for number, row in enumerate(rows):
        kind, cpu = row[0], row[2] if row[0] == "k" else row[1]
        if kind == "k" and row[1] == "bpe":
            passes.setdefault(cpu, number)
            running.add(cpu)
        elif kind == "k" and row[1] == "bpr":
            running.discard(cpu)
        elif kind in "afpcz" and passes and cpu not in running:
            began = passes.pop(cpu, None)
            if began is not None and kind == "a" and row[2] is None:
                starts[number] = began - 1
    return starts


def _unreserving(rows: Sequence[Row], number: int) -> Row:
    """["k", "unres", cpu, gfp_mask, node, force]: with what it has to know of the request that gives a reserve back.

    The request is the next one that its CPU ends. Where it goes on to drain all CPUs, reclaim found pages and the
    request got none: one reserved pageblock is left. Else it is about to give up, and takes the last one too (force).
    """
    cpu = rows[number][2]
    for at, row in enumerate(rows[number + 1:], number + 1):
        if row[0] == "a" and row[1] == cpu:
            return ["k", "unres", cpu, row[5], row[6], all(each[0] != "d" for each in rows[number:at])]
    return ["k", "unres ended by nothing", cpu]


def _claim(pending: dict[int, list[tuple[int, Row]]], row: Row) -> list[tuple[int, Row]]:
    """The rows that this mm_page_alloc has waited for; an interrupt's own allocation in between claims none."""
    waiting = pending.get(row[1])
    if not waiting:
        return []
    first = next((inner for _, inner in waiting if inner[0] == "z"), None)
    if first is not None and (first[2] != row[2] or first[3] != row[3]) and row[2] is not None:
        return []
    return pending.pop(row[1])


# ---------------------------------------------------------------- one operation


def run(machine: Machine, operation: Operation) -> int | None:
    """Do one operation to a machine; returns the pfn of an allocation.

    Drains that no flush of the operation explains come from outside: their number is taken from the trace, their order
    is predicted.
    """
    _, row, inner = operation
    if not inner or inner[-1][0] != "d":
        return _RUN[row[0]](machine, row)
    if row[0] == "drain":
        _drain(machine, row[1], inner)
    else:
        pcp = page_zone(machine, row[2]).pageset[row[1]]
        before = pcp.count
        _RUN[row[0]](machine, row)
        _drain(machine, row[1], inner[before + 1 - pcp.count:])
    return None


def _drain(machine: Machine, cpu: int, rows: Sequence[Row]) -> None:
    """free_pcppages_bulk for as many pages of each zone as there are rows."""
    zones = [page_zone(machine, row[2]) for row in rows]
    for zone in machine.zones():
        count = sum(each is zone for each in zones)
        if count:
            free_pcppages_bulk(zone, min(count, zone.pageset[cpu].count), cpu)


def _run_alloc(machine: Machine, row: Row) -> int | None:
    if row[1] != machine.current.cpu:
        set_current(machine, row[1])
    return alloc_pages_node(machine, row[6], row[5], row[3])


def _run_free(machine: Machine, row: Row) -> None:
    if row[1] != machine.current.cpu:
        set_current(machine, row[1])
    free_the_page(page_zone(machine, row[2]), row[2], row[3])


def _run_prepare(machine: Machine, row: Row) -> None:
    free_unref_page_prepare(page_zone(machine, row[2]), row[2])


def _run_commit(machine: Machine, row: Row) -> None:
    if row[1] != machine.current.cpu:
        set_current(machine, row[1])
    free_unref_page_commit(page_zone(machine, row[2]), row[2])


def _run_lru(machine: Machine, row: Row) -> None:
    set_page_lru(page_zone(machine, row[1]), row[1])


def _run_other(machine: Machine, row: Row) -> None:
    if row[1] == "fold":
        refresh_cpu_vm_stats(machine, row[2])
    elif row[1] == "unres":
        _unreserve(machine, *row[3:])
    for node in machine.node:
        if row[1] == "bpe":
            balance_pgdat_begin(node)
        elif row[1] == "bpr":
            balance_pgdat_end(node)


def _unreserve(machine: Machine, gfp_mask: int, node: int, force: bool) -> None:
    ac = AllocContext()
    prepare_alloc_pages(machine, gfp_mask, 0, node, None, ac)
    unreserve_highatomic_pageblock(ac, force)


_RUN: dict[str, Callable[[Machine, Row], int | None]] = {
    "a": _run_alloc, "f": _run_free, "p": _run_prepare, "c": _run_commit, "l": _run_lru, "k": _run_other,
}


# ---------------------------------------------------------------- all of them


@dataclass
class Score(BaseScore):
    """How exact a replay of requests for pages was."""

    rows: int
    allocs: int = 0
    exact: int = 0
    inner: int = 0
    inner_exact: int = 0
    unseen_folds: int = 0

    def __str__(self) -> str:
        folds = f" unseen_folds={self.unseen_folds}" if self.unseen_folds else ""
        return (f"{self.name} kind=page_alloc allocs={self.allocs} exact={self.exact} "
                f"inner={self.inner_exact}/{self.inner} final={self.outcome} "
                f"events={self.rows} seconds={self.seconds:.1f}{folds}")


def replay(capture: Capture, resync: bool = False) -> Score:
    """Run a capture and compare.

    Parameters
    ----------
    resync : bool
        False: stop at the first miss. True: count the miss, do what the kernel did instead, and go on.

    Returns
    -------
    Score

    Raises
    ------
    CaptureError
        If a row makes no sense: an unknown kind, a missing field, a pfn or a CPU that the machine has not.
    """
    began = perf_counter()
    score = Score(capture.name, len(capture.rows))
    kinds = Counter(row[0] for row in capture.rows)
    score.allocs, score.inner = kinds["a"], kinds["z"] + kinds["d"] + kinds["x"]
    compare = _compare_and_mend if resync else _compare_all
    try:
        machine = compare(capture, schedule(capture.rows), score)
        if machine is not None:
            score.final = _final(capture, machine, score)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CaptureError(f"{capture.name}: an operation makes no sense: {error!r}") from error
    score.finished = machine is not None
    score.seconds = perf_counter() - began
    return score


def _final(capture: Capture, machine: Machine, score: Score) -> list[str]:
    """Where the state at the end differs.

    The vmstat worker folds a CPU's differences into the counters. Where the trace shows no fold at all (no probe was
    set, say), one is taken for granted if it explains every difference, and is counted as unseen.
    """
    truth = capture.truth()
    found = list(differences(machine, truth))
    folded = [cpu for cpu in range(len(machine.cpu_to_node))
              if not any(any(zone.pageset[cpu].vm_stat_diff) for zone in truth.zones())]
    if not found or not folded or any(row[:2] == ["k", "fold"] for row in capture.rows):
        return found
    for cpu in folded:
        refresh_cpu_vm_stats(machine, cpu)
    if list(differences(machine, truth)):
        return found
    score.unseen_folds = len(folded)
    return []


def _compare_all(capture: Capture, operations: Sequence[Operation], score: Score) -> Machine | None:
    """Run until the first miss; the machine at the end, or None if it was not reached."""
    machine = capture.machine()
    _run_until_miss(machine, operations, 0, score)
    return None if score.misses else machine


def _compare_and_mend(capture: Capture, operations: Sequence[Operation], score: Score) -> Machine:
    """Run to the end. After a miss a copy that waited behind does the same, with the truth for the prediction."""
    mender, behind, kept, done = Mender(run), capture.machine(), 0, 0
    machine = behind.copy()
    while done < len(operations):
        done = _run_until_miss(machine, operations, done, score)
        last = operations[done - 1]
        misses = [miss for miss in score.misses[-2:] if miss.number == last.number]
        if not misses:
            break
        mender.learn(last.number, _not_taken(misses))
        if misses[0].what == "free":  # it has not been run yet
            mender.run(machine, last)
            continue
        for operation in operations[kept:done]:
            mender.run(behind, operation)
        machine, kept = behind.copy(), done
    return machine


def _not_taken(misses: Iterable[Miss]) -> set[int]:
    """The pages that were to leave the free lists, and did not in the kernel."""
    pages: set[int] = set()
    for _, what, predicted, truth in misses:
        if what == "pfn" and isinstance(predicted, int):
            pages.add(predicted)
        elif isinstance(predicted, list) and isinstance(truth, list):
            pages |= {row[2] for row in predicted if row[0] == "z"} - {row[2] for row in truth}
    return pages


def _run_until_miss(machine: Machine, operations: Sequence[Operation], start: int, score: Score) -> int:
    """Compare from one operation on until a miss or the end; how many are done then, the missed one included."""
    heard: list[Event] = []
    with machine.trace.listen(heard.append, tracepoints_only=True):
        for done, operation in enumerate(operations[start:], start + 1):
            number, row, expected = operation
            if row[0] in "fp" and is_free(machine, row):
                score.misses.append(Miss(number, "free", "on a list already", "in use"))
                return done
            pfn = run(machine, operation) if expected else _RUN[row[0]](machine, row)
            if (expected or heard or row[0] == "a") and not _is_exact(operation, pfn, heard, score):
                return done
    return len(operations)


def _is_exact(operation: Operation, pfn: int | None, heard: list[Event], score: Score) -> bool:
    """Compare what an operation returned and said with the trace; what was heard is forgotten."""
    number, row, expected = operation
    if row[0] == "a":
        if pfn != row[2]:
            score.misses.append(Miss(number, "pfn", pfn, row[2]))
        else:
            score.exact += 1
    if heard or expected:
        predicted = [as_inner(event, row[1]) for event in heard]
        heard.clear()
        score.inner_exact += sum(map(list.__eq__, predicted, expected))
        if predicted != expected:
            score.misses.append(Miss(number, "inner events", predicted, expected))
    return not score.misses or score.misses[-1].number != number


def as_inner(event: Event, cpu: int) -> Row:
    """A tracepoint inside an operation, in the form of its row."""
    if isinstance(event, ev.MmPageAllocZoneLocked):
        return ["z", cpu, event.pfn, event.order, event.migratetype]
    if isinstance(event, ev.MmPagePcpuDrain):
        return ["d", cpu, event.pfn, event.migratetype]
    assert isinstance(event, ev.MmPageAllocExtfrag)
    return ["x", cpu, event.pfn, event.alloc_order, event.fallback_order, event.alloc_migratetype,
            event.fallback_migratetype, int(event.change_ownership)]


def timeline(capture: Capture) -> Timeline[Operation]:
    """The capture as a Timeline: open one operation and you get its Recording."""
    return Timeline(capture.machine(), schedule(capture.rows), run)
