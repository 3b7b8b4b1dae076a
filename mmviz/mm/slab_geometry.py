"""How SLAB cuts pages into objects, and how large its arrays are.

    kmalloc-256      16 objects in a page                        the freelist fits into a free object
    kmalloc-32      124 objects in a page, and 124 numbers       it does not, and stands at the end of the slab
    kmalloc-96       42 objects in a page, 64 bytes left over    slabs begin at 0 and 64 in turn: colour 1

Pages are added until no more than an eighth is left over, or until slab_max_order: 1 with more than 32 MiB of memory.

Left out: freelists outside the slab (OFF_SLAB). Without a constructor and SLAB_TYPESAFE_BY_RCU v5.4 never comes to
that: it needs more objects than bytes in an object, and an object of twice the freelist.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..kernel import __GFP_COMP, __GFP_DMA, __GFP_RECLAIMABLE, PAGE_SHIFT, PAGE_SIZE
from ..trace import mirrors
from . import array_cache_events as ev
from .array_cache import setup_cpu_cache

if TYPE_CHECKING:
    from .machine import Machine

KMALLOC_MAX_ORDER = 10
CACHE_LINE = 64  # cache_line_size() of x86-64
SLAB_OBJ_MIN_SIZE = 16
SLAB_OBJ_MAX_NUM = 255  # a number in the freelist is a byte
LIMITS = ((131072, 1), (PAGE_SIZE, 8), (1024, 24), (256, 54))  # of an array, by the size that is passed


class Geometry(NamedTuple):
    """A slab of 2^order pages holds `num` objects, and leaves so many bytes."""

    order: int
    num: int
    left_over: int


@mirrors("mm/slab.c")
def cache_estimate(gfporder: int, buffer_size: int, objfreelist: bool) -> tuple[int, int]:
    """How many objects a slab of this order holds, and the bytes left over.

    >>> cache_estimate(0, 32, False), cache_estimate(0, 96, True)
    ((124, 4), (42, 64))
    """
    return divmod(PAGE_SIZE << gfporder, buffer_size + (not objfreelist))


@mirrors("mm/slab.c")
def calculate_slab_order(machine: Machine, cache: str, size: int, objfreelist: bool, reclaimable: bool) -> Geometry:
    """The order of a slab: the first one that leaves little over; num 0 if there are too many objects in a page.

    Notes
    -----
    Emits SlabOrderEstimated for each order. Kernel: mm/slab.c:calculate_slab_order at v5.4.
    """
    found = Geometry(0, 0, 0)
    for gfporder in range(KMALLOC_MAX_ORDER + 1):
        num, left_over = cache_estimate(gfporder, size, objfreelist)
        if num > SLAB_OBJ_MAX_NUM:
            break
        enough = reclaimable or gfporder >= slab_max_order(machine) or left_over * 8 <= PAGE_SIZE << gfporder
        if machine.on:
            machine.trace.emit(ev.SlabOrderEstimated(cache, gfporder, num, left_over, num > 0 and enough))
        if num:
            found = Geometry(gfporder, num, left_over)
            if enough:
                break
    return found


def slab_max_order(machine: Machine) -> int:
    """1 with more than 32 MiB of memory, else 0 (kmem_cache_init)."""
    return int(sum(zone.managed_pages for zone in machine.zones()) > 32 << 20 >> PAGE_SHIFT)


@mirrors("mm/slab.c", "__kmem_cache_create")
def create_slab_cache(machine: Machine, cache: str, object_size: int, align: int, dma: bool = False,
                      reclaimable: bool = False) -> None:
    """Set up a cache: order and objects of a slab, colours, sizes of the arrays.

    Parameters
    ----------
    cache : str
        Its name.
    object_size : int
        In bytes, 1 to 4 MiB.
    align : int
        A power of two; 8 at least is used.
    dma, reclaimable : bool
        Whether its pages come from ZONE_DMA (SLAB_CACHE_DMA) and are counted as reclaimable (SLAB_RECLAIM_ACCOUNT).

    Raises
    ------
    ValueError
        If no slab holds an object (-E2BIG in the kernel).

    Notes
    -----
    Emits SetupCpuCache. Kernel: mm/slab.c:__kmem_cache_create and do_tune_cpucache at v5.4.
    """
    step = max(8, align)
    size = -(-object_size // step) * step
    if size < SLAB_OBJ_MIN_SIZE:
        size = -(-SLAB_OBJ_MIN_SIZE // step) * step
    found = calculate_slab_order(machine, cache, size, True, reclaimable)
    objfreelist = 0 < found.num <= object_size
    if not objfreelist:
        found = calculate_slab_order(machine, cache, size, False, reclaimable)
    if not found.num:
        raise ValueError(f"object_size must be 1 to {PAGE_SIZE << KMALLOC_MAX_ORDER:,} bytes, got {object_size:,}")
    limit, shared = enable_cpucache(machine, size)
    colour_off = max(CACHE_LINE, step)
    allocflags = __GFP_COMP | (__GFP_DMA if dma else 0) | (__GFP_RECLAIMABLE if reclaimable else 0)
    setup_cpu_cache(machine, cache, object_size, size, found.order, found.num, found.left_over // colour_off,
                    colour_off, allocflags, limit, (limit + 1) // 2, shared, objfreelist)


def enable_cpucache(machine: Machine, size: int) -> tuple[int, int]:
    """The limit of a CPU's array, and `shared`: 8 for objects up to a page if there are several CPUs, else 0.

    Kernel: mm/slab.c:enable_cpucache.

    >>> import mmviz as mv
    >>> [enable_cpucache(mv.toy(4), size) for size in (32, 512, 2048, 8192, 1 << 18)]
    [(120, 0), (54, 0), (24, 0), (8, 0), (1, 0)]
    """
    limit = next((limit for above, limit in LIMITS if size > above), 120)
    return limit, 8 if size <= PAGE_SIZE and len(machine.cpu_to_node) > 1 else 0
