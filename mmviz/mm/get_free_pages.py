"""How a caller asks for pages, and gets an address or a frame.

    __get_free_pages               an address in the direct map; HighMem has none, so __GFP_HIGHMEM is dropped
      alloc_pages                  a frame
        alloc_pages_current        NUMA build: the policy of the task chooses the node (mempolicy.py)
        alloc_pages_node           UMA build: there is one node

Everything below is `__alloc_pages_nodemask` (page_alloc.py).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import __GFP_COMP, __GFP_HIGHMEM, __GFP_ZERO, PAGE_SHIFT, PAGE_SIZE
from ..trace import mirrors
from . import events as ev
from .highmem import page_address
from .mempolicy import alloc_pages_current
from .page_alloc import alloc_pages_node
from .page_free import __free_pages
from .page_ref import page_zone
from .zone import split_page

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/page_alloc.c")
def __get_free_pages(machine: Machine, gfp_mask: int, order: int) -> int:
    """Ask for 2^order pages and get the address of the first; __GFP_HIGHMEM is dropped, since HighMem has no address.

    Parameters
    ----------
    gfp_mask : int
        GFP_* and __GFP_* bits of `mmviz.kernel`.
    order : int
        0 to 10; 11 and more is a NULL with a warning.

    Returns
    -------
    int
        A kernel address in the direct map, or 0.

    Notes
    -----
    Emits what `alloc_pages` emits, and raises as it does. Kernel: mm/page_alloc.c:__get_free_pages at v5.4.

    Examples
    --------
    >>> import mmviz as mv
    >>> hex(mv.__get_free_pages(mv.toy(4), mv.GFP_KERNEL, 0))
    '0xffff888001000000'
    """
    pfn = alloc_pages(machine, gfp_mask & ~__GFP_HIGHMEM, order)
    return 0 if pfn is None else page_address(machine, pfn)


@mirrors("mm/page_alloc.c")
def get_zeroed_page(machine: Machine, gfp_mask: int) -> int:
    """Ask for one page filled with zeros.

    Parameters
    ----------
    gfp_mask : int
        GFP_* and __GFP_* bits of `mmviz.kernel`.

    Returns
    -------
    int
        A kernel address in the direct map, or 0.

    Notes
    -----
    Emits PagesCleared, and what `alloc_pages` emits. Kernel: mm/page_alloc.c:get_zeroed_page at v5.4.
    Simplified: a page has no contents here.

    Examples
    --------
    >>> import mmviz as mv
    >>> hex(get_zeroed_page(mv.toy(4), mv.GFP_KERNEL))
    '0xffff888001000000'
    """
    return __get_free_pages(machine, gfp_mask | __GFP_ZERO, 0)


@mirrors("include/linux/gfp.h")
def alloc_pages(machine: Machine, gfp_mask: int, order: int) -> int | None:
    """Ask for 2^order pages, by the policy of the running task; without one, from the running CPU's node first.

    Parameters
    ----------
    gfp_mask : int
        GFP_* and __GFP_* bits of `mmviz.kernel`.
    order : int
        0 to 10; 11 and more is a NULL with a warning.

    Returns
    -------
    int or None
        The pfn of the first page. None is the kernel's NULL, or the place where the kernel would reclaim: the event
        AllocationFailed or WouldReclaim says which.

    Raises
    ------
    ValueError
        If order is negative or no int, or if gfp bits are unknown or exclude each other.

    Notes
    -----
    Emits RequestPrepared, PreferredZoneChosen, NofragmentChosen, WatermarkChecked for each zone, what the zone's lists
    go through, and MmPageAlloc. Kernel: include/linux/gfp.h:alloc_pages at v5.4.
    On a NUMA build it is alloc_pages_current, on a UMA build alloc_pages_node. Simplified: no cpusets; reclaim is
    where it ends.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> [hex(alloc_pages(machine, mv.GFP_KERNEL, 3)) for _ in range(3)]
    ['0x1000', '0x1008', '0x1010']
    """
    if machine.config.numa:
        return alloc_pages_current(machine, gfp_mask, order)
    return alloc_pages_node(machine, machine.cpu_to_node[machine.current.cpu], gfp_mask, order)


@mirrors("mm/page_alloc.c")
def alloc_pages_exact(machine: Machine, size: int, gfp_mask: int) -> int:
    """Ask for `size` bytes in whole pages: a block of the next order, whose pages beyond the size are freed again.

    Parameters
    ----------
    size : int
        In bytes, at least 1.
    gfp_mask : int
        As `alloc_pages`; __GFP_COMP is dropped with a warning, since a compound page cannot be split.

    Returns
    -------
    int
        The address, or 0.

    Notes
    -----
    Emits SplitPage, MmPageFree for each page that goes back, and what `alloc_pages` emits; raises as it does.
    Kernel: mm/page_alloc.c:alloc_pages_exact and make_alloc_exact at v5.4.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> hex(alloc_pages_exact(machine, 3 * 4096, mv.GFP_KERNEL)), machine.zone("DMA32").nr_pages_on_lists()
    ('0xffff888001000000', 1021)
    """
    order = get_order(size)
    if gfp_mask & __GFP_COMP and machine.on:
        machine.trace.emit(ev.Warned("WARN_ON_ONCE(gfp_mask & __GFP_COMP): a compound page cannot be split"))
    addr = __get_free_pages(machine, gfp_mask & ~__GFP_COMP, order)
    if addr:
        pfn = (addr - machine.config.page_offset) >> PAGE_SHIFT
        split_page(page_zone(machine, pfn), pfn, order)
        for surplus in range(pfn - (-size >> PAGE_SHIFT), pfn + (1 << order)):
            __free_pages(machine, surplus, 0)
    return addr


def get_order(size: int) -> int:
    """The smallest order whose block holds `size` bytes.

    Kernel: include/asm-generic/getorder.h:get_order.

    >>> get_order(4096), get_order(4097), get_order(102400)
    (0, 1, 5)
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 byte, got {size}")
    return ((size - 1) // PAGE_SIZE).bit_length()
