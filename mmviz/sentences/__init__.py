"""What events say, a file for each file of events: mm/events.py has its sentences in sentences/events.py.

`SENTENCES` has one for each kind of event. `RUNS` says which of them, several in a row, are told in one.
"""
from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple


class Run(NamedTuple):
    """Events in a row that are told together.

    Attributes
    ----------
    name : str
    key : callable
        ``key(event)``: what events in a row have in common; None for an event that is told for itself.
    least : int
        How many there must be.
    sentence : callable
        ``sentence(words)``, of the words of all events in turn.
    """

    name: str
    key: Callable[[Any], Hashable]
    least: int
    sentence: Callable[[list[dict[str, Any]]], str]
