"""All steps of a picture in a few kilobytes: marks by key, with the stretches of steps in which each stays the same.

A few hundred steps of a picture of 200 marks are 350 KB as full frames. Three plain ideas make 6 to 20 KB of it:

1. *Stretches.* A mark that does not change is written once. What changes is written as the difference to before:

       key "block 0x1000"   "0,5,3c,a0,2,7;4,,,3"      numbers in base 36, a place in tenths
                             | | |  |  | |  | |
                             | | x  y  | tip| body 3: place and tip as before
                             | steps   body steps
                             gap

2. *Interning.* A body (the parts of a mark, relative to its origin), a look, a stack of calls: each stands once in a
   table. Two hundred blocks have a dozen bodies.

3. *Kindred texts.* Texts that differ in their numbers only are written as one sentence with gaps, and the numbers
   that go there, row by row: what is as in the row before is left out.

       ["Block 0x", " leaves the order-", " list."]   "4c00,3;4c08;4c0c,2"

player.js reads this back with a few lines; `decode` here does the same, so that a test can hold the two together.
No general compressor is used: its bytes differ from one zlib to the next, and a notebook's output must not.
"""
from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from ..draw.scene import Mark, Part, Scene, Shape
from ..draw.svg import attributes, hatch_id, hatch_tile, number, path_text

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
FORMAT = 1


class Pose(NamedTuple):
    """One look of one mark: place in tenths of a unit, body, tooltip; the numbers are places in tables."""

    x: int
    y: int
    body: int
    tip: int


class Stretch(NamedTuple):
    """The steps from `first` up to `end` (exclusive) in which a mark keeps its pose."""

    first: int
    end: int
    pose: Pose


def base36(value: int) -> str:
    """An integer as player.js reads it with ``parseInt(text, 36)``.

    Examples
    --------
    >>> base36(35), base36(-36), int("-10", 36)
    ('z', '-10', -36)
    """
    if value < 0:
        return "-" + base36(-value)
    return DIGITS[value] if value < 36 else base36(value // 36) + DIGITS[value % 36]


class CallLine(NamedTuple):
    """One line of the call outline: function, arguments, file, and where its source can be read."""

    symbol: str
    args: str
    file: str
    url: str


class Table:
    """Values in the order in which they were first seen; each has one number."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def __getitem__(self, value: Hashable) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    def values(self) -> list[Any]:
        """The values, in the order of their numbers."""
        return list(self._numbers)


# ---------------------------------------------------------------- texts

NUMBER = re.compile(r"(?<=0x)[0-9a-f]+|[0-9]+(?!x)")


def arrange(texts: Iterable[str]) -> list[str]:
    """The texts, kin beside kin: those that differ in their numbers only, in the order of their numbers."""
    def kinship(text: str) -> tuple[list[str], list[int], str]:
        return NUMBER.split(text), [int(number, 16) for number in NUMBER.findall(text)], text
    return sorted(texts, key=kinship)


def shrink(texts: list[str]) -> list[list[str]]:
    """Arranged texts: for each kind the words around the numbers, and then the numbers of all texts of that kind."""
    coded = []
    for words, kin in groupby(texts, NUMBER.split):
        rows, before = [], [""] * (len(words) - 1)
        for numbers in map(NUMBER.findall, kin):
            changed = ("" if new == old else new for new, old in zip(numbers, before, strict=True))
            rows.append(",".join(changed).rstrip(","))
            before = numbers
        coded.append([*words, ";".join(rows)])
    return coded


def unshrink(coded: list[list[str]]) -> list[str]:
    """What `shrink` coded."""
    texts = []
    for *words, rows in coded:
        numbers = [""] * (len(words) - 1)
        for row in rows.split(";"):
            new = row.split(",") + [""] * len(numbers)
            numbers = [here or old for here, old in zip(new, numbers, strict=False)]
            texts.append(words[0] + "".join(number + word for number, word in zip(numbers, words[1:], strict=True)))
    return texts


# ---------------------------------------------------------------- stretches

def code_stretches(stretches: list[Stretch], count: int) -> str:
    """The stretches of one mark as text; `count` is the number of frames."""
    rows, at, before = [], 0, Pose(0, 0, 0, 0)
    for first, end, pose in stretches:
        fields = [base36(first - at) if first > at else "", "" if end == count else base36(end - first)]
        fields += ["" if new == old else base36(new) for new, old in zip(pose, before, strict=True)]
        rows.append(",".join(fields).rstrip(","))
        at, before = end, pose
    return ";".join(rows)


def decode_stretches(text: str, count: int) -> list[Stretch]:
    """What `code_stretches` coded."""
    stretches, at, pose = [], 0, Pose(0, 0, 0, 0)
    for row in text.split(";"):
        gap, length, *fields = [int(field, 36) if field else None for field in (row + ",,,,,").split(",")][:6]
        pose = Pose(*(old if new is None else new for new, old in zip(fields, pose, strict=True)))
        first = at + (gap or 0)
        at = count if length is None else first + length
        stretches.append(Stretch(first, at, pose))
    return stretches


# ---------------------------------------------------------------- the whole

class Encoder:
    """Takes scenes one after the other and keeps what changes."""

    def __init__(self) -> None:
        self.count = 0
        self.title = ""
        self.size = (0.0, 0.0)
        self.texts = Table()
        self._looks, self._bodies = Table(), Table()
        self._hatches: dict[str, dict[str, str | int]] = {}
        self._stretches: dict[str, list[Stretch]] = {}
        self._alts: list[int] = []
        self._sentences: list[int] = []
        self._stack: list[int] = []
        self._stacks, self._lines, self._functions = Table(), Table(), Table()
        self._decisions: list[int] = []
        self._boring: list[int] = []
        self._seen: dict[Mark, Pose] = {}

    def add(self, scene: Scene, sentence: str = "", calls: Sequence[CallLine] = (), decision: bool = False,
            boring: bool = False) -> None:
        """Take the next step: its picture, what it does in words, who called whom, whether it changes nothing.

        A `boring` decision is one that the button "next decision" passes over.
        """
        self.title = self.title or scene.title
        self.size = max(self.size[0], scene.width), max(self.size[1], scene.height)
        self._alts.append(self.texts[scene.words or _touched_words(scene)])
        self._sentences.append(self.texts[sentence])
        self._stack.append(self._stack_of(calls))
        self._decisions += [self.count] * decision
        self._boring += [self.count] * boring
        poses = {mark: self._seen.get(mark) or self._pose(mark) for mark in scene.marks}
        for mark, pose in poses.items():
            self._keep(self._stretches.setdefault(mark.key, []), pose)
        self._seen = poses
        self.count += 1

    def _keep(self, stretches: list[Stretch], pose: Pose) -> None:
        here = self.count
        if stretches and stretches[-1].end == here and stretches[-1].pose == pose:
            stretches[-1] = stretches[-1]._replace(end=here + 1)
        else:
            stretches.append(Stretch(here, here + 1, pose))

    def _stack_of(self, calls: Sequence[CallLine]) -> int:
        """The number of a stack: it is the stack of its caller and one line more; the empty one is 0."""
        found = 0
        for call in calls:
            function = self._functions[tuple(self.texts[text] for text in (call.symbol, call.file, call.url))]
            found = 1 + self._stacks[found, self._lines[function, self.texts[call.args]]]
        return found

    def _pose(self, mark: Mark) -> Pose:
        x, y = mark.origin
        body = (mark.depth, *(self._part(part) for part in mark.parts()))
        return Pose(round(x * 10), round(y * 10), self._bodies[body], self.texts[mark.tip])

    def _part(self, part: Part) -> tuple[int | str, ...]:
        look = part.look
        if look.hatch and look.hatch_ink:
            self._hatches[hatch_id(look)] = hatch_tile(look)
        found = self._looks[tuple(attributes(look, "").items())]
        if isinstance(part, Shape):
            return found, self.texts[path_text(part.path)]
        return found, self.texts[part.text], number(part.x), number(part.y)

    def finish(self) -> dict[str, Any]:
        """Everything as plain data; texts are sorted here, so every number of a text is given anew."""
        texts = arrange(self.texts.values())
        place = {self.texts[text]: number for number, text in enumerate(texts)}
        keys = arrange(self._stretches)
        return {
            "format": FORMAT, "title": self.title, "size": list(map(number, self.size)), "frames": self.count,
            "texts": shrink(texts), "keys": shrink(keys), "marks": [self._coded(key, place) for key in keys],
            "bodies": [_renumber(body, place) for body in self._bodies.values()],
            "looks": [dict(look) for look in self._looks.values()], "hatches": list(self._hatches.values()),
            "alts": runs([place[n] for n in self._alts]), "sentences": runs([place[n] for n in self._sentences]),
            "functions": [[place[n] for n in function] for function in self._functions.values()],
            "lines": [[function, place[args]] for function, args in self._lines.values()],
            "callers": runs([caller for caller, _ in self._stacks.values()]),
            "called": runs([line for _, line in self._stacks.values()]), "stack": runs(self._stack),
            "decisions": self._decisions, "boring": self._boring,
        }

    def _coded(self, key: str, place: dict[int, int]) -> str:
        moved = [s._replace(pose=s.pose._replace(tip=place[s.pose.tip])) for s in self._stretches[key]]
        return code_stretches(moved, self.count)


def runs(numbers: list[int]) -> str:
    """One number for each step, in base 36; empty means as before."""
    return ",".join("" if i and n == numbers[i - 1] else base36(n) for i, n in enumerate(numbers))


def _touched_words(scene: Scene) -> str:
    return "; ".join(mark.words for mark in scene.marks if mark.words and mark.touched)


def _renumber(body: tuple[Any, ...], place: dict[int, int]) -> list[Any]:
    depth, *parts = body
    return [depth, *([look, place[text], *map(float_or_int, at)] for look, text, *at in parts)]


def float_or_int(text: str) -> float:
    """The shortest number for JSON."""
    return float(text) if "." in text else int(text)


# ---------------------------------------------------------------- back again

class Drawn(NamedTuple):
    """One mark of one frame as the browser sees it: the parts hold looks and texts, not their numbers."""

    key: str
    x: float
    y: float
    layer: int
    parts: tuple[tuple[Any, ...], ...]
    tip: str


def drawn(scene: Scene) -> list[Drawn]:
    """A scene as the browser should see it, without any coding."""
    return sorted(Drawn(m.key, round(m.origin[0] * 10) / 10, round(m.origin[1] * 10) / 10, m.depth,
                        tuple(map(_plain, m.parts())), m.tip) for m in scene.marks)


def _plain(part: Part) -> tuple[Any, ...]:
    look = tuple(attributes(part.look, "").items())
    if isinstance(part, Shape):
        return look, path_text(part.path)
    return look, part.text, float_or_int(number(part.x)), float_or_int(number(part.y))


def decode(data: dict[str, Any]) -> Iterable[list[Drawn]]:
    """The frames that were encoded, in turn."""
    texts, keys = unshrink(data["texts"]), unshrink(data["keys"])
    tracks = [(key, decode_stretches(code, data["frames"])) for key, code in zip(keys, data["marks"], strict=True)]
    looks = [tuple(look.items()) for look in data["looks"]]
    bodies = [(depth, tuple((looks[look], texts[text], *at) for look, text, *at in parts))
              for depth, *parts in data["bodies"]]
    for i in range(data["frames"]):
        yield sorted(Drawn(key, pose.x / 10, pose.y / 10, *bodies[pose.body], texts[pose.tip])
                     for key, stretches in tracks for first, end, pose in stretches if first <= i < end)
