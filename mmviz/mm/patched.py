"""Another kernel: v5.4 with some of its functions replaced by yours.

    def last(zone, order, migratetype):
        return next(reversed(zone.free_area[order].free_list[migratetype]), None)

    mine = patched(get_page_from_free_area=last)
    mine.alloc_pages(machine, GFP_KERNEL, 0)

It is what one does with the C source, too: change a function, build, run the same requests. All functions of mmviz.mm
are made anew around the same code, and the names by which they call each other lead to the new ones. v5.4 itself stays
as it is, nothing is asked while it runs, and a Machine may be used by one kernel after the other.

Where several modules have a function of one name (an allocator each), your function stands for all of them, and the
kernel's is that of the first module by name.

Left out: methods, and functions that are kept in a table or found by import_module. What replays a recording is such a
table, so a recording of any kernel can be stepped.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any


class Kernel(SimpleNamespace):
    """The functions of a kernel, by their names: ``kernel.alloc_pages(machine, gfp, order)``."""

    def __repr__(self) -> str:
        return f"Kernel(v5.4 with {', '.join(self.changed) or 'nothing'} replaced)"


def patched(**changes: Callable[..., Any]) -> Kernel:
    """A kernel of its own, in which the functions of these names are yours.

    Parameters
    ----------
    **changes : callable
        The name of a function of mmviz.mm, and what is called instead, with the same arguments. It may look at what it
        likes; what it changes, it changes by the primitives (mmviz.mm.zone), or a recording of it cannot be replayed.

    Raises
    ------
    ValueError
        If no function has that name.
    TypeError
        If what stands for it cannot be called.

    Examples
    --------
    >>> import mmviz as mv
    >>> from mmviz.mm.zone import add_to_free_area
    >>> mine = patched(add_to_free_area_tail=add_to_free_area)
    >>> mine
    Kernel(v5.4 with add_to_free_area_tail replaced)
    >>> hex(mine.alloc_pages(mv.toy(4), mv.GFP_KERNEL, 0))
    '0x1000'
    """
    spaces = {module.__name__: dict(vars(module)) for module in _modules()}
    originals = [function for name, space in spaces.items() for _, function in _functions(space)
                 if function.__module__ == name]
    _check(changes, {function.__name__ for function in originals})
    clones = {function: _clone(function, spaces[function.__module__]) for function in originals}
    chosen = {name: clones.get(mine, mine) for name, mine in changes.items()}  # type: ignore[call-overload]
    for space in spaces.values():
        space |= {name: chosen.get(name, clones[function]) for name, function in _functions(space)}
    first = {function.__name__: clones[function] for function in reversed(originals)}  # of several modules the first
    return Kernel(changed=tuple(changes), **first | chosen)


def _modules() -> list[ModuleType]:
    package = import_module(__package__)
    return [import_module(f"{__package__}.{info.name}") for info in iter_modules(package.__path__)]


def _functions(space: dict[str, Any]) -> Iterator[tuple[str, FunctionType]]:
    """The names in a module that stand for functions of the simulator."""
    for name, value in list(space.items()):
        if isinstance(value, FunctionType) and value.__module__.startswith(f"{__package__}."):
            yield name, value


def _check(changes: dict[str, Callable[..., Any]], known: set[str]) -> None:
    for name, mine in changes.items():
        if name not in known:
            near = ", ".join(get_close_matches(name, known)) or "__rmqueue_smallest, get_page_from_free_area, expand"
            raise ValueError(f"patched() takes names of functions of mmviz.mm, such as {near}; got {name!r}")
        if not callable(mine):
            raise TypeError(f"what stands for {name} must be a function, got {mine!r}")


def _clone(function: FunctionType, space: dict[str, Any]) -> FunctionType:
    """The same code, with other names around it."""
    clone = FunctionType(function.__code__, space, function.__name__, function.__defaults__, function.__closure__)
    clone.__kwdefaults__, clone.__doc__ = function.__kwdefaults__, function.__doc__
    return clone
