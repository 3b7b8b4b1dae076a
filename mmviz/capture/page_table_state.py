"""An address space of a Machine as a Dump: the same rows that the kernel module prints, so that the two compare.

The module drains the per-CPU pagevecs before it reads the counts, and so does the caller of `dump_of`. Entries of the
program itself are tables only: which of its pages were touched is not in a capture, and no operation depends on it.
"""
from __future__ import annotations

from collections.abc import Iterator

from ..kernel import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, PAGE_SHIFT
from ..mm.geometry import Geometry, geometry_of
from ..mm.machine import Machine
from ..mm.mm_types import Mapping, MmStruct
from ..mm.pgtable import pte_pfn
from ..mm.swap import page_count
from ..mm.vm import vm
from .page_table_dump import Dump, PteRow, VmaRow
from .page_table_ops import PinnedPage

BITS = ("P", "RW", "US", "PWT", "PCD", "A", "D", "PSE/PAT", "G", "SW1(special)", "SW2", "SW3")  # from bit 0 on
MEMBERS = {"file": MM_FILEPAGES, "anon": MM_ANONPAGES, "shmem": MM_SHMEMPAGES}


def dump_of(machine: Machine, mm: MmStruct, label: str, proc: str, line: int) -> Dump:
    """All that the module would print of an address space."""
    dump = Dump(label, proc, line, vmas=_vmas(mm), outside=dict.fromkeys(MEMBERS, 0), ended=True)
    dump.mm = {"pgtables_bytes": mm.pgtables_bytes, "map_count": mm.map_count}
    for kind, member in MEMBERS.items():
        dump.mm |= {f"rss_{kind}": mm.rss_stat[member], f"cached_{kind}": mm.rss_cached[member]}
    for path, vaddr, pfn in tables_of(machine, mm):
        dump.tables[path] = pfn
        if len(path) == depth(geometry_of(machine)) - 1:
            _read_table(machine, dump, path, vaddr, pfn)
    return dump


def _vmas(mm: MmStruct) -> list[VmaRow]:
    return [VmaRow(vma.vm_start, vma.vm_end, vma.vm_flags, vma.vm_pgoff, vma.anon_vma, len(vma.anon_vma_chain),
                   str(vma.vm_file or "-")) for vma in mm.mmap]


def depth(geometry: Geometry) -> int:
    """Levels of tables that there are: 4 on x86-64, 2 on i386."""
    return sum(not level.folded for level in geometry.levels)


def tables_of(machine: Machine, mm: MmStruct) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Every table below the top one, and the top one first: path of indices, first address, frame."""
    geometry = geometry_of(machine)
    levels = [level for level in geometry.levels if not level.folded]
    waiting: list[tuple[tuple[int, ...], int, int]] = [((), 0, mm.pgd)]
    while waiting:
        path, vaddr, pfn = waiting.pop()
        yield path, vaddr, pfn
        if len(path) < len(levels) - 1:
            level = levels[len(path)]
            waiting += [((*path, index), vaddr + (index << level.shift), (entry & geometry.pfn_mask) >> PAGE_SHIFT)
                        for index, entry in sorted(vm(machine).tables[pfn].items(), reverse=True)]


def _read_table(machine: Machine, dump: Dump, path: tuple[int, ...], first: int, table: int) -> None:
    """The entries of one PTE table."""
    geometry = geometry_of(machine)
    for index, entry in sorted(vm(machine).tables[table].items()):
        vaddr = first + (index << PAGE_SHIFT)
        pfn = pte_pfn(geometry, entry)
        page = page_of(machine, vaddr, pfn)
        dump.ptes[vaddr] = PteRow((*path, index), bits_of(geometry, entry), page.kind, page.mapcount, page.refs,
                                  page.pgoff, page.data, pfn)


def bits_of(geometry: Geometry, entry: int) -> str:
    """The bits of an entry by name, as the module prints them."""
    names = [name for bit, name in enumerate(BITS) if entry >> bit & 1]
    return "|".join(names + ["NX"] * (geometry.nx and entry >> 63 & 1))


def page_of(machine: Machine, vaddr: int, pfn: int) -> PinnedPage:
    """What is known of a page: counts, whose it is, its first word."""
    state = vm(machine)
    mapping = state.mapping.get(pfn, Mapping("", 0, 0))
    kind = "zero" if pfn == state.zero_pfn else mapping.kind or "none"
    return PinnedPage(vaddr, page_count(machine, pfn), state.mapcount.get(pfn, 0), kind,
                      mapping.pgoff, state.data.get(pfn, 0), None, pfn)
