"""What kmap and kmap_atomic can say.

Fields: `pfn` page frame number, `vaddr` a kernel address, `nr` a slot of kmap's window, `count` its pkmap_count
(0 free, 1 mapped without users, n + 1 for n users), `cpu`.
"""
from __future__ import annotations

from typing import ClassVar

from ..trace import Event, event

# ---------------------------------------------------------------- changes: each has a primitive in pkmap.py


@event
class KmapInit(Event):
    """The windows were set up: where they are, and how large."""

    pkmap_base: int
    last_pkmap: int
    fixaddr_top: int
    fix_kmap_begin: int
    km_type_nr: int
    nr_cpus: int
    mem_map: int


@event
class SetLastPkmapNr(Event):
    """The hand moved on to a slot."""

    nr: int


@event
class SetPkmapCount(Event):
    """A slot's count changed."""

    nr: int
    count: int


@event
class SetPageAddress(Event):
    """A page got an address in the hash table, or lost it (0)."""

    pfn: int
    vaddr: int


@event
class AddWaitQueue(Event):
    """A task went to sleep until a slot has no users."""

    pfn: int


@event
class WakeUp(Event):
    """All who slept for a slot were woken."""


@event
class CpuChange(Event):
    """Base of what happens to a CPU."""

    cpu: int


@event
class KmapAtomicIdxPush(CpuChange):
    """The CPU took its next slot of the fixmap."""


@event
class KmapAtomicIdxPop(CpuChange):
    """The CPU gave its last slot of the fixmap back."""


@event
class PagefaultDisable(CpuChange):
    """From here on the CPU may neither sleep nor take a page fault."""


@event
class PagefaultEnable(CpuChange):
    """One reason less why the CPU may not sleep."""


# ---------------------------------------------------------------- decisions


@event
class PageAddressFound(Event):
    """Where a page of low memory stands was computed."""

    decision: ClassVar[bool] = True
    pfn: int
    vaddr: int


@event
class PageAddressSearched(Event):
    """The address of a high page was looked up in its hash bucket; 0 if it has none."""

    decision: ClassVar[bool] = True
    pfn: int
    bucket: int
    vaddr: int


@event
class PkmapProbed(Event):
    """A slot was tested: it is usable only if its count is 0."""

    decision: ClassVar[bool] = True
    nr: int
    count: int


@event
class ZeroPkmapsSought(Event):
    """The index has wrapped, or somebody asked: which slots are mapped and have no users?"""

    decision: ClassVar[bool] = True
    found: int


@event
class TlbRangeFlushed(Event):
    """All CPUs forgot what they knew of a range of kernel addresses."""

    decision: ClassVar[bool] = True
    start: int
    end: int


@event
class TlbEntryFlushed(Event):
    """This CPU forgot what it knew of one address."""

    decision: ClassVar[bool] = True
    vaddr: int


@event
class Kmapped(Event):
    """kmap is done: the address, or 0 if the caller sleeps."""

    decision: ClassVar[bool] = True
    pfn: int
    vaddr: int


@event
class Kunmapped(Event):
    """kunmap is done; the count of the slot, or -1 for a page that needs none."""

    decision: ClassVar[bool] = True
    pfn: int
    count: int


@event
class PageCleared(Event):
    """A page was filled with zeros through an address."""

    decision: ClassVar[bool] = True
    pfn: int
    vaddr: int
