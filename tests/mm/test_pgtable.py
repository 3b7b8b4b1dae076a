"""Geometries, entries and tables: the worked examples 46 to 50 of the reference, and what tables cost."""
import pytest

import mmviz as mv
from mmviz.kernel import (
    GFP_KERNEL,
    I386,
    VM_EXEC,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    Config,
)
from mmviz.mm import vm_events as ev
from mmviz.mm.geometry import (
    GEOMETRIES,
    address_indices,
    geometry_of,
    p4d_addr_end,
    pgd_addr_end,
    pmd_addr_end,
    pud_addr_end,
    spans,
)
from mmviz.mm.machine import MACHINE_PRIMITIVES
from mmviz.mm.mm_types import INIT_MM, SWAPPER_PG_DIR
from mmviz.mm.pgalloc import mm_alloc, mmdrop, p4d_alloc, pmd_alloc, pte_alloc_map, pud_alloc
from mmviz.mm.pgtable import (
    _PAGE_NX,
    _PAGE_PSE,
    PAGE_NONE,
    PAGE_READONLY,
    PAGE_READONLY_EXEC,
    PAGE_SHARED,
    frame_of,
    p4d_offset,
    pfn_pte,
    pgd_offset,
    pmd_offset,
    pte_mkclean,
    pte_mkdirty,
    pte_mkold,
    pte_mkspecial,
    pte_mkwrite,
    pte_mkyoung,
    pte_modify,
    pte_offset_map,
    pte_pfn,
    pte_present,
    pte_protnone,
    pte_special,
    pte_write,
    pte_wrprotect,
    pte_young,
    pud_offset,
    vm_get_page_prot,
    walk,
)
from mmviz.mm.vm import set_pmd, set_pte_at, set_pud, vm
from mmviz.recording import record

PAE = Config(zone_names=I386.zone_names, geometry="i386 PAE", numa=False, page_offset=0xC0000000)
CONFIGS = {"x86-64": Config(), "x86-64 5-level": Config(geometry="x86-64 5-level"), "i386": I386, "i386 PAE": PAE}
LEVELS = {"x86-64": "pgd pud pmd pte", "x86-64 5-level": "pgd p4d pud pmd pte", "i386": "pgd pte",
          "i386 PAE": "pgd pmd pte"}


def booted(geometry):
    machine = mv.boot([("Normal", 0x1000, 0x400)], config=CONFIGS[geometry])
    return machine, mm_alloc(machine, 1, "p0")


def mapped(machine, mm, vaddr, entry):
    """Make the tables of an address, and write its entry."""
    p4d = p4d_alloc(machine, mm, pgd_offset(machine, mm, vaddr), vaddr)
    pmd = pmd_alloc(machine, mm, pud_alloc(machine, mm, p4d, vaddr), vaddr)
    pte = pte_alloc_map(machine, mm, pmd, vaddr)
    set_pte_at(machine, mm.pid, vaddr, pte, entry)
    return pte


# ---------------------------------------------------------------- example 46 to 49: indices and boundaries


@pytest.mark.parametrize("vaddr, indices, offset", [
    (0x400000, [0, 0, 2, 0], 0), (0x7F123456789A, [254, 72, 418, 359], 0x89A),
    (0x7FFFFFFFE000, [255, 511, 511, 510], 0), (0x555555554000, [170, 341, 170, 340], 0),
    (0xFFFF888000000000, [273, 0, 0, 0], 0), (0xFFFFFFFF81000000, [511, 510, 8, 0], 0),
    (0xFFFFC90000000000, [402, 0, 0, 0], 0), (0xFFFFEA0000000000, [468, 0, 0, 0], 0)])
def test_46_indices_of_four_levels(vaddr, indices, offset):
    assert [index for _, index in address_indices(GEOMETRIES["x86-64"], vaddr)] == indices
    assert vaddr & 0xFFF == offset


@pytest.mark.parametrize("vaddr, indices", [
    (0x7F123456789A, [0, 254, 72, 418, 359]), (0xFFFF888000000000, [511, 273, 0, 0, 0]),
    (0xFF11000000000000, [273, 0, 0, 0, 0])])
def test_47_indices_of_five_levels(vaddr, indices):
    assert [index for _, index in address_indices(GEOMETRIES["x86-64 5-level"], vaddr)] == indices


@pytest.mark.parametrize("vaddr, two, pae", [
    (0x08048000, [32, 72], [0, 64, 72]), (0xB7FD1234, [735, 977], [2, 447, 465]),
    (0xC0000000, [768, 0], [3, 0, 0]), (0xFF000000, [1020, 0], [3, 504, 0])])
def test_48_indices_of_i386(vaddr, two, pae):
    assert [index for _, index in address_indices(GEOMETRIES["i386"], vaddr)] == two
    assert [index for _, index in address_indices(GEOMETRIES["i386 PAE"], vaddr)] == pae


def test_49_where_addr_end_stops():
    geometry = GEOMETRIES["x86-64"]
    assert pmd_addr_end(geometry, 0x7F00001FF000, 0x7F0000201000) == 0x7F0000200000
    assert pgd_addr_end(geometry, 0xFFFFFF8000000000, 0) == 0
    assert pud_addr_end(geometry, 0x7F0000000000, 0x7F0000201000) == 0x7F0000201000
    assert p4d_addr_end(geometry, 0, 1 << 47) == 1 << 47, "a folded level has no boundary of its own"
    assert p4d_addr_end(GEOMETRIES["x86-64 5-level"], 0, 1 << 47) == 1 << 39
    assert pmd_addr_end(GEOMETRIES["i386 PAE"], 0xFFE00000, 0) == 0, "the boundary wraps at 4 GiB"


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_geometry_covers_its_addresses_without_gap(name):
    geometry = GEOMETRIES[name]
    shift = 12
    for level in reversed(geometry.levels):
        if not level.folded:
            assert level.shift == shift
            assert level.ptrs << geometry.entry_shift in (4096, 32)
            shift += level.ptrs.bit_length() - 1
    assert shift == {"x86-64": 48, "x86-64 5-level": 57, "i386": 32, "i386 PAE": 32}[name]
    assert geometry.level("pte").shift == 12


def test_spans_are_the_loop_of_every_walk():
    geometry = GEOMETRIES["i386"]
    assert list(spans(geometry, 0, 0xFFBFF000, 0)) == [(0xFFBFF000, 0xFFC00000), (0xFFC00000, 0)]


# ---------------------------------------------------------------- entries


def test_the_bits_of_a_mapping_are_those_of_the_captures():
    machine = booted("x86-64")[0]
    bits = {VM_READ: 0x8000000000000025, VM_READ | VM_WRITE: 0x8000000000000025, VM_READ | VM_EXEC: 0x25, 0: 0x120,
            VM_SHARED | VM_READ | VM_WRITE: 0x8000000000000027, VM_SHARED | VM_READ: 0x8000000000000025,
            VM_SHARED | VM_WRITE | VM_EXEC: 0x27, VM_SHARED: 0x120}
    assert {flags: vm_get_page_prot(machine, flags) for flags in bits} == bits
    assert vm_get_page_prot(booted("i386")[0], VM_READ | VM_WRITE) == 0x25, "two levels have no NX"


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("prot", [PAGE_NONE, PAGE_READONLY_EXEC])
def test_an_entry_gives_its_frame_back(name, prot):
    geometry = GEOMETRIES[name]
    entry = pfn_pte(geometry, 0x1234, prot)
    assert pte_pfn(geometry, entry) == 0x1234 and pte_present(entry)
    assert pte_protnone(entry) == (prot == PAGE_NONE)


def test_a_page_that_nobody_may_touch_has_its_frame_inverted():
    inverted = pfn_pte(GEOMETRIES["x86-64"], 0x1234, PAGE_NONE)
    assert inverted == 0x000FFFFFFEDCB120
    assert pfn_pte(GEOMETRIES["i386"], 0x1234, PAGE_NONE) == 0x1234120


def test_other_rights_keep_frame_accessed_dirty_and_special():
    geometry = GEOMETRIES["x86-64"]
    entry = pte_mkspecial(pte_mkdirty(pfn_pte(geometry, 0x1234, PAGE_SHARED)))
    none = pte_modify(geometry, entry, PAGE_NONE)
    assert pte_pfn(geometry, none) == 0x1234 and none & 0x7FF == 0x120 | 0x40 | 0x200 and not none & _PAGE_NX
    assert pte_modify(geometry, none, PAGE_SHARED) == entry
    assert pte_modify(geometry, pte_mkold(entry), PAGE_READONLY) == pte_wrprotect(pte_mkold(entry))


def test_each_bit_by_itself():
    assert pte_mkyoung(0) == 0x20 and pte_mkold(0x21) == 1 and pte_young(0x20)
    assert pte_mkclean(0x41) == 1 and pte_mkdirty(1) == 0x41
    assert pte_mkwrite(1) == 3 and pte_wrprotect(3) == 1 and pte_write(2) and not pte_write(1)
    assert pte_special(pte_mkspecial(1)) and not pte_special(1)


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_walk_goes_from_the_top_to_the_page(name):
    machine, mm = booted(name)
    vaddr = 0x50001000
    mapped(machine, mm, vaddr, pfn_pte(geometry_of(machine), 0x1234, PAGE_READONLY_EXEC))
    steps = list(walk(machine, mm, vaddr))
    assert " ".join(step.level for step in steps) == LEVELS[name]
    assert steps[0].table == mm.pgd
    assert [step.index for step in steps] == [index for _, index in address_indices(geometry_of(machine), vaddr)]
    assert frame_of(machine, mm, vaddr) == 0x1234
    assert frame_of(machine, mm, vaddr + 0x1000) is None and frame_of(machine, mm, 0x90000000) is None


@pytest.mark.parametrize("name", GEOMETRIES)
def test_offsets_lead_to_the_same_entry(name):
    machine, mm = booted(name)
    vaddr = 0x50001000
    pte = mapped(machine, mm, vaddr, 0x1234025)
    pgd = pgd_offset(machine, mm, vaddr)
    pmd = pmd_offset(machine, pud_offset(machine, p4d_offset(machine, pgd, vaddr), vaddr), vaddr)
    assert pte_offset_map(machine, pmd, vaddr) == pte
    last = list(walk(machine, mm, vaddr))[-1]
    assert pte == (last.table << 12) + (last.index << geometry_of(machine).entry_shift)


def test_a_folded_level_is_the_level_above():
    machine, mm = booted("x86-64")
    pgd = pgd_offset(machine, mm, 0x1000)
    assert p4d_offset(machine, pgd, 0x1000) == pgd == p4d_alloc(machine, mm, pgd, 0x1000)
    assert list(vm(machine).tables) == [SWAPPER_PG_DIR, mm.pgd], "nothing was allocated for it"


def test_50_what_tables_cost():
    machine, mm = booted("x86-64")
    costs = []
    for vaddr in (0x7F0000000000, 0x7F0000001000, 0x7F0000200000, 0x7F0040000000, 0x7E8000000000):
        mapped(machine, mm, vaddr, 0x1234025)
        costs.append(mm.pgtables_bytes >> 10)
    assert costs == [12, 12, 16, 24, 36]


@pytest.mark.parametrize("name, first, tables", [
    ("x86-64", 12, 4), ("x86-64 5-level", 12, 5), ("i386", 4, 2), ("i386 PAE", 16, 5)])
def test_a_fresh_address_space_and_its_first_page(name, first, tables):
    """P4D tables and the top one do not count; PAE has its three PMD tables from the start."""
    machine, mm = booted(name)
    mapped(machine, mm, 0x50000000, 0x1234025)
    assert mm.pgtables_bytes >> 10 == first
    assert len(vm(machine).tables) - 1 == tables
    assert all(pfn in machine.zones()[0].allocated for pfn in vm(machine).tables if pfn != SWAPPER_PG_DIR)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_entries_that_point_to_tables(name):
    machine, mm = booted(name)
    mapped(machine, mm, 0x50000000, 0x1234025)
    bits = [step.entry & 0xFFF for step in walk(machine, mm, 0x50000000)][:-1]
    assert bits == ([1, 0x67] if name == "i386 PAE" else [0x67] * len(bits)), "the top entries of PAE have no rights"


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_top_table_goes_with_the_address_space(name):
    machine, mm = booted(name)
    with record(machine) as rec:
        mmdrop(machine, mm)
    assert not machine.zones()[0].allocated and list(vm(machine).tables) == [SWAPPER_PG_DIR]
    assert rec.at(len(rec)) == machine


def test_tables_are_unmovable_zeroed_pages_from_the_top_down():
    machine = mv.boot([("Normal", 0x1000, 0x400)], grouping=True)
    with record(machine) as rec:
        mapped(machine, mm_alloc(machine, 1, "p0"), 0x50000000, 0x1234025)
    asked = [step.event for step in rec.select(mv.events.MmPageAlloc)]
    assert {(event.order, event.migratetype, mv.gfp_name(event.gfp_mask)) for event in asked} == {
        (0, mv.MIGRATE_UNMOVABLE, "GFP_KERNEL_ACCOUNT|__GFP_ZERO")}
    made = [step.event for step in rec.select(ev.PgtablePageCtor)]
    assert [event.level for event in made] == ["pgd", "pud", "pmd", "pte"]
    assert [event.pfn for event in made] == [event.pfn for event in asked]


@pytest.mark.parametrize("name, refused", [("x86-64", 4), ("x86-64 5-level", 5), ("i386", 2), ("i386 PAE", 5)])
def test_without_memory_there_is_no_table(name, refused):
    """With n pages left the n-th table is the last; nothing hangs in the air after the refusal."""
    for left in range(refused):
        machine = mv.boot([("Normal", 0x1000, 0x400)], config=CONFIGS[name], watermarks=(0, 0, 0))
        for _ in range(0x400 - left):
            mv.alloc_pages(machine, GFP_KERNEL, 0)
        mm = mm_alloc(machine, 1, "p0")
        if mm is None:
            assert left < (4 if name == "i386 PAE" else 1)
            assert machine.zones()[0].nr_pages_on_lists() == left
            continue
        p4d = p4d_alloc(machine, mm, pgd_offset(machine, mm, 0x50000000), 0x50000000)
        pud = None if p4d is None else pud_alloc(machine, mm, p4d, 0x50000000)
        pmd = None if pud is None else pmd_alloc(machine, mm, pud, 0x50000000)
        assert pmd is None or pte_alloc_map(machine, mm, pmd, 0x50000000) is None
        assert len(list(walk(machine, mm, 0x50000000))) < len(LEVELS[name].split()) or pmd is not None


def test_a_pid_is_used_once():
    machine, _ = booted("x86-64")
    for pid in (0, 1):
        with pytest.raises(ValueError, match="pid must be above 0 and not in use, got"):
            mm_alloc(machine, pid, "p")


def test_the_kernels_entries_are_in_every_top_table():
    machine, _ = booted("i386")
    kernel = vm(machine).mm[INIT_MM]
    pte = mapped(machine, kernel, 0xFF000000, 0x1234067)
    assert kernel.pgtables_bytes == 4096
    second = mm_alloc(machine, 2, "p1")
    assert frame_of(machine, second, 0xFF000000) == 0x1234 == frame_of(machine, kernel, 0xFF000000)
    assert (pte >> 12) in vm(machine).tables
    mmdrop(machine, second)
    assert frame_of(machine, kernel, 0xFF000000) == 0x1234


def test_without_a_unit_for_it_there_are_no_tables():
    machine = mv.boot([("Normal", 0, 0x400)], config=Config(mmu=False, page_offset=0))
    mm = mm_alloc(machine, 1, "p0")
    assert mm.pgd == SWAPPER_PG_DIR and not machine.zones()[0].allocated
    mmdrop(machine, mm)
    assert list(vm(machine).mm) == [INIT_MM]
    assert vm(machine).zero_pfn == 0x400, "above a zone that begins at 0"


# ---------------------------------------------------------------- huge leaves


def test_a_huge_leaf_ends_the_walk():
    machine, mm = booted("x86-64")
    mapped(machine, mm, 0x40000000, 0x1234025)
    pud = pud_offset(machine, p4d_offset(machine, pgd_offset(machine, mm, 0), 0x80000000), 0x80000000)
    set_pud(machine, 1, 0x80000000, pud, 0x40000000 | PAGE_SHARED | _PAGE_PSE)
    pmd = pmd_offset(machine, pud_offset(machine, p4d_offset(machine, pgd_offset(machine, mm, 0), 0x40000000),
                                         0x40000000), 0x40200000)
    set_pmd(machine, 1, 0x40200000, pmd, 0x600000 | PAGE_SHARED | _PAGE_PSE)
    assert frame_of(machine, mm, 0x80000000 + 0x12345000) == 0x40000 + 0x12345
    assert frame_of(machine, mm, 0x40201000) == 0x601
    assert [step.level for step in walk(machine, mm, 0x8ABCD000)] == ["pgd", "pud"]


def test_a_pat_bit_of_a_pte_is_no_huge_page():
    machine, mm = booted("x86-64")
    mapped(machine, mm, 0x40000000, 0x1234025 | _PAGE_PSE)
    assert frame_of(machine, mm, 0x40000000) == 0x1234


# ---------------------------------------------------------------- kept and told


def test_everything_is_kept_and_told():
    machine, mm = booted("x86-64")
    mapped(machine, mm, 0x40000000, 0x1234025)
    again = mv.Machine.from_dict(machine.to_dict())
    assert again == machine and again.parts["vm"] is not machine.parts["vm"]
    assert repr(mm) == "MmStruct(p0, 0 mappings)"


LEAVES = sorted((kind for kind in mv.trace.EVENTS.values() if kind.__module__ == ev.__name__
                 and not kind.__subclasses__()), key=lambda kind: kind.__name__)
TEXTS = {"level": "pmd", "kind": "anon", "why": "not writable", "name": "p0"}


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("number", [0, 1, 0xA5])
def test_every_event_has_a_sentence(kind, number):
    event = kind(*(TEXTS.get(name, number if name != "member" else number % 4) for name in kind.__match_args__))
    said = mv.sentence(event)
    assert said.endswith(".") and "{" not in said and "None" not in said and said[0].isupper()


@pytest.mark.parametrize("event, said", [
    (ev.SetPteAt(1, 0x5000, 0, 0), "The PTE of 0x5000 is cleared."),
    (ev.SetPteAt(1, 0x5000, 0, pfn_pte(GEOMETRIES["x86-64"], 0x12, PAGE_NONE)),
     "The PTE of 0x5000 is set: frame 0x12, which nobody may touch."),
    (ev.SetPteAt(1, 0x5000, 0, 0x12067), "The PTE of 0x5000 is set: frame 0x12, writable, dirty."),
    (ev.SetPteAt(1, 0x5000, 0, 0x12005), "The PTE of 0x5000 is set: frame 0x12, read-only, not accessed yet."),
    (ev.SetPteAt(1, 0x5000, 0, 0x600), "The PTE of 0x5000 is set: no page, but a note (0x600)."),
    (ev.AddPgtablesBytes(1, -4096), "VmPTE of process 1 shrinks by 4 kB."),
    (ev.SetPageMapping(0x12, "", 0, 0), "Page 0x12 belongs to nobody now."),
    (ev.SetPageMapping(0x12, "file", 3, 4), "Page 0x12 belongs to file 3, at index 0x4."),
    (ev.RangeWalked(1, "vma", 0, 4096, 7), "The entries for 0x0 to 0x1000 are gone through, from the top table down."),
    (ev.SwapPageReused(0x12, 2, False),
     "Page 0x12 has mapcount 2: others map it too, so the writer gets a copy."),
    (ev.FaultHandled(1, 0x5000, mv.VM_FAULT_SIGBUS), "The fault at 0x5000 ends with SIGBUS."),
    (ev.PageFollowed(1, 0x5000, 0, -14), "The page at 0x5000 cannot be had: -EFAULT."),
    (ev.PageFollowed(1, 0x5000, 0, None), "There is no page to take at 0x5000: it must be faulted in."),
    (ev.UserPagesGot(1, 0x5000, 3, -14), "Of 3 pages from 0x5000 on, none was taken: -EFAULT."),
    (ev.UserPagesGot(1, 0x5000, 3, -777), "Of 3 pages from 0x5000 on, none was taken: -777."),
    (ev.FaultChecked(1, 0x5000, True, 2), "The mapping at 0x5000 does not allow a write: SIGSEGV, ACCERR."),
    (ev.FaultChecked(1, 0x5000, True, 0), "A mapping covers 0x5000 and allows the touch."),
    (ev.PageAccessNoted(0x12, True, False), "Page 0x12 was used: it becomes active."),
    (ev.SetPmd(1, 0x200000, 0, 0x6000E7),
     "The PMD entry for 0x200000 now maps a huge page: frame 0x600, writable, dirty, huge.")])
def test_sentences_say_what_happened(event, said):
    assert mv.sentence(event) == said


def test_every_change_has_its_primitive():
    changes = {kind for kind in LEAVES if not kind.decision}
    assert changes <= set(MACHINE_PRIMITIVES)
