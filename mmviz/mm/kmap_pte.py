"""The page-table entries of the windows: they are ordinary entries of the kernel's own tables (init_mm).

The tables are there from boot on: memblock gave pages for them before there was a page allocator. In which frames they
lie nobody can tell from a snapshot, and nothing depends on it; they stand in the last frames below 4 GiB, where a PC
has its firmware and no memory.

    swapper_pg_dir [1021] --> table of 0xff400000:  [1] -> page A    slot 1 of kmap
                   [1023] --> table of 0xffc00000:  [955] -> page B  the first slot of kmap_atomic on CPU 0
"""
from __future__ import annotations

from ..kernel import PAGE_SHIFT
from ..trace import mirrors
from .geometry import geometry_of
from .machine import Machine
from .mm_types import INIT_MM
from .pgtable import (
    _PAGE_ACCESSED,
    _PAGE_DIRTY,
    _PAGE_GLOBAL,
    _PAGE_NX,
    _PAGE_PRESENT,
    _PAGE_RW,
    _PAGE_TABLE,
    entry,
    frame_of,
    p4d_offset,
    pfn_pte,
    pgd_offset,
    pmd_offset,
    pte_offset_map,
    pud_offset,
)
from .pkmap import kmap_part
from .vm import pgtable_page_ctor, set_pmd, set_pte_at, set_pud, vm

FIRMWARE = 0xFFC00  # the frames of the last 4 MiB below 4 GiB


def set_kmap_pte(machine: Machine, vaddr: int, pfn: int) -> None:
    """A window address shows this page from here on: set_pte with kmap_prot, which is PAGE_KERNEL."""
    geometry = geometry_of(machine)
    prot = _PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_GLOBAL | (_PAGE_NX if geometry.nx else 0)
    set_pte_at(machine, INIT_MM, vaddr, __pte_pointer(machine, vaddr), pfn_pte(geometry, pfn, prot))


def clear_kmap_pte(machine: Machine, vaddr: int) -> None:
    """A window address shows nothing: pte_clear."""
    set_pte_at(machine, INIT_MM, vaddr, __pte_pointer(machine, vaddr), 0)


def kmap_pte_pfn(machine: Machine, vaddr: int) -> int | None:
    """The page that a window address shows, or None."""
    return frame_of(machine, vm(machine).mm[INIT_MM], vaddr) if "vm" in machine.parts else None


def __pte_pointer(machine: Machine, vaddr: int) -> int:
    return pte_offset_map(machine, page_table_range_init(machine, vaddr), vaddr)


@mirrors("arch/x86/mm/init_32.c")
def page_table_range_init(machine: Machine, vaddr: int) -> int:
    """See to it that an address has a page table; returns the pointer to the entry that leads to it.

    Kernel: arch/x86/mm/init_32.c:page_table_range_init, for one address.
    """
    levels, init_mm = geometry_of(machine).levels, vm(machine).mm[INIT_MM]
    pud = pud_offset(machine, p4d_offset(machine, pgd_offset(machine, init_mm, vaddr), vaddr), vaddr)
    if not levels[3].folded and not entry(machine, pud):
        table = FIRMWARE + levels[0].index(vaddr)
        pgtable_page_ctor(machine, table, "pmd")
        set_pud(machine, INIT_MM, vaddr, pud, table << PAGE_SHIFT | _PAGE_TABLE)
    pmd = pmd_offset(machine, pud, vaddr)
    if not entry(machine, pmd):
        table = FIRMWARE + (vaddr >> levels[3].shift & 0x3FF)
        pgtable_page_ctor(machine, table, "pte")
        set_pmd(machine, INIT_MM, vaddr, pmd, table << PAGE_SHIFT | _PAGE_TABLE)
    return pmd


@mirrors("arch/x86/mm/init_32.c")
def permanent_kmaps_init(machine: Machine) -> None:
    """Give both windows their page tables, as boot does; each lies within one table, or the next one below."""
    windows = kmap_part(machine).windows
    lowest = windows.fix_to_virt(windows.km_type_nr * windows.nr_cpus - 1)
    for vaddr in (windows.pkmap_base, windows.fix_to_virt(0), lowest):
        page_table_range_init(machine, vaddr)
