"""The address slider from Python's side: what it shows, what it hands over, what it refuses."""
import json

import pytest

import mmviz as mv
from mmviz.explore.address_panel import MOST, AddressPanel, worth_a_look
from mmviz.explore.coding import decode
from mmviz.mm.geometry import geometry_of
from mmviz.mm.pgalloc import mm_alloc, p4d_alloc, pmd_alloc, pte_alloc_map, pud_alloc
from mmviz.mm.pgtable import pfn_pte, pgd_offset, vm_get_page_prot
from mmviz.mm.vm import set_page_mapping, set_pte_at
from mmviz.mm.vma import __vma_link, vm_area_alloc

BASE, FLAGS = 0x7F00001FF000, 0x100073


@pytest.fixture
def machine():
    machine = mv.toy(4)
    mm = mm_alloc(machine, 1, "writer")
    vm_area_alloc(machine, 1, 1, BASE, BASE + 0x4000, FLAGS, vm_get_page_prot(machine, FLAGS), 0)
    __vma_link(machine, 1)
    for vaddr in (BASE, BASE + 0x1000):
        pud = pud_alloc(machine, mm, p4d_alloc(machine, mm, pgd_offset(machine, mm, vaddr), vaddr), vaddr)
        pointer = pte_alloc_map(machine, mm, pmd_alloc(machine, mm, pud, vaddr), vaddr)
        pfn = mv.alloc_pages(machine, mv.GFP_HIGHUSER_MOVABLE, 0)
        set_page_mapping(machine, pfn, "anon", 1, vaddr >> 12)
        set_pte_at(machine, 1, vaddr, pointer, pfn_pte(geometry_of(machine), pfn,
                                                       vm_get_page_prot(machine, FLAGS)))
    return machine


def test_the_ends_the_pages_and_the_hole_are_worth_a_look(machine):
    assert worth_a_look(machine) == [BASE, BASE + 0x1000, BASE + 0x3000, BASE + 0x4000]


def test_bits_and_way_move_together(machine):
    panel = AddressPanel(machine)
    data = json.loads(panel.data)
    assert data["places"] == ["0x7f00001ff000", "0x7f0000200000", "0x7f0000202000", "0x7f0000203000"]
    shown = [{mark.key for mark in frame} for frame in decode(data)]
    assert "way table pte 511" in shown[0] and "way page 0x1004" in shown[0] and "x86-64 pte" in shown[0]
    assert "way fault" in shown[3] and "way fault" not in shown[0]
    assert "pmd[0], pte[511] leads to frame 0x1004" in panel.html()


def test_it_changes_nothing_and_is_the_same_each_time(machine):
    before = machine.to_dict()
    assert AddressPanel(machine).data == AddressPanel(machine).data
    assert machine.to_dict() == before


def test_as_many_as_allowed_fit_in_an_output(machine):
    panel = AddressPanel(machine, range(BASE - 0x8000, BASE - 0x8000 + MOST * 0x1000, 0x1000), at=-1)
    assert len(json.dumps(panel.html())) < 40_000 and panel.step == MOST - 1
    assert repr(panel) == f"AddressPanel({MOST} addresses)"


@pytest.mark.parametrize("addresses", [[], range(0, (MOST + 1) << 12, 1 << 12)])
def test_none_and_too_many_are_refused(machine, addresses):
    with pytest.raises(ValueError, match=f"addresses must be 1 to {MOST}, got"):
        AddressPanel(machine, addresses)
