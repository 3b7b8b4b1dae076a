"""fork: the child gets entries for what the parent has touched, and neither may write to private pages any more.

    parent   pte -> page, RW, A, D          before
    parent   pte -> page,     A, D          after:  the next write copies
    child    pte -> page,        D                  not accessed yet; shared mappings are clean, too

A mapping without anon_vma has nothing that a fault could not bring again: it is passed over, and the child begins there
without tables. Only a driver's frames (VM_PFNMAP) are always copied, for nobody could bring them. A table that the
parent has within a mapping is made for the child even if its entries are all none.

Left out: hugetlb, swap entries, pauses for other tasks.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT, VM_HUGETLB, VM_MIXEDMAP, VM_PFNMAP, VM_SHARED, Errno
from ..trace import mirrors
from . import vm_events as ev
from .huge_memory import copy_huge_pmd
from .memory import is_cow_mapping, vm_normal_page
from .mm_types import MmStruct, VmAreaStruct
from .page_rmap import mm_counter, page_dup_rmap
from .pgalloc import p4d_alloc, pmd_alloc, pte_alloc_map, pud_alloc
from .pgtable import (
    entries,
    entry,
    offset,
    pgd_offset,
    pmd_large,
    pte_mkclean,
    pte_mkold,
    pte_offset_map,
    pte_write,
    pte_wrprotect,
)
from .swap import get_page
from .vm import add_mm_counter, set_pte_at

if TYPE_CHECKING:
    from .machine import Machine

PMD, PTE = 3, 4  # levels


@mirrors("mm/memory.c")
def copy_page_range(machine: Machine, dst_mm: MmStruct, src_mm: MmStruct, vma: VmAreaStruct) -> int:
    """Copy the entries of one mapping of the parent.

    Parameters
    ----------
    dst_mm, src_mm : MmStruct
        The child's and the parent's address space.
    vma : VmAreaStruct
        The parent's mapping.

    Returns
    -------
    int
        0, or -ENOMEM: what was copied so far stays.
    """
    needed = bool(vma.vm_flags & (VM_HUGETLB | VM_PFNMAP | VM_MIXEDMAP) or vma.anon_vma)
    if machine.on:
        machine.trace.emit(ev.CopyConsidered(dst_mm.pid, vma.id, needed))
    if not needed:
        return 0
    for pgd, start, stop in entries(machine, 0, src_mm.pgd << PAGE_SHIFT, vma.vm_start, vma.vm_end):
        if not _copy_level(machine, dst_mm, vma, 1, pgd_offset(machine, dst_mm, start), pgd, start, stop):
            return -Errno.ENOMEM
    return 0


_ALLOC: dict[int, Callable[[Machine, MmStruct, int, int], int | None]] = {1: p4d_alloc, 2: pud_alloc, 3: pmd_alloc}


def _copy_level(machine: Machine, dst_mm: MmStruct, vma: VmAreaStruct, number: int, dst_above: int, src_above: int,
                addr: int, end: int) -> bool:
    """copy_p4d_range, copy_pud_range, copy_pmd_range: the child's table first, then each entry that is not none."""
    if _ALLOC[number](machine, dst_mm, dst_above, addr) is None:
        return False
    for src, start, stop in entries(machine, number, src_above, addr, end):
        dst = offset(machine, number, dst_above, start)
        if number < PMD:
            copied = _copy_level(machine, dst_mm, vma, number + 1, dst, src, start, stop)
        elif pmd_large(entry(machine, src)):
            copied = copy_huge_pmd(machine, dst_mm, vma.vm_mm, dst, src, start) == 0
        else:
            copied = copy_pte_range(machine, dst_mm, vma.vm_mm, dst, src, vma, start, stop) == 0
        if not copied:
            return False
    return True


@mirrors("mm/memory.c")
def copy_pte_range(machine: Machine, dst_mm: MmStruct, src_mm: MmStruct, dst_pmd: int, src_pmd: int, vma: VmAreaStruct,
                   addr: int, end: int) -> int:
    """Copy the entries of one PTE table; the child's RSS is settled at the end."""
    rss = [0, 0, 0, 0]
    if machine.on:
        machine.trace.emit(ev.RangeWalked(src_mm.pid, "pmd", addr, end, entry(machine, src_pmd)))
    if pte_alloc_map(machine, dst_mm, dst_pmd, addr) is None:
        return -Errno.ENOMEM
    for src_pte, vaddr, _ in entries(machine, PTE, src_pmd, addr, end):
        member = copy_one_pte(machine, dst_mm, src_mm, pte_offset_map(machine, dst_pmd, vaddr), src_pte, vma, vaddr)
        if member is not None:
            rss[member] += 1
    for member, value in enumerate(rss):
        if value:
            add_mm_counter(machine, dst_mm.pid, member, value)
    return 0


@mirrors("mm/memory.c")
def copy_one_pte(machine: Machine, dst_mm: MmStruct, src_mm: MmStruct, dst_pte: int, src_pte: int, vma: VmAreaStruct,
                 addr: int) -> int | None:
    """Copy one entry. Returns which of the RSS counters its page belongs to, None for no page that counts."""
    pte = entry(machine, src_pte)
    if is_cow_mapping(vma.vm_flags) and pte_write(pte):
        pte = pte_wrprotect(pte)
        set_pte_at(machine, src_mm.pid, addr, src_pte, pte)
    if vma.vm_flags & VM_SHARED:
        pte = pte_mkclean(pte)
    pte = pte_mkold(pte)
    page = vm_normal_page(machine, vma, addr, pte)
    if page is not None:
        get_page(machine, page)
        page_dup_rmap(machine, page)
    set_pte_at(machine, dst_mm.pid, addr, dst_pte, pte)
    return None if page is None else mm_counter(machine, page)
