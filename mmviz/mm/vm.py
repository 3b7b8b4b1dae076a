"""The primitives of page tables, faults and get_user_pages: the only code of theirs that changes a Vm.

A primitive makes one change and reports it. Its arguments, after the machine, are the fields of its event, so replay
runs the very same code. Mappings themselves (VMAs, files, anon_vma) have their primitives elsewhere.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT, PAGE_SIZE
from ..trace import mirrors
from . import vm_events as ev
from .geometry import geometry_of
from .machine import MACHINE_PRIMITIVES
from .mm_types import INIT_MM, SWAPPER_PG_DIR, Mapping, MmStruct, Vm

if TYPE_CHECKING:
    from .machine import Machine

TASK_RSS_EVENTS_THRESH = 64


def vm(machine: Machine) -> Vm:
    """The processes of a machine; made at first use, with the kernel's own address space in it.

    The zero page lies in the kernel image. A machine that was booted from sizes has none: there it is the frame below
    the lowest zone, or above the highest.
    """
    part = machine.parts.get("vm")
    if part is None:
        lowest = min(zone.zone_start_pfn for zone in machine.populated)
        part = Vm(lowest - 1 if lowest else max(zone.end_pfn for zone in machine.populated))
        part.mm[INIT_MM] = MmStruct(INIT_MM, "init_mm", SWAPPER_PG_DIR, machine.config.page_offset)
        part.tables[SWAPPER_PG_DIR] = {}
        machine.parts["vm"] = part
    assert isinstance(part, Vm)
    return part


# ---------------------------------------------------------------- tables


def __store(machine: Machine, pointer: int, entry: int) -> None:
    table = vm(machine).tables[pointer >> PAGE_SHIFT]
    index = (pointer & (PAGE_SIZE - 1)) >> geometry_of(machine).entry_shift
    if entry:
        table[index] = entry
    else:
        table.pop(index, None)


def set_pgd(machine: Machine, mm: int, vaddr: int, pointer: int, entry: int) -> None:
    """Write an entry of a top table."""
    __store(machine, pointer, entry)
    if machine.on:
        machine.trace.emit(ev.SetPgd(mm, vaddr, pointer, entry))


def set_p4d(machine: Machine, mm: int, vaddr: int, pointer: int, entry: int) -> None:
    """Write an entry of a P4D table."""
    __store(machine, pointer, entry)
    if machine.on:
        machine.trace.emit(ev.SetP4d(mm, vaddr, pointer, entry))


def set_pud(machine: Machine, mm: int, vaddr: int, pointer: int, entry: int) -> None:
    """Write an entry of a PUD table."""
    __store(machine, pointer, entry)
    if machine.on:
        machine.trace.emit(ev.SetPud(mm, vaddr, pointer, entry))


def set_pmd(machine: Machine, mm: int, vaddr: int, pointer: int, entry: int) -> None:
    """Write an entry of a PMD table."""
    __store(machine, pointer, entry)
    if machine.on:
        machine.trace.emit(ev.SetPmd(mm, vaddr, pointer, entry))


def set_pte_at(machine: Machine, mm: int, vaddr: int, pointer: int, entry: int) -> None:
    """Write a PTE; 0 clears it."""
    __store(machine, pointer, entry)
    if machine.on:
        machine.trace.emit(ev.SetPteAt(mm, vaddr, pointer, entry))


def pgtable_page_ctor(machine: Machine, pfn: int, level: str) -> None:
    """Make an empty table of a page that was just handed out."""
    vm(machine).tables[pfn] = {}
    if machine.on:
        machine.trace.emit(ev.PgtablePageCtor(pfn, level))


def pgtable_page_dtor(machine: Machine, pfn: int, level: str) -> None:
    """Make a plain page of a table again, before it is freed."""
    del vm(machine).tables[pfn]
    if machine.on:
        machine.trace.emit(ev.PgtablePageDtor(pfn, level))


def add_pgtables_bytes(machine: Machine, mm: int, nr_bytes: int) -> None:
    """mm->pgtables_bytes += nr_bytes: mm_inc_nr_ptes and its sisters, which VmPTE shows."""
    vm(machine).mm[mm].pgtables_bytes += nr_bytes
    if machine.on:
        machine.trace.emit(ev.AddPgtablesBytes(mm, nr_bytes))


def pgtable_trans_huge_deposit(machine: Machine, mm: int, pmd_table: int, pfn: int) -> None:
    """Keep a PTE table for the day that a huge page of this PMD table is split. The ring turns: list_add, new head."""
    kept = vm(machine).deposit.setdefault(pmd_table, [])
    kept[:] = [pfn, *kept[1:], *kept[:1]]
    if machine.on:
        machine.trace.emit(ev.PgtableTransHugeDeposit(mm, pmd_table, pfn))


def pgtable_trans_huge_withdraw(machine: Machine, mm: int, pmd_table: int, pfn: int) -> None:
    """Take the head of the kept PTE tables, which is `pfn`."""
    vm(machine).deposit[pmd_table].remove(pfn)
    if machine.on:
        machine.trace.emit(ev.PgtableTransHugeWithdraw(mm, pmd_table, pfn))


# ---------------------------------------------------------------- pages


def add_mapcount(machine: Machine, pfn: int, delta: int) -> None:
    """page->_mapcount += delta."""
    __add(vm(machine).mapcount, pfn, delta)
    if machine.on:
        machine.trace.emit(ev.AddMapcount(pfn, delta))


def add_compound_mapcount(machine: Machine, pfn: int, delta: int) -> None:
    """compound_mapcount of a compound page += delta; `pfn` is its head."""
    __add(vm(machine).compound_mapcount, pfn, delta)
    if machine.on:
        machine.trace.emit(ev.AddCompoundMapcount(pfn, delta))


def __add(counts: dict[int, int], pfn: int, delta: int) -> None:
    counts[pfn] = counts.get(pfn, 0) + delta
    if not counts[pfn]:
        del counts[pfn]


def set_page_mapping(machine: Machine, pfn: int, kind: str, owner: int, index: int) -> None:
    """page->mapping and page->index: "anon" and an anon_vma, or "file" and an inode; kind "" is a mapping of NULL."""
    vm(machine).mapping[pfn] = Mapping(kind, owner, index)
    if machine.on:
        machine.trace.emit(ev.SetPageMapping(pfn, kind, owner, index))


def set_page_data(machine: Machine, pfn: int, data: int) -> None:
    """Put a 32-bit word at the beginning of a page: all of its contents that is kept."""
    if data:
        vm(machine).data[pfn] = data
    else:
        vm(machine).data.pop(pfn, None)
    if machine.on:
        machine.trace.emit(ev.SetPageData(pfn, data))


def set_page_flag(machine: Machine, pfn: int, flag: int) -> None:
    """Set a bit of page->flags."""
    flags = vm(machine).flags
    flags[pfn] = flags.get(pfn, 0) | flag
    if machine.on:
        machine.trace.emit(ev.SetPageFlag(pfn, flag))


def clear_page_flag(machine: Machine, pfn: int, flag: int) -> None:
    """Clear a bit of page->flags."""
    flags = vm(machine).flags
    left = flags.pop(pfn, 0) & ~flag
    if left:
        flags[pfn] = left
    if machine.on:
        machine.trace.emit(ev.ClearPageFlag(pfn, flag))


def reserved_page_ref_add(machine: Machine, pfn: int, nr: int) -> None:
    """Take or drop references of a page that lies in no zone, such as the zero page."""
    reserved = vm(machine).reserved
    reserved[pfn] = reserved.get(pfn, 1) + nr
    if machine.on:
        machine.trace.emit(ev.ReservedPageRefAdd(pfn, nr))


def forget_page(machine: Machine, pfn: int) -> None:
    """Forget whose a page was, and what was in it, before it is freed."""
    state = vm(machine)
    for kept in (state.mapping, state.data, state.flags):
        kept.pop(pfn, None)
    if machine.on:
        machine.trace.emit(ev.ForgetPage(pfn))


def pagevec_add(machine: Machine, cpu: int, pfn: int) -> None:
    """Put a page on this CPU's lru_add_pvec."""
    vm(machine).pagevec.setdefault(cpu, []).append(pfn)
    if machine.on:
        machine.trace.emit(ev.PagevecAdd(cpu, pfn))


def pagevec_reinit(machine: Machine, cpu: int) -> None:
    """Empty this CPU's lru_add_pvec."""
    del vm(machine).pagevec[cpu]
    if machine.on:
        machine.trace.emit(ev.PagevecReinit(cpu))


# ---------------------------------------------------------------- address spaces


def mm_init(machine: Machine, mm: int, name: str, pgd: int, task_size: int) -> None:
    """Make an address space around its top table."""
    vm(machine).mm[mm] = MmStruct(mm, name, pgd, task_size)
    if machine.on:
        machine.trace.emit(ev.MmInit(mm, name, pgd, task_size))


def free_mm(machine: Machine, mm: int) -> None:
    """Forget an address space, after its tables."""
    del vm(machine).mm[mm]
    if machine.on:
        machine.trace.emit(ev.MmDrop(mm))


def add_mm_counter(machine: Machine, mm: int, member: int, value: int) -> None:
    """mm->rss_stat[member] += value."""
    vm(machine).mm[mm].rss_stat[member] += value
    if machine.on:
        machine.trace.emit(ev.AddMmCounter(mm, member, value))


@mirrors("mm/memory.c")
def add_mm_counter_fast(machine: Machine, mm: int, member: int, value: int) -> None:
    """current->rss_stat.count[member] += value."""
    vm(machine).mm[mm].rss_cached[member] += value
    if machine.on:
        machine.trace.emit(ev.AddMmCounterFast(mm, member, value))


@mirrors("mm/memory.c")
def check_sync_rss_stat(machine: Machine, mm: int) -> None:
    """Count a fault; if more than TASK_RSS_EVENTS_THRESH came before it, fold the task's counters."""
    space = vm(machine).mm[mm]
    if space.rss_events > TASK_RSS_EVENTS_THRESH:
        __fold(space)
    else:
        space.rss_events += 1
    if machine.on:
        machine.trace.emit(ev.CheckSyncRssStat(mm))


@mirrors("mm/memory.c")
def sync_mm_rss(machine: Machine, mm: int) -> None:
    """Fold the task's counters into those of its address space."""
    __fold(vm(machine).mm[mm])
    if machine.on:
        machine.trace.emit(ev.SyncMmRss(mm))


def __fold(space: MmStruct) -> None:
    for member, value in enumerate(space.rss_cached):
        space.rss_stat[member] += value
        space.rss_cached[member] = 0
    space.rss_events = 0


def count_fault(machine: Machine, mm: int, major: bool) -> None:
    """tsk->maj_flt++ or tsk->min_flt++."""
    space = vm(machine).mm[mm]
    if major:
        space.maj_flt += 1
    else:
        space.min_flt += 1
    if machine.on:
        machine.trace.emit(ev.CountFault(mm, major))


def set_vm_flags(machine: Machine, vma: int, vm_flags: int) -> None:
    """vma->vm_flags = vm_flags; the mapping is found by its id."""
    vm(machine).vma[vma].vm_flags = vm_flags
    if machine.on:
        machine.trace.emit(ev.SetVmFlags(vma, vm_flags))


def set_vm_pgoff(machine: Machine, vma: int, vm_pgoff: int) -> None:
    """vma->vm_pgoff = vm_pgoff; the mapping is found by its id."""
    vm(machine).vma[vma].vm_pgoff = vm_pgoff
    if machine.on:
        machine.trace.emit(ev.SetVmPgoff(vma, vm_pgoff))


MACHINE_PRIMITIVES.update({
    ev.SetPgd: set_pgd, ev.SetP4d: set_p4d, ev.SetPud: set_pud, ev.SetPmd: set_pmd, ev.SetPteAt: set_pte_at,
    ev.PgtablePageCtor: pgtable_page_ctor, ev.PgtablePageDtor: pgtable_page_dtor,
    ev.AddPgtablesBytes: add_pgtables_bytes, ev.PgtableTransHugeDeposit: pgtable_trans_huge_deposit,
    ev.PgtableTransHugeWithdraw: pgtable_trans_huge_withdraw,
    ev.AddMapcount: add_mapcount, ev.AddCompoundMapcount: add_compound_mapcount,
    ev.SetPageMapping: set_page_mapping, ev.SetPageData: set_page_data, ev.SetPageFlag: set_page_flag,
    ev.ClearPageFlag: clear_page_flag, ev.ReservedPageRefAdd: reserved_page_ref_add, ev.ForgetPage: forget_page,
    ev.PagevecAdd: pagevec_add, ev.PagevecReinit: pagevec_reinit, ev.MmInit: mm_init, ev.MmDrop: free_mm,
    ev.AddMmCounter: add_mm_counter, ev.AddMmCounterFast: add_mm_counter_fast,
    ev.CheckSyncRssStat: check_sync_rss_stat, ev.SyncMmRss: sync_mm_rss, ev.CountFault: count_fault,
    ev.SetVmFlags: set_vm_flags, ev.SetVmPgoff: set_vm_pgoff,
})
