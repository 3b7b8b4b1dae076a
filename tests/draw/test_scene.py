"""Scenes: unique keys, stable bytes, well-formed XML, and the same picture in matplotlib."""

import subprocess
import sys
from xml.etree import ElementTree

import pytest

from mmviz.draw.scene import Arrow, Bracket, Dot, Line, Polyline, Rect, Scene, Text
from mmviz.draw.style import AXIS, BOX, CODE, HOLE, LINK, MARK, TITLE, free, pcp, used

MARKS = (
    Rect("zone", BOX, 5, 5, 390, 190),
    Rect("block 1", free("M"), 20, 40, 60, 20, tip="pfn 1 <free> & \"easy\"", words="block 1 is free"),
    Rect("block 2", used("U"), 90, 40, 60, 20, touched=True, words="block 2 is in use"),
    Rect("block 3", pcp("R"), 160, 40, 4, 20),
    Rect("hole", HOLE, 200, 40, 60, 20),
    Dot("node", used("H"), 40, 100, 12),
    Text("name", TITLE, 20, 25, "Zone <DMA32>"),
    Text("call", CODE, 200, 150, "rmqueue() $x$", anchor="middle", touched=True),
    Line("mark", MARK, 20, 130, 200, 130),
    Arrow("next", LINK, 40, 112, 120, 160, bend=0.3),
    Bracket("order", AXIS, 20, 150, 80, "order 3", below=True),
    Polyline("curve", AXIS, [(300, 100), (320, 80), (340, 120)]),
)
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def scene():
    return Scene("All marks", 400, 200, MARKS)


def test_svg_is_the_same_each_time_and_in_any_order(scene):
    assert scene.svg() == Scene("All marks", 400, 200, reversed(MARKS)).svg()


def test_svg_is_well_formed_and_says_what_it_shows(scene):
    root = ElementTree.fromstring(scene.svg())
    assert root.get("role") == "img"
    by_id = {element.get("id"): element.text for element in root.iter() if element.get("id")}
    assert by_id[root.get("aria-labelledby")] == "All marks"
    assert by_id[root.get("aria-describedby")] == "block 2 is in use; block 1 is free"
    assert [title.text for title in root.iter(f"{SVG}title")][1:] == ["pfn 1 <free> & \"easy\""]


def test_paper_comes_first(scene):
    first = next(ElementTree.fromstring(scene.svg()).iter(f"{SVG}path"))
    assert (first.get("fill"), first.get("d")) == ("#FFFFFF", "M0 0H400V200H0Z")


def test_patterns_are_found_by_ids_that_other_pictures_do_not_have(scene):
    other = Scene("Another", 400, 200, MARKS[:3])
    ids = [{e.get("id") for e in ElementTree.fromstring(s.svg()).iter() if e.get("id")} for s in (scene, other)]
    assert not ids[0] & ids[1]


def test_a_key_stands_once():
    with pytest.raises(ValueError, match="'block 1'"):
        Scene("Twice", 10, 10, [MARKS[1], MARKS[1]])


def test_a_place_is_finite():
    with pytest.raises(ValueError, match="finite"):
        Scene("Nowhere", 10, 10, [Rect("a", BOX, float("nan"), 0, 1, 1)])


def test_touched_blocks_are_painted_above_their_peers(scene):
    keys = [mark.key for mark in scene.marks]
    assert keys.index("block 2") > keys.index("block 3")
    assert keys[0] == "zone"


def test_a_label_that_does_not_fit_is_left_out():
    assert len(Rect("narrow", free("M"), 0, 0, 4, 20).parts()) == 1
    assert len(Rect("wide", free("M"), 0, 0, 40, 20).parts()) == 2
    assert len(Rect("silent", free("M"), 0, 0, 40, 20, label="").parts()) == 1


def test_the_text_alternative_is_not_endless():
    marks = [Rect(f"b{i:03}", free("M"), i, 0, 1, 1, words=f"block {i}", touched=i == 99) for i in range(200)]
    assert Scene("Many", 300, 10, marks).alt.startswith("Many. block 99; block 0;")
    assert Scene("Many", 300, 10, marks).alt.endswith("; and 188 more")


def test_a_scene_is_shown_as_an_image_with_words(scene):
    shown = scene._repr_mimebundle_()
    assert shown["text/plain"] == "Scene('All marks', 12 marks)"
    assert '<img src="data:image/svg+xml;base64,' in shown["text/html"]
    assert 'alt="All marks. block 2 is in use; block 1 is free"' in shown["text/html"]


@pytest.mark.parametrize(("kind", "magic"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_matplotlib_writes_the_same_bytes_twice(scene, tmp_path, kind, magic):
    paths = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for path in paths:
        scene.savefig(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes().startswith(magic)


def test_text_stays_text_in_a_matplotlib_svg(scene, tmp_path):
    scene.savefig(tmp_path / "a.svg")
    assert ">Zone &lt;DMA32&gt;</text>" in (tmp_path / "a.svg").read_text()


def test_an_unknown_kind_of_file_is_refused(scene, tmp_path):
    with pytest.raises(ValueError, match=r"\.pdf, \.png, \.svg"):
        scene.savefig(tmp_path / "a.jpg")


def test_a_scene_can_stand_beside_a_curve(scene):
    from matplotlib.figure import Figure
    left, right = Figure().subplots(1, 2)
    scene.plot(left)
    right.plot([1, 2, 3])
    assert len(left.patches) > len(MARKS) / 2


def test_nothing_heavy_is_imported_before_it_is_asked_for():
    code = "import sys, mmviz.draw, mmviz.explore; from mmviz.draw import Scene; Scene('a', 1, 1).svg(); "
    code += "print([m for m in ('matplotlib', 'networkx', 'ipywidgets', 'anywidget') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
