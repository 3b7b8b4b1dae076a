"""From a zone to a page: the per-CPU list first, the buddy lists under it.

Free memory is kept as blocks of 2^order pages, each aligned to its size. A request takes the first block of the
smallest order that has one, and cuts it in halves; the lower half is kept each time, the upper one goes back:

    order 3 at 0x1000, one page wanted          0x1000        0x1004      0x1006  0x1007
    +---------------------------------------+   +-------------------+     +---------+----+----+
    |               order 3                 |   |  kept   | order 2 | ... | order 1 | o0 | .. |
    +---------------------------------------+   +-------------------+     +---------+----+----+

Single pages do not go that way one by one. Each CPU has a pile per type, filled by `batch` pages at a time.

Left out: check_new_pages beyond the reference count (mapping, flags), the accounting of pgalloc (see the events).
"""
from __future__ import annotations

from ..kernel import ALLOC_HARDER, MAX_ORDER, MIGRATE_HIGHATOMIC, MIGRATE_MOVABLE, NR_FREE_CMA_PAGES, NR_FREE_PAGES
from ..trace import mirrors
from . import events as ev
from .fallback import __rmqueue_fallback
from .mmzone import Zone
from .vmscan import clear_boosted_and_wake
from .zone import (
    __mod_zone_page_state,
    add_to_free_area,
    del_page_from_free_area,
    page_ref_count,
    pcp_list_add_tail,
    pcp_list_del,
    set_guard,
    set_pcppage_migratetype,
)


@mirrors("mm/page_alloc.c")
def rmqueue(preferred_zone: Zone, zone: Zone, order: int, gfp_flags: int, alloc_flags: int,
            migratetype: int) -> int | None:
    """Take 2^order pages from a zone whose watermark has been tested.

    Returns
    -------
    int or None
        The first pfn, or None if the zone has no such block.

    Notes
    -----
    Emits ZoneStatistics, and KswapdWoken if the zone was boosted. Kernel: mm/page_alloc.c:rmqueue.
    """
    if order == 0:
        pfn = rmqueue_pcplist(preferred_zone, zone, gfp_flags, migratetype, alloc_flags)
    else:
        pfn = __rmqueue_block(preferred_zone, zone, order, alloc_flags, migratetype)
        if pfn is None:
            return None
    if zone.boosted:
        clear_boosted_and_wake(zone)
    return pfn


def __rmqueue_block(preferred_zone: Zone, zone: Zone, order: int, alloc_flags: int, migratetype: int) -> int | None:
    """The half of rmqueue for order > 0, under zone->lock."""
    while True:
        pfn = None
        if alloc_flags & ALLOC_HARDER:
            pfn = __rmqueue_smallest(zone, order, MIGRATE_HIGHATOMIC)
            if pfn is not None and zone.tracepoints:
                zone.trace.emit(ev.MmPageAllocZoneLocked(pfn, order, migratetype, False))
        if pfn is None:
            pfn = __rmqueue(zone, order, migratetype, alloc_flags)
        if pfn is None:
            return None
        if not (zone.refcount and check_new_pages(zone, pfn, order)):
            break
    __mod_zone_freepage_state(zone, -(1 << order), zone.index[pfn])
    if zone.on:
        zone_statistics(preferred_zone, zone)
    return pfn


# ---------------------------------------------------------------- order 0


@mirrors("mm/page_alloc.c")
def rmqueue_pcplist(preferred_zone: Zone, zone: Zone, gfp_flags: int, migratetype: int,
                    alloc_flags: int) -> int | None:
    """Take one page from this CPU's own list of the zone.

    Kernel: mm/page_alloc.c:rmqueue_pcplist. Interrupts are off meanwhile: nothing comes between.
    """
    pfn = __rmqueue_pcplist(zone, migratetype, alloc_flags)
    if pfn is not None and zone.on:
        zone_statistics(preferred_zone, zone)
    return pfn


@mirrors("mm/page_alloc.c")
def __rmqueue_pcplist(zone: Zone, migratetype: int, alloc_flags: int) -> int | None:
    """The page on top of the pile; an empty pile is refilled first.

    Kernel: mm/page_alloc.c:__rmqueue_pcplist (its pcp and list are found from the zone, the CPU and the type).
    """
    cpu = zone.machine.current.cpu
    pcp = zone.pageset[cpu]
    pages = pcp.lists[migratetype]
    if not pages:
        if zone.on:
            zone.trace.emit(ev.PcpListFoundEmpty(zone.nid, zone.zone_idx, cpu, migratetype))
        rmqueue_bulk(zone, pcp.batch, migratetype, alloc_flags)
        if not pages:
            return None
    pfn = pages[0]
    pcp_list_del(zone, cpu, migratetype, pfn)
    return pfn


@mirrors("mm/page_alloc.c")
def rmqueue_bulk(zone: Zone, count: int, migratetype: int, alloc_flags: int) -> int:
    """Move up to `count` single pages to this CPU's list, each to the tail, so the first one taken is used first.

    Returns
    -------
    int
        How many were added.
    """
    cpu = zone.machine.current.cpu
    cma = zone.machine.config.migrate_cma
    alloced = taken = 0
    for _ in range(count):
        pfn = __rmqueue(zone, 0, migratetype, alloc_flags)
        if pfn is None:
            break
        taken += 1
        if zone.refcount and check_new_pages(zone, pfn, 0):
            continue
        pcp_list_add_tail(zone, cpu, migratetype, pfn)
        alloced += 1
        if zone.index[pfn] == cma:
            __mod_zone_page_state(zone, cpu, NR_FREE_CMA_PAGES, -1)
    __mod_zone_page_state(zone, cpu, NR_FREE_PAGES, -taken)
    return alloced


# ---------------------------------------------------------------- the buddy lists


@mirrors("mm/page_alloc.c")
def __rmqueue(zone: Zone, order: int, migratetype: int, alloc_flags: int) -> int | None:
    """A block of the type's own lists, else of CMA (for MOVABLE), else stolen from another type.

    Kernel: mm/page_alloc.c:__rmqueue. Emits the tracepoint mm_page_alloc_zone_locked if a block was found.
    """
    while True:
        pfn = __rmqueue_smallest(zone, order, migratetype)
        if pfn is None and migratetype == MIGRATE_MOVABLE:
            pfn = __rmqueue_cma_fallback(zone, order)
        if pfn is not None or not __rmqueue_fallback(zone, order, migratetype, alloc_flags):
            break
    if pfn is not None and zone.tracepoints:
        zone.trace.emit(ev.MmPageAllocZoneLocked(pfn, order, migratetype, order == 0))
    return pfn


def __rmqueue_cma_fallback(zone: Zone, order: int) -> int | None:
    cma = zone.machine.config.migrate_cma
    return None if cma is None else __rmqueue_smallest(zone, order, cma)


@mirrors("mm/page_alloc.c")
def __rmqueue_smallest(zone: Zone, order: int, migratetype: int) -> int | None:
    """The first block of the smallest sufficient order on this type's lists, cut down to `order`.

    Returns
    -------
    int or None
        The pfn of the lower end of the block, or None if no list of the type has one.

    Notes
    -----
    Emits FreeAreaSearched for each order. Kernel: mm/page_alloc.c:__rmqueue_smallest.
    """
    for current_order in range(order, MAX_ORDER):
        pfn = get_page_from_free_area(zone, current_order, migratetype)
        if zone.on:
            zone.trace.emit(ev.FreeAreaSearched(zone.nid, zone.zone_idx, current_order, migratetype, pfn is not None))
        if pfn is None:
            continue
        del_page_from_free_area(zone, pfn, current_order, migratetype)
        expand(zone, pfn, order, current_order, migratetype)
        set_pcppage_migratetype(zone, pfn, migratetype)
        return pfn
    return None


@mirrors("include/linux/mmzone.h")
def get_page_from_free_area(zone: Zone, order: int, migratetype: int) -> int | None:
    """The head of one free list, left where it is; None if the list is empty (list_first_entry_or_null)."""
    for pfn in zone.free_area[order].free_list[migratetype]:
        return pfn
    return None


@mirrors("mm/page_alloc.c")
def expand(zone: Zone, pfn: int, low: int, high: int, migratetype: int) -> None:
    """Cut a block of order `high` down to `low`: each upper half goes to the head of its list.

    Kernel: mm/page_alloc.c:expand. Emits BlockExpanded, and AddToFreeArea for each half.
    """
    if zone.on:
        zone.trace.emit(ev.BlockExpanded(zone.nid, zone.zone_idx, pfn, low, high, migratetype))
    if low == high:
        return
    guards = zone.on or zone.machine.config.debug_guardpage_minorder  # a static key: off, it costs nothing
    order = high
    while order > low:
        order -= 1
        half = pfn + (1 << order)
        if not (guards and set_page_guard(zone, half, order, migratetype)):
            add_to_free_area(zone, half, order, migratetype)


@mirrors("mm/page_alloc.c")
def set_page_guard(zone: Zone, pfn: int, order: int, migratetype: int) -> bool:
    """Keep a half as a guard block instead of a free one? Only with debug_guardpage_minorder > order.

    Kernel: mm/page_alloc.c:set_page_guard (CONFIG_DEBUG_PAGEALLOC).
    """
    guarded = order < zone.machine.config.debug_guardpage_minorder
    if zone.on:
        zone.trace.emit(ev.GuardChecked(zone.nid, zone.zone_idx, pfn, order, guarded))
    if guarded:
        set_guard(zone, pfn, order)
        __mod_zone_freepage_state(zone, -(1 << order), migratetype)
    return guarded


# ---------------------------------------------------------------- small parts


def __mod_zone_freepage_state(zone: Zone, nr_pages: int, migratetype: int) -> None:
    """NR_FREE_PAGES += nr_pages, and NR_FREE_CMA_PAGES for CMA (include/linux/vmstat.h)."""
    cpu = zone.machine.current.cpu
    __mod_zone_page_state(zone, cpu, NR_FREE_PAGES, nr_pages)
    if migratetype == zone.machine.config.migrate_cma:
        __mod_zone_page_state(zone, cpu, NR_FREE_CMA_PAGES, nr_pages)


def check_new_pages(zone: Zone, pfn: int, order: int) -> bool:
    """Is one of these free pages bad, because it has references? Then the block is leaked. True if so.

    Kernel: check_pcp_refill and mm/page_alloc.c:check_new_page. Simplified: of the page's state, only the count.
    """
    bad = [page for page in range(pfn, pfn + (1 << order)) if page_ref_count(zone, page)]
    if bad and zone.on:
        zone.trace.emit(ev.BadPage(zone.nid, zone.zone_idx, bad[0], page_ref_count(zone, bad[0])))
    return bool(bad)


@mirrors("mm/page_alloc.c")
def zone_statistics(preferred_zone: Zone, zone: Zone) -> None:
    """Say where the page came from: NUMA hit or miss, local or other. Only on NUMA builds, and if somebody listens."""
    if not zone.machine.config.numa:
        return
    local = zone.nid == zone.machine.cpu_to_node[zone.machine.current.cpu]
    zone.trace.emit(ev.ZoneStatistics(zone.nid, zone.zone_idx, preferred_zone.nid, zone.nid == preferred_zone.nid,
                                      local))
