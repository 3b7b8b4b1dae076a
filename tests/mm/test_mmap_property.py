"""Whatever processes ask of their address spaces, a table of pages says what must be there, and the recording too.

The truth is a dict {page: what}, as plain as can be: what is mapped there, and the word in it. Mappings must say
the same, be sorted and apart, and add up to the counters; every touch must end as the truth has it; anon_vmas must
be linked from both sides; a recording must rebuild the machine, and after the last exit nothing is left. And for each
primitive: a change that is not said is seen.
"""
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mmviz as mv
from mmviz.kernel import (
    MADV_DOFORK,
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_KEEPONFORK,
    MADV_WILLNEED,
    MADV_WIPEONFORK,
    PAGE_SHIFT,
    VM_DONTCOPY,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_SHARED,
    VM_SPECIAL,
    VM_WIPEONFORK,
    VM_WRITE,
    Config,
    Errno,
)
from mmviz.mm import mmap_events as ev
from mmviz.mm.driver import driver_open
from mmviz.mm.file_table import fput
from mmviz.mm.machine import MACHINE_PRIMITIVES
from mmviz.mm.shmem import shmem_file_setup, shmem_setattr, shmem_write
from mmviz.mm.swap import lru_add_drain
from mmviz.mm.vm import vm
from mmviz.mm.vma import vma_pages
from mmviz.recording import record

SPAN = 24  # pages that the operations work on; they lie on both sides of a boundary of tables
FIRST = 500
PROTS = st.sampled_from(["rw-", "r--", "---", "r-x", "-w-"])
STARTS, COUNTS = st.integers(FIRST, FIRST + SPAN - 1), st.integers(1, 9)
ADVICE = {MADV_DONTFORK: VM_DONTCOPY, MADV_WIPEONFORK: VM_WIPEONFORK}
TAKEN_BACK = {MADV_DOFORK: VM_DONTCOPY, MADV_KEEPONFORK: VM_WIPEONFORK}
BITS = {"r": 1, "w": 2, "x": 4}


def rights(prot):
    return sum(BITS[letter] for letter in prot if letter != "-")


@dataclass
class Object:
    """A file, shared memory, or the pages of a driver: how long it is, and the words in it."""

    size: int
    words: dict = field(default_factory=dict)


@dataclass
class Page:
    """What is at one page of an address space. `copy` is the word of a private page; None: there is no such page."""

    rights: int
    shared: bool
    kind: str
    object: Object
    index: int
    flags: int = 0
    copy: int | None = None

    def row(self):
        return self.rights, self.shared, self.kind, self.index if self.kind == "file" else 0, self.flags

    def outcome(self, write):
        """The signal, or what a touch reads before it writes."""
        if not self.rights & (2 if write else 7):
            return "SIGSEGV"
        if self.copy is not None:
            return self.copy
        return self.object.words.get(self.index, 0) if self.index < self.object.size else "SIGBUS"

    def store(self, word):
        if self.shared:
            self.object.words[self.index] = word
        else:
            self.copy = word


class Process:
    """An address space, and the truth of it."""

    def __init__(self, space, truth):
        self.space, self.truth = space, truth

    def rows(self):
        """The truth about mappings, as the mappings have it."""
        kinds = {self.space.file: "file", self.space.driver: "driver"}
        found = {}
        for vma in self.space.mm.mmap:
            kind, flags = kinds.get(vma.vm_file, "anon"), vma.vm_flags & (VM_DONTCOPY | VM_WIPEONFORK | VM_LOCKED)
            first = vma.vm_start - self.space.base >> PAGE_SHIFT
            found |= {first + i: (vma.vm_flags & 7, bool(vma.vm_flags & VM_SHARED), kind,
                                  vma.vm_pgoff + i if kind == "file" else 0, flags) for i in range(vma_pages(vma))}
        return found

    def populate(self, pages):
        """Bring pages in as mlock does, as far as that goes."""
        for page in pages:
            what = self.truth[page]
            if what.kind == "driver":
                continue
            word = what.outcome(False)
            if isinstance(word, str):
                return
            if what.rights & 2 and not what.shared:
                what.copy = word


class Calls(RuleBasedStateMachine):
    """Up to three processes that share a file and a driver."""

    make_space = None

    @initialize(config=st.sampled_from([Config(), mv.kernel.I386]))
    def boot(self, config):
        i386 = config is mv.kernel.I386
        zones = [("Normal", 0x1000, 0x800), ("HighMem", 0x1800, 0x800)] if i386 else [("DMA32", 0x1000, 0x1000)]
        self.machine = mv.boot(zones, config=config, grouping=True)
        self.first_free = self.held_pages()
        space = type(self).make_space(self.machine)
        self.file, self.driver = shmem_file_setup(self.machine, "ptfile", 16), driver_open(self.machine)
        shmem_write(self.machine, self.file, 2, 0xF1000002)
        self.objects = {"file": Object(16, {2: 0xF1000002}), "driver": Object(4)}
        space.file, space.driver = self.file, self.driver
        self.pids = 1
        self.processes = [Process(space, {})]
        self.recorder = record(self.machine)
        self.recording = self.recorder.__enter__()

    def held_pages(self):
        return {pfn for zone in self.machine.zones() for pfn in zone.allocated}

    def teardown(self):
        if hasattr(self, "processes"):
            self.recorder.__exit__(None, None, None)
            for process in self.processes:
                process.space.exit()
            fput(self.machine, self.file)
            fput(self.machine, self.driver)
            lru_add_drain(self.machine)
            state = vm(self.machine)
            assert not (state.vma or state.anon_vma or state.inode or state.mapcount or state.mapping or state.data)
            assert set(state.mm) == {0}
            assert self.held_pages() == self.first_free

    def pick(self, who):
        return self.processes[who % len(self.processes)]

    # -- calls

    @rule(who=st.integers(0, 2), start=STARTS, pages=COUNTS, prot=PROTS, shared=st.booleans(),
          kind=st.sampled_from(["anon", "anon", "file", "driver"]), pgoff=st.integers(0, 12))
    def mmap(self, who, start, pages, prot, shared, kind, pgoff):
        process = self.pick(who)
        file = {"anon": 0, "file": self.file, "driver": self.driver}[kind]
        done = process.space.mmap(start, pages, prot, "shared" if shared else "private", file, pgoff)
        if kind == "driver" and "x" in prot:
            assert done == -Errno.EPERM
            return
        self.forget(process, range(start, start + pages))
        if kind == "driver" and not shared and pages > 4:
            assert done == -Errno.EINVAL
            return
        assert done == start
        backing = self.objects.get(kind) or Object(pages if shared else 1 << 40)
        for index in range(pages):
            process.truth[start + index] = Page(rights(prot), shared, kind, backing,
                                                index + pgoff if kind == "file" else index)
        self.check_merged(process.space, start, pages)

    @staticmethod
    def forget(process, pages):
        for page in pages:
            process.truth.pop(page, None)

    def check_merged(self, space, start, pages):
        """At both ends of what was mapped, neighbours that are alike have different anon_vmas."""
        for lower, upper in pairwise(space.mm.mmap):
            at_an_end = upper.vm_start - space.base >> PAGE_SHIFT in (start, start + pages)
            alike = (lower.vm_end, lower.vm_flags, lower.vm_file, lower.vm_pgoff + vma_pages(lower)) == (
                upper.vm_start, upper.vm_flags, upper.vm_file, upper.vm_pgoff)
            assert not (at_an_end and alike) or upper.vm_flags & VM_SPECIAL or lower.anon_vma != upper.anon_vma

    @rule(who=st.integers(0, 2), start=STARTS, pages=COUNTS)
    def munmap(self, who, start, pages):
        process = self.pick(who)
        assert process.space.munmap(start, pages) == 0
        self.forget(process, range(start, start + pages))

    @rule(who=st.integers(0, 2), start=STARTS, pages=COUNTS, prot=PROTS)
    def mprotect(self, who, start, pages, prot):
        process = self.pick(who)
        expected, populated = 0, []
        vmas = [(vma.vm_start - process.space.base >> PAGE_SHIFT) for vma in process.space.mm.mmap]
        for page in range(start, start + pages):
            what = process.truth.get(page)
            if what is None:
                expected = -Errno.ENOMEM
            elif what.kind == "driver" and "x" in prot:
                expected = -Errno.EACCES
            if expected:
                break
            if what.flags & VM_LOCKED and not what.shared and rights(prot) & ~what.rights & 2:
                if not populated or page in vmas:
                    populated.append([])
                populated[-1].append(page)
            what.rights = rights(prot)
        assert process.space.mprotect(start, pages, prot) == expected
        for each in populated:
            process.populate(each)

    @rule(who=st.integers(0, 2), start=STARTS, pages=COUNTS,
          advice=st.sampled_from([MADV_DONTNEED, MADV_DONTNEED, MADV_WILLNEED, *ADVICE, *TAKEN_BACK]))
    def madvise(self, who, start, pages, advice):
        process = self.pick(who)
        expected = 0
        for page in range(start, start + pages):
            what = process.truth.get(page)
            if what is None:
                expected = -Errno.ENOMEM
            elif (advice == MADV_DONTNEED and (what.flags & VM_LOCKED or what.kind == "driver")) or (
                    advice == MADV_DOFORK and what.kind == "driver") or (
                    advice == MADV_WIPEONFORK and (what.shared or what.kind != "anon")):
                expected = -Errno.EINVAL
                break
            else:
                what.flags = (what.flags | ADVICE.get(advice, 0)) & ~TAKEN_BACK.get(advice, 0)
                what.copy = None if advice == MADV_DONTNEED else what.copy
        assert process.space.madvise(start, pages, advice) == expected

    @rule(who=st.integers(0, 2), start=STARTS, pages=COUNTS, lock=st.booleans())
    def mlock(self, who, start, pages, lock):
        process = self.pick(who)
        hole = False
        for page in range(start, start + pages):
            hole = hole or page not in process.truth
            if not hole and process.truth[page].kind != "driver":
                process.truth[page].flags = process.truth[page].flags & ~VM_LOCKED | (VM_LOCKED if lock else 0)
        done = process.space.mlock(start, pages) if lock else process.space.munlock(start, pages)
        assert done == -Errno.ENOMEM if hole else done in (0, -Errno.ENOMEM)
        if lock and not hole:
            process.populate(range(start, start + pages))

    @rule(who=st.integers(0, 2), old=STARTS, old_pages=COUNTS, new_pages=COUNTS, new=st.none() | STARTS)
    def mremap(self, who, old, old_pages, new_pages, new):
        process = self.pick(who)
        truth, done = process.truth, process.space.mremap(old, old_pages, new_pages, new)
        if new is not None and old < new + new_pages and new < old + old_pages:
            assert done == -Errno.EINVAL
            return
        if new is not None:
            self.forget(process, (*range(new, new + new_pages), *range(old + new_pages, old + old_pages)))
        if done < 0:
            return
        place = old if new is None else new
        moved = [truth.get(page) for page in range(old, old + min(old_pages, new_pages))]
        self.forget(process, range(old, old + old_pages))
        for index in range(new_pages):
            what = moved[index] if index < len(moved) else self.next_of(truth[place + index - 1])
            if what:  # a length that stays the same is not looked at, even over a hole
                truth[place + index] = what
        if new_pages > old_pages and truth[place].flags & VM_LOCKED:
            process.populate(range(place + old_pages, place + new_pages))

    @staticmethod
    def next_of(what):
        return replace(what, index=what.index + 1, copy=None)

    @rule(who=st.integers(0, 2), pages=st.lists(STARTS, max_size=4), write=st.booleans())
    def touch(self, who, pages, write):
        process = self.pick(who)
        for page in pages:
            what = process.truth.get(page)
            expected = what.outcome(write) if what else "SIGSEGV"
            [done] = process.space.write(page) if write else process.space.read(page)
            assert done == (expected if isinstance(expected, str) or not write else "ok")
            if write and done == "ok":
                what.store(100 + page)

    @precondition(lambda self: len(self.processes) < 3)
    @rule(who=st.integers(0, 2))
    def fork(self, who):
        parent = self.pick(who)
        self.pids += 1
        space = parent.space.fork(self.pids)
        space.file, space.driver = self.file, self.driver
        self.processes.append(Process(space, {
            page: replace(what, flags=what.flags & ~VM_LOCKED, copy=None if what.flags & VM_WIPEONFORK else what.copy)
            for page, what in parent.truth.items() if not what.flags & VM_DONTCOPY}))

    @precondition(lambda self: len(self.processes) > 1)
    @rule(who=st.integers(0, 2))
    def exit(self, who):
        self.processes.pop(who % len(self.processes)).space.exit()

    @rule(size=st.integers(0, 24))
    def ftruncate(self, size):
        assert shmem_setattr(self.machine, self.file, size) == 0
        file = self.objects["file"]
        file.words, file.size = {index: word for index, word in file.words.items() if index < size}, size
        for what in (what for process in self.processes for what in process.truth.values()):
            if what.kind == "file" and what.index >= size:
                what.copy = None

    # -- what always holds

    @invariant()
    def mappings_say_what_was_asked_for(self):
        for process in getattr(self, "processes", ()):
            assert process.rows() == {page: what.row() for page, what in process.truth.items()}

    @invariant()
    def mappings_are_sorted_and_apart_and_counted(self):
        for mm in (process.space.mm for process in getattr(self, "processes", ())):
            bounds = [place for vma in mm.mmap for place in (vma.vm_start, vma.vm_end)]
            assert bounds == sorted(bounds) and all(vma.vm_start < vma.vm_end for vma in mm.mmap)

            def total(mask, value, mm=mm):
                return sum(vma_pages(vma) for vma in mm.mmap if vma.vm_flags & mask == value)
            assert (mm.total_vm, mm.data_vm, mm.exec_vm, mm.locked_vm) == (
                total(0, 0), total(VM_WRITE | VM_SHARED | VM_GROWSDOWN, VM_WRITE), total(7 & ~1, 4),
                total(VM_LOCKED, VM_LOCKED))

    @invariant()
    def anon_vmas_are_linked_from_both_sides(self):
        if hasattr(self, "machine"):
            state = vm(self.machine)
            linked = Counter(number for vma in state.vma.values() for number in vma.anon_vma_chain)
            used = Counter(vma.anon_vma for vma in state.vma.values() if vma.anon_vma)
            children = Counter(anon.parent for anon in state.anon_vma.values())
            assert {number: anon.rb_root for number, anon in state.anon_vma.items()} == linked
            for number, anon in state.anon_vma.items():
                assert anon.degree == used[number] + children[number], (number, anon)
            assert all(vma.anon_vma in vma.anon_vma_chain for vma in state.vma.values() if vma.anon_vma)

    @invariant()
    def no_mapping_is_in_no_list(self):
        if hasattr(self, "machine"):
            listed = {vma.id for mm in vm(self.machine).mm.values() for vma in mm.mmap}
            assert set(vm(self.machine).vma) == listed

    @invariant()
    def the_recording_rebuilds_the_machine(self):
        if hasattr(self, "recording"):
            assert self.recording.at(len(self.recording)) == self.machine


@pytest.fixture(autouse=True)
def _space(space):
    Calls.make_space = staticmethod(space)


Calls.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None,
                                   suppress_health_check=list(HealthCheck))
TestCalls = Calls.TestCase


# ---------------------------------------------------------------- a change that is not said is seen


def everything_once(s):
    """Calls that use every primitive of mappings; after each, the recording must rebuild the machine."""
    machine = s.machine
    file, driver = shmem_file_setup(machine, "ptfile", 8), driver_open(machine)
    yield
    s.mmap(0, 4)
    yield
    s.write(0)
    yield
    s.mprotect(2, 2, "---")
    yield
    s.mmap(8, 4, "rw-", "shared", driver)
    s.mmap(16, 4, "rw-", "shared", file)
    yield
    s.write(16)
    yield
    shmem_setattr(machine, file, 0)
    yield
    s.mlock(0, 2)
    yield
    child = s.fork(2)
    yield
    child.exit()
    yield
    s.munmap(0, 30)
    fput(machine, file)
    fput(machine, driver)
    yield


def test_everything_is_said(space):
    s = space()
    with record(s.machine) as recording:
        for _ in everything_once(s):
            assert recording.at(len(recording)) == s.machine


CHANGES = [kind for kind in MACHINE_PRIMITIVES if kind.__module__ == ev.__name__]


@pytest.fixture(scope="module")
def told(space):
    s = space()
    with record(s.machine) as recording:
        for _ in everything_once(s):
            pass
    return recording


@pytest.mark.parametrize("kind", CHANGES, ids=lambda kind: kind.__name__)
def test_a_change_that_is_not_said_is_seen(told, kind, shows):
    assert shows(told, kind)
