"""FOLL_LONGTERM: pages that will be held for long must not lie in CMA memory.

CMA lends its pages to whoever can give them back at once: movable ones. A page that a driver holds for hours cannot be
moved. So `get_user_pages(FOLL_LONGTERM)` looks at what it got; pages of CMA pageblocks are let go, moved elsewhere, and
taken again, until none is left:

    __gup_longterm_locked
      __get_user_pages_locked            with PF_MEMALLOC_NOCMA: what is faulted in now comes from elsewhere
      check_and_migrate_cma_pages        isolate, put_page, migrate_pages, once more

On a build with neither CMA nor FS_DAX the flag means nothing.

Left out: FS_DAX (no such files here).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..kernel import __GFP_HIGHMEM, __GFP_NOWARN, FOLL_LONGTERM, FOLL_TOUCH, GFP_USER, PF_MEMALLOC_NOCMA
from ..trace import mirrors
from . import vm_events as ev
from .fallback import get_pageblock_migratetype
from .gup import __get_user_pages_locked, put_user_pages, refuse_flags
from .machine import set_current
from .migrate import migrate_pages
from .mm_types import MmStruct, VmAreaStruct
from .page_alloc import alloc_pages_node
from .swap import compound_head, lru_add_drain, zone_or_none
from .watermark import is_highmem

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/gup.c")
def get_user_pages(machine: Machine, mm: MmStruct, start: int, nr_pages: int, gup_flags: int,
                   page_array: list[int] | None = None, vma_array: list[VmAreaStruct] | None = None) -> int:
    """Take pages of the process that runs, and hold them.

    Parameters
    ----------
    mm : MmStruct
        That process's (current->mm); its mmap_sem is held.
    start : int
        The first address.
    nr_pages : int
        At least 0.
    gup_flags : int
        FOLL_WRITE, FOLL_FORCE, FOLL_LONGTERM ...
    page_array, vma_array : list or None
        As `get_user_pages_remote`.

    Returns
    -------
    int
        The pages taken; an error only if it is none: -EFAULT, -ENOMEM; -EINVAL for FOLL_LONGTERM without page_array.

    Notes
    -----
    Kernel: mm/gup.c:get_user_pages at v5.4.
    """
    return __gup_longterm_locked(machine, mm, mm, start, nr_pages, page_array, vma_array, gup_flags | FOLL_TOUCH)


@mirrors("mm/gup.c")
def __gup_longterm_locked(machine: Machine, tsk: MmStruct, mm: MmStruct, start: int, nr_pages: int,
                          page_array: list[int] | None, vma_array: list[VmAreaStruct] | None, gup_flags: int) -> int:
    """As `__get_user_pages_locked`; with FOLL_LONGTERM no page of a CMA pageblock is among those returned."""
    longterm = bool(gup_flags & FOLL_LONGTERM) and machine.config.migrate_cma is not None
    if machine.on:
        machine.trace.emit(ev.LongtermChosen(mm.pid, start, nr_pages, longterm))
    if not longterm:
        return __get_user_pages_locked(machine, tsk, mm, start, nr_pages, page_array, vma_array, None, gup_flags)
    if page_array is None:
        return refuse_flags(machine, gup_flags)
    before, taken = machine.current.flags, list[int]()
    _set_flags(machine, before | PF_MEMALLOC_NOCMA)
    got = __get_user_pages_locked(machine, tsk, mm, start, nr_pages, taken, vma_array, None, gup_flags)
    _set_flags(machine, before)
    if got > 0:
        got = check_and_migrate_cma_pages(machine, tsk, mm, start, taken, gup_flags)
    page_array.extend(taken)
    return got


def _set_flags(machine: Machine, flags: int) -> None:
    """memalloc_nocma_save and memalloc_nocma_restore."""
    task = machine.current
    set_current(machine, task.cpu, flags, task.in_interrupt, task.rt_task, task.oom_victim)


@mirrors("mm/gup.c")
def check_and_migrate_cma_pages(machine: Machine, tsk: MmStruct, mm: MmStruct, start: int, taken: list[int],
                                gup_flags: int) -> int:
    """Move what lies in CMA pageblocks, and take all pages again, until none lies there or none can be moved.

    Returns
    -------
    int
        The pages held at the end; `taken` has them. An error if taking them again failed.
    """
    nr_pages, allowed = len(taken), True
    while True:
        isolated = _isolate(machine, taken) if allowed else []
        if machine.on:
            machine.trace.emit(ev.CmaPagesFound(len(taken), len(isolated)))
        if not isolated:
            return len(taken)
        put_user_pages(machine, taken)
        taken.clear()
        allowed = migrate_pages(machine, isolated, new_non_cma_page) == 0
        got = __get_user_pages_locked(machine, tsk, mm, start, nr_pages, taken, None, None, gup_flags)
        if got <= 0:
            return got


def _isolate(machine: Machine, pages: Sequence[int]) -> list[int]:
    """The pages in CMA pageblocks that are on an LRU list; those on their way are sent there first."""
    heads = dict.fromkeys(compound_head(machine, page) for page in pages)
    in_cma = [page for page in heads if is_migrate_cma_page(machine, page)]
    if in_cma:
        lru_add_drain(machine)
    zones = [(zone_or_none(machine, page), page) for page in in_cma]
    return [page for zone, page in zones if zone is not None and page in zone.lru]


def is_migrate_cma_page(machine: Machine, page: int) -> bool:
    """Whether a page lies in a CMA pageblock.

    Kernel: include/linux/mmzone.h:is_migrate_cma_page.
    """
    zone = zone_or_none(machine, page)
    return zone is not None and get_pageblock_migratetype(zone, page) == machine.config.migrate_cma


@mirrors("mm/gup.c")
def new_non_cma_page(machine: Machine, page: int) -> int | None:
    """A page to move to: not movable, so not from CMA; of the same node if it can be."""
    zone = zone_or_none(machine, page)
    assert zone is not None
    gfp = GFP_USER | __GFP_NOWARN | (__GFP_HIGHMEM if is_highmem(zone) else 0)
    return alloc_pages_node(machine, zone.nid, gfp, 0)
