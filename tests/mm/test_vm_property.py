"""Whatever is touched, unmapped, protected, forked and pinned: a dict {vaddr: frame} says what a walk must find.

The truth is kept by listening to nothing but the calls' own results: a write makes a page one's own, a fork shares it,
a hole has none. Frames are compared as a partition: equal where the truth says shared, different where it says copied.
And for each primitive of page tables: a change that is not said is seen.
"""
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mmviz as mv
from mmviz.kernel import (
    FOLL_FORCE,
    FOLL_WRITE,
    I386,
    MADV_DONTNEED,
    Config,
)
from mmviz.mm import vm_events as ev
from mmviz.mm.driver import driver_open
from mmviz.mm.gup import get_user_pages_remote, put_user_pages
from mmviz.mm.gup_fast import get_user_pages_fast
from mmviz.mm.gup_longterm import get_user_pages
from mmviz.mm.machine import MACHINE_PRIMITIVES
from mmviz.mm.mm_types import INIT_MM, SWAPPER_PG_DIR
from mmviz.mm.page_rmap import page_mapcount
from mmviz.mm.pgtable import frame_of, pte_write, walk
from mmviz.mm.shmem import shmem_file_setup, shmem_write
from mmviz.mm.swap import lru_add_drain, page_count
from mmviz.mm.vm import free_mm, mm_init, set_page_mapping, sync_mm_rss, vm
from mmviz.recording import record

PAE = Config(zone_names=I386.zone_names, geometry="i386 PAE", numa=False, page_offset=0xC0000000)
CONFIGS = [Config(), Config(geometry="x86-64 5-level"), Config(transparent_hugepage="always"), I386, PAE]
FIRST, SPAN = 509, 6  # both sides of a boundary of tables of 512 entries
STARTS, COUNTS = st.integers(FIRST, FIRST + SPAN - 1), st.integers(1, 4)
PAGE = 4096


class Walks(RuleBasedStateMachine):
    """Up to three processes; page -> a token that stands for a frame: equal tokens, equal frames."""

    make_space = None

    @initialize(config=st.sampled_from(CONFIGS))
    def boot(self, config):
        self.machine = mv.boot([("Normal", 0x1000, 0x2000)], config=config, grouping=True)
        one = type(self).make_space(self.machine)
        one.mmap(FIRST, SPAN)
        one.write(*range(FIRST, FIRST + 4))
        one.truth = {page: page for page in range(FIRST, FIRST + 4)}
        self.processes, self.pids, self.tokens, self.held = [one], 1, 1000, []
        self.recorder = record(self.machine)
        self.recording = self.recorder.__enter__()

    def teardown(self):
        if hasattr(self, "processes"):
            self.recorder.__exit__(None, None, None)
            assert self.recording.at(len(self.recording)) == self.machine
            put_user_pages(self.machine, self.held)
            for one in self.processes:
                one.exit()
            lru_add_drain(self.machine)
            assert not self.machine.zones()[0].allocated, "pages leaked"
            assert list(vm(self.machine).tables) == [SWAPPER_PG_DIR] and list(vm(self.machine).mm) == [INIT_MM]
            assert not vm(self.machine).mapcount and not vm(self.machine).compound_mapcount

    def pick(self, who):
        return self.processes[who % len(self.processes)]

    def token(self):
        self.tokens += 1
        return self.tokens

    def mapped(self, one, page):
        return any(v.vm_start <= one.base + page * PAGE < v.vm_end for v in one.mm.mmap)

    def shared_by(self, token):
        return sum(token in one.truth.values() for one in self.processes)

    @rule(who=st.integers(0, 2), start=STARTS, pages=COUNTS, prot=st.sampled_from(["rw-", "r--", "---"]))
    def mmap(self, who, start, pages, prot):
        one = self.pick(who)
        assert one.mmap(start, pages, prot) == start
        self.forget(one, start, pages)

    @rule(who=st.integers(0, 2), start=STARTS, pages=COUNTS)
    def munmap(self, who, start, pages):
        self.pick(who).munmap(start, pages)
        self.forget(self.pick(who), start, pages)

    @rule(who=st.integers(0, 2), start=STARTS, pages=COUNTS)
    def dontneed(self, who, start, pages):
        self.pick(who).madvise(start, pages, MADV_DONTNEED)
        self.forget(self.pick(who), start, pages)

    def forget(self, one, start, pages):
        for page in range(start, start + pages):
            one.truth.pop(page, None)

    @rule(who=st.integers(0, 2), start=STARTS, pages=COUNTS, prot=st.sampled_from(["rw-", "r--", "---"]))
    def mprotect(self, who, start, pages, prot):
        self.pick(who).mprotect(start, pages, prot)

    @rule(who=st.integers(0, 2), page=STARTS)
    def read(self, who, page):
        one = self.pick(who)
        done, = one.read(page)
        allowed = self.mapped(one, page) and one.vma(page).vm_flags & 7
        assert (done == "SIGSEGV") == (not allowed)
        if allowed:
            one.truth.setdefault(page, "zero")

    @rule(who=st.integers(0, 2), page=STARTS)
    def write(self, who, page):
        self.write_one(self.pick(who), page)

    @rule(who=st.integers(0, 2), page=STARTS)
    def write_on(self, who, page):
        """The same page in all processes, the youngest last or first."""
        for one in self.processes[::-1 if who else 1]:
            self.write_one(one, page)

    def write_one(self, one, page):
        done, = one.write(page)
        allowed = self.mapped(one, page) and one.vma(page).vm_flags & 2
        assert done == ("ok" if allowed else "SIGSEGV")
        if allowed:
            self.wrote(one, page)
            assert one.read(page) == [100 + page]

    def wrote(self, one, page):
        """The only owner keeps the page; else it is a new one."""
        token = one.truth.get(page, "zero")
        if token == "zero" or self.shared_by(token) > 1:
            one.truth[page] = self.token()

    @precondition(lambda self: len(self.processes) < 3)
    @rule(who=st.integers(0, 2))
    def fork(self, who):
        parent = self.pick(who)
        self.pids += 1
        child = parent.fork(self.pids)
        child.truth = {page: token for page, token in parent.truth.items() if parent.vma(page).anon_vma}
        self.processes.append(child)

    @precondition(lambda self: len(self.processes) > 1)
    @rule(who=st.integers(0, 2))
    def exit(self, who):
        self.processes.pop(who % len(self.processes)).exit()

    @rule(who=st.integers(0, 2), start=STARTS, pages=COUNTS, write=st.booleans(), force=st.booleans(),
          how=st.sampled_from(["remote", "fast", "longterm"]))
    def gup(self, who, start, pages, write, force, how):
        one, taken = self.pick(who), []
        flags = (FOLL_WRITE if write else 0) | (FOLL_FORCE if force and how == "remote" else 0)
        where = self.machine, one.mm, one.base + start * PAGE, pages, flags, taken
        got = {"remote": lambda: get_user_pages_remote(self.machine, one.mm, *where[1:]),
               "fast": lambda: get_user_pages_fast(*where), "longterm": lambda: get_user_pages(*where)}[how]()
        assert got == (len(taken) or -14)
        self.held += taken
        for page, pfn in enumerate(taken, start):
            if write:
                self.wrote(one, page)
            else:
                one.truth.setdefault(page, "zero")
            assert frame_of(self.machine, one.mm, one.base + page * PAGE) == pfn

    @rule()
    def put(self):
        put_user_pages(self.machine, self.held)
        self.held.clear()

    # -- what always holds

    @invariant()
    def walks_find_what_the_truth_says(self):
        frames = {}
        for one in getattr(self, "processes", ()):
            for page in range(FIRST, FIRST + SPAN + 4):
                pfn, token = frame_of(self.machine, one.mm, one.base + page * PAGE), one.truth.get(page)
                if self.machine.config.transparent_hugepage == "never":
                    assert (pfn is None) == (token is None), (page, token)
                if token is not None:
                    assert frames.setdefault(token, pfn) == pfn, (page, token)
        if frames:
            assert len(set(frames.values())) == len(frames)
            assert frames.get("zero", vm(self.machine).zero_pfn) == vm(self.machine).zero_pfn

    @invariant()
    def counts_are_those_of_the_walks(self):
        if hasattr(self, "machine"):
            state = vm(self.machine)
            found = Counter(frame_of(self.machine, one.mm, one.base + page * PAGE) for one in self.processes
                            for page in range(FIRST, FIRST + SPAN + 4))
            for pfn, count in state.mapcount.items():
                assert count == found[pfn] == page_mapcount(self.machine, pfn)
                waiting = sum(pages.count(pfn) for pages in state.pagevec.values())
                assert page_count(self.machine, pfn) == count + waiting + self.held.count(pfn)

    @invariant()
    def private_pages_of_two_are_never_writable(self):
        for one in getattr(self, "processes", ()):
            for page, token in one.truth.items():
                last = list(walk(self.machine, one.mm, one.base + page * PAGE))[-1]
                assert (token != "zero" and self.shared_by(token) == 1) or not pte_write(last.entry)


@pytest.fixture(autouse=True)
def _space(space):
    Walks.make_space = staticmethod(space)


TestWalks = Walks.TestCase
TestWalks.settings = settings(max_examples=40, stateful_step_count=25, deadline=None,
                              suppress_health_check=list(HealthCheck))


# ---------------------------------------------------------------- a change that is not said is seen


def a_day(space):
    """Calls that use every primitive of page tables once at least; the machine, and the recording of it."""
    machine = mv.boot([("DMA32", 0x1000, 0x8000)], config=Config(geometry="x86-64 5-level", transparent_hugepage=(
        "always")), grouping=True)
    with record(machine) as rec:
        one = space(machine)
        one.mmap(0, 80)
        one.write(*range(70))
        one.read(75)
        child = one.fork(2)
        child.write(0)
        one.mmap(100, 4, "rw-", "shared", driver_open(machine))
        ino = shmem_file_setup(machine, "f", 4)
        shmem_write(machine, ino, 0, 5)
        one.mmap(110, 4, "rw-", "private", ino)
        one.read(110)
        one.mmap(1024, 512)
        one.mmap(104, 4, "rw-", "private", driver_open(machine))
        one.write(1024)
        one.mprotect(1024, 3, "r--")
        one.mlock(0, 2)
        pages = []
        get_user_pages_remote(machine, one.mm, one.mm, one.base, 76, 0, pages)
        put_user_pages(machine, pages)
        sync_mm_rss(machine, 1)
        set_page_mapping(machine, 0x1234, "", 0, 0)
        child.exit()
        one.munmap(0, 600)
        lru_add_drain(machine)
        mm_init(machine, 9, "p9", 0x1234, 0)
        free_mm(machine, 9)
        one.exit()
        two = space(machine, 3)
        two.mmap(0, 2)
        two.write(0)
    return machine, rec


PRIMITIVES = sorted((kind for kind in MACHINE_PRIMITIVES if kind.__module__ == ev.__name__), key=lambda k: k.__name__)


def test_all_primitives_are_used(space):
    machine, rec = a_day(space)
    assert rec.at(len(rec)) == machine
    assert {type(step.event) for step in rec} >= set(PRIMITIVES)
    assert all(step.event.decision or type(step.event) in MACHINE_PRIMITIVES or step.event.__match_args__[0] == "nid"
               for step in rec)


@pytest.fixture(scope="module")
def recorded(space):
    return a_day(space)


@pytest.mark.parametrize("kind", PRIMITIVES, ids=lambda kind: kind.__name__)
def test_a_change_that_is_not_said_is_seen(recorded, kind, shows):
    assert shows(recorded[1], kind)
