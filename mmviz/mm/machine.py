"""Machine: the nodes, zones and CPUs that one Trace reports of.

A Machine is data. It is made by `boot` (sizes), by a capture (a real kernel's state), or by `copy`; the functions of
mmviz.mm work on it. `apply` puts one recorded change into it, by the primitive that made the change.
"""
from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from ..errors import CaptureError
from ..kernel import MAX_ORDER, MPOL_BIND, MPOL_DEFAULT, MPOL_INTERLEAVE, MPOL_NAMES, MPOL_PREFERRED, Config
from ..trace import Event, Trace
from . import events as ev
from .mmzone import FreeArea, PerCpuPages, Zone
from .zone import PRIMITIVES
from .zonelist import Zonelist, build_all_zonelists

FORMAT = 1  # of a saved Machine


class Part(Protocol):
    """The state of another core, kept in `Machine.parts` from its first use on. It is plain data."""

    def copy(self) -> Self: ...
    def to_dict(self) -> dict[str, Any]: ...
    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Self: ...


PARTS = {  # name -> module (with the primitives of the core) and class of the parts that there are
    "vm": ("vma", "Vm"),  # processes, their mappings and page tables
    "kmap": ("pkmap", "Kmap"),  # the windows to HighMem
    "slab": ("slab_state", "Slab"),  # caches of objects
    "array_cache": ("array_cache", "SlabCaches"),  # the same with CONFIG_SLAB
    "slob": ("slob_state", "Slob"),  # and with CONFIG_SLOB
}


class Mempolicy(NamedTuple):
    """struct mempolicy: a mode (MPOL_*), and its nodes in ascending order.

    MPOL_PREFERRED without a node is the local node (MPOL_F_LOCAL).
    """

    mode: int = MPOL_DEFAULT
    nodes: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The policy in words: "bind 0,2"."""
        return f"{MPOL_NAMES[self.mode]} {','.join(map(str, self.nodes))}".strip()


DEFAULT_POLICY = Mempolicy()


@dataclass(slots=True)
class Task:
    """Who asks: a slice of struct task_struct and of where it runs. Changed by its primitives alone: `set_current`,
    which keeps the memory policy, `set_mempolicy` and `set_il_prev`.
    """

    cpu: int = 0
    flags: int = 0
    in_interrupt: int = 0
    rt_task: int = 0
    oom_victim: int = 0
    mempolicy: Mempolicy = DEFAULT_POLICY
    il_prev: int = 0


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """pg_data_t: the zones of a node (None where the build has the zone and the node has not), and its zonelists.

    `reclaimable_pages` against `min_reclaimable_pages` decide what node_reclaim answers.
    """

    node_zones: list[Zone | None]
    cpus: list[int]
    node_zonelists: list[Zonelist] = field(default_factory=list)
    reclaimable_pages: int = 0
    min_reclaimable_pages: int = 0


@dataclass(slots=True, eq=False, repr=False)
class Machine:
    """All of a machine that the page allocator knows.

    Attributes
    ----------
    config : Config
        What the build chooses.
    node : list of Node
    cpu_to_node : list of int
        The node of each CPU.
    distance : list of list of int
        SLIT distances between nodes; 10 is local.
    current : Task
        Who asks next.
    page_group_by_mobility_disabled : bool
        True on machines too small for migratetypes.
    strict : bool
        True: a double free is a KernelBug. False: go on as a plain v5.4 does.
    by_hand : tuple of str
        What `boot` was told instead of computing it, for pictures and texts to say so.
    parts : dict of str to Part
        The states of the cores above the page allocator.
    """

    config: Config
    node: list[Node]
    cpu_to_node: list[int]
    distance: list[list[int]]
    current: Task = field(default_factory=Task)
    trace: Trace = field(default_factory=Trace)
    page_group_by_mobility_disabled: bool = False
    node_reclaim_mode: int = 0
    strict: bool = True
    by_hand: tuple[str, ...] = ()
    populated: tuple[Zone, ...] = ()
    parts: dict[str, Part] = field(default_factory=dict)
    on: bool = False  # as trace.on and trace.tracepoints: the Trace keeps them
    tracepoints: bool = False

    def __post_init__(self) -> None:
        self.trace.follow(self)

    def zones(self) -> tuple[Zone, ...]:
        """The zones, node by node, lowest index first."""
        return self.populated

    def zone(self, name: str, nid: int = 0) -> Zone:
        """A zone by its name, as in ``machine.zone("DMA32")``; KeyError says which there are."""
        for zone in self.populated:
            if zone.name == name and zone.nid == nid:
                return zone
        labels = ", ".join(zone.label for zone in self.populated)
        raise KeyError(f"zone must be one of {labels}, got {name!r} of node {nid}")

    # -- a copy, a step

    def copy(self) -> Machine:
        """A Machine that shares nothing with this one, and has nobody listening."""
        twin = Machine(self.config, [], self.cpu_to_node[:], [row[:] for row in self.distance],
                       replace(self.current), Trace(), self.page_group_by_mobility_disabled,
                       self.node_reclaim_mode, self.strict, self.by_hand)
        for node in self.node:
            zones = [zone and zone.copy(twin) for zone in node.node_zones]
            twin.node.append(Node(zones, node.cpus[:], [], node.reclaimable_pages, node.min_reclaimable_pages))
        for ours, theirs in zip(twin.node, self.node, strict=True):
            ours.node_zonelists = [[tuple(twin._same_zone(zone) for zone in zones) for zones in zonelist]
                                   for zonelist in theirs.node_zonelists]
        twin.populated = tuple(twin._same_zone(zone) for zone in self.populated)
        twin.parts = {name: part.copy() for name, part in self.parts.items()}
        return twin

    def _same_zone(self, zone: Zone) -> Zone:
        twin = self.node[zone.nid].node_zones[zone.zone_idx]
        assert twin is not None
        return twin

    def apply(self, event: Event) -> None:
        """Make the change that `event` reports; a decision changes nothing."""
        if event.decision:
            return
        if type(event) in MACHINE_PRIMITIVES:
            MACHINE_PRIMITIVES[type(event)](self, *event.values())
        else:
            nid, zone_idx, *arguments = event.values()
            PRIMITIVES[type(event)](self.node[nid].node_zones[zone_idx], *arguments)

    # -- reading

    def __eq__(self, other: object) -> bool:
        """The same state, list order included; who listens does not matter."""
        return isinstance(other, Machine) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Machine({', '.join(f'{zone.label} {zone.spanned_pages} pages' for zone in self.populated)})"

    def __str__(self) -> str:
        """As /proc/buddyinfo, with how many pages each CPU keeps behind it."""
        lines = []
        for zone in self.populated:
            counts = "".join(f"{area.nr_free:>6} " for area in zone.free_area)
            piles = " ".join(f"{pcp.count}" for pcp in zone.pageset)
            lines.append(f"Node {zone.nid}, zone {zone.name:>8} {counts} pcp {piles}")
        return "\n".join(lines + ([f"set by hand: {', '.join(self.by_hand)}"] if self.by_hand else []))

    # -- keeping

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data, for `from_dict`; equal states give equal dicts."""
        return {
            "format": FORMAT, "config": self.config.to_dict(), "cpu_to_node": self.cpu_to_node,
            "distance": self.distance, "current": asdict(self.current), "node_reclaim_mode": self.node_reclaim_mode,
            "page_group_by_mobility_disabled": self.page_group_by_mobility_disabled, "strict": self.strict,
            "by_hand": list(self.by_hand), "zones": [_zone_to_dict(zone) for zone in self.populated],
            "nodes": [[node.reclaimable_pages, node.min_reclaimable_pages] for node in self.node],
            "parts": {name: self.parts[name].to_dict() for name in sorted(self.parts)},
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Machine:
        """The Machine that `to_dict` described; it shares nothing with the dict. ValueError for another format."""
        if saved["format"] != FORMAT:
            raise ValueError(f"machine format must be {FORMAT}, got {saved['format']!r}")
        config = Config(**{**saved["config"], "zone_names": tuple(saved["config"]["zone_names"])})
        machine = cls(config, [], saved["cpu_to_node"][:], [row[:] for row in saved["distance"]],
                      _task_from_dict(saved["current"]), Trace(),
                      saved["page_group_by_mobility_disabled"], saved["node_reclaim_mode"], saved["strict"],
                      tuple(saved["by_hand"]))
        for nid, (reclaimable, minimum) in enumerate(saved["nodes"]):
            cpus = [cpu for cpu, n in enumerate(machine.cpu_to_node) if n == nid]
            machine.node.append(Node([None] * len(config.zone_names), cpus, [], reclaimable, minimum))
        for data in saved["zones"]:
            machine.node[data["nid"]].node_zones[data["zone_idx"]] = _zone_from_dict(machine, data)
        machine.populated = tuple(zone for node in machine.node for zone in node.node_zones if zone is not None)
        build_all_zonelists(machine)
        kinds = {name: _part_class(name) for name in PARTS}  # all: what was recorded next may be of any core
        machine.parts = {name: kinds[name].from_dict(part) for name, part in saved.get("parts", {}).items()}
        return machine

    def save(self, path: str | Path) -> None:
        """Write the state to a gzipped JSON file; the same state gives the same bytes."""
        Path(path).write_bytes(gzip.compress(json.dumps(self.to_dict(), separators=(",", ":")).encode(), mtime=0))

    @classmethod
    def load(cls, path: str | Path) -> Machine:
        """Read what `save` wrote; CaptureError if the file is not that."""
        try:
            return cls.from_dict(json.loads(gzip.decompress(Path(path).read_bytes())))
        except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, zlib.error) as error:
            raise CaptureError(f"{path}: not a saved machine of format {FORMAT}: {error!r}") from error


def set_current(machine: Machine, cpu: int, flags: int = 0, in_interrupt: int = 0, rt_task: int = 0,
                oom_victim: int = 0) -> None:
    """Let another task ask from here on: on this CPU, with these PF_* flags. The primitive of SetCurrent.

    Raises
    ------
    ValueError
        If the machine has no such CPU.
    """
    if not 0 <= cpu < len(machine.cpu_to_node) or type(cpu) is not int:
        raise ValueError(f"cpu must be 0 to {len(machine.cpu_to_node) - 1}, got {cpu}")
    task = machine.current
    machine.current = Task(cpu, flags, in_interrupt, rt_task, oom_victim, task.mempolicy, task.il_prev)
    if machine.on:
        machine.trace.emit(ev.SetCurrent(cpu, flags, in_interrupt, rt_task, oom_victim))


def set_mempolicy(machine: Machine, mode: int, nodes: str | Iterable[int] = "") -> None:
    """Give the running task a memory policy. The primitive of SetMempolicy.

    Parameters
    ----------
    mode : int
        MPOL_DEFAULT, MPOL_PREFERRED, MPOL_BIND or MPOL_INTERLEAVE.
    nodes : iterable of int, or str
        Its nodes, ``[0, 2]`` or ``"0,2"``: none for MPOL_DEFAULT, at most one for MPOL_PREFERRED (none: the local
        node), one at least for the others.

    Raises
    ------
    ValueError
        If the mode is unknown, or the nodes are not of this machine or not as many as the mode wants.

    Notes
    -----
    Kernel: mm/mempolicy.c:do_set_mempolicy at v5.4. Interleaving begins after the last node it had (il_prev), which
    v5.4 sets to the highest number, so that the first of the mask is next; lessons set it by hand (`set_il_prev`).
    """
    chosen = [int(n) for n in nodes.split(",") if n] if isinstance(nodes, str) else sorted(set(nodes))
    fewest, most = {MPOL_DEFAULT: (0, 0), MPOL_PREFERRED: (0, 1), MPOL_BIND: (1, len(machine.node)),
                    MPOL_INTERLEAVE: (1, len(machine.node))}.get(mode, (1, 0))
    if not fewest <= len(chosen) <= most or any(not 0 <= n < len(machine.node) for n in chosen):
        raise ValueError("policy must be MPOL_DEFAULT without nodes, MPOL_PREFERRED with at most one, or MPOL_BIND or "
                         f"MPOL_INTERLEAVE with some of 0 to {len(machine.node) - 1}, got {mode} with {chosen}")
    machine.current.mempolicy = _mempolicy(mode, chosen)
    if machine.on:
        machine.trace.emit(ev.SetMempolicy(mode, ",".join(map(str, chosen))))


def set_il_prev(machine: Machine, il_prev: int) -> None:
    """The node that interleaving used last: the next one after it is next. The primitive of SetIlPrev."""
    machine.current.il_prev = il_prev
    if machine.on:
        machine.trace.emit(ev.SetIlPrev(il_prev))


# The primitives that change no zone: the first argument is the Machine. Other cores add theirs when they are imported.
MACHINE_PRIMITIVES: dict[type[Event], Callable[..., Any]] = {
    ev.SetCurrent: set_current, ev.SetMempolicy: set_mempolicy, ev.SetIlPrev: set_il_prev,
}


# ---------------------------------------------------------------- plain data

_PLAIN = ("nid", "zone_idx", "name", "zone_start_pfn", "spanned_pages", "present_pages", "managed_pages", "_watermark",
          "lowmem_reserve", "watermark_boost", "boosted", "nr_reserved_highatomic", "percpu_drift_mark",
          "nr_isolate_pageblock", "vm_stat", "boost_seen")
_SPARSE = ("pageblock", "index", "allocated", "refcount", "compound", "guard")


def _part_class(name: str) -> type[Part]:
    """The class of a part. Its module brings the core's events and primitives along, for `apply` and Recording.load."""
    module, kind = PARTS[name]
    found: type[Part] = getattr(import_module(f"{__package__}.{module}"), kind)
    return found


def _task_from_dict(saved: dict[str, Any]) -> Task:
    mode, nodes = saved.get("mempolicy", DEFAULT_POLICY)
    return Task(**{**saved, "mempolicy": _mempolicy(mode, nodes)})


def _mempolicy(mode: int, nodes: Iterable[int]) -> Mempolicy:
    """The policy; there is one DEFAULT_POLICY only, so that it can be told by identity."""
    return Mempolicy(mode, tuple(nodes)) if mode else DEFAULT_POLICY


def _zone_to_dict(zone: Zone) -> dict[str, Any]:
    plain = {name: getattr(zone, name) for name in _PLAIN}
    sparse = {name: [[pfn, getattr(zone, name)[pfn]] for pfn in sorted(getattr(zone, name))] for name in _SPARSE}
    free = [[list(pages) for pages in area.free_list] for area in zone.free_area]
    untouched = [zone.untouched.start, zone.untouched.stop, zone.untouched.step] if zone.untouched else [0, 0, 1]
    pcp = [[p.count, p.high, p.batch, p.stat_threshold, p.vm_stat_diff, [list(pages) for pages in p.lists]]
           for p in zone.pageset]
    return {**plain, **sparse, "free": free, "nr_free": [area.nr_free for area in zone.free_area],
            "untouched": untouched, "lru": sorted(zone.lru), "pageset": pcp}


def _zone_from_dict(machine: Machine, data: dict[str, Any]) -> Zone:
    pageset = [_pcp_from_list(saved) for saved in data["pageset"]]
    areas = [FreeArea(machine.config.migrate_types) for _ in range(MAX_ORDER)]
    parts: dict[str, Any] = {name: data[name][:] if isinstance(data[name], list) else data[name] for name in _PLAIN}
    parts |= {name: dict(data[name]) for name in _SPARSE}
    zone = Zone(machine, free_area=areas, pageset=pageset, trace=machine.trace, **parts)
    zone.untouched, zone.lru = range(*data["untouched"]), set(data["lru"])
    for order, (area, lists, nr_free) in enumerate(zip(areas, data["free"], data["nr_free"], strict=True)):
        area.nr_free = nr_free
        for migratetype, pages in enumerate(lists):
            area.free_list[migratetype].update(dict.fromkeys(pages))
            zone.buddy.update((pfn, (order, migratetype)) for pfn in pages)
    return zone


def _pcp_from_list(saved: list[Any]) -> PerCpuPages:
    count, high, batch, stat_threshold, diff, lists = saved
    pcp = PerCpuPages(high, batch, stat_threshold)
    pcp.count, pcp.vm_stat_diff = count, diff[:]
    for pages, saved_pages in zip(pcp.lists, lists, strict=True):
        pages.extend(saved_pages)
    return pcp
