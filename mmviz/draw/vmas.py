"""An address space: its mappings with their rights and flags, the holes between them, and which pages are there.

    0x7f0000201000  [ ][ ]                      rw-p  anonymous, anon_vma 1    ac
    0x7f00001ff000
                    hole 1,023.9 MiB
    0x1 0020 8000   [#][#][ ][ ][z][ ][ ][ ]    rw-s  file 1 from page 0
    0x1 0020 0000

High addresses are at the top, as in the tree of a process that grows downwards; low ones at the bottom. A cell is one
page: solid is a page, grey the zero page or a driver's frame, tint one that nobody may touch (PROT_NONE), and
white nothing yet; a p is a pin. Wide mappings put several pages into one cell and say so.
"""
from __future__ import annotations

from collections.abc import Iterator

from ..kernel import PAGE_SHIFT, PAGE_SIZE, SMAPS_FLAGS, VM_PFNMAP
from ..mm.machine import Machine
from ..mm.memory import is_cow_mapping
from ..mm.mm_types import VmAreaStruct
from ..mm.pgtable import pte_protnone
from ..recording import Step
from .reading import HEAD, MARGIN, WIDTH, event_of
from .reading import pages as page_words
from .refcounts import held
from .scene import BLOCKS, Mark, Rect, Scene, Text
from .spaces import KINDS, WORDS, PageIn, entries_of, grouped, page_kind, rights, size_words, space_of, vm_of
from .style import BAND, BOX, CODE, MUTED, NUMBER, STRONG, TEXT, free

TALL, HOLE_TALL, CELLS, LEFT = 40.0, 20.0, 64, 150.0
BAR = 372.0  # width of the cells
LETTER = 12.0  # width of a cell that has room for a letter
MOST = 20  # mappings in one picture


def draw_vmas(state: Machine, step: Step | None = None, *, mm: int | None = None) -> Scene:
    """The mappings of a process, their flags, and the pages that are there.

    Parameters
    ----------
    state : Machine
        The state after the step.
    step : Step, optional
        What was just done; the mapping that it is about is touched.
    mm : int, optional
        The process; the one that the step names, or the first, if not given.

    Returns
    -------
    Scene
    """
    space = space_of(state, step, mm)
    shown = space.mmap[-MOST:]
    marks: list[Mark] = [
        Text("title", STRONG, MARGIN, 24, f"The address space of {space.name}"),
        Text("remark", MUTED, MARGIN, 42, f"{_mappings(space.map_count)}, {page_words(space.total_vm)}; "
             f"VmPTE {space.pgtables_bytes >> 10} kB")]
    y, above = HEAD, None
    for vma in reversed(shown):
        if above is not None and above > vma.vm_end:
            hole = f"hole of {size_words(above - vma.vm_end)}"
            marks.append(Text(f"hole {vma.vm_end:#x}", MUTED, LEFT, y + 13, hole))
            y += HOLE_TALL
        marks += _row(state, vma, y, _is_about(step, vma))
        y, above = y + TALL + 8, vma.vm_start
    if len(shown) < space.map_count:
        marks.append(Text("more", MUTED, LEFT, y + 13, f"{_mappings(space.map_count - len(shown))} more, below"))
        y += HOLE_TALL
    words = "; ".join(f"{vma.name} {rights(vma)} {backing(state, vma)}" for vma in shown[:8])
    return Scene(f"The address space of {space.name}", WIDTH, y + 8, marks, f"{words or 'No mapping'}.")


def _mappings(count: int) -> str:
    return "1 mapping" if count == 1 else f"{count} mappings"


def _is_about(step: Step | None, vma: VmAreaStruct) -> bool:
    """Whether a step names a mapping, or an address of it."""
    event = event_of(step)
    if getattr(event, "vma", None) == vma.id:
        return True
    vaddr = getattr(event, "vaddr", getattr(event, "vm_start", None))
    return getattr(event, "mm", None) == vma.vm_mm.pid and isinstance(vaddr, int) and vma.vm_start <= vaddr < vma.vm_end


def _row(state: Machine, vma: VmAreaStruct, y: float, touched: bool) -> list[Mark]:
    """One mapping: its ends, its pages, what it is."""
    key = f"vma {vma.id}"
    said = f"{vma.name}: {page_words(vma.vm_end - vma.vm_start >> PAGE_SHIFT)}, {rights(vma)}, {backing(state, vma)}"
    marks: list[Mark] = [
        Text(f"{key} end", NUMBER, LEFT - 8, y + 10, grouped(vma.vm_end), anchor="end"),
        Text(f"{key} start", NUMBER, LEFT - 8, y + TALL - 2, grouped(vma.vm_start), anchor="end"),
        Rect(key, BOX if touched else BAND, LEFT, y, BAR + 8, TALL, label="", touched=touched, layer=0, tip=said,
             words=said),
        Text(f"{key} rights", CODE, LEFT + BAR + 20, y + 15, rights(vma)),
        Text(f"{key} size", MUTED, LEFT + BAR + 20, y + 33, page_words(vma.vm_end - vma.vm_start >> PAGE_SHIFT)),
        Text(f"{key} backing", TEXT, LEFT + BAR + 104, y + 15, backing(state, vma)),
        Text(f"{key} flags", MUTED, LEFT + BAR + 104, y + 33, flag_words(vma) + _per_cell(vma))]
    return marks + list(_cells(state, vma, y))


def _per_cell(vma: VmAreaStruct) -> str:
    per = -(-(vma.vm_end - vma.vm_start >> PAGE_SHIFT) // CELLS)
    return f"; a cell is {page_words(per)}" if per > 1 else ""


def _cells(state: Machine, vma: VmAreaStruct, y: float) -> Iterator[Mark]:
    """The pages of a mapping, in at most CELLS cells; the first page that is there speaks for its cell."""
    count = vma.vm_end - vma.vm_start >> PAGE_SHIFT
    per = -(-count // CELLS)
    width = min(20.0, BAR / -(-count // per))
    there: dict[int, PageIn] = {}
    for page in entries_of(state, vma.vm_mm, vma.vm_start, vma.vm_end):
        there.setdefault((page.vaddr - vma.vm_start >> PAGE_SHIFT) // per, page)
    for i in range(-(-count // per)):
        vaddr = vma.vm_start + i * per * PAGE_SIZE
        key, x = f"page {vma.vm_mm.pid} {vaddr:#x}", LEFT + 4 + i * width
        if i in there:
            page = there[i]
            kind = page_kind(state, page.entry, page.pfn)
            meaning = free("M") if pte_protnone(page.entry) else KINDS[kind]
            label = "p" if width >= LETTER and held(state, page.pfn).pins else ""
            yield Rect(key, meaning, x, y + 4, width - 1, TALL - 8, label=label, layer=BLOCKS,
                       tip=_tip(page, kind, per) + ("\npinned" if label else ""))
        else:
            yield Rect(key, BOX, x, y + 4, width - 1, TALL - 8, label="", layer=BLOCKS,
                       tip=f"{vaddr:#x}\nnothing there yet")


def _tip(page: PageIn, kind: str, per: int) -> str:
    more = f"\none cell is {page_words(per)}" if per > 1 else ""
    return f"{page.vaddr:#x}\nframe {page.pfn:#x}, {WORDS[kind]}{more}"


def backing(state: Machine, vma: VmAreaStruct) -> str:
    """What a mapping shows: "anonymous", "ptfile from page 3", "map from frame 0x1004", and its anon_vma."""
    inode = vm_of(state).inode.get(vma.vm_file)
    by_frame = vma.vm_flags & VM_PFNMAP and is_cow_mapping(vma.vm_flags)  # then vm_pgoff is a pfn
    first = f"frame {vma.vm_pgoff:#x}" if by_frame else f"page {vma.vm_pgoff}"
    what = f"{inode.name} from {first}" if inode is not None else "anonymous"
    return what + (f", anon_vma {vma.anon_vma}" if vma.anon_vma else "")


def flag_words(vma: VmAreaStruct) -> str:
    """Flags beyond the rights, by their letters in smaps: "ac" accounted, "lo" locked, "pf" PFNMAP."""
    return " ".join(letters for bit, letters in SMAPS_FLAGS.items() if vma.vm_flags & bit) or "no other flag"
