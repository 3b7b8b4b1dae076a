"""Replay of SLUB: every object address that a real kernel gave out is predicted, and so is every page it took for them.

    events       the trace with the requests for objects kept among the rows of the page allocator
    schedule     which request belongs to which cache, and which page rows lie inside a request
    replay_slub  runs all of it on one Machine; compares addresses, pages, inner events, and at the end every list

A request of a selected cache is one operation, with the pages that it takes and gives back inside. What other caches,
and everybody else, do with pages are the operations of the page replay. An object belongs to the cache whose slab it
lies in. For a new slab (a page was allocated just before) the cache is told by the request: kmalloc by its size, others
by what the second snapshot says of the page, and by where else the same lines of the kernel's source took objects. No
address and no page is ever taken from the trace. Most lines are printed after the fact, so an interrupt's may stand
before a line that was true already: where the order of the trace misses, the other one is tried.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from ..errors import CaptureError, KernelBug
from ..mm import events as mm_ev
from ..mm.machine import Machine, set_current
from ..mm.slab_state import slab
from ..mm.slub import (
    kfree,
    kmem_cache_alloc,
    kmem_cache_alloc_node,
    kmem_cache_alloc_node_trace,
    kmem_cache_alloc_trace,
    kmem_cache_free,
)
from ..mm.slub_page import rcu_free_slab
from ..trace import Event
from .ftrace import Row
from .replay import Operation, as_inner, run
from .score import BaseScore, Miss
from .slub_rows import ObjectOperation, Request, SlubCapture, schedule_objects
from .slub_snapshot import slab_differences
from .snapshot import differences

LATE = 4  # interrupts that are looked at before a miss

# ---------------------------------------------------------------- one operation


def run_object(machine: Machine, operation: ObjectOperation) -> int | None:
    """Do one request to a machine; returns the address of an object that was given out."""
    request, cache = operation.request, operation.cache
    cpu = operation.pages[0].row[1] if request is None else request.cpu
    if cpu != machine.current.cpu:
        set_current(machine, cpu)
    if request is None:
        rcu_free_slab(machine, operation.pages[0].row[2])
        return None
    return _RUN[request.kind](machine, cache, request)


_RUN: dict[str, Callable[[Machine, str, Request], int | None]] = {
    "kmalloc": lambda machine, cache, r: kmem_cache_alloc_trace(
        machine, slab(machine).cache(cache), r.gfp, r.bytes_req),
    "kmalloc_node": lambda machine, cache, r: kmem_cache_alloc_node_trace(
        machine, slab(machine).cache(cache), r.gfp, r.node, r.bytes_req),
    "kmem_cache_alloc": lambda machine, cache, r: kmem_cache_alloc(machine, cache, r.gfp),
    "kmem_cache_alloc_node": lambda machine, cache, r: kmem_cache_alloc_node(machine, cache, r.gfp, r.node),
    "kmem_cache_free": lambda machine, cache, r: kmem_cache_free(machine, cache, r.ptr),
    "kfree": lambda machine, cache, r: kfree(machine, r.ptr),
}


# ---------------------------------------------------------------- all of them


@dataclass
class SlubScore(BaseScore):
    """How exact the replay of one cache was."""

    cache: str
    allocs: int = 0
    exact: int = 0

    def __str__(self) -> str:
        return (f"{self.name} kind=slub cache={self.cache} allocs={self.allocs} exact={self.exact} "
                f"final={self.outcome}")


def replay_slub(capture: SlubCapture) -> list[SlubScore]:
    """Run what the selected caches were asked, on the Machine that also serves everybody else's pages, and compare.

    Returns
    -------
    list of SlubScore
        One for each cache. It stops at the first miss, of whatever cache or page.

    Raises
    ------
    CaptureError
        If a row makes no sense.
    """
    start = capture.machine()
    scores = {name: SlubScore(capture.name, name) for name in capture.before}
    try:
        found = _run_in_some_order(start, schedule_objects(capture, start))
        for place, operation in enumerate(found.operations):
            if isinstance(operation, ObjectOperation) and operation.gives:
                scores[operation.cache].allocs += 1
                scores[operation.cache].exact += place < found.done
        for name, score in scores.items():
            score.misses = [miss for cache, miss in found.misses if cache in (name, "")]
            score.finished = not found.misses
        if not found.misses:
            truth = capture.truth()
            pages = list(differences(found.machine, truth))
            for name, score in scores.items():
                score.final = [*slab_differences(name, slab(found.machine), slab(truth)), *pages]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CaptureError(f"{capture.name}: an operation makes no sense: {error!r}") from error
    return list(scores.values())


class _Run(NamedTuple):
    """How far a run came: the operations before `done` are exact. A miss has its cache, "" for nobody's page."""

    machine: Machine
    operations: list[ObjectOperation | Operation]
    done: int
    misses: list[tuple[str, Miss]]


def _run_in_some_order(start: Machine, operations: list[ObjectOperation | Operation]) -> _Run:
    """Run in the order of the trace; where that misses behind an interrupt, in the other orders that are possible."""
    found = _run_until_miss(start.copy(), operations)
    while found.misses:
        others = (_run_until_miss(start.copy(), other) for other in _other_orders(found.operations, found.done))
        better = next((each for each in others if each.done > found.done or not each.misses), None)
        if better is None:
            break
        found = better
    return found


def _other_orders(operations: list[ObjectOperation | Operation],
                  place: int) -> Iterator[list[ObjectOperation | Operation]]:
    """What may have been the order before `place`, if an interrupt came between an operation and its line.

    All but kfree print their line after the fact: the task's next may have been before the interrupt's. kfree prints
    it before: the task's last may have been behind them. What was freed in another order shows late, so the last few
    interrupts are looked at, the nearest first.
    """
    for first, last in islice(_interrupts(operations, place), LATE):
        between = operations[first:last]
        if last < len(operations):
            yield [*operations[:first], operations[last], *between, *operations[last + 1:]]
        if first and _is_of(operations[first - 1], False):
            yield [*operations[:first - 1], *between, operations[first - 1], *operations[last:]]


def _interrupts(operations: list[ObjectOperation | Operation], place: int) -> Iterator[tuple[int, int]]:
    """Where interrupts asked for objects, from the last before (or around) `place` back: first and behind the last."""
    last = next((each for each in range(place, len(operations)) if _is_of(operations[each], False)), len(operations))
    while last > 0:
        first = next((each for each in range(last, 0, -1) if _is_of(operations[each - 1], False)), 0)
        asked = next((each for each in range(first, last) if _is_of(operations[each], True)), last)
        if asked < last:
            yield asked, last
        last = first - 1


def _is_of(operation: ObjectOperation | Operation, interrupt: bool) -> bool:
    """Whether it is a request for an object, of an interrupt or of a task."""
    return isinstance(operation, ObjectOperation) and operation.interrupt is interrupt


def _run_until_miss(machine: Machine, operations: list[ObjectOperation | Operation]) -> _Run:
    """Compare until a miss or the end."""
    for done, operation in enumerate(operations):
        misses = []
        if isinstance(operation, ObjectOperation):
            misses = [(operation.cache, miss) for miss in _compare_object(machine, operation)]
        else:
            pfn = run(machine, operation)
            if operation.row[0] == "a" and pfn != operation.row[2]:
                misses = [("", Miss(operation.number, "pfn, no slab's", pfn, operation.row[2]))]
        if misses:
            return _Run(machine, operations, done, misses)
    return _Run(machine, operations, len(operations), [])


def _compare_object(machine: Machine, operation: ObjectOperation) -> list[Miss]:
    """Do a request: its object and its pages against the trace."""
    heard: list[Event] = []
    request = operation.request
    if request is None and operation.pages[0].row[2] not in slab(machine).rcu:
        return [Miss(operation.number, "slab freed by RCU", "it does not wait for that", operation.pages[0].row)]
    try:
        with machine.trace.listen(heard.append):
            object = run_object(machine, operation)
    except KernelBug as error:
        return [Miss(operation.number, f"{request}", str(error), "done")]
    truth = [row for each in operation.pages for row in _page_rows(each)]
    predicted = [row for row in (_predicted(event) for event in heard) if row]
    found = [Miss(operation.number, f"pages of {request}", predicted, truth)] if predicted != truth else []
    if object is not None and request is not None and object != request.ptr:
        found.insert(0, Miss(operation.number, f"object of {request}", hex(object), hex(request.ptr)))
    return found


def _page_rows(operation: Operation) -> list[Row]:
    """What the trace shows of a page operation, less CPU and node, the inner events where they were printed."""
    row = operation.row
    if row[0] == "a":
        return [*map(_less_cpu, operation.inner), ["a", *row[2:6]]]
    return [["f", *row[2:4]], *map(_less_cpu, operation.inner)]


def _less_cpu(row: Row) -> Row:
    return [row[0], *row[2:]]


def _predicted(event: Event) -> Row | None:
    """A tracepoint of the page allocator in the form of its row; None for what the trace does not show."""
    if isinstance(event, mm_ev.MmPageAlloc):
        return ["a", event.pfn, event.order, event.migratetype, event.gfp_mask] if event.pfn >= 0 else None
    if isinstance(event, mm_ev.MmPageFree):
        return ["f", event.pfn, event.order]
    if isinstance(event, (mm_ev.MmPageAllocZoneLocked, mm_ev.MmPagePcpuDrain, mm_ev.MmPageAllocExtfrag)):
        return _less_cpu(as_inner(event, 0))
    return None
