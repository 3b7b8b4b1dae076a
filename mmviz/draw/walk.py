"""The way of one address through the tables, as the CPU goes it: at each level one entry is read.

      pgd             pud             pmd             pte             page
    +--------+      +--------+      +--------+      +--------+      +--------+
    |        |  .-> |        |  .-> |        |  .-> |        |  .-> | 0x1004 |
    | [0] ---|-'    | [4] ---|-'    | [2] ---|-'    | [0] ---|-'    |  anon  |
    |        |      |        |      |        |      |        |      |        |
    +--------+      +--------+      +--------+      +--------+      +--------+
     0x1000          0x1001          0x1002          0x1003

The way is drawn in ink. Where it ends before the page, an empty entry says why: here the CPU raises a page fault.
"""
from __future__ import annotations

from ..kernel import PAGE_SHIFT
from ..mm.geometry import Geometry, geometry_of
from ..mm.machine import Machine
from ..mm.mm_types import MmStruct
from ..mm.pgtable import WalkStep, pmd_large, pte_pfn, pte_present, walk
from ..recording import Step
from .reading import HEAD, MARGIN, RIGHT, WIDTH, event_of
from .scene import Arrow, Mark, Rect, Scene, Text
from .spaces import (
    KINDS,
    TABLE,
    WORDS,
    address_of,
    bit_names,
    grouped,
    level_written,
    page_kind,
    references,
    space_of,
    vm_of,
)
from .style import BOX, CODE, HOLE, LINK, MUTED, NUMBER, REFUSED, STRONG, free

CELL, AROUND, GAP = 24.0, 2, 11.0  # height of an entry; how many above and below the one that is read; room above that
TOP = HEAD + 34
MIDDLE = TOP + AROUND * CELL + GAP
FOOT = MIDDLE + (AROUND + 1) * CELL
HEIGHT = FOOT + 62


def draw_walk(state: Machine, step: Step | None = None, *, vaddr: int | None = None, mm: int | None = None) -> Scene:
    """The tables on the way of one address, the entry that each index picks, and where it ends.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; an entry that it wrote is touched.
    vaddr : int, optional
        The address; the one that the step names, or the start of the first mapping, if not given.
    mm : int, optional
        The process.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> from mmviz.mm.pgalloc import mm_alloc
    >>> machine = mv.toy(4)
    >>> space = mm_alloc(machine, 1, "writer")
    >>> draw_walk(machine, vaddr=0x7f0000000000).words
    'pgd[254] is empty: a page fault.'
    """
    space = space_of(state, step, mm)
    address = address_of(state, space, step, vaddr)
    way = list(walk(state, space, address))
    geometry = geometry_of(state)
    count = sum(not level.folded for level in geometry.levels) + 1
    slot = (RIGHT - MARGIN) / count
    marks: list[Mark] = [
        Text("title", STRONG, MARGIN, 24, f"The way of {grouped(address)} in {space.name}"),
        Text("remark", MUTED, MARGIN, 42, "an index picks an entry, the entry names the next frame")]
    for i, found in enumerate(way):
        written = _is_written(state, step, found.level, space, address)
        marks += _table(state, geometry, found, MARGIN + i * slot, slot, written)
    marks += _end(state, geometry, way, address, MARGIN + len(way) * slot, slot)
    words = _words(state, geometry, way, address)
    return Scene(f"The way of {address:#x}", WIDTH, HEIGHT, marks, words)


def _is_written(state: Machine, step: Step | None, level: str, space: MmStruct, address: int) -> bool:
    """Whether the step wrote the entry of this address at this level."""
    event = event_of(step)
    return level_written(geometry_of(state), event) == level and \
        (getattr(event, "mm", None), getattr(event, "vaddr", None)) == (space.pid, address)


def _table(state: Machine, geometry: Geometry, found: WalkStep, x: float, slot: float, written: bool) -> list[Mark]:
    """A table: a few of its entries, the picked one in the middle, and what that holds."""
    table, last = vm_of(state).tables[found.table], geometry.level(found.level).ptrs - 1
    width, key = slot - 34, f"table {found.level}"
    marks: list[Mark] = [
        Text(f"{key} name", CODE, x, TOP - 22, found.level),
        Text(f"{key} frame", NUMBER, x, TOP - 8, f"frame {found.table:#x}" if found.table >= 0 else "kernel image")]
    for step in range(-AROUND, AROUND + 1):
        index = found.index + step
        if step and 0 <= index <= last:
            marks.append(Rect(f"{key} {index}", free("U") if index in table else BOX, x,
                              MIDDLE + step * CELL - (GAP if step < 0 else 0), width, CELL,
                              label=f"[{index}]",
                              tip=f"{found.level}[{index}]\n{bit_names(geometry, table.get(index, 0))}"))
    bits = bit_names(geometry, found.entry)
    said = f"{found.level}[{found.index}] of frame {found.table:#x}: {bits}{', written now' if written else ''}"
    marks.append(Rect(f"{key} {found.index}", TABLE if found.entry else HOLE, x, MIDDLE, width, CELL,
                      label=f"[{found.index}]", touched=True,
                      tip=f"{found.level}[{found.index}]\n{found.entry:#x}\n{bits}", words=said))
    words = bits.split()
    for line in range(0, len(words), 3):
        marks.append(Text(f"{key} bits {line}", MUTED, x, FOOT + 18 + line * 5,
                          " ".join(words[line:line + 3])))
    if found.entry:
        marks.append(Arrow(f"{key} points", LINK, x + width, MIDDLE + CELL / 2, x + slot - 2, MIDDLE + CELL / 2,
                           touched=True))
    return marks


def _end(state: Machine, geometry: Geometry, way: list[WalkStep], vaddr: int, x: float, slot: float) -> list[Mark]:
    """The page, or the fault."""
    last = way[-1]
    pfn = _frame(geometry, last, vaddr)
    if pfn is None:
        return [Rect("fault", REFUSED, x, MIDDLE, min(slot - 10, 120), CELL, label="page fault",
                     tip="The entry is empty: the CPU raises a page fault, and the kernel looks for a mapping.")]
    kind = page_kind(state, last.entry, pfn)
    said = f"frame {pfn:#x}: {WORDS[kind]}"
    counts = f"{references(state, pfn)} references, mapped {_mapcount(state, pfn)} times"
    return [Text("page name", CODE, x, TOP - 22, "page"),
            Text("page frame", NUMBER, x, TOP - 8, f"frame {pfn:#x}"),
            Rect(f"page {pfn:#x}", KINDS[kind], x, MIDDLE - CELL, slot - 34, 3 * CELL, label=f"{pfn:#x}", touched=True,
                 tip=f"{said}\n{counts}", words=said),
            Text("page kind", MUTED, x, MIDDLE + 2 * CELL + 20, kind if pte_present(last.entry) else "not present")]


def _mapcount(state: Machine, pfn: int) -> int:
    return vm_of(state).mapcount.get(pfn, 0)


def _frame(geometry: Geometry, last: WalkStep, vaddr: int) -> int | None:
    """The frame of the address, within a huge page too; None where the way ends at an empty entry."""
    if not last.entry or (last.level != "pte" and not pmd_large(last.entry)):
        return None
    span = geometry.level(last.level).shift - PAGE_SHIFT
    return pte_pfn(geometry, last.entry) + (vaddr >> PAGE_SHIFT & (1 << span) - 1)


def _words(state: Machine, geometry: Geometry, way: list[WalkStep], vaddr: int) -> str:
    steps = ", ".join(f"{found.level}[{found.index}]" for found in way)
    pfn = _frame(geometry, way[-1], vaddr)
    if pfn is None:
        return f"{steps} is empty: a page fault."
    return f"{steps} leads to frame {pfn:#x}, {WORDS[page_kind(state, way[-1].entry, pfn)]}."
