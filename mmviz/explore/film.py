"""Small multiples: the static twin of the Stepper, for print and for a glance."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .page import Html, strip
from .player import place, still
from .stepper import Draw, Say, frames


def film(recording: Any, draw: Draw, at: Iterable[int] = (0, -1), *, say: Say | None = None) -> Html:
    """The pictures of a few steps, one under the other, each with its sentence.

    Parameters
    ----------
    recording : Recording
        What happened.
    draw : callable
        ``draw(state, step) -> Scene``.
    at : iterable of int
        The steps to show: 0 is before the first, -1 the last.
    say : callable, optional
        ``say(event) -> str``; `mmviz.narrate.sentence` if not given.
    """
    length = len(recording)
    wanted = {place(i, length) for i in at}
    stills = [still(frame.scene, frame.number, length, frame.sentence)
              for frame in frames(recording, draw, say, wanted)]
    return Html(strip(stills), f"film({len(stills)} of {length} steps)")
