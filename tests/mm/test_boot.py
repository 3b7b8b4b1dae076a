"""What stands in the lists, the marks and the zonelists when the first request comes."""
import re

import pytest

import mmviz as mv
from mmviz.kernel import I386, NR_FREE_PAGES
from mmviz.mm.boot import ZoneSize, calculate_normal_threshold, zone_batchsize
from mmviz.mm.watermark import (
    __setup_per_zone_wmarks,
    calculate_totalreserve_pages,
    is_highmem,
    zone_page_state_snapshot,
    zone_watermark_ok_safe,
)


def pcp(machine):
    first = machine.zones()[0].pageset[0]
    return first.high, first.batch, first.stat_threshold


# ---------------------------------------------------------------- the cast


def test_toy_4_is_the_bare_buddy(lists):
    machine = mv.toy(4)
    zone = machine.zone("DMA32")
    assert lists(zone) == "10:M[0x1000]" and zone.end_pfn == 0x1400
    assert zone._watermark == [64, 80, 96] and pcp(machine) == (0, 1, 2)
    assert machine.page_group_by_mobility_disabled


def test_toy_64_has_all_the_rest(buddyinfo):
    machine = mv.toy(64)
    zone = machine.zone("DMA32")
    assert buddyinfo(zone) == "0 0 0 0 0 0 0 0 0 0 16"
    assert list(zone.free_list(10, 1)) == list(range(0x4C00, 0xFFF, -0x400))
    assert zone._watermark == [256, 320, 384] and pcp(machine) == (18, 3, 2)
    assert not machine.page_group_by_mobility_disabled


def test_duo_has_two_nodes():
    machine = mv.duo()
    assert [zone._watermark for zone in machine.zones()] == [[128, 160, 192]] * 2
    assert [next(zone.free_list(10, 1)) for zone in machine.zones()] == [0x2C00, 0x4C00]
    assert [zone.label for zone in machine.node[1].node_zonelists[0][-1]] == ["N1/DMA32", "N0/DMA32"]
    assert machine.distance == [[10, 20], [20, 10]] and pcp(machine) == (6, 1, 2)


def test_zones_toy_keeps_pages_of_dma32_for_those_who_must_have_them():
    machine = mv.zones_toy()
    assert {zone.name: zone._watermark for zone in machine.zones()} == {
        "DMA32": [128, 160, 192], "Normal": [128, 160, 192]}
    assert machine.zone("DMA32").lowmem_reserve == [0, 0, 32, 32]


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize("pages, disabled", [(3071, True), (3072, False)])
def test_a_machine_of_less_than_a_pageblock_for_each_type_has_no_types(pages, disabled):
    assert mv.boot([("DMA32", 0x1000, pages)]).page_group_by_mobility_disabled == disabled


def test_with_four_types_less_is_enough():
    config = mv.Config(migrate_types=4, migrate_cma=None, migrate_isolate=None)
    assert not mv.boot([("DMA32", 0x1000, 2048)], config=config).page_group_by_mobility_disabled
    assert mv.boot([("DMA32", 0x1000, 2047)], config=config).page_group_by_mobility_disabled


def test_a_pageblock_that_begins_below_the_zone_is_unmovable():
    zone = mv.boot([("DMA", 1, 0xFFF)]).zone("DMA")
    assert zone.pageblock == {0: 0}
    assert sorted(zone.free_list(0, 0)) == [1]


def test_a_zone_may_begin_at_page_0(lists):
    assert lists(mv.boot([("DMA", 0, 0x800)]).zone("DMA")) == "10:M[0x400,0x0]"


def test_the_end_of_a_zone_is_cut_into_blocks(lists):
    zone = mv.boot([("DMA32", 0x1000, 0x407)], grouping=True).zone("DMA32")
    assert lists(zone) == "10:M[0x1000] 2:M[0x1400] 1:M[0x1404] 0:M[0x1406]"
    assert zone_page_state_snapshot(zone, NR_FREE_PAGES) == 0x407


def test_a_terabyte_takes_no_time_and_no_room():
    machine = mv.boot([("Normal", 0x100000, 1 << 28)])
    zone = machine.zone("Normal")
    assert zone.free_area[10].nr_free == 1 << 18 and len(zone.buddy) == 1
    assert mv.alloc_pages(machine, mv.GFP_HIGHUSER_MOVABLE, 10) == 0x100000 + (1 << 28) - 1024
    assert mv.alloc_pages(machine.copy(), mv.GFP_HIGHUSER_MOVABLE, 10) == 0x100000 + (1 << 28) - 2048


@pytest.mark.parametrize("cpus, threshold", [(1, 2), (2, 4), (8, 8), (1 << 20, 42)])
def test_the_difference_of_a_cpu_may_grow_with_the_machine(cpus, threshold):
    assert calculate_normal_threshold(16384, cpus) == threshold
    assert calculate_normal_threshold(1 << 40, cpus) <= 125


def test_the_batch_of_a_machine_without_pages():
    assert zone_batchsize(0) == 0


def test_drift_may_hide_trouble_from_kswapd():
    """Where the differences of all CPUs may be more than LOW - MIN, the exact count is taken below a mark."""
    machine = mv.boot([("DMA32", 0x1000, 0x400)], cpus=(0,) * 64)
    zone = machine.zone("DMA32")
    assert zone.percpu_drift_mark == 96 + 64 * zone.pageset[0].stat_threshold > 0
    zone.vm_stat[NR_FREE_PAGES], zone.pageset[5].vm_stat_diff[NR_FREE_PAGES] = 100, -10
    assert not zone_watermark_ok_safe(zone, 0, 95, 1)
    zone.pageset[5].vm_stat_diff[NR_FREE_PAGES] = 0
    assert zone_watermark_ok_safe(zone, 0, 95, 1)
    assert mv.toy(64).zone("DMA32").percpu_drift_mark == 0


def test_the_counter_is_enough_where_no_drift_can_hide_anything():
    zone = mv.toy(64).zone("DMA32")
    zone.pageset[0].vm_stat_diff[NR_FREE_PAGES] = -2
    assert zone_watermark_ok_safe(zone, 0, 16383, 1)


def test_new_marks_bake_a_boost_in_and_take_it_away():
    machine = mv.toy(64)
    zone = machine.zone("DMA32")
    zone.watermark_boost = 500
    __setup_per_zone_wmarks(machine, 1024)
    assert (zone._watermark, zone.watermark_boost) == ([256, 820, 884], 0)


def test_a_scale_factor_of_100_is_a_hundredth_of_the_zone():
    machine = mv.toy(64)
    __setup_per_zone_wmarks(machine, 1024, 100)
    assert machine.zone("DMA32")._watermark == [256, 419, 582]


def test_pages_that_are_never_for_ordinary_use():
    machine = mv.zones_toy()
    assert calculate_totalreserve_pages(machine) == (32 + 192) + 192
    machine.zone("Normal").watermark_boost = 1 << 20
    assert calculate_totalreserve_pages(machine) == (32 + 192) + 8192


def test_what_is_high_memory():
    i386 = mv.boot([("Normal", 0x1000, 0x800), ("HighMem", 0x1800, 0x800), ("Movable", 0x2000, 0x400)], config=I386)
    assert [is_highmem(zone) for zone in i386.zones()] == [False, True, True]
    assert not is_highmem(mv.boot([("DMA32", 0, 0x400), ("Movable", 0x400, 0x400)]).zone("Movable"))


@pytest.mark.parametrize("zones", [[("HighMem", 0x1000, 0x400)], [("Normal", 0x1000, 0)]], ids=["HighMem", "no page"])
def test_a_machine_without_low_memory_has_marks_of_nothing(zones):
    machine = mv.boot(zones, config=I386)
    assert machine.zones()[0]._watermark[0] in (0, 32)


def test_a_node_may_have_no_memory():
    machine = mv.boot([("DMA32", 0x1000, 0x400, 1)])
    assert repr(machine) == "Machine(N1/DMA32 1024 pages)"
    assert mv.alloc_pages(machine, mv.GFP_KERNEL, 0) == 0x1000
    assert mv.alloc_pages(machine, mv.GFP_NOWAIT | mv.__GFP_THISNODE, 0) is None


# ---------------------------------------------------------------- by hand


def test_what_was_set_by_hand_is_remembered():
    machine = mv.toy(4, batch=3, high=9, grouping=True, watermarks=(1, 2, 3))
    assert machine.by_hand == ("batch", "high", "grouping", "watermarks")
    assert pcp(machine)[:2] == (9, 3) and machine.zone("DMA32")._watermark == [1, 2, 3]
    assert str(machine).endswith("set by hand: batch, high, grouping, watermarks")
    assert mv.toy(4).by_hand == () and "by hand" not in str(mv.toy(4))


def test_a_batch_by_hand_brings_its_high():
    assert pcp(mv.toy(4, batch=7))[:2] == (42, 7)


def test_min_free_kbytes_by_hand():
    machine = mv.toy(64, min_free_kbytes=4096)
    assert machine.zone("DMA32")._watermark == [1024, 1280, 1536]
    assert machine.by_hand == ("min_free_kbytes",)


@pytest.mark.parametrize("fraction, high, batch", [(8, 2048, 96), (1000, 16, 4), (16384, 1, 1)])
def test_high_as_a_fraction_of_the_zone(fraction, high, batch):
    machine = mv.toy(64, percpu_pagelist_fraction=fraction)
    assert pcp(machine)[:2] == (high, batch) and machine.by_hand == ("percpu_pagelist_fraction",)


def test_a_machine_reads_as_buddyinfo():
    assert str(mv.duo()).splitlines() == [
        f"Node {nid}, zone    DMA32 " + "     0 " * 10 + "     8  pcp 0" for nid in (0, 1)]


ONE = [("DMA32", 0x1000, 0x400)]
TWO = [("DMA32", 0x1000, 0x400, 0), ("DMA32", 0x2000, 0x400, 1)]


@pytest.mark.parametrize("zones, by_hand, text", [
    ([("Norma", 0, 1)], {}, "zone must be one of DMA, DMA32, Normal, Movable, got 'Norma'"),
    ([("DMA32", -1, 1)], {}, "start_pfn, nr_pages and nid must be at least 0, got ZoneSize(name='DMA32', start_pfn=-1"),
    ([("DMA32", 0, -1)], {}, "must be at least 0"),
    ([("DMA32", 0, 1, -1)], {}, "must be at least 0"),
    ([("DMA", 0, 0x401), ("DMA32", 0x400, 9)], {}, "zones must not overlap: DMA ends at 0x401, DMA32 starts at 0x400"),
    ([], {}, "zones must hold at least one zone, and each at most once a node"),
    ([("DMA", 0, 9), ("DMA", 0x400, 9)], {}, "each at most once a node"),
    (ONE, {"cpus": ()}, "cpus must name a node 0 to 0 for each CPU, got []"),
    (ONE, {"cpus": (0, 1)}, "cpus must name a node 0 to 0 for each CPU, got [0, 1]"),
    (ONE, {"batch": 0}, "batch must be at least 1 and high at least 0, got 0 and None"),
    (ONE, {"high": -1}, "batch must be at least 1 and high at least 0, got None and -1"),
    (ONE, {"batch": 4, "high": 3}, "high must be at least batch, got high 3 and batch 4"),
    (ONE, {"watermarks": (3, 2, 4)}, "watermarks must be 0 <= min <= low <= high, got (3, 2, 4)"),
    (ONE, {"min_free_kbytes": -1}, "min_free_kbytes must be at least 0, got -1"),
    (ONE, {"percpu_pagelist_fraction": 7}, "percpu_pagelist_fraction must be 0 or at least 8, got 7"),
    (TWO, {"distance": [[10]]}, "distance must be a"),
    (TWO, {"distance": [[10, 20], [20]]}, "distance must be a"),
])
def test_sizes_that_make_no_machine(zones, by_hand, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        mv.boot(zones, **by_hand)


@pytest.mark.parametrize("size", [("DMA32", 0.5, 1), ("DMA32", 0, "1"), ("DMA32", 0, 1, 0.0)])
def test_sizes_are_whole_numbers(size):
    with pytest.raises(TypeError, match="start_pfn, nr_pages and nid must be ints, got ZoneSize"):
        mv.boot([size])


def test_a_zone_size_has_node_0_if_none_is_named():
    assert ZoneSize("DMA32", 1, 2) == ("DMA32", 1, 2, 0)


# ---------------------------------------------------------------- a Machine as data


def test_a_copy_shares_nothing(served):
    machine = mv.toy(64)
    mv.alloc_pages(machine, mv.GFP_KERNEL | mv.__GFP_COMP, 1)
    before, twin = machine.to_dict(), machine.copy()
    served(lambda: mv.alloc_pages(twin, mv.GFP_NOWAIT, 3))
    mv.set_current(twin, 0, flags=1)
    assert machine.to_dict() == before and machine != twin


def test_a_copy_has_nobody_listening():
    with mv.record(mv.toy(4)) as recording:
        twin = recording.live.copy()
        mv.alloc_pages(twin, mv.GFP_KERNEL, 0)
    assert len(recording) == 0 and not twin.trace.on


def test_list_order_is_part_of_the_state(zone_with):
    one, two = zone_with("0:U[0x1000,0x1002]"), zone_with("0:U[0x1002,0x1000]")
    assert one.machine != two.machine and one.machine == zone_with("0:U[0x1000,0x1002]").machine
    assert one.machine != "a machine"


def test_a_machine_is_no_key():
    with pytest.raises(TypeError, match="unhashable"):
        hash(mv.toy(4))


def test_where_a_free_page_lies():
    zone = mv.toy(64).zone("DMA32")
    assert zone.block_of(0x1005) == (0x1000, 10, 1)
    mv.alloc_pages(zone.machine, mv.GFP_HIGHUSER_MOVABLE, 3)
    assert zone.block_of(0x4C00) is None
    assert zone.block_of(0x4C0B) == (0x4C08, 3, 1)
