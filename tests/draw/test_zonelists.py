"""The picture of the zonelists: the order of each list, the walk of a request, and what it may not use."""
import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmviz as mv
from mmviz import events as ev
from mmviz.draw.request import imagined_request, running_request, way_of, why_out
from mmviz.draw.scene import Arrow, Line, Polyline, Rect, Text
from mmviz.draw.style import BAND, BOX, HOLE
from mmviz.draw.zonelists import MOST_ENTRIES, MOST_NODES, draw_zonelists, zonelist_graph
from mmviz.kernel import MPOL_BIND, MPOL_INTERLEAVE, MPOL_PREFERRED

RING = [[10, 20, 30, 20], [20, 10, 20, 30], [30, 20, 10, 20], [20, 30, 20, 10]]
THISNODE = mv.__GFP_THISNODE


def nodes(count=4, distance=None, names=("DMA32",)):
    zones = [(name, 0x1000 * (n + 1) + 0x100000 * place, 0x1000, n) for n in range(count)
             for place, name in enumerate(names)]
    return mv.boot(zones, cpus=range(count), distance=distance)


def marks(scene, kind):
    return {mark.key: mark for mark in scene.marks if isinstance(mark, kind)}


def drawn(machine, rec, kind, which=0):
    step = rec.select(kind)[which]
    return draw_zonelists(rec.at(step.number + 1), step)


def recorded(machine, *gfps, order=0):
    with mv.record(machine) as rec:
        for gfp in gfps:
            mv.alloc_pages(machine, gfp, order)
    return rec


def row(scene, nid, kind):
    """The zones of one list as they stand in the picture, from left to right."""
    found = [mark for key, mark in marks(scene, Rect).items() if key.startswith(f"in {nid} {kind} ")]
    return [mark.label for mark in sorted(found, key=lambda mark: mark.x)]


# ---------------------------------------------------------------- the lists


@pytest.mark.parametrize("machine, orders", [
    (lambda: nodes(4, RING), [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]]),
    (lambda: nodes(4), [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]),
    (mv.duo, [[0, 1], [1, 0]]),
])
def test_example_42_each_list_stands_in_its_order(machine, orders):
    scene = draw_zonelists(machine())
    for nid, order in enumerate(orders):
        assert row(scene, nid, 0) == [f"N{n}/DMA32" for n in order]
        assert row(scene, nid, 1) == [f"N{nid}/DMA32"]


def test_a_real_machine_has_all_of_one_node_before_the_next():
    machine = mv.load_capture("m512numa_N2_random_nodes")[0].machine()
    scene = draw_zonelists(machine)
    assert row(scene, 0, 0) == ["N0/DMA32", "N0/DMA", "N1/DMA32"] and row(scene, 0, 1) == ["N0/DMA32", "N0/DMA"]
    assert row(scene, 1, 0) == ["N1/DMA32", "N0/DMA32", "N0/DMA"] and row(scene, 1, 1) == ["N1/DMA32"]


def test_a_build_without_numa_has_one_list():
    i386 = mv.load_capture("m1536i386_H2_random_highmem")[0].machine()
    assert [key for key in marks(draw_zonelists(i386), Text) if key.startswith("list ")] == ["list 0 0"]
    assert row(draw_zonelists(i386), 0, 0) == ["HighMem", "Normal", "DMA"]


@given(st.permutations([12, 17, 23, 28, 33, 39]))
@settings(max_examples=20, deadline=None)
def test_the_graph_is_the_zonelists(far):
    pairs = dict(zip([(a, b) for a in range(4) for b in range(a + 1, 4)], far, strict=True))
    machine = nodes(4, [[10 if a == b else pairs[min(a, b), max(a, b)] for b in range(4)] for a in range(4)])
    graph = zonelist_graph(machine)
    for nid, node in enumerate(machine.node):
        for kind in (0, 1):
            edges = [(a, b) for a, b, key in graph.edges(keys=True) if key == (nid, kind)]
            path = nx.dag_longest_path(nx.DiGraph(edges))
            assert path == [f"node {nid}", *(zone.label for zone in node.node_zonelists[kind][-1])]
            assert row(draw_zonelists(machine), nid, kind) == path[1:]


def test_long_lists_and_many_nodes_are_cut_and_say_so():
    machine = nodes(MOST_NODES + 1, names=("DMA32", "Normal"))
    scene = draw_zonelists(machine)
    assert len(row(scene, 0, 0)) == MOST_ENTRIES - 1
    assert marks(scene, Text)["more 0 0"].text == f"and {2 * (MOST_NODES + 1) - MOST_ENTRIES + 1} more"
    assert f"node {MOST_NODES - 1}" in marks(scene, Rect) and f"node {MOST_NODES}" not in marks(scene, Rect)
    assert marks(scene, Text)["nodes"].text == "and 1 more node, not drawn"


def test_nothing_lies_on_another():
    for machine in (mv.duo(), nodes(4, RING), nodes(4, names=("DMA32", "Normal")), nodes(8, names=("DMA32", "Normal"))):
        boxes = marks(draw_zonelists(machine), Rect)
        entries = [box for key, box in boxes.items() if key.startswith(("entry", "in "))]
        for i, a in enumerate(entries):
            for b in entries[i + 1:]:
                assert (a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y
                        or b.y + b.height <= a.y), (a.key, b.key)
        lanes = [mark for mark in draw_zonelists(machine).marks if isinstance(mark, Polyline)]
        assert len({mark.points[1][1] for mark in lanes}) == len(lanes), "a lane for each"


# ---------------------------------------------------------------- what a request may not use


def test_the_ceiling_stands_above_what_the_gfp_mask_allows():
    scene = draw_zonelists(mv.zones_toy(), gfp_mask=mv.GFP_DMA32)
    boxes = marks(scene, Rect)
    assert boxes["entry Normal"].meaning == boxes["in 0 0 Normal"].meaning == HOLE
    assert boxes["entry DMA32"].meaning == boxes["in 0 0 DMA32"].meaning == BOX
    assert boxes["entry Normal"].y < marks(scene, Line)["ceiling"].y < boxes["entry DMA32"].y
    assert marks(scene, Text)["why Normal"].text == "above the ceiling"
    assert "ceiling" not in marks(draw_zonelists(mv.zones_toy()), Line)


def test_a_ceiling_that_the_machine_has_not_is_above_all():
    scene = draw_zonelists(mv.toy(4), gfp_mask=mv.GFP_KERNEL)
    assert marks(scene, Line)["ceiling"].y < marks(scene, Rect)["entry DMA32"].y
    assert "ceiling Normal" in marks(scene, Text)["remark"].text


def test_highmem_is_above_the_ceiling_of_a_kernel_page():
    i386 = mv.load_capture("m1536i386_H2_random_highmem")[0].machine()
    kernel, user = (draw_zonelists(i386, gfp_mask=gfp) for gfp in (mv.GFP_KERNEL, mv.GFP_HIGHUSER))
    assert marks(kernel, Rect)["entry HighMem"].meaning == HOLE and marks(user, Rect)["entry HighMem"].meaning == BOX
    assert kernel.words == "A request (GFP_KERNEL) of node 0 walks Normal, DMA."


def test_thisnode_walks_a_list_of_its_own():
    scene = draw_zonelists(mv.duo(), gfp_mask=mv.GFP_KERNEL | THISNODE, nid=1)
    assert marks(scene, Rect)["entry N0/DMA32"].meaning == HOLE
    assert marks(scene, Rect)["in 1 1 N1/DMA32"].meaning == BOX
    assert marks(scene, Rect)["in 1 0 N1/DMA32"].meaning == BAND
    assert [key for key in marks(scene, Arrow) if key.startswith("arrow")] == ["arrow 1"]


def test_a_nodemask_strikes_out():
    machine = nodes(4, RING)
    mv.set_mempolicy(machine, MPOL_BIND, [2, 3])
    rec = recorded(machine, mv.GFP_KERNEL)
    for kind in (ev.NodemaskChosen, ev.RequestPrepared, ev.WatermarkChecked, ev.MmPageAlloc):
        scene = drawn(machine, rec, kind)
        assert {key for key in marks(scene, Line) if key.startswith("strike")} == {
            "strike in 0 0 N0/DMA32", "strike in 0 0 N1/DMA32"}
        assert scene.words.startswith("A request (GFP_KERNEL) of node 0 walks N3/DMA32, N2/DMA32")
    assert "policy" in {mark.key for mark in drawn(machine, rec, ev.NodemaskChosen).marks if mark.touched}
    assert marks(drawn(machine, rec, ev.WatermarkChecked), Text)["policy"].text == "policy of the task: bind 2,3"


def test_a_mask_that_has_fallen_strikes_out_nothing():
    """An atomic request goes on without its nodemask at the label retry."""
    duo = mv.duo()
    mv.set_mempolicy(duo, MPOL_BIND, [1])
    duo.node[1].node_zones[1].vm_stat[0] = 0
    rec = recorded(duo, mv.GFP_ATOMIC)
    checks = rec.select(ev.WatermarkChecked)
    assert (checks[0].event.nid, checks[-1].event.nid) == (1, 0)
    struck = [any(mark.key.startswith("strike") for mark in draw_zonelists(rec.at(step.number + 1), step).marks)
              for step in (checks[0], checks[-1])]
    assert struck == [True, False]


# ---------------------------------------------------------------- the walk


def test_the_zone_of_the_step_and_the_way_to_it_are_in_ink():
    duo = mv.duo()
    duo.node[0].node_zones[1].vm_stat[0] = 160
    rec = recorded(duo, mv.GFP_NOWAIT)
    first, second = (drawn(duo, rec, ev.WatermarkChecked, which) for which in (0, 1))
    ink = [{mark.key for mark in scene.marks if mark.touched} for scene in (first, second)]
    assert ink[0] == {"entry N0/DMA32", "in 0 0 N0/DMA32", "arrow 1"}
    assert ink[1] == {"entry N1/DMA32", "in 0 0 N1/DMA32", "arrow 1", "arrow 2", "lane 2"}
    assert marks(first, Text)["verdict"].text == "N0/DMA32: counter 160 ≤ LOW 160: the zone is passed over"
    assert marks(second, Text)["verdict"].text.endswith("> LOW 160: the request may pass")


def test_what_must_stay_is_the_mark_and_the_reserve_against_this_request():
    machine = mv.load_capture("m512zones_Z2_random")[0].machine()
    must = {gfp: [marks(draw_zonelists(machine, gfp_mask=gfp), Text).get(f"must {name}") for name in
                  ("Normal", "DMA32", "DMA")] for gfp in (mv.GFP_KERNEL, mv.GFP_DMA32)}
    assert [text and text.text for text in must[mv.GFP_KERNEL]] == [
        "must exceed LOW 478", "must exceed LOW 313 + reserve 246", "must exceed LOW 30 + reserve 414"]
    assert [text and text.text for text in must[mv.GFP_DMA32]] == [
        None, "must exceed LOW 313", "must exceed LOW 30 + reserve 167"]


def test_in_the_slow_path_it_is_the_lower_mark():
    duo = mv.duo()
    for zone in duo.zones():
        zone.vm_stat[0] = 128
    rec = recorded(duo, mv.GFP_NOWAIT)
    assert marks(drawn(duo, rec, ev.WatermarkChecked), Text)["must N0/DMA32"].text == "must exceed LOW 160"
    for kind in (ev.SlowpathEntered, ev.WatermarkChecked, ev.AllocationFailed, ev.MmPageAlloc):
        assert marks(drawn(duo, rec, kind, -1), Text)["must N1/DMA32"].text == "must exceed MIN 128"
    atomic = drawn(duo, recorded(duo, mv.GFP_ATOMIC), ev.WatermarkChecked, -1)
    assert marks(atomic, Text)["must N0/DMA32"].text == "must exceed MIN lowered to 48"


def test_numa_counters_are_said_where_they_move():
    duo = mv.duo()
    duo.node[0].node_zones[1].vm_stat[0] = 0
    rec = recorded(duo, mv.GFP_NOWAIT)
    said = marks(drawn(duo, rec, ev.ZoneStatistics), Text)["verdict"].text
    assert said == "numa_miss of node 1 + 1, numa_foreign of node 0 + 1, numa_other of node 1 + 1"


def test_the_hand_of_interleaving_turns():
    duo = mv.duo()
    mv.set_mempolicy(duo, MPOL_INTERLEAVE, [0, 1])
    assert marks(draw_zonelists(duo), Text)["policy"].text == "policy of the task: interleave 0,1, next 1"
    rec = recorded(duo, mv.GFP_KERNEL, mv.GFP_KERNEL)
    for which, nid in ((0, 1), (1, 0)):
        for kind in (ev.SetIlPrev, ev.InterleaveChosen):
            scene = drawn(duo, rec, kind, which)
            assert f"node {nid}" in {mark.key for mark in scene.marks if mark.touched}
            assert f"of node {nid} walks N{nid}/DMA32" in scene.words
    assert draw_zonelists(duo, gfp_mask=mv.GFP_KERNEL).words.startswith("A request (GFP_KERNEL) of node 1 walks")


def test_node_reclaim_is_said_of_its_node():
    duo = mv.boot([("DMA32", 0x1000, 0x2000, 0), ("DMA32", 0x3000, 0x2000, 1)], cpus=(0, 1))
    duo.node_reclaim_mode = 1
    duo.node[0].node_zones[1].vm_stat[0] = 100
    scene = drawn(duo, recorded(duo, mv.GFP_KERNEL), ev.NodeReclaimed)
    assert "node 0" in {mark.key for mark in scene.marks if mark.touched}
    assert marks(scene, Text)["verdict"].text == "node_reclaim of node 0: FULL"


# ---------------------------------------------------------------- the request


@pytest.mark.parametrize("mode, chosen, gfp, nid, walks", [
    (MPOL_PREFERRED, [2], mv.GFP_KERNEL, None, [2, 3, 1, 0]), (MPOL_BIND, [1, 2], mv.GFP_KERNEL, None, [1, 2]),
    (MPOL_BIND, [1, 2], mv.GFP_KERNEL | THISNODE, None, [0]), (MPOL_BIND, [1, 2], mv.GFP_KERNEL, 3, [3, 0, 2, 1]),
    (MPOL_INTERLEAVE, [1, 3], mv.GFP_KERNEL, None, [1, 2, 0, 3]),
])
def test_without_a_request_it_is_what_the_task_would_walk(mode, chosen, gfp, nid, walks):
    machine = nodes(4, RING)
    mv.set_mempolicy(machine, mode, chosen)
    request = imagined_request(machine, gfp, nid)
    assert [zone.nid for zone in way_of(machine, request)] == walks
    if nid is None:
        rec = recorded(machine, gfp)
        step = rec.select(ev.RequestPrepared)[0]
        assert running_request(rec.at(step.number + 1), step) == request


def test_a_policy_does_not_bind_a_lower_zone():
    machine = nodes(2, names=("DMA32", "Normal"))
    mv.set_mempolicy(machine, MPOL_BIND, [1])
    assert imagined_request(machine, mv.GFP_KERNEL, None).nodes == (1,)
    assert imagined_request(machine, mv.GFP_DMA32, None).nodes is None


def test_a_zone_without_pages_is_in_no_list():
    machine = mv.boot([("DMA32", 0x1000, 0x1000), ("Normal", 0x100000, 0)])
    assert why_out(machine, imagined_request(machine, None, None), machine.zone("Normal")) == "no pages, in no list"
    assert marks(draw_zonelists(machine), Rect)["entry Normal"].meaning == HOLE


def test_outside_of_a_request_there_is_none():
    duo = mv.duo()
    with mv.record(duo) as rec:
        mv.set_mempolicy(duo, MPOL_BIND, [1])
    assert running_request(duo, rec[0]) is None and running_request(duo, None) is None
    assert "policy" in {mark.key for mark in draw_zonelists(duo, rec[0]).marks if mark.touched}


@pytest.mark.parametrize("wrong, message", [
    ({"nid": 2}, "nid must be an int 0 to 1, got 2"), ({"gfp_mask": 1 << 30}, "gfp_mask must be made of the bits"),
    ({"gfp_mask": mv.__GFP_DMA | mv.__GFP_DMA32}, "at most one of __GFP_DMA"),
])
def test_wrong_arguments(wrong, message):
    with pytest.raises(ValueError, match=message):
        draw_zonelists(mv.duo(), **wrong)
    with pytest.raises(ValueError, match="state must be a Machine, got int"):
        draw_zonelists(3)


def test_a_stepper_of_a_walk_over_four_nodes_stays_small():
    machine = nodes(4, RING)
    for zone in machine.zones()[:3]:
        zone.vm_stat[0] = 0
    rec = recorded(machine, *[mv.GFP_NOWAIT] * 5)
    assert len(mv.Stepper(rec, draw_zonelists).html().encode()) < 40_000


def test_in_an_interrupt_the_policy_of_the_task_is_not_asked():
    machine = mv.duo()
    mv.set_mempolicy(machine, MPOL_BIND, [1])
    assert draw_zonelists(machine, gfp_mask=mv.GFP_ATOMIC).words == "A request (GFP_ATOMIC) of node 0 walks N1/DMA32."
    mv.set_current(machine, 0, in_interrupt=1)
    scene = draw_zonelists(machine, gfp_mask=mv.GFP_ATOMIC)
    assert scene.words == "A request (GFP_ATOMIC) of node 0 walks N0/DMA32, N1/DMA32."
