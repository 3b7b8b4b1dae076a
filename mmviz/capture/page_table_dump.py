"""Dumps of a process's page tables (NAME.text.gz): what a kernel module saw at every step of a list of operations.

    note 01_before proc=p0 line=13                         which step, of which process
    ptdump pid=.. pgtables_bytes=36864 rss_anon=116 ..     the counters of its mm
    vma 100000000-100008000 flags=100073 ..                its mappings, all of them
    pgd[0] va=0 ..                                         its tables, all of them
     pud[4] va=100000000 ..
      pmd[0] va=100000000 ..                               (i386: pmd lines only, one a PTE table)
       pte[0] va=100000000 .. P|RW|US|A|D|NX page: ..      the entries of the test range
       outside n=294                                       how many others the table has
    count tables_pud=2 .. inside anon=5 .. outside anon=117 ..
    held[0] va=.. pfn=.. page: ..                          pages that gup-hold pinned, system wide
    ptdump end

A table is named by the indices that lead to it: (0, 4, 0) is the PTE table of pgd[0], pud[4], pmd[0].
"""
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import CaptureError
from .page_table_ops import PAIRS, PinnedPage, pinned_page


class VmaRow(NamedTuple):
    """A mapping; `avid` numbers the anon_vmas of one dump (0: none), `avc` is the length of its anon_vma_chain."""

    start: int
    end: int
    flags: int
    pgoff: int
    avid: int
    avc: int
    file: str


class PteRow(NamedTuple):
    """An entry of a PTE table, and the page that it points to."""

    path: tuple[int, ...]
    bits: str
    kind: str
    mapcount: int
    refs: int
    pgoff: int
    data: int
    pfn: int


@dataclass
class Dump:
    """One step.

    Attributes
    ----------
    label, proc, line : str, str, int
        The step's name, its process ("p0", "p0.1"), its line in the list (0: the start).
    mm : dict of str to int
        pgtables_bytes, rss_*, cached_*, total_vm, locked_vm, data_vm, map_count.
    vmas : list of VmaRow
    tables : dict of tuple of int to int
        Path of each table -> its pfn; the top table has the empty path.
    ptes : dict of int to PteRow
        By address; those of the test range alone.
    inside, outside : dict of str to int
        Entries by kind (anon, file, shmem ..) in the test range, and of the program itself.
    held : list of PinnedPage
    """

    label: str
    proc: str
    line: int
    mm: dict[str, int] = field(default_factory=dict)
    vmas: list[VmaRow] = field(default_factory=list)
    tables: dict[tuple[int, ...], int] = field(default_factory=dict)
    ptes: dict[int, PteRow] = field(default_factory=dict)
    inside: dict[str, int] = field(default_factory=dict)
    outside: dict[str, int] = field(default_factory=dict)
    held: list[PinnedPage] = field(default_factory=list)
    path: tuple[int, ...] = ()  # of the table whose lines are being read
    ended: bool = False


LEVELS = ("pgd", "pud", "pmd")
_MM = ("pgtables_bytes", "rss_file", "rss_anon", "rss_shmem", "cached_file", "cached_anon", "cached_shmem", "map_count")
_NOTE = re.compile(r"note (?P<label>\S+) proc=(?P<proc>\S+) line=(?P<line>\d+)")
_TABLE = re.compile(r" *(?P<level>pgd|pud|pmd)\[(?P<index>\d+)\] va=\w+ val=\w+ pfn=(?P<pfn>\d+) .*")
_PTE = re.compile(r" *pte\[(?P<index>\d+)\] va=(?P<va>\w+) val=\w+ pfn=\d+ (?P<bits>\S+) page: .*")
_VMA = re.compile(r"vma (?P<start>\w+)-(?P<end>\w+) (?P<rest>.*)")
_LOGGED = ("gup", "put", "gupput")  # stand between the dumps, and in the log
_COUNT = re.compile(r"count (?P<tables>.*) inside (?P<inside>.*) outside (?P<outside>.*)")


def parse_dumps(text: str, name: str) -> dict[tuple[str, int], Dump]:
    """The dumps of a text, by process and line.

    Raises
    ------
    CaptureError
        ``name:line: what`` where a line does not parse, stands in the wrong place, or a dump is cut off.
    """
    dumps: dict[tuple[str, int], Dump] = {}
    current: Dump | None = None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            current = _read(current, line)
        except (ValueError, KeyError) as error:
            raise CaptureError(f"{name}:{number}: {_said(error)}: {line.strip()[:80]!r}") from error
        dumps[current.proc, current.line] = current
    if current is None or not current.ended:
        raise CaptureError(f"{name}: must end with a line 'ptdump end'; it is cut off or no dump")
    if ("p0", 0) not in dumps:
        raise CaptureError(f"{name}: must hold the step before the first operation, 'note .. proc=p0 line=0'")
    return dumps


def _said(error: Exception) -> str:
    return f"a line without {error.args[0]}=" if isinstance(error, KeyError) else str(error)


def _read(current: Dump | None, line: str) -> Dump:
    """Read one line into its dump; a note begins the next."""
    note = _NOTE.fullmatch(line)
    if note and (current is None or current.ended):
        return Dump(note["label"], note["proc"], int(note["line"]))
    word = line.split()[0].partition("[")[0] if line.strip() else ""
    if current is not None and current.ended and word in _LOGGED:
        return current
    if current is None or current.ended or word not in _LINES:
        raise ValueError("a dump must be note, ptdump, vma, pgd, pud, pmd, pte, outside, count, held, ptdump end")
    _LINES[word](current, line)
    return current


def _ptdump(dump: Dump, line: str) -> None:
    if line == "ptdump end":
        if not dump.mm or not dump.outside:
            raise ValueError("a dump must have a line 'ptdump pid=' and a line 'count' before its end")
        dump.ended = True
    else:
        pairs = dict(PAIRS.findall(line))
        dump.mm = {key: int(pairs[key]) for key in _MM}
        dump.tables[()] = int(pairs["pgd_pfn"])


def _vma(dump: Dump, line: str) -> None:
    match = _VMA.fullmatch(line)
    if not match:
        raise ValueError("a mapping must be 'vma START-END flags=..'")
    pairs = dict(PAIRS.findall(match["rest"]))
    dump.vmas.append(VmaRow(int(match["start"], 16), int(match["end"], 16), int(pairs["flags"], 16),
                            int(pairs["pgoff"], 16), int(pairs["avid"]), int(pairs["avc"]), pairs["file"]))


def _table(dump: Dump, line: str) -> None:
    match = _TABLE.fullmatch(line)
    if not match:
        raise ValueError("a table must be 'LEVEL[index] va=.. val=.. pfn=.. FLAGS'")
    depth = LEVELS.index(match["level"])
    if len(dump.path) < depth and match["level"] != "pmd":
        raise ValueError("a pud must stand below its pgd")
    above = dump.path[:depth] if len(dump.path) >= depth else ()  # i386 names PTE tables alone
    dump.path = (*above, int(match["index"]))
    dump.tables[dump.path] = int(match["pfn"])


def _pte(dump: Dump, line: str) -> None:
    match = _PTE.fullmatch(line)
    if not match or not dump.path:
        raise ValueError("an entry must be 'pte[index] va=.. val=.. pfn=.. FLAGS page: ..', below its table")
    page = pinned_page(line)
    dump.ptes[page.vaddr] = PteRow((*dump.path, int(match["index"])), match["bits"], page.kind, page.mapcount,
                                   page.refs, page.pgoff, page.data, page.pfn)


def _outside(dump: Dump, line: str) -> None:
    int(PAIRS.findall(line)[0][1])


def _count(dump: Dump, line: str) -> None:
    match = _COUNT.fullmatch(line)
    if not match:
        raise ValueError("the counts must be 'count tables_pud=.. inside .. outside ..'")
    dump.inside = {key: int(value) for key, value in PAIRS.findall(match["inside"])}
    dump.outside = {key: int(value) for key, value in PAIRS.findall(match["outside"])}


def _held(dump: Dump, line: str) -> None:
    dump.held.append(pinned_page(line))


_LINES: dict[str, Callable[[Dump, str], None]] = {
    "ptdump": _ptdump, "vma": _vma, "pgd": _table, "pud": _table, "pmd": _table, "pte": _pte, "outside": _outside,
    "count": _count, "held": _held,
}
