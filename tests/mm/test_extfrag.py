"""The indices of mm/vmstat.c, against numbers worked out by hand, and over time."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmviz as mv
from mmviz.mm.extfrag import ContigPageInfo, fill_contig_page_info, fragmentation_index, unusable_free_index

PIECES = "3:U[0x1008] 1:M[0x1102,0x1202] 0:M[0x1300,0x1302,0x1304] 0:U[0x1400]"  # 8 + 4 + 4 pages in 7 blocks


def test_what_is_free_and_how_many_blocks_it_makes(zone_with):
    zone = zone_with(PIECES)
    assert [fill_contig_page_info(zone, order) for order in (0, 1, 2, 3, 4)] == [
        ContigPageInfo(16, 7, 16), ContigPageInfo(16, 7, 6), ContigPageInfo(16, 7, 2), ContigPageInfo(16, 7, 1),
        ContigPageInfo(16, 7, 0)]


def test_the_unusable_part_by_hand(zone_with):
    """Below order 1 lie 4 of 16 pages, below order 2 and 3 lie 8, below order 4 all."""
    zone = zone_with(PIECES)
    assert [unusable_free_index(zone, order) for order in range(5)] == [0, 250, 500, 500, 1000]
    assert unusable_free_index(zone, 10) == unusable_free_index(zone, 11) == 1000


def test_thousandths_are_cut_and_not_rounded(zone_with):
    """2 of 3 pages: 666.67."""
    assert unusable_free_index(zone_with("1:M[0x1000] 0:M[0x1004]"), 1) == 333
    assert unusable_free_index(zone_with("1:M[0x1000,0x1008,0x1010] 0:M[0x1004]"), 1) == 142


def test_why_a_request_would_fail_by_hand(zone_with):
    """Order 4, 16 pages in 7 blocks: 1000 - (1000 + 16000 / 16) / 7 = 1000 - 285; order 5: 1000 - 1500 / 7."""
    zone = zone_with(PIECES)
    assert [fragmentation_index(zone, order) for order in (0, 3, 4, 5, 10)] == [-1000, -1000, 715, 786, 855]


def test_a_single_block_is_no_fragmentation(zone_with):
    """1000 - (1000 + 500) / 1; two such blocks: 1000 - (1000 + 1000) / 2."""
    assert fragmentation_index(zone_with("3:M[0x1008]"), 4) == -500
    assert fragmentation_index(zone_with("3:M[0x1008,0x1018]"), 4) == 0
    assert fragmentation_index(zone_with("3:M[0x1008,0x1018,0x1028]"), 4) == 167


def test_nothing_free(zone_with):
    zone = zone_with()
    assert (unusable_free_index(zone, 0), fragmentation_index(zone, 0)) == (1000, 0)


def test_an_order_that_does_not_exist(zone_with):
    zone = zone_with(PIECES)
    assert fragmentation_index(zone, 11) == 0
    for order in (-1, True, 1.0, "3"):
        with pytest.raises(ValueError, match="order must be an int >= 0, got "):
            unusable_free_index(zone, order)


@settings(deadline=None)  # the machines that run this are busy
@given(st.lists(st.tuples(st.sampled_from([mv.GFP_NOWAIT, mv.GFP_NOWAIT | mv.__GFP_MOVABLE]), st.integers(0, 6)),
                max_size=30), st.integers(0, 10))
def test_what_the_two_say_fits_together(requests, order):
    machine = mv.toy(4, watermarks=(0, 0, 0))
    for number, (gfp, size) in enumerate(requests):
        pfn = mv.alloc_pages(machine, gfp, size)
        if pfn is not None and number % 2:
            mv.__free_pages(machine, pfn, size)
    zone = machine.zone("DMA32")
    unusable = [unusable_free_index(zone, each) for each in range(11)]
    assert unusable == sorted(unusable) and unusable[0] >= 0 and unusable[-1] <= 1000
    served = any(area.nr_free for area in zone.free_area[order:])
    assert (fragmentation_index(zone, order) == -1000) == served == (unusable[order] < 1000)


# ---------------------------------------------------------------- over time


def test_the_series_of_a_run():
    line = mv.Timeline(mv.toy(4), range(3), lambda machine, _: mv.alloc_pages(machine, mv.GFP_KERNEL, 0))
    series = mv.unusable_over_time(line, [1, 10])
    assert (series.zone, series.managed_pages, series.at) == ("DMA32", 1024, (0, 1, 2, 3))
    assert series.free_pages == (1024, 1023, 1022, 1021)
    assert series.unusable == {1: (0, 0, 0, 0), 10: (0, 1000, 1000, 1000)}


def test_the_moments_lie_evenly_and_hold_both_ends():
    line = mv.Timeline(mv.toy(4), range(100), lambda machine, _: mv.alloc_pages(machine, mv.GFP_KERNEL, 0))
    assert mv.unusable_over_time(line, [1], points=5).at == (0, 25, 50, 75, 100)
    assert mv.unusable_over_time(line, [1], points=2).at == (0, 100)
    assert mv.unusable_over_time(line, [1], points=1000).at == tuple(range(101))


def test_a_series_of_a_zone_on_a_node():
    line = mv.Timeline(mv.duo(), [], lambda *_: None)
    assert mv.unusable_over_time(line, [9], nid=1).zone == "N1/DMA32"
    with pytest.raises(KeyError, match="zone must be one of"):
        mv.unusable_over_time(line, [9], zone="Normal")


@pytest.mark.parametrize("points", [1, 0, 2.0, True])
def test_a_series_has_two_points_at_least(points):
    line = mv.Timeline(mv.toy(4), [], lambda *_: None)
    with pytest.raises(ValueError, match="points must be an int of at least 2, got "):
        mv.unusable_over_time(line, points=points)
