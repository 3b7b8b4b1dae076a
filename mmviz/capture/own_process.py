"""The kernel under this very process: does a mapping of your own cost the page tables that the simulator says?

    [ 1 GiB          ][x|x          1 GiB ][ 1 GiB          ]      two pages, one on each side of a boundary
                        ^ no table of anybody else lies here

The mapping is private, anonymous and not touched but in three places, so it costs three pages of memory. VmPTE in
/proc/self/status is read before and after. Where there is no such file, or the pages have another size, what a Linux
6.18 on x86-64 said stands for it.
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
AREA = 3 * GIB
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
    if vm_pte(status) is None or mmap.PAGESIZE != PAGE_SIZE:
        return OwnTables(_predicted(PAGE_SIZE), RECORDED, False)
    both = sorted((_measured(status) for _ in range(3)), key=lambda pair: pair[1])[1]
    return OwnTables(*both, True)


def vm_pte(status: str | Path) -> int | None:
    """VmPTE in kB; None if the file does not say."""
    try:
        lines = Path(status).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmPTE:")), None)


def _measured(status: str | Path) -> tuple[int, int]:
    """What the simulator predicts, and what the kernel says, of one mapping."""
    with mmap.mmap(-1, AREA, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE) as area:
        area.madvise(mmap.MADV_NOHUGEPAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        area[0] = 1
        before = vm_pte(status) or 0
        for vaddr in places(start)[1:]:
            area[vaddr - start] = 1
        return _predicted(start), (vm_pte(status) or 0) - before


def places(start: int) -> tuple[int, int, int]:
    """The pages to touch: the first, and the two beside a boundary that has 1 GiB of the mapping on either side."""
    boundary = -(-start // GIB) * GIB + GIB
    return start, boundary - PAGE_SIZE, boundary


def _predicted(start: int) -> int:
    """What the last two of the three pages cost in the simulator, in kB."""
    machine = toy(4)
    mm = mm_alloc(machine, 1, "this process")
    assert mm is not None
    counts = [mm.pgtables_bytes]
    for vaddr in places(start):
        vm_mmap_pgoff(machine, mm, 0, vaddr, PAGE_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0)
        access(machine, mm, vaddr, True, 1)
        counts.append(mm.pgtables_bytes)
    return counts[3] - counts[1] >> 10
