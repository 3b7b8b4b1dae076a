"""What the page allocator can say.

A *change* bears the name of the kernel helper that makes it and carries plain numbers that find their place in any
copy of the Machine: replaying the changes rebuilds the state. A *decision* is a noun and a participle, changes
nothing, and says what was looked at and what came of it.

Fields: `nid` node, `zone_idx` zone index in the node, `cpu`, `pfn` page frame number, `order` 0..10,
`migratetype` 0..MIGRATE_TYPES-1. Counts are in pages.
"""
from __future__ import annotations

from typing import ClassVar

from ..trace import Event, event

# ---------------------------------------------------------------- changes: each has a primitive in zone.py


@event
class ZoneEvent(Event):
    """Base of what happens in one zone."""

    nid: int
    zone_idx: int


@event
class BlockChange(ZoneEvent):
    """Base of what happens to a block on a free list."""

    pfn: int
    order: int
    migratetype: int


@event
class PcpChange(ZoneEvent):
    """Base of what happens to a page on a per-CPU list."""

    cpu: int
    migratetype: int
    pfn: int


@event
class AddToFreeArea(BlockChange):
    """A block became the first of a free list."""


@event
class AddToFreeAreaTail(BlockChange):
    """A block became the last of a free list."""


@event
class MoveToFreeArea(BlockChange):
    """A free block went over to the head of another type's list; nr_free stays."""


@event
class DelPageFromFreeArea(BlockChange):
    """A block left its free list."""


@event
class PcpListAdd(PcpChange):
    """A page was put on top of a per-CPU list."""


@event
class PcpListAddTail(PcpChange):
    """A page was put at the bottom of a per-CPU list, by a refill."""


@event
class PcpListDel(PcpChange):
    """A page left the top or the bottom of a per-CPU list."""


@event
class SetPcppageMigratetype(ZoneEvent):
    """page->index of a page in flight or on a per-CPU list was set to a migratetype."""

    pfn: int
    migratetype: int


@event
class SetPageblockMigratetype(ZoneEvent):
    """A pageblock changed its type."""

    pfn: int
    migratetype: int


@event
class SetPageRefcounted(ZoneEvent):
    """A block is out of the allocator's hands: its first page has one reference."""

    pfn: int
    order: int


@event
class PageRefAdd(ZoneEvent):
    """References were added to a page, or taken without reaching zero."""

    pfn: int
    nr: int


@event
class MmPageFree(ZoneEvent):
    """The last reference is gone; the page forgets its owner and comes back to the allocator."""

    tracepoint: ClassVar[str | None] = "kmem:mm_page_free"
    pfn: int
    order: int


@event
class PrepCompoundPage(ZoneEvent):
    """A block became a compound page: one head, and tails that point to it."""

    pfn: int
    order: int


@event
class SplitPage(ZoneEvent):
    """A block became 2^order single pages, each with a reference of its own."""

    pfn: int
    order: int


@event
class SetPageGuard(ZoneEvent):
    """A split-off half became a guard block: on no list, and not counted as free."""

    pfn: int
    order: int


@event
class ClearPageGuard(ZoneEvent):
    """A guard block is one no more; its buddy merges with it."""

    pfn: int
    order: int


@event
class SetPageLRU(ZoneEvent):
    """A page went on an LRU list (it is a user's or the page cache's)."""

    pfn: int


@event
class ModZonePageState(ZoneEvent):
    """A counter of the zone moved: first in this CPU's difference, in the zone when that passes stat_threshold."""

    cpu: int
    item: int
    delta: int


@event
class FoldDiff(ZoneEvent):
    """A CPU's differences went into the zone's counters."""

    cpu: int


@event
class SetWatermarkBoost(ZoneEvent):
    """All three watermarks of a zone were raised, or let down again."""

    boost: int


@event
class SetBoostSeen(ZoneEvent):
    """kswapd noted the boost that it found at the start of its pass (0: the pass is over)."""

    boost: int


@event
class SetZoneBoosted(ZoneEvent):
    """ZONE_BOOSTED_WATERMARK was set (1) or cleared (0)."""

    value: int


@event
class SetReservedHighatomic(ZoneEvent):
    """nr_reserved_highatomic changed."""

    nr_pages: int


@event
class SetWatermarks(ZoneEvent):
    """The three marks were computed anew; the boost is zero after it."""

    wmark_min: int
    wmark_low: int
    wmark_high: int


@event
class SetCurrent(Event):
    """Another task runs, or the same one elsewhere: CPU, PF_* flags, interrupt, real-time, OOM victim."""

    cpu: int
    flags: int
    in_interrupt: int
    rt_task: int
    oom_victim: int


@event
class SetMempolicy(Event):
    """The running task has another memory policy; `nodes` as text: "0,2"."""

    mode: int
    nodes: str


@event
class SetIlPrev(Event):
    """The running task's last interleaved node."""

    il_prev: int


# ---------------------------------------------------------------- decisions


@event
class Decision(Event):
    """Base of the events that change nothing."""

    decision: ClassVar[bool] = True


@event
class ZoneDecision(ZoneEvent):
    """Base of the decisions about one zone."""

    decision: ClassVar[bool] = True


@event
class NodemaskChosen(Decision):
    """The memory policy was asked which nodes may serve: "0,2", or "" for any."""

    mode: int
    nodes: str


@event
class InterleaveChosen(Decision):
    """A request by turns asked node `nid`; `hit` if it was served there (numa_interleave)."""

    nid: int
    hit: bool


@event
class RequestPrepared(Decision):
    """The gfp mask was read: the highest zone allowed, and the migratetype."""

    gfp_mask: int
    order: int
    nid: int
    high_zoneidx: int
    migratetype: int


@event
class PreferredZoneChosen(ZoneDecision):
    """The first eligible zone of the zonelist; both -1 if there is none."""


@event
class NofragmentChosen(ZoneDecision):
    """Whether the first pass may steal from other types."""

    alloc_flags: int


@event
class NofragmentDropped(Decision):
    """ALLOC_NOFRAGMENT was taken back and the walk starts again (label retry). Reason: "remote" or "exhausted"."""

    reason: str


@event
class WatermarkChecked(ZoneDecision):
    """free > min + reserve? `free` and `min` are what was compared, after order, reserves and privileges."""

    order: int
    mark: int
    free: int
    min: int
    reserve: int
    ok: bool
    reason: str


@event
class NodeReclaimed(Decision):
    """node_reclaim was asked and did nothing: outcome "NOSCAN", "FULL" or "WOULD_SCAN"."""

    nid: int
    outcome: str


@event
class PcpListFoundEmpty(ZoneDecision):
    """This CPU's list of one type is empty: a batch is fetched from the buddy lists."""

    cpu: int
    migratetype: int


@event
class FreeAreaSearched(ZoneDecision):
    """One order of the buddy lists was looked at for one type."""

    order: int
    migratetype: int
    found: bool


@event
class BlockExpanded(ZoneDecision):
    """A block of order `high` is cut down to order `low`; the lower half is kept each time."""

    pfn: int
    low: int
    high: int
    migratetype: int


@event
class GuardChecked(ZoneDecision):
    """set_page_guard was asked whether to keep a half as a guard block."""

    pfn: int
    order: int
    guarded: bool


@event
class FallbackSearched(ZoneDecision):
    """One order was looked at for a block of another type; fallback_mt is -1 if there is none."""

    order: int
    start_mt: int
    fallback_mt: int
    can_steal: bool


@event
class StealDecided(ZoneDecision):
    """free + alike pages against half a pageblock: does the pageblock change hands?"""

    pfn: int
    free: int
    alike: int
    claimed: bool


@event
class BuddyChecked(ZoneDecision):
    """Is the partner block free, and of the same order?

    `higher`: asked of the block beside the parent, only to choose between the head and the tail of the list.
    """

    pfn: int
    buddy_pfn: int
    order: int
    is_buddy: bool
    higher: bool


@event
class PcpFlushPlanned(ZoneDecision):
    """free_pcppages_bulk chose which pages go back, oldest first, type by type."""

    cpu: int
    count: int


@event
class PagesCleared(ZoneDecision):
    """2^order pages were filled with zeros (clear_highpage for each)."""

    pfn: int
    order: int


@event
class ZoneStatistics(ZoneDecision):
    """NUMA counters: "hit" or "miss" (then foreign on the preferred zone), and "local" or "other"."""

    preferred_nid: int
    hit: bool
    local: bool


@event
class HighatomicReserved(ZoneDecision):
    """A pageblock was asked for the highatomic reserve: the limit in pages, and whether it was taken."""

    pfn: int
    nr_reserved: int
    limit: int
    taken: bool


@event
class KswapdWoken(ZoneDecision):
    """wakeup_kswapd was called for a zone; kswapd itself is not simulated."""

    order: int
    why: str


@event
class SlowpathEntered(Decision):
    """The fast path found nothing: these flags are tried next."""

    gfp_mask: int
    order: int
    alloc_flags: int


@event
class WouldReclaim(Decision):
    """The kernel would now reclaim, compact or kill; the simulator stops. This is not the kernel's own NULL.

    `what`: "compact", "reclaim".
    """

    what: str
    order: int
    gfp_mask: int


@event
class AllocationFailed(Decision):
    """The kernel's own NULL (label nopage); `warned` if it would print a page allocation failure."""

    order: int
    gfp_mask: int
    warned: bool


@event
class Warned(Decision):
    """WARN_ON_ONCE: the kernel would print a warning and go on."""

    text: str


@event
class BadPage(ZoneDecision):
    """"BUG: Bad page state": a page from a free list is not as a free page should be, and is leaked."""

    pfn: int
    refcount: int


@event
class MmPageAlloc(Decision):
    """A request ended; pfn is -1 if it got nothing."""

    tracepoint: ClassVar[str | None] = "kmem:mm_page_alloc"
    pfn: int
    order: int
    migratetype: int
    gfp_mask: int


@event
class MmPageAllocZoneLocked(Decision):
    """A block left the buddy lists, under zone->lock; `percpu_refill` if it is to go to a per-CPU list."""

    tracepoint: ClassVar[str | None] = "kmem:mm_page_alloc_zone_locked"
    pfn: int
    order: int
    migratetype: int
    percpu_refill: bool


@event
class MmPagePcpuDrain(Decision):
    """A page of a per-CPU list went back to the buddy lists."""

    tracepoint: ClassVar[str | None] = "kmem:mm_page_pcpu_drain"
    pfn: int
    order: int
    migratetype: int


@event
class MmPageFreeBatched(Decision):
    """A page of a list was committed to the per-CPU lists."""

    tracepoint: ClassVar[str | None] = "kmem:mm_page_free_batched"
    pfn: int


@event
class MmPageAllocExtfrag(Decision):
    """A block of another type was taken; `change_ownership` if its pageblock now has the taker's type."""

    tracepoint: ClassVar[str | None] = "kmem:mm_page_alloc_extfrag"
    pfn: int
    alloc_order: int
    fallback_order: int
    alloc_migratetype: int
    fallback_migratetype: int
    change_ownership: bool
