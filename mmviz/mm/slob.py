"""SLOB: the smallest allocator, for machines with little memory. A list of free blocks, and first fit.

A page is cut into blocks of any length, in units of two bytes. There are no size classes and no caches: what kmalloc
hands out stands behind a header of eight bytes that holds its size.

    kmalloc(100), kmalloc(64) in a fresh page at 0x1000:

    0x1000  0x1008          0x106c     0x1078  0x1080         0x10c0                     0x2000
    +------+---------------+----------+-------+--------------+--------------------------+
    | size | 100 bytes     | 6 units  | size  | 64 bytes     |  1,952 units free        |
    +------+---------------+----------+-------+--------------+--------------------------+

Three rules:

1. Pages with room are on one of three lists (requests below 256 bytes, below 1,024, others; with the header). Inside a
   page, the first free block that fits is taken; an object of 2^n bytes stands at a multiple of its size.
2. The page that served goes to the front by turning its list, so the next search begins there (next fit).
3. A freed block merges with free neighbours. A page that was full goes to the list of *what was freed*; a page that is
   wholly free goes back to the page allocator.

From 4,088 bytes on a request gets whole pages, without a header.

Left out: kmem_cache_alloc, which takes from the same lists without a header; memory that is cleared (__GFP_ZERO); the
count of NR_SLAB_UNRECLAIMABLE. What a double free does to the lists is not simulated: it is a KernelBug.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import KernelBug
from ..kernel import __GFP_COMP, __GFP_ZERO, NUMA_NO_NODE, PAGE_SIZE
from ..trace import mirrors
from . import slob_events as ev
from .get_free_pages import alloc_pages, get_order
from .highmem import page_address
from .page_alloc import alloc_pages_node
from .page_free import __free_pages
from .page_ref import page_zone
from .slab_common import ZERO_SIZE_PTR, trace_kfree, trace_kmalloc_node, virt_to_page
from .slob_state import (
    ON_NO_LIST,
    clear_page_slob,
    clear_slob_page_free,
    list_rotate_to_front,
    set_page_slob,
    set_slob,
    set_slob_page_free,
    set_slob_size,
    set_slob_units,
    slob,
    unlink_slob,
)

if TYPE_CHECKING:
    from .machine import Machine

SLOB_UNIT = 2  # bytes
SLOB_BREAK1, SLOB_BREAK2 = 256, 1024
MINALIGN = 8  # of the header, and of what stands behind it


def slob_units(size: int) -> int:
    """The units that hold `size` bytes: the macro SLOB_UNITS.

    >>> slob_units(108), slob_units(4096)
    (54, 2048)
    """
    return -(-size // SLOB_UNIT)


def slob_list_of(size: int) -> int:
    """The list for blocks of `size` bytes: 0 small, 1 medium, 2 large."""
    return 0 if size < SLOB_BREAK1 else 1 if size < SLOB_BREAK2 else 2


# ---------------------------------------------------------------- allocation


@mirrors("mm/slob.c")
def __kmalloc_node(machine: Machine, size: int, gfp: int, node: int) -> int:
    """As `__do_kmalloc_node`, which it calls. Kernel: mm/slob.c:__kmalloc_node at v5.4."""
    return __do_kmalloc_node(machine, size, gfp, node)


@mirrors("mm/slob.c")
def __do_kmalloc_node(machine: Machine, size: int, gfp: int, node: int) -> int:
    """Take a block with a header, or whole pages from 4,088 bytes on.

    Parameters
    ----------
    size : int
        In bytes, at least 0.
    gfp : int
        GFP_* and __GFP_* bits of `mmviz.kernel`.
    node : int
        A node, or NUMA_NO_NODE (-1). Pages of other nodes are not searched; a new page is asked of it first.

    Returns
    -------
    int
        The address; 16 (ZERO_SIZE_PTR) for no bytes; 0 if there is no page.

    Notes
    -----
    Emits the tracepoint kmalloc_node. Kernel: mm/slob.c:__do_kmalloc_node at v5.4.
    """
    if size >= PAGE_SIZE - MINALIGN:
        order = get_order(size)
        vaddr = slob_new_pages(machine, gfp | (__GFP_COMP if order else 0), order, node)
        trace_kmalloc_node(machine, vaddr, size, PAGE_SIZE << order, gfp, node)
        return vaddr
    if size == 0:
        return ZERO_SIZE_PTR
    align = size if size > MINALIGN and size & (size - 1) == 0 else MINALIGN
    m = slob_alloc(machine, size + MINALIGN, gfp, align, node, MINALIGN)
    if m == 0:
        return 0
    set_slob_size(machine, m, size)
    trace_kmalloc_node(machine, m + MINALIGN, size, size + MINALIGN, gfp, node)
    return m + MINALIGN


@mirrors("mm/slob.c")
def slob_alloc(machine: Machine, size: int, gfp: int, align: int, node: int, align_offset: int) -> int:
    """Search the list for a page with room, from its front on; else take a new page.

    Parameters
    ----------
    size : int
        In bytes, with the header.
    align, align_offset : int
        The block's address plus `align_offset` is a multiple of `align`.

    Returns
    -------
    int
        The address of the block, or 0.

    Notes
    -----
    Emits SlobListChosen. Kernel: mm/slob.c:slob_alloc at v5.4.
    """
    slob_list = slob_list_of(size)
    if machine.on:
        machine.trace.emit(ev.SlobListChosen(size, slob_list))
    for pfn in slob(machine).lists[slob_list]:
        if not __slob_page_skipped(machine, pfn, slob_units(size), node):
            block = slob_page_alloc(machine, pfn, size, align, align_offset)
            if block:
                __begin_here_next_time(machine, pfn)
                return block
            if machine.on:
                machine.trace.emit(ev.SlobPageSkipped(pfn, slob(machine).pages[pfn].units, "room"))
    return __slob_alloc_new_page(machine, size, gfp, align, node, align_offset)


def __slob_page_skipped(machine: Machine, pfn: int, units: int, node: int) -> bool:
    """Whether a page of the list is not even searched: of another node, or too few free units."""
    free = slob(machine).pages[pfn].units
    reason = "node" if node not in (NUMA_NO_NODE, page_zone(machine, pfn).nid) else "units" if free < units else ""
    if reason and machine.on:
        machine.trace.emit(ev.SlobPageSkipped(pfn, free, reason))
    return bool(reason)


def __begin_here_next_time(machine: Machine, pfn: int) -> None:
    """Turn the list until the page that served is its first, if it is still on a list."""
    part = slob(machine)
    slob_list = part.pages[pfn].slob_list
    if slob_list != ON_NO_LIST and part.lists[slob_list][0] != pfn:
        list_rotate_to_front(machine, pfn)


def __slob_alloc_new_page(machine: Machine, size: int, gfp: int, align: int, node: int, align_offset: int) -> int:
    """The second half of slob_alloc: a new page is one free block, and goes to the head of the list."""
    vaddr = slob_new_pages(machine, gfp & ~__GFP_ZERO, 0, node)
    if not vaddr:
        return 0
    pfn = virt_to_page(machine, vaddr)
    set_page_slob(machine, pfn)
    set_slob_units(machine, pfn, slob_units(PAGE_SIZE))
    set_slob(machine, pfn, 0, slob_units(PAGE_SIZE))
    set_slob_page_free(machine, pfn, slob_list_of(size))
    return slob_page_alloc(machine, pfn, size, align, align_offset)


@mirrors("mm/slob.c")
def slob_new_pages(machine: Machine, gfp: int, order: int, node: int) -> int:
    """Ask the page allocator for 2^order pages; returns their address, or 0.

    Notes
    -----
    Emits SlobPageAsked. Kernel: mm/slob.c:slob_new_pages at v5.4.
    """
    pfn = alloc_pages(machine, gfp, order) if node == NUMA_NO_NODE else alloc_pages_node(machine, node, gfp, order)
    vaddr = 0 if pfn is None else page_address(machine, pfn)
    if machine.on:
        machine.trace.emit(ev.SlobPageAsked(order, node, vaddr))
    return vaddr


@mirrors("mm/slob.c")
def slob_page_alloc(machine: Machine, sp: int, size: int, align: int, align_offset: int) -> int:
    """Cut a block out of the first free block of the page that holds it; what alignment skips stays free before it.

    Parameters
    ----------
    sp : int
        The page, by its pfn.

    Returns
    -------
    int
        The address of the block, or 0 if no free block of the page holds it.

    Notes
    -----
    Emits SlobBlockChecked for each free block. Kernel: mm/slob.c:slob_page_alloc at v5.4.
    """
    start, units = page_address(machine, sp), slob_units(size)
    for offset, avail in sorted(slob(machine).pages[sp].blocks.items()):
        block = start + offset * SLOB_UNIT
        delta = (-(block + align_offset) % align) // SLOB_UNIT
        fits = avail >= units + delta
        if machine.on:
            machine.trace.emit(ev.SlobBlockChecked(sp, offset, avail, delta, units, fits))
        if fits:
            __cut(machine, sp, offset, avail, delta, units)
            return block + delta * SLOB_UNIT
    return 0


def __cut(machine: Machine, pfn: int, offset: int, avail: int, delta: int, units: int) -> None:
    """Take `units` out of a free block, `delta` behind its start; a full page leaves its list."""
    if delta:
        set_slob(machine, pfn, offset, delta)
    else:
        unlink_slob(machine, pfn, offset)
    if avail > delta + units:
        set_slob(machine, pfn, offset + delta + units, avail - delta - units)
    left = slob(machine).pages[pfn].units - units
    set_slob_units(machine, pfn, left)
    if not left:
        clear_slob_page_free(machine, pfn)


# ---------------------------------------------------------------- the way back


@mirrors("mm/slob.c")
def kfree(machine: Machine, block: int) -> None:
    """Give back what kmalloc handed out; NULL and ZERO_SIZE_PTR are left alone.

    Parameters
    ----------
    block : int
        The address that kmalloc returned.

    Raises
    ------
    KernelBug
        If no object of SLOB stands there: the kernel would read a size from other bytes.

    Notes
    -----
    Emits the tracepoint kfree. Kernel: mm/slob.c:kfree at v5.4.
    """
    if block > ZERO_SIZE_PTR:
        pfn, m = virt_to_page(machine, block), block - MINALIGN
        size = slob(machine).sizes.get(m, 0)
        if pfn in slob(machine).pages and not size:
            raise KernelBug(f"no object of SLOB stands at {block:#x}: freed twice, or never handed out; a plain v5.4 "
                            "takes its size from what the header holds now")
        trace_kfree(machine, block)
        if size:
            set_slob_size(machine, m, 0)
            slob_free(machine, m, size + MINALIGN)
        else:
            __free_pages(machine, pfn, page_zone(machine, pfn).compound.get(pfn, 0))
    else:
        trace_kfree(machine, block)


@mirrors("mm/slob.c")
def slob_free(machine: Machine, block: int, size: int) -> None:
    """Make a block free again: merge it with its free neighbours, or give the whole page back.

    Parameters
    ----------
    block : int
        The address of the block, header included.
    size : int
        In bytes, with the header.

    Notes
    -----
    Emits SlobFreeDecided. Kernel: mm/slob.c:slob_free at v5.4.
    """
    pfn, units = virt_to_page(machine, block), slob_units(size)
    page = slob(machine).pages[pfn]
    is_last, was_full = page.units + units == slob_units(PAGE_SIZE), page.slob_list == ON_NO_LIST
    if machine.on:
        machine.trace.emit(ev.SlobFreeDecided(block, units, "page" if is_last else "list" if was_full else "block"))
    if is_last:
        __give_page_back(machine, pfn)
        return
    set_slob_units(machine, pfn, page.units + units)
    __insert(machine, pfn, (block - page_address(machine, pfn)) // SLOB_UNIT, units)
    if was_full:
        set_slob_page_free(machine, pfn, slob_list_of(size))


def __give_page_back(machine: Machine, pfn: int) -> None:
    """All of the page is free: it leaves SLOB (mm/slob.c:slob_free_pages)."""
    if slob(machine).pages[pfn].slob_list != ON_NO_LIST:
        clear_slob_page_free(machine, pfn)
    clear_page_slob(machine, pfn)
    __free_pages(machine, pfn, 0)


def __insert(machine: Machine, pfn: int, offset: int, units: int) -> None:
    """Put a block among the free blocks of its page: the next one joins it, and it joins the one before."""
    blocks = slob(machine).pages[pfn].blocks
    behind = offset + units
    size = units + blocks.get(behind, 0)
    if behind in blocks:
        unlink_slob(machine, pfn, behind)
    before = max((start for start in blocks if start < offset), default=offset)
    if before + blocks.get(before, 0) == offset and before != offset:
        set_slob(machine, pfn, before, blocks[before] + size)
    else:
        set_slob(machine, pfn, offset, size)


@mirrors("mm/slob.c", "__ksize")
def ksize(machine: Machine, block: int) -> int:
    """The bytes that an object may use: its size, rounded up to units; or whole pages.

    Kernel: mm/slob.c:__ksize at v5.4.
    """
    size = slob(machine).sizes.get(block - MINALIGN)
    if size is not None:
        return slob_units(size) * SLOB_UNIT
    pfn = virt_to_page(machine, block)
    return PAGE_SIZE << page_zone(machine, pfn).compound.get(pfn, 0)
