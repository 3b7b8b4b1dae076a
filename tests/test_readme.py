"""What the README says is true: its lines make its picture, its scores are a replay's, its links lead somewhere."""
import pathlib
import re

import pytest

from mmviz.capture.kmap_log import load_kmap_log, replay_kmap
from mmviz.capture.load import load_capture
from mmviz.capture.page_table import load_operations, replay_operations
from mmviz.capture.replay import replay
from mmviz.capture.slub import replay_slub
from mmviz.capture.slub_rows import load_slub
from mmviz.explore.outline import coverage, table

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GROUPS = {
    "m1536i386 H1, H2": ["m1536i386/H1*", "m1536i386_H2*"], "m256frag nocompact W5b": ["m256frag_nocompact_W5b*"],
    "m256atomic A1": ["m256atomic/A1*"],
    "m512 W0, W1, W2, W2b, W4": ["m512/W0*", "m512_W1*", "m512_W2_*", "m512_W2b*", "m512_W4*"],
    "m512numa N1, N2, N4": ["m512numa/N1*", "m512numa_N2*", "m512numa/N4*"], "m512smp2 M1": ["m512smp2/M1*"],
    "m512zones Z1, Z2": ["m512zones/Z1*", "m512zones_Z2*"],
}


def test_the_lines_of_code_make_the_picture(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README, re.S)
    assert code is not None
    exec(code[1], {})
    assert (tmp_path / "readme.svg").read_text() == (ROOT / "data/readme.svg").read_text()


@pytest.mark.parametrize("row", re.findall(r"^\| (m\d.*?) \|$", README, re.M))
def test_the_scores_are_those_of_a_replay(row: str) -> None:
    name, *numbers, final = [cell.strip() for cell in row.split("|")]
    group = next(key for key in GROUPS if name.startswith(key))
    paths = [path for pattern in GROUPS[group] for path in (ROOT / "data/captures").glob(pattern + ".gz")
             if not path.name.endswith(".trace.gz")]
    scores = [replay(capture) for path in paths for capture in load_capture(path)]
    sums = [sum(getattr(score, field) for score in scores) for field in ("allocs", "exact", "inner", "inner_exact")]
    assert [int(number.replace(",", "")) for number in numbers] == sums
    assert final == "identical" and all(score.perfect for score in scores)


def test_every_link_leads_to_a_file() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links and all((ROOT / link).exists() for link in links)


def test_the_addresses_of_kmap_are_those_of_a_replay() -> None:
    said = re.search(r"K1 and K3: ([\d,]+) addresses of kmap and (\d+) of kmap_atomic, all exact", README)
    logs = [load_kmap_log(f"m1536i386/{name}") for name in ("K1_kmap_random", "K3_kmap_small")]
    scores = [replay_kmap(log) for log in logs if log is not None]
    assert said is not None and all(score.perfect and not score.flushes for score in scores)
    assert [int(number.replace(",", "")) for number in said.groups()] == [
        sum(score.exact for score in scores), sum(score.exact_atomics for score in scores)]


def test_the_objects_are_those_of_a_replay() -> None:
    paths = [path for folder, names in (("m512slub", "S*"), ("m512numa", "N4*"))
             for path in (ROOT / "data/captures" / folder).glob(f"{names}.snaps.gz")]
    scores = [score for path in paths for capture in load_slub(path) for score in replay_slub(capture)]
    assert all(score.perfect for score in scores) and sum(score.allocs for score in scores) == 6_677
    assert "6,677 addresses of objects, all exact" in README


def test_the_page_tables_are_those_of_a_replay() -> None:
    scores = [replay_operations(load_operations(path)) for path in sorted((ROOT / "data/captures/pt").glob("*.ops"))]
    assert all(score.perfect for score in scores) and len(scores) == 8
    steps, entries = sum(score.steps for score in scores), sum(score.total["ptes"] for score in scores)
    assert f"{steps:,} steps, with every result" in README and f"{entries:,} entries, all exact" in README


def test_the_table_of_the_outline_is_that_of_the_command() -> None:
    assert table(coverage()) in README
