"""Questions of grade II: follow a whole story, and give a list.

    lists_after    eight requests and frees on a small zone: what do the free lists hold then, from the head on?
    node_order     one request on a machine with nodes: which nodes are asked, in turn?

A wrong list names its first wrong element, and the kernel function whose rule it breaks. The wrong lists of
`lists_after` are what the wrong machines (mm/variants.py) come to with the same story.
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

from ..errors import MmvizError
from ..kernel import GFP_KERNEL
from ..mm import events as ev
from ..mm.boot import toy
from ..mm.machine import Machine
from ..mm.page_alloc import alloc_pages_node
from ..mm.page_free import __free_pages
from ..mm.variants import VARIANTS, variant
from ..recording import Recording, record
from .questions import Ask, Option, Question, event_at, events_from, option, question

REQUESTS, FREES, ORDERS, LEAST_WRONG, LEAST_NODES = 4, 4, 4, 3, 3
NEAR = 2  # what numbers and CPUs add to a distance
RULES = {  # wrong machine -> the function whose rule it breaks
    "head_only": "__free_one_page", "no_merge": "__free_one_page", "upper_half": "expand",
    "tail_only": "__free_one_page", "last_of_list": "get_page_from_free_area",
    "lowest_address": "get_page_from_free_area", "largest_first": "__rmqueue_smallest",
}
Story = list[tuple[int, int]]  # a request: (-1, order); a free: (pfn, order)
Lists = list[list[int]]  # by order, from the head on


# ---------------------------------------------------------------- the free lists after a story


def ask_lists_after(recording: Recording, number: int) -> Question | None:
    """What do the free lists hold at the end? Asked at the first step of four requests and four frees of one zone."""
    calls, first = _story(recording) if number == 0 else [], recording.at(0)
    if len(calls) != REQUESTS + FREES or len(first.zones()) != 1:
        return None
    zone, right = first.zones()[0], _lists(recording.at(len(recording)))
    orders = ", ".join(str(order) for _, order in calls[:REQUESTS])
    text = (f"Zone {zone.label} serves four requests, of order {orders}; then these blocks are freed in turn: "
            f"{', '.join(_told(recording, call) for call in calls[REQUESTS:])}. "
            f"What do the lists of order 0 to {ORDERS - 1} hold then, each from its head on?")
    wrong = list(_other_lists(first, calls, _taken(recording), right))
    if len(wrong) < LEAST_WRONG:
        return None
    mine = option(_words(right), _words(right), "Each request takes the head of the first list that has a block, "
                  "halves go back to the head, and what is freed merges first", "__free_one_page")
    return question("lists_after", text, mine, iter(wrong), 0, zone)


def _story(recording: Recording) -> Story:
    """The requests and frees of a recording; empty if it holds anything else."""
    found: Story = []
    call: Any = None
    for step in recording:
        if not step.stack or step.stack[0].symbol not in ("alloc_pages_node", "__free_pages"):
            return []
        if step.stack[0].call is not call:
            call, given = step.stack[0].call, dict[str, Any](step.stack[0].args)
            found.append((given.get("pfn", -1), given["order"]))
    is_request = [pfn < 0 for pfn, _ in found]
    return found if is_request == [True] * REQUESTS + [False] * FREES else []


def _taken(recording: Recording) -> list[int]:
    """What the requests got, in turn."""
    got: list[Any] = [step.event for step in recording.select(ev.MmPageAlloc)]
    return [event.pfn for event in got]


def _told(recording: Recording, call: tuple[int, int]) -> str:
    pfn, order = call
    taken = _taken(recording)
    if pfn in taken:
        return f"what request {taken.index(pfn) + 1} got"
    return f"{pfn:#x} of order {order}"


def _lists(machine: Machine) -> Lists:
    zone = machine.zones()[0]
    return [[pfn for pages in zone.free_area[order].free_list for pfn in pages] for order in range(ORDERS)]


def _words(lists: Lists) -> str:
    """The lists in one line."""
    return "; ".join(f"{order}: {' '.join(f'{pfn:x}' for pfn in pages) or 'none'}" for order, pages in enumerate(lists))


def _other_lists(first: Machine, calls: Story, taken: list[int], right: Lists) -> Iterator[Option]:
    """What each wrong machine comes to."""
    seen = [right]
    for name, symbol in RULES.items():
        lists = _played(first.copy(), calls, taken, name)
        if lists and lists not in seen:
            seen.append(lists)
            yield option(_words(lists), _words(lists), f"{_first_wrong(lists, right)}. So does a machine that "
                         f"{VARIANTS[name].does}", symbol)


def _played(machine: Machine, calls: Story, taken: list[int], name: str) -> Lists:
    """The lists after the same story on a wrong machine, which may hand out other blocks; empty if it cannot be."""
    kernel: Any = variant(name)
    got: dict[int, int] = {}  # what v5.4 handed out -> what this one did
    try:
        for i, (pfn, order) in enumerate(calls):
            if pfn < 0:
                got[taken[i]] = kernel.alloc_pages_node(machine, 0, GFP_KERNEL, order)
            else:
                kernel.__free_pages(machine, got.get(pfn, pfn), order)
    except (MmvizError, TypeError):
        return []
    return _lists(machine)


def _first_wrong(lists: Lists, right: Lists) -> str:
    """The first element that differs, in words."""
    for order, (mine, truth) in enumerate(zip(lists, right, strict=True)):
        for place, pfn in enumerate(mine):
            if truth[place:place + 1] != [pfn]:
                return f"The first wrong element is {pfn:#x}, number {place + 1} of order {order}"
        if len(truth) > len(mine):
            return f"Order {order} lacks {truth[len(mine)]:#x}"
    raise AssertionError("the lists are equal")


def taking_and_giving(rng: Random) -> Recording:
    """A short past on toy(4), then four requests and four frees."""
    machine = toy(4)
    held = [_taken_block(machine, rng) for _ in range(rng.randint(4, 7))]
    for _ in range(2):
        __free_pages(machine, *held.pop(rng.randrange(len(held))))
    with record(machine) as recording:
        held += [_taken_block(machine, rng) for _ in range(REQUESTS)]
        for _ in range(FREES):
            __free_pages(machine, *held.pop(rng.randrange(len(held))))
    return recording


def _taken_block(machine: Machine, rng: Random) -> tuple[int, int]:
    order = rng.choice((0, 0, 1, 2))
    pfn = alloc_pages_node(machine, 0, GFP_KERNEL, order)
    assert pfn is not None  # a few pages of 1,024
    return pfn, order


# ---------------------------------------------------------------- the order of the nodes


def ask_node_order(recording: Recording, number: int) -> Question | None:
    """Which nodes does a request ask, in turn? Not asked of fewer than three, or where two of them are as near."""
    request = event_at(recording, number)
    if not isinstance(request, ev.RequestPrepared):
        return None
    walk = [step.event for step in events_from(recording, number + 1, (ev.MmPageAlloc, ev.SlowpathEntered))]
    asked = tuple(dict.fromkeys(event.nid for event in walk if isinstance(event, ev.WatermarkChecked)))
    state: Machine = recording.at(number)
    row = state.distance[request.nid]
    end = walk[-1] if walk else None
    if not isinstance(end, ev.MmPageAlloc) or end.pfn < 0 or len(asked) < LEAST_NODES:
        return None
    if any(far - near <= NEAR for near, far in pairwise(sorted(row))):
        return None
    text = (f"A request runs on node {request.nid}. Distances from there: "
            f"{', '.join(f'node {nid} {far}' for nid, far in enumerate(row))}. It asks "
            f"{len(asked)} nodes, and the last one serves it. Which ones, in turn?")
    right = _nodes(asked, asked, "The nearest node comes first, as the distances from the node of the request say")
    others = (_nodes(tuple(order[:len(asked)]), asked, why) for order, why in _other_orders(state, request.nid))
    return question("node_order", text, right, others, number, state.zones()[0])


def _other_orders(machine: Machine, start: int) -> Iterator[tuple[list[int], str]]:
    nodes, row = list(range(len(machine.node))), machine.distance[start]
    chain = [start]
    while len(chain) < len(nodes):
        chain.append(min((nid for nid in nodes if nid not in chain), key=lambda nid: machine.distance[chain[-1]][nid]))
    yield chain, "All distances are those from the node of the request, not from the node asked last"
    yield [start, *(nid for nid in nodes if nid != start)], "Nodes are not asked by their number"
    yield [start, *sorted((nid for nid in nodes if nid != start), key=lambda nid: -row[nid])], "The nearest is asked " \
        "before the farthest"
    yield sorted(nodes, key=lambda nid: machine.distance[0][nid]), "Each node has a zonelist of its own"
    yield nodes[start:] + nodes[:start], "The numbers go round, but distances decide"


def _nodes(order: tuple[int, ...], right: tuple[int, ...], why: str) -> Option:
    wrong = next((nid for nid, truth in zip(order, right, strict=True) if nid != truth), None)
    first = "" if wrong is None else f"The first wrong one is node {wrong}. "
    return option(order, ", ".join(map(str, order)), first + why, "find_next_best_node")


KINDS: dict[str, Ask] = {"lists_after": ask_lists_after, "node_order": ask_node_order}
KIND_OF = {"MmPageFree": "lists_after", "ZoneStatistics": "node_order"}
