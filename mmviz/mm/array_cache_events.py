"""What SLAB can say: objects go between slabs and arrays of pointers.

Fields: `cache` the name of a cache; `array` one of its arrays: "cpu 0", "shared 0" of a node, "alien 0 1" (kept by
node 0 for objects of node 1); `nid` a node; `pfn` the first page of a slab; `vaddr` an object; `index` its place there.
"""
from __future__ import annotations

from ..trace import Event, event
from .events import Decision

# ---------------------------------------------------------------- changes: each has a primitive in array_cache.py


@event
class CacheEvent(Event):
    """Base of what happens to a cache."""

    cache: str


@event
class ArrayEvent(CacheEvent):
    """Base of what happens to an array of a cache."""

    array: str


@event
class SlabNodeEvent(CacheEvent):
    """Base of what happens to the slabs of a node."""

    nid: int


@event
class SetupCpuCache(CacheEvent):
    """A cache is there: its geometry, and the size of its arrays."""

    object_size: int
    size: int
    gfporder: int
    num: int
    colour: int
    colour_off: int
    allocflags: int
    limit: int
    batchcount: int
    shared: int
    objfreelist: bool


@event
class AcPush(ArrayEvent):
    """An object went on top of an array."""

    vaddr: int


@event
class AcPop(ArrayEvent):
    """The object on top left an array."""

    vaddr: int


@event
class TransferObjects(ArrayEvent):
    """The last `nr` objects of an array went over to the top of another one."""

    to: str
    nr: int


@event
class AcCopy(ArrayEvent):
    """The first `nr` objects of an array, the oldest, were copied to the top of another one."""

    to: str
    nr: int


@event
class AcShift(ArrayEvent):
    """The first `nr` objects left an array, and the others moved down."""

    nr: int


@event
class SetTouched(ArrayEvent):
    """ac->touched: whether an array has been used of late."""

    touched: int


@event
class SlabGrown(SlabNodeEvent):
    """Fresh pages became a slab: all of its objects are free; the first stands `colour_offset` bytes in."""

    pfn: int
    colour_offset: int


@event
class SlabDestroyed(SlabNodeEvent):
    """A slab is one no more; its pages go back."""

    pfn: int


@event
class SlabGetObj(CacheEvent):
    """An object was taken from a slab."""

    pfn: int
    index: int


@event
class SlabPutObj(CacheEvent):
    """An object came back to its slab: it will be the next one taken from it."""

    pfn: int
    index: int


@event
class SlabListAdd(SlabNodeEvent):
    """A slab became the first of a list: "partial", "full" or "free"."""

    slabs: str
    pfn: int


@event
class SlabListAddTail(SlabNodeEvent):
    """A slab became the last of a list."""

    slabs: str
    pfn: int


@event
class SlabListDel(SlabNodeEvent):
    """A slab left its list."""

    slabs: str
    pfn: int


@event
class SetFreeObjects(SlabNodeEvent):
    """n->free_objects: the free objects in the slabs of a node."""

    free_objects: int


@event
class SetColourNext(SlabNodeEvent):
    """n->colour_next: the colour of the last new slab."""

    colour_next: int


# ---------------------------------------------------------------- decisions


@event
class CacheDecision(Decision):
    """Base of the decisions about a cache."""

    cache: str


@event
class SlabOrderEstimated(CacheDecision):
    """A slab of 2^order pages would hold `num` objects and leave `left_over` bytes."""

    order: int
    num: int
    left_over: int
    taken: bool


@event
class CacheNodeChosen(CacheDecision):
    """A request goes to a node: its own arrays first if `local`."""

    nid: int
    local: bool


@event
class ArrayFoundEmpty(CacheDecision):
    """An empty array asks for `batchcount` objects."""

    array: str
    batchcount: int
    touched: int


@event
class FirstSlabChosen(CacheDecision):
    """The slab that objects are taken from: the first partial one, else the first free one; pfn -1 if there is none."""

    nid: int
    slabs: str
    pfn: int


@event
class SlabPagesAsked(CacheDecision):
    """The cache asks node `nid` for the pages of a slab; pfn -1: it gets none."""

    nid: int
    order: int
    pfn: int


@event
class ArrayFoundFull(CacheDecision):
    """A full array gives its oldest `nr` objects away: "shared" or "slabs"."""

    array: str
    nr: int
    where: str


@event
class AlienFreed(CacheDecision):
    """An object of another node goes into the array kept for that node, not among this CPU's own."""

    nid: int
    home: int


@event
class BlockFreed(CacheDecision):
    """`nr` objects go back to the slabs of a node; more than `free_limit` free objects, and free slabs go."""

    nid: int
    nr: int
    free_limit: int


@event
class FallbackNodeTried(CacheDecision):
    """The zonelist is walked for a node with free objects; this one has so many."""

    nid: int
    free_objects: int
