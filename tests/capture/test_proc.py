"""/proc text: what a kernel writes is read, and what is no such text is refused with file and line."""
import pytest

import mmviz as mv
from mmviz.kernel import DATA

PROC = DATA / "proc"
FILES = ("buddyinfo", "pagetypeinfo", "zoneinfo")


def of(machine, *names):
    return {zone.name: zone for zone in mv.read_proc(*(PROC / machine / name for name in names or FILES))}


def test_the_three_files_make_one_record_a_zone():
    zone = of("m512")["DMA32"]
    assert zone.nr_free == [5, 5, 5, 4, 7, 7, 4, 5, 2, 1, 98]
    assert zone.by_type["Movable"] == [3, 4, 2, 2, 4, 4, 5, 5, 2, 0, 98]
    assert zone.pageblocks["Unmovable"] == 36
    assert [zone.fields[name] for name in ("min", "low", "high", "managed")] == [684, 855, 1026, 122517]
    assert (zone.protection, zone.pcp_count) == ([0, 0, 0, 0], [153])


def test_the_types_add_up_to_the_counts_of_all():
    zone = of("m512", "buddyinfo", "pagetypeinfo")["DMA"]  # nobody used it between the readings of the two files
    assert [sum(counts) for counts in zip(*zone.by_type.values(), strict=True)] == zone.nr_free


def test_what_buddyinfo_counts_is_what_the_counter_says_but_for_the_drift():
    zone = of("m512")["DMA32"]
    assert abs(zone.nr_pages_on_lists() - zone.fields["pages free"]) <= 6


def test_numa_counters_are_read_where_the_build_has_them():
    zones = {(zone.nid, zone.name): zone.fields for zone in mv.read_proc(PROC / "m512numa" / "zoneinfo")}
    assert [zones[nid, "DMA32"]["numa_hit"] for nid in (0, 1)] == [18_860, 727]
    assert [zones[nid, "DMA32"]["numa_interleave"] for nid in (0, 1)] == [948, 726]
    assert "numa_hit" not in of("m1536i386", "zoneinfo")["Normal"].fields


@pytest.mark.parametrize("machine", ["m512numa", "m1536i386", "m512zones", "m512smp2"])
def test_other_machines_are_read_too(machine):
    zones = mv.read_proc(*(PROC / machine / name for name in FILES))
    full = [zone for zone in zones if zone.nr_free]
    assert all(zone.nr_pages_on_lists() <= zone.fields["managed"] for zone in full)
    assert all(len(zone.pcp_count) == (2 if machine == "m512smp2" else 1) for zone in full)


def test_a_count_that_pagetypeinfo_caps_is_read_as_its_cap():
    [zone] = mv.read_proc("Node    0, zone   Normal, type      Movable >100000" + 10 * "      0")
    assert zone.by_type["Movable"][0] == 100_000


@pytest.mark.parametrize("text, where", [
    ("Node 0, zone DMA32, what is this", "text:1: not a line of buddyinfo"),
    ("Node 0, zone DMA32 1 2 3", "text:1: must give a count for each of 11 orders, gives 3"),
    ("Node 0, zone DMA32\nNode zone", "text:2: not a line"),
])
def test_a_line_that_no_kernel_writes_is_named(text, where):
    with pytest.raises(mv.CaptureError, match=where):
        mv.read_proc(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(mv.CaptureError, match=r"nothing: cannot be read: No such file"):
        mv.read_proc(tmp_path / "nothing")


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "meminfo"
    path.write_text("MemTotal: 1 kB\n")
    with pytest.raises(mv.CaptureError, match="must hold lines 'Node N, zone NAME'"):
        mv.read_proc(path)
