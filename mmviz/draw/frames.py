"""The page frames of a zone in the order of their addresses, and the blocks that they are grouped to.

    0x1000  |U|        U free        |      U free       |...      a row is as many pages as there are columns
    0x1040  |                  U free                    |         low addresses left, then down
    0x1080  |                                            |
            |                  U free                    |

A block is as wide as it has pages; above one row it takes whole rows, since blocks are aligned. Solid is in use, tint
is free, a broken outline is on a per-CPU list. The strip at the right shows the pageblocks and their types. Of a page
that was in use before the recording began nobody knows the type: it is grey.

An allocated block does not say for which type it was asked; the picture gives it the type of its pageblock, unless you
know better (`types`). With more than 1,000 marks, or rows too low to be seen, a cell is a pageblock, and the picture
says so.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..kernel import MIGRATE_MOVABLE
from ..mm import events as ev
from ..mm.machine import Machine
from ..mm.mmzone import TOP_ORDER, Zone
from ..recording import Step
from .pageblocks import pageblocks_of
from .reading import (
    HEAD,
    RIGHT,
    WIDTH,
    Block,
    block_tip,
    concerns,
    event_of,
    free_words,
    heading,
    in_hand,
    key,
    letter,
    pageblock_type,
    pages,
    touched,
    type_name,
    whole,
    zone_of,
)
from .scene import GROUND, Mark, Rect, Scene, Text
from .style import GUARD, MUTED, NUMBER, Meaning, free, pcp, used

MOST_MARKS = 1000
MOST_ROWS = 96
MOST_CELLS = 440
LEFT, BAND_WIDTH = 80.0, 18.0
GRID_WIDTH = RIGHT - BAND_WIDTH - 6 - LEFT
TOP = HEAD + 14
TALL = 520.0  # of the grid


class Piece(NamedTuple):
    """A stretch of page frames of one kind: "free", "used", "pcp", "guard", "hand", or "before" (not known)."""

    pfn: int
    size: int
    kind: str
    order: int = 0
    migratetype: int = -1


class Grid(NamedTuple):
    """Where a page frame is drawn."""

    base: int
    columns: int
    rows: int
    step: float  # width of a page
    height: float  # of a row

    def rects(self, pfn: int, size: int) -> Iterator[tuple[int, float, float, float, float]]:
        """The rectangles of a stretch: first pfn, x, y, width, height; whole rows are one."""
        end = pfn + size
        while pfn < end:
            row, column = divmod(pfn - self.base, self.columns)
            full = 0 if column else (end - pfn) // self.columns
            taken = full * self.columns or min(end - pfn, self.columns - column)
            yield (pfn, LEFT + column * self.step, TOP + row * self.height,
                   min(taken, self.columns) * self.step, max(1, full) * self.height)
            pfn += taken


def draw_frames(state: Machine, step: Step | None = None, *, zone: str | None = None, nid: int | None = None,
                first: int | None = None, pages: int | None = None, columns: int | None = None,
                types: Mapping[int, str] | None = None) -> Scene:
    """The page frames of a zone, or of a part of it, and who has them.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; its block is touched.
    zone, nid : str, int, optional
        The zone and its node; the zone with most pages if not given.
    first : int, optional
        The first pfn to draw; the zone's first if not given.
    pages : int, optional
        How many pages, at least 1; to the end of the zone if not given.
    columns : int, optional
        Pages in a row: a power of two, 8 to 1024.
    types : mapping of int to str, optional
        The type that a block was asked for ("U", "M", "R"), by its first pfn, where you know it.

    Returns
    -------
    Scene
        At most 1,000 marks: above that a cell is a pageblock, and a text says so.

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_frames(mv.toy(4), pages=32).title
    'Page frames 0x1000 to 0x101f of zone DMA32'
    """
    place = zone_of(state, zone, nid)
    low, high = _window(place, first, pages)
    across = _columns(high - low, columns)
    found = _pieces(place, step, low, high)
    grid = _grid(low, high, across)
    marks = _blocks(place, step, grid, found, types or {}) if grid.rows <= MOST_ROWS and len(found) < MOST_MARKS else []
    if not marks or len(marks) > MOST_MARKS - 40:
        return pageblocks_of(place, step, low, high, "too many pages to draw one by one: ")
    title = f"Page frames {low:#x} to {high - 1:#x} of zone {place.label}"
    remark = f"{across} pages a row; a block of order n is 2^n pages wide; the strip at the right: pageblocks"
    bottom = TOP + grid.rows * grid.height
    marks += heading(state, title, remark, step) + _bands(place, step, grid, low, high)
    marks += _legend(place, bottom, _usual_letter(place, found))
    return Scene(title, WIDTH, bottom + 40, marks, _words(place, found, title))


def _window(zone: Zone, first: int | None, pages: int | None) -> tuple[int, int]:
    low = zone.zone_start_pfn if first is None else first
    if isinstance(low, bool) or not isinstance(low, int) or not zone.zone_start_pfn <= low < zone.end_pfn:
        raise ValueError(f"first must be a pfn {zone.zone_start_pfn:#x} to {zone.end_pfn - 1:#x} of zone {zone.label}, "
                         f"got {low if not isinstance(low, int) else hex(low)}")
    return low, low + whole("pages", zone.end_pfn - low if pages is None else pages, 1, zone.end_pfn - low)


def _columns(count: int, columns: int | None) -> int:
    if columns is None:
        return next(c for c in (32, 64, 128, 256) if c * 16 >= count or c == 256)
    whole("columns", columns, 8, 1024)
    if columns & (columns - 1):
        raise ValueError(f"columns must be a power of two 8 to 1,024, got {columns}")
    return columns


def _grid(low: int, high: int, columns: int) -> Grid:
    base = low & -columns
    rows = -(-(high - base) // columns)
    return Grid(base, columns, rows, GRID_WIDTH / columns, max(6.0, min(28.0, TALL // rows)))


def _words(zone: Zone, found: list[Piece], title: str) -> str:
    sums = {kind: sum(p.size for p in found if p.kind == kind) for kind in ("free", "used", "pcp", "before")}
    return (f"{title}: {pages(sums['free'])} on the free lists, {sums['pcp']:,} on per-CPU lists, {sums['used']:,} "
            f"handed out, {sums['before']:,} in use since before the recording.")


# ---------------------------------------------------------------- what lies where


def _pieces(zone: Zone, step: Step | None, low: int, high: int) -> list[Piece]:
    """Everything from `low` to `high` in order, without a gap."""
    found, at = [], low
    for piece in sorted(_known(zone, step)):
        end = min(piece.pfn + piece.size, high)
        if end <= at or piece.pfn >= high:
            continue
        if piece.pfn > at:
            found.append(Piece(at, piece.pfn - at, "before"))
        start = max(piece.pfn, at)
        found.append(piece._replace(pfn=start, size=end - start))
        at = end
    return [*found, Piece(at, high - at, "before")] if at < high else found


def _known(zone: Zone, step: Step | None) -> Iterator[Piece]:
    """What the zone knows of its pages, in any order; many untouched blocks are one piece."""
    blocks = zone.untouched
    if len(blocks) > MOST_MARKS:
        yield Piece(blocks[-1], len(blocks) << TOP_ORDER, "free", TOP_ORDER, MIGRATE_MOVABLE)
    else:
        yield from (Piece(pfn, 1 << TOP_ORDER, "free", TOP_ORDER, MIGRATE_MOVABLE) for pfn in blocks)
    yield from (Piece(pfn, 1 << order, "free", order, mt) for pfn, (order, mt) in zone.buddy.items())
    yield from (Piece(pfn, 1 << order, "used", order) for pfn, order in zone.allocated.items())
    yield from (Piece(pfn, 1 << order, "guard", order) for pfn, order in zone.guard.items())
    yield from (Piece(pfn, 1, "pcp", 0, zone.index.get(pfn, mt)) for cpu in zone.pageset
                for mt, pile in enumerate(cpu.lists) for pfn in pile)
    block = in_hand(step, zone)
    if block is not None and block.pfn not in zone.allocated:
        yield Piece(block.pfn, 1 << block.order, "hand", block.order, block.migratetype)


# ---------------------------------------------------------------- blocks


WHAT = {"free": "on its free list", "used": "handed out", "pcp": "on a per-CPU list",
        "guard": "guard block, on no list", "hand": "in hand, on no list",
        "before": "in use since before the recording"}


def _blocks(zone: Zone, step: Step | None, grid: Grid, found: list[Piece], types: Mapping[int, str]) -> list[Mark]:
    marks: list[Mark] = []
    now = touched(step, zone)
    for piece in found:
        meaning, tip = _meaning(zone, piece, types), _tip(zone, piece)
        is_touched = piece.kind == "hand" or (piece.pfn in now and piece.kind != "before")
        for pfn, x, y, width, height in grid.rects(piece.pfn, piece.size):
            name = key(pfn) if piece.kind != "before" else f"before {pfn:#x}"
            marks.append(Rect(name, meaning, x, y, width, height, tip=tip, touched=is_touched and pfn == piece.pfn))
    return marks + _row_names(grid)


def _meaning(zone: Zone, piece: Piece, types: Mapping[int, str]) -> Meaning:
    if piece.kind == "guard":
        return GUARD
    if piece.kind == "before":
        return used()
    if piece.kind == "used":
        return used(types.get(piece.pfn) or letter(zone.machine.config, pageblock_type(zone, piece.pfn)))
    kind = letter(zone.machine.config, piece.migratetype)
    return pcp(kind) if piece.kind == "pcp" else free(kind)


def _tip(zone: Zone, piece: Piece) -> str:
    if piece.kind == "before":
        return f"{piece.pfn:#x} to {piece.pfn + piece.size - 1:#x}\n{pages(piece.size)} {WHAT['before']}"
    known = piece.migratetype if piece.migratetype >= 0 else pageblock_type(zone, piece.pfn)
    return block_tip(zone.machine.config, Block(piece.pfn, piece.order, known), WHAT[piece.kind])


def _row_names(grid: Grid) -> list[Mark]:
    every = 1
    while every * grid.height < 14:
        every *= 2
    return [Text(f"row {row}", NUMBER, LEFT - 8, TOP + row * grid.height + min(grid.height, 18) / 2 + 4,
                 f"{grid.base + row * grid.columns:#x}", anchor="end") for row in range(0, grid.rows, every)]


def _bands(zone: Zone, step: Step | None, grid: Grid, low: int, high: int) -> list[Mark]:
    """The pageblocks: a strip at the right of the rows they take."""
    config, event = zone.machine.config, event_of(step)
    retyped = isinstance(event, (ev.SetPageblockMigratetype, ev.StealDecided)) and concerns(event, zone)
    size = config.pageblock_nr_pages
    marks: list[Mark] = []
    for block in range(low // size, (high - 1) // size + 1):
        top = (max(block * size, grid.base) - grid.base) / grid.columns
        end = min(((block + 1) * size - grid.base) / grid.columns, grid.rows)
        name = type_name(config, pageblock_type(zone, block * size))
        marks.append(Rect(f"pageblock {block * size:#x}", free(name), RIGHT - BAND_WIDTH, TOP + top * grid.height,
                          BAND_WIDTH, (end - top) * grid.height, tip=f"pageblock {block * size:#x} to "
                          f"{(block + 1) * size - 1:#x}\n{name}",
                          touched=retyped and getattr(event, "pfn", 0) // size == block))
    return marks


def _usual_letter(zone: Zone, found: list[Piece]) -> str:
    """The letter of most free pages in the picture: the legend is drawn in its colour."""
    sums: Counter[int] = Counter()
    for piece in found:
        if piece.kind in ("free", "pcp"):
            sums[piece.migratetype] += piece.size
    return letter(zone.machine.config, max(sums, key=lambda mt: sums[mt])) if sums else "M"


def _legend(zone: Zone, bottom: float, kind: str) -> list[Mark]:
    kinds = [(free(kind), "free"), (used(kind), "handed out"), (pcp(kind), "on a per-CPU list"),
             (used(), "used before")]
    if zone.machine.config.debug_guardpage_minorder:
        kinds.append((GUARD, "guard"))
    marks: list[Mark] = [Text("free", MUTED, RIGHT, bottom + 26, free_words(zone), anchor="end")]
    x = LEFT
    for meaning, name in kinds:
        marks.append(Rect(f"legend {name}", meaning, x, bottom + 15, 18, 13, label="", layer=GROUND))
        marks.append(Text(f"legend text {name}", MUTED, x + 24, bottom + 26, name))
        x += 44 + 6.4 * len(name)
    return marks
