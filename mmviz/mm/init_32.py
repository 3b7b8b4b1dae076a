"""i386: where low memory ends, and where the windows to high memory are (arch/x86/mm/init_32.c).

A 32-bit kernel has one GiB of addresses for itself. Most of it shows memory as it is, the *direct map*; at the top a
few pieces are kept for other things, and are laid from the end downward, each aligned to what one page table spans:

    0xfffff000  +--------------------------+  FIXADDR_TOP
                | fixmap                   |  single pages; kmap_atomic's are among them
                | cpu entry area           |  40 pages for each CPU that the build allows
                | LDT                      |
                | pkmap                    |  kmap's window: one page table, 1024 slots (512 with PAE)
                | vmalloc                  |  VMALLOC_RESERVE, 128 MiB
                +--------------------------+  high_memory
                | direct map: low memory   |  what is left: MAXMEM, about 880 MiB, and not the 896 of the textbooks
    PAGE_OFFSET +--------------------------+  0xc0000000
                | user                     |

Memory beyond MAXMEM is *high*: it has page frames and no addresses. Everything here is arithmetic on the build's
configuration; nothing is measured, and a test compares it with what a real kernel printed.

Left out: `reservetop=`, and the CPUs' own entries of a PAE build with KASAN.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ..kernel import PAGE_SHIFT, PAGE_SIZE

FIXADDR_TOP = 0xFFFFF000
PAGE_OFFSETS = (0xC0000000, 0xB0000000, 0x80000000, 0x78000000, 0x40000000)  # VMSPLIT_3G, 3G_OPT, 2G, 2G_OPT, 1G
VMALLOC_OFFSET = 8 << 20
CPU_ENTRY_AREA_PAGES = 40
TOTAL_FIX_BTMAPS = 512
MAX_IO_APICS = 64
MAX_NONPAE_PFN = 1 << 20
MAX_DMA_PFN = 0x1000
LEAST_LOW_PAGES = (64 << 20) >> PAGE_SHIFT
SIZEOF_PAGE = 32  # struct page of this build


class Windows(NamedTuple):
    """Where the windows to high memory are: plain numbers, computed by a `Split` or read from a real kernel.

    All zero for a 64-bit kernel, which has none.
    """

    pkmap_base: int = 0
    last_pkmap: int = 0
    fixaddr_top: int = 0
    fix_kmap_begin: int = 0
    km_type_nr: int = 0
    nr_cpus: int = 0
    mem_map: int = 0

    def pkmap_addr(self, nr: int) -> int:
        """PKMAP_ADDR: the address of a slot."""
        return self.pkmap_base + (nr << PAGE_SHIFT)

    def pkmap_nr(self, vaddr: int) -> int:
        """PKMAP_NR: the slot of an address."""
        return (vaddr - self.pkmap_base) >> PAGE_SHIFT

    def in_pkmap(self, vaddr: int) -> bool:
        """Whether an address lies in kmap's window."""
        return self.pkmap_base <= vaddr < self.pkmap_addr(self.last_pkmap)

    def fix_to_virt(self, idx: int) -> int:
        """__fix_to_virt of FIX_KMAP_BEGIN + idx: a higher index is a lower address."""
        return self.fixaddr_top - ((self.fix_kmap_begin + idx) << PAGE_SHIFT)

    def in_fixmap(self, vaddr: int) -> bool:
        """Whether an address lies in kmap_atomic's part of the fixmap."""
        return self.fix_to_virt(self.km_type_nr * self.nr_cpus - 1) <= vaddr < self.fix_to_virt(0) + PAGE_SIZE


@dataclass(frozen=True)
class Split:
    """How a 32-bit kernel divides its addresses: the choices of its build, and all that follows from them.

    Parameters
    ----------
    nr_cpus : int
        NR_CPUS, 1 to 64: what the build allows, not what the machine has.
    pae : bool
        CONFIG_X86_PAE: page tables of 512 entries, and more than 4 GiB.
    page_offset : int
        Where the kernel's part begins: one of PAGE_OFFSETS.
    vmalloc_reserve : int
        Bytes; `vmalloc=` on the command line gives its size and 8 MiB.
    local_apic, io_apic, pci_mmconfig, paravirt, apei_ghes, ohci1394, debug_highmem : bool
        CONFIG_* that put entries into the fixmap.

    Examples
    --------
    >>> split = Split(nr_cpus=4, apei_ghes=False)
    >>> hex(split.pkmap_base), hex(split.maxmem), f"{split.maxmem / 2**20:.2f} MiB"
    ('0xff400000', '0x373fe000', '883.99 MiB')
    """

    nr_cpus: int = 8
    pae: bool = False
    page_offset: int = 0xC0000000
    vmalloc_reserve: int = 128 << 20
    local_apic: bool = True
    io_apic: bool = True
    pci_mmconfig: bool = True
    paravirt: bool = True
    apei_ghes: bool = True
    ohci1394: bool = False
    debug_highmem: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.nr_cpus <= 64:
            raise ValueError(f"nr_cpus must be 1 to 64, got {self.nr_cpus}")
        if self.page_offset not in PAGE_OFFSETS:
            raise ValueError(f"page_offset must be one of {', '.join(map(hex, PAGE_OFFSETS))}, got "
                             f"{self.page_offset:#x}")

    @property
    def pmd_size(self) -> int:
        """What one page table spans: 4 MiB, or 2 MiB with PAE."""
        return self.last_pkmap << PAGE_SHIFT

    @property
    def last_pkmap(self) -> int:
        """LAST_PKMAP: the slots of kmap, as many as a page table has entries."""
        return 512 if self.pae else 1024

    @property
    def km_type_nr(self) -> int:
        """KM_TYPE_NR: how deep kmap_atomic may be nested on a CPU."""
        return 41 if self.debug_highmem else 20

    @property
    def fix_kmap_begin(self) -> int:
        """FIX_KMAP_BEGIN: the first index of kmap_atomic, behind the hole, dbgp, earlycon and the APICs."""
        return 3 + self.ohci1394 + self.local_apic + self.io_apic * MAX_IO_APICS

    @property
    def end_of_permanent_fixed_addresses(self) -> int:
        """__end_of_permanent_fixed_addresses."""
        return (self.fix_kmap_begin + self.km_type_nr * self.nr_cpus + self.pci_mmconfig + self.paravirt
                + 2 * self.apei_ghes)

    @property
    def end_of_fixed_addresses(self) -> int:
        """__end_of_fixed_addresses: the early mappings must not lie in two page tables."""
        end, table = self.end_of_permanent_fixed_addresses, self.last_pkmap
        crosses = (end ^ (end + TOTAL_FIX_BTMAPS - 1)) & -table
        btmap_end = end + TOTAL_FIX_BTMAPS - (end & (TOTAL_FIX_BTMAPS - 1)) if crosses else end
        return btmap_end + TOTAL_FIX_BTMAPS + 1

    @property
    def fixaddr_start(self) -> int:
        """FIXADDR_START: the lowest of the permanent fixmap addresses."""
        return FIXADDR_TOP - (self.end_of_permanent_fixed_addresses << PAGE_SHIFT)

    @property
    def cpu_entry_area_base(self) -> int:
        """CPU_ENTRY_AREA_BASE."""
        fixaddr_tot_start = FIXADDR_TOP - (self.end_of_fixed_addresses << PAGE_SHIFT)
        return self._table_below(fixaddr_tot_start - PAGE_SIZE * self.nr_cpus * CPU_ENTRY_AREA_PAGES)

    @property
    def ldt_base(self) -> int:
        """LDT_BASE_ADDR."""
        return self._table_below(self.cpu_entry_area_base)

    @cached_property
    def pkmap_base(self) -> int:
        """PKMAP_BASE: where kmap's window begins."""
        return self._table_below(self.ldt_base)

    def _table_below(self, vaddr: int) -> int:
        """The beginning of the page table that the page below an address is in."""
        return (vaddr - PAGE_SIZE) & -self.pmd_size

    @property
    def vmalloc_end(self) -> int:
        """VMALLOC_END: two guard pages below kmap's window."""
        return self.pkmap_base - 2 * PAGE_SIZE

    @property
    def maxmem(self) -> int:
        """MAXMEM: how many bytes can be low memory."""
        return self.vmalloc_end - self.page_offset - self.vmalloc_reserve

    def high_memory(self, max_low_pfn: int) -> int:
        """high_memory: the address behind the direct map."""
        return self.page_offset + (max_low_pfn << PAGE_SHIFT)

    def vmalloc_start(self, max_low_pfn: int) -> int:
        """VMALLOC_START: 8 MiB behind the direct map, so that an overrun faults."""
        return self.high_memory(max_low_pfn) + VMALLOC_OFFSET

    def windows(self, low: LowHigh, last_pkmap: int | None = None) -> Windows:
        """What kmap has to know of it; the array of struct page is put at the very end of low memory.

        `last_pkmap` gives the window fewer slots than a page table has: a toy.
        """
        mem_map = (self.high_memory(low.max_low_pfn) - low.max_pfn * SIZEOF_PAGE) & -PAGE_SIZE
        return Windows(self.pkmap_base, last_pkmap or self.last_pkmap, FIXADDR_TOP, self.fix_kmap_begin,
                       self.km_type_nr, self.nr_cpus, mem_map)


class LowHigh(NamedTuple):
    """Where low memory ends, and where memory ends; page frames, exclusive."""

    max_low_pfn: int
    max_pfn: int


def find_low_pfn_range(max_pfn: int, split: Split, highmem_pages: int = -1) -> LowHigh:
    """Divide memory into low and high.

    Parameters
    ----------
    max_pfn : int
        The page frame behind the last one.
    split : Split
        The build.
    highmem_pages : int
        What `highmem=` asks for, in pages; -1 if it was not given.

    Returns
    -------
    LowHigh
        `max_pfn` may have become smaller: memory that cannot be used is left out.

    Notes
    -----
    Kernel: arch/x86/mm/init_32.c:find_low_pfn_range at v5.4, with lowmem_pfn_init and highmem_pfn_init. HIGHMEM4G
    without PAE, HIGHMEM64G with it.

    Examples
    --------
    >>> low = find_low_pfn_range(0x80000, Split(pae=True))
    >>> hex(low.max_low_pfn), hex(low.max_pfn)
    ('0x375fe', '0x80000')
    """
    if max_pfn < 1:
        raise ValueError(f"max_pfn must be at least 1, got {max_pfn}")
    maxmem_pfn = split.maxmem >> PAGE_SHIFT
    if max_pfn <= maxmem_pfn:
        return LowHigh(max_pfn - _forced_high(max_pfn, highmem_pages), max_pfn)
    end = max_pfn if highmem_pages == -1 else min(max_pfn, maxmem_pfn + highmem_pages)
    return LowHigh(maxmem_pfn, end if split.pae else min(end, MAX_NONPAE_PFN))


def _forced_high(max_pfn: int, highmem_pages: int) -> int:
    """How much of memory that could all be low `highmem=` makes high; at least 64 MiB stay low."""
    enough = 0 < highmem_pages < max_pfn and max_pfn - highmem_pages >= LEAST_LOW_PAGES
    return highmem_pages if enough else 0
