"""The state of SLOB, and its primitives: the only code that changes it.

    free_slob_small   [page 0x1001, page 0x1000]        pages with room, by the size of what was last put in
    free_slob_medium  [page 0x1002]
    free_slob_large   []
    page 0x1000       units 1,994; free blocks at 54 (1,994 units)

In the kernel a free block holds its own length and the offset of the next one; lists inside a page are in the order of
addresses. Here a page keeps its free blocks as offset -> units, and the next one is the next by offset.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..trace import Event, mirrors
from . import slob_events as ev
from .machine import MACHINE_PRIMITIVES

if TYPE_CHECKING:
    from .machine import Machine

SLOB_LISTS = ("small", "medium", "large")
ON_NO_LIST = -1


@dataclass(slots=True)
class SlobPage:
    """struct page, as SLOB uses it: free units, free blocks by offset, and the list that it is on (-1: full)."""

    units: int = 0
    blocks: dict[int, int] = field(default_factory=dict)
    slob_list: int = ON_NO_LIST


@dataclass(slots=True)
class Slob:
    """All that SLOB keeps: three lists of pages with room, its pages, and the sizes in the headers of objects."""

    lists: list[list[int]] = field(default_factory=lambda: [[] for _ in SLOB_LISTS])
    pages: dict[int, SlobPage] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)

    def copy(self) -> Slob:
        """A Slob that shares nothing with this one."""
        pages = {pfn: SlobPage(page.units, dict(page.blocks), page.slob_list) for pfn, page in self.pages.items()}
        return Slob([pages[:] for pages in self.lists], pages, dict(self.sizes))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `from_dict`."""
        pages = [[pfn, page.units, sorted(map(list, page.blocks.items())), page.slob_list]
                 for pfn, page in sorted(self.pages.items())]
        return {"lists": [pages[:] for pages in self.lists], "pages": pages,
                "sizes": sorted(map(list, self.sizes.items()))}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Slob:
        """What `to_dict` described."""
        pages = {pfn: SlobPage(units, dict(blocks), slob_list) for pfn, units, blocks, slob_list in saved["pages"]}
        return cls([pages[:] for pages in saved["lists"]], pages, dict(saved["sizes"]))


def slob(machine: Machine) -> Slob:
    """What SLOB keeps of this machine; before its first page, a Slob with nothing in it."""
    part = machine.parts.get("slob")
    return part if isinstance(part, Slob) else Slob()


# ---------------------------------------------------------------- primitives


def set_page_slob(machine: Machine, pfn: int) -> None:
    """__SetPageSlab of a fresh page; no unit of it is free yet."""
    part = slob(machine)
    machine.parts["slob"] = part
    part.pages[pfn] = SlobPage()
    if machine.on:
        machine.trace.emit(ev.SetPageSlob(pfn))


def clear_page_slob(machine: Machine, pfn: int) -> None:
    """__ClearPageSlab: SLOB forgets the page."""
    del slob(machine).pages[pfn]
    if machine.on:
        machine.trace.emit(ev.ClearPageSlob(pfn))


@mirrors("mm/slob.c")
def set_slob_page_free(machine: Machine, pfn: int, slob_list: int) -> None:
    """Put a page at the head of a list."""
    part = slob(machine)
    part.lists[slob_list].insert(0, pfn)
    part.pages[pfn].slob_list = slob_list
    if machine.on:
        machine.trace.emit(ev.SetSlobPageFree(pfn, slob_list))


@mirrors("mm/slob.c")
def clear_slob_page_free(machine: Machine, pfn: int) -> None:
    """Take a page off its list."""
    part = slob(machine)
    part.lists[part.pages[pfn].slob_list].remove(pfn)
    part.pages[pfn].slob_list = ON_NO_LIST
    if machine.on:
        machine.trace.emit(ev.ClearSlobPageFree(pfn))


@mirrors("include/linux/list.h")
def list_rotate_to_front(machine: Machine, pfn: int) -> None:
    """Turn the list of a page until the page is its first."""
    part = slob(machine)
    pages = part.lists[part.pages[pfn].slob_list]
    first = pages.index(pfn)
    pages[:] = pages[first:] + pages[:first]
    if machine.on:
        machine.trace.emit(ev.ListRotateToFront(pfn))


def set_slob_units(machine: Machine, pfn: int, units: int) -> None:
    """sp->units = units."""
    slob(machine).pages[pfn].units = units
    if machine.on:
        machine.trace.emit(ev.SetSlobUnits(pfn, units))


@mirrors("mm/slob.c")
def set_slob(machine: Machine, pfn: int, offset: int, units: int) -> None:
    """Write a free block: so many units at this offset."""
    blocks = slob(machine).pages[pfn].blocks
    blocks[offset] = units
    if machine.on:
        machine.trace.emit(ev.SetSlob(pfn, offset, units))


def unlink_slob(machine: Machine, pfn: int, offset: int) -> None:
    """Take a block off the free blocks of its page."""
    del slob(machine).pages[pfn].blocks[offset]
    if machine.on:
        machine.trace.emit(ev.UnlinkSlob(pfn, offset))


def set_slob_size(machine: Machine, vaddr: int, size: int) -> None:
    """*m = size, in the header at `vaddr`; 0: what is freed has no header any more."""
    sizes = slob(machine).sizes
    if size:
        sizes[vaddr] = size
    else:
        del sizes[vaddr]
    if machine.on:
        machine.trace.emit(ev.SetSlobSize(vaddr, size))


SLOB_PRIMITIVES: dict[type[Event], Callable[..., Any]] = {
    ev.SetPageSlob: set_page_slob, ev.ClearPageSlob: clear_page_slob, ev.SetSlobPageFree: set_slob_page_free,
    ev.ClearSlobPageFree: clear_slob_page_free, ev.ListRotateToFront: list_rotate_to_front,
    ev.SetSlobUnits: set_slob_units, ev.SetSlob: set_slob, ev.UnlinkSlob: unlink_slob, ev.SetSlobSize: set_slob_size,
}
MACHINE_PRIMITIVES.update(SLOB_PRIMITIVES)
