"""SLAB, the way back: kfree, full arrays, objects of other nodes, and slabs that go.

    kfree          push on this CPU's array; if that is full, its oldest batchcount objects go first
                     to the shared array of the node, if that has room for any
                     else to their slabs: a slab with an object in use goes to the tail of partial
                                          a slab with none goes to the head of free
                   more free objects in a node than free_limit: the last slab of free goes back, and so on

Left out: see slab.py.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import KernelBug
from ..trace import mirrors
from . import array_cache_events as ev
from .array_cache import (
    ac_copy,
    ac_push,
    ac_shift,
    set_free_objects,
    slab_caches,
    slab_forgotten,
    slab_list_add,
    slab_list_add_tail,
    slab_list_del,
    slab_put_obj,
    transfer_objects,
)
from .page_free import __free_pages
from .page_ref import page_zone
from .slab_alloc import cpu_cache_get, index_to_obj, numa_mem_id
from .slab_common import virt_to_page

if TYPE_CHECKING:
    from .machine import Machine


def virt_to_obj(machine: Machine, objp: int) -> tuple[str, int, int]:
    """The cache, the slab and the number of the object at an address; KernelBug if no object stands there."""
    pfn = virt_to_page(machine, objp)
    for name, cache in slab_caches(machine).items():
        head = pfn >> cache.gfporder << cache.gfporder
        if head in cache.pages:
            index, rest = divmod(objp - cache.pages[head].s_mem, cache.size)
            if not rest and 0 <= index < cache.num:
                return name, head, index
    raise KernelBug(f"no object of SLAB stands at {objp:#x}: the kernel would take it for one")


def whereabouts(machine: Machine, cachep: str, page: int, index: int) -> str:
    """Where an object is: "in use", "free in its slab", or the array that it waits in."""
    cache = slab_caches(machine)[cachep]
    slab = cache.pages[page]
    if index in slab.freelist[slab.active:]:
        return "free in its slab"
    objp = index_to_obj(machine, cachep, page, index)
    return next((name for name, ac in cache.array.items() if objp in ac.entry), "in use")


@mirrors("mm/slab.c")
def ___cache_free(machine: Machine, cachep: str, objp: int) -> None:
    """Put an object on this CPU's array, or on the one kept for its node if that is another.

    Kernel: mm/slab.c:___cache_free, cache_free_alien at v5.4.
    """
    home, node = page_zone(machine, virt_to_page(machine, objp)).nid, numa_mem_id(machine)
    array = cpu_cache_get(machine)
    if home != node:
        __cache_free_alien(machine, cachep, objp, node, home)
        return
    ac = slab_caches(machine)[cachep].array[array]
    if len(ac.entry) >= ac.limit:
        cache_flusharray(machine, cachep, array)
    ac_push(machine, cachep, array, objp)


@mirrors("mm/slab.c")
def __cache_free_alien(machine: Machine, cachep: str, objp: int, node: int, page_node: int) -> None:
    """Keep an object for its own node; a full array is drained to that node first.

    Notes
    -----
    Emits AlienFreed. Kernel: mm/slab.c:__cache_free_alien at v5.4.
    """
    alien = f"alien {node} {page_node}"
    if machine.on:
        machine.trace.emit(ev.AlienFreed(cachep, node, page_node))
    ac = slab_caches(machine)[cachep].array[alien]
    if len(ac.entry) == ac.limit:
        __drain_alien_cache(machine, cachep, alien, page_node)
    ac_push(machine, cachep, alien, objp)


@mirrors("mm/slab.c")
def __drain_alien_cache(machine: Machine, cachep: str, ac: str, node: int) -> None:
    """Bring the objects of an alien array home: to the shared array while there is room, the rest to the slabs.

    Kernel: mm/slab.c:__drain_alien_cache at v5.4.
    """
    arrays, shared = slab_caches(machine)[cachep].array, f"shared {node}"
    where = "shared" if shared in arrays else "slabs"
    if machine.on:
        machine.trace.emit(ev.ArrayFoundFull(cachep, ac, len(arrays[ac].entry), where))
    if shared in arrays:
        room = arrays[shared].limit - len(arrays[shared].entry)
        transfer_objects(machine, cachep, ac, shared, min(len(arrays[ac].entry), room))
    free_block(machine, cachep, ac, len(arrays[ac].entry), node)
    ac_shift(machine, cachep, ac, len(arrays[ac].entry))


@mirrors("mm/slab.c")
def cache_flusharray(machine: Machine, cachep: str, ac: str) -> None:
    """Give the oldest batchcount objects of a full array away: to the shared array, else to the slabs.

    Notes
    -----
    Emits ArrayFoundFull. Kernel: mm/slab.c:cache_flusharray at v5.4.
    """
    arrays, node = slab_caches(machine)[cachep].array, numa_mem_id(machine)
    shared, nr = arrays.get(f"shared {node}"), arrays[ac].batchcount
    room = 0 if shared is None else shared.limit - len(shared.entry)
    if room:
        nr = min(nr, room)
    if machine.on:
        machine.trace.emit(ev.ArrayFoundFull(cachep, ac, nr, "shared" if room else "slabs"))
    if room:
        ac_copy(machine, cachep, ac, f"shared {node}", nr)
    else:
        free_block(machine, cachep, ac, nr, node)
    ac_shift(machine, cachep, ac, nr)


@mirrors("mm/slab.c")
def free_block(machine: Machine, cachep: str, ac: str, nr_objects: int, node: int) -> None:
    """Bring the first objects of an array back to their slabs, all of one node; too many free ones, and slabs go.

    Notes
    -----
    Emits BlockFreed. Kernel: mm/slab.c:free_block and slabs_destroy at v5.4.
    """
    cache = slab_caches(machine)[cachep]
    n = cache.node[node]
    if machine.on:
        machine.trace.emit(ev.BlockFreed(cachep, node, nr_objects, n.free_limit))
    set_free_objects(machine, cachep, node, n.free_objects + nr_objects)
    for objp in cache.array[ac].entry[:nr_objects]:
        __put_back(machine, node, objp)
    surplus: list[int] = []
    while n.free_objects > n.free_limit and n.slabs["free"]:
        set_free_objects(machine, cachep, node, n.free_objects - cache.num)
        surplus.insert(0, n.slabs["free"][-1])
        slab_list_del(machine, cachep, node, "free", surplus[0])
    for pfn in surplus:
        slab_destroy(machine, cachep, pfn)


def __put_back(machine: Machine, node: int, objp: int) -> None:
    """One turn of free_block: an object goes to its slab, and the slab to the list it belongs to now."""
    cachep, pfn, index = virt_to_obj(machine, objp)
    cache = slab_caches(machine)[cachep]
    was_full = cache.pages[pfn].active == cache.num
    slab_list_del(machine, cachep, node, "full" if was_full else "partial", pfn)
    slab_put_obj(machine, cachep, pfn, index)
    if cache.pages[pfn].active:
        slab_list_add_tail(machine, cachep, node, "partial", pfn)
    else:
        slab_list_add(machine, cachep, node, "free", pfn)


@mirrors("mm/slab.c")
def slab_destroy(machine: Machine, cachep: str, page: int) -> None:
    """Give the pages of a slab back to the page allocator.

    Kernel: mm/slab.c:slab_destroy and kmem_freepages at v5.4.
    """
    order = slab_caches(machine)[cachep].gfporder
    slab_forgotten(machine, cachep, page_zone(machine, page).nid, page)
    __free_pages(machine, page, order)


@mirrors("mm/slab.c")
def __kmem_cache_shrink(machine: Machine, cachep: str) -> None:
    """Empty all arrays of a cache into its slabs, and give every free slab back.

    Kernel: mm/slab.c:__kmem_cache_shrink and drain_cpu_caches at v5.4.
    """
    for cpu, node in enumerate(machine.cpu_to_node):
        __drain(machine, cachep, f"cpu {cpu}", node)
    nodes = range(len(machine.node))
    for alien, home in ((f"alien {node} {home}", home) for node in nodes for home in nodes if home != node):
        if slab_caches(machine)[cachep].array[alien].entry:
            __drain_alien_cache(machine, cachep, alien, home)
    for node in nodes:
        __drain(machine, cachep, f"shared {node}", node)
        drain_freelist(machine, cachep, node)


def __drain(machine: Machine, cachep: str, ac: str, node: int) -> None:
    """Bring all objects of an array, if it is there, back to the slabs of a node."""
    array = slab_caches(machine)[cachep].array.get(ac)
    if array is not None and array.entry:
        free_block(machine, cachep, ac, len(array.entry), node)
        ac_shift(machine, cachep, ac, len(array.entry))


@mirrors("mm/slab.c")
def drain_freelist(machine: Machine, cache: str, nid: int) -> None:
    """Give every free slab of a node back, the last one first.

    Kernel: mm/slab.c:drain_freelist at v5.4.
    """
    of = slab_caches(machine)[cache]
    while of.node[nid].slabs["free"]:
        pfn = of.node[nid].slabs["free"][-1]
        slab_list_del(machine, cache, nid, "free", pfn)
        set_free_objects(machine, cache, nid, of.node[nid].free_objects - of.num)
        slab_destroy(machine, cache, pfn)
