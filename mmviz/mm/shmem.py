"""Files that live in memory: tmpfs, and the objects behind shared anonymous mappings.

    mmap(MAP_SHARED|MAP_ANONYMOUS)  -->  an unnamed file "dev/zero" of just that size  -->  its page cache

Memory that processes share must have an owner that outlives each of them: a file. Its pages are made when they are
first touched, by whichever process; each has one reference for being in the page cache, and one for each mapping. A
touch beyond the size is SIGBUS, also where a mapping was made longer later on. A file that is cut takes its pages out
of all page tables, and the private copies that were made of them, too.

Left out: swap, limits of a mount, huge pages, holes punched, reads and writes of less than a page.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    GFP_HIGHUSER_MOVABLE,
    PAGE_SHIFT,
    VM_FAULT_LOCKED,
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
    Errno,
)
from ..trace import mirrors
from . import mmap_events as ev
from .filemap import delete_from_page_cache, filemap_map_pages, find_lock_entry
from .get_free_pages import alloc_pages
from .mm_types import (
    Inode,
    PG_dirty,
    PG_referenced,
    PG_swapbacked,
    PG_uptodate,
    VmAreaStruct,
    VmFault,
    VmOperations,
)
from .overcommit import __vm_enough_memory
from .swap import get_page, lru_cache_add, put_page
from .vm import clear_page_flag, set_page_data, set_page_flag, set_page_mapping, vm
from .vma import i_size_write, new_inode, page_cache_insert, set_vm_file
from .zap import unmap_mapping_pages

if TYPE_CHECKING:
    from .machine import Machine

# ---------------------------------------------------------------- a file


def next_ino(machine: Machine) -> int:
    """The number of the next inode."""
    return max(vm(machine).inode, default=0) + 1


@mirrors("mm/shmem.c")
def shmem_file_setup(machine: Machine, name: str, size: int) -> int:
    """Make a file of `size` pages, none of which exists yet; it is open once.

    Parameters
    ----------
    name : str
        For people.
    size : int
        Pages, 0 or more.

    Returns
    -------
    int
        The number of its inode, or -ENOMEM if the machine has not that much memory.
    """
    if __vm_enough_memory(machine, size):
        return -Errno.ENOMEM
    ino = next_ino(machine)
    new_inode(machine, ino, name, size, True)
    return ino


@mirrors("mm/shmem.c")
def shmem_zero_setup(machine: Machine, vma: VmAreaStruct) -> int:
    """Put a file of its size behind a shared anonymous mapping, which holds it from here on; 0 or -ENOMEM."""
    file = shmem_file_setup(machine, "dev/zero", vma.vm_end - vma.vm_start >> PAGE_SHIFT)
    if file < 0:
        return file
    set_vm_file(machine, vma.id, file, "shmem")
    return 0


@mirrors("mm/shmem.c")
def shmem_mmap(machine: Machine, inode: Inode, vma: VmAreaStruct) -> int:
    """Let a VMA show a file: faults will bring its pages in."""
    set_vm_file(machine, vma.id, inode.ino, "shmem")
    return 0


# ---------------------------------------------------------------- its pages


@mirrors("mm/shmem.c")
def shmem_fault(machine: Machine, vmf: VmFault) -> int:
    """Find the page of a fault, or make it; it is left in vmf.page, with a reference.

    Returns
    -------
    int
        VM_FAULT_LOCKED; VM_FAULT_SIGBUS beyond the end of the file; VM_FAULT_OOM.
    """
    inode = vm(machine).inode[vmf.vma.vm_file]
    page = shmem_getpage_gfp(machine, inode, vmf.pgoff)
    if page < 0:
        return VM_FAULT_OOM if page == -Errno.ENOMEM else VM_FAULT_SIGBUS
    vmf.page = page
    return VM_FAULT_LOCKED


@mirrors("mm/shmem.c")
def shmem_getpage_gfp(machine: Machine, inode: Inode, index: int) -> int:
    """A page of a file with a reference for the caller: from the page cache, or a new one full of zeros.

    Returns
    -------
    int
        The pfn; -EINVAL beyond the end of the file, -ENOMEM.
    """
    if index >= inode.size:
        return -Errno.EINVAL
    page = find_lock_entry(machine, inode, index)
    if page is not None:
        return page
    page = alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 0)
    if page is None:
        return -Errno.ENOMEM
    set_page_flag(machine, page, PG_swapbacked)
    shmem_add_to_page_cache(machine, page, inode, index)
    lru_cache_add(machine, page)
    set_page_flag(machine, page, PG_uptodate)
    return page


@mirrors("mm/shmem.c")
def shmem_add_to_page_cache(machine: Machine, page: int, inode: Inode, index: int) -> None:
    """Put a page into the page cache, which holds a reference of its own."""
    get_page(machine, page)
    set_page_mapping(machine, page, "file", inode.ino, index)
    page_cache_insert(machine, inode.ino, index, page)


def shmem_write(machine: Machine, file: int, index: int, data: int) -> int:
    """Write to a file by write(2): `data` is the first 32-bit word of page `index`.

    Returns
    -------
    int
        0; -EINVAL beyond the end of the file, -ENOMEM.

    Notes
    -----
    Kernel: mm/shmem.c:shmem_write_begin and shmem_write_end. Simplified: it does not make the file longer.
    """
    page = shmem_getpage_gfp(machine, vm(machine).inode[file], index)
    if page < 0:
        return page
    set_page_data(machine, page, data)
    set_page_flag(machine, page, PG_referenced | PG_dirty)
    put_page(machine, page)
    return 0


# ---------------------------------------------------------------- another size


@mirrors("mm/shmem.c")
def shmem_setattr(machine: Machine, file: int, size: int) -> int:
    """Give a file another size in pages, as ftruncate does.

    A shorter file loses the pages beyond: they leave all page tables, and so do private copies of them. A longer one
    has holes there, which read as zeros.

    Raises
    ------
    ValueError
        If `size` is below 0.
    """
    if size < 0:
        raise ValueError(f"size must be a number of pages >= 0, got {size}")
    inode = vm(machine).inode[file]
    oldsize = inode.size
    if machine.on:
        machine.trace.emit(ev.Truncated(file, size, oldsize))
    i_size_write(machine, file, size)
    if size < oldsize:
        unmap_mapping_pages(machine, inode, size, 0, True)
        shmem_truncate_range(machine, inode, size)
        unmap_mapping_pages(machine, inode, size, 0, True)
    return 0


@mirrors("mm/shmem.c", "shmem_undo_range")
def shmem_truncate_range(machine: Machine, inode: Inode, start: int) -> None:
    """Let go of the pages of a file from index `start` on."""
    for index in sorted(index for index in inode.pages if index >= start):
        clear_page_flag(machine, inode.pages[index], PG_dirty)
        delete_from_page_cache(machine, inode, index)


@mirrors("mm/shmem.c")
def shmem_evict_inode(machine: Machine, inode: Inode) -> None:
    """Nobody has the file any more: its pages are free."""
    shmem_truncate_range(machine, inode, 0)


shmem_vm_ops = VmOperations(fault=shmem_fault, map_pages=filemap_map_pages)
