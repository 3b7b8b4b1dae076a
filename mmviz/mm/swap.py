"""References to a page, and its way to an LRU list.

A page lives as long as somebody holds a reference: each mapping one, the page cache one, get_user_pages one for each
time it gave the page to a driver. `put_page` drops one; the last one frees the page.

A new page is not put on an LRU list at once. It waits on its CPU's *pagevec*, which holds a reference of its own:

    write fault      page 0x6e1:  1 (mapping) + 1 (pagevec)              raw count 2
    15 pages later, or lru_add_drain:                 - 1                count 1, PG_lru

So the count of a fresh page is one higher than its users explain. Many mistakes begin with that.

Left out: the lists themselves (nothing is reclaimed here), the other pagevecs, cgroups, swap cache.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import KernelBug
from ..kernel import VM_LOCKED, VM_SPECIAL
from ..trace import mirrors
from . import vm_events as ev
from .mm_types import PG_active, PG_dirty, PG_mlocked, PG_referenced, VmAreaStruct
from .mmzone import Zone
from .page_free import __free_pages_ok, free_unref_page, free_unref_page_list
from .page_ref import covering_block, page_zone, place_of_free_page, put_page_testzero
from .vm import clear_page_flag, forget_page, pagevec_add, pagevec_reinit, reserved_page_ref_add, set_page_flag, vm
from .zone import page_ref_add, page_ref_count, set_page_lru

if TYPE_CHECKING:
    from .machine import Machine

PAGEVEC_SIZE = 15


# ---------------------------------------------------------------- references


def zone_or_none(machine: Machine, pfn: int) -> Zone | None:
    """The zone of a page that the page allocator hands out; None for the zero page and what lies in no zone."""
    if pfn != vm(machine).zero_pfn:
        for zone in machine.populated:
            if zone.zone_start_pfn <= pfn < zone.zone_start_pfn + zone.spanned_pages:
                return zone
    return None


def compound_head(machine: Machine, pfn: int) -> int:
    """The first page of the compound page that `pfn` belongs to, else `pfn`. Its references count for all."""
    zone = zone_or_none(machine, pfn)
    return covering_block(zone.compound, pfn)[0] if zone and zone.compound else pfn


def compound_pages(machine: Machine, pfn: int) -> range:
    """All pages of the compound page that `pfn` belongs to, else `pfn` alone."""
    head = compound_head(machine, pfn)
    zone = zone_or_none(machine, head)
    return range(head, head + (1 << zone.compound.get(head, 0))) if zone else range(pfn, pfn + 1)


def page_count(machine: Machine, pfn: int) -> int:
    """The references of a page.

    Kernel: include/linux/page_ref.h:page_count.
    """
    zone = zone_or_none(machine, pfn)
    if zone is None:
        return vm(machine).reserved.get(pfn, 1)
    return page_ref_count(zone, compound_head(machine, pfn))


@mirrors("include/linux/mm.h")
def get_page(machine: Machine, pfn: int) -> None:
    """Take a reference."""
    zone = zone_or_none(machine, pfn)
    if zone is None:
        reserved_page_ref_add(machine, pfn, 1)
    else:
        page_ref_add(zone, compound_head(machine, pfn), 1)


def put_page(machine: Machine, pfn: int) -> None:
    """Drop a reference; the last one frees the page.

    Raises
    ------
    KernelBug
        If nobody holds the page any more.

    Notes
    -----
    Kernel: include/linux/mm.h:put_page, mm/swap.c:__put_page.
    """
    zone = zone_or_none(machine, pfn)
    if zone is None:
        reserved_page_ref_add(machine, pfn, -1)
    elif __drop(machine, zone, compound_head(machine, pfn)):
        __put_page(machine, zone, compound_head(machine, pfn))


def __drop(machine: Machine, zone: Zone, head: int) -> bool:
    """put_page_testzero, of a page that is not free."""
    if machine.strict and not page_ref_count(zone, head) and place_of_free_page(zone, head):
        raise KernelBug(f"pfn {head:#x} has no reference left to drop; a plain v5.4 takes the count to -1 "
                        "(include/linux/mm.h:put_page)")
    return put_page_testzero(zone, head)


@mirrors("mm/swap.c")
def __put_page(machine: Machine, zone: Zone, pfn: int) -> None:
    """Free a page that nobody holds any more."""
    order = zone.compound.get(pfn, 0)
    __forget(machine, pfn)
    if order:
        __free_pages_ok(zone, pfn, order)
    else:
        free_unref_page(zone, pfn)


def __forget(machine: Machine, pfn: int) -> None:
    state = vm(machine)
    if pfn in state.flags or pfn in state.mapping or pfn in state.data:
        forget_page(machine, pfn)


@mirrors("mm/swap.c")
def release_pages(machine: Machine, pages: Sequence[int]) -> None:
    """Drop a reference of each of many pages; those that were the last are freed together, the last page first."""
    freed: list[int] = []
    for pfn in pages:
        zone = zone_or_none(machine, pfn)
        if zone is None:
            reserved_page_ref_add(machine, pfn, -1)
        elif __drop(machine, zone, compound_head(machine, pfn)):
            head = compound_head(machine, pfn)
            if head in zone.compound:
                __put_page(machine, zone, head)
            else:
                __forget(machine, pfn)
                freed.append(pfn)
    if freed:
        free_unref_page_list(machine, freed[::-1])


# ---------------------------------------------------------------- the way to an LRU list


@mirrors("mm/swap.c")
def lru_cache_add_active_or_unevictable(machine: Machine, pfn: int, vma: VmAreaStruct) -> None:
    """Send a new anonymous page to its LRU list: active, or in a locked mapping, with PG_mlocked, unevictable."""
    if vma.vm_flags & (VM_LOCKED | VM_SPECIAL) == VM_LOCKED:
        set_page_flag(machine, pfn, PG_mlocked)
    else:
        set_page_flag(machine, pfn, PG_active)
    lru_cache_add(machine, pfn)


@mirrors("mm/swap.c", "__lru_cache_add")
def lru_cache_add(machine: Machine, pfn: int) -> None:
    """Put a page on this CPU's pagevec, with a reference; a full pagevec goes to the LRU lists."""
    get_page(machine, pfn)
    pagevec_add(machine, machine.current.cpu, pfn)
    if len(vm(machine).pagevec[machine.current.cpu]) == PAGEVEC_SIZE or len(compound_pages(machine, pfn)) > 1:
        __pagevec_lru_add(machine, machine.current.cpu)


@mirrors("mm/swap.c")
def __pagevec_lru_add(machine: Machine, cpu: int) -> None:
    """Put the pages of a pagevec on their LRU lists, and drop its references."""
    pages = vm(machine).pagevec[cpu][:]
    for pfn in pages:
        set_page_lru(page_zone(machine, pfn), pfn)
    pagevec_reinit(machine, cpu)
    release_pages(machine, pages)


@mirrors("mm/swap.c")
def lru_add_drain(machine: Machine) -> None:
    """Empty this CPU's pagevec."""
    pages = vm(machine).pagevec.get(machine.current.cpu, [])
    if machine.on:
        machine.trace.emit(ev.PagevecsDrained(machine.current.cpu, len(pages)))
    if pages:
        __pagevec_lru_add(machine, machine.current.cpu)


@mirrors("mm/swap.c")
def mark_page_accessed(machine: Machine, pfn: int) -> None:
    """Note that a page was used: inactive, then referenced, then active.

    Kernel: mm/swap.c:mark_page_accessed. Simplified: activation happens at once, not by a pagevec.
    """
    page = compound_head(machine, pfn)
    flags = vm(machine).flags.get(page, 0)
    if machine.on:
        machine.trace.emit(ev.PageAccessNoted(page, bool(flags & PG_referenced), bool(flags & PG_active)))
    if not flags & PG_referenced:
        set_page_flag(machine, page, PG_referenced)
    elif not flags & PG_active:
        set_page_flag(machine, page, PG_active)
        clear_page_flag(machine, page, PG_referenced)


@mirrors("mm/page-writeback.c")
def set_page_dirty(machine: Machine, pfn: int) -> None:
    """Note that a page differs from what is stored elsewhere."""
    page = compound_head(machine, pfn)
    if not vm(machine).flags.get(page, 0) & PG_dirty:
        set_page_flag(machine, page, PG_dirty)
