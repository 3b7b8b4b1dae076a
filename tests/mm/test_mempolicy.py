"""Memory policies: which node is asked first, and which may serve."""
from types import SimpleNamespace

import pytest

import mmviz as mv
from mmviz.kernel import MPOL_BIND, MPOL_DEFAULT, MPOL_INTERLEAVE, MPOL_PREFERRED
from mmviz.mm import events as ev
from mmviz.mm.machine import Mempolicy

RING = [[10, 20, 30, 20], [20, 10, 20, 30], [30, 20, 10, 20], [20, 30, 20, 10]]


def nodes(count, distance=None):
    """`count` nodes of 16 MiB, a CPU on each; node n begins at pfn 0x1000 * (n + 1)."""
    return mv.boot([("DMA32", 0x1000 * (n + 1), 0x1000, n) for n in range(count)], cpus=range(count), distance=distance)


def node_of(pfn):
    return pfn // 0x1000 - 1


def asked(machine, count=1, gfp=mv.GFP_KERNEL):
    return [node_of(mv.alloc_pages(machine, gfp, 0)) for _ in range(count)]


def vma(policy=None, pgoff=0):
    return SimpleNamespace(vm_start=0x7F0000000000, vm_pgoff=pgoff, vm_policy=policy)


def test_example_43_interleave():
    machine = nodes(4)
    mv.set_mempolicy(machine, MPOL_INTERLEAVE, [0, 2])
    mv.set_il_prev(machine, 0)
    assert asked(machine, 4) == [2, 0, 2, 0]
    mapping = vma(Mempolicy(MPOL_INTERLEAVE, (1, 3)), pgoff=5)
    for offset, node in [(0x3000, 1), (0x4000, 3)]:  # n = 8 and 9
        pfn = mv.alloc_pages_vma(machine, mv.GFP_HIGHUSER_MOVABLE, 0, mapping, mapping.vm_start + offset, 0)
        assert node_of(pfn) == node


def test_example_44_bind_begins_at_the_nearest_node():
    machine = nodes(4, RING)
    mv.set_mempolicy(machine, MPOL_BIND, [2, 3])
    assert asked(machine) == [3]
    served = []
    while (pfn := mv.alloc_pages(machine, mv.GFP_NOWAIT, 0)) is not None:
        served.append(node_of(pfn))
    assert set(served) == {2, 3} and served[0] == 3
    assert served[:served.index(2)] == [3] * served.index(2)


def test_a_recording_says_which_nodes_may_serve():
    machine = nodes(3)
    mv.set_mempolicy(machine, MPOL_BIND, [1, 2])
    with mv.record(machine) as rec:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    [step] = rec.select(ev.NodemaskChosen)
    assert mv.sentence(step.event) == "Policy bind: only the nodes 1,2 may serve."


@pytest.mark.parametrize("offset, node", [(2**32 - 1, 0), (2**32, 0), (0x7F0000000, 0), (0x7F0000001, 1)])
def test_the_offset_of_a_mapping_counts_with_32_bits(offset, node):
    """A private mapping has its address as offset, which is past 2^32 pages: of three nodes, 0x7f0000000 would be 1."""
    policy = Mempolicy(MPOL_INTERLEAVE, (0, 1, 2))
    pfn = mv.alloc_pages_vma(nodes(3), mv.GFP_HIGHUSER_MOVABLE, 0, vma(policy, offset), vma().vm_start, 0)
    assert node_of(pfn) == node


def test_a_mapping_of_a_task_without_policy_goes_by_the_cpu():
    machine = nodes(2)
    pfn = mv.alloc_pages_vma(machine, mv.GFP_HIGHUSER_MOVABLE, 0, vma(), vma().vm_start, 1)
    local = mv.alloc_pages_vma(machine, mv.GFP_HIGHUSER_MOVABLE, 0, vma(Mempolicy(MPOL_PREFERRED)), vma().vm_start, 1)
    assert (node_of(pfn), node_of(local)) == (0, 1)


@pytest.mark.parametrize("gfp, order", [(mv.GFP_KERNEL, -1), (mv.GFP_KERNEL, True), (1 << 40, 0),
                                        (mv.GFP_DMA | mv.GFP_DMA32, 0),
                                        (mv.kernel.__GFP_MOVABLE | mv.kernel.__GFP_RECLAIMABLE, 0)])
def test_a_refused_request_takes_no_turn(gfp, order):
    machine = nodes(2)
    mv.set_mempolicy(machine, MPOL_INTERLEAVE, [0, 1])
    before = machine.copy()
    with pytest.raises(ValueError, match=r"order must be|gfp_mask"):
        mv.alloc_pages(machine, gfp, order)
    assert machine == before


def test_without_a_policy_the_node_of_the_cpu_is_asked():
    machine = nodes(3)
    mv.set_current(machine, 2)
    assert asked(machine) == [2]


@pytest.mark.parametrize("wanted, first", [([1], 1), ([], 0)])
def test_preferred_is_a_wish(wanted, first):
    machine = nodes(2)
    mv.set_mempolicy(machine, MPOL_PREFERRED, wanted)
    assert asked(machine) == [first]
    while mv.alloc_pages(machine, mv.GFP_NOWAIT | mv.__GFP_THISNODE, 0) is not None:
        pass
    assert mv.alloc_pages(machine, mv.GFP_NOWAIT, 0) is not None


def test_an_interrupt_and_thisnode_do_not_ask_the_policy():
    machine = nodes(2)
    mv.set_mempolicy(machine, MPOL_BIND, [1])
    assert asked(machine, gfp=mv.GFP_KERNEL | mv.__GFP_THISNODE) == [0]
    mv.set_current(machine, 0, in_interrupt=1)
    assert asked(machine, gfp=mv.GFP_ATOMIC) == [0]


def test_a_zone_below_the_policy_zone_is_not_bound():
    machine = mv.boot([("DMA32", 0x1000, 0x1000, 0), ("Normal", 0x100000, 0x1000, 0), ("Normal", 0x200000, 0x1000, 1)])
    mv.set_mempolicy(machine, MPOL_BIND, [1])
    assert mv.alloc_pages(machine, mv.GFP_KERNEL, 0) >= 0x200000
    assert mv.alloc_pages(machine, mv.GFP_KERNEL | mv.GFP_DMA32, 0) < 0x2000


def test_nodes_with_movable_memory_alone_bind_what_is_movable():
    machine = mv.boot([("DMA32", 0x1000, 0x1000, 0), ("Movable", 0x4000, 0x1000, 1)])
    mv.set_mempolicy(machine, MPOL_BIND, [1])
    assert mv.alloc_pages(machine, mv.GFP_KERNEL, 0) < 0x2000
    assert mv.alloc_pages(machine, mv.GFP_HIGHUSER_MOVABLE, 0) >= 0x4000
    mv.set_mempolicy(machine, MPOL_BIND, [0])
    assert mv.alloc_pages(machine, mv.GFP_HIGHUSER_MOVABLE, 0) < 0x2000


def test_interleave_counts_a_hit_only_where_it_was_served():
    machine = nodes(2)
    mv.set_mempolicy(machine, MPOL_INTERLEAVE, [1])
    with mv.record(machine) as rec:
        while mv.alloc_pages(machine, mv.GFP_NOWAIT, 3) is not None:
            pass
    hits = [step.event.hit for step in rec.select(ev.InterleaveChosen)]
    assert hits[0] and not hits[-2] and not hits[-1]
    assert rec.at(len(rec)) == machine


def test_a_huge_page_is_asked_of_the_node_alone_first():
    machine = nodes(2)
    mapping, asks = vma(), []
    for _ in range(14):
        asks.append(mv.alloc_pages_vma(machine, mv.GFP_TRANSHUGE, 9, mapping, mapping.vm_start, 0, hugepage=True))
    first_of_1 = next(i for i, pfn in enumerate(asks) if pfn is None or node_of(pfn) == 1)
    assert 0 < first_of_1 < 8 and all(node_of(pfn) == 0 for pfn in asks[:first_of_1])
    light = mv.alloc_pages_vma(machine, mv.GFP_TRANSHUGE_LIGHT, 9, mapping, mapping.vm_start, 0, hugepage=True)
    assert light is None


def test_the_second_try_for_a_huge_page_is_one_round_on_any_node():
    machine = nodes(2)
    mv.take(machine, mv.GFP_NOWAIT | mv.__GFP_THISNODE)
    with mv.record(machine) as rec:
        mv.alloc_pages_vma(machine, mv.GFP_TRANSHUGE, 9, vma(), vma().vm_start, 0, hugepage=True)
    first, second = (step.event.gfp_mask for step in rec.select(ev.RequestPrepared))
    assert (first, second) == (mv.GFP_TRANSHUGE | mv.__GFP_THISNODE, mv.GFP_TRANSHUGE | mv.kernel.__GFP_NORETRY)


@pytest.mark.parametrize("pgoff, node", [(0, 0), (511, 0), (512, 1), (1024, 0)])
def test_the_offset_of_a_huge_page_counts_in_huge_pages(pgoff, node):
    mapping = vma(Mempolicy(MPOL_INTERLEAVE, (0, 1)), pgoff)
    pfn = mv.alloc_pages_vma(nodes(2), mv.GFP_TRANSHUGE, 9, mapping, mapping.vm_start, 0)
    assert node_of(pfn) == node
    pfn = mv.alloc_pages_vma(nodes(2), mv.GFP_TRANSHUGE, 9, mapping, mapping.vm_start + (512 << 12), 0)
    assert node_of(pfn) == 1 - node


def test_a_huge_page_of_a_bound_mapping_goes_by_the_mask():
    machine = nodes(2)
    mapping = vma(Mempolicy(MPOL_BIND, (1,)))
    pfn = mv.alloc_pages_vma(machine, mv.GFP_TRANSHUGE, 9, mapping, mapping.vm_start, 0, hugepage=True)
    assert node_of(pfn) == 1


def test_a_uma_build_asks_its_one_node():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(numa=False))
    with mv.record(machine) as rec:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    symbols = {call.symbol for root in rec.calls() for _, call in root.walk()}
    assert "alloc_pages_node" in symbols and "alloc_pages_current" not in symbols


@pytest.mark.parametrize("mode, chosen", [(MPOL_DEFAULT, [0]), (MPOL_PREFERRED, [0, 1]), (MPOL_BIND, []),
                                          (MPOL_INTERLEAVE, [2]), (7, [0])])
def test_a_policy_that_makes_no_sense(mode, chosen):
    machine = nodes(2)
    before = machine.copy()
    with pytest.raises(ValueError, match="policy must be MPOL_DEFAULT without nodes"):
        mv.set_mempolicy(machine, mode, chosen)
    assert machine == before


def test_a_policy_is_saved_and_copied(tmp_path):
    machine = nodes(2)
    mv.set_mempolicy(machine, MPOL_INTERLEAVE, [1, 0])
    machine.save(tmp_path / "machine.json.gz")
    again = mv.Machine.load(tmp_path / "machine.json.gz")
    assert again == machine == machine.copy()
    assert again.current.mempolicy == Mempolicy(MPOL_INTERLEAVE, (0, 1))
    assert asked(again, 3) == asked(machine, 3) == [1, 0, 1]
