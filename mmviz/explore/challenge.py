"""Exercises of grade III: cause it. You write the requests; what counts is the state that they leave.

    challenge = Challenge("pin_leak", seed=7)      a task and a machine, from a seed
    def mine(machine):                             your requests, about eight lines
        ...
    challenge.check(mine)                          runs them on a fresh machine: "Right.", or what is missing
    challenge.code                                 a line to hand in

    challenge:refuse_order/7/3/900/4f2a90c1        seed 7, three attempts, 900 points; 0 is not solved yet

There are many ways to be right, so no text is compared: a predicate looks at what your requests have done and left
(challenges.py). The code holds no requests, so nobody can run them again: its checksum finds slips of
the pen, and it is no seal.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import NamedTuple

from ..errors import KernelBug
from ..mm.machine import Machine
from ..trace import Event
from .challenges import CHALLENGES, Verdict
from .exercise import check

CODE = re.compile(r"challenge:([a-z_]+)/(\d{1,9})/(\d{1,4})/(\d{1,9})/([0-9a-f]{8})")
MOST_SEED, MOST_ATTEMPTS = 10**9 - 1, 9999


class Result(NamedTuple):
    """What a code says: which challenge, how many attempts, and the best score; 0 points: not solved."""

    name: str
    seed: int
    attempts: int
    points: int

    def __str__(self) -> str:
        done = f"solved with {self.points:,} points" if self.points else "not solved"
        return f"challenge {self.name}, seed {self.seed}: {done}, attempts: {self.attempts}"


class Challenge:
    """A state to bring about, on a small machine, by requests of your own.

    Parameters
    ----------
    name : str
        "refuse_order", "huge_pages", "numa_counters", "tables_left", "pin_leak", "kmap_sleep" or "empty_slabs".
    seed : int
        0 to 999,999,999: the numbers of the task, and the past of its machine.

    Raises
    ------
    ValueError
        If there is no such challenge, or the seed is out of its range.

    Examples
    --------
    >>> import mmviz as mv
    >>> challenge = Challenge("kmap_sleep", seed=1)
    >>> challenge.check(lambda machine: mv.kmap(machine, 0x1700))
    Not yet: nobody sleeps.
    >>> print(Challenge.verify(challenge.code))
    challenge kmap_sleep, seed 1: not solved, attempts: 1
    """

    def __init__(self, name: str, seed: int = 1) -> None:
        if name not in CHALLENGES:
            raise ValueError(f"a challenge must be one of {', '.join(CHALLENGES)}, got {name!r}")
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MOST_SEED:
            raise ValueError(f"seed must be an int 0 to {MOST_SEED:,}, got {seed!r}")
        self.name, self.seed, self.attempts, self.points = name, seed, 0, 0
        self._task = CHALLENGES[name](Random(f"{name} {seed}"))

    @property
    def text(self) -> str:
        """What is to be caused."""
        return self._task.text

    @property
    def code(self) -> str:
        """A line to hand in; `Challenge.verify` reads it."""
        return encode(Result(self.name, self.seed, self.attempts, self.points))

    def machine(self) -> Machine:
        """A fresh machine of this challenge, to try things on."""
        return self._task.machine.copy()

    def check(self, mine: Callable[[Machine], object]) -> None:
        """Run your requests on a fresh machine, and say "Right." or what is missing.

        Parameters
        ----------
        mine : callable
            A function of one argument, the machine.

        Raises
        ------
        TypeError
            If it cannot be called.
        """
        if not callable(mine):
            raise TypeError(f"check takes a function that makes your requests on a machine, got {mine!r}")
        verdict = self._run(mine)
        if verdict is None:
            check(None, "", "")
            return
        missing, points = verdict
        self.attempts = min(self.attempts + 1, MOST_ATTEMPTS)
        self.points = max(self.points, points)
        check(missing, "", missing)
        if points > 1 and not missing:
            print(f"{points:,} points; your best: {self.points:,}.")

    def _run(self, mine: Callable[[Machine], object]) -> Verdict | None:
        """What the judge says; None if `mine` asked for nothing."""
        machine, events = self.machine(), list[Event]()
        with machine.trace.listen(events.append):
            try:
                mine(machine)
            except KernelBug as error:
                return f"the kernel has a bug now: {error}", 0
        return self._task.judge(machine, events) if events else None

    @staticmethod
    def verify(code: str) -> Result:
        """Read a code.

        Raises
        ------
        ValueError
            If it is malformed or altered.
        """
        return decode(code)

    def _repr_markdown_(self) -> str:
        return f"**Challenge {self.name}, seed {self.seed}.** {self.text}"

    def __repr__(self) -> str:
        return f"Challenge({self.name}, seed {self.seed})"


# ---------------------------------------------------------------- the code


def encode(result: Result) -> str:
    """The line to hand in."""
    body = f"challenge:{result.name}/{result.seed}/{result.attempts}/{result.points}"
    return f"{body}/{sha256(f'mmviz {body}'.encode()).hexdigest()[:8]}"


def decode(code: str) -> Result:
    """Read a code; ValueError if it is malformed or altered."""
    match = CODE.fullmatch(code.strip()) if isinstance(code, str) else None
    if match is None or match[1] not in CHALLENGES:
        raise ValueError(f"not a code of a Challenge: {code!r}; it looks like "
                         "challenge:refuse_order/7/3/900/4f2a90c1, and its name is one of "
                         f"{', '.join(CHALLENGES)}")
    name, *numbers, _ = match.groups()
    result = Result(name, *map(int, numbers))
    if encode(result) != code.strip():
        raise ValueError(f"the code {code!r} was altered or mistyped: its checksum does not fit; copy challenge.code "
                         "again")
    return result
