"""SLUB, the way out: from a cache to an object.

    kmem_cache_alloc_node_trace, kmem_cache_alloc_trace, __kmalloc, __kmalloc_node, kmem_cache_alloc
      slab_alloc_node            the fast path: the head of this CPU's list
        __slab_alloc             the list is empty, or of the wrong node
          ___slab_alloc          redo, new_slab, load_freelist: where does a list come from?
            get_freelist           1. what others freed into the cpu slab
                                   2. the CPU's partial list
            new_slab_objects
              get_partial          3. a node's partial list (slub_partial.py)
              new_slab             4. the page allocator (slub_page.py)

The fast path takes no lock and looks at no page: it reads the head of a list and writes the next. Everything else is
there to find the next list.

Left out: what an interrupt may have done in between (the transaction is tried again, ___slab_alloc looks at the list
once more): one request runs at a time. Pfmemalloc slabs, slub_debug, memory cgroups, fault injection
(should_failslab), KASAN, bulk requests.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..kernel import __GFP_COMP, __GFP_ZERO, NUMA_NO_NODE, PAGE_SIZE
from ..trace import mirrors
from . import slab_events as ev
from .get_free_pages import get_order
from .highmem import page_address
from .page_alloc import alloc_pages_node
from .slab_caches import kmalloc_large, kmalloc_slab
from .slab_common import LIMITS, ZERO_SIZE_PTR, trace_kmalloc_node, virt_to_page
from .slab_state import cmpxchg_double_slab, cpu_partial_pop, freelist_pop, set_cpu_page, slab, write_object
from .slab_types import KmemCache, SlabPage
from .slub_free import kfree, kmem_cache_free, ksize
from .slub_page import new_slab
from .slub_partial import deactivate_slab, get_freepointer, get_partial
from .zonelist import gfp_zone

if TYPE_CHECKING:
    from .machine import Machine

__all__ = ["__kmalloc", "__kmalloc_node", "kfree", "kmem_cache_alloc", "kmem_cache_alloc_node",
           "kmem_cache_alloc_node_trace", "kmem_cache_alloc_trace", "kmem_cache_free", "ksize"]
MAX_CACHE_SIZE = LIMITS["SLUB"].max_cache_size


# ---------------------------------------------------------------- the doors


@mirrors("mm/slub.c")
def kmem_cache_alloc_node_trace(machine: Machine, s: KmemCache, gfpflags: int, node: int, size: int) -> int:
    """kmalloc_node of a constant size: an object of the cache, near `node`.

    Kernel: mm/slub.c:kmem_cache_alloc_node_trace at v5.4 (CONFIG_TRACING and CONFIG_NUMA). Returns its address, or 0.
    """
    object = slab_alloc_node(machine, s, gfpflags, node)
    if machine.on:
        machine.trace.emit(ev.KmallocNode(object, size, s.size, gfpflags, node))
    return object


@mirrors("mm/slub.c")
def kmem_cache_alloc_trace(machine: Machine, s: KmemCache, gfpflags: int, size: int) -> int:
    """kmalloc of a constant size: an object of the cache.

    Kernel: mm/slub.c:kmem_cache_alloc_trace at v5.4 (CONFIG_TRACING). Returns its address, or 0.
    """
    object = slab_alloc(machine, s, gfpflags)
    if machine.on:
        machine.trace.emit(ev.Kmalloc(object, size, s.size, gfpflags))
    return object


@mirrors("mm/slub.c")
def kmem_cache_alloc(machine: Machine, cache: str, gfpflags: int) -> int:
    """Take an object of a cache.

    Parameters
    ----------
    cache : str
        The name of a cache, or one that was merged into another; KeyError if there is none.
    gfpflags : int
        GFP_* and __GFP_* bits.

    Returns
    -------
    int
        The address of the object, or 0.

    Notes
    -----
    Kernel: mm/slub.c:kmem_cache_alloc at v5.4.
    """
    parts: Any = machine.parts
    try:
        s = parts["slab"].caches[cache]
    except KeyError:
        s = slab(machine).cache(cache)
    object = slab_alloc(machine, s, gfpflags)
    if machine.on:
        machine.trace.emit(ev.KmemCacheAlloc(object, s.object_size, s.size, gfpflags))
    return object


@mirrors("mm/slub.c")
def kmem_cache_alloc_node(machine: Machine, cache: str, gfpflags: int, node: int) -> int:
    """Take an object of a cache, near `node`: as `kmem_cache_alloc` (mm/slub.c:kmem_cache_alloc_node, CONFIG_NUMA)."""
    if not machine.config.numa:
        return kmem_cache_alloc(machine, cache, gfpflags)
    s = slab(machine).cache(cache)
    object = slab_alloc_node(machine, s, gfpflags, node)
    if machine.on:
        machine.trace.emit(ev.KmemCacheAllocNode(object, s.object_size, s.size, gfpflags, node))
    return object


@mirrors("mm/slub.c")
def __kmalloc(machine: Machine, size: int, flags: int) -> int:
    """kmalloc of a size that is known at run time only.

    Kernel: mm/slub.c:__kmalloc at v5.4. Returns an address, ZERO_SIZE_PTR for 0 bytes, or 0.
    """
    if size > MAX_CACHE_SIZE:
        return kmalloc_large(machine, size, flags)
    s = kmalloc_slab(machine, size, flags)
    if s is None:
        return ZERO_SIZE_PTR
    object = slab_alloc(machine, s, flags)
    if machine.on:
        machine.trace.emit(ev.Kmalloc(object, size, s.size, flags))
    return object


@mirrors("mm/slub.c")
def __kmalloc_node(machine: Machine, size: int, flags: int, node: int) -> int:
    """kmalloc_node of a size that is known at run time only.

    Kernel: mm/slub.c:__kmalloc_node at v5.4 (CONFIG_NUMA; without it, it is __kmalloc).
    """
    if not machine.config.numa:
        return __kmalloc(machine, size, flags)
    if size > MAX_CACHE_SIZE:
        return kmalloc_large_node(machine, size, flags, node)
    s = kmalloc_slab(machine, size, flags)
    if s is None:
        return ZERO_SIZE_PTR
    object = slab_alloc_node(machine, s, flags, node)
    trace_kmalloc_node(machine, object, size, s.size, flags, node)
    return object


@mirrors("mm/slub.c")
def kmalloc_large_node(machine: Machine, size: int, flags: int, node: int) -> int:
    """Too large for a cache: whole pages, of this node first. Kernel: mm/slub.c:kmalloc_large_node."""
    order = get_order(size)
    if machine.on:
        machine.trace.emit(ev.LargeOrderChosen(size, order))
    pfn = alloc_pages_node(machine, node, flags | __GFP_COMP, order)
    addr = 0 if pfn is None else page_address(machine, pfn)
    trace_kmalloc_node(machine, addr, size, PAGE_SIZE << order, flags, node)
    return addr


# ---------------------------------------------------------------- the fast path


@mirrors("mm/slub.c")
def slab_alloc(machine: Machine, s: KmemCache, gfpflags: int) -> int:
    """slab_alloc_node without a node."""
    return slab_alloc_node(machine, s, gfpflags, NUMA_NO_NODE)


@mirrors("mm/slub.c")
def slab_alloc_node(machine: Machine, s: KmemCache, gfpflags: int, node: int) -> int:
    """The head of this CPU's free list, if there is one and its slab is of the right node; else the slow path.

    Kernel: mm/slub.c:slab_alloc_node. Returns the object, or 0.
    """
    cpu = machine.current.cpu
    c = s.cpu_slab[cpu]
    object = c.freelist
    slow = not object or (node != NUMA_NO_NODE and not node_match(machine, c.page, node))
    if machine.on:
        machine.trace.emit(ev.FreelistFound(s.name, cpu, object, node, not slow))
    if not slow:
        try:
            freelist_pop(machine, s, cpu, object)
        except KeyError:
            get_freepointer(c.page, object)
    else:
        object = __slab_alloc(machine, s, gfpflags, node)
    if gfpflags & __GFP_ZERO and object:
        __clear(machine, s, object)
    return object


def __clear(machine: Machine, s: KmemCache, object: int) -> None:
    """memset(object, 0, object_size): the free pointer goes too, unless it lies behind the object."""
    if s.offset < s.object_size:
        write_object(machine, slab(machine).pages[virt_to_page(machine, object)].pfn, object, 0)


# ---------------------------------------------------------------- the slow path


@mirrors("mm/slub.c")
def __slab_alloc(machine: Machine, s: KmemCache, gfpflags: int, node: int) -> int:
    """___slab_alloc with interrupts off.

    Raises
    ------
    ValueError
        If there is no such node, or zone bits of `gfpflags` clash; nothing was changed.
    """
    if not NUMA_NO_NODE <= node < len(machine.node):
        raise ValueError(f"node must be 0 to {len(machine.node) - 1} or NUMA_NO_NODE, got {node}")
    gfp_zone(machine, gfpflags)
    return ___slab_alloc(machine, s, gfpflags, node)


@mirrors("mm/slub.c")
def ___slab_alloc(machine: Machine, s: KmemCache, gfpflags: int, node: int) -> int:
    """Find this CPU a free list, and take the first object of it.

    Notes
    -----
    The kernel's labels: `redo` looks at the cpu slab, `new_slab` gets another one, `load_freelist` takes the object.
    Kernel: mm/slub.c:___slab_alloc at v5.4.
    """
    cpu = machine.current.cpu
    c = s.cpu_slab[cpu]
    freelist = 0
    while not freelist:
        if c.page is not None:
            freelist = __redo(machine, s, c.page, node, cpu)
            if freelist:
                break
        __label(machine, "new_slab", s, cpu)
        if c.partial:
            pfn = c.partial[0]
            cpu_partial_pop(machine, s.name, cpu, pfn)
            set_cpu_page(machine, s.name, cpu, pfn)
            continue
        freelist = new_slab_objects(machine, s, gfpflags, node)
        if not freelist:
            if machine.on:
                machine.trace.emit(ev.SlabOutOfMemory(s.name, gfpflags, node))
            return 0
    __label(machine, "load_freelist", s, cpu)
    get_freepointer(c.page, freelist)
    freelist_pop(machine, s, cpu, freelist)
    return freelist


def __label(machine: Machine, label: str, s: KmemCache, cpu: int) -> None:
    if machine.on:
        machine.trace.emit(ev.LabelReached(label, s.name, cpu))


def __redo(machine: Machine, s: KmemCache, page: SlabPage, node: int, cpu: int) -> int:
    """From the label redo on: the list of the cpu slab; 0 if it is of the wrong node, or full, and was let go."""
    __label(machine, "redo", s, cpu)
    c = s.cpu_slab[cpu]
    if not node_match(machine, page, node):
        deactivate_slab(machine, s, page, c.freelist, cpu)
        return 0
    freelist = get_freelist(machine, page)
    if not freelist:
        set_cpu_page(machine, s.name, cpu, -1)
    return freelist


def node_match(machine: Machine, page: SlabPage | None, node: int) -> bool:
    """Is the slab of that node, or will any do (-1)? (mm/slub.c:node_match)"""
    assert page is not None
    match = node == NUMA_NO_NODE or page.nid == node
    if machine.on:
        machine.trace.emit(ev.NodeMatched(page.pfn, page.nid, node, match))
    return match


@mirrors("mm/slub.c")
def get_freelist(machine: Machine, page: SlabPage) -> int:
    """Take all that others freed into the cpu slab; if that is nothing, the slab is full and is let go (unfrozen)."""
    freelist = page.freelist
    cmpxchg_double_slab(machine, page.pfn, 0, page.objects, bool(freelist))
    return freelist


@mirrors("mm/slub.c")
def new_slab_objects(machine: Machine, s: KmemCache, flags: int, node: int) -> int:
    """A slab for this CPU, from a node's partial list or new; returns its free list, which the page gives up."""
    freelist = get_partial(machine, s, flags, node)
    if freelist:
        return freelist
    page = new_slab(machine, s, flags, node)
    if page is None:
        return 0
    cpu, freelist = machine.current.cpu, page.freelist
    cmpxchg_double_slab(machine, page.pfn, 0, page.inuse, True)
    set_cpu_page(machine, s.name, cpu, page.pfn)
    return freelist
