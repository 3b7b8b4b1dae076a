"""Which questions a Quiz asks in turn, and its score as a line of text that can be handed in.

    head_or_tail/7/bac/2of3/4f2a90c1                      seeds 7, 8 and 9; the letters that were chosen
    merge+pcp_fill/7/bac/2of3/0c11d2a9                    the kinds in turn
    03a-R1/1/b/1of1/5d0c7a21                              a lesson's question
    merge+pcp_fill@1f2e3d4c.0/7/b/1of1/0a91b2c3           of a recording (its digest), from its step 0 on

An instance takes one answer; the next answer is of the next instance. So a teacher's machine can make the same problems
and count again. The checksum finds slips of the pen; it is no seal, since anyone may compute it.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from ..recording import Recording
from ..trace import Event
from .predictions import is_prediction, prediction
from .questions import LETTERS, Question
from .quiz_instances import instance
from .quiz_walk import KIND_OF, KINDS

Kind = str | type[Event]
GIVEN_UP = "x"
MOST_ANSWERS = 500
CODE = re.compile(r"([a-z_+]+|[0-9a-z]+-[A-Z0-9]+)(?:@([0-9a-f]{8})\.(\d{1,9}))?"
                  r"/(\d{1,9})/([a-fx]*)/(\d{1,4})of(\d{1,4})/([0-9a-f]{8})")


class Score(NamedTuple):
    """What a code says, counted again: kind, first seed, the letters chosen, how many were right of how many."""

    kind: str
    seed: int
    answers: str
    right: int
    attempts: int

    def __str__(self) -> str:
        return f"{self.kind}, seed {self.seed}: {self.right} right of {self.attempts}"


class Series:
    """The questions of a Quiz in turn, made or found when they are asked for.

    Parameters
    ----------
    source : Recording or str
        A recording whose steps are asked about; or the kind of question to make new machines for, or several in turn,
        "merge+pcp_fill"; or the name of a lesson's question.
    ask : str, Event class, or several of them
        What to ask about a recording.
    seed : int
        Of the order of the options; of the first machine, if machines are made.
    at : int
        The step of the recording to begin at.
    machine : Machine
        What a lesson's question has a picture of.
    most : int, optional
        How many questions there are; without end if not given.
    """

    def __init__(self, source: Recording | str, ask: Kind | Iterable[Kind] | None, seed: int, at: int = 0,
                 machine: Any = None, most: int | None = None) -> None:
        if most is not None and (type(most) is not int or most < 1):
            raise ValueError(f"most must be an int from 1 on, got {most!r}")
        for name, given in (("seed", seed), ("at", at)):
            if type(given) is not int or not 0 <= given < 10**9:
                raise ValueError(f"{name} must be an int 0 to 999,999,999, got {given!r}")
        self.seed, self.source, self.name, self.machine, self.most = seed, source, "", machine, most
        if isinstance(source, str):
            self._in_turn = () if is_prediction(source) else _kinds(source.split("+"))
            self.name = "+".join(self._in_turn) or prediction(source).kind
            if ask is not None and (is_prediction(source) or _kinds(ask) != self._in_turn):
                raise ValueError(f"ask must be left out for {self.name}, got {ask!r}")
        elif isinstance(source, Recording):
            kinds = _kinds(ask) if ask is not None else tuple(KINDS)
            self.name = f"{'all' if ask is None else '+'.join(kinds)}@{digest(source)}.{at}"
            self._found: list[Question] = []
            self._search = _questions(source, kinds, at)
        else:
            raise TypeError(f"a Quiz takes a Recording or one of {', '.join(KINDS)}, got {type(source).__name__}")

    @property
    def endless(self) -> bool:
        """Whether problems are made; else what happens is in the recording, or the lesson's next cell."""
        return isinstance(self.source, str) and not is_prediction(self.source)

    def problem(self, i: int) -> tuple[Recording, Question] | None:
        """The i-th question and its recording; None if there is no further one."""
        if self.most is not None and i >= self.most:
            return None
        if isinstance(self.source, str) and is_prediction(self.source):
            return None if i else (Recording(self.machine), prediction(self.name).shuffled(self.seed))
        if isinstance(self.source, str):
            return instance(self._in_turn[i % len(self._in_turn)], self.seed + i)
        while len(self._found) <= i:
            question = next(self._search, None)
            if question is None:
                return None
            self._found.append(question.shuffled(self.seed))
        return self.source, self._found[i]

    def count(self, answers: str) -> int:
        """How many of these letters, one for each question in turn, are right."""
        right = 0
        for i, letter in enumerate(answers):
            problem = self.problem(i)
            if problem is None or (letter != GIVEN_UP and LETTERS.index(letter) >= len(problem[1].options)):
                raise ValueError(f"there is no option {letter} of question {i + 1}")
            right += letter == LETTERS[problem[1].right_place]
        return right


def _questions(recording: Recording, kinds: tuple[str, ...], at: int) -> Iterator[Question]:
    for number in range(at, len(recording)):
        for kind in kinds:
            question = KINDS[kind](recording, number)
            if question is not None:
                yield question


def _kinds(ask: Kind | Iterable[Kind]) -> tuple[str, ...]:
    asked = tuple(ask) if isinstance(ask, Iterable) and not isinstance(ask, str) else (ask,)
    if not asked:
        raise ValueError(f"ask must be one of {', '.join(KINDS)}, or several of them; got none")
    return tuple(dict.fromkeys(_kind(one) for one in asked))


def _kind(ask: object) -> str:
    name = str(getattr(ask, "__name__", ask))
    found = KIND_OF.get(name, name)
    if found not in KINDS:
        raise ValueError(f"ask must be one of {', '.join(KINDS)}, or an event of {', '.join(KIND_OF)}; got {name!r}")
    return found


def digest(recording: Recording) -> str:
    """Eight hex digits that tell one recording from another."""
    return _check("\n".join(repr(step.event) for step in recording))


def _check(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


# ---------------------------------------------------------------- the code


def encode(name: str, seed: int, answers: str, right: int) -> str:
    """The line to hand in."""
    body = f"{name}/{seed}/{answers}/{right}of{len(answers)}"
    return f"{body}/{_check('mmviz ' + body)}"


def decode(code: str, recording: Recording | None = None) -> Score:
    """Read a code and count again; ValueError if it is malformed, altered, or of another recording."""
    match = CODE.fullmatch(code.strip()) if isinstance(code, str) else None
    if match is None:
        raise ValueError(f"not a code of a Quiz: {code!r}; it looks like head_or_tail/7/bac/2of3/4f2a90c1")
    name, mark, at, seed, answers, right, attempts, _ = match.groups()
    whole = f"{name}@{mark}.{at}" if mark else name
    if encode(whole, int(seed), answers, int(right)) != code.strip() or int(attempts) > MOST_ANSWERS:
        raise ValueError(f"the code {code!r} was altered or mistyped: its checksum does not fit; copy quiz.code again")
    if mark and (recording is None or digest(recording) != mark):
        raise ValueError(f"the code {code!r} is of the recording {mark}: Quiz.verify(code, recording) needs that one")
    try:
        ask = name.split("+") if mark and name != "all" else None
        counted = Series(recording if mark and recording else name, ask, int(seed), int(at or 0)).count(answers)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the code {code!r} fits no Quiz of this version: {error}") from error
    if counted != int(right):
        raise ValueError(f"the code {code!r} was altered: it says {right} right, and {counted} are")
    return Score(name, int(seed), answers, counted, len(answers))
