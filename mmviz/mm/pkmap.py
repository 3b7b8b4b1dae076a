"""What kmap remembers, and the primitives that change it.

    Kmap
      windows                    where they are (init_32.py)
      pkmap_count[nr]            0 free, 1 mapped without users, n + 1 for n users
      last_pkmap_nr              the hand: the slot that was tried last
      page_address_maps[nr]      the page that has this slot's address
      page_address_htable[b]     the slots whose pages hash to bucket b, in the order of the list
      pkmap_map_wait             the pages whose kmap sleeps
      kmap_atomic_idx[cpu]       how many slots of its fixmap a CPU uses
      pagefault_disabled[cpu]    how many reasons there are not to sleep

What the addresses show is in the kernel's page tables (kmap_pte.py). A primitive makes one change and reports it;
everything else (highmem.py) decides, and calls primitives. The part comes into being with the first change: who looks
only gets the state that a kernel has after boot.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..trace import Event, mirrors
from . import highmem_events as ev
from .init_32 import SIZEOF_PAGE, LowHigh, Split, Windows
from .machine import MACHINE_PRIMITIVES, Machine

PA_HASH_ORDER = 7
GOLDEN_RATIO_32 = 0x61C88647


@dataclass(slots=True, eq=False, repr=False)
class Kmap:
    """The state of the windows to high memory."""

    windows: Windows
    cpus: int
    pkmap_count: list[int] = field(default_factory=list)
    last_pkmap_nr: int = 0
    page_address_maps: dict[int, int] = field(default_factory=dict)
    page_address_htable: dict[int, list[int]] = field(default_factory=dict)
    pkmap_map_wait: list[int] = field(default_factory=list)
    kmap_atomic_idx: list[int] = field(default_factory=list)
    pagefault_disabled: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pkmap_count = self.pkmap_count or [0] * self.windows.last_pkmap
        self.kmap_atomic_idx = self.kmap_atomic_idx or [0] * self.cpus
        self.pagefault_disabled = self.pagefault_disabled or [0] * self.cpus

    def bucket(self, pfn: int) -> int:
        """hash_ptr of the page's struct page: 0 to 127.

        >>> Kmap(Windows(mem_map=0xF6687000), 1).bucket(381455)
        69
        """
        page = self.windows.mem_map + pfn * SIZEOF_PAGE
        return (page * GOLDEN_RATIO_32 & 0xFFFFFFFF) >> (32 - PA_HASH_ORDER)

    def copy(self) -> Kmap:
        """A copy that shares nothing."""
        return Kmap(self.windows, self.cpus, self.pkmap_count[:], self.last_pkmap_nr, dict(self.page_address_maps),
                    {bucket: slots[:] for bucket, slots in self.page_address_htable.items()}, self.pkmap_map_wait[:],
                    self.kmap_atomic_idx[:], self.pagefault_disabled[:])

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data; the counts of most slots are 0, and only the others are written."""
        return {
            "windows": list(self.windows), "cpus": self.cpus, "last_pkmap_nr": self.last_pkmap_nr,
            "pkmap_count": [[nr, count] for nr, count in enumerate(self.pkmap_count) if count],
            "page_address_maps": sorted(map(list, self.page_address_maps.items())),
            "page_address_htable": [[b, self.page_address_htable[b]] for b in sorted(self.page_address_htable)],
            "pkmap_map_wait": self.pkmap_map_wait, "kmap_atomic_idx": self.kmap_atomic_idx,
            "pagefault_disabled": self.pagefault_disabled,
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Kmap:
        """The Kmap that `to_dict` described."""
        kmap = cls(Windows(*saved["windows"]), saved["cpus"], [], saved["last_pkmap_nr"],
                   dict(saved["page_address_maps"]), {b: slots[:] for b, slots in saved["page_address_htable"]},
                   saved["pkmap_map_wait"][:], saved["kmap_atomic_idx"][:], saved["pagefault_disabled"][:])
        for nr, count in saved["pkmap_count"]:
            kmap.pkmap_count[nr] = count
        return kmap


def kmap_part(machine: Machine) -> Kmap:
    """The windows of a machine; before the first change a fresh set, which is nobody's yet."""
    part = machine.parts.get("kmap")
    return part if isinstance(part, Kmap) else Kmap(_usual_windows(machine), len(machine.cpu_to_node))


def _usual_windows(machine: Machine) -> Windows:
    """What a 32-bit build has that nobody described further; nothing on a 64-bit one."""
    if "HighMem" not in machine.config.zone_names:
        return Windows()
    low = max(zone.end_pfn for zone in machine.zones() if zone.name in ("DMA", "Normal"))
    return Split(page_offset=machine.config.page_offset).windows(LowHigh(low, machine.zones()[-1].end_pfn))


def _own(machine: Machine) -> Kmap:
    part = kmap_part(machine)
    machine.parts["kmap"] = part
    return part


# ---------------------------------------------------------------- primitives


@mirrors("arch/x86/mm/init_32.c")
def kmap_init(machine: Machine, pkmap_base: int, last_pkmap: int, fixaddr_top: int, fix_kmap_begin: int,
              km_type_nr: int, nr_cpus: int, mem_map: int) -> None:
    """Set the windows up, all slots free."""
    windows = Windows(pkmap_base, last_pkmap, fixaddr_top, fix_kmap_begin, km_type_nr, nr_cpus, mem_map)
    machine.parts["kmap"] = Kmap(windows, len(machine.cpu_to_node))
    if machine.on:
        machine.trace.emit(ev.KmapInit(*windows))


def set_last_pkmap_nr(machine: Machine, nr: int) -> None:
    """last_pkmap_nr = nr."""
    _own(machine).last_pkmap_nr = nr
    if machine.on:
        machine.trace.emit(ev.SetLastPkmapNr(nr))


def set_pkmap_count(machine: Machine, nr: int, count: int) -> None:
    """pkmap_count[nr] = count."""
    _own(machine).pkmap_count[nr] = count
    if machine.on:
        machine.trace.emit(ev.SetPkmapCount(nr, count))


@mirrors("mm/highmem.c")
def set_page_address(machine: Machine, pfn: int, vaddr: int) -> None:
    """Give a page an address, at the tail of its hash bucket, or take it away (0)."""
    kmap = _own(machine)
    bucket = kmap.bucket(pfn)
    if vaddr:
        nr = kmap.windows.pkmap_nr(vaddr)
        kmap.page_address_maps[nr] = pfn
        kmap.page_address_htable.setdefault(bucket, []).append(nr)
    else:
        slots = kmap.page_address_htable[bucket]
        nr = next(slot for slot in slots if kmap.page_address_maps[slot] == pfn)
        slots.remove(nr)
        del kmap.page_address_maps[nr]
        if not slots:
            del kmap.page_address_htable[bucket]
    if machine.on:
        machine.trace.emit(ev.SetPageAddress(pfn, vaddr))


def add_wait_queue(machine: Machine, pfn: int) -> None:
    """The task that asked for this page sleeps on pkmap_map_wait."""
    _own(machine).pkmap_map_wait.append(pfn)
    if machine.on:
        machine.trace.emit(ev.AddWaitQueue(pfn))


@mirrors("include/linux/wait.h")
def wake_up(machine: Machine) -> None:
    """Wake all who sleep on pkmap_map_wait; each of them begins its kmap anew."""
    _own(machine).pkmap_map_wait.clear()
    if machine.on:
        machine.trace.emit(ev.WakeUp())


@mirrors("include/linux/highmem.h")
def kmap_atomic_idx_push(machine: Machine, cpu: int) -> int:
    """The next slot of this CPU's fixmap: 0, 1, 2 ..."""
    kmap = _own(machine)
    kmap.kmap_atomic_idx[cpu] += 1
    if machine.on:
        machine.trace.emit(ev.KmapAtomicIdxPush(cpu))
    return kmap.kmap_atomic_idx[cpu] - 1


@mirrors("include/linux/highmem.h")
def kmap_atomic_idx_pop(machine: Machine, cpu: int) -> None:
    """This CPU's last slot of the fixmap is free again."""
    _own(machine).kmap_atomic_idx[cpu] -= 1
    if machine.on:
        machine.trace.emit(ev.KmapAtomicIdxPop(cpu))


@mirrors("include/linux/uaccess.h")
def pagefault_disable(machine: Machine, cpu: int) -> None:
    """No sleep and no page fault from here on; with preempt_disable, which kmap_atomic always calls too."""
    _own(machine).pagefault_disabled[cpu] += 1
    if machine.on:
        machine.trace.emit(ev.PagefaultDisable(cpu))


@mirrors("include/linux/uaccess.h")
def pagefault_enable(machine: Machine, cpu: int) -> None:
    """Undo one pagefault_disable, with its preempt_disable."""
    _own(machine).pagefault_disabled[cpu] -= 1
    if machine.on:
        machine.trace.emit(ev.PagefaultEnable(cpu))


KMAP_PRIMITIVES: dict[type[Event], Callable[..., Any]] = {
    ev.KmapInit: kmap_init, ev.SetLastPkmapNr: set_last_pkmap_nr, ev.SetPkmapCount: set_pkmap_count,
    ev.SetPageAddress: set_page_address, ev.AddWaitQueue: add_wait_queue, ev.WakeUp: wake_up,
    ev.KmapAtomicIdxPush: kmap_atomic_idx_push, ev.KmapAtomicIdxPop: kmap_atomic_idx_pop,
    ev.PagefaultDisable: pagefault_disable, ev.PagefaultEnable: pagefault_enable,
}
MACHINE_PRIMITIVES.update(KMAP_PRIMITIVES)
