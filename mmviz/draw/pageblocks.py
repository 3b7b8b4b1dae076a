"""The pageblocks of a zone: whose they are, and how much of each is off the free lists.

    0x1000  | U 31 | U    | M    | M 4  | ...     letter and tint: the type that owns the pageblock
    0x3000  | M    | M    | M    | M 512| ...     number and bar: pages of it that are not on the free lists

A pageblock is the unit of ownership: 512 pages on x86-64, as large as a huge page. A cell without a number is whole:
all of it lies on the free lists, so that a huge page can be cut from it. Pages on per-CPU lists are free, but off the
lists, and they spoil a pageblock as well.

Of a zone with more than 440 pageblocks a cell is several of them, with the type that most have; the picture says so.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..kernel import MIGRATE_MOVABLE
from ..mm.machine import Machine
from ..mm.mmzone import TOP_ORDER, Zone
from ..recording import Step
from .reading import HEAD, RIGHT, WIDTH, free_words, heading, pages, touched, type_name, zone_of
from .scene import Mark, Rect, Scene, Text, text_fits
from .style import MUTED, NUMBER, free, used

MOST_CELLS = 440
LEFT, TOP, TALL = 80.0, HEAD + 14, 520.0
BAR, THIN = 5.0, 2.0  # height of the bar; width of what would be too thin to see


def draw_pageblocks(state: Machine, step: Step | None = None, *, zone: str | None = None,
                    nid: int | None = None) -> Scene:
    """Whose the pageblocks of a zone are, and which of them are whole.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; its pageblock is touched.
    zone, nid : str, int, optional
        The zone and its node; the zone with most pages if not given.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_pageblocks(mv.toy(4)).words
    'Pageblocks of zone DMA32: 2 MOVABLE; 2 of 2 are whole.'
    """
    place = zone_of(state, zone, nid)
    return pageblocks_of(place, step, place.zone_start_pfn, place.end_pfn)


def pageblocks_of(zone: Zone, step: Step | None, low: int, high: int, remark: str = "") -> Scene:
    """The cells from page `low` to before page `high`; `remark` stands before what the picture says of itself."""
    size = _cell_size(zone, low, high)
    cells = range(low // size, (high - 1) // size + 1)
    across = 16 if len(cells) <= 256 else 32
    width, rows = (RIGHT - LEFT) / across, -(-len(cells) // across)
    height = max(16.0, min(32.0, TALL // rows))
    on_lists, now = _free_by_cell(zone, size), {pfn // size for pfn in touched(step, zone)}
    marks = heading(zone.machine, f"Pageblocks of zone {zone.label}", remark + _remark(zone, size), step)
    for i, cell in enumerate(cells):
        x, y = LEFT + i % across * width, TOP + i // across * (height + 4)
        marks += _cell(zone, cell, size, on_lists[cell], cell in now, (x, y, width - 3, height))
        if i % across == 0:
            marks.append(Text(f"row {i // across}", NUMBER, LEFT - 8, y + (height - BAR) / 2 + 4, f"{cell * size:#x}",
                              anchor="end"))
    bottom = TOP + rows * (height + 4)
    marks.append(Text("free", MUTED, RIGHT, bottom + 20, free_words(zone), anchor="end"))
    title = f"Pageblocks of zone {zone.label}"
    return Scene(title, WIDTH, bottom + 34, marks, f"{title}: {_words(zone, cells, size, on_lists)}.")


def _cell_size(zone: Zone, low: int, high: int) -> int:
    """Pages of a cell: a pageblock, or twice, four times as much ... until there are few enough."""
    size = zone.machine.config.pageblock_nr_pages
    while -(-high // size) - low // size > MOST_CELLS:
        size *= 2
    return size


def _remark(zone: Zone, size: int) -> str:
    blocks = size // zone.machine.config.pageblock_nr_pages
    cell = "one pageblock" if blocks == 1 else f"{blocks:,} pageblocks"
    return f"a cell is {cell} of {pages(size)}; number and bar: pages off the free lists"


def _words(zone: Zone, cells: range, size: int, on_lists: Counter[int]) -> str:
    owners = Counter(type_name(zone.machine.config, _usual_type(zone, cell, size)) for cell in cells)
    whole = sum(on_lists[cell] >= _extent(zone, cell, size)[1] for cell in cells)
    return f"{', '.join(f'{count:,} {name}' for name, count in owners.items())}; {whole:,} of {len(cells):,} are whole"


def _free_by_cell(zone: Zone, size: int) -> Counter[int]:
    """How many pages of each cell lie on the free lists."""
    found: Counter[int] = Counter()
    for pfn, count in _stretches(zone):
        for cell in range(pfn // size, (pfn + count - 1) // size + 1):
            found[cell] += min(pfn + count, (cell + 1) * size) - max(pfn, cell * size)
    return found


def _stretches(zone: Zone) -> Iterator[tuple[int, int]]:
    """First pfn and pages of what is on the free lists; the untouched blocks lie side by side."""
    if zone.untouched:
        yield zone.untouched[-1], len(zone.untouched) << TOP_ORDER
    yield from ((pfn, 1 << order) for pfn, (order, _) in zone.buddy.items())


def _extent(zone: Zone, cell: int, size: int) -> tuple[int, int]:
    """First pfn and pages of that part of a cell which lies in the zone."""
    first = max(cell * size, zone.zone_start_pfn)
    return first, min((cell + 1) * size, zone.end_pfn) - first


def _cell(zone: Zone, cell: int, size: int, on_lists: int, is_touched: bool,
          place: tuple[float, float, float, float]) -> list[Mark]:
    x, y, width, height = place
    first, count = _extent(zone, cell, size)
    name, off = type_name(zone.machine.config, _usual_type(zone, cell, size)), max(0, count - on_lists)
    tall = height - BAR
    label = f"{name[0]} {off:,}" if off and text_fits(f"{name[0]} {off:,}", width, tall) else name[0]
    tip = f"{first:#x} to {first + count - 1:#x}\n{name}: {on_lists:,} of {pages(count)} on the free lists"
    marks: list[Mark] = [Rect(f"pageblock {cell * size:#x}", free(name), x, y, width, tall, label=label, tip=tip,
                              touched=is_touched)]
    if off:
        long = max(THIN, width * off / count)
        marks.append(Rect(f"bar {cell * size:#x}", used(name), x, y + tall, long, BAR, label="", tip=tip))
    return marks


def _usual_type(zone: Zone, cell: int, size: int) -> int:
    """The type that most pageblocks of a cell have."""
    per_cell = size // zone.machine.config.pageblock_nr_pages
    if per_cell == 1:
        return zone.pageblock.get(cell, MIGRATE_MOVABLE)
    blocks = range(cell * per_cell, (cell + 1) * per_cell)
    others = [zone.pageblock[block] for block in zone.pageblock if block in blocks]
    if 2 * len(others) <= per_cell:
        return MIGRATE_MOVABLE
    return max(sorted(set(others)), key=others.count)
