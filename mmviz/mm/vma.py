"""The primitives of mappings and of the page cache: the only code of theirs that changes a Vm.

A primitive makes one change and reports it. Its arguments, after the machine, are the fields of its event, so replay
runs the very same code. A VMA is found by its number: it has one before it is linked into an address space, and after
it was taken out.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT, VM_EXEC, VM_GROWSDOWN, VM_SHARED, VM_WRITE
from ..trace import mirrors
from . import mmap_events as ev
from .machine import MACHINE_PRIMITIVES
from .mm_types import AnonVma, Inode, VmAreaStruct
from .mm_types import Vm as Vm  # the part; with this module come its primitives
from .vm import vm

if TYPE_CHECKING:
    from .machine import Machine

# ---------------------------------------------------------------- mappings


def vma_pages(vma: VmAreaStruct) -> int:
    """The pages that a mapping covers (include/linux/mm.h)."""
    return vma.vm_end - vma.vm_start >> PAGE_SHIFT


@mirrors("kernel/fork.c")
def vm_area_alloc(machine: Machine, vma: int, mm: int, vm_start: int, vm_end: int, vm_flags: int, vm_page_prot: int,
                  vm_pgoff: int) -> None:
    """Make a VMA; its number is `next_vma`."""
    state = vm(machine)
    state.vma[vma] = VmAreaStruct(state.mm[mm], vma, vm_start, vm_end, vm_flags, vm_page_prot, vm_pgoff)
    state.next_vma = vma + 1
    if machine.on:
        machine.trace.emit(ev.VmAreaAlloc(vma, mm, vm_start, vm_end, vm_flags, vm_page_prot, vm_pgoff))


@mirrors("kernel/fork.c")
def vm_area_dup(machine: Machine, vma: int, mm: int, orig: int) -> None:
    """Make a VMA like `orig`, with an empty anon_vma_chain; its number is `next_vma`."""
    state = vm(machine)
    state.vma[vma] = twin = state.vma[orig].copy(state.mm[mm])
    twin.id = vma
    twin.anon_vma_chain.clear()
    state.next_vma = vma + 1
    if machine.on:
        machine.trace.emit(ev.VmAreaDup(vma, mm, orig))


@mirrors("kernel/fork.c")
def vm_area_free(machine: Machine, vma: int) -> None:
    """Forget a VMA."""
    del vm(machine).vma[vma]
    if machine.on:
        machine.trace.emit(ev.VmAreaFree(vma))


@mirrors("mm/mmap.c")
def __vma_link(machine: Machine, vma: int) -> None:
    """Put a VMA where it belongs in the list of its address space."""
    area = vm(machine).vma[vma]
    area.vm_mm.mmap.insert(area.vm_mm.index(area.vm_start), area)
    if machine.on:
        machine.trace.emit(ev.VmaLink(vma))


@mirrors("mm/mmap.c", "__vma_unlink_common")
def __vma_unlink(machine: Machine, vma: int) -> None:
    """Take a VMA out of the list of its address space."""
    area = vm(machine).vma[vma]
    area.vm_mm.mmap.remove(area)
    if machine.on:
        machine.trace.emit(ev.VmaUnlink(vma))


def set_vma_range(machine: Machine, vma: int, vm_start: int, vm_end: int, vm_pgoff: int) -> None:
    """vma->vm_start, vm_end and vm_pgoff; the order of the list stays."""
    area = vm(machine).vma[vma]
    area.vm_start, area.vm_end, area.vm_pgoff = vm_start, vm_end, vm_pgoff
    if machine.on:
        machine.trace.emit(ev.SetVmaRange(vma, vm_start, vm_end, vm_pgoff))


def set_vm_page_prot(machine: Machine, vma: int, vm_page_prot: int) -> None:
    """vma->vm_page_prot = vm_page_prot."""
    vm(machine).vma[vma].vm_page_prot = vm_page_prot
    if machine.on:
        machine.trace.emit(ev.SetVmPageProt(vma, vm_page_prot))


def set_vm_file(machine: Machine, vma: int, ino: int, vm_ops: str) -> None:
    """vma->vm_file and vma->vm_ops; the mapping takes no reference here (get_file does)."""
    area = vm(machine).vma[vma]
    area.vm_file, area.vm_ops = ino, vm_ops
    if machine.on:
        machine.trace.emit(ev.SetVmFile(vma, ino, vm_ops))


# ---------------------------------------------------------------- anon_vma


def set_anon_vma(machine: Machine, vma: int, anon_vma: int) -> None:
    """vma->anon_vma = anon_vma."""
    vm(machine).vma[vma].anon_vma = anon_vma
    if machine.on:
        machine.trace.emit(ev.SetAnonVma(vma, anon_vma))


@mirrors("mm/rmap.c")
def anon_vma_chain_link(machine: Machine, vma: int, anon_vma: int) -> None:
    """Put an anon_vma at the head of a VMA's chain, and the VMA into the anon_vma's tree."""
    state = vm(machine)
    state.vma[vma].anon_vma_chain.insert(0, anon_vma)
    state.anon_vma[anon_vma].rb_root += 1
    if machine.on:
        machine.trace.emit(ev.AnonVmaChainLink(vma, anon_vma))


def anon_vma_chain_unlink(machine: Machine, vma: int, anon_vma: int) -> None:
    """Take an anon_vma out of a VMA's chain, and the VMA out of its tree."""
    state = vm(machine)
    state.vma[vma].anon_vma_chain.remove(anon_vma)
    state.anon_vma[anon_vma].rb_root -= 1
    if machine.on:
        machine.trace.emit(ev.AnonVmaChainUnlink(vma, anon_vma))


@mirrors("mm/rmap.c")
def anon_vma_alloc(machine: Machine, anon_vma: int, root: int, parent: int) -> None:
    """Make an anon_vma that one VMA will use; its number is `next_anon_vma`."""
    state = vm(machine)
    state.anon_vma[anon_vma] = AnonVma(root, parent, degree=1)
    state.next_anon_vma = anon_vma + 1
    if machine.on:
        machine.trace.emit(ev.AnonVmaAlloc(anon_vma, root, parent))


@mirrors("mm/rmap.c")
def anon_vma_free(machine: Machine, anon_vma: int) -> None:
    """Forget an anon_vma."""
    del vm(machine).anon_vma[anon_vma]
    if machine.on:
        machine.trace.emit(ev.AnonVmaFree(anon_vma))


def add_degree(machine: Machine, anon_vma: int, delta: int) -> None:
    """anon_vma->degree += delta."""
    vm(machine).anon_vma[anon_vma].degree += delta
    if machine.on:
        machine.trace.emit(ev.AddDegree(anon_vma, delta))


# ---------------------------------------------------------------- address spaces


@mirrors("mm/mmap.c")
def vm_stat_account(machine: Machine, mm: int, vm_flags: int, npages: int) -> None:
    """Count pages of mappings: all of them, and those of code, stack and private writable data by themselves."""
    space = vm(machine).mm[mm]
    space.total_vm += npages
    if vm_flags & (VM_EXEC | VM_WRITE | VM_GROWSDOWN) == VM_EXEC:
        space.exec_vm += npages
    elif vm_flags & VM_GROWSDOWN:
        space.stack_vm += npages
    elif vm_flags & (VM_WRITE | VM_SHARED) == VM_WRITE:
        space.data_vm += npages
    if machine.on:
        machine.trace.emit(ev.VmStatAccount(mm, vm_flags, npages))


def dup_vm_stat(machine: Machine, mm: int, oldmm: int) -> None:
    """Let a child begin with its parent's total_vm and its sisters; what it does not get is counted off then."""
    child, parent = vm(machine).mm[mm], vm(machine).mm[oldmm]
    child.total_vm, child.data_vm = parent.total_vm, parent.data_vm
    child.exec_vm, child.stack_vm = parent.exec_vm, parent.stack_vm
    if machine.on:
        machine.trace.emit(ev.DupVmStat(mm, oldmm))


def add_locked_vm(machine: Machine, mm: int, npages: int) -> None:
    """mm->locked_vm += npages."""
    vm(machine).mm[mm].locked_vm += npages
    if machine.on:
        machine.trace.emit(ev.AddLockedVm(mm, npages))


# ---------------------------------------------------------------- files


def new_inode(machine: Machine, ino: int, name: str, size: int, shmem: bool) -> None:
    """Make an empty file of `size` pages, held by who opened it."""
    vm(machine).inode[ino] = Inode(ino, name, size, shmem)
    if machine.on:
        machine.trace.emit(ev.NewInode(ino, name, size, shmem))


def evict_inode(machine: Machine, ino: int) -> None:
    """Forget a file."""
    del vm(machine).inode[ino]
    if machine.on:
        machine.trace.emit(ev.EvictInode(ino))


def add_f_count(machine: Machine, ino: int, delta: int) -> None:
    """file->f_count += delta."""
    vm(machine).inode[ino].f_count += delta
    if machine.on:
        machine.trace.emit(ev.AddFCount(ino, delta))


@mirrors("include/linux/fs.h")
def i_size_write(machine: Machine, ino: int, size: int) -> None:
    """Give a file another size, in pages."""
    vm(machine).inode[ino].size = size
    if machine.on:
        machine.trace.emit(ev.ISizeWrite(ino, size))


def page_cache_insert(machine: Machine, ino: int, index: int, pfn: int) -> None:
    """Put a page into the page cache of a file."""
    vm(machine).inode[ino].pages[index] = pfn
    if machine.on:
        machine.trace.emit(ev.AddToPageCache(ino, index, pfn))


def page_cache_delete(machine: Machine, ino: int, index: int) -> None:
    """Take a page out of the page cache of a file."""
    del vm(machine).inode[ino].pages[index]
    if machine.on:
        machine.trace.emit(ev.DeleteFromPageCache(ino, index))


MACHINE_PRIMITIVES.update({
    ev.VmAreaAlloc: vm_area_alloc, ev.VmAreaDup: vm_area_dup, ev.VmAreaFree: vm_area_free,
    ev.VmaLink: __vma_link, ev.VmaUnlink: __vma_unlink, ev.SetVmaRange: set_vma_range,
    ev.SetVmPageProt: set_vm_page_prot, ev.SetVmFile: set_vm_file, ev.SetAnonVma: set_anon_vma,
    ev.AnonVmaChainLink: anon_vma_chain_link, ev.AnonVmaChainUnlink: anon_vma_chain_unlink,
    ev.AnonVmaAlloc: anon_vma_alloc, ev.AnonVmaFree: anon_vma_free, ev.AddDegree: add_degree,
    ev.VmStatAccount: vm_stat_account, ev.DupVmStat: dup_vm_stat, ev.AddLockedVm: add_locked_vm, ev.NewInode: new_inode,
    ev.EvictInode: evict_inode, ev.AddFCount: add_f_count, ev.ISizeWrite: i_size_write,
    ev.AddToPageCache: page_cache_insert, ev.DeleteFromPageCache: page_cache_delete,
})
