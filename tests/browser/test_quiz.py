"""A Quiz in a real JupyterLab, answered by mouse, by keys and by `answer`; and saved: no network, no scripts."""

import re

import pytest
from playwright.sync_api import expect

from mmviz.explore.questions import LETTERS
from mmviz.explore.quiz import Quiz

from .conftest import code_cell

CELLS = [
    "import mmviz as mv\nfrom mmviz.explore.quiz import Quiz\n\nmv.use()",
    'blocks = Quiz("block_taken", seed=2)\nblocks',
    'ends = Quiz("head_or_tail", seed=1)\nends',
    'pile = Quiz("pcp_fill", seed=1)\npile',
    "pile.answer(pile.question.right)",
    'cut = Quiz("half_back", seed=1)\ncut',
]
CONTROLS = ("button", "radio", "img", "textbox", "group")


def quiz(page, number):
    return code_cell(page, number).locator(".mmviz-quiz")


def test_by_mouse(page, tmp_path):
    shown, same = quiz(page, 1), Quiz("block_taken", seed=2).question
    right = same.options[same.right_place].label
    expect(shown.get_by_role("group")).to_have_accessible_name(same.text)
    answer = shown.get_by_role("button", name="Answer")
    expect(answer).to_have_attribute("aria-disabled", "true")
    answer.click(force=True)
    expect(shown.get_by_role("status")).to_have_text("Choose an option first.")
    shown.locator(f"[data-key='block {right}']").first.click()
    expect(shown.get_by_role("radio", name=right)).to_be_checked()
    page.screenshot(path=(shot := tmp_path / "asked.png"))
    print(shot)
    answer.click()
    expect(shown.get_by_role("status")).to_contain_text(re.compile(rf"^Right: \w\. {right}: "))
    expect(shown.get_by_text("1 right of 1", exact=True)).to_be_visible()
    expect(shown.get_by_role("textbox", name="Code to hand in")).to_have_value(re.compile("^block_taken/2/.*/1of1/"))
    page.screenshot(path=(shot := tmp_path / "right.png"))
    print(shot)
    shown.get_by_role("button", name="New question").click()
    expect(shown.get_by_role("group")).to_have_accessible_name(Quiz("block_taken", seed=3).question.text)
    expect(shown.get_by_role("status")).to_be_empty()


def test_by_keyboard(page, tmp_path):
    """Tab, arrows and Enter; the reply to a wrong answer names the rule, and no key reaches the notebook."""
    shown, same = quiz(page, 2), Quiz("head_or_tail", seed=1).question
    cells = page.locator(".jp-CodeCell").count()
    wrong = 1 if same.right_place != 1 else 2
    shown.get_by_role("radio").first.focus()
    for _ in range(wrong):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("b")
    expect(shown.get_by_role("radio").nth(wrong)).to_be_checked()
    page.keyboard.press("Tab")
    expect(shown.get_by_role("button", name="Answer")).to_be_focused()
    page.keyboard.press("Enter")
    status = shown.get_by_role("status")
    expect(status).to_contain_text(f"{same.options[wrong].label}: {same.options[wrong].reason}.")
    expect(status).to_contain_text(f"Not {LETTERS[wrong]}: {LETTERS[same.right_place]} is right.")
    expect(shown.locator(".mmviz-reason code").first).to_have_text(re.compile(r"^mm/page_alloc.c:\w+$"))
    for option in same.options:
        expect(shown).to_contain_text(option.reason.split(" (")[0])
    page.screenshot(path=(shot := tmp_path / "wrong.png"))
    print(shot)
    expect(shown.get_by_role("button", name="New question")).to_be_focused()
    page.keyboard.press("Enter")
    expect(shown.get_by_role("group")).to_have_accessible_name(Quiz("head_or_tail", seed=2).question.text)
    expect(shown.get_by_role("radio").first).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")  # in the form, as well as on its button
    expect(shown.get_by_text(re.compile(r"^\d right of 2$"))).to_be_visible()
    assert page.locator(".jp-CodeCell").count() == cells


def test_by_answer(page):
    """The cell below the quiz has answered it."""
    shown = quiz(page, 3)
    expect(shown.get_by_role("status")).to_contain_text("Right: ")
    expect(shown.get_by_text("1 right of 1", exact=True)).to_be_visible()
    for radio in shown.get_by_role("radio").all():
        expect(radio).to_be_disabled()


def test_a_wrong_answer_becomes_an_experiment(page, tmp_path):
    """The machine that keeps the upper half is offered, runs, and steps beside v5.4; a new question takes it away."""
    shown, same = quiz(page, 5), Quiz("half_back", seed=1).question
    lower = next(o for o in same.options if o.reason.startswith("The lower half is the one"))
    run = shown.get_by_role("button", name="Run it")
    expect(run).to_be_hidden()
    shown.get_by_role("radio", name=lower.label).check()
    page.keyboard.press("Enter")
    expect(shown).to_contain_text("A machine that keeps the upper half of what it cuts gives your answer.")
    run.focus()
    page.keyboard.press("Enter")
    trial = page.locator(".jp-CodeCell").nth(5).get_by_role("region", name="experiment")
    player = trial.locator(".mmviz-player")
    expect(player).to_have_attribute("data-step", "0")
    for side in ("left", "right"):
        expect(player.locator(f"[data-key='{side} heading']")).to_be_visible()
    player.locator(".mmviz-picture").focus()
    page.keyboard.press("End")
    expect(player.locator(".mmviz-say")).to_contain_text("A machine that keeps the upper half of what it cuts: ")
    player.scroll_into_view_if_needed()
    page.screenshot(path=(shot := tmp_path / "experiment.png"))
    print(shot)
    shown.get_by_role("button", name="New question").click()
    expect(player).to_have_count(0)


def test_nothing_of_the_answer_is_in_the_page(page):
    question = Quiz("head_or_tail", seed=1).question
    shown = quiz(page, 2)
    expect(shown.get_by_role("radio")).to_have_count(len(question.options))
    html = page.content()
    for option in question.options:
        assert option.reason.split(" (")[0] not in html


def test_every_control_has_a_name_and_a_state(page):
    for number in (1, 2, 3):
        shown = quiz(page, number)
        expect(shown).to_be_visible()
        tree = shown.aria_snapshot()
        assert [row for row in tree.splitlines() if row.strip(" -:") in CONTROLS] == [], tree
        assert tree.count("- radio ") >= 3
    assert "[checked]" in tree and "[disabled]" in tree
    assert shown.locator("input, button").evaluate_all(
        "all => all.every(one => one.dataset.lmSuppressShortcuts === 'true')")


def test_dark(page, tmp_path):
    """The words of the form can be told from their ground; the picture keeps its white paper."""
    page.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    shown = quiz(page, 3)
    expect(shown.get_by_role("status")).to_contain_text("Right: ")
    inks = shown.locator("legend").evaluate(
        "legend => [getComputedStyle(legend).color, getComputedStyle(document.body).backgroundColor]")
    assert inks[0] != inks[1]
    expect(shown.get_by_role("img")).to_have_css("background-color", "rgb(255, 255, 255)")
    page.screenshot(path=(shot := tmp_path / "dark.png"))
    print(shot)


def test_a_fresh_clone_folds_the_answer(trial, notebook):
    page = notebook(trial, run=False)
    page.evaluate("jupyterapp.shell.currentWidget.content.scrollToItem(2, 'start')")
    output = page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea")
    expect(output).not_to_contain_text("model not found")
    unfold(output, Quiz("head_or_tail", seed=1).question)


@pytest.mark.parametrize("scripts", [True, False])
def test_saved_it_folds_out(trial, static_page, scripts, tmp_path):
    page = static_page(trial, scripts=scripts)
    for number, kind in enumerate(("block_taken", "head_or_tail", "pcp_fill")):
        block = page.locator(".mmviz-question").nth(number)
        unfold(block, Quiz(kind, seed=2 if kind == "block_taken" else 1).question)
    page.locator(".mmviz-question").nth(1).scroll_into_view_if_needed()
    page.screenshot(path=(shot := tmp_path / "static.png"))
    print(shot)


def unfold(block, question):
    """The question stands with picture and options; its answer is not seen until it is asked for."""
    reason = question.options[question.right_place].reason.split(" (")[0]
    expect(block.get_by_text(question.text)).to_be_visible()
    expect(block.locator("img")).to_have_attribute("alt", re.compile("free lists of zone"))
    for option in question.options:
        expect(block.get_by_text(option.label).first).to_be_visible()
    expect(block.get_by_text(reason).first).not_to_be_visible()
    block.locator("summary").click()
    expect(block.get_by_text(reason).first).to_be_visible()
