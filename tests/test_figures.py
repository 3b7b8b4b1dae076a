"""The key pictures of a lesson as files for other people's slides."""
import pathlib
import subprocess
import sys

import mmviz as mv

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGINS = {".pdf": b"%PDF", ".svg": b"<?xml", ".png": b"\x89PNG"}


def test_pictures_in_three_formats(tmp_path):
    lesson = ROOT / "notebooks" / "00-map.ipynb"
    command = [sys.executable, ROOT / "notebooks" / "_figures.py", tmp_path, lesson]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    files = sorted(tmp_path.iterdir())
    assert done.stdout == f"00-map.ipynb: {len(files) // 3} pictures\n" and len(files) >= 12
    for file in files:
        assert file.read_bytes().startswith(BEGINS[file.suffix]) and file.stem.startswith("00-map-")


def test_the_key_picture_of_a_stepper():
    machine = mv.toy(4)
    with mv.record(machine) as rec:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    last, third = mv.Stepper(rec, mv.draw_free_area), mv.Stepper(rec, mv.draw_free_area, at=3)
    assert last.scene == mv.draw_free_area(rec.at(len(rec)), rec[-1])
    assert third.scene == mv.draw_free_area(rec.at(3), rec[2]) != last.scene
