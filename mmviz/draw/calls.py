"""The outline of the notes as an executable call tree: the line whose function runs is lit.

    get_page_from_freelist                    ink: on the call stack
      for_next_zone_zonelist_nodemask         grey: not running
        if (zone_watermark_ok()
        rmqueue                               ink
          if order == 0
            rmqueue_pcplist                   ink
              ...
              > __rmqueue_pcplist(list)       ink, ground and triangle: the innermost line that runs

The outline is text, kept as it stands in the notes; `outline(section)` reads it. A line belongs to the first kernel
function that it names. Some lines name none, or name by a macro what the kernel does elsewhere: `ALSO` says which
function or event lights them, and nothing else is added. Where a function stands twice, the line under the caller that
is running is meant. What runs below the innermost line, and is not in the outline, stands at the foot.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from .. import kernel
from ..mm.machine import Machine
from ..recording import Step
from ..trace import mirrored
from .reading import MARGIN, WIDTH, heading
from .scene import GROUND, Mark, Rect, Scene, Text
from .style import BAND, CODE, MUTED, NUMBER

LINE, TOP, INDENT = 17.0, 68.0, 7.4
LETTER = 6.2  # width of a letter of the foot
LONGEST = 96  # characters of a line

# A line that names no function of the kernel, or another than the one that runs here: what else lights it; a function,
# an event, or an event of one function alone.
ALSO = {
    "if (zone_watermark_ok()": ("zone_watermark_fast", "__zone_watermark_ok"),
    "for_next_zone_zonelist_nodemask": ("WatermarkChecked",),
    "node_reclaim(zone->zone_pgdat, gfp_mask, order)": ("NodeReclaimed",),
    "list = &pcp->lists[migratetype];": ("PcpListFoundEmpty",),
    "if list_empty   // a batch of pages are allocated each time from buddy": ("PcpListFoundEmpty",),
    "list_first_entry(list)": ("PcpListDel",),
    "for (passin-order to MAX_ORDER)": ("FreeAreaSearched",),
    "page = get_page_from_free_area(area, migratetype) ==> list_first_entry_or_null": ("FreeAreaSearched",),
    "INIT_LIST_HEAD(&page->lru)": ("SetPageGuard",),
    "page->private = order": ("SetPageGuard",),
    "page->index = migratetype;": ("set_pcppage_migratetype",),
    "kernel_init_free_pages": ("PagesCleared",),
    "clear highmen for 1 << order pages": ("PagesCleared",),
    "alloc_flags &= ~ALLOC_NOFRAGMENT;": ("NofragmentDropped",),
    "goto retry;": ("NofragmentDropped",),
    "if (no_fallback) {": ("NofragmentDropped",),
    "return NULL;": ("AllocationFailed",),
    "if (is_cow_mapping)": ("RemapChecked",),
    "vma->vm_pgoff = pfn": ("remap_pfn_range:SetVmPgoff",),
    "vma->vm_flags |= VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP;": ("remap_pfn_range:SetVmFlags",),
    "// TO BE STUDIED": ("remap_pud_range", "remap_pmd_range", "remap_pte_range"),
    "for each number of pages": ("VmaSearched", "__get_user_pages"),
}


class OutlineLine(NamedTuple):
    """One line of an outline: its depth in columns, its text, the function it names, and the line it stands under."""

    depth: int
    text: str
    symbol: str
    parent: int


@lru_cache(maxsize=32)
def outline(section: str = "mm/page_alloc.c") -> str:
    """The text of one section of the outline, as it stands in data/outline.md.

    Parameters
    ----------
    section : str
        The heading of the section.

    Raises
    ------
    ValueError
        If there is no such section; it names those that there are.

    Examples
    --------
    >>> outline("get free pages").split()[0]
    '__get_free_pages'
    """
    path = kernel.DATA / "outline.md"
    parts = re.split(r"^#+ +(.*)$", path.read_text(encoding="utf-8"), flags=re.M)[1:]
    sections = dict(zip(map(str.strip, parts[::2]), parts[1::2], strict=True))
    if section not in sections:
        raise ValueError(f"section must be one of {', '.join(map(repr, sections))}, got {section!r}")
    return sections[section].replace("```", "").strip("\n")


def draw_calls(state: Machine, step: Step | None = None, *, outline: str | None = None, recording: Any = None,
               width: float = WIDTH) -> Scene:
    """The outline with the line that is running lit.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; its call stack lights the lines.
    outline : str, optional
        The text of the outline, or the name of its section; "mm/page_alloc.c" if not given.
    recording : Recording, optional
        If given, the lines that ran in its earlier steps are ticked.
    width : float
        Of the picture; with 480 two of them stand side by side, if the outline's lines are short.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_calls(mv.toy(4), outline="get free pages").title
    'The outline as a call tree'
    """
    lines = read_outline(_text(outline))
    lit = lit_lines(lines, step)
    outer = {above for i in lit for above in _above(lines, i)}
    innermost = max(lit.keys() - outer, key=lambda i: (lit[i], i), default=-1)
    done = _done(lines, step, recording) if recording and step is not None else set()
    remark = "ink: on the call stack; triangle: the innermost line" + ("; tick: ran before" if recording else "")
    marks = heading(state, "The outline, running", remark, step, width - MARGIN)
    for i, line in enumerate(lines):
        marks += _line(i, line, i in lit, i == innermost, i in done, width)
    bottom = TOP + len(lines) * LINE
    marks.append(_foot(lines, step, bottom, int((width - MARGIN - 22) / LETTER)))
    running = lines[innermost].text if lit else ""
    words = f"The line {running!r} of the outline is running." if lit else "No line of the outline is running."
    return Scene("The outline as a call tree", width, bottom + 34, marks, words)


def _text(text: str | None) -> str:
    if text is None:
        return outline()
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"outline must be the text of an outline or the name of its section, got {text!r}")
    return text if "\n" in text else outline(text)


# ---------------------------------------------------------------- reading the outline


@lru_cache(maxsize=32)
def read_outline(text: str) -> tuple[OutlineLine, ...]:
    """The lines of an outline with their functions; empty lines, comments and lone brackets are left out.

    Examples
    --------
    >>> [line.symbol for line in read_outline("rmqueue(zone)\\n  if order == 0\\n    rmqueue_pcplist")]
    ['rmqueue', '', 'rmqueue_pcplist']
    """
    lines: list[OutlineLine] = []
    for row in _without_comments(text).expandtabs(2).splitlines():
        words = row.strip()
        if not words or words in "{};":
            continue
        depth = len(row) - len(row.lstrip())
        parent = next((i for i in range(len(lines) - 1, -1, -1) if lines[i].depth < depth), -1)
        lines.append(OutlineLine(depth, words[:LONGEST], _symbol(words), parent))
    return tuple(lines)


def _without_comments(text: str) -> str:
    """Without comments over several lines; those at the end of a line stay, they are part of the outline."""
    return re.sub(r"/\*[^*\n]*\n.*?\*/", "", text, flags=re.S)


def _symbol(words: str) -> str:
    """The first kernel function that a line names."""
    known = mirrored()
    for name in re.findall(r"[A-Za-z_]\w*", words.split("//")[0]):
        if name in known or name in kernel.kernel_symbols():
            return str(name)
    return ""


def lit_lines(lines: tuple[OutlineLine, ...], step: Step | None) -> dict[int, int]:
    """The lines that run in this step, each with how deep its function stands on the call stack."""
    if step is None:
        return {}
    lit: dict[int, int] = {}
    above, last = "", -1
    for depth, frame in enumerate(step.stack):
        found = [i for i, line in enumerate(lines) if frame.symbol in (line.symbol, *ALSO.get(line.text, ()))]
        if found:
            last = _under(lines, found, above, last)
            lit[last] = depth
            above = frame.symbol
    event = type(step.event).__name__
    said = {event, f"{step.stack[-1].symbol}:{event}" if step.stack else event}
    extra = [i for i, line in enumerate(lines) if said & {*ALSO.get(line.text, ())}]
    return lit | {i: len(step.stack) for i in extra}


def _under(lines: tuple[OutlineLine, ...], found: list[int], above: str, last: int) -> int:
    """Of the lines that name a function, the one under the function above it on the stack, or else behind that one."""
    under = (i for i in found if _caller(lines, i) == above)
    behind = (i for i in found if i > last)
    return next(chain(under, behind), found[0])


def _above(lines: tuple[OutlineLine, ...], i: int) -> Iterator[int]:
    """The lines that line `i` stands under, the nearest first."""
    while (i := lines[i].parent) >= 0:
        yield i


def _caller(lines: tuple[OutlineLine, ...], i: int) -> str:
    """The function of the nearest line above `i` in the tree that names one."""
    return next((lines[above].symbol for above in _above(lines, i) if lines[above].symbol), "")


def _done(lines: tuple[OutlineLine, ...], step: Step, recording: Iterable[Step]) -> set[int]:
    """The lines that ran in an earlier step."""
    seen: set[int] = set()
    for earlier in recording:
        if earlier.number >= step.number:
            break
        seen |= set(lit_lines(lines, earlier))
    return seen


# ---------------------------------------------------------------- marks


def _line(i: int, line: OutlineLine, is_lit: bool, is_innermost: bool, is_done: bool,
          width: float) -> list[Mark]:
    x, y = MARGIN + 22 + line.depth * INDENT, TOP + i * LINE
    tip = f"{line.symbol}\n{kernel.kernel_symbols()[line.symbol][0]}" if line.symbol in kernel.kernel_symbols() else ""
    marks: list[Mark] = [Text(f"line {i}", CODE if is_lit else NUMBER, x, y + 12.5, line.text, tip=tip,
                              touched=is_innermost, words=f"{line.text} is running" if is_innermost else "")]
    if is_lit:
        marks.append(Rect(f"ground {i}", BAND, MARGIN + 18, y, width - 2 * MARGIN - 18, LINE, label="", layer=GROUND))
    if is_done:
        marks.append(Text(f"done {i}", NUMBER, MARGIN, y + 12.5, "✓", tip="ran before"))
    return marks


def _foot(lines: tuple[OutlineLine, ...], step: Step | None, bottom: float, room: int) -> Mark:
    """The functions that run below the innermost line, and that the outline does not name; the last if not all fit."""
    symbols = {line.symbol for line in lines} | {name for line in lines for name in ALSO.get(line.text, ())}
    stack = [frame.symbol for frame in step.stack] if step is not None else []
    below = max((depth + 1 for depth, symbol in enumerate(stack) if symbol in symbols), default=0)
    where = "below that line, not in the outline" if below else "running, not in the outline"
    texts = [f"{where}: {' > '.join(stack[below:][-count:]) or 'nothing'}" for count in (4, 3, 2, 1)]
    text = next((text for text in texts if len(text) <= room), texts[-1])
    return Text("left out", MUTED, MARGIN + 22, bottom + 20, text)
