"""The watermarks of a zone: three numbers that are called free, against MIN, LOW and HIGH.

    on the lists   |==================================|  885
    counter        |==================================|  885      <- this is what the kernel compares
    with pcp       |==================================|  887   +2 on per-CPU lists
                        :MIN 64  :LOW 80  :HIGH 96
    to be kept     |  MIN  |to LOW|to HIGH|
    must exceed    |  64   |
    counts         |==================================|  885
    counter 892 - 7 for the block = 885 > MIN 64: the request may pass

The kernel asks the counter, which lags behind the lists by what each CPU has not yet reported, and has never seen the
per-CPU lists. A boost lifts all three marks. What a request must leave over is its mark, changed by its privileges, and
the reserve that this zone keeps from those who could have used a higher one. Bars that are longer than the picture end
in a jagged edge, so that the marks stay readable.
"""
from __future__ import annotations

from ..kernel import WMARK_HIGH, WMARK_LOW, WMARK_MIN
from ..mm import events as ev
from ..mm.machine import Machine
from ..mm.mmzone import Zone
from ..recording import Step
from .reading import HEAD, MARGIN, RIGHT, WIDTH, concerns, counts, event_of, heading, pages, zone_of
from .scene import GROUND, Line, Mark, Polyline, Rect, Scene, Text
from .style import AXIS, BOX, GRID, HOLE, MARK, MUTED, STRONG, TEXT, free, pcp

LEFT, LAST, VALUE = 150.0, 660.0, 736.0  # of the bars; right end of the numbers
BAR, ROW = 22.0, 34.0
TOP = HEAD + 40
NAMES = ("MIN", "LOW", "HIGH")
HEIGHT = TOP + 4 * ROW + 136


def draw_watermarks(state: Machine, step: Step | None = None, *, zone: str | None = None,
                    nid: int | None = None) -> Scene:
    """What a zone has against what it must keep.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; a WatermarkChecked shows its inequality.
    zone, nid : str, int, optional
        The zone and its node; the zone with most pages if not given.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_watermarks(mv.toy(4)).title
    'The watermarks of zone DMA32'
    """
    place = zone_of(state, zone, nid)
    scale = (LAST - LEFT) / _longest(place)
    title = f"Watermarks of zone {place.label}"
    marks = heading(state, title, f"in pages; {_reserves(place)}", step)
    marks += _bars(place, step, scale) + _marks(place, scale, step) + _check(place, step, scale)
    return Scene(f"The watermarks of zone {place.label}", WIDTH, HEIGHT, marks, _words(place, step))


def _reserves(zone: Zone) -> str:
    names = zone.machine.config.zone_names
    kept = [f"{name} {count:,}" for name, count in zip(names, zone.lowmem_reserve, strict=False) if count]
    return f"lowmem_reserve against requests that could use {', '.join(kept)}" if kept else "no lowmem_reserve here"


def _longest(zone: Zone) -> float:
    """The pages at the right end: the whole zone, or so many that the marks are well apart."""
    high = zone._watermark[WMARK_HIGH] + zone.watermark_boost + max(zone.lowmem_reserve)
    return float(max(1, min(zone.managed_pages, 2.5 * high)))


def _words(zone: Zone, step: Step | None) -> str:
    c, event = counts(zone), event_of(step)
    marks = ", ".join(f"{name} {value + zone.watermark_boost:,}" for name, value in zip(NAMES, zone._watermark,
                                                                                       strict=True))
    said = f"Zone {zone.label}: the counter says {pages(c['counter'])}, the marks are {marks}."
    if isinstance(event, ev.WatermarkChecked) and concerns(event, zone):
        return f"{said} {inequality(event, zone)}."
    return said


# ---------------------------------------------------------------- three bars


def _bars(zone: Zone, step: Step | None, scale: float) -> list[Mark]:
    event = event_of(step) if concerns(event_of(step), zone) else None
    counted = isinstance(event, (ev.ModZonePageState, ev.FoldDiff, ev.WatermarkChecked))
    listed = isinstance(event, (ev.AddToFreeArea, ev.AddToFreeAreaTail, ev.DelPageFromFreeArea))
    piled = isinstance(event, (ev.PcpListAdd, ev.PcpListAddTail, ev.PcpListDel))
    c, apart = counts(zone), _differences(zone)
    rows = [("on the lists", c["lists"], free(), listed, "pages on the buddy lists"),
            ("counter", c["counter"], free(), counted, "NR_FREE_PAGES of the zone: what the kernel compares"),
            ("with pcp", c["with pcp"], pcp(), piled, "lists and per-CPU lists together: what could be handed out")]
    marks: list[Mark] = [Line("zero", AXIS, LEFT, TOP - 8, LEFT, TOP + 4 * ROW - 6)]
    for i, (name, value, meaning, is_touched, tip) in enumerate(rows):
        y = TOP + i * ROW
        length = min(value * scale, LAST - LEFT)
        marks.append(Text(f"name {name}", TEXT, LEFT - 10, y + 16, name, anchor="end"))
        marks.append(Rect(f"bar {name}", meaning, LEFT, y, max(length, 1), BAR, label="", touched=is_touched,
                          tip=f"{name}: {pages(value)}\n{tip}", words=f"{name} {value:,}"))
        marks.append(Text(f"value {name}", STRONG if name == "counter" else TEXT, VALUE, y + 16, f"{value:,}",
                          anchor="end"))
        if name in apart:
            marks.append(Text(f"apart {name}", TEXT, VALUE + 8, y + 16, apart[name]))
        if value * scale > LAST - LEFT:
            marks.append(_jag(name, y))
    return marks


def _differences(zone: Zone) -> dict[str, str]:
    """What a number has more or less than the lists, in words; a bar cannot show 4 pages in 100,000."""
    c = counts(zone)
    drift, piled = c["counter"] - c["lists"], c["with pcp"] - c["lists"]
    said = [("counter", drift, f"{drift:+,} drift"), ("with pcp", piled, f"+{piled:,} on per-CPU lists")]
    return {name: text for name, count, text in said if count}


def _jag(name: str, y: float) -> Polyline:
    """The edge of a bar that goes on."""
    points = [(LAST + (4 if i % 2 else -4), y - 3 + i * (BAR + 6) / 4) for i in range(5)]
    return Polyline(f"jag {name}", AXIS, points, layer=4, tip="goes on: drawn to here only")


# ---------------------------------------------------------------- the marks


def _marks(zone: Zone, scale: float, step: Step | None) -> list[Mark]:
    event, bottom = event_of(step), TOP + 4 * ROW - 6
    changed = isinstance(event, (ev.SetWatermarks, ev.SetWatermarkBoost)) and concerns(event, zone)
    marks: list[Mark] = []
    right = 0.0
    for mark in (WMARK_MIN, WMARK_LOW, WMARK_HIGH):
        value = zone._watermark[mark] + zone.watermark_boost
        x, text = LEFT + value * scale, f"{NAMES[mark]} {value:,}"
        right = max(x + 3, right)
        marks.append(Line(f"mark {mark}", MARK, x, TOP - 8, x, bottom, layer=4,
                          tip=f"{NAMES[mark]}: {zone._watermark[mark]:,} and a boost of {zone.watermark_boost:,}"))
        marks.append(Text(f"mark text {mark}", MUTED, right, TOP - 12, text, touched=changed and mark == WMARK_MIN))
        right += 7 * len(text) + 10
    return marks + _stack(zone, scale)


def _stack(zone: Zone, scale: float) -> list[Mark]:
    """What is to be kept, piled up from the left: boost, MIN, up to LOW, up to HIGH, and the largest reserve."""
    low, middle, high = (zone._watermark[mark] for mark in (WMARK_MIN, WMARK_LOW, WMARK_HIGH))
    parts = [("boost", zone.watermark_boost, BOX), ("MIN", low, BOX), ("to LOW", middle - low, BOX),
             ("to HIGH", high - middle, BOX), ("reserve", max(zone.lowmem_reserve), HOLE)]
    x, y = LEFT, TOP + 3 * ROW
    marks: list[Mark] = [Text("name keep", TEXT, LEFT - 10, y + 16, "to be kept", anchor="end")]
    for name, count, meaning in parts:
        if count:
            marks.append(Rect(f"keep {name}", meaning, x, y, count * scale, BAR, label=f"{name} {count:,}",
                              layer=GROUND, tip=f"{name}: {pages(count)}"))
            x += count * scale
    return marks


# ---------------------------------------------------------------- the test


def _check(zone: Zone, step: Step | None, scale: float) -> list[Mark]:
    """What the request must leave over, as a bar, and the inequality in words."""
    event, y = event_of(step), TOP + 4 * ROW + 22
    if not isinstance(event, ev.WatermarkChecked) or not concerns(event, zone):
        return [Line("rule", GRID, MARGIN, y - 10, RIGHT, y - 10),
                Text("asked", MUTED, MARGIN, y + 16,
                     "A request may pass if the counter, less all but one page of its block, is above a mark and the "
                     "reserve.")]
    minimum, reserve = event.min * scale, event.reserve * scale
    marks: list[Mark] = [
        Line("rule", GRID, MARGIN, y - 10, RIGHT, y - 10),
        Text("name must", TEXT, LEFT - 10, y + 16, "must exceed", anchor="end"),
        Rect("minimum", BOX, LEFT, y, max(1, minimum), BAR, label=f"{event.min:,}",
             tip=f"min: the mark of {event.mark:,} pages after the privileges of this request"),
        Text("value must", STRONG, VALUE, y + 16, f"{event.min + event.reserve:,}", anchor="end")]
    if reserve:
        marks.append(Rect("reserve", HOLE, LEFT + minimum, y, reserve, BAR, label=f"{event.reserve:,}",
                          tip="lowmem_reserve: kept from those who could have used a higher zone"))
    return marks + _has(event, scale, y + ROW) + _verdict(event, zone, y + 2 * ROW + 8)


def _has(event: ev.WatermarkChecked, scale: float, y: float) -> list[Mark]:
    length = max(1.0, min(max(0, event.free) * scale, LAST - LEFT))
    marks: list[Mark] = [
        Text("name has", TEXT, LEFT - 10, y + 16, "counts", anchor="end"),
        Rect("has", free(), LEFT, y, length, BAR, label="", touched=True,
             tip=f"free: the counter less {(1 << event.order) - 1} for order {event.order}, less what it may not use"),
        Text("value has", STRONG, VALUE, y + 16, f"{event.free:,}", anchor="end")]
    return [*marks, _jag("has", y)] if event.free * scale > LAST - LEFT else marks


def inequality(event: ev.WatermarkChecked, zone: Zone) -> str:
    sign = ">" if event.free > event.min + event.reserve else "≤"
    verdict = "the request may pass" if event.ok else \
        "the zone is passed over" if sign == "≤" else f"but no block of order {event.order}: passed over"
    return f"{_left(event, zone)} {sign} {_right(event, zone)}: {verdict}"


def _left(event: ev.WatermarkChecked, zone: Zone) -> str:
    """The counter, and what is taken off it before it is compared."""
    block = (1 << event.order) - 1
    other = max(0, counts(zone)["counter"] - event.free - block)
    taken = [f" - {count:,} {why}" for count, why in ((block, "for the block"), (other, "kept for others")) if count]
    before = f"counter {event.free + block + other:,}"
    return f"{before}{''.join(taken)} = {event.free:,}" if taken else before


def _right(event: ev.WatermarkChecked, zone: Zone) -> str:
    """The mark by its name, what its privileges leave of it, and the reserve."""
    names = [name for name, mark in zip(NAMES, zone._watermark, strict=True)
             if mark + zone.watermark_boost == event.mark]
    said = f"{names[0] if names else 'mark'} {event.mark:,}"
    said += f" lowered to {event.min:,}" if event.min != event.mark else ""
    return said + (f" + reserve {event.reserve:,}" if event.reserve else "")


def _verdict(event: ev.WatermarkChecked, zone: Zone, y: float) -> list[Mark]:
    asked = f"asked for order {event.order}"
    return [Text("verdict", STRONG, MARGIN, y + 12, inequality(event, zone)),
            Text("asked", MUTED, RIGHT, y + 12, asked, anchor="end")]


