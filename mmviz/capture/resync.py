"""After a miss: do to the state what the kernel did, as far as the row of an allocation tells it.

This is the one place outside the primitives that writes into a Machine. It is no rule of the kernel.
"""
from __future__ import annotations

from ..mm.machine import Machine
from ..mm.mmzone import Zone
from ..mm.page_ref import page_zone
from ..mm.zone import add_to_free_area, del_page_from_free_area, set_page_refcounted
from .ftrace import Row


def force(machine: Machine, row: Row) -> None:
    """Hand out the block that the kernel handed out, wherever it is free; other rows do nothing."""
    if row[0] == "a" and row[2] is not None:
        zone = page_zone(machine, row[2])
        _take(zone, row[2], row[3])
        set_page_refcounted(zone, row[2], row[3])


def _take(zone: Zone, pfn: int, order: int) -> None:
    """Take a block out of the free block that it lies in; if it is free in parts, part by part."""
    block = zone.block_of(pfn)
    if block is not None and block[1] >= order:
        _cut_out(zone, pfn, order, *block)
    elif order:
        _take(zone, pfn, order - 1)
        _take(zone, pfn + (1 << (order - 1)), order - 1)
    else:
        _take_from_pcp(zone, pfn)


def _cut_out(zone: Zone, pfn: int, order: int, head: int, grown: int, migratetype: int) -> None:
    del_page_from_free_area(zone, head, grown, migratetype)
    while grown > order:
        grown -= 1
        half = head + (1 << grown)
        head, other = (half, head) if pfn >= half else (head, half)
        add_to_free_area(zone, other, grown, migratetype)


def _take_from_pcp(zone: Zone, pfn: int) -> None:
    for pcp in zone.pageset:
        for pages in pcp.lists:
            if pfn in pages:
                pages.remove(pfn)
                pcp.count -= 1
                del zone.index[pfn]
