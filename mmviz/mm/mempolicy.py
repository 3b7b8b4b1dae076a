"""Which node is asked first: memory policies (CONFIG_NUMA).

A policy turns a request into a preferred node and, for MPOL_BIND, a mask of nodes:

    default, local      this CPU's node             any node after it, in the order of its zonelist
    preferred n         node n                      any node after it
    bind {a, b}         this CPU's node             only a and b, the nearest first: not the first of the mask
    interleave {a, b}   a, b, a, b in turn          any node after it

In an interrupt, and with __GFP_THISNODE, the policy of the task is not asked. On a UMA build there is none of this:
`alloc_pages` goes to `alloc_pages_node` at once.

Left out: cpusets (mems_allowed is every node), relative and static node masks, shared policies of files, and what
happens to pages that are there already (mbind, migrate_pages).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..kernel import (
    __GFP_DIRECT_RECLAIM,
    __GFP_NORETRY,
    __GFP_THISNODE,
    MPOL_BIND,
    MPOL_INTERLEAVE,
    MPOL_PREFERRED,
    PAGE_SHIFT,
)
from ..trace import mirrors
from . import events as ev
from .machine import DEFAULT_POLICY, Mempolicy, set_il_prev
from .page_alloc import __alloc_pages_nodemask, check_request
from .page_ref import page_zone
from .zonelist import gfp_zone

if TYPE_CHECKING:
    from .machine import Machine


UINT_MAX = 0xFFFFFFFF


class Vma(Protocol):
    """What a policy needs of a struct vm_area_struct: where it starts, its offset in pages, its own policy if any."""

    vm_start: int
    vm_pgoff: int
    vm_policy: Mempolicy | None


@mirrors("mm/mempolicy.c")
def alloc_pages_current(machine: Machine, gfp: int, order: int) -> int | None:
    """Ask for 2^order pages by the policy of the running task.

    Notes
    -----
    Emits NodemaskChosen, or InterleaveChosen and SetIlPrev, if there is a policy; then as `alloc_pages`.
    Kernel: mm/mempolicy.c:alloc_pages_current at v5.4.
    """
    task = machine.current
    policy, local = task.mempolicy, machine.cpu_to_node[task.cpu]
    if policy is DEFAULT_POLICY or task.in_interrupt or gfp & __GFP_THISNODE:
        return __alloc_pages_nodemask(machine, gfp, order, local, None)
    if policy.mode == MPOL_INTERLEAVE:
        check_request(machine, gfp, order)  # before il_prev moves
        return alloc_page_interleave(machine, gfp, order, interleave_nodes(machine, policy))
    nodemask = policy_nodemask(machine, gfp, policy)
    return __alloc_pages_nodemask(machine, gfp, order, policy_node(policy, local), nodemask)


@mirrors("mm/mempolicy.c")
def alloc_pages_vma(machine: Machine, gfp: int, order: int, vma: Vma, addr: int, node: int,
                    hugepage: bool = False) -> int | None:
    """Ask for the pages of a user's address, by the policy of its mapping, else of its task.

    Parameters
    ----------
    addr : int
        The user address, at or above vma.vm_start.
    node : int
        The node to prefer where a policy names none: that of the CPU, which is also asked where there is no policy.
    hugepage : bool
        Try the preferred node alone first; if that fails and the request may reclaim, once more anywhere.

    Notes
    -----
    Kernel: mm/mempolicy.c:alloc_pages_vma at v5.4. Interleaving goes by the address, not by turns.
    """
    policy = vma.vm_policy or machine.current.mempolicy
    if policy.mode == MPOL_INTERLEAVE:
        return alloc_page_interleave(machine, gfp, order, interleave_nid(policy, vma, addr, PAGE_SHIFT + order))
    nodemask = policy_nodemask(machine, gfp, policy)
    preferred = machine.cpu_to_node[machine.current.cpu] if policy is DEFAULT_POLICY else policy_node(policy, node)
    if not hugepage or not (nodemask is None or preferred in nodemask):
        return __alloc_pages_nodemask(machine, gfp, order, preferred, nodemask)
    pfn = __alloc_pages_nodemask(machine, gfp | __GFP_THISNODE, order, preferred, None)
    if pfn is None and gfp & __GFP_DIRECT_RECLAIM:
        pfn = __alloc_pages_nodemask(machine, gfp | __GFP_NORETRY, order, preferred, None)
    return pfn


@mirrors("mm/mempolicy.c")
def alloc_page_interleave(machine: Machine, gfp: int, order: int, nid: int) -> int | None:
    """Ask node `nid`, whose turn it is; a page of it counts as numa_interleave there."""
    pfn = __alloc_pages_nodemask(machine, gfp, order, nid, None)
    if machine.on:
        machine.trace.emit(ev.InterleaveChosen(nid, pfn is not None and page_zone(machine, pfn).nid == nid))
    return pfn


@mirrors("mm/mempolicy.c")
def interleave_nodes(machine: Machine, policy: Mempolicy) -> int:
    """The next node of the policy after the task's last one (il_prev), round and round."""
    nid = next_node_in(machine.current.il_prev, policy.nodes)
    set_il_prev(machine, nid)
    return nid


def next_node_in(nid: int, nodes: Sequence[int]) -> int:
    """The first of `nodes` after `nid`, round and round; `nodes` is in ascending order.

    Kernel: include/linux/nodemask.h:next_node_in.

    >>> next_node_in(0, (0, 2)), next_node_in(2, (0, 2))
    (2, 0)
    """
    return min((n for n in nodes if n > nid), default=nodes[0])


def interleave_nid(policy: Mempolicy, vma: Vma, addr: int, shift: int) -> int:
    """The node of one address of a mapping: its offset in pages, modulo the number of nodes.

    Kernel: mm/mempolicy.c:interleave_nid.
    """
    offset = (vma.vm_pgoff >> (shift - PAGE_SHIFT)) + ((addr - vma.vm_start) >> shift)
    return offset_il_node(policy, offset)


def offset_il_node(policy: Mempolicy, n: int) -> int:
    """The (n modulo count)-th node of the policy, in ascending order; of `n` the kernel looks at 32 bits.

    Kernel: mm/mempolicy.c:offset_il_node. Of three nodes, the one of an offset past 2^32 pages (a private mapping
    has its address there) is not n modulo 3.

    >>> offset_il_node(Mempolicy(MPOL_INTERLEAVE, (1, 3)), 9)
    3
    """
    return policy.nodes[(n & UINT_MAX) % len(policy.nodes)]


def policy_node(policy: Mempolicy, nid: int) -> int:
    """The node to ask first: that of MPOL_PREFERRED, else `nid`.

    Kernel: mm/mempolicy.c:policy_node.
    """
    return policy.nodes[0] if policy.mode == MPOL_PREFERRED and policy.nodes else nid


@mirrors("mm/mempolicy.c")
def policy_nodemask(machine: Machine, gfp: int, policy: Mempolicy) -> Sequence[int] | None:
    """The nodes that may serve: those of MPOL_BIND, unless the request wants a zone below the policy's; else all."""
    binds = policy.mode == MPOL_BIND and apply_policy_zone(machine, policy, gfp_zone(machine, gfp))
    if machine.on:
        machine.trace.emit(ev.NodemaskChosen(policy.mode, ",".join(map(str, policy.nodes)) if binds else ""))
    return policy.nodes if binds else None


def apply_policy_zone(machine: Machine, policy: Mempolicy, zone_idx: int) -> bool:
    """Does a policy bind requests for this zone? Only from the highest zone on that has pages and is not Movable.

    If its nodes have nothing but Movable, it binds the requests for Movable alone: the others could get nothing.
    Kernel: mm/mempolicy.c:apply_policy_zone, with policy_zone as build_zonelists leaves it.
    """
    zones = [zone for zone in machine.zones() if zone.name != "Movable"]
    if not any(zone.present_pages and zone.nid in policy.nodes for zone in zones):
        return machine.config.zone_names[zone_idx] == "Movable"
    return zone_idx >= max((zone.zone_idx for zone in zones if zone.managed_pages), default=0)
