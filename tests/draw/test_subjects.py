"""The subject drawings: what each shows, and what all of them keep to."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

import mmviz as mv
from mmviz import events as ev
from mmviz.capture.proc import FreeAreaCounts
from mmviz.draw import calls, frames, style
from mmviz.draw.calls import draw_calls, lit_lines, outline, read_outline
from mmviz.draw.frames import draw_frames
from mmviz.draw.free_area import draw_free_area
from mmviz.draw.map import BOXES, draw_map, path_of
from mmviz.draw.pcp import draw_pcp
from mmviz.draw.reading import badge, in_hand, zone_of
from mmviz.draw.scene import Rect, Text
from mmviz.draw.split_tree import draw_split_tree, split_graph, split_tree_of
from mmviz.draw.style import GUARD, RECLAIM, REFUSED, free, pcp, text_width, used
from mmviz.draw.watermarks import draw_watermarks
from mmviz.draw.zonelists import draw_zonelists
from mmviz.mm.zone import add_to_free_area, del_page_from_free_area, pcp_list_add
from mmviz.recording import Step

DATA = Path(__file__).parents[2] / "data"
DRAWINGS = [draw_frames, draw_free_area, draw_pcp, draw_watermarks, draw_calls, draw_map, draw_zonelists]
I386 = [("DMA", 0x1, 0xFFF), ("Normal", 0x1000, 0x1000), ("HighMem", 0x2001, 0x1FFF)]


def recorded(machine, *requests):
    """A recording of requests: (gfp, order), or the place of a request to free again."""
    got = []
    with mv.record(machine) as rec:
        for request in requests:
            if isinstance(request, int):
                mv.__free_pages(machine, *got[request])
            else:
                got.append((mv.alloc_pages(machine, *request), request[1]))
    return rec


def rich():
    """Split, refill, steal, refusals of both kinds, flush and merge."""
    machine = mv.toy(64, batch=2, high=4)
    u, m = mv.GFP_KERNEL, mv.GFP_HIGHUSER_MOVABLE
    return recorded(machine, (u, 3), (m, 0), (u, 0), (u | mv.__GFP_RECLAIMABLE, 1), (u | mv.__GFP_ZERO, 0), (m, 0),
                    (mv.GFP_NOWAIT, 11), 0, 1, 2, 4, 5, 3)


def refused():
    machine = mv.toy(4)
    return recorded(machine, (mv.GFP_NOWAIT, 10), (mv.GFP_KERNEL, 10), (mv.GFP_KERNEL, 0))


RECORDINGS = {
    "rich": rich,
    "refused": refused,
    "toy": lambda: recorded(mv.toy(4), *[(mv.GFP_KERNEL, 3)] * 3, 0, 1, 2),
    "guards": lambda: recorded(mv.toy(4, config=mv.Config(debug_guardpage_minorder=1)), (mv.GFP_KERNEL, 0), 0),
    "i386": lambda: recorded(mv.boot(I386, config=mv.kernel.I386), (mv.GFP_HIGHUSER, 0), (mv.GFP_KERNEL, 2), 0, 1),
    "numa": lambda: recorded(mv.duo(), (mv.GFP_KERNEL, 0), (mv.GFP_KERNEL, 1), 0, 1),
}


@pytest.fixture(scope="module", params=RECORDINGS)
def rec(request):
    return RECORDINGS[request.param]()


@pytest.fixture(scope="module")
def m512():
    return mv.load_capture(DATA / "captures" / "m512_W1_shell.json.gz")[0].machine()


def states(rec):
    return [(rec.at(i), rec[i - 1] if i else None) for i in range(len(rec) + 1)]


def rects(scene):
    return {mark.key: mark for mark in scene.marks if isinstance(mark, Rect)}


def touched(scene):
    return {mark.key for mark in scene.marks if mark.touched}


def texts(scene):
    return {mark.key: mark.text for mark in scene.marks if isinstance(mark, Text)}


def step_of(rec, kind, which=0):
    step = rec.select(kind)[which]
    return rec.at(step.number + 1), step


def right_end(mark):
    """About where a text ends; the fonts of a page may be a little narrower or wider."""
    width = text_width(mark.text, mark.meaning)
    return mark.x + width * {"start": 1, "middle": 0.5, "end": 0}[mark.anchor]


# ---------------------------------------------------------------- what all of them keep to


@pytest.mark.parametrize("draw", DRAWINGS)
def test_every_step_of_every_recording_is_drawn(rec, draw):
    for state, step in states(rec):
        before = state.to_dict()
        scene = draw(state, step)
        assert 0 < len(scene.marks) <= 1000
        assert scene.title and scene.words.endswith(".")
        assert state.to_dict() == before


@pytest.mark.parametrize("draw", DRAWINGS)
def test_the_svg_is_well_formed_and_the_same_each_time(rec, draw):
    state, step = rec.at(len(rec)), rec[-1]
    first, second = draw(state, step).svg(), draw(rec.at(len(rec)), rec[-1]).svg()
    assert first == second
    assert ElementTree.fromstring(first).get("role") == "img"


@pytest.mark.parametrize("draw", DRAWINGS)
def test_nothing_lies_outside_and_texts_are_legible(rec, draw):
    for state, step in states(rec)[::7]:
        scene = draw(state, step)
        assert scene.width == 900
        for mark in scene.marks:
            x, y = mark.origin
            assert 0 <= x <= 900 and 0 <= y <= scene.height, mark.key
            if isinstance(mark, Rect):
                assert mark.x + mark.width <= 900.1 and mark.y + mark.height <= scene.height, mark.key
            if isinstance(mark, Text):
                assert right_end(mark) <= 905 and style.TEXTS[mark.meaning].size >= 11, mark.text


@pytest.mark.parametrize("draw", [draw_frames, draw_free_area, draw_pcp])
def test_blocks_do_not_overlap(rec, draw):
    for state, step in states(rec)[::5]:
        blocks = [mark for mark in rects(draw(state, step)).values() if mark.key.startswith(("block ", "before "))]
        for i, a in enumerate(blocks):
            for b in blocks[i + 1:]:
                apart = (a.x + a.width <= b.x + 0.01 or b.x + b.width <= a.x + 0.01
                         or a.y + a.height <= b.y + 0.01 or b.y + b.height <= a.y + 0.01)
                assert apart, (a.key, b.key)


@pytest.mark.parametrize("draw", [draw_frames, draw_free_area, draw_pcp, draw_watermarks, draw_map, draw_zonelists])
def test_what_was_set_by_hand_is_said(draw):
    assert texts(draw(mv.toy(4, watermarks=(1, 2, 3))))["by hand"] == "set by hand: watermarks"
    assert "by hand" not in texts(draw(mv.toy(4)))


@pytest.mark.parametrize("draw", DRAWINGS)
def test_a_real_machine_is_drawn(m512, draw):
    assert len(draw(m512).marks) <= 1000


@pytest.mark.parametrize("draw", DRAWINGS)
def test_the_two_refusals_look_different(draw):
    rec = refused()
    kernel = rects(draw(*step_of(rec, ev.AllocationFailed)))["outcome"]
    simulator = rects(draw(*step_of(rec, ev.WouldReclaim)))["outcome"]
    assert (kernel.meaning, simulator.meaning) == (REFUSED, RECLAIM)
    assert kernel.label == "NULL" and "reclaim" in simulator.label


def test_the_end_of_a_request_says_which_refusal_it_was():
    rec = refused()
    meanings = [badge(rec.at(step.number + 1), step)[0].meaning for step in rec.select(ev.MmPageAlloc)]
    assert meanings == [REFUSED, RECLAIM, used("U")]
    assert badge(rec.at(0), None) == []


@pytest.mark.parametrize("draw", [draw_frames, draw_free_area, draw_pcp, draw_watermarks, draw_map])
def test_a_wrong_zone_is_named_with_those_there_are(draw):
    with pytest.raises(ValueError, match=r"zone must be one of N0/DMA32, N1/DMA32, got 'Normal'"):
        draw(mv.duo(), zone="Normal")
    with pytest.raises(ValueError, match=r"got None of node 7"):
        draw(mv.duo(), nid=7)
    with pytest.raises(ValueError, match=r"state must be a Machine, got int"):
        draw(3)


@pytest.mark.parametrize("call, message", [
    (lambda m: draw_frames(m, first=0x10), "first must be a pfn 0x1000 to 0x13ff of zone DMA32, got 0x10"),
    (lambda m: draw_frames(m, first="a"), "first must be a pfn .* got a"),
    (lambda m: draw_frames(m, pages=0), "pages must be an int 1 to 1,024, got 0"),
    (lambda m: draw_frames(m, columns=48), "columns must be a power of two 8 to 1,024, got 48"),
    (lambda m: draw_frames(m, columns=4), "columns must be an int 8 to 1,024, got 4"),
    (lambda m: draw_pcp(m, cpu=1), "cpu must be an int 0 to 0, got 1"),
    (lambda m: draw_map(m, here="lists"), "here must be one of zonelist, .* got 'lists'"),
    (lambda m: draw_map(m, pfn=0x5), "pfn must lie in a zone .DMA32 0x1000 to 0x13ff., got 0x5"),
    (lambda m: draw_calls(m, outline="mm/foo.c"), "section must be one of 'Memory .* got 'mm/foo.c'"),
    (lambda m: draw_calls(m, outline=" "), "outline must be the text of an outline or the name of its section"),
    (lambda m: draw_split_tree(m), "recording must be a Recording, got Machine; in a Stepper"),
])
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(mv.toy(4))


@pytest.mark.parametrize("draw", DRAWINGS)
def test_a_stepper_stays_small(draw):
    rec = recorded(mv.toy(4), *[(mv.GFP_KERNEL, 3)] * 4, 0, 1, 2, 3)
    assert len(rec) >= 120
    assert len(mv.Stepper(rec, draw).html().encode()) < 40_000


# ---------------------------------------------------------------- what is touched


SEEN = {  # event -> a drawing that touches something when it happens
    draw_free_area: (ev.AddToFreeArea, ev.DelPageFromFreeArea, ev.MoveToFreeArea, ev.FreeAreaSearched, ev.BlockExpanded,
                     ev.FallbackSearched, ev.BuddyChecked, ev.MmPageAllocZoneLocked, ev.SetPageRefcounted,
                     ev.MmPageAlloc, ev.MmPageFree, ev.ModZonePageState, ev.GuardChecked, ev.MmPageAllocExtfrag),
    draw_frames: (ev.AddToFreeArea, ev.DelPageFromFreeArea, ev.MoveToFreeArea, ev.BlockExpanded, ev.BuddyChecked,
                  ev.SetPageblockMigratetype, ev.PcpListAdd, ev.PcpListAddTail, ev.PcpListDel, ev.SetPageRefcounted,
                  ev.MmPageFree, ev.MmPageAlloc, ev.PagesCleared),
    draw_pcp: (ev.PcpListFoundEmpty, ev.PcpListAdd, ev.PcpListAddTail, ev.PcpListDel, ev.PcpFlushPlanned,
               ev.SetPcppageMigratetype),
    draw_watermarks: (ev.WatermarkChecked, ev.ModZonePageState, ev.AddToFreeArea, ev.PcpListDel),
    draw_map: (ev.PreferredZoneChosen, ev.WatermarkChecked, ev.PcpListFoundEmpty, ev.FreeAreaSearched,
               ev.AddToFreeArea, ev.SetPageRefcounted),
    draw_zonelists: (ev.RequestPrepared, ev.PreferredZoneChosen, ev.WatermarkChecked, ev.ZoneStatistics,
                     ev.SetPageRefcounted, ev.MmPageAlloc),
    draw_calls: (ev.WatermarkChecked, ev.FreeAreaSearched, ev.BlockExpanded, ev.AddToFreeArea, ev.PcpListAddTail),
}


@pytest.mark.parametrize("draw, kind", [(draw, kind) for draw, kinds in SEEN.items() for kind in kinds])
def test_each_kind_of_event_touches_a_mark(draw, kind):
    found = rich().select(kind)
    assert found, "the recording must hold such an event"
    assert touched(draw(*step_of(rich(), kind)))


# ---------------------------------------------------------------- free lists


def test_free_lists_show_heads_first_and_count_the_rest():
    scene = draw_free_area(mv.toy(64))
    assert rects(scene)["block 0x4c00"].meaning == free("M")
    assert texts(scene)["nr_free 10"] == "16" and texts(scene)["more 10 1"] == "+14 more"
    assert "lists 16,384 · counter 16,384 · with pcp 16,384 pages" in texts(scene).values()


def test_a_touched_block_at_the_tail_of_a_long_list_is_shown():
    machine = mv.toy(4)
    got = [mv.alloc_pages(machine, mv.GFP_NOWAIT, 0) for _ in range(64)]
    for pfn in got[1:40:4]:
        mv.__free_pages(machine, pfn, 0)
    with mv.record(machine) as rec:
        for place in (40, 41, 42):
            mv.__free_pages(machine, got[place], 0)
    state, step = step_of(rec, ev.AddToFreeAreaTail)
    scene = draw_free_area(state, step)
    assert f"block {step.event.pfn:#x}" in touched(scene) and texts(scene)["more 0 0"].startswith("+")


def test_a_block_that_is_cut_keeps_its_mark():
    rec = recorded(mv.toy(4), (mv.GFP_KERNEL, 3))
    for state, step in states(rec):
        assert "block 0x1000" in rects(draw_free_area(state, step)), step
        assert "block 0x1000" in rects(draw_frames(state, step)), step


def test_what_is_in_hand_shrinks_while_it_is_cut_and_grows_while_it_merges():
    rec = recorded(mv.toy(4), (mv.GFP_KERNEL, 3), 0)
    zone = "DMA32"
    held = [in_hand(step, state.zone(zone)) for state, step in states(rec) if step is not None]
    orders = [block.order for block in held if block is not None]
    assert orders[0] == 10 and min(orders) == 3 and orders[-1] == 10
    assert {block.pfn for block in held if block is not None} == {0x1000}


def test_a_freed_block_keeps_its_order_while_the_block_beside_its_parent_is_looked_at():
    machine = mv.toy(4)
    for _ in range(5):
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    with mv.record(machine) as rec:
        for pfn in (0x1002, 0x1003, 0x1000):
            mv.__free_pages(machine, pfn, 0)
    peeks = [step for step in rec.select(ev.BuddyChecked) if step.event.higher]
    assert len(peeks) == 3
    for state, step in states(rec)[1:]:
        block = in_hand(step, state.zone("DMA32"))
        if block is not None:
            assert block.order == (block.pfn == 0x1002 and 17 <= step.number < 20), step
            assert texts(draw_free_area(state, step))["size in hand"].endswith("being freed")
    scene = draw_free_area(rec.at(peeks[-1].number + 1), peeks[-1])
    assert "beside the parent" in {mark.key for mark in scene.marks}
    assert "block 0x1002" in rects(scene) and "block 0x1002" not in touched(scene)


def test_handed_out_is_said_only_of_a_block_that_is():
    rec = recorded(mv.toy(4), (mv.GFP_KERNEL, 3), 0)
    said = [texts(draw_free_area(state, step)).get("size in hand", "") for state, step in states(rec)]
    out, back = (rec.select(kind)[0].number + 1 for kind in (ev.SetPageRefcounted, ev.MmPageFree))
    assert {i for i, text in enumerate(said) if "handed out" in text} <= set(range(out, back))
    assert any("handed out" in text for text in said[out:back])
    assert all(text.endswith("being freed") for text in said[back:] if text)


def test_cma_and_isolate_have_a_lane_only_when_they_hold_something():
    machine = mv.toy(4)
    assert "type CMA" not in rects(draw_free_area(machine))
    zone = machine.zone("DMA32")
    del_page_from_free_area(zone, 0x1000, 10, mv.MIGRATE_MOVABLE)
    add_to_free_area(zone, 0x1000, 10, machine.config.migrate_cma)
    drawn = rects(draw_free_area(machine))
    assert "type CMA" in drawn and drawn["block 0x1000"].meaning == free("C")
    assert "type ISOLATE" not in drawn


@pytest.mark.parametrize("filled", [[], [4], [4, 5]], ids=["U M R H", "and CMA", "and ISOLATE"])
def test_no_heading_of_a_lane_runs_into_the_next(filled):
    machine = mv.toy(4)
    zone = machine.zone("DMA32")
    for migratetype in filled:
        add_to_free_area(zone, 0x1000 + migratetype, 0, migratetype)
    for step in (None, Step(0, ev.FreeAreaSearched(0, 1, 3, 4, False), ())):
        marks = {mark.key: mark for mark in draw_free_area(machine, step).marks}
        lanes = [key.removeprefix("type ") for key in marks if key.startswith("type ")]
        wide = {name: marks[f"name {name}"].x + 8.3 * len(name) for name in lanes}  # DejaVu Sans, capitals
        ends = sorted((marks[f"type {name}"].x, wide[name]) for name in lanes)
        assert len(lanes) == max(4 + len(filled), 5 if step else 4)
        assert all(end < start for (_, end), (start, _) in pairwise(ends))
        assert ends[-1][1] < marks["nr_free"].x - text_width("nr_free", marks["nr_free"].meaning)


def test_counts_of_proc_are_drawn_as_counts():
    texts_of = [(DATA / "proc" / "m512" / name).read_text() for name in ("buddyinfo", "pagetypeinfo")]
    for counts in mv.read_proc(*texts_of) + mv.read_proc(texts_of[0]):
        scene = draw_free_area(counts)
        assert f"{counts.nr_pages_on_lists():,}" in scene.words
        assert not any(key.startswith("block") for key in rects(scene))
    with pytest.raises(ValueError, match="state must hold counts by order"):
        draw_free_area(FreeAreaCounts(0, "DMA"))


# ---------------------------------------------------------------- frames


def test_frames_are_as_wide_as_they_have_pages():
    rec = recorded(mv.toy(4), (mv.GFP_KERNEL, 3))
    drawn = rects(draw_frames(rec.live, rec[-1]))
    assert drawn["block 0x1000"].meaning == used("U") and drawn["block 0x1008"].meaning == free("U")
    assert drawn["block 0x1020"].width == pytest.approx(4 * drawn["block 0x1000"].width)
    assert drawn["block 0x1200"].height == pytest.approx(8 * drawn["block 0x1000"].height)


def test_a_top_order_block_takes_whole_rows():
    block = rects(draw_frames(mv.toy(4), columns=128))["block 0x1000"]
    row = rects(draw_frames(mv.toy(4), pages=128, columns=128))["block 0x1000"]
    assert block.width == row.width and block.height == pytest.approx(8 * row.height)


@pytest.mark.parametrize("first, pages", [(0x1000, 32), (0x1004, 1), (0x11F3, 300), (0x13FF, 1)])
def test_any_window_is_filled_without_a_gap(first, pages):
    rec = recorded(mv.toy(4), (mv.GFP_KERNEL, 0), (mv.GFP_KERNEL, 5))
    grid = frames._grid(first, first + pages, 32)
    drawn = rects(draw_frames(rec.live, first=first, pages=pages, columns=32))
    area = sum(mark.width * mark.height for key, mark in drawn.items() if key.startswith(("block ", "before ")))
    assert area == pytest.approx(pages * grid.step * grid.height)


def test_types_colour_the_blocks_that_one_knows():
    rec = recorded(mv.toy(64), (mv.GFP_HIGHUSER_MOVABLE, 2), (mv.GFP_HIGHUSER_MOVABLE, 2))
    drawn = rects(draw_frames(rec.live, first=0x4C00, pages=32, types={0x4C04: "U"}))
    assert (drawn["block 0x4c00"].meaning, drawn["block 0x4c04"].meaning) == (used("M"), used("U"))


def test_pages_of_per_cpu_lists_and_guards_and_old_ones(m512):
    rec = recorded(mv.toy(64), (mv.GFP_HIGHUSER_MOVABLE, 0))
    assert rects(draw_frames(rec.live, first=0x4C00, pages=32))["block 0x4c01"].meaning == pcp("M")
    guards = RECORDINGS["guards"]()
    meanings = [mark.meaning for state, step in states(guards) for mark in draw_frames(state, step).marks]
    assert GUARD in meanings
    assert used() in [mark.meaning for key, mark in rects(draw_frames(m512, first=0x1AB00, pages=512)).items()
                      if key.startswith("before")]


@pytest.mark.parametrize("machine, cell", [
    (lambda: mv.toy(512), "a cell is one pageblock of 512 pages"),
    (lambda: mv.toy(1 << 20), "a cell is 2,048 pageblocks of 1,048,576 pages"),
])
def test_large_zones_are_drawn_as_pageblocks_and_say_so(machine, cell):
    scene = draw_frames(machine())
    assert cell in texts(scene)["remark"] and "too many" in texts(scene)["remark"]
    assert len(scene.marks) <= 1000


def test_many_blocks_are_drawn_as_pageblocks_and_say_so():
    machine = mv.toy(64)
    got = [mv.alloc_pages(machine, mv.GFP_NOWAIT, 0) for _ in range(2500)]
    for pfn in got[::2]:
        mv.__free_pages(machine, pfn, 0)
    scene = draw_frames(machine)
    assert "a cell is one pageblock" in texts(scene)["remark"] and len(scene.marks) <= 1000
    assert any(key.startswith("block") for key in rects(draw_frames(machine, first=0x4C00, pages=512)))


# ---------------------------------------------------------------- per-CPU lists


def test_the_top_of_a_pile_is_drawn_above_its_bottom():
    rec = recorded(mv.toy(64), (mv.GFP_HIGHUSER_MOVABLE, 0))
    drawn = rects(draw_pcp(rec.live, rec[-1]))
    assert list(rec.live.zone("DMA32").pageset[0].lists[1]) == [0x4C01, 0x4C02]
    assert drawn["block 0x4c01"].y < drawn["block 0x4c02"].y
    assert drawn["block 0x4c00"].meaning == used("M")


def test_long_piles_are_shortened_in_the_middle(m512):
    scene = draw_pcp(m512)
    assert texts(scene)["more MOVABLE"] == "104 more" and texts(scene)["more UNMOVABLE"] == "3 more"
    assert {"block 0x1ab95", "block 0x19f4"} < set(rects(scene))
    assert "count 155, high 186, batch 31" in texts(scene)["remark"]


def test_a_page_that_is_on_a_pile_twice_is_drawn_twice():
    machine = mv.toy(64)
    pfn = mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    for _ in range(2):
        pcp_list_add(machine.zone("DMA32"), 0, mv.MIGRATE_UNMOVABLE, pfn)
    assert {f"block {pfn:#x}", f"block {pfn:#x} again 2"} <= set(rects(draw_pcp(machine)))
    for draw in DRAWINGS:
        assert draw(machine).svg()


# ---------------------------------------------------------------- watermarks


def test_the_inequality_of_a_check_is_shown_with_its_verdict():
    state, step = step_of(refused(), ev.WatermarkChecked)
    said = f"counter 1,024 - 1,023 for the block = 1 ≤ LOW {step.event.min:,}: the zone is passed over"
    assert texts(draw_watermarks(state, step))["verdict"] == said
    state, step = step_of(refused(), ev.WatermarkChecked, -1)
    assert texts(draw_watermarks(state, step))["verdict"].endswith("the request may pass")


def test_enough_pages_but_no_block_is_said():
    machine = mv.toy(4)
    check = ev.WatermarkChecked(0, 1, 4, 64, 885, 64, 0, False, "no block of that order")
    with mv.record(machine) as rec:
        machine.trace.emit(check)
    verdict = texts(draw_watermarks(machine, rec[0]))["verdict"]
    assert verdict.startswith("counter 1,024 - 15 for the block - 124 kept for others = 885 > MIN 64: ")
    assert "but no block of order 4" in verdict


def test_three_numbers_are_called_free(m512):
    drawn = texts(draw_watermarks(m512))
    numbers = [drawn[f"value {name}"] for name in ("on the lists", "counter", "with pcp")]
    assert numbers == ["102,649", "102,645", "102,804"]
    assert (drawn["apart counter"], drawn["apart with pcp"]) == ("-4 drift", "+155 on per-CPU lists")


def test_reserves_are_shown_where_a_zone_keeps_some():
    machine = mv.zones_toy()
    assert "keep reserve" in rects(draw_watermarks(machine, zone="DMA32"))
    assert "could use Normal" in texts(draw_watermarks(machine, zone="DMA32"))["remark"]
    assert "keep reserve" not in rects(draw_watermarks(machine, zone="Normal"))


# ---------------------------------------------------------------- the outline


def lit(rec, kind, which=0, text=None):
    lines = read_outline(text or outline())
    return [lines[i].text for i in sorted(lit_lines(lines, step_of(rec, kind, which)[1]))]


def test_the_outline_lights_the_lines_of_the_call_stack():
    rec = recorded(mv.toy(64), (mv.GFP_HIGHUSER_MOVABLE, 0))
    names = [text.split("(")[0].split()[0] for text in lit(rec, ev.GuardChecked)]
    assert names == ["get_page_from_freelist", "rmqueue", "rmqueue_pcplist", "__rmqueue_pcplist", "rmqueue_bulk",
                     "__rmqueue", "__rmqueue_smallest", "expand", "set_page_guard"]
    assert lit(rec, ev.WatermarkChecked)[-1] == "if (zone_watermark_ok()"


def test_a_function_that_stands_twice_is_lit_under_its_caller():
    rec = recorded(mv.toy(4), (mv.GFP_KERNEL, 3))
    lines = read_outline(outline())
    step = step_of(rec, ev.MmPageAllocZoneLocked)[1]
    places = [i for i in lit_lines(lines, step) if lines[i].symbol == "__rmqueue"]
    assert places == [max(i for i, line in enumerate(lines) if line.symbol == "__rmqueue")]


def test_the_body_of_get_user_pages_is_lit_where_it_is_called_from():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(mmu=False, page_offset=0))
    mm = mv.mm_alloc(machine, 1, "writer")
    mv.vm_mmap_pgoff(machine, mm, 0, 0x1000000, 0x2000, 3, mv.MAP_PRIVATE | mv.MAP_ANONYMOUS | mv.MAP_FIXED)
    with mv.record(machine) as rec:
        mv.get_user_pages_remote(machine, mm, mm, 0x1000000, 1, 0, [])
        mv.get_user_pages(machine, mm, 0x1000000, 1, 0, [])
    lines = read_outline(outline("mm/gup.c"))
    texts = [[lines[i].text for i in sorted(lit_lines(lines, step))] for step in rec]
    body = "get_page(pages[i]) // inc refcount"
    assert texts[0] == ["get_user_pages_remote", "__get_user_pages_locked", "for each number of pages", "find_vma"]
    assert texts[1] == ["get_user_pages_remote", "__get_user_pages_locked", body]
    places = sorted(lit_lines(lines, rec[-1]))
    assert [lines[i].symbol for i in places] == ["get_user_pages", "__gup_longterm_locked", "__get_user_pages_locked"]
    assert places == sorted(places) and places[0] > 7, "the second tree of the outline"


def test_the_outline_is_legible_and_ticks_what_ran():
    rec = recorded(mv.toy(64), (mv.GFP_HIGHUSER_MOVABLE, 0))
    scene = draw_calls(rec.live, rec[-1], recording=rec)
    lines = [mark for mark in scene.marks if mark.key.startswith("line ")]
    assert 25 <= len(lines) <= 40 and scene.height < 800
    assert {mark.meaning for mark in lines} == {style.NUMBER}
    assert sum(key.startswith("done ") for key in texts(scene)) > 10


def test_every_line_that_something_else_lights_is_in_the_outline():
    sections = ("mm/page_alloc.c", "mm/memory.c", "mm/gup.c")
    assert set(calls.ALSO) <= {line.text for section in sections for line in read_outline(outline(section))}


def test_the_lines_of_remap_pfn_range_that_name_no_function_are_lit_by_what_they_do():
    machine = mv.toy(4)
    writer, driver = mv.mm_alloc(machine, 1, "writer"), mv.driver_open(machine)
    with mv.record(machine) as rec:
        mv.vm_mmap_pgoff(machine, writer, driver, 0x7F0000000000, 4 << 12, 3, mv.MAP_PRIVATE | mv.MAP_FIXED, 0)
    text, vm_events = outline("mm/memory.c"), mv.vm_events
    assert lit(rec, vm_events.RemapChecked, text=text) == ["remap_pfn_range", "if (is_cow_mapping)"]
    assert lit(rec, vm_events.SetVmPgoff, text=text)[-1] == "vma->vm_pgoff = pfn"
    assert lit(rec, vm_events.SetVmFlags, text=text) == ["remap_pfn_range"]  # VM_PAT, by track_pfn_remap
    assert lit(rec, vm_events.SetVmFlags, 1, text=text)[-1].startswith("vma->vm_flags |= VM_IO")
    assert lit(rec, vm_events.SetPteAt, text=text)[1:] == [
        "remap_p4d_range(mm, pgd, addr, next, pfn + (addr >> PAGE_SHIFT), prot);", "// TO BE STUDIED"]


def test_a_narrow_outline_keeps_to_its_width():
    machine = mv.toy(4)
    mm = mv.mm_alloc(machine, 1, "writer")
    mv.vm_mmap_pgoff(machine, mm, 0, 0x1000000, 0x1000, 3, mv.MAP_PRIVATE | mv.MAP_ANONYMOUS | mv.MAP_FIXED)
    with mv.record(machine) as rec:
        mv.get_user_pages(machine, mm, 0x1000000, 1, 0, [])
    step = next(step for step in rec if step.stack[-1].symbol == "mark_page_accessed")
    wide, narrow = (draw_calls(rec.live, step, outline="mm/gup.c", width=width) for width in (900, 480))
    assert texts(wide)["left out"].endswith("follow_pud_mask > follow_pmd_mask > follow_page_pte > mark_page_accessed")
    assert texts(narrow)["left out"] == "below that line, not in the outline: mark_page_accessed"
    assert (wide.width, narrow.width) == (900, 480)
    assert all(mark.x + mark.width <= 480 for mark in narrow.marks if isinstance(mark, Rect))


def test_an_outline_of_ones_own():
    rec = recorded(mv.toy(4), (mv.GFP_KERNEL, 0))
    text = "alloc_pages\n  __alloc_pages_nodemask\n    get_page_from_freelist\n"
    assert lit(rec, ev.WatermarkChecked, text=text)[-1] == "get_page_from_freelist"
    assert "'alloc_pages_current' of the outline" in draw_calls(rec.live, rec[-1], outline="get free pages").words


# ---------------------------------------------------------------- split tree


def test_the_split_tree_says_where_each_half_went():
    rec = recorded(mv.toy(4), *[(mv.GFP_KERNEL, 3)] * 3)
    graph = split_graph(rec)
    assert list(graph.successors((0x1000, 10))) == [(0x1000, 9), (0x1200, 9)]
    drawn = rects(draw_split_tree(rec))
    assert drawn["block 0x1010 order 3"].meaning == used("U")
    assert drawn["block 0x1018 order 3"].meaning == free("U")
    assert drawn["block 0x1000 order 4"].meaning == style.BOX
    assert len(split_graph(rec, 1)) == 3


def test_the_split_tree_grows_and_heals_without_moving():
    rec = recorded(mv.toy(4), (mv.GFP_KERNEL, 3), 0)
    draw = split_tree_of(rec)
    sizes, places = [], {}
    for state, step in states(rec):
        scene = draw(state, step)
        sizes.append(sum(key.startswith("block") for key in rects(scene)))
        for key, mark in rects(scene).items():
            if key != "outcome":
                assert places.setdefault(key, (mark.x, mark.y)) == (mark.x, mark.y)
    assert sizes[0] == 1 and max(sizes) == 15 and sizes[-1] == 1
    assert len(mv.Stepper(rec, draw).html()) < 40_000


def test_too_many_cuts_are_refused_and_one_can_be_chosen():
    machine = mv.toy(64)
    with mv.record(machine) as rec:
        for _ in range(700):
            mv.alloc_pages(machine, mv.GFP_NOWAIT, 1)
    with pytest.raises(ValueError, match=r"a split tree takes up to 300 blocks, got .* choose one cut with call=0"):
        draw_split_tree(rec)
    assert draw_split_tree(rec, 0).marks
    with pytest.raises(ValueError, match="call must be an int 0 to"):
        draw_split_tree(rec, -1)


def test_a_recording_without_a_cut_has_an_empty_tree():
    assert texts(draw_split_tree(recorded(mv.toy(4), (mv.GFP_KERNEL, 11))))["title"] == "Nothing was cut"


# ---------------------------------------------------------------- the map


def test_the_way_to_a_page(m512):
    assert path_of(m512, 0x1AB95) == ("node 0", "DMA32", "CPU 0 pcp", "list U", "first")
    scene = draw_map(m512, pfn=0x1AB95)
    assert {"box pcp", "box list", "box page", "block 0x1ab95", "pcp 0 UNMOVABLE"} <= touched(scene)
    assert path_of(m512, 0x1A500)[2:] == ("free area", "order 10 list M", "first")
    rec = recorded(mv.toy(4), (mv.GFP_KERNEL, 3))
    assert path_of(rec.live, 0x1005)[2:] == ("on no list", "handed out: 0x1000, order 3")


@pytest.mark.parametrize("here", BOXES)
def test_you_are_here(here):
    scene = draw_map(mv.toy(64), here=here)
    assert f"box {here}" in touched(scene) and texts(scene)["here"] == "you are here"
    assert touched(scene) == {f"box {here}"}


def test_the_map_has_a_node_around_the_zone_and_a_page_in_its_box():
    drawn = rects(draw_map(mv.toy(64)))
    node, zone = drawn["node frame"], drawn["zone"]
    assert node.x < zone.x and node.y < zone.y and node.x + node.width > zone.x + zone.width
    assert node.y + node.height > zone.y + zone.height
    assert drawn["page"].label == "0x4c00"


def test_the_way_back_has_its_arrows_the_other_way():
    there, back = ({m.key: m for m in draw_map(mv.toy(64), back=b).marks} for b in (False, True))
    assert "on the way back" in back["remark"].text and "on the way back" not in there["remark"].text
    for name in ("list to page", "pcp to list", "free area to list"):
        assert there[name].x < there[name].x2 and back[name].x > back[name].x2
    assert "to zone" in there and "to zone" not in back


def test_drawings_bind_their_options():
    rec = RECORDINGS["numa"]()
    for draw in (draw_frames, draw_free_area, draw_pcp, draw_watermarks, draw_map):
        assert "N1/DMA32" in partial(draw, zone="DMA32", nid=1)(rec.at(0)).alt
    assert zone_of(mv.duo()).nid == 0 and zone_of(mv.duo(), "N1/DMA32").nid == 1
