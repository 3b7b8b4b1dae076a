"""A question before the picture of the answer: predict, then look.

    Quiz(recording, ask="head_or_tail")      hides the next such step of a recording, and asks for it
    Quiz("head_or_tail", seed=7)             makes a small machine and asks; each retry is a new machine
    Quiz("03a-R1", machine=toy)              asks what the lesson asks

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
from ipywidgets import widget_serialization

from ..draw.fixmap import draw_fixmap
from ..draw.free_area import draw_free_area
from ..draw.map import draw_map
from ..draw.pcp import draw_pcp
from ..draw.pkmap import draw_pkmap
from ..draw.scene import Scene
from ..draw.watermarks import draw_watermarks
from ..draw.zonelists import draw_zonelists
from ..mm.machine import Machine
from ..recording import Recording, Step
from . import quiz_vm
from .compare import Compare
from .experiment import Offer, offered
from .page import HERE, Html, saved_too
from .predictions import is_prediction, picture_of
from .questions import LETTERS, Question
from .quiz_code import GIVEN_UP, Kind, Score, Series, decode, encode
from .quiz_page import clickable, form, reply, verdict, words
from .quiz_slab import SLAB_PICTURES
from .stepper import Draw, Stepper, draw_of

PICTURES: dict[str, Callable[..., Scene]] = {
    "zone_serves": draw_map, "watermark": draw_watermarks, "next_node": draw_watermarks,
    **quiz_vm.PICTURES, **SLAB_PICTURES}
WHOLE: dict[str, Draw] = {  # pictures that are of no zone
    "node_order": draw_zonelists, "kmap_slot": draw_pkmap, "kmap_sweep": draw_pkmap, "kmap_sleep": draw_pkmap,
    "kmap_nested": draw_fixmap}
WORDS_ALONE = {"node_order", "size_class"}  # a picture would say nothing of the distances, or all of the classes
SHOW_STEP = {"half_back", "merge", "head_or_tail", "next_node"}  # where the step before is part of the question


class Quiz(anywidget.AnyWidget):
    """A question about the next step of a kind, with the picture before it.

    Parameters
    ----------
    source : Recording or str
        What happened; or the kind of question, to get a new small machine for each, or several kinds in turn,
        "merge+pcp_fill"; or a lesson's question, "03a-R1".
    ask : str or Event class, or several, optional
        What to ask about a recording: "order_found", "block_taken", "half_back", "merge", "head_or_tail", "pcp_fill",
        "zone_serves", "watermark", "steal", "next_node", and the kinds of the other cores (quiz_vm.py, quiz_kmap.py,
        quiz_slab.py); or the event, as in ``AddToFreeArea``. All if not given.
    seed : int
        0 to 999,999,999: the machine, and the order of the options.
    draw : callable, optional
        ``draw(state, step) -> Scene``; a picture that fits the question if not given.
    at : int
        The step of the recording to begin at.
    machine : Machine, optional
        What a lesson's question shows, as it is before the answer.
    most : int, optional
        How many questions a test has, 1 or more; practice has no end.

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
    shown = traitlets.Instance(Compare, allow_none=True).tag(sync=True, **widget_serialization)

    def __init__(self, source: Recording | str, ask: Kind | Iterable[Kind] | None = None, seed: int = 1,
                 draw: Draw | None = None, at: int = 0, machine: Machine | None = None,
                 most: int | None = None) -> None:
        self._series = Series(source, ask, seed, at, machine, most)
        self._draw, self._answers, self._right = draw, "", 0
        self._offer: Offer | None = None
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
            If this one has had no answer, or was the last.
        """
        if not self._answered:
            raise ValueError("answer this question first; quiz.solution() gives it up and shows what happened")
        following = self._series.problem(len(self._answers))
        if following is None:
            raise ValueError(f"that was the last of {self._series.most} questions" if self._series.most
                             else f"the recording has no further question of the kind {self._kind}")
        self._show(*following)

    def solution(self) -> Stepper:
        """The same instance in a Stepper, opened before the step in question. Without an answer this gives up.

        ValueError for a lesson's question: there the next cell runs it.
        """
        if is_prediction(self._question.kind):
            raise ValueError("a lesson's question has no recording yet: the next cell runs it")
        if not self._answered:
            self._close(None)
        return Stepper(self._recording, self._picture, at=self._question.step)

    def experiment(self) -> Compare:
        """Your wrong answer, run: v5.4 and the machine for which it is right, side by side.

        Raises
        ------
        ValueError
            If there has been no wrong answer, or no machine is known that does so.
        """
        if self._offer is None:
            raise ValueError("there is a machine to run after a wrong answer, if one is known for which it is right; "
                             "quiz.solution() steps through what happened")
        return self._offer.run(partial(draw_pcp, zone=self._question.zone[0], nid=self._question.zone[1])
                               if self._question.kind == "pcp_fill" else self._picture)

    def _close(self, chosen: int | None) -> Html:
        question = self._question
        if chosen is not None and chosen != question.right_place:
            self._offer = offered(self._recording, question, question.options[chosen].value)
        offer = self._offer.words if self._offer else ""
        self._answers += GIVEN_UP if chosen is None else LETTERS[chosen]
        self._right += chosen == question.right_place
        self.said = json.dumps({
            "number": len(self._answers) - 1, "chosen": chosen, "right": question.right_place,
            "words": verdict(question, chosen), "reasons": [option.reason for option in question.options],
            "score": self._count(), "code": self.code, "offer": offer,
            "more": self._series.problem(len(self._answers)) is not None})
        run = f"{offer}: quiz.experiment() runs it." if offer else ""
        return Html(reply(question, chosen, run), words(question, chosen, run))

    # -- showing

    @property
    def _answered(self) -> bool:
        return bool(self.said)

    @property
    def _kind(self) -> str:
        return self._series.name.partition("@")[0]

    def _count(self) -> str:
        """How many were right of how many, and whether that is all."""
        so_far, most = f"{self._right} right of {len(self._answers)}", self._series.most
        if most is None:
            return so_far if self._series.endless or len(self._answers) > 1 else ""
        return f"{so_far}. That was the last." if len(self._answers) == most else f"{so_far}; {most} in all"

    def _score(self) -> Score:
        return Score(self._kind, self._series.seed, self._answers, self._right, len(self._answers))

    def _picture(self, state: Any, step: Step | None) -> Scene:
        if self._draw is not None:
            return self._draw(state, step)
        if is_prediction(self._question.kind):
            return draw_of(picture_of(self._question.kind))(state, step)
        if self._question.kind in WHOLE:
            return WHOLE[self._question.kind](state, step)
        name, nid = self._question.zone
        return partial(PICTURES.get(self._question.kind, draw_free_area), zone=name, nid=nid)(state, step)

    def _has_picture(self) -> bool:
        return self._series.machine is not None and bool(self._draw or picture_of(self._question.kind))

    def _scene(self) -> Scene | None:
        """The picture before the answer, if there is one."""
        if self._draw is None and self._question.kind in WORDS_ALONE:
            return None
        if is_prediction(self._question.kind) and not self._has_picture():
            return None
        before = _before(self._recording, self._question.step) if self._question.kind in SHOW_STEP else None
        return self._picture(self._recording.at(self._question.step), before)

    def _show(self, recording: Recording, question: Question) -> None:
        self._recording, self._question, self._offer = recording, question, None
        scene = self._scene()
        self._form = form(question, scene)
        places = {key: question.place(value) for key, value in question.marks.items()}
        with self.hold_sync():
            self.said, self.shown = "", None
            self.asked = json.dumps({"number": len(self._answers), "text": question.text,
                                     "options": [option.label for option in question.options],
                                     "below": not self._series.endless,
                                     "picture": clickable(scene, places) if scene else ""})

    def _heard(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        """What the browser says: an answer to the question that stands, or the wish for another."""
        if content.get("number") != json.loads(self.asked)["number"]:
            return  # a second click, or another view was quicker
        if content.get("answer") in range(len(self._question.options)) and not self._answered:
            self._close(content["answer"])
        elif "again" in content and self._answered:
            self.again()
        elif "experiment" in content and self._offer and self.shown is None:
            self.shown = self.experiment()

    def __repr__(self) -> str:
        return f"Quiz({self._kind}, seed {self._series.seed})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return saved_too(super()._repr_mimebundle_(**kwargs), repr(self), self._form)


def _before(recording: Recording, number: int) -> Step | None:
    """The last step that may be seen, where it belongs to the same request as the hidden one."""
    if not number or number >= len(recording):
        return None
    before, hidden = recording[number - 1], recording[number]
    same = before.stack and hidden.stack and before.stack[0].call == hidden.stack[0].call
    return before if same else None
