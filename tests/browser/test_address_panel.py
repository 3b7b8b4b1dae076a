"""The address slider in a saved page, in a real Chromium: what it says, and how soon the picture follows."""
import statistics

import pytest
from playwright.sync_api import expect

import mmviz as mv
from mmviz.mm.access import access
from mmviz.mm.pgalloc import mm_alloc
from mmviz.mm.util import vm_mmap_pgoff

BASE = 0x7F00001F0000
RW, FIXED_PRIVATE_ANONYMOUS = 3, 0x32
# From the input event of the slider to the moment after the frame in which the picture stands.
LATENCY = """async moves => {
    const player = document.querySelector('.mmviz-player'), slider = player.querySelector('input[type=range]');
    const painted = () => new Promise(done => requestAnimationFrame(() => {
        const channel = new MessageChannel(); channel.port1.onmessage = done; channel.port2.postMessage(0); }));
    const took = [];
    for (let i = 0; i < moves; i++) {
        await new Promise(done => setTimeout(done, 20 + 7 * (i % 4)));
        const before = player.dataset.step, start = performance.now();
        slider.value = (+slider.value + 5) % (+slider.max + 1);
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        do await painted(); while (player.dataset.step === before);
        took.push(performance.now() - start);
    }
    return took;
}"""


@pytest.fixture(scope="module")
def panel():
    machine = mv.toy(4)
    mm = mm_alloc(machine, 1, "writer")
    vm_mmap_pgoff(machine, mm, 0, BASE, 40 << 12, RW, FIXED_PRIVATE_ANONYMOUS, 0)
    for page in range(0, 40, 3):
        access(machine, mm, BASE + (page << 12), True, page)
    return mv.AddressPanel(machine, range(BASE, BASE + (48 << 12), 1 << 12))


@pytest.fixture
def page(new_page, tmp_path, panel):
    path = tmp_path / "page.html"
    path.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title><body>{mv.use().html}'
                    f"{panel.html()}", encoding="utf-8")
    page = new_page(offline=True)
    page.goto(path.as_uri())
    return page


def test_the_slider_names_addresses_and_the_sentence_says_where_they_lead(page):
    slider = page.get_by_role("slider")
    expect(slider).to_have_attribute("aria-valuetext", f"{BASE:#x}")
    page.get_by_role("button", name="next step").click()
    expect(page.locator(".mmviz-count")).to_have_text(f"{BASE + 0x1000:#x}")
    expect(page.locator(".mmviz-say")).to_contain_text("is empty: a page fault.")
    expect(page.locator(".mmviz-kind")).to_have_text("")


def test_latency(page):
    took = sorted(page.evaluate(LATENCY, 200))
    p95 = took[len(took) * 95 // 100]
    print(f"\naddress slider to picture: median {statistics.median(took):.1f} ms, p95 {p95:.1f} ms (target 20 ms)")
    assert p95 < 100
