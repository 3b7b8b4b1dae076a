"""The mapping panel from Python's side: settings as text, the tables that they cost, errors, what is saved."""
import json
from itertools import product

import pytest

from mmviz.explore.mapping_panel import BOUNDARIES, KINDS, PROTS, WORDS, MappingPanel, Setting, places


def last(line):
    return list(places(Setting.parse(line)))[-1].sentence


@pytest.mark.parametrize("values", list(product(WORDS["geometry"], KINDS, PROTS, BOUNDARIES))[::7], ids=str)
def test_every_setting_runs_and_its_text_is_the_setting(values):
    geometry, kind, prot, boundary = values
    setting = Setting(geometry=geometry, kind=kind, prot=prot, boundary=boundary, pages=2)
    assert Setting.parse(str(setting)) == setting
    shown = list(places(setting))
    assert shown[0].name == "mmap" and all(place.sentence.endswith("kB.") for place in shown)


@pytest.mark.parametrize("line, said", [
    ("pages=1 before=0", "3 new tables; VmPTE 12 kB."),  # example 50
    ("pages=4 before=2", "no new table; VmPTE 16 kB."),
    ("pages=2 before=1", "1 new table; VmPTE 16 kB."),
    ("pages=2 before=1 boundary=pmd", "2 new tables; VmPTE 20 kB."),
    ("pages=2 before=1 boundary=pud", "3 new tables; VmPTE 24 kB."),
    ("pages=2 before=1 geometry=i386", "1 new table; VmPTE 8 kB."),
    ("pages=2 before=1 geometry=i386 boundary=pud", "1 new table; VmPTE 8 kB."),
    ("pages=1 before=0 geometry=x86-64-5-level", "3 new tables; VmPTE 12 kB."),
    ("pages=512 before=0 huge=always", "no new table; VmPTE 12 kB."),
    ("pages=4 touch=none", "mmap of 4 pages at 0x7f00001ff000; VmPTE 0 kB."),
    ("pages=4 kind=remapped touch=none", "mmap of 4 pages at 0x7f00001ff000; VmPTE 16 kB."),
    ("pages=6 kind=remapped", "SIGBUS at 0x7f0000204000; VmPTE 16 kB."),
    ("pages=1 prot=---", "SIGSEGV at 0x7f00001ff000; VmPTE 0 kB."),
    ("pages=1 prot=r-x kind=remapped", "mmap is refused: -1; VmPTE 0 kB."),
])
def test_what_a_mapping_costs(line, said):
    assert last(line).endswith(said)


@pytest.mark.parametrize("line, words", [
    ("pages", "a setting must be name=value with a name of geometry, kind, .*, got 'pages'"),
    ("size=3", "name=value with a name of .*, got 'size=3'"), ("pages=5", "pages must be one of 1, 2, .*, got '5'"),
    ("geometry=vax", "geometry must be one of x86-64, .*, got 'vax'"),
    ("pages=1 pages=2", "each name must stand once in a setting, got pages twice"),
])
def test_a_wrong_line_is_refused_in_clear_words(line, words):
    with pytest.raises(ValueError, match=words):
        MappingPanel(line)


def test_knobs_and_line_follow():
    panel = MappingPanel("pages=2")
    before = panel.stepper.data
    panel.set(pages=8, before=4)
    assert panel.setting.pages == 8 and "pages=8 boundary=pte before=4" in panel.knobs.line
    assert panel.stepper.data != before
    panel.knobs.typed = 'MappingPanel("pages=3")'
    assert panel.setting == Setting(pages=3) and panel.knobs.values["pages"] == 3 and panel.knobs.typed == ""


def test_an_error_is_said_and_changes_nothing():
    panel = MappingPanel(raise_errors=False)
    panel.knobs.typed = "pages=99"
    assert "pages must be one of" in panel.knobs.problem and panel.setting == Setting()
    panel.set(pages=2)
    assert panel.knobs.problem == ""
    with pytest.raises(ValueError, match="pages must be one of"):
        MappingPanel().set(pages=99)


@pytest.mark.parametrize("line", ["", "pages=16 before=16", "pages=1024 before=16 geometry=x86-64-5-level"])
def test_it_fits_in_an_output_and_is_the_same_each_time(line):
    bundle, _ = MappingPanel(line)._repr_mimebundle_()
    assert len(json.dumps(bundle["text/html"])) < 40_000
    assert bundle["text/html"] == MappingPanel(line).html() and bundle["text/plain"] == repr(MappingPanel(line))
