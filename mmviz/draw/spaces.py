"""What the drawings of address spaces read out of one state and one step.

    whose?    `space_of`    the mm that the event names; or the one asked for; or the first with mappings
    where?    `address_of`  the address that the event names; or the one asked for
    what?     `page_kind`   anonymous, of a file, a table, the zero page, or a driver's frame (SPECIAL)

A frame that is somebody's memory is MOVABLE and has its blue; a page table is UNMOVABLE and red; the zero page and
frames that were only remapped have no type here and are grey.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..kernel import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE
from ..mm import vm_events as ev
from ..mm.geometry import Geometry, Level, geometry_of
from ..mm.machine import Machine
from ..mm.mm_types import INIT_MM, MmStruct, Vm, VmAreaStruct
from ..mm.pgtable import pmd_large, pte_pfn, pte_special
from ..recording import Step
from ..trace import Event
from .reading import event_of
from .style import used

TABLE = used("U")
KINDS = {"anon": used("M"), "file": used("M"), "table": TABLE, "zero": used(), "special": used()}
WORDS = {"anon": "anonymous page", "file": "page of a file", "table": "page table", "zero": "the zero page",
         "special": "a driver's frame"}
SETS = (ev.SetPgd, ev.SetP4d, ev.SetPud, ev.SetPmd, ev.SetPteAt)  # by level, top first


class PageIn(NamedTuple):
    """One page of a mapping: address, entry, frame."""

    vaddr: int
    entry: int
    pfn: int


def vm_of(machine: Machine) -> Vm:
    """The processes of a state.

    Raises
    ------
    ValueError
        If the state is no Machine, or has no processes yet.
    """
    part = machine.parts.get("vm") if isinstance(machine, Machine) else None
    if not isinstance(part, Vm):
        raise ValueError(f"state must be a Machine with processes, got {machine!r:.60}")
    return part


def users(machine: Machine) -> list[MmStruct]:
    """The address spaces of processes, by pid."""
    return [mm for pid, mm in sorted(vm_of(machine).mm.items()) if pid != INIT_MM]


def space_of(machine: Machine, step: Step | None = None, mm: int | None = None) -> MmStruct:
    """The address space to draw: the one asked for, the one that the event names, or the first.

    Raises
    ------
    ValueError
        If there is no such process.
    """
    spaces = {space.pid: space for space in users(machine)}
    named = getattr(event_of(step), "mm", None)
    wanted = mm if mm is not None else named if named in spaces else min(spaces, default=None)
    if wanted not in spaces:
        raise ValueError(f"mm must be one of {', '.join(map(str, spaces)) or 'none'}, got {mm!r}")
    return spaces[wanted]


def address_of(machine: Machine, space: MmStruct, step: Step | None = None, vaddr: int | None = None) -> int:
    """The address to walk: the one asked for, the one that the event names, or where the first mapping starts."""
    limit = geometry_of(machine).word
    if vaddr is not None and (type(vaddr) is not int or not 0 <= vaddr <= limit):
        raise ValueError(f"vaddr must be an int from 0 to {limit:#x}, got {vaddr!r}")
    event = event_of(step)
    named = next((value for name in ("vaddr", "address", "addr") if (value := getattr(event, name, None)) is not None),
                 None)
    if vaddr is not None:
        return vaddr
    return named if isinstance(named, int) else space.mmap[0].vm_start if space.mmap else 0


def page_kind(machine: Machine, entry: int, pfn: int) -> str:
    """"anon", "file", "table", "zero" or "special"."""
    state = vm_of(machine)
    if pfn == state.zero_pfn:
        return "zero"
    if pfn in state.tables:
        return "table"
    mapping = state.mapping.get(pfn)
    return "special" if pte_special(entry) or mapping is None else mapping.kind or "file"  # "": the file let it go


def references(machine: Machine, pfn: int) -> int:
    """page_count: the references of a page."""
    for zone in machine.populated:
        if zone.zone_start_pfn <= pfn < zone.end_pfn:
            return zone.refcount.get(pfn, int(pfn in zone.allocated))
    return vm_of(machine).reserved.get(pfn, 1)


def level_written(geometry: Geometry, event: Event | None) -> str:
    """The level of the table that an event wrote an entry of, "" if none; a folded level is the one above it."""
    place = next((i for i, kind in enumerate(SETS) if isinstance(event, kind)), -1)
    while place > 0 and geometry.levels[place].folded:
        place -= 1
    return geometry.levels[place].name if place >= 0 else ""


# ---------------------------------------------------------------- words


def bit_names(geometry: Geometry, entry: int) -> str:
    """The bits of an entry in words, top last: "P RW US A D NX"; "empty" for 0."""
    names = ["P", "RW", "US", "PWT", "PCD", "A", "D", "PSE", "PROT_NONE" if not entry & 1 else "G", "SPECIAL"]
    found = [name for bit, name in enumerate(names) if entry >> bit & 1]
    found += ["NX"] * (geometry.nx and entry >> 63 & 1)
    return " ".join(found) or "empty"


def rights(vma: VmAreaStruct) -> str:
    """As in /proc/PID/maps: "rw-p"."""
    flags = vma.vm_flags
    letters = [letter if flags & bit else "-" for bit, letter in ((VM_READ, "r"), (VM_WRITE, "w"), (VM_EXEC, "x"))]
    return "".join(letters) + ("s" if flags & VM_SHARED else "p")


def size_words(nr_bytes: int) -> str:
    """A size in the largest unit that keeps it whole or has one decimal.

    >>> size_words(8192), size_words(1 << 30), size_words(0x13ffff000 - 0x100010000)
    ('8 KiB', '1 GiB', '1,023.9 MiB')
    """
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB")):
        if nr_bytes >= 1 << shift:
            whole = nr_bytes / (1 << shift)
            return f"{int(whole * 10) / 10:,.1f} {unit}".replace(".0 ", " ")
    return f"{nr_bytes >> 10:,} KiB"


def grouped(vaddr: int) -> str:
    """An address with a thin gap every four digits, so that it can be read.

    >>> grouped(0x100400000)
    '0x1 0040 0000'
    """
    digits = f"{vaddr:x}"
    head = len(digits) % 4 or 4
    return "0x" + " ".join([digits[:head], *(digits[i:i + 4] for i in range(head, len(digits), 4))])


# ---------------------------------------------------------------- entries


def entries_of(machine: Machine, space: MmStruct, start: int = 0, end: int | None = None) -> Iterator[PageIn]:
    """The entries that map something in [start, end), ascending; a huge one as its first page.

    None, once exit has freed the top table, and without an MMU.
    """
    geometry = geometry_of(machine)
    levels = [level for level in geometry.levels if not level.folded]
    yield from _below(machine, geometry, levels, space.pgd, 0, start, geometry.word + 1 if end is None else end)


def _below(machine: Machine, geometry: Geometry, levels: list[Level], table: int, first: int, start: int,
           end: int) -> Iterator[PageIn]:
    level, *rest = levels
    for index, entry in sorted(vm_of(machine).tables.get(table, {}).items()):
        vaddr = first + (index << level.shift)
        if vaddr + (1 << level.shift) <= start or vaddr >= end:
            continue
        if not rest or pmd_large(entry):
            yield PageIn(vaddr, entry, pte_pfn(geometry, entry))
        else:
            yield from _below(machine, geometry, rest, pte_pfn(geometry, entry), vaddr, start, end)
