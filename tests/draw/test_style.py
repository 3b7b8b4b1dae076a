"""The palette keeps its promises: text at 4.5:1 or better, outlines at 3:1 on paper, a pattern for every hue."""

import pytest

from mmviz.draw import style
from mmviz.draw.style import (
    HATCHES,
    HUES,
    PAPER_WHITE,
    SHAPES,
    TEXTS,
    contrast,
    free,
    label_look,
    pcp,
    shape_look,
    used,
)

BLOCKS = [family(letter) for family in (used, free, pcp) for letter in HUES]


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("meaning", [*BLOCKS, style.BOX, style.REFUSED, style.RECLAIM])
def test_labels_can_be_read(meaning):
    ink, ground = label_look(meaning).fill, shape_look(meaning)
    assert contrast(ink, ground.fill) >= 4.5
    assert not ground.hatch_ink or contrast(ink, ground.hatch_ink) >= 4.5


@pytest.mark.parametrize("meaning", BLOCKS)
def test_outlines_stand_out_from_paper(meaning):
    assert contrast(shape_look(meaning).stroke, PAPER_WHITE) >= 3


@pytest.mark.parametrize("meaning", [m for m in SHAPES if SHAPES[m].width and m != style.GRID])
def test_lines_stand_out_from_paper(meaning):
    assert contrast(SHAPES[meaning].stroke, PAPER_WHITE) >= 3


@pytest.mark.parametrize("meaning", TEXTS)
def test_texts_can_be_read_on_paper_and_on_a_band(meaning):
    for ground in (PAPER_WHITE, SHAPES[style.BAND].fill):
        assert contrast(TEXTS[meaning].fill, ground) >= 4.5


def test_curves_can_be_told_apart_without_their_hue_and_stand_out():
    for kind in ("dash", "marker", "ink"):
        assert len({getattr(stroke, kind) for stroke in style.STROKES}) == len(style.STROKES)
    for stroke in style.STROKES:
        assert contrast(stroke.ink, PAPER_WHITE) >= 4.5 and contrast(stroke.ink, style.GRID_INK) >= 3


def test_every_hue_has_its_own_pattern_in_both_back_ends():
    letters = [letter for letter in HUES if letter]
    assert len({HATCHES[letter].path for letter in letters}) == len(letters)
    assert len({HATCHES[letter].matplotlib for letter in letters}) == len(letters)


def test_used_free_and_pcp_look_different_and_so_do_the_two_refusals():
    assert len({shape_look(family("M")) for family in (used, free, pcp)}) == 3
    assert shape_look(style.REFUSED) != shape_look(style.RECLAIM)


def test_names_of_migratetypes_are_understood():
    assert used("MIGRATE_MOVABLE") == used("MOVABLE") == used("M")
    with pytest.raises(ValueError, match="got 'X'"):
        used("X")


def test_a_meaning_must_fit_the_mark():
    with pytest.raises(ValueError, match="known: box"):
        shape_look(style.TEXT)
    with pytest.raises(ValueError, match="known: title"):
        style.text_look(style.BOX)
    with pytest.raises(ValueError, match="anchor"):
        style.text_look(style.TEXT, "centre")
