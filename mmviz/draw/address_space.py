"""The four GiB of a 32-bit kernel beside the memory of the machine: what has an address, and what has none.

    addresses                               page frames
    4 GiB  +----------------+               +---------+
           | fixmap ...     |               |         |
           | pkmap          | . . . . . . . | HighMem |   no address of its own
           | vmalloc        |               |         |
           +----------------+ - - - - - - - +---------+
           | direct map     |               | Normal  |
    3 GiB  +----------------+ - - - - - - - +---------+   DMA below 16 MiB
           | user           |
    0      +----------------+

To scale, a window of 4 MiB is a hair; the scheme gives each piece the same height, and is not to scale.
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from ..kernel import PAGE_SHIFT
from ..mm.init_32 import CPU_ENTRY_AREA_PAGES, VMALLOC_OFFSET, Windows
from ..mm.machine import Machine
from ..mm.mmzone import Zone
from ..mm.watermark import is_highmem
from ..recording import Step
from .pkmap import window_of
from .reading import HEAD, MARGIN, WIDTH, heading
from .scene import Line, Mark, Rect, Scene, Text
from .style import BOX, GRID, HOLE, MUTED, NUMBER, STRONG, TEXT, Meaning, free, used

LEFT, WIDE = 150.0, 190.0
FRAMES, FRAMES_WIDE = 636.0, 110.0
TALL = 430.0
ROW = 38.0
MIB = 1 << 20
ISA_END_ADDRESS = 0x100000
LEAST_LABEL = 15.0  # a piece lower than this is named at its side


class Piece(NamedTuple):
    """A part of the address space: its name, [start, end), and what it is for."""

    name: str
    start: int
    end: int
    meaning: Meaning
    what: str


def draw_address_space(state: Machine, step: Step | None = None, *, to_scale: bool = True) -> Scene:
    """Addresses at the left, page frames at the right.

    Parameters
    ----------
    state : Machine
        A 32-bit one; ValueError for a 64-bit one.
    step : Step, optional
        Not looked at: nothing of this changes after boot.
    to_scale : bool
        False: each piece has the same height.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_address_space(mv.i386(1536)).title
    'Four GiB of addresses, and 1,536 MiB of memory, to scale'
    """
    kmap, zones = window_of(state), state.zones()
    memory = zones[-1].end_pfn << PAGE_SHIFT
    how = "to scale" if to_scale else "not to scale"
    title = f"Four GiB of addresses, and {memory / MIB:,.0f} MiB of memory, {how}"
    pieces = pieces_of(state, kmap.windows) if to_scale else list(_with_holes(pieces_of(state, kmap.windows)))
    height = TALL if to_scale else ROW * len(pieces)
    marks = heading(state, title, _remark(state), None)
    marks += _addresses(pieces, to_scale, height) + _frames(state, pieces, to_scale, height, memory)
    return Scene(title, WIDTH, HEAD + 40 + height + 24, marks, _words(state))


def pieces_of(state: Machine, windows: Windows) -> list[Piece]:
    """The parts of the address space, from the top down; between them nothing is mapped."""
    low = max(zone.end_pfn for zone in state.zones() if not is_highmem(zone))
    offset, pkmap = state.config.page_offset, windows.pkmap_base
    high_memory, table = offset + (low << PAGE_SHIFT), (512 if "PAE" in state.config.geometry else 1024) << PAGE_SHIFT
    fixmap = windows.fix_to_virt(windows.km_type_nr * windows.nr_cpus - 1)
    entry, ldt = pkmap + 2 * table, pkmap + table
    first = state.zones()[0].zone_start_pfn << PAGE_SHIFT
    first = first if first >= ISA_END_ADDRESS else 0  # the first MiB is mapped whole
    return [
        Piece("fixmap", fixmap, windows.fix_to_virt(0) + 0x1000, used("M"), "kmap_atomic: single pages for each CPU"),
        Piece("cpu entry area", entry, entry + windows.nr_cpus * CPU_ENTRY_AREA_PAGES * 0x1000 + 0x1000, BOX,
              "stacks and tables for entering the kernel"),
        Piece("LDT", ldt, entry, BOX, "the local descriptor table of the task"),
        Piece("pkmap", pkmap, windows.pkmap_addr(windows.last_pkmap), used("M"),
              f"kmap: {windows.last_pkmap:,} slots"),
        Piece("vmalloc", high_memory + VMALLOC_OFFSET, pkmap - 0x2000, BOX, "vmalloc and ioremap"),
        Piece("direct map", offset + first, high_memory, free("M"), "low memory, as it is"),
        Piece("user", 0, offset, BOX, "the running process"),
    ]


def _with_holes(pieces: list[Piece]) -> Iterator[Piece]:
    """The pieces, and between them the gaps that count: from 1 MiB on."""
    for upper, lower in pairwise(pieces):
        yield upper
        if upper.start - lower.end >= MIB:
            yield Piece(f"hole over {lower.name}", lower.end, upper.start, HOLE, "nothing is mapped")
    yield pieces[-1]


def size(count: int) -> str:
    """A number of bytes in words.

    >>> size(4 << 20), size(0x373FE000), size(80 << 12)
    ('4 MiB', '883.99 MiB', '320 KiB')
    """
    if count < MIB:
        return f"{count >> 10:,} KiB"
    return f"{count / MIB:,.2f}".rstrip("0").rstrip(".") + " MiB"


def _remark(state: Machine) -> str:
    high = [zone for zone in state.zones() if is_highmem(zone)]
    pages = sum(zone.spanned_pages for zone in high)
    return f"HighMem: {size(pages << PAGE_SHIFT)} have page frames and no address" if high else \
        "all memory is low: every page has an address"


def _addresses(pieces: list[Piece], to_scale: bool, height: float) -> list[Mark]:
    marks: list[Mark] = [Text("addresses", STRONG, LEFT, HEAD + 18, "addresses"),
                         Rect("four gib", HOLE, LEFT, HEAD + 30, WIDE, height, label="", layer=0,
                              tip="nothing is mapped in the gaps")]
    beside = 0.0
    for number, piece in enumerate(pieces):
        top, tall = _span(piece, number, to_scale, height)
        fits, length = tall >= LEAST_LABEL, size(piece.end - piece.start)
        beside = max(top + tall / 2, beside + 17)
        marks.append(Rect(f"piece {piece.name}", piece.meaning, LEFT, top, WIDE, max(tall, 1.5),
                          label=piece.name if fits else "", words=f"{piece.name} from {piece.start:#x}, {length}",
                          tip=f"{piece.name}: {piece.start:#x} to {piece.end:#x}\n{length}\n{piece.what}"))
        said = f"{length}: {piece.what}" if fits else f"{piece.name} from {piece.start:#x}, {length}"
        marks.append(Text(f"said {piece.name}", TEXT, LEFT + WIDE + 20, beside + 4, said))
        marks.append(Line(f"lead {piece.name}", GRID, LEFT + WIDE + 2, top + tall / 2, LEFT + WIDE + 17, beside))
        if fits:  # where it begins: at its lower edge
            marks.append(Text(f"start {piece.name}", NUMBER, LEFT - 12, top + tall, f"{piece.start:#x}", anchor="end"))
    return marks


def _span(piece: Piece, number: int, to_scale: bool, height: float) -> tuple[float, float]:
    """Top and height of a piece; high addresses are on top."""
    if not to_scale:
        return HEAD + 30 + number * ROW + 2, ROW - 4
    scale = height / (1 << 32)
    return HEAD + 30 + ((1 << 32) - piece.end) * scale, (piece.end - piece.start) * scale


def _frames(state: Machine, pieces: list[Piece], to_scale: bool, height: float, memory: int) -> list[Mark]:
    """The zones at the right; low memory stands beside the direct map that shows it."""
    marks: list[Mark] = [Text("frames", STRONG, FRAMES, HEAD + 18, "page frames")]
    direct = next(i for i, piece in enumerate(pieces) if piece.name == "direct map")
    top, tall = _span(pieces[direct], direct, to_scale, height)
    low = [zone for zone in state.zones() if not is_highmem(zone)]
    scale = tall / (low[-1].end_pfn - low[0].zone_start_pfn)
    heights = [zone.spanned_pages * scale if to_scale else tall / len(low) if zone in low else ROW * 2
               for zone in state.zones()]
    bottom = max(top + tall, HEAD + 30 + sum(heights))  # a column that is too tall for its place stands lower
    y, beside = bottom, HEAD + 60 + height + sum(heights)
    for zone, above in zip(state.zones(), heights, strict=True):
        y -= above
        beside = min(y + above / 2, beside - 17)
        marks += _zone(zone, y, above, beside, free("M") if zone in low else used("M"))
    edge = bottom - sum(heights[:len(low)])
    if not to_scale:
        marks += [Line("edge low", GRID, LEFT + WIDE, top + tall, FRAMES, bottom),
                  Line("edge high", GRID, LEFT + WIDE, top, FRAMES, edge)]
    return [*marks,
            Text("end", MUTED, MARGIN, HEAD + 30 + height + 22,
                 f"Memory ends at pfn {(memory >> PAGE_SHIFT) - 1:#x}. A high page is seen through pkmap or the "
                 "fixmap, or not at all.")]


def _zone(zone: Zone, y: float, tall: float, beside: float, meaning: Meaning) -> list[Mark]:
    length = size(zone.spanned_pages << PAGE_SHIFT)
    fits = tall >= LEAST_LABEL
    tip = f"{zone.label}: pfn {zone.zone_start_pfn:#x} to {zone.end_pfn - 1:#x}\n{length}"
    return [Rect(f"zone {zone.name}", meaning, FRAMES, y, FRAMES_WIDE, max(tall, 1.5), label=zone.name if fits else "",
                 tip=tip, words=f"zone {zone.name} of {length}"),
            Text(f"size {zone.name}", TEXT, FRAMES + FRAMES_WIDE + 12, beside + 4,
                 length if fits else f"{zone.name}, {length}")]


def _words(state: Machine) -> str:
    low = sum(zone.spanned_pages for zone in state.zones() if not is_highmem(zone)) << PAGE_SHIFT
    high = sum(zone.spanned_pages for zone in state.zones() if is_highmem(zone)) << PAGE_SHIFT
    said = f"Low memory, {size(low)}, has addresses from {state.config.page_offset:#x} on."
    return f"{said} HighMem, {size(high)}, has none." if high else said
