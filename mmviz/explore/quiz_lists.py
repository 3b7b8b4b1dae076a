"""Questions about lists and blocks: which order, which block, which half, which buddy, which end, which pages.

Each takes a recording and a step number, and returns a Question or None (see questions.py).
"""
from __future__ import annotations

from collections.abc import Iterator

from ..kernel import MAX_ORDER
from ..mm import events as ev
from ..mm.mmzone import Zone
from ..recording import Recording
from .questions import (
    Option,
    Question,
    Value,
    event_at,
    events_from,
    option,
    pages,
    question,
    searches,
    type_name,
    whereabouts,
    zone_at,
)

MOST_PAGES = 8  # of a refill, written out
ADDS = (ev.AddToFreeArea, ev.AddToFreeAreaTail)


# ---------------------------------------------------------------- the search


def ask_order_found(recording: Recording, number: int) -> Question | None:
    """At which order does the search find a block? Not asked where the first look finds one."""
    run = searches(recording, number)
    if len(run) < 2:
        return None
    zone, low, found, mt = zone_at(recording, number), run[0].order, run[-1].order, run[0].migratetype
    name = type_name(zone, mt)
    text = (f"Zone {zone.label} is asked for a block of order {low}, type {name}. "
            "Which is the first order that has one?")
    right = option(found, f"order {found}", f"Order {found} is the first, from {low} upwards, whose {name} list has a "
                   "block; there the search ends", "__rmqueue_smallest")
    marks: dict[str, Value] = {f"{what} {order}": order for order in range(MAX_ORDER) for what in ("order", "nr_free")}
    marks |= {f"block {pfn:#x}": order for pfn, (order, kind) in zone.buddy.items() if kind == mt}
    return question("order_found", text, right, _other_orders(zone, low, found, mt), number, zone, marks)


def _other_orders(zone: Zone, low: int, found: int, mt: int) -> Iterator[Option]:
    name = type_name(zone, mt)
    empty = list(range(low, found))
    for order in sorted(empty, key=lambda order: -zone.free_area[order].nr_free)[:2]:
        others = "its blocks are of other types" if zone.free_area[order].nr_free else "nothing is there"
        yield option(order, f"order {order}", f"The {name} list of order {order} is empty: {others}, and the search "
                     "goes one order up", "__rmqueue_smallest")
    above = [order for order in range(found + 1, MAX_ORDER) if zone.nr_listed(order, mt)]
    for order in above[:1] + above[-1:]:
        yield option(order, f"order {order}", f"Order {order} has a block too, but the search has ended at order "
                     f"{found}: the smallest that is large enough", "__rmqueue_smallest")
    if found + 1 < MAX_ORDER:
        yield option(found + 1, f"order {found + 1}", f"The search does not come so far: order {found} has a block",
                     "__rmqueue_smallest")
    if low:
        yield option(low - 1, f"order {low - 1}", f"A block of order {low - 1} is half as large as what is asked; the "
                     f"search begins at order {low}", "__rmqueue_smallest")


def ask_block_taken(recording: Recording, number: int) -> Question | None:
    """Which block does the search take off its list? Not asked where that list has one block alone."""
    run = searches(recording, number)
    taken = event_at(recording, number + len(run))
    if not run or not isinstance(taken, ev.DelPageFromFreeArea):
        return None
    zone, low = zone_at(recording, number), run[0].order
    if zone.nr_listed(taken.order, taken.migratetype) < 2:
        return None
    name = type_name(zone, taken.migratetype)
    text = (f"Zone {zone.label} is asked for a block of order {low}, type {name}. "
            "At which page frame does the block begin that is taken?")
    right = option(taken.pfn, f"{taken.pfn:#x}", f"{taken.pfn:#x} is the head of the order-{taken.order} {name} list, "
                   "the first list from below that has a block", "__rmqueue_smallest")
    wrong = list(_other_blocks(zone, low, taken))
    marks: dict[str, Value] = {f"block {block.value:#x}": block.value for block in [right, *wrong]
                               if isinstance(block.value, int)}
    return question("block_taken", text, right, wrong, number, zone, marks)


def _other_blocks(zone: Zone, low: int, taken: ev.DelPageFromFreeArea) -> Iterator[Option]:
    order, mt = taken.order, taken.migratetype
    blocks = list(zone.free_list(order, mt))
    yield _block(blocks[-1], f"That is the tail of the order-{order} list; blocks are taken from the head",
                 "get_page_from_free_area")
    yield _block(min(blocks), "It has the lowest address, but lists are not sorted: the head is taken",
                 "get_page_from_free_area")
    if order > low:
        yield _block(taken.pfn + (1 << (order - 1)), f"That is the upper half of {taken.pfn:#x}; the lower half is "
                     "kept and the upper goes back", "expand")
    larger = next((k for k in range(order + 1, MAX_ORDER) if zone.nr_listed(k, mt)), -1)
    if larger >= 0:
        yield _block(next(zone.free_list(larger, mt)), f"It is of order {larger}, and order {order} is searched first",
                     "__rmqueue_smallest")
    yield _block(blocks[1], "It is the second of its list; only the head is looked at", "get_page_from_free_area")


def _block(pfn: int, reason: str, symbol: str) -> Option:
    return option(pfn, f"{pfn:#x}", reason, symbol)


# ---------------------------------------------------------------- the cut


def ask_half_back(recording: Recording, number: int) -> Question | None:
    """Which half goes back first, to which list and end? Not asked where nothing is cut or a guard page is kept."""
    cut = event_at(recording, number)
    if not isinstance(cut, ev.BlockExpanded) or cut.low >= cut.high:
        return None
    back = next((s.event for s in recording.steps[number + 1:] if not isinstance(s.event, ev.GuardChecked)), None)
    if not isinstance(back, ev.AddToFreeArea):
        return None
    zone = zone_at(recording, number)
    text = (f"Block {cut.pfn:#x} of order {cut.high} is in hand; a block of order {cut.low} was asked for. "
            "What goes back first, and where to?")
    right = _half(back.pfn, back.order, "head", f"The lower half is kept; the upper one, {back.pfn:#x}, goes to the "
                  f"head of the order-{back.order} list")
    return question("half_back", text, right, _other_halves(cut), number, zone)


def _other_halves(cut: ev.BlockExpanded) -> Iterator[Option]:
    order, upper = cut.high - 1, cut.pfn + (1 << (cut.high - 1))
    yield _half(upper, order, "tail", "The right half and list, but expand adds at the head; the tail is chosen only "
                "when a block is freed")
    yield _half(cut.pfn, order, "head", "The lower half is the one that is kept")
    if order > cut.low:
        last = cut.pfn + (1 << cut.low)
        yield _half(last, cut.low, "head", f"This half comes last: the block is halved from order {cut.high} downwards")
    yield _half(cut.pfn, order, "tail", "The lower half is kept, and halves are added at the head")
    yield _half(upper, cut.high, "head", f"A half of an order-{cut.high} block has order {order}")


def _half(pfn: int, order: int, end: str, reason: str) -> Option:
    return option(f"{pfn:#x} {order} {end}", f"{pfn:#x} to the {end} of order {order}", reason, "expand")


# ---------------------------------------------------------------- the way back


def ask_merge(recording: Recording, number: int) -> Question | None:
    """Does a freed block merge, and with which? Not asked where only the end of the list is in question."""
    event = event_at(recording, number)
    if not isinstance(event, ev.BuddyChecked) or event.higher:
        return None
    zone, size = zone_at(recording, number), 1 << event.order
    side = event.pfn - size if event.buddy_pfn > event.pfn else event.pfn + size
    with_buddy = _merge(event.buddy_pfn, f"{event.buddy_pfn:#x} differs from {event.pfn:#x} in bit {event.order} alone "
                        "and is free at the same order" if event.is_buddy else
                        f"That is the buddy, but {whereabouts(zone, event.buddy_pfn)}", "page_is_buddy")
    alone = option("no", "with no block", f"The buddy {event.buddy_pfn:#x} is free and of the same "
                   "order, so they merge" if event.is_buddy else f"The buddy {whereabouts(zone, event.buddy_pfn)}; the "
                   "merging ends", "page_is_buddy")
    right = with_buddy if event.is_buddy else alone
    beside = _merge(side, f"{side:#x} lies beside it, but the buddy of {event.pfn:#x} at order {event.order} is "
                    f"{event.buddy_pfn:#x}: bit {event.order} flipped", "__free_one_page")
    text = f"Block {event.pfn:#x} of order {event.order} is being freed. With which block does it merge now?"
    known = [with_buddy, alone] + [beside] * (zone.zone_start_pfn <= side < zone.end_pfn)
    marks: dict[str, Value] = {f"block {pfn:#x}": pfn for pfn in (event.buddy_pfn, side)}
    return question("merge", text, right, known, number, zone, marks)


def _merge(pfn: int, reason: str, symbol: str) -> Option:
    return option(pfn, f"with block {pfn:#x}", reason[0].upper() + reason[1:], symbol)


def ask_head_or_tail(recording: Recording, number: int) -> Question | None:
    """Head or tail of its list? Not asked where the list is empty: then both are one."""
    peek, back = event_at(recording, number), event_at(recording, number + 1)
    if not isinstance(peek, ev.BuddyChecked) or not peek.higher or not isinstance(back, ADDS):
        return None
    zone, order, beside = zone_at(recording, number), back.order, peek.buddy_pfn
    if not zone.nr_listed(order, back.migratetype):
        return None
    is_free = "is free, so two merges may come soon and it had better wait" if peek.is_buddy else \
        "is not free as a whole, so no second merge is near"
    why = f"The block beside its parent, {beside:#x} of order {order + 1}, {is_free}"
    right = "tail" if isinstance(back, ev.AddToFreeAreaTail) else "head"
    text = (f"Block {back.pfn:#x} of order {order} is free and merges no further. "
            f"Where on the {type_name(zone, back.migratetype)} lists does it go?")
    ends = {end: option(end, f"{end} of the order-{order} list", why, "__free_one_page") for end in ("head", "tail")}
    others = [*ends.values(),
              option("sorted", f"by address, into the order-{order} list", "Free lists are not sorted: a block goes to "
                     "one of the two ends", "__free_one_page"),
              option("parent", f"head of the order-{order + 1} list", f"That takes a merge, and its buddy "
                     f"{back.pfn ^ (1 << order):#x} is not free at order {order}", "page_is_buddy")]
    return question("head_or_tail", text, ends[right], others, number, zone)


# ---------------------------------------------------------------- the per-CPU list


def ask_pcp_fill(recording: Recording, number: int) -> Question | None:
    """Which pages fill an empty per-CPU list, top first? Not asked where one page comes."""
    empty = event_at(recording, number)
    if not isinstance(empty, ev.PcpListFoundEmpty):
        return None
    filled = [step.event.pfn for step in events_from(recording, number, (ev.PcpListDel, ev.MmPageAlloc))
              if isinstance(step.event, ev.PcpListAddTail)]
    if not 2 <= len(filled) <= MOST_PAGES:
        return None
    zone = zone_at(recording, number)
    text = (f"CPU {empty.cpu}'s {type_name(zone, empty.migratetype)} list of zone {zone.label} is empty, and one page "
            f"is asked for; batch is {zone.pageset[empty.cpu].batch}. What is put on the list, top first?")
    right = _pile(filled, "Each page is taken from the buddy lists in turn and put at the tail, so the first one taken "
                  "is on top")
    return question("pcp_fill", text, right, _other_piles(zone, filled, empty.migratetype), number, zone)


def _other_piles(zone: Zone, filled: list[int], mt: int) -> Iterator[Option]:
    n = len(filled)
    yield _pile(filled[::-1], "The right pages, but each goes to the tail: the first one taken stays on top")
    yield _pile(sorted(filled), "The right pages, but nobody sorts them: they come as the free lists give them")
    block = zone.block_of(filled[0])
    if block and block[1]:
        end = block[0] + (1 << block[1])
        yield _pile(list(range(end - 1, max(end - n, block[0]) - 1, -1)), f"Block {block[0]:#x} is used from its "
                    "lower end: when it is cut the upper half goes back", "expand")
    yield _pile(filled[:1], f"One request, but a batch of {pages(n)}: they are fetched under one lock")
    order0 = list(zone.free_list(0, mt))[-n:][::-1]
    if len(order0) == n:
        yield _pile(order0, "Those are from the tail of the order-0 list; blocks are taken from the head",
                    "get_page_from_free_area")
    yield _pile(filled[1:], "The first page taken is put on the list like the others, and handed out from there")


def _pile(pfns: list[int], reason: str, symbol: str = "rmqueue_bulk") -> Option:
    return option(tuple(pfns), ", ".join(f"{pfn:#x}" for pfn in pfns), reason, symbol)
