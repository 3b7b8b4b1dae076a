"""Several nodes, several zones: who is asked in which order, and what a node number is worth."""
import pytest

import mmviz as mv
from mmviz.kernel import (
    ALLOC_NOFRAGMENT,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_NOWAIT,
    NR_FREE_PAGES,
    NUMA_NO_NODE,
    PF_MEMALLOC,
)
from mmviz.mm import events as ev
from mmviz.mm.page_alloc import __alloc_pages_nodemask, alloc_flags_nofragment
from mmviz.mm.vmscan import NODE_RECLAIM_FULL, NODE_RECLAIM_NOSCAN, NODE_RECLAIM_SOME, node_reclaim
from mmviz.mm.zonelist import first_zones_zonelist, for_next_zone_zonelist_nodemask, node_zonelist

THISNODE = mv.__GFP_THISNODE
EACH_HAS_TWO = [("DMA32", 0x1000, 0x2000, 0), ("Normal", 0x100000, 0x2000, 0), ("Normal", 0x200000, 0x2000, 1)]


@pytest.fixture
def duo():
    return mv.duo()


@pytest.fixture
def node_of():
    """node_of(machine, pfn): the node of a page."""
    return lambda machine, pfn: next(zone.nid for zone in machine.zones() if zone.zone_start_pfn <= pfn < zone.end_pfn)


def walk(machine, nid, gfp_mask, nodemask=None):
    zones = for_next_zone_zonelist_nodemask(node_zonelist(machine, nid, gfp_mask), 3, nodemask)
    return [zone.label for zone in zones]


# ---------------------------------------------------------------- zonelists


def test_a_zonelist_is_all_of_one_node_and_then_all_of_the_next():
    machine = mv.boot(EACH_HAS_TWO)
    assert walk(machine, 0, GFP_KERNEL) == ["N0/Normal", "N0/DMA32", "N1/Normal"]
    assert walk(machine, 1, GFP_KERNEL) == ["N1/Normal", "N0/Normal", "N0/DMA32"]


def test_thisnode_is_a_list_of_its_own():
    machine = mv.boot(EACH_HAS_TWO)
    assert walk(machine, 0, THISNODE) == ["N0/Normal", "N0/DMA32"]
    assert walk(machine, 1, THISNODE) == ["N1/Normal"]


def test_a_build_without_numa_does_not_know_thisnode():
    machine = mv.boot(EACH_HAS_TWO[:2], config=mv.Config(numa=False))
    assert walk(machine, 0, THISNODE) == walk(machine, 0, GFP_KERNEL) == ["Normal", "DMA32"]


def test_a_nodemask_leaves_nodes_out():
    machine = mv.boot(EACH_HAS_TWO)
    assert walk(machine, 0, GFP_KERNEL, {1}) == ["N1/Normal"]
    assert walk(machine, 0, GFP_KERNEL, set()) == []


def test_a_zone_without_pages_is_in_no_list():
    machine = mv.boot([*EACH_HAS_TWO, ("Movable", 0x300000, 0, 1)])
    assert "N1/Movable" in [zone.label for zone in machine.zones()]
    assert walk(machine, 1, GFP_KERNEL)[0] == "N1/Normal"


def test_the_ceiling_is_the_first_zone_that_is_there(duo):
    assert first_zones_zonelist(node_zonelist(duo, 0, GFP_KERNEL), 2, None).label == "N0/DMA32"
    assert first_zones_zonelist(node_zonelist(duo, 0, GFP_KERNEL), 0, None) is None


# ---------------------------------------------------------------- a wish and a command


def test_a_node_is_a_wish(duo, node_of):
    assert node_of(duo, mv.alloc_pages_node(duo, 1, GFP_KERNEL, 0)) == 1
    duo.node[1].node_zones[1].vm_stat[NR_FREE_PAGES] = 0
    assert node_of(duo, mv.alloc_pages_node(duo, 1, GFP_KERNEL, 0)) == 0


def test_thisnode_is_a_command(duo, events_of):
    duo.node[1].node_zones[1].vm_stat[NR_FREE_PAGES] = 0
    gfp_mask = GFP_NOWAIT | THISNODE
    assert ev.AllocationFailed(0, gfp_mask, True) in events_of(duo, mv.alloc_pages_node, duo, 1, gfp_mask, 0)


def test_no_node_is_that_of_the_running_cpu(node_of):
    machine = mv.boot([("DMA32", 0x1000, 0x2000, 0), ("DMA32", 0x3000, 0x2000, 1)], cpus=(0, 1))
    for cpu in (1, 0):
        mv.set_current(machine, cpu)
        assert node_of(machine, mv.alloc_pages_node(machine, NUMA_NO_NODE, GFP_KERNEL, 0)) == cpu
        assert node_of(machine, mv.alloc_pages(machine, GFP_KERNEL, 0)) == cpu


def test_a_nodemask_binds(duo, node_of):
    assert node_of(duo, __alloc_pages_nodemask(duo, GFP_KERNEL, 0, 0, {1})) == 1


def test_the_mask_falls_for_those_who_free_memory(duo, node_of):
    """__alloc_pages_slowpath: with reserves, or without ALLOC_CPUSET, the nodemask is NULL."""
    duo.node[1].node_zones[1].vm_stat[NR_FREE_PAGES] = 0
    assert __alloc_pages_nodemask(duo, GFP_NOWAIT, 0, 0, {1}) is None
    assert node_of(duo, __alloc_pages_nodemask(duo, mv.GFP_ATOMIC, 0, 0, {1})) == 0
    mv.set_current(duo, 0, flags=PF_MEMALLOC)
    assert node_of(duo, __alloc_pages_nodemask(duo, GFP_NOWAIT, 0, 0, {1})) == 0


@pytest.mark.parametrize("nid, preferred, hit, local", [(0, 0, True, True), (1, 1, True, False)])
def test_numa_counters_of_a_hit(duo, events_of, nid, preferred, hit, local):
    events = events_of(duo, mv.alloc_pages_node, duo, nid, GFP_KERNEL, 1)
    assert [event for event in events if isinstance(event, ev.ZoneStatistics)] == [
        ev.ZoneStatistics(nid, 1, preferred, hit, local)]


def test_numa_counters_of_a_miss(duo, events_of):
    duo.node[1].node_zones[1].vm_stat[NR_FREE_PAGES] = 0
    events = events_of(duo, mv.alloc_pages_node, duo, 1, GFP_KERNEL, 0)
    assert [event for event in events if isinstance(event, ev.ZoneStatistics)] == [
        ev.ZoneStatistics(nid=0, zone_idx=1, preferred_nid=1, hit=False, local=True)]


# ---------------------------------------------------------------- nofragment


def test_only_normal_avoids_fragmentation():
    machine = mv.zones_toy()
    assert alloc_flags_nofragment(machine, machine.zone("Normal"), 0) == ALLOC_NOFRAGMENT
    assert alloc_flags_nofragment(machine, machine.zone("DMA32"), 0) == 0
    assert alloc_flags_nofragment(machine, None, 0) == 0


def test_on_several_nodes_only_where_dma32_is_populated():
    machine = mv.boot(EACH_HAS_TWO)
    assert alloc_flags_nofragment(machine, machine.zone("Normal", 0), 0) == ALLOC_NOFRAGMENT
    assert alloc_flags_nofragment(machine, machine.zone("Normal", 1), 0) == 0


def test_i386_has_no_dma32():
    machine = mv.boot([("Normal", 0x1000, 0x800)], config=mv.kernel.I386)
    assert alloc_flags_nofragment(machine, machine.zone("Normal"), 0) == 0


def test_near_memory_beats_clean_memory(node_of, events_of):
    """At the first remote zone the prohibition falls, and the walk begins again."""
    machine = mv.boot(EACH_HAS_TWO, grouping=True, watermarks=(0, 0, 0))
    for name, flag in (("Normal", 0), ("DMA32", mv.GFP_DMA32)):
        for order in (*[10] * 7, 9, 8):  # of eight blocks, what is left is one of order 8
            assert mv.alloc_pages_node(machine, 0, GFP_NOWAIT | THISNODE | mv.__GFP_MOVABLE | flag, order)
        assert [order for order, area in enumerate(machine.zone(name).free_area) if area.nr_free] == [8]
    taken = []
    events = events_of(machine, lambda: taken.append(mv.alloc_pages_node(machine, 0, GFP_KERNEL, 0)))
    assert [event.reason for event in events if isinstance(event, ev.NofragmentDropped)] == ["remote"]
    assert node_of(machine, taken[0]) == 0


# ---------------------------------------------------------------- node_reclaim


@pytest.fixture
def reclaiming():
    """A machine of two nodes with a CPU each, node_reclaim_mode on, and node 0 below its marks."""
    machine = mv.boot([("DMA32", 0x1000, 0x2000, 0), ("DMA32", 0x3000, 0x2000, 1)], cpus=(0, 1))
    machine.node_reclaim_mode = 1
    machine.zone("DMA32", 0).vm_stat[NR_FREE_PAGES] = 150
    return machine


def test_a_node_with_nothing_to_reclaim_is_full(reclaiming, events_of):
    assert node_reclaim(reclaiming, 0, GFP_KERNEL, 0) == NODE_RECLAIM_FULL
    assert events_of(reclaiming, node_reclaim, reclaiming, 0, GFP_KERNEL, 0) == [ev.NodeReclaimed(0, "FULL")]


@pytest.mark.parametrize("nid, gfp_mask, flags, answer", [
    (0, GFP_KERNEL, 0, NODE_RECLAIM_SOME), (0, GFP_NOWAIT, 0, NODE_RECLAIM_NOSCAN),
    (0, GFP_KERNEL, PF_MEMALLOC, NODE_RECLAIM_NOSCAN), (1, GFP_KERNEL, 0, NODE_RECLAIM_NOSCAN)])
def test_a_node_with_reclaimable_pages(reclaiming, nid, gfp_mask, flags, answer):
    for node in reclaiming.node:
        node.reclaimable_pages = 100
    mv.set_current(reclaiming, 0, flags=flags)
    assert node_reclaim(reclaiming, nid, gfp_mask, 0) == answer


def test_a_node_without_cpus_may_be_scanned_by_anyone(duo):
    duo.node[1].reclaimable_pages = 100
    assert node_reclaim(duo, 1, GFP_KERNEL, 0) == NODE_RECLAIM_SOME


def outcomes(events):
    return [(event.nid, event.outcome) for event in events if isinstance(event, ev.NodeReclaimed)]


def test_it_is_asked_only_if_the_mode_is_on(reclaiming, events_of, node_of):
    assert outcomes(events_of(reclaiming, mv.alloc_pages, reclaiming, GFP_KERNEL, 0)) == [(0, "FULL")]
    reclaiming.node_reclaim_mode = 0
    assert outcomes(events_of(reclaiming, mv.alloc_pages, reclaiming, GFP_KERNEL, 0)) == []
    assert node_of(reclaiming, mv.alloc_pages(reclaiming, GFP_KERNEL, 0)) == 1


def test_it_is_not_asked_of_a_node_too_far_away(reclaiming, events_of):
    for zone in reclaiming.zones():
        zone.vm_stat[NR_FREE_PAGES] = 0
    assert outcomes(events_of(reclaiming, mv.alloc_pages, reclaiming, GFP_NOWAIT, 0))[:2] == [(0, "FULL"), (1, "FULL")]
    reclaiming.distance = [[10, 31], [31, 10]]
    assert {nid for nid, _ in outcomes(events_of(reclaiming, mv.alloc_pages, reclaiming, GFP_NOWAIT, 0))} == {0}


def test_after_a_scan_the_mark_is_asked_again(reclaiming, events_of, node_of):
    reclaiming.node[0].reclaimable_pages = 100
    pages = []
    events = events_of(reclaiming, lambda: pages.append(mv.alloc_pages(reclaiming, GFP_KERNEL, 0)))
    assert outcomes(events) == [(0, "WOULD_SCAN")] and node_of(reclaiming, pages[0]) == 1
    checked = [(event.nid, event.ok) for event in events if isinstance(event, ev.WatermarkChecked)]
    assert checked == [(0, False), (0, False), (1, True)]


def test_movable_pages_of_the_remote_node_come_from_there(duo, node_of):
    assert node_of(duo, mv.alloc_pages_node(duo, 1, GFP_HIGHUSER_MOVABLE, 3)) == 1
