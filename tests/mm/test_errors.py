"""Who is told what when something is wrong: a NULL, a ValueError, a KernelBug; and nothing is half done."""
import re

import pytest

import mmviz as mv
from mmviz.kernel import GFP_HIGHUSER_MOVABLE, GFP_KERNEL, GFP_NOWAIT, I386, PF_MEMALLOC
from mmviz.mm import events as ev
from mmviz.mm.page_free import free_pcppages_bulk, virt_to_pfn
from mmviz.mm.zone import page_ref_add, page_ref_count, pcp_list_del

FIRST = 0xFFFF888001000000  # the address of pfn 0x1000


@pytest.fixture
def toy():
    return mv.toy(4)


@pytest.fixture
def refused(toy):
    """refused(ValueError, "order", function, *arguments): the call is refused, with this text, and changes nothing."""

    def check(error, text, function, *arguments):
        before = toy.copy()
        with pytest.raises(error, match=re.escape(text)):
            function(*arguments)
        assert toy == before

    return check


# ---------------------------------------------------------------- the kernel says no


@pytest.mark.parametrize("order", [11, 12, 100])
def test_an_order_past_the_largest_is_a_null_with_a_warning(toy, events_of, order):
    assert mv.alloc_pages(toy, GFP_KERNEL, order) is None
    [*_, warned] = events_of(toy, mv.alloc_pages, toy, GFP_KERNEL, order)
    assert warned == ev.Warned(f"WARN_ON_ONCE(order >= MAX_ORDER): order {order}, largest is 10")


def test_nowarn_is_a_null_without_one(toy, events_of):
    events = events_of(toy, mv.alloc_pages, toy, GFP_KERNEL | mv.__GFP_NOWARN, 11)
    assert not any(isinstance(event, ev.Warned) for event in events)


def test_where_c_returns_an_address_no_is_0(toy):
    assert mv.__get_free_pages(toy, GFP_KERNEL, 11) == 0
    assert mv.alloc_pages_exact(toy, 1 << 30, GFP_KERNEL) == 0
    assert mv.get_zeroed_page(toy, GFP_NOWAIT) == FIRST


# ---------------------------------------------------------------- a request that makes no sense


@pytest.mark.parametrize("order", [-1, 1.0, "1", None, True])
def test_an_order_is_a_whole_number_from_0_on(toy, refused, order):
    refused(ValueError, f"order must be an int >= 0, got {order!r} (0 to 10 can be served)",
            mv.alloc_pages, toy, GFP_KERNEL, order)


def test_one_zone_flag_is_enough(toy, refused):
    refused(ValueError, "gfp_mask 0xcc6: at most one of __GFP_DMA, __GFP_HIGHMEM, __GFP_DMA32 may be set "
            "(include/linux/gfp.h:gfp_zone)", mv.alloc_pages, toy, GFP_KERNEL | mv.__GFP_HIGHMEM | mv.__GFP_DMA32, 0)


def test_movable_and_reclaimable_exclude_each_other(toy, refused):
    refused(ValueError, "__GFP_MOVABLE and __GFP_RECLAIMABLE exclude each other",
            mv.alloc_pages, toy, GFP_KERNEL | mv.__GFP_MOVABLE | mv.__GFP_RECLAIMABLE, 0)


@pytest.mark.parametrize("gfp_mask", [1 << 24, -1])
def test_a_mask_of_unknown_bits(toy, refused, gfp_mask):
    refused(ValueError, f"gfp_mask must be made of the bits 0xffffff, got {gfp_mask:#x}",
            mv.alloc_pages, toy, gfp_mask, 0)


@pytest.mark.parametrize("nid", [-2, 1])
def test_a_node_that_is_not_there(toy, refused, nid):
    refused(ValueError, f"nid must be 0 to 0 or NUMA_NO_NODE, got {nid}",
            mv.alloc_pages_node, toy, nid, GFP_KERNEL, 0)


@pytest.mark.parametrize("size", [0, -4096])
def test_no_bytes_are_no_request(toy, refused, size):
    refused(ValueError, f"size must be at least 1 byte, got {size}", mv.alloc_pages_exact, toy, size, GFP_KERNEL)


@pytest.mark.parametrize("cpu", [-1, 1])
def test_a_cpu_that_is_not_there(toy, refused, cpu):
    refused(ValueError, f"cpu must be 0 to 0, got {cpu}", mv.set_current, toy, cpu)


@pytest.mark.parametrize("cpu", [-1, 1])
def test_the_lists_of_a_cpu_that_is_not_there(toy, refused, cpu):
    refused(ValueError, "cpu must be 0 to 0", mv.drain_pages, toy, cpu)


def test_a_zone_that_is_not_there(toy):
    with pytest.raises(KeyError, match=re.escape("zone must be one of DMA32, got 'Normal' of node 0")):
        toy.zone("Normal")


# ---------------------------------------------------------------- a free that makes no sense


@pytest.mark.parametrize("pfn", [0xFFF, 0x1400, -1])
def test_a_pfn_outside_the_machine(toy, refused, pfn):
    refused(ValueError, f"pfn must lie in a zone (DMA32 0x1000 to 0x13ff), got {pfn:#x}", mv.__free_pages, toy, pfn, 0)


@pytest.mark.parametrize("pfn", [4096.0, "0x1000", None])
def test_a_pfn_is_a_whole_number(toy, refused, pfn):
    mv.alloc_pages(toy, GFP_KERNEL, 0)
    refused(TypeError, f"pfn and order must be ints, got {pfn!r} and 0", mv.__free_pages, toy, pfn, 0)
    refused(TypeError, "pages must be pfns (ints)", mv.free_unref_page_list, toy, [0x1000, pfn])


@pytest.mark.parametrize("order", [-1, 11])
def test_the_order_of_a_free_is_0_to_10(toy, refused, order):
    pfn = mv.alloc_pages(toy, GFP_KERNEL, 3)
    refused(ValueError, f"order must be 0 to 10, got {order}", mv.__free_pages, toy, pfn, order)


@pytest.mark.parametrize("order", [1.0, "1", None, True])
def test_the_order_of_a_free_is_a_whole_number(toy, refused, order):
    pfn = mv.alloc_pages(toy, GFP_KERNEL, 1)
    refused(TypeError, f"pfn and order must be ints, got 4096 and {order!r}", mv.__free_pages, toy, pfn, order)


def test_a_block_begins_at_a_multiple_of_its_size(toy, refused):
    mv.alloc_pages(toy, GFP_KERNEL, 3)
    refused(ValueError, "pfn of an order-2 block must be a multiple of 0x4 inside zone DMA32, got 0x1002",
            mv.__free_pages, toy, 0x1002, 2)


def test_a_block_lies_inside_its_zone():
    machine = mv.boot([("DMA32", 0x1000, 0x401)])
    with pytest.raises(ValueError, match="inside zone DMA32, got 0x1400"):
        mv.__free_pages(machine, 0x1400, 1)


@pytest.mark.parametrize("addr", [FIRST + 1, 0x1000, -4096])
def test_an_address_of_no_page(toy, refused, addr):
    refused(ValueError, "addr must be page-aligned and at or above PAGE_OFFSET 0xffff888000000000",
            mv.free_pages, toy, addr, 0)


def test_address_0_is_nothing_to_free(toy):
    before = toy.copy()
    mv.free_pages(toy, 0, 0)
    assert toy == before


def test_an_address_is_a_frame(toy):
    assert virt_to_pfn(toy, FIRST) == 0x1000
    addr = mv.__get_free_pages(toy, GFP_KERNEL, 2)
    mv.free_pages(toy, addr, 2)
    assert toy.zone("DMA32").allocated == {}


def test_a_page_of_highmem_has_no_address():
    machine = mv.boot([("Normal", 0x1000, 0x800), ("HighMem", 0x1800, 0x800)], config=I386)
    pfn = mv.alloc_pages(machine, mv.GFP_HIGHUSER, 0)
    assert mv.page_address(machine, pfn) == 0


# ---------------------------------------------------------------- the kernel would go on, and be sorry


def test_a_double_free_of_a_block(toy, refused):
    pfn = mv.alloc_pages(toy, GFP_KERNEL, 2)
    mv.__free_pages(toy, pfn, 2)
    refused(mv.KernelBug, "pfn 0x1000 is already free (order 10, Unmovable); a plain v5.4 says nothing here",
            mv.__free_pages, toy, pfn, 2)


def test_a_double_free_of_a_page_on_a_pile():
    machine = mv.toy(64)
    pfn = mv.alloc_pages(machine, GFP_HIGHUSER_MOVABLE, 0)
    mv.__free_pages(machine, pfn, 0)
    with pytest.raises(mv.KernelBug, match=rf"pfn {pfn:#x} is already free \(on a per-CPU list, type Movable\)"):
        mv.__free_pages(machine, pfn, 0)


def test_a_free_of_what_boot_left_untouched():
    machine = mv.toy(64)
    with pytest.raises(mv.KernelBug, match=r"pfn 0x1005 is already free \(order 10, Movable\)"):
        mv.__free_pages(machine, 0x1005, 0)


def test_a_free_with_another_order(toy, refused):
    pfn = mv.alloc_pages(toy, GFP_KERNEL, 3)
    refused(mv.KernelBug, "pfn 0x1000, freed as order 2, lies in 0x1000, which was handed out as order 3",
            mv.__free_pages, toy, pfn, 2)


@pytest.mark.parametrize("tail, order", [(1, 0), (2, 1), (7, 0)])
def test_a_free_of_a_part_of_a_block(toy, refused, tail, order):
    pfn = mv.alloc_pages(toy, GFP_KERNEL, 3)
    refused(mv.KernelBug, f"pfn {pfn + tail:#x}, freed as order {order}, lies in {pfn:#x}, which was handed out as "
            "order 3", mv.__free_pages, toy, pfn + tail, order)


def test_a_free_of_a_block_that_holds_a_page_in_use(toy, refused):
    pages = [mv.alloc_pages(toy, GFP_KERNEL, 0) for _ in range(4)]
    mv.__free_pages(toy, pages[0], 0)
    refused(mv.KernelBug, "pfn 0x1000 is already free", mv.__free_pages, toy, pages[0], 2)


def test_a_free_of_a_guard_page():
    machine = mv.boot([("DMA32", 0x1000, 0x400)], config=mv.Config(debug_guardpage_minorder=1))
    pfn = mv.alloc_pages(machine, GFP_KERNEL, 0)
    before = machine.copy()
    with pytest.raises(mv.KernelBug, match=f"pfn {pfn + 1:#x} is"):
        mv.__free_pages(machine, pfn + 1, 0)
    assert machine == before


def test_a_page_twice_in_a_list(toy, refused):
    pfn = mv.alloc_pages(toy, GFP_KERNEL, 0)
    refused(mv.KernelBug, "a page is twice in the list", mv.free_unref_page_list, toy, [pfn, pfn])


def test_a_page_in_a_list_that_is_free(toy, refused):
    pfn = mv.alloc_pages(toy, GFP_KERNEL, 0)
    refused(mv.KernelBug, f"pfn {pfn + 1:#x} is already free", mv.free_unref_page_list, toy, [pfn, pfn + 1])


def test_a_compound_page_is_not_split(toy, events_of):
    events = events_of(toy, mv.alloc_pages_exact, toy, 3 * 4096, GFP_KERNEL | mv.__GFP_COMP)
    assert any(isinstance(event, ev.Warned) for event in events)
    assert toy.zone("DMA32").compound == {}
    assert toy.zone("DMA32").allocated == {0x1000: 0, 0x1001: 0, 0x1002: 0}


def test_more_pages_than_a_pile_has(toy, refused):
    refused(ValueError, "count must be 0 to 0 (pcp->count), got 1", free_pcppages_bulk, toy.zone("DMA32"), 1, 0)


def test_a_page_leaves_a_pile_at_its_ends_only(zone_with, fill_pile):
    zone = zone_with(batch=1, high=9)
    fill_pile(zone, 1, [0x1000, 0x1001, 0x1002])
    before = zone.machine.copy()
    with pytest.raises(mv.KernelBug, match=r"pfn 0x1001 is at neither end of CPU 0's list 1 in zone DMA32"):
        pcp_list_del(zone, 0, 1, 0x1001)
    assert zone.machine == before


# ---------------------------------------------------------------- strict = False: as a plain v5.4 does


@pytest.fixture
def careless():
    """A machine that goes on after a double free, of order-0 pages that its buddy lists take at once."""
    machine = mv.toy(4)
    machine.strict = False
    return machine


def test_a_silent_double_free_leaves_a_count_of_minus_one(careless):
    pfn = mv.alloc_pages(careless, GFP_KERNEL, 1)
    mv.__free_pages(careless, pfn, 1)
    mv.__free_pages(careless, pfn, 1)
    assert page_ref_count(careless.zone("DMA32"), pfn) == -1


@pytest.mark.parametrize("order", [0, 2])
def test_the_bad_page_is_found_when_it_is_taken_again_and_is_leaked(careless, events_of, order):
    pfn = mv.alloc_pages(careless, GFP_KERNEL, order)
    for _ in range(2):
        mv.__free_pages(careless, pfn, order)
    taken = []
    events = events_of(careless, lambda: taken.append(mv.alloc_pages(careless, GFP_KERNEL, order)))
    assert [event for event in events if isinstance(event, ev.BadPage)] == [ev.BadPage(0, 1, pfn, -1)]
    assert taken == [pfn + (1 << order)]


def test_a_held_page_comes_back_with_its_last_reference(toy):
    pfn = mv.alloc_pages(toy, GFP_KERNEL, 0)
    zone = toy.zone("DMA32")
    page_ref_add(zone, pfn, 1)
    mv.__free_pages(toy, pfn, 0)
    assert (page_ref_count(zone, pfn), zone.allocated) == (1, {pfn: 0})
    mv.__free_pages(toy, pfn, 0)
    assert (page_ref_count(zone, pfn), zone.allocated) == (0, {})


def test_a_page_that_is_older_than_the_machine_may_be_freed(toy):
    """A snapshot does not say who holds what: a page on no list was handed out before."""
    zone = toy.zone("DMA32")
    pfn = mv.alloc_pages(toy, GFP_KERNEL, 0)
    zone.allocated.clear()
    page_ref_add(zone, 0x1200, 1)
    mv.__free_pages(toy, pfn, 0)
    assert zone.block_of(pfn) == (0x1000, 10, 0)


def test_a_task_that_frees_memory_is_no_error(toy):
    mv.set_current(toy, 0, flags=PF_MEMALLOC)
    assert mv.alloc_pages(toy, GFP_KERNEL, 0) == 0x1000
