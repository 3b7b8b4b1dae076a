"""remap_pfn_range: a driver maps frames of its own choice into a process; and what a page is that an entry points to.

    remap_pfn_range(vma, addr, pfn, size, prot)      /dev/mem, frame buffers, registers of a device
      remap_p4d_range                                one call for each entry of the top table
        remap_pud_range                              ... and so down, a table made wherever one is missing
          remap_pmd_range
            remap_pte_range                          pte = frame | prot | special, for each page

`pfn -= addr >> PAGE_SHIFT`, once at the top, makes `pfn + (a >> PAGE_SHIFT)` the frame of any address a: no level needs
a counter of its own. The difference may well be negative; unsigned arithmetic does not mind.

The entries are *special*: nobody looks for a struct page behind them. No reference, no mapcount, no RSS; so the page
that its owner frees under the mapping is still mapped. And a private mapping must be remapped as a whole, because
vm_pgoff = pfn is all that will later tell its own copies from the driver's frames.

Left out: the interval tree of memory types (PAT); a task with CAP_SYS_ADMIN; huge mappings (v5.4 makes none here).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import KernelBug
from ..kernel import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_IO,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_PAT,
    VM_PFNMAP,
    VM_SHARED,
    Errno,
)
from ..trace import mirrors
from . import vm_events as ev
from .geometry import geometry_of, spans
from .mm_types import MmStruct, VmAreaStruct, VmOperations
from .pgalloc import p4d_alloc, pmd_alloc, pte_alloc_map, pud_alloc
from .pgtable import (
    _inverts,
    entry,
    p4d_offset,
    pfn_pte,
    pgd_offset,
    pmd_offset,
    pte_mkspecial,
    pte_pfn,
    pte_special,
    pud_offset,
)
from .swap import zone_or_none
from .vm import set_pte_at, set_vm_flags, set_vm_pgoff, vm

if TYPE_CHECKING:
    from .machine import Machine

PFNMAP_FLAGS = VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP

pfnmap_vm_ops = VmOperations()  # a driver that remaps everything at once needs no fault handler


def page_align(size: int) -> int:
    """Up to whole pages, in bytes: PAGE_ALIGN."""
    return -(-size // PAGE_SIZE) * PAGE_SIZE


def is_cow_mapping(vm_flags: int) -> bool:
    """Whether a mapping gets copies of its own when it is written: private, and allowed to become writable."""
    return vm_flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE


# ---------------------------------------------------------------- remap_pfn_range


def remap_pfn_range(machine: Machine, vma: VmAreaStruct, addr: int, pfn: int, size: int, prot: int) -> int:
    """Map consecutive frames at an address of a mapping, whatever they are: memory or a device.

    Parameters
    ----------
    vma : VmAreaStruct
        The mapping; its mmap_sem is held.
    addr : int
        Where to begin, page-aligned.
    pfn : int
        The first frame; it need not lie in a zone.
    size : int
        In bytes, above 0; rounded up to whole pages.
    prot : int
        The bits of the entries, as a rule vma.vm_page_prot.

    Returns
    -------
    int
        0; -EINVAL if the mapping is private and not mapped as a whole; -ENOMEM if a table is missing (what is mapped so
        far stays); -EACCES if the frame must not be made PROT_NONE (L1TF). NOMMU: -EINVAL unless addr is the place of
        the frame in memory.

    Raises
    ------
    KernelBug
        If something is mapped there already, or size is 0.
    ValueError
        If addr is not page-aligned: the loops of v5.4 run past the end then.

    Notes
    -----
    Emits SetVmPgoff, SetVmFlags, then SetPteAt for each page, and what tables cost. Kernel: mm/memory.c:remap_pfn_range
    at v5.4, without CONFIG_MMU mm/nommu.c:remap_pfn_range. Reference counts, mapcounts and RSS stay as they are.
    """
    if addr & (PAGE_SIZE - 1):
        raise ValueError(f"addr must be page-aligned, got {addr:#x}")
    if not machine.config.mmu:
        return __remap_nommu(machine, vma, addr, pfn, size, prot)
    return __remap(machine, vma, addr, pfn, size, prot)


@mirrors("mm/nommu.c", "remap_pfn_range")
def __remap_nommu(machine: Machine, vma: VmAreaStruct, addr: int, pfn: int, size: int, prot: int) -> int:
    """Without page tables an address is a place in memory: it can only be where the frame is."""
    if machine.on:
        machine.trace.emit(ev.RemapChecked(vma.id, addr, pfn, size, addr == pfn << PAGE_SHIFT))
    if addr != pfn << PAGE_SHIFT:
        return -Errno.EINVAL
    set_vm_flags(machine, vma.id, vma.vm_flags | PFNMAP_FLAGS)
    return 0


@mirrors("mm/memory.c", "remap_pfn_range")
def __remap(machine: Machine, vma: VmAreaStruct, addr: int, pfn: int, size: int, prot: int) -> int:
    """The whole-VMA rule, the flags, then entry by entry of the top table."""
    geometry = geometry_of(machine)
    end = addr + page_align(size)
    whole = addr == vma.vm_start and end == vma.vm_end
    fits = whole or not is_cow_mapping(vma.vm_flags)
    if machine.on:
        machine.trace.emit(ev.RemapChecked(vma.id, addr, pfn, size, fits))
    if not fits:
        return -Errno.EINVAL
    if is_cow_mapping(vma.vm_flags):
        set_vm_pgoff(machine, vma.id, pfn)
    track_pfn_remap(machine, vma, pfn, addr, end - addr)
    set_vm_flags(machine, vma.id, vma.vm_flags | PFNMAP_FLAGS)
    if addr >= end:
        raise KernelBug(f"remap_pfn_range of {size} bytes at {addr:#x}: BUG_ON(addr >= end) (mm/memory.c)")
    base = pfn - (addr >> PAGE_SHIFT) & geometry.word
    for start, stop in spans(geometry, 0, addr, end):
        err = remap_p4d_range(machine, vma.vm_mm, pgd_offset(machine, vma.vm_mm, start), start, stop,
                              base + (start >> PAGE_SHIFT) & geometry.word, prot)
        if err:
            untrack_pfn(machine, vma)
            return err
    return 0


@mirrors("mm/memory.c")
def remap_p4d_range(machine: Machine, mm: MmStruct, pgd: int, addr: int, end: int, pfn: int, prot: int) -> int:
    """One entry of the top table: each P4D entry below it."""
    geometry = geometry_of(machine)
    base = pfn - (addr >> PAGE_SHIFT) & geometry.word
    if machine.on:
        machine.trace.emit(ev.RangeWalked(mm.pid, "pgd", addr, end, entry(machine, pgd)))
    if p4d_alloc(machine, mm, pgd, addr) is None:
        return -Errno.ENOMEM
    for start, stop in spans(geometry, 1, addr, end):
        err = remap_pud_range(machine, mm, p4d_offset(machine, pgd, start), start, stop,
                              base + (start >> PAGE_SHIFT) & geometry.word, prot)
        if err:
            return err
    return 0


@mirrors("mm/memory.c")
def remap_pud_range(machine: Machine, mm: MmStruct, p4d: int, addr: int, end: int, pfn: int, prot: int) -> int:
    """One P4D entry: each PUD entry below it."""
    geometry = geometry_of(machine)
    base = pfn - (addr >> PAGE_SHIFT) & geometry.word
    if machine.on:
        machine.trace.emit(ev.RangeWalked(mm.pid, "p4d", addr, end, entry(machine, p4d)))
    if pud_alloc(machine, mm, p4d, addr) is None:
        return -Errno.ENOMEM
    for start, stop in spans(geometry, 2, addr, end):
        err = remap_pmd_range(machine, mm, pud_offset(machine, p4d, start), start, stop,
                              base + (start >> PAGE_SHIFT) & geometry.word, prot)
        if err:
            return err
    return 0


@mirrors("mm/memory.c")
def remap_pmd_range(machine: Machine, mm: MmStruct, pud: int, addr: int, end: int, pfn: int, prot: int) -> int:
    """One PUD entry: each PMD entry below it."""
    geometry = geometry_of(machine)
    base = pfn - (addr >> PAGE_SHIFT) & geometry.word
    if machine.on:
        machine.trace.emit(ev.RangeWalked(mm.pid, "pud", addr, end, entry(machine, pud)))
    if pmd_alloc(machine, mm, pud, addr) is None:
        return -Errno.ENOMEM
    for start, stop in spans(geometry, 3, addr, end):
        err = remap_pte_range(machine, mm, pmd_offset(machine, pud, start), start, stop,
                              base + (start >> PAGE_SHIFT) & geometry.word, prot)
        if err:
            return err
    return 0


@mirrors("mm/memory.c")
def remap_pte_range(machine: Machine, mm: MmStruct, pmd: int, addr: int, end: int, pfn: int, prot: int) -> int:
    """One PMD entry, which is one PTE table: an entry for each page.

    Raises
    ------
    KernelBug
        If an entry is not none. Entries before it are written.
    """
    geometry = geometry_of(machine)
    if machine.on:
        machine.trace.emit(ev.RangeWalked(mm.pid, "pmd", addr, end, entry(machine, pmd)))
    pte = pte_alloc_map(machine, mm, pmd, addr)
    if pte is None:
        return -Errno.ENOMEM
    for frame, vaddr in enumerate(range(addr, end, PAGE_SIZE), pfn):
        if entry(machine, pte):
            raise KernelBug(f"remap_pfn_range at {vaddr:#x}: BUG_ON(!pte_none(*pte)), there is an entry "
                            f"{entry(machine, pte):#x} already (mm/memory.c:remap_pte_range)")
        if not pfn_modify_allowed(machine, frame, prot):
            return -Errno.EACCES
        set_pte_at(machine, mm.pid, vaddr, pte, pte_mkspecial(pfn_pte(geometry, frame, prot)))
        pte += 1 << geometry.entry_shift
    return 0


@mirrors("mm/memory.c")
def vm_iomap_memory(machine: Machine, vma: VmAreaStruct, start: int, length: int) -> int:
    """Map a device's memory [start, start + length) as the whole mapping, from page vm_pgoff of it on.

    Parameters
    ----------
    start, length : int
        A physical address and a size, in bytes; widened to whole pages.

    Returns
    -------
    int
        -EINVAL if the device is smaller than what the mapping wants, or the sum wraps; else as `remap_pfn_range`.
    """
    word = geometry_of(machine).word
    inside = start & (PAGE_SIZE - 1)
    pfn, pages = start >> PAGE_SHIFT, page_align(length + inside) >> PAGE_SHIFT
    wraps = start + length > word
    fits = not wraps and vma.vm_pgoff <= pages and (
        vma.vm_end - vma.vm_start >> PAGE_SHIFT <= pages - vma.vm_pgoff)
    if machine.on:
        machine.trace.emit(ev.RemapChecked(vma.id, vma.vm_start, pfn + vma.vm_pgoff, length, fits))
    if not fits:
        return -Errno.EINVAL
    return remap_pfn_range(machine, vma, vma.vm_start, pfn + vma.vm_pgoff, vma.vm_end - vma.vm_start,
                           vma.vm_page_prot)


@mirrors("arch/x86/mm/mmap.c")
def pfn_modify_allowed(machine: Machine, pfn: int, prot: int) -> bool:
    """Whether a frame may be mapped with these bits: PROT_NONE of what is no memory is refused in the upper half.

    Inverted, such a frame number could point to memory, which a CPU with the L1TF flaw would read.
    """
    geometry = geometry_of(machine)
    allowed = not (_inverts(geometry, prot) and zone_or_none(machine, pfn) is None
                   and pfn >= 1 << geometry.phys_bits - 1 - PAGE_SHIFT)
    if machine.on:
        machine.trace.emit(ev.PfnModifyChecked(pfn, allowed))
    return allowed


@mirrors("arch/x86/mm/pat.c")
def track_pfn_remap(machine: Machine, vma: VmAreaStruct, pfn: int, addr: int, size: int) -> None:
    """Note the cache mode of the frames; for a whole mapping VM_PAT says so.

    Kernel: arch/x86/mm/pat.c:track_pfn_remap. Simplified: all memory is write-back, so nothing can clash.
    """
    whole = addr == vma.vm_start and size == vma.vm_end - vma.vm_start
    if machine.on:
        machine.trace.emit(ev.PfnRemapTracked(vma.id, pfn, size, whole))
    if whole:
        set_vm_flags(machine, vma.id, vma.vm_flags | VM_PAT)


@mirrors("arch/x86/mm/pat.c")
def untrack_pfn(machine: Machine, vma: VmAreaStruct) -> None:
    """Forget the cache mode of the frames of a mapping."""
    if vma.vm_flags & VM_PAT:
        set_vm_flags(machine, vma.id, vma.vm_flags & ~VM_PAT)


# ---------------------------------------------------------------- the page behind an entry


@mirrors("mm/memory.c")
def vm_normal_page(machine: Machine, vma: VmAreaStruct, addr: int, pte: int) -> int | None:
    """The page behind an entry, if it has a struct page that counts: its pfn. None for a driver's frame and zero page.

    Emits NormalPageChecked. A special entry outside VM_PFNMAP and VM_MIXEDMAP that is not the zero page, and a frame
    above all memory, is reported as a bad entry (`why`), and None too. Kernel: mm/memory.c:vm_normal_page at v5.4.
    """
    pfn = pte_pfn(geometry_of(machine), pte)
    why = __why_not_normal(machine, vma, pfn, pte)
    if machine.on:
        machine.trace.emit(ev.NormalPageChecked(vma.vm_mm.pid, addr, pfn, why))
    return None if why else pfn


def __why_not_normal(machine: Machine, vma: VmAreaStruct, pfn: int, pte: int) -> str:
    """Why an entry has no normal page; empty if it has."""
    if not pte_special(pte):
        return "" if pfn < max(zone.end_pfn for zone in machine.populated) else "bad entry: no such frame"
    if vma.vm_flags & (VM_PFNMAP | VM_MIXEDMAP):
        return "a driver's frame"
    return "zero page" if pfn == vm(machine).zero_pfn else "bad entry: special"
