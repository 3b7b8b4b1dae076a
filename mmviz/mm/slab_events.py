"""What SLUB, and kmalloc in front of it, can say.

A *change* bears the name of the kernel helper that makes it, or says what happened to a list; replaying the changes
rebuilds the state. A *decision* changes nothing.

Fields: `cache` the name of a cache, `cpu`, `nid` node, `pfn` the first page of a slab, `object` its address, `size` in
bytes. Counts are of objects or of slabs, as the name says; 0 is NULL.
"""
from __future__ import annotations

from typing import ClassVar

from ..trace import Event, event
from .events import Decision

# ---------------------------------------------------------------- changes: each has a primitive in slab_state.py


@event
class CpuChange(Event):
    """Base of what happens to what one CPU has of a cache."""

    cache: str
    cpu: int


@event
class SlabChange(Event):
    """Base of what happens to one slab."""

    pfn: int


@event
class KmemCacheInit(Event):
    """Boot made the caches of kmalloc."""


@event
class KmemCacheOpen(Event):
    """A cache was made."""

    cache: str
    size: int
    align: int
    flags: int
    ctor: bool
    usersize: int


@event
class KmemCacheAlias(Event):
    """A new name became another name of a cache that does already."""

    cache: str
    target: str
    size: int


@event
class FreelistPopped(CpuChange):
    """The CPU gave out an object: its head is now what the object's free pointer says."""

    object: int


@event
class FreelistPushed(CpuChange):
    """A freed object became the head of the CPU's list: its free pointer says what was the head."""

    object: int


@event
class SetCpuFreelist(CpuChange):
    """The CPU's list begins elsewhere; 0 is no list."""

    freelist: int


@event
class SetCpuPage(CpuChange):
    """The CPU has another cpu slab; -1 is none."""

    pfn: int


@event
class NextTid(CpuChange):
    """The transaction number moved on."""


@event
class CpuPartialPushed(CpuChange):
    """A slab became the first of the CPU's partial list, with what the list then holds in slabs and free objects."""

    pfn: int
    pages: int
    pobjects: int


@event
class CpuPartialPopped(CpuChange):
    """The first slab left the CPU's partial list."""

    pfn: int


@event
class SetPageSlab(SlabChange):
    """A block of pages became a slab: every object is free, none is on a list yet."""

    cache: str
    order: int
    objects: int


@event
class FreelistLaid(SlabChange):
    """The free list of a new slab: ascending (-1), or from this place of the cache's random sequence."""

    pos: int


@event
class SetFreepointer(SlabChange):
    """A free object's free pointer was set; the object is nobody's."""

    object: int
    fp: int


@event
class CmpxchgDoubleSlab(SlabChange):
    """The page's own list and its counters were exchanged in one stroke."""

    freelist: int
    inuse: int
    frozen: bool


@event
class AddPartial(SlabChange):
    """A slab went onto its node's partial list, to the head or to the tail."""

    tail: bool


@event
class RemovePartial(SlabChange):
    """A slab left its node's partial list."""


@event
class ClearPageSlab(SlabChange):
    """The pages are no slab any more."""


@event
class CallRcu(SlabChange):
    """The slab will be freed when a grace period has passed: somebody may still look at its objects."""


@event
class ObjectWritten(SlabChange):
    """Somebody wrote into an object, where its free pointer lies when it is free; 0 is what __GFP_ZERO writes."""

    object: int
    word: int


@event
class RandomDrawn(Event):
    """The machine drew a random number below `below`."""

    below: int


# ---------------------------------------------------------------- tracepoints


@event
class Allocated(Decision):
    """Base of the tracepoints behind an allocation; ptr is 0 if it failed."""

    ptr: int
    bytes_req: int
    bytes_alloc: int
    gfp_mask: int


@event
class Kmalloc(Allocated):
    """kmalloc returned."""

    tracepoint: ClassVar[str | None] = "kmem:kmalloc"


@event
class KmallocNode(Allocated):
    """kmalloc_node returned."""

    tracepoint: ClassVar[str | None] = "kmem:kmalloc_node"
    node: int


@event
class KmemCacheAlloc(Allocated):
    """kmem_cache_alloc returned."""

    tracepoint: ClassVar[str | None] = "kmem:kmem_cache_alloc"


@event
class KmemCacheAllocNode(Allocated):
    """kmem_cache_alloc_node returned."""

    tracepoint: ClassVar[str | None] = "kmem:kmem_cache_alloc_node"
    node: int


@event
class Kfree(Decision):
    """Somebody frees what kmalloc gave."""

    tracepoint: ClassVar[str | None] = "kmem:kfree"
    ptr: int


@event
class KmemCacheFree(Decision):
    """Somebody has freed an object of a cache."""

    tracepoint: ClassVar[str | None] = "kmem:kmem_cache_free"
    ptr: int


# ---------------------------------------------------------------- decisions: requests


@event
class SizeClassChosen(Decision):
    """A size was matched with a cache; "" where whole pages serve it, or nothing does."""

    size: int
    gfp_mask: int
    index: int
    cache: str


@event
class LargeOrderChosen(Decision):
    """A request too large for a cache takes 2^order pages."""

    size: int
    order: int


@event
class MergeableFound(Decision):
    """Before a cache was made: is there one that may serve its objects as well? "" is none."""

    cache: str
    size: int
    align: int
    target: str


@event
class NodeMatched(Decision):
    """Is the slab of the node that was asked for (-1: any will do)?"""

    pfn: int
    nid: int
    node: int
    match: bool


@event
class FreelistFound(Decision):
    """slab_alloc_node looked at the CPU's list: 0 is an empty one, and fast says whether its head will do."""

    cache: str
    cpu: int
    freelist: int
    node: int
    fast: bool


@event
class FreeSlabFound(Decision):
    """do_slab_free looked where the object lies: in this CPU's cpu slab (fast) or elsewhere."""

    cache: str
    cpu: int
    object: int
    fast: bool


@event
class LabelReached(Decision):
    """___slab_alloc came to one of its labels: redo, load_freelist, new_slab."""

    label: str
    cache: str
    cpu: int


@event
class SlabOutOfMemory(Decision):
    """No slab has a free object, and there is no page for a new one."""

    cache: str
    gfp_mask: int
    node: int


# ---------------------------------------------------------------- decisions: slabs


@event
class PartialSearched(Decision):
    """A node's partial list was looked at; pfn is the first slab that was taken, or -1."""

    cache: str
    nid: int
    nr_partial: int
    pfn: int


@event
class SlabAcquired(Decision):
    """A slab of the node's list was frozen for a CPU: as cpu slab (mode) or for its partial list."""

    pfn: int
    free: int
    available: int
    mode: bool


@event
class SlabNodeChosen(Decision):
    """Whose zonelist is walked for a slab of another node: the policy of the task says so."""

    mode: int
    nid: int


@event
class SlabOrderTried(Decision):
    """A new slab was asked of the page allocator; pfn is -1 if it was refused."""

    cache: str
    order: int
    gfp_mask: int
    pfn: int


@event
class CpuPartialChecked(Decision):
    """Has the CPU's partial list more free objects than it may have? Then it goes to the nodes first."""

    cache: str
    cpu: int
    pobjects: int
    cpu_partial: int
    drained: bool


@event
class EmptyChecked(Decision):
    """An empty slab is kept while its node has fewer partial slabs than min_partial."""

    pfn: int
    inuse: int
    nr_partial: int
    min_partial: int
    discarded: bool


@event
class Deactivated(Decision):
    """A CPU lets its cpu slab go, with the free objects of the list from `freelist` on."""

    cache: str
    cpu: int
    pfn: int
    freelist: int
    tail: bool


@event
class SlabFreed(Decision):
    """An object went back to a slab that is not this CPU's cpu slab: what the slab was, and what it becomes."""

    pfn: int
    object: int
    prior: int
    inuse: int
    was_frozen: bool
    frozen: bool


@event
class SlabDiscarded(Decision):
    """An empty slab goes back to the page allocator."""

    cache: str
    pfn: int
    order: int


@event
class CacheShrunk(Decision):
    """A node's partial list was put in order: fullest first; so many empty slabs go."""

    cache: str
    nid: int
    nr_partial: int
    discarded: int
