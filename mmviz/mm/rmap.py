"""Who may map an anonymous page: anon_vma, and the chains that link VMAs to it.

An anonymous page has no file whose mappings could be asked. It belongs to an *anon_vma*, made when a VMA gets its first
anonymous page, and all VMAs that may map the page are linked to that. After a fork, pages of the parent are mapped by
parent and child; those that the child makes itself are its own. So the child's VMA is linked to both:

      parent's VMA          child's VMA            grandchild's VMA
      chain: [A1]           chain: [A2, A1]        chain: [A3, A2, A1]
      anon_vma: A1          anon_vma: A2           anon_vma: A3

* The chain says whose pages may lie here, `vma.anon_vma` whose the next one will be.
* `degree` counts the VMAs whose anon_vma it is, and the anon_vmas that were forked from it. With none of the first and
  one of the second (a process that forked and then was gone), the next fork takes it again: chains of processes that
  fork and exit do not grow without end.
* A VMA whose chain has more than one link has been through a fork: its anon_vma is not shared with a neighbour.

Left out: the interval tree (`rb_root` counts what hangs in it), locks, KSM, walks from a page to its mappings.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT, VM_EXEC, VM_READ, VM_SOFTDIRTY, VM_WRITE
from ..trace import mirrors
from . import mmap_events as ev
from .mm_types import VmAreaStruct
from .vm import vm
from .vma import (
    add_degree,
    anon_vma_alloc,
    anon_vma_chain_link,
    anon_vma_chain_unlink,
    anon_vma_free,
    set_anon_vma,
)

if TYPE_CHECKING:
    from .machine import Machine

# ---------------------------------------------------------------- a first page


@mirrors("include/linux/rmap.h")
def anon_vma_prepare(machine: Machine, vma: VmAreaStruct) -> int:
    """Give a mapping an anon_vma, before its first anonymous page; nothing to do if it has one.

    Returns
    -------
    int
        0. In the kernel -ENOMEM, too: here the structures themselves take no memory.
    """
    if not vma.anon_vma:
        __anon_vma_prepare(machine, vma, vma_next(vma), vma_prev(vma))
    return 0


@mirrors("mm/rmap.c")
def __anon_vma_prepare(machine: Machine, vma: VmAreaStruct, vm_next: VmAreaStruct | None,
                       vm_prev: VmAreaStruct | None) -> None:
    """The anon_vma of a neighbour if that fits, else a new one.

    `vm_next` and `vm_prev` are what vma->vm_next and vma->vm_prev point to.
    """
    anon_vma = find_mergeable_anon_vma(machine, vma, vm_next, vm_prev)
    if not anon_vma:
        anon_vma = vm(machine).next_anon_vma
        anon_vma_alloc(machine, anon_vma, anon_vma, anon_vma)
    set_anon_vma(machine, vma.id, anon_vma)
    anon_vma_chain_link(machine, vma.id, anon_vma)
    add_degree(machine, anon_vma, 1)


@mirrors("mm/mmap.c")
def find_mergeable_anon_vma(machine: Machine, vma: VmAreaStruct, vm_next: VmAreaStruct | None,
                            vm_prev: VmAreaStruct | None) -> int:
    """An anon_vma that the VMA can share with the next one, or the one before, so that they can merge; 0 if none."""
    anon_vma = (vm_next and reusable_anon_vma(vm_next, vma, vm_next)) or (
        vm_prev and reusable_anon_vma(vm_prev, vm_prev, vma)) or 0
    if machine.on:
        machine.trace.emit(ev.MergeableAnonVmaSearched(vma.id, anon_vma))
    return anon_vma


def reusable_anon_vma(old: VmAreaStruct, a: VmAreaStruct, b: VmAreaStruct) -> int:
    """The anon_vma of `old`, one of the neighbours `a` and `b`, if it has been through no fork and they fit; else 0.

    Kernel: mm/mmap.c:reusable_anon_vma.
    """
    return old.anon_vma if len(old.anon_vma_chain) == 1 and anon_vma_compatible(a, b) else 0


def anon_vma_compatible(a: VmAreaStruct, b: VmAreaStruct) -> bool:
    """Do two VMAs lie side by side, in memory and in the file, and differ at most in what mprotect changes?

    Kernel: mm/mmap.c:anon_vma_compatible.
    """
    return (a.vm_end == b.vm_start and a.vm_policy == b.vm_policy and a.vm_file == b.vm_file
            and not (a.vm_flags ^ b.vm_flags) & ~(VM_READ | VM_WRITE | VM_EXEC | VM_SOFTDIRTY)
            and b.vm_pgoff == a.vm_pgoff + (b.vm_start - a.vm_start >> PAGE_SHIFT))


def vma_next(vma: VmAreaStruct) -> VmAreaStruct | None:
    """vma->vm_next."""
    mmap = vma.vm_mm.mmap
    place = vma.vm_mm.index(vma.vm_start) + 1
    return mmap[place] if place < len(mmap) else None


def vma_prev(vma: VmAreaStruct) -> VmAreaStruct | None:
    """vma->vm_prev."""
    place = vma.vm_mm.index(vma.vm_start)
    return vma.vm_mm.mmap[place - 1] if place else None


# ---------------------------------------------------------------- copies of a mapping


@mirrors("mm/rmap.c")
def anon_vma_clone(machine: Machine, dst: VmAreaStruct, src: VmAreaStruct) -> None:
    """Link `dst` to all that `src` is linked to, in the same order.

    If `dst` has no anon_vma of its own (fork), one of the chain may become it: not that of `src`, and only one with a
    degree below 2, which has no VMA and a single child.
    """
    for anon_vma in reversed(src.anon_vma_chain):
        anon_vma_chain_link(machine, dst.id, anon_vma)
        if not dst.anon_vma and anon_vma != src.anon_vma and vm(machine).anon_vma[anon_vma].degree < 2:
            if machine.on:
                machine.trace.emit(ev.AnonVmaReused(dst.id, anon_vma))
            set_anon_vma(machine, dst.id, anon_vma)
    if dst.anon_vma:
        add_degree(machine, dst.anon_vma, 1)


@mirrors("mm/rmap.c")
def anon_vma_fork(machine: Machine, vma: VmAreaStruct, pvma: VmAreaStruct) -> None:
    """Link a child's VMA to the parent's anon_vmas, and give it one for the pages that it will make itself.

    Kernel: mm/rmap.c:anon_vma_fork. A parent without anonymous pages gives the child nothing.
    """
    if not pvma.anon_vma:
        return
    set_anon_vma(machine, vma.id, 0)
    anon_vma_clone(machine, vma, pvma)
    if vma.anon_vma:
        return
    anon_vma = vm(machine).next_anon_vma
    anon_vma_alloc(machine, anon_vma, vm(machine).anon_vma[pvma.anon_vma].root, pvma.anon_vma)
    set_anon_vma(machine, vma.id, anon_vma)
    anon_vma_chain_link(machine, vma.id, anon_vma)
    add_degree(machine, pvma.anon_vma, 1)


@mirrors("mm/rmap.c")
def unlink_anon_vmas(machine: Machine, vma: VmAreaStruct) -> None:
    """Unlink a VMA from all its anon_vmas; those that no VMA is linked to any more go away.

    Kernel: mm/rmap.c:unlink_anon_vmas. vma->anon_vma keeps its value, for it is read no more.
    """
    empty = []
    for anon_vma in vma.anon_vma_chain[:]:
        anon_vma_chain_unlink(machine, vma.id, anon_vma)
        if not vm(machine).anon_vma[anon_vma].rb_root:
            add_degree(machine, vm(machine).anon_vma[anon_vma].parent, -1)
            empty.append(anon_vma)
    if vma.anon_vma:
        add_degree(machine, vma.anon_vma, -1)
    for anon_vma in empty:
        anon_vma_free(machine, anon_vma)
