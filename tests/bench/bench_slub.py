"""What SLUB costs with nobody listening, beside a bare Python list used as a free list.

A pair is one object taken and given back. Three doors to the same objects: kmalloc_node and kfree, which find the cache
by the size and the slab by the address; kmem_cache_alloc and kmem_cache_free, which are given the cache's name; and
slab_alloc_node with do_slab_free, which are SLUB itself. Twice beside the list: its two methods as they are, and behind
two calls, as an allocator has them.
"""

import gc
import statistics
from time import process_time

import pytest

import mmviz as mv
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


def seconds(take, give):
    """For a pair, on average."""
    started = process_time()
    for _ in range(PAIRS):
        give(take())
    return (process_time() - started) / PAIRS


def doors():
    machine = mv.toy(64)
    addr = mv.kmalloc(machine, 64, mv.GFP_KERNEL)
    cache, page = slab(machine).cache("kmalloc-64"), slab(machine).page_of(addr, machine.config.page_offset)
    return {
        "kmalloc_node, kfree": (lambda: mv.kmalloc_node(machine, 64, mv.GFP_KERNEL, -1),
                                lambda thing: mv.kfree(machine, thing)),
        "kmem_cache_alloc, kmem_cache_free": (lambda: mv.kmem_cache_alloc(machine, "kmalloc-64", mv.GFP_KERNEL),
                                              lambda thing: mv.kmem_cache_free(machine, "kmalloc-64", thing)),
        "slab_alloc_node, do_slab_free": (lambda: slab_alloc_node(machine, cache, mv.GFP_KERNEL, -1),
                                          lambda thing: do_slab_free(machine, cache, page, thing)),
    }


@pytest.mark.parametrize("door", list(doors()))
def test_a_pair(door):
    gc.collect()
    gc.disable()
    bare, things = Bare(), list(range(64))
    found = [(seconds(*doors()[door]), seconds(bare.alloc, bare.give), seconds(things.pop, things.append))
             for _ in range(ROUNDS)]
    gc.enable()
    ours, calls, least = map(statistics.median, zip(*found, strict=True))
    behind, beside = (statistics.median(each[0] / each[which] for each in found) for which in (1, 2))
    print(f"\nSLUB, {door}: {ours * 1e9:.0f} ns a pair; a bare list {least * 1e9:.0f} ns: {beside:.1f}x, behind two "
          f"calls {calls * 1e9:.0f} ns: {behind:.1f}x (target 25x)")
