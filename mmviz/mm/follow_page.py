"""get_user_pages looks: is the page there, and may it be taken as it is?

    follow_page_mask
      follow_p4d_mask, follow_pud_mask, follow_pmd_mask       none: nothing to take
        follow_page_pte
          not present, or a write and not writable            nothing to take: fault it in first
          a driver's frame                                    -EFAULT: there is no struct page to hold
          the zero page                                       itself, with a reference
          a page                                              a reference (FOLL_GET), a mark (FOLL_TOUCH)

Nothing is changed in the entry. A write that was forced (FOLL_FORCE) may use an entry that is not writable, once the
copy was made: FOLL_COW says that it was, and the dirty bit that it still is.

Left out: hugetlb, devmap, migration entries.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..kernel import (
    FOLL_COW,
    FOLL_DUMP,
    FOLL_FORCE,
    FOLL_GET,
    FOLL_MLOCK,
    FOLL_NUMA,
    FOLL_SPLIT,
    FOLL_SPLIT_PMD,
    FOLL_TOUCH,
    FOLL_WRITE,
    PAGE_SHIFT,
    VM_LOCKED,
    Errno,
)
from ..trace import mirrors
from . import vm_events as ev
from .geometry import geometry_of
from .huge_memory import __split_huge_pmd, hpage_pmd_nr
from .memory import vm_normal_page
from .mm_types import PG_dirty, PG_mlocked, VmAreaStruct, vm_ops
from .pgtable import (
    entry,
    p4d_offset,
    pgd_offset,
    pmd_large,
    pmd_offset,
    pte_dirty,
    pte_mkdirty,
    pte_mkyoung,
    pte_offset_map,
    pte_pfn,
    pte_present,
    pte_protnone,
    pte_write,
    pud_offset,
)
from .swap import get_page, lru_add_drain, mark_page_accessed, set_page_dirty
from .vm import set_page_flag, set_pmd, set_pte_at, vm

if TYPE_CHECKING:
    from .machine import Machine


@dataclass(slots=True)
class FollowPageContext:
    """struct follow_page_context, and the FOLL_* flags of this page; `page_mask` is 511 for a whole huge page."""

    flags: int
    page_mask: int = 0


@mirrors("mm/gup.c")
def follow_page_mask(machine: Machine, vma: VmAreaStruct, address: int, ctx: FollowPageContext) -> int | None:
    """The page of an address, if it can be taken as it is.

    Parameters
    ----------
    ctx : FollowPageContext
        Its flags are FOLL_*; its page_mask tells the caller how far to step.

    Returns
    -------
    int or None
        The pfn; None if it must be faulted in; below 0 an error: -EFAULT, -EEXIST (a frame without struct page).
    """
    ctx.page_mask = 0
    pgd = pgd_offset(machine, vma.vm_mm, address)
    page = follow_p4d_mask(machine, vma, address, pgd, ctx) if entry(machine, pgd) else (
        no_page_table(machine, vma, address, ctx.flags))
    if machine.on:
        machine.trace.emit(ev.PageFollowed(vma.vm_mm.pid, address, ctx.flags, page))
    return page


def follow_p4d_mask(machine: Machine, vma: VmAreaStruct, address: int, pgd: int, ctx: FollowPageContext) -> int | None:
    """One level down from the top table.

    Kernel: mm/gup.c:follow_p4d_mask.
    """
    p4d = p4d_offset(machine, pgd, address)
    if not entry(machine, p4d):
        return no_page_table(machine, vma, address, ctx.flags)
    return follow_pud_mask(machine, vma, address, p4d, ctx)


@mirrors("mm/gup.c")
def follow_pud_mask(machine: Machine, vma: VmAreaStruct, address: int, p4d: int, ctx: FollowPageContext) -> int | None:
    """The PUD entry: none, or a PMD table below it."""
    pud = pud_offset(machine, p4d, address)
    if machine.on:
        machine.trace.emit(ev.EntryFollowed(vma.vm_mm.pid, "pud", address, entry(machine, pud)))
    if not entry(machine, pud):
        return no_page_table(machine, vma, address, ctx.flags)
    return follow_pmd_mask(machine, vma, address, pud, ctx)


@mirrors("mm/gup.c")
def follow_pmd_mask(machine: Machine, vma: VmAreaStruct, address: int, pud: int, ctx: FollowPageContext) -> int | None:
    """The PMD entry: none, a huge page, or a PTE table."""
    pmd = pmd_offset(machine, pud, address)
    value = entry(machine, pmd)
    if machine.on:
        machine.trace.emit(ev.EntryFollowed(vma.vm_mm.pid, "pmd", address, value))
    if not value:
        return no_page_table(machine, vma, address, ctx.flags)
    if not pmd_large(value):
        return follow_page_pte(machine, vma, address, pmd, ctx.flags)
    if ctx.flags & FOLL_NUMA and pte_protnone(value):
        return no_page_table(machine, vma, address, ctx.flags)
    if ctx.flags & (FOLL_SPLIT | FOLL_SPLIT_PMD):
        __split_huge_pmd(machine, vma, pmd, address)
        return follow_page_pte(machine, vma, address, pmd, ctx.flags)
    ctx.page_mask = hpage_pmd_nr(machine) - 1
    return follow_trans_huge_pmd(machine, vma, address, pmd, ctx.flags)


@mirrors("mm/huge_memory.c")
def follow_trans_huge_pmd(machine: Machine, vma: VmAreaStruct, addr: int, pmd: int, flags: int) -> int | None:
    """A page within a huge page; the reference is counted at the head."""
    value = entry(machine, pmd)
    allowed = not flags & FOLL_WRITE or can_follow_write_pte(value, flags)
    page = pte_pfn(geometry_of(machine), value) + (addr >> PAGE_SHIFT & hpage_pmd_nr(machine) - 1)
    if machine.on:
        machine.trace.emit(ev.EntryFollowed(vma.vm_mm.pid, "huge", addr, value))
    if not allowed:
        return None
    if flags & FOLL_TOUCH:
        touched = pte_mkyoung(pte_mkdirty(value) if flags & FOLL_WRITE else value)
        set_pmd(machine, vma.vm_mm.pid, addr, pmd, touched)
    if flags & FOLL_GET:
        get_page(machine, page)
    return page


@mirrors("mm/gup.c")
def follow_page_pte(machine: Machine, vma: VmAreaStruct, address: int, pmd: int, flags: int) -> int | None:
    """The entry itself; returns as `follow_page_mask`."""
    ptep = pte_offset_map(machine, pmd, address)
    pte = entry(machine, ptep)
    if machine.on:
        machine.trace.emit(ev.EntryFollowed(vma.vm_mm.pid, "pte", address, pte))
    if not pte_present(pte) or (flags & FOLL_NUMA and pte_protnone(pte)):
        return None if pte else no_page_table(machine, vma, address, flags)
    if flags & FOLL_WRITE and not can_follow_write_pte(pte, flags):
        return None
    page = vm_normal_page(machine, vma, address, pte)
    if page is None:
        page = pte_pfn(geometry_of(machine), pte)
        if flags & FOLL_DUMP:
            return -Errno.EFAULT
        if page != vm(machine).zero_pfn:
            return follow_pfn_pte(machine, vma, address, ptep, flags)
    if flags & FOLL_GET:
        get_page(machine, page)
    if flags & FOLL_TOUCH:
        _touch_page(machine, page, pte, flags)
    if flags & FOLL_MLOCK and vma.vm_flags & VM_LOCKED:
        _mlock_page(machine, page)
    return page


def can_follow_write_pte(pte: int, flags: int) -> bool:
    """Whether a write may use the entry: it is writable; or the write is forced, and was already copied for.

    Kernel: mm/gup.c:can_follow_write_pte.
    """
    forced = flags & FOLL_FORCE and flags & FOLL_COW
    return bool(pte_write(pte) or (forced and pte_dirty(pte)))


def _touch_page(machine: Machine, page: int, pte: int, flags: int) -> None:
    """FOLL_TOUCH: the page was used, and is dirty after a write; the entry stays as it is."""
    dirty = pte_dirty(pte) or vm(machine).flags.get(page, 0) & PG_dirty
    if flags & FOLL_WRITE and not dirty:
        set_page_dirty(machine, page)
    mark_page_accessed(machine, page)


def _mlock_page(machine: Machine, page: int) -> None:
    """FOLL_MLOCK: pages on their way go to the LRU lists; this one is locked, unless it is the zero page."""
    if page not in vm(machine).mapping:
        return
    lru_add_drain(machine)
    if not vm(machine).flags.get(page, 0) & PG_mlocked:
        set_page_flag(machine, page, PG_mlocked)


@mirrors("mm/gup.c")
def follow_pfn_pte(machine: Machine, vma: VmAreaStruct, address: int, pte: int, flags: int) -> int:
    """An entry without struct page: nothing to hold, so -EFAULT; without FOLL_GET it is touched, and -EEXIST."""
    if machine.on:
        machine.trace.emit(ev.PfnEntryRefused(vma.vm_mm.pid, address, entry(machine, pte)))
    if flags & FOLL_GET:
        return -Errno.EFAULT
    if flags & FOLL_TOUCH:
        value = pte_mkyoung(entry(machine, pte))
        set_pte_at(machine, vma.vm_mm.pid, address, pte, pte_mkdirty(value) if flags & FOLL_WRITE else value)
    return -Errno.EEXIST


@mirrors("mm/gup.c")
def no_page_table(machine: Machine, vma: VmAreaStruct, address: int, flags: int) -> int | None:
    """Nothing is there: None, so it is faulted in; a core dump does not do that for memory without a fault handler."""
    ops = vm_ops(vma)
    refused = flags & FOLL_DUMP and (ops is None or ops.fault is None)
    if machine.on:
        machine.trace.emit(ev.NoPageTable(vma.vm_mm.pid, address, bool(refused)))
    return -Errno.EFAULT if refused else None
