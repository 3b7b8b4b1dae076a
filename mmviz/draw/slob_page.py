"""A page of SLOB: blocks of any length, in the order of their addresses.

    +0x000 [h][ object  100 ][ free 6 ][h][ object 64 ][ free ....        one row is 512 bytes
              free blocks are strung together, by address              h: the header that holds the size

Below: the three lists of pages with room, the page that the next search begins with first.
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ..kernel import PAGE_SIZE
from ..mm.machine import Machine
from ..mm.slob import MINALIGN, SLOB_UNIT, slob_units
from ..mm.slob_state import ON_NO_LIST, SLOB_LISTS, Slob
from ..recording import Step
from .reading import HEAD, MARGIN, RIGHT, WIDTH, event_of, fields, heading, unique, whole
from .scene import Arrow, Mark, Rect, Scene, Text
from .style import LINK, MUTED, NUMBER, STRONG, Meaning, free, used

ROW = 512  # bytes
LEFT, HEIGHT, GAP = MARGIN + 64, 24.0, 14.0
SCALE = (RIGHT - LEFT) / ROW
TOP = HEAD + 12
PIECES = {"header": used(), "object": used("U"), "free": free("U")}
MOST = 8  # pages of a list


def draw_slob_page(state: Machine, step: Step | None = None, *, pfn: int | None = None) -> Scene:
    """One page of SLOB, and the lists that its pages are on.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; the block that it names is touched.
    pfn : int, optional
        The page; the one that the step names, or the first page with room, if not given.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4, config=mv.Config(slab="SLOB"))
    >>> address = mv.kmalloc(machine, 100, mv.GFP_KERNEL)
    >>> draw_slob_page(machine).title
    'Page 0x1000 of SLOB: 1 object, 1,994 of 2,048 units free'
    """
    part = state.parts.get("slob")
    if not isinstance(part, Slob) or not part.pages:
        title, remark = "SLOB holds no page", "the next small request takes one"
        marks = heading(state, title, remark, step)
        return Scene(title, WIDTH, HEAD + 20, marks, f"{title}: {remark}.")
    page = _page_of(state, part, step, pfn)
    blocks = list(_blocks(state, part, page))
    count = sum(kind == "object" for kind, *_ in blocks)
    where = part.pages[page].slob_list
    title = (f"Page {page:#x} of SLOB: {count} object{'s' * (count != 1)}, {part.pages[page].units:,} of 2,048 units "
             "free")
    remark = "full, and on no list" if where == ON_NO_LIST else f"on the list of pages with room, {SLOB_LISTS[where]}"
    marks = heading(state, title, remark, step) + list(_rows()) + list(_marks(state, page, blocks, step))
    marks += _arrows([start for kind, start, _ in blocks if kind == "free"])
    y = TOP + PAGE_SIZE / ROW * (HEIGHT + GAP) + 8
    marks += [mark for number in range(3) for mark in _list(part, number, y + 26 * number, step, page)]
    return Scene(title, WIDTH, y + 3 * 26 + 6, unique(marks), f"{title}. {remark}. {_words(part, blocks)}")


def _words(part: Slob, blocks: list[tuple[str, int, int]]) -> str:
    said = ", ".join(f"{kind} {length} bytes at +{start:#x}" for kind, start, length in blocks[:12] if kind != "header")
    lists = "; ".join(f"{name}: {', '.join(f'{pfn:#x}' for pfn in pages) or 'none'}"
                      for name, pages in zip(SLOB_LISTS, part.lists, strict=True))
    return f"Blocks: {said}. Pages with room: {lists}."


def _page_of(state: Machine, part: Slob, step: Step | None, pfn: int | None) -> int:
    """The page to draw: the one asked for, or that the event names, or the first one with room, or the last one."""
    if pfn is not None:
        if whole("pfn", pfn, 0, 1 << 52) not in part.pages:
            raise ValueError(f"pfn must be a page of SLOB: {', '.join(map(hex, sorted(part.pages)))}; got {pfn:#x}")
        return pfn
    event = fields(event_of(step))
    address = next((event[name] for name in ("vaddr", "ptr") if event.get(name)), 0)
    named = [event.get("pfn"), (address - state.config.page_offset) // PAGE_SIZE]
    first = [pages[0] for pages in part.lists if pages]
    return next(page for page in (*named, *first, max(part.pages)) if page in part.pages)


def _blocks(state: Machine, part: Slob, page: int) -> Iterator[tuple[str, int, int]]:
    """The blocks of a page in the order of their addresses: kind, start in the page and length, in bytes."""
    base = state.config.page_offset + page * PAGE_SIZE
    known = [("free", offset * SLOB_UNIT, units * SLOB_UNIT) for offset, units in part.pages[page].blocks.items()]
    for m, size in part.sizes.items():
        if base <= m < base + PAGE_SIZE:
            known.append(("header", m - base, MINALIGN))
            known.append(("object", m - base + MINALIGN, slob_units(size) * SLOB_UNIT))
    yield from sorted(known, key=lambda block: block[1])


# ---------------------------------------------------------------- the page


def _rows() -> Iterator[Mark]:
    for row in range(PAGE_SIZE // ROW):
        yield Text(f"row {row}", NUMBER, MARGIN, TOP + row * (HEIGHT + GAP) + 16, f"+{row * ROW:#05x}")


def _at(offset: int) -> tuple[float, float]:
    """Where a byte of the page is drawn."""
    return LEFT + offset % ROW * SCALE, TOP + offset // ROW * (HEIGHT + GAP)


def _marks(state: Machine, page: int, blocks: list[tuple[str, int, int]], step: Step | None) -> Iterator[Mark]:
    event = fields(event_of(step))
    base = state.config.page_offset + page * PAGE_SIZE
    named = {event[name] - base for name in ("vaddr", "ptr") if event.get(name)}
    if event.get("pfn") == page and "offset" in event:
        named.add(event["offset"] * SLOB_UNIT)
    for kind, start, length in blocks:
        is_named = start in named
        tip = f"{kind} at {base + start:#x}\n{length:,} bytes, {length // SLOB_UNIT:,} units"
        for number, (first, end) in enumerate(_pieces(start, length)):
            x, y = _at(first)
            label = "" if kind == "header" or number else f"{length}"
            yield Rect(f"{kind} {start:#x} {number}" if number else f"{kind} {start:#x}", PIECES[kind], x, y,
                       (end - first) * SCALE, HEIGHT, label=label, tip=tip, touched=is_named,
                       words=f"{kind} of {length} bytes at +{start:#x}" if is_named and not number else "")


def _pieces(start: int, length: int) -> Iterator[tuple[int, int]]:
    """A block, row by row: first byte and the one behind the last."""
    end = start + length
    while start < end:
        stop = min(end, (start // ROW + 1) * ROW)
        yield start, stop
        start = stop


def _arrows(starts: list[int]) -> list[Mark]:
    """From each free block to the next."""
    marks: list[Mark] = []
    for one, other in list(pairwise(starts))[:20]:
        (x, y), (to_x, to_y) = _at(one), _at(other)
        marks.append(Arrow(f"next {one:#x}", LINK, x + 4, y, to_x + 4, to_y, bend=0.12) if y == to_y else
                     Arrow(f"next {one:#x}", LINK, x + 4, y + HEIGHT, to_x + 4, to_y))
    return marks


# ---------------------------------------------------------------- the lists


def _list(part: Slob, number: int, y: float, step: Step | None, drawn: int) -> Iterator[Mark]:
    pages, event = part.lists[number], fields(event_of(step))
    below = ("below 256 bytes", "below 1,024", "others")[number]
    yield Text(f"list {number}", STRONG, MARGIN, y + 15, SLOB_LISTS[number])
    yield Text(f"below {number}", MUTED, MARGIN + 72, y + 15, below if pages else f"{below}: empty")
    for place, pfn in enumerate(pages[:MOST]):
        meaning: Meaning = used("U") if pfn == drawn else free("U")
        yield Rect(f"page {pfn:#x}", meaning, MARGIN + 184 + place * 80, y, 72, 20, label=f"{pfn:#x}",
                   touched=event.get("pfn") == pfn, tip=f"page {pfn:#x}: {part.pages[pfn].units:,} units free")
    if len(pages) > MOST:
        yield Text(f"more {number}", MUTED, MARGIN + 184 + MOST * 80, y + 15, f"{len(pages) - MOST} more")
