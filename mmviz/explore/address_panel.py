"""AddressPanel: slide along an address space, and see the bits and the way through the tables move together.

    AddressPanel(machine)                                  addresses of its first process that are worth a look
    AddressPanel(machine, range(0x1ff000, 0x204000, 0x1000))

Every address is drawn beforehand and handed to the browser at once, as a Stepper hands over its steps; the slider moves
between them without a kernel. If none are given, they are the pages at both ends of each mapping, the pages that are
there, and the first page of each hole: there the way ends early.
"""
from __future__ import annotations

from collections.abc import Iterable

from ..draw.address import draw_address
from ..draw.spaces import entries_of, space_of
from ..kernel import PAGE_SIZE
from ..mm.machine import Machine
from .places import Place, Places

MOST = 64  # addresses: as many as fit in 40 KB


def worth_a_look(machine: Machine, mm: int | None = None) -> list[int]:
    """Addresses of a process to slide over, ascending, at most MOST."""
    space = space_of(machine, None, mm)
    found = {page.vaddr for page in entries_of(machine, space)}
    for vma in space.mmap:
        found |= {vma.vm_start, vma.vm_end - PAGE_SIZE, vma.vm_end}
    return sorted(found)[:MOST]


class AddressPanel(Places):
    """Addresses on a slider: their bits, and their way through the tables.

    Parameters
    ----------
    machine : Machine
        The state to look at; it is not changed.
    addresses : iterable of int, optional
        In the order of the slider, at most MOST.
    mm : int, optional
        The process; the first if not given.
    at : int, optional
        Which address to begin with.

    Raises
    ------
    ValueError
        If there is no address, or there are too many.
    """

    def __init__(self, machine: Machine, addresses: Iterable[int] | None = None, *, mm: int | None = None,
                 at: int = 0) -> None:
        shown = list(worth_a_look(machine, mm) if addresses is None else addresses)
        if not 1 <= len(shown) <= MOST:
            raise ValueError(f"addresses must be 1 to {MOST}, got {len(shown)}")
        self.addresses = shown
        scenes = [draw_address(machine, vaddr=vaddr, mm=mm) for vaddr in shown]
        super().__init__([Place(f"{vaddr:#x}", scene.words, scene) for vaddr, scene in zip(shown, scenes, strict=True)],
                         f"Addresses of {space_of(machine, None, mm).name}", at)

    def __repr__(self) -> str:
        return f"AddressPanel({len(self.addresses)} addresses)"
