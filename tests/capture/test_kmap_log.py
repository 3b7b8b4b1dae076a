"""The op logs of kmap: every address of the real kernel is predicted; a broken rule and a broken file are seen."""
import gzip
import re
from dataclasses import replace
from itertools import cycle
from random import Random

import pytest

import mmviz as mv
from mmviz.capture.kmap_log import load_kmap_log, replay_kmap
from mmviz.capture.load import load_capture
from mmviz.mm import highmem, highmem_32
from mmviz.mm.boot_32 import CAPTURED
from mmviz.mm.highmem import kmap_to_page, page_address
from mmviz.mm.init_32 import LowHigh
from mmviz.mm.pkmap import kmap_part

K1, K3 = "m1536i386/K1_kmap_random.snaps.gz", "m1536i386/K3_kmap_small.snaps.gz"


@pytest.fixture
def log_of(capture_path):
    """log_of(K3): the log beside a capture."""

    def load(name):
        [capture] = load_capture(capture_path(name))
        return load_kmap_log(capture_path(name), capture)

    return load


@pytest.fixture
def with_text(capture_path, tmp_path):
    """with_text(change): K3 with an altered op log; its path."""

    def copy(change):
        stem = "K3_kmap_small"
        for kind in ("snaps", "trace", "text"):
            text = gzip.decompress(capture_path(f"m1536i386/{stem}.{kind}.gz").read_bytes()).decode()
            text = change(text) if kind == "text" else text
            (tmp_path / f"{stem}.{kind}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        return tmp_path / f"{stem}.snaps.gz"

    return copy


# ---------------------------------------------------------------- what the real kernel did


@pytest.mark.parametrize("name, kmaps, atomics, hand", [(K1, 1518, 376, 749), (K3, 143, 38, 159)])
def test_every_address_is_predicted(log_of, name, kmaps, atomics, hand):
    log = log_of(name)
    score = replay_kmap(log)
    assert score.perfect and (score.kmaps, score.exact) == (kmaps, kmaps)
    assert (score.atomics, score.exact_atomics, log.last_pkmap_nr) == (atomics, atomics, hand)


def test_the_command_says_a_line_for_each_kind(command, capture_path):
    status, out, err = command("replay", "--verbose", capture_path(K1), capture_path(K3))
    first, kmap, *others = out.splitlines()
    assert (status, err, len(others)) == (0, "", 2)
    assert "kind=page_alloc allocs=902 exact=902" in first and first.endswith("unseen_folds=1")
    assert re.search(r" kind=kmap kmaps=1518 exact=1518 atomics=376 exact_atomics=376 flushes=0 final=identical", kmap)
    assert "kind=kmap kmaps=143 exact=143 atomics=38" in others[1] and "unseen_folds" not in others[0]


def test_the_windows_follow_from_the_configuration(log_of):
    log = log_of(K1)
    head, split = log.head, CAPTURED
    low = LowHigh(log.capture.before["zones"][2]["start_pfn"], 0x60000)
    computed, printed = split.windows(low), log.windows()
    assert computed[:-1] == printed[:-1]
    assert head["FIXADDR_START"] == split.fixaddr_start
    assert head["high_memory"] == split.high_memory(low.max_low_pfn) == 0xC0000000 + split.maxmem
    assert (head["VMALLOC_START"], head["VMALLOC_END"]) == (split.vmalloc_start(low.max_low_pfn), split.vmalloc_end)


# ---------------------------------------------------------------- a log that comes round


class Ring:
    """The ring a second time and more plainly, to write logs with: 1,024 slots, and nobody sleeps."""

    def __init__(self):
        self.counts, self.hand, self.slot_of, self.flushes = [0] * 1024, 147, {}, 0

    def kmap(self, page):
        while page not in self.slot_of:
            self.hand = (self.hand + 1) % 1024
            if self.hand == 0:
                self.sweep()
            if self.counts[self.hand] == 0:
                self.slot_of[page], self.counts[self.hand] = self.hand, 1
        slot = self.slot_of[page]
        self.counts[slot] += 1
        return (f"page={page} va={0xFF400000 + slot * 4096:x} slot={slot} pkmap_count={self.counts[slot]} "
                f"last_pkmap_nr={self.hand}")

    def sweep(self):
        idle = [page for page, slot in self.slot_of.items() if self.counts[slot] == 1]
        for page in idle:
            self.counts[self.slot_of.pop(page)] = 0
        self.flushes += bool(idle)

    def kunmap(self, page):
        self.counts[self.slot_of[page]] -= 1
        return f"page={page} page_address={0xFF400000 + self.slot_of[page] * 4096:x}"


def long_log(text, seed, most_held):
    """K3's log with other operations: 6,000 on 1,500 pages."""
    rng, ring, held, rows = Random(seed), Ring(), [], []
    for number in range(6000):
        if held and (len(held) >= most_held or rng.random() < 0.3):
            rows.append(f"{number} kunmap {ring.kunmap(held.pop(rng.randrange(len(held))))}")
        else:
            held.append(rng.randrange(1500))
            rows.append(f"{number} kmap {ring.kmap(held[-1])}")
    counts = {"before": [0] * 1024, "after": ring.counts, "end": [min(count, 1) for count in ring.counts]}
    said = {name: f"pkmap_{name}{f' last_pkmap_nr={ring.hand}' * (name == 'after')} : {' '.join(map(str, values))}"
            for name, values in counts.items()}
    pages = [f"page {number} pfn={300000 + number} highmem=1 va=0" for number in range(1500)]
    head = text.splitlines()[0]
    return "\n".join([head, said["before"], *pages, *rows, said["after"], said["end"]]) + "\n", ring.flushes


@pytest.mark.parametrize("seed, most_held", [(1, 1), (2, 40), (3, 900)])
def test_a_log_with_wraps_and_flushes(with_text, seed, most_held):
    flushes = []

    def change(text):
        text, count = long_log(text, seed, most_held)
        flushes.append(count)
        return text

    path = with_text(change)
    score = replay_kmap(load_kmap_log(path, load_capture(path)[0]))
    assert score.perfect and score.flushes == flushes[0] > 0 and score.exact == score.kmaps >= 3000


# ---------------------------------------------------------------- a broken rule is seen


def test_a_hand_that_looks_before_it_moves(log_of, monkeypatch):
    step = highmem.get_next_pkmap_nr
    monkeypatch.setattr(highmem, "get_next_pkmap_nr", lambda machine: (step(machine), step(machine))[1])
    score = replay_kmap(log_of(K3))
    assert score.exact < score.kmaps and score.misses[0].what == "kmap" and not score.perfect
    assert len(score.final) > 20 and any(line.startswith("last_pkmap_nr: predicted") for line in score.final)
    assert f"final={len(score.final)}_differences" in str(score)


def test_a_kunmap_that_unmaps(log_of, monkeypatch):
    def eager(machine, pfn):
        highmem_32_kunmap(machine, pfn)
        if kmap_part(machine).pkmap_count[kmap_part(machine).windows.pkmap_nr(page_address(machine, pfn))] == 1:
            mv.kmap_flush_unused(machine)

    highmem_32_kunmap = highmem_32.kunmap
    monkeypatch.setattr("mmviz.capture.kmap_log.kunmap", eager)
    assert not replay_kmap(log_of(K3)).perfect


def test_a_pile_that_grows_upward(log_of, monkeypatch):
    upward = cycle([0xFFFBA000, 0xFFFBB000])
    monkeypatch.setattr("mmviz.capture.kmap_log.kmap_atomic", lambda machine, pfn: next(upward))
    monkeypatch.setattr("mmviz.capture.kmap_log.kunmap_atomic", lambda machine, vaddr: None)
    score = replay_kmap(log_of(K3))
    assert score.exact_atomics == 0 and score.exact == score.kmaps and not score.perfect


# ---------------------------------------------------------------- logs that these two are not


def lines(text, change):
    return "\n".join(change(line) for line in text.splitlines()) + "\n"


def test_slots_that_were_mapped_before(with_text, capture_path):
    """Slot 20 shows page 4, slot 21 a page that nobody names; both are there until a sweep."""

    def change(text):
        text = text.replace("page 4 pfn=381457 highmem=1 va=0", "page 4 pfn=381457 highmem=1 va=ff414000")
        for name in ("before", "after", "end"):
            text = re.sub(rf"(pkmap_{name}.* :(?: \d+){{20}}) 0 0", r"\1 1 1", text)
        return lines(text, lambda line: line.replace("slot=157", "slot=20").replace("ff49d000", "ff414000"))

    path = with_text(change)
    [capture] = load_capture(path)
    log = load_kmap_log(path, capture)
    machine = log.machine()
    assert kmap_part(machine).pkmap_count[19:23] == [0, 1, 1, 0] and page_address(machine, 381457) == 0xFF414000
    assert kmap_to_page(machine, 0xFF415000) == 226302  # the first high page that the log does not name
    assert mv.kmap(machine, 381457) == 0xFF414000
    assert replay_kmap(log).misses[0].truth["last_pkmap_nr"] == 157  # it did take the next slot, after all


def test_a_low_page_is_compared_by_its_address(with_text):
    def change(text):
        text = text.replace("page 11 pfn=381464 highmem=1 va=0", "page 11 pfn=381464 highmem=1 va=0\n"
                            "page 12 pfn=4096 highmem=0 va=c1000000")
        return text.replace("\n0 kmap ", "\n0 kmap page=12 va=c1000000 slot=-251904 pkmap_count=0 last_pkmap_nr=147\n"
                            "0 kmap ", 1)

    path = with_text(change)
    score = replay_kmap(load_kmap_log(path, load_capture(path)[0]))
    assert score.perfect and score.kmaps == 144


def test_there_is_no_log_beside_most_captures(capture_path):
    for name in ("m1536i386/H1_shell_highmem.snaps.gz", "m512_W1_shell.json.gz"):
        [capture] = load_capture(capture_path(name))
        assert load_kmap_log(capture_path(name), capture) is None


def test_a_log_of_data_by_its_bare_name():
    assert len(load_kmap_log("m1536i386/K3_kmap_small").ops) == 261


def test_a_log_of_something_else_is_left_alone(with_text):
    path = with_text(lambda text: text.replace("kmap PKMAP_BASE", "w2 PKMAP_BASE", 1))
    assert load_kmap_log(path, load_capture(path)[0]) is None


@pytest.mark.parametrize("change, what", [
    (lambda text: text.replace("page=10 va", "page=ten va", 1), r"K3_kmap_small.text.gz:\d+: does not parse"),
    (lambda text: text + "nothing known\n", "does not parse"),
    (lambda text: text.partition("pkmap_after")[0], "must have ops, and pkmap_before"),
    (lambda text: re.sub(r"\n\d+ \w.*", "", text), "must have ops"),
    (lambda text: text.replace(" LAST_PKMAP=1024", "", 1), "a count for each of LAST_PKMAP slots"),
    (lambda text: re.sub(r"(pkmap_end : 0)", r"\1 0", text), "a count for each of LAST_PKMAP slots"),
], ids=["no number", "no line", "cut off", "no ops", "no size", "too many"])
def test_a_file_that_is_not_what_it_should_be(with_text, command, change, what):
    path = with_text(change)
    with pytest.raises(mv.CaptureError, match=what):
        load_kmap_log(path, load_capture(path)[0])
    status, _, err = command("replay", path)
    assert status == 1 and "K3_kmap_small" in err


@pytest.mark.parametrize("old, new", [
    ("0 kmap page=10", "0 steal page=10"), ("0 kmap page=10", "0 kmap page=99"), ("0 kmap page=10 va", "0 kmap va"),
    ("3 kunmap page=2", "3 kunmap page=9"), (" va=fffbb000 nested", " nested"),
    ("PKMAP_BASE=ff400000 ", ""), (" FIXADDR_START=fff69000", ""), (" last_pkmap_nr@c148ee44=147", "")])
def test_an_op_that_makes_no_sense(with_text, old, new):
    path = with_text(lambda text: text.replace(old, new, 1))
    with pytest.raises(mv.CaptureError, match=r"makes no sense|lacks"):
        replay_kmap(load_kmap_log(path, load_capture(path)[0]))


def test_other_answers_are_misses(with_text, command):
    path = with_text(lambda text: text.replace("va=ff494000 slot=148", "va=ff494000 slot=9", 1))
    status, out, _ = command("replay", "--verbose", path)
    assert status == 1 and "exact=142" in out and "op 0, kmap: predicted" in out


# ---------------------------------------------------------------- folds that a trace does not show


def test_a_fold_is_inferred_only_where_it_explains_everything(capture_path):
    [capture] = load_capture(capture_path(K1))
    score = mv.replay(capture)
    assert score.perfect and score.unseen_folds == 1
    seen = replace(capture, rows=[["k", "fold", 0], *capture.rows])
    assert len(mv.replay(seen).final) == 2 and "unseen_folds" not in str(mv.replay(seen))
    zone = capture.after["zones"][2]
    zone["boost"] = 1
    assert len(mv.replay(capture).final) == 3
    zone["pcp"]["0"]["diff_free_pages"] = 1
    assert len(mv.replay(capture).final) == 3
