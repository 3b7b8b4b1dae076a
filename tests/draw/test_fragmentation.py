"""The plot of fragmentation over time."""
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

import mmviz as mv
from mmviz.draw import style
from mmviz.draw.fragmentation import GAP, HIGHEST, LOWEST, _apart


@pytest.fixture(scope="module")
def series():
    line = mv.Timeline(mv.toy(4), range(40), lambda machine, _: mv.alloc_pages(machine, mv.GFP_KERNEL, 4))
    return mv.unusable_over_time(line, (1, 4, 6, 9), points=20)


def test_a_curve_for_each_order_and_its_values(series):
    (ax,) = mv.plot_fragmentation(series).figure.axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[value / 1000 for value in index]
                                                             for index in series.unusable.values()]
    assert all(list(line.get_xdata()) == list(series.at) for line in ax.lines)
    assert {text.get_text(): text.get_color() for text in ax.texts} == {
        f"order {order}": stroke.ink for order, stroke in zip(series.unusable, style.STROKES, strict=False)}
    assert [line.get_marker() for line in ax.lines] == [stroke.marker for stroke in style.STROKES[:4]]


def test_the_ground_is_the_share_of_free_pages(series):
    (ground,) = mv.plot_fragmentation(series).figure.axes[0].patches
    assert ground.get_xy()[1:-2, 1].tolist() == [pages / 1024 for pages in series.free_pages]


def test_the_same_series_gives_the_same_bytes_without_a_date(series):
    one, other = mv.plot_fragmentation(series), mv.plot_fragmentation(series)
    assert one.svg() == other.svg() == one.svg()
    assert "dc:date" not in one.svg() and "Matplotlib" not in one.svg()


def test_the_svg_is_well_formed_small_and_keeps_its_texts(series):
    text = mv.plot_fragmentation({"on": series, "off": series}).svg()
    said = {element.text for element in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")}
    assert {"order 1", "order 9", "off", "0.25", "0.75"} <= said and len(text) < 30_000


def test_in_a_notebook_it_is_an_image_with_words(series):
    data = mv.plot_fragmentation(series)._repr_mimebundle_()
    assert data["text/plain"] == "Plot(1 panel)" and data["text/html"].startswith("<img src=")
    assert "order 9 from 0.000 to at most 1.000, at the end 1.000" in data["text/html"]


def test_it_paints_into_an_axes_and_writes_files(series, tmp_path):
    ax = Figure().subplots()
    plot = mv.plot_fragmentation(series, ax)
    assert plot.figure is ax.figure and len(ax.lines) == 4
    for kind in ("pdf", "svg", "png"):
        plot.savefig(tmp_path / f"a.{kind}")
        assert (tmp_path / f"a.{kind}").stat().st_size > 1000


def test_what_cannot_be_plotted(series):
    with pytest.raises(ValueError, match="at least one in all, got 0"):
        mv.plot_fragmentation({})
    with pytest.raises(ValueError, match="one series for one ax"):
        mv.plot_fragmentation({"a": series, "b": series}, Figure().subplots())
    with pytest.raises(ValueError, match="tells 5 orders apart, got 6"):
        mv.plot_fragmentation(series._replace(unusable=dict.fromkeys(range(6), series.free_pages)))


@pytest.mark.parametrize("ends", [[0, 0, 0], [1, 1, 1, 1], [0.5, 0.1, 0.52], [1, 0, 0.99, 1], [0.3]])
def test_names_do_not_stand_on_each_other_and_keep_their_order(ends):
    places = _apart(ends)
    ranked = sorted(range(len(ends)), key=lambda which: (ends[which], which))
    assert all(places[b] - places[a] > GAP - 1e-9 for a, b in pairwise(ranked))
    assert all(LOWEST <= place <= HIGHEST + 1e-9 for place in places)
