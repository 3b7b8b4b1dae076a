"""The narrated call tree against function_graph traces of the real kernel, built with noinline.

Compared are the names visible in both, from the caller's function down: the same names, at the same depth, in the same
order. What may differ stands in data/call_tree_exceptions.csv, each with its reason.
"""
import csv
from itertools import groupby

import mmviz as mv
from mmviz.capture.graph import Tree, below, calls_of, read_graph, visible
from mmviz.kernel import DATA, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from mmviz.mm.access import access
from mmviz.mm.fork import dup_mm, mmput
from mmviz.mm.gup import get_user_pages_remote
from mmviz.mm.memory import remap_pfn_range
from mmviz.mm.mm_types import MmStruct
from mmviz.mm.page_rmap import page_remove_rmap
from mmviz.mm.pgalloc import mm_alloc
from mmviz.mm.pgtable import walk
from mmviz.mm.shmem import shmem_file_setup, shmem_write
from mmviz.mm.swap import lru_add_drain, put_page
from mmviz.mm.util import vm_mmap_pgoff
from mmviz.mm.vm import set_pte_at, vm
from mmviz.mm.zone import add_to_free_area, del_page_from_free_area
from mmviz.recording import Recording


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


def test_kmap_has_the_kernels_call_tree() -> None:
    theirs = below(read_graph("m1536i386/G32_call_kmap"), "calls")
    machine = mv.i386()
    mv.alloc_pages(machine, mv.GFP_HIGHUSER, 0)
    with mv.record(machine) as rec:
        pfn = mv.alloc_pages(machine, mv.GFP_HIGHUSER, 0)
        mv.kmap(machine, pfn)
        mv.kunmap(machine, pfn)
        mv.kunmap_atomic(machine, mv.kmap_atomic(machine, pfn))
        mv.__free_pages(machine, pfn, 0)
    ours, theirs = common(calls_of(rec), [(depth - 1, name) for depth, name in theirs[1:]])
    assert ours == theirs
    assert [name for _, name in ours if "map" in name or "page_address" in name] == [
        "kmap", "kmap_high", "page_address", "set_page_address", "kunmap", "kunmap_high", "page_address", "kmap_atomic",
        "kmap_atomic_prot", "__kunmap_atomic"]


# ---------------------------------------------------------------- page tables, faults, get_user_pages

ADDRESS = 0x7F0000000000


def a_space(*mappings: tuple[int, int, int, int]) -> mv.Machine:
    """A machine with one process, pid 1; mappings are (page, pages, rights, MAP_* flags and file)."""
    machine = mv.toy(64, batch=31, high=186)
    mm = mm_alloc(machine, 1, "p0")
    assert mm is not None
    for page, pages, prot, flags in mappings:
        vm_mmap_pgoff(machine, mm, 0, ADDRESS + page * 4096, pages * 4096, prot, MAP_FIXED | flags, 0)
    return machine


def process(machine: mv.Machine) -> MmStruct:
    return vm(machine).mm[1]


def compared(rec: Recording, theirs: Tree, root: str, containing: str) -> int:
    ours, their = common(below(calls_of(rec), root, containing), theirs)
    assert ours == their
    return len(ours)


def test_remap_pfn_range_has_the_kernels_call_tree() -> None:
    machine = a_space((0, 1, 3, MAP_PRIVATE | MAP_ANONYMOUS), (512, 4, 3, MAP_SHARED | MAP_ANONYMOUS))
    access(machine, process(machine), ADDRESS, True)
    with mv.record(machine) as rec:
        vma = process(machine).mmap[1]
        assert remap_pfn_range(machine, vma, vma.vm_start, 0xFEE00, 4 * 4096, vma.vm_page_prot) == 0
    theirs = below(graph("G_remap_pfn_range"), "remap_pfn_range", "pfn_modify_allowed")
    assert compared(rec, theirs, "remap_pfn_range", "pfn_modify_allowed") == 25


def test_get_user_pages_of_a_page_that_is_there_has_the_kernels_call_tree() -> None:
    machine = a_space((0, 4, 3, MAP_PRIVATE | MAP_ANONYMOUS))
    access(machine, process(machine), ADDRESS, True)
    with mv.record(machine) as rec:
        get_user_pages_remote(machine, process(machine), process(machine), ADDRESS, 1, mv.FOLL_WRITE, [], None, [1])
    theirs = below(graph("G_gup_remote"), "get_user_pages_remote", "follow_page_pte")
    assert compared(rec, theirs, "get_user_pages_remote", "follow_page_pte") == 12


def test_get_user_pages_of_pages_to_be_faulted_in_has_the_kernels_call_tree() -> None:
    machine = a_space((0, 4, 3, MAP_PRIVATE | MAP_ANONYMOUS))
    access(machine, process(machine), ADDRESS, True)
    with mv.record(machine) as rec:
        get_user_pages_remote(machine, process(machine), process(machine), ADDRESS + 4096, 3, mv.FOLL_WRITE, [], None,
                              [1])
    theirs = below(graph("G_gup_remote_fault"), "get_user_pages_remote", "faultin_page")
    assert compared(rec, theirs, "get_user_pages_remote", "faultin_page") > 90


def faults(trees: Tree) -> list[Tree]:
    starts = [i for i, (_, symbol) in enumerate(trees) if symbol == "handle_mm_fault"]
    return [trees[a:b] for a, b in zip(starts, [*starts[1:], len(trees)], strict=True)]


def test_the_faults_of_a_new_process_have_the_kernels_call_trees() -> None:
    """45 faults after an exec: pages of files around the address, copies, pages kept, fresh ones, the vdso."""
    theirs = [tree for tree in faults(graph("G_mmap_fault")) if ("vmf_insert_pfn" not in {name for _, name in tree})]
    assert len(theirs) == 44
    seen = set()
    for tree in theirs:
        names = [name for _, name in tree]
        kind = next((name for name in ("wp_page_copy", "wp_page_reuse", "filemap_map_pages", "__do_fault")
                     if name in names), "do_anonymous_page")
        seen.add(kind)
        rec = FAULTS[kind](names)
        ours, their = common(below(calls_of(rec), "handle_mm_fault", "handle_mm_fault"), tree)
        assert ours == their, kind
    assert seen == set(FAULTS)


def fork_then_write(exits: bool, pagevec: int) -> Recording:
    """A write to a page after fork, with the other process gone or not; `pagevec` pages are waiting."""
    machine = a_space((0, 32, 3, MAP_PRIVATE | MAP_ANONYMOUS))
    access(machine, process(machine), ADDRESS, True)
    child = dup_mm(machine, process(machine), 2, "p0.1")
    lru_add_drain(machine)
    if exits:
        mmput(machine, child)
    for page in range(1, 1 + pagevec):
        access(machine, process(machine), ADDRESS + page * 4096, True)
    if pagevec:  # one of the waiting pages is unmapped meanwhile: the pagevec holds the last reference
        zap_pte_of(machine, ADDRESS + 4096)
    with mv.record(machine) as rec:
        access(machine, process(machine), ADDRESS, True)
    return rec


def zap_pte_of(machine: mv.Machine, vaddr: int) -> None:
    last = list(walk(machine, process(machine), vaddr))[-1]
    set_pte_at(machine, 1, vaddr, (last.table << 12) + 8 * last.index, 0)
    page = last.entry >> 12 & 0xFFFFFFF
    page_remove_rmap(machine, page)
    put_page(machine, page)


def first_touch() -> Recording:
    machine = a_space((0, 4, 3, MAP_PRIVATE | MAP_ANONYMOUS))
    access(machine, process(machine), ADDRESS, True)
    with mv.record(machine) as rec:
        access(machine, process(machine), ADDRESS + 4096, True)
    return rec


def touch_of_a_file(names: list[str]) -> Recording:
    """A read of a file, of which as many pages are cached, and as many of those mapped already, as in the trace."""
    machine = a_space((0, 16, 3, MAP_PRIVATE | MAP_ANONYMOUS))
    access(machine, process(machine), ADDRESS, True)
    cached, mapped = names.count("alloc_set_pte"), names.count("page_add_file_rmap")
    ino = shmem_file_setup(machine, "file", 16)
    vm_mmap_pgoff(machine, process(machine), ino, ADDRESS + 16 * 4096, 16 * 4096, 1, MAP_FIXED | MAP_SHARED, 0)
    for index in range(cached if "filemap_map_pages" in names else 0):
        shmem_write(machine, ino, index, 1)
    if mapped < cached:
        access(machine, process(machine), ADDRESS + 16 * 4096, False)
        for page in range(mapped):
            zap_pte_of(machine, ADDRESS + (16 + page) * 4096)
    with mv.record(machine) as rec:
        access(machine, process(machine), ADDRESS + 16 * 4096, False)
    return rec


FAULTS = {
    "wp_page_copy": lambda names: fork_then_write(False, 14 if "release_pages" in names else 0),
    "wp_page_reuse": lambda names: fork_then_write(True, 0),
    "filemap_map_pages": touch_of_a_file, "__do_fault": touch_of_a_file,
    "do_anonymous_page": lambda names: first_touch(),
}
