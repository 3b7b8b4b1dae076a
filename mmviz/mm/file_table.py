"""A file lives as long as somebody has it open or mapped.

`f_count` of an Inode counts both. Here every inode is opened once at most, so that a file and its inode are one: what a
VMA names in `vm_file` is the inode's number, and two VMAs have the same file if that number is the same.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..trace import mirrors
from .driver import driver_release
from .shmem import shmem_evict_inode
from .vm import vm
from .vma import add_f_count, evict_inode

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("include/linux/fs.h")
def get_file(machine: Machine, file: int) -> None:
    """Hold a file once more: a mapping of it was made. 0, no file, is allowed."""
    if file:
        add_f_count(machine, file, 1)


@mirrors("fs/file_table.c")
def fput(machine: Machine, file: int) -> None:
    """Hold a file once less: it was closed, or a mapping is gone. The last one takes its pages along.

    Parameters
    ----------
    file : int
        The number of an inode; 0 is no file, and nothing happens.
    """
    if not file:
        return
    add_f_count(machine, file, -1)
    inode = vm(machine).inode[file]
    if not inode.f_count:
        (shmem_evict_inode if inode.shmem else driver_release)(machine, inode)
        evict_inode(machine, file)
