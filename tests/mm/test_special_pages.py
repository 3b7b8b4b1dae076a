"""CMA, isolated pageblocks, guard pages, lists of pages, and pages that are not as a free page should be."""
import pytest

import mmviz as mv
from mmviz.kernel import (
    ALLOC_CMA,
    ALLOC_HARDER,
    GFP_ATOMIC,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_NOWAIT,
    I386,
    NR_FREE_CMA_PAGES,
    NR_FREE_PAGES,
)
from mmviz.kernel import MIGRATE_HIGHATOMIC as H
from mmviz.kernel import MIGRATE_MOVABLE as M
from mmviz.kernel import MIGRATE_UNMOVABLE as U
from mmviz.mm import events as ev
from mmviz.mm.fallback import find_suitable_fallback, unreserve_highatomic_pageblock
from mmviz.mm.freelist import AllocContext
from mmviz.mm.page_free import __free_one_page, drain_zone_pages, free_one_page, virt_to_pfn
from mmviz.mm.rmqueue import __rmqueue, rmqueue
from mmviz.mm.watermark import __zone_watermark_ok, zone_watermark_fast
from mmviz.mm.zone import page_ref_add, page_ref_count

CMA, ISOLATE = 4, 5


def counters(zone):
    """The exact counters: free pages, and those of CMA."""
    return [counter + sum(pcp.vm_stat_diff[item] for pcp in zone.pageset) for item, counter in enumerate(zone.vm_stat)]


# ---------------------------------------------------------------- CMA


@pytest.fixture
def cma(zone_with):
    """A zone with one movable page, and 1,024 pages of CMA."""
    zone = zone_with("10:C[0x1000] 0:M[0x2000]", batch=3, high=6)
    zone.vm_stat[NR_FREE_CMA_PAGES] = 1024
    return zone


def test_cma_serves_movable_requests_when_their_lists_are_empty(cma, lists):
    assert [__rmqueue(cma, 0, M, 0) for _ in range(2)] == [0x2000, 0x1000]
    assert list(cma.free_list(9, CMA)) == [0x1200]
    assert cma.index[0x1000] == CMA


def test_cma_serves_nobody_else(cma):
    assert __rmqueue(cma, 0, U, 0) == 0x2000
    assert __rmqueue(cma, 0, U, 0) is None


def test_cma_pages_are_counted_twice(cma):
    assert mv.alloc_pages(cma.machine, GFP_HIGHUSER_MOVABLE, 1) == 0x1000
    assert counters(cma) == [1023, 1022]
    mv.alloc_pages(cma.machine, GFP_HIGHUSER_MOVABLE, 0)
    assert list(cma.pageset[0].lists[M]) == [0x1002, 0x1003]
    assert counters(cma) == [1020, 1020]
    mv.__free_pages(cma.machine, 0x1000, 1)
    mv.drain_all_pages(cma.machine)
    mv.__free_pages(cma.machine, 0x2000, 0)
    mv.drain_all_pages(cma.machine)
    assert counters(cma) == [1025, 1024] and list(cma.free_list(10, CMA)) == [0x1000]


def test_a_request_that_may_not_use_cma_does_not_count_it(cma):
    assert not zone_watermark_fast(cma, 0, 1, 1, 0) and zone_watermark_fast(cma, 0, 0, 1, 0)
    assert zone_watermark_fast(cma, 0, 1, 1, ALLOC_CMA)
    assert not __zone_watermark_ok(cma, 1, 0, 1, 0, 1025 + 1024)
    assert __zone_watermark_ok(cma, 1, 0, 1, ALLOC_CMA, 1025)


def test_a_build_without_cma_does_not_look_for_it(zone_with):
    zone = zone_with("0:U[0x1000]", config=mv.Config(migrate_types=4, migrate_cma=None, migrate_isolate=None))
    assert __rmqueue(zone, 0, M, 0) == 0x1000


# ---------------------------------------------------------------- isolated pageblocks


@pytest.fixture
def isolated(zone_with):
    """A zone whose pageblock 0x1200 is isolated; beside it 0x1000 is in use."""
    zone = zone_with("8:I[0x1300]")
    zone.nr_isolate_pageblock, zone.vm_stat[NR_FREE_PAGES] = 1, 0
    return zone


def test_a_page_of_an_isolated_pageblock_is_not_counted_free(isolated, lists):
    free_one_page(isolated, 0x1200, 8, ISOLATE)
    assert lists(isolated) == "9:I[0x1200]" and counters(isolated) == [0, 0]


def test_the_type_is_read_again_while_a_pageblock_is_isolated(isolated, lists):
    free_one_page(isolated, 0x1200, 8, M)
    assert lists(isolated) == "9:I[0x1200]"


def test_a_single_page_of_it_goes_past_the_pile(isolated, lists):
    isolated.allocated[0x1200] = 0
    mv.__free_pages(isolated.machine, 0x1200, 0)
    assert isolated.pageset[0].count == 0 and lists(isolated) == "8:I[0x1300] 0:I[0x1200]"


def test_an_isolated_pageblock_merges_with_no_other(isolated, lists):
    free_one_page(isolated, 0x1200, 8, ISOLATE)
    __free_one_page(isolated, 0x1000, 9, M)
    assert lists(isolated) == "9:M[0x1000] 9:I[0x1200]"


def test_two_isolated_pageblocks_merge(isolated, lists):
    isolated.pageblock[0x1000 >> 9] = ISOLATE
    isolated.nr_isolate_pageblock = 2
    free_one_page(isolated, 0x1200, 8, ISOLATE)
    free_one_page(isolated, 0x1000, 9, ISOLATE)
    assert lists(isolated) == "10:I[0x1000]"


def test_a_flush_reads_the_type_again_while_a_pageblock_is_isolated(isolated, fill_pile, lists):
    fill_pile(isolated, M, [0x1200])
    mv.drain_all_pages(isolated.machine)
    assert lists(isolated) == "8:I[0x1300] 0:I[0x1200]"


# ---------------------------------------------------------------- guard pages


@pytest.fixture
def guarded(zone_with):
    return zone_with("3:M[0x1000]", config=mv.Config(debug_guardpage_minorder=2))


def test_halves_below_the_order_become_guard_blocks(guarded, lists):
    assert __rmqueue(guarded, 0, M, 0) == 0x1000
    assert guarded.guard == {0x1001: 0, 0x1002: 1} and lists(guarded) == "2:M[0x1004]"
    assert counters(guarded)[NR_FREE_PAGES] == 8 - 3


def test_a_guard_block_merges_as_a_free_one(guarded, lists):
    __rmqueue(guarded, 0, M, 0)
    guarded.index.clear()
    __free_one_page(guarded, 0x1000, 0, M)
    assert lists(guarded) == "3:M[0x1000]" and guarded.guard == {}
    assert counters(guarded)[NR_FREE_PAGES] == 8 + 1  # the page itself was never counted as taken here


def test_a_guard_block_of_an_isolated_pageblock_is_not_counted(guarded, lists):
    __rmqueue(guarded, 0, M, 0)
    guarded.pageblock[0x1000 >> 9], guarded.nr_isolate_pageblock = ISOLATE, 1
    before = counters(guarded)
    free_one_page(guarded, 0x1000, 0, ISOLATE)
    assert lists(guarded) == "3:I[0x1000]" and counters(guarded) == before


def test_lesson_03_x1_a_guard_page_is_on_no_list():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(debug_guardpage_minorder=1))
    zone = machine.zone("DMA32")
    assert mv.alloc_pages(machine, GFP_KERNEL, 0) == 0x1000
    assert zone.nr_listed(0, U) == 0 and zone.guard == {0x1001: 0} and zone.block_of(0x1001) is None


# ---------------------------------------------------------------- lists of pages


def test_a_list_is_prepared_first_and_committed_then(events_of):
    machine = mv.toy(64)
    pages = [mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 0) for _ in range(3)]
    events = events_of(machine, mv.free_unref_page_list, machine, pages)
    seen = [(type(event).__name__, event.pfn) for event in events
            if isinstance(event, (ev.MmPageFree, ev.MmPageFreeBatched, ev.PcpListAdd))]
    assert seen == [("MmPageFree", pfn) for pfn in pages] + [
        (name, pfn) for pfn in pages for name in ("MmPageFreeBatched", "PcpListAdd")]
    assert list(machine.zone("DMA32").pageset[0].lists[M]) == pages[::-1]


def test_with_nobody_listening_a_list_is_freed_all_the_same():
    machine = mv.toy(64)
    pages = [mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 0) for _ in range(3)]
    mv.free_unref_page_list(machine, pages)
    assert machine.zone("DMA32").allocated == {}


def test_a_page_of_a_list_has_no_other_reference():
    machine = mv.toy(64)
    pfn = mv.alloc_pages(machine, GFP_KERNEL, 0)
    page_ref_add(machine.zone("DMA32"), pfn, 1)
    before = machine.copy()
    with pytest.raises(mv.KernelBug, match=rf"pfn {pfn:#x} still has 2 references"):
        mv.free_unref_page_list(machine, [pfn])
    assert machine == before


def test_the_vmstat_worker_gives_a_batch_back(fill_pile, zone_with):
    zone = zone_with(batch=3, high=9)
    fill_pile(zone, M, range(0x1000, 0x1004))
    drain_zone_pages(zone, 0)
    assert zone.pageset[0].count == 1
    for _ in range(2):
        drain_zone_pages(zone, 0)
    assert zone.pageset[0].count == 0


def test_there_is_nothing_to_drain(events_of):
    machine = mv.toy(64)
    assert events_of(machine, mv.drain_pages, machine, 0) == events_of(machine, mv.drain_all_pages, machine) == []


def test_a_drain_of_all_lets_each_cpu_do_its_own_and_goes_back():
    machine = mv.boot([("DMA32", 0x1000, 0x4000)], cpus=(0, 0, 0))
    for cpu in (0, 1):
        mv.set_current(machine, cpu, rt_task=1)
        mv.alloc_pages(machine, GFP_KERNEL, 0)
    with mv.record(machine) as recording:
        mv.drain_all_pages(machine, machine.zone("DMA32"))
    assert [step.event.cpu for step in recording.select(ev.SetCurrent)] == [0, 1, 1]
    assert machine.current == mv.Task(cpu=1, rt_task=1)
    assert all(pcp.count == 0 for pcp in machine.zone("DMA32").pageset)


# ---------------------------------------------------------------- bad pages


def test_a_tail_that_was_freed_by_itself_is_in_use():
    machine = mv.toy(4)
    zone = machine.zone("DMA32")
    pfn = mv.alloc_pages(machine, GFP_KERNEL, 2)
    page_ref_add(zone, pfn + 1, 1)
    before = machine.copy()
    with pytest.raises(mv.KernelBug, match=rf"pfn {pfn + 1:#x}, in the block {pfn:#x} of order 2, has 1 references"):
        mv.__free_pages(machine, pfn, 2)
    assert machine == before


@pytest.mark.parametrize("listening", [True, False])
def test_a_plain_kernel_loses_the_block(listening, events_of):
    machine = mv.toy(4)
    zone, machine.strict = machine.zone("DMA32"), False
    pfn = mv.alloc_pages(machine, GFP_KERNEL, 2)
    page_ref_add(zone, pfn + 1, 1)
    if listening:
        assert ev.BadPage(0, 1, pfn + 1, 1) in events_of(machine, mv.__free_pages, machine, pfn, 2)
    else:
        mv.__free_pages(machine, pfn, 2)
    assert zone.block_of(pfn) is None


def test_a_block_of_which_a_page_was_handed_out_by_itself():
    """A snapshot does not know the block; but the page in it was handed out since."""
    machine = mv.toy(4)
    pages = [mv.alloc_pages(machine, GFP_KERNEL, 0) for _ in range(2)]
    del machine.zone("DMA32").allocated[pages[0]]
    with pytest.raises(mv.KernelBug, match=r"pfn 0x1001, in the block 0x1000 of order 1, was handed out by itself"):
        mv.__free_pages(machine, pages[0], 1)


@pytest.mark.parametrize("listening", [True, False])
def test_a_bad_page_on_a_pile_is_lost_when_it_is_flushed(listening, events_of):
    machine = mv.toy(64)
    zone, machine.strict = machine.zone("DMA32"), False
    pfn = mv.alloc_pages(machine, GFP_KERNEL, 0)
    for _ in range(2):
        mv.__free_pages(machine, pfn, 0)
    if listening:
        assert ev.BadPage(0, 1, pfn, -1) in events_of(machine, mv.drain_all_pages, machine)
    else:
        mv.drain_all_pages(machine)
    assert zone.pageset[0].count == 0 and zone.block_of(pfn) is None and zone.block_of(pfn + 1)


def test_a_page_that_is_handed_out_anew_has_one_reference():
    machine = mv.toy(4)
    zone = machine.zone("DMA32")
    pfn = mv.alloc_pages(machine, GFP_KERNEL, 3)
    page_ref_add(zone, pfn, 2)
    for left in (2, 1, 0):
        mv.__free_pages(machine, pfn, 3)
        assert page_ref_count(zone, pfn) == left
    assert mv.alloc_pages(machine, GFP_KERNEL, 0) == pfn and page_ref_count(zone, pfn) == 1


# ---------------------------------------------------------------- corners


def test_an_address_of_highmem_is_none():
    machine = mv.boot([("Normal", 0x1000, 0x800), ("HighMem", 0x1800, 0x800)], config=I386)
    with pytest.raises(ValueError, match=r"addr must be in the direct map, got 0xc1800000: pfn 0x1800 is high memory"):
        virt_to_pfn(machine, 0xC1800000)


def test_an_order_that_no_list_has(zone_with):
    zone = zone_with("3:U[0x1008]")
    assert rmqueue(zone, zone, 4, GFP_KERNEL, 0, U) is None


def test_an_atomic_block_of_the_reserve_is_a_zone_locked_event_too(zone_with, events_of):
    zone = zone_with("3:H[0x1008]")
    events = events_of(zone.machine, rmqueue, zone, zone, 1, GFP_ATOMIC, ALLOC_HARDER, U)
    assert ev.MmPageAllocZoneLocked(0x1008, 1, U, False) in events
    assert rmqueue(zone, zone, 1, GFP_ATOMIC, ALLOC_HARDER, U) == 0x100A


def test_the_reserve_is_nobodys_fallback(zone_with):
    assert find_suitable_fallback(zone_with("5:H[0x1020]"), 5, U) == (-1, False)


def test_a_reserved_pageblock_that_reaches_past_the_zone_is_not_given_back():
    machine = mv.boot([("DMA32", 0x1000, 0x120)], grouping=True)
    zone = machine.zone("DMA32")
    zone.pageblock[0x1000 >> 9], zone.nr_reserved_highatomic = H, 512
    __free_one_page(zone, __rmqueue(zone, 3, M, 0), 3, H)
    assert list(zone.free_list(5, H)) == [0x1100]
    ac = AllocContext()
    ac.zonelist, ac.nodemask, ac.migratetype, ac.high_zoneidx = machine.node[0].node_zonelists[0], None, U, 3
    assert not unreserve_highatomic_pageblock(ac, True)
    assert zone.nr_listed(5, H) == 1 and zone.nr_reserved_highatomic == 0


def test_a_build_without_numa_has_no_numa_counters(events_of):
    machine = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(numa=False))
    events = events_of(machine, mv.alloc_pages, machine, GFP_KERNEL, 0)
    assert not any(isinstance(event, ev.ZoneStatistics) for event in events)


def test_nobody_need_listen():
    """The same answers with the wire off: a NOFRAGMENT retry, a compound page to split, ATOMIC with DIRECT_RECLAIM."""
    machine = mv.boot([("Normal", 0x100000, 0x400)], grouping=True, watermarks=(0, 0, 0))
    assert mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 9) and mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 8)
    assert mv.alloc_pages(machine, GFP_KERNEL, 0) == 0x100300
    assert mv.alloc_pages_exact(machine, 3 * 4096, GFP_KERNEL | mv.__GFP_COMP)
    machine.zone("Normal").vm_stat[NR_FREE_PAGES] = 0
    assert mv.alloc_pages(machine, GFP_ATOMIC | mv.__GFP_DIRECT_RECLAIM, 0) is None


@pytest.mark.parametrize("left, answer", [(60, 0x1000), (0, None)])
def test_nofail_may_take_a_quarter_of_the_mark_and_would_then_try_for_ever(left, answer, events_of):
    machine = mv.toy(4)
    machine.zone("DMA32").vm_stat[NR_FREE_PAGES] = left
    mv.set_current(machine, 0, flags=mv.PF_MEMALLOC)
    gfp_mask, pages = GFP_KERNEL | mv.__GFP_NOFAIL | mv.__GFP_NOMEMALLOC, []
    events = events_of(machine, lambda: pages.append(mv.alloc_pages(machine, gfp_mask, 0)))
    assert pages == [answer]
    assert (ev.WouldReclaim("retry", 0, gfp_mask) in events) == (answer is None)


def test_nofail_without_reclaim_is_refused(events_of):
    machine = mv.toy(4)
    machine.zone("DMA32").vm_stat[NR_FREE_PAGES] = 0
    gfp_mask = GFP_NOWAIT | mv.__GFP_NOFAIL
    assert ev.AllocationFailed(0, gfp_mask, True) in events_of(machine, mv.alloc_pages, machine, gfp_mask, 0)
