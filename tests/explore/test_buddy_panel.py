"""The panel from Python's side: settings as text, the work that they do, errors, what is saved."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmviz.errors import KernelBug
from mmviz.explore import buddy_panel
from mmviz.explore.buddy_panel import LIMITS, STEPS, WORDS, BuddyPanel, Setting, count_steps, run
from mmviz.mm.events import MmPageAlloc, MmPageFree

USUAL = "mib=64 order=0 gfp=GFP_KERNEL cpu=0 cpus=1 requests=3 frees=0 batch=auto seed=1"


@pytest.fixture
def panel():
    return BuddyPanel()


@st.composite
def some_settings(draw):
    chosen = {name: draw(st.integers(*limits)) for name, limits in LIMITS.items()}
    chosen |= {name: draw(st.sampled_from(words)) for name, words in WORDS.items()}
    chosen["cpus"] = max(chosen["cpus"], chosen["cpu"] + 1)
    return Setting(**chosen | {"mib": int(chosen["mib"])})


# ---------------------------------------------------------------- text


@given(some_settings())
def test_the_text_of_a_setting_is_the_setting(setting):
    assert Setting.parse(str(setting)) == setting


def test_what_is_not_said_is_as_usual():
    assert str(Setting.parse("")) == USUAL
    assert Setting.parse("order=3 mib=4") == Setting(mib=4, order=3)


@pytest.mark.parametrize("line, words", [
    ("order", r"a setting must be name=value with a name of mib, order, .*, got 'order'"),
    ("size=3", r"name=value with a name of .*, got 'size=3'"),
    ("order=11", r"order must be a whole number, 0 to 10, got '11'"),
    ("order=-1", r"order must be a whole number, 0 to 10, got '-1'"),
    ("order=²", r"order must be a whole number"),
    ("mib=5", r"mib must be one of 4, 8, 16, 32, 64, got '5'"),
    ("gfp=GFP_MUCH", r"gfp must be one of GFP_KERNEL, .*, got 'GFP_MUCH'"),
    ("cpu=2", r"cpu must be 0 to 0 with cpus=1, got 2"),
    ("seed=1 seed=2", r"each name must stand once in a setting, got seed twice"),
])
def test_a_wrong_line_is_refused_in_clear_words(line, words):
    with pytest.raises(ValueError, match=words):
        BuddyPanel(line)


# ---------------------------------------------------------------- work


@given(some_settings())
@settings(deadline=None, max_examples=40)
def test_every_setting_runs_and_fits(setting):
    recording, first = run(setting)
    steps = count_steps(setting)
    assert len(steps) == setting.requests and len(recording) == sum(steps[first:])
    assert 0 < len(recording) <= STEPS or first == setting.requests - 1
    assert len(recording) < 2_000
    assert recording.at(len(recording)) == recording.live


def test_the_last_request_is_the_one_of_the_knobs():
    recording, _ = run(Setting.parse("order=2 gfp=GFP_ATOMIC requests=9 frees=90"))
    last = recording[len(recording) - 1].event
    assert isinstance(last, MmPageAlloc) and last.order == 2


def test_frees_are_drawn_by_the_seed():
    """The numbers of random.Random are the same in every Python; so is what stands here."""
    recording, first = run(Setting.parse("requests=12 frees=50 order=4 seed=7"))
    events = [step.event for step in recording.select(MmPageAlloc, MmPageFree)]
    done = [f"{type(event).__name__} {event.pfn:#x}" for event in events]
    took, freed = "MmPageAlloc 0x4c00", "MmPageFree 0x4c00"
    assert first == 4 and done == [took, freed, took, freed, took, "MmPageAlloc 0x4c10", freed, took]


# ---------------------------------------------------------------- the panel


def test_it_speaks_for_itself(panel):
    assert repr(panel) == panel.knobs.line == f'BuddyPanel("{USUAL}")'
    assert repr(BuddyPanel("order=3")) == f'BuddyPanel("{USUAL.replace("order=0", "order=3")}")'
    assert "0x" not in repr(panel.knobs) + repr(panel.stepper)


def test_a_knob_makes_a_new_picture(panel):
    before = panel.stepper.data
    panel.set(order=3, requests=1)
    assert panel.setting == Setting(order=3, requests=1)
    assert panel.stepper.data != before and len(panel.stepper) == panel.stepper.step > 0
    assert json.loads(panel.stepper.data)["label"] == "Request 1 of 1: order 3, GFP_KERNEL, CPU 0"
    assert panel.knobs.line == repr(panel)
    panel.set(order=0, requests=3)
    assert panel.stepper.data == before


def test_what_stays_unseen_is_said(panel):
    panel.set(requests=100, frees=30)
    assert "before, unseen" in json.loads(panel.stepper.data)["label"]


def test_a_cpu_that_is_chosen_exists(panel):
    panel.set(cpu=2)
    assert (panel.setting.cpu, panel.setting.cpus) == (2, 3) and panel.knobs.values == panel.setting.values()
    panel.set(cpus=1)
    assert (panel.setting.cpu, panel.setting.cpus) == (0, 1)


def test_a_typed_line_turns_all_knobs(panel):
    for typed in ('BuddyPanel("order=2 seed=5")', "order=2 seed=5", "  BuddyPanel('order=2 seed=5') "):
        panel.set(order=0, seed=1)
        panel.knobs.typed = typed
        assert panel.setting == Setting(order=2, seed=5) and panel.knobs.values == panel.setting.values()


@pytest.mark.parametrize("wrong", [{"order": 11}, {"order": "many"}, {"cpu": 7}, {"shoes": 2}])
def test_an_error_is_said_and_raised_and_all_stays(panel, wrong):
    data = panel.stepper.data
    with pytest.raises(ValueError):
        panel.set(**wrong)
    assert panel.knobs.problem and panel.setting == Setting() and panel.stepper.data == data
    assert panel.knobs.values == panel.setting.values()
    panel.set(order=1)
    assert panel.knobs.problem == ""


def test_outside_a_test_an_error_is_said_only(monkeypatch):
    panel = BuddyPanel(raise_errors=False)
    panel.knobs.typed = "order=12"
    assert panel.knobs.problem == "order must be a whole number, 0 to 10, got '12'"
    monkeypatch.setattr(buddy_panel, "run", lambda setting: (_ for _ in ()).throw(KernelBug("pfn 0x40 is free")))
    panel.set(order=1)
    assert panel.knobs.problem == "pfn 0x40 is free"


def test_whether_to_raise_is_asked_of_pytest(monkeypatch, panel):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    panel.set(order=11)
    assert panel.knobs.problem


def test_what_is_saved(panel):
    data, _ = panel._repr_mimebundle_()
    assert data["text/plain"] == repr(panel)
    assert data["text/html"].startswith("<p><code>BuddyPanel(&quot;mib=64 ")
    assert panel.stepper.html() in data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in data


@pytest.mark.parametrize("line", ["", "batch=15 requests=1", "requests=60 frees=50", "order=5 requests=20 frees=40",
                                  "mib=4 order=10 gfp=GFP_NOWAIT", "gfp=GFP_ATOMIC order=3 requests=200 frees=90"])
def test_what_is_saved_fits(line):
    data, _ = BuddyPanel(line)._repr_mimebundle_()
    assert len(json.dumps({"text/html": data["text/html"], "text/plain": data["text/plain"]})) <= 39_800
