"""A player over places instead of steps: pictures that were drawn beforehand, each with a name and a sentence.

A Stepper shows what one call does, event by event. Where one moves along something else (addresses, the pages of a
mapping), the slider is the same, and only its names are others.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..draw.scene import Scene
from .coding import Encoder
from .player import Player, Story, place, still


class Place(NamedTuple):
    """One picture: the name of its place, what is said of it, and the picture."""

    name: str
    sentence: str
    scene: Scene


def story_of(places: Sequence[Place], label: str, at: int = 0) -> Story:
    """Pictures for a player; what the arguments mean is said at `Places`."""
    if not places:
        raise ValueError("places must be one at least, got none")
    encoder, last = Encoder(), len(places) - 1
    for _, sentence, scene in places:
        encoder.add(scene, sentence)
    start = place(at, last)
    data = encoder.finish() | {"label": label, "start": start, "places": [name for name, _, _ in places]}
    stills = [still(places[i].scene, i, last, places[i].sentence) for i in sorted({0, last // 2, last})]
    return Story(data, last, stills, places[start].scene)


class Places(Player):
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
        super().__init__(story_of(places, label, at))

    def __repr__(self) -> str:
        return f"Places({len(self) + 1} pictures)"
