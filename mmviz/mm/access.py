"""The CPU touches an address: what it does by itself, and when it asks the kernel.

    walk the tables       an entry that allows it: set accessed, on a write dirty; done
    else page fault       do_user_addr_fault: a mapping? the right to it?    no: SIGSEGV
                          handle_mm_fault                                    no page to be had: SIGBUS
                          then the same instruction once more

Intel and AMD set the two bits in the entry themselves; nobody is asked. So a shared page that was read first becomes
dirty without a fault.

Left out: the TLB, protection keys, SMAP, instruction fetches, signals' delivery.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..kernel import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_KILLABLE,
    FAULT_FLAG_USER,
    FAULT_FLAG_WRITE,
    PAGE_SIZE,
    VM_EXEC,
    VM_FAULT_MAJOR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_READ,
    VM_WRITE,
)
from ..trace import mirrors
from . import vm_events as ev
from .fault import handle_mm_fault
from .find_vma import find_extend_vma
from .geometry import geometry_of
from .mm_types import MmStruct, VmAreaStruct
from .pgtable import (
    _PAGE_PRESENT,
    _PAGE_PSE,
    WalkStep,
    _pointer,
    frame_of,
    pte_mkdirty,
    pte_mkyoung,
    pte_write,
    walk,
)
from .vm import count_fault, set_page_data, set_pmd, set_pte_at, set_pud, vm

if TYPE_CHECKING:
    from .machine import Machine

SEGV_MAPERR, SEGV_ACCERR, BUS_ADRERR = 1, 2, 2


@dataclass(frozen=True)
class Access:
    """What came of a touch.

    Attributes
    ----------
    signal : str
        "" if it succeeded; "SIGSEGV", "SIGBUS"; "OOM" or "swap" where the kernel would kill or wait.
    code : int
        si_code of the signal: 1 SEGV_MAPERR, 2 SEGV_ACCERR; 2 BUS_ADRERR.
    data : int
        The 32-bit word that was read or written, at the beginning of the page.
    faults : int
        How often the kernel was asked.
    """

    signal: str = ""
    code: int = 0
    data: int = 0
    faults: int = 0


def access(machine: Machine, mm: MmStruct, vaddr: int, write: bool = False, data: int | None = None) -> Access:
    """Load or store one word of a process's memory, as its CPU does.

    Parameters
    ----------
    vaddr : int
        Any address of the page; the word is the first of the page.
    write : bool
        Store instead of load.
    data : int
        What is stored, 32 bits; None leaves what is there.

    Returns
    -------
    Access
        Whether it succeeded, and which signal the process got if not.

    Notes
    -----
    Emits EntryUsed when the entry allows it, and all of a fault before that if it did not.
    """
    faults = 0
    while not _use_entry(machine, mm, vaddr, write):
        refused = do_user_addr_fault(machine, mm, vaddr, write)
        faults += 1
        if refused is not None:
            return Access(refused[0], refused[1], 0, faults)
    pfn = frame_of(machine, mm, vaddr)
    assert pfn is not None
    if write and data is not None:
        set_page_data(machine, pfn, data)
    return Access("", 0, vm(machine).data.get(pfn, 0), faults)


def _use_entry(machine: Machine, mm: MmStruct, vaddr: int, write: bool) -> bool:
    """Walk the tables; set the accessed and dirty bits if the entry at the end allows the touch."""
    last = list(walk(machine, mm, vaddr))[-1]
    leaf = last.level == "pte" or last.entry & _PAGE_PSE
    allowed = bool(leaf and last.entry & _PAGE_PRESENT and (pte_write(last.entry) or not write))
    if machine.on:
        machine.trace.emit(ev.EntryUsed(mm.pid, vaddr, write, last.entry, allowed))
    if allowed:
        value = pte_mkyoung(last.entry)
        _set_bits(machine, mm, vaddr, last, pte_mkdirty(value) if write else value)
    return allowed


def _set_bits(machine: Machine, mm: MmStruct, vaddr: int, last: WalkStep, value: int) -> None:
    if value != last.entry:
        store = {"pte": set_pte_at, "pmd": set_pmd, "pud": set_pud}[last.level]
        store(machine, mm.pid, vaddr & -PAGE_SIZE, _pointer(geometry_of(machine), last.table, last.index), value)


@mirrors("arch/x86/mm/fault.c")
def do_user_addr_fault(machine: Machine, mm: MmStruct, address: int, write: bool) -> tuple[str, int] | None:
    """The page fault handler, for an address below TASK_SIZE.

    Returns
    -------
    (str, int) or None
        Signal and code; None: try again.
    """
    vma = find_extend_vma(machine, mm, address)
    code = SEGV_MAPERR if vma is None else SEGV_ACCERR if access_error(machine, mm, vma, address, write) else 0
    if machine.on:
        machine.trace.emit(ev.FaultChecked(mm.pid, address, write, code))
    if vma is None or code:
        return "SIGSEGV", code
    flags = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE | FAULT_FLAG_USER | (FAULT_FLAG_WRITE if write else 0)
    result = handle_mm_fault(machine, vma, address, flags)
    if result & VM_FAULT_SIGBUS:
        return "SIGBUS", BUS_ADRERR
    if result & (VM_FAULT_OOM | VM_FAULT_RETRY):
        return ("OOM" if result & VM_FAULT_OOM else "swap"), 0
    count_fault(machine, mm.pid, bool(result & VM_FAULT_MAJOR))
    return None


def access_error(machine: Machine, mm: MmStruct, vma: VmAreaStruct, address: int, write: bool) -> bool:
    """Whether the mapping forbids the touch. x86 cannot forbid to read what may be written or executed.

    Kernel: arch/x86/mm/fault.c:access_error.
    """
    if write:
        return not vma.vm_flags & VM_WRITE
    last = list(walk(machine, mm, address))[-1]
    protection = last.level == "pte" and last.entry & _PAGE_PRESENT
    return bool(protection) or not vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC)
