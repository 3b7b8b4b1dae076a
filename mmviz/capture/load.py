"""Files of captures: golden JSON, or a NAME.snaps.gz with its ftrace text beside it."""
from __future__ import annotations

import gzip
import json
import lzma
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import CaptureError
from ..kernel import DATA, parse_gfp
from ..mm.machine import Machine
from .ftrace import Row, parse_ftrace
from .snapshot import Snapshot, machine_of, parse_snaps


@dataclass(frozen=True)
class Capture:
    """What a real kernel did between two snapshots.

    Attributes
    ----------
    name : str
        The file's name; with more than two snapshots, and the labels of the two.
    before, after : dict
        The snapshots, in the JSON form of `snapshot`.
    rows : list
        What happened between them, as `ftrace` describes it.
    """

    name: str
    before: Snapshot
    after: Snapshot
    rows: list[Row]

    def machine(self) -> Machine:
        """The Machine before the first operation."""
        return machine_of(self.before, f"{self.name} (before)")

    def truth(self) -> Machine:
        """The Machine as the real kernel left it."""
        return machine_of(self.after, f"{self.name} (after)")


def load_capture(path: str | Path) -> list[Capture]:
    """Read a capture; a file with n snapshots gives n - 1 captures.

    Parameters
    ----------
    path : str or Path
        ``*.json.gz`` (golden), or ``NAME.snaps.gz`` with ``NAME.trace.gz`` or ``NAME.trace.xz`` beside it; or the bare
        name of a golden capture in data/captures, such as ``m512_W1_shell``.

    Raises
    ------
    CaptureError
        If a file is missing, cut off, altered, or does not parse; with file and line where there is one.
    """
    own = DATA / "captures" / f"{path}.json.gz"
    path = own if own.exists() else Path(path)
    if path.name.endswith(".snaps.gz"):
        return _load_snaps(path)
    if path.name.endswith(".json.gz"):
        return [_load_golden(path)]
    raise CaptureError(f"{path}: a capture must be *.json.gz or *.snaps.gz")


def read_text(path: Path) -> str:
    """The text of a .gz or .xz file; CaptureError if it is missing or cut off."""
    opener: Any = lzma.open if path.suffix == ".xz" else gzip.open
    try:
        with opener(path, "rt", encoding="utf-8", errors="strict") as file:
            return str(file.read())
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError, ValueError) as error:
        raise CaptureError(f"{path}: cannot be read: {error}") from error
    except Exception as error:  # zlib.error has no better name to catch
        raise CaptureError(f"{path}: cannot be unpacked: {error}") from error


def _load_golden(path: Path) -> Capture:
    try:
        data = json.loads(read_text(path))
        rows = data["ops"]
        for row in rows:
            if row[0] == "a":
                row[5] = parse_gfp(row[5])
        return Capture(path.name, data["before"], data["after"], rows)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise CaptureError(f"{path}: not a golden capture (before, ops, after): {error!r}") from error


def trace_beside(path: Path) -> Path:
    """The trace of a NAME.snaps.gz; CaptureError if there is none beside it."""
    stem = path.name.removesuffix(".snaps.gz")
    traces = [path.with_name(f"{stem}.trace.{kind}") for kind in ("gz", "xz")]
    trace = next((candidate for candidate in traces if candidate.exists()), None)
    if trace is None:
        raise CaptureError(f"{path}: {traces[0].name} or {traces[1].name} must stand beside it")
    return trace


def _load_snaps(path: Path) -> list[Capture]:
    trace = trace_beside(path)
    snapshots = parse_snaps(read_text(path), path.name)
    stretches = parse_ftrace(read_text(trace), trace.name)
    if len(stretches) != len(snapshots) - 1:
        raise CaptureError(f"{trace.name}: must hold {len(snapshots)} lines 'MMCAP snap=N', one for each snapshot of "
                           f"{path.name}, holds {len(stretches) + 1}")
    if len(stretches) == 1:
        return [Capture(path.name, snapshots[0], snapshots[1], stretches[0])]
    return [Capture(f"{path.name}:{before['label']}-{after['label']}", before, after, rows)
            for (before, after), rows in zip(pairwise(snapshots), stretches, strict=True)]
