r"""Size classes: what a request of so many bytes wastes, and what the slabs of each class hold.

    waste    50% |/|   /|  /|        one tooth a class: nothing at the class's own size, most one byte above
                 |  \  | \ | \       the class before
              0% +---------------
                 8    16  32  64

    kmalloc-64    order 0, 64 objects    |####----|    in use of what is held

The classes come from the core (a Machine), or from a real kernel (/proc/slabinfo); the teeth follow from them.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log2
from typing import NamedTuple

from ..capture.slabinfo import SlabInfo
from ..kernel import PAGE_SIZE
from ..mm.array_cache import slab_caches
from ..mm.machine import Machine
from ..mm.slab import kmalloc_cache
from ..mm.slab_common import KMALLOC_NORMAL, kmalloc_classes, kmalloc_index
from ..mm.slab_state import slab
from ..recording import Step
from .reading import HEAD, MARGIN, RIGHT, WIDTH
from .scene import Line, Mark, Polyline, Rect, Scene, Text
from .slab_reading import views
from .style import AXIS, BAND, GRID, HOLE, MUTED, NUMBER, STRONG, TEXT, free, used

LARGEST = 8192  # bytes: what the picture ends with
LEFT, TOP, HIGH = 64.0, HEAD + 16, 130.0
TABLE, BAR, LANE = TOP + HIGH + 52, 430.0, 18.0
_NAME = re.compile(r"kmalloc-(\d+)([kM]?)$")


class SizeClass(NamedTuple):
    """A cache of kmalloc: bytes of an object, order and objects of a slab, objects in use, objects in all slabs."""

    name: str
    size: int
    order: int
    objects: int
    inuse: int
    total: int


def draw_size_classes(state: Machine | Sequence[SlabInfo], step: Step | None = None) -> Scene:
    """The waste of every size up to 8 KiB, and the memory of each class.

    Parameters
    ----------
    state : Machine or sequence of SlabInfo
        A machine with SLUB or SLAB, or what `read_slabinfo` read.
    step : Step, optional
        Not looked at: the classes do not change.

    Returns
    -------
    Scene
        ``scene.plot(ax)`` paints it into a matplotlib Axes.

    Raises
    ------
    ValueError
        If there is no class: SLOB has none.

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_size_classes(mv.toy(4)).title
    'Size classes: 13 up to 8,192 bytes'
    """
    classes = size_classes(state)
    if not classes:
        raise ValueError("state must have caches of kmalloc: a machine with SLUB or SLAB, or lines of /proc/slabinfo "
                         "such as kmalloc-64, got none")
    title = f"Size classes: {len(classes)} up to {LARGEST:,} bytes"
    worst_size, worst = max((point for point in _teeth(classes) if point[0] > classes[0].size),
                            key=lambda point: round(point[1]))
    remark = (f"what nobody asked for, in per cent of what a request takes; above {classes[0].size} bytes at most "
              f"{worst:.0f}%, first at {worst_size:,} bytes")
    marks: list[Mark] = [Text("title", STRONG, MARGIN, 24, title), Text("remark", MUTED, MARGIN, 42, remark)]
    marks += [*_axes(classes), *_curve(classes), *_table(classes)]
    return Scene(title, WIDTH, TABLE + LANE * len(classes) + 12, marks, f"{title}; {remark}. {_words(classes)}")


def _words(classes: list[SizeClass]) -> str:
    return "; ".join(f"{each.name}: order {each.order}, {each.objects} objects" for each in classes) + "."


# ---------------------------------------------------------------- the classes


def size_classes(state: Machine | Sequence[SlabInfo]) -> list[SizeClass]:
    """The classes of ordinary memory up to 8 KiB, smallest first."""
    found = _of_machine(state) if isinstance(state, Machine) else map(_of_line, state)
    return sorted((each for each in found if 0 < each.size <= LARGEST), key=lambda each: each.size)


def _of_line(line: SlabInfo) -> SizeClass:
    """A line of /proc/slabinfo; size 0 if it is no class of ordinary memory."""
    match = _NAME.match(line.name)
    size = int(match[1]) << {"": 0, "k": 10, "M": 20}[match[2]] if match else 0
    return SizeClass(line.name, size, (line.pagesperslab - 1).bit_length(), line.objperslab, line.active_objs,
                     line.num_objs)


def _of_machine(state: Machine) -> Iterator[SizeClass]:
    """The classes as boot makes them; a machine that has not yet asked for memory has them too."""
    machine, kind = state.copy(), state.config.slab
    known = [each for each in kmalloc_classes(kind, False) if each.type == KMALLOC_NORMAL] if kind != "SLOB" else []
    for each in known:
        inuse = [(view.inuse, view.objects) for view in views(state, each.name)]
        total = sum(inuse for inuse, _ in inuse), sum(objects for _, objects in inuse)
        yield SizeClass(each.name, each.size, *_geometry(machine, kmalloc_index(each.size, kind)), *total)


def _geometry(machine: Machine, index: int) -> tuple[int, int]:
    """Order and objects of a slab of a class."""
    if machine.config.slab == "SLAB":
        name = kmalloc_cache(machine, KMALLOC_NORMAL, index)
        cache = slab_caches(machine)[name]
        return cache.gfporder, cache.num
    found = slab(machine).kmalloc_caches[KMALLOC_NORMAL][index]
    assert found is not None
    return found.oo.order, found.oo.objects


# ---------------------------------------------------------------- the teeth


def _teeth(classes: list[SizeClass]) -> Iterator[tuple[int, float]]:
    """(bytes asked for, per cent wasted) along the curve: each class from one byte above the class before."""
    for before, after in pairwise([0, *(each.size for each in classes)]):
        first = before + 1
        steps = 1 if after - first < 2 else 8
        for part in range(steps + 1):
            asked = first + (after - first) * part // steps
            yield asked, 100 * (after - asked) / after


def _at(asked: float, waste: float) -> tuple[float, float]:
    """A point of the plot: sizes by their logarithm."""
    return LEFT + log2(asked) / log2(LARGEST) * (RIGHT - LEFT), TOP + HIGH * (1 - waste / 100)


def _axes(classes: list[SizeClass]) -> Iterator[Mark]:
    yield Rect("plot", BAND, LEFT, TOP, RIGHT - LEFT, HIGH, label="")
    for waste in (0, 25, 50, 75, 100):
        _, y = _at(1, waste)
        yield Line(f"waste {waste}", AXIS if waste == 0 else GRID, LEFT, y, RIGHT, y)
        yield Text(f"says {waste}", NUMBER, LEFT - 8, y + 4, f"{waste}%", anchor="end")
    for each in classes:
        x, y = _at(each.size, 0)
        yield Line(f"class {each.size}", GRID, x, TOP, x, y)
        low = each.size & (each.size - 1) != 0
        yield Text(f"size {each.size}", NUMBER, x, y + (30 if low else 16), _short(each.size), anchor="middle")
    yield Text("asked", MUTED, LEFT, TOP + HIGH + 30, "bytes asked for")


def _short(size: int) -> str:
    return f"{size >> 10}k" if size >= 1024 else str(size)


def _curve(classes: list[SizeClass]) -> Iterator[Mark]:
    points = [_at(asked, waste) for asked, waste in _teeth(classes)]
    yield Polyline("waste", AXIS, points, touched=True)


# ---------------------------------------------------------------- the memory


def _table(classes: list[SizeClass]) -> Iterator[Mark]:
    most = max([each.total * each.size for each in classes] + [1])
    for row, each in enumerate(classes):
        y = TABLE + row * LANE
        held, live = each.total * each.size, each.inuse * each.size
        rest = (PAGE_SIZE << each.order) - each.objects * each.size
        yield Text(f"name {each.name}", TEXT, MARGIN, y + 13, each.name)
        yield Text(f"slab {each.name}", MUTED, 130, y + 13,
                   f"a slab: order {each.order}, {each.objects} objects" + (f", {rest:,} bytes over" if rest else ""))
        scale = (RIGHT - BAR - 150) / most
        if live:
            yield Rect(f"used {each.name}", used("U"), BAR, y + 2, live * scale, 14, label="",
                       tip=f"{live:,} bytes in use")
        if held > live:
            yield Rect(f"free {each.name}", free("U"), BAR + live * scale, y + 2, (held - live) * scale, 14, label="",
                       tip=f"{held - live:,} bytes of free objects")
        if rest and each.total:
            width = max(2.0, rest * each.total / each.objects * scale)
            yield Rect(f"rest {each.name}", HOLE, BAR + held * scale, y + 2, width, 14, label="", tip="left over")
        yield Text(f"count {each.name}", MUTED, RIGHT, y + 13, f"{each.inuse:,} of {each.total:,} in use", anchor="end")
