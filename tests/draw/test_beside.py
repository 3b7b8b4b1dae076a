"""Two pictures as one: where the second stands, and that none is cut off."""
import pytest

from mmviz.draw.beside import GAP, HEADING, WIDEST, beside
from mmviz.draw.scene import Rect, Scene
from mmviz.draw.style import BOX


def picture(width, height):
    return Scene("Blocks", width, height, [Rect("block", BOX, 0, 0, width, height, label="")], "a block.")


@pytest.mark.parametrize("left, right, x, y, width, height", [
    ((300, 100), (400, 80), 300 + GAP, 0, 700 + GAP, 100),
    ((300, 80), (400, 100), 300 + GAP, 0, 700 + GAP, 100),
    ((500, 10), (WIDEST - GAP - 500, 10), 500 + GAP, 0, WIDEST, 10),
    ((500, 10), (WIDEST - GAP - 499, 20), 0, 10 + HEADING + GAP, 500, 30 + HEADING + GAP),
    ((900, 10), (400, 20), 0, 10 + HEADING + GAP, 900, 30 + HEADING + GAP),
    ((400, 10), (900, 20), 0, 10 + HEADING + GAP, 900, 30 + HEADING + GAP)])
def test_side_by_side_or_one_above_the_other(left, right, x, y, width, height):
    scene = beside(picture(*left), picture(*right), ("one", "two"))
    marks = {mark.key: mark for mark in scene.marks}
    assert (marks["left block"].x, marks["left block"].y) == (0, HEADING)
    assert (marks["right block"].x, marks["right block"].y) == (x, y + HEADING)
    assert (scene.width, scene.height) == (width, height + HEADING)


def test_names_stand_over_the_pictures_and_in_the_words():
    scene = beside(picture(300, 100), picture(300, 100), ("one", "two"))
    assert [mark.text for mark in scene.marks if mark.key.endswith("heading")] == ["one", "two"]
    assert scene.title == "one and two: Blocks" and "one: " in scene.words and "two: " in scene.words
