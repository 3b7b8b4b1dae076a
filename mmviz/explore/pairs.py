"""Pairs that are ready to be compared: v5.4 as it is, and a machine that does one thing otherwise.

    NAME           LEFT                         RIGHT
    grouping       migratetypes in use          page_group_by_mobility_disabled
    nofragment     ALLOC_NOFRAGMENT             any type from the first walk on
    batch          pcp batch 1                  pcp batch 63
    tail_rule      head or tail                 every block to the head
    half           the lower half is kept       the upper half is kept
    pile           the pile is a stack          the pile is a queue
    policy         MPOL_DEFAULT (local)         MPOL_INTERLEAVE

Each has a past, which is not shown, and requests, which are. Both kernels run both.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..kernel import GFP_HIGHUSER_MOVABLE, GFP_KERNEL, GFP_NOWAIT, MPOL_INTERLEAVE
from ..mm.boot import boot, duo, toy
from ..mm.machine import Machine, set_mempolicy
from ..mm.patched import Kernel, patched
from ..mm.variants import variant
from ..recording import Recording, record

Pfns = list[int]


class Pair(NamedTuple):
    """Two machines, the kernel on the right, and what both are asked."""

    names: tuple[str, str]
    machines: Callable[[], tuple[Machine, Machine]]
    past: Callable[[Kernel, Machine], Pfns]
    work: Callable[[Kernel, Machine, Pfns], Any]
    wrong: str = ""  # the wrong machine on the right; "" for v5.4
    picture: str = "free_area"
    by: str = "step"


def recordings(pair: Pair) -> tuple[Recording, Recording]:
    """What both machines do."""
    left, right = pair.machines()
    plain = patched()
    return _run(pair, plain, left), _run(pair, variant(pair.wrong) if pair.wrong else plain, right)


def _run(pair: Pair, kernel: Kernel, machine: Machine) -> Recording:
    held = pair.past(kernel, machine)
    with record(machine) as recording:
        pair.work(kernel, machine, held)
    return recording


def _twice(make: Callable[[], Machine]) -> Callable[[], tuple[Machine, Machine]]:
    return lambda: (make(), make())


def _nothing(kernel: Kernel, machine: Machine) -> Pfns:
    return []


# ---------------------------------------------------------------- grouping by mobility


def _grouped_or_not() -> tuple[Machine, Machine]:
    return toy(4, grouping=True), toy(4, grouping=False)


def _two_kinds(kernel: Kernel, machine: Machine) -> Pfns:
    """Blocks that can move and blocks that cannot, in turn, until three quarters of the memory are in use."""
    movable = []
    for _ in range(12):
        movable.append(kernel.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 5))
        kernel.alloc_pages(machine, GFP_KERNEL, 5)
    return movable


def _movable_goes(kernel: Kernel, machine: Machine, movable: Pfns) -> None:
    """All that can move goes away; then somebody wants half of the memory in one block."""
    for pfn in movable:
        kernel.__free_pages(machine, pfn, 5)
    kernel.alloc_pages(machine, GFP_NOWAIT, 9)


# ---------------------------------------------------------------- NOFRAGMENT


def _two_zones() -> Machine:
    """DMA32 and Normal of 4 MiB each; Normal has no whole pageblock left, and nothing UNMOVABLE on its lists."""
    return boot([("DMA32", 0x1000, 0x400), ("Normal", 0x100000, 0x400)], grouping=True, watermarks=(0, 0, 0))


def _normal_is_movable(kernel: Kernel, machine: Machine) -> Pfns:
    return [kernel.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, order) for order in (9, 8)]


def _two_unmovable(kernel: Kernel, machine: Machine, held: Pfns) -> None:
    for _ in range(2):
        kernel.alloc_pages(machine, GFP_KERNEL, 2)


# ---------------------------------------------------------------- per-CPU lists


def _batches() -> tuple[Machine, Machine]:
    return toy(64, batch=1, high=6), toy(64, batch=63, high=378)


def _ten_pages(kernel: Kernel, machine: Machine, held: Pfns) -> None:
    pfns = [kernel.alloc_pages(machine, GFP_KERNEL, 0) for _ in range(10)]
    for pfn in pfns:
        kernel.__free_pages(machine, pfn, 0)


def _four_pages(kernel: Kernel, machine: Machine) -> Pfns:
    return [kernel.alloc_pages(machine, GFP_KERNEL, 0) for _ in range(4)]


def _back_and_again(kernel: Kernel, machine: Machine, held: Pfns) -> None:
    for pfn in held[:3]:
        kernel.__free_pages(machine, pfn, 0)
    for _ in range(2):
        kernel.alloc_pages(machine, GFP_KERNEL, 0)


# ---------------------------------------------------------------- halves, ends, nodes


def _eight_pages(kernel: Kernel, machine: Machine) -> Pfns:
    """An order-3 block in eight single pages."""
    return [kernel.alloc_pages(machine, GFP_KERNEL, 0) for _ in range(8)]


def _a_partner_waits(kernel: Kernel, machine: Machine, held: Pfns) -> None:
    """Page 6 is freed while the pair beside it is free: whoever asks next had better leave it, for 7 follows."""
    for i in (2, 4, 5, 6):
        kernel.__free_pages(machine, held[i], 0)
    kernel.alloc_pages(machine, GFP_KERNEL, 0)
    kernel.__free_pages(machine, held[7], 0)


def _two_orders(kernel: Kernel, machine: Machine, held: Pfns) -> None:
    for order in (2, 0):
        kernel.alloc_pages(machine, GFP_KERNEL, order)


def _local_or_in_turn() -> tuple[Machine, Machine]:
    local, interleaved = duo(), duo()
    set_mempolicy(interleaved, MPOL_INTERLEAVE, [0, 1])
    return local, interleaved


def _four_blocks(kernel: Kernel, machine: Machine, held: Pfns) -> None:
    for _ in range(4):
        kernel.alloc_pages(machine, GFP_KERNEL, 9)


PAIRS: dict[str, Pair] = {
    "grouping": Pair(("Grouping by mobility", "No grouping"), _grouped_or_not, _two_kinds, _movable_goes,
                     picture="frames"),
    "nofragment": Pair(("ALLOC_NOFRAGMENT", "Without it"), _twice(_two_zones), _normal_is_movable, _two_unmovable,
                       "no_nofragment", "map"),
    "batch": Pair(("Batch 1", "Batch 63"), _batches, _nothing, _ten_pages, picture="pcp", by="request"),
    "tail_rule": Pair(("Head or tail", "Head only"), _twice(lambda: toy(4)), _eight_pages, _a_partner_waits,
                      "head_only"),
    "half": Pair(("The lower half is kept", "The upper half is kept"), _twice(lambda: toy(4)), _nothing,
                 _two_orders, "upper_half"),
    "pile": Pair(("The pile is a stack", "The pile is a queue"), _twice(lambda: toy(64, batch=4, high=24)),
                 _four_pages, _back_and_again, "queue", "pcp"),
    "policy": Pair(("Local", "Interleaved"), _local_or_in_turn, _nothing, _four_blocks, picture="map", by="request"),
}
