"""How a CPU cuts an address: geometries as data.

    x86-64           pgd 39..47   pud 30..38   pmd 21..29   pte 12..20   offset 0..11       512 entries each
    x86-64 5-level   pgd 48..56   p4d 39..47   and as above
    i386             pgd 22..31   pte 12..21   offset 0..11                                 1,024 entries each
    i386 PAE         pgd 30..31 (4 entries)    pmd 21..29   pte 12..20   offset 0..11

The kernel writes its code for five levels everywhere. A geometry with fewer *folds* some: a folded level has one entry,
which is the entry of the level above.

Left out: levels that other architectures have, 16 KiB and 64 KiB pages.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ..kernel import PAGE_SIZE

if TYPE_CHECKING:
    from .machine import Machine


@dataclass(frozen=True, slots=True)
class Level:
    """One level: its name, the lowest bit of its index, and its entries; a folded level has one."""

    name: str
    shift: int
    ptrs: int

    @property
    def folded(self) -> bool:
        """Whether its only entry is that of the level above."""
        return self.ptrs == 1

    def index(self, vaddr: int) -> int:
        """The index of an address at this level."""
        return (vaddr >> self.shift) & (self.ptrs - 1)


@dataclass(frozen=True)
class Geometry:
    """How a CPU cuts addresses: five levels, top first, and what an entry can hold.

    Attributes
    ----------
    bits : int
        Of an address: 64 or 32.
    entry_shift : int
        An entry has 2^entry_shift bytes.
    phys_bits : int
        Of a physical address in an entry.
    task_size : int
        The first address that is not a user's.
    nx : bool
        Whether entries have the bit that forbids execution.
    inverts : bool
        Whether entries that are not present hold their frame inverted (L1TF).
    """

    name: str
    levels: tuple[Level, Level, Level, Level, Level]
    bits: int
    entry_shift: int
    phys_bits: int
    task_size: int
    nx: bool
    inverts: bool

    @cached_property
    def pfn_mask(self) -> int:
        """PTE_PFN_MASK: the bits of an entry that hold a frame."""
        return ((1 << self.phys_bits) - 1) & -PAGE_SIZE

    @cached_property
    def word(self) -> int:
        """The largest address: arithmetic on addresses wraps here."""
        return (1 << self.bits) - 1

    def level(self, name: str) -> Level:
        """A level by its name: "pgd", "p4d", "pud", "pmd" or "pte"."""
        return next(level for level in self.levels if level.name == name)


def _levels(*shifts_and_ptrs: tuple[int, int]) -> tuple[Level, Level, Level, Level, Level]:
    pgd, p4d, pud, pmd, pte = (Level(name, *numbers) for name, numbers in
                               zip(("pgd", "p4d", "pud", "pmd", "pte"), shifts_and_ptrs, strict=True))
    return pgd, p4d, pud, pmd, pte


GEOMETRIES = {geometry.name: geometry for geometry in (
    Geometry("x86-64", _levels((39, 512), (39, 1), (30, 512), (21, 512), (12, 512)), 64, 3, 52,
             (1 << 47) - PAGE_SIZE, True, True),
    Geometry("x86-64 5-level", _levels((48, 512), (39, 512), (30, 512), (21, 512), (12, 512)), 64, 3, 52,
             (1 << 56) - PAGE_SIZE, True, True),
    Geometry("i386", _levels((22, 1024), (22, 1), (22, 1), (22, 1), (12, 1024)), 32, 2, 32, 0xC0000000, False, False),
    Geometry("i386 PAE", _levels((30, 4), (30, 1), (30, 1), (21, 512), (12, 512)), 32, 3, 44, 0xC0000000, True, True),
)}


def geometry_of(machine: Machine) -> Geometry:
    """The geometry that this build has."""
    return GEOMETRIES[machine.config.geometry]


def address_indices(geometry: Geometry, vaddr: int) -> list[tuple[str, int]]:
    """The index of an address at each level that is not folded, top first.

    >>> address_indices(GEOMETRIES["x86-64"], 0x7f123456789a)
    [('pgd', 254), ('pud', 72), ('pmd', 418), ('pte', 359)]
    """
    return [(level.name, level.index(vaddr)) for level in geometry.levels if not level.folded]


# ---------------------------------------------------------------- *_addr_end


def addr_end(geometry: Geometry, level: Level, addr: int, end: int) -> int:
    """The next boundary of an entry of `level` above `addr`, or `end` if that comes first.

    Kernel: include/asm-generic/pgtable.h:pgd_addr_end and its sisters. Both sides less one, unsigned: so a boundary
    that wraps to 0, and an end of 0, count as the top of the address space.

    >>> hex(pmd_addr_end(GEOMETRIES["x86-64"], 0x7f00001ff000, 0x7f0000201000))
    '0x7f0000200000'
    """
    if level.folded:
        return end
    boundary = ((addr >> level.shift) + 1 << level.shift) & geometry.word
    return boundary if (boundary - 1) & geometry.word < (end - 1) & geometry.word else end


def pgd_addr_end(geometry: Geometry, addr: int, end: int) -> int:
    """`addr_end` of an entry of the top table."""
    return addr_end(geometry, geometry.levels[0], addr, end)


def p4d_addr_end(geometry: Geometry, addr: int, end: int) -> int:
    """`addr_end` of a P4D entry."""
    return addr_end(geometry, geometry.levels[1], addr, end)


def pud_addr_end(geometry: Geometry, addr: int, end: int) -> int:
    """`addr_end` of a PUD entry: 1 GiB on x86-64."""
    return addr_end(geometry, geometry.levels[2], addr, end)


def pmd_addr_end(geometry: Geometry, addr: int, end: int) -> int:
    """`addr_end` of a PMD entry: the span of one PTE table."""
    return addr_end(geometry, geometry.levels[3], addr, end)


def spans(geometry: Geometry, number: int, addr: int, end: int) -> Iterator[tuple[int, int]]:
    """A range cut at the boundaries of the entries of level `number`: the loop that every walk of the kernel is.

    >>> [(hex(a), hex(b)) for a, b in spans(GEOMETRIES["x86-64"], 3, 0x1ff000, 0x401000)]
    [('0x1ff000', '0x200000'), ('0x200000', '0x400000'), ('0x400000', '0x401000')]
    """
    while True:
        stop = addr_end(geometry, geometry.levels[number], addr, end)
        yield addr, stop
        if stop == end:
            return
        addr = stop
