"""How long a reader waits before the first cell: `make bench` prints medians, and asserts nothing."""

import statistics
import subprocess
import sys
import time

import pytest

LIBRARIES = ["sys", "mmviz", "matplotlib.pyplot", "networkx", "ipywidgets", "anywidget"]


def seconds(library: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {library}"], check=True)
    return time.perf_counter() - started


@pytest.mark.parametrize("library", LIBRARIES)
def test_start(library):
    times = [seconds(library) for _ in range(7)]
    print(f"\nimport {library:18} median {statistics.median(times) * 1000:5.0f} ms, worst {max(times) * 1000:5.0f} ms")
