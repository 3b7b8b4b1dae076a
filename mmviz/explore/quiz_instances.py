"""New problems without end: a small machine, some requests that nobody recorded, and a few that are asked about.

    instance("head_or_tail", seed=7)  ->  (recording, question), the same each time

A machine that comes to no question of its kind, or to a trivial one, is thrown away, and the next one of the same seed
is made. Where several questions arise, the right answer is drawn first and the question second, so that the frequent
answer (the head, "no merge", the first zone) is no better guess than the rare one.
"""
from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..kernel import (
    __GFP_DIRECT_RECLAIM,
    __GFP_DMA32,
    __GFP_RECLAIMABLE,
    GFP_ATOMIC,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_NOWAIT,
)
from ..mm.boot import boot, toy, zones_toy
from ..mm.machine import Machine, set_current
from ..mm.page_alloc import alloc_pages_node
from ..mm.page_free import __free_pages
from ..recording import Recording, record
from . import quiz_kmap, quiz_trace, quiz_vm_instances
from .questions import Question, Value
from .quiz_slab_instances import SLAB_MAKERS
from .quiz_walk import KINDS

TRIES = 200
MOST_CANDIDATES = 12
ANY_TYPE = (GFP_KERNEL, GFP_HIGHUSER_MOVABLE, GFP_KERNEL | __GFP_RECLAIMABLE)
Held = list[tuple[int, int]]  # pfn, order


def instance(kind: str, seed: int) -> tuple[Recording, Question]:
    """The problem of a kind and a seed.

    >>> recording, question = instance("head_or_tail", 1)
    >>> question.right in ("head", "tail")
    True
    """
    for attempt in range(TRIES):
        rng = Random(f"{kind} {seed} {attempt}")
        recording = MAKERS[kind](rng)
        question = _drawn(rng, recording, kind)
        if question is not None:
            return recording, question.shuffled(seed)
    raise ValueError(f"seed {seed} gives no question of the kind {kind}; take another")


def _drawn(rng: Random, recording: Recording, kind: str) -> Question | None:
    """One of the questions that a recording has: the answer is drawn first."""
    found: dict[Value, list[Question]] = {}
    numbers = list(range(len(recording)))
    rng.shuffle(numbers)
    count = 0
    for number in numbers:
        question = KINDS[kind](recording, number)
        if question is not None and count < MOST_CANDIDATES:
            found.setdefault(_sort_of_answer(question), []).append(question)
            count += 1
    return rng.choice(found[rng.choice(sorted(found, key=str))]) if found else None


def _sort_of_answer(question: Question) -> Value:
    """What is drawn: head or tail, merge or none, yes or no; a page frame is like any other."""
    right = question.right
    return right if isinstance(right, str) and question.kind != "half_back" else "some"


# ---------------------------------------------------------------- machines with a past


def _take(machine: Machine, held: Held, gfp: int, order: int) -> bool:
    pfn = alloc_pages_node(machine, machine.cpu_to_node[machine.current.cpu], gfp, order)
    if pfn is not None:
        held.append((pfn, order))
    return pfn is not None


def _give(rng: Random, machine: Machine, held: Held) -> None:
    if held:
        pfn, order = held.pop(rng.randrange(len(held)))
        __free_pages(machine, pfn, order)


def _worn(rng: Random, machine: Machine, largest: int = 3, types: tuple[int, ...] = (GFP_KERNEL,)) -> Held:
    """Requests and frees that leave gaps; what is still held."""
    held: Held = []
    for _ in range(rng.randint(8, 30)):
        _take(machine, held, rng.choice(types), rng.randint(0, largest))
    for _ in range(rng.randint(3, max(3, len(held) // 2))):
        _give(rng, machine, held)
    return held


def _taking(rng: Random) -> Recording:
    machine = toy(4)
    _worn(rng, machine)
    with record(machine) as recording:
        for _ in range(3):
            _take(machine, [], GFP_KERNEL, rng.randint(0, 3))
    return recording


def _giving(rng: Random) -> Recording:
    machine = toy(4)
    held = _worn(rng, machine)
    with record(machine) as recording:
        for _ in range(8):
            _give(rng, machine, held)
    return recording


def _refill(rng: Random) -> Recording:
    machine, gfp = toy(64), rng.choice(ANY_TYPE)
    held = _worn(rng, machine, 2, (gfp,))
    for _ in range(len(held) // 3):
        _give(rng, machine, held)
    with record(machine) as recording:
        for _ in range(8):
            _take(machine, [], gfp, 0)
    return recording


def _exhaust(rng: Random, machine: Machine, gfp: int) -> None:
    """Leave the zones of these flags near their marks: large blocks first, then smaller ones."""
    for order in (10, 7, 4, 2, 0)[:rng.randint(3, 5)]:
        for _ in range(64):
            if not _take(machine, [], gfp, order):
                break


def _zones(rng: Random) -> Recording:
    machine = rng.choice((zones_toy, _three_zones))()
    for gfp in rng.sample((GFP_NOWAIT, GFP_NOWAIT | __GFP_DMA32), rng.randint(0, 2)):
        _exhaust(rng, machine, gfp)
    with record(machine) as recording:
        for _ in range(4):
            _take(machine, [], rng.choice((GFP_NOWAIT, GFP_KERNEL | __GFP_DMA32, GFP_ATOMIC)), rng.randint(0, 3))
    return recording


def _three_zones() -> Machine:
    return boot([("DMA", 0x400, 0x800), ("DMA32", 0x1000, 0x1000), ("Normal", 0x100000, 0x1000)])


def _marks(rng: Random) -> Recording:
    low = rng.randint(60, 300)
    machine = toy(4, watermarks=(low - rng.randint(5, 40), low, low + rng.randint(5, 40)))
    zone = next(iter(machine.zones()))
    for order in (6, 4, 2, 0):
        while zone.vm_stat[0] > low + (2 << order) and _take(machine, [], GFP_NOWAIT, order):
            pass
    with record(machine) as recording:
        _take(machine, [], rng.choice((GFP_NOWAIT, GFP_ATOMIC)), rng.randint(0, 3))
    return recording


def _thefts(rng: Random) -> Recording:
    machine = toy(4, grouping=True, watermarks=(0, 0, 0))
    held: Held = []
    first = rng.choice(ANY_TYPE)
    for _ in range(rng.randint(60, 200)):
        _take(machine, held, first if rng.random() < 0.7 else rng.choice(ANY_TYPE), rng.randint(0, 5))
    for _ in range(rng.randint(5, len(held) - 1)):
        _give(rng, machine, held)
    with record(machine) as recording:
        for _ in range(6):
            _take(machine, held, rng.choice(ANY_TYPE) & ~__GFP_DIRECT_RECLAIM, rng.randint(0, 3))
    return recording


def _nodes(rng: Random) -> Recording:
    far = rng.sample(range(14, 40, 4), 6)
    pairs = {(a, b): far.pop() for a in range(4) for b in range(a + 1, 4)}
    distance = [[10 if a == b else pairs[min(a, b), max(a, b)] for b in range(4)] for a in range(4)]
    machine = boot([("DMA32", 0x1000 + nid * 0x400, 0x400, nid) for nid in range(4)], cpus=(0, 1, 2, 3),
                   distance=distance)
    set_current(machine, rng.randrange(4))
    for _ in range(rng.randint(6, 22)):
        _take(machine, [], GFP_NOWAIT, 7)
    with record(machine) as recording:
        for _ in range(4):
            _take(machine, [], GFP_NOWAIT, rng.choice((7, 8)))
    return recording


MAKERS: dict[str, Callable[[Random], Recording]] = {
    "order_found": _taking, "block_taken": _taking, "half_back": _taking, "merge": _giving, "head_or_tail": _giving,
    "pcp_fill": _refill, "zone_serves": _zones, "watermark": _marks, "steal": _thefts, "next_node": _nodes,
    "lists_after": quiz_trace.taking_and_giving, "node_order": _nodes,
    **quiz_kmap.MAKERS, **quiz_vm_instances.MAKERS, **SLAB_MAKERS,
}
