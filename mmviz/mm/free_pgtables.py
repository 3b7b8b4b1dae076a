"""Tables that nobody can need any more go back to the page allocator.

Which ones, the neighbours decide, not what is in them: `floor` is where the mapping below ends, `ceiling` where the one
above begins. A table goes if the whole span that it serves lies between them.

        floor                                    ceiling
    ----]    |<--------- span of a table --------->|    [----       goes
    ----]    |<--------- span of a table ------[---|-----           stays

So a table without entries may stay, because a mapping still reaches into its span.

Kernel: mm/memory.c at v5.4. Left out: hugetlb.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT, PAGE_SIZE
from ..trace import mirrors
from . import vm_events as ev
from .geometry import Geometry, geometry_of
from .mm_types import MmStruct, VmAreaStruct
from .mmu_gather import MmuGather, tlb_remove_page
from .pgtable import entries, entry, pte_pfn
from .rmap import unlink_anon_vmas
from .vm import add_pgtables_bytes, pgtable_page_dtor, set_p4d, set_pgd, set_pmd, set_pud

if TYPE_CHECKING:
    from .machine import Machine

PMD = 3  # a level


@mirrors("mm/memory.c")
def free_pgtables(machine: Machine, tlb: MmuGather, vmas: Sequence[VmAreaStruct], floor: int, ceiling: int) -> None:
    """Free the tables that only these mappings needed; they are unmapped, and no longer in the list.

    Parameters
    ----------
    vmas : sequence of VmAreaStruct
        In ascending order.
    floor, ceiling : int
        Where the mapping below ends and the one above begins; 0 where there is none.

    Notes
    -----
    Mappings less than a PMD entry's span apart are served together. The mappings lose their anon_vmas here.
    """
    near = 1 << geometry_of(machine).levels[PMD].shift
    waiting = list(vmas)
    while waiting:
        first = last = waiting.pop(0)
        unlink_anon_vmas(machine, last)
        while waiting and waiting[0].vm_start <= last.vm_end + near:
            last = waiting.pop(0)
            unlink_anon_vmas(machine, last)
        free_pgd_range(machine, tlb, first.vm_start, last.vm_end, floor, waiting[0].vm_start if waiting else ceiling)


@mirrors("mm/memory.c")
def free_pgd_range(machine: Machine, tlb: MmuGather, addr: int, end: int, floor: int, ceiling: int) -> None:
    """The tables of [addr, end), widened or narrowed to whole PTE tables, as floor and ceiling allow."""
    geometry = geometry_of(machine)
    size = 1 << geometry.levels[PMD].shift
    start, top = addr & -size, ceiling & -size
    if start < floor:
        start = start + size & geometry.word
    last = end - size if (end - 1 & geometry.word) > (top - 1 & geometry.word) else end
    nothing = (start == 0 and floor > 0) or (ceiling > 0 and top == 0) or start > last - 1
    if machine.on:
        machine.trace.emit(ev.TablesBounded(tlb.mm.pid, addr, end, floor, ceiling, not nothing))
    if nothing:
        return
    for pgd, first, stop in list(entries(machine, 0, tlb.mm.pgd << PAGE_SHIFT, start, last)):
        free_p4d_range(machine, tlb, pgd, first, stop, floor, ceiling)


@mirrors("mm/memory.c")
def free_p4d_range(machine: Machine, tlb: MmuGather, pgd: int, addr: int, end: int, floor: int, ceiling: int) -> None:
    """The PUD tables below one entry of the top table; then the P4D table itself, where there is one."""
    for p4d, first, stop in list(entries(machine, 1, pgd, addr, end)):
        free_pud_range(machine, tlb, p4d, first, stop, floor, ceiling)
    if _span_is_free(machine, tlb.mm, 1, addr, end, floor, ceiling):
        table = pte_pfn(geometry_of(machine), entry(machine, pgd))
        set_pgd(machine, tlb.mm.pid, addr, pgd, 0)
        __free_table(machine, tlb, "p4d", table)


@mirrors("mm/memory.c")
def free_pud_range(machine: Machine, tlb: MmuGather, p4d: int, addr: int, end: int, floor: int, ceiling: int) -> None:
    """The PMD tables below one P4D entry; then the PUD table itself."""
    for pud, first, stop in list(entries(machine, 2, p4d, addr, end)):
        free_pmd_range(machine, tlb, pud, first, stop, floor, ceiling)
    if _span_is_free(machine, tlb.mm, 2, addr, end, floor, ceiling):
        table = pte_pfn(geometry_of(machine), entry(machine, p4d))
        set_p4d(machine, tlb.mm.pid, addr, p4d, 0)
        __free_table(machine, tlb, "pud", table)
        add_pgtables_bytes(machine, tlb.mm.pid, -PAGE_SIZE)


@mirrors("mm/memory.c")
def free_pmd_range(machine: Machine, tlb: MmuGather, pud: int, addr: int, end: int, floor: int, ceiling: int) -> None:
    """The PTE tables below one PUD entry; then the PMD table itself."""
    for pmd, first, _ in list(entries(machine, PMD, pud, addr, end)):
        free_pte_range(machine, tlb, pmd, first)
    if _span_is_free(machine, tlb.mm, PMD, addr, end, floor, ceiling):
        table = pte_pfn(geometry_of(machine), entry(machine, pud))
        set_pud(machine, tlb.mm.pid, addr, pud, 0)
        __free_table(machine, tlb, "pmd", table)
        add_pgtables_bytes(machine, tlb.mm.pid, -PAGE_SIZE)


@mirrors("mm/memory.c")
def free_pte_range(machine: Machine, tlb: MmuGather, pmd: int, addr: int) -> None:
    """One PTE table."""
    table = pte_pfn(geometry_of(machine), entry(machine, pmd))
    set_pmd(machine, tlb.mm.pid, addr, pmd, 0)
    __free_table(machine, tlb, "pte", table)
    add_pgtables_bytes(machine, tlb.mm.pid, -PAGE_SIZE)


def __free_table(machine: Machine, tlb: MmuGather, level: str, pfn: int) -> None:
    """pte_free_tlb and its sisters: the page is freed when the TLB was flushed."""
    pgtable_page_dtor(machine, pfn, level)
    tlb_remove_page(machine, tlb, pfn)


def _span_is_free(machine: Machine, mm: MmStruct, number: int, addr: int, end: int, floor: int, ceiling: int) -> bool:
    """Whether the whole span of the table of level `number` that serves [addr, end) lies between the two."""
    geometry = geometry_of(machine)
    if geometry.levels[number].folded:
        return False
    start, top = _bounds(geometry, number, addr, ceiling)
    free = start >= floor and not (ceiling and not top) and (end - 1) <= (top - 1 & geometry.word)
    if not free and machine.on:
        machine.trace.emit(ev.TableKept(mm.pid, geometry.levels[number].name, start, floor, ceiling))
    return free


def _bounds(geometry: Geometry, number: int, addr: int, ceiling: int) -> tuple[int, int]:
    """Where the span of the table begins, and the ceiling rounded down to such a span."""
    above = next(level for level in reversed(geometry.levels[:number]) if not level.folded)
    return addr & -(1 << above.shift), ceiling & -(1 << above.shift)
