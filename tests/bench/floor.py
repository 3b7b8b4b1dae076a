"""The least that a buddy allocator costs in Python, and the work to compare it by.

`Bare` has ordered lists by order, splits and merges; no zones, types, per-CPU lists, watermarks, checks or events.
Two kinds of work, orders 0 to 3 with 70, 15, 10 and 5 per cent:

    churn   requests and frees at random; the number of live blocks stays within 5 %
    frag    a random half of the live blocks is freed, and then filled up again: long free lists
"""

import random
import statistics
from collections import OrderedDict
from time import process_time

MAX_ORDER = 11
ROUNDS, REQUESTS = 7, 20_000


class Bare:
    """The smallest honest buddy allocator."""

    def __init__(self, bits):
        self.lists = [OrderedDict() for _ in range(MAX_ORDER)]
        self.lists[-1].update(dict.fromkeys(range(0, 1 << bits, 1 << MAX_ORDER - 1)))

    def alloc(self, order):
        lists = self.lists
        for high in range(order, MAX_ORDER):
            if not lists[high]:
                continue
            pfn = lists[high].popitem(last=False)[0]
            while high > order:
                high -= 1
                half = pfn + (1 << high)
                lists[high][half] = None
                lists[high].move_to_end(half, last=False)
            return pfn

    def free(self, pfn, order):
        lists = self.lists
        while order < MAX_ORDER - 1:
            buddy = pfn ^ (1 << order)
            if lists[order].pop(buddy, 0) is not None:
                break
            pfn &= buddy
            order += 1
        lists[order][pfn] = None
        lists[order].move_to_end(pfn, last=False)


def some_orders(dice, count):
    return dice.choices(range(4), (70, 15, 10, 5), k=count)


def churn(dice, live, count):
    """Pairs (slot, order), order -1 frees: first `live` requests, and then `count` of both kinds."""
    used, unused = list(range(live)), list(range(live, live + live // 20 + 64))
    steps = []
    for order in some_orders(dice, count):
        must_free, may_free = len(used) >= live + live // 20, len(used) > live - live // 20
        if must_free or (may_free and dice.random() < 0.5):
            place = dice.randrange(len(used))
            used[place], used[-1] = used[-1], used[place]
            unused.append(used.pop())
            steps.append((unused[-1], -1))
        else:
            used.append(unused.pop())
            steps.append((used[-1], order))
    return steps


def frag(dice, live):
    """A random half is freed, and requested again."""
    slots = dice.sample(range(live), live // 2)
    return [(slot, -1) for slot in slots] + list(zip(slots, some_orders(dice, len(slots)), strict=True))


class Worker:
    """An allocator at work: remembers what each slot holds."""

    def __init__(self, allocator, live):
        self.allocator = allocator
        self.pfns, self.orders = [0] * (live + live // 20 + 64), [0] * (live + live // 20 + 64)

    def seconds(self, steps):
        """For each step, on average."""
        alloc, free, pfns, orders = self.allocator.alloc, self.allocator.free, self.pfns, self.orders
        started = process_time()
        for slot, order in steps:
            if order < 0:
                free(pfns[slot], orders[slot])
            else:
                pfns[slot] = alloc(order)
                orders[slot] = order
        return (process_time() - started) / len(steps)


def compare(make, make_floor, bits, live):
    """For churn and frag: seconds a request of the one, of the floor, and the ratio; they take turns."""
    dice = random.Random(1)
    fill = list(enumerate(some_orders(dice, live)))
    steps = churn(dice, live, ROUNDS * REQUESTS)
    slices = [steps[i * REQUESTS:(i + 1) * REQUESTS] for i in range(ROUNDS)]
    halves = [[step for _ in range(max(1, REQUESTS // live)) for step in frag(dice, live)] for _ in range(ROUNDS)]
    found = {}
    for name, rounds in (("churn", slices), ("frag", halves)):
        workers = [Worker(maker(bits), live) for maker in (make, make_floor)]
        for worker in workers:
            worker.seconds(fill)
        pairs = [[worker.seconds(part) for worker in workers] for part in rounds]
        mine, least = map(statistics.median, zip(*pairs, strict=True))
        found[name] = mine, least, statistics.median(a / b for a, b in pairs)
    return found
