"""How many mappings has a page, and whose is it? The half of reverse mapping that looks at pages.

`mapcount` counts the entries that point to a page: page->_mapcount + 1 in the kernel. An anonymous page belongs to the
anon_vma of the mapping that it was made for, a page of a file to the inode. The other half, which VMAs an anon_vma is
linked to, is rmap.py.

Left out: huge pages mapped in parts, NR_ANON_MAPPED and its sisters.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, PAGE_SHIFT
from ..trace import mirrors
from .mm_types import PG_mlocked, PG_swapbacked, VmAreaStruct
from .swap import compound_head, compound_pages
from .vm import add_compound_mapcount, add_mapcount, clear_page_flag, set_page_flag, set_page_mapping, vm

if TYPE_CHECKING:
    from .machine import Machine


def linear_page_index(vma: VmAreaStruct, address: int) -> int:
    """The place of an address in the file of its mapping, or in the anonymous mapping itself, in pages.

    Kernel: include/linux/pagemap.h:linear_page_index.
    """
    return (address - vma.vm_start >> PAGE_SHIFT) + vma.vm_pgoff


def page_anon(machine: Machine, pfn: int) -> bool:
    """Whether a page is anonymous: PageAnon. Of a compound page the head says it."""
    mapping = vm(machine).mapping.get(compound_head(machine, pfn))
    return mapping is not None and mapping.kind == "anon"


def page_mapcount(machine: Machine, pfn: int) -> int:
    """The entries that point to a page, huge ones included."""
    state = vm(machine)
    return state.mapcount.get(pfn, 0) + state.compound_mapcount.get(compound_head(machine, pfn), 0)


def page_trans_huge_mapcount(machine: Machine, pfn: int) -> int:
    """The same; of a huge page, that of the page in it that has most, for it is kept or copied as one.

    Kernel: mm/huge_memory.c:page_trans_huge_mapcount.
    """
    return max(page_mapcount(machine, page) for page in compound_pages(machine, pfn))


def mm_counter(machine: Machine, pfn: int) -> int:
    """Which of mm->rss_stat counts a page.

    Kernel: include/linux/mm.h:mm_counter.
    """
    if page_anon(machine, pfn):
        return MM_ANONPAGES
    return mm_counter_file(machine, pfn)


def mm_counter_file(machine: Machine, pfn: int) -> int:
    """Which of mm->rss_stat counts a page of a file: shared memory counts by itself."""
    return MM_SHMEMPAGES if vm(machine).flags.get(pfn, 0) & PG_swapbacked else MM_FILEPAGES


@mirrors("mm/rmap.c")
def page_add_new_anon_rmap(machine: Machine, pfn: int, vma: VmAreaStruct, address: int, compound: bool = False) -> None:
    """A new anonymous page gets its first mapping, and belongs to the mapping's anon_vma."""
    set_page_flag(machine, pfn, PG_swapbacked)
    (add_compound_mapcount if compound else add_mapcount)(machine, pfn, 1)
    __page_set_anon_rmap(machine, pfn, vma, address)


@mirrors("mm/rmap.c")
def __page_set_anon_rmap(machine: Machine, pfn: int, vma: VmAreaStruct, address: int) -> None:
    """page->mapping = the anon_vma of the mapping, page->index = its place there."""
    set_page_mapping(machine, pfn, "anon", vma.anon_vma, linear_page_index(vma, address))


@mirrors("mm/rmap.c")
def page_move_anon_rmap(machine: Machine, pfn: int, vma: VmAreaStruct) -> None:
    """A page that only one process maps any more belongs to that one's anon_vma from here on."""
    head = compound_head(machine, pfn)
    set_page_mapping(machine, head, "anon", vma.anon_vma, vm(machine).mapping[head].pgoff)


@mirrors("mm/rmap.c")
def page_add_file_rmap(machine: Machine, pfn: int) -> None:
    """A page of a file gets one mapping more."""
    add_mapcount(machine, pfn, 1)


@mirrors("include/linux/mm.h")
def page_dup_rmap(machine: Machine, pfn: int, compound: bool = False) -> None:
    """fork: one mapping more of a page that is mapped already."""
    (add_compound_mapcount if compound else add_mapcount)(machine, pfn, 1)


@mirrors("mm/rmap.c")
def page_remove_rmap(machine: Machine, pfn: int, compound: bool = False) -> None:
    """One mapping less; the last one of a locked page unlocks it."""
    (add_compound_mapcount if compound else add_mapcount)(machine, pfn, -1)
    state = vm(machine)
    if pfn not in state.mapcount and state.flags.get(pfn, 0) & PG_mlocked:
        clear_page_flag(machine, pfn, PG_mlocked)
