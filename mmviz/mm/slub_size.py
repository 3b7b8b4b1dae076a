"""How a cache of SLUB is laid out: how large an object is, how many pages a slab has, and what is kept back.

A slab is a power of two of pages, and what its objects do not fill is lost. More pages waste less and are asked for
less often, but a large block is harder to get. So calculate_order takes the smallest order that holds enough objects
(more of them where there are more CPUs) and loses at most a sixteenth of the slab; if there is none, an eighth, a
fourth; then it asks for fewer objects:

    704 bytes, 4 CPUs: 16 objects wanted, so order 2; 16384 = 23 * 704 + 192, and 192 <= 16384 / 16: order 2

Left out: what slub_debug adds (red zones, poison, the last user), the boot parameters slub_min_order and the like.
"""
from __future__ import annotations

from ..errors import KernelBug
from ..kernel import (
    __GFP_COMP,
    __GFP_DMA,
    __GFP_DMA32,
    __GFP_RECLAIMABLE,
    MAX_ORDER,
    PAGE_ALLOC_COSTLY_ORDER,
    PAGE_SIZE,
    Config,
)
from .get_free_pages import get_order
from .slab_common import (
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
    WORD,
    align_up,
    calculate_alignment,
)
from .slab_types import KmemCache, KmemCacheCpu, KmemCacheNode, OrderObjects

SLUB_MAX_ORDER = PAGE_ALLOC_COSTLY_ORDER
MIN_PARTIAL, MAX_PARTIAL = 5, 10


def oo_make(order: int, size: int) -> OrderObjects:
    """The order of a slab with the objects that it holds (mm/slub.c:oo_make).

    >>> oo_make(1, 96)
    OrderObjects(order=1, objects=85)
    """
    return OrderObjects(order, (PAGE_SIZE << order) // size)


def slab_order(size: int, min_objects: int, max_order: int, fract_leftover: int) -> int:
    """The smallest order for `min_objects` that loses no more than a `fract_leftover`-th; max_order + 1 if none does.

    Kernel: mm/slub.c:slab_order.

    >>> slab_order(704, 16, 3, 16), slab_order(1152, 16, 3, 16)
    (2, 3)
    """
    for order in range(get_order(min_objects * size), max_order + 1):
        slab_size = PAGE_SIZE << order
        if slab_size % size <= slab_size // fract_leftover:
            return order
    return max_order + 1


def calculate_order(size: int, nr_cpu_ids: int) -> int:
    """The order of the slabs of objects of `size` bytes, on a machine that may have `nr_cpu_ids` CPUs.

    Parameters
    ----------
    size : int
        From one object to the next, in bytes, 8 to 4 MiB.
    nr_cpu_ids : int
        The CPUs that the machine may have (possible, not online).

    Returns
    -------
    int
        0 to 10.

    Raises
    ------
    ValueError
        If no block is large enough.

    Notes
    -----
    Kernel: mm/slub.c:calculate_order at v5.4.

    Examples
    --------
    >>> [calculate_order(512, cpus) for cpus in (1, 2, 8)]
    [0, 1, 2]
    """
    max_objects = (PAGE_SIZE << SLUB_MAX_ORDER) // size
    for min_objects in range(min(4 * (nr_cpu_ids.bit_length() + 1), max_objects), 1, -1):
        for fraction in (16, 8, 4):
            order = slab_order(size, min_objects, SLUB_MAX_ORDER, fraction)
            if order <= SLUB_MAX_ORDER:
                return order
    order = slab_order(size, 1, MAX_ORDER - 1, 1)
    if order >= MAX_ORDER:
        raise ValueError(f"size must be at most {PAGE_SIZE << (MAX_ORDER - 1)} bytes, got {size}")
    return order


def calculate_min_partial(size: int) -> int:
    """The empty slabs that a node keeps: half the logarithm of the size, 5 to 10 (mm/slub.c:set_min_partial).

    >>> calculate_min_partial(64), calculate_min_partial(4096), calculate_min_partial(1 << 22)
    (5, 6, 10)
    """
    return min(MAX_PARTIAL, max(MIN_PARTIAL, (size.bit_length() - 1) // 2))


def calculate_cpu_partial(size: int, config: Config) -> int:
    """The free objects that a CPU may keep on its partial list (mm/slub.c:set_cpu_partial).

    >>> [calculate_cpu_partial(size, Config()) for size in (64, 256, 1024, 4096)]
    [30, 13, 6, 2]
    """
    if not config.slub_cpu_partial:
        return 0
    return next((kept for least, kept in ((PAGE_SIZE, 2), (1024, 6), (256, 13)) if size >= least), 30)


def calculate_allocflags(flags: int, order: int) -> int:
    """The gfp bits that the pages of a cache are asked with (the end of mm/slub.c:calculate_sizes)."""
    return ((__GFP_COMP if order else 0) | (__GFP_DMA if flags & SLAB_CACHE_DMA else 0)
            | (__GFP_DMA32 if flags & SLAB_CACHE_DMA32 else 0)
            | (__GFP_RECLAIMABLE if flags & SLAB_RECLAIM_ACCOUNT else 0))


def calculate_sizes(config: Config, cpus: int, nodes: int, name: str, object_size: int, align: int, flags: int,
                    ctor: bool, usersize: int) -> KmemCache:
    """A new cache without a slab: how far its objects are apart, where the free pointer lies, how large a slab is.

    Parameters
    ----------
    cpus, nodes : int
        What the machine has.
    object_size, align : int
        In bytes.
    flags : int
        SLAB_* bits.
    ctor : bool
        Whether a constructor fills each object once.

    Returns
    -------
    KmemCache

    Notes
    -----
    The free pointer lies at the start of a free object, where it costs nothing. Where a free object must keep its
    contents (a constructor, SLAB_TYPESAFE_BY_RCU) it lies behind the object, which is then 8 bytes larger.
    Kernel: mm/slub.c:calculate_sizes and kmem_cache_open at v5.4.
    """
    alignment = calculate_alignment(flags, align, object_size)
    inuse = align_up(object_size, WORD)
    behind = ctor or bool(flags & SLAB_TYPESAFE_BY_RCU)
    size = align_up(inuse + WORD if behind else inuse, alignment)
    order = calculate_order(size, cpus)
    return KmemCache(
        name, object_size, size, alignment, flags, inuse if behind else 0, inuse, oo_make(order, size),
        oo_make(get_order(size), size), calculate_allocflags(flags, order), calculate_min_partial(size),
        calculate_cpu_partial(size, config), ctor, usersize,
        cpu_slab=[KmemCacheCpu(tid=cpu) for cpu in range(cpus)], node=[KmemCacheNode() for _ in range(nodes)])


def freelist_ptr(cache: KmemCache, ptr: int, ptr_addr: int) -> int:
    """What stands in memory for a free pointer: itself, or with FREELIST_HARDENED hidden by two numbers.

    Parameters
    ----------
    cache : KmemCache
        Its `random` is 0 without FREELIST_HARDENED.
    ptr, ptr_addr : int
        The pointer, and the address of the word that holds it.

    Notes
    -----
    Kernel: mm/slub.c:freelist_ptr at v5.4. The address and the pointer are alike in their high bits, which cancel:
    where one of them is known, so is most of the secret. (5.7 turns the address round.)
    """
    return ptr ^ cache.random ^ ptr_addr if cache.random else ptr


def check_hardened(config: Config, object: int, fp: int) -> None:
    """set_freepointer's own check: an object that points to itself is a double free (FREELIST_HARDENED only)."""
    if config.slab_freelist_hardened and object == fp:
        raise KernelBug(f"object {object:#x} is freed, and is the head of the free list already: BUG_ON(object == fp) "
                        "(mm/slub.c:set_freepointer, CONFIG_SLAB_FREELIST_HARDENED)")


def next_random(number: int) -> int:
    """The pseudo-random number after `number`: 64 bits, of which the upper ones are good (Knuth's MMIX generator)."""
    return (number * 6364136223846793005 + 1442695040888963407) & ((1 << 64) - 1)
