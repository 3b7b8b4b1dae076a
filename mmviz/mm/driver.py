"""A driver with memory of its own, which it lets processes map: who else calls remap_pfn_range?

At open it takes one block of zeroed pages, order 2, say. `mmap` of its file maps them all at once; no fault will ever
come. The pages are the driver's: no page of the block gets a reference or a mapcount for being mapped, and if the block
were freed while it is mapped, the mapping would lead into other people's memory.

The file lies in procfs, which is mounted noexec: it cannot be mapped executable.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import __GFP_ZERO, GFP_KERNEL, PAGE_SHIFT, Errno
from .get_free_pages import alloc_pages
from .memory import remap_pfn_range
from .mm_types import Inode, VmAreaStruct
from .page_free import __free_pages
from .shmem import next_ino
from .vm import forget_page
from .vma import new_inode, page_cache_insert, set_vm_file

if TYPE_CHECKING:
    from .machine import Machine


def driver_open(machine: Machine, name: str = "map", order: int = 2) -> int:
    """Open the file of a driver, which takes 2^order zeroed pages for it.

    Returns
    -------
    int
        The number of its inode, for `vm_mmap_pgoff`; -ENOMEM if there is no such block.
    """
    pfn = alloc_pages(machine, GFP_KERNEL | __GFP_ZERO, order)
    if pfn is None:
        return -Errno.ENOMEM
    ino = next_ino(machine)
    new_inode(machine, ino, name, 1 << order, False)
    for index in range(1 << order):
        page_cache_insert(machine, ino, index, pfn + index)
    return ino


def driver_mmap(machine: Machine, inode: Inode, vma: VmAreaStruct) -> int:
    """Map the driver's pages at the start of a VMA, as many as go in; what lies behind them stays empty.

    Returns
    -------
    int
        What remap_pfn_range says: -EINVAL for a private mapping that is larger than the pages.
    """
    set_vm_file(machine, vma.id, inode.ino, "pfnmap")
    size = min(vma.vm_end - vma.vm_start, inode.size << PAGE_SHIFT)
    return remap_pfn_range(machine, vma, vma.vm_start, inode.pages[0], size, vma.vm_page_prot)


def driver_release(machine: Machine, inode: Inode) -> None:
    """The last user is gone: the driver gives its block back."""
    for pfn in inode.pages.values():
        forget_page(machine, pfn)
    __free_pages(machine, inode.pages[0], inode.size.bit_length() - 1)
