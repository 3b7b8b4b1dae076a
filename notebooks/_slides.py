#!/usr/bin/env python3
"""Make a folder with an offline deck of every lesson, and an index page.

python notebooks/_slides.py [FOLDER] [NOTEBOOK...]      the default folder is build/slides

The slides are chosen by the notebooks' metadata; the pictures step, the questions fold out, the press of `s` opens the
speaker notes: the sentences of each stepper. reveal.js comes from the package sphinx-revealjs, which ships its files;
nothing of Sphinx runs. Add ?print-pdf to a deck's address to print a handout.
"""

import html
import importlib.util
import json
import pathlib
import re
import shutil
import sys

import nbconvert
import nbformat

from mmviz.explore.coding import unshrink
from mmviz.explore.page import script, style

HERE = pathlib.Path(__file__).resolve().parent
DATA = re.compile(r'<script type="application/json" class="mmviz-data">(.*?)</script>', re.S)
SHOWN = ["text/html", "image/svg+xml", "text/markdown", "text/plain"]
MOST_NOTES = 60  # sentences of a stepper that a speaker may want to read


def reveal():
    """The folder of reveal.js that sphinx-revealjs brings."""
    package = importlib.util.find_spec("sphinx_revealjs")
    if package is None:
        sys.exit("sphinx-revealjs is missing, which ships reveal.js: run make venv, or pip install sphinx-revealjs")
    return pathlib.Path(package.origin).parent / "_static" / "revealjs"


def copy_assets(folder):
    """What all decks share."""
    source, assets = reveal(), folder / "assets"
    shutil.copytree(source / "dist", assets / "reveal", dirs_exist_ok=True)
    shutil.copy(source / "plugin" / "notes" / "notes.js", assets / "reveal")
    shutil.copy(source / "LICENSE", assets / "reveal")
    shutil.copy(HERE / "_deck" / "deck.css", assets)
    plain = f"(() => {{\n{script()}\n}})();\n"  # a page from a file loads no modules
    (assets / "mmviz.js").write_text(plain, encoding="utf-8")
    (assets / "mmviz.css").write_text(style(), encoding="utf-8")


def sentences(output):
    """What the steppers of an output say, step by step."""
    for data in map(json.loads, DATA.findall(output)):
        texts, number = unshrink(data["texts"]), 0
        for step, text in enumerate(data["sentences"].split(",")):
            number = int(text, 36) if text else number
            yield f"{step}. {texts[number]}"


def speaker_notes(cell):
    """A cell of notes with the sentences of a cell's steppers; None if it has none."""
    htmls = ["".join(output["data"]["text/html"]) for output in cell.get("outputs", ())
             if "text/html" in output.get("data", {})]
    said = [sentence for text in htmls for sentence in sentences(text)][:MOST_NOTES]
    if not said or cell.metadata.get("slideshow", {}).get("slide_type") == "skip":
        return None
    items = "\n".join(f"<br>{html.escape(sentence)}" for sentence in said)
    notes = nbformat.v4.new_markdown_cell(f"Step by step:\n{items}")
    notes.metadata.slideshow = {"slide_type": "notes"}
    return notes


def lecture(notebook):
    """The notebook with speaker notes behind its steppers: first what the lesson says of them, then their sentences."""
    cells, waiting = [], []
    for cell in notebook.cells:
        explains = cell.metadata.get("slideshow", {}).get("slide_type") == "notes"
        cells += [cell, *waiting] if explains else [*waiting, cell]
        notes = speaker_notes(cell)
        waiting = [notes] if notes else []
    notebook.cells = [*cells, *waiting]
    return notebook


def title(notebook):
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def question(notebook):
    """The question of a lesson: what its first cell has in bold."""
    found = re.search(r"\*\*(.+?\?)\*\*", notebook.cells[0].source, re.S)
    return found.group(1) if found else ""


def make_deck(path, folder):
    """One deck; its title, its question and its file name."""
    notebook = lecture(nbformat.read(path, as_version=4))
    exporter = nbconvert.SlidesExporter(
        template_file=str(HERE / "_deck" / "deck.html.j2"), exclude_input=True, exclude_input_prompt=True,
        exclude_output_prompt=True, display_data_priority=SHOWN)
    body, _ = exporter.from_notebook_node(notebook, resources={"deck_title": title(notebook)})
    (folder / f"{path.stem}.html").write_text(body, encoding="utf-8")
    return title(notebook), question(notebook), f"{path.stem}.html"


def write_index(decks, folder):
    """The page that leads to the decks."""
    rows = "\n".join(f'<li><a href="{name}">{html.escape(head)}</a><br>{html.escape(asked)} '
                     f'<a href="{name}?print-pdf">handout</a>, '
                     f'<a href="{name}?print-pdf&amp;showNotes=separate-page">with notes</a></li>'
                     for head, asked, name in decks)
    (folder / "index.html").write_text(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>mmviz: the lectures</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<style>body{font:18px/1.5 system-ui,sans-serif;max-width:46em;margin:2em auto;padding:0 1em;color:#1b1e23;"
        "background:#fff}li{margin:.8em 0}a{color:#00588c}</style></head><body><h1>mmviz: the lectures</h1>"
        "<p>Arrow keys turn the pages; a picture steps with the arrow keys once it has the focus; <kbd>s</kbd> opens "
        f"the speaker notes, <kbd>o</kbd> the overview.</p><ol>\n{rows}\n</ol></body></html>\n", encoding="utf-8")


def main(arguments):
    folder = pathlib.Path(arguments[0] if arguments else HERE.parent / "build" / "slides")
    paths = [pathlib.Path(name) for name in arguments[1:]] or sorted(HERE.glob("*.ipynb"))
    folder.mkdir(parents=True, exist_ok=True)
    copy_assets(folder)
    decks = [make_deck(path, folder) for path in paths]
    write_index(decks, folder)
    for _, _, name in decks:
        print(f"{name}: {(folder / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
