"""What SLOB can say: a page is cut into blocks of any size, in units of two bytes.

Fields: `pfn` the page, `offset` the place of a block in it in units (0..2047), `units` its length in units, `slob_list`
0 small, 1 medium, 2 large; `vaddr` an address, `size` in bytes.
"""
from __future__ import annotations

from ..trace import Event, event
from .events import Decision

# ---------------------------------------------------------------- changes: each has a primitive in slob_state.py


@event
class SlobPageEvent(Event):
    """Base of what happens to a page of SLOB."""

    pfn: int


@event
class SetPageSlob(SlobPageEvent):
    """A fresh page belongs to SLOB: no unit is free yet, and it is on no list (__SetPageSlab)."""


@event
class ClearPageSlob(SlobPageEvent):
    """A page belongs to SLOB no more: all of it is free (__ClearPageSlab)."""


@event
class SetSlobPageFree(SlobPageEvent):
    """A page with room became the first of a list."""

    slob_list: int


@event
class ClearSlobPageFree(SlobPageEvent):
    """A page left its list: it is full, or goes back to the page allocator."""


@event
class ListRotateToFront(SlobPageEvent):
    """A list was turned until this page came first: the next search begins here."""


@event
class SetSlobUnits(SlobPageEvent):
    """sp->units: so many units of the page are free."""

    units: int


@event
class SetSlob(SlobPageEvent):
    """A free block was written: its length, and the way to the next one, which is the next by address."""

    offset: int
    units: int


@event
class UnlinkSlob(SlobPageEvent):
    """A free block is one no more: it was handed out, or became part of the one before it."""

    offset: int


@event
class SetSlobSize(Event):
    """The header of an object was written: the size that was asked for. 0: the object is gone, and its header."""

    vaddr: int
    size: int


# ---------------------------------------------------------------- decisions


@event
class SlobListChosen(Decision):
    """Which of the three lists: by the size with its header, against 256 and 1,024 bytes."""

    size: int
    slob_list: int


@event
class SlobPageSkipped(Decision):
    """A page of the list was passed over: "node" (of another node), "units" (too few free), "room" (in pieces)."""

    pfn: int
    units: int
    reason: str


@event
class SlobBlockChecked(Decision):
    """A free block was looked at: `delta` units are lost to alignment; does it hold `units` more?"""

    pfn: int
    offset: int
    avail: int
    delta: int
    units: int
    fits: bool


@event
class SlobFreeDecided(Decision):
    """Where a freed block goes: "page" (all is free now), "list" (the page was full), "block" (among free blocks)."""

    vaddr: int
    units: int
    where: str


@event
class SlobPageAsked(Decision):
    """SLOB asks the page allocator for 2^order pages; vaddr 0: it gets none."""

    order: int
    node: int
    vaddr: int
