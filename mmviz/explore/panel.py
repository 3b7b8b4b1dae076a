"""What every panel is: knobs, a player that follows them, and one line of text that says where the knobs stand.

    name=value name=value ...        the panel shows this line, and takes it

A panel of its own says three things (`Panel`): its knobs, what a setting shows, and which knobs move together.
All else is here: a setting that does not work changes nothing, is said in the panel, and under test is raised, too.
"""
from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, ClassVar

import ipywidgets

from ..errors import MmvizError
from ..mm.machine import Machine
from ..recording import Recording, record
from ..trace import Event
from .knobs import Knob, Knobs
from .page import saved_too
from .player import Player, Story
from .setting import BaseSetting, line_of

Work = Callable[[Machine], Iterator[None]]  # requests one by one: each `next` does one, and it stops before each


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
    """Knobs, and the player that follows them.

    A panel of its own gives `SETTING`, `KNOBS` from left to right, `TITLE` (what the knobs are for), `shown` and, where
    needed, `coupled`.
    """

    SETTING: ClassVar[type[BaseSetting]]
    KNOBS: ClassVar[tuple[Knob, ...]]
    TITLE: ClassVar[str]

    def __init__(self, setting: str = "", *, raise_errors: bool | None = None) -> None:
        """Show a setting.

        Parameters
        ----------
        setting : str
            A line as the panel shows it; what it does not say is as usual.
        raise_errors : bool, optional
            Raise what goes wrong, too, and not only say so in the panel. If not given: when pytest is running.

        Raises
        ------
        ValueError
            If the line is no setting.
        """
        self.setting = self.SETTING.parse(setting)
        self.raise_errors = raise_errors
        self.stepper = Player(self.shown(self.setting))
        self.knobs = Knobs(self.KNOBS, self.setting.values(), self.TITLE)
        self.knobs.line = repr(self)
        super().__init__([self.knobs, self.stepper])
        self.knobs.observe(self._turned, "values")
        self.knobs.observe(self._typed, "typed")

    @property
    def label(self) -> str:
        """The heading of what is shown."""
        return self.stepper.label

    @abstractmethod
    def shown(self, setting: Any) -> Story:
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
        self._try(lambda: self._take(self.SETTING.parse(line_of(self.coupled(change["old"], change["new"])))))

    def _typed(self, change: Any) -> None:
        if change["new"]:
            self._try(lambda: self._take(self.SETTING.parse(self._inside(change["new"]))))

    def _inside(self, text: str) -> str:
        """The setting itself, with or without BuddyPanel(" ") around it."""
        return text.strip().removeprefix(f"{type(self).__name__}(").removesuffix(")").strip("\"'")

    def _take(self, setting: BaseSetting) -> None:
        """Run a setting, and show it; if it fails, all stays as it was."""
        if setting == self.setting:
            return
        self.stepper.tell(self.shown(setting))
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
        self.knobs.heard += 1

    def _raises(self) -> bool:
        return "PYTEST_CURRENT_TEST" in os.environ if self.raise_errors is None else self.raise_errors

    def html(self) -> str:
        """The panel for a page without a kernel: its setting in words, and the player."""
        return f"<p><code>{escape(repr(self))}</code></p>{self.stepper.html()}"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return saved_too(super()._repr_mimebundle_(**kwargs), repr(self), self.html())
