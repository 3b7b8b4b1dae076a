"""SLUB's narrated call tree against function_graph traces of the real kernel, plain and built with noinline.

Compared are the names visible in both, at the same depth, in the same order. The kernel had one CPU; the long trace
took 600 objects of kmalloc-2k and gave them back in the same order. How many free objects the CPU had at first is read
from the trace, and the machine is brought into that state; of the page allocator, what depends on which blocks were
free (splits, merges) is left out there.
"""
import gzip
import re
from itertools import groupby

import pytest

import mmviz as mv
from mmviz.kernel import DATA, GFP_KERNEL
from mmviz.mm.slab_state import slab

DIRECTORIES = ("m512graph", "m512graph_noinline")
CALLS = ("kmem_cache_alloc_trace", "kmem_cache_alloc_node_trace", "kmalloc_order_trace", "kfree")  # what the driver did
OF_BLOCKS = {"__rmqueue", "__rmqueue_smallest", "expand", "set_page_guard", "page_is_buddy", "__free_one_page",
             "set_pcppage_migratetype", "free_one_page", "__mod_zone_page_state", "get_pageblock_migratetype",
             "check_new_pages", "__rmqueue_fallback"}


def graph(directory, name):
    """The calls of a trace as (depth, symbol), below the driver's own function."""
    lines = gzip.decompress((DATA / "captures" / directory / f"{name}.graph.gz").read_bytes()).decode().splitlines()
    found = (re.match(r"[^|]*\|  ( *)([\w.]+)(?: \[\w+\])?\(\)", line) for line in lines)
    calls = [(len(call[1]) // 2, call[2].split(".")[0]) for call in found if call]
    return [(depth - 1, symbol) for depth, symbol in calls if symbol not in ("calls", "P")]


def narrated(recording):
    """The same of a recording; kmalloc and kmalloc_node, which are inline in the kernel, are not seen."""
    tree = [(depth, call.symbol) for root in recording.calls() for depth, call in root.walk()]
    return [each for each in tree if each[1] not in ("kmalloc", "kmalloc_node", "kmalloc_large")]


def visible(tree, names):
    above, found = [], []
    for depth, symbol in tree:
        while above and above[-1] >= depth:
            above.pop()
        if symbol in names:
            found.append((len(above), symbol))
            above.append(depth)
    return found


def assert_alike(ours, theirs, without=frozenset()):
    names = ({name for _, name in ours} & {name for _, name in theirs}) - without
    assert visible(ours, names) == visible(theirs, names)
    return names


@pytest.mark.parametrize("directory", DIRECTORIES)
@pytest.mark.parametrize("name", ["G_call_kmalloc", "G_call_kmalloc_node"])
def test_the_fast_path(directory, name):
    machine = mv.toy(64)
    mv.kmalloc(machine, 128, GFP_KERNEL)
    with mv.record(machine) as rec:
        addr = (mv.kmalloc_node(machine, 128, GFP_KERNEL, 0) if name.endswith("node")
                else mv.kmalloc(machine, 128, GFP_KERNEL))
        mv.kfree(machine, addr)
    names = assert_alike(narrated(rec), graph(directory, name))
    assert {"kfree", f"kmem_cache_alloc_{'node_' if name.endswith('node') else ''}trace"} <= names
    if directory.endswith("noinline"):
        assert {"slab_alloc_node", "do_slab_free"} <= names


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_whole_pages(directory):
    machine = mv.toy(64)
    with mv.record(machine) as rec:
        mv.kfree(machine, mv.kmalloc(machine, 60_000, GFP_KERNEL))
    names = assert_alike(narrated(rec), graph(directory, "G_call_kmalloc_big"), OF_BLOCKS)
    assert {"kmalloc_order_trace", "kmalloc_order", "alloc_pages_current", "kfree", "__free_pages"} <= names


def free_at_first(tree):
    """Free objects of the cpu slab, and of each slab of the CPU's partial list, when the trace began.

    A request that finds a slab there calls get_freelist (after the first, which finds the cpu slab empty); the first
    one that does not calls new_slab.
    """
    requests = []
    for depth, symbol in tree:
        if depth == 0:
            requests.append([symbol])
        else:
            requests[-1].append(symbol)
    slow = [("slow", "new_slab" in each or "allocate_slab" in each) if "___slab_alloc" in each else ("fast", False)
            for each in requests if each[0] == "kmem_cache_alloc_trace"]
    counts = []
    for (kind, is_new), run in groupby(slow):
        length = len(list(run))
        if is_new:
            return counts
        if kind == "slow":
            counts += [1] * length
        elif counts:
            counts[-1] += length
        else:
            counts.append(length)
    raise AssertionError("the trace takes no new slab")


def machine_like(counts):
    """toy(64) whose CPU has these free objects of kmalloc-2k: in its cpu slab, and on its partial list."""
    machine = mv.toy(64)
    per_slab = slab(machine).cache("kmalloc-2k").oo.objects
    own, *others = counts
    slabs = [[mv.kmalloc(machine, 2048, GFP_KERNEL) for _ in range(per_slab)] for _ in range(len(counts))]
    for objects, count in zip(slabs, [*others[::-1], own], strict=True):
        for addr in objects[:count]:
            mv.kfree(machine, addr)
    return machine


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_six_hundred_objects(directory):
    theirs = graph(directory, "G_call_kmalloc_slow")
    machine = machine_like(free_at_first(theirs))
    with mv.record(machine) as rec:
        objects = [mv.kmalloc(machine, 2048, GFP_KERNEL) for _ in range(600)]
        for addr in objects:
            mv.kfree(machine, addr)
    looked = [[symbol for _, symbol in tree].count("mempolicy_slab_node") for tree in (narrated(rec), theirs)]
    # By chance (get_cycles), get_any_partial lets 2 in 100 go without looking: one of 71 in the plain trace.
    assert looked == ([71, 71] if directory.endswith("noinline") else [71, 70])
    names = assert_alike(narrated(rec), theirs, OF_BLOCKS | ({"mempolicy_slab_node"} if looked[1] < 71 else set()))
    assert {"___slab_alloc", "allocate_slab", "__slab_free", "kfree"} <= names
    if directory.endswith("noinline"):
        assert {"get_freelist", "get_partial_node", "get_any_partial", "mempolicy_slab_node", "put_cpu_partial",
                "unfreeze_partials", "add_partial", "discard_slab", "free_slab", "__free_slab"} <= names
