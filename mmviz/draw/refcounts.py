"""Who holds a page: its reference count, taken apart.

    0x1004  anon   refs 3   [m][m][p]      mapped twice, pinned once
    0x1005  file   refs 2   [m][c]         mapped once, in the page cache
    0x1006  anon   refs 2   [m][v]         mapped once, and on its way to an LRU list
    zero           refs 2   [k][p]         the kernel's own, pinned once

A page is free when the last reference is gone, and not before. Every mapping holds one (mapcount counts those alone),
the page cache holds one, a per-CPU pagevec holds one for a while. What is left over are pins: get_user_pages took them,
and somebody has to put them.
"""
from __future__ import annotations

from typing import NamedTuple

from ..mm.machine import Machine
from ..recording import Step
from .reading import HEAD, MARGIN, RIGHT, WIDTH, event_of
from .scene import Mark, Rect, Scene, Text
from .spaces import KINDS, WORDS, entries_of, page_kind, references, users, vm_of
from .style import BOX, MUTED, NUMBER, RECLAIM, REFUSED, STRONG, TEXT, Meaning, free, pcp, used

ROW, CHIP, LEFT = 26.0, 22.0, 290.0
MOST = 16  # pages in one picture
LOOKS: dict[str, tuple[Meaning, str]] = {  # holder -> how its reference looks, and what is said of it
    "m": (used("M"), "a mapping"), "c": (free("M"), "the page cache"),
    "v": (pcp("M"), "a pagevec, until it is drained"), "k": (used(), "the kernel itself"),
    "p": (RECLAIM, "a pin: somebody must put it")}


class Held(NamedTuple):
    """A page and who holds it."""

    pfn: int
    kind: str
    refs: int
    mapped: int
    cached: int
    in_pagevec: int

    @property
    def pins(self) -> int:
        """References that nobody of the others explains."""
        return max(0, self.refs - self.mapped - self.cached - self.in_pagevec - self.kernels)

    @property
    def kernels(self) -> int:
        """The first reference of the zero page, of a table, and of a frame that a driver has: the kernel keeps it."""
        return int(self.kind in ("zero", "table", "special") and self.refs > 0)


def draw_refcounts(state: Machine, step: Step | None = None, *, pfns: list[int] | None = None) -> Scene:
    """The references of pages, and who holds each.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; its page is touched.
    pfns : list of int, optional
        The frames to show; those that processes map, and those that are pinned, if not given.

    Returns
    -------
    Scene
    """
    shown = [held(state, pfn) for pfn in (frames_of(state, step) if pfns is None else pfns)]
    marks: list[Mark] = [
        Text("title", STRONG, MARGIN, 24, "Who holds each page"),
        Text("remark", MUTED, MARGIN, 42, "m: a mapping, c: the page cache, v: a pagevec, k: the kernel, "
             "p: a pin, or the wait for a TLB flush")]
    for i, page in enumerate(shown[:MOST]):
        marks += _row(page, HEAD + i * ROW, getattr(event_of(step), "pfn", None) == page.pfn)
    if len(shown) > MOST:
        marks.append(Text("more", MUTED, MARGIN, HEAD + MOST * ROW + 14, f"and {len(shown) - MOST} pages more"))
    words = "; ".join(said(page) for page in shown[:8]) or "No page is mapped or pinned"
    return Scene("Who holds each page", WIDTH, HEAD + min(len(shown), MOST + 1) * ROW + 24, marks, f"{words}.")


def frames_of(state: Machine, step: Step | None = None) -> list[int]:
    """Frames that processes map, in the order of their addresses; then those that only pins keep; the step's first."""
    mapped = [page.pfn for space in users(state) for page in entries_of(state, space)]
    kept = [pfn for pfn in sorted(vm_of(state).mapping) if held(state, pfn).pins]
    named = getattr(event_of(step), "pfn", None)
    found = list(dict.fromkeys([*mapped, *kept]))
    return sorted(found, key=lambda pfn: pfn != named) if len(found) > MOST else found


def held(state: Machine, pfn: int) -> Held:
    """Who holds a page."""
    vm = vm_of(state)
    mapping = vm.mapping.get(pfn)
    inode = vm.inode.get(mapping.owner) if mapping is not None and mapping.kind == "file" else None
    cached = int(mapping is not None and inode is not None and inode.pages.get(mapping.pgoff) == pfn)
    waiting = sum(pages.count(pfn) for pages in vm.pagevec.values())
    kind = "free" if is_free(state, pfn) else page_kind(state, 0, pfn)
    return Held(pfn, kind, references(state, pfn), vm.mapcount.get(pfn, 0), cached, waiting)


def is_free(state: Machine, pfn: int) -> bool:
    """Whether a page waits on a list of the page allocator."""
    zone = next((zone for zone in state.populated if zone.zone_start_pfn <= pfn < zone.end_pfn), None)
    piles = [pile for own in zone.pageset for pile in own.lists] if zone is not None else []
    return zone is not None and (zone.block_of(pfn) is not None or any(pfn in pile for pile in piles))


def said(page: Held) -> str:
    """One page in words."""
    counts = ((page.kernels, "the kernel itself"), (page.mapped, "mappings"), (page.cached, "the page cache"),
              (page.in_pagevec, "a pagevec"), (page.pins, "pins"))
    parts = [f"{count} by {holder}" for count, holder in counts if count]
    return f"frame {page.pfn:#x} has {page.refs} references: {', '.join(parts) or 'none is known'}"


def _row(page: Held, y: float, touched: bool) -> list[Mark]:
    """A page and a chip for each reference."""
    key = f"frame {page.pfn:#x}"
    marks: list[Mark] = [
        Rect(key, KINDS.get(page.kind, BOX), MARGIN, y, 76, CHIP, label=f"{page.pfn:#x}", touched=touched,
             tip=said(page), words=said(page)),
        Text(f"{key} kind", MUTED, MARGIN + 86, y + 15, WORDS.get(page.kind, "free page")),
        Text(f"{key} count", TEXT if page.refs else NUMBER, LEFT - 12, y + 15, f"{page.refs}", anchor="end")]
    if page.refs < page.mapped:
        marks.append(Rect(f"{key} short", REFUSED, RIGHT - 240, y, 240, CHIP, label="fewer references than mappings"))
    holders = "k" * page.kernels + "m" * page.mapped + "c" * page.cached + "v" * page.in_pagevec + "p" * page.pins
    room = int((RIGHT - 60 - LEFT) / (CHIP + 2))
    for i, holder in enumerate(holders[:room]):
        meaning, what = LOOKS[holder]
        marks.append(Rect(f"{key} ref {i}", meaning, LEFT + i * (CHIP + 2), y, CHIP, CHIP, label=holder,
                          tip=f"held by {what}"))
    if len(holders) > room:
        marks.append(Text(f"{key} more", MUTED, LEFT + room * (CHIP + 2) + 4, y + 15, f"+{len(holders) - room}"))
    return marks
