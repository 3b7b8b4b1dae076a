"""get_user_pages_fast: take pages without any lock, as far as that goes.

With interrupts off no page table can be freed, for whoever frees it waits until all CPUs have flushed their TLB. So the
tables can be read as the CPU reads them. A page whose entry is present, the user's, writable if need be, and not
special, gets a reference; if its entry is still the same then, it is taken. At the first obstacle the walk stops, and
the rest goes the slow way, with mmap_sem.

No mapping is looked at here. So nothing is faulted in, and a driver's frame or the zero page (both special) stop it.

Left out: devmap, hugetlb, entries that change meanwhile, architectures without this.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import FOLL_LONGTERM, FOLL_WRITE, PAGE_SHIFT, PAGE_SIZE, Errno
from ..trace import mirrors
from . import vm_events as ev
from .geometry import geometry_of, spans
from .gup import get_user_pages_unlocked, refuse_flags
from .gup_longterm import __gup_longterm_locked
from .mm_types import MmStruct, PG_referenced
from .pgtable import (
    _PAGE_PRESENT,
    _PAGE_RW,
    _PAGE_USER,
    entry,
    offset,
    pgd_offset,
    pmd_large,
    pte_pfn,
    pte_special,
)
from .swap import get_page, page_count
from .vm import set_page_flag, vm

if TYPE_CHECKING:
    from .machine import Machine

PTE = 4  # a level


@mirrors("mm/gup.c")
def get_user_pages_fast(machine: Machine, mm: MmStruct, start: int, nr_pages: int, gup_flags: int,
                        page_array: list[int]) -> int:
    """Take pages of the process that runs, without a lock as far as possible.

    Parameters
    ----------
    mm : MmStruct
        That process's (current->mm).
    start : int
        Rounded down to a page.
    gup_flags : int
        FOLL_WRITE and FOLL_LONGTERM; anything else is -EINVAL.
    page_array : list
        The pfns are put behind what is in it.

    Returns
    -------
    int
        The pages taken; an error only if it is none: -EINVAL, -EFAULT. 0 for nr_pages <= 0.
    """
    first = start & -PAGE_SIZE
    end = first + (nr_pages << PAGE_SHIFT)
    if gup_flags & ~(FOLL_WRITE | FOLL_LONGTERM):
        return refuse_flags(machine, gup_flags)
    if nr_pages <= 0 or end > geometry_of(machine).word:
        return 0
    if end > mm.task_size:
        return -Errno.EFAULT
    taken: list[int] = []
    gup_pgd_range(machine, mm, first, end, gup_flags, taken)
    page_array.extend(taken)
    rest = nr_pages - len(taken)
    if rest:
        got = __gup_longterm_unlocked(machine, mm, first + (len(taken) << PAGE_SHIFT), rest, gup_flags, page_array)
        return got if not taken else len(taken) + max(got, 0)
    return len(taken)


@mirrors("mm/gup.c")
def __gup_longterm_unlocked(machine: Machine, mm: MmStruct, start: int, nr_pages: int, gup_flags: int,
                            page_array: list[int]) -> int:
    """The slow way, for what the fast one left."""
    if gup_flags & FOLL_LONGTERM:
        return __gup_longterm_locked(machine, mm, mm, start, nr_pages, page_array, None, gup_flags)
    return get_user_pages_unlocked(machine, mm, start, nr_pages, page_array, gup_flags)


@mirrors("mm/gup.c")
def __get_user_pages_fast(machine: Machine, mm: MmStruct, start: int, nr_pages: int, write: bool,
                          page_array: list[int]) -> int:
    """The lockless walk alone: never faults, never sleeps; returns the pages taken, 0 if none."""
    first = start & -PAGE_SIZE
    end = first + (nr_pages << PAGE_SHIFT)
    if nr_pages <= 0 or end > mm.task_size:
        return 0
    taken: list[int] = []
    gup_pgd_range(machine, mm, first, end, FOLL_WRITE if write else 0, taken)
    page_array.extend(taken)
    return len(taken)


@mirrors("mm/gup.c")
def gup_pgd_range(machine: Machine, mm: MmStruct, addr: int, end: int, flags: int, taken: list[int]) -> None:
    """Walk the tables with interrupts off, until a page cannot be taken."""
    for start, stop in spans(geometry_of(machine), 0, addr, end):
        pgd = pgd_offset(machine, mm, start)
        if not entry(machine, pgd) or not _gup_level(machine, 1, pgd, start, stop, flags, taken):
            break
    if machine.on:
        machine.trace.emit(ev.FastWalkEnded(mm.pid, addr, end, len(taken)))


def _gup_level(machine: Machine, number: int, above: int, addr: int, end: int, flags: int, taken: list[int]) -> bool:
    """gup_p4d_range to gup_pmd_range; False where a page could not be taken."""
    for start, stop in spans(geometry_of(machine), number, addr, end):
        pointer = offset(machine, number, above, start)
        value = entry(machine, pointer)
        if not value:
            return False
        if number == PTE - 1 and not pmd_large(value):
            went_on = gup_pte_range(machine, pointer, start, stop, flags, taken)
        elif pmd_large(value):
            went_on = gup_huge(machine, number, value, start, stop, flags, taken)
        else:
            went_on = _gup_level(machine, number + 1, pointer, start, stop, flags, taken)
        if not went_on:
            return False
    return True


def pte_access_permitted(pte: int, write: int) -> bool:
    """Whether the user may touch it: present, the user's, and writable if need be. PROT_NONE is not present.

    Kernel: arch/x86/include/asm/pgtable.h:pte_access_permitted.
    """
    needed = _PAGE_PRESENT | _PAGE_USER | (_PAGE_RW if write else 0)
    return pte & needed == needed


@mirrors("mm/gup.c", "gup_huge_pmd")
def gup_huge(machine: Machine, number: int, value: int, addr: int, end: int, flags: int, taken: list[int]) -> bool:
    """A huge entry, at the PMD or the PUD: all of its pages in the range, with a reference of the head for each."""
    geometry = geometry_of(machine)
    allowed = pte_access_permitted(value, flags & FOLL_WRITE)
    head, within = pte_pfn(geometry, value), (1 << geometry.levels[number].shift) - 1
    if machine.on:
        machine.trace.emit(ev.FastEntryChecked(addr, value, allowed))
    for vaddr in range(addr, end, PAGE_SIZE) if allowed else ():
        page = head + ((vaddr & within) >> PAGE_SHIFT)
        get_page(machine, page)
        taken.append(page)
    return allowed


@mirrors("mm/gup.c")
def gup_pte_range(machine: Machine, pmd: int, addr: int, end: int, flags: int, taken: list[int]) -> bool:
    """The entries of one PTE table, up to the first that does not allow it; False if there was one."""
    for vaddr in range(addr, end, PAGE_SIZE):
        pte = entry(machine, offset(machine, PTE, pmd, vaddr))
        page = pte_pfn(geometry_of(machine), pte)
        allowed = pte_access_permitted(pte, flags & FOLL_WRITE) and not pte_special(pte)
        allowed = allowed and page_count(machine, page) > 0
        if machine.on:
            machine.trace.emit(ev.FastEntryChecked(vaddr, pte, allowed))
        if not allowed:
            return False
        get_page(machine, page)
        if not vm(machine).flags.get(page, 0) & PG_referenced:
            set_page_flag(machine, page, PG_referenced)
        taken.append(page)
    return True
