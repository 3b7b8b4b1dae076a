"""What a machine knows of its processes: address spaces, mappings, page tables, and whose a page is.

    Vm                             the part "vm" of a Machine
     +-- mm[pid]      MmStruct     one address space: the frame of its pgd, its mappings, its counters
     |    +-- mmap    VmAreaStruct ...        sorted by vm_start
     +-- vma[id]      VmAreaStruct  the same, and those that are in no list yet, or no more
     +-- tables[pfn]               a page table, by the frame that it lies in: {index: entry}
     +-- inode[ino]   Inode        a file, or shared memory: {index: pfn}, its page cache
     +-- anon_vma[id] AnonVma      who may map an anonymous page
     +-- mapcount, mapping, data, flags      of struct page, by pfn

A page is its pfn. A table holds only the entries that are not 0, so that a walk costs the same whatever is mapped
beside it. References beyond the page allocator's own are counted there (mm/page_ref.py).

Left out: locks, more than one thread in an address space, cgroups, swap space, userfaultfd, protection keys.
"""
from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from typing import Any, NamedTuple

from .machine import Mempolicy

INIT_MM = 0  # the pid of init_mm, the kernel's own address space
SWAPPER_PG_DIR = -1  # where its top table lies: in the kernel image, in no zone

# page->flags: the bits that matter here (include/linux/page-flags.h numbers them otherwise)
PG_locked, PG_referenced, PG_uptodate, PG_dirty, PG_active, PG_swapbacked, PG_mlocked, PG_lru = (
    1 << bit for bit in range(8))
PAGE_FLAGS = ("locked", "referenced", "uptodate", "dirty", "active", "swapbacked", "mlocked", "lru")


@dataclass(slots=True, eq=False, repr=False)
class VmAreaStruct:
    """struct vm_area_struct: one mapping, [vm_start, vm_end). It keeps its `id`, whatever becomes of its addresses.

    `vm_pgoff` counts pages; `vm_file` is an inode number, 0 for none; `vm_ops` names an entry of VM_OPS, "" is NULL;
    `anon_vma` is an id, 0 for none, and `anon_vma_chain` the ids of all that are linked, in list order.
    """

    vm_mm: MmStruct
    id: int
    vm_start: int
    vm_end: int
    vm_flags: int
    vm_page_prot: int
    vm_pgoff: int = 0
    vm_file: int = 0
    vm_ops: str = ""
    anon_vma: int = 0
    anon_vma_chain: list[int] = field(default_factory=list)
    vm_policy: Mempolicy | None = None

    @property
    def name(self) -> str:
        """The mapping in words, as the call tree shows it."""
        return f"{self.vm_start:#x}-{self.vm_end:#x}"

    def __repr__(self) -> str:
        return f"VmAreaStruct({self.name} flags={self.vm_flags:#x})"

    def copy(self, mm: MmStruct) -> VmAreaStruct:
        """The same mapping of another MmStruct."""
        return replace(self, vm_mm=mm, anon_vma_chain=self.anon_vma_chain[:])

    def plain(self) -> list[Any]:
        """All but vm_mm, in order, as plain data."""
        policy = self.vm_policy and [self.vm_policy.mode, list(self.vm_policy.nodes)]
        return [self.id, self.vm_start, self.vm_end, self.vm_flags, self.vm_page_prot, self.vm_pgoff, self.vm_file,
                self.vm_ops, self.anon_vma, self.anon_vma_chain[:], policy]

    @classmethod
    def from_plain(cls, mm: MmStruct, plain: list[Any]) -> VmAreaStruct:
        """The mapping that `plain` described."""
        vma = cls(mm, *plain)
        vma.anon_vma_chain = plain[-2][:]
        vma.vm_policy = plain[-1] and Mempolicy(plain[-1][0], tuple(plain[-1][1]))
        return vma


@dataclass(slots=True, eq=False, repr=False)
class MmStruct:
    """struct mm_struct: an address space. `*_vm` count pages, `pgtables_bytes` bytes.

    `rss_stat` is indexed by MM_FILEPAGES to MM_SHMEMPAGES. `rss_cached` and `rss_events` are the rss_stat of its one
    task (SPLIT_RSS_COUNTING): a fault with more than 64 before it folds it into `rss_stat`, which is what VmRSS shows.
    """

    pid: int
    name: str
    pgd: int
    task_size: int
    mmap: list[VmAreaStruct] = field(default_factory=list)
    total_vm: int = 0
    locked_vm: int = 0
    data_vm: int = 0
    exec_vm: int = 0
    stack_vm: int = 0
    def_flags: int = 0
    pgtables_bytes: int = 0
    rss_stat: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    rss_cached: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    rss_events: int = 0
    min_flt: int = 0
    maj_flt: int = 0

    @property
    def map_count(self) -> int:
        """The number of mappings."""
        return len(self.mmap)

    def rss(self, member: int) -> int:
        """Pages of one kind, with those that the task has not folded in yet."""
        return self.rss_stat[member] + self.rss_cached[member]

    def index(self, vaddr: int) -> int:
        """The place in `mmap` of the first mapping that starts at or above `vaddr`."""
        return bisect_left(self.mmap, vaddr, key=lambda vma: vma.vm_start)

    def __repr__(self) -> str:
        return f"MmStruct({self.name}, {self.map_count} mappings)"

    def copy(self) -> MmStruct:
        """The same address space, without its mappings, tables and pages."""
        return MmStruct(self.pid, self.name, self.pgd, self.task_size, [], *self._counters())

    def _counters(self) -> list[Any]:
        return [self.total_vm, self.locked_vm, self.data_vm, self.exec_vm, self.stack_vm, self.def_flags,
                self.pgtables_bytes, self.rss_stat[:], self.rss_cached[:], self.rss_events, self.min_flt, self.maj_flt]

    def to_dict(self) -> dict[str, Any]:
        """The address space as plain data."""
        return {"pid": self.pid, "name": self.name, "pgd": self.pgd, "task_size": self.task_size,
                "mmap": [vma.id for vma in self.mmap], "counters": self._counters()}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> MmStruct:
        """The address space that `to_dict` described, without its mappings."""
        mm = cls(saved["pid"], saved["name"], saved["pgd"], saved["task_size"], [], *saved["counters"])
        mm.rss_stat, mm.rss_cached = mm.rss_stat[:], mm.rss_cached[:]
        return mm


@dataclass(slots=True, eq=False)
class Inode:
    """struct inode with its address_space: a file's page cache. `size` in pages; `shmem`: its pages live in memory.

    `f_count`: who holds it open or has mapped it.
    """

    ino: int
    name: str
    size: int
    shmem: bool = True
    f_count: int = 1
    pages: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class AnonVma:
    """struct anon_vma: `degree` counts children and mappings that use it as theirs, `rb_root` all that are linked."""

    root: int
    parent: int
    degree: int = 0
    rb_root: int = 0


class Mapping(NamedTuple):
    """page->mapping ("anon" and an anon_vma, "file" and an inode, "" and 0: NULL) and page->index."""

    kind: str
    owner: int
    pgoff: int


@dataclass(slots=True, eq=False, repr=False)
class Vm:
    """The part "vm" of a Machine.

    Attributes
    ----------
    zero_pfn : int
        The zero page: it lies in the kernel image.
    deposit : dict
        mm->pmd_huge_pte by the frame of the PMD table: PTE tables kept for the day a huge page is split.
    mapcount : dict
        Entries of PTE tables that point to a page: page->_mapcount + 1.
    compound_mapcount : dict
        Huge entries that point to a compound page, by its head.
    data : dict
        The first 32-bit word of a page, where it is not 0.
    reserved : dict
        References of pages that lie in no zone.
    pagevec : dict
        Per CPU, the pages on their way to an LRU list (lru_add_pvec); each holds a reference.
    """

    zero_pfn: int
    mm: dict[int, MmStruct] = field(default_factory=dict)
    vma: dict[int, VmAreaStruct] = field(default_factory=dict)
    next_vma: int = 1
    tables: dict[int, dict[int, int]] = field(default_factory=dict)
    deposit: dict[int, list[int]] = field(default_factory=dict)
    inode: dict[int, Inode] = field(default_factory=dict)
    anon_vma: dict[int, AnonVma] = field(default_factory=dict)
    next_anon_vma: int = 1
    mapcount: dict[int, int] = field(default_factory=dict)
    mapping: dict[int, Mapping] = field(default_factory=dict)
    data: dict[int, int] = field(default_factory=dict)
    flags: dict[int, int] = field(default_factory=dict)
    reserved: dict[int, int] = field(default_factory=dict)
    pagevec: dict[int, list[int]] = field(default_factory=dict)
    compound_mapcount: dict[int, int] = field(default_factory=dict)

    def copy(self) -> Vm:
        """A Vm that shares nothing with this one."""
        twin = Vm(self.zero_pfn, {pid: mm.copy() for pid, mm in self.mm.items()}, {}, self.next_vma,
                  {pfn: table.copy() for pfn, table in self.tables.items()},
                  {pfn: tables[:] for pfn, tables in self.deposit.items()},
                  {ino: replace(inode, pages=inode.pages.copy()) for ino, inode in self.inode.items()},
                  {number: replace(anon_vma) for number, anon_vma in self.anon_vma.items()},
                  self.next_anon_vma, self.mapcount.copy(), self.mapping.copy(), self.data.copy(), self.flags.copy(),
                  self.reserved.copy(), {cpu: pages[:] for cpu, pages in self.pagevec.items()},
                  self.compound_mapcount.copy())
        twin.vma = {number: vma.copy(twin.mm[vma.vm_mm.pid]) for number, vma in self.vma.items()}
        for pid, mm in self.mm.items():
            twin.mm[pid].mmap.extend(twin.vma[vma.id] for vma in mm.mmap)
        return twin

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data; equal states give equal dicts."""
        sparse = {name: [[pfn, value] for pfn, value in sorted(getattr(self, name).items())] for name in _SPARSE}
        return {
            "zero_pfn": self.zero_pfn, "next_anon_vma": self.next_anon_vma, "next_vma": self.next_vma,
            "mm": [self.mm[pid].to_dict() for pid in sorted(self.mm)],
            "vma": [[vma.vm_mm.pid, *vma.plain()] for _, vma in sorted(self.vma.items())],
            "tables": [[pfn, sorted(table.items())] for pfn, table in sorted(self.tables.items())],
            "inode": [{**asdict(i), "pages": sorted(i.pages.items())} for _, i in sorted(self.inode.items())],
            "anon_vma": [[number, *asdict(a).values()] for number, a in sorted(self.anon_vma.items())],
            "deposit": sorted(item for item in self.deposit.items() if item[1]),
            "pagevec": sorted(item for item in self.pagevec.items() if item[1]), **sparse}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Vm:
        """The state that `to_dict` described; it shares nothing with the dict."""
        vm = cls(saved["zero_pfn"], next_anon_vma=saved["next_anon_vma"], next_vma=saved["next_vma"])
        vm.mm = {mm["pid"]: MmStruct.from_dict(mm) for mm in saved["mm"]}
        vm.vma = {plain[0]: VmAreaStruct.from_plain(vm.mm[pid], plain) for pid, *plain in saved["vma"]}
        for mm in saved["mm"]:
            vm.mm[mm["pid"]].mmap.extend(vm.vma[number] for number in mm["mmap"])
        vm.tables = {pfn: dict(table) for pfn, table in saved["tables"]}
        vm.inode = {i["ino"]: Inode(**{**i, "pages": dict(i["pages"])}) for i in saved["inode"]}
        vm.anon_vma = {number: AnonVma(*values) for number, *values in saved["anon_vma"]}
        vm.deposit, vm.pagevec = ({key: pages[:] for key, pages in saved[name]} for name in ("deposit", "pagevec"))
        for name in _SPARSE:
            setattr(vm, name, dict(saved[name]))
        vm.mapping = {pfn: Mapping(*mapping) for pfn, mapping in vm.mapping.items()}
        return vm


_SPARSE = ("mapcount", "compound_mapcount", "mapping", "data", "flags", "reserved")


# ---------------------------------------------------------------- what a mapping can be asked


class VmOperations(NamedTuple):
    """struct vm_operations_struct; None where a mapping does not offer it.

    `fault(machine, vmf)` and `page_mkwrite(machine, vmf)` return VM_FAULT_* bits; `fault` leaves the page in vmf.page,
    with a reference of its own. `map_pages(machine, vmf, start_pgoff, end_pgoff)` maps what is in the page cache.
    """

    fault: Callable[..., int] | None = None
    map_pages: Callable[..., None] | None = None
    page_mkwrite: Callable[..., int] | None = None


VM_OPS = {  # vm_ops of a mapping -> module and name of its VmOperations
    "shmem": ("shmem", "shmem_vm_ops"),  # shared memory, and files of tmpfs
    "pfnmap": ("memory", "pfnmap_vm_ops"),  # a driver that mapped it all by remap_pfn_range: no fault
}


def vm_ops(vma: VmAreaStruct) -> VmOperations | None:
    """vma->vm_ops: None for anonymous memory."""
    if not vma.vm_ops:
        return None
    module, name = VM_OPS[vma.vm_ops]
    found: VmOperations = getattr(import_module(f"{__package__}.{module}"), name)
    return found


def vma_is_anonymous(vma: VmAreaStruct) -> bool:
    """A mapping without operations. Kernel: include/linux/mm.h:vma_is_anonymous."""
    return not vma.vm_ops


@dataclass(slots=True, eq=False)
class VmFault:
    """struct vm_fault: one fault on its way down. `pmd` and `pte` point to entries (a physical address), None if not
    known yet; `orig_pte` is the entry that was there; `page`, `cow_page` and `prealloc_pte` are pfns.
    """

    vma: VmAreaStruct
    address: int
    flags: int
    pgoff: int = 0
    pud: int | None = None
    pmd: int | None = None
    pte: int | None = None
    orig_pte: int = 0
    page: int | None = None
    cow_page: int | None = None
    prealloc_pte: int | None = None
