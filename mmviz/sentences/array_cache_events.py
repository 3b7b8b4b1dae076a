"""The sentences of SLAB's events (mm/array_cache_events.py)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _name(array: str) -> str:
    kind, number, *home = array.split()
    if kind == "cpu":
        return f"CPU {number}'s array"
    return f"node {number}'s array for objects of node {home[0]}" if home else f"the shared array of node {number}"


def _of(w: dict[str, Any]) -> str:
    return f"{_name(w['array'])} of {w['cache']}"


def _cap(text: str) -> str:
    return text[0].upper() + text[1:]


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count:,} objects"


def _tried(w: dict[str, Any]) -> str:
    taken = "that will do" if w["taken"] else "not yet good enough"
    return (f"{w['cache']}: a slab of {w['pages']} would hold {_objects(w['num'])} and leave {w['left_over']:,} bytes: "
            f"{taken}.")


def _setup(w: dict[str, Any]) -> str:
    return (f"The cache {w['cache']} is set up: {_objects(w['num'])} of {w['size']:,} bytes in a slab of order "
            f"{w['gfporder']}, arrays of {w['limit']:,}.")


def _chosen(w: dict[str, Any]) -> str:
    how = "this CPU's own: its array first" if w["local"] else "not this CPU's: its slabs are asked, past all arrays"
    return f"The object shall come from node {w['nid']}, {how}."


def _empty(w: dict[str, Any]) -> str:
    late = "" if w["touched"] else ", since it was not used of late"
    return f"{_cap(_of(w))} is empty, and wants {_objects(w['batchcount'])}{late}."


def _first(w: dict[str, Any]) -> str:
    if w["pfn"] < 0:
        return f"Node {w['nid']} has no slab of {w['cache']} with a free object."
    return f"Objects come from slab {w['pfn']:#x}, the first {w['slabs']} one of node {w['nid']}."


def _pages(w: dict[str, Any]) -> str:
    got = "gets none" if w["pfn"] < 0 else f"gets {w['pfn']:#x}"
    return f"{w['cache']} asks for {w['pages']} of node {w['nid']}, and {got}."


def _full(w: dict[str, Any]) -> str:
    where = "go to the shared array" if w["where"] == "shared" else "go back to their slabs"
    return f"{_cap(_of(w))} is full: its {w['nr']:,} oldest objects {where}."


SENTENCES: dict[str, str | Callable[[dict[str, Any]], str]] = {
    "SetupCpuCache": _setup,
    "AcPush": lambda w: f"Object {w['vaddr']:#x} goes on top of {_of(w)}.",
    "AcPop": lambda w: f"Object {w['vaddr']:#x} is taken from the top of {_of(w)}.",
    "TransferObjects": lambda w: f"The {_objects(w['nr'])} on top of {_of(w)} go over to {_name(w['to'])}.",
    "AcCopy": lambda w: f"The {_objects(w['nr'])} at the bottom of {_of(w)} are copied on top of {_name(w['to'])}.",
    "AcShift": lambda w: f"The {_objects(w['nr'])} at the bottom leave {_of(w)}; the others move down.",
    "SetTouched": lambda w: f"{_cap(_of(w))} has {'' if w['touched'] else 'not '}been used of late.",
    "SlabGrown": "Page {pfn:#x} begins a new slab of {cache}; its first object stands {colour_offset} bytes in.",
    "SlabDestroyed": "Slab {pfn:#x} of {cache} is one no more: its pages go back.",
    "SlabGetObj": "Object {index} of slab {pfn:#x} leaves its slab.",
    "SlabPutObj": "Object {index} comes back to slab {pfn:#x}, and will be the next one to leave it.",
    "SlabListAdd": "Slab {pfn:#x} goes to the head of node {nid}'s {slabs} list.",
    "SlabListAddTail": "Slab {pfn:#x} goes to the tail of node {nid}'s {slabs} list.",
    "SlabListDel": "Slab {pfn:#x} leaves node {nid}'s {slabs} list.",
    "SetFreeObjects": "The slabs of node {nid} have {free_objects:,} free objects of {cache}.",
    "SetColourNext": "The last slab of {cache} on node {nid} has colour {colour_next}.",
    "SlabOrderEstimated": _tried,
    "CacheNodeChosen": _chosen,
    "ArrayFoundEmpty": _empty,
    "FirstSlabChosen": _first,
    "SlabPagesAsked": _pages,
    "ArrayFoundFull": _full,
    "AlienFreed": "The object is of node {home}: node {nid} keeps it in an array apart.",
    "BlockFreed": lambda w: f"{_objects(w['nr'])} of {w['cache']} go{'es' if w['nr'] == 1 else ''} back to the slabs "
                            f"of node {w['nid']}, which may have {w['free_limit']:,} free ones.",
    "FallbackNodeTried": "Node {nid} has {free_objects:,} free objects of {cache}.",
}
