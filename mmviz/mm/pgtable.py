"""Page tables: how an address finds its frame.

An address is cut into indices, one a level, and an offset. Each index picks an entry of a table, and the entry tells
the frame of the next table; the last tells the frame of the page. A table is one page, from the page allocator.

    x86-64      47      39 38     30 29     21 20     12 11        0
                +---------+---------+---------+---------+----------+
                |   pgd   |   pud   |   pmd   |   pte   |  offset  |
                +----+----+----+----+----+----+----+----+----------+
      mm->pgd ----> [ ] ----> [ ] ----> [ ] ----> [ ] ----> page

The kernel writes its code for five levels everywhere. A geometry with fewer *folds* some: a folded level has one
entry, which is the entry of the level above. `p4d_offset` then gives back what it got, and nothing is allocated.

A pointer to an entry (pgd_t * to pte_t *) is one int here: the physical address of the entry. An entry is an int with
the bits that the CPU reads. Where no page may be read (PROT_NONE), x86-64 stores the frame number inverted, so that a
CPU with the L1TF flaw finds no memory there.

Left out: kernel page-table isolation, 32-byte top tables of PAE from a slab cache (here a page), races (one operation
runs at a time), protection keys.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT, PAGE_SIZE, VM_EXEC, VM_READ, VM_SHARED, VM_WRITE
from .geometry import Geometry, geometry_of
from .vm import vm

if TYPE_CHECKING:
    from .machine import Machine
    from .mm_types import MmStruct


# ---------------------------------------------------------------- pointers to entries


def entry(machine: Machine, pointer: int) -> int:
    """What stands at a pointer: ``*ptep``."""
    table = vm(machine).tables[pointer >> PAGE_SHIFT]
    return table.get((pointer & (PAGE_SIZE - 1)) >> geometry_of(machine).entry_shift, 0)


def _pointer(geometry: Geometry, pfn: int, index: int) -> int:
    return (pfn << PAGE_SHIFT) + (index << geometry.entry_shift)


def pgd_offset(machine: Machine, mm: MmStruct, address: int) -> int:
    """The pointer to the top entry of an address."""
    geometry = geometry_of(machine)
    return _pointer(geometry, mm.pgd, geometry.levels[0].index(address))


def offset(machine: Machine, number: int, above: int, address: int) -> int:
    """The pointer to the entry of an address at level `number`, below the entry at `above`; folded: `above` itself."""
    geometry = geometry_of(machine)
    level = geometry.levels[number]
    if level.folded:
        return above
    return _pointer(geometry, (entry(machine, above) & geometry.pfn_mask) >> PAGE_SHIFT, level.index(address))


def p4d_offset(machine: Machine, pgd: int, address: int) -> int:
    """The pointer to a P4D entry below a PGD entry; without five levels, the PGD entry itself."""
    return offset(machine, 1, pgd, address)


def pud_offset(machine: Machine, p4d: int, address: int) -> int:
    """The pointer to a PUD entry below a P4D entry."""
    return offset(machine, 2, p4d, address)


def pmd_offset(machine: Machine, pud: int, address: int) -> int:
    """The pointer to a PMD entry below a PUD entry."""
    return offset(machine, 3, pud, address)


def pte_offset_map(machine: Machine, pmd: int, address: int) -> int:
    """The pointer to a PTE below a PMD entry."""
    return offset(machine, 4, pmd, address)


# ---------------------------------------------------------------- entries

_PAGE_PRESENT, _PAGE_RW, _PAGE_USER, _PAGE_PWT, _PAGE_PCD = 0x1, 0x2, 0x4, 0x8, 0x10
_PAGE_ACCESSED, _PAGE_DIRTY, _PAGE_PSE, _PAGE_GLOBAL, _PAGE_SPECIAL = 0x20, 0x40, 0x80, 0x100, 0x200
_PAGE_PROTNONE = _PAGE_GLOBAL  # where _PAGE_PRESENT is missing
_PAGE_NX = 1 << 63
_PAGE_TABLE = _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED | _PAGE_DIRTY  # what points to a table: 0x67
_PAGE_CHG_BITS = _PAGE_PWT | _PAGE_PCD | _PAGE_SPECIAL | _PAGE_ACCESSED | _PAGE_DIRTY  # what pte_modify keeps

PAGE_NONE = _PAGE_PROTNONE | _PAGE_ACCESSED
PAGE_READONLY_EXEC = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED
PAGE_READONLY = PAGE_READONLY_EXEC | _PAGE_NX
PAGE_SHARED_EXEC = PAGE_READONLY_EXEC | _PAGE_RW
PAGE_SHARED = PAGE_SHARED_EXEC | _PAGE_NX


def vm_get_page_prot(machine: Machine, vm_flags: int) -> int:
    """The bits of an entry for a mapping's rights (protection_map). A private mapping never begins writable.

    Kernel: mm/mmap.c:vm_get_page_prot. Every entry begins with the accessed bit.
    """
    executable = bool(vm_flags & VM_EXEC)
    if not vm_flags & (VM_READ | VM_WRITE | VM_EXEC):
        return PAGE_NONE
    writable = vm_flags & VM_SHARED and vm_flags & VM_WRITE
    prot = PAGE_SHARED_EXEC if writable else PAGE_READONLY_EXEC
    return prot if executable or not geometry_of(machine).nx else prot | _PAGE_NX


def pfn_pte(geometry: Geometry, pfn: int, prot: int) -> int:
    """An entry that points to a frame with these bits; inverted where they say that it is not present."""
    frame = (pfn << PAGE_SHIFT) & geometry.pfn_mask
    return (frame ^ geometry.pfn_mask if _inverts(geometry, prot) else frame) | prot


def _inverts(geometry: Geometry, value: int) -> bool:
    """__pte_needs_invert: an entry, or the bits of one, that is there but not present."""
    return geometry.inverts and bool(value) and not value & _PAGE_PRESENT


def pte_pfn(geometry: Geometry, pte: int) -> int:
    """The frame that an entry points to."""
    return ((~pte if _inverts(geometry, pte) else pte) & geometry.pfn_mask) >> PAGE_SHIFT


def pte_modify(geometry: Geometry, pte: int, newprot: int) -> int:
    """The entry with other rights: frame, accessed, dirty, special and cache bits stay."""
    return pfn_pte(geometry, pte_pfn(geometry, pte), pte & _PAGE_CHG_BITS | newprot & ~_PAGE_CHG_BITS)


def pte_present(pte: int) -> bool:
    """Whether an entry points to a page, even one that nobody may touch (PROT_NONE)."""
    return bool(pte & (_PAGE_PRESENT | _PAGE_PROTNONE))


def pte_protnone(pte: int) -> bool:
    """Whether an entry points to a page that nobody may touch."""
    return pte & (_PAGE_PRESENT | _PAGE_PROTNONE) == _PAGE_PROTNONE


def pte_write(pte: int) -> int:
    """_PAGE_RW."""
    return pte & _PAGE_RW


def pte_dirty(pte: int) -> int:
    """_PAGE_DIRTY."""
    return pte & _PAGE_DIRTY


def pte_young(pte: int) -> int:
    """_PAGE_ACCESSED."""
    return pte & _PAGE_ACCESSED


def pte_special(pte: int) -> int:
    """_PAGE_SPECIAL: no struct page is meant, whatever the frame."""
    return pte & _PAGE_SPECIAL


def pte_mkspecial(pte: int) -> int:
    """The entry marked special."""
    return pte | _PAGE_SPECIAL


def pte_mkdirty(pte: int) -> int:
    """The entry marked dirty."""
    return pte | _PAGE_DIRTY


def pte_mkyoung(pte: int) -> int:
    """The entry marked accessed."""
    return pte | _PAGE_ACCESSED


def pte_mkold(pte: int) -> int:
    """The entry not accessed yet."""
    return pte & ~_PAGE_ACCESSED


def pte_mkclean(pte: int) -> int:
    """The entry not dirty."""
    return pte & ~_PAGE_DIRTY


def pte_mkwrite(pte: int) -> int:
    """The entry writable."""
    return pte | _PAGE_RW


def pte_wrprotect(pte: int) -> int:
    """The entry not writable."""
    return pte & ~_PAGE_RW


def pmd_large(pmd: int) -> bool:
    """Whether an entry of a PMD or PUD table is a leaf: it maps a huge page (pmd_trans_huge)."""
    return bool(pmd & _PAGE_PSE)


# ---------------------------------------------------------------- a walk


@dataclass(frozen=True, slots=True)
class WalkStep:
    """One table on the way: level, frame of the table, index, and the entry found there (0: the way ends)."""

    level: str
    table: int
    index: int
    entry: int


def walk(machine: Machine, mm: MmStruct, vaddr: int) -> Iterator[WalkStep]:
    """The tables on the way from the top to an address, as the CPU goes; it ends at a leaf or at an entry of 0."""
    geometry = geometry_of(machine)
    tables = vm(machine).tables
    pfn = mm.pgd
    for level in geometry.levels:
        if level.folded:
            continue
        index = level.index(vaddr)
        value = tables[pfn].get(index, 0)
        yield WalkStep(level.name, pfn, index, value)
        if not value or (pmd_large(value) and level.name != "pte"):
            return
        pfn = (value & geometry.pfn_mask) >> PAGE_SHIFT


def frame_of(machine: Machine, mm: MmStruct, vaddr: int) -> int | None:
    """The frame that an address maps to, present or PROT_NONE; None where nothing is mapped."""
    geometry = geometry_of(machine)
    last = list(walk(machine, mm, vaddr))[-1]
    if not pte_present(last.entry) or (last.level != "pte" and not pmd_large(last.entry)):
        return None
    span = geometry.level(last.level).shift - PAGE_SHIFT
    return pte_pfn(geometry, last.entry) + (vaddr >> PAGE_SHIFT & (1 << span) - 1)


def entries(machine: Machine, number: int, above: int, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The entries of level `number` that are not none, for [start, end): pointer, first address, end of its part.

    `above` points to the entry above; at the top it is the frame of the table, shifted. A folded level has the one
    entry above. The kernel looks at each entry and goes on where it is none; here a table knows those that are not.
    """
    geometry = geometry_of(machine)
    level = geometry.levels[number]
    if level.folded:
        yield above, start, end
        return
    pfn = above >> PAGE_SHIFT if number == 0 else (entry(machine, above) & geometry.pfn_mask) >> PAGE_SHIFT
    first, last, table = level.index(start), level.index(end - 1), vm(machine).tables[pfn]
    base = start - (start & (level.ptrs << level.shift) - 1)
    for index in sorted(index for index in table if first <= index <= last):
        address = base + (index << level.shift)
        yield (_pointer(geometry, pfn, index), max(start, address), min(end, address + (1 << level.shift)))
