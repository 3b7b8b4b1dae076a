"""Slabs with some free objects: the CPU's own list of them, and the list of each node.

    cpu slab --deactivate_slab--> node partial (head; tail if others freed into it)
    full --first free--> cpu partial (head) --too many free objects: unfreeze_partials--> node partial (tail)
    node partial --get_partial_node--> cpu slab (the first), cpu partial (more, until half of cpu_partial is there)

A CPU's list needs no lock. It may keep about `cpu_partial` free objects, counted in a lazy way: each slab brings what
was free in it when it came, and what is freed into it later does not count. When a further slab finds more than
cpu_partial there, the whole list goes to the nodes, and the list begins anew with that slab.

A node keeps up to `min_partial` empty slabs; a further one goes back to the page allocator.

Left out: list_lock, the retries that other CPUs may cause, pfmemalloc slabs, nodes without memory (on x86 they ask
like any other node), the chance of 2 in 100 that get_any_partial does not look (get_cycles).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import KernelBug
from ..kernel import GFP_KERNEL, MPOL_INTERLEAVE, MPOL_PREFERRED
from ..trace import mirrors
from . import slab_events as ev
from .machine import set_current
from .mempolicy import interleave_nodes
from .slab_state import (
    add_partial,
    cmpxchg_double_slab,
    cpu_partial_pop,
    cpu_partial_push,
    next_tid,
    remove_partial,
    set_cpu_freelist,
    set_cpu_page,
    set_freepointer,
    slab,
)
from .slab_types import KmemCache, SlabPage
from .slub_page import discard_slab
from .zonelist import first_zones_zonelist, for_next_zone_zonelist_nodemask, gfp_zone, node_zonelist

if TYPE_CHECKING:
    from .machine import Machine

SHRINK_PROMOTE_MAX = 32  # slabs with up to so many free objects are sorted by kmem_cache_shrink


# ---------------------------------------------------------------- from the nodes to a CPU


@mirrors("mm/slub.c")
def get_partial(machine: Machine, s: KmemCache, flags: int, node: int) -> int:
    """The free list of a slab from the node's list, that becomes the cpu slab; 0 if there is none.

    Kernel: mm/slub.c:get_partial. Only a request without a node looks at other nodes.
    """
    nid = machine.cpu_to_node[machine.current.cpu] if node < 0 else node
    freelist = get_partial_node(machine, s, nid)
    if freelist or node >= 0:
        return freelist
    return get_any_partial(machine, s, flags)


@mirrors("mm/slub.c")
def get_partial_node(machine: Machine, s: KmemCache, nid: int) -> int:
    """Take the first slab of the node's list for the CPU, and more of them for its partial list.

    Kernel: mm/slub.c:get_partial_node.
    """
    cpu, partial = machine.current.cpu, s.node[nid].partial[:]
    if machine.on:
        machine.trace.emit(ev.PartialSearched(s.name, nid, len(partial), partial[0] if partial else -1))
    freelist = available = 0
    for pfn in partial:
        page = slab(machine).pages[pfn]
        available += page.objects - page.inuse
        if not freelist:
            freelist = acquire_slab(machine, page, True, available)
            set_cpu_page(machine, s.name, cpu, pfn)
        else:
            acquire_slab(machine, page, False, available)
            put_cpu_partial(machine, s, page, False)
        if not machine.config.slub_cpu_partial or available > s.cpu_partial // 2:
            break
    return freelist


@mirrors("mm/slub.c")
def acquire_slab(machine: Machine, page: SlabPage, mode: bool, available: int) -> int:
    """Freeze a slab and take it off its node's list; with `mode` its free list is taken too.

    Kernel: mm/slub.c:acquire_slab. Returns the free list.
    """
    freelist = page.freelist
    if machine.on:
        machine.trace.emit(ev.SlabAcquired(page.pfn, page.objects - page.inuse, available, mode))
    if mode:
        cmpxchg_double_slab(machine, page.pfn, 0, page.objects, True)
    else:
        cmpxchg_double_slab(machine, page.pfn, freelist, page.inuse, True)
    remove_partial(machine, page.pfn)
    return freelist


@mirrors("mm/slub.c")
def get_any_partial(machine: Machine, s: KmemCache, flags: int) -> int:
    """Look at the other nodes, the nearest first: one with more partial slabs than it keeps anyway may give some.

    Kernel: mm/slub.c:get_any_partial (CONFIG_NUMA).
    """
    if not machine.config.numa:
        return 0
    zonelist = node_zonelist(machine, mempolicy_slab_node(machine), flags)
    for zone in for_next_zone_zonelist_nodemask(zonelist, gfp_zone(machine, flags), None):
        if s.node[zone.nid].nr_partial > s.min_partial:
            return get_partial_node(machine, s, zone.nid)
    return 0


@mirrors("mm/mempolicy.c")
def mempolicy_slab_node(machine: Machine) -> int:
    """The node whose zonelist is walked: that of the task's policy, else of the CPU.

    Kernel: mm/mempolicy.c:mempolicy_slab_node.
    """
    task = machine.current
    policy, local = task.mempolicy, machine.cpu_to_node[task.cpu]
    nid = local
    if not task.in_interrupt and policy.nodes:
        if policy.mode == MPOL_PREFERRED:
            nid = policy.nodes[0]
        elif policy.mode == MPOL_INTERLEAVE:
            nid = interleave_nodes(machine, policy)
        else:  # MPOL_BIND
            zonelist = node_zonelist(machine, local, 0)
            zone = first_zones_zonelist(zonelist, gfp_zone(machine, GFP_KERNEL), policy.nodes)
            nid = local if zone is None else zone.nid
    if machine.on:
        machine.trace.emit(ev.SlabNodeChosen(policy.mode, nid))
    return nid


# ---------------------------------------------------------------- a CPU's partial list


@mirrors("mm/slub.c")
def put_cpu_partial(machine: Machine, s: KmemCache, page: SlabPage, drain: bool) -> None:
    """A frozen slab becomes the first of this CPU's partial list; with `drain` a list that is too long goes first.

    Kernel: mm/slub.c:put_cpu_partial.
    """
    cpu, pages, pobjects = machine.current.cpu, 0, 0
    partial = s.cpu_slab[cpu].partial
    if partial:
        first = slab(machine).pages[partial[0]]
        pages, pobjects = first.pages, first.pobjects
    drained = drain and pobjects > s.cpu_partial
    if machine.on:
        machine.trace.emit(ev.CpuPartialChecked(s.name, cpu, pobjects, s.cpu_partial, drained))
    if drained:
        unfreeze_partials(machine, s, cpu)
        pages = pobjects = 0
    cpu_partial_push(machine, s.name, cpu, page.pfn, pages + 1, pobjects + page.objects - page.inuse)
    if not s.cpu_partial:
        unfreeze_partials(machine, s, cpu)


@mirrors("mm/slub.c")
def unfreeze_partials(machine: Machine, s: KmemCache, cpu: int) -> None:
    """Move a CPU's partial list to the nodes, each slab to the tail; empty ones that are too many are freed at the end.

    Kernel: mm/slub.c:unfreeze_partials. The last empty slab found is the first to be freed.
    """
    empty: list[SlabPage] = []
    for pfn in s.cpu_slab[cpu].partial[:]:
        page = slab(machine).pages[pfn]
        cpu_partial_pop(machine, s.name, cpu, pfn)
        cmpxchg_double_slab(machine, pfn, page.freelist, page.inuse, False)
        if may_discard(machine, s, page):
            empty.insert(0, page)
        else:
            add_partial(machine, pfn, True)
    for page in empty:
        discard_slab(machine, s, page)


def may_discard(machine: Machine, s: KmemCache, page: SlabPage, inuse: int = -1) -> bool:
    """Is the slab empty, and has its node min_partial slabs already? `inuse`: what it is about to be, if not now."""
    used, nr_partial = page.inuse if inuse < 0 else inuse, s.node[page.nid].nr_partial
    discarded = not used and nr_partial >= s.min_partial
    if machine.on:
        machine.trace.emit(ev.EmptyChecked(page.pfn, used, nr_partial, s.min_partial, discarded))
    return discarded


# ---------------------------------------------------------------- a CPU's slab


@mirrors("mm/slub.c")
def deactivate_slab(machine: Machine, s: KmemCache, page: SlabPage, freelist: int, cpu: int) -> None:
    """A CPU gives its slab up: its free objects go back to the page's list, and the slab to its node.

    Notes
    -----
    Object by object, so the list is turned round. Then the slab is empty (and may be freed), has free objects (node
    partial: head, but tail if the page's list had objects that others freed), or is full and on no list.
    Kernel: mm/slub.c:deactivate_slab.
    """
    tail = page.freelist != 0
    if machine.on:
        machine.trace.emit(ev.Deactivated(s.name, cpu, page.pfn, freelist, tail))
    last = __return_all_but_last(machine, page, freelist)
    inuse, head = page.inuse, page.freelist
    if last:
        set_freepointer(machine, page.pfn, last, head)
        inuse, head = inuse - 1, last
    discarded = may_discard(machine, s, page, inuse)
    if head and not discarded:
        add_partial(machine, page.pfn, tail)
    cmpxchg_double_slab(machine, page.pfn, head, inuse, False)
    set_cpu_page(machine, s.name, cpu, -1)  # the kernel forgets it last; nobody looks in between
    set_cpu_freelist(machine, s.name, cpu, 0)
    if discarded:
        discard_slab(machine, s, page)


def get_freepointer(page: SlabPage | None, object: int) -> int:
    """The free pointer of an object; KernelBug if the list leads to what is no object of the slab."""
    assert page is not None
    if object not in page.freepointer:
        raise KernelBug(f"the free list of the slab {page.pfn:#x} leads to {object:#x}, which is no object of it: "
                        "somebody wrote into a free object. A plain v5.4 reads there, and oopses or goes astray "
                        "(mm/slub.c:get_freepointer)")
    return page.freepointer[object]


def __return_all_but_last(machine: Machine, page: SlabPage, freelist: int) -> int:
    """Stage one of deactivate_slab; returns the last object of the list, or 0."""
    object = freelist
    while object and (following := get_freepointer(page, object)):
        set_freepointer(machine, page.pfn, object, page.freelist)
        cmpxchg_double_slab(machine, page.pfn, object, page.inuse - 1, True)
        object = following
    return object


@mirrors("mm/slub.c")
def flush_slab(machine: Machine, s: KmemCache, cpu: int) -> None:
    """Give the cpu slab up."""
    c = s.cpu_slab[cpu]
    assert c.page is not None
    deactivate_slab(machine, s, c.page, c.freelist, cpu)
    next_tid(machine, s.name, cpu)


@mirrors("mm/slub.c")
def __flush_cpu_slab(machine: Machine, s: KmemCache, cpu: int) -> None:
    """Give the cpu slab up and the partial list."""
    if s.cpu_slab[cpu].page is not None:
        flush_slab(machine, s, cpu)
    unfreeze_partials(machine, s, cpu)


@mirrors("mm/slub.c")
def flush_all(machine: Machine, s: KmemCache) -> None:
    """Let each CPU that has a slab of the cache give it up; it does so itself."""
    task = machine.current
    for cpu, c in enumerate(s.cpu_slab):
        if c.page is not None or c.partial:
            if cpu != machine.current.cpu:
                set_current(machine, cpu)
            __flush_cpu_slab(machine, s, cpu)
    if machine.current is not task:
        set_current(machine, task.cpu, task.flags, task.in_interrupt, task.rt_task, task.oom_victim)


# ---------------------------------------------------------------- shrink


@mirrors("mm/slub.c")
def __kmem_cache_shrink(machine: Machine, s: KmemCache) -> bool:
    """Free the empty slabs of a cache, and put the fullest of the others first, so that the emptiest may become empty.

    Kernel: mm/slub.c:__kmem_cache_shrink. Returns whether the cache has slabs left; one that waits for a grace period
    is none any more.
    """
    flush_all(machine, s)
    for nid in range(len(s.node)):
        __shrink_node(machine, s, nid)
    part = slab(machine)
    return any(page.slab_cache is s and page.pfn not in part.rcu for page in part.pages.values())


def __shrink_node(machine: Machine, s: KmemCache, nid: int) -> None:
    """One node of it. list_move turns each bucket round, and list_splice puts the buckets before the rest."""
    pages = [slab(machine).pages[pfn] for pfn in s.node[nid].partial]
    empty = [page for page in pages if not page.inuse]
    promoted = [page for page in pages if page.inuse and page.objects - page.inuse <= SHRINK_PROMOTE_MAX]
    promoted.sort(key=lambda page: page.inuse - page.objects)  # stable: what is moved first ends up last
    if machine.on:
        machine.trace.emit(ev.CacheShrunk(s.name, nid, len(pages), len(empty)))
    for page in empty:
        remove_partial(machine, page.pfn)
    for page in promoted:
        remove_partial(machine, page.pfn)
        add_partial(machine, page.pfn, False)
    for page in reversed(empty):
        discard_slab(machine, s, page)
