"""Moving a page: its contents go to another frame, and every entry that points to it follows.

It works only if all references are accounted for: one for each mapping, one of the page cache. One more, and somebody
uses the page by its frame: a driver that holds it, for instance. Then it stays.

Left out: migration entries in between (nobody can touch the page meanwhile, since one operation runs at a time), huge
pages, buffers of file systems.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT
from ..trace import mirrors
from . import vm_events as ev
from .geometry import geometry_of
from .mm_types import Mapping, MmStruct, VmAreaStruct
from .page_rmap import page_add_file_rmap, page_mapcount, page_remove_rmap
from .pgtable import _pointer, entry, pfn_pte, pte_pfn, walk
from .swap import compound_pages, get_page, lru_cache_add, page_count, put_page
from .vm import set_page_data, set_page_flag, set_page_mapping, set_pte_at, vm
from .vma import page_cache_delete, page_cache_insert

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/migrate.c")
def migrate_pages(machine: Machine, pages: Sequence[int], get_new_page: Callable[[Machine, int], int | None]) -> int:
    """Move each page to one that `get_new_page` allocates.

    Returns
    -------
    int
        How many could not be moved.
    """
    return sum(not unmap_and_move(machine, page, get_new_page) for page in pages)


@mirrors("mm/migrate.c")
def unmap_and_move(machine: Machine, page: int, get_new_page: Callable[[Machine, int], int | None]) -> bool:
    """Move one page, if nobody holds it beyond its mappings and its page cache."""
    mapping = vm(machine).mapping.get(page)
    expected = page_mapcount(machine, page) + (mapping is not None and mapping.kind == "file")
    movable = mapping is not None and page_count(machine, page) == expected and len(compound_pages(machine, page)) == 1
    if machine.on:
        machine.trace.emit(ev.MigrationConsidered(page, page_count(machine, page), expected))
    newpage = get_new_page(machine, page) if movable else None
    if mapping is None or newpage is None:
        return False
    move_to_new_page(machine, newpage, page, mapping)
    return True


@mirrors("mm/migrate.c")
def move_to_new_page(machine: Machine, newpage: int, page: int, mapping: Mapping) -> None:
    """Contents, owner and flags first, then the entries; the references go with the entries."""
    state = vm(machine)
    set_page_data(machine, newpage, state.data.get(page, 0))
    set_page_mapping(machine, newpage, *mapping)
    set_page_flag(machine, newpage, state.flags[page])
    if mapping.kind == "file":
        page_cache_delete(machine, mapping.owner, mapping.pgoff)
        page_cache_insert(machine, mapping.owner, mapping.pgoff, newpage)
        get_page(machine, newpage)
    for mm, vaddr, pointer in list(rmap_walk(machine, page, mapping)):
        pte = entry(machine, pointer)
        get_page(machine, newpage)
        page_add_file_rmap(machine, newpage)
        set_pte_at(machine, mm.pid, vaddr, pointer, pfn_pte(geometry_of(machine), newpage, _bits(machine, pte)))
        page_remove_rmap(machine, page)
        put_page(machine, page)
    lru_cache_add(machine, newpage)
    put_page(machine, newpage)  # the reference it was allocated with
    if mapping.kind == "file":
        put_page(machine, page)


def _bits(machine: Machine, pte: int) -> int:
    return pte & ~geometry_of(machine).pfn_mask


def rmap_walk(machine: Machine, page: int, mapping: Mapping) -> Iterator[tuple[MmStruct, int, int]]:
    """Every entry that points to a page: address space, address, pointer to the entry.

    Kernel: mm/rmap.c:rmap_walk. The mappings are those linked to the page's anon_vma, or those of its file.
    """
    for pid in sorted(vm(machine).mm):
        mm = vm(machine).mm[pid]
        for vma in mm.mmap:
            vaddr = vma.vm_start + (mapping.pgoff - vma.vm_pgoff << PAGE_SHIFT)
            if _linked(vma, mapping) and vma.vm_start <= vaddr < vma.vm_end:
                last = list(walk(machine, mm, vaddr))[-1]
                if last.level == "pte" and last.entry and pte_pfn(geometry_of(machine), last.entry) == page:
                    yield mm, vaddr, _pointer(geometry_of(machine), last.table, last.index)


def _linked(vma: VmAreaStruct, mapping: Mapping) -> bool:
    if mapping.kind == "anon":
        return mapping.owner in vma.anon_vma_chain
    return vma.vm_file == mapping.owner
