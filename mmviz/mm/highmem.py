"""The ring behind kmap: how a few addresses go round among many pages that have none (mm/highmem.c).

High memory has frames and no addresses. kmap (highmem_32.py) lends one of LAST_PKMAP slots. The hand moves first, and
looks then:

         0      1      2      3            count 0: free    1: mapped, no users    n + 1: n users
      +------+------+------+------+
      |  0   |  1   |  2   |  2   |        kunmap leaves a slot at 1: it still shows its page. Only when the hand
      +------+------+------+------+        comes round to 0, all slots at 1 are swept, and the TLBs of all CPUs
         ^ next: sweep, then test          with them, once.

A kmap that finds no slot sleeps. Here it returns None, and the event AddWaitQueue says for what it sleeps; kunmap wakes
it (WakeUp), and whoever plays the sleeping task calls kmap again, which is what the kernel does then.

Left out: kmap_lock, cache colouring (not on x86), kmap_high_get (not on x86).
"""
from __future__ import annotations

from ..errors import KernelBug
from ..kernel import PAGE_SHIFT
from ..trace import mirrors
from . import highmem_events as ev
from .kmap_pte import clear_kmap_pte, kmap_pte_pfn, set_kmap_pte
from .machine import Machine
from .page_ref import page_zone
from .pkmap import (
    add_wait_queue,
    kmap_part,
    set_last_pkmap_nr,
    set_page_address,
    set_pkmap_count,
    wake_up,
)
from .watermark import is_highmem

# ---------------------------------------------------------------- addresses


@mirrors("mm/highmem.c")
def page_address(machine: Machine, pfn: int) -> int:
    """The address of a page: in the direct map if it is low, in kmap's window if it is high and mapped there, else 0.

    Parameters
    ----------
    pfn : int
        A page of this machine; ValueError if there is no such page.

    Returns
    -------
    int

    Notes
    -----
    Emits PageAddressFound or PageAddressSearched, on 32-bit builds: a 64-bit kernel has a macro here.
    Kernel: mm/highmem.c:page_address at v5.4 (HASHED_PAGE_VIRTUAL). kmap_atomic leaves no trace in it.

    Examples
    --------
    >>> import mmviz as mv
    >>> hex(page_address(mv.toy(4), 0x1000)), page_address(mv.kmap_toy(), 0x1400)
    ('0xffff888001000000', 0)
    """
    zone = page_zone(machine, pfn)
    if is_highmem(zone):
        return __search_htable(machine, pfn)
    vaddr = machine.config.page_offset + (pfn << PAGE_SHIFT)
    if machine.on and "HighMem" in machine.config.zone_names:
        machine.trace.emit(ev.PageAddressFound(pfn, vaddr))
    return vaddr


def __search_htable(machine: Machine, pfn: int) -> int:
    kmap = kmap_part(machine)
    bucket = kmap.bucket(pfn)
    slots = kmap.page_address_htable.get(bucket, [])
    vaddr = next((kmap.windows.pkmap_addr(nr) for nr in slots if kmap.page_address_maps[nr] == pfn), 0)
    if machine.on:
        machine.trace.emit(ev.PageAddressSearched(pfn, bucket, vaddr))
    return vaddr


def kmap_to_page(machine: Machine, vaddr: int) -> int | None:
    """The page that an address of the kernel shows now: through kmap's windows, or in the direct map.

    Returns
    -------
    int or None
        None where nothing is mapped: whoever uses the address, oopses.

    Raises
    ------
    ValueError
        If the address is neither in a window nor in the direct map.

    Notes
    -----
    Kernel: mm/highmem.c:kmap_to_page at v5.4, which knows kmap's window alone and does not test for an empty entry; the
    fixmap is added, since a lesson wants to look there too. It trusts the tables: a TLB may remember more.
    """
    kmap = kmap_part(machine)
    if kmap.windows.in_pkmap(vaddr) or kmap.windows.in_fixmap(vaddr):
        return kmap_pte_pfn(machine, vaddr)
    pfn = (vaddr - machine.config.page_offset) >> PAGE_SHIFT
    if pfn < 0 or is_highmem(page_zone(machine, pfn)):
        raise ValueError(f"vaddr must be in a kmap window or in the direct map, got {vaddr:#x}")
    return pfn


# ---------------------------------------------------------------- the ring


@mirrors("mm/highmem.c")
def kmap_high(machine: Machine, pfn: int) -> int | None:
    """The slot that a high page has, or a new one; one user more.

    Kernel: mm/highmem.c:kmap_high. Returns the address, or None if the caller sleeps.
    """
    vaddr: int | None = page_address(machine, pfn)
    if not vaddr:
        vaddr = map_new_virtual(machine, pfn)
    if vaddr is not None:
        kmap = kmap_part(machine)
        nr = kmap.windows.pkmap_nr(vaddr)
        set_pkmap_count(machine, nr, kmap.pkmap_count[nr] + 1)
    return vaddr


@mirrors("mm/highmem.c")
def map_new_virtual(machine: Machine, pfn: int) -> int | None:
    """Move the hand until it comes to a free slot, and map the page there; after a whole round the caller sleeps.

    Kernel: mm/highmem.c:map_new_virtual. Emits PkmapProbed for each slot, and AddWaitQueue if there is none.
    """
    left = kmap_part(machine).windows.last_pkmap
    while left:
        nr = get_next_pkmap_nr(machine)
        kmap = kmap_part(machine)
        if nr == 0:  # no_more_pkmaps
            flush_all_zero_pkmaps(machine)
            left = kmap.windows.last_pkmap
        if machine.on:
            machine.trace.emit(ev.PkmapProbed(nr, kmap.pkmap_count[nr]))
        if not kmap.pkmap_count[nr]:
            return __map_slot(machine, nr, pfn)
        left -= 1
    add_wait_queue(machine, pfn)
    return None


def __map_slot(machine: Machine, nr: int, pfn: int) -> int:
    vaddr = kmap_part(machine).windows.pkmap_addr(nr)
    set_kmap_pte(machine, vaddr, pfn)
    set_pkmap_count(machine, nr, 1)
    set_page_address(machine, pfn, vaddr)
    return vaddr


@mirrors("mm/highmem.c")
def get_next_pkmap_nr(machine: Machine) -> int:
    """Move the hand one slot on, round and round; it looks afterwards, so the first slot used is 1."""
    kmap = kmap_part(machine)
    nr = (kmap.last_pkmap_nr + 1) & (kmap.windows.last_pkmap - 1)
    set_last_pkmap_nr(machine, nr)
    return nr


@mirrors("mm/highmem.c")
def flush_all_zero_pkmaps(machine: Machine) -> None:
    """Take the mapping of every slot without users, and flush the TLBs once, if there was one.

    Kernel: mm/highmem.c:flush_all_zero_pkmaps. The only place where a slot becomes free again.
    """
    kmap = kmap_part(machine)
    found = [nr for nr, count in enumerate(kmap.pkmap_count) if count == 1]
    if machine.on:
        machine.trace.emit(ev.ZeroPkmapsSought(len(found)))
    for nr in found:
        vaddr = kmap.windows.pkmap_addr(nr)
        pfn = kmap_pte_pfn(machine, vaddr)
        if pfn is None:
            raise KernelBug(f"slot {nr} is mapped, and its entry is empty: BUG() (mm/highmem.c:flush_all_zero_pkmaps)")
        set_pkmap_count(machine, nr, 0)
        clear_kmap_pte(machine, vaddr)
        set_page_address(machine, pfn, 0)
    if found:
        flush_tlb_kernel_range(machine, kmap.windows.pkmap_addr(0), kmap.windows.pkmap_addr(kmap.windows.last_pkmap))


@mirrors("arch/x86/mm/tlb.c")
def flush_tlb_kernel_range(machine: Machine, start: int, end: int) -> None:
    """All CPUs forget what they know of these addresses: the dear part of a wrap. The simulator has no TLB."""
    if machine.on:
        machine.trace.emit(ev.TlbRangeFlushed(start, end))


@mirrors("mm/highmem.c")
def kmap_flush_unused(machine: Machine) -> None:
    """Sweep out of turn: who changes the attributes of pages wants no stale mapping of them."""
    flush_all_zero_pkmaps(machine)


@mirrors("mm/highmem.c")
def kunmap_high(machine: Machine, pfn: int) -> int:
    """One user less; the last one wakes those who sleep for a slot. Returns the count, 1 if no user is left.

    Kernel: mm/highmem.c:kunmap_high.
    """
    vaddr = page_address(machine, pfn)
    kmap = kmap_part(machine)
    nr = kmap.windows.pkmap_nr(vaddr)
    if not vaddr or kmap.pkmap_count[nr] < 2:
        what = f"its slot {nr} has no users" if vaddr else "it has no address"
        raise KernelBug(f"kunmap of pfn {pfn:#x}, which is not mapped: {what}: BUG() (mm/highmem.c:kunmap_high)")
    count = kmap.pkmap_count[nr] - 1
    set_pkmap_count(machine, nr, count)
    if count == 1 and kmap.pkmap_map_wait:
        wake_up(machine)
    return count
