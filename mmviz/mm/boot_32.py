"""Two 32-bit machines: one like those of the captures, and a toy whose kmap window has a handful of slots.

Simplified: high memory is handed to the buddy lists as it is in low memory; v5.4 frees it page by page, and the same
lists come of it.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..kernel import I386, PAGE_SHIFT
from .boot import boot
from .init_32 import MAX_DMA_PFN, LowHigh, Split, find_low_pfn_range
from .kmap_pte import permanent_kmaps_init
from .machine import Machine
from .pkmap import kmap_init

CAPTURED = Split(nr_cpus=4, apei_ghes=False)  # the build of the captures m1536i386


def i386(mib: int = 1536, split: Split = CAPTURED, cpus: int = 1, highmem_pages: int = -1) -> Machine:
    """A 32-bit machine with all its memory free: DMA, Normal, and HighMem where there is more than fits.

    Examples
    --------
    >>> i386(1536)
    Machine(DMA 4095 pages, Normal 222206 pages, HighMem 166914 pages)
    >>> i386(512)
    Machine(DMA 4095 pages, Normal 126976 pages)
    """
    low = find_low_pfn_range(mib << (20 - PAGE_SHIFT), split, highmem_pages)
    bounds = [("DMA", 1, min(MAX_DMA_PFN, low.max_low_pfn)), ("Normal", MAX_DMA_PFN, low.max_low_pfn),
              ("HighMem", low.max_low_pfn, low.max_pfn)]
    sizes = [(name, start, end - start) for name, start, end in bounds if end > start]
    return _with_windows(sizes, cpus, split, low)


def kmap_toy(slots: int = 4, cpus: int = 1) -> Machine:
    """Two zones of 4 MiB, Normal from 0x1000 and HighMem from 0x1400, and a kmap window of `slots`, not 1024.

    Parameters
    ----------
    slots : int
        2, 4, 8 ... 1024: the index of the next slot is found with a mask.
    cpus : int
        1 to 4.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = kmap_toy(4)
    >>> hex(mv.kmap(machine, 0x1400)), hex(mv.kmap(machine, 0x1000))
    ('0xff401000', '0xc1000000')
    """
    if slots not in [1 << n for n in range(1, 11)]:
        raise ValueError(f"slots must be a power of two, 2 to 1024, got {slots}")
    return _with_windows([("Normal", 0x1000, 0x400), ("HighMem", 0x1400, 0x400)], cpus, CAPTURED,
                         LowHigh(0x1400, 0x1800), slots)


def _with_windows(sizes: Sequence[tuple[str, int, int]], cpus: int, split: Split, low: LowHigh,
                  slots: int | None = None) -> Machine:
    if not 1 <= cpus <= split.nr_cpus:
        raise ValueError(f"cpus must be 1 to {split.nr_cpus} (NR_CPUS of the build), got {cpus}")
    config = replace(I386, page_offset=split.page_offset, pageblock_order=9 if split.pae else 10,
                     geometry="i386 PAE" if split.pae else "i386")
    machine = boot(sizes, cpus=[0] * cpus, config=config)
    kmap_init(machine, *split.windows(low, slots))
    permanent_kmaps_init(machine)
    return machine
