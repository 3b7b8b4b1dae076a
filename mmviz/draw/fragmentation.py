"""Fragmentation over time: which part of the free memory is of no use, an order a curve.

    1.0 |            .---- order 9            1.0: no block of this order is left
        |    .------'  .-- order 4            grey: pages on the free lists, as a share of the zone
        |---'     .---'
    0.0 +--------------------- operations

The curves are `unusable_free_index` as `unusable_over_time` found it. Each has its own dashes and markers, and its name
at its end: hue is never alone. matplotlib is imported by whoever asks for this module.
"""
from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..mm.extfrag import Series
from . import style
from .plot import RC, UNDATED
from .svg import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = 6  # on a curve
GAP = 0.062  # between two names, as a share of the axis
INCHES = (900 / 96, 300 / 96)
LOWEST, HIGHEST = -0.03, 1.04  # of the axis
EDGES = {"left": 0.06, "right": 0.91, "bottom": 0.16, "top": 0.84}
FONTS: dict[Any, Any] = {**RC, "font.sans-serif": ["DejaVu Sans"]}  # one name; each text of an SVG repeats the list
LONG = re.compile(r"-?\d+\.\d{2,}")
ATTRIBUTE = re.compile(r'"[^"]*"')
Panels = Series | Mapping[str, Series]


class Plot:
    """A figure that shows itself in a notebook as an SVG picture, the same bytes each time."""

    def __init__(self, figure: Figure, words: str) -> None:
        self.figure = figure
        self.words = words

    def __repr__(self) -> str:
        return f"Plot({len(self.figure.axes)} panel{'s' * (len(self.figure.axes) != 1)})"

    def svg(self) -> str:
        """The picture as an SVG document, its numbers to a tenth of a point."""
        buffer = BytesIO()
        with rc_context(FONTS):
            self.figure.savefig(buffer, format="svg", metadata={**UNDATED[".svg"], "Creator": None})
        return ATTRIBUTE.sub(lambda found: LONG.sub(_shorter, found.group()), buffer.getvalue().decode())

    def savefig(self, path: str | Path) -> None:
        """Write a PDF, SVG or PNG."""
        with rc_context(FONTS):
            self.figure.savefig(path, dpi=192, metadata=UNDATED.get(Path(path).suffix.lower()))

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        data = b64encode(self.svg().encode()).decode()
        html = (f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(self.words)}" '
                f'style="max-width:100%;height:auto;background:{style.PAPER_WHITE}">')
        return {"text/html": html, "text/plain": repr(self)}


def _shorter(found: re.Match[str]) -> str:
    return number(float(found.group()))


def plot_fragmentation(series: Panels, ax: Axes | None = None) -> Plot:
    """Plot how much of the free memory was of no use, order by order, over time.

    Parameters
    ----------
    series : Series, or mapping of str to Series
        What `unusable_over_time` found; several stand side by side, each under its name.
    ax : Axes, optional
        Where to paint, for one series; a new figure if not given.

    Returns
    -------
    Plot
        Its `figure` is a matplotlib Figure.

    Raises
    ------
    ValueError
        If nothing is to be plotted, if there are more curves than can be told apart, or several series for one `ax`.

    Examples
    --------
    >>> import mmviz as mv
    >>> line = mv.Timeline(mv.toy(4), range(9), lambda m, _: mv.alloc_pages(m, mv.GFP_KERNEL, 0))
    >>> plot_fragmentation(mv.unusable_over_time(line, points=10))
    Plot(1 panel)
    """
    panels = {f"zone {series.zone}": series} if isinstance(series, Series) else dict(series)
    _check(panels, ax)
    if ax is not None:
        for name, each in panels.items():
            _panel(ax, name, each, is_first=True)
        figure = ax.get_figure(root=True)
        assert figure is not None
    else:
        figure = _figure(panels)
    return Plot(figure, _words(panels))


def _check(panels: dict[str, Series], ax: Axes | None) -> None:
    if not panels or (ax is not None and len(panels) > 1):
        raise ValueError(f"series must hold one series for one ax, and at least one in all, got {len(panels)}")
    most = max(len(each.unusable) for each in panels.values())
    if most > len(style.STROKES):
        raise ValueError(f"a plot tells {len(style.STROKES)} orders apart, got {most}")


def _figure(panels: dict[str, Series]) -> Figure:
    with rc_context(FONTS):
        figure = Figure(figsize=INCHES, facecolor=style.PAPER_WHITE)
        for place, (name, each) in enumerate(panels.items()):
            _panel(figure.add_subplot(1, len(panels), place + 1), name, each, is_first=not place)
        figure.subplots_adjust(**EDGES, wspace=0.3)
    return figure


def _panel(ax: Axes, name: str, series: Series, is_first: bool) -> None:
    """One series: the free pages as a ground, then a curve and its name for each order."""
    share = [pages / series.managed_pages for pages in series.free_pages]
    ax.fill([0, *series.at, series.at[-1]], [0, *share, 0], color=style.GRID_INK, linewidth=0, zorder=1)
    curves = {order: [value / 1000 for value in index] for order, index in series.unusable.items()}
    for values, stroke in zip(curves.values(), style.STROKES, strict=False):
        _curve(ax, series.at, values, stroke)
    places = _apart([values[-1] for values in curves.values()])
    for (order, values), place, stroke in zip(curves.items(), places, style.STROKES, strict=False):
        _name(ax, series.at[-1], values[-1], place, f"order {order}", stroke.ink)
    ax.set_title(f"{name}: unusable part of the free pages" if is_first else name, loc="left", fontsize=10,
                 color=style.INK)
    ax.set_xlabel("operations (grey: pages on the free lists, share of the zone)" if is_first else "operations",
                  fontsize=9, color=style.INK)
    _frame(ax, series.at[-1])


def _frame(ax: Axes, last: int) -> None:
    ax.set(ylim=(LOWEST, HIGHEST), xlim=(0, max(1, last)), yticks=[0, 0.25, 0.5, 0.75, 1], facecolor=style.PAPER_WHITE)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.tick_params(labelsize=9, colors=style.INK)
    ax.grid(axis="y", color=style.MUTED_INK, linewidth=0.4, alpha=0.5)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _curve(ax: Axes, at: tuple[int, ...], values: list[float], stroke: style.Stroke) -> None:
    every = max(1, len(at) // MARKERS)
    dashes: Any = (0, tuple(map(float, stroke.dash.split()))) if stroke.dash else "solid"
    ax.plot(at, values, color=stroke.ink, linestyle=dashes, linewidth=1.6, marker=stroke.marker, markersize=5,
            markevery=(style.STROKES.index(stroke) * every // len(style.STROKES), every), zorder=3, clip_on=False)


def _apart(ends: list[float]) -> list[float]:
    """Places for the names of the curves: each near the end of its curve, none on another."""
    ranked = sorted(range(len(ends)), key=lambda which: (ends[which], which))
    places = [0.0] * len(ends)
    free_from, free_to = LOWEST, HIGHEST
    for which in ranked:
        places[which] = max(ends[which], free_from)
        free_from = places[which] + GAP
    for which in reversed(ranked):
        places[which] = min(places[which], free_to)
        free_to = places[which] - GAP
    return places


def _name(ax: Axes, x: float, y: float, place: float, text: str, ink: str) -> None:
    """Write the name of a curve beside its end, with a thin line to it."""
    ax.annotate(text, (x, y), (1.04, (place - LOWEST) / (HIGHEST - LOWEST)), textcoords="axes fraction", fontsize=9,
                color=ink, va="center", annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": ink, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0,
                            "relpos": (0, 0.5)})


def _words(panels: dict[str, Series]) -> str:
    said = []
    for name, each in panels.items():
        orders = [f"order {order} from {index[0] / 1000:.3f} to at most {max(index) / 1000:.3f}, at the end "
                  f"{index[-1] / 1000:.3f}" for order, index in each.unusable.items()]
        said.append(f"{name}: {'; '.join(orders)}")
    return f"Unusable free index over time. {'. '.join(said)}."
