"""mremap: a mapping grows, shrinks, or moves with all that is in it.

    shrink        unmap the tail
    grow          move the end up, if nothing is in the way; vma_merge is not asked
    move          a copy of the VMA at the new place; the entries move there, page by page or whole tables at once;
                  then the old place is unmapped

MREMAP_FIXED unmaps the new place, and cuts off a tail, before it looks at the old mapping at all: if the call then
fails, both are gone. An old length of 0 duplicates a shared mapping.

Left out: the search for a free place (a move needs MREMAP_FIXED), limits, userfaultfd, KSM, MREMAP_DONTUNMAP (v5.7).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_ACCOUNT,
    VM_DONTEXPAND,
    VM_LOCKED,
    VM_MAYSHARE,
    VM_PAT,
    VM_PFNMAP,
    VM_SHARED,
    Errno,
)
from ..trace import mirrors
from .find_vma import find_vma, refused
from .mm_types import MmStruct, VmAreaStruct
from .move_page_tables import move_page_tables
from .munmap import do_munmap
from .overcommit import __vm_enough_memory
from .populate import __mm_populate
from .rmap import vma_next
from .vm import set_vm_flags
from .vma import add_locked_vm, vm_stat_account
from .vma_merge import __vma_adjust, copy_vma

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/mremap.c", "__do_sys_mremap")
def mremap(machine: Machine, mm: MmStruct, addr: int, old_len: int, new_len: int, flags: int = 0,
           new_addr: int = 0) -> int:
    """The system call mremap.

    Parameters
    ----------
    addr, new_addr : int
        The old and, for MREMAP_FIXED, the new place.
    old_len, new_len : int
        Bytes; rounded up to pages.
    flags : int
        0 to stay in place, or MREMAP_MAYMOVE | MREMAP_FIXED.

    Returns
    -------
    int
        The new address; -EINVAL, -EFAULT (not a mapping, or not one of this length), -ENOMEM (no room to grow).

    Raises
    ------
    ValueError
        For MREMAP_MAYMOVE alone: here nobody looks for a free place.

    Notes
    -----
    Kernel: mm/mremap.c:mremap at v5.4.
    """
    if flags == MREMAP_MAYMOVE:
        raise ValueError(f"flags must be 0 or MREMAP_MAYMOVE | MREMAP_FIXED: no free place is looked for, got {flags}")
    old, new = (length + PAGE_SIZE - 1 & -PAGE_SIZE for length in (old_len, new_len))
    if flags not in (0, MREMAP_MAYMOVE | MREMAP_FIXED) or addr & PAGE_SIZE - 1 or not new:
        return refused(machine, "mremap", Errno.EINVAL, "flags, address or length make no sense")
    ret, locked = mremap_to(machine, mm, addr, old, new_addr, new) if flags else __in_place(machine, mm, addr, old, new)
    if ret >= 0 and locked and new > old:
        __mm_populate(machine, mm, ret + old, new - old, True)
    return ret


def __in_place(machine: Machine, mm: MmStruct, addr: int, old_len: int, new_len: int) -> tuple[int, bool]:
    """Shrink, or grow where the mapping is: the address or an error, and whether it is locked."""
    if old_len >= new_len:
        error = do_munmap(machine, mm, addr + new_len, old_len - new_len) if old_len > new_len else 0
        return error or addr, False
    vma, error = vma_to_resize(machine, mm, addr, old_len, new_len)
    if not vma:
        return error, False
    if old_len != vma.vm_end - addr or not vma_expandable(vma, new_len - old_len):
        return refused(machine, "mremap", Errno.ENOMEM, "there is no room to grow"), False
    pages = new_len - old_len >> PAGE_SHIFT
    __vma_adjust(machine, vma, vma.vm_start, addr + new_len, vma.vm_pgoff)
    vm_stat_account(machine, mm.pid, vma.vm_flags, pages)
    if vma.vm_flags & VM_LOCKED:
        add_locked_vm(machine, mm.pid, pages)
    return addr, bool(vma.vm_flags & VM_LOCKED)


def vma_expandable(vma: VmAreaStruct, delta: int) -> bool:
    """Is nothing in the way of `delta` bytes behind a mapping?

    Kernel: mm/mremap.c:vma_expandable.
    """
    end = vma.vm_end + delta
    above = vma_next(vma)
    return (not above or above.vm_start >= end) and end <= vma.vm_mm.task_size


@mirrors("mm/mremap.c")
def mremap_to(machine: Machine, mm: MmStruct, addr: int, old_len: int, new_addr: int,
              new_len: int) -> tuple[int, bool]:
    """Move to a fixed place: the new address or an error, and whether the mapping is locked."""
    if new_addr & PAGE_SIZE - 1 or new_len > mm.task_size or new_addr > mm.task_size - new_len:
        return refused(machine, "mremap", Errno.EINVAL, "the new place is not one for a user"), False
    if addr + old_len > new_addr and new_addr + new_len > addr:
        return refused(machine, "mremap", Errno.EINVAL, "the old and the new place overlap"), False
    error = do_munmap(machine, mm, new_addr, new_len)
    if not error and old_len > new_len:
        error = do_munmap(machine, mm, addr + new_len, old_len - new_len)
    if error:
        return error, False
    moved_len = min(old_len, new_len)
    vma, error = vma_to_resize(machine, mm, addr, moved_len, new_len)
    if not vma:
        return error, False
    return move_vma(machine, vma, addr, moved_len, new_len, new_addr)


@mirrors("mm/mremap.c")
def vma_to_resize(machine: Machine, mm: MmStruct, addr: int, old_len: int,
                  new_len: int) -> tuple[VmAreaStruct | None, int]:
    """The mapping that is asked for, if it may get this length; else None and the error."""
    vma = find_vma(machine, mm, addr)
    if not vma or vma.vm_start > addr:
        return None, refused(machine, "mremap", Errno.EFAULT, "nothing is mapped there")
    if not old_len and not vma.vm_flags & (VM_SHARED | VM_MAYSHARE):
        return None, refused(machine, "mremap", Errno.EINVAL, "only a shared mapping can be duplicated")
    if old_len > vma.vm_end - addr:
        return None, refused(machine, "mremap", Errno.EFAULT, "more than one mapping")
    if new_len == old_len:
        return vma, 0
    if vma.vm_flags & (VM_DONTEXPAND | VM_PFNMAP):
        return None, refused(machine, "mremap", Errno.EFAULT, "the mapping of a driver has its size")
    if vma.vm_flags & VM_ACCOUNT and __vm_enough_memory(machine, new_len - old_len >> PAGE_SHIFT):
        return None, refused(machine, "mremap", Errno.ENOMEM, "so much memory cannot be promised")
    return vma, 0


@mirrors("mm/mremap.c")
def move_vma(machine: Machine, vma: VmAreaStruct, old_addr: int, old_len: int, new_len: int,
             new_addr: int) -> tuple[int, bool]:
    """Copy the VMA, move the entries, unmap the old place.

    Returns
    -------
    int, bool
        The new address, or -ENOMEM if there was no page for a table (then all is where it was); whether it is locked.

    Notes
    -----
    Kernel: mm/mremap.c:move_vma at v5.4. The old place is unmapped without VM_ACCOUNT, for what was promised moves
    along; parts of the mapping that stay get it back.
    """
    vm_flags, mm = vma.vm_flags, vma.vm_mm
    pgoff = vma.vm_pgoff + (old_addr - vma.vm_start >> PAGE_SHIFT)
    new_vma, source = copy_vma(machine, vma, new_addr, new_len, pgoff)
    moved = move_page_tables(machine, source, old_addr, new_vma, new_addr, old_len, False)
    if moved < old_len:
        move_page_tables(machine, new_vma, new_addr, source, old_addr, moved, True)
        __unmap_moved(machine, new_vma, new_addr, new_len, vm_flags, new_len)
        ret = refused(machine, "mremap", Errno.ENOMEM, "no page for a table")
    else:
        __unmap_moved(machine, source, old_addr, old_len, vm_flags, new_len)
        ret = new_addr
    if vm_flags & VM_LOCKED:
        add_locked_vm(machine, mm.pid, new_len >> PAGE_SHIFT)
    return ret, bool(vm_flags & VM_LOCKED)


def __unmap_moved(machine: Machine, vma: VmAreaStruct, addr: int, length: int, vm_flags: int, new_len: int) -> None:
    """Unmap the place that is empty now, in `vma`; pages are counted for the other one first."""
    left = 0
    if vm_flags & VM_ACCOUNT:
        set_vm_flags(machine, vma.id, vma.vm_flags & ~VM_ACCOUNT)
        left = vma.vm_end - vma.vm_start - length
    split = vma.vm_start < addr and addr + length < vma.vm_end
    vm_stat_account(machine, vma.vm_mm.pid, vma.vm_flags, new_len >> PAGE_SHIFT)
    if vma.vm_flags & VM_PFNMAP:
        untrack_pfn_moved(machine, vma)
    if length:
        do_munmap(machine, vma.vm_mm, addr, length)
    if left:
        upper = vma_next(vma) if split else None
        for part in [vma, upper] if upper else [vma]:
            set_vm_flags(machine, part.id, part.vm_flags | VM_ACCOUNT)


@mirrors("arch/x86/mm/pat.c")
def untrack_pfn_moved(machine: Machine, vma: VmAreaStruct) -> None:
    """The pages of a driver's mapping moved: what is left of it is not watched for its cache mode any more."""
    set_vm_flags(machine, vma.id, vma.vm_flags & ~VM_PAT)
