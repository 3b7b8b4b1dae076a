"""mremap, the half that moves entries: the pages stay where they are, their addresses change.

Where old and new address begin a PTE table, and a whole table's span is moved, the table itself moves: one entry of the
PMD table. Else entry by entry, into tables that are made where they are missing, even if all entries are none.

Left out: hugetlb, rmap locks.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..trace import mirrors
from . import vm_events as ev
from .geometry import geometry_of
from .huge_memory import __split_huge_pmd, move_huge_pmd
from .mm_types import MmStruct, VmAreaStruct
from .pgalloc import p4d_alloc, pmd_alloc, pte_alloc, pud_alloc
from .pgtable import entries, entry, offset, pgd_offset, pmd_large, pte_offset_map
from .vm import set_pmd, set_pte_at

if TYPE_CHECKING:
    from .machine import Machine

PTE = 4  # a level


@mirrors("mm/mremap.c")
def move_page_tables(machine: Machine, vma: VmAreaStruct, old_addr: int, new_vma: VmAreaStruct, new_addr: int,
                     length: int, need_rmap_locks: bool = False) -> int:
    """Move the entries of `length` bytes from old_addr to new_addr.

    Returns
    -------
    int
        The bytes done: fewer than `length` if a table could not be had.
    """
    size, done = 1 << geometry_of(machine).levels[3].shift, 0
    if machine.on:
        machine.trace.emit(ev.MoveBegun(vma.vm_mm.pid, old_addr, new_addr, length))
    while done < length:
        old, new = old_addr + done, new_addr + done
        extent = min(size - (old & size - 1), length - done)
        moved = _move_extent(machine, vma, new_vma, old, new, extent, size)
        if not moved:
            break
        done += moved
    return done


def _move_extent(machine: Machine, vma: VmAreaStruct, new_vma: VmAreaStruct, old: int, new: int, extent: int,
                 size: int) -> int:
    """One round of move_page_tables, at most to the end of one table; returns the bytes done, 0 without memory."""
    mm = vma.vm_mm
    old_pmd = get_old_pmd(machine, mm, old)
    if old_pmd is None:
        return extent
    new_pmd = alloc_new_pmd(machine, mm, new)
    if new_pmd is None:
        return 0
    if pmd_large(entry(machine, old_pmd)):
        if extent == size and new & size - 1 == 0:
            move_huge_pmd(machine, vma, old, new, old_pmd, new_pmd)
            return extent
        __split_huge_pmd(machine, vma, old_pmd, old)
    elif extent == size and move_normal_pmd(machine, vma, old, new, old_pmd, new_pmd):
        return extent
    if not pte_alloc(machine, mm, new_pmd, new):
        return 0
    part = min(extent, size - (new & size - 1))
    move_ptes(machine, vma, old_pmd, old, old + part, new_vma, new_pmd, new)
    return part


def get_old_pmd(machine: Machine, mm: MmStruct, addr: int) -> int | None:
    """The pointer to the PMD entry of an address, if it is not none.

    Kernel: mm/mremap.c:get_old_pmd.
    """
    pointer = pgd_offset(machine, mm, addr)
    for number in (1, 2, 3):
        if not entry(machine, pointer):
            return None
        pointer = offset(machine, number, pointer, addr)
    return pointer if entry(machine, pointer) else None


def alloc_new_pmd(machine: Machine, mm: MmStruct, addr: int) -> int | None:
    """The pointer to the PMD entry of an address, with the tables above it; None without memory.

    Kernel: mm/mremap.c:alloc_new_pmd.
    """
    p4d = p4d_alloc(machine, mm, pgd_offset(machine, mm, addr), addr)
    pud = None if p4d is None else pud_alloc(machine, mm, p4d, addr)
    return None if pud is None else pmd_alloc(machine, mm, pud, addr)


@mirrors("mm/mremap.c")
def move_normal_pmd(machine: Machine, vma: VmAreaStruct, old_addr: int, new_addr: int, old_pmd: int,
                    new_pmd: int) -> bool:
    """Move a whole PTE table, if the new place is at the beginning of a span and still empty."""
    aligned = not new_addr & (1 << geometry_of(machine).levels[3].shift) - 1
    moves = aligned and not entry(machine, new_pmd)
    if machine.on:
        machine.trace.emit(ev.TableMoveConsidered(vma.vm_mm.pid, old_addr, new_addr, moves))
    if moves:
        value = entry(machine, old_pmd)
        set_pmd(machine, vma.vm_mm.pid, old_addr, old_pmd, 0)
        set_pmd(machine, vma.vm_mm.pid, new_addr, new_pmd, value)
    return moves


@mirrors("mm/mremap.c")
def move_ptes(machine: Machine, vma: VmAreaStruct, old_pmd: int, old_addr: int, old_end: int, new_vma: VmAreaStruct,
              new_pmd: int, new_addr: int) -> None:
    """Move the entries of one PTE table, as far as they are not none."""
    mm = vma.vm_mm
    if machine.on:
        machine.trace.emit(ev.RangeWalked(mm.pid, "pmd", old_addr, old_end, entry(machine, old_pmd)))
    for old_pte, vaddr, _ in entries(machine, PTE, old_pmd, old_addr, old_end):
        value, target = entry(machine, old_pte), vaddr - old_addr + new_addr
        set_pte_at(machine, mm.pid, vaddr, old_pte, 0)
        set_pte_at(machine, mm.pid, target, pte_offset_map(machine, new_pmd, target), value)
