"""Pages on their way out: an entry is cleared now, its page freed later, when no CPU can have it in its TLB any more.

    tlb_gather_mmu        room for 8 pages on the stack
    tlb_remove_page       collect; when full, one page from the allocator as room for 510 more
    tlb_flush_mmu         flush the TLB, then drop a reference of each page
    tlb_finish_mmu        the same, and give the room back

Page tables go the same way.

Left out: the TLB itself, kernels that free tables by RCU, huge-page sizes of the gather.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..kernel import __GFP_NOWARN, GFP_NOWAIT, PAGE_SIZE
from ..trace import mirrors
from . import vm_events as ev
from .geometry import geometry_of
from .get_free_pages import __get_free_pages
from .mm_types import MmStruct
from .page_free import free_pages
from .swap import lru_add_drain, release_pages

if TYPE_CHECKING:
    from .machine import Machine

MMU_GATHER_BUNDLE = 8
MAX_GATHERED = 10000  # pages, in all batches but the first


@dataclass(slots=True)
class MmuGather:
    """struct mmu_gather: `batches` are lists of pages, `rooms` where all but the first are kept."""

    mm: MmStruct
    batch_size: int
    active: int = 0
    batches: list[list[int]] = field(default_factory=lambda: [[]])
    rooms: list[int] = field(default_factory=list)

    @property
    def room(self) -> int:
        """Pages that the active batch holds."""
        return self.batch_size if self.active else MMU_GATHER_BUNDLE


@mirrors("mm/mmu_gather.c")
def tlb_gather_mmu(machine: Machine, mm: MmStruct, start: int, end: int) -> MmuGather:
    """Begin to unmap [start, end); 0 and -1 stand for all of an address space that goes away."""
    pointer = geometry_of(machine).bits // 8
    if machine.on:
        machine.trace.emit(ev.TlbGatherBegun(mm.pid, start, end))
    return MmuGather(mm, (PAGE_SIZE - pointer - 8) // pointer)


def tlb_remove_page(machine: Machine, tlb: MmuGather, pfn: int) -> None:
    """Collect a page, and flush if there is no room for another one.

    Kernel: include/asm-generic/tlb.h:tlb_remove_page.
    """
    if __tlb_remove_page(machine, tlb, pfn):
        tlb_flush_mmu(machine, tlb)


def __tlb_remove_page(machine: Machine, tlb: MmuGather, pfn: int) -> bool:
    """Collect a page; True if there is no room for another one, and the caller must flush.

    Kernel: mm/mmu_gather.c:__tlb_remove_page_size.
    """
    batch = tlb.batches[tlb.active]
    tlb.batches[tlb.active].append(pfn)
    return len(batch) == tlb.room and not tlb_next_batch(machine, tlb)


def tlb_next_batch(machine: Machine, tlb: MmuGather) -> bool:
    """Go on to the next batch; it needs a page of its own. False if there is none to be had, or too many are waiting.

    Kernel: mm/mmu_gather.c:tlb_next_batch.
    """
    if tlb.active == len(tlb.rooms):
        if len(tlb.rooms) == MAX_GATHERED // tlb.batch_size:
            return False
        room = __get_free_pages(machine, GFP_NOWAIT | __GFP_NOWARN, 0)
        if not room:
            return False
        tlb.rooms.append(room)
        tlb.batches.append([])
    tlb.active += 1
    return True


@mirrors("mm/mmu_gather.c")
def tlb_flush_mmu(machine: Machine, tlb: MmuGather) -> None:
    """Flush the TLB, and drop a reference of each page collected so far."""
    if machine.on:
        machine.trace.emit(ev.TlbFlushed(tlb.mm.pid, sum(map(len, tlb.batches))))
    for number, batch in enumerate(tlb.batches):
        if not batch:
            break
        tlb.batches[number] = []
        free_pages_and_swap_cache(machine, batch)
    tlb.active = 0


@mirrors("mm/swap_state.c")
def free_pages_and_swap_cache(machine: Machine, pages: list[int]) -> None:
    """Drop a reference of each page, after this CPU's pagevec has dropped its own."""
    lru_add_drain(machine)
    release_pages(machine, pages)


@mirrors("mm/mmu_gather.c")
def tlb_finish_mmu(machine: Machine, tlb: MmuGather, start: int, end: int) -> None:
    """End of the unmapping: flush, and give back the pages that held the batches."""
    tlb_flush_mmu(machine, tlb)
    for room in tlb.rooms:
        free_pages(machine, room, 0)
