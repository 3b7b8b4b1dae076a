"""fork: a child gets the address space of its parent; exit: it is given back.

Every mapping is copied. Its entries are, too, if faults could not bring all of them back: if it has an anon_vma, for
there may be private pages then, or is a driver's. Any other mapping, of a file or of memory that was only read, starts
empty in the child, without tables.

    VM_DONTCOPY       the child does not get the mapping
    VM_WIPEONFORK     it gets the mapping, without pages
    VM_LOCKED         is not inherited

Left out: threads, userfaultfd, the lists of a file's mappings.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import VM_ACCOUNT, VM_DONTCOPY, VM_LOCKED_CLEAR_MASK, VM_WIPEONFORK, Errno
from ..trace import mirrors
from . import mmap_events as ev
from .copy_page_range import copy_page_range
from .file_table import get_file
from .mm_types import MmStruct, VmAreaStruct
from .munmap import exit_mmap
from .overcommit import __vm_enough_memory
from .pgalloc import mm_alloc, mmdrop
from .rmap import __anon_vma_prepare, anon_vma_fork, vma_next, vma_prev
from .vm import set_vm_flags, vm
from .vma import __vma_link, dup_vm_stat, set_anon_vma, vm_area_dup, vm_stat_account, vma_pages

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("kernel/fork.c")
def dup_mm(machine: Machine, oldmm: MmStruct, pid: int, name: str) -> MmStruct | None:
    """Fork: make the address space of a child.

    Parameters
    ----------
    pid : int
        The child's number, above 0 and not in use.
    name : str
        How texts call it.

    Returns
    -------
    MmStruct or None
        None if there was not enough memory; then nothing is left of the child.
    """
    mm = mm_alloc(machine, pid, name, oldmm.task_size)
    if mm and dup_mmap(machine, mm, oldmm):
        mmput(machine, mm)
        return None
    return mm


@mirrors("kernel/fork.c")
def dup_mmap(machine: Machine, mm: MmStruct, oldmm: MmStruct) -> int:
    """Copy the mappings of the parent, in order, and their entries where that is needed.

    Returns
    -------
    int
        0 or -ENOMEM; then what was copied so far is still there.
    """
    dup_vm_stat(machine, mm.pid, oldmm.pid)
    for mpnt in oldmm.mmap:
        if mpnt.vm_flags & VM_DONTCOPY:
            vm_stat_account(machine, mm.pid, mpnt.vm_flags, -vma_pages(mpnt))
            __say(machine, mm, mpnt, "left out")
        elif mpnt.vm_flags & VM_ACCOUNT and __vm_enough_memory(machine, vma_pages(mpnt)):
            return -Errno.ENOMEM
        else:
            error = __dup_vma(machine, mm, oldmm, mpnt)
            if error:
                return error
    return 0


def __dup_vma(machine: Machine, mm: MmStruct, oldmm: MmStruct, mpnt: VmAreaStruct) -> int:
    """The child's copy of one mapping: 0 or -ENOMEM."""
    number = vm(machine).next_vma
    vm_area_dup(machine, number, mm.pid, mpnt.id)
    tmp = vm(machine).vma[number]
    wipe = bool(tmp.vm_flags & VM_WIPEONFORK)
    __say(machine, mm, mpnt, "wiped" if wipe else "copied")
    if wipe:  # tmp still has the parent's vm_next and vm_prev
        set_anon_vma(machine, tmp.id, 0)
        __anon_vma_prepare(machine, tmp, vma_next(mpnt), vma_prev(mpnt))
    else:
        anon_vma_fork(machine, tmp, mpnt)
    set_vm_flags(machine, tmp.id, tmp.vm_flags & VM_LOCKED_CLEAR_MASK)
    get_file(machine, tmp.vm_file)
    __vma_link(machine, tmp.id)
    return 0 if wipe else copy_page_range(machine, mm, oldmm, mpnt)


def __say(machine: Machine, mm: MmStruct, vma: VmAreaStruct, how: str) -> None:
    if machine.on:
        machine.trace.emit(ev.MappingForked(mm.pid, vma.id, how))


@mirrors("kernel/fork.c")
def mmput(machine: Machine, mm: MmStruct) -> None:
    """Exit: the last user of an address space is gone, and with it the mappings, the pages and the tables."""
    exit_mmap(machine, mm)
    mmdrop(machine, mm)
