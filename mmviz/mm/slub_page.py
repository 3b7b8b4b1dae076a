"""From pages to a slab and back: where SLUB meets the page allocator.

A new slab is asked for without effort first: the order that the cache would like, and no reclaim for it if a smaller
one would do. If that fails, the smallest order that holds one object, with all that the caller allows.

    the cache's order, __GFP_NOWARN | __GFP_NORETRY, no reclaim     ->  got it: oo.objects
                                                            refused ->  min order, the caller's own flags

An empty slab goes back as it came, as one block; of a cache with SLAB_TYPESAFE_BY_RCU only when nobody can still be
looking at its objects.

Left out: pfmemalloc slabs, memory cgroups, the counters NR_SLAB_* (sums of the events here), when a grace period ends.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    __GFP_ATOMIC,
    __GFP_BITS_MASK,
    __GFP_DIRECT_RECLAIM,
    __GFP_DMA32,
    __GFP_FS,
    __GFP_HARDWALL,
    __GFP_HIGH,
    __GFP_HIGHMEM,
    __GFP_IO,
    __GFP_MEMALLOC,
    __GFP_NOFAIL,
    __GFP_NOMEMALLOC,
    __GFP_NORETRY,
    __GFP_NOWARN,
    __GFP_RECLAIM,
    __GFP_RETRY_MAYFAIL,
    __GFP_THISNODE,
    NUMA_NO_NODE,
)
from ..trace import mirrors
from . import events
from . import slab_events as ev
from .get_free_pages import alloc_pages
from .page_alloc import alloc_pages_node
from .page_free import __free_pages
from .slab_common import SLAB_TYPESAFE_BY_RCU
from .slab_state import call_rcu, clear_page_slab, get_random_int, lay_freelist, set_page_slab, slab
from .slab_types import KmemCache, OrderObjects, SlabPage

if TYPE_CHECKING:
    from .machine import Machine

# mm/internal.h
GFP_RECLAIM_MASK = (__GFP_RECLAIM | __GFP_HIGH | __GFP_IO | __GFP_FS | __GFP_NOWARN | __GFP_RETRY_MAYFAIL
                    | __GFP_NOFAIL | __GFP_NORETRY | __GFP_MEMALLOC | __GFP_NOMEMALLOC | __GFP_ATOMIC)
GFP_CONSTRAINT_MASK = __GFP_HARDWALL | __GFP_THISNODE
GFP_SLAB_BUG_MASK = __GFP_DMA32 | __GFP_HIGHMEM | ~__GFP_BITS_MASK


@mirrors("mm/slub.c")
def new_slab(machine: Machine, s: KmemCache, flags: int, node: int) -> SlabPage | None:
    """A slab with a full free list, that is on no list yet; None if there is no page.

    Kernel: mm/slub.c:new_slab. A zone that a cache cannot have (DMA32, HighMem) is warned of and dropped.
    """
    if flags & GFP_SLAB_BUG_MASK and machine.on:
        machine.trace.emit(events.Warned(f"Unexpected gfp: {flags & GFP_SLAB_BUG_MASK & __GFP_BITS_MASK:#x}"))
    return allocate_slab(machine, s, flags & (GFP_RECLAIM_MASK | GFP_CONSTRAINT_MASK), node)


@mirrors("mm/slub.c")
def allocate_slab(machine: Machine, s: KmemCache, flags: int, node: int) -> SlabPage | None:
    """Get the pages and link their objects; it is frozen, for the CPU that asks will own it.

    Kernel: mm/slub.c:allocate_slab.
    """
    gfp = flags | s.allocflags
    eager = (gfp | __GFP_NOWARN | __GFP_NORETRY) & ~__GFP_NOFAIL
    if eager & __GFP_DIRECT_RECLAIM and s.oo.order > s.min.order:
        eager = (eager | __GFP_NOMEMALLOC) & ~__GFP_RECLAIM
    oo = s.oo
    pfn = alloc_slab_page(machine, s, eager, node, oo)
    if pfn is None:
        oo = s.min
        pfn = alloc_slab_page(machine, s, gfp, node, oo)
        if pfn is None:
            return None
    set_page_slab(machine, pfn, s.name, oo.order, oo.objects)
    if not shuffle_freelist(machine, s, pfn):
        lay_freelist(machine, pfn, -1)
    return slab(machine).pages[pfn]


@mirrors("mm/slub.c")
def alloc_slab_page(machine: Machine, s: KmemCache, flags: int, node: int, oo: OrderObjects) -> int | None:
    """Ask the page allocator: by the policy of the task, or with a node given, that node first."""
    if node == NUMA_NO_NODE:
        pfn = alloc_pages(machine, flags, oo.order)
    else:
        pfn = alloc_pages_node(machine, node, flags, oo.order)
    if machine.on:
        machine.trace.emit(ev.SlabOrderTried(s.name, oo.order, flags, -1 if pfn is None else pfn))
    return pfn


@mirrors("mm/slub.c")
def shuffle_freelist(machine: Machine, s: KmemCache, pfn: int) -> bool:
    """CONFIG_SLAB_FREELIST_RANDOM: link the objects along the cache's random sequence, from a random place on.

    Kernel: mm/slub.c:shuffle_freelist. False without it: then they are linked upwards.
    """
    page = slab(machine).pages[pfn]
    if not s.random_seq or page.objects < 2:
        return False
    lay_freelist(machine, pfn, get_random_int(machine, len(s.random_seq)))
    return True


# ---------------------------------------------------------------- back


@mirrors("mm/slub.c")
def discard_slab(machine: Machine, s: KmemCache, page: SlabPage) -> None:
    """Let an empty slab go."""
    if machine.on:
        machine.trace.emit(ev.SlabDiscarded(s.name, page.pfn, page.order))
    free_slab(machine, s, page)


@mirrors("mm/slub.c")
def free_slab(machine: Machine, s: KmemCache, page: SlabPage) -> None:
    """At once, or when a grace period has passed (`rcu_free_slab`)."""
    if s.flags & SLAB_TYPESAFE_BY_RCU:
        call_rcu(machine, page.pfn)
    else:
        __free_slab(machine, s, page)


@mirrors("mm/slub.c")
def __free_slab(machine: Machine, s: KmemCache, page: SlabPage) -> None:
    """The pages are no slab any more, and go back to the page allocator as one block."""
    clear_page_slab(machine, page.pfn)
    __free_pages(machine, page.pfn, page.order)


@mirrors("mm/slub.c")
def rcu_free_slab(machine: Machine, pfn: int) -> None:
    """The grace period of a slab has passed: free it. Time is not modelled, so you say when.

    Raises
    ------
    ValueError
        If the slab does not wait for that.
    """
    part = slab(machine)
    if pfn not in part.rcu:
        raise ValueError(f"pfn must be one of the slabs that wait, {[hex(each) for each in part.rcu]}, got {pfn:#x}")
    page = part.pages[pfn]
    __free_slab(machine, page.slab_cache, page)
