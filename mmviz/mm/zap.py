"""Unmapping: entries go first, their pages when the TLB is flushed. (The tables come last: free_pgtables.py.)

    unmap_vmas                 for each mapping of a range
      unmap_page_range         level by level down to
        zap_pte_range          clear the entry; mapcount and RSS less one; collect the page (mmu_gather.py)

MADV_DONTNEED and truncation stop here: entries are cleared, tables stay. A dirty page of a file forces a flush, so that
no CPU can write to it once it counts as clean; its pages are freed before the next table is looked at.

Left out: hugetlb, swap entries (nothing is swapped out here), devmap.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT, PAGE_SIZE, VM_PFNMAP, VM_SEQ_READ
from ..trace import mirrors
from . import vm_events as ev
from .geometry import geometry_of
from .huge_memory import __split_huge_pmd, zap_huge_pmd
from .memory import untrack_pfn, vm_normal_page
from .mm_types import Inode, VmAreaStruct
from .mmu_gather import MmuGather, __tlb_remove_page, tlb_finish_mmu, tlb_flush_mmu, tlb_gather_mmu
from .page_rmap import mm_counter, page_anon, page_remove_rmap
from .pgtable import entries, entry, pmd_large, pte_dirty, pte_present, pte_young
from .swap import lru_add_drain, mark_page_accessed, set_page_dirty
from .vm import add_mm_counter, set_pte_at, sync_mm_rss, vm

if TYPE_CHECKING:
    from .machine import Machine

PMD, PTE = 3, 4  # levels


@mirrors("mm/memory.c")
def unmap_vmas(machine: Machine, tlb: MmuGather, vmas: Sequence[VmAreaStruct], start_addr: int, end_addr: int) -> None:
    """Clear the entries of [start_addr, end_addr) in each of these mappings, which stand in ascending order."""
    for vma in vmas:
        unmap_single_vma(machine, tlb, vma, start_addr, end_addr)


@mirrors("mm/memory.c")
def unmap_single_vma(machine: Machine, tlb: MmuGather, vma: VmAreaStruct, start_addr: int, end_addr: int,
                     check_mapping: int = 0) -> None:
    """The part of one mapping that lies in [start_addr, end_addr); -1 is the end of all addresses.

    `check_mapping` is an inode: pages of other owners (private copies) stay. 0: all go.
    """
    start = max(vma.vm_start, start_addr)
    end = min(vma.vm_end, end_addr & geometry_of(machine).word)
    if start >= end:
        return
    if vma.vm_flags & VM_PFNMAP:
        untrack_pfn(machine, vma)
    unmap_page_range(machine, tlb, vma, start, end, check_mapping)


@mirrors("mm/memory.c")
def unmap_page_range(machine: Machine, tlb: MmuGather, vma: VmAreaStruct, addr: int, end: int,
                     check_mapping: int) -> None:
    """From the top table down; entries that are none are passed over."""
    if machine.on:
        machine.trace.emit(ev.RangeWalked(vma.vm_mm.pid, "vma", addr, end, vma.id))
    for pgd, first, stop in entries(machine, 0, vma.vm_mm.pgd << PAGE_SHIFT, addr, end):
        zap_range(machine, tlb, vma, 1, pgd, first, stop, check_mapping)


def zap_range(machine: Machine, tlb: MmuGather, vma: VmAreaStruct, number: int, above: int, addr: int, end: int,
              check_mapping: int) -> None:
    """zap_p4d_range and zap_pud_range: each entry of level `number` below the entry at `above`."""
    for pointer, first, stop in entries(machine, number, above, addr, end):
        if number < PMD:
            zap_range(machine, tlb, vma, number + 1, pointer, first, stop, check_mapping)
        else:
            zap_pmd(machine, tlb, vma, pointer, first, stop, check_mapping)


def zap_pmd(machine: Machine, tlb: MmuGather, vma: VmAreaStruct, pmd: int, addr: int, end: int,
            check_mapping: int) -> None:
    """One entry of zap_pmd_range: a huge page goes as a whole, or is split if only a part goes."""
    if pmd_large(entry(machine, pmd)):
        if end - addr == 1 << geometry_of(machine).levels[PMD].shift:
            return zap_huge_pmd(machine, tlb, vma, pmd, addr)
        __split_huge_pmd(machine, vma, pmd, addr)
    zap_pte_range(machine, tlb, vma, pmd, addr, end, check_mapping)


@mirrors("mm/memory.c")
def zap_pte_range(machine: Machine, tlb: MmuGather, vma: VmAreaStruct, pmd: int, addr: int, end: int,
                  check_mapping: int = 0) -> None:
    """Clear the entries of one PTE table.

    Notes
    -----
    Emits SetPteAt 0 for each entry; AddMapcount for each page. When no room is left to collect pages, and after a dirty
    page of a file, the counters are settled, what was collected is freed, and the walk goes on.
    """
    rss, force_flush = [0, 0, 0, 0], False
    if machine.on:
        machine.trace.emit(ev.RangeWalked(vma.vm_mm.pid, "pmd", addr, end, entry(machine, pmd)))
    for pte, vaddr, _ in list(entries(machine, PTE, pmd, addr, end)):
        page, member, dirty = zap_pte(machine, vma, pte, vaddr, check_mapping)
        if page is None:
            continue
        rss[member] -= 1
        force_flush |= dirty
        if __tlb_remove_page(machine, tlb, page):
            add_mm_rss_vec(machine, vma, rss)
            tlb_flush_mmu(machine, tlb)
            rss, force_flush = [0, 0, 0, 0], False
    add_mm_rss_vec(machine, vma, rss)
    if force_flush:
        tlb_flush_mmu(machine, tlb)


def zap_pte(machine: Machine, vma: VmAreaStruct, pte: int, vaddr: int,
            check_mapping: int) -> tuple[int | None, int, bool]:
    """Clear one entry: the page to collect, which counter it belongs to, and whether a flush must follow."""
    value = entry(machine, pte)
    page = vm_normal_page(machine, vma, vaddr, value) if pte_present(value) else None
    if check_mapping and page is not None and not _maps(machine, page, check_mapping):
        return None, 0, False
    set_pte_at(machine, vma.vm_mm.pid, vaddr, pte, 0)
    if page is None:
        return None, 0, False
    force_flush = False
    if not page_anon(machine, page):
        if pte_dirty(value):
            force_flush = True
            set_page_dirty(machine, page)
        if pte_young(value) and not vma.vm_flags & VM_SEQ_READ:
            mark_page_accessed(machine, page)
    page_remove_rmap(machine, page)
    return page, mm_counter(machine, page), force_flush


def _maps(machine: Machine, page: int, ino: int) -> bool:
    """Whether a page is of the page cache of `ino`."""
    mapping = vm(machine).mapping.get(page)
    return mapping is not None and (mapping.kind, mapping.owner) == ("file", ino)


@mirrors("mm/memory.c")
def add_mm_rss_vec(machine: Machine, vma: VmAreaStruct, rss: list[int]) -> None:
    """Settle what was counted: first the task's own counters are folded, then these added."""
    mm = vma.vm_mm
    sync_mm_rss(machine, mm.pid)
    for member, value in enumerate(rss):
        if value:
            add_mm_counter(machine, mm.pid, member, value)


# ---------------------------------------------------------------- entries only


@mirrors("mm/memory.c")
def zap_page_range(machine: Machine, vma: VmAreaStruct, start: int, size: int) -> None:
    """Clear the entries of `size` bytes from `start` on, in this mapping and those after it: MADV_DONTNEED."""
    mm = vma.vm_mm
    lru_add_drain(machine)
    tlb = tlb_gather_mmu(machine, mm, start, start + size)
    for area in mm.mmap[mm.index(vma.vm_start):]:
        if area.vm_start >= start + size:
            break
        unmap_single_vma(machine, tlb, area, start, start + size)
    tlb_finish_mmu(machine, tlb, start, start + size)


@mirrors("mm/memory.c")
def unmap_mapping_pages(machine: Machine, inode: Inode, start: int, nr: int, even_cows: bool) -> None:
    """Clear the entries of pages [start, start + nr) of a file, wherever it is mapped; nr 0 is to its end.

    `even_cows`: private copies go too, as when the file is cut.
    """
    for pid in sorted(vm(machine).mm):
        for vma in vm(machine).mm[pid].mmap:
            if vma.vm_file == inode.ino:
                unmap_mapping_range_vma(machine, vma, start, start + nr if nr else None, 0 if even_cows else inode.ino)


def unmap_mapping_range_vma(machine: Machine, vma: VmAreaStruct, first: int, last: int | None,
                            check_mapping: int) -> None:
    """The part of one mapping that shows pages [first, last) of its file."""
    nr_pages = vma.vm_end - vma.vm_start >> PAGE_SHIFT
    low = max(first - vma.vm_pgoff, 0)
    high = nr_pages if last is None else min(last - vma.vm_pgoff, nr_pages)
    if low < high:
        zap_page_range_single(machine, vma, vma.vm_start + low * PAGE_SIZE, (high - low) * PAGE_SIZE, check_mapping)


@mirrors("mm/memory.c")
def zap_page_range_single(machine: Machine, vma: VmAreaStruct, address: int, size: int, check_mapping: int) -> None:
    """Clear the entries of a part of one mapping."""
    lru_add_drain(machine)
    tlb = tlb_gather_mmu(machine, vma.vm_mm, address, address + size)
    unmap_single_vma(machine, tlb, vma, address, address + size, check_mapping)
    tlb_finish_mmu(machine, tlb, address, address + size)
