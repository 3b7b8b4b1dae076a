"""get_user_pages without page tables (CONFIG_MMU=n): the function of the outline.

There an address is a place in memory, the same for everybody. So there is nothing to fault in, and nothing to walk:
`virt_to_page(start)` is the page. A mapping must contain the address, and have the rights.

Kernel: mm/gup.c, under #else CONFIG_MMU, at v5.4.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    FOLL_FORCE,
    FOLL_WRITE,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_IO,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_PFNMAP,
    VM_READ,
    VM_WRITE,
    Errno,
)
from ..trace import mirrors
from . import vm_events as ev
from .find_vma import find_vma
from .mm_types import MmStruct, VmAreaStruct
from .swap import get_page

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/gup.c", "__get_user_pages_locked")
def __get_user_pages_nommu(machine: Machine, mm: MmStruct, start: int, nr_pages: int, page_array: list[int] | None,
                           vma_array: list[VmAreaStruct] | None, foll_flags: int) -> int:
    """Take pages as long as mappings that allow it contain the address.

    Returns
    -------
    int
        How many; -EFAULT if it is none.
    """
    done = 0
    while done < nr_pages:
        vaddr = (start & -PAGE_SIZE) + (done << PAGE_SHIFT) if done else start
        vma = find_vma(machine, mm, vaddr)
        if vma is None or not _allowed(vma, foll_flags):
            break
        if page_array is not None:
            page_array.append(virt_to_page(vaddr))
            get_page(machine, virt_to_page(vaddr))
        if vma_array is not None:
            vma_array.append(vma)
        done += 1
    result = done or (-Errno.EFAULT if nr_pages else 0)
    if machine.on:
        machine.trace.emit(ev.UserPagesGot(mm.pid, start, nr_pages, result))
    return result


def _allowed(vma: VmAreaStruct, foll_flags: int) -> bool:
    """The flags that the mapping must have, one of them: with force those that it may have."""
    needed = VM_WRITE | VM_MAYWRITE if foll_flags & FOLL_WRITE else VM_READ | VM_MAYREAD
    needed &= VM_MAYREAD | VM_MAYWRITE if foll_flags & FOLL_FORCE else VM_READ | VM_WRITE
    return not vma.vm_flags & (VM_IO | VM_PFNMAP) and bool(needed & vma.vm_flags)


def virt_to_page(vaddr: int) -> int:
    """The page at an address, where an address is a place in memory."""
    return vaddr >> PAGE_SHIFT
