"""After a miss: do to the state what the kernel did, as far as the row of an allocation tells it.

This is the one place outside the primitives that writes into a Machine. It is no rule of the kernel.
"""
from __future__ import annotations

from ..mm.machine import Machine
from ..mm.page_free import page_zone
from ..mm.zone import Zone, add_to_free_area, del_page_from_free_area, set_page_refcounted
from .ftrace import Row


def force(machine: Machine, row: Row) -> None:
    """Hand out the block that the kernel handed out, wherever it is free; other rows do nothing."""
    if row[0] == "a" and row[2] is not None:
        zone = page_zone(machine, row[2])
        if not _take_from_pcp(zone, row[2], row[3]):
            _take_from_buddy(zone, row[2], row[3])
        set_page_refcounted(zone, row[2], row[3])


def _take_from_pcp(zone: Zone, pfn: int, order: int) -> bool:
    for pcp in zone.pageset:
        for pages in pcp.lists:
            if order == 0 and pfn in pages:
                pages.remove(pfn)
                pcp.count -= 1
                del zone.index[pfn]
                return True
    return False


def _take_from_buddy(zone: Zone, pfn: int, order: int) -> None:
    """Cut the block out of the free block that it lies in; a block that is not free is left alone."""
    block = zone.block_of(pfn)
    if block is None or block[1] < order:
        return
    head, grown, migratetype = block
    del_page_from_free_area(zone, head, grown, migratetype)
    while grown > order:
        grown -= 1
        half = head + (1 << grown)
        head, other = (half, head) if pfn >= half else (head, half)
        add_to_free_area(zone, other, grown, migratetype)
