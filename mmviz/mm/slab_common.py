"""Size classes: which cache serves a kmalloc of so many bytes.

kmalloc has no cache for each size. It has one for each power of two, and two between them that pay:

    8  16  32  64  96  128  192  256  512  1k  2k  4k  8k          (SLUB; above: whole pages)

A request goes to the smallest that holds it, and what it does not use is waste: 65 bytes are served with 96. The
number of a class is its power of two; the two that are none have the numbers 1 (96) and 2 (192).

There are three sets of them: for ordinary memory, for what can be reclaimed (so that it lies together), for DMA.

Left out: SLAB_ACCOUNT and memory cgroups, hardened usercopy beyond the size it covers.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..kernel import __GFP_DMA, __GFP_RECLAIMABLE, PAGE_SHIFT
from . import slab_events as ev

if TYPE_CHECKING:
    from .machine import Machine

ZERO_SIZE_PTR = 16  # what kmalloc(0) returns: no NULL, and no memory

KMALLOC_NORMAL, KMALLOC_RECLAIM, KMALLOC_DMA = range(3)  # enum kmalloc_cache_type

# include/linux/slab.h: the flags of a cache
SLAB_RED_ZONE = 0x400
SLAB_POISON = 0x800
SLAB_HWCACHE_ALIGN = 0x2000
SLAB_CACHE_DMA = 0x4000
SLAB_CACHE_DMA32 = 0x8000
SLAB_STORE_USER = 0x10000
SLAB_RECLAIM_ACCOUNT = 0x20000
SLAB_PANIC = 0x40000
SLAB_TYPESAFE_BY_RCU = 0x80000
SLAB_TRACE = 0x200000
SLAB_NOLEAKTRACE = 0x800000
SLAB_FAILSLAB = 0x2000000
SLAB_ACCOUNT = 0x4000000
SLAB_NEVER_MERGE = (SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER | SLAB_TRACE | SLAB_TYPESAFE_BY_RCU
                    | SLAB_NOLEAKTRACE | SLAB_FAILSLAB)
SLAB_MERGE_SAME = SLAB_RECLAIM_ACCOUNT | SLAB_CACHE_DMA | SLAB_CACHE_DMA32 | SLAB_ACCOUNT

WORD = 8  # sizeof(void *), and the least alignment of an object (ARCH_KMALLOC_MINALIGN, ARCH_SLAB_MINALIGN)
CACHE_LINE = 64


class Limits(NamedTuple):
    """What an allocator's size classes span: powers of two, both ends included."""

    shift_low: int
    shift_high: int

    @property
    def max_cache_size(self) -> int:
        """KMALLOC_MAX_CACHE_SIZE: above it, kmalloc takes whole pages."""
        return 1 << self.shift_high


LIMITS = {"SLUB": Limits(3, PAGE_SHIFT + 1), "SLAB": Limits(5, 22), "SLOB": Limits(3, PAGE_SHIFT)}


class KmallocClass(NamedTuple):
    """One of the caches that boot makes for kmalloc."""

    type: int
    number: int
    name: str
    size: int
    flags: int


def check_size(size: int) -> None:
    """ValueError for a size below 0."""
    if size < 0:
        raise ValueError(f"size must be at least 0 bytes, got {size}")


def kmalloc_index(size: int, slab: str = "SLUB") -> int:
    """The number of the class for `size` bytes, as the compiler finds it for a constant size.

    Parameters
    ----------
    size : int
        In bytes, 0 to 2^26; ValueError outside.
    slab : str
        "SLUB", "SLAB" or "SLOB".

    Notes
    -----
    Kernel: include/linux/slab.h:kmalloc_index at v5.4. Above the largest class there is no cache of that number.

    Examples
    --------
    >>> [kmalloc_index(size) for size in (0, 1, 8, 9, 65, 96, 97, 129, 192, 193, 4097)]
    [0, 3, 3, 4, 1, 1, 7, 2, 2, 8, 13]
    """
    if not 0 <= size <= 1 << 26:
        raise ValueError(f"size must be 0 to {1 << 26} bytes, got {size}")
    low = LIMITS[slab].shift_low
    if size <= 1 << low:
        return low if size else 0
    if 64 < size <= 96 and low <= 5:
        return 1
    if 128 < size <= 192 and low <= 6:
        return 2
    return (size - 1).bit_length()


# size_index[], which the kernel has for up to 192 bytes: here for all that SLUB has caches for.
SIZE_INDEX = tuple(kmalloc_index(8 * eighth) for eighth in range(1, LIMITS["SLUB"].max_cache_size // 8 + 1))


def kmalloc_slab_index(size: int, slab: str = "SLUB") -> int:
    """The number of the class for 1 byte and more, as it is found at run time: a table, and above 192 bytes a shift.

    Kernel: mm/slab_common.c:kmalloc_slab. The same as `kmalloc_index`.

    >>> [kmalloc_slab_index(size) for size in (1, 96, 97, 129, 193, 8192)], kmalloc_slab_index(1, "SLAB")
    ([3, 1, 7, 2, 8, 13], 5)
    """
    if size > 192:
        return (size - 1).bit_length()
    return max(SIZE_INDEX[(size - 1) >> 3], 5) if slab == "SLAB" and size <= 32 else SIZE_INDEX[(size - 1) >> 3]


def kmalloc_size(index: int) -> int:
    """The bytes of a class: 96 and 192 for 1 and 2, else 2^index (include/linux/slab.h:kmalloc_size).

    >>> [kmalloc_size(index) for index in (1, 2, 3, 13)]
    [96, 192, 8, 8192]
    """
    return {0: 0, 1: 96, 2: 192}.get(index, 1 << index)


def kmalloc_type(flags: int, zone_dma: bool = True) -> int:
    """The set of caches that a request goes to: DMA if it must be low, RECLAIM if it can be reclaimed, else NORMAL.

    Kernel: include/linux/slab.h:kmalloc_type. __GFP_DMA wins over __GFP_RECLAIMABLE; there is no set for DMA32, and
    none for DMA on a build without ZONE_DMA.

    >>> kmalloc_type(0), kmalloc_type(__GFP_RECLAIMABLE), kmalloc_type(__GFP_DMA | __GFP_RECLAIMABLE)
    (0, 1, 2)
    """
    if not flags & (__GFP_DMA | __GFP_RECLAIMABLE):
        return KMALLOC_NORMAL
    if flags & __GFP_DMA and zone_dma:
        return KMALLOC_DMA
    return KMALLOC_RECLAIM if flags & __GFP_RECLAIMABLE else KMALLOC_NORMAL


def kmalloc_name(type_: int, size: int) -> str:
    """The name of a cache of kmalloc, as in /proc/slabinfo.

    >>> kmalloc_name(KMALLOC_NORMAL, 96), kmalloc_name(KMALLOC_RECLAIM, 1024), kmalloc_name(KMALLOC_DMA, 1 << 20)
    ('kmalloc-96', 'kmalloc-rcl-1k', 'dma-kmalloc-1M')
    """
    shift, unit = (20, "M") if size >= 1 << 20 else (10, "k") if size >= 1 << 10 else (0, "")
    return f"{('kmalloc', 'kmalloc-rcl', 'dma-kmalloc')[type_]}-{size >> shift}{unit}"


def kmalloc_classes(slab: str, zone_dma: bool) -> Iterator[KmallocClass]:
    """The caches of kmalloc in the order in which boot makes them (mm/slab_common.c:create_kmalloc_caches).

    Parameters
    ----------
    slab : str
        "SLUB" or "SLAB"; SLOB has none.
    zone_dma : bool
        CONFIG_ZONE_DMA: whether there is a set for DMA.
    """
    low, high = LIMITS[slab]
    for type_, flags in ((KMALLOC_NORMAL, 0), (KMALLOC_RECLAIM, SLAB_RECLAIM_ACCOUNT)):
        for power in range(low, high + 1):
            for index in (power, *{6: (1,), 7: (2,)}.get(power, ())):
                size = kmalloc_size(index)
                yield KmallocClass(type_, index, kmalloc_name(type_, size), size, flags)
    for index in (1, 2, *range(low, high + 1)) if zone_dma else ():
        size = kmalloc_size(index)
        yield KmallocClass(KMALLOC_DMA, index, kmalloc_name(KMALLOC_DMA, size), size, SLAB_CACHE_DMA)


# ---------------------------------------------------------------- alignment


def align_up(value: int, align: int) -> int:
    """ALIGN(value, align): the next multiple of a power of two."""
    return (value + align - 1) & -align


def kmalloc_align(size: int) -> int:
    """Objects of a power of two lie on a multiple of their size; 96 and 192 on a multiple of 8 only.

    Kernel: mm/slab_common.c:create_boot_cache.

    >>> kmalloc_align(64), kmalloc_align(96)
    (64, 8)
    """
    return max(WORD, size) if size & (size - 1) == 0 else WORD


def calculate_alignment(flags: int, align: int, size: int) -> int:
    """The alignment of a cache's objects: at least 8, with SLAB_HWCACHE_ALIGN a cache line or the part that suffices.

    Kernel: mm/slab_common.c:calculate_alignment.

    >>> calculate_alignment(0, 0, 100), calculate_alignment(SLAB_HWCACHE_ALIGN, 0, 100)
    (8, 64)
    >>> calculate_alignment(SLAB_HWCACHE_ALIGN, 0, 20)
    32
    """
    line = 0
    if flags & SLAB_HWCACHE_ALIGN:
        line = CACHE_LINE
        while size <= line // 2:
            line //= 2
    return align_up(max(align, line, WORD), WORD)


# ---------------------------------------------------------------- what all three allocators say and ask


def virt_to_page(machine: Machine, addr: int) -> int:
    """The pfn of the page that an address of the direct map lies in."""
    return (addr - machine.config.page_offset) >> PAGE_SHIFT


def trace_kmalloc_node(machine: Machine, ptr: int, bytes_req: int, bytes_alloc: int, gfp_mask: int, node: int) -> None:
    """The tracepoint kmem:kmalloc_node, after the object was found; ptr is 0 if there was none."""
    if machine.on:
        machine.trace.emit(ev.KmallocNode(ptr, bytes_req, bytes_alloc, gfp_mask, node))


def trace_kfree(machine: Machine, ptr: int) -> None:
    """The tracepoint kmem:kfree, before anything is done."""
    if machine.on:
        machine.trace.emit(ev.Kfree(ptr))
