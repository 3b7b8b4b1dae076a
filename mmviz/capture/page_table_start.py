"""The process that a list of operations begins with: the program `ptrun`, as the step 00_start shows it.

Its mappings are those of the dump; they share their anon_vmas as there. Its tables are made, empty: a fork copies a
table whether it holds entries or not, and no operation may touch the program. What else a list finds is the same for
all lists: a tmpfs file of 64 pages, all of them in the page cache, and a driver with four zeroed pages.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..kernel import I386, PAGE_SHIFT, Config
from ..mm.boot import ZoneSize, boot
from ..mm.driver import driver_open
from ..mm.file_table import fput, get_file
from ..mm.geometry import geometry_of
from ..mm.machine import Machine
from ..mm.mm_types import MmStruct
from ..mm.pgalloc import mm_alloc, p4d_alloc, pmd_alloc, pte_alloc_map, pud_alloc
from ..mm.pgtable import _PAGE_TABLE, pgd_offset, vm_get_page_prot
from ..mm.shmem import next_ino, shmem_file_setup, shmem_write
from ..mm.vm import (
    add_pgtables_bytes,
    mm_init,
    pgtable_page_ctor,
    set_page_data,
    set_page_mapping,
    set_pgd,
    set_pmd,
    set_pud,
    vm,
)
from ..mm.vma import (
    __vma_link,
    add_degree,
    anon_vma_alloc,
    anon_vma_chain_link,
    new_inode,
    page_cache_insert,
    set_anon_vma,
    set_vm_file,
    vm_area_alloc,
    vm_stat_account,
)
from .page_table_dump import Dump, VmaRow

FILE_PAGES = 64
FIRST_WORD = 0xF1000000  # of page i of the file: FIRST_WORD + i
ZONES = {  # the machines m512pt and m1536i386; low memory alone, which a list never fills
    64: (Config(), (ZoneSize("DMA", 0x1, 0xFFF), ZoneSize("DMA32", 0x1000, 0x1F000))),
    32: (I386, (ZoneSize("DMA", 0x1, 0xFFF), ZoneSize("Normal", 0x1000, 0x363FE))),
}
TOTALRAM = {64: 126_494, 32: 388_689}  # pages that the kernel manages: no mapping may promise more


class Start(NamedTuple):
    """What a list finds: the process, and the inode numbers of the file and of the driver."""

    mm: MmStruct
    file: int
    driver: int


def boot_for(bits: int) -> Machine:
    """A machine with nobody on it, which manages as many pages as the real one."""
    config, zones = ZONES[bits]
    machine = boot(zones, config=config)
    *others, last = machine.zones()
    last.managed_pages = TOTALRAM[bits] - sum(zone.managed_pages for zone in others)
    return machine


def start_process(machine: Machine, dump: Dump | None) -> Start:
    """The first process, and the files; without a dump a process that has no mappings of its own."""
    mm = mm_alloc(machine, 1, "p0")
    assert mm is not None
    if dump is not None:
        for path in sorted(dump.tables)[1:]:
            _make_table(machine, mm, path)
        _map_program(machine, mm, dump)
    file = shmem_file_setup(machine, "ptfile", FILE_PAGES)
    for index in range(FILE_PAGES):
        shmem_write(machine, file, index, FIRST_WORD + index)
    return Start(mm, file, driver_open(machine))


def adopt_process(machine: Machine, start: Dump, dumps: Iterable[Dump]) -> Start:
    """The first process and the files on a machine that has their pages already: with the frames of the dumps."""
    entries = [(row, _file_at(dump, vaddr)) for dump in dumps for vaddr, row in dump.ptes.items()]
    cached = {(row.pgoff, row.pfn) for row, name in entries if row.kind == "file" and name == "ptfile"}
    state = vm(machine)
    state.zero_pfn = next((row.pfn for row, _ in entries if row.kind == "zero"), state.zero_pfn)
    mm_init(machine, 1, "p0", start.tables[()], geometry_of(machine).task_size)
    for path, pfn in sorted(start.tables.items()):
        _adopt_table(machine, start, path, pfn)
    add_pgtables_bytes(machine, 1, start.mm["pgtables_bytes"])
    _map_program(machine, state.mm[1], start)
    file = shmem_file_setup(machine, "ptfile", FILE_PAGES)
    for index, pfn in sorted(cached):
        page_cache_insert(machine, file, index, pfn)
        set_page_mapping(machine, pfn, "file", file, index)
        set_page_data(machine, pfn, FIRST_WORD + index)
    driver = next_ino(machine)
    frames = sorted({row.pfn for row, _ in entries if row.kind == "none"})
    new_inode(machine, driver, "map", len(frames), False)
    for index, pfn in enumerate(frames):
        page_cache_insert(machine, driver, index, pfn)
    return Start(state.mm[1], file, driver)


def _file_at(dump: Dump, vaddr: int) -> str:
    return next((row.file for row in dump.vmas if row.start <= vaddr < row.end), "-")


def _adopt_table(machine: Machine, start: Dump, path: tuple[int, ...], pfn: int) -> None:
    """Make an empty table of a frame that is one, and let the table above point to it."""
    levels = [level for level in geometry_of(machine).levels if not level.folded]
    pgtable_page_ctor(machine, pfn, levels[len(path)].name)
    if path:
        store = {"pgd": set_pgd, "pud": set_pud, "pmd": set_pmd}[levels[len(path) - 1].name]
        pointer = (start.tables[path[:-1]] << PAGE_SHIFT) + (path[-1] << geometry_of(machine).entry_shift)
        store(machine, 1, 0, pointer, pfn << PAGE_SHIFT | _PAGE_TABLE)


def _make_table(machine: Machine, mm: MmStruct, path: tuple[int, ...]) -> None:
    """Make the table at a path, and what is missing above it."""
    levels = [level for level in geometry_of(machine).levels if not level.folded]
    vaddr = sum(index << level.shift for index, level in zip(path, levels, strict=False))
    pointer: int | None = pgd_offset(machine, mm, vaddr)
    allocs = {"p4d": p4d_alloc, "pud": pud_alloc, "pmd": pmd_alloc, "pte": pte_alloc_map}
    for level in geometry_of(machine).levels[1:]:
        if level.folded or level.name in [each.name for each in levels[1:len(path) + 1]]:
            assert pointer is not None
            pointer = allocs[level.name](machine, mm, pointer, vaddr)


def _map_program(machine: Machine, mm: MmStruct, dump: Dump) -> None:
    """The program's mappings, linked; those with an anon_vma had their first page before."""
    anon_vmas: dict[int, int] = {}
    files: dict[str, int] = {}
    for row in dump.vmas:
        vma = vm(machine).next_vma
        prot = vm_get_page_prot(machine, row.flags)
        vm_area_alloc(machine, vma, mm.pid, row.start, row.end, row.flags, prot, row.pgoff)
        if row.file != "-":
            if row.file not in files:
                files[row.file] = shmem_file_setup(machine, row.file, 0)
            set_vm_file(machine, vma, files[row.file], "shmem")
            get_file(machine, files[row.file])
        _give_anon_vma(machine, vma, row, anon_vmas)
        __vma_link(machine, vma)
        vm_stat_account(machine, mm.pid, row.flags, row.end - row.start >> PAGE_SHIFT)
    for file in files.values():
        fput(machine, file)  # only its mappings hold the program now


def _give_anon_vma(machine: Machine, vma: int, row: VmaRow, anon_vmas: dict[int, int]) -> None:
    """The anon_vma of a mapping of the program: a root, which all with the same number share."""
    if not row.avid:
        return
    if row.avid not in anon_vmas:
        anon_vmas[row.avid] = number = vm(machine).next_anon_vma
        anon_vma_alloc(machine, number, number, number)
    set_anon_vma(machine, vma, anon_vmas[row.avid])
    anon_vma_chain_link(machine, vma, anon_vmas[row.avid])
    add_degree(machine, anon_vmas[row.avid], 1)
