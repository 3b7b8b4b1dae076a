"""The sentences of the events of mappings (mm/mmap_events.py)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..kernel import PAGE_SHIFT

CASES = {
    1: "the two neighbours become one with it", 2: "the one below grows over it", 3: "the one above grows down over it",
    4: "the boundary to the one above moves down", 5: "the boundary to the one below moves up",
    6: "both neighbours become one with it", 7: "the one below swallows it", 8: "the one above swallows it",
}

UNLIKE = {
    "memory policy": "the memory policy is another", "flags": "the flags differ", "file": "the file is another",
    "anon_vma": "the anon_vmas may not be shared", "offset": "the offsets do not follow each other",
}


def _pages(count: int) -> str:
    return f"{count:,} page{'' if abs(count) == 1 else 's'}"


def _made(w: dict[str, Any]) -> str:
    pages = w["vm_end"] - w["vm_start"] >> PAGE_SHIFT
    return (f"Mapping {w['vma']} is made: {w['vm_start']:#x} to {w['vm_end']:#x}, {_pages(pages)}, flags "
            f"{w['vm_flags']:#x}.")


def _file(w: dict[str, Any]) -> str:
    if not w["ino"]:
        return f"Mapping {w['vma']} lets go of its file."
    return f"Mapping {w['vma']} shows file {w['ino']}; its faults go to {w['vm_ops']}."


def _anon_vma(w: dict[str, Any]) -> str:
    if not w["anon_vma"]:
        return f"Mapping {w['vma']} has no anon_vma of its own now."
    return f"New anonymous pages of mapping {w['vma']} belong to anon_vma {w['anon_vma']}."


def _anon_vma_made(w: dict[str, Any]) -> str:
    if w["parent"] == w["anon_vma"]:
        return f"anon_vma {w['anon_vma']} is made, a root."
    return f"anon_vma {w['anon_vma']} is made, a child of {w['parent']}; its root is {w['root']}."


def _count(what: str) -> Callable[[dict[str, Any]], str]:
    def say(w: dict[str, Any]) -> str:
        return f"{what.format_map(w)} by {_pages(w['npages'])}."
    return say


def _held(w: dict[str, Any]) -> str:
    return f"File {w['ino']} is held once {'more' if w['delta'] > 0 else 'less'}."


def _inode(w: dict[str, Any]) -> str:
    what = "pages in memory only" if w["shmem"] else "the pages of a driver"
    return f"File {w['ino']}, {w['name']}, is made: {_pages(w['size'])}, {what}."


def _searched(w: dict[str, Any]) -> str:
    if not w["vma"]:
        return f"Address {w['vaddr']:#x}: no mapping ends above it."
    inside = "contains it" if w["vm_start"] <= w["vaddr"] else f"is the next above, from {w['vm_start']:#x} on"
    return f"Address {w['vaddr']:#x}: mapping {w['vma']} {inside}."


def _commit(w: dict[str, Any]) -> str:
    verdict = "so they may be promised" if w["allowed"] else "so they are not promised"
    return f"{_pages(w['pages'])} asked for, {_pages(w['totalram'])} in the machine: {verdict}."


def _neighbour(w: dict[str, Any]) -> str:
    if not w["why"]:
        return f"Mapping {w['vma']} can grow {w['side']} over the range."
    return f"Mapping {w['vma']} cannot grow {w['side']} over the range: {UNLIKE[w['why']]}."


def _merged(w: dict[str, Any]) -> str:
    where = f"{w['start']:#x} to {w['end']:#x}"
    if not w["case"]:
        return f"No neighbour takes {where} over."
    return f"Merge, case {w['case']}: {where}: {CASES[w['case']]}."


def _split(w: dict[str, Any]) -> str:
    part = "lower" if w["new_below"] else "upper"
    return f"Mapping {w['vma']} is cut in two at {w['vaddr']:#x}; the {part} part is a new one."


def _unmapped(w: dict[str, Any]) -> str:
    ceiling = f"{w['ceiling']:#x}" if w["ceiling"] else "the end of the address space"
    return (f"{w['vmas']} mapping{'' if w['vmas'] == 1 else 's'} of {w['start']:#x} to {w['end']:#x} will go; tables "
            f"between {w['floor']:#x} and {ceiling} may go with them.")


def _mergeable(w: dict[str, Any]) -> str:
    if not w["anon_vma"]:
        return f"No neighbour of mapping {w['vma']} has an anon_vma that it may use."
    return f"Mapping {w['vma']} may use anon_vma {w['anon_vma']} of its neighbour."


def _cached(w: dict[str, Any]) -> str:
    found = f"is {w['pfn']:#x}" if w["pfn"] else "is not in memory"
    return f"Page {w['index']} of file {w['ino']} {found}."


SENTENCES: dict[str, str | Callable[[dict[str, Any]], str]] = {
    "VmAreaAlloc": _made,
    "VmAreaDup": "Mapping {vma} is made, a copy of {orig}.",
    "VmAreaFree": "Mapping {vma} is gone.",
    "VmaLink": "Mapping {vma} goes into the list of its address space.",
    "VmaUnlink": "Mapping {vma} leaves the list of its address space: nobody will find it now.",
    "SetVmaRange": "Mapping {vma} covers {vm_start:#x} to {vm_end:#x}, offset {vm_pgoff:#x}.",
    "SetVmPageProt": "New entries of mapping {vma} get the bits {vm_page_prot:#x}.",
    "SetVmFile": _file,
    "SetAnonVma": _anon_vma,
    "AnonVmaChainLink": "Mapping {vma} may have pages of anon_vma {anon_vma}: it goes to the head of the chain.",
    "AnonVmaChainUnlink": "Mapping {vma} has no pages of anon_vma {anon_vma} any more.",
    "AnonVmaAlloc": _anon_vma_made,
    "AnonVmaFree": "anon_vma {anon_vma} is gone: no mapping is linked to it.",
    "AddDegree": "The degree of anon_vma {anon_vma} moves by {delta:+}.",
    "VmStatAccount": _count("total_vm of process {mm} moves"),
    "DupVmStat": "The child {mm} begins with the counters of mappings that {oldmm} has.",
    "AddLockedVm": _count("locked_vm of process {mm} moves"),
    "NewInode": _inode,
    "EvictInode": "File {ino} is gone: nobody holds it.",
    "AddFCount": _held,
    "ISizeWrite": "File {ino} has {size} pages now.",
    "AddToPageCache": "Page {pfn:#x} goes into the page cache: page {index} of file {ino}.",
    "DeleteFromPageCache": "Page {index} of file {ino} leaves the page cache.",
    "VmaSearched": _searched,
    "CallRefused": "The kernel refuses {call} with error {errno}: {why}.",
    "CommitChecked": _commit,
    "NeighbourChecked": _neighbour,
    "VmaMerged": _merged,
    "VmaSplit": _split,
    "RangeUnmapped": _unmapped,
    "MappingForked": "Mapping {vma} of the parent, for the child {mm}: {how}.",
    "MergeableAnonVmaSearched": _mergeable,
    "AnonVmaReused": "anon_vma {anon_vma} has no mapping and one child: mapping {vma} takes it for its own.",
    "PageCacheSearched": _cached,
    "PagesMappedAround": "The fault maps what is in memory of pages {start_pgoff} to {end_pgoff} of file {ino}.",
    "Truncated": "File {ino} is to have {size} pages; it has {oldsize}.",
}
