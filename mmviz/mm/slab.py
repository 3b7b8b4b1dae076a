"""SLAB: an array of free objects for each CPU, and slabs behind it.

    kmalloc                 kfree
      |  pop                  |  push                       another node's object -> the array kept for that node
      v                       v
    cpu array   [ o o o o o o ]        the object that came last goes first
      ^  refill: batchcount   |  full: the oldest batchcount
      |                       v
    shared array of the node  [ ... ]                       only with several CPUs
      ^                       |
    slabs of the node         partial (first), free         taken from its freelist, in the order that it says

Three rules:

1. A refill puts objects on the array one by one, and the last one is handed out first: a fresh slab gives its objects
   from the end of the batch downwards.
2. An array that was not used of late (touched) is refilled with 16 at most.
3. A slab goes back only if a node has more free objects than free_limit.

Left out: cache_reap, which trims arrays every two seconds; memory that is cleared (__GFP_ZERO); FREELIST_RANDOM;
objects of network reserves. A cache begins without slabs, as if its first owner had come this moment, and the kmalloc
caches are set up at their first use. A double free is always a KernelBug.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import KernelBug
from ..trace import mirrors
from .array_cache import slab_caches
from .slab_alloc import slab_alloc_node
from .slab_common import (
    KMALLOC_DMA,
    KMALLOC_RECLAIM,
    LIMITS,
    ZERO_SIZE_PTR,
    kmalloc_align,
    kmalloc_index,
    kmalloc_name,
    kmalloc_size,
    kmalloc_type,
    trace_kfree,
    trace_kmalloc_node,
)
from .slab_free import ___cache_free, virt_to_obj, whereabouts
from .slab_geometry import create_slab_cache

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/slab.c")
def __kmalloc_node(machine: Machine, size: int, flags: int, node: int) -> int:
    """An object of the size class, from a node if it can be.

    Parameters
    ----------
    size : int
        In bytes, at least 0.
    flags : int
        GFP_* and __GFP_* bits of `mmviz.kernel`.
    node : int
        A node, or NUMA_NO_NODE (-1) for that of the running CPU.

    Returns
    -------
    int
        The address; 16 (ZERO_SIZE_PTR) for no bytes; 0 if there is no object, or for more than 4 MiB.

    Notes
    -----
    Emits what `kmem_cache_alloc_node_trace` emits. Kernel: mm/slab.c:__kmalloc_node and __do_kmalloc_node at v5.4.
    """
    if size == 0:
        return ZERO_SIZE_PTR
    if size > LIMITS["SLAB"].max_cache_size:
        return 0
    cachep = kmalloc_cache(machine, kmalloc_type(flags), kmalloc_index(size, "SLAB"))
    return kmem_cache_alloc_node_trace(machine, cachep, flags, node, size)


@mirrors("mm/slab.c")
def kmem_cache_alloc_node_trace(machine: Machine, cachep: str, flags: int, nodeid: int, size: int) -> int:
    """An object of a cache of kmalloc.

    Parameters
    ----------
    cachep : str
        The name of the cache.
    size : int
        What was asked for, in bytes; for the tracepoint alone.

    Notes
    -----
    Emits the tracepoint kmalloc_node. Kernel: mm/slab.c:kmem_cache_alloc_node_trace at v5.4.
    """
    objp = slab_alloc_node(machine, cachep, flags, nodeid)
    trace_kmalloc_node(machine, objp, size, slab_caches(machine)[cachep].size, flags, nodeid)
    return objp


def kmalloc_cache(machine: Machine, type_: int, index: int) -> str:
    """The name of a cache of kmalloc; it is set up if this is its first use (kmalloc_caches[type][index])."""
    size = kmalloc_size(index)
    name = kmalloc_name(type_, size)
    if name not in slab_caches(machine):
        create_slab_cache(machine, name, size, kmalloc_align(size), type_ == KMALLOC_DMA, type_ == KMALLOC_RECLAIM)
    return name


# ---------------------------------------------------------------- the way back


@mirrors("mm/slab.c")
def kfree(machine: Machine, objp: int) -> None:
    """Give back what kmalloc handed out; NULL and ZERO_SIZE_PTR are left alone.

    Parameters
    ----------
    objp : int
        The address that kmalloc returned.

    Raises
    ------
    KernelBug
        If no object in use stands there: a plain v5.4 hands it out twice.

    Notes
    -----
    Emits the tracepoint kfree. Kernel: mm/slab.c:kfree at v5.4.
    """
    found = virt_to_obj(machine, objp) if objp > ZERO_SIZE_PTR else None
    if found is not None:
        __check_in_use(machine, *found, objp)
    trace_kfree(machine, objp)
    if found is not None:
        ___cache_free(machine, found[0], objp)


def __check_in_use(machine: Machine, cachep: str, page: int, index: int, objp: int) -> None:
    where = whereabouts(machine, cachep, page, index)
    if where != "in use":
        raise KernelBug(f"object {objp:#x} of {cachep} is free already ({where}); a plain v5.4 would say nothing here "
                        "and hand it out twice")


@mirrors("mm/slab.c", "__ksize")
def ksize(machine: Machine, objp: int) -> int:
    """The bytes that an object may use: all of its size class. KernelBug if no object of SLAB stands there.

    Kernel: mm/slab.c:__ksize at v5.4.
    """
    return slab_caches(machine)[virt_to_obj(machine, objp)[0]].object_size
