"""Where the allocator asks for reclaim, which is not simulated: each function says what the kernel would do.

kswapd's only effect on the allocator's own numbers is kept: at the end of a pass it takes away the watermark boost
that it found at the beginning (`balance_pgdat_begin`, `balance_pgdat_end`).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import __GFP_DIRECT_RECLAIM, PF_MEMALLOC
from ..trace import mirrors
from . import events as ev
from .mmzone import Zone
from .zone import set_boost_seen, set_watermark_boost, set_zone_boosted

if TYPE_CHECKING:
    from .machine import Machine, Node

NODE_RECLAIM_NOSCAN, NODE_RECLAIM_FULL, NODE_RECLAIM_SOME = -2, -1, 0
RECLAIM_DISTANCE = 30


@mirrors("mm/vmscan.c")
def wakeup_kswapd(zone: Zone, order: int, why: str) -> None:
    """Wake the node's kswapd. Only the event: there is no kswapd here.

    Parameters
    ----------
    why : str
        "boost" after a theft between types, "low" when the fast path found nothing.
    """
    if zone.on:
        zone.trace.emit(ev.KswapdWoken(zone.nid, zone.zone_idx, order, why))


@mirrors("mm/vmscan.c")
def node_reclaim(machine: Machine, nid: int, gfp_mask: int, order: int) -> int:
    """What node_reclaim answers before it would scan; it is asked only if node_reclaim_mode is set.

    Returns
    -------
    int
        NODE_RECLAIM_NOSCAN (may not block, or in reclaim already, or the node is another CPU's), NODE_RECLAIM_FULL
        (nothing to be had), or NODE_RECLAIM_SOME (it would scan).

    Notes
    -----
    Kernel: mm/vmscan.c:node_reclaim. Simplified: where the node has reclaimable pages (`Node.reclaimable_pages`
    beyond `Node.min_reclaimable_pages`) the kernel would scan; here it says so and frees nothing.
    """
    node, task = machine.node[nid], machine.current
    if node.reclaimable_pages <= node.min_reclaimable_pages:
        outcome = "FULL"
    elif not gfp_mask & __GFP_DIRECT_RECLAIM or task.flags & PF_MEMALLOC:
        outcome = "NOSCAN"
    elif node.cpus and nid != machine.cpu_to_node[task.cpu]:
        outcome = "NOSCAN"
    else:
        outcome = "WOULD_SCAN"
    if machine.on:
        machine.trace.emit(ev.NodeReclaimed(nid, outcome))
    return {"FULL": NODE_RECLAIM_FULL, "NOSCAN": NODE_RECLAIM_NOSCAN}.get(outcome, NODE_RECLAIM_SOME)


def balance_pgdat_begin(node: Node) -> None:
    """kswapd starts a pass over a node: it notes the boost of each zone."""
    for zone in node.node_zones:
        if zone is not None and zone.watermark_boost:
            set_boost_seen(zone, zone.watermark_boost)


def balance_pgdat_end(node: Node) -> None:
    """The pass ends: each zone's boost falls by what it was when the pass began.

    Kernel: the end of mm/vmscan.c:balance_pgdat.
    """
    for zone in node.node_zones:
        if zone is not None and zone.boost_seen:
            set_watermark_boost(zone, max(0, zone.watermark_boost - zone.boost_seen))
            set_boost_seen(zone, 0)


def clear_boosted_and_wake(zone: Zone) -> None:
    """The end of rmqueue: ZONE_BOOSTED_WATERMARK is cleared, and kswapd woken."""
    set_zone_boosted(zone, 0)
    wakeup_kswapd(zone, 0, "boost")
