"""SLUB's part of a snapshot: the caches that were selected, with every slab and every free list in its order.

    cache name=mmcap-256 size=264 object_size=256 offset=256 oo_order=0 oo_objects=15 ...
    cpuslab cache=mmcap-256 cpu=0 tid=8d2 page=107566 freelist : ffff88801a42ee70 ...     the CPU's own list
    cpupage cache=mmcap-256 nr=0 pfn=107566 inuse=15 objects=15 frozen=1 ... freelist :   its slab
    cpupartial, partial                                                                  slabs on a list, in its order
    node cache=mmcap-256 node=0 nr_partial=5 nr_slabs=14 total_objects=210
    slabs cache=mmcap-256 : ffff88801a41d000/15 ...                                        all of them, full ones too
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import CaptureError
from ..kernel import PAGE_SHIFT
from ..mm.machine import Machine
from ..mm.page_ref import page_zone
from ..mm.slab_common import SLAB_TYPESAFE_BY_RCU, kmalloc_classes
from ..mm.slab_types import KmemCache, KmemCacheCpu, KmemCacheNode, OrderObjects, Slab, SlabPage

Caches = dict[str, dict[str, Any]]  # of one snapshot: cache -> the lines that tell of it
_PAIR = re.compile(r"(\w+)=(\S*)")
_NUMBERS = ("size", "object_size", "oo_order", "oo_objects", "min_order", "min_objects", "offset", "inuse", "align",
            "min_partial", "cpu_partial", "refcount")


# ---------------------------------------------------------------- text -> plain data


def parse_slub(text: str, name: str) -> list[Caches]:
    """What each snapshot of a NAME.snaps file says of caches, in order; empty dicts where it says nothing.

    Raises
    ------
    CaptureError
        ``name:line: what`` where a line does not parse.
    """
    snapshots: list[Caches] = []
    for number, line in enumerate(text.splitlines(), 1):
        kind, _, rest = line.partition(" ")
        try:
            if kind == "snap":
                snapshots.append({})
            elif kind in _LINES:
                head, _, values = rest.partition(" :")
                _LINES[kind](snapshots[-1], kind, dict(_PAIR.findall(head)), values.split())
        except (ValueError, KeyError, IndexError) as error:
            raise CaptureError(f"{name}:{number}: does not parse ({error!r}): {line[:80]!r}") from error
    return snapshots


def _cache(caches: Caches, kind: str, pairs: dict[str, str], values: list[str]) -> None:
    cache: dict[str, Any] = {name: int(pairs[name]) for name in _NUMBERS}
    cache |= {name: int(pairs[name], 16) for name in ("flags", "allocflags")}
    caches[pairs["name"]] = cache | {"cpuslab": {}, "cpupage": [], "cpupartial": [], "partial": [], "node": {},
                                     "slabs": []}


def _cpuslab(caches: Caches, kind: str, pairs: dict[str, str], values: list[str]) -> None:
    caches[pairs["cache"]][kind][int(pairs["cpu"])] = {
        "tid": int(pairs["tid"], 16), "page": int(pairs["page"]), "freelist": [int(each, 16) for each in values],
        "partial": []}


def _page(caches: Caches, kind: str, pairs: dict[str, str], values: list[str]) -> None:
    cache = caches[pairs["cache"]]
    page = {name: int(pairs[name]) for name in ("pfn", "inuse", "objects", "frozen", "pages", "pobjects")}
    cache[kind].append(page | {"freelist": [int(each, 16) for each in values]})
    if kind == "cpupartial":
        cache["cpuslab"][max(cache["cpuslab"])]["partial"].append(page["pfn"])  # of the CPU whose line came last


def _node(caches: Caches, kind: str, pairs: dict[str, str], values: list[str]) -> None:
    caches[pairs["cache"]][kind][int(pairs["node"])] = int(pairs["nr_slabs"])


def _slabs(caches: Caches, kind: str, pairs: dict[str, str], values: list[str]) -> None:
    slabs = [each.split("/") for each in values]
    caches[pairs["cache"]][kind] = [(int(addr, 16), int(objects)) for addr, objects in slabs]


_LINES: dict[str, Callable[[Caches, str, dict[str, str], list[str]], None]] = {
    "cache": _cache, "cpuslab": _cpuslab, "cpupage": _page, "cpupartial": _page, "partial": _page, "node": _node,
    "slabs": _slabs,
}


# ---------------------------------------------------------------- plain data -> the part "slab"


def slab_of(caches: Caches, machine: Machine, name: str) -> Slab:
    """The part "slab" of the machine that took the snapshot, with the caches that it selected.

    Raises
    ------
    CaptureError
        If something is missing, or a slab is on a list and not among the cache's slabs.
    """
    part = Slab(kmalloc_caches=[[None] * 14 for _ in range(3)])
    try:
        for cache_name, data in caches.items():
            part.caches[cache_name] = _cache_of(cache_name, data, machine)
            _add_pages(part, cache_name, data, machine)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise CaptureError(f"{name}: cache {cache_name} is not whole: {error!r}") from error
    for type_, index, cache_name, _, _ in kmalloc_classes("SLUB", "DMA" in machine.config.zone_names):
        part.kmalloc_caches[type_][index] = part.caches.get(cache_name)
    return part


def _cache_of(name: str, data: dict[str, Any], machine: Machine) -> KmemCache:
    flags = data["flags"]
    return KmemCache(
        name, data["object_size"], data["size"], data["align"], flags, data["offset"], data["inuse"],
        OrderObjects(data["oo_order"], data["oo_objects"]), OrderObjects(data["min_order"], data["min_objects"]),
        data["allocflags"], data["min_partial"], data["cpu_partial"],
        bool(data["offset"]) and not flags & SLAB_TYPESAFE_BY_RCU, refcount=data["refcount"],
        cpu_slab=[KmemCacheCpu() for _ in machine.cpu_to_node], node=[KmemCacheNode() for _ in machine.node])


def _add_pages(part: Slab, name: str, data: dict[str, Any], machine: Machine) -> None:
    """Every slab, full as long as no line says otherwise; then what the lines say; then who has which slab."""
    cache = part.caches[name]
    for start, objects in data["slabs"]:
        pfn = (start - machine.config.page_offset) >> PAGE_SHIFT
        order = cache.oo.order if objects == cache.oo.objects else cache.min.order
        page = SlabPage(pfn, order, page_zone(machine, pfn).nid, start, cache, objects, inuse=objects)
        page.live.update(page.addresses())
        part.pages.update((each, page) for each in range(pfn, pfn + (1 << order)))
    for kind in ("cpupage", "cpupartial", "partial"):
        for seen in data[kind]:
            _set_page(part.pages[seen["pfn"]], seen, kind)
    for seen in data["partial"]:
        cache.node[part.pages[seen["pfn"]].nid].partial.append(seen["pfn"])
    for cpu, seen in data["cpuslab"].items():
        c = cache.cpu_slab[cpu]
        c.tid, c.partial, c.page = seen["tid"], seen["partial"][:], part.pages.get(seen["page"])
        if c.page is not None:
            c.freelist = _link(c.page, seen["freelist"])


def _set_page(page: SlabPage, seen: dict[str, Any], kind: str) -> None:
    page.inuse, page.frozen, page.freelist = seen["inuse"], bool(seen["frozen"]), _link(page, seen["freelist"])
    if kind == "cpupartial":  # elsewhere these fields are something else's (a union in struct page)
        page.pages, page.pobjects = seen["pages"], seen["pobjects"]


def _link(page: SlabPage, objects: list[int]) -> int:
    """Make a free list of these objects of the slab; returns its head."""
    if not set(objects) <= page.live or len(set(objects)) < len(objects):
        raise ValueError(f"slab {page.pfn:#x}: a free list must have each of its objects once and no other")
    page.freepointer.update(zip(objects, [*objects[1:], 0], strict=False))
    page.live.difference_update(objects)
    return objects[0] if objects else 0


# ---------------------------------------------------------------- comparing


def slab_differences(name: str, part: Slab, truth: Slab) -> Iterator[str]:
    """Where a cache differs from the real kernel's, in words: lists in list order, free lists in theirs.

    A slab that waits for a grace period is left out: a snapshot does not tell it from a full one.
    """
    waiting = set(part.rcu)
    for (what, ours), (_, theirs) in zip(_parts(name, part, waiting), _parts(name, truth, waiting), strict=True):
        if ours != theirs:
            yield f"cache {name} {what}: predicted {_short(ours)}, truth {_short(theirs)}"


def _parts(name: str, part: Slab, waiting: set[int]) -> Iterator[tuple[str, object]]:
    cache = part.caches[name]
    for cpu, c in enumerate(cache.cpu_slab):
        yield f"cpu {cpu} slab and tid", (c.page and _page_state(c.page), c.tid)
        yield f"cpu {cpu} freelist", list(c.page.walk(c.freelist)) if c.page else []
        yield f"cpu {cpu} partial", [(*_page_state(page), page.pages, page.pobjects)
                                     for page in (part.pages[pfn] for pfn in c.partial)]
    for nid, node in enumerate(cache.node):
        yield f"node {nid} partial", [_page_state(part.pages[pfn]) for pfn in node.partial]
    yield "slabs", [page.pfn for page in part.slabs(name) if page.pfn not in waiting]


def _page_state(page: SlabPage) -> tuple[int, int, int, bool, list[int]]:
    return page.pfn, page.objects, page.inuse, page.frozen, list(page.walk(page.freelist))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 160 else text[:157] + "..."
