"""How a CPU cuts an address: the bits, level by level, under one geometry or under all of them.

    bits      63     48 47     39 38     30 29     21 20     12 11        0
             +---------+---------+---------+---------+---------+-----------+
    x86-64   |  sign   | pgd 0   | pud 4   | pmd 2   | pte 0   |  offset   |
             +---------+---------+---------+---------+---------+-----------+
                        000000000 000000100 000000010 000000000 000000000000

Bit 0 is always at the right end, so that one sees the same bits being cut elsewhere. The bits above the top index must
all be equal to the one below them (the address is *canonical*); the CPU looks at them for nothing else.
"""
from __future__ import annotations

from ..kernel import PAGE_SHIFT
from ..mm.geometry import GEOMETRIES, Geometry, address_indices, geometry_of
from ..mm.machine import Machine
from ..recording import Step
from ..trace import Event
from .reading import MARGIN, RIGHT, WIDTH, event_of
from .scene import Mark, Rect, Scene, Text
from .spaces import TABLE, address_of, grouped, level_written, space_of
from .style import BOX, HOLE, MUTED, NUMBER, REFUSED, STRONG, TEXT, free

LEFT, TALL, ROW, TOP = 136.0, 34.0, 92.0, 60.0
BIT = (RIGHT - LEFT) / 64


def draw_address_split(state: Machine | int, step: Step | None = None, *, vaddr: int | None = None,
                       mm: int | None = None, geometry: str | None = None) -> Scene:
    """The bits of an address and the index that each level makes of them.

    Parameters
    ----------
    state : Machine or int
        A Machine: its own geometry, and the address that the step names. An int: this address, under every geometry.
    step : Step, optional
        What was just done; the level whose entry it wrote is touched.
    vaddr : int, optional
        The address, if the step's is not meant.
    mm : int, optional
        The process, where no address is given: its first mapping is shown.
    geometry : str, optional
        One of ``x86-64``, ``x86-64 5-level``, ``i386``, ``i386 PAE``.

    Returns
    -------
    Scene

    Examples
    --------
    >>> draw_address_split(0x100400000).words.split(";")[0]
    'x86-64: pgd 0, pud 4, pmd 2, pte 0, offset 0x0'
    """
    if geometry is not None and geometry not in GEOMETRIES:
        raise ValueError(f"geometry must be one of {', '.join(GEOMETRIES)}, got {geometry!r}")
    if isinstance(state, int):
        address, shown = _checked(state), list(GEOMETRIES.values())
    else:
        space = space_of(state, step, mm)
        address, shown = address_of(state, space, step, vaddr), [geometry_of(state)]
    if geometry is not None:
        shown = [GEOMETRIES[geometry]]
    marks: list[Mark] = [Text("title", STRONG, MARGIN, 24, f"The address {grouped(address)}"),
                         Text("remark", MUTED, MARGIN, 42, _remark(shown))]
    for i, one in enumerate(shown):
        marks += _strip(one, address, TOP + i * ROW, event_of(step))
    words = "; ".join(f"{one.name}: {_said(one, address)}" for one in shown)
    return Scene(f"The bits of {address:#x}", WIDTH, TOP + len(shown) * ROW, marks, f"{words}.")


def _checked(vaddr: int) -> int:
    if isinstance(vaddr, bool) or not 0 <= vaddr < 1 << 64:
        raise ValueError(f"an address must be an int from 0 to 0xffffffffffffffff, got {vaddr!r}")
    return vaddr


def _remark(shown: list[Geometry]) -> str:
    return "each index picks an entry of one table; the offset picks a byte of the page" if len(shown) == 1 else \
        "the same bits, cut by each geometry; bit 0 stands at the right"


def _said(geometry: Geometry, vaddr: int) -> str:
    if vaddr > geometry.word:
        return f"an address has {geometry.bits} bits, this one has more"
    indices = ", ".join(f"{name} {index}" for name, index in address_indices(geometry, vaddr))
    return f"{indices}, offset {vaddr & ((1 << PAGE_SHIFT) - 1):#x}"


def _strip(geometry: Geometry, vaddr: int, y: float, event: Event | None) -> list[Mark]:
    """One geometry: its name, a box for each index, the binary digits below."""
    name = geometry.name
    marks: list[Mark] = [Text(f"{name} name", TEXT, MARGIN, y + 34, name)]
    if vaddr > geometry.word:
        fits = f"does not fit: an address has {geometry.bits} bits"
        return [*marks, Rect(f"{name} refused", REFUSED, RIGHT - 32 * BIT, y + 13, 32 * BIT, TALL, label=fits,
                             words=fits)]
    written = level_written(geometry, event)
    highest = geometry.levels[0].shift + geometry.levels[0].ptrs.bit_length() - 1
    if highest < geometry.bits:
        marks += _field(geometry, vaddr, "sign", geometry.bits, highest, y, False)
    for level in geometry.levels:
        if not level.folded:
            top = level.shift + level.ptrs.bit_length() - 1
            marks += _field(geometry, vaddr, level.name, top, level.shift, y, written == level.name)
    return marks + _field(geometry, vaddr, "offset", PAGE_SHIFT, 0, y, False)


def _field(geometry: Geometry, vaddr: int, what: str, top: int, low: int, y: float, touched: bool) -> list[Mark]:
    """The bits top - 1 to low: a box with the number that they make, their places above, the digits below."""
    x, width = RIGHT - top * BIT, (top - low) * BIT
    value = vaddr >> low & (1 << top - low) - 1
    digits = f"{value:0{top - low}b}"
    key = f"{geometry.name} {what}"
    label = f"{value:#x}" if what == "offset" else f"{what} {value}" if width > 60 else f"{value}"
    meaning = {"sign": HOLE, "offset": free("M")}.get(what, BOX if not touched else TABLE)
    said = f"{what}: bits {top - 1} to {low} = {digits} = {value if what != 'offset' else hex(value)}"
    marks: list[Mark] = [
        Rect(key, meaning, x, y + 13, width, TALL, label="" if what == "sign" else label, touched=touched, tip=said,
             words=said if touched else ""),
        Text(f"{key} digits", NUMBER, x + width / 2, y + 13 + TALL + 14, digits, anchor="middle")]
    if not touched:
        marks.append(Text(f"{key} top", NUMBER, x + 1, y + 9, f"{top - 1}"))
        if width > 60:
            marks.append(Text(f"{key} low", NUMBER, x + width - 1, y + 9, f"{low}", anchor="end"))
    return marks
