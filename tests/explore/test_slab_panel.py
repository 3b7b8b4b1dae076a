"""The panel of kmalloc from Python's side: settings as text, the work that they do, errors, what is saved."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmviz.draw.slab_reading import slab_usage
from mmviz.errors import KernelBug
from mmviz.explore import slab_panel
from mmviz.explore.slab_panel import LIMITS, STEPS, WORDS, Setting, SlabPanel, count_steps, run

USUAL = ("slab=SLUB mib=4 cpus=1 nodes=1 size=64 second=0 node=any cpu=0 objects=3 free=none free_cpu=0 seed=1 "
         "picture=cache")


@pytest.fixture
def panel():
    return SlabPanel()


@st.composite
def some_settings(draw):
    chosen = {name: draw(st.integers(*limits)) for name, limits in LIMITS.items()}
    chosen |= {name: draw(st.sampled_from(words)) for name, words in WORDS.items()}
    chosen["cpus"] = max(chosen["cpus"], chosen["cpu"] + 1, chosen["free_cpu"] + 1)
    chosen["nodes"] = 2 if chosen["node"] == "1" else chosen["nodes"]
    return Setting(**chosen | {"mib": int(chosen["mib"]), "objects": min(chosen["objects"], 60)})


# ---------------------------------------------------------------- text


@given(some_settings())
def test_the_text_of_a_setting_is_the_setting(setting):
    assert Setting.parse(str(setting)) == setting


def test_what_is_not_said_is_as_usual():
    assert str(Setting.parse("")) == USUAL


@pytest.mark.parametrize("line, words", [
    ("size", r"a setting must be name=value with a name of slab, mib, .*, got 'size'"),
    ("order=3", r"name=value with a name of .*, got 'order=3'"),
    ("size=20001", r"size must be a whole number, 0 to 20,000, got '20001'"),
    ("size=-1", r"size must be a whole number, 0 to 20,000, got '-1'"),
    ("size=²", r"size must be a whole number"),
    ("node=2", r"node must be one of any, 0, 1, got '2'"),
    ("mib=5", r"mib must be one of 4, 16, 64, got '5'"),
    ("slab=SLIB", r"slab must be one of SLUB, SLAB, SLOB, got 'SLIB'"),
    ("cpu=2", r"cpu must be 0 to 0 with cpus=1, got 2"),
    ("node=1", r"node must be any or 0 to 0 with nodes=1, got 1"),
    ("seed=1 seed=2", r"each name must stand once in a setting, got seed twice"),
])
def test_a_wrong_line_is_refused_in_clear_words(line, words):
    with pytest.raises(ValueError, match=words):
        SlabPanel(line)


# ---------------------------------------------------------------- work


@given(some_settings())
@settings(deadline=None, max_examples=25)
def test_every_setting_runs_and_fits(setting):
    recording, first, count = run(setting)
    steps = count_steps(setting)
    assert len(steps) == count and len(recording) == sum(steps[first:])
    assert len(recording) <= STEPS or first == count - 1
    assert recording.at(len(recording)) == recording.live


@pytest.mark.parametrize("objects, held", [(240, 15), (241, 7)])
def test_the_first_page_comes_back_at_241_objects(objects, held):
    recording, _, _ = run(Setting.parse(f"size=256 objects={objects} free=all"))
    assert slab_usage(recording.live) == (held, 0)


@pytest.mark.parametrize("slab, pages, used", [("SLUB", 1, 3 * 128), ("SLAB", 1, 3 * 128), ("SLOB", 1, 3 * 100)])
def test_the_same_requests_of_three_allocators(slab, pages, used):
    recording, _, _ = run(Setting.parse(f"slab={slab} size=100"))
    assert slab_usage(recording.live) == (pages, used)


def test_two_sizes_take_turns_and_frees_have_an_order():
    recording, _, count = run(Setting.parse("size=64 second=1000 objects=6 free=every_other seed=3"))
    named = [(type(step.event).__name__, step.event.ptr) for step in recording
             if type(step.event).__name__ in ("Kmalloc", "KmallocNode", "Kfree")]
    assert count == 9 and [name for name, _ in named].count("Kfree") == 3
    assert [ptr for name, ptr in named if name == "Kfree"] == [ptr for name, ptr in named if name != "Kfree"][::2]


# ---------------------------------------------------------------- the panel


def test_it_speaks_for_itself(panel):
    assert repr(panel) == panel.knobs.line == f'SlabPanel("{USUAL}")'
    assert "0x" not in repr(panel.knobs) + repr(panel.stepper)


def test_a_knob_makes_a_new_picture(panel):
    before = panel.stepper.data
    panel.set(size=1000, objects=1, picture="slab")
    assert panel.setting == Setting(size=1000, objects=1, picture="slab")
    assert panel.stepper.data != before and len(panel.stepper) == panel.stepper.step > 0
    assert json.loads(panel.stepper.data)["label"] == \
        "Call 1 of 1. At the end SLUB holds 2 pages; 1,024 of 8,192 bytes are in objects"
    panel.set(size=64, objects=3, picture="cache")
    assert panel.stepper.data == before


@pytest.mark.parametrize("slab", WORDS["slab"])
@pytest.mark.parametrize("picture", WORDS["picture"])
def test_every_allocator_has_every_picture(panel, slab, picture):
    panel.set(slab=slab, picture=picture)
    assert panel.setting.picture == picture and not panel.knobs.problem
    assert len(panel.html()) < 65_000


def test_what_stays_unseen_is_said(panel):
    panel.set(objects=300)
    assert "before, unseen" in json.loads(panel.stepper.data)["label"]


def test_a_cpu_or_node_that_is_chosen_exists(panel):
    panel.set(cpu=2)
    assert (panel.setting.cpu, panel.setting.cpus) == (2, 3)
    panel.set(cpus=1)
    assert (panel.setting.cpu, panel.setting.cpus) == (0, 1)
    panel.set(node="1")
    assert (panel.setting.node, panel.setting.nodes) == ("1", 2)
    panel.set(nodes=1)
    assert (panel.setting.node, panel.setting.nodes) == ("any", 1)


def test_a_typed_line_turns_all_knobs(panel):
    for typed in ('SlabPanel("size=100 seed=5")', "size=100 seed=5", "  SlabPanel('size=100 seed=5') "):
        panel.set(size=64, seed=1)
        panel.knobs.typed = typed
        assert panel.setting == Setting(size=100, seed=5)


@pytest.mark.parametrize("wrong", [{"size": -4}, {"size": "many"}, {"cpu": 9}, {"shoes": 2}])
def test_an_error_is_said_and_raised_and_all_stays(panel, wrong):
    data = panel.stepper.data
    with pytest.raises(ValueError):
        panel.set(**wrong)
    assert panel.knobs.problem and panel.setting == Setting() and panel.stepper.data == data
    panel.set(size=1)
    assert panel.knobs.problem == ""


def test_outside_a_test_an_error_is_said_only(monkeypatch):
    panel = SlabPanel(raise_errors=False)
    panel.knobs.typed = "size=-4"
    assert panel.knobs.problem == "size must be a whole number, 0 to 20,000, got '-4'"
    monkeypatch.setattr(slab_panel, "run", lambda setting: (_ for _ in ()).throw(KernelBug("object 0x40 is free")))
    panel.set(size=1)
    assert panel.knobs.problem == "object 0x40 is free"


def test_the_saved_form(panel):
    saved = panel._repr_mimebundle_()[0]
    assert saved["text/plain"] == repr(panel) and "SlabPanel" in saved["text/html"]
