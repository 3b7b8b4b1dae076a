"""PolicyPanel: which node and which zone serves, when policy, flags and CPU are yours to choose.

    PolicyPanel("machine=two cpu=0 policy=default nodes=0 gfp=GFP_NOWAIT thisnode=no order=0 call=alloc_pages full=none
                 requests=2")

A setting is one line of text. It names a machine, who asks (`cpu`, with `policy` over `nodes`) and what is asked:
`requests` times the same `call`. `full` names nodes that were emptied down to the MIN mark before.

    two        two nodes of 32 MiB, zone DMA32 each, with a CPU each
    ring       four nodes of 16 MiB with a CPU each; neighbours at distance 20, opposite ones at 30
    zones      one node: DMA of 8 MiB, DMA32 of 16, Normal of 32
    highmem    i386, a build without NUMA: DMA of 8 MiB, Normal of 16, HighMem of 32
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..draw.zonelists import draw_zonelists
from ..kernel import (
    __GFP_THISNODE,
    GFP_NOWAIT,
    I386,
    MAX_ORDER,
    MPOL_DEFAULT,
    MPOL_INTERLEAVE,
    MPOL_NAMES,
    parse_gfp,
)
from ..mm.boot import boot
from ..mm.events import MmPageAlloc
from ..mm.get_free_pages import __get_free_pages, alloc_pages
from ..mm.highmem import page_address
from ..mm.machine import Machine, set_current, set_il_prev, set_mempolicy
from ..mm.page_alloc import alloc_pages_node
from ..mm.page_ref import page_zone
from ..mm.watermark import is_highmem
from ..mm.zonelist import MAX_NUMNODES
from ..recording import Recording
from .knobs import Menu, Slider
from .panel import Panel, run_last
from .player import Story
from .setting import BaseSetting
from .stepper import story_of

STEPS = 80  # shown step by step, if more than one request is: what a saved output can hold
RING = ((10, 20, 30, 20), (20, 10, 20, 30), (30, 20, 10, 20), (20, 30, 20, 10))
NODES = {"two": 2, "ring": 4, "zones": 1, "highmem": 1}
SUBSETS = ("0", "1", "2", "3", "0,1", "0,2", "1,2", "1,3", "2,3", "0,1,2,3")
MASKS = ("GFP_KERNEL", "GFP_NOWAIT", "GFP_ATOMIC", "GFP_USER", "GFP_HIGHUSER", "GFP_HIGHUSER_MOVABLE", "GFP_DMA32",
         "GFP_DMA")
LIMITS = {"cpu": (0, 3), "order": (0, MAX_ORDER - 1), "requests": (1, 200)}
WORDS = {"machine": tuple(NODES), "policy": MPOL_NAMES, "nodes": SUBSETS, "gfp": MASKS, "thisnode": ("no", "yes"),
         "call": ("alloc_pages", "__get_free_pages"), "full": ("none", *SUBSETS)}
KNOBS = (
    Menu("machine", "machine", WORDS["machine"]), Slider("cpu", "asks: CPU", *LIMITS["cpu"]),
    Menu("policy", "policy", MPOL_NAMES), Menu("nodes", "over nodes", SUBSETS), Menu("gfp", "gfp flags", MASKS),
    Menu("thisnode", "__GFP_THISNODE", WORDS["thisnode"]), Slider("order", "order", *LIMITS["order"]),
    Menu("call", "function", WORDS["call"]), Menu("full", "full nodes", WORDS["full"]),
    Slider("requests", "requests", *LIMITS["requests"]),
)


@dataclass(frozen=True)
class Setting(BaseSetting):
    """Where the knobs stand; `nodes` matters only with a policy."""

    LIMITS, WORDS = LIMITS, WORDS

    machine: str = "two"
    cpu: int = 0
    policy: str = "default"
    nodes: str = "0"
    gfp: str = "GFP_NOWAIT"
    thisnode: str = "no"
    order: int = 0
    call: str = "alloc_pages"
    full: str = "none"
    requests: int = 2

    @property
    def flags(self) -> str:
        """All gfp flags, as C has them."""
        return self.gfp + ("|__GFP_THISNODE" if self.thisnode == "yes" else "")


# ---------------------------------------------------------------- from a setting to a recording


def bare_machine(name: str) -> Machine:
    """A machine of this name, as after boot."""
    if name == "two":
        return boot([("DMA32", 0x1000, 0x2000, 0), ("DMA32", 0x3000, 0x2000, 1)], cpus=(0, 1))
    if name == "ring":
        return boot([("DMA32", 0x1000 * (n + 1), 0x1000, n) for n in range(4)], cpus=range(4), distance=RING)
    if name == "zones":
        return boot([("DMA", 0x800, 0x800), ("DMA32", 0x1000, 0x1000), ("Normal", 0x100000, 0x2000)])
    return boot([("DMA", 0x800, 0x800), ("Normal", 0x1000, 0x1000), ("HighMem", 0x2000, 0x2000)], config=I386)


def check(setting: Setting) -> None:
    """ValueError if a setting asks for what its machine has not, or for what its policy cannot be."""
    count, nodes = NODES[setting.machine], setting.nodes.split(",")
    if setting.cpu >= count:
        raise ValueError(f"cpu must be 0 to {count - 1} on the machine {setting.machine}, got {setting.cpu}")
    for name, named in (("full", setting.full), ("nodes", setting.nodes if setting.policy != "default" else "none")):
        if named != "none" and any(int(nid) >= count for nid in named.split(",")):
            raise ValueError(f"{name} must be of 0 to {count - 1} on the machine {setting.machine}, got {named}")
    if setting.policy == "preferred" and len(nodes) > 1:
        raise ValueError(f"nodes must be one node for the policy preferred, got {setting.nodes}")
    if setting.policy != "default" and setting.machine == "highmem":
        raise ValueError(f"policy must be default on highmem, a build without NUMA, got {setting.policy}")


def machine_of(setting: Setting) -> Machine:
    """The machine of a setting, before the first request."""
    check(setting)
    machine, policy = bare_machine(setting.machine), MPOL_NAMES.index(setting.policy)
    for nid in map(int, setting.full.split(",") if setting.full != "none" else ()):
        fill(machine, nid)
    set_current(machine, setting.cpu)
    set_mempolicy(machine, policy, setting.nodes if policy != MPOL_DEFAULT else "")
    if policy == MPOL_INTERLEAVE:
        set_il_prev(machine, MAX_NUMNODES - 1)  # as do_set_mempolicy leaves it: the first of the nodes is next
    return machine


def fill(machine: Machine, nid: int) -> None:
    """Take all of a node that GFP_NOWAIT may have: down to the MIN mark."""
    for order in reversed(range(MAX_ORDER)):
        while alloc_pages_node(machine, nid, GFP_NOWAIT | __GFP_THISNODE, order) is not None:
            pass


def work(machine: Machine, setting: Setting) -> Iterator[None]:
    """Do the requests of a setting one by one: each `next` does one, and it stops before each."""
    ask = __get_free_pages if setting.call == "__get_free_pages" else alloc_pages
    for _ in range(setting.requests):
        yield
        ask(machine, parse_gfp(setting.flags), setting.order)


def run(setting: Setting) -> tuple[Recording, int]:
    """The recording of the last requests of a setting, and how many requests ran before it."""
    return run_last(partial(machine_of, setting), partial(work, setting=setting), STEPS)


def heading(setting: Setting, recording: Recording, first: int) -> str:
    """What the stepper shows, in words: which requests, what the last one asks, and what it returns."""
    count, last = setting.requests, recording.select(MmPageAlloc)[-1].event
    which = f"Request {count}" if first == count - 1 else f"Requests {first + 1} to {count}"
    answer = _answer(recording.live, setting, getattr(last, "pfn", -1))
    return f"{which} of {count}: {setting.call}({setting.flags}, {setting.order}) on CPU {setting.cpu}: {answer}"


def _answer(machine: Machine, setting: Setting, pfn: int) -> str:
    """What the caller gets: an address or a page."""
    if pfn < 0:
        return "nothing"
    zone = page_zone(machine, pfn)
    if setting.call == "__get_free_pages":
        return f"address {page_address(machine, pfn):#x}"
    return f"page {pfn:#x} of {zone.label}{', which has no address' if is_highmem(zone) else ''}"


# ---------------------------------------------------------------- the panel


class PolicyPanel(Panel):
    """Knobs for policy, flags and CPU, and the walk along the zonelists that follows.

    Raises
    ------
    ValueError
        If the line is no setting, or asks for nodes or a CPU that the machine has not.

    Examples
    --------
    >>> panel = PolicyPanel("machine=ring policy=bind nodes=2,3")
    >>> print(panel.label)
    Requests 1 to 2 of 2: alloc_pages(GFP_NOWAIT, 0) on CPU 0: page 0x4c01 of N3/DMA32
    """

    SETTING = Setting
    KNOBS = KNOBS
    TITLE = "who asks, by which policy, for what"

    def shown(self, setting: Setting) -> Story:
        """The last requests of a setting."""
        recording, first = run(setting)
        return story_of(recording, draw_zonelists, at=-1, label=heading(setting, recording, first))

    def coupled(self, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        """On another machine: the CPU, the nodes and the policy go back to usual, where it has none such."""
        count = NODES.get(new["machine"], 0)
        if new["machine"] == old["machine"] or not count:
            return new
        usual = Setting().values()
        known = {"none", *map(str, range(count))}
        wrong = [name for name in ("nodes", "full") if not set(new[name].split(",")) <= known]
        wrong += ["cpu"] * (new["cpu"] >= count) + ["policy"] * (new["machine"] == "highmem")
        return new | {name: usual[name] for name in wrong}
