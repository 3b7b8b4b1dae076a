"""Pictures: state -> scene -> SVG or matplotlib. Nothing is imported before it is asked for."""
from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "scene": ("Scene", "Mark", "Rect", "Dot", "Text", "Line", "Arrow", "Bracket", "Polyline"),
    "style": ("Meaning", "used", "free", "pcp", "text_width"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
