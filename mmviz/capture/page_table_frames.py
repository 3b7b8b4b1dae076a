"""Frames: a list that has a trace of the page allocator beside it is run once more, on the machine of the snapshot.

    NAME.snaps.gz   the page allocator before the list              -> the Machine
    NAME.trace.gz   every page that was handed out or given back    -> what others did, between the list's own requests
    NAME.text.gz    the frames of tables and pages at every step    -> the truth

The simulator asks the Machine's page allocator for each table and each page, and the frames that it gets are compared
with those of the dump, step by step: top tables, PUD, PMD and PTE tables, anonymous pages, pages of shared memory. No
predicted frame is taken from the trace.

The kernel serves others meanwhile: slabs, the program's own stack and heap and their copies after a fork, its output
file. Their rows are replayed from the trace, each before the operation of the list that it came before. Which rows are
the list's own is found by a first run on a machine of its own: the n-th request must have the same order and flags, and
where a dump shows its frame, that frame. Such rows are passed over, since the simulator does the same by itself.

How far it goes, and why not further:

* The program's own tables, the pages of the file and those of the driver were there before the list began. They are
  taken over from the dumps with their frames, and not compared.
* Rows of others that fall into the middle of an operation come before it. That changes a frame only where both take
  from the same per-CPU list, and the dumps show it (in PT_program it never happens).
* When a process exits, its pages and the program's are freed in one batch. Here the list's own come first; so the
  per-CPU list may have another order after that, and the last part of a longer list other frames.
* A page that came and went between two steps is in no dump: nobody saw its frame.
* Lists without a trace have no such column: only which frames are equal can be compared.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..errors import CaptureError
from ..mm.events import MmPageAlloc, MmPageFree
from ..mm.machine import Machine
from ..trace import Event
from .load import Capture, load_capture
from .page_table_dump import Dump
from .page_table_ops import Operation
from .replay import Operation as Row
from .replay import replay, schedule
from .replay import run as run_row

Place = tuple[str, int]  # process and line of a step
FREED = {"f": 2, "p": 2, "c": 2, "l": 1}  # rows about one page that is there already -> where they name it


def capture_beside(path: Path) -> Capture | None:
    """The capture NAME.snaps.gz beside a list; None without one.

    Raises
    ------
    CaptureError
        If its replay is not exact, or if it is more than one stretch: then it says nothing of frames.
    """
    snaps = path.with_suffix(".snaps.gz")
    if not snaps.exists():
        return None
    captures = load_capture(snaps)
    scores = [replay(capture) for capture in captures]
    if len(captures) != 1 or not scores[0].perfect:
        raise CaptureError(f"{snaps}: must be one stretch, and its replay exact, got: {'; '.join(map(str, scores))}")
    return captures[0]


class Request(NamedTuple):
    """What was asked of the page allocator, in which line of the list."""

    order: int
    gfp_mask: int
    line: int


class Return(NamedTuple):
    """The page of a request was given back, in which line of the list."""

    request: int
    line: int


@dataclass
class Journal:
    """What a run asks of the page allocator, operation by operation. `begins`, `heard` and `stepped` are called by it.

    Attributes
    ----------
    requests : list of Request
    returns : list of Return
    seen : dict of int to int
        Number of a request -> the frame that the kernel's dumps show for it.
    """

    requests: list[Request] = field(default_factory=list)
    returns: list[Return] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)
    owner: dict[int, int] = field(default_factory=dict)  # frame -> number of the request that it is of
    at_step: dict[Place, dict[int, int]] = field(default_factory=dict)
    line: int = 0

    def begins(self, operation: Operation) -> None:
        """The next operation begins."""
        self.line = operation.line

    def heard(self, event: Event) -> None:
        """Note a page that is taken, or given back."""
        if isinstance(event, MmPageAlloc):
            self.owner[event.pfn] = len(self.requests)
            self.requests.append(Request(event.order, event.gfp_mask, self.line))
        elif isinstance(event, MmPageFree) and event.pfn in self.owner:
            self.returns.append(Return(self.owner.pop(event.pfn), self.line))

    def stepped(self, place: Place) -> None:
        """Note at a step which frame is of which request."""
        self.at_step[place] = self.owner.copy()

    def see(self, place: Place, predicted: Dump, truth: Dump) -> None:
        """Learn from the kernel's dump of a step which frame each request got."""
        owner = self.at_step[place]
        for _, mine, theirs in pairs(predicted, truth):
            if mine in owner:
                self.seen.setdefault(owner[mine], theirs)


def pairs(predicted: Dump, truth: Dump) -> Iterator[tuple[str, int, int]]:
    """Every table and entry that both sides have: its name, and the two frames."""
    for path, pfn in predicted.tables.items():
        if path in truth.tables:
            yield f"table {path}", pfn, truth.tables[path]
    for vaddr, row in predicted.ptes.items():
        if vaddr in truth.ptes:
            yield f"{vaddr:#x}", row.pfn, truth.ptes[vaddr].pfn


# ---------------------------------------------------------------- whose row is it?


@dataclass
class Plan:
    """Where in a trace each request and each return of a list stands.

    Attributes
    ----------
    rows : list of Row
        What the page allocator did, in order.
    own : dict of int to int
        Place of a row -> the number of the request that it answers.
    starts : dict of int to int
        Line of the list -> the place of its first row.
    """

    rows: Sequence[Row]
    own: dict[int, int] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)

    def frame(self, place: int) -> int:
        """The frame of the allocation at a place."""
        return int(self.rows[place].row[2])


def plan(capture: Capture, journal: Journal, start: Dump) -> Plan:
    """Find the list's own rows in a trace.

    They stand behind the last allocation of a table that the program had at its start, in the order of the requests;
    each has the order, the flags, and the frame where a dump shows it. A return stands behind its request.
    """
    made = Plan(schedule(capture.rows))
    taken = [(place, row.row) for place, row in enumerate(made.rows) if row.row[0] == "a"]
    begin = 1 + max((place for place, row in taken if row[2] in start.tables.values()), default=-1)
    where: dict[int, int] = {}
    for number, request in enumerate(journal.requests):
        frame = journal.seen.get(number)
        found = next((place for place, row in taken if place >= begin and row[3] == request.order
                      and row[5] == request.gfp_mask and frame in (None, row[2])), None)
        if found is not None:
            where[number], made.own[found], begin = found, number, found + 1
            made.starts.setdefault(request.line, found)
    for number, line in journal.returns:
        if number in where:
            found = _given_back(made, where[number])
            made.starts[line] = min(made.starts.get(line, found), found)
    return made


def _given_back(made: Plan, taken: int) -> int:
    """The place where the page of an allocation is given back; the end if it is not."""
    frame = made.frame(taken)
    return next((place for place in range(taken, len(made.rows))
                 if made.rows[place].row[0] in "fp" and made.rows[place].row[2] == frame), len(made.rows))


# ---------------------------------------------------------------- the machine of the snapshot


@dataclass
class Others:
    """Replays what others did, before each operation of the list; `begins` and `heard` are called by the run.

    Attributes
    ----------
    frames : set of int
        Frames that the list itself has, as the Machine gave them.
    """

    machine: Machine
    plan: Plan
    done: int = 0
    busy: bool = False
    frames: set[int] = field(default_factory=set)
    mine: set[int] = field(default_factory=set)  # frames that the kernel gave to the list

    def begins(self, operation: Operation) -> None:
        """Replay the rows of others that stand before the first row of an operation."""
        self.advance(self.plan.starts.get(operation.line, 0))

    def advance(self, until: int) -> None:
        """Replay the rows of others up to a place."""
        self.busy = True
        while self.done < until:
            row = self.plan.rows[self.done]
            place = FREED.get(row.row[0])
            if self.done in self.plan.own:
                self.mine.add(row.row[2])
            elif place is None or row.row[place] not in self.mine:
                run_row(self.machine, row)
            elif row.row[0] in "fc":
                self.mine.discard(row.row[2])
            self.done += 1
        self.busy = False

    def heard(self, event: Event) -> None:
        """Note the frames that the list takes; what others do is not its own."""
        if isinstance(event, MmPageAlloc) and not self.busy:
            self.frames.add(event.pfn)
        elif isinstance(event, MmPageAlloc):
            self.frames.discard(event.pfn)
