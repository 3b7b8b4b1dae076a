"""The panel of kmalloc, a quiz about slabs and the three allocators side by side, in a real JupyterLab, by keyboard."""

import re

from playwright.sync_api import expect

from mmviz.explore.quiz import Quiz

from .conftest import code_cell

CELLS = [
    "import mmviz as mv\n\nmv.use()",
    'mv.SlabPanel("size=256 objects=3")',
    'mv.Quiz("object_next", seed=3)',
    'def work(slab):\n    with mv.record(mv.toy(4, config=mv.Config(slab=slab))) as recording:\n'
    '        for size in (256, 100):\n            mv.kmalloc(recording.live, size, mv.GFP_KERNEL)\n'
    '    return recording\n'
    'mv.Compare(work("SLUB"), work("SLAB"), mv.draw_slab, names=("SLUB", "SLAB"), by="request")',
]


def test_the_panel_by_keyboard(page, tmp_path):
    panel = code_cell(page, 1)
    shown = panel.locator(".mmviz-player")
    heading = shown.locator(".mmviz-title")
    expect(heading).to_contain_text("At the end SLUB holds 1 page; 768 of 4,096 bytes are in objects")
    objects = panel.get_by_role("slider", name="objects")
    objects.focus()
    page.keyboard.press("ArrowRight")
    expect(heading).to_contain_text("1,024 of 4,096 bytes")
    line = panel.get_by_role("textbox", name="this setting as text")
    expect(line).to_have_value(re.compile("size=256 .*objects=4"))
    panel.get_by_role("combobox", name="allocator").select_option("SLOB")
    expect(shown.get_by_role("img")).to_have_attribute("aria-label", re.compile("of SLOB: 4 objects"))
    line.fill("slab=SLAB size=100 objects=2 picture=slab")
    line.press("Enter")
    expect(heading).to_contain_text("At the end SLAB holds 1 page; 256 of 4,096 bytes")
    line.fill("slab=SLIB")
    line.press("Enter")
    expect(panel.get_by_role("alert")).to_have_text("slab must be one of SLUB, SLAB, SLOB, got 'SLIB'")
    page.screenshot(path=(shot := tmp_path / "panel.png"))
    print(shot)
    panel.get_by_role("button", name="reset").click()
    expect(heading).to_contain_text("768 of 4,096 bytes")
    shown.get_by_role("img").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(shown).to_have_attribute("data-step", "1")
    assert page.locator(".jp-CodeCell").count() == len(CELLS)


def test_the_quiz_by_keyboard_and_by_a_click_on_the_object(page, tmp_path):
    shown, same = code_cell(page, 2).locator(".mmviz-quiz"), Quiz("object_next", seed=3).question
    right = same.options[same.right_place]
    expect(shown.get_by_role("group")).to_have_accessible_name(same.text)
    key = next(key for key, value in same.marks.items() if value == right.value)
    shown.locator(f"[data-key='{key}']").first.click()
    expect(shown.get_by_role("radio", name=right.label)).to_be_checked()
    shown.get_by_role("radio").nth(same.right_place).focus()
    page.keyboard.press("Enter")
    expect(shown.get_by_role("status")).to_contain_text(f"{right.label}: {right.reason}.")
    page.screenshot(path=(shot := tmp_path / "quiz.png"))
    print(shot)
    page.keyboard.press("Enter")
    expect(shown.get_by_role("group")).to_have_accessible_name(Quiz("object_next", seed=4).question.text)


def test_two_allocators_under_one_slider(page, tmp_path):
    shown = code_cell(page, 3).locator(".mmviz-player")
    shown.get_by_role("img").first.focus()
    page.keyboard.press("End")
    expect(shown).to_have_attribute("data-step", "2")
    expect(shown.locator(".mmviz-say")).to_contain_text("SLUB: The request for 100 bytes gets 0x")
    expect(shown.locator(".mmviz-say")).to_contain_text("SLAB: The request for 100 bytes gets 0x")
    page.screenshot(path=(shot := tmp_path / "compare.png"))
    print(shot)
