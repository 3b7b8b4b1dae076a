"""A file that is not what it should be is a CaptureError that names the file, and the line where there is one."""
import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmviz as mv
from mmviz.capture.ftrace import parse_ftrace
from mmviz.capture.load import load_capture
from mmviz.capture.replay import replay
from mmviz.capture.snapshot import machine_of, parse_snaps

W2B, W0 = "m512_W2b_small.json.gz", "m512/W0_idle"
ROOT = Path(__file__).resolve().parents[2]


def refused(path, match):
    with pytest.raises(mv.CaptureError, match=match) as caught:
        for capture in load_capture(path):
            replay(capture)
    return str(caught.value)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["m512_W1_shell.json.gz", "m512/W0_idle.snaps.gz"])
def test_a_truncated_file(capture_path, tmp_path, name):
    path = tmp_path / Path(name).name
    path.write_bytes(capture_path(name).read_bytes()[:1000])
    (tmp_path / "W0_idle.trace.gz").write_bytes(b"")
    assert refused(path, "cannot be read").startswith(f"{path}: ")


@pytest.mark.parametrize("first, what", [(10, "cannot be unpacked"), (5000, "cannot be")])
def test_a_damaged_file(capture_path, tmp_path, first, what):
    data = bytearray(capture_path(W2B).read_bytes())
    data[first:first + 100] = b"\xff" * 100
    path = tmp_path / W2B
    path.write_bytes(data)
    refused(path, what)


def test_a_file_that_is_not_there(tmp_path):
    refused(tmp_path / "nothing.json.gz", "nothing.json.gz: cannot be read")


def test_a_file_of_another_kind(tmp_path):
    refused(tmp_path / "trace.dat", r"must be \*.json.gz or \*.snaps.gz")


def test_no_text(tmp_path):
    path = tmp_path / "bytes.json.gz"
    path.write_bytes(gzip.compress(b"\xff\xfe\x00"))
    refused(path, "cannot be read")


def test_a_trace_must_stand_beside_the_snapshots(capture_path, tmp_path):
    path = tmp_path / "W0_idle.snaps.gz"
    path.write_bytes(capture_path(W0 + ".snaps.gz").read_bytes())
    refused(path, "W0_idle.trace.gz or W0_idle.trace.xz must stand beside it")


# ---------------------------------------------------------------- golden JSON


def test_no_json(tmp_path):
    path = tmp_path / "words.json.gz"
    path.write_bytes(gzip.compress(b"{not json"))
    refused(path, "not a golden capture")


@pytest.mark.parametrize("saved", [[], 7, {}, {"before": {}, "after": {}}, {"before": {}, "after": {}, "ops": [[]]},
                                   {"before": {}, "after": {}, "ops": [["a", 0]]}])
def test_json_of_another_form(tmp_path, saved):
    path = tmp_path / "other.json.gz"
    path.write_bytes(gzip.compress(json.dumps(saved).encode()))
    refused(path, "other.json.gz: not a golden capture")


def test_an_unknown_flag_in_golden_json(altered):
    def change(data):
        next(row for row in data["ops"] if row[0] == "a")[5] = "GFP_KERNEL|__GFP_MAGIC"

    refused(altered(W2B, change), "'__GFP_MAGIC'")


@pytest.mark.parametrize("row", [
    ["q", 0, 1], ["f", 0], ["f", 0, "x", 0], ["f", 0, 1 << 40, 0], ["a", 7, 1, 0, 0, "0x0", 0], ["k", "fold", 9],
], ids=str)
def test_an_operation_that_makes_no_sense(altered, row):
    refused(altered(W2B, lambda data: data["ops"].insert(0, row)), W2B)


@pytest.mark.parametrize("key", ["const", "zones", "zonelists"])
def test_a_snapshot_without_a_part(altered, key):
    refused(altered(W2B, lambda data: data["before"].pop(key)), rf"{W2B} \(before\): not a whole snapshot")


@pytest.mark.parametrize("change", [
    lambda zone: zone.pop("managed"), lambda zone: zone["free"].update({"0,1": None}),
    lambda zone: zone.update(pcp={}), lambda zone: zone["pcp"]["0"].update(lists=[[], []]),
], ids=["no size", "no list", "no piles", "two piles"])
def test_a_zone_that_is_not_whole(altered, change):
    refused(altered(W2B, lambda data: change(data["after"]["zones"][1])), rf"{W2B} \(after\): not a whole snapshot")


# ---------------------------------------------------------------- ftrace text


def edit(pattern, replacement):
    """A change of a text: the first match of the pattern is replaced; returns the change and finds its line."""
    def change(text):
        changed, count = re.subn(pattern, replacement, text, count=1)
        assert count == 1
        return changed
    return change


def line_of(path, pattern):
    text = gzip.decompress(path.with_name(path.name.replace("snaps", "trace")).read_bytes()).decode()
    return next(number for number, line in enumerate(text.splitlines(), 1) if re.search(pattern, line))


@pytest.mark.parametrize("pattern, replacement, what", [
    (r"(mm_page_alloc: .*)order=\d+ ", r"\1", "mm_page_alloc without order="),
    (r"(mm_page_free: .*)pfn=\d+ ", r"\1", "mm_page_free without pfn="),
    (r"(mm_page_alloc: .*)pfn=\d+ ", r"\1pfn=many ", "invalid literal"),
    (r"gfp_flags=GFP_KERNEL\S*", "gfp_flags=GFP_KERNAL", "'GFP_KERNAL'"),
    (r"\n[^#\n]*mm_page_free: .*", r"\nwhat is this", "not a line of ftrace text"),
    (r"\n[^#\n]*mm_page_free: .*", r"\nCPU:0 [LOST 12 EVENTS]", "events were lost"),
])
def test_a_trace_line_that_does_not_parse_is_named(raw_copy, pattern, replacement, what):
    path = raw_copy(W0, trace=edit(pattern, replacement))
    message = refused(path, re.escape(what))
    number = int(re.match(r"W0_idle.trace.gz:(\d+): ", message)[1])
    original = gzip.decompress((ROOT / "data" / "captures" / f"{W0}.trace.gz").read_bytes()).decode().splitlines()
    altered_text = gzip.decompress((path.parent / "W0_idle.trace.gz").read_bytes()).decode().splitlines()
    assert altered_text[number - 1] != original[number - 1]
    assert altered_text[:number - 1] == original[:number - 1]


def test_a_trace_without_marks(raw_copy):
    refused(raw_copy(W0, trace=lambda text: text.replace("MMCAP snap", "a snap")), "must hold two lines 'MMCAP snap=N'")


def test_a_trace_with_a_mark_too_many(raw_copy):
    def twice(text):
        return re.sub(r"(.*MMCAP snap=1.*\n)", r"\1\1", text)

    message = refused(raw_copy(W0, trace=twice), "must hold 2 lines 'MMCAP snap=N'")
    assert message.endswith("holds 3")


def trace_of(*lines):
    text = "\n".join(["# tracer: nop", "noise before the first mark", "", "t-1 [000] d... 1.0: f: MMCAP snap=0", *lines,
                      "t-1 [000] d... 9.0: f: MMCAP snap=1"])
    [rows] = parse_ftrace(text, "x.trace")
    return rows


def said(cpu, event, rest):
    return f"  my task-12 [{cpu:03}] .... 2.000001: {event}: {rest}"


ALLOC = "page=ffffea0000 pfn=7 order=0 migratetype=1 gfp_flags=GFP_NOWAIT"


def test_the_node_that_was_asked_for_stands_before_the_allocation():
    mark = said(0, "tracing_mark_write", "MMCAPNODE node=1")
    rows = trace_of(mark, *(said(cpu, "mm_page_alloc", ALLOC) for cpu in (1, 0, 0)))
    assert [row[6] for row in rows] == [0, 1, 0]


def test_no_node_is_the_cpus_own():
    rows = trace_of(said(0, "tracing_mark_write", "MMCAPNODE node=-1"), said(0, "mm_page_alloc", ALLOC))
    assert [row[6] for row in rows] == [0]


@pytest.mark.parametrize("event", ["kmalloc_node", "kmem_cache_alloc_node"])
def test_the_node_that_a_slab_asked_for_stands_behind_the_allocation(event):
    rows = trace_of(said(0, "mm_page_alloc", ALLOC), said(1, event, "ptr=0 node=3"), said(0, event, "ptr=0 node=1"),
                    said(0, event, "ptr=0 node=2"), said(0, "mm_page_alloc", ALLOC), said(0, event, "node=-1"))
    assert [row[6] for row in rows] == [1, 0]


def test_the_node_is_not_that_of_a_later_slab():
    rows = trace_of(said(0, "mm_page_alloc", ALLOC), said(0, "fold", "(x)"), said(0, "kmalloc_node", "node=1"))
    assert rows == [["a", 0, 7, 0, 1, mv.GFP_NOWAIT, 0], ["k", "fold", 0]]


@pytest.mark.parametrize("nothing", ["page=(null) pfn=0", "page=ffffea00 pfn=0", "page=(null) pfn=7"])
def test_an_allocation_that_failed_has_no_pfn(nothing):
    [row] = trace_of(said(0, "mm_page_alloc", f"{nothing} order=3 migratetype=1 gfp_flags=GFP_NOWAIT"))
    assert row[2:4] == [None, 3]


def test_a_page_of_a_list_is_prepared_and_then_committed():
    rows = trace_of(said(0, "mm_page_free", "page=f pfn=7 order=0"), said(0, "mm_page_free", "page=f pfn=8 order=0"),
                    said(0, "mm_page_free_batched", "page=f pfn=7 order=0"))
    assert rows == [["p", 0, 7], ["f", 0, 8, 0], ["c", 0, 7]]


def test_other_events_are_passed_over():
    assert trace_of(said(0, "sched_switch", "prev=1"), said(0, "mm_lru_insertion", "page=f pfn=7 lru=1")) == [["l", 7]]


def test_every_kind_of_row():
    page = "page=f pfn=7 order=0 migratetype=2"
    assert trace_of(
        said(1, "mm_page_alloc_zone_locked", page + " percpu_refill=1"), said(1, "mm_page_pcpu_drain", page),
        said(1, "mm_page_alloc_extfrag", "page=f pfn=7 alloc_order=0 fallback_order=3 pageblock_order=9 "
             "alloc_migratetype=0 fallback_migratetype=1 fragmenting=1 change_ownership=1"),
        said(1, "bpe", "(x)"), said(1, "bpr", "(x)"),
    ) == [["z", 1, 7, 0, 2], ["d", 1, 7, 2], ["x", 1, 7, 0, 3, 0, 1, 1], ["k", "bpe", 1], ["k", "bpr", 1]]


# ---------------------------------------------------------------- snapshot text


def test_a_snapshot_that_is_cut_off_between_lists(raw_copy):
    def cut(text):
        return text[:text.rindex("free 0 1 order=3 mt=0")]

    refused(raw_copy(W0, snaps=cut), "snapshot after: zone DMA32 order 3 must list nr_free=None blocks, lists 0")


def test_a_snapshot_that_is_cut_off_at_its_head(raw_copy):
    def cut(text):
        return text[:text.rindex("const ")]

    refused(raw_copy(W0, snaps=cut), "snapshot after must have const, zonelist and zone lines")


def test_a_list_that_lacks_a_block(raw_copy):
    path = raw_copy(W0, snaps=edit(r"(free 0 0 order=0 mt=0 nr_free=1 :) 152", r"\1"))
    refused(path, "zone DMA order 0 must list nr_free=1 blocks, lists 0")


def test_no_snapshot_at_all(raw_copy):
    refused(raw_copy(W0, snaps=lambda text: ""), "must begin with a line 'snap N label=...', found none")


@pytest.mark.parametrize("pattern, replacement", [
    (r"free 0 1 order=2", "free 0 one order=2"), (r"free 0 1 order=2", "free 0 3 order=2"),
    (r"mt=0 nr_free=1 : 152", "mt=0 nr_free=1 : 15x2"), (r"snap 0 label=\w+", "snap 0"), (r"snap 0 .*\n", ""),
    (r"pcplist 0 1 cpu=0", "pcplist 0 1 cpu=3"), (r"managed=\d+", "managed=many"), (r"pageblocks 0 0 ", "pageblocks ")])
def test_a_snapshot_line_that_does_not_parse_is_named(raw_copy, pattern, replacement):
    message = refused(raw_copy(W0, snaps=edit(pattern, replacement)), "does not parse")
    assert re.match(r"W0_idle.snaps.gz:\d+: ", message)


def test_a_page_on_a_pile_may_carry_another_type(raw_copy):
    def change(text):
        return re.sub(r"(pcplist 0 1 cpu=0 list=1 : \d+)\b(?!/)", r"\1/4", text)

    [capture] = load_capture(raw_copy(W0, snaps=change))
    zone = capture.machine().zone("DMA32")
    assert zone.index[zone.pageset[0].lists[1][0]] == 4


def test_the_range_of_lru_pages():
    with gzip.open(ROOT / "data" / "captures" / f"{W0}.snaps.gz", "rt") as file:
        [first, _] = parse_snaps(re.sub(r"lru 0 0 :.*", "lru 0 0 : 5-7 9", file.read()), "x.snaps")
    assert machine_of(first).zone("DMA").lru == {5, 6, 7, 9}


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("arrange", [
    lambda raw_copy: raw_copy(W0, trace=lambda text: text.replace("order=", "size=", 3)),
    lambda raw_copy: raw_copy(W0, snaps=lambda text: text[:2000]),
    lambda raw_copy: Path("nowhere.json.gz"),
], ids=["trace", "snapshot", "missing"])
def test_the_command_says_one_line_and_fails(raw_copy, command, arrange):
    status, out, err = command("replay", arrange(raw_copy))
    assert (status, out, err.count("\n")) == (1, "", 1)


def test_the_other_files_are_still_replayed(command, capture_path, tmp_path):
    status, out, err = command("replay", tmp_path / "no.json.gz", capture_path(W2B))
    assert status == 1 and err.count("\n") == 1 and out.startswith(W2B)


def test_from_the_shell(tmp_path):
    done = subprocess.run([sys.executable, "-m", "mmviz", "replay", tmp_path / "no.json.gz"], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and "no.json.gz" in done.stderr


# ---------------------------------------------------------------- saved recordings and machines


@pytest.fixture
def used():
    """A machine with something in every corner, and the recording of how it came to that."""
    machine = mv.toy(64)
    with mv.record(machine) as recording:
        pages = [mv.alloc_pages(machine, mv.GFP_HIGHUSER_MOVABLE, order) for order in (0, 0, 3)]
        mv.alloc_pages(machine, mv.GFP_KERNEL | mv.__GFP_COMP, 1)
        mv.__free_pages(machine, pages[0], 0)
        mv.set_current(machine, 0, flags=mv.PF_MEMALLOC)
    return machine, recording


def test_a_machine_comes_back_as_it_was(used, tmp_path):
    machine, _ = used
    machine.save(tmp_path / "m.json.gz")
    back = mv.Machine.load(tmp_path / "m.json.gz")
    assert back == machine
    assert mv.alloc_pages(back, mv.GFP_KERNEL, 0) == mv.alloc_pages(machine, mv.GFP_KERNEL, 0)
    assert back == machine


def test_a_recording_comes_back_as_it_was(used, tmp_path):
    machine, recording = used
    recording.save(tmp_path / "r.json.gz")
    back = mv.Recording.load(tmp_path / "r.json.gz", mv.Machine.from_dict)
    assert list(back) == list(recording)
    assert back.at(0) == recording.at(0) and back.at(len(back)) == machine


def test_what_is_saved_twice_is_the_same_file(used, tmp_path):
    for thing in used:
        thing.save(tmp_path / "one")
        thing.save(tmp_path / "two")
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def load_machine(path):
    return mv.Machine.load(path)


def load_recording(path):
    return mv.Recording.load(path, mv.Machine.from_dict)


@pytest.mark.parametrize("load", [load_machine, load_recording])
@pytest.mark.parametrize("text", [
    b"no json", b"{}", b'{"format": 99}', b'{"format": 1}', b"[1]", b"7", b"\xff",
    b'{"format": 1, "start": {}, "stacks": [], "steps": [["NoEvent", 0]]}'])
def test_a_saved_file_that_is_not_one(tmp_path, load, text):
    path = tmp_path / "saved"
    path.write_bytes(gzip.compress(text))
    with pytest.raises(mv.CaptureError, match="format"):
        load(path)


@pytest.mark.parametrize("load", [load_machine, load_recording])
@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b'{"format": 1}', mtime=0)[:-9]])
def test_a_saved_file_that_is_no_gzip(tmp_path, load, content):
    path = tmp_path / "saved"
    path.write_bytes(content)
    with pytest.raises(mv.CaptureError, match="format"):
        load(path)


@pytest.mark.parametrize("load", [load_machine, load_recording])
def test_a_saved_file_that_is_not_there(tmp_path, load):
    with pytest.raises(mv.CaptureError, match="nothing"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize("load, which", [(load_machine, 0), (load_recording, 1)])
def test_a_saved_file_that_was_damaged(used, tmp_path, load, which):
    path = tmp_path / "saved"
    used[which].save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(mv.CaptureError, match="saved"):
        load(path)


@pytest.mark.parametrize("spoil", [
    lambda saved: saved["steps"][0].insert(1, 5), lambda saved: saved["steps"][0].__setitem__(0, "Unheard"),
    lambda saved: saved["steps"][0].__setitem__(-1, 10000), lambda saved: saved.update(format=2),
    lambda saved: saved["stacks"].__setitem__(0, 7), lambda saved: saved["start"]["zones"][0].pop("free"),
    lambda saved: saved["start"].update(format=0)])
def test_a_recording_that_was_altered(used, tmp_path, spoil):
    path = tmp_path / "r.json.gz"
    used[1].save(path)
    saved = json.loads(gzip.decompress(path.read_bytes()))
    spoil(saved)
    path.write_bytes(gzip.compress(json.dumps(saved).encode()))
    with pytest.raises(mv.CaptureError, match="format"):
        load_recording(path)


@pytest.mark.parametrize("use", [
    "mv.kmalloc(machine, 100, mv.GFP_KERNEL)", "mv.mm_alloc(machine, 7, 'init')",
    "mv.kmap(machine, 0x1400)",
])
def test_a_recording_of_any_core_comes_back_in_a_fresh_process(use, tmp_path):
    machine = mv.kmap_toy() if "kmap" in use else mv.toy(4)
    with mv.record(machine) as recording:
        eval(use, {"mv": mv, "machine": machine})
    recording.save(tmp_path / "r.json.gz")
    machine.save(tmp_path / "m.json.gz")
    program = ("import sys; import mmviz as mv; from mmviz.mm.machine import Machine; "
               "back = mv.Recording.load(sys.argv[1], Machine.from_dict); "
               "print(len(back), back.at(len(back)) == Machine.load(sys.argv[2]))")
    found = subprocess.run([sys.executable, "-c", program, tmp_path / "r.json.gz", tmp_path / "m.json.gz"],
                           capture_output=True, text=True, check=False)
    assert found.stdout.split() == [str(len(recording)), "True"], found.stderr
