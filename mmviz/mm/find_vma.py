"""Which mapping is at an address?

    addr             addr                       addr
     v                v                          v
    [ vma ]              [ vma ]                        nothing above
    find_vma: vma    find_vma: the one above    find_vma: none

With an MMU `find_vma` gives the first mapping that *ends* above the address, and who asks looks at vm_start himself: a
stack above may grow down to it. Without one (CONFIG_MMU=n) it is the mapping that *contains* the address: there is no
fault that could ask what lies above.

Left out: vmacache, the rlimits of an address space but that of the stack.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT, PAGE_SIZE, VM_EXEC, VM_GROWSDOWN, VM_LOCKED, VM_READ, VM_WRITE, Errno
from ..trace import mirrors
from . import mmap_events as ev
from .mm_types import MmStruct, VmAreaStruct
from .overcommit import __vm_enough_memory
from .rmap import anon_vma_prepare, vma_prev
from .vma import add_locked_vm, set_vma_range, vm_stat_account

if TYPE_CHECKING:
    from .machine import Machine

mmap_min_addr = 0x10000
stack_guard_gap = 256 << PAGE_SHIFT
RLIMIT_STACK = 8 << 20  # bytes: what a process has by default


def refused(machine: Machine, call: str, errno: int, why: str) -> int:
    """Say why a call ends with an error; what it returns."""
    if machine.on:
        machine.trace.emit(ev.CallRefused(call, errno, why))
    return -errno


@mirrors("mm/mmap.c")
def find_vma(machine: Machine, mm: MmStruct, addr: int) -> VmAreaStruct | None:
    """The first mapping that ends above an address; it may begin above it, too. Without an MMU: that contains it.

    Parameters
    ----------
    addr : int
        Any address.

    Returns
    -------
    VmAreaStruct or None

    Notes
    -----
    Kernel: mm/mmap.c:find_vma at v5.4, and mm/nommu.c:find_vma.
    """
    place = mm.index(addr + 1)
    if place and mm.mmap[place - 1].vm_end > addr:
        place -= 1
    vma = mm.mmap[place] if place < len(mm.mmap) else None
    if vma and vma.vm_start > addr and not machine.config.mmu:
        vma = None
    if machine.on:
        machine.trace.emit(ev.VmaSearched(mm.pid, addr, vma.id if vma else 0, vma.vm_start if vma else 0))
    return vma


@mirrors("mm/mmap.c")
def find_vma_prev(machine: Machine, mm: MmStruct, addr: int) -> tuple[VmAreaStruct | None, VmAreaStruct | None]:
    """What find_vma finds, and the mapping before it."""
    vma = find_vma(machine, mm, addr)
    if vma:
        return vma, vma_prev(vma)
    return None, mm.mmap[-1] if mm.mmap else None


@mirrors("mm/mmap.c")
def find_extend_vma(machine: Machine, mm: MmStruct, addr: int) -> VmAreaStruct | None:
    """The mapping that contains an address, or a stack above it, which grows down to it.

    Left out: locked stacks are not populated.
    """
    page = addr & -PAGE_SIZE
    vma = find_vma(machine, mm, page)
    if not vma or vma.vm_start <= page:
        return vma
    if not vma.vm_flags & VM_GROWSDOWN or expand_downwards(machine, vma, page):
        return None
    return vma


@mirrors("mm/mmap.c")
def expand_downwards(machine: Machine, vma: VmAreaStruct, address: int) -> int:
    """Let a stack grow down to an address.

    Returns
    -------
    int
        0; -EPERM below mmap_min_addr; -ENOMEM if it would come nearer than stack_guard_gap to the mapping below, or
        become larger than RLIMIT_STACK.
    """
    if address < mmap_min_addr:
        return refused(machine, "expand_downwards", Errno.EPERM, "below mmap_min_addr")
    prev = vma_prev(vma)
    if (prev and not prev.vm_flags & VM_GROWSDOWN and prev.vm_flags & (VM_READ | VM_WRITE | VM_EXEC)
            and address - prev.vm_end < stack_guard_gap):
        return refused(machine, "expand_downwards", Errno.ENOMEM, "another mapping is nearer than the guard gap")
    anon_vma_prepare(machine, vma)
    grow = vma.vm_start - address >> PAGE_SHIFT
    if vma.vm_end - address > RLIMIT_STACK or __vm_enough_memory(machine, grow):
        return refused(machine, "expand_downwards", Errno.ENOMEM, "the stack would become too large")
    if vma.vm_flags & VM_LOCKED:
        add_locked_vm(machine, vma.vm_mm.pid, grow)
    vm_stat_account(machine, vma.vm_mm.pid, vma.vm_flags, grow)
    set_vma_range(machine, vma.id, address, vma.vm_end, vma.vm_pgoff - grow)
    return 0


def prev_of(mm: MmStruct, addr: int) -> VmAreaStruct | None:
    """The last mapping that starts below an address."""
    place = mm.index(addr)
    return mm.mmap[place - 1] if place else None
