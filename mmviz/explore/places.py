"""A player over places instead of steps: pictures that were drawn beforehand, each with a name and a sentence.

A Stepper shows what one call does, event by event. Where one moves along something else (addresses, the pages of a
mapping), the slider is the same, and only its names are others.
"""
from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import anywidget

from ..draw.scene import Scene
from .coding import Encoder
from .stepper import Frame, Stepper, place, still


class Place(NamedTuple):
    """One picture: the name of its place, what is said of it, and the picture."""

    name: str
    sentence: str
    scene: Scene


class Places(Stepper):
    """Pictures on a slider.

    Parameters
    ----------
    places : sequence of Place
        At least one, in the order of the slider.
    label : str
        The heading.
    at : int, optional
        Which one to begin with; negative ones count from the end.

    Raises
    ------
    ValueError
        If there is none.
    """

    def __init__(self, places: Sequence[Place], label: str, at: int = 0) -> None:
        anywidget.AnyWidget.__init__(self)
        self.fill(places, label, at)

    def fill(self, places: Sequence[Place], label: str, at: int = 0) -> None:
        """Take other pictures; what stands on the screen changes with it."""
        if not places:
            raise ValueError("places must be one at least, got none")
        encoder, stills, last = Encoder(), {}, len(places) - 1
        for i, (_, sentence, scene) in enumerate(places):
            encoder.add(scene, sentence)
            if i in (0, last // 2, last):
                stills[i] = still(Frame(i, None, sentence, scene), last)
        start = place(at, last)
        story = encoder.finish() | {"label": label, "start": start, "places": [name for name, _, _ in places]}
        self._length, self._chosen, self._stills = last, False, stills
        with self.hold_sync():
            self.step = start
            self.data = json.dumps(story, separators=(",", ":"), ensure_ascii=False)

    def __repr__(self) -> str:
        return f"Places({self._length + 1} pictures)"

    def show(self, *args: Any, **kwargs: Any) -> None:
        """Pictures that are no steps cannot be made of a recording."""
        raise TypeError("this slider takes no recording; make a Stepper")
