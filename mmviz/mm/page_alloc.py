"""The allocator's front door: from a request to a zone that may serve it.

    alloc_pages_current (mempolicy.py), alloc_pages_node
      __alloc_pages_nodemask
        prepare_alloc_pages, finalise_ac       what the gfp mask says: ceiling, type, zonelist, preferred zone
        alloc_flags_nofragment                 may the first pass rob other types?
        get_page_from_freelist                 walk the zonelist: watermark, then rmqueue (freelist.py)
        __alloc_pages_slowpath                 only if that found nothing (slowpath.py)

Every request first meets the LOW mark, whatever its flags: GFP_ATOMIC has its privileges in the slow path only.

Left out: cpusets, dirty-page spreading (__GFP_WRITE), memcg charging, fault injection, deferred struct-page
initialisation.
"""
from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..kernel import (
    __GFP_BITS_MASK,
    __GFP_KSWAPD_RECLAIM,
    __GFP_NOWARN,
    ALLOC_CMA,
    ALLOC_KSWAPD,
    ALLOC_NOFRAGMENT,
    ALLOC_WMARK_LOW,
    MAX_ORDER,
    MIGRATE_MOVABLE,
    NUMA_NO_NODE,
)
from ..trace import mirrors
from . import events as ev
from .freelist import AllocContext, get_page_from_freelist
from .mmzone import Zone
from .slowpath import __alloc_pages_slowpath, current_gfp_context
from .zonelist import (
    first_zones_zonelist,
    gfp_zone,
    gfpflags_to_migratetype,
    node_zonelist,
)

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("include/linux/gfp.h")
def alloc_pages_node(machine: Machine, nid: int, gfp_mask: int, order: int) -> int | None:
    """Ask for 2^order pages, from node `nid` first: a wish, unless __GFP_THISNODE makes it a command.

    Parameters
    ----------
    nid : int
        A node, or NUMA_NO_NODE (-1) for that of the running CPU; ValueError if there is no such node.
    gfp_mask, order : int
        As `alloc_pages`, and so are what is returned, raised and emitted.

    Notes
    -----
    Kernel: include/linux/gfp.h:alloc_pages_node at v5.4, with __alloc_pages_node and __alloc_pages, which only pass on.

    Examples
    --------
    >>> import mmviz as mv
    >>> hex(alloc_pages_node(mv.duo(), 1, mv.GFP_KERNEL, 0))
    '0x4c00'
    """
    if nid == NUMA_NO_NODE:
        return __alloc_pages_nodemask(machine, gfp_mask, order, machine.cpu_to_node[machine.current.cpu], None)
    return __alloc_pages_nodemask(machine, gfp_mask, order, nid, None)


# ---------------------------------------------------------------- the heart


@mirrors("mm/page_alloc.c")
def __alloc_pages_nodemask(machine: Machine, gfp_mask: int, order: int, preferred_nid: int,
                           nodemask: Collection[int] | None) -> int | None:
    """The heart of the zoned buddy allocator: fast path, then slow path.

    Notes
    -----
    Emits RequestPrepared to MmPageAlloc. Kernel: mm/page_alloc.c:__alloc_pages_nodemask. Raises as `alloc_pages`.
    """
    if order.__class__ is not int or not 0 <= order < MAX_ORDER:
        __refuse_order(machine, order, gfp_mask)
        return None
    ac = AllocContext()
    alloc_flags = prepare_alloc_pages(machine, gfp_mask, order, preferred_nid, nodemask, ac)
    finalise_ac(machine, ac)
    alloc_flags |= ALLOC_WMARK_LOW | alloc_flags_nofragment(machine, ac.preferred_zone, gfp_mask)
    alloc_mask = gfp_mask
    pfn = get_page_from_freelist(machine, alloc_mask, order, alloc_flags, ac)
    if pfn is None:
        alloc_mask = current_gfp_context(machine.current, gfp_mask)
        pfn = __alloc_pages_slowpath(machine, alloc_mask, order, ac)
    if machine.on:
        machine.trace.emit(ev.MmPageAlloc(-1 if pfn is None else pfn, order, ac.migratetype, alloc_mask))
    return pfn


def check_request(machine: Machine, gfp_mask: int, order: int) -> None:
    """ValueError for a request that makes no sense, for who changes something before `__alloc_pages_nodemask` asks."""
    __check_order(order)
    if gfp_mask & ~__GFP_BITS_MASK:
        __refuse_gfp_mask(gfp_mask)
    gfp_zone(machine, gfp_mask)
    gfpflags_to_migratetype(machine, gfp_mask)


def __check_order(order: int) -> None:
    if type(order) is not int or order < 0:
        raise ValueError(f"order must be an int >= 0, got {order!r} (0 to {MAX_ORDER - 1} can be served)")


def __refuse_gfp_mask(gfp_mask: int) -> None:
    raise ValueError(f"gfp_mask must be made of the bits {__GFP_BITS_MASK:#x}, got {gfp_mask:#x}")


def __refuse_order(machine: Machine, order: int, gfp_mask: int) -> None:
    __check_order(order)
    if machine.on and not gfp_mask & __GFP_NOWARN:
        machine.trace.emit(ev.Warned(f"WARN_ON_ONCE(order >= MAX_ORDER): order {order}, largest is {MAX_ORDER - 1}"))


@mirrors("mm/page_alloc.c")
def prepare_alloc_pages(machine: Machine, gfp_mask: int, order: int, preferred_nid: int,
                        nodemask: Collection[int] | None, ac: AllocContext) -> int:
    """Read the gfp mask into the context; returns the first alloc_flags (ALLOC_CMA for MOVABLE, where CMA is built)."""
    if gfp_mask & ~__GFP_BITS_MASK:
        __refuse_gfp_mask(gfp_mask)
    if not 0 <= preferred_nid < len(machine.node):
        raise ValueError(f"nid must be 0 to {len(machine.node) - 1} or NUMA_NO_NODE, got {preferred_nid}")
    ac.high_zoneidx = gfp_zone(machine, gfp_mask)
    ac.migratetype = gfpflags_to_migratetype(machine, gfp_mask)
    ac.zonelist = node_zonelist(machine, preferred_nid, gfp_mask)
    ac.nodemask = nodemask
    if machine.on:
        machine.trace.emit(ev.RequestPrepared(gfp_mask, order, preferred_nid, ac.high_zoneidx, ac.migratetype))
    return ALLOC_CMA if ac.migratetype == MIGRATE_MOVABLE and machine.config.migrate_cma is not None else 0


@mirrors("mm/page_alloc.c")
def finalise_ac(machine: Machine, ac: AllocContext) -> None:
    """Find the preferred zone: the first of the walk. Statistics and reserves are reckoned against it."""
    zone = ac.preferred_zone = first_zones_zonelist(ac.zonelist, ac.high_zoneidx, ac.nodemask)
    if machine.on:
        machine.trace.emit(ev.PreferredZoneChosen(*((-1, -1) if zone is None else (zone.nid, zone.zone_idx))))


@mirrors("mm/page_alloc.c")
def alloc_flags_nofragment(machine: Machine, zone: Zone | None, gfp_mask: int) -> int:
    """ALLOC_KSWAPD, and ALLOC_NOFRAGMENT where a clean zone below could serve instead of a theft.

    Kernel: mm/page_alloc.c:alloc_flags_nofragment. Only a request that prefers ZONE_NORMAL, on a build with
    ZONE_DMA32, avoids fragmentation; with several nodes, only if DMA32 of that node has pages.
    """
    alloc_flags = ALLOC_KSWAPD if gfp_mask & __GFP_KSWAPD_RECLAIM else 0
    if zone is not None and zone.name == "Normal" and "DMA32" in machine.config.zone_names and (
            len(machine.node) == 1 or __zone_below_is_populated(machine, zone)):
        alloc_flags |= ALLOC_NOFRAGMENT
    if machine.on:
        nid, zone_idx = (-1, -1) if zone is None else (zone.nid, zone.zone_idx)
        machine.trace.emit(ev.NofragmentChosen(nid, zone_idx, alloc_flags))
    return alloc_flags


def __zone_below_is_populated(machine: Machine, zone: Zone) -> bool:
    below = machine.node[zone.nid].node_zones[zone.zone_idx - 1]
    return below is not None and below.present_pages > 0
