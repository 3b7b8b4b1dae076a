"""What a saved page needs: the player once, and for each stepper its data and a film strip.

    mv.use()        -> script and style, in the first cell of a notebook
    Stepper, film   -> outputs without any code: data in a script element of type application/json, pictures as <img>

With scripts off, or in a notebook that is not trusted, the script elements are gone, and the film strip is what one
sees. Everything is found by class: the same stepper may stand twice on a page.
"""
from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from ..draw.scene import Scene
from ..draw.svg import image

HERE = Path(__file__).parent
EXPORT = "export default { render };"


class Html:
    """Something to be shown as HTML; its text form stays the same from run to run."""

    def __init__(self, html: str, text: str) -> None:
        self.html = html
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self._text}


def saved_too(found: Any, text: str, html: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The mimebundle of a widget, which some front ends have as a pair, with its form for a page without a kernel."""
    data, metadata = found if isinstance(found, tuple) else (found, {})
    return {**(data or {}), "text/plain": text, "text/html": html}, metadata


@cache
def use() -> Html:
    """Show this in the first cell of a notebook: it brings the player to the saved page.

    Examples
    --------
    >>> use()
    mmviz is ready.
    """
    return Html(f'<style>{style()}</style><script type="module">{script()}</script>'
                "<span>mmviz is ready. In JupyterLab, <em>Edit &gt; Clear Outputs of All Cells</em> takes away the "
                "saved answers below the questions.</span>", "mmviz is ready.")


def script() -> str:
    """The player for a saved page, as a JavaScript module that looks for its data by itself."""
    return _lean((HERE / "player.js").read_text(encoding="utf-8")).replace(EXPORT, "watch();")


def style() -> str:
    """The player's style sheet."""
    return _lean((HERE / "player.css").read_text(encoding="utf-8"))


def _lean(code: str) -> str:
    """The code without indentation, empty lines, and lines that hold a comment alone."""
    lines = (line.strip() for line in code.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(("//", "/*")))


def still(scene: Scene, heading: str, caption: str) -> str:
    """One picture of a film strip, over its caption."""
    return (f'<figure style="margin:0 0 1.2em">{image(scene)}<figcaption style="margin-top:.3em">'
            f"<b>{escape(heading)}</b> {escape(caption)}</figcaption></figure>")


def strip(stills: Iterable[str]) -> str:
    """A film strip of pictures that are HTML already."""
    return f'<div class="mmviz-film">{"".join(stills)}</div>'


def block(json: str, stills: Iterable[str]) -> str:
    """A stepper as HTML: data for the player, pictures for a page without one."""
    safe = json.replace("<", "\\u003c")
    return (f'<div class="mmviz-steps">{strip(stills)}'
            f'<script type="application/json" class="mmviz-data">{safe}</script></div>')
