"""Two pictures as one: side by side where they are narrow, else one above the other."""
from __future__ import annotations

from . import style
from .scene import Mark, Scene, Text

HEADING = 26
GAP = 28
WIDEST = 1000  # of two pictures side by side


def beside(left: Scene, right: Scene, names: tuple[str, str]) -> Scene:
    """One scene of two.

    Parameters
    ----------
    left, right : Scene
    names : (str, str)
        The headings over them. The keys of their marks begin with "left " and "right ".
    """
    across = left.width + GAP + right.width <= WIDEST
    x, y = (left.width + GAP, 0.0) if across else (0.0, left.height + HEADING + GAP)
    marks: list[Mark] = [*_placed(left, 0, 0, "left ", names[0]), *_placed(right, x, y, "right ", names[1])]
    width, height = max(left.width, x + right.width), HEADING + max(left.height, y + right.height)
    words = f"{names[0]}: {left.description.rstrip('.')}. {names[1]}: {right.description}"
    return Scene(f"{names[0]} and {names[1]}: {left.title}", width, height, marks, words)


def _placed(scene: Scene, x: float, y: float, prefix: str, name: str) -> list[Mark]:
    heading = Text(f"{prefix}heading", style.TITLE, x + 12, y + 18, name)
    return [heading, *(mark.moved(x, y + HEADING, prefix) for mark in scene.marks)]
