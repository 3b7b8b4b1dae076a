"""The NUMA counters: where the pages of a recording came from.

    asked of node 1, served by node 1      numa_hit on 1
    asked of node 1, served by node 0      numa_miss on 0, and numa_foreign on 1: the one that should have served
    served on the CPU's own node, or not   numa_local, or numa_other, on the node that served
    asked in turn, and served so           numa_interleave on that node

They are pure sums, so nobody stores them: `numa_stat` adds up what a recording says. A request counts once, whatever
its order. In the kernel they are counters of a zone (/proc/zoneinfo); here, as in numastat(8), of a node.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from ..recording import Recording
from ..trace import Event
from . import events as ev


class NumaStat(NamedTuple):
    """The six counters of one node, in requests served (numa_foreign: in requests that another node served)."""

    numa_hit: int
    numa_miss: int
    numa_foreign: int
    numa_interleave: int
    numa_local: int
    numa_other: int


def numa_stat(recording: Recording) -> list[NumaStat]:
    """Where the pages of a recording came from: the counters of each node.

    Parameters
    ----------
    recording : Recording
        Of a NUMA build; on a UMA build nothing is counted.

    Returns
    -------
    list of NumaStat
        By node number; all counters begin at 0 with the recording.

    Notes
    -----
    Reads ZoneStatistics and InterleaveChosen. Kernel: mm/page_alloc.c:zone_statistics, mm/mempolicy.c:
    alloc_page_interleave at v5.4. A page of a per-CPU refill that nobody asked for is not counted, there or here.

    Examples
    --------
    >>> import mmviz as mv
    >>> with mv.record(mv.duo()) as rec:
    ...     pfn = mv.alloc_pages_node(rec.live, 1, mv.GFP_KERNEL, 0)
    >>> numa_stat(rec)[1]
    NumaStat(numa_hit=1, numa_miss=0, numa_foreign=0, numa_interleave=0, numa_local=0, numa_other=1)
    """
    counts = Counter(place for step in recording for place in counted(step.event))
    return [NumaStat(*(counts[nid, name] for name in NumaStat._fields)) for nid in range(len(recording.at(0).node))]


def counted(event: Event) -> Iterator[tuple[int, str]]:
    """The counters that one event moves by one: node and name.

    >>> list(counted(ev.ZoneStatistics(nid=0, zone_idx=1, preferred_nid=1, hit=False, local=True)))
    [(0, 'numa_miss'), (1, 'numa_foreign'), (0, 'numa_local')]
    """
    if isinstance(event, ev.InterleaveChosen) and event.hit:
        yield event.nid, "numa_interleave"
    if isinstance(event, ev.ZoneStatistics):
        yield event.nid, "numa_hit" if event.hit else "numa_miss"
        if not event.hit:
            yield event.preferred_nid, "numa_foreign"
        yield event.nid, "numa_local" if event.local else "numa_other"
