"""The exercises in a real JupyterLab: a quiz of two kinds answered by keys, a challenge solved in its cell."""
import json
import re

import pytest
from playwright.sync_api import expect

NAME = "90-exercises.ipynb"


@pytest.fixture
def page(lessons, notebook):
    return notebook(NAME)


def cell(page, lessons, text):
    """The code cell that holds a text, scrolled into view, and its number."""
    cells = json.loads((lessons / NAME).read_text(encoding="utf-8"))["cells"]
    number = next(i for i, each in enumerate(cells) if each["cell_type"] == "code" and text in "".join(each["source"]))
    page.evaluate("number => jupyterapp.shell.currentWidget.content.scrollToItem(number, 'start')", number)
    return number, page.locator(".jp-Notebook .jp-Cell").nth(number), cells[number]


def test_a_quiz_by_keys(page, lessons, tmp_path):
    _, shown, _ = cell(page, lessons, 'stories = mv.Quiz("pcp_fill')
    quiz = shown.locator(".mmviz-quiz").nth(1)
    for asked in (1, 2):
        quiz.get_by_role("radio").first.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(quiz.get_by_text(re.compile(rf"^\d right of {asked}$"))).to_be_visible()
        page.screenshot(path=(shot := tmp_path / f"answer{asked}.png"))
        print(shot)
        if asked == 1:
            page.keyboard.press("Enter")  # New question has the focus
            expect(quiz.get_by_role("status")).to_be_empty()
    code = quiz.get_by_role("textbox", name="Code to hand in")
    expect(code).to_have_value(re.compile(r"^pcp_fill\+lists_after/90/[a-f]{2}/\dof2/"))


def test_a_challenge_in_its_cell(page, lessons, tmp_path):
    number, shown, saved = cell(page, lessons, 'mv.Challenge("kmap_sleep"')
    expect(shown.locator(".jp-OutputArea")).to_contain_text("Your turn")
    source = "\n".join(saved["metadata"]["solution"] if line.endswith("# yours") else line
                       for line in "".join(saved["source"]).splitlines())
    page.evaluate("""async ([number, source]) => {
        const content = jupyterapp.shell.currentWidget.content;
        content.activeCellIndex = number;
        content.activeCell.model.sharedModel.setSource(source);
        await jupyterapp.commands.execute('notebook:run-cell'); }""", [number, source])
    expect(shown.locator(".jp-OutputArea")).to_contain_text("Right.")
    page.screenshot(path=(shot := tmp_path / "right.png"))
    print(shot)
