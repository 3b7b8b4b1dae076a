"""The sentences of SLOB's events (mm/slob_events.py)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

LISTS = ("small", "medium", "large")
SKIPPED = {"node": "it is of another node", "units": "{units:,} free units are too few",
           "room": "{units:,} units are free, but no block of it is long enough"}
WHERE = {"page": "with it all of the page is free, and the page goes back",
         "list": "its page was full, and goes on a list again",
         "block": "it goes among the free blocks of its page"}


def _skipped(w: dict[str, Any]) -> str:
    return f"Page {w['pfn']:#x} is passed over: {SKIPPED[w['reason']].format_map(w)}."


def _checked(w: dict[str, Any]) -> str:
    lost = f" and {w['delta']:,} for alignment" if w["delta"] else ""
    return (f"Page {w['pfn']:#x}: the free block at unit {w['offset']:,} has {w['avail']:,} units; {w['units']:,} are "
            f"needed{lost}: {'it fits' if w['fits'] else 'too small'}.")


def _asked(w: dict[str, Any]) -> str:
    whose = "" if w["node"] < 0 else f" of node {w['node']}, if it can be,"
    got = f"gets {w['vaddr']:#x}" if w["vaddr"] else "gets none"
    return f"SLOB asks the page allocator for {w['pages']}{whose} and {got}."


SENTENCES: dict[str, str | Callable[[dict[str, Any]], str]] = {
    "SetPageSlob": "Page {pfn:#x} now belongs to SLOB.",
    "ClearPageSlob": "Page {pfn:#x} belongs to SLOB no more.",
    "SetSlobPageFree": lambda w: f"Page {w['pfn']:#x} goes to the head of the {LISTS[w['slob_list']]} list.",
    "ClearSlobPageFree": "Page {pfn:#x} leaves its list.",
    "ListRotateToFront": "The list is turned until page {pfn:#x} comes first: the next search begins there.",
    "SetSlobUnits": "Page {pfn:#x} has {units:,} free units of 2 bytes.",
    "SetSlob": "Page {pfn:#x}: {units:,} units from unit {offset:,} on are one free block.",
    "UnlinkSlob": "Page {pfn:#x}: the free block at unit {offset:,} leaves the list of free blocks.",
    "SetSlobSize": lambda w: f"The header at {w['vaddr']:#x} now says {w['size']:,} bytes." if w["size"] else
                             f"The header at {w['vaddr']:#x} counts no more.",
    "SlobListChosen": lambda w: f"{w['size']:,} bytes with the header: the {LISTS[w['slob_list']]} list is searched.",
    "SlobPageSkipped": _skipped,
    "SlobBlockChecked": _checked,
    "SlobFreeDecided": lambda w: f"The block at {w['vaddr']:#x}, {w['units']:,} units, is freed: {WHERE[w['where']]}.",
    "SlobPageAsked": _asked,
}
