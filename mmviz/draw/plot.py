"""A scene in matplotlib: the same parts, painted into an Axes, for papers and beside time series.

The Axes takes the scene's user units, y down, without ticks; sizes of text and lines shrink and grow with it.
A file holds no date and no random ids, and text stays text, so the same scene gives the same bytes.
matplotlib is imported by whoever asks for this module, and by nothing else in the package.
"""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from . import style
from .scene import Glyphs, Mark, Move, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .scene import Scene

RC: dict[Any, Any] = {"svg.hashsalt": "mmviz", "svg.fonttype": "none", "pdf.fonttype": 42, "hatch.linewidth": 0.5,
                      "font.family": ["sans-serif"]}
UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
KNOWN = (".pdf", ".png", ".svg")
CODES = {"M": [Outline.MOVETO], "L": [Outline.LINETO], "Q": [Outline.CURVE3] * 2, "Z": [Outline.CLOSEPOLY]}


def plot(scene: Scene, ax: Axes) -> None:
    """Paint `scene` into `ax`."""
    ax.set(xlim=(0, scene.width), ylim=(scene.height, 0), facecolor=style.PAPER_WHITE)
    ax.set_aspect("equal")
    ax.set_axis_off()
    scale = _points_per_unit(scene, ax)
    for order, mark in enumerate(scene.marks):
        for part in mark.parts():
            if isinstance(part, Shape):
                _shape(ax, mark, part, scale, order)
            else:
                _glyphs(ax, mark, part, scale, order)


def _points_per_unit(scene: Scene, ax: Axes) -> float:
    """How many points one user unit will take."""
    box = ax.get_window_extent()
    figure = ax.get_figure(root=True)
    assert figure is not None
    return min(box.width / scene.width, box.height / scene.height) * 72 / figure.dpi


def _outline(path: tuple[Move, ...], x: float, y: float) -> Outline:
    vertices, codes = [], []
    for command, points in path:
        pairs = list(zip(points[::2], points[1::2], strict=True)) or [(0.0, 0.0)]
        vertices += [(px + x, py + y) for px, py in pairs]
        codes += CODES[command]
    return Outline(vertices, codes)


def _shape(ax: Axes, mark: Mark, part: Shape, scale: float, order: int) -> None:
    outline, look = _outline(part.path, *mark.origin), part.look
    if look.hatch and look.hatch_ink:  # an own patch: the pattern takes the colour of the edge
        ax.add_patch(PathPatch(outline, facecolor=look.fill, edgecolor=look.hatch_ink, linewidth=0,
                               hatch=style.HATCHES[look.hatch].matplotlib, zorder=order))
    fill = "none" if look.hatch and look.hatch_ink else look.fill
    ax.add_patch(PathPatch(outline, facecolor=fill, edgecolor=look.stroke if look.width else "none",
                           linewidth=look.width * scale, linestyle=_dashes(look.dash), zorder=order))


def _dashes(dash: str) -> Any:
    return (0, tuple(map(float, dash.split()))) if dash else "solid"


def _glyphs(ax: Axes, mark: Mark, part: Glyphs, scale: float, order: int) -> None:
    x, y = mark.origin
    look = part.look
    ax.text(x + part.x, y + part.y, part.text, color=look.fill, fontsize=look.size * scale,
            fontweight="bold" if look.weight > 500 else "normal", family="monospace" if look.mono else None,
            parse_math=False, zorder=order, va="baseline",
            ha={"start": "left", "middle": "center", "end": "right"}[look.anchor])


def savefig(scene: Scene, path: str | Path) -> None:
    """Write `scene` to a .pdf, .svg or .png of its own size (96 units to the inch)."""
    kind = Path(path).suffix.lower()
    if kind not in KNOWN:
        raise ValueError(f"a picture is written to one of {', '.join(KNOWN)}, got {str(path)!r}")
    with rc_context(RC):
        figure = Figure(figsize=(scene.width / 96, scene.height / 96), facecolor=style.PAPER_WHITE)
        plot(scene, figure.add_axes((0, 0, 1, 1)))
        figure.savefig(path, dpi=192, metadata=UNDATED.get(kind))
