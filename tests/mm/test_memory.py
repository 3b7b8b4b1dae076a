"""remap_pfn_range, faults, copies, unmapping: the worked examples 51 to 56 of the reference, and more."""
import pytest

import mmviz as mv
from mmviz.errors import KernelBug
from mmviz.kernel import (
    GFP_KERNEL,
    I386,
    MADV_DONTNEED,
    MM_ANONPAGES,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_FAULT_MAJOR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_HUGEPAGE,
    VM_IO,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_NOHUGEPAGE,
    VM_PAT,
    VM_PFNMAP,
    VM_SEQ_READ,
    VM_SHARED,
    VM_WRITE,
    Config,
    Errno,
)
from mmviz.mm import vm_events as ev
from mmviz.mm.access import Access, access
from mmviz.mm.change_protection import change_protection
from mmviz.mm.copy_page_range import copy_page_range
from mmviz.mm.driver import driver_open
from mmviz.mm.fault import handle_mm_fault
from mmviz.mm.file_fault import do_cow_fault, do_fault, do_read_fault, do_shared_fault, finish_fault
from mmviz.mm.fork import dup_mm, mmput
from mmviz.mm.free_pgtables import free_pgd_range
from mmviz.mm.geometry import geometry_of
from mmviz.mm.gup import get_user_pages_remote
from mmviz.mm.memory import is_cow_mapping, remap_pfn_range, vm_iomap_memory, vm_normal_page
from mmviz.mm.mm_types import PG_active, PG_dirty, PG_lru, PG_mlocked, PG_referenced, VmFault, VmOperations
from mmviz.mm.mmu_gather import MmuGather, __tlb_remove_page, tlb_finish_mmu, tlb_flush_mmu, tlb_gather_mmu
from mmviz.mm.move_page_tables import move_page_tables
from mmviz.mm.page_free import __free_pages
from mmviz.mm.page_rmap import page_mapcount
from mmviz.mm.pgalloc import mm_alloc, pte_alloc_one
from mmviz.mm.pgtable import (
    PAGE_NONE,
    PAGE_SHARED,
    frame_of,
    pte_dirty,
    pte_pfn,
    pte_special,
    pte_write,
    pte_young,
    vm_get_page_prot,
    walk,
)
from mmviz.mm.shmem import shmem_file_setup, shmem_setattr, shmem_write
from mmviz.mm.swap import get_page, lru_add_drain, page_count, put_page, release_pages
from mmviz.mm.vm import (
    clear_page_flag,
    pgtable_trans_huge_deposit,
    pgtable_trans_huge_withdraw,
    set_page_flag,
    set_pmd,
    set_pte_at,
    set_vm_flags,
    sync_mm_rss,
    vm,
)
from mmviz.mm.vma import __vma_link, vm_area_alloc
from mmviz.mm.wp_fault import do_wp_page
from mmviz.mm.zap import unmap_mapping_pages, unmap_vmas, zap_page_range
from mmviz.recording import record

RW, R = 0x73, 0x71  # vm_flags of private mappings, and of those that may become writable
PAGE = 4096
PAE = Config(zone_names=I386.zone_names, geometry="i386 PAE", numa=False, page_offset=0xC0000000)
collect = __tlb_remove_page


def a_vma(machine, mm, start, pages, flags):
    """A mapping put there by hand; its rights become its entries' bits."""
    number = vm(machine).next_vma
    vm_area_alloc(machine, number, mm.pid, start, start + pages * PAGE, flags, vm_get_page_prot(machine, flags),
                  start >> 12)
    __vma_link(machine, number)
    return vm(machine).vma[number]


@pytest.fixture
def a_mapping():
    """a_mapping(start, pages, flags): a machine with one process and one mapping: (machine, vma)."""

    def build(start=0x7F0000000000, pages=4, flags=RW, **config):
        machine = mv.boot([("DMA32", 0x1000, 0x1000)], config=Config(**config), grouping=True)
        return machine, a_vma(machine, mm_alloc(machine, 1, "p0"), start, pages, flags)

    return build


def entry_at(machine, mm, vaddr):
    steps = list(walk(machine, mm, vaddr))
    return steps[-1].entry if steps[-1].level == "pte" else 0


def pte_of(machine, mm, vaddr):
    last = list(walk(machine, mm, vaddr))[-1]
    return (last.table << 12) + (last.index << geometry_of(machine).entry_shift)


def rss(mm):
    return {name: mm.rss(member) for name, member in
            (("anon", MM_ANONPAGES), ("file", MM_FILEPAGES), ("shmem", MM_SHMEMPAGES)) if mm.rss(member)}


def use_up(machine, leave=0):
    """Take all pages of a machine but `leave`."""
    while machine.zones()[0].nr_pages_on_lists() > leave and mv.alloc_pages(machine, mv.GFP_ATOMIC, 0) is not None:
        pass


@pytest.fixture
def poor():
    """poor(left): a machine without marks that has so many pages, a process and a mapping."""

    def build(left, flags=RW, pages=4, start=0x7F0000000000, geometry="x86-64"):
        machine = mv.boot([("DMA32", 0x1000, 0x400)], config=Config(geometry=geometry), watermarks=(0, 0, 0))
        vma = a_vma(machine, mm_alloc(machine, 1, "p0"), start, pages, flags)
        while machine.zones()[0].nr_pages_on_lists() > left:
            mv.alloc_pages(machine, GFP_KERNEL, 0)
        return machine, vma

    return build


# ---------------------------------------------------------------- examples 51 to 55: remap_pfn_range


def test_51_three_pages_across_a_boundary_of_tables(a_mapping):
    machine, vma = a_mapping(0x7F00001FF000, 3, RW | VM_SHARED)
    with record(machine) as rec:
        assert remap_pfn_range(machine, vma, vma.vm_start, 0xFEE00, 0x2800, vma.vm_page_prot) == 0
    frames = [frame_of(machine, vma.vm_mm, vma.vm_start + i * PAGE) for i in range(4)]
    assert frames == [0xFEE00, 0xFEE01, 0xFEE02, None]
    assert [step.event.level for step in rec.select(ev.PgtablePageCtor)] == ["pud", "pmd", "pte", "pte"]
    assert not rss(vma.vm_mm) and not vm(machine).mapcount and not vm(machine).reserved
    assert vma.vm_flags == RW | VM_SHARED | 0x04044400 | VM_PAT
    assert rec.at(len(rec)) == machine


def test_52_the_frame_less_the_page_of_the_address(a_mapping):
    machine, vma = a_mapping(0x7F0000201000, 3, RW | VM_SHARED)
    less = 0x12345 - (0x7F0000201000 >> 12) & geometry_of(machine).word
    assert less == 0xFFFFFFF810012144 and less + (0x7F0000203000 >> 12) & geometry_of(machine).word == 0x12347
    remap_pfn_range(machine, vma, vma.vm_start, 0x12345, 3 * PAGE, vma.vm_page_prot)
    assert frame_of(machine, vma.vm_mm, 0x7F0000203000) == 0x12347


def test_53_a_private_mapping_is_remapped_as_a_whole(a_mapping):
    machine, vma = a_mapping(flags=R)
    before = machine.copy()
    assert is_cow_mapping(vma.vm_flags)
    assert remap_pfn_range(machine, vma, vma.vm_start, 0x500, 2 * PAGE, vma.vm_page_prot) == -Errno.EINVAL
    assert machine == before
    assert remap_pfn_range(machine, vma, vma.vm_start, 0x500, 4 * PAGE, vma.vm_page_prot) == 0
    assert vma.vm_pgoff == 0x500
    machine, vma = a_mapping(flags=R & ~VM_MAYWRITE)
    pgoff = vma.vm_pgoff
    assert remap_pfn_range(machine, vma, vma.vm_start + PAGE, 0x500, PAGE, vma.vm_page_prot) == 0
    assert vma.vm_pgoff == pgoff and not vma.vm_flags & VM_PAT


def test_54_what_is_mapped_already_is_a_bug(a_mapping):
    machine, vma = a_mapping(flags=RW | VM_SHARED)
    remap_pfn_range(machine, vma, vma.vm_start, 0x500, PAGE, vma.vm_page_prot)
    with pytest.raises(KernelBug, match=r"BUG_ON\(!pte_none"):
        remap_pfn_range(machine, vma, vma.vm_start, 0x500, PAGE, vma.vm_page_prot)
    with pytest.raises(KernelBug, match=r"BUG_ON\(addr >= end\)"):
        remap_pfn_range(machine, vma, vma.vm_start, 0x500, 0, vma.vm_page_prot)
    with pytest.raises(ValueError, match="addr must be page-aligned, got 0x7f0000000800"):
        remap_pfn_range(machine, vma, vma.vm_start + 0x800, 0x500, PAGE, vma.vm_page_prot)


def test_55_without_tables_the_address_is_the_place():
    machine = mv.boot([("Normal", 0, 0x1000)], config=Config(mmu=False, page_offset=0))
    vma = a_vma(machine, mm_alloc(machine, 1, "p0"), 0x500000, 1, RW)
    with record(machine) as rec:
        assert remap_pfn_range(machine, vma, 0x500000, 0x501, PAGE, 0) == -Errno.EINVAL
        assert vma.vm_flags == RW
        assert remap_pfn_range(machine, vma, 0x500000, 0x500, PAGE, 0) == 0
    assert vma.vm_flags == RW | VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP
    assert rec.calls()[0].file == "mm/nommu.c" and rec.at(len(rec)) == machine


@pytest.mark.parametrize("geometry, tables", [("x86-64", 3), ("x86-64 5-level", 4), ("i386", 1)])
def test_without_memory_what_is_mapped_stays(poor, geometry, tables):
    """A range over two PTE tables, and one page too few: the first part is mapped, the flags are set."""
    span = 1 << (22 if geometry == "i386" else 21)
    for left in range(tables + 1):
        machine, vma = poor(left, RW | VM_SHARED, 2, 0x50000000 + 8 * span - PAGE, geometry)
        assert remap_pfn_range(machine, vma, vma.vm_start, 0xFEE00, 2 * PAGE, vma.vm_page_prot) == -Errno.ENOMEM
        assert frame_of(machine, vma.vm_mm, vma.vm_start) == (0xFEE00 if left == tables else None)
        assert vma.vm_flags & VM_PFNMAP and not vma.vm_flags & VM_PAT, "flags stay, the reservation does not"


def test_a_frame_that_may_not_be_inverted(a_mapping):
    machine, vma = a_mapping(flags=RW | VM_SHARED)
    assert remap_pfn_range(machine, vma, vma.vm_start, 1 << 39, PAGE, PAGE_NONE) == -Errno.EACCES
    assert remap_pfn_range(machine, vma, vma.vm_start, (1 << 39) - 1, PAGE, PAGE_NONE) == 0


@pytest.mark.parametrize("start, length, pgoff, result", [
    (0xFEE00800, 0x3000, 0, 0), (0xFEE00000, 0x3000, 0, -22), (0xFEE00000, 0x5000, 1, 0), (0xFEE00000, 0x5000, 2, -22),
    (0xFEE00000, 0x1000, 2, -22), ((1 << 64) - 0x1000, 0x2000, 0, -22)])
def test_a_device_smaller_than_its_mapping(a_mapping, start, length, pgoff, result):
    machine, vma = a_mapping(flags=RW | VM_SHARED)
    vma.vm_pgoff = pgoff
    assert vm_iomap_memory(machine, vma, start, length) == result
    assert frame_of(machine, vma.vm_mm, vma.vm_start) == (None if result else 0xFEE00 + pgoff)


def test_the_page_that_its_owner_frees_under_the_mapping(a_mapping):
    """A driver gives its page back, and the process still writes to it, whoever has it now."""
    machine, vma = a_mapping(flags=RW | VM_SHARED)
    page = mv.alloc_pages(machine, GFP_KERNEL, 0)
    remap_pfn_range(machine, vma, vma.vm_start, page, PAGE, vma.vm_page_prot)
    mv.free_pages(machine, mv.page_address(machine, page), 0)
    assert mv.alloc_pages(machine, GFP_KERNEL, 0) == page
    assert access(machine, vma.vm_mm, vma.vm_start, True, 0xBAD).signal == "" and vm(machine).data[page] == 0xBAD


@pytest.mark.parametrize("flags, pte, why", [
    (RW, 0x1234025, ""), (RW, 0x9999999025, "bad entry: no such frame"), (RW, 0x1234225, "bad entry: special"),
    (RW | VM_PFNMAP, 0x1234225, "a driver's frame"), (RW | VM_MIXEDMAP, 0x1234225, "a driver's frame"),
    (RW, 0xFFF225, "zero page"), (RW | VM_PFNMAP, 0x1234025, "")])
def test_which_entries_have_a_page(a_mapping, flags, pte, why):
    machine, vma = a_mapping(flags=flags)
    with record(machine) as rec:
        page = vm_normal_page(machine, vma, vma.vm_start, pte)
    assert page == (None if why else 0x1234) and rec[0].event.why == why


# ---------------------------------------------------------------- example 56: faults on anonymous memory


def test_56_a_read_costs_a_table_a_write_a_page(space):
    one = space()
    one.mmap(0, 4)
    free = one.machine.zones()[0].nr_pages_on_lists()
    with record(one.machine) as rec:
        assert one.read(0) == [0]
        pte = entry_at(one.machine, one.mm, one.base)
        assert pte_pfn(geometry_of(one.machine), pte) == vm(one.machine).zero_pfn and pte_special(pte)
        assert not pte_write(pte) and not pte_dirty(pte) and pte_young(pte) and not rss(one.mm)
        assert one.machine.zones()[0].nr_pages_on_lists() == free - 3, "three tables, no page"
        assert one.write(0) == ["ok"] and rss(one.mm) == {"anon": 1}
        assert one.read(0) == [100]
        assert len(rec.select(ev.FaultBegun)) == 2
        one.write(1)
        assert len(rec.select(ev.FaultBegun)) == 3 and rss(one.mm) == {"anon": 2}
    assert {call.symbol for root in rec.calls() for _, call in root.walk()} >= {"do_wp_page", "wp_page_copy"}
    assert rec.at(len(rec)) == one.machine


def test_a_fresh_page_is_movable_and_counted_once(space):
    one = space()
    one.mmap(0, 4)
    with record(one.machine) as rec:
        one.write(0)
    asked = rec.select(mv.events.MmPageAlloc)[-1].event
    assert mv.gfp_name(asked.gfp_mask) == "GFP_HIGHUSER_MOVABLE|__GFP_ZERO"
    page = frame_of(one.machine, one.mm, one.base)
    assert (page_count(one.machine, page), page_mapcount(one.machine, page)) == (2, 1), "one is the pagevec's"
    lru_add_drain(one.machine)
    assert page_count(one.machine, page) == 1 and page in one.machine.zones()[0].lru
    assert vm(one.machine).mapping[page].kind == "anon"


def test_the_pagevec_holds_fifteen(space):
    one = space()
    one.mmap(0, 20)
    one.write(*range(14))
    pages = [frame_of(one.machine, one.mm, one.base + i * PAGE) for i in range(14)]
    assert {page_count(one.machine, page) for page in pages} == {2}
    one.write(14)
    assert {page_count(one.machine, page) for page in pages} == {1} and not vm(one.machine).pagevec


def test_counters_are_folded_by_a_fault_with_more_than_64_before_it(space):
    one = space()
    one.mmap(0, 140)
    one.write(*range(65))
    assert (one.mm.rss_stat[MM_ANONPAGES], one.mm.rss(MM_ANONPAGES)) == (0, 65)
    one.write(65)
    assert (one.mm.rss_stat[MM_ANONPAGES], one.mm.rss(MM_ANONPAGES)) == (65, 66)
    one.write(*range(66, 131))
    assert (one.mm.rss_stat[MM_ANONPAGES], one.mm.rss(MM_ANONPAGES)) == (65, 131)
    one.write(131)
    assert (one.mm.rss_stat[MM_ANONPAGES], one.mm.rss(MM_ANONPAGES)) == (131, 132)


@pytest.mark.parametrize("left", range(4))
@pytest.mark.parametrize("write", [False, True])
def test_a_fault_without_memory(poor, left, write):
    """pud, pmd, pte, page: with n pages left the n + 1st is missing. A read needs no page."""
    machine, vma = poor(left)
    result = handle_mm_fault(machine, vma, vma.vm_start, int(write))
    assert result == (0 if left == 3 and not write else VM_FAULT_OOM)
    assert vma.vm_mm.pgtables_bytes == left * PAGE
    assert access(machine, vma.vm_mm, vma.vm_start, write).signal == ("OOM" if result else "")


def test_a_fault_without_memory_for_the_fifth_level(poor):
    machine, vma = poor(0, geometry="x86-64 5-level")
    assert handle_mm_fault(machine, vma, vma.vm_start, 0) == VM_FAULT_OOM


def test_shared_memory_must_have_an_owner(a_mapping):
    machine, vma = a_mapping(flags=RW | VM_SHARED)
    assert access(machine, vma.vm_mm, vma.vm_start, True) == Access("SIGBUS", 2, 0, 1)


def test_a_page_in_swap_is_where_it_ends(a_mapping):
    machine, vma = a_mapping()
    access(machine, vma.vm_mm, vma.vm_start + PAGE, True)
    set_pte_at(machine, 1, vma.vm_start, pte_of(machine, vma.vm_mm, vma.vm_start), 0x600)
    with record(machine) as rec:
        assert handle_mm_fault(machine, vma, vma.vm_start, 0) == VM_FAULT_MAJOR | VM_FAULT_RETRY
        assert access(machine, vma.vm_mm, vma.vm_start) == Access("swap", 0, 0, 1)
    assert len(rec.select(ev.WouldSwapIn)) == 2


def test_a_fault_where_only_bits_are_missing(space):
    """The child's entries are not accessed; the kernel sets the bit as the CPU would."""
    one = space()
    one.mmap(0, 4)
    one.write(0)
    child = one.fork(2)
    vma = child.vma(0)
    assert not pte_young(entry_at(one.machine, child.mm, one.base))
    handle_mm_fault(one.machine, vma, one.base, 0)
    assert pte_young(entry_at(one.machine, child.mm, one.base))
    handle_mm_fault(one.machine, one.vma(0), one.base, 0)
    one.write(0)
    handle_mm_fault(one.machine, one.vma(0), one.base, 1)
    assert pte_dirty(entry_at(one.machine, one.mm, one.base))


@pytest.mark.parametrize("vaddr, write, code", [(0x1000, False, 1), (0x7F0000004000, True, 1)])
def test_no_mapping_is_maperr(a_mapping, vaddr, write, code):
    machine, vma = a_mapping()
    assert access(machine, vma.vm_mm, vaddr, write) == Access("SIGSEGV", code, 0, 1)


@pytest.mark.parametrize("flags, read, write", [
    (0x71, "", "SIGSEGV"), (0x72, "", ""), (0x74, "", "SIGSEGV"), (0x70, "SIGSEGV", "SIGSEGV"), (0x73, "", "")])
def test_rights(a_mapping, flags, read, write):
    machine, vma = a_mapping(flags=flags)
    assert access(machine, vma.vm_mm, vma.vm_start).signal == read
    refused = access(machine, vma.vm_mm, vma.vm_start, True)
    assert (refused.signal, refused.code) == (write, 2 if write else 0)


def test_a_page_that_nobody_may_touch_keeps_its_contents(space):
    one = space()
    one.mmap(0, 1)
    one.write(0)
    one.mprotect(0, 1, "---")
    assert one.read(0) == ["SIGSEGV"]
    one.mprotect(0, 1, "rw-")
    assert one.read(0) == [100]


# ---------------------------------------------------------------- copies


def test_who_writes_first_copies_who_is_left_keeps(space):
    one = space()
    one.mmap(0, 1)
    one.write(0)
    page = frame_of(one.machine, one.mm, one.base)
    child = one.fork(2)
    assert page_mapcount(one.machine, page) == 2
    child.write(0)
    assert frame_of(one.machine, child.mm, one.base) != page and page_mapcount(one.machine, page) == 1
    with record(one.machine) as rec:
        one.write(0)
    assert frame_of(one.machine, one.mm, one.base) == page
    assert [(s.event.mapcount, s.event.reuse) for s in rec.select(ev.SwapPageReused)] == [(1, True)]


def test_a_reference_does_not_keep_a_page_from_being_copied_away(space):
    """v5.4 looks at the mapcount alone: after the parent's write, the held page is the child's."""
    one = space()
    one.mmap(0, 1)
    one.write(0)
    held = frame_of(one.machine, one.mm, one.base)
    get_page(one.machine, held)
    child = one.fork(2)
    one.write(0)
    assert frame_of(one.machine, one.mm, one.base) != held == frame_of(one.machine, child.mm, one.base)
    lru_add_drain(one.machine)
    assert page_count(one.machine, held) == 2
    put_page(one.machine, held)


@pytest.mark.parametrize("kind", ["anon", "zero", "file", "driver"])
def test_a_copy_without_memory(poor, space, kind):
    machine, vma = poor(12, pages=1)
    mm = vma.vm_mm
    page = mv.alloc_pages(machine, GFP_KERNEL, 0)
    if kind == "driver":
        remap_pfn_range(machine, vma, vma.vm_start, page, PAGE, vma.vm_page_prot)
    elif kind == "file":
        vma.vm_file, vma.vm_ops = shmem_file_setup(machine, "f", 1), "shmem"
        vma.vm_pgoff = 0
        access(machine, mm, vma.vm_start)
    else:
        access(machine, mm, vma.vm_start, kind == "anon")
    if kind == "anon":
        get_page(machine, frame_of(machine, mm, vma.vm_start))
        vm(machine).mapcount[frame_of(machine, mm, vma.vm_start)] += 1
        set_pte_at(machine, 1, vma.vm_start, pte_of(machine, mm, vma.vm_start),
                   entry_at(machine, mm, vma.vm_start) & ~2)
    lru_add_drain(machine)
    while mv.alloc_pages(machine, GFP_KERNEL, 0) is not None:
        pass
    counts = {pfn: page_count(machine, pfn) for pfn in vm(machine).mapcount}
    assert handle_mm_fault(machine, vma, vma.vm_start, 1) == VM_FAULT_OOM
    assert counts == {pfn: page_count(machine, pfn) for pfn in vm(machine).mapcount}


def test_a_drivers_frame_in_a_shared_mapping_becomes_writable(a_mapping):
    machine, vma = a_mapping(flags=R | VM_SHARED)
    remap_pfn_range(machine, vma, vma.vm_start, 0xFEE00, 4 * PAGE, vma.vm_page_prot)
    set_vm_flags(machine, vma.id, vma.vm_flags | VM_WRITE)
    assert access(machine, vma.vm_mm, vma.vm_start, True).faults == 1
    assert frame_of(machine, vma.vm_mm, vma.vm_start) == 0xFEE00
    assert pte_write(entry_at(machine, vma.vm_mm, vma.vm_start))


def test_a_drivers_frame_in_a_private_mapping_is_copied(a_mapping):
    machine, vma = a_mapping()
    page = mv.alloc_pages(machine, GFP_KERNEL, 2)
    remap_pfn_range(machine, vma, vma.vm_start, page, 4 * PAGE, vma.vm_page_prot)
    vm(machine).data[page] = 7
    assert access(machine, vma.vm_mm, vma.vm_start, True).data == 7
    assert frame_of(machine, vma.vm_mm, vma.vm_start) != page and rss(vma.vm_mm) == {"anon": 1}
    assert vm_normal_page(machine, vma, vma.vm_start, entry_at(machine, vma.vm_mm, vma.vm_start)) is not None


def test_a_locked_page_that_is_copied_is_unlocked(space):
    one = space()
    one.mmap(0, 1)
    one.write(0)
    one.mlock(0, 1)
    page = frame_of(one.machine, one.mm, one.base)
    assert vm(one.machine).flags[page] & PG_mlocked
    one.fork(2)
    one.write(0)
    assert not vm(one.machine).flags[page] & PG_mlocked


# ---------------------------------------------------------------- files


@pytest.fixture
def a_file(space):
    """a_file(pages, cached): an address space, and a file of which some pages are in the page cache."""

    def build(pages=64, cached=range(64)):
        one = space()
        ino = shmem_file_setup(one.machine, "ptfile", pages)
        for index in cached:
            shmem_write(one.machine, ino, index, 0xF1000000 + index)
        return one, ino

    return build


def mapped(one, pages):
    return [page for page in pages if entry_at(one.machine, one.mm, one.base + page * PAGE)]


@pytest.mark.parametrize("touched, window", [(0, range(16)), (5, range(16)), (16, range(16, 32)), (20, range(16, 32)),
                                             (39, range(32, 40))])
def test_a_read_maps_around(a_file, touched, window):
    one, ino = a_file()
    one.mmap(0, 40, "r--", "shared", ino)
    assert one.read(touched) == [0xF1000000 + touched]
    assert mapped(one, range(64)) == list(window) and rss(one.mm) == {"shmem": len(window)}


def test_the_window_begins_with_the_mapping_and_ends_with_the_table(a_file):
    one, ino = a_file()
    one.mmap(505, 40, "r--", "shared", ino)
    one.read(506)
    assert mapped(one, range(500, 560)) == list(range(505, 512))


def test_only_what_is_cached_is_mapped_around_and_only_over_nothing(a_file):
    one, ino = a_file(64, (0, 1, 3, 5))
    one.mmap(0, 16, "rw-", "private", ino)
    one.write(1)
    one.read(3)
    assert mapped(one, range(16)) == [0, 1, 3, 5] and one.read(1) == [101]
    assert rss(one.mm) == {"anon": 1, "shmem": 3}


def test_a_page_that_is_not_cached_is_made(a_file):
    one, ino = a_file(64, ())
    one.mmap(0, 16, "rw-", "shared", ino)
    assert one.read(3) == [0] and mapped(one, range(16)) == [3]
    assert one.mm.pgtables_bytes == 12288, "the table made beforehand was used"


def test_private_copies_and_shared_writes(a_file):
    one, ino = a_file(16, (0,))
    one.mmap(0, 1, "rw-", "private", ino)
    one.mmap(1, 1, "rw-", "shared", ino)
    one.write(0)
    assert one.read(1) == [0xF1000000]
    one.write(1)
    assert (one.read(0), one.read(1)) == ([100], [101])
    page = vm(one.machine).inode[ino].pages[0]
    assert vm(one.machine).flags[page] & PG_dirty and page_mapcount(one.machine, page) == 1


def test_a_shared_page_read_first_becomes_dirty_without_a_fault(a_file):
    one, ino = a_file(16, (0,))
    one.mmap(0, 1, "rw-", "shared", ino)
    one.read(0)
    pte = entry_at(one.machine, one.mm, one.base)
    assert pte_write(pte) and not pte_dirty(pte)
    assert access(one.machine, one.mm, one.base, True).faults == 0
    assert pte_dirty(entry_at(one.machine, one.mm, one.base))


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("sharing", ["private", "shared"])
def test_beyond_the_end_of_a_file(a_file, write, sharing):
    one, ino = a_file(4, range(4))
    one.mmap(0, 16, "rw-", sharing, ino)
    free = one.machine.zones()[0].nr_pages_on_lists()
    assert access(one.machine, one.mm, one.base + 8 * PAGE, write) == Access("SIGBUS", 2, 0, 1)
    lru_add_drain(one.machine)
    kept = (2 if write else 3) * PAGE
    assert one.mm.pgtables_bytes == kept or one.mm.pgtables_bytes == 2 * PAGE
    assert one.machine.zones()[0].nr_pages_on_lists() == free - one.mm.pgtables_bytes // PAGE


def test_a_mapping_that_offers_nothing(a_file):
    one, ino = a_file()
    one.mmap(0, 4, "rw-", "shared", ino)
    vma = one.vma(0)
    vma.vm_ops = "pfnmap"
    assert one.read(0) == ["SIGBUS"]


class Offer:
    """A vmf at the first page of a mapping, tables there, and operations of the test's own."""

    def __init__(self, one, ops, flags=0):
        self.one = one
        vma = one.vma(0)
        one.read(1)
        pmd = list(walk(one.machine, one.mm, one.base))[2]
        self.vmf = VmFault(vma, one.base, flags, 0, None, (pmd.table << 12) + 8 * pmd.index)
        self.ops = VmOperations(**ops)

    def page(self):
        return mv.alloc_pages(self.one.machine, GFP_KERNEL, 0)


@pytest.mark.parametrize("handler, flags", [(do_read_fault, 0), (do_shared_fault, 1), (do_cow_fault, 1)])
def test_an_entry_that_came_meanwhile_wins(a_file, handler, flags):
    """The fault handler itself maps the page: what was brought is let go."""
    one, ino = a_file(16, (0,))
    one.mmap(0, 2, "rw-", "private" if handler is do_cow_fault else "shared", ino)
    offer = Offer(one, {}, flags)
    page = offer.page()

    def fault(machine, vmf):
        vmf.page = page
        get_page(machine, page)
        set_pte_at(machine, 1, one.base, pte_of(machine, one.mm, one.base), 0x1234025)
        return mv.VM_FAULT_LOCKED

    set_pte_at(one.machine, 1, one.base, pte_of(one.machine, one.mm, one.base), 0)
    assert handler(one.machine, offer.vmf, VmOperations(fault)) & mv.VM_FAULT_NOPAGE
    assert page_count(one.machine, page) == 1


def test_a_handler_that_made_the_copy_itself(a_file):
    one, ino = a_file(16, (0,))
    one.mmap(0, 2, "rw-", "private", ino)
    offer = Offer(one, {}, 1)
    done = do_cow_fault(one.machine, offer.vmf, VmOperations(lambda machine, vmf: mv.VM_FAULT_DONE_COW))
    assert done == mv.VM_FAULT_DONE_COW


@pytest.mark.parametrize("answer", [VM_FAULT_SIGBUS, mv.VM_FAULT_LOCKED])
def test_an_owner_is_asked_before_a_shared_page_is_written(a_file, answer, monkeypatch):
    one, ino = a_file(16, (0, 1))
    one.mmap(0, 2, "rw-", "shared", ino)
    one.read(0)
    ops = VmOperations(lambda machine, vmf: VM_FAULT_SIGBUS, None, lambda machine, vmf: answer)
    monkeypatch.setattr("mmviz.mm.wp_fault.vm_ops", lambda vma: ops)
    page = vm(one.machine).inode[ino].pages[0]
    pte = pte_of(one.machine, one.mm, one.base)
    set_pte_at(one.machine, 1, one.base, pte, entry_at(one.machine, one.mm, one.base) & ~2)
    assert one.write(0) == ["SIGBUS" if answer == VM_FAULT_SIGBUS else "ok"]
    lru_add_drain(one.machine)
    assert page_count(one.machine, page) == 2
    offer = VmFault(one.vma(0), one.base, 1, 0, None, 0, pte, entry_at(one.machine, one.mm, one.base) & ~2)
    assert do_wp_page(one.machine, offer) == (VM_FAULT_SIGBUS if answer == VM_FAULT_SIGBUS else mv.VM_FAULT_WRITE)


@pytest.mark.parametrize("answer", [VM_FAULT_SIGBUS, mv.VM_FAULT_LOCKED])
def test_an_owner_is_asked_before_a_shared_page_is_mapped_for_writing(a_file, answer):
    one, ino = a_file(16, (0, 1))
    one.mmap(0, 2, "rw-", "shared", ino)
    offer = Offer(one, {}, 1)
    page = offer.page()

    def fault(machine, vmf):
        vmf.page = page
        get_page(machine, page)
        return mv.VM_FAULT_LOCKED

    set_pte_at(one.machine, 1, one.base, pte_of(one.machine, one.mm, one.base), 0)
    done = do_shared_fault(one.machine, offer.vmf, VmOperations(fault, None, lambda machine, vmf: answer))
    assert done == answer and page_count(one.machine, page) == (1 if answer == VM_FAULT_SIGBUS else 2)


def test_a_written_shared_page_without_an_owners_say(a_file):
    """mprotect of a read-only shared mapping by hand: the write faults, and the page is dirty."""
    one, ino = a_file(16, (0,))
    one.mmap(0, 1, "rw-", "shared", ino)
    one.read(0)
    pte = pte_of(one.machine, one.mm, one.base)
    set_pte_at(one.machine, 1, one.base, pte, entry_at(one.machine, one.mm, one.base) & ~2)
    assert one.write(0) == ["ok"] and page_mapcount(one.machine, vm(one.machine).inode[ino].pages[0]) == 1


def test_a_private_page_of_a_file_is_copied_from_its_entry(a_file):
    one, ino = a_file(16, (0, 1))
    one.mmap(0, 1, "rw-", "private", ino)
    assert one.read(0) == [0xF1000000] and rss(one.mm) == {"shmem": 1}
    assert one.write(0) == ["ok"] and rss(one.mm) == {"anon": 1}


@pytest.mark.parametrize("left", range(5))
@pytest.mark.parametrize("write, sharing", [(False, 0), (True, 0), (True, VM_SHARED)])
def test_a_fault_on_a_file_without_memory(poor, left, write, sharing):
    machine, vma = poor(100, RW | sharing)
    vma.vm_file, vma.vm_ops, vma.vm_pgoff = shmem_file_setup(machine, "f", 4), "shmem", 0
    while machine.zones()[0].nr_pages_on_lists() > left:
        mv.alloc_pages(machine, GFP_KERNEL, 0)
    result = handle_mm_fault(machine, vma, vma.vm_start, int(write))
    needed = 5 if write and not sharing else 4
    assert result & ~mv.VM_FAULT_LOCKED == (0 if left >= needed else VM_FAULT_OOM)
    held = machine.zones()[0].nr_pages_on_lists()
    tables = vma.vm_mm.pgtables_bytes // PAGE
    assert held == left - tables - len(vm(machine).mapping), "what was taken in vain went back"


def test_a_table_that_is_missing_late(a_file, monkeypatch):
    """finish_fault finds neither a table nor one made beforehand, and no memory."""
    one, ino = a_file(16, (0,))
    one.mmap(0, 1, "rw-", "shared", ino)
    one.mmap(600, 1)
    one.write(600)
    pmd = list(walk(one.machine, one.mm, one.base))[2]
    vmf = VmFault(one.vma(0), one.base, 0, 0, None, (pmd.table << 12) + 8 * pmd.index, page=0x1234)
    while mv.alloc_pages(one.machine, mv.GFP_NOWAIT, 0) is not None:
        pass
    use_up(one.machine)
    monkeypatch.setattr("mmviz.mm.pgalloc.alloc_pages", lambda *arguments: None)
    assert finish_fault(one.machine, vmf) == VM_FAULT_OOM
    assert do_fault(one.machine, vmf) == VM_FAULT_OOM


# ---------------------------------------------------------------- unmapping


def test_dontneed_clears_entries_and_keeps_tables(space):
    one = space()
    one.mmap(0, 4)
    one.write(0, 1)
    one.read(2)
    assert one.madvise(0, 4, MADV_DONTNEED) == 0
    assert not mapped(one, range(4)) and not rss(one.mm) and one.mm.pgtables_bytes == 12288
    assert one.read(0) == [0]


def test_a_dirty_page_of_a_file_is_noted_when_it_is_unmapped(a_file):
    one, ino = a_file(16, (0, 1))
    one.mmap(0, 2, "rw-", "shared", ino)
    one.write(0)
    one.read(1)
    pages = vm(one.machine).inode[ino].pages
    for page in pages.values():
        vm(one.machine).flags[page] &= ~(PG_dirty | PG_referenced | PG_active | PG_lru)
    with record(one.machine) as rec:
        one.munmap(0, 2)
    flags = [vm(one.machine).flags[pages[index]] for index in (0, 1)]
    assert flags[0] & PG_dirty and not flags[1] & PG_dirty and all(flag & PG_referenced for flag in flags)
    assert rec.select(ev.TlbFlushed)[0].event.pages == 2, "the flush was forced"


def test_gathered_pages_need_room(space):
    """Eight on the stack, then a page that holds 510."""
    one = space()
    one.mmap(0, 530)
    one.write(*range(530))
    lru_add_drain(one.machine)
    with record(one.machine) as rec:
        one.munmap(0, 530)
    rooms = [s.event for s in rec.select(mv.events.MmPageAlloc)]
    assert [mv.gfp_name(event.gfp_mask) for event in rooms] == ["GFP_NOWAIT|__GFP_NOWARN"] * 2
    assert not vm(one.machine).mapcount and rec.at(len(rec)) == one.machine


@pytest.mark.parametrize("bits, size", [("x86-64", 510), ("i386", 1021)])
def test_what_a_page_of_the_gather_holds(bits, size):
    config = I386 if bits == "i386" else Config()
    machine = mv.boot([("Normal", 0x1000, 0x400)], config=config)
    assert tlb_gather_mmu(machine, mm_alloc(machine, 1, "p0"), 0, 0).batch_size == size


def test_without_room_what_is_gathered_is_freed_at_once(space, monkeypatch):
    one = space()
    one.mmap(0, 30)
    one.write(*range(30))
    monkeypatch.setattr("mmviz.mm.mmu_gather.__get_free_pages", lambda *arguments: 0)
    with record(one.machine) as rec:
        one.munmap(0, 30)
    assert len(rec.select(ev.TlbFlushed)) > 3 and not vm(one.machine).mapcount


def test_a_gather_holds_ten_thousand_pages_at_most(space):
    one = space()
    tlb = tlb_gather_mmu(one.machine, one.mm, 0, -1)
    pages = [mv.alloc_pages(one.machine, GFP_KERNEL, 0) for _ in range(8)]
    for page in pages:
        assert not collect(one.machine, tlb, page)
    tlb.rooms += [0] * 18
    tlb.batches += [[]] * 18
    tlb.active, tlb.batch_size = 19, 510
    tlb.batches[tlb.active] = [0] * 509
    assert collect(one.machine, tlb, 0), "the nineteenth page of room is the last"
    tlb.batches[tlb.active] = []
    tlb.rooms[1:] = []
    tlb_finish_mmu(one.machine, tlb, 0, -1)


def test_a_gather_that_was_flushed_uses_its_room_again(space):
    one = space()
    tlb = MmuGather(one.mm, 510)
    for _ in range(2):
        for _ in range(9):
            collect(one.machine, tlb, mv.alloc_pages(one.machine, GFP_KERNEL, 0))
        assert len(tlb.rooms) == 1 and tlb.active == 1
        tlb_flush_mmu(one.machine, tlb)
    tlb_finish_mmu(one.machine, tlb, 0, 0)


@pytest.mark.parametrize("start, end, floor, ceiling, kept", [
    (0, 4, 0, 0, 0), (0, 4, 0, 4, 3), (0, 4, -1, 0, 1), (0, 4, 0, 512, 2), (512, 516, 508, 0, 2),
    (0, 516, 0, 0, 0), (0, 600, 0, 700, 3), (510, 520, 505, 0, 3), (0, 4, 0, 1 << 18, 1)])
def test_floor_and_ceiling(space, start, end, floor, ceiling, kept):
    """Tables that stay after [start, end) is unmapped, with a neighbour below to `floor` and above from `ceiling`."""
    one = space()
    one.mmap(start, end - start)
    one.write(start, end - 1)
    vma = one.vma(start)
    tables = one.mm.pgtables_bytes // PAGE
    tlb = tlb_gather_mmu(one.machine, one.mm, 0, 0)
    unmap_vmas(one.machine, tlb, [vma], vma.vm_start, vma.vm_end)
    free_pgd_range(one.machine, tlb, vma.vm_start, vma.vm_end, one.base + floor * PAGE if floor else 0,
                   one.base + ceiling * PAGE if ceiling else 0)
    tlb_finish_mmu(one.machine, tlb, 0, 0)
    left = one.mm.pgtables_bytes // PAGE
    assert left == kept and tables >= kept
    assert len(vm(one.machine).tables) - 2 == left


def test_truncation_takes_private_copies_along(a_file):
    one, ino = a_file(16, range(16))
    one.mmap(0, 16, "rw-", "private", ino)
    one.mmap(16, 8, "rw-", "shared", ino, 8)
    one.write(3, 9, 18)
    assert shmem_setattr(one.machine, ino, 8) == 0
    assert mapped(one, range(32)) == [3] and one.read(9) == ["SIGBUS"] and one.read(3) == [103]


def test_unmapping_a_file_may_leave_private_copies(a_file):
    one, ino = a_file(16, range(16))
    one.mmap(0, 16, "rw-", "private", ino)
    one.mmap(32, 4)
    one.write(3, 32)
    one.read(4)
    unmap_mapping_pages(one.machine, vm(one.machine).inode[ino], 0, 4, False)
    assert mapped(one, range(40)) == [3, *range(4, 16), 32]
    unmap_mapping_pages(one.machine, vm(one.machine).inode[ino], 20, 4, True)
    assert len(mapped(one, range(40))) == 14
    unmap_mapping_pages(one.machine, vm(one.machine).inode[ino], 0, 0, True)
    assert mapped(one, range(40)) == [32]


# ---------------------------------------------------------------- references


def test_a_reference_that_nobody_has_is_a_bug(space):
    one = space()
    page = mv.alloc_pages(one.machine, GFP_KERNEL, 0)
    put_page(one.machine, page)
    with pytest.raises(KernelBug, match="has no reference left to drop"):
        put_page(one.machine, page)
    zero = vm(one.machine).zero_pfn
    get_page(one.machine, zero)
    assert page_count(one.machine, zero) == 2
    put_page(one.machine, zero)
    release_pages(one.machine, [zero, zero])
    assert page_count(one.machine, zero) == -1
    one.machine.strict = False
    put_page(one.machine, page)
    assert page_count(one.machine, page) == -1


def test_pages_released_together_go_the_last_one_first(space):
    one = space()
    pages = [mv.alloc_pages(one.machine, GFP_KERNEL, 0) for _ in range(4)]
    get_page(one.machine, pages[1])
    with record(one.machine) as rec:
        release_pages(one.machine, pages)
    freed = [step.event.pfn for step in rec.select(mv.events.MmPageFree)]
    assert freed == [pages[3], pages[2], pages[0]] and page_count(one.machine, pages[1]) == 1


# ---------------------------------------------------------------- fork, mprotect, mremap without memory


def test_fork_copies_what_faults_cannot_bring(space):
    one = space()
    one.mmap(0, 4)
    one.mmap(600, 4)
    one.write(0)
    one.read(600)
    child = one.fork(2)
    assert mapped(child, (0, 600)) == [0] and child.mm.pgtables_bytes == 12288


@pytest.mark.parametrize("geometry, tables", [("x86-64", 3), ("x86-64 5-level", 4), ("i386", 1)])
def test_fork_without_memory_for_tables(poor, geometry, tables):
    machine, vma = poor(100, start=0x50000000, geometry=geometry)
    access(machine, vma.vm_mm, vma.vm_start, True)
    for left in range(tables + 1):
        child = mm_alloc(machine, 2 + left, "child")
        twin = machine.copy()
        while twin.zones()[0].nr_pages_on_lists() > left:
            mv.alloc_pages(twin, GFP_KERNEL, 0)
        ours, theirs = vm(twin).mm[child.pid], vm(twin).mm[1]
        result = copy_page_range(twin, ours, theirs, theirs.mmap[0])
        assert result == (0 if left == tables else -Errno.ENOMEM)


def test_mprotect_keeps_what_the_cpu_noted(space):
    one = space()
    one.mmap(0, 2)
    one.write(0)
    one.read(1)
    vma = one.vma(0)
    assert change_protection(one.machine, vma, vma.vm_start, vma.vm_end, 0x8000000000000025) == 2
    pte = entry_at(one.machine, one.mm, one.base)
    assert pte_dirty(pte) and pte_young(pte) and not pte_write(pte)
    assert change_protection(one.machine, vma, vma.vm_start, vma.vm_end, 0x8000000000000025, 1) == 2
    assert pte_write(entry_at(one.machine, one.mm, one.base))
    assert not pte_write(entry_at(one.machine, one.mm, one.base + PAGE)), "only what is dirty"
    set_pte_at(one.machine, 1, one.base, pte_of(one.machine, one.mm, one.base), 0x600)
    assert change_protection(one.machine, vma, vma.vm_start, vma.vm_end, PAGE_SHARED) == 1


@pytest.mark.parametrize("missing, done", [(3, 0), (1, 0), (0, 0)])
def test_mremap_without_memory_moves_a_part(space, monkeypatch, missing, done):
    one = space()
    one.mmap(0, 4)
    one.mmap(600, 4) if missing == 0 else None
    one.write(0)
    vma = one.vma(0)
    monkeypatch.setattr("mmviz.mm.pgalloc.alloc_pages", lambda *arguments: None)
    target = one.base + (1 << 39 if missing == 3 else 1 << 30 if missing == 1 else 1 << 21)
    assert move_page_tables(one.machine, vma, one.base, vma, target, 4 * PAGE) == done


def test_mremap_of_a_whole_table_moves_the_table(space):
    one = space()
    one.mmap(0, 1024)
    one.write(0, 600)
    one.mmap(5 * 512, 1)
    vma, base = one.vma(0), one.base
    table = list(walk(one.machine, one.mm, base))[-1].table
    with record(one.machine) as rec:
        assert move_page_tables(one.machine, vma, base, vma, base + 2048 * PAGE, 1024 * PAGE) == 1024 * PAGE
    assert list(walk(one.machine, one.mm, base + 2048 * PAGE))[-1].table == table
    assert not rec.select(ev.SetPteAt) and one.read(0) and mapped(one, (2048, 2648)) == [2048, 2648]


# ---------------------------------------------------------------- huge pages


@pytest.fixture
def huge():
    """huge(setting, flags): 64 MiB, a mapping of 4 MiB at 2 MiB less a page, and its address space."""

    def build(setting="always", flags=RW, pages=1025):
        machine = mv.boot([("DMA32", 0x1000, 0x4000)], config=Config(transparent_hugepage=setting), grouping=True)
        vma = a_vma(machine, mm_alloc(machine, 1, "p0"), 0x7F00003FF000, pages, flags)
        return machine, vma

    return build


HUGE = 0x7F0000400000


def pmd_of(machine, mm, vaddr):
    return next(step for step in walk(machine, mm, vaddr) if step.level == "pmd")


@pytest.mark.parametrize("setting, flags, taken", [
    ("always", RW, True), ("always", RW | VM_NOHUGEPAGE, False), ("madvise", RW, False),
    ("madvise", RW | VM_HUGEPAGE, True), ("never", RW | VM_HUGEPAGE, False)])
def test_who_gets_a_huge_page(huge, setting, flags, taken):
    machine, vma = huge(setting, flags)
    assert access(machine, vma.vm_mm, HUGE + 0x5000, True, 7) == Access("", 0, 7, 1)
    assert rss(vma.vm_mm) == {"anon": 512 if taken else 1}
    assert access(machine, vma.vm_mm, HUGE + 0x5000).data == 7
    assert vma.vm_mm.pgtables_bytes == 12288, "50: a huge page has its table, too: deposited"


def test_50_a_huge_page_in_another_2_mib_costs_4_kb_more(huge):
    machine, vma = huge(pages=513)
    access(machine, vma.vm_mm, vma.vm_start, True)
    before = vma.vm_mm.pgtables_bytes
    access(machine, vma.vm_mm, HUGE, True)
    assert vma.vm_mm.pgtables_bytes == before + 4096 and len(vm(machine).deposit[pmd_of(
        machine, vma.vm_mm, HUGE).table]) == 1


def test_a_huge_page_does_not_fit_at_the_edge(huge):
    machine, vma = huge(pages=513)
    with record(machine) as rec:
        access(machine, vma.vm_mm, vma.vm_start, True)
    assert rss(vma.vm_mm) == {"anon": 1} and not rec.select(ev.HugePageConsidered)[0].event.suitable
    assert rec.at(len(rec)) == machine


def test_without_a_block_of_order_9_small_pages_serve(huge):
    machine, vma = huge()
    blocks = []
    while (block := mv.alloc_pages(machine, mv.GFP_TRANSHUGE_LIGHT, 9)) is not None:
        blocks.append(block)
    freed = mv.alloc_pages(machine, mv.GFP_NOWAIT, 0)
    if freed is None:
        __free_pages(machine, blocks[0], 9)
        [mv.alloc_pages(machine, mv.GFP_NOWAIT, 0) for _ in range(200)]
    assert access(machine, vma.vm_mm, HUGE, True).signal == "" and rss(vma.vm_mm) == {"anon": 1}


def test_a_huge_page_needs_its_table(huge, monkeypatch):
    machine, vma = huge()
    access(machine, vma.vm_mm, vma.vm_start, True)
    held = len(machine.zones()[0].allocated)
    monkeypatch.setattr("mmviz.mm.huge_memory.pte_alloc_one", lambda *arguments: None)
    assert handle_mm_fault(machine, vma, HUGE, 1) == VM_FAULT_OOM
    assert len(machine.zones()[0].allocated) == held


def test_a_huge_page_is_forked_copied_and_kept(huge):
    machine, vma = huge()
    mm = vma.vm_mm
    access(machine, mm, HUGE, True, 7)
    page = frame_of(machine, mm, HUGE)
    with record(machine) as rec:
        child = dup_mm(machine, mm, 2, "p1")
        assert frame_of(machine, child, HUGE) == page and page_mapcount(machine, page) == 2
        assert access(machine, child, HUGE, True, 8).signal == "" and frame_of(machine, child, HUGE) != page
        assert access(machine, mm, HUGE).data == 7
        assert access(machine, mm, HUGE, True, 9).faults == 1 and frame_of(machine, mm, HUGE) == page
        mmput(machine, child)
    assert rec.at(len(rec)) == machine
    assert rss(mm) == {"anon": 512}


def test_a_huge_page_that_cannot_be_copied_is_split(huge):
    machine, vma = huge("madvise", RW | VM_HUGEPAGE)
    mm = vma.vm_mm
    access(machine, mm, HUGE, True, 7)
    page = frame_of(machine, mm, HUGE)
    child = dup_mm(machine, mm, 2, "p1")
    set_vm_flags(machine, child.mmap[0].id, RW)
    assert access(machine, child, HUGE, True, 8).signal == ""
    assert frame_of(machine, child, HUGE) != page and frame_of(machine, child, HUGE + PAGE) == page + 1
    mmput(machine, child)
    assert access(machine, mm, HUGE).data == 7


def test_fork_of_a_huge_page_without_a_table(huge, monkeypatch):
    machine, vma = huge()
    access(machine, vma.vm_mm, HUGE, True)
    child = mm_alloc(machine, 2, "p1")
    monkeypatch.setattr("mmviz.mm.huge_memory.pte_alloc_one", lambda *arguments: None)
    assert copy_page_range(machine, child, vma.vm_mm, vma) == -Errno.ENOMEM


@pytest.mark.parametrize("pages", [512, 511])
def test_a_huge_page_is_unmapped_as_a_whole_or_split(huge, pages):
    machine, vma = huge()
    access(machine, vma.vm_mm, HUGE, True)
    page = frame_of(machine, vma.vm_mm, HUGE)
    lru_add_drain(machine)
    with record(machine) as rec:
        zap_page_range(machine, vma, HUGE, pages * PAGE)
    assert rss(vma.vm_mm) == ({} if pages == 512 else {"anon": 1})
    assert page_count(machine, page) == (0 if pages == 512 else 1)
    assert frame_of(machine, vma.vm_mm, HUGE + 511 * PAGE) == (None if pages == 512 else page + 511)
    assert vma.vm_mm.pgtables_bytes == (8192 if pages == 512 else 12288) and rec.at(len(rec)) == machine


@pytest.mark.parametrize("pages", [512, 511])
def test_a_huge_page_gets_other_rights_as_a_whole_or_split(huge, pages):
    machine, vma = huge()
    access(machine, vma.vm_mm, HUGE, True)
    assert change_protection(machine, vma, HUGE, HUGE + pages * PAGE, 0x8000000000000025) == pages
    step = list(walk(machine, vma.vm_mm, HUGE))[-1]
    assert step.level == ("pmd" if pages == 512 else "pte") and not pte_write(step.entry)


def test_a_huge_page_moves_as_a_whole_or_split(huge):
    machine, vma = huge()
    mm = vma.vm_mm
    access(machine, mm, HUGE, True, 7)
    page = frame_of(machine, mm, HUGE)
    far = HUGE + (1 << 30)
    assert move_page_tables(machine, vma, HUGE, vma, far, 512 * PAGE) == 512 * PAGE
    assert frame_of(machine, mm, far) == page and frame_of(machine, mm, HUGE) is None
    assert len(vm(machine).deposit[pmd_of(machine, mm, far).table]) == 1
    near = far + (4 << 21)
    assert move_page_tables(machine, vma, far, vma, near, 512 * PAGE) == 512 * PAGE
    assert move_page_tables(machine, vma, near, vma, far + PAGE, 512 * PAGE) == 512 * PAGE
    assert frame_of(machine, mm, far + 3 * PAGE) == page + 2


def test_a_huge_page_is_touched_and_written(huge):
    machine, vma = huge()
    mm = vma.vm_mm
    access(machine, mm, HUGE)
    step = pmd_of(machine, mm, HUGE)
    set_pmd(machine, 1, HUGE, (step.table << 12) + 8 * step.index, step.entry & ~0x60)
    assert access(machine, mm, HUGE + 5 * PAGE, True).faults == 0
    assert pmd_of(machine, mm, HUGE).entry & 0x60 == 0x60
    for write in (0, 1):
        set_pmd(machine, 1, HUGE, (step.table << 12) + 8 * step.index, step.entry & ~0x60)
        assert handle_mm_fault(machine, vma, HUGE, write) == 0
        assert pmd_of(machine, mm, HUGE).entry & 0x60 == (0x60 if write else 0x20)


def test_the_ring_of_deposited_tables_turns():
    machine = mv.boot([("DMA32", 0x1000, 0x400)])
    mm = mm_alloc(machine, 1, "p0")
    tables = [pte_alloc_one(machine, mm) for _ in range(3)]
    for table in tables:
        pgtable_trans_huge_deposit(machine, 1, mm.pgd, table)
    order = []
    while vm(machine).deposit[mm.pgd]:
        order.append(vm(machine).deposit[mm.pgd][0])
        pgtable_trans_huge_withdraw(machine, 1, mm.pgd, order[-1])
    assert order == [tables[2], tables[0], tables[1]]


# ---------------------------------------------------------------- all of it, recorded and kept


@pytest.mark.parametrize("geometry", ["x86-64", "x86-64 5-level", "i386", "i386 PAE"])
def test_a_life_is_recorded_and_kept(space, geometry):
    config = {"i386": I386, "i386 PAE": PAE}.get(geometry) or Config(geometry=geometry)
    one = space(mv.boot([("Normal", 0x1000, 0x1000)], config=config, grouping=True))
    with record(one.machine) as rec:
        one.mmap(0, 8)
        one.write(0, 1)
        one.mmap(700, 4, "rw-", "shared", shmem_file_setup(one.machine, "f", 4))
        one.read(700)
        child = one.fork(2)
        child.write(0)
        one.mremap(0, 8, 8, 2048)
        one.mprotect(2048, 2, "r--")
        vma = one.vma(2048)
        assert repr(vma).startswith(f"VmAreaStruct({vma.name} flags=0x")
        again = mv.Machine.from_dict(one.machine.to_dict())
        assert again == one.machine == again.copy()
        child.exit()
        one.exit()
    assert rec.at(len(rec)) == one.machine
    lru_add_drain(one.machine)
    assert len(one.machine.zones()[0].allocated) == 1, "the page of the file"


def test_each_refusal_is_told(a_mapping):
    machine, vma = a_mapping(flags=RW | VM_SHARED)
    with record(machine) as rec:
        assert vm_iomap_memory(machine, vma, 0xFEE00000, 0x1000) == -Errno.EINVAL
    assert not rec.select(ev.RemapChecked)[0].event.allowed


def test_a_flag_that_was_the_last_one(a_mapping):
    machine, _ = a_mapping()
    set_page_flag(machine, 0x1234, PG_dirty)
    clear_page_flag(machine, 0x1234, PG_dirty)
    assert not vm(machine).flags
    set_page_flag(machine, 0x1234, PG_dirty | PG_active)
    clear_page_flag(machine, 0x1234, PG_dirty)
    assert vm(machine).flags == {0x1234: PG_active}


def test_a_driver_a_lock_and_an_end(space):
    """What the others leave out, recorded: a forked driver mapping, a locked page that goes, an old entry unmapped."""
    one = space()
    ino = shmem_file_setup(one.machine, "f", 4)
    one.mmap(8, 2, "rw-", "shared", ino)
    one.write(8)
    with record(one.machine) as rec:
        one.mmap(0, 4, "rw-", "shared", driver_open(one.machine))
        one.write(0)
        child = one.fork(2)
        assert not pte_dirty(entry_at(one.machine, child.mm, one.base)), "clean in the child"
        one.mmap(4, 1)
        one.write(4)
        one.mlock(4, 1)
        one.munmap(4, 1)
        set_vm_flags(one.machine, one.vma(8).id, one.vma(8).vm_flags | VM_SEQ_READ)
        one.munmap(8, 2)
        one.write(0)
        tlb = tlb_gather_mmu(one.machine, one.mm, 0, 0)
        unmap_vmas(one.machine, tlb, one.mm.mmap, 0, one.base)
        sync_mm_rss(one.machine, 1)
    assert rec.at(len(rec)) == one.machine and rec.select(ev.ClearPageFlag)
    assert frame_of(one.machine, child.mm, one.base) == frame_of(one.machine, one.mm, one.base)


def test_a_frame_that_nobody_may_hold_is_told(space):
    one = space()
    one.mmap(0, 1)
    one.write(0)
    set_pte_at(one.machine, 1, one.base, pte_of(one.machine, one.mm, one.base), 0x12345267)
    with record(one.machine) as rec:
        assert get_user_pages_remote(one.machine, None, one.mm, one.base, 1, 0, []) == -Errno.EFAULT
    assert rec.select(ev.PfnEntryRefused)


def test_remap_without_tables_and_nobody_listening():
    machine = mv.boot([("Normal", 0, 0x1000)], config=Config(mmu=False, page_offset=0))
    vma = a_vma(machine, mm_alloc(machine, 1, "p0"), 0x500000, 1, RW)
    assert remap_pfn_range(machine, vma, 0x500000, 0x500, PAGE, 0) == 0


def test_a_locked_page_that_is_cut_off_is_unlocked(a_file):
    one, ino = a_file(4, range(4))
    one.mmap(0, 4, "rw-", "shared", ino)
    one.write(3)
    one.mlock(0, 4)
    page = frame_of(one.machine, one.mm, one.base + 3 * PAGE)
    get_page(one.machine, page)
    assert vm(one.machine).flags[page] & PG_mlocked
    assert shmem_setattr(one.machine, ino, 2) == 0
    assert not vm(one.machine).flags[page] & PG_mlocked
