"""mprotect, the half that looks at entries: each one that is there gets other rights.

Frame, accessed, dirty and special bits stay; the rest comes from the mapping's new vm_page_prot. That one never lets a
private mapping write, so mprotect to rw- takes RW away from private pages that had it: the next write faults, and
`do_wp_page` finds out whether the page is still shared.

Left out: hugetlb, swap entries, NUMA hinting.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT
from ..trace import mirrors
from . import vm_events as ev
from .geometry import geometry_of
from .huge_memory import __split_huge_pmd, change_huge_pmd
from .mm_types import VmAreaStruct
from .pgtable import entries, entry, pmd_large, pte_dirty, pte_mkwrite, pte_modify, pte_present
from .vm import set_pte_at

if TYPE_CHECKING:
    from .machine import Machine

PMD, PTE = 3, 4  # levels


@mirrors("mm/mprotect.c")
def change_protection(machine: Machine, vma: VmAreaStruct, start: int, end: int, newprot: int,
                      dirty_accountable: int = 0, prot_numa: int = 0) -> int:
    """Give the entries of a part of a mapping other rights.

    Parameters
    ----------
    newprot : int
        The bits of the new entries: vma.vm_page_prot.
    dirty_accountable : int
        1 where writes are tracked by making clean entries read-only: entries that are dirty get RW at once then.
    prot_numa : int
        Of NUMA balancing, which is left out: 0.

    Returns
    -------
    int
        The entries changed.
    """
    if machine.on:
        machine.trace.emit(ev.RangeWalked(vma.vm_mm.pid, "vma", start, end, vma.id))
    return sum(_change_level(machine, vma, 1, pgd, first, stop, newprot, dirty_accountable)
               for pgd, first, stop in entries(machine, 0, vma.vm_mm.pgd << PAGE_SHIFT, start, end))


def _change_level(machine: Machine, vma: VmAreaStruct, number: int, above: int, addr: int, end: int, newprot: int,
                  dirty_accountable: int) -> int:
    """change_p4d_range, change_pud_range, change_pmd_range."""
    pages = 0
    for pointer, start, stop in entries(machine, number, above, addr, end):
        if number < PMD:
            pages += _change_level(machine, vma, number + 1, pointer, start, stop, newprot, dirty_accountable)
        elif pmd_large(entry(machine, pointer)) and stop - start == 1 << geometry_of(machine).levels[PMD].shift:
            pages += change_huge_pmd(machine, vma, pointer, start, newprot)
        else:
            if pmd_large(entry(machine, pointer)):
                __split_huge_pmd(machine, vma, pointer, start)
            pages += change_pte_range(machine, vma, pointer, start, stop, newprot, dirty_accountable)
    return pages


@mirrors("mm/mprotect.c")
def change_pte_range(machine: Machine, vma: VmAreaStruct, pmd: int, addr: int, end: int, newprot: int,
                     dirty_accountable: int) -> int:
    """The entries of one PTE table."""
    pages = 0
    if machine.on:
        machine.trace.emit(ev.RangeWalked(vma.vm_mm.pid, "pmd", addr, end, entry(machine, pmd)))
    for pte, vaddr, _ in entries(machine, PTE, pmd, addr, end):
        old = entry(machine, pte)
        if pte_present(old):
            value = pte_modify(geometry_of(machine), old, newprot)
            if dirty_accountable and pte_dirty(value):
                value = pte_mkwrite(value)
            set_pte_at(machine, vma.vm_mm.pid, vaddr, pte, value)
            pages += 1
    return pages
