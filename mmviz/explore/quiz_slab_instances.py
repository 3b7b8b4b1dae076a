"""New problems about SLUB without end: small machines with a past, and a few calls that are asked about."""
from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..draw.slab_reading import views
from ..kernel import GFP_NOWAIT
from ..mm.boot import toy
from ..mm.kmalloc import kfree, kmalloc
from ..mm.machine import Machine, set_current
from ..recording import Recording, record

SIZES = (256, 512, 1024, 2048)
ODD_SIZES = (20, 33, 65, 90, 100, 129, 150, 192, 193, 300, 700, 1025, 2100, 4000, 5000, 8193, 9000, 12_000, 20_000)


def _worn(rng: Random, machine: Machine, size: int, slabs: int) -> list[int]:
    """So many slabs of objects, some of them free again; what is still held."""
    held = [kmalloc(machine, size, GFP_NOWAIT)]
    per_slab = views(machine, f"kmalloc-{size}" if size < 1024 else f"kmalloc-{size >> 10}k")[0].objects
    held += [kmalloc(machine, size, GFP_NOWAIT) for _ in range(slabs * per_slab - 1 - rng.randrange(per_slab))]
    for _ in range(rng.randrange(1, len(held) // 2 + 2)):
        kfree(machine, held.pop(rng.randrange(len(held))))
    return held


def _asking(rng: Random) -> Recording:
    """Frees, then a request, again and again; now and then of a slab that is not the CPU's."""
    machine = toy(4, cpus=(0, 0))
    held = _worn(rng, machine, size := rng.choice(SIZES), rng.randint(1, 3))
    if rng.random() < 0.5:
        set_current(machine, 1)
        for _ in range(min(3, len(held))):
            kfree(machine, held.pop(rng.randrange(len(held))))
        set_current(machine, 0)
    with record(machine) as recording:
        for _ in range(5):
            for _ in range(min(rng.randint(1, 3), len(held))):
                kfree(machine, held.pop(rng.randrange(max(0, len(held) - 8), len(held))))
            held.append(kmalloc(machine, size, GFP_NOWAIT))
    return recording


def _giving(rng: Random) -> Recording:
    """Frees by two CPUs, of objects of all kinds of slabs."""
    machine = toy(64, cpus=(0, 0))
    held = _worn(rng, machine, rng.choice((256, 1024, 4096)), rng.randint(3, 12))
    with record(machine) as recording:
        for _ in range(min(len(held), 12)):
            set_current(machine, rng.randrange(2))
            kfree(machine, held.pop(rng.randrange(len(held))))
    return recording


def _emptying(rng: Random) -> Recording:
    """Slabs with one object left, or two, most of them on the node's list: of some of them one is freed."""
    machine = toy(64)
    held = [kmalloc(machine, 4096, GFP_NOWAIT) for _ in range(8 * rng.randint(6, 12))]
    slabs = [held[first:first + 8] for first in range(0, len(held) - 8, 8)]
    for objects in slabs:
        for address in objects[:rng.choice((6, 7))]:
            kfree(machine, address)
    left = rng.sample([objects[7] for objects in slabs], min(len(slabs), rng.randint(2, 6)))
    with record(machine) as recording:
        for address in left:
            kfree(machine, address)
    return recording


def _sizes(rng: Random) -> Recording:
    machine = toy(4)
    with record(machine) as recording:
        for _ in range(3):
            kmalloc(machine, rng.choice(ODD_SIZES) + rng.randrange(8), GFP_NOWAIT)
    return recording


def _orders(rng: Random) -> Recording:
    machine = toy(4, cpus=[0] * rng.choice((1, 2, 3, 4, 6, 8, 12, 16, 32)))
    with record(machine) as recording:
        kmalloc(machine, rng.choice((64, 96, 192, 256, 512, 1024, 2048, 4096, 8192)), GFP_NOWAIT)
    return recording


SLAB_MAKERS: dict[str, Callable[[Random], Recording]] = {
    "object_next": _asking, "list_after_free": _giving, "page_back": _emptying, "size_class": _sizes,
    "slab_order": _orders,
}
