"""SLUB: the worked examples by their numbers (69 to 75, 80), then the rules one by one."""
import dataclasses
from contextlib import nullcontext

import pytest

import mmviz as mv
from mmviz.kernel import GFP_ATOMIC, GFP_KERNEL, GFP_NOWAIT, MPOL_BIND, MPOL_INTERLEAVE, MPOL_PREFERRED
from mmviz.mm import events, slab_common, slub
from mmviz.mm import slab_events as ev
from mmviz.mm.kmalloc import allocator
from mmviz.mm.machine import set_il_prev
from mmviz.mm.slab_caches import find_mergeable
from mmviz.mm.slab_state import slab, write_object
from mmviz.mm.slab_types import Slab
from mmviz.mm.slub_page import rcu_free_slab
from mmviz.mm.slub_partial import __flush_cpu_slab, deactivate_slab, flush_all
from mmviz.mm.slub_size import (
    calculate_cpu_partial,
    calculate_min_partial,
    calculate_order,
    calculate_sizes,
    freelist_ptr,
    oo_make,
    slab_order,
)

__kmalloc, __kmalloc_node = slub.__kmalloc, slub.__kmalloc_node
THISNODE, ZERO, DMA, RECLAIMABLE = mv.__GFP_THISNODE, mv.__GFP_ZERO, mv.__GFP_DMA, mv.__GFP_RECLAIMABLE
K64, K4K = "kmalloc-64", "kmalloc-4k"


def kmalloc(machine, size, count=1, gfp=GFP_KERNEL):
    return [mv.kmalloc(machine, size, gfp) for _ in range(count)]


def cpu_slab(machine, cache, cpu=0):
    return slab(machine).cache(cache).cpu_slab[cpu]


def own_list(machine, cache, cpu=0):
    c = cpu_slab(machine, cache, cpu)
    return list(c.page.walk(c.freelist)) if c.page else []


def page_of(machine, addr):
    return slab(machine).page_of(addr, machine.config.page_offset)


def partial(machine, cache, nid=0):
    return slab(machine).cache(cache).node[nid].partial


def slabs_full(machine, cache, count):
    """Fill `count` slabs of a cache; their objects, slab by slab, in the order in which they were given out."""
    objects = slab(machine).cache(cache).oo.objects
    size = slab(machine).cache(cache).object_size
    return [kmalloc(machine, size, objects) for _ in range(count)]


# ---------------------------------------------------------------- the worked examples


def test_69_size_classes():
    found = {size: mv.mm.slab_common.kmalloc_index(size) for size in (0, 1, 8, 9, 64, 65, 96, 97, 128, 129, 192, 193,
                                                                     4096, 4097, 8192)}
    assert found == {0: 0, 1: 3, 8: 3, 9: 4, 64: 6, 65: 1, 96: 1, 97: 7, 128: 7, 129: 2, 192: 2, 193: 8, 4096: 12,
                     4097: 13, 8192: 13}


@pytest.mark.parametrize("size, order", [(8193, 2), (4 << 20, 10), ((4 << 20) + 1, 11)])
def test_69_too_large_for_a_cache(size, order):
    machine = mv.toy(64)
    with mv.record(machine) as rec:
        addr = mv.kmalloc(machine, size, GFP_KERNEL)
    assert rec.select(ev.LargeOrderChosen)[0].event.order == order
    assert rec.select(ev.Kmalloc)[0].event.bytes_alloc == 4096 << order
    assert (addr == 0) == (order == 11)


def test_70_orders():
    assert [(calculate_order(512, cpus), oo_make(calculate_order(512, cpus), 512).objects) for cpus in (1, 2, 8)] == [
        (0, 8), (1, 16), (2, 32)]
    assert [(calculate_order(2048, cpus), oo_make(calculate_order(2048, cpus), 2048).objects)
            for cpus in (1, 2, 4, 64)] == [(2, 8), (3, 16), (3, 16), (3, 16)]
    assert (calculate_order(1152, 4), oo_make(3, 1152).objects, 32768 - 28 * 1152) == (3, 28, 512)
    assert (calculate_order(704, 4), oo_make(2, 704).objects) == (2, 23)


def test_71_a_fresh_slab_goes_upwards_and_what_was_freed_last_comes_first():
    machine = mv.toy(4)
    first, second, third = kmalloc(machine, 64, 3)
    assert (second, third) == (first + 64, first + 128) and first % 4096 == 0
    mv.kfree(machine, second)
    mv.kfree(machine, first)
    assert kmalloc(machine, 64, 3) == [first, second, first + 192]


def test_72_the_cpu_partial_list_counts_lazily():
    machine = mv.toy(64)
    cache = slab(machine).cache(K4K)
    assert (cache.oo.objects, cache.cpu_partial, cache.min_partial) == (8, 2, 6)
    a, own, c, d, e = slabs_full(machine, K4K, 5)
    kmalloc(machine, 4096)
    assert page_of(machine, a[0]).freelist == 0 and not page_of(machine, a[0]).frozen

    def free(objects):
        mv.kfree(machine, objects.pop())
        page = page_of(machine, objects[0])
        return page.pages, page.pobjects

    assert free(a) == (1, 1)
    assert page_of(machine, a[0]).frozen and cpu_slab(machine, K4K).partial == [page_of(machine, a[0]).pfn]
    assert free(a) == (1, 1)
    assert free(c) == (2, 2)
    assert free(d) == (3, 3)
    assert free(e) == (1, 1)
    assert cpu_slab(machine, K4K).partial == [page_of(machine, e[0]).pfn]
    assert partial(machine, K4K) == [page_of(machine, x[0]).pfn for x in (d, c, a)]
    assert not page_of(machine, own[0]).freelist


def test_73_deactivation_turns_the_list_round():
    machine = mv.toy(4)
    objects = kmalloc(machine, 64, 64)
    for each in reversed(objects[:3]):
        mv.kfree(machine, each)
    assert own_list(machine, K64) == objects[:3]
    page, c = page_of(machine, objects[0]), cpu_slab(machine, K64)
    deactivate_slab(machine, slab(machine).cache(K64), page, c.freelist, 0)
    assert list(page.walk(page.freelist)) == objects[2::-1]
    assert partial(machine, K64) == [page.pfn] and not page.frozen and page.inuse == 61
    assert (c.page, c.freelist) == (None, 0)


@pytest.mark.parametrize("nr_partial, stays", [(6, False), (5, True)])
def test_74_the_last_object_of_a_node_partial_slab(nr_partial, stays):
    machine = mv.toy(64)
    s = slab(machine).cache(K4K)
    groups = slabs_full(machine, K4K, nr_partial)
    flush_all(machine, s)
    for objects in groups:
        mv.kfree(machine, objects.pop())
        flush_all(machine, s)
    assert (s.min_partial, s.node[0].nr_partial) == (6, nr_partial)
    page = page_of(machine, groups[0][0])
    for each in groups[0]:
        mv.kfree(machine, each)
    assert (page.pfn in partial(machine, K4K), page.pfn in slab(machine).pages) == (stays, stays)
    assert page.inuse == 0


def test_75_hidden_free_pointers():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(slab_freelist_hardened=True))
    cache = slab(machine).cache(K64)
    assert cache.random != 0
    cache.random = 0x0123456789ABCDEF
    assert freelist_ptr(cache, 0xFFFF888012345040, 0xFFFF888012345000) == 0x0123456789ABCDAF
    assert freelist_ptr(cache, 0, 0xFFFF888012345FC0) == 0xFEDCCDE79B9F922F
    cache.random = 0
    assert freelist_ptr(cache, 5, 0xFFFF888012345FC0) == 5


def test_80_a_node_is_asked():
    machine = mv.duo()
    near = mv.kmalloc_node(machine, 64, GFP_KERNEL, 0)
    with mv.record(machine) as rec:
        far = mv.kmalloc_node(machine, 64, GFP_KERNEL, 1)
    assert (page_of(machine, near).nid, page_of(machine, far).nid) == (0, 1)
    assert next(rec.calls()[0].calls()).symbol == "kmem_cache_alloc_node_trace"
    assert [step.event.pfn for step in rec.select(ev.Deactivated)] == [page_of(machine, near).pfn]
    assert [step.event.nid for step in rec.select(ev.PartialSearched)] == [1]
    back = mv.kmalloc_node(machine, 64, GFP_KERNEL, 0)
    assert back == near + 63 * 64  # deactivation turned the list round
    assert page_of(machine, far).pfn in partial(machine, K64, 1)


def test_80_without_numa_the_node_is_ignored():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(numa=False))
    slab(machine)
    with mv.record(machine) as rec:
        mv.kmalloc_node(machine, 64, GFP_KERNEL, 7)
        __kmalloc_node(machine, 64, GFP_KERNEL, 7)
        mv.kmem_cache_alloc_node(machine, K64, GFP_KERNEL, 7)
    assert [call.symbol for call in rec.calls()[0].calls()][:1] == ["kmem_cache_alloc_trace"]
    assert len(own_list(machine, K64)) == 61


# ---------------------------------------------------------------- geometry


GEOMETRY = {  # size: order/objects by possible CPUs 1, 2, 4, 8, 16, 64; min order; min_partial; cpu_partial
    8: "0/512 0/512 0/512 0/512 0/512 0/512 0 5 30", 96: "0/42 0/42 0/42 0/42 0/42 0/42 0 5 30",
    192: "0/21 0/21 0/21 0/21 1/42 1/42 0 5 30", 256: "0/16 0/16 0/16 1/32 1/32 1/32 0 5 13",
    512: "0/8 1/16 1/16 2/32 2/32 2/32 0 5 13", 1024: "1/8 2/16 2/16 3/32 3/32 3/32 0 5 6",
    2048: "2/8 3/16 3/16 3/16 3/16 3/16 0 5 6", 4096: "3/8 3/8 3/8 3/8 3/8 3/8 0 6 2",
    8192: "3/4 3/4 3/4 3/4 3/4 3/4 1 6 2",
}


@pytest.mark.parametrize("size", GEOMETRY)
def test_the_table_of_the_reference(size):
    *orders, min_order, min_partial, cpu_partial = GEOMETRY[size].split()
    for cpus, expected in zip((1, 2, 4, 8, 16, 64), orders, strict=True):
        cache = calculate_sizes(mv.Config(), cpus, 1, "a", size, 0, 0, False, 0)
        assert f"{cache.oo.order}/{cache.oo.objects}" == expected
    assert (cache.min.order, cache.min_partial, cache.cpu_partial) == (*map(int, (min_order, min_partial,
                                                                                 cpu_partial)),)


def test_an_order_for_what_is_larger_than_eight_pages():
    assert [calculate_order(size, 4) for size in (20_000, 40_000, 1 << 22)] == [3, 4, 10]
    assert calculate_order(3000, 1) == 3  # loses 2768 of 32768: more than a sixteenth, less than an eighth
    assert calculate_order(12_000, 1) == 2  # two would lose more than a fourth of eight pages: then one, and any waste
    assert calculate_order(6000, 1) == 3  # 5 objects lose 2768
    assert slab_order(700, 1, 3, 16) == 1  # 596 of 4096 is too much, 492 of 8192 is not
    assert slab_order(3000, 2, 0, 16) == 1  # none of the orders allowed: one more
    with pytest.raises(ValueError, match="size must be at most 4194304 bytes, got 4194312"):
        calculate_order((1 << 22) + 8, 4)


def test_what_is_kept_back():
    assert [calculate_min_partial(size) for size in (8, 1 << 10, 1 << 13, 1 << 22)] == [5, 5, 6, 10]
    assert calculate_cpu_partial(64, mv.Config(slub_cpu_partial=False)) == 0


def test_the_free_pointer_lies_behind_what_must_be_kept():
    made = [calculate_sizes(mv.Config(), 1, 1, "a", 256, 0, flags, ctor, 0) for flags, ctor in
            ((0, False), (0, True), (slab_common.SLAB_TYPESAFE_BY_RCU, False))]
    assert [(cache.size, cache.offset, cache.oo.objects) for cache in made] == [(256, 0, 16), (264, 256, 15),
                                                                                (264, 256, 15)]


@pytest.mark.parametrize("flags, gfp", [(slab_common.SLAB_CACHE_DMA, mv.__GFP_DMA),
                                        (slab_common.SLAB_CACHE_DMA32, mv.__GFP_DMA32),
                                        (slab_common.SLAB_RECLAIM_ACCOUNT, mv.__GFP_RECLAIMABLE)])
def test_the_pages_of_a_cache_are_asked_with_its_flags(flags, gfp):
    small, large = (calculate_sizes(mv.Config(), 1, 1, "a", size, 0, flags, False, 0) for size in (64, 1024))
    assert (small.allocflags, large.allocflags) == (gfp, gfp | mv.__GFP_COMP)


# ---------------------------------------------------------------- kmalloc


def test_every_size_has_the_smallest_class_that_holds_it():
    machine = mv.toy(64)
    for size in (*range(1, 400), 1000, 1024, 1025, 4097, 8192):
        addr = mv.kmalloc(machine, size, GFP_KERNEL)
        sizes = [cache.object_size for cache in slab(machine).kmalloc_caches[0] if cache]
        assert mv.ksize(machine, addr) == min(each for each in sizes if each >= size)
        mv.kfree(machine, addr)
        assert __kmalloc(machine, size, GFP_KERNEL) == addr
        mv.kfree(machine, addr)


def test_kmalloc_of_nothing_is_no_null():
    machine = mv.toy(4)
    assert {mv.kmalloc(machine, 0, GFP_KERNEL), mv.kmalloc_node(machine, 0, GFP_KERNEL, 0),
            __kmalloc(machine, 0, GFP_KERNEL), __kmalloc_node(machine, 0, GFP_KERNEL, 0)} == {16}
    for nothing in (0, 8, 16):  # ZERO_OR_NULL_PTR
        mv.kfree(machine, nothing)
    with pytest.raises(ValueError, match="pfn"):
        mv.kfree(machine, 17)
    assert mv.ksize(machine, 16) == 0


@pytest.mark.parametrize("gfp, name", [(GFP_KERNEL, K64), (GFP_KERNEL | RECLAIMABLE, "kmalloc-rcl-64"),
                                       (GFP_KERNEL | DMA | RECLAIMABLE, "dma-kmalloc-64")])
def test_there_are_three_sets_of_caches(gfp, name):
    machine = mv.boot([("DMA", 0x100, 0x400), ("DMA32", 0x1000, 0x400)])
    addr = mv.kmalloc_node(machine, 64, gfp, -1)
    page = page_of(machine, addr)
    assert page.slab_cache.name == name
    assert (page.pfn < 0x1000) == name.startswith("dma")


def test_without_zone_dma_there_are_two():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(zone_names=("DMA32", "Normal")))
    assert slab(machine).kmalloc_caches[2] == [None] * 14
    assert page_of(machine, mv.kmalloc(machine, 64, GFP_KERNEL | DMA)).slab_cache.name == K64


def test_the_tracepoints_of_a_request():
    machine = mv.duo()
    with mv.record(machine) as rec:
        found = [mv.kmalloc(machine, 100, GFP_KERNEL), __kmalloc(machine, 100, GFP_KERNEL),
                 mv.kmalloc_node(machine, 100, GFP_KERNEL, 1), __kmalloc_node(machine, 100, GFP_KERNEL, 1),
                 mv.kmalloc_node(machine, 10_000, GFP_KERNEL, 1), mv.kmem_cache_alloc(machine, K64, GFP_KERNEL),
                 mv.kmem_cache_alloc_node(machine, K64, GFP_KERNEL, 0)]
    said = [step.event for step in rec if step.event.tracepoint and step.event.tracepoint.startswith("kmem:k")]
    assert [event.ptr for event in said] == found
    assert [event.tracepoint.removeprefix("kmem:") for event in said] == [
        "kmalloc", "kmalloc", "kmalloc_node", "kmalloc_node", "kmalloc_node", "kmem_cache_alloc",
        "kmem_cache_alloc_node"]
    assert [event.bytes_alloc for event in said] == [128, 128, 128, 128, 16384, 64, 64]


def test_kzalloc_clears_the_free_pointer_if_it_lies_in_the_object():
    machine = mv.toy(4)
    first = mv.kzalloc(machine, 64, GFP_KERNEL)
    assert page_of(machine, first).freepointer[first] == 0
    mv.kmem_cache_create(machine, "behind", 64, flags=slab_common.SLAB_TYPESAFE_BY_RCU)
    second = mv.kmem_cache_alloc(machine, "behind", GFP_KERNEL | ZERO)
    assert page_of(machine, second).freepointer[second] == second + 72


def test_a_large_one_comes_and_goes_as_a_compound_page():
    machine = mv.toy(64)
    before = machine.copy()
    slab(before)
    addr = mv.kmalloc(machine, 10_000, GFP_KERNEL)
    assert mv.ksize(machine, addr + 8192) == 16384
    with pytest.raises(mv.KernelBug, match=rf"kfree\({addr + 4096:#x}\): kmalloc returned {addr:#x}"):
        mv.kfree(machine, addr + 4096)
    machine.strict = False
    mv.kfree(machine, addr + 4096)
    machine.strict = True
    assert machine.zone("DMA32").nr_pages_on_lists() == before.zone("DMA32").nr_pages_on_lists()
    with pytest.raises(mv.KernelBug, match="is in no slab and in no compound page"):
        mv.kfree(machine, addr)


def test_no_memory_is_null():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], watermarks=(0, 0, 0))
    while mv.alloc_pages(machine, GFP_NOWAIT, 0) is not None:
        pass
    with mv.record(machine) as rec:
        assert [mv.kmalloc_node(machine, size, GFP_NOWAIT, node) for size in (64, 1024, 10_000)
                for node in (-1, 0)] == [0] * 6
    assert [step.event.cache for step in rec.select(ev.SlabOutOfMemory)] == [K64, K64, "kmalloc-1k", "kmalloc-1k"]
    assert all(mv.sentence(step.event).endswith("NULL.") for step in rec.select(ev.KmallocNode))


def test_a_smaller_slab_will_do_when_memory_is_in_pieces():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], watermarks=(0, 0, 0), batch=1, high=0)
    pages = [mv.alloc_pages(machine, GFP_NOWAIT, 0) for _ in range(1024)]
    for pfn in pages[::2]:
        mv.__free_pages(machine, pfn, 0)
    with mv.record(machine) as rec:
        addr = mv.kmalloc(machine, 1024, GFP_KERNEL)
    eager, plain = (step.event for step in rec.select(ev.SlabOrderTried))
    assert (eager.order, eager.pfn, plain.order) == (1, -1, 0)
    assert eager.gfp_mask & mv.__GFP_RECLAIM == 0 and plain.gfp_mask == GFP_KERNEL | mv.__GFP_COMP
    assert page_of(machine, addr).objects == 4 and page_of(machine, addr).order == 0


def test_a_slab_of_the_smallest_order_is_asked_for_with_reclaim():
    machine = mv.toy(4)
    with mv.record(machine) as rec:
        kmalloc(machine, 64)
    assert rec.select(ev.SlabOrderTried)[0].event.gfp_mask == GFP_KERNEL | mv.__GFP_NOWARN | mv.__GFP_NORETRY


def test_zones_that_no_slab_may_have_are_warned_of():
    machine = mv.toy(4)
    with mv.record(machine) as rec:
        addr = mv.kmalloc(machine, 64, GFP_KERNEL | mv.__GFP_HIGHMEM)
    assert addr and rec.select(events.Warned)[0].event.text == "Unexpected gfp: 0x2"


# ---------------------------------------------------------------- misuse


@pytest.mark.parametrize("call", [
    lambda m: mv.kmalloc(m, -1, GFP_KERNEL), lambda m: __kmalloc(m, -1, GFP_KERNEL),
    lambda m: mv.kmalloc_node(m, -5, GFP_KERNEL, 0),
    lambda m: mv.kmalloc_node(m, 64, GFP_KERNEL, 2), lambda m: mv.kmalloc_node(m, 64, GFP_KERNEL, -2),
    lambda m: mv.kmalloc(m, 96, GFP_KERNEL | mv.__GFP_HIGHMEM | mv.__GFP_DMA32),
    lambda m: mv.kmem_cache_create(m, K64, 64), lambda m: mv.kmem_cache_create(m, "small", 4),
    lambda m: mv.kmem_cache_create(m, "odd", 64, align=24), lambda m: mv.kfree(m, 0x1234),
    lambda m: rcu_free_slab(m, 0x1000), lambda m: slab_common.kmalloc_index(-1),
])
def test_misuse_changes_nothing(call):
    machine = mv.duo()
    kmalloc(machine, 64)
    before = machine.copy()
    with pytest.raises(ValueError):
        call(machine)
    assert machine == before


def test_nobody_listens():
    machine = mv.duo()
    heard = machine.copy()
    found = []
    for each in (machine, heard):
        with mv.record(each) if each is heard else nullcontext():
            found.append([mv.kmem_cache_alloc_node(each, K64, GFP_KERNEL, 1), __kmalloc(each, 10_000, GFP_KERNEL),
                          __kmalloc_node(each, 10_000, GFP_KERNEL, 1),
                          mv.kmalloc_node(each, 1 << 22, GFP_NOWAIT | THISNODE, 1)])
    assert found[0] == found[1] and machine == heard


def test_null_says_nothing_if_nobody_listens():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], watermarks=(0, 0, 0))
    while mv.alloc_pages(machine, GFP_NOWAIT, 0) is not None:
        pass
    assert mv.kmalloc(machine, 64, GFP_NOWAIT) == 0


def test_a_cache_that_is_not_there():
    with pytest.raises(KeyError, match=r"cache must be one of kmalloc-8, .* got 'nothing'"):
        mv.kmem_cache_alloc(mv.toy(4), "nothing", GFP_KERNEL)


def test_a_class_that_the_snapshot_has_not():
    machine = mv.toy(4)
    machine.parts["slab"] = Slab(kmalloc_caches=[[None] * 14 for _ in range(3)])
    with pytest.raises(ValueError, match="size must be of a cache that the snapshot selected, got 64 bytes"):
        mv.kmalloc(machine, 64, GFP_KERNEL)


def test_the_allocator_must_be_one_of_three():
    with pytest.raises(ValueError, match='slab must be "SLUB", "SLAB" or "SLOB", got \'SLQB\''):
        mv.Config(slab="SLQB")


def test_a_double_free_is_seen():
    machine = mv.toy(4)
    first, _ = kmalloc(machine, 64, 2)
    mv.kfree(machine, first)
    before = machine.copy()
    with pytest.raises(mv.KernelBug, match=f"object {first:#x} of kmalloc-64 is free already"):
        mv.kfree(machine, first)
    with pytest.raises(mv.KernelBug, match="no object begins there: they are 64 bytes apart"):
        mv.kfree(machine, first + 8)
    with pytest.raises(mv.KernelBug, match="must be of cache kmalloc-96, is of kmalloc-64"):
        mv.kmem_cache_free(machine, "kmalloc-96", first + 64)
    with pytest.raises(mv.KernelBug, match="is of None"):
        mv.kmem_cache_free(machine, "kmalloc-96", first + 4096)
    assert machine == before


def test_a_plain_kernel_says_nothing_and_two_owners_get_the_same_object():
    machine = mv.toy(4)
    machine.strict = False
    first, _ = kmalloc(machine, 64, 2)
    with mv.record(machine) as rec:
        mv.kfree(machine, first)
        mv.kfree(machine, first)
        assert kmalloc(machine, 64, 2) == [first, first]
    assert rec.at(len(rec)) == machine
    assert own_list(machine, K64) == [first]  # the list bites its own tail; the rest of the slab is lost


def test_the_tail_is_let_go_if_the_owner_clears_it():
    machine = mv.toy(4)
    machine.strict = False
    first, _ = kmalloc(machine, 64, 2)
    mv.kfree(machine, first)
    mv.kfree(machine, first)
    assert [mv.kzalloc(machine, 64, GFP_KERNEL) for _ in range(2)] == [first, first]
    third = mv.kzalloc(machine, 64, GFP_KERNEL)
    assert page_of(machine, third) is not page_of(machine, first)


def test_a_double_free_into_a_slab_of_nobody_counts_below_zero():
    machine = mv.toy(4)
    machine.strict = False
    [[first, *_]] = slabs_full(machine, K4K, 1)
    flush_all(machine, slab(machine).cache(K4K))
    for _ in range(9):
        mv.kfree(machine, first)
    assert page_of(machine, first).inuse == 0xFFFF


@pytest.mark.parametrize("strict", [True, False])
def test_hardened_notices_a_double_free_in_a_row(strict):
    machine = mv.boot([("DMA32", 0x1000, 0x1000)], config=mv.Config(slab_freelist_hardened=True))
    machine.strict = strict
    first, second = kmalloc(machine, 64, 2)
    mv.kfree(machine, first)
    with pytest.raises(mv.KernelBug, match=r"BUG_ON\(object == fp\)"):
        mv.kfree(machine, first)
    if not strict:  # but not when another free comes between
        mv.kfree(machine, second)
        mv.kfree(machine, first)


def test_what_is_written_into_a_free_object_leads_the_list_astray():
    machine = mv.toy(4)
    first = kmalloc(machine, 64)[0]
    mv.kfree(machine, first)
    write_object(machine, page_of(machine, first).pfn, first, 0x4141414141414141)
    assert kmalloc(machine, 64) == [first]
    with pytest.raises(mv.KernelBug, match="leads to 0x4141414141414141, which is no object of it"):
        kmalloc(machine, 64)


def test_and_the_slow_path_too():
    machine = mv.toy(4)
    objects = kmalloc(machine, 64, 64)
    flush_all(machine, slab(machine).cache(K64))
    mv.kfree(machine, objects[0])
    page = page_of(machine, objects[0])
    write_object(machine, page.pfn, objects[0], 0x4141)
    kmalloc(machine, 64)
    with pytest.raises(mv.KernelBug, match="leads to 0x4141"):
        flush_all(machine, slab(machine).cache(K64))


# ---------------------------------------------------------------- slabs and lists


def two_cpus(**config):
    return mv.boot([("DMA32", 0x1000, 0x2000)], cpus=(0, 0), config=mv.Config(**config))


def test_what_another_cpu_frees_is_found_when_the_own_list_is_empty():
    machine = two_cpus()
    objects = kmalloc(machine, 64, 64)
    mv.set_current(machine, 1)
    mv.kfree(machine, objects[5])
    mv.kfree(machine, objects[7])
    page = page_of(machine, objects[0])
    assert (list(page.walk(page.freelist)), page.inuse, page.frozen) == ([objects[7], objects[5]], 62, True)
    mv.set_current(machine, 0)
    with mv.record(machine) as rec:
        assert kmalloc(machine, 64, 2) == [objects[7], objects[5]]
    assert (page.freelist, page.inuse) == (0, 64)
    assert [step.event.label for step in rec.select(ev.LabelReached)] == ["redo", "load_freelist"]


@pytest.mark.parametrize("freed_by_others", [True, False])
def test_a_slab_into_which_others_freed_goes_to_the_tail(freed_by_others):
    machine = two_cpus()
    s = slab(machine).cache(K64)
    objects = kmalloc(machine, 64, 66)  # one full slab, and two objects of another
    full, own = page_of(machine, objects[0]).pfn, page_of(machine, objects[64]).pfn
    mv.set_current(machine, 1)
    mv.kfree(machine, objects[0])
    __flush_cpu_slab(machine, s, 1)
    assert partial(machine, K64) == [full]
    if freed_by_others:
        mv.kfree(machine, objects[64])
    flush_all(machine, s)
    assert partial(machine, K64) == ([full, own] if freed_by_others else [own, full])
    assert machine.current.cpu == 1


def test_flush_all_leaves_the_task_as_it_was():
    machine = two_cpus()
    kmalloc(machine, 64, 1)
    mv.set_current(machine, 1, flags=0x800)
    task = dataclasses.replace(machine.current)
    flush_all(machine, slab(machine).cache(K64))
    assert machine.current == task and cpu_slab(machine, K64, 0).page is None


def test_without_cpu_partial_lists_a_full_slab_goes_to_its_node():
    machine = two_cpus(slub_cpu_partial=False)
    [objects] = slabs_full(machine, K64, 1)
    kmalloc(machine, 64)
    mv.kfree(machine, objects[3])
    page = page_of(machine, objects[3])
    assert partial(machine, K64) == [page.pfn] and not page.frozen and not cpu_slab(machine, K64).partial
    for each in objects[:3] + objects[4:]:
        mv.kfree(machine, each)
    assert partial(machine, K64) == [page.pfn] and page.inuse == 0


def test_a_slab_of_one_object_without_cpu_partial_goes_at_once():
    machine = mv.boot([("DMA32", 0x1000, 0x4000)], config=mv.Config(slub_cpu_partial=False))
    s = mv.kmem_cache_create(machine, "huge", 1 << 20)
    assert s.oo.objects == 1
    objects = [mv.kmem_cache_alloc(machine, "huge", GFP_KERNEL) for _ in range(13)]
    for each in objects:
        mv.kmem_cache_free(machine, "huge", each)
    assert len(slab(machine).slabs("huge")) == s.min_partial + 1  # and the cpu slab
    assert s.node[0].nr_partial == s.min_partial


def test_a_cache_whose_cpus_may_keep_nothing():
    machine = mv.toy(64)
    s = slab(machine).cache(K64)
    s.cpu_partial = 0
    [objects] = slabs_full(machine, K64, 1)
    kmalloc(machine, 64)
    mv.kfree(machine, objects[0])
    assert s.cpu_slab[0].partial == [] and len(s.node[0].partial) == 1


def test_a_cpu_takes_more_than_one_slab_of_its_node():
    machine = mv.toy(64)
    groups = slabs_full(machine, K64, 4)
    s = slab(machine).cache(K64)
    flush_all(machine, s)
    for objects, count in zip(groups, (1, 10, 10, 10), strict=True):
        for each in objects[:count]:
            mv.kfree(machine, each)
        flush_all(machine, s)
    first, second, third, fourth = (page_of(machine, objects[0]).pfn for objects in groups)
    assert s.node[0].partial == [first, second, third, fourth]
    with mv.record(machine) as rec:
        kmalloc(machine, 64)
    assert [(step.event.free, step.event.available, step.event.mode) for step in rec.select(ev.SlabAcquired)] == [
        (1, 1, True), (10, 11, False), (10, 21, False)]
    assert cpu_slab(machine, K64).page.pfn == first and cpu_slab(machine, K64).partial == [third, second]
    assert s.node[0].partial == [fourth]
    kmalloc(machine, 64)
    assert cpu_slab(machine, K64).page.pfn == third


def test_empty_slabs_beyond_min_partial_go_the_last_found_first():
    machine = mv.toy(64)
    s = slab(machine).cache(K64)
    groups = slabs_full(machine, K64, 9)
    flush_all(machine, s)
    with mv.record(machine) as rec:
        for objects in groups:
            for each in objects:
                mv.kfree(machine, each)
        flush_all(machine, s)
    pages = [step.event.pfn for step in rec.select(ev.SlabDiscarded)]
    assert s.node[0].nr_partial == 5 and len(pages) == 4
    found = [step.event.pfn for step in rec.select(ev.EmptyChecked) if step.event.discarded]
    assert sorted(pages) == sorted(found) and pages == found[::-1]


def test_shrink_sorts_and_gives_back():
    machine = mv.toy(64)
    s = slab(machine).cache(K64)
    groups = slabs_full(machine, K64, 5)
    flush_all(machine, s)
    for objects, count in zip(groups, (64, 3, 40, 3, 1), strict=True):
        for each in objects[:count]:
            mv.kfree(machine, each)
        flush_all(machine, s)
    gone, three, many, three_too, one = (page_of(machine, objects[0]).pfn for objects in groups)
    assert mv.kmem_cache_shrink(machine, K64)
    assert s.node[0].partial == [one, three_too, three, many]
    assert gone not in slab(machine).pages
    for objects, count in zip(groups[1:], (3, 40, 3, 1), strict=True):
        for each in objects[count:]:
            mv.kfree(machine, each)
    assert not mv.kmem_cache_shrink(machine, K64)


def test_shrink_frees_the_last_empty_slab_of_the_list_first():
    machine = mv.toy(64)
    s = slab(machine).cache(K4K)
    groups = slabs_full(machine, K4K, 3)
    flush_all(machine, s)
    for objects in groups:
        for each in objects:
            mv.kfree(machine, each)
        flush_all(machine, s)
    empty = partial(machine, K4K)[:]
    with mv.record(machine) as rec:
        mv.kmem_cache_shrink(machine, K4K)
    assert [step.event.pfn for step in rec.select(ev.SlabDiscarded)] == empty[::-1] and len(empty) == 3


def test_an_rcu_slab_waits_for_its_grace_period():
    machine = mv.toy(64)
    before = machine.zone("DMA32").nr_pages_on_lists() + machine.zone("DMA32").pageset[0].count
    mv.kmem_cache_create(machine, "seen by others", 64, flags=slab_common.SLAB_TYPESAFE_BY_RCU)
    addr = mv.kmem_cache_alloc(machine, "seen by others", GFP_KERNEL)
    mv.kmem_cache_free(machine, "seen by others", addr)
    with mv.record(machine) as rec:
        assert not mv.kmem_cache_shrink(machine, "seen by others")  # discard_slab counts it as gone already
        pfn = page_of(machine, addr).pfn
        assert slab(machine).rcu == [pfn]
        rcu_free_slab(machine, pfn)
    assert slab(machine).rcu == [] and page_of(machine, addr) is None
    assert machine.zone("DMA32").nr_pages_on_lists() + machine.zone("DMA32").pageset[0].count == before
    assert rec.at(len(rec)) == machine


# ---------------------------------------------------------------- nodes


def with_partials(count):
    """duo() with `count` partial slabs on node 1; CPU 0, of node 0, asks."""
    machine = mv.duo()
    s = slab(machine).cache(K4K)
    for each in [mv.kmalloc_node(machine, 4096, GFP_KERNEL | THISNODE, 1) for _ in range(8 * count)][::8]:
        flush_all(machine, s)
        mv.kfree(machine, each)
    flush_all(machine, s)
    return machine


@pytest.mark.parametrize("count, nid", [(6, 0), (7, 1)])
def test_another_node_gives_what_it_has_beyond_its_own_need(count, nid):
    machine = with_partials(count)
    assert slab(machine).cache(K4K).node[1].nr_partial == count
    assert page_of(machine, mv.kmalloc(machine, 4096, GFP_KERNEL)).nid == nid


@pytest.mark.parametrize("mode, nodes, nid", [(MPOL_PREFERRED, "1", 1), (MPOL_PREFERRED, "", 0), (MPOL_BIND, "1", 1),
                                              (MPOL_INTERLEAVE, "0,1", 1)])
def test_whose_neighbours_are_asked_is_the_policys(mode, nodes, nid):
    machine = with_partials(1)
    set_il_prev(machine, 0)
    mv.set_mempolicy(machine, mode, nodes)
    with mv.record(machine) as rec:
        mv.kmalloc(machine, 4096, GFP_KERNEL)
    assert rec.select(ev.SlabNodeChosen)[0].event.nid == nid


def test_in_an_interrupt_no_policy_is_asked():
    machine = with_partials(1)
    mv.set_mempolicy(machine, MPOL_BIND, "1")
    mv.set_current(machine, 0, in_interrupt=1)
    with mv.record(machine) as rec:
        mv.kmalloc(machine, 4096, GFP_ATOMIC)
    assert rec.select(ev.SlabNodeChosen)[0].event.nid == 0


# ---------------------------------------------------------------- caches


def test_like_caches_are_merged():
    machine = mv.toy(4)
    mv.kmem_cache_create(machine, "first", 100)
    mv.kmem_cache_create(machine, "second", 104)
    first = slab(machine).cache("second")
    assert first is slab(machine).cache("first") and (first.refcount, first.object_size, first.size) == (2, 104, 104)
    assert mv.kmem_cache_alloc(machine, "second", GFP_KERNEL) == mv.kmem_cache_alloc(
        machine, "first", GFP_KERNEL) - 104


@pytest.mark.parametrize("how", [{"size": 96}, {"size": 112}, {"ctor": True}, {"align": 16},
                                 {"flags": slab_common.SLAB_TYPESAFE_BY_RCU}, {"usersize": 8},
                                 {"flags": slab_common.SLAB_RECLAIM_ACCOUNT}])
def test_unlike_caches_are_not(how):
    machine = mv.toy(4)
    mv.kmem_cache_create(machine, "first", 104)
    made = mv.kmem_cache_create(machine, "second", **{"size": 104, **how})
    assert made.name == "second" and made.refcount == 1
    if "size" not in how and "align" not in how:
        assert find_mergeable(machine, slab(machine), 104, 0, 0, "third", False).name == "first"


def test_a_cache_with_a_constructor_takes_nobody_in():
    machine = mv.toy(4)
    for name, how in (("ctor", {"ctor": True}), ("rcu", {"flags": slab_common.SLAB_TYPESAFE_BY_RCU})):
        made = mv.kmem_cache_create(machine, name, 96, **how)
        assert find_mergeable(machine, slab(machine), made.size, 0, 0, "other", False) is None


def test_the_caches_of_kmalloc_are_made_in_boots_order():
    names = list(slab(mv.toy(4)).caches)
    assert names[:8] == [f"kmalloc-{size}" for size in ("8", "16", "32", "64", "96", "128", "192", "256")]
    assert names[12:15] == ["kmalloc-8k", "kmalloc-rcl-8", "kmalloc-rcl-16"]
    assert names[26:29] == ["dma-kmalloc-96", "dma-kmalloc-192", "dma-kmalloc-8"] and len(names) == 39


@pytest.mark.parametrize("size, align", [(64, 64), (96, 8), (192, 8), (4096, 4096)])
def test_powers_of_two_lie_on_a_multiple_of_themselves(size, align):
    machine = mv.toy(64)
    assert slab(machine).cache(slab_common.kmalloc_name(0, size)).align == align
    assert all(addr % align == 0 for addr in kmalloc(machine, size, 20))


# ---------------------------------------------------------------- random order


def random_machine(seed):
    return mv.boot([("DMA32", 0x1000, 0x1000)], config=mv.Config(slab_freelist_random=True, slab_seed=seed))


def test_freelist_random_gives_the_objects_of_a_slab_in_no_order():
    machine = random_machine(1)
    with mv.record(machine) as rec:
        first, second = (kmalloc(machine, 64, 64) for _ in range(2))
    offsets = [[each % 4096 // 64 for each in objects] for objects in (first, second)]
    assert sorted(offsets[0]) == sorted(offsets[1]) == list(range(64)) and offsets[0] != list(range(64))
    turn = offsets[1].index(offsets[0][0])
    assert offsets[1][turn:] + offsets[1][:turn] == offsets[0]  # one sequence, from another place on
    assert rec.at(len(rec)) == machine
    assert kmalloc(random_machine(1), 64, 64) == first != kmalloc(random_machine(2), 64, 64)


def test_a_slab_of_one_object_needs_no_order():
    machine = mv.boot([("DMA32", 0x1000, 0x1000)], config=mv.Config(slab_freelist_random=True))
    mv.kmem_cache_create(machine, "large", 40_000)
    with mv.record(machine) as rec:
        mv.kmem_cache_alloc(machine, "large", GFP_KERNEL)
    assert rec.select(ev.FreelistLaid)[0].event.pos == -1


def test_a_smaller_slab_skips_what_it_has_not():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], watermarks=(0, 0, 0), batch=1, high=0,
                      config=mv.Config(slab_freelist_random=True))
    pages = [mv.alloc_pages(machine, GFP_NOWAIT, 0) for _ in range(1024)]
    for pfn in pages[::2]:
        mv.__free_pages(machine, pfn, 0)
    objects = kmalloc(machine, 1024, 4)
    assert sorted(objects) == list(page_of(machine, objects[0]).addresses()) and len(objects) == 4


# ---------------------------------------------------------------- one call, three allocators


@pytest.mark.parametrize("name", ["SLUB", "SLAB", "SLOB"])
def test_one_call_for_all_three(name):
    machine = mv.boot([("DMA32", 0x1000, 0x4000)], config=mv.Config(slab=name))
    assert allocator(machine).__name__ == f"mmviz.mm.{name.lower()}"
    with mv.record(machine) as rec:
        found = [mv.kmalloc_node(machine, size, GFP_KERNEL, -1) for size in (0, 1, 64, 100, 5000, 10_000)]
        found.append(mv.kmalloc(machine, 64, GFP_KERNEL))
        assert found[0] == 16 and len(set(found)) == 7
        assert all(mv.ksize(machine, addr) >= size for addr, size in zip(found[1:], (1, 64, 100, 5000), strict=False))
        for addr in found:
            mv.kfree(machine, addr)
    assert rec.at(len(rec)) == machine
    assert mv.kmalloc_node(machine, 64, GFP_KERNEL) > 16
    with pytest.raises(ValueError, match="size must be at least 0 bytes, got -1"):
        mv.kmalloc_node(machine, -1, GFP_KERNEL)


# ---------------------------------------------------------------- sentences


KINDS = sorted((kind for kind in mv.trace.EVENTS.values() if kind.__module__ == ev.__name__
                and not kind.__subclasses__()), key=lambda kind: kind.__name__)
TEXTS = {"label": "redo", "cache": "kmalloc-64", "target": "kmalloc-64", "mode": 1}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("number, text", [(-1, "a"), (0, ""), (1, "a")])
def test_every_event_has_a_sentence(kind, number, text):
    words = {field.name: TEXTS.get(field.name, number) for field in dataclasses.fields(kind)}
    words |= {name: text for name in ("cache", "target") if name in words}
    words |= {name: max(number, 0) for name in ("order", "gfp_mask") if name in words}
    said = mv.sentence(kind(**words))
    assert said.endswith(".") and "{" not in said and "None" not in said
