"""The first touch of a page of a file.

    read             do_read_fault      up to 16 pages around it, as far as they are in the page cache
    write, private   do_cow_fault       a page of one's own, made before the file's page is looked for; then copied
    write, shared    do_shared_fault    the file's page itself, dirty

Where a driver gives no `fault`, there is nothing to bring: SIGBUS.

Left out: waiting for the disk and for page locks, DAX, huge pages of files.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    FAULT_FLAG_WRITE,
    GFP_HIGHUSER_MOVABLE,
    MM_ANONPAGES,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_DONE_COW,
    VM_FAULT_ERROR,
    VM_FAULT_NOPAGE,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_SHARED,
)
from ..trace import mirrors
from . import vm_events as ev
from .anon_fault import alloc_page_vma, maybe_mkwrite
from .geometry import geometry_of
from .mm_types import PG_uptodate, VmFault, VmOperations, vm_ops
from .page_rmap import mm_counter_file, page_add_file_rmap, page_add_new_anon_rmap
from .pgalloc import __table_free, pmd_install, pte_alloc, pte_alloc_one
from .pgtable import entry, pfn_pte, pte_mkdirty, pte_offset_map
from .rmap import anon_vma_prepare
from .swap import lru_cache_add_active_or_unevictable, put_page, set_page_dirty
from .vm import add_mm_counter_fast, set_page_data, set_page_flag, set_pte_at, vm

if TYPE_CHECKING:
    from .machine import Machine

FAULT_AROUND_BYTES = 65536
STOPS = VM_FAULT_ERROR | VM_FAULT_NOPAGE | VM_FAULT_RETRY


@mirrors("mm/memory.c")
def do_fault(machine: Machine, vmf: VmFault) -> int:
    """Ask the mapping's operations for the page of an entry that was none."""
    ops = vm_ops(vmf.vma)
    offered = ops is not None and ops.fault is not None
    if machine.on:
        machine.trace.emit(ev.FaultOffered(vmf.vma.vm_mm.pid, vmf.address, offered))
    if ops is None or not offered:
        return VM_FAULT_SIGBUS
    if not vmf.flags & FAULT_FLAG_WRITE:
        result = do_read_fault(machine, vmf, ops)
    elif vmf.vma.vm_flags & VM_SHARED:
        result = do_shared_fault(machine, vmf, ops)
    else:
        result = do_cow_fault(machine, vmf, ops)
    if vmf.prealloc_pte is not None:
        __table_free(machine, "pte", vmf.prealloc_pte)
        vmf.prealloc_pte = None
    return result


@mirrors("mm/memory.c")
def do_read_fault(machine: Machine, vmf: VmFault, ops: VmOperations) -> int:
    """Map what is in the page cache around the address; if the page itself was not, ask for it."""
    if ops.map_pages:
        result = do_fault_around(machine, vmf, ops)
        if result:
            return result
    result = __do_fault(machine, vmf, ops)
    if result & STOPS:
        return result
    result |= finish_fault(machine, vmf)
    if result & STOPS and vmf.page is not None:
        put_page(machine, vmf.page)
    return result


@mirrors("mm/memory.c")
def do_fault_around(machine: Machine, vmf: VmFault, ops: VmOperations) -> int:
    """Map up to 16 pages of the page cache, from the multiple of 64 KiB below the address on.

    Notes
    -----
    Emits FaultAroundChosen. The window is clipped to the mapping and to the PTE table. Only pages that are cached
    already, and entries that are none, are touched. Kernel: mm/memory.c:do_fault_around at v5.4.
    """
    assert ops.map_pages and vmf.pmd is not None
    address = vmf.address
    start_pgoff, end_pgoff = _window(machine, vmf)
    vmf.address = address - (vmf.pgoff - start_pgoff) * PAGE_SIZE
    if machine.on:
        machine.trace.emit(ev.FaultAroundChosen(vmf.vma.vm_mm.pid, address, start_pgoff, end_pgoff))
    solved = False
    if entry(machine, vmf.pmd) or _preallocate(machine, vmf):
        ops.map_pages(machine, vmf, start_pgoff, end_pgoff)
        solved = bool(entry(machine, vmf.pmd) and entry(machine, pte_offset_map(machine, vmf.pmd, address)))
    vmf.address, vmf.pte = address, None
    return VM_FAULT_NOPAGE if solved else 0


def _window(machine: Machine, vmf: VmFault) -> tuple[int, int]:
    """The first and the last page of the file that fault-around may map."""
    vma, ptrs = vmf.vma, geometry_of(machine).levels[4].ptrs
    first = max(vmf.address & -FAULT_AROUND_BYTES, vma.vm_start)
    start = vmf.pgoff - (vmf.address - first >> PAGE_SHIFT & ptrs - 1)
    end_of_table = start - (first >> PAGE_SHIFT & ptrs - 1) + ptrs - 1
    end_of_vma = (vma.vm_end - vma.vm_start >> PAGE_SHIFT) + vma.vm_pgoff - 1
    return start, min(end_of_table, end_of_vma, start + (FAULT_AROUND_BYTES >> PAGE_SHIFT) - 1)


def _preallocate(machine: Machine, vmf: VmFault) -> bool:
    """See to a PTE table before the page is locked; False without memory."""
    if vmf.prealloc_pte is None:
        vmf.prealloc_pte = pte_alloc_one(machine, vmf.vma.vm_mm)
    return vmf.prealloc_pte is not None


@mirrors("mm/memory.c")
def __do_fault(machine: Machine, vmf: VmFault, ops: VmOperations) -> int:
    """Call the mapping's `fault`: it leaves the page in vmf.page, with a reference."""
    assert ops.fault and vmf.pmd is not None
    if not entry(machine, vmf.pmd) and not _preallocate(machine, vmf):
        return VM_FAULT_OOM
    return ops.fault(machine, vmf)


@mirrors("mm/memory.c")
def do_cow_fault(machine: Machine, vmf: VmFault, ops: VmOperations) -> int:
    """A write to a private mapping: copy the file's page into a page of one's own, and map that."""
    vma = vmf.vma
    anon_vma_prepare(machine, vma)
    vmf.cow_page = alloc_page_vma(machine, GFP_HIGHUSER_MOVABLE, vma, vmf.address)
    if vmf.cow_page is None:
        return VM_FAULT_OOM
    result = __do_fault(machine, vmf, ops)
    if result & VM_FAULT_DONE_COW:
        return result
    if not result & STOPS and vmf.page is not None:
        set_page_data(machine, vmf.cow_page, vm(machine).data.get(vmf.page, 0))
        set_page_flag(machine, vmf.cow_page, PG_uptodate)
        result |= finish_fault(machine, vmf)
        put_page(machine, vmf.page)
    if result & STOPS:
        put_page(machine, vmf.cow_page)
    return result


@mirrors("mm/memory.c")
def do_shared_fault(machine: Machine, vmf: VmFault, ops: VmOperations) -> int:
    """A write to a shared mapping: map the file's page itself, and mark it dirty."""
    result = __do_fault(machine, vmf, ops)
    if result & STOPS or vmf.page is None:
        return result
    if ops.page_mkwrite:
        refused = ops.page_mkwrite(machine, vmf)
        if refused & (VM_FAULT_ERROR | VM_FAULT_NOPAGE):
            put_page(machine, vmf.page)
            return refused
    result |= finish_fault(machine, vmf)
    if result & STOPS:
        put_page(machine, vmf.page)
        return result
    set_page_dirty(machine, vmf.page)
    return result


@mirrors("mm/memory.c")
def finish_fault(machine: Machine, vmf: VmFault) -> int:
    """Map the page that a fault brought, or the copy that was made of it."""
    copied = vmf.flags & FAULT_FLAG_WRITE and not vmf.vma.vm_flags & VM_SHARED
    page = vmf.cow_page if copied else vmf.page
    assert page is not None
    return alloc_set_pte(machine, vmf, None, page)


@mirrors("mm/memory.c")
def alloc_set_pte(machine: Machine, vmf: VmFault, memcg: None, page: int) -> int:
    """Point an entry to a page of a file or to the copy of one; the PTE table is hung in if it is missing.

    Returns
    -------
    int
        0; VM_FAULT_NOPAGE if the entry is not none; VM_FAULT_OOM.
    """
    vma, write = vmf.vma, vmf.flags & FAULT_FLAG_WRITE
    if vmf.pte is None and not pte_alloc_one_map(machine, vmf):
        return VM_FAULT_OOM
    assert vmf.pte is not None
    if machine.on:
        machine.trace.emit(ev.EntryFound(vma.vm_mm.pid, vmf.address, entry(machine, vmf.pte)))
    if entry(machine, vmf.pte):
        return VM_FAULT_NOPAGE
    value = pfn_pte(geometry_of(machine), page, vma.vm_page_prot)
    if write:
        value = maybe_mkwrite(pte_mkdirty(value), vma)
    if write and not vma.vm_flags & VM_SHARED:
        add_mm_counter_fast(machine, vma.vm_mm.pid, MM_ANONPAGES, 1)
        page_add_new_anon_rmap(machine, page, vma, vmf.address)
        lru_cache_add_active_or_unevictable(machine, page, vma)
    else:
        add_mm_counter_fast(machine, vma.vm_mm.pid, mm_counter_file(machine, page), 1)
        page_add_file_rmap(machine, page)
    set_pte_at(machine, vma.vm_mm.pid, vmf.address, vmf.pte, value)
    return 0


def pte_alloc_one_map(machine: Machine, vmf: VmFault) -> bool:
    """Set vmf.pte; the table that was made beforehand is hung in if there is none. False: no memory.

    Kernel: mm/memory.c:pte_alloc_one_map.
    """
    assert vmf.pmd is not None
    mm = vmf.vma.vm_mm
    if not entry(machine, vmf.pmd) and vmf.prealloc_pte is not None:
        pmd_install(machine, mm, vmf.pmd, vmf.address, vmf.prealloc_pte)
        vmf.prealloc_pte = None
    elif not pte_alloc(machine, mm, vmf.pmd, vmf.address):
        return False
    vmf.pte = pte_offset_map(machine, vmf.pmd, vmf.address)
    return True
