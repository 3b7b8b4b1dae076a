"""The outline, line by line: which function of the simulator runs it, in which lesson, and where v5.4 differs.

    data/outline.md              the outline that the series follows, as it stands in the notes
    data/outline_coverage.csv    for each of its lines, in order: the function, the lesson, what v5.4 does otherwise

`coverage` reads both and asks the notebooks: a line is covered if its function is in the call stack of a picture that
its lesson keeps, or in a call tree that it prints.
"""
from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import CaptureError
from ..kernel import DATA
from .coding import unshrink

COLUMNS = ("line", "runs", "lesson", "differs")
NOTEBOOKS = DATA.parent / "notebooks"
STORY = re.compile(r'<script type="application/json" class="mmviz-data">(.*?)</script>', re.S)
TREE = re.compile(r"^ *(\w+)\(.*\)(?: \{|;)$", re.M)  # a line of `narrate`
UNNAMED = ("mm/highmem.c", "kmap")  # headings of the outline without a line under them


class Line(NamedTuple):
    """One line of the outline, what runs it, where that is recorded, and what v5.4 does otherwise."""

    text: str
    runs: str
    lesson: str
    differs: str
    recorded: bool


def coverage(notebooks: Path = NOTEBOOKS) -> list[Line]:
    """Every line of the outline.

    Raises
    ------
    CaptureError
        If the table lacks a column, or is not of the outline's lines, in their order.
    """
    lines = list(outline_lines())
    with open(DATA / "outline_coverage.csv", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := set(COLUMNS) - set(reader.fieldnames or ()):
            raise CaptureError(f"data/outline_coverage.csv:1: the columns must be {', '.join(COLUMNS)}, missing: "
                               f"{', '.join(sorted(missing))}")
        rows = list(reader)
    for number, (line, row) in enumerate(zip(lines, rows, strict=False), 2):
        if line != row["line"]:
            raise CaptureError(f"data/outline_coverage.csv:{number}: the outline says {line!r}, got {row['line']!r}")
    if len(lines) != len(rows):
        raise CaptureError(f"data/outline_coverage.csv: the outline has {len(lines)} lines, got {len(rows)}")
    recorded = {lesson: recorded_functions(notebooks, lesson) for lesson in {row["lesson"] for row in rows}}
    return [Line(row["line"], row["runs"], row["lesson"], row["differs"], row["runs"] in recorded[row["lesson"]])
            for row in rows]


def outline_lines() -> Iterator[str]:
    """The lines of the outline's blocks without their indentation, and the headings that have no block."""
    inside = False
    for line in (DATA / "outline.md").read_text(encoding="utf-8").splitlines():
        text = line.strip()
        inside ^= text == "```"
        if (inside and text not in ("", "```")) or text.removeprefix("#### ") in UNNAMED:
            yield text


def recorded_functions(notebooks: Path, lesson: str) -> set[str]:
    """The functions in the call stacks of the pictures that a lesson keeps, and in the call trees that it prints."""
    found: set[str] = set()
    for path in notebooks.glob(f"{lesson}-*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", ()):
                found |= set(TREE.findall("".join(output.get("text", ""))))
                for story in STORY.findall("".join(output.get("data", {}).get("text/html", ""))):
                    found |= _functions(json.loads(story))
    return found


def _functions(story: dict[str, list[list[int]]]) -> set[str]:
    texts = unshrink(story["texts"])  # type: ignore[arg-type]
    return {texts[symbol] for symbol, _, _ in story["functions"]}


def table(lines: list[Line]) -> str:
    """The lines as a table in Markdown."""
    rows: list[str] = []
    for line in lines:
        text, place = line.text.replace("|", r"\|"), line.lesson if line.recorded else f"{line.lesson} (missing)"
        rows.append(f"| `{text}` | `{line.runs}` | {place} | {line.differs} |")
    head = ["| the outline's line | what runs it | lesson | where v5.4 differs |", "|---|---|---|---|"]
    return "\n".join(head + rows)
