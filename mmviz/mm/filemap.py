"""The page cache: the pages of a file that are in memory, by their place in the file.

A page in the cache has one reference for it, and knows its file and index. Faults look here first. A read fault takes
the neighbours along ("fault-around"): whatever of the 16 pages around is in the cache is mapped, too, and never faults.

Left out: reading from a disk, readahead, locks on pages, huge pages.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT
from ..trace import mirrors
from . import mmap_events as ev
from .file_fault import alloc_set_pte
from .geometry import geometry_of
from .mm_types import Inode, VmFault
from .swap import get_page, put_page
from .vm import set_page_mapping, vm
from .vma import page_cache_delete

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/filemap.c")
def find_lock_entry(machine: Machine, inode: Inode, index: int) -> int | None:
    """The page of a file at an index, with a reference for the caller; None if it is not in the cache."""
    page = inode.pages.get(index)
    if machine.on:
        machine.trace.emit(ev.PageCacheSearched(inode.ino, index, page or 0))
    if page is not None:
        get_page(machine, page)
    return page


@mirrors("mm/filemap.c")
def delete_from_page_cache(machine: Machine, inode: Inode, index: int) -> None:
    """Take a page out of the cache; if nobody else holds it, it is free. page->index stays as it was."""
    page = inode.pages[index]
    page_cache_delete(machine, inode.ino, index)
    set_page_mapping(machine, page, "", 0, index)
    put_page(machine, page)


@mirrors("mm/filemap.c")
def filemap_map_pages(machine: Machine, vmf: VmFault, start_pgoff: int, end_pgoff: int) -> None:
    """Map what the page cache has of a range of a file, over entries that are empty.

    Parameters
    ----------
    start_pgoff, end_pgoff : int
        First and last page in the file. vmf.address is where the first one lies; it moves along with vmf.pte.

    Notes
    -----
    Kernel: mm/filemap.c:filemap_map_pages at v5.4.
    """
    inode = vm(machine).inode[vmf.vma.vm_file]
    if machine.on:
        machine.trace.emit(ev.PagesMappedAround(inode.ino, start_pgoff, end_pgoff))
    last_pgoff = start_pgoff
    for index in range(start_pgoff, min(end_pgoff + 1, inode.size)):
        if index in inode.pages:
            __step(machine, vmf, index - last_pgoff)
            last_pgoff = index
            __map_page(machine, vmf, inode.pages[index])


def __step(machine: Machine, vmf: VmFault, pages: int) -> None:
    vmf.address += pages << PAGE_SHIFT
    if vmf.pte is not None:
        vmf.pte += pages << geometry_of(machine).entry_shift


def __map_page(machine: Machine, vmf: VmFault, page: int) -> None:
    """Map one page with a reference of its own; give that back if the entry is not empty."""
    get_page(machine, page)
    if alloc_set_pte(machine, vmf, None, page):
        put_page(machine, page)
