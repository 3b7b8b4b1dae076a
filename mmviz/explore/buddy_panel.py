"""BuddyPanel: turn a knob, and the page allocator runs again before your eyes.

    BuddyPanel("mib=64 order=0 gfp=GFP_KERNEL cpu=0 cpus=1 requests=3 frees=0 batch=auto seed=1")

A setting is one line of text: the panel shows it, and takes it. It names a machine (`mib`, `cpus`, `batch`) and what
is asked of it: `requests` times something, the last time always for a block of `order` with `gfp` on CPU `cpu`. Of what
comes before, `frees` per cent give back one of the blocks in use, drawn with `seed`; the rest ask for the same.

Everything runs anew each time, so the same line shows the same pictures. As many of the last requests are shown step by
step as fit in `STEPS` steps, at least one; what comes before runs unseen.
"""
from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import ipywidgets

from ..errors import MmvizError
from ..kernel import MAX_ORDER, parse_gfp
from ..mm.boot import toy
from ..mm.get_free_pages import alloc_pages
from ..mm.machine import Machine, set_current
from ..mm.page_free import __free_pages
from ..trace import Event, Recording, record
from .knobs import Knobs, Menu, Number, Slider
from .stepper import Stepper, draw_of

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
class Setting:
    """Where the knobs stand.

    Examples
    --------
    >>> print(parse("order=3 mib=4"))
    mib=4 order=3 gfp=GFP_KERNEL cpu=0 cpus=1 requests=3 frees=0 batch=auto seed=1
    """

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

    def values(self) -> dict[str, Any]:
        """Name and value of each knob."""
        return asdict(self)

    def __str__(self) -> str:
        values = self.values()
        if self.picture == "free_area":
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
    given: dict[str, int | str] = {}
    names = Setting().values()
    for word in line.split():
        name, equals, text = word.partition("=")
        if not equals or name not in names:
            raise ValueError(f"a setting must be name=value with a name of {', '.join(names)}, got {word!r}")
        if name in given:
            raise ValueError(f"each name must stand once in a setting, got {name} twice")
        given[name] = _value(name, text)
    return Setting(**given)  # type: ignore[arg-type]


def _value(name: str, text: str) -> int | str:
    if name in WORDS:
        if text not in WORDS[name]:
            raise ValueError(f"{name} must be one of {', '.join(WORDS[name])}, got {text!r}")
        return int(text) if name == "mib" else text
    least, most = LIMITS[name]
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number, {least} to {most:,}, got {text!r}")
    return int(text)


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
    heard, counts = list[Event](), []
    machine = machine_of(setting)
    with machine.trace.listen(heard.append):
        for _ in work(machine, setting):
            counts.append(len(heard))
    return [end - start for start, end in zip(counts, [*counts[1:], len(heard)], strict=True)]


def first_shown(steps: list[int]) -> int:
    """The first request that is shown step by step: as many of the last as fit in STEPS, at least one."""
    first, total = len(steps) - 1, steps[-1]
    while first and total + steps[first - 1] <= STEPS:
        first -= 1
        total += steps[first]
    return first


def run(setting: Setting) -> tuple[Recording, int]:
    """The recording of the last requests of a setting, and how many requests ran before it."""
    first = first_shown(count_steps(setting))
    machine = machine_of(setting)
    requests = work(machine, setting)
    for _ in range(first + 1):
        next(requests)
    with record(machine) as recording:
        for _ in requests:
            pass
    return recording, first


def heading(setting: Setting, first: int) -> str:
    """What the stepper shows, in words."""
    count = setting.requests
    which = f"Request {count}" if first == count - 1 else f"Requests {first + 1} to {count}"
    unseen = f"; {first} before, unseen" if first else ""
    return f"{which} of {count}: order {setting.order}, {setting.gfp}, CPU {setting.cpu}{unseen}"


# ---------------------------------------------------------------- the panel


class BuddyPanel(ipywidgets.VBox):  # type: ignore[misc]
    """Knobs, and the stepper that follows them.

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
    >>> BuddyPanel("mib=4 order=3")
    BuddyPanel("mib=4 order=3 gfp=GFP_KERNEL cpu=0 cpus=1 requests=3 frees=0 batch=auto seed=1")
    """

    def __init__(self, setting: str = "", *, raise_errors: bool | None = None) -> None:
        self.setting = parse(setting)
        self.raise_errors = raise_errors
        recording, first = run(self.setting)
        self.stepper = Stepper(recording, draw_of(self.setting.picture), at=-1, label=heading(self.setting, first))
        self.knobs = Knobs(KNOBS, self.setting.values(), "the machine, and what is asked of it")
        self.knobs.line = repr(self)
        super().__init__([self.knobs, self.stepper])
        self.knobs.observe(self._turned, "values")
        self.knobs.observe(self._typed, "typed")

    def __repr__(self) -> str:
        return f'BuddyPanel("{self.setting}")'

    def set(self, **values: Any) -> None:
        """Turn knobs from Python: ``panel.set(order=3, frees=50)``."""
        self.knobs.values = {**self.knobs.values, **values}

    def _turned(self, change: Any) -> None:
        self._try(lambda: self._take(parse(_line(_coupled(change["old"], change["new"])))))

    def _typed(self, change: Any) -> None:
        if change["new"]:
            self._try(lambda: self._take(parse(_inside(change["new"]))))

    def _take(self, setting: Setting) -> None:
        """Run a setting, and show it; if it fails, all stays as it was."""
        if setting == self.setting:
            return
        recording, first = run(setting)
        self.stepper.show(recording, draw_of(setting.picture), at=-1, label=heading(setting, first))
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
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found if isinstance(found, tuple) else (found, {})
        return {**(data or {}), "text/plain": repr(self), "text/html": self.html()}, metadata


def _coupled(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Let a CPU that is chosen exist, and one that goes away ask no more."""
    cpu, cpus = new["cpu"], new["cpus"]
    if cpu in range(4) and cpus in range(1, 5) and cpu >= cpus:
        return new | ({"cpu": cpus - 1} if cpu == old["cpu"] else {"cpus": cpu + 1})
    return new


def _inside(text: str) -> str:
    """The setting itself, with or without BuddyPanel(" ") around it."""
    return text.strip().removeprefix("BuddyPanel(").removesuffix(")").strip("\"'")
