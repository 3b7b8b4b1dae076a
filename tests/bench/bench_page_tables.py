"""What page tables cost: a walk with little and with much mapped beside it, and mapping a million pages."""

import gc
import statistics
from time import process_time

import pytest

import mmviz as mv
from mmviz.mm.memory import remap_pfn_range
from mmviz.mm.pgalloc import mm_alloc
from mmviz.mm.pgtable import frame_of, vm_get_page_prot
from mmviz.mm.vm import vm
from mmviz.mm.vma import __vma_link, vm_area_alloc

START, SHARED_RW = 0x7F0000000000, 0xFB
WALKS = 20_000


def remapped(pages):
    """An address space into which a driver has mapped so many pages, and the seconds that it took."""
    machine = mv.boot([("Normal", 0x1000, 0x10000)])
    mm = mm_alloc(machine, 1, "p0")
    prot = vm_get_page_prot(machine, SHARED_RW)
    vm_area_alloc(machine, 1, 1, START, START + pages * 4096, SHARED_RW, prot, 0)
    __vma_link(machine, 1)
    started = process_time()
    assert remap_pfn_range(machine, vm(machine).vma[1], START, 0x100000, pages * 4096, prot) == 0
    return machine, mm, process_time() - started


def walk_time(machine, mm, pages):
    places = [START + (i * 7919 % pages) * 4096 for i in range(WALKS)]
    started = process_time()
    for vaddr in places:
        frame_of(machine, mm, vaddr)
    return (process_time() - started) / WALKS


@pytest.fixture(autouse=True)
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_walk_costs_the_same_whatever_is_mapped():
    few, many = remapped(10), remapped(1_000_000)
    pairs = [(walk_time(*few[:2], 10), walk_time(*many[:2], 1_000_000)) for _ in range(5)]
    small, large = map(statistics.median, zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"\nwalk with 10 pages mapped {small * 1e6:.2f} us, with 1,000,000 {large * 1e6:.2f} us: {ratio:.2f}x "
          f"(target 1.5x); 1,000,000 pages map in {many[2]:.2f} s (target 5 s)")
