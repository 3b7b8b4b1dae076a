"""munmap: a range of addresses means nothing any more.

What reaches over the ends of the range is split there. The VMAs between leave the list, their entries are cleared, and
those tables go that neither neighbour reaches into:

    |  prev  |        [ vma ][ vma ]           |  next  |
             ^ floor = prev->vm_end            ^ ceiling = next->vm_start

At exit there are no neighbours: everything goes.

Left out: userfaultfd, the downgrade of mmap_sem, limits (sysctl_max_map_count).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import PAGE_SIZE, VM_LOCKED, Errno
from ..trace import mirrors
from . import mmap_events as ev
from .file_table import fput
from .find_vma import find_vma, refused
from .free_pgtables import free_pgtables
from .geometry import geometry_of
from .mlock import munlock_vma_pages_range
from .mm_types import MmStruct, VmAreaStruct
from .mmu_gather import tlb_finish_mmu, tlb_gather_mmu
from .rmap import vma_next, vma_prev
from .swap import lru_add_drain
from .vma import __vma_unlink, add_locked_vm, vm_area_free, vm_stat_account, vma_pages
from .vma_merge import __split_vma
from .zap import unmap_vmas

if TYPE_CHECKING:
    from .machine import Machine

FIRST_USER_ADDRESS = USER_PGTABLES_CEILING = 0


@mirrors("mm/mmap.c", "__vm_munmap")
def vm_munmap(machine: Machine, mm: MmStruct, start: int, length: int) -> int:
    """The system call munmap: as `do_munmap`."""
    return do_munmap(machine, mm, start, length)


@mirrors("mm/mmap.c", "__do_munmap")
def do_munmap(machine: Machine, mm: MmStruct, start: int, length: int) -> int:
    """Remove all mappings, and parts of mappings, in a range.

    Parameters
    ----------
    start, length : int
        Bytes; `start` a multiple of the page size. A range without mappings is fine.

    Returns
    -------
    int
        0, or -EINVAL.

    Notes
    -----
    Kernel: mm/mmap.c:__do_munmap at v5.4.
    """
    end = start + (length + PAGE_SIZE - 1 & -PAGE_SIZE)
    if start & PAGE_SIZE - 1 or start > mm.task_size or length > mm.task_size - start or end == start:
        return refused(machine, "munmap", Errno.EINVAL, "not a range of user pages")
    vma = find_vma(machine, mm, start)
    if not vma or vma.vm_start >= end:
        return 0
    if start > vma.vm_start:
        __split_vma(machine, vma, start, False)
    last = find_vma(machine, mm, end)
    if last and end > last.vm_start:
        __split_vma(machine, last, end, True)
    vmas = mm.mmap[mm.index(start):mm.index(end)]
    prev = vma_prev(vmas[0])
    __unlock(machine, vmas)
    detach_vmas_to_be_unmapped(machine, vmas)
    unmap_region(machine, mm, vmas, prev, start, end)
    remove_vma_list(machine, mm, vmas)
    return 0


def __unlock(machine: Machine, vmas: list[VmAreaStruct]) -> None:
    """What is locked is so no longer, before it goes."""
    for vma in vmas:
        if vma.vm_flags & VM_LOCKED:
            add_locked_vm(machine, vma.vm_mm.pid, -vma_pages(vma))
            munlock_vma_pages_range(machine, vma, vma.vm_start, vma.vm_end)


@mirrors("mm/mmap.c")
def detach_vmas_to_be_unmapped(machine: Machine, vmas: list[VmAreaStruct]) -> None:
    """Take VMAs out of the list of their address space; from here on nobody finds them."""
    for vma in vmas:
        __vma_unlink(machine, vma.id)


@mirrors("mm/mmap.c")
def unmap_region(machine: Machine, mm: MmStruct, vmas: list[VmAreaStruct], prev: VmAreaStruct | None, start: int,
                 end: int) -> None:
    """Clear the entries of detached VMAs, and free the tables that neither neighbour reaches into."""
    next_vma = vma_next(prev) if prev else mm.mmap[0] if mm.mmap else None
    floor = prev.vm_end if prev else FIRST_USER_ADDRESS
    ceiling = next_vma.vm_start if next_vma else USER_PGTABLES_CEILING
    if machine.on:
        machine.trace.emit(ev.RangeUnmapped(mm.pid, start, end, len(vmas), floor, ceiling))
    lru_add_drain(machine)
    tlb = tlb_gather_mmu(machine, mm, start, end)
    unmap_vmas(machine, tlb, vmas, start, end)
    free_pgtables(machine, tlb, vmas, floor, ceiling)
    tlb_finish_mmu(machine, tlb, start, end)


@mirrors("mm/mmap.c")
def remove_vma_list(machine: Machine, mm: MmStruct, vmas: list[VmAreaStruct]) -> None:
    """Forget detached VMAs, and count their pages off."""
    for vma in vmas:
        vm_stat_account(machine, mm.pid, vma.vm_flags, -vma_pages(vma))
        remove_vma(machine, vma)


@mirrors("mm/mmap.c")
def remove_vma(machine: Machine, vma: VmAreaStruct) -> None:
    """Forget a VMA, which lets go of its file."""
    fput(machine, vma.vm_file)
    vm_area_free(machine, vma.id)


@mirrors("mm/mmap.c")
def exit_mmap(machine: Machine, mm: MmStruct) -> None:
    """The process is gone: all its mappings, entries, tables and pages go.

    Kernel: mm/mmap.c:exit_mmap. The counters of mappings are left as they are: nobody will read them.
    """
    vmas = mm.mmap[:]
    for vma in vmas:
        if vma.vm_flags & VM_LOCKED:
            munlock_vma_pages_range(machine, vma, vma.vm_start, vma.vm_end)
    if not vmas:
        return
    lru_add_drain(machine)
    tlb = tlb_gather_mmu(machine, mm, 0, -1)
    unmap_vmas(machine, tlb, vmas, 0, geometry_of(machine).word)
    free_pgtables(machine, tlb, vmas, FIRST_USER_ADDRESS, USER_PGTABLES_CEILING)
    tlb_finish_mmu(machine, tlb, 0, -1)
    for vma in vmas:
        __vma_unlink(machine, vma.id)
        remove_vma(machine, vma)
