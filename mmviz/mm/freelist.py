"""From a request that has been read to a page in hand: the walk of the zonelist, and making the page ready.

    get_page_from_freelist
      for_next_zone_zonelist_nodemask
        zone_watermark_fast   would enough stay free? (node_reclaim behind it, where that is switched on)
        rmqueue               take the page (rmqueue.py)
        prep_new_page         one reference, zeros, a compound page

The first pass may be forbidden to rob other types (ALLOC_NOFRAGMENT). If it finds nothing so, or if the next zone
would be another node's, the prohibition falls and the walk starts again.
"""
from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ..kernel import (
    __GFP_COMP,
    __GFP_ZERO,
    ALLOC_HARDER,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_WMARK_MASK,
)
from ..trace import mirrors
from . import events as ev
from .fallback import reserve_highatomic_pageblock
from .highmem_32 import clear_highpage
from .mmzone import Zone
from .rmqueue import rmqueue
from .vmscan import NODE_RECLAIM_FULL, NODE_RECLAIM_NOSCAN, RECLAIM_DISTANCE, node_reclaim
from .watermark import zone_watermark_fast, zone_watermark_ok
from .zone import prep_compound_page, set_page_refcounted
from .zonelist import Zonelist, for_next_zone_zonelist_nodemask

if TYPE_CHECKING:
    from .machine import Machine


class AllocContext:
    """struct alloc_context: what one request carries from function to function. It is a local of the request."""

    __slots__ = ("high_zoneidx", "migratetype", "nodemask", "preferred_zone", "zonelist")

    zonelist: Zonelist
    nodemask: Collection[int] | None
    preferred_zone: Zone | None  # None: no zone is eligible
    migratetype: int
    high_zoneidx: int

    def zones(self) -> Sequence[Zone]:
        """The zones of the walk."""
        return for_next_zone_zonelist_nodemask(self.zonelist, self.high_zoneidx, self.nodemask)


@mirrors("mm/page_alloc.c")
def get_page_from_freelist(machine: Machine, gfp_mask: int, order: int, alloc_flags: int,
                           ac: AllocContext) -> int | None:
    """Walk the zonelist; the first zone that passes its watermark and has a block serves.

    Returns
    -------
    int or None
        The first pfn, ready for its owner.

    Notes
    -----
    Emits WatermarkChecked for each zone, and NofragmentDropped where the walk starts again: at a remote zone (near
    memory beats clean memory), or at the end of the list. Kernel: mm/page_alloc.c:get_page_from_freelist.
    """
    preferred_zone = ac.preferred_zone
    if preferred_zone is None:
        return None
    flags = alloc_flags
    while True:  # label retry
        dropped = ""
        for zone in for_next_zone_zonelist_nodemask(ac.zonelist, ac.high_zoneidx, ac.nodemask):
            if flags & ALLOC_NOFRAGMENT and zone.nid != preferred_zone.nid:
                dropped = "remote"
                break
            mark = zone._watermark[flags & ALLOC_WMARK_MASK] + zone.watermark_boost
            if not (zone_watermark_fast(zone, order, mark, preferred_zone.zone_idx, flags)
                    or __may_serve_all_the_same(machine, zone, gfp_mask, order, flags, mark, preferred_zone)):
                continue
            pfn = rmqueue(preferred_zone, zone, order, gfp_mask, flags, ac.migratetype)
            if pfn is not None:
                prep_new_page(zone, pfn, order, gfp_mask, flags)
                if order and flags & ALLOC_HARDER:
                    reserve_highatomic_pageblock(zone, pfn)
                return pfn
        if not flags & ALLOC_NOFRAGMENT:
            return None
        flags &= ~ALLOC_NOFRAGMENT
        if machine.on:
            machine.trace.emit(ev.NofragmentDropped(dropped or "exhausted"))


def __may_serve_all_the_same(machine: Machine, zone: Zone, gfp_mask: int, order: int, alloc_flags: int, mark: int,
                             preferred_zone: Zone) -> bool:
    """The zone is below its mark: for a request without watermarks, or after node_reclaim if that is switched on."""
    if alloc_flags & ALLOC_NO_WATERMARKS:
        return True
    if not machine.node_reclaim_mode or machine.distance[preferred_zone.nid][zone.nid] > RECLAIM_DISTANCE:
        return False
    if node_reclaim(machine, zone.nid, gfp_mask, order) in (NODE_RECLAIM_NOSCAN, NODE_RECLAIM_FULL):
        return False
    return zone_watermark_ok(zone, order, mark, preferred_zone.zone_idx, alloc_flags)


# ---------------------------------------------------------------- making the page ready


@mirrors("mm/page_alloc.c")
def prep_new_page(zone: Zone, pfn: int, order: int, gfp_flags: int, alloc_flags: int) -> None:
    """One reference for the first page; zeros if asked (__GFP_ZERO); a compound page if asked (__GFP_COMP).

    Kernel: mm/page_alloc.c:prep_new_page, with post_alloc_hook. init_on_alloc is off.
    """
    set_page_refcounted(zone, pfn, order)
    if gfp_flags & __GFP_ZERO:
        kernel_init_free_pages(zone, pfn, order)
    if order and gfp_flags & __GFP_COMP:
        prep_compound_page(zone, pfn, order)


@mirrors("mm/page_alloc.c")
def kernel_init_free_pages(zone: Zone, pfn: int, order: int) -> None:
    """Fill 2^order pages with zeros, one clear_highpage each. The simulator keeps no contents: only the event.

    A build with HighMem lends each page an address for it; on 64 bit there is nothing to lend, and nothing to tell.
    """
    if zone.on:
        zone.trace.emit(ev.PagesCleared(zone.nid, zone.zone_idx, pfn, order))
    if "HighMem" in zone.machine.config.zone_names:
        for page in range(pfn, pfn + (1 << order)):
            clear_highpage(zone.machine, page)
