"""One wire, many listeners: how a core says what it does, and how that is kept.

A core owns a `Trace`. Where it decides or changes something it runs

    if zone.on:
        zone.trace.emit(WatermarkChecked(...))

With nobody listening that is one attribute test; the event is not even built. (`zone.on` and `machine.on` follow
`trace.on`: a second look would cost 2 % of the allocator's time.) Three tracepoints that the kernel has in the middle
of an operation (zone_locked, pcpu_drain, extfrag) are guarded by `zone.tracepoints` instead, so that a replay can
listen to those alone; of the operation itself it knows already.

What listens most is a `Recording` (recording.py). If it is not in the stream, it did not happen.

The call stack of a step is read from Python's own frames. `mirrors` registers the code object of a function as the
counterpart of a kernel function, and returns the function itself: no wrapper, no cost. Two calls are the same call
if their frames are the same object, so eight equal calls in a loop are eight calls.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, dataclass_transform

F = TypeVar("F", bound=Callable[..., Any])


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


def running(frame: FrameType | None) -> list[FrameType]:
    """The frames of registered functions among `frame` and its callers, the outermost first."""
    found = []
    while frame is not None:
        if frame.f_code in _MIRRORS:
            found.append(frame)
        frame = frame.f_back
    return found[::-1]


def stack_frame(frame: FrameType, call: int) -> StackFrame:
    """A frame that `running` found, as it stands now; `call` says which call it is."""
    ref = _MIRRORS[frame.f_code]
    return StackFrame(call, ref.symbol, ref.file, frame.f_lineno, _arguments(frame))
