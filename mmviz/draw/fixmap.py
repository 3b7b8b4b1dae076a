"""kmap_atomic's part of the fixmap: a pile of slots for each CPU, that grows downward.

      CPU 0 (runs)                 CPU 1
      0xfffbb000  [ 0x1400 ]       0xfffa7000  [        ]
      0xfffba000  [ 0x1401 ] <--   0xfffa6000  [        ]       the arrow: the only one that may be given back
      0xfffb9000  [        ]       0xfffa5000  [        ]
      may not sleep: 2 reasons     may sleep

High addresses are on top here, as in every picture of the address space.
"""
from __future__ import annotations

from ..mm import highmem_events as ev
from ..mm import vm_events
from ..mm.kmap_pte import kmap_pte_pfn
from ..mm.machine import Machine
from ..recording import Step
from ..trace import Event
from .pkmap import window_of
from .reading import HEAD, MARGIN, WIDTH, event_of, heading
from .scene import Arrow, Mark, Rect, Scene, Text
from .style import BOX, LINK, MUTED, NUMBER, RECLAIM, STRONG, used

MOST_CPUS = 4
FEWEST_ROWS = 4
WIDE, TALL = 92.0, 26.0


def draw_fixmap(state: Machine, step: Step | None = None) -> Scene:
    """The piles of kmap_atomic, of the first four CPUs.

    Parameters
    ----------
    state : Machine
        The state after the step; a 32-bit one, ValueError for a 64-bit one.
    step : Step, optional
        What was just done.

    Returns
    -------
    Scene

    Examples
    --------
    >>> import mmviz as mv
    >>> draw_fixmap(mv.kmap_toy(4, cpus=2)).title
    'The fixmap of kmap_atomic: 2 CPUs'
    """
    kmap, cpus = window_of(state), min(MOST_CPUS, len(state.cpu_to_node))
    rows = max(FEWEST_ROWS, *(depth + 2 for depth in kmap.kmap_atomic_idx[:cpus]))
    rows = min(rows, kmap.windows.km_type_nr)
    title = f"The fixmap of kmap_atomic: {cpus} CPU{'s' * (cpus > 1)}"
    remark = f"{kmap.windows.km_type_nr} slots for each CPU; high addresses are on top"
    marks = heading(state, title, remark, None)
    for cpu in range(cpus):
        marks += _pile(state, step, cpu, rows, MARGIN + cpu * (WIDTH - 2 * MARGIN) / MOST_CPUS)
    return Scene(title, WIDTH, HEAD + 24 + rows * TALL + 44, marks, _words(state, cpus))


def _pile(state: Machine, step: Step | None, cpu: int, rows: int, left: float) -> list[Mark]:
    kmap, event = window_of(state), event_of(step)
    depth, base = kmap.kmap_atomic_idx[cpu], kmap.windows.km_type_nr * cpu
    runs = " (runs)" if cpu == state.current.cpu else ""
    marks: list[Mark] = [Text(f"cpu {cpu}", STRONG if runs else MUTED, left, HEAD + 14, f"CPU {cpu}{runs}")]
    for row in range(rows):
        vaddr, y = kmap.windows.fix_to_virt(base + row), HEAD + 24 + row * TALL
        pfn = kmap_pte_pfn(state, vaddr)
        shows = "empty" if pfn is None else f"shows page {pfn:#x}"
        marks.append(Text(f"address {vaddr:#x}", NUMBER, left, y + 17, f"{vaddr:#x}"))
        marks.append(Rect(f"fixmap {vaddr:#x}", BOX if pfn is None else used("M"), left + 82, y + 2, WIDE, TALL - 4,
                          label="" if pfn is None else f"{pfn:#x}", touched=_is_touched(event, vaddr),
                          tip=f"{vaddr:#x}\nFIX_KMAP_BEGIN + {base + row}\n{shows}",
                          words="" if pfn is None else f"{vaddr:#x} of CPU {cpu} {shows}"))
    if 0 < depth <= rows:
        y = HEAD + 24 + (depth - 0.5) * TALL
        marks.append(Arrow(f"top {cpu}", LINK, left + 82 + WIDE + 28, y, left + 82 + WIDE + 4, y,
                           tip="the only one that may be given back now", touched=_moved(event, cpu)))
    return marks + _manners(kmap.pagefault_disabled[cpu], event, cpu, left, HEAD + 24 + rows * TALL)


def _is_touched(event: Event | None, vaddr: int) -> bool:
    kinds = (vm_events.SetPteAt, ev.TlbEntryFlushed, ev.PageCleared)
    return isinstance(event, kinds) and event.vaddr == vaddr


def _moved(event: Event | None, cpu: int) -> bool:
    return isinstance(event, (ev.KmapAtomicIdxPush, ev.KmapAtomicIdxPop)) and event.cpu == cpu


def _manners(reasons: int, event: Event | None, cpu: int, left: float, y: float) -> list[Mark]:
    """Whether the CPU may sleep."""
    now = isinstance(event, (ev.PagefaultDisable, ev.PagefaultEnable)) and event.cpu == cpu
    said = f"may not sleep ({reasons})" if reasons else "may sleep"
    return [Rect(f"manners {cpu}", RECLAIM if reasons else BOX, left, y + 14, 82 + WIDE, 24, label=said, touched=now,
                 words=f"CPU {cpu} {said}")]


def _words(state: Machine, cpus: int) -> str:
    kmap = window_of(state)
    said = [f"CPU {cpu} uses {kmap.kmap_atomic_idx[cpu]} slots and "
            f"{'may not' if kmap.pagefault_disabled[cpu] else 'may'} sleep" for cpu in range(cpus)]
    return "; ".join(said) + "."
