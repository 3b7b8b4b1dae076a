"""A class list of codes: counted again, and what the wrong answers have in common.

    name,when,code                                       name_when_code in any order; `when` may be left out
    Ada,before,head_or_tail+merge/7/bac/1of3/4f2a90c1
    Ada,after,head_or_tail+merge/31/cab/3of3/5a00b7e2
    Ada,,challenge:refuse_order/7/3/900/0d1c83a5

A score says how many answers were right. A teacher wants to know which idea was wrong: every option of a question
carries the reason why it is wrong, and reasons that differ in their numbers only are one idea. A challenge counts as
one question, right if it was solved at last. A code that cannot be read costs one line, and the rest is graded.
"""
from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..errors import CaptureError
from . import challenge
from .questions import LETTERS
from .quiz_code import GIVEN_UP, Score, Series, decode

COLUMNS = ("name", "when", "code")
BEFORE, AFTER = "before", "after"
NUMBER = re.compile(r"\b(?:0x[0-9a-f]+|\d[\d,]*)\b")


class Entry(NamedTuple):
    """One row of a class list, with the line that it stands on."""

    line: int
    name: str
    when: str
    code: str


@dataclass
class Report:
    """What a class list comes to; `str(report)` is its tables."""

    scores: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)  # (name, when) -> right, attempts
    reasons: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # (kind, idea without numbers) -> as given
    challenges: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # name -> (attempts, points) of each
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([*_score_table(self.scores), "", *_comparison(self.scores), *_idea_table(self.ideas),
                          *_challenge_table(self.challenges), *self.problems])

    @property
    def ideas(self) -> Counter[tuple[str, str]]:
        """How often each wrong idea was met: (kind of question, the idea)."""
        return Counter({(kind, in_common(reasons)): len(reasons) for (kind, _), reasons in self.reasons.items()})

    def add(self, entry: Entry) -> None:
        """Count one code; ValueError if it cannot be read."""
        if entry.code.startswith("challenge:"):
            result = challenge.decode(entry.code)
            self.challenges.setdefault(result.name, []).append((result.attempts, result.points))
            self._count(entry, int(result.points > 0), 1)
        else:
            score = decode(entry.code)
            for kind, reason in wrong_ideas(score):
                self.reasons.setdefault((kind, NUMBER.sub("N", reason)), []).append(reason)
            self._count(entry, score.right, score.attempts)

    def _count(self, entry: Entry, right: int, attempts: int) -> None:
        before = self.scores.get((entry.name, entry.when), (0, 0))
        self.scores[entry.name, entry.when] = before[0] + right, before[1] + attempts


def read_codes(path: str | Path) -> list[Entry]:
    """The rows of a CSV file with the columns name and code, and, if you like, when.

    Raises
    ------
    CaptureError
        If there is no such file, or a column is missing.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = {"name", "code"} - set(rows.fieldnames or ())
            if missing:
                raise CaptureError(f"{path}:1: the columns must be {', '.join(COLUMNS)} (when may be left out), "
                                   f"missing: {', '.join(sorted(missing))}")
            return [Entry(rows.line_num, *((row.get(column) or "").strip() for column in COLUMNS)) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CaptureError(f"{path}: not a list of codes: {error}") from error


def grade(entries: Iterable[Entry]) -> Report:
    """Count every code again.

    Examples
    --------
    >>> from mmviz.explore.quiz import Quiz
    >>> quiz = Quiz("half_back", seed=1)
    >>> said = quiz.answer(quiz.question.right)
    >>> report = grade([Entry(2, "Ada", "", quiz.code), Entry(3, "Bob", "", "half_back/1")])
    >>> report.scores, len(report.problems)
    ({('Ada', ''): (1, 1)}, 1)
    """
    report, seen = Report(), set[tuple[str, str, str]]()
    for entry in entries:
        if entry[1:] in seen:
            report.problems.append(f"line {entry.line}, {entry.name}: handed in before, counted once")
            continue
        seen.add(entry[1:])
        try:
            report.add(entry)
        except ValueError as error:
            report.problems.append(f"line {entry.line}, {entry.name or 'nobody'}: {error}")
    return report


def wrong_ideas(score: Score) -> Iterator[tuple[str, str]]:
    """The kind of question and the wrong idea of each answer that was not right; giving up is no idea."""
    series = Series(score.kind, None, score.seed)
    for i, letter in enumerate(score.answers):
        problem = series.problem(i)
        if problem is not None and letter != GIVEN_UP:
            question = problem[1]
            option = question.options[LETTERS.index(letter)]
            if option.value != question.right:
                yield question.kind, option.reason


def in_common(reasons: list[str]) -> str:
    """One sentence for reasons that differ in their numbers only: a number that all share stays, others are N.

    >>> in_common(["Bits 12 to 20 count from 0", "Bits 21 to 29 count from 0"])
    'Bits N to N count from 0'
    """
    numbers = iter([set(each) for each in zip(*map(NUMBER.findall, reasons), strict=True)])
    return NUMBER.sub(lambda found: found[0] if len(next(numbers)) == 1 else "N", reasons[0])


# ---------------------------------------------------------------- tables


def _score_table(scores: dict[tuple[str, str], tuple[int, int]]) -> Iterator[str]:
    yield f"{'name':<24} {'when':<8} right"
    for (name, when), (right, attempts) in sorted(scores.items(), key=lambda score: (score[0][0], _place(score[0][1]))):
        yield f"{name:<24} {when:<8} {right} of {attempts}"


def _place(when: str) -> tuple[int, str]:
    return (BEFORE, AFTER).index(when) if when in (BEFORE, AFTER) else 2, when


def _comparison(scores: dict[tuple[str, str], tuple[int, int]]) -> Iterator[str]:
    """Before and after, over those who answered something in both."""
    both = sorted(name for name, when in scores if when == BEFORE and all(
        scores.get((name, test), (0, 0))[1] for test in (BEFORE, AFTER)))
    if not both:
        return
    shares = [[right / attempts for right, attempts in (scores[name, when] for name in both)]
              for when in (BEFORE, AFTER)]
    mean = [100 * sum(share) / len(both) for share in shares]
    better = sum(after > before for before, after in zip(*shares, strict=True))
    yield (f"before and after, {len(both)} who did both: {mean[0]:.0f} % right before, {mean[1]:.0f} % after; "
           f"{better} did better")
    yield ""


def _idea_table(ideas: Counter[tuple[str, str]]) -> Iterator[str]:
    if not ideas:
        return
    yield "how often  what was not seen"
    for (kind, idea), count in sorted(ideas.items(), key=lambda item: (-item[1], item[0])):
        yield f"{count:>9}  {kind}: {idea}"
    yield ""


def _challenge_table(challenges: dict[str, list[tuple[int, int]]]) -> Iterator[str]:
    if not challenges:
        return
    yield f"{'challenge':<27} solved tries best"
    for name, done in sorted(challenges.items()):
        solved = sum(points > 0 for _, points in done)
        tries = sum(attempts for attempts, _ in done) / len(done)
        yield f"{name:<27} {solved} of {len(done)} {tries:>5.1f} {max(points for _, points in done):>4,}"
    yield ""
