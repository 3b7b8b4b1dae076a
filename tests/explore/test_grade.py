"""A class list is counted again, wrong ideas and all; a code that cannot be read costs one line."""
import subprocess
import sys

import pytest

from mmviz.errors import CaptureError
from mmviz.explore.grade import Entry, Report, grade, in_common, read_codes, wrong_ideas
from mmviz.explore.quiz import Quiz

KINDS = "half_back+merge+head_or_tail"


def code(seed, rights, kinds=KINDS):
    """A learner's code: right where `rights` says so."""
    quiz = Quiz(kinds, seed=seed)
    for number, right in enumerate(rights):
        if number:
            quiz.again()
        place = quiz.question.right_place
        quiz.answer("abcdef"[place if right else (place + 1) % len(quiz.question.options)])
    return quiz.code


def test_kinds_in_turn():
    quiz = Quiz(KINDS, seed=5)
    asked = [quiz.question.kind]
    for _ in range(3):
        quiz.answer("a")
        quiz.again()
        asked.append(quiz.question.kind)
    assert asked == ["half_back", "merge", "head_or_tail", "half_back"]
    assert Quiz.verify(quiz.code).attempts == 3
    with pytest.raises(ValueError, match="ask must be one of"):
        Quiz("merge+nothing")


def test_a_class(tmp_path):
    rows = [("Ada", "before", code(1, [0, 0, 1])), ("Ada", "after", code(40, [1, 1, 1])),
            ("Bob", "before", code(1, [0, 1, 1])), ("Bob", "after", code(40, [1, 0, 1])),
            ("Eve", "before", code(1, [1, 1, 1])[:-1] + "g"), ("", "", "merge/7")]
    path = tmp_path / "class.csv"
    path.write_text("name,when,code\n" + "\n".join(",".join(row) for row in rows) + "\n", encoding="utf-8-sig")
    report = grade(read_codes(path))
    assert report.scores == {("Ada", "before"): (1, 3), ("Ada", "after"): (3, 3), ("Bob", "before"): (2, 3),
                             ("Bob", "after"): (2, 3)}
    assert [problem.split(":")[0] for problem in report.problems] == ["line 6, Eve", "line 7, nobody"]
    assert sum(report.ideas.values()) == 4 and max(report.ideas.values()) == 2  # both fell for the same half
    done = subprocess.run([sys.executable, "-m", "mmviz", "grade", path], capture_output=True, text=True)
    assert done.returncode == 1 and "Ada                      after    3 of 3" in done.stdout
    assert "2 who did both: 50 % right before, 83 % after; 1 did better" in done.stdout
    assert "line 6, Eve: not a code of a Quiz" in done.stdout and done.stderr == ""


def test_who_answered_nothing_is_not_compared_and_before_comes_first():
    entries = [Entry(1, "Ada", "after", code(2, [])), Entry(2, "Ada", "before", code(1, [1])),
               Entry(3, "Ada", "", code(3, [1], "merge"))]
    said = str(grade(entries))
    assert "who did both" not in said
    assert said.index("before   1 of 1") < said.index("after    0 of 0") < said.index("         1 of 1\n")
    entries[0] = Entry(1, "Ada", "after", code(2, [0]))
    assert "1 who did both: 100 % right before, 0 % after; 0 did better" in str(grade(entries))


def test_an_idea_has_no_numbers_of_its_own():
    first, second = (list(wrong_ideas(Quiz.verify(code(seed, [0], "half_back")))) for seed in (1, 2))
    assert first[0][0] == "half_back" and "0x" not in first[0][1]
    assert {kind for kind, _ in first + second} == {"half_back"}
    assert in_common(["Entry 3 counts from 0"]) == "Entry 3 counts from 0"
    assert in_common(["Entry 3 counts from 0", "Entry 0x1c counts from 0"]) == "Entry N counts from 0"


def test_what_is_handed_in_twice_counts_once():
    row = Entry(2, "Ada", "", code(1, [1], "merge"))
    report = grade([row, row._replace(line=3)])
    assert report.scores == {("Ada", ""): (1, 1)} and report.problems == ["line 3, Ada: handed in before, counted once"]


def test_giving_up_is_no_idea_and_a_right_answer_neither():
    quiz = Quiz("merge", seed=3)
    quiz.solution()
    assert list(wrong_ideas(Quiz.verify(quiz.code))) == []
    assert list(wrong_ideas(Quiz.verify(code(3, [1], "merge")))) == []


def test_a_lessons_question_counts_too():
    quiz = Quiz("03a-R3")
    quiz.answer("0x4c00: it was freed first")
    report = grade([Entry(2, "Ada", "", quiz.code)])
    assert report.ideas == {("03a-R3", "That would be a queue; it is one for the buddy lists, not for you"): 1}


def test_a_perfect_class_has_no_table_of_ideas():
    report = grade([Entry(2, "Ada", "", code(1, [1, 1]))])
    assert "how often" not in str(report) and "before and after" not in str(report)
    assert str(Report()).startswith("name")


@pytest.mark.parametrize("text, words", [("who,code\n", "missing: name"), ("", "missing: code, name"),
                                         (None, "not a list of codes"), ("name,code\n\xff", None)])
def test_a_list_that_is_none(tmp_path, text, words, capsys):
    path = tmp_path / "list.csv"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CaptureError, match=words or "not a list of codes"):
        read_codes(path)
    from mmviz.__main__ import main
    assert main(["grade", str(path)]) == 1 and str(path) in capsys.readouterr().err


def test_well_done_is_exit_status_0(tmp_path, capsys):
    path = tmp_path / "class.csv"
    path.write_text(f"name,code\nAda,{code(1, [1])}\n")
    from mmviz.__main__ import main
    assert main(["grade", str(path)]) == 0 and "1 of 1" in capsys.readouterr().out
