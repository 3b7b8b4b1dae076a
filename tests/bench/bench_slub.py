"""What SLUB costs with nobody listening, beside a bare Python list used as a free list.

A pair is one object taken and given back; both sides are called straight from a loop. Three doors to the same objects:
kmalloc_node and kfree, which find the cache by the size and the slab by the address; kmem_cache_alloc and
kmem_cache_free, which are given the cache's name; and slab_alloc_node with do_slab_free, which are SLUB itself. Twice
beside the list: its two methods as they are, and behind two calls, as an allocator has them.
"""

import gc
import statistics
from time import process_time

import pytest

import mmviz as mv
from mmviz.kernel import GFP_KERNEL
from mmviz.mm.slab_state import slab
from mmviz.mm.slub import slab_alloc_node
from mmviz.mm.slub_free import do_slab_free

PAIRS, ROUNDS = 20_000, 21


class Bare:
    """A list of free objects."""

    def __init__(self):
        self.free = list(range(64))

    def alloc(self):
        return self.free.pop()

    def give(self, thing):
        self.free.append(thing)


def seconds(pairs, *given):
    """For a pair, on average."""
    started = process_time()
    pairs(*given)
    return (process_time() - started) / PAIRS


def by_size(machine, alloc, free):
    for _ in range(PAIRS):
        free(machine, alloc(machine, 64, GFP_KERNEL, -1))


def by_name(machine, alloc, free):
    for _ in range(PAIRS):
        free(machine, "kmalloc-64", alloc(machine, "kmalloc-64", GFP_KERNEL))


def by_slab(machine, alloc, free):
    cache = slab(machine).cache("kmalloc-64")
    page = cache.cpu_slab[0].page
    for _ in range(PAIRS):
        free(machine, cache, page, alloc(machine, cache, GFP_KERNEL, -1))


def from_list(take, give):
    for _ in range(PAIRS):
        give(take())


DOORS = {
    "kmalloc_node, kfree": (by_size, mv.kmalloc_node, mv.kfree),
    "kmem_cache_alloc, kmem_cache_free": (by_name, mv.kmem_cache_alloc, mv.kmem_cache_free),
    "slab_alloc_node, do_slab_free": (by_slab, slab_alloc_node, do_slab_free),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_pair(door):
    gc.collect()
    gc.disable()
    pairs, alloc, free = DOORS[door]
    machine, bare, things = mv.toy(64), Bare(), list(range(64))
    mv.kmalloc(machine, 64, GFP_KERNEL)  # so that there is a cpu slab
    found = [(seconds(pairs, machine, alloc, free), seconds(from_list, bare.alloc, bare.give),
              seconds(from_list, things.pop, things.append)) for _ in range(ROUNDS)]
    gc.enable()
    ours, calls, least = map(statistics.median, zip(*found, strict=True))
    behind, beside = (statistics.median(each[0] / each[which] for each in found) for which in (1, 2))
    print(f"\nSLUB, {door}: {ours * 1e9:.0f} ns a pair; a bare list {least * 1e9:.0f} ns: {beside:.1f}x, behind two "
          f"calls {calls * 1e9:.0f} ns: {behind:.1f}x (target 25x)")
