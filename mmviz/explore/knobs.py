"""Knobs: a small form of sliders, menus and numbers, in the browser's own elements.

    Knobs([Slider("order", "order", 0, 10), Menu("gfp", "flags", ("GFP_KERNEL", ...)), Number("seed", "seed", 1, 999)])

The stock widgets have a slider handle that a screen reader cannot name; a native <input> or <select> in its <label> is
named, reached by Tab and turned by the arrow keys for nothing. So this is one widget like any other (`observe` its
`values`), that draws the native elements.

`problem` is said in an alert below the form. `line` stands in a field that can be copied, or typed over: what was
typed comes back as `typed`.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import anywidget
import traitlets

from .page import HERE


@dataclass(frozen=True)
class Knob:
    """Something to turn: its name in `values`, and its label."""

    name: str
    label: str
    kind: ClassVar[str]

    def plain(self) -> dict[str, Any]:
        """What the browser needs to know."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class Slider(Knob):
    """A whole number; or with `options`, one of a row of values."""

    least: int = 0
    most: int = 10
    step: int = 1
    unit: str = ""
    options: tuple[int, ...] = ()
    kind: ClassVar[str] = "slider"


@dataclass(frozen=True)
class Number(Knob):
    """A whole number to type; disabled while the knob that it `needs` stands at 0."""

    least: int = 0
    most: int = 999_999
    needs: str = ""
    kind: ClassVar[str] = "number"


@dataclass(frozen=True)
class Menu(Knob):
    """One of some words."""

    options: tuple[str, ...] = ()
    kind: ClassVar[str] = "menu"


class Knobs(anywidget.AnyWidget):
    """A form; `values` holds what its knobs say, by name.

    Parameters
    ----------
    knobs : iterable of Knob
        From left to right.
    values : mapping
        Where they stand, for each knob.
    title : str
        What the form is for.
    """

    _esm = HERE / "knobs.js"
    _css = HERE / "knobs.css"
    title = traitlets.Unicode().tag(sync=True)
    spec: traitlets.List[Any] = traitlets.List().tag(sync=True)
    values = traitlets.Dict().tag(sync=True)
    start = traitlets.Dict().tag(sync=True)
    line = traitlets.Unicode().tag(sync=True)
    typed = traitlets.Unicode().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)
    heard = traitlets.Int(0).tag(sync=True)  # how often what was turned or typed has had its answer

    def __init__(self, knobs: Iterable[Knob], values: Mapping[str, Any], title: str) -> None:
        super().__init__(spec=[knob.plain() for knob in knobs], values=dict(values), start=dict(values), title=title)

    def __repr__(self) -> str:
        return f"Knobs({', '.join(f'{name}={value}' for name, value in self.values.items())})"
