"""/proc text of a machine: counts, not pfns. What drawings take of it is a FreeAreaCounts, never a Machine.

    /proc/buddyinfo       blocks by zone and order
    /proc/pagetypeinfo    blocks by zone, migratetype and order; pageblocks by type (root only)
    /proc/zoneinfo        marks, reserves, per-CPU counts
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CaptureError
from ..kernel import MAX_ORDER

_BUDDY = re.compile(r"Node\s+(\d+), zone\s+(\w+)((?:\s+\d+)+)\s*$")
_TYPED = re.compile(r"Node\s+(\d+), zone\s+(\w+), type\s+(\w+)((?:\s+>?\d+)+)\s*$")
_ZONE = re.compile(r"Node\s+(\d+), zone\s+(\w+)\s*$")
_COUNT = re.compile(r"\s+(pages free|min|low|high|spanned|present|managed|numa_\w+)\s+(\d+)")
_PROTECTION = re.compile(r"\s+protection: \(([\d, ]+)\)")
_PCP = re.compile(r"\s+(count|batch):\s+(\d+)")


@dataclass
class FreeAreaCounts:
    """What /proc says of one zone.

    Attributes
    ----------
    nid, name
        Node and name of the zone.
    nr_free : list of int
        Free blocks by order 0..10, of all migratetypes (buddyinfo; pages on per-CPU lists are not in it).
    by_type : dict of str to list of int
        Free blocks by migratetype name and order (pagetypeinfo; a count over 100,000 is shown as 100,000).
    pageblocks : dict of str to int
        Pageblocks by migratetype name (pagetypeinfo).
    fields : dict of str to int
        "pages free", "min", "low", "high" (boost included), "spanned", "present", "managed" (zoneinfo), in pages;
        "numa_hit", "numa_miss", "numa_foreign", "numa_interleave", "numa_local", "numa_other" of a NUMA build.
    protection : list of int
        lowmem_reserve by zone index (zoneinfo).
    pcp_count : list of int
        Pages on each CPU's lists (zoneinfo).
    """

    nid: int
    name: str
    nr_free: list[int] = field(default_factory=list)
    by_type: dict[str, list[int]] = field(default_factory=dict)
    pageblocks: dict[str, int] = field(default_factory=dict)
    fields: dict[str, int] = field(default_factory=dict)
    protection: list[int] = field(default_factory=list)
    pcp_count: list[int] = field(default_factory=list)

    def nr_pages_on_lists(self) -> int:
        """Pages on the buddy lists."""
        return sum(count << order for order, count in enumerate(self.nr_free))


def read_proc(*sources: str | Path) -> list[FreeAreaCounts]:
    """Read any of buddyinfo, pagetypeinfo and zoneinfo, in any order, into one record a zone.

    Parameters
    ----------
    sources : str or Path
        The texts, or paths of files that hold them.

    Raises
    ------
    CaptureError
        With file and line, if a line is not as a kernel writes it, or if nothing of a zone was found.

    Examples
    --------
    >>> row = "Node 0, zone    DMA32      1      0      0      0      0      0      0      0      0      0      2"
    >>> read_proc(row)[0].nr_pages_on_lists()
    2049
    """
    zones: dict[tuple[int, str], FreeAreaCounts] = {}
    for source in sources:
        name, text = _text_of(source)
        _read(zones, name, text)
    if not zones:
        raise CaptureError(f"{', '.join(_text_of(source)[0] for source in sources)}: must hold lines "
                           "'Node N, zone NAME', found none; is it /proc/buddyinfo, pagetypeinfo or zoneinfo?")
    return list(zones.values())


def _text_of(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and "Node " in source:
        return "text", source
    try:
        return str(source), Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise CaptureError(f"{source}: cannot be read: {error.strerror}") from error


def _read(zones: dict[tuple[int, str], FreeAreaCounts], name: str, text: str) -> None:
    current: FreeAreaCounts | None = None
    types: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("Number of blocks type"):
            types = line.split()[4:]
        elif line.startswith("Node"):
            current = _read_zone_line(zones, line, types, f"{name}:{number}")
        elif current is not None:
            _read_zoneinfo_line(current, line)


def _read_zone_line(zones: dict[tuple[int, str], FreeAreaCounts], line: str, types: list[str],
                    where: str) -> FreeAreaCounts:
    match = _TYPED.match(line) or _BUDDY.match(line) or _ZONE.match(line)
    if not match:
        raise CaptureError(f"{where}: not a line of buddyinfo, pagetypeinfo or zoneinfo: {line[:80]!r}")
    nid, zone = int(match[1]), match[2]
    counts = zones.setdefault((nid, zone), FreeAreaCounts(nid, zone))
    if match.re is _TYPED:
        counts.by_type[match[3]] = _orders(match[4], where)
    elif match.re is _BUDDY and types:
        counts.pageblocks = dict(zip(types, map(int, match[3].split()), strict=False))
    elif match.re is _BUDDY:
        counts.nr_free = _orders(match[3], where)
    else:
        counts.pcp_count = []
    return counts


def _orders(text: str, where: str) -> list[int]:
    counts = [int(count.lstrip(">")) for count in text.split()]
    if len(counts) != MAX_ORDER:
        raise CaptureError(f"{where}: must give a count for each of {MAX_ORDER} orders, gives {len(counts)}")
    return counts


def _read_zoneinfo_line(counts: FreeAreaCounts, line: str) -> None:
    if (match := _COUNT.match(line)) and match[1] not in counts.fields:
        counts.fields[match[1]] = int(match[2])
    elif match := _PROTECTION.match(line):
        counts.protection = [int(value) for value in match[1].split(",")]
    elif (match := _PCP.match(line)) and match[1] == "count":
        counts.pcp_count.append(int(match[2]))
