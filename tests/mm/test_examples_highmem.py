"""The worked examples 63 to 68 of the reference, number by number, and the layouts that its section 9.1 works out."""
import pytest

import mmviz as mv
from mmviz.mm import highmem_events as ev
from mmviz.mm.highmem import page_address
from mmviz.mm.init_32 import PAGE_OFFSETS, LowHigh, Split, find_low_pfn_range
from mmviz.mm.pkmap import kmap_init, kmap_part

A, B, C, D, E, F = range(0x1400, 0x1406)


def slot(machine, vaddr):
    return kmap_part(machine).windows.pkmap_nr(vaddr)


def counts(machine):
    return kmap_part(machine).pkmap_count


def reference(last_pkmap=1024, cpus=1):
    """A machine with the reference's windows: non-PAE, NR_CPUS=8."""
    machine = mv.boot([("Normal", 0x1000, 0x400), ("HighMem", 0x1400, 0x800)], config=mv.kernel.I386, cpus=[0] * cpus)
    kmap_init(machine, *Split(nr_cpus=8).windows(LowHigh(0x1400, 0x1C00), last_pkmap))
    return machine


def test_example_63_the_first_slots():
    machine = reference()
    assert [hex(mv.kmap(machine, pfn)) for pfn in (A, B, C)] == ["0xff001000", "0xff002000", "0xff003000"]
    assert counts(machine)[:5] == [0, 2, 2, 2, 0]
    mv.kunmap(machine, A)
    assert counts(machine)[1] == 1 and page_address(machine, A) == 0xFF001000
    assert mv.kmap(machine, A) == 0xFF001000
    assert counts(machine)[1] == 2


def test_example_64_the_wrap():
    machine, slots = reference(), []
    with mv.record(machine) as recording:
        for pfn in range(0x1400, 0x1400 + 1030):
            slots.append(slot(machine, mv.kmap(machine, pfn)))
            mv.kunmap(machine, pfn)
            if pfn == 0x1400 + 1022:
                assert counts(machine) == [0] + [1] * 1023
    assert slots[:1023] == list(range(1, 1024)) and slots[1023:] == [0, 1, 2, 3, 4, 5, 6]
    assert [step.event.found for step in recording.select(ev.ZeroPkmapsSought)] == [1023]
    assert [(step.event.start, step.event.end) for step in recording.select(ev.TlbRangeFlushed)] \
        == [(0xFF000000, 0xFF400000)]


def test_example_65_no_slot_is_left():
    machine = reference(4)
    assert [slot(machine, mv.kmap(machine, pfn)) for pfn in (A, B)] == [1, 2]
    mv.kunmap(machine, A)
    assert counts(machine) == [0, 1, 2, 0]
    assert [slot(machine, mv.kmap(machine, pfn)) for pfn in (C, D, E)] == [3, 0, 1]
    assert counts(machine) == [2, 2, 2, 2]
    with mv.record(machine) as recording:
        assert mv.kmap(machine, F) is None
    assert [step.event.nr for step in recording.select(ev.PkmapProbed)] == [2, 3, 0, 1, 2, 3]
    assert [step.event.found for step in recording.select(ev.ZeroPkmapsSought)] == [0]
    assert not recording.select(ev.TlbRangeFlushed)
    assert kmap_part(machine).pkmap_map_wait == [F]
    with mv.record(machine) as recording:
        mv.kunmap(machine, B)
    assert len(recording.select(ev.WakeUp)) == 1 and counts(machine)[2] == 1
    with mv.record(machine) as recording:
        assert slot(machine, mv.kmap(machine, F)) == 2
    assert [step.event.nr for step in recording.select(ev.PkmapProbed)] == [0, 1, 2]
    assert kmap_part(machine).pkmap_map_wait == [] and page_address(machine, B) == 0


def test_example_66_a_page_loses_its_address():
    machine = reference(4)
    assert slot(machine, mv.kmap(machine, A)) == 1
    mv.kunmap(machine, A)
    assert [slot(machine, mv.kmap(machine, pfn)) for pfn in (B, C, D)] == [2, 3, 0]
    assert page_address(machine, A) == 0
    assert slot(machine, mv.kmap(machine, A)) == 1


def test_example_67_nested_atomic_maps():
    machine = reference(cpus=2)
    assert [hex(mv.kmap_atomic(machine, pfn)) for pfn in (A, B)] == ["0xfffbb000", "0xfffba000"]
    mv.set_current(machine, 1)
    assert hex(mv.kmap_atomic(machine, C)) == "0xfffa7000"
    low = mv.i386(512)
    assert mv.kmap_atomic(low, 0x1234) == 0xC1234000
    assert kmap_part(low).kmap_atomic_idx == [0] and kmap_part(low).pagefault_disabled == [1]


def test_example_68_two_gib():
    low = find_low_pfn_range(2 << 18, Split(nr_cpus=8, pae=True))
    assert low == (0x375FE, 0x80000) and (low.max_pfn - low.max_low_pfn) >> 8 == 1162
    machine = mv.i386(2048, Split(nr_cpus=8, pae=True))
    high = machine.zone("HighMem")
    assert (high.zone_start_pfn, high.end_pfn) == (0x375FE, 0x80000)
    assert [zone.name for zone in mv.i386(512).zones()] == ["DMA", "Normal"]


@pytest.mark.parametrize("split, end_of_fixed, pkmap_base, vmalloc_end, maxmem", [
    (Split(nr_cpus=8), 745, 0xFF000000, 0xFEFFE000, 0x36FFE000),
    (Split(nr_cpus=8, pae=True), 1025, 0xFF600000, 0xFF5FE000, 0x375FE000),
    (Split(nr_cpus=64, pae=True), 2049, 0xFE800000, 0xFE7FE000, 0x367FE000),
], ids=["8 CPUs", "8 CPUs, PAE", "64 CPUs, PAE"])
def test_the_worked_layouts(split, end_of_fixed, pkmap_base, vmalloc_end, maxmem):
    assert (split.fix_kmap_begin, split.end_of_fixed_addresses) == (68, end_of_fixed)
    assert (split.pkmap_base, split.vmalloc_end, split.maxmem) == (pkmap_base, vmalloc_end, maxmem)


def test_a_window_is_below_another():
    for offset in PAGE_OFFSETS:
        split = Split(page_offset=offset, debug_highmem=True)
        assert split.page_offset < split.vmalloc_end < split.pkmap_base < split.ldt_base < split.cpu_entry_area_base \
            < split.fixaddr_start
        assert split.pkmap_base % split.pmd_size == 0
    assert Split(debug_highmem=True).km_type_nr == 41


def test_less_for_vmalloc_is_more_low_memory():
    assert Split(vmalloc_reserve=(64 + 8) << 20).maxmem - Split().maxmem == 56 << 20


class TestWhereLowMemoryEnds:
    split = Split(nr_cpus=4, apei_ghes=False)

    def test_all_of_it_fits(self):
        assert find_low_pfn_range(0x373FE, self.split) == (0x373FE, 0x373FE)
        assert find_low_pfn_range(0x373FF, self.split) == (0x373FE, 0x373FF)

    @pytest.mark.parametrize("asked, low", [(0x4000, 0x1C000), (0x1C000, 0x4000), (0x1C001, 0x20000),
                                            (0x20000, 0x20000), (0, 0x20000)])
    def test_some_is_made_high(self, asked, low):
        assert find_low_pfn_range(0x20000, self.split, asked) == (low, 0x20000)

    @pytest.mark.parametrize("asked, end", [(0x1000, 0x383FE), (0, 0x373FE), (0x28C02, 0x60000), (0x30000, 0x60000)])
    def test_less_of_it_is_used(self, asked, end):
        assert find_low_pfn_range(0x60000, self.split, asked) == (0x373FE, end)

    def test_beyond_4_gib_only_with_pae(self):
        assert find_low_pfn_range(0x180000, self.split).max_pfn == 0x100000
        assert find_low_pfn_range(0x180000, Split(pae=True)).max_pfn == 0x180000

    @pytest.mark.parametrize("call", [lambda: find_low_pfn_range(0, Split()), lambda: Split(nr_cpus=0),
                                      lambda: Split(nr_cpus=65), lambda: Split(page_offset=0xC0000001)])
    def test_what_makes_no_sense_is_refused(self, call):
        with pytest.raises(ValueError, match="must be"):
            call()
