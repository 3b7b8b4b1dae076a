"""The player in a saved page, in a real Chromium with no network: keys, slider, buttons, clicks, no scripts, speed."""

import importlib.util
import pathlib
import statistics

import pytest
from playwright.sync_api import expect

from mmviz.explore.coding import drawn
from mmviz.explore.page import use
from mmviz.explore.stepper import Stepper
from mmviz.kernel import source_url

TOY = pathlib.Path(__file__).resolve().parent.parent / "explore" / "toyrecording.py"
SHELL = '<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title><body style="background:{ground}">{body}'
# From the input event to the moment after the frame in which the picture stands.
LATENCY = """async steps => {
    const player = document.querySelector('.mmviz-player'), picture = player.querySelector('.mmviz-picture');
    const painted = () => new Promise(done => requestAnimationFrame(() => {
        const channel = new MessageChannel(); channel.port1.onmessage = done; channel.port2.postMessage(0); }));
    const took = [];
    for (let i = 0; i < steps; i++) {
        await new Promise(done => setTimeout(done, 5 + 7 * (i % 4)));
        const before = player.dataset.step, start = performance.now();
        const key = i % 60 < 30 ? 'ArrowRight' : 'ArrowLeft';
        picture.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
        while (player.dataset.step === before) await painted();
        took.push(performance.now() - start);
    }
    return took;
}"""


@pytest.fixture(scope="module")
def toy():
    spec = importlib.util.spec_from_file_location("toyrecording", TOY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def show(new_page, tmp_path):
    """show(html ...): the outputs as one saved page without a network."""

    def open_saved(*outputs, ground="#fff", **options):
        path = tmp_path / "page.html"
        path.write_text(SHELL.format(ground=ground, body="<hr>".join(outputs)), encoding="utf-8")
        page = new_page(offline=True, **options)
        page.goto(path.as_uri())
        return page

    return open_saved


@pytest.fixture(scope="module")
def stepper(toy):
    return Stepper(toy.Recording(60, 23), toy.draw_blocks, say=toy.say)


@pytest.fixture
def page(show, stepper):
    return show(use().html, stepper.html())


def player(page, number=0):
    return page.locator(".mmviz-player").nth(number)


def at(page, step, number=0):
    expect(player(page, number)).to_have_attribute("data-step", str(step))


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


@pytest.mark.parametrize("role", ["img", "slider"])
def test_keys(page, role):
    player(page).get_by_role(role).first.focus()
    for keys, step in [(["ArrowRight"] * 3, 3), (["ArrowLeft"], 2), (["End"], 23), (["ArrowRight"], 23), (["Home"], 0),
                       (["ArrowLeft"], 0), (["PageDown"], 10), (["PageUp"], 0)]:
        press(page, *keys)
        at(page, step)


def test_keys_stay_inside(page):
    page.evaluate("() => document.addEventListener('keydown', e => { document.title += ' ' + e.key })")
    player(page).get_by_role("img").first.focus()
    press(page, "ArrowRight", "b", "Enter")
    assert page.title() == "t"


def test_buttons_speak_their_state(page):
    def button(name):
        return player(page).get_by_role("button", name=name, exact=True)
    expect(button("first step")).to_have_attribute("aria-disabled", "true")
    button("next step").click()
    at(page, 1)
    button("next decision").click()
    at(page, 2)
    button("one step back").click()
    at(page, 1)
    button("last step").click()
    at(page, 23)
    expect(button("next step")).to_have_attribute("aria-disabled", "true")
    expect(button("last step")).to_be_focused()
    button("first step").click()
    at(page, 0)


def test_slider_counter_sentence_and_outline(page, toy):
    slider = player(page).get_by_role("slider", name="step")
    slider.fill("7")
    at(page, 7)
    expect(slider).to_have_attribute("aria-valuetext", "step 7 of 23")
    expect(page.locator(".mmviz-count")).to_have_text("step 7 of 23")
    step = toy.Recording(60, 23)[6]
    expect(page.locator("[aria-live=polite]")).to_contain_text(toy.say(step.event))
    expect(page.locator(".mmviz-calls li")).to_have_count(len(step.stack))
    expect(page.locator(".mmviz-calls [aria-current=step]")).to_contain_text(step.stack[-1].symbol)
    link = page.get_by_role("link", name="get_page_from_freelist", exact=True)
    expect(link).to_have_attribute("href", source_url("get_page_from_freelist"))


def test_every_frame_is_the_frame_of_python(page, toy):
    """What stands in the page is what `drawn` says, at every step, whichever way one came."""
    recording = toy.Recording(60, 23)
    read = """() => [...document.querySelectorAll('.mmviz-mark')].map(g => [g.dataset.key,
        ...g.style.transform.match(/-?[0-9.]+/g).map(Number), g.querySelector('path')?.getAttribute('d') || null,
        [...g.querySelectorAll('text')].map(t => t.textContent).join()]).sort((a, b) => a[0] < b[0] ? -1 : 1)"""
    for i in (0, 1, 2, 5, 23, 22, 4, 0, 13):
        player(page).get_by_role("slider").fill(str(i))
        at(page, i)
        want = [[m.key, m.x, m.y, next((p[1] for p in m.parts if len(p) == 2), None),
                 ",".join(p[1] for p in m.parts if len(p) == 4)]
                for m in drawn(toy.draw_blocks(recording.at(i), recording[i - 1] if i else None))]
        assert [[k, x, y, d, t] for k, x, y, d, t in page.evaluate(read)] == sorted(want)


def test_the_same_stepper_twice(show, stepper):
    page = show(use().html, stepper.html(), stepper.html(), use().html)
    expect(page.locator(".mmviz-player")).to_have_count(2)
    player(page, 1).get_by_role("button", name="next step").click()
    at(page, 1, 1)
    at(page, 0, 0)
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_an_output_that_comes_later(show, stepper):
    page = show(use().html)
    page.evaluate("html => { document.body.insertAdjacentHTML('beforeend', html) }", stepper.html())
    at(page, 0)
    expect(page.locator(".mmviz-film")).to_have_count(0)


def test_without_scripts_one_sees_the_film_strip(show, stepper):
    page = show(use().html, stepper.html(), java_script_enabled=False)
    pictures = page.locator(".mmviz-film img")
    expect(pictures).to_have_count(3)
    for picture in pictures.all():
        assert picture.get_attribute("alt").startswith("Blocks of a zone.")
        assert picture.bounding_box()["width"] > 500
    expect(page.get_by_text("Step 23 of 23.")).to_be_visible()


def test_every_control_has_a_name(page):
    tree = player(page).aria_snapshot()
    print(tree)
    kinds = ("button", "slider", "img", "link", "toolbar")
    assert [line for line in tree.splitlines() if line.strip(" -:") in kinds] == []
    for control in player(page).locator("button, input, .mmviz-picture, a").all():
        assert control.get_attribute("data-lm-suppress-shortcuts") == "true"


def test_a_click_and_a_tooltip(page):
    page.evaluate("() => document.addEventListener('mmviz-pick', e => { window.picked = e.detail })")
    block = page.locator("[data-key='block 0x8']")
    block.hover()
    expect(page.get_by_role("tooltip")).to_have_text("block 0x8order 0, free, MOVABLE")
    block.click()
    assert page.evaluate("() => window.picked") == {"key": "block 0x8", "step": 0}
    page.keyboard.press("Escape")


def test_a_scene_comes_alive(show, toy):
    page = show(use().html, toy.draw_blocks({0: "U", 1: ""})._repr_mimebundle_()["text/html"])
    expect(page.locator(".mmviz-scene svg title").first).to_have_text("Blocks of a zone")
    assert page.locator(".mmviz-scene path title").first.text_content().startswith("block 0x0")


def test_broken_data_is_shown_and_thrown(show):
    broken = '<div class="mmviz-steps"><script type="application/json" class="mmviz-data">{"format":1}</script></div>'
    page = show(broken)
    script = use().html.split('<script type="module">')[1].split("</script>")[0].replace("watch();", "")
    caught = page.evaluate("""code => {
        try { new Function(code + '; upgrade(document.querySelector(".mmviz-steps"))')() }
        catch (error) { return error.message } }""", script)
    assert caught and caught in page.get_by_role("alert").text_content()


def test_reduced_motion_moves_at_once(show, stepper):
    page = show(use().html, stepper.html(), reduced_motion="reduce")
    player(page).get_by_role("button", name="next step").click()
    at(page, 1)
    style = page.locator(".mmviz-mark").first.evaluate("mark => getComputedStyle(mark).transitionDuration")
    assert style == "0s"


@pytest.mark.parametrize("width", [1300, 650, 400])
def test_it_fits_at_every_zoom(page, width):
    """A page of 1300 px at 200 % zoom is one of 650."""
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_latency(show, toy):
    page = show(use().html, Stepper(toy.Recording(200, 300), toy.draw_blocks, say=toy.say).html())
    at(page, 0)
    took = sorted(page.evaluate(LATENCY, 240))
    p95 = took[int(len(took) * 0.95)]
    print(f"\ninput to picture, 200 marks, 300 steps: median {statistics.median(took):.1f} ms, p95 {p95:.1f} ms")
    assert p95 < 100
