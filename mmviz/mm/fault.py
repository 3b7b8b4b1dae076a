"""A page fault: the CPU found no entry, or not the right to use it, and the kernel sees to it.

    handle_mm_fault
      __handle_mm_fault               make the tables on the way, top first
        handle_pte_fault              what stands in the entry?
          none, no file     do_anonymous_page     read: the zero page; write: a fresh page (anon_fault.py)
          none, a file      do_fault              read, private write, shared write (file_fault.py)
          not present       do_swap_page          its page would have to be read in: that is the outcome here
          present, write    do_wp_page            copy it, or keep it if nobody else maps it (wp_fault.py)
          present           only the accessed and dirty bits are missing

Tables come before the page: pud, pmd, pte, data, in this order.

Left out: hugetlb, NUMA balancing, userfaultfd, a race with another fault (the entry is always as it was read).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    FAULT_FLAG_WRITE,
    PAGE_SIZE,
    VM_FAULT_FALLBACK,
    VM_FAULT_MAJOR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
)
from ..trace import mirrors
from . import vm_events as ev
from .anon_fault import do_anonymous_page
from .file_fault import do_fault
from .huge_memory import __transparent_hugepage_enabled, do_huge_pmd_anonymous_page, do_huge_pmd_wp_page
from .mm_types import VmAreaStruct, VmFault, vma_is_anonymous
from .page_rmap import linear_page_index
from .pgalloc import p4d_alloc, pmd_alloc, pud_alloc
from .pgtable import (
    entry,
    pgd_offset,
    pmd_large,
    pte_mkdirty,
    pte_mkyoung,
    pte_offset_map,
    pte_present,
    pte_write,
)
from .vm import check_sync_rss_stat, set_pmd, set_pte_at
from .wp_fault import do_wp_page

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/memory.c")
def handle_mm_fault(machine: Machine, vma: VmAreaStruct, address: int, flags: int) -> int:
    """Make an address of a mapping usable.

    Parameters
    ----------
    vma : VmAreaStruct
        The mapping that `address` lies in; its rights allow what was tried.
    address : int
        Any byte of the page.
    flags : int
        FAULT_FLAG_*; FAULT_FLAG_WRITE for a write.

    Returns
    -------
    int
        VM_FAULT_*: 0, or VM_FAULT_WRITE, VM_FAULT_NOPAGE, VM_FAULT_MAJOR when all is well; VM_FAULT_OOM,
        VM_FAULT_SIGBUS; VM_FAULT_RETRY where the kernel would wait for swap.

    Notes
    -----
    Emits FaultBegun to FaultHandled. Kernel: mm/memory.c:handle_mm_fault at v5.4.
    """
    mm = vma.vm_mm
    if machine.on:
        machine.trace.emit(ev.FaultBegun(mm.pid, address, flags))
    check_sync_rss_stat(machine, mm.pid)
    result = __handle_mm_fault(machine, vma, address, flags)
    if machine.on:
        machine.trace.emit(ev.FaultHandled(mm.pid, address, result))
    return result


@mirrors("mm/memory.c")
def __handle_mm_fault(machine: Machine, vma: VmAreaStruct, address: int, flags: int) -> int:
    """Make the tables on the way to the entry; a huge page may end it early."""
    mm, page = vma.vm_mm, address & -PAGE_SIZE
    vmf = VmFault(vma, page, flags, linear_page_index(vma, page))
    p4d = p4d_alloc(machine, mm, pgd_offset(machine, mm, page), page)
    vmf.pud = None if p4d is None else pud_alloc(machine, mm, p4d, page)
    vmf.pmd = None if vmf.pud is None else pmd_alloc(machine, mm, vmf.pud, page)
    if vmf.pmd is None:
        return VM_FAULT_OOM
    result = _huge_fault(machine, vmf, vmf.pmd)
    return handle_pte_fault(machine, vmf) if result & VM_FAULT_FALLBACK else result


def _huge_fault(machine: Machine, vmf: VmFault, pmd: int) -> int:
    """What __handle_mm_fault does at the PMD; VM_FAULT_FALLBACK: go on to the PTE."""
    orig_pmd = entry(machine, pmd)
    if not orig_pmd and vma_is_anonymous(vmf.vma) and __transparent_hugepage_enabled(machine, vmf.vma):
        return do_huge_pmd_anonymous_page(machine, vmf)
    if not pmd_large(orig_pmd):
        return VM_FAULT_FALLBACK
    if vmf.flags & FAULT_FLAG_WRITE and not pte_write(orig_pmd):
        return do_huge_pmd_wp_page(machine, vmf, orig_pmd)
    huge_pmd_set_accessed(machine, vmf, pmd, orig_pmd)
    return 0


@mirrors("mm/huge_memory.c")
def huge_pmd_set_accessed(machine: Machine, vmf: VmFault, pmd: int, orig_pmd: int) -> None:
    """Set the accessed bit of a huge entry, and the dirty bit on a write."""
    value = pte_mkyoung(orig_pmd)
    set_pmd(machine, vmf.vma.vm_mm.pid, vmf.address, pmd,
            pte_mkdirty(value) if vmf.flags & FAULT_FLAG_WRITE else value)


@mirrors("mm/memory.c")
def handle_pte_fault(machine: Machine, vmf: VmFault) -> int:
    """Read the entry, and choose."""
    assert vmf.pmd is not None
    vma = vmf.vma
    vmf.pte, vmf.orig_pte = None, 0
    if entry(machine, vmf.pmd):
        pte = pte_offset_map(machine, vmf.pmd, vmf.address)
        vmf.orig_pte = entry(machine, pte)
        vmf.pte = pte if vmf.orig_pte else None
    if machine.on:
        machine.trace.emit(ev.EntryFound(vma.vm_mm.pid, vmf.address, vmf.orig_pte))
    if vmf.pte is None:
        return do_anonymous_page(machine, vmf) if vma_is_anonymous(vma) else do_fault(machine, vmf)
    if not pte_present(vmf.orig_pte):
        return do_swap_page(machine, vmf)
    value = vmf.orig_pte
    if vmf.flags & FAULT_FLAG_WRITE:
        if not pte_write(value):
            return do_wp_page(machine, vmf)
        value = pte_mkdirty(value)
    set_pte_at(machine, vma.vm_mm.pid, vmf.address, vmf.pte, pte_mkyoung(value))
    return 0


@mirrors("mm/memory.c")
def do_swap_page(machine: Machine, vmf: VmFault) -> int:
    """The page is in swap: the kernel would read it in, and wait. Here that is where it ends.

    Kernel: mm/memory.c:do_swap_page. Nothing swaps out here; an entry of that kind was put there by hand.
    """
    if machine.on:
        machine.trace.emit(ev.WouldSwapIn(vmf.vma.vm_mm.pid, vmf.address, vmf.orig_pte))
    return VM_FAULT_MAJOR | VM_FAULT_RETRY
