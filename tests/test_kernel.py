"""What v5.4 fixes: bits and names, zones of a mask, and where a symbol stands in the source."""
import pytest

import mmviz as mv
from mmviz import kernel
from mmviz.kernel import I386, Config, gfp_name, kernel_symbols, parse_gfp, source_url


@pytest.mark.parametrize("name, value", [
    ("GFP_KERNEL", 0xCC0), ("GFP_ATOMIC", 0xA20), ("GFP_NOWAIT", 0x800), ("GFP_NOIO", 0xC00), ("GFP_NOFS", 0xC40),
    ("GFP_USER", 0x100CC0), ("GFP_HIGHUSER", 0x100CC2), ("GFP_HIGHUSER_MOVABLE", 0x100CCA),
    ("GFP_TRANSHUGE_LIGHT", 0x1C20CA), ("GFP_TRANSHUGE", 0x1C24CA), ("__GFP_RECLAIM", 0xC00),
    ("GFP_KERNEL_ACCOUNT", 0x400CC0), ("GFP_DMA", 1), ("GFP_DMA32", 4), ("__GFP_NOLOCKDEP", 0x800000)])
def test_masks_have_the_values_of_v5_4(name, value):
    assert getattr(kernel, name) == value == parse_gfp(name)


@pytest.mark.parametrize("mask, text", [
    (0, "none"), (0xCC0, "GFP_KERNEL"), (0xDC0, "GFP_KERNEL|__GFP_ZERO"), (0x400DC0, "GFP_KERNEL_ACCOUNT|__GFP_ZERO"),
    (0x100CCA, "GFP_HIGHUSER_MOVABLE"), (0x1C20CA, "GFP_TRANSHUGE_LIGHT"), (0x1C24CA, "GFP_TRANSHUGE"),
    (0xCC1, "GFP_KERNEL|GFP_DMA"), (0x400, "__GFP_DIRECT_RECLAIM"), (0x1000CC0, "GFP_KERNEL|0x1000000")])
def test_a_mask_in_words_and_back(mask, text):
    assert gfp_name(mask) == text and parse_gfp(text) == mask


def test_every_mask_can_be_read_back():
    for mask in (*range(0, 1 << 24, 4099), (1 << 24) - 1):
        assert parse_gfp(gfp_name(mask)) == mask


@pytest.mark.parametrize("text", ["GFP_KERNAL", "", "GFP_KERNEL|", "12", "GFP_ZONEMASK"])
def test_a_word_that_is_no_flag(text):
    with pytest.raises(ValueError, match=r"gfp flag must be a name of include/linux/gfp.h at v5.4, got "):
        parse_gfp(text)


# ---------------------------------------------------------------- Config


X86 = ("Normal", "DMA", "Normal", None, "DMA32", None, None, None,
       "Normal", "DMA", "Movable", None, "DMA32", None, None, None)
I386_TABLE = ("Normal", "DMA", "HighMem", None, "Normal", None, None, None,
              "Normal", "DMA", "Movable", None, "Normal", None, None, None)


@pytest.mark.parametrize("config, table", [(Config(), X86), (I386, I386_TABLE)], ids=["x86-64", "i386"])
def test_the_zone_of_the_low_four_bits(config, table):
    names = [None if index < 0 else config.zone_names[index] for index in config.gfp_zone_table]
    assert names == list(table)


@pytest.mark.parametrize("config, packed, shift", [(Config(), 0x1320122, 0), (I386, 0x1310121, 0)])
def test_the_packed_table_of_the_kernel(config, packed, shift):
    """GFP_ZONE_TABLE: two bits an entry, by mask, for the masks that are allowed (0, 1, 2, 4, 8, 9, 10, 12)."""
    table = sum(index << 2 * bits for bits, index in enumerate(config.gfp_zone_table) if index >= 0)
    assert table == packed


def test_types_have_their_names():
    assert Config().migrate_names == ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate")
    five = Config(migrate_types=5, migrate_cma=None, migrate_isolate=4)
    assert five.migrate_names[4:] == ("Isolate",)
    assert Config(migrate_types=4, migrate_cma=None, migrate_isolate=None).migrate_names[3:] == ("HighAtomic",)


def test_a_pageblock_is_two_to_the_order():
    assert Config().pageblock_nr_pages == 512 and I386.pageblock_nr_pages == 1024


def test_a_config_is_frozen_and_compares_by_value():
    assert Config() == Config() != I386 and hash(Config()) == hash(Config())
    with pytest.raises(AttributeError):
        Config().numa = False


# ---------------------------------------------------------------- the source


def test_a_symbol_has_a_place_in_the_source():
    assert source_url("__rmqueue_smallest").startswith("https://elixir.bootlin.com/linux/v5.4/source/mm/page_alloc.c#L")
    assert source_url("no_such_function") is None


def test_without_the_data_there_are_no_places(monkeypatch, tmp_path):
    kernel_symbols.cache_clear()
    monkeypatch.setattr(kernel, "DATA", tmp_path)
    try:
        assert source_url("expand") is None
    finally:
        kernel_symbols.cache_clear()


# ---------------------------------------------------------------- import mmviz as mv


def test_the_constants_stand_in_the_package_by_their_names():
    assert mv.__GFP_ZERO == 0x100 and mv.GFP_KERNEL == 0xCC0 and mv.PF_MEMALLOC == 0x800


def test_a_name_that_is_not_there():
    for name in ("GFP_MAGIC", "nothing"):
        with pytest.raises(AttributeError, match=f"module 'mmviz' has no attribute '{name}'"):
            getattr(mv, name)
