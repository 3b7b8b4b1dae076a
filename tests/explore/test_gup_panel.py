"""The panel of get_user_pages from Python's side: what comes back, what is refused, what is shown."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmviz.draw.refcounts import held
from mmviz.draw.scene import Rect
from mmviz.explore.gup_panel import LIMITS, WORDS, GupPanel, Setting, draw, moments, run
from mmviz.mm import vm_events as ev

USUAL = "first=touched second=untouched third=hole fourth=remapped start=0 pages=5 access=write force=no then=nothing"


@pytest.fixture
def panel():
    return GupPanel()


@st.composite
def some_settings(draw):
    chosen = {name: draw(st.integers(*limits)) for name, limits in LIMITS.items()}
    chosen |= {name: draw(st.sampled_from(words)) for name, words in WORDS.items()}
    return Setting(**chosen)


def may_be_taken(setting, page):
    """The rule in one line, from the kinds alone."""
    kind = (setting.first, setting.second, setting.third, setting.fourth)[page // 2] if page < 8 else "hole"
    return kind in ("untouched", "touched") or (
        kind == "readonly" and (setting.access == "read" or setting.force == "yes"))


@given(some_settings())
@settings(deadline=None, max_examples=60)
def test_it_goes_as_far_as_pages_may_be_taken(setting):
    recording, pages, got = run(setting)
    asked = range(setting.start, setting.start + setting.pages)
    far = next((i for i, page in enumerate(asked) if not may_be_taken(setting, page)), setting.pages)
    assert got == (far or -14) and len(pages) == far
    assert recording.at(len(recording)) == recording.live
    places = moments(recording)
    assert places.at(len(places)) == recording.live and places.at(0) == recording.at(0)


@given(some_settings())
def test_the_text_of_a_setting_is_the_setting(setting):
    assert Setting.parse(str(setting)) == setting


@pytest.mark.parametrize("line, answer", [
    ("", "(0x7f0000000000, 5, FOLL_WRITE) returns 4: 0x1004 0x1005 0x1008 0x1009"),
    ("access=read start=1", "(0x7f0000001000, 5, 0) returns 3: 0x1005 0xfff 0xfff"),
    ("start=4", "returns -EFAULT"), ("start=6 force=yes", "FOLL_WRITE|FOLL_FORCE) returns -EFAULT"),
    ("first=readonly", "returns -EFAULT"), ("first=readonly force=yes pages=1", "returns 1: 0x1006"),
    ("then=fork+write", "; then fork, write"),
])
def test_the_heading_says_what_comes_back(line, answer):
    assert answer in GupPanel(line).label


def test_what_comes_then():
    first = {then: run(Setting(pages=1, then=then))[0].live for then in WORDS["then"]}
    assert [held(first[then], 0x1004).pins for then in WORDS["then"]] == [1, 0, 1, 1]
    assert [held(first[then], 0x1004).mapped for then in WORDS["then"]] == [1, 1, 1, 1], "at last by the child"
    assert sorted(pid for pid in first["fork+write"].parts["vm"].mm if pid) == [1, 2]


def test_the_moments_are_few_and_end_with_the_answer():
    recording, _, _ = run(Setting())
    places = moments(recording)
    assert len(places) == 10 < len(recording) / 10
    assert isinstance(places[len(places) - 1].event, ev.UserPagesGot)
    keys = {mark.key for mark in draw(places.at(3), places[2]).marks if isinstance(mark, Rect)}
    assert any(key.startswith("left vma") for key in keys) and any(key.startswith("right frame") for key in keys)


def test_it_speaks_for_itself_and_refuses_in_words(panel):
    assert repr(panel) == panel.knobs.line == f'GupPanel("{USUAL}")'
    with pytest.raises(ValueError, match="first must be one of untouched, touched, readonly, hole, remapped"):
        panel.set(first="shared")
    assert str(panel.setting) == USUAL
    panel.set(start=2)
    assert panel.label.endswith("returns 2: 0x1008 0x1009")


def test_both_tasks_of_the_lesson_can_be_done():
    assert run(Setting(start=1, pages=5))[2] == 3
    live = run(Setting(access="read", second="untouched", third="untouched", start=1, pages=4))[0].live
    assert held(live, live.parts["vm"].zero_pfn).refs == 4
