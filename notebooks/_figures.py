#!/usr/bin/env python3
"""Write the key pictures of every lesson as PDF, SVG and PNG, for other people's slides and papers.

python notebooks/_figures.py [FOLDER] [NOTEBOOK...]      the default folder is build/figures

The cells run in turn, without Jupyter. What a cell that is on a slide shows last is written: a picture as it is, of a
stepper its key picture. The names say where a picture stands: 03a-page_alloc-12.pdf is of cell 12.
"""

import ast
import contextlib
import io
import os
import pathlib
import sys

import nbformat

from mmviz.draw.scene import Scene
from mmviz.explore.player import Player

HERE = pathlib.Path(__file__).resolve().parent
FORMATS = ("pdf", "svg", "png")
SHOWN = ("slide", "subslide", "fragment", "-")  # "-" goes on with the slide before


def value_of(source, names):
    """Run a cell; what its last line is worth, or None if that is no expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None


def picture(value):
    """The scene that a value shows; None for what is no picture of a machine."""
    if isinstance(value, Player):
        return value.scene
    return value if isinstance(value, Scene) else None


def write(path, folder):
    """The pictures of one lesson; how many there are."""
    notebook, names, count = nbformat.read(path, as_version=4), {"__name__": "__main__", "display": print}, 0
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or "raises-exception" in cell.metadata.get("tags", ()):
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            scene = picture(value_of(cell.source, names))
        if scene and cell.metadata.get("slideshow", {}).get("slide_type") in SHOWN:
            count += 1
            for kind in FORMATS:
                scene.savefig(folder / f"{path.stem}-{number:02}.{kind}")
    return count


def main(arguments):
    folder = pathlib.Path(arguments[0] if arguments else HERE.parent / "build" / "figures").resolve()
    paths = [pathlib.Path(name).resolve() for name in arguments[1:]] or sorted(HERE.glob("*.ipynb"))
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(HERE)
    for path in paths:
        print(f"{path.name}: {write(path, folder)} pictures")


if __name__ == "__main__":
    main(sys.argv[1:])
