"""After a miss: do to the state what the kernel did, as far as the trace tells it.

    an allocation       its thefts, the pages of its refill, and the block that it returned
    a free              onto the pile; what a flush took from there is what the trace says
    of what is free     it is taken off the lists first: the kernel took it without a word, as compaction does

This is the one place outside the primitives that writes into a Machine. It is no rule of the kernel.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, MutableSequence, Sequence
from typing import Any

from ..kernel import MIGRATE_MOVABLE, MIGRATE_PCPTYPES, NR_FREE_PAGES
from ..mm.fallback import move_freepages_block
from ..mm.machine import Machine, set_current
from ..mm.mmzone import PerCpuPages, Zone
from ..mm.page_free import __free_one_page, free_the_page, free_unref_page_prepare
from ..mm.page_ref import page_zone
from ..mm.zone import (
    __mod_zone_page_state,
    add_to_free_area,
    del_page_from_free_area,
    move_to_free_area,
    pcp_list_add,
    pcp_list_add_tail,
    set_page_refcounted,
    set_pageblock_migratetype,
    set_pcppage_migratetype,
)
from .ftrace import Row


class Mender:
    """Runs operations; one that was mispredicted is done as its rows say.

    A page that was predicted wrongly for the third time is taken off the lists: it stands where it would be used
    next, and the kernel uses others; so it is not free there.
    """

    def __init__(self, run: Callable[[Machine, Any], object]) -> None:
        self._run = run
        self._mended: dict[int, list[int]] = {}  # number of an operation -> the pages that are not free after it
        self._wrong: Counter[int] = Counter()

    def learn(self, number: int, pages: set[int]) -> None:
        """This operation was mispredicted, and these pages did not leave the kernel's lists."""
        self._wrong.update(pages)
        self._mended[number] = sorted(pfn for pfn in pages if self._wrong[pfn] > 2)

    def run(self, machine: Machine, operation: tuple[int, Row, list[Row]]) -> None:
        """One operation, predicted or mended."""
        number, row, inner = operation
        if number not in self._mended:
            self._run(machine, operation)
            return
        mend(machine, row, inner)
        for pfn in self._mended[number]:
            _take_out(machine, row[1], pfn, row[3] if row[0] == "a" else 0)


def mend(machine: Machine, row: Row, inner: Sequence[Row]) -> None:
    """Do an operation whose prediction has failed, as its rows say."""
    if row[1] != machine.current.cpu:
        set_current(machine, row[1])
    if row[0] == "a":
        return force(machine, row, inner)
    if row[0] in "fp" and is_free(machine, row):
        _take_out(machine, row[1], row[2], _order(row))
    if row[0] == "p":
        free_unref_page_prepare(page_zone(machine, row[2]), row[2])
    elif _order(row):
        free_the_page(page_zone(machine, row[2]), row[2], row[3])
    else:
        _commit(machine, row, inner)


def force(machine: Machine, row: Row, inner: Sequence[Row] = ()) -> None:
    """Hand out the block that the kernel handed out, wherever it is free; a refused request takes nothing."""
    refill = [each for each in inner if each[0] == "z" and row[3] == 0]
    for each in inner:
        if each[0] == "x":
            _steal(page_zone(machine, each[2]), *each[2:])
    for zone in machine.zones():
        pages = [each for each in refill if page_zone(machine, each[2]) is zone]
        if pages:  # the list was empty
            pcp = zone.pageset[row[1]]
            _take_from_pcp(zone, pcp, pcp.lists[row[4]], list(pcp.lists[row[4]]))
        _leave(zone, row[1], sum(_to_pcp(zone, row[1], row[4], pfn, mt) for _, _, pfn, _, mt in pages))
    if row[2] is not None:
        zone = page_zone(machine, row[2])
        _leave(zone, row[1], _take(zone, row[2], row[3]))
        set_page_refcounted(zone, row[2], row[3])


def is_free(machine: Machine, row: Row) -> bool:
    """Whether a row frees what is on a list here."""
    pfn, zone = row[2], page_zone(machine, row[2])
    return pfn not in zone.allocated and any(
        zone.block_of(page) or page in zone.index for page in range(pfn, pfn + (1 << _order(row))))


def _order(row: Row) -> int:
    return row[3] if row[0] == "f" else 0


def _take_out(machine: Machine, cpu: int, pfn: int, order: int) -> None:
    zone = page_zone(machine, pfn)
    _leave(zone, cpu, _take(zone, pfn, order))


def _commit(machine: Machine, row: Row, inner: Sequence[Row]) -> None:
    """The page of a row goes on the pile ("drain": none does), and those of the `d` rows back to the buddy lists."""
    if row[0] != "drain":
        zone = page_zone(machine, row[2])
        if row[0] == "f":
            free_unref_page_prepare(zone, row[2])
        migratetype = zone.index[row[2]]
        pcp_list_add(zone, row[1], migratetype if migratetype < MIGRATE_PCPTYPES else MIGRATE_MOVABLE, row[2])
    for _, cpu, pfn, migratetype in inner:
        _take_out(machine, cpu, pfn, 0)
        zone = page_zone(machine, pfn)
        zone.allocated.pop(pfn, None)
        __free_one_page(zone, pfn, 0, migratetype)


def _leave(zone: Zone, cpu: int, pages: int) -> None:
    """So many pages have left the buddy lists: the counter is told."""
    if pages:
        __mod_zone_page_state(zone, cpu, NR_FREE_PAGES, -pages)


def _to_pcp(zone: Zone, cpu: int, migratetype: int, pfn: int, carried: int) -> int:
    """A page of a refill goes to the tail of a CPU's list; how many pages left the buddy lists for it."""
    taken = _take(zone, pfn, 0)
    zone.allocated.pop(pfn, None)
    set_pcppage_migratetype(zone, pfn, carried)
    pcp_list_add_tail(zone, cpu, migratetype, pfn)
    return taken


def _steal(zone: Zone, pfn: int, alloc_order: int, order: int, start_mt: int, fallback_mt: int, claimed: int) -> None:
    """A theft: the block, or all that is free in its pageblock, goes to the lists of the taker."""
    config = zone.machine.config
    if not claimed:
        return
    for block in range(pfn, pfn + max(1 << order, config.pageblock_nr_pages), config.pageblock_nr_pages):
        set_pageblock_migratetype(zone, block, start_mt)
    if order < config.pageblock_order:
        move_freepages_block(zone, pfn, start_mt)
    elif zone.buddy.get(pfn) == (order, fallback_mt):
        move_to_free_area(zone, pfn, order, start_mt)


def _take(zone: Zone, pfn: int, order: int) -> int:
    """Take a block out of the free block that it lies in; if it is free in parts, part by part.

    Returns how many of its pages were on the buddy lists.
    """
    block = zone.block_of(pfn)
    if block is not None and block[1] >= order:
        _cut_out(zone, pfn, order, *block)
        return 1 << order
    parts = [(head, *zone.buddy[head]) for head in range(pfn, pfn + (1 << order)) if head in zone.buddy]
    for part in parts:
        del_page_from_free_area(zone, *part)
    for pcp in zone.pageset:
        for pages in pcp.lists:
            _take_from_pcp(zone, pcp, pages, [page for page in pages if pfn <= page < pfn + (1 << order)])
    return sum(1 << grown for _, grown, _ in parts)


def _cut_out(zone: Zone, pfn: int, order: int, head: int, grown: int, migratetype: int) -> None:
    del_page_from_free_area(zone, head, grown, migratetype)
    while grown > order:
        grown -= 1
        half = head + (1 << grown)
        head, other = (half, head) if pfn >= half else (head, half)
        add_to_free_area(zone, other, grown, migratetype)


def _take_from_pcp(zone: Zone, pcp: PerCpuPages, pages: MutableSequence[int], gone: Iterable[int]) -> None:
    for pfn in gone:
        pages.remove(pfn)
        pcp.count -= 1
        del zone.index[pfn]
