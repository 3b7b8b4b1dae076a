"""What the coder makes of the frames gives back the frames, whatever they are."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mmviz.draw.scene import Arrow, Dot, Rect, Scene, Text
from mmviz.draw.style import LINK, TEXT, free, used
from mmviz.explore.coding import (
    Encoder,
    Pose,
    Stretch,
    base36,
    code_stretches,
    decode,
    decode_stretches,
    drawn,
    shrink,
    unshrink,
)

coordinate = st.floats(-999, 9999).map(lambda value: round(value, 2))
words = st.text(max_size=12)
keys = st.sampled_from([f"block {i:#x}" for i in range(12)] + ["", "é", "block"])
meaning = st.sampled_from([free("M"), used("U"), used(), free("R")])
marks = st.one_of(
    st.builds(Rect, keys, meaning, coordinate, coordinate, coordinate, coordinate, tip=words, touched=st.booleans()),
    st.builds(Dot, keys, meaning, coordinate, coordinate, coordinate, layer=st.none() | st.integers(0, 5)),
    st.builds(Text, keys, st.just(TEXT), coordinate, coordinate, words, anchor=st.sampled_from(["start", "end"])),
    st.builds(Arrow, keys, st.just(LINK), coordinate, coordinate, coordinate, coordinate, bend=st.floats(-1, 1)),
)
pool = st.lists(marks, min_size=1, max_size=15)


@st.composite
def films(draw):
    """Frames that have much in common, as real ones have."""
    some = draw(pool)
    chosen = st.lists(st.sampled_from(some), max_size=8, unique_by=lambda mark: mark.key)
    return [Scene("a film", 100, 100, frame) for frame in draw(st.lists(chosen, min_size=1, max_size=12))]


@given(films())
def test_frames_come_back(scenes):
    encoder = Encoder()
    for scene in scenes:
        encoder.add(scene)
    data = json.loads(json.dumps(encoder.finish()))
    assert list(decode(data)) == [drawn(scene) for scene in scenes]


@given(st.lists(st.text(max_size=20)))
def test_texts_come_back(texts):
    assert unshrink(shrink(texts)) == texts


poses = st.tuples(*[st.integers(-99999, 99999)] * 4)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50), poses), min_size=1))
def test_stretches_come_back(steps):
    stretches, at = [], 0
    for gap, length, pose in steps:
        stretches.append(Stretch(at + gap, at + gap + length, Pose(*pose)))
        at += gap + length
    for count in (at, at + 1):
        assert decode_stretches(code_stretches(stretches, count), count) == stretches


@given(st.integers())
def test_numbers_come_back(value):
    assert int(base36(value), 36) == value
