"""An address space for tests: calls in few words, and what came of them."""
from mmviz.kernel import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    VM_SHARED,
)
from mmviz.mm.access import access
from mmviz.mm.boot import boot
from mmviz.mm.fork import dup_mm, mmput
from mmviz.mm.madvise import madvise
from mmviz.mm.mlock import do_mlock, munlock
from mmviz.mm.mprotect import do_mprotect_pkey
from mmviz.mm.mremap import mremap
from mmviz.mm.munmap import vm_munmap
from mmviz.mm.pgalloc import mm_alloc
from mmviz.mm.util import vm_mmap_pgoff

PAGE = 4096


class Space:
    """An address space, in pages from `base` on, and calls on it in few words; page 512 begins a PTE table."""

    def __init__(self, machine, mm):
        self.machine, self.mm = machine, mm
        self.base = 0x50200000 if machine.config.geometry.startswith("i386") else 0x100000000

    def mmap(self, start, pages, prot="rw-", sharing="private", file=0, pgoff=0, flags=0):
        flags |= MAP_FIXED | (MAP_SHARED if sharing == "shared" else MAP_PRIVATE) | (0 if file else MAP_ANONYMOUS)
        return self._place(vm_mmap_pgoff(self.machine, self.mm, file, self.base + start * PAGE, pages * PAGE,
                                         prot_bits(prot), flags, pgoff))

    def munmap(self, start, pages):
        return vm_munmap(self.machine, self.mm, self.base + start * PAGE, pages * PAGE)

    def mprotect(self, start, pages, prot):
        return do_mprotect_pkey(self.machine, self.mm, self.base + start * PAGE, pages * PAGE, prot_bits(prot))

    def mremap(self, old, old_pages, new_pages, new=None):
        flags = 0 if new is None else MREMAP_MAYMOVE | MREMAP_FIXED
        return self._place(mremap(self.machine, self.mm, self.base + old * PAGE, old_pages * PAGE, new_pages * PAGE,
                                  flags, 0 if new is None else self.base + new * PAGE))

    def madvise(self, start, pages, advice):
        return madvise(self.machine, self.mm, self.base + start * PAGE, pages * PAGE, advice)

    def mlock(self, start, pages):
        return do_mlock(self.machine, self.mm, self.base + start * PAGE, pages * PAGE)

    def munlock(self, start, pages):
        return munlock(self.machine, self.mm, self.base + start * PAGE, pages * PAGE)

    def write(self, *pages):
        """Store the number 100 + page; what the CPU gets: "ok", or the signal."""
        done = [access(self.machine, self.mm, self.base + page * PAGE, True, 100 + page) for page in pages]
        return [each.signal or "ok" for each in done]

    def read(self, *pages):
        """What stands there, or the signal."""
        done = [access(self.machine, self.mm, self.base + page * PAGE, False) for page in pages]
        return [each.signal or each.data for each in done]

    def fork(self, pid):
        return Space(self.machine, dup_mm(self.machine, self.mm, pid, f"p{pid}"))

    def exit(self):
        mmput(self.machine, self.mm)

    def vma(self, page):
        """The mapping that contains a page."""
        return next(v for v in self.mm.mmap if v.vm_start <= self.base + page * PAGE < v.vm_end)

    def vmas(self):
        """"0-4 rw-a 4-8 r--": first and last page of each mapping, rights, s for shared, a letter for its anon_vma."""
        letters = {}
        return " ".join(self._vma(vma, letters) for vma in self.mm.mmap)

    def _vma(self, vma, letters):
        first, last = (place - self.base >> 12 for place in (vma.vm_start, vma.vm_end))
        rights = "".join(letter if vma.vm_flags & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))
        anon_vma = letters.setdefault(vma.anon_vma, "abcdefgh"[len(letters)]) if vma.anon_vma else ""
        return f"{first}-{last} {rights}{'s' if vma.vm_flags & VM_SHARED else ''}{anon_vma}"

    def _place(self, value):
        return value if value < 0 else value - self.base >> 12


def prot_bits(prot):
    return sum(bit for letter, bit in (("r", PROT_READ), ("w", PROT_WRITE), ("x", PROT_EXEC)) if letter in prot)


def space(machine=None, pid=1):
    """An empty address space of a machine of 16 MiB, or of one of yours."""
    machine = machine or boot([("DMA32", 0x1000, 0x1000)])
    return Space(machine, mm_alloc(machine, pid, f"p{pid}"))
