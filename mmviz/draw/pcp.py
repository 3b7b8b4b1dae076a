"""The per-CPU lists of a zone: for its CPU a pile, for the buddy lists a queue.

              U          M          R        all three
    top                [0x4c01]               |    |
      |                [0x4c02]               |----| high 18: then batch 3 go back
      v     (empty)    [0x4c13]   [0x4d00]    | R  |
    bottom                                    | M  |

A request takes the page on top, and a freed page comes on top. A refill goes to the bottom, and when the three piles
together have `high` pages, `batch` of them go back to the buddy lists, from the bottoms. Pages here are free for their
CPU, and the zone's free counter does not know them.
"""
from __future__ import annotations

from ..mm import events as ev
from ..mm.machine import Machine
from ..mm.mmzone import PerCpuPages, Zone
from ..recording import Step
from .reading import (
    HEAD,
    MARGIN,
    WIDTH,
    Block,
    block_tip,
    concerns,
    event_of,
    hand_row,
    heading,
    key,
    letter,
    pages,
    touched,
    type_name,
    unique,
    whole,
    zone_of,
)
from .scene import Arrow, Line, Mark, Rect, Scene, Text
from .style import AXIS, BAND, BOX, LINK, MARK, MUTED, STRONG, TEXT, pcp

PAGE, CHIP, WIDE = 18.0, 16.0, 120.0
MOST, FEWEST = 24, 7  # rows of a pile
LEFT, APART = 120.0, 150.0
GAUGE = 640.0


def draw_pcp(state: Machine, step: Step | None = None, *, zone: str | None = None, nid: int | None = None,
             cpu: int | None = None) -> Scene:
    """One CPU's own pages of a zone, as three piles.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; its page is touched.
    zone, nid : str, int, optional
        The zone and its node; the zone with most pages if not given.
    cpu : int, optional
        The CPU; the one that asks (``state.current.cpu``) if not given.

    Returns
    -------
    Scene
        Piles of more than 24 pages are shortened in the middle.

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_pcp(mv.toy(64)).title
    "CPU 0's own pages of zone DMA32"
    """
    place = zone_of(state, zone, nid)
    cpu = state.current.cpu if cpu is None else whole("cpu", cpu, 0, len(place.pageset) - 1)
    own = place.pageset[cpu]
    rows = max(FEWEST, min(MOST, max([own.high + 1, *(len(pile) for pile in own.lists)])))
    bottom = HEAD + 26 + rows * PAGE
    title = f"CPU {cpu}'s own pages of zone {place.label}"
    marks = heading(state, title, f"struct per_cpu_pages: count {own.count}, high {own.high}, batch {own.batch}", step)
    marks += _ends(bottom, rows) + _gauge(place, own, step, cpu, bottom, rows)
    marks += hand_row(place, step, LEFT, bottom + 14)
    for migratetype in range(len(own.lists)):
        marks += _pile(place, own, step, cpu, migratetype, bottom, rows)
    return Scene(title, WIDTH, bottom + 44, unique(marks), _words(place, own, title))


def _words(zone: Zone, own: PerCpuPages, title: str) -> str:
    tops = ", ".join(f"{type_name(zone.machine.config, mt)} {len(pile)}" + (f" (top {pile[0]:#x})" if pile else "")
                     for mt, pile in enumerate(own.lists))
    return f"{title}: {pages(own.count)}, by type {tops}; at {own.high} they go back in batches of {own.batch}."


def _ends(bottom: float, rows: int) -> list[Mark]:
    top = bottom - rows * PAGE
    return [Text("top", STRONG, MARGIN, top + 14, "top"), Text("for you", MUTED, MARGIN, top + 30, "next for you"),
            Line("floor", AXIS, LEFT - 10, bottom + 4, LEFT + 2 * APART + WIDE + 10, bottom + 4),
            Arrow("down", LINK, MARGIN + 12, top + 42, MARGIN + 12, bottom - 46),
            Text("bottom", STRONG, MARGIN, bottom - 22, "bottom"),
            Text("for the lists", MUTED, MARGIN, bottom - 6, "next to go back")]


# ---------------------------------------------------------------- a pile


def _pile(zone: Zone, own: PerCpuPages, step: Step | None, cpu: int, migratetype: int, bottom: float,
          rows: int) -> list[Mark]:
    config, pile, event = zone.machine.config, list(own.lists[migratetype]), event_of(step)
    x, name = LEFT + migratetype * APART, type_name(config, migratetype)
    searched = isinstance(event, ev.PcpListFoundEmpty) and concerns(event, zone) and event.cpu == cpu \
        and event.migratetype == migratetype and not pile
    marks: list[Mark] = [
        Rect(f"type {name}", pcp(name), x, HEAD, 16, 16, tip=f"pcp->lists[{migratetype}], {name}"),
        Text(f"name {name}", MUTED, x + 21, HEAD + 12, f"{name} {len(pile)}"),
        Rect(f"pile {name}", BAND, x - 4, bottom - rows * PAGE - 2, WIDE + 8, rows * PAGE + 4, label="",
             touched=searched, tip=f"pcp->lists[{migratetype}]: {pages(len(pile))}")]
    for row, pfn in enumerate(reversed(_visible(pile, touched(step, zone), rows))):
        y = bottom - (row + 1) * PAGE + 1
        if pfn is None:
            hidden = len(pile) - rows + 1
            marks.append(Text(f"more {name}", MUTED, x + WIDE / 2, y + 12, f"{hidden} more", anchor="middle"))
        else:
            marks.append(_page(zone, step, pfn, pile.index(pfn), migratetype, (x, y)))
    return marks


def _visible(pile: list[int], now: frozenset[int], rows: int) -> list[int | None]:
    """The pile, top first, with None where its middle is left out."""
    if len(pile) <= rows:
        return [*pile]
    upper = rows // 2
    lower = rows - 1 - upper
    return [*pile[:upper], None, *pile[-lower:]]


def _page(zone: Zone, step: Step | None, pfn: int, place: int, migratetype: int, at: tuple[float, float]) -> Rect:
    kind = zone.index.get(pfn, migratetype)
    tip = block_tip(zone.machine.config, Block(pfn, 0, kind), f"{pages(place)} above it")
    is_touched = pfn in touched(step, zone)
    return Rect(key(pfn), pcp(letter(zone.machine.config, kind)), *at, WIDE, CHIP, label=f"{pfn:#x}", tip=tip,
                touched=is_touched, words=f"page {pfn:#x} on the per-CPU list" if is_touched else "")


# ---------------------------------------------------------------- the three piles together


def _gauge(zone: Zone, own: PerCpuPages, step: Step | None, cpu: int, bottom: float, rows: int) -> list[Mark]:
    """How many pages the piles have together, against `high`."""
    event, config = event_of(step), zone.machine.config
    flushed = isinstance(event, ev.PcpFlushPlanned) and concerns(event, zone) and event.cpu == cpu
    full = max(own.high * 1.15, own.count, 1.0)
    scale, y = (rows * PAGE - 12) / full, bottom
    marks: list[Mark] = [Text("count", MUTED, GAUGE, HEAD + 12, f"all three: {own.count}"),
                         Rect("gauge", BOX, GAUGE, bottom - rows * PAGE, 56, rows * PAGE, label="", touched=flushed)]
    for migratetype, pile in enumerate(own.lists):
        if pile:
            height = len(pile) * scale
            y -= height
            name = type_name(config, migratetype)
            marks.append(Rect(f"gauge {name}", pcp(name), GAUGE, y, 56, height, tip=f"{name}: {pages(len(pile))}"))
    return marks + _flush_level(own, bottom - own.high * scale)


def _flush_level(own: PerCpuPages, y: float) -> list[Mark]:
    if own.high == 0:
        what = ["high 0: nothing stays,", "a freed page goes back", "to the lists at once"]
    else:
        what = [f"high {own.high}: here the CPU", f"gives {pages(own.batch)} back,", "from the bottoms in turn"]
    top = min(y, y if own.high else y - 46)
    return [Line("high", MARK, GAUGE - 8, y, GAUGE + 64, y),
            *(Text(f"high {i}", TEXT, GAUGE + 72, top + 4 + 17 * i, text) for i, text in enumerate(what))]
