#!/usr/bin/env python3
"""Make a blank and a solved edition of every lesson from the one that is committed.

python notebooks/_editions.py [FOLDER] [NOTEBOOK...]      the default folder is build/editions

blank     no outputs: nothing has run, and no solution is in it
solved    every exercise done: the line that asks ("mine = None", "...", or one that ends with "# yours") is replaced by
          the cell's metadata `solution`, and all has run

A solution that `mv.check` does not accept stops the making.
"""

import pathlib
import sys

import nbformat
from _run import execute, tidy

HERE = pathlib.Path(__file__).resolve().parent
ACCEPTED = "Right."


def asks(line):
    """Whether a line of an exercise waits for the learner."""
    return line == "mine = None" or line.startswith("...") or line.endswith("# yours")


def blank(notebook):
    """The edition to hand out."""
    for cell in notebook.cells:
        cell.metadata.pop("solution", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def solved(notebook, folder):
    """The edition of the teacher, and its solved cells."""
    exercises = [cell for cell in notebook.cells if "solution" in cell.metadata]
    for cell in exercises:
        solution = cell.metadata.pop("solution")
        cell.source = "\n".join(solution if asks(line) else line for line in cell.source.splitlines())
    execute(notebook, folder)
    tidy(notebook)
    return notebook, exercises


def make(path, folder):
    """Both editions of one lesson; the number of its exercises."""
    nbformat.write(blank(nbformat.read(path, as_version=4)), folder / "blank" / path.name)
    done, exercises = solved(nbformat.read(path, as_version=4), path.resolve().parent)
    for cell in exercises:
        if ACCEPTED not in str(cell.outputs):
            sys.exit(f"{path.name}: a solution is not accepted:\n{cell.source}")
    nbformat.write(done, folder / "solved" / path.name)
    return len(exercises)


def main(arguments):
    folder = pathlib.Path(arguments[0] if arguments else HERE.parent / "build" / "editions")
    paths = [pathlib.Path(name) for name in arguments[1:]] or sorted(HERE.glob("*.ipynb"))
    for edition in ("blank", "solved"):
        (folder / edition).mkdir(parents=True, exist_ok=True)
    for path in paths:
        print(f"{path.name}: {make(path, folder)} exercises solved")


if __name__ == "__main__":
    main(sys.argv[1:])
