"""Whose is a page? What must hold before it may be freed.

A plain v5.4 checks little here, and what it finds it reports late: a page freed twice has a reference count of -1 and
is called bad when it next goes to or comes from the buddy lists. The simulator says so at once, as a `KernelBug`, and
before anything is changed; with `machine.strict = False` it does what the kernel does.

A pfn that no list holds and nobody was given may be older than the machine (a capture begins in the middle): it is
held once, by somebody unknown, and may be freed.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import KernelBug
from ..kernel import MAX_ORDER
from . import events as ev
from .mmzone import Zone
from .zone import page_ref_add, page_ref_count

if TYPE_CHECKING:
    from .machine import Machine


def page_zone(machine: Machine, pfn: int) -> Zone:
    """The zone that a page belongs to; ValueError if there is none."""
    for zone in machine.populated:
        if zone.zone_start_pfn <= pfn < zone.zone_start_pfn + zone.spanned_pages:
            return zone
    spans = ", ".join(f"{zone.label} {zone.zone_start_pfn:#x} to {zone.end_pfn - 1:#x}" for zone in machine.zones())
    raise ValueError(f"pfn must lie in a zone ({spans}), got {pfn:#x}")


def check_free(zone: Zone, pfn: int, order: int) -> None:
    """The block is not known to have been handed out like this: say why that is wrong, if it is."""
    if not 0 <= order < MAX_ORDER:
        raise ValueError(f"order must be 0 to {MAX_ORDER - 1}, got {order}")
    if pfn & ((1 << order) - 1) or pfn + (1 << order) > zone.end_pfn:
        raise ValueError(f"pfn of an order-{order} block must be a multiple of {1 << order:#x} inside zone "
                         f"{zone.label}, got {pfn:#x}")
    if not zone.machine.strict:
        return
    head, known = covering_block(zone.allocated, pfn)
    if (head, known) == (pfn, order):
        return
    if known >= 0:
        raise KernelBug(f"pfn {pfn:#x}, freed as order {order}, lies in {head:#x}, which was handed out as order "
                        f"{known}; a plain v5.4 says nothing here and loses or doubles pages "
                        "(mm/page_alloc.c:__free_pages)")
    for page in range(pfn, pfn + (1 << order)):
        place = place_of_free_page(zone, page)
        if place:
            raise KernelBug(f"pfn {page:#x} is already free ({place}); a plain v5.4 says nothing here: the reference "
                            "count goes to -1, and the page is reported as bad when it next goes to or comes from the "
                            "buddy lists (mm/page_alloc.c:__free_pages)")
        if page in zone.allocated:
            raise KernelBug(f"pfn {page:#x}, in the block {pfn:#x} of order {order}, was handed out by itself and is "
                            "in use; a plain v5.4 reports a bad page and loses the block "
                            "(mm/page_alloc.c:free_pages_prepare)")


def has_bad_tail(zone: Zone, pfn: int, order: int) -> bool:
    """Is a tail page in use, or free already? Then free_pages_prepare reports it, and the block is lost."""
    for page in range(pfn + 1, pfn + (1 << order)):
        count = page_ref_count(zone, page) or -bool(place_of_free_page(zone, page))
        if count and zone.machine.strict:
            raise KernelBug(f"pfn {page:#x}, in the block {pfn:#x} of order {order}, has {count} references; a plain "
                            "v5.4 reports a bad page and loses the block (mm/page_alloc.c:free_pages_prepare)")
        if count:
            if zone.on:
                zone.trace.emit(ev.BadPage(zone.nid, zone.zone_idx, page, count))
            return True
    return False


def put_page_testzero(zone: Zone, pfn: int) -> bool:
    """Drop one reference; True if it was the last. A page that nobody knows of is held once (it is older than we)."""
    count = page_ref_count(zone, pfn)
    known = place_of_free_page(zone, pfn) or covering_block(zone.allocated, pfn)[1] >= 0
    if count > 1 or (count < 1 and known):
        page_ref_add(zone, pfn, -1)
        return False
    return True


def covering_block(blocks: dict[int, int], pfn: int) -> tuple[int, int]:
    """Of blocks (head -> order), the one that `pfn` lies in, and its order; -1 if there is none."""
    for order in range(MAX_ORDER):
        head = pfn & -(1 << order)
        if blocks.get(head, -1) >= order:
            return head, blocks[head]
    return pfn, -1


def place_of_free_page(zone: Zone, pfn: int) -> str:
    """Where a free page is, in words; empty if it is not known to be free."""
    block = zone.block_of(pfn)
    if block:
        return f"order {block[1]}, {zone.machine.config.migrate_names[block[2]]}"
    if covering_block(zone.guard, pfn)[1] >= 0:
        return "in a guard block"
    return f"on a per-CPU list, type {zone.machine.config.migrate_names[zone.index[pfn]]}" if pfn in zone.index else ""
