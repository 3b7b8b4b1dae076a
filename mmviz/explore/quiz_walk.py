"""Questions about the walk: which zone serves, does the watermark pass, which node is next, from which type is stolen.

Each takes a recording and a step number, and returns a Question or None (see questions.py). KINDS names all there are.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..kernel import __GFP_THISNODE, ALLOC_HARDER, ALLOC_HIGH, MAX_ORDER, NR_FREE_PAGES, WMARK_LOW, WMARK_MIN, gfp_name
from ..mm import events as ev
from ..mm.fallback import FALLBACKS
from ..mm.mmzone import Zone
from ..mm.watermark import wmark_pages
from ..recording import Recording, Step
from . import quiz_kmap, quiz_lists, quiz_trace, quiz_vm
from .questions import Ask, Option, Question, Value, event_at, events_from, option, pages, question, type_name, zone_at
from .quiz_slab import SLAB_KIND_OF, SLAB_KINDS

MOST_ZONES = 6
MARKS = ("MIN", "LOW", "HIGH")
NEAR = 2  # distances closer than this are decided by ties that a picture does not show


def argument(step: Step, name: str) -> int:
    """The innermost plain argument of this name on the call stack; 0 if there is none."""
    found = (dict(frame.args).get(name) for frame in reversed(step.stack))
    return next((value for value in found if isinstance(value, int)), 0)


# ---------------------------------------------------------------- which zone


def ask_zone_serves(recording: Recording, number: int) -> Question | None:
    """Which zone serves a request? Not asked where there is one zone, or where no zone does."""
    asked = event_at(recording, number)
    if not isinstance(asked, ev.RequestPrepared):
        return None
    steps = list(events_from(recording, number))
    served = next((step.event for step in steps if isinstance(step.event, ev.SetPageRefcounted)), None)
    state = recording.at(number)
    zones = list(state.zones())
    if served is None or not 2 <= len(zones) <= MOST_ZONES:
        return None
    first = next((s.event for s in steps if isinstance(s.event, ev.PreferredZoneChosen)), served)
    picture = state.node[first.nid].node_zones[first.zone_idx]
    chosen = event_at(recording, number - 1)
    nodes = chosen.nodes if isinstance(chosen, ev.NodemaskChosen) else ""
    known = {zone.label: _zone(zone, asked, served, steps, first.zone_idx, nodes) for zone in zones}
    right = known[state.node[served.nid].node_zones[served.zone_idx].label]
    bound = f", bound to nodes {nodes}" if nodes else ""
    text = (f"{pages(1 << asked.order)} (order {asked.order}) {'are' if asked.order else 'is'} asked for with "
            f"{gfp_name(asked.gfp_mask)}, on node {asked.nid}{bound}. Which zone serves?")
    marks: dict[str, Value] = {f"entry {label}": label for label in known}
    return question("zone_serves", text, right, known.values(), number, picture, marks)


def _zone(zone: Zone, asked: ev.RequestPrepared, served: Any, steps: list[Step], classzone: int, nodes: str) -> Option:
    marks = ", ".join(f"{name} {wmark_pages(zone, mark):,}" for mark, name in ((WMARK_MIN, "MIN"), (WMARK_LOW, "LOW")))
    label = (f"{zone.label}: counter {zone.vm_stat[NR_FREE_PAGES]:,}, {marks}, "
             f"reserve {zone.lowmem_reserve[classzone]:,}")
    checks = [step.event for step in steps if isinstance(step.event, ev.WatermarkChecked)
              and (step.event.nid, step.event.zone_idx) == (zone.nid, zone.zone_idx)]
    if (zone.nid, zone.zone_idx) == (served.nid, served.zone_idx):
        return option(zone.label, label, _why_served(checks, steps), "get_page_from_freelist")
    if not checks:
        return option(zone.label, label, *_why_not_asked(zone, asked, nodes))
    check = checks[-1]
    if check.ok:
        return option(zone.label, label, "It passes its watermark, but no list of the type asked for has a block, and "
                      "with ALLOC_NOFRAGMENT another type is robbed of whole pageblocks only", "__rmqueue_fallback")
    reason = f"{check.free:,} is not more than {check.min:,} + {check.reserve:,}" if check.free <= check.min + \
        check.reserve else f"it has no block of order {check.order}"
    return option(zone.label, label, f"It is asked and passed over: {reason}", "__zone_watermark_ok")


def _why_not_asked(zone: Zone, asked: ev.RequestPrepared, nodes: str) -> tuple[str, str]:
    """What keeps the walk from a zone, and the function of that rule; `nodes` are those of a policy that binds."""
    if zone.zone_idx > asked.high_zoneidx:
        name, ceiling = gfp_name(asked.gfp_mask), zone.machine.config.zone_names[asked.high_zoneidx]
        return f"It is above the ceiling: {name} allows {ceiling} and the zones below it", "gfp_zone"
    if asked.gfp_mask & __GFP_THISNODE and zone.nid != asked.nid:
        return f"__GFP_THISNODE: the list that is walked has the zones of node {asked.nid} alone", "node_zonelist"
    if nodes and str(zone.nid) not in nodes.split(","):
        return f"Node {zone.nid} is not in the nodemask of the policy: its zones are skipped", "policy_nodemask"
    return "The walk ends before it comes here: a zone earlier in the zonelist serves", "get_page_from_freelist"


def _why_served(checks: list[ev.WatermarkChecked], steps: list[Step]) -> str:
    slow = any(isinstance(step.event, ev.SlowpathEntered) for step in steps)
    numbers = f", {checks[-1].free:,} against {checks[-1].min + checks[-1].reserve:,}" if checks else ""
    return "It is the first zone of the walk that passes its watermark and has a block that may be taken" + numbers + (
        "; no zone passed LOW, and the slow path asks for less" if slow else "")


# ---------------------------------------------------------------- the watermark


def ask_watermark(recording: Recording, number: int) -> Question | None:
    """Does a zone pass its watermark, and by which numbers?"""
    check = event_at(recording, number)
    if not isinstance(check, ev.WatermarkChecked):
        return None
    zone, step = zone_at(recording, number), recording[number]
    flags = argument(step, "alloc_flags")
    said = [name for bit, name in ((ALLOC_HIGH, "ALLOC_HIGH"), (ALLOC_HARDER, "ALLOC_HARDER")) if flags & bit]
    mark = next((name for name, value in zip(MARKS, zone._watermark, strict=True)
                 if value + zone.watermark_boost == check.mark), f"{check.mark:,}")
    if zone.nr_reserved_highatomic and not flags & ALLOC_HARDER:
        said.append(f"{zone.nr_reserved_highatomic:,} pages are reserved for atomic requests")
    text = (f"{pages(1 << check.order)} (order {check.order}){', ' + ' and '.join(said) if said else ''}: zone "
            f"{zone.label} is tested against {mark}, with a reserve of {check.reserve:,}. Does it pass?")
    if check.reason == "no block of that order":
        reason = f"Enough pages, but no block of order {check.order} or above"
    else:
        off = zone.vm_stat[NR_FREE_PAGES] - check.free
        reason = (f"The counter{f' less {off:,}' if off else ''} is {check.free:,}, which is "
                  f"{'' if check.ok else 'not '}more than {check.min + check.reserve:,}")
    right = _verdict(check.free, check.min + check.reserve, check.ok, reason)
    return question("watermark", text, right, _other_verdicts(zone, check), number, zone)


def _verdict(free: int, least: int, passes: bool, reason: str) -> Option:
    verdict = "yes" if passes else "no"
    return option(f"{verdict} {free} {least}", f"{verdict}: {free:,} against {least:,}", reason, "__zone_watermark_ok")


def _other_verdicts(zone: Zone, check: ev.WatermarkChecked) -> Iterator[Option]:
    counter, least = zone.vm_stat[NR_FREE_PAGES], check.min + check.reserve
    wrong = []
    if check.free != counter:
        wrong.append((counter, least, f"For order {check.order} the kernel first takes {pages(counter - check.free)} "
                      "off that this request does not leave, or may not use"))
    if check.min != check.mark:
        wrong.append((check.free, check.mark + check.reserve, "The privileges of this request lower the mark to "
                      f"{check.min:,}"))
    if check.reserve:
        wrong.append((check.free, check.min, f"The zone keeps {check.reserve:,} pages from those who could have used a "
                      "higher zone"))
    wrong.append((counter - (1 << check.order), least, "The kernel takes 2^order - 1 pages off, not 2^order: the test "
                  "is for more, not for at least"))
    wrong += [(check.free, value + zone.watermark_boost + check.reserve, f"That is {name}, and another mark is asked")
              for name, value in zip(MARKS, zone._watermark, strict=True) if value + zone.watermark_boost != check.mark]
    for free, bound, reason in wrong:
        if (free, bound) != (check.free, least):
            yield _verdict(free, bound, free > bound, reason)
    if abs(check.free - least) < 2 or check.reason == "no block of that order":
        yield _verdict(check.free, least, not check.ok, "The right numbers, but the test is for more, and for a block "
                       "that is large enough")


# ---------------------------------------------------------------- another type


def ask_steal(recording: Recording, number: int) -> Question | None:
    """From which type and order is stolen, and does the pageblock change hands?"""
    first = event_at(recording, number)
    if not isinstance(first, ev.FallbackSearched) or isinstance(event_at(recording, number - 1), ev.FallbackSearched):
        return None
    steps = list(events_from(recording, number, (ev.MmPageAllocExtfrag, ev.FreeAreaSearched)))
    stolen = steps[-1].event
    if not isinstance(stolen, ev.MmPageAllocExtfrag):
        return None
    zone = zone_at(recording, number)
    decided = next((step.event for step in steps if isinstance(step.event, ev.StealDecided)), None)
    name = type_name(zone, first.start_mt)
    text = f"No {name} list of zone {zone.label} has a block of order {stolen.alloc_order} or above. "
    if decided is not None:
        text += f"In the pageblock that is reached {decided.free:,} pages are free and {decided.alike:,} of a like " \
                "kind. "
    text += "What is taken from another type, and whose is its pageblock then?"
    right = _theft(zone, stolen.fallback_migratetype, stolen.fallback_order, stolen.change_ownership,
                   _why_stolen(zone, stolen, decided))
    return question("steal", text, right, _other_thefts(zone, stolen, right), number, zone)


def _why_stolen(zone: Zone, stolen: ev.MmPageAllocExtfrag, decided: Any) -> str:
    half = zone.machine.config.pageblock_nr_pages // 2
    if decided is not None:
        return f"{decided.free:,} + {decided.alike:,} pages are {'' if decided.claimed else 'less than '}half a " \
               f"pageblock, {half:,}{', or more' if decided.claimed else ''}"
    if stolen.fallback_order >= zone.machine.config.pageblock_order:
        return "The block is a whole pageblock or more: its type changes with it"
    if stolen.change_ownership:
        return "The pageblock was the taker's before"
    return "Only the block is taken: the rest of its pageblock may not be claimed"


def _other_thefts(zone: Zone, stolen: ev.MmPageAllocExtfrag, right: Option) -> Iterator[Option]:
    mt, order, own = stolen.fallback_migratetype, stolen.fallback_order, stolen.change_ownership
    yield _theft(zone, mt, order, not own, f"The right block; but as to its pageblock: {right.reason.split(' (mm')[0]}",
                 "steal_suitable_fallback")
    types = FALLBACKS[stolen.alloc_migratetype]
    orders = [k for k in range(stolen.alloc_order, MAX_ORDER) if any(zone.nr_listed(k, other) for other in types)]
    for k in (orders[0], orders[-1]):
        other = next(t for t in types if zone.nr_listed(k, t))
        yield _theft(zone, other, k, own, "The search for a block to steal comes down from the largest order"
                     if k < order else "A MOVABLE request that may not claim the pageblock takes the smallest block "
                     "that is enough", "__rmqueue_fallback")
    for other in types:
        yield _theft(zone, other, order, own, _not_this_type(zone, stolen, other), "find_suitable_fallback")


def _not_this_type(zone: Zone, stolen: ev.MmPageAllocExtfrag, other: int) -> str:
    taken, order = type_name(zone, stolen.fallback_migratetype), stolen.fallback_order
    if zone.nr_listed(order, other):
        return f"{type_name(zone, stolen.alloc_migratetype)} asks {taken} before {type_name(zone, other)}"
    return f"{type_name(zone, other)} has no block of order {order}"


def _theft(zone: Zone, mt: int, order: int, own: bool, reason: str, symbol: str = "steal_suitable_fallback") -> Option:
    block, fate = f"{type_name(zone, mt)}, order {order}", "changes hands" if own else "stays as it is"
    return option(f"{type_name(zone, mt)} {order} {fate.split()[0]}", f"{block}; the pageblock {fate}", reason, symbol)


# ---------------------------------------------------------------- the next node


def ask_next_node(recording: Recording, number: int) -> Question | None:
    """Which node is asked next? Not asked where the walk ends here, or where a tie decides."""
    check = event_at(recording, number)
    if not isinstance(check, ev.WatermarkChecked) or check.ok:
        return None
    walk = [step.event for step in events_from(recording, number + 1, (ev.MmPageAlloc, ev.SlowpathEntered))]
    following = next((event.nid for event in walk if isinstance(event, ev.WatermarkChecked)
                      and event.nid != check.nid), None)
    zone, asked = zone_at(recording, number), _asked_before(recording, number)
    start = next((step.event.nid for step in reversed(recording.steps[:number])
                  if isinstance(step.event, ev.RequestPrepared)), None)
    if following is None or following in asked or start is None:
        return None
    row = zone.machine.distance[start]
    if not _is_plain(row, asked, following):
        return None
    text = (f"A request on node {start} finds that zone {zone.label} must not give this block. "
            f"Distances from node {start}: {', '.join(f'node {nid} {far}' for nid, far in enumerate(row))}. "
            "Which node is asked next?")
    right = _node(following, f"At distance {row[following]} it is the nearest node that has not been asked",
                  "find_next_best_node")
    others = (_node(nid, "It has been asked: the walk goes on along the zonelist and does not turn back" if nid in asked
                    else f"Its distance is {row[nid]}, and node {following} is nearer with {row[following]}",
                    "get_page_from_freelist" if nid in asked else "find_next_best_node") for nid in range(len(row)))
    return question("next_node", text, right, others, number + 1, zone)


def _asked_before(recording: Recording, number: int) -> set[int]:
    """The nodes that this request has asked, with the one of this step."""
    found: set[int] = set()
    for step in reversed(recording.steps[:number + 1]):
        if isinstance(step.event, (ev.RequestPrepared, ev.SlowpathEntered)):
            break
        if isinstance(step.event, ev.WatermarkChecked):
            found.add(step.event.nid)
    return found


def _is_plain(row: list[int], asked: set[int], following: int) -> bool:
    """Whether the next node is clearly the nearest one left: no tie, and no policy that leaves nodes out."""
    return all(far > row[following] + NEAR for nid, far in enumerate(row) if nid not in asked | {following})


def _node(nid: int, reason: str, symbol: str) -> Option:
    return option(nid, f"node {nid}", reason, symbol)


# ---------------------------------------------------------------- all of them

KINDS: dict[str, Ask] = {
    "order_found": quiz_lists.ask_order_found, "block_taken": quiz_lists.ask_block_taken,
    "half_back": quiz_lists.ask_half_back, "merge": quiz_lists.ask_merge, "head_or_tail": quiz_lists.ask_head_or_tail,
    "pcp_fill": quiz_lists.ask_pcp_fill, "zone_serves": ask_zone_serves, "watermark": ask_watermark,
    "steal": ask_steal, "next_node": ask_next_node, **quiz_vm.KINDS, **quiz_kmap.KINDS, **SLAB_KINDS,
    **quiz_trace.KINDS,
}
KIND_OF = {  # what is asked about an event of this name
    "FreeAreaSearched": "order_found", "DelPageFromFreeArea": "block_taken", "BlockExpanded": "half_back",
    "BuddyChecked": "merge", "AddToFreeArea": "head_or_tail", "AddToFreeAreaTail": "head_or_tail",
    "PcpListFoundEmpty": "pcp_fill", "PcpListAddTail": "pcp_fill", "RequestPrepared": "zone_serves",
    "MmPageAlloc": "zone_serves", "WatermarkChecked": "watermark", "FallbackSearched": "steal",
    "StealDecided": "steal", "MmPageAllocExtfrag": "steal", "NofragmentDropped": "next_node", **quiz_vm.KIND_OF,
    **quiz_kmap.KIND_OF, **SLAB_KIND_OF, **quiz_trace.KIND_OF,
}
