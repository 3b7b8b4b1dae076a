"""One address, twice: its bits cut into indices, and below that the way that these indices take through the tables.

The two belong together: the index in a box above is the row that is picked in the table below.
"""
from __future__ import annotations

from dataclasses import replace

from ..mm.machine import Machine
from ..recording import Step
from .address_split import draw_address_split
from .reading import HEAD
from .scene import Line, Mark, Scene
from .walk import draw_walk


def draw_address(state: Machine, step: Step | None = None, *, vaddr: int | None = None, mm: int | None = None) -> Scene:
    """The bits of an address over its way through the tables.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done.
    vaddr : int, optional
        The address; the one that the step names, or the start of the first mapping, if not given.
    mm : int, optional
        The process.

    Returns
    -------
    Scene
    """
    bits = draw_address_split(state, step, vaddr=vaddr, mm=mm)
    way = draw_walk(state, step, vaddr=vaddr, mm=mm)
    down = bits.height - HEAD  # the way has no heading of its own here
    below = [moved(replace(mark, key=f"way {mark.key}"), down) for mark in way.marks
             if mark.key not in ("title", "remark")]
    return Scene(bits.title, bits.width, down + way.height, [*bits.marks, *below], f"{bits.words} {way.words}")


def moved(mark: Mark, down: float) -> Mark:
    """The mark, so much further down."""
    if isinstance(mark, Line):
        return replace(mark, y=mark.y + down, y2=mark.y2 + down)
    return replace(mark, y=mark.y + down)  # type: ignore[attr-defined, call-arg]
