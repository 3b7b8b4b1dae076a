"""SLAB, the way out: this CPU's array, then the node's slabs, then other nodes, then new pages.

    slab_alloc_node
      ____cache_alloc           this CPU's array, if the wanted node is its own
        cache_alloc_refill      empty: the shared array, else partial slabs, else free ones, else a new one
      ____cache_alloc_node      another node, or nothing was found: one object from the slabs of that node
        fallback_alloc          not there either: the zonelist

Left out: see slab.py.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    __GFP_ATOMIC,
    __GFP_HARDWALL,
    __GFP_HIGH,
    __GFP_MEMALLOC,
    __GFP_NOFAIL,
    __GFP_NOMEMALLOC,
    __GFP_NORETRY,
    __GFP_NOWARN,
    __GFP_RECLAIM,
    __GFP_RETRY_MAYFAIL,
    __GFP_THISNODE,
    GFP_KERNEL,
    NUMA_NO_NODE,
)
from ..trace import mirrors
from . import array_cache_events as ev
from .array_cache import (
    ac_pop,
    ac_push,
    set_colour_next,
    set_free_objects,
    set_touched,
    slab_caches,
    slab_get_obj,
    slab_grown,
    slab_list_add,
    slab_list_add_tail,
    slab_list_del,
    transfer_objects,
)
from .page_alloc import alloc_pages_node
from .page_ref import page_zone
from .zonelist import for_next_zone_zonelist_nodemask, gfp_zone, node_zonelist

if TYPE_CHECKING:
    from .machine import Machine

BATCHREFILL_LIMIT = 16
GFP_RECLAIM_MASK = (__GFP_RECLAIM | __GFP_HIGH | GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL |
                    __GFP_NOFAIL | __GFP_NORETRY | __GFP_MEMALLOC | __GFP_NOMEMALLOC | __GFP_ATOMIC)
GFP_CONSTRAINT_MASK = __GFP_HARDWALL | __GFP_THISNODE


def gfp_exact_node(machine: Machine, flags: int) -> int:
    """The flags for a slab of one node alone: no reclaim, no warning; on a UMA build only __GFP_NOFAIL is dropped."""
    if not machine.config.numa:
        return flags & ~__GFP_NOFAIL
    return (flags | __GFP_THISNODE | __GFP_NOWARN) & ~(__GFP_RECLAIM | __GFP_NOFAIL)


def numa_mem_id(machine: Machine) -> int:
    """The node of the running CPU."""
    return machine.cpu_to_node[machine.current.cpu]


def cpu_cache_get(machine: Machine) -> str:
    """The name of the running CPU's array."""
    return f"cpu {machine.current.cpu}"


# ---------------------------------------------------------------- allocation


@mirrors("mm/slab.c")
def slab_alloc_node(machine: Machine, cachep: str, flags: int, nodeid: int) -> int:
    """An object of a cache, from this CPU's array if its node will do.

    Parameters
    ----------
    cachep : str
        The name of the cache.
    flags : int
        GFP_* and __GFP_* bits of `mmviz.kernel`.
    nodeid : int
        A node, or NUMA_NO_NODE (-1) for that of the running CPU.

    Returns
    -------
    int
        The address, or 0.

    Notes
    -----
    Emits CacheNodeChosen. Kernel: mm/slab.c:slab_alloc_node at v5.4; with NUMA_NO_NODE also slab_alloc, whose
    memory policy (spread, interleave) is left out.
    """
    slab_node = numa_mem_id(machine)
    wanted = slab_node if nodeid == NUMA_NO_NODE else nodeid
    if machine.on:
        machine.trace.emit(ev.CacheNodeChosen(cachep, wanted, wanted == slab_node))
    objp = ____cache_alloc(machine, cachep, flags) if wanted == slab_node else 0
    return objp or ____cache_alloc_node(machine, cachep, flags, wanted)


@mirrors("mm/slab.c")
def ____cache_alloc(machine: Machine, cachep: str, flags: int) -> int:
    """The object on top of this CPU's array; an empty array is refilled first.

    Kernel: mm/slab.c:____cache_alloc at v5.4.
    """
    array = cpu_cache_get(machine)
    ac = slab_caches(machine)[cachep].array[array]
    if not ac.entry:
        return cache_alloc_refill(machine, cachep, flags)
    if not ac.touched:
        set_touched(machine, cachep, array, 1)
    objp = ac.entry[-1]
    ac_pop(machine, cachep, array, objp)
    return objp


@mirrors("mm/slab.c")
def cache_alloc_refill(machine: Machine, cachep: str, flags: int) -> int:
    """Fill this CPU's array: from the shared array, else from slabs, else from a new slab; then take the top.

    Returns
    -------
    int
        The address, or 0.

    Notes
    -----
    Emits ArrayFoundEmpty. Kernel: mm/slab.c:cache_alloc_refill at v5.4.
    """
    cache, array, node = slab_caches(machine)[cachep], cpu_cache_get(machine), numa_mem_id(machine)
    ac, shared = cache.array[array], cache.array.get(f"shared {node}")
    batchcount = ac.batchcount if ac.touched else min(ac.batchcount, BATCHREFILL_LIMIT)
    if machine.on:
        machine.trace.emit(ev.ArrayFoundEmpty(cachep, array, batchcount, ac.touched))
    if shared is not None and shared.entry:
        nr = min(len(shared.entry), batchcount, ac.limit)
        transfer_objects(machine, cachep, f"shared {node}", array, nr)
        if not shared.touched:
            set_touched(machine, cachep, f"shared {node}", 1)
    elif cache.node[node].free_objects:
        __refill_from_slabs(machine, cachep, array, node, batchcount)
    if not ac.entry:
        __refill_from_new_slab(machine, cachep, array, flags, node, batchcount)
    if not ac.entry:
        return 0
    if not ac.touched:
        set_touched(machine, cachep, array, 1)
    objp = ac.entry[-1]
    ac_pop(machine, cachep, array, objp)
    return objp


def __refill_from_slabs(machine: Machine, cachep: str, array: str, node: int, batchcount: int) -> None:
    """The loop of cache_alloc_refill under the node's lock, to the label must_grow."""
    cache = slab_caches(machine)[cachep]
    left = batchcount
    while left > 0 and (pfn := get_first_slab(machine, cachep, node)) is not None:
        left = alloc_block(machine, cachep, array, pfn, left)
        fixup_slab_list(machine, cachep, node, pfn)
    set_free_objects(machine, cachep, node, cache.node[node].free_objects - len(cache.array[array].entry))


def __refill_from_new_slab(machine: Machine, cachep: str, array: str, flags: int, node: int, batchcount: int) -> None:
    """The label direct_grow of cache_alloc_refill: a slab of this node alone."""
    pfn = cache_grow_begin(machine, cachep, gfp_exact_node(machine, flags), node)
    if pfn is not None:
        alloc_block(machine, cachep, array, pfn, batchcount)
        cache_grow_end(machine, cachep, pfn)


@mirrors("mm/slab.c")
def alloc_block(machine: Machine, cachep: str, ac: str, page: int, batchcount: int) -> int:
    """Put up to `batchcount` objects of a slab on an array; returns how many are still wanted.

    Kernel: mm/slab.c:alloc_block at v5.4.
    """
    slab = slab_caches(machine)[cachep].pages[page]
    taken = slab.freelist[slab.active:][:batchcount]
    for index in taken:
        slab_get_obj(machine, cachep, page, index)
        ac_push(machine, cachep, ac, index_to_obj(machine, cachep, page, index))
    return batchcount - len(taken)


@mirrors("mm/slab.c")
def get_first_slab(machine: Machine, cachep: str, nid: int) -> int | None:
    """The first partial slab of a node, else the first free one; None if there is neither.

    Notes
    -----
    Emits FirstSlabChosen. Kernel: mm/slab.c:get_first_slab at v5.4.
    """
    slabs = slab_caches(machine)[cachep].node[nid].slabs
    name = next((name for name in ("partial", "free") if slabs[name]), "")
    if machine.on:
        machine.trace.emit(ev.FirstSlabChosen(cachep, nid, name, slabs[name][0] if name else -1))
    return slabs[name][0] if name else None


@mirrors("mm/slab.c")
def fixup_slab_list(machine: Machine, cachep: str, nid: int, page: int) -> None:
    """Put a slab that objects were taken from at the head of the list it belongs to now: full, or partial.

    Kernel: mm/slab.c:fixup_slab_list at v5.4.
    """
    cache = slab_caches(machine)[cachep]
    listed = next((name for name, pfns in cache.node[nid].slabs.items() if page in pfns), "")
    if listed:
        slab_list_del(machine, cachep, nid, listed, page)
    slab_list_add(machine, cachep, nid, "full" if cache.pages[page].active == cache.num else "partial", page)


# ---------------------------------------------------------------- other nodes


@mirrors("mm/slab.c")
def ____cache_alloc_node(machine: Machine, cachep: str, flags: int, nodeid: int) -> int:
    """One object from the slabs of a node, past all arrays; a new slab if need be, else another node.

    Kernel: mm/slab.c:____cache_alloc_node at v5.4.
    """
    node = slab_caches(machine)[cachep].node[nodeid]
    pfn = get_first_slab(machine, cachep, nodeid)
    if pfn is not None:
        objp = __take_one(machine, cachep, pfn)
        set_free_objects(machine, cachep, nodeid, node.free_objects - 1)
        fixup_slab_list(machine, cachep, nodeid, pfn)
        return objp
    pfn = cache_grow_begin(machine, cachep, gfp_exact_node(machine, flags), nodeid)
    if pfn is None:
        return fallback_alloc(machine, cachep, flags)
    objp = __take_one(machine, cachep, pfn)
    cache_grow_end(machine, cachep, pfn)
    return objp


def __take_one(machine: Machine, cachep: str, page: int) -> int:
    """The next object of a slab."""
    slab = slab_caches(machine)[cachep].pages[page]
    index = slab.freelist[slab.active]
    slab_get_obj(machine, cachep, page, index)
    return index_to_obj(machine, cachep, page, index)


@mirrors("mm/slab.c")
def fallback_alloc(machine: Machine, cache: str, flags: int) -> int:
    """The asked node has nothing: walk the zonelist for free objects, then for pages; 0 with __GFP_THISNODE.

    Notes
    -----
    Emits FallbackNodeTried for each zone. Kernel: mm/slab.c:fallback_alloc at v5.4.
    """
    if flags & __GFP_THISNODE:
        return 0
    local = numa_mem_id(machine)
    zonelist = node_zonelist(machine, local, flags)
    for zone in for_next_zone_zonelist_nodemask(zonelist, gfp_zone(machine, flags), None):
        free_objects = slab_caches(machine)[cache].node[zone.nid].free_objects
        if machine.on:
            machine.trace.emit(ev.FallbackNodeTried(cache, zone.nid, free_objects))
        if free_objects:
            return ____cache_alloc_node(machine, cache, gfp_exact_node(machine, flags), zone.nid)
    pfn = cache_grow_begin(machine, cache, flags, local)
    if pfn is None:
        return 0
    cache_grow_end(machine, cache, pfn)
    return ____cache_alloc_node(machine, cache, gfp_exact_node(machine, flags), page_zone(machine, pfn).nid)


# ---------------------------------------------------------------- new slabs


@mirrors("mm/slab.c")
def cache_grow_begin(machine: Machine, cachep: str, flags: int, nodeid: int) -> int | None:
    """Ask for the pages of a slab, and give it the next colour; it is on no list yet. None if there are no pages.

    Notes
    -----
    Emits SlabPagesAsked. Kernel: mm/slab.c:cache_grow_begin and kmem_getpages at v5.4.
    """
    cache = slab_caches(machine)[cachep]
    gfp = flags & (GFP_CONSTRAINT_MASK | GFP_RECLAIM_MASK) | cache.allocflags
    pfn = alloc_pages_node(machine, nodeid, gfp, cache.gfporder)
    if machine.on:
        machine.trace.emit(ev.SlabPagesAsked(cachep, nodeid, cache.gfporder, -1 if pfn is None else pfn))
    if pfn is None:
        return None
    nid = page_zone(machine, pfn).nid
    following = cache.node[nid].colour_next + 1
    set_colour_next(machine, cachep, nid, following if following < cache.colour else 0)
    slab_grown(machine, cachep, nid, pfn, cache.node[nid].colour_next * cache.colour_off)
    return pfn


@mirrors("mm/slab.c")
def cache_grow_end(machine: Machine, cachep: str, page: int) -> None:
    """Put a new slab on a list of its node, and count what is free in it.

    Kernel: mm/slab.c:cache_grow_end at v5.4.
    """
    cache, nid = slab_caches(machine)[cachep], page_zone(machine, page).nid
    active, free_objects = cache.pages[page].active, cache.node[nid].free_objects
    if active:
        fixup_slab_list(machine, cachep, nid, page)
    else:
        slab_list_add_tail(machine, cachep, nid, "free", page)
    set_free_objects(machine, cachep, nid, free_objects + cache.num - active)


def index_to_obj(machine: Machine, cachep: str, page: int, index: int) -> int:
    """The address of an object of a slab."""
    cache = slab_caches(machine)[cachep]
    return cache.pages[page].s_mem + index * cache.size
