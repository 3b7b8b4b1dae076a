"""JupyterLab comes up, and nothing on the way asks or complains."""

from playwright.sync_api import expect


def test_lab_comes_up(lab, new_page):
    page = new_page()
    page.goto(f"{lab}/lab?token=test&reset")
    expect(page.locator("#jp-main-dock-panel")).to_be_visible()
    expect(page.locator(".jp-DirListing-item[title*='notebooks']")).to_be_visible()
    expect(page.locator(".jp-Dialog")).to_have_count(0)
