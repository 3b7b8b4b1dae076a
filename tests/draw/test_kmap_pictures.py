"""The pictures of the windows to high memory: what each shows, and what all of them keep to."""
from functools import partial
from xml.etree import ElementTree

import pytest

import mmviz as mv
from mmviz.capture.kmap_log import KmapScore, load_kmap_log, replay_kmap
from mmviz.capture.load import load_capture
from mmviz.draw import style
from mmviz.draw.address_space import draw_address_space, pieces_of
from mmviz.draw.fixmap import draw_fixmap
from mmviz.draw.pkmap import draw_pkmap
from mmviz.draw.scene import Rect, Text
from mmviz.draw.style import BOX, RECLAIM, pcp, text_width, used
from mmviz.kernel import DATA
from mmviz.mm import highmem_events as ev
from mmviz.mm.init_32 import Split
from mmviz.mm.pkmap import kmap_part

A, B, C, D, E, F = range(0x1400, 0x1406)
LOW = 0x1000
DRAWINGS = {"pkmap": draw_pkmap, "fixmap": draw_fixmap, "to scale": draw_address_space,
            "scheme": partial(draw_address_space, to_scale=False)}


def recorded(machine, *calls):
    with mv.record(machine) as rec:
        for call, *arguments in calls:
            call(machine, *arguments)
    return rec


def example_65():
    return recorded(mv.kmap_toy(4), (mv.kmap, A), (mv.kmap, B), (mv.kunmap, A), (mv.kmap, C), (mv.kmap, D),
                    (mv.kmap, E), (mv.kmap, F), (mv.kunmap, B), (mv.kmap, F))


def nested():
    return recorded(mv.kmap_toy(4, cpus=4), (mv.kmap_atomic, A), (mv.kmap_atomic, B), (mv.kmap_atomic, LOW),
                    (mv.set_current, 2), (mv.kmap_atomic, C), (mv.kunmap_atomic, 0xFFF93000))


def full():
    machine = mv.kmap_toy(32)
    return recorded(machine, *[(mv.kmap, A + i) for i in range(40)], *[(mv.kunmap, A + i) for i in range(0, 30, 3)],
                    (mv.kmap, A + 40))


def carpet():
    machine = mv.kmap_toy(1024)
    for i in range(1023):
        mv.kmap(machine, A + i)
        if i % 5:
            mv.kunmap(machine, A + i)
    return recorded(machine, (mv.kmap, A), (mv.kmap, A + 1023))


RECORDINGS = {"example 65": example_65, "nested": nested, "full": full, "carpet": carpet,
              "PAE": lambda: recorded(mv.i386(1024, Split(pae=True)), (mv.kmap, 0x38000), (mv.kmap_atomic, 0x38001)),
              "all low": lambda: recorded(mv.i386(512), (mv.kmap, 0x5000))}


@pytest.fixture(scope="module", params=RECORDINGS)
def rec(request):
    return RECORDINGS[request.param]()


def some_states(rec, every=1):
    return [(rec.at(i), rec[i - 1] if i else None) for i in range(0, len(rec) + 1, every)]


def marks(scene, kind):
    return {mark.key: mark for mark in scene.marks if isinstance(mark, kind)}


def step_of(rec, kind, which=0):
    step = rec.select(kind)[which]
    return rec.at(step.number + 1), step


def touched(scene):
    return {mark.key for mark in scene.marks if mark.touched}


# ---------------------------------------------------------------- what all of them keep to


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=list(DRAWINGS))
def test_every_step_is_drawn_inside_the_picture(rec, draw):
    for state, step in some_states(rec, 1 + len(rec) // 60):
        before = state.to_dict()
        scene = draw(state, step)
        assert 0 < len(scene.marks) <= 1100 and scene.words.endswith(".") and scene.width == 900
        assert state.to_dict() == before
        for mark in scene.marks:
            x, y = mark.origin
            assert 0 <= x <= 900 and 0 <= y <= scene.height, mark.key
            if isinstance(mark, Rect):
                assert mark.x + mark.width <= 900.1 and mark.y + mark.height <= scene.height, mark.key
            if isinstance(mark, Text):
                width = text_width(mark.text, mark.meaning) * {"start": 1, "middle": 0.5, "end": 0}[mark.anchor]
                assert mark.x + width <= 905 and style.TEXTS[mark.meaning].size >= 11, mark.text


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=list(DRAWINGS))
def test_the_svg_is_well_formed_and_the_same_each_time(rec, draw):
    state, step = rec.at(len(rec)), rec[-1]
    first = draw(state, step).svg()
    assert first == draw(rec.at(len(rec)), rec[-1]).svg()
    assert ElementTree.fromstring(first).get("role") == "img"


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=list(DRAWINGS))
def test_texts_do_not_lie_on_each_other(draw):
    for machine in (mv.i386(1536), mv.i386(512), mv.kmap_toy(4), mv.kmap_toy(32, cpus=4)):
        lines = [mark for mark in draw(machine).marks if isinstance(mark, Text)]
        for i, a in enumerate(lines):
            for b in lines[i + 1:]:
                same_column = a.x == b.x and a.anchor == b.anchor
                assert not same_column or abs(a.y - b.y) >= 11, (a.text, b.text)


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=list(DRAWINGS))
def test_a_64_bit_machine_has_no_such_picture(draw):
    with pytest.raises(ValueError, match="a 64-bit machine has no windows"):
        draw(mv.toy(4))
    with pytest.raises(ValueError, match="state must be a Machine, got Recording"):
        draw(example_65())


# ---------------------------------------------------------------- the ring


def test_counts_and_meanings_of_the_slots():
    rec = example_65()
    scene = draw_pkmap(rec.at(len(rec)), rec[-1])
    slots = [mark for mark in scene.marks if mark.key.startswith("slot ")]
    assert {mark.label for mark in slots} == {"2"} and {mark.meaning for mark in slots} == {used("M")}
    swept = rec.select(ev.ZeroPkmapsSought)[0]
    before = {mark.key: mark for mark in draw_pkmap(rec.at(swept.number)).marks}
    assert [before[f"slot {nr}"].meaning for nr in range(4)] == [BOX, pcp("M"), used("M"), used("M")]
    assert before["row 1"].text == "1 0xff401000 0x1400 1: mapped, no users"
    assert before["row 0"].text == "0 0xff400000 ------ 0: free"


def test_what_a_step_touches():
    rec = example_65()
    assert touched(draw_pkmap(*step_of(rec, ev.SetLastPkmapNr))) == {"hand"}
    assert touched(draw_pkmap(*step_of(rec, ev.ZeroPkmapsSought))) == {"slot 1", "row 1", "sweep"}
    assert touched(draw_pkmap(*step_of(rec, ev.PkmapProbed))) == {"slot 1", "row 1"}
    assert touched(draw_pkmap(*step_of(rec, ev.AddWaitQueue))) == {"asleep"}
    flush = draw_pkmap(*step_of(rec, ev.TlbRangeFlushed))
    assert marks(flush, Text)["sweep"].text == "one flush of all TLBs" and touched(flush) == {"sweep"}
    assert touched(draw_pkmap(*step_of(nested(), ev.KmapAtomicIdxPush))) == set()


def test_how_a_kmap_ends():
    rec = example_65()
    ends = [marks(draw_pkmap(*step_of(rec, ev.Kmapped, which)), Rect)["outcome"] for which in (0, 5)]
    assert [(mark.label, mark.meaning) for mark in ends] == [("0x1400 at 0xff401000", used("M")),
                                                            ("0x1405: the task sleeps", RECLAIM)]
    asleep = marks(draw_pkmap(*step_of(rec, ev.AddWaitQueue)), Text)["asleep"]
    assert asleep.text == "asleep until a slot has no users: 0x1405"


def test_a_real_window_is_a_carpet():
    path = DATA / "captures" / "m1536i386" / "K1_kmap_random.snaps.gz"
    log = load_kmap_log(path, load_capture(path)[0])
    assert isinstance(replay_kmap(log), KmapScore)
    machine = log.machine()
    rec = recorded(machine, (mv.kmap, log.pages[0]["pfn"]))
    scene = draw_pkmap(machine, rec[-1])
    assert scene.words == ("1,024 slots: 1 with users, 0 mapped without users, 1,023 free. The hand is at slot 29.")
    assert marks(scene, Rect)["slot 29"].label == "2"
    assert "shows page" in marks(scene, Rect)["slot 29"].tip


# ---------------------------------------------------------------- the piles


def test_the_pile_grows_downward():
    rec = nested()
    scene = draw_fixmap(rec.at(len(rec)), rec[-1])
    boxes = marks(scene, Rect)
    assert boxes["fixmap 0xfffbb000"].label == f"{A:#x}" and boxes["fixmap 0xfffba000"].label == f"{B:#x}"
    assert boxes["fixmap 0xfffbb000"].y < boxes["fixmap 0xfffba000"].y
    assert [boxes[f"manners {cpu}"].label for cpu in range(4)] == ["may not sleep (3)", "may sleep", "may sleep",
                                                                  "may sleep"]
    assert marks(scene, Text)["cpu 2"].text == "CPU 2 (runs)"
    assert touched(draw_fixmap(*step_of(rec, ev.KmapAtomicIdxPush))) == {"top 0"}
    assert touched(draw_fixmap(*step_of(rec, ev.TlbEntryFlushed))) == {"fixmap 0xfff93000"}
    assert touched(draw_fixmap(*step_of(rec, ev.PagefaultDisable))) == {"manners 0"}


def test_a_deep_pile_is_drawn_whole():
    machine = mv.kmap_toy(4)
    for _ in range(20):
        mv.kmap_atomic(machine, A)
    assert sum(mark.label == f"{A:#x}" for mark in marks(draw_fixmap(machine), Rect).values()) == 20


# ---------------------------------------------------------------- the address space


def test_the_pieces_are_where_the_build_puts_them():
    split = Split(nr_cpus=4, apei_ghes=False)
    machine = mv.i386(1536, split)
    pieces = {piece.name: piece for piece in pieces_of(machine, kmap_part(machine).windows)}
    assert pieces["pkmap"].start == split.pkmap_base and pieces["LDT"].start == split.ldt_base
    assert pieces["cpu entry area"].start == split.cpu_entry_area_base
    assert pieces["vmalloc"].end == split.vmalloc_end and pieces["vmalloc"].start == split.vmalloc_start(0x373FE)
    assert pieces["direct map"].end == split.high_memory(0x373FE)
    pae = Split(nr_cpus=8, pae=True)
    machine = mv.i386(1536, pae)
    pieces = {piece.name: piece for piece in pieces_of(machine, kmap_part(machine).windows)}
    assert (pieces["LDT"].start, pieces["cpu entry area"].start) == (pae.ldt_base, pae.cpu_entry_area_base)


def test_to_scale_is_to_scale():
    boxes = marks(draw_address_space(mv.i386(1536)), Rect)
    assert boxes["piece user"].height == pytest.approx(3 * boxes["four gib"].height / 4)
    assert boxes["piece direct map"].height / boxes["piece user"].height == pytest.approx(883.99 / 3072, abs=1e-3)
    assert boxes["zone HighMem"].height / boxes["zone Normal"].height == pytest.approx(652.01 / 867.99, abs=1e-3)


def test_what_is_said_of_high_memory():
    assert marks(draw_address_space(mv.i386(1536)), Text)["remark"].text \
        == "HighMem: 652.01 MiB have page frames and no address"
    assert "every page has an address" in marks(draw_address_space(mv.i386(512)), Text)["remark"].text
    assert "HighMem" not in draw_address_space(mv.i386(512)).words
