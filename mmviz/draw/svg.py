"""A scene as SVG: plain text, one order, one way to write a number, so that the same scene gives the same bytes.

Marks of one layer that look alike stand in one group, and the group carries the look once: a picture of 200 blocks
stays below 25 KB. Patterns are found by ids that are made from the content, so two pictures on a page do not meddle.
A picture in a notebook is an `<img>` that holds this text: an `<svg>` in the page would be stripped from a notebook
that is not trusted, and an `<img>` keeps its alternative text. The script of `mv.use()` opens it up for tooltips.
"""
from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING
from zlib import crc32

from . import style
from .scene import Glyphs, Mark, Move, Part, Shape
from .style import Look

if TYPE_CHECKING:
    from .scene import Scene


def number(value: float) -> str:
    """A coordinate to a tenth, as short as it can be written.

    Examples
    --------
    >>> number(3.0), number(0.25), number(-0.04)
    ('3', '0.2', '0')
    """
    return f"{round(value, 1) + 0.0:g}" if abs(value) < 1e5 else str(round(value))


def path_text(path: tuple[Move, ...], x: float = 0.0, y: float = 0.0) -> str:
    """The `d` of a path, moved by (x, y).

    Examples
    --------
    >>> from mmviz.draw.scene import polygon
    >>> path_text(polygon((0, 0), (8, 0), (8, 4), (0, 4)), 10, 20)
    'M10 20H18V24H10Z'
    """
    text, at = [], (0.0, 0.0)
    for command, points in path:
        shifted = [value + (y if i % 2 else x) for i, value in enumerate(points)]
        text.append(_command(command, shifted, at))
        at = (shifted[-2], shifted[-1]) if shifted else at
    return "".join(text)


def _command(command: str, points: list[float], at: tuple[float, float]) -> str:
    if command == "L" and number(points[1]) == number(at[1]):
        return "H" + number(points[0])
    if command == "L" and number(points[0]) == number(at[0]):
        return "V" + number(points[1])
    return command + " ".join(map(number, points))


def attributes(look: Look, prefix: str) -> dict[str, str]:
    """The presentation attributes of a look; `prefix` makes the names of patterns unique in a page."""
    found = {"fill": f"url(#{prefix}{hatch_id(look)})" if look.hatch and look.hatch_ink else look.fill}
    if look.width:
        found |= {"stroke": look.stroke, "stroke-width": number(look.width)}
    if look.dash:
        found["stroke-dasharray"] = look.dash
    return found | _font(look) if look.size else found


def _font(look: Look) -> dict[str, str]:
    font = {"font-size": number(look.size), "text-anchor": look.anchor}
    if look.weight != 400:
        font["font-weight"] = str(look.weight)
    if look.mono:
        font["font-family"] = style.MONO
    return font


def hatch_id(look: Look) -> str:
    """The name of a pattern: its kind and its two colours."""
    return f"{look.hatch}{look.fill[1:]}"


def hatch_tile(look: Look) -> dict[str, str | int]:
    """The tile of a pattern: ground, lines, path, size."""
    hatch = style.HATCHES[look.hatch]
    return {"id": hatch_id(look), "fill": look.fill, "stroke": look.hatch_ink, "d": hatch.path,
            "width": number(hatch.width), "size": hatch.tile}


def _pattern(look: Look, prefix: str) -> str:
    tile = hatch_tile(look)
    return (f'<pattern id="{prefix}{tile["id"]}" width="{tile["size"]}" height="{tile["size"]}" '
            f'patternUnits="userSpaceOnUse"><path fill="{tile["fill"]}" d="M0 0H{tile["size"]}V{tile["size"]}H0Z"/>'
            f'<path d="{tile["d"]}" stroke="{tile["stroke"]}" stroke-width="{tile["width"]}" fill="none" '
            'stroke-linecap="round"/></pattern>')


Placed = tuple[Mark, Part]


def _groups(marks: list[Mark]) -> dict[tuple[int, bool, int, Look], list[Placed]]:
    """Parts by layer, shapes before texts, first parts before second ones, then by look in order of first use."""
    groups: dict[tuple[int, bool, int, Look], list[Placed]] = {}
    for mark in marks:
        for place, part in enumerate(mark.parts()):
            groups.setdefault((mark.depth, isinstance(part, Glyphs), place, part.look), []).append((mark, part))
    return dict(sorted(groups.items(), key=lambda item: item[0][:3]))


def _shapes(placed: list[Placed], tips: bool) -> str:
    paths = [(path_text(part.path, *mark.origin), mark.tip) for mark, part in placed if isinstance(part, Shape)]
    if not tips:
        return f'<path d="{"".join(d for d, _ in paths)}"/>'
    return "".join(f'<path d="{d}"><title>{escape(tip, quote=False)}</title></path>' if tip else f'<path d="{d}"/>'
                   for d, tip in paths)


def _texts(placed: list[Placed]) -> str:
    """Single letters on one line share a <text> with many x: the letters of 200 blocks would be a third of the file."""
    lines: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for mark, part in placed:
        assert isinstance(part, Glyphs)
        x, y = number(mark.origin[0] + part.x), number(mark.origin[1] + part.y)
        lines.setdefault((y, "" if len(part.text) == 1 else f"{x} {part.text}"), []).append((x, part.text))
    return "".join(f'<text x="{" ".join(x for x, _ in line)}" y="{y}">'
                   f"{escape(''.join(text for _, text in line), quote=False)}</text>" for (y, _), line in lines.items())


def _attrs(values: dict[str, str]) -> str:
    return "".join(f' {name}="{escape(value)}"' for name, value in values.items())


def _painted(scene: Scene, tips: bool, prefix: str) -> str:
    groups = _groups(list(scene.marks))
    hatched = {hatch_id(look): look for *_, look in groups if look.hatch and look.hatch_ink}
    patterns = "".join(_pattern(look, prefix) for look in hatched.values())
    body = "".join(f"<g{_attrs(attributes(look, prefix))}>{_texts(placed) if is_text else _shapes(placed, tips)}</g>"
                   for (_, is_text, _, look), placed in groups.items())
    return (f"<defs>{patterns}</defs>" if patterns else "") + body


def svg(scene: Scene, tips: bool = True) -> str:
    """The picture as an SVG document.

    Parameters
    ----------
    scene : Scene
        What to paint.
    tips : bool
        Whether marks carry their tooltips.
    """
    width, height = number(scene.width), number(scene.height)
    prefix = f"m{crc32(_painted(scene, tips, '').encode() + scene.alt.encode()):08x}"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-labelledby="{prefix}t" aria-describedby="{prefix}d" '
            f'font-family="{escape(style.SANS)}" stroke-linejoin="round">'
            f'<title id="{prefix}t">{escape(scene.title, quote=False)}</title>'
            f'<desc id="{prefix}d">{escape(scene.description, quote=False)}</desc>'
            f'<path fill="{style.PAPER_WHITE}" d="M0 0H{width}V{height}H0Z"/>{_painted(scene, tips, prefix)}</svg>')


def image(scene: Scene, tips: bool = False) -> str:
    """The picture as an `<img>` that holds its data; it survives in a notebook that is not trusted."""
    data = b64encode(svg(scene, tips).encode()).decode()
    return (f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(scene.alt)}" '
            f'style="max-width:100%;height:auto;background:{style.PAPER_WHITE}">')


def figure(scene: Scene) -> str:
    """The picture as HTML, under it its title where it does not show one itself."""
    titled = any(mark.key == "title" for mark in scene.marks)
    caption = "" if titled else f"<figcaption>{escape(scene.title, quote=False)}</figcaption>"
    return f'<figure class="mmviz-scene" style="margin:0">{image(scene, tips=True)}{caption}</figure>'
