"""How exact a replay was: what every kind of replay counts and says."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple


class Miss(NamedTuple):
    """Where prediction and truth part."""

    number: int
    what: str
    predicted: object
    truth: object


@dataclass
class BaseScore:
    """What all scores have; `str(score)` is the line of each.

    Attributes
    ----------
    name : str
        The capture.
    misses : list of Miss
    final : list of str
        What differs in the state at the end.
    finished : bool
        False if the replay stopped at a miss.
    compared : bool
        Whether there was a truth beside the capture.
    seconds : float
    """

    WHERE: ClassVar[str] = "event"  # what the number of a miss counts

    name: str
    misses: list[Miss] = field(default_factory=list, kw_only=True)
    final: list[str] = field(default_factory=list, kw_only=True)
    finished: bool = field(default=True, kw_only=True)
    compared: bool = field(default=True, kw_only=True)
    seconds: float = field(default=0.0, kw_only=True)

    @property
    def perfect(self) -> bool:
        """Every answer, every inner event and the final state."""
        return self.finished and not self.misses and not self.final

    @property
    def outcome(self) -> str:
        """The state at the end, in a word."""
        if not self.finished:
            return "not_reached"
        return f"{len(self.final)}_differences" if self.final else "identical"

    def lines(self) -> Iterator[str]:
        """What --verbose prints below the score: each miss, and what differs in the end."""
        for miss in self.misses:
            yield f"{self.WHERE} {miss.number}, {miss.what}: predicted {miss.predicted}, truth {miss.truth}"
        yield from self.final[:1 if self.misses else None]
