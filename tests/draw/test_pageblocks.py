"""The pageblocks of a zone: owners, what is off the lists, what is whole."""
import mmviz as mv
from mmviz.draw.pageblocks import draw_pageblocks
from mmviz.draw.scene import Rect
from mmviz.draw.style import free, used


def rects(scene):
    return {mark.key: mark for mark in scene.marks if isinstance(mark, Rect)}


def test_a_cell_for_each_pageblock_with_the_type_of_its_owner():
    machine = mv.toy(64)
    for gfp in (mv.GFP_HIGHUSER_MOVABLE, mv.GFP_KERNEL):
        mv.alloc_pages(machine, gfp, 0)
    drawn = rects(draw_pageblocks(machine))
    cells = {key: mark for key, mark in drawn.items() if key.startswith("pageblock")}
    assert len(cells) == 32
    assert [key for key, mark in cells.items() if mark.meaning == free("U")] == ["pageblock 0x4800", "pageblock 0x4a00"]
    assert {key: mark.label for key, mark in cells.items() if len(mark.label) > 1} == {
        "pageblock 0x4800": "U 3", "pageblock 0x4c00": "M 3"}
    assert {key for key in drawn if key.startswith("bar")} == {"bar 0x4800", "bar 0x4c00"}
    assert drawn["bar 0x4c00"].meaning == used("M") and drawn["bar 0x4c00"].width >= 2


def test_the_bar_is_as_long_as_what_is_off_the_lists():
    machine = mv.toy(4)
    mv.alloc_pages(machine, mv.GFP_KERNEL, 8)
    drawn = rects(draw_pageblocks(machine))
    assert drawn["bar 0x1000"].width == drawn["pageblock 0x1000"].width / 2
    assert drawn["pageblock 0x1000"].label == "U 256" and drawn["pageblock 0x1200"].label == "U"


def test_the_words_count_owners_and_whole_pageblocks():
    machine = mv.toy(64)
    mv.alloc_pages(machine, mv.GFP_KERNEL, 9)
    assert draw_pageblocks(machine).words == "Pageblocks of zone DMA32: 30 MOVABLE, 2 UNMOVABLE; 31 of 32 are whole."


def test_what_a_step_touches():
    machine = mv.toy(64)
    with mv.record(machine) as rec:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    for step in rec.select(mv.events.SetPageblockMigratetype):
        drawn = rects(draw_pageblocks(rec.at(step.number + 1), step))
        (touched,) = [key for key, mark in drawn.items() if mark.touched]
        assert touched == f"pageblock {step.event.pfn:#x}" and drawn[touched].meaning == free("U")


def test_a_zone_that_begins_and_ends_within_a_pageblock():
    machine = mv.boot([("DMA", 0x1, 0x2FE)])
    scene = draw_pageblocks(machine)
    assert scene.words.endswith("2 of 2 are whole.") and "0x1 to 0x1ff" in rects(scene)["pageblock 0x0"].tip


def test_a_cell_of_a_large_zone_is_several_pageblocks():
    machine = mv.toy(4096)
    for _ in range(2):
        mv.alloc_pages(machine, mv.GFP_KERNEL, 10)
    assert not [mark for mark in rects(draw_pageblocks(machine)).values() if mark.meaning == free("U")]  # 4 of 8
    mv.alloc_pages(machine, mv.GFP_KERNEL, 10)
    scene = draw_pageblocks(machine)
    remark = next(mark.text for mark in scene.marks if mark.key == "remark")
    assert "a cell is 8 pageblocks of 4,096 pages" in remark and len(list(scene.marks)) < 1000
    cells = rects(scene)
    assert [mark.label for key, mark in cells.items() if mark.meaning == free("U")] == ["U"]  # no room for a number
    assert "1,024 of 4,096 pages on the free lists" in cells["bar 0x100000"].tip
    assert len([key for key in cells if key.startswith("pageblock")]) == 256
