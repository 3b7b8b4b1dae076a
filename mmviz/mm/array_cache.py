"""The state of SLAB, and its primitives: the only code that changes it.

    cache kmalloc-256     num 16, order 0, colour 0
      arrays              cpu 0     [oldest ... newest]      limit 120, batchcount 60
                          shared 0  [...]                    one for a node, if there are several CPUs
                          alien 0 1 [...]                    kept by node 0 for objects of node 1
      node 0              partial [0x1001]   full [0x1000]   free []      free_objects 9
      slab 0x1001         active 7: seven objects are out; freelist[7..15] are free, freelist[7] is next

An object is in use, or it waits in an array, or it is free in its slab. A slab keeps an array of numbers, used like a
stack: `freelist[active]` is the next object to go out, and the one that comes back is written to `freelist[--active]`.

Simplified: where the kernel keeps that array (in a free object, or at the end of the slab) costs what it costs there,
but is not a place that can be overwritten; `alien` and `shared` arrays are made with the cache.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..kernel import PAGE_SIZE
from ..trace import Event, mirrors
from . import array_cache_events as ev
from .machine import MACHINE_PRIMITIVES

if TYPE_CHECKING:
    from .machine import Machine

SLAB_LISTS = ("partial", "full", "free")
ALIEN_LIMIT = 12
BOOT = ("object_size", "size", "gfporder", "num", "colour", "colour_off", "allocflags", "limit", "batchcount", "shared",
        "objfreelist")


@dataclass(slots=True)
class ArrayCache:
    """struct array_cache: pointers to free objects, used like a stack; the last entry is the top."""

    limit: int
    batchcount: int
    touched: int = 0
    entry: list[int] = field(default_factory=list)


@dataclass(slots=True)
class KmemCacheNode:
    """struct kmem_cache_node of SLAB: the slabs of a node, on three lists."""

    free_limit: int
    free_objects: int = 0
    colour_next: int = 0
    slabs: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in SLAB_LISTS})


@dataclass(slots=True)
class SlabPage:
    """struct page, as SLAB uses it: objects begin at `s_mem`, `active` are out; freelist[active:] are free."""

    s_mem: int
    freelist: list[int]
    active: int = 0


@dataclass(slots=True)
class SlabCache:
    """struct kmem_cache of SLAB.

    Attributes
    ----------
    object_size, size : int
        Asked for, and what an object takes; in bytes.
    gfporder, num : int
        A slab is 2^gfporder pages and holds `num` objects.
    colour, colour_off : int
        Slabs begin at 0 to colour - 1 times colour_off bytes in turn.
    limit, batchcount, shared : int
        Of the CPUs' arrays; the shared array holds shared * batchcount.
    objfreelist : bool
        The freelist stands in a free object, and takes no room of its own.
    """

    object_size: int
    size: int
    gfporder: int
    num: int
    colour: int
    colour_off: int
    allocflags: int
    limit: int
    batchcount: int
    shared: int
    objfreelist: bool
    array: dict[str, ArrayCache] = field(default_factory=dict)
    node: list[KmemCacheNode] = field(default_factory=list)
    pages: dict[int, SlabPage] = field(default_factory=dict)

    def numbers(self) -> list[int | bool]:
        """What never changes, in the order of its event."""
        return [getattr(self, name) for name in BOOT]

    def copy(self) -> SlabCache:
        """A cache that shares nothing with this one."""
        twin = SlabCache(*self.numbers())  # type: ignore[arg-type]
        twin.array = {name: ArrayCache(ac.limit, ac.batchcount, ac.touched, ac.entry[:])
                      for name, ac in self.array.items()}
        twin.node = [KmemCacheNode(n.free_limit, n.free_objects, n.colour_next,
                                   {name: pfns[:] for name, pfns in n.slabs.items()}) for n in self.node]
        twin.pages = {pfn: SlabPage(page.s_mem, page.freelist[:], page.active) for pfn, page in self.pages.items()}
        return twin

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `from_dict`."""
        return {
            "numbers": self.numbers(),
            "array": {name: [ac.limit, ac.batchcount, ac.touched, ac.entry[:]] for name, ac in self.array.items()},
            "node": [[n.free_limit, n.free_objects, n.colour_next, {name: pfns[:] for name, pfns in n.slabs.items()}]
                     for n in self.node],
            "pages": [[pfn, page.s_mem, page.freelist[:], page.active] for pfn, page in sorted(self.pages.items())],
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> SlabCache:
        """What `to_dict` described."""
        cache = cls(*saved["numbers"])
        cache.array = {name: ArrayCache(limit, batchcount, touched, entry[:])
                       for name, (limit, batchcount, touched, entry) in saved["array"].items()}
        cache.node = [KmemCacheNode(limit, objects, colour, {name: pfns[:] for name, pfns in slabs.items()})
                      for limit, objects, colour, slabs in saved["node"]]
        cache.pages = {pfn: SlabPage(s_mem, freelist[:], active) for pfn, s_mem, freelist, active in saved["pages"]}
        return cache


@dataclass(slots=True)
class SlabCaches:
    """All that SLAB keeps: its caches by name."""

    caches: dict[str, SlabCache] = field(default_factory=dict)

    def copy(self) -> SlabCaches:
        """SlabCaches that share nothing with these."""
        return SlabCaches({name: cache.copy() for name, cache in self.caches.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `from_dict`."""
        return {name: self.caches[name].to_dict() for name in sorted(self.caches)}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> SlabCaches:
        """What `to_dict` described."""
        return cls({name: SlabCache.from_dict(cache) for name, cache in saved.items()})


def slab_caches(machine: Machine) -> dict[str, SlabCache]:
    """The caches of SLAB by name; none before the first one is set up."""
    part = machine.parts.get("array_cache")
    return part.caches if isinstance(part, SlabCaches) else {}


# ---------------------------------------------------------------- primitives


@mirrors("mm/slab.c")
def setup_cpu_cache(machine: Machine, cache: str, object_size: int, size: int, gfporder: int, num: int, colour: int,
                    colour_off: int, allocflags: int, limit: int, batchcount: int, shared: int,
                    objfreelist: bool) -> None:
    """A cache begins: empty arrays for each CPU, a shared one and alien ones for each node, and no slab."""
    new = SlabCache(object_size, size, gfporder, num, colour, colour_off, allocflags, limit, batchcount, shared,
                    objfreelist)
    for cpu in range(len(machine.cpu_to_node)):
        new.array[f"cpu {cpu}"] = ArrayCache(limit, batchcount)
    for nid, node in enumerate(machine.node):
        new.node.append(KmemCacheNode((1 + len(node.cpus)) * batchcount + num))
        if shared:
            new.array[f"shared {nid}"] = ArrayCache(shared * batchcount, 0)
        for home in (home for home in range(len(machine.node)) if home != nid):
            new.array[f"alien {nid} {home}"] = ArrayCache(ALIEN_LIMIT if limit > 1 else limit, 0)
    part = machine.parts.setdefault("array_cache", SlabCaches())
    assert isinstance(part, SlabCaches)
    part.caches[cache] = new
    if machine.on:
        machine.trace.emit(ev.SetupCpuCache(cache, *new.numbers()))  # type: ignore[arg-type]


def ac_push(machine: Machine, cache: str, array: str, vaddr: int) -> None:
    """ac->entry[ac->avail++] = objp."""
    slab_caches(machine)[cache].array[array].entry.append(vaddr)
    if machine.on:
        machine.trace.emit(ev.AcPush(cache, array, vaddr))


def ac_pop(machine: Machine, cache: str, array: str, vaddr: int) -> None:
    """objp = ac->entry[--ac->avail]."""
    entry = slab_caches(machine)[cache].array[array].entry
    assert entry.pop() == vaddr
    if machine.on:
        machine.trace.emit(ev.AcPop(cache, array, vaddr))


@mirrors("mm/slab.c")
def transfer_objects(machine: Machine, cache: str, array: str, to: str, nr: int) -> None:
    """Move the last `nr` objects of an array to the top of another; they keep their order."""
    arrays = slab_caches(machine)[cache].array
    giver, taker = arrays[array].entry, arrays[to].entry
    taker += giver[len(giver) - nr:]
    del giver[len(giver) - nr:]
    if machine.on:
        machine.trace.emit(ev.TransferObjects(cache, array, to, nr))


def ac_copy(machine: Machine, cache: str, array: str, to: str, nr: int) -> None:
    """memcpy(&shared->entry[shared->avail], ac->entry, nr): the oldest objects, in their order."""
    arrays = slab_caches(machine)[cache].array
    arrays[to].entry.extend(arrays[array].entry[:nr])
    if machine.on:
        machine.trace.emit(ev.AcCopy(cache, array, to, nr))


def ac_shift(machine: Machine, cache: str, array: str, nr: int) -> None:
    """ac->avail -= nr, and memmove: the oldest objects are gone from the array."""
    del slab_caches(machine)[cache].array[array].entry[:nr]
    if machine.on:
        machine.trace.emit(ev.AcShift(cache, array, nr))


def set_touched(machine: Machine, cache: str, array: str, touched: int) -> None:
    """ac->touched = touched."""
    slab_caches(machine)[cache].array[array].touched = touched
    if machine.on:
        machine.trace.emit(ev.SetTouched(cache, array, touched))


def slab_grown(machine: Machine, cache: str, nid: int, pfn: int, colour_offset: int) -> None:
    """Fresh pages become a slab; its objects go out in the order of their addresses."""
    of = slab_caches(machine)[cache]
    s_mem = machine.config.page_offset + pfn * PAGE_SIZE + colour_offset
    of.pages[pfn] = SlabPage(s_mem, list(range(of.num)))
    if machine.on:
        machine.trace.emit(ev.SlabGrown(cache, nid, pfn, colour_offset))


def slab_forgotten(machine: Machine, cache: str, nid: int, pfn: int) -> None:
    """A slab is one no more."""
    del slab_caches(machine)[cache].pages[pfn]
    if machine.on:
        machine.trace.emit(ev.SlabDestroyed(cache, nid, pfn))


@mirrors("mm/slab.c")
def slab_get_obj(machine: Machine, cache: str, pfn: int, index: int) -> None:
    """Take the object freelist[active], which is `index`, from a slab."""
    page = slab_caches(machine)[cache].pages[pfn]
    assert page.freelist[page.active] == index
    page.active += 1
    if machine.on:
        machine.trace.emit(ev.SlabGetObj(cache, pfn, index))


@mirrors("mm/slab.c")
def slab_put_obj(machine: Machine, cache: str, pfn: int, index: int) -> None:
    """Give an object back to its slab: freelist[--active] = index."""
    page = slab_caches(machine)[cache].pages[pfn]
    page.active -= 1
    page.freelist[page.active] = index
    if machine.on:
        machine.trace.emit(ev.SlabPutObj(cache, pfn, index))


def slab_list_add(machine: Machine, cache: str, nid: int, slabs: str, pfn: int) -> None:
    """list_add(&page->slab_list, ...): the slab is the first of a list."""
    slab_caches(machine)[cache].node[nid].slabs[slabs].insert(0, pfn)
    if machine.on:
        machine.trace.emit(ev.SlabListAdd(cache, nid, slabs, pfn))


def slab_list_add_tail(machine: Machine, cache: str, nid: int, slabs: str, pfn: int) -> None:
    """list_add_tail(&page->slab_list, ...): the slab is the last of a list."""
    slab_caches(machine)[cache].node[nid].slabs[slabs].append(pfn)
    if machine.on:
        machine.trace.emit(ev.SlabListAddTail(cache, nid, slabs, pfn))


def slab_list_del(machine: Machine, cache: str, nid: int, slabs: str, pfn: int) -> None:
    """list_del(&page->slab_list)."""
    slab_caches(machine)[cache].node[nid].slabs[slabs].remove(pfn)
    if machine.on:
        machine.trace.emit(ev.SlabListDel(cache, nid, slabs, pfn))


def set_free_objects(machine: Machine, cache: str, nid: int, free_objects: int) -> None:
    """n->free_objects = free_objects."""
    slab_caches(machine)[cache].node[nid].free_objects = free_objects
    if machine.on:
        machine.trace.emit(ev.SetFreeObjects(cache, nid, free_objects))


def set_colour_next(machine: Machine, cache: str, nid: int, colour_next: int) -> None:
    """n->colour_next = colour_next."""
    slab_caches(machine)[cache].node[nid].colour_next = colour_next
    if machine.on:
        machine.trace.emit(ev.SetColourNext(cache, nid, colour_next))


SLAB_PRIMITIVES: dict[type[Event], Callable[..., Any]] = {
    ev.SetupCpuCache: setup_cpu_cache, ev.AcPush: ac_push, ev.AcPop: ac_pop, ev.TransferObjects: transfer_objects,
    ev.AcCopy: ac_copy, ev.AcShift: ac_shift, ev.SetTouched: set_touched, ev.SlabGrown: slab_grown,
    ev.SlabDestroyed: slab_forgotten, ev.SlabGetObj: slab_get_obj, ev.SlabPutObj: slab_put_obj,
    ev.SlabListAdd: slab_list_add, ev.SlabListAddTail: slab_list_add_tail, ev.SlabListDel: slab_list_del,
    ev.SetFreeObjects: set_free_objects, ev.SetColourNext: set_colour_next,
}
MACHINE_PRIMITIVES.update(SLAB_PRIMITIVES)
