"""What every panel is: knobs, a stepper that follows them, and one line of text that says where the knobs stand.

    name=value name=value ...        the panel shows this line, and takes it

A panel of its own says three things (`Panel`): how a line is read, what a setting shows, and which knobs move together.
All else is here: a setting that does not work changes nothing, is said in the panel, and under test is raised, too.
"""
from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape
from typing import Any, NamedTuple, Protocol

import ipywidgets

from ..errors import MmvizError
from ..mm.machine import Machine
from ..trace import Event, Recording, record
from .knobs import Knob, Knobs
from .page import saved_too
from .stepper import Draw, Stepper

Work = Callable[[Machine], Iterator[None]]  # requests one by one: each `next` does one, and it stops before each


class Setting(Protocol):
    """Where the knobs stand; as text it is a line."""

    def values(self) -> dict[str, Any]: ...


class Shown(NamedTuple):
    """What a setting shows: a recording, or what has its shape; its picture; its heading."""

    recording: Any
    draw: Draw
    label: str


def line_of(values: Mapping[str, Any]) -> str:
    """The line of some values.

    >>> line_of({"order": 3, "gfp": "GFP_KERNEL"})
    'order=3 gfp=GFP_KERNEL'
    """
    return " ".join(f"{name}={value}" for name, value in values.items())


def read_line(line: str, usual: Mapping[str, int | str], limits: Mapping[str, tuple[int, int]],
              words: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """The values that a line gives.

    Parameters
    ----------
    usual : mapping
        Every name with its usual value.
    limits : mapping
        The least and the most of what is a whole number.
    words : mapping
        What may stand for every other name.

    Raises
    ------
    ValueError
        In words that say what stands there, and what may.
    """
    given: dict[str, Any] = {}
    for word in line.split():
        name, equals, text = word.partition("=")
        if not equals or name not in usual:
            raise ValueError(f"a setting must be name=value with a name of {', '.join(usual)}, got {word!r}")
        if name in given:
            raise ValueError(f"each name must stand once in a setting, got {name} twice")
        given[name] = _word(name, text, words[name]) if name in words else _number(name, text, *limits[name])
        given[name] = type(usual[name])(given[name])
    return given


def _word(name: str, text: str, allowed: Iterable[str]) -> str:
    if text not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {text!r}")
    return text


def _number(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number, {least} to {most:,}, got {text!r}")
    return int(text)


# ---------------------------------------------------------------- requests, the last of them step by step


def count_steps(machine: Machine, work: Work) -> list[int]:
    """How many steps each request takes."""
    heard, counts = list[Event](), []
    with machine.trace.listen(heard.append):
        for _ in work(machine):
            counts.append(len(heard))
    return [end - start for start, end in zip(counts, [*counts[1:], len(heard)], strict=True)]


def first_shown(steps: list[int], most: int) -> int:
    """The first request that is shown step by step: as many of the last as fit in `most` steps, at least one."""
    first, total = len(steps) - 1, steps[-1]
    while first and total + steps[first - 1] <= most:
        first -= 1
        total += steps[first]
    return first


def run_last(make: Callable[[], Machine], work: Work, most: int) -> tuple[Recording, int]:
    """The recording of the last requests of some work, and how many requests ran unseen before it."""
    first = first_shown(count_steps(make(), work), most)
    machine = make()
    requests = work(machine)
    for _ in range(first + 1):
        next(requests)
    with record(machine) as recording:
        for _ in requests:
            pass
    return recording, first


# ---------------------------------------------------------------- the panel


class Panel(ipywidgets.VBox):  # type: ignore[misc]
    """Knobs, and the stepper that follows them; a panel of its own gives `read`, `shown` and, where needed, `coupled`.

    Parameters
    ----------
    setting : str
        A line as the panel shows it; what it does not say is as usual.
    knobs : iterable of Knob
        From left to right.
    title : str
        What the knobs are for.
    raise_errors : bool, optional
        Raise what goes wrong, too, and not only say so in the panel. If not given: when pytest is running.
    """

    def __init__(self, setting: str, knobs: Iterable[Knob], title: str, raise_errors: bool | None) -> None:
        self.setting = self.read(setting)
        self.raise_errors = raise_errors
        shown = self.shown(self.setting)
        self.stepper = Stepper(shown.recording, shown.draw, at=-1, label=shown.label)
        self.knobs = Knobs(knobs, self.setting.values(), title)
        self.knobs.line = repr(self)
        super().__init__([self.knobs, self.stepper])
        self.knobs.observe(self._turned, "values")
        self.knobs.observe(self._typed, "typed")

    @property
    def label(self) -> str:
        """The heading of what is shown."""
        return str(json.loads(self.stepper.data)["label"])

    @abstractmethod
    def read(self, line: str) -> Setting:
        """The setting of a line; ValueError in clear words."""

    @abstractmethod
    def shown(self, setting: Any) -> Shown:
        """What a setting shows."""

    def coupled(self, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        """The values that follow from one knob that was turned."""
        return new

    def __repr__(self) -> str:
        return f'{type(self).__name__}("{self.setting}")'

    def set(self, **values: Any) -> None:
        """Turn knobs from Python: ``panel.set(order=3)``."""
        self.knobs.values = {**self.knobs.values, **values}

    def _turned(self, change: Any) -> None:
        self._try(lambda: self._take(self.read(line_of(self.coupled(change["old"], change["new"])))))

    def _typed(self, change: Any) -> None:
        if change["new"]:
            self._try(lambda: self._take(self.read(self._inside(change["new"]))))

    def _inside(self, text: str) -> str:
        """The setting itself, with or without BuddyPanel(" ") around it."""
        return text.strip().removeprefix(f"{type(self).__name__}(").removesuffix(")").strip("\"'")

    def _take(self, setting: Setting) -> None:
        """Run a setting, and show it; if it fails, all stays as it was."""
        if setting == self.setting:
            return
        shown = self.shown(setting)
        self.stepper.show(shown.recording, shown.draw, at=-1, label=shown.label)
        self.setting = setting

    def _try(self, action: Callable[[], None]) -> None:
        """Do it, and let the knobs follow. What goes wrong is said in the panel; under test it is raised, too."""
        try:
            action()
        except (ValueError, TypeError, MmvizError) as error:
            self._follow(f"{error}")
            if self._raises():
                raise
        else:
            self._follow()

    def _follow(self, problem: str = "") -> None:
        """Knobs and line show the setting of the picture, whatever was asked for."""
        self.knobs.values = self.setting.values()
        self.knobs.typed, self.knobs.line, self.knobs.problem = "", repr(self), problem

    def _raises(self) -> bool:
        return "PYTEST_CURRENT_TEST" in os.environ if self.raise_errors is None else self.raise_errors

    def html(self) -> str:
        """The panel for a page without a kernel: its setting in words, and the stepper."""
        return f"<p><code>{escape(repr(self))}</code></p>{self.stepper.html()}"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return saved_too(super()._repr_mimebundle_(**kwargs), repr(self), self.html())
