#!/usr/bin/env python3
"""Run every notebook in its folder and save what it shows, stable and small: a second run writes the same bytes.

python notebooks/_run.py [NOTEBOOK...]
"""

import json
import pathlib
import re
import sys
import time

import nbclient
import nbformat
from nbclient.exceptions import CellExecutionError

HERE = pathlib.Path(__file__).resolve().parent
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
OUTPUT_LIMIT, NOTEBOOK_LIMIT = 40_000, 1_000_000
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+>")


def execute(notebook, folder):
    options = {"kernel_name": "python3", "extra_arguments": ["--log-level=40"], "timeout": 120}
    options["coalesce_streams"] = True  # where a print is cut into chunks depends on the clock
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": folder}}, **options).execute()


def tidy(notebook):
    """Keep what a reader sees; drop what only this run or this machine knows."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.kernelspec = KERNELSPEC
    notebook.metadata.language_info = {"name": "python"}
    for number, cell in enumerate(notebook.cells):
        cell.id = cell.get("id") or f"cell-{number}"
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET, None)


def complaints(notebook):
    """What must not be committed, one sentence each."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            yield f"cell {number} did not run, so nbval would not check it"
        for output in cell.get("outputs", ()):
            yield from (f"cell {number}: {what}" for what in output_complaints(output))
    if (size := len(nbformat.writes(notebook))) > NOTEBOOK_LIMIT:
        yield f"the notebook has {size:,} bytes, at most {NOTEBOOK_LIMIT:,} are allowed"


def output_complaints(output):
    text = json.dumps(output)
    if (size := len(text.encode())) > OUTPUT_LIMIT:
        yield f"an output of {size:,} bytes, at most {OUTPUT_LIMIT:,} are allowed"
    if "image/png" in output.get("data", {}):
        yield "a PNG output, which nbval does not compare: show SVG or HTML"
    if output.get("data") == {}:
        yield "a widget without text/html or text/plain: nothing is left of it in a saved page"
    if str(HERE.parent) in text:
        yield f"a path of this machine ({HERE.parent})"
    if found := ADDRESS.search(text):
        yield f"the address of a Python object, which changes from run to run: {found.group()}"


def run(path):
    """Run one notebook; save it and return True if nothing speaks against it."""
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    try:
        execute(notebook, path.resolve().parent)
    except CellExecutionError as error:
        print(f"{path.name}: failed\n{error}")
        return False
    tidy(notebook)
    found = list(complaints(notebook))
    if not found:
        nbformat.write(notebook, path)
    print("\n  ".join([f"{path.name}: {time.perf_counter() - started:.1f} s" + ", not saved:" * bool(found), *found]))
    return not found


def main(names):
    paths = [pathlib.Path(name) for name in names] or sorted(HERE.glob("*.ipynb"))
    if not paths:
        sys.exit(f"no notebooks in {HERE}")
    sys.exit(1 if [path for path in paths if not run(path)] else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
