"""The kernel that runs the tests, asked for its page tables; and what is said where there is nobody to ask."""
import mmap

import pytest

import mmviz as mv
from mmviz.capture import own_process
from mmviz.capture.own_process import AREA, GIB, OwnTables, places, vm_pte

STATUS = "/proc/self/status"


@pytest.mark.skipif(vm_pte(STATUS) is None or mmap.PAGESIZE != 4096, reason="no Linux with pages of 4 KiB")
def test_this_kernel_makes_the_tables_that_the_simulator_says():
    found = mv.own_tables()
    assert found.live and found.predicted == found.measured == 16


def test_elsewhere_the_recorded_value_stands(tmp_path):
    recorded = OwnTables(16, 16, False)
    assert mv.own_tables(tmp_path / "status") == recorded
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t 780 kB\n")
    assert mv.own_tables(tmp_path / "status") == recorded
    assert str(recorded) == ("two pages beside a boundary of 1 GiB: predicted +16 kB of tables, "
                             "measured +16 kB")


def test_the_line_is_read(tmp_path):
    (tmp_path / "status").write_text("VmData:\t 60 kB\nVmPTE:\t      44 kB\nVmSwap:\t 0 kB\n")
    assert vm_pte(tmp_path / "status") == 44


def test_where_so_large_a_mapping_is_refused_the_recorded_value_stands(tmp_path, monkeypatch):
    (tmp_path / "status").write_text("VmPTE:\t 44 kB\n")
    monkeypatch.setattr(own_process, "AREA", 1 << 62)
    assert mv.own_tables(tmp_path / "status") == OwnTables(16, 16, False)


@pytest.mark.parametrize("start", (0x7F0000000000, 0x7F0000001000, 0x7F003FFFF000, *(
    (512 - gib) * GIB + page for gib in range(5) for page in (0, 4096))))
def test_the_two_pages_share_no_table_with_anybody_but_the_pud_table_of_the_first(start):
    first, below, above = places(start)
    assert below + 4096 == above and above % GIB == 0 and first == above + GIB
    assert start <= above - GIB and first + GIB <= start + AREA
    assert {vaddr // (512 * GIB) for vaddr in (first, below)} == {above // (512 * GIB)}
