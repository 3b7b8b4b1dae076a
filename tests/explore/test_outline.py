"""Every line of the outline is run by a function, and recorded in a lesson; the table is of the outline's own lines."""
import subprocess
import sys

import pytest

from mmviz.errors import CaptureError
from mmviz.explore import outline
from mmviz.kernel import kernel_symbols
from mmviz.trace import mirrored


def test_every_line_is_covered():
    lines = outline.coverage()
    assert [line for line in lines if not line.recorded] == []
    assert len(lines) == 80 and {line.lesson for line in lines} == {"01", "02", "03a", "04", "05", "06", "07"}


def test_what_runs_a_line_is_a_function_of_the_kernel():
    assert {line.runs for line in outline.coverage()} <= set(kernel_symbols())
    subprocess.run([sys.executable, "-c", "import mmviz.mm.patched as p; p.patched()"], check=True)  # loads every core
    from mmviz.mm.patched import patched
    patched()
    assert {line.runs for line in outline.coverage()} <= set(mirrored())


def test_a_lesson_that_records_nothing_covers_nothing(tmp_path):
    (tmp_path / "03a-empty.ipynb").write_text('{"cells": []}')
    assert not any(line.recorded for line in outline.coverage(tmp_path))


@pytest.mark.parametrize("change, told", [
    (lambda rows: rows[:-1], r"outline_coverage.csv.*the outline"),
    (lambda rows: [rows[0], *rows[2:], rows[1]], r"outline_coverage.csv.*the outline"),
    (lambda rows: [rows[0].replace("differs", "other"), *rows[1:]], r"outline_coverage.csv:1: .*missing: differs"),
])
def test_a_table_of_other_lines_is_told(monkeypatch, tmp_path, change, told):
    for name in ("outline.md", "outline_coverage.csv"):
        text = (outline.DATA / name).read_text()
        (tmp_path / name).write_text(text if name.endswith("md") else "".join(change(text.splitlines(True))))
    monkeypatch.setattr(outline, "DATA", tmp_path)
    with pytest.raises(CaptureError, match=told):
        outline.coverage()


def test_the_command_prints_the_table():
    done = subprocess.run([sys.executable, "-m", "mmviz", "coverage"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.endswith("80 of 80 lines are recorded in a lesson\n")
    assert "| `expand(zone, page, order, current_order, area, migratetype);` | `expand` | 03a |" in done.stdout
