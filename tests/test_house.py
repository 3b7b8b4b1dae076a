"""The rules of the house that a program can read in the syntax trees: who imports whom, who may change a machine."""

import ast
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mmviz"


def trees(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))


# Imports run one way: a module imports from its own layer and from earlier ones.

LAYERS = [
    {"kernel", "errors"},
    {"trace"},
    {"recording"},
    {"mm"},
    {"capture", "narrate", "sentences", "excerpt"},
    {"draw"},
    {"explore"},
    {"__init__", "__main__"},
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
DRAWING = {"networkx", "matplotlib"}
FOREIGN = {"draw": DRAWING, "explore": DRAWING | {"anywidget", "ipywidgets", "traitlets", "IPython"}}


def part(path: pathlib.Path) -> str:
    """The part of mmviz that a file belongs to: mmviz/mm/zone.py is of `mm`, mmviz/trace.py of `trace`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.Module, path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that a file imports, wherever in the file it does so."""
    package = ["mmviz", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def may_import(importer: str, name: str) -> bool:
    top, *rest = name.split(".")
    if top != "mmviz":
        return top in sys.stdlib_module_names or top in FOREIGN.get(importer, ())
    target = rest[0] if rest and rest[0] in LAYER else "__init__"  # `from mmviz import record` needs the whole package
    return LAYER[target] <= LAYER[importer]


def import_violations(tree: ast.Module, path: pathlib.Path) -> list[str]:
    importer, place = part(path), path.relative_to(ROOT).as_posix()
    if importer not in LAYER:
        return [f"{place}: no layer is named {importer!r}; the layers are in tests/test_house.py"]
    wrong = [(line, name) for line, name in imported(tree, path) if not may_import(importer, name)]
    return [f"{place}:{line}: {importer} must not import {name}" for line, name in wrong]


def test_imports_run_one_way():
    assert [v for path, tree in trees(PACKAGE) for v in import_violations(tree, path)] == []


@pytest.mark.parametrize(
    "place, code",
    [
        ("trace.py", "from mmviz.mm import zone"),
        ("mm/zone.py", "from ..draw.style import INK"),
        ("mm/zone.py", "from .. import record"),
        ("mm/zone.py", "def f():\n    import networkx"),
        ("capture/text.py", "import mmviz"),
        ("draw/scene.py", "import IPython.display"),
        ("gadgets.py", "import os"),
    ],
)
def test_a_wrong_import_is_seen(place, code):
    assert import_violations(ast.parse(code), PACKAGE / place)


@pytest.mark.parametrize(
    "place, code",
    [
        ("mm/zone.py", "from . import kernel\nfrom ..trace import Event\nfrom .. import errors\nimport dataclasses"),
        ("draw/scene.py", "import networkx as nx\nfrom matplotlib import pyplot"),
        ("explore/stepper.py", "import anywidget, traitlets\nfrom IPython.display import HTML"),
    ],
)
def test_a_right_import_is_left_alone(place, code):
    assert import_violations(ast.parse(code), PACKAGE / place) == []


# Only a primitive changes a machine. Elsewhere in mm/ a function changes what it built itself, and nothing else.

PRIMITIVES = {"zone.py", "vm.py", "vma.py", "pkmap.py", "slab_state.py", "slob_state.py", "array_cache.py"}
SET_CURRENT = {"set_current", "set_mempolicy", "set_il_prev"}  # the primitives of the task, which belong to no zone
# What a function of theirs has from a call, it has built.
BUILDERS = {"machine.py", "boot.py", "mm_types.py", "mmu_gather.py", "slab_types.py"}
# Functions that run only while a Machine is being made, before anyone can listen.
MAKERS = {"build_all_zonelists", "__hand_over_top_blocks", "setup_zone_pageset", "_set_marks"}
# Parameters that are no part of a machine: the AllocContext, a tally of build_zonelists, a fault, a gather of pages.
FREE = {"ac", "node_load", "vmf", "tlb", "ctx", "page_array", "vma_array", "locked", "nonblocking", "taken"}
MUTATING = set(
    "append appendleft add clear difference_update discard extend extendleft insert intersection_update move_to_end "
    "pop popitem popleft remove reverse rotate setdefault sort symmetric_difference_update update".split()
)
BUILTIN_BUILDERS = set(
    "bytearray copy deepcopy defaultdict deque dict int len list max min range replace set sorted sum tuple".split()
)
LITERALS = (
    *(ast.List, ast.Dict, ast.Set, ast.Tuple, ast.Constant, ast.JoinedStr),
    *(ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp, ast.BinOp, ast.UnaryOp, ast.Compare),
)
GROWN = (ast.List, ast.Dict, ast.Set, ast.ListComp)  # `x += [1]` changes the list x; `x += 1` changes nothing
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    """Functions and methods; a function within a function is part of the outer one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield node
        else:
            yield from functions(node)


def is_built(value: ast.expr, builder: bool) -> bool:
    """Whether the value of an expression is new: a literal, or what a constructor returned."""
    if isinstance(value, ast.IfExp):
        return is_built(value.body, builder) and is_built(value.orelse, builder)
    if isinstance(value, ast.Call):
        name = ast.unparse(value.func).split(".")[-1]
        return builder or name[:1].isupper() or name in BUILTIN_BUILDERS
    return isinstance(value, LITERALS)


def bindings(function: Function) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Every place where a function gives a name a value: the target, and the value where it stands there."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            yield from ((target, node.value) for target in node.targets)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value:
            yield node.target, node.value
        elif isinstance(node, (ast.For, ast.comprehension)):
            yield node.target, None
        elif isinstance(node, ast.withitem) and node.optional_vars:
            yield node.optional_vars, None


def pairs(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    """`a, b = x, y` is a = x and b = y."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, (ast.Tuple, ast.List)):
        aligned = isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
        for number, element in enumerate(target.elts):
            yield from pairs(element, value.elts[number] if aligned else None)


def own_names(function: Function, builder: bool) -> set[str]:
    """The locals that only ever hold what the function built itself."""
    bound = [pair for binding in bindings(function) for pair in pairs(*binding)]
    foreign = {name for name, value in bound if value is None or not is_built(value, builder)}
    foreign |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    own = {name for name, _ in bound} - foreign | FREE
    if builder:
        own |= items_of(own, function)
    return own | {"self"} if function.name in ("__init__", "__post_init__") else own


def items_of(own: set[str], function: Function) -> set[str]:
    """The loop variables that run over what a function built."""
    loops = [node for node in ast.walk(function) if isinstance(node, ast.For) and names(node.iter) & own]
    return {name for loop in loops for name in names(loop.target)}


def names(expression: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}


def is_own(owner: ast.expr, own: set[str], builder: bool) -> bool:
    """Whether `owner` is a local that the function built, or an item of it; a builder owns all that hangs on it."""
    if isinstance(owner, ast.Call) and isinstance(owner.func, ast.Attribute) and owner.func.attr == "setdefault":
        owner = owner.func.value
    while isinstance(owner, (ast.Subscript, ast.Attribute) if builder else ast.Subscript):
        owner = owner.value
    return isinstance(owner, ast.Name) and owner.id in own


def changes(function: Function) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What a function changes: the object that is changed, and the expression that does it."""
    for node in ast.walk(function):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            yield node.value, node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATING:
            yield node.func.value, node
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("setattr", "__setattr__"):
            yield node.args[0], node
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and isinstance(node.value, GROWN):
            yield node.target, node


def change_violations(tree: ast.Module, path: pathlib.Path) -> list[str]:
    place, builder, found = path.relative_to(ROOT).as_posix(), path.name in BUILDERS, []
    for function in (f for f in functions(tree) if f.name not in MAKERS | SET_CURRENT):
        own = own_names(function, builder)
        for owner, node in changes(function):
            of_an_item = isinstance(node, ast.Attribute) and isinstance(owner, ast.Subscript) and not builder
            if of_an_item or not is_own(owner, own, builder):
                found.append(f"{place}:{node.lineno}: {function.name} changes {ast.unparse(node)}")
    return found


def test_only_primitives_change_a_machine():
    files = [(path, tree) for path, tree in trees(PACKAGE / "mm") if path.name not in PRIMITIVES]
    assert [v for path, tree in files for v in change_violations(tree, path)] == []


BAD = """
def rmqueue(machine, zone, order):
    zone.free_area[order].nr_free -= 1
    area = zone.free_area[order]
    area.free_list[0].pop()
    area.pfn, pages = 3, []
    for page in pages:
        page.flags |= 1
    machine.zones[0] = None
    del zone.pages[7]
    zones = [zone]
    zones[0].present = 1
    zone_of(machine).present = 1
    object.__setattr__(zone, "present", 1)
    pages = zone.pages
    pages += [1]
    _cache.append(zone)
    first = [entry.pop() for entry in zone.lists]
    own = AllocContext(zone)
    own.zone.present = 1
    return lambda node: node.lists.clear()
"""


def test_every_bad_change_is_seen():
    seen = {int(text.split(":")[1]) for text in change_violations(ast.parse(BAD), PACKAGE / "mm" / "page_alloc.py")}
    assert seen == set(range(3, 22)) - {4, 7, 11, 15, 19}


GOOD = """
class Table:
    def __init__(self, size):
        self.size = size

def prepare(machine, ac, order):
    ac.order = order
    pages, seen = [], set()
    pages.append(order)
    pages += [1]
    seen.add(order)
    by_zone = {}
    by_zone.setdefault(order, []).append(1)
    by_zone[order] = pages
    by_zone[order].append(2)
    table = Table(order) if order else Table(0)
    table.size = order
    order -= 1
    return pages
"""


def test_what_a_function_built_itself_is_free():
    found = change_violations(ast.parse(GOOD), PACKAGE / "mm" / "page_alloc.py")
    assert found == []


BOOT = """
def boot(config):
    machine = make(config)
    machine.zones.append(1)
    machine.node.zones[0].present = 2
    for zone, size in zip(machine.zones, config.sizes):
        zone.present = size
    config.x = 1
"""


def test_a_builder_fills_what_it_built():
    found = change_violations(ast.parse(BOOT), PACKAGE / "mm" / "boot.py")
    assert found == ["mmviz/mm/boot.py:8: boot changes config.x"]


# What is committed stands by itself.

ELSEWHERE = re.compile(rb"/" + rb"work\b|\.\./" + rb"shared|\." + rb"library")


def committed() -> list[pathlib.Path]:
    """What is committed, or would be by `git add .`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_nothing_committed_names_the_place_where_it_was_made():
    assert committed()
    assert [path.relative_to(ROOT).as_posix() for path in committed() if ELSEWHERE.search(path.read_bytes())] == []


def rebound_parameters(tree: ast.Module) -> Iterator[str]:
    """Parameters of mirrored functions that are stored into: a recording would read the new value."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and any("mirrors" in ast.dump(d) for d in function.decorator_list):
            names = {argument.arg for argument in function.args.args}
            yield from (f"{function.name}: {node.id}" for node in ast.walk(function)
                        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in names)


def test_no_mirrored_function_rebinds_a_parameter():
    bad = "@mirrors('mm/a.c')\ndef expand(zone, high):\n    while high:\n        high -= 1\n"
    assert list(rebound_parameters(ast.parse(bad))) == ["expand: high"]
    assert [found for path in sorted((PACKAGE / "mm").glob("*.py"))
            for found in rebound_parameters(ast.parse(path.read_text(encoding="utf-8")))] == []
