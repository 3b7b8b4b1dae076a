"""mmviz: how Linux v5.4 hands out memory, exact and step by step.

    import mmviz as mv

    machine = mv.toy(4)
    with mv.record(machine) as rec:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 3)
    mv.Stepper(rec, mv.draw_free_area)

The core (machines, recordings, replay) needs the standard library alone. Drawing and widgets are looked up when they
are first used, so that ``import mmviz`` loads neither matplotlib, networkx nor ipywidgets.
"""
from __future__ import annotations

from importlib import import_module
from typing import Any

from . import kernel
from .errors import CaptureError, KernelBug, MmvizError, ReplayError
from .kernel import *  # noqa: F403  (the kernel's constants, by their names)
from .kernel import Config, gfp_name, parse_gfp, source_url
from .mm.boot import ZoneSize, boot, duo, toy, zones_toy
from .mm.machine import Machine, Task, set_current
from .mm.page_alloc import (
    __get_free_pages,
    alloc_pages,
    alloc_pages_exact,
    alloc_pages_node,
    get_order,
    get_zeroed_page,
    page_address,
)
from .mm.page_free import __free_pages, drain_all_pages, drain_pages, free_pages, free_unref_page_list
from .narrate import narrate, sentence
from .trace import Event, Recording, Timeline, Trace, record

__version__ = "0.1.0"

_LAZY = {
    "events": "mmviz.mm.events:", "mm": "mmviz.mm:",
    "load_capture": "mmviz.capture.load:load_capture", "replay": "mmviz.capture.replay:replay",
    "timeline": "mmviz.capture.replay:timeline", "read_proc": "mmviz.capture.proc:read_proc",
    "Scene": "mmviz.draw.scene:Scene", "draw_frames": "mmviz.draw.frames:draw_frames",
    "draw_free_area": "mmviz.draw.free_area:draw_free_area", "draw_split_tree": "mmviz.draw.split_tree:draw_split_tree",
    "draw_pcp": "mmviz.draw.pcp:draw_pcp", "draw_watermarks": "mmviz.draw.watermarks:draw_watermarks",
    "draw_calls": "mmviz.draw.calls:draw_calls", "outline": "mmviz.draw.calls:outline",
    "draw_map": "mmviz.draw.map:draw_map",
    "Stepper": "mmviz.explore.stepper:Stepper", "film": "mmviz.explore.film:film", "use": "mmviz.explore.page:use",
    "BuddyPanel": "mmviz.explore.buddy_panel:BuddyPanel",
}


def __getattr__(name: str) -> Any:
    place = _LAZY.get(name)
    if place is None:
        if name.startswith(("GFP_", "__GFP_", "ALLOC_", "MIGRATE_", "PF_")) and hasattr(kernel, name):
            return getattr(kernel, name)
        raise AttributeError(f"module 'mmviz' has no attribute {name!r}")
    module, _, attribute = place.partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])


__all__ = [
    "CaptureError", "Config", "Event", "KernelBug", "Machine", "MmvizError", "Recording", "ReplayError", "Task",
    "Timeline", "Trace", "ZoneSize", "__free_pages", "__get_free_pages", "alloc_pages", "alloc_pages_exact",
    "alloc_pages_node", "boot", "drain_all_pages", "drain_pages", "duo", "free_pages", "free_unref_page_list",
    "get_order", "get_zeroed_page", "gfp_name", "kernel", "narrate", "page_address", "parse_gfp", "record",
    "sentence", "set_current", "source_url", "toy", "zones_toy",
]
