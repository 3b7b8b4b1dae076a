"""mmviz: how Linux v5.4 hands out memory, exact and step by step.

    import mmviz as mv

    machine = mv.toy(4)
    with mv.record(machine) as rec:
        mv.alloc_pages(machine, mv.GFP_KERNEL, 3)
    mv.Stepper(rec, mv.draw_free_area)

The core (machines, recordings, replay) needs the standard library alone. Everything is looked up when it is first used,
so that ``import mmviz`` is quick, and loads neither matplotlib, networkx nor ipywidgets.
"""
from __future__ import annotations

from importlib import import_module
from typing import Any

from . import kernel
from .errors import CaptureError, KernelBug, MmvizError, ReplayError
from .kernel import *  # noqa: F403  (the kernel's constants, by their names)
from .kernel import Config, gfp_name, parse_gfp, source_url
from .narrate import narrate, sentence
from .recording import Recording, Timeline, record
from .trace import Event, Trace

__version__ = "0.1.0"

_LAZY = {  # name -> module:attribute, looked up when first used
    **{name: f"mmviz.mm.boot:{name}" for name in ("ZoneSize", "boot", "duo", "toy", "zones_toy")},
    **{name: f"mmviz.mm.machine:{name}" for name in (
        "Machine", "Mempolicy", "Task", "set_current", "set_il_prev", "set_mempolicy")},
    **{name: f"mmviz.mm.get_free_pages:{name}" for name in (
        "__get_free_pages", "alloc_pages", "alloc_pages_exact", "get_order", "get_zeroed_page", "page_address")},
    "alloc_pages_node": "mmviz.mm.page_alloc:alloc_pages_node",
    "alloc_pages_vma": "mmviz.mm.mempolicy:alloc_pages_vma",
    **{name: f"mmviz.mm.page_free:{name}" for name in (
        "__free_pages", "drain_all_pages", "drain_pages", "free_pages", "free_unref_page_list")},
    **{name: f"mmviz.mm.kmalloc:{name}" for name in ("kfree", "kmalloc", "kmalloc_node", "ksize", "kzalloc")},
    **{name: f"mmviz.mm.slub:{name}" for name in ("kmem_cache_alloc", "kmem_cache_alloc_node", "kmem_cache_free")},
    **{name: f"mmviz.mm.slab_caches:{name}" for name in ("kmem_cache_create", "kmem_cache_shrink")},
    **{name: f"mmviz.kernel:{name}" for name in vars(kernel) if name.startswith("__GFP_")},
    **{name: f"mmviz.mm.extfrag:{name}" for name in (
        "fragmentation_index", "unusable_free_index", "unusable_over_time")},
    **{name: f"mmviz.mm.workload:{name}" for name in ("churn", "give", "take")},
    **{name: f"mmviz.mm.highmem_32:{name}" for name in (
        "kmap", "kmap_atomic", "kmap_local_page", "kunmap", "kunmap_atomic", "kunmap_local")},
    "kmap_to_page": "mmviz.mm.highmem:kmap_to_page", "kmap_flush_unused": "mmviz.mm.highmem:kmap_flush_unused",
    "highmem_events": "mmviz.mm.highmem_events:",
    "load_kmap_log": "mmviz.capture.kmap_log:load_kmap_log", "replay_kmap": "mmviz.capture.kmap_log:replay_kmap",
    "Split": "mmviz.mm.init_32:Split", "find_low_pfn_range": "mmviz.mm.init_32:find_low_pfn_range",
    "i386": "mmviz.mm.boot_32:i386", "kmap_toy": "mmviz.mm.boot_32:kmap_toy",
    "events": "mmviz.mm.events:", "mm": "mmviz.mm:",
    "load_capture": "mmviz.capture.load:load_capture", "replay": "mmviz.capture.replay:replay",
    "timeline": "mmviz.capture.replay:timeline", "read_proc": "mmviz.capture.proc:read_proc",
    "Scene": "mmviz.draw.scene:Scene", "draw_frames": "mmviz.draw.frames:draw_frames",
    "draw_free_area": "mmviz.draw.free_area:draw_free_area", "draw_split_tree": "mmviz.draw.split_tree:draw_split_tree",
    "draw_pcp": "mmviz.draw.pcp:draw_pcp", "draw_watermarks": "mmviz.draw.watermarks:draw_watermarks",
    "draw_calls": "mmviz.draw.calls:draw_calls", "outline": "mmviz.draw.calls:outline",
    "draw_zonelists": "mmviz.draw.zonelists:draw_zonelists", "numa_stat": "mmviz.mm.vmstat:numa_stat",
    "draw_map": "mmviz.draw.map:draw_map", "draw_pageblocks": "mmviz.draw.pageblocks:draw_pageblocks",
    "plot_fragmentation": "mmviz.draw.fragmentation:plot_fragmentation",
    "draw_pkmap": "mmviz.draw.pkmap:draw_pkmap", "draw_fixmap": "mmviz.draw.fixmap:draw_fixmap",
    "draw_address_space": "mmviz.draw.address_space:draw_address_space",
    "Stepper": "mmviz.explore.stepper:Stepper", "film": "mmviz.explore.film:film", "use": "mmviz.explore.page:use",
    "KmapPanel": "mmviz.explore.kmap_panel:KmapPanel",
    "BuddyPanel": "mmviz.explore.buddy_panel:BuddyPanel", "Quiz": "mmviz.explore.quiz:Quiz",
    "Challenge": "mmviz.explore.challenge:Challenge", "Entry": "mmviz.explore.grade:Entry",
    "grade": "mmviz.explore.grade:grade",
    "check": "mmviz.explore.exercise:check", "Compare": "mmviz.explore.compare:Compare",
    "patched": "mmviz.mm.patched:patched", "variant": "mmviz.mm.variants:variant",
    **{f"draw_{name}": f"mmviz.draw.{name}:draw_{name}" for name in ("slab", "cache", "size_classes", "slob_page")},
    "slab_events": "mmviz.mm.slab_events:", "slab_usage": "mmviz.draw.slab_reading:slab_usage",
    "load_slub": "mmviz.capture.slub_rows:load_slub", "replay_slub": "mmviz.capture.slub:replay_slub",
    "read_slabinfo": "mmviz.capture.slabinfo:read_slabinfo", "SlabPanel": "mmviz.explore.slab_panel:SlabPanel",
    "PolicyPanel": "mmviz.explore.policy_panel:PolicyPanel",
    **{name: f"mmviz.capture.graph:{name}" for name in ("read_graph", "compare_calls")},
    **{name: f"mmviz.mm.zonelist:{name}" for name in ("gfp_zone", "gfpflags_to_migratetype")},
    "load_operations": "mmviz.capture.page_table:load_operations", "own_tables": "mmviz.capture.own_process:own_tables",
    "driver_open": "mmviz.mm.driver:driver_open", "vm_mmap_pgoff": "mmviz.mm.util:vm_mmap_pgoff",
    **{name: f"mmviz.capture.page_table:{name}" for name in ("record_operation", "replay_operations")},
    "draw_tables": "mmviz.draw.tables:draw_tables", "draw_walk": "mmviz.draw.walk:draw_walk",
    "draw_address_split": "mmviz.draw.address_split:draw_address_split",
    "draw_address": "mmviz.draw.address:draw_address", "draw_vmas": "mmviz.draw.vmas:draw_vmas",
    "draw_refcounts": "mmviz.draw.refcounts:draw_refcounts",
    "AddressPanel": "mmviz.explore.address_panel:AddressPanel",
    "MappingPanel": "mmviz.explore.mapping_panel:MappingPanel",
    "vm": "mmviz.mm.vm:vm", "access": "mmviz.mm.access:access", "mm_alloc": "mmviz.mm.pgalloc:mm_alloc",
    **{name: f"mmviz.mm.geometry:{name}" for name in ("GEOMETRIES", "address_indices")},
    **{name: f"mmviz.mm.pgtable:{name}" for name in ("frame_of", "vm_get_page_prot", "walk")},
    **{name: f"mmviz.mm.memory:{name}" for name in ("remap_pfn_range", "vm_iomap_memory")},
    "handle_mm_fault": "mmviz.mm.fault:handle_mm_fault", "vm_events": "mmviz.mm.vm_events:",
    **{name: f"mmviz.mm.gup:{name}" for name in (
        "get_user_pages_locked", "get_user_pages_remote", "get_user_pages_unlocked", "put_user_page",
        "put_user_pages", "put_user_pages_dirty_lock")},
    "get_user_pages": "mmviz.mm.gup_longterm:get_user_pages",
    "get_user_pages_fast": "mmviz.mm.gup_fast:get_user_pages_fast",
    **{name: f"mmviz.mm.fork:{name}" for name in ("dup_mm", "mmput")},
    "set_pageblock_migratetype": "mmviz.mm.zone:set_pageblock_migratetype",
    **{name: f"mmviz.mm.swap:{name}" for name in ("lru_add_drain", "page_count")}, "beside": "mmviz.draw.beside:beside",
    "GupPanel": "mmviz.explore.gup_panel:GupPanel",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mmviz' has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    found = import_module(module)
    globals()[name] = getattr(found, attribute) if attribute else found
    return globals()[name]


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])


__all__ = [  # what is here at once; `dir(mmviz)` lists the rest too
    "CaptureError", "Config", "Event", "KernelBug", "MmvizError", "Recording", "ReplayError", "Timeline", "Trace",
    "gfp_name", "kernel", "narrate", "parse_gfp", "record", "sentence", "source_url",
]
