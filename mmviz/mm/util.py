"""The system call mmap: map, and if it is asked for, bring the pages in at once."""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel import MAP_POPULATE, VM_LOCKED
from ..trace import mirrors
from .mm_types import MmStruct
from .mmap import calc_vm_flag_bits, do_mmap
from .populate import __mm_populate

if TYPE_CHECKING:
    from .machine import Machine


@mirrors("mm/util.c")
def vm_mmap_pgoff(machine: Machine, mm: MmStruct, file: int, addr: int, length: int, prot: int, flag: int,
                  pgoff: int = 0) -> int:
    """Map as `do_mmap`, then populate a mapping that is locked (MAP_LOCKED) or asked to be (MAP_POPULATE).

    Returns
    -------
    int
        The address, or an error of do_mmap; that a page could not be brought in is no error.

    Examples
    --------
    >>> import mmviz as mv
    >>> from mmviz.kernel import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE
    >>> from mmviz.mm.pgalloc import mm_alloc
    >>> machine = mv.toy(10)
    >>> mm = mm_alloc(machine, 1, "p0")
    >>> flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
    >>> hex(vm_mmap_pgoff(machine, mm, 0, 0x100000000, 0x4000, PROT_READ | PROT_WRITE, flags))
    '0x100000000'
    >>> vm_mmap_pgoff(machine, mm, 0, 0x100004000, 0x4000, PROT_READ | PROT_WRITE, flags) == 0x100004000
    True
    >>> mm.mmap
    [VmAreaStruct(0x100000000-0x100008000 flags=0x100073)]
    """
    ret = do_mmap(machine, mm, file, addr, length, prot, flag, pgoff)
    if ret >= 0 and (flag & MAP_POPULATE or calc_vm_flag_bits(flag) & VM_LOCKED):
        __mm_populate(machine, mm, ret, length, True)
    return ret
