"""One slab: its objects in the order of their addresses, and the free ones strung together.

    CPU 0: c->freelist            page->freelist
        |                              |
        v        ___                   v
    [ 1 in use ][2]`->[ 3 ][ 4 in use ][ 5 ] ...     solid: in use; pale: free; broken outline: free for this CPU

A free object costs nothing to keep: its first word says which one is next. Hatched is what nobody can use: behind each
object what rounding up to `size` adds, and the rest of the slab behind the last one.
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import copysign

from ..mm.machine import Machine
from ..recording import Step
from .reading import HEAD, MARGIN, RIGHT, WIDTH, event_of, fields, heading, unique, whole
from .scene import Arrow, Mark, Rect, Scene, Text
from .slab_reading import MINE, USED, Chain, SlabView, addresses, cache_of, views
from .style import BOX, HOLE, LINK, MUTED, NUMBER, Meaning, free, pcp, used

TOP = HEAD + 62  # of the first row; above it the heads of the lists
LABEL = 82.0  # room for the first object of a row, and its offset
MOST_HOPS = 14  # arrows of a list
ROWS = ((4, 4, 36.0, 36.0), (48, 8, 30.0, 34.0), (128, 16, 22.0, 24.0), (1 << 30, 32, 16.0, 10.0))
"""Up to so many objects: objects in a row, height of a row, gap above it."""


def draw_slab(state: Machine, step: Step | None = None, *, cache: str | None = None, pfn: int | None = None) -> Scene:
    """One slab of a cache, with its free lists.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; the object that it names is touched.
    cache : str, optional
        The name of a cache; that of the step, or the last one with a slab, if not given.
    pfn : int, optional
        The first page of the slab; the one that the step names, or that of the CPU that asks, if not given.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> address = mv.kmalloc(machine, 64, mv.GFP_KERNEL)
    >>> draw_slab(machine).title
    'Slab 0x1000 of kmalloc-64: 64 objects of 64 bytes'
    """
    name = cache_of(state, step, cache)
    view = _view_of(state, step, name, pfn)
    if view is None:
        title = f"No slab of {name}" if name else "No slab yet"
        marks = heading(state, title, "the first request will make one", step)
        return Scene(title, WIDTH, HEAD + 20, marks, f"{title}: the first request will make one.")
    title = f"Slab {view.pfn:#x} of {name}: {view.objects} objects of {view.size:,} bytes"
    lost = view.objects - view.inuse - len({number for chain in view.chains for number in chain.objects})
    remark = f"order {view.order}, {_place(view)}; {view.inuse} in use, {view.left_over:,} bytes left over"
    remark += f"; {lost} on no list, lost" if lost > 0 else ""
    marks = heading(state, title, remark, step) + list(_objects(view, step))
    for number, chain in enumerate(view.chains):
        marks += _chain(view, chain, number)
    last = _row_top(view, view.objects - (not view.left_over)) + _layout(view)[1]
    return Scene(title, WIDTH, last + 20, unique(marks), _words(view, title, remark))


def _words(view: SlabView, title: str, remark: str) -> str:
    lists = "; ".join(f"{chain.name}: {', '.join(map(str, chain.objects[:8]))}" + " ..." * (len(chain.objects) > 8)
                      + f", then {chain.bites} again, without end" * (chain.bites >= 0) for chain in view.chains)
    return f"{title}. {remark}. {f'Free objects by number, the next first: {lists}.' if lists else 'None is free.'}"


def _place(view: SlabView) -> str:
    """Where the slab is, in words."""
    owner, number, *kind = [*view.where.split(), ""]
    waiting = view.objects - view.inuse
    if owner == "full":
        return "on no list: on its way" if waiting else "full, and on no list"
    arrays = f" (the other {waiting} are in arrays)" if kind[0] == "full" and waiting else ""
    return f"on {owner} {number}'s {kind[0]} list{arrays}" if kind[0] else f"cpu slab of {owner} {number}"


def _view_of(state: Machine, step: Step | None, name: str, pfn: int | None) -> SlabView | None:
    """The slab to draw: the one asked for, or that the event names, or the one that serves next."""
    known = views(state, name)
    if pfn is not None:
        found = next((view for view in known if view.pfn == whole("pfn", pfn, 0, 1 << 52)), None)
        if found is None:
            raise ValueError(f"pfn must be the first page of a slab of {name}: "
                             f"{', '.join(f'{view.pfn:#x}' for view in known) or 'it has none'}; got {pfn:#x}")
        return found
    wanted = fields(event_of(step)).get("pfn", -1)
    touched = [view for view in known if view.pfn == wanted or any(view.number(a) >= 0 for a in addresses(step))]
    own = [view for view in known if view.where == f"CPU {state.current.cpu}"]
    mine = [view for view in known if any(chain.name.startswith(f"CPU {state.current.cpu}:") for chain in view.chains)]
    return next(iter([*touched, *own, *mine, *reversed(known)]), None)


# ---------------------------------------------------------------- the objects


def _layout(view: SlabView) -> tuple[int, float, float]:
    """Objects in a row, height of a row, gap above it."""
    return next(row[1:] for row in ROWS if view.objects <= row[0])


def _row_top(view: SlabView, number: int) -> float:
    columns, height, gap = _layout(view)
    return TOP + (number // columns) * (height + gap)


def _cell(view: SlabView, number: int) -> tuple[float, float, float, float]:
    """Place and size of an object: x, y, width, height."""
    columns, height, _ = _layout(view)
    width = (RIGHT - MARGIN - LABEL) / columns
    return MARGIN + LABEL + number % columns * width, _row_top(view, number), width, height


def _meaning(state: str) -> Meaning:
    return {USED: used("U"), MINE: pcp("U")}.get(state, free("U"))


def _objects(view: SlabView, step: Step | None) -> Iterator[Mark]:
    order = {number: place + 1 for chain in view.chains for place, number in enumerate(chain.objects)}
    now = {view.number(address) for address in addresses(step)}
    columns = _layout(view)[0]
    for number, state in enumerate(view.state):
        x, y, width, height = _cell(view, number)
        padding = width * (view.size - view.object_size) / view.size
        address = view.start + number * view.size
        label = "" if state == USED else str(order.get(number, ""))
        yield Rect(f"object {address:#x}", _meaning(state), x, y, width - padding - 1, height, label=label,
                   touched=number in now, words=f"object {number} is {state}" if number in now else "",
                   tip=f"object {number} at {address:#x}\n{state}" + (f", number {label} on its list" if label else ""))
        if padding:
            yield Rect(f"padding {address:#x}", HOLE, x + width - padding - 1, y, padding, height, label="",
                       tip=f"padding: {view.size - view.object_size} bytes")
        if number % columns == 0:
            yield Text(f"row {number}", NUMBER, MARGIN, y + height / 2 + 4, f"{number}: +{number * view.size:#x}")
    yield from _rest(view)


def _rest(view: SlabView) -> Iterator[Mark]:
    """What no object uses, behind the last one."""
    if view.left_over:
        x, y, width, height = _cell(view, view.objects)
        rest = max(3.0, min(width, width * view.left_over / view.size))
        yield Rect("rest", HOLE, x, y, rest, height, label="", tip=f"left over: {view.left_over:,} bytes")


# ---------------------------------------------------------------- the lists


def _chain(view: SlabView, chain: Chain, number: int) -> list[Mark]:
    """The head of a list, and arrows from object to object."""
    x = MARGIN + LABEL + number * 290
    hops = chain.objects[:MOST_HOPS]
    said = f"{chain.name}: {len(chain.objects)}"
    cell_x, cell_y, width, _ = _cell(view, hops[0])
    marks: list[Mark] = [
        Rect(f"head {chain.name}", BOX, x, HEAD - 4, len(said) * 6.9 + 16, 22, label=said,
             tip=f"{chain.name}: {len(chain.objects)} free objects, next to go out: object {hops[0]}"),
        Arrow(f"first {chain.name}", LINK, x + 12, HEAD + 18, cell_x + width * (0.3 + 0.1 * number), cell_y)]
    if not chain.linked:
        return marks
    marks += [_hop(view, chain.name, one, other) for one, other in pairwise(hops)
              if not _reads_on(view, one, other)]
    if chain.bites >= 0:
        marks.append(_loop(view, chain))
    if len(chain.objects) > len(hops):
        marks.append(Text(f"more {chain.name}", MUTED, x + len(said) * 6.9 + 24, HEAD + 11,
                          f"first {MOST_HOPS} arrows shown"))
    return marks


def _loop(view: SlabView, chain: Chain) -> Arrow:
    """From the last object of a list back to one that came before: the list never ends."""
    one, other = chain.objects[-1], chain.bites
    if one != other:
        return _hop(view, f"{chain.name} again", one, other)
    x, y, width, height = _cell(view, one)
    return Arrow(f"next {chain.name} again", LINK, x + width * 0.8, y + height, x + width * 0.2, y + height, bend=0.9)


def _reads_on(view: SlabView, one: int, other: int) -> bool:
    """Whether the next object is the first of the next row: that needs no arrow."""
    return other == one + 1 and other % _layout(view)[0] == 0


def _hop(view: SlabView, name: str, one: int, other: int) -> Arrow:
    """An arrow from a free object to the next: a bow above the row, or straight from row to row."""
    x, y, width, height = _cell(view, one)
    to_x, to_y, _, _ = _cell(view, other)
    start, end = x + width / 2, to_x + width / 2
    key = f"next {name} {view.start + one * view.size:#x}"
    if y == to_y:
        bow = min(0.4, 36 / abs(end - start))
        return Arrow(key, LINK, start, y, end, y, bend=copysign(bow, end - start))
    down = to_y > y
    return Arrow(key, LINK, start, y + height if down else y, end, to_y if down else to_y + height)
