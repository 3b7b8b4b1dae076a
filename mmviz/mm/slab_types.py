"""What SLUB keeps: caches of equal objects, and the pages that the objects are cut from.

A slab is one block of pages, cut into objects of one size. A free object needs no memory of its own to be found again:
its first word (or the word at `offset`) holds the address of the next free object, so the free list lies in the free
objects themselves, and a list is known by its head:

    slab at 0x1a42c000, objects of 64 bytes       head = +0x40
    +--------+--------+--------+--------+---
    | in use | +0xc0 ---------.| in use | 0 (end) ...
    +--------+--------+--------+--------+---
               +0x40     +0x80 '->+0xc0

A slab is in one of four places. Which one is told by `frozen` and by the list it is on:

    cpu slab      frozen, one a CPU and cache: the CPU takes from it and gives to it without a lock
    cpu partial   frozen, on the CPU's own list of slabs with free objects
    node partial  not frozen, on the list of its node, for any CPU to take
    full          not frozen, on no list: nobody looks for it until one of its objects is freed

An object is its address in the direct map, a page is its pfn, a cache is its name; 0 is NULL.

Left out: the debug fields of a cache (red zones, poison, tracking), memory cgroups, sysfs. SLAB and SLOB have parts of
their own.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from ..kernel import PAGE_SHIFT


class OrderObjects(NamedTuple):
    """struct kmem_cache_order_objects: the order of a slab and how many objects it is cut into."""

    order: int
    objects: int


@dataclass(slots=True, eq=False)
class SlabPage:
    """struct page as SLUB uses it: the first page of a slab.

    Attributes
    ----------
    pfn, order, nid : int
        Where the slab is: 2^order pages from `pfn` on, of this node.
    start : int
        The address of its first byte, which is its first object.
    slab_cache : KmemCache
    objects : int
        How many it is cut into.
    freelist : int
        The first free object of the page's own list. While the slab is a CPU's, the list holds only what others freed.
    inuse : int
        The objects that are not on `freelist`; those on the list of the CPU count as in use.
    frozen : bool
        True: the slab belongs to a CPU.
    pages, pobjects : int
        On a cpu partial list: slabs and free objects from here to the end of the list, as they were when it came.
    freepointer : dict of int to int
        The free-pointer word of each object. In an object that is in use it is what was last stored there.
    live : set of int
        The objects that somebody was given.
    """

    pfn: int
    order: int
    nid: int
    start: int
    slab_cache: KmemCache
    objects: int
    freelist: int = 0
    inuse: int = 0
    frozen: bool = False
    pages: int = 0
    pobjects: int = 0
    freepointer: dict[int, int] = field(default_factory=dict)
    live: set[int] = field(default_factory=set)

    @property
    def name(self) -> str:
        """What a call tree calls it: its pfn."""
        return f"{self.pfn:#x}"

    def addresses(self) -> range:
        """Every object of the slab, in ascending order."""
        size = self.slab_cache.size
        return range(self.start, self.start + self.objects * size, size)

    def walk(self, head: int) -> Iterator[int]:
        """The objects of a free list in its order; a list that bites its own tail ends there."""
        seen: set[int] = set()
        while head and head not in seen:
            yield head
            seen.add(head)
            head = self.freepointer.get(head, 0)


@dataclass(slots=True, eq=False)
class KmemCacheCpu:
    """struct kmem_cache_cpu: what one CPU has of a cache.

    Attributes
    ----------
    freelist : int
        The next object that this CPU gives out, or 0. All of the list lies in `page`.
    tid : int
        The transaction number; every change of the list moves it on, so that a CPU sees that it was disturbed.
    page : SlabPage or None
        The cpu slab.
    partial : list of int
        The pfns of its slabs with free objects, next to be used first.
    """

    freelist: int = 0
    tid: int = 0
    page: SlabPage | None = None
    partial: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class KmemCacheNode:
    """struct kmem_cache_node: the pfns of a node's slabs with free objects, next to be used first."""

    partial: list[int] = field(default_factory=list)

    @property
    def nr_partial(self) -> int:
        """How many slabs the list has."""
        return len(self.partial)


@dataclass(slots=True, eq=False)
class KmemCache:
    """struct kmem_cache: one size of objects, or one kind.

    Attributes
    ----------
    name : str
    object_size : int
        Bytes that a user may use.
    size : int
        Bytes from one object to the next.
    align, flags : int
        What the cache was made with (SLAB_* bits).
    offset : int
        Where in an object its free pointer lies, in bytes.
    inuse : int
        Bytes up to what is kept behind an object.
    oo, min : OrderObjects
        The order that a new slab should have, and the smallest that it may have.
    allocflags : int
        GFP bits for its pages.
    min_partial : int
        Empty slabs are kept while their node has fewer partial slabs than this.
    cpu_partial : int
        Free objects that a CPU may keep on its partial list.
    ctor : bool
        A constructor fills each new object.
    usersize : int
        Bytes that may be copied to and from user space; such a cache is never merged.
    refcount : int
        How many users were merged into it.
    random : int
        What hides free pointers (FREELIST_HARDENED).
    random_seq : tuple of int
        The order of a new slab's objects (FREELIST_RANDOM); empty for ascending.
    cpu_slab, node : list
        By CPU, by node.
    """

    name: str
    object_size: int
    size: int
    align: int
    flags: int
    offset: int
    inuse: int
    oo: OrderObjects
    min: OrderObjects
    allocflags: int
    min_partial: int
    cpu_partial: int
    ctor: bool
    usersize: int = 0
    refcount: int = 1
    random: int = 0
    random_seq: tuple[int, ...] = ()
    cpu_slab: list[KmemCacheCpu] = field(default_factory=list)
    node: list[KmemCacheNode] = field(default_factory=list)


PLAIN = ("name", "object_size", "size", "align", "flags", "offset", "inuse", "allocflags", "min_partial", "cpu_partial",
         "ctor", "usersize", "refcount", "random")
PAGE_PLAIN = ("pfn", "order", "nid", "start", "objects", "freelist", "inuse", "frozen", "pages", "pobjects")


@dataclass(slots=True, eq=False)
class Slab:
    """The part "slab" of a Machine: every cache of SLUB and every slab.

    Attributes
    ----------
    caches : dict of str to KmemCache
        By name, the oldest first (the kernel's slab_caches has the newest first).
    aliases : dict of str to str
        Names that were merged into another cache, and that cache's name.
    kmalloc_caches : list of list of (KmemCache or None)
        By type (KMALLOC_NORMAL, KMALLOC_RECLAIM, KMALLOC_DMA) and index.
    pages : dict of int to SlabPage
        The slab that a page belongs to, for every page of every slab (PageSlab, compound_head).
    rcu : list of int
        Slabs that are freed when a grace period has passed (SLAB_TYPESAFE_BY_RCU), oldest first.
    prandom : int
        Where the random numbers of this machine stand.
    """

    caches: dict[str, KmemCache] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    kmalloc_caches: list[list[KmemCache | None]] = field(default_factory=list)
    pages: dict[int, SlabPage] = field(default_factory=dict)
    rcu: list[int] = field(default_factory=list)
    prandom: int = 1

    def cache(self, name: str) -> KmemCache:
        """The cache of this name, or the one that it was merged into; KeyError says which there are."""
        found = self.caches.get(self.aliases.get(name, name))
        if found is None:
            raise KeyError(f"cache must be one of {', '.join([*self.caches, *self.aliases])}, got {name!r}")
        return found

    def slabs(self, name: str) -> list[SlabPage]:
        """The slabs of a cache, lowest address first."""
        cache = self.cache(name)
        heads = sorted(pfn for pfn, page in self.pages.items() if page.pfn == pfn and page.slab_cache is cache)
        return [self.pages[pfn] for pfn in heads]

    def page_of(self, addr: int, page_offset: int) -> SlabPage | None:
        """The slab that an address lies in (virt_to_head_page and PageSlab)."""
        return self.pages.get((addr - page_offset) >> PAGE_SHIFT)

    # -- a copy, plain data

    def copy(self) -> Slab:
        """A part that shares nothing with this one."""
        twin = Slab(aliases=dict(self.aliases), rcu=self.rcu[:], prandom=self.prandom)
        for name, cache in self.caches.items():
            twin.caches[name] = replace(cache, cpu_slab=[], node=[KmemCacheNode(n.partial[:]) for n in cache.node])
        twin.kmalloc_caches = [[cache and twin.caches[cache.name] for cache in row] for row in self.kmalloc_caches]
        for pfn, page in self.pages.items():
            twin.pages[pfn] = twin.pages[page.pfn] if pfn != page.pfn else replace(
                page, slab_cache=twin.caches[page.slab_cache.name], freepointer=dict(page.freepointer),
                live=set(page.live))
        for name, cache in self.caches.items():
            twin.caches[name].cpu_slab = [
                KmemCacheCpu(c.freelist, c.tid, c.page and twin.pages[c.page.pfn], c.partial[:])
                for c in cache.cpu_slab]
        return twin

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data, for `from_dict`; equal states give equal dicts."""
        return {
            "caches": [_cache_to_dict(cache) for cache in self.caches.values()], "aliases": dict(self.aliases),
            "kmalloc_caches": [[cache and cache.name for cache in row] for row in self.kmalloc_caches],
            "pages": [_page_to_dict(self.pages[pfn]) for pfn in sorted(self.pages) if self.pages[pfn].pfn == pfn],
            "rcu": self.rcu[:], "prandom": self.prandom,
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Self:
        """The part that `to_dict` described; it shares nothing with the dict."""
        part = cls(aliases=dict(saved["aliases"]), rcu=saved["rcu"][:], prandom=saved["prandom"])
        for data in saved["caches"]:
            part.caches[data["name"]] = _cache_from_dict(data)
        part.kmalloc_caches = [[name and part.caches[name] for name in row] for row in saved["kmalloc_caches"]]
        for data in saved["pages"]:
            page = _page_from_dict(part, data)
            part.pages.update((pfn, page) for pfn in range(page.pfn, page.pfn + (1 << page.order)))
        for data in saved["caches"]:
            for c, (_, _, pfn, _) in zip(part.caches[data["name"]].cpu_slab, data["cpu_slab"], strict=True):
                c.page = part.pages.get(pfn)
        return part


def _cache_to_dict(cache: KmemCache) -> dict[str, Any]:
    return {**{name: getattr(cache, name) for name in PLAIN}, "oo": list(cache.oo), "min": list(cache.min),
            "random_seq": list(cache.random_seq), "node": [n.partial[:] for n in cache.node],
            "cpu_slab": [[c.freelist, c.tid, c.page.pfn if c.page else -1, c.partial[:]] for c in cache.cpu_slab]}


def _cache_from_dict(data: dict[str, Any]) -> KmemCache:
    return KmemCache(**{name: data[name] for name in PLAIN}, oo=OrderObjects(*data["oo"]),
                     min=OrderObjects(*data["min"]), random_seq=tuple(data["random_seq"]),
                     node=[KmemCacheNode(pfns[:]) for pfns in data["node"]],
                     cpu_slab=[KmemCacheCpu(freelist, tid, None, partial[:])
                               for freelist, tid, _, partial in data["cpu_slab"]])


def _page_to_dict(page: SlabPage) -> dict[str, Any]:
    return {**{name: getattr(page, name) for name in PAGE_PLAIN}, "cache": page.slab_cache.name,
            "freepointer": [[each, page.freepointer[each]] for each in sorted(page.freepointer)],
            "live": sorted(page.live)}


def _page_from_dict(part: Slab, data: dict[str, Any]) -> SlabPage:
    plain = {name: data[name] for name in PAGE_PLAIN}
    return SlabPage(**plain, slab_cache=part.caches[data["cache"]], freepointer=dict(data["freepointer"]),
                    live=set(data["live"]))
