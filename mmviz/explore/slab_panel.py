"""SlabPanel: sizes, CPUs, nodes, allocator: kmalloc runs again before your eyes.

    SlabPanel("slab=SLUB mib=4 cpus=1 nodes=1 size=64 second=0 node=any cpu=0 objects=3 free=none free_cpu=0 seed=1")

A setting is one line of text: the panel shows it, and takes it. It names a machine (`slab`, `mib` of each node,
`cpus`, `nodes`; CPU n is on node n modulo `nodes`) and what is asked of it: `objects` times kmalloc_node on CPU `cpu`,
of `size` and `second` bytes in turn (`second` 0: of one size), and then, on CPU `free_cpu`, kfree in the order of
`free`. As many of the last calls are shown step by step as fit in `STEPS` steps; what comes before runs unseen.
"""
from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..draw.slab_reading import slab_usage
from ..kernel import GFP_NOWAIT, NUMA_NO_NODE, PAGE_SIZE, Config
from ..mm.boot import boot
from ..mm.kmalloc import kfree, kmalloc_node
from ..mm.machine import Machine, set_current
from ..recording import Recording
from . import panel
from .knobs import Menu, Number, Slider
from .panel import Panel
from .player import Story
from .setting import BaseSetting
from .stepper import Draw, draw_of, story_of

STEPS = 160  # shown step by step, if more than one call is: what a saved output can hold
ALLOCATORS = ("SLUB", "SLAB", "SLOB")
SIZES = (4, 16, 64)
NODES = ("any", "0", "1")
PAGE_ALLOCATOR = ("__alloc_pages_nodemask", "__free_pages")  # stepped over where no picture shows it
ORDERS = ("none", "all", "reversed", "every_other", "random")
PICTURES = ("cache", "slab", "size_classes", "free_area")  # each is draw_<name>; SLOB shows its page instead of three
LIMITS = {"cpus": (1, 8), "nodes": (1, 2), "size": (0, 20_000), "second": (0, 20_000), "cpu": (0, 7),
          "objects": (1, 400), "free_cpu": (0, 7), "seed": (0, 999_999)}
WORDS = {"slab": ALLOCATORS, "mib": tuple(map(str, SIZES)), "node": NODES, "free": ORDERS, "picture": PICTURES}
KNOBS = (
    Menu("slab", "allocator", ALLOCATORS), Slider("mib", "node size", options=SIZES, unit="MiB"),
    Slider("cpus", "CPUs", *LIMITS["cpus"]), Slider("nodes", "nodes", *LIMITS["nodes"]),
    Number("size", "size in bytes", *LIMITS["size"]), Number("second", "and in turn", *LIMITS["second"]),
    Slider("objects", "objects", *LIMITS["objects"]), Menu("node", "of node", NODES),
    Slider("cpu", "asks: CPU", *LIMITS["cpu"]), Menu("free", "then free", ORDERS),
    Slider("free_cpu", "frees: CPU", *LIMITS["free_cpu"]), Number("seed", "seed", *LIMITS["seed"]),
    Menu("picture", "picture", PICTURES),
)


@dataclass(frozen=True)
class Setting(BaseSetting):
    """Where the knobs stand.

    Examples
    --------
    >>> print(Setting.parse("slab=SLOB size=100"))
    slab=SLOB mib=4 cpus=1 nodes=1 size=100 second=0 node=any cpu=0 objects=3 free=none free_cpu=0 seed=1 picture=cache
    """

    LIMITS, WORDS = LIMITS, WORDS

    slab: str = "SLUB"
    mib: int = 4
    cpus: int = 1
    nodes: int = 1
    size: int = 64
    second: int = 0
    node: str = "any"
    cpu: int = 0
    objects: int = 3
    free: str = "none"
    free_cpu: int = 0
    seed: int = 1
    picture: str = "cache"

    def __post_init__(self) -> None:
        for name in ("cpu", "free_cpu"):
            if getattr(self, name) >= self.cpus:
                raise ValueError(f"{name} must be 0 to {self.cpus - 1} with cpus={self.cpus}, got "
                                 f"{getattr(self, name)}")
        if self.nid >= self.nodes:
            raise ValueError(f"node must be any or 0 to {self.nodes - 1} with nodes={self.nodes}, got {self.node}")

    @property
    def nid(self) -> int:
        """The node that is asked for, or NUMA_NO_NODE."""
        return NUMA_NO_NODE if self.node == "any" else int(self.node)


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
        held.append(kmalloc_node(machine, sizes[number % len(sizes)], GFP_NOWAIT, setting.nid))
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
    return panel.count_steps(machine_of(setting), partial(work, setting=setting))


def run(setting: Setting) -> tuple[Recording, int, int]:
    """The recording of the last calls of a setting, how many ran before it, and how many there are."""
    recording, first = panel.run_last(partial(machine_of, setting), partial(work, setting=setting), STEPS)
    return recording, first, len(count_steps(setting))


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


class SlabPanel(Panel):
    """Knobs, and the stepper that follows them.

    Examples
    --------
    >>> SlabPanel("size=100").setting.size
    100
    """

    SETTING = Setting
    KNOBS = KNOBS
    TITLE = "the machine, and what is asked of it"

    def shown(self, setting: Setting) -> Story:
        """The last calls of a setting."""
        recording, first, count = run(setting)
        return story_of(recording, picture_of(setting), at=-1, label=heading(setting, recording, first, count),
                        over=() if setting.picture == "free_area" else PAGE_ALLOCATOR)

    def coupled(self, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        """Let a CPU or node that is chosen exist, and one that goes away ask no more."""
        found = dict(new)
        for name in ("cpu", "free_cpu"):
            if isinstance(found[name], int) and isinstance(found["cpus"], int) and found[name] >= found["cpus"]:
                found |= {name: found["cpus"] - 1} if found[name] == old[name] else {"cpus": found[name] + 1}
        if found["node"] == "1" and found["nodes"] == 1:
            found |= {"node": "any"} if old["node"] == "1" else {"nodes": 2}
        return found
