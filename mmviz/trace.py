"""One wire, many listeners: how a core says what it does, and how that is kept.

A core owns a `Trace`. Where it decides or changes something it runs

    if zone.on:
        zone.trace.emit(WatermarkChecked(...))

With nobody listening that is one attribute test; the event is not even built. (`zone.on` and `machine.on` follow
`trace.on`: a second look would cost 2 % of the allocator's time.) Three tracepoints that the kernel has in the middle
of an operation (zone_locked, pcpu_drain, extfrag) are guarded by `zone.tracepoints` instead, so that a replay can
listen to those alone; of the operation itself it knows already.

A `Recording` is a start state and every step after it:

    start --event 0--> state 1 --event 1--> state 2 ... --event n-1--> state n

Nothing is ever undone: a step back is `at(i - 1)`, rebuilt from the nearest checkpoint by applying events forward.
If it is not in the stream, it did not happen.

The call stack of a step is read from Python's own frames. `mirrors` registers the code object of a function as the
counterpart of a kernel function, and returns the function itself: no wrapper, no cost. Two calls are the same call
if their frames are the same object, so eight equal calls in a loop are eight calls.
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
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar, dataclass_transform

from .errors import CaptureError, ReplayError

F = TypeVar("F", bound=Callable[..., Any])
Op = TypeVar("Op")
FORMAT = 1  # of a saved Recording
CHECKPOINT = 64  # steps between two kept states


# ---------------------------------------------------------------- events and the wire

EVENTS: dict[str, type[Event]] = {}


C = TypeVar("C")


@dataclass_transform(frozen_default=True)
def event(cls: type[C]) -> type[C]:
    """Make a class of events: a frozen, slotted dataclass that compares and prints as `Event` says."""
    return dataclass(frozen=True, slots=True, eq=False, repr=False)(cls)


@event
class Event:
    """Base of everything that a core can say: a frozen record of plain data.

    Attributes
    ----------
    decision : bool
        True for an event that changes nothing.
    tracepoint : str or None
        The kernel's own tracepoint, where there is one: ``"kmem:mm_page_alloc"``.
    """

    decision: ClassVar[bool] = False
    tracepoint: ClassVar[str | None] = None
    if TYPE_CHECKING:
        __match_args__: ClassVar[tuple[str, ...]]  # the names of all fields; made by dataclass

    def __init_subclass__(cls) -> None:
        EVENTS[cls.__name__] = cls

    def values(self) -> list[Any]:
        """The fields, in order."""
        return [getattr(self, name) for name in self.__match_args__]

    # Here once, and not made anew by dataclass for each kind: it halves the time of `import mmviz`.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and type(self) is type(other) and self.values() == other.values()

    def __hash__(self) -> int:
        return hash((type(self), *self.values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in zip(self.__match_args__, self.values(), strict=True))
        return f"{type(self).__name__}({fields})"


Listener = Callable[[Event], None]


class Trace:
    """The wire of one Machine.

    `on` is true exactly while somebody listens to everything, `tracepoints` while somebody listens at all: it guards
    the tracepoints inside an operation. Who asks often `follow`s: then both stand in itself too, one look away.
    """

    __slots__ = ("_followers", "_listeners", "_probes", "on", "tracepoints")

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._probes: list[Listener] = []
        self._followers: list[Any] = []
        self.on = self.tracepoints = False

    def follow(self, follower: Any) -> None:
        """Keep `follower.on` and `follower.tracepoints` as they are here."""
        self._followers.append(follower)
        follower.on, follower.tracepoints = self.on, self.tracepoints

    def emit(self, event: Event) -> None:
        """Tell everybody; those who probe hear tracepoints only."""
        for listener in self._listeners:
            listener(event)
        if event.tracepoint is not None:
            for probe in self._probes:
                probe(event)

    @contextmanager
    def listen(self, listener: Listener, *, tracepoints_only: bool = False) -> Iterator[None]:
        """Call `listener` with each event while the block runs, or with the tracepoints inside operations alone."""
        heard_by = self._probes if tracepoints_only else self._listeners
        heard_by.append(listener)
        self._set_flags()
        try:
            yield
        finally:
            heard_by.remove(listener)
            self._set_flags()

    def _set_flags(self) -> None:
        self.on = bool(self._listeners)
        self.tracepoints = bool(self._listeners or self._probes)
        for follower in self._followers:
            follower.on, follower.tracepoints = self.on, self.tracepoints


# ---------------------------------------------------------------- the kernel's call stack

class KernelRef(NamedTuple):
    """A function of the kernel: its file at v5.4 and its name."""

    file: str
    symbol: str


class StackFrame(NamedTuple):
    """One running function of a step: which call it is, what it mirrors, where it stands, its plain arguments."""

    call: int
    symbol: str
    file: str
    line: int
    args: tuple[tuple[str, int | str | None], ...]


_MIRRORS: dict[CodeType, KernelRef] = {}


def mirrors(file: str, symbol: str | None = None) -> Callable[[F], F]:
    """Say which kernel function a Python function mirrors; the function itself comes back, unwrapped."""
    def register(function: F) -> F:
        _MIRRORS[function.__code__] = KernelRef(file, symbol or function.__name__)
        return function
    return register


def mirrored() -> dict[str, KernelRef]:
    """Every registered counterpart, by symbol."""
    return {ref.symbol: ref for ref in _MIRRORS.values()}


def _plain(value: object) -> int | str | None:
    if value is None or isinstance(value, (int, str)):
        return value
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else "..."


def _arguments(frame: FrameType) -> tuple[tuple[str, int | str | None], ...]:
    code, values = frame.f_code, frame.f_locals
    names = code.co_varnames[: code.co_argcount]
    return tuple((name, _plain(values[name])) for name in names if name not in ("machine", "ac"))


# ---------------------------------------------------------------- recordings

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
        running = []
        while frame is not None:
            if frame.f_code in _MIRRORS:
                running.append(frame)
            frame = frame.f_back
        numbered = self._number(running[::-1])
        return tuple(StackFrame(call, _MIRRORS[f.f_code].symbol, _MIRRORS[f.f_code].file, f.f_lineno, _arguments(f))
                     for f, call in numbered)

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
