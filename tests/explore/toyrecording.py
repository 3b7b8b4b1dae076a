"""A recording of nothing in particular: a row of blocks that split and change hands. Tests of the player use it."""

import random
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from mmviz.draw.scene import Arrow, Bracket, Mark, Rect, Scene, Text
from mmviz.draw.style import AXIS, BOX, LINK, MUTED, NUMBER, TITLE, free, used


@dataclass(frozen=True)
class Taken:
    block: int
    letter: str
    decision: ClassVar[bool] = False
    tracepoint: ClassVar[str | None] = None


@dataclass(frozen=True)
class Looked:
    block: int
    decision: ClassVar[bool] = True
    tracepoint: ClassVar[str | None] = None


class Frame(NamedTuple):
    call: int
    symbol: str
    file: str
    line: int
    args: tuple[tuple[str, Any], ...]


class Step(NamedTuple):
    index: int
    event: Taken | Looked
    stack: tuple[Frame, ...]


class Recording:
    """Blocks 0 .. count-1; each step looks at one, or takes or frees it."""

    def __init__(self, count: int, steps: int, seed: int = 1) -> None:
        dice = random.Random(seed)
        self.start = dict.fromkeys(range(count), "")
        self.steps = [self._step(i, dice, count) for i in range(steps)]

    def _step(self, i: int, dice: random.Random, count: int) -> Step:
        block = dice.randrange(count)
        event = Looked(block) if i % 3 else Taken(block, dice.choice("UMR"))
        names = ("alloc_pages", "get_page_from_freelist", "rmqueue", "__rmqueue")[:2 + i % 3]
        args = (("order", i // 3 % 4),)
        return Step(i, event, tuple(Frame(i // 3, name, "mm/page_alloc.c", 1, args) for name in names))

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, i: int) -> Step:
        return self.steps[i]

    def at(self, i: int) -> dict[int, str]:
        state = dict(self.start)
        for step in self.steps[:i]:
            if isinstance(step.event, Taken):
                state[step.event.block] = "" if state[step.event.block] else step.event.letter
        return state


def say(event: Taken | Looked) -> str:
    if isinstance(event, Looked):
        return f"Block {event.block:#x} is looked at: nothing changes yet, and the search goes on."
    return f"Block {event.block:#x} changes hands <{event.letter}> & is taken off its list."


def draw_blocks(state: dict[int, str], step: Step | None = None) -> Scene:
    """A row of blocks, with an arrow to the one that the step is about."""
    touched = step.event.block if step else None
    marks: list[Mark] = [Rect("zone", BOX, 10, 40, 880, 22 + 34 * (len(state) // 25 + 1)),
                         Text("t", TITLE, 10, 24, "Zone DMA32"), Text("hex", NUMBER, 820, 30, "0x1000"),
                         Bracket("pageblock", AXIS, 158, 260, 36, "a bracket")]
    for block, letter in state.items():
        x, y = 20 + block % 25 * 34.4, 54 + block // 25 * 34
        kind = used(letter) if letter else free("M")
        marks.append(Rect(f"block {block:#x}", kind, x, y, 31, 22, touched=block == touched,
                          tip=f"block {block:#x}\norder 0, {'in use ' + letter if letter else 'free, MOVABLE'}",
                          words=f"block {block:#x} is {'in use' if letter else 'free'}"))
        if block == touched:
            marks.append(Arrow("hand", LINK, x - 18, y - 12, x - 1, y + 6, bend=-0.2, touched=not step.event.decision))
    height = 90 + 34 * (len(state) // 25 + 1)
    marks.append(Text("legend", MUTED, 10, height - 8, "solid = in use, tint = free"))
    return Scene("Blocks of a zone", 900, height, marks)
