"""When a type has no block left: which other type is robbed, of how much, and who owns the pageblock then.

    __rmqueue_fallback      from the largest order down: is there a block of another type? (fallbacks below)
        find_suitable_fallback, can_steal_fallback
    steal_suitable_fallback    the block alone, or every free page of its pageblock; the pageblock's type too, if
                               at least half of it is free or of a like kind
    then __rmqueue starts again: what is returned is the smallest suitable block, not the stolen one

The reserve for atomic requests of higher order (MIGRATE_HIGHATOMIC) stands here too: it changes pageblocks in the same
way. Simplified: unreserve_highatomic_pageblock is called by reclaim, which is not simulated; it is here for replay.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    ALLOC_KSWAPD,
    ALLOC_NOFRAGMENT,
    MAX_ORDER,
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
)
from ..trace import mirrors
from . import events as ev
from .mmzone import Zone
from .watermark import boost_watermark
from .zone import move_to_free_area, set_pageblock_migratetype, set_reserved_highatomic, set_zone_boosted

if TYPE_CHECKING:
    from .freelist import AllocContext

# mm/page_alloc.c:fallbacks. HIGHATOMIC, CMA and ISOLATE neither rob nor are robbed.
FALLBACKS = {
    MIGRATE_UNMOVABLE: (MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE),
    MIGRATE_RECLAIMABLE: (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE),
    MIGRATE_MOVABLE: (MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE),
}


@mirrors("mm/page_alloc.c")
def __rmqueue_fallback(zone: Zone, order: int, start_migratetype: int, alloc_flags: int) -> bool:
    """Take something of another type; True if `__rmqueue` should look again.

    Notes
    -----
    Emits FallbackSearched for each order, and the tracepoint mm_page_alloc_extfrag.
    Kernel: mm/page_alloc.c:__rmqueue_fallback.
    """
    if start_migratetype not in FALLBACKS:
        return False
    min_order = zone.machine.config.pageblock_order if alloc_flags & ALLOC_NOFRAGMENT else order
    for current_order in range(MAX_ORDER - 1, min_order - 1, -1):
        fallback_mt, can_steal = find_suitable_fallback(zone, current_order, start_migratetype)
        if fallback_mt < 0:
            continue
        if not can_steal and start_migratetype == MIGRATE_MOVABLE and current_order > order:
            current_order, fallback_mt, can_steal = __find_smallest(zone, order, start_migratetype)
        __steal(zone, order, current_order, start_migratetype, fallback_mt, can_steal, alloc_flags)
        return True
    return False


def __find_smallest(zone: Zone, order: int, start_migratetype: int) -> tuple[int, int, bool]:
    """Label find_smallest: a block that cannot be claimed anyway is taken from the smallest order that has one."""
    current_order, fallback_mt, can_steal = order, -1, False
    while fallback_mt < 0:
        fallback_mt, can_steal = find_suitable_fallback(zone, current_order, start_migratetype)
        current_order += 1
    return current_order - 1, fallback_mt, can_steal


def __steal(zone: Zone, order: int, current_order: int, start_migratetype: int, fallback_mt: int, can_steal: bool,
            alloc_flags: int) -> None:
    """Label do_steal."""
    pfn = next(zone.free_list(current_order, fallback_mt))
    steal_suitable_fallback(zone, pfn, alloc_flags, start_migratetype, can_steal)
    if zone.tracepoints:
        claimed = get_pageblock_migratetype(zone, pfn) == start_migratetype
        zone.trace.emit(ev.MmPageAllocExtfrag(pfn, order, current_order, start_migratetype, fallback_mt, claimed))


@mirrors("mm/page_alloc.c")
def find_suitable_fallback(zone: Zone, order: int, migratetype: int) -> tuple[int, bool]:
    """The first other type with a block of this order, in the order of preference.

    Returns
    -------
    fallback_mt : int
        The type, or -1.
    can_steal : bool
        Whether the rest of its pageblock may be taken too.
    """
    area = zone.free_area[order]
    fallback_mt, can_steal = -1, False
    if area.nr_free:
        for other in FALLBACKS[migratetype]:
            if area.free_list[other]:
                fallback_mt, can_steal = other, can_steal_fallback(zone, order, migratetype)
                break
    if zone.on:
        zone.trace.emit(ev.FallbackSearched(zone.nid, zone.zone_idx, order, migratetype, fallback_mt, can_steal))
    return fallback_mt, can_steal


def can_steal_fallback(zone: Zone, order: int, start_mt: int) -> bool:
    """May a taker of this type take the rest of the pageblock? Only MOVABLE may not, below half a pageblock's order.

    Kernel: mm/page_alloc.c:can_steal_fallback.
    """
    return (order >= zone.machine.config.pageblock_order // 2 or start_mt != MIGRATE_MOVABLE
            or zone.machine.page_group_by_mobility_disabled)


@mirrors("mm/page_alloc.c")
def steal_suitable_fallback(zone: Zone, pfn: int, alloc_flags: int, start_type: int, whole_block: bool) -> None:
    """Move the block, or all that is free in its pageblock, to the taker's lists; claim the pageblock by the half rule.

    Kernel: mm/page_alloc.c:steal_suitable_fallback. Emits StealDecided where the half rule was asked.
    """
    order = zone.buddy[pfn][0]
    old_type = get_pageblock_migratetype(zone, pfn)
    if old_type == MIGRATE_HIGHATOMIC:
        return move_to_free_area(zone, pfn, order, start_type)
    if order >= zone.machine.config.pageblock_order:
        change_pageblock_range(zone, pfn, order, start_type)
        return move_to_free_area(zone, pfn, order, start_type)
    boost_watermark(zone)
    if alloc_flags & ALLOC_KSWAPD:
        set_zone_boosted(zone, 1)
    if not whole_block:
        return move_to_free_area(zone, pfn, order, start_type)
    free, movable = move_freepages_block(zone, pfn, start_type)
    if not free:
        return move_to_free_area(zone, pfn, order, start_type)
    __claim_pageblock(zone, pfn, start_type, old_type, free, movable)


def __claim_pageblock(zone: Zone, pfn: int, start_type: int, old_type: int, free: int, movable: int) -> None:
    pageblock_nr_pages = zone.machine.config.pageblock_nr_pages
    if start_type == MIGRATE_MOVABLE:
        alike = movable
    elif old_type == MIGRATE_MOVABLE:
        alike = pageblock_nr_pages - (free + movable)
    else:
        alike = 0
    claimed = free + alike >= pageblock_nr_pages // 2 or zone.machine.page_group_by_mobility_disabled
    if zone.on:
        zone.trace.emit(ev.StealDecided(zone.nid, zone.zone_idx, pfn, free, alike, claimed))
    if claimed:
        set_pageblock_migratetype(zone, pfn, start_type)


def change_pageblock_range(zone: Zone, pfn: int, start_order: int, migratetype: int) -> None:
    """Set the type of every pageblock that a block of `start_order` covers."""
    config = zone.machine.config
    for block in range(1 << (start_order - config.pageblock_order)):
        set_pageblock_migratetype(zone, pfn + block * config.pageblock_nr_pages, migratetype)


@mirrors("mm/page_alloc.c")
def move_freepages_block(zone: Zone, pfn: int, migratetype: int) -> tuple[int, int]:
    """Move all that is free in the pageblock of `pfn` to another type's lists, in ascending order, each to the head.

    The pageblock of a block as boot left it (`untouched`) is never asked for: such a block is of the top order.

    Returns
    -------
    free : int
        Pages moved; 0 if the pageblock reaches past the zone's end.
    movable : int
        Pages in use that are on an LRU list.
    """
    pageblock_nr_pages = zone.machine.config.pageblock_nr_pages
    start = pfn & -pageblock_nr_pages
    end = start + pageblock_nr_pages
    if start < zone.zone_start_pfn:
        start = pfn
    if end > zone.end_pfn:
        return 0, 0
    free = movable = 0
    page = start
    while page < end:
        block = zone.buddy.get(page)
        if block is None:
            movable += page in zone.lru
            page += 1
        else:
            move_to_free_area(zone, page, block[0], migratetype)
            page += 1 << block[0]
            free += 1 << block[0]
    return free, movable


@mirrors("include/linux/mmzone.h")
def get_pageblock_migratetype(zone: Zone, pfn: int) -> int:
    """The type of the pageblock that `pfn` lies in."""
    return zone.pageblock.get(pfn >> zone.machine.config.pageblock_order, MIGRATE_MOVABLE)


# ---------------------------------------------------------------- the highatomic reserve


@mirrors("mm/page_alloc.c")
def reserve_highatomic_pageblock(zone: Zone, pfn: int) -> None:
    """Keep the pageblock of a page just handed to an atomic request for others like it; about 1 % of the zone.

    Kernel: mm/page_alloc.c:reserve_highatomic_pageblock. Emits HighatomicReserved.
    """
    config = zone.machine.config
    limit = zone.managed_pages // 100 + config.pageblock_nr_pages
    mt = get_pageblock_migratetype(zone, pfn)
    reserved = zone.nr_reserved_highatomic
    taken = reserved < limit and mt not in (MIGRATE_HIGHATOMIC, config.migrate_cma, config.migrate_isolate)
    if zone.on:
        zone.trace.emit(ev.HighatomicReserved(zone.nid, zone.zone_idx, pfn, reserved, limit, taken))
    if taken:
        set_reserved_highatomic(zone, reserved + config.pageblock_nr_pages)
        set_pageblock_migratetype(zone, pfn, MIGRATE_HIGHATOMIC)
        move_freepages_block(zone, pfn, MIGRATE_HIGHATOMIC)


@mirrors("mm/page_alloc.c")
def unreserve_highatomic_pageblock(ac: AllocContext, force: bool) -> bool:
    """Give one reserved pageblock with free pages back to the type of the request; True if pages were moved.

    Kernel: mm/page_alloc.c:unreserve_highatomic_pageblock.
    """
    for zone in ac.zones():
        pageblock_nr_pages = zone.machine.config.pageblock_nr_pages
        if not force and zone.nr_reserved_highatomic <= pageblock_nr_pages:
            continue
        for area in zone.free_area:
            pfn = next(iter(area.free_list[MIGRATE_HIGHATOMIC]), None)
            if pfn is None:
                continue
            if get_pageblock_migratetype(zone, pfn) == MIGRATE_HIGHATOMIC:
                set_reserved_highatomic(zone, max(0, zone.nr_reserved_highatomic - pageblock_nr_pages))
            set_pageblock_migratetype(zone, pfn, ac.migratetype)
            if move_freepages_block(zone, pfn, ac.migratetype)[0]:
                return True
    return False
