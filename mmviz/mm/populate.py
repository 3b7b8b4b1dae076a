"""Bringing pages in before anybody touches them: mlock, MAP_POPULATE, growth of a locked mapping.

It is get_user_pages without pages: the faults are made, no reference is kept. A private writable mapping is populated
as if it was written to, so that no copy has to be made later; a shared one only read, so that nothing becomes dirty.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    FOLL_FORCE,
    FOLL_MLOCK,
    FOLL_POPULATE,
    FOLL_TOUCH,
    FOLL_WRITE,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_EXEC,
    VM_IO,
    VM_LOCKONFAULT,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
)
from ..trace import mirrors
from . import vm_events as ev
from .find_vma import find_vma
from .gup import __get_user_pages
from .mm_types import MmStruct, VmAreaStruct

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/gup.c")
def populate_vma_page_range(machine: Machine, vma: VmAreaStruct, start: int, end: int,
                            nonblocking: list[int] | None = None) -> int:
    """Fault in the pages of a part of a mapping; those of a locked mapping are locked.

    Returns
    -------
    int
        The pages done, or an error if it is none, as `__get_user_pages`.
    """
    flags = FOLL_TOUCH | FOLL_MLOCK | (0 if vma.vm_flags & VM_LOCKONFAULT else FOLL_POPULATE)
    if vma.vm_flags & (VM_WRITE | VM_SHARED) == VM_WRITE:
        flags |= FOLL_WRITE
    if vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC):
        flags |= FOLL_FORCE
    return __get_user_pages(machine, vma.vm_mm, vma.vm_mm, start, end - start >> PAGE_SHIFT, flags, None, None,
                            nonblocking)


@mirrors("mm/gup.c")
def __mm_populate(machine: Machine, mm: MmStruct, start: int, length: int, ignore_errors: bool) -> int:
    """Fault in all of [start, start + length), mapping by mapping; drivers' mappings are passed over.

    Returns
    -------
    int
        0, or the first error, unless errors are ignored.
    """
    place, end = start, start + length
    if machine.on:
        machine.trace.emit(ev.PopulateBegun(mm.pid, start, length))
    while place < end:
        vma = find_vma(machine, mm, place)
        if vma is None or vma.vm_start >= end:
            break
        first, stop = max(place, vma.vm_start), min(end, vma.vm_end)
        done = 0 if vma.vm_flags & (VM_IO | VM_PFNMAP) else populate_vma_page_range(machine, vma, first, stop, [1])
        if done < 0 and not ignore_errors:
            return done
        place = first + done * PAGE_SIZE if done > 0 else stop
    return 0
