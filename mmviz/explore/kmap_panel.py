"""KmapPanel: a few slots, more pages, and a step-by-step look at who gets which.

    KmapPanel("slots=4 pages=6 cpus=1 calls=12 gives=40 atomic=0 seed=1")

`calls` calls are made, drawn with `seed`: of those that may give something back, `gives` per cent do; of those that
ask, `atomic` per cent are kmap_atomic on one of the `cpus`, the rest kmap of one of `pages` high pages. A kmap that
sleeps is tried again when a kunmap has woken it. As with BuddyPanel, the same line shows the same pictures.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import ipywidgets

from ..draw.fixmap import draw_fixmap
from ..draw.pkmap import draw_pkmap
from ..mm.boot_32 import kmap_toy
from ..mm.highmem_32 import kmap, kmap_atomic, kunmap, kunmap_atomic
from ..mm.machine import Machine, set_current
from ..mm.pkmap import kmap_part
from ..trace import Event, Recording, record
from .buddy_panel import BuddyPanel
from .knobs import Knobs, Menu, Number, Slider
from .stepper import Draw, Stepper

STEPS = 100  # shown step by step, if more than one call is: what a saved output can hold
FIRST_PAGE = 0x1400
SLOTS = (4, 8, 16, 32)
PICTURES: dict[str, Draw] = {"pkmap": draw_pkmap, "fixmap": draw_fixmap}
LIMITS = {"pages": (1, 48), "cpus": (1, 4), "calls": (1, 200), "gives": (0, 90), "atomic": (0, 100),
          "seed": (0, 999_999)}
KNOBS = (
    Slider("slots", "slots", options=SLOTS), Slider("pages", "high pages", *LIMITS["pages"]),
    Slider("cpus", "CPUs", *LIMITS["cpus"]), Slider("calls", "calls", *LIMITS["calls"]),
    Slider("gives", "of these, give back", *LIMITS["gives"], 5, "%"),
    Slider("atomic", "kmap_atomic", *LIMITS["atomic"], 5, "%"), Number("seed", "seed", *LIMITS["seed"]),
    Menu("picture", "picture", tuple(PICTURES)),
)


@dataclass(frozen=True)
class Setting:
    """Where the knobs stand.

    Examples
    --------
    >>> print(parse("slots=8 seed=3"))
    slots=8 pages=6 cpus=1 calls=12 gives=40 atomic=0 seed=3
    """

    slots: int = 4
    pages: int = 6
    cpus: int = 1
    calls: int = 12
    gives: int = 40
    atomic: int = 0
    seed: int = 1
    picture: str = "pkmap"

    def values(self) -> dict[str, Any]:
        """Name and value of each knob."""
        return asdict(self)

    def __str__(self) -> str:
        values = self.values()
        if self.picture == "pkmap":
            del values["picture"]
        return _line(values)


def _line(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def parse(line: str) -> Setting:
    """The setting of a line; what the line does not say is as usual.

    Raises
    ------
    ValueError
        In words that say what stands there, and what may.
    """
    given: dict[str, Any] = {}
    for word in line.split():
        name, equals, text = word.partition("=")
        if not equals or name not in Setting().values():
            raise ValueError(f"a setting must be name=value with a name of {', '.join(Setting().values())}, got "
                             f"{word!r}")
        if name in given:
            raise ValueError(f"each name must stand once in a setting, got {name} twice")
        given[name] = _value(name, text)
    return Setting(**given)


def _value(name: str, text: str) -> int | str:
    words = {"slots": tuple(map(str, SLOTS)), "picture": tuple(PICTURES)}
    if name in words:
        if text not in words[name]:
            raise ValueError(f"{name} must be one of {', '.join(words[name])}, got {text!r}")
        return text if name == "picture" else int(text)
    least, most = LIMITS[name]
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number, {least} to {most:,}, got {text!r}")
    return int(text)


# ---------------------------------------------------------------- from a setting to a recording


class Work:
    """The calls of a setting, on a machine of its own: each `next` of `calls` does one, and stops before it."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.dice = setting, Random(setting.seed)
        self.machine: Machine = kmap_toy(setting.slots, setting.cpus)
        self.held: list[int] = []
        self.piles: list[list[int]] = [[] for _ in range(setting.cpus)]

    def calls(self) -> Iterator[None]:
        """Make the calls."""
        for _ in range(self.setting.calls):
            yield
            if self.dice.random() * 100 < self.setting.atomic:
                self._atomic()
            else:
                self._permanent()

    def _gives(self) -> bool:
        return self.dice.random() * 100 < self.setting.gives

    def _atomic(self) -> None:
        """One end of a pile of some CPU."""
        cpu = self.dice.randrange(self.setting.cpus)
        if cpu != self.machine.current.cpu:
            set_current(self.machine, cpu)
        if self.piles[cpu] and (self._gives() or len(self.piles[cpu]) == 20):
            kunmap_atomic(self.machine, self.piles[cpu].pop())
        else:
            self.piles[cpu].append(kmap_atomic(self.machine, self._page()))

    def _permanent(self) -> None:
        """kmap or kunmap, on a CPU that may sleep; if none may, a pile is taken down first."""
        cpu = min(range(self.setting.cpus), key=lambda each: len(self.piles[each]))
        if cpu != self.machine.current.cpu:
            set_current(self.machine, cpu)
        if self.piles[cpu]:
            kunmap_atomic(self.machine, self.piles[cpu].pop())
        elif self.held and (self._gives() or kmap_part(self.machine).pkmap_map_wait):
            self._give_back()
        else:
            self._ask(self._page())

    def _give_back(self) -> None:
        asleep = kmap_part(self.machine).pkmap_map_wait[:]
        kunmap(self.machine, self.held.pop(self.dice.randrange(len(self.held))))
        if not kmap_part(self.machine).pkmap_map_wait:
            for pfn in asleep:
                self._ask(pfn)

    def _ask(self, pfn: int) -> None:
        if kmap(self.machine, pfn) is not None:
            self.held.append(pfn)

    def _page(self) -> int:
        return FIRST_PAGE + self.dice.randrange(self.setting.pages)


def count_steps(setting: Setting) -> list[int]:
    """How many steps each call takes."""
    heard, counts, work = list[Event](), [], Work(setting)
    with work.machine.trace.listen(heard.append):
        for _ in work.calls():
            counts.append(len(heard))
    return [end - start for start, end in zip(counts, [*counts[1:], len(heard)], strict=True)]


def run(setting: Setting) -> tuple[Recording, int]:
    """The recording of the last calls of a setting, and how many calls ran before it."""
    steps = count_steps(setting)
    first, total = len(steps) - 1, steps[-1]
    while first and total + steps[first - 1] <= STEPS:
        first -= 1
        total += steps[first]
    work = Work(setting)
    calls = work.calls()
    for _ in range(first + 1):
        next(calls)
    with record(work.machine) as recording:
        for _ in calls:
            pass
    return recording, first


def heading(setting: Setting, first: int) -> str:
    """What the stepper shows, in words."""
    which = f"Call {setting.calls}" if first == setting.calls - 1 else f"Calls {first + 1} to {setting.calls}"
    unseen = f"; {first} before, unseen" if first else ""
    return f"{which} of {setting.calls}: {setting.slots} slots, {setting.pages} high pages{unseen}"


# ---------------------------------------------------------------- the panel


class KmapPanel(BuddyPanel):
    """Knobs for the windows to high memory, and the stepper that follows them.

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

    Examples
    --------
    >>> KmapPanel("slots=8")
    KmapPanel("slots=8 pages=6 cpus=1 calls=12 gives=40 atomic=0 seed=1")
    """

    setting: Any

    def __init__(self, setting: str = "", *, raise_errors: bool | None = None) -> None:
        self.setting = parse(setting)
        self.raise_errors = raise_errors
        recording, first = run(self.setting)
        self.stepper = Stepper(recording, PICTURES[self.setting.picture], at=-1, label=heading(self.setting, first))
        self.knobs = Knobs(KNOBS, self.setting.values(), "the windows, and what is asked of them")
        self.knobs.line = repr(self)
        ipywidgets.VBox.__init__(self, [self.knobs, self.stepper])
        self.knobs.observe(self._turned, "values")
        self.knobs.observe(self._typed, "typed")

    def __repr__(self) -> str:
        return f'KmapPanel("{self.setting}")'

    def _turned(self, change: Any) -> None:
        self._try(lambda: self._take(parse(_line(change["new"]))))

    def _typed(self, change: Any) -> None:
        if change["new"]:
            typed = change["new"].strip().removeprefix("KmapPanel(").removesuffix(")").strip("\"'")
            self._try(lambda: self._take(parse(typed)))

    def _take(self, setting: Any) -> None:
        """Run a setting, and show it; if it fails, all stays as it was."""
        if setting == self.setting:
            return
        recording, first = run(setting)
        self.stepper.show(recording, PICTURES[setting.picture], at=-1, label=heading(setting, first))
        self.setting = setting
