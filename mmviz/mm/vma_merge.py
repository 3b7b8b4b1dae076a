"""Fewer VMAs: when two mappings side by side become one, and when one is cut in two.

Before a mapping is made, moved, or given other rights, the kernel asks whether it can grow a neighbour instead. Side by
side two VMAs fit if they have the same flags, the same file at offsets that follow, and anon_vmas that do not differ.
The drawing in the kernel's source has eight cases; A is the range that is asked for, P the VMA before, N and X those
behind:

    a hole is filled (mmap, mremap)      a part changes (mprotect, mlock, madvise)
        AAAA                                 AAAA                 AAAA                 AAAA
    PPPP    NNNN                         PPPPPPNNNNNN         PPPPPPNNNNNN         PPPPNNNNXXXX
    1  PPPPPPPPPPPP                      4  PPNNNNNNNNNN      5  PPPPPPPPPPNN      6  PPPPPPPPPPPP
    2  PPPPPPPPNNNN                                                                7  PPPPPPPPXXXX
    3  PPPPNNNNNNNN                                                                8  PPPPXXXXXXXX

A mapping of a driver (VM_SPECIAL) never merges. What does not merge is split at both ends of the range.

Left out: userfaultfd, ->close and ->split of drivers, the interval tree of a file, limits (sysctl_max_map_count).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import PAGE_SHIFT, VM_SOFTDIRTY, VM_SPECIAL
from ..trace import mirrors
from . import mmap_events as ev
from .file_table import fput, get_file
from .find_vma import prev_of
from .mm_types import MmStruct, VmAreaStruct, vma_is_anonymous
from .rmap import anon_vma_clone, unlink_anon_vmas, vma_next
from .vm import vm
from .vma import __vma_link, __vma_unlink, set_anon_vma, set_vma_range, vm_area_dup, vm_area_free, vma_pages

if TYPE_CHECKING:
    from .machine import Machine, Mempolicy

# ---------------------------------------------------------------- does it fit?


@mirrors("mm/mmap.c")
def can_vma_merge_before(machine: Machine, vma: VmAreaStruct, vm_flags: int, anon_vma: int, file: int,
                         vm_pgoff: int, policy: Mempolicy | None) -> bool:
    """Can a range that ends where `vma` starts become the lower part of it?"""
    why = __unlike(vma, vm_flags, anon_vma, file, policy) or ("" if vma.vm_pgoff == vm_pgoff else "offset")
    if machine.on:
        machine.trace.emit(ev.NeighbourChecked(vma.id, "down", why))
    return not why


@mirrors("mm/mmap.c")
def can_vma_merge_after(machine: Machine, vma: VmAreaStruct, vm_flags: int, anon_vma: int, file: int,
                        vm_pgoff: int, policy: Mempolicy | None) -> bool:
    """Can a range that starts where `vma` ends become the upper part of it?"""
    follows = vma.vm_pgoff + vma_pages(vma) == vm_pgoff
    why = __unlike(vma, vm_flags, anon_vma, file, policy) or ("" if follows else "offset")
    if machine.on:
        machine.trace.emit(ev.NeighbourChecked(vma.id, "up", why))
    return not why


def __unlike(vma: VmAreaStruct, vm_flags: int, anon_vma: int, file: int, policy: Mempolicy | None) -> str:
    """In what a range differs from a VMA beside it, as is_mergeable_vma asks; empty if in nothing."""
    if vma.vm_policy != policy:
        return "memory policy"
    if (vma.vm_flags ^ vm_flags) & ~VM_SOFTDIRTY:
        return "flags"
    if vma.vm_file != file:
        return "file"
    return "" if is_mergeable_anon_vma(anon_vma, vma.anon_vma, vma) else "anon_vma"


def is_mergeable_anon_vma(anon_vma1: int, anon_vma2: int, vma: VmAreaStruct | None) -> bool:
    """The same anon_vma, or one of the two has none; then `vma` must not have been through a fork.

    Kernel: mm/mmap.c:is_mergeable_anon_vma. The kernel asks whether the chain of `vma` has exactly one link; so a VMA
    without anonymous pages, whose chain is empty, takes only a range without anon_vma.
    """
    if not (anon_vma1 and anon_vma2) and (vma is None or len(vma.anon_vma_chain) == 1):
        return True
    return anon_vma1 == anon_vma2


# ---------------------------------------------------------------- merge


@mirrors("mm/mmap.c")
def vma_merge(machine: Machine, mm: MmStruct, prev: VmAreaStruct | None, addr: int, end: int, vm_flags: int,
              anon_vma: int, file: int, pgoff: int, policy: Mempolicy | None) -> VmAreaStruct | None:
    """Let a neighbour grow over [addr, end), or two of them and what lies between.

    Parameters
    ----------
    prev : VmAreaStruct or None
        The VMA before `addr`; it may reach over it.
    addr, end : int
        A hole, or a part of one VMA.
    vm_flags, anon_vma, file, pgoff, policy
        What the range is to be.

    Returns
    -------
    VmAreaStruct or None
        The VMA that covers the range now; None if nothing fits.
    """
    if vm_flags & VM_SPECIAL:
        return __merged(machine, mm, addr, end, 0, None)
    area = next_vma = vma_next(prev) if prev else (mm.mmap[0] if mm.mmap else None)
    if area and area.vm_end == end:
        next_vma = vma_next(area)
    pgend = pgoff + (end - addr >> PAGE_SHIFT)
    with_prev = prev and prev.vm_end == addr and can_vma_merge_after(
        machine, prev, vm_flags, anon_vma, file, pgoff, policy)
    with_next = next_vma and next_vma.vm_start == end and can_vma_merge_before(
        machine, next_vma, vm_flags, anon_vma, file, pgend, policy)
    if prev and with_prev:
        return __merge_after(machine, mm, prev, area, next_vma if with_next else None, addr, end)
    if area and next_vma and with_next:
        return __merge_before(machine, mm, prev, area, next_vma, addr, end, pgoff)
    return __merged(machine, mm, addr, end, 0, None)


def __merge_after(machine: Machine, mm: MmStruct, prev: VmAreaStruct, area: VmAreaStruct | None,
                  next_vma: VmAreaStruct | None, addr: int, end: int) -> VmAreaStruct | None:
    """Let `prev` grow: up to `end`, or over `next_vma` too. Cases 1, 6; else 2, 5, 7."""
    if next_vma and is_mergeable_anon_vma(prev.anon_vma, next_vma.anon_vma, None):
        __merged(machine, mm, addr, end, 1 if area is next_vma else 6, prev)
        __vma_adjust(machine, prev, prev.vm_start, next_vma.vm_end, prev.vm_pgoff, None, prev)
        return prev
    inside = area if area and area.vm_start < end else None
    __merged(machine, mm, addr, end, 2 if not inside else 7 if inside.vm_end == end else 5, prev)
    __vma_adjust(machine, prev, prev.vm_start, end, prev.vm_pgoff, None, prev)
    return prev


def __merge_before(machine: Machine, mm: MmStruct, prev: VmAreaStruct | None, area: VmAreaStruct,
                   next_vma: VmAreaStruct, addr: int, end: int, pgoff: int) -> VmAreaStruct | None:
    """Let `next_vma` grow down to `addr`: case 4 (prev shrinks), 8 (area goes), 3 (a hole)."""
    if prev and addr < prev.vm_end:
        __merged(machine, mm, addr, end, 4, next_vma)
        __vma_adjust(machine, prev, prev.vm_start, addr, prev.vm_pgoff, None, next_vma)
    else:
        __merged(machine, mm, addr, end, 3 if area is next_vma else 8, next_vma)
        __vma_adjust(machine, area, addr, next_vma.vm_end, pgoff, None, next_vma)
    return next_vma


def __merged(machine: Machine, mm: MmStruct, start: int, end: int, case: int,
             vma: VmAreaStruct | None) -> VmAreaStruct | None:
    if machine.on:
        machine.trace.emit(ev.VmaMerged(mm.pid, start, end, case))
    return vma


# ---------------------------------------------------------------- move the boundaries


@mirrors("mm/mmap.c")
def __vma_adjust(machine: Machine, vma: VmAreaStruct, start: int, end: int, pgoff: int,
                 insert: VmAreaStruct | None = None, expand: VmAreaStruct | None = None) -> None:
    """Give a VMA other boundaries, and move, remove or insert what lies beside it.

    Parameters
    ----------
    insert : VmAreaStruct or None
        A new VMA, in no list yet, that takes what `vma` leaves (split).
    expand : VmAreaStruct or None
        Which VMA is to grow: `vma` or the next one.
    """
    next_vma = None if insert else vma_next(vma)
    if next_vma and end >= next_vma.vm_end:
        __vma_swallow(machine, vma, next_vma, start, end, pgoff, expand)
    elif next_vma and (end > next_vma.vm_start or end < vma.vm_end):
        __vma_shift(machine, vma, next_vma, start, end, pgoff)
    else:
        set_vma_range(machine, vma.id, start, end, pgoff)
        if insert:
            __vma_link(machine, insert.id)


def __vma_swallow(machine: Machine, vma: VmAreaStruct, next_vma: VmAreaStruct, start: int, end: int, pgoff: int,
                  expand: VmAreaStruct | None) -> None:
    """One VMA grows over the next (cases 1, 7), over the next two (6), or the next one over it (8)."""
    if expand is next_vma:
        kept, gone = next_vma, [vma]
    else:
        second = vma_next(next_vma) if end > next_vma.vm_end else None
        kept, gone = vma, [next_vma, second] if second else [next_vma]
    exporter = gone[0] if gone[0].anon_vma else gone[-1]
    __import_anon_vma(machine, kept, exporter)
    for area in gone:
        set_vma_range(machine, kept.id, start, max(kept.vm_end, area.vm_end), pgoff)
        __vma_unlink(machine, area.id)
        fput(machine, area.vm_file)
        unlink_anon_vmas(machine, area)
        vm_area_free(machine, area.id)


def __vma_shift(machine: Machine, vma: VmAreaStruct, next_vma: VmAreaStruct, start: int, end: int, pgoff: int) -> None:
    """The boundary between two VMAs moves up (case 5) or down (case 4)."""
    up = end > next_vma.vm_start
    __import_anon_vma(machine, vma if up else next_vma, next_vma if up else vma)
    moved = end - next_vma.vm_start >> PAGE_SHIFT
    set_vma_range(machine, vma.id, start, end, pgoff)
    set_vma_range(machine, next_vma.id, end, next_vma.vm_end, next_vma.vm_pgoff + moved)


def __import_anon_vma(machine: Machine, importer: VmAreaStruct, exporter: VmAreaStruct) -> None:
    """Who grows must have the anon_vma of the pages that it takes over."""
    if exporter.anon_vma and not importer.anon_vma:
        set_anon_vma(machine, importer.id, exporter.anon_vma)
        anon_vma_clone(machine, importer, exporter)


# ---------------------------------------------------------------- split


@mirrors("mm/mmap.c")
def __split_vma(machine: Machine, vma: VmAreaStruct, addr: int, new_below: bool) -> None:
    """Cut a VMA in two at `addr`; the new one is the lower or the upper part."""
    if machine.on:
        machine.trace.emit(ev.VmaSplit(vma.id, addr, new_below))
    new = __vm_area_dup(machine, vma, vma.vm_mm)
    boundary = vma.vm_pgoff + (addr - vma.vm_start >> PAGE_SHIFT)
    if new_below:
        set_vma_range(machine, new.id, vma.vm_start, addr, vma.vm_pgoff)
    else:
        set_vma_range(machine, new.id, addr, vma.vm_end, boundary)
    anon_vma_clone(machine, new, vma)
    get_file(machine, new.vm_file)
    if new_below:
        __vma_adjust(machine, vma, addr, vma.vm_end, boundary, new)
    else:
        __vma_adjust(machine, vma, vma.vm_start, addr, vma.vm_pgoff, new)


def __vm_area_dup(machine: Machine, orig: VmAreaStruct, mm: MmStruct) -> VmAreaStruct:
    number = vm(machine).next_vma
    vm_area_dup(machine, number, mm.pid, orig.id)
    return vm(machine).vma[number]


def vma_modify(machine: Machine, prev: VmAreaStruct | None, vma: VmAreaStruct, start: int, end: int,
               vm_flags: int) -> VmAreaStruct:
    """The VMA that is exactly or at least [start, end) of `vma`, merged with neighbours of `vm_flags`, or split off.

    What mprotect_fixup, mlock_fixup and madvise_behavior of v5.4 each do by themselves (v6.7 has a vma_modify). Whoever
    calls it sets the flags then.
    """
    pgoff = vma.vm_pgoff + (start - vma.vm_start >> PAGE_SHIFT)
    merged = vma_merge(machine, vma.vm_mm, prev, start, end, vm_flags, vma.anon_vma, vma.vm_file, pgoff, vma.vm_policy)
    if merged:
        return merged
    if start != vma.vm_start:
        __split_vma(machine, vma, start, True)
    if end != vma.vm_end:
        __split_vma(machine, vma, end, False)
    return vma


# ---------------------------------------------------------------- a copy at another address


@mirrors("mm/mmap.c")
def copy_vma(machine: Machine, vma: VmAreaStruct, addr: int, length: int,
             pgoff: int) -> tuple[VmAreaStruct, VmAreaStruct]:
    """A VMA like `vma` at `addr`, for mremap: merged with a neighbour there, or new.

    Returns
    -------
    new_vma, vma : VmAreaStruct
        The copy; and the source, which may have become part of the copy.

    Notes
    -----
    Kernel: mm/mmap.c:copy_vma. Anonymous memory that was never touched takes the offset of its new place, which lets it
    merge there.
    """
    untouched = vma_is_anonymous(vma) and not vma.anon_vma
    offset = addr >> PAGE_SHIFT if untouched else pgoff
    prev = prev_of(vma.vm_mm, addr)
    vma_start = vma.vm_start
    new_vma = vma_merge(machine, vma.vm_mm, prev, addr, addr + length, vma.vm_flags, vma.anon_vma, vma.vm_file, offset,
                        vma.vm_policy)
    if new_vma:
        return new_vma, new_vma if new_vma.vm_start <= vma_start < new_vma.vm_end else vma
    new_vma = __vm_area_dup(machine, vma, vma.vm_mm)
    set_vma_range(machine, new_vma.id, addr, addr + length, offset)
    anon_vma_clone(machine, new_vma, vma)
    get_file(machine, new_vma.vm_file)
    __vma_link(machine, new_vma.id)
    return new_vma, vma

