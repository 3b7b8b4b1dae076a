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

from ..kernel import __GFP_ZERO, NUMA_NO_NODE
from . import slab_events as ev
from .slab_caches import kmalloc_large
from .slab_common import LIMITS, ZERO_SIZE_PTR, kmalloc_slab_index, kmalloc_type

if TYPE_CHECKING:
    from .machine import Machine

_MODULES: dict[str, Any] = {}  # the allocators in use: "SLUB" -> mmviz.mm.slub


def allocator(machine: Machine) -> Any:
    """The module that serves kmalloc on this machine: slub, slab or slob."""
    name = machine.config.slab
    if name not in _MODULES:
        _MODULES[name] = import_module(f"{__package__}.{name.lower()}")
    return _MODULES[name]


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
    slab = machine.config.slab
    module = _MODULES.get(slab) or allocator(machine)
    if size <= 0 or slab == "SLOB" or size > LIMITS[slab].max_cache_size:
        if size < 0:
            raise ValueError(f"size must be at least 0 bytes, got {size}")
        return ZERO_SIZE_PTR if size == 0 else int(module.__kmalloc_node(machine, size, gfp, node))
    index, type_ = kmalloc_slab_index(size, slab), kmalloc_type(gfp, "DMA" in machine.config.zone_names)
    s = module.kmalloc_cache(machine, type_, index)
    if machine.on:
        machine.trace.emit(ev.SizeClassChosen(size, gfp, index, s.name))
    if machine.config.numa:
        return int(module.kmem_cache_alloc_node_trace(machine, s, gfp, node, size))
    return int(module.kmem_cache_alloc_trace(machine, s, gfp, size))


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
    if size > LIMITS["SLUB"].max_cache_size:
        return kmalloc_large(machine, size, gfp)
    module, index = allocator(machine), kmalloc_slab_index(size)
    s = module.kmalloc_cache(machine, kmalloc_type(gfp, "DMA" in machine.config.zone_names), index)
    if machine.on:
        machine.trace.emit(ev.SizeClassChosen(size, gfp, index, s.name))
    return int(module.kmem_cache_alloc_trace(machine, s, gfp, size))


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
    (_MODULES.get(machine.config.slab) or allocator(machine)).kfree(machine, x)


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
