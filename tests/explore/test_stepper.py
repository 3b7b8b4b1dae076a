"""The Stepper and the film from Python's side; the browser's side is in tests/browser."""

import json

import pytest

import mmviz as mv
from mmviz.draw.free_area import draw_free_area
from mmviz.excerpt import in_short
from mmviz.explore.coding import decode, drawn
from mmviz.explore.film import film
from mmviz.explore.page import use
from mmviz.explore.stepper import Stepper, is_milestone
from mmviz.mm.events import FreeAreaSearched


@pytest.fixture(scope="module")
def stepper(toy):
    return Stepper(toy.Recording(60, 23), toy.draw_blocks, say=toy.say)


def test_every_step_is_there(toy, stepper):
    recording = toy.Recording(60, 23)
    scenes = [toy.draw_blocks(recording.at(i), recording[i - 1] if i else None) for i in range(24)]
    assert list(decode(json.loads(stepper.data))) == [drawn(scene) for scene in scenes]


def test_it_is_shown_as_a_widget_as_html_and_as_text(stepper):
    data, _ = stepper._repr_mimebundle_()
    assert data["text/plain"] == repr(stepper) == "Stepper(23 steps)"
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/html"] == stepper.html()


def test_html_is_the_same_each_time(toy, stepper):
    assert Stepper(toy.Recording(60, 23), toy.draw_blocks, say=toy.say).html() == stepper.html()


def test_html_holds_no_raw_markup_in_its_data(stepper):
    _, data = stepper.html().split('class="mmviz-data">')
    assert data.count("<") == 2  # </script></div>
    assert 'id="' not in stepper.html()


def test_sizes(toy, stepper):
    assert len(stepper.data.encode()) < 8_000
    assert len(stepper.html().encode()) < 40_000
    large = Stepper(toy.Recording(200, 300), toy.draw_blocks, say=toy.say)
    assert len(large.data.encode()) < 28_000  # every step on another block: the worst case
    assert len(large.html().encode()) < 41_000
    assert len(use().html.encode()) < 22_000


def test_the_film_strip_shows_the_steps_that_are_asked_for(toy):
    stepper = Stepper(toy.Recording(9, 6), toy.draw_blocks, say=toy.say, strip=(2, -1))
    assert stepper.html().count("<img") == 2
    assert "Step 2 of 6." in stepper.html() and "Step 6 of 6." in stepper.html()


def test_it_opens_where_it_should(toy):
    assert Stepper(toy.Recording(9, 6), toy.draw_blocks, at=-1, say=toy.say).step == 6
    with pytest.raises(ValueError, match="step must be 0 to 6, got 7"):
        Stepper(toy.Recording(9, 6), toy.draw_blocks, at=7, say=toy.say)


def test_too_many_steps_point_to_the_timeline(toy):
    with pytest.raises(ValueError, match=r"up to 2,000 steps, got 2,001.*Timeline"):
        Stepper(toy.Recording(3, 2001), toy.draw_blocks, say=toy.say)


def test_an_error_of_the_drawing_says_at_which_step(toy):
    def draw(state, step=None):
        return toy.draw_blocks(state, step) if step is None else 1 / 0
    with pytest.raises(ZeroDivisionError) as caught:
        Stepper(toy.Recording(9, 6), draw, say=toy.say)
    assert caught.value.__notes__[0].startswith("while drawing step 1 of 6: Taken(")


def test_a_recording_without_steps(toy):
    stepper = Stepper(toy.Recording(9, 0), toy.draw_blocks, say=toy.say)
    assert repr(stepper) == "Stepper(0 steps)"
    assert stepper.html().count("<img") == 1


def test_states_are_asked_for_where_the_recording_has_them(toy):
    class Quick(toy.Recording):
        def states(self):
            return map(super().at, range(len(self) + 1))

        def at(self, i):
            raise AssertionError("states() should have been used")
    assert Stepper(Quick(9, 6), toy.draw_blocks, say=toy.say).html()


def test_a_pick_reaches_python(toy):
    stepper, heard = Stepper(toy.Recording(9, 6), toy.draw_blocks, say=toy.say), []
    stepper.on_pick(lambda key, step: heard.append((key, step)))
    stepper._handle_custom_msg({"pick": {"key": "block 0x1", "step": 2}}, [])
    assert heard == [("block 0x1", 2)]


def test_next_decision_passes_over_what_was_searched_in_vain():
    machine = mv.toy(4)
    with mv.record(machine) as recording:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    data, short = json.loads(Stepper(recording, draw_free_area).data), in_short(recording)
    boring = {short[i - 1].event for i in data["boring"]}
    assert boring and all(isinstance(event, FreeAreaSearched) and not event.found for event in boring)
    assert set(data["boring"]) < set(data["decisions"])
    found = [i + 1 for i, step in enumerate(short) if getattr(step.event, "found", False)]
    assert found and not set(found) & set(data["boring"])
    assert is_milestone(short[found[0] - 1].event)


def test_what_says_the_same_is_one_step_and_a_call_can_be_stepped_over():
    with mv.record(mv.toy(4)) as recording:
        mv.alloc_pages(recording.live, mv.GFP_KERNEL, 0)
    every, short = Stepper(recording, draw_free_area, at=20), Stepper(recording, draw_free_area, at=20, over="expand")
    assert len(recording) > len(every) == len(in_short(recording)) > len(short)
    assert every.step == in_short(recording).place(20) < 20
    assert json.loads(every.data)["decisions"] == [
        i + 1 for i in range(len(every)) if in_short(recording).decision(i)]
    with pytest.raises(ValueError, match="over must be kernel functions that the simulator has, got nothing"):
        Stepper(recording, draw_free_area, over="nothing")


def test_film(toy):
    shown = film(toy.Recording(9, 6), toy.draw_blocks, at=[0, 3, -1], say=toy.say)
    assert repr(shown) == "film(3 of 6 steps)"
    assert shown.html.count("<img") == shown.html.count("<figcaption") == 3
    assert "<script" not in shown.html


def test_use_is_the_same_each_time():
    assert use() is use()
    assert repr(use()) == "mmviz is ready."
    assert "export default" not in use().html
