"""From a key or a move of the slider to the new picture, in JupyterLab; and from a knob, by way of Python. Printed."""

import pytest

SETUP = """import mmviz as mv

machine = mv.toy(64)
with mv.record(machine) as rec:
    for _ in range(7):
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
mv.Stepper(rec, mv.draw_free_area)"""
PANEL = "mv.BuddyPanel()"
PAIR = "mv.Compare('grouping')"
CELLS = (SETUP, PANEL, PAIR)
# `act(i)` makes an input event; the time runs until the frame after the change of `watched` has been painted.
MEASURE = """async ([number, count, act]) => {
    const root = document.querySelectorAll('.jp-CodeCell')[number], player = root.querySelector('.mmviz-player');
    const input = new Function('root', 'player', 'i', act), took = [];
    const painted = () => new Promise(done => requestAnimationFrame(() => {
        const channel = new MessageChannel(); channel.port1.onmessage = done; channel.port2.postMessage(0); }));
    for (let i = 0; i < count; i++) {
        await new Promise(done => setTimeout(done, 30 + 7 * (i % 4)));
        const look = () => root.querySelector('.mmviz-player').dataset.step
            + root.querySelector('.mmviz-title').textContent;
        const before = look(), start = performance.now();
        input(root, player, i);
        do await painted(); while (look() === before && performance.now() < start + 3000);
        took.push(performance.now() - start);
    }
    return took.sort((a, b) => a - b);
}"""
KEY = """player.querySelector('.mmviz-picture').dispatchEvent(new KeyboardEvent('keydown',
    { key: i % 60 < 30 ? 'ArrowRight' : 'ArrowLeft', bubbles: true, cancelable: true }))"""
SLIDE = """const slider = player.querySelector('input[type=range]');
    slider.value = (+slider.value + 7) % (+slider.max + 1);
    slider.dispatchEvent(new Event('input', { bubbles: true }))"""
KNOB = """const order = root.querySelector('.mmviz-knobs input[aria-label=order]');
    order.value = 1 + i % 9; order.dispatchEvent(new Event('input', { bubbles: true }))"""


@pytest.fixture
def page(unrun, notebook):
    page = notebook(unrun)
    for cell in (1, 2):
        page.evaluate(f"() => jupyterapp.shell.currentWidget.content.scrollToItem({cell})")
        page.wait_for_function(f"() => document.querySelectorAll('.mmviz-player').length > {cell}")
    return page


def test_latency(page):
    for what, number, count, act, target in [
            ("key to picture", 0, 240, KEY, "p95 20 ms"), ("slider to picture", 0, 240, SLIDE, "p95 20 ms"),
            ("slider of Compare to both pictures", 2, 240, SLIDE, "p95 20 ms"),
            ("knob of the panel to picture, by way of Python", 1, 40, KNOB, "none")]:
        took = page.evaluate(MEASURE, [number, count, act])
        p50, p95 = took[len(took) // 2], took[len(took) * 95 // 100]
        print(f"\nJupyterLab, {what}: p50 {p50:.1f} ms, p95 {p95:.1f} ms (target {target})")
