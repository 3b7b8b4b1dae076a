"""What v5.4 fixes, and what a build chooses.

Constants keep the kernel's own names and are plain ints: a gfp mask is a number in C, and it is one here.
`GFP_KERNEL | __GFP_ZERO` works as in a driver. (A name that begins with two underscores cannot be used inside a
Python class body, which mangles it; at module level and in a notebook cell it is an ordinary name.)

What differs between kernels (the zones, the migratetypes, the size of a pageblock, NUMA or not) is no constant:
it is a `Config`, one frozen value that every Machine carries.
"""
from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

TAG = "v5.4"

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
MAX_ORDER = 11  # exclusive in v5.4: orders 0..10
MAX_ORDER_NR_PAGES = 1 << (MAX_ORDER - 1)
PAGE_ALLOC_COSTLY_ORDER = 3

# Migratetypes. CMA and ISOLATE are numbered by the Config: a build may have neither.
MIGRATE_UNMOVABLE = 0
MIGRATE_MOVABLE = 1
MIGRATE_RECLAIMABLE = 2
MIGRATE_PCPTYPES = 3
MIGRATE_HIGHATOMIC = 3

# include/linux/gfp.h
__GFP_DMA = 0x1
__GFP_HIGHMEM = 0x2
__GFP_DMA32 = 0x4
__GFP_MOVABLE = 0x8
__GFP_RECLAIMABLE = 0x10
__GFP_HIGH = 0x20
__GFP_IO = 0x40
__GFP_FS = 0x80
__GFP_ZERO = 0x100
__GFP_ATOMIC = 0x200
__GFP_DIRECT_RECLAIM = 0x400
__GFP_KSWAPD_RECLAIM = 0x800
__GFP_WRITE = 0x1000
__GFP_NOWARN = 0x2000
__GFP_RETRY_MAYFAIL = 0x4000
__GFP_NOFAIL = 0x8000
__GFP_NORETRY = 0x10000
__GFP_MEMALLOC = 0x20000
__GFP_COMP = 0x40000
__GFP_NOMEMALLOC = 0x80000
__GFP_HARDWALL = 0x100000
__GFP_THISNODE = 0x200000
__GFP_ACCOUNT = 0x400000
__GFP_NOLOCKDEP = 0x800000
__GFP_BITS_MASK = 0xFFFFFF
__GFP_RECLAIM = __GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM
GFP_ZONEMASK = __GFP_DMA | __GFP_HIGHMEM | __GFP_DMA32 | __GFP_MOVABLE
GFP_MOVABLE_MASK = __GFP_RECLAIMABLE | __GFP_MOVABLE
GFP_MOVABLE_SHIFT = 3

GFP_ATOMIC = __GFP_HIGH | __GFP_ATOMIC | __GFP_KSWAPD_RECLAIM
GFP_KERNEL = __GFP_RECLAIM | __GFP_IO | __GFP_FS
GFP_KERNEL_ACCOUNT = GFP_KERNEL | __GFP_ACCOUNT
GFP_NOWAIT = __GFP_KSWAPD_RECLAIM
GFP_NOIO = __GFP_RECLAIM
GFP_NOFS = __GFP_RECLAIM | __GFP_IO
GFP_USER = GFP_KERNEL | __GFP_HARDWALL
GFP_DMA = __GFP_DMA
GFP_DMA32 = __GFP_DMA32
GFP_HIGHUSER = GFP_USER | __GFP_HIGHMEM
GFP_HIGHUSER_MOVABLE = GFP_HIGHUSER | __GFP_MOVABLE
GFP_TRANSHUGE_LIGHT = (GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOMEMALLOC | __GFP_NOWARN) & ~__GFP_RECLAIM
GFP_TRANSHUGE = GFP_TRANSHUGE_LIGHT | __GFP_DIRECT_RECLAIM

# Watermarks and mm/internal.h
WMARK_MIN, WMARK_LOW, WMARK_HIGH = 0, 1, 2
ALLOC_WMARK_MIN, ALLOC_WMARK_LOW, ALLOC_WMARK_HIGH = WMARK_MIN, WMARK_LOW, WMARK_HIGH
ALLOC_NO_WATERMARKS = 0x4
ALLOC_WMARK_MASK = ALLOC_NO_WATERMARKS - 1
ALLOC_OOM = 0x8
ALLOC_HARDER = 0x10
ALLOC_HIGH = 0x20
ALLOC_CPUSET = 0x40
ALLOC_CMA = 0x80
ALLOC_NOFRAGMENT = 0x100
ALLOC_KSWAPD = 0x200

# Per-zone counters that the allocator reads (a slice of enum zone_stat_item).
NR_FREE_PAGES, NR_FREE_CMA_PAGES = 0, 1

# Task flags, include/linux/sched.h
PF_MEMALLOC = 0x00000800
PF_MEMALLOC_NOFS = 0x00040000
PF_MEMALLOC_NOIO = 0x00080000
PF_MEMALLOC_NOCMA = 0x10000000

MPOL_DEFAULT, MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE = range(4)  # include/uapi/linux/mempolicy.h
MPOL_NAMES = ("default", "preferred", "bind", "interleave")

ZONELIST_FALLBACK, ZONELIST_NOFALLBACK = 0, 1
NUMA_NO_NODE = -1

# include/linux/mm.h: vm_flags of a mapping
VM_READ, VM_WRITE, VM_EXEC, VM_SHARED = 0x1, 0x2, 0x4, 0x8
VM_MAYREAD, VM_MAYWRITE, VM_MAYEXEC, VM_MAYSHARE = 0x10, 0x20, 0x40, 0x80
VM_GROWSDOWN, VM_PFNMAP, VM_DENYWRITE, VM_LOCKED, VM_IO = 0x100, 0x400, 0x800, 0x2000, 0x4000
VM_SEQ_READ, VM_RAND_READ, VM_DONTCOPY, VM_DONTEXPAND = 0x8000, 0x10000, 0x20000, 0x40000
VM_LOCKONFAULT, VM_ACCOUNT, VM_NORESERVE, VM_HUGETLB = 0x80000, 0x100000, 0x200000, 0x400000
VM_PAT, VM_WIPEONFORK, VM_DONTDUMP, VM_SOFTDIRTY = 0x1000000, 0x2000000, 0x4000000, 0x8000000
VM_MIXEDMAP, VM_HUGEPAGE, VM_NOHUGEPAGE, VM_MERGEABLE = 0x10000000, 0x20000000, 0x40000000, 0x80000000
SMAPS_FLAGS = {  # the letters of a mapping's flags in /proc/PID/smaps, without the rights (fs/proc/task_mmu.c)
    0x100: "gd", 0x400: "pf", 0x2000: "lo", 0x4000: "io", 0x20000: "dc", 0x40000: "de", 0x100000: "ac",
    0x2000000: "wf", 0x4000000: "dd", 0x20000000: "hg",
}
VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP
VM_LOCKED_CLEAR_MASK = ~(VM_LOCKED | VM_LOCKONFAULT)

# include/uapi/asm-generic/mman-common.h and mman.h, include/uapi/linux/mman.h: what processes say of mappings
PROT_READ, PROT_WRITE, PROT_EXEC = 0x1, 0x2, 0x4
MAP_SHARED, MAP_PRIVATE, MAP_TYPE, MAP_FIXED, MAP_ANONYMOUS = 0x1, 0x2, 0xF, 0x10, 0x20
MAP_LOCKED, MAP_NORESERVE, MAP_POPULATE = 0x2000, 0x4000, 0x8000
MREMAP_MAYMOVE, MREMAP_FIXED = 0x1, 0x2
MADV_WILLNEED, MADV_DONTNEED, MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK = 3, 4, 10, 11, 18, 19

# include/linux/mm.h: what get_user_pages is asked
FOLL_WRITE, FOLL_TOUCH, FOLL_GET, FOLL_DUMP, FOLL_FORCE = 0x1, 0x2, 0x4, 0x8, 0x10
FOLL_NOWAIT, FOLL_POPULATE, FOLL_SPLIT, FOLL_HWPOISON, FOLL_NUMA = 0x20, 0x40, 0x80, 0x100, 0x200
FOLL_MIGRATION, FOLL_TRIED, FOLL_MLOCK, FOLL_REMOTE, FOLL_COW = 0x400, 0x800, 0x1000, 0x2000, 0x4000
FOLL_ANON, FOLL_LONGTERM, FOLL_SPLIT_PMD = 0x8000, 0x10000, 0x20000

# include/linux/mm.h: what a fault is asked, and include/linux/mm_types.h: what came of it
FAULT_FLAG_WRITE, FAULT_FLAG_MKWRITE, FAULT_FLAG_ALLOW_RETRY, FAULT_FLAG_RETRY_NOWAIT = 0x1, 0x2, 0x4, 0x8
FAULT_FLAG_KILLABLE, FAULT_FLAG_TRIED, FAULT_FLAG_USER, FAULT_FLAG_REMOTE = 0x10, 0x20, 0x40, 0x80
VM_FAULT_OOM, VM_FAULT_SIGBUS, VM_FAULT_MAJOR, VM_FAULT_WRITE, VM_FAULT_HWPOISON = 0x1, 0x2, 0x4, 0x8, 0x10
VM_FAULT_SIGSEGV, VM_FAULT_NOPAGE, VM_FAULT_LOCKED, VM_FAULT_RETRY = 0x40, 0x100, 0x200, 0x400
VM_FAULT_FALLBACK, VM_FAULT_DONE_COW = 0x800, 0x1000
VM_FAULT_ERROR = VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV | VM_FAULT_HWPOISON | VM_FAULT_FALLBACK | 0x20

MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES = range(4)  # mm->rss_stat, include/linux/mm_types_task.h


class Errno(IntEnum):
    """What a refused call returns, negated: ``-Errno.EFAULT``."""

    EPERM, ENOENT, EINTR, EIO, EAGAIN, ENOMEM = 1, 2, 4, 5, 11, 12
    EACCES, EFAULT, EBUSY, EEXIST, EINVAL, EOPNOTSUPP, EHWPOISON = 13, 14, 16, 17, 22, 95, 133


X86_64_ZONES = ("DMA", "DMA32", "Normal", "Movable")
I386_ZONES = ("DMA", "Normal", "HighMem", "Movable")


@dataclass(frozen=True, slots=True)
class Config:
    """What the kernel build, or the machine, chooses.

    Parameters
    ----------
    zone_names : tuple of str
        The zones of enum zone_type in index order; a zone's place here is its zone index.
    migrate_types : int
        4 to 6: UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, then CMA and ISOLATE where they are built in.
    migrate_cma, migrate_isolate : int or None
        Their numbers; None where the build has none.
    pageblock_order : int
        9 (2 MiB) with HUGETLB_PAGE on x86-64, else 10.
    compaction : bool
        CONFIG_COMPACTION: whether the slow path would compact before it reclaims.
    numa : bool
        CONFIG_NUMA: zonelists of two kinds, remote nodes.
    page_offset : int
        Where the direct map begins, without KASLR.
    debug_guardpage_minorder : int
        0 is off; n > 0 keeps split-off blocks below order n as guard pages (CONFIG_DEBUG_PAGEALLOC).
    geometry : str
        How an address is cut into indices: "x86-64", "x86-64 5-level", "i386" or "i386 PAE" (mm/pgtable.py).
    mmu : bool
        CONFIG_MMU: page tables. Without, an address is a place in memory, and get_user_pages is another function.
    transparent_hugepage : str
        "never", "madvise" or "always": whether a fault may map 2 MiB at once.
    slab : str
        Who serves kmalloc: "SLUB", "SLAB" or "SLOB".
    slub_cpu_partial : bool
        CONFIG_SLUB_CPU_PARTIAL: a CPU keeps a list of slabs with free objects.
    slab_freelist_random, slab_freelist_hardened : bool
        CONFIG_SLAB_FREELIST_RANDOM (SLUB: the objects of a new slab in no order) and CONFIG_SLAB_FREELIST_HARDENED
        (SLUB: free pointers are hidden, a double free is noticed).
    slab_seed : int
        Where the random numbers of these two begin.

    Attributes
    ----------
    pageblock_nr_pages : int
        Pages in a pageblock. This and the next two follow from the rest, and are kept because they are asked often.
    migrate_names : tuple of str
        Names by migratetype, as /proc/pagetypeinfo spells them.
    gfp_zone_table : tuple of int
        ZONE_* by the low four gfp bits, or -1 where the kernel has VM_BUG_ON (include/linux/gfp.h:gfp_zone).

    Notes
    -----
    Kernel: .config, include/linux/mmzone.h at v5.4.
    """

    zone_names: tuple[str, ...] = X86_64_ZONES
    migrate_types: int = 6
    migrate_cma: int | None = 4
    migrate_isolate: int | None = 5
    pageblock_order: int = 9
    compaction: bool = True
    numa: bool = True
    page_offset: int = 0xFFFF888000000000
    debug_guardpage_minorder: int = 0
    geometry: str = "x86-64"
    mmu: bool = True
    transparent_hugepage: str = "never"
    slab: str = "SLUB"
    slub_cpu_partial: bool = True
    slab_freelist_random: bool = False
    slab_freelist_hardened: bool = False
    slab_seed: int = 1
    pageblock_nr_pages: int = field(init=False, repr=False, compare=False)
    migrate_names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    gfp_zone_table: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.slab not in ("SLUB", "SLAB", "SLOB"):
            raise ValueError(f'slab must be "SLUB", "SLAB" or "SLOB", got {self.slab!r}')
        object.__setattr__(self, "pageblock_nr_pages", 1 << self.pageblock_order)
        object.__setattr__(self, "migrate_names", _migrate_names(self))
        object.__setattr__(self, "gfp_zone_table", tuple(_gfp_zone_of_bits(self, bits) for bits in range(16)))

    def to_dict(self) -> dict[str, Any]:
        """The choices as plain data: what Config takes, the zone names as a list."""
        chosen = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        return {**chosen, "zone_names": list(self.zone_names)}

    def zone_idx(self, name: str) -> int:
        """The zone index of `name`; ZONE_NORMAL where this build has no such zone, as OPT_ZONE_* does."""
        return self.zone_names.index(name if name in self.zone_names else "Normal")


def _migrate_names(config: Config) -> tuple[str, ...]:
    names = ["Unmovable", "Movable", "Reclaimable", "HighAtomic"] + ["?"] * (config.migrate_types - 4)
    for number, name in ((config.migrate_cma, "CMA"), (config.migrate_isolate, "Isolate")):
        if number is not None:
            names[number] = name
    return tuple(names)


def _gfp_zone_of_bits(config: Config, bits: int) -> int:
    chosen = [name for bit, name in ((__GFP_DMA, "DMA"), (__GFP_HIGHMEM, "HighMem"), (__GFP_DMA32, "DMA32"))
              if bits & bit]
    if len(chosen) > 1:
        return -1
    if bits & __GFP_MOVABLE and chosen == ["HighMem"]:
        return config.zone_idx("Movable")
    return config.zone_idx(chosen[0] if chosen else "Normal")


I386 = Config(zone_names=I386_ZONES, pageblock_order=10, numa=False, page_offset=0xC0000000,
              geometry="i386")


# ---------------------------------------------------------------- words for numbers

_GFP_WORDS = {name: value for name, value in list(globals().items()) if name.startswith(("GFP_", "__GFP_"))
              and not name.endswith(("MASK", "SHIFT"))}
# As include/trace/events/mmflags.h prints them: larger masks first, then single bits in its order.
_PRINTED = """
    GFP_TRANSHUGE GFP_TRANSHUGE_LIGHT GFP_HIGHUSER_MOVABLE GFP_HIGHUSER GFP_USER GFP_KERNEL_ACCOUNT GFP_KERNEL GFP_NOFS
    GFP_ATOMIC GFP_NOIO GFP_NOWAIT GFP_DMA __GFP_HIGHMEM GFP_DMA32 __GFP_HIGH __GFP_ATOMIC __GFP_IO __GFP_FS
    __GFP_NOWARN __GFP_RETRY_MAYFAIL __GFP_NOFAIL __GFP_NORETRY __GFP_COMP __GFP_ZERO __GFP_NOMEMALLOC __GFP_MEMALLOC
    __GFP_HARDWALL __GFP_THISNODE __GFP_RECLAIMABLE __GFP_MOVABLE __GFP_ACCOUNT __GFP_WRITE __GFP_RECLAIM
    __GFP_DIRECT_RECLAIM __GFP_KSWAPD_RECLAIM __GFP_NOLOCKDEP
""".split()


def parse_gfp(text: str) -> int:
    """The mask of a text such as ``GFP_KERNEL|__GFP_ZERO``, as ftrace prints it.

    >>> hex(parse_gfp("GFP_KERNEL|__GFP_ZERO"))
    '0xdc0'
    """
    mask = 0
    for word in text.split("|"):
        value = _GFP_WORDS.get(word)
        if value is None:
            value = int(word, 16) if word.lower().startswith("0x") else 0 if word == "none" else None
        if value is None:
            raise ValueError(f"gfp flag must be a name of include/linux/gfp.h at {TAG}, got {word!r}")
        mask |= value
    return mask


@lru_cache(maxsize=512)
def gfp_name(mask: int) -> str:
    """The mask in words, as ftrace prints it.

    >>> gfp_name(0xdc0)
    'GFP_KERNEL|__GFP_ZERO'
    """
    words = []
    for name in _PRINTED:
        value = _GFP_WORDS[name]
        if mask and value and mask & value == value:
            words.append(name)
            mask &= ~value
    if mask:
        words.append(hex(mask))
    return "|".join(words) or "none"


# ---------------------------------------------------------------- the source

DATA = Path(__file__).resolve().parent.parent / "data"


@lru_cache(maxsize=1)
def kernel_symbols() -> Mapping[str, tuple[str, int]]:
    """symbol -> (file, first line at v5.4, or 0 if not known), from data/kernel_symbols.csv; empty without data."""
    path = DATA / "kernel_symbols.csv"
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as lines:
        return {row["symbol"]: (row["file"], int(row["line"] or 0)) for row in csv.DictReader(lines)}


def source_url(symbol: str) -> str | None:
    """A link to the source of `symbol` at v5.4, or None where the index does not know it.

    >>> source_url("expand")
    'https://elixir.bootlin.com/linux/v5.4/source/mm/page_alloc.c#L2027'
    """
    file, line = kernel_symbols().get(symbol, ("", 0))
    if not file:
        return None
    place = f"source/{file}#L{line}" if line else f"ident/{symbol}"
    return f"https://elixir.bootlin.com/linux/{TAG}/{place}"
