"""The allocator's front door: from a request to a zone that may serve it.

    alloc_pages / __get_free_pages
      alloc_pages_node
        __alloc_pages_nodemask
          prepare_alloc_pages, finalise_ac       what the gfp mask says: ceiling, type, zonelist, preferred zone
          alloc_flags_nofragment                 may the first pass rob other types?
          get_page_from_freelist                 walk the zonelist: watermark, then rmqueue
          __alloc_pages_slowpath                 only if that found nothing (slowpath.py)

Every request first meets the LOW mark, whatever its flags: GFP_ATOMIC has its privileges in the slow path only.

Left out: cpusets, dirty-page spreading (__GFP_WRITE), memcg charging, fault injection, deferred struct-page
initialisation. `alloc_pages` asks the node of the running CPU; memory policies are not modelled.
"""
from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..kernel import (
    __GFP_BITS_MASK,
    __GFP_COMP,
    __GFP_HIGHMEM,
    __GFP_KSWAPD_RECLAIM,
    __GFP_NOWARN,
    __GFP_ZERO,
    ALLOC_CMA,
    ALLOC_KSWAPD,
    ALLOC_NOFRAGMENT,
    ALLOC_WMARK_LOW,
    MAX_ORDER,
    MIGRATE_MOVABLE,
    NUMA_NO_NODE,
    PAGE_SHIFT,
    PAGE_SIZE,
)
from ..trace import mirrors
from . import events as ev
from .freelist import AllocContext, get_page_from_freelist
from .mmzone import Zone
from .page_free import __free_pages
from .page_ref import page_zone
from .slowpath import __alloc_pages_slowpath, current_gfp_context
from .watermark import is_highmem
from .zone import split_page
from .zonelist import (
    first_zones_zonelist,
    gfp_zone,
    gfpflags_to_migratetype,
    node_zonelist,
)

if TYPE_CHECKING:
    from .machine import Machine


# ---------------------------------------------------------------- entry


@mirrors("mm/page_alloc.c")
def __get_free_pages(machine: Machine, gfp_mask: int, order: int) -> int:
    """Ask for 2^order pages and get the address of the first; __GFP_HIGHMEM is dropped, since HighMem has no address.

    Parameters
    ----------
    gfp_mask : int
        GFP_* and __GFP_* bits of `mmviz.kernel`.
    order : int
        0 to 10; 11 and more is a NULL with a warning.

    Returns
    -------
    int
        A kernel address in the direct map, or 0.

    Notes
    -----
    Emits what `alloc_pages` emits, and raises as it does. Kernel: mm/page_alloc.c:__get_free_pages at v5.4.

    Examples
    --------
    >>> import mmviz as mv
    >>> hex(mv.__get_free_pages(mv.toy(4), mv.GFP_KERNEL, 0))
    '0xffff888001000000'
    """
    pfn = alloc_pages(machine, gfp_mask & ~__GFP_HIGHMEM, order)
    return 0 if pfn is None else page_address(machine, pfn)


@mirrors("mm/page_alloc.c")
def get_zeroed_page(machine: Machine, gfp_mask: int) -> int:
    """Ask for one page filled with zeros.

    Parameters
    ----------
    gfp_mask : int
        GFP_* and __GFP_* bits of `mmviz.kernel`.

    Returns
    -------
    int
        A kernel address in the direct map, or 0.

    Notes
    -----
    Emits PagesCleared, and what `alloc_pages` emits. Kernel: mm/page_alloc.c:get_zeroed_page at v5.4.
    Simplified: a page has no contents here.

    Examples
    --------
    >>> import mmviz as mv
    >>> hex(get_zeroed_page(mv.toy(4), mv.GFP_KERNEL))
    '0xffff888001000000'
    """
    return __get_free_pages(machine, gfp_mask | __GFP_ZERO, 0)


def page_address(machine: Machine, pfn: int) -> int:
    """Where a page of low memory stands in the direct map: PAGE_OFFSET + pfn * 4096.

    Parameters
    ----------
    pfn : int
        A page of this machine.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If the page is in HighMem, which has no fixed address.
    """
    zone = page_zone(machine, pfn)
    if is_highmem(zone):
        raise ValueError(f"pfn must be in low memory to have an address, got {pfn:#x} of zone {zone.label}")
    return machine.config.page_offset + (pfn << PAGE_SHIFT)


@mirrors("include/linux/gfp.h")
def alloc_pages(machine: Machine, gfp_mask: int, order: int) -> int | None:
    """Ask for 2^order pages, from the running CPU's node first.

    Parameters
    ----------
    gfp_mask : int
        GFP_* and __GFP_* bits of `mmviz.kernel`.
    order : int
        0 to 10; 11 and more is a NULL with a warning.

    Returns
    -------
    int or None
        The pfn of the first page. None is the kernel's NULL, or the place where the kernel would reclaim: the event
        AllocationFailed or WouldReclaim says which.

    Raises
    ------
    ValueError
        If order is negative or no int, or if gfp bits are unknown or exclude each other.

    Notes
    -----
    Emits RequestPrepared, PreferredZoneChosen, NofragmentChosen, WatermarkChecked for each zone, what the zone's lists
    go through, and MmPageAlloc. Kernel: include/linux/gfp.h:alloc_pages at v5.4.
    Simplified: no memory policies, no cpusets; reclaim is where it ends.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> [hex(alloc_pages(machine, mv.GFP_KERNEL, 3)) for _ in range(3)]
    ['0x1000', '0x1008', '0x1010']
    """
    return alloc_pages_node(machine, machine.cpu_to_node[machine.current.cpu], gfp_mask, order)


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


@mirrors("mm/page_alloc.c")
def alloc_pages_exact(machine: Machine, size: int, gfp_mask: int) -> int:
    """Ask for `size` bytes in whole pages: a block of the next order, whose pages beyond the size are freed again.

    Parameters
    ----------
    size : int
        In bytes, at least 1.
    gfp_mask : int
        As `alloc_pages`; __GFP_COMP is dropped with a warning, since a compound page cannot be split.

    Returns
    -------
    int
        The address, or 0.

    Notes
    -----
    Emits SplitPage, MmPageFree for each page that goes back, and what `alloc_pages` emits; raises as it does.
    Kernel: mm/page_alloc.c:alloc_pages_exact and make_alloc_exact at v5.4.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> hex(alloc_pages_exact(machine, 3 * 4096, mv.GFP_KERNEL)), machine.zone("DMA32").nr_pages_on_lists()
    ('0xffff888001000000', 1021)
    """
    order = get_order(size)
    if gfp_mask & __GFP_COMP:
        gfp_mask &= ~__GFP_COMP
        if machine.on:
            machine.trace.emit(ev.Warned("WARN_ON_ONCE(gfp_mask & __GFP_COMP): a compound page cannot be split"))
    addr = __get_free_pages(machine, gfp_mask, order)
    if addr:
        pfn = (addr - machine.config.page_offset) >> PAGE_SHIFT
        split_page(page_zone(machine, pfn), pfn, order)
        for surplus in range(pfn - (-size >> PAGE_SHIFT), pfn + (1 << order)):
            __free_pages(machine, surplus, 0)
    return addr


def get_order(size: int) -> int:
    """The smallest order whose block holds `size` bytes.

    Kernel: include/asm-generic/getorder.h:get_order.

    >>> get_order(4096), get_order(4097), get_order(102400)
    (0, 1, 5)
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 byte, got {size}")
    return ((size - 1) // PAGE_SIZE).bit_length()


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


def __refuse_order(machine: Machine, order: int, gfp_mask: int) -> None:
    if type(order) is not int or order < 0:
        raise ValueError(f"order must be an int >= 0, got {order!r} (0 to {MAX_ORDER - 1} can be served)")
    if machine.on and not gfp_mask & __GFP_NOWARN:
        machine.trace.emit(ev.Warned(f"WARN_ON_ONCE(order >= MAX_ORDER): order {order}, largest is {MAX_ORDER - 1}"))


@mirrors("mm/page_alloc.c")
def prepare_alloc_pages(machine: Machine, gfp_mask: int, order: int, preferred_nid: int,
                        nodemask: Collection[int] | None, ac: AllocContext) -> int:
    """Read the gfp mask into the context; returns the first alloc_flags (ALLOC_CMA for MOVABLE, where CMA is built)."""
    if gfp_mask & ~__GFP_BITS_MASK:
        raise ValueError(f"gfp_mask must be made of the bits {__GFP_BITS_MASK:#x}, got {gfp_mask:#x}")
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
