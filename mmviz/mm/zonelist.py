"""Which zones a request may use, and in which order: gfp_zone and the zonelists.

The gfp mask names a ceiling, not a zone. A zonelist is every zone of the machine in the order in which one node asks:

    node 0, FALLBACK      N0/Normal  N0/DMA32  N0/DMA  N1/Normal        (all of one node, then all of the next)
    node 0, NOFALLBACK    N0/Normal  N0/DMA32  N0/DMA                   (for __GFP_THISNODE)

A request walks its node's list from the first zone at or below its ceiling.

Here a zonelist is a list indexed by the ceiling: `zonelist[high_zoneidx]` is the tuple of eligible zones, so that the
walk does not test each zone again and again. Simplified: cpusets are off.
"""
from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ..kernel import (
    __GFP_THISNODE,
    GFP_MOVABLE_MASK,
    GFP_MOVABLE_SHIFT,
    GFP_ZONEMASK,
    MIGRATE_UNMOVABLE,
    ZONELIST_FALLBACK,
    ZONELIST_NOFALLBACK,
)
from ..trace import mirrors
from .mmzone import Zone

if TYPE_CHECKING:
    from .machine import Machine

Zonelist = list[tuple[Zone, ...]]
MAX_NUMNODES = 64  # CONFIG_NODES_SHIFT=6: only its size against node_load matters


@mirrors("include/linux/gfp.h")
def gfp_zone(machine: Machine, gfp_mask: int) -> int:
    """The highest zone index that `gfp_mask` allows.

    Kernel: include/linux/gfp.h:gfp_zone.

    Raises
    ------
    ValueError
        If two of __GFP_DMA, __GFP_HIGHMEM, __GFP_DMA32 are set together (VM_BUG_ON in the kernel).
    """
    zone_idx = machine.config.gfp_zone_table[gfp_mask & GFP_ZONEMASK]
    if zone_idx < 0:
        raise ValueError(f"gfp_mask {gfp_mask:#x}: at most one of __GFP_DMA, __GFP_HIGHMEM, __GFP_DMA32 may be set "
                         "(include/linux/gfp.h:gfp_zone)")
    return zone_idx


@mirrors("include/linux/gfp.h")
def gfpflags_to_migratetype(machine: Machine, gfp_mask: int) -> int:
    """The migratetype that `gfp_mask` asks for: 0 U, 1 M, 2 R; always U where mobility grouping is off.

    Kernel: include/linux/gfp.h:gfpflags_to_migratetype.

    Raises
    ------
    ValueError
        If __GFP_MOVABLE and __GFP_RECLAIMABLE are both set (a warning and a wrong list in the kernel).
    """
    if gfp_mask & GFP_MOVABLE_MASK == GFP_MOVABLE_MASK:
        raise ValueError(f"gfp_mask {gfp_mask:#x}: __GFP_MOVABLE and __GFP_RECLAIMABLE exclude each other "
                         "(include/linux/gfp.h:gfpflags_to_migratetype)")
    if machine.page_group_by_mobility_disabled:
        return MIGRATE_UNMOVABLE
    return (gfp_mask & GFP_MOVABLE_MASK) >> GFP_MOVABLE_SHIFT


@mirrors("include/linux/gfp.h")
def node_zonelist(machine: Machine, nid: int, gfp_mask: int) -> Zonelist:
    """The zonelist that a request of node `nid` walks: NOFALLBACK with __GFP_THISNODE on a NUMA build."""
    kind = ZONELIST_NOFALLBACK if gfp_mask & __GFP_THISNODE and machine.config.numa else ZONELIST_FALLBACK
    return machine.node[nid].node_zonelists[kind]


@mirrors("include/linux/mmzone.h")
def first_zones_zonelist(zonelist: Zonelist, high_zoneidx: int, nodemask: Collection[int] | None) -> Zone | None:
    """The first eligible zone, or None."""
    for zone in zonelist[high_zoneidx]:
        if nodemask is None or zone.nid in nodemask:
            return zone
    return None


def for_next_zone_zonelist_nodemask(zonelist: Zonelist, high_zoneidx: int,
                                    nodemask: Collection[int] | None) -> Sequence[Zone]:
    """The eligible zones in the order of the walk: at or below the ceiling, and of the nodes in `nodemask` (None: any).

    Kernel: include/linux/mmzone.h, mm/mmzone.c:__next_zones_zonelist.
    """
    zones = zonelist[high_zoneidx]
    return zones if nodemask is None else [zone for zone in zones if zone.nid in nodemask]


# ---------------------------------------------------------------- building


@mirrors("mm/page_alloc.c")
def build_zonerefs_node(machine: Machine, nid: int) -> list[Zone]:
    """The zones of one node that have pages, highest index first."""
    return [zone for zone in reversed(machine.node[nid].node_zones) if zone is not None and zone.managed_pages]


@mirrors("mm/page_alloc.c")
def find_next_best_node(machine: Machine, node: int, used: list[int], node_load: list[int]) -> int | None:
    """The nearest node with memory that is not in `used`: distance, then no CPUs, then load; None if all are used."""
    def penalty(n: int) -> int:
        distance = machine.distance[node][n] + (n < node) + bool(machine.node[n].cpus)
        return distance * len(machine.node) * MAX_NUMNODES + node_load[n]

    if node not in used:
        return node
    left = [n for n, other in enumerate(machine.node) if n not in used and any(
        zone is not None and zone.present_pages for zone in other.node_zones)]
    return min(left, key=penalty, default=None)


@mirrors("mm/page_alloc.c", "build_zonelists")
def node_order(machine: Machine, local: int, node_load: list[int]) -> list[int]:
    """The nodes in the order in which `local` asks them; `node_load` is shared by all nodes and grows.

    Kernel: the first half of mm/page_alloc.c:build_zonelists.
    """
    order: list[int] = []
    load, previous = len(machine.node), local
    while (node := find_next_best_node(machine, local, order, node_load)) is not None:
        if machine.distance[local][node] != machine.distance[local][previous]:
            node_load[node] = load
        order.append(node)
        previous = node
        load -= 1
    return order


@mirrors("mm/page_alloc.c")
def build_all_zonelists(machine: Machine) -> None:
    """Build both zonelists of every node, node 0 first; the only caller is a Machine that is being made."""
    node_load = [0] * len(machine.node)
    for nid, node in enumerate(machine.node):
        zones = [zone for n in node_order(machine, nid, node_load) for zone in build_zonerefs_node(machine, n)]
        node.node_zonelists = [zonelist_of(machine, zones), zonelist_of(machine, build_zonerefs_node(machine, nid))]


def zonelist_of(machine: Machine, zones: Sequence[Zone]) -> Zonelist:
    """The zones in walking order as a Zonelist: a tuple for each ceiling."""
    return [tuple(zone for zone in zones if zone.zone_idx <= high_zoneidx)
            for high_zoneidx in range(len(machine.config.zone_names))]
