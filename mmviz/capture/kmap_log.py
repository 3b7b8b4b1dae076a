"""The op log of a kmap capture (NAME.text.gz beside NAME.snaps.gz), and its replay.

    kmap PKMAP_BASE=ff400000 LAST_PKMAP=1024 ... last_pkmap_nr@c148ee44=28      where the windows are; the hand
    pkmap_before : 0 0 0 ...                                                    the count of each slot
    page 0 pfn=381455 highmem=1 va=0                                            the pages that are used, by number
    0 kmap page=561 va=ff41d000 slot=29 pkmap_count=2 last_pkmap_nr=29
    1 kunmap page=561 page_address=ff41d000
    2 atomic page=11 va=fffbb000 nested page=0 va=fffba000
    pkmap_after last_pkmap_nr=749 : 0 0 0 ...
    pkmap_end : 0 0 0 ...                                                       after all users were taken off

Every address, slot, count and hand is predicted; the log is asked what to do, and then whether it came out so. A slot
that was mapped before the log began shows a page that the log does not name (unless a `page` line has its address):
some other high page stands in for it, and it is compared by its count.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from ..errors import CaptureError, KernelBug
from ..kernel import DATA, PAGE_SHIFT
from ..mm import highmem_events as ev
from ..mm.highmem import page_address
from ..mm.highmem_32 import kmap, kmap_atomic, kunmap, kunmap_atomic
from ..mm.init_32 import Windows
from ..mm.kmap_pte import permanent_kmaps_init, set_kmap_pte
from ..mm.machine import Machine
from ..mm.pkmap import (
    kmap_init,
    kmap_part,
    set_last_pkmap_nr,
    set_page_address,
    set_pkmap_count,
)
from ..mm.watermark import is_highmem
from .load import Capture, load_capture, read_text
from .score import BaseScore, Miss

_PAIR = re.compile(r"(\w+)(?:@\w+)?=(\w+)")
_DECIMAL = {"LAST_PKMAP", "FIX_KMAP_BEGIN", "KM_TYPE_NR", "last_pkmap_nr", "page", "pfn", "highmem", "slot",
            "pkmap_count"}


class Op(NamedTuple):
    """One line: its number, what was done, and the names and values that it has, in order."""

    number: int
    kind: str
    fields: list[tuple[str, int]]

    def get(self, name: str, place: int = 0) -> int:
        """The value of a name; a nested atomic has `page` and `va` twice."""
        return [value for key, value in self.fields if key == name][place]


@dataclass
class KmapLog:
    """What a kmap capture did, and what came of it.

    Attributes
    ----------
    name : str
        The file.
    head : dict
        The numbers of the first line.
    pages : list of dict
        pfn, highmem and va of each page, by its number.
    ops : list of Op
    counts : dict
        "before", "after" and "end": the count of each slot.
    last_pkmap_nr : int
        The hand after the last op.
    """

    name: str
    capture: Capture
    head: dict[str, int] = field(default_factory=dict)
    pages: list[dict[str, int]] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    counts: dict[str, list[int]] = field(default_factory=dict)
    last_pkmap_nr: int = -1

    def windows(self) -> Windows:
        """The windows as the real kernel printed them; NR_CPUS is what fits between two of its numbers."""
        h, const = self.head, self.capture.before["const"]
        permanent = (h["FIXADDR_TOP"] - h["FIXADDR_START"]) >> PAGE_SHIFT
        return Windows(h["PKMAP_BASE"], h["LAST_PKMAP"], h["FIXADDR_TOP"], h["FIX_KMAP_BEGIN"], h["KM_TYPE_NR"],
                       (permanent - h["FIX_KMAP_BEGIN"]) // h["KM_TYPE_NR"], int(const["vmemmap"], 16))

    def machine(self) -> Machine:
        """The Machine before the first op, with its windows as they were then."""
        machine = self.capture.machine()
        windows = self.windows()
        kmap_init(machine, *windows)
        permanent_kmaps_init(machine)
        set_last_pkmap_nr(machine, self.head["last_pkmap_nr"])
        known = {windows.pkmap_nr(page["va"]): page["pfn"] for page in self.pages if windows.in_pkmap(page["va"])}
        strangers = _strangers(machine, {page["pfn"] for page in self.pages})
        for nr, count in enumerate(self.counts["before"]):
            if count:
                pfn = known[nr] if nr in known else next(strangers)
                set_kmap_pte(machine, windows.pkmap_addr(nr), pfn)
                set_pkmap_count(machine, nr, count)
                set_page_address(machine, pfn, windows.pkmap_addr(nr))
        return machine


def _strangers(machine: Machine, named: set[int]) -> Any:
    """High pages that the log does not name."""
    high = [zone for zone in machine.zones() if is_highmem(zone)]
    return (pfn for zone in high for pfn in range(zone.zone_start_pfn, zone.end_pfn) if pfn not in named)


# ---------------------------------------------------------------- reading


def load_kmap_log(path: str | Path, capture: Capture | None = None) -> KmapLog | None:
    """The kmap log beside a capture; None if there is none, or a log of something else.

    Parameters
    ----------
    path : str or Path
        ``NAME.snaps.gz``, with ``NAME.text.gz`` beside it; or the bare name of one in data/captures, such as
        ``m1536i386/K1_kmap_random``.
    capture : Capture, optional
        The capture of that file, if it has been read.

    Raises
    ------
    CaptureError
        ``name:line: what`` if a line does not parse, or if something is missing.
    """
    own = DATA / "captures" / f"{path}.snaps.gz"
    path = own if own.exists() else Path(path)
    beside = path.with_name(path.name.removesuffix(".snaps.gz") + ".text.gz")
    text = read_text(beside) if path.name.endswith(".snaps.gz") and beside.exists() else ""
    if not text.startswith("kmap "):
        return None
    log = KmapLog(beside.name, capture or load_capture(path)[0])
    for number, line in enumerate(text.splitlines(), 1):
        try:
            _read(log, line)
        except (ValueError, KeyError) as error:
            raise CaptureError(f"{beside.name}:{number}: does not parse ({error!r}): {line[:80]!r}") from error
    missing = {"before", "after", "end"} - set(log.counts)
    if missing or not log.ops or any(len(counts) != log.head.get("LAST_PKMAP") for counts in log.counts.values()):
        raise CaptureError(f"{beside.name}: must have ops, and pkmap_before, pkmap_after and pkmap_end with a count "
                           "for each of LAST_PKMAP slots; it is cut off or altered")
    return log


def _read(log: KmapLog, line: str) -> None:
    head, _, values = line.partition(" :")
    words = head.split()
    decimal = _DECIMAL if words[0] != "kmap" else _DECIMAL - {"pkmap_count"}  # there it is the address of the array
    fields = [(name, int(value, 10 if name in decimal else 16)) for name, value in _PAIR.findall(head)]
    if words[0] == "kmap":
        log.head = dict(fields)
    elif words[0] == "page":
        log.pages.append(dict(fields))
    elif words[0].startswith("pkmap_"):
        log.counts[words[0].removeprefix("pkmap_")] = [int(value) for value in values.split()]
        log.last_pkmap_nr = dict(fields).get("last_pkmap_nr", log.last_pkmap_nr)
    else:
        log.ops.append(Op(int(words[0]), words[1], fields))


# ---------------------------------------------------------------- running


@dataclass
class KmapScore(BaseScore):
    """How exact a replay of a kmap log was."""

    WHERE = "op"

    kmaps: int = 0
    exact: int = 0
    atomics: int = 0
    exact_atomics: int = 0
    flushes: int = 0

    def __str__(self) -> str:
        return (f"{self.name} kind=kmap kmaps={self.kmaps} exact={self.exact} atomics={self.atomics} "
                f"exact_atomics={self.exact_atomics} flushes={self.flushes} final={self.outcome} "
                f"seconds={self.seconds:.1f}")


def replay_kmap(log: KmapLog) -> KmapScore:
    """Do what the log did, and compare every answer and the counts at the end.

    Raises
    ------
    CaptureError
        If an op makes no sense: an unknown kind, a missing field, a page that the log does not have.
    """
    began, score = perf_counter(), KmapScore(log.capture.name)
    try:
        machine = log.machine()
    except (KeyError, ValueError) as error:
        raise CaptureError(f"{log.name}: the first line lacks what a machine needs: {error!r}") from error
    heard: list[Any] = []
    with machine.trace.listen(heard.append):
        for op in log.ops:
            try:
                _RUN[op.kind](machine, log, op, score)
            except (ValueError, KeyError, IndexError, KernelBug) as error:
                raise CaptureError(f"{log.name}: op {op.number} ({op.kind}) makes no sense: {error!r}") from error
    score.flushes = sum(isinstance(event, ev.TlbRangeFlushed) for event in heard)
    score.final = _final(machine, log)
    score.seconds = perf_counter() - began
    return score


def _pfn(log: KmapLog, op: Op, place: int = 0) -> int:
    return log.pages[op.get("page", place)]["pfn"]


def _compare(score: KmapScore, op: Op, predicted: dict[str, int | None]) -> bool:
    truth = {name: op.get(name) for name in predicted}
    if predicted != truth:
        score.misses.append(Miss(op.number, op.kind, predicted, truth))
    return predicted == truth


def _run_kmap(machine: Machine, log: KmapLog, op: Op, score: KmapScore) -> None:
    vaddr = kmap(machine, _pfn(log, op))
    state, predicted = kmap_part(machine), {"va": vaddr}
    if vaddr is not None and state.windows.in_pkmap(vaddr):
        nr = state.windows.pkmap_nr(vaddr)
        predicted |= {"slot": nr, "pkmap_count": state.pkmap_count[nr], "last_pkmap_nr": state.last_pkmap_nr}
    score.kmaps += 1
    score.exact += _compare(score, op, predicted)


def _run_kunmap(machine: Machine, log: KmapLog, op: Op, score: KmapScore) -> None:
    kunmap(machine, _pfn(log, op))
    _compare(score, op, {"page_address": page_address(machine, _pfn(log, op))})


def _run_atomic(machine: Machine, log: KmapLog, op: Op, score: KmapScore) -> None:
    pages = [value for name, value in op.fields if name == "page"]
    vaddrs = [kmap_atomic(machine, log.pages[page]["pfn"]) for page in pages]
    for vaddr in reversed(vaddrs):
        kunmap_atomic(machine, vaddr)
    truth = [value for name, value in op.fields if name == "va"]
    score.atomics += len(pages)
    score.exact_atomics += sum(mine == theirs for mine, theirs in zip(vaddrs, truth, strict=True))
    if vaddrs != truth:
        score.misses.append(Miss(op.number, "atomic", vaddrs, truth))


_RUN = {"kmap": _run_kmap, "kunmap": _run_kunmap, "atomic": _run_atomic}


def _final(machine: Machine, log: KmapLog) -> list[str]:
    """Where the counts and the hand differ, after the last op and after all users were taken off."""
    state = kmap_part(machine)
    end = [min(count, 1) for count in state.pkmap_count]
    found = [f"slot {nr} at the end: predicted {mine}, truth {theirs}" for nr, (mine, theirs)
             in enumerate(zip(end, log.counts["end"], strict=True)) if mine != theirs]
    found += [f"slot {nr} after the last op: predicted {mine}, truth {theirs}" for nr, (mine, theirs)
              in enumerate(zip(state.pkmap_count, log.counts["after"], strict=True)) if mine != theirs]
    if state.last_pkmap_nr != log.last_pkmap_nr:
        found.append(f"last_pkmap_nr: predicted {state.last_pkmap_nr}, truth {log.last_pkmap_nr}")
    return found
