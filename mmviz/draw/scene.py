"""A picture as data: marks with a key, a place and a meaning.

A drawing is a function of one state and one step. It returns a `Scene`, and what happens to that is not its business:

    state, step --draw_frames--> Scene --> svg()        a string, the same bytes each time
                                       --> plot(ax)     matplotlib, for papers
                                       --> Stepper      all steps in the browser

Three rules make a scene easy to step through:

1. A *key* names the thing, not its place: "block 0x1000" keeps its key when it changes, moves or is touched.
2. A mark says what it *means* (`used("M")`, `LINK`), never what it looks like; see `style`.
3. Painting goes by layers: frames and bands, lines, blocks, touched blocks, arrows and brackets, texts. Inside a layer
   marks should not overlap; where they must, give one of them another `layer`.

User units are CSS pixels, x to the right, y down. Seven kinds of marks are enough: Rect, Dot, Text, Line, Arrow,
Bracket and Polyline. Each of them comes down to parts, paths and texts relative to the mark's own origin, and the parts
are all that the back-ends and the browser ever see. Every mark is written Kind(key, meaning, place ...).
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import atan2, cos, hypot, isfinite, sin
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from . import style
from .style import Look, Meaning

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYERS = 6
MOST_WORDS = 12  # marks that speak in a text alternative; nobody listens to 200
GROUND, LINES, BLOCKS, TOUCHED, ARROWS, TEXTS = range(LAYERS)


class Move(NamedTuple):
    """One command of a path: M, L or Q (with its control point before the end point), or Z with no points."""

    command: str
    points: tuple[float, ...] = ()


class Shape(NamedTuple):
    """A path, relative to the origin of its mark."""

    path: tuple[Move, ...]
    look: Look


class Glyphs(NamedTuple):
    """A text with its baseline, relative to its mark."""

    x: float
    y: float
    text: str
    look: Look


Part = Shape | Glyphs


def polygon(*points: tuple[float, float], close: bool = True) -> tuple[Move, ...]:
    """A path through these points."""
    moves = (Move("M" if i == 0 else "L", point) for i, point in enumerate(points))
    return (*moves, Move("Z")) if close else tuple(moves)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What all marks have.

    Parameters
    ----------
    key : str
        The name of the thing shown, the same at every step.
    meaning : Meaning
        What it stands for; `style` makes a look of it.
    tip : str
        Tooltip; lines are separated by a newline, the first is the heading.
    words : str
        What a screen reader says about it; nothing if empty.
    touched : bool
        "This step touches it": heavy ink outline and a triangle.
    layer : int or None
        0 (under everything) to 5; None for the usual one.
    """

    key: str = field(kw_only=False)
    meaning: Meaning = field(kw_only=False)
    tip: str = ""
    words: str = ""
    touched: bool = False
    layer: int | None = None

    usual_layer: ClassVar[int] = BLOCKS

    @property
    def origin(self) -> tuple[float, float]:
        """The place that the parts are relative to."""
        raise TypeError(f"{type(self).__name__} has no place")

    def parts(self) -> list[Part]:
        """What to paint, relative to the origin."""
        raise TypeError(f"{type(self).__name__} has no parts")

    def moved(self, dx: float, dy: float, prefix: str) -> Self:
        """The same mark at another place of another scene, where its key begins with `prefix`."""
        shift = {"x": dx, "x2": dx, "y": dy, "y2": dy}
        places = {name: getattr(self, name) + by for name, by in shift.items() if hasattr(self, name)}
        return replace(self, key=prefix + self.key, **places)

    @property
    def depth(self) -> int:
        """The layer that it is painted in."""
        if self.layer is not None:
            return self.layer
        if self.usual_layer == BLOCKS and self.meaning in (style.BOX, style.BAND) and not self.touched:
            return GROUND
        return TOUCHED if self.touched and self.usual_layer == BLOCKS else self.usual_layer


def _outlined(mark: Mark, path: tuple[Move, ...], tip: tuple[float, float]) -> list[Part]:
    """A closed shape; if touched with a heavy outline and a triangle that points down at `tip`."""
    parts: list[Part] = [Shape(path, style.shape_look(mark.meaning))]
    if mark.touched:
        x, y = tip
        parts.append(Shape(path, style.TOUCHED))
        parts.append(Shape(polygon((x - 5, y - 8), (x + 5, y - 8), (x, y - 2.5)), style.TRIANGLE))
    return parts


@dataclass(frozen=True, kw_only=True)
class Rect(Mark):
    """A block. Its label is the letter of the migratetype unless you give one; "" for none."""

    x: float = field(kw_only=False)
    y: float = field(kw_only=False)
    width: float = field(kw_only=False)
    height: float = field(kw_only=False)
    label: str | None = None

    @property
    def origin(self) -> tuple[float, float]:
        """Top left corner."""
        return self.x, self.y

    def parts(self) -> list[Part]:
        """Outline, and the label where it fits."""
        w, h = self.width, self.height
        parts = _outlined(self, polygon((0, 0), (w, 0), (w, h), (0, h)), (w / 2, 0))
        label = self.meaning.letter if self.label is None else self.label
        size = min(style.LABEL, h - 4)
        if label and text_fits(label, w, h):
            parts.append(Glyphs(w / 2, h / 2 + size * 0.36, label, style.label_look(self.meaning, size)))
        return parts


def text_fits(label: str, width: float, height: float) -> bool:
    """Whether a Rect of this size has room for a label.

    Examples
    --------
    >>> text_fits("M 31", 48, 30), text_fits("M 31", 24, 30)
    (True, False)
    """
    size = min(style.LABEL, height - 4)
    return size >= 8 and width >= size * 0.62 * len(label) + 2


@dataclass(frozen=True, kw_only=True)
class Dot(Mark):
    """A node of a graph: a circle around (x, y), with a label on it."""

    x: float = field(kw_only=False)
    y: float = field(kw_only=False)
    radius: float = field(kw_only=False)
    label: str | None = None

    @property
    def origin(self) -> tuple[float, float]:
        """The centre."""
        return self.x, self.y

    def parts(self) -> list[Part]:
        """Circle, and the label where it fits."""
        r = self.radius
        parts = _outlined(self, _circle(r), (0, -r))
        label = self.meaning.letter if self.label is None else self.label
        size = min(style.LABEL, 1.2 * r)
        if label and size >= 8 and 2 * r >= size * 0.62 * len(label):
            parts.append(Glyphs(0, size * 0.36, label, style.label_look(self.meaning, size)))
        return parts


def _circle(r: float) -> tuple[Move, ...]:
    """Eight quadratic arcs: within half a per cent of a circle."""
    step, turn = 0.4142 * r, 0.7071 * r
    corners = [(r, step, turn, turn), (step, r, 0, r), (-step, r, -turn, turn), (-r, step, -r, 0),
               (-r, -step, -turn, -turn), (-step, -r, 0, -r), (step, -r, turn, -turn), (r, -step, r, 0)]
    return (Move("M", (r, 0)), *(Move("Q", corner) for corner in corners), Move("Z"))


@dataclass(frozen=True, kw_only=True)
class Text(Mark):
    """Words at a place: (x, y) is on the baseline, at its start, middle or end."""

    x: float = field(kw_only=False)
    y: float = field(kw_only=False)
    text: str = field(kw_only=False)
    anchor: str = "start"

    usual_layer: ClassVar[int] = TEXTS

    @property
    def origin(self) -> tuple[float, float]:
        """The anchor on the baseline."""
        return self.x, self.y

    def parts(self) -> list[Part]:
        """The text; if touched, a triangle before it."""
        look = style.text_look(self.meaning, self.anchor)
        parts: list[Part] = [Glyphs(0, 0, self.text, look)]
        if self.touched:
            left = -style.text_width(self.text, self.meaning) * {"start": 0, "middle": 0.5, "end": 1}[self.anchor] - 5
            parts.append(Shape(polygon((left - 6, -9), (left, -4.5), (left - 6, 0)), style.TRIANGLE))
        return parts


@dataclass(frozen=True, kw_only=True)
class Line(Mark):
    """A straight line; if touched, a heavy one."""

    x: float = field(kw_only=False)
    y: float = field(kw_only=False)
    x2: float = field(kw_only=False)
    y2: float = field(kw_only=False)

    usual_layer: ClassVar[int] = LINES

    @property
    def origin(self) -> tuple[float, float]:
        """Where it begins."""
        return self.x, self.y

    def parts(self) -> list[Part]:
        """One stroke."""
        look = style.TOUCHED if self.touched else style.shape_look(self.meaning)
        return [Shape(polygon((0, 0), (self.x2 - self.x, self.y2 - self.y), close=False), look)]


@dataclass(frozen=True, kw_only=True)
class Arrow(Line):
    """A line with a head at (x2, y2). `bend` bows it: 0.2 is a gentle curve to the left of its way."""

    bend: float = 0.0

    usual_layer: ClassVar[int] = ARROWS

    def parts(self) -> list[Part]:
        """Shaft and head."""
        look = style.TOUCHED if self.touched else style.shape_look(self.meaning)
        dx, dy = self.x2 - self.x, self.y2 - self.y
        length = hypot(dx, dy) or 1.0
        cx, cy = dx / 2 + dy * self.bend, dy / 2 - dx * self.bend
        angle, size = atan2(dy - cy, dx - cx), min(9.0 if self.touched else 7.0, length / 2)
        neck = (dx - cos(angle) * size * 0.8, dy - sin(angle) * size * 0.8)
        wings = [(dx - size * cos(angle + turn), dy - size * sin(angle + turn)) for turn in (-0.45, 0.45)]
        return [Shape((Move("M", (0, 0)), Move("Q", (cx, cy, *neck)) if self.bend else Move("L", neck)), look),
                Shape(polygon(wings[0], (dx, dy), wings[1]), Look(look.stroke))]


@dataclass(frozen=True, kw_only=True)
class Bracket(Mark):
    """A bracket from x to x2 with a text in the middle; it opens down, its text stands above (or `below`)."""

    x: float = field(kw_only=False)
    x2: float = field(kw_only=False)
    y: float = field(kw_only=False)
    text: str = field(kw_only=False, default="")
    below: bool = False

    usual_layer: ClassVar[int] = ARROWS

    @property
    def origin(self) -> tuple[float, float]:
        """The left end."""
        return self.x, self.y

    def parts(self) -> list[Part]:
        """Bracket and text."""
        width, tick = self.x2 - self.x, -5 if self.below else 5
        look = style.TOUCHED if self.touched else style.shape_look(self.meaning)
        parts: list[Part] = [Shape(polygon((0, tick), (0, 0), (width, 0), (width, tick), close=False), look)]
        if self.text:
            parts.append(Glyphs(width / 2, 14 if self.below else -5, self.text, style.text_look(style.MUTED, "middle")))
        return parts


@dataclass(frozen=True, kw_only=True)
class Polyline(Mark):
    """A line through many points: a curve over time, an edge with corners."""

    points: Iterable[tuple[float, float]] = field(kw_only=False)

    usual_layer: ClassVar[int] = LINES

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple(self.points))

    def moved(self, dx: float, dy: float, prefix: str) -> Self:
        """The same line at another place."""
        return replace(self, key=prefix + self.key, points=[(x + dx, y + dy) for x, y in self.points])

    @property
    def origin(self) -> tuple[float, float]:
        """The first point."""
        return next(iter(self.points))

    def parts(self) -> list[Part]:
        """One stroke."""
        x, y = self.origin
        look = style.TOUCHED if self.touched else style.shape_look(self.meaning)
        return [Shape(polygon(*((px - x, py - y) for px, py in self.points), close=False), look)]


@dataclass(frozen=True)
class Scene:
    """One picture.

    Parameters
    ----------
    title : str
        What it shows, in a few words; the name that a screen reader says.
    width, height : float
        User units (CSS pixels).
    marks : iterable of Mark
        In any order: painting goes by layer, then by key.
    words : str
        What one sees, in a sentence or two. If empty, the words of the first marks, the touched ones before others.

    Examples
    --------
    >>> from mmviz.draw.style import free
    >>> Scene("One block", 100, 40, [Rect("block 0x1000", free("M"), 10, 10, 80, 20)])
    Scene('One block', 1 mark)
    """

    title: str
    width: float
    height: float
    marks: Iterable[Mark] = ()
    words: str = ""

    def __post_init__(self) -> None:
        marks = tuple(sorted(self.marks, key=lambda mark: (mark.depth, mark.key)))
        keys = {mark.key for mark in marks}
        if len(keys) < len(marks):
            seen = [mark.key for mark in marks]
            raise ValueError(f"each key must stand once in a scene, got twice: {max(seen, key=seen.count)!r}")
        for mark in marks:
            if not all(map(isfinite, mark.origin)):
                raise ValueError(f"a mark must have a finite place, got {mark.origin} for {mark.key!r}")
        object.__setattr__(self, "marks", marks)

    @property
    def alt(self) -> str:
        """The text alternative."""
        return f"{self.title}. {self.description}".strip()

    @property
    def description(self) -> str:
        """What one sees, in words: your own, or what the marks say, the touched ones first and not too many."""
        said = [mark.words for mark in sorted(self.marks, key=lambda mark: not mark.touched) if mark.words]
        more = f"; and {len(said) - MOST_WORDS} more" if len(said) > MOST_WORDS else ""
        return self.words or "; ".join(said[:MOST_WORDS]) + more

    def __repr__(self) -> str:
        marks = list(self.marks)
        return f"Scene({self.title!r}, {len(marks)} mark{'s' * (len(marks) != 1)})"

    def svg(self, tips: bool = True) -> str:
        """The picture as an SVG document, the same bytes each time; without `tips` it is smaller."""
        from .svg import svg
        return svg(self, tips)

    def plot(self, ax: Axes) -> None:
        """Paint into a matplotlib Axes, which takes the scene's shape."""
        from .plot import plot
        plot(self, ax)

    def savefig(self, path: str | Path) -> None:
        """Write a PDF, SVG or PNG through matplotlib; the same scene gives the same bytes."""
        from .plot import savefig
        savefig(self, path)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        from .svg import figure
        return {"text/html": figure(self), "text/plain": repr(self)}
