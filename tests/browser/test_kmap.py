"""The panel and the questions of the windows to high memory, in a real JupyterLab, by keyboard; and saved."""
import re

import pytest
from playwright.sync_api import expect

from mmviz.explore.quiz import Quiz

from .conftest import code_cell

CELLS = [
    "import mmviz as mv\n\nmv.use()",
    'mv.KmapPanel("slots=4 calls=6 gives=0")',
    'mv.Quiz("kmap_slot", seed=2)',
    'mv.Quiz("kmap_nested", seed=1)',
]


def test_the_panel_by_keyboard(page, tmp_path):
    panel = code_cell(page, 1)
    shown = panel.locator(".mmviz-player")
    expect(shown.locator(".mmviz-title")).to_have_text("Calls 1 to 6 of 6: 4 slots, 6 high pages")
    slots = panel.get_by_role("slider", name="slots")
    slots.focus()
    page.keyboard.press("ArrowRight")
    expect(shown.locator(".mmviz-title")).to_have_text("Calls 1 to 6 of 6: 8 slots, 6 high pages")
    expect(slots).to_be_focused()
    line = panel.get_by_role("textbox", name="this setting as text")
    line.fill("slots=5")
    line.press("Enter")
    expect(panel.get_by_role("alert")).to_have_text("slots must be one of 4, 8, 16, 32, got '5'")
    panel.get_by_role("combobox", name="picture").select_option("fixmap")
    expect(shown.get_by_role("img")).to_have_attribute("aria-label", re.compile("^The fixmap of kmap_atomic"))
    panel.get_by_role("button", name="reset").click()
    expect(shown.locator(".mmviz-title")).to_have_text("Calls 1 to 6 of 6: 4 slots, 6 high pages")
    shown.get_by_role("img").first.focus()
    last = int(shown.get_attribute("data-step"))
    page.keyboard.press("ArrowLeft")
    expect(shown).to_have_attribute("data-step", str(last - 1))
    page.screenshot(path=(shot := tmp_path / "panel.png"))
    print(shot)


@pytest.mark.parametrize("number, kind, seed", [(2, "kmap_slot", 2), (3, "kmap_nested", 1)])
def test_a_question_by_keyboard(page, number, kind, seed, tmp_path):
    question = Quiz(kind, seed=seed).question
    shown = code_cell(page, number).locator(".mmviz-quiz")
    expect(shown.get_by_role("group")).to_have_accessible_name(question.text)
    shown.get_by_role("radio").first.focus()
    page.keyboard.press("Space")
    for _ in range(question.right_place):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    right = question.options[question.right_place]
    expect(shown.get_by_role("status")).to_contain_text(f"{right.label}: {right.reason}.")
    page.screenshot(path=(shot := tmp_path / f"{kind}.png"))
    print(shot)


def test_a_slot_can_be_clicked(page):
    question = Quiz("kmap_slot", seed=2).question
    shown = code_cell(page, 2).locator(".mmviz-quiz")
    shown.locator(f"[data-key='slot {question.right}']").first.click()
    expect(shown.get_by_role("radio", name=f"slot {question.right}")).to_be_checked()


def test_saved_the_panel_steps_and_the_answer_folds_out(trial, static_page):
    page = static_page(trial)
    shown = page.locator(".mmviz-player")
    expect(shown).to_have_count(1)
    shown.get_by_role("button", name="first step").click()
    expect(shown).to_have_attribute("data-step", "0")
    page.locator("details").first.click()
    expect(page.locator("details").first).to_contain_text("Right.")
