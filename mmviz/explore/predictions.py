"""The questions that a lesson asks before it shows: kept as data, so that the notebook does not tell the answer.

    data/questions/03a.toml     [R1]  text, right, options: label = reply, picture, pairs: label = pair of machines
    Quiz("03a-R1", machine=toy)

The replies are a teacher's: they answer a wrong idea. What is right is asserted by the lesson's own `check` cells.
"""
from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from ..kernel import DATA
from .questions import Option, Question


def is_prediction(name: str) -> bool:
    """Whether a name is that of a lesson's question: "03a-R1"."""
    return "-" in name


def prediction(name: str) -> Question:
    """The question of that name.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> prediction("03a-R3").right
    '0x4c13: it was freed last'
    """
    asked = _asked(name)
    options = tuple(Option(label, label, reply) for label, reply in asked["options"].items())
    return Question(name, asked["text"], options, asked["right"], 0, ("", 0))


def picture_of(name: str) -> str:
    """What to draw of the machine before the answer, as in draw_<picture>; "" for nothing."""
    return str(_asked(name).get("picture", ""))


def pair_of(name: str, answer: object) -> str:
    """The pair of machines whose right one would do what this answer says; "" if there is none."""
    return str(_asked(name).get("pairs", {}).get(answer, ""))


def names() -> list[str]:
    """All questions of all lessons."""
    lessons = sorted(path.stem for path in (DATA / "questions").glob("*.toml"))
    return [f"{lesson}-{number}" for lesson in lessons for number in _of(lesson)]


def _asked(name: str) -> dict[str, Any]:
    lesson, _, number = name.partition("-")
    found = _of(lesson).get(number)
    if found is None:
        raise ValueError(f"a lesson's question must be one of {', '.join(names())}, got {name!r}")
    return found


@cache
def _of(lesson: str) -> dict[str, dict[str, Any]]:
    path = DATA / "questions" / f"{lesson}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
