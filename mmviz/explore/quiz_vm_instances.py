"""New problems about address spaces: a small machine, a process or two, a few mappings, a few touches.

The makers of `quiz_instances`, for the kinds of `quiz_vm`.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from ..kernel import (
    FOLL_FORCE,
    FOLL_WRITE,
    I386,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    PAGE_SHIFT,
    PAGE_SIZE,
    Config,
)
from ..mm.access import access
from ..mm.boot import boot, toy
from ..mm.driver import driver_open
from ..mm.fork import dup_mm, mmput
from ..mm.geometry import GEOMETRIES
from ..mm.gup import get_user_pages_remote
from ..mm.machine import Machine
from ..mm.mm_types import MmStruct
from ..mm.mprotect import do_mprotect_pkey
from ..mm.pgalloc import mm_alloc
from ..mm.shmem import shmem_file_setup, shmem_write
from ..mm.util import vm_mmap_pgoff
from ..recording import Recording, record

R, W = 1, 2


def _machine(rng: Random, names: tuple[str, ...] = tuple(GEOMETRIES)) -> Machine:
    name = rng.choice(names)
    if GEOMETRIES[name].bits == 32:
        return boot([("Normal", 0x1000, 0x800)], config=replace(I386, geometry=name))
    return toy(8, config=Config(geometry=name))


def _process(machine: Machine) -> MmStruct:
    mm = mm_alloc(machine, 1, "process 1")
    assert mm is not None
    return mm


def _address(rng: Random, machine: Machine, near: bool = False) -> int:
    """A page somewhere; or one a few pages before a boundary of some level."""
    geometry = GEOMETRIES[machine.config.geometry]
    low, high = (0x5000_0000, 0xB000_0000) if geometry.bits == 32 else (0x1_0000_0000, 0x7000_0000_0000)
    vaddr = rng.randrange(low, high) & -PAGE_SIZE
    if not near:
        return vaddr
    shift = rng.choice([level.shift for level in geometry.levels[:-1] if not level.folded and level.shift < 39])
    return (vaddr >> shift << shift) - rng.randint(1, 6) * PAGE_SIZE


def _map(machine: Machine, mm: MmStruct, start: int, pages: int, prot: int = R | W, shared: bool = False, file: int = 0,
         pgoff: int = 0) -> int:
    flags = MAP_FIXED | (MAP_SHARED if shared else MAP_PRIVATE) | (0 if file else MAP_ANONYMOUS)
    return vm_mmap_pgoff(machine, mm, file, start, pages << PAGE_SHIFT, prot, flags, pgoff)


def _file(machine: Machine, pages: int) -> int:
    ino = shmem_file_setup(machine, "file", pages)
    for index in range(pages):
        shmem_write(machine, ino, index, 0xF1000000 + index)
    return ino


# ---------------------------------------------------------------- one for each kind


def _looking(rng: Random) -> Recording:
    machine = _machine(rng)
    mm, start = _process(machine), _address(rng, machine)
    _map(machine, mm, start, 4)
    with record(machine) as recording:
        access(machine, mm, start + rng.randrange(4) * PAGE_SIZE, bool(rng.randrange(2)))
    return recording


def _growing(rng: Random) -> Recording:
    machine = _machine(rng)
    mm, first = _process(machine), _address(rng, machine, near=True)
    far = rng.choice((PAGE_SIZE, 8 * PAGE_SIZE, 1 << 21, 1 << 22, 1 << 30, 1 << 39))
    for start in (first, first + far if first + far < mm.task_size - (1 << 20) else first + PAGE_SIZE):
        _map(machine, mm, start, 8)
    access(machine, mm, first, True)
    with record(machine) as recording:
        for vma in mm.mmap[-1:]:
            access(machine, mm, vma.vm_start + rng.randrange(8) * PAGE_SIZE, True)
    return recording


def _walking(rng: Random) -> Recording:
    machine = _machine(rng)
    mm, start = _process(machine), _address(rng, machine, near=True)
    pages, driver = rng.randint(7, 12), driver_open(machine)
    _map(machine, mm, start, pages)
    for page in rng.sample(range(pages), 3):
        access(machine, mm, start + page * PAGE_SIZE, True)
    with record(machine) as recording:
        what = rng.randrange(3)
        if what == 0:
            do_mprotect_pkey(machine, mm, start, pages << PAGE_SHIFT, R)
        elif what == 1:
            dup_mm(machine, mm, 2, "process 2")
        else:
            _map(machine, mm, _address(rng, machine, near=True), 4, R | W, True, driver)
    return recording


def _many_mappings(rng: Random, machine: Machine, mm: MmStruct, start: int) -> list[int]:
    """Some mappings side by side, with a hole; some of their pages touched. Returns the pages that are there."""
    ino, at = _file(machine, 6), start
    for _ in range(5):
        kind, prot = rng.choice(("anon", "anon", "file", "shared")), rng.choice((R | W, R | W, R | W, R, 0))
        _map(machine, mm, at, 3, prot, kind != "anon" and rng.random() < 0.6, ino if kind == "file" else 0,
             rng.randrange(5) if kind == "file" else 0)
        at += (3 + rng.randrange(2)) * PAGE_SIZE
    tried = [start + rng.randrange(16) * PAGE_SIZE for _ in range(6)]
    return [vaddr for vaddr in tried if not access(machine, mm, vaddr, bool(rng.randrange(2))).signal]


def _faulting(rng: Random) -> Recording:
    machine = _machine(rng, ("x86-64", "i386"))
    mm, start = _process(machine), _address(rng, machine)
    there = _many_mappings(rng, machine, mm, start)
    child = dup_mm(machine, mm, 2, "process 2") if rng.randrange(2) else None
    if child is not None and rng.randrange(2):
        mmput(machine, child)
    with record(machine) as recording:
        for vaddr in [start + rng.randrange(18) * PAGE_SIZE for _ in range(5)]:
            access(machine, mm, vaddr, bool(rng.randrange(2)))
        for vaddr in there:
            access(machine, mm, vaddr, True)
    return recording


def _pinning(rng: Random) -> Recording:
    machine = _machine(rng, ("x86-64", "i386"))
    mm, start = _process(machine), _address(rng, machine)
    _many_mappings(rng, machine, mm, start)
    if rng.randrange(3) == 0:
        _map(machine, mm, start + 3 * PAGE_SIZE, 2, R | W, True, driver_open(machine))
    flags = rng.choice((0, 0, FOLL_WRITE, FOLL_WRITE, FOLL_WRITE | FOLL_FORCE))
    with record(machine) as recording:
        get_user_pages_remote(machine, mm, mm, start + rng.randrange(12) * PAGE_SIZE, rng.randint(2, 7), flags, [])
    return recording


def _sharing(rng: Random) -> Recording:
    machine = _machine(rng, ("x86-64",))
    mm, start = _process(machine), _address(rng, machine)
    _map(machine, mm, start, 4)
    for page in range(3):
        access(machine, mm, start + page * PAGE_SIZE, True)
    if rng.randrange(2):
        get_user_pages_remote(machine, mm, mm, start + rng.randrange(3) * PAGE_SIZE, 1, FOLL_WRITE, [])
    spaces = [mm]
    for pid in range(2, 3 + rng.randrange(2)):
        child = dup_mm(machine, rng.choice(spaces), pid, f"process {pid}")
        assert child is not None
        spaces.append(child)
    if rng.randrange(2):
        mmput(machine, spaces.pop(rng.randrange(1, len(spaces))))
    with record(machine) as recording:
        for _ in range(4):
            access(machine, rng.choice(spaces), start + rng.randrange(3) * PAGE_SIZE, True)
    return recording


MAKERS: dict[str, Callable[[Random], Recording]] = {
    "table_index": _looking, "tables_made": _growing, "addr_end": _walking, "fault_outcome": _faulting,
    "gup_result": _pinning, "who_copies": _sharing,
}
