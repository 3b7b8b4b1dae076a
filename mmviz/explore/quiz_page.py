"""What a question looks like: a picture whose marks can be clicked, and the form for a page without a kernel.

The saved form is plain HTML: the picture as an `<img>`, the options as a list, and the answer in `<details>`, which
folds out with scripts off, with no network, and in a notebook that is not trusted.
"""
from __future__ import annotations

from collections.abc import Mapping
from html import escape

from ..draw.scene import Glyphs, Mark, Part, Scene
from ..draw.svg import attributes, hatch_id, hatch_tile, image, number, path_text
from .questions import LETTERS, Question

PREFIX = "mmvizquiz-"  # of the patterns; the browser puts a number of its own in its place


def form(question: Question, scene: Scene | None) -> str:
    """The question for a page without a kernel; the answer folds out."""
    options = "".join(f"<li>{LETTERS[i]}. {escape(option.label)}</li>" for i, option in enumerate(question.options))
    picture = image(scene) if scene else ""
    return (f'<div class="mmviz-question"><p><b>Question.</b> {escape(question.text)}</p>{picture}'
            f'<ul style="list-style:none;padding-left:.5em">{options}</ul>'
            f"<details><summary>Answer</summary>{answer(question)}</details></div>")


def answer(question: Question) -> str:
    """Every option with its reason, the right one first."""
    right = question.right_place
    rest = "".join(f"<li>{LETTERS[i]}. <i>{escape(option.label)}</i> <b>No.</b> {_code(option.reason)}.</li>"
                   for i, option in enumerate(question.options) if i != right)
    return (f"<p>{LETTERS[right]}. <i>{escape(question.options[right].label)}</i> <b>Right.</b> "
            f"{_code(question.options[right].reason)}.</p>"
            f'<ul style="list-style:none;padding-left:.5em">{rest}</ul>')


def reply(question: Question, chosen: int | None, offer: str = "") -> str:
    """The reply to an answer as HTML: right or not, then every option with its reason, and an experiment if any."""
    said = f"<p><b>{escape(verdict(question, chosen))}</b></p>{answer(question)}"
    return said + (f"<p>{escape(offer)}</p>" if offer else "")


def _code(reason: str) -> str:
    """A reason with its kernel function in code type."""
    sentence, _, rule = reason.rpartition(" (")
    return f"{escape(sentence)} (<code>{escape(rule.removesuffix(')'))}</code>)" if sentence else escape(reason)


def words(question: Question, chosen: int | None, offer: str = "") -> str:
    """The reply to an answer in plain lines: the verdict, then every option with its reason, yours first."""
    right = question.right_place
    places = sorted(range(len(question.options)), key=lambda i: (i != chosen, i != right))
    lines = [f"{LETTERS[i]}. {option.label}: {'right' if i == right else 'no'}. {option.reason}."
             for i in places for option in [question.options[i]]]
    return "\n".join([verdict(question, chosen), *lines, *([offer] if offer else [])])


def verdict(question: Question, chosen: int | None) -> str:
    """The first sentence of the reply; the reasons stand at the options."""
    right = LETTERS[question.right_place]
    if chosen == question.right_place:
        return f"Right: {right}."
    return f"{'Given up' if chosen is None else f'Not {LETTERS[chosen]}'}: {right} is right."


# ---------------------------------------------------------------- the picture


def clickable(scene: Scene, places: Mapping[str, int]) -> str:
    """The picture as SVG, a group for each mark with its key and its option; no tooltips, which might say too much."""
    marks = list(scene.marks)
    looks = {hatch_id(part.look): part.look for mark in marks for part in mark.parts()
             if part.look.hatch and part.look.hatch_ink}
    tiles = "".join(_pattern(hatch_tile(look)) for look in looks.values())
    body = "".join(_group(mark, places.get(mark.key)) for mark in marks)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" class="mmviz-quiz-picture" role="img" '
            f'viewBox="0 0 {number(scene.width)} {number(scene.height)}" aria-label="{escape(scene.alt)}" '
            f'stroke-linejoin="round"><defs>{tiles}</defs>{body}</svg>')


def _group(mark: Mark, place: int | None) -> str:
    x, y = mark.origin
    chosen = f' data-option="{place}"' if place is not None else ""
    parts = "".join(_part(part, x, y) for part in mark.parts())
    return f'<g class="mmviz-mark" data-key="{escape(mark.key)}"{chosen}>{parts}</g>'


def _part(part: Part, x: float, y: float) -> str:
    look = "".join(f' {name}="{escape(value)}"' for name, value in attributes(part.look, PREFIX).items())
    if isinstance(part, Glyphs):
        return f'<text x="{number(x + part.x)}" y="{number(y + part.y)}"{look}>{escape(part.text)}</text>'
    return f'<path d="{path_text(part.path, x, y)}"{look}/>'


def _pattern(tile: Mapping[str, str | int]) -> str:
    return (f'<pattern id="{PREFIX}{tile["id"]}" width="{tile["size"]}" height="{tile["size"]}" '
            f'patternUnits="userSpaceOnUse"><path fill="{tile["fill"]}" d="M0 0H{tile["size"]}V{tile["size"]}H0Z"/>'
            f'<path d="{tile["d"]}" stroke="{tile["stroke"]}" stroke-width="{tile["width"]}" fill="none" '
            'stroke-linecap="round"/></pattern>')
