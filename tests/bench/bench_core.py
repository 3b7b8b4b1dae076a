"""What the core costs: with nobody listening, in a checked replay, and beside the least that an allocator can cost.

Everything is a ratio of two things measured in turn in the same run, in seconds of this process alone, so that a slow
or a busy machine does not matter.
"""

import gc
import gzip
import importlib.util
import json
import pathlib
import statistics
import tracemalloc
from time import process_time

import pytest

import mmviz as mv
from mmviz.kernel import DATA

RUNS = 15


def neighbour(name):
    spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


stripped, floor = neighbour("stripped"), neighbour("floor")


@pytest.fixture(autouse=True)
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def timed(action):
    started = process_time()
    action()
    return process_time() - started


# ---------------------------------------------------------------- nobody listens


class Replayer:
    """The operations of a capture, done by one of the cores; nothing is compared."""

    def __init__(self, core, name):
        self.capture = core.load.load_capture(DATA / "captures" / f"{name}.json.gz")[0]
        self.operations = core.replay.schedule(self.capture.rows)
        self.run = core.replay.run

    def seconds(self):
        machine, run = self.capture.machine(), self.run
        started = process_time()
        for operation in self.operations:
            run(machine, operation)
        return process_time() - started


def compare(ours, others, runs=RUNS):
    """Median times of two things that take turns, and the median of their ratios."""
    pairs = [(ours.seconds(), others.seconds()) if i % 2 else (others.seconds(), ours.seconds())[::-1]
             for i in range(runs)]
    mine, theirs = map(statistics.median, zip(*pairs, strict=True))
    return mine, theirs, statistics.median(a / b for a, b in pairs)


@pytest.mark.parametrize("capture", ["m512_W2b_small", "m512_W4_files"])
def test_cost_with_nobody_listening(capture):
    guarded = Replayer(stripped.core("guarded"), capture)
    bare = Replayer(stripped.core("bare", lambda place: True), capture)
    mine, theirs, ratio = compare(guarded, bare)
    print(f"\nnobody listens, {capture}: {mine * 1e3:.1f} ms, without its {len(stripped.guards())} guards "
          f"{theirs * 1e3:.1f} ms: {mine / theirs - 1:+.1%} (pair by pair {ratio - 1:+.1%}; target +3 %)")


# ---------------------------------------------------------------- a checked replay


def test_checked_replay():
    gc.enable()  # as a user runs it; json.load pays for the collector too
    path = DATA / "captures" / "m512_W4_files.json.gz"
    rows = [(timed(lambda: json.loads(gzip.decompress(path.read_bytes()))), *_replayed(path)) for _ in range(5)]
    base, loading, replaying = map(statistics.median, zip(*rows, strict=True))
    print(f"\nchecked replay of m512_W4_files: gzip+json {base * 1e3:.0f} ms, load_capture {loading * 1e3:.0f} ms, "
          f"replay {replaying * 1e3:.0f} ms: {replaying / base:.1f}x, with loading {(loading + replaying) / base:.1f}x "
          "(target 6x)")


def _replayed(path):
    started = process_time()
    capture = mv.load_capture(path)[0]
    loaded = process_time()
    score = mv.replay(capture)
    ended = process_time()
    assert score.perfect
    return loaded - started, ended - loaded


# ---------------------------------------------------------------- beside the floor


class Core:
    """The core behind the two calls that the floor has; one zone of 2^bits pages, nothing set by hand."""

    def __init__(self, bits):
        self.machine = mv.boot([mv.ZoneSize("Normal", 0x100000, 1 << bits)])

    def alloc(self, order):
        return mv.alloc_pages(self.machine, mv.GFP_KERNEL, order)

    def free(self, pfn, order):
        getattr(mv, "__free_pages")(self.machine, pfn, order)  # written out, its name would be mangled


@pytest.fixture(scope="module")
def measured():
    """Time by (bits, live): those of the core and of the floor, taken in turn."""
    return {}


@pytest.mark.parametrize("bits, live", [(18, 1_000), (18, 10_000), (28, 1_000), (28, 10_000), (28, 100_000)])
def test_fast_path(bits, live, measured):
    found = measured[bits, live] = floor.compare(Core, floor.Bare, bits, live)
    print(f"\n2^{bits} pages, {live:,} live: " + "; ".join(
        f"{name} {mine * 1e6:.2f} us, floor {least * 1e6:.2f} us: {ratio:.1f}x" for name, (mine, least, ratio)
        in found.items()) + " (target 8x)")


def test_growth(measured):
    """How much dearer a request becomes with a larger live set, and with a larger machine."""
    if len(measured) < 5:
        pytest.skip("needs the measurements of test_fast_path")
    for name in ("churn", "frag"):
        many = measured[28, 100_000][name][0] / measured[28, 1_000][name][0]
        wide = measured[28, 10_000][name][0] / measured[18, 10_000][name][0]
        print(f"\n{name}: 100,000 live against 1,000 {many:.2f}x (target 1.5x); 2^28 pages against 2^18 {wide:.2f}x "
              "(target 1.25x)")


def test_boot_of_a_terabyte():
    took = statistics.median(timed(lambda: Core(28)) for _ in range(9))
    tracemalloc.start()
    machine = Core(28)
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"\nboot of 2^28 pages (1 TiB): {took * 1e3:.2f} ms (target 20 ms), {size / 1e6:.2f} MB kept, "
          f"{peak / 1e6:.2f} MB at most (target 10 MB); {machine.machine.zones()[0].spanned_pages:,} pages")
