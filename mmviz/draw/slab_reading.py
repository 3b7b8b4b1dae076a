"""What the drawings of slabs read out of a Machine: one view for SLUB and SLAB.

    caches      by name
    SlabView    one slab of a cache: where it is, and for each object: in use, on a CPU's list, free in its slab
    Chain       a list of free objects, the next to go out first

Which cache is drawn? The one that was asked for, or that the step's call stack and event name, or the last with a slab.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..kernel import PAGE_SIZE
from ..mm.array_cache import SlabCache, SlabCaches
from ..mm.machine import Machine
from ..mm.page_ref import page_zone
from ..mm.slab_types import KmemCache, Slab, SlabPage
from ..mm.slob_state import slob
from ..recording import Step
from .reading import event_of, fields

USED, MINE, FREE = "in use", "on a CPU's list", "free in its slab"
ADDRESSES = ("object", "ptr", "vaddr", "freelist")  # the fields of events that may hold the address of an object


class Chain(NamedTuple):
    """A list of free objects.

    Attributes
    ----------
    name : str
    objects : tuple of int
        Their numbers in the slab, the next to go out first.
    linked : bool
        Whether each says which one is next; False for an array of SLAB.
    bites : int
        The object that comes after the last one again, in a list that a double free has made; else -1.
    """

    name: str
    objects: tuple[int, ...]
    linked: bool = True
    bites: int = -1


class SlabView(NamedTuple):
    """One slab.

    Attributes
    ----------
    cache, pfn, order, nid
        Whose it is, its first page, its 2^order pages, its node.
    start, size, object_size, objects
        Where the first object begins (an address), and how long one is with and without padding, in bytes; how many.
    where : str
        The list that the slab is on: "CPU 0", "CPU 0 partial", "node 0 partial", "full", "node 0 free".
    state : tuple of str
        For each object: USED, MINE or FREE.
    chains : tuple of Chain
    """

    cache: str
    pfn: int
    order: int
    nid: int
    start: int
    size: int
    object_size: int
    objects: int
    where: str
    state: tuple[str, ...]
    chains: tuple[Chain, ...]

    def number(self, address: int) -> int:
        """The number of the object that an address lies in, or -1."""
        number = (address - self.start) // self.size
        return number if 0 <= number < self.objects else -1

    @property
    def left_over(self) -> int:
        """Bytes that no object uses: before the first one (colour) and behind the last."""
        return (PAGE_SIZE << self.order) - self.objects * self.size

    @property
    def inuse(self) -> int:
        """Objects in use."""
        return self.state.count(USED)


# ---------------------------------------------------------------- which cache, which object


def caches(machine: Machine) -> dict[str, KmemCache | SlabCache]:
    """The caches that there are, of SLUB or of SLAB; none before the first kmalloc."""
    slub, slab = machine.parts.get("slab"), machine.parts.get("array_cache")
    found: dict[str, KmemCache | SlabCache] = {}
    if isinstance(slub, Slab):
        found |= slub.caches
    if isinstance(slab, SlabCaches):
        found |= slab.caches
    return found


def cache_of(machine: Machine, step: Step | None, name: str | None = None) -> str:
    """The cache to draw: `name`, or the one of the step, or the last one that has a slab; "" if there is none.

    Raises
    ------
    ValueError
        If there is no cache of that name.
    """
    known = caches(machine)
    if name is not None:
        if name not in known and known:
            raise ValueError(f"cache must be one of {', '.join(known)}, got {name!r}")
        return name
    frames = reversed(step.stack if step is not None else ())
    said = [fields(event_of(step)).get("cache"), *(value for frame in frames for _, value in frame.args)]
    named = [word for word in said if isinstance(word, str) and word in known]
    return next(iter([*named, *(cache for cache in reversed(known) if views(machine, cache))]), "")


def addresses(step: Step | None) -> frozenset[int]:
    """The addresses of objects that the event of a step names."""
    said = fields(event_of(step))
    return frozenset(said[name] for name in ADDRESSES if isinstance(said.get(name), int) and said[name] > PAGE_SIZE)


# ---------------------------------------------------------------- the slabs of a cache


def views(machine: Machine, cache: str) -> list[SlabView]:
    """The slabs of a cache, lowest address first."""
    part = machine.parts.get("slab")
    found = caches(machine).get(cache)
    if isinstance(part, Slab) and isinstance(found, KmemCache):
        return [_slub_view(machine, found, page) for page in part.slabs(cache)]
    if isinstance(found, SlabCache):
        return [_slab_view(machine, cache, found, pfn) for pfn in sorted(found.pages)]
    return []


def _slub_view(machine: Machine, cache: KmemCache, page: SlabPage) -> SlabView:
    cpu = next((cpu for cpu, c in enumerate(cache.cpu_slab) if c.page is page), -1)
    mine = tuple(page.walk(cache.cpu_slab[cpu].freelist)) if cpu >= 0 else ()
    others = tuple(page.walk(page.freelist))
    state = tuple(USED if each in page.live else MINE if each in mine else FREE for each in page.addresses())
    chains = ((f"CPU {cpu}: c->freelist", mine), ("page->freelist", others))
    return SlabView(cache.name, page.pfn, page.order, page.nid, page.start, cache.size, cache.object_size,
                    page.objects, _slub_where(cache, page, cpu), state,
                    tuple(_chain(page, cache, name, chain) for name, chain in chains if chain))


def _chain(page: SlabPage, cache: KmemCache, name: str, chain: tuple[int, ...]) -> Chain:
    after = page.freepointer.get(chain[-1], 0)
    return Chain(name, tuple((each - page.start) // cache.size for each in chain),
                 bites=(after - page.start) // cache.size if after else -1)


def _slub_where(cache: KmemCache, page: SlabPage, cpu: int) -> str:
    if cpu >= 0:
        return f"CPU {cpu}"
    mine = next((cpu for cpu, c in enumerate(cache.cpu_slab) if page.pfn in c.partial), -1)
    if mine >= 0:
        return f"CPU {mine} partial"
    return f"node {page.nid} partial" if page.pfn in cache.node[page.nid].partial else "full"


def _slab_view(machine: Machine, name: str, cache: SlabCache, pfn: int) -> SlabView:
    page, nid = cache.pages[pfn], page_zone(machine, pfn).nid
    free = page.freelist[page.active:]
    arrays = {array: _numbers(page.s_mem, cache, ac.entry[::-1]) for array, ac in cache.array.items()}
    waiting = {number for numbers in arrays.values() for number in numbers}
    state = tuple(FREE if number in free else MINE if number in waiting else USED for number in range(cache.num))
    chains = [Chain(_array_name(array), numbers, linked=False) for array, numbers in arrays.items() if numbers]
    where = next((kind for kind, pfns in cache.node[nid].slabs.items() if pfn in pfns), "")
    return SlabView(name, pfn, cache.gfporder, nid, page.s_mem, cache.size, cache.object_size, cache.num,
                    f"node {nid} {where}".strip(), state,
                    (*chains, *([Chain("freelist of the slab", tuple(free), linked=False)] if free else [])))


def _numbers(start: int, cache: SlabCache, entries: list[int]) -> tuple[int, ...]:
    """The numbers of those objects that lie in the slab whose first object is at `start`."""
    numbers = ((address - start) // cache.size for address in entries)
    return tuple(number for number in numbers if 0 <= number < cache.num)


def _array_name(array: str) -> str:
    kind, number, *home = array.split()
    return {"cpu": f"CPU {number}: array", "shared": f"node {number}: shared array"}.get(
        kind, f"node {number}: array for node {''.join(home)}")


def places(machine: Machine, cache: str) -> Iterator[tuple[str, list[SlabView]]]:
    """The lists of a cache in the order of a picture, each with its slabs in the list's own order."""
    by_pfn = {view.pfn: view for view in views(machine, cache)}
    found = caches(machine).get(cache)
    if isinstance(found, KmemCache):
        for cpu, c in enumerate(found.cpu_slab):
            yield f"CPU {cpu}", [by_pfn[c.page.pfn]] if c.page else []
            yield f"CPU {cpu} partial", [by_pfn[pfn] for pfn in c.partial]
        for nid, n in enumerate(found.node):
            yield f"node {nid} partial", [by_pfn[pfn] for pfn in n.partial]
        yield "full", [view for view in by_pfn.values() if view.where == "full"]
    elif isinstance(found, SlabCache):
        for nid, node in enumerate(found.node):
            for kind, pfns in node.slabs.items():
                yield f"node {nid} {kind}", [by_pfn[pfn] for pfn in pfns]


class Usage(NamedTuple):
    """What an allocator holds: pages of its slabs, and bytes in objects in use (a size class counts as a whole)."""

    pages: int
    used: int


def slab_usage(machine: Machine) -> Usage:
    """The pages that SLUB, SLAB or SLOB holds, and how much of them is in objects in use.

    Whole pages of large requests are no slabs, and do not count.

    Examples
    --------
    >>> import mmviz as mv
    >>> machine = mv.toy(4)
    >>> address = mv.kmalloc(machine, 100, mv.GFP_KERNEL)
    >>> slab_usage(machine)
    Usage(pages=1, used=128)
    """
    known = [view for cache in caches(machine) for view in views(machine, cache)]
    part = slob(machine)
    return Usage(sum(1 << view.order for view in known) + len(part.pages),
                 sum(view.inuse * view.size for view in known) + sum(part.sizes.values()))
