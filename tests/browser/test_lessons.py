"""Every lesson in JupyterLab: all cells run, all steppers step; and saved: without a network, without scripts."""

import json
import pathlib
import re

import pytest
from playwright.sync_api import expect

NOTEBOOKS = pathlib.Path(__file__).resolve().parent.parent.parent / "notebooks"
LESSONS = [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
HARDEST = [name for name in LESSONS if name.startswith("03a")]
BLOCK = '<div class="mmviz-steps">'
STEPPERS = """block => jupyterapp.shell.currentWidget.context.model.toJSON().cells.map(cell => (cell.outputs || [])
    .filter(output => [output.data?.['text/html']].flat().join('').includes(block)).length)"""  # of each cell
# From the input event to the moment after the frame in which the picture stands.
LATENCY = """async (player, steps) => {
    const slider = player.querySelector('input[type=range]'), last = +slider.max;
    const painted = () => new Promise(done => requestAnimationFrame(() => {
        const channel = new MessageChannel(); channel.port1.onmessage = done; channel.port2.postMessage(0); }));
    const took = [];
    for (let i = 0; i < steps; i++) {
        await new Promise(done => setTimeout(done, 5 + 7 * (i % 4)));
        const before = player.dataset.step, start = performance.now();
        slider.value = (+before + 1) % (last + 1);
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        while (player.dataset.step === before && performance.now() < start + 3000) await painted();
        took.push(performance.now() - start);
    }
    return took.sort((a, b) => a - b);
}"""


def has_stepper(name):
    """Whether a saved output of the notebook holds one."""
    cells = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return any(BLOCK in "".join(output.get("data", {}).get("text/html", "")) for output in outputs)


def cell_count(page):
    return page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.length")


def players(page):
    """Every stepper of the notebook in turn, scrolled into view: JupyterLab builds only what is near."""
    for number, count in enumerate(page.evaluate(STEPPERS, BLOCK)):
        if count:
            page.evaluate("number => jupyterapp.shell.currentWidget.content.scrollToItem(number, 'start')", number)
            found = page.locator(".jp-Notebook .jp-Cell").nth(number).locator(".mmviz-player")
            expect(found).to_have_count(count)
            yield from (found.nth(each) for each in range(count))


def must_step(page, player):
    """By the arrow key and by the slider."""
    slider = player.get_by_role("slider", name=re.compile("^(step|place)$"))
    last = int(slider.get_attribute("max"))
    slider.fill("0")
    expect(player).to_have_attribute("data-step", "0")
    player.get_by_role("img").first.focus()
    page.keyboard.press("ArrowRight")
    expect(player).to_have_attribute("data-step", str(min(1, last)))
    slider.fill(str(last))
    expect(player).to_have_attribute("data-step", str(last))


@pytest.mark.parametrize("name", LESSONS)
def test_it_runs_and_steps(name, notebook):
    page = notebook(name)
    cells, shown = cell_count(page), 0
    for player in players(page):
        must_step(page, player)
        shown += 1
    print(f"{name}: {shown} steppers")
    assert shown or not has_stepper(name)
    assert cell_count(page) == cells  # no key reached the notebook
    expect(page.locator(".mmviz-error")).to_have_count(0)


@pytest.mark.parametrize("name", HARDEST)
def test_a_step_takes_less_than_100_ms(name, notebook):
    page = notebook(name)
    took = next(players(page)).evaluate(LATENCY, 120)
    p95 = took[len(took) * 95 // 100]
    print(f"\n{name}, first stepper, input to picture: median {took[len(took) // 2]:.1f} ms, p95 {p95:.1f} ms")
    assert p95 < 100


@pytest.mark.parametrize("name", [name for name in LESSONS if has_stepper(name)])
def test_saved_it_steps_without_a_network(name, static_page):
    page = static_page(name)
    found = page.locator(".mmviz-player")
    expect(found.first).to_be_visible()
    expect(found).to_have_count(page.locator(".mmviz-steps").count())
    for number in range(found.count()):
        must_step(page, found.nth(number))


@pytest.mark.parametrize("name", [name for name in LESSONS if has_stepper(name)])
def test_saved_without_scripts_the_film_shows(name, static_page):
    page = static_page(name, scripts=False)
    strips = page.locator(".mmviz-film")
    assert strips.count() > 0
    for picture in strips.locator("img").all():
        assert picture.get_attribute("alt") and picture.bounding_box()["width"] > 100
