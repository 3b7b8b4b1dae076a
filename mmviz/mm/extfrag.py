"""How fragmented is a zone? The two indices that the kernel shows in /sys/kernel/debug/extfrag.

Memory may be free and of no use, because it lies in pieces that are too small. Two questions, two numbers, both in
thousandths, both read from nr_free alone (types do not count):

    unusable_free_index(zone, order)    which part of the free memory lies in blocks smaller than this order?
                                        0: none, 1000: all of it
    fragmentation_index(zone, order)    a request of this order would fail: for want of memory (towards 0), or because
                                        it lies in pieces (towards 1000)? -1000: it would not fail

        nr_free   0:4 1:2 2:0 3:1       4 + 4 + 8 = 16 pages on the lists
        order 2   8 of them lie in blocks of order 2 or above -> unusable (16 - 8) / 16 = 500
        order 4   no block                                    -> unusable 1000

For orders above 3 the kernel reclaims where the second is 0 to 500 (sysctl_extfrag_threshold), and compacts above.
`unusable_over_time` asks the first question again and again while operations run.

Simplified: only what is on the free lists is asked for, as in the kernel: pages on per-CPU lists are free and do not
count. The kernel builds all this with CONFIG_COMPACTION only.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..kernel import MAX_ORDER
from ..trace import mirrors
from .machine import Machine
from .mmzone import Zone


class ContigPageInfo(NamedTuple):
    """struct contig_page_info: pages on the lists, blocks on the lists, and how many of the wanted order they make."""

    free_pages: int
    free_blocks_total: int
    free_blocks_suitable: int


class Line(Protocol):
    """What has states in a row: a Timeline, a Recording."""

    def __len__(self) -> int: ...
    def at(self, i: int) -> Machine: ...


class Series(NamedTuple):
    """What `unusable_over_time` found: for each moment of `at` the pages on the lists, and an index for each order."""

    zone: str
    managed_pages: int
    at: tuple[int, ...]
    free_pages: tuple[int, ...]
    unusable: dict[int, tuple[int, ...]]


@mirrors("mm/vmstat.c")
def fill_contig_page_info(zone: Zone, suitable_order: int) -> ContigPageInfo:
    """Count what is free in a zone, and how many blocks of `suitable_order` could be cut from it.

    Raises
    ------
    ValueError
        If the order is no int of at least 0.

    Notes
    -----
    Kernel: mm/vmstat.c:fill_contig_page_info at v5.4, which fills a struct that it is given.
    """
    if type(suitable_order) is not int or suitable_order < 0:
        raise ValueError(f"order must be an int >= 0, got {suitable_order!r}")
    nr_free = [area.nr_free for area in zone.free_area]
    suitable = sum(blocks << (order - suitable_order) for order, blocks in enumerate(nr_free)
                   if order >= suitable_order)
    return ContigPageInfo(zone.nr_pages_on_lists(), sum(nr_free), suitable)


@mirrors("mm/vmstat.c")
def unusable_free_index(zone: Zone, order: int) -> int:
    """Which part of the pages on the lists is of no use to a request of this order, in thousandths.

    Parameters
    ----------
    zone : Zone
    order : int
        At least 0.

    Returns
    -------
    int
        0 (all of it is of use) to 1000 (none is); 1000 if nothing is free.

    Notes
    -----
    Kernel: mm/vmstat.c:unusable_free_index at v5.4; it gets the counts, here they are made from the zone.

    Examples
    --------
    >>> import mmviz as mv
    >>> unusable_free_index(mv.toy(4).zone("DMA32"), 10)
    0
    """
    info = fill_contig_page_info(zone, order)
    if not info.free_pages:
        return 1000
    return (info.free_pages - (info.free_blocks_suitable << order)) * 1000 // info.free_pages


@mirrors("mm/vmstat.c")
def fragmentation_index(zone: Zone, order: int) -> int:
    """Would a request of this order fail for want of memory, or because memory lies in pieces? In thousandths.

    Parameters
    ----------
    zone : Zone
    order : int
        At least 0.

    Returns
    -------
    int
        -1000 if there is a block that is large enough; else towards 0 for want of memory, towards 1000 for pieces.
        0 if nothing is free, and for an order above 10. One single block gives less than 0.

    Notes
    -----
    Kernel: mm/vmstat.c:fragmentation_index, __fragmentation_index at v5.4. Watermarks are not asked.
    """
    info = fill_contig_page_info(zone, order)
    if order >= MAX_ORDER or not info.free_blocks_total:
        return 0
    if info.free_blocks_suitable:
        return -1000
    return 1000 - (1000 + info.free_pages * 1000 // (1 << order)) // info.free_blocks_total


# ---------------------------------------------------------------- over time


def unusable_over_time(line: Line, orders: Sequence[int] = (1, 2, 4, 9), *, zone: str = "DMA32", nid: int = 0,
                       points: int = 100) -> Series:
    """`unusable_free_index` at moments that lie evenly in a run.

    Parameters
    ----------
    line : Timeline or Recording
        What happened.
    orders : sequence of int
        The orders to ask for.
    zone, nid : str, int
        The zone and its node.
    points : int
        How many moments, at least 2: the first is before the first operation, the last at the end.

    Returns
    -------
    Series

    Raises
    ------
    ValueError
        If `points` is less than 2.
    KeyError
        If the machine has no such zone.

    Examples
    --------
    >>> import mmviz as mv
    >>> with mv.record(mv.toy(4)) as rec:
    ...     pfn = mv.alloc_pages(rec.live, mv.GFP_KERNEL, 0)
    >>> unusable_over_time(rec, [10], points=2).unusable
    {10: (0, 1000)}
    """
    if type(points) is not int or points < 2:
        raise ValueError(f"points must be an int of at least 2, got {points!r}")
    moments = sorted({len(line) * i // (points - 1) for i in range(points)})
    seen = [line.at(moment).zone(zone, nid) for moment in moments]
    return Series(seen[0].label, seen[0].managed_pages, tuple(moments),
                  tuple(place.nr_pages_on_lists() for place in seen),
                  {order: tuple(unusable_free_index(place, order) for place in seen) for order in orders})
