"""The structs of the page allocator: struct zone and what is in it (include/linux/mmzone.h).

A page is its pfn, an int. What the kernel keeps in struct page is here what the zone remembers of that pfn, and only
where there is something to remember:

    Machine
      node[nid]                      pg_data_t
        node_zones[zone_idx]         struct zone
          free_area[order]           free_list[migratetype]: pfns in list order, head first; nr_free
          buddy[pfn]                 PageBuddy: (order, migratetype) of the list that a free block is on
          untouched                  top-order blocks as boot left them, still at the end of their list
          pageset[cpu]               pcp lists: count, high, batch, lists[3]; differences of the counters
          pageblock[pfn >> order]    the migratetype of a pageblock, where it is not MOVABLE
          index[pfn]                 page->index of a page in flight or on a pcp list: its migratetype
          allocated[pfn]             order of a block that was handed out; refcount[pfn] where it is not 1
          compound, guard, lru       heads of compound pages, guard blocks, PageLRU

Boot leaves a zone of a terabyte with 262,144 equal blocks. They are a `range`, not entries: `untouched` is the end of
the top-order MOVABLE list, and its next block becomes an entry when the last entry before it leaves the list. Only the
top order can be treated so: nothing merges with a top-order block, and none is put at the tail.

Nothing here changes a state; the primitives of zone.py do. Simplified: no struct page, no mem_map holes; a pfn inside
the zone's span is a page. Counters that are pure sums (pgalloc, pgfree, NUMA hits) are not kept; they follow from the
events.
"""
from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from ..kernel import MAX_ORDER, MIGRATE_MOVABLE, MIGRATE_PCPTYPES
from ..trace import Trace

if TYPE_CHECKING:
    from .machine import Machine

FreeList = OrderedDict  # pfn -> None, head first
TOP_ORDER = MAX_ORDER - 1


class FreeArea:
    """struct free_area: the free blocks of one order, a list for each migratetype, and how many there are."""

    __slots__ = ("free_list", "nr_free")

    def __init__(self, migrate_types: int) -> None:
        self.free_list: list[OrderedDict[int, None]] = [FreeList() for _ in range(migrate_types)]
        self.nr_free = 0

    def copy(self) -> FreeArea:
        """A copy that shares nothing."""
        area = FreeArea(0)
        area.free_list = [FreeList(pages) if pages else FreeList() for pages in self.free_list]
        area.nr_free = self.nr_free
        return area


class PerCpuPages:
    """struct per_cpu_pages with what else per_cpu_pageset holds: one CPU's own pages of one zone.

    `lists[migratetype]` is a pile for the CPU (it takes and puts at the head, index 0) and a queue for the buddy lists
    (the flush takes from the tail). `vm_stat_diff[item]` has not reached the zone's counters yet.
    """

    __slots__ = ("batch", "count", "high", "lists", "stat_threshold", "vm_stat_diff")

    def __init__(self, high: int, batch: int, stat_threshold: int) -> None:
        self.count = 0
        self.high = high
        self.batch = batch
        self.lists: list[deque[int]] = [deque() for _ in range(MIGRATE_PCPTYPES)]
        self.stat_threshold = stat_threshold
        self.vm_stat_diff = [0, 0]

    def copy(self) -> PerCpuPages:
        """A copy that shares nothing."""
        pcp = PerCpuPages(self.high, self.batch, self.stat_threshold)
        pcp.count = self.count
        pcp.lists = [pages.copy() for pages in self.lists]
        pcp.vm_stat_diff = self.vm_stat_diff[:]
        return pcp


@dataclass(slots=True, eq=False, repr=False)
class Zone:
    """struct zone. The numbers are in pages; `zone_start_pfn` is a pfn."""

    machine: Machine
    nid: int
    zone_idx: int
    name: str
    zone_start_pfn: int
    spanned_pages: int
    present_pages: int
    managed_pages: int
    _watermark: list[int]
    lowmem_reserve: list[int]
    free_area: list[FreeArea]
    pageset: list[PerCpuPages]
    trace: Trace
    watermark_boost: int = 0
    boosted: bool = False  # ZONE_BOOSTED_WATERMARK
    nr_reserved_highatomic: int = 0
    percpu_drift_mark: int = 0
    nr_isolate_pageblock: int = 0
    vm_stat: list[int] = field(default_factory=lambda: [0, 0])
    untouched: range = range(0)
    buddy: dict[int, tuple[int, int]] = field(default_factory=dict)
    pageblock: dict[int, int] = field(default_factory=dict)
    index: dict[int, int] = field(default_factory=dict)
    allocated: dict[int, int] = field(default_factory=dict)
    refcount: dict[int, int] = field(default_factory=dict)
    compound: dict[int, int] = field(default_factory=dict)
    guard: dict[int, int] = field(default_factory=dict)
    lru: set[int] = field(default_factory=set)
    boost_seen: int = 0  # what kswapd's running pass found as the boost
    on: bool = False  # as zone.trace.on and zone.trace.tracepoints: the Trace keeps them
    tracepoints: bool = False

    def __post_init__(self) -> None:
        self.trace.follow(self)

    @property
    def label(self) -> str:
        """The zone and, where there is more than one node, its node: ``N0/DMA32``."""
        return f"N{self.nid}/{self.name}" if len(self.machine.node) > 1 else self.name

    @property
    def end_pfn(self) -> int:
        """The first pfn after the zone."""
        return self.zone_start_pfn + self.spanned_pages

    def free_list(self, order: int, migratetype: int) -> Iterator[int]:
        """The free blocks of one order and type, head first, untouched ones included."""
        entries = iter(self.free_area[order].free_list[migratetype])
        if order == TOP_ORDER and migratetype == MIGRATE_MOVABLE:
            return chain(entries, self.untouched)
        return entries

    def nr_listed(self, order: int, migratetype: int) -> int:
        """How many blocks `free_list` gives."""
        untouched = len(self.untouched) if order == TOP_ORDER and migratetype == MIGRATE_MOVABLE else 0
        return len(self.free_area[order].free_list[migratetype]) + untouched

    def nr_pages_on_lists(self) -> int:
        """Pages on the buddy lists: what is free there, whatever the counter says."""
        return sum(area.nr_free << order for order, area in enumerate(self.free_area))

    def block_of(self, pfn: int) -> tuple[int, int, int] | None:
        """(head pfn, order, migratetype) of the free block that `pfn` lies in, or None if it is on no buddy list."""
        for order in range(MAX_ORDER):
            head = pfn & -(1 << order)
            block = self.buddy.get(head)
            if block is not None and block[0] >= order:
                return head, *block
        head = pfn & -(1 << TOP_ORDER)
        return (head, TOP_ORDER, MIGRATE_MOVABLE) if head in self.untouched else None

    def copy(self, machine: Machine) -> Zone:
        """A copy for another Machine, which shares nothing with this one."""
        return Zone(machine, self.nid, self.zone_idx, self.name, self.zone_start_pfn, self.spanned_pages,
                    self.present_pages, self.managed_pages, self._watermark[:], self.lowmem_reserve[:],
                    [area.copy() for area in self.free_area], [pcp.copy() for pcp in self.pageset], machine.trace,
                    self.watermark_boost, self.boosted, self.nr_reserved_highatomic, self.percpu_drift_mark,
                    self.nr_isolate_pageblock, self.vm_stat[:], self.untouched, self.buddy.copy(),
                    self.pageblock.copy(), self.index.copy(), self.allocated.copy(), self.refcount.copy(),
                    self.compound.copy(), self.guard.copy(), self.lru.copy(), self.boost_seen)
