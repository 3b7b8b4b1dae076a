"""The primitives of SLUB: the only code that changes a cache or a slab.

A primitive makes one change and reports it. Its arguments, after the machine, are the fields of its event, so replay
runs the very same code. slub.py and its neighbours decide, and call primitives. (The two of the fast path get the cache
itself, and replay finds it by its name: as the page allocator does with its zones.)
"""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..trace import Event, mirrors
from . import slab_events as ev
from .highmem import page_address
from .machine import MACHINE_PRIMITIVES
from .page_ref import page_zone
from .slab_common import WORD, align_up, kmalloc_align, kmalloc_classes
from .slab_types import KmemCache, Slab, SlabPage
from .slub_size import calculate_sizes, next_random

if TYPE_CHECKING:
    from .machine import Machine


def slab(machine: Machine) -> Slab:
    """The part "slab" of a machine; its first use makes the caches of kmalloc."""
    try:
        part: Any = machine.parts["slab"]
    except KeyError:
        kmem_cache_init(machine)
        part = machine.parts["slab"]
    return part  # type: ignore[no-any-return]


def __part(machine: Machine) -> Slab:
    part: Any = machine.parts["slab"]
    return part  # type: ignore[no-any-return]


# ---------------------------------------------------------------- caches


@mirrors("mm/slub.c")
def kmem_cache_init(machine: Machine) -> None:
    """Boot makes the caches of kmalloc, in their order (with mm/slab_common.c:create_kmalloc_caches).

    Simplified: the caches that hold the descriptors themselves (kmem_cache, kmem_cache_node) are left out.
    """
    part = Slab(prandom=machine.config.slab_seed, kmalloc_caches=[[None] * 14 for _ in range(3)])
    machine.parts["slab"] = part
    for type_, index, name, size, flags in kmalloc_classes("SLUB", "DMA" in machine.config.zone_names):
        usersize = 0 if name.startswith("dma") else size
        __open(machine, part, name, size, kmalloc_align(size), flags, False, usersize)
        part.kmalloc_caches[type_][index] = part.caches[name]
    if machine.on:
        machine.trace.emit(ev.KmemCacheInit())


@mirrors("mm/slub.c")
def kmem_cache_open(machine: Machine, cache: str, size: int, align: int, flags: int, ctor: bool,
                    usersize: int) -> None:
    """Make a cache of this name; it has no slab yet."""
    __open(machine, __part(machine), cache, size, align, flags, ctor, usersize)
    if machine.on:
        machine.trace.emit(ev.KmemCacheOpen(cache, size, align, flags, ctor, usersize))


def __open(machine: Machine, part: Slab, name: str, size: int, align: int, flags: int, ctor: bool,
           usersize: int) -> None:
    cache = calculate_sizes(machine.config, len(machine.cpu_to_node), len(machine.node), name, size, align, flags, ctor,
                            usersize)
    if machine.config.slab_freelist_hardened:
        part.prandom = cache.random = next_random(part.prandom)
    if machine.config.slab_freelist_random:
        cache.random_seq = __random_seq(part, cache)
    part.caches[name] = cache


def __random_seq(part: Slab, cache: KmemCache) -> tuple[int, ...]:
    """The objects of a slab in a random order (mm/slab_common.c:cache_random_seq_create, freelist_randomize)."""
    seq = list(range(cache.oo.objects))
    for i in range(len(seq) - 1, 0, -1):
        part.prandom = next_random(part.prandom)
        other = (part.prandom >> 32) % (i + 1)
        seq[i], seq[other] = seq[other], seq[i]
    return tuple(seq)


@mirrors("mm/slub.c", "__kmem_cache_alias")
def kmem_cache_alias(machine: Machine, cache: str, target: str, size: int) -> None:
    """Let `cache` be another name of `target`, whose objects become as large as the larger of the two."""
    part = __part(machine)
    found = part.cache(target)
    found.refcount += 1
    found.object_size = max(found.object_size, size)
    found.inuse = max(found.inuse, align_up(size, WORD))
    part.aliases[cache] = target
    if machine.on:
        machine.trace.emit(ev.KmemCacheAlias(cache, target, size))


def get_random_int(machine: Machine, below: int) -> int:
    """The machine's next random number, 0 to below - 1."""
    part = __part(machine)
    part.prandom = next_random(part.prandom)
    if machine.on:
        machine.trace.emit(ev.RandomDrawn(below))
    return (part.prandom >> 32) % below


# ---------------------------------------------------------------- what a CPU has


def freelist_pop(machine: Machine, s: KmemCache, cpu: int, object: int) -> None:
    """The CPU gives out `object`: its head is what the object's free pointer says, and the transaction moves on."""
    c = s.cpu_slab[cpu]
    page: Any = c.page
    c.freelist = page.freepointer[object]
    c.tid += 1
    page.live.add(object)
    if machine.on:
        machine.trace.emit(ev.FreelistPopped(s.name, cpu, object))


def freelist_push(machine: Machine, s: KmemCache, cpu: int, object: int) -> None:
    """A freed object becomes the CPU's head, and its free pointer says what was the head."""
    c = s.cpu_slab[cpu]
    page: Any = c.page
    page.freepointer[object] = c.freelist
    c.freelist = object
    c.tid += 1
    page.live.discard(object)
    if machine.on:
        machine.trace.emit(ev.FreelistPushed(s.name, cpu, object))


def set_cpu_freelist(machine: Machine, cache: str, cpu: int, freelist: int) -> None:
    """c->freelist = freelist: the head of another list of the cpu slab, or 0."""
    __part(machine).caches[cache].cpu_slab[cpu].freelist = freelist
    if machine.on:
        machine.trace.emit(ev.SetCpuFreelist(cache, cpu, freelist))


def set_cpu_page(machine: Machine, cache: str, cpu: int, pfn: int) -> None:
    """c->page = the slab at `pfn`; -1 is none."""
    part = __part(machine)
    part.caches[cache].cpu_slab[cpu].page = part.pages.get(pfn)
    if machine.on:
        machine.trace.emit(ev.SetCpuPage(cache, cpu, pfn))


def next_tid(machine: Machine, cache: str, cpu: int) -> None:
    """c->tid = next_tid(c->tid), where the list changes in another way than by one object."""
    __part(machine).caches[cache].cpu_slab[cpu].tid += 1
    if machine.on:
        machine.trace.emit(ev.NextTid(cache, cpu))


def cpu_partial_push(machine: Machine, cache: str, cpu: int, pfn: int, pages: int, pobjects: int) -> None:
    """The slab becomes the first of the CPU's partial list; page->pages and page->pobjects sum up the list."""
    part = __part(machine)
    page = part.pages[pfn]
    page.pages, page.pobjects = pages, pobjects
    part.caches[cache].cpu_slab[cpu].partial.insert(0, pfn)
    if machine.on:
        machine.trace.emit(ev.CpuPartialPushed(cache, cpu, pfn, pages, pobjects))


def cpu_partial_pop(machine: Machine, cache: str, cpu: int, pfn: int) -> None:
    """c->partial = page->next: the first slab leaves the list."""
    part = __part(machine)
    part.caches[cache].cpu_slab[cpu].partial.remove(pfn)
    part.pages[pfn].pages = part.pages[pfn].pobjects = 0
    if machine.on:
        machine.trace.emit(ev.CpuPartialPopped(cache, cpu, pfn))


# ---------------------------------------------------------------- a slab


def set_page_slab(machine: Machine, pfn: int, cache: str, order: int, objects: int) -> None:
    """SetPageSlab: 2^order pages become a slab of the cache, all of it in use as far as the page knows, and frozen."""
    part = __part(machine)
    page = SlabPage(pfn, order, page_zone(machine, pfn).nid, page_address(machine, pfn), part.caches[cache], objects,
                    inuse=objects, frozen=True)
    part.pages.update((each, page) for each in range(pfn, pfn + (1 << order)))
    if machine.on:
        machine.trace.emit(ev.SetPageSlab(pfn, cache, order, objects))


def lay_freelist(machine: Machine, pfn: int, pos: int) -> None:
    """Link every object of a new slab: upwards (-1), or along the cache's random sequence from place `pos` on."""
    page = __part(machine).pages[pfn]
    cache = page.slab_cache
    seq = [*cache.random_seq[pos:], *cache.random_seq[:pos]] if pos >= 0 else range(page.objects)
    addresses = [page.start + number * cache.size for number in seq if number < page.objects]
    page.freepointer.update(zip(addresses, [*addresses[1:], 0], strict=True))
    page.freelist = addresses[0]
    if machine.on:
        machine.trace.emit(ev.FreelistLaid(pfn, pos))


def set_freepointer(machine: Machine, pfn: int, object: int, fp: int) -> None:
    """The free pointer of an object says `fp`; the object is nobody's."""
    page = __part(machine).pages[pfn]
    page.freepointer[object] = fp
    page.live.discard(object)
    if machine.on:
        machine.trace.emit(ev.SetFreepointer(pfn, object, fp))


def cmpxchg_double_slab(machine: Machine, pfn: int, freelist: int, inuse: int, frozen: bool) -> None:
    """page->freelist and the counters in one stroke. Simplified: one operation runs at a time, so it never fails."""
    page = __part(machine).pages[pfn]
    page.freelist, page.inuse, page.frozen = freelist, inuse, frozen
    if machine.on:
        machine.trace.emit(ev.CmpxchgDoubleSlab(pfn, freelist, inuse, frozen))


@mirrors("mm/slub.c")
def add_partial(machine: Machine, pfn: int, tail: bool) -> None:
    """The slab goes onto the partial list of its node: to the head, to be used next, or to the tail."""
    page = __part(machine).pages[pfn]
    partial = page.slab_cache.node[page.nid].partial
    partial.insert(len(partial) if tail else 0, pfn)
    if machine.on:
        machine.trace.emit(ev.AddPartial(pfn, tail))


@mirrors("mm/slub.c")
def remove_partial(machine: Machine, pfn: int) -> None:
    """The slab leaves the partial list of its node."""
    page = __part(machine).pages[pfn]
    page.slab_cache.node[page.nid].partial.remove(pfn)
    if machine.on:
        machine.trace.emit(ev.RemovePartial(pfn))


def call_rcu(machine: Machine, pfn: int) -> None:
    """The slab waits for a grace period (call_rcu(&page->rcu_head, rcu_free_slab))."""
    __part(machine).rcu.append(pfn)
    if machine.on:
        machine.trace.emit(ev.CallRcu(pfn))


def clear_page_slab(machine: Machine, pfn: int) -> None:
    """__ClearPageSlab: the pages are ordinary pages again, and what was in the objects is forgotten."""
    part = __part(machine)
    for each in range(pfn, pfn + (1 << part.pages[pfn].order)):
        del part.pages[each]
    if pfn in part.rcu:
        part.rcu.remove(pfn)
    if machine.on:
        machine.trace.emit(ev.ClearPageSlab(pfn))


def write_object(machine: Machine, pfn: int, object: int, word: int) -> None:
    """Somebody writes `word` where an object keeps its free pointer when it is free. The owner may; anybody can.

    Parameters
    ----------
    pfn, object : int
        The slab and the object, free or in use.
    word : int
        What is written, 0 by __GFP_ZERO.
    """
    __part(machine).pages[pfn].freepointer[object] = word
    if machine.on:
        machine.trace.emit(ev.ObjectWritten(pfn, object, word))


def __with_cache(primitive: Callable[[Machine, KmemCache, int, int], None]) -> Callable[[Machine, str, int, int], None]:
    """The same primitive, for who has the name of the cache only."""
    def by_name(machine: Machine, cache: str, cpu: int, object: int) -> None:
        primitive(machine, __part(machine).caches[cache], cpu, object)
    return by_name


SLAB_PRIMITIVES: dict[type[Event], Callable[..., Any]] = {
    ev.KmemCacheInit: kmem_cache_init,
    ev.KmemCacheOpen: kmem_cache_open,
    ev.KmemCacheAlias: kmem_cache_alias,
    ev.RandomDrawn: get_random_int,
    ev.FreelistPopped: __with_cache(freelist_pop),
    ev.FreelistPushed: __with_cache(freelist_push),
    ev.SetCpuFreelist: set_cpu_freelist,
    ev.SetCpuPage: set_cpu_page,
    ev.NextTid: next_tid,
    ev.CpuPartialPushed: cpu_partial_push,
    ev.CpuPartialPopped: cpu_partial_pop,
    ev.SetPageSlab: set_page_slab,
    ev.FreelistLaid: lay_freelist,
    ev.SetFreepointer: set_freepointer,
    ev.CmpxchgDoubleSlab: cmpxchg_double_slab,
    ev.AddPartial: add_partial,
    ev.RemovePartial: remove_partial,
    ev.CallRcu: call_rcu,
    ev.ClearPageSlab: clear_page_slab,
    ev.ObjectWritten: write_object,
}
MACHINE_PRIMITIVES.update(SLAB_PRIMITIVES)
