"""The narrated call tree against function_graph traces of the real kernel, built with noinline.

Compared are the names visible in both, from the caller's function down: the same names, at the same depth, in the same
order. What may differ stands in data/call_tree_exceptions.csv, each with its reason.
"""
import csv
import gzip
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import mmviz as mv
from mmviz.kernel import DATA
from mmviz.mm.zone import add_to_free_area, del_page_from_free_area
from mmviz.trace import Recording

Tree = list[tuple[int, str]]  # (depth, symbol) in order
GRAPHS = DATA / "captures" / "m512graph_noinline"
ROOT = "__alloc_pages_nodemask"


def graph(name: str, folder: Path = GRAPHS) -> Tree:
    """The calls of a function_graph trace; compiler suffixes such as .isra.0 dropped."""
    lines = gzip.decompress((folder / f"{name}.graph.gz").read_bytes()).decode().splitlines()
    calls = (re.match(r"[^|]*\|  ( *)([\w.]+)(?: \[\w+\])?\(\)", line) for line in lines)
    return [(len(call[1]) // 2, call[2].split(".")[0]) for call in calls if call]


def below(tree: Tree, root: str, containing: str = ROOT) -> Tree:
    """The first subtree of `root` that has a call of `containing`."""
    for start, (depth, symbol) in enumerate(tree):
        if symbol == root:
            end = next((i for i in range(start + 1, len(tree)) if tree[i][0] <= depth), len(tree))
            if containing in {name for _, name in tree[start:end]}:
                return tree[start:end]
    raise AssertionError(f"no {root} with {containing} in the trace")


def narrated(recording: Recording) -> Tree:
    return [(depth, call.symbol) for root in recording.calls() for depth, call in root.walk()]


def visible(tree: Tree, names: set[str]) -> Iterator[tuple[int, str]]:
    """The calls of these names, with the depth that they have when all others are left out."""
    above: list[int] = []
    for depth, symbol in tree:
        while above and above[-1] >= depth:
            above.pop()
        if symbol in names:
            yield len(above), symbol
            above.append(depth)


def common(ours: Tree, theirs: Tree) -> tuple[Tree, Tree]:
    with (DATA / "call_tree_exceptions.csv").open(newline="") as lines:
        once = {row["symbol"] for row in csv.DictReader(lines) if row["how"] == "repeats"}
    names = {name for _, name in ours} & {name for _, name in theirs}

    def tidy(tree: Tree) -> Tree:
        runs = [list(run) for _, run in groupby(visible(tree, names))]
        return [call for run in runs for call in (run[:1] if run[0][1] in once else run)]
    return tidy(ours), tidy(theirs)


def order0_splits(theirs: Tree) -> list[int]:
    """How often each expand of the trace cut a block: set_page_order is called for every half."""
    splits: list[int] = []
    for _, symbol in theirs:
        if symbol == "expand":
            splits.append(0)
        elif symbol == "set_page_order" and splits:
            splits[-1] += 1
    return splits


def machine_with_blocks(orders: list[int]) -> mv.Machine:
    """toy(64) with batch 31 and an UNMOVABLE block of each of these orders; the rest is MOVABLE, of the top order."""
    machine = mv.toy(64, batch=31)
    zone = machine.zone("DMA32")
    del_page_from_free_area(zone, 0x4C00, 10, mv.MIGRATE_MOVABLE)
    for order in orders:
        add_to_free_area(zone, 0x4C00 + (1 << order), order, mv.MIGRATE_UNMOVABLE)
    return machine


def test_a_page_from_the_pcp_list_has_the_kernels_call_tree() -> None:
    machine = mv.toy(64)
    mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    with mv.record(machine) as rec:
        mv.__get_free_pages(machine, mv.GFP_KERNEL, 0)
    ours, theirs = common(below(narrated(rec), "__get_free_pages"), below(graph("G_call_gfp0"), "__get_free_pages"))
    assert ours == theirs
    assert len(ours) == 13


def test_order_3_has_the_kernels_call_tree() -> None:
    theirs = below(graph("G_call_gfp3"), "__get_free_pages")
    machine = machine_with_blocks([3 + order0_splits(theirs)[0]])
    with mv.record(machine) as rec:
        mv.__get_free_pages(machine, mv.GFP_KERNEL, 3)
    ours, theirs = common(below(narrated(rec), "__get_free_pages"), theirs)
    assert ours == theirs
    assert len(ours) == 18


def test_a_refill_has_the_kernels_call_tree() -> None:
    top = "alloc_pages_current"
    theirs = below(graph("G_call_refill"), top, containing="rmqueue_bulk")
    splits = order0_splits(theirs)
    # A block of order n gives 2^n pages; the trace's blocks are those that are not halves of the one before.
    fresh, left = [], 0
    for cuts in splits:
        if not left:
            fresh.append(cuts)
            left = 1 << cuts
        left -= 1
    stolen = fresh.pop()
    assert stolen == 10, "the trace ends in a steal of a top-order block"
    machine = machine_with_blocks(fresh)
    with mv.record(machine) as rec:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    ours, theirs = common(below(narrated(rec), top), theirs)
    assert ours == theirs
    assert len(ours) > 150


def test_zeroing_has_the_kernels_call_tree() -> None:
    machine = mv.toy(64)
    mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    with mv.record(machine) as rec:
        mv.get_zeroed_page(machine, mv.GFP_KERNEL)
    ours, theirs = common(below(narrated(rec), "get_zeroed_page"), below(graph("G_call_zero"), "get_zeroed_page"))
    assert ours == theirs
    assert "kernel_init_free_pages" in {name for _, name in ours}


def test_kmap_has_the_kernels_call_tree() -> None:
    theirs = below(graph("G32_call_kmap", DATA / "captures" / "m1536i386"), "calls")
    machine = mv.i386()
    mv.alloc_pages(machine, mv.GFP_HIGHUSER, 0)
    with mv.record(machine) as rec:
        pfn = mv.alloc_pages(machine, mv.GFP_HIGHUSER, 0)
        mv.kmap(machine, pfn)
        mv.kunmap(machine, pfn)
        mv.kunmap_atomic(machine, mv.kmap_atomic(machine, pfn))
        mv.__free_pages(machine, pfn, 0)
    ours, theirs = common(narrated(rec), [(depth - 1, name) for depth, name in theirs[1:]])
    assert ours == theirs
    assert [name for _, name in ours if "map" in name or "page_address" in name] == [
        "kmap", "kmap_high", "page_address", "set_page_address", "kunmap", "kunmap_high", "page_address", "kmap_atomic",
        "kmap_atomic_prot", "__kunmap_atomic"]
