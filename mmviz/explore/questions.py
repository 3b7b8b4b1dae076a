"""A question is data: a text, options with their reasons, and the step of a recording that it hides.

    recording --ask_<kind>(recording, number)--> Question       the state before step `number` is what may be seen
        text      "Block 0x1000 of order 0 is free ... Where on its list does it go?"
        options   Option("tail", "tail of the order-0 list", "0x1002 is free ... (mm/page_alloc.c:__free_one_page)")
        right     "tail"

What is right is read from the recording, never computed anew; what is wrong, and why, comes from the state before the
step. An `ask_` function returns None where nothing is to be asked: another event, an answer that is the same whatever
one thinks, or two right ones. Ten of them stand in quiz_lists.py (which block, which half, which end) and
quiz_walk.py (which zone, which node, which type), those of kmap in quiz_kmap.py; KINDS in quiz_walk.py names them all.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from ..kernel import kernel_symbols
from ..mm import events as ev
from ..mm.mmzone import Zone
from ..recording import Recording, Step
from ..trace import Event

Value = int | str | tuple[int, ...]
MOST_OPTIONS = 5
LETTERS = "abcdef"


@dataclass(frozen=True)
class Option:
    """An answer that one can give: what `Quiz.answer` takes, its words, and why it is right or what it breaks."""

    value: Value
    label: str
    reason: str


@dataclass(frozen=True)
class Question:
    """One question about one step.

    Parameters
    ----------
    kind : str
        The name of its `ask_` function, without `ask_`.
    text : str
        What is asked.
    options : tuple of Option
        Two to six.
    right : int, str or tuple of int
        The value of the right option.
    step : int
        The first step that is hidden: the picture shows the state before it.
    zone : (str, int)
        Name and node of the zone that the picture is of.
    marks : mapping
        Keys of marks of the picture that stand for an option: key -> value.
    """

    kind: str
    text: str
    options: tuple[Option, ...]
    right: Value
    step: int
    zone: tuple[str, int]
    marks: Mapping[str, Value] = field(default_factory=dict)

    def shuffled(self, seed: int) -> Question:
        """The same question, its options in an order that follows from the seed."""
        options = list(self.options)
        Random(f"{seed} {self.kind} {self.step}").shuffle(options)
        return replace(self, options=tuple(options))

    def place(self, answer: object) -> int:
        """Which option is meant: by its value, its words or its letter; ValueError if none is."""
        wanted = tuple(answer) if isinstance(answer, list) else answer
        for i, option in enumerate(self.options):
            same = wanted == option.value and not isinstance(wanted, bool)
            if same or (isinstance(wanted, str) and wanted in (LETTERS[i], option.label)):
                return i
        allowed = ", ".join(f"{LETTERS[i]} ({shown(option.value)})" for i, option in enumerate(self.options))
        raise ValueError(f"answer must be one of {allowed}; got {answer!r}")

    @property
    def right_place(self) -> int:
        """The place of the right option."""
        return self.place(self.right)


Ask = Callable[[Recording, int], Question | None]


def shown(value: Value) -> str:
    """A value as one would type it: pages in hex, small numbers as they are.

    >>> shown(3), shown(0x1000), shown((0x4c00, 0x4c01)), shown("tail")
    ('3', '0x1000', '[0x4c00, 0x4c01]', "'tail'")
    """
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    return hex(value) if isinstance(value, int) and value > 255 else repr(value)


# ---------------------------------------------------------------- making one


def option(value: Value, label: str, reason: str, symbol: str) -> Option:
    """An option whose reason ends with the kernel function that holds the rule."""
    file = kernel_symbols().get(symbol, ("mm/page_alloc.c", 0))[0]
    return Option(value, label, f"{reason} ({file}:{symbol})")


def question(kind: str, text: str, right: Option, wrong: Iterable[Option], step: int, zone: Zone,
             marks: Mapping[str, Value] | None = None) -> Question | None:
    """A Question of the right option and of the first wrong ones that differ from it; None if there is no wrong one."""
    options = [right]
    for other in wrong:
        differs = all(other.value != known.value and other.label != known.label for known in options)
        if differs and len(options) < MOST_OPTIONS:
            options.append(other)
    if len(options) < 2:
        return None
    values = {known.value for known in options}
    kept = {key: value for key, value in (marks or {}).items() if value in values}
    return Question(kind, text, tuple(options), right.value, step, (zone.name, zone.nid), kept)


# ---------------------------------------------------------------- reading a recording


def event_at(recording: Recording, number: int) -> Event | None:
    """The event of a step; None outside of the recording."""
    return recording[number].event if 0 <= number < len(recording) else None


def zone_at(recording: Recording, number: int) -> Zone:
    """The zone that the event of a step is about, in the state before it."""
    event: Any = recording[number].event
    zone: Zone = recording.at(number).node[event.nid].node_zones[event.zone_idx]
    return zone


def events_from(recording: Recording, number: int, until: tuple[type[Event], ...] = (ev.MmPageAlloc,)
                ) -> Iterator[Step]:
    """The steps from `number` on, up to and with the first of the kinds `until`."""
    for step in recording.steps[number:]:
        yield step
        if isinstance(step.event, until):
            return


def searches(recording: Recording, number: int) -> list[ev.FreeAreaSearched]:
    """The orders that one search looks at, if it begins at this step and finds a block; else an empty list."""
    if _goes_on(event_at(recording, number - 1), event_at(recording, number)):
        return []
    run: list[ev.FreeAreaSearched] = []
    for step in recording.steps[number:]:
        event = step.event
        if not isinstance(event, ev.FreeAreaSearched) or (run and not _goes_on(run[-1], event)):
            break
        run.append(event)
    return run if run and run[-1].found else []


def _goes_on(before: Event | None, event: Event | None) -> bool:
    """Whether a search that looked at `before` in vain looks at `event` next."""
    return (isinstance(before, ev.FreeAreaSearched) and isinstance(event, ev.FreeAreaSearched) and not before.found
            and (before.order + 1, before.migratetype) == (event.order, event.migratetype))


def type_name(zone: Zone, migratetype: int) -> str:
    """The name of a migratetype in capitals."""
    return zone.machine.config.migrate_names[migratetype].upper()


def pages(count: int) -> str:
    """A number of pages in words."""
    return "1 page" if count == 1 else f"{count:,} pages"


def whereabouts(zone: Zone, pfn: int) -> str:
    """Where a page is, in words: in a free block, on a per-CPU list, in use."""
    block = zone.block_of(pfn)
    if block is not None:
        head, order, _ = block
        return f"{pfn:#x} is free, but as a block of order {order}" if head == pfn else \
            f"{pfn:#x} is free, but inside the block {head:#x} of order {order}"
    if any(pfn in pile for pcp in zone.pageset for pile in pcp.lists):
        return f"{pfn:#x} is on a per-CPU list, which counts as in use here"
    return f"{pfn:#x} is in use"
