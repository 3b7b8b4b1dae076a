"""Each challenge is met by a few lines on every seed, refused by three other ways, and its code comes back whole."""
import json
import pathlib
import re

import pytest

import mmviz as mv
from mmviz.explore.challenge import Challenge, Result, encode
from mmviz.explore.challenges import CHALLENGES, START
from mmviz.explore.grade import Entry, grade
from mmviz.explore.questions import LETTERS
from mmviz.explore.quiz_walk import KINDS

SEEDS = range(25)
USER = mv.GFP_NOWAIT


def numbers(text):
    """The bold part of a task, and the numbers in it."""
    return [int(number) for number in re.findall(r"\d+", " ".join(re.findall(r"\*\*(.*?)\*\*", text)))]


def order_of(challenge):
    return int(re.search(r"order (\d)", challenge.text)[1])


def refuse_order(machine, challenge, least=True):
    order = order_of(challenge)
    pages = mv.take(machine, USER)
    mv.give(machine, [page for page in pages if page % (1 << order)])
    if least:
        mv.take(machine, USER, order=order)


def huge_pages(machine, challenge, step=1):
    held = [int(page, 16) for page in re.findall(r"0x[0-9a-f]+", challenge.text)]
    zone = machine.zone("DMA32")
    clean = [n for n in range(8, 16) if n not in {page // 512 for page in held}]
    for n in clean[:numbers(challenge.text)[0]]:
        mv.give(machine, [page for page in list(zone.allocated) if page in range(n * 512, n * 512 + 512, step)])


def numa_counters(machine, challenge, more=0, thisnode=mv.__GFP_THISNODE):
    misses, turns = map(int, re.search(r"numa_miss = (\d+) and numa_interleave = (\d+)", challenge.text).groups())
    mv.set_mempolicy(machine, mv.MPOL_INTERLEAVE, [1])
    mv.take(machine, USER, turns)
    mv.set_mempolicy(machine, mv.MPOL_DEFAULT)
    mv.take(machine, USER | thisnode)
    mv.take(machine, USER, misses + more)


def tables_left(machine, challenge, tables=3, pages=None):
    entries = numbers(challenge.text)[-1] if pages is None else pages
    mv.give(machine, mv.take(machine, USER)[:tables])
    vma = mv.vm(machine).mm[1].mmap[0]
    mv.remap_pfn_range(machine, vma, START + (512 - entries) * 4096, 0xFEE00, 10 * 4096, vma.vm_page_prot)


def pin_leak(machine, challenge, flags=mv.FOLL_WRITE, more=0, nr=8):
    mm, pages = mv.vm(machine).mm[1], []
    mv.get_user_pages(machine, mm, START, nr, flags, pages)
    mv.put_user_pages(machine, pages[numbers(challenge.text)[0] + more:])


def kmap_sleep(machine, challenge, first=0x1700, more=0):
    counts = machine.parts["kmap"].pkmap_count
    for i in range(sum(count < 2 for count in counts) + 1 + more):
        mv.kmap(machine, first + i)


def empty_slabs(machine, challenge, more=0, keep=0, size=256):
    objects = [mv.kmalloc(machine, size, USER) for _ in range(16 * (numbers(challenge.text)[0] + more))]
    for address in objects[keep:]:
        mv.kfree(machine, address)


SOLUTIONS = {"refuse_order": refuse_order, "huge_pages": huge_pages, "numa_counters": numa_counters,
             "tables_left": tables_left, "pin_leak": pin_leak, "kmap_sleep": kmap_sleep, "empty_slabs": empty_slabs}


def free_a_kernel_page(machine, challenge):
    mv.give(machine, [int(re.findall(r"0x[0-9a-f]+", challenge.text)[0], 16)])


def waste_a_call(machine, challenge):
    mv.kmap(machine, 0x17FF)
    mv.kunmap(machine, 0x17FF)
    kmap_sleep(machine, challenge)


WRONG = {  # three ways each, and the words that come back
    "refuse_order": [
        (lambda m, c: refuse_order(m, c, least=False), "is still served"),
        (lambda m, c: mv.take(m, USER), "it is the watermark"),
        (lambda m, c: mv.give(m, mv.take(m, USER)[1::2]), r"pages are on the lists|still served"),
    ],
    "huge_pages": [
        (free_a_kernel_page, "a page of the kernel was freed"),
        (lambda m, c: huge_pages(m, c, step=2), "too few blocks of order 9"),
        (lambda m, c: mv.give(m, [p for p in list(m.zone("DMA32").allocated) if f"{p:#x}" not in c.text]),
         "pages were freed, at most"),
    ],
    "numa_counters": [
        (lambda m, c: numa_counters(m, c, more=1), "numa_miss of node 1 is"),
        (lambda m, c: numa_counters(m, c, thisnode=0), "numa_miss of node 1 is"),
        (lambda m, c: mv.take(m, USER, 5), "numa_miss of node 1 is 0"),
    ],
    "tables_left": [
        (lambda m, c: tables_left(m, c, tables=4), "the call did not fail"),
        (lambda m, c: tables_left(m, c, pages=8), "8 entries are left"),
        (lambda m, c: tables_left(m, c, tables=2), "0 entries are left"),
    ],
    "pin_leak": [
        (lambda m, c: pin_leak(m, c, more=-1), "of its pages are still in use, not"),
        (lambda m, c: pin_leak(m, c, flags=0), "after the exit 0 of its pages"),
        (lambda m, c: pin_leak(m, c, nr=7), "7 of the 8 pages were reached"),
    ],
    "kmap_sleep": [
        (lambda m, c: kmap_sleep(m, c, more=-1), "nobody sleeps"),
        (waste_a_call, "fewer would do"),
        (lambda m, c: [mv.kmap(m, 0x1700) for _ in range(9)], "nobody sleeps"),
    ],
    "empty_slabs": [
        (lambda m, c: empty_slabs(m, c, more=1), "the slabs hold"),
        (lambda m, c: empty_slabs(m, c, keep=1), "256 bytes are in objects in use"),
        (lambda m, c: empty_slabs(m, c, size=9000), "no slab was made"),
    ],
}


@pytest.mark.parametrize("name", CHALLENGES)
def test_a_few_lines_meet_it_on_every_seed(name, capsys):
    texts = set()
    for seed in SEEDS:
        challenge = Challenge(name, seed)
        challenge.check(lambda machine, c=challenge: SOLUTIONS[name](machine, c))
        points = f"{challenge.points:,} points; your best: {challenge.points:,}.\n" if challenge.points > 1 else ""
        assert capsys.readouterr().out == f"Right.\n{points}", (seed, challenge.text)
        assert challenge.points and challenge.attempts == 1
        assert Challenge.verify(challenge.code)[:3] == (name, seed, 1)
        texts.add(challenge.text)
    assert len(texts) > 3 or name == "huge_pages"


@pytest.mark.parametrize("name, way, words", [(name, *way) for name, ways in WRONG.items() for way in ways])
def test_another_way_is_refused_and_told_why(name, way, words, capsys):
    for seed in range(5):
        challenge = Challenge(name, seed)
        challenge.check(lambda machine, c=challenge: way(machine, c))
        said = capsys.readouterr().out
        assert said.startswith("Not yet: ") and re.search(words, said), (seed, said)
        assert Challenge.verify(challenge.code) == Result(name, seed, 1, 0)


def test_points_are_the_pages_on_the_lists():
    found = {order_of(c): c for c in (Challenge("refuse_order", seed) for seed in SEEDS)}
    for challenge in found.values():
        challenge.check(lambda machine, c=challenge: refuse_order(machine, c))
    assert {order: challenge.points for order, challenge in found.items()} == {3: 840, 4: 900, 5: 930, 6: 945}


def test_nothing_asked_is_no_attempt(capsys):
    challenge = Challenge("pin_leak", 3)
    challenge.check(lambda machine: None)
    assert capsys.readouterr().out.startswith("Your turn: ") and challenge.attempts == 0


def test_the_best_attempt_stays(capsys):
    challenge = Challenge("kmap_sleep", 2)
    challenge.check(lambda machine: kmap_sleep(machine, challenge))
    challenge.check(lambda machine: mv.kmap(machine, 0x1700))
    assert (challenge.attempts, challenge.points) == (2, 1)


def test_a_bug_of_the_kernel_is_an_answer_too(capsys):
    challenge = Challenge("empty_slabs")
    challenge.check(lambda machine: [mv.__free_pages(machine, 0x1000, 0) for _ in range(2)])
    assert "Not yet: the kernel has a bug now: " in capsys.readouterr().out


def test_each_run_has_a_fresh_machine():
    challenge = Challenge("numa_counters", 4)
    before = challenge.machine().to_dict()
    challenge.check(lambda machine: mv.take(machine, USER, 9))
    assert challenge.machine().to_dict() == before == Challenge("numa_counters", 4).machine().to_dict()


def test_it_shows_its_task():
    challenge = Challenge("refuse_order", 7)
    assert repr(challenge) == "Challenge(refuse_order, seed 7)"
    assert challenge.text in challenge._repr_markdown_()


@pytest.mark.parametrize("arguments, words", [(("no_such",), "a challenge must be one of refuse_order"),
                                              (("pin_leak", -1), "seed must be"), (("pin_leak", True), "seed must be"),
                                              (("pin_leak", 10**9), "seed must be")])
def test_what_is_no_challenge(arguments, words):
    with pytest.raises(ValueError, match=words):
        Challenge(*arguments)


def test_check_takes_a_function():
    with pytest.raises(TypeError, match="check takes a function"):
        Challenge("pin_leak").check(None)


# ---------------------------------------------------------------- codes


def test_every_change_of_a_code_is_seen():
    code = encode(Result("refuse_order", 7, 3, 900))
    assert str(Challenge.verify(f" {code}\n")) == \
        "challenge refuse_order, seed 7: solved with 900 points, attempts: 3"
    for i in range(len(code)):
        for letter in "a0/x9":
            altered = code[:i] + letter + code[i + 1:]
            if altered != code:
                with pytest.raises(ValueError, match="code"):
                    Challenge.verify(altered)
        with pytest.raises(ValueError, match="code"):
            Challenge.verify(code[:i])


@pytest.mark.parametrize("code", ["", None, 7, "challenge:pin_leak/1/1/1", encode(Result("no_such", 1, 1, 1)),
                                  "x" * 999])
def test_what_is_no_code(code):
    with pytest.raises(ValueError, match="not a code of a Challenge"):
        Challenge.verify(code)


def test_grade_counts_challenges():
    rows = [encode(Result("refuse_order", 7, 3, 900)), encode(Result("refuse_order", 8, 1, 0)),
            encode(Result("pin_leak", 7, 2, 1)), "challenge:pin_leak/7/2/1/00000000"]
    report = grade(Entry(line, name, "", code) for line, (name, code) in
                   enumerate(zip(("Ada", "Bob", "Ada", "Eve"), rows, strict=True), 2))
    assert report.scores == {("Ada", ""): (2, 2), ("Bob", ""): (0, 1)}
    assert report.challenges == {"refuse_order": [(3, 900), (1, 0)], "pin_leak": [(2, 1)]}
    assert "refuse_order                1 of 2   2.0  900" in str(report)
    assert [problem.split(":")[0] for problem in report.problems] == ["line 5, Eve"]


# ---------------------------------------------------------------- the notebook of exercises


def sources():
    path = pathlib.Path(__file__).resolve().parents[2] / "notebooks" / "90-exercises.ipynb"
    return ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]


def test_the_notebook_asks_every_kind_and_every_challenge():
    text = "\n".join(sources())
    assert {kind for kinds in re.findall(r'Quiz\("([a-z_+]+)"', text) for kind in kinds.split("+")} == set(KINDS)
    assert set(re.findall(r'Challenge\("(\w+)"', text)) == set(CHALLENGES)


def test_a_course_before_and_after():
    """The ten questions of the notebook, taken twice by two: grade compares them, and names the wrong ideas."""
    ten = re.search(r'TEN = "(.*)"', "\n".join(sources()))[1]
    assert len(ten.split("+")) == 10
    entries = [Entry(line, name, when, taken(ten, seed, right)) for line, (name, when, seed, right) in enumerate((
        ("Ada", "before", 190, 4), ("Ada", "after", 290, 9), ("Bob", "before", 190, 6), ("Bob", "after", 290, 6)), 2)]
    report = grade(entries)
    assert report.scores["Ada", "after"] == (9, 10) and not report.problems
    assert "2 who did both: 50 % right before, 75 % after; 1 did better" in str(report)
    assert sum(report.ideas.values()) == 15


def taken(kinds, seed, right):
    """The code of ten answers, the first ones right."""
    quiz = mv.Quiz(kinds, seed=seed)
    for number in range(10):
        place = quiz.question.right_place
        quiz.answer(LETTERS[place if number < right else place - 1 if place else 1])
        if number < 9:
            quiz.again()
    return quiz.code
