"""The questions of the lessons: each is whole, each is asked, and an answer is replied to."""
import json
import re

import pytest

import mmviz as mv
from mmviz.explore.pairs import PAIRS
from mmviz.explore.predictions import _asked, names, pair_of, picture_of, prediction
from mmviz.explore.quiz import Quiz
from mmviz.explore.stepper import draw_of
from mmviz.kernel import DATA, kernel_symbols

NOTEBOOKS = DATA.parent / "notebooks"


def sources(lesson):
    for path in NOTEBOOKS.glob(f"{lesson}-*.ipynb"):
        yield from ("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])


@pytest.mark.parametrize("name", names())
class TestQuestion:
    def test_it_is_whole(self, name):
        asked = _asked(name)
        assert set(asked) <= {"text", "right", "options", "picture", "pairs"}
        assert asked["text"].endswith("?") and asked["right"] in asked["options"]
        assert 2 <= len(asked["options"]) <= 6
        assert set(asked.get("pairs", {}).values()) <= set(PAIRS)
        assert set(asked.get("pairs", {})) <= set(asked["options"]) - {asked["right"]}
        assert not picture_of(name) or draw_of(picture_of(name))

    def test_its_replies_are_sentences_and_name_functions_that_exist(self, name):
        for reply in _asked(name)["options"].values():
            assert not reply.endswith(".") and reply[0] == reply[0].upper()
            assert not re.search(r"\b(?:simply|just|obviously|of course)\b", reply)
            for file, symbol in re.findall(r"\(([\w/]+\.[ch]):(\w+)\)", reply):
                assert kernel_symbols()[symbol][0] == file

    def test_a_lesson_asks_it(self, name):
        assert any(f'Quiz("{name}"' in source for source in sources(name.partition("-")[0]))

    def test_the_notebook_does_not_tell(self, name):
        question = prediction(name)
        reply = question.options[question.right_place].reason
        assert not any(reply in source for source in sources(name.partition("-")[0]))

    def test_right_and_wrong_are_told_apart_and_counted(self, name):
        for option in prediction(name).options:
            quiz = Quiz(name)
            said = str(quiz.answer(option.value))
            right = option.value == prediction(name).right
            assert said.startswith("Right: " if right else "Not ") and option.reason in said
            assert Quiz.verify(quiz.code).right == right
            assert ("quiz.experiment()" in said) == bool(pair_of(name, option.value))


def test_the_experiment_is_the_pair():
    quiz = Quiz("03a-R3", machine=mv.toy(64))
    quiz.answer("0x4c00: it was freed first")
    assert quiz.experiment().names == PAIRS["pile"].names
    assert "There is a machine for this: The pile is a queue" in json.loads(quiz.said)["offer"]


def test_the_picture_is_of_the_machine():
    assert "mmviz-mark" in json.loads(Quiz("03a-R1", machine=mv.toy(4)).asked)["picture"]
    assert json.loads(Quiz("03a-R1").asked)["picture"] == ""
    assert json.loads(Quiz("03b-R5", machine=mv.toy(4)).asked)["picture"] == ""
    assert json.loads(Quiz("03b-R5", machine=mv.toy(4), draw=mv.draw_frames).asked)["picture"]
    assert "<img" not in Quiz("03a-R1")._form


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match=r"a lesson's question must be one of 00-R1, .*got '03a-R9'"):
        Quiz("03a-R9")
    with pytest.raises(ValueError, match="ask must be left out for 03a-R1, got 'merge'"):
        Quiz("03a-R1", ask="merge")
    with pytest.raises(ValueError, match="the next cell runs it"):
        Quiz("03a-R1").solution()
    quiz = Quiz("03a-R1")
    quiz.answer("a")
    with pytest.raises(ValueError, match="no further question"):
        quiz.again()


def test_another_seed_another_order():
    assert len({tuple(json.loads(Quiz("03b-R7", seed=seed).asked)["options"]) for seed in range(9)}) > 1
