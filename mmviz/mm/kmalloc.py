"""kmalloc: memory by the byte, whoever serves it.

One call, three allocators; the kernel's build chooses (`Config.slab`):

    kmalloc_node(size, gfp, node)
      #ifndef CONFIG_SLOB
        size is constant, up to the largest class:     kmem_cache_alloc_node_trace(kmalloc_caches[type][index], ...)
      #endif
      __kmalloc_node(size, gfp, node)                  everything else, and SLOB always

In the kernel the compiler knows whether a size is constant, and then finds the class itself. Here every size counts as
constant; call `__kmalloc_node` for the other way. Both find the same object.
"""
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..kernel import __GFP_DMA, __GFP_RECLAIMABLE, __GFP_ZERO, NUMA_NO_NODE
from ..trace import mirrors
from . import slab_events as ev
from .slab_caches import kmalloc_large
from .slab_common import LIMITS, SIZE_INDEX, check_size, kmalloc_slab_index, kmalloc_type
from .slab_state import slab
from .slab_types import KmemCache
from .slub import __kmalloc_node, kmem_cache_alloc_node_trace, kmem_cache_alloc_trace
from .slub_free import kfree as slub_kfree

if TYPE_CHECKING:
    from .machine import Machine

MAX_CACHE_SIZE = LIMITS["SLUB"].max_cache_size
KMALLOC_TYPED = __GFP_DMA | __GFP_RECLAIMABLE


def allocator(machine: Machine) -> Any:
    """The module that serves kmalloc on this machine: slub, slab or slob."""
    return import_module(f"{__package__}.{machine.config.slab.lower()}")


@mirrors("include/linux/slab.h")
def kmalloc_node(machine: Machine, size: int, gfp: int, node: int = NUMA_NO_NODE) -> int:
    """Ask for `size` bytes, near a node: one call for SLUB, SLAB and SLOB.

    Parameters
    ----------
    size : int
        In bytes, at least 0.
    gfp : int
        GFP_* and __GFP_* bits of `mmviz.kernel`.
    node : int
        A node, preferred (or with __GFP_THISNODE demanded); -1 is NUMA_NO_NODE: near this CPU.

    Returns
    -------
    int
        An address in the direct map; 16 (ZERO_SIZE_PTR) for 0 bytes; 0 if there is no memory.

    Raises
    ------
    ValueError
        If the size is negative, or there is no such node.

    Notes
    -----
    Emits SizeClassChosen and what the allocator says. Kernel: include/linux/slab.h:kmalloc_node at v5.4. On a build
    without CONFIG_NUMA the node is ignored.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> [hex(kmalloc_node(machine, 64, mv.GFP_KERNEL)) for _ in range(2)]
    ['0xffff888001000000', '0xffff888001000040']
    """
    config = machine.config
    if config.slab != "SLUB":
        return __kmalloc_node_of_others(machine, size, gfp, node)
    if not 0 < size <= MAX_CACHE_SIZE:
        return __kmalloc_node(machine, size, gfp, node)
    s = __class_of(machine, size, gfp)
    if not config.numa:
        return kmem_cache_alloc_trace(machine, s, gfp, size)
    return kmem_cache_alloc_node_trace(machine, s, gfp, node, size)


def __class_of(machine: Machine, size: int, gfp: int) -> KmemCache:
    """kmalloc_caches[kmalloc_type(gfp)][kmalloc_index(size)]: what the compiler makes of a constant size."""
    index = SIZE_INDEX[(size - 1) >> 3]
    type_ = kmalloc_type(gfp, "DMA" in machine.config.zone_names) if gfp & KMALLOC_TYPED else 0
    parts: Any = machine.parts
    try:
        s: KmemCache | None = parts["slab"].kmalloc_caches[type_][index]
    except KeyError:  # the first request of all
        s = slab(machine).kmalloc_caches[type_][index]
    if s is None:
        raise ValueError(f"size must be of a cache that the snapshot selected, got {size} bytes")
    if machine.on:
        machine.trace.emit(ev.SizeClassChosen(size, gfp, index, s.name))
    return s


def __kmalloc_node_of_others(machine: Machine, size: int, gfp: int, node: int) -> int:
    """The same for SLAB, which has size classes of its own, and SLOB, which has none."""
    wanted = node if machine.config.numa else NUMA_NO_NODE
    if not NUMA_NO_NODE <= wanted < len(machine.node):
        raise ValueError(f"node must be 0 to {len(machine.node) - 1} or NUMA_NO_NODE, got {node}")
    module, limits = allocator(machine), LIMITS[machine.config.slab]
    if machine.config.slab == "SLOB" or not 0 < size <= limits.max_cache_size:
        check_size(size)
        return int(module.__kmalloc_node(machine, size, gfp, wanted))
    index = kmalloc_slab_index(size, machine.config.slab)
    cache = module.kmalloc_cache(machine, kmalloc_type(gfp, "DMA" in machine.config.zone_names), index)
    if machine.on:
        machine.trace.emit(ev.SizeClassChosen(size, gfp, index, str(cache)))
    return int(module.kmem_cache_alloc_node_trace(machine, cache, gfp, wanted, size))


@mirrors("include/linux/slab.h")
def kmalloc(machine: Machine, size: int, gfp: int) -> int:
    """Ask for `size` bytes.

    Parameters
    ----------
    size, gfp : int
        As `kmalloc_node`, and so are what is returned and raised.

    Notes
    -----
    Kernel: include/linux/slab.h:kmalloc at v5.4. SLAB and SLOB are asked as by `kmalloc_node` without a node.

    Examples
    --------
    >>> import mmviz as mv
    >>> hex(kmalloc(mv.toy(4), 100, mv.GFP_KERNEL)), kmalloc(mv.toy(4), 0, mv.GFP_KERNEL)
    ('0xffff888001000000', 16)
    """
    if machine.config.slab != "SLUB" or size <= 0:
        return kmalloc_node(machine, size, gfp)
    if size > MAX_CACHE_SIZE:
        return kmalloc_large(machine, size, gfp)
    return kmem_cache_alloc_trace(machine, __class_of(machine, size, gfp), gfp, size)


def kzalloc(machine: Machine, size: int, gfp: int) -> int:
    """kmalloc, filled with zeros (include/linux/slab.h:kzalloc)."""
    return kmalloc(machine, size, gfp | __GFP_ZERO)


def kfree(machine: Machine, x: int) -> None:
    """Give back what kmalloc or kmalloc_node gave; 0 and ZERO_SIZE_PTR are allowed and do nothing.

    Parameters
    ----------
    x : int
        The address that was returned.

    Raises
    ------
    KernelBug
        If nobody holds memory there.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> first = mv.kmalloc(machine, 64, mv.GFP_KERNEL)
    >>> kfree(machine, first)
    >>> mv.kmalloc(machine, 64, mv.GFP_KERNEL) == first
    True
    """
    if machine.config.slab == "SLUB":
        slub_kfree(machine, x)
    else:
        allocator(machine).kfree(machine, x)


def ksize(machine: Machine, x: int) -> int:
    """The bytes that may be used of what kmalloc gave.

    Parameters
    ----------
    x : int
        The address that was returned.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> ksize(machine, mv.kmalloc(machine, 100, mv.GFP_KERNEL))
    128
    """
    return int(allocator(machine).ksize(machine, x))
