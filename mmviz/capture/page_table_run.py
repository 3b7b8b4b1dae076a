"""Runs a list of operations in the simulator, in the process that each line belongs to.

Nothing is read from the log: results, data, signals, counts and dumps are what the Machine says. The only thing that a
capture gives is the state before the first operation (see `page_table_start`).
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..kernel import (
    FOLL_FORCE,
    FOLL_WRITE,
    MADV_DOFORK,
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_WILLNEED,
    MADV_WIPEONFORK,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    PAGE_SHIFT,
    Errno,
)
from ..mm.access import access
from ..mm.fork import dup_mm, mmput
from ..mm.gup import get_user_pages_remote, put_user_page
from ..mm.machine import Machine
from ..mm.madvise import madvise
from ..mm.mlock import do_mlock, munlock
from ..mm.mm_types import MmStruct
from ..mm.mprotect import do_mprotect_pkey
from ..mm.mremap import mremap
from ..mm.munmap import vm_munmap
from ..mm.shmem import shmem_setattr
from ..mm.swap import lru_add_drain, page_count
from ..mm.util import vm_mmap_pgoff
from .page_table_dump import Dump
from .page_table_ops import RANGES, Operation, PinnedPage, addresses
from .page_table_start import Start
from .page_table_state import dump_of, page_of

NO_CHILD = "no child"  # wait and resume, where none was kept
ADVICE = {"dontneed": MADV_DONTNEED, "dontfork": MADV_DONTFORK, "dofork": MADV_DOFORK, "wipeonfork": MADV_WIPEONFORK,
          "willneed": MADV_WILLNEED}


@dataclass
class Process:
    """One process of a list: its name ("p0", "p0.1"), its address space, and its children that were kept."""

    name: str
    mm: MmStruct
    forks: int = 0
    kept: list[Process] = field(default_factory=list)


@dataclass
class Run:
    """A list that is run, and what came of it.

    Attributes
    ----------
    machine : Machine
    start : Start
        The first process and the files.
    results : dict of int to (str, str)
        Line -> the process that ran it, and its result in the words of a log.
    pages : dict of int to list of PinnedPage
        Line of a gup, gup-hold or gup-put -> its pages.
    dumps : dict of (str, int) to Dump
        By process and line.
    held : list of (int, int)
        Addresses and frames that gup-hold pinned, of all processes.
    """

    machine: Machine
    start: Start
    operations: Sequence[Operation]
    bits: int
    last_line: int
    results: dict[int, tuple[str, str]] = field(default_factory=dict)
    pages: dict[int, list[PinnedPage]] = field(default_factory=dict)
    dumps: dict[tuple[str, int], Dump] = field(default_factory=dict)
    held: list[tuple[int, int]] = field(default_factory=list)
    pids: int = 1
    begins: Callable[[Operation], None] = field(default=lambda operation: None)  # called before each operation
    stepped: Callable[[tuple[str, int]], None] = field(default=lambda place: None)  # called at each step

    def lines(self) -> Iterator[str]:
        """The results as a log has them."""
        for operation in self.operations:
            process, result = self.results.get(operation.line, ("", ""))
            if process:
                yield f"{operation.line} {process} {operation.text} -> {result}"


def run_all(run: Run) -> None:
    """Run the whole list in the first process, and put what is still held, as the program does at its end."""
    first = Process("p0", run.start.mm)
    _run_block(run, first, run.operations)
    _do(run, first, Operation(run.last_line + 1, "gup-put", (), "gup-put"))


def _run_block(run: Run, process: Process, operations: Sequence[Operation]) -> None:
    """Run operations in one process; the blocks among them in its children."""
    remaining = iter(operations)
    for operation in remaining:
        run.begins(operation)
        if operation.word == "fork":
            _fork(run, process, operation, _block(remaining))
        elif operation.word == "resume":
            _resume(run, process, operation, _block(remaining))
        else:
            _do(run, process, operation)


def _block(operations: Iterator[Operation]) -> list[Operation]:
    """The lines of a block that has begun, with the one that closes it."""
    found, depth = list[Operation](), 1
    while depth:
        found.append(next(operations))
        depth += (found[-1].word in ("fork", "resume")) - found[-1].word.startswith("end")
    return found


def _do(run: Run, process: Process, operation: Operation) -> None:
    """Run one operation that is no block."""
    low, high = RANGES[run.bits]
    allowed = all(low <= first and first + (pages << PAGE_SHIFT) <= high for first, pages in addresses(operation))
    result = _DO[operation.word](run, process, operation) if allowed else "rejected"
    run.results[operation.line] = process.name, result


# ---------------------------------------------------------------- processes


def _fork(run: Run, parent: Process, operation: Operation, block: Sequence[Operation]) -> None:
    """The child runs the block while the parent waits, then it exits, or stays; without memory, nobody runs it."""
    run.pids += 1
    name = f"{parent.name}.{parent.forks + 1}"
    mm = dup_mm(run.machine, parent.mm, run.pids, name)
    if mm is None:
        run.results[operation.line] = parent.name, f"{-Errno.ENOMEM}"
        return
    parent.forks += 1
    child = Process(name, mm)
    run.results[operation.line] = parent.name, "forking"
    _run_block(run, child, block[:-1])
    if operation.args:
        parent.kept.append(child)
    else:
        _exit(run, child)
    run.results[block[-1].line] = "", f"{name} kept" if operation.args else name


def _resume(run: Run, parent: Process, operation: Operation, block: Sequence[Operation]) -> None:
    """The youngest child that was kept runs the block; without one, the block is passed over."""
    run.results[operation.line] = parent.name, "resuming" if parent.kept else NO_CHILD
    for child in parent.kept[-1:]:
        _run_block(run, child, block[:-1])
        run.results[block[-1].line] = "", ""


def _exit(run: Run, process: Process) -> None:
    """A process exits, and before it the children that it kept: they wait for a word from it that never comes."""
    for child in process.kept:
        _exit(run, child)
    mmput(run.machine, process.mm)


def _wait(run: Run, process: Process, operation: Operation) -> str:
    if not process.kept:
        return NO_CHILD
    _exit(run, process.kept.pop())
    return "0"


# ---------------------------------------------------------------- calls on mappings


def _mmap(run: Run, process: Process, operation: Operation) -> str:
    start, pages, prot, sharing, what, *offset = operation.args
    flags = MAP_FIXED | (MAP_SHARED if sharing == "shared" else MAP_PRIVATE)
    flags |= MAP_ANONYMOUS if what == "anon" else 0
    file = {"anon": 0, "file": run.start.file, "pfnmap": run.start.driver}[what]
    return _address_or_error(vm_mmap_pgoff(run.machine, process.mm, file, start, pages << PAGE_SHIFT, prot, flags,
                                           *(offset or [0])))


def _address_or_error(value: int) -> str:
    return f"{value:#x}" if value >= 0 else f"{value}"


def _mremap(run: Run, process: Process, operation: Operation) -> str:
    old, old_pages, new_pages, new = operation.args
    flags = 0 if new is None else MREMAP_MAYMOVE | MREMAP_FIXED
    return _address_or_error(mremap(run.machine, process.mm, old, old_pages << PAGE_SHIFT, new_pages << PAGE_SHIFT,
                                    flags, new or 0))


def _ranged(call: Callable[..., int]) -> Callable[[Run, Process, Operation], str]:
    """An operation whose arguments are a range, and perhaps one thing more: munmap, mprotect, mlock, munlock."""
    def do(run: Run, process: Process, operation: Operation) -> str:
        start, pages, *more = operation.args
        return f"{int(call(run.machine, process.mm, start, pages << PAGE_SHIFT, *more))}"
    return do


def _madvise(run: Run, process: Process, operation: Operation) -> str:
    start, pages, advice = operation.args
    return f"{int(madvise(run.machine, process.mm, start, pages << PAGE_SHIFT, ADVICE[advice]))}"


def _ftruncate(run: Run, process: Process, operation: Operation) -> str:
    return f"{shmem_setattr(run.machine, run.start.file, operation.args[0])}"


# ---------------------------------------------------------------- touches, pins, steps


def _touch(run: Run, process: Process, operation: Operation) -> str:
    """A read or a write of the first word; what is written is the number of the line."""
    vaddr, write = operation.args[0], operation.word == "write"
    done = access(run.machine, process.mm, vaddr, write, operation.line if write else None)
    if done.signal:
        return f"fault {vaddr:#x} {done.signal} code={done.code}"
    return "ok" if write else f"ok data={done.data:08x}"


def _gup(run: Run, process: Process, operation: Operation) -> str:
    start, count, how, *force = operation.args
    flags = (FOLL_WRITE if how == "write" else 0) | (FOLL_FORCE if force else 0)
    frames: list[int] = []
    got = get_user_pages_remote(run.machine, process.mm, process.mm, start, count, flags, frames)
    lru_add_drain(run.machine)
    pinned = [(start + (i << PAGE_SHIFT), pfn) for i, pfn in enumerate(frames[:max(0, got)])]
    if operation.word == "gup-hold":
        run.held += pinned
        run.pages[operation.line] = [page_of(run.machine, vaddr, pfn) for vaddr, pfn in pinned]
    else:
        run.pages[operation.line] = [_put(run, vaddr, pfn) for vaddr, pfn in pinned]
    return f"{int(got)}"


def _put(run: Run, vaddr: int, pfn: int) -> PinnedPage:
    """A page as it is while it is pinned, and its count when it was put."""
    page = page_of(run.machine, vaddr, pfn)
    put_user_page(run.machine, pfn)
    return page._replace(after_put=page_count(run.machine, pfn))


def _gup_put(run: Run, process: Process, operation: Operation) -> str:
    lru_add_drain(run.machine)
    run.pages[operation.line] = [_put(run, vaddr, pfn) for vaddr, pfn in run.held]
    count = len(run.held)
    run.held.clear()
    return f"put {count}"


def _step(run: Run, process: Process, operation: Operation) -> str:
    lru_add_drain(run.machine)
    dump = dump_of(run.machine, process.mm, operation.args[0], process.name, operation.line)
    dump.held = [page_of(run.machine, vaddr, pfn) for vaddr, pfn in run.held]
    run.dumps[process.name, operation.line] = dump
    run.stepped((process.name, operation.line))
    return "ok"


_DO: dict[str, Callable[[Run, Process, Operation], Any]] = {
    "mmap": _mmap, "munmap": _ranged(vm_munmap), "mprotect": _ranged(do_mprotect_pkey), "mlock": _ranged(do_mlock),
    "munlock": _ranged(munlock), "mremap": _mremap, "madvise": _madvise, "ftruncate": _ftruncate, "read": _touch,
    "write": _touch, "gup": _gup, "gup-hold": _gup, "gup-put": _gup_put, "wait": _wait, "step": _step,
}
