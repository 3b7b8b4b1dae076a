"""get_user_pages: take the pages behind a user's addresses, and hold them.

A driver that lets a device write into a process's memory needs frames, and needs them to stay. It asks page by page:

    find_extend_vma       a mapping?                                       no: -EFAULT
    check_vma_flags       with the rights, and with struct pages?          no: -EFAULT
    follow_page_mask      the page is there: take a reference
    faultin_page          it is not: as if the process had touched it, then look again

* What was taken is told, not what failed: the count of pages so far, and an error only if that is none.
* A reference keeps a page from being freed. It does not keep the process's entry pointing to it: a write after fork may
  leave the pinned page to the other process.
* A read of memory never touched pins the zero page, which is everybody's.

Left out: signals, the vsyscall page, hugetlb, DAX, protection keys.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..kernel import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_REMOTE,
    FAULT_FLAG_RETRY_NOWAIT,
    FAULT_FLAG_TRIED,
    FAULT_FLAG_WRITE,
    FOLL_ANON,
    FOLL_COW,
    FOLL_FORCE,
    FOLL_GET,
    FOLL_LONGTERM,
    FOLL_MLOCK,
    FOLL_NOWAIT,
    FOLL_NUMA,
    FOLL_POPULATE,
    FOLL_REMOTE,
    FOLL_TOUCH,
    FOLL_TRIED,
    FOLL_WRITE,
    PAGE_SHIFT,
    VM_FAULT_ERROR,
    VM_FAULT_MAJOR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_WRITE,
    VM_IO,
    VM_MAYREAD,
    VM_PFNMAP,
    VM_READ,
    VM_WRITE,
    Errno,
)
from ..trace import mirrors
from . import vm_events as ev
from .fault import handle_mm_fault
from .find_vma import find_extend_vma
from .follow_page import FollowPageContext, follow_page_mask
from .gup_nommu import __get_user_pages_nommu
from .memory import is_cow_mapping
from .mm_types import MmStruct, VmAreaStruct, vma_is_anonymous
from .swap import compound_head, put_page, set_page_dirty
from .vm import count_fault

if TYPE_CHECKING:
    from .machine import Machine


# ---------------------------------------------------------------- entry points


@mirrors("mm/gup.c")
def get_user_pages_remote(machine: Machine, tsk: MmStruct | None, mm: MmStruct, start: int, nr_pages: int,
                          gup_flags: int, page_array: list[int] | None = None,
                          vma_array: list[VmAreaStruct] | None = None, locked: list[int] | None = None) -> int:
    """Take pages of another process, or of one's own.

    Parameters
    ----------
    tsk : MmStruct or None
        The process whose faults are counted; None counts none.
    mm : MmStruct
        Whose addresses they are; its mmap_sem is held.
    start : int
        The first address.
    nr_pages : int
        At least 0.
    gup_flags : int
        FOLL_WRITE, FOLL_FORCE ...
    page_array : list or None
        The pfns are put behind what is in it, each with a reference. None: only fault them in.
    vma_array : list or None
        The mapping of each page is put behind what is in it.
    locked : list of one int, or None
        ``[1]``: a fault may give up mmap_sem; ``[0]`` on return says that it did.

    Returns
    -------
    int
        The pages taken, 1 to nr_pages; an error only if it is none: -EFAULT, -ENOMEM. -EINVAL for FOLL_LONGTERM.

    Notes
    -----
    Kernel: mm/gup.c:get_user_pages_remote at v5.4.
    """
    if gup_flags & FOLL_LONGTERM:
        return refuse_flags(machine, gup_flags)
    return __get_user_pages_locked(machine, tsk, mm, start, nr_pages, page_array, vma_array, locked,
                                   gup_flags | FOLL_TOUCH | FOLL_REMOTE)


def refuse_flags(machine: Machine, gup_flags: int) -> int:
    """-EINVAL, and an event that says for which flags."""
    if machine.on:
        machine.trace.emit(ev.FollFlagsRefused(gup_flags))
    return -Errno.EINVAL


@mirrors("mm/gup.c")
def get_user_pages_locked(machine: Machine, mm: MmStruct, start: int, nr_pages: int, gup_flags: int,
                          page_array: list[int] | None, locked: list[int]) -> int:
    """`get_user_pages_remote` for the process that runs, which may give up mmap_sem. FOLL_LONGTERM is -EINVAL."""
    if gup_flags & FOLL_LONGTERM:
        return refuse_flags(machine, gup_flags)
    return __get_user_pages_locked(machine, mm, mm, start, nr_pages, page_array, None, locked, gup_flags | FOLL_TOUCH)


@mirrors("mm/gup.c")
def get_user_pages_unlocked(machine: Machine, mm: MmStruct, start: int, nr_pages: int, page_array: list[int] | None,
                            gup_flags: int) -> int:
    """The same, which takes mmap_sem itself and gives it back."""
    if gup_flags & FOLL_LONGTERM:
        return refuse_flags(machine, gup_flags)
    return __get_user_pages_locked(machine, mm, mm, start, nr_pages, page_array, None, [1], gup_flags | FOLL_TOUCH)


def __get_user_pages_locked(machine: Machine, tsk: MmStruct | None, mm: MmStruct, start: int, nr_pages: int,
                            page_array: list[int] | None, vma_array: list[VmAreaStruct] | None,
                            locked: list[int] | None, flags: int) -> int:
    """The function of this name that the build has: with page tables, or without."""
    if machine.config.mmu:
        return __get_user_pages_mmu(machine, tsk, mm, start, nr_pages, page_array, vma_array, locked, flags)
    return __get_user_pages_nommu(machine, mm, start, nr_pages, page_array, vma_array, flags)


@mirrors("mm/gup.c", "__get_user_pages_locked")
def __get_user_pages_mmu(machine: Machine, tsk: MmStruct | None, mm: MmStruct, start: int, nr_pages: int,
                         page_array: list[int] | None, vma_array: list[VmAreaStruct] | None,
                         locked: list[int] | None, flags: int) -> int:
    """Go on where a fault gave up mmap_sem: that page once more, without leave to give it up, then the rest."""
    if locked is not None and vma_array is not None:
        raise ValueError("vma_array must be None where locked is given: a mapping may go while mmap_sem is not held "
                         "(BUG_ON in mm/gup.c:__get_user_pages_locked)")
    wanted = flags if page_array is None else flags | FOLL_GET
    done, dropped = 0, False
    while True:
        got = __get_user_pages(machine, tsk, mm, start + (done << PAGE_SHIFT), nr_pages - done, wanted, page_array,
                               vma_array, locked)
        if locked is None:
            return got
        done += max(got, 0)
        if done == nr_pages or locked[0]:
            break
        locked[0], dropped = 1, True
        once = __get_user_pages(machine, tsk, mm, start + (done << PAGE_SHIFT), 1, wanted | FOLL_TRIED, page_array)
        if once != 1:
            got = once
            break
        done += 1
        if done == nr_pages:
            break
    if dropped:
        locked[0] = 0
    if machine.on:
        machine.trace.emit(ev.UserPagesGot(mm.pid, start, nr_pages, done or got))
    return done or got


# ---------------------------------------------------------------- page by page


@mirrors("mm/gup.c")
def __get_user_pages(machine: Machine, tsk: MmStruct | None, mm: MmStruct, start: int, nr_pages: int, gup_flags: int,
                     page_array: list[int] | None = None, vma_array: list[VmAreaStruct] | None = None,
                     nonblocking: list[int] | None = None) -> int:
    """Take pages one after the other, until one cannot be had.

    Returns
    -------
    int
        How many; the error only if it is none. 0 if nr_pages is 0, or if the first fault gave up mmap_sem.
    """
    flags = gup_flags if gup_flags & FOLL_FORCE else gup_flags | FOLL_NUMA
    done, error = 0, 0
    vma: VmAreaStruct | None = None
    while done < nr_pages and not error:
        vaddr = start + (done << PAGE_SHIFT)
        if vma is None or vaddr >= vma.vm_end:
            vma = find_extend_vma(machine, mm, vaddr)
            if vma is None or check_vma_flags(machine, vma, flags):
                error = -Errno.EFAULT
                break
        ctx = FollowPageContext(flags)
        page, error = _one_page(machine, tsk, vma, vaddr, ctx, nonblocking)
        if not error:
            step = _step(vaddr, ctx, page_array, vma_array)
            if page is not None and page_array is not None:
                page_array.append(page)
            if vma_array is not None:
                vma_array.append(vma)
            done += min(step, nr_pages - done)
    if machine.on:
        machine.trace.emit(ev.UserPagesGot(mm.pid, start, nr_pages, done or error))
    return done or (0 if error == -Errno.EBUSY else error)


def _step(vaddr: int, ctx: FollowPageContext, page_array: list[int] | None,
          vma_array: list[VmAreaStruct] | None) -> int:
    """Pages to go on: the rest of a huge page at once, if nobody wants to know them one by one."""
    mask = ctx.page_mask if page_array is None and vma_array is None else 0
    return 1 + (~(vaddr >> PAGE_SHIFT) & mask)


def _one_page(machine: Machine, tsk: MmStruct | None, vma: VmAreaStruct, vaddr: int, ctx: FollowPageContext,
              nonblocking: list[int] | None) -> tuple[int | None, int]:
    """Look, fault, look again: the page (None: passed over), and an error or 0."""
    while True:
        page = follow_page_mask(machine, vma, vaddr, ctx)
        if page == -Errno.EEXIST:
            return None, 0
        if page is not None:
            return (page, 0) if page >= 0 else (None, page)
        error = faultin_page(machine, tsk, vma, vaddr, ctx, nonblocking)
        if error:
            return None, 0 if error == -Errno.ENOENT else error


@mirrors("mm/gup.c")
def check_vma_flags(machine: Machine, vma: VmAreaStruct, gup_flags: int) -> int:
    """Whether pages of this mapping may be taken: 0 or -EFAULT.

    A driver's frames never: there is no struct page to hold. To write needs VM_WRITE, or force in a private mapping:
    that makes a copy. To read needs VM_READ, or force where it may be had.
    """
    why = _why_refused(vma, gup_flags)
    if machine.on:
        machine.trace.emit(ev.VmaFlagsChecked(vma.vm_mm.pid, vma.vm_start, vma.vm_flags, gup_flags, why))
    return -Errno.EFAULT if why else 0


def _why_refused(vma: VmAreaStruct, gup_flags: int) -> str:
    force = gup_flags & FOLL_FORCE
    if vma.vm_flags & (VM_IO | VM_PFNMAP):
        return "a driver's frames"
    if gup_flags & FOLL_ANON and not vma_is_anonymous(vma):
        return "not anonymous"
    if gup_flags & FOLL_WRITE:
        if vma.vm_flags & VM_WRITE:
            return ""
        return "" if force and is_cow_mapping(vma.vm_flags) else "not writable"
    return "" if vma.vm_flags & VM_READ or (force and vma.vm_flags & VM_MAYREAD) else "not readable"


@mirrors("mm/gup.c")
def faultin_page(machine: Machine, tsk: MmStruct | None, vma: VmAreaStruct, address: int, ctx: FollowPageContext,
                 nonblocking: list[int] | None) -> int:
    """Make the fault that the process would make.

    Returns
    -------
    int
        0: look again. -ENOENT: do not (mlock without populate); -EBUSY: mmap_sem was given up; else -ENOMEM, -EFAULT.

    Notes
    -----
    After a copy for a forced write, ctx.flags has FOLL_COW: the entry is not writable, but good for this.
    """
    if ctx.flags & (FOLL_POPULATE | FOLL_MLOCK) == FOLL_MLOCK:
        return -Errno.ENOENT
    flags = _fault_flags(ctx.flags, nonblocking)
    result = handle_mm_fault(machine, vma, address, flags)
    if machine.on:
        machine.trace.emit(ev.PageFaultedIn(vma.vm_mm.pid, address, flags, result))
    if result & VM_FAULT_ERROR:
        return -Errno.ENOMEM if result & VM_FAULT_OOM else -Errno.EFAULT
    if tsk is not None:
        count_fault(machine, tsk.pid, bool(result & VM_FAULT_MAJOR))
    if result & VM_FAULT_RETRY:
        if nonblocking is not None and not flags & FAULT_FLAG_RETRY_NOWAIT:
            nonblocking[0] = 0
        return -Errno.EBUSY
    if result & VM_FAULT_WRITE and not vma.vm_flags & VM_WRITE:
        ctx.flags |= FOLL_COW
    return 0


def _fault_flags(foll_flags: int, nonblocking: list[int] | None) -> int:
    """FAULT_FLAG_* for FOLL_*."""
    return ((FAULT_FLAG_WRITE if foll_flags & FOLL_WRITE else 0)
            | (FAULT_FLAG_REMOTE if foll_flags & FOLL_REMOTE else 0)
            | (FAULT_FLAG_ALLOW_RETRY if nonblocking is not None else 0)
            | (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_RETRY_NOWAIT if foll_flags & FOLL_NOWAIT else 0)
            | (FAULT_FLAG_TRIED if foll_flags & FOLL_TRIED else 0))


# ---------------------------------------------------------------- letting go


@mirrors("include/linux/mm.h")
def put_user_page(machine: Machine, page: int) -> None:
    """Drop the reference that get_user_pages took. In v5.4 it is one like any other."""
    put_page(machine, page)


@mirrors("mm/gup.c")
def put_user_pages(machine: Machine, pages: Sequence[int]) -> None:
    """`put_user_page` for each."""
    for page in pages:
        put_user_page(machine, page)


@mirrors("mm/gup.c")
def put_user_pages_dirty_lock(machine: Machine, pages: Sequence[int], make_dirty: bool) -> None:
    """Let go of pages that a device wrote to: mark each dirty first."""
    for page in pages:
        if make_dirty:
            set_page_dirty(machine, compound_head(machine, page))
        put_user_page(machine, page)


