"""The questions about address spaces: what is right is what the recording does, on a hundred seeds of each kind."""
from functools import cache

import pytest

from mmviz.explore.quiz import Quiz
from mmviz.explore.quiz_instances import instance
from mmviz.explore.quiz_vm import KIND_OF, KINDS
from mmviz.kernel import VM_FAULT_SIGBUS, Errno
from mmviz.mm import vm_events as ev
from mmviz.mm.geometry import address_indices, geometry_of
from mmviz.mm.mm_types import INIT_MM
from mmviz.mm.pgtable import frame_of


@cache
def problems(kind):
    return [instance(kind, seed) for seed in range(100)]


def after(recording, step):
    """The state after the touch that this step belongs to, and the event that ends it."""
    for later in recording.steps[step:]:
        event = later.event
        allowed = isinstance(event, ev.EntryUsed) and event.allowed
        refused = isinstance(event, ev.FaultChecked) and event.code
        if allowed or refused or (isinstance(event, ev.FaultHandled) and event.result & VM_FAULT_SIGBUS):
            return recording.at(later.number + 1), event
    raise AssertionError("the touch has no end")


def index(recording, question):
    event, state = recording[question.step].event, recording.at(question.step)
    return dict(address_indices(geometry_of(state), event.vaddr))[question.text.split("entry of the ")[1].split()[0]]


def tables(recording, question):
    state, _ = after(recording, question.step)
    return len(state.parts["vm"].tables) - len(recording.at(question.step).parts["vm"].tables)


def stop(recording, question):
    event = recording[question.step].event
    shift = geometry_of(recording.at(question.step)).level(event.level).shift
    assert event.end % (1 << shift) == 0 and 0 < event.end - event.start <= 1 << shift
    return event.end


def outcome(recording, question):
    event, before = recording[question.step].event, recording.at(question.step)
    state, last = after(recording, question.step)
    if isinstance(last, ev.FaultChecked):
        return {1: "maperr", 2: "accerr"}[last.code]
    if isinstance(last, ev.FaultHandled):
        return "sigbus"
    had, has = (frame_of(s, s.parts["vm"].mm[event.mm], event.vaddr) for s in (before, state))
    vm = state.parts["vm"]
    if has == vm.zero_pfn:
        return "zero"
    if vm.mapping[has].kind == "file":
        return "file"
    if had == has:
        return "reuse"
    vma = next(v for v in before.parts["vm"].mm[event.mm].mmap if v.vm_start <= event.vaddr < v.vm_end)
    return "new" if had in (None, vm.zero_pfn) and not vma.vm_ops else "copy"


def result(recording, question):
    return [step.event for step in recording.select(ev.UserPagesGot)][-1].got


def writer(recording, question):
    before = recording.at(question.step)
    pid = int(question.text.split()[1])
    begun = [s.event for s in recording.select(ev.FaultBegun) if s.number < question.step][-1]
    state, _ = after(recording, question.step)
    had, has = (frame_of(s, s.parts["vm"].mm[pid], begun.vaddr) for s in (before, state))
    return "keeps" if had == has else "copies"


TRUTH = {"table_index": index, "tables_made": tables, "addr_end": stop, "fault_outcome": outcome, "gup_result": result,
         "who_copies": writer}


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_seeds(kind):
    for recording, question in problems(kind):
        accepted = [option.value for option in question.options
                    if question.place(option.value) == question.right_place]
        assert accepted == [TRUTH[kind](recording, question)], question
        assert 2 <= len(question.options) <= 6
        assert len({option.label for option in question.options}) == len(question.options)


def test_every_outcome_is_asked_for():
    assert len({question.right for _, question in problems("fault_outcome")}) == 8
    assert {question.right for _, question in problems("who_copies")} == {"keeps", "copies"}
    assert {-Errno.EFAULT, 1, 2} < {question.right for _, question in problems("gup_result")}
    assert {question.right for _, question in problems("tables_made")} >= {0, 1, 2, 3}


def test_every_geometry_is_asked_about():
    assert {recording.at(0).config.geometry for recording, _ in problems("table_index")} == {
        "x86-64", "x86-64 5-level", "i386", "i386 PAE"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_quiz_shows_the_process_before_the_step(kind):
    quiz = Quiz(kind, seed=3)
    state = quiz.recording.at(quiz.question.step)
    assert quiz.question.zone[1] in set(state.parts["vm"].mm) - {INIT_MM}
    assert "address space of" in quiz.asked or "Page tables of" in quiz.asked
    assert quiz.solution().step == quiz.question.step


@pytest.mark.parametrize("event, kind", KIND_OF.items())
def test_a_recording_can_be_asked_by_the_event(event, kind):
    recording, _ = instance(kind, 1)
    assert Quiz(recording, ask=getattr(ev, event)).question.kind == kind


def test_no_question_where_nothing_is_to_be_asked():
    recording, _ = instance("fault_outcome", 1)
    allowed = [step.number for step in recording.select(ev.EntryUsed) if step.event.allowed]
    assert all(KINDS["fault_outcome"](recording, number) is None for number in allowed)
    others = [step.number for step in recording if not isinstance(step.event, tuple(
        getattr(ev, name) for name in (*KIND_OF, "EntryUsed")))]
    assert all(ask(recording, number) is None for number in others[::9] for name, ask in KINDS.items()
               if name != "gup_result")
