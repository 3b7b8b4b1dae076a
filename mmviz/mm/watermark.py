"""How much must stay free: min_free_kbytes, the three marks of a zone, lowmem_reserve, and the test itself.

    free  >  mark (+ boost)  +  lowmem_reserve[zone that the request preferred]

must hold, strictly, or the zone is passed over. Privileges (ALLOC_HIGH, HARDER, OOM) shrink the mark. A request for
2^order pages is tested as if the other 2^order - 1 were gone already, and then a block must exist.

The free count is the zone's counter (NR_FREE_PAGES): it has not seen the pages on per-CPU lists, and it lags the
free lists by up to stat_threshold on each CPU.
"""
from __future__ import annotations

from collections.abc import Iterable
from math import isqrt
from typing import TYPE_CHECKING

from ..kernel import (
    ALLOC_CMA,
    ALLOC_HARDER,
    ALLOC_HIGH,
    ALLOC_OOM,
    MIGRATE_HIGHATOMIC,
    NR_FREE_CMA_PAGES,
    NR_FREE_PAGES,
    PAGE_SIZE,
    WMARK_HIGH,
)
from ..trace import mirrors
from . import events as ev
from .mmzone import Zone
from .zone import set_watermark_boost, set_watermarks

if TYPE_CHECKING:
    from .machine import Machine

WATERMARK_SCALE_FACTOR = 10
WATERMARK_BOOST_FACTOR = 15000
LOWMEM_RESERVE_RATIO = {"DMA": 256, "DMA32": 256, "Normal": 32}  # the other zones: 0


# ---------------------------------------------------------------- reading


@mirrors("include/linux/vmstat.h")
def zone_page_state(zone: Zone, item: int) -> int:
    """The zone's counter, without what the CPUs still hold in their differences; never below 0."""
    pages = zone.vm_stat[item]
    return pages if pages > 0 else 0


def zone_page_state_snapshot(zone: Zone, item: int) -> int:
    """The exact count: the counter and every CPU's difference; never below 0."""
    return max(0, zone.vm_stat[item] + sum(pcp.vm_stat_diff[item] for pcp in zone.pageset))


def wmark_pages(zone: Zone, mark: int) -> int:
    """min_wmark_pages, low_wmark_pages, high_wmark_pages: the mark (WMARK_MIN, LOW, HIGH) with the boost, in pages."""
    return zone._watermark[mark] + zone.watermark_boost


# ---------------------------------------------------------------- the test


@mirrors("mm/page_alloc.c")
def __zone_watermark_ok(zone: Zone, order: int, mark: int, classzone_idx: int, alloc_flags: int,
                        free_pages: int) -> bool:
    """Would the zone stay above `mark` after this request, and has it a block that is large enough?

    Parameters
    ----------
    mark : int
        The watermark in pages, boost included.
    classzone_idx : int
        Zone index of the request's preferred zone: it says which reserve counts.
    free_pages : int
        What the counter says; the function subtracts what this request may not use.

    Notes
    -----
    Kernel: mm/page_alloc.c:__zone_watermark_ok.
    """
    free = free_pages - __unusable_pages(zone, order, alloc_flags)
    minimum = __min_after_privileges(mark, alloc_flags)
    reserve = zone.lowmem_reserve[classzone_idx]
    if free <= minimum + reserve:
        reason = "not above the mark"
    elif order == 0 or __has_block(zone, order, alloc_flags):
        reason = ""
    else:
        reason = "no block of that order"
    if zone.on:
        zone.trace.emit(ev.WatermarkChecked(zone.nid, zone.zone_idx, order, mark, free, minimum, reserve, not reason,
                                            reason))
    return not reason


def __unusable_pages(zone: Zone, order: int, alloc_flags: int) -> int:
    unusable = (1 << order) - 1
    if not alloc_flags & (ALLOC_HARDER | ALLOC_OOM):
        unusable += zone.nr_reserved_highatomic
    if not alloc_flags & ALLOC_CMA:
        unusable += zone_page_state(zone, NR_FREE_CMA_PAGES)
    return unusable


def __min_after_privileges(mark: int, alloc_flags: int) -> int:
    minimum = mark
    if alloc_flags & ALLOC_HIGH:
        minimum -= minimum // 2
    if alloc_flags & ALLOC_OOM:
        minimum -= minimum // 2
    elif alloc_flags & ALLOC_HARDER:
        minimum -= minimum // 4
    return minimum


def __has_block(zone: Zone, order: int, alloc_flags: int) -> bool:
    """Is there a block of `order` or larger that such a request may use? Its own migratetype is not asked."""
    cma = zone.machine.config.migrate_cma if alloc_flags & ALLOC_CMA else None
    harder = alloc_flags & (ALLOC_HARDER | ALLOC_OOM)
    for area in zone.free_area[order:]:
        if not area.nr_free:
            continue
        lists = area.free_list
        if lists[0] or lists[1] or lists[2]:
            return True
        if (cma is not None and lists[cma]) or (harder and lists[MIGRATE_HIGHATOMIC]):
            return True
    return False


@mirrors("mm/page_alloc.c")
def zone_watermark_ok(zone: Zone, order: int, mark: int, classzone_idx: int, alloc_flags: int) -> bool:
    """`__zone_watermark_ok` on the zone's counter."""
    return __zone_watermark_ok(zone, order, mark, classzone_idx, alloc_flags, zone_page_state(zone, NR_FREE_PAGES))


@mirrors("mm/page_alloc.c")
def zone_watermark_fast(zone: Zone, order: int, mark: int, classzone_idx: int, alloc_flags: int) -> bool:
    """The test of the allocator: order 0 has a short cut that does not subtract the highatomic reserve.

    Kernel: mm/page_alloc.c:zone_watermark_fast.
    """
    free, cma = zone.vm_stat
    if order == 0:
        if cma > 0 and not alloc_flags & ALLOC_CMA:
            free -= cma
        reserve = zone.lowmem_reserve[classzone_idx]
        if free > mark + reserve:
            if zone.on:
                zone.trace.emit(ev.WatermarkChecked(zone.nid, zone.zone_idx, 0, mark, free, mark, reserve, True, ""))
            return True
    return __zone_watermark_ok(zone, order, mark, classzone_idx, alloc_flags, zone_page_state(zone, NR_FREE_PAGES))


@mirrors("mm/page_alloc.c")
def zone_watermark_ok_safe(zone: Zone, order: int, mark: int, classzone_idx: int) -> bool:
    """The test of kswapd: exact where the counter is so low that the drift could hide trouble."""
    free = zone_page_state(zone, NR_FREE_PAGES)
    if zone.percpu_drift_mark and free < zone.percpu_drift_mark:
        free = zone_page_state_snapshot(zone, NR_FREE_PAGES)
    return __zone_watermark_ok(zone, order, mark, classzone_idx, 0, free)


# ---------------------------------------------------------------- the boost


@mirrors("mm/page_alloc.c")
def boost_watermark(zone: Zone) -> None:
    """Raise the three marks by a pageblock, after a theft between types; at most to a boost of 1.5 times the high mark,
    or of one pageblock where that is more.

    Kernel: mm/page_alloc.c:boost_watermark. Only kswapd takes the boost away again.
    """
    pageblock_nr_pages = zone.machine.config.pageblock_nr_pages
    max_boost = zone._watermark[WMARK_HIGH] * WATERMARK_BOOST_FACTOR // 10000
    if max_boost:
        set_watermark_boost(zone, min(zone.watermark_boost + pageblock_nr_pages, max(pageblock_nr_pages, max_boost)))


# ---------------------------------------------------------------- computing


@mirrors("mm/page_alloc.c")
def nr_free_zone_pages(zones: Iterable[Zone]) -> int:
    """Pages above the high mark, over the zones of a zonelist."""
    return sum(max(0, zone.managed_pages - wmark_pages(zone, WMARK_HIGH)) for zone in zones)


def is_highmem(zone: Zone) -> bool:
    """HighMem, or Movable where HighMem is the zone that Movable was cut from."""
    return zone.name == "HighMem" or (zone.name == "Movable" and any(
        other.name == "HighMem" and other.managed_pages for other in zone.machine.zones()))


@mirrors("mm/page_alloc.c")
def init_per_zone_wmark_min(machine: Machine) -> int:
    """min_free_kbytes from the size of low memory: sqrt(16 * kB), 128 to 65536.

    Kernel: mm/page_alloc.c:init_per_zone_wmark_min. khugepaged may raise it later (not simulated).
    """
    node = machine.node[machine.cpu_to_node[0]]
    lowmem = nr_free_zone_pages(node.node_zonelists[0][machine.config.zone_idx("Normal")])
    return min(max(isqrt(lowmem * (PAGE_SIZE >> 10) * 16), 128), 65536)


@mirrors("mm/page_alloc.c")
def __setup_per_zone_wmarks(machine: Machine, min_free_kbytes: int,
                            watermark_scale_factor: int = WATERMARK_SCALE_FACTOR) -> None:
    """Share min_free_kbytes out over the zones and set their three marks.

    Parameters
    ----------
    min_free_kbytes : int
        In KiB, at least 0.
    watermark_scale_factor : int
        The gap between two marks in 1/10000 of the zone, 1 to 1000.

    Notes
    -----
    Kernel: mm/page_alloc.c:__setup_per_zone_wmarks. LOW and HIGH are computed from MIN with the boost of that
    moment, and the boost is cleared after it: run while boosted, it bakes the boost in. So it is here.
    """
    zones = list(machine.zones())
    pages_min = min_free_kbytes >> 2
    lowmem_pages = sum(zone.managed_pages for zone in zones if not is_highmem(zone))
    for zone in zones:
        share = pages_min * zone.managed_pages // max(lowmem_pages, 1)  # v5.4 divides by zero without low memory
        wmark_min = min(max(zone.managed_pages // 1024, 32), 128) if is_highmem(zone) else share
        gap = max(share >> 2, zone.managed_pages * watermark_scale_factor // 10000)
        base = wmark_min + zone.watermark_boost
        set_watermarks(zone, wmark_min, base + gap, base + 2 * gap)


@mirrors("mm/page_alloc.c")
def setup_per_zone_lowmem_reserve(managed: list[int], zone_names: tuple[str, ...]) -> list[list[int]]:
    """lowmem_reserve of each zone of one node: `[i][j]` pages of zone i are kept from a request that preferred zone j.

    Kernel: mm/page_alloc.c:setup_per_zone_lowmem_reserve, with the default ratios.
    """
    count = len(zone_names)
    reserve = [[0] * count for _ in range(count)]
    for j in range(count):
        above = managed[j]
        for i in range(j - 1, -1, -1):
            ratio = LOWMEM_RESERVE_RATIO.get(zone_names[i], 0)
            reserve[i][j] = above // ratio if ratio else 0
            above += managed[i]
    return reserve


@mirrors("mm/page_alloc.c")
def calculate_totalreserve_pages(machine: Machine) -> int:
    """Pages that are never for ordinary use: for each zone its largest reserve and high mark, at most all of it."""
    return sum(min(zone.managed_pages, max(zone.lowmem_reserve[zone.zone_idx:]) + wmark_pages(zone, WMARK_HIGH))
               for zone in machine.zones())
