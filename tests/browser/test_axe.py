"""axe-core on the pages that leave the house: every lesson as a saved page, every deck, and their index."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from .conftest import ROOT
from .test_slides import deck, decks  # noqa: F401  (fixtures)

LESSONS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


def serious(page):
    """Serious and critical findings, one line each."""
    found = Axe().run(page, options={"preload": False}).response["violations"]  # a page from a file may fetch nothing
    return [f"{v['id']} ({v['impact']}): {v['help']}: {node['html'][:160]}"
            for v in found if v["impact"] in ("serious", "critical") for node in v["nodes"][:3]]


@pytest.mark.parametrize("name", LESSONS)
def test_a_saved_page(static_page, name):
    page = static_page(name)
    page.wait_for_selector(".mmviz-player")
    assert serious(page) == []


@pytest.mark.parametrize("name", [name.removesuffix(".ipynb") for name in LESSONS])
def test_a_deck(deck, name):  # noqa: F811
    assert serious(deck(name)) == []


def test_the_index(decks, new_page):  # noqa: F811
    page = new_page(offline=True)
    page.goto((decks / "index.html").as_uri())
    assert serious(page) == []
