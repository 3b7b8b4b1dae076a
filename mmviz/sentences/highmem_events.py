"""The sentences of the events of kmap and kmap_atomic (mm/highmem_events.py)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _users(count: int) -> str:
    if count < 2:
        return ("it is free", "mapped, and nobody uses it")[count]
    return "one user" if count == 2 else f"{count - 1:,} users"


def _set_count(w: dict[str, Any]) -> str:
    return f"The count of slot {w['nr']} is now {w['count']}: {_users(w['count'])}."


def _set_address(w: dict[str, Any]) -> str:
    if w["vaddr"]:
        return f"Page {w['pfn']:#x} goes to the tail of its hash bucket, with the address {w['vaddr']:#x}."
    return f"Page {w['pfn']:#x} leaves its hash bucket: it has no address any more."


def _searched(w: dict[str, Any]) -> str:
    found = f"its address is {w['vaddr']:#x}" if w["vaddr"] else "it has no address"
    return f"Page {w['pfn']:#x} is looked up in hash bucket {w['bucket']}: {found}."


def _probed(w: dict[str, Any]) -> str:
    verdict = "it can be used" if not w["count"] else "the hand goes on"
    return f"Slot {w['nr']} has the count {w['count']}: {_users(w['count'])}, so {verdict}."


def _sought(w: dict[str, Any]) -> str:
    if not w["found"]:
        return "Slots without users are looked for: there is none, so no TLB needs a flush."
    what = "1 slot has" if w["found"] == 1 else f"{w['found']:,} slots have"
    return f"{what} no users: each is taken from its page."


def _kmapped(w: dict[str, Any]) -> str:
    if w["vaddr"]:
        return f"kmap answers {w['vaddr']:#x} for page {w['pfn']:#x}."
    return f"kmap of page {w['pfn']:#x} has no answer yet: its task sleeps."


def _kunmapped(w: dict[str, Any]) -> str:
    if w["count"] < 0:
        return f"Page {w['pfn']:#x} is of low memory: kunmap has nothing to do."
    if w["count"] == 1:
        return f"Page {w['pfn']:#x} has no users now, and keeps its address until the next sweep."
    return f"Page {w['pfn']:#x} has one user less: {_users(w['count'])}."


SENTENCES: dict[str, str | Callable[[dict[str, Any]], str]] = {
    "KmapInit": "The windows are set up: {last_pkmap} slots of kmap from {pkmap_base:#x} on, all free.",
    "SetLastPkmapNr": "The hand moves to slot {nr}.",
    "SetPkmapCount": _set_count,
    "SetPageAddress": _set_address,
    "AddWaitQueue": "Every slot has users: the task that wants page {pfn:#x} sleeps on pkmap_map_wait.",
    "WakeUp": "A slot has lost its last user: all who sleep for one are woken, and begin anew.",
    "KmapAtomicIdxPush": "CPU {cpu} takes the next slot of its own pile.",
    "KmapAtomicIdxPop": "CPU {cpu} gives the last slot of its pile back.",
    "PagefaultDisable": "From here on CPU {cpu} may neither sleep nor take a page fault.",
    "PagefaultEnable": "One reason less why CPU {cpu} may not sleep.",
    "PageAddressFound": "Page {pfn:#x} is of low memory: its address is {vaddr:#x}, always.",
    "PageAddressSearched": _searched,
    "PkmapProbed": _probed,
    "ZeroPkmapsSought": _sought,
    "TlbRangeFlushed": "The TLBs of all CPUs are flushed, once, from {start:#x} to {end:#x}.",
    "TlbEntryFlushed": "This CPU forgets what it knew of address {vaddr:#x}.",
    "Kmapped": _kmapped,
    "Kunmapped": _kunmapped,
    "PageCleared": "Page {pfn:#x} is filled with zeros, through the address {vaddr:#x}.",
}
