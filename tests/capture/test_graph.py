"""function_graph text is read, and set beside what the simulator calls."""
import gzip

import pytest

import mmviz as mv
from mmviz.capture.graph import below, calls_of, compare_calls, read_graph, visible

GFP0 = "m512graph_noinline/G_call_gfp0"


@pytest.fixture
def asked():
    """A page from a pile that has one."""
    machine = mv.toy(64)
    mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    with mv.record(machine) as rec:
        mv.__get_free_pages(machine, mv.GFP_KERNEL, 0)
    return rec


def write(path, *lines):
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_depth_and_symbol_are_read(tmp_path):
    path = write(tmp_path / "a.graph.gz", "# tracer: function_graph", " 0)               |  calls [mmcap]() {",
                 " 0)   1.250 us    |    expand.isra.0();", " 0)   2.000 us    |  } /* calls */")
    assert read_graph(path) == [(0, "calls"), (1, "expand")]


def test_a_file_without_calls_is_refused(tmp_path):
    with pytest.raises(mv.CaptureError, match="must hold lines of a function_graph trace, found none"):
        read_graph(write(tmp_path / "a.graph.gz", "# tracer: nop"))
    with pytest.raises(mv.CaptureError, match="cannot be read"):
        read_graph(tmp_path / "none.graph.gz")


def test_the_first_subtree_is_taken_or_the_first_that_calls_a_function():
    tree = [(0, "a"), (1, "b"), (0, "a"), (1, "c"), (2, "d"), (0, "e")]
    assert below(tree, "a") == [(0, "a"), (1, "b")]
    assert below(tree, "a", containing="d") == [(0, "a"), (1, "c"), (2, "d")]
    with pytest.raises(ValueError, match="root must be a function of the trace, got 'x'"):
        below(tree, "x")
    with pytest.raises(ValueError, match="root must be a function of the trace that calls e, got 'a'"):
        below(tree, "a", containing="e")


def test_depth_is_counted_among_those_that_are_left():
    assert list(visible([(0, "a"), (1, "b"), (2, "c"), (1, "d")], {"a", "c", "d"})) == [(0, "a"), (1, "c"), (1, "d")]


def test_the_real_call_tree_beside_the_simulators(asked):
    said = compare_calls(asked, read_graph(GFP0), "__get_free_pages").splitlines()
    assert said[0].split() == ["__get_free_pages", "both"] and said[2].split() == ["policy_nodemask", "kernel"]
    assert said[-1] == "13 of 20 calls are made by both, in the same order, at the same depth"


def test_another_order_is_said(asked):
    tree = calls_of(asked)
    assert compare_calls(asked, tree, "__get_free_pages").endswith("in the same order, at the same depth")
    swapped = [*tree[:-2], tree[-1], tree[-2]]
    assert compare_calls(asked, swapped, "__get_free_pages").endswith("but not in the same order and depth")
