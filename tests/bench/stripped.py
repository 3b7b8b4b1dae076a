"""The core loaded a second time, from the same sources, with or without the statements that ask whether anyone listens.

    core("guarded")                      the sources as they are
    core("bare", strip=lambda name: True)      without every  if ....on:  and  if ....tracepoints:

Both come through the same loader, so that nothing else differs.
"""

import ast
import importlib
import importlib.abc
import importlib.util
import pathlib
import sys
import types
from collections.abc import Callable

import mmviz

HERE = pathlib.Path(mmviz.__file__).parent
Strip = Callable[[str], bool]  # the place of a guard, "mm/zone.py:186" -> whether it goes


def is_guard(test: ast.expr) -> bool:
    """Whether a condition asks if somebody listens."""
    return any(isinstance(node, ast.Attribute) and node.attr in ("on", "tracepoints") for node in ast.walk(test))


class Stripper(ast.NodeTransformer):
    """Takes guards out of a module."""

    def __init__(self, place: str, strip: Strip) -> None:
        self.place, self.strip = place, strip

    def visit_If(self, node: ast.If):
        node = self.generic_visit(node)
        if is_guard(node.test) and self.strip(f"{self.place}:{node.lineno}"):
            return node.orelse or ast.copy_location(ast.Pass(), node)
        return node


class Loader(importlib.abc.InspectLoader):
    """Compiles what `Stripper` left; nothing is kept on disk."""

    def __init__(self, path: pathlib.Path, strip: Strip) -> None:
        self.path, self.strip = path, strip

    def get_source(self, name):
        return self.path.read_text(encoding="utf-8")

    def is_package(self, name):
        return self.path.name == "__init__.py"

    def get_code(self, name):
        tree = Stripper(self.path.relative_to(HERE).as_posix(), self.strip).visit(ast.parse(self.get_source(name)))
        return compile(ast.fix_missing_locations(tree), str(self.path), "exec", dont_inherit=True)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of mmviz under another name."""

    def __init__(self, root: str, strip: Strip) -> None:
        self.root, self.strip = root, strip

    def find_spec(self, fullname, path=None, target=None):
        root, *rest = fullname.split(".")
        if root != self.root:
            return None
        place = HERE.joinpath(*rest)
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        folders = [str(place)] if place.is_dir() else None
        loader = Loader(path, self.strip)
        return importlib.util.spec_from_file_location(fullname, path, loader=loader, submodule_search_locations=folders)


def core(name: str, strip: Strip = lambda place: False) -> types.SimpleNamespace:
    """The modules `load` and `replay` of a second mmviz of that name."""
    root = f"mmviz_{name}"
    sys.modules[root] = types.ModuleType(root)  # not mmviz/__init__.py: only the layers below are needed
    sys.modules[root].__path__ = [str(HERE)]
    finder = Finder(root, strip)
    sys.meta_path.insert(0, finder)
    try:
        found = {part: importlib.import_module(f"{root}.capture.{part}") for part in ("load", "replay")}
    finally:
        sys.meta_path.remove(finder)
    return types.SimpleNamespace(**found)


def guards() -> list[str]:
    """The place of every guard of the core."""
    found = []
    for path in sorted(HERE.glob("mm/*.py")):
        place, tree = path.relative_to(HERE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))
        ifs = (node for node in ast.walk(tree) if isinstance(node, ast.If))
        found += [f"{place}:{node.lineno}" for node in ifs if is_guard(node.test)]
    return found
