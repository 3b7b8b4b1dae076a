"""Which request a step belongs to, and which zones that request may use.

Three things leave a zone out, each with words of its own: the ceiling of the gfp mask (gfp_zone), __GFP_THISNODE, whose
list holds the zones of one node, and the nodemask of a policy (MPOL_BIND). They are read from the call stack of the
step; without a running request, from what the running task would ask for.
"""
from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ..kernel import (
    __GFP_BITS_MASK,
    __GFP_THISNODE,
    MPOL_BIND,
    MPOL_INTERLEAVE,
    ZONELIST_FALLBACK,
    ZONELIST_NOFALLBACK,
    gfp_name,
)
from ..mm import events as ev
from ..mm.machine import Machine
from ..mm.mempolicy import apply_policy_zone, next_node_in, policy_node
from ..mm.mmzone import Zone
from ..mm.zonelist import gfp_zone
from ..recording import Step
from .reading import event_of, whole

KINDS = ("fallback", "THISNODE")
ASKING = ("alloc_pages_current", "alloc_pages_vma", "alloc_page_interleave", "__alloc_pages_nodemask")


class Request(NamedTuple):
    """What is known of the request: node and kind of its list; its ceiling (-1: none known), its nodes, in words."""

    nid: int
    kind: int
    high_zoneidx: int
    nodes: Collection[int] | None
    words: str


def running_request(machine: Machine, step: Step | None) -> Request | None:
    """The request whose functions are on the call stack."""
    said: dict[str, Any] = {}
    for frame in step.stack if step is not None else ():
        if frame.symbol in ASKING:
            said |= dict(frame.args)
    gfp = said.get("gfp_mask", said.get("gfp"))
    if not isinstance(gfp, int):
        return None
    return _request(machine, gfp, _asked_node(machine, step, said), _mask(machine, step, said.get("nodemask")))


def _asked_node(machine: Machine, step: Step | None, said: Mapping[str, Any]) -> int:
    """The node whose list is walked: that of the arguments, or before they are there, what the policy will choose."""
    event, local = event_of(step), machine.cpu_to_node[machine.current.cpu]
    turn = event.il_prev if isinstance(event, ev.SetIlPrev) else policy_node(machine.current.mempolicy, local)
    return next((int(said[name]) for name in ("preferred_nid", "nid", "node") if name in said), turn)


def _mask(machine: Machine, step: Step | None, nodemask: object) -> Collection[int] | None:
    """The nodes that may serve, by the task's policy; if a zone outside of them is asked, the mask has fallen."""
    event, policy = event_of(step), machine.current.mempolicy
    if isinstance(event, ev.NodemaskChosen):
        return [int(nid) for nid in event.nodes.split(",")] if event.nodes else None
    outside = isinstance(event, ev.WatermarkChecked) and event.nid not in policy.nodes
    return policy.nodes if nodemask is not None and policy.mode == MPOL_BIND and not outside else None


def imagined_request(machine: Machine, gfp_mask: int | None, nid: int | None) -> Request:
    """The request that the running task would make, or no more than the list of a node; an interrupt has no policy."""
    local, policy = machine.cpu_to_node[machine.current.cpu], machine.current.mempolicy
    if nid is not None:
        whole("nid", nid, 0, len(machine.node) - 1)
    if gfp_mask is None:
        return Request(local if nid is None else nid, ZONELIST_FALLBACK, -1, None, "")
    if gfp_mask & ~__GFP_BITS_MASK:
        raise ValueError(f"gfp_mask must be made of the bits {__GFP_BITS_MASK:#x}, got {gfp_mask:#x}")
    no_policy = machine.current.in_interrupt or gfp_mask & __GFP_THISNODE or not machine.config.numa
    if nid is not None or no_policy:
        return _request(machine, gfp_mask, local if nid is None else nid, None)
    binds = policy.mode == MPOL_BIND and apply_policy_zone(machine, policy, gfp_zone(machine, gfp_mask))
    turn = next_node_in(machine.current.il_prev, policy.nodes) if policy.mode == MPOL_INTERLEAVE else local
    return _request(machine, gfp_mask, policy_node(policy, turn), policy.nodes if binds else None)


def _request(machine: Machine, gfp_mask: int, nid: int, nodes: Collection[int] | None) -> Request:
    only = gfp_mask & __GFP_THISNODE and machine.config.numa
    kind = ZONELIST_NOFALLBACK if only else ZONELIST_FALLBACK
    return Request(nid, kind, gfp_zone(machine, gfp_mask), nodes, f"{gfp_name(gfp_mask)}, ceiling "
                   f"{machine.config.zone_names[gfp_zone(machine, gfp_mask)]}")


def why_out(machine: Machine, request: Request, zone: Zone) -> str:
    """Why a request may not use a zone; "" if it may."""
    if not zone.managed_pages:
        return "no pages, in no list"
    if request.high_zoneidx >= 0 and zone.zone_idx > request.high_zoneidx:
        return "above the ceiling"
    if request.kind == ZONELIST_NOFALLBACK and zone.nid != request.nid:
        return "THISNODE: not asked"
    return "not in the nodemask" if request.nodes is not None and zone.nid not in request.nodes else ""


def way_of(machine: Machine, request: Request) -> list[Zone]:
    """The zones that a request may use, in the order of its walk."""
    zonelist = machine.node[request.nid].node_zonelists[request.kind]
    return [zone for zone in zonelist[-1] if not why_out(machine, request, zone)]
