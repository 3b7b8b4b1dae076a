"""What page tables, faults and get_user_pages can say.

Fields: `mm` the pid of an address space (0: init_mm), `vma` the id of a mapping, `vaddr` a virtual address, `pfn` a
frame, `pointer` the physical address of an entry, `entry` its new value, `member` an index of mm->rss_stat. Changes
have their primitives in vm.py.
"""
from __future__ import annotations

from typing import ClassVar

from ..trace import Event, event

# ---------------------------------------------------------------- changes: tables


@event
class EntryChange(Event):
    """Base of what happens to one entry of a table."""

    mm: int
    vaddr: int
    pointer: int
    entry: int


@event
class SetPgd(EntryChange):
    """An entry of a top table was written."""


@event
class SetP4d(EntryChange):
    """An entry of a P4D table was written."""


@event
class SetPud(EntryChange):
    """An entry of a PUD table was written."""


@event
class SetPmd(EntryChange):
    """An entry of a PMD table was written."""


@event
class SetPteAt(EntryChange):
    """A PTE was written; 0 clears it."""


@event
class PgtablePageCtor(Event):
    """A page became a page table, empty."""

    pfn: int
    level: str


@event
class PgtablePageDtor(Event):
    """A page is a page table no longer."""

    pfn: int
    level: str


@event
class AddPgtablesBytes(Event):
    """mm->pgtables_bytes grew, or shrank."""

    mm: int
    nr_bytes: int


@event
class PgtableTransHugeDeposit(Event):
    """A PTE table was kept in store for a huge page (pmd_huge_pte of its PMD table)."""

    mm: int
    pmd_table: int
    pfn: int


@event
class PgtableTransHugeWithdraw(Event):
    """The PTE table that was kept came out of store."""

    mm: int
    pmd_table: int
    pfn: int


# ---------------------------------------------------------------- changes: pages


@event
class PageChange(Event):
    """Base of what happens to one page."""

    pfn: int


@event
class AddMapcount(PageChange):
    """One mapping more (+1) or less (-1) of a page: page->_mapcount."""

    delta: int


@event
class AddCompoundMapcount(PageChange):
    """One huge mapping more (+1) or less (-1) of a compound page."""

    delta: int


@event
class SetPageMapping(PageChange):
    """page->mapping and page->index were set; kind "" is a mapping of NULL."""

    kind: str
    owner: int
    index: int


@event
class SetPageData(PageChange):
    """The first word of a page has another value."""

    data: int


@event
class SetPageFlag(PageChange):
    """A bit of page->flags was set."""

    flag: int


@event
class ClearPageFlag(PageChange):
    """A bit of page->flags was cleared."""

    flag: int


@event
class ReservedPageRefAdd(PageChange):
    """References of a page outside all zones were taken or dropped."""

    nr: int


@event
class ForgetPage(PageChange):
    """The last reference is gone: the page has no mapping, flags and contents any more."""


@event
class PagevecAdd(Event):
    """A page was put on this CPU's pagevec, on its way to an LRU list."""

    cpu: int
    pfn: int


@event
class PagevecReinit(Event):
    """This CPU's pagevec was emptied."""

    cpu: int


# ---------------------------------------------------------------- changes: address spaces


@event
class MmInit(Event):
    """A new address space, without mappings; its top table lies in frame `pgd`."""

    mm: int
    name: str
    pgd: int
    task_size: int


@event
class MmDrop(Event):
    """An address space is gone."""

    mm: int


@event
class AddMmCounter(Event):
    """mm->rss_stat changed."""

    mm: int
    member: int
    value: int


@event
class AddMmCounterFast(Event):
    """The task's own rss_stat changed; it is folded into mm->rss_stat later."""

    mm: int
    member: int
    value: int


@event
class CheckSyncRssStat(Event):
    """The task counted a fault; at the 66th it folds its rss_stat into the address space's."""

    mm: int


@event
class SyncMmRss(Event):
    """The task folded its rss_stat into the address space's."""

    mm: int


@event
class CountFault(Event):
    """The task's count of faults went up: minor, or major if the page had to be read in."""

    mm: int
    major: bool


@event
class SetVmFlags(Event):
    """vma->vm_flags has another value."""

    vma: int
    vm_flags: int


@event
class SetVmPgoff(Event):
    """vma->vm_pgoff has another value."""

    vma: int
    vm_pgoff: int


# ---------------------------------------------------------------- decisions


@event
class Decision(Event):
    """Base of what was looked at, and what came of it."""

    decision: ClassVar[bool] = True


@event
class TlbGatherBegun(Decision):
    """Pages that are unmapped from here on are collected, to be freed after the TLB was flushed."""

    mm: int
    start: int
    end: int


@event
class TlbFlushed(Decision):
    """The TLB was flushed: no CPU can reach the collected pages any more."""

    mm: int
    pages: int


@event
class PageAccessNoted(Decision):
    """mark_page_accessed: what the page was before; it becomes referenced, then active."""

    pfn: int
    referenced: bool
    active: bool


@event
class PagevecsDrained(Decision):
    """lru_add_drain: so many pages leave this CPU's pagevec for the LRU lists."""

    cpu: int
    pages: int


@event
class RangeWalked(Decision):
    """A function of one level looks at one entry, for the part [start, end) of a range."""

    mm: int
    level: str
    start: int
    end: int
    entry: int


@event
class TableKept(Decision):
    """A table is not freed: other mappings lie in its span, or may."""

    mm: int
    level: str
    start: int
    floor: int
    ceiling: int


@event
class RemapChecked(Decision):
    """remap_pfn_range looked at the mapping: a private one must be remapped as a whole."""

    vma: int
    vaddr: int
    pfn: int
    size: int
    allowed: bool


@event
class PfnModifyChecked(Decision):
    """May this frame be mapped with these bits? (L1TF)"""

    pfn: int
    allowed: bool


@event
class PfnRemapTracked(Decision):
    """The cache mode of the frames was looked up, and reserved if they are the whole mapping."""

    vma: int
    pfn: int
    size: int
    whole: bool


@event
class NormalPageChecked(Decision):
    """Is there a struct page behind an entry that counts? `why` not, in words; empty if there is."""

    mm: int
    vaddr: int
    pfn: int
    why: str


@event
class TablesBounded(Decision):
    """Which tables of an unmapped range may go: none at all if floor and ceiling leave no whole span."""

    mm: int
    start: int
    end: int
    floor: int
    ceiling: int
    some: bool


@event
class HugePageConsidered(Decision):
    """Would a huge page around this fault lie inside the mapping?"""

    mm: int
    vaddr: int
    suitable: bool


@event
class SwapPageReused(Decision):
    """reuse_swap_page: may the writer keep the page? Only if nobody else maps it; references do not matter."""

    pfn: int
    mapcount: int
    reuse: bool


@event
class FaultBegun(Decision):
    """The kernel is asked to make an address usable (PGFAULT)."""

    mm: int
    vaddr: int
    flags: int


@event
class FaultHandled(Decision):
    """What came of a fault: VM_FAULT_* bits."""

    mm: int
    vaddr: int
    result: int


@event
class EntryFound(Decision):
    """The fault looked at the entry; 0 is none."""

    mm: int
    vaddr: int
    entry: int


@event
class WouldSwapIn(Decision):
    """The page is in swap: the kernel would read it in and wait."""

    mm: int
    vaddr: int
    entry: int


@event
class FaultOffered(Decision):
    """Does the mapping know where its pages come from?"""

    mm: int
    vaddr: int
    offered: bool


@event
class FaultAroundChosen(Decision):
    """A read fault will map what the page cache has of pages [start_pgoff, end_pgoff], both included."""

    mm: int
    vaddr: int
    start_pgoff: int
    end_pgoff: int


@event
class CopyConsidered(Decision):
    """fork: must the entries of a mapping be copied, or can faults bring its pages again?"""

    mm: int
    vma: int
    needed: bool


@event
class MoveBegun(Decision):
    """mremap moves the entries of `length` bytes."""

    mm: int
    old_addr: int
    new_addr: int
    length: int


@event
class TableMoveConsidered(Decision):
    """Can the whole PTE table move, instead of its entries?"""

    mm: int
    old_addr: int
    new_addr: int
    moves: bool


# ---------------------------------------------------------------- decisions: get_user_pages, and the CPU


@event
class VmaFlagsChecked(Decision):
    """May pages of this mapping be taken? `why` not, in words; empty if they may."""

    mm: int
    vm_start: int
    vm_flags: int
    gup_flags: int
    why: str


@event
class EntryFollowed(Decision):
    """get_user_pages looked at an entry on the way to a page."""

    mm: int
    level: str
    vaddr: int
    entry: int


@event
class PageFollowed(Decision):
    """What get_user_pages found: a pfn; None: to be faulted in; below 0 an error."""

    mm: int
    vaddr: int
    flags: int
    found: int | None


@event
class NoPageTable(Decision):
    """Nothing is mapped there; a core dump leaves it out then."""

    mm: int
    vaddr: int
    refused: bool


@event
class PfnEntryRefused(Decision):
    """An entry without a struct page: there is nothing to take a reference of."""

    mm: int
    vaddr: int
    entry: int


@event
class PageFaultedIn(Decision):
    """get_user_pages made the fault that the process would have made."""

    mm: int
    vaddr: int
    flags: int
    result: int


@event
class UserPagesGot(Decision):
    """get_user_pages ends: so many pages of those asked for, or an error if it is none."""

    mm: int
    vaddr: int
    asked: int
    got: int


@event
class FollFlagsRefused(Decision):
    """These FOLL_* flags are not allowed in this call."""

    gup_flags: int


@event
class PopulateBegun(Decision):
    """A range is to be faulted in before anybody touches it."""

    mm: int
    vaddr: int
    length: int


@event
class EntryUsed(Decision):
    """The CPU walked the tables: does the entry allow the touch?"""

    mm: int
    vaddr: int
    write: bool
    entry: int
    allowed: bool


@event
class FaultChecked(Decision):
    """Is there a mapping, and does it allow the touch? 0, or the code of the SIGSEGV."""

    mm: int
    vaddr: int
    write: bool
    code: int


@event
class FastWalkEnded(Decision):
    """The lockless walk of get_user_pages_fast ends: so many pages were taken."""

    mm: int
    start: int
    end: int
    taken: int


@event
class FastEntryChecked(Decision):
    """May the page of an entry be taken without looking at its mapping?"""

    vaddr: int
    entry: int
    allowed: bool


@event
class LongtermChosen(Decision):
    """get_user_pages: must pages of CMA memory be moved away first?"""

    mm: int
    vaddr: int
    asked: int
    longterm: bool


@event
class CmaPagesFound(Decision):
    """Of the pages taken, so many lie in CMA pageblocks and can be isolated."""

    taken: int
    isolated: int


@event
class MigrationConsidered(Decision):
    """Can a page move? Only if all its references are accounted for."""

    pfn: int
    references: int
    expected: int
