"""The kernel under this very process: does a mapping of your own cost the page tables that the simulator says?

    ...[        1 GiB      x][x      1 GiB        ][o ...         x: the two pages, on each side of a boundary
       no PMD table here       none here            o: touched before, so the PUD table above all three is there

The mapping is private, anonymous and not touched but in three places, so it costs three pages of memory. VmPTE in
/proc/self/status is read before and after. Where there is no such file, the pages have another size, or so large a
mapping is refused, what a Linux 6.18 on x86-64 said stands for it.
"""
from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from typing import NamedTuple

from ..kernel import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PAGE_SIZE, PROT_READ, PROT_WRITE
from ..mm.access import access
from ..mm.boot import toy
from ..mm.pgalloc import mm_alloc
from ..mm.util import vm_mmap_pgoff

GIB = 1 << 30
AREA = 6 * GIB
PUD_TABLE = 512  # the GiB that one PUD table covers
NORESERVE = 0x4000  # MAP_NORESERVE: no room in swap is asked for
RECORDED = 16  # kB


class OwnTables(NamedTuple):
    """What two pages beside a boundary of 1 GiB cost, in kB; `live` if this machine's kernel was asked."""

    predicted: int
    measured: int
    live: bool

    def __str__(self) -> str:
        return (f"two pages beside a boundary of 1 GiB: predicted +{self.predicted} kB of tables, "
                f"measured +{self.measured} kB")


def own_tables(status: str | Path = "/proc/self/status") -> OwnTables:
    """Touch two pages of a mapping of this process, and compare VmPTE with what the simulator says.

    Parameters
    ----------
    status : str or Path, optional
        Where the kernel says VmPTE.

    Returns
    -------
    OwnTables

    Notes
    -----
    Measured three times, and the middle one taken: other threads of this process may get tables meanwhile.
    """
    recorded = OwnTables(_predicted(PAGE_SIZE), RECORDED, False)
    if vm_pte(status) is None or mmap.PAGESIZE != PAGE_SIZE:
        return recorded
    try:
        return sorted(_measured(status) for _ in range(3))[1]
    except OSError:
        return recorded


def vm_pte(status: str | Path) -> int | None:
    """VmPTE in kB; None if the file does not say."""
    try:
        lines = Path(status).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmPTE:")), None)


def _measured(status: str | Path) -> OwnTables:
    """What the simulator predicts, and what the kernel says, of one mapping."""
    with mmap.mmap(-1, AREA, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE) as area:
        area.madvise(mmap.MADV_NOHUGEPAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        first, *two = (vaddr - start for vaddr in places(start))
        area[first] = 1
        before = vm_pte(status) or 0
        for offset in two:
            area[offset] = 1
        return OwnTables(_predicted(start), (vm_pte(status) or 0) - before, True)


def places(start: int) -> tuple[int, int, int]:
    """The pages to touch in a mapping that starts there: one beforehand, and the two beside a boundary of 1 GiB.

    All three lie below one PUD table, and the GiB on either side of the boundary within the mapping.
    """
    first = -(-start // GIB) + 1
    boundary = next(gib for gib in range(first, first + 3) if gib // PUD_TABLE == (gib - 1) // PUD_TABLE
                    == (gib + 1) // PUD_TABLE) * GIB
    return boundary + GIB, boundary - PAGE_SIZE, boundary


def _predicted(start: int) -> int:
    """What the last two of the three pages cost in the simulator, in kB."""
    machine = toy(4)
    mm = mm_alloc(machine, 1, "this process")
    assert mm is not None
    counts = []
    for vaddr in places(start):
        vm_mmap_pgoff(machine, mm, 0, vaddr, PAGE_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0)
        access(machine, mm, vaddr, True, 1)
        counts.append(mm.pgtables_bytes)
    return counts[-1] - counts[0] >> 10
