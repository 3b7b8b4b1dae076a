"""Questions about the windows to high memory: which slot, what a sweep frees, who sleeps, which address is nested.

Each takes a recording and a step number, and returns a Question or None (see questions.py). The makers make a small
32-bit machine with a past, and record a few requests that nobody has seen.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from ..mm import highmem_events as ev
from ..mm import vm_events
from ..mm.boot_32 import kmap_toy
from ..mm.highmem_32 import kmap, kmap_atomic, kunmap, kunmap_atomic
from ..mm.machine import Machine, set_current
from ..mm.mmzone import Zone
from ..mm.page_ref import page_zone
from ..mm.pkmap import Kmap, kmap_part
from ..mm.watermark import is_highmem
from ..recording import Recording, record
from .questions import Ask, Option, Question, Value, event_at, events_from, option, pages, question

HIGH, LOW = 0x1400, 0x1000  # the first pages of the toy's two zones
END = (ev.Kmapped,)


def _before(recording: Recording, number: int) -> tuple[Kmap, Zone]:
    """The windows before a step, and the zone of high memory."""
    state: Machine = recording.at(number)
    return kmap_part(state), state.zones()[-1]


def _counts(state: Kmap) -> str:
    return f"{', '.join(map(str, state.pkmap_count))} in slots 0 to {state.windows.last_pkmap - 1}"


# ---------------------------------------------------------------- which slot


def ask_kmap_slot(recording: Recording, number: int) -> Question | None:
    """Which slot does a page get that has no address? Not asked where kmap would sleep."""
    search = event_at(recording, number)
    if not isinstance(search, ev.PageAddressSearched) or search.vaddr:
        return None
    done = [step.event for step in events_from(recording, number, END)][-1]
    if not isinstance(done, ev.Kmapped) or not done.vaddr:
        return None
    state, zone = _before(recording, number)
    got, hand = state.windows.pkmap_nr(done.vaddr), state.last_pkmap_nr
    text = (f"Page {search.pfn:#x} has no address. The hand is at slot {hand}; the counts are {_counts(state)}. "
            "Which slot does kmap give it?")
    swept = any(isinstance(step.event, ev.ZeroPkmapsSought) for step in events_from(recording, number, END))
    when = "After the sweep, slot" if swept else "Slot"
    right = option(got, f"slot {got}", f"{when} {got} is the first on the way of the hand whose count is 0",
                   "map_new_virtual")
    marks: dict[str, Value] = {f"slot {nr}": nr for nr in range(state.windows.last_pkmap)}
    return question("kmap_slot", text, right, _other_slots(state, got, swept), number, zone, marks)


def _other_slots(state: Kmap, got: int, swept: bool) -> Iterator[Option]:
    counts, size = state.pkmap_count, state.windows.last_pkmap
    following = (state.last_pkmap_nr + 1) % size
    unused = [nr for nr, count in enumerate(counts) if count == 1]
    if unused:
        after = "it is swept with the others, but the hand meets another one first" if swept else \
            "it keeps its page until the hand comes round to slot 0"
        yield option(unused[0], f"slot {unused[0]}", f"Its count is 1: {after}", "flush_all_zero_pkmaps")
    yield option(following, f"slot {following}", f"The hand looks there next, and its count is {counts[following]}: "
                 "only 0 can be used", "map_new_virtual")
    yield option(state.last_pkmap_nr, f"slot {state.last_pkmap_nr}", "The hand is there now, and it moves before it "
                 "looks", "get_next_pkmap_nr")
    yield option(0, "slot 0", "The search does not begin at 0: it goes on where it was", "get_next_pkmap_nr")
    free = [nr for nr, count in enumerate(counts) if not count]
    for nr in free[:1] + free[-1:]:
        yield option(nr, f"slot {nr}", "It is free too, but the hand meets another free slot first", "map_new_virtual")


# ---------------------------------------------------------------- what a sweep frees


def ask_kmap_sweep(recording: Recording, number: int) -> Question | None:
    """Which slots does a sweep free? Not asked where it frees none, or where nothing else could be thought."""
    sought = event_at(recording, number)
    if not isinstance(sought, ev.ZeroPkmapsSought) or not sought.found:
        return None
    state, zone = _before(recording, number)
    freed: list[int] = []
    for step in recording.steps[number + 1:]:
        if isinstance(step.event, ev.TlbRangeFlushed):
            break
        if isinstance(step.event, ev.SetPkmapCount):
            freed.append(step.event.nr)
    text = (f"The hand has come round to slot 0. The counts are {_counts(state)}. Which slots does the sweep take from "
            "their pages?")
    right = _slots(freed, "Mapped, and without users: their count is 1, and that is what the sweep looks for",
                   "flush_all_zero_pkmaps")
    return question("kmap_sweep", text, right, _other_sweeps(state, freed), number, zone)


def _other_sweeps(state: Kmap, freed: list[int]) -> Iterator[Option]:
    counts = list(enumerate(state.pkmap_count))
    yield _slots([nr for nr, count in counts if count == 2], "A count of 2 is one user, who still has the address",
                 "kunmap_high")
    yield _slots([nr for nr, count in counts if count < 2], "A slot at 0 is free already: there is nothing to take",
                 "flush_all_zero_pkmaps")
    yield _slots([nr for nr, count in counts if count], "Whoever has a slot with users would lose his address while he "
                 "works with it", "flush_all_zero_pkmaps")
    if len(freed) > 1:
        yield _slots(freed[:1], "One would do for this kmap; but one flush of all TLBs is the dear part, so all go at "
                     "once", "flush_all_zero_pkmaps")
    yield option((), "none", "A kunmap does not unmap: this is the moment when it happens", "flush_all_zero_pkmaps")


def _slots(slots: list[int], reason: str, symbol: str) -> Option:
    return option(tuple(slots), ", ".join(map(str, slots)) or "none", reason, symbol)


# ---------------------------------------------------------------- who sleeps


OUTCOMES = {
    "again": "the address that it has", "free": "a free slot, without a sweep", "sweep": "a slot, after a sweep",
    "sleep": "its task sleeps",
}


def ask_kmap_sleep(recording: Recording, number: int) -> Question | None:
    """What comes of a kmap: the same address, a free slot, a slot after a sweep, or sleep?"""
    search = event_at(recording, number)
    if not isinstance(search, ev.PageAddressSearched):
        return None
    kinds = [step.event for step in events_from(recording, number, (*END, ev.Kunmapped))]
    if not isinstance(kinds[-1], ev.Kmapped):
        return None
    state, zone = _before(recording, number)
    right = "again" if search.vaddr else "sleep" if not kinds[-1].vaddr else \
        "sweep" if any(isinstance(event, ev.ZeroPkmapsSought) for event in kinds) else "free"
    known = ", ".join(f"{pfn:#x} in slot {nr}" for nr, pfn in sorted(state.page_address_maps.items())) or "none"
    text = (f"kmap of page {search.pfn:#x}. The hand is at slot {state.last_pkmap_nr}; the counts are "
            f"{_counts(state)}; mapped pages: {known}. What does it get?")
    reasons = _sleep_reasons(state, search.pfn, right)
    return question("kmap_sleep", text, reasons.pop(right), reasons.values(), number, zone)


def _sleep_reasons(state: Kmap, pfn: int, right: str) -> dict[str, Option]:
    counts, hand = state.pkmap_count, state.last_pkmap_nr
    ahead = [nr for nr in range(hand + 1, len(counts)) if not counts[nr]]
    again = ("The page is in the hash table: its count goes up, and no slot is searched" if right == "again" else
             f"Page {pfn:#x} is not among the mapped ones: a slot must be found")
    free = (f"Slot {ahead[0]} is ahead of the hand, and its count is 0" if ahead else
            "From the hand to the end of the window no count is 0: it comes round to slot 0 first")
    sleep = ("Every count is 2 or more: even the sweep finds nothing" if min(counts) > 1 else
             "Not every slot has users: one at 0 or 1 is found, at the latest after the sweep")
    sweep = {"sweep": "No count is 0 up to the end of the window; coming round to slot 0, the hand has all slots swept",
             "sleep": "There is a sweep, but it finds no slot without users",
             "free": "The hand finds a free slot before it comes round to slot 0",
             "again": "Nothing is searched, so the hand does not move"}[right]
    if right == "again":
        free = "Nothing is searched: the page has an address, used or not"
    said = {"again": (again, "kmap_high"), "free": (free, "map_new_virtual"),
            "sweep": (sweep, "flush_all_zero_pkmaps"), "sleep": (sleep, "map_new_virtual")}
    return {value: option(value, OUTCOMES[value], *words) for value, words in said.items()}


# ---------------------------------------------------------------- which address is nested


def ask_kmap_nested(recording: Recording, number: int) -> Question | None:
    """Which address does kmap_atomic give? Of a high page the next of the CPU's pile, of a low one its own."""
    disabled, following = event_at(recording, number), event_at(recording, number + 1)
    if not isinstance(disabled, ev.PagefaultDisable):
        return None
    state, zone = _before(recording, number)
    cpu, last = disabled.cpu, event_at(recording, number + 2)
    if isinstance(following, ev.PageAddressFound):
        pfn, vaddr = following.pfn, following.vaddr
    elif isinstance(last, vm_events.SetPteAt):
        pfn, vaddr = last.entry >> 12, last.vaddr
    else:
        return None
    high = is_highmem(page_zone(recording.at(number), pfn))
    text = (f"CPU {cpu} has {pages(state.kmap_atomic_idx[cpu])} in its pile, and calls kmap_atomic for page {pfn:#x} "
            f"of {'HighMem' if high else 'low memory'}. Which address does it get?")
    reason = "The next slot down in the pile of this CPU" if high else \
        "A low page has its address in the direct map, and takes no slot"
    right = option(vaddr, f"{vaddr:#x}", reason, "kmap_atomic_prot")
    marks: dict[str, Value] = {f"fixmap {state.windows.fix_to_virt(idx):#x}": state.windows.fix_to_virt(idx)
                               for idx in range(4 * state.windows.km_type_nr)}
    return question("kmap_nested", text, right, _other_addresses(state, cpu, pfn, high), number, zone, marks)


def _other_addresses(state: Kmap, cpu: int, pfn: int, high: bool) -> Iterator[Option]:
    windows, depth = state.windows, state.kmap_atomic_idx[cpu]
    at = windows.km_type_nr * cpu + depth
    if not high:
        yield _address(windows.fix_to_virt(at), "That is the next slot of the pile, but a low page needs none")
    else:
        yield _address(0xC0000000 + (pfn << 12) & 0xFFFFFFFF, "That would be its place in the direct map, which shows "
                       "low memory only")
    if depth:
        yield _address(windows.fix_to_virt(at - 1), "That slot is taken: the map before this one is not given back yet")
        yield _address(windows.fix_to_virt(at - 2), "The pile grows downward: a higher index is a lower address")
    others = [other for other in range(len(state.kmap_atomic_idx)) if other != cpu]
    for other in others[:1]:
        yield _address(windows.fix_to_virt(windows.km_type_nr * other + state.kmap_atomic_idx[other]),
                       f"That is the next slot of CPU {other}: each CPU has {windows.km_type_nr} of its own")
    yield _address(windows.pkmap_addr((state.last_pkmap_nr + 1) % windows.last_pkmap), "That is the window of kmap, "
                   "which kmap_atomic does not use")
    yield _address(windows.fix_to_virt(at + 1), "That slot is one further down: none is left out")


def _address(vaddr: int, reason: str) -> Option:
    return option(vaddr, f"{vaddr:#x}", reason, "kmap_atomic_prot")


# ---------------------------------------------------------------- machines with a past


class _User:
    """Who maps and unmaps at random, and remembers what is mapped."""

    def __init__(self, rng: Random, slots: int) -> None:
        self.rng, self.machine = rng, kmap_toy(slots)
        self.pages = list(range(HIGH, HIGH + slots + 4))
        self.held: list[int] = []

    def go(self, steps: int, give: float) -> None:
        """`steps` calls, of which this share gives something back."""
        for _ in range(steps):
            if self.held and self.rng.random() < give:
                kunmap(self.machine, self.held.pop(self.rng.randrange(len(self.held))))
            else:
                pfn = self.rng.choice(self.pages)
                if kmap(self.machine, pfn) is not None:
                    self.held.append(pfn)


def _mapping(rng: Random) -> Recording:
    user = _User(rng, rng.choice((4, 8)))
    give = rng.choice((0.15, 0.4, 0.5))
    user.go(rng.randint(3, 20), give)
    with record(user.machine) as recording:
        user.go(6, give)
    return recording


def _sweeping(rng: Random) -> Recording:
    user = _User(rng, 8)
    user.go(rng.randint(4, 12), 0.45)
    with record(user.machine) as recording:
        user.go(16, 0.45)
    return recording


def _nesting(rng: Random) -> Recording:
    machine = kmap_toy(4, cpus=rng.randint(2, 4))
    piles: dict[int, list[int]] = {cpu: [] for cpu in range(len(machine.cpu_to_node))}
    with record(machine) as recording:
        for _ in range(rng.randint(6, 14)):
            set_current(machine, rng.randrange(len(piles)))
            pile = piles[machine.current.cpu]
            if pile and rng.random() < 0.3:
                kunmap_atomic(machine, pile.pop())
            else:
                pile.append(kmap_atomic(machine, rng.choice((LOW, HIGH, HIGH)) + rng.randrange(0x40)))
    return recording


KINDS: dict[str, Ask] = {"kmap_slot": ask_kmap_slot, "kmap_sweep": ask_kmap_sweep, "kmap_sleep": ask_kmap_sleep,
                         "kmap_nested": ask_kmap_nested}
KIND_OF = {"PkmapProbed": "kmap_slot", "SetLastPkmapNr": "kmap_slot", "ZeroPkmapsSought": "kmap_sweep",
           "AddWaitQueue": "kmap_sleep", "Kmapped": "kmap_sleep", "KmapAtomicIdxPush": "kmap_nested"}
MAKERS: dict[str, Callable[[Random], Recording]] = {
    "kmap_slot": _mapping, "kmap_sweep": _sweeping, "kmap_sleep": _mapping, "kmap_nested": _nesting}
