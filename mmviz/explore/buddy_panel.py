"""BuddyPanel: turn a knob, and the page allocator runs again before your eyes.

    BuddyPanel("mib=64 order=0 gfp=GFP_KERNEL cpu=0 cpus=1 requests=3 frees=0 batch=auto seed=1")

A setting is one line of text: the panel shows it, and takes it. It names a machine (`mib`, `cpus`, `batch`) and what
is asked of it: `requests` times something, the last time always for a block of `order` with `gfp` on CPU `cpu`. Of what
comes before, `frees` per cent give back one of the blocks in use, drawn with `seed`; the rest ask for the same.

Everything runs anew each time, so the same line shows the same pictures. As many of the last requests are shown step by
step as fit in `STEPS` steps, at least one; what comes before runs unseen.
"""
from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..kernel import MAX_ORDER, parse_gfp
from ..mm.boot import toy
from ..mm.get_free_pages import alloc_pages
from ..mm.machine import Machine, set_current
from ..mm.page_free import __free_pages
from ..recording import Recording
from . import panel
from .knobs import Menu, Number, Slider
from .panel import Panel
from .player import Story
from .setting import BaseSetting
from .stepper import draw_of, story_of

STEPS = 160  # shown step by step, if more than one request is: what a saved output can hold
SIZES = (4, 8, 16, 32, 64)
BATCHES = ("auto", "1", "2", "3", "4", "7", "15")
MASKS = ("GFP_KERNEL", "GFP_NOWAIT", "GFP_ATOMIC", "GFP_HIGHUSER_MOVABLE", "GFP_KERNEL|__GFP_RECLAIMABLE",
         "GFP_KERNEL|__GFP_ZERO", "GFP_KERNEL|__GFP_NOWARN", "GFP_USER", "GFP_NOFS", "GFP_NOIO", "GFP_DMA32")
PICTURES = ("free_area", "frames", "pcp", "watermarks")  # each is draw_<name>
LIMITS = {"order": (0, MAX_ORDER - 1), "cpu": (0, 3), "cpus": (1, 4), "requests": (1, 200), "frees": (0, 90),
          "seed": (0, 999_999)}
WORDS = {"mib": tuple(map(str, SIZES)), "gfp": MASKS, "batch": BATCHES, "picture": PICTURES}
KNOBS = (
    Slider("mib", "zone size", options=SIZES, unit="MiB"), Slider("order", "order", *LIMITS["order"]),
    Menu("gfp", "gfp flags", MASKS), Slider("cpus", "CPUs", *LIMITS["cpus"]),
    Slider("cpu", "asks: CPU", *LIMITS["cpu"]), Slider("requests", "requests", *LIMITS["requests"]),
    Slider("frees", "of these, frees", *LIMITS["frees"], 5, "%"), Menu("batch", "pcp batch", BATCHES),
    Number("seed", "seed", *LIMITS["seed"], "frees"), Menu("picture", "picture", PICTURES),
)


@dataclass(frozen=True)
class Setting(BaseSetting):
    """Where the knobs stand.

    Examples
    --------
    >>> print(Setting.parse("order=3 mib=4"))
    mib=4 order=3 gfp=GFP_KERNEL cpu=0 cpus=1 requests=3 frees=0 batch=auto seed=1
    """

    LIMITS, WORDS, UNSAID = LIMITS, WORDS, "picture"

    mib: int = 64
    order: int = 0
    gfp: str = "GFP_KERNEL"
    cpu: int = 0
    cpus: int = 1
    requests: int = 3
    frees: int = 0
    batch: str = "auto"
    seed: int = 1
    picture: str = "free_area"

    def __post_init__(self) -> None:
        if self.cpu >= self.cpus:
            raise ValueError(f"cpu must be 0 to {self.cpus - 1} with cpus={self.cpus}, got {self.cpu}")


# ---------------------------------------------------------------- from a setting to a recording


def machine_of(setting: Setting) -> Machine:
    """The machine of a setting, before the first request."""
    by_hand = {} if setting.batch == "auto" else {"batch": int(setting.batch)}
    machine = toy(setting.mib, cpus=[0] * setting.cpus, **by_hand)
    if setting.cpu:
        set_current(machine, setting.cpu)
    return machine


def work(machine: Machine, setting: Setting) -> Iterator[None]:
    """Do the requests of a setting one by one: each `next` does one, and it stops before each."""
    dice, in_use, gfp = random.Random(setting.seed), list[int](), parse_gfp(setting.gfp)
    for number in range(setting.requests):
        yield
        is_last = number == setting.requests - 1
        if in_use and not is_last and dice.random() * 100 < setting.frees:
            __free_pages(machine, in_use.pop(dice.randrange(len(in_use))), setting.order)
        elif (pfn := alloc_pages(machine, gfp, setting.order)) is not None:
            in_use.append(pfn)


def count_steps(setting: Setting) -> list[int]:
    """How many steps each request takes."""
    return panel.count_steps(machine_of(setting), partial(work, setting=setting))


def run(setting: Setting) -> tuple[Recording, int]:
    """The recording of the last requests of a setting, and how many requests ran before it."""
    return panel.run_last(partial(machine_of, setting), partial(work, setting=setting), STEPS)


def heading(setting: Setting, first: int) -> str:
    """What the stepper shows, in words."""
    count = setting.requests
    which = f"Request {count}" if first == count - 1 else f"Requests {first + 1} to {count}"
    unseen = f"; {first} before, unseen" if first else ""
    return f"{which} of {count}: order {setting.order}, {setting.gfp}, CPU {setting.cpu}{unseen}"


# ---------------------------------------------------------------- the panel


class BuddyPanel(Panel):
    """Knobs, and the stepper that follows them.

    Examples
    --------
    >>> BuddyPanel("mib=4 order=3")
    BuddyPanel("mib=4 order=3 gfp=GFP_KERNEL cpu=0 cpus=1 requests=3 frees=0 batch=auto seed=1")
    """

    SETTING = Setting
    KNOBS = KNOBS
    TITLE = "the machine, and what is asked of it"

    def shown(self, setting: Setting) -> Story:
        """The last requests of a setting."""
        recording, first = run(setting)
        return story_of(recording, draw_of(setting.picture), at=-1, label=heading(setting, first))

    def coupled(self, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        """Let a CPU that is chosen exist, and one that goes away ask no more."""
        cpu, cpus = new["cpu"], new["cpus"]
        if cpu in range(4) and cpus in range(1, 5) and cpu >= cpus:
            return new | ({"cpu": cpus - 1} if cpu == old["cpu"] else {"cpus": cpu + 1})
        return new
