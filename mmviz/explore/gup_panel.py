"""GupPanel: four pieces of an address space, one call of get_user_pages, and what comes back.

    GupPanel("first=touched second=untouched third=hole fourth=remapped start=0 pages=5 access=write force=no
              then=nothing")

A setting is one line of text. It lays four pieces of two pages each side by side, from 0x7f0000000000 on, and asks for
`pages` pages from page `start` on. What happens `then` is to the first page that was asked for, or to all that came.

    untouched   private memory that may be written, and that nobody has touched
    touched     the same, written before
    readonly    private memory that may be read only, and was read before
    hole        no mapping
    remapped    frames of a driver

Shown are the moments that matter: a mapping checked, a page faulted in, a page found, the answer, and what comes then.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..draw.beside import beside
from ..draw.refcounts import draw_refcounts
from ..draw.scene import Scene
from ..draw.vmas import draw_vmas
from ..excerpt import Excerpt
from ..kernel import (
    FOLL_FORCE,
    FOLL_WRITE,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    PAGE_SIZE,
    PROT_READ,
    PROT_WRITE,
    Errno,
)
from ..mm import vm_events as ev
from ..mm.access import access
from ..mm.boot import toy
from ..mm.driver import driver_open
from ..mm.fork import dup_mm
from ..mm.gup import put_user_pages
from ..mm.gup_longterm import get_user_pages
from ..mm.machine import Machine
from ..mm.mm_types import MmStruct
from ..mm.pgalloc import mm_alloc
from ..mm.swap import lru_add_drain
from ..mm.util import vm_mmap_pgoff
from ..recording import Recording, Step, record
from .knobs import Menu, Slider
from .panel import Panel
from .player import Story
from .setting import BaseSetting
from .stepper import story_of

BASE, PIECE = 0x7F00_0000_0000, 2  # the first address; pages in a piece
PIECES = ("first", "second", "third", "fourth")
KINDS = ("untouched", "touched", "readonly", "hole", "remapped")
ACCESS = ("write", "read")
THEN = ("nothing", "put", "write", "fork+write")
LIMITS = {"start": (0, 7), "pages": (1, 8)}
WORDS = {**dict.fromkeys(PIECES, KINDS), "access": ACCESS, "force": ("no", "yes"), "then": THEN}
KNOBS = (
    *(Menu(name, f"{name} two pages", KINDS) for name in PIECES),
    Slider("start", "asked: from page", *LIMITS["start"]), Slider("pages", "how many", *LIMITS["pages"]),
    Menu("access", "to", ACCESS), Menu("force", "FOLL_FORCE", WORDS["force"]), Menu("then", "and then", THEN),
)
MOMENTS = (ev.VmaFlagsChecked, ev.PageFaultedIn, ev.PageFollowed, ev.UserPagesGot)


@dataclass(frozen=True)
class Setting(BaseSetting):
    """Where the knobs stand."""

    LIMITS, WORDS = LIMITS, WORDS

    first: str = "touched"
    second: str = "untouched"
    third: str = "hole"
    fourth: str = "remapped"
    start: int = 0
    pages: int = 5
    access: str = "write"
    force: str = "no"
    then: str = "nothing"

    @property
    def vaddr(self) -> int:
        """The first address that is asked for."""
        return BASE + self.start * PAGE_SIZE

    @property
    def flags(self) -> int:
        """FOLL_*."""
        return (FOLL_WRITE if self.access == "write" else 0) | (FOLL_FORCE if self.force == "yes" else 0)


# ---------------------------------------------------------------- from a setting to a recording


def lay(machine: Machine, mm: MmStruct, piece: int, kind: str) -> None:
    """Make one piece of the address space."""
    if kind == "hole":
        return
    start, file = BASE + piece * PIECE * PAGE_SIZE, driver_open(machine, order=1) if kind == "remapped" else 0
    prot = PROT_READ if kind == "readonly" else PROT_READ | PROT_WRITE
    flags = MAP_FIXED | (MAP_SHARED if file else MAP_PRIVATE | MAP_ANONYMOUS)
    vm_mmap_pgoff(machine, mm, file, start, PIECE * PAGE_SIZE, prot, flags)
    if kind in ("touched", "readonly"):
        for page in range(PIECE):
            access(machine, mm, start + page * PAGE_SIZE, kind == "touched")


def run(setting: Setting) -> tuple[Recording, list[int], int]:
    """The recording of the call and of what comes then, the pages that came, and what was returned."""
    machine, pages = toy(4), list[int]()
    mm = mm_alloc(machine, 1, "writer")
    assert mm is not None
    for piece, name in enumerate(PIECES):
        lay(machine, mm, piece, getattr(setting, name))
    lru_add_drain(machine)
    with record(machine) as recording:
        got = get_user_pages(machine, mm, setting.vaddr, setting.pages, setting.flags, pages)
        go_on(machine, mm, setting, pages)
    return recording, pages, got


def go_on(machine: Machine, mm: MmStruct, setting: Setting, pages: list[int]) -> None:
    """What happens after the call."""
    if setting.then == "put":
        put_user_pages(machine, pages)
    if setting.then == "fork+write":
        dup_mm(machine, mm, 2, "child")
    if setting.then.endswith("write"):
        access(machine, mm, setting.vaddr, True)


def moments(recording: Recording) -> Excerpt:
    """Those of `MOMENTS` during the call, and the end of what comes then."""
    over = recording.select(ev.UserPagesGot)[-1].number + 1
    found = [step.number + 1 for step in recording.steps[:over] if isinstance(step.event, MOMENTS)]
    return Excerpt(recording, found + [len(recording)] * (len(recording) > over))


def draw(state: Machine, step: Step | None = None) -> Scene:
    """The mappings of the process, and who holds each page."""
    return beside(draw_vmas(state, step, mm=1), draw_refcounts(state, step), ("The process", "The frames"))


def heading(setting: Setting, pages: list[int], got: int) -> str:
    """The call and its answer."""
    flags = ["FOLL_WRITE"] * (setting.access == "write") + ["FOLL_FORCE"] * (setting.force == "yes")
    answer = " ".join([f"{got}:", *(f"{page:#x}" for page in pages)]) if got > 0 else f"-{Errno(-got).name}"
    after = "" if setting.then == "nothing" else f"; then {setting.then.replace('+', ', ')}"
    return f"get_user_pages({setting.vaddr:#x}, {setting.pages}, {'|'.join(flags) or '0'}) returns {answer}{after}"


# ---------------------------------------------------------------- the panel


class GupPanel(Panel):
    """Knobs for an address space and a call, and what get_user_pages makes of it.

    Examples
    --------
    >>> print(GupPanel("start=2").label)
    get_user_pages(0x7f0000002000, 5, FOLL_WRITE) returns 2: 0x1008 0x1009
    """

    SETTING = Setting
    KNOBS = KNOBS
    TITLE = "an address space, and what is asked of it"

    def shown(self, setting: Setting) -> Story:
        """The call of a setting."""
        recording, pages, got = run(setting)
        return story_of(moments(recording), draw, at=-1, label=heading(setting, pages, got))
