"""Lists of operations, logs and dumps: what is read, and that a damaged file is named with its line."""
import gzip
import re

import pytest

import mmviz as mv
from mmviz.capture.page_table_dump import parse_dumps
from mmviz.capture.page_table_ops import bits_of, blocks, parse_log, parse_ops


def text_of(capture_path, name):
    data = capture_path(f"pt/{name}").read_bytes()
    return (gzip.decompress(data) if name.endswith(".gz") else data).decode()


# ---------------------------------------------------------------- the list


def test_every_kind_of_operation_is_read():
    listed = parse_ops("""# a comment
        mmap 0x1000 3 rw- private anon
        mmap 0x1000 3 r-x shared file 7   # behind a line too
        mremap 4096 1 2 -
        mremap 4096 1 2 0x5000

        gup-hold 0x1000 2 write force
        fork keep
          step label
        endfork
        resume
        endresume
    """, "x.ops")
    assert [(o.line, o.word, o.args) for o in listed[:5]] == [
        (2, "mmap", (0x1000, 3, 3, "private", "anon")), (3, "mmap", (0x1000, 3, 5, "shared", "file", 7)),
        (4, "mremap", (0x1000, 1, 2, None)), (5, "mremap", (0x1000, 1, 2, 0x5000)),
        (7, "gup-hold", (0x1000, 2, "write", "force"))]
    assert blocks(listed) == {10: 8, 12: 11}


@pytest.mark.parametrize("text, line, what", [
    ("munmap 0x1000 1\nmunmapp 0x1000 1", 2, "operation must be one of mmap, munmap"),
    ("munmap 0x1000", 1, "munmap must have 2 arguments, has 1"),
    ("gup 0x1000 1 read force now", 1, "gup must have 3 to 4 arguments, has 5"),
    ("munmap 0x1234 1", 1, "aligned to a page, got 0x1234"),
    ("munmap 0x1000 -1", 1, "not below 0, got '-1'"),
    ("munmap 0x10q0 1", 1, "a number must be decimal or 0x.., and not below 0, got '0x10q0'"),
    ("\nmprotect 0x1000 1 wr-", 2, "three letters of rwx-, got 'wr-'"),
    ("mmap 0x1000 1 rw- both anon", 1, "must be one of private, shared, got 'both'"),
    ("mmap 0x1000 1 rw- private file", 1, "a page of the file behind 'file'"),
    ("mmap 0x1000 1 rw- private anon 3", 1, "nothing behind 'anon' and 'pfnmap'"),
    ("madvise 0x1000 1 sometimes", 1, "must be one of dontneed"),
    ("fork\nendresume", 2, "endresume must close a resume, and none is open"),
    ("endfork", 1, "endfork must close a fork, and none is open"),
    ("step a\nfork\nresume\nendresume", 2, "fork must be closed by endfork"),
])
def test_a_list_that_does_not_parse_is_named_with_its_line(text, line, what):
    with pytest.raises(mv.CaptureError, match=re.escape(what)) as caught:
        parse_ops(text, "x.ops")
    assert str(caught.value).startswith(f"x.ops:{line}: ")


@pytest.mark.parametrize("name, bits", [("H08_fork", 64), ("H07_zero_page_32", 32), ("H03_boundaries_32", 32)])
def test_the_addresses_tell_the_machine(capture_path, name, bits):
    assert bits_of(parse_ops(text_of(capture_path, f"{name}.ops"), "x.ops")) == bits
    assert parse_log(text_of(capture_path, f"{name}.log"), "x.log").bits == bits
    assert bits_of(parse_ops("step nothing", "x.ops")) == 64


# ---------------------------------------------------------------- the log


def test_a_log_is_read(capture_path):
    log = parse_log(text_of(capture_path, "H14_gup.log"), "x.log")
    assert log.results[2] == ("p0", "0x100000000") and log.results[7] == ("p0", "8")
    assert log.done == {62: "p0.1"} and log.results[64] == ("p0.1", "4")
    assert [(page.refs, page.after_put, page.kind) for page in log.pages[7][:2]] == [(2, 1, "anon"), (8, 7, "zero")]
    assert log.pages[11] == [] and log.results[11] == ("p0", "-14")
    kept = parse_log(text_of(capture_path, "H08_fork.log"), "x.log")
    assert kept.done[30] == "p0.2 kept" and kept.done[41] == ""


HEAD = "# ptrun range=100000000-700000000000 lines=9 bits=64\n"


@pytest.mark.parametrize("text, line, what", [
    ("", 1, "must begin with '# ptrun"), ("# ptrun range=1-2 lines=3 bits=16\n", 1, "must begin with '# ptrun"),
    (HEAD + "2 p0 read 0x1000 = ok\n", 2, "not a line of a log"),
    (HEAD + " gup[0] va=1000 pfn=1 page: count=1\n", 2, "a page must stand behind its gup"),
    (HEAD + "2 p0 gup 0x1000 1 read -> 1\n gup[0] va=1000 pfn=1 page: count=1\n", 3, "a page without mapcount="),
    (HEAD + "2 p0 gup 0x1000 1 read -> 1\n gup[0] va=xyz pfn=1 page: count=1\n", 3, "invalid literal"),
])
def test_a_log_that_does_not_parse_is_named_with_its_line(text, line, what):
    with pytest.raises(mv.CaptureError, match=re.escape(what)) as caught:
        parse_log(text, "x.log")
    assert str(caught.value).startswith(f"x.log:{line}: ")


# ---------------------------------------------------------------- the dumps


def test_a_dump_is_read(capture_path):
    dumps = parse_dumps(text_of(capture_path, "H08_fork.text.gz"), "x.text")
    assert len(dumps) == 44
    dump = dumps["p0.1", 15]
    assert (dump.label, dump.mm["pgtables_bytes"], len(dump.vmas)) == ("02_c1_start", 36864, 12)
    assert sorted(dump.tables) == [(), (0,), (0, 0), (0, 0, 2), (0, 4), (0, 4, 0), (255,), (255, 511), (255, 511, 447),
                                   (255, 511, 511)]
    entry = dump.ptes[0x100000000]
    assert (entry.path, entry.bits, entry.kind, entry.mapcount, entry.data) == ((0, 4, 0, 0), "P|US|D|NX", "anon", 2, 3)
    assert dump.outside == {"anon": 117, "file": 0, "shmem": 169, "special": 0}
    i386 = parse_dumps(text_of(capture_path, "H07_zero_page_32.text.gz"), "x.text")
    assert {len(path) for dump in i386.values() for path in dump.tables} == {0, 1}


def test_held_pages_are_read(capture_path):
    dumps = parse_dumps(text_of(capture_path, "R01_random.text.gz"), "x.text")
    held = [page for dump in dumps.values() for page in dump.held]
    assert held and all(page.after_put is None for page in held)


@pytest.mark.parametrize("pattern, replacement, what", [
    (r"(?m)^note 01_.*$", "nothing", "a dump must be note, ptdump"),
    (r"(?m)^vma .*$", "", "a dump must be note, ptdump"),
    (r"pgtables_bytes=\d+ ", "", "a line without pgtables_bytes="),
    (r"rss_anon=\d+", "rss_anon=many", "invalid literal"),
    (r"(?m)^vma (\w+)-", "vma ", "a mapping must be"), (r" pgoff=\w+", "", "a line without pgoff="),
    (r"(?m)^pgd\[0\] va", "pgd[0] at", "a table must be"), (r"(?m)^pgd\[0\].*\n", "", "a pud must stand below its pgd"),
    (r"(?m)^   pte\[0\] va=", "   pte[zero] va=", "an entry must be"),
    (r"(?m)^   outside n=\d+$", "   outside n=x", "invalid literal"),
    (r"(?m)^count .*$", "count nothing", "the counts must be"),
    (r"(?m)^count .*\n", "", "a line 'count' before its end"),
])
def test_a_dump_that_does_not_parse_is_named_with_its_line(capture_path, pattern, replacement, what):
    text = text_of(capture_path, "H08_fork.text.gz")
    changed, count = re.subn(pattern, replacement, text, count=1)
    assert count == 1
    with pytest.raises(mv.CaptureError, match=re.escape(what)) as caught:
        parse_dumps(changed, "x.text")
    assert re.match(r"x\.text:\d+: ", str(caught.value))


def test_an_entry_above_all_tables_is_refused():
    entry = "   pte[0] va=0 val=1 pfn=1 P page: count=1 mapcount=1 kind=anon index=0 data=0"
    with pytest.raises(mv.CaptureError, match="below its table"):
        parse_dumps(f"note a proc=p0 line=0\n{entry}\n", "x.text")


@pytest.mark.parametrize("cut, what", [
    (lambda text: text[:text.rindex("count ")], "must end with a line 'ptdump end'"), (lambda text: "", "cut off"),
    (lambda text: text[text.index("note 01_"):], "must hold the step before the first operation")])
def test_a_dump_that_is_cut_off(capture_path, cut, what):
    with pytest.raises(mv.CaptureError, match=what):
        parse_dumps(cut(text_of(capture_path, "H08_fork.text.gz")), "x.text")
