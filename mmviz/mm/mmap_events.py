"""What mappings can say: VMAs, anon_vmas, files, and the calls that change them.

Fields: `mm` the pid of an address space, `vma` the number of a VMA (it keeps it whatever becomes of its addresses),
`vm_start`, `vm_end`, `start` and `end` addresses, `anon_vma` and `ino` numbers. Counts are in pages. Changes have their
primitives in vma.py.
"""
from __future__ import annotations

from typing import ClassVar

from ..trace import Event, event

# ---------------------------------------------------------------- changes: mappings


@event
class VmaChange(Event):
    """Base of what happens to one VMA."""

    vma: int


@event
class VmAreaAlloc(VmaChange):
    """A VMA was made; it is in no list yet."""

    mm: int
    vm_start: int
    vm_end: int
    vm_flags: int
    vm_page_prot: int
    vm_pgoff: int


@event
class VmAreaDup(VmaChange):
    """A VMA was made as a copy of another, all but its anon_vma_chain; it is in no list yet."""

    mm: int
    orig: int


@event
class VmAreaFree(VmaChange):
    """A VMA is gone."""


@event
class VmaLink(VmaChange):
    """A VMA went into the list of its address space."""


@event
class VmaUnlink(VmaChange):
    """A VMA was taken out of the list of its address space."""


@event
class SetVmaRange(VmaChange):
    """A VMA covers other addresses."""

    vm_start: int
    vm_end: int
    vm_pgoff: int


@event
class SetVmPageProt(VmaChange):
    """The bits that new entries of a mapping get were set."""

    vm_page_prot: int


@event
class SetVmFile(VmaChange):
    """A VMA got its file, and the operations that go with it."""

    ino: int
    vm_ops: str


# ---------------------------------------------------------------- changes: anon_vma


@event
class SetAnonVma(VmaChange):
    """vma->anon_vma was set: new anonymous pages of the mapping belong to it; 0 is none."""

    anon_vma: int


@event
class AnonVmaChainLink(VmaChange):
    """An anon_vma was put at the head of a VMA's chain: its pages may be mapped there."""

    anon_vma: int


@event
class AnonVmaChainUnlink(VmaChange):
    """An anon_vma left a VMA's chain."""

    anon_vma: int


@event
class AnonVmaAlloc(Event):
    """An anon_vma was made; root and parent are itself, or where it was forked from."""

    anon_vma: int
    root: int
    parent: int


@event
class AnonVmaFree(Event):
    """An anon_vma that no VMA is linked to is gone."""

    anon_vma: int


@event
class AddDegree(Event):
    """anon_vma->degree: VMAs that use it as theirs, and its children."""

    anon_vma: int
    delta: int


# ---------------------------------------------------------------- changes: address spaces


@event
class VmStatAccount(Event):
    """total_vm changed, and with it data_vm, exec_vm or stack_vm, as the flags say."""

    mm: int
    vm_flags: int
    npages: int


@event
class DupVmStat(Event):
    """A child began with its parent's total_vm, data_vm, exec_vm and stack_vm."""

    mm: int
    oldmm: int


@event
class AddLockedVm(Event):
    """mm->locked_vm changed."""

    mm: int
    npages: int


# ---------------------------------------------------------------- changes: files


@event
class NewInode(Event):
    """A file or an object of shared memory was made, open once; `size` in pages."""

    ino: int
    name: str
    size: int
    shmem: bool


@event
class EvictInode(Event):
    """A file that nobody has open or mapped is gone."""

    ino: int


@event
class AddFCount(Event):
    """A file is held once more, by an opener or a mapping (get_file), or once less (fput)."""

    ino: int
    delta: int


@event
class ISizeWrite(Event):
    """A file has another size, in pages."""

    ino: int
    size: int


@event
class AddToPageCache(Event):
    """A page went into the page cache of a file."""

    ino: int
    index: int
    pfn: int


@event
class DeleteFromPageCache(Event):
    """A page left the page cache of a file."""

    ino: int
    index: int


# ---------------------------------------------------------------- decisions


@event
class Decision(Event):
    """Base of what was looked at, and what came of it."""

    decision: ClassVar[bool] = True


@event
class VmaSearched(Decision):
    """find_vma: the first VMA that ends above an address; 0 if there is none."""

    mm: int
    vaddr: int
    vma: int
    vm_start: int


@event
class CallRefused(Decision):
    """A call on mappings ends with an error: `why` in words."""

    call: str
    errno: int
    why: str


@event
class CommitChecked(Decision):
    """May so many pages be promised? Not if they are more than the machine has."""

    pages: int
    totalram: int
    allowed: bool


@event
class NeighbourChecked(Decision):
    """Can a VMA grow over the range beside it? `why` not, in words; empty if it can."""

    vma: int
    side: str
    why: str


@event
class VmaMerged(Decision):
    """vma_merge: which of the eight cases of the kernel's drawing it is; 0 is none."""

    mm: int
    start: int
    end: int
    case: int


@event
class VmaSplit(Decision):
    """A VMA is cut in two at an address; the new one lies below or above."""

    vma: int
    vaddr: int
    new_below: bool


@event
class RangeUnmapped(Decision):
    """munmap: the VMAs to go, and the neighbours that bound the tables which may go with them."""

    mm: int
    start: int
    end: int
    vmas: int
    floor: int
    ceiling: int


@event
class MappingForked(Decision):
    """fork looked at a VMA of the parent: "copied", "wiped" or "left out"."""

    mm: int
    vma: int
    how: str


@event
class MergeableAnonVmaSearched(Decision):
    """Does a neighbour have an anon_vma that this VMA may use? 0 if not."""

    vma: int
    anon_vma: int


@event
class AnonVmaReused(Decision):
    """fork takes an anon_vma of the chain that has no VMA of its own and one child, instead of a new one."""

    vma: int
    anon_vma: int


@event
class PageCacheSearched(Decision):
    """Is the page of a file in memory? 0 if not."""

    ino: int
    index: int
    pfn: int


@event
class PagesMappedAround(Decision):
    """A read fault maps what the page cache has of these pages of the file."""

    ino: int
    start_pgoff: int
    end_pgoff: int


@event
class Truncated(Decision):
    """A file gets another size; pages beyond it leave all page tables, private copies too."""

    ino: int
    size: int
    oldsize: int
