"""Transparent huge pages: one PMD entry maps 2 MiB of anonymous memory, and nobody asked for it by name.

    a fault, pmd none, 2 MiB around it inside the mapping
      order 9 from the page allocator                512 pages at once, one entry, one line of the TLB
      a PTE table besides, *deposited*               for the day that the huge page must be split: splitting must not
                                                     fail for want of a page. So VmPTE grows by 4 kB all the same.

A part that is unmapped, or gets other rights, splits the entry: the deposited table takes the place of the huge entry,
with 512 entries that point to the same 512 pages. The page stays one compound page; its head counts all references.

Left out: the huge zero page (`use_zero_page` off), khugepaged, huge pages of files, splitting of the page itself. The
defrag setting is v5.4's default, `madvise`.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    __GFP_DIRECT_RECLAIM,
    GFP_TRANSHUGE_LIGHT,
    MM_ANONPAGES,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_FALLBACK,
    VM_FAULT_OOM,
    VM_FAULT_WRITE,
    VM_HUGEPAGE,
    VM_NOHUGEPAGE,
    VM_WRITE,
    Errno,
)
from ..trace import mirrors
from . import vm_events as ev
from .geometry import geometry_of
from .mempolicy import alloc_pages_vma
from .mm_types import MmStruct, PG_uptodate, VmAreaStruct, VmFault
from .mmu_gather import MmuGather, tlb_remove_page
from .page_rmap import (
    page_add_new_anon_rmap,
    page_dup_rmap,
    page_move_anon_rmap,
    page_remove_rmap,
    page_trans_huge_mapcount,
)
from .pgalloc import __table_free, pmd_install, pte_alloc_one
from .pgtable import (
    _PAGE_PSE,
    entry,
    pfn_pte,
    pte_mkdirty,
    pte_mkold,
    pte_mkwrite,
    pte_mkyoung,
    pte_modify,
    pte_offset_map,
    pte_pfn,
    pte_wrprotect,
)
from .rmap import anon_vma_prepare
from .swap import get_page, lru_cache_add_active_or_unevictable, put_page
from .vm import (
    add_mapcount,
    add_mm_counter,
    add_pgtables_bytes,
    pgtable_trans_huge_deposit,
    pgtable_trans_huge_withdraw,
    set_page_data,
    set_page_flag,
    set_pmd,
    set_pte_at,
    vm,
)

if TYPE_CHECKING:
    from .machine import Machine

PMD = 3  # a level


def hpage_pmd_size(machine: Machine) -> int:
    """What one PMD entry maps, in bytes."""
    return 1 << geometry_of(machine).levels[PMD].shift


def hpage_pmd_nr(machine: Machine) -> int:
    """What one PMD entry maps, in pages."""
    return hpage_pmd_size(machine) >> PAGE_SHIFT


def __transparent_hugepage_enabled(machine: Machine, vma: VmAreaStruct) -> bool:
    """Whether faults of a mapping may take huge pages: the build's setting, and what madvise said.

    Kernel: include/linux/huge_mm.h:__transparent_hugepage_enabled.
    """
    setting = machine.config.transparent_hugepage
    return not vma.vm_flags & VM_NOHUGEPAGE and (
        setting == "always" or (setting == "madvise" and bool(vma.vm_flags & VM_HUGEPAGE)))


def transhuge_vma_suitable(machine: Machine, vma: VmAreaStruct, haddr: int) -> bool:
    """Whether the whole huge page lies inside the mapping.

    Kernel: include/linux/huge_mm.h:transhuge_vma_suitable.
    """
    return vma.vm_start <= haddr and haddr + hpage_pmd_size(machine) <= vma.vm_end


def _allocated(machine: Machine, vma: VmAreaStruct, haddr: int) -> int | None:
    """alloc_hugepage_vma: a block of order 9; only a mapping that was advised may reclaim for it."""
    gfp = GFP_TRANSHUGE_LIGHT | (__GFP_DIRECT_RECLAIM if vma.vm_flags & VM_HUGEPAGE else 0)
    order = hpage_pmd_nr(machine).bit_length() - 1
    return alloc_pages_vma(machine, gfp, order, vma, haddr, machine.cpu_to_node[machine.current.cpu], True)


# ---------------------------------------------------------------- faults


@mirrors("mm/huge_memory.c")
def do_huge_pmd_anonymous_page(machine: Machine, vmf: VmFault) -> int:
    """Try to serve a fault with a huge page.

    Returns
    -------
    int
        0, VM_FAULT_OOM, or VM_FAULT_FALLBACK: small pages then.
    """
    vma, haddr = vmf.vma, vmf.address & -hpage_pmd_size(machine)
    suitable = transhuge_vma_suitable(machine, vma, haddr)
    if machine.on:
        machine.trace.emit(ev.HugePageConsidered(vma.vm_mm.pid, haddr, suitable))
    if not suitable:
        return VM_FAULT_FALLBACK
    anon_vma_prepare(machine, vma)
    pfn = _allocated(machine, vma, haddr)
    if pfn is None:
        return VM_FAULT_FALLBACK
    return __do_huge_pmd_anonymous_page(machine, vmf, pfn)


@mirrors("mm/huge_memory.c")
def __do_huge_pmd_anonymous_page(machine: Machine, vmf: VmFault, pfn: int) -> int:
    """Clear the huge page, deposit a PTE table, map both."""
    vma, mm, haddr = vmf.vma, vmf.vma.vm_mm, vmf.address & -hpage_pmd_size(machine)
    pgtable = pte_alloc_one(machine, mm)
    if pgtable is None or vmf.pmd is None:
        put_page(machine, pfn)
        return VM_FAULT_OOM
    set_page_data(machine, pfn, 0)
    set_page_flag(machine, pfn, PG_uptodate)
    page_add_new_anon_rmap(machine, pfn, vma, haddr, True)
    lru_cache_add_active_or_unevictable(machine, pfn, vma)
    pgtable_trans_huge_deposit(machine, mm.pid, vmf.pmd >> PAGE_SHIFT, pgtable)
    set_pmd(machine, mm.pid, haddr, vmf.pmd, _mk_huge_pmd(machine, vma, pfn))
    add_mm_counter(machine, mm.pid, MM_ANONPAGES, hpage_pmd_nr(machine))
    add_pgtables_bytes(machine, mm.pid, PAGE_SIZE)
    return 0


def _mk_huge_pmd(machine: Machine, vma: VmAreaStruct, pfn: int) -> int:
    """A huge entry: dirty, and writable where the mapping is."""
    value = pte_mkdirty(pfn_pte(geometry_of(machine), pfn, vma.vm_page_prot | _PAGE_PSE))
    return pte_mkwrite(value) if vma.vm_flags & VM_WRITE else value


@mirrors("mm/huge_memory.c")
def do_huge_pmd_wp_page(machine: Machine, vmf: VmFault, orig_pmd: int) -> int:
    """A write to a huge page that is not writable: the only mapping takes it over; else a copy is made.

    Kernel: mm/huge_memory.c:do_huge_pmd_wp_page. Simplified: without a huge page for the copy the entry is split, and
    small pages are copied one by one as they are written (v5.4 copies all 512 at once).
    """
    assert vmf.pmd is not None
    vma, haddr = vmf.vma, vmf.address & -hpage_pmd_size(machine)
    page = pte_pfn(geometry_of(machine), orig_pmd)
    mapcount = page_trans_huge_mapcount(machine, page)
    if machine.on:
        machine.trace.emit(ev.SwapPageReused(page, mapcount, mapcount == 1))
    if mapcount == 1:
        page_move_anon_rmap(machine, page, vma)
        set_pmd(machine, vma.vm_mm.pid, haddr, vmf.pmd, pte_mkwrite(pte_mkdirty(pte_mkyoung(orig_pmd))))
        return VM_FAULT_WRITE
    copy = _allocated(machine, vma, haddr) if __transparent_hugepage_enabled(machine, vma) else None
    if copy is None:
        __split_huge_pmd(machine, vma, vmf.pmd, haddr)
        return VM_FAULT_FALLBACK
    set_page_data(machine, copy, vm(machine).data.get(page, 0))
    set_page_flag(machine, copy, PG_uptodate)
    set_pmd(machine, vma.vm_mm.pid, haddr, vmf.pmd, 0)
    page_add_new_anon_rmap(machine, copy, vma, haddr, True)
    lru_cache_add_active_or_unevictable(machine, copy, vma)
    set_pmd(machine, vma.vm_mm.pid, haddr, vmf.pmd, _mk_huge_pmd(machine, vma, copy))
    page_remove_rmap(machine, page, True)
    put_page(machine, page)
    return VM_FAULT_WRITE


# ---------------------------------------------------------------- splitting, unmapping


def _withdrawn(machine: Machine, mm: MmStruct, pmd: int) -> int:
    """The PTE table that was deposited for a huge entry."""
    pgtable = vm(machine).deposit[pmd >> PAGE_SHIFT][0]
    pgtable_trans_huge_withdraw(machine, mm.pid, pmd >> PAGE_SHIFT, pgtable)
    return pgtable


@mirrors("mm/huge_memory.c")
def __split_huge_pmd(machine: Machine, vma: VmAreaStruct, pmd: int, address: int) -> None:
    """Put the deposited PTE table in the place of a huge entry: the same pages, 512 entries."""
    geometry, mm = geometry_of(machine), vma.vm_mm
    old, haddr = entry(machine, pmd), address & -hpage_pmd_size(machine)
    page = pte_pfn(geometry, old)
    pgtable = _withdrawn(machine, mm, pmd)
    add_pgtables_bytes(machine, mm.pid, -PAGE_SIZE)
    pmd_install(machine, mm, pmd, haddr, pgtable)
    for i in range(hpage_pmd_nr(machine)):
        if i:
            get_page(machine, page)
        add_mapcount(machine, page + i, 1)
        vaddr = haddr + i * PAGE_SIZE
        set_pte_at(machine, mm.pid, vaddr, pte_offset_map(machine, pmd, vaddr),
                   pfn_pte(geometry, page + i, old & ~geometry.pfn_mask & ~_PAGE_PSE))
    page_remove_rmap(machine, page, True)


@mirrors("mm/huge_memory.c")
def zap_huge_pmd(machine: Machine, tlb: MmuGather, vma: VmAreaStruct, pmd: int, addr: int) -> None:
    """Clear a huge entry, free the table that was deposited, collect the page."""
    mm, page = vma.vm_mm, pte_pfn(geometry_of(machine), entry(machine, pmd))
    set_pmd(machine, mm.pid, addr, pmd, 0)
    page_remove_rmap(machine, page, True)
    add_mm_counter(machine, mm.pid, MM_ANONPAGES, -hpage_pmd_nr(machine))
    __table_free(machine, "pte", _withdrawn(machine, mm, pmd))
    add_pgtables_bytes(machine, mm.pid, -PAGE_SIZE)
    tlb_remove_page(machine, tlb, page)


# ---------------------------------------------------------------- fork, mprotect, mremap


@mirrors("mm/huge_memory.c")
def copy_huge_pmd(machine: Machine, dst_mm: MmStruct, src_mm: MmStruct, dst_pmd: int, src_pmd: int, addr: int) -> int:
    """fork: both map the huge page, and neither may write to it. Returns 0 or -ENOMEM."""
    pgtable = pte_alloc_one(machine, dst_mm)
    if pgtable is None:
        return -Errno.ENOMEM
    value = entry(machine, src_pmd)
    page = pte_pfn(geometry_of(machine), value)
    get_page(machine, page)
    page_dup_rmap(machine, page, True)
    add_mm_counter(machine, dst_mm.pid, MM_ANONPAGES, hpage_pmd_nr(machine))
    add_pgtables_bytes(machine, dst_mm.pid, PAGE_SIZE)
    pgtable_trans_huge_deposit(machine, dst_mm.pid, dst_pmd >> PAGE_SHIFT, pgtable)
    set_pmd(machine, src_mm.pid, addr, src_pmd, pte_wrprotect(value))
    set_pmd(machine, dst_mm.pid, addr, dst_pmd, pte_mkold(pte_wrprotect(value)))
    return 0


@mirrors("mm/huge_memory.c")
def change_huge_pmd(machine: Machine, vma: VmAreaStruct, pmd: int, addr: int, newprot: int) -> int:
    """mprotect of a whole huge page: its entry gets other rights. Returns the pages changed."""
    value = pte_modify(geometry_of(machine), entry(machine, pmd), newprot) | _PAGE_PSE
    set_pmd(machine, vma.vm_mm.pid, addr, pmd, value)
    return hpage_pmd_nr(machine)


@mirrors("mm/huge_memory.c")
def move_huge_pmd(machine: Machine, vma: VmAreaStruct, old_addr: int, new_addr: int, old_pmd: int,
                  new_pmd: int) -> None:
    """mremap of a whole huge page: the entry moves, and the deposited table with it."""
    mm, value = vma.vm_mm, entry(machine, old_pmd)
    set_pmd(machine, mm.pid, old_addr, old_pmd, 0)
    if old_pmd >> PAGE_SHIFT != new_pmd >> PAGE_SHIFT:
        pgtable_trans_huge_deposit(machine, mm.pid, new_pmd >> PAGE_SHIFT, _withdrawn(machine, mm, old_pmd))
    set_pmd(machine, mm.pid, new_addr, new_pmd, value)
