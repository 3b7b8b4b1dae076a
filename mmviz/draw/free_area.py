"""The free lists of a zone: struct free_area, orders from 10 down to 0, a list for each migratetype, head first.

    order     U              M              R        H      nr_free
     10       .              [0x4c00] +15   .        .        16
      9       [0x1200]       .              .        .         1
      :
    in hand   [0x1000] order 3             lists 16,384 · counter 16,384 · with pcp 16,384

A list is drawn as its first blocks; what is not shown is counted. A block that is taken off its list and goes on to be
cut, merged or handed out is "in hand". nr_free is kept for an order, not for a list, as in the kernel.

`draw_free_area` also takes what /proc says of a zone (`FreeAreaCounts`), where nobody knows a pfn: then counts stand in
the place of blocks.
"""
from __future__ import annotations

from itertools import islice

from ..capture.proc import FreeAreaCounts
from ..kernel import MAX_ORDER, MIGRATE_HIGHATOMIC
from ..mm import events as ev
from ..mm.machine import Machine
from ..mm.mmzone import TOP_ORDER, Zone
from ..recording import Step
from .reading import (
    HEAD,
    MARGIN,
    RIGHT,
    WIDTH,
    Block,
    block_tip,
    concerns,
    counts,
    event_of,
    hand_row,
    heading,
    key,
    letter,
    pages,
    peeked,
    touched,
    type_name,
    unique,
    zone_of,
)
from .scene import GROUND, Bracket, Line, Mark, Rect, Scene, Text
from .style import BAND, GRID, MARK, MUTED, NUMBER, STRONG, TEXT, free, text_width

ROW, CHIP, FIRST = 24.0, 18.0, 92.0
TOP = HEAD + 25  # the first row
FOOT = TOP + MAX_ORDER * ROW + 8
HEIGHT = FOOT + 30
PEEKED = "beside the parent: asked only to choose head or tail of the list"
CAPITAL = 8.4  # width of a letter of a lane's name
SHARE = {"U": 3.3, "M": 3.3, "R": 2.1}  # of the width; lists of other types are short
Lanes = dict[int, tuple[float, float]]  # migratetype -> left, width


def draw_free_area(state: Machine | FreeAreaCounts, step: Step | None = None, *, zone: str | None = None,
                   nid: int | None = None) -> Scene:
    """The free lists of one zone, order by order and type by type.

    Parameters
    ----------
    state : Machine or FreeAreaCounts
        The state after the step; or counts of a real machine, from `read_proc`.
    step : Step, optional
        What was just done; its block is touched.
    zone : str, optional
        Name of the zone, as in "DMA32"; the zone with most pages if not given.
    nid : int, optional
        Its node.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_free_area(mv.toy(4)).title
    'The free lists of zone DMA32'
    """
    if isinstance(state, FreeAreaCounts):
        return _counted(state)
    place = zone_of(state, zone, nid)
    lanes = _lanes(place, step)
    marks = heading(state, f"Free lists of zone {place.label}", "struct free_area: head of each list first", step)
    marks += _grid(place, step, lanes)
    for order in range(MAX_ORDER):
        for migratetype in lanes:
            marks += _list(place, step, order, migratetype, lanes[migratetype])
    marks += hand_row(place, step, FIRST, FOOT)
    return Scene(f"The free lists of zone {place.label}", WIDTH, HEIGHT, unique(marks), _words(place))


def _words(zone: Zone) -> str:
    filled = [f"order {order} {area.nr_free:,}" for order, area in enumerate(zone.free_area) if area.nr_free]
    said = ", ".join(filled) or "no block at all"
    return f"Zone {zone.label} has {pages(counts(zone)['lists'])} on its free lists, in blocks of {said}."


# ---------------------------------------------------------------- the grid


def _lanes(zone: Zone, step: Step | None) -> Lanes:
    """A lane for U, M, R, H, and for CMA and ISOLATE where they hold something or are touched."""
    event, config = event_of(step), zone.machine.config
    here = {getattr(event, name, -1) for name in ("migratetype", "fallback_mt")} if concerns(event, zone) else set()
    shown = [mt for mt in range(config.migrate_types) if mt <= MIGRATE_HIGHATOMIC or mt in here
             or any(area.free_list[mt] for area in zone.free_area)]
    return _spread({mt: type_name(config, mt) for mt in shown})


def _spread(names: dict[int, str]) -> Lanes:
    """The lanes side by side, each with its share of the width; its name does not run into the next lane."""
    shares = {mt: SHARE.get(name[0], 1.3) for mt, name in names.items()}
    least = {mt: 27 + CAPITAL * len(name) for mt, name in list(names.items())[:-1]}
    unit = (RIGHT - 66 - FIRST) / sum(shares.values())
    tight = {mt for mt in least if unit * shares[mt] < least[mt]}
    unit = (RIGHT - 66 - FIRST - sum(least[mt] for mt in tight)) / sum(shares[mt] for mt in names if mt not in tight)
    lanes, left = {}, FIRST
    for mt in names:
        width = least[mt] if mt in tight else unit * shares[mt]
        lanes[mt] = (left, width)
        left += width
    return lanes


def _y(order: int) -> float:
    return TOP + (TOP_ORDER - order) * ROW


def _grid(zone: Zone, step: Step | None, lanes: Lanes) -> list[Mark]:
    config, event = zone.machine.config, event_of(step)
    in_vain = isinstance(event, ev.FallbackSearched) and event.fallback_mt < 0 and concerns(event, zone)
    marks = _frame([area.nr_free for area in zone.free_area], getattr(event, "order", -1) if in_vain else -1)
    for migratetype, (left, _) in lanes.items():
        name = type_name(config, migratetype)
        marks.append(Rect(f"type {name}", free(name), left, HEAD, 16, 16, tip=f"MIGRATE_{name} = {migratetype}"))
        marks.append(Text(f"name {name}", MUTED, left + 21, HEAD + 12, name))
    return marks


def _frame(nr_free: list[int], in_vain: int = -1) -> list[Mark]:
    """The names of the orders at the left, and nr_free at the right."""
    marks: list[Mark] = []
    for order, count in enumerate(nr_free):
        y = _y(order)
        marks.append(Text(f"order {order}", TEXT, MARGIN + 8, y + 14, f"order {order}", touched=order == in_vain))
        marks.append(Text(f"nr_free {order}", TEXT if count else MUTED, RIGHT, y + 14, f"{count:,}", anchor="end"))
        if order:
            marks.append(Line(f"row {order}", GRID, MARGIN, y + 20, RIGHT, y + 20))
    marks.append(Text("nr_free", NUMBER, RIGHT, HEAD + 12, "nr_free", anchor="end"))
    return marks


# ---------------------------------------------------------------- one list


def _list(zone: Zone, step: Step | None, order: int, migratetype: int, lane: tuple[float, float]) -> list[Mark]:
    left, width = lane
    chip = 8 + 8.0 * len(f"{zone.end_pfn:#x}")
    room = text_width(f"+{zone.nr_listed(order, migratetype):,} more", MUTED) + 12
    blocks, hidden, late = _shown(zone, step, order, migratetype, int((width - 8) // (chip + 4)),
                                  max(1, int((width - room) // (chip + 4))))
    marks = _cell(zone, step, order, migratetype, lane)
    for i, pfn in enumerate(blocks):
        marks += _chip(zone, step, Block(pfn, order, migratetype), left + i * (chip + 4), chip)
    x = left + len(blocks) * (chip + 4)
    if hidden:
        more = f"+{hidden:,} more"
        if x + text_width(more, MUTED) > left + width - (chip + 16 if late >= 0 else 8):
            more = f"+{hidden:,}"
        marks.append(Text(f"more {order} {migratetype}", MUTED, x, _y(order) + 14, more))
    if late >= 0:
        marks += _chip(zone, step, Block(late, order, migratetype), left + width - chip - 8, chip)
    return marks


def _shown(zone: Zone, step: Step | None, order: int, migratetype: int, most: int,
           fewer: int) -> tuple[list[int], int, int]:
    """The first blocks, how many are left out, and a touched one among those (or -1)."""
    count = zone.nr_listed(order, migratetype)
    if count <= most:
        return list(zone.free_list(order, migratetype)), 0, -1
    blocks = list(islice(zone.free_list(order, migratetype), fewer))
    asked = sorted({*touched(step, zone), peeked(step)})
    late = [pfn for pfn in asked if pfn not in blocks and zone.buddy.get(pfn) == (order, migratetype)]
    if late:
        blocks = blocks[:-1]
    return blocks, count - len(blocks) - len(late), late[0] if late else -1


def _chip(zone: Zone, step: Step | None, block: Block, x: float, width: float) -> list[Mark]:
    meaning = free(letter(zone.machine.config, block.migratetype))
    is_touched = block.pfn in touched(step, zone)
    is_peeked = block.pfn == peeked(step)
    tip = block_tip(zone.machine.config, block, PEEKED if is_peeked else "on its free list")
    words = f"block {block.pfn:#x} of order {block.order}" if is_touched else ""
    chip = Rect(key(block.pfn), meaning, x, _y(block.order), width, CHIP, label=f"{block.pfn:#x}", tip=tip,
                touched=is_touched, words=words)
    beside = [Bracket("beside the parent", MARK, x - 1, x + width + 1, _y(block.order) - 1)] if is_peeked else []
    return [chip, *beside]


def _cell(zone: Zone, step: Step | None, order: int, migratetype: int, lane: tuple[float, float]) -> list[Mark]:
    """The ground of the list that is searched, or that a block was taken from."""
    event = event_of(step)
    if not isinstance(event, (ev.FreeAreaSearched, ev.FallbackSearched, ev.DelPageFromFreeArea)):
        return []
    which = event.fallback_mt if isinstance(event, ev.FallbackSearched) else event.migratetype
    if not concerns(event, zone) or (event.order, which) != (order, migratetype):
        return []
    is_empty = isinstance(event, ev.FreeAreaSearched) and not event.found
    left, width = lane
    return [Rect("searched", BAND, left - 4, _y(order) - 1, width - 4, CHIP + 2, label="", touched=is_empty,
                 layer=GROUND, tip=f"free_area[{order}].free_list[{migratetype}]")]


# ---------------------------------------------------------------- counts of /proc


def _counted(state: FreeAreaCounts) -> Scene:
    if not state.nr_free and not state.by_type:
        raise ValueError(f"state must hold counts by order, got none for zone {state.name} of node {state.nid}: "
                         "read_proc needs /proc/buddyinfo or /proc/pagetypeinfo")
    nr_free = state.nr_free or [sum(column) for column in zip(*state.by_type.values(), strict=True)]
    rows = {name: row for i, (name, row) in enumerate(state.by_type.items()) if i <= MIGRATE_HIGHATOMIC or any(row)}
    lanes = _spread({i: name.upper() for i, name in enumerate(rows)}) if rows else {}
    title = f"Free blocks of zone {state.name}, node {state.nid}"
    remark = "Counts of a real machine; /proc names no page frame."
    marks = [Text("title", STRONG, MARGIN, 24, title), Text("remark", MUTED, MARGIN, 42, remark), *_frame(nr_free)]
    for (left, _), (name, row) in zip(lanes.values(), rows.items(), strict=True):
        marks += _counted_lane(left, name.upper(), row)
    on_lists = sum(count << order for order, count in enumerate(nr_free))
    marks.append(Text("free", TEXT, RIGHT, FOOT + 15, f"lists {on_lists:,} pages", anchor="end"))
    return Scene(title, WIDTH, HEIGHT, marks, f"{title}: {pages(on_lists)} on the lists.")


def _counted_lane(left: float, name: str, row: list[int]) -> list[Mark]:
    marks: list[Mark] = [Rect(f"type {name}", free(name), left, HEAD, 16, 16),
                         Text(f"name {name}", MUTED, left + 21, HEAD + 12, name)]
    for order, count in enumerate(row):
        if count:
            width = max(26.0, 12 + 7.5 * len(f"{count:,}"))
            marks.append(Rect(f"count {name} {order}", free(name), left, _y(order), width, CHIP, label=f"{count:,}",
                              tip=f"{count:,} blocks of order {order}, {name}: {pages(count << order)}"))
    return marks


