"""function_graph text of a real kernel: which function called which, beside what the simulator calls.

     0)               |    __get_free_pages() {                    __get_free_pages            both
     0)               |      alloc_pages_current() {        ->       alloc_pages_current       both
     0)   1.250 us    |        policy_nodemask();                      policy_nodemask         kernel

A tree is a list of (depth, symbol) in the order of the calls. The compiler joins functions, and the simulator leaves
some out: what can be compared are the calls that both know, with the depth that they have among each other.
"""
from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from ..errors import CaptureError
from ..kernel import DATA
from ..recording import Recording
from .load import read_text

Tree = list[tuple[int, str]]
_CALL = re.compile(r"[^|]*\|  ( *)([\w.]+)(?: \[\w+\])?\(\)")


def read_graph(path: str | Path) -> Tree:
    """Read a function_graph trace.

    Parameters
    ----------
    path : str or Path
        A ``.graph.gz`` file; or its bare place in data/captures, such as ``m512graph_noinline/G_call_gfp0``.

    Returns
    -------
    list of (int, str)
        Depth and symbol of each call; compiler suffixes such as ``.isra.0`` are dropped.

    Raises
    ------
    CaptureError
        If the file cannot be read, or holds no calls.

    Examples
    --------
    >>> read_graph("m512graph_noinline/G_call_gfp0")[:2]
    [(0, 'calls'), (1, '__get_free_pages')]
    """
    own = DATA / "captures" / f"{path}.graph.gz"
    chosen = own if own.exists() else Path(path)
    calls = (_CALL.match(line) for line in read_text(chosen).splitlines())
    tree = [(len(call[1]) // 2, call[2].split(".")[0]) for call in calls if call]
    if not tree:
        raise CaptureError(f"{chosen}: must hold lines of a function_graph trace, found none")
    return tree


def calls_of(recording: Recording) -> Tree:
    """The calls of a recording as a tree."""
    return [(depth, call.symbol) for root in recording.calls() for depth, call in root.walk()]


def below(tree: Tree, root: str, containing: str = "") -> Tree:
    """The first subtree of `root`, of those that call `containing` if that is given.

    Raises
    ------
    ValueError
        If there is none.
    """
    for start, (depth, symbol) in enumerate(tree):
        if symbol == root:
            end = next((i for i in range(start + 1, len(tree)) if tree[i][0] <= depth), len(tree))
            if not containing or containing in {name for _, name in tree[start:end]}:
                return tree[start:end]
    raise ValueError(f"root must be a function of the trace{' that calls ' + containing if containing else ''}, "
                     f"got {root!r}")


def visible(tree: Tree, names: Collection[str]) -> Iterator[tuple[int, str]]:
    """The calls of these names, with the depth that they have when all others are left out."""
    above: list[int] = []
    for depth, symbol in tree:
        while above and above[-1] >= depth:
            above.pop()
        if symbol in names:
            yield len(above), symbol
            above.append(depth)


def compare_calls(recording: Recording, tree: Tree, root: str) -> str:
    """The real call tree below `root`, and which of its calls the simulator makes, too.

    Parameters
    ----------
    recording : Recording
        The same request, asked of the simulator.
    tree : list of (int, str)
        As `read_graph` gives it.
    root : str
        A function that both call.

    Raises
    ------
    ValueError
        If one of the two does not call `root`.
    """
    theirs, ours = below(tree, root), below(calls_of(recording), root)
    names = {symbol for _, symbol in theirs} & {symbol for _, symbol in ours}
    top = theirs[0][0]
    lines = [f"{'  ' * (depth - top) + symbol:<44}{'both' if symbol in names else 'kernel'}"
             for depth, symbol in theirs]
    same = list(visible(ours, names)) == list(visible(theirs, names))
    count = sum(symbol in names for _, symbol in theirs)
    verdict = "in the same order, at the same depth" if same else "but not in the same order and depth"
    return "\n".join([*lines, f"{count} of {len(theirs)} calls are made by both, {verdict}"])
