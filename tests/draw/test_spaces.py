"""The drawings of address spaces: bits, tables, walks, mappings, references."""
from xml.etree import ElementTree

import pytest

import mmviz as mv
from mmviz.draw import style
from mmviz.draw.address_split import draw_address_split
from mmviz.draw.refcounts import draw_refcounts, held
from mmviz.draw.scene import Rect, Text
from mmviz.draw.spaces import entries_of, grouped, size_words, space_of
from mmviz.draw.tables import draw_tables, table_graph
from mmviz.draw.vmas import draw_vmas
from mmviz.draw.walk import draw_walk
from mmviz.kernel import I386
from mmviz.mm.geometry import geometry_of
from mmviz.mm.pgalloc import mm_alloc, p4d_alloc, pmd_alloc, pte_alloc_map, pud_alloc
from mmviz.mm.pgtable import pfn_pte, pgd_offset, pte_mkspecial, vm_get_page_prot
from mmviz.mm.shmem import shmem_file_setup, shmem_getpage_gfp, shmem_setattr
from mmviz.mm.swap import lru_add_drain
from mmviz.mm.vm import add_mapcount, pagevec_add, set_page_mapping, set_pte_at, vm
from mmviz.mm.vma import __vma_link, set_vm_file, vm_area_alloc
from mmviz.mm.zone import page_ref_add

BASE = 0x7F00001FF000
RW_PRIVATE, R_SHARED = 0x100073, 0xF9


def new_vma(machine, pid, start, pages, flags, file=0):
    number = vm(machine).next_vma
    vm_area_alloc(machine, number, pid, start, start + (pages << 12), flags, vm_get_page_prot(machine, flags), 0)
    if file:
        set_vm_file(machine, number, file, "shmem")
    __vma_link(machine, number)
    return vm(machine).vma[number]


def new_pte(machine, mm, vaddr, pfn, kind="anon"):
    """Map a frame, as a fault would: its tables, its entry, its counts."""
    pmd = pmd_alloc(machine, mm, pud_alloc(machine, mm, p4d_alloc(machine, mm, pgd_offset(machine, mm, vaddr), vaddr),
                                           vaddr), vaddr)
    pointer = pte_alloc_map(machine, mm, pmd, vaddr)
    entry = pfn_pte(geometry_of(machine), pfn, vm_get_page_prot(machine, RW_PRIVATE))
    if kind == "anon":
        add_mapcount(machine, pfn, 1)
        set_page_mapping(machine, pfn, "anon", 1, vaddr >> 12)
    set_pte_at(machine, mm.pid, vaddr, pointer, entry if kind == "anon" else pte_mkspecial(entry))


def page(machine):
    return mv.alloc_pages(machine, mv.GFP_HIGHUSER_MOVABLE, 0)


def family(machine, base=BASE):
    """A parent and its child: two pages shared, one that the child has copied, the zero page, and a pin."""
    parent, child = mm_alloc(machine, 1, "parent"), mm_alloc(machine, 2, "child")
    for mm in (parent, child):
        new_vma(machine, mm.pid, base, 8, RW_PRIVATE)
        new_vma(machine, mm.pid, base + 0x100000, 200, R_SHARED)
    shared = [page(machine) for _ in range(2)]
    for mm in (parent, child):
        for i, pfn in enumerate(shared):
            new_pte(machine, mm, base + (i << 12), pfn)
        new_pte(machine, mm, base + 0x3000, vm(machine).zero_pfn, "zero")
        new_pte(machine, mm, base + 0x2000, page(machine))
    page_ref_add(machine.populated[-1] if shared[0] >= machine.populated[-1].zone_start_pfn else machine.populated[0],
                 shared[0], 2)
    pagevec_add(machine, 0, shared[0])
    return parent, child


def two_processes():
    machine = mv.toy(4)
    with mv.record(machine) as rec:
        family(machine)
    return rec


def on_i386():
    machine = mv.boot([("DMA", 0x1, 0xFFF), ("Normal", 0x1000, 0x1000)], config=I386)
    with mv.record(machine) as rec:
        family(machine, 0x50001000)
    return rec


RECORDINGS = {"64": two_processes, "32": on_i386}
DRAWINGS = [draw_tables, draw_address_split, draw_walk, draw_vmas, draw_refcounts]


@pytest.fixture(scope="module", params=RECORDINGS)
def rec(request):
    return RECORDINGS[request.param]()


def states(rec):
    """From the first process on."""
    first = next(i for i in range(len(rec) + 1) if len(vm_part(rec.at(i))) > 1)
    return [(rec.at(i), rec[i - 1] if i else None) for i in range(first, len(rec) + 1)]


def vm_part(state):
    return state.parts["vm"].mm if "vm" in state.parts else {}


def rects(scene):
    return {mark.key: mark for mark in scene.marks if isinstance(mark, Rect)}


def texts(scene):
    return {mark.key: mark.text for mark in scene.marks if isinstance(mark, Text)}


def touched(scene):
    return {mark.key for mark in scene.marks if mark.touched}


# ---------------------------------------------------------------- what all of them keep to


@pytest.mark.parametrize("draw", DRAWINGS)
def test_every_step_is_drawn_and_changes_nothing(rec, draw):
    for state, step in states(rec):
        before = state.to_dict()
        scene = draw(state, step)
        assert 0 < len(scene.marks) <= 1000
        assert scene.title and scene.words.endswith(".")
        assert state.to_dict() == before


@pytest.mark.parametrize("draw", DRAWINGS)
def test_the_svg_is_well_formed_and_the_same_each_time(rec, draw):
    first, second = (draw(rec.at(len(rec)), rec[-1]).svg() for _ in range(2))
    assert first == second
    assert ElementTree.fromstring(first).get("role") == "img"


@pytest.mark.parametrize("draw", DRAWINGS)
def test_blocks_do_not_overlap_and_stay_inside(rec, draw):
    for state, step in states(rec)[::7]:
        scene = draw(state, step)
        boxes = [mark for mark in scene.marks if isinstance(mark, Rect) and mark.layer is None]
        for i, one in enumerate(boxes):
            assert one.x >= 0 and one.x + one.width <= scene.width and one.y + one.height <= scene.height, one
            for other in boxes[i + 1:]:
                apart = (one.x + one.width <= other.x + 0.01 or other.x + other.width <= one.x + 0.01
                         or one.y + one.height <= other.y + 0.01 or other.y + other.height <= one.y + 0.01)
                assert apart, (one, other)


@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize("state", [None, "toy"])
def test_a_state_without_processes_is_refused(draw, state):
    with pytest.raises(ValueError, match="state must be a Machine with processes"):
        draw(mv.toy(4) if state else None)


@pytest.mark.parametrize("draw", [draw_tables, draw_address_split, draw_walk, draw_vmas])
def test_another_process_is_drawn_when_asked_for(rec, draw):
    assert draw(rec.live, mm=2).svg() != draw(rec.live, mm=1).svg() or draw is draw_address_split
    with pytest.raises(ValueError, match="mm must be one of 1, 2, got 7"):
        draw(rec.live, mm=7)


@pytest.mark.parametrize("draw", DRAWINGS)
def test_the_stepper_takes_them(draw):
    machine = mv.toy(4)
    mm = mm_alloc(machine, 1, "writer")
    new_vma(machine, 1, BASE, 8, RW_PRIVATE)
    with mv.record(machine) as rec:
        new_pte(machine, mm, BASE, page(machine))
    assert len(mv.Stepper(rec, draw).html()) < 60_000


# ---------------------------------------------------------------- bits


def test_the_indices_are_those_of_the_worked_examples():
    scene = draw_address_split(0x7F123456789A)
    boxes = rects(scene)
    assert [boxes[f"x86-64 {name}"].label for name in ("pgd", "pud", "pmd", "pte", "offset")] == [
        "pgd 254", "pud 72", "pmd 418", "pte 359", "0x89a"]
    assert boxes["x86-64 5-level p4d"].label == "p4d 254"
    assert boxes["i386 refused"].meaning == style.REFUSED
    narrow = rects(draw_address_split(0xB7FD1234))
    assert [narrow[f"i386 PAE {name}"].label for name in ("pgd", "pmd", "pte")] == ["2", "pmd 447", "pte 465"]
    assert "i386 sign" not in narrow and "x86-64 sign" in narrow


def test_bit_0_stands_at_the_right_under_every_geometry():
    boxes = rects(draw_address_split(0x50001000))
    ends = {round(boxes[f"{name} offset"].x + boxes[f"{name} offset"].width, 3) for name in
            ("x86-64", "x86-64 5-level", "i386", "i386 PAE")}
    assert len(ends) == 1
    digits = texts(draw_address_split(0x50001000))
    assert digits["i386 pgd digits"] == "0101000000" and int(digits["i386 pte digits"], 2) == 1


def test_one_geometry_can_be_chosen():
    assert set(rects(draw_address_split(0x1000, geometry="i386"))) == {"i386 pgd", "i386 pte", "i386 offset"}
    with pytest.raises(ValueError, match="geometry must be one of x86-64"):
        draw_address_split(0x1000, geometry="vax")


@pytest.mark.parametrize("vaddr", [-1, 1 << 64, True])
def test_what_is_no_address_is_refused(vaddr):
    with pytest.raises(ValueError, match="an address must be an int"):
        draw_address_split(vaddr)


def test_the_level_that_was_written_is_touched():
    rec = two_processes()
    for kind, level in (("SetP4d", "pgd"), ("SetPud", "pud"), ("SetPmd", "pmd"), ("SetPteAt", "pte")):
        step = next(step for step in rec if type(step.event).__name__ == kind)
        scene = draw_address_split(rec.at(step.number + 1), step)
        assert touched(scene) == {f"x86-64 {level}"}
    rec = on_i386()  # a folded level is the one above it
    step = next(step for step in rec if type(step.event).__name__ == "SetPmd")
    assert touched(draw_address_split(rec.at(step.number + 1), step)) == {"i386 pgd"}


# ---------------------------------------------------------------- a walk


def test_a_walk_ends_at_the_page_or_at_an_empty_entry():
    rec = two_processes()
    scene = draw_walk(rec.live, vaddr=BASE)
    assert {"table pgd 254", "table pud 0", "table pmd 0", "table pte 511"} < touched(scene)
    frame = next(key for key in touched(scene) if key.startswith("page "))
    assert scene.words.endswith("anonymous page.") and frame.removeprefix("page ") in scene.words
    hole = draw_walk(rec.live, vaddr=BASE + 0x7000)
    assert rects(hole)["fault"].meaning == style.REFUSED and hole.words.endswith("is empty: a page fault.")
    assert "the zero page" in draw_walk(rec.live, vaddr=BASE + 0x3000).words
    with pytest.raises(ValueError, match="vaddr must be an int from 0 to"):
        draw_walk(rec.live, vaddr=-1)


# ---------------------------------------------------------------- the tree


def test_the_tree_has_what_exists_and_joins_what_is_shared():
    rec = two_processes()
    state = rec.live
    graph = table_graph(state, [state.parts["vm"].mm[1], state.parts["vm"].mm[2]])
    tables = [node for node in graph if node[0] != "frame"]
    assert len(tables) == len(state.parts["vm"].tables) - 1  # all but swapper_pg_dir
    frames = {node: graph.in_degree(node) for node in graph if node[0] == "frame"}
    assert sorted(frames.values()) == [1, 1, 2, 2, 2]
    assert graph.out_degree(("pgd", state.parts["vm"].mm[1].pgd, 0)) == 1
    scene = draw_tables(state)
    assert sum(text == "×2" for text in texts(scene).values()) == 3
    assert scene.words.endswith("3 frames are shared by tables.")


def test_the_way_of_an_address_is_in_ink():
    rec = two_processes()
    assert touched(draw_tables(rec.live)) == set()
    ink = touched(draw_tables(rec.live, mm=2, vaddr=BASE))
    assert sum(key.startswith("table ") for key in ink) == 4 and sum(key.startswith("edge ") for key in ink) == 4
    assert sum(key.startswith("frame ") for key in ink) == 1


def test_many_pages_are_bundled():
    machine = mv.toy(64)
    mm = mm_alloc(machine, 1, "writer")
    new_vma(machine, 1, BASE, 64, RW_PRIVATE)
    for i in range(40):
        new_pte(machine, mm, BASE + (i << 12), page(machine))
    scene = draw_tables(machine)
    labels = [mark.label for key, mark in rects(scene).items() if key.startswith("bundle ")]
    assert labels == ["×1", "×39"]


# ---------------------------------------------------------------- mappings


def test_mappings_are_drawn_from_the_bottom_up_with_their_holes():
    rec = two_processes()
    scene = draw_vmas(rec.live, mm=1)
    boxes = [mark for key, mark in rects(scene).items() if key.startswith("vma ")]
    assert len(boxes) == 2 and boxes[0].y > boxes[1].y
    assert texts(scene)["vma 1 rights"] == "rw-p" and texts(scene)["vma 2 rights"] == "r--s"
    assert texts(scene)["vma 1 flags"] == "ac" and texts(scene)["vma 2 flags"] == "no other flag; a cell is 4 pages"
    assert [text for key, text in texts(scene).items() if key.startswith("hole")] == ["hole of 992 KiB"]


def test_a_cell_is_a_page_and_says_what_is_there():
    rec = two_processes()
    cells = {key: mark for key, mark in rects(draw_vmas(rec.live, mm=1)).items() if key.startswith("page ")}
    assert cells[f"page 1 {BASE:#x}"].meaning == style.used("M")
    assert cells[f"page 1 {BASE + 0x3000:#x}"].meaning == style.used()
    assert cells[f"page 1 {BASE + 0x4000:#x}"].meaning == style.BOX
    assert sum(mark.y < cells[f"page 1 {BASE:#x}"].y for mark in cells.values()) == 50  # 200 pages in cells of four


def test_the_mapping_that_a_step_is_about_is_touched():
    rec = two_processes()
    step = next(step for step in rec if type(step.event).__name__ == "SetPteAt")
    assert {key for key in touched(draw_vmas(rec.at(step.number + 1), step)) if key.startswith("vma")} == {"vma 1"}


# ---------------------------------------------------------------- references


def test_every_reference_has_its_holder():
    rec = two_processes()
    state = rec.live
    shared = next(entry.pfn for entry in entries_of(state, space_of(state)))
    page = held(state, shared)
    assert (page.refs, page.mapped, page.in_pagevec, page.pins) == (3, 2, 1, 0)
    scene = draw_refcounts(state)
    labels = [mark.label for key, mark in rects(scene).items() if key.startswith(f"frame {shared:#x} ref")]
    assert labels == ["m", "m", "v"]
    assert f"frame {shared:#x} has 3 references: 2 by mappings, 1 by a pagevec" in scene.words


def test_a_pin_is_what_is_left_over_and_too_few_references_are_seen():
    machine = mv.toy(4)
    mm = mm_alloc(machine, 1, "writer")
    pfn = page(machine)
    new_pte(machine, mm, BASE, pfn)
    page_ref_add(machine.zone("DMA32"), pfn, 1)
    assert held(machine, pfn).pins == 1
    assert rects(draw_refcounts(machine))[f"frame {pfn:#x} ref 1"].meaning == style.RECLAIM
    page_ref_add(machine.zone("DMA32"), pfn, -1)
    add_mapcount(machine, pfn, 1)
    assert f"frame {pfn:#x} short" in rects(draw_refcounts(machine))


def test_a_pin_is_seen_when_the_file_has_let_go_of_the_page():
    machine = mv.toy(4)
    file = shmem_file_setup(machine, "f", 1)
    pfn = shmem_getpage_gfp(machine, vm(machine).inode[file], 0)  # its reference is the pin
    lru_add_drain(machine)
    shmem_setattr(machine, file, 0)
    page = held(machine, pfn)
    assert (page.kind, page.refs, page.cached, page.pins) == ("file", 1, 0, 1)
    assert f"frame {pfn:#x} has 1 references: 1 by pins" in draw_refcounts(machine).words


def test_a_page_that_is_free_is_called_so():
    machine = mv.toy(64)
    mm = mm_alloc(machine, 1, "writer")
    pfn = page(machine)
    new_pte(machine, mm, BASE, pfn)
    piled = machine.zone("DMA32").pageset[0].lists[0][0]
    shown = texts(draw_refcounts(machine, pfns=[pfn, 0x1000, piled]))
    assert [shown[f"frame {each:#x} kind"] for each in (pfn, 0x1000, piled)] == \
        ["anonymous page", "free page", "free page"]


def test_an_index_stands_where_no_line_crosses_it():
    rec = two_processes()
    scene = draw_tables(rec.live)
    shared = next(entry.pfn for entry in entries_of(rec.live, space_of(rec.live)))
    index = next(mark for mark in scene.marks if mark.key.startswith("index ") and f"to {shared:#x} " in mark.key)
    assert index.anchor == "end", "the line of the child comes from the right"


def test_frames_can_be_chosen_and_long_lists_are_cut():
    machine = mv.toy(64)
    mm = mm_alloc(machine, 1, "writer")
    frames = [page(machine) for _ in range(20)]
    for i, pfn in enumerate(frames):
        new_pte(machine, mm, BASE + (i << 12), pfn)
    assert texts(draw_refcounts(machine))["more"] == "and 4 pages more"
    assert sum(key.endswith("kind") for key in texts(draw_refcounts(machine, pfns=frames[:3]))) == 3
    page_ref_add(machine.zone("DMA32"), frames[0], 60)
    assert any(text.startswith("+") for text in texts(draw_refcounts(machine, pfns=frames[:1])).values())


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("value, words", [(4096, "4 KiB"), (1 << 20, "1 MiB"), (3 << 39, "1.5 TiB")])
def test_sizes_in_words(value, words):
    assert size_words(value) == words


def test_addresses_are_grouped_from_the_right():
    assert (grouped(0), grouped(0x12345), grouped(0x7F00001FF000)) == ("0x0", "0x1 2345", "0x7f00 001f f000")


# ---------------------------------------------------------------- exit


@pytest.mark.parametrize("draw", [draw_tables, draw_vmas, draw_refcounts])
@pytest.mark.parametrize("forked", [True, False])
def test_every_step_of_an_exit_is_drawn(draw, forked):
    machine = mv.toy(4)
    writer = mv.mm_alloc(machine, 1, "writer")
    mv.vm_mmap_pgoff(machine, writer, 0, 0x7F0000000000, 0x2000, 3, mv.MAP_PRIVATE | mv.MAP_ANONYMOUS | mv.MAP_FIXED)
    mv.access(machine, writer, 0x7F0000000000, True)
    other = mv.dup_mm(machine, writer, 2, "child") if forked else writer
    with mv.record(machine) as rec:
        mv.mmput(machine, other)
    last = rec.select(mv.vm_events.MmDrop)[-1].number  # before this step the mm is there, its top table is not
    scenes = [draw(rec.at(i), rec[i - 1] if i else None) for i in range(last + 1)]
    assert len({scene.svg() for scene in scenes}) > 2
    if draw is draw_tables:
        assert ("table 0x1000" in rects(scenes[-1])) == forked


def test_one_mapping_is_not_called_mappings():
    rec = two_processes()
    assert texts(draw_vmas(rec.at(len(rec)), mm=1))["remark"].startswith("2 mappings")
    machine = mv.toy(4)
    mv.vm_mmap_pgoff(machine, mv.mm_alloc(machine, 1, "p"), 0, 0x10000, 0x1000, 3,
                     mv.MAP_PRIVATE | mv.MAP_ANONYMOUS | mv.MAP_FIXED)
    assert texts(draw_vmas(machine))["remark"].startswith("1 mapping,")


# ---------------------------------------------------------------- a driver's frames


def mapped_by_a_driver(how):
    """A process that maps the four pages of a driver."""
    machine = mv.toy(4)
    writer = mm_alloc(machine, 1, "writer")
    mv.vm_mmap_pgoff(machine, writer, mv.driver_open(machine), BASE, 4 << 12, 3, how | mv.MAP_FIXED, 0)
    return machine, writer


def test_a_private_mapping_of_a_driver_says_from_which_frame():
    private, shared = (mapped_by_a_driver(how)[0] for how in (mv.MAP_PRIVATE, mv.MAP_SHARED))
    assert "map from frame 0x1004" in texts(draw_vmas(private)).values()
    assert "map from page 0" in texts(draw_vmas(shared)).values()
    assert any(text.startswith("1 mapping, 4 pages; ") for text in texts(draw_vmas(shared)).values())


def test_a_table_is_held_by_the_kernel_and_a_drivers_block_by_its_first_page():
    machine, _ = mapped_by_a_driver(mv.MAP_SHARED)
    assert [(page.kind, page.refs, page.kernels) for page in (held(machine, pfn) for pfn in range(0x1003, 0x1006))] == [
        ("table", 1, 1), ("special", 1, 1), ("special", 0, 0)]
    assert {"page table", "a driver's frame"} <= set(texts(draw_refcounts(machine, pfns=[0x1003, 0x1004])).values())


def test_a_frame_that_a_driver_gave_away_is_drawn_as_what_it_became():
    machine, _ = mapped_by_a_driver(mv.MAP_SHARED)
    other = mm_alloc(machine, 2, "other")
    new_vma(machine, 2, BASE, 4, RW_PRIVATE)
    new_pte(machine, other, BASE, 0x1005)
    graph = table_graph(machine, [space_of(machine, None, pid) for pid in (1, 2)])
    assert graph.nodes["frame", 0x1005, 0]["kind"] == "anon" and graph.nodes["frame", 0x1004, 0]["kind"] == "special"


def test_the_way_stands_close_below_the_bits():
    machine, _ = mapped_by_a_driver(mv.MAP_SHARED)
    bits, both = draw_address_split(machine, vaddr=BASE), mv.draw_address(machine, vaddr=BASE)
    marks = {mark.key: mark for mark in both.marks}
    below = min(mark.y for key, mark in marks.items() if key.startswith("way "))
    lowest = max(mark.y for mark in bits.marks)
    assert lowest < below < lowest + 70
    assert both.height > max(mark.y for mark in both.marks)


def test_a_pin_shows_in_the_mapping_and_a_refused_mapping_is_touched():
    machine = mv.toy(4)
    mm = mm_alloc(machine, 1, "writer")
    mv.vm_mmap_pgoff(machine, mm, 0, BASE, 2 << 12, 3, mv.MAP_PRIVATE | mv.MAP_ANONYMOUS | mv.MAP_FIXED)
    mv.vm_mmap_pgoff(machine, mm, mv.driver_open(machine), BASE + 0x2000, 4 << 12, 3, mv.MAP_SHARED | mv.MAP_FIXED)
    mv.access(machine, mm, BASE + 0x1000, True)
    with mv.record(machine) as rec:
        mv.get_user_pages(machine, mm, BASE, 1, mv.FOLL_WRITE, [])
        mv.get_user_pages(machine, mm, BASE + 0x2000, 1, mv.FOLL_WRITE, [])
    labels = [rects(draw_vmas(machine))[f"page 1 {BASE + page * 0x1000:#x}"].label for page in range(3)]
    assert labels == ["p", "", ""]
    refused = rec.select(mv.vm_events.VmaFlagsChecked)[-1].number
    assert any(key.startswith("vma ") for key in touched(draw_vmas(rec.at(refused + 1), rec[refused])))
