"""mlock: pages that stay in memory.

VM_LOCKED is a flag of a mapping, so to lock a part of one splits it; what has the same flags then may merge. Then the
pages are brought in, each as if it was written to where that makes a copy, so that no fault is left to happen:
`__mm_populate` (populate.py). A child does not inherit the lock. Mappings of drivers are passed over: they have all
that they need.

Left out: RLIMIT_MEMLOCK (the caller is root), MLOCK_ONFAULT, mlockall, the unevictable list.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT, PAGE_SIZE, VM_LOCKED, VM_LOCKED_CLEAR_MASK, VM_SPECIAL, Errno
from ..trace import mirrors
from .find_vma import find_vma, refused
from .memory import vm_normal_page
from .mm_types import MmStruct, PG_mlocked, VmAreaStruct
from .pgtable import entries, entry
from .populate import __mm_populate
from .rmap import vma_next, vma_prev
from .vm import clear_page_flag, set_vm_flags, vm
from .vma import add_locked_vm
from .vma_merge import vma_modify

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/mlock.c")
def do_mlock(machine: Machine, mm: MmStruct, start: int, length: int) -> int:
    """The system call mlock: lock a range, and bring its pages in.

    Parameters
    ----------
    start, length : int
        Bytes; the pages that they touch are locked.

    Returns
    -------
    int
        0; -ENOMEM if there is a hole (what lies before it is locked), or if a page cannot be brought in.
    """
    first, end = start & -PAGE_SIZE, start + length + PAGE_SIZE - 1 & -PAGE_SIZE
    error = apply_vma_lock_flags(machine, mm, first, end - first, VM_LOCKED)
    if error:
        return error
    error = __mm_populate(machine, mm, first, end - first, False)
    return __mlock_posix_error_return(error) if error else 0


@mirrors("mm/mlock.c", "__do_sys_munlock")
def munlock(machine: Machine, mm: MmStruct, start: int, length: int) -> int:
    """The system call munlock: the pages of a range may leave memory again. 0, or -ENOMEM at a hole."""
    first, end = start & -PAGE_SIZE, start + length + PAGE_SIZE - 1 & -PAGE_SIZE
    return apply_vma_lock_flags(machine, mm, first, end - first, 0)


def __mlock_posix_error_return(retval: int) -> int:
    """The error that POSIX has for it.

    Kernel: mm/mlock.c:__mlock_posix_error_return.
    """
    return {-Errno.EFAULT: -Errno.ENOMEM, -Errno.ENOMEM: -Errno.EAGAIN}.get(retval, retval)


@mirrors("mm/mlock.c")
def apply_vma_lock_flags(machine: Machine, mm: MmStruct, start: int, length: int, flags: int) -> int:
    """Give the mappings of a range VM_LOCKED, or take it; stop at the first hole.

    Returns
    -------
    int
        0 or -ENOMEM.
    """
    end = start + length
    if end == start:
        return 0
    call = "mlock" if flags else "munlock"
    vma = find_vma(machine, mm, start)
    if not vma or vma.vm_start > start:
        return refused(machine, call, Errno.ENOMEM, "nothing is mapped at the start")
    prev = vma if start > vma.vm_start else vma_prev(vma)
    nstart = start
    while True:
        newflags = vma.vm_flags & VM_LOCKED_CLEAR_MASK | flags
        prev = mlock_fixup(machine, vma, prev, nstart, min(vma.vm_end, end), newflags)
        nstart = prev.vm_end
        if nstart >= end:
            return 0
        vma = vma_next(prev)
        if not vma or vma.vm_start != nstart:
            return refused(machine, call, Errno.ENOMEM, "there is a hole; what lies before it is done")


@mirrors("mm/mlock.c")
def mlock_fixup(machine: Machine, vma: VmAreaStruct, prev: VmAreaStruct | None, start: int, end: int,
                newflags: int) -> VmAreaStruct:
    """Give a part of a mapping other flags, and count its pages; the mapping that it is now."""
    if newflags == vma.vm_flags or vma.vm_flags & VM_SPECIAL:
        return vma
    changed = vma_modify(machine, prev, vma, start, end, newflags)
    pages = end - start >> PAGE_SHIFT
    if not newflags & VM_LOCKED:
        add_locked_vm(machine, vma.vm_mm.pid, -pages)
        munlock_vma_pages_range(machine, changed, start, end)
    else:
        add_locked_vm(machine, changed.vm_mm.pid, pages)
        set_vm_flags(machine, changed.id, newflags)
    return changed


@mirrors("mm/mlock.c")
def munlock_vma_pages_range(machine: Machine, vma: VmAreaStruct, start: int, end: int) -> None:
    """Take VM_LOCKED from a mapping, and PG_mlocked from its pages.

    Simplified: a page that another locked mapping has keeps the flag in the kernel (try_to_munlock).
    """
    set_vm_flags(machine, vma.id, vma.vm_flags & VM_LOCKED_CLEAR_MASK)
    for pointer, address in __ptes(machine, vma.vm_mm, start, end):
        page = vm_normal_page(machine, vma, address, entry(machine, pointer))
        if page is not None and vm(machine).flags.get(page, 0) & PG_mlocked:
            clear_page_flag(machine, page, PG_mlocked)


def __ptes(machine: Machine, mm: MmStruct, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The entries of a range that are not none, and their addresses, as follow_page finds them one by one."""
    parts = [(mm.pgd << PAGE_SHIFT, start, end)]
    for level in range(5):
        parts = [part for above, first, last in parts for part in entries(machine, level, above, first, last)]
    return ((pointer, address) for pointer, address, _ in parts)
