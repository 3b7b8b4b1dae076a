"""The page tables of the processes as a tree, from the top table down to the frames; only what exists is drawn.

    pgd                 [0x1000]                [0x1005]       one tree a process
    pud                 [0x1001]                [0x1006]
    pmd                 [0x1002]                [0x1007]
    pte            [0x1003]  [0x1009]           [0x1008]
    frames       [0x1004] [zero] [0x100a]         |            a frame that two entries share has two lines:
                     ^----------------------------'            after a fork, or the zero page

The tree is a networkx graph: a node is a table or a frame, an edge an entry. Levels are rows, addresses run from left
to right, and nothing else decides the layout. The way of one address is drawn in ink. Where there are many pages, each
table shows its own as one bundle.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import networkx as nx

from ..mm.geometry import Level, geometry_of
from ..mm.machine import Machine
from ..mm.mm_types import MmStruct
from ..mm.pgtable import pmd_large, pte_pfn, walk
from ..recording import Step
from .reading import HEAD, MARGIN, RIGHT, WIDTH, event_of
from .reading import pages as page_words
from .scene import Line, Mark, Rect, Scene, Text
from .spaces import KINDS, TABLE, WORDS, address_of, entries_of, grouped, page_kind, references, space_of, users, vm_of
from .style import HOLE, LINK, MUTED, STRONG, TEXT

LEFT, ROW, TALL = 78.0, 62.0, 24.0
TOP = HEAD + 12
MOST = 26  # frames that are drawn one by one
Node = tuple[str, int, int]  # level or "frame" or "bundle", frame, first address (bundles)


def draw_tables(state: Machine, step: Step | None = None, *, mm: int | list[int] | None = None,
                vaddr: int | None = None) -> Scene:
    """The tree of page tables, with the way of one address in ink.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; the table or frame that it names is touched.
    mm : int or list of int, optional
        The processes to draw; all of them if not given.
    vaddr : int, optional
        The address whose way is drawn; the one that the step names if not given, and none without a step.

    Returns
    -------
    Scene
    """
    spaces = [space_of(state, None, pid) for pid in ([mm] if isinstance(mm, int) else mm or [])] or users(state)
    if not spaces:
        space_of(state)
    rooted = [space for space in spaces if space.pgd in vm_of(state).tables]  # exit frees the top table before the mm
    graph = table_graph(state, rooted)
    places = _layout(state, graph, rooted)
    way = _way(state, rooted, step, vaddr)
    marks = _heading(state, spaces, graph, way, vaddr)
    marks += [mark for node in graph for mark in _node(state, graph, places, node, way, step)]
    marks += _edges(graph, places, way)
    levels = [level.name for level in geometry_of(state).levels if not level.folded]
    marks += [Text(f"row {name}", TEXT, MARGIN, TOP + i * ROW + 16, name) for i, name in enumerate([*levels, "frames"])]
    return Scene("The tree of page tables", WIDTH, TOP + (len(levels) + 1) * ROW, marks, _words(state, spaces, graph))


# ---------------------------------------------------------------- the graph


def table_graph(state: Machine, spaces: Iterable[MmStruct]) -> nx.DiGraph[Node]:
    """Tables and frames of some processes as a graph; an edge has the indices of the entries that make it."""
    graph: nx.DiGraph[Node] = nx.DiGraph()
    levels = [level for level in geometry_of(state).levels if not level.folded]
    spaces = list(spaces)
    total = sum(1 for space in spaces for _ in entries_of(state, space))
    for space in spaces:
        root = (levels[0].name, space.pgd, 0)
        graph.add_node(root, space=space.pid, vaddr=0, name=space.name)
        _grow(state, graph, root, levels, 0, space.pid, total > MOST)
    return graph


def _grow(state: Machine, graph: nx.DiGraph[Node], node: Node, levels: list[Level], first: int, pid: int,
          bundled: bool) -> None:
    """Add what hangs below a table."""
    geometry, (level, *rest) = geometry_of(state), levels
    entries = sorted(vm_of(state).tables[node[1]].items())
    for index, entry in entries:
        pfn, vaddr = pte_pfn(geometry, entry), first + (index << level.shift)
        if rest and not pmd_large(entry):
            child = (rest[0].name, pfn, 0)
            graph.add_node(child, space=pid, vaddr=vaddr)
            graph.add_edge(node, child, index=[index])
            _grow(state, graph, child, rest, vaddr, pid, bundled)
        elif not bundled:
            _add_leaf(state, graph, node, ("frame", pfn, 0), vaddr, index, entry)
        elif index == entries[0][0]:
            bundle = ("bundle", node[1], vaddr)
            graph.add_node(bundle, vaddr=vaddr, kind=page_kind(state, entry, pfn), count=len(entries))
            graph.add_edge(node, bundle, index=[each for each, _ in entries])


def _add_leaf(state: Machine, graph: nx.DiGraph[Node], table: Node, leaf: Node, vaddr: int, index: int,
              entry: int) -> None:
    """Add a frame, or one more entry that points to it."""
    if leaf not in graph:
        graph.add_node(leaf, vaddr=vaddr, kind=page_kind(state, entry, leaf[1]), count=1)
    elif graph.nodes[leaf]["kind"] == "special":  # an entry that counts knows better whose page it is
        graph.nodes[leaf]["kind"] = page_kind(state, entry, leaf[1])
    if graph.has_edge(table, leaf):
        graph.edges[table, leaf]["index"].append(index)
    else:
        graph.add_edge(table, leaf, index=[index])


# ---------------------------------------------------------------- layout


def _layout(state: Machine, graph: nx.DiGraph[Node], spaces: list[MmStruct]) -> dict[Node, tuple[float, float, float]]:
    """Centre, top and width of each node: what has nothing of its own below it side by side, the others above that.

    A frame stands below the first table that points to it; so a tree keeps to itself, and only lines cross over.
    """
    names = [level.name for level in geometry_of(state).levels if not level.folded]
    row = {name: i for i, name in enumerate([*names, "frame"])} | {"bundle": len(names)}
    order: list[Node] = []
    for space in spaces:
        order += [node for node in nx.dfs_preorder_nodes(graph, (names[0], space.pgd, 0))
                  if not _own(graph, node) and node not in order]
    slot = min(92.0, (RIGHT - LEFT) / max(1, len(order)))
    centre = {node: LEFT + (i + 0.5) * slot for i, node in enumerate(order)}
    for node in reversed(list(nx.topological_sort(graph))):
        if node not in centre:
            below = [centre[child] for child in _own(graph, node)]
            centre[node] = sum(below) / len(below)
    return {node: (x, TOP + row[node[0]] * ROW, min(74.0, _room(centre, node, row) - 5)) for node, x in centre.items()}


def _room(centre: dict[Node, float], node: Node, row: dict[str, int]) -> float:
    """How far the next node of the same row is away."""
    others = [abs(x - centre[node]) for other, x in centre.items() if other != node and row[other[0]] == row[node[0]]]
    return min(others, default=92.0)


def _own(graph: nx.DiGraph[Node], node: Node) -> list[Node]:
    """What a table is the first to point to."""
    return [child for child in graph.successors(node) if next(iter(graph.predecessors(child))) == node]


# ---------------------------------------------------------------- the picture


def _way(state: Machine, spaces: list[MmStruct], step: Step | None, vaddr: int | None) -> set[Node]:
    """The nodes on the way of the address."""
    event = event_of(step)
    if not spaces or (vaddr is None and getattr(event, "vaddr", None) is None):
        return set()
    named = getattr(event, "mm", None)
    space = next((each for each in spaces if each.pid == named), spaces[0])
    way, geometry = list(walk(state, space, address_of(state, space, step, vaddr))), geometry_of(state)
    found: set[Node] = {(each.level, each.table, 0) for each in way}
    if way[-1].entry:
        found.add(("frame", pte_pfn(geometry, way[-1].entry), 0))
    return found


def _heading(state: Machine, spaces: list[MmStruct], graph: nx.DiGraph[Node], way: set[Node],
             vaddr: int | None) -> list[Mark]:
    counted = sum(space.pgtables_bytes for space in spaces) >> 12
    remark = f"{page_words(counted)} of tables counted (VmPTE {counted * 4} kB); the top tables are not counted"
    remark += f"; in ink: the way of {grouped(vaddr)}" if vaddr is not None and way else ""
    return [Text("title", STRONG, MARGIN, 24, f"Page tables of {', '.join(space.name for space in spaces)}"),
            Text("remark", MUTED, MARGIN, 42, remark)]


def _node(state: Machine, graph: nx.DiGraph[Node], places: dict[Node, tuple[float, float, float]], node: Node,
          way: set[Node], step: Step | None) -> list[Mark]:
    """A table or a frame."""
    (level, pfn, _), (x, y, width) = node, places[node]
    facts: dict[str, Any] = graph.nodes[node]
    named = {getattr(event_of(step), name, None) for name in ("pfn", "table")}
    is_touched = node in way or pfn in named
    if level in ("frame", "bundle"):
        return _leaf(state, graph, node, places[node], facts, is_touched)
    is_empty = not graph.out_degree(node)
    said = f"{level} table in frame {pfn:#x}, {len(vm_of(state).tables[pfn])} entries, from {facts['vaddr']:#x}"
    marks: list[Mark] = [Rect(f"table {pfn:#x}", TABLE, x - width / 2, y, width, TALL,
                              label=f"{pfn:#x}" if width > 44 else "", touched=is_touched, tip=said, words=said)]
    if is_empty:
        marks.append(Rect(f"empty {pfn:#x}", HOLE, x - width / 4, y + TALL + 6, width / 2, 8, label="",
                          tip="this table has no entry"))
    if "name" in facts:
        marks.append(Text(f"name {facts['space']}", MUTED, x, y - 12, facts["name"], anchor="middle"))
    return marks


def _leaf(state: Machine, graph: nx.DiGraph[Node], node: Node, place: tuple[float, float, float],
          facts: dict[str, Any], is_touched: bool) -> list[Mark]:
    """A frame with the number of entries that share it, or a bundle of frames."""
    (level, pfn, _), (x, y, width) = node, place
    if level == "bundle":
        said = f"{page_words(facts['count'])} below the table in frame {pfn:#x}, from {facts['vaddr']:#x}"
        return [Rect(f"bundle {pfn:#x}", KINDS[facts["kind"]], x - width / 2, y, width, TALL,
                     label=f"×{facts['count']}", touched=is_touched, tip=said, words=said)]
    shared = sum(len(graph.edges[above, node]["index"]) for above in graph.predecessors(node))
    said = f"frame {pfn:#x}: {WORDS[facts['kind']]}, {shared} entries, {references(state, pfn)} references"
    label = "zero" if facts["kind"] == "zero" else f"{pfn:#x}" if width > 44 else ""
    marks: list[Mark] = [Rect(f"frame {pfn:#x}", KINDS[facts["kind"]], x - width / 2, y, width, TALL, label=label,
                              touched=is_touched, tip=said, words=said)]
    if shared > 1:
        marks.append(Text(f"shared {pfn:#x}", MUTED, x, y + TALL + 14, f"×{shared}", anchor="middle"))
    return marks


def _edges(graph: nx.DiGraph[Node], places: dict[Node, tuple[float, float, float]], way: set[Node]) -> list[Mark]:
    """A line from each table to what its entries point to, with the index where there is room."""
    marks: list[Mark] = []
    for above, below, facts in graph.edges(data=True):
        (x, y, _), (x2, y2, width) = places[above], places[below]
        key = f"{above[1]:#x} to {below[1]:#x} {below[2]:x}"
        marks.append(Line(f"edge {key}", LINK, x, y + TALL, x2, y2, touched=above in way and below in way,
                          tip=f"entries {', '.join(map(str, facts['index'][:8]))}"))
        if width > 48 and len(facts["index"]) == 1 and below in _own(graph, above):
            from_right = any(places[other][0] > x2 + 4 for other in graph.predecessors(below))
            side = -1 if from_right else 1  # the side that no line comes from
            marks.append(Text(f"index {key}", MUTED, x2 + side * 10, y2 - 5, f"{facts['index'][0]}",
                              anchor="end" if side < 0 else "start"))
    return marks


def _words(state: Machine, spaces: list[MmStruct], graph: nx.DiGraph[Node]) -> str:
    tables = sum(1 for node in graph if node[0] not in ("frame", "bundle"))
    shared = [node for node in graph if node[0] == "frame" and graph.in_degree(node) > 1]
    joined = f"; {len(shared)} frames are shared by tables" if shared else ""
    names = ", ".join(space.name for space in spaces)
    return f"{tables} tables of {names}, {graph.number_of_nodes() - tables} leaves{joined}."
