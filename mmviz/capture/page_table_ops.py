"""Lists of operations on an address space (NAME.ops), and what a real kernel answered to them (NAME.log).

One process runs the list; `fork .. endfork` is a block that its child runs while it waits, `fork keep` leaves the child
alive, and `resume .. endresume` is a block for the youngest child that was kept. Blocks nest.

    mmap 0x100000000 8 rw- private anon      2 p0 mmap 0x100000000 8 rw- private anon -> 0x100000000
    write 0x100000000                        3 p0 write 0x100000000 -> ok
    fork                                     4 p0 fork -> forking
    read 0x100000000                         5 p0.1 read 0x100000000 -> ok data=00000003
    endfork                                  4 p0 fork done p0.1 pid=147

A line number is that of the list; the log has some of its own behind the last (`gup-put`). A list does not say which
machine it is for: the log's first line does, and without a log the addresses tell, for the two test ranges are apart.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import CaptureError

PROT = {"r": 1, "w": 2, "x": 4}
ADVICE = ("dontneed", "dontfork", "dofork", "wipeonfork", "willneed")
RANGES = {64: (0x1_0000_0000, 0x7000_0000_0000), 32: (0x5000_0000, 0xB000_0000)}  # where the operations may work
PAIRS = re.compile(r"(\w+)=(\S*)")


class Operation(NamedTuple):
    """One line of a list: its number, its first word, its arguments (numbers as ints), and the line as it stands."""

    line: int
    word: str
    args: tuple[Any, ...]
    text: str


# ---------------------------------------------------------------- the list


def parse_ops(text: str, name: str) -> list[Operation]:
    """The operations of a list, in order; each was checked for its words, and the blocks for their nesting.

    Raises
    ------
    CaptureError
        ``name:line: what`` for an unknown operation, a wrong argument, or a block that is not closed.

    Examples
    --------
    >>> parse_ops("munmap 0x100000000 2", "x.ops")
    [Operation(line=1, word='munmap', args=(4294967296, 2), text='munmap 0x100000000 2')]
    """
    operations = []
    blocks: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if words:
            try:
                operations.append(_operation(number, words))
                _nest(blocks, operations[-1])
            except ValueError as error:
                raise CaptureError(f"{name}:{number}: {error}: {line.strip()[:80]!r}") from error
    if blocks:
        number, word = blocks[-1]
        raise CaptureError(f"{name}:{number}: {word} must be closed by end{word}, found the end of the list")
    return operations


def _operation(number: int, words: list[str]) -> Operation:
    word, *rest = words
    if word not in _FORMS:
        raise ValueError(f"operation must be one of {', '.join(_FORMS)}, got {word!r}")
    form = _FORMS[word]
    most, least = len(form), sum(not kind.endswith("?") for kind in form)
    if not least <= len(rest) <= most:
        count = f"{least}" if least == most else f"{least} to {most}"
        raise ValueError(f"{word} must have {count} arguments, has {len(rest)}")
    args = tuple(_KINDS[kind.rstrip("?")](value) for kind, value in zip(form, rest, strict=False))
    if word == "mmap" and (args[4] == "file") != (len(args) == 6):
        raise ValueError("mmap must have a page of the file behind 'file', and nothing behind 'anon' and 'pfnmap'")
    return Operation(number, word, args, " ".join(words))


def _nest(blocks: list[tuple[int, str]], operation: Operation) -> None:
    if operation.word in ("fork", "resume"):
        blocks.append((operation.line, operation.word))
    elif operation.word.startswith("end") and (not blocks or f"end{blocks.pop()[1]}" != operation.word):
        raise ValueError(f"{operation.word} must close a {operation.word[3:]}, and none is open")


def _number(word: str) -> int:
    try:
        value = int(word, 16) if word.startswith("0x") else int(word)
    except ValueError:
        value = -1
    if value < 0:
        raise ValueError(f"a number must be decimal or 0x.., and not below 0, got {word!r}")
    return value


def _address(word: str) -> int:
    value = _number(word)
    if value & 0xFFF:
        raise ValueError(f"an address must be aligned to a page, got {word}")
    return value


def _prot(word: str) -> int:
    if not re.fullmatch("[r-][w-][x-]", word):
        raise ValueError(f"a protection must be three letters of rwx-, got {word!r}")
    return sum(PROT.get(letter, 0) for letter in word)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def check(word: str) -> str:
        if word not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, got {word!r}")
        return word
    return check


_KINDS: dict[str, Callable[[str], Any]] = {
    "address": _address, "number": _number, "prot": _prot, "label": str, "keep": _one_of("keep"),
    "sharing": _one_of("private", "shared"), "what": _one_of("anon", "file", "pfnmap"), "advice": _one_of(*ADVICE),
    "how": _one_of("read", "write"), "force": _one_of("force"),
    "place": lambda word: None if word == "-" else _address(word),
}
_FORMS = {  # operation -> the kinds of its arguments; those with a ? may be missing
    "mmap": ("address", "number", "prot", "sharing", "what", "number?"),
    "munmap": ("address", "number"), "mprotect": ("address", "number", "prot"),
    "mlock": ("address", "number"), "munlock": ("address", "number"),
    "mremap": ("address", "number", "number", "place"), "madvise": ("address", "number", "advice"),
    "ftruncate": ("number",), "read": ("address",), "write": ("address",),
    "gup": ("address", "number", "how", "force?"), "gup-hold": ("address", "number", "how", "force?"), "gup-put": (),
    "fork": ("keep?",), "endfork": (), "resume": (), "endresume": (), "wait": (), "step": ("label",),
}


def addresses(operation: Operation) -> Iterator[tuple[int, int]]:
    """The ranges that an operation names: first address, and pages."""
    word, args = operation.word, operation.args
    if word in ("read", "write"):
        yield args[0], 1
    elif word == "mremap":
        yield args[0], args[1]
        yield (args[3] if args[3] is not None else args[0]), args[2]
    elif _FORMS[word][:1] == ("address",):
        yield args[0], args[1]


def blocks(operations: Iterable[Operation]) -> dict[int, int]:
    """The line that closes each block -> the line that opened it."""
    opened: list[int] = []
    closed = {}
    for operation in operations:
        if operation.word in ("fork", "resume"):
            opened.append(operation.line)
        elif operation.word in ("endfork", "endresume"):
            closed[operation.line] = opened.pop()
    return closed


def bits_of(operations: list[Operation]) -> int:
    """64, or 32 if all that a list names lies in the i386 test range."""
    named = [start for operation in operations for start, _ in addresses(operation)]
    return 32 if named and max(named) < RANGES[32][1] else 64


# ---------------------------------------------------------------- the log


class PinnedPage(NamedTuple):
    """A page that get_user_pages returned, or that is held: what the module printed of it, masks left out.

    `after_put` is the reference count when this page was put; None where it is still held.
    """

    vaddr: int
    refs: int
    mapcount: int
    kind: str
    pgoff: int
    data: int
    after_put: int | None
    pfn: int


@dataclass
class Log:
    """What a real kernel answered.

    Attributes
    ----------
    bits : int
        64 or 32.
    results : dict of int to (str, str)
        Line of the list -> the process that ran it, and its result.
    done : dict of int to str
        Line of a fork or resume -> what stands behind "done": the child, and "kept".
    pages : dict of int to list of PinnedPage
        Line of a gup, gup-hold or gup-put -> its pages.
    """

    bits: int
    results: dict[int, tuple[str, str]] = field(default_factory=dict)
    done: dict[int, str] = field(default_factory=dict)
    pages: dict[int, list[PinnedPage]] = field(default_factory=dict)


_RESULT = re.compile(r"(?P<line>\d+) (?P<proc>p0[.\d]*) (?P<text>\S.*?) -> (?P<result>\S.*)")
_DONE = re.compile(r"(?P<line>\d+) p0[.\d]* (fork|resume) done ?(?P<child>p0[.\d]*)?( pid=\d+)?(?P<kept> kept)?")
_HEAD = re.compile(r"# ptrun range=\S+ lines=\d+ bits=(32|64)")
_PAGE = re.compile(r" (?:gup|put)\[\d+\] (.*)")
_PASSED_OVER = ("gup pid=", "gupput n=")


def parse_log(text: str, name: str) -> Log:
    """The answers of a log.

    Raises
    ------
    CaptureError
        ``name:line: what`` where a line is none of the five kinds, or lacks a field.
    """
    first, *lines = text.splitlines() or [""]
    head = _HEAD.fullmatch(first)
    if not head:
        raise CaptureError(f"{name}:1: must begin with '# ptrun range=.. lines=.. bits=32 or 64', got {first[:80]!r}")
    log = Log(int(head[1]))
    for number, line in enumerate(lines, 2):
        try:
            _read_line(log, line)
        except (ValueError, KeyError) as error:
            raise CaptureError(f"{name}:{number}: {error}: {line.strip()[:80]!r}") from error
    return log


def _read_line(log: Log, line: str) -> None:
    page, done, result = _PAGE.fullmatch(line), _DONE.fullmatch(line), _RESULT.fullmatch(line)
    if page:
        if not log.pages:
            raise ValueError("a page must stand behind its gup or gup-put")
        log.pages[next(reversed(log.pages))].append(pinned_page(page[1]))
    elif done:
        log.done[int(done["line"])] = f"{done['child'] or ''}{done['kept'] or ''}"
    elif result:
        log.results[int(result["line"])] = result["proc"], result["result"]
        if result["text"].startswith("gup"):
            log.pages[int(result["line"])] = []
    elif not line.startswith(_PASSED_OVER):
        raise ValueError("not a line of a log")


def pinned_page(text: str) -> PinnedPage:
    """A page as the module prints it: ``va=.. pfn=.. page: count=.. mapcount=.. kind=.. index=.. data=.. ..``."""
    pairs = dict(PAIRS.findall(text))
    try:
        return PinnedPage(int(pairs["va"], 16), int(pairs["count"]), int(pairs["mapcount"]), pairs["kind"],
                          int(pairs["index"], 16), int(pairs["data"], 16),
                          int(pairs["count_after_put"]) if "count_after_put" in pairs else None, int(pairs["pfn"]))
    except KeyError as error:
        raise ValueError(f"a page without {error.args[0]}=") from error
