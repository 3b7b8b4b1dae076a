"""Who asks: requests by the hundred, for lessons and measurements.

    take(machine, GFP_NOWAIT)      single pages until the kernel says no
    give(machine, pages)           back again, one by one
    churn(machine, 24_000)         a life: users come and go, the kernel keeps what it has

A life, as a Timeline of single requests that can be opened and looked at anywhere:

    request 0 .. n-1    user, user, ... user, kernel, user ...     each user page is given back after its time
    then                what users still hold is given back, and the per-CPU lists are drained

Nothing is random: how long a page lives follows from the number of its request, by multiplication modulo a prime
distance, so that neighbours live for quite different times. Simplified: nobody waits, so every request is GFP_NOWAIT.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..kernel import __GFP_MOVABLE, GFP_NOWAIT
from ..recording import Timeline
from .get_free_pages import alloc_pages
from .machine import Machine
from .page_free import __free_pages, drain_pages

STRIDE = 7919  # a prime: request * STRIDE modulo anything smaller scatters


class Request(NamedTuple):
    """One operation of a workload: "take" with a gfp mask, "give" with a pfn, "drain" with a CPU."""

    what: str
    value: int


def serve(machine: Machine, request: Request) -> int | None:
    """Do one operation; returns the pfn of a page that was taken."""
    if request.what == "take":
        return alloc_pages(machine, request.value, 0)
    if request.what == "give":
        __free_pages(machine, request.value, 0)
    else:
        drain_pages(machine, request.value)
    return None


def take(machine: Machine, gfp_mask: int, count: int | None = None, order: int = 0) -> list[int]:
    """Ask again and again, until there are `count` blocks or the kernel says no.

    Parameters
    ----------
    machine : Machine
    gfp_mask : int
        GFP_* bits; one without direct reclaim, or the simulator stops where the kernel would reclaim.
    count : int, optional
        How many blocks at most; as many as there are if not given.
    order : int
        0 to 10.

    Returns
    -------
    list of int
        The first pfn of each block, in the order in which they came.

    Examples
    --------
    >>> from mmviz.mm.boot import toy
    >>> len(take(toy(4), GFP_NOWAIT)), len(take(toy(4), GFP_NOWAIT, 7))
    (960, 7)
    """
    taken: list[int] = []
    while count is None or len(taken) < count:
        pfn = alloc_pages(machine, gfp_mask, order)
        if pfn is None:
            break
        taken.append(pfn)
    return taken


def give(machine: Machine, pfns: Iterable[int], order: int = 0) -> None:
    """Give blocks of one order back, in turn."""
    for pfn in pfns:
        __free_pages(machine, pfn, order)


def churn(machine: Machine, requests: int, kernel_every: int = 48) -> Timeline[Request]:
    """A life: users take and give back, the kernel takes and keeps.

    Parameters
    ----------
    machine : Machine
        Where it begins; it is copied.
    requests : int
        How many pages are asked for.
    kernel_every : int
        One in so many requests is the kernel's, for an UNMOVABLE page; the others are MOVABLE.

    Returns
    -------
    Timeline
        Of a `Request` an operation; the last ones give back all that users hold, and drain CPU 0's lists.

    Examples
    --------
    >>> from mmviz.mm.boot import toy
    >>> line = churn(toy(64), 480)
    >>> len(line.at(len(line)).zone("DMA32").allocated)
    10
    """
    live = machine.copy()
    done: list[Request] = []
    held: dict[int, list[int]] = {}  # the moment when pages are given back -> pages
    for now in range(requests):
        is_kernel = now % kernel_every == kernel_every - 1
        done.append(Request("take", GFP_NOWAIT if is_kernel else GFP_NOWAIT | __GFP_MOVABLE))
        pfn = serve(live, done[-1])
        if pfn is not None and not is_kernel:
            held.setdefault(_end(now, requests), []).append(pfn)
        leaving = [Request("give", pfn) for pfn in held.pop(now, [])]
        for request in leaving:
            serve(live, request)
        done += leaving
    done += [Request("give", pfn) for moment in sorted(held) for pfn in held[moment]]
    return Timeline(machine, [*done, Request("drain", 0)], serve)


def _end(now: int, requests: int) -> int:
    """When the page of a request is given back: within the requests, or in the farewell behind them."""
    return min(now + 1 + now * STRIDE % requests, requests + now * STRIDE % (requests // 3 + 1))
