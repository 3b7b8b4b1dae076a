"""The sentences of SLUB's events, and of kmalloc's (mm/slab_events.py)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..kernel import MPOL_NAMES
from . import Run

LABELS = {"redo": "what this CPU has is looked at.", "new_slab": "another slab is needed.",
          "load_freelist": "a free list is found, and its first object is taken."}


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count:,} objects"


def _slabs(count: int) -> str:
    return "1 slab" if count == 1 else f"{count:,} slabs"


def _allocated(w: dict[str, Any]) -> str:
    if not w["ptr"]:
        return f"The request for {w['bytes_req']:,} bytes ({w['gfp']}) ends with NULL."
    waste = w["bytes_alloc"] - w["bytes_req"]
    rest = "for the size and to round up" if w["slab"] == "SLOB" else "unused"
    return (f"The request for {w['bytes_req']:,} bytes gets {w['ptr']:#x}: {w['bytes_alloc']:,} bytes, {waste:,} of "
            f"them {rest}.")


def _size_class(w: dict[str, Any]) -> str:
    if not w["cache"]:
        return f"No cache serves {w['size']:,} bytes."
    return f"{w['size']:,} bytes are served by {w['cache']}, class {w['index']}."


def _mergeable(w: dict[str, Any]) -> str:
    if not w["target"]:
        return f"No cache can take the objects of {w['cache']} ({w['size']:,} bytes): it gets slabs of its own."
    return f"{w['target']} can take the objects of {w['cache']} ({w['size']:,} bytes) as well, so they share."


def _freelist_found(w: dict[str, Any]) -> str:
    if w["fast"]:
        return f"CPU {w['cpu']} has a free {w['cache']} at {w['freelist']:#x}: the fast path."
    why = "is of another node than was asked" if w["freelist"] else "is empty"
    return f"CPU {w['cpu']}'s free list of {w['cache']} {why}: the slow path."


def _free_slab(w: dict[str, Any]) -> str:
    if w["fast"]:
        return f"{w['object']:#x} lies in CPU {w['cpu']}'s own slab of {w['cache']}: the fast path."
    return f"{w['object']:#x} lies in a slab of {w['cache']} that is not CPU {w['cpu']}'s: the slow path."


def _node_matched(w: dict[str, Any]) -> str:
    if w["node"] < 0:
        return f"Slab {w['pfn']:#x} will do: any node is right."
    verdict = "it will do" if w["match"] else "it will not do"
    return f"Slab {w['pfn']:#x} is of node {w['nid']}, and node {w['node']} was asked: {verdict}."


def _partial_searched(w: dict[str, Any]) -> str:
    if w["pfn"] < 0:
        return f"Node {w['nid']} has no partial slab of {w['cache']}."
    return f"Node {w['nid']} has {_slabs(w['nr_partial'])} of {w['cache']} on its partial list; {w['pfn']:#x} is first."


def _acquired(w: dict[str, Any]) -> str:
    where = "becomes the cpu slab" if w["mode"] else "goes to the CPU's partial list"
    return f"Slab {w['pfn']:#x} with {w['free']:,} free {where}; that makes {w['available']:,} free objects so far."


def _order_tried(w: dict[str, Any]) -> str:
    asked = f"A new slab of {w['cache']} is asked for: order {w['order']}, {w['pages']}"
    return f"{asked}; it is refused." if w["pfn"] < 0 else f"{asked}; it gets {w['pfn']:#x}."


def _cpu_partial(w: dict[str, Any]) -> str:
    terms = (f"CPU {w['cpu']}'s partial list of {w['cache']} counts {_objects(w['pobjects'])}; "
             f"{w['cpu_partial']:,} may stay")
    return f"{terms}: the whole list goes to the nodes first." if w["drained"] else f"{terms}: the slab joins it."


def _empty(w: dict[str, Any]) -> str:
    if w["inuse"]:
        return f"Slab {w['pfn']:#x} has {_objects(w['inuse'])} in use: it stays."
    terms = (f"Slab {w['pfn']:#x} is empty; its node has {_slabs(w['nr_partial'])} on the list, "
             f"and keeps {w['min_partial']:,}")
    return f"{terms}: it is freed." if w["discarded"] else f"{terms}: it stays, although it is empty."


def _deactivated(w: dict[str, Any]) -> str:
    end = "tail: others have freed into it" if w["tail"] else "head"
    return f"CPU {w['cpu']} gives up slab {w['pfn']:#x} of {w['cache']}; if it has free objects it goes to the {end}."


def _slab_freed(w: dict[str, Any]) -> str:
    left = f"{_objects(w['inuse'])} left in use"
    if w["was_frozen"]:
        return f"{w['object']:#x} goes back to slab {w['pfn']:#x}, which a CPU owns; {left} there, as the page counts."
    if w["frozen"]:
        return f"{w['object']:#x} is the first to go back to the full slab {w['pfn']:#x}: this CPU takes it; {left}."
    return f"{w['object']:#x} goes back to slab {w['pfn']:#x}, which is its node's; {left}."


def _shrunk(w: dict[str, Any]) -> str:
    return (f"Of {_slabs(w['nr_partial'])} of {w['cache']} on node {w['nid']}'s list {w['discarded']:,} are empty and "
            "go; the fullest of the others come first.")


def _written(w: dict[str, Any]) -> str:
    if not w["word"]:
        return f"Object {w['object']:#x} is filled with zeros, its free pointer too."
    return f"Somebody writes {w['word']:#x} into {w['object']:#x}, where its free pointer is when it is free."


def _freepointer(w: dict[str, Any]) -> str:
    following = f"{w['fp']:#x} comes after it" if w["fp"] else "nothing comes after it"
    return f"The free pointer of {w['object']:#x} is set: {following}."


def _page_list(w: dict[str, Any]) -> str:
    head = f"begins at {w['freelist']:#x}" if w["freelist"] else "is empty"
    owner = "a CPU's" if w["frozen"] else "no CPU's"
    count = f"{_objects(w['inuse'])} count{'s' * (w['inuse'] == 1)} as in use"
    return f"Slab {w['pfn']:#x}: its own list {head}, {count}, and it is {owner}."


def _laid(w: dict[str, Any]) -> str:
    if w["pos"] < 0:
        return f"The objects of the new slab {w['pfn']:#x} are linked upwards, the lowest first."
    return f"The objects of the new slab {w['pfn']:#x} are linked in the cache's random order, from {w['pos']} on."


def _cpu_page(w: dict[str, Any]) -> str:
    slab = f"Slab {w['pfn']:#x} is now" if w["pfn"] >= 0 else "No slab is now"
    return f"{slab} CPU {w['cpu']}'s cpu slab of {w['cache']}."


def _cpu_freelist(w: dict[str, Any]) -> str:
    head = f"begins at {w['freelist']:#x}" if w["freelist"] else "is empty"
    return f"CPU {w['cpu']}'s free list of {w['cache']} {head}."


SENTENCES: dict[str, str | Callable[[dict[str, Any]], str]] = {
    "KmemCacheInit": "At boot, the caches of kmalloc are made.",
    "KmemCacheOpen": "The cache {cache} is made: objects of {size:,} bytes.",
    "KmemCacheAlias": "{cache} is another name of the cache {target} from here on.",
    "FreelistPopped": "CPU {cpu} gives out {object:#x} of {cache}; the next one is what its free pointer says.",
    "FreelistPushed": "{object:#x} becomes the first of CPU {cpu}'s free list of {cache}.",
    "SetCpuFreelist": _cpu_freelist,
    "SetCpuPage": _cpu_page,
    "NextTid": "CPU {cpu}'s transaction number for {cache} moves on.",
    "CpuPartialPushed": ("Slab {pfn:#x} is first on CPU {cpu}'s partial list of {cache}, which now counts {pages:,} "
                         "slabs and {pobjects:,} free objects."),
    "CpuPartialPopped": "Slab {pfn:#x} leaves CPU {cpu}'s partial list of {cache}.",
    "SetPageSlab": "{pages} from {pfn:#x} on: a slab of {cache} now, cut into {objects:,} objects.",
    "FreelistLaid": _laid,
    "SetFreepointer": _freepointer,
    "CmpxchgDoubleSlab": _page_list,
    "AddPartial": lambda w: (f"Slab {w['pfn']:#x} goes to the {'tail' if w['tail'] else 'head'} of its node's partial "
                             "list."),
    "RemovePartial": "Slab {pfn:#x} leaves its node's partial list.",
    "ClearPageSlab": "The pages of {pfn:#x} are no slab any more.",
    "CallRcu": "Slab {pfn:#x} is freed when a grace period has passed: somebody may still look at its objects.",
    "ObjectWritten": _written,
    "RandomDrawn": "A random number below {below:,} is drawn.",
    "Kmalloc": _allocated,
    "KmallocNode": _allocated,
    "KmemCacheAlloc": _allocated,
    "KmemCacheAllocNode": _allocated,
    "Kfree": "Somebody frees {ptr:#x}.",
    "KmemCacheFree": "{ptr:#x} has been freed.",
    "SizeClassChosen": _size_class,
    "LargeOrderChosen": "{size:,} bytes are too many for a cache: {pages} of order {order} are taken instead.",
    "MergeableFound": _mergeable,
    "NodeMatched": _node_matched,
    "FreelistFound": _freelist_found,
    "FreeSlabFound": _free_slab,
    "LabelReached": lambda w: f"{w['label']}: {LABELS[w['label']]}",
    "SlabOutOfMemory": "No slab of {cache} has a free object, and there is no page for a new one ({gfp}).",
    "PartialSearched": _partial_searched,
    "SlabAcquired": _acquired,
    "SlabNodeChosen": lambda w: (f"Which node's neighbours are asked? Node {w['nid']}'s, by the policy "
                                 f"{MPOL_NAMES[w['mode']]}."),
    "SlabOrderTried": _order_tried,
    "CpuPartialChecked": _cpu_partial,
    "EmptyChecked": _empty,
    "Deactivated": _deactivated,
    "SlabFreed": _slab_freed,
    "SlabDiscarded": "The empty slab {pfn:#x} of {cache} is let go, all {pages} of it.",
    "CacheShrunk": _shrunk,
}

GIVEN_BACK = Run("given back", lambda event: None if getattr(event, "frozen", True) is False else event.pfn, 4,
                 lambda w: f"{_objects(sum('fp' in each for each in w)).capitalize()} go back to the list of slab "
                           f"{w[0]['pfn']:#x}, one by one; the slab is still a CPU's.")
RUNS = {"SetFreepointer": GIVEN_BACK, "CmpxchgDoubleSlab": GIVEN_BACK}
