"""Replay of a list of operations: what a real kernel was asked is asked of the simulator, and every answer is compared.

    parse     NAME.ops                the operations
    run       page_table_run          one after the other, in the process that runs it; results and dumps
    compare   NAME.log, NAME.text.gz  with what the kernel answered, and what its page tables were at every step

A step is compared as a whole: both sides are a `Dump`, one read from the module's text, the other from the Machine.
Columns of the score:

    results  every operation's return value, -errno, or outcome
    touches  reads and writes alone: ok, the data read, or the signal and its code
    vmas     all mappings of a step: start, end, flags, pgoff, who shares an anon_vma, length of its chain
    tables   the set of PUD, PMD and PTE tables of a step, and pgtables_bytes
    ptes     entries: path, bits, kind, mapcount, references, index, data, and which entries share a frame
    gup      each gup and gup-put: return value, and each page's counts while it is pinned and when it was put; and the
             pages that are held at a step
    counts   RSS by kind (counter plus the task's cache) without what lies outside of the test range
    frames   the frames of the list's own tables and pages at every step, where a trace of the page allocator stands
             beside it: see `page_table_frames`

Only this is masked: frame numbers (but not which are equal; the vm_pgoff of a private driver mapping is one, too),
kernel addresses, pids, references before the per-CPU pagevecs are drained, how RSS is split between counter and cache,
and page flags.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from ..errors import CaptureError, MmvizError
from ..kernel import DATA, VM_MAYWRITE, VM_PFNMAP, VM_SHARED
from ..recording import Recording, record
from .load import Capture, read_text
from .page_table_dump import Dump, VmaRow, parse_dumps
from .page_table_frames import Journal, Others, Plan, capture_beside, pairs, plan
from .page_table_ops import Log, Operation, PinnedPage, bits_of, blocks, parse_log, parse_ops
from .page_table_run import Run, run_all
from .page_table_start import adopt_process, boot_for, start_process

COLUMNS = ("results", "touches", "vmas", "tables", "ptes", "gup", "counts", "frames")


@dataclass(frozen=True)
class OperationList:
    """A list of operations, and what a real kernel answered where that is known.

    Attributes
    ----------
    name : str
        The file's name.
    operations : list of Operation
    bits : int
        64 or 32.
    lines : int
        Of the list, comments included.
    log : Log or None
    dumps : dict of (str, int) to Dump, or None
        By process and line.
    capture : Capture or None
        What the page allocator did meanwhile, if its trace stands beside the list.
    """

    name: str
    operations: list[Operation]
    bits: int
    lines: int
    log: Log | None = None
    dumps: dict[tuple[str, int], Dump] | None = None
    capture: Capture | None = None


def load_operations(path: str | Path) -> OperationList:
    """Read NAME.ops, and NAME.log and NAME.text.gz where they stand beside it.

    Parameters
    ----------
    path : str or Path
        Of the list; or the bare name of one in data/captures/pt, such as ``PT_program``.

    Raises
    ------
    CaptureError
        If a file cannot be read or does not parse, with file and line; if only one of the two stands beside the list.
    """
    own = DATA / "captures" / "pt" / f"{path}.ops"
    path = own if own.exists() else Path(path)
    log_path, dump_path = path.with_suffix(".log"), path.with_suffix(".text.gz")
    text = _read_plain(path)
    operations, lines = parse_ops(text, path.name), len(text.splitlines())
    if log_path.exists() != dump_path.exists():
        there, missing = (log_path, dump_path) if log_path.exists() else (dump_path, log_path)
        raise CaptureError(f"{missing}: must stand beside {there.name}")
    if not log_path.exists():
        return OperationList(path.name, operations, bits_of(operations), lines)
    log = parse_log(_read_plain(log_path), log_path.name)
    dumps = parse_dumps(read_text(dump_path), dump_path.name)
    return OperationList(path.name, operations, log.bits, lines, log, dumps, capture_beside(path))


def _read_plain(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CaptureError(f"{path}: cannot be read: {error}") from error


# ---------------------------------------------------------------- score


class Miss(NamedTuple):
    """Where prediction and truth part: a line of the list and its process, or a step; what; the two."""

    where: str
    what: str
    predicted: object
    truth: object


@dataclass
class Score:
    """How exact a replay was; `str(score)` is its line.

    Attributes
    ----------
    total, exact : Counter
        By column: what was compared, and what of it was equal.
    misses : list of Miss
    results : list of str
        ``LINE PROC OPERATION -> RESULT`` as the simulator has it.
    compared : bool
        False if nothing stood beside the list to compare with.
    """

    name: str
    steps: int
    total: Counter[str] = field(default_factory=Counter)
    exact: Counter[str] = field(default_factory=Counter)
    misses: list[Miss] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    compared: bool = True
    seconds: float = 0.0

    @property
    def perfect(self) -> bool:
        """No miss in anything that was compared."""
        return not self.misses

    def add(self, column: str, where: str, what: str, predicted: object, truth: object) -> None:
        """Count one comparison."""
        self.total[column] += 1
        if predicted == truth:
            self.exact[column] += 1
        else:
            self.misses.append(Miss(where, f"{column}: {what}", predicted, truth))

    def __str__(self) -> str:
        head = f"{self.name} kind=page_table steps={self.steps}"
        if not self.compared:
            return f"{head} results={len(self.results)} NOT COMPARED: no .log and .text.gz beside it"
        shown = [column for column in COLUMNS if column != "frames" or self.total[column]]
        return " ".join([head, *(f"{column}={self.exact[column]}/{self.total[column]}" for column in shown)])

    def lines(self) -> Iterator[str]:
        """What --verbose prints below the score: each miss; or the results, if nothing was compared."""
        if not self.compared:
            yield from self.results
        for miss in self.misses:
            yield f"{miss.where}, {miss.what}: predicted {_short(miss.predicted)}, truth {_short(miss.truth)}"


def _short(value: object) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) < 240 else text[:237] + "..."


# ---------------------------------------------------------------- comparing


def compare_results(source: OperationList, log: Log, run: Run, score: Score) -> None:
    """Every operation's result, and once more those that touch memory."""
    closes = blocks(source.operations)
    for operation in source.operations:
        if operation.word == "step":
            continue
        line = operation.line
        predicted = " ".join(run.results.get(line, ("nothing",))).strip()
        truth = " ".join(log.results.get(line, ("nothing",))) if line not in closes else log.done.get(closes[line])
        score.add("results", f"line {line}", operation.text, predicted, truth)
        if operation.word in ("read", "write"):
            score.add("touches", f"line {line}", operation.text, predicted, truth)


def compare_pinned(log: Log, run: Run, score: Score) -> None:
    """Every gup and gup-put: what it returned, and the counts of its pages."""
    for line in sorted({*log.pages, *run.pages}):
        predicted = run.results.get(line), masked_pages(run.pages.get(line, []))
        truth = log.results.get(line), masked_pages(log.pages.get(line, []))
        score.add("gup", f"line {line}", "result and pages", predicted, truth)


def compare_step(predicted: Dump, truth: Dump, score: Score, drivers: tuple[int, int] = (0, 0)) -> None:
    """All that a dump holds, column by column; `drivers` are the lowest driver frames of the two sides."""
    where = f"step {truth.label} ({truth.proc}, line {truth.line})"
    score.add("vmas", where, "mappings", *different(*map(masked_vmas, (predicted, truth), drivers)))
    score.add("tables", where, "tables", *different(*(
        [*map(str, sorted(side.tables)), f"{side.mm['pgtables_bytes']} bytes"] for side in (predicted, truth))))
    mine, theirs = map(masked_ptes, (predicted, truth), drivers)
    for vaddr in sorted({*mine, *theirs}):
        score.add("ptes", where, f"{vaddr:#x}", mine.get(vaddr), theirs.get(vaddr))
    score.add("counts", where, "RSS", rss(predicted), rss(truth))
    if predicted.held or truth.held:
        score.add("gup", where, "held pages", masked_pages(predicted.held), masked_pages(truth.held))


def compare_dumps(dumps: dict[tuple[str, int], Dump], run: Run, journal: Journal, score: Score) -> None:
    """Every step; CaptureError if the kernel's dump of one is missing."""
    drivers = first_driver_frame(run.dumps.values()), first_driver_frame(dumps.values())
    for place, predicted in run.dumps.items():
        if place not in dumps:
            raise CaptureError(f"{score.name}: the dumps must hold the step of {place[0]}, line {place[1]}")
        compare_step(predicted, dumps[place], score, drivers)
        journal.see(place, predicted, dumps[place])


def compare_frames(source: OperationList, dumps: dict[tuple[str, int], Dump], plan: Plan, score: Score) -> None:
    """Run the list once more on the machine of the snapshot, and compare the frames of its own tables and pages."""
    assert source.capture is not None
    machine = source.capture.machine()
    others = Others(machine, plan)
    others.advance(min(plan.own, default=0))
    start = adopt_process(machine, dumps["p0", 0], dumps.values())
    run = Run(machine, start, source.operations, source.bits, source.lines, begins=others.begins)

    def stepped(place: tuple[str, int]) -> None:
        for name, mine, theirs in pairs(run.dumps[place], dumps[place]):
            if mine in others.frames:
                score.add("frames", f"step {dumps[place].label} ({place[0]}, line {place[1]})", name, mine, theirs)
    run.stepped = stepped
    try:
        with machine.trace.listen(others.heard):
            run_all(run)
    except (MmvizError, LookupError, ValueError) as error:  # a frame that two hold at once, after a miss
        score.add("frames", f"after {len(run.dumps)} steps", "the rest", repr(error), "no error")


def different(mine: list[str], theirs: list[str]) -> tuple[list[str], list[str]]:
    """What stands on one side alone; both empty if the lists are equal, and both whole if only their order differs."""
    if mine == theirs:
        return [], []
    alone = [row for row in mine if row not in theirs], [row for row in theirs if row not in mine]
    return alone if any(alone) else (mine, theirs)


def masked_vmas(dump: Dump, driver: int) -> list[str]:
    """start, end, flags, pgoff, anon_vma by first appearance (0: none), length of the chain."""
    order = first_seen(row.avid for row in dump.vmas if row.avid)
    return [f"{row.start:#x}-{row.end:#x} flags={row.flags:#x} pgoff={_pgoff(row, row.pgoff, driver)} "
            f"anon_vma={order.get(row.avid, 0)} chain={row.avc}" for row in dump.vmas]


def _pgoff(row: VmaRow, pgoff: int, driver: int) -> str:
    """A place in the object that is mapped: of a private driver mapping it is a frame number, and only its distance to
    the driver's first frame is compared."""
    is_frame = row.flags & VM_PFNMAP and row.flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE
    return f"frame+{pgoff - driver}" if is_frame else f"{pgoff:#x}"


def masked_ptes(dump: Dump, driver: int) -> dict[int, str]:
    """What is compared of each entry; the frame by first appearance."""
    order = first_seen(row.pfn for row in dump.ptes.values())
    found = {}
    for vaddr, row in dump.ptes.items():
        over = [vma for vma in dump.vmas if vma.start <= vaddr < vma.end] if row.kind == "anon" else []
        index = _pgoff(over[0], row.pgoff, driver) if over else f"{row.pgoff:#x}"
        found[vaddr] = (f"{row.path} {row.bits} {row.kind} mapcount={row.mapcount} refs={row.refs} index={index} "
                        f"data={row.data:#x} frame {order[row.pfn]}")
    return found


def masked_pages(pages: Sequence[PinnedPage]) -> list[str]:
    """What is compared of pinned pages; the frame by first appearance."""
    order = first_seen(page.pfn for page in pages)
    return [f"{page.vaddr:#x} refs={page.refs} mapcount={page.mapcount} {page.kind} index={page.pgoff:#x} "
            f"data={page.data:#x} after_put={page.after_put} frame {order[page.pfn]}" for page in pages]


def first_seen(values: Iterable[int]) -> dict[int, int]:
    """A number for each value, from 1, in the order in which they first appear.

    >>> first_seen([70, 30, 70])
    {70: 1, 30: 2}
    """
    return {value: number for number, value in enumerate(dict.fromkeys(values), 1)}


def first_driver_frame(dumps: Iterable[Dump]) -> int:
    """The lowest frame that belongs to no struct page: the driver's first page that is ever mapped; 0 if none is."""
    return min((row.pfn for dump in dumps for row in dump.ptes.values() if row.kind == "none"), default=0)


def rss(dump: Dump) -> dict[str, int]:
    """RSS by kind, of the test range."""
    return {kind: dump.mm[f"rss_{kind}"] + dump.mm[f"cached_{kind}"] - dump.outside[kind]
            for kind in ("file", "anon", "shmem")}


# ---------------------------------------------------------------- all of it


def replay_operations(source: OperationList) -> Score:
    """Run a list of operations and compare, where there is something to compare with.

    Parameters
    ----------
    source : OperationList

    Returns
    -------
    Score
    """
    began = perf_counter()
    machine, journal = boot_for(source.bits), Journal()
    first = source.dumps["p0", 0] if source.dumps else None
    run = Run(machine, start_process(machine, first), source.operations, source.bits, source.lines,
              begins=journal.begins, stepped=journal.stepped)
    with machine.trace.listen(journal.heard) if source.capture else nullcontext():
        run_all(run)
    score = Score(source.name, len(run.dumps), results=list(run.lines()), compared=source.log is not None)
    if source.log is not None and source.dumps is not None:
        compare_results(source, source.log, run, score)
        compare_pinned(source.log, run, score)
        compare_dumps(source.dumps, run, journal, score)
        if source.capture is not None:
            compare_frames(source, source.dumps, plan(source.capture, journal, source.dumps["p0", 0]), score)
    score.seconds = perf_counter() - began
    return score


def record_operation(source: OperationList, line: int) -> Recording:
    """One operation of a list, event by event, after all that comes before it.

    Parameters
    ----------
    source : OperationList
    line : int
        Its line in the list; of a fork, what the parent does before its child runs.

    Returns
    -------
    Recording

    Raises
    ------
    ValueError
        If no operation that runs stands in this line.
    """
    machine, found = boot_for(source.bits), list[Recording]()
    first = source.dumps["p0", 0] if source.dumps else None
    run = Run(machine, start_process(machine, first), source.operations, source.bits, source.lines)
    with ExitStack() as open_recording:
        def begins(operation: Operation) -> None:
            if operation.line == line:
                found.append(open_recording.enter_context(record(machine)))
            elif found:
                open_recording.close()
        run.begins = begins
        run_all(run)
    if not found:
        raise ValueError(f"line must be that of an operation of {source.name}, got {line}")
    return found[0]
