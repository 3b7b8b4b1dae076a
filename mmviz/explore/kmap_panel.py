"""KmapPanel: a few slots, more pages, and a step-by-step look at who gets which.

    KmapPanel("slots=4 pages=6 cpus=1 calls=12 gives=40 atomic=0 seed=1")

`calls` calls are made, drawn with `seed`: of those that may give something back, `gives` per cent do; of those that
ask, `atomic` per cent are kmap_atomic on one of the `cpus`, the rest kmap of one of `pages` high pages. A kmap that
sleeps is tried again when a kunmap has woken it. As with BuddyPanel, the same line shows the same pictures.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from ..draw.fixmap import draw_fixmap
from ..draw.pkmap import draw_pkmap
from ..mm.boot_32 import kmap_toy
from ..mm.highmem_32 import kmap, kmap_atomic, kunmap, kunmap_atomic
from ..mm.machine import Machine, set_current
from ..mm.pkmap import kmap_part
from ..recording import Recording
from .knobs import Menu, Number, Slider
from .panel import Panel, run_last
from .player import Story
from .setting import BaseSetting
from .stepper import Draw, story_of

STEPS = 100  # shown step by step, if more than one call is: what a saved output can hold
FIRST_PAGE = 0x1400
SLOTS = (4, 8, 16, 32)
PICTURES: dict[str, Draw] = {"pkmap": draw_pkmap, "fixmap": draw_fixmap}
LIMITS = {"pages": (1, 48), "cpus": (1, 4), "calls": (1, 200), "gives": (0, 90), "atomic": (0, 100),
          "seed": (0, 999_999)}
WORDS = {"slots": tuple(map(str, SLOTS)), "picture": tuple(PICTURES)}
KNOBS = (
    Slider("slots", "slots", options=SLOTS), Slider("pages", "high pages", *LIMITS["pages"]),
    Slider("cpus", "CPUs", *LIMITS["cpus"]), Slider("calls", "calls", *LIMITS["calls"]),
    Slider("gives", "of these, give back", *LIMITS["gives"], 5, "%"),
    Slider("atomic", "kmap_atomic", *LIMITS["atomic"], 5, "%"), Number("seed", "seed", *LIMITS["seed"]),
    Menu("picture", "picture", tuple(PICTURES)),
)


@dataclass(frozen=True)
class Setting(BaseSetting):
    """Where the knobs stand.

    Examples
    --------
    >>> print(Setting.parse("slots=8 seed=3"))
    slots=8 pages=6 cpus=1 calls=12 gives=40 atomic=0 seed=3
    """

    LIMITS, WORDS, UNSAID = LIMITS, WORDS, "picture"

    slots: int = 4
    pages: int = 6
    cpus: int = 1
    calls: int = 12
    gives: int = 40
    atomic: int = 0
    seed: int = 1
    picture: str = "pkmap"


# ---------------------------------------------------------------- from a setting to a recording


class Work:
    """The calls of a setting, on a fresh machine: each `next` of `calls` does one, and stops before it."""

    def __init__(self, setting: Setting, machine: Machine) -> None:
        self.setting, self.dice, self.machine = setting, Random(setting.seed), machine
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


def run(setting: Setting) -> tuple[Recording, int]:
    """The recording of the last calls of a setting, and how many calls ran before it."""
    return run_last(lambda: kmap_toy(setting.slots, setting.cpus),
                    lambda machine: Work(setting, machine).calls(), STEPS)


def heading(setting: Setting, first: int) -> str:
    """What the stepper shows, in words."""
    which = f"Call {setting.calls}" if first == setting.calls - 1 else f"Calls {first + 1} to {setting.calls}"
    unseen = f"; {first} before, unseen" if first else ""
    return f"{which} of {setting.calls}: {setting.slots} slots, {setting.pages} high pages{unseen}"


# ---------------------------------------------------------------- the panel


class KmapPanel(Panel):
    """Knobs for the windows to high memory, and the stepper that follows them.

    Examples
    --------
    >>> KmapPanel("slots=8")
    KmapPanel("slots=8 pages=6 cpus=1 calls=12 gives=40 atomic=0 seed=1")
    """

    SETTING = Setting
    KNOBS = KNOBS
    TITLE = "the windows, and what is asked of them"

    def shown(self, setting: Setting) -> Story:
        """The last calls of a setting, and its picture."""
        recording, first = run(setting)
        return story_of(recording, PICTURES[setting.picture], at=-1, label=heading(setting, first))
