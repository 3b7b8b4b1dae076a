"""A recording in short: what is one place, what it says, and that nothing is lost."""
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmviz as mv
from mmviz.excerpt import Excerpt, in_short
from mmviz.mm.events import AddToFreeArea, FallbackSearched, FreeAreaSearched, GuardChecked
from mmviz.mm.slab_events import CmpxchgDoubleSlab, SetFreepointer
from mmviz.narrate import sentence, told


def recorded(order: int = 3, machine: mv.Machine | None = None) -> mv.Recording:
    with mv.record(machine or mv.toy(4)) as recording:
        mv.alloc_pages(recording.live, mv.GFP_KERNEL, order)
    return recording


def test_lists_searched_in_vain_are_one_place_and_a_half_that_goes_back_is_one():
    short = in_short(recorded())
    said = [short.sentence(i) for i in range(len(short))]
    assert "Orders 3 to 10, UNMOVABLE: the lists are empty." in said
    assert not any("the list is empty" in text for text in said)
    halves = [text for text in said if text.startswith("The upper half, 0x1")]
    assert halves == [f"The upper half, {0x1000 + (1 << n):#x}, goes to the head of the order-{n} UNMOVABLE list."
                      for n in range(9, 2, -1)]


def test_nothing_is_lost():
    recording = recorded()
    short = in_short(recording)
    assert [step for i in range(len(short)) for step in short.since(i)] == recording.steps
    assert short.at(len(short)) == recording.live and short.at(0) == recording.at(0)
    assert [state.copy() for state in short.states()] == [short.at(i) for i in range(len(short) + 1)]
    assert [short.place(end) for end in short.ends] == list(range(len(short) + 1))
    assert [short.decision(i) for i in range(len(short))] == [short.at(i) == short.at(i + 1) for i in range(len(short))]


def test_a_call_is_stepped_over():
    with mv.record(mv.toy(4)) as recording:
        first = [mv.alloc_pages(recording.live, mv.GFP_KERNEL, 0) for _ in range(2)]
        mv.__free_pages(recording.live, first[0], 0)
    short = in_short(recording, "__alloc_pages_nodemask")
    assert [short.sentence(i) for i in range(2)] == [
        f"The request for 1 page (GFP_KERNEL) gets {pfn:#x}." for pfn in first]
    assert not short.decision(0) and len(short) > 2 and "__free_pages" in short[2].stack[0].symbol
    with pytest.raises(ValueError, match=r"got alloc_page_nodemask, vzap; is it .*__alloc_pages"):
        in_short(recording, ("vzap", "alloc_page_nodemask", "expand"))


def test_every_step_for_itself():
    recording = recorded()
    assert list(in_short(recording, runs=False)) == recording.steps
    cut = [step for step in recording if any(frame.symbol == "expand" for frame in step.stack)]
    assert len(in_short(recording, "expand", runs=False)) == len(recording) - len(cut) + 1 < len(recording)


def test_two_requests_are_never_one_place():
    with mv.record(mv.toy(4)) as recording:
        for _ in range(2):
            mv.alloc_pages(recording.live, mv.GFP_NOWAIT, 0)
    for step in range(len(in_short(recording))):
        assert len({step.stack[0].call for step in in_short(recording).since(step)}) == 1


SEARCHED = [FreeAreaSearched(0, 1, order, 0, False) for order in range(11)]


@pytest.mark.parametrize("events, words", [
    (SEARCHED[:1], "Order 0, UNMOVABLE: the list is empty."),
    (SEARCHED[2:4], "Orders 2 to 3, UNMOVABLE: the lists are empty."),
    ([*SEARCHED[:2], FreeAreaSearched(0, 1, 2, 0, True)], "Order 2, UNMOVABLE: a block is there."),
    ([FallbackSearched(0, 1, order, 0, -1, False) for order in (10, 9, 8)],
     "Orders 10 to 8: no other type has a block."),
    ([FallbackSearched(0, 1, 10, 0, 1, True)],
     "Order 10: MOVABLE has a block, and the rest of its pageblock may go too."),
    ([GuardChecked(0, 1, 0x1200, 9, False), AddToFreeArea(0, 1, 0x1200, 9, 0)],
     "The upper half, 0x1200, goes to the head of the order-9 UNMOVABLE list."),
    ([AddToFreeArea(0, 1, 0x1200, 9, 0)], "Block 0x1200 goes to the head of the order-9 UNMOVABLE list."),
    ([GuardChecked(0, 1, 0x1200, 9, True)], "The upper half, 0x1200 of order 9, is kept as a guard block."),
])
def test_what_a_run_says(events, words):
    assert told(events) == words


def test_objects_that_go_back_one_by_one():
    pairs = [event for n in range(3) for event in (SetFreepointer(0x1000, n, n), CmpxchgDoubleSlab(0x1000, n, n, True))]
    assert told(pairs) == "3 objects go back to the list of slab 0x1000, one by one; the slab is still a CPU's."
    last = CmpxchgDoubleSlab(0x1000, 1, 1, False)
    assert told([*pairs, last]) == sentence(last) and told(pairs[:2]) == sentence(pairs[1])


@given(st.sets(st.integers(1, 14), min_size=1))
def test_any_places_will_do(ends):
    recording = recorded(9)
    some = Excerpt(recording, sorted(ends))
    assert len(some) == len(ends) and some[len(some) - 1] == recording[max(ends) - 1] == some[-1]
    assert [len(some.since(i)) for i in range(len(some))] == [b - a for a, b in pairwise(some.ends)]
    with pytest.raises(IndexError):
        some[len(some)]
