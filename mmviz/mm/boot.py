"""boot: a Machine from sizes, as v5.4 leaves it when the first request comes.

    build_all_zonelists            who asks whom; too small a machine has no migratetypes
    memblock_free_all              blocks handed over in ascending order, each to the head of its list:
                                   so the first pages used are those of the highest block
    setup_per_cpu_pageset          high and batch of the per-CPU lists, from the size of the zone
    init_per_zone_wmark_min        min_free_kbytes, the three marks, lowmem_reserve

By the exact rules a small machine has no per-CPU lists worth the name (under 8,192 pages: batch 1, high 0) and no
migratetypes (under 3,072 pages). `batch=`, `high=`, `grouping=`, `watermarks=` set them by hand; the Machine remembers
which (`by_hand`), and pictures and texts say so.

Simplified: a zone is one range without holes, and all of its pages are handed over (managed = spanned). Zones that
share a pageblock keep its type each for itself.
"""
from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from ..kernel import MAX_ORDER, MIGRATE_UNMOVABLE, NR_FREE_PAGES, PAGE_SHIFT, PAGE_SIZE, WMARK_HIGH, Config
from ..trace import Trace, mirrors
from .machine import Machine, Node, Task
from .mmzone import TOP_ORDER, FreeArea, PerCpuPages, Zone
from .page_free import free_pages_core
from .watermark import (
    __setup_per_zone_wmarks,
    init_per_zone_wmark_min,
    nr_free_zone_pages,
    setup_per_zone_lowmem_reserve,
    wmark_pages,
)
from .zone import __touch_next_block, set_watermarks
from .zonelist import build_all_zonelists


class ZoneSize(NamedTuple):
    """A zone to boot: its name, first pfn and pages, and its node."""

    name: str
    start_pfn: int
    nr_pages: int
    nid: int = 0


def boot(zones: Sequence[ZoneSize | tuple[str, int, int] | tuple[str, int, int, int]], *, config: Config | None = None,
         cpus: Sequence[int] = (0,), distance: Sequence[Sequence[int]] | None = None,
         min_free_kbytes: int | None = None, batch: int | None = None, high: int | None = None,
         grouping: bool | None = None, watermarks: tuple[int, int, int] | None = None,
         percpu_pagelist_fraction: int = 0) -> Machine:
    """Make a Machine whose free lists are as v5.4 leaves them after boot.

    Parameters
    ----------
    zones : sequence of (name, start_pfn, nr_pages[, nid])
        Names of the Config ("DMA", "DMA32", "Normal", "Movable"); pages, at least 0.
    cpus : sequence of int
        The node of each CPU; the default is one CPU on node 0.
    distance : square matrix of int
        Between nodes; the default is 10 on the diagonal and 20 elsewhere.
    min_free_kbytes : int
        In KiB; the default is v5.4's own rule.
    batch, high : int
        Of the per-CPU lists of every zone, in pages, at least 1 and 0.
    grouping : bool
        Whether migratetypes are used.
    watermarks : (min, low, high)
        In pages, the same for every zone.
    percpu_pagelist_fraction : int
        The sysctl: 0 (off), or 8 and more: high is then this fraction of the zone.

    Returns
    -------
    Machine
        Nobody listens to it, and CPU 0 asks.

    Raises
    ------
    ValueError
        If a zone is unknown, twice there, or overlaps another, or if a number is out of its range.

    Examples
    --------
    >>> print(boot([("DMA32", 0x1000, 0x400)]))
    Node 0, zone    DMA32      0      0      0      0      0      0      0      0      0      0      1  pcp 0
    """
    chosen = config or Config()
    sizes = [ZoneSize(*size) for size in zones]
    _check_sizes(sizes, chosen, cpus, distance)
    _check_by_hand(sizes, min_free_kbytes, batch, high, watermarks, percpu_pagelist_fraction)
    machine = _empty_machine(sizes, chosen, cpus, distance)
    build_all_zonelists(machine)
    machine.page_group_by_mobility_disabled = _too_small_for_types(machine) if grouping is None else not grouping
    for zone in machine.zones():
        memblock_free_all(zone)
    for zone in machine.zones():
        setup_zone_pageset(zone, len(cpus), batch, high, percpu_pagelist_fraction)
    _set_marks(machine, min_free_kbytes, watermarks)
    given = {"batch": batch, "high": high, "grouping": grouping, "watermarks": watermarks,
             "min_free_kbytes": min_free_kbytes, "percpu_pagelist_fraction": percpu_pagelist_fraction or None}
    machine.by_hand = tuple(f"no {name}" if value is False else name for name, value in given.items()
                            if value is not None)
    return machine


def _check_sizes(sizes: list[ZoneSize], config: Config, cpus: Sequence[int],
                 distance: Sequence[Sequence[int]] | None) -> None:
    for size in sizes:
        if size.name not in config.zone_names:
            raise ValueError(f"zone must be one of {', '.join(config.zone_names)}, got {size.name!r}")
        if any(type(number) is not int for number in size[1:]):
            raise TypeError(f"start_pfn, nr_pages and nid must be ints, got {size}")
        if min(size[1:]) < 0:
            raise ValueError(f"start_pfn, nr_pages and nid must be at least 0, got {size}")
    nodes = 1 + max((size.nid for size in sizes), default=0)
    spans = sorted((size.start_pfn, size.start_pfn + size.nr_pages, size.name) for size in sizes)
    for (_, end, name), (start, _, other) in pairwise(spans):
        if end > start:
            raise ValueError(f"zones must not overlap: {name} ends at {end:#x}, {other} starts at {start:#x}")
    if not sizes or len({(size.nid, size.name) for size in sizes}) < len(sizes):
        raise ValueError("zones must hold at least one zone, and each at most once a node")
    if not cpus or any(not 0 <= nid < nodes for nid in cpus):
        raise ValueError(f"cpus must name a node 0 to {nodes - 1} for each CPU, got {list(cpus)}")
    if distance is not None and (len(distance) != nodes or any(len(row) != nodes for row in distance)):
        raise ValueError(f"distance must be a {nodes} by {nodes} matrix, got {distance}")


def _check_by_hand(sizes: list[ZoneSize], min_free_kbytes: int | None, batch: int | None, high: int | None,
                   watermarks: tuple[int, int, int] | None, percpu_pagelist_fraction: int) -> None:
    if (batch is not None and batch < 1) or (high is not None and high < 0):
        raise ValueError(f"batch must be at least 1 and high at least 0, got {batch} and {high}")
    for size in sizes:
        wanted = max(1, zone_batchsize(size.nr_pages) if batch is None else batch)
        if high is not None and wanted > max(high, 1):
            raise ValueError(f"high must be at least batch, got high {high} and batch {wanted} in zone {size.name}")
    if min_free_kbytes is not None and min_free_kbytes < 0:
        raise ValueError(f"min_free_kbytes must be at least 0, got {min_free_kbytes}")
    if percpu_pagelist_fraction and percpu_pagelist_fraction < 8:
        raise ValueError(f"percpu_pagelist_fraction must be 0 or at least 8, got {percpu_pagelist_fraction}")
    if watermarks is not None and not 0 <= watermarks[0] <= watermarks[1] <= watermarks[2]:
        raise ValueError(f"watermarks must be 0 <= min <= low <= high, got {watermarks}")


def _empty_machine(sizes: list[ZoneSize], config: Config, cpus: Sequence[int],
                   distance: Sequence[Sequence[int]] | None) -> Machine:
    nodes = 1 + max(size.nid for size in sizes)
    matrix = distance or [[10 if a == b else 20 for b in range(nodes)] for a in range(nodes)]
    machine = Machine(config, [], list(cpus), [list(row) for row in matrix], Task(), Trace())
    for nid in range(nodes):
        managed = [sum(s.nr_pages for s in sizes if (s.nid, s.name) == (nid, name)) for name in config.zone_names]
        reserve = setup_per_zone_lowmem_reserve(managed, config.zone_names)
        machine.node.append(Node([None] * len(config.zone_names), [c for c, n in enumerate(cpus) if n == nid]))
        for size in sizes:
            if size.nid == nid:
                zone_idx = config.zone_names.index(size.name)
                machine.node[nid].node_zones[zone_idx] = _empty_zone(machine, size, zone_idx, reserve[zone_idx])
    machine.populated = tuple(zone for node in machine.node for zone in node.node_zones if zone is not None)
    return machine


def _empty_zone(machine: Machine, size: ZoneSize, zone_idx: int, lowmem_reserve: list[int]) -> Zone:
    """A zone without free pages; every pageblock is MOVABLE but one that begins below the zone (memmap_init_zone)."""
    config = machine.config
    zone = Zone(machine, size.nid, zone_idx, size.name, size.start_pfn, size.nr_pages, size.nr_pages, size.nr_pages,
                [0, 0, 0], lowmem_reserve, [FreeArea(config.migrate_types) for _ in range(MAX_ORDER)],
                [PerCpuPages(0, 1, 0) for _ in machine.cpu_to_node], machine.trace)
    if size.start_pfn % config.pageblock_nr_pages:
        zone.pageblock[size.start_pfn >> config.pageblock_order] = MIGRATE_UNMOVABLE
    return zone


def _too_small_for_types(machine: Machine) -> bool:
    """Fewer pages than a pageblock for each type: page_group_by_mobility_disabled, as build_all_zonelists sets it."""
    zones = machine.node[machine.cpu_to_node[0]].node_zonelists[0][-1]
    return nr_free_zone_pages(zones) < machine.config.pageblock_nr_pages * machine.config.migrate_types


@mirrors("mm/memblock.c")
def memblock_free_all(zone: Zone) -> None:
    """Hand a zone's pages to the buddy lists, ascending, in the largest aligned blocks.

    Kernel: mm/memblock.c:memblock_free_all, __free_pages_memory. The run of top-order blocks becomes `untouched`.
    """
    pfn = zone.zone_start_pfn
    while pfn < zone.end_pfn:
        order = min(TOP_ORDER, (pfn & -pfn).bit_length() - 1) if pfn else TOP_ORDER
        while pfn + (1 << order) > zone.end_pfn:
            order -= 1
        if order == TOP_ORDER:
            pfn = __hand_over_top_blocks(zone, pfn)
        else:
            free_pages_core(zone, pfn, order)
            pfn += 1 << order


def __hand_over_top_blocks(zone: Zone, pfn: int) -> int:
    """All top-order blocks from `pfn` on: the last is the head of the list. Returns the pfn behind them."""
    size = 1 << TOP_ORDER
    end = pfn + (zone.end_pfn - pfn) // size * size
    zone.untouched = range(end - size, pfn - 1, -size)
    zone.free_area[TOP_ORDER].nr_free += len(zone.untouched)
    zone.vm_stat[NR_FREE_PAGES] += end - pfn
    __touch_next_block(zone)
    return end


# ---------------------------------------------------------------- per-CPU lists and marks


@mirrors("mm/page_alloc.c")
def zone_batchsize(managed_pages: int) -> int:
    """Pages that a per-CPU list of this zone gets and gives at a time: 0, 1, 3, 7, 15, 31 or 63.

    >>> [zone_batchsize(pages) for pages in (3977, 8192, 16384, 122517, 262144)]
    [0, 1, 3, 31, 63]
    """
    batch = managed_pages // 1024
    if batch * PAGE_SIZE > 1 << 20:
        batch = (1 << 20) // PAGE_SIZE
    batch = max(batch // 4, 1)
    return (1 << ((batch + batch // 2).bit_length() - 1)) - 1


def calculate_normal_threshold(managed_pages: int, cpus: int) -> int:
    """stat_threshold: how far a CPU's difference may grow (mm/vmstat.c:calculate_normal_threshold), 2 to 125.

    >>> calculate_normal_threshold(16384, 1), calculate_normal_threshold(122517, 1)
    (2, 6)
    """
    mem = managed_pages >> (27 - PAGE_SHIFT)
    return min(125, 2 * cpus.bit_length() * (1 + mem.bit_length()))


def setup_zone_pageset(zone: Zone, cpus: int, batch: int | None, high: int | None, fraction: int = 0) -> None:
    """A pageset for each CPU: high = 6 * batch, batch at least 1; or high = managed / fraction and a quarter as batch.

    Kernel: mm/page_alloc.c:pageset_set_high_and_batch.
    """
    computed = zone_batchsize(zone.managed_pages) if batch is None else batch
    full = 6 * computed if high is None else high
    if fraction:
        full = zone.managed_pages // fraction
        computed = min(full // 4, PAGE_SHIFT * 8)
    threshold = calculate_normal_threshold(zone.managed_pages, cpus)
    zone.pageset = [PerCpuPages(full, max(1, computed), threshold) for _ in range(cpus)]


def _set_marks(machine: Machine, min_free_kbytes: int | None, watermarks: tuple[int, int, int] | None) -> None:
    __setup_per_zone_wmarks(machine, init_per_zone_wmark_min(machine) if min_free_kbytes is None else min_free_kbytes)
    for zone in machine.zones():
        if watermarks is not None:
            set_watermarks(zone, *watermarks)
        max_drift = len(machine.cpu_to_node) * zone.pageset[0].stat_threshold
        if max_drift > zone._watermark[1] - zone._watermark[0]:
            zone.percpu_drift_mark = wmark_pages(zone, WMARK_HIGH) + max_drift


# ---------------------------------------------------------------- the cast of the lessons


def toy(mib: int = 4, **by_hand: object) -> Machine:
    """One node, one zone DMA32 from pfn 0x1000, of `mib` MiB: 4 for the bare buddy, 64 for all the rest.

    Further arguments go to `boot`.

    >>> toy(4), toy(64, batch=31).by_hand
    (Machine(DMA32 1024 pages), ('batch',))
    """
    return boot([ZoneSize("DMA32", 0x1000, mib << (20 - PAGE_SHIFT))], **by_hand)  # type: ignore[arg-type]


def duo() -> Machine:
    """Two nodes of 32 MiB, zone DMA32 each, distance 20, one CPU on node 0."""
    return boot([ZoneSize("DMA32", 0x1000, 0x2000, 0), ZoneSize("DMA32", 0x3000, 0x2000, 1)])


def zones_toy() -> Machine:
    """One node with DMA32 and Normal, 32 MiB each."""
    return boot([ZoneSize("DMA32", 0x1000, 0x2000), ZoneSize("Normal", 0x100000, 0x2000)])
