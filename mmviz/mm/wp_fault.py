"""A write to a page that is there, but may not be written: copy it, or keep it.

After a fork both processes map the same page, read-only. The first one to write makes a copy. The other one, when it
writes later, is alone with the old page, and keeps it: no copy.

    mapcount 2   write by A    A -> copy, mapcount 1    B -> old page, mapcount 1
                 write by B    nobody else maps it:     B keeps it, writable

v5.4 asks for the *mapcount* alone. References do not matter: a page that get_user_pages handed to a driver is copied
away from under it by whoever writes first while two map it.

Left out: KSM, swap cache, page locks.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    GFP_HIGHUSER_MOVABLE,
    MM_ANONPAGES,
    VM_FAULT_ERROR,
    VM_FAULT_NOPAGE,
    VM_FAULT_OOM,
    VM_FAULT_WRITE,
    VM_LOCKED,
    VM_SHARED,
    VM_WRITE,
)
from ..trace import mirrors
from . import vm_events as ev
from .anon_fault import alloc_page_vma, alloc_zeroed_user_highpage_movable, maybe_mkwrite
from .geometry import geometry_of
from .memory import vm_normal_page
from .mm_types import PG_mlocked, PG_uptodate, VmAreaStruct, VmFault, vm_ops
from .page_rmap import (
    mm_counter_file,
    page_add_new_anon_rmap,
    page_anon,
    page_move_anon_rmap,
    page_remove_rmap,
    page_trans_huge_mapcount,
)
from .pgtable import pfn_pte, pte_mkdirty, pte_mkyoung, pte_pfn
from .rmap import anon_vma_prepare
from .swap import get_page, lru_cache_add_active_or_unevictable, put_page, set_page_dirty
from .vm import add_mm_counter_fast, clear_page_flag, set_page_data, set_page_flag, set_pte_at, vm

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/memory.c")
def do_wp_page(machine: Machine, vmf: VmFault) -> int:
    """Choose: keep the page, share it, or copy it.

    Returns
    -------
    int
        VM_FAULT_WRITE; VM_FAULT_OOM without a page for the copy.
    """
    vma = vmf.vma
    shared = vma.vm_flags & (VM_WRITE | VM_SHARED) == VM_WRITE | VM_SHARED
    vmf.page = vm_normal_page(machine, vma, vmf.address, vmf.orig_pte)
    if vmf.page is None:
        return wp_pfn_shared(machine, vmf) if shared else wp_page_copy(machine, vmf)
    if page_anon(machine, vmf.page):
        if reuse_swap_page(machine, vmf.page):
            page_move_anon_rmap(machine, vmf.page, vma)
            wp_page_reuse(machine, vmf)
            return VM_FAULT_WRITE
    elif shared:
        return wp_page_shared(machine, vmf)
    get_page(machine, vmf.page)
    return wp_page_copy(machine, vmf)


@mirrors("mm/swapfile.c")
def reuse_swap_page(machine: Machine, page: int) -> bool:
    """Whether nobody else maps the page. Its references do not matter."""
    mapcount = page_trans_huge_mapcount(machine, page)
    if machine.on:
        machine.trace.emit(ev.SwapPageReused(page, mapcount, mapcount <= 1))
    return mapcount <= 1


@mirrors("mm/memory.c")
def wp_page_reuse(machine: Machine, vmf: VmFault) -> None:
    """Make the entry that is there writable, dirty and accessed."""
    assert vmf.pte is not None
    value = maybe_mkwrite(pte_mkdirty(pte_mkyoung(vmf.orig_pte)), vmf.vma)
    set_pte_at(machine, vmf.vma.vm_mm.pid, vmf.address, vmf.pte, value)


@mirrors("mm/memory.c")
def wp_pfn_shared(machine: Machine, vmf: VmFault) -> int:
    """A driver's frame in a shared mapping: the entry becomes writable."""
    wp_page_reuse(machine, vmf)
    return VM_FAULT_WRITE


@mirrors("mm/memory.c")
def wp_page_shared(machine: Machine, vmf: VmFault) -> int:
    """A page of a file in a shared mapping: its owner is asked, then it is writable, and dirty."""
    assert vmf.page is not None
    get_page(machine, vmf.page)
    ops = vm_ops(vmf.vma)
    if ops is not None and ops.page_mkwrite:
        refused = ops.page_mkwrite(machine, vmf)
        if refused & (VM_FAULT_ERROR | VM_FAULT_NOPAGE):
            put_page(machine, vmf.page)
            return refused
    wp_page_reuse(machine, vmf)
    set_page_dirty(machine, vmf.page)
    put_page(machine, vmf.page)
    return VM_FAULT_WRITE


@mirrors("mm/memory.c")
def wp_page_copy(machine: Machine, vmf: VmFault) -> int:
    """Map a copy of the page instead of it; of the zero page, a page of zeros.

    Notes
    -----
    The order is the kernel's: page, contents, counters, entry cleared and flushed, rmap, LRU, entry, old page let go.
    """
    assert vmf.pte is not None
    vma, mm, old_page = vmf.vma, vmf.vma.vm_mm, vmf.page
    anon_vma_prepare(machine, vma)
    new_page = _new_page(machine, vmf)
    if new_page is None:
        if old_page is not None:
            put_page(machine, old_page)
        return VM_FAULT_OOM
    set_page_flag(machine, new_page, PG_uptodate)
    _count_copy(machine, vma, old_page)
    value = maybe_mkwrite(pte_mkdirty(pfn_pte(geometry_of(machine), new_page, vma.vm_page_prot)), vma)
    ptep_clear_flush(machine, vma, vmf.address, vmf.pte)
    page_add_new_anon_rmap(machine, new_page, vma, vmf.address)
    lru_cache_add_active_or_unevictable(machine, new_page, vma)
    set_pte_at(machine, mm.pid, vmf.address, vmf.pte, value)
    if old_page is not None:
        _let_go(machine, vma, old_page)
    return VM_FAULT_WRITE


def _new_page(machine: Machine, vmf: VmFault) -> int | None:
    """A page with the contents of the old one."""
    old_pfn = pte_pfn(geometry_of(machine), vmf.orig_pte)
    if old_pfn == vm(machine).zero_pfn:
        return alloc_zeroed_user_highpage_movable(machine, vmf.vma, vmf.address)
    new_page = alloc_page_vma(machine, GFP_HIGHUSER_MOVABLE, vmf.vma, vmf.address)
    if new_page is not None:
        cow_user_page(machine, new_page, old_pfn, vmf.address)
    return new_page


@mirrors("mm/memory.c")
def cow_user_page(machine: Machine, dst: int, src: int, addr: int) -> None:
    """Copy what is in a page."""
    set_page_data(machine, dst, vm(machine).data.get(src, 0))


def _count_copy(machine: Machine, vma: VmAreaStruct, old_page: int | None) -> None:
    """RSS: the copy is anonymous; the page of a file counts no more, an anonymous one is replaced."""
    if old_page is not None and page_anon(machine, old_page):
        return
    if old_page is not None:
        add_mm_counter_fast(machine, vma.vm_mm.pid, mm_counter_file(machine, old_page), -1)
    add_mm_counter_fast(machine, vma.vm_mm.pid, MM_ANONPAGES, 1)


@mirrors("mm/pgtable-generic.c")
def ptep_clear_flush(machine: Machine, vma: VmAreaStruct, address: int, ptep: int) -> None:
    """Clear an entry, and flush it from the TLB, so that no CPU writes to the old page any more."""
    set_pte_at(machine, vma.vm_mm.pid, address, ptep, 0)
    if machine.on:
        machine.trace.emit(ev.TlbFlushed(vma.vm_mm.pid, 1))


def _let_go(machine: Machine, vma: VmAreaStruct, old_page: int) -> None:
    """The old page loses this mapping, the reference of the mapping, and that of the fault."""
    page_remove_rmap(machine, old_page)
    put_page(machine, old_page)
    if vma.vm_flags & VM_LOCKED and vm(machine).flags.get(old_page, 0) & PG_mlocked:
        clear_page_flag(machine, old_page, PG_mlocked)
    put_page(machine, old_page)
