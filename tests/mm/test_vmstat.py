"""The NUMA counters are sums of what a recording says."""
from hypothesis import given, settings
from hypothesis import strategies as st

import mmviz as mv
from mmviz.kernel import MPOL_INTERLEAVE
from mmviz.mm import events as ev
from mmviz.mm.vmstat import NumaStat, numa_stat


def served(**counts):
    return NumaStat(**{name: counts.get(name, 0) for name in NumaStat._fields})


def recorded(machine, *requests):
    with mv.record(machine) as rec:
        for nid, gfp, order in requests:
            mv.alloc_pages_node(machine, nid, gfp, order)
    return rec


def test_a_page_of_the_node_that_was_asked_is_a_hit():
    rec = recorded(mv.duo(), (0, mv.GFP_KERNEL, 0), (1, mv.GFP_KERNEL, 0), (1, mv.GFP_KERNEL, 3))
    assert numa_stat(rec) == [served(numa_hit=1, numa_local=1), served(numa_hit=2, numa_other=2)]


def test_a_page_of_another_node_is_a_miss_there_and_foreign_here():
    """Node 1 has eight blocks of the top order; the last one would leave one page, which is not more than LOW."""
    rec = recorded(mv.duo(), *[(1, mv.GFP_NOWAIT, 10)] * 9)
    assert numa_stat(rec) == [served(numa_miss=2, numa_local=2), served(numa_hit=7, numa_foreign=2, numa_other=7)]


def test_who_may_not_fall_back_counts_nowhere():
    rec = recorded(mv.duo(), *[(1, mv.GFP_NOWAIT | mv.__GFP_THISNODE, 10)] * 9)
    assert numa_stat(rec) == [served(), served(numa_hit=7, numa_other=7)]


def test_interleaving_counts_what_the_node_served_in_its_turn():
    duo = mv.duo()
    mv.set_mempolicy(duo, MPOL_INTERLEAVE, [0, 1])
    with mv.record(duo) as rec:
        for _ in range(16):
            mv.alloc_pages(duo, mv.GFP_NOWAIT, 10)
    assert len(rec.select(ev.InterleaveChosen)) == 16
    assert [stat.numa_interleave for stat in numa_stat(rec)] == [7, 7]
    assert [stat.numa_hit for stat in numa_stat(rec)] == [7, 7]


def test_a_build_without_numa_counts_nothing():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(numa=False))
    with mv.record(machine) as rec:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    assert numa_stat(rec) == [served()]


@settings(deadline=None)  # the machines that run this are busy
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), max_size=40))
def test_every_page_is_counted_once_and_every_miss_has_its_foreign(requests):
    rec = recorded(mv.duo(), *[(nid, mv.GFP_NOWAIT, order) for nid, order in requests])
    stats = numa_stat(rec)
    got = sum(step.event.pfn >= 0 for step in rec.select(ev.MmPageAlloc))
    assert sum(stat.numa_hit + stat.numa_miss for stat in stats) == got
    assert sum(stat.numa_local + stat.numa_other for stat in stats) == got
    assert sum(stat.numa_miss for stat in stats) == sum(stat.numa_foreign for stat in stats)
