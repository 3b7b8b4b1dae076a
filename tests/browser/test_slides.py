"""The offline decks in a real Chromium, from their files, with the network refused."""

import re
import subprocess
import sys

import pytest
from playwright.sync_api import expect

from .conftest import ROOT

DECKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
MOST_BYTES = 2_000_000
PAINTED = "performance.getEntriesByName('first-contentful-paint')"
SLIDE = """async ([wanted]) => {
    const slides = [...document.querySelectorAll('.slides section:not(.stack)')];
    const found = slides.find(slide => slide.querySelector(wanted));
    if (!found) return false;
    const at = Reveal.getIndices(found);
    Reveal.slide(at.h, at.v, 99);
    return true;
}"""
OVERFULL = """async () => {
    const full = [];
    for (const slide of Reveal.getSlides()) {
        const at = Reveal.getIndices(slide);
        Reveal.slide(at.h, at.v, 99);
        await new Promise(requestAnimationFrame);
        if (slide.scrollHeight > slide.clientHeight || slide.scrollWidth > slide.clientWidth) full.push(at);
    }
    return full;
}"""


@pytest.fixture(scope="session")
def decks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    subprocess.run([sys.executable, ROOT / "notebooks" / "_slides.py", folder], check=True)
    return folder


@pytest.fixture
def deck(decks, new_page):
    def open_deck(name):
        page = new_page(offline=True)
        page.goto((decks / f"{name}.html").as_uri())
        expect(page.locator(".reveal.ready")).to_be_visible()
        return page

    return open_deck


def first_paint(page):
    """Milliseconds until the page was painted; on a busy machine that comes after it is ready, and varies."""
    page.wait_for_function(f"{PAINTED}.length")
    return page.evaluate(f"{PAINTED}[0].startTime")


@pytest.mark.parametrize("name", DECKS)
def test_a_deck_opens_steps_and_asks(deck, decks, name, tmp_path):
    """Not over 2 MB; the first slide within half a second; a stepper steps, and the page stays; a question unfolds."""
    assert (decks / f"{name}.html").stat().st_size <= MOST_BYTES
    page = deck(name)
    assert 6 <= page.evaluate("Reveal.getTotalSlides()") <= 40
    assert first_paint(page) < 1500 or any(page.reload() and first_paint(page) < 1500 for _ in range(3))
    expect(page.locator(".reveal.ready")).to_be_visible()
    if page.evaluate(SLIDE, [".mmviz-player"]):
        player = page.locator(".present .mmviz-player").last
        before, at = player.get_attribute("data-step"), page.evaluate("Reveal.getIndices()")
        player.locator(".mmviz-picture").focus()
        page.keyboard.press("End" if before == "0" else "ArrowLeft")
        expect(player).not_to_have_attribute("data-step", before)
        assert page.evaluate("Reveal.getIndices()") == at
    page.screenshot(path=(shot := tmp_path / f"{name}.png"))
    print(shot)
    if page.evaluate(SLIDE, [".mmviz-question"]):
        asked = page.locator(".present .mmviz-question").last
        expect(asked.locator("details")).not_to_have_attribute("open", "")
        asked.locator("summary").click()
        expect(asked.locator("details p").first).to_contain_text("Right.")


@pytest.mark.parametrize("name", DECKS)
def test_every_slide_shows_all_that_is_on_it(deck, name):
    assert deck(name).evaluate(OVERFULL) == []


def test_the_index_leads_to_every_deck(decks, new_page):
    page = new_page(offline=True)
    page.goto((decks / "index.html").as_uri())
    for name in DECKS:
        expect(page.locator(f"a[href='{name}.html']")).to_have_text(re.compile(r"^\d\d"))
    page.locator("a").first.click()
    expect(page.locator(".reveal.ready")).to_be_visible()


def test_the_notes_of_a_stepper_are_its_sentences(deck):
    page = deck("03a-page_alloc")
    slide = page.locator("section:has(> aside.notes)").filter(has_text="keeps the lower half")
    meaning, steps = slide.locator("> aside.notes").all_text_contents()
    assert "keeps the lower half" in meaning and "0. Before the first step." in steps


@pytest.mark.parametrize("name", ["03b-page_alloc", "04-fragmentation", "06-highmem-kmap"])
def test_a_handout_has_a_page_for_each_slide(decks, new_page, tmp_path, name):
    page = new_page(offline=True)
    page.goto((decks / f"{name}.html").as_uri() + "?print-pdf")
    expect(page.locator(".pdf-page").first).to_be_attached()
    page.pdf(path=tmp_path / "handout.pdf", prefer_css_page_size=True)
    text = (tmp_path / "handout.pdf").read_bytes()
    assert text.count(b"/Type /Page\n") == page.evaluate("Reveal.getTotalSlides()")
