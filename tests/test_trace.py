"""The wire, the recording, the call tree and the timeline, on a state of three lines."""
import gc
import gzip
import json

import pytest

import mmviz as mv
import mmviz.mm.page_alloc  # its events and functions are asked about
from mmviz import recording as recordings
from mmviz.recording import CHECKPOINT, Recording, Timeline, record
from mmviz.trace import EVENTS, Event, StackFrame, Trace, event, mirrored, mirrors


@event
class CounterMoved(Event):
    """The counter of the tests moved."""

    delta: int


@event
class CounterRead(Event):
    """The counter of the tests was looked at."""

    decision = True
    tracepoint = "test:counter_read"
    value: int


class Counter:
    """The smallest state that a Recording can hold."""

    def __init__(self, value=0):
        self.value, self.trace = value, Trace()

    def copy(self):
        return Counter(self.value)

    def apply(self, event):
        if event.decision:
            return
        move(self, event.delta)

    def to_dict(self):
        return {"value": self.value}

    def __eq__(self, other):
        return self.value == other.value

    __hash__ = None


@mirrors("mm/test.c")
def move(counter, delta):
    if counter.value + delta < 0:
        raise ValueError("below zero")
    counter.value += delta
    if counter.trace.on:
        counter.trace.emit(CounterMoved(delta))


@mirrors("mm/test.c", "count_to")
def count(machine, goal, unused=None):
    read(machine)
    while machine.value < goal:
        move(machine, 1)


@mirrors("mm/test.c")
def read(counter):
    if counter.trace.tracepoints:
        counter.trace.emit(CounterRead(counter.value))


def counted(goal=3):
    with record(Counter()) as recording:
        count(recording.live, goal)
    return recording


# ---------------------------------------------------------------- events


def test_an_event_is_plain_data():
    one = CounterMoved(1)
    assert one == CounterMoved(1) != CounterMoved(2) and one != CounterRead(1) and one != 1
    assert hash(one) == hash(CounterMoved(1)) and repr(one) == "CounterMoved(delta=1)" and one.values() == [1]
    assert EVENTS["CounterMoved"] is CounterMoved


def test_an_event_is_frozen_and_has_no_room_for_more():
    with pytest.raises(AttributeError):
        CounterMoved(1).delta = 2
    assert not hasattr(CounterMoved(1), "__dict__")


def test_every_event_of_the_allocator_says_what_it_is():
    of_mm = [kind for kind in EVENTS.values() if kind.__module__ == "mmviz.mm.events"]
    assert len(of_mm) > 40 and all(kind.__doc__ for kind in of_mm)
    assert {kind.tracepoint for kind in of_mm if kind.tracepoint} == {
        f"kmem:mm_page_{name}" for name in ("alloc", "alloc_zone_locked", "pcpu_drain", "free", "free_batched",
                                            "alloc_extfrag")}


# ---------------------------------------------------------------- the wire


def test_with_nobody_listening_nothing_is_on():
    wire = Trace()
    assert not wire.on and not wire.tracepoints


def test_a_listener_hears_everything_while_its_block_runs():
    counter, heard = Counter(), []
    with counter.trace.listen(heard.append):
        assert counter.trace.on and counter.trace.tracepoints
        count(counter, 1)
    count(counter, 2)
    assert heard == [CounterRead(0), CounterMoved(1)] and not counter.trace.on


def test_a_probe_hears_tracepoints_only():
    counter, heard = Counter(), []
    with counter.trace.listen(heard.append, tracepoints_only=True):
        assert counter.trace.tracepoints and not counter.trace.on
        count(counter, 1)
    assert heard == [CounterRead(0)] and not counter.trace.tracepoints


def test_a_probe_beside_a_listener_still_hears_tracepoints_only():
    counter, all_of_it, probed = Counter(), [], []
    with counter.trace.listen(all_of_it.append), counter.trace.listen(probed.append, tracepoints_only=True):
        count(counter, 1)
    assert len(all_of_it) == 2 and probed == [CounterRead(0)]


def test_a_listener_leaves_even_after_an_error():
    counter = Counter()
    with pytest.raises(ZeroDivisionError), record(counter):
        raise ZeroDivisionError
    assert not counter.trace.on


# ---------------------------------------------------------------- mirrors


def test_a_mirrored_function_is_the_function_itself():
    def function():
        return 1

    assert mirrors("mm/test.c")(function) is function
    assert mirrored()["count_to"] == ("mm/test.c", "count_to")
    assert mirrored()["expand"].file == "mm/page_alloc.c"


# ---------------------------------------------------------------- a recording


def test_a_recording_rebuilds_every_state():
    recording = counted(3)
    assert [recording.at(i).value for i in range(len(recording) + 1)] == [0, 0, 1, 2, 3]
    assert [state.value for state in recording.states()] == [0, 0, 1, 2, 3]
    assert recording.live.value == 3 and repr(recording) == "Recording(4 steps)"


@pytest.mark.parametrize("i", [CHECKPOINT - 1, CHECKPOINT, CHECKPOINT + 1, 3 * CHECKPOINT, 200])
def test_a_state_behind_a_checkpoint_is_the_same(i):
    recording = counted(200)
    assert recording.at(i).value == i - 1
    assert recording.at(1).value == 0  # and back again


def test_a_state_is_a_copy_of_your_own():
    recording = counted(100)
    for i in (0, CHECKPOINT):
        recording.at(i).value = 77
        assert recording.at(i).value != 77


@pytest.mark.parametrize("i", [-1, 5])
def test_there_is_no_state_outside(i):
    with pytest.raises(ValueError, match=f"step must be 0 to 4, got {i}"):
        counted(3).at(i)


def test_a_recording_is_a_sequence_of_steps():
    recording = counted(2)
    assert [step.number for step in recording] == [0, 1, 2]
    assert recording[1].event == CounterMoved(1)
    assert recording.select(CounterMoved) == [recording[1], recording[2]]
    assert recording.select(CounterMoved, CounterRead) == list(recording)


def test_a_change_that_does_not_fit_is_an_error_that_names_the_step():
    recording = counted(1)
    recording.steps.append(recordings.Step(2, CounterMoved(-5), ()))
    with pytest.raises(mv.ReplayError, match=r"step 2: CounterMoved\(delta=-5\) does not fit the state before it"):
        recording.at(3)
    with pytest.raises(mv.ReplayError):
        list(recording.states())


# ---------------------------------------------------------------- the call stack


def test_the_stack_of_a_step_is_the_mirrored_functions_that_run():
    recording = counted(1)
    [outer, inner] = recording[1].stack
    assert (outer.symbol, outer.file, outer.call) == ("count_to", "mm/test.c", 0)
    assert outer.args == (("goal", 1), ("unused", None))  # the machine itself is no plain argument
    assert (inner.symbol, inner.args) == ("move", (("counter", "..."), ("delta", 1)))
    assert inner.line > outer.line - 100 and recording[0].stack[0].line != recording[1].stack[0].line


def test_equal_calls_in_a_loop_are_different_calls():
    recording = counted(8)
    assert len({step.stack[1].call for step in recording}) == 9
    assert {step.stack[0].call for step in recording} == {0}
    [root] = recording.calls()
    assert [call.symbol for call in root.calls()] == ["read"] + ["move"] * 8


def test_a_call_tree_holds_the_steps_in_order():
    recording = counted(2)
    [root] = recording.calls()
    assert root.args == (("goal", 2), ("unused", None)) and root.first == 0
    assert [(depth, call.symbol, call.first) for depth, call in root.walk()] == [
        (0, "count_to", 0), (1, "read", 0), (1, "move", 1), (1, "move", 2)]
    assert [call.children for call in root.calls()] == [[step] for step in recording]


def test_what_no_mirrored_function_said_is_no_call():
    with record(Counter()) as recording:
        recording.live.trace.emit(CounterMoved(0))
        move(recording.live, 1)
        move(recording.live, 1)
    assert recording[0].stack == ()
    assert [call.symbol for call in recording.calls()] == ["move", "move"]


def test_a_named_argument_is_shown_by_its_name():
    class Named:
        name, value, trace = "DMA32", 0, Trace()

    class Nameless:
        name, value, trace = 7, 0, Trace()

    for thing, shown in ((Named, "DMA32"), (Nameless, "...")):
        recording = Recording(Counter())
        with thing.trace.listen(recording):
            read(thing)
        assert recording[0].stack[0].args == (("counter", shown),)


def test_a_closed_recording_holds_no_frames():
    recording = counted(1)
    assert recording._running == []
    del recording
    gc.collect()


# ---------------------------------------------------------------- keeping


def test_a_saved_recording_comes_back(tmp_path):
    recording = counted(2)
    recording.save(tmp_path / "r")
    back = Recording.load(tmp_path / "r", lambda saved: Counter(saved["value"]))
    assert back.steps == recording.steps and isinstance(back[0].stack[0], StackFrame)
    assert back.at(3).value == 2 and back.live is None
    assert [call.symbol for call in back.calls()] == ["count_to"]


def test_equal_stacks_are_saved_once(tmp_path):
    counted(2).save(tmp_path / "r")
    saved = json.loads(gzip.decompress((tmp_path / "r").read_bytes()))
    assert len(saved["stacks"]) == 3 and saved["format"] == recordings.FORMAT
    assert saved["steps"][0] == ["CounterRead", 0, 0]


# ---------------------------------------------------------------- a timeline


@pytest.fixture
def timeline():
    return Timeline(Counter(), list(range(1, 11)), count, every=4)


def test_a_timeline_reaches_every_state(timeline):
    assert [timeline.at(i).value for i in range(11)] == list(range(11))
    assert timeline.at(3).value == 3 and len(timeline) == 10 and repr(timeline) == "Timeline(10 operations)"


def test_an_operation_opens_as_a_recording(timeline):
    recording = timeline.open(4)
    assert [step.event for step in recording] == [CounterRead(4), CounterMoved(1)]
    assert recording.at(len(recording)) == timeline.at(5)
    assert [call.args[0] for call in recording.calls()] == [("goal", 5)]


def test_several_operations_open_as_one(timeline):
    assert [call.symbol for call in timeline.open(7, 3).calls()] == ["count_to"] * 3
    assert timeline.open(7, 3).at(6) == timeline.at(10)


@pytest.mark.parametrize("i", [-1, 11])
def test_there_is_no_operation_outside(timeline, i):
    with pytest.raises(ValueError, match=f"operation must be 0 to 10, got {i}"):
        timeline.at(i)


def test_a_timeline_does_not_change_what_it_was_given():
    start = Counter()
    line = Timeline(start, [5], count)
    start.value = 100
    assert line.at(1).value == 5
