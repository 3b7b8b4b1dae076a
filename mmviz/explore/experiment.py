"""A wrong prediction as an experiment: the machine that would do what the learner expects.

    recording, question, answer  --wrong_machine-->  a name of VARIANTS, or ""

The request that a question is about is done again, from the same state, by each wrong machine. If the same question
arises there, and its right answer is the one that was given, that machine is what the learner has in mind.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import MmvizError
from ..mm import events as ev
from ..mm.patched import Kernel, patched
from ..mm.variants import VARIANTS, variant
from ..recording import Recording, record
from ..trace import StackFrame
from .compare import Compare
from .pairs import PAIRS
from .predictions import is_prediction, pair_of
from .questions import Question, Value
from .quiz_walk import KINDS
from .stepper import Draw


def wrong_machine(recording: Recording, question: Question, answer: Value) -> str:
    """The name of a machine for which `answer` is right; "" if there is none."""
    for name in VARIANTS:
        again = repeated(recording, question.step, variant(name))
        if again is not None and answer in (_right_answer(again, question), _outcome(again, question.kind)):
            return name
    return ""


def _outcome(recording: Recording, kind: str) -> Value | None:
    """What a machine does that comes to its answer on another way than v5.4, so that the question does not arise."""
    if kind == "order_found":
        return next((step.event.values()[3] for step in recording.select(ev.DelPageFromFreeArea)), None)
    pile: list[int] = []  # top first
    for step in recording.select(ev.PcpListAdd, ev.PcpListAddTail) if kind == "pcp_fill" else ():
        pile.insert(0 if isinstance(step.event, ev.PcpListAdd) else len(pile), step.event.values()[-1])
    return tuple(pile) or None


def _right_answer(recording: Recording, question: Question) -> Value | None:
    """What is right if the same question is asked of another recording."""
    for number in range(len(recording)):
        other = KINDS[question.kind](recording, number)
        if other is not None and other.text == question.text:
            return other.right
    return None


def repeated(recording: Recording, number: int, kernel: Kernel | Any) -> Recording | None:
    """The request that step `number` belongs to, done by another kernel from the same state.

    None if it cannot be done again: its arguments are not all plain numbers, its function is known to the recording
    only by another name, or that kernel comes to a BUG.
    """
    frame, first = _request(recording, number)
    if frame is None or not all(value is None or isinstance(value, int) for _, value in frame.args):
        return None
    function = getattr(kernel, frame.symbol, None)
    if function is None:
        return None
    machine = recording.at(first)
    with record(machine) as again:
        try:
            function(machine, *(value for _, value in frame.args))
        except MmvizError:
            return None
    return again


def _request(recording: Recording, number: int) -> tuple[StackFrame | None, int]:
    """The outermost call that a step belongs to, and the first step of that call."""
    if number >= len(recording) or not recording[number].stack:
        return None, number
    frame, first = recording[number].stack[0], number
    while first and recording[first - 1].stack and recording[first - 1].stack[0].call == frame.call:
        first -= 1
    return frame, first


# ---------------------------------------------------------------- what a Quiz offers


class Offer(NamedTuple):
    """An experiment that a wrong answer suggests: in words, and how to run it."""

    words: str
    run: Callable[[Draw], Compare]


def offered(recording: Recording, question: Question, answer: Value) -> Offer | None:
    """The experiment for which `answer` is right; None if no such machine is known."""
    if is_prediction(question.kind):
        pair = pair_of(question.kind, answer)
        words = f"There is a machine for this: {PAIRS[pair].names[1]}" if pair else ""
        return Offer(words, lambda draw: Compare(pair)) if pair else None
    name = wrong_machine(recording, question, answer)
    if not name:
        return None
    return Offer(f"A machine that {VARIANTS[name].does} gives your answer",
                 lambda draw: _side_by_side(recording, question, name, draw))


def _side_by_side(recording: Recording, question: Question, name: str, draw: Draw) -> Compare:
    """The request that a question is about, done by v5.4 and by the wrong machine of that name."""
    left, right = (repeated(recording, question.step, kernel) for kernel in (patched(), variant(name)))
    assert left is not None and right is not None  # wrong_machine has done it
    return Compare(left, right, draw, names=("v5.4", f"A machine that {VARIANTS[name].does}"))
