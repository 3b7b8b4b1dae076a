"""A lesson is run, saved and left; its kernel ends. Who opens it again finds steppers that step, and the answers."""

import json

from playwright.sync_api import expect

from .conftest import code_cell

CELLS = [
    "import mmviz as mv\n\nmv.use()",
    "with mv.record(mv.toy(4)) as rec:\n    mv.alloc_pages(rec.live, mv.GFP_KERNEL, 3)\n"
    "mv.Stepper(rec, mv.draw_free_area)",
    'mv.Quiz("03a-R3")',
    'mv.BuddyPanel("mib=4 order=2")',
    'mv.Quiz("03a-R1", machine=mv.toy(4))',
]
LEAVE = """async () => {
    const { context, sessionContext } = jupyterapp.shell.currentWidget;
    await context.save();
    await sessionContext.shutdown();
}"""


def test_what_was_run_is_there_when_you_come_back(trial, notebook, lessons, tmp_path):
    mine = lessons / "mine.ipynb"
    mine.write_bytes((lessons / trial).read_bytes())
    page = notebook(mine.name)
    code_cell(page, 1).locator(".mmviz-picture").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    quiz = code_cell(page, 2).locator(".mmviz-quiz")
    quiz.get_by_role("radio").first.check()
    quiz.get_by_role("button", name="Answer").click()
    code = quiz.get_by_role("textbox", name="Code to hand in").input_value()
    assert code.startswith("03a-R3/")
    page.evaluate(LEAVE)
    assert json.loads(mine.read_text())["metadata"]["widgets"]

    again = notebook(mine.name, run=False)
    stepper = code_cell(again, 1).locator(".mmviz-player")
    expect(stepper).to_have_attribute("data-step", "3")
    stepper.locator(".mmviz-picture").focus()
    again.keyboard.press("ArrowRight")
    expect(stepper).to_have_attribute("data-step", "4")
    expect(code_cell(again, 2).get_by_role("textbox", name="Code to hand in")).to_have_value(code)
    panel = code_cell(again, 3)
    expect(panel.locator(".mmviz-player")).to_be_visible()
    panel.get_by_role("slider", name="order").focus()
    again.keyboard.press("ArrowRight")
    unasked = code_cell(again, 4).locator(".mmviz-quiz")
    unasked.get_by_role("radio").first.check()
    unasked.get_by_role("button", name="Answer").click()
    expect(unasked.get_by_role("status")).to_contain_text("run this cell")
    expect(code_cell(again, 3).get_by_role("alert")).to_contain_text("run this cell again")
    expect(again.get_by_text("Error displaying widget")).to_have_count(0)
    again.screenshot(path=(shot := tmp_path / "again.png"))
    print(shot)
