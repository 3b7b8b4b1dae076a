"""Caches by name: making them, finding the one for a size, shrinking them; and requests too large for any.

A new cache is not always a new one. If there is one already whose objects are as large (less than a word larger), lie
as well aligned and are treated alike, it gets another name and both share their slabs: this saves the half-empty slabs
of many small caches. (/proc/slabinfo shows the first name only.)

Left out: memory cgroups, kmem_cache_destroy, slab_nomerge.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import __GFP_COMP, PAGE_SIZE
from ..trace import mirrors
from . import slab_events as ev
from .get_free_pages import alloc_pages, get_order
from .highmem import page_address
from .slab_common import (
    SLAB_MERGE_SAME,
    SLAB_NEVER_MERGE,
    WORD,
    align_up,
    calculate_alignment,
    check_size,
    kmalloc_slab_index,
    kmalloc_type,
)
from .slab_state import kmem_cache_alias, kmem_cache_open, slab
from .slab_types import KmemCache, Slab
from .slub_partial import __kmem_cache_shrink

if TYPE_CHECKING:
    from .machine import Machine

MAX_SIZE = 1 << 22  # KMALLOC_MAX_SIZE


@mirrors("mm/slab_common.c")
def kmem_cache_create(machine: Machine, name: str, size: int, align: int = 0, flags: int = 0, ctor: bool = False,
                      usersize: int = 0) -> KmemCache:
    """Make a cache of objects of `size` bytes, or give a fitting one another name.

    Parameters
    ----------
    name : str
        A name that no cache has.
    size : int
        In bytes, 8 to 4 MiB.
    align : int
        A power of two, or 0 for 8.
    flags : int
        SLAB_* bits of mm/slab_common.py.
    ctor : bool
        Whether a constructor fills each object once. (What it does is not modelled; that it must not be lost is.)
    usersize : int
        Bytes that may be copied to and from user space (kmem_cache_create_usercopy).

    Returns
    -------
    KmemCache

    Raises
    ------
    ValueError
        If there is such a name, or the size or the alignment is out of its range.

    Notes
    -----
    Kernel: mm/slab_common.c:kmem_cache_create at v5.4.
    """
    part = slab(machine)
    if name in part.caches or name in part.aliases:
        raise ValueError(f"name must be new, got {name!r}, which is a cache")
    if not WORD <= size <= MAX_SIZE or align < 0 or align & (align - 1):
        raise ValueError(f"size must be {WORD} to {MAX_SIZE} bytes, align a power of two or 0, got {size}, {align}")
    target = None if usersize else find_mergeable(machine, part, size, align, flags, name, ctor)
    if target is not None:
        kmem_cache_alias(machine, name, target.name, size)
    else:
        kmem_cache_open(machine, name, size, align, flags, ctor, usersize)
    return part.cache(name)


@mirrors("mm/slab_common.c")
def find_mergeable(machine: Machine, part: Slab, size: int, align: int, flags: int, name: str,
                   ctor: bool) -> KmemCache | None:
    """The oldest cache that can serve these objects as well.

    Kernel: mm/slab_common.c:find_mergeable.
    """
    alignment = calculate_alignment(flags, align, align_up(size, WORD))
    wanted = align_up(size, alignment)
    mergeable = not ctor and not flags & SLAB_NEVER_MERGE
    found = next((s for s in part.caches.values() if mergeable and fits(s, wanted, alignment, flags)), None)
    if machine.on:
        machine.trace.emit(ev.MergeableFound(name, size, alignment, found.name if found else ""))
    return found


def fits(s: KmemCache, size: int, align: int, flags: int) -> bool:
    """May objects of this size and alignment lie in this cache? (slab_unmergeable, and the loop of find_mergeable.)"""
    if s.flags & SLAB_NEVER_MERGE or s.ctor or s.usersize:
        return False
    alike = flags & SLAB_MERGE_SAME == s.flags & SLAB_MERGE_SAME
    return alike and size <= s.size < size + WORD and s.size % align == 0


@mirrors("mm/slab_common.c")
def kmem_cache_shrink(machine: Machine, cache: str) -> bool:
    """Give back every empty slab of a cache: each CPU lets go of what it has, and the nodes keep none.

    Parameters
    ----------
    cache : str
        Its name.

    Returns
    -------
    bool
        Whether slabs are left.

    Notes
    -----
    Kernel: mm/slab_common.c:kmem_cache_shrink at v5.4.
    """
    return __kmem_cache_shrink(machine, slab(machine).cache(cache))


@mirrors("mm/slab_common.c")
def kmalloc_slab(machine: Machine, size: int, flags: int) -> KmemCache | None:
    """The cache of kmalloc for a size known at run time, up to the largest class; None for 0 bytes.

    Kernel: mm/slab_common.c:kmalloc_slab. ValueError if the size is negative.
    """
    if size <= 0:
        check_size(size)
        return None
    index = kmalloc_slab_index(size)
    type_ = kmalloc_type(flags, "DMA" in machine.config.zone_names)
    s = slab(machine).kmalloc_caches[type_][index]
    if machine.on:
        machine.trace.emit(ev.SizeClassChosen(size, flags, index, s.name if s else ""))
    return s


# ---------------------------------------------------------------- too large for a cache


@mirrors("include/linux/slab.h")
def kmalloc_large(machine: Machine, size: int, flags: int) -> int:
    """Whole pages instead of an object. Returns the address, or 0.

    Kernel: include/linux/slab.h:kmalloc_large at v5.4. The order is the smallest that holds `size` bytes.
    """
    order = get_order(size)
    if machine.on:
        machine.trace.emit(ev.LargeOrderChosen(size, order))
    return kmalloc_order_trace(machine, size, flags, order)


@mirrors("mm/slab_common.c")
def kmalloc_order_trace(machine: Machine, size: int, flags: int, order: int) -> int:
    """kmalloc_order, and its tracepoint."""
    addr = kmalloc_order(machine, size, flags, order)
    if machine.on:
        machine.trace.emit(ev.Kmalloc(addr, size, PAGE_SIZE << order, flags))
    return addr


@mirrors("mm/slab_common.c")
def kmalloc_order(machine: Machine, size: int, flags: int, order: int) -> int:
    """A compound page, so that kfree can tell its order from any address in it."""
    pfn = alloc_pages(machine, flags | __GFP_COMP, order)
    return 0 if pfn is None else page_address(machine, pfn)
