"""Every kind of question on a hundred seeds, the worked example of the lesson, the code to hand in, the saved form."""

import json
import re
from collections import Counter
from functools import cache
from types import SimpleNamespace

import pytest

import mmviz as mv
from mmviz.excerpt import in_short
from mmviz.explore import quiz_code
from mmviz.explore.questions import LETTERS
from mmviz.explore.quiz import Quiz
from mmviz.explore.quiz_instances import instance
from mmviz.explore.quiz_walk import KIND_OF, KINDS
from mmviz.kernel import MPOL_BIND, MPOL_PREFERRED, kernel_symbols
from mmviz.mm import events as ev
from mmviz.mm import highmem_events as kmap_events
from mmviz.mm import slab_events as sl
from mmviz.mm import vm_events
from mmviz.trace import EVENTS

SEEDS = range(100)
RULE = re.compile(r" \(([\w/-]+\.[ch]):(\w+)\)$")


@cache
def problems(kind):
    return [instance(kind, seed) for seed in SEEDS]


def first(recording, step, *kinds):
    return next(s.event for s in recording.steps[step:] if isinstance(s.event, kinds))


def refilled(recording, step):
    end = next(s.number for s in recording.steps[step:] if isinstance(s.event, ev.PcpListDel))
    return tuple(s.event.pfn for s in recording.steps[step:end] if isinstance(s.event, ev.PcpListAddTail))


def verdict(check):
    return f"{'yes' if check.ok else 'no'} {check.free} {check.min + check.reserve}"


def half(event):
    return f"{event.pfn:#x} {event.order} head"


def theft(event):
    name = ("UNMOVABLE", "MOVABLE", "RECLAIMABLE")[event.fallback_migratetype]
    return f"{name} {event.fallback_order} {'changes' if event.change_ownership else 'stays'}"


def slab_place(recording, step):
    """Where the slab of the freed object is after the call, read from the lists themselves."""
    freed, end = recording[step].event, step
    while end < len(recording) and [f.call for f in recording[end].stack[:1]] == [recording[step].stack[0].call]:
        end += 1
    part = recording.at(end).parts["slab"]
    page, cache = part.page_of(freed.object, mv.Config().page_offset), part.cache(freed.cache)
    if page is None:
        return "gone"
    if any(c.page is page for c in cache.cpu_slab):
        return "own"
    if any(page.pfn in c.partial for c in cache.cpu_slab):
        return "cpu partial"
    return "node partial" if page.pfn in cache.node[0].partial else "full"


def page_back(recording, step):
    number = 0
    for each in recording.steps[step:]:
        number += isinstance(each.event, sl.Kfree)
        if isinstance(each.event, sl.SlabDiscarded):
            return f"free {number}"
    return "none"


def new_slab(recording, step):
    found = first(recording, step, sl.SetPageSlab)
    return f"{found.order} {found.objects}"


def zone_name(recording, event):
    return recording.at(0).node[event.nid].node_zones[event.zone_idx].label


def slot_of(recording, step):
    return (first(recording, step, kmap_events.Kmapped).vaddr - 0xFF400000) >> 12


def outcome(recording, step):
    """As the page that asked would tell it."""
    before, after = recording.at(step), recording.at(first_number(recording, step, kmap_events.Kmapped))
    pfn, window = recording[step].event.pfn, before.parts["kmap"]
    if mv.page_address(before, pfn):
        return "again"
    is_free = 0 in window.pkmap_count[window.last_pkmap_nr + 1:]
    return ("free" if is_free else "sweep") if mv.page_address(after, pfn) else "sleep"


def first_number(recording, step, kind):
    return next(s.number for s in recording.steps[step:] if isinstance(s.event, kind))


def nested(recording, step):
    """The address at the end of the kmap_atomic: that of the table entry, or the page's own."""
    event = first(recording, step, vm_events.SetPteAt, kmap_events.PageAddressFound)
    return event.vaddr


def lists_after(recording, step):
    free = recording.live.to_dict()["zones"][0]["free"][:4]
    return "; ".join(f"{order}: {' '.join(f'{pfn:x}' for types in lists for pfn in types) or 'none'}"
                     for order, lists in enumerate(free))


def node_order(recording, step):
    """The nodes by their distance, as many as were asked before one served."""
    row = recording.at(step).distance[recording[step].event.nid]
    served = first(recording, step, ev.SetPageRefcounted).nid
    order = sorted(range(len(row)), key=lambda nid: row[nid])
    return tuple(order[:order.index(served) + 1])


TRUTH = {  # what the recording says, read a second time and more plainly
    "order_found": lambda r, s: next(x.event.order for x in r.steps[s:]
                                     if isinstance(x.event, ev.FreeAreaSearched) and x.event.found),
    "block_taken": lambda r, s: first(r, s, ev.DelPageFromFreeArea).pfn,
    "half_back": lambda r, s: half(first(r, s, ev.AddToFreeArea)),
    "merge": lambda r, s: r[s].event.buddy_pfn if r[s].event.is_buddy else "no",
    "head_or_tail": lambda r, s: "head" if isinstance(first(r, s, ev.AddToFreeArea, ev.AddToFreeAreaTail),
                                                      ev.AddToFreeArea) else "tail",
    "pcp_fill": refilled,
    "zone_serves": lambda r, s: zone_name(r, first(r, s, ev.SetPageRefcounted)),
    "watermark": lambda r, s: verdict(r[s].event),
    "steal": lambda r, s: theft(first(r, s, ev.MmPageAllocExtfrag)),
    "next_node": lambda r, s: next(x.event.nid for x in r.steps[s:] if isinstance(x.event, ev.WatermarkChecked)
                                   and x.event.nid != r[s - 1].event.nid),
    "kmap_slot": slot_of,
    "kmap_sweep": lambda r, s: tuple(nr for nr, count in enumerate(r.at(s).parts["kmap"].pkmap_count) if count == 1),
    "kmap_sleep": outcome,
    "kmap_nested": nested,
    "object_next": lambda r, s: first(r, s, sl.Allocated).ptr, "list_after_free": slab_place, "page_back": page_back,
    "size_class": lambda r, s: first(r, s, sl.Allocated).bytes_alloc, "slab_order": new_slab,
    "lists_after": lists_after, "node_order": node_order,
}


@pytest.mark.parametrize("kind", TRUTH)
def test_a_hundred_seeds(kind):
    """The recorded truth is accepted, and every other option is refused."""
    for recording, question in problems(kind):
        truth = TRUTH[kind](recording, question.step)
        accepted = [option.value for option in question.options
                    if question.place(option.value) == question.right_place]
        assert accepted == [truth], question
        assert 2 <= len(question.options) <= 6
        assert len({option.label for option in question.options}) == len(question.options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_reason_names_its_rule(kind):
    for _, question in problems(kind):
        for option in question.options:
            file, symbol = RULE.search(option.reason).groups()
            assert kernel_symbols()[symbol][0] == file, option
            assert option.reason[0].isupper() or option.reason[0].isdigit(), option.reason


@pytest.mark.parametrize("kind", KINDS)
def test_the_look_of_the_options_tells_nothing(kind):
    """The right one is not the longest as a rule, and stands at every place."""
    longest, places = 0, Counter()
    for _, question in problems(kind):
        lengths = [len(option.label) for option in question.options]
        mine = lengths.pop(question.right_place)
        longest += mine > max(lengths)
        places[question.right_place] += 1
    assert longest < 40
    assert max(places.values()) < 65
    assert len(places) >= 3


@pytest.mark.parametrize("kind", ["merge", "head_or_tail", "watermark", "zone_serves", "next_node", "order_found",
                                  "tables_made", "fault_outcome", "gup_result", "who_copies",
                                  "kmap_slot", "kmap_sleep", "kmap_nested", "kmap_sweep",
                                  "list_after_free", "page_back", "size_class", "slab_order", "node_order"])
def test_no_answer_is_always_right(kind):
    answers = Counter(str(question.right).split()[0] if kind != "merge" else question.right == "no"
                      for _, question in problems(kind))
    assert len(answers) >= 2 and max(answers.values()) < 75, answers


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_is_the_same_problem(kind):
    recording, question = instance(kind, 5)
    again, same = problems(kind)[5]
    assert question == same and [s.event for s in recording] == [s.event for s in again]
    assert len({(question.text, *(option.label for option in question.options))
                for _, question in problems(kind)}) > 40


@pytest.mark.parametrize("kind", KINDS)
def test_quiz_grades(kind):
    """Each option of one instance: the right one counts, a wrong one does not and is told why."""
    options = len(Quiz(kind, seed=2).question.options)
    for i in range(options):
        quiz = Quiz(kind, seed=2)
        question = quiz.question
        reply = repr(quiz.answer(question.options[i].value))
        is_right = i == question.right_place
        assert quiz.score == f"{kind}, seed 2: {int(is_right)} right of 1"
        mine, right = LETTERS[i], LETTERS[question.right_place]
        assert reply.startswith(f"Right: {mine}." if is_right else f"Not {mine}: {right} is right.")
        for option in question.options:
            assert option.reason in reply
        assert Quiz.verify(quiz.code).right == is_right


# ---------------------------------------------------------------- lesson 03, round 6


@pytest.fixture
def lesson():
    """Six single pages are taken of toy(4); 0x1002, 0x1003 and, last, 0x1000 are freed."""
    machine = mv.toy(4)
    for _ in range(5):
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    with mv.record(machine) as recording:
        for pfn in (0x1002, 0x1003, 0x1000):
            mv.__free_pages(machine, pfn, 0)
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    return recording


def test_head_or_tail_of_the_lesson(lesson):
    quiz = Quiz(lesson, ask=ev.AddToFreeArea)
    while "0x1000" not in quiz.question.text:
        quiz.answer("head")
        quiz.again()
    assert quiz.question.right == "tail"
    assert "0x1002 of order 1, is free" in repr(quiz.answer("head"))
    assert "mm/page_alloc.c:__free_one_page" in quiz.said


def test_which_frame_of_the_lesson(lesson):
    quiz = Quiz(lesson, ask="block_taken")
    assert quiz.question.right == 0x1005
    assert "tail of the order-0 list" in repr(quiz.answer(0x1000))


def test_several_kinds_in_their_order(lesson):
    quiz = Quiz(lesson, ask=("merge", "block_taken"))
    seen = [quiz.question]
    for _ in range(99):
        quiz.answer("a")
        try:
            quiz.again()
        except ValueError as error:
            assert "no further question" in str(error)
            break
        seen.append(quiz.question)
    assert {question.kind for question in seen} == {"merge", "block_taken"}
    assert [question.step for question in seen] == sorted(question.step for question in seen)


def test_all_kinds_where_none_is_named(lesson):
    quiz = Quiz(lesson, seed=9)
    assert repr(quiz) == "Quiz(all, seed 9)"
    quiz.answer(quiz.question.right)
    assert Quiz.verify(quiz.code, lesson).right == 1


def test_at_begins_later(lesson):
    steps = [Quiz(lesson, ask="merge", at=at).question.step for at in (0, 8)]
    assert steps[0] < 8 <= steps[1]


# ---------------------------------------------------------------- using it


def test_answer_takes_value_words_or_letter():
    question = problems("pcp_fill")[0][1]
    for i, option in enumerate(question.options):
        assert question.place(option.value) == question.place(list(option.value)) == i
        assert question.place(option.label) == question.place(LETTERS[i]) == i


@pytest.mark.parametrize("answer", ["f", "z", None, 3.5, True, [], object, "0x1"])
def test_an_answer_that_is_no_option(answer):
    quiz = Quiz("pcp_fill")
    with pytest.raises(ValueError, match=r"answer must be one of a \(\[0x"):
        quiz.answer(answer)
    assert quiz.score.endswith("0 right of 0")


def test_one_answer_an_instance():
    quiz = Quiz("merge", seed=3)
    with pytest.raises(ValueError, match="answer this question first"):
        quiz.again()
    before = quiz.question
    quiz.answer("a")
    with pytest.raises(ValueError, match=r"quiz.again\(\)"):
        quiz.answer("b")
    quiz.again()
    assert quiz.question != before
    assert quiz.question == Quiz("merge", seed=4).question


def test_a_test_has_an_end():
    quiz = Quiz("merge+steal", seed=3, most=2)
    quiz.answer("a")
    assert json.loads(quiz.said)["more"] and json.loads(quiz.said)["score"].endswith("right of 1; 2 in all")
    quiz.again()
    quiz.answer("a")
    assert not json.loads(quiz.said)["more"] and json.loads(quiz.said)["score"].endswith(" of 2. That was the last.")
    with pytest.raises(ValueError, match="that was the last of 2 questions"):
        quiz.again()
    assert Quiz.verify(quiz.code).attempts == 2, "a code is that of the same quiz without an end"
    for most in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match=f"most must be an int from 1 on, got {most}"):
            Quiz("merge", most=most)


def test_room_before_the_answer_is_for_the_questions_of_a_lesson():
    """What the next cell shows stays off the screen until there is an answer; practice has no next cell."""
    with mv.record(mv.toy(4)) as recording:
        mv.alloc_pages(recording.live, mv.GFP_KERNEL, 0)
    asked = [json.loads(quiz.asked) for quiz in (Quiz("03a-R3"), Quiz(recording), Quiz("merge"), Quiz("merge", most=1))]
    assert [quiz["below"] for quiz in asked] == [True, True, False, False]


def test_solution_steps_through_the_same_instance():
    quiz = Quiz("half_back", seed=3)
    quiz.answer("a")
    stepper = quiz.solution()
    short = in_short(quiz.recording)
    assert stepper.step == short.place(quiz.question.step)
    assert len(stepper) == len(short)
    assert quiz.score.endswith("of 1")


def test_solution_before_the_answer_gives_up():
    quiz = Quiz("half_back", seed=3)
    quiz.solution()
    assert quiz.score.endswith("0 right of 1")
    assert str(Quiz.verify(quiz.code)) == "half_back, seed 3: 0 right of 1"
    with pytest.raises(ValueError, match="has had its answer"):
        quiz.answer("a")


@pytest.mark.parametrize("arguments, message", [
    (("no_such",), "ask must be one of order_found"),
    (("merge", "steal"), "ask must be left out"),
    (("merge", None, -1), "seed must be"),
    (("merge", None, "1"), "seed must be"),
])
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Quiz(*arguments)


def test_wrong_sources(lesson):
    with pytest.raises(TypeError, match="a Quiz takes a Recording or one of order_found"):
        Quiz(mv.toy(4))
    with pytest.raises(ValueError, match="no question of the kind next_node from step 0"):
        Quiz(lesson, ask="next_node")
    for nothing in ([], 3, [3], "", mv.Quiz):
        with pytest.raises(ValueError, match=r"ask must be one of order_found, .* got "):
            Quiz(lesson, ask=nothing)


@pytest.mark.parametrize("at", [-1, 2.5, True, "3", 10**9])
def test_a_place_to_begin_that_is_none(lesson, at):
    with pytest.raises(ValueError, match=r"at must be an int 0 to 999,999,999, got "):
        Quiz(lesson, ask="merge", at=at)


def test_every_event_of_the_table_is_one():
    assert all(issubclass(EVENTS[name], mv.Event) for name in KIND_OF)
    assert set(KIND_OF.values()) == set(KINDS)


# ---------------------------------------------------------------- what the browser gets


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_answer_is_sent(kind):
    quiz = Quiz(kind, seed=4)
    asked = json.loads(quiz.asked)
    assert set(asked) == {"number", "text", "options", "picture", "below"} and quiz.said == ""
    assert asked["options"] == [option.label for option in quiz.question.options]
    for option in quiz.question.options:
        assert option.reason.split(" (")[0] not in quiz.asked
    assert "<title>" not in asked["picture"]
    state = quiz.get_state()
    assert set(state) & {"question", "right"} == set()


@pytest.mark.parametrize("kind", KINDS)
def test_marks_are_in_the_picture_and_are_options(kind):
    quiz = Quiz(kind, seed=4)
    picture = json.loads(quiz.asked)["picture"]
    for key, value in quiz.question.marks.items():
        if f'data-key="{key}"' in picture:
            assert f'data-key="{key}" data-option="{quiz.question.place(value)}"' in picture
    if kind in ("order_found", "block_taken", "zone_serves"):
        assert picture.count("data-option") >= 2


def test_messages_of_the_browser():
    quiz = Quiz("merge", seed=1)
    for message in ({"number": 0, "again": True}, {"number": 7, "answer": 0}, {"number": 0, "answer": 9},
                    {"number": 0, "answer": "a"}, {"answer": 0}, {}):
        quiz._heard(quiz, message, [])
        assert quiz.said == ""
    quiz._heard(quiz, {"number": 0, "answer": quiz.question.right_place}, [])
    assert json.loads(quiz.said)["score"] == "1 right of 1"
    quiz._heard(quiz, {"number": 0, "again": True}, [])
    assert quiz.said == "" and json.loads(quiz.asked)["number"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_saved_form(kind):
    quiz = Quiz(kind, seed=6)
    saved = quiz._repr_mimebundle_()[0]
    assert saved["text/plain"] == f"Quiz({kind}, seed 6)"
    html = saved["text/html"]
    assert len(json.dumps(html)) < 40_000
    assert html == Quiz(kind, seed=6)._repr_mimebundle_()[0]["text/html"]
    before, _, after = html.partition("<details>")
    assert quiz.question.options[0].label in before and "</details>" in after
    assert not re.search(r"\b(right|no\.)", re.sub(r'<img[^>]*>', "", before))
    assert all(RULE.search(option.reason).group(2) in after for option in quiz.question.options)
    assert "<script" not in html and " id=" not in html


def test_own_picture():
    quiz = Quiz("merge", seed=1, draw=mv.draw_frames)
    assert "frames" in json.loads(quiz.asked)["picture"].lower()


# ---------------------------------------------------------------- the code


def handed_in(kind="head_or_tail"):
    quiz = Quiz(kind, seed=7)
    for right in (False, True, True):
        question = quiz.question
        quiz.answer(LETTERS[(question.right_place + (not right)) % len(question.options)])
        quiz.again()
    return quiz


def test_the_patterns_of_a_question_are_those_of_the_pictures():
    """A dot is a line of no length: without round ends it is nothing."""
    patterns = re.findall(r"<pattern.*?</pattern>", json.loads(Quiz("03a-R2", machine=mv.toy(64)).asked)["picture"])
    assert patterns and all('stroke-linecap="round"' in pattern for pattern in patterns)


@pytest.mark.parametrize("kind", KINDS)
def test_a_code_is_counted_again(kind):
    quiz = Quiz(kind, seed=7)
    quiz.answer(quiz.question.right)
    quiz.again()
    quiz.answer(quiz.question.right)
    assert Quiz.verify(f" {quiz.code}\n")[3:] == (2, 2)


def test_every_change_of_a_code_is_seen():
    code = handed_in().code
    assert str(Quiz.verify(code)) == "head_or_tail, seed 7: 2 right of 3"
    for i in range(len(code)):
        for letter in "a0/x9":
            altered = code[:i] + letter + code[i + 1:]
            if altered != code:
                with pytest.raises(ValueError, match="code"):
                    Quiz.verify(altered)
        with pytest.raises(ValueError, match="code"):
            Quiz.verify(code[:i])


@pytest.mark.parametrize("right, answers", [(2, "f"), (9, "abc"), (0, "fff")])
def test_a_forged_checksum_does_not_make_answers_right(right, answers):
    with pytest.raises(ValueError, match=r"altered|fits no Quiz"):
        Quiz.verify(quiz_code.encode("head_or_tail", 7, answers, right))


@pytest.mark.parametrize("code", ["", "hello", None, 7, "merge/1//0of0/", "x" * 10_000,
                                  quiz_code.encode("no_such", 1, "", 0), quiz_code.encode("merge+no_such", 1, "", 0),
                                  quiz_code.encode("merge", 1, "a" * 501, 0)])
def test_a_malformed_code(code):
    with pytest.raises(ValueError, match="code"):
        Quiz.verify(code)


def test_a_code_of_a_recording(lesson):
    quiz = Quiz(lesson, ask=("merge", "head_or_tail"), seed=3, at=2)
    quiz.answer(quiz.question.right)
    assert Quiz.verify(quiz.code, lesson).right == 1
    for other in (None, problems("merge")[0][0]):
        with pytest.raises(ValueError, match="of the recording"):
            Quiz.verify(quiz.code, other)


def test_a_zone_above_its_mark_that_may_not_steal_is_told_so():
    """ALLOC_NOFRAGMENT: Normal has pages, but no whole pageblock to take from users; DMA32 serves."""
    machine = mv.zones_toy()
    mv.give(machine, mv.take(machine, mv.GFP_NOWAIT | mv.__GFP_MOVABLE, 8034)[::2])
    with mv.record(machine) as recording:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    question = Quiz(recording, ask="zone_serves").question
    assert question.right == "DMA32"
    (wrong,) = [option for option in question.options if option.value == "Normal"]
    assert "ALLOC_NOFRAGMENT" in wrong.reason and wrong.reason.startswith("It passes its watermark")


PREFERRED_0, BIND_1 = mv.Mempolicy(MPOL_PREFERRED, (0,)), mv.Mempolicy(MPOL_BIND, (1,))


@pytest.mark.parametrize("of_task, of_mapping, thisnode, why, rule", [
    (BIND_1, None, 0, "Node 0 is not in the nodemask", "policy_nodemask"),
    (None, BIND_1, 0, "Node 0 is not in the nodemask", "policy_nodemask"),
    (BIND_1, PREFERRED_0, 0, "The walk ends before it comes here", "get_page_from_freelist"),
    (None, None, mv.__GFP_THISNODE, "the zones of node 0 alone", "node_zonelist")])
def test_a_zone_that_a_request_may_not_use_is_told_so(of_task, of_mapping, thisnode, why, rule):
    """A policy that binds, of the task or of its mapping, and __GFP_THISNODE: the end of the walk is not the reason."""
    machine = mv.boot([("DMA32", 0x1000, 0x1000, 0), ("DMA32", 0x4000, 0x1000, 1)], cpus=(0, 1))
    if of_task:
        mv.set_mempolicy(machine, *of_task)
    vma = SimpleNamespace(vm_start=0, vm_pgoff=0, vm_policy=of_mapping)
    with mv.record(machine) as recording:
        if thisnode:
            mv.alloc_pages(machine, mv.GFP_KERNEL | thisnode, 0)
        else:
            mv.alloc_pages_vma(machine, mv.GFP_KERNEL, 0, vma, 0, 0)
    question = Quiz(recording, ask="zone_serves").question
    (wrong,) = [option for option in question.options if option.value != question.right]
    assert ("bound to nodes 1. Which" in question.text) == (rule == "policy_nodemask")
    assert why in wrong.reason and wrong.reason.endswith(f":{rule})")


def test_an_empty_list_has_no_two_ends():
    for recording, _ in problems("head_or_tail")[:10]:
        for step in recording.select(ev.BuddyChecked):
            if KINDS["head_or_tail"](recording, step.number):
                back, state = recording[step.number + 1].event, recording.at(step.number)
                assert state.node[back.nid].node_zones[back.zone_idx].nr_listed(back.order, back.migratetype)


def test_a_tie_of_distances_is_not_asked():
    machine = mv.boot([("DMA32", 0x1000 * (nid + 1), 0x400, nid) for nid in range(3)])
    mv.take(machine, mv.GFP_NOWAIT | mv.__GFP_THISNODE)
    with mv.record(machine) as recording:
        mv.alloc_pages(machine, mv.GFP_NOWAIT, 0)
    assert {step.event.nid for step in recording.select(ev.WatermarkChecked)} == {0, 1}
    with pytest.raises(ValueError, match="no question of the kind next_node"):
        Quiz(recording, ask="next_node")


def test_a_mark_that_is_boosted_keeps_its_name():
    machine = mv.toy(4, watermarks=(10, 20, 30))
    machine.zone("DMA32").watermark_boost = 5
    with mv.record(machine) as recording:
        mv.alloc_pages(machine, mv.GFP_NOWAIT, 0)
    question = Quiz(recording, ask="watermark").question
    assert "tested against LOW" in question.text and question.right == "yes 1024 25"
