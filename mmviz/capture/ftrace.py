"""ftrace text of the kmem tracepoints, turned into the rows that replay runs.

A row is a short list, the same as in golden/*.json.gz, in the order of the trace:

    ["a", cpu, pfn or None, order, migratetype, gfp_mask, node]   mm_page_alloc (printed after the allocation)
    ["f", cpu, pfn, order]                                        mm_page_free, committed at once
    ["p", cpu, pfn]  and later  ["c", cpu, pfn]                   a page of a list: prepared, then committed (batched)
    ["l", pfn]                                                    mm_lru_insertion: PageLRU
    ["z", cpu, pfn, order, migratetype]                           inner: mm_page_alloc_zone_locked
    ["d", cpu, pfn, migratetype]                                  inner: mm_page_pcpu_drain
    ["x", cpu, pfn, alloc_order, fallback_order, start_mt, fallback_mt, claimed]     inner: mm_page_alloc_extfrag
    ["k", what, cpu]                                              "bpe", "bpr" (kswapd's pass), "fold" (vmstat),
                                                                  "unres" (a reserve given back in direct reclaim)

Other events are passed over. The preferred node of an allocation is not in its tracepoint: it is that of a line
MMCAPNODE before it, or that of the kmalloc_node behind it, or the CPU's own.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..errors import CaptureError
from ..kernel import parse_gfp

Row = list[Any]
_LINE = re.compile(r"\s*(?P<task>.+)-\d+\s+\[(?P<cpu>\d+)\]\s+\S+\s+[\d.]+: (?P<event>\w+): (?P<rest>.*)")
_SNAP = re.compile(r"MMCAP snap=(\d+)")
_NODE = re.compile(r"MMCAPNODE node=(-?\d+)")
_PAIR = re.compile(r"(\w+)=([^ ]*)")


def _alloc(cpu: int, p: dict[str, str]) -> Row:
    pfn = int(p["pfn"]) if p["page"] != "(null)" and int(p["pfn"]) else None
    return ["a", cpu, pfn, int(p["order"]), int(p["migratetype"]), parse_gfp(p["gfp_flags"]), 0]


def _extfrag(cpu: int, p: dict[str, str]) -> Row:
    return ["x", cpu, int(p["pfn"]), int(p["alloc_order"]), int(p["fallback_order"]), int(p["alloc_migratetype"]),
            int(p["fallback_migratetype"]), int(p["change_ownership"])]


_EVENTS: dict[str, Callable[[int, dict[str, str]], Row]] = {
    "mm_page_alloc": _alloc,
    "mm_page_free": lambda cpu, p: ["f", cpu, int(p["pfn"]), int(p["order"])],
    "mm_page_free_batched": lambda cpu, p: ["c", cpu, int(p["pfn"])],
    "mm_lru_insertion": lambda cpu, p: ["l", int(p["pfn"])],
    "mm_page_alloc_zone_locked": lambda cpu, p: ["z", cpu, int(p["pfn"]), int(p["order"]), int(p["migratetype"])],
    "mm_page_pcpu_drain": lambda cpu, p: ["d", cpu, int(p["pfn"]), int(p["migratetype"])],
    "mm_page_alloc_extfrag": _extfrag,
    "bpe": lambda cpu, p: ["k", "bpe", cpu],
    "bpr": lambda cpu, p: ["k", "bpr", cpu],
    "fold": lambda cpu, p: ["k", "fold", cpu],
    "unres": lambda cpu, p: ["k", "unres", cpu],
}


def parse_ftrace(text: str, name: str, make: Callable[..., Reader] | None = None) -> list[list[Row]]:
    """The rows between each pair of snapshots: the first list lies between the lines MMCAP snap=0 and snap=1.

    Parameters
    ----------
    make : class
        What reads the lines of a stretch: Reader, or one that keeps more of them.

    Raises
    ------
    CaptureError
        ``name:line: what`` where a line is no ftrace line, or an event lacks a field, or events were lost.
    """
    stretches: list[list[Row]] = []
    make = make or Reader
    reader = make()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") or not line:
            continue
        snap = _SNAP.search(line)
        if snap:
            if reader.started:
                stretches.append(reader.rows)
            reader = make(started=True)
        elif reader.started:
            try:
                reader.read(line)
            except (KeyError, ValueError) as error:
                raise CaptureError(f"{name}:{number}: {error}: {line.strip()[:100]!r}") from error
    if not stretches:
        raise CaptureError(f"{name}: must hold two lines 'MMCAP snap=N', one for each snapshot")
    return stretches


class Reader:
    """The rows of one stretch, and what has to be remembered to make them."""

    def __init__(self, started: bool = False) -> None:
        self.started = started
        self.rows: list[Row] = []
        self._freed: dict[int, Row] = {}  # pfn -> its last mm_page_free
        self._asked_node: dict[int, int] = {}  # cpu -> node of the last MMCAPNODE
        self._last_alloc: dict[int, Row] = {}  # cpu -> its last mm_page_alloc, while nothing else came

    def read(self, line: str) -> None:
        """One line of the trace; ValueError if it does not parse."""
        node = _NODE.search(line)
        match = _LINE.match(line)
        if not match:
            raise ValueError("events were lost" if "LOST" in line else "not a line of ftrace text")
        cpu = int(match["cpu"])
        if node:
            self._asked_node[cpu] = int(node[1])
        elif match["event"] in ("kmalloc_node", "kmem_cache_alloc_node"):
            self._node_of_last_alloc(cpu, int(dict(_PAIR.findall(match["rest"]))["node"]))
        elif match["event"] in _EVENTS:
            self._add(cpu, match["event"], dict(_PAIR.findall(match["rest"])))

    def _add(self, cpu: int, event: str, pairs: dict[str, str]) -> None:
        try:
            row = _EVENTS[event](cpu, pairs)
        except KeyError as error:
            raise ValueError(f"{event} without {error.args[0]}=") from error
        self._last_alloc.pop(cpu, None)
        if row[0] == "a":
            row[6] = max(0, self._asked_node.pop(cpu, 0))
            self._last_alloc[cpu] = row
        elif row[0] == "f" and row[3] == 0:
            self._freed[row[2]] = row
        elif row[0] == "c" and row[2] in self._freed:
            prepared = self._freed.pop(row[2])
            prepared[:] = ["p", prepared[1], prepared[2]]
        self.rows.append(row)

    def _node_of_last_alloc(self, cpu: int, node: int) -> None:
        row = self._last_alloc.pop(cpu, None)
        if row is not None and node >= 0:
            row[6] = node
