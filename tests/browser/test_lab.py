"""Stepper and panel in a real JupyterLab; and the same notebook saved: without a network, without scripts."""

import re

import pytest
from playwright.sync_api import expect

import mmviz as mv
from mmviz.excerpt import in_short

from .conftest import code_cell

CELLS = [
    "import mmviz as mv\n\nmv.use()",
    "machine = mv.toy(64)\nwith mv.record(machine) as rec:\n    mv.alloc_pages(machine, mv.GFP_KERNEL, 3)",
    "stepper = mv.Stepper(rec, mv.draw_free_area)\nstepper",
    "stepper",
    'panel = mv.BuddyPanel("mib=64 order=3 requests=1")\npanel',
]


def last_step():
    """How many places the notebook's stepper has."""
    machine = mv.toy(64)
    with mv.record(machine) as rec:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 3)
    return len(in_short(rec))


LAST = last_step()
CONTROLS = ("button", "slider", "img", "link", "toolbar", "combobox", "spinbutton", "textbox", "group")


def player(page, number):
    return code_cell(page, number).locator(".mmviz-player")


def at(player, step):
    expect(player).to_have_attribute("data-step", str(step))


def marks(player):
    """What the picture shows: place and texts of each mark."""
    return player.locator(".mmviz-mark").evaluate_all(
        "marks => marks.map(mark => [mark.dataset.key, mark.style.transform, mark.textContent])")


def test_keys_slider_and_tooltip(page):
    shown = player(page, 2)
    at(shown, 0)
    picture = shown.get_by_role("img")
    before = marks(shown)
    picture.focus()
    for key, step in [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", LAST), ("Home", 0)]:
        page.keyboard.press(key)
        at(shown, step)
    assert marks(shown) == before
    slider = shown.get_by_role("slider", name="step")
    slider.focus()
    page.keyboard.press("ArrowRight")
    at(shown, 1)
    slider.fill(str(LAST))
    at(shown, LAST)
    assert marks(shown) != before
    expect(shown.locator("[aria-live]")).to_contain_text("The request for 8 pages (GFP_KERNEL) gets 0x4c00.")
    shown.locator("[data-key='block 0x4c00']").hover()
    expect(shown.get_by_role("tooltip")).to_contain_text("order 3")
    assert page.locator(".jp-CodeCell").count() == len(CELLS)  # no key reached the notebook


def test_a_step_is_not_taken_back(page):
    """The kernel echoes each step that it is told; when its answer comes, the reader may be further."""
    shown = player(page, 2)
    shown.get_by_role("img").focus()
    for _ in range(24):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(30)
    at(shown, 24)
    seen = shown.evaluate("""root => new Promise(done => { const seen = new Set();
        const look = setInterval(() => seen.add(root.dataset.step), 10);
        setTimeout(() => { clearInterval(look); done([...seen]) }, 700) })""")
    assert seen == ["24"]


def test_the_same_stepper_twice(page):
    """Two views of one widget: a step in one is a step in both."""
    at(player(page, 3), 0)
    second = player(page, 3)
    second.get_by_role("button", name="next step").click()
    at(second, 1)
    at(player(page, 2), 1)
    player(page, 2).get_by_role("button", name="last step").click()
    at(player(page, 3), LAST)


def test_a_knob_changes_the_picture(page):
    panel, shown = code_cell(page, 4), player(page, 4)
    at(shown, LAST)
    before = marks(shown)
    order = panel.get_by_role("slider", name="order")
    order.focus()
    page.keyboard.press("ArrowRight")
    expect(panel.get_by_role("textbox", name="this setting as text")).to_have_value(
        'BuddyPanel("mib=64 order=4 gfp=GFP_KERNEL cpu=0 cpus=1 requests=1 frees=0 batch=auto seed=1")')
    expect(shown.locator(".mmviz-title")).to_have_text("Request 1 of 1: order 4, GFP_KERNEL, CPU 0")
    assert marks(shown) != before
    expect(order).to_be_focused()
    panel.get_by_role("combobox", name="picture").select_option("watermarks")
    expect(shown.get_by_role("img")).to_have_attribute("aria-label", re.compile("atermark"))
    panel.get_by_role("button", name="reset").click()
    expect(shown.locator(".mmviz-title")).to_have_text("Request 1 of 1: order 3, GFP_KERNEL, CPU 0")
    at(shown, LAST)
    assert marks(shown) == before


def test_a_wrong_line_is_answered_in_words(page):
    panel = code_cell(page, 4)
    line = panel.get_by_role("textbox", name="this setting as text")
    for _ in range(2):  # the same mistake again is answered again
        line.fill("order=12")
        line.press("Enter")
        expect(panel.get_by_role("alert")).to_have_text("order must be a whole number, 0 to 10, got '12'")
    line.fill("order=2")
    line.press("Enter")
    expect(panel.locator(".mmviz-title")).to_contain_text("order 2")
    expect(panel.locator(".mmviz-problem")).to_be_empty()
    expect(panel.get_by_role("slider", name="order")).to_have_value("2")


def test_every_control_has_a_name(page):
    for number in (2, 4):
        tree = code_cell(page, number).locator(".jp-OutputArea").aria_snapshot()
        nameless = [row for row in tree.splitlines() if row.strip(" -:") in CONTROLS]
        assert nameless == [], tree
    assert code_cell(page, 4).locator(".jp-OutputArea").get_by_role("slider").count() == 7


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_themes(page, theme, tmp_path):
    """Nothing is asserted of how it looks but that text can be told from its ground; the pictures are for eyes."""
    page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", f"JupyterLab {theme}")
    page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=str(theme == "Light").lower())
    for number in (2, 4):
        at(player(page, number), LAST * (number == 4))
        player(page, number).locator(".mmviz-next").hover()
        page.screenshot(path=(shot := tmp_path / f"{theme}{number}.png"))
        print(shot)
        inks = player(page, number).locator(".mmviz-title").evaluate(
            "title => [title, document.body].map((one, i) => getComputedStyle(one)[i ? 'backgroundColor' : 'color'])")
        assert inks[0] != inks[1]


def test_a_fresh_clone_shows_the_film(trial, notebook):
    """Not yet run, not trusted: pictures with their words, and no complaint about a missing model."""
    page = notebook(trial, run=False)
    for number in (2, 3, 4):
        film = code_cell(page, number).locator(".jp-OutputArea")
        expect(film.locator("img").first).to_have_attribute("alt", re.compile("free lists of zone DMA32"))
        expect(film).not_to_contain_text("model not found")
    expect(code_cell(page, 4).locator(".jp-OutputArea")).to_contain_text('BuddyPanel("mib=64 order=3')


def test_saved_it_steps_without_a_kernel(trial, static_page):
    page = static_page(trial)
    shown = page.locator(".mmviz-player")
    expect(shown).to_have_count(3)
    for number, start in enumerate((0, 0, LAST)):
        at(shown.nth(number), start)
        shown.nth(number).get_by_role("img").focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        at(shown.nth(number), 1)
        shown.nth(number).get_by_role("slider").fill("7")
        at(shown.nth(number), 7)
    expect(page.get_by_text('BuddyPanel("mib=64 order=3')).to_have_count(2)  # its source, and its setting


def test_saved_without_scripts_the_film_shows(trial, static_page):
    page = static_page(trial, scripts=False)
    expect(page.locator(".mmviz-player")).to_have_count(0)
    strips = page.locator(".mmviz-film")
    expect(strips).to_have_count(3)
    for strip in strips.all():
        assert strip.locator("img").first.bounding_box()["width"] > 500
        expect(strip.get_by_text(f"Step {LAST} of {LAST}.")).to_be_visible()
