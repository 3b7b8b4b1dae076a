"""An event as one plain sentence, a recording as a call tree like ftrace's function_graph.

A sentence names what the event is about by the words of its Config: zone names, migratetypes. A template that is not
enough is a function of the event's words. The tables (mmviz/sentences) go by the names of the events; the one of a core
is loaded when its first event is told.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from .kernel import Config, gfp_name
from .recording import Call, Recording, Step
from .sentences import Run
from .trace import Event

ADDRESSES = 1 << 47  # a number from here on is an address


def sentence(event: Event, config: Config | None = None) -> str:
    """What `event` says, in one sentence.

    Parameters
    ----------
    config : Config
        Gives zones and migratetypes their names; the default is x86-64 with CMA and ISOLATE.

    Examples
    --------
    >>> from mmviz.mm.events import BuddyChecked
    >>> sentence(BuddyChecked(0, 1, 0x1000, 0x1001, 0, False, False))
    'The buddy of 0x1000 at order 0 is 0x1001: not free at that order, so the merging stops.'
    """
    template = _table(type(event).__module__, "SENTENCES")[type(event).__name__]
    words = _words(event, config or Config())
    return str(template(words)) if callable(template) else str(template).format_map(words)


def run_of(event: Event) -> Run | None:
    """How events like this one are told together; None if each is told for itself."""
    run: Run | None = _table(type(event).__module__, "RUNS").get(type(event).__name__)
    return run if run is not None and run.key(event) is not None else None


def told(events: Sequence[Event], config: Config | None = None) -> str:
    """One sentence for events in a row: that of their run, or that of the last, which is what they come to.

    Examples
    --------
    >>> from mmviz.mm.events import FreeAreaSearched
    >>> told([FreeAreaSearched(0, 1, order, 1, False) for order in range(3)])
    'Orders 0 to 2, MOVABLE: the lists are empty.'
    """
    run = run_of(events[-1])
    if run is None or len(events) < run.least or any(run_of(event) != run for event in events):
        return sentence(events[-1], config)
    return run.sentence([_words(event, config or Config()) for event in events])


@cache
def _table(module: str, name: str) -> dict[str, Any]:
    """A table of the sentences that belong to the events of `module` (mmviz.mm.events); empty if there is none."""
    found: dict[str, Any] = getattr(import_module(f"{__package__}.sentences.{module.rpartition('.')[2]}"), name, {})
    return found


def _words(event: Event, config: Config) -> dict[str, Any]:
    words: dict[str, Any] = dict(zip(event.__match_args__, event.values(), strict=True))
    for name in ("migratetype", "start_mt", "fallback_mt", "alloc_migratetype", "fallback_migratetype"):
        number = words.get(name)
        if isinstance(number, int) and 0 <= number < config.migrate_types:
            words[f"{name}_name"] = config.migrate_names[number].upper()
    zone_idx = words.get("zone_idx", -1)
    words["zone"] = config.zone_names[zone_idx] if zone_idx >= 0 else "none"
    if zone_idx >= 0 and words.get("nid", 0) > 0:
        words["zone"] += f" of node {words['nid']}"
    words["slab"], words["geometry"] = config.slab, config.geometry
    words["high_zone"] = config.zone_names[words.get("high_zoneidx", 0)]
    if "order" in words:
        words["pages"] = _pages(1 << words["order"])
        words["are"] = "are" if words["order"] else "is"
    if "gfp_mask" in words:
        words["gfp"] = gfp_name(words["gfp_mask"])
    return words


def _pages(count: int) -> str:
    return "1 page" if count == 1 else f"{count:,} pages"


# ---------------------------------------------------------------- the call tree


def narrate(recording: Recording, events: bool = True) -> str:
    """The recording as an indented call tree, with the sentence of each event where it happened.

    Parameters
    ----------
    events : bool
        False: the calls alone.

    Examples
    --------
    >>> import mmviz as mv
    >>> with mv.record(mv.toy(4)) as rec:
    ...     pfn = mv.alloc_pages(rec.live, mv.GFP_NOWAIT, 11)
    >>> print(narrate(rec))
    alloc_pages(gfp_mask=0x800, order=11) {
      alloc_pages_current(gfp=0x800, order=11) {
        __alloc_pages_nodemask(gfp_mask=0x800, order=11, preferred_nid=0, nodemask=None) {
          # The kernel would warn: WARN_ON_ONCE(order >= MAX_ORDER): order 11, largest is 10.
        }
      }
    }
    """
    config = getattr(recording.at(0), "config", None)
    return "\n".join(line for call in recording.calls() for line in _lines(call, 0, events, config))


def _lines(call: Call, depth: int, events: bool, config: Config | None) -> Iterator[str]:
    indent = "  " * depth
    body = [line for child in call.children for line in _child_lines(child, depth + 1, events, config)]
    head = f"{indent}{call.symbol}({', '.join(f'{name}={_argument(name, value)}' for name, value in call.args)})"
    if not body:
        yield f"{head};"
        return
    yield f"{head} {{"
    yield from body
    yield f"{indent}}}"


def _child_lines(child: Call | Step, depth: int, events: bool, config: Config | None) -> Iterator[str]:
    if isinstance(child, Call):
        yield from _lines(child, depth, events, config)
    elif events:
        yield f"{'  ' * depth}# {sentence(child.event, config)}"


HEX = ("gfp", "gfp_mask", "start", "end", "address", "vaddr", "page", "prot", "newprot", "floor", "ceiling")


def _argument(name: str, value: int | str | None) -> str:
    """Hex for addresses, pfns and masks; decimal for counts."""
    if isinstance(value, int) and not isinstance(value, bool) and (
            value >= ADDRESSES or name in HEX
            or name.endswith(("pfn", "addr", "flags", "pte", "pmd", "pud", "p4d", "pgd"))):
        return f"{value:#x}"
    return str(value)
