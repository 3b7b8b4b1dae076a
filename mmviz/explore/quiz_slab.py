"""Questions about SLUB: which object, which list, when a page goes back, which class, how large a slab.

Each takes a recording and a step number, and returns a Question or None (see questions.py). The answer is what the
recorded call came to; the other options, and what speaks against them, are read from the state before it.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..draw.cache import draw_cache
from ..draw.scene import Scene
from ..draw.size_classes import draw_size_classes
from ..draw.slab import draw_slab
from ..draw.slab_reading import FREE, SlabView, caches, views
from ..kernel import PAGE_SIZE
from ..mm import slab_events as ev
from ..mm.machine import Machine
from ..mm.slab_types import KmemCache, Slab
from ..recording import Recording, Step
from ..trace import Event
from .questions import Ask, Option, Question, Value, event_at, option, question

MOST_FREES = 6  # of the question when a page goes back


def draw_slab_of(state: Machine, step: Step | None, zone: str, nid: int) -> Scene:
    """`draw_slab`, as a Quiz asks for it."""
    return draw_slab(state, step)


def draw_cache_of(state: Machine, step: Step | None, zone: str, nid: int) -> Scene:
    """`draw_cache`, as a Quiz asks for it."""
    return draw_cache(state, step)


def draw_classes_of(state: Machine, step: Step | None, zone: str, nid: int) -> Scene:
    """`draw_size_classes`, as a Quiz asks for it."""
    return draw_size_classes(state, step)


# ---------------------------------------------------------------- reading a call


def call_end(recording: Recording, number: int) -> int:
    """How many steps are done when the outermost call of step `number` returns."""
    stack = recording[number].stack
    end = number + 1
    while end < len(recording) and stack and recording[end].stack and recording[end].stack[0].call == stack[0].call:
        end += 1
    return end


def first_event(recording: Recording, first: int, kind: type[Event]) -> Any:
    """The first event of a kind from step `first` on; None if there is none."""
    return next((step.event for step in recording.steps[first:] if isinstance(step.event, kind)), None)


def slab_of(known: list[SlabView], address: int) -> SlabView | None:
    """The slab that an address lies in."""
    return next((view for view in known if view.number(address) >= 0), None)


def _ask(kind: str, text: str, right: Option, wrong: Iterator[Option], recording: Recording, number: int,
         marks: dict[str, Value] | None = None) -> Question | None:
    return question(kind, text, right, wrong, number, next(iter(recording.at(number).zones())), marks)


# ---------------------------------------------------------------- which object next


def ask_object_next(recording: Recording, number: int) -> Question | None:
    """Some objects are freed, then one is asked for: which one is it? Not asked where it comes from a new page."""
    freed, end = _frees_in_a_row(recording, number)
    found: Any = next((step.event for step in recording.steps[end:end + 2] if isinstance(step.event, ev.FreelistFound)),
                      None)
    if not freed or found is None:
        return None
    known, got = views(recording.at(number), found.cache), first_event(recording, end, ev.Allocated).ptr
    if any(slab_of(known, address) is None for address in (*freed, got)):
        return None
    own = next((view for view in known if view.where == f"CPU {found.cpu}"), None)
    said = ", then ".join(_name(known, address) for address in freed)
    text = f"CPU {found.cpu} frees {said}, and asks for one of {found.cache} again. Which one does it get?"
    right = _object(known, got, *_why_next(freed, got, own))
    wrong = list(_other_objects(known, freed, got, own))
    marks: dict[str, Value] = {f"object {each.value:#x}": each.value for each in [right, *wrong]
                               if isinstance(each.value, int)}
    return _ask("object_next", text, right, iter(wrong), recording, number, marks)


def _frees_in_a_row(recording: Recording, number: int) -> tuple[list[int], int]:
    """The objects of the frees that begin at step `number`, the first of a row, and the step behind them."""
    freed: list[int] = []
    if number and recording[number - 1].stack and recording[number - 1].stack[0].symbol == "kfree":
        return freed, number
    end = number
    while isinstance(event := event_at(recording, end), ev.Kfree):
        freed.append(event.ptr)
        end = call_end(recording, end)
    return freed, end


def _why_next(freed: list[int], got: int, own: SlabView | None) -> tuple[str, str]:
    """Why this object comes next, and the function that says so."""
    if own is None or own.number(got) < 0:
        return "The list of this CPU is empty, and the first slab of its partial list is taken", "___slab_alloc"
    if got == freed[-1]:
        return "It was freed last, into the slab of this CPU, and is the head of its list", "do_slab_free"
    if got in freed:
        return "It is the last that was freed into the slab of this CPU; the others went to the lists of their own " \
            "slabs", "do_slab_free"
    return "Nothing was freed into the slab of this CPU, so its list is as it was, and this is the head", \
        "slab_alloc_node"


def _other_objects(known: list[SlabView], freed: list[int], got: int, own: SlabView | None) -> Iterator[Option]:
    for address in reversed(freed):
        if own is not None and own.number(address) >= 0:
            yield _object(known, address, "It was freed before: what is put on top goes first", "do_slab_free")
        else:
            yield _object(known, address, "It lies in another slab than that of this CPU, and went to the list of that "
                          "slab", "__slab_free")
    mine = own.chains[0].objects if own is not None and own.chains and own.chains[0].name.startswith("CPU") else ()
    if own is not None and mine:
        yield _object(known, own.start + mine[0] * own.size, "It was the head of the list; what is freed is put before "
                      "it", "do_slab_free")
        yield _object(known, own.start + min(mine) * own.size, "It has the lowest address, but nobody sorts the list",
                      "slab_alloc_node")
        yield _object(known, own.start + mine[-1] * own.size, "It is the last of the list", "slab_alloc_node")
    for view in known:
        for number, state in enumerate(view.state):
            if state == FREE:
                yield _object(known, view.start + number * view.size, "It is free, but not on the list of this CPU, "
                              "which comes first", "___slab_alloc")


def _name(known: list[SlabView], address: int) -> str:
    view = slab_of(known, address)
    assert view is not None
    return f"object {view.number(address)} of slab {view.pfn:#x}"


def _object(known: list[SlabView], address: int, reason: str, symbol: str) -> Option:
    return option(address, _name(known, address), reason, symbol)


# ---------------------------------------------------------------- which list after this free

PLACES = {"own": "the slab that a CPU takes from", "cpu partial": "on the partial list of a CPU",
          "node partial": "on the partial list of a node", "full": "full, and so on no list",
          "gone": "back with the page allocator"}


def ask_list_after_free(recording: Recording, number: int) -> Question | None:
    """Where is the slab of a freed object afterwards?"""
    found = event_at(recording, number)
    if not isinstance(found, ev.FreeSlabFound):
        return None
    before = slab_of(views(recording.at(number), found.cache), found.object)
    assert before is not None, "a freed object lies in a slab"
    after = slab_of(views(recording.at(call_end(recording, number)), found.cache), found.object)
    was, now = _kind(before, found.cpu), "gone" if after is None else _kind(after, found.cpu)
    text = (f"CPU {found.cpu} frees object {before.number(found.object)} of slab {before.pfn:#x}, which is "
            f"{PLACES[was]} and has {before.inuse} of {before.objects} in use. "
            "Where is the slab afterwards?")
    right = Option(now, PLACES[now], _why(was, now, before, recording, number))
    others = [option(each, label, _why_not(each, was, now), "__slab_free") for each, label in PLACES.items()]
    return _ask("list_after_free", text, right, iter(others), recording, number)


def _kind(view: SlabView, cpu: int) -> str:
    owner, *rest = view.where.split()
    return "full" if owner == "full" else "own" if owner == "CPU" and "partial" not in rest else \
        f"{owner.lower()} partial"


def _why(was: str, now: str, before: SlabView, recording: Recording, number: int) -> str:
    cache: Any = caches(recording.at(number))[before.cache]
    reasons = {
        ("own", "own"): ("A CPU's slab stays so, whoever frees", "do_slab_free"),
        ("cpu partial", "cpu partial"): ("It is frozen already: the object goes on its list, and nothing else changes",
                                         "__slab_free"),
        ("full", "cpu partial"): ("It was full and on no list; with its first free object it is frozen and goes on top "
                                  "of this CPU's partial list", "put_cpu_partial"),
        ("node partial", "node partial"): ("It is on that list already; if it is empty now, its node has fewer than "
                                           f"min_partial, {cache.min_partial}, and keeps it", "__slab_free"),
        ("node partial", "gone"): ("It is empty now, and its node has min_partial, "
                                   f"{cache.min_partial}, or more partial slabs", "discard_slab"),
    }
    reason, symbol = reasons[was, now]
    return option(now, "", reason, symbol).reason


def _why_not(place: str, was: str, now: str) -> str:
    """Why the slab is not there afterwards."""
    if place == was:
        return "That is where it was; but this free changes more than the object's own list"
    return {
        "own": "A slab becomes a CPU's own when objects are asked for, never by a free",
        "cpu partial": "Only a slab that was full goes there: this one had free objects before",
        "node partial": "A free takes a slab to the node only by way of a CPU's partial list that is too long",
        "full": "It has a free object now, so it cannot be full",
        "gone": "Only an empty slab on its node's list goes back, and only if the node has min_partial others",
    }[place]


# ---------------------------------------------------------------- when does the page go back


def ask_page_back(recording: Recording, number: int) -> Question | None:
    """At which of the next frees does a page first go back? Asked at the first of a row of frees."""
    if not isinstance(event_at(recording, number), ev.Kfree) or _frees(recording, 0, number):
        return None
    frees = _frees(recording, number, len(recording))
    if not 2 <= len(frees) <= MOST_FREES:
        return None
    freed: list[Any] = [recording[first].event for first in frees]
    cache = first_event(recording, number, ev.FreeSlabFound).cache
    known = views(recording.at(number), cache)
    back = next((step for step in recording.steps[number:] if isinstance(step.event, ev.SlabDiscarded)), None)
    right = 0 if back is None else sum(first <= back.number for first in frees)
    objects = [(slab_of(known, event.ptr), event.ptr) for event in freed]
    said = ", ".join(f"{place}: object {view.number(ptr)} of {view.pfn:#x}"
                     for place, (view, ptr) in enumerate(objects, 1) if view)
    text = f"CPU 0 frees in turn {said}. At which of them does a slab of {cache} first go back to the page allocator?"
    options = [_free(place, right, objects[place - 1][0], recording, number) for place in range(len(frees) + 1)]
    mine = options.pop(right)
    wrong = iter(sorted(options, key=lambda each: each.value != "none"))
    return _ask("page_back", text, mine, wrong, recording, number)


def _frees(recording: Recording, first: int, end: int) -> list[int]:
    return [step.number for step in recording.steps[first:end] if isinstance(step.event, ev.Kfree)]


def _free(place: int, right: int, view: SlabView | None, recording: Recording, number: int) -> Option:
    """The option that the page goes back at free number `place`; 0 is at none of them."""
    if place == 0:
        reason = "None is both empty and one too many: a node keeps empty slabs while it has fewer than min_partial, " \
            "and a slab on a CPU's list is not looked at" if right == 0 else \
            f"At the free number {right} a slab is empty, and its node has enough"
        return option("none", "at none", reason, "__slab_free")
    assert view is not None
    cache: Any = caches(recording.at(number))[view.cache]
    discarded: list[Any] = [step.event for step in recording.select(ev.SlabDiscarded)]
    gone = discarded[0].pfn if discarded else -1
    if place == right and gone != view.pfn:
        reason = f"This CPU's partial list is too long now: its slabs go to the node, and {gone:#x} is empty and one " \
            "too many there"
    elif place == right:
        reason = f"Slab {view.pfn:#x} is on its node's list, this was its last object, and the node has min_partial, " \
            f"{cache.min_partial}, partial slabs or more"
    elif right and place > right:
        reason = f"By then one has gone back already, at number {right}"
    elif "CPU" in view.where:
        reason = f"Slab {view.pfn:#x} belongs to a CPU: it is frozen, and stays, empty or not"
    elif view.inuse > 1:
        reason = f"Slab {view.pfn:#x} had {view.inuse} objects in use at first: not empty then, or not one too many"
    else:
        reason = f"Slab {view.pfn:#x} is empty then, but its node has fewer than min_partial slabs, {cache.min_partial}"
    return option(f"free {place}", f"at number {place}", reason, "discard_slab" if place == right else "__slab_free")


# ---------------------------------------------------------------- class, order, objects


def ask_size_class(recording: Recording, number: int) -> Question | None:
    """How many bytes does a request take?"""
    chosen = event_at(recording, number)
    if isinstance(chosen, ev.LargeOrderChosen):
        taken, symbol = PAGE_SIZE << chosen.order, "kmalloc_large_node"
        how = "More than 8,192 bytes are whole pages, a power of two of them"
    elif isinstance(chosen, ev.SizeClassChosen) and isinstance(state := recording.at(number).parts.get("slab"), Slab):
        taken, symbol = state.cache(chosen.cache).size, "kmalloc_slab"
        how = f"The smallest class that holds them is {chosen.cache}"
    else:
        return None
    text = f"kmalloc asks SLUB for {chosen.size:,} bytes. How many does the object take?"
    return _ask("size_class", text, _bytes(taken, how, symbol), _other_bytes(chosen.size, taken), recording, number)


def _other_bytes(size: int, taken: int) -> Iterator[Option]:
    power = 1 << (size - 1).bit_length()
    yield _bytes(size, "A cache has objects of one size; there is none for each number of bytes", "kmalloc_slab")
    yield _bytes(power, "There are two classes between the powers of two, 96 and 192, and they pay", "kmalloc_index")
    yield _bytes(-(-size // 8) * 8, "Objects begin at multiples of 8, but the classes are farther apart",
                 "kmalloc_slab")
    yield _bytes(-(-size // PAGE_SIZE) * PAGE_SIZE, "Whole pages are for requests above 8,192 bytes, and then a power "
                 "of two of them", "kmalloc_large_node")
    yield _bytes(2 * taken, "It fits into half of that", "kmalloc_slab")
    yield _bytes(taken // 2, "That is too small", "kmalloc_slab")


def _bytes(count: int, reason: str, symbol: str) -> Option:
    return option(count, f"{count:,} bytes", reason, symbol)


def ask_slab_order(recording: Recording, number: int) -> Question | None:
    """How many pages and objects does a new slab have?"""
    tried = event_at(recording, number)
    if not isinstance(tried, ev.SlabOrderTried):
        return None
    state = recording.at(number)
    cache = caches(state)[tried.cache]
    assert isinstance(cache, KmemCache)
    cpus = len(state.cpu_to_node)
    wanted = min(4 * (cpus.bit_length() + 1), (PAGE_SIZE << 3) // cache.size)
    text = (f"A machine has {cpus} possible CPU{'s' * (cpus > 1)}. A new slab of {tried.cache} is made, and memory is "
            "not short. Of which order is it, and how many objects does it hold?")
    right, others = _slab(cache.size, cache.oo.order, cache.oo.order, wanted), []
    for order in (*range(cache.oo.order - 1, -1, -1), *range(cache.oo.order + 1, 5)):
        if (PAGE_SIZE << order) // cache.size:
            others.append(_slab(cache.size, order, cache.oo.order, wanted))
    return _ask("slab_order", text, right, iter(others), recording, number)


def _slab(size: int, order: int, right: int, wanted: int) -> Option:
    objects = (PAGE_SIZE << order) // size
    if order == right:
        reason = f"It is the first order with {wanted} objects, which 4 * (fls(CPUs) + 1) and 32 KiB give"
    elif order < right:
        reason = f"It holds {objects} objects, and {wanted} are wanted: more CPUs, more objects"
    else:
        reason = f"It would do, but order {right} holds {wanted} objects or more, and a small block is easier to get"
    return option(f"{order} {objects}", f"order {order}, {objects} object{'s' * (objects != 1)}", reason,
                  "calculate_order")


SLAB_KINDS: dict[str, Ask] = {
    "object_next": ask_object_next, "list_after_free": ask_list_after_free, "page_back": ask_page_back,
    "size_class": ask_size_class, "slab_order": ask_slab_order,
}
SLAB_KIND_OF = {
    "Kfree": "object_next", "FreelistPopped": "object_next", "FreeSlabFound": "list_after_free",
    "SlabFreed": "list_after_free", "SlabDiscarded": "page_back", "SizeClassChosen": "size_class",
    "LargeOrderChosen": "size_class", "SlabOrderTried": "slab_order",
}
SLAB_PICTURES = {"object_next": draw_slab_of, "list_after_free": draw_cache_of, "page_back": draw_cache_of,
                 "size_class": draw_classes_of}
