"""mmap: a range of addresses is to mean something.

A *mapping* (VMA) is a range of addresses with rights and an origin: anonymous memory, a file, a device. It is a
promise; pages come with the faults. The list of an address space is sorted, and no two of its VMAs overlap.

* What was at the place before is unmapped first (MAP_FIXED), before it is known whether the new mapping succeeds.
* The rights become bits of vm_flags: VM_READ and its like, what the mapping may do now; VM_MAYREAD and its like, what
  mprotect may make of it; VM_ACCOUNT, if its pages count as promised memory.
* A new mapping grows a neighbour if it can (vma_merge.py), instead of becoming a VMA of its own.

    mmap(MAP_PRIVATE|MAP_ANONYMOUS)   no file                  pages of its own
    mmap(MAP_SHARED|MAP_ANONYMOUS)    a new file "dev/zero"    shared with children
    mmap(MAP_PRIVATE, file)           the file                 its pages, copies when written
    mmap(MAP_SHARED, file)            the file                 its pages
    mmap(.., driver)                  the driver's             mapped at once by remap_pfn_range

Left out: the search for a free place (MAP_FIXED is a must), limits (RLIMIT_*, max_map_count), files that are open for
reading only, personality, security modules, MCL_FUTURE.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_TYPE,
    PAGE_SHIFT,
    PAGE_SIZE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    VM_ACCOUNT,
    VM_EXEC,
    VM_LOCKED,
    VM_LOCKED_CLEAR_MASK,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NORESERVE,
    VM_READ,
    VM_SHARED,
    VM_SPECIAL,
    VM_WRITE,
    Errno,
)
from ..trace import mirrors
from .driver import driver_mmap
from .file_table import fput, get_file
from .find_vma import find_vma_prev, prev_of, refused
from .mm_types import MmStruct, VmAreaStruct
from .munmap import do_munmap, unmap_region
from .overcommit import __vm_enough_memory
from .pgtable import vm_get_page_prot
from .shmem import shmem_mmap, shmem_zero_setup
from .vm import set_vm_flags, vm
from .vma import __vma_link, add_locked_vm, set_vm_file, set_vm_page_prot, vm_area_alloc, vm_area_free, vm_stat_account
from .vma_merge import vma_merge

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/mmap.c")
def do_mmap(machine: Machine, mm: MmStruct, file: int, addr: int, length: int, prot: int, flags: int,
            pgoff: int) -> int:
    """Check a request for a mapping, turn its rights into vm_flags, and make it; no page is mapped yet.

    Parameters
    ----------
    file : int
        The number of an inode that is open for reading and writing; 0 for anonymous memory.
    addr, length : int
        Bytes; `addr` a multiple of the page size.
    prot : int
        PROT_READ, PROT_WRITE, PROT_EXEC, or 0.
    flags : int
        MAP_FIXED and one of MAP_PRIVATE, MAP_SHARED; MAP_ANONYMOUS without a file; MAP_LOCKED, MAP_NORESERVE.
    pgoff : int
        The page of the file where the mapping begins.

    Returns
    -------
    int
        `addr`, or -EINVAL, -ENOMEM, -EPERM.

    Raises
    ------
    ValueError
        Without MAP_FIXED, for here nobody looks for a free place; without MAP_SHARED or MAP_PRIVATE; for a file that
        does not exist; without a file if MAP_ANONYMOUS is not set.
    """
    __check_request(machine, file, flags)
    size = length + PAGE_SIZE - 1 & -PAGE_SIZE
    error = __check_place(machine, mm, addr, size)
    if error:
        return error
    vm_flags = (calc_vm_prot_bits(prot) | calc_vm_flag_bits(flags) | mm.def_flags
                | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC)
    if flags & MAP_TYPE == MAP_SHARED:
        vm_flags |= VM_SHARED | VM_MAYSHARE
    if file and path_noexec(machine, file):
        if vm_flags & VM_EXEC:
            return refused(machine, "mmap", Errno.EPERM, "the file lies on a file system that is mounted noexec")
        vm_flags &= ~VM_MAYEXEC
    offset = pgoff if file else 0 if vm_flags & VM_SHARED else addr >> PAGE_SHIFT
    return mmap_region(machine, mm, file, addr, size, vm_flags, offset)


def __check_request(machine: Machine, file: int, flags: int) -> None:
    if not flags & MAP_FIXED or flags & MAP_TYPE not in (MAP_SHARED, MAP_PRIVATE):
        raise ValueError("flags must have MAP_FIXED (a free place is not looked for here), and MAP_SHARED or "
                         f"MAP_PRIVATE, got {flags:#x}")
    if (file not in vm(machine).inode) if file else not flags & MAP_ANONYMOUS:
        raise ValueError(f"file must be the number of an inode, or 0 with MAP_ANONYMOUS, got {file} and {flags:#x}")


def __check_place(machine: Machine, mm: MmStruct, addr: int, size: int) -> int:
    """What get_unmapped_area asks of a fixed place: 0, or an error."""
    if not size:
        return refused(machine, "mmap", Errno.EINVAL, "no pages are asked for")
    if size > mm.task_size or addr > mm.task_size - size:
        return refused(machine, "mmap", Errno.ENOMEM, "it would not end below task_size")
    if addr & PAGE_SIZE - 1:
        return refused(machine, "mmap", Errno.EINVAL, "the address is not that of a page")
    return 0


def calc_vm_prot_bits(prot: int) -> int:
    """PROT_* as VM_*.

    >>> calc_vm_prot_bits(PROT_READ | PROT_WRITE) == VM_READ | VM_WRITE
    True
    """
    return (VM_READ if prot & PROT_READ else 0) | (VM_WRITE if prot & PROT_WRITE else 0) | (
        VM_EXEC if prot & PROT_EXEC else 0)


def calc_vm_flag_bits(flags: int) -> int:
    """MAP_* as VM_*, where there is such a bit."""
    return (VM_LOCKED if flags & MAP_LOCKED else 0) | (VM_NORESERVE if flags & MAP_NORESERVE else 0)


def path_noexec(machine: Machine, file: int) -> bool:
    """Does the file lie where nothing may be executed? Files of drivers do: procfs."""
    return not vm(machine).inode[file].shmem


def accountable_mapping(vm_flags: int) -> bool:
    """Private and writable: each page may become memory of its own, so it is promised.

    Kernel: mm/mmap.c:accountable_mapping.
    """
    return vm_flags & (VM_NORESERVE | VM_SHARED | VM_WRITE) == VM_WRITE


@mirrors("mm/mmap.c")
def mmap_region(machine: Machine, mm: MmStruct, file: int, addr: int, length: int, vm_flags: int, pgoff: int) -> int:
    """Unmap what is in the way, then grow a neighbour over the range, or make a VMA and ask its file to map itself.

    Returns
    -------
    int
        `addr`; -ENOMEM if so much cannot be promised, or what the driver of the file says. What was there before is
        gone then, too.

    Notes
    -----
    Kernel: mm/mmap.c:mmap_region at v5.4.
    """
    prev = munmap_vma_range(machine, mm, addr, length)
    flags = vm_flags
    if accountable_mapping(vm_flags):
        if __vm_enough_memory(machine, length >> PAGE_SHIFT):
            return refused(machine, "mmap", Errno.ENOMEM, "so much memory cannot be promised")
        flags |= VM_ACCOUNT
    vma = vma_merge(machine, mm, prev, addr, addr + length, flags, 0, file, pgoff, None)
    if not vma:
        vma = __new_vma(machine, mm, addr, length, flags, pgoff)
        error = __map_object(machine, vma, file, prev)
        if error:
            return refused(machine, "mmap", -error, "what is to be mapped there refuses")
        __vma_link(machine, vma.id)
    __account_new(machine, vma, length >> PAGE_SHIFT)
    return addr


def munmap_vma_range(machine: Machine, mm: MmStruct, addr: int, length: int) -> VmAreaStruct | None:
    """Clear the range; the VMA below it. The loop over find_vma_links in mmap_region (v5.11 has this name for it)."""
    vma, prev = find_vma_prev(machine, mm, addr)
    if vma and vma.vm_start < addr + length:
        do_munmap(machine, mm, addr, length)
        prev = prev_of(mm, addr)
    return prev


def __new_vma(machine: Machine, mm: MmStruct, addr: int, length: int, vm_flags: int, pgoff: int) -> VmAreaStruct:
    number = vm(machine).next_vma
    prot = vm_get_page_prot(machine, vm_flags)
    vm_area_alloc(machine, number, mm.pid, addr, addr + length, vm_flags, prot, pgoff)
    return vm(machine).vma[number]


def __map_object(machine: Machine, vma: VmAreaStruct, file: int, prev: VmAreaStruct | None) -> int:
    """Put a file behind a new VMA, or shared memory, or nothing: 0, or an error, and then the VMA is gone."""
    if file:
        error = call_mmap(machine, vma, file)
        if error:
            unmap_and_free_vma(machine, vma, prev)
    else:
        error = shmem_zero_setup(machine, vma) if vma.vm_flags & VM_SHARED else 0
        if error:
            vm_area_free(machine, vma.id)
    return error


@mirrors("include/linux/fs.h")
def call_mmap(machine: Machine, vma: VmAreaStruct, file: int) -> int:
    """Ask a file to map itself into a VMA, which holds it from here on; 0 or an error."""
    get_file(machine, file)
    inode = vm(machine).inode[file]
    return (shmem_mmap if inode.shmem else driver_mmap)(machine, inode, vma)


def unmap_and_free_vma(machine: Machine, vma: VmAreaStruct, prev: VmAreaStruct | None) -> None:
    """A file refused: undo what its driver mapped, and forget the VMA, which is in no list yet.

    Kernel: mm/mmap.c:mmap_region, the label of this name.
    """
    file = vma.vm_file
    set_vm_file(machine, vma.id, 0, vma.vm_ops)
    fput(machine, file)
    unmap_region(machine, vma.vm_mm, [vma], prev, vma.vm_start, vma.vm_end)
    vm_area_free(machine, vma.id)


def __account_new(machine: Machine, vma: VmAreaStruct, pages: int) -> None:
    """Count the pages of a new mapping, or of what a neighbour grew by."""
    vm_stat_account(machine, vma.vm_mm.pid, vma.vm_flags, pages)
    if vma.vm_flags & VM_LOCKED:
        if vma.vm_flags & VM_SPECIAL:
            set_vm_flags(machine, vma.id, vma.vm_flags & VM_LOCKED_CLEAR_MASK)
        else:
            add_locked_vm(machine, vma.vm_mm.pid, pages)
    vma_set_page_prot(machine, vma)


def vma_set_page_prot(machine: Machine, vma: VmAreaStruct) -> None:
    """vma->vm_page_prot as vma->vm_flags say.

    Kernel: mm/mmap.c:vma_set_page_prot. Simplified: nobody here wants to hear of first writes (writenotify).
    """
    prot = vm_get_page_prot(machine, vma.vm_flags)
    if prot != vma.vm_page_prot:
        set_vm_page_prot(machine, vma.id, prot)


