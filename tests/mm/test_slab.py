"""SLAB: example 78, geometry, arrays, nodes; and the ground: replay, objects once, all memory comes back."""
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmviz as mv
from mmviz.errors import KernelBug
from mmviz.mm import array_cache_events as ev
from mmviz.mm.array_cache import SLAB_PRIMITIVES, set_touched, slab_caches
from mmviz.mm.slab import __kmalloc_node, kfree, ksize
from mmviz.mm.slab_alloc import index_to_obj, slab_alloc_node
from mmviz.mm.slab_free import __kmem_cache_shrink, whereabouts
from mmviz.mm.slab_geometry import create_slab_cache, enable_cpucache

kmalloc_node, shrink = __kmalloc_node, __kmem_cache_shrink
START = 0xFFFF888001000000
SLAB = {"config": mv.Config(slab="SLAB")}
GFP = mv.GFP_NOWAIT


def small(cpus=1):
    return mv.toy(4, cpus=[0] * cpus, **SLAB)


def two_nodes(cpus=(0, 1), nr_pages=0x400):
    return mv.boot([("DMA32", 0x1000, nr_pages, 0), ("DMA32", 0x1000 + nr_pages, nr_pages, 1)], cpus=cpus, **SLAB)


def kmalloc(machine, size, node=-1):
    return kmalloc_node(machine, size, GFP, node)


def numbers(addresses, size=256):
    return [(address - START) // size for address in addresses]


def fill(machine, node):
    """Leave a node without pages."""
    while mv.alloc_pages_node(machine, node, GFP | mv.__GFP_THISNODE, 0) is not None:
        pass


# ---------------------------------------------------------------- example 78, and what follows from it


def test_78_a_fresh_slab_gives_its_last_object_first():
    machine = small()
    got = numbers(kmalloc(machine, 256) for _ in range(32))
    assert got == [*range(15, -1, -1), *range(31, 15, -1)]
    assert slab_caches(machine)["kmalloc-256"].node[0].slabs == {"partial": [], "full": [0x1001, 0x1000], "free": []}


def test_the_shared_array_serves_again_and_again():
    """Two CPUs share an array of freed objects; the first refill from it touches it, the next finds it touched."""
    machine = small(cpus=2)
    held = [kmalloc(machine, 64) for _ in range(400)]
    for address in held:
        kfree(machine, address)
    cache = slab_caches(machine)["kmalloc-64"]
    waiting = len(cache.array["shared 0"].entry)
    with mv.record(machine) as rec:
        again = [kmalloc(machine, 64) for _ in range(len(cache.array["cpu 0"].entry) + waiting)]
    refills = [step.event for step in rec.select(ev.ArrayFoundEmpty)]
    assert len(refills) >= 2 and not cache.array["shared 0"].entry and len(set(again)) == len(again)
    assert len(rec.select(ev.SetTouched)) >= 1 and rec.at(len(rec)) == machine


def test_an_untouched_array_asks_for_sixteen_and_a_touched_one_for_all():
    machine = small()
    first = kmalloc(machine, 64)
    assert (first - START) // 64 == 15
    got = [(kmalloc(machine, 64) - START) // 64 for _ in range(16)]
    assert got == [*range(14, -1, -1), 63]  # 48 are left in the slab, and 60 are wanted


def test_what_came_last_goes_first():
    machine = small()
    held = [kmalloc(machine, 256) for _ in range(5)]
    for address in (held[1], held[3], held[0]):
        kfree(machine, address)
    assert [kmalloc(machine, 256) for _ in range(3)] == [held[0], held[3], held[1]]


def test_an_array_that_rested_is_touched_again_by_a_request():
    machine = small()
    for _ in range(3):
        kmalloc(machine, 256)
    set_touched(machine, "kmalloc-256", "cpu 0", 0)  # as cache_reap does
    kmalloc(machine, 256)
    assert slab_caches(machine)["kmalloc-256"].array["cpu 0"].touched == 1


def test_a_full_array_gives_its_oldest_away():
    machine = small()
    held = [kmalloc(machine, 256) for _ in range(144)]
    cache = slab_caches(machine)["kmalloc-256"]
    for address in held[:121]:
        kfree(machine, address)
    entry = cache.array["cpu 0"].entry
    assert entry == held[60:121]
    assert cache.node[0].slabs["free"] == [0x1002, 0x1001, 0x1000] and cache.node[0].free_objects == 60
    assert cache.node[0].slabs["partial"] == [0x1003]
    assert kmalloc(machine, 256) == held[120]


def test_more_free_objects_than_free_limit_and_slabs_go():
    machine = small()
    held = [kmalloc(machine, 256) for _ in range(400)]
    cache = slab_caches(machine)["kmalloc-256"]
    assert cache.node[0].free_limit == 2 * 60 + 16
    for address in held:
        kfree(machine, address)
    node = cache.node[0]
    assert node.free_objects <= node.free_limit < node.free_objects + 16 and len(cache.pages) < 25
    assert 0x1000 not in cache.pages and 0x1018 in cache.pages  # the slab that was empty first goes first
    shrink(machine, "kmalloc-256")
    assert cache.pages == {} and node.free_objects == 0
    assert machine.zone("DMA32").nr_pages_on_lists() == 1024


def test_a_partial_slab_serves_before_a_free_one_and_the_freed_object_first():
    machine = small()
    held = [kmalloc(machine, 1024) for _ in range(80)]
    for address in held[:60]:
        kfree(machine, address)
    cache = slab_caches(machine)["kmalloc-1k"]
    partial = list(cache.node[0].slabs["partial"])
    while cache.array["cpu 0"].entry:
        kmalloc(machine, 1024)
    with mv.record(machine) as recording:
        kmalloc(machine, 1024)
    chosen = [step.event for step in recording.select(ev.FirstSlabChosen)]
    assert [event.slabs for event in chosen][:len(partial) + 1] == ["partial"] * len(partial) + ["free"]
    assert [event.pfn for event in chosen][:len(partial)] == partial


def test_a_slab_goes_to_the_tail_of_partial_with_each_object_that_comes_back():
    machine = small()
    held = [kmalloc(machine, 1024) for _ in range(80)]
    slabs = [held[first:first + 4] for first in range(0, 80, 4)]
    for address in [objects[number] for number in (3, 2, 1) for objects in slabs][:55]:
        kfree(machine, address)  # at the 55th, the oldest 27: one of each slab, then a second of the first seven
    partial = slab_caches(machine)["kmalloc-1k"].node[0].slabs["partial"]
    assert partial == [*range(0x1007, 0x1014), *range(0x1000, 0x1007)]


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize("size, order, num, colour, inside", [
    (32, 0, 124, 0, False), (64, 0, 64, 0, True), (96, 0, 42, 1, True), (128, 0, 32, 0, True), (192, 0, 21, 1, True),
    (256, 0, 16, 0, True), (4096, 0, 1, 0, True), (8192, 1, 1, 0, True), (4 << 20, 10, 1, 0, True)])
def test_order_and_objects_of_the_kmalloc_caches(size, order, num, colour, inside):
    machine = mv.toy(64, **SLAB)
    kmalloc(machine, size)
    (cache,) = slab_caches(machine).values()
    assert (cache.gfporder, cache.num, cache.colour, cache.objfreelist) == (order, num, colour, inside)


def test_a_machine_with_more_than_32_mib_takes_two_pages_where_one_wastes_much():
    found = []
    for mib in (32, 64):
        machine = mv.toy(mib, **SLAB)
        create_slab_cache(machine, "seven hundred", 700, 0)
        cache = slab_caches(machine)["seven hundred"]
        found.append((cache.size, cache.gfporder, cache.num))
    assert found == [(704, 0, 5), (704, 1, 11)]


def test_a_reclaimable_cache_takes_the_first_order_that_holds_an_object_and_a_tiny_object_sixteen_bytes():
    machine = mv.toy(64, **SLAB)
    create_slab_cache(machine, "inodes", 700, 0, reclaimable=True)
    create_slab_cache(machine, "tiny", 3, 0)
    caches = slab_caches(machine)
    assert (caches["inodes"].gfporder, caches["inodes"].allocflags & mv.__GFP_RECLAIMABLE) == (0, 0x10)
    assert (caches["tiny"].size, caches["tiny"].num) == (16, 240)


def test_an_object_larger_than_any_block_is_refused():
    machine = small()
    with pytest.raises(ValueError, match="1 to 4,194,304 bytes"):
        create_slab_cache(machine, "huge", (4 << 20) + 1, 0)
    assert machine.parts == {}


def test_slabs_begin_at_one_colour_after_the_other():
    machine = small()
    create_slab_cache(machine, "coloured", 500, 0)  # 8 of 504 bytes: 64 left over
    create_slab_cache(machine, "five", 1300, 0)  # 3 of 1,304 bytes: 184 left over, two lines and a bit
    cache = slab_caches(machine)["five"]
    assert (slab_caches(machine)["coloured"].colour, cache.colour, cache.colour_off) == (1, 2, 64)
    for _ in range(12):
        slab_alloc_node(machine, "five", GFP, -1)
    offsets = [page.s_mem - START & 0xFFF for page in cache.pages.values()]
    assert offsets[:5] == [64, 0, 64, 0, 64][:len(offsets)]


def test_the_kinds_of_kmalloc_and_their_limits():
    machine = mv.boot([("DMA", 0x10, 0x3F0), ("DMA32", 0x1000, 0x800)], cpus=(0, 0), **SLAB)
    kmalloc_node(machine, 100, GFP | mv.__GFP_RECLAIMABLE, -1)
    low = kmalloc_node(machine, 100, GFP | mv.__GFP_DMA, -1)
    assert set(slab_caches(machine)) == {"kmalloc-rcl-128", "dma-kmalloc-128"} and low < START
    assert kmalloc(machine, 0) == 16 and kmalloc(machine, (4 << 20) + 1) == 0
    assert [enable_cpucache(machine, size) for size in (256, 257, 4097)] == [(120, 8), (54, 8), (8, 0)]
    assert ksize(machine, low) == 128


# ---------------------------------------------------------------- several CPUs


def test_the_shared_array_is_filled_first_and_asked_first():
    machine = small(cpus=2)
    held = [kmalloc(machine, 256) for _ in range(128)]
    cache = slab_caches(machine)["kmalloc-256"]
    for address in held[:121]:
        kfree(machine, address)
    assert cache.array["shared 0"].entry == held[:60]
    mv.set_current(machine, 1)
    assert kmalloc(machine, 256) == held[59]
    assert cache.array["cpu 1"].entry == held[44:59] and cache.array["shared 0"].entry == held[:44]
    assert cache.array["shared 0"].touched


def test_a_shared_array_with_little_room_takes_what_it_can():
    machine = small(cpus=2)
    held = [kmalloc(machine, 4096) for _ in range(160)]  # limit 24, batchcount 12, shared 96
    for address in held:
        kfree(machine, address)
    cache = slab_caches(machine)["kmalloc-4k"]
    assert len(cache.array["shared 0"].entry) == 96
    assert len(cache.array["cpu 0"].entry) <= 24 and cache.node[0].free_objects > 0


# ---------------------------------------------------------------- nodes


def test_another_node_serves_from_its_slabs_past_the_array():
    machine = two_nodes()
    mine, far = kmalloc(machine, 256, 0), kmalloc(machine, 256, 1)
    assert numbers([mine, far]) == [15, 0x400 * 16]
    cache = slab_caches(machine)["kmalloc-256"]
    assert cache.node[1].slabs["partial"] == [0x1400] and cache.node[1].free_objects == 15
    assert kmalloc(machine, 256, 1) == far + 256
    assert len(cache.array["cpu 0"].entry) == 15


def test_objects_of_another_node_wait_in_an_array_of_twelve():
    machine = two_nodes()
    held = [kmalloc(machine, 256, 1) for _ in range(14)]
    for address in held[:12]:
        kfree(machine, address)
    cache = slab_caches(machine)["kmalloc-256"]
    assert cache.array["alien 0 1"].entry == held[:12]
    kfree(machine, held[12])
    assert cache.array["shared 1"].entry == held[:12] and cache.array["alien 0 1"].entry == held[12:13]


def test_without_a_shared_array_they_go_to_the_slabs():
    machine = two_nodes(cpus=(0,))
    held = [kmalloc(machine, 256, 1) for _ in range(14)]
    for address in held[:13]:
        kfree(machine, address)
    assert slab_caches(machine)["kmalloc-256"].node[1].free_objects == 2 + 12


def test_a_node_without_pages_lets_another_one_serve_unless_it_may_not():
    machine = two_nodes(cpus=(0,))
    kmalloc(machine, 256, 0)
    fill(machine, 1)
    assert kmalloc(machine.copy(), 256, 1)
    with mv.record(machine) as recording:
        fallback = kmalloc(machine, 256, 1)
    assert (fallback - START) >> 12 < 0x400
    assert [step.event.nid for step in recording.select(ev.FallbackNodeTried)] == [0, 1]
    assert kmalloc_node(machine, 256, GFP | mv.__GFP_THISNODE, 1) == 0
    assert recording.at(len(recording)).parts["array_cache"].caches["kmalloc-256"].node[0].slabs["partial"]


def test_the_walk_takes_free_objects_where_there_are_some():
    machine = two_nodes(cpus=(0,))
    first = kmalloc(machine, 32, 0)  # 16 of 124 go to the array
    fill(machine, 1)
    with mv.record(machine) as recording:
        got = kmalloc(machine, 32, 1)
    assert got >> 12 == first >> 12
    assert [step.event.free_objects for step in recording.select(ev.FallbackNodeTried)] == [108]


def test_no_page_anywhere_is_a_null():
    machine = two_nodes(cpus=(0,))
    for node in (0, 1):
        fill(machine, node)
    with mv.record(machine) as recording:
        assert kmalloc(machine, 256, 1) == 0 and kmalloc(machine, 256) == 0
    assert recording.at(len(recording)) == machine


def test_a_uma_build_asks_for_pages_with_its_own_flags():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(slab="SLAB", numa=False))
    with mv.record(machine) as recording:
        kmalloc(machine, 256)
    (asked,) = [step.event for step in recording if type(step.event).__name__ == "RequestPrepared"]
    assert asked.gfp_mask == GFP | mv.__GFP_COMP


# ---------------------------------------------------------------- bad frees


def test_a_double_free_is_a_bug_and_says_where_the_object_is():
    machine = small()
    held = [kmalloc(machine, 256) for _ in range(130)]
    for address in held[:121]:
        kfree(machine, address)
    before = machine.copy()
    for address, where in ((held[120], "cpu 0"), (held[0], "free in its slab")):
        with pytest.raises(KernelBug, match=where):
            kfree(machine, address)
    for address in (held[125] + 8, START + (900 << 12)):
        with pytest.raises(KernelBug, match="no object of SLAB stands at"):
            kfree(machine, address)
    kfree(machine, 0)
    kfree(machine, 16)
    assert machine == before


# ---------------------------------------------------------------- the ground


def check(machine, held):
    """Each object is in one place; a slab is on the list that its objects say; the counts are right."""
    for name, cache in slab_caches(machine).items():
        waiting = [address for ac in cache.array.values() for address in ac.entry]
        assert len(waiting) == len(set(waiting))
        listed = {pfn: (nid, kind) for nid, n in enumerate(cache.node) for kind, pfns in n.slabs.items()
                  for pfn in pfns}
        assert set(listed) == set(cache.pages)
        for pfn, page in cache.pages.items():
            nid, kind = listed[pfn]
            assert kind == ("full" if page.active == cache.num else "partial" if page.active else "free")
            assert len(set(page.freelist[page.active:])) == cache.num - page.active and nid == (pfn >= 0x1400)
            for index in range(cache.num):
                address = index_to_obj(machine, name, pfn, index)
                assert (whereabouts(machine, name, pfn, index) == "in use") == (address in held)
        for nid, n in enumerate(cache.node):
            mine = [page for pfn, page in cache.pages.items() if listed[pfn][0] == nid]
            assert n.free_objects == sum(cache.num - page.active for page in mine)
        assert all(len(ac.entry) <= ac.limit for ac in cache.array.values())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), machine_of=st.sampled_from([small, lambda: small(2), two_nodes]))
def test_every_object_is_in_one_place_and_all_memory_comes_back(seed, machine_of):
    rng, machine, held = random.Random(seed), machine_of(), []
    sizes = rng.sample([1, 32, 100, 192, 256, 1000, 4096, 5000], 2)
    with mv.record(machine) as recording:
        for _ in range(8):
            mv.set_current(machine, rng.randrange(len(machine.cpu_to_node)))
            for _ in range(rng.randint(1, 60)):
                held.append(kmalloc(machine, rng.choice(sizes), rng.randint(-1, len(machine.node) - 1)))
            rng.shuffle(held)
            for _ in range(rng.randint(0, len(held))):
                kfree(machine, held.pop())
            check(machine, set(held))
    assert recording.at(len(recording)) == machine
    assert mv.Machine.from_dict(machine.to_dict()) == machine == machine.copy()
    for address in held:
        kfree(machine, address)
    for name in slab_caches(machine):
        shrink(machine, name)
    assert all(not cache.pages for cache in slab_caches(machine).values())
    mv.drain_all_pages(machine)
    assert all(zone.nr_pages_on_lists() == zone.managed_pages for zone in machine.zones())


def everything_once(machine):
    """Requests in which every primitive and every decision has its part."""
    held = [kmalloc(machine, 256) for _ in range(400)]
    far = [kmalloc(machine, 256, 1) for _ in range(20)]
    for address in [*far, *held]:
        kfree(machine, address)
    kmalloc(machine, 256)
    mv.set_current(machine, 1)
    kmalloc(machine, 256)
    create_slab_cache(machine, "five", 1300, 0)
    slab_alloc_node(machine, "five", GFP, -1)
    fill(machine, 1)
    kmalloc(machine, 2048, 1)
    shrink(machine, "kmalloc-256")
    mv.set_current(machine, 0)
    held = [kmalloc(machine, 100) for _ in range(128)]
    for address in held:
        kfree(machine, address)


@pytest.fixture(scope="module")
def told():
    with mv.record(two_nodes()) as recording:
        everything_once(recording.live)
    return recording


@pytest.mark.parametrize("kind", SLAB_PRIMITIVES, ids=lambda kind: kind.__name__)
def test_a_change_that_is_not_said_is_seen(kind, told, shows):
    assert shows(told, kind)


def test_every_event_has_a_sentence(told, all_is_said):
    all_is_said(told, ev)


@pytest.mark.parametrize("slab", ["SLAB", "SLOB"])
def test_a_node_that_is_not_there_is_refused_and_without_numa_no_node_is_looked_at(slab):
    machine = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(slab=slab))
    for node in (1, -2):
        with pytest.raises(ValueError, match=f"node must be 0 to 0 or NUMA_NO_NODE, got {node}"):
            mv.kmalloc_node(machine, 64, GFP, node)
    assert machine.parts == {}
    uma = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(slab=slab, numa=False))
    assert mv.kmalloc_node(uma, 64, GFP, 7) >> 12 == START >> 12
