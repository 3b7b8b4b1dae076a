"""The sentences of the events of page tables, faults and get_user_pages (mm/vm_events.py)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import kernel
from ..kernel import FAULT_FLAG_WRITE, PAGE_SHIFT, SMAPS_FLAGS, Errno
from ..mm.geometry import GEOMETRIES

FRAME = (1 << 52) - (1 << PAGE_SHIFT)
COUNTERS = ("file pages", "anonymous pages", "swap entries", "shared-memory pages")
FLAGS = ("locked", "referenced", "uptodate", "dirty", "active", "swapbacked", "mlocked", "on an LRU list")
BITS = ((0x2, "writable"), (0x40, "dirty"), (0x200, "special"), (0x80, "huge"))
FOLDED = {name: {level.name for level in geometry.levels if level.folded} for name, geometry in GEOMETRIES.items()}
NEXT = {"pgd": "P4D", "p4d": "PUD", "pud": "PMD", "pmd": "PTE"}


def _pages(count: int) -> str:
    return f"{count:,} page{'' if abs(count) == 1 else 's'}"


def _entry(value: int) -> str:
    """An entry in words: frame, rights, and what the CPU noted."""
    if not value:
        return "none"
    if not value & 1:
        inverted = value >> 51 & 1
        frame = ((~value if inverted else value) & FRAME) >> PAGE_SHIFT
        return f"frame {frame:#x}, which nobody may touch" if value & 0x100 else f"no page, but a note ({value:#x})"
    words = [word for bit, word in BITS if value & bit]
    if not value & 0x2:
        words.insert(0, "read-only")
    if not value & 0x20:
        words.append("not accessed yet")
    return f"frame {(value & FRAME) >> PAGE_SHIFT:#x}, {', '.join(words)}"


def _table_entry(level: str) -> Callable[[dict[str, Any]], str]:
    def say(w: dict[str, Any]) -> str:
        if not w["entry"]:
            return f"The {level} entry for {w['vaddr']:#x} is cleared."
        if w["entry"] & 0x80:
            return f"The {level} entry for {w['vaddr']:#x} now maps a huge page: {_entry(w['entry'])}."
        return f"The {level} entry for {w['vaddr']:#x} now points to the table in frame " \
               f"{(w['entry'] & FRAME) >> PAGE_SHIFT:#x}."
    return say


def _pte(w: dict[str, Any]) -> str:
    if not w["entry"]:
        return f"The PTE of {w['vaddr']:#x} is cleared."
    return f"The PTE of {w['vaddr']:#x} is set: {_entry(w['entry'])}."


def _bytes(w: dict[str, Any]) -> str:
    way = "grows" if w["nr_bytes"] > 0 else "shrinks"
    return f"VmPTE of process {w['mm']} {way} by {abs(w['nr_bytes']) >> 10} kB."


def _mapcount(w: dict[str, Any]) -> str:
    return f"Page {w['pfn']:#x} has one mapping {'more' if w['delta'] > 0 else 'less'}."


def _mapping(w: dict[str, Any]) -> str:
    if not w["kind"]:
        return f"Page {w['pfn']:#x} belongs to nobody now."
    owner = f"anon_vma {w['owner']}" if w["kind"] == "anon" else f"file {w['owner']}"
    return f"Page {w['pfn']:#x} belongs to {owner}, at index {w['index']:#x}."


def _flag(end: str) -> Callable[[dict[str, Any]], str]:
    def say(w: dict[str, Any]) -> str:
        words = [name for bit, name in enumerate(FLAGS) if w["flag"] >> bit & 1]
        return f"Page {w['pfn']:#x} is {', '.join(words) or 'the same as before'}{end}."
    return say


def _counter(where: str) -> Callable[[dict[str, Any]], str]:
    def say(w: dict[str, Any]) -> str:
        return f"Process {w['mm']} counts {w['value']:+,} {COUNTERS[w['member']]}, {where}."
    return say


def _walked(w: dict[str, Any]) -> str:
    if w["level"] == "vma":
        return f"The entries for {w['start']:#x} to {w['end']:#x} are gone through, from the top table down."
    below = NEXT.get(w["level"], "next")
    if below.lower() in FOLDED[w["geometry"]]:
        return f"{w['level'].upper()} entry for {w['start']:#x} to {w['end']:#x}: {below} is folded, without a table."
    state = f"there is a {below} table" if w["entry"] else f"no {below} table yet"
    return f"{w['level'].upper()} entry for {w['start']:#x} to {w['end']:#x}: {state}."


def _kept(w: dict[str, Any]) -> str:
    above = f"{w['ceiling']:#x}" if w["ceiling"] else "the top"
    return (f"The {str(w['level']).upper()} table for {w['start']:#x} stays: its span is not all between "
            f"{w['floor']:#x} and {above}.")


def _bounded(w: dict[str, Any]) -> str:
    what = "tables in between may go" if w["some"] else "no table has all of its span in between"
    above = f"the mapping above begins at {w['ceiling']:#x}" if w["ceiling"] else "no mapping lies above"
    return f"Unmapped: {w['start']:#x} to {w['end']:#x}. The one below ends at {w['floor']:#x}, {above}: {what}."


def _remap(w: dict[str, Any]) -> str:
    verdict = "it may go on" if w["allowed"] else "refused"
    return f"Frames from {w['pfn']:#x} on, {w['size']:,} bytes, are to be mapped at {w['vaddr']:#x}: {verdict}."


def _tracked(w: dict[str, Any]) -> str:
    part = "the whole mapping: it is reserved, VM_PAT" if w["whole"] else "a part of the mapping"
    return f"The cache mode of the frames from {w['pfn']:#x} on is looked up; they are {part}."


def _normal(w: dict[str, Any]) -> str:
    if w["why"]:
        return f"Behind the entry of {w['vaddr']:#x} is no page that counts: {w['why']}."
    return f"Behind the entry of {w['vaddr']:#x} is page {w['pfn']:#x}."


def _reused(w: dict[str, Any]) -> str:
    if w["reuse"]:
        return f"Page {w['pfn']:#x} has mapcount {w['mapcount']}: nobody else maps it, so the writer keeps it."
    return f"Page {w['pfn']:#x} has mapcount {w['mapcount']}: others map it too, so the writer gets a copy."


def _fault(w: dict[str, Any]) -> str:
    what = "A write" if w["flags"] & FAULT_FLAG_WRITE else "A read"
    return f"{what} at {w['vaddr']:#x} of process {w['mm']} found no usable entry."


def _fault_words(result: int) -> str:
    names = [name.removeprefix("VM_FAULT_") for name, bit in vars(kernel).items()
             if name.startswith("VM_FAULT_") and name != "VM_FAULT_ERROR" and result & bit]
    return " and ".join(names) or "0"


def _handled(w: dict[str, Any]) -> str:
    return f"The fault at {w['vaddr']:#x} ends with {_fault_words(w['result'])}."


def _considered(w: dict[str, Any]) -> str:
    if w["needed"]:
        return f"The child needs copies of the entries of mapping {w['vma']}."
    return f"Faults can bring the pages of mapping {w['vma']} again: the child begins without entries there."


def _vm_flags(flags: int) -> str:
    """The number, and the letters that smaps has for it."""
    letters = [name for bit, name in SMAPS_FLAGS.items() if flags & bit]
    return f"{flags:#x}" + (f" ({' '.join(letters)})" if letters else "")


def _flags_checked(w: dict[str, Any]) -> str:
    verdict = f"refused, {w['why']}" if w["why"] else "its pages may be taken"
    return f"The mapping at {w['vm_start']:#x} has flags {_vm_flags(w['vm_flags'])}: {verdict}."


def _found(w: dict[str, Any]) -> str:
    if w["found"] is None:
        return f"There is no page to take at {w['vaddr']:#x}: it must be faulted in."
    if w["found"] < 0:
        return f"The page at {w['vaddr']:#x} cannot be had: {_error(w['found'])}."
    return f"The page at {w['vaddr']:#x} is {w['found']:#x}."


def _error(number: int) -> str:
    known = {errno.value: errno.name for errno in Errno}
    return f"-{known.get(-number, str(-number))}"


def _got(w: dict[str, Any]) -> str:
    if w["got"] < 0:
        return f"Of {_pages(w['asked'])} from {w['vaddr']:#x} on, none was taken: {_error(w['got'])}."
    return f"Of {_pages(w['asked'])} from {w['vaddr']:#x} on, {w['got']:,} {'was' if w['got'] == 1 else 'were'} taken."


def _used(w: dict[str, Any]) -> str:
    what = "a write" if w["write"] else "a read"
    verdict = "allows it" if w["allowed"] else "does not allow it"
    return f"The CPU walks the tables for {what} at {w['vaddr']:#x}: the entry ({_entry(w['entry'])}) {verdict}."


def _checked(w: dict[str, Any]) -> str:
    if not w["code"]:
        return f"A mapping covers {w['vaddr']:#x} and allows the touch."
    if w["code"] == 1:
        return f"No mapping covers {w['vaddr']:#x}: SIGSEGV, MAPERR."
    return f"The mapping at {w['vaddr']:#x} does not allow a {'write' if w['write'] else 'read'}: SIGSEGV, ACCERR."


def _accessed(w: dict[str, Any]) -> str:
    if w["referenced"] and w["active"]:
        return f"Page {w['pfn']:#x} was used once more: it is referenced and active already."
    return f"Page {w['pfn']:#x} was used: it becomes {'active' if w['referenced'] else 'referenced'}."


def _yes(text: str, yes: str, no: str, field: str) -> Callable[[dict[str, Any]], str]:
    """A text with one of two endings."""
    def say(w: dict[str, Any]) -> str:
        return f"{text.format_map(w)} {yes if w[field] else no}."
    return say


SENTENCES: dict[str, str | Callable[[dict[str, Any]], str]] = {
    "SetPgd": _table_entry("PGD"), "SetP4d": _table_entry("P4D"), "SetPud": _table_entry("PUD"),
    "SetPmd": _table_entry("PMD"), "SetPteAt": _pte,
    "PgtablePageCtor": "Page {pfn:#x} becomes a {level} table, with nothing in it.",
    "PgtablePageDtor": "Page {pfn:#x} is no {level} table any more.",
    "AddPgtablesBytes": _bytes,
    "PgtableTransHugeDeposit": "The PTE table in frame {pfn:#x} is kept for the day that a huge page is split.",
    "PgtableTransHugeWithdraw": "The PTE table in frame {pfn:#x}, which was kept for a huge page, is taken out.",
    "AddMapcount": _mapcount,
    "AddCompoundMapcount": lambda w: f"As a huge page: {_mapcount(w)}",
    "SetPageMapping": _mapping,
    "SetPageData": "Page {pfn:#x} begins with the word {data:#x}.",
    "SetPageFlag": _flag(""), "ClearPageFlag": _flag(" no more"),
    "ReservedPageRefAdd": "Page {pfn:#x}, which is never freed, has {nr:+d} references.",
    "ForgetPage": "Nobody holds page {pfn:#x} any more: whose it was, and what was in it, is forgotten.",
    "PagevecAdd": "Page {pfn:#x} waits on CPU {cpu}'s pagevec for an LRU list; the pagevec holds a reference.",
    "PagevecReinit": "The pagevec of CPU {cpu} is empty again.",
    "MmInit": "Process {mm}, {name}, has an address space; its top table lies in frame {pgd:#x}.",
    "MmDrop": "The address space of process {mm} is gone.",
    "AddMmCounter": _counter("where VmRSS shows it"),
    "AddMmCounterFast": _counter("in its task first; VmRSS shows it later"),
    "CheckSyncRssStat": "Process {mm} counts a fault; every 66th folds its task's counters into VmRSS.",
    "SyncMmRss": "What the task of process {mm} counted is folded into VmRSS.",
    "CountFault": _yes("Process {mm} has one more", "major fault", "minor fault", "major"),
    "SetVmFlags": lambda w: f"Mapping {w['vma']} has flags {_vm_flags(w['vm_flags'])}.",
    "SetVmPgoff": "The offset of mapping {vma} is {vm_pgoff:#x} pages.",
    "TlbGatherBegun": "Pages of process {mm} from {start:#x} on are collected, to be freed after the TLB was flushed.",
    "TlbFlushed": "The TLB is flushed: no CPU reaches the pages of process {mm} that were collected ({pages:,}).",
    "PageAccessNoted": _accessed,
    "PagevecsDrained": lambda w: f"The pagevec of CPU {w['cpu']} lets go of {_pages(w['pages'])}.",
    "RangeWalked": _walked, "TableKept": _kept, "TablesBounded": _bounded,
    "RemapChecked": _remap,
    "PfnModifyChecked": _yes("Frame {pfn:#x}", "may be mapped like this", "must not be mapped like this (L1TF)",
                             "allowed"),
    "PfnRemapTracked": _tracked, "NormalPageChecked": _normal,
    "HugePageConsidered": _yes("A huge page at {vaddr:#x}", "would lie inside the mapping",
                               "would not lie inside the mapping: small pages", "suitable"),
    "SwapPageReused": _reused, "FaultBegun": _fault, "FaultHandled": _handled,
    "EntryFound": lambda w: f"The entry of {w['vaddr']:#x} is {_entry(w['entry'])}.",
    "WouldSwapIn": "The page of {vaddr:#x} is in swap: the kernel would read it in and wait.",
    "FaultOffered": _yes("The mapping at {vaddr:#x}", "can be asked for its pages", "has no page to offer: SIGBUS",
                         "offered"),
    "FaultAroundChosen": "Of pages {start_pgoff} to {end_pgoff} of the file, those in the page cache are mapped.",
    "CopyConsidered": _considered,
    "MoveBegun": "The entries of {length:,} bytes move from {old_addr:#x} to {new_addr:#x}.",
    "TableMoveConsidered": _yes("From {old_addr:#x} to {new_addr:#x}", "the whole PTE table moves",
                                "the entries move one by one", "moves"),
    "VmaFlagsChecked": _flags_checked,
    "EntryFollowed": lambda w: f"The {w['level']} entry of {w['vaddr']:#x} is {_entry(w['entry'])}.",
    "PageFollowed": _found,
    "NoPageTable": _yes("Nothing is mapped at {vaddr:#x}:", "the core dump leaves it out", "it must be faulted in",
                        "refused"),
    "PfnEntryRefused": "The entry of {vaddr:#x} has no struct page behind it: there is no reference to take.",
    "PageFaultedIn": lambda w: f"The fault at {w['vaddr']:#x}, made for get_user_pages: {_fault_words(w['result'])}.",
    "UserPagesGot": _got,
    "FollFlagsRefused": "The FOLL_* flags {gup_flags:#x} are not allowed here: -EINVAL.",
    "PopulateBegun": "The pages of {length:,} bytes from {vaddr:#x} on are brought in before anybody touches them.",
    "EntryUsed": _used, "FaultChecked": _checked,
    "FastWalkEnded": "The lockless walk from {start:#x} to {end:#x} took {taken:,} of its pages.",
    "FastEntryChecked": _yes("The entry of {vaddr:#x}", "lets its page be taken without a lock",
                             "stops the lockless walk", "allowed"),
    "LongtermChosen": _yes("Pages from {vaddr:#x} on are", "held for long: they must not stay in CMA memory",
                           "not held for long: they may lie in any memory, in CMA too", "longterm"),
    "CmaPagesFound": "Of the {taken:,} pages taken, {isolated:,} lie in CMA memory and can be moved.",
    "MigrationConsidered": "References of page {pfn:#x}: {references:,}, of which {expected:,} can be accounted for.",
}
