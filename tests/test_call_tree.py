"""The narrated call tree against function_graph traces of the real kernel, built with noinline.

Compared are the names visible in both, from the caller's function down: the same names, at the same depth, in the same
order. What may differ stands in data/call_tree_exceptions.csv, each with its reason.
"""
import csv
from itertools import groupby

import mmviz as mv
from mmviz.capture.graph import Tree, below, calls_of, read_graph, visible
from mmviz.kernel import DATA
from mmviz.mm.zone import add_to_free_area, del_page_from_free_area


def graph(name: str) -> Tree:
    return read_graph(f"m512graph_noinline/{name}")


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
    ours, theirs = common(below(calls_of(rec), "__get_free_pages"), below(graph("G_call_gfp0"), "__get_free_pages"))
    assert ours == theirs
    assert len(ours) == 13


def test_order_3_has_the_kernels_call_tree() -> None:
    theirs = below(graph("G_call_gfp3"), "__get_free_pages")
    machine = machine_with_blocks([3 + order0_splits(theirs)[0]])
    with mv.record(machine) as rec:
        mv.__get_free_pages(machine, mv.GFP_KERNEL, 3)
    ours, theirs = common(below(calls_of(rec), "__get_free_pages"), theirs)
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
    ours, theirs = common(below(calls_of(rec), top), theirs)
    assert ours == theirs
    assert len(ours) > 150


def test_zeroing_has_the_kernels_call_tree() -> None:
    machine = mv.toy(64)
    mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    with mv.record(machine) as rec:
        mv.get_zeroed_page(machine, mv.GFP_KERNEL)
    ours, theirs = common(below(calls_of(rec), "get_zeroed_page"), below(graph("G_call_zero"), "get_zeroed_page"))
    assert ours == theirs
    assert "kernel_init_free_pages" in {name for _, name in ours}
