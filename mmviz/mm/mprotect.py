"""mprotect: other rights for a range.

Each mapping of the range gets its new vm_flags: merged with a neighbour that has the same ones, else split off at the
ends of the range. Then the entries follow. A private page loses the right to be written even if its mapping gets it:
the next write must fault, for the page may be shared since. At a hole the call ends with -ENOMEM, and what lies before
it keeps the new rights.

Left out: PROT_GROWSDOWN, protection keys, READ_IMPLIES_EXEC, limits.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_ACCOUNT,
    VM_EXEC,
    VM_HUGETLB,
    VM_LOCKED,
    VM_NORESERVE,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    Errno,
)
from ..trace import mirrors
from .change_protection import change_protection
from .find_vma import find_vma, refused
from .mm_types import MmStruct, VmAreaStruct
from .mmap import calc_vm_prot_bits, vma_set_page_prot
from .overcommit import __vm_enough_memory
from .populate import populate_vma_page_range
from .rmap import vma_next, vma_prev
from .vm import set_vm_flags
from .vma import vm_stat_account
from .vma_merge import vma_modify

if TYPE_CHECKING:
    from .machine import Machine

VM_ACCESS_FLAGS = VM_READ | VM_WRITE | VM_EXEC


@mirrors("mm/mprotect.c")
def do_mprotect_pkey(machine: Machine, mm: MmStruct, start: int, length: int, prot: int) -> int:
    """The system call mprotect: give a range other rights.

    Parameters
    ----------
    start, length : int
        Bytes; `start` a multiple of the page size.
    prot : int
        PROT_READ, PROT_WRITE, PROT_EXEC, or 0.

    Returns
    -------
    int
        0; -ENOMEM at the first hole, -EACCES at the first mapping that may not get such rights: what lies before has
        them. -EINVAL for a start that is no page.
    """
    if start & PAGE_SIZE - 1:
        return refused(machine, "mprotect", Errno.EINVAL, "the address is not that of a page")
    end = start + (length + PAGE_SIZE - 1 & -PAGE_SIZE)
    if end == start:
        return 0
    vma = find_vma(machine, mm, start)
    if not vma or vma.vm_start > start:
        return refused(machine, "mprotect", Errno.ENOMEM, "nothing is mapped at the start")
    prev = vma if start > vma.vm_start else vma_prev(vma)
    nstart = start
    while True:
        newflags = calc_vm_prot_bits(prot) | vma.vm_flags & ~VM_ACCESS_FLAGS
        if newflags & ~(newflags >> 4) & VM_ACCESS_FLAGS:  # VM_MAYREAD is VM_READ << 4, and so on
            return refused(machine, "mprotect", Errno.EACCES, "the mapping may not have such rights")
        changed = mprotect_fixup(machine, vma, prev, nstart, min(vma.vm_end, end), newflags)
        if changed is None:
            return -Errno.ENOMEM
        prev, nstart = changed, changed.vm_end
        if nstart >= end:
            return 0
        vma = vma_next(prev)
        if not vma or vma.vm_start != nstart:
            return refused(machine, "mprotect", Errno.ENOMEM, "there is a hole; what lies before it is done")


@mirrors("mm/mprotect.c")
def mprotect_fixup(machine: Machine, vma: VmAreaStruct, prev: VmAreaStruct | None, start: int, end: int,
                   newflags: int) -> VmAreaStruct | None:
    """Give a part of a mapping other flags, and its entries other rights.

    Returns
    -------
    VmAreaStruct or None
        The mapping that it is now; None if so much memory cannot be promised (-ENOMEM).
    """
    oldflags = vma.vm_flags
    if newflags == oldflags:
        return vma
    pages = end - start >> PAGE_SHIFT
    flags = newflags
    if newflags & VM_WRITE and not oldflags & (VM_ACCOUNT | VM_WRITE | VM_HUGETLB | VM_SHARED | VM_NORESERVE):
        if __vm_enough_memory(machine, pages):
            return None
        flags |= VM_ACCOUNT
    changed = vma_modify(machine, prev, vma, start, end, flags)
    set_vm_flags(machine, changed.id, flags)
    vma_set_page_prot(machine, changed)
    change_protection(machine, changed, start, end, changed.vm_page_prot, False, False)
    if oldflags & (VM_WRITE | VM_SHARED | VM_LOCKED) == VM_LOCKED and newflags & VM_WRITE:
        populate_vma_page_range(machine, changed, start, end)
    vm_stat_account(machine, changed.vm_mm.pid, oldflags, -pages)
    vm_stat_account(machine, changed.vm_mm.pid, flags, pages)
    return changed
