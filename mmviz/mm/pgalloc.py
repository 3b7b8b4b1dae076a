"""Page tables take their pages from the page allocator, and give them back.

    pgd_alloc     with the address space          not counted in pgtables_bytes
    p4d_alloc     where a P4D level is            not counted
    pud_alloc     3 of 3 KiB of VmPTE that the    + 4096
    pmd_alloc     first page of a fresh           + 4096
    pte_alloc     address space costs             + 4096

Each is asked for with GFP_KERNEL_ACCOUNT|__GFP_ZERO: an UNMOVABLE page, filled with zeros. A folded level is never
allocated and never fails.

Left out: two tables at once for kernel page-table isolation; PTE tables in HighMem (CONFIG_HIGHPTE).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    __GFP_ACCOUNT,
    __GFP_ZERO,
    GFP_KERNEL_ACCOUNT,
    PAGE_SHIFT,
    PAGE_SIZE,
)
from ..trace import mirrors
from .geometry import geometry_of
from .get_free_pages import alloc_pages
from .mm_types import INIT_MM, SWAPPER_PG_DIR, MmStruct
from .page_free import __free_pages
from .pgtable import (
    _PAGE_PRESENT,
    _PAGE_TABLE,
    entry,
    p4d_offset,
    pgd_offset,
    pmd_offset,
    pte_offset_map,
    pte_pfn,
    pud_offset,
)
from .vm import (
    add_pgtables_bytes,
    free_mm,
    mm_init,
    pgtable_page_ctor,
    pgtable_page_dtor,
    set_p4d,
    set_pgd,
    set_pmd,
    set_pud,
    vm,
)

if TYPE_CHECKING:
    from .machine import Machine

PREALLOCATED_PMDS = 3  # PAE


# ---------------------------------------------------------------- an address space


@mirrors("kernel/fork.c")
def mm_alloc(machine: Machine, pid: int, name: str, task_size: int | None = None) -> MmStruct | None:
    """Make an empty address space, with its top table.

    Parameters
    ----------
    pid : int
        Its number, above 0, not in use.
    name : str
        How texts call it.
    task_size : int
        The first address that is not a user's; the default is that of the geometry.

    Returns
    -------
    MmStruct or None
        None if there is no page for the top table.

    Raises
    ------
    ValueError
        If the pid is in use.
    """
    if pid in vm(machine).mm or pid <= INIT_MM:
        raise ValueError(f"pid must be above 0 and not in use, got {pid}")
    pgd = _pgd_alloc(machine) if machine.config.mmu else SWAPPER_PG_DIR
    if pgd is None:
        return None
    mm_init(machine, pid, name, pgd, task_size or geometry_of(machine).task_size)
    mm = vm(machine).mm[pid]
    if machine.config.mmu and not __fill_top_table(machine, mm):
        mmdrop(machine, mm)
        return None
    return mm


@mirrors("kernel/fork.c", "__mmdrop")
def mmdrop(machine: Machine, mm: MmStruct) -> None:
    """Free the top table of an address space that has no mappings any more, and forget it."""
    if machine.config.mmu:
        pgd_free(machine, mm)
    free_mm(machine, mm.pid)


def __fill_top_table(machine: Machine, mm: MmStruct) -> bool:
    """The second half of pgd_alloc; False if a page is missing."""
    pgd_ctor(machine, mm)
    return preallocate_pmds(machine, mm)


@mirrors("arch/x86/mm/pgtable.c")
def _pgd_alloc(machine: Machine) -> int | None:
    """A page for a top table: its frame, or None."""
    return __table_alloc(machine, "pgd", GFP_KERNEL_ACCOUNT | __GFP_ZERO)


@mirrors("arch/x86/mm/pgtable.c")
def pgd_ctor(machine: Machine, mm: MmStruct) -> None:
    """Copy the kernel's entries into the upper part of a top table (clone_pgd_range)."""
    geometry, state = geometry_of(machine), vm(machine)
    level = geometry.levels[0]
    for index, value in sorted(state.tables[state.mm[INIT_MM].pgd].items()):
        set_pgd(machine, mm.pid, index << level.shift, pgd_offset(machine, mm, index << level.shift), value)


@mirrors("arch/x86/mm/pgtable.c")
def preallocate_pmds(machine: Machine, mm: MmStruct) -> bool:
    """PAE: the CPU reads the four top entries when it loads the table, so the user's three are there from the start.

    Returns
    -------
    bool
        False if a page is missing.
    """
    level = geometry_of(machine).levels[0]
    return not _is_pae(machine) or all(
        pmd_alloc(machine, mm, pgd_offset(machine, mm, index << level.shift), index << level.shift) is not None
        for index in range(PREALLOCATED_PMDS))


def _is_pae(machine: Machine) -> bool:
    """A top table of four entries; they have no bits but the present one."""
    return geometry_of(machine).levels[0].ptrs == PREALLOCATED_PMDS + 1


@mirrors("arch/x86/mm/pgtable.c")
def pgd_free(machine: Machine, mm: MmStruct) -> None:
    """Give back the top table, and with PAE the PMD tables that still hang on it (pgd_mop_up_pmds)."""
    level = geometry_of(machine).levels[0]
    for index in range(PREALLOCATED_PMDS if _is_pae(machine) else 0):
        pgd = pgd_offset(machine, mm, index << level.shift)
        value = entry(machine, pgd)
        if value:
            set_pud(machine, mm.pid, index << level.shift, pgd, 0)
            add_pgtables_bytes(machine, mm.pid, -PAGE_SIZE)
            __table_free(machine, "pmd", pte_pfn(geometry_of(machine), value))
    __table_free(machine, "pgd", mm.pgd)


# ---------------------------------------------------------------- one level


def __table_alloc(machine: Machine, level: str, gfp: int) -> int | None:
    pfn = alloc_pages(machine, gfp, 0)
    if pfn is not None:
        pgtable_page_ctor(machine, pfn, level)
    return pfn


def __table_free(machine: Machine, level: str, pfn: int) -> None:
    pgtable_page_dtor(machine, pfn, level)
    __free_pages(machine, pfn, 0)


def __gfp(mm: MmStruct) -> int:
    """Tables of the kernel's own address space are nobody's account."""
    return (GFP_KERNEL_ACCOUNT if mm.pid != INIT_MM else GFP_KERNEL_ACCOUNT & ~__GFP_ACCOUNT) | __GFP_ZERO


def _entry_of_table(pfn: int) -> int:
    return pfn << PAGE_SHIFT | _PAGE_TABLE


def p4d_alloc(machine: Machine, mm: MmStruct, pgd: int, address: int) -> int | None:
    """The pointer to the P4D entry of an address; the table is made if there is none yet. None: no memory."""
    folded = geometry_of(machine).levels[1].folded
    if not folded and not entry(machine, pgd) and not __p4d_alloc(machine, mm, pgd, address):
        return None
    return p4d_offset(machine, pgd, address)


@mirrors("mm/memory.c")
def __p4d_alloc(machine: Machine, mm: MmStruct, pgd: int, address: int) -> bool:
    """Hang a new P4D table below a PGD entry; it is not counted in pgtables_bytes."""
    pfn = __table_alloc(machine, "p4d", __gfp(mm))
    if pfn is None:
        return False
    set_pgd(machine, mm.pid, address, pgd, _entry_of_table(pfn))
    return True


def pud_alloc(machine: Machine, mm: MmStruct, p4d: int, address: int) -> int | None:
    """The pointer to the PUD entry of an address; the table is made if there is none yet. None: no memory."""
    folded = geometry_of(machine).levels[2].folded
    if not folded and not entry(machine, p4d) and not __pud_alloc(machine, mm, p4d, address):
        return None
    return pud_offset(machine, p4d, address)


@mirrors("mm/memory.c")
def __pud_alloc(machine: Machine, mm: MmStruct, p4d: int, address: int) -> bool:
    """Hang a new PUD table below a P4D entry (folded: the PGD entry), and count it."""
    pfn = __table_alloc(machine, "pud", __gfp(mm))
    if pfn is None:
        return False
    add_pgtables_bytes(machine, mm.pid, PAGE_SIZE)
    set_p4d(machine, mm.pid, address, p4d, _entry_of_table(pfn))
    return True


def pmd_alloc(machine: Machine, mm: MmStruct, pud: int, address: int) -> int | None:
    """The pointer to the PMD entry of an address; the table is made if there is none yet. None: no memory."""
    folded = geometry_of(machine).levels[3].folded
    if not folded and not entry(machine, pud) and not __pmd_alloc(machine, mm, pud, address):
        return None
    return pmd_offset(machine, pud, address)


@mirrors("mm/memory.c")
def __pmd_alloc(machine: Machine, mm: MmStruct, pud: int, address: int) -> bool:
    """Hang a new PMD table below a PUD entry, and count it."""
    pfn = __table_alloc(machine, "pmd", __gfp(mm))
    if pfn is None:
        return False
    add_pgtables_bytes(machine, mm.pid, PAGE_SIZE)
    set_pud(machine, mm.pid, address, pud, pfn << PAGE_SHIFT | (_PAGE_PRESENT if _is_pae(machine) else _PAGE_TABLE))
    return True


def pte_alloc_map(machine: Machine, mm: MmStruct, pmd: int, address: int) -> int | None:
    """The pointer to the PTE of an address; the table is made if there is none yet. None: no memory."""
    return pte_offset_map(machine, pmd, address) if pte_alloc(machine, mm, pmd, address) else None


def pte_alloc(machine: Machine, mm: MmStruct, pmd: int, address: int) -> bool:
    """See to it that a PMD entry has a PTE table; False: no memory. (The kernel's pte_alloc returns nonzero then.)"""
    return bool(entry(machine, pmd)) or __pte_alloc(machine, mm, pmd, address)


@mirrors("mm/memory.c")
def __pte_alloc(machine: Machine, mm: MmStruct, pmd: int, address: int) -> bool:
    """Hang a new PTE table below a PMD entry, and count it."""
    pfn = pte_alloc_one(machine, mm)
    if pfn is None:
        return False
    pmd_install(machine, mm, pmd, address, pfn)
    return True


@mirrors("arch/x86/mm/pgtable.c")
def pte_alloc_one(machine: Machine, mm: MmStruct) -> int | None:
    """A page for a PTE table: its frame, or None."""
    return __table_alloc(machine, "pte", __gfp(mm))


def pmd_install(machine: Machine, mm: MmStruct, pmd: int, address: int, pfn: int) -> None:
    """Hang a PTE table that is there already below a PMD entry, and count it (mm_inc_nr_ptes, pmd_populate)."""
    add_pgtables_bytes(machine, mm.pid, PAGE_SIZE)
    set_pmd(machine, mm.pid, address, pmd, _entry_of_table(pfn))
