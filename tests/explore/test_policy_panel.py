"""The panel of policies from Python's side: what serves, what is refused, what is said."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmviz.explore.policy_panel import LIMITS, NODES, STEPS, WORDS, PolicyPanel, Setting, machine_of, run, work
from mmviz.mm import events as ev
from mmviz.recording import record

USUAL = ("machine=two cpu=0 policy=default nodes=0 gfp=GFP_NOWAIT thisnode=no order=0 call=alloc_pages full=none "
         "requests=2")


@pytest.fixture
def panel():
    return PolicyPanel()


@st.composite
def some_settings(draw):
    chosen = {name: draw(st.integers(*limits)) for name, limits in LIMITS.items()}
    chosen |= {name: draw(st.sampled_from(words)) for name, words in WORDS.items()}
    return Setting(**chosen)


def makes_sense(setting):
    count, known = NODES[setting.machine], {"none", *map(str, range(NODES[setting.machine]))}
    named = setting.nodes.split(",") if setting.policy != "default" else []
    return (setting.cpu < count and set(named) | set(setting.full.split(",")) <= known
            and not (setting.policy == "preferred" and len(named) > 1)
            and (setting.policy == "default" or setting.machine != "highmem"))


def served(line):
    """Nodes and zones that served the requests of a setting; None for a request that got nothing."""
    setting = Setting.parse(line)
    with record(machine_of(setting)) as recording:
        for _ in work(recording.live, setting):
            pass
    zones = recording.live.zones()
    pfns = [step.event.pfn for step in recording.select(ev.MmPageAlloc)]
    return [next((zone.label for zone in zones if zone.zone_start_pfn <= pfn < zone.end_pfn), None) for pfn in pfns]


# ---------------------------------------------------------------- what serves


@pytest.mark.parametrize("line, zones", [
    ("", ["N0/DMA32", "N0/DMA32"]),
    ("cpu=1", ["N1/DMA32", "N1/DMA32"]),
    ("policy=preferred nodes=1", ["N1/DMA32", "N1/DMA32"]),
    ("policy=interleave nodes=0,1 requests=3", ["N0/DMA32", "N1/DMA32", "N0/DMA32"]),
    ("policy=interleave nodes=0,1 thisnode=yes", ["N0/DMA32", "N0/DMA32"]),
    ("machine=ring policy=bind nodes=2,3", ["N3/DMA32", "N3/DMA32"]),
    ("machine=ring cpu=1 policy=bind nodes=2,3", ["N2/DMA32", "N2/DMA32"]),
    ("machine=ring full=0 requests=1", ["N1/DMA32"]),
    ("full=0 requests=1", ["N1/DMA32"]),
    ("full=0 thisnode=yes requests=1", [None]),
    ("full=0 policy=bind nodes=0 requests=1", [None]),
    ("full=0 policy=bind nodes=0 gfp=GFP_ATOMIC requests=1", ["N0/DMA32"]),
    ("machine=zones requests=1", ["Normal"]),
    ("machine=zones requests=1 gfp=GFP_DMA32", ["DMA32"]),
    ("machine=zones requests=12 order=10 gfp=GFP_KERNEL", ["Normal"] * 7 + ["DMA32"] * 3 + ["DMA", None]),
    ("machine=highmem requests=1 gfp=GFP_HIGHUSER", ["HighMem"]),
    ("machine=highmem requests=1 gfp=GFP_HIGHUSER call=__get_free_pages", ["Normal"]),
])
def test_who_serves(line, zones):
    assert served(line) == zones


@given(some_settings())
@settings(deadline=None, max_examples=60)
def test_a_setting_runs_if_it_makes_sense_and_is_refused_if_not(setting):
    if not makes_sense(setting):
        with pytest.raises(ValueError, match="must be"):
            run(setting)
        return
    recording, first = run(setting)
    assert len(recording) <= STEPS or first == setting.requests - 1
    assert recording.at(len(recording)) == recording.live


@given(some_settings())
def test_the_text_of_a_setting_is_the_setting(setting):
    assert Setting.parse(str(setting)) == setting


def test_a_full_node_is_at_its_mark():
    machine = machine_of(Setting(full="1"))
    assert [zone.vm_stat[0] for zone in machine.zones()] == [8192, 128]


# ---------------------------------------------------------------- the panel


def test_it_speaks_for_itself(panel):
    assert repr(panel) == panel.knobs.line == f'PolicyPanel("{USUAL}")'
    assert panel.label == "Requests 1 to 2 of 2: alloc_pages(GFP_NOWAIT, 0) on CPU 0: page 0x2c01 of N0/DMA32"


@pytest.mark.parametrize("line, answer", [
    ("machine=highmem gfp=GFP_HIGHUSER requests=1", "page 0x3c00 of HighMem, which has no address"),
    ("machine=highmem gfp=GFP_HIGHUSER requests=1 call=__get_free_pages", "address 0xc1c00000"),
    ("full=0 thisnode=yes requests=1", "Request 1 of 1: alloc_pages(GFP_NOWAIT|__GFP_THISNODE, 0) on CPU 0: nothing"),
    ("requests=30", "Requests 27 to 30 of 30"),
])
def test_the_heading_says_what_the_caller_gets(line, answer):
    assert answer in PolicyPanel(line).label


@pytest.mark.parametrize("wrong, words", [
    ({"cpu": 2}, "cpu must be 0 to 1 on the machine two, got 2"), ({"cpu": 5}, "cpu must be a whole number"),
    ({"policy": "preferred", "nodes": "0,1"}, "nodes must be one node for the policy preferred, got 0,1"),
    ({"policy": "bind", "nodes": "2"}, "nodes must be of 0 to 1 on the machine two, got 2"),
    ({"full": "2,3"}, "full must be of 0 to 1 on the machine two, got 2,3"),
    ({"order": 11}, "order must be a whole number"),
    ({"machine": "duo"}, "machine must be one of two, ring, zones, highmem"),
])
def test_an_error_is_said_and_all_stays(wrong, words):
    panel = PolicyPanel(raise_errors=False)
    data = panel.stepper.data
    panel.set(**wrong)
    assert words in panel.knobs.problem and "Traceback" not in panel.knobs.problem
    assert panel.setting == Setting() and panel.knobs.values == Setting().values() and panel.stepper.data == data
    panel.set(order=1)
    assert panel.knobs.problem == "" and panel.setting == Setting(order=1)


def test_a_build_without_numa_has_no_policy():
    with pytest.raises(ValueError, match="policy must be default on highmem, a build without NUMA, got bind"):
        PolicyPanel("machine=highmem policy=bind")


def test_on_another_machine_the_knobs_go_back_where_they_must(panel):
    panel.set(machine="ring")
    panel.set(cpu=3, policy="bind", nodes="2,3")
    panel.set(machine="two")
    assert panel.setting == Setting(policy="bind")
    panel.set(machine="highmem")
    assert panel.setting == Setting(machine="highmem") and panel.knobs.problem == ""


def test_a_typed_line_turns_all_knobs(panel):
    panel.knobs.typed = 'PolicyPanel("machine=ring full=0,1")'
    assert panel.setting == Setting(machine="ring", full="0,1") and panel.knobs.values == panel.setting.values()


@pytest.mark.parametrize("line", ["", "machine=ring requests=200", "machine=ring full=0,1 requests=8 order=3",
                                  "machine=zones order=9 requests=40", "machine=highmem gfp=GFP_HIGHUSER requests=9",
                                  "machine=ring policy=bind nodes=2,3 order=9 requests=20 gfp=GFP_KERNEL"])
def test_what_is_saved_fits(line):
    data, _ = PolicyPanel(line)._repr_mimebundle_()
    size = len(json.dumps({"text/html": data["text/html"], "text/plain": data["text/plain"]}))
    print(line, size)
    assert size <= 39_800
