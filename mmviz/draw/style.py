"""What a mark means, and what that looks like: the only place that knows colours, patterns and sizes.

A drawing never says "red". It says `used("UNMOVABLE")`, and here that becomes a hue, a pattern, an outline and the
colour of the letter. So one vocabulary, learnt once, holds in every picture:

    solid = in use          used("M")     one hue for each migratetype: U M R H C I, and "" for "has no type"
    tint  = free            free("M")     the same hue, pale
    tint, broken outline    pcp("M")      free for this CPU, but not counted as free
    heavy ink + triangle    touched=True  "this step touches it" (a flag of every mark)
    black, solid            REFUSED       the kernel's own answer: NULL
    black, dashed           RECLAIM       the simulator's answer: here the kernel would reclaim

Nothing is said by hue alone: every hue has its letter and its hatching, so the pictures survive a grey printer and
colour blindness. Text stands at 4.5:1 or better on what is behind it, outlines at 3:1 on paper; a test recomputes it.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

INK, MUTED_INK, GRID_INK, PAPER_WHITE = "#1B1E23", "#6B7078", "#D5D8DC", "#FFFFFF"
SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif"
MONO = "ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace"


class Meaning(NamedTuple):
    """What a mark stands for: a role, and for page frames the letter of the migratetype."""

    role: str
    letter: str = ""


@dataclass(frozen=True)
class Hue:
    """The four colours of one migratetype, the lines of its hatching on solid and on tint, and its letter."""

    solid: str
    tint: str
    edge: str
    letter: str
    hatch_solid: str
    hatch_tint: str


@dataclass(frozen=True)
class Look:
    """How a shape or a text is painted. `hatch` names a row of HATCHES; sizes and widths are user units (CSS px)."""

    fill: str = "none"
    stroke: str = "none"
    width: float = 0.0
    dash: str = ""
    hatch: str = ""
    hatch_ink: str = ""
    size: float = 0.0
    weight: int = 400
    mono: bool = False
    anchor: str = "start"


@dataclass(frozen=True)
class Hatch:
    """One pattern: a path in a square tile for SVG, and the letters that matplotlib uses for the same thing."""

    path: str
    matplotlib: str
    width: float = 1.0
    tile: int = 6


HUES = {
    "U": Hue("#B91D1D", "#F0CDCD", "#8C1414", PAPER_WHITE, "#931717", "#E3A6A6"),
    "M": Hue("#007EB1", "#C7E3EE", "#00618A", PAPER_WHITE, "#00638B", "#92C8DF"),
    "R": Hue("#F6CD4E", "#FDF4D8", "#8A6A00", INK, "#D0AA33", "#E3D2A0"),
    "H": Hue("#5C3D52", "#DBD4D9", "#452C3D", PAPER_WHITE, "#7A5A70", "#B9ABB4"),
    "C": Hue("#73C8B1", "#E0F3EE", "#1F7A64", INK, "#56AD96", "#A9D4C8"),
    "I": Hue("#8A8F98", "#E5E6E8", "#5F646D", INK, "#B9BCC1", "#C3C6CB"),
    "": Hue("#6B7078", "#EEEFF1", "#4B5058", PAPER_WHITE, "#6B7078", "#EEEFF1"),
}
"""Colours by letter: UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, CMA, ISOLATE, and what has no type."""

HATCHES = {
    "U": Hatch("M-1 1 1-1M0 6 6 0M5 7 7 5", "///"),
    "M": Hatch("M1.5 1.5h.01M4.5 4.5h.01", "..", 1.5),
    "R": Hatch("M-1 5 1 7M0 0 6 6M5-1 7 1", "\\\\\\"),
    "H": Hatch("M0 3H6M3 0V6", "++"),
    "C": Hatch("M0 3H6", "---"),
    "I": Hatch("M0 0 6 6M0 6 6 0", "xx"),
    "hole": Hatch("M-1 1 1-1M0 8 8 0M7 9 9 7", "//", tile=8),
    "guard": Hatch("M0 0 6 6M0 6 6 0", "xxx", 1.2),
}

class Stroke(NamedTuple):
    """How one curve among others is drawn: colour, dashes, and matplotlib's letter for its markers."""

    ink: str
    dash: str
    marker: str


STROKES = (Stroke("#1B1E23", "", "o"), Stroke("#1F7A64", "6 2", "s"), Stroke("#A34A00", "2 2", "^"),
           Stroke("#6A4FB3", "7 2 2 2", "D"), Stroke("#5F646D", "4 3", "v"))
"""Curves over time, in order; no hue of a migratetype, since these are none."""

FAMILIES = ("used", "free", "pcp")


def used(migratetype: str = "") -> Meaning:
    """A page or an object in use; the letter or the name of its migratetype, or nothing where it has none."""
    return _of("used", migratetype)


def free(migratetype: str = "") -> Meaning:
    """A page or a block on a free list."""
    return _of("free", migratetype)


def pcp(migratetype: str = "") -> Meaning:
    """A page on a per-CPU list: free for that CPU, and not counted as free."""
    return _of("pcp", migratetype)


def _of(family: str, migratetype: str) -> Meaning:
    letter = migratetype.removeprefix("MIGRATE_")[:1].upper()
    if letter not in HUES:
        raise ValueError(f"migratetype must begin with one of {''.join(HUES)}, got {migratetype!r}")
    return Meaning(family, letter)


# Surfaces
BOX = Meaning("box")  # a frame around other things: a zone, a node, a list head
BAND = Meaning("band")  # a pale ground behind other things: a lane, a pageblock
HOLE = Meaning("hole")  # nothing is there: absent memory, a missing entry
GUARD = Meaning("guard")  # a debug guard page
# Outcomes
REFUSED = Meaning("refused")  # the kernel says NULL
RECLAIM = Meaning("reclaim")  # the simulator stops: the kernel would reclaim
# Texts
TITLE = Meaning("title")
STRONG = Meaning("strong")
TEXT = Meaning("text")
MUTED = Meaning("muted")  # a remark
CODE = Meaning("code")  # a kernel name
NUMBER = Meaning("number")  # an address, a pfn: muted, fixed width
# Lines and arrows
AXIS = Meaning("axis")
GRID = Meaning("grid")
LINK = Meaning("link")  # points to, next on the list
MARK = Meaning("mark")  # a limit, a watermark

SHAPES = {
    BOX: Look(PAPER_WHITE, MUTED_INK, 1),
    BAND: Look("#F4F5F6"),
    HOLE: Look(PAPER_WHITE, MUTED_INK, 1, dash="2 3", hatch="hole", hatch_ink=GRID_INK),
    GUARD: Look(PAPER_WHITE, INK, 1, hatch="guard", hatch_ink="#A5A9AF"),
    REFUSED: Look(INK, INK, 1.5),
    RECLAIM: Look(PAPER_WHITE, INK, 1.5, dash="5 3"),
    AXIS: Look(stroke=MUTED_INK, width=1),
    GRID: Look(stroke=GRID_INK, width=1),
    LINK: Look(stroke=MUTED_INK, width=1.25),
    MARK: Look(stroke=INK, width=1.25, dash="6 3"),
}
"""How surfaces and lines look."""

TEXTS = {
    TITLE: Look(INK, size=16, weight=600),
    STRONG: Look(INK, size=13, weight=600),
    TEXT: Look(INK, size=13),
    MUTED: Look(MUTED_INK, size=12),
    CODE: Look(INK, size=12, mono=True),
    NUMBER: Look(MUTED_INK, size=11, mono=True),
}
"""How texts look."""

TOUCHED = Look(stroke=INK, width=2.5)
TRIANGLE = Look(INK)
LABEL = 12.0  # size of a letter in a block


def shape_look(meaning: Meaning) -> Look:
    """How a surface or a line with this meaning is painted."""
    if meaning.role in FAMILIES:
        return _block_look(meaning)
    if meaning not in SHAPES:
        raise ValueError(f"a shape cannot mean {meaning.role!r}; known: {_known(SHAPES)}, used, free, pcp")
    return SHAPES[meaning]


def _block_look(meaning: Meaning) -> Look:
    hue = HUES[meaning.letter]
    solid = meaning.role == "used"
    return Look(hue.solid if solid else hue.tint, hue.edge, 1, "3 2" if meaning.role == "pcp" else "", meaning.letter,
                (hue.hatch_solid if solid else hue.hatch_tint) if meaning.letter else "")


def text_look(meaning: Meaning, anchor: str = "start") -> Look:
    """How a text with this meaning is set."""
    if meaning not in TEXTS:
        raise ValueError(f"a text cannot mean {meaning.role!r}; known: {_known(TEXTS)}")
    return _anchored(TEXTS[meaning], anchor)


def label_look(meaning: Meaning, size: float = LABEL, anchor: str = "middle") -> Look:
    """How a text is set that stands on a shape of this meaning."""
    ink = HUES[meaning.letter].letter if meaning.role == "used" else PAPER_WHITE if meaning == REFUSED else INK
    return Look(ink, size=size, weight=600, anchor=anchor)


def _anchored(look: Look, anchor: str) -> Look:
    if anchor not in ("start", "middle", "end"):
        raise ValueError(f"anchor must be start, middle or end, got {anchor!r}")
    return replace(look, anchor=anchor)


def _known(looks: dict[Meaning, Look]) -> str:
    return ", ".join(meaning.role for meaning in looks)


def text_width(text: str, meaning: Meaning = TEXT) -> float:
    """About how wide a text will be, in user units; for layouts, since no font can be asked.

    Examples
    --------
    >>> text_width("order 3") < text_width("order 10")
    True
    """
    look = TEXTS[meaning]
    return len(text) * look.size * (0.61 if look.mono else 0.56)


def contrast(one: str, other: str) -> float:
    """The WCAG contrast of two colours, 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
