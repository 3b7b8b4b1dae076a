"""kmap and kmap_atomic: what they refuse, what they say, and that a recording of them rebuilds the machine.

No two live maps share a slot; a slot with users is never swept; what an address shows is what its page was told.
"""
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mmviz as mv
from mmviz.mm import events
from mmviz.mm import highmem_events as ev
from mmviz.mm import vm_events as table_events
from mmviz.mm.highmem import kmap_to_page, page_address
from mmviz.mm.highmem_32 import clear_highpage
from mmviz.mm.init_32 import Split
from mmviz.mm.kmap_pte import clear_kmap_pte, kmap_pte_pfn, permanent_kmaps_init
from mmviz.mm.pkmap import KMAP_PRIMITIVES, Kmap, kmap_init, kmap_part
from mmviz.recording import Recording, record

LOW, A, B, C, D, E, F = 0x1000, *range(0x1400, 0x1406)


@pytest.fixture
def toy():
    return mv.kmap_toy(4)


@contextmanager
def refused(machine, error, match=None):
    before = machine.copy()
    with mv.record(machine) as recording, pytest.raises(error, match=match):
        yield
    assert machine == before and all(step.event.decision for step in recording)


def kinds(recording):
    return [type(step.event).__name__ for step in recording]


# ---------------------------------------------------------------- kmap


def test_low_memory_needs_no_slot(toy):
    before = toy.copy()
    assert mv.kmap(toy, LOW) == page_address(toy, LOW) == 0xC1000000
    mv.kunmap(toy, LOW)
    assert toy == before and kmap_to_page(toy, 0xC1000FFF) == LOW


def test_the_same_page_twice_is_one_slot_with_two_users(toy):
    assert mv.kmap(toy, A) == mv.kmap(toy, A) == 0xFF401000
    assert kmap_part(toy).pkmap_count == [0, 3, 0, 0]


def test_a_kunmap_unmaps_nothing(toy):
    vaddr = mv.kmap(toy, A)
    mv.kunmap(toy, A)
    assert kmap_to_page(toy, vaddr) == A and page_address(toy, A) == vaddr


def test_an_old_address_shows_somebody_elses_page(toy):
    stale = mv.kmap(toy, A)
    mv.kunmap(toy, A)
    for pfn in (B, C, D):
        mv.kmap(toy, pfn)
    assert kmap_to_page(toy, stale) is None
    assert mv.kmap(toy, E) == stale and kmap_to_page(toy, stale + 5) == E


def test_a_sweep_out_of_turn(toy):
    for pfn in (A, B):
        mv.kmap(toy, pfn)
    mv.kunmap(toy, A)
    mv.kmap_flush_unused(toy)
    assert kmap_part(toy).pkmap_count == [0, 0, 2, 0] and kmap_part(toy).last_pkmap_nr == 2


def test_who_slept_for_a_page_that_another_mapped_meanwhile(toy):
    for pfn in (A, B, C, D):
        mv.kmap(toy, pfn)
    assert mv.kmap(toy, E) is None and mv.kmap(toy, E) is None
    mv.kunmap(toy, B)
    assert kmap_part(toy).pkmap_map_wait == []
    first = mv.kmap(toy, E)
    assert mv.kmap(toy, E) == first == 0xFF402000
    assert kmap_part(toy).pkmap_count == [2, 2, 3, 2]


def test_a_slot_with_another_user_wakes_nobody(toy):
    for pfn in (A, A, B, C, D):
        mv.kmap(toy, pfn)
    mv.kmap(toy, E)
    mv.kunmap(toy, A)
    assert kmap_part(toy).pkmap_map_wait == [E]


def test_kunmap_of_what_is_not_mapped_is_a_bug(toy):
    with refused(toy, mv.KernelBug, r"pfn 0x1400, which is not mapped: it has no address: BUG\(\)"):
        mv.kunmap(toy, A)
    mv.kmap(toy, A)
    mv.kunmap(toy, A)
    with refused(toy, mv.KernelBug, "its slot 1 has no users"):
        mv.kunmap(toy, A)


def test_kunmap_in_an_interrupt_is_a_bug(toy):
    mv.kmap(toy, A)
    mv.set_current(toy, 0, in_interrupt=1)
    with refused(toy, mv.KernelBug, "in an interrupt"):
        mv.kunmap(toy, A)


def test_kmap_where_nobody_may_sleep_warns_and_goes_on(toy):
    mv.kmap_atomic(toy, A)
    with record(toy) as recording:
        assert mv.kmap(toy, B) == 0xFF401000
    assert "invalid context" in recording.select(events.Warned)[0].event.text
    for pfn in (C, D, E):
        mv.kmap(toy, pfn)
    assert mv.kmap(toy, E) and mv.kmap(toy, LOW)
    with refused(toy, mv.KernelBug, "pfn 0x1405 must sleep .* scheduling while atomic"):
        mv.kmap(toy, F)
    mv.kunmap(toy, B)
    assert mv.kmap(toy, F) == 0xFF401000


def test_a_mapped_slot_without_an_entry_is_a_bug(toy):
    vaddr = mv.kmap(toy, A)
    mv.kunmap(toy, A)
    clear_kmap_pte(toy, vaddr)
    with refused(toy, mv.KernelBug, "slot 1 is mapped, and its entry is empty"):
        mv.kmap_flush_unused(toy)


@pytest.mark.parametrize("call", [mv.kmap, mv.kunmap, mv.kmap_atomic, mv.kmap_local_page])
def test_no_such_page(toy, call):
    with refused(toy, ValueError, "pfn must lie in a zone"):
        call(toy, 0x1800)


@pytest.mark.parametrize("vaddr", [0, 0xBFFFF000, 0xC1400000, 0xFF404000])
def test_no_such_address(toy, vaddr):
    with refused(toy, ValueError, "must"):
        kmap_to_page(toy, vaddr)


def test_pages_of_one_bucket_are_found_in_it():
    machine = mv.kmap_toy(8)
    kmap = kmap_part(machine)
    first, second = next((one, two) for one in range(0x1400, 0x1500) for two in range(one + 1, 0x1500)
                         if kmap.bucket(one) == kmap.bucket(two))
    vaddrs = [mv.kmap(machine, pfn) for pfn in (first, second)]
    assert kmap_part(machine).page_address_htable == {kmap.bucket(first): [1, 2]}
    assert [page_address(machine, pfn) for pfn in (first, second)] == vaddrs
    mv.kunmap(machine, first)
    mv.kmap_flush_unused(machine)
    assert kmap_part(machine).page_address_htable == {kmap.bucket(first): [2]}
    assert page_address(machine, first) == 0 and page_address(machine, second) == vaddrs[1]


# ---------------------------------------------------------------- kmap_atomic


def test_atomic_maps_of_two_cpus():
    machine = mv.kmap_toy(4, cpus=2)
    one = [mv.kmap_atomic(machine, pfn) for pfn in (A, B)]
    mv.set_current(machine, 1)
    two = mv.kmap_atomic(machine, A)
    assert (one, two) == ([0xFFFBB000, 0xFFFBA000], 0xFFFA7000)
    mv.kunmap_atomic(machine, two + 0x10)
    mv.set_current(machine, 0)
    for vaddr in reversed(one):
        assert kmap_to_page(machine, vaddr) in (A, B)
        mv.kunmap_atomic(machine, vaddr)
        assert kmap_to_page(machine, vaddr) is None
    assert kmap_part(machine).kmap_atomic_idx == kmap_part(machine).pagefault_disabled == [0, 0]


def test_an_atomic_map_knows_nothing_of_kmap(toy):
    assert mv.kmap(toy, A) != mv.kmap_atomic(toy, A)
    assert page_address(toy, A) == 0xFF401000


def test_the_wrong_order_is_refused(toy):
    first, second = mv.kmap_atomic(toy, A), mv.kmap_atomic(toy, B)
    with refused(toy, mv.KernelBug, "0xfffbb000 out of order: the last one of CPU 0 is 0xfffba000"):
        mv.kunmap_atomic(toy, first)
    mv.kunmap_atomic(toy, second)


def test_the_wrong_order_in_a_plain_kernel(toy):
    toy.strict = False
    first, second = mv.kmap_atomic(toy, A), mv.kmap_atomic(toy, B)
    with record(toy) as recording:
        mv.kunmap_atomic(toy, first)
    assert kmap_to_page(toy, first) == A and kmap_to_page(toy, second) is None
    assert [step.event.vaddr for step in recording.select(ev.TlbEntryFlushed)] == [first]
    mv.kunmap_atomic(toy, second)
    assert kmap_to_page(toy, first) is None
    mv.kunmap_atomic(toy, first)
    assert kmap_part(toy).kmap_atomic_idx == kmap_part(toy).pagefault_disabled == [-1]


def test_a_slot_that_is_still_in_use_is_a_bug(toy):
    toy.strict = False
    first, _ = mv.kmap_atomic(toy, A), mv.kmap_atomic(toy, B)
    mv.kunmap_local(toy, kmap_part(toy).windows.fix_to_virt(1))
    mv.kunmap_atomic(toy, first)
    mv.kmap_atomic(toy, A)
    kmap_part(toy).kmap_atomic_idx[0] = 0
    with refused(toy, mv.KernelBug, "slot 0xfffbb000 is in use"):
        mv.kmap_atomic(toy, B)


def test_too_deep(toy):
    for _ in range(20):
        mv.kmap_atomic(toy, A)
    with refused(toy, mv.KernelBug, "nested 21 deep on CPU 0, KM_TYPE_NR is 20"):
        mv.kmap_atomic(toy, A)
    toy.strict = False
    assert mv.kmap_atomic(toy, A) == 0xFFFA7000  # the first slot of CPU 1


def test_nothing_to_give_back(toy):
    with refused(toy, mv.KernelBug, "which has no kmap_atomic open"):
        mv.kunmap_atomic(toy, 0xFFFBB000)
    mv.kmap_atomic(toy, LOW)
    with refused(toy, mv.KernelBug, "out of order"):
        mv.kunmap_atomic(toy, 0xFFFBB000)
    with refused(toy, mv.KernelBug, "is an address of kmap"):
        mv.kunmap_atomic(toy, mv.kmap(toy, A) if page_address(toy, A) else 0xFF401000)
    with refused(toy, ValueError, "must be in a kmap window or in the direct map"):
        mv.kunmap_atomic(toy, 0x1000)
    mv.kunmap_atomic(toy, 0xC1000000)


# ---------------------------------------------------------------- zeros, 64 bit, a later kernel


def test_high_pages_are_cleared_through_an_atomic_map(toy):
    with record(toy) as recording:
        pfn = mv.alloc_pages(toy, mv.GFP_HIGHUSER | mv.__GFP_ZERO, 1)
    cleared = [step.event for step in recording.select(ev.PageCleared)]
    assert [(event.pfn, event.vaddr) for event in cleared] == [(pfn, 0xFFFBB000), (pfn + 1, 0xFFFBB000)]
    assert [frame.symbol for frame in recording.select(ev.PageCleared)[0].stack[-3:]] \
        == ["prep_new_page", "kernel_init_free_pages", "clear_highpage"]
    assert kmap_part(toy).kmap_atomic_idx == [0] and recording.at(len(recording)) == toy


def test_low_pages_are_cleared_where_they_are(toy):
    with record(toy) as recording:
        clear_highpage(toy, LOW)
    assert kinds(recording) == ["PagefaultDisable", "PageAddressFound", "PageCleared", "PagefaultEnable"]


def test_64_bit_has_no_windows():
    machine = mv.toy(4)
    assert mv.kmap(machine, 0x1000) == mv.kmap_atomic(machine, 0x1000) == 0xFFFF888001000000
    assert kmap_part(machine).windows.last_pkmap == 0
    mv.kunmap(machine, 0x1000)
    mv.kunmap_atomic(machine, 0xFFFF888001000000)
    assert kmap_part(machine).pagefault_disabled == [0]
    assert mv.kmap_local_page(machine, 0x1000) == 0xFFFF888001000000
    mv.kunmap_local(machine, 0xFFFF888001000000)
    with record(machine) as recording:
        mv.alloc_pages(machine, mv.GFP_KERNEL | mv.__GFP_ZERO, 0)
        mv.__get_free_pages(machine, mv.GFP_KERNEL, 0)
    assert not recording.select(ev.PageCleared, ev.PageAddressFound)


def test_kmap_local_page_forbids_nothing(toy):
    vaddrs = [mv.kmap_local_page(toy, pfn) for pfn in (A, B)]
    assert vaddrs == [0xFFFBB000, 0xFFFBA000] and kmap_part(toy).pagefault_disabled == [0]
    with record(toy) as recording:
        mv.kmap(toy, C)
    assert not recording.select(events.Warned)
    with refused(toy, mv.KernelBug, "kunmap_local of 0xfffbb000 out of order"):
        mv.kunmap_local(toy, vaddrs[0])
    for vaddr in reversed(vaddrs):
        mv.kunmap_local(toy, vaddr)
    assert kmap_part(toy).kmap_atomic_idx == [0]


def test_a_32_bit_machine_that_nobody_described():
    machine = mv.boot([("Normal", 0x1000, 0x400), ("HighMem", 0x1400, 0x400)], config=mv.kernel.I386)
    assert kmap_pte_pfn(machine, 0xFF001000) is None and not machine.parts
    with record(machine) as recording:
        assert page_address(machine, A) == 0
        assert mv.kmap(machine, A) == 0xFF001000 == Split().pkmap_base + 0x1000
    assert recording.at(len(recording)) == machine
    assert len(recording.select(table_events.PgtablePageCtor)) == 1


def test_pae_has_one_level_more_and_half_the_slots():
    machine = mv.i386(1024, Split(pae=True))
    assert kmap_part(machine).windows.last_pkmap == 512
    pfn = machine.zone("HighMem").zone_start_pfn
    vaddrs = [mv.kmap(machine, pfn + i) for i in range(512)]
    assert mv.kmap(machine, pfn + 512) is None and len(set(vaddrs)) == 512
    assert [kmap_to_page(machine, vaddr) for vaddr in vaddrs] == list(range(pfn, pfn + 512))
    assert kmap_to_page(machine, mv.kmap_atomic(machine, pfn)) == pfn


@pytest.mark.parametrize("call", [lambda: mv.kmap_toy(3), lambda: mv.kmap_toy(1), lambda: mv.kmap_toy(2048),
                                  lambda: mv.kmap_toy(4, cpus=5), lambda: mv.kmap_toy(4, cpus=0)])
def test_a_toy_that_cannot_be(call):
    with pytest.raises(ValueError, match="must be"):
        call()


def test_machine_and_recording_can_be_kept(toy, tmp_path):
    with record(toy) as recording:
        for pfn in (A, B, C, D, E):
            mv.kmap(toy, pfn)
        mv.kmap_atomic(toy, A)
    toy.save(tmp_path / "machine.gz")
    assert mv.Machine.load(tmp_path / "machine.gz") == toy
    recording.save(tmp_path / "recording.gz")
    again = Recording.load(tmp_path / "recording.gz", mv.Machine.from_dict)
    assert again.at(len(again)) == toy and kinds(again) == kinds(recording)


# ---------------------------------------------------------------- random requests


class Windows(RuleBasedStateMachine):
    """A few slots, a few more pages, two CPUs; `held` counts what we hold of kmap, `piles` what of kmap_atomic."""

    @initialize(slots=st.sampled_from([2, 4, 8]))
    def boot(self, slots):
        self.machine = mv.kmap_toy(slots, cpus=2)
        self.held, self.piles = {}, ([], [])
        self.pages = [*range(0x1400, 0x1400 + slots + 4), LOW]
        self.open = ExitStack()
        self.recording = self.open.enter_context(record(self.machine))

    def teardown(self):
        if hasattr(self, "open"):
            self.open.close()

    @property
    def cpu(self):
        return self.machine.current.cpu

    @precondition(lambda self: not self.piles[self.cpu])
    @rule(number=st.integers(0, 99))
    def kmap(self, number):
        pfn = self.pages[number % len(self.pages)]
        busy = {page for page, _ in self.held.values()}
        vaddr = mv.kmap(self.machine, pfn)
        if vaddr is None:
            assert min(kmap_part(self.machine).pkmap_count) > 1 and pfn not in busy
        elif pfn != LOW:
            known, users = self.held.get(vaddr, (pfn, 0))
            assert known == pfn, "two live maps share a slot"
            self.held[vaddr] = (pfn, users + 1)

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 99))
    def kunmap(self, number):
        vaddr = sorted(self.held)[number % len(self.held)]
        pfn, users = self.held.pop(vaddr)
        if users > 1:
            self.held[vaddr] = (pfn, users - 1)
        mv.kunmap(self.machine, pfn)
        assert users > 1 or kmap_part(self.machine).pkmap_map_wait == []

    @rule()
    def sweep(self):
        mv.kmap_flush_unused(self.machine)

    @rule(cpu=st.integers(0, 1))
    def another_cpu(self, cpu):
        mv.set_current(self.machine, cpu)

    @precondition(lambda self: len(self.piles[self.cpu]) < 20)
    @rule(number=st.integers(0, 99))
    def kmap_atomic(self, number):
        pfn = self.pages[number % len(self.pages)]
        vaddr = mv.kmap_atomic(self.machine, pfn)
        high = [other for other, page in self.piles[self.cpu] if page != LOW]
        assert pfn == LOW or all(vaddr < other for other in high)
        self.piles[self.cpu].append((vaddr, pfn))

    @precondition(lambda self: self.piles[self.cpu])
    @rule()
    def kunmap_atomic(self):
        vaddr, _ = self.piles[self.cpu].pop()
        mv.kunmap_atomic(self.machine, vaddr)

    @precondition(lambda self: len([page for _, page in self.piles[self.cpu] if page != LOW]) > 1)
    @rule()
    def kunmap_atomic_of_the_first(self):
        first = next(vaddr for vaddr, page in self.piles[self.cpu] if page != LOW)
        with refused(self.machine, mv.KernelBug):
            mv.kunmap_atomic(self.machine, first)

    @rule(number=st.integers(0, 99))
    def kunmap_of_what_is_not_mapped(self, number):
        pfn = self.pages[number % (len(self.pages) - 1)]
        if pfn not in {page for page, _ in self.held.values()}:
            with refused(self.machine, mv.KernelBug):
                mv.kunmap(self.machine, pfn)

    @rule(order=st.integers(0, 2))
    def zeros(self, order):
        mv.alloc_pages(self.machine, mv.GFP_HIGHUSER | mv.kernel.parse_gfp("__GFP_ZERO"), order)

    @invariant()
    def the_recording_rebuilds_the_machine(self):
        assert self.recording.at(len(self.recording)) == self.machine

    @invariant()
    def a_slot_with_users_is_there(self):
        kmap = kmap_part(self.machine)
        users = {kmap.windows.pkmap_nr(vaddr): count for vaddr, (_, count) in self.held.items()}
        assert {nr: count - 1 for nr, count in enumerate(kmap.pkmap_count) if count > 1} == users
        for vaddr, (pfn, _) in self.held.items():
            assert kmap_to_page(self.machine, vaddr) == page_address_of(self.machine, vaddr) == pfn

    @invariant()
    def what_is_mapped_is_counted(self):
        kmap = kmap_part(self.machine)
        for nr, count in enumerate(kmap.pkmap_count):
            pfn = kmap_pte_pfn(self.machine, kmap.windows.pkmap_addr(nr))
            assert (pfn is not None) == bool(count) and kmap.page_address_maps.get(nr) == pfn
        assert sorted(nr for slots in kmap.page_address_htable.values() for nr in slots) \
            == sorted(kmap.page_address_maps)

    @invariant()
    def the_piles_are_as_we_know_them(self):
        kmap = kmap_part(self.machine)
        for cpu, pile in enumerate(self.piles):
            assert kmap.pagefault_disabled[cpu] == len(pile)
            assert kmap.kmap_atomic_idx[cpu] == len([page for _, page in pile if page != LOW])
            assert all(kmap_to_page(self.machine, vaddr) == pfn for vaddr, pfn in pile)

    @invariant()
    def it_can_be_saved(self):
        part = kmap_part(self.machine)
        assert Kmap.from_dict(part.to_dict()).to_dict() == part.to_dict() == part.copy().to_dict()


def page_address_of(machine, vaddr):
    return next((pfn for pfn in kmap_part(machine).page_address_maps.values()
                 if page_address(machine, pfn) == vaddr), None)


Windows.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None,
                                     suppress_health_check=list(HealthCheck))
TestWindows = Windows.TestCase


# ---------------------------------------------------------------- a change that is not said is seen


def everything_once(machine):
    """Operations that use every primitive; after each, the recording must rebuild the machine."""
    kmap_init(machine, *kmap_part(machine).windows._replace(last_pkmap=2))
    yield
    permanent_kmaps_init(machine)
    yield
    for pfn in (A, B, C):  # the third sleeps
        mv.kmap(machine, pfn)
        yield
    mv.kunmap(machine, A)
    yield
    mv.kmap(machine, C)
    yield
    for pfn in (A, B):
        mv.kmap_atomic(machine, pfn)
        yield
    for vaddr in (0xFFFBA000, 0xFFFBB000):
        mv.kunmap_atomic(machine, vaddr)
        yield


def test_a_recording_of_everything_is_the_machine():
    with mv.record(mv.kmap_toy(4)) as recording:
        for _ in everything_once(recording.live):
            assert recording.at(len(recording)) == recording.live


@pytest.fixture(scope="module")
def told():
    with mv.record(mv.kmap_toy(4)) as recording:
        for _ in everything_once(recording.live):
            pass
    return recording


@pytest.mark.parametrize("kind", KMAP_PRIMITIVES, ids=lambda kind: kind.__name__)
def test_a_change_that_is_not_said_is_seen(kind, told, shows):
    assert shows(told, kind)


def test_every_change_is_made_by_a_primitive(leaves):
    changes = {kind for kind in leaves(ev) if not kind.decision}
    assert changes == set(KMAP_PRIMITIVES)


# ---------------------------------------------------------------- sentences

LEAVES = sorted((kind for kind in mv.trace.EVENTS.values() if kind.__module__ == ev.__name__
                 and not kind.__subclasses__()), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("number", [0, 1, 2, 3, -1])
def test_every_event_has_a_sentence(kind, number):
    said = mv.sentence(kind(*[number] * len(kind.__match_args__)))
    assert said.endswith(".") and "{" not in said and "None" not in said
