"""What a Challenge asks for: a text, a machine, and a predicate on what your requests have left.

    judge(machine, events) -> (missing, points)   missing: "" if all is as asked; points: the more, the better, 1 if
                                                  there is nothing to win

Numbers come from the seed; each state can be reached by a few lines (tests/explore/test_challenge.py does it).
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from ..draw.slab_reading import slab_usage
from ..kernel import (
    GFP_NOWAIT,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    PAGE_SHIFT,
    PAGE_SIZE,
    PROT_READ,
    PROT_WRITE,
)
from ..mm import events as ev
from ..mm import highmem_events, vm_events
from ..mm.boot import boot, toy
from ..mm.boot_32 import kmap_toy
from ..mm.fork import mmput
from ..mm.get_free_pages import alloc_pages
from ..mm.highmem_32 import kmap, kunmap
from ..mm.machine import Machine
from ..mm.pgalloc import mm_alloc
from ..mm.pgtable import frame_of
from ..mm.pkmap import kmap_part
from ..mm.util import vm_mmap_pgoff
from ..mm.vm import vm
from ..mm.vmstat import counted
from ..mm.workload import take
from ..trace import Event

Verdict = tuple[str, int]
Judge = Callable[[Machine, list[Event]], Verdict]
START = 0x7F0000000000
HUGE = 512
LEAST_ON_LISTS = 800


class Task(NamedTuple):
    """One challenge: what is asked, where it begins, and who judges."""

    text: str
    machine: Machine
    judge: Judge


def _verdict(points: int, *demands: tuple[bool, str]) -> Verdict:
    """The first demand that is not met, in words; or the points."""
    missing = next((words for met, words in demands if not met), "")
    return missing, 0 if missing else points


def _of(events: list[Event], *kinds: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kinds)]


# ---------------------------------------------------------------- the page allocator


def refuse_order(rng: Random) -> Task:
    """03b: no block of an order, and as many pages on the lists as you can."""
    order = rng.randint(3, 6)

    def judge(machine: Machine, events: list[Event]) -> Verdict:
        listed = machine.zones()[0].nr_pages_on_lists()
        asked: list[Event] = []
        with machine.trace.listen(asked.append):
            pfn = alloc_pages(machine, GFP_NOWAIT, order)
        return _verdict(listed, (pfn is None, f"a request of order {order} is still served"),
                        (_of(asked, ev.WatermarkChecked)[-1].reason == "no block of that order",
                         "it is the watermark that refuses: too few pages are left"),
                        (listed >= LEAST_ON_LISTS, f"{listed} pages are on the lists, {LEAST_ON_LISTS} are wanted"))

    return Task(f"toy(4), fresh. Make a GFP_NOWAIT request of order {order} fail **for want of a block**, "
                f"while at least {LEAST_ON_LISTS} of the 1,024 pages are on the free lists. Each of them is a point.",
                toy(4), judge)


def huge_pages(rng: Random) -> Task:
    """04: whole pageblocks come together where no kernel page lies."""
    machine, blocks = toy(16, grouping=False), rng.randint(1, 2)
    pages = take(machine, GFP_NOWAIT)
    spoilt = rng.sample(sorted({page // HUGE for page in pages}), 5)
    kernel = sorted(rng.choice([page for page in pages if page // HUGE == number]) for number in spoilt)

    def judge(machine: Machine, events: list[Event]) -> Verdict:
        zone = machine.zones()[0]
        freed = len(pages) - len(zone.allocated)
        return _verdict(1, (all(page in zone.allocated for page in kernel), "a page of the kernel was freed"),
                        (freed <= blocks * HUGE, f"{freed} pages were freed, at most {blocks * HUGE} are allowed"),
                        (zone.free_area[9].nr_free + 2 * zone.free_area[10].nr_free >= blocks,
                         "there are too few blocks of order 9: one page in use keeps its pageblock in pieces"))

    listed = ", ".join(f"{page:#x}" for page in kernel)
    return Task(f"Users hold all single pages of toy(16), which does not group by type, down to MIN. The kernel holds "
                f"five among them, for good: {listed}. Make room for **{blocks}** huge page{'s' * (blocks > 1)} (order "
                f"9): free at most {blocks * HUGE} pages of the users. `machine.zone(\"DMA32\").allocated` names all.",
                machine, judge)


def numa_counters(rng: Random) -> Task:
    """02: who served whom, in the kernel's own counters."""
    machine = boot([("DMA32", 0x1000, 0x400, 0), ("DMA32", 0x1400, 0x400, 1)])
    misses, turns = rng.randint(5, 60), rng.randint(5, 60)

    def judge(machine: Machine, events: list[Event]) -> Verdict:
        found = Counter(name for event in events for nid, name in counted(event) if nid == 1)
        return _verdict(1, (found["numa_miss"] == misses, f"numa_miss of node 1 is {found['numa_miss']}, not {misses}"),
                        (found["numa_interleave"] == turns, "numa_interleave of node 1 is "
                         f"{found['numa_interleave']}, not {turns}"))

    return Task(f"Two nodes of 4 MiB; you run on node 0. Bring the counters of **node 1** to numa_miss = {misses} and "
                f"numa_interleave = {turns}, as `mv.numa_stat` counts them.", machine, judge)


# ---------------------------------------------------------------- page tables and pins


def _process(pages: int, flags: int) -> Machine:
    """toy(4) with a process that has one mapping, at START."""
    machine = toy(4)
    mm = mm_alloc(machine, 1, "the writer")
    assert mm is not None
    vm_mmap_pgoff(machine, mm, 0, START, pages << PAGE_SHIFT, PROT_READ | PROT_WRITE,
                  MAP_FIXED | MAP_ANONYMOUS | flags, 0)
    return machine


def tables_left(rng: Random) -> Task:
    """01: remap_pfn_range fails half-way, and undoes nothing."""
    wanted = rng.randint(1, 6)

    def judge(machine: Machine, events: list[Event]) -> Verdict:
        space = vm(machine).mm[1]
        asked = _of(events, vm_events.RemapChecked)
        left = sum(frame_of(machine, space, START + i * PAGE_SIZE) is not None for i in range(1024))
        total = sum(event.size >> PAGE_SHIFT for event in asked)
        return _verdict(1, (len(asked) == 1, f"remap_pfn_range is to be called once, it was called {len(asked)} times"),
                        (left < total, "the call did not fail: -ENOMEM is what a missing page table gives"),
                        (left == wanted, f"{left} entries are left, not {wanted}"))

    return Task(f"toy(4) with one process (pid 1) and one shared mapping of 1,024 pages at {START:#x}, which crosses a "
                "boundary of 2 MiB. Call remap_pfn_range once, for any frame, so that it returns **-ENOMEM and leaves "
                f"exactly {wanted} entr{'ies' if wanted > 1 else 'y'}** behind. `mv.vm(machine).mm[1].mmap[0]` is the "
                "mapping.", _process(1024, MAP_SHARED), judge)


def pin_leak(rng: Random) -> Task:
    """05: a pin that is not put back outlives the process."""
    wanted = rng.randint(2, 6)

    def judge(machine: Machine, events: list[Event]) -> Verdict:
        space = vm(machine).mm[1]
        reached = sum(frame_of(machine, space, START + i * PAGE_SIZE) is not None for i in range(8))
        mmput(machine, space)
        left = len(machine.zones()[0].allocated)
        pinned = bool(_of(events, vm_events.UserPagesGot)) and reached == 8
        return _verdict(1, (pinned, f"{reached} of the 8 pages were reached by get_user_pages"),
                        (left == wanted, f"after the exit {left} of its pages are still in use, not {wanted}"))

    return Task(f"toy(4) with one process (pid 1): one private mapping of 8 pages at {START:#x}, untouched. Pin all 8 "
                f"pages with mv.get_user_pages, and put back so few that, when the process exits, **exactly {wanted} "
                "pages** stay in use for good. (The judge lets it exit.)", _process(8, MAP_PRIVATE), judge)


# ---------------------------------------------------------------- windows and slabs


def kmap_sleep(rng: Random) -> Task:
    """06: all windows in use, and one page more."""
    machine = kmap_toy(rng.choice((4, 8)))
    for pfn in range(0x1400, 0x1400 + rng.randint(1, 3)):
        kmap(machine, pfn)
        if rng.random() < 0.5:
            kunmap(machine, pfn)
    counts = kmap_part(machine).pkmap_count
    fewest = sum(count < 2 for count in counts) + 1

    def judge(machine: Machine, events: list[Event]) -> Verdict:
        calls = len(_of(events, highmem_events.Kmapped, highmem_events.Kunmapped))
        return _verdict(1, (bool(_of(events, highmem_events.AddWaitQueue)), "nobody sleeps"),
                        (calls <= fewest, f"{calls} calls were made, and fewer would do"))

    listed = ", ".join(map(str, counts))
    return Task(f"kmap_toy({len(counts)}) with a past: the counts of its slots are {listed}. Pages 0x1400 to 0x17ff "
                "are high memory. Make a kmap **sleep, with as few calls** of kmap and kunmap as you can.",
                machine, judge)


def empty_slabs(rng: Random) -> Task:
    """07: pages that hold no object, and do not go home."""
    wanted, size = rng.randint(6, 14), 256

    def judge(machine: Machine, events: list[Event]) -> Verdict:
        usage = slab_usage(machine)
        return _verdict(1, (usage.pages > 0, "no slab was made"),
                        (not usage.used, f"{usage.used:,} bytes are in objects in use"),
                        (usage.pages == wanted, f"the slabs hold {usage.pages} pages, not {wanted}"))

    return Task(f"toy(4), one CPU, no slab yet. With requests for {size} bytes and frees, leave **exactly {wanted} "
                "pages in slabs, and no object in use**.", toy(4), judge)


CHALLENGES: dict[str, Callable[[Random], Task]] = {
    "refuse_order": refuse_order, "huge_pages": huge_pages, "numa_counters": numa_counters,
    "tables_left": tables_left, "pin_leak": pin_leak, "kmap_sleep": kmap_sleep, "empty_slabs": empty_slabs,
}
