"""`make notebooks` saves outputs that stay as they are, and nbval sees when they do not."""

import importlib.util
import pathlib
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDGET = """import ipywidgets
class Player(ipywidgets.IntSlider):
    def _repr_mimebundle_(self, **options):
        return {**super()._repr_mimebundle_(**options), "text/html": "<b>seven</b>", "text/plain": "Player()"}
Player()"""


def load_runner():
    spec = importlib.util.spec_from_file_location("notebook_runner", ROOT / "notebooks" / "_run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNNER = load_runner()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A notebook with text, a widget and an error that was meant, run and saved."""
    path = tmp_path_factory.mktemp("lesson") / "lesson.ipynb"
    error = new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]})
    cells = [new_markdown_cell("# Seven"), new_code_cell("3 + 4"), new_code_cell(WIDGET), error]
    nbformat.write(new_notebook(cells=cells), path)
    assert RUNNER.run(path)
    return path


def test_a_second_run_writes_the_same_bytes(saved):
    before = saved.read_bytes()
    assert RUNNER.run(saved)
    assert saved.read_bytes() == before


def test_html_and_text_alone_are_saved(saved):
    notebook = nbformat.read(saved, as_version=4)
    _, _, widget, _ = notebook.cells
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert widget.outputs[0].data == {"text/html": "<b>seven</b>", "text/plain": "Player()"}
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3]


def nbval(path):
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-current-env", str(path)]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True)


def test_nbval_accepts_what_was_saved(saved):
    run = nbval(saved)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("shown, falsified", [('"7"', '"8"'), ("<b>seven</b>", "<b>eight</b>")])
def test_nbval_sees_a_falsified_output(saved, tmp_path, shown, falsified):
    *head, outputs = saved.read_text(encoding="utf-8").partition('"outputs"')
    path = tmp_path / "false.ipynb"
    path.write_text("".join(head) + outputs.replace(shown, falsified, 1), encoding="utf-8")
    run = nbval(path)
    assert (run.returncode, "mismatch" in run.stdout) == (1, True), run.stdout


def alter(cell):
    data = next(output["data"] for output in cell["outputs"] if "data" in output)
    data["text/html"] = data["text/html"].replace("0x4c00", "0x4c01", 1)


def remove(cell):
    cell["outputs"].clear()


@pytest.mark.parametrize("change", [alter, remove])
def test_a_committed_output_that_was_tampered_with_is_seen(tmp_path, change):
    notebook = nbformat.read(ROOT / "notebooks" / "00-map.ipynb", as_version=4)
    stepper = next(cell for cell in notebook.cells if cell.source.endswith("mv.Stepper(rec, mv.draw_free_area)"))
    before = str(stepper.outputs)
    change(stepper)
    assert str(stepper.outputs) != before
    nbformat.write(notebook, tmp_path / "00-map.ipynb")
    run = nbval(tmp_path / "00-map.ipynb")
    assert run.returncode == 1 and "1 failed" in run.stdout, run.stdout


@pytest.mark.parametrize(
    "data, complaint",
    [
        ({"image/png": "iVBO"}, "PNG"),
        ({"text/html": "x" * 40_001}, "40,000"),
        ({"text/plain": "<mmviz.Zone object at 0x7f3a5c0d1e50>"}, "address"),
        ({"text/plain": f"{ROOT}/mmviz"}, "path"),
        ({}, "widget"),
    ],
)
def test_what_must_not_be_committed_is_named(data, complaint):
    cell = new_code_cell("show()", execution_count=1, outputs=[new_output("display_data", data)])
    (found,) = RUNNER.complaints(new_notebook(cells=[cell]))
    assert complaint in found


def test_a_notebook_is_at_most_a_megabyte():
    outputs = [new_output("display_data", {"text/plain": "x" * 30_000}) for _ in range(40)]
    (found,) = RUNNER.complaints(new_notebook(cells=[new_code_cell("show()", execution_count=1, outputs=outputs)]))
    assert "1,000,000" in found


def test_a_cell_that_did_not_run_is_named():
    (found,) = RUNNER.complaints(new_notebook(cells=[new_code_cell("show()")]))
    assert "did not run" in found


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_committed_notebooks_are_as_the_runner_leaves_them(path):
    notebook = nbformat.read(path, as_version=4)
    assert list(RUNNER.complaints(notebook)) == []
    RUNNER.tidy(notebook)
    assert nbformat.writes(notebook).rstrip("\n") == path.read_text(encoding="utf-8").rstrip("\n")
