"""The worked examples 1 to 42 and 45 of the reference, number by number, as they stand there.

Where an example says nothing else: pageblock_order 9, one CPU, no marks, every pageblock has the type of its blocks.
"""
import pytest

import mmviz as mv
from mmviz.kernel import (
    ALLOC_HARDER,
    ALLOC_HIGH,
    ALLOC_NOFRAGMENT,
    ALLOC_OOM,
    ALLOC_WMARK_LOW,
    GFP_ATOMIC,
    GFP_DMA32,
    GFP_HIGHUSER,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    I386,
    NR_FREE_PAGES,
)
from mmviz.kernel import MIGRATE_MOVABLE as M
from mmviz.kernel import MIGRATE_RECLAIMABLE as R
from mmviz.kernel import MIGRATE_UNMOVABLE as U
from mmviz.mm import events as ev
from mmviz.mm.boot import zone_batchsize
from mmviz.mm.fallback import (
    boost_watermark,
    find_suitable_fallback,
    get_pageblock_migratetype,
    reserve_highatomic_pageblock,
)
from mmviz.mm.get_free_pages import page_address
from mmviz.mm.page_alloc import alloc_flags_nofragment
from mmviz.mm.page_free import __free_one_page, drain_pages_zone, free_pcppages_bulk, free_unref_page
from mmviz.mm.rmqueue import __rmqueue, rmqueue, rmqueue_pcplist
from mmviz.mm.slowpath import gfp_to_alloc_flags
from mmviz.mm.watermark import (
    __zone_watermark_ok,
    init_per_zone_wmark_min,
    wmark_pages,
    zone_watermark_fast,
)
from mmviz.mm.zonelist import gfp_zone, gfpflags_to_migratetype

SPLIT = ("9:{0}[0x1200] 8:{0}[0x1100] 7:{0}[0x1080] 6:{0}[0x1040] 5:{0}[0x1020] 4:{0}[0x1010] 3:{0}[0x1008] "
         "2:{0}[0x1004]")


def take(zone, migratetype, count=1, order=0, alloc_flags=0):
    return [hex(__rmqueue(zone, order, migratetype, alloc_flags)) for _ in range(count)]


def pile(zone, migratetype):
    return [hex(pfn) for pfn in zone.pageset[0].lists[migratetype]]


# ---------------------------------------------------------------- buddy, no pcp


def test_example_01_a_page_of_an_order_10_block(zone_with, lists, buddyinfo):
    zone = zone_with("10:U[0x1000]")
    assert take(zone, U) == ["0x1000"]
    assert lists(zone) == SPLIT.format("U") + " 1:U[0x1002] 0:U[0x1001]"
    assert buddyinfo(zone) == "1 1 1 1 1 1 1 1 1 1 0"


def test_example_02_the_next_three_pages(zone_with, lists):
    zone = zone_with("10:U[0x1000]")
    take(zone, U)
    assert take(zone, U, 2) == ["0x1001", "0x1002"]
    assert lists(zone) == SPLIT.format("U") + " 0:U[0x1003]"
    assert take(zone, U) == ["0x1003"]
    assert lists(zone) == SPLIT.format("U")


def test_example_03_three_order_3_requests(zone_with, lists):
    zone = zone_with("10:U[0x1000]")
    assert take(zone, U, 3, order=3) == ["0x1000", "0x1008", "0x1010"]
    assert lists(zone) == "9:U[0x1200] 8:U[0x1100] 7:U[0x1080] 6:U[0x1040] 5:U[0x1020] 3:U[0x1018]"


def test_example_04_the_page_comes_back_and_all_merges(zone_with, lists):
    zone = zone_with("10:U[0x1000]")
    take(zone, U)
    __free_one_page(zone, 0x1000, 0, U)
    assert lists(zone) == "10:U[0x1000]"


def test_example_05_four_frees_out_of_order(zone_with, lists):
    zone = zone_with("2:M[0x1000]")
    assert take(zone, M, 4) == ["0x1000", "0x1001", "0x1002", "0x1003"]
    seen = []
    for pfn in (0x1000, 0x1002, 0x1001, 0x1003):
        __free_one_page(zone, pfn, 0, M)
        seen.append(lists(zone))
    assert seen == ["0:M[0x1000]", "0:M[0x1002,0x1000]", "1:M[0x1000] 0:M[0x1002]", "2:M[0x1000]"]


def test_example_06_the_tail_rule(zone_with, lists):
    zone = zone_with("1:M[0x1002] 0:M[0x2008]")
    __free_one_page(zone, 0x1000, 0, M)
    assert lists(zone) == "1:M[0x1002] 0:M[0x2008,0x1000]"


def test_example_06_without_the_block_above_it_is_the_head(zone_with, lists):
    zone = zone_with("0:M[0x2008]")
    __free_one_page(zone, 0x1000, 0, M)
    assert lists(zone) == "0:M[0x1000,0x2008]"


def test_example_07_the_tail_rule_at_order_8(zone_with, lists):
    zone = zone_with("9:M[0x1200] 8:M[0x2000]")
    __free_one_page(zone, 0x1000, 8, M)
    assert lists(zone) == "9:M[0x1200] 8:M[0x2000,0x1000]"


def test_example_08_order_9_never_uses_the_tail_rule(zone_with, lists):
    zone = zone_with("10:M[0x1400] 9:M[0x2000]")
    __free_one_page(zone, 0x1000, 9, M)
    assert lists(zone) == "10:M[0x1400] 9:M[0x1000,0x2000]"


def test_example_09_blocks_of_different_types_merge(zone_with, lists):
    zone = zone_with("0:U[0x1000]")
    __free_one_page(zone, 0x1001, 0, M)
    assert lists(zone) == "1:M[0x1000]"


def test_example_10_boot_pushes_each_block_on_the_last(lists):
    zone = mv.boot([("DMA32", 0x1000, 0xC00)], grouping=True).zone("DMA32")
    assert lists(zone) == "10:M[0x1800,0x1400,0x1000]"
    assert take(zone, M) == ["0x1800"]


def test_example_11_boot_of_a_range_that_begins_at_an_odd_page(lists, buddyinfo):
    zone = mv.boot([("DMA32", 0x1001, 0xFFF)], grouping=True).zone("DMA32")
    assert lists(zone) == ("10:M[0x1c00,0x1800,0x1400] 9:M[0x1200] 8:U[0x1100] 7:U[0x1080] 6:U[0x1040] 5:U[0x1020] "
                           "4:U[0x1010] 3:U[0x1008] 2:U[0x1004] 1:U[0x1002] 0:U[0x1001]")
    assert take(zone, U, 2) == ["0x1001", "0x1002"]
    assert list(zone.free_list(0, U)) == [0x1003]
    assert take(zone, U, order=1) == ["0x1004"]
    assert list(zone.free_list(1, U)) == [0x1006]


# ---------------------------------------------------------------- fallback


def test_example_12_the_first_kernel_page_steals_an_order_10_block(zone_with, lists, events_of):
    zone = zone_with("10:M[0x1000]", high_mark=1500)
    taken = []
    events = events_of(zone.machine, lambda: taken.extend(take(zone, U)))
    assert taken == ["0x1000"]
    assert lists(zone) == SPLIT.format("U") + " 1:U[0x1002] 0:U[0x1001]"
    assert [get_pageblock_migratetype(zone, pfn) for pfn in (0x1000, 0x1200)] == [U, U]
    assert zone.watermark_boost == 0
    assert [event for event in events if isinstance(event, ev.MmPageAllocExtfrag)] == [
        ev.MmPageAllocExtfrag(pfn=0x1000, alloc_order=0, fallback_order=10, alloc_migratetype=U,
                              fallback_migratetype=M, change_ownership=True)]


def test_example_13_half_is_enough_to_claim_the_pageblock(zone_with, lists, events_of):
    zone = zone_with("3:M[0x1008] 0:M[0x1100]", high_mark=1500)
    events = events_of(zone.machine, take, zone, U)
    assert [event for event in events if isinstance(event, ev.StealDecided)] == [
        ev.StealDecided(nid=0, zone_idx=1, pfn=0x1008, free=9, alike=503, claimed=True)]
    assert lists(zone) == "3:U[0x1008]"
    assert 0x1100 not in zone.buddy
    assert get_pageblock_migratetype(zone, 0x1000) == U
    assert zone.watermark_boost == 512


@pytest.mark.parametrize("users, alike, owner", [(257, 246, M), (256, 247, U)])
def test_example_14_one_user_page_decides_who_owns_the_pageblock(zone_with, lists, events_of, users, alike, owner):
    in_use = [pfn for pfn in range(0x1010, 0x1200) if pfn != 0x1100]
    zone = zone_with("3:M[0x1008] 0:M[0x1100]", lru=in_use[:users], high_mark=1500)
    taken = []
    events = events_of(zone.machine, lambda: taken.extend(take(zone, U)))
    decided = [event for event in events if isinstance(event, ev.StealDecided)]
    assert [(event.free, event.alike, event.claimed) for event in decided] == [(9, alike, owner == U)]
    assert taken == ["0x1100"]
    assert lists(zone) == "3:U[0x1008]"
    assert get_pageblock_migratetype(zone, 0x1008) == owner


def test_example_15_movable_takes_the_smallest_block_where_it_may_not_claim(zone_with, lists):
    zone = zone_with("3:U[0x1008] 1:U[0x1202]", high_mark=1500)
    assert take(zone, M) == ["0x1202"]
    assert lists(zone) == "3:U[0x1008] 0:M[0x1203]"
    assert [get_pageblock_migratetype(zone, pfn) for pfn in (0x1008, 0x1202)] == [U, U]
    assert zone.watermark_boost == 512


def test_example_16_from_order_4_on_movable_takes_the_whole_pageblock(zone_with, lists):
    zone = zone_with("4:R[0x1010] 2:R[0x1004]", high_mark=1500)
    assert take(zone, M) == ["0x1004"]
    assert lists(zone) == "4:M[0x1010] 1:M[0x1006] 0:M[0x1005]"
    assert get_pageblock_migratetype(zone, 0x1000) == R


@pytest.mark.parametrize("free, taker, robbed", [
    ("5:R[0x1000] 5:U[0x1200]", M, R),
    ("5:R[0x1000] 5:M[0x1200]", U, R),
    ("5:U[0x1000] 5:M[0x1200]", R, U),
])
def test_example_17_the_order_in_which_types_are_robbed(zone_with, free, taker, robbed):
    assert find_suitable_fallback(zone_with(free), 5, taker) == (robbed, True)


def test_example_18_nofragment_takes_nothing_below_a_pageblock(zone_with):
    zone = zone_with("8:M[0x1100]", high_mark=1500)
    assert __rmqueue(zone, 0, U, ALLOC_NOFRAGMENT) is None


def test_example_18_without_it_the_whole_block_goes(zone_with, lists, events_of):
    zone = zone_with("8:M[0x1100]", high_mark=1500)
    events = events_of(zone.machine, take, zone, U)
    assert [(event.free, event.alike, event.claimed) for event in events if isinstance(event, ev.StealDecided)] == [
        (256, 256, True)]
    assert lists(zone) == ("7:U[0x1180] 6:U[0x1140] 5:U[0x1120] 4:U[0x1110] 3:U[0x1108] 2:U[0x1104] 1:U[0x1102] "
                           "0:U[0x1101]")


def test_example_19_the_highatomic_reserve(zone_with, lists):
    zone = zone_with("10:M[0x1000]")
    assert rmqueue(zone, zone, 1, GFP_ATOMIC, ALLOC_HARDER, U) == 0x1000
    reserve_highatomic_pageblock(zone, 0x1000)
    assert lists(zone) == ("9:U[0x1200] 8:H[0x1100] 7:H[0x1080] 6:H[0x1040] 5:H[0x1020] 4:H[0x1010] 3:H[0x1008] "
                           "2:H[0x1004] 1:H[0x1002]")
    assert get_pageblock_migratetype(zone, 0x1000) == mv.kernel.MIGRATE_HIGHATOMIC
    assert get_pageblock_migratetype(zone, 0x1200) == U
    assert zone.nr_reserved_highatomic == 512
    assert rmqueue(zone, zone, 1, GFP_ATOMIC, ALLOC_HARDER, U) == 0x1002


def test_example_20_the_reserve_is_about_a_hundredth_of_the_zone(events_of):
    zone = mv.boot([("DMA32", 0x1000, 100000)]).zone("DMA32")

    def reserve_four():
        for pfn in (0x1000, 0x1200, 0x1400, 0x1600):
            reserve_highatomic_pageblock(zone, pfn)

    asked = [event for event in events_of(zone.machine, reserve_four) if isinstance(event, ev.HighatomicReserved)]
    assert [(event.nr_reserved, event.limit, event.taken) for event in asked] == [
        (0, 1512, True), (512, 1512, True), (1024, 1512, True), (1536, 1512, False)]
    assert zone.nr_reserved_highatomic == 1536


# ---------------------------------------------------------------- per-CPU lists


def page_of(zone, migratetype):
    return hex(rmqueue_pcplist(zone, zone, GFP_KERNEL, migratetype, 0))


def test_example_21_the_first_page_brings_a_batch(zone_with, lists, events_of):
    zone = zone_with("10:U[0x1000]", batch=63, high=378)
    events = events_of(zone.machine, page_of, zone, U)
    assert pile(zone, U) == [hex(pfn) for pfn in range(0x1001, 0x103F)]
    assert zone.pageset[0].count == 62
    assert lists(zone) == "9:U[0x1200] 8:U[0x1100] 7:U[0x1080] 6:U[0x1040] 0:U[0x103f]"
    assert zone.vm_stat[NR_FREE_PAGES] == 961
    assert sum(isinstance(event, ev.MmPageAllocZoneLocked) for event in events) == 63
    assert page_of(zone, U) == "0x1001"


def test_example_22_last_freed_is_first_taken(zone_with):
    zone = zone_with("10:U[0x1000]", batch=63, high=378)
    assert [page_of(zone, U), page_of(zone, U)] == ["0x1000", "0x1001"]
    free_unref_page(zone, 0x1000)
    free_unref_page(zone, 0x1001)
    assert pile(zone, U)[:3] == ["0x1001", "0x1000", "0x1002"]
    assert page_of(zone, U) == "0x1001"


def test_example_23_a_refill_takes_the_fragments_first(zone_with, lists):
    zone = zone_with("3:U[0x1000] 1:U[0x3002] 0:U[0x2005]", batch=7, high=42)
    assert page_of(zone, U) == "0x2005"
    assert pile(zone, U) == ["0x3002", "0x3003", "0x1000", "0x1001", "0x1002", "0x1003"]
    assert lists(zone) == "2:U[0x1004]"


def test_example_24_a_full_pile_is_flushed_from_the_bottom(zone_with, lists):
    zone = zone_with("10:U[0x1000]", batch=3, high=18)
    assert [page_of(zone, U) for _ in range(20)] == [hex(pfn) for pfn in range(0x1000, 0x1014)]
    assert pile(zone, U) == ["0x1014"]
    for pfn in range(0x1000, 0x1010):
        free_unref_page(zone, pfn)
    assert zone.pageset[0].count == 17
    free_unref_page(zone, 0x1010)
    assert zone.pageset[0].count == 15
    assert list(zone.free_list(2, U)) == [0x1014] and list(zone.free_list(1, U)) == [0x1000]
    for pfn in range(0x1011, 0x1014):
        free_unref_page(zone, pfn)
    assert zone.pageset[0].count == 15
    assert list(zone.free_list(2, U)) == [0x1000, 0x1014] and list(zone.free_list(0, U)) == [0x1004]
    drain_pages_zone(zone, 0)
    assert lists(zone) == "10:U[0x1000]"


@pytest.mark.parametrize("managed, batchsize, high, batch", [
    (3977, 0, 0, 1), (8191, 0, 0, 1), (8192, 1, 6, 1), (20000, 3, 18, 3), (65536, 15, 90, 15), (131072, 31, 186, 31),
    (200000, 63, 378, 63), (262144, 63, 378, 63), (1 << 30, 63, 378, 63)])
def test_example_25_batch_and_high_of_a_zone(managed, batchsize, high, batch):
    assert zone_batchsize(managed) == batchsize
    pcp = mv.boot([("DMA32", 0, managed)]).zone("DMA32").pageset[0]
    assert (pcp.high, pcp.batch) == (high, batch)


@pytest.fixture
def flush(zone_with, fill_pile, events_of):
    """flush("M3 U3", 5): the order in which piles of these sizes are flushed; M0 is the oldest page of M."""
    base = {"M": 0x1000, "R": 0x1200, "U": 0x1400}  # far from each other, so that nothing merges by chance

    def run(piles, count):
        zone = zone_with(batch=1, high=1000)
        for letter, size in ((word[0], int(word[1:])) for word in piles.split()):
            fill_pile(zone, "UMR".index(letter), [base[letter] + age for age in reversed(range(size))])
        events = events_of(zone.machine, free_pcppages_bulk, zone, count, 0)
        order = [event.pfn for event in events if isinstance(event, ev.MmPagePcpuDrain)]
        names = {pfn + age: f"{letter}{age}" for letter, pfn in base.items() for age in range(16)}
        return " ".join(names[pfn] for pfn in order)

    return run


@pytest.mark.parametrize("piles, count, order", [
    ("M4 R4 U4", 6, "M0 R0 U0 M1 R1 U1"),
    ("M3 U3", 5, "M0 U0 U1 M1 U2"),
    ("M4 U4", 8, "M0 U0 U1 M1 U2 U3 M2 M3"),
    ("R2 U6", 7, "R0 R1 U0 U1 U2 U3 U4"),
    ("R3 U3", 6, "R0 R1 U0 R2 U1 U2"),
    ("M3 R3", 6, "M0 R0 M1 M2 R1 R2"),
])
def test_example_26_the_order_of_a_flush(flush, piles, count, order):
    assert flush(piles, count) == order


@pytest.mark.parametrize("piles, count, order", [
    ("M5", 3, "M0 M1 M2"), ("R6", 5, "R0 R1 R2 R3 R4"), ("U6", 5, "U0 U1 U2 U3 U4"),
    ("M10 R2", 9, "M0 R0 M1 M2 R1 M3 M4 M5 M6"),
])
def test_example_27_the_order_of_a_flush_with_empty_lists(flush, piles, count, order):
    assert flush(piles, count) == order


def test_example_28_a_zone_fresh_from_boot(buddyinfo):
    machine = mv.boot([("DMA32", 0x1000, 0x8000)], batch=63, high=378)
    zone = machine.zone("DMA32")
    assert buddyinfo(zone) == "0 0 0 0 0 0 0 0 0 0 32"
    assert next(zone.free_list(10, M)) == 0x8C00
    assert mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 0) == 0x8C00
    assert buddyinfo(zone) == "1 0 0 0 0 0 1 1 1 1 31"
    assert zone.pageset[0].count == 62
    assert mv.alloc_pages(machine, GFP_KERNEL, 0) == 0x8800
    assert [get_pageblock_migratetype(zone, pfn) for pfn in (0x8800, 0x8A00)] == [U, U]
    assert buddyinfo(zone) == "2 0 0 0 0 0 2 2 2 2 30"
    assert mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 9) == 0x8E00
    assert mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 10) == 0x8400
    assert buddyinfo(zone) == "2 0 0 0 0 0 2 2 2 1 29"


# ---------------------------------------------------------------- watermarks


def x86_64(dma=3977, dma32=742000, normal=250000, **by_hand):
    sizes = [("DMA", 1, dma), ("DMA32", 0x1000, dma32), ("Normal", 0x100000, normal)]
    return mv.boot([size for size in sizes if size[2]], **by_hand)


def marks(machine):
    return {zone.name: tuple(zone._watermark) for zone in machine.zones()}


def test_example_29_marks_of_a_4_gib_machine():
    assert min_free_kbytes_of(x86_64) == 7983
    assert marks(x86_64()) == {"DMA": (7, 10, 13), "DMA32": (1486, 2228, 2970), "Normal": (500, 750, 1000)}


def min_free_kbytes_of(machine_of, *sizes):
    """As at boot, when the marks are still zero."""
    return init_per_zone_wmark_min(machine_of(*sizes, watermarks=(0, 0, 0)))


def test_example_30_lowmem_reserve():
    machine = x86_64(config=mv.Config(zone_names=(*mv.Config().zone_names, "Device")))
    reserve = {zone.name: zone.lowmem_reserve for zone in machine.zones()}
    assert reserve == {"DMA": [0, 2898, 3875, 3875, 3875], "DMA32": [0, 0, 976, 976, 976], "Normal": [0, 0, 0, 0, 0]}


def test_example_31_marks_with_transparent_huge_pages():
    assert marks(x86_64(min_free_kbytes=67584)) == {
        "DMA": (67, 83, 99), "DMA32": (12587, 15733, 18879), "Normal": (4241, 5301, 6361)}


def test_example_32_a_large_machine():
    machine = x86_64(3977, 742000, 3300000)
    assert min_free_kbytes_of(x86_64, 3977, 742000, 3300000) == 16091
    assert marks(machine) == {"DMA": (3, 6, 9), "DMA32": (737, 1479, 2221), "Normal": (3280, 6580, 9880)}
    assert machine.zone("DMA").lowmem_reserve == [0, 2898, 15789, 15789]
    assert machine.zone("DMA32").lowmem_reserve[:3] == [0, 0, 12890]


def test_example_33_a_gibibyte():
    machine = x86_64(3977, 248000, 0)
    assert min_free_kbytes_of(x86_64, 3977, 248000, 0) == 4015
    assert marks(machine) == {"DMA": (15, 18, 21), "DMA32": (987, 1235, 1483)}
    assert machine.zone("DMA").lowmem_reserve == [0, 968, 968, 968]
    assert marks(x86_64(3977, 248000, 0, min_free_kbytes=45056)) == {
        "DMA": (177, 221, 265), "DMA32": (11086, 13857, 16628)}


def i386(**by_hand):
    return mv.boot([("DMA", 1, 3977), ("Normal", 0x1000, 218000), ("HighMem", 0x40000, 290000),
                    ("Movable", 0x90000, 0)], config=I386, **by_hand)


def test_example_34_highmem_has_its_own_marks():
    machine = i386()
    assert min_free_kbytes_of(i386) == 3769
    assert marks(machine) == {"DMA": (16, 20, 24), "Normal": (925, 1156, 1387), "HighMem": (128, 435, 742),
                              "Movable": (32, 32, 32)}
    assert machine.zone("DMA").lowmem_reserve == [0, 851, 1984, 1984]
    assert machine.zone("Normal").lowmem_reserve == [0, 0, 9062, 9062]


@pytest.mark.parametrize("order, free, ok", [(0, 1500, False), (0, 1501, True), (2, 1503, False), (2, 1504, True)])
def test_example_35_the_test_is_strict(zone_with, order, free, ok):
    zone = zone_with("2:R[0x1000]")
    zone.lowmem_reserve[1] = 500
    assert __zone_watermark_ok(zone, order, 1000, 1, 0, free) == ok


def test_example_35_and_a_block_must_exist(zone_with):
    zone = zone_with("1:U[0x1000] 3:H[0x1200]")
    assert not __zone_watermark_ok(zone, 2, 1000, 1, 0, 2000)


@pytest.mark.parametrize("mark, alloc_flags, minimum", [
    (1000, ALLOC_HIGH, 500), (1000, ALLOC_HIGH | ALLOC_HARDER, 375), (1001, ALLOC_HIGH, 501),
    (1001, ALLOC_HIGH | ALLOC_HARDER, 376), (1001, ALLOC_HIGH | ALLOC_OOM, 251)])
def test_example_36_privileges_shrink_the_mark(zone_with, mark, alloc_flags, minimum):
    zone = zone_with()
    assert __zone_watermark_ok(zone, 0, mark, 1, alloc_flags, minimum + 1)
    assert not __zone_watermark_ok(zone, 0, mark, 1, alloc_flags, minimum)


def test_example_37_order_0_does_not_see_the_highatomic_reserve(zone_with):
    zone = zone_with("1:H[0x1000]")
    zone.nr_reserved_highatomic, zone.vm_stat[NR_FREE_PAGES] = 512, 1400
    assert zone_watermark_fast(zone, 0, 1000, 1, 0)
    assert not __zone_watermark_ok(zone, 0, 1000, 1, 0, 1400)
    assert not zone_watermark_fast(zone, 1, 1000, 1, 0)
    assert zone_watermark_fast(zone, 1, 1000, 1, ALLOC_HARDER)
    assert not zone_watermark_fast(zone, 2, 1000, 1, ALLOC_HARDER)


@pytest.mark.parametrize("high_mark, boosts", [(1000, [512, 1024, 1500, 1500]), (100, [512, 512])])
def test_example_38_every_theft_boosts_the_marks(zone_with, high_mark, boosts):
    zone = zone_with(high_mark=high_mark)
    seen = []
    for _ in boosts:
        boost_watermark(zone)
        seen.append(zone.watermark_boost)
    assert seen == boosts


def test_example_38_a_boost_is_part_of_each_mark(zone_with):
    zone = zone_with(watermarks=(500, 750, 1000))
    zone.watermark_boost = 1024
    assert wmark_pages(zone, mv.kernel.WMARK_MIN) == 1524


@pytest.mark.parametrize("dma32, dma, chosen", [(4000, 3900, "DMA32"), (3204, 3900, "DMA"), (3204, 3885, "Normal")])
def test_example_39_which_zone_serves(dma32, dma, chosen, events_of):
    machine = x86_64()
    for name, free in (("Normal", 750), ("DMA32", dma32), ("DMA", dma)):
        machine.zone(name).vm_stat[NR_FREE_PAGES] = free
    pages = []
    events = events_of(machine, lambda: pages.append(mv.alloc_pages(machine, GFP_KERNEL, 0)))
    zone = machine.zone(chosen)
    assert zone.zone_start_pfn <= pages[0] < zone.end_pfn
    slow = [event for event in events if isinstance(event, (ev.NofragmentDropped, ev.KswapdWoken))]
    assert [type(event).__name__ for event in slow] == (
        ["NofragmentDropped", "KswapdWoken"] if chosen == "Normal" else [])


# ---------------------------------------------------------------- zones, flags, NUMA


@pytest.mark.parametrize("gfp_mask, zone, migratetype", [
    (GFP_KERNEL, "Normal", U), (GFP_HIGHUSER_MOVABLE, "Movable", M), (GFP_HIGHUSER, "Normal", U),
    (GFP_DMA32, "DMA32", U), (GFP_KERNEL | mv.__GFP_RECLAIMABLE, "Normal", R),
    (GFP_KERNEL | mv.__GFP_MOVABLE, "Normal", M)])
def test_example_40_zone_and_type_of_a_mask(gfp_mask, zone, migratetype):
    machine = x86_64()
    assert machine.config.zone_names[gfp_zone(machine, gfp_mask)] == zone
    assert gfpflags_to_migratetype(machine, gfp_mask) == migratetype


def test_example_41_alloc_flags():
    machine = x86_64()
    normal, dma32 = machine.zone("Normal"), machine.zone("DMA32")
    assert ALLOC_WMARK_LOW | alloc_flags_nofragment(machine, normal, GFP_KERNEL) == 0x301
    assert gfp_to_alloc_flags(machine, GFP_KERNEL) == 0x240
    assert gfp_to_alloc_flags(machine, GFP_ATOMIC) == 0x230
    assert ALLOC_WMARK_LOW | alloc_flags_nofragment(machine, dma32, GFP_DMA32 | GFP_KERNEL) == 0x201


FLAT4 = [[10 if a == b else 20 for b in range(4)] for a in range(4)]
RING = [[10, 20, 30, 20], [20, 10, 20, 30], [30, 20, 10, 20], [20, 30, 20, 10]]
FLAT3 = [row[:3] for row in FLAT4[:3]]


@pytest.mark.parametrize("distance, cpus, orders", [
    ([[10, 20], [20, 10]], [0, 1], [[0, 1], [1, 0]]),
    (FLAT4, [0, 1, 2, 3], [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]),
    (RING, [0, 1, 2, 3], [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]]),
    (FLAT3, [0, 1], [[0, 2, 1], [1, 2, 0], [2, 0, 1]]),
], ids=["two nodes", "four flat", "ring", "no CPU on node 2"])
def test_example_42_the_order_of_the_nodes(distance, cpus, orders):
    zones = [("DMA32", 0x1000 * (nid + 1), 0x1000, nid) for nid in range(len(distance))]
    machine = mv.boot(zones, cpus=cpus, distance=distance)
    assert [[zone.nid for zone in node.node_zonelists[0][-1]] for node in machine.node] == orders


def test_example_45_the_address_of_a_page():
    assert page_address(x86_64(), 0x12344) == 0xFFFF888012344000
    assert page_address(i386(), 0x12344) == 0xD2344000
