"""Widgets: a recording and a picture. Nothing is imported before it is asked for."""
from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {"BuddyPanel": "buddy_panel", "Stepper": "stepper", "film": "film", "use": "page"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value  # `film` is a module too: what is asked for is the function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
