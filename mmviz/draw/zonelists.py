"""Who is asked, and in which order: the zonelists of a machine, and the walk of one request along one of them.

    node 0  CPU 0                  node 1  distance 20         a column for each node, a row for each kind of zone
    +------------------+           +------------------+
  1>| DMA32 counter .. |       +-->| DMA32 counter .. |        numbers: the walk of the request
    +---+--------------+       | 3 +------------------+
      2 v                      |
    +------------------+       |
    | DMA              |       |
    +---+--------------+       |
        +----------------------+

    node 0  fallback   -1-> N0/DMA32 -2-> N0/DMA -3-> N1/DMA32      each node's own two lists
            THISNODE   -1-> N0/DMA32 -2-> N0/DMA

The lists are one networkx graph: zones, and an edge for each step of each list. Places follow from node number and
zone index, so nothing is random. A zone that the request may not use is hatched: it lies above the ceiling of its gfp
mask, or its node is not in the mask of the policy (then it is struck out, too). The bar of a zone is its counter, and
the mark on it what must stay: LOW, in the slow path MIN, and the reserve that it keeps from this request.
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import networkx as nx

from ..kernel import MPOL_INTERLEAVE, NR_FREE_PAGES, WMARK_HIGH, WMARK_LOW, WMARK_MIN
from ..mm import events as ev
from ..mm.machine import DEFAULT_POLICY, Machine
from ..mm.mempolicy import next_node_in
from ..mm.mmzone import Zone
from ..mm.vmstat import counted
from ..recording import Step
from .reading import HEAD, MARGIN, RIGHT, WIDTH, concerns, event_of, heading, pages, running, zone_of
from .request import KINDS, Request, imagined_request, running_request, way_of, why_out
from .scene import ARROWS, GROUND, LINES, TEXTS, Arrow, Line, Mark, Polyline, Rect, Scene, Text
from .style import AXIS, BAND, BOX, GRID, HOLE, LINK, MARK, MUTED, NUMBER, STRONG, TEXT, Meaning, free, text_width
from .watermarks import NAMES, inequality

MOST_NODES, MOST_ENTRIES = 8, 8
LEFT, GAP, WIDEST = 44.0, 40.0, 270.0  # of the columns
TOP, ZONE, BETWEEN = HEAD + 52, 54.0, 22.0
LANE, ROW, LISTS = 13.0, 32.0, 176.0


class Column(NamedTuple):
    """The place of a node."""

    x: float
    width: float


def draw_zonelists(machine: Machine, step: Step | None = None, *, gfp_mask: int | None = None,
                   nid: int | None = None) -> Scene:
    """The zonelists of a machine, and the walk of a request along the one that it uses.

    Parameters
    ----------
    machine : Machine
        The state after the step.
    step : Step, optional
        What was just done; its call stack says which request is running.
    gfp_mask : int, optional
        Where no request runs: show what one with these flags would walk, by the policy of the running task.
    nid : int, optional
        Where no request runs: the node whose list is shown; that of the policy or of the running CPU if not given.

    Returns
    -------
    Scene

    Raises
    ------
    ValueError
        If there is no such node, or if the flags are unknown or exclude each other.

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_zonelists(mv.duo(), gfp_mask=mv.GFP_KERNEL).words
    'A request (GFP_KERNEL) of node 0 walks N0/DMA32, N1/DMA32.'
    """
    zone_of(machine)
    request = running_request(machine, step) or imagined_request(machine, gfp_mask, nid)
    graph, columns = zonelist_graph(machine), _columns(machine)
    bottom = TOP + len(_rows(machine)) * (ZONE + BETWEEN) + (len(columns) - 1) * LANE + 6
    marks = heading(machine, "The zonelists", _remark(request), step) + _policy(machine, step) + _undrawn(machine)
    marks += [mark for place, column in enumerate(columns) for mark in _node(machine, step, request, place, column)]
    marks += _ceiling(machine, request, columns) + _walk(machine, step, request, graph, columns)
    marks += _verdict(machine, step, bottom) + _lists(machine, step, request, graph, bottom + 40)
    height = bottom + 56 + ROW * len(list(_shown_lists(machine)))
    return Scene("The zonelists", WIDTH, height, marks, _words(machine, step, request))


def zonelist_graph(machine: Machine) -> nx.MultiDiGraph[str]:
    """The zonelists as a graph: an edge for each step, from the node that asks to its first zone and on to the next.

    The key of an edge is (node that asks, kind of list), and its `number` says which step it is.

    Examples
    --------
    >>> import mmviz as mv
    >>> dict(zonelist_graph(mv.duo())["N1/DMA32"]["N0/DMA32"])
    {(1, 0): {'number': 2}}
    """
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    graph.add_nodes_from(zone.label for zone in machine.zones())
    for nid, node in enumerate(machine.node):
        for kind, zonelist in enumerate(node.node_zonelists):
            path = [f"node {nid}", *(zone.label for zone in zonelist[-1])]
            for number, (one, other) in enumerate(pairwise(path), 1):
                graph.add_edge(one, other, key=(nid, kind), number=number)
    return graph


def _path(graph: nx.MultiDiGraph[str], nid: int, kind: int) -> list[str]:
    """The zones of one list, in the order of the walk."""
    edges = graph.edges(keys=True, data=True)
    steps = [(data["number"], other) for _, other, key, data in edges if key == (nid, kind)]
    return [label for _, label in sorted(steps)]


def _remark(request: Request) -> str:
    if not request.words:
        return (f"numbers: the way along the list of node {request.nid}, and the distances from there; "
                "below, the lists of all nodes")
    return f"a request of node {request.nid}: {request.words}, list {KINDS[request.kind]}"


def _words(machine: Machine, step: Step | None, request: Request) -> str:
    way = [zone.label for zone in way_of(machine, request)]
    who = f"A request ({request.words.split(', ')[0]})" if request.words else "A request"
    said = _said(machine, step)
    return f"{who} of node {request.nid} walks {', '.join(way) or 'no zone'}{'; ' + said if said else ''}."


# ---------------------------------------------------------------- the machine: a column for each node


def _columns(machine: Machine) -> list[Column]:
    count = min(len(machine.node), MOST_NODES)
    width = min(WIDEST, (RIGHT - LEFT - GAP * (count - 1)) / count)
    return [Column(LEFT + place * (width + GAP), width) for place in range(count)]


def _undrawn(machine: Machine) -> list[Mark]:
    more = len(machine.node) - MOST_NODES
    text = f"and {more} more node{'s' * (more > 1)}, not drawn"
    return [Text("nodes", MUTED, RIGHT, 62, text, anchor="end")] if more > 0 else []


def _rows(machine: Machine) -> list[int]:
    """The zone indices that the machine has, the highest first: a row for each."""
    return sorted({zone.zone_idx for zone in machine.zones()}, reverse=True)


def _height(machine: Machine, zone: Zone) -> float:
    """Where the top of a zone is."""
    return TOP + _rows(machine).index(zone.zone_idx) * (ZONE + BETWEEN)


def _node(machine: Machine, step: Step | None, request: Request, nid: int, column: Column) -> list[Mark]:
    node, event, far = machine.node[nid], event_of(step), machine.distance[request.nid][nid]
    cpus = f"CPU {', '.join(map(str, node.cpus))}" if node.cpus else "no CPU"
    asked = isinstance(event, (ev.RequestPrepared, ev.InterleaveChosen, ev.NodeReclaimed)) and event.nid == nid
    turned = isinstance(event, ev.SetIlPrev) and event.il_prev == nid
    frame = len(_rows(machine)) * (ZONE + BETWEEN) - BETWEEN
    marks: list[Mark] = [
        Rect(f"node {nid}", BAND, column.x - 8, TOP - 36, column.width + 16, frame + 44, label="", layer=GROUND,
             touched=asked or turned, tip=f"node {nid}\n{cpus}; distance {far} from node {request.nid}"),
        Text(f"name {nid}", STRONG, column.x, TOP - 18, f"node {nid}")]
    marks += _fitting(f"far {nid}", column, TOP - 18, f"{cpus} · distance {far}", 48) or _fitting(
        f"far {nid}", column, TOP - 18, f"{far}", 60)
    for zone in node.node_zones:
        marks += _zone(machine, step, request, zone, column) if zone is not None else []
    return marks


def _fitting(name: str, column: Column, y: float, text: str, taken: float = 8, meaning: Meaning = MUTED) -> list[Mark]:
    """A remark at the right of a column, if there is room for it."""
    if text_width(text, meaning) + taken > column.width:
        return []
    return [Text(name, meaning, column.x + column.width - 6, y, text, anchor="end")]


def _zone(machine: Machine, step: Step | None, request: Request, zone: Zone, column: Column) -> list[Mark]:
    y, why = _height(machine, zone), why_out(machine, request, zone)
    counter, is_touched = max(0, zone.vm_stat[NR_FREE_PAGES]), _is_touched(step, zone)
    marks: list[Mark] = [
        Rect(f"entry {zone.label}", HOLE if why else BOX, column.x, y, column.width, ZONE, label="", touched=is_touched,
             layer=LINES, tip=f"{zone.label}\n{pages(counter)} by the counter, of {zone.managed_pages:,} managed",
             words=f"the step is at {zone.label}" if is_touched else ""),
        Text(f"zone {zone.label}", MUTED if why else STRONG, column.x + 8, y + 17, zone.name)]
    marks += _fitting(f"counter {zone.label}", column, y + 17, f"counter {counter:,}", 66, NUMBER)
    if why:
        return marks + _fitting(f"why {zone.label}", column, y + 46, why)
    return marks + _bar(zone, column, y, counter, _needed(machine, step, request, zone))


def _is_touched(step: Step | None, zone: Zone) -> bool:
    """Whether the step is about this zone: it names it, or a page in it."""
    return concerns(event_of(step), zone) and not isinstance(event_of(step), ev.RequestPrepared)


def _needed(machine: Machine, step: Step | None, request: Request, zone: Zone) -> tuple[str, int, int]:
    """What must stay in a zone: the name of the mark, the mark, and the reserve against this request."""
    event = event_of(step)
    failed = isinstance(event, ev.MmPageAlloc) and event.pfn < 0
    which = WMARK_MIN if failed or running(step, "__alloc_pages_slowpath") else WMARK_LOW
    if isinstance(event, ev.WatermarkChecked) and concerns(event, zone):
        lowered = " lowered to" if event.min != event.mark else ""
        return NAMES[which] + lowered, event.min, event.reserve
    way = way_of(machine, request)
    reserve = zone.lowmem_reserve[way[0].zone_idx] if request.words and way else 0
    return NAMES[which], zone._watermark[which] + zone.watermark_boost, reserve


def _bar(zone: Zone, column: Column, y: float, counter: int, needed: tuple[str, int, int]) -> list[Mark]:
    """The counter as a bar, on a scale on which the marks are well apart, and what must stay."""
    name, mark, reserve = needed
    high = zone._watermark[WMARK_HIGH] + zone.watermark_boost + reserve
    longest, width = max(1.0, min(zone.managed_pages, 2.5 * high)), column.width - 16
    x, edge = column.x + 8, column.x + 8 + width * min(1.0, (mark + reserve) / longest)
    text = f"{name} {mark:,}" + (f" + reserve {reserve:,}" if reserve else "")
    return [Rect(f"bar {zone.label}", free(), x, y + 24, max(1.0, width * min(1.0, counter / longest)), 9, label="",
                 tip=f"counter {counter:,}" + ("; the bar goes on" if counter > longest else "")),
            Line(f"mark {zone.label}", MARK, edge, y + 21, edge, y + 36, layer=ARROWS,
                 tip=f"more than {mark + reserve:,} must be there"),
            *_fitting(f"must {zone.label}", column, y + 48, f"must exceed {text}", 12)]


def _ceiling(machine: Machine, request: Request, columns: list[Column]) -> list[Mark]:
    """The line above the highest zone that the gfp mask allows."""
    if request.high_zoneidx < 0:
        return []
    above = sum(zone_idx > request.high_zoneidx for zone_idx in _rows(machine))
    y, right = TOP + above * (ZONE + BETWEEN) - 6, columns[-1].x + columns[-1].width
    text = f"ceiling {machine.config.zone_names[request.high_zoneidx]}"
    tip = f"{text}\ngfp_zone: this zone and those below"
    return [Line("ceiling", MARK, columns[0].x - 4, y, right + 4, y, tip=tip),
            *([Text("ceiling name", MUTED, right, y - 4, text, anchor="end")] if above else [])]


# ---------------------------------------------------------------- the walk


def _walk(machine: Machine, step: Step | None, request: Request, graph: nx.MultiDiGraph[str],
          columns: list[Column]) -> list[Mark]:
    """The numbered arrows of the request's list; heavy up to the zone that the step is at."""
    known = {zone.label: zone for zone in machine.zones() if zone.nid < len(columns)}
    way = [known[label] for label in _path(graph, request.nid, request.kind) if label in known
           and not why_out(machine, request, known[label])]
    here = next((number for number, zone in enumerate(way) if _is_touched(step, zone)), -1)
    marks: list[Mark] = []
    lane = 0
    for number, zone in enumerate(way):
        before = way[number - 1] if number else None
        if before is not None and before.nid == zone.nid:
            marks += _down(machine, columns[zone.nid], before, zone, number, here)
        else:
            lane += before is not None
            marks += _over(machine, columns, before, zone, number, here, lane)
    return marks


def _down(machine: Machine, column: Column, before: Zone, zone: Zone, number: int, here: int) -> list[Mark]:
    """To the next zone of the same node."""
    x, y = column.x + 20, _height(machine, zone)
    return [Arrow(f"arrow {number + 1}", LINK, x, _height(machine, before) + ZONE, x, y, touched=number <= here),
            Text(f"number {number + 1}", NUMBER, x + 8, y - 6, f"{number + 1}")]


def _over(machine: Machine, columns: list[Column], before: Zone | None, zone: Zone, number: int, here: int,
          lane: int) -> list[Mark]:
    """To the first zone of a node: from the left, and from another node along a lane of its own below all nodes."""
    column, y = columns[zone.nid], _height(machine, zone) + ZONE / 2
    x = column.x - 24
    marks: list[Mark] = [
        Arrow(f"arrow {number + 1}", LINK, x, y, column.x, y, touched=number <= here),
        Text(f"number {number + 1}", NUMBER, column.x - 12, y - 7, f"{number + 1}", anchor="end")]
    if before is None:
        return marks
    below = TOP + len(_rows(machine)) * (ZONE + BETWEEN) - 8 + lane * LANE
    start = columns[before.nid].x + 36
    corners = [(start, _height(machine, before) + ZONE), (start, below), (x, below), (x, y)]
    return [*marks, Polyline(f"lane {number + 1}", LINK, corners, touched=number <= here)]


# ---------------------------------------------------------------- policy and verdict


def _policy(machine: Machine, step: Step | None) -> list[Mark]:
    policy, event = machine.current.mempolicy, event_of(step)
    if not machine.config.numa or (policy is DEFAULT_POLICY and not isinstance(event, ev.SetMempolicy)):
        return []
    turn = f", next {next_node_in(machine.current.il_prev, policy.nodes)}" if policy.mode == MPOL_INTERLEAVE else ""
    is_touched = isinstance(event, (ev.SetMempolicy, ev.NodemaskChosen, ev.SetIlPrev))
    return [Text("policy", TEXT, MARGIN, 62, f"policy of the task: {policy.name}{turn}", touched=is_touched)]


def _said(machine: Machine, step: Step | None) -> str:
    """What the step decides about zones and nodes, in words; "" for other steps."""
    event = event_of(step)
    if isinstance(event, ev.WatermarkChecked):
        zone = machine.node[event.nid].node_zones[event.zone_idx]
        return f"{zone.label}: {inequality(event, zone)}" if zone is not None else ""
    if isinstance(event, ev.NodemaskChosen):
        return f"only the nodes {event.nodes} may serve" if event.nodes else "any node may serve"
    if isinstance(event, ev.NodeReclaimed):
        return f"node_reclaim of node {event.nid}: {event.outcome}"
    return ", ".join(f"{name} of node {nid} + 1" for nid, name in counted(event)) if event is not None else ""


def _verdict(machine: Machine, step: Step | None, y: float) -> list[Mark]:
    said = _said(machine, step)
    rule: Mark = Line("rule", GRID, MARGIN, y + 18, RIGHT, y + 18)
    return [rule, Text("verdict", STRONG, MARGIN, y + 8, said)] if said else [rule]


# ---------------------------------------------------------------- the lists, row by row


def _shown_lists(machine: Machine) -> Iterator[tuple[int, int]]:
    """Node and kind of each list; a UMA build has one kind."""
    for nid in range(min(len(machine.node), MOST_NODES)):
        yield from ((nid, kind) for kind in range(2 if machine.config.numa else 1))


def _lists(machine: Machine, step: Step | None, request: Request, graph: nx.MultiDiGraph[str],
           top: float) -> list[Mark]:
    marks: list[Mark] = []
    known = {zone.label: zone for zone in machine.zones()}
    for row, (nid, kind) in enumerate(_shown_lists(machine)):
        y, is_used = top + row * ROW, (nid, kind) == (request.nid, request.kind)
        name = f"node {nid}, {KINDS[kind]}"
        prepared = is_used and isinstance(event_of(step), ev.RequestPrepared)
        marks.append(Text(f"list {nid} {kind}", STRONG if is_used else MUTED, MARGIN, y + 15, name,
                          touched=prepared))
        zones = [known[label] for label in _path(graph, nid, kind)]
        marks += _entries(machine, step, request if is_used else None, f"{nid} {kind}", zones, y)
    return marks


def _entries(machine: Machine, step: Step | None, request: Request | None, row: str, zones: list[Zone],
             y: float) -> Iterator[Mark]:
    """The zones of one list with numbered arrows between them; those of the request's list as it sees them."""
    shown = zones if len(zones) <= MOST_ENTRIES else zones[:MOST_ENTRIES - 1]
    room = (RIGHT - LISTS) / min(len(zones), MOST_ENTRIES) if zones else 0.0
    arrow = min(34.0, room - 72)
    number = 0
    for place, zone in enumerate(shown):
        why = why_out(machine, request, zone) if request else ""
        number += not why
        is_here = request is not None and not why and _is_touched(step, zone)
        entry = Rect(f"in {row} {zone.label}", HOLE if why else BOX if request else BAND,
                     LISTS + place * min(138.0, room) + arrow, y, min(104.0, room - arrow), 22, label=zone.label,
                     touched=is_here, layer=None if is_here else LINES, tip=f"{zone.label}\n{why or 'may be asked'}")
        yield entry
        yield from _to_entry(entry, arrow, "" if why else f"{number}")
        if why == "not in the nodemask":
            yield Line(f"strike {entry.key}", AXIS, entry.x + 9, y + 11, entry.x + entry.width - 9, y + 11, layer=TEXTS)
    if len(shown) < len(zones):
        yield Text(f"more {row}", MUTED, RIGHT, y + 15, f"and {len(zones) - len(shown)} more", anchor="end")


def _to_entry(entry: Rect, arrow: float, number: str) -> Iterator[Mark]:
    """The arrow to an entry and its number; a zone that is left out has none."""
    yield Arrow(f"to {entry.key}", LINK, entry.x - arrow, entry.y + 11, entry.x, entry.y + 11)
    if number:
        yield Text(f"at {entry.key}", NUMBER, entry.x - arrow / 2 - 2, entry.y + 7, number, anchor="middle")
