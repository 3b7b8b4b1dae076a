"""What page tables, faults and get_user_pages can say.

Fields: `mm` the pid of an address space (0: init_mm), `vaddr` a virtual address, `pfn` a frame, `vma` the id of a mapping, `pointer` the physical
address of an entry, `entry` its new value, `member` an index of mm->rss_stat. Changes have their primitives in vm.py.
"""
from __future__ import annotations

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
class SetPageMapping(PageChange):
    """page->mapping and page->index were set; kind "" forgets them."""

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
    """The task counted a fault; at the 65th it folds its rss_stat into the address space's."""

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
