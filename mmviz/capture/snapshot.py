"""A snapshot of a real kernel's page allocator, as text or JSON, turned into a Machine.

Both forms hold the same: constants, zonelists, and for each zone its free lists in list order, per-CPU lists,
pageblock types, PageLRU pages, marks and counters. The text form (`NAME.snaps.gz`) is read into the JSON form first,
so there is one way from a snapshot to a Machine:

    {"const": {name: value}, "zonelists": {"node,kind": ["N0/DMA32", ...]}, "zones": [{"node", "idx", "name", ...}]}
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ..errors import CaptureError
from ..kernel import I386, MAX_ORDER, X86_64_ZONES, Config
from ..mm.machine import FORMAT, Machine
from ..mm.zonelist import zonelist_of

Snapshot = dict[str, Any]
_PAIR = re.compile(r"(\w+)=(\S*)")


# ---------------------------------------------------------------- text -> the JSON form


def parse_snaps(text: str, name: str) -> list[Snapshot]:
    """The snapshots of a NAME.snaps file, in order; each also has "label".

    Raises
    ------
    CaptureError
        ``name:line: what`` where a line does not parse, or a snapshot lacks what a Machine needs.
    """
    snapshots: list[Snapshot] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            _parse_line(snapshots, line)
        except (ValueError, KeyError, IndexError) as error:
            raise CaptureError(f"{name}:{number}: does not parse ({error!r}): {line[:80]!r}") from error
    if not snapshots:
        raise CaptureError(f"{name}:1: must begin with a line 'snap N label=...', found none")
    for snapshot in snapshots:
        _check_whole(snapshot, name)
    return snapshots


def _parse_line(snapshots: list[Snapshot], line: str) -> None:
    kind, _, rest = line.partition(" ")
    if kind == "snap":
        snapshots.append({"label": _pairs(rest)["label"], "const": {}, "zonelists": {}, "zones": []})
    elif kind in _LINES:
        head, _, values = rest.partition(" :")
        _LINES[kind](snapshots[-1], head, values.split())


def _pairs(text: str) -> dict[str, str]:
    return dict(_PAIR.findall(text))


def _zone_at(snapshot: Snapshot, head: str) -> Snapshot:
    node, idx = map(int, head.split()[:2])
    zones: list[Snapshot] = snapshot["zones"]
    for zone in reversed(zones):
        if (zone["node"], zone["idx"]) == (node, idx):
            return zone
    raise ValueError(f"no zone line for node {node}, zone {idx} before it")


def _const(snapshot: Snapshot, head: str, values: list[str]) -> None:
    snapshot["const"] = _pairs(head)


def _zonelist(snapshot: Snapshot, head: str, values: list[str]) -> None:
    pairs = _pairs(head)
    snapshot["zonelists"][f"{pairs['node']},{pairs['list']}"] = values


def _zone(snapshot: Snapshot, head: str, values: list[str]) -> None:
    zone: Snapshot = {key: value if key == "name" else [int(v) for v in value.split(",")] if key == "lowmem_reserve"
                      else int(value, 0) for key, value in _pairs(head).items()}
    snapshot["zones"].append(zone | {"free": {}, "nr_free": {}, "pcp": {}, "pageblocks": [], "lru": []})


def _free(snapshot: Snapshot, head: str, values: list[str]) -> None:
    pairs, zone = _pairs(head), _zone_at(snapshot, head)
    zone["free"][f"{pairs['order']},{pairs['mt']}"] = [int(pfn) for pfn in values]
    zone["nr_free"][pairs["order"]] = int(pairs["nr_free"])


def _pcp(snapshot: Snapshot, head: str, values: list[str]) -> None:
    pairs = {key: int(value) for key, value in _pairs(head).items()}
    _zone_at(snapshot, head)["pcp"][str(pairs.pop("cpu"))] = {**pairs, "lists": [[], [], []]}


def _pcplist(snapshot: Snapshot, head: str, values: list[str]) -> None:
    pairs = _pairs(head)
    pages = [[int(n) for n in value.split("/")] if "/" in value else int(value) for value in values]
    _zone_at(snapshot, head)["pcp"][pairs["cpu"]]["lists"][int(pairs["list"])] = pages


def _pageblocks(snapshot: Snapshot, head: str, values: list[str]) -> None:
    zone = _zone_at(snapshot, head)
    zone["pageblock_base"] = int(_pairs(head)["start"])
    for value in values:
        migratetype, count = map(int, value.split("*"))
        zone["pageblocks"] += [migratetype] * count


def _lru(snapshot: Snapshot, head: str, values: list[str]) -> None:
    _zone_at(snapshot, head)["lru"] = [[int(n) for n in (value.split("-") * 2)[:2]] for value in values]


_LINES = {"const": _const, "zonelist": _zonelist, "zone": _zone, "free": _free, "pcp": _pcp, "pcplist": _pcplist,
          "pageblocks": _pageblocks, "lru": _lru}


def _check_whole(snapshot: Snapshot, name: str) -> None:
    where = f"{name}: snapshot {snapshot.get('label', '?')}"
    if not snapshot["zones"] or not snapshot["const"] or not snapshot["zonelists"]:
        raise CaptureError(f"{where} must have const, zonelist and zone lines; it is cut off or no snapshot")
    for zone in snapshot["zones"]:
        for order in range(MAX_ORDER):
            listed = sum(len(pages) for key, pages in zone["free"].items() if key.startswith(f"{order},"))
            expected = zone["nr_free"].get(str(order))
            if listed != expected:
                raise CaptureError(f"{where}: zone {zone['name']} order {order} must list nr_free={expected} blocks, "
                                   f"lists {listed}")


# ---------------------------------------------------------------- the JSON form -> a Machine


def machine_of(snapshot: Snapshot, name: str = "snapshot") -> Machine:
    """The Machine in the state of the snapshot.

    Raises
    ------
    CaptureError
        If something that a Machine needs is missing or makes no sense.
    """
    try:
        machine = Machine.from_dict(_machine_dict(snapshot))
        _set_zonelists(machine, snapshot["zonelists"])
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise CaptureError(f"{name}: not a whole snapshot: {error!r}") from error
    return machine


def _machine_dict(snapshot: Snapshot) -> dict[str, Any]:
    const = snapshot["const"]
    zones = snapshot["zones"]
    config = config_of(const, zones)
    nodes = 1 + max(zone["node"] for zone in zones)
    cpus = len(zones[0]["pcp"])
    if not cpus or any(len(zone["pcp"]) != cpus for zone in zones):
        raise ValueError("every zone must have a pcp line for each CPU")
    return {
        "format": FORMAT, "config": config.to_dict(), "cpu_to_node": [0] * cpus,
        "distance": [[10 if a == b else 20 for b in range(nodes)] for a in range(nodes)],
        "current": {"cpu": 0}, "node_reclaim_mode": 0, "strict": True, "by_hand": [], "nodes": [[0, 0]] * nodes,
        "page_group_by_mobility_disabled": const["page_group_by_mobility_disabled"] != "0",
        "zones": [_zone_dict(zone, config) for zone in zones],
    }


def config_of(const: dict[str, str], zones: list[Snapshot]) -> Config:
    """The Config of the kernel that took the snapshot."""
    names = {zone["idx"]: zone["name"] for zone in zones}
    x86_64 = all(X86_64_ZONES[idx:idx + 1] == (name,) for idx, name in names.items() if name != "Device")
    types = int(const["MIGRATE_TYPES"])
    # With fewer than six types we cannot see which of CMA and ISOLATE is built in; five means ISOLATE (config files).
    usual = Config() if x86_64 else I386
    return replace(usual, zone_names=(*usual.zone_names, "Device")[:int(const["MAX_NR_ZONES"])], migrate_types=types,
                   migrate_cma=4 if types == 6 else None, migrate_isolate=types - 1 if types > 4 else None,
                   pageblock_order=int(const["pageblock_order"]), compaction=types > 4)


def _zone_dict(zone: Snapshot, config: Config) -> dict[str, Any]:
    lists = [[zone["free"].get(f"{order},{mt}", []) for mt in range(config.migrate_types)]
             for order in range(MAX_ORDER)]
    base = zone["pageblock_base"] >> config.pageblock_order
    pcp = [zone["pcp"][str(cpu)] for cpu in range(len(zone["pcp"]))]
    return {
        "nid": zone["node"], "zone_idx": zone["idx"], "name": zone["name"], "zone_start_pfn": zone["start_pfn"],
        "spanned_pages": zone["spanned"], "present_pages": zone["present"], "managed_pages": zone["managed"],
        "_watermark": [zone["min"], zone["low"], zone["high"]], "lowmem_reserve": zone["lowmem_reserve"],
        "watermark_boost": zone["boost"], "boosted": bool(zone.get("flags", 0) & 1),
        "nr_reserved_highatomic": zone["nr_reserved_highatomic"], "percpu_drift_mark": zone.get("percpu_drift_mark", 0),
        "nr_isolate_pageblock": zone["pageblocks"].count(config.migrate_isolate),
        "vm_stat": [zone["nr_free_pages"], zone["nr_free_cma"]],
        "pageblock": [[base + i, mt] for i, mt in enumerate(zone["pageblocks"]) if mt not in (-1, 1)],
        "index": [[pfn, mt] for p in pcp for pfn, mt in _indexes(p["lists"])],
        "allocated": [], "refcount": [], "compound": [], "guard": [], "boost_seen": 0,
        "free": lists, "nr_free": [sum(len(pages) for pages in types) for types in lists], "untouched": [0, 0, 1],
        "lru": [pfn for first, last in zone["lru"] for pfn in range(first, last + 1)],
        "pageset": [[p["count"], p["high"], p["batch"], p["stat_threshold"], [p["diff_free_pages"], 0],
                     [[pfn for pfn, _ in _indexes([pages])] for pages in p["lists"]]] for p in pcp],
    }


def _indexes(lists: list[list[int | list[int]]]) -> Iterator[tuple[int, int]]:
    for migratetype, pages in enumerate(lists):
        for page in pages:
            yield (page, migratetype) if isinstance(page, int) else (page[0], page[1])


def _set_zonelists(machine: Machine, captured: dict[str, list[str]]) -> None:
    """Take the zonelists as the kernel had them: the distances between its nodes are not in a snapshot."""
    by_label = {f"N{zone.nid}/{zone.name}": zone for zone in machine.zones()}
    for key, labels in captured.items():
        nid, kind = map(int, key.split(","))
        machine.node[nid].node_zonelists[kind] = zonelist_of(machine, [by_label[label] for label in labels])


# ---------------------------------------------------------------- comparing


def differences(predicted: Machine, truth: Machine) -> Iterator[str]:
    """Where two states of the same machine differ, one line each, in the order of the zones: what, predicted, truth."""
    for mine, theirs in zip(predicted.zones(), truth.zones(), strict=True):
        ours, other = dict(_parts(mine.label, mine)), dict(_parts(theirs.label, theirs))
        for what in {**ours, **other}:
            if ours.get(what) != other.get(what):
                yield f"{what}: predicted {_short(ours.get(what))}, truth {_short(other.get(what))}"


def _parts(label: str, zone: Any) -> Iterator[tuple[str, object]]:
    """Every part of a zone's state that a snapshot holds, named."""
    for order, area in enumerate(zone.free_area):
        for migratetype in range(len(area.free_list)):
            yield f"zone {label} free list order {order} type {migratetype}", list(zone.free_list(order, migratetype))
    for cpu, pcp in enumerate(zone.pageset):
        for migratetype, pages in enumerate(pcp.lists):
            yield f"zone {label} pcp list cpu {cpu} type {migratetype}", [(pfn, zone.index[pfn]) for pfn in pages]
        yield f"zone {label} pcp cpu {cpu} count, diff", (pcp.count, pcp.vm_stat_diff)
    yield f"zone {label} pageblock types", zone.pageblock
    yield f"zone {label} PageLRU", zone.lru
    yield f"zone {label} free counter", zone.vm_stat
    yield f"zone {label} boost, highatomic", (zone.watermark_boost, zone.nr_reserved_highatomic)


def _short(value: object) -> str:
    text = repr(sorted(value) if isinstance(value, Iterable) and isinstance(value, set) else value)
    return text if len(text) < 160 else text[:157] + "..."
