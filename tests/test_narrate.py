"""Every event has its sentence, in the words of its machine; the call tree is indented as the calls were."""
import dataclasses

import pytest

import mmviz as mv
from mmviz.kernel import I386
from mmviz.mm import events as ev

LEAVES = sorted((kind for kind in mv.trace.EVENTS.values() if kind.__module__ == ev.__name__
                 and not kind.__subclasses__()), key=lambda kind: kind.__name__)
TEXTS = {"reason": "exhausted", "outcome": "FULL", "why": "low", "what": "reclaim", "text": "order 11", "nodes": "0,1"}


def example(kind, number=1):
    return kind(*(TEXTS.get(field.name, number) for field in dataclasses.fields(kind)))


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("number", [0, 1])
def test_every_event_has_a_sentence(kind, number):
    said = mv.sentence(example(kind, number))
    assert said.endswith(".") and "{" not in said and "None" not in said


def test_names_are_those_of_the_machine():
    event = ev.AddToFreeArea(0, 2, 0x1000, 3, 1)
    assert mv.sentence(ev.WatermarkChecked(0, 2, 0, 64, 100, 64, 0, True, ""), I386).startswith("Zone HighMem")
    assert mv.sentence(event) == "Block 0x1000 goes to the head of the order-3 MOVABLE list."


def test_what_the_kernel_refuses_and_where_the_simulator_stops_are_told_apart():
    refused = mv.sentence(ev.AllocationFailed(0, mv.GFP_NOWAIT, True))
    stopped = mv.sentence(ev.WouldReclaim("reclaim", 0, mv.GFP_KERNEL))
    assert refused.startswith("The kernel's own NULL")
    assert "no answer of the kernel" in stopped


def test_the_tail_rule_is_told_from_a_merge():
    ask = mv.sentence(ev.BuddyChecked(0, 1, 0x1000, 0x1002, 1, True, True))
    assert ask == ("Where to queue 0x1000? The block beside its parent, 0x1002 of order 1, is free, so it goes to the "
                   "tail: a merge is likely soon.")
    assert mv.sentence(ev.BuddyChecked(0, 1, 0x1000, 0x1001, 0, True, False)).endswith("so they merge.")


def test_eight_equal_calls_are_eight_calls():
    machine = mv.toy(4)
    with mv.record(machine) as rec:
        for _ in range(8):
            mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    assert [call.symbol for call in rec.calls()] == ["alloc_pages"] * 8
    assert mv.narrate(rec, events=False).count("\nalloc_pages(") == 7


def test_calls_alone_are_shorter():
    machine = mv.toy(4)
    with mv.record(machine) as rec:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    assert "#" in mv.narrate(rec) and "#" not in mv.narrate(rec, events=False)
