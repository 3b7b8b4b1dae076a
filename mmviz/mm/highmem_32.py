"""kmap and kmap_atomic: how a 32-bit kernel looks at a page that has no address (arch/x86/mm/highmem_32.c).

    kmap          an address for everybody, from a ring of slots (highmem.py); its user may sleep with it, and for it
    kmap_atomic   an address on this CPU alone, from a pile in the fixmap that grows downward. No lock, no search, no
                  sleep: the last one is given back first, and until then the CPU may neither sleep nor take a fault

                  FIX_KMAP_BEGIN  0xfffbb000  | A |      __kmap_atomic_idx of CPU 0 is 2
                                  0xfffba000  | B |  <-- the only one that may be given back now
                                  0xfffb9000  |   |

A page of low memory gets its ordinary address from both, no slot, and from kmap_atomic the prohibition all the same.
On a 64-bit kernel all memory is low: both are page_address, and only the manners remain.

Left out: preempt_disable, which always goes with pagefault_disable here; kmap_atomic_pfn and iomap_atomic.
"""
from __future__ import annotations

from ..errors import KernelBug
from ..kernel import PAGE_SIZE
from ..trace import mirrors
from . import events
from . import highmem_events as ev
from .highmem import kmap_high, kmap_to_page, kunmap_high, page_address
from .kmap_pte import clear_kmap_pte, kmap_pte_pfn, set_kmap_pte
from .machine import Machine
from .mmzone import Zone
from .page_ref import page_zone
from .pkmap import (
    kmap_atomic_idx_pop,
    kmap_atomic_idx_push,
    kmap_part,
    pagefault_disable,
    pagefault_enable,
)
from .watermark import is_highmem


@mirrors("arch/x86/mm/highmem_32.c")
def kmap(machine: Machine, pfn: int) -> int | None:
    """Lend a page an address that is good on all CPUs; the caller may sleep with it, and for it.

    Parameters
    ----------
    pfn : int
        A page of this machine; ValueError if there is no such page.

    Returns
    -------
    int or None
        The address. None: every slot has users, and the caller sleeps until one has not.

    Raises
    ------
    KernelBug
        If it would have to sleep where that is forbidden: in an interrupt, or inside a kmap_atomic.

    Notes
    -----
    Emits Kmapped, and what kmap_high emits. Kernel: arch/x86/mm/highmem_32.c:kmap at v5.4; on 64 bit
    include/linux/highmem.h.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.kmap_toy(4)
    >>> [hex(kmap(machine, pfn)) for pfn in (0x1400, 0x1401, 0x1400)]
    ['0xff401000', '0xff402000', '0xff401000']
    """
    zone = page_zone(machine, pfn)
    __might_sleep(machine, zone, pfn)
    vaddr = kmap_high(machine, pfn) if is_highmem(zone) else page_address(machine, pfn)
    if machine.on:
        machine.trace.emit(ev.Kmapped(pfn, vaddr or 0))
    return vaddr


def __might_sleep(machine: Machine, zone: Zone, pfn: int) -> None:
    """A warning (CONFIG_DEBUG_ATOMIC_SLEEP) where sleeping is forbidden; the end where kmap would really sleep."""
    kmap, task = kmap_part(machine), machine.current
    if not (task.in_interrupt or kmap.pagefault_disabled[task.cpu]):
        return
    mapped = pfn in kmap.page_address_maps.values()
    if is_highmem(zone) and not mapped and min(kmap.pkmap_count) > 1:
        raise KernelBug(f"kmap of pfn {pfn:#x} must sleep for a slot where the CPU may not: scheduling while atomic")
    if machine.on:
        machine.trace.emit(events.Warned("sleeping function called from invalid context: kmap where the CPU may not "
                                         "sleep"))


@mirrors("arch/x86/mm/highmem_32.c")
def kunmap(machine: Machine, pfn: int) -> None:
    """Give an address of kmap back. It takes the page, not the address; nothing happens for a page of low memory.

    Raises
    ------
    KernelBug
        In an interrupt, for a page that has no address, or for one that has no users left: BUG() in v5.4 too.

    Notes
    -----
    Emits Kunmapped, and what kunmap_high emits. The page keeps its address until a wrap sweeps the slot.
    Kernel: arch/x86/mm/highmem_32.c:kunmap at v5.4.
    """
    zone = page_zone(machine, pfn)
    if machine.current.in_interrupt:
        raise KernelBug(f"kunmap of pfn {pfn:#x} in an interrupt: BUG() (arch/x86/mm/highmem_32.c:kunmap)")
    count = kunmap_high(machine, pfn) if is_highmem(zone) else -1
    if machine.on:
        machine.trace.emit(ev.Kunmapped(pfn, count))


# ---------------------------------------------------------------- kmap_atomic


@mirrors("arch/x86/mm/highmem_32.c")
def kmap_atomic(machine: Machine, pfn: int) -> int:
    """Lend a page an address on this CPU alone; until it is given back, the CPU may neither sleep nor fault.

    Parameters
    ----------
    pfn : int
        A page of this machine; ValueError if there is no such page. For a low page only the prohibition is new.

    Returns
    -------
    int
        Nested maps get lower addresses.

    Raises
    ------
    KernelBug
        If the CPU has no slot left: a v5.4 without DEBUG_HIGHMEM would take one of the next CPU.

    Notes
    -----
    Emits PagefaultDisable, KmapAtomicIdxPush and SetKmapPte. It does not look whether kmap has the page mapped.
    Kernel: arch/x86/mm/highmem_32.c:kmap_atomic at v5.4; on 64 bit include/linux/highmem.h.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.kmap_toy()
    >>> [hex(kmap_atomic(machine, pfn)) for pfn in (0x1400, 0x1401, 0x1000)]
    ['0xfffbb000', '0xfffba000', '0xc1000000']
    """
    return kmap_atomic_prot(machine, pfn)


@mirrors("arch/x86/mm/highmem_32.c")
def kmap_atomic_prot(machine: Machine, pfn: int) -> int:
    """kmap_atomic with a protection; the simulator knows one, kmap_prot."""
    high, cpu = is_highmem(page_zone(machine, pfn)), machine.current.cpu
    if high:
        __check_slot(machine, cpu)
    pagefault_disable(machine, cpu)
    return __map_fixmap(machine, pfn, cpu) if high else page_address(machine, pfn)


def __check_slot(machine: Machine, cpu: int) -> None:
    kmap = kmap_part(machine)
    depth, vaddr = kmap.kmap_atomic_idx[cpu], _fixmap_top(machine, cpu, 0)
    if machine.strict and depth >= kmap.windows.km_type_nr:
        raise KernelBug(f"kmap_atomic nested {depth + 1} deep on CPU {cpu}, KM_TYPE_NR is {kmap.windows.km_type_nr}; a "
                        "v5.4 without DEBUG_HIGHMEM would take a slot of the next CPU")
    if kmap_pte_pfn(machine, vaddr) is not None:
        raise KernelBug(f"the fixmap slot {vaddr:#x} is in use: BUG() (arch/x86/mm/highmem_32.c:kmap_atomic_prot)")


def __map_fixmap(machine: Machine, pfn: int, cpu: int) -> int:
    kmap_atomic_idx_push(machine, cpu)
    vaddr = _fixmap_top(machine, cpu, 1)
    set_kmap_pte(machine, vaddr, pfn)
    return vaddr


def _fixmap_top(machine: Machine, cpu: int, below: int) -> int:
    """The address of a CPU's next fixmap slot (`below` 0), or of the one that it took last (1)."""
    kmap = kmap_part(machine)
    return kmap.windows.fix_to_virt(kmap.kmap_atomic_idx[cpu] - below + kmap.windows.km_type_nr * cpu)


def kunmap_atomic(machine: Machine, vaddr: int) -> None:
    """Give an address of kmap_atomic back. It takes the address, not the page.

    Parameters
    ----------
    vaddr : int
        What kmap_atomic returned; an offset within the page does not matter.

    Raises
    ------
    KernelBug
        If it is not the last one taken on this CPU, or none is. A plain v5.4 does not look: with DEBUG_HIGHMEM it warns
        once, and either way clears the *last* entry, whatever address it was given, and flushes the TLB entry of that
        address. With ``machine.strict = False`` this is what happens here.

    Notes
    -----
    Emits ClearKmapPte, TlbEntryFlushed, KmapAtomicIdxPop and PagefaultEnable. Kernel: include/linux/highmem.h:
    kunmap_atomic at v5.4, a macro around __kunmap_atomic that refuses a struct page at compile time.
    """
    __kunmap_atomic(machine, vaddr)


@mirrors("arch/x86/mm/highmem_32.c")
def __kunmap_atomic(machine: Machine, vaddr: int) -> None:
    """kunmap_atomic, once it is sure that this is an address."""
    cpu, windows = machine.current.cpu, kmap_part(machine).windows
    if machine.strict:
        __check_last(machine, vaddr, cpu)
    if windows.in_fixmap(vaddr):
        __kpte_clear_flush(machine, _fixmap_top(machine, cpu, 1), vaddr & -PAGE_SIZE)
        kmap_atomic_idx_pop(machine, cpu)
    pagefault_enable(machine, cpu)


def __check_last(machine: Machine, vaddr: int, cpu: int) -> None:
    """What CONFIG_DEBUG_HIGHMEM would notice, and a little more."""
    kmap, last = kmap_part(machine), _fixmap_top(machine, cpu, 1)
    if not kmap.pagefault_disabled[cpu]:
        raise KernelBug(f"kunmap_atomic of {vaddr:#x} on CPU {cpu}, which has no kmap_atomic open")
    if not kmap.windows.in_fixmap(vaddr):
        kmap_to_page(machine, vaddr)
        if kmap.windows.in_pkmap(vaddr):
            raise KernelBug(f"kunmap_atomic of {vaddr:#x}, which is an address of kmap: BUG() with DEBUG_HIGHMEM")
    elif vaddr & -PAGE_SIZE != last or not kmap.kmap_atomic_idx[cpu]:
        raise KernelBug(f"kunmap_atomic of {vaddr:#x} out of order: the last one of CPU {cpu} is {last:#x}. A v5.4 "
                        f"without DEBUG_HIGHMEM says nothing, and clears {last:#x}, which is still in use")


def __kpte_clear_flush(machine: Machine, entry: int, vaddr: int) -> None:
    """Clear the entry of one address, flush the TLB entry of another; they differ if the order was wrong."""
    clear_kmap_pte(machine, entry)
    if machine.on:
        machine.trace.emit(ev.TlbEntryFlushed(vaddr))


# ---------------------------------------------------------------- zeros, and a later kernel


@mirrors("include/linux/highmem.h")
def clear_highpage(machine: Machine, pfn: int) -> None:
    """Fill a page with zeros, through an address that is lent for it. The simulator keeps no contents."""
    vaddr = kmap_atomic(machine, pfn)
    if machine.on:
        machine.trace.emit(ev.PageCleared(pfn, vaddr))
    kunmap_atomic(machine, vaddr)


def kmap_local_page(machine: Machine, pfn: int) -> int:
    """Lend a page an address to this task alone, which may sleep with it: not in v5.4, but in 5.11 and later.

    Returns
    -------
    int
        As kmap_atomic would give, and nothing is forbidden.

    Notes
    -----
    A contrast for the lesson, told as far as one task sees it. In 5.11 the pile belongs to the task: it is saved and
    restored when another task runs, KM_MAX_IDX is 16, and kmap_atomic is this with sleep and faults forbidden.
    """
    if not is_highmem(page_zone(machine, pfn)):
        return page_address(machine, pfn)
    __check_slot(machine, machine.current.cpu)
    return __map_fixmap(machine, pfn, machine.current.cpu)


def kunmap_local(machine: Machine, vaddr: int) -> None:
    """Give an address of kmap_local_page back: the last one first, as in 5.11."""
    cpu, kmap = machine.current.cpu, kmap_part(machine)
    if kmap.windows.in_fixmap(vaddr):
        last = _fixmap_top(machine, cpu, 1)
        if vaddr & -PAGE_SIZE != last:
            raise KernelBug(f"kunmap_local of {vaddr:#x} out of order: the last one of CPU {cpu} is {last:#x}")
        __kpte_clear_flush(machine, last, last)
        kmap_atomic_idx_pop(machine, cpu)
