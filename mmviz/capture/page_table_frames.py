"""Frames: where a trace of the page allocator stands beside a list, which page was handed out for which request?

    simulator   request 17: a PTE table, GFP_KERNEL_ACCOUNT|__GFP_ZERO --.
                request 18: a page, GFP_HIGHUSER_MOVABLE|__GFP_ZERO  --. |
                                                                       | '- row 861 of the trace: pfn 0x1b5b2
    NAME.snaps.gz, replayed: the allocator hands out at each row ...  -'--- row 862: pfn 0x1fe75

Three things must agree for a frame to count as exact: the simulator asks for it at this place of its sequence, with
this order and these flags; the trace has such a request, in this sequence; and the page allocator of the Machine,
started from the snapshot, predicts for that row the very frame that the dump shows in the table. Compared are the pages
and tables (top tables included) that the list itself makes and that a dump shows.

How far it goes, and why not further:

* A page that came and went between two steps is in no dump: nobody saw its frame.
* Between two requests of the list the kernel serves others (slabs, the program's own pages and stack, its output file).
  Those rows are in the trace and are replayed, but no list says when they came: where in the trace a request of the
  list stands is found by the frame in the dump. So the place is read, and the frame is predicted.
* Frees are the trace's for the same reason. The pages of the file and of the driver were there before the list began.
* Lists without a trace have no such column: their frames cannot be known, only which are equal.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..errors import CaptureError
from ..kernel import gfp_name
from ..mm.events import MmPageAlloc
from ..trace import Event
from .load import load_capture
from .page_table_dump import Dump
from .replay import replay


class Request(NamedTuple):
    """What the simulator asked the page allocator for."""

    order: int
    gfp_mask: int


class Row(NamedTuple):
    """What the kernel was asked for, and the frame that the replay predicts."""

    order: int
    gfp_mask: int
    pfn: int


@dataclass
class Frames:
    """The requests of a run, and the frames that dumps show of them. Listen with `heard`; compare each step by `see`.

    Attributes
    ----------
    requests : list of Request
    seen : dict of int to int
        Number of a request -> the frame in the kernel's dump.
    """

    requests: list[Request] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)
    owner: dict[int, int] = field(default_factory=dict)  # frame of the simulator -> number of its last request
    at_step: dict[tuple[str, int], dict[int, int]] = field(default_factory=dict)

    def heard(self, event: Event) -> None:
        """Count a request of the simulator."""
        if isinstance(event, MmPageAlloc):
            self.owner[event.pfn] = len(self.requests)
            self.requests.append(Request(event.order, event.gfp_mask))

    def keep(self, place: tuple[str, int]) -> None:
        """Remember who owns which frame at this step."""
        self.at_step[place] = self.owner.copy()

    def see(self, place: tuple[str, int], predicted: Dump, truth: Dump) -> None:
        """Learn from a dump which frame the kernel gave for which request."""
        owner = self.at_step[place]
        pairs = [(pfn, truth.tables[path]) for path, pfn in predicted.tables.items() if path in truth.tables]
        pairs += [(row.pfn, truth.ptes[vaddr].pfn) for vaddr, row in predicted.ptes.items() if vaddr in truth.ptes]
        for mine, theirs in pairs:
            if mine in owner:
                self.seen.setdefault(owner[mine], theirs)

    def placed(self, rows: list[Row]) -> Iterator[tuple[int, int, Row | None]]:
        """Number, frame and row of each request that was seen; None for the row where the trace has no such request."""
        start = 0
        for number in sorted(self.seen):
            request, pfn = self.requests[number], self.seen[number]
            place = next((i for i in range(start, len(rows)) if rows[i] == (*request, pfn)), None)
            yield number, pfn, None if place is None else rows[place]
            start = start if place is None else place + 1


def allocations(path: Path) -> list[Row] | None:
    """The allocations of NAME.snaps.gz beside a list, as the Machine's page allocator predicts them; None without one.

    Raises
    ------
    CaptureError
        If the replay of the trace itself is not exact: then its frames say nothing.
    """
    snaps = path.with_suffix(".snaps.gz")
    if not snaps.exists():
        return None
    rows: list[Row] = []
    for capture in load_capture(snaps):
        score = replay(capture)
        if not score.perfect:
            raise CaptureError(f"{snaps}: the replay of the page allocator must be exact, got: {score}")
        rows += [Row(row[3], row[5], row[2]) for row in capture.rows if row[0] == "a" and row[2] is not None]
    return rows


def said(request: Request, number: int) -> str:
    """A request in words."""
    return f"request {number}, order {request.order}, {gfp_name(request.gfp_mask)}"
