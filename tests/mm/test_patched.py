"""Another kernel: yours beside v5.4, and the wrong machines do what they say."""
import random
from importlib import import_module
from pkgutil import iter_modules
from types import FunctionType

import pytest

import mmviz as mv
import mmviz.mm
from mmviz.mm import events as ev
from mmviz.mm import rmqueue
from mmviz.mm.patched import patched
from mmviz.mm.variants import VARIANTS, variant
from mmviz.mm.zone import add_to_free_area

ANY = (mv.GFP_KERNEL, mv.GFP_HIGHUSER_MOVABLE, mv.GFP_KERNEL | mv.kernel.__GFP_RECLAIMABLE, mv.GFP_ATOMIC)


def last(zone, order, migratetype):
    """What a learner may write: the tail instead of the head."""
    return next(reversed(zone.free_area[order].free_list[migratetype]), None)


def test_your_function_is_called_and_v5_4_stays_as_it_is():
    mine = patched(get_page_from_free_area=last)
    machines = mv.toy(4), mv.toy(4)
    for kernel, machine in zip((mv, mine), machines, strict=True):
        held = [kernel.alloc_pages(machine, mv.GFP_KERNEL, 0) for _ in range(6)]
        for pfn in held[::2]:
            kernel.__free_pages(machine, pfn, 0)
    taken = [hex(kernel.alloc_pages(machine, mv.GFP_KERNEL, 0)) for kernel, machine in
             zip((mv, mine), machines, strict=True)]
    assert taken == ["0x1002", "0x1004"]
    assert rmqueue.get_page_from_free_area(machines[0].zone("DMA32"), 0, 0) == 0x1000
    assert repr(mine) == "Kernel(v5.4 with get_page_from_free_area replaced)"


def test_a_kernel_without_changes_is_v5_4():
    assert run(mv, mv.zones_toy()) == run(patched(), mv.zones_toy())
    assert repr(patched()) == "Kernel(v5.4 with nothing replaced)"


def test_a_name_means_the_same_function_each_time():
    """Not the one that a set happens to give first: where several modules have the name, the first module's."""
    first = {}
    for info in sorted(iter_modules(mmviz.mm.__path__), key=lambda info: info.name):
        module = import_module(f"mmviz.mm.{info.name}")
        for function in vars(module).values():
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                first.setdefault(function.__name__, function.__code__)
    assert {name: function.__code__ for name, function in vars(patched()).items() if name != "changed"} == first


def test_what_is_named_keeps_its_default():
    line = mv.Timeline(mv.toy(4), [], lambda *_: None)
    assert patched().unusable_over_time(line, [10], points=2) == mv.unusable_over_time(line, [10], points=2)


def test_what_you_replace_is_called_from_other_cores():
    """The first page table of a process comes from alloc_pages: from yours, if there is one."""
    asked = []

    def counting(machine, gfp_mask, order):
        asked.append(order)
        return mv.alloc_pages(machine, gfp_mask, order)
    mine, machine = patched(alloc_pages=counting), mv.toy(4)
    assert mine.mm_alloc(machine, 1, "init").pgd == mv.mm_alloc(mv.toy(4), 1, "init").pgd
    assert asked == [0]


def test_a_wrong_name_is_told():
    with pytest.raises(ValueError, match=r"such as expand.*got 'expan'"):
        patched(expan=last)
    with pytest.raises(ValueError, match="such as __rmqueue_smallest"):
        patched(xxxxxxxxxx=last)
    with pytest.raises(TypeError, match="must be a function, got 3"):
        patched(expand=3)
    with pytest.raises(ValueError, match="a wrong machine must be one of head_only"):
        variant("tail")


def run(kernel, machine, seed=1):
    """Requests and frees of all kinds; the answers, and the state at the end."""
    rng, held, answers = random.Random(seed), [], []
    for _ in range(250):
        if held and rng.random() < 0.4:
            pfn, order = held.pop(rng.randrange(len(held)))
            kernel.__free_pages(machine, pfn, order)
            continue
        order = rng.choice((0, 0, 0, 1, 2, 3, 5, 8))
        answers.append(kernel.alloc_pages(machine, rng.choice(ANY), order))
        held += [(answers[-1], order)] if answers[-1] is not None else []
    return answers, machine.to_dict()


MACHINES = {
    "bare": lambda: mv.toy(4, grouping=True), "piles": lambda: mv.toy(8, batch=3, high=9, grouping=True),
    "two zones": lambda: mv.boot([("DMA32", 0x1000, 0x400), ("Normal", 0x100000, 0x400)], grouping=True),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_wrong_machine_can_be_recorded_and_differs(name):
    differs = False
    for make in MACHINES.values():
        recorded, plain = make(), make()
        with mv.record(recorded) as rec:
            answers = run(variant(name), recorded)
        assert rec.at(len(rec)) == recorded
        assert answers == run(variant(name), make())  # with nobody listening
        differs |= answers != run(mv, plain)
    assert differs


@pytest.mark.parametrize("name", ["largest_first", "upper_half", "one_at_a_time", "smallest_theft"])
def test_a_wrong_machine_that_is_full_says_no(name):
    machine, kernel = mv.toy(4, grouping=True, watermarks=(0, 0, 0)), variant(name)
    pages = 0
    while kernel.alloc_pages(machine, mv.GFP_NOWAIT, 0) is not None:
        pages += 1
    assert pages >= 1023


def test_every_change_of_a_wrong_machine_is_of_a_known_function():
    for name, (does, changes) in VARIANTS.items():
        assert not does.endswith(".") and does[0].islower(), name
        assert set(changes) <= set(vars(patched())), name


def test_nothing_but_the_end_of_the_list_differs():
    """add_to_free_area for add_to_free_area_tail: the first difference is the end, not the block."""
    mine = patched(add_to_free_area_tail=add_to_free_area)
    recordings = []
    for kernel in (mv, mine):
        machine = mv.toy(4)
        held = [kernel.alloc_pages(machine, mv.GFP_KERNEL, 0) for _ in range(8)]
        with mv.record(machine) as rec:
            for i in (2, 4, 5, 6):
                kernel.__free_pages(machine, held[i], 0)
        recordings.append([step.event for step in rec])
    pairs = [pair for pair in zip(*recordings, strict=True) if pair[0] != pair[1]]
    assert [(type(a), type(b)) for a, b in pairs] == [(ev.AddToFreeAreaTail, ev.AddToFreeArea)]
