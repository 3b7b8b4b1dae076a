"""/proc/slabinfo: the caches of a real kernel, as counts.

    name active_objs num_objs objsize objperslab pagesperslab : tunables ... : slabdata active_slabs num_slabs 0

Objects on a CPU's list count as active, so SLUB's figure is too high.
"""
from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..errors import CaptureError

_LINE = re.compile(r"(\S+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*:.*:\s*slabdata\s+(\d+)\s+(\d+)\s+\d+\s*$")


class SlabInfo(NamedTuple):
    """A line of /proc/slabinfo; `objsize` is in bytes, with padding."""

    name: str
    active_objs: int
    num_objs: int
    objsize: int
    objperslab: int
    pagesperslab: int
    active_slabs: int
    num_slabs: int


def read_slabinfo(source: str | Path = "/proc/slabinfo") -> list[SlabInfo]:
    """Read /proc/slabinfo (as root), or a copy of it.

    Parameters
    ----------
    source : str or Path
        The text itself, or the path of a file that holds it.

    Raises
    ------
    CaptureError
        With file and line, if a line is not as a kernel writes it, or if there is none.

    Examples
    --------
    >>> read_slabinfo("kmalloc-64 60 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0")[0].objsize
    64
    """
    name, text = _text_of(source)
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("slabinfo", "#")) or not line.strip():
            continue
        match = _LINE.match(line)
        if match is None:
            raise CaptureError(f"{name}:{number}: not a line of /proc/slabinfo: {line[:80]!r}")
        found.append(SlabInfo(match[1], *map(int, match.groups()[1:])))
    if not found:
        raise CaptureError(f"{name}: must hold lines 'NAME active_objs num_objs ...', found none; is it "
                           "/proc/slabinfo?")
    return found


def _text_of(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and "slabdata" in source:
        return "text", source
    try:
        return str(source), Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise CaptureError(f"{source}: cannot be read: {error.strerror}") from error
