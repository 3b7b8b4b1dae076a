"""What happened, kept: a start state and every step after it.

    start --event 0--> state 1 --event 1--> state 2 ... --event n-1--> state n

Nothing is ever undone: a step back is `at(i - 1)`, rebuilt from the nearest checkpoint by applying events forward. The
call stack of a step is read from Python's own frames (trace.py), and two calls are the same call if their frames are
the same object. A `Timeline` keeps operations instead of events.
"""
from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from .errors import CaptureError, ReplayError
from .trace import EVENTS, Event, StackFrame, Trace, running, stack_frame

Op = TypeVar("Op")
FORMAT = 1  # of a saved Recording
CHECKPOINT = 64  # steps between two kept states


class State(Protocol):
    """What a Recording can hold: it can be copied, and a change can be applied to it."""

    trace: Trace

    def copy(self) -> Self: ...
    def apply(self, event: Event) -> None: ...
    def to_dict(self) -> dict[str, Any]: ...


class Step(NamedTuple):
    """One event, where in the kernel it happened, and its place in the recording."""

    number: int
    event: Event
    stack: tuple[StackFrame, ...]


@dataclass
class Call:
    """One call of a mirrored function: its steps and the calls made from it, in order."""

    symbol: str
    file: str
    args: tuple[tuple[str, int | str | None], ...]
    first: int
    children: list[Call | Step] = field(default_factory=list)

    def calls(self) -> Iterator[Call]:
        """The calls made directly from this one."""
        return (child for child in self.children if isinstance(child, Call))

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Call]]:
        """This call and all below it, with their depth, in order."""
        yield depth, self
        for child in self.calls():
            yield from child.walk(depth + 1)


class Recording:
    """A start state and every step after it.

    Examples
    --------
    >>> import mmviz as mv
    >>> with mv.record(mv.toy(4)) as rec:
    ...     pfn = mv.alloc_pages(rec.live, mv.GFP_KERNEL, 3)
    >>> hex(pfn), rec.at(len(rec)) == rec.live
    ('0x1000', True)
    """

    def __init__(self, start: State, live: Any = None) -> None:
        self.steps: list[Step] = []
        self.live: Any = live
        self._states: list[Any] = [start]
        self._running: list[tuple[FrameType, int]] = []
        self._calls = 0

    # -- listening

    def __call__(self, event: Event) -> None:
        """Keep one event; called by the Trace, which is called by a mirrored function or a primitive."""
        self.steps.append(Step(len(self.steps), event, self._stack(sys._getframe(2))))

    def _stack(self, frame: FrameType | None) -> tuple[StackFrame, ...]:
        return tuple(stack_frame(each, call) for each, call in self._number(running(frame)))

    def _number(self, frames: list[FrameType]) -> list[tuple[FrameType, int]]:
        """Give each running frame its call number; a frame seen in the last step keeps the one it had."""
        known = 0
        while known < min(len(frames), len(self._running)) and frames[known] is self._running[known][0]:
            known += 1
        del self._running[known:]
        for frame in frames[known:]:
            self._running.append((frame, self._calls))
            self._calls += 1
        return self._running

    def close(self) -> None:
        """Let go of the frames of the last step."""
        self._running = []

    # -- reading

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Step:
        return self.steps[index]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __repr__(self) -> str:
        return f"Recording({len(self.steps)} steps)"

    def at(self, i: int) -> Any:
        """The state after the first `i` steps, 0 to len(self), as a copy of your own."""
        if not 0 <= i <= len(self.steps):
            raise ValueError(f"step must be 0 to {len(self.steps)}, got {i}")
        while len(self._states) <= i // CHECKPOINT:
            self._states.append(self._forward(self._states[-1], len(self._states) - 1, CHECKPOINT))
        return self._forward(self._states[i // CHECKPOINT], i // CHECKPOINT, i % CHECKPOINT)

    def _forward(self, state: Any, checkpoint: int, count: int) -> Any:
        state = state.copy()
        first = checkpoint * CHECKPOINT
        for step in self.steps[first:first + count]:
            _apply(state, step)
        return state

    def states(self) -> Iterator[Any]:
        """The states 0 to len(self) in turn: one object that moves on, so look at it before you ask for the next."""
        state = self._states[0].copy()
        yield state
        for step in self.steps:
            _apply(state, step)
            yield state

    def select(self, *kinds: type[Event]) -> list[Step]:
        """The steps whose event is of one of these kinds."""
        return [step for step in self.steps if isinstance(step.event, kinds)]

    def calls(self) -> list[Call]:
        """The outermost calls, each with what it called and said, in order."""
        roots: list[Call | Step] = []
        open_calls: list[tuple[int, Call]] = []
        for step in self.steps:
            depth = 0
            while depth < min(len(open_calls), len(step.stack)) and open_calls[depth][0] == step.stack[depth].call:
                depth += 1
            del open_calls[depth:]
            for frame in step.stack[depth:]:
                call = Call(frame.symbol, frame.file, frame.args, step.number)
                (open_calls[-1][1].children if open_calls else roots).append(call)
                open_calls.append((frame.call, call))
            (open_calls[-1][1].children if open_calls else roots).append(step)
        return [root for root in roots if isinstance(root, Call)]

    # -- keeping

    def save(self, path: str | Path) -> None:
        """Write start state and steps to a gzipped JSON file; the same recording gives the same bytes."""
        stacks: dict[tuple[StackFrame, ...], int] = {}
        steps = [[type(s.event).__name__, *s.event.values(), stacks.setdefault(s.stack, len(stacks))]
                 for s in self.steps]
        saved = {"format": FORMAT, "start": self._states[0].to_dict(), "stacks": list(stacks), "steps": steps}
        text = json.dumps(saved, separators=(",", ":")).encode()
        Path(path).write_bytes(gzip.compress(text, mtime=0))

    @classmethod
    def load(cls, path: str | Path, state: Callable[[dict[str, Any]], State]) -> Recording:
        """Read what `save` wrote; `state` makes the start state from its dict (`Machine.from_dict`)."""
        try:
            saved = json.loads(gzip.decompress(Path(path).read_bytes()))
            if saved["format"] != FORMAT:
                raise ValueError(f"recording format must be {FORMAT}, got {saved['format']!r}")
            recording = cls(state(saved["start"]))
            stacks = [tuple(StackFrame(c, s, f, n, tuple((k, v) for k, v in a)) for c, s, f, n, a in stack)
                      for stack in saved["stacks"]]
            recording.steps = [Step(i, EVENTS[name](*values), stacks[stack])
                               for i, (name, *values, stack) in enumerate(saved["steps"])]
        except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, zlib.error) as error:
            raise CaptureError(f"{path}: not a recording of format {FORMAT}: {error!r}") from error
        return recording


def _apply(state: Any, step: Step) -> None:
    try:
        state.apply(step.event)
    except Exception as error:
        raise ReplayError(f"step {step.number}: {step.event} does not fit the state before it: {error!r}") from error


@contextmanager
def record(live: Any) -> Iterator[Recording]:
    """Record all that `live` says while the block runs; ``rec.live`` is the machine that does it."""
    recording = Recording(live.copy(), live)
    with live.trace.listen(recording):
        try:
            yield recording
        finally:
            recording.close()


class Timeline(Generic[Op]):
    """Operations instead of events, for runs too long to keep every step: open one and it is a Recording.

    Parameters
    ----------
    start : State
        The state before the first operation; it is copied.
    operations : sequence
        What was done, in order.
    run : callable
        ``run(state, operation)`` does one operation to a state.
    every : int
        Operations between two kept states.
    """

    def __init__(self, start: State, operations: Sequence[Op], run: Callable[[Any, Op], object],
                 every: int = 1024) -> None:
        self.operations = operations
        self.every = every
        self._run = run
        self._states: list[Any] = [start.copy()]

    def __len__(self) -> int:
        return len(self.operations)

    def __repr__(self) -> str:
        return f"Timeline({len(self.operations)} operations)"

    def at(self, i: int) -> Any:
        """The state after the first `i` operations, as a copy of your own."""
        if not 0 <= i <= len(self.operations):
            raise ValueError(f"operation must be 0 to {len(self.operations)}, got {i}")
        while len(self._states) <= i // self.every:
            first = (len(self._states) - 1) * self.every
            self._states.append(self._forward(self._states[-1], first, first + self.every))
        return self._forward(self._states[i // self.every], i - i % self.every, i)

    def _forward(self, state: Any, first: int, last: int) -> Any:
        state = state.copy()
        for operation in self.operations[first:last]:
            self._run(state, operation)
        return state

    def open(self, i: int, count: int = 1) -> Recording:
        """Operations `i` to `i + count - 1`, step by step."""
        with record(self.at(i)) as recording:
            for operation in self.operations[i:i + count]:
                self._run(recording.live, operation)
        return recording
