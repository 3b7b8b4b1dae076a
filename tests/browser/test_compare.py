"""Compare in a real JupyterLab: one slider, two pictures; and saved, with and without scripts."""

import re

from playwright.sync_api import expect

from .conftest import code_cell

CELLS = ["import mmviz as mv\n\nmv.use()", 'mv.Compare("tail_rule")']


def step_through(page, player):
    """By keys and by the slider; both sides move, and the sentence tells of both."""
    say = player.locator(".mmviz-say")
    player.locator(".mmviz-picture").focus()
    page.keyboard.press("ArrowRight")
    expect(player).to_have_attribute("data-step", "1")
    expect(say).to_contain_text("Both: ")
    slider = player.get_by_role("slider", name="step")
    slider.focus()
    page.keyboard.press("End")
    expect(say).to_contain_text("Both: Page 0x1007 is back on the buddy lists")
    page.keyboard.press("ArrowLeft")
    expect(say).to_contain_text("Head or tail: Block 0x1004 goes to the tail of the order-2")
    expect(say).to_contain_text("Head only: nothing.")
    for side in ("left", "right"):
        expect(player.locator(f"[data-key='{side} heading']")).to_be_visible()
    expect(player.locator(".mmviz-picture")).to_have_accessible_name(re.compile("Head or tail: .*Head only: "))


def test_in_jupyterlab(page, tmp_path):
    step_through(page, code_cell(page, 1).locator(".mmviz-player"))
    page.screenshot(path=(shot := tmp_path / "compare.png"))
    print(shot)


def test_saved_it_steps(trial, static_page):
    page = static_page(trial, scripts=True)
    step_through(page, page.locator(".mmviz-player").first)


def test_without_scripts_the_film_shows_both(trial, static_page):
    page = static_page(trial, scripts=False)
    expect(page.locator(".mmviz-film img").last).to_have_attribute("alt", re.compile("Head or tail: .*Head only: "))
