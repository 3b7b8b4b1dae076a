"""A question before the picture of the answer: predict, then look.

    Quiz(recording, ask="head_or_tail")      hides the next such step of a recording, and asks for it
    Quiz("head_or_tail", seed=7)             makes a small machine and asks; each retry is a new machine

The picture shows the state before the step. It is answered by a click on a block, by keyboard, or by `answer`; one
answer an instance, and then every option gets its reason. Nothing of the answer is sent to the browser before it is
given. A saved notebook keeps a form that needs neither kernel nor script, where the answer folds out.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import anywidget
import traitlets

from ..draw.fixmap import draw_fixmap
from ..draw.free_area import draw_free_area
from ..draw.map import draw_map
from ..draw.pkmap import draw_pkmap
from ..draw.scene import Scene
from ..draw.watermarks import draw_watermarks
from ..trace import Recording, Step
from . import quiz_vm
from .page import HERE, Html
from .questions import LETTERS, Question
from .quiz_code import GIVEN_UP, Kind, Score, Series, decode, encode
from .quiz_page import clickable, form, reply, verdict, words
from .stepper import Draw, Stepper

PICTURES: dict[str, Callable[..., Scene]] = {
    "zone_serves": draw_map, "watermark": draw_watermarks, "next_node": draw_watermarks,
    **quiz_vm.PICTURES}
WHOLE = {  # pictures that are of no zone
    "kmap_slot": draw_pkmap, "kmap_sweep": draw_pkmap, "kmap_sleep": draw_pkmap, "kmap_nested": draw_fixmap}
SHOW_STEP = {"half_back", "merge", "head_or_tail", "next_node"}  # where the step before is part of the question


class Quiz(anywidget.AnyWidget):
    """A question about the next step of a kind, with the picture before it.

    Parameters
    ----------
    source : Recording or str
        What happened; or the kind of question, to get a new small machine for each.
    ask : str or Event class, or several, optional
        What to ask about a recording: "order_found", "block_taken", "half_back", "merge", "head_or_tail", "pcp_fill",
        "zone_serves", "watermark", "steal", "next_node", "kmap_slot", "kmap_sweep", "kmap_sleep", "kmap_nested";
        or the event, as in ``AddToFreeArea``. All if not given.
    seed : int
        0 to 999,999,999: the machine, and the order of the options.
    draw : callable, optional
        ``draw(state, step) -> Scene``; a picture that fits the question if not given.
    at : int
        The step of the recording to begin at.

    Raises
    ------
    ValueError
        If the kind is unknown, or the recording has no question of it.

    Examples
    --------
    >>> quiz = Quiz("head_or_tail", seed=1)
    >>> quiz
    Quiz(head_or_tail, seed 1)
    >>> said = quiz.answer(quiz.question.right)
    >>> quiz.score
    'head_or_tail, seed 1: 1 right of 1'
    """

    _esm = HERE / "quiz.js"
    _css = HERE / "quiz.css"
    asked = traitlets.Unicode().tag(sync=True)
    said = traitlets.Unicode().tag(sync=True)

    def __init__(self, source: Recording | str, ask: Kind | Iterable[Kind] | None = None, seed: int = 1,
                 draw: Draw | None = None, at: int = 0) -> None:
        self._series = Series(source, ask, seed, at)
        self._draw, self._answers, self._right = draw, "", 0
        first = self._series.problem(0)
        if first is None:
            raise ValueError(f"the recording has no question of the kind {self._kind} from step {at} on; it has "
                             f"{len(source)} steps. Quiz(\"head_or_tail\") makes new machines")
        super().__init__()
        self.on_msg(self._heard)
        self._show(*first)

    # -- what is asked

    @property
    def question(self) -> Question:
        """The question that stands: text, options, and what is right."""
        return self._question

    @property
    def recording(self) -> Recording:
        """The recording that it is about."""
        return self._recording

    @property
    def score(self) -> str:
        """How many were right, in words."""
        return str(self._score())

    @property
    def code(self) -> str:
        """A line to hand in; `Quiz.verify` reads it."""
        return encode(self._series.name, self._series.seed, self._answers, self._right)

    @staticmethod
    def verify(code: str, recording: Recording | None = None) -> Score:
        """Make the problems of a code again, and count.

        Parameters
        ----------
        code : str
            What a learner handed in.
        recording : Recording, optional
            What the questions were about, if they were about a recording.

        Raises
        ------
        ValueError
            If the code is malformed or altered, or is of another recording.

        Examples
        --------
        >>> print(Quiz.verify(Quiz("merge", seed=5).code))
        merge, seed 5: 0 right of 0
        """
        return decode(code, recording)

    # -- answering

    def answer(self, value: object) -> Html:
        """Give your answer: the value, the words or the letter of an option. The reply says why, for each option.

        Raises
        ------
        ValueError
            If it is none of the options, or this question has had its answer.
        """
        if self._answered:
            raise ValueError("this question has had its answer; quiz.again() asks a new one")
        return self._close(self._question.place(value))

    def again(self) -> None:
        """Ask the next question: of a new machine, or the next of its kind in the recording.

        Raises
        ------
        ValueError
            If this one has had no answer, or the recording has no further one.
        """
        if not self._answered:
            raise ValueError("answer this question first; quiz.solution() gives it up and shows what happened")
        following = self._series.problem(len(self._answers))
        if following is None:
            raise ValueError(f"the recording has no further question of the kind {self._kind}")
        self._show(*following)

    def solution(self) -> Stepper:
        """The same instance in a Stepper, opened before the step in question. Without an answer this gives up."""
        if not self._answered:
            self._close(None)
        return Stepper(self._recording, self._picture, at=self._question.step)

    def _close(self, chosen: int | None) -> Html:
        question = self._question
        self._answers += GIVEN_UP if chosen is None else LETTERS[chosen]
        self._right += chosen == question.right_place
        self.said = json.dumps({
            "number": len(self._answers) - 1, "chosen": chosen, "right": question.right_place,
            "words": verdict(question, chosen), "reasons": [option.reason for option in question.options],
            "score": f"{self._right} right of {len(self._answers)}", "code": self.code,
            "more": self._series.problem(len(self._answers)) is not None})
        return Html(reply(question, chosen), words(question, chosen))

    # -- showing

    @property
    def _answered(self) -> bool:
        return bool(self.said)

    @property
    def _kind(self) -> str:
        return self._series.name.partition("@")[0]

    def _score(self) -> Score:
        return Score(self._kind, self._series.seed, self._answers, self._right, len(self._answers))

    def _picture(self, state: Any, step: Step | None) -> Scene:
        if self._draw is not None:
            return self._draw(state, step)
        if self._question.kind in WHOLE:
            return WHOLE[self._question.kind](state, step)
        name, nid = self._question.zone
        return partial(PICTURES.get(self._question.kind, draw_free_area), zone=name, nid=nid)(state, step)

    def _show(self, recording: Recording, question: Question) -> None:
        self._recording, self._question = recording, question
        before = _before(recording, question.step) if question.kind in SHOW_STEP else None
        scene = self._picture(recording.at(question.step), before)
        self._form = form(question, scene)
        places = {key: question.place(value) for key, value in question.marks.items()}
        with self.hold_sync():
            self.said = ""
            self.asked = json.dumps({"number": len(self._answers), "text": question.text,
                                     "options": [option.label for option in question.options],
                                     "picture": clickable(scene, places)})

    def _heard(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        """What the browser says: an answer to the question that stands, or the wish for another."""
        if content.get("number") != json.loads(self.asked)["number"]:
            return  # a second click, or another view was quicker
        if content.get("answer") in range(len(self._question.options)) and not self._answered:
            self._close(content["answer"])
        elif "again" in content and self._answered:
            self.again()

    def __repr__(self) -> str:
        return f"Quiz({self._kind}, seed {self._series.seed})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found if isinstance(found, tuple) else (found, {})
        return {**(data or {}), "text/plain": repr(self), "text/html": self._form}, metadata


def _before(recording: Recording, number: int) -> Step | None:
    """The last step that may be seen, where it belongs to the same request as the hidden one."""
    if not number or number >= len(recording):
        return None
    before, hidden = recording[number - 1], recording[number]
    same = before.stack and hidden.stack and before.stack[0].call == hidden.stack[0].call
    return before if same else None
