"""How long a reader waits before the first cell, and what `import mmviz` leaves alone. Printed, never asserted."""

import statistics
import subprocess
import sys
import time

import pytest

LIBRARIES = ["sys", "mmviz", "matplotlib.pyplot", "networkx", "ipywidgets", "anywidget"]
HEAVY = ("matplotlib", "networkx", "numpy", "ipywidgets", "anywidget", "IPython")


def seconds(library: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {library}"], check=True)
    return time.perf_counter() - started


@pytest.mark.parametrize("library", LIBRARIES)
def test_start(library):
    times = [seconds(library) for _ in range(7)]
    print(f"\nimport {library:18} median {statistics.median(times) * 1000:5.0f} ms, worst {max(times) * 1000:5.0f} ms")


def test_import_alone():
    """The import by itself, without the start of Python."""
    code = ("import sys, time; t = time.perf_counter(); import mmviz; t = time.perf_counter() - t; "
            f"print(t, *(name for name in {HEAVY} if name in sys.modules))")
    runs = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
            for _ in range(7)]
    median = statistics.median(float(run[0]) for run in runs) * 1000
    print(f"\nimport mmviz by itself: median {median:.1f} ms; heavy modules loaded: {', '.join(runs[0][1:]) or 'none'}")
