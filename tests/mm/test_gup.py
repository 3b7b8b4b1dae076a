"""get_user_pages: the worked examples 57 to 62 of the reference, the lockless walk, FOLL_LONGTERM and CMA."""
import pytest

import mmviz as mv
from mmviz.kernel import (
    FOLL_ANON,
    FOLL_DUMP,
    FOLL_FORCE,
    FOLL_LONGTERM,
    FOLL_MLOCK,
    FOLL_NOWAIT,
    FOLL_POPULATE,
    FOLL_SPLIT,
    FOLL_TOUCH,
    FOLL_WRITE,
    GFP_KERNEL,
    I386,
    MADV_DONTNEED,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_LOCKONFAULT,
    Config,
    Errno,
)
from mmviz.mm import vm_events as ev
from mmviz.mm.access import access
from mmviz.mm.driver import driver_open
from mmviz.mm.fallback import get_pageblock_migratetype
from mmviz.mm.gup import (
    __get_user_pages,
    get_user_pages_locked,
    get_user_pages_remote,
    get_user_pages_unlocked,
    put_user_page,
    put_user_pages,
    put_user_pages_dirty_lock,
)
from mmviz.mm.gup_fast import __get_user_pages_fast, get_user_pages_fast
from mmviz.mm.gup_longterm import get_user_pages
from mmviz.mm.migrate import migrate_pages
from mmviz.mm.mm_types import PG_dirty, PG_mlocked, PG_referenced
from mmviz.mm.page_rmap import page_mapcount
from mmviz.mm.pgalloc import mm_alloc
from mmviz.mm.pgtable import frame_of, pte_dirty, pte_write, walk
from mmviz.mm.populate import __mm_populate, populate_vma_page_range
from mmviz.mm.shmem import shmem_file_setup, shmem_write
from mmviz.mm.swap import get_page, lru_add_drain, page_count, put_page
from mmviz.mm.vm import set_page_flag, set_pmd, set_pte_at, set_vm_flags, vm
from mmviz.mm.vma import __vma_link, vm_area_alloc
from mmviz.mm.zone import set_pageblock_migratetype
from mmviz.recording import record

PAGE = 4096
EFAULT, EINVAL, ENOMEM = -Errno.EFAULT, -Errno.EINVAL, -Errno.ENOMEM
plain_gup, fast_only, populate = __get_user_pages, __get_user_pages_fast, __mm_populate


def gup(one, start, pages, flags=0, **more):
    """get_user_pages of a Space: what it returns, and the pages."""
    taken = []
    return get_user_pages(one.machine, one.mm, one.base + start * PAGE, pages, flags, taken, **more), taken


def pte_at(one, page):
    return list(walk(one.machine, one.mm, one.base + page * PAGE))[-1]


def place(one, page):
    last = pte_at(one, page)
    return (last.table << 12) + 8 * last.index


# ---------------------------------------------------------------- examples 57 to 61


def test_57_pages_that_nobody_touched_are_faulted_in(space):
    one = space()
    one.mmap(0, 4)
    with record(one.machine) as rec:
        got, pages = gup(one, 0, 4, FOLL_WRITE)
    assert got == 4 and pages == [frame_of(one.machine, one.mm, one.base + i * PAGE) for i in range(4)]
    lru_add_drain(one.machine)
    assert [page_count(one.machine, page) for page in pages] == [2] * 4
    put_user_pages(one.machine, pages)
    assert [page_count(one.machine, page) for page in pages] == [1] * 4
    assert len(rec.select(ev.PageFaultedIn)) == 4 and one.mm.min_flt == 4
    assert rec.select(ev.PageFollowed)[0].event.found is None


def test_58_partial_success_hides_the_error(space):
    one = space()
    one.mmap(0, 2)
    assert gup(one, 0, 4)[0] == 2
    assert gup(one, 2, 4)[0] == EFAULT and gup(one, 0, 0) == (0, [])


def test_59_a_drivers_frames_are_nobodys_to_take(space):
    one = space()
    one.mmap(0, 1)
    one.mmap(1, 4, "rw-", "shared", driver_open(one.machine))
    assert gup(one, 1, 1)[0] == EFAULT == gup(one, 1, 1, FOLL_FORCE)[0]
    got, pages = gup(one, 0, 2, FOLL_WRITE)
    assert got == 1 == len(pages)
    taken = []
    one.read(1)
    assert get_user_pages_fast(one.machine, one.mm, one.base + PAGE, 1, 0, taken) == EFAULT and not taken
    assert get_user_pages_fast(one.machine, one.mm, one.base, 2, 0, taken) == 1 == len(taken)


def test_60_force_writes_into_a_copy(space):
    one = space()
    one.mmap(0, 1, "r--")
    one.mmap(1, 1, "r--", "shared")
    assert gup(one, 0, 1, FOLL_WRITE)[0] == EFAULT
    got, (page,) = gup(one, 0, 1, FOLL_WRITE | FOLL_FORCE)
    assert got == 1 and page != vm(one.machine).zero_pfn
    pte = pte_at(one, 0).entry
    assert pte_dirty(pte) and not pte_write(pte)
    assert gup(one, 0, 1, FOLL_WRITE | FOLL_FORCE) == (1, [page]), "and the next write uses the same copy"
    assert gup(one, 1, 1, FOLL_WRITE | FOLL_FORCE)[0] == EFAULT


def test_61_the_zero_page_and_what_is_invalid(space):
    one = space()
    one.mmap(0, 1)
    zero = vm(one.machine).zero_pfn
    before = page_count(one.machine, zero)
    assert gup(one, 0, 1) == (1, [zero]) and page_count(one.machine, zero) == before + 1
    assert one.write(0) == ["ok"] and frame_of(one.machine, one.mm, one.base) != zero, "the write goes elsewhere"
    machine, mm, start = one.machine, one.mm, one.base
    assert get_user_pages_remote(machine, None, mm, start, 1, FOLL_LONGTERM, []) == EINVAL
    assert get_user_pages_locked(machine, mm, start, 1, FOLL_LONGTERM, [], [1]) == EINVAL
    assert get_user_pages_unlocked(machine, mm, start, 1, [], FOLL_LONGTERM) == EINVAL
    assert get_user_pages_fast(machine, mm, start, 1, FOLL_FORCE, []) == EINVAL
    assert get_user_pages(machine, mm, start, 1, FOLL_LONGTERM) == EINVAL
    uma = space(mv.boot([("Normal", 0x1000, 0x400)], config=Config(migrate_types=4, migrate_cma=None,
                                                                   migrate_isolate=None)))
    uma.mmap(0, 1)
    assert get_user_pages(uma.machine, uma.mm, uma.base, 1, FOLL_LONGTERM) == 1, "without CMA the flag means nothing"


# ---------------------------------------------------------------- example 62: without page tables


@pytest.fixture
def nommu():
    """A machine without page tables, and two mappings side by side, of one and two pages at 0x500000."""
    machine = mv.boot([("Normal", 0, 0x1000)], config=Config(mmu=False, page_offset=0))
    mm = mm_alloc(machine, 1, "p0")
    for start, pages, flags in ((0x500, 1, 0x73), (0x501, 2, 0x71), (0x600, 1, 0x4073)):
        number = vm(machine).next_vma
        vm_area_alloc(machine, number, 1, start * PAGE, (start + pages) * PAGE, flags, 0, 0)
        __vma_link(machine, number)
    return machine, mm


def test_62_an_address_is_a_place_in_memory(nommu):
    machine, mm = nommu
    pages, vmas = [], []
    with record(machine) as rec:
        assert get_user_pages(machine, mm, 0x500000, 4, 0, pages, vmas) == 3
    assert pages == [0x500, 0x501, 0x502] and [vma.vm_start for vma in vmas] == [0x500000, 0x501000, 0x501000]
    assert [page_count(machine, page) for page in pages] == [1] * 3 and rec.at(len(rec)) == machine
    assert "follow_page_mask" not in {call.symbol for root in rec.calls() for _, call in root.walk()}
    assert get_user_pages(machine, mm, 0x500800, 2, 0) == 2, "only the second address is rounded down"


@pytest.mark.parametrize("start, pages, flags, got", [
    (0x500000, 0, 0, 0), (0x4FF000, 1, 0, EFAULT), (0x600000, 1, 0, EFAULT), (0x501000, 1, FOLL_WRITE, EFAULT),
    (0x501000, 1, FOLL_WRITE | FOLL_FORCE, 1), (0x500000, 3, FOLL_WRITE, 1), (0x500000, 1, FOLL_FORCE, 1)])
def test_rights_without_page_tables(nommu, start, pages, flags, got):
    machine, mm = nommu
    assert get_user_pages_remote(machine, None, mm, start, pages, flags, []) == got


# ---------------------------------------------------------------- rights


@pytest.mark.parametrize("prot, sharing, flags, got", [
    ("---", "private", 0, EFAULT), ("---", "private", FOLL_FORCE, 1), ("---", "private", FOLL_FORCE | FOLL_WRITE, 1),
    ("-w-", "private", 0, EFAULT), ("-w-", "private", FOLL_WRITE, 1), ("r--", "shared", 0, 1),
    ("--x", "private", FOLL_FORCE, 1), ("rw-", "private", FOLL_ANON, 1), ("rw-", "shared", FOLL_ANON, EFAULT)])
def test_which_mappings_may_be_taken(space, prot, sharing, flags, got):
    one = space()
    one.mmap(0, 1, prot, sharing)
    assert gup(one, 0, 1, flags)[0] == got


def test_a_mapping_without_leave_to_read(space):
    one = space()
    one.mmap(0, 1, "---")
    set_vm_flags(one.machine, one.vma(0).id, 0x60)
    assert gup(one, 0, 1, FOLL_FORCE)[0] == EFAULT


def test_a_stack_grows_for_it(space):
    one = space()
    one.mmap(4, 2)
    set_vm_flags(one.machine, one.vma(4).id, one.vma(4).vm_flags | VM_GROWSDOWN)
    assert gup(one, 3, 1, FOLL_WRITE)[0] == 1 and one.vma(3).vm_start == one.base + 3 * PAGE


def test_beyond_the_end_of_a_file(space):
    one = space()
    one.mmap(0, 4, "rw-", "shared", shmem_file_setup(one.machine, "f", 2))
    assert gup(one, 0, 4)[0] == 2 and gup(one, 2, 1)[0] == EFAULT


def test_a_page_without_rights_is_taken_by_force_as_it_is(space):
    one = space()
    one.mmap(0, 1)
    one.write(0)
    page = frame_of(one.machine, one.mm, one.base)
    one.mprotect(0, 1, "---")
    assert gup(one, 0, 1)[0] == EFAULT and gup(one, 0, 1, FOLL_FORCE) == (1, [page])


def test_an_entry_without_rights_is_asked_for_a_fault(space):
    """FOLL_NUMA: a PROT_NONE entry in a readable mapping is a NUMA hint. The fault makes it young, and no more."""
    one = space()
    one.mmap(0, 1)
    one.write(0)
    vma = one.vma(0)
    one.mprotect(0, 1, "---")
    set_vm_flags(one.machine, vma.id, 0x73)
    taken = []
    with record(one.machine) as rec:
        plain_gup(one.machine, one.mm, one.mm, one.base, 1, FOLL_NOWAIT | FOLL_MLOCK, taken)
    assert rec.select(ev.PageFollowed)[0].event.found is None and not taken


# ---------------------------------------------------------------- what is left behind


def test_a_write_marks_the_page_and_not_the_entry(space):
    one = space()
    ino = shmem_file_setup(one.machine, "f", 2)
    shmem_write(one.machine, ino, 0, 7)
    one.mmap(0, 1, "rw-", "shared", ino)
    one.read(0)
    page = frame_of(one.machine, one.mm, one.base)
    vm(one.machine).flags[page] &= ~(PG_dirty | PG_referenced)
    assert gup(one, 0, 1, FOLL_WRITE) == (1, [page])
    assert vm(one.machine).flags[page] & PG_dirty and not pte_dirty(pte_at(one, 0).entry)
    vm(one.machine).flags[page] &= ~PG_dirty
    put_user_pages_dirty_lock(one.machine, [page], False)
    assert not vm(one.machine).flags[page] & PG_dirty
    get_page(one.machine, page)
    put_user_pages_dirty_lock(one.machine, [page], True)
    assert vm(one.machine).flags[page] & PG_dirty


def test_used_once_referenced_used_twice_active(space):
    one = space()
    one.mmap(0, 1)
    zero = vm(one.machine).zero_pfn
    flags = []
    for _ in range(4):
        gup(one, 0, 1)
        flags.append(vm(one.machine).flags[zero])
    assert flags == [2, 16, 18, 18]


def test_mappings_are_told_too(space):
    one = space()
    one.mmap(0, 1)
    one.mmap(1, 1, "r--")
    vmas = []
    assert get_user_pages(one.machine, one.mm, one.base, 2, 0, None, vmas) == 2
    assert vmas == [one.vma(0), one.vma(1)]


def test_mappings_may_go_while_the_lock_is_given_up(space):
    one = space()
    one.mmap(0, 1)
    with pytest.raises(ValueError, match="vma_array must be None where locked is given"):
        get_user_pages_remote(one.machine, None, one.mm, one.base, 1, 0, [], [], [1])


def test_memory_runs_out(space, monkeypatch):
    one = space()
    one.mmap(0, 4)
    one.write(0)
    monkeypatch.setattr("mmviz.mm.anon_fault.alloc_pages_vma", lambda *arguments: None)
    assert gup(one, 0, 4, FOLL_WRITE)[0] == 1 and gup(one, 1, 1, FOLL_WRITE)[0] == ENOMEM


@pytest.mark.parametrize("in_swap, flags, got, lock", [
    ((), 0, 3, 1), ((1,), 0, 1, 0), ((0,), 0, 0, 0), ((1,), FOLL_NOWAIT, 1, 1), ((0,), FOLL_NOWAIT, 0, 1)])
def test_a_fault_may_give_up_the_lock(space, in_swap, flags, got, lock):
    """A page in swap: the kernel waits without the lock, and tries that page once more; here it never comes."""
    one = space()
    one.mmap(0, 3)
    one.write(0, 1, 2)
    for page in in_swap:
        set_pte_at(one.machine, 1, one.base + page * PAGE, place(one, page), 0x600)
    locked, pages = [1], []
    assert get_user_pages_locked(one.machine, one.mm, one.base, 3, flags, pages, locked) == got == len(pages)
    assert locked == [lock]
    assert get_user_pages_unlocked(one.machine, one.mm, one.base, 3, [], 0) == (got if not flags else len(pages))


def test_a_page_that_comes_at_the_second_try(space, monkeypatch):
    """The first fault gives up the lock, and the page is there when it is asked for again."""
    one = space()
    one.mmap(0, 3)
    one.write(0, 1, 2)
    entries = {}
    for page in (0, 2):
        entries[page] = pte_at(one, page).entry
        set_pte_at(one.machine, 1, one.base + page * PAGE, place(one, page), 0x600)

    def swap_in(machine, vmf):
        page = vmf.address - one.base >> 12
        set_pte_at(machine, 1, vmf.address, place(one, page), entries[page])
        return mv.VM_FAULT_MAJOR | mv.VM_FAULT_RETRY

    monkeypatch.setattr("mmviz.mm.fault.do_swap_page", swap_in)
    locked, pages = [1], []
    assert get_user_pages_locked(one.machine, one.mm, one.base, 3, 0, pages, locked) == 3 == len(set(pages))
    assert locked == [0] and one.mm.maj_flt == 2


# ---------------------------------------------------------------- core dumps, bare entries


def test_a_core_dump_leaves_out_what_nobody_touched(space):
    one = space()
    one.mmap(0, 1)
    one.mmap(1, 1, "rw-", "shared", shmem_file_setup(one.machine, "f", 2))
    assert plain_gup(one.machine, None, one.mm, one.base, 1, FOLL_DUMP, []) == EFAULT
    assert plain_gup(one.machine, None, one.mm, one.base + PAGE, 1, FOLL_DUMP, []) == 1
    one.read(0)
    assert plain_gup(one.machine, None, one.mm, one.base, 1, FOLL_DUMP, []) == EFAULT, "nor the zero page"


@pytest.mark.parametrize("flags, got", [(0, 1), (FOLL_TOUCH, 1), (FOLL_TOUCH | FOLL_WRITE, 1)])
def test_an_entry_without_a_page_is_passed_over_unless_it_must_be_held(space, flags, got):
    one = space()
    one.mmap(0, 1)
    one.write(0)
    bare = 0x12345227 & ~0x60
    set_pte_at(one.machine, 1, one.base, place(one, 0), bare)
    assert plain_gup(one.machine, None, one.mm, one.base, 1, flags) == got
    touched = (0x20 if flags & FOLL_TOUCH else 0) | (0x40 if flags & FOLL_WRITE else 0)
    assert pte_at(one, 0).entry == bare | touched
    assert gup(one, 0, 1)[0] == EFAULT


# ---------------------------------------------------------------- populate


def test_mlock_brings_in_and_locks(space):
    one = space()
    one.mmap(0, 3)
    one.mmap(3, 1, "r--")
    one.mmap(4, 4, "rw-", "shared", driver_open(one.machine))
    assert one.mlock(0, 4) == 0
    assert one.mm.rss(1) == 3, "written in advance; the read-only page is the zero page"
    assert all(vm(one.machine).flags[frame_of(one.machine, one.mm, one.base + i * PAGE)] & PG_mlocked for i in range(3))
    assert populate(one.machine, one.mm, one.base, 20 * PAGE, False) == 0
    vma = one.vma(0)
    set_vm_flags(one.machine, vma.id, vma.vm_flags | VM_LOCKED | VM_LOCKONFAULT)
    one.munlock(0, 3)
    one.madvise(0, 1, MADV_DONTNEED)
    set_vm_flags(one.machine, one.vma(0).id, one.vma(0).vm_flags | VM_LOCKONFAULT)
    assert populate_vma_page_range(one.machine, one.vma(0), one.base, one.base + PAGE) == 1
    assert frame_of(one.machine, one.mm, one.base) is None, "locked on fault: nothing is brought in now"


@pytest.mark.parametrize("ignore, result", [(False, EFAULT), (True, 0)])
def test_populating_beyond_the_end_of_a_file(space, ignore, result):
    one = space()
    one.mmap(0, 4, "rw-", "shared", shmem_file_setup(one.machine, "f", 2))
    one.mmap(8, 1)
    assert populate(one.machine, one.mm, one.base, 9 * PAGE, ignore) == result
    assert (frame_of(one.machine, one.mm, one.base + 8 * PAGE) is not None) == ignore


def test_populating_nothing_that_is_readable(space):
    one = space()
    one.mmap(0, 1, "---")
    assert populate(one.machine, one.mm, one.base, PAGE, False) == EFAULT


# ---------------------------------------------------------------- the lockless walk


def fast(one, start, pages, flags=0):
    taken = []
    return get_user_pages_fast(one.machine, one.mm, one.base + start * PAGE, pages, flags, taken), taken


def test_the_fast_way_and_the_rest(space):
    one = space()
    one.mmap(0, 4)
    one.write(0, 1)
    with record(one.machine) as rec:
        got, pages = fast(one, 0, 4, FOLL_WRITE)
    assert got == 4 == len(pages) and rec.select(ev.FastWalkEnded)[0].event.taken == 2
    assert rec.at(len(rec)) == one.machine
    assert fast(one, 0, 6)[0] == 4 and fast(one, 4, 1)[0] == EFAULT
    assert fast(one, 0, 0) == (0, []) == fast(one, 0, -1)
    assert fast(one, 600, 1)[0] == EFAULT


@pytest.mark.parametrize("start, got", [((1 << 47) - PAGE, EFAULT), ((1 << 64) - PAGE, EFAULT), ((1 << 64) - 4096, 0)])
def test_addresses_that_are_no_users(space, start, got):
    one = space()
    pages = 2 if got == 0 else 1
    assert get_user_pages_fast(one.machine, one.mm, start, pages, 0, []) == (0 if start + pages * PAGE > 1 << 64 or (
        start + pages * PAGE) > (1 << 64) - 1 else got)
    assert fast_only(one.machine, one.mm, start, pages, False, []) == 0


def test_the_lockless_walk_alone_never_faults(space):
    one = space()
    one.mmap(0, 4)
    one.write(0)
    one.read(1)
    pages = []
    assert fast_only(one.machine, one.mm, one.base, 4, True, pages) == 1 == len(pages)
    assert fast_only(one.machine, one.mm, one.base + PAGE, 1, False, []) == 0, "the zero page is special"
    assert fast_only(one.machine, one.mm, one.base, 0, False, []) == 0
    one.mprotect(0, 4, "---")
    assert fast_only(one.machine, one.mm, one.base, 1, False, []) == 0
    assert vm(one.machine).flags[pages[0]] & PG_referenced
    one.mprotect(0, 4, "r--")
    assert fast_only(one.machine, one.mm, one.base, 1, True, []) == 0
    assert fast_only(one.machine, one.mm, one.base, 1, False, []) == 1


@pytest.mark.parametrize("geometry", ["x86-64", "i386"])
def test_a_page_that_nobody_holds_is_not_taken(space, geometry):
    one = space(mv.boot([("Normal", 0x1000, 0x400)], config=I386 if geometry == "i386" else Config()))
    one.mmap(0, 2)
    one.write(0, 1)
    page = frame_of(one.machine, one.mm, one.base)
    lru_add_drain(one.machine)
    put_page(one.machine, page)
    assert fast_only(one.machine, one.mm, one.base, 2, True, []) == 0


def test_longterm_goes_the_slow_way_with_it(space):
    one = space()
    one.mmap(0, 2)
    assert fast(one, 0, 2, FOLL_WRITE | FOLL_LONGTERM)[0] == 2


# ---------------------------------------------------------------- huge pages


@pytest.fixture
def huge(space):
    """A Space with one huge page at its page 512, written."""
    one = space(mv.boot([("DMA32", 0x1000, 0x4000)], config=Config(transparent_hugepage="always"), grouping=True))
    one.mmap(512, 512)
    one.write(512)
    return one


def test_a_page_of_a_huge_page_is_held_at_its_head(huge):
    head = frame_of(huge.machine, huge.mm, huge.base + 512 * PAGE)
    got, pages = gup(huge, 517, 2, FOLL_WRITE)
    assert got == 2 and pages == [head + 5, head + 6]
    assert page_count(huge.machine, head) == 3 == page_count(huge.machine, head + 6)
    for page in pages:
        put_user_page(huge.machine, page)
    assert fast(huge, 514, 3, FOLL_WRITE) == (3, [head + 2, head + 3, head + 4])
    assert page_count(huge.machine, head) == 4
    huge.mprotect(512, 512, "r--")
    assert fast_only(huge.machine, huge.mm, huge.base + 512 * PAGE, 2, True, []) == 0


def test_a_huge_page_is_one_step_for_who_wants_no_pages(huge):
    with record(huge.machine) as rec:
        assert plain_gup(huge.machine, None, huge.mm, huge.base + 515 * PAGE, 400, FOLL_TOUCH) == 400
    assert len(rec.select(ev.PageFollowed)) == 1
    step = next(s for s in walk(huge.machine, huge.mm, huge.base + 512 * PAGE) if s.level == "pmd")
    pointer = (step.table << 12) + 8 * step.index
    set_pmd(huge.machine, 1, huge.base, pointer, step.entry & ~0x60)
    plain_gup(huge.machine, None, huge.mm, huge.base + 515 * PAGE, 1, FOLL_TOUCH | FOLL_WRITE)
    assert list(walk(huge.machine, huge.mm, huge.base + 512 * PAGE))[-1].entry & 0x60 == 0x60


def test_a_huge_page_is_split_on_demand_and_faulted_for_a_write(huge):
    child = huge.fork(2)
    head = frame_of(huge.machine, child.mm, child.base + 512 * PAGE)
    got, (page,) = gup(child, 513, 1, FOLL_WRITE)
    assert got == 1 and page != head + 1 and frame_of(huge.machine, huge.mm, huge.base + 513 * PAGE) == head + 1
    assert plain_gup(huge.machine, None, huge.mm, huge.base + 513 * PAGE, 1, FOLL_SPLIT, []) == 1
    assert pte_at(huge, 513).level == "pte" and page_mapcount(huge.machine, head + 1) == 1
    huge.mprotect(512, 512, "---")


def test_a_huge_entry_without_rights_needs_a_fault(huge):
    huge.mprotect(512, 512, "---")
    vma = huge.vma(512)
    set_vm_flags(huge.machine, vma.id, 0x73)
    taken = []
    assert plain_gup(huge.machine, None, huge.mm, huge.base + 512 * PAGE, 1, FOLL_MLOCK, taken) == 1 and not taken
    assert plain_gup(huge.machine, None, huge.mm, huge.base + 512 * PAGE, 1, FOLL_FORCE | FOLL_POPULATE, taken) == 1


# ---------------------------------------------------------------- FOLL_LONGTERM and CMA


@pytest.fixture
def with_cma(space):
    """A Space of 64 MiB whose pages that are in use are declared CMA afterwards."""
    def build(pages=2, file=False):
        one = space(mv.boot([("DMA32", 0x1000, 0x4000)], grouping=True))
        ino = shmem_file_setup(one.machine, "f", pages) if file else 0
        one.mmap(0, pages, "rw-", "shared" if file else "private", ino)
        one.write(*range(pages))
        lru_add_drain(one.machine)
        taken = [frame_of(one.machine, one.mm, one.base + i * PAGE) for i in range(pages)]
        for block in {page >> 9 for page in taken}:
            set_pageblock_migratetype(one.machine.zones()[0], block << 9, one.machine.config.migrate_cma)
        one.ino = ino
        return one, taken
    return build


def in_cma(machine, page):
    return get_pageblock_migratetype(machine.zones()[0], page) == machine.config.migrate_cma


@pytest.mark.parametrize("file", [False, True])
def test_pages_of_cma_memory_are_moved_before_they_are_held(with_cma, file):
    one, before = with_cma(file=file)
    with record(one.machine) as rec:
        got, pages = gup(one, 0, 2, FOLL_WRITE | FOLL_LONGTERM)
    assert rec.at(len(rec)) == one.machine
    assert got == 2 and not any(in_cma(one.machine, page) for page in pages)
    assert pages == [frame_of(one.machine, one.mm, one.base + i * PAGE) for i in (0, 1)]
    assert one.read(0) == [100] and one.read(1) == [101]
    lru_add_drain(one.machine)
    assert [page_count(one.machine, page) for page in pages] == [2 + file] * 2
    assert all(page not in one.machine.zones()[0].allocated for page in before), "the old pages are free"
    if file:
        assert list(vm(one.machine).inode[one.ino].pages.values()) == pages
    assert one.machine.current.flags == 0


def test_a_page_that_somebody_else_holds_stays_in_cma(with_cma):
    one, before = with_cma()
    get_page(one.machine, before[0])
    got, pages = gup(one, 0, 2, FOLL_WRITE | FOLL_LONGTERM)
    assert got == 2 and pages[0] == before[0] and not in_cma(one.machine, pages[1])


def test_a_page_that_two_processes_map_moves_for_both(with_cma):
    one, before = with_cma()
    child = one.fork(2)
    child.mmap(100, 1)
    got, pages = gup(one, 0, 1, FOLL_LONGTERM)
    assert got == 1 and pages == [frame_of(one.machine, child.mm, child.base)] != before[:1]
    assert page_mapcount(one.machine, pages[0]) == 2


def test_what_was_let_go_cannot_always_be_had_again(with_cma, monkeypatch):
    one, _ = with_cma()

    def lost(machine, pages, get_new_page):
        one.munmap(0, 2)
        return 0

    monkeypatch.setattr("mmviz.mm.gup_longterm.migrate_pages", lost)
    assert gup(one, 0, 2, FOLL_LONGTERM) == (EFAULT, [])
    assert gup(one, 0, 2, FOLL_LONGTERM)[0] == EFAULT


def test_pages_elsewhere_stay_where_they_are(space):
    one = space()
    one.mmap(0, 2)
    one.write(0, 1)
    assert gup(one, 0, 2, FOLL_LONGTERM) == (2, [frame_of(one.machine, one.mm, one.base + i * PAGE) for i in (0, 1)])
    one.mmap(4, 1)
    assert gup(one, 4, 1, FOLL_LONGTERM) == (1, [vm(one.machine).zero_pfn])


def test_a_page_moves_only_if_there_is_room_and_an_owner(space):
    one = space()
    one.mmap(0, 1)
    one.write(0)
    lru_add_drain(one.machine)
    page, other = frame_of(one.machine, one.mm, one.base), mv.alloc_pages(one.machine, GFP_KERNEL, 0)
    assert migrate_pages(one.machine, [page, other], lambda machine, pfn: None) == 2
    set_page_flag(one.machine, page, PG_dirty)
    assert migrate_pages(one.machine, [page], lambda machine, pfn: mv.alloc_pages(machine, GFP_KERNEL, 0)) == 0
    assert access(one.machine, one.mm, one.base).data == 100
    assert vm(one.machine).flags[frame_of(one.machine, one.mm, one.base)] & PG_dirty


def test_new_pages_of_high_memory_may_be_high(space):
    one = space(mv.boot([("Normal", 0x1000, 0x800), ("HighMem", 0x1800, 0x1000)], config=I386, grouping=True))
    one.mmap(0, 1)
    one.write(0)
    lru_add_drain(one.machine)
    page = frame_of(one.machine, one.mm, one.base)
    zone = one.machine.zone("HighMem")
    assert page >= 0x1800
    set_pageblock_migratetype(zone, page, one.machine.config.migrate_cma)
    got, (moved,) = gup(one, 0, 1, FOLL_LONGTERM)
    assert got == 1 and get_pageblock_migratetype(zone, moved) != one.machine.config.migrate_cma


# ---------------------------------------------------------------- where nothing is mapped


@pytest.mark.parametrize("geometry", ["x86-64", "x86-64 5-level", "i386"])
@pytest.mark.parametrize("beside", [0, 1 << 21, 1 << 30, 1 << 39, 1 << 48])
def test_tables_that_are_missing(space, geometry, beside):
    """At each level in turn: the neighbour that far away has its tables, the page that is asked for has none."""
    config = I386 if geometry == "i386" else Config(geometry=geometry)
    one = space(mv.boot([("Normal", 0x1000, 0x400)], config=config))
    one.mmap(0, 1)
    if one.base + beside < one.mm.task_size and beside:
        one.mmap(beside >> 12, 1)
        one.write(beside >> 12)
    with record(one.machine) as rec:
        assert fast(one, 0, 1, FOLL_WRITE)[0] == 1
    assert rec.select(ev.FastWalkEnded)[0].event.taken == 0 and rec.select(ev.NoPageTable)
    with record(one.machine) as rec:
        assert fast(one, 0, 2, FOLL_WRITE)[0] == 1, "the lockless walk stops at the hole, and the rest fails"
    assert rec.at(len(rec)) == one.machine


def test_a_huge_page_without_a_lock_is_told(huge):
    with record(huge.machine) as rec:
        assert fast(huge, 512, 2, FOLL_WRITE)[0] == 2
        huge.mprotect(512, 512, "r--")
        assert fast(huge, 512, 2, FOLL_WRITE)[0] == EFAULT
    assert [step.event.allowed for step in rec.select(ev.FastEntryChecked)] == [True, False]


def test_flags_that_are_refused_are_told(space):
    one = space()
    with record(one.machine) as rec:
        assert get_user_pages_remote(one.machine, None, one.mm, one.base, 1, FOLL_LONGTERM, []) == EINVAL
        assert populate(one.machine, one.mm, one.base, PAGE, False) == 0
    assert [type(step.event) for step in rec][:2] == [ev.FollFlagsRefused, ev.PopulateBegun]


def test_a_copy_does_not_move_with_the_page(with_cma):
    """After a fork the child has written: its page is another one, and stays where it is."""
    one, before = with_cma()
    child = one.fork(2)
    child.write(0)
    copy = frame_of(one.machine, child.mm, child.base)
    lru_add_drain(one.machine)
    got, (page,) = gup(one, 0, 1, FOLL_LONGTERM)
    assert got == 1 and page != before[0] and frame_of(one.machine, child.mm, child.base) == copy
