"""The drawings of slabs: what each shows of SLUB, SLAB and SLOB, at every step, and what /proc/slabinfo adds."""

import re
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

import mmviz as mv
from mmviz.draw.cache import draw_cache
from mmviz.draw.scene import Arrow, Rect, Text
from mmviz.draw.size_classes import draw_size_classes, size_classes
from mmviz.draw.slab import draw_slab
from mmviz.draw.slab_reading import FREE, MINE, USED, places, views
from mmviz.draw.slob_page import draw_slob_page
from mmviz.draw.style import HOLE, free, pcp, used

SLABINFO = Path(__file__).parents[2] / "data" / "proc" / "m512" / "slabinfo"
GFP = mv.GFP_NOWAIT


def machine_of(slab, cpus=(0, 0), mib=4):
    return mv.toy(mib, cpus=cpus, config=mv.Config(slab=slab))


def story(slab):
    """Requests of several sizes on two CPUs, frees by both, large and none."""
    machine = machine_of(slab)
    with mv.record(machine) as recording:
        held = [mv.kmalloc(machine, size, GFP) for size in (64, 64, 90, 256, 5000, 64, 300, 9000)]
        mv.set_current(machine, 1)
        for address in held[:4]:
            mv.kfree(machine, address)
        mv.kmalloc(machine, 64, GFP)
        mv.kmalloc(machine, 0, GFP)
    return recording


@pytest.fixture(scope="module", params=["SLUB", "SLAB", "SLOB"])
def rec(request):
    return story(request.param)


def rects(scene):
    return {mark.key: mark for mark in scene.marks if isinstance(mark, Rect)}


def texts(scene):
    return {mark.key: mark.text for mark in scene.marks if isinstance(mark, Text)}


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("draw", [draw_slab, draw_cache, draw_slob_page])
def test_every_step_can_be_drawn(rec, draw):
    before = mv.Machine.from_dict(rec.at(len(rec)).to_dict())
    for number, state in enumerate(rec.states()):
        scene = draw(state, rec[number - 1] if number else None)
        if number % 5 == 0:
            ElementTree.fromstring(scene.svg())
        for mark in scene.marks:
            if isinstance(mark, Rect):
                assert 0 <= mark.x <= mark.x + mark.width <= scene.width + 0.01, mark.key
                assert 0 <= mark.y <= mark.y + mark.height <= scene.height + 0.01, mark.key
        assert scene.alt.count("  ") == 0 and scene.words.endswith(".")
    assert rec.at(len(rec)) == before


@pytest.mark.parametrize("draw", [draw_slab, draw_cache, draw_slob_page])
def test_before_the_first_request_there_is_nothing_to_see(draw):
    assert len(list(draw(mv.toy(4)).marks)) == 2


@pytest.mark.parametrize("draw", [draw_slab, draw_cache])
def test_the_same_state_gives_the_same_bytes(rec, draw):
    assert draw(rec.at(len(rec)), rec[-1]).svg() == draw(rec.at(len(rec)), rec[-1]).svg()


# ---------------------------------------------------------------- one slab


def test_71_the_free_list_is_a_chain_of_arrows_and_numbers():
    machine = machine_of("SLUB", (0,))
    held = [mv.kmalloc(machine, 64, GFP) for _ in range(3)]
    mv.kfree(machine, held[1])
    mv.kfree(machine, held[0])
    scene = draw_slab(machine)
    cells = rects(scene)
    labels = [cells[f"object {held[0] + 64 * number:#x}"].label for number in range(5)]
    assert labels == ["1", "2", "", "3", "4"]
    meanings = [cells[f"object {address:#x}"].meaning for address in held]
    assert meanings == [pcp("U"), pcp("U"), used("U")]
    arrows = {mark.key: mark for mark in scene.marks if isinstance(mark, Arrow)}
    first, second = (cells[f"object {address:#x}"] for address in held[:2])
    hop = arrows[f"next CPU 0: c->freelist {held[0]:#x}"]
    assert (hop.x, hop.x2) == (first.x + (first.width + 1) / 2, second.x + (second.width + 1) / 2)
    assert "first CPU 0: c->freelist" in arrows


def test_what_another_cpu_freed_is_on_the_list_of_the_slab():
    machine = machine_of("SLUB")
    held = [mv.kmalloc(machine, 256, GFP) for _ in range(4)]
    mv.set_current(machine, 1)
    with mv.record(machine) as recording:
        mv.kfree(machine, held[2])
    (view,) = views(machine, "kmalloc-256")
    assert [view.state.count(state) for state in (USED, MINE, FREE)] == [3, 12, 1]
    assert [chain.objects[0] for chain in view.chains] == [4, 2]
    scene = draw_slab(machine, recording[-1])
    assert rects(scene)[f"object {held[2]:#x}"].meaning == free("U")
    drawn = [draw_slab(recording.at(n + 1), recording[n]) for n in range(len(recording))]
    assert any(rects(each)[f"object {held[2]:#x}"].touched for each in drawn)


def test_padding_and_what_is_left_over_are_hatched():
    machine = machine_of("SLUB", (0,))
    mv.kmem_cache_create(machine, "thirteen", 13)
    mv.kmem_cache_alloc(machine, "thirteen", GFP)
    cells = rects(draw_slab(machine))
    assert sum(mark.meaning == HOLE for mark in cells.values()) == 256
    mv.kmalloc(machine, 90, GFP)
    rest = rects(draw_slab(machine, cache="kmalloc-96"))["rest"]
    assert rest.meaning == HOLE and "64 bytes" in rest.tip


def test_a_slab_is_chosen_by_the_step_or_by_hand():
    machine = machine_of("SLUB", (0,))
    held = [mv.kmalloc(machine, 1024, GFP) for _ in range(17)]
    with mv.record(machine) as recording:
        mv.kfree(machine, held[0])
    assert "Slab 0x1000" in draw_slab(machine, recording[0]).title
    assert f"Slab {views(machine, 'kmalloc-1k')[2].pfn:#x}" in draw_slab(machine).title
    assert "Slab 0x1002" in draw_slab(machine, pfn=0x1002).title
    with pytest.raises(ValueError, match=r"first page of a slab of kmalloc-1k: 0x1000, .*got 0x1001"):
        draw_slab(machine, cache="kmalloc-1k", pfn=0x1001)
    with pytest.raises(ValueError, match=r"cache must be one of .*, got 'kmalloc-3'"):
        draw_slab(machine, cache="kmalloc-3")
    assert draw_slab(machine, cache="kmalloc-8").title == "No slab of kmalloc-8"


def test_a_list_that_bites_its_tail_is_drawn_so_and_what_is_lost_is_counted():
    """After a double free the list never ends, and the 63 other free objects are on no list."""
    machine = machine_of("SLUB", (0,))
    machine.strict = False
    held = [mv.kmalloc(machine, 64, GFP) for _ in range(2)]
    assert [chain.bites for chain in views(machine, "kmalloc-64")[0].chains] == [-1]
    mv.kfree(machine, held[0])
    mv.kfree(machine, held[0])
    scene = draw_slab(machine)
    loops = [mark for mark in scene.marks if isinstance(mark, Arrow) and mark.key.endswith("again")]
    assert len(loops) == 1 and loops[0].y == loops[0].y2
    assert "62 on no list, lost" in texts(scene)["remark"] and "0, then 0 again, without end" in scene.alt
    mv.kfree(machine, held[1])
    mv.kfree(machine, held[0])
    (view,) = views(machine, "kmalloc-64")
    assert view.chains[0].objects == (0, 1) and view.chains[0].bites == 0
    assert any(isinstance(mark, Arrow) and "again" in mark.key for mark in draw_slab(machine).marks)


def test_an_array_is_no_list():
    machine = machine_of("SLAB", (0,))
    mv.kmalloc(machine, 256, GFP)
    scene = draw_slab(machine)
    assert [mark.key for mark in scene.marks if isinstance(mark, Arrow)] == ["first CPU 0: array"]
    assert "on node 0's full list (the other 15 are in arrays)" in texts(scene)["remark"]


# ---------------------------------------------------------------- a cache


def test_72_slabs_stand_on_the_lists_that_they_are_on():
    machine = machine_of("SLUB", (0,), 64)
    held = [mv.kmalloc(machine, 4096, GFP) for _ in range(44)]
    for number in (0, 16, 24, 32):
        mv.kfree(machine, held[number])
    found = {lane: [view.pfn for view in slabs] for lane, slabs in places(machine, "kmalloc-4k")}
    a, c, d, e = ((held[number] - machine.config.page_offset) >> 12 for number in (0, 16, 24, 32))
    assert found["CPU 0 partial"] == [e] and found["node 0 partial"] == [d, c, a]
    said = texts(draw_cache(machine))
    assert said[f"slab {a:#x}"] == f"{a:#x} 7/8" and said["count node 0 partial"] == "3 slabs"
    x = {key: mark.x for key, mark in rects(draw_cache(machine)).items()}
    assert x[f"slab {d:#x} {USED}"] < x[f"slab {c:#x} {USED}"] < x[f"slab {a:#x} {USED}"]


def test_a_slab_on_its_way_is_not_called_full():
    machine = machine_of("SLUB", (0,))
    held = [mv.kmalloc(machine, 256, GFP) for _ in range(32)]
    mv.set_current(machine, 0)
    with mv.record(machine) as recording:
        mv.kfree(machine, held[0])
    names = [texts(draw_cache(state))["name full"] for state in recording.states()]
    assert names[0] == names[-1] == "full, on no list" and "on no list" in names
    remarks = {texts(draw_slab(state, pfn=0x1000))["remark"].split(";")[0] for state in recording.states()}
    assert "order 0, on no list: on its way" in remarks


def test_it_says_where_an_object_stands():
    machine = machine_of("SLUB", (0,))
    held = [mv.kmalloc(machine, 64, GFP) for _ in range(3)]
    mv.kfree(machine, held[1])
    assert texts(draw_cache(machine, address=held[0]))["object"] == "Object 0 of slab 0x1000 is in use."
    assert texts(draw_cache(machine, address=held[1]))["object"] == \
        "Object 1 of slab 0x1000 is on a CPU's list: CPU 0: c->freelist, number 1."
    assert texts(draw_cache(machine))["object"] == ""


def test_a_long_list_is_cut_and_counted():
    machine = machine_of("SLUB", (0,))
    for _ in range(20 * 16):
        mv.kmalloc(machine, 256, GFP)
    assert texts(draw_cache(machine))["more full"] == "13 more"


def test_slab_has_arrays_before_its_slabs():
    machine = machine_of("SLAB")
    held = [mv.kmalloc(machine, 256, GFP) for _ in range(130)]
    for address in held[:122]:
        mv.kfree(machine, address)
    said = texts(draw_cache(machine))
    assert [said[f"count {name}"] for name in ("cpu 0", "cpu 1", "shared 0")] == ["76 of 120", "0 of 120", "60 of 480"]
    assert re.search(r"array for|shared array", draw_slab(machine, pfn=0x1000).alt)


def test_an_array_for_another_node_has_a_name():
    machine = mv.boot([("DMA32", 0x1000, 0x400, 0), ("DMA32", 0x1400, 0x400, 1)], config=mv.Config(slab="SLAB"))
    mv.kfree(machine, mv.kmalloc_node(machine, 256, GFP, 1))
    assert "node 0: array for node 1" in draw_slab(machine).alt


# ---------------------------------------------------------------- SLOB


def test_76_headers_objects_and_free_blocks_fill_the_page():
    machine = machine_of("SLOB", (0,))
    for size in (100, 64, 24, 64):
        mv.kmalloc(machine, size, GFP)
    scene = draw_slob_page(machine)
    marks = [mark for key, mark in rects(scene).items() if key.startswith(("header", "object", "free"))]
    whole = sum(mark.width for mark in marks)
    row = 512 * (marks[0].width / 8 if marks[0].key.startswith("header") else 820 / 512)
    assert whole / 8 == pytest.approx(max(mark.x + mark.width for mark in marks) - min(mark.x for mark in marks))
    assert row
    assert rects(scene)["object 0x8"].label == "100" and rects(scene)["object 0x80"].label == "64"
    assert "next 0x6c" in {mark.key for mark in scene.marks}


def test_the_page_of_slob_is_chosen_by_the_step_or_by_hand():
    machine = machine_of("SLOB", (0,))
    held = [mv.kmalloc(machine, size, GFP) for size in (100, 300, 1024)]
    with mv.record(machine) as recording:
        mv.kfree(machine, held[1])
    assert "Page 0x1001" in draw_slob_page(recording.at(1), recording[0]).title
    assert "Page 0x1002" in draw_slob_page(machine, pfn=0x1002).title
    with pytest.raises(ValueError, match=r"a page of SLOB: 0x1000, 0x1002; got 0x1001"):
        draw_slob_page(machine, pfn=0x1001)
    for _ in range(40):
        mv.kmalloc(machine, 3000, GFP)
    assert texts(draw_slob_page(machine))["more 2"]


# ---------------------------------------------------------------- size classes


def test_the_teeth_are_the_core_s_own_waste():
    machine = machine_of("SLUB", (0,))
    sizes = [each.size for each in size_classes(machine)]
    assert sizes == [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192]
    for asked in (1, 65, 100, 129, 300, 4097):
        address = mv.kmalloc(machine, asked, GFP)
        assert mv.ksize(machine, address) == next(size for size in sizes if size >= asked)
    assert "at most 50%, first at 257 bytes" in texts(draw_size_classes(machine))["remark"]


def test_order_objects_and_use_of_each_class():
    machine = machine_of("SLUB", (0,))
    for _ in range(3):
        mv.kmalloc(machine, 100, GFP)
    found = {each.name: each for each in size_classes(machine)}
    assert found["kmalloc-128"] == ("kmalloc-128", 128, 0, 32, 3, 32)
    assert found["kmalloc-2k"][2:] == (2, 8, 0, 0)
    slab = {each.name: each[2:4] for each in size_classes(machine_of("SLAB", (0,)))}
    assert slab["kmalloc-32"] == (0, 124) and len(slab) == 11


def test_a_real_kernel_s_slabinfo_gives_the_same_picture():
    lines = mv.read_slabinfo(SLABINFO)
    real, ours = size_classes(lines), size_classes(mv.toy(64))
    assert [each[:4] for each in real] == [each[:4] for each in ours]
    scene = draw_size_classes(lines)
    assert texts(scene)["count kmalloc-64"] == "6,848 of 6,848 in use"
    ElementTree.fromstring(scene.svg())


def test_slob_has_no_classes():
    with pytest.raises(ValueError, match="a machine with SLUB or SLAB"):
        draw_size_classes(machine_of("SLOB"))


def test_a_picture_of_classes_can_be_plotted(tmp_path):
    draw_size_classes(mv.toy(4)).savefig(tmp_path / "classes.svg")
    assert (tmp_path / "classes.svg").stat().st_size > 5000
    assert partial(draw_size_classes)(mv.toy(4), None).title.startswith("Size classes: 13")
