"""Two machines under one slider: the same request at each position, and a wrong answer that becomes an experiment."""
import json

import pytest

import mmviz as mv
from mmviz.excerpt import in_short
from mmviz.explore.compare import Compare, Together
from mmviz.explore.experiment import repeated, wrong_machine
from mmviz.explore.pairs import PAIRS, recordings
from mmviz.explore.quiz import Quiz
from mmviz.explore.quiz_instances import instance
from mmviz.mm.patched import patched
from mmviz.mm.variants import VARIANTS, variant


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_shows_its_difference(name):
    pair = Compare(name)
    left, right = pair.together.left.recording, pair.together.right.recording
    assert [step.event for step in left] != [step.event for step in right]
    assert left.at(len(left)) == left.live and right.at(len(right)) == right.live
    assert [call.symbol for call in left.calls()] == [call.symbol for call in right.calls()]
    assert len(json.dumps(pair.html())) < 40_000


def test_a_request_begins_on_both_sides_at_once():
    together = Together(*recordings(PAIRS["half"]))
    assert together.at(0) == (together.left.at(0), together.right.at(0))
    assert together.at(len(together)) == (together.left.recording.live, together.right.recording.live)
    ends = {(left, right) for left, right in together.places}
    for both in zip(Together(*recordings(PAIRS["half"]), by="request").places, strict=True):
        assert both[0] in ends
    steps = [together[i] for i in range(len(together))]
    assert all(any(step.said) for step in steps)


def test_who_does_nothing_keeps_its_picture_and_says_so():
    pair = Compare("batch", by="step")
    i = next(i for i in range(len(pair)) if not pair.together[i].said[0])
    assert pair.together[i].left == pair.together.left[pair.together.places[i][0] - 1]
    assert "Batch 1: nothing. Batch 63: " in " ".join(json.loads(pair.data)["texts"][0]) or "nothing." in pair.data


def test_what_both_do_stands_at_one_position():
    """With batch 1 and 63 the ways part at the refill; the answer of every request stands at the same position."""
    together = Together(*recordings(PAIRS["batch"]))
    answers = [[both.said[side].startswith("The request for") for both in together] for side in (0, 1)]
    assert answers[0] == answers[1] and sum(answers[0]) == 10


def test_two_recordings_of_yours():
    mine = patched(get_page_from_free_area=lambda zone, order, migratetype: None)
    with mv.record(mv.toy(4)) as left:
        mv.alloc_pages(left.live, mv.GFP_NOWAIT, 3)
    with mv.record(mv.toy(4)) as right:
        mine.alloc_pages(right.live, mv.GFP_NOWAIT, 3)
    pair = mv.Compare(left, right, mv.draw_free_area, names=("v5.4", "Mine"), at=-1)
    assert repr(pair) == f"Compare(v5.4 | Mine: {len(pair)} steps)" and pair.step == len(pair)
    assert max(len(in_short(side)) for side in (left, right)) <= len(pair) < len(left) + len(right)


def test_what_does_not_fit_is_told():
    with mv.record(mv.toy(4)) as one:
        mv.alloc_pages(one.live, mv.GFP_KERNEL, 0)
    with mv.record(mv.toy(4)) as two:
        [mv.alloc_pages(two.live, mv.GFP_KERNEL, 0) for _ in range(2)]
    with pytest.raises(ValueError, match="got 1 on the left and 2 on the right"):
        Compare(one, two, mv.draw_free_area)
    with pytest.raises(ValueError, match="by must be one of step, request, got 'event'"):
        Compare(one, one, mv.draw_free_area, by="event")
    with pytest.raises(ValueError, match=r"a pair must be one of grouping, .*got 'halves'"):
        Compare("halves")
    with pytest.raises(ValueError, match="by must be one of step, request, got 'event'"):
        Compare("half", by="event")
    for arguments in ((one, two), ("half", one)):
        with pytest.raises(TypeError, match="two Recordings and a drawing"):
            Compare(*arguments)


def test_a_pair_can_be_shown_otherwise():
    pair = Compare("half", names=("low", "high"), by="request")
    assert repr(pair) == "Compare(low | high: 2 steps)"


def test_steps_are_counted_from_the_end_too():
    together = Together(*recordings(PAIRS["half"]))
    assert together[-1] == together[len(together) - 1] and together[-1].number == len(together) - 1
    with pytest.raises(IndexError):
        together[len(together)]


@pytest.mark.parametrize("by", ["step", "request"])
def test_a_position_is_a_decision_where_neither_state_changes(by):
    together = Together(*recordings(PAIRS["half"]), by=by)
    for i in range(len(together)):
        assert together[i].decision == (together.at(i) == together.at(i + 1))
    assert not all(together[i].decision for i in range(len(together)))


def test_nothing_can_be_compared_with_nothing():
    with mv.record(mv.toy(4)) as one, mv.record(mv.toy(4)) as two:
        pass
    assert repr(Compare(one, two, mv.draw_free_area, at=-1)) == "Compare(Left | Right: 0 steps)"


def test_another_cpu_is_a_request_of_its_own():
    """Both sides are on the same CPU at each position, however many steps a request takes."""
    recordings = []
    for order in (0, 3):
        machine = mv.boot([("DMA32", 0x1000, 0x1000)], cpus=(0, 0))
        with mv.record(machine) as recording:
            for cpu in (0, 1, 0):
                mv.set_current(machine, cpu)
                mv.alloc_pages(machine, mv.GFP_KERNEL, order)
        recordings.append(recording)
    together = Together(*recordings, by="request")
    assert [type(together[i].left.event).__name__ for i in range(6)] == ["SetCurrent", "MmPageAlloc"] * 3
    assert [together.at(i)[0].current.cpu for i in range(7)] == [together.at(i)[1].current.cpu for i in range(7)] \
        == [0, 0, 0, 1, 1, 0, 0]


# ---------------------------------------------------------------- experiments

OFFERED = {  # of the ten kinds, those for which a wrong machine is known, and one of them
    "order_found": "largest_first", "block_taken": "last_of_list", "half_back": "upper_half", "merge": "no_merge",
    "head_or_tail": "head_only", "pcp_fill": "refill_on_top", "zone_serves": "no_watermark",
    "watermark": "whole_block", "steal": "never_claimed",
}


@pytest.mark.parametrize("kind", [*OFFERED, "next_node"])
def test_v5_4_gives_the_right_answer_again(kind):
    """The request can be done again, and the same question arises: else no experiment could be trusted."""
    plain = patched()
    for seed in range(10):
        recording, question = instance(kind, seed)
        again = repeated(recording, question.step, plain)
        first = question.step - recording_start(recording, question.step)
        assert [step.event for step in again] == [step.event for step in recording.steps[first:first + len(again)]]


def recording_start(recording, number):
    """How many steps of its request come before a step."""
    call = recording[number].stack[0].call
    return sum(step.stack[0].call == call for step in recording.steps[:number])


@pytest.mark.parametrize("kind, name", OFFERED.items())
def test_a_wrong_machine_is_offered(kind, name):
    found = set()
    for seed in range(40):
        recording, question = instance(kind, seed)
        wrong = [option.value for option in question.options if option.value != question.right]
        found |= {wrong_machine(recording, question, value) for value in wrong}
        if name in found:
            break
    assert name in found


def test_what_is_offered_gives_the_answer():
    """By the picture of the free lists, not by the question: the block lies at the end that was answered."""
    quiz = next(q for seed in range(20) if (q := Quiz("head_or_tail", seed=seed)).question.right == "tail")
    said = str(quiz.answer("head"))
    assert said.endswith("A machine that puts every block at the head of its list gives your answer: "
                         "quiz.experiment() runs it.")
    pair = quiz.experiment()
    back = next(s.event for s in pair.together.left if type(s.event).__name__ == "AddToFreeAreaTail")
    for side, end in ((pair.together.left, -1), (pair.together.right, 0)):
        state = side.at(len(side))
        blocks = list(state.node[back.nid].node_zones[back.zone_idx].free_list(back.order, back.migratetype))
        assert blocks[end] == back.pfn and len(blocks) > 1


def test_no_experiment_without_a_wrong_answer():
    quiz = Quiz("head_or_tail", seed=1)
    with pytest.raises(ValueError, match="after a wrong answer"):
        quiz.experiment()
    quiz.answer(quiz.question.right)
    with pytest.raises(ValueError, match="after a wrong answer"):
        quiz.experiment()


def test_the_browser_asks_for_the_experiment():
    quiz = next(q for seed in range(20) if (q := Quiz("head_or_tail", seed=seed)).question.right == "tail")
    quiz.answer("head")
    assert json.loads(quiz.said)["offer"] == f"A machine that {VARIANTS['head_only'].does} gives your answer"
    quiz._heard(quiz, {"number": 0, "experiment": True}, [])
    assert isinstance(quiz.shown, Compare)
    first = quiz.shown
    quiz._heard(quiz, {"number": 0, "experiment": True}, [])  # a second click runs nothing
    assert quiz.shown is first
    quiz._heard(quiz, {"number": 0, "again": True}, [])
    assert quiz.shown is None


def test_what_cannot_be_done_again_is_not_offered():
    with mv.record(mv.toy(4)) as rec:
        mv.set_current(rec.live, 0)
        mv.drain_all_pages(rec.live, rec.live.zone("DMA32"))
        pfn = mv.alloc_pages(rec.live, mv.GFP_KERNEL, 0)
        mv.__free_pages(rec.live, pfn, 0)
    assert repeated(rec, 0, variant("queue")) is None  # no call at all
    assert repeated(rec, len(rec), variant("queue")) is None

    last = rec.steps[-1]
    rec.steps[-1] = last._replace(stack=(last.stack[0]._replace(symbol="remap_pfn_range_of_nommu"), *last.stack[1:]))
    assert repeated(rec, len(rec) - 1, patched()) is None  # a function that this kernel has by another name
    rec.steps[-1] = last

    def bug(zone, pfn, order, migratetype):
        raise mv.KernelBug("no")
    assert repeated(rec, len(rec) - 1, patched(__free_one_page=bug)) is None
