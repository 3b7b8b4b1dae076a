"""SlabPanel: sizes, CPUs, nodes, allocator: kmalloc runs again before your eyes.

    SlabPanel("slab=SLUB mib=4 cpus=1 nodes=1 size=64 second=0 node=-1 cpu=0 objects=3 free=none free_cpu=0 seed=1")

A setting is one line of text: the panel shows it, and takes it. It names a machine (`slab`, `mib` of each node,
`cpus`, `nodes`; CPU n is on node n modulo `nodes`) and what is asked of it: `objects` times kmalloc_node on CPU `cpu`,
of `size` and `second` bytes in turn (`second` 0: of one size), and then, on CPU `free_cpu`, kfree in the order of
`free`. As many of the last calls are shown step by step as fit in `STEPS` steps; what comes before runs unseen.
"""
from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import ipywidgets

from ..draw.slab_reading import slab_usage
from ..errors import MmvizError
from ..kernel import GFP_NOWAIT, PAGE_SIZE, Config
from ..mm.boot import boot
from ..mm.kmalloc import kfree, kmalloc_node
from ..mm.machine import Machine, set_current
from ..trace import Event, Recording, record
from .buddy_panel import first_shown
from .knobs import Knobs, Menu, Number, Slider
from .stepper import Draw, Stepper, draw_of

ALLOCATORS = ("SLUB", "SLAB", "SLOB")
SIZES = (4, 16, 64)
ORDERS = ("none", "all", "reversed", "every_other", "random")
PICTURES = ("cache", "slab", "size_classes", "free_area")  # each is draw_<name>; SLOB shows its page instead of three
LIMITS = {"cpus": (1, 8), "nodes": (1, 2), "size": (0, 20_000), "second": (0, 20_000), "node": (-1, 1), "cpu": (0, 7),
          "objects": (1, 400), "free_cpu": (0, 7), "seed": (0, 999_999)}
WORDS = {"slab": ALLOCATORS, "mib": tuple(map(str, SIZES)), "free": ORDERS, "picture": PICTURES}
KNOBS = (
    Menu("slab", "allocator", ALLOCATORS), Slider("mib", "node size", options=SIZES, unit="MiB"),
    Slider("cpus", "CPUs", *LIMITS["cpus"]), Slider("nodes", "nodes", *LIMITS["nodes"]),
    Number("size", "size in bytes", *LIMITS["size"]), Number("second", "and in turn", *LIMITS["second"]),
    Slider("objects", "objects", *LIMITS["objects"]), Slider("node", "node (-1: any)", *LIMITS["node"]),
    Slider("cpu", "asks: CPU", *LIMITS["cpu"]), Menu("free", "then free", ORDERS),
    Slider("free_cpu", "frees: CPU", *LIMITS["free_cpu"]), Number("seed", "seed", *LIMITS["seed"]),
    Menu("picture", "picture", PICTURES),
)


@dataclass(frozen=True)
class Setting:
    """Where the knobs stand.

    Examples
    --------
    >>> print(parse("slab=SLOB size=100"))
    slab=SLOB mib=4 cpus=1 nodes=1 size=100 second=0 node=-1 cpu=0 objects=3 free=none free_cpu=0 seed=1 picture=cache
    """

    slab: str = "SLUB"
    mib: int = 4
    cpus: int = 1
    nodes: int = 1
    size: int = 64
    second: int = 0
    node: int = -1
    cpu: int = 0
    objects: int = 3
    free: str = "none"
    free_cpu: int = 0
    seed: int = 1
    picture: str = "cache"

    def __post_init__(self) -> None:
        for name, least, most in (("cpu", 0, self.cpus - 1), ("free_cpu", 0, self.cpus - 1),
                                  ("node", -1, self.nodes - 1)):
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be {least} to {most} with cpus={self.cpus} and nodes={self.nodes}, got "
                                 f"{getattr(self, name)}")

    def __str__(self) -> str:
        return _line(asdict(self))


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
    names = asdict(Setting())
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
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number, {least} to {most:,}, got {text!r}")
    return int(text)


# ---------------------------------------------------------------- from a setting to a recording


def machine_of(setting: Setting) -> Machine:
    """The machine of a setting, before the first request."""
    pages = setting.mib << 8
    zones = [("DMA32", 0x1000 + nid * pages, pages, nid) for nid in range(setting.nodes)]
    return boot(zones, cpus=[cpu % setting.nodes for cpu in range(setting.cpus)], config=Config(slab=setting.slab))


def work(machine: Machine, setting: Setting) -> Iterator[None]:
    """Do the calls of a setting one by one: each `next` does one, and it stops before each."""
    held, sizes = list[int](), [setting.size, setting.second][:1 + (setting.second > 0)]
    for number in range(setting.objects):
        yield
        if machine.current.cpu != setting.cpu:
            set_current(machine, setting.cpu)
        held.append(kmalloc_node(machine, sizes[number % len(sizes)], GFP_NOWAIT, setting.node))
    for address in _to_free(setting, [address for address in held if address]):
        yield
        if machine.current.cpu != setting.free_cpu:
            set_current(machine, setting.free_cpu)
        kfree(machine, address)


def _to_free(setting: Setting, held: list[int]) -> list[int]:
    """What is freed, in which order."""
    half = random.Random(setting.seed).sample(held, len(held) // 2)
    return {"none": [], "all": held, "reversed": held[::-1], "every_other": held[::2], "random": half}[setting.free]


def count_steps(setting: Setting) -> list[int]:
    """How many steps each call takes."""
    heard, counts = list[Event](), list[int]()
    machine = machine_of(setting)
    with machine.trace.listen(heard.append):
        for _ in work(machine, setting):
            counts.append(len(heard))
    return [end - start for start, end in zip(counts, [*counts[1:], len(heard)], strict=True)]


def run(setting: Setting) -> tuple[Recording, int, int]:
    """The recording of the last calls of a setting, how many ran before it, and how many there are."""
    steps = count_steps(setting)
    first = first_shown(steps)
    machine = machine_of(setting)
    calls = work(machine, setting)
    for _ in range(first + 1):
        next(calls)
    with record(machine) as recording:
        for _ in calls:
            pass
    return recording, first, len(steps)


def heading(setting: Setting, recording: Recording, first: int, count: int) -> str:
    """What the stepper shows, in words: which calls, and what the allocator holds at the end."""
    which = f"Call {count}" if first == count - 1 else f"Calls {first + 1} to {count}"
    unseen = f" ({first} before, unseen)" if first else ""
    pages, inuse = slab_usage(recording.live)
    return (f"{which} of {count}{unseen}. At the end {setting.slab} holds {pages} page{'s' * (pages != 1)}; "
            f"{inuse:,} of {pages * PAGE_SIZE:,} bytes are in objects")


def picture_of(setting: Setting) -> Draw:
    """The drawing of a setting; SLOB has no slabs, no caches and no classes, and shows its page."""
    return draw_of("slob_page" if setting.slab == "SLOB" and setting.picture != "free_area" else setting.picture)


# ---------------------------------------------------------------- the panel


class SlabPanel(ipywidgets.VBox):  # type: ignore[misc]
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
    >>> SlabPanel("size=100").setting.size
    100
    """

    def __init__(self, setting: str = "", *, raise_errors: bool | None = None) -> None:
        self.setting = parse(setting)
        self.raise_errors = raise_errors
        recording, first, count = run(self.setting)
        self.stepper = Stepper(recording, picture_of(self.setting), at=-1,
                               label=heading(self.setting, recording, first, count))
        self.knobs = Knobs(KNOBS, asdict(self.setting), "the machine, and what is asked of it")
        self.knobs.line = repr(self)
        super().__init__([self.knobs, self.stepper])
        self.knobs.observe(self._turned, "values")
        self.knobs.observe(self._typed, "typed")

    def __repr__(self) -> str:
        return f'SlabPanel("{self.setting}")'

    def set(self, **values: Any) -> None:
        """Turn knobs from Python: ``panel.set(size=100, slab="SLOB")``."""
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
        recording, first, count = run(setting)
        self.stepper.show(recording, picture_of(setting), at=-1, label=heading(setting, recording, first, count))
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
        self.knobs.values = asdict(self.setting)
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
    """Let a CPU or node that is chosen exist, and one that goes away ask no more."""
    found = dict(new)
    for name, many in (("cpu", "cpus"), ("free_cpu", "cpus"), ("node", "nodes")):
        if isinstance(found[name], int) and isinstance(found[many], int) and found[name] >= found[many]:
            found |= {name: found[many] - 1} if found[name] == old[name] else {many: found[name] + 1}
    return found


def _inside(text: str) -> str:
    """The setting itself, with or without SlabPanel(" ") around it."""
    return text.strip().removeprefix("SlabPanel(").removesuffix(")").strip("\"'")
