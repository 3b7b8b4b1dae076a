"""SLOB: the worked examples by their numbers, the rules one by one, and the ground: replay, no overlap, no loss."""
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmviz as mv
from mmviz.errors import KernelBug
from mmviz.mm import slob_events as ev
from mmviz.mm.slob import __kmalloc_node, kfree, ksize, slob_list_of
from mmviz.mm.slob_state import SLOB_PRIMITIVES, Slob, slob

kmalloc_node = __kmalloc_node  # two underscores are mangled in a class body
START = 0xFFFF888001000000  # where the first page of toy(4) stands; the examples call it 0x1000
SIZES = [1, 7, 8, 24, 64, 100, 255, 300, 512, 1000, 1024, 2048, 3000, 4087, 4088, 5000]


def machine_with_slob(**more):
    return mv.toy(4, config=mv.Config(slab="SLOB"), **more)


def duo_with_slob():
    return mv.boot([("DMA32", 0x1000, 0x400, 0), ("DMA32", 0x1400, 0x400, 1)], cpus=(0, 1),
                   config=mv.Config(slab="SLOB"))


def kmalloc(machine, size):
    return kmalloc_node(machine, size, mv.GFP_KERNEL, -1)


def at(address):
    """An address of the examples, where pages are at 0x1000, 0x2000 ..."""
    return START + address - 0x1000


def free_blocks(machine, page):
    """(address as in the examples, units) of the free blocks of the n-th page."""
    blocks = slob(machine).pages[0x1000 + page].blocks
    return [(0x1000 * (page + 1) + 2 * offset, units) for offset, units in sorted(blocks.items())]


# ---------------------------------------------------------------- examples


def test_76_blocks_headers_and_lists():
    machine = machine_with_slob()
    assert kmalloc(machine, 100) == at(0x1008)
    assert free_blocks(machine, 0) == [(0x106C, 1994)]
    assert kmalloc(machine, 64) == at(0x1080)
    assert free_blocks(machine, 0) == [(0x106C, 6), (0x10C0, 1952)]
    assert [kmalloc(machine, size) for size in (24, 64, 300)] == [at(a) for a in (0x10C8, 0x1100, 0x2008)]
    assert kmalloc(machine, 1024) == at(0x3400)
    assert free_blocks(machine, 2) == [(0x3000, 508), (0x3800, 1024)]
    assert slob(machine).lists == [[0x1000], [0x1001], [0x1002]]
    assert kmalloc(machine, 8) == at(0x10E8)  # first fit in the gap of 12 units
    assert kmalloc(machine, 4087) == at(0x4008)
    assert slob(machine).pages[0x1003].units == 0
    assert [kmalloc(machine, size) for size in (4088, 4096)] == [at(0x5000), at(0x6000)]
    assert kmalloc(machine, 5000) == at(0x7000)
    assert machine.zone("DMA32").compound == {0x1006: 1}


def test_77_the_last_object_takes_the_page_along():
    machine = machine_with_slob()
    address = kmalloc(machine, 100)
    kfree(machine, address)
    assert slob(machine) == Slob()
    assert machine.zone("DMA32").nr_pages_on_lists() == 1024


def test_79_freed_blocks_merge():
    machine = machine_with_slob()
    k100, k64 = kmalloc(machine, 100), kmalloc(machine, 64)
    kfree(machine, k100)
    assert free_blocks(machine, 0)[0] == (0x1000, 60)
    assert kmalloc(machine, 24) == at(0x1008)
    kfree(machine, k64)
    assert free_blocks(machine, 0) == [(0x1020, 2032)]
    assert kmalloc(machine, 8) == at(0x1028)


# ---------------------------------------------------------------- rules


def test_no_bytes_are_no_memory_and_too_many_a_null():
    machine = machine_with_slob()
    assert kmalloc(machine, 0) == 16
    for address in (0, 16):
        kfree(machine, address)
    assert kmalloc_node(machine, (4 << 20) + 1, mv.GFP_NOWAIT, -1) == 0
    assert machine.parts == {}


@pytest.mark.parametrize("size, number", [(255, 0), (256, 1), (1023, 1), (1024, 2)])
def test_three_lists_by_the_size_with_its_header(size, number):
    assert slob_list_of(size) == number
    machine = machine_with_slob()
    kmalloc(machine, size - 8)
    assert [len(pages) for pages in slob(machine).lists] == [int(number == each) for each in range(3)]


def test_next_fit_begins_at_the_page_that_served_last():
    machine = machine_with_slob()
    first = [kmalloc(machine, 240) for _ in range(16)]  # 248 bytes each: sixteen fill a page but for 128 bytes
    second = [kmalloc(machine, 240) for _ in range(16)]
    kmalloc(machine, 240)
    assert slob(machine).lists[0] == [0x1002, 0x1001, 0x1000]
    kfree(machine, second[3])
    assert kmalloc(machine, 2000) and slob(machine).lists[0] == [0x1002, 0x1001, 0x1000]
    for _ in range(15):
        kmalloc(machine, 240)
    assert kmalloc(machine, 240) == second[3]  # 0x1002 has 64 units left: too few
    assert slob(machine).lists[0] == [0x1001, 0x1000, 0x1002]
    kfree(machine, first[0])
    kfree(machine, second[0])
    assert kmalloc(machine, 240) == second[0]


def test_a_page_whose_room_is_in_pieces_is_passed_over():
    machine = machine_with_slob()
    held = [kmalloc(machine, 240) for _ in range(16)]
    kfree(machine, held[2])
    kfree(machine, held[5])
    assert (kmalloc(machine.copy(), 247) - START) >> 12 == 1
    with mv.record(machine) as recording:
        kmalloc(machine, 247)
    skipped = recording.select(ev.SlobPageSkipped)
    assert [step.event.reason for step in skipped] == ["room"]
    assert recording.at(len(recording)) == machine


def test_a_full_page_goes_to_the_list_of_what_was_freed():
    machine = machine_with_slob()
    large, small = kmalloc(machine, 4000 - 8), kmalloc(machine, 96 - 8)
    del small
    kmalloc(machine, 8)
    part = slob(machine)
    assert large - 8 == START and part.pages[0x1000].units == 48
    fill = kmalloc(machine, 1024 - 8)
    filled = [kmalloc(machine, 1024 - 8) for _ in range(3)]
    assert part.pages[(fill - machine.config.page_offset) >> 12].units == 0
    kfree(machine, filled[0])
    assert part.lists[2][0] == (fill - machine.config.page_offset) >> 12


def test_a_block_merges_with_the_one_before_the_one_behind_and_both():
    machine = machine_with_slob()
    held = [kmalloc(machine, 88) for _ in range(5)]  # 48 units each
    kfree(machine, held[0])
    kfree(machine, held[2])
    assert free_blocks(machine, 0) == [(0x1000, 48), (0x10C0, 48), (0x11E0, 1808)]
    kfree(machine, held[1])
    assert free_blocks(machine, 0) == [(0x1000, 144), (0x11E0, 1808)]
    kfree(machine, held[4])
    assert free_blocks(machine, 0) == [(0x1000, 144), (0x1180, 1856)]
    kfree(machine, held[3])
    assert slob(machine).pages == {}


def test_a_page_of_another_node_is_not_searched():
    machine = duo_with_slob()
    here, there = kmalloc_node(machine, 64, mv.GFP_KERNEL, 0), kmalloc_node(machine, 64, mv.GFP_KERNEL, 1)
    assert [(a - machine.config.page_offset) >> 12 >= 0x1400 for a in (here, there)] == [False, True]
    with mv.record(machine) as recording:
        assert kmalloc_node(machine, 64, mv.GFP_KERNEL, 0) >> 12 == here >> 12
    assert [step.event.reason for step in recording.select(ev.SlobPageSkipped)] == ["node"]


def test_no_page_is_a_null_that_changes_nothing():
    machine = machine_with_slob()
    while mv.alloc_pages(machine, mv.GFP_NOWAIT, 0) is not None:
        pass
    with mv.record(machine) as recording:
        assert kmalloc_node(machine, 64, mv.GFP_NOWAIT, -1) == 0
        assert kmalloc_node(machine, 8192, mv.GFP_NOWAIT, -1) == 0
    assert "slob" not in machine.parts and recording.at(len(recording)) == machine


def test_a_double_free_is_a_bug_and_changes_nothing():
    machine = machine_with_slob()
    once, other, large = kmalloc(machine, 64), kmalloc(machine, 64), kmalloc(machine, 5000)
    kfree(machine, once)
    kfree(machine, large)
    before = machine.copy()
    for address in (once, other + 16):
        with pytest.raises(KernelBug, match="no object of SLOB stands at"):
            kfree(machine, address)
    with pytest.raises(KernelBug):
        kfree(machine, large)
    with pytest.raises(ValueError, match="pfn must lie in a zone"):
        kfree(machine, 0xFFFF888000000000)
    assert machine == before


def test_ksize():
    machine = machine_with_slob()
    assert [ksize(machine, kmalloc(machine, size)) for size in (1, 100, 4088, 5000)] == [2, 100, 4096, 8192]


# ---------------------------------------------------------------- the ground


def check(machine, held):
    """No overlap; every unit of every page is once in an object, or once free; the lists hold what has room."""
    part = slob(machine)
    for number, pages in enumerate(part.lists):
        assert all(part.pages[pfn].slob_list == number and part.pages[pfn].units for pfn in pages)
    for pfn, page in part.pages.items():
        start = machine.config.page_offset + pfn * 4096
        used = [((m - start) // 2, (size + 9) // 2) for m, size in part.sizes.items() if m >> 12 == start >> 12]
        blocks = sorted([*used, *page.blocks.items()])
        assert page.units == sum(page.blocks.values())
        assert all(end[0] == begin[0] + begin[1] for begin, end in pairwise(blocks))
        assert blocks[0][0] == 0 and sum(blocks[-1]) == 2048
        assert all(offset + units not in page.blocks for offset, units in page.blocks.items())  # all merged
    assert {address - 8 for address, size in held.items() if size < 4088} == set(part.sizes)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), free=st.floats(0.2, 0.6), nodes=st.booleans())
def test_objects_never_overlap_and_all_memory_comes_back(seed, free, nodes):
    rng = random.Random(seed)
    machine = duo_with_slob() if nodes else machine_with_slob()
    held = {}
    with mv.record(machine) as recording:
        for _ in range(60):
            if held and rng.random() < free:
                address = rng.choice(sorted(held))
                del held[address]
                kfree(machine, address)
            else:
                size = rng.choice(SIZES)
                held[kmalloc_node(machine, size, mv.GFP_KERNEL, rng.randint(-1, len(machine.node) - 1))] = size
            check(machine, held)
        middle = len(recording)
    assert recording.at(middle) == machine
    assert mv.Machine.from_dict(machine.to_dict()) == machine == machine.copy()
    for address in held:
        kfree(machine, address)
    assert slob(machine) == Slob()
    assert all(zone.nr_pages_on_lists() == zone.managed_pages for zone in machine.zones())


def everything_once(machine):
    """Requests in which every primitive and every decision has its part."""
    held = [kmalloc(machine, 240) for _ in range(33)]
    kfree(machine, held[20])
    for _ in range(16):
        kmalloc(machine, 240)
    for address in (held[2], held[5]):
        kfree(machine, address)
    kmalloc_node(machine, 247, mv.GFP_KERNEL, 0)
    kfree(machine, kmalloc(machine, 4000))
    kmalloc(machine, 100)


@pytest.fixture(scope="module")
def told():
    with mv.record(machine_with_slob()) as recording:
        everything_once(recording.live)
    return recording


@pytest.mark.parametrize("kind", SLOB_PRIMITIVES, ids=lambda kind: kind.__name__)
def test_a_change_that_is_not_said_is_seen(kind, told, shows):
    assert shows(told, kind)


def test_every_event_has_a_sentence(told, all_is_said):
    all_is_said(told, ev)
