"""The way back: a freed page goes to its CPU's pile, a freed block to the buddy lists, where it looks for its partner.

The partner (buddy) of a block differs in one bit: buddy = pfn XOR 2^order. If it is free, and of the same order, both
become one block of the next order, and the question comes again.

    0x1008 order 2 freed;  0x100c order 2 is free   ->  0x1008 order 3;  its partner 0x1000 is free at order 2: stop

Where it stops, the block goes to the head of its list; or to the tail, if the partner of its parent is free: then
one more free makes two merges, and the tail is where a block waits longest.

Single pages go onto the CPU's pile. When that holds `high` pages, `batch` of them go back: the oldest of each type in
turn. free_pcppages_bulk does it in two halves, as the kernel does: collect from the pile, then put under zone->lock.

Left out: the checks of free_pages_prepare beyond the reference count, poisoning, compaction_capture, shuffling.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import KernelBug
from ..kernel import MAX_ORDER, MIGRATE_MOVABLE, MIGRATE_PCPTYPES, PAGE_SHIFT
from ..trace import mirrors
from . import events as ev
from .fallback import get_pageblock_migratetype
from .machine import set_current
from .mmzone import Zone
from .page_ref import check_free, has_bad_tail, page_zone, put_page_testzero
from .rmqueue import __mod_zone_freepage_state, check_new_pages
from .watermark import is_highmem
from .zone import (
    add_to_free_area,
    add_to_free_area_tail,
    clear_guard,
    del_page_from_free_area,
    fold_diff,
    free_pages_prepare,
    page_ref_count,
    pcp_list_add,
    pcp_list_del,
    set_pcppage_migratetype,
)

if TYPE_CHECKING:
    from .machine import Machine


# ---------------------------------------------------------------- entry


@mirrors("mm/page_alloc.c")
def free_pages(machine: Machine, addr: int, order: int) -> None:
    """Free 2^order pages by the address that __get_free_pages returned; address 0 is allowed and does nothing.

    Parameters
    ----------
    addr : int
        In the direct map, or 0.
    order : int
        The order it was asked with, 0 to 10.

    Raises
    ------
    ValueError
        If `addr` is no address of the direct map of this machine, or `order` is not 0..10.
    KernelBug
        As `__free_pages`.

    Notes
    -----
    Emits what `__free_pages` emits. Kernel: mm/page_alloc.c:free_pages at v5.4.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> free_pages(machine, mv.__get_free_pages(machine, mv.GFP_KERNEL, 2), 2)
    >>> machine.zone("DMA32").nr_pages_on_lists()
    1024
    """
    if addr:
        __free_pages(machine, virt_to_pfn(machine, addr), order)


def virt_to_pfn(machine: Machine, addr: int) -> int:
    """The frame of an address of the direct map.

    Raises
    ------
    ValueError
        If `addr` lies outside it, or is not the first byte of a page.
    """
    offset = addr - machine.config.page_offset
    if offset < 0 or offset & ((1 << PAGE_SHIFT) - 1):
        raise ValueError(f"addr must be page-aligned and at or above PAGE_OFFSET {machine.config.page_offset:#x}, "
                         f"got {addr:#x}")
    pfn = offset >> PAGE_SHIFT
    if is_highmem(page_zone(machine, pfn)):
        raise ValueError(f"addr must be in the direct map, got {addr:#x}: pfn {pfn:#x} is high memory")
    return pfn


@mirrors("mm/page_alloc.c")
def __free_pages(machine: Machine, pfn: int, order: int) -> None:
    """Drop a reference to a block; the last one gives it back.

    Parameters
    ----------
    pfn : int
        First page of the block, as alloc_pages returned it.
    order : int
        The order it was asked with, 0 to 10.

    Raises
    ------
    TypeError, ValueError
        If the pfn is no int or in no zone, or the order is not 0..10.
    KernelBug
        If the block is free already, or was handed out with another order, or one of its tail pages is in use.
        `machine.strict = False` goes on as a plain v5.4 does: a second free leaves the count at -1, and the page is
        reported as bad when it next goes to or comes from the buddy lists; a block with a tail in use is lost.

    Notes
    -----
    Emits PageRefAdd, or MmPageFree and what follows. Kernel: mm/page_alloc.c:__free_pages at v5.4.
    """
    if pfn.__class__ is not int or order.__class__ is not int:
        raise TypeError(f"pfn and order must be ints, got {pfn!r} and {order!r}")
    zone = page_zone(machine, pfn)
    if zone.allocated.get(pfn) == order and not zone.refcount:  # it has the one reference that it was handed out with
        return free_the_page(zone, pfn, order)
    check_free(zone, pfn, order)
    if put_page_testzero(zone, pfn) and not has_bad_tail(zone, pfn, order):
        free_the_page(zone, pfn, order)


@mirrors("mm/page_alloc.c")
def free_the_page(zone: Zone, pfn: int, order: int) -> None:
    """Single pages go by the per-CPU lists, blocks straight to the buddy lists."""
    if order == 0:
        free_unref_page(zone, pfn)
    else:
        __free_pages_ok(zone, pfn, order)


# ---------------------------------------------------------------- order 0


@mirrors("mm/page_alloc.c")
def free_unref_page(zone: Zone, pfn: int) -> None:
    """Free one page that has no references left."""
    free_unref_page_prepare(zone, pfn)
    free_unref_page_commit(zone, pfn)


@mirrors("mm/page_alloc.c")
def free_unref_page_prepare(zone: Zone, pfn: int) -> None:
    """The first half: the page takes the type of its pageblock along, as it is now."""
    free_pages_prepare(zone, pfn, 0)
    set_pcppage_migratetype(zone, pfn, get_pageblock_migratetype(zone, pfn))


@mirrors("mm/page_alloc.c")
def free_unref_page_commit(zone: Zone, pfn: int) -> None:
    """The second half: onto this CPU's pile; a full pile gives `batch` pages back.

    Kernel: mm/page_alloc.c:free_unref_page_commit. A page of a HIGHATOMIC or CMA pageblock goes to the MOVABLE list and
    keeps its type; one of an isolated pageblock goes to the buddy lists at once.
    """
    cpu = zone.machine.current.cpu
    migratetype = zone.index[pfn]
    if migratetype >= MIGRATE_PCPTYPES:
        if migratetype == zone.machine.config.migrate_isolate:
            return free_one_page(zone, pfn, 0, migratetype)
        migratetype = MIGRATE_MOVABLE
    pcp_list_add(zone, cpu, migratetype, pfn)
    pcp = zone.pageset[cpu]
    if pcp.count >= pcp.high:
        free_pcppages_bulk(zone, pcp.batch, cpu)


@mirrors("mm/page_alloc.c")
def free_unref_page_list(machine: Machine, pages: Sequence[int]) -> None:
    """Free many single pages: all are prepared first, then all committed, each with mm_page_free_batched.

    Parameters
    ----------
    pages : sequence of int
        Pfns of order-0 pages without other references.

    Raises
    ------
    TypeError, ValueError, KernelBug
        As `__free_pages`, before anything is changed; KernelBug also if a page is twice in the list.

    Notes
    -----
    Emits MmPageFree for each, then MmPageFreeBatched and PcpListAdd for each.
    Kernel: mm/page_alloc.c:free_unref_page_list at v5.4. Simplified: no pause of irqs after every 32 pages.
    """
    if any(pfn.__class__ is not int for pfn in pages):
        raise TypeError(f"pages must be pfns (ints), got {pages!r}")
    zones = [page_zone(machine, pfn) for pfn in pages]
    for zone, pfn in zip(zones, pages, strict=True):
        if zone.allocated.get(pfn) != 0:
            check_free(zone, pfn, 0)
        if zone.machine.strict and page_ref_count(zone, pfn) > 1:
            raise KernelBug(f"pfn {pfn:#x} still has {page_ref_count(zone, pfn)} references; a plain v5.4 reports a "
                            "bad page when it reaches the buddy lists (mm/page_alloc.c:free_unref_page_list)")
    if machine.strict and len(set(pages)) < len(pages):
        raise KernelBug("a page is twice in the list; a plain v5.4 would put it on the per-CPU list twice")
    for zone, pfn in zip(zones, pages, strict=True):
        free_unref_page_prepare(zone, pfn)
    for zone, pfn in zip(zones, pages, strict=True):
        if zone.on:
            zone.trace.emit(ev.MmPageFreeBatched(pfn))
        free_unref_page_commit(zone, pfn)


# ---------------------------------------------------------------- per-CPU lists to buddy lists


@mirrors("mm/page_alloc.c")
def free_pcppages_bulk(zone: Zone, count: int, cpu: int) -> None:
    """Give `count` pages of a CPU's lists back to the buddy lists.

    Raises
    ------
    ValueError
        If the lists hold fewer (the kernel would loop for ever).
    """
    if not 0 <= count <= zone.pageset[cpu].count:
        raise ValueError(f"count must be 0 to {zone.pageset[cpu].count} (pcp->count), got {count}")
    __put_pages(zone, __collect_pages(zone, count, cpu))


def __collect_pages(zone: Zone, count: int, cpu: int) -> list[tuple[int, int]]:
    """The first half: (pfn, type) from the tails, type by type in turn, M first.

    `batch_free` is the number of lists looked at since the last one that had pages: after k empty lists, k + 1 pages
    are taken from the next.
    """
    lists = zone.pageset[cpu].lists
    if zone.on:
        zone.trace.emit(ev.PcpFlushPlanned(zone.nid, zone.zone_idx, cpu, count))
    collected: list[tuple[int, int]] = []
    left, migratetype, batch_free = count, 0, 0
    while left:
        while True:
            batch_free += 1
            migratetype = (migratetype + 1) % MIGRATE_PCPTYPES
            if lists[migratetype]:
                break
        pages = lists[migratetype]
        if batch_free == MIGRATE_PCPTYPES:  # the only list that is not empty
            batch_free = left
        while left and batch_free and pages:
            pfn = pages[-1]
            carried = pcp_list_del(zone, cpu, migratetype, pfn)
            if not (zone.refcount and check_new_pages(zone, pfn, 0)):  # a bad page is lost here
                collected.append((pfn, carried))
            left -= 1
            batch_free -= 1
    return collected


def __put_pages(zone: Zone, pages: list[tuple[int, int]]) -> None:
    """The second half, under zone->lock: each page to the list of the type that it carries."""
    for pfn, carried in pages:
        migratetype = get_pageblock_migratetype(zone, pfn) if zone.nr_isolate_pageblock else carried
        __free_one_page(zone, pfn, 0, migratetype)
        if zone.tracepoints:
            zone.trace.emit(ev.MmPagePcpuDrain(pfn, 0, migratetype))


@mirrors("mm/page_alloc.c")
def drain_pages_zone(zone: Zone, cpu: int) -> None:
    """All pages of one CPU's lists of one zone go back."""
    if zone.pageset[cpu].count:
        free_pcppages_bulk(zone, zone.pageset[cpu].count, cpu)


@mirrors("mm/page_alloc.c")
def drain_pages(machine: Machine, cpu: int) -> None:
    """All pages of one CPU's lists go back; ValueError if there is no such CPU."""
    if not 0 <= cpu < len(machine.cpu_to_node):
        raise ValueError(f"cpu must be 0 to {len(machine.cpu_to_node) - 1}, got {cpu}")
    for zone in machine.zones():
        drain_pages_zone(zone, cpu)


@mirrors("mm/page_alloc.c")
def drain_all_pages(machine: Machine, zone: Zone | None = None) -> None:
    """All pages of every CPU's lists go back, of one zone or of all; each CPU does its own, in its own counters.

    Notes
    -----
    Emits SetCurrent for each CPU with pages, PcpFlushPlanned and what follows.
    Kernel: mm/page_alloc.c:drain_all_pages at v5.4.
    """
    task = machine.current
    for cpu in range(len(machine.cpu_to_node)):
        full = [each for each in (machine.zones() if zone is None else (zone,)) if each.pageset[cpu].count]
        if full:
            set_current(machine, cpu)
        for each in full:
            drain_pages_zone(each, cpu)
    if machine.current is not task:
        set_current(machine, task.cpu, task.flags, task.in_interrupt, task.rt_task, task.oom_victim)


@mirrors("mm/page_alloc.c")
def drain_zone_pages(zone: Zone, cpu: int) -> None:
    """The vmstat worker gives up to `batch` pages of a remote node's zone back."""
    pcp = zone.pageset[cpu]
    if pcp.count:
        free_pcppages_bulk(zone, min(pcp.count, pcp.batch), cpu)


@mirrors("mm/vmstat.c")
def refresh_cpu_vm_stats(machine: Machine, cpu: int) -> None:
    """A CPU's differences go into the counters of every zone (the vmstat worker, about once a second)."""
    for zone in machine.zones():
        fold_diff(zone, cpu)


# ---------------------------------------------------------------- the buddy lists


@mirrors("mm/page_alloc.c")
def __free_pages_ok(zone: Zone, pfn: int, order: int) -> None:
    """Free a block of any order past the per-CPU lists."""
    free_pages_prepare(zone, pfn, order)
    free_one_page(zone, pfn, order, get_pageblock_migratetype(zone, pfn))


@mirrors("mm/page_alloc.c")
def free_one_page(zone: Zone, pfn: int, order: int, migratetype: int) -> None:
    """`__free_one_page` under zone->lock; with isolated pageblocks about, the type is read again."""
    if zone.nr_isolate_pageblock or migratetype == zone.machine.config.migrate_isolate:
        migratetype_now = get_pageblock_migratetype(zone, pfn)
        return __free_one_page(zone, pfn, order, migratetype_now)
    __free_one_page(zone, pfn, order, migratetype)


@mirrors("mm/page_alloc.c")
def __free_one_page(zone: Zone, pfn: int, order: int, migratetype: int) -> None:
    """Merge a block with its buddies as far as it goes, and put the result on the list of `migratetype`.

    Notes
    -----
    Emits BuddyChecked for each partner looked at, DelPageFromFreeArea for each merged one, then AddToFreeArea or
    AddToFreeAreaTail. The buddy's type is not asked: blocks of different types merge.
    Kernel: mm/page_alloc.c:__free_one_page.
    """
    config = zone.machine.config
    if migratetype != config.migrate_isolate:
        __mod_zone_freepage_state(zone, 1 << order, migratetype)
    head, grown = pfn, order
    while grown < MAX_ORDER - 1:
        buddy_pfn = head ^ (1 << grown)
        if not page_is_buddy(zone, head, buddy_pfn, grown, False):
            break
        if grown >= config.pageblock_order and zone.nr_isolate_pageblock and \
                __isolation_differs(zone, buddy_pfn, migratetype):
            break
        __take_buddy(zone, buddy_pfn, grown, migratetype)
        head &= buddy_pfn
        grown += 1
    beside_parent = head & ~(1 << grown) ^ (2 << grown)
    if grown < MAX_ORDER - 2 and page_is_buddy(zone, head, beside_parent, grown + 1, True):  # the tail rule
        add_to_free_area_tail(zone, head, grown, migratetype)
    else:
        add_to_free_area(zone, head, grown, migratetype)


@mirrors("mm/page_alloc.c")
def page_is_buddy(zone: Zone, pfn: int, buddy_pfn: int, order: int, higher: bool) -> bool:
    """Is the partner a free block (or a guard block) of the same order, in the same zone?

    `higher` says what the question is for: to merge (False), or to choose the end of the list (True).
    """
    block = zone.buddy.get(buddy_pfn)
    is_buddy = block is not None and block[0] == order
    if not is_buddy and zone.guard:
        is_buddy = zone.guard.get(buddy_pfn) == order
    if zone.on:
        zone.trace.emit(ev.BuddyChecked(zone.nid, zone.zone_idx, pfn, buddy_pfn, order, is_buddy, higher))
    return is_buddy


def __take_buddy(zone: Zone, buddy_pfn: int, order: int, migratetype: int) -> None:
    """The buddy leaves its list; a guard block, which is on none, gives its pages back to the counter."""
    block = zone.buddy.get(buddy_pfn)
    if block is not None:
        del_page_from_free_area(zone, buddy_pfn, order, block[1])
        return
    clear_guard(zone, buddy_pfn, order)
    if migratetype != zone.machine.config.migrate_isolate:
        __mod_zone_freepage_state(zone, 1 << order, migratetype)


def __isolation_differs(zone: Zone, buddy_pfn: int, migratetype: int) -> bool:
    """At pageblock_order and above, an isolated pageblock merges with another isolated one only."""
    buddy_mt = get_pageblock_migratetype(zone, buddy_pfn)
    return migratetype != buddy_mt and zone.machine.config.migrate_isolate in (migratetype, buddy_mt)


def free_pages_core(zone: Zone, pfn: int, order: int) -> None:
    """Hand a block of memblock to the buddy lists at boot: no owner to forget, no per-CPU list (its high is 0).

    Kernel: mm/page_alloc.c:__free_pages_core.
    """
    __free_one_page(zone, pfn, order, get_pageblock_migratetype(zone, pfn))
