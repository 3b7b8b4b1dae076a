"""Questions about address spaces: indices, tables, boundaries, faults, get_user_pages, and who gets the copy.

Each takes a recording and a step number, and returns a Question or None (see questions.py). What is right is read from
what the recording says next; the reasons come from the state before the step.
"""
from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ..draw.scene import Scene
from ..draw.spaces import references
from ..draw.tables import draw_tables
from ..draw.vmas import draw_vmas
from ..kernel import PAGE_SHIFT, PAGE_SIZE, VM_FAULT_SIGBUS, VM_SHARED
from ..mm import vm_events as ev
from ..mm.events import MmPageAlloc
from ..mm.geometry import Level, addr_end, geometry_of
from ..mm.machine import Machine
from ..mm.mm_types import MmStruct, Vm, VmAreaStruct
from ..mm.pgtable import frame_of, walk
from ..recording import Recording, Step
from ..trace import Event
from .questions import MOST_OPTIONS, Option, Question, event_at, option

# ---------------------------------------------------------------- reading


def vm_at(recording: Recording, number: int) -> tuple[Machine, Vm]:
    """The state before a step, and its processes."""
    state: Machine = recording.at(number)
    part = state.parts["vm"]
    assert isinstance(part, Vm)
    return state, part


def ask(kind: str, text: str, right: Option, wrong: list[Option], step: int, pid: int) -> Question | None:
    """A Question about a process; None if there is no wrong option. Its `zone` tells the process of the picture."""
    options = [right]
    for other in wrong:
        fresh = all(other.value != known.value and other.label != known.label for known in options)
        if fresh and len(options) < MOST_OPTIONS:
            options.append(other)
    return Question(kind, text, tuple(options), right.value, step, ("", pid)) if len(options) > 1 else None


def picture(name: str, state: Machine, step: Step | None, *, zone: str, nid: int) -> Scene:
    """The picture of a question: the mappings of its process, or the tables of all."""
    return draw_tables(state) if name == "tables" else draw_vmas(state, mm=nid)


def mapping_at(space: MmStruct, vaddr: int) -> VmAreaStruct | None:
    """The mapping that an address lies in."""
    return next((vma for vma in space.mmap if vma.vm_start <= vaddr < vma.vm_end), None)


def touch(recording: Recording, number: int) -> list[Event]:
    """What comes of a touch that begins at this step: the events up to its end; empty if none begins here, or if the
    entry allows it at once."""
    first, before = event_at(recording, number), event_at(recording, number - 1)
    if not isinstance(first, ev.EntryUsed) or first.allowed or isinstance(before, ev.CountFault):
        return []
    found: list[Event] = []
    for step in recording.steps[number:]:
        found.append(step.event)
        over = isinstance(step.event, ev.EntryUsed) and step.event.allowed
        if over or (isinstance(step.event, ev.FaultChecked) and step.event.code) or is_bus_error(step.event):
            return found
    return []


def is_bus_error(event: Event) -> bool:
    """A fault that ends with SIGBUS."""
    return isinstance(event, ev.FaultHandled) and bool(event.result & VM_FAULT_SIGBUS)


def verb(event: ev.EntryUsed) -> str:
    """What the process does."""
    return "writes to" if event.write else "reads"


# ---------------------------------------------------------------- which entry


def ask_table_index(recording: Recording, number: int) -> Question | None:
    """Which entry of the table of one level? The level follows from the step."""
    event = event_at(recording, number)
    if not isinstance(event, ev.EntryUsed):
        return None
    state, _ = vm_at(recording, number)
    levels = [level for level in geometry_of(state).levels if not level.folded]
    level = levels[(number + (event.vaddr >> PAGE_SHIFT)) % len(levels)]
    index, top = level.index(event.vaddr), level.shift + level.ptrs.bit_length() - 2
    cut = " + ".join(f"{each.name} {each.ptrs.bit_length() - 1}" for each in levels)
    text = (f"{geometry_of(state).name} ({cut} + 12 bits): the CPU looks up {event.vaddr:#x}. Which entry of the "
            f"{level.name} table does it take?")
    right = _entry(level, index, f"Bits {top} to {level.shift} of the address are {index:0{top - level.shift + 1}b}")
    return ask("table_index", text, right, list(_other_entries(levels, level, event.vaddr)), number, event.mm)


def _other_entries(levels: list[Level], level: Level, vaddr: int) -> Iterator[Option]:
    right = level.index(vaddr)
    for other in levels:
        if other != level and other.index(vaddr) < level.ptrs:
            yield _entry(level, other.index(vaddr), f"That is the index of the {other.name} table")
    for shift, said in ((level.shift - 1, "one bit too low"), (level.shift + 1, "one bit too high")):
        yield _entry(level, vaddr >> shift & level.ptrs - 1, f"The bits were taken {said}: they begin at bit "
                     f"{level.shift}")
    for near in (right + 1, right - 1):
        if 0 <= near < level.ptrs:
            yield _entry(level, near, "That entry covers the addresses beside: entries count from 0, and the rest of "
                         "the address is rounded down")


def _entry(level: Level, index: int, reason: str) -> Option:
    return option(index, f"{level.name}[{index}]", reason, f"{level.name}_index")


# ---------------------------------------------------------------- how many tables


def ask_tables_made(recording: Recording, number: int) -> Question | None:
    """How many tables does a touch add?"""
    events = touch(recording, number)
    if not events or isinstance(events[-1], ev.FaultChecked):
        return None
    first: Any = events[0]
    state, vm = vm_at(recording, number)
    made = sum(isinstance(event, ev.PgtablePageCtor) for event in events)
    way = list(walk(state, vm.mm[first.mm], first.vaddr))
    levels = [level.name for level in geometry_of(state).levels if not level.folded]
    missing = levels[len(way):] if not way[-1].entry else []
    text = (f"{geometry_of(state).name}: process {first.mm} {verb(first)} {first.vaddr:#x}. How many page tables does "
            "the kernel add for it?")
    why = f"The {', '.join(missing)} table{'s are' if len(missing) > 1 else ' is'} missing" if missing else \
        f"The entry lies in a {levels[-1]} table that is there"
    right = _count(made, f"{why}, and each is a page of its own")
    wrong = [_count(count, f"{why}: that makes {made}") for count in range(len(levels))]
    return ask("tables_made", text, right, wrong, number, first.mm)


def _count(count: int, reason: str) -> Option:
    return option(count, "1 table" if count == 1 else f"{count} tables", reason, "__pte_alloc")


# ---------------------------------------------------------------- where a part ends


def ask_addr_end(recording: Recording, number: int) -> Question | None:
    """Where does the part of a range end that one entry covers? Not asked where the range ends before."""
    event = event_at(recording, number)
    if not isinstance(event, ev.RangeWalked):
        return None
    state, _ = vm_at(recording, number)
    geometry = geometry_of(state)
    level = next((level for level in geometry.levels if level.name == event.level and not level.folded), None)
    end = _whole_end(recording, number)
    if level is None or end <= event.end or addr_end(geometry, level, event.start, end) != event.end:
        return None
    text = (f"{geometry.name}: a walk has come to {event.start:#x} and goes on to {end:#x}. Where does "
            f"{level.name}_addr_end end this part?")
    right = _stop(level, event.end, f"That is the next multiple of {1 << level.shift:#x}, the span of one "
                  f"{level.name} entry, and it lies before the end")
    return ask("addr_end", text, right, list(_other_stops(level, geometry.levels, event.start, end)), number, event.mm)


def _whole_end(recording: Recording, number: int) -> int:
    """The end of the whole range: the largest that a running function was given."""
    ends = [value for frame in recording[number].stack for name, value in frame.args if name in ("end", "end_addr")]
    return max([end for end in ends if isinstance(end, int)], default=0)


def _other_stops(level: Level, levels: tuple[Level, ...], start: int, end: int) -> Iterator[Option]:
    span = 1 << level.shift
    yield _stop(level, start + span, f"Parts end where an entry's span ends, not {span:#x} behind their start")
    yield _stop(level, end, "The range goes on there, but under the next entry")
    yield _stop(level, start + PAGE_SIZE, "That is one page; an entry of this level covers more")
    for other in levels:
        if other.shift != level.shift and not other.folded:
            stop = (start >> other.shift) + 1 << other.shift
            yield _stop(level, stop, f"That is a boundary of the {other.name} level")


def _stop(level: Level, vaddr: int, reason: str) -> Option:
    return option(vaddr, f"{vaddr:#x}", reason, f"{level.name}_addr_end")


# ---------------------------------------------------------------- what comes of a fault

OUTCOMES = {  # outcome -> words, its rule, and the function that decides
    "zero": ("the zero page is mapped", "The zero page is for reads of private anonymous memory without a page",
             "do_anonymous_page"),
    "new": ("a new page of zeros is mapped", "A page of zeros is for writes to private anonymous memory without a page "
            "or with the zero page", "do_anonymous_page"),
    "file": ("the page of the file is mapped", "The object's own page is for shared mappings, and for reads of private "
             "ones", "do_fault"),
    "copy": ("a copy is made and mapped", "A copy is for writes to a private mapping of a page that others have too",
             "wp_page_copy"),
    "reuse": ("the page stays, its entry becomes writable", "A private page stays if no other entry maps it",
              "reuse_swap_page"),
    "maperr": ("SIGSEGV, code 1: no mapping", "Code 1, MAPERR, is for addresses without a mapping",
               "do_user_addr_fault"),
    "accerr": ("SIGSEGV, code 2: no right to it", "Code 2, ACCERR, is for a mapping whose flags forbid the touch",
               "access_error"),
    "sigbus": ("SIGBUS: beyond the object", "SIGBUS is for pages behind the end of what is mapped", "do_fault"),
}


def outcome(state: Machine, vm: Vm, events: list[Event]) -> str:
    """What came of a touch."""
    first, last = events[0], events[-1]
    assert isinstance(first, ev.EntryUsed)
    if isinstance(last, ev.FaultChecked):
        return "maperr" if last.code == 1 else "accerr"
    if is_bus_error(last):
        return "sigbus"
    if any(isinstance(event, ev.SwapPageReused) and event.reuse for event in events):
        return "reuse"
    page = first.vaddr & -PAGE_SIZE
    set_to = [event.entry for event in events if isinstance(event, ev.SetPteAt) and event.vaddr == page]
    copied = any(isinstance(event, ev.SetPageMapping) and event.kind == "anon" for event in events)
    if not copied:
        zero = set_to and vm.zero_pfn == (set_to[-1] & geometry_of(state).pfn_mask) >> PAGE_SHIFT
        return "zero" if zero else "file"
    vma = mapping_at(vm.mm[first.mm], first.vaddr)
    had_page = frame_of(state, vm.mm[first.mm], first.vaddr) not in (None, vm.zero_pfn)
    return "copy" if had_page or (vma is not None and vma.vm_ops) else "new"


def ask_fault_outcome(recording: Recording, number: int) -> Question | None:
    """What comes of a touch that the entry does not allow?"""
    events = touch(recording, number)
    if not events or any(isinstance(event, MmPageAlloc) and event.order for event in events):
        return None
    first: Any = events[0]
    state, vm = vm_at(recording, number)
    right = outcome(state, vm, events)
    why = _why(state, vm, first, right)
    text = f"Process {first.mm} {verb(first)} {first.vaddr:#x}. What comes of it?"
    wrong = [_outcome(other, why) for other in _near(right)]
    return ask("fault_outcome", text, _outcome(right, why), wrong, number, first.mm)


def _near(right: str) -> list[str]:
    """The other outcomes, those that are most easily taken for it first."""
    pairs = {"zero": "new", "new": "zero", "file": "copy", "copy": "reuse", "reuse": "copy", "maperr": "accerr",
             "accerr": "maperr", "sigbus": "maperr"}
    return [pairs[right], *(other for other in OUTCOMES if other not in (right, pairs[right]))]


def _outcome(name: str, why: str) -> Option:
    words, rule, symbol = OUTCOMES[name]
    return option(name, words, f"{rule}. {why}", symbol)


def _why(state: Machine, vm: Vm, event: ev.EntryUsed, right: str) -> str:
    """What decides it, in words that hold for every option."""
    vma = mapping_at(vm.mm[event.mm], event.vaddr)
    if vma is None:
        return "No mapping holds the address"
    pfn = frame_of(state, vm.mm[event.mm], event.vaddr)
    kind = "shared" if vma.vm_flags & VM_SHARED else "private"
    what = "of a file or of shared memory" if vma.vm_ops else "anonymous"
    there = "nothing is mapped there yet" if pfn is None else "the zero page is mapped there" if pfn == vm.zero_pfn \
        else f"frame {pfn:#x} is mapped there, by {vm.mapcount.get(pfn, 0)} entries in all"
    refused = {"accerr": "; its flags forbid this touch", "sigbus": "; the object has no such page"}.get(right, "")
    return f"The mapping is {kind} and {what}; {there}{refused}"


# ---------------------------------------------------------------- get_user_pages


def ask_gup_result(recording: Recording, number: int) -> Question | None:
    """What does get_user_pages return?"""
    call = next((frame for frame in recording[number].stack if frame.symbol.startswith("get_user_pages")), None)
    before = recording[number - 1].stack if number else ()
    if call is None or any(frame.call == call.call for frame in before):
        return None
    args = dict(call.args)
    got = [step.event for step in recording.steps[number:] if any(f.call == call.call for f in step.stack)
           and isinstance(step.event, ev.UserPagesGot)]
    start, asked = args.get("start"), args.get("nr_pages")
    if not got or not isinstance(start, int) or not isinstance(asked, int):
        return None
    flags = args.get("gup_flags")
    how = " to write" if isinstance(flags, int) and flags & 1 else " to read"
    how += ", with FOLL_FORCE" if isinstance(flags, int) and flags & 0x10 else ""
    text = f"{call.symbol}({start:#x}, {asked} pages){how}. What does it return?"
    right = int(got[-1].got)
    near = [value for value in (asked, -14, right - 1, 0, right + 1, 1, -12) if value <= asked and
            (value >= 0 or value in (-14, -12))]
    wrong = [_result(value, asked, right) for value in near]
    return ask("gup_result", text, _result(right, asked, right), wrong, number, got[-1].mm)


def _result(value: int, asked: int, right: int) -> Option:
    label = {-14: "-EFAULT", -12: "-ENOMEM", 0: "0"}.get(value, f"{value} pages" if value != 1 else "1 page")
    return option(value, label, _why_got(value, asked, right), "__get_user_pages")


def _why_got(value: int, asked: int, right: int) -> str:
    if value == right < 0:
        return "The first page already cannot be had, so the error itself is returned"
    if value == right:
        short = "all of them" if right == asked else f"page {right} cannot be had, and only the first may fail aloud"
        return f"It goes from page to page and returns how far it came: {short}"
    if right < 0:
        return "That is another error" if value < 0 else "The first page cannot be had, and that is an error"
    if value < 0:
        return "An error is returned only if the first page fails: one number cannot say how far, and why not further"
    if value > right:
        return f"Page {right}, counted from 0, cannot be had, and no page is left out"
    return f"Page {value}, counted from 0, can be had as well" if value else "The first page can be had"


# ---------------------------------------------------------------- who gets the copy


def ask_who_copies(recording: Recording, number: int) -> Question | None:
    """Two processes share a page, one writes: which frame does the writer have then?"""
    event = event_at(recording, number)
    if not isinstance(event, ev.SwapPageReused):
        return None
    state, vm = vm_at(recording, number)
    begun = [step.event for step in recording.steps[:number] if isinstance(step.event, ev.FaultBegun)]
    pid = begun[-1].mm if begun else min(pid for pid in vm.mm if pid)
    refs = references(state, event.pfn)
    why = f"mapcount is {event.mapcount}, and v5.4 looks at nothing else: not at who came first, not at the {refs} " \
        "references"
    options = {
        "keeps": option("keeps", f"frame {event.pfn:#x}, as before", f"The writer keeps the page only if nobody else "
                        f"maps it: {why}", "reuse_swap_page"),
        "copies": option("copies", "a new frame with a copy", "The writer gets the copy if somebody else maps the "
                         f"page: {why}", "do_wp_page"),
        "others": option("others", f"frame {event.pfn:#x}; the others get copies", "Nobody else is touched by a fault: "
                         "only the writer's entry changes", "do_wp_page"),
        "zeros": option("zeros", "a new frame full of zeros", "Zeros are for the zero page and for pages that were not "
                        "there", "wp_page_copy")}
    right = "keeps" if event.reuse else "copies"
    text = (f"Process {pid} writes to a page whose entry is read-only: frame {event.pfn:#x} has {refs} "
            "references. Which frame does it have then?")
    return ask("who_copies", text, options[right], [options[name] for name in options if name != right], number, pid)


KINDS = {"table_index": ask_table_index, "tables_made": ask_tables_made, "addr_end": ask_addr_end,
         "fault_outcome": ask_fault_outcome, "gup_result": ask_gup_result, "who_copies": ask_who_copies}
KIND_OF = {"EntryUsed": "table_index", "FaultBegun": "fault_outcome", "PgtablePageCtor": "tables_made",
           "RangeWalked": "addr_end", "UserPagesGot": "gup_result", "SwapPageReused": "who_copies"}
PICTURES = {kind: partial(picture, "tables" if kind in ("tables_made", "who_copies") else "mappings") for kind in KINDS}
