"""Compare in a real JupyterLab: one slider, two pictures; and saved, with and without scripts."""

import re

import nbclient
import nbformat
import pytest
from playwright.sync_api import expect

NAME = "compare.ipynb"


@pytest.fixture(scope="module")
def trial(lessons):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in
                                               ("import mmviz as mv\n\nmv.use()", 'mv.Compare("tail_rule")')])
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": lessons}}).execute()
    for output in (output for cell in notebook.cells for output in cell.outputs):
        output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, lessons / NAME)
    return NAME


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
    expect(say).to_contain_text("Head or tail: ")
    expect(say).to_contain_text("Head only: ")
    for side in ("left", "right"):
        expect(player.locator(f"[data-key='{side} heading']")).to_be_visible()
    expect(player.locator(".mmviz-picture")).to_have_accessible_name(re.compile("Head or tail: .*Head only: "))


def test_in_jupyterlab(trial, notebook, tmp_path):
    page = notebook(trial)
    page.evaluate("jupyterapp.shell.currentWidget.content.scrollToItem(1, 'start')")
    player = page.locator(".jp-CodeCell").nth(1).locator(".mmviz-player")
    step_through(page, player)
    page.screenshot(path=(shot := tmp_path / "compare.png"))
    print(shot)


def test_saved_it_steps(trial, static_page):
    page = static_page(trial, scripts=True)
    step_through(page, page.locator(".mmviz-player").first)


def test_without_scripts_the_film_shows_both(trial, static_page):
    page = static_page(trial, scripts=False)
    expect(page.locator(".mmviz-film img").last).to_have_attribute("alt", re.compile("Head or tail: .*Head only: "))
