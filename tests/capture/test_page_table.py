"""Lists of operations against a real kernel: exact in every column, and a broken rule shows."""
import gzip
import re
from pathlib import Path

import pytest

import mmviz as mv
from mmviz.capture import page_table_run
from mmviz.capture.page_table import COLUMNS, load_operations, replay_operations
from mmviz.capture.page_table_frames import capture_beside
from mmviz.mm import copy_page_range, file_fault, munmap, pgalloc, vm_events, wp_fault

CAPTURES = Path(__file__).resolve().parents[2] / "data" / "captures" / "pt"
LISTS = sorted(path.stem for path in CAPTURES.glob("*.ops"))


def scored(name):
    return replay_operations(load_operations(CAPTURES / f"{name}.ops"))


@pytest.fixture
def copied(tmp_path):
    """copied("H08_fork", log=change): a list with its log and dumps beside it, some of them altered; its path."""

    def copy(name, ops=str, log=str, dumps=str):
        (tmp_path / f"{name}.ops").write_text(ops((CAPTURES / f"{name}.ops").read_text()))
        (tmp_path / f"{name}.log").write_text(log((CAPTURES / f"{name}.log").read_text()))
        text = dumps(gzip.decompress((CAPTURES / f"{name}.text.gz").read_bytes()).decode())
        (tmp_path / f"{name}.text.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        return tmp_path / f"{name}.ops"

    return copy


def edit(pattern, replacement):
    def change(text):
        changed, count = re.subn(pattern, replacement, text, count=1)
        assert count == 1
        return changed
    return change


def words(value):
    """A name for a parameter that is the same in every process: the file that is altered, no address of a function."""
    return "+".join(value) if isinstance(value, dict) else value


# ---------------------------------------------------------------- exact


@pytest.mark.parametrize("name", LISTS)
def test_every_list_is_exact_in_every_column(name):
    score = scored(name)
    assert not list(score.lines()), str(score)
    assert score.perfect and score.exact == score.total
    assert set(score.total) >= set(COLUMNS) - {"frames"}
    assert score.steps == score.total["vmas"] == score.total["tables"] == score.total["counts"]
    assert ("frames" in score.total) == (name == "PT_program")


def test_the_lists_are_of_both_machines():
    assert {load_operations(CAPTURES / f"{name}.ops").bits for name in LISTS} == {32, 64}


def test_the_line_of_a_list():
    assert re.fullmatch(r"H08_fork\.ops kind=page_table steps=42 results=71/71 touches=42/42 vmas=42/42 tables=42/42 "
                        r"ptes=259/259 gup=1/1 counts=42/42", str(scored("H08_fork")))


def test_the_frames_are_those_that_the_allocator_predicts():
    score = scored("PT_program")
    assert score.exact["frames"] == score.total["frames"] == 168


# ---------------------------------------------------------------- it bites


def columns_missed(score):
    return {miss.what.partition(":")[0] for miss in score.misses}


def test_entries_of_a_child_that_stay_young_show(monkeypatch):
    monkeypatch.setattr(copy_page_range, "pte_mkold", lambda pte: pte)
    score = scored("H08_fork")
    assert columns_missed(score) == {"ptes"} and score.total["ptes"] - score.exact["ptes"] > 20
    assert "P|US|A|D|NX" in next(score.lines()) and "P|US|D|NX" in next(score.lines())


def test_no_fault_around_shows(monkeypatch):
    monkeypatch.setattr(file_fault, "do_fault_around", lambda machine, vmf, ops: 0)
    score = scored("H06_shared_file")
    assert {"ptes", "counts"} <= columns_missed(score) and score.exact["touches"] == score.total["touches"]


def test_tables_that_are_never_freed_show(monkeypatch):
    monkeypatch.setattr(munmap, "free_pgtables", lambda *arguments: None)
    assert columns_missed(scored("H03_boundaries_32")) == {"tables"}


def test_a_copy_that_is_made_too_often_shows(monkeypatch):
    monkeypatch.setattr(wp_fault, "reuse_swap_page", lambda machine, page: False)
    assert columns_missed(scored("PT_program")) == {"frames"}


def test_a_page_that_is_kept_too_often_shows(monkeypatch):
    monkeypatch.setattr(wp_fault, "reuse_swap_page", lambda machine, page: True)
    assert {"ptes", "touches"} <= columns_missed(scored("H08_fork"))


# ---------------------------------------------------------------- what is said of a miss


@pytest.mark.parametrize("change, column, said", [
    ({"log": edit(r"(?m)^3 p0 write 0x100000000 -> ok", "3 p0 write 0x100000000 -> fault 0x100000000 SIGSEGV code=1")},
     "touches", "line 3, touches: write 0x100000000: predicted p0 ok, truth p0 fault"),
    ({"log": edit(r"-> 0\n", "-> -12\n")}, "results", "predicted p0 0, truth p0 -12"),
    ({"dumps": edit(r"vma 100000000-100008000 flags=100073", "vma 100000000-100007000 flags=100073")}, "vmas",
     "step 01_before (p0, line 13), vmas: mappings"),
    ({"dumps": edit(r"pgtables_bytes=36864", "pgtables_bytes=40960")}, "tables",
     "tables: tables: predicted ['36864 bytes'], truth ['40960 bytes']"),
    ({"dumps": edit(r"data=00000003", "data=00000004")}, "ptes", "ptes: 0x100000000"),
    ({"dumps": edit(r"pfn=6534 ", "pfn=6532 ")}, "ptes", "ptes: 0x100001000"),
    ({"dumps": edit(r"   pte\[5\].*\n", "")}, "ptes", "truth None"),
    ({"dumps": edit(r"cached_anon=6", "cached_anon=7")}, "counts", "counts: RSS"),
    ({"log": edit(r"put 0", "put 1")}, "gup", "line 115, gup: result and pages"),
], ids=words)
def test_a_miss_says_where_what_and_both_sides(copied, command, change, column, said):
    path = copied("H08_fork", **change)
    status, out, _ = command("replay", path, "--verbose")
    assert status == 1 and said in out
    head = out.splitlines()[0]
    exact, total = map(int, re.search(rf"{column}=(\d+)/(\d+)", head).groups())
    assert exact < total
    status, out, _ = command("replay", path)
    assert status == 1 and out.count("\n") == 1


def test_a_gup_that_pins_another_page_shows(copied):
    score = replay_operations(load_operations(copied("H14_gup", log=edit(r"(gup\[1\].*)pfn=6988", r"\1pfn=6989"))))
    assert columns_missed(score) == {"gup"} and score.misses[0].where == "line 7"


def test_all_is_well_ends_with_0(command):
    status, out, err = command("replay", CAPTURES / "H08_fork.ops", CAPTURES / "H07_zero_page_32.ops")
    assert (status, out.count("\n"), err) == (0, 2, "")


# ---------------------------------------------------------------- files


def test_without_log_and_dumps_it_runs_and_says_that_nothing_was_compared(tmp_path, command):
    path = tmp_path / "own.ops"
    path.write_text("mmap 0x100000000 2 rw- private anon\nwrite 0x100000000\nread 0x100000000\nread 0x100002000\n"
                    "read 0x1000\nresume\nread 0x100000000\nendresume\nftruncate 3\nstep done\n")
    status, out, err = command("replay", path)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "own.ops kind=page_table steps=1 results=8 NOT COMPARED: no .log and .text.gz beside it",
        "  1 p0 mmap 0x100000000 2 rw- private anon -> 0x100000000", "  2 p0 write 0x100000000 -> ok",
        "  3 p0 read 0x100000000 -> ok data=00000002", "  4 p0 read 0x100002000 -> fault 0x100002000 SIGSEGV code=1",
        "  5 p0 read 0x1000 -> rejected", "  6 p0 resume -> no child", "  9 p0 ftruncate 3 -> 0",
        "  10 p0 step done -> ok"]


def test_without_memory_for_a_child_nobody_runs_its_block(tmp_path, command, monkeypatch):
    path = tmp_path / "own.ops"
    path.write_text("mmap 0x100000000 1 rw- private anon\nfork keep\nwrite 0x100000000\nendfork\nresume\nendresume\n"
                    "read 0x100000000\n")
    monkeypatch.setattr(page_table_run, "dup_mm", lambda machine, mm, pid, name: None)
    status, out, err = command("replay", path)
    assert (status, err) == (0, "")
    assert [line.split(" -> ")[1] for line in out.splitlines()[1:]] == [
        "0x100000000", "-12", "no child", "ok data=00000000"]


@pytest.mark.parametrize("missing", [".log", ".text.gz"])
def test_half_of_the_truth_is_refused(copied, command, missing):
    path = copied("H08_fork")
    path.with_suffix(missing).unlink()
    status, out, err = command("replay", path)
    assert (status, out) == (1, "") and f"H08_fork{missing}: must stand beside" in err


@pytest.mark.parametrize("change, said", [
    ({"ops": edit(r"endfork", "endfrok")}, "H08_fork.ops:24: operation must be one of"),
    ({"log": edit(r"(?m)^3 p0 .*", "3 p0 what")}, "H08_fork.log:3: not a line of a log"),
    ({"dumps": edit(r"(?m)^vma 100000000.*", "vma")}, r"H08_fork.text.gz:"),
    ({"dumps": edit(r"note 02_c1_start proc=p0.1 line=15", "note 02_c1_start proc=p0.1 line=16")},
     "must hold the step of p0.1, line 15"),
], ids=words)
def test_a_damaged_file_is_named(copied, command, change, said):
    status, out, err = command("replay", copied("H08_fork", **change))
    assert (status, out, err.count("\n")) == (1, "", 1) and said in err


def test_a_list_that_is_not_there_or_no_text(tmp_path, command):
    (tmp_path / "bytes.ops").write_bytes(b"\xff\xfe")
    for name in ("nothing.ops", "bytes.ops"):
        status, out, err = command("replay", tmp_path / name)
        assert (status, out) == (1, "") and f"{name}: cannot be read" in err


def test_a_trace_that_is_not_exact_says_nothing_of_frames(tmp_path):
    for kind in ("snaps", "trace"):
        text = gzip.decompress((CAPTURES / f"PT_program.{kind}.gz").read_bytes()).decode()
        changed = edit(r"(mm_page_alloc: .*)pfn=112080", r"\1pfn=112084")(text) if kind == "trace" else text
        (tmp_path / f"PT_program.{kind}.gz").write_bytes(gzip.compress(changed.encode()))
    with pytest.raises(mv.CaptureError, match="must be one stretch, and its replay exact"):
        capture_beside(tmp_path / "PT_program.ops")


# ---------------------------------------------------------------- one operation, event by event


def test_one_operation_opens_as_a_recording():
    source = load_operations(CAPTURES / "H08_fork.ops")
    copied = mv.record_operation(source, 16)  # the child's first write
    [reuse] = copied.select(vm_events.SwapPageReused)
    assert not reuse.event.reuse and reuse.event.mapcount == 2
    assert copied.select(vm_events.SetPteAt)[-1].event.mm == 2
    assert len(mv.Stepper(copied, mv.draw_tables).html()) > 0
    forked = mv.record_operation(source, 14)
    assert {frame.symbol for step in forked for frame in step.stack} >= {"copy_page_range", "dup_mmap"}
    assert not forked.select(vm_events.EntryUsed)
    last = mv.record_operation(source, 114)
    assert last.select(vm_events.TlbFlushed)
    with pytest.raises(ValueError, match=r"line must be that of an operation of H08_fork\.ops, got 1"):
        mv.record_operation(source, 1)


# ---------------------------------------------------------------- processes


def run_text(tmp_path, text):
    (tmp_path / "own.ops").write_text(text)
    return replay_operations(load_operations(tmp_path / "own.ops")).results


def test_children_that_stay(tmp_path):
    results = run_text(tmp_path, """mmap 0x100000000 2 rw- private anon
        write 0x100000000
        fork keep
        write 0x100000000
        fork keep
        read 0x100000000
        endfork
        endfork
        read 0x100000000
        resume
        read 0x100000000
        resume
        read 0x100000000
        wait
        endresume
        endresume
        wait
        wait
    """)
    assert [line.split(" ", 1)[1] for line in results] == [
        "p0 mmap 0x100000000 2 rw- private anon -> 0x100000000", "p0 write 0x100000000 -> ok",
        "p0 fork keep -> forking", "p0.1 write 0x100000000 -> ok", "p0.1 fork keep -> forking",
        "p0.1.1 read 0x100000000 -> ok data=00000004", "p0 read 0x100000000 -> ok data=00000002",
        "p0 resume -> resuming", "p0.1 read 0x100000000 -> ok data=00000004", "p0.1 resume -> resuming",
        "p0.1.1 read 0x100000000 -> ok data=00000004", "p0.1.1 wait -> no child", "p0 wait -> 0", "p0 wait -> no child"]


def test_a_list_for_i386_is_told_by_its_addresses(tmp_path):
    assert run_text(tmp_path, "mmap 0x50000000 2 rw- shared file 63\nread 0x50000000\nread 0x50001000") == [
        "1 p0 mmap 0x50000000 2 rw- shared file 63 -> 0x50000000", "2 p0 read 0x50000000 -> ok data=f100003f",
        "3 p0 read 0x50001000 -> fault 0x50001000 SIGBUS code=2"]


@pytest.mark.parametrize("address, managed", [("0x100000000", 126_494), ("0x50000000", 388_689)])
def test_a_mapping_may_be_as_large_as_the_memory_of_the_real_machine(tmp_path, address, managed):
    """MemTotal of the two guests: 505,976 kB and 1,554,756 kB."""
    for pages, answer in ((managed, address), (managed + 1, "-12")):
        operation = f"mmap {address} {pages} rw- private anon"
        assert run_text(tmp_path, operation) == [f"1 p0 {operation} -> {answer}"]


def test_tables_from_the_wrong_list_show(monkeypatch):
    monkeypatch.setattr(pgalloc, "__gfp", lambda mm: mv.GFP_HIGHUSER_MOVABLE)
    score = scored("PT_program")
    assert columns_missed(score) == {"frames"} and score.exact["frames"] < score.total["frames"] // 2
