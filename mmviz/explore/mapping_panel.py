"""MappingPanel: choose a mapping, and see which page tables it costs.

    MappingPanel("geometry=x86-64 kind=anonymous pages=4 boundary=pte before=1 prot=rw- touch=write huge=never")

A setting is one line of text: the panel shows it, and takes it. It makes a process, one mapping of `pages` pages that
begins `before` pages below a boundary (of a PTE table, a PMD table, a PUD table: where the geometry has no such table,
the next larger one), and touches its pages one after the other, the first 16 of a large mapping. Each page is one place
of the slider: what came of the touch, the tree of tables, and VmPTE.

Everything runs anew each time, so the same line shows the same pictures.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..draw.reading import pages
from ..draw.tables import draw_tables
from ..kernel import I386, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PAGE_SHIFT, PAGE_SIZE, Config
from ..mm.access import access
from ..mm.boot import boot, toy
from ..mm.driver import driver_open
from ..mm.geometry import GEOMETRIES
from ..mm.machine import Machine
from ..mm.mm_types import MmStruct
from ..mm.pgalloc import mm_alloc
from ..mm.shmem import shmem_file_setup
from ..mm.util import vm_mmap_pgoff
from .knobs import Menu, Slider
from .panel import Panel
from .places import Place, story_of
from .player import Story
from .setting import BaseSetting

KINDS = ("anonymous", "shared", "file", "remapped")
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 512, 1024)
MOST_TOUCHES = 16
BOUNDARIES = ("pte", "pmd", "pud")
PROTS = ("rw-", "r--", "-w-", "r-x", "---")
TOUCHES = ("write", "read", "none")
HUGE = ("never", "always")
WORDS: dict[str, tuple[str, ...]] = {
    "geometry": tuple(name.replace(" ", "-") for name in GEOMETRIES), "kind": KINDS, "pages": tuple(map(str, SIZES)),
    "boundary": BOUNDARIES, "before": tuple(map(str, range(17))), "prot": PROTS, "touch": TOUCHES, "huge": HUGE}
KNOBS = (
    Menu("geometry", "geometry", WORDS["geometry"]), Menu("kind", "mapping", KINDS),
    Slider("pages", "size", options=SIZES, unit="pages"), Menu("boundary", "boundary of a table", BOUNDARIES),
    Slider("before", "begins before it", 0, 16, unit="pages"), Menu("prot", "protection", PROTS),
    Menu("touch", "touch each page", TOUCHES), Menu("huge", "huge pages", HUGE),
)
BASES = {64: 0x7F00_0000_0000, 32: 0x4000_0000}


@dataclass(frozen=True)
class Setting(BaseSetting):
    """Where the knobs stand.

    Examples
    --------
    >>> print(Setting.parse("pages=2 before=1"))
    geometry=x86-64 kind=anonymous pages=2 boundary=pte before=1 prot=rw- touch=write huge=never
    """

    WORDS = WORDS

    geometry: str = "x86-64"
    kind: str = "anonymous"
    pages: int = 4
    boundary: str = "pte"
    before: int = 1
    prot: str = "rw-"
    touch: str = "write"
    huge: str = "never"

    @property
    def start(self) -> int:
        """The first address of the mapping: so many pages before the boundary."""
        geometry = GEOMETRIES[self.geometry_name]
        spans = [level.shift for level in reversed(geometry.levels[:-1]) if not level.folded]
        shift = spans[min(BOUNDARIES.index(self.boundary), len(spans) - 1)]
        boundary: int = (BASES[geometry.bits] >> shift) + 1 << shift
        return boundary - (self.before << PAGE_SHIFT)

    @property
    def geometry_name(self) -> str:
        """The geometry as the Config names it."""
        return next(name for name in GEOMETRIES if name.replace(" ", "-") == self.geometry)


# ---------------------------------------------------------------- from a setting to pictures


def machine_of(setting: Setting) -> Machine:
    """A machine with this geometry, and nobody on it."""
    if GEOMETRIES[setting.geometry_name].bits == 32:
        config = replace(I386, geometry=setting.geometry_name, transparent_hugepage=setting.huge)
        return boot([("Normal", 0x1000, 0x1000)], config=config)
    return toy(16, config=Config(geometry=setting.geometry_name, transparent_hugepage=setting.huge))


def map_it(machine: Machine, mm: MmStruct, setting: Setting) -> int:
    """mmap as the setting says; returns what mmap does."""
    file = {"file": lambda: shmem_file_setup(machine, "file", 16), "remapped": lambda: driver_open(machine)}
    ino = file[setting.kind]() if setting.kind in file else 0
    flags = MAP_FIXED | (MAP_PRIVATE if setting.kind == "anonymous" else MAP_SHARED) | (0 if ino else MAP_ANONYMOUS)
    prot = sum(bit for letter, bit in (("r", 1), ("w", 2), ("x", 4)) if letter in setting.prot)
    return vm_mmap_pgoff(machine, mm, ino, setting.start, setting.pages << PAGE_SHIFT, prot, flags, 0)


def places(setting: Setting) -> Iterator[Place]:
    """The mapping before its first page, and after each touch."""
    machine = machine_of(setting)
    mm = mm_alloc(machine, 1, "process")
    assert mm is not None
    result = map_it(machine, mm, setting)
    said = f"mmap of {setting.pages} pages at {setting.start:#x}" if result >= 0 else f"mmap is refused: {result}"
    yield Place("mmap", f"{said}; VmPTE {_vm_pte(mm)} kB.", draw_tables(machine, vaddr=setting.start))
    if setting.touch == "none" or result < 0:
        return
    for page in range(min(setting.pages, MOST_TOUCHES)):
        vaddr, before = setting.start + page * PAGE_SIZE, mm.pgtables_bytes
        done = access(machine, mm, vaddr, setting.touch == "write", page)
        new = mm.pgtables_bytes - before >> PAGE_SHIFT
        what = f"{done.signal} at {vaddr:#x}" if done.signal else f"{setting.touch} at {vaddr:#x}: {_tables(new)}"
        yield Place(f"{vaddr:#x}", f"{what}; VmPTE {_vm_pte(mm)} kB.", draw_tables(machine, vaddr=vaddr))


def heading(setting: Setting) -> str:
    """What the player shows, in words."""
    return f"{pages(setting.pages)}, {setting.kind}, {setting.prot}, from {setting.start:#x}; {setting.geometry}"


def _vm_pte(mm: MmStruct) -> int:
    return mm.pgtables_bytes >> 10


def _tables(new: int) -> str:
    return "no new table" if not new else "1 new table" if new == 1 else f"{new} new tables"


# ---------------------------------------------------------------- the panel


class MappingPanel(Panel):
    """Knobs, and the tables of the mapping that they choose.

    Examples
    --------
    >>> MappingPanel("pages=1 before=0")
    MappingPanel("geometry=x86-64 kind=anonymous pages=1 boundary=pte before=0 prot=rw- touch=write huge=never")
    """

    SETTING = Setting
    KNOBS = KNOBS
    TITLE = "the mapping, and how its pages are touched"

    def shown(self, setting: Setting) -> Story:
        """The mapping before its first page, and after each touch."""
        return story_of(list(places(setting)), heading(setting), -1)
