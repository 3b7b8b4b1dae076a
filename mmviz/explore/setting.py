"""Where the knobs of a panel stand, as one line of text.

    name=value name=value ...        a panel shows this line, and takes it
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class BaseSetting:
    """Where the knobs stand; as text it is a line. A panel has its own: each field is a knob, its default is usual.

    Attributes
    ----------
    LIMITS : mapping
        The least and the most of what is a whole number.
    WORDS : mapping
        What may stand for every other name.
    UNSAID : str
        The name that the line leaves out where it is as usual; "" for none.
    """

    LIMITS: ClassVar[Mapping[str, tuple[int, int]]] = {}
    WORDS: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    UNSAID: ClassVar[str] = ""

    @classmethod
    def parse(cls, line: str) -> Self:
        """The setting of a line; what the line does not say is as usual.

        Raises
        ------
        ValueError
            In words that say what stands there, and what may.
        """
        return cls(**read_line(line, cls().values(), cls.LIMITS, cls.WORDS))

    def values(self) -> dict[str, Any]:
        """Name and value of each knob."""
        return asdict(self)

    def __str__(self) -> str:
        values = self.values()
        if self.UNSAID and values[self.UNSAID] == getattr(type(self), self.UNSAID):
            del values[self.UNSAID]
        return line_of(values)


def line_of(values: Mapping[str, Any]) -> str:
    """The line of some values.

    >>> line_of({"order": 3, "gfp": "GFP_KERNEL"})
    'order=3 gfp=GFP_KERNEL'
    """
    return " ".join(f"{name}={value}" for name, value in values.items())


def read_line(line: str, usual: Mapping[str, int | str], limits: Mapping[str, tuple[int, int]],
              words: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """The values that a line gives.

    Parameters
    ----------
    usual : mapping
        Every name with its usual value.
    limits : mapping
        The least and the most of what is a whole number.
    words : mapping
        What may stand for every other name.

    Raises
    ------
    ValueError
        In words that say what stands there, and what may.
    """
    given: dict[str, Any] = {}
    for word in line.split():
        name, equals, text = word.partition("=")
        if not equals or name not in usual:
            raise ValueError(f"a setting must be name=value with a name of {', '.join(usual)}, got {word!r}")
        if name in given:
            raise ValueError(f"each name must stand once in a setting, got {name} twice")
        given[name] = _word(name, text, words[name]) if name in words else _number(name, text, *limits[name])
        given[name] = type(usual[name])(given[name])
    return given


def _word(name: str, text: str, allowed: Iterable[str]) -> str:
    if text not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {text!r}")
    return text


def _number(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number, {least} to {most:,}, got {text!r}")
    return int(text)
