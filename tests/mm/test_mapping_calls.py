"""mprotect, mremap, madvise, mlock, fork and ftruncate: what they change, and what a failing call leaves behind."""
import pytest

import mmviz as mv
from mmviz.capture.page_table_state import page_of
from mmviz.kernel import (
    MADV_DOFORK,
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_KEEPONFORK,
    MADV_WILLNEED,
    MADV_WIPEONFORK,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_LOCKED,
    VM_PAT,
    VM_WIPEONFORK,
    Errno,
)
from mmviz.mm import mmap_events as ev
from mmviz.mm.driver import driver_open
from mmviz.mm.mm_types import PG_dirty, PG_mlocked, VmFault
from mmviz.mm.mprotect import do_mprotect_pkey
from mmviz.mm.mremap import mremap
from mmviz.mm.rmap import anon_vma_prepare
from mmviz.mm.shmem import shmem_fault, shmem_file_setup, shmem_setattr, shmem_write
from mmviz.mm.vm import vm
from mmviz.recording import record

BASE, PAGE = 0x100000000, 4096


def page(number):
    return BASE + number * PAGE


def flags_of(s, *pages, mask):
    return [s.vma(number).vm_flags & mask for number in pages]


def with_file(space, pages=64):
    s = space()
    file = shmem_file_setup(s.machine, "ptfile", pages)
    for index in range(pages):
        shmem_write(s.machine, file, index, 0xF1000000 + index)
    return s, file


# ---------------------------------------------------------------- mprotect


def test_mprotect_stops_at_a_hole_and_what_lies_before_it_is_done(space):
    s = space()
    s.mmap(0, 4)
    s.mmap(6, 4)
    assert s.mprotect(2, 6, "r--") == -Errno.ENOMEM
    assert s.vmas() == "0-2 rw- 2-4 r-- 6-10 rw-"
    assert s.mprotect(4, 2, "r--") == s.mprotect(20, 2, "r--") == -Errno.ENOMEM
    assert s.mprotect(2, 40, "r--") == -Errno.ENOMEM


def test_mprotect_over_several_mappings(space):
    s = space()
    s.mmap(0, 4)
    s.mmap(4, 4, "---")
    s.mmap(8, 4, "r-x")
    assert s.mprotect(2, 8, "r--") == 0
    assert s.vmas() == "0-2 rw- 2-4 r-- 4-10 r-- 10-12 r-x"  # the first keeps VM_ACCOUNT
    assert s.mprotect(2, 0, "rwx") == 0
    assert do_mprotect_pkey(s.machine, s.mm, page(2) + 1, PAGE, 0) == -Errno.EINVAL


def test_mprotect_to_what_it_is_changes_nothing(space):
    s = space()
    s.mmap(0, 4)
    before = s.machine.copy()
    assert s.mprotect(1, 2, "rw-") == 0 and s.machine == before


def test_a_private_mapping_that_becomes_writable_must_be_promised(space):
    s = space()
    s.mmap(0, 5000, "r--")
    assert s.mprotect(0, 5000, "rw-") == -Errno.ENOMEM
    assert s.mprotect(0, 4000, "rw-") == 0
    assert flags_of(s, 0, 4000, mask=VM_ACCOUNT) == [VM_ACCOUNT, 0]


def test_a_locked_mapping_that_becomes_writable_gets_its_copies_at_once(space):
    s = space()
    s.mmap(0, 4, "r--")
    s.mlock(0, 4)
    assert s.mm.rss(1) == 0
    s.mprotect(0, 4, "rw-")
    assert s.mm.rss(1) == 4


# ---------------------------------------------------------------- mremap


def test_a_move_takes_pages_and_offset_along(space):
    s = space()
    s.mmap(0, 8)
    s.write(0, 7)
    offset = s.vma(0).vm_pgoff
    assert s.mremap(0, 8, 8, 100) == 100
    assert (s.vmas(), s.vma(100).vm_pgoff) == ("100-108 rw-a", offset)
    assert s.read(0, 100, 107) == ["SIGSEGV", 100, 107]


def test_untouched_memory_takes_the_offset_of_its_new_place_and_merges_there(space):
    s = space()
    s.mmap(0, 4)
    s.mmap(100, 4)
    s.mremap(0, 4, 4, 104)
    assert s.vmas() == "100-108 rw-"
    s.mremap(100, 2, 2, 108)  # it merges with itself
    assert (s.vmas(), s.mm.total_vm) == ("102-110 rw-", 8)


def test_a_part_moves_and_the_rest_stays_promised(space):
    s = space()
    s.mmap(0, 8)
    s.write(*range(8))
    assert s.mremap(2, 2, 2, 20) == 20
    assert s.vmas() == "0-2 rw-a 4-8 rw-a 20-22 rw-a"
    assert s.mremap(0, 1, 3, 30) == 30
    assert flags_of(s, 1, 4, 20, 30, mask=VM_ACCOUNT) == [VM_ACCOUNT] * 4
    assert (s.mm.total_vm, s.mm.data_vm) == (10, 10)
    assert s.read(1, 4, 20, 21, 30, 31) == [101, 104, 102, 103, 100, 0]


def test_a_mapping_grows_where_it_is_if_nothing_is_in_the_way(space):
    s = space()
    s.mmap(0, 4)
    s.mmap(8, 4)
    assert s.mremap(0, 4, 8) == 0
    assert s.vmas() == "0-8 rw- 8-12 rw-"  # it does not merge
    assert s.mremap(0, 8, 9) == -Errno.ENOMEM
    assert s.mremap(0, 4, 9) == -Errno.ENOMEM  # that is not its end
    assert s.mremap(8, 4, 1 << 40) == -Errno.ENOMEM


def test_a_locked_mapping_grows_with_its_pages(space):
    s = space()
    s.mmap(0, 4)
    s.mlock(0, 4)
    assert s.mremap(0, 4, 6) == 0 and s.mremap(0, 6, 8, 20) == 20
    assert (s.mm.locked_vm, s.mm.rss(1), flags_of(s, 20, mask=VM_LOCKED)) == (8, 8, [VM_LOCKED])


def test_shrinking_unmaps_the_tail(space):
    s = space()
    s.mmap(0, 8)
    assert s.mremap(0, 8, 2) == 0 and s.mremap(0, 2, 2) == 0
    assert s.vmas() == "0-2 rw-"
    assert s.mremap(20, 4, 4) == 20  # nothing there: nothing is looked at
    s.mmap(10, 8)
    assert s.mremap(10, 8, 3, 30) == 30
    assert s.vmas() == "0-2 rw- 30-33 rw-"


def test_an_old_length_of_zero_duplicates_what_is_shared(space):
    s, file = with_file(space)
    s.mmap(0, 4, sharing="shared", file=file)
    assert s.mremap(0, 0, 4, 8) == 8
    assert s.vmas() == "0-4 rw-s 8-12 rw-s"
    assert vm(s.machine).inode[file].f_count == 3
    s.mmap(20, 4)
    assert s.mremap(20, 0, 4, 30) == -Errno.EINVAL


def test_a_move_that_fails_has_already_unmapped(space):
    s = space()
    s.mmap(0, 4)
    s.mmap(8, 8)
    s.mmap(20, 4)
    assert s.mremap(2, 8, 4, 20) == -Errno.EFAULT  # over the hole
    assert s.vmas() == "0-4 rw- 10-16 rw-"
    assert s.mremap(40, 1, 1, 10) == -Errno.EFAULT
    assert s.vmas() == "0-4 rw- 11-16 rw-"


def test_a_tail_beyond_user_space_is_refused_after_the_new_place_was_unmapped(space):
    s = space()
    s.mmap(0, 4)
    assert mremap(s.machine, s.mm, s.mm.task_size - PAGE, 4 * PAGE, 2 * PAGE, MREMAP_FIXED | MREMAP_MAYMOVE, page(1)
                  ) == -Errno.EINVAL
    assert s.vmas() == "0-1 rw- 3-4 rw-"


def test_places_that_make_no_sense(space):
    s = space()
    s.mmap(0, 8)
    before = s.machine.copy()

    def ask(addr, old, new, flags=MREMAP_FIXED | MREMAP_MAYMOVE, new_addr=BASE + 100 * PAGE):
        return mremap(s.machine, s.mm, addr, old, new, flags, new_addr)
    assert [ask(page(0), 8 * PAGE, 8 * PAGE, new_addr=page(4)), ask(page(0) + 1, PAGE, PAGE), ask(page(0), PAGE, 0),
            ask(page(0), PAGE, PAGE, MREMAP_FIXED), ask(page(0), PAGE, PAGE, new_addr=page(100) + 1),
            ask(page(0), PAGE, PAGE, new_addr=s.mm.task_size), ask(page(0), PAGE, s.mm.task_size + PAGE)
            ] == [-Errno.EINVAL] * 7
    with pytest.raises(ValueError, match="no free place"):
        ask(page(0), PAGE, PAGE, MREMAP_MAYMOVE)
    assert s.machine == before


def test_growth_must_be_promised(space):
    s = space()
    s.mmap(0, 4)
    assert s.mremap(0, 4, 5000) == s.mremap(0, 4, 5000, 10000) == -Errno.ENOMEM


def test_the_mapping_of_a_driver_moves_and_does_not_grow(space):
    s = space()
    s.mmap(0, 4, "rw-", "shared", driver_open(s.machine))
    s.write(1)
    assert s.mremap(0, 4, 5) == -Errno.EFAULT
    assert s.mremap(0, 2, 2, 10) == 10
    assert flags_of(s, 2, 10, mask=VM_PAT) == [0, VM_PAT]
    assert s.read(11) == [101]


def test_a_move_without_a_page_for_its_table_leaves_all_as_it_was(space):
    s = space(mv.boot([("DMA32", 0x1000, 0x400)], watermarks=(0, 0, 0)))
    s.mmap(0, 1024)
    s.write(0, 511, 512, 1023)
    with_spare_pages(s.machine, 3)  # the new place needs five tables, or four
    assert s.mremap(0, 1024, 1024, 1 << 20 | 256) == -Errno.ENOMEM
    assert s.vmas() == "0-1024 rw-a" and s.mm.total_vm == 1024
    assert s.read(0, 511, 512, 1023) == [100, 611, 612, 1123]
    assert s.vma(0).vm_flags & VM_ACCOUNT


# ---------------------------------------------------------------- madvise


def test_dontneed_empties_and_keeps_the_mapping(space):
    s, file = with_file(space)
    s.mmap(0, 4)
    s.mmap(4, 4, file=file)
    s.mmap(8, 4, sharing="shared", file=file, pgoff=8)
    s.write(0, 4, 8)
    assert s.madvise(0, 12, MADV_DONTNEED) == 0
    assert s.read(0, 4, 8) == [0, 0xF1000000, 108]


def test_advice_passes_holes_over_and_tells_of_them_at_the_end(space):
    s = space()
    s.mmap(2, 2)
    s.mmap(6, 2)
    s.write(2, 3, 6)
    assert s.madvise(0, 10, MADV_DONTNEED) == -Errno.ENOMEM
    assert s.read(2, 3, 6) == [0, 0, 0]
    assert s.madvise(4, 2, MADV_DONTNEED) == s.madvise(20, 2, MADV_WILLNEED) == -Errno.ENOMEM
    assert s.madvise(2, 0, MADV_DONTNEED) == s.madvise(2, 2, MADV_WILLNEED) == 0


def test_advice_that_does_not_fit(space):
    s = space()
    s.mmap(0, 2)
    s.mmap(2, 2, sharing="shared")
    s.mmap(4, 4, "rw-", "shared", driver_open(s.machine))
    s.mlock(0, 1)
    assert s.madvise(0, 2, MADV_DONTNEED) == s.madvise(4, 4, MADV_DONTNEED) == -Errno.EINVAL
    assert s.madvise(2, 2, MADV_WIPEONFORK) == s.madvise(4, 4, MADV_DOFORK) == s.madvise(0, 1, 99) == -Errno.EINVAL
    assert s.madvise(1, 4, MADV_WIPEONFORK) == -Errno.EINVAL  # what lies before is done
    assert flags_of(s, 0, 1, mask=VM_WIPEONFORK) == [0, VM_WIPEONFORK]


def test_flags_split_and_merge_again(space):
    s = space()
    s.mmap(0, 8)
    assert s.madvise(2, 2, MADV_DONTFORK) == s.madvise(2, 2, MADV_DONTFORK) == 0
    assert flags_of(s, 0, 2, 4, mask=VM_DONTCOPY) == [0, VM_DONTCOPY, 0]
    s.madvise(0, 8, MADV_DOFORK)
    s.madvise(0, 8, MADV_WIPEONFORK)
    s.madvise(0, 8, MADV_KEEPONFORK)
    assert s.vmas() == "0-8 rw-"


# ---------------------------------------------------------------- mlock


def mlocked(s):
    return sum(bool(flags & PG_mlocked) for flags in vm(s.machine).flags.values())


def test_mlock_splits_populates_and_merges(space):
    s = space()
    s.mmap(0, 8)
    assert s.mlock(2, 2) == 0
    assert (s.vmas(), s.mm.locked_vm, s.mm.rss(1), mlocked(s)) == ("0-2 rw- 2-4 rw-a 4-8 rw-", 2, 2, 2)
    assert s.mlock(0, 8) == s.mlock(0, 0) == 0
    assert (s.mm.locked_vm, s.mm.rss(1), s.mm.map_count) == (8, 8, 1)
    assert s.munlock(0, 8) == 0
    assert (s.mm.locked_vm, mlocked(s), s.mm.rss(1)) == (0, 0, 8)


def test_the_zero_page_is_not_locked(space):
    s = space()
    s.mmap(0, 2, "r--")
    assert s.mlock(0, 2) == s.munlock(0, 2) == 0
    assert mlocked(s) == 0 and s.read(0, 1) == [0, 0]


def test_mlock_stops_at_a_hole(space):
    s = space()
    s.mmap(0, 2)
    s.mmap(4, 2)
    assert s.mlock(0, 6) == s.mlock(1, 3) == s.mlock(2, 1) == s.mlock(9, 1) == -Errno.ENOMEM
    assert (s.mm.locked_vm, s.mm.rss(1)) == (2, 0)  # locked as far as the hole, and not populated
    with record(s.machine) as rec:
        assert s.munlock(0, 6) == s.munlock(2, 1) == -Errno.ENOMEM
    assert [step.event.call for step in rec.select(ev.CallRefused)] == ["munlock", "munlock"]
    assert s.mm.locked_vm == 0


def test_mlock_of_what_may_not_be_touched_locks_and_fails(space):
    s = space()
    s.mmap(0, 2, "---")
    assert s.mlock(0, 2) == -Errno.ENOMEM
    assert flags_of(s, 0, mask=VM_LOCKED) == [VM_LOCKED]


def test_mlock_without_memory(space):
    s = space(mv.boot([("DMA32", 0x1000, 0x40)]))
    s.mmap(0, 64)
    assert s.mlock(0, 64) == -Errno.EAGAIN


def test_mlock_passes_drivers_over(space):
    s = space()
    s.mmap(0, 4, "rw-", "shared", driver_open(s.machine))
    assert s.mlock(0, 4) == 0 and s.mm.locked_vm == 0


def test_unmapping_and_exit_unlock(space):
    s = space()
    s.mmap(0, 4)
    s.mlock(0, 4)
    s.munmap(0, 1)
    assert s.mm.locked_vm == 3
    s.exit()
    assert not vm(s.machine).flags and not s.machine.zones()[0].allocated


# ---------------------------------------------------------------- fork


def test_what_a_child_gets(space):
    s = space()
    s.mmap(0, 2)
    s.mmap(4, 2)
    s.mmap(8, 2)
    s.write(0, 4, 8)
    s.madvise(4, 2, MADV_DONTFORK)
    s.madvise(8, 2, MADV_WIPEONFORK)
    s.mlock(0, 2)
    with record(s.machine) as recording:
        child = s.fork(2)
    assert [step.event.how for step in recording.select(ev.MappingForked)] == ["copied", "left out", "wiped"]
    assert child.vmas() == "0-2 rw-a 8-10 rw-b"
    assert child.read(0, 4, 8) == [100, "SIGSEGV", 0]
    assert (child.mm.total_vm, child.mm.locked_vm, flags_of(child, 0, mask=VM_LOCKED)) == (4, 0, [0])
    assert recording.at(len(recording)) != s.machine  # it has gone on since


def test_a_fork_that_is_refused_leaves_nothing(space):
    s = space()
    s.mmap(0, 3000)
    s.mmap(3000, 1500)
    assert s.mm.map_count == 1
    before = set(s.machine.zones()[0].allocated)
    assert mv.mm.fork.dup_mm(s.machine, s.mm, 2, "p2") is None
    assert set(vm(s.machine).mm) == {0, 1} and set(s.machine.zones()[0].allocated) == before


def with_spare_pages(machine, spare):
    """Take all pages of a machine but `spare`."""
    held = []
    while (pfn := mv.alloc_pages(machine, mv.GFP_KERNEL, 0)) is not None:
        held.append(pfn)
    for _ in range(spare):
        mv.__free_pages(machine, held.pop(), 0)
    mv.drain_all_pages(machine)


@pytest.mark.parametrize("spare", range(7))
def test_a_fork_without_memory_leaves_nothing(space, spare):
    """The child needs six tables: two of each level but the top ones."""
    s = space(mv.boot([("DMA32", 0x1000, 0x40)], watermarks=(0, 0, 0)))
    s.mmap(0, 2)
    s.mmap(1 << 18, 2)
    s.write(0, 1, 1 << 18)
    with_spare_pages(s.machine, spare)
    before = set(s.machine.zones()[0].allocated)
    child = mv.mm.fork.dup_mm(s.machine, s.mm, 2, "p2")
    assert (child is not None) == (spare == 6)
    if child:
        mv.mm.fork.mmput(s.machine, child)
    assert set(vm(s.machine).mm) == {0, 1} and set(s.machine.zones()[0].allocated) == before


def chains(s):
    return {(v.vm_start - BASE) // PAGE: (v.anon_vma, v.anon_vma_chain) for v in s.mm.mmap}


def test_a_child_gets_an_anon_vma_of_its_own_and_a_link_to_the_parents(space):
    s = space()
    s.mmap(0, 2)
    s.mmap(4, 2)
    s.write(0)
    child = s.fork(2)
    grandchild = child.fork(3)
    assert [chains(each)[0] for each in (s, child, grandchild)] == [(1, [1]), (2, [2, 1]), (3, [3, 2, 1])]
    assert chains(child)[4] == (0, [])
    assert [(a.root, a.parent, a.degree, a.rb_root) for a in vm(s.machine).anon_vma.values()] == [
        (1, 1, 3, 3), (1, 1, 2, 2), (1, 2, 1, 1)]
    child.exit()
    assert [(number, a.degree, a.rb_root) for number, a in vm(s.machine).anon_vma.items()] == [(1, 3, 2), (2, 1, 1),
                                                                                               (3, 1, 1)]
    again = grandchild.fork(4)
    assert chains(again)[0] == (2, [3, 2, 1])  # nobody uses 2, which has one child: taken again
    again.exit()
    with record(s.machine) as recording:
        again = grandchild.fork(5)
    assert [step.event.anon_vma for step in recording.select(ev.AnonVmaReused)] == [2]
    grandchild.exit()
    again.exit()
    assert [(a.degree, a.rb_root) for a in vm(s.machine).anon_vma.values()] == [(2, 1)]


def test_who_has_been_through_a_fork_does_not_lend_its_anon_vma(space):
    s = space()
    s.mmap(0, 2)
    s.write(0)
    child = s.fork(2)
    child.mmap(2, 2, "r--")
    child.mprotect(2, 2, "rw-")
    assert child.vmas() == "0-2 rw-a 2-4 rw-"
    child.write(2)
    assert child.vmas() == "0-2 rw-a 2-4 rw-b"
    s.mmap(2, 2, "r-x")
    s.mprotect(2, 2, "rwx")
    s.write(2)
    assert s.vmas() == "0-2 rw-a 2-4 rwxa"  # the parent's has one link still


@pytest.mark.parametrize("side", [0, 2])
def test_a_wiped_mapping_looks_at_the_parents_neighbours(space, side):
    """v5.4 duplicates vm_next and vm_prev, too: the child may use the parent's anon_vma."""
    s = space()
    s.mmap(0, 4)
    s.madvise(0, 4, MADV_WIPEONFORK)
    s.mprotect(side, 2, "r-x")
    s.write(2 - side)
    child = s.fork(2)
    assert [v.anon_vma for v in child.mm.mmap].count(1) == 1


def test_anon_vma_prepare_takes_the_upper_neighbours_first(space):
    s = space()
    s.mmap(0, 2)
    s.mmap(2, 2, "r--")
    s.mmap(4, 2, "rw-")
    s.mprotect(2, 2, "r-x")  # all as promised: only the rights differ
    for vma in s.mm.mmap:
        vma.vm_flags |= VM_ACCOUNT
    s.write(0, 4)
    anon_vma_prepare(s.machine, s.vma(2))
    assert s.vma(2).anon_vma == s.vma(4).anon_vma != s.vma(0).anon_vma
    assert anon_vma_prepare(s.machine, s.vma(2)) == 0


# ---------------------------------------------------------------- files in memory


def test_shared_memory_is_shared_with_children_and_ends_where_it_was_made_to(space):
    s = space()
    s.mmap(0, 4, sharing="shared")
    s.write(0)
    child = s.fork(2)
    child.write(1)
    assert (s.read(0, 1), child.read(0)) == ([100, 101], [100])
    assert s.mremap(0, 4, 6) == 0
    assert s.read(3, 4) == [0, "SIGBUS"]
    assert len(vm(s.machine).inode) == 1
    s.exit()
    child.exit()
    assert not vm(s.machine).inode and not s.machine.zones()[0].allocated


def test_a_shorter_file_takes_its_pages_and_their_copies_out_of_all_tables(space):
    s, file = with_file(space)
    s.mmap(0, 8, sharing="shared", file=file)
    s.mmap(8, 8, file=file)
    s.write(2, 5, 10, 13)
    child = s.fork(2)
    before = len(vm(s.machine).inode[file].pages)
    assert shmem_setattr(s.machine, file, 4) == 0
    assert (before, len(vm(s.machine).inode[file].pages)) == (64, 4)
    for each in (s, child):
        assert each.read(2, 5, 10, 13) == [102, "SIGBUS", 110, "SIGBUS"]
    assert shmem_setattr(s.machine, file, 8) == 0
    assert s.read(5, 13) == [0, 0]
    assert len(vm(s.machine).inode[file].pages) == 5
    with pytest.raises(ValueError, match="got -1"):
        shmem_setattr(s.machine, file, -1)


def test_a_page_that_somebody_holds_outlives_its_file(space):
    s, file = with_file(space, 2)
    s.mmap(0, 2, file=file)
    pfn = vm(s.machine).inode[file].pages[1]
    mv.mm.swap.get_page(s.machine, pfn)
    assert vm(s.machine).flags[pfn] & PG_dirty
    shmem_setattr(s.machine, file, 0)
    assert not vm(s.machine).flags[pfn] & PG_dirty
    mv.mm.swap.lru_add_drain(s.machine)
    kept = page_of(s.machine, 0, pfn)
    assert (kept.kind, kept.pgoff, kept.refs, kept.mapcount) == ("none", 1, 1, 0), "page->index stays, mapping is NULL"
    mv.mm.swap.put_page(s.machine, pfn)
    assert pfn not in vm(s.machine).mapping


def test_writing_to_a_file(space):
    s, file = with_file(space, 2)
    assert shmem_write(s.machine, file, 1, 7) == 0
    assert shmem_write(s.machine, file, 2, 7) == -Errno.EINVAL
    s.mmap(0, 2, file=file)
    assert s.read(0, 1) == [0xF1000000, 7]


def test_a_file_larger_than_memory_is_refused(space):
    assert shmem_file_setup(space().machine, "ptfile", 5000) == -Errno.ENOMEM


def test_a_file_without_memory(space):
    s = space(mv.boot([("DMA32", 0x1000, 0x40)]))
    file = shmem_file_setup(s.machine, "ptfile", 64)
    while mv.alloc_pages(s.machine, mv.GFP_KERNEL, 0) is not None:
        pass
    s.mmap(0, 64, file=file)
    assert shmem_write(s.machine, file, 0, 7) == -Errno.ENOMEM
    assert shmem_fault(s.machine, VmFault(s.vma(0), page(0), 0)) == mv.kernel.VM_FAULT_OOM
    assert shmem_fault(s.machine, VmFault(s.vma(0), page(0), 0, pgoff=64)) == mv.kernel.VM_FAULT_SIGBUS


def test_a_read_fault_maps_the_neighbours_that_are_in_memory(space):
    s, file = with_file(space, 20)
    shmem_setattr(s.machine, file, 3)
    shmem_setattr(s.machine, file, 20)
    shmem_write(s.machine, file, 6, 7)
    s.mmap(0, 20, file=file)
    s.write(1)
    with record(s.machine) as recording:
        assert s.read(5) == [0]
    [around] = [step.event for step in recording.select(ev.PagesMappedAround)]
    assert (around.start_pgoff, around.end_pgoff) == (0, 15)
    around = [number for number in range(20) if mv.mm.pgtable.frame_of(s.machine, s.mm, page(number)) is not None]
    assert around == [0, 1, 2, 5, 6]
    assert s.mm.rss(3) == 4  # the copy of page 1 is anonymous
