"""The trace of SLUB: requests for objects among the rows of pages, each with the cache and the pages that are its own.

An object belongs to the cache whose slab it lies in. The slabs are those of the first snapshot, and those that came
since: a page was allocated, and the next request lies in it. Whose that slab is, the trace does not say. A kmalloc
tells it by its size. Any other is told by the lines of the kernel's source that took objects of it (`call_site`), if
one of them took an object of a slab that is known: one of the first snapshot, one of the second, or one so told.

    mm_page_alloc pfn=107549            inside the request after it, because its object lies in that page
    kmem_cache_alloc ptr=...41d000
    mm_page_free pfn=107565             a slab: inside the request that is printed after it, of the same cache
    kmem_cache_free ptr=...             (kfree is printed first; a slab of an RCU cache is freed by nobody's request)
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ..errors import CaptureError
from ..kernel import MAX_ORDER, PAGE_SHIFT, parse_gfp
from ..mm.machine import Machine
from ..mm.slab_common import SLAB_TYPESAFE_BY_RCU, kmalloc_name, kmalloc_size, kmalloc_slab_index, kmalloc_type
from ..mm.slab_state import slab
from .ftrace import Reader, Row, parse_ftrace
from .load import Capture, load_capture, read_text, trace_beside
from .replay import Operation, schedule
from .slub_snapshot import Caches, parse_slub, slab_of

_EVENT = re.compile(r"\[(\d+)\]\s+..(.)\S*\s+[\d.]+: (kmalloc|kmalloc_node|kfree|kmem_cache_\w+): (.*)")
_PAIR = re.compile(r"(\w+)=([^ ]*)")
ALLOCS = ("kmalloc", "kmalloc_node", "kmem_cache_alloc", "kmem_cache_alloc_node")


class Request(NamedTuple):
    """A request for an object, or its end: an event of the trace. `interrupt`: an interrupt asked, not a task."""

    kind: str
    cpu: int
    ptr: int
    bytes_req: int = 0
    bytes_alloc: int = 0
    gfp: int = 0
    node: int = -1
    site: str = ""
    interrupt: bool = False


class SlubReader(Reader):
    """Keeps the requests for objects among the rows of pages, as ["o", cpu, Request]."""

    def read(self, line: str) -> None:
        """One line of the trace."""
        super().read(line)
        match = _EVENT.search(line)
        if match:
            request = _request(int(match[1]), match[3], dict(_PAIR.findall(match[4])), match[2] in "hHs")
            self.rows.append(["o", request.cpu, request])


def _request(cpu: int, kind: str, p: dict[str, str], interrupt: bool) -> Request:
    try:
        if kind not in ALLOCS:
            return Request(kind, cpu, int(p["ptr"], 16), interrupt=interrupt)
        return Request(kind, cpu, int(p["ptr"], 16), int(p["bytes_req"]), int(p["bytes_alloc"]),
                       parse_gfp(p["gfp_flags"]), int(p.get("node", "-1")), p["call_site"], interrupt)
    except KeyError as error:
        raise ValueError(f"{kind} without {error.args[0]}=") from error


@dataclass(frozen=True)
class SlubCapture:
    """What a real kernel's SLUB did between two snapshots.

    Attributes
    ----------
    capture : Capture
        The page allocator's side.
    before, after : dict
        The selected caches in the snapshots.
    rows : list
        Page rows, and ["o", cpu, Request] among them.
    """

    capture: Capture
    before: Caches
    after: Caches
    rows: list[Row]

    @property
    def name(self) -> str:
        """The capture's name."""
        return self.capture.name

    def machine(self) -> Machine:
        """The Machine before the first operation, its part "slab" with the selected caches."""
        return self._with_part(self.capture.machine(), self.before, "before")

    def truth(self) -> Machine:
        """The Machine as the real kernel left it."""
        return self._with_part(self.capture.truth(), self.after, "after")

    def _with_part(self, machine: Machine, caches: Caches, which: str) -> Machine:
        machine.parts["slab"] = slab_of(caches, machine, f"{self.name} ({which})")
        return machine


def load_slub(path: str | Path) -> list[SlubCapture]:
    """Read what a capture says of SLUB: one SlubCapture for each pair of snapshots, none if no cache was selected.

    Raises
    ------
    CaptureError
        As `load_capture`; or if the snapshots do not select the same caches.
    """
    path = Path(path)
    if not path.name.endswith(".snaps.gz"):
        return []
    snapshots = parse_slub(read_text(path), path.name)
    if not any(snapshots):
        return []
    if any(first.keys() != second.keys() for first, second in pairwise(snapshots)):
        raise CaptureError(f"{path.name}: every snapshot must tell of the same caches, they tell of "
                           f"{[sorted(each) for each in snapshots]}")
    trace = trace_beside(path)
    stretches = parse_ftrace(read_text(trace), trace.name, SlubReader)
    return [SlubCapture(capture, before, after, rows) for capture, (before, after), rows
            in zip(load_capture(path), pairwise(snapshots), stretches, strict=True)]


@dataclass
class ObjectOperation:
    """A request of a selected cache, and the operations of the page allocator that lie inside it."""

    number: int
    cache: str
    request: Request | None  # None: a grace period has ended, and a slab is freed
    pages: list[Operation] = field(default_factory=list)

    @property
    def interrupt(self) -> bool:
        """Whether an interrupt asked for it."""
        return self.request is None or self.request.interrupt

    @property
    def gives(self) -> bool:
        """Whether it gives an object out."""
        return self.request is not None and self.request.kind in ALLOCS


def schedule_objects(capture: SlubCapture, machine: Machine) -> list[ObjectOperation | Operation]:
    """The operations in the order in which they start: requests of the selected caches, and everybody else's pages."""
    rows = capture.rows
    numbers = [number for number, row in enumerate(rows) if row[0] != "o"]
    pages = {numbers[each.number]: each._replace(number=numbers[each.number])
             for each in schedule([rows[number] for number in numbers])}
    scheduler = _Scheduler(capture, machine, pages)
    scheduler.learn_sites(rows)
    for number, row in enumerate(rows):
        scheduler.take(number, row)
    place = {id(row): number for number, row in enumerate(rows)}

    def start(operation: ObjectOperation | Operation) -> int:
        if isinstance(operation, ObjectOperation):
            return min([operation.number, *map(start, operation.pages)])
        return place[id(operation.inner[0])] if operation.inner else operation.number
    return sorted(scheduler.found.values(), key=start)


class _Scheduler:
    """What is known of the pages while the rows go by."""

    def __init__(self, capture: SlubCapture, machine: Machine, pages: dict[int, Operation]) -> None:
        self.zone_dma = "DMA" in machine.config.zone_names
        self.page_offset = machine.config.page_offset
        self.part = slab(machine)
        self.caches = self.part.caches
        self.before = {pfn: page.slab_cache.name for pfn, page in self.part.pages.items()}
        self.owner = dict(self.before)  # page -> the cache whose slab it is now
        self.pages = pages
        self.last = self._slabs_that_stay(capture)
        self.sites: dict[tuple[str, int, int], str] = {}
        self.found: dict[int, ObjectOperation | Operation] = {}
        self.fresh: dict[int, Operation] = {}  # first page -> its allocation, while nobody's object was seen in it
        self.freed: dict[str, list[Operation]] = {}  # cache -> slabs whose request is still to be printed
        self.touched: set[int] = set()  # pages of which an object was asked or given back
        self.kfreed: dict[int, ObjectOperation] = {}  # cpu -> its last request, if that was kfree

    def _slabs_that_stay(self, capture: SlubCapture) -> dict[int, str]:
        """The allocations that made the slabs of the second snapshot: the last one of each of those pages."""
        slabs = {(addr - self.page_offset) >> PAGE_SHIFT: name for name, cache in capture.after.items()
                 for addr, _ in cache["slabs"]}
        last = {operation.row[2]: number for number, operation in sorted(self.pages.items())
                if operation.row[0] == "a"}
        return {last[pfn]: name for pfn, name in slabs.items() if pfn in last}

    def learn_sites(self, rows: Sequence[Row]) -> None:
        """Go over the rows once: which line of the source takes objects of which cache, and so whose each new slab is.

        A line is known by a slab that is known, a slab by any line that took an object of it, be it its last.
        """
        slab_at: dict[int, str | int] = dict(self.before)  # page -> cache, or the number of the allocation
        lines: dict[int, list[tuple[str, int, int]]] = {}  # of slabs that are not known
        for number, row in enumerate(rows):
            if row[0] == "a" and row[2] is not None:
                slab_at.update(dict.fromkeys(_block(row), self.last.get(number, number)))
            elif row[0] == "f":
                for pfn in _block(row):
                    slab_at.pop(pfn, None)
            elif row[0] == "o" and row[2].kind in ALLOCS:
                owner = slab_at.get(self._pfn(row[2]))
                if isinstance(owner, str):
                    self.sites[_site(row[2])] = owner
                elif owner is not None:
                    lines.setdefault(owner, []).append(_site(row[2]))
        while found := [number for number, sites in lines.items() if any(site in self.sites for site in sites)]:
            for number in found:
                sites = lines.pop(number)
                self.last[number] = next(self.sites[site] for site in sites if site in self.sites)
                self.sites.update(dict.fromkeys(sites, self.last[number]))

    def _pfn(self, request: Request) -> int:
        return (request.ptr - self.page_offset) >> PAGE_SHIFT

    # -- one row

    def take(self, number: int, row: Row) -> None:
        """One row, in the order of the trace."""
        if row[0] == "o":
            self._take_request(number, row[2])
        elif number in self.pages:
            self.found[number] = self.pages[number]
            if row[0] == "a" and row[2] is not None:
                self.fresh[row[2]] = self.pages[number]
            elif row[0] in "fp":
                self.fresh.pop(row[2], None)
                if row[2] in self.owner:
                    self._take_slab_free(number, row)

    def _take_slab_free(self, number: int, row: Row) -> None:
        """A slab goes back to the page allocator: inside a request, before or after its event, or by RCU."""
        cache = self.owner[row[2]]
        for pfn in _block(row):
            del self.owner[pfn]
        operation = self.pages[number]
        before = self.kfreed.get(row[1])
        if self.caches[cache].flags & SLAB_TYPESAFE_BY_RCU:
            if row[2] in self.before and self.touched.isdisjoint(_block(row)) and not self._is_listed(row[2]):
                self.part.rcu.append(row[2])  # nobody emptied it: it waited already when the snapshot was taken
            self.found[number] = ObjectOperation(number, cache, None, [operation])
        elif before is not None and before.cache == cache:
            before.pages.append(operation)
            del self.found[number]
        else:
            self.freed.setdefault(cache, []).append(operation)

    def _is_listed(self, pfn: int) -> bool:
        """Whether the slab was a CPU's or on a list when the snapshot was taken."""
        page = self.part.pages[pfn]
        return page.frozen or bool(page.freelist)

    def _take_request(self, number: int, request: Request) -> None:
        self.kfreed.pop(request.cpu, None)
        pfn = self._pfn(request)
        self.touched.add(pfn)
        cache = self.owner.get(pfn) or next((name for name, operations in self.freed.items() for each in operations
                                             if pfn in _block(each.row)), None)
        pages = []
        if cache is None and request.kind in ALLOCS:
            new = self._fresh_block(pfn)
            cache = new and self._cache_of(request, new)
            if new is not None and cache is not None:
                pages.append(new)
                del self.fresh[new.row[2]]
                self.owner.update(dict.fromkeys(_block(new.row), cache))
        if cache is not None:
            operation = ObjectOperation(number, cache, request, self.freed.pop(cache, []) + pages)
            for each in operation.pages:
                del self.found[each.number]
            self.found[number] = operation
            if request.kind == "kfree":
                self.kfreed[request.cpu] = operation

    def _fresh_block(self, pfn: int) -> Operation | None:
        """The allocation that a page came with, if no object was seen in it yet."""
        blocks = (self.fresh.get(pfn & -(1 << order)) for order in range(MAX_ORDER))
        return next((each for each in blocks if each is not None and pfn in _block(each.row)), None)

    def _cache_of(self, request: Request, new: Operation) -> str | None:
        """The selected cache that a request made this new slab for; None if it is of another one."""
        if request.kind.startswith("kmalloc"):
            size = kmalloc_size(kmalloc_slab_index(request.bytes_req)) if request.bytes_req else 0
            name = kmalloc_name(kmalloc_type(request.gfp, self.zone_dma), size)
            return name if name in self.caches else None
        return self.last.get(new.number)


def _block(row: Row) -> range:
    """The pages of an allocation or a free."""
    if row[0] in "af" and not 0 <= row[3] < MAX_ORDER:
        raise ValueError(f"order must be 0 to {MAX_ORDER - 1}, got {row[3]}")
    return range(row[2], row[2] + (1 << row[3])) if row[0] in "af" else range(row[2], row[2] + 1)


def _site(request: Request) -> tuple[str, int, int]:
    """Who asks for what: the line of the kernel's source, and the sizes of the cache."""
    return request.site, request.bytes_req, request.bytes_alloc
