"""The sentences of the page allocator's events (mm/events.py)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..kernel import MPOL_NAMES, PF_MEMALLOC_NOCMA
from . import Run

ITEMS = ("the free counter", "the free CMA counter")


def _policy(mode: int, nodes: str) -> str:
    return f"{MPOL_NAMES[mode]} {nodes and 'of nodes ' + nodes}".strip()


def _nodes(nodes: str) -> str:
    return f"only {'the nodes' if ',' in nodes else 'node'} {nodes}" if nodes else "any node"


def _watermark(w: dict[str, Any]) -> str:
    reserve = f" and {w['reserve']:,} in reserve" if w["reserve"] else ""
    count = f"{w['free']:,} page{'s' * (w['free'] != 1)} of the counter count{'s' * (w['free'] == 1)}"
    terms = f"Zone {w['zone']}: {count} for this request; {w['min']:,} must stay{reserve}."
    if w["ok"]:
        return f"{terms} It is more, so the request may pass."
    if w["free"] <= w["min"] + w["reserve"]:
        return f"{terms} It is not more, so the zone is passed over."
    return f"{terms} Enough, but there is no block of order {w['order']} or above: passed over."


def _fallback(w: dict[str, Any]) -> str:
    if w["fallback_mt"] < 0:
        return f"Order {w['order']}: no other type has a block."
    how = "and the rest of its pageblock may go too" if w["can_steal"] else "but the rest of its pageblock may not go"
    return f"Order {w['order']}: {w['fallback_mt_name']} has a block, {how}."


def _buddy(w: dict[str, Any]) -> str:
    free = "free" if w["is_buddy"] else "not free"
    if w["higher"]:
        end = "the tail: a merge is likely soon" if w["is_buddy"] else "the head"
        return (f"Where to queue {w['pfn']:#x}? The block beside its parent, {w['buddy_pfn']:#x} of order "
                f"{w['order']}, is {free}, so it goes to {end}.")
    verdict = "they merge" if w["is_buddy"] else "the merging stops"
    return (f"The buddy of {w['pfn']:#x} at order {w['order']} is {w['buddy_pfn']:#x}: {free} at that order, "
            f"so {verdict}.")


def _expanded(w: dict[str, Any]) -> str:
    if w["low"] == w["high"]:
        return f"Block {w['pfn']:#x} has the right size: nothing is cut."
    return f"Block {w['pfn']:#x} is cut from order {w['high']} down to {w['low']}; the lower half is kept each time."


def _mod_state(w: dict[str, Any]) -> str:
    counter = ITEMS[w["item"]].capitalize()
    return (f"{counter} of zone {w['zone']} moves by {w['delta']:+,}: CPU {w['cpu']} keeps that to itself until its "
            "threshold is passed.")


def _statistics(w: dict[str, Any]) -> str:
    where = "the node that was asked" if w["hit"] else f"another node than {w['preferred_nid']}, which was asked"
    return f"The page is of {where}, and {'local to' if w['local'] else 'remote from'} this CPU."


def _mm_page_alloc(w: dict[str, Any]) -> str:
    if w["pfn"] < 0:
        return f"The request for {w['pages']} ({w['gfp']}) ends without a page."
    return f"The request for {w['pages']} ({w['gfp']}) gets {w['pfn']:#x}."


def _failed(w: dict[str, Any]) -> str:
    warning = "and prints a warning" if w["warned"] else "and says nothing of it"
    return f"The kernel's own NULL: it may not reclaim for {w['gfp']}, returns nothing, {warning}."


def _would_reclaim(w: dict[str, Any]) -> str:
    what = "compact memory, then reclaim" if w["what"] == "compact" else "reclaim memory"
    return f"Here the kernel would {what}, and the simulator stops: this is no answer of the kernel."


def _nofragment(w: dict[str, Any]) -> str:
    if w["alloc_flags"] & 0x100:
        return "The first walk may not take blocks of another type: ALLOC_NOFRAGMENT."
    return "If its own lists are empty, the request may take a block of another type."


def _reserved(w: dict[str, Any]) -> str:
    verdict = "is reserved for atomic requests" if w["taken"] else "is not reserved"
    return f"The pageblock of {w['pfn']:#x} {verdict} ({w['nr_reserved']:,} pages reserved, limit {w['limit']:,})."


def _zone_locked(w: dict[str, Any]) -> str:
    goal = "for the per-CPU list" if w["percpu_refill"] else "for the request"
    return f"{w['pfn']:#x}, order {w['order']}, leaves the buddy lists {goal}."


def _current(w: dict[str, Any]) -> str:
    if w["flags"] & PF_MEMALLOC_NOCMA:
        return "From here on the task gets no CMA pages."
    return f"CPU {w['cpu']} asks{', in an interrupt' if w['in_interrupt'] else ''}."


def _extfrag(w: dict[str, Any]) -> str:
    owner = ", pageblock and all" if w["change_ownership"] else "; its pageblock stays as it was"
    return (f"{w['pfn']:#x}, order {w['fallback_order']}, goes over from {w['fallback_migratetype_name']} to "
            f"{w['alloc_migratetype_name']}{owner}.")


SENTENCES: dict[str, str | Callable[[dict[str, Any]], str]] = {
    "AddToFreeArea": "Block {pfn:#x} goes to the head of the order-{order} {migratetype_name} list.",
    "AddToFreeAreaTail": "Block {pfn:#x} goes to the tail of the order-{order} {migratetype_name} list.",
    "MoveToFreeArea": "Free block {pfn:#x} moves to the head of the order-{order} {migratetype_name} list.",
    "DelPageFromFreeArea": "Block {pfn:#x} leaves the order-{order} {migratetype_name} list.",
    "PcpListAdd": "Page {pfn:#x} goes on top of CPU {cpu}'s {migratetype_name} list.",
    "PcpListAddTail": "Page {pfn:#x} goes to the bottom of CPU {cpu}'s {migratetype_name} list.",
    "PcpListDel": "Page {pfn:#x} leaves CPU {cpu}'s {migratetype_name} list.",
    "SetPcppageMigratetype": "Page {pfn:#x} remembers the type of its list: {migratetype_name}.",
    "SetPageblockMigratetype": "The pageblock of {pfn:#x} is now {migratetype_name}.",
    "SetPageRefcounted": "{pages} from {pfn:#x} on {are} out of the allocator's hands: one reference.",
    "PageRefAdd": "The references of page {pfn:#x} change by {nr:+}.",
    "MmPageFree": "The last reference to {pfn:#x} (order {order}) is gone: it comes back.",
    "PrepCompoundPage": "{pages} from {pfn:#x} on become one compound page.",
    "SplitPage": "The block at {pfn:#x} becomes {pages} of their own.",
    "SetPageGuard": "The half at {pfn:#x}, order {order}, becomes a guard block: on no list.",
    "ClearPageGuard": "The guard block at {pfn:#x}, order {order}, is one no more.",
    "SetPageLRU": "Page {pfn:#x} goes on an LRU list.",
    "ModZonePageState": _mod_state,
    "FoldDiff": "CPU {cpu}'s differences go into the counters of zone {zone}.",
    "SetWatermarkBoost": "The boost of zone {zone}'s watermarks is now {boost:,} pages.",
    "SetBoostSeen": "kswapd notes a boost of {boost:,} pages in zone {zone}.",
    "SetZoneBoosted": "Zone {zone}'s flag ZONE_BOOSTED_WATERMARK is now {value}.",
    "SetReservedHighatomic": "Zone {zone} now keeps {nr_pages:,} pages for atomic requests.",
    "SetWatermarks": "Zone {zone}'s marks are now {wmark_min:,}, {wmark_low:,} and {wmark_high:,} pages.",
    "SetCurrent": _current,
    "SetMempolicy": lambda w: f"The task's memory policy is now {_policy(w['mode'], w['nodes'])}.",
    "SetIlPrev": "Interleaving goes on after node {il_prev}.",
    "NodemaskChosen": lambda w: f"Policy {_policy(w['mode'], '')}: {_nodes(w['nodes'])} may serve.",
    "InterleaveChosen": lambda w: f"It was the turn of node {w['nid']}, and "
                                  f"{'it served' if w['hit'] else 'another had to serve, or none did'}.",
    "RequestPrepared": "A request for {pages} ({gfp}): zone {high_zone} or below, type {migratetype_name}.",
    "PreferredZoneChosen": "The walk begins at zone {zone} of node {nid}.",
    "NofragmentChosen": _nofragment,
    "NofragmentDropped": "No block of its own type ({reason}): the walk starts again, and may take another's.",
    "WatermarkChecked": _watermark,
    "NodeReclaimed": "node_reclaim of node {nid} answers {outcome}.",
    "PcpListFoundEmpty": "CPU {cpu}'s own {migratetype_name} list of zone {zone} is empty: a batch is fetched.",
    "FreeAreaSearched": lambda w: f"Order {w['order']}, {w['migratetype_name']}: "
                                   f"{'a block is there' if w['found'] else 'the list is empty'}.",
    "BlockExpanded": _expanded,
    "GuardChecked": lambda w: f"The upper half, {w['pfn']:#x} of order {w['order']}, "
                               f"{'is kept as a guard block' if w['guarded'] else 'goes back to a free list'}.",
    "FallbackSearched": _fallback,
    "StealDecided": lambda w: f"{w['free']} free and {w['alike']} alike pages: the pageblock "
                               f"{'changes hands' if w['claimed'] else 'stays with its owner'}.",
    "BuddyChecked": _buddy,
    "PcpFlushPlanned": "CPU {cpu} gives pages of zone {zone} back, {count:,} in all: the oldest of each type in turn.",
    "PagesCleared": "{pages} from {pfn:#x} on {are} filled with zeros.",
    "ZoneStatistics": _statistics,
    "HighatomicReserved": _reserved,
    "KswapdWoken": "kswapd of node {nid} is woken ({why}); it is not simulated.",
    "SlowpathEntered": "The fast path found nothing. The slow path tries again, down to the MIN mark.",
    "WouldReclaim": _would_reclaim,
    "AllocationFailed": _failed,
    "Warned": "The kernel would warn: {text}.",
    "BadPage": "BUG: Bad page state: {pfn:#x} has {refcount} references on a free list. It is left out for good.",
    "MmPageAlloc": _mm_page_alloc,
    "MmPageAllocZoneLocked": _zone_locked,
    "MmPagePcpuDrain": "Page {pfn:#x} is back on the buddy lists, type {migratetype_name}.",
    "MmPageFreeBatched": "Page {pfn:#x} of the list is committed.",
    "MmPageAllocExtfrag": _extfrag,
}


def _place(event: Any) -> tuple[int, int, int]:
    return event.nid, event.zone_idx, event.migratetype if hasattr(event, "migratetype") else event.start_mt


SEARCHED = Run("searched", lambda event: None if event.found else _place(event), 2,
               lambda w: f"Orders {w[0]['order']} to {w[-1]['order']}, {w[0]['migratetype_name']}: the lists are "
                         "empty.")
FALLBACK = Run("fallback", lambda event: _place(event) if event.fallback_mt < 0 else None, 2,
               lambda w: f"Orders {w[0]['order']} to {w[-1]['order']}: no other type has a block.")
HALF = Run("half", lambda event: None if getattr(event, "guarded", False) else event.pfn, 2,
           lambda w: f"The upper half, {w[-1]['pfn']:#x}, goes to the head of the order-{w[-1]['order']} "
                     f"{w[-1]['migratetype_name']} list.")
RUNS = {"FreeAreaSearched": SEARCHED, "FallbackSearched": FALLBACK, "GuardChecked": HALF, "AddToFreeArea": HALF}
