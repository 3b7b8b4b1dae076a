"""Below the LOW mark: who may go how far, and whose No it is, the kernel's or the simulator's."""
import pytest

import mmviz as mv
from mmviz.kernel import (
    ALLOC_HARDER,
    GFP_ATOMIC,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_NOWAIT,
    NR_FREE_PAGES,
    PF_MEMALLOC,
    PF_MEMALLOC_NOCMA,
    PF_MEMALLOC_NOFS,
    PF_MEMALLOC_NOIO,
)
from mmviz.kernel import MIGRATE_HIGHATOMIC as H
from mmviz.kernel import MIGRATE_MOVABLE as M
from mmviz.kernel import MIGRATE_UNMOVABLE as U
from mmviz.mm import events as ev
from mmviz.mm.fallback import get_pageblock_migratetype, reserve_highatomic_pageblock, unreserve_highatomic_pageblock
from mmviz.mm.freelist import AllocContext
from mmviz.mm.rmqueue import __rmqueue
from mmviz.mm.slowpath import __gfp_pfmemalloc_flags, current_gfp_context, gfp_to_alloc_flags
from mmviz.mm.vmscan import balance_pgdat_begin, balance_pgdat_end

NOWARN, NORETRY, NOMEMALLOC = mv.__GFP_NOWARN, mv.__GFP_NORETRY, mv.__GFP_NOMEMALLOC
MEMALLOC, ATOMIC, DIRECT = mv.__GFP_MEMALLOC, mv.__GFP_ATOMIC, mv.__GFP_DIRECT_RECLAIM


@pytest.fixture
def low(served):
    """toy(4), from which GFP_NOWAIT gets nothing any more: 64 pages are left, MIN."""
    machine = mv.toy(4)
    served(lambda: mv.alloc_pages(machine, GFP_NOWAIT, 0))
    return machine


@pytest.fixture
def last_word(events_of):
    """last_word(machine, gfp_mask, order): the event that says how a request ended, and what it got."""

    def ask(machine, gfp_mask, order=0):
        events = events_of(machine, mv.alloc_pages, machine, gfp_mask, order)
        assert isinstance(events[-1], ev.MmPageAlloc)
        return events[-2] if events[-1].pfn == -1 else events[-1]

    return ask


# ---------------------------------------------------------------- whose No


def test_nowait_is_refused_by_the_kernel(low, last_word):
    assert last_word(low, GFP_NOWAIT) == ev.AllocationFailed(order=0, gfp_mask=GFP_NOWAIT, warned=True)


def test_nowarn_is_refused_silently(low, last_word):
    assert last_word(low, GFP_NOWAIT | NOWARN) == ev.AllocationFailed(0, GFP_NOWAIT | NOWARN, False)


def test_kernel_would_reclaim(low, last_word):
    assert last_word(low, GFP_KERNEL) == ev.WouldReclaim("reclaim", 0, GFP_KERNEL)
    assert mv.alloc_pages(low, GFP_KERNEL, 0) is None


@pytest.mark.parametrize("order, gfp_mask, what", [
    (0, GFP_KERNEL, "reclaim"), (1, GFP_KERNEL, "compact"), (4, GFP_KERNEL, "compact"),
    (3, GFP_HIGHUSER_MOVABLE, "reclaim"), (4, GFP_HIGHUSER_MOVABLE, "compact")])
def test_what_the_kernel_would_try_first(order, gfp_mask, what, last_word):
    machine = mv.toy(4, grouping=True, watermarks=(1024, 1024, 1024))
    assert last_word(machine, gfp_mask, order) == ev.WouldReclaim(what, order, gfp_mask)


def test_without_compaction_it_would_reclaim(last_word):
    machine = mv.toy(4, watermarks=(1024, 1024, 1024), config=mv.Config(compaction=False))
    assert last_word(machine, GFP_KERNEL, 4).what == "reclaim"


def test_a_task_that_reclaims_is_refused_and_does_not_reclaim_again(last_word):
    machine = mv.toy(4, watermarks=(1024, 1024, 1024))
    mv.set_current(machine, 0, flags=PF_MEMALLOC)
    assert last_word(machine, GFP_KERNEL | NOMEMALLOC) == ev.AllocationFailed(0, GFP_KERNEL | NOMEMALLOC, True)


def test_with_nobody_listening_no_is_no(low):
    for gfp_mask, order in ((GFP_NOWAIT, 0), (GFP_KERNEL, 0), (GFP_KERNEL, 4)):
        assert mv.alloc_pages(low, gfp_mask, order) is None


# ---------------------------------------------------------------- how far


def pages_left(machine):
    return machine.zone("DMA32").nr_pages_on_lists()


def test_everybody_meets_the_low_mark_first(watermark_min):
    machine = mv.toy(4)
    assert watermark_min(machine, mv.alloc_pages, machine, GFP_ATOMIC, 0) == [80]


@pytest.mark.parametrize("gfp_mask, marks", [
    (GFP_NOWAIT, [80, 64, 64]), (mv.__GFP_HIGH, [80, 32, 32]), (ATOMIC, [80, 48, 48]), (GFP_ATOMIC, [80, 24, 24]),
    (GFP_ATOMIC | NOMEMALLOC, [80, 32, 32]), (GFP_NOWAIT | MEMALLOC, [80, 64, 64])])
def test_the_marks_that_a_request_is_tested_against(watermark_min, gfp_mask, marks):
    machine = mv.toy(4)
    machine.zone("DMA32").vm_stat[NR_FREE_PAGES] = 0
    assert watermark_min(machine, mv.alloc_pages, machine, gfp_mask, 0) == marks


@pytest.mark.parametrize("task, marks", [
    ({}, [80, 64, 64]), ({"rt_task": 1}, [80, 48, 48]), ({"rt_task": 1, "in_interrupt": 1}, [80, 64, 64]),
    ({"oom_victim": 1}, [80, 64, 32]), ({"oom_victim": 1, "in_interrupt": 1}, [80, 64, 64])])
def test_who_asks_matters(watermark_min, task, marks):
    machine = mv.toy(4)
    machine.zone("DMA32").vm_stat[NR_FREE_PAGES] = 0
    mv.set_current(machine, 0, **task)
    assert watermark_min(machine, mv.alloc_pages, machine, GFP_NOWAIT, 0) == marks


@pytest.mark.parametrize("gfp_mask, task, left", [
    (GFP_NOWAIT, {}, 64), (GFP_ATOMIC, {}, 22), (GFP_NOWAIT, {"oom_victim": 1}, 31), (GFP_NOWAIT | MEMALLOC, {}, 0),
    (GFP_NOWAIT, {"flags": PF_MEMALLOC}, 0), (GFP_NOWAIT, {"flags": PF_MEMALLOC, "in_interrupt": 1}, 64),
    (GFP_NOWAIT | NOMEMALLOC, {"flags": PF_MEMALLOC}, 64)])
def test_how_much_each_may_take(low, served, gfp_mask, task, left):
    mv.set_current(low, 0, **task)
    served(lambda: mv.alloc_pages(low, gfp_mask, 0))
    assert abs(pages_left(low) - left) <= 2  # the counter lags


def test_the_reserves_of_those_who_free_memory():
    task = mv.Task(flags=PF_MEMALLOC)
    assert __gfp_pfmemalloc_flags(task, GFP_KERNEL) == mv.kernel.ALLOC_NO_WATERMARKS
    assert __gfp_pfmemalloc_flags(task, GFP_KERNEL | NOMEMALLOC) == 0
    assert __gfp_pfmemalloc_flags(mv.Task(oom_victim=1), GFP_KERNEL) == mv.kernel.ALLOC_OOM
    assert __gfp_pfmemalloc_flags(mv.Task(), GFP_KERNEL) == 0


def test_an_atomic_request_that_may_reclaim_is_none(events_of, low):
    events = events_of(low, mv.alloc_pages, low, GFP_ATOMIC | DIRECT, 0)
    [entered] = [event for event in events if isinstance(event, ev.SlowpathEntered)]
    assert not entered.gfp_mask & ATOMIC and not entered.alloc_flags & ALLOC_HARDER


@pytest.mark.parametrize("flags, gfp_mask, left", [
    (0, GFP_HIGHUSER_MOVABLE, GFP_HIGHUSER_MOVABLE),
    (PF_MEMALLOC_NOIO, GFP_KERNEL, mv.GFP_NOIO), (PF_MEMALLOC_NOFS, GFP_KERNEL, mv.GFP_NOFS),
    (PF_MEMALLOC_NOIO | PF_MEMALLOC_NOFS, GFP_KERNEL, mv.GFP_NOIO),
    (PF_MEMALLOC_NOCMA, GFP_HIGHUSER_MOVABLE, mv.GFP_HIGHUSER)])
def test_what_a_task_has_forbidden_itself(flags, gfp_mask, left, events_of):
    assert current_gfp_context(mv.Task(flags=flags), gfp_mask) == left
    machine = mv.toy(4, watermarks=(1024, 1024, 1024))
    mv.set_current(machine, 0, flags=flags)
    entered = [event.gfp_mask for event in events_of(machine, mv.alloc_pages, machine, gfp_mask, 0)
               if isinstance(event, ev.SlowpathEntered)]
    assert entered == [left]


@pytest.mark.parametrize("gfp_mask, flags", [
    (GFP_KERNEL, 0x240), (GFP_NOWAIT, 0x240), (GFP_ATOMIC, 0x230), (GFP_HIGHUSER_MOVABLE, 0x2C0),
    (GFP_ATOMIC | NOMEMALLOC, 0x220), (0, 0x40)])
def test_the_flags_of_the_slow_path(gfp_mask, flags):
    assert gfp_to_alloc_flags(mv.toy(64), gfp_mask) == flags


def test_a_build_without_cma_has_no_alloc_cma():
    machine = mv.toy(64, config=mv.Config(migrate_types=4, migrate_cma=None, migrate_isolate=None))
    assert gfp_to_alloc_flags(machine, GFP_HIGHUSER_MOVABLE) == 0x240


def test_kswapd_is_woken_once_a_node_by_those_who_may(low, events_of):
    def woken(gfp_mask):
        return [event for event in events_of(low, mv.alloc_pages, low, gfp_mask, 0)
                if isinstance(event, ev.KswapdWoken)]

    assert woken(GFP_NOWAIT) == [ev.KswapdWoken(nid=0, zone_idx=1, order=0, why="low")] * 2
    assert woken(0) == []


def test_no_zone_is_eligible(last_word):
    machine = mv.boot([("Normal", 0x1000, 0x400)])
    assert last_word(machine, GFP_NOWAIT | mv.GFP_DMA) == ev.AllocationFailed(0, GFP_NOWAIT | mv.GFP_DMA, True)


# ---------------------------------------------------------------- what kswapd does to the marks


def test_a_pass_of_kswapd_takes_the_boost_that_it_found():
    machine = mv.toy(64)
    zone = machine.zone("DMA32")
    zone.watermark_boost = 512
    balance_pgdat_begin(machine.node[0])
    zone.watermark_boost = 576
    balance_pgdat_end(machine.node[0])
    assert (zone.watermark_boost, zone.boost_seen) == (64, 0)
    balance_pgdat_end(machine.node[0])
    assert zone.watermark_boost == 64


def test_a_theft_boosts_the_zone_and_the_next_page_wakes_kswapd(zone_with, events_of):
    zone = zone_with("8:M[0x1100] 4:M[0x1200]", high_mark=100)
    events = events_of(zone.machine, mv.alloc_pages, zone.machine, GFP_KERNEL, 1)
    assert zone.watermark_boost == 512 and not zone.boosted
    assert [event for event in events if isinstance(event, ev.KswapdWoken)] == [ev.KswapdWoken(0, 1, 0, "boost")]


def test_without_a_high_mark_nothing_is_boosted(zone_with):
    zone = zone_with("8:M[0x1100]")
    assert mv.alloc_pages(zone.machine, GFP_KERNEL, 0) == 0x1100
    assert zone.watermark_boost == 0


def test_a_request_that_may_not_wake_kswapd_does_not_mark_the_zone(zone_with, events_of):
    zone = zone_with("8:M[0x1100]", high_mark=100)
    events = events_of(zone.machine, mv.alloc_pages, zone.machine, 0, 0)
    assert zone.watermark_boost == 512
    assert not any(isinstance(event, (ev.SetZoneBoosted, ev.KswapdWoken)) for event in events)


# ---------------------------------------------------------------- the highatomic reserve


@pytest.fixture
def reserved():
    """A machine whose slow path has just given an order-1 block to an atomic request."""
    machine = mv.boot([("DMA32", 0x1000, 0x4000)], watermarks=(64, 1 << 20, 1 << 20))
    assert mv.alloc_pages(machine, GFP_ATOMIC, 1) == 0x4C00
    return machine


def context(machine, migratetype=U):
    ac = AllocContext()
    ac.zonelist, ac.nodemask, ac.migratetype = machine.node[0].node_zonelists[0], None, migratetype
    ac.high_zoneidx = 3
    return ac


def test_the_pageblock_of_an_atomic_page_is_kept(reserved):
    zone = reserved.zone("DMA32")
    assert get_pageblock_migratetype(zone, 0x4C00) == H and zone.nr_reserved_highatomic == 512
    assert list(zone.free_list(8, H)) == [0x4D00]


def test_the_next_atomic_request_is_served_from_it(reserved):
    assert mv.alloc_pages(reserved, GFP_ATOMIC, 2) == 0x4C04


def test_an_order_0_page_of_it_goes_by_the_movable_pile(reserved):
    zone = reserved.zone("DMA32")
    mv.__free_pages(reserved, 0x4C00, 1)
    assert list(zone.free_list(10, H)) == [0x4C00]  # merged with the U block beside it
    pfn = mv.alloc_pages(reserved, GFP_ATOMIC, 1)
    zone.allocated[pfn] = 0
    zone.pageset[0].high = 9
    mv.__free_pages(reserved, pfn, 0)
    assert list(zone.pageset[0].lists[M]) == [pfn] and zone.index[pfn] == H


def test_one_pageblock_is_kept_unless_it_must_go(reserved):
    assert not unreserve_highatomic_pageblock(context(reserved), False)
    assert unreserve_highatomic_pageblock(context(reserved), True)
    zone = reserved.zone("DMA32")
    assert get_pageblock_migratetype(zone, 0x4C00) == U and zone.nr_reserved_highatomic == 0
    assert next(zone.free_list(8, U)) == 0x4D00 and zone.nr_listed(8, H) == 0
    assert not unreserve_highatomic_pageblock(context(reserved), True)


def test_of_two_pageblocks_one_goes(reserved):
    zone = reserved.zone("DMA32")
    zone.nr_reserved_highatomic = 1024
    assert unreserve_highatomic_pageblock(context(reserved, M), False)
    assert zone.nr_reserved_highatomic == 512 and get_pageblock_migratetype(zone, 0x4C00) == M


def test_a_highatomic_block_of_another_types_pageblock_costs_the_reserve_nothing(reserved):
    """Blocks of different types merge: what is on the H list may lie in a pageblock that is not H."""
    zone = reserved.zone("DMA32")
    zone.pageblock[0x4C00 >> 9] = U
    assert unreserve_highatomic_pageblock(context(reserved), True)
    assert zone.nr_reserved_highatomic == 512


def test_a_steal_from_a_highatomic_pageblock_takes_the_block_alone(zone_with, lists):
    zone = zone_with("3:M[0x1008] 2:M[0x1100]", high_mark=100)
    zone.pageblock[0x1000 >> 9] = H
    assert mv.alloc_pages(zone.machine, GFP_KERNEL, 3) == 0x1008
    assert lists(zone) == "2:M[0x1100]"
    assert get_pageblock_migratetype(zone, 0x1000) == H and zone.watermark_boost == 0


@pytest.mark.parametrize("name", ["CMA", "Isolate", "HighAtomic"])
def test_a_pageblock_of_a_special_kind_is_not_reserved(reserved, name):
    zone = reserved.zone("DMA32")
    number = reserved.config.migrate_names.index(name)
    zone.pageblock[0x1000 >> 9] = number
    reserve_highatomic_pageblock(zone, 0x1000)
    assert get_pageblock_migratetype(zone, 0x1000) == number and zone.nr_reserved_highatomic == 512


# ---------------------------------------------------------------- odd pageblocks


def test_a_pageblock_that_reaches_past_the_zone_is_not_moved_as_a_whole(lists):
    machine = mv.boot([("DMA32", 0x1000, 0x120)], grouping=True, watermarks=(0, 0, 0))
    zone = machine.zone("DMA32")
    assert lists(zone) == "8:M[0x1000] 5:M[0x1100]"
    assert mv.alloc_pages(machine, GFP_KERNEL, 8) == 0x1000
    assert lists(zone) == "5:M[0x1100]"
    assert get_pageblock_migratetype(zone, 0x1000) == M


def test_a_pageblock_that_begins_below_the_zone_is_moved_from_the_page_on(lists):
    machine = mv.boot([("DMA32", 0x1100, 0x100)], grouping=True, watermarks=(0, 0, 0))
    zone = machine.zone("DMA32")
    assert lists(zone) == "8:U[0x1100]"
    assert mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 7) == 0x1100
    assert lists(zone) == "7:M[0x1180]"


def test_a_reclaimable_theft_of_an_unmovable_pageblock_is_not_helped_by_pages_alike(zone_with):
    zone = zone_with("6:U[0x1040]", high_mark=100)
    assert mv.alloc_pages(zone.machine, GFP_KERNEL | mv.__GFP_RECLAIMABLE, 0) == 0x1040
    assert get_pageblock_migratetype(zone, 0x1040) == U


def test_nothing_can_be_taken_for_a_reserve(zone_with):
    zone = zone_with("3:U[0x1008]")
    assert __rmqueue(zone, 0, H, 0) is None
    assert __rmqueue(zone, 4, M, 0) is None
