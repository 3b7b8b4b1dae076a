"""Two machines, the same requests, one slider.

    Compare(left, right, draw_free_area)      two recordings of the same requests
    Compare("tail_rule")                      a pair that is ready: v5.4, and a machine that does one thing otherwise

Both recordings are cut into their requests (the outermost calls), and step together: what both do stands at the same
position, and where one does more, the other stays as it is. With ``by="request"`` a position is the end of a request.
The two pictures are one scene, so this is a Stepper, wherever it is shown.
"""
from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, NamedTuple

from ..draw.beside import beside
from ..draw.scene import Scene
from ..excerpt import Excerpt, in_short
from ..recording import Recording, Step
from .pairs import PAIRS, recordings
from .stepper import Draw, Say, Stepper, draw_of

BY = ("step", "request")


class BothSteps(NamedTuple):
    """What both sides did last, in the shape of a Step; a side that stays as it is has not moved."""

    number: int
    left: Step | None
    right: Step | None
    said: tuple[str, str]  # "" of a side that has not moved
    decision: bool  # nothing has changed on either side since the position before
    stack: tuple[()] = ()  # there would be two

    @property
    def event(self) -> BothSteps:
        """What a Stepper asks for its sentence and its kind: both."""
        return self


class Together:
    """Two recordings of the same requests that step as one, in the shape of a Recording.

    Raises
    ------
    ValueError
        If they are not of equally many requests, or `by` is unknown.

    Examples
    --------
    >>> len(Together(*recordings(PAIRS["tail_rule"]), by="request"))
    6
    """

    def __init__(self, left: Recording, right: Recording, by: str = "step", over: str | Collection[str] = ()) -> None:
        self.left, self.right = in_short(left, over), in_short(right, over)
        ends = [_request_ends(self.left), _request_ends(self.right)]
        if by not in BY:
            raise ValueError(f"by must be one of {', '.join(BY)}, got {by!r}")
        if len(ends[0]) != len(ends[1]):
            raise ValueError(f"both recordings must be of the same requests, got {len(ends[0])} on the left and "
                             f"{len(ends[1])} on the right")
        both = _steps(self.left, self.right, *ends) if by == "step" else zip(*ends, strict=True)
        self.places = [(0, 0), *both]

    def __len__(self) -> int:
        return len(self.places) - 1

    def __getitem__(self, i: int) -> BothSteps:
        number = range(len(self))[i]
        before, after = self.places[number], self.places[number + 1]
        sides = list(zip((self.left, self.right), before, after, strict=True))
        left, right = (side[new - 1] if new else None for side, _, new in sides)
        said = tuple(side.sentence(new - 1) if new > old else "" for side, old, new in sides)
        unchanged = all(side.decision(place) for side, old, new in sides for place in range(old, new))
        return BothSteps(number, left, right, (said[0], said[1]), unchanged)

    def at(self, i: int) -> tuple[Any, Any]:
        """Both states at position `i`."""
        left, right = self.places[i]
        return self.left.at(left), self.right.at(right)


def _request_ends(recording: Excerpt) -> list[int]:
    """How many steps are done at the end of each request."""
    calls = [step.stack[0].call if step.stack else -1 - step.number for step in recording]
    return [i for i in range(1, len(calls) + 1) if i == len(calls) or calls[i] != calls[i - 1]]


def _steps(left: Excerpt, right: Excerpt, left_ends: Sequence[int], right_ends: Sequence[int],
           ) -> Iterator[tuple[int, int]]:
    """Position by position, request by request: what both do, they do together."""
    kinds = [[type(step.event).__name__ for step in side] for side in (left, right)]
    for (a, b), (end_a, end_b) in pairwise(zip([0, *left_ends], [0, *right_ends], strict=True)):
        matcher = SequenceMatcher(None, kinds[0][a:end_a], kinds[1][b:end_b], autojunk=False)
        for _, i, to_i, j, to_j in matcher.get_opcodes():
            for n in range(1, max(to_i - i, to_j - j) + 1):
                yield min(a + i + n, a + to_i), min(b + j + n, b + to_j)


class Compare(Stepper):
    """Two machines, step by step, under one slider.

    Parameters
    ----------
    left, right : Recording
        The same requests, of two machines or of two kernels (`patched`). Or, instead of both, the name of a pair:
        "grouping", "nofragment", "batch", "tail_rule", "half", "pile", "policy".
    draw : callable
        ``draw(state, step) -> Scene``; a pair has its own.
    names : (str, str), optional
        What stands over the pictures; a pair has its own.
    by : str, optional
        "step", or "request": one position for each request. A pair has its own.
    at : int, optional
        The position to open at: 0 is before the first, -1 the last.
    over : str or collection of str, optional
        Kernel functions to step over.

    Raises
    ------
    ValueError
        If there is no such pair, or the recordings are not of equally many requests.

    Examples
    --------
    >>> Compare("half")
    Compare(The lower half is kept | The upper half is kept: 47 steps)
    """

    def __init__(self, left: Recording | str, right: Recording | None = None, draw: Draw | None = None, *,
                 names: tuple[str, str] | None = None, by: str | None = None, at: int | None = None,
                 label: str | None = None, over: str | Collection[str] = ()) -> None:
        if isinstance(left, str) and right is None:
            pair = _pair(left)
            first, second = recordings(pair)
            names, by, draw = names or pair.names, by or pair.by, draw or draw_of(pair.picture)
        elif isinstance(left, Recording) and isinstance(right, Recording) and draw is not None:
            first, second, names, by = left, right, names or ("Left", "Right"), by or "step"
        else:
            raise TypeError("Compare takes two Recordings and a drawing, or the name of a pair; got "
                            f"{type(left).__name__}, {type(right).__name__} and {draw!r}")
        self.names, self.together = names, Together(first, second, by, over)
        super().__init__(self.together, _both(draw, names), at, label or f"{names[0]} | {names[1]}",
                         say=_said(names))

    def __repr__(self) -> str:
        return f"Compare({self.names[0]} | {self.names[1]}: {len(self)} steps)"


def _pair(name: str) -> Any:
    if name not in PAIRS:
        raise ValueError(f"a pair must be one of {', '.join(PAIRS)}, got {name!r}")
    return PAIRS[name]


def _both(draw: Draw, names: tuple[str, str]) -> Draw:
    """The drawing of two states: each side by itself."""
    def drawing(states: tuple[Any, Any], both: BothSteps | None) -> Scene:
        left, right = (draw(state, step) for state, step in
                       zip(states, (both.left, both.right) if both else (None, None), strict=True))
        return beside(left, right, names)
    return drawing


def _said(names: tuple[str, str]) -> Say:
    """One sentence where both do the same, else one for each."""
    def sentences(both: BothSteps) -> str:
        left, right = (said or "nothing." for said in both.said)
        return f"Both: {left}" if left == right else f"{names[0]}: {left} {names[1]}: {right}"
    return sentences
