"""madvise: what a process says of its memory beforehand.

    MADV_DONTNEED      clear the entries: anonymous pages are gone, pages of a file come back with the next fault
    MADV_WILLNEED      read ahead; nothing to do for memory that is not swapped out
    MADV_DONTFORK      a child does not get the mapping                 (VM_DONTCOPY)     MADV_DOFORK: it does
    MADV_WIPEONFORK    a child gets it empty; private anonymous only    (VM_WIPEONFORK)   MADV_KEEPONFORK: as it is

Holes are passed over, and reported at the end as -ENOMEM. Another error ends the call where it stands.

Left out: all other advice.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    MADV_DOFORK,
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_KEEPONFORK,
    MADV_WILLNEED,
    MADV_WIPEONFORK,
    PAGE_SIZE,
    VM_DONTCOPY,
    VM_HUGETLB,
    VM_IO,
    VM_LOCKED,
    VM_PFNMAP,
    VM_SHARED,
    VM_WIPEONFORK,
    Errno,
)
from ..trace import mirrors
from .find_vma import find_vma_prev, refused
from .mm_types import MmStruct, VmAreaStruct
from .rmap import vma_next
from .swap import lru_add_drain
from .vm import set_vm_flags
from .vma_merge import vma_modify
from .zap import zap_page_range

if TYPE_CHECKING:
    from .machine import Machine

SET_FLAGS = {MADV_DONTFORK: VM_DONTCOPY, MADV_WIPEONFORK: VM_WIPEONFORK}
CLEAR_FLAGS = {MADV_DOFORK: VM_DONTCOPY, MADV_KEEPONFORK: VM_WIPEONFORK}
KNOWN = {MADV_DONTNEED, MADV_WILLNEED, *SET_FLAGS, *CLEAR_FLAGS}


@mirrors("mm/madvise.c", "__do_sys_madvise")
def madvise(machine: Machine, mm: MmStruct, start: int, len_in: int, behavior: int) -> int:
    """The system call madvise.

    Parameters
    ----------
    start, len_in : int
        Bytes; `start` a multiple of the page size.
    behavior : int
        One of the MADV_* above.

    Returns
    -------
    int
        0; -ENOMEM if there were holes; -EINVAL where the advice does not fit, or for advice that is not known.
    """
    if behavior not in KNOWN or start & PAGE_SIZE - 1:
        return refused(machine, "madvise", Errno.EINVAL, "no such advice, or the address is not that of a page")
    end = start + (len_in + PAGE_SIZE - 1 & -PAGE_SIZE)
    vma, prev = find_vma_prev(machine, mm, start)
    if vma and start > vma.vm_start:
        prev = vma
    nstart, holes = start, False
    while nstart < end:
        holes = holes or not vma or nstart < vma.vm_start
        if not vma or vma.vm_start >= end:
            break
        error, prev = madvise_vma(machine, vma, prev, max(nstart, vma.vm_start), min(vma.vm_end, end), behavior)
        if error:
            return refused(machine, "madvise", error, "the advice does not fit this mapping")
        nstart, vma = prev.vm_end, vma_next(prev)
    return refused(machine, "madvise", Errno.ENOMEM, "there are holes; the rest is done") if holes else 0


@mirrors("mm/madvise.c")
def madvise_vma(machine: Machine, vma: VmAreaStruct, prev: VmAreaStruct | None, start: int, end: int,
                behavior: int) -> tuple[int, VmAreaStruct]:
    """Take advice for a part of one mapping: 0 or an error number, and the mapping that it is now."""
    if behavior == MADV_DONTNEED:
        return madvise_dontneed_free(machine, vma, start, end), vma
    if behavior == MADV_WILLNEED:
        lru_add_drain(machine)
        return 0, vma
    return madvise_behavior(machine, vma, prev, start, end, behavior)


@mirrors("mm/madvise.c")
def madvise_dontneed_free(machine: Machine, vma: VmAreaStruct, start: int, end: int) -> int:
    """Clear the entries of a range; EINVAL for mappings that are locked, or a driver's."""
    if vma.vm_flags & (VM_LOCKED | VM_HUGETLB | VM_PFNMAP):
        return Errno.EINVAL
    zap_page_range(machine, vma, start, end - start)
    return 0


@mirrors("mm/madvise.c")
def madvise_behavior(machine: Machine, vma: VmAreaStruct, prev: VmAreaStruct | None, start: int, end: int,
                     behavior: int) -> tuple[int, VmAreaStruct]:
    """Give a part of a mapping another flag; it merges or is split as for mprotect."""
    if behavior == MADV_DOFORK and vma.vm_flags & VM_IO:
        return Errno.EINVAL, vma
    if behavior == MADV_WIPEONFORK and (vma.vm_file or vma.vm_flags & VM_SHARED):
        return Errno.EINVAL, vma
    new_flags = (vma.vm_flags | SET_FLAGS.get(behavior, 0)) & ~CLEAR_FLAGS.get(behavior, 0)
    if new_flags == vma.vm_flags:
        return 0, vma
    changed = vma_modify(machine, prev, vma, start, end, new_flags)
    set_vm_flags(machine, changed.id, new_flags)
    return 0, changed
