"""One line back to the learner: has the exercise been done, and rightly?"""
from __future__ import annotations


def check(mine: object, truth: object, hint: str) -> None:
    """Say whether an answer is right; the truth itself is not shown.

    Parameters
    ----------
    mine : object
        The learner's answer; None if there is none yet.
    truth : object
        What the simulator gives.
    hint : str
        Where to look, for a wrong answer.

    Examples
    --------
    >>> check(None, 7, "count again")
    Your turn: put your answer in and run the cell again.
    >>> check(8, 7, "count again")
    Not yet: count again.
    >>> check(7, 7, "count again")
    Right.
    """
    if mine is None:
        print("Your turn: put your answer in and run the cell again.")
    elif mine == truth:
        print("Right.")
    else:
        print(f"Not yet: {hint}{'' if hint.endswith('?') else '.'}")
