"""The first touch of anonymous memory.

A read gets the zero page, the same one for everybody: no page is allocated, nothing counts in RSS, and the entry is
never writable. A write gets a page of its own, filled with zeros. So memory that is only read costs a table at most.

    read  0x1000     pte -> zero page, special, read-only           RSS + 0
    write 0x1000     do_wp_page: pte -> a new page                  RSS + 1, a second fault

Left out: cgroups, userfaultfd, a second fault that was quicker.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    __GFP_ZERO,
    FAULT_FLAG_WRITE,
    GFP_HIGHUSER_MOVABLE,
    MM_ANONPAGES,
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
    VM_SHARED,
    VM_WRITE,
)
from ..trace import mirrors
from .geometry import geometry_of
from .get_free_pages import alloc_pages
from .mempolicy import alloc_pages_vma
from .mm_types import PG_uptodate, VmAreaStruct, VmFault
from .page_rmap import page_add_new_anon_rmap
from .pgalloc import pte_alloc
from .pgtable import pfn_pte, pte_mkdirty, pte_mkspecial, pte_mkwrite, pte_offset_map
from .rmap import anon_vma_prepare
from .swap import lru_cache_add_active_or_unevictable
from .vm import add_mm_counter_fast, set_page_flag, set_pte_at, vm

if TYPE_CHECKING:
    from .machine import Machine


def alloc_page_vma(machine: Machine, gfp: int, vma: VmAreaStruct, addr: int) -> int | None:
    """One page for an address of a mapping: by its memory policy on a NUMA build.

    Kernel: include/linux/gfp.h:alloc_page_vma.
    """
    if not machine.config.numa:
        return alloc_pages(machine, gfp, 0)
    return alloc_pages_vma(machine, gfp, 0, vma, addr, machine.cpu_to_node[machine.current.cpu])


def alloc_zeroed_user_highpage_movable(machine: Machine, vma: VmAreaStruct, addr: int) -> int | None:
    """One page filled with zeros, which may be moved and need not be in low memory.

    Kernel: arch/x86/include/asm/page.h.
    """
    return alloc_page_vma(machine, GFP_HIGHUSER_MOVABLE | __GFP_ZERO, vma, addr)


def maybe_mkwrite(pte: int, vma: VmAreaStruct) -> int:
    """The entry writable if the mapping is.

    Kernel: include/linux/mm.h:maybe_mkwrite.
    """
    return pte_mkwrite(pte) if vma.vm_flags & VM_WRITE else pte


@mirrors("mm/memory.c")
def do_anonymous_page(machine: Machine, vmf: VmFault) -> int:
    """Put the zero page or a fresh page into an entry that was none.

    Returns
    -------
    int
        0; VM_FAULT_SIGBUS in a shared mapping without operations; VM_FAULT_OOM.
    """
    assert vmf.pmd is not None
    vma, mm = vmf.vma, vmf.vma.vm_mm
    if vma.vm_flags & VM_SHARED:
        return VM_FAULT_SIGBUS
    if not pte_alloc(machine, mm, vmf.pmd, vmf.address):
        return VM_FAULT_OOM
    pte = pte_offset_map(machine, vmf.pmd, vmf.address)
    if vmf.flags & FAULT_FLAG_WRITE:
        value = _fresh_page(machine, vmf)
        if not value:
            return VM_FAULT_OOM
    else:
        value = pte_mkspecial(pfn_pte(geometry_of(machine), vm(machine).zero_pfn, vma.vm_page_prot))
    set_pte_at(machine, mm.pid, vmf.address, pte, value)
    return 0


def _fresh_page(machine: Machine, vmf: VmFault) -> int:
    """A page of its own, counted and on its way to the LRU; its entry, or 0 without memory."""
    vma = vmf.vma
    anon_vma_prepare(machine, vma)
    page = alloc_zeroed_user_highpage_movable(machine, vma, vmf.address)
    if page is None:
        return 0
    set_page_flag(machine, page, PG_uptodate)
    add_mm_counter_fast(machine, vma.vm_mm.pid, MM_ANONPAGES, 1)
    page_add_new_anon_rmap(machine, page, vma, vmf.address)
    lru_cache_add_active_or_unevictable(machine, page, vma)
    value = pfn_pte(geometry_of(machine), page, vma.vm_page_prot)
    return pte_mkwrite(pte_mkdirty(value)) if vma.vm_flags & VM_WRITE else value
