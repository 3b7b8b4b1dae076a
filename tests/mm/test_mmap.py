"""Mappings: found, made, merged in the eight ways that the kernel knows, split, and unmapped."""
import dataclasses

import pytest

import mmviz as mv
from mmviz.kernel import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    PROT_EXEC,
    VM_ACCOUNT,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_MAYEXEC,
    VM_NORESERVE,
    Config,
    Errno,
)
from mmviz.mm import mmap_events as ev
from mmviz.mm.driver import driver_open
from mmviz.mm.file_table import fput
from mmviz.mm.find_vma import RLIMIT_STACK, expand_downwards, find_extend_vma, find_vma, find_vma_prev, mmap_min_addr
from mmviz.mm.machine import Mempolicy
from mmviz.mm.mmap import do_mmap
from mmviz.mm.shmem import shmem_file_setup
from mmviz.mm.util import vm_mmap_pgoff
from mmviz.mm.vm import set_vm_flags, vm
from mmviz.mm.vma_merge import is_mergeable_anon_vma
from mmviz.recording import record

BASE, PAGE = 0x100000000, 4096
ANON = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS


def page(number):
    return BASE + number * PAGE


# ---------------------------------------------------------------- find


def test_find_vma_gives_the_first_that_ends_above(space):
    s = space()
    s.mmap(2, 2)
    s.mmap(6, 2, "r--")
    found = [find_vma(s.machine, s.mm, page(number)) for number in (0, 2, 3, 4, 7, 8)]
    assert [vma and (vma.vm_start - BASE) // PAGE for vma in found] == [2, 2, 2, 6, 6, None]


def test_without_an_mmu_find_vma_gives_what_contains_the_address(space):
    s = space(mv.boot([("DMA32", 0x1000, 0x1000)], config=Config(mmu=False)))
    s.mmap(2, 2)
    assert [bool(find_vma(s.machine, s.mm, page(number))) for number in (0, 2, 3, 4)] == [False, True, True, False]


def test_find_vma_prev_gives_the_last_one_where_nothing_is_above(space):
    s = space()
    assert find_vma_prev(s.machine, s.mm, page(0)) == (None, None)
    s.mmap(2, 2)
    s.mmap(6, 2)
    low, high = s.mm.mmap
    assert find_vma_prev(s.machine, s.mm, page(0)) == (low, None)
    assert find_vma_prev(s.machine, s.mm, page(4)) == (high, low)
    assert find_vma_prev(s.machine, s.mm, page(8)) == (None, high)


def with_stack(space, flags=0):
    s = space()
    s.mmap(1000, 2)
    set_vm_flags(s.machine, s.vma(1000).id, s.vma(1000).vm_flags | VM_GROWSDOWN | flags)
    return s


def test_find_extend_vma_lets_a_stack_grow_and_nothing_else(space):
    s = with_stack(space)
    s.mmap(0, 1)
    s.mmap(1500, 1)
    stack = s.vma(1000)
    assert find_extend_vma(s.machine, s.mm, page(1001) + 5) is stack
    assert find_extend_vma(s.machine, s.mm, page(990) + 5) is stack and stack.vm_start == page(990)
    assert (stack.vm_pgoff, stack.anon_vma != 0, s.mm.stack_vm) == (page(990) >> 12, True, 10)
    assert find_extend_vma(s.machine, s.mm, page(1400)) is None  # above lies a mapping that does not grow
    assert find_extend_vma(s.machine, s.mm, page(1600)) is None
    assert find_extend_vma(s.machine, s.mm, page(100)) is None  # nearer than 256 pages to the mapping below
    assert find_extend_vma(s.machine, s.mm, page(257)) is stack


def test_a_locked_stack_counts_what_it_grows_by(space):
    s = with_stack(space, VM_LOCKED)
    assert expand_downwards(s.machine, s.vma(1000), page(995)) == 0
    assert s.mm.locked_vm == 5


def test_a_stack_does_not_grow_without_end(space):
    s = with_stack(space)
    stack = s.vma(1000)
    assert expand_downwards(s.machine, stack, mmap_min_addr - PAGE) == -Errno.EPERM
    assert expand_downwards(s.machine, stack, stack.vm_end - RLIMIT_STACK - PAGE) == -Errno.ENOMEM
    assert expand_downwards(s.machine, stack, stack.vm_end - RLIMIT_STACK) == 0


def test_more_stack_than_memory_is_refused(space):
    s = space(mv.boot([("DMA32", 0x1000, 0x400)]))
    s.mmap(2000, 2)
    set_vm_flags(s.machine, s.vma(2000).id, s.vma(2000).vm_flags | VM_GROWSDOWN)
    assert expand_downwards(s.machine, s.vma(2000), page(900)) == -Errno.ENOMEM


# ---------------------------------------------------------------- mmap


@pytest.mark.parametrize("prot, sharing, kind, flags, bits", [
    ("rw-", "private", "anon", 0x100073, 0x8000000000000025),
    ("r--", "private", "anon", 0x71, 0x8000000000000025),
    ("r-x", "private", "anon", 0x75, 0x25),
    ("---", "private", "anon", 0x70, 0x120),
    ("rw-", "shared", "anon", 0xFB, 0x8000000000000027),
    ("rwx", "shared", "file", 0xFF, 0x27),
    ("-w-", "private", "file", 0x100072, 0x8000000000000025),
    ("r--", "shared", "file", 0xF9, 0x8000000000000025),
    ("rw-", "shared", "driver", 0x50444BB, 0x8000000000000027),
    ("r--", "shared", "driver", 0x50444B9, 0x8000000000000025),
    ("rw-", "private", "driver", 0x5144433, 0x8000000000000025),
])
def test_flags_and_bits_are_those_of_the_captures(space, prot, sharing, kind, flags, bits):
    s = space()
    file = {"anon": 0, "file": shmem_file_setup(s.machine, "ptfile", 64), "driver": driver_open(s.machine)}[kind]
    assert s.mmap(0, 4, prot, sharing, file) == 0
    assert (s.vma(0).vm_flags, s.vma(0).vm_page_prot) == (flags, bits)


def test_offsets(space):
    s = space()
    file = shmem_file_setup(s.machine, "ptfile", 64)
    s.mmap(0, 1, file=file, pgoff=9)
    s.mmap(2, 1, sharing="shared", pgoff=9)
    s.mmap(4, 1, pgoff=9)
    assert [vma.vm_pgoff for vma in s.mm.mmap] == [9, 0, page(4) >> 12]


def test_what_cannot_be_is_refused(space):
    s = space()
    driver = driver_open(s.machine)
    before = s.machine.copy()

    def ask(file, addr, length, prot=0, flags=ANON):
        return do_mmap(s.machine, s.mm, file, addr, length, prot, flags, 0)
    assert ask(0, BASE, 0) == -Errno.EINVAL
    assert ask(0, BASE + 1, PAGE) == -Errno.EINVAL
    assert ask(0, s.mm.task_size, PAGE) == -Errno.ENOMEM
    assert ask(0, 0, s.mm.task_size + PAGE) == -Errno.ENOMEM
    assert ask(driver, BASE, PAGE, PROT_EXEC, MAP_FIXED | MAP_PRIVATE) == -Errno.EPERM
    assert s.machine == before


@pytest.mark.parametrize("file, flags", [(0, ANON & ~MAP_FIXED), (0, MAP_FIXED | MAP_ANONYMOUS), (7, ANON),
                                         (0, MAP_FIXED | MAP_PRIVATE)])
def test_misuse_is_told(space, file, flags):
    s = space()
    with pytest.raises(ValueError, match="must"):
        do_mmap(s.machine, s.mm, file, BASE, PAGE, 0, flags, 0)


def test_more_than_the_machine_has_is_refused_and_the_place_is_empty_then(space):
    s = space()
    s.mmap(0, 4)
    assert s.mmap(0, 5000) == s.mmap(0, 5000, "rw-", "shared") == -Errno.ENOMEM
    assert s.mmap(0, 5000, "r--") == 0  # read-only: nothing is promised
    assert s.mmap(0, 5000, flags=MAP_NORESERVE) == 0
    assert s.vma(0).vm_flags & (VM_ACCOUNT | VM_NORESERVE) == VM_NORESERVE


def test_a_driver_that_refuses_leaves_the_place_empty(space):
    s = space()
    driver = driver_open(s.machine)
    s.mmap(0, 8)
    s.write(0, 7)
    assert s.mmap(0, 6, "rw-", "private", driver) == -Errno.EINVAL
    assert s.vmas() == "6-8 rw-a"
    assert vm(s.machine).inode[driver].f_count == 1


def test_a_driver_may_not_be_made_executable(space):
    s = space()
    s.mmap(0, 4, "rw-", "shared", driver_open(s.machine))
    assert not s.vma(0).vm_flags & VM_MAYEXEC
    assert s.mprotect(0, 4, "r-x") == -Errno.EACCES


def test_populate_and_lock_bring_the_pages_in(space):
    s = space()
    s.mmap(0, 4, flags=MAP_POPULATE)
    s.mmap(8, 4, flags=MAP_LOCKED)
    assert s.mm.rss(1) == 8
    assert (s.vma(8).vm_flags & VM_LOCKED, s.mm.locked_vm) == (VM_LOCKED, 4)


def test_a_locked_mapping_of_a_driver_is_not_locked(space):
    s = space()
    s.mmap(0, 4, "rw-", "shared", driver_open(s.machine), flags=MAP_LOCKED)
    assert (s.vma(0).vm_flags & VM_LOCKED, s.mm.locked_vm) == (0, 0)


def test_counters(space):
    s = space()
    s.mmap(0, 4)
    s.mmap(4, 2, "r-x")
    s.mmap(6, 1, "rw-", "shared")
    s.mprotect(0, 1, "r--")
    assert (s.mm.total_vm, s.mm.data_vm, s.mm.exec_vm, s.mm.map_count) == (7, 3, 2, 4)
    s.munmap(0, 2)
    assert (s.mm.total_vm, s.mm.data_vm, s.mm.exec_vm, s.mm.map_count) == (5, 2, 2, 3)


# ---------------------------------------------------------------- merge: the eight cases, one by one


def cases(recording):
    return [step.event.case for step in recording.select(ev.VmaMerged)]


MERGES = {  # case -> mappings before, the call, mappings after
    1: ([("mmap", 0, 4), ("mmap", 8, 4)], ("mmap", 4, 4), "0-12 rw-"),
    2: ([("mmap", 0, 4), ("mmap", 8, 4, "r--")], ("mmap", 4, 4), "0-8 rw- 8-12 r--"),
    3: ([("mmap", 0, 4, "r--"), ("mmap", 8, 4)], ("mmap", 4, 4), "0-4 r-- 4-12 rw-"),
    4: ([("mmap", 0, 12), ("mprotect", 6, 6, "r--")], ("mprotect", 2, 4, "r--"), "0-2 rw- 2-12 r--"),
    5: ([("mmap", 0, 6), ("mmap", 6, 6, "r--")], ("mprotect", 6, 4, "rw-"), "0-10 rw- 10-12 r--"),
    6: ([("mmap", 0, 4), ("mmap", 4, 4, "r--"), ("mmap", 8, 4)], ("mprotect", 4, 4, "rw-"), "0-12 rw-"),
    7: ([("mmap", 0, 4), ("mmap", 4, 4, "r--"), ("mmap", 8, 4, "---")], ("mprotect", 4, 4, "rw-"), "0-8 rw- 8-12 ---"),
    8: ([("mmap", 0, 4, "---"), ("mmap", 4, 4, "r--"), ("mmap", 8, 4)], ("mprotect", 4, 4, "rw-"), "0-4 --- 4-12 rw-"),
}


@pytest.mark.parametrize("case", MERGES)
def test_the_eight_cases(space, case):
    s = space()
    before, (call, *arguments), after = MERGES[case]
    for name, *rest in before:
        getattr(s, name)(*rest)
    with record(s.machine) as recording:
        getattr(s, call)(*arguments)
    assert cases(recording) == [case]
    assert s.vmas() == after
    assert [vma.vm_pgoff for vma in s.mm.mmap] == [vma.vm_start >> 12 for vma in s.mm.mmap]
    assert recording.at(len(recording)) == s.machine


@pytest.mark.parametrize("case", [4, 5, 6, 7, 8])
@pytest.mark.parametrize("touched", [0, 5, 8])
def test_who_grows_over_touched_pages_takes_their_anon_vma(space, case, touched):
    """All mappings begin as one, and are touched as one, so that they share an anon_vma."""
    s = space()
    before, (_, start, pages, prot), after = MERGES[case]
    s.mmap(0, 12)
    s.write(touched)
    for _, first, length, *rights in before:
        s.mprotect(first, length, rights[0] if rights else "rw-")
    s.mprotect(start, pages, prot)
    assert s.vmas() == " ".join(word + "a" if word[0] in "r-" else word for word in after.split())
    assert s.read(touched) == [100 + touched if s.vma(touched).vm_flags & 1 else "SIGSEGV"]
    anon = vm(s.machine).anon_vma[s.vma(0).anon_vma]
    assert (anon.rb_root, anon.degree) == (s.mm.map_count, s.mm.map_count + 1)


@pytest.mark.parametrize("case, touched", [(4, 3), (5, 9), (6, 5), (7, 5), (8, 5)])
def test_a_range_with_pages_does_not_go_to_a_neighbour_that_never_had_any(space, case, touched):
    """is_mergeable_anon_vma asks for a chain of exactly one link: an empty one is refused, too."""
    s = space()
    before, (call, *arguments), _ = MERGES[case]
    for name, *rest in before:
        getattr(s, name)(*rest)
    vma = s.vma(touched)
    set_vm_flags(s.machine, vma.id, vma.vm_flags | 2)
    s.write(touched)
    set_vm_flags(s.machine, vma.id, vma.vm_flags & ~(0 if case == 4 else 2))
    with record(s.machine) as recording:
        getattr(s, call)(*arguments)
    assert cases(recording) == [0]


def test_a_hole_takes_the_anon_vma_of_either_side_but_does_not_join_two(space):
    s = space()
    s.mmap(0, 4)
    s.write(0)
    s.mmap(8, 4)
    s.write(8)
    assert s.vmas() == "0-4 rw-a 8-12 rw-b"
    s.mmap(4, 4)
    assert s.vmas() == "0-8 rw-a 8-12 rw-b"
    s.munmap(0, 8)
    s.mmap(4, 4)
    assert s.vmas() == "4-12 rw-a"


def test_who_grows_over_a_hole_takes_the_anon_vma_of_the_one_behind(space):
    s = space()
    s.mmap(0, 4)
    s.mmap(8, 4)
    s.write(8)
    s.mmap(4, 4)
    assert s.vmas() == "0-12 rw-a"
    s.mprotect(0, 8, "r--")
    s.munmap(0, 8)
    s.mmap(4, 4, "r--")
    s.mmap(0, 4)
    s.mprotect(4, 4, "rw-")  # case 6: neither of the first two was touched
    assert s.vmas() == "0-12 rw-a"
    assert vm(s.machine).anon_vma[s.vma(0).anon_vma].rb_root == 1


@pytest.mark.parametrize("other", [{"prot": "r--"}, {"file": 1}, {"file": 1, "pgoff": 3}, {"sharing": "shared"}])
def test_what_differs_does_not_merge(space, other):
    s = space()
    assert shmem_file_setup(s.machine, "ptfile", 64) == 1
    s.mmap(0, 4, **({"file": 1} if "pgoff" in other else {}))
    with record(s.machine) as recording:
        s.mmap(4, 4, **other)
    assert cases(recording) == [0]


def test_files_merge_where_their_offsets_follow(space):
    s = space()
    file = shmem_file_setup(s.machine, "ptfile", 64)
    s.mmap(0, 4, file=file)
    s.mmap(4, 4, file=file, pgoff=4)
    assert (s.vmas(), vm(s.machine).inode[file].f_count) == ("0-8 rw-", 2)


def test_mappings_of_drivers_never_merge(space):
    s = space()
    s.mmap(0, 4, "rw-", "shared", driver_open(s.machine))
    s.mprotect(1, 1, "r--")
    s.mprotect(1, 1, "rw-")
    assert s.vmas() == "0-1 rw-s 1-2 rw-s 2-4 rw-s"


def test_another_memory_policy_does_not_merge(space):
    s = space()
    s.mmap(0, 4)
    s.vma(0).vm_policy = Mempolicy(2, (0,))
    with record(s.machine) as recording:
        s.mmap(4, 4)
    assert [step.event.why for step in recording.select(ev.NeighbourChecked)] == ["memory policy"]


def test_is_mergeable_anon_vma(space):
    s = space()
    s.mmap(0, 1)
    assert is_mergeable_anon_vma(0, 5, None) and is_mergeable_anon_vma(5, 5, None)
    assert not is_mergeable_anon_vma(5, 6, None)
    assert is_mergeable_anon_vma(0, 0, s.vma(0)) and not is_mergeable_anon_vma(5, 0, s.vma(0))


# ---------------------------------------------------------------- split, unmap


def test_munmap_splits_at_both_ends(space):
    s = space()
    s.mmap(0, 8)
    s.write(0, 3, 7)
    with record(s.machine) as recording:
        assert s.munmap(2, 3) == 0
    assert s.vmas() == "0-2 rw-a 5-8 rw-a"
    assert [(step.event.vaddr, step.event.new_below) for step in recording.select(ev.VmaSplit)] == [
        (page(2), False), (page(5), True)]
    assert s.read(0, 3, 7) == [100, "SIGSEGV", 107]
    assert vm(s.machine).anon_vma[s.vma(0).anon_vma].rb_root == 2


def test_munmap_over_several_mappings_and_holes(space):
    s = space()
    for start in (0, 6, 12):
        s.mmap(start, 4, "r--" if start == 6 else "rw-")
    with record(s.machine) as recording:
        assert s.munmap(2, 12) == 0
    assert s.vmas() == "0-2 rw- 14-16 rw-"
    [unmapped] = [step.event for step in recording.select(ev.RangeUnmapped)]
    assert (unmapped.vmas, unmapped.floor, unmapped.ceiling) == (3, page(2), page(14))


def test_munmap_of_nothing_is_fine_and_of_nonsense_is_not(space):
    s = space()
    s.mmap(4, 4)
    assert s.munmap(0, 4) == s.munmap(8, 100) == 0
    assert s.munmap(4, 0) == -Errno.EINVAL
    assert [mv.mm.munmap.do_munmap(s.machine, s.mm, start, length) for start, length in (
        (page(4) + 1, PAGE), (s.mm.task_size + PAGE, PAGE), (page(4), s.mm.task_size))] == [-Errno.EINVAL] * 3
    assert s.vmas() == "4-8 rw-"


def test_mmap_over_others_unmaps_them_first(space):
    s = space()
    s.mmap(0, 8)
    s.write(*range(8))
    s.mmap(2, 2, "r--")
    assert s.vmas() == "0-2 rw-a 2-4 r-- 4-8 rw-a"
    assert s.read(1, 2, 4) == [101, 0, 104]


def test_exit_of_a_process_without_mappings(space):
    s = space()
    free = s.machine.zones()[0].nr_pages_on_lists()
    s.exit()
    assert 1 not in vm(s.machine).mm and s.machine.zones()[0].nr_pages_on_lists() == free + 1


def test_a_file_lives_as_long_as_it_is_mapped(space):
    s = space()
    file = shmem_file_setup(s.machine, "ptfile", 4)
    s.mmap(0, 4, file=file, sharing="shared")
    s.write(0)
    fput(s.machine, file)
    fput(s.machine, 0)
    assert vm(s.machine).inode[file].pages
    s.munmap(0, 4)
    assert not vm(s.machine).inode


def test_a_driver_gets_its_block_back(space):
    s = space()
    before = set(s.machine.zones()[0].allocated)
    driver = driver_open(s.machine)
    s.mmap(0, 4, "rw-", "shared", driver)
    s.write(1)
    fput(s.machine, driver)
    s.munmap(0, 4)
    assert set(s.machine.zones()[0].allocated) == before and not vm(s.machine).data


def test_a_machine_without_four_pages_has_no_driver():
    machine = mv.boot([("DMA32", 0x1000, 2)])
    assert driver_open(machine) == -Errno.ENOMEM


# ---------------------------------------------------------------- words

LEAVES = sorted((kind for kind in mv.trace.EVENTS.values() if kind.__module__ == ev.__name__
                 and not kind.__subclasses__()), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_event_has_a_sentence(kind, number):
    text = {"why": "flags" if number else "", "side": "up", "how": "wiped", "name": "ptfile", "vm_ops": "shmem"}
    said = mv.sentence(kind(*(text.get(field.name, number) for field in dataclasses.fields(kind))))
    assert said.endswith(".") and "{" not in said and "None" not in said


def test_sentences_in_full():
    assert mv.sentence(ev.VmaMerged(1, page(4), page(8), 1)) == (
        "Merge, case 1: 0x100004000 to 0x100008000: the two neighbours become one with it.")
    assert mv.sentence(ev.RangeUnmapped(1, page(0), page(1), 1, 0, 0)) == (
        "1 mapping of 0x100000000 to 0x100001000 will go; tables between 0x0 and the end of the address space may go "
        "with them.")
    assert mv.sentence(ev.AnonVmaAlloc(3, 1, 2)) == "anon_vma 3 is made, a child of 2; its root is 1."


def test_vm_mmap_pgoff_says_what_do_mmap_refuses(space):
    s = space()
    assert vm_mmap_pgoff(s.machine, s.mm, 0, BASE, 0, 0, ANON | MAP_POPULATE) == -Errno.EINVAL
