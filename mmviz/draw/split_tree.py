"""How blocks were cut: a tree, a block above its two halves, so that one sees which half went where.

    order 5                  [0x1000]                 white: was cut
    order 4         [0x1000]          [0x1010]        tint: on a free list
    order 3     [0x1000] [0x1008]                     solid: handed out

expand() keeps the lower half each time and puts the upper one at the head of its list. The tree is a networkx graph,
made from the events of a recording: a node is (pfn, order), an edge leads from a block to its half. Left to right is by
pfn, top to bottom by order; nothing else decides the layout.

A tree needs history, a drawing sees one state. So there are two ways in:

    draw_split_tree(recording)                            the tree at the end
    Stepper(recording, split_tree_of(recording))          the tree as it grows
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx

from ..mm import events as ev
from ..mm.machine import Machine
from ..mm.mmzone import TOP_ORDER, Zone
from ..recording import Recording, Step
from .reading import HEAD, MARGIN, WIDTH, Block, block_tip, heading, in_hand, letter, pageblock_type, running, whole
from .scene import Line, Mark, Rect, Scene, Text
from .style import BOX, GUARD, HOLE, LINK, MUTED, TEXT, Meaning, free, pcp, used

Node = tuple[int, int]  # pfn, order
ROW, TALL, LEFT = 44.0, 22.0, 92.0
TOP = HEAD + 14
MOST_BLOCKS = 300


def draw_split_tree(recording: Recording, call: int | None = None, *, at: int | None = None) -> Scene:
    """The blocks that a recording cut, and where the halves are at its end.

    Parameters
    ----------
    recording : Recording
        What happened.
    call : int, optional
        Only the n-th cut (an expand() that has something to cut), from 0; all of them if not given.
    at : int, optional
        After how many steps; the end if not given.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> with mv.record(mv.toy(4)) as rec:
    ...     pfn = mv.alloc_pages(rec.live, mv.GFP_KERNEL, 3)
    >>> draw_split_tree(rec).title
    'How 1 block was cut into 8'
    """
    draw = split_tree_of(recording, call)
    place = len(recording) if at is None else whole("at", at, 0, len(recording))
    return draw(recording.at(place), recording[place - 1] if place else None)


def split_tree_of(recording: Recording, call: int | None = None) -> Callable[[Any, Step | None], Scene]:
    """A drawing for a Stepper: the tree of this recording, as far as it has grown.

    Parameters
    ----------
    recording : Recording
        What happened; the layout is that of the whole tree, so nothing moves.
    call : int, optional
        Only the n-th cut, from 0.

    Returns
    -------
    callable
        ``draw(state, step) -> Scene``

    Examples
    --------
    >>> import mmviz as mv
    >>> with mv.record(mv.toy(4)) as rec:
    ...     pfn = mv.alloc_pages(rec.live, mv.GFP_KERNEL, 3)
    >>> split_tree_of(rec)(rec.at(0), None)
    Scene('How 1 block was cut into 8', 11 marks)
    """
    graph = split_graph(recording, call)
    places = _layout(graph)

    def draw(state: Any, step: Step | None = None) -> Scene:
        return _drawn(graph, places, state, step)
    return draw


def split_graph(recording: Recording, call: int | None = None) -> nx.DiGraph[Node]:
    """The cuts of a recording as a graph: (pfn, order) to its two halves, with the step in which each was born.

    Examples
    --------
    >>> import mmviz as mv
    >>> with mv.record(mv.toy(4)) as rec:
    ...     pfn = mv.alloc_pages(rec.live, mv.GFP_KERNEL, 9)
    >>> list(split_graph(rec).edges)
    [((4096, 10), (4096, 9)), ((4096, 10), (4608, 9))]
    """
    if not isinstance(recording, Recording):
        raise ValueError(f"recording must be a Recording, got {type(recording).__name__}; "
                         "in a Stepper: Stepper(recording, split_tree_of(recording))")
    graph: nx.DiGraph[Node] = nx.DiGraph()
    cuts = [step for step in recording.select(ev.BlockExpanded) if _high(step) > _low(step)]
    chosen = cuts if call is None else cuts[whole("call", call, 0, max(0, len(cuts) - 1)):][:1]
    for cut in chosen:
        _add_cut(graph, recording, cut)
    if len(graph) > MOST_BLOCKS:
        raise ValueError(f"a split tree takes up to {MOST_BLOCKS} blocks, got {len(graph)}: choose one cut with call=0 "
                         f"to {len(cuts) - 1}")
    return graph


def _high(step: Step) -> int:
    return int(getattr(step.event, "high", 0))


def _low(step: Step) -> int:
    return int(getattr(step.event, "low", 0))


def _add_cut(graph: nx.DiGraph[Node], recording: Recording, cut: Step) -> None:
    """One run of expand(): its root, and two halves for each block that it puts back."""
    event: Any = cut.event
    _add(graph, (event.pfn, event.high), cut.number, event)
    for step in recording.steps[cut.number + 1:]:
        if not running(step, "expand") or isinstance(step.event, ev.BlockExpanded):
            return
        half: Any = step.event
        if isinstance(half, (ev.AddToFreeArea, ev.SetPageGuard)):
            parent = (event.pfn, half.order + 1)
            for node in ((event.pfn, half.order), (half.pfn, half.order)):
                _add(graph, node, step.number, event)
                graph.add_edge(parent, node)


def _add(graph: nx.DiGraph[Node], node: Node, born: int, event: Any) -> None:
    if node not in graph:
        graph.add_node(node, born=born, zone=(event.nid, event.zone_idx))


# ---------------------------------------------------------------- layout


def _layout(graph: nx.DiGraph[Node]) -> dict[Node, tuple[float, float, float]]:
    """Centre, top and width of each block: leaves side by side in the order of their pfns, blocks over their halves."""
    leaves = sorted(node for node in graph if not graph.out_degree(node))
    slot = (WIDTH - MARGIN - LEFT) / max(1, len(leaves))
    slot = min(slot, 104.0)
    centre = {leaf: LEFT + (i + 0.5) * slot for i, leaf in enumerate(leaves)}
    for node in sorted(graph, key=lambda node: (node[1], node[0])):
        if node not in centre:
            halves = list(graph.successors(node))
            centre[node] = sum(centre[half] for half in halves) / len(halves)
    top = max((order for _, order in graph), default=0)
    return {node: (x, TOP + (top - node[1]) * ROW, min(76.0, slot - 6)) for node, x in centre.items()}


# ---------------------------------------------------------------- the picture


def _drawn(graph: nx.DiGraph[Node], places: dict[Node, tuple[float, float, float]], state: Machine,
           step: Step | None) -> Scene:
    now = step.number if step is not None else -1
    seen = [node for node in sorted(graph) if _is_seen(graph, node, state, now)]
    roots, leaves = (sum(1 for _, degree in degrees if not degree) for degrees in (graph.in_degree, graph.out_degree))
    title = f"How {roots} block{'s' * (roots != 1)} {'was' if roots == 1 else 'were'} cut into {leaves}"
    marks = heading(state, title if graph else "Nothing was cut",
                    "white: cut into its halves; tint: free; solid: handed out", step)
    for node in seen:
        marks += _block(graph, places, node, seen, state, step)
    orders = sorted({order for _, order in graph}, reverse=True)
    marks += [Text(f"order {order}", TEXT if any(order == o for _, o in seen) else MUTED, MARGIN,
                   TOP + i * ROW + 15, f"order {order}") for i, order in enumerate(range(max(orders, default=-1),
                                                                                      min(orders, default=0) - 1, -1))]
    height = TOP + (max(orders, default=0) - min(orders, default=0) + 1) * ROW
    return Scene(title, WIDTH, height, marks, _words(graph, seen, state, title))


def _zone(graph: nx.DiGraph[Node], node: Node, state: Machine) -> Zone:
    nid, zone_idx = graph.nodes[node]["zone"]
    zone: Zone | None = state.node[nid].node_zones[zone_idx]
    assert zone is not None
    return zone


def _status(zone: Zone, node: Node) -> str:
    """Where a block is as a whole: "free", "used", "guard", "pcp"; "" if it is nowhere as a whole."""
    pfn, order = node
    if zone.buddy.get(pfn, (-1, 0))[0] == order or (order == TOP_ORDER and pfn in zone.untouched):
        return "free"
    if zone.allocated.get(pfn, -1) == order:
        return "used"
    if zone.guard.get(pfn, -1) == order:
        return "guard"
    on_pcp = order == 0 and any(pfn in pile for pcp in zone.pageset for pile in pcp.lists)
    return "pcp" if on_pcp else ""


def _is_seen(graph: nx.DiGraph[Node], node: Node, state: Machine, now: int) -> bool:
    """A block is there from its birth on, and as long as no larger block that holds it is whole again."""
    zone = _zone(graph, node, state)
    if graph.nodes[node]["born"] > now:
        return not graph.in_degree(node) and _status(zone, node) == "free"
    return not any(_status(zone, above) for above in nx.ancestors(graph, node))


def _meaning(zone: Zone, node: Node, is_cut: bool) -> tuple[Meaning, str, int]:
    """What a block looks like, what is said of it, and its migratetype."""
    pfn, _ = node
    status = _status(zone, node)
    migratetype = zone.buddy.get(pfn, (0, -1))[1] if status == "free" else zone.index.get(pfn, -1)
    migratetype = migratetype if migratetype >= 0 else pageblock_type(zone, pfn)
    kind = letter(zone.machine.config, migratetype)
    looks = {"free": (free(kind), "on its free list"), "used": (used(kind), "handed out"),
             "guard": (GUARD, "guard block, on no list"), "pcp": (pcp(kind), "on a per-CPU list")}
    meaning, what = looks.get(status, (BOX, "cut into its halves") if is_cut else (HOLE, "not here as a whole"))
    return meaning, what, migratetype


def _block(graph: nx.DiGraph[Node], places: dict[Node, tuple[float, float, float]], node: Node, seen: list[Node],
           state: Machine, step: Step | None) -> list[Mark]:
    """The block, and the lines to its halves."""
    zone, (x, y, width) = _zone(graph, node, state), places[node]
    halves = [half for half in graph.successors(node) if half in seen]
    meaning, what, migratetype = _meaning(zone, node, bool(halves))
    hand, event = in_hand(step, zone), step.event if step is not None else None
    if hand is not None and hand[:2] == node and not halves:
        meaning, what = (meaning, what) if what == "handed out" else (free(letter(zone.machine.config, migratetype)),
                                                                      "in hand")
    is_touched = not halves and node[0] in (getattr(event, "pfn", -1), hand.pfn if hand is not None else -1)
    pfn, order = node
    marks: list[Mark] = [Rect(f"block {pfn:#x} order {order}", meaning, x - width / 2, y, width, TALL,
                              label=f"{pfn:#x}" if width > 48 else None, touched=is_touched,
                              words=f"{pfn:#x} order {order}: {what}",
                              tip=block_tip(zone.machine.config, Block(pfn, order, migratetype), what))]
    marks += [Line(f"half {half[0]:#x} order {half[1]}", LINK, x, y + TALL, places[half][0], places[half][1])
              for half in halves]
    return marks


def _words(graph: nx.DiGraph[Node], seen: list[Node], state: Machine, title: str) -> str:
    """Where the leaves are, the largest first."""
    leaves = sorted((node for node in seen if not any(half in seen for half in graph.successors(node))),
                    key=lambda node: (-node[1], node[0]))
    said = [f"{pfn:#x} order {order} {_meaning(_zone(graph, (pfn, order), state), (pfn, order), False)[1]}"
            for pfn, order in leaves[:12]]
    return f"{title}: {'; '.join(said)}." if said else f"{title}."
