"""A recording in short: places of a Recording, in the shape of one, for whoever steps through it.

Two things make a recording long and tell nothing new:

    a run      the same answer for order after order, the same change to object after object (RUNS in sentences/*.py)
    a call     of a function that is not the subject: what a debugger's "step over" does

`in_short` makes one place of each. Nothing is lost: the Recording is there, and ``Recording.at`` shows every step.
"""
from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Hashable, Iterable, Iterator
from difflib import get_close_matches
from itertools import groupby
from typing import Any

from .narrate import run_of, told
from .recording import Recording, Step
from .trace import mirrored


class Excerpt:
    """Some places of a Recording; each stands for the steps since the place before.

    Parameters
    ----------
    recording : Recording
    ends : iterable of int
        How many steps are done at each place, 1 to len(recording), ascending.
    """

    def __init__(self, recording: Recording, ends: Iterable[int]) -> None:
        self.recording = recording
        self.ends = [0, *ends]
        self._config = getattr(recording.at(0), "config", None)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, i: int) -> Step:
        """The last of the steps that place `i` stands for, 0 to len(self) - 1."""
        return self.recording[self.ends[range(1, len(self.ends))[i]] - 1]

    def __iter__(self) -> Iterator[Step]:
        return (self.recording[end - 1] for end in self.ends[1:])

    def since(self, i: int) -> list[Step]:
        """All steps that place `i` stands for."""
        return self.recording.steps[self.ends[i]:self.ends[i + 1]]

    def decision(self, i: int) -> bool:
        """Whether nothing changes at place `i`."""
        return all(step.event.decision for step in self.since(i))

    def sentence(self, i: int) -> str:
        """What place `i` says."""
        return told([step.event for step in self.since(i)], self._config)

    def at(self, i: int) -> Any:
        """The state after `i` places, 0 to len(self), as a copy of your own."""
        return self.recording.at(self.ends[i])

    def states(self) -> Iterator[Any]:
        """The states 0 to len(self) in turn: one object that moves on."""
        wanted = set(self.ends)
        return (state for done, state in enumerate(self.recording.states()) if done in wanted)

    def place(self, done: int) -> int:
        """The first place at which `done` steps are done, 0 to len(self)."""
        return bisect_left(self.ends, done)


def in_short(recording: Recording, over: str | Collection[str] = (), *, runs: bool = True) -> Excerpt:
    """The recording with one place for each run, and for each call of a function of `over`.

    Parameters
    ----------
    over : str or collection of str
        Kernel functions to step over: ``"__alloc_pages_nodemask"``.
    runs : bool
        False: what says the same again and again has a place for each time.

    Raises
    ------
    ValueError
        If there is no function of that name (`trace.mirrored`).

    Examples
    --------
    >>> import mmviz as mv
    >>> with mv.record(mv.toy(4)) as rec:
    ...     pfn = mv.alloc_pages(rec.live, mv.GFP_KERNEL, 9)
    >>> short = in_short(rec, over="expand")
    >>> len(rec), len(short)
    (23, 20)
    """
    symbols = frozenset([over] if isinstance(over, str) else over)
    if unknown := sorted(symbols - set(mirrored())):
        near = get_close_matches(unknown[0], mirrored())
        raise ValueError(f"over must be kernel functions that the simulator has, got {', '.join(unknown)}"
                         f"{'; is it ' + ' or '.join(near) + '?' if near else ''}")
    return Excerpt(recording, _ends(recording, symbols, runs))


def _ends(recording: Recording, over: frozenset[str], runs: bool) -> Iterator[int]:
    for (_, least), group in groupby(recording.steps, lambda step: _belongs(step, over, runs)):
        steps = list(group)
        for step in steps[-1:] if len(steps) >= least else steps:
            yield step.number + 1


def _belongs(step: Step, over: frozenset[str], runs: bool) -> tuple[Hashable, int]:
    """What a step is a part of, and how many parts that has at least, if it is to be one place."""
    for frame in step.stack:
        if frame.symbol in over:
            return frame.call, 1
    run = run_of(step.event) if runs else None
    if run is None:
        return (step.number,), 1
    outermost = step.stack[0].call if step.stack else -1
    return (outermost, run.name, run.key(step.event)), run.least
