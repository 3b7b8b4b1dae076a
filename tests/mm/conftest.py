"""Helpers of the page allocator's tests, as fixtures: test files cannot import each other.

Lists are written as in the reference: `3:U[0x1008] 1:M[0x1202,0x1200]` is order, type, and the pfns, head first.
"""
import importlib.util
import pathlib
import re

import pytest

from mmviz.kernel import MAX_ORDER, NR_FREE_PAGES, WMARK_HIGH
from mmviz.mm.boot import boot
from mmviz.mm.events import WatermarkChecked
from mmviz.mm.zone import add_to_free_area, del_page_from_free_area, pcp_list_add_tail, set_pcppage_migratetype
from mmviz.narrate import sentence
from mmviz.recording import record
from mmviz.trace import EVENTS

LETTERS = "UMRHCI"
BLOCKS = re.compile(r"(\d+):([UMRHCI])\[([^\]]*)\]")


def empty_zone(**by_hand):
    """A 64 MiB zone DMA32 at 0x1000 of one CPU, with types and without marks, that has no free page."""
    machine = boot([("DMA32", 0x1000, 0x4000)], **{"grouping": True, "watermarks": (0, 0, 0), **by_hand})
    zone = machine.zone("DMA32")
    while zone.free_area[10].nr_free:
        del_page_from_free_area(zone, next(zone.free_list(10, 1)), 10, 1)
    zone.vm_stat[NR_FREE_PAGES] = 0
    return zone


@pytest.fixture
def zone_with():
    """zone_with("3:M[0x1008]", high_mark=1500): these free lists, and each pageblock of the type of its blocks."""

    def build(free="", *, lru=(), high_mark=0, **by_hand):
        zone = empty_zone(**by_hand)
        zone._watermark[WMARK_HIGH] = high_mark
        zone.lru.update(lru)
        for order, letter, pfns in BLOCKS.findall(free):
            for pfn in reversed(pfns.split(",")):
                add_to_free_area(zone, int(pfn, 16), int(order), LETTERS.index(letter))
                zone.vm_stat[NR_FREE_PAGES] += 1 << int(order)
        for pfn, (order, migratetype) in zone.buddy.items():
            for page in range(pfn, pfn + (1 << order), 512):
                zone.pageblock[page >> 9] = migratetype
        return zone

    return build


@pytest.fixture
def lists():
    """lists(zone) == "3:U[0x1008] 0:M[0x1100]": what is on the free lists, largest order first."""

    def text(zone):
        found = [(order, letter, [hex(pfn) for pfn in zone.free_list(order, migratetype)])
                 for order in reversed(range(MAX_ORDER)) for migratetype, letter in enumerate(LETTERS)]
        return " ".join(f"{order}:{letter}[{','.join(pfns)}]" for order, letter, pfns in found if pfns)

    return text


@pytest.fixture
def buddyinfo():
    """buddyinfo(zone) == "1 0 0 0 0 0 0 0 0 0 1": the blocks of each order, smallest first."""
    return lambda zone: " ".join(str(area.nr_free) for area in zone.free_area)


@pytest.fixture
def fill_pile():
    """fill_pile(zone, 1, pages): put pages on a CPU's list of a type, the first on top."""

    def fill(zone, migratetype, pages, cpu=0):
        for pfn in pages:
            set_pcppage_migratetype(zone, pfn, migratetype)
            pcp_list_add_tail(zone, cpu, migratetype, pfn)

    return fill


@pytest.fixture
def events_of():
    """events_of(machine, function, *arguments): the events that a call emits."""

    def run(machine, function, *arguments):
        with record(machine) as recording:
            function(*arguments)
        return [step.event for step in recording]

    return run


@pytest.fixture
def served():
    """served(request): how often a request is served before it is refused."""

    def count(request):
        number = 0
        while request() is not None:
            number += 1
        return number

    return count


@pytest.fixture
def watermark_min():
    """watermark_min(machine, function, *arguments): the `min` that each watermark check of a call compared with."""

    def run(machine, function, *arguments):
        with record(machine) as recording:
            function(*arguments)
        return [step.event.min for step in recording.select(WatermarkChecked)]

    return run


@pytest.fixture(scope="session")
def shows():
    """shows(recording, kind): whether changes of a kind show in the state; some write what stands there already.

    If they did not, nobody would see that a primitive says nothing.
    """

    def look(recording, kind):
        numbers = [step.number for step in recording.select(kind)]
        return any(recording.at(number) != recording.at(number + 1) for number in numbers)

    return look


@pytest.fixture(scope="session")
def leaves():
    """leaves(ev): the events of a module that are said, and not only a base of others."""

    def find(module):
        return {kind for kind in EVENTS.values() if kind.__module__ == module.__name__ and not kind.__subclasses__()}

    return find


@pytest.fixture(scope="session")
def all_is_said(leaves):
    """all_is_said(recording, ev): it rebuilds its machine, and every event of a module is in it, with a sentence."""

    def check(recording, module):
        assert recording.at(len(recording)) == recording.live
        said = {type(step.event): sentence(step.event, recording.live.config) for step in recording
                if type(step.event) in leaves(module)}
        assert set(said) == leaves(module)
        assert all(text.endswith(".") and "{" not in text for text in said.values())

    return check


@pytest.fixture(scope="session")
def space():
    """space(): an empty address space, and calls on it; space(machine) one of yours. See spaces.py."""
    path = pathlib.Path(__file__).with_name("spaces.py")
    spec = importlib.util.spec_from_file_location("spaces", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.space
