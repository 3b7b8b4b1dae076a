"""Blank and solved editions come from one source: no exercise without a solution, and every solution is accepted."""
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ASKED = ("Your turn: put your answer in", "Not yet: ")


def code(path):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def said(cell):
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_exercise_has_a_solution(path):
    open_ones = [cell for cell in code(path) if any(word in said(cell) for word in ASKED)]
    assert ["".join(cell["source"]) for cell in open_ones if not cell["metadata"].get("solution")] == []


@pytest.fixture(scope="module")
def editions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editions")
    subprocess.run([sys.executable, ROOT / "notebooks" / "_editions.py", folder], check=True)
    return folder


@pytest.mark.parametrize("name", [path.name for path in LESSONS])
def test_the_editions(editions, name):
    blank, solved = (code(editions / edition / name) for edition in ("blank", "solved"))
    assert not any(cell["outputs"] or cell["execution_count"] or "solution" in cell["metadata"] for cell in blank)
    assert all(cell["execution_count"] for cell in solved if "".join(cell["source"]).strip())
    assert not any(word in said(cell) for cell in solved for word in ASKED)
    assert not any("solution" in cell["metadata"] for cell in solved)


def test_a_wrong_solution_is_not_accepted(tmp_path):
    notebook = json.loads((ROOT / "notebooks" / "00-map.ipynb").read_text(encoding="utf-8"))
    cell = next(cell for cell in notebook["cells"] if "solution" in cell["metadata"])
    cell["metadata"]["solution"] = "mine = 1"
    (tmp_path / "wrong.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    done = subprocess.run([sys.executable, ROOT / "notebooks" / "_editions.py", tmp_path, tmp_path / "wrong.ipynb"],
                          capture_output=True, text=True)
    assert done.returncode and "a solution is not accepted:\nmine = 1" in done.stderr
