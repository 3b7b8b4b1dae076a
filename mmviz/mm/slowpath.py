"""When the fast path found nothing: lower marks for who may have them, and then the door to reclaim.

    wake kswapd; try again down to the MIN mark (less for ALLOC_HIGH, ALLOC_HARDER)
    try once more with the reserves of those who free memory (ALLOC_NO_WATERMARKS, ALLOC_OOM)
    may not reclaim           -> nopage: the kernel's own NULL
    may reclaim or compact    -> the kernel would; the simulator stops and says so (WouldReclaim)

The two ends look alike to the caller (None) and are different events: only the first is an answer of the kernel.
Reclaim, compaction, the OOM killer and the retries around them are not simulated.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    __GFP_ATOMIC,
    __GFP_DIRECT_RECLAIM,
    __GFP_FS,
    __GFP_HIGH,
    __GFP_IO,
    __GFP_KSWAPD_RECLAIM,
    __GFP_MEMALLOC,
    __GFP_MOVABLE,
    __GFP_NOFAIL,
    __GFP_NOMEMALLOC,
    __GFP_NOWARN,
    ALLOC_CMA,
    ALLOC_CPUSET,
    ALLOC_HARDER,
    ALLOC_HIGH,
    ALLOC_KSWAPD,
    ALLOC_NO_WATERMARKS,
    ALLOC_OOM,
    ALLOC_WMARK_MIN,
    MIGRATE_MOVABLE,
    PAGE_ALLOC_COSTLY_ORDER,
    PF_MEMALLOC,
    PF_MEMALLOC_NOCMA,
    PF_MEMALLOC_NOFS,
    PF_MEMALLOC_NOIO,
)
from ..trace import mirrors
from . import events as ev
from .freelist import AllocContext, get_page_from_freelist
from .vmscan import wakeup_kswapd
from .zonelist import first_zones_zonelist, gfpflags_to_migratetype

if TYPE_CHECKING:
    from .machine import Machine, Task


@mirrors("mm/page_alloc.c")
def __alloc_pages_slowpath(machine: Machine, gfp_mask: int, order: int, ac: AllocContext) -> int | None:
    """The slow path, as far as it goes without reclaim.

    Returns
    -------
    int or None
        A pfn, or None with AllocationFailed (the kernel's NULL) or WouldReclaim (where the simulator stops).

    Notes
    -----
    Kernel: mm/page_alloc.c:__alloc_pages_slowpath.
    """
    gfp = gfp_mask
    if gfp & __GFP_ATOMIC and gfp & __GFP_DIRECT_RECLAIM:
        gfp &= ~__GFP_ATOMIC
        if machine.on:
            machine.trace.emit(ev.Warned("WARN_ON_ONCE: __GFP_ATOMIC and __GFP_DIRECT_RECLAIM exclude each other"))
    alloc_flags = gfp_to_alloc_flags(machine, gfp)
    if machine.on:
        machine.trace.emit(ev.SlowpathEntered(gfp, order, alloc_flags))
    if ac.preferred_zone is None:
        return __nopage(machine, gfp, order, ac)
    if alloc_flags & ALLOC_KSWAPD:
        wake_all_kswapds(order, ac)
    pfn = get_page_from_freelist(machine, gfp, order, alloc_flags, ac)
    return __with_reserves(machine, gfp, order, alloc_flags, ac) if pfn is None else pfn


def __with_reserves(machine: Machine, gfp: int, order: int, alloc_flags: int, ac: AllocContext) -> int | None:
    """Label retry, once: the reserves, then the end."""
    reserve_flags = __gfp_pfmemalloc_flags(machine.current, gfp)
    if machine.config.compaction and __would_compact_first(gfp, order, ac.migratetype, reserve_flags):
        __stop(machine, "compact", order, gfp)
        return None
    if alloc_flags & ALLOC_KSWAPD:
        wake_all_kswapds(order, ac)
    if reserve_flags or not alloc_flags & ALLOC_CPUSET:
        ac.nodemask = None
        ac.preferred_zone = first_zones_zonelist(ac.zonelist, ac.high_zoneidx, None)
    pfn = get_page_from_freelist(machine, gfp, order, reserve_flags or alloc_flags, ac)
    if pfn is not None:
        return pfn
    if gfp & __GFP_DIRECT_RECLAIM and not machine.current.flags & PF_MEMALLOC:
        __stop(machine, "reclaim", order, gfp)
        return None
    return __nopage(machine, gfp, order, ac)


def __nopage(machine: Machine, gfp: int, order: int, ac: AllocContext) -> int | None:
    """Label nopage: the kernel's NULL. With __GFP_NOFAIL it tries with ALLOC_HARDER, and would then try for ever."""
    if gfp & __GFP_NOFAIL and gfp & __GFP_DIRECT_RECLAIM:
        pfn = get_page_from_freelist(machine, gfp, order, ALLOC_HARDER, ac)
        if pfn is None:
            __stop(machine, "retry", order, gfp)
        return pfn
    if machine.on:
        machine.trace.emit(ev.AllocationFailed(order, gfp, not gfp & __GFP_NOWARN))
    return None


def __stop(machine: Machine, what: str, order: int, gfp: int) -> None:
    if machine.on:
        machine.trace.emit(ev.WouldReclaim(what, order, gfp))


def __would_compact_first(gfp: int, order: int, migratetype: int, reserve_flags: int) -> bool:
    """Does the kernel try direct compaction before anything else? For costly orders, and for types that do not move."""
    return bool(gfp & __GFP_DIRECT_RECLAIM and not reserve_flags
                and (order > PAGE_ALLOC_COSTLY_ORDER or (order and migratetype != MIGRATE_MOVABLE)))


def current_gfp_context(task: Task, gfp_mask: int) -> int:
    """The mask without what the running task has forbidden itself (include/linux/sched/mm.h:current_gfp_context)."""
    if task.flags & PF_MEMALLOC_NOIO:
        gfp_mask &= ~(__GFP_IO | __GFP_FS)
    elif task.flags & PF_MEMALLOC_NOFS:
        gfp_mask &= ~__GFP_FS
    return gfp_mask & ~__GFP_MOVABLE if task.flags & PF_MEMALLOC_NOCMA else gfp_mask


@mirrors("mm/page_alloc.c")
def gfp_to_alloc_flags(machine: Machine, gfp_mask: int) -> int:
    """The alloc_flags of the slow path: the MIN mark, and privileges. ALLOC_NOFRAGMENT is gone.

    Kernel: mm/page_alloc.c:gfp_to_alloc_flags.
    """
    task = machine.current
    alloc_flags = ALLOC_WMARK_MIN | ALLOC_CPUSET | (gfp_mask & __GFP_HIGH and ALLOC_HIGH)
    if gfp_mask & __GFP_ATOMIC:
        alloc_flags &= ~ALLOC_CPUSET
        if not gfp_mask & __GFP_NOMEMALLOC:
            alloc_flags |= ALLOC_HARDER
    elif task.rt_task and not task.in_interrupt:
        alloc_flags |= ALLOC_HARDER
    if gfp_mask & __GFP_KSWAPD_RECLAIM:
        alloc_flags |= ALLOC_KSWAPD
    if gfpflags_to_migratetype(machine, gfp_mask) == MIGRATE_MOVABLE and machine.config.migrate_cma is not None:
        alloc_flags |= ALLOC_CMA
    return alloc_flags


@mirrors("mm/page_alloc.c")
def __gfp_pfmemalloc_flags(task: Task, gfp_mask: int) -> int:
    """The reserves of those who free memory: ALLOC_NO_WATERMARKS, ALLOC_OOM, or 0.

    Kernel: mm/page_alloc.c:__gfp_pfmemalloc_flags. Softirq servicing is not told from other interrupts.
    """
    if gfp_mask & __GFP_NOMEMALLOC:
        return 0
    if gfp_mask & __GFP_MEMALLOC or (task.flags & PF_MEMALLOC and not task.in_interrupt):
        return ALLOC_NO_WATERMARKS
    return ALLOC_OOM if task.oom_victim and not task.in_interrupt else 0


@mirrors("mm/page_alloc.c")
def wake_all_kswapds(order: int, ac: AllocContext) -> None:
    """Wake kswapd once for each node of the walk, for its first zone there."""
    last_nid = None
    for zone in ac.zones():
        if zone.nid != last_nid:
            wakeup_kswapd(zone, order, "low")
            last_nid = zone.nid
