"""A cache: where its slabs are, and so where an object stands.

    CPU 0          [ 0x1004 ]                                  the slab it takes from without a lock
    CPU 0 partial  [ 0x1003 ][ 0x1001 ]                        its own pile, next to be used first
    node 0 partial [ 0x1000 ]                                  for all CPUs, next to be used first
    full           [ 0x1002 ]                                  on no list: nobody looks for it

A slab is a bar, as long as its objects are many: solid in use, pale free, with a broken outline free for one CPU. SLAB
has arrays before its slabs; they stand above, the next object to go out on top (right).
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from ..mm.array_cache import SlabCache
from ..mm.machine import Machine
from ..recording import Step
from .reading import HEAD, MARGIN, RIGHT, WIDTH, event_of, fields, heading, unique
from .scene import Mark, Rect, Scene, Text
from .slab_reading import FREE, MINE, USED, SlabView, addresses, cache_of, caches, places, views
from .style import BAND, MUTED, NUMBER, STRONG, TEXT, free, pcp, used

LEFT = 150.0
CHIP, APART, LANE = 92.0, 12.0, 58.0  # width of a slab, between two, height of a lane
MOST = int((RIGHT - LEFT) // (CHIP + APART))  # slabs in a lane
BAR = 18.0


def draw_cache(state: Machine, step: Step | None = None, *, cache: str | None = None,
               address: int | None = None) -> Scene:
    """The slabs of a cache, on the lists that they are on.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; the slab that it names is touched.
    cache : str, optional
        The name of a cache; that of the step, or the last one with a slab, if not given.
    address : int, optional
        An object to look for; the one that the step names if not given.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> address = mv.kmalloc(machine, 64, mv.GFP_KERNEL)
    >>> draw_cache(machine).title
    'Cache kmalloc-64: 1 slab, 1 object in use of 64'
    """
    name = cache_of(state, step, cache)
    known = views(state, name)
    if name not in caches(state):
        title = "No cache yet"
        marks = heading(state, title, "the first request will make them", step)
        return Scene(title, WIDTH, HEAD + 20, marks, f"{title}: the first request will make them.")
    title = _title(name, known)
    marks = heading(state, title, _remark(state, name, known), step)
    looked_for = addresses(step) if address is None else frozenset([address])
    y, arrays = HEAD, _arrays(state, name, step)
    marks += [mark for row, array in enumerate(arrays) for mark in _array(array, HEAD + row * 30)]
    y += len(arrays) * 30
    for lane, slabs in places(state, name):
        marks += _lane(lane, slabs, y, step, looked_for)
        y += LANE
    said = _object(known, looked_for)
    marks.append(Text("object", TEXT, MARGIN, y + 12, said or "This step names no object." * (step is not None)))
    return Scene(title, WIDTH, y + 28, unique(marks), f"{title}. {_words(state, name)} {said}".strip())


def _title(name: str, known: list[SlabView]) -> str:
    inuse, total = sum(view.inuse for view in known), sum(view.objects for view in known)
    slabs = f"{len(known)} slab{'s' * (len(known) != 1)}"
    return f"Cache {name}: {slabs}, {inuse:,} object{'s' * (inuse != 1)} in use of {total:,}"


def _remark(state: Machine, name: str, known: list[SlabView]) -> str:
    found, pages = caches(state)[name], sum(1 << view.order for view in known)
    held = f"{pages:,} page{'s' * (pages != 1)} held"
    if isinstance(found, SlabCache):
        return f"{held}; arrays of {found.limit}, filled by {found.batchcount}"
    return f"{held}; min_partial {found.min_partial} slabs a node, cpu_partial {found.cpu_partial} objects a CPU"


def _words(state: Machine, name: str) -> str:
    return "; ".join(f"{lane}: {', '.join(f'{view.pfn:#x} ({view.inuse} of {view.objects} in use)' for view in slabs)}"
                     for lane, slabs in places(state, name) if slabs) + "."


def _object(known: list[SlabView], looked_for: frozenset[int]) -> str:
    """Where an object stands, in a sentence."""
    for view in known:
        for number in sorted(view.number(address) for address in looked_for if view.number(address) >= 0):
            lists = [f"{chain.name}, number {chain.objects.index(number) + 1}" for chain in view.chains
                     if number in chain.objects]
            return f"Object {number} of slab {view.pfn:#x} is {view.state[number]}" + (
                f": {lists[0]}." if lists else ".")
    return ""


# ---------------------------------------------------------------- a lane


def _lane(lane: str, slabs: list[SlabView], y: float, step: Step | None, looked_for: frozenset[int]) -> Iterator[Mark]:
    yield Rect(f"lane {lane}", BAND, LEFT - 8, y, RIGHT - LEFT + 8, LANE - 8, label="", tip=f"{lane}: {len(slabs)}")
    yield Text(f"name {lane}", STRONG, MARGIN, y + 20, _lane_name(lane, slabs))
    yield Text(f"count {lane}", MUTED, MARGIN, y + 37, f"{len(slabs)} slab{'s' * (len(slabs) != 1)}")
    shown = slabs if len(slabs) <= MOST else slabs[:MOST - 1]
    for place, view in enumerate(shown):
        yield from _chip(view, LEFT + place * (CHIP + APART), y + 7, step, looked_for)
    if len(shown) < len(slabs):
        yield Text(f"more {lane}", MUTED, LEFT + len(shown) * (CHIP + APART), y + 22, f"{len(slabs) - len(shown)} more")


def _lane_name(lane: str, slabs: list[SlabView]) -> str:
    """A slab that is on no list is full, or on its way from one list to another."""
    if lane != "full":
        return lane
    return "full, on no list" if all(view.inuse == view.objects for view in slabs) else "on no list"


def _chip(view: SlabView, x: float, y: float, step: Step | None, looked_for: frozenset[int]) -> Iterator[Mark]:
    """One slab: what is in use, what is free, and below it its page and count."""
    named = fields(event_of(step)).get("pfn") == view.pfn or any(view.number(each) >= 0 for each in looked_for)
    counts = {state: view.state.count(state) for state in (USED, MINE, FREE)}
    left = x
    for state, meaning in ((USED, used("U")), (MINE, pcp("U")), (FREE, free("U"))):
        width = CHIP * counts[state] / view.objects
        if width:
            yield Rect(f"slab {view.pfn:#x} {state}", meaning, left, y, width, BAR, label="",
                       tip=f"slab {view.pfn:#x}, {view.where}\n{counts[state]} of {view.objects} objects {state}")
        left += width
    yield Text(f"slab {view.pfn:#x}", NUMBER, x, y + BAR + 14, f"{view.pfn:#x} {view.inuse}/{view.objects}",
               touched=named)


# ---------------------------------------------------------------- the arrays of SLAB


def _arrays(state: Machine, name: str, step: Step | None) -> list[tuple[str, list[int], int, bool]]:
    """Name, objects, limit of the arrays of a cache of SLAB, and whether the step names it."""
    found = caches(state)[name]
    if not isinstance(found, SlabCache):
        return []
    event = fields(event_of(step))
    return [(array, ac.entry, ac.limit, array in (event.get("array"), event.get("to")))
            for array, ac in found.array.items()]


def _array(array: tuple[str, list[int], int, bool], y: float) -> Iterator[Mark]:
    """An array: a box as long as its limit, filled as far as it is; runs of one slab are told apart."""
    name, entry, limit, is_touched = array
    scale = (RIGHT - LEFT - 84) / max(limit, 1)
    yield Text(f"name {name}", STRONG, MARGIN, y + 15, f"array {name}")
    yield Rect(f"array {name}", BAND, LEFT, y + 2, limit * scale, 20, label="", touched=is_touched,
               tip=f"array {name}: {len(entry)} of {limit}")
    done = 0
    for number, (pfn, run) in enumerate(groupby(entry, key=lambda address: address >> 12)):
        count = len(list(run))
        yield Rect(f"run {name} {number}", pcp("U"), LEFT + done * scale, y + 2, count * scale, 20,
                   label=f"{pfn & 0xFFFFF:#x}", tip=f"{count} objects of page {pfn & 0xFFFFFFFFF:#x}", layer=3)
        done += count
    yield Text(f"count {name}", MUTED, RIGHT, y + 16, f"{len(entry)} of {limit}", anchor="end")
