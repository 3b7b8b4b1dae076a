"""The map: where a page frame can be, from the node down to its place on a list.

    zonelist      zone DMA32
    +-------+    +---------------------------+
    | DMA32 |--->| watermark  102,645 > 855  |     list            page
    | DMA   |    | pcp        CPU 0: U M R   |---> 0x1ab95 ...  -> 0x1ab95
    +-------+    | free area  1 2 3 1 4 ...  |
                 +---------------------------+

Six boxes, in the order in which a request meets them: the zonelist says which zones may be asked, the watermark whether
this one may give, the per-CPU lists are asked first for single pages, then the free area, a list gives its first
element, and that is the page. `pfn` shows the way to one page, `here` says "you are here", and in a Stepper the box
lights up that the step is about.
"""
from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from ..kernel import PAGE_SHIFT, WMARK_LOW
from ..mm import events as ev
from ..mm.machine import Machine
from ..mm.mmzone import Zone
from ..recording import Step
from ..trace import Event
from .reading import (
    HEAD,
    WIDTH,
    concerns,
    counts,
    event_of,
    fields,
    heading,
    key,
    letter,
    pageblock_type,
    pages,
    touched,
    type_name,
    unique,
    zone_of,
)
from .scene import GROUND, LINES, TOUCHED, Arrow, Mark, Rect, Scene, Text
from .style import BAND, BOX, LINK, MUTED, NUMBER, STRONG, TEXT, Meaning, free, pcp, used

BOXES = ("zonelist", "watermark", "pcp", "free area", "list", "page")
TOP = HEAD + 30
HEIGHT = TOP + 300
MOST_CPUS, MOST_ZONES, MOST_SHOWN = 2, 8, 6
PLACES = {  # x, y, width, height
    "zonelist": (16.0, TOP, 116.0, 284.0), "watermark": (176.0, TOP + 38, 376.0, 48.0),
    "pcp": (176.0, TOP + 106, 376.0, 84.0), "free area": (176.0, TOP + 210, 376.0, 66.0),
    "list": (600.0, TOP, 124.0, 284.0), "page": (768.0, TOP, 116.0, 284.0)}
ABOUT: dict[str, tuple[type[Event], ...]] = {
    "zonelist": (ev.PreferredZoneChosen, ev.RequestPrepared, ev.NofragmentDropped, ev.SlowpathEntered),
    "watermark": (ev.WatermarkChecked, ev.SetWatermarks, ev.SetWatermarkBoost, ev.ModZonePageState, ev.KswapdWoken),
    "pcp": (ev.PcpListFoundEmpty, ev.PcpListAdd, ev.PcpListAddTail, ev.PcpListDel, ev.PcpFlushPlanned),
    "free area": (ev.FreeAreaSearched, ev.FallbackSearched, ev.BlockExpanded, ev.BuddyChecked, ev.GuardChecked),
    "list": (ev.AddToFreeArea, ev.AddToFreeAreaTail, ev.MoveToFreeArea, ev.DelPageFromFreeArea),
    "page": (ev.SetPageRefcounted, ev.MmPageAlloc, ev.MmPageFree, ev.PrepCompoundPage, ev.PageRefAdd, ev.PagesCleared)}


class ListShown(NamedTuple):
    """A list to be opened: CPU or order (the other is -1), migratetype, its first pages, how many it has."""

    cpu: int
    order: int
    migratetype: int
    first: list[int]
    length: int

    @property
    def name(self) -> str:
        """The list in words."""
        return f"CPU {self.cpu} pcp" if self.cpu >= 0 else f"order {self.order}"


def draw_map(state: Machine, step: Step | None = None, *, pfn: int | None = None, here: str | None = None,
             back: bool = False, zone: str | None = None, nid: int | None = None) -> Scene:
    """Where a page frame can be: node, zone, per-CPU lists, free area, list, page.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; lights the box that it is about.
    pfn : int, optional
        Show the way to this page.
    here : str, optional
        "You are here": one of "zonelist", "watermark", "pcp", "free area", "list", "page".
    back : bool, optional
        The way back of a freed page: the arrows go from the page to its list.
    zone, nid : str, int, optional
        The zone and its node; that of `pfn`, or the one with most pages, if not given.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_map(mv.toy(4), pfn=0x1000).words
    'Page 0x1000: node 0, DMA32, free area, order 10 list M, first.'
    """
    if here is not None and here not in BOXES:
        raise ValueError(f"here must be one of {', '.join(BOXES)}, got {here!r}")
    place = zone_of(state, zone, nid) if pfn is None else _zone_of_page(state, pfn)
    path = () if pfn is None else path_of(state, pfn)
    shown = _list_of(place, step, pfn)
    lit = {here} if here else _lit(path) if pfn is not None else _about(step, place)
    opened = shown if not here and lit & {"pcp", "free area", "list"} else None
    marks = heading(state, _title(place, pfn), _remark(path, back), step)
    marks += [mark for name in BOXES for mark in _box(name, name in lit, here)] + _arrows(path, back)
    marks += _zonelist(state, place, bool(path)) + _watermark(place) + _pcps(place, opened) + _free_area(place, opened)
    marks += _list(place, step, pfn, shown) + _page(place, step, pfn, shown)
    words = f"Page {pfn:#x}: {', '.join(path)}." if pfn is not None else _words(place, here)
    return Scene("Where a page frame can be", WIDTH, HEIGHT, unique(marks), words)


def _words(zone: Zone, here: str | None) -> str:
    said = f"Zone {zone.label} of node {zone.nid} has {pages(counts(zone)['lists'])} on its lists"
    return f"{said}; you are here: {here}." if here else f"{said}."


def _remark(path: tuple[str, ...], back: bool) -> str:
    if back:
        return "on the way back: from the page to a per-CPU list or to the free area" if not path else \
            f"on the way back: {' < '.join(path)}"
    return " > ".join(path) or "a machine has nodes, a node has zones; boxes in the order in which a request meets them"


def _title(zone: Zone, pfn: int | None) -> str:
    return f"Zone {zone.label}: where a free page can be" if pfn is None else f"Where is page {pfn:#x}?"


# ---------------------------------------------------------------- the way to a page


def path_of(machine: Machine, pfn: int) -> tuple[str, ...]:
    """The way to a page: node, zone, and where in the zone it is.

    Raises
    ------
    ValueError
        If the machine has no such page.

    Examples
    --------
    >>> import mmviz as mv
    >>> path_of(mv.toy(4), 0x1001)
    ('node 0', 'DMA32', 'free area', 'order 10 list M', 'first')
    """
    zone = _zone_of_page(machine, pfn)
    return (f"node {zone.nid}", zone.name, *_place_of(zone, pfn))


def _zone_of_page(machine: Machine, pfn: int) -> Zone:
    zone_of(machine)
    for zone in machine.zones():
        if isinstance(pfn, int) and zone.zone_start_pfn <= pfn < zone.end_pfn:
            return zone
    spans = ", ".join(f"{zone.label} {zone.zone_start_pfn:#x} to {zone.end_pfn - 1:#x}" for zone in machine.zones())
    raise ValueError(f"pfn must lie in a zone ({spans}), got {hex(pfn) if isinstance(pfn, int) else repr(pfn)}")


def _place_of(zone: Zone, pfn: int) -> tuple[str, ...]:
    config = zone.machine.config
    for cpu, own in enumerate(zone.pageset):
        for migratetype, pile in enumerate(own.lists):
            if pfn in pile:
                return f"CPU {cpu} pcp", f"list {letter(config, migratetype)}", _nth(pile.index(pfn), len(pile))
    block = zone.block_of(pfn)
    if block is None:
        return _owner(zone, pfn)
    head, order, migratetype = block
    place = next(i for i, other in enumerate(zone.free_list(order, migratetype)) if other == head)
    return ("free area", f"order {order} list {letter(config, migratetype)}",
            _nth(place, zone.nr_listed(order, migratetype)))


def _owner(zone: Zone, pfn: int) -> tuple[str, ...]:
    """Of a page on no list: the block that was handed out, a guard block, or nothing that we know."""
    for head, order in [*zone.allocated.items(), *zone.guard.items()]:
        if head <= pfn < head + (1 << order):
            return "on no list", f"{'guard' if head in zone.guard else 'handed out'}: {head:#x}, order {order}"
    return "on no list", "in use"


def _nth(place: int, count: int) -> str:
    return "first" if place == 0 else f"{place + 1} of {count}"


def _lit(path: tuple[str, ...]) -> set[str]:
    if path[2] == "on no list":
        return {"page"}
    return {"pcp" if path[2].startswith("CPU") else "free area", "list", "page"}


def _about(step: Step | None, zone: Zone) -> set[str]:
    event = event_of(step)
    return {name for name, kinds in ABOUT.items() if isinstance(event, kinds)
            and (concerns(event, zone) or not hasattr(event, "zone_idx"))}


def _list_of(zone: Zone, step: Step | None, pfn: int | None) -> ListShown | None:
    """The list to open: that of the page, that of the step, or the one with the largest blocks."""
    if pfn is not None:
        return _list_with(zone, pfn)
    event = event_of(step)
    said = fields(event) if concerns(event, zone) else {}
    if isinstance(event, ABOUT["pcp"]) and "migratetype" in said:
        return _pile(zone, said["cpu"], said["migratetype"])
    if isinstance(event, (*ABOUT["list"], ev.FreeAreaSearched)) and said:
        return _blocks(zone, said["order"], said["migratetype"])
    filled = [(order, mt) for order, area in enumerate(zone.free_area) for mt in range(len(area.free_list))
              if zone.nr_listed(order, mt)]
    return _blocks(zone, *max(filled)) if filled else None


def _list_with(zone: Zone, pfn: int) -> ListShown | None:
    for cpu, own in enumerate(zone.pageset):
        for migratetype, pile in enumerate(own.lists):
            if pfn in pile:
                return _pile(zone, cpu, migratetype)
    block = zone.block_of(pfn)
    return None if block is None else _blocks(zone, *block[1:])


def _pile(zone: Zone, cpu: int, migratetype: int) -> ListShown:
    pile = zone.pageset[cpu].lists[migratetype]
    return ListShown(cpu, -1, migratetype, list(islice(pile, MOST_SHOWN)), len(pile))


def _blocks(zone: Zone, order: int, migratetype: int) -> ListShown:
    first = list(islice(zone.free_list(order, migratetype), MOST_SHOWN))
    return ListShown(-1, order, migratetype, first, zone.nr_listed(order, migratetype))


# ---------------------------------------------------------------- the boxes


def _box(name: str, is_lit: bool, here: str | None) -> list[Mark]:
    x, y, width, height = PLACES[name]
    marks: list[Mark] = [Rect(f"box {name}", BOX, x, y, width, height, label="", touched=is_lit, layer=LINES,
                              words=f"the step is at: {name}" if is_lit else ""),
                         Text(f"name {name}", STRONG if is_lit else TEXT, x + 8, y + 18, name)]
    if here == name:
        marks.append(_here(name, x, y, width))
    return marks


def _here(name: str, x: float, y: float, width: float) -> Mark:
    """Beside the triangle, where there is room; over a narrow box there is none, and it stands higher."""
    if name in ("zonelist", "list", "page"):
        return Text("here", STRONG, x, y - 18, "you are here")
    return Text("here", STRONG, x + width / 2 + 12, y - 4, "you are here")


def _arrows(path: tuple[str, ...], back: bool) -> list[Mark]:
    pile, area = (len(path) > 2 and path[2].startswith("CPU")), (len(path) > 2 and path[2] == "free area")
    ways = [("pcp to list", 552, 598, 148, pile), ("free area to list", 552, 598, 243, area),
            ("list to page", 724, 766, 148, pile or area)]
    marks: list[Mark] = [] if back else [Arrow("to zone", LINK, 132, TOP + 148, 174, TOP + 148, touched=bool(path))]
    for name, left, right, y, is_lit in ways:
        start, end = (right, left) if back else (left, right)
        marks.append(Arrow(name, LINK, start, TOP + y, end, TOP + y, touched=is_lit))
    return marks


def _zonelist(machine: Machine, zone: Zone, is_on_the_way: bool) -> list[Mark]:
    """The node's zonelist, and the frames of the node and of the zone."""
    x, y, *_ = PLACES["zonelist"]
    zones = machine.node[zone.nid].node_zonelists[0][-1]
    marks: list[Mark] = [Text("node", MUTED, x + 8, y + 36, f"of node {zone.nid}"),
                         Rect("node frame", BOX, 154, HEAD + 2, 420, 322, label="", layer=GROUND),
                         Text("node name", STRONG, 166, TOP - 9, f"node {zone.nid}"),
                         Rect("zone", BAND, 166, TOP, 396, 284, label="", layer=GROUND),
                         Text("zone name", STRONG, 176, TOP + 18, f"zone {zone.label}"),
                         Text("zone span", NUMBER, 552, TOP + 18, f"{zone.zone_start_pfn:#x} to {zone.end_pfn - 1:#x}",
                              anchor="end")]
    for i, entry in enumerate(zones[:MOST_ZONES]):
        marks.append(Rect(f"entry {entry.label}", BAND if entry is zone else BOX, x + 8, y + 52 + i * 26, 100, 20,
                          label=entry.label, touched=is_on_the_way and entry is zone, layer=TOUCHED,
                          tip=f"{entry.label}\n{pages(entry.managed_pages)} managed"))
    return marks


def _watermark(zone: Zone) -> list[Mark]:
    x, y, width, _ = PLACES["watermark"]
    low, counter = zone._watermark[WMARK_LOW] + zone.watermark_boost, counts(zone)["counter"]
    sign = ">" if counter > low else "≤"
    return [Text("watermark", TEXT, x + width - 8, y + 18, f"counter {counter:,} {sign} LOW {low:,}", anchor="end"),
            Text("watermark says", MUTED, x + 8, y + 40, "may this zone give? asked first, of the counter")]


def _pcps(zone: Zone, shown: ListShown | None) -> list[Mark]:
    """Each CPU's three lists with how many pages they hold."""
    x, y, width, _ = PLACES["pcp"]
    count, more = sum(own.count for own in zone.pageset), len(zone.pageset) - MOST_CPUS
    said = pages(count) + (f"; and {more} more CPUs" if more > 0 else "")
    marks: list[Mark] = [Text("pcp says", MUTED, x + width - 8, y + 18, said, anchor="end")]
    for cpu, own in enumerate(zone.pageset[:MOST_CPUS]):
        top = y + 36 + cpu * 24
        marks.append(Text(f"cpu {cpu}", MUTED, x + 8, top + 13, f"CPU {cpu}"))
        for migratetype, pile in enumerate(own.lists):
            name = type_name(zone.machine.config, migratetype)
            is_open = shown is not None and (shown.cpu, shown.migratetype) == (cpu, migratetype)
            marks.append(Rect(f"pcp {cpu} {name}", pcp(name), x + 64 + migratetype * 102, top, 98, 17, touched=is_open,
                              label=f"{name[0]} {len(pile)}", tip=f"CPU {cpu}, {name}\n{pages(len(pile))}"))
    return marks


def _free_area(zone: Zone, shown: ListShown | None) -> list[Mark]:
    """nr_free by order, as a row of buddyinfo."""
    x, y, width, _ = PLACES["free area"]
    marks: list[Mark] = [Text("free area says", MUTED, x + width - 8, y + 18,
                              f"blocks by order 0 to 10: {pages(counts(zone)['lists'])}", anchor="end")]
    for order, area in enumerate(zone.free_area):
        left = x + 8 + order * 33
        is_open = shown is not None and shown.order == order
        marks.append(Rect(f"order {order}", free(), left, y + 32, 31, 18, label=_short(area.nr_free), touched=is_open,
                          tip=f"order {order}\n{area.nr_free:,} blocks of {pages(1 << order)}"))
        marks.append(Text(f"order name {order}", NUMBER, left + 15, y + 62, f"{order}", anchor="middle"))
    return marks


def _short(count: int) -> str:
    """A count in four places at most.

    >>> _short(999), _short(4012), _short(262144), _short(12_000_000)
    ('999', '4k', '262k', '12M')
    """
    return f"{count}" if count < 1000 else f"{count // 1000}k" if count < 1_000_000 else f"{count // 1_000_000}M"


def _list(zone: Zone, step: Step | None, pfn: int | None, shown: ListShown | None) -> list[Mark]:
    x, y, *_ = PLACES["list"]
    if shown is None:
        return [Text("list says", MUTED, x + 8, y + 36, "no list")]
    kind = letter(zone.machine.config, shown.migratetype)
    block = zone.block_of(pfn) if pfn is not None else None
    wanted = touched(step, zone) | ({pfn, block[0] if block else pfn} if pfn is not None else set())
    marks: list[Mark] = [Text("list says", MUTED, x + 8, y + 36, f"{shown.name}, {kind}")]
    family = pcp if shown.cpu >= 0 else free
    for i, first in enumerate(shown.first):
        marks.append(Rect(key(first), family(kind), x + 8, y + 54 + i * 26, 108, 20, label=f"{first:#x}",
                          touched=first in wanted, tip=f"{first:#x}\n{_nth(i, shown.length)} on the list {shown.name}, "
                                                       f"{kind}"))
    if shown.length > len(shown.first):
        marks.append(Text("list more", MUTED, x + 8, y + 232, f"and {shown.length - len(shown.first):,} more"))
    return marks


def _page(zone: Zone, step: Step | None, pfn: int | None, shown: ListShown | None) -> list[Mark]:
    x, y, *_ = PLACES["page"]
    named = getattr(event_of(step), "pfn", -1) if concerns(event_of(step), zone) else -1
    first = shown.first[0] if shown is not None and shown.first else -1
    page = pfn if pfn is not None else named if named >= 0 else first
    if page < 0:
        return [Text("page says", MUTED, x + 8, y + 36, "none")]
    place = _place_of(zone, page)
    return [Rect("page", _page_meaning(zone, page, place), x + 8, y + 48, 100, 32, label=f"{page:#x}"),
            Text("page says", NUMBER, x + 8, y + 100, f"at {page << PAGE_SHIFT:#x}"),
            *(Text(f"page use {i}", MUTED, x + 8, y + 122 + 18 * i, text)
              for i, text in enumerate(words for part in place for words in part.replace(": ", ":\n").split("\n")))]


def _page_meaning(zone: Zone, pfn: int, place: tuple[str, ...]) -> Meaning:
    if place[0] == "on no list":
        return used(letter(zone.machine.config, pageblock_type(zone, pfn)) if place[1] != "in use" else "")
    return pcp(place[1][-1]) if place[0].startswith("CPU") else free(place[1][-1])
