"""Wrong machines: what v5.4 does not do, and what somebody who predicts its next step may expect of it.

Each is v5.4 with one rule replaced (see `patched`). A prediction that is wrong for v5.4 may be right for one of them:
then there is an experiment to run, and the two machines can be looked at side by side.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from ..kernel import MAX_ORDER, NR_FREE_PAGES
from . import events as ev
from .fallback import __steal, find_suitable_fallback
from .mmzone import Zone
from .patched import Kernel, patched
from .rmqueue import __rmqueue, expand
from .zone import (
    __mod_zone_page_state,
    add_to_free_area,
    del_page_from_free_area,
    pcp_list_add,
    pcp_list_add_tail,
    set_pageblock_migratetype,
    set_pcppage_migratetype,
)

# ---------------------------------------------------------------- which block


def last_of_list(zone: Zone, order: int, migratetype: int) -> int | None:
    """get_page_from_free_area that takes the tail of a list instead of its head."""
    return next(reversed(list(zone.free_list(order, migratetype))), None)


def second_of_list(zone: Zone, order: int, migratetype: int) -> int | None:
    """get_page_from_free_area that takes the second block of a list, where there is one."""
    pages = list(zone.free_list(order, migratetype))[:2]
    return pages[-1] if pages else None


def lowest_address(zone: Zone, order: int, migratetype: int) -> int | None:
    """get_page_from_free_area that takes the block of a list with the lowest address."""
    return min(zone.free_list(order, migratetype), default=None)


def largest_first(zone: Zone, order: int, migratetype: int) -> int | None:
    """__rmqueue_smallest that begins at the top: the first block of the largest order there is."""
    for current_order in reversed(range(order, MAX_ORDER)):
        pfn = next(zone.free_list(current_order, migratetype), None)
        if zone.on:
            zone.trace.emit(ev.FreeAreaSearched(zone.nid, zone.zone_idx, current_order, migratetype, pfn is not None))
        if pfn is not None:
            del_page_from_free_area(zone, pfn, current_order, migratetype)
            expand(zone, pfn, order, current_order, migratetype)
            set_pcppage_migratetype(zone, pfn, migratetype)
            return pfn
    return None


# ---------------------------------------------------------------- which half, which end


def upper_half(zone: Zone, order: int, migratetype: int) -> int | None:
    """__rmqueue_smallest that keeps the upper half each time, and gives the lower one back."""
    for current_order in range(order, MAX_ORDER):
        pfn = next(zone.free_list(current_order, migratetype), None)
        if zone.on:
            zone.trace.emit(ev.FreeAreaSearched(zone.nid, zone.zone_idx, current_order, migratetype, pfn is not None))
        if pfn is not None:
            del_page_from_free_area(zone, pfn, current_order, migratetype)
            kept = expand_upper(zone, pfn, order, current_order, migratetype)
            set_pcppage_migratetype(zone, kept, migratetype)
            return kept
    return None


def expand_upper(zone: Zone, pfn: int, low: int, high: int, migratetype: int) -> int:
    """expand the other way round: each lower half goes back. Returns the pfn that is kept."""
    if zone.on:
        zone.trace.emit(ev.BlockExpanded(zone.nid, zone.zone_idx, pfn, low, high, migratetype))
    kept = pfn
    for order in reversed(range(low, high)):
        add_to_free_area(zone, kept, order, migratetype)
        kept += 1 << order
    return kept


def never_alone(zone: Zone, pfn: int, buddy_pfn: int, order: int, higher: bool) -> bool:
    """page_is_buddy that never finds one: nothing merges."""
    if zone.on:
        zone.trace.emit(ev.BuddyChecked(zone.nid, zone.zone_idx, pfn, buddy_pfn, order, False, higher))
    return False


def always_soon(zone: Zone, pfn: int, buddy_pfn: int, order: int, higher: bool) -> bool:
    """page_is_buddy that expects a second merge to be near each time, so that every freed block goes to the tail."""
    is_buddy = higher or zone.buddy.get(buddy_pfn, (-1, 0))[0] == order
    if zone.on:
        zone.trace.emit(ev.BuddyChecked(zone.nid, zone.zone_idx, pfn, buddy_pfn, order, is_buddy, higher))
    return is_buddy


# ---------------------------------------------------------------- per-CPU lists, other types, watermarks


def one_at_a_time(zone: Zone, count: int, migratetype: int, alloc_flags: int) -> int:
    """rmqueue_bulk that fetches the one page that is asked for."""
    pfn = __rmqueue(zone, 0, migratetype, alloc_flags)
    if pfn is None:
        return 0
    cpu = zone.machine.current.cpu
    pcp_list_add_tail(zone, cpu, migratetype, pfn)
    __mod_zone_page_state(zone, cpu, NR_FREE_PAGES, -1)
    return 1


def smallest_theft(zone: Zone, order: int, start_migratetype: int, alloc_flags: int) -> bool:
    """__rmqueue_fallback that takes the smallest block that is enough, of whatever type asks."""
    for current_order in range(order, MAX_ORDER):
        fallback_mt, can_steal = find_suitable_fallback(zone, current_order, start_migratetype)
        if fallback_mt >= 0:
            __steal(zone, order, current_order, start_migratetype, fallback_mt, can_steal, alloc_flags)
            return True
    return False


def never_claimed(zone: Zone, pfn: int, start_type: int, old_type: int, free: int, movable: int) -> None:
    """__claim_pageblock that leaves every pageblock to its owner."""
    if zone.on:
        zone.trace.emit(ev.StealDecided(zone.nid, zone.zone_idx, pfn, free, 0, False))


def always_claimed(zone: Zone, pfn: int, start_type: int, old_type: int, free: int, movable: int) -> None:
    """__claim_pageblock that asks for no half."""
    if zone.on:
        zone.trace.emit(ev.StealDecided(zone.nid, zone.zone_idx, pfn, free, 0, True))
    set_pageblock_migratetype(zone, pfn, start_type)


def no_watermark(zone: Zone, order: int, mark: int, classzone_idx: int, alloc_flags: int) -> bool:
    """zone_watermark_fast that every zone passes."""
    return True


def no_privileges(mark: int, alloc_flags: int) -> int:
    """__min_after_privileges that lowers no mark."""
    return mark


def whole_block(zone: Zone, order: int, alloc_flags: int) -> int:
    """__unusable_pages that takes off all 2^order pages of the request."""
    return 1 << order


def nothing_off(zone: Zone, order: int, alloc_flags: int) -> int:
    """__unusable_pages that takes nothing off the counter."""
    return 0


def no_mask(machine: object, zone: Zone | None, gfp_mask: int) -> int:
    """alloc_flags_nofragment that lets every request take blocks of another type at once."""
    return 0


# ---------------------------------------------------------------- all of them


class Variant(NamedTuple):
    """A wrong machine: what it does instead, in words, and what of v5.4 is replaced by what."""

    does: str
    changes: dict[str, Callable[..., Any]]


VARIANTS: dict[str, Variant] = {
    "head_only": Variant("puts every block at the head of its list", {"add_to_free_area_tail": add_to_free_area}),
    "tail_only": Variant("puts every freed block at the tail of its list", {"page_is_buddy": always_soon}),
    "upper_half": Variant("keeps the upper half of what it cuts", {"__rmqueue_smallest": upper_half}),
    "last_of_list": Variant("takes blocks from the tail of a list", {"get_page_from_free_area": last_of_list}),
    "second_of_list": Variant("takes the second block of a list", {"get_page_from_free_area": second_of_list}),
    "lowest_address": Variant("takes the block with the lowest address of a list",
                              {"get_page_from_free_area": lowest_address}),
    "largest_first": Variant("begins its search at the largest order", {"__rmqueue_smallest": largest_first}),
    "no_merge": Variant("never merges", {"page_is_buddy": never_alone}),
    "queue": Variant("puts a freed page under the pile, and takes from the top", {"pcp_list_add": pcp_list_add_tail}),
    "refill_on_top": Variant("puts each page of a refill on top of the pile", {"pcp_list_add_tail": pcp_list_add}),
    "one_at_a_time": Variant("fetches one page at a time", {"rmqueue_bulk": one_at_a_time}),
    "smallest_theft": Variant("takes the smallest block of another type", {"__rmqueue_fallback": smallest_theft}),
    "never_claimed": Variant("leaves every pageblock to its owner", {"__claim_pageblock": never_claimed}),
    "always_claimed": Variant("lets a pageblock change hands each time", {"__claim_pageblock": always_claimed}),
    "no_watermark": Variant("tests no watermark", {"zone_watermark_fast": no_watermark}),
    "no_privileges": Variant("knows no privileges", {"__min_after_privileges": no_privileges}),
    "whole_block": Variant("takes all pages of the request off the counter", {"__unusable_pages": whole_block}),
    "nothing_off": Variant("takes nothing off the counter", {"__unusable_pages": nothing_off}),
    "no_nofragment": Variant("lets the first walk take blocks of another type", {"alloc_flags_nofragment": no_mask}),
}


@cache
def variant(name: str) -> Kernel:
    """The kernel of that name.

    Raises
    ------
    ValueError
        If there is none.

    >>> variant("queue")
    Kernel(v5.4 with pcp_list_add replaced)
    """
    if name not in VARIANTS:
        raise ValueError(f"a wrong machine must be one of {', '.join(VARIANTS)}, got {name!r}")
    return patched(**VARIANTS[name].changes)
