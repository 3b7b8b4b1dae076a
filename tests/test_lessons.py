"""What every lesson owes its reader, as far as a program can see it (design: an argument, not a demonstration)."""
import ast
import json
import pathlib
import re
import statistics
from typing import Any

import pytest

from mmviz.kernel import kernel_symbols

ROOT = pathlib.Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECTIONS = ("01 and 05", "02", "03", "04", "06", "07")
CITATION = re.compile(r"`((?:mm|include|arch|kernel)/[\w./-]+\.[ch]):(\w+)`")


def cells(path: pathlib.Path, kind: str) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def prose(path: pathlib.Path) -> str:
    return "\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))


def tags(path: pathlib.Path) -> set[str]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return {tag for cell in found for tag in cell["metadata"].get("tags", [])}


def test_there_are_lessons() -> None:
    assert {path.name for path in LESSONS} >= {"00-map.ipynb", "03a-page_alloc.ipynb", "03b-page_alloc.ipynb"}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
class TestLesson:
    def test_it_opens_with_a_question_and_says_what_it_is_good_for(self, path: pathlib.Path) -> None:
        title = "".join(cells(path, "markdown")[0]["source"])
        assert title.startswith("# ") and re.search(r"\*\*[^*]+\?\*\*", title)
        assert "After this lesson you can" in title and "Time: about" in title

    def test_it_has_every_part_of_the_skeleton(self, path: pathlib.Path) -> None:
        text = prose(path).lower()
        if path.stem.startswith("90"):  # no lesson: it has no rounds and no outline, and brings no new idea
            parts = ["three grades", "before and after", "a worked example", "a half-solved example", "mock exam",
                     "hand in", "where it goes next", *(f"## {section}" for section in SECTIONS)]
            assert [part for part in parts if part not in text] == []
            return
        parts = ["first picture", "what the outline leaves out", "## r", "exercises", "five sentences"]
        if not path.stem.startswith("00"):
            parts += ["outline", "against the real kernel", "panel", "where it goes next", "you are here"]
        assert [part for part in parts[1 if path.stem.startswith("00") else 0:] if part not in text] == []

    def test_the_learner_responds_changes_and_constructs(self, path: pathlib.Path) -> None:
        assert {"respond", "change", "construct", "check"} <= tags(path)

    def test_its_words_do_not_belittle(self, path: pathlib.Path) -> None:
        assert re.findall(r"\b(?:simply|just|obviously|of course|trivial\w*)\b", prose(path), re.I) == []

    def test_its_citations_resolve(self, path: pathlib.Path) -> None:
        found = CITATION.findall(prose(path))
        assert found
        assert [(file, symbol) for file, symbol in found if kernel_symbols().get(symbol, ("",))[0] != file] == []

    def test_its_code_is_short_and_needs_mmviz_alone(self, path: pathlib.Path) -> None:
        sources = ["".join(cell["source"]) for cell in cells(path, "code")]
        shown = [source for source in sources if not source.startswith("# Checks: ")]  # those are folded
        assert statistics.median(len(source.splitlines()) for source in shown) <= 3
        modules = {alias.name for source in sources for node in ast.walk(ast.parse(source))
                   if isinstance(node, ast.Import) for alias in node.names}
        assert modules <= {"mmviz", "matplotlib.pyplot"}
        assert not any(isinstance(node, ast.ImportFrom) for source in sources for node in ast.walk(ast.parse(source)))

    def test_its_checks_are_folded_and_say_what_they_are(self, path: pathlib.Path) -> None:
        checks = [cell for cell in cells(path, "code") if "check" in cell["metadata"].get("tags", [])]
        assert all(cell["metadata"].get("jupyter") == {"source_hidden": True} for cell in checks)
        assert all("".join(cell["source"]).startswith("# Checks: ") for cell in checks)

    def test_every_link_to_a_lesson_leads_somewhere(self, path: pathlib.Path) -> None:
        links = re.findall(r"\]\(([^)#]+\.ipynb)", prose(path))
        assert [link for link in links if not (path.parent / link).exists()] == []

    def test_its_outputs_are_kept(self, path: pathlib.Path) -> None:
        silent = ("check", "construct")
        empty = ["".join(cell["source"]) for cell in cells(path, "code")
                 if not cell["outputs"] and not set(silent) & set(cell["metadata"].get("tags", []))]
        assert empty == []
        assert all(cell["execution_count"] for cell in cells(path, "code"))
