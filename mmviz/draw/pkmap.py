"""kmap's window: a ring of slots, the hand that goes round, and what a sweep takes.

                 0                      slot, address, page, pkmap_count
              (  0  )                   0 0xff400000 ------ 0: free
        3 (  2  )  (  2  ) 1            1 0xff401000 0x1400 2: one user
              (  1  )   <-- hand        2 0xff402000 0x1401 1: mapped, no users
                 2                      3 0xff403000 0x1402 2: one user

Solid has users, a broken outline is mapped without users, white is free; the number is pkmap_count. The hand moves
first and looks then; where it passes 12 o'clock it comes to slot 0, and there the sweep is. A window of more than 32
slots is drawn as a carpet: a row for 64 slots, and the page of the one that a step touches in its tooltip.
"""
from __future__ import annotations

from collections import Counter
from math import cos, pi, sin

from ..mm import highmem_events as ev
from ..mm import vm_events
from ..mm.machine import Machine
from ..mm.pkmap import Kmap, kmap_part
from ..recording import Step
from ..trace import Event
from .reading import HEAD, MARGIN, RIGHT, WIDTH, event_of, heading, running
from .scene import Arrow, Dot, Line, Mark, Rect, Scene, Text
from .style import AXIS, BOX, CODE, GRID, MARK, MUTED, NUMBER, RECLAIM, STRONG, Meaning, pcp, used

RING = 32  # slots that fit on a ring
CENTRE, RADIUS = 205.0, 130.0
TABLE = 430.0  # where the table begins
CARPET, CARPET_RIGHT = 64, RIGHT - 100.0  # slots in a row of the carpet, and where it ends


def draw_pkmap(state: Machine, step: Step | None = None) -> Scene:
    """The slots of kmap, their counts, and the hand.

    Parameters
    ----------
    state : Machine
        The state after the step; a 32-bit one, ValueError for a 64-bit one, which has no such window.
    step : Step, optional
        What was just done.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_pkmap(mv.kmap_toy(4)).title
    "kmap's window: 4 slots"
    """
    kmap = window_of(state)
    title = f"kmap's window: {kmap.windows.last_pkmap:,} slots"
    remark = f"{kmap.windows.pkmap_base:#x} and up; the hand is at slot {kmap.last_pkmap_nr}"
    marks = heading(state, title, remark, None)
    marks += _badge(event_of(step))
    body, bottom = (_ring if kmap.windows.last_pkmap <= RING else _carpet)(kmap, step)
    marks += body + _foot(kmap, step, bottom)
    return Scene(title, WIDTH, bottom + 62, marks, _words(kmap))


def window_of(state: Machine) -> Kmap:
    """The windows of a machine; ValueError if it has none."""
    if not isinstance(state, Machine):
        raise ValueError(f"state must be a Machine, got {type(state).__name__}: draw(recording.at(i), recording[i])")
    kmap = kmap_part(state)
    if not kmap.windows.last_pkmap:
        raise ValueError("a 64-bit machine has no windows to high memory: all of its memory has an address")
    return kmap


def users(count: int) -> str:
    """A pkmap_count in words."""
    if count < 2:
        return ("free", "mapped, no users")[count]
    return "one user" if count == 2 else f"{count - 1:,} users"


def meaning_of(count: int) -> Meaning:
    """Solid with users, broken outline without, white if free."""
    return used("M") if count > 1 else pcp("M") if count else BOX


def slots_touched(kmap: Kmap, step: Step | None) -> set[int]:
    """The slots that a step is about: the one it names, or all that a sweep finds."""
    event = event_of(step)
    if isinstance(event, (ev.SetPkmapCount, ev.PkmapProbed)):
        return {event.nr}
    if isinstance(event, ev.ZeroPkmapsSought):
        return {nr for nr, count in enumerate(kmap.pkmap_count) if count == 1}
    vaddr = getattr(event, "vaddr", 0) if isinstance(event, (
        ev.SetPageAddress, ev.PageAddressSearched, ev.Kmapped, vm_events.SetPteAt)) else 0
    return {kmap.windows.pkmap_nr(vaddr)} if kmap.windows.in_pkmap(vaddr) else set()


# ---------------------------------------------------------------- the ring


def _ring(kmap: Kmap, step: Step | None) -> tuple[list[Mark], float]:
    count, now = kmap.windows.last_pkmap, slots_touched(kmap, step)
    middle = HEAD + RADIUS + 62
    radius = min(26.0, 0.42 * 2 * pi * RADIUS / count)
    marks: list[Mark] = [_start(middle)]
    for nr in range(count):
        x, y = _place(nr, count, RADIUS, middle)
        far = RADIUS + radius + 13
        label_x, label_y = _place(nr, count, far, middle) if nr else (CENTRE + radius + 4, middle - RADIUS - radius)
        marks.append(Dot(f"slot {nr}", meaning_of(kmap.pkmap_count[nr]), x, y, radius, label=str(kmap.pkmap_count[nr]),
                         touched=nr in now))  # the table says the rest
        marks.append(Text(f"nr {nr}", STRONG if nr == kmap.last_pkmap_nr else MUTED, label_x, label_y + 4, str(nr),
                          anchor="middle"))
    marks += _hand(kmap, step, middle, radius)
    rows = _table(kmap, now)
    return marks + rows, max(middle + RADIUS + 58, HEAD + 32 + 19 * count)


def _place(nr: float, count: int, radius: float, middle: float) -> tuple[float, float]:
    """Slot 0 stands at 12 o'clock, and the hand goes with the clock."""
    angle = 2 * pi * nr / count
    return CENTRE + radius * sin(angle), middle - radius * cos(angle)


def _start(middle: float) -> Mark:
    return Line("start", GRID, CENTRE, middle - 30, CENTRE, middle - RADIUS + 34,
                tip="here the hand comes to slot 0, and the sweep is")


def _hand(kmap: Kmap, step: Step | None, middle: float, radius: float) -> list[Mark]:
    moved = isinstance(event_of(step), ev.SetLastPkmapNr)
    x, y = _place(kmap.last_pkmap_nr, kmap.windows.last_pkmap, RADIUS - radius - 8, middle)
    return [Arrow("hand", MARK, CENTRE, middle, x, y, touched=moved, tip=f"last_pkmap_nr = {kmap.last_pkmap_nr}",
                  words=f"the hand is at slot {kmap.last_pkmap_nr}"),
            Text("hand name", MUTED, CENTRE, middle + (22 if y < middle else -12), "last_pkmap_nr", anchor="middle")]


def _table(kmap: Kmap, now: set[int]) -> list[Mark]:
    """A row for each slot: its number, its address, its page, its count. All columns are of the same width."""
    marks: list[Mark] = [Text("head", MUTED, TABLE, HEAD + 14, "slot, address, page, pkmap_count"),
                         Line("rule", AXIS, TABLE, HEAD + 20, RIGHT, HEAD + 20)]
    digits, widest = len(str(kmap.windows.last_pkmap - 1)), max(kmap.page_address_maps.values(), default=0)
    nothing = "-" * len(f"{widest:#x}")
    for nr, count in enumerate(kmap.pkmap_count):
        pfn = kmap.page_address_maps.get(nr)
        page = nothing if pfn is None else f"{pfn:#x}"
        text = f"{nr:0{digits}} {kmap.windows.pkmap_addr(nr):#x} {page} {count}: {users(count)}"
        marks.append(Text(f"row {nr}", CODE, TABLE, HEAD + 38 + 19 * nr, text, touched=nr in now))
    return marks


# ---------------------------------------------------------------- the carpet


def _carpet(kmap: Kmap, step: Step | None) -> tuple[list[Mark], float]:
    """A window of a whole page table: runs of slots that are free, unused, or in use alike."""
    now, marks, width = slots_touched(kmap, step), list[Mark](), (CARPET_RIGHT - 70) / CARPET
    for row in range(0, kmap.windows.last_pkmap, CARPET):
        y = HEAD + 22 + row / CARPET * 22
        marks.append(Text(f"row {row}", NUMBER, 62, y + 12, str(row), anchor="end"))
        for first, last in _runs(kmap, row, now):
            count = kmap.pkmap_count[first]
            label = str(count) if first == last and count > 1 else ""
            marks.append(Rect(f"slot {first}", meaning_of(count), 70 + (first - row) * width, y,
                              (last - first + 1) * width, 17, label=label, touched=first in now,
                              tip=_tip(kmap, first) if first in now else ""))  # a thousand tips fit in no notebook
    bottom = HEAD + 22 + kmap.windows.last_pkmap / CARPET * 22
    row, column = divmod(kmap.last_pkmap_nr, CARPET)
    x, y = 70 + (column + 0.5) * width, HEAD + 22 + row * 22
    marks += [Line("hand at", MARK, x, y - 4, x, y + 21),
              Arrow("hand", MARK, CARPET_RIGHT + 30, y + 8.5, CARPET_RIGHT + 4, y + 8.5,
                    touched=isinstance(event_of(step), ev.SetLastPkmapNr), tip=f"last_pkmap_nr = {kmap.last_pkmap_nr}",
                    words=f"the hand is at slot {kmap.last_pkmap_nr}"),
              Text("hand name", MUTED, CARPET_RIGHT + 34, y + 12.5, f"hand: {kmap.last_pkmap_nr}")]
    return marks, bottom


def _runs(kmap: Kmap, row: int, now: set[int]) -> list[tuple[int, int]]:
    """Slots of one row that look alike: first and last."""
    runs: list[tuple[int, int]] = []
    for nr in range(row, row + CARPET):
        count, before = kmap.pkmap_count[nr], runs[-1][1] if runs else -1
        alike = count < 2 and runs and kmap.pkmap_count[before] == count and not now & {nr, before}
        if alike:
            runs[-1] = (runs[-1][0], nr)
        else:
            runs.append((nr, nr))
    return runs


# ---------------------------------------------------------------- around it


def _tip(kmap: Kmap, nr: int) -> str:
    page = kmap.page_address_maps.get(nr)
    shows = f"shows page {page:#x}" if page is not None else "shows nothing"
    return f"slot {nr}, {kmap.windows.pkmap_addr(nr):#x}\npkmap_count {kmap.pkmap_count[nr]}: " \
           f"{users(kmap.pkmap_count[nr])}\n{shows}"


def _badge(event: Event | None) -> list[Mark]:
    """How a kmap ended: its address, or sleep."""
    if not isinstance(event, ev.Kmapped):
        return []
    label = f"{event.pfn:#x} at {event.vaddr:#x}" if event.vaddr else f"{event.pfn:#x}: the task sleeps"
    width = len(label) * 7.6 + 18
    return [Rect("outcome", used("M") if event.vaddr else RECLAIM, RIGHT - width, 10, width, 24, label=label, tip=label,
                 words=label)]


def _foot(kmap: Kmap, step: Step | None, bottom: float) -> list[Mark]:
    """Who sleeps, and whether this step sweeps or flushes."""
    event = event_of(step)
    asleep = ", ".join(f"{pfn:#x}" for pfn in kmap.pkmap_map_wait)
    said = "one flush of all TLBs" if isinstance(event, ev.TlbRangeFlushed) else \
        "sweep: every slot at 1" if running(step, "flush_all_zero_pkmaps") else ""
    marks: list[Mark] = [
        Text("asleep", STRONG if asleep else MUTED, MARGIN, bottom + 46,
             f"asleep until a slot has no users: {asleep}" if asleep else "nobody sleeps for a slot",
             touched=isinstance(event, (ev.AddWaitQueue, ev.WakeUp)))]
    if said:
        marks.append(Text("sweep", STRONG, RIGHT, bottom + 46, said, anchor="end", touched=True))
    return marks


def _words(kmap: Kmap) -> str:
    kinds = Counter(min(count, 2) for count in kmap.pkmap_count)
    asleep = f" Asleep: {len(kmap.pkmap_map_wait)}." if kmap.pkmap_map_wait else ""
    return (f"{kmap.windows.last_pkmap:,} slots: {kinds[2]:,} with users, {kinds[1]:,} mapped without users, "
            f"{kinds[0]:,} free. The hand is at slot {kmap.last_pkmap_nr}.{asleep}")
