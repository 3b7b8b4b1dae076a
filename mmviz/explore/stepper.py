"""A recording and a picture make a widget.

    Stepper(recording, draw_frames)

draws the picture for every step there is, hands all of them to the browser at once, and is done: no kernel is asked
while you step. `draw` is called as ``draw(state, step)``, with the state after the step; before the first step it is
called with None for the step. What says the same again and again is one step (see excerpt.py).
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from ..draw.scene import Scene
from ..excerpt import Excerpt, in_short
from ..kernel import gfp_name, source_url
from ..mm.events import FreeAreaSearched
from ..narrate import ADDRESSES, sentence
from ..recording import Recording
from .coding import CallLine, Encoder
from .player import Player, Story, place, still

PLACES = {"address", "start", "end", "floor", "ceiling", "page", "newpage", "vm_start", "vm_end"}
MOST_STEPS = 2000
START = "Before the first step."

Draw = Callable[[Any, Any], Scene]
Say = Callable[[Any], str]


def draw_of(picture: str) -> Draw:
    """The drawing of that name."""
    found: Draw = getattr(import_module(f"..draw.{picture}", __package__), f"draw_{picture}")
    return found


class Frame(NamedTuple):
    """One step, drawn; number 0 is the state before the first."""

    number: int
    step: Any
    sentence: str
    scene: Scene
    decision: bool = False


def frames(recording: Any, draw: Draw, say: Say | None = None, only: Container[int] | None = None) -> Iterator[Frame]:
    """The steps of a recording with their pictures, in turn: every step, or `only` some."""
    tell, is_decision = _told(recording, say)
    states = recording.states() if hasattr(recording, "states") else map(recording.at, range(len(recording) + 1))
    for i, state in zip(range(len(recording) + 1), states, strict=False):
        if only is not None and i not in only:
            continue
        step = recording[i - 1] if i else None
        try:
            told = (tell(i - 1), draw(state, step), is_decision(i - 1)) if step else (START, draw(state, step))
            yield Frame(i, step, *told)
        except Exception as error:
            error.add_note(f"while drawing step {i} of {len(recording)}: {step.event if step else 'the start'}")
            raise


def _told(recording: Any, say: Say | None) -> tuple[Callable[[int], str], Callable[[int], bool]]:
    """What says the sentence of a step, by its number from 0, and what says whether it is a decision."""
    if isinstance(recording, Excerpt) and say is None:
        return recording.sentence, recording.decision
    narrate = say or narrator(recording)
    return lambda i: narrate(recording[i].event), lambda i: recording[i].event.decision


def narrator(recording: Any) -> Say:
    """`sentence` with the words of this recording's Config: its zones, its migratetypes."""
    config = getattr(recording.at(0), "config", None)
    return lambda event: sentence(event, config)


def call_lines(stack: Iterable[Any]) -> list[CallLine]:
    """The call stack of a step, outermost first, as the outline shows it."""
    return [CallLine(frame.symbol, ", ".join(f"{name}={in_words(name, value)}" for name, value in frame.args
                                             if value != "..."),
                     frame.file, source_url(frame.symbol) or "") for frame in stack]


def in_words(name: str, value: int | str | None) -> str:
    """An argument as a reader knows it: names for gfp masks, hex for places and flags, decimal for counts.

    >>> in_words("gfp_mask", 0xcc0), in_words("pfn", 0x1000), in_words("new_addr", 0x2000), in_words("order", 3)
    ('GFP_KERNEL', '0x1000', '0x2000', '3')
    """
    if not isinstance(value, int) or value < 0:
        return str(value)
    if name in ("gfp_mask", "gfp_flags", "gfp"):
        return gfp_name(value)
    is_place = name.endswith(("pfn", "addr", "pgd", "p4d", "pud", "pmd", "pte", "flags", "prot")) or name in PLACES \
        or value >= ADDRESSES
    return f"{value:#x}" if is_place else str(value)


class Stepper(Player):
    """A recording, one step at a time, forward and back.

    Parameters
    ----------
    recording : Recording
        What happened.
    draw : callable
        ``draw(state, step) -> Scene``.
    at : int, optional
        The step to open at: 0 is before the first, -1 the last.
    label : str, optional
        The heading; the scene's title if not given.
    strip : sequence of int, optional
        The steps of the film strip. If not given: first, middle and last, as far as they fit in 40 KB.
    say : callable, optional
        ``say(event) -> str``, one sentence; `mmviz.narrate.sentence` if not given.
    over : str or collection of str, optional
        Kernel functions to step over: each call of one is a single step, as in ``over="__alloc_pages_nodemask"``.

    runs : bool, optional
        Whether what says the same again and again ("the list is empty", order after order) is one step.

    `at` and `strip` count the steps of the recording.

    Attributes
    ----------
    scene : Scene
        Its key picture, as in ``stepper.scene.savefig("step.pdf")``: the one that it opens with; the last one where
        it opens before the first step.
    """

    def __init__(self, recording: Any, draw: Draw, at: int | None = None, label: str | None = None, *,
                 strip: Sequence[int] | None = None, say: Say | None = None, over: str | Collection[str] = (),
                 runs: bool = True) -> None:
        super().__init__(story_of(recording, draw, at, label, strip=strip, say=say, over=over, runs=runs))


def story_of(recording: Any, draw: Draw, at: int | None = None, label: str | None = None, *,
             strip: Sequence[int] | None = None, say: Say | None = None, over: str | Collection[str] = (),
             runs: bool = True) -> Story:
    """Every step of a recording with its picture, for a player; what the arguments mean is said at `Stepper`."""
    length = _checked_length(recording)
    found = [place(i, length) for i in (at or 0, *(strip if strip is not None else (0, length // 2, -1)))]
    if isinstance(recording, Recording):
        recording = in_short(recording, over, runs=runs)
        found = [recording.place(i) for i in found]
    start, *wanted = found
    last, encoder, stills = len(recording), Encoder(), []
    for frame in frames(recording, draw, say):
        _add(encoder, frame)
        if frame.number == start or not start:
            key = frame.scene
        if frame.number in wanted:
            stills.append(still(frame.scene, frame.number, last, frame.sentence))
    return Story(encoder.finish() | {"label": label or "", "start": start}, last, stills, key, strip is not None)


def _checked_length(recording: Any) -> int:
    length = len(recording)
    if length > MOST_STEPS:
        raise ValueError(f"a Stepper takes up to {MOST_STEPS:,} steps, got {length:,}: "
                         "make a Timeline and open one operation of it, Stepper(timeline.open(i), draw)")
    return length


def is_milestone(event: Any) -> bool:
    """Whether "next decision" stops at an event: a decision, but no list searched in vain."""
    return event.decision and not (isinstance(event, FreeAreaSearched) and not event.found)


def _add(encoder: Encoder, frame: Frame) -> None:
    step = frame.step
    if step is None:
        encoder.add(frame.scene, frame.sentence)
        return
    boring = frame.decision and not is_milestone(step.event)
    encoder.add(frame.scene, frame.sentence, call_lines(step.stack), frame.decision, boring)
