"""What the drawings of the page allocator read out of one state and one step, and the few marks they all share.

A drawing is given a Machine and the Step that led to it, and nothing else. Three questions come up in all of them:

    which zone?       `zone_of`   a fixed rule, so that a recording does not jump from one to the other
    what is touched?  `touched`   the pfns that the event names
    what is in hand?  `in_hand`   the block that is on no list at the moment: it was cut, merged, or is on its way

The marks that every picture has in the same place are here too: heading, remark "set by hand", and the badge of how a
request ended. The kernel's own NULL is black (REFUSED); where the simulator stops because the kernel would reclaim, the
badge is white with a broken outline (RECLAIM). They must never be taken for each other.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from ..kernel import __GFP_DIRECT_RECLAIM, MAX_ORDER, MIGRATE_MOVABLE, NR_FREE_PAGES, PF_MEMALLOC, Config
from ..mm import events as ev
from ..mm.machine import Machine
from ..mm.mmzone import TOP_ORDER, Zone
from ..recording import Step
from ..trace import Event
from .scene import Mark, Rect, Text
from .style import MUTED, RECLAIM, REFUSED, STRONG, TEXT, Meaning, free, used

WIDTH = 900.0  # of every picture
MARGIN = 16.0
RIGHT = WIDTH - MARGIN
HEAD = 64.0  # height of the heading
WAY_BACK = ("__free_pages", "free_unref_page", "free_pcppages_bulk", "__free_one_page", "free_pages_prepare")


class Block(NamedTuple):
    """2^order page frames from `pfn` on, and their migratetype (-1: not known)."""

    pfn: int
    order: int
    migratetype: int = -1


# ---------------------------------------------------------------- which zone


def zone_of(machine: Machine, zone: str | None = None, nid: int | None = None) -> Zone:
    """The zone to draw: by name and node, or the one with most managed pages.

    Raises
    ------
    ValueError
        If the machine has no such zone.
    """
    if not isinstance(machine, Machine):
        raise ValueError(f"state must be a Machine, got {type(machine).__name__}: draw(recording.at(i), recording[i])")
    names = [z for z in machine.zones() if zone in (None, z.name, z.label) and nid in (None, z.nid)]
    if not names:
        labels = ", ".join(z.label for z in machine.zones())
        where = "" if nid is None else f" of node {nid}"
        raise ValueError(f"zone must be one of {labels}, got {zone!r}{where}")
    return max(names, key=lambda z: z.managed_pages)


def whole(name: str, value: object, low: int, high: int) -> int:
    """`value` if it is an int from `low` to `high`; ValueError says what was wanted."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be an int {low:,} to {high:,}, got {value!r}")
    return value


def letter(config: Config, migratetype: int) -> str:
    """The letter of a migratetype: U M R H C I, or "" where it is not known."""
    return config.migrate_names[migratetype][0].upper() if 0 <= migratetype < config.migrate_types else ""


def type_name(config: Config, migratetype: int) -> str:
    """The name of a migratetype in capitals, or "type unknown"."""
    return config.migrate_names[migratetype].upper() if 0 <= migratetype < config.migrate_types else "type unknown"


def pageblock_type(zone: Zone, pfn: int) -> int:
    """The migratetype of the pageblock that `pfn` lies in."""
    return zone.pageblock.get(pfn >> zone.machine.config.pageblock_order, MIGRATE_MOVABLE)


# ---------------------------------------------------------------- what the step touches


def event_of(step: Step | None) -> Event | None:
    """The event of a step; None before the first."""
    return step.event if step is not None else None


def fields(event: Event | None) -> dict[str, Any]:
    """The fields of an event by name."""
    return dict(zip(event.__match_args__, event.values(), strict=True)) if event is not None else {}


def concerns(event: Event | None, zone: Zone) -> bool:
    """Whether an event is about this zone: it names it, or a pfn in it."""
    nid, zone_idx = getattr(event, "nid", None), getattr(event, "zone_idx", None)
    if zone_idx is not None:
        return (nid, zone_idx) == (zone.nid, zone.zone_idx)
    return zone.zone_start_pfn <= getattr(event, "pfn", -1) < zone.end_pfn


def touched(step: Step | None, zone: Zone) -> frozenset[int]:
    """The pfns of this zone that the event names, or the head of the list that was searched."""
    event = event_of(step)
    if event is None or not concerns(event, zone):
        return frozenset()
    found = {getattr(event, name, -1) for name in ("pfn", "buddy_pfn")} - {peeked(step)}
    if isinstance(event, ev.FreeAreaSearched) and event.found:
        found |= {next(zone.free_list(event.order, event.migratetype), -1)}
    if isinstance(event, ev.FallbackSearched) and event.fallback_mt >= 0:
        found |= {next(zone.free_list(event.order, event.fallback_mt), -1)}
    return frozenset(found - {-1})


def peeked(step: Step | None) -> int:
    """The block beside the parent, looked at only to choose between head and tail of the list; -1: none."""
    event = event_of(step)
    return event.buddy_pfn if isinstance(event, ev.BuddyChecked) and event.higher else -1


def argument(step: Step | None, name: str, symbol: str | None = None) -> int | None:
    """The innermost plain argument of this name on the call stack (of the function `symbol`)."""
    for frame in reversed(step.stack if step is not None else ()):
        value = dict(frame.args).get(name)
        if isinstance(value, int) and symbol in (None, frame.symbol):
            return value
    return None


def running(step: Step | None, symbol: str) -> bool:
    """Whether a kernel function is on the call stack."""
    return step is not None and any(frame.symbol == symbol for frame in step.stack)


# ---------------------------------------------------------------- what is in hand


def in_hand(step: Step | None, zone: Zone) -> Block | None:
    """The block that the running function holds, which is on no list: read from event, call stack and state."""
    if step is None:
        return None
    block = _named_block(step, zone) if concerns(step.event, zone) else None
    block = block or _flying_block(step, zone)
    if block is None or is_listed(zone, block.pfn):
        return None
    known = block.migratetype if block.migratetype >= 0 else zone.index.get(block.pfn, pageblock_type(zone, block.pfn))
    return block._replace(migratetype=known)


def is_listed(zone: Zone, pfn: int) -> bool:
    """Whether a page is on a buddy list or on a per-CPU list."""
    return zone.block_of(pfn) is not None or any(pfn in pages for pcp in zone.pageset for pages in pcp.lists)


def _named_block(step: Step, zone: Zone) -> Block | None:
    """The block in hand that the event itself is about."""
    event: Any = step.event
    migratetype = getattr(event, "migratetype", -1)
    if isinstance(event, ev.BlockExpanded):
        return Block(event.pfn, event.high, migratetype)
    if running(step, "expand"):
        return _cut_block(step, event)
    if isinstance(event, ev.DelPageFromFreeArea) and running(step, "__free_one_page"):
        return Block(event.pfn & -(2 << event.order), event.order + 1, migratetype)
    if isinstance(event, (ev.FreeAreaSearched, ev.FallbackSearched)) or getattr(event, "pfn", -1) < 0:
        return None
    if isinstance(event, ev.BuddyChecked):  # the question is about the block itself, or about its parent
        return Block(event.pfn, event.order - event.higher)
    order = getattr(event, "order", None)
    return Block(event.pfn, _order(step) if order is None else order, migratetype)


def _cut_block(step: Step, event: Any) -> Block | None:
    """While expand runs: what is left of the block after the half of this event is cut off."""
    pfn = argument(step, "pfn", "expand")
    migratetype = argument(step, "migratetype", "expand")
    if pfn is None or migratetype is None or not hasattr(event, "order"):
        return None
    uncut = isinstance(event, ev.GuardChecked) and not event.guarded
    return Block(pfn, event.order + uncut, migratetype)


def _flying_block(step: Step, zone: Zone) -> Block | None:
    """A page whose page->index is set, and which is on no list: it is on its way."""
    at_home = {pfn for pcp in zone.pageset for pages in pcp.lists for pfn in pages}
    for pfn in zone.index:
        if pfn not in at_home:
            return Block(pfn, _order(step), zone.index[pfn])
    return None


def _order(step: Step) -> int:
    """The order that the innermost function was asked for; single pages where none is named."""
    if running(step, "rmqueue_bulk") or running(step, "rmqueue_pcplist"):
        return 0
    return argument(step, "order") or 0


# ---------------------------------------------------------------- words


def pages(count: int) -> str:
    """A number of pages.

    Examples
    --------
    >>> pages(1), pages(1024)
    ('1 page', '1,024 pages')
    """
    return "1 page" if count == 1 else f"{count:,} pages"


def key(pfn: int) -> str:
    """The key of a block: it is named after its first page, so it stays the same mark when it is cut.

    Examples
    --------
    >>> key(0x1000)
    'block 0x1000'
    """
    return f"block {pfn:#x}"


def block_tip(config: Config, block: Block, what: str) -> str:
    """The tooltip of a block: its pfns, its size, what it is, its buddy."""
    end = block.pfn + (1 << block.order) - 1
    span = f"{block.pfn:#x}" if not block.order else f"{block.pfn:#x} to {end:#x}"
    buddy = f"buddy {block.pfn ^ (1 << block.order):#x}" if block.order < TOP_ORDER else "top order: merges no further"
    return f"{span}\norder {block.order}, {pages(1 << block.order)}, {type_name(config, block.migratetype)}\n" \
           f"{what}; {buddy}"


def counts(zone: Zone) -> dict[str, int]:
    """The three numbers that people call "free": on the lists, by the counter, with the per-CPU lists; in pages."""
    lists = zone.nr_pages_on_lists()
    return {"lists": lists, "counter": max(0, zone.vm_stat[NR_FREE_PAGES]),
            "with pcp": lists + sum(pcp.count for pcp in zone.pageset)}


def free_words(zone: Zone) -> str:
    """The three numbers in one line."""
    c = counts(zone)
    return f"lists {c['lists']:,} · counter {c['counter']:,} · with pcp {c['with pcp']:,} pages"


# ---------------------------------------------------------------- shared marks


def unique(marks: Iterable[Mark]) -> list[Mark]:
    """The marks, with another key for what stands twice: a page that was freed twice is on two lists."""
    seen: Counter[str] = Counter()
    found = []
    for mark in marks:
        seen[mark.key] += 1
        found.append(mark if seen[mark.key] == 1 else replace(mark, key=f"{mark.key} again {seen[mark.key]}"))
    return found


def heading(machine: Machine, title: str, remark: str, step: Step | None, right: float = RIGHT) -> list[Mark]:
    """Title and remark at the top left; at the top right how the request ended and what was set by hand."""
    marks: list[Mark] = [Text("title", STRONG, MARGIN, 24, title), Text("remark", MUTED, MARGIN, 42, remark)]
    if machine.by_hand:
        marks.append(Text("by hand", MUTED, right, 58, f"set by hand: {', '.join(machine.by_hand)}", anchor="end"))
    return marks + badge(machine, step, right)


def badge(machine: Machine, step: Step | None, right: float = RIGHT, y: float = 10) -> list[Mark]:
    """How a request ended, where the step says so: the page, the kernel's NULL, or "would reclaim"."""
    found = outcome(machine, step)
    if found is None:
        return []
    meaning, label, tip = found
    width = len(label) * 7.6 + 18
    return [Rect("outcome", meaning, right - width, y, width, 24, label=label, tip=tip, words=tip)]


def outcome(machine: Machine, step: Step | None) -> tuple[Meaning, str, str] | None:
    """Meaning, label and sentence of the end of a request; None while it runs."""
    event = event_of(step)
    if isinstance(event, ev.WouldReclaim) or (isinstance(event, ev.MmPageAlloc) and _stopped(machine, event)):
        what = "compact, then reclaim" if getattr(event, "what", "") == "compact" else "reclaim"
        return RECLAIM, "simulator stops: would reclaim", f"Here the kernel would {what}; the simulator stops."
    if isinstance(event, ev.AllocationFailed) or (isinstance(event, ev.MmPageAlloc) and event.pfn < 0):
        return REFUSED, "NULL", "The kernel's own answer: NULL, no page."
    if isinstance(event, ev.MmPageAlloc):
        letters = used(letter(machine.config, event.migratetype))
        return letters, f"got {event.pfn:#x}", f"The request got {pages(1 << event.order)} from {event.pfn:#x} on."
    return None


def _stopped(machine: Machine, event: ev.MmPageAlloc) -> bool:
    """Whether a request that got nothing ended at reclaim: it may reclaim, and the kernel has not refused it before."""
    may_reclaim = event.gfp_mask & __GFP_DIRECT_RECLAIM and not machine.current.flags & PF_MEMALLOC
    return event.pfn < 0 and event.order < MAX_ORDER and bool(may_reclaim)


def _is_freed(step: Step | None) -> bool:
    """Whether the block in hand is on its way back."""
    return any(running(step, symbol) for symbol in WAY_BACK)


def hand_row(zone: Zone, step: Step | None, left: float, y: float) -> list[Mark]:
    """The row under a picture of lists: the block in hand, and the three numbers that are called free."""
    block, config, event = in_hand(step, zone), zone.machine.config, event_of(step)
    is_counted = isinstance(event, (ev.ModZonePageState, ev.FoldDiff)) and concerns(event, zone)
    marks: list[Mark] = [
        Text("in hand", STRONG if block else MUTED, MARGIN, y + 15, "in hand" if block else "in hand: none"),
        Text("free", TEXT, RIGHT, y + 15, free_words(zone), anchor="end", touched=is_counted)]
    if block is None:
        return marks
    is_out, kind = block.pfn in zone.allocated, letter(config, block.migratetype)
    what = "handed out" if is_out else "being freed" if _is_freed(step) else "on no list"
    return [*marks,
            Rect(key(block.pfn), used(kind) if is_out else free(kind), left, y, 76, 20, label=f"{block.pfn:#x}",
                 touched=True, tip=block_tip(config, block, what),
                 words=f"block {block.pfn:#x} of order {block.order} is {what}"),
            Text("size in hand", MUTED, left + 86, y + 15, f"order {block.order}, {pages(1 << block.order)}, {what}")]
