"""KmapPanel from Python's side: settings as text, the work that they do, errors, what is saved."""
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmviz.explore.kmap_panel import LIMITS, PICTURES, SLOTS, KmapPanel, Setting, Work, run
from mmviz.explore.panel import count_steps
from mmviz.mm import highmem_events as ev
from mmviz.mm.boot_32 import kmap_toy

USUAL = "slots=4 pages=6 cpus=1 calls=12 gives=40 atomic=0 seed=1"


@pytest.fixture
def panel():
    return KmapPanel()


@st.composite
def some_settings(draw):
    chosen = {name: draw(st.integers(*limits)) for name, limits in LIMITS.items()}
    return Setting(slots=draw(st.sampled_from(SLOTS)), picture=draw(st.sampled_from(sorted(PICTURES))), **chosen)


@given(some_settings())
def test_the_text_of_a_setting_is_the_setting(setting):
    assert Setting.parse(str(setting)) == setting


@pytest.mark.parametrize("line, words", [
    ("slots", r"a setting must be name=value with a name of slots, pages, .*, got 'slots'"),
    ("size=3", r"name=value with a name of .*, got 'size=3'"),
    ("slots=5", r"slots must be one of 4, 8, 16, 32, got '5'"),
    ("pages=0", r"pages must be a whole number, 1 to 48, got '0'"),
    ("cpus=-1", r"cpus must be a whole number"),
    ("picture=none", r"picture must be one of pkmap, fixmap, got 'none'"),
    ("seed=1 seed=2", r"each name must stand once in a setting, got seed twice"),
])
def test_a_wrong_line_is_refused_in_clear_words(line, words):
    with pytest.raises(ValueError, match=words):
        KmapPanel(line)


@given(some_settings())
@settings(deadline=None, max_examples=40)
def test_every_setting_runs(setting):
    recording, first = run(setting)
    steps = count_steps(kmap_toy(setting.slots, setting.cpus), lambda machine: Work(setting, machine).calls())
    assert len(steps) == setting.calls and len(recording) == sum(steps[first:]) > 0
    assert recording.at(len(recording)) == recording.live


def test_who_sleeps_is_served_after_a_wake_up():
    work = Work(Setting.parse("slots=4 pages=8 calls=80 gives=20"), kmap_toy(4))
    heard = []
    with work.machine.trace.listen(heard.append):
        for _ in work.calls():
            pass
    asleep = [event.pfn for event in heard if isinstance(event, ev.AddWaitQueue)]
    woken = [i for i, event in enumerate(heard) if isinstance(event, ev.WakeUp)]
    after = [event.pfn for event in heard[woken[0]:] if isinstance(event, ev.Kmapped)]
    assert asleep and after[0] == asleep[0]


def test_atomic_calls_use_all_cpus():
    work = Work(Setting.parse("cpus=3 atomic=60 calls=120 gives=30"), kmap_toy(4, 3))
    heard = []
    with work.machine.trace.listen(heard.append):
        for _ in work.calls():
            pass
    assert {event.cpu for event in heard if isinstance(event, ev.KmapAtomicIdxPush)} == {0, 1, 2}
    assert any(isinstance(event, ev.Kmapped) for event in heard)


def test_it_speaks_for_itself(panel):
    assert repr(panel) == panel.knobs.line == f'KmapPanel("{USUAL}")'


def test_a_knob_makes_a_new_picture(panel):
    before = panel.stepper.data
    panel.set(slots=8, calls=1)
    assert panel.setting == Setting(slots=8, calls=1) and panel.stepper.data != before
    assert json.loads(panel.stepper.data)["label"] == "Call 1 of 1: 8 slots, 6 high pages"
    panel.set(picture="fixmap", atomic=100)
    assert panel.setting.picture == "fixmap" and repr(panel).endswith('picture=fixmap")')
    panel.set(**Setting().values())
    assert panel.stepper.data == before


def test_a_typed_line_turns_all_knobs(panel):
    for typed in ('KmapPanel("slots=8 seed=5")', "slots=8 seed=5", "  KmapPanel('slots=8 seed=5') "):
        panel.set(slots=4, seed=1)
        panel.knobs.typed = typed
        assert panel.setting == Setting(slots=8, seed=5) and panel.knobs.values == panel.setting.values()


def test_an_error_is_said_and_all_stays(panel):
    data = panel.stepper.data
    with pytest.raises(ValueError):
        panel.set(pages=99)
    assert panel.knobs.problem and panel.setting == Setting() and panel.stepper.data == data
    panel.raise_errors = False
    panel.knobs.typed = "slots=7"
    assert panel.knobs.problem == "slots must be one of 4, 8, 16, 32, got '7'"


@pytest.mark.parametrize("line", ["", "slots=32 pages=48 calls=200", "slots=32 pages=48 calls=200 gives=45 seed=6",
                                  "atomic=50 cpus=4 calls=60", "picture=fixmap atomic=100 cpus=4 calls=200 gives=0"])
def test_what_is_saved_fits(line):
    data, _ = KmapPanel(line)._repr_mimebundle_()
    assert data["text/html"].startswith("<p><code>KmapPanel(&quot;slots=")
    assert len(json.dumps({"text/html": data["text/html"], "text/plain": data["text/plain"]})) <= 39_800
