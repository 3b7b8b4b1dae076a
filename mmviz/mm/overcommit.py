"""What may be promised?

An operating system may promise more memory than it has, for few programs touch all that they ask for. v5.4's default
(OVERCOMMIT_GUESS) refuses only what could never be: more pages at once than the machine has.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import Errno
from ..trace import mirrors
from . import mmap_events as ev

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/util.c")
def __vm_enough_memory(machine: Machine, pages: int) -> int:
    """May so many pages be promised to one more mapping? 0, or -ENOMEM if the machine has not that many.

    Kernel: mm/util.c:__vm_enough_memory at v5.4, OVERCOMMIT_GUESS without swap space.
    """
    totalram = sum(zone.managed_pages for zone in machine.zones())
    if machine.on:
        machine.trace.emit(ev.CommitChecked(pages, totalram, pages <= totalram))
    return 0 if pages <= totalram else -Errno.ENOMEM
