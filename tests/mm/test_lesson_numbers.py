"""The numbers that the lessons 00 and 03 are built on, as the plan of the lessons has them."""
import pytest

import mmviz as mv
from mmviz.kernel import GFP_ATOMIC, GFP_HIGHUSER_MOVABLE, GFP_KERNEL, GFP_NOWAIT, NR_FREE_PAGES
from mmviz.kernel import MIGRATE_MOVABLE as M
from mmviz.kernel import MIGRATE_UNMOVABLE as U
from mmviz.mm import events as ev

ZERO = mv.__GFP_ZERO


@pytest.fixture
def toy4():
    return mv.toy(4)


@pytest.fixture
def toy64():
    return mv.toy(64)


def take(machine, gfp_mask, *orders):
    return [hex(mv.alloc_pages(machine, gfp_mask, order)) for order in orders]


def pile(machine, migratetype):
    return [hex(pfn) for pfn in machine.zone("DMA32").pageset[0].lists[migratetype]]


def counter(machine):
    return machine.zone("DMA32").vm_stat[NR_FREE_PAGES]


# ---------------------------------------------------------------- 00


def test_00_the_first_page_comes_from_the_top(toy64, buddyinfo):
    assert buddyinfo(toy64.zone("DMA32")).endswith(" 16")
    assert take(toy64, GFP_HIGHUSER_MOVABLE, 0) == ["0x4c00"]


def test_00_three_pages_out_of_the_lists_and_one_in_use(toy64):
    take(toy64, GFP_HIGHUSER_MOVABLE, 0)
    zone = toy64.zone("DMA32")
    assert counter(toy64) == zone.nr_pages_on_lists() == 16381
    assert len(zone.allocated) == 1


# ---------------------------------------------------------------- 03, R1 to R7


def test_03_r1_the_lower_half_is_kept(toy4, lists, buddyinfo):
    assert take(toy4, GFP_KERNEL, 3, 3, 3) == ["0x1000", "0x1008", "0x1010"]
    zone = toy4.zone("DMA32")
    assert lists(zone) == "9:U[0x1200] 8:U[0x1100] 7:U[0x1080] 6:U[0x1040] 5:U[0x1020] 3:U[0x1018]"
    assert buddyinfo(zone) == "0 0 0 1 0 1 1 1 1 1 0"


def test_03_r2_a_request_brings_a_batch(toy64, buddyinfo):
    assert take(toy64, GFP_HIGHUSER_MOVABLE, 0) == ["0x4c00"]
    assert pile(toy64, M) == ["0x4c01", "0x4c02"] and counter(toy64) == 16381
    assert buddyinfo(toy64.zone("DMA32")) == "1 0 1 1 1 1 1 1 1 1 15"


def test_03_r2_pages_are_cleared_only_if_asked(toy4, events_of):
    cleared = ev.PagesCleared(0, 1, 0x1000, 1)
    assert cleared not in events_of(toy4.copy(), mv.alloc_pages, toy4.copy(), GFP_KERNEL, 1)
    assert cleared in events_of(toy4, mv.alloc_pages, toy4, GFP_KERNEL | ZERO, 1)


def test_03_r3_last_in_first_out_for_you_first_in_first_out_for_the_flush(toy64, events_of):
    pages = [mv.alloc_pages(toy64, GFP_HIGHUSER_MOVABLE, 0) for _ in range(20)]
    assert pages == list(range(0x4C00, 0x4C14))
    flushed = {}
    for number, pfn in enumerate(pages, 1):
        events = events_of(toy64, mv.__free_pages, toy64, pfn, 0)
        drains = [hex(event.pfn) for event in events if isinstance(event, ev.MmPagePcpuDrain)]
        if drains:
            flushed[number] = drains
    assert flushed == {17: ["0x4c14", "0x4c00", "0x4c01"], 20: ["0x4c02", "0x4c03", "0x4c04"]}
    assert toy64.zone("DMA32").pageset[0].count == 15 and counter(toy64) == 16369
    assert take(toy64, GFP_HIGHUSER_MOVABLE, 0) == ["0x4c13"]


def test_03_r4_the_watermark_is_asked_first(toy64, served):
    assert served(lambda: mv.alloc_pages(toy64, GFP_NOWAIT, 0)) == 16126
    assert pile(toy64, U) == ["0x12fe", "0x12ff"] and counter(toy64) == 256


def slow_ones(machine, requests):
    """The numbers, from 0, of those of so many GFP_NOWAIT requests that take the slow path."""
    slow, number = [], 0
    with machine.trace.listen(lambda event: slow.append(number) if isinstance(event, ev.SlowpathEntered) else None):
        for number in range(requests):  # noqa: B007 (the listener reads it)
            mv.alloc_pages(machine, GFP_NOWAIT, 0)
    return slow


def test_03_r4_the_last_fast_request(toy64):
    assert slow_ones(toy64, 16070)[:2] == [16063, 16064]


def test_03_r5_a_partner_must_be_free_and_of_the_same_order(toy4, lists):
    assert take(toy4, GFP_KERNEL, 3, 0, 2, 0) == ["0x1000", "0x1008", "0x100c", "0x1009"]
    zone = toy4.zone("DMA32")
    seen = []
    for pfn, order in ((0x1008, 0), (0x1009, 0), (0x1000, 3), (0x100C, 2)):
        mv.__free_pages(toy4, pfn, order)
        seen.append(lists(zone).split(" 4:U[0x1010] ")[-1])
    assert seen == ["1:U[0x100a] 0:U[0x1008]", "2:U[0x1008]", "3:U[0x1000] 2:U[0x1008]", "10:U[0x1000]"]


def test_03_r6_the_tail_rule(toy4, lists):
    assert take(toy4, GFP_KERNEL, 0, 0, 0, 0, 0) == ["0x1000", "0x1001", "0x1002", "0x1003", "0x1004"]
    for pfn in (0x1002, 0x1003, 0x1000):
        mv.__free_pages(toy4, pfn, 0)
    zone = toy4.zone("DMA32")
    assert [hex(pfn) for pfn in zone.free_list(0, U)] == ["0x1005", "0x1000"]
    assert take(toy4, GFP_KERNEL, 0) == ["0x1005"]
    mv.__free_pages(toy4, 0x1001, 0)
    assert lists(zone).endswith(" 2:U[0x1000] 1:U[0x1006]")


def test_03_r7_how_many_an_atomic_request_may_have_beyond(toy4, served):
    assert slow_ones(toy4.copy(), 960) == list(range(945, 960))
    assert served(lambda: mv.alloc_pages(toy4, GFP_NOWAIT, 0)) == 960
    assert served(lambda: mv.alloc_pages(toy4, GFP_ATOMIC, 0)) == 42
    assert counter(toy4) == 22


# ---------------------------------------------------------------- 03, break it


@pytest.fixture
def combed(toy4, served):
    """toy(4), filled with single pages; then every page that is no multiple of sixteen was freed."""
    assert served(lambda: mv.alloc_pages(toy4, GFP_NOWAIT, 0)) == 960
    for pfn in list(toy4.zone("DMA32").allocated):
        if pfn % 16:
            mv.__free_pages(toy4, pfn, 0)
    return toy4


def test_03_b_every_page_in_use(toy4, served, lists):
    served(lambda: mv.alloc_pages(toy4, GFP_NOWAIT, 0))
    zone = toy4.zone("DMA32")
    assert sorted(zone.allocated) == list(range(0x1000, 0x13C0)) and lists(zone) == "6:U[0x13c0]"


def test_03_b_900_free_pages_and_no_block_of_sixteen(combed, buddyinfo, events_of):
    zone = combed.zone("DMA32")
    assert buddyinfo(zone) == "60 60 60 60 0 0 1 0 0 0 0" and zone.nr_pages_on_lists() == 964
    assert take(combed, GFP_NOWAIT, 4, 4, 4, 4) == ["0x13c0", "0x13d0", "0x13e0", "0x13f0"]
    events = events_of(combed, mv.alloc_pages, combed, GFP_NOWAIT, 4)
    assert ev.AllocationFailed(4, GFP_NOWAIT, True) in events and zone.nr_pages_on_lists() == 900
    checked = [event for event in events if isinstance(event, ev.WatermarkChecked)]
    assert [(event.free, event.reason) for event in checked] == [(885, "no block of that order")] * 3
    assert take(combed, GFP_NOWAIT, 3) == ["0x13b8"]


def test_03_b_one_page_joins_its_fifteen_neighbours(combed):
    take(combed, GFP_NOWAIT, 4, 4, 4, 4)
    mv.__free_pages(combed, 0x1000, 0)
    assert take(combed, GFP_NOWAIT, 4) == ["0x1000"]


def test_03_b_with_gfp_kernel_the_simulator_stops(combed, events_of):
    take(combed, GFP_NOWAIT, 4, 4, 4, 4)
    assert ev.WouldReclaim("compact", 4, GFP_KERNEL) in events_of(combed, mv.alloc_pages, combed, GFP_KERNEL, 4)


# ---------------------------------------------------------------- 02 and 04, where they lean on the same machines


def test_02_r5_and_r6_a_node_is_a_wish_and_thisnode_a_command(served):
    machine = mv.duo()
    node = {"0x1": 0, "0x2": 0, "0x3": 1, "0x4": 1}
    taken = []
    while not taken or node[taken[-1][:3]] == 1:
        taken += [hex(mv.alloc_pages_node(machine, 1, GFP_NOWAIT, 0))]
    assert (len(taken) - 1, taken[-1]) == (8034, "0x2c00")
    assert served(lambda: mv.alloc_pages_node(machine, 1, GFP_NOWAIT | mv.__GFP_THISNODE, 0)) == 30


def test_02_r2_a_hundred_kib(toy4):
    assert mv.get_order(102400) == 5
    addr = mv.alloc_pages_exact(toy4, 102400, GFP_KERNEL)
    assert addr == 0xFFFF888001000000 and len(toy4.zone("DMA32").allocated) == 25


def test_04_r1_the_first_kernel_page_takes_two_pageblocks(toy64, buddyinfo):
    take(toy64, GFP_HIGHUSER_MOVABLE, 0)
    assert take(toy64, GFP_KERNEL, 0) == ["0x4800"]
    assert buddyinfo(toy64.zone("DMA32")) == "2 0 2 2 2 2 2 2 2 2 14"
    assert toy64.zone("DMA32").pageblock == {0x4800 >> 9: U, 0x4A00 >> 9: U}


def test_04_r7_a_theft_is_paid_for(toy64, served):
    served(lambda: mv.alloc_pages(toy64, GFP_NOWAIT | mv.__GFP_MOVABLE, 0))
    twin = toy64.copy()
    assert served(lambda: mv.alloc_pages(toy64, GFP_ATOMIC, 0)) == 1
    assert served(lambda: mv.alloc_pages(twin, GFP_ATOMIC | mv.__GFP_MOVABLE, 0)) == 162


@pytest.mark.parametrize("grouping, order_9, order_10", [(True, 31, 15), (False, 1, 0)])
def test_04_b_what_grouping_is_good_for(served, grouping, order_9, order_10):
    machine = mv.toy(64, grouping=grouping)
    movable = []
    for _ in range(31):
        movable += [mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 0) for _ in range(511)]
        mv.alloc_pages(machine, GFP_KERNEL, 0)
    for pfn in movable:
        mv.__free_pages(machine, pfn, 0)
    mv.drain_pages(machine, 0)
    assert machine.zone("DMA32").nr_pages_on_lists() == 16353
    twin = machine.copy()
    assert served(lambda: mv.alloc_pages(machine, GFP_NOWAIT | mv.__GFP_MOVABLE, 9)) == order_9
    assert served(lambda: mv.alloc_pages(twin, GFP_NOWAIT | mv.__GFP_MOVABLE, 10)) == order_10


def test_04_x2_between_u_and_r_nothing_is_alike(zone_with):
    zone = zone_with("5:U[0x1020] 5:M[0x1240] 4:U[0x1410]")
    assert take(zone.machine, GFP_NOWAIT | mv.__GFP_RECLAIMABLE, 0) == ["0x1020"]
    assert zone.pageblock[0x1020 >> 9] == U


def test_04_x3_one_page_in_512_spoils_all_grouping_or_not(toy64):
    mv.give(toy64, [pfn for pfn in mv.take(toy64, GFP_NOWAIT) if pfn % 512])
    mv.drain_pages(toy64, 0)
    assert toy64.zone("DMA32").nr_pages_on_lists() == 16_352
    assert mv.take(toy64, GFP_NOWAIT | mv.__GFP_MOVABLE, order=9) == []
