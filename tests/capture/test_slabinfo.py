"""/proc/slabinfo: what is read of a real one, and what is said of another file."""

import pytest

import mmviz as mv
from mmviz.capture.slabinfo import read_slabinfo
from mmviz.errors import CaptureError

LINE = "kmalloc-64 60 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n"


def test_a_real_one():
    lines = {line.name: line for line in read_slabinfo(mv.kernel.DATA / "proc" / "m512" / "slabinfo")}
    assert len(lines) == 78
    assert lines["kmalloc-64"] == ("kmalloc-64", 6848, 6848, 64, 64, 1, 107, 107)
    assert all(line.num_objs == line.num_slabs * line.objperslab for line in lines.values())


def test_a_text_of_tunables_and_empty_lines():
    assert read_slabinfo(f"slabinfo - version: 2.1\n# name ...\n\n{LINE}")[0].active_objs == 60
    slab = "dentry 1 2 192 21 1 : tunables  120   60    8 : slabdata      1      1      0"
    assert read_slabinfo(slab)[0].objsize == 192


def test_what_is_wrong_is_said_with_its_line(tmp_path):
    with pytest.raises(CaptureError, match=r"^text:2: not a line of /proc/slabinfo: 'kmalloc-96 some'"):
        read_slabinfo(f"{LINE}kmalloc-96 some")
    with pytest.raises(CaptureError, match="nowhere: cannot be read: No such file"):
        read_slabinfo(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.write_text("slabinfo - version: 2.1\n")
    with pytest.raises(CaptureError, match=r"must hold lines .* is it /proc/slabinfo\?"):
        read_slabinfo(empty)
