"""The primitives of the page allocator: the only code that changes a zone.

A primitive makes one change and reports it. Its arguments, after the zone, are the fields of its event, so replay runs
the very same code (`PRIMITIVES`). Everything else in the page allocator decides, and calls primitives.

Simplified: locks and interrupts off are not modelled; one operation runs at a time.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import KernelBug
from ..kernel import MIGRATE_MOVABLE, MIGRATE_PCPTYPES, MIGRATE_UNMOVABLE, WMARK_HIGH, WMARK_LOW, WMARK_MIN
from ..trace import Event, mirrors
from . import events as ev
from .mmzone import TOP_ORDER, Zone

# ---------------------------------------------------------------- free lists


@mirrors("include/linux/mmzone.h")
def add_to_free_area(zone: Zone, pfn: int, order: int, migratetype: int) -> None:
    """Put a block at the head of a free list (with set_page_order)."""
    area = zone.free_area[order]
    pages = area.free_list[migratetype]
    pages[pfn] = None
    pages.move_to_end(pfn, False)
    area.nr_free += 1
    zone.buddy[pfn] = (order, migratetype)
    if zone.on:
        zone.trace.emit(ev.AddToFreeArea(zone.nid, zone.zone_idx, pfn, order, migratetype))


@mirrors("include/linux/mmzone.h")
def add_to_free_area_tail(zone: Zone, pfn: int, order: int, migratetype: int) -> None:
    """Put a block at the tail of a free list (with set_page_order). Never of the top order."""
    area = zone.free_area[order]
    area.free_list[migratetype][pfn] = None
    area.nr_free += 1
    zone.buddy[pfn] = (order, migratetype)
    if zone.on:
        zone.trace.emit(ev.AddToFreeAreaTail(zone.nid, zone.zone_idx, pfn, order, migratetype))


@mirrors("include/linux/mmzone.h")
def move_to_free_area(zone: Zone, pfn: int, order: int, migratetype: int) -> None:
    """Move a free block to the head of another list of its order; nr_free stays."""
    area = zone.free_area[order]
    del area.free_list[zone.buddy[pfn][1]][pfn]
    pages = area.free_list[migratetype]
    pages[pfn] = None
    pages.move_to_end(pfn, False)
    zone.buddy[pfn] = (order, migratetype)
    if order == TOP_ORDER and zone.untouched:
        __touch_next_block(zone)
    if zone.on:
        zone.trace.emit(ev.MoveToFreeArea(zone.nid, zone.zone_idx, pfn, order, migratetype))


@mirrors("include/linux/mmzone.h")
def del_page_from_free_area(zone: Zone, pfn: int, order: int, migratetype: int) -> None:
    """Take a block off its free list (with __ClearPageBuddy and private = 0)."""
    area = zone.free_area[order]
    del area.free_list[migratetype][pfn]
    area.nr_free -= 1
    del zone.buddy[pfn]
    if order == TOP_ORDER and zone.untouched:
        __touch_next_block(zone)
    if zone.on:
        zone.trace.emit(ev.DelPageFromFreeArea(zone.nid, zone.zone_idx, pfn, order, migratetype))


def __touch_next_block(zone: Zone) -> None:
    """Make the first untouched block an entry, if it has come to the head of its list."""
    pages = zone.free_area[TOP_ORDER].free_list[MIGRATE_MOVABLE]
    if not pages:
        pfn = zone.untouched[0]
        zone.untouched = zone.untouched[1:]
        pages[pfn] = None
        zone.buddy[pfn] = (TOP_ORDER, MIGRATE_MOVABLE)


def set_guard(zone: Zone, pfn: int, order: int) -> None:
    """Mark a split-off block as guard: PG_guard, an empty list head, private = order; it is on no list."""
    zone.guard[pfn] = order
    if zone.on:
        zone.trace.emit(ev.SetPageGuard(zone.nid, zone.zone_idx, pfn, order))


def clear_guard(zone: Zone, pfn: int, order: int) -> None:
    """Take the guard mark off a block."""
    del zone.guard[pfn]
    if zone.on:
        zone.trace.emit(ev.ClearPageGuard(zone.nid, zone.zone_idx, pfn, order))


# ---------------------------------------------------------------- per-CPU lists


def pcp_list_add(zone: Zone, cpu: int, migratetype: int, pfn: int) -> None:
    """list_add(&page->lru, &pcp->lists[migratetype]); pcp->count++: the page is on top."""
    pcp = zone.pageset[cpu]
    pcp.lists[migratetype].appendleft(pfn)
    pcp.count += 1
    if zone.on:
        zone.trace.emit(ev.PcpListAdd(zone.nid, zone.zone_idx, cpu, migratetype, pfn))


def pcp_list_add_tail(zone: Zone, cpu: int, migratetype: int, pfn: int) -> None:
    """list_add_tail(&page->lru, list): a refilled page goes to the bottom."""
    pcp = zone.pageset[cpu]
    pcp.lists[migratetype].append(pfn)
    pcp.count += 1
    if zone.on:
        zone.trace.emit(ev.PcpListAddTail(zone.nid, zone.zone_idx, cpu, migratetype, pfn))


def pcp_list_del(zone: Zone, cpu: int, migratetype: int, pfn: int) -> int:
    """list_del(&page->lru); pcp->count--, at either end. Returns page->index, which the page carries along."""
    pcp = zone.pageset[cpu]
    pages = pcp.lists[migratetype]
    if pages[0] == pfn:
        pages.popleft()
    elif pages[-1] == pfn:
        pages.pop()
    else:
        raise KernelBug(f"pfn {pfn:#x} is at neither end of CPU {cpu}'s list {migratetype} in zone {zone.label}")
    pcp.count -= 1
    if zone.on:
        zone.trace.emit(ev.PcpListDel(zone.nid, zone.zone_idx, cpu, migratetype, pfn))
    return zone.index.pop(pfn, migratetype)


@mirrors("mm/page_alloc.c")
def set_pcppage_migratetype(zone: Zone, pfn: int, migratetype: int) -> None:
    """page->index = migratetype, while the page is in flight or on a per-CPU list."""
    zone.index[pfn] = migratetype
    if zone.on:
        zone.trace.emit(ev.SetPcppageMigratetype(zone.nid, zone.zone_idx, pfn, migratetype))


# ---------------------------------------------------------------- pages


def set_page_refcounted(zone: Zone, pfn: int, order: int) -> None:
    """refcount of the first page = 1; page->index is the owner's from here on."""
    zone.allocated[pfn] = order
    zone.index.pop(pfn, None)
    if zone.refcount:
        zone.refcount.pop(pfn, None)
    if zone.on:
        zone.trace.emit(ev.SetPageRefcounted(zone.nid, zone.zone_idx, pfn, order))


def page_ref_add(zone: Zone, pfn: int, nr: int) -> None:
    """Add `nr` references to a page (negative: take them), where the count does not become zero."""
    zone.refcount[pfn] = page_ref_count(zone, pfn) + nr
    if zone.on:
        zone.trace.emit(ev.PageRefAdd(zone.nid, zone.zone_idx, pfn, nr))


def page_ref_count(zone: Zone, pfn: int) -> int:
    """The references of a page: 1 for the first page of a block that was handed out, unless more were taken."""
    known = zone.refcount.get(pfn)
    return known if known is not None else int(pfn in zone.allocated)


@mirrors("mm/page_alloc.c")
def free_pages_prepare(zone: Zone, pfn: int, order: int) -> None:
    """The block forgets its owner: references, compound, PageLRU. Its event is the tracepoint mm_page_free."""
    zone.allocated.pop(pfn, None)
    if zone.refcount:
        zone.refcount.pop(pfn, None)
    if zone.compound:
        zone.compound.pop(pfn, None)
    if zone.lru:
        zone.lru.discard(pfn)
    if zone.on:
        zone.trace.emit(ev.MmPageFree(zone.nid, zone.zone_idx, pfn, order))


def set_page_lru(zone: Zone, pfn: int) -> None:
    """SetPageLRU: the page is on an LRU list, so it counts as movable when a pageblock is claimed."""
    zone.lru.add(pfn)
    if zone.on:
        zone.trace.emit(ev.SetPageLRU(zone.nid, zone.zone_idx, pfn))


@mirrors("mm/page_alloc.c")
def prep_compound_page(zone: Zone, pfn: int, order: int) -> None:
    """PG_head on the first page; each tail points to it and has no references of its own."""
    zone.compound[pfn] = order
    if zone.on:
        zone.trace.emit(ev.PrepCompoundPage(zone.nid, zone.zone_idx, pfn, order))


@mirrors("mm/page_alloc.c")
def split_page(zone: Zone, pfn: int, order: int) -> None:
    """Make 2^order single pages of a block that is no compound page; each has one reference."""
    zone.allocated.update((page, 0) for page in range(pfn, pfn + (1 << order)))
    if zone.on:
        zone.trace.emit(ev.SplitPage(zone.nid, zone.zone_idx, pfn, order))


# ---------------------------------------------------------------- pageblocks, counters, marks


@mirrors("mm/page_alloc.c")
def set_pageblock_migratetype(zone: Zone, pfn: int, migratetype: int) -> None:
    """Set the type of the pageblock that `pfn` lies in; U instead of U, M, R where mobility grouping is off."""
    machine = zone.machine
    ungrouped = machine.page_group_by_mobility_disabled and migratetype < MIGRATE_PCPTYPES
    stored = MIGRATE_UNMOVABLE if ungrouped else migratetype
    block = pfn >> machine.config.pageblock_order
    isolate = machine.config.migrate_isolate
    zone.nr_isolate_pageblock += (stored == isolate) - (zone.pageblock.get(block, MIGRATE_MOVABLE) == isolate)
    if stored == MIGRATE_MOVABLE:
        zone.pageblock.pop(block, None)
    else:
        zone.pageblock[block] = stored
    if zone.on:
        zone.trace.emit(ev.SetPageblockMigratetype(zone.nid, zone.zone_idx, pfn, migratetype))


@mirrors("mm/vmstat.c")
def __mod_zone_page_state(zone: Zone, cpu: int, item: int, delta: int) -> None:
    """Add to this CPU's difference; past stat_threshold it goes into the zone's counter."""
    pcp = zone.pageset[cpu]
    diff = pcp.vm_stat_diff[item] + delta
    if -pcp.stat_threshold <= diff <= pcp.stat_threshold:
        pcp.vm_stat_diff[item] = diff
    else:
        zone.vm_stat[item] += diff
        pcp.vm_stat_diff[item] = 0
    if zone.on:
        zone.trace.emit(ev.ModZonePageState(zone.nid, zone.zone_idx, cpu, item, delta))


def fold_diff(zone: Zone, cpu: int) -> None:
    """Put one CPU's differences into the zone's counters, as refresh_cpu_vm_stats does."""
    pcp = zone.pageset[cpu]
    for item, diff in enumerate(pcp.vm_stat_diff):
        zone.vm_stat[item] += diff
        pcp.vm_stat_diff[item] = 0
    if zone.on:
        zone.trace.emit(ev.FoldDiff(zone.nid, zone.zone_idx, cpu))


def set_watermark_boost(zone: Zone, boost: int) -> None:
    """zone->watermark_boost = boost."""
    zone.watermark_boost = boost
    if zone.on:
        zone.trace.emit(ev.SetWatermarkBoost(zone.nid, zone.zone_idx, boost))


def set_boost_seen(zone: Zone, boost: int) -> None:
    """kswapd begins a pass and notes the boost that it finds (zone_boosts[] of balance_pgdat), or forgets it (0)."""
    zone.boost_seen = boost
    if zone.on:
        zone.trace.emit(ev.SetBoostSeen(zone.nid, zone.zone_idx, boost))


def set_zone_boosted(zone: Zone, value: int) -> None:
    """Set or clear ZONE_BOOSTED_WATERMARK in zone->flags."""
    zone.boosted = bool(value)
    if zone.on:
        zone.trace.emit(ev.SetZoneBoosted(zone.nid, zone.zone_idx, value))


def set_reserved_highatomic(zone: Zone, nr_pages: int) -> None:
    """zone->nr_reserved_highatomic = nr_pages."""
    zone.nr_reserved_highatomic = nr_pages
    if zone.on:
        zone.trace.emit(ev.SetReservedHighatomic(zone.nid, zone.zone_idx, nr_pages))


def set_watermarks(zone: Zone, wmark_min: int, wmark_low: int, wmark_high: int) -> None:
    """zone->_watermark[] = min, low, high; zone->watermark_boost = 0."""
    zone._watermark[WMARK_MIN] = wmark_min
    zone._watermark[WMARK_LOW] = wmark_low
    zone._watermark[WMARK_HIGH] = wmark_high
    zone.watermark_boost = 0
    if zone.on:
        zone.trace.emit(ev.SetWatermarks(zone.nid, zone.zone_idx, wmark_min, wmark_low, wmark_high))


PRIMITIVES: dict[type[Event], Callable[..., Any]] = {
    ev.AddToFreeArea: add_to_free_area,
    ev.AddToFreeAreaTail: add_to_free_area_tail,
    ev.MoveToFreeArea: move_to_free_area,
    ev.DelPageFromFreeArea: del_page_from_free_area,
    ev.SetPageGuard: set_guard,
    ev.ClearPageGuard: clear_guard,
    ev.PcpListAdd: pcp_list_add,
    ev.PcpListAddTail: pcp_list_add_tail,
    ev.PcpListDel: pcp_list_del,
    ev.SetPcppageMigratetype: set_pcppage_migratetype,
    ev.SetPageRefcounted: set_page_refcounted,
    ev.PageRefAdd: page_ref_add,
    ev.MmPageFree: free_pages_prepare,
    ev.SetPageLRU: set_page_lru,
    ev.PrepCompoundPage: prep_compound_page,
    ev.SplitPage: split_page,
    ev.SetPageblockMigratetype: set_pageblock_migratetype,
    ev.ModZonePageState: __mod_zone_page_state,
    ev.FoldDiff: fold_diff,
    ev.SetWatermarkBoost: set_watermark_boost,
    ev.SetBoostSeen: set_boost_seen,
    ev.SetZoneBoosted: set_zone_boosted,
    ev.SetReservedHighatomic: set_reserved_highatomic,
    ev.SetWatermarks: set_watermarks,
}
