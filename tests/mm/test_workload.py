"""Workloads: what they take, what they give back, and that they are the same each time."""
import mmviz as mv
from mmviz.kernel import MIGRATE_UNMOVABLE
from mmviz.mm.workload import Request


def test_take_ends_with_the_count_or_with_a_refusal():
    machine = mv.toy(4)
    assert mv.take(machine, mv.GFP_NOWAIT, 3, order=3) == [0x1000, 0x1008, 0x1010]
    assert mv.take(machine, mv.GFP_NOWAIT, 0) == []
    rest = mv.take(machine, mv.GFP_NOWAIT)
    assert len(rest) == 936 and mv.alloc_pages(machine, mv.GFP_NOWAIT, 0) is None


def test_give_takes_a_machine_back_to_where_it_was():
    machine = mv.toy(4)
    mv.give(machine, mv.take(machine, mv.GFP_NOWAIT, 5, order=2), order=2)
    assert machine.zone("DMA32").block_of(0x1000) == (0x1000, 10, MIGRATE_UNMOVABLE)


def test_at_the_end_of_a_life_the_kernel_alone_holds_pages():
    line = mv.churn(mv.toy(64), 1200, kernel_every=40)
    zone = line.at(len(line)).zone("DMA32")
    assert len(zone.allocated) == 30 and zone.pageset[0].count == 0
    kinds = [request for request in line.operations if request.what == "take"]
    assert [i for i, request in enumerate(kinds) if request.value == mv.GFP_NOWAIT] == list(range(39, 1200, 40))
    gone = [request.value for request in line.operations if request.what == "give"]
    assert len(gone) == 1170 and line.operations[-1] == Request("drain", 0)


def test_pages_come_back_while_others_are_taken():
    line = mv.churn(mv.toy(64), 1200)
    first = next(i for i, request in enumerate(line.operations) if request.what == "give")
    last = max(i for i, request in enumerate(line.operations) if request.what == "take")
    assert first < 10 and last > 1500


def test_the_same_life_each_time_and_the_machine_is_not_touched():
    machine = mv.toy(64)
    assert mv.churn(machine, 300).operations == mv.churn(machine, 300).operations
    assert machine == mv.toy(64)


def test_a_life_on_a_machine_that_is_too_small_goes_on_without_what_is_refused():
    line = mv.churn(mv.toy(4, grouping=True), 3000)
    state = line.at(len(line))
    assert 0 < len(state.zone("DMA32").allocated) <= 62
    assert len([r for r in line.operations if r.what == "give"]) < 3000 - 62


def test_with_types_the_kernel_spoils_less():
    ends = {}
    for grouping in (True, False):
        line = mv.churn(mv.toy(64, grouping=grouping), 6000)
        zone = line.at(len(line)).zone("DMA32")
        ends[grouping] = mv.unusable_free_index(zone, 9), len({pfn >> 9 for pfn in zone.allocated})
    assert ends[True][0] < 50 and ends[True][1] == 1 and ends[False][0] > 100 and ends[False][1] > 4
