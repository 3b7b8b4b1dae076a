"""SLUB, the way back: from an object to its slab.

    kfree, kmem_cache_free
      do_slab_free         in this CPU's cpu slab: push it on the CPU's list, done
        __slab_free        anywhere else: push it on the page's own list, and see what that makes of the slab

      the slab was                     it becomes
      a CPU's (frozen)                 the same; that CPU finds the object when its own list is empty
      full, on no list                 frozen, the first of this CPU's partial list
      node partial                     the same; empty, and min_partial others there: freed

An object goes back to the slab that it was cut from, whoever frees it. The list is LIFO: what was freed last is warm.

A plain v5.4 believes whoever frees. Here an object that is free already is a KernelBug, unless `machine.strict` is
False: then the list bites its own tail, and two owners get the same object.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import KernelBug
from ..kernel import PAGE_SHIFT, PAGE_SIZE
from ..trace import mirrors
from . import slab_events as ev
from .highmem import page_address
from .page_free import __free_pages
from .page_ref import covering_block, page_zone
from .slab_common import SLAB_TYPESAFE_BY_RCU, ZERO_SIZE_PTR, virt_to_page
from .slab_state import add_partial, cmpxchg_double_slab, freelist_push, remove_partial, set_freepointer, slab
from .slab_types import KmemCache, SlabPage
from .slub_page import discard_slab
from .slub_partial import may_discard, put_cpu_partial
from .slub_size import check_hardened

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/slub.c")
def kfree(machine: Machine, x: int) -> None:
    """Give back what kmalloc gave; 0 and ZERO_SIZE_PTR are allowed and do nothing.

    Parameters
    ----------
    x : int
        The address that kmalloc returned.

    Raises
    ------
    ValueError
        If the address is in no zone of the machine.
    KernelBug
        If nobody holds an object there. `machine.strict = False` goes on as a plain v5.4 does.

    Notes
    -----
    Kernel: mm/slub.c:kfree at v5.4.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> first = mv.kmalloc(machine, 64, mv.GFP_KERNEL)
    >>> mv.kfree(machine, first)
    >>> mv.kmalloc(machine, 64, mv.GFP_KERNEL) == first
    True
    """
    if machine.on:
        machine.trace.emit(ev.Kfree(x))
    parts: Any = machine.parts
    try:
        page = parts["slab"].pages[(x - machine.config.page_offset) >> PAGE_SHIFT]
    except KeyError:  # a page that is no slab
        if not 0 <= x <= ZERO_SIZE_PTR:  # ZERO_OR_NULL_PTR
            __kfree_large(machine, x)
    else:
        do_slab_free(machine, page.slab_cache, page, x)


def __kfree_large(machine: Machine, x: int) -> None:
    """What is no slab must be the compound page of a large kmalloc."""
    pfn, order = __compound_head(machine, x)
    if machine.strict and page_address(machine, pfn) != x:
        raise KernelBug(f"kfree({x:#x}): kmalloc returned {page_address(machine, pfn):#x}; a plain v5.4 says nothing "
                        "and frees the whole block (mm/slub.c:kfree)")
    __free_pages(machine, pfn, order)


def __compound_head(machine: Machine, x: int) -> tuple[int, int]:
    """The first page and the order of the compound page that an address lies in (virt_to_head_page)."""
    pfn = virt_to_page(machine, x)
    head, order = covering_block(page_zone(machine, pfn).compound, pfn)
    if order < 0:
        raise KernelBug(f"{x:#x} is in no slab and in no compound page: nobody got it from kmalloc, or it was freed. "
                        "BUG_ON(!PageCompound(page)) (mm/slub.c:kfree)")
    return head, order


@mirrors("mm/slub.c")
def kmem_cache_free(machine: Machine, cache: str, x: int) -> None:
    """Give an object back to its cache.

    Parameters
    ----------
    cache : str
        The name of the cache that it is of.
    x : int
        The address that kmem_cache_alloc returned.

    Raises
    ------
    KernelBug
        If nobody holds an object there, or it is of another cache.

    Notes
    -----
    Kernel: mm/slub.c:kmem_cache_free at v5.4.
    """
    parts: Any = machine.parts
    try:
        part = parts["slab"]
        s, page = part.caches[cache], part.pages[(x - machine.config.page_offset) >> PAGE_SHIFT]
    except KeyError:  # another name of the cache, or a page that is no slab
        part = slab(machine)
        s, page = part.cache(cache), part.page_of(x, machine.config.page_offset)
    if page is None or page.slab_cache is not s:
        raise KernelBug(f"object {x:#x} must be of cache {s.name}, is of {page and page.slab_cache.name}: a v5.4 with "
                        "slab debugging prints a warning here, a plain one corrupts both (mm/slab.h:cache_from_obj)")
    do_slab_free(machine, s, page, x)
    if machine.on:
        machine.trace.emit(ev.KmemCacheFree(x))


# ---------------------------------------------------------------- the fast path


@mirrors("mm/slub.c")
def do_slab_free(machine: Machine, s: KmemCache, page: SlabPage, head: int) -> None:
    """Into this CPU's own slab: the object becomes the head of the CPU's list. Else the slow path.

    Kernel: mm/slub.c:do_slab_free, with slab_free, which only passes on.
    """
    cpu = machine.current.cpu
    c = s.cpu_slab[cpu]
    fast = page is c.page
    if head not in page.live:
        check_object(machine, page, head, c.freelist if fast else page.freelist)
    if machine.on:
        machine.trace.emit(ev.FreeSlabFound(s.name, cpu, head, fast))
    if fast:
        freelist_push(machine, s, cpu, head)
    else:
        __slab_free(machine, s, page, head)


def check_object(machine: Machine, page: SlabPage, object: int, first: int) -> None:
    """Nobody holds this object: say what is wrong with freeing it. `first` is the head of the list it would go to."""
    check_hardened(machine.config, object, first)
    if not machine.strict:
        return
    if object not in page.addresses():
        raise KernelBug(f"{object:#x} lies in the slab {page.pfn:#x} of {page.slab_cache.name}, but no object begins "
                        f"there: they are {page.slab_cache.size} bytes apart, from {page.start:#x} on; a plain v5.4 "
                        "says nothing and puts it on the free list (mm/slub.c:do_slab_free)")
    raise KernelBug(f"object {object:#x} of {page.slab_cache.name} is free already; a plain v5.4 says nothing: the "
                    "free list bites its own tail, and the next two to ask get the same object "
                    "(mm/slub.c:do_slab_free)")


# ---------------------------------------------------------------- the slow path


@mirrors("mm/slub.c")
def __slab_free(machine: Machine, s: KmemCache, page: SlabPage, head: int) -> None:
    """Into another slab: the object becomes the head of the page's own list, and the slab may change its place.

    Notes
    -----
    A full slab is on no list; now that it has a free object, this CPU takes it onto its partial list (frozen). Without
    cpu partial lists it goes to the tail of its node's. Kernel: mm/slub.c:__slab_free at v5.4.
    """
    prior, was_frozen, inuse = page.freelist, page.frozen, (page.inuse - 1) & 0xFFFF
    frozen = was_frozen or (not prior and machine.config.slub_cpu_partial)
    if machine.on:
        machine.trace.emit(ev.SlabFreed(page.pfn, head, prior, inuse, was_frozen, frozen))
    set_freepointer(machine, page.pfn, head, prior)
    cmpxchg_double_slab(machine, page.pfn, head, inuse, frozen)
    if frozen:
        if not was_frozen:
            put_cpu_partial(machine, s, page, True)
    elif not prior or not inuse:
        __under_list_lock(machine, s, page, prior)


def __under_list_lock(machine: Machine, s: KmemCache, page: SlabPage, prior: int) -> None:
    """The end of __slab_free where the node's list may change: the slab is empty, or it was full."""
    if may_discard(machine, s, page):
        if prior:
            remove_partial(machine, page.pfn)
        discard_slab(machine, s, page)
    elif not prior:
        add_partial(machine, page.pfn, True)


def ksize(machine: Machine, object: int) -> int:
    """The bytes that may be used of what kmalloc gave: the class, not the request.

    Parameters
    ----------
    object : int
        The address that kmalloc returned; ZERO_SIZE_PTR has 0 bytes.

    Notes
    -----
    Kernel: mm/slub.c:__ksize at v5.4.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> ksize(machine, mv.kmalloc(machine, 100, mv.GFP_KERNEL))
    128
    """
    if object == ZERO_SIZE_PTR:
        return 0
    page = slab(machine).page_of(object, machine.config.page_offset)
    if page is None:
        return PAGE_SIZE << __compound_head(machine, object)[1]
    cache = page.slab_cache
    return cache.inuse if cache.flags & SLAB_TYPESAFE_BY_RCU else cache.size
