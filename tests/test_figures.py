"""The drawings: right places, hostile labels, missing values, the same bytes again, a page of any colour."""

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from alexnet_sweep.report.canvas import INK, write
from alexnet_sweep.report.figures import (
    Curves,
    Effect,
    Gap,
    Order,
    Pair,
    Step,
    forest,
    gap,
    heatmap,
    learning_curves,
    steps,
)

HOSTILE = [
    r"$\frac{",
    "$a$ _b_ ^c",
    "_begins_with_an_underscore",
    "<script>alert('1')</script> & \"q\" ]]> -->",
    "long/" * 60,
    "one\ntwo\r\n\tthree",
    "🦊 👩‍👩‍👧",
    "Кириллица 漢字かな한글",
    "مرحبا \u202e עברית",
    "\x00\x1b[31m \ud800 \uffff",
    f"{INK} 'DejaVu Sans' 1.23456",
    "",
]


def effects(labels: Sequence[str]) -> Figure:
    rows = [
        Effect(label, 0.01 * n, 0.01 * n - 0.02, 0.01 * n + 0.02, bool(n % 2), 0.01 * n - 0.01, 0.01 * n + 0.01, 0.02)
        for n, label in enumerate(labels)
    ]
    return forest(rows)


def curves(labels: Sequence[str]) -> Figure:
    def seeds(level: float) -> tuple[tuple[float | None, ...], ...]:
        return tuple(tuple(level + seed / 100 + 0.5 / (epoch + 1) for epoch in range(9)) for seed in range(2))

    return learning_curves([Curves(label, seeds(0.2), seeds(0.1), baseline=not n) for n, label in enumerate(labels)])


def orders(labels: Sequence[str]) -> Figure:
    made = tuple(Step(label, 0.5 - 0.01 * n, 0.49 - 0.01 * n, 0.51 - 0.01 * n) for n, label in enumerate(labels))
    return steps([Order("build up", made), Order("take away", made[::-1])])


def interactions(labels: Sequence[str]) -> Figure:
    names = labels[:14]
    return heatmap(names, [Pair(a, b, 0.01, -0.01, 0.03) for n, a in enumerate(names) for b in names[: n + 1]])


def gaps(labels: Sequence[str]) -> Figure:
    return gap([Gap(label, 0.1 + 0.001 * n, 0.2) for n, label in enumerate(labels)])


Draw = Callable[[Sequence[str]], Figure]
every_drawing = pytest.mark.parametrize("draw", [effects, curves, orders, interactions, gaps])


def svg_of(figure: Figure, folder: Path) -> str:
    write(figure, folder, "drawing")
    with Image.open(folder / "drawing.png") as image:
        image.load()
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    text = (folder / "drawing.svg").read_text()
    ElementTree.fromstring(text)
    return text


def words_in(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")]


def named(figure: Figure, gid: str) -> list[Line2D]:
    return [line for axes in figure.axes for line in axes.lines if line.get_gid() == gid]


def across(line: Line2D) -> list[float]:
    return [float(value) for value in line.get_xdata()]  # type: ignore[union-attr, arg-type]


@every_drawing
def test_the_same_data_give_the_same_bytes(draw: Draw, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write(draw(["baseline", "lrn=off", "漢字"]), tmp_path / folder, "drawing")
    for name in ("drawing.svg", "drawing.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["drawing.png", "drawing.svg"]


def test_another_process_and_a_user_s_own_settings_give_the_same_bytes(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
import matplotlib
if sys.argv[1] == "b":
    matplotlib.rcParams.update({"font.size": 20, "lines.linewidth": 9, "axes.grid": True, "svg.fonttype": "path"})
from alexnet_sweep.report.canvas import write
from alexnet_sweep.report.figures import Effect, forest
write(forest([Effect("a", 0.01, 0.0, 0.02, True, 0.005, 0.015, 0.01)]), Path(sys.argv[2]), sys.argv[1])
assert matplotlib.rcParams["font.size"] == (20 if sys.argv[1] == "b" else 10)
"""
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-c", code, name, str(tmp_path)], check=True)
    for ending in ("svg", "png"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_it_imports_neither_torch_nor_pyplot() -> None:
    code = "import sys, alexnet_sweep.report.figures; assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@every_drawing
def test_hostile_labels_are_plain_text(draw: Draw, tmp_path: Path) -> None:
    svg = svg_of(draw(HOSTILE), tmp_path)
    assert "<script" not in svg
    words = " ".join(words_in(svg))
    assert r"$\frac{" in words and "_begins_with_an_" in words and "one two three" in words and "Кириллица" in words


@every_drawing
def test_the_ink_follows_the_page(draw: Draw, tmp_path: Path) -> None:
    svg = svg_of(draw(["a", "b"]), tmp_path)
    assert INK not in svg and "currentColor" in svg
    assert svg.startswith("<svg") and "<!" not in svg  # it can stand in an HTML page as it is
    assert svg.count("<style") == 1 and "svg:root{color:" in svg  # :root is the page where it is inlined
    assert "prefers-color-scheme:dark" in svg and "#000000" not in svg


@every_drawing
@pytest.mark.parametrize("count", [1, 7, 200])
def test_one_row_and_many(draw: Draw, count: int, tmp_path: Path) -> None:
    count = count if draw is effects else min(count, 30)  # 200 of the others only take longer
    figure = draw([f"arm {number}" for number in range(count)])
    svg = svg_of(figure, tmp_path)
    assert "arm 0" in words_in(svg)
    if draw is effects:
        assert figure.get_figheight() > 0.2 * count and f"arm {count - 1}" in words_in(svg)


@every_drawing
def test_ordinary_sizes_are_small(draw: Draw, tmp_path: Path) -> None:
    svg_of(draw([f"model/part{number}=off" for number in range(14)]), tmp_path)
    assert all(path.stat().st_size < 150_000 for path in tmp_path.iterdir())


def test_long_curves_of_many_arms_stay_below_300_kb(tmp_path: Path) -> None:
    def seeds() -> tuple[tuple[float, ...], ...]:
        return tuple(
            tuple(0.3 + 3 / (epoch + 7) + 0.01 * math.sin(7 * epoch + seed) for epoch in range(90)) for seed in range(5)
        )

    write(learning_curves([Curves(f"arm {n}", seeds(), seeds(), not n) for n in range(14)]), tmp_path, "curves")
    assert all(path.stat().st_size < 300_000 for path in tmp_path.iterdir())


@every_drawing
def test_no_label_is_cut_off_or_lies_on_another(draw: Draw) -> None:
    figure = draw(["model/layer.with.a.long.name=and_a_long_level_too", "b", "w" * 300, *"defgh"])
    figure.set_dpi(150)  # at which glyphs are rounded up to whole pixels of the PNG
    figure.draw_without_rendering()
    page = figure.bbox
    labels = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        (left, right), (low, high) = axes.get_xlim(), sorted(axes.get_ylim())
        labels += [axes.title, axes.xaxis.label, axes.yaxis.label]
        labels += [text for text in axes.get_xticklabels() if left <= text.get_position()[0] <= right]
        labels += [text for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high]
    for text in labels:
        if text.get_text() and text.get_visible():
            box = text.get_window_extent()
            assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1 and box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x1 <= page.x1
        for axes in figure.axes:
            assert box.y0 >= axes.title.get_window_extent().y1 or not axes.title.get_text()
            assert box.y0 >= axes.get_window_extent().y1


def test_a_forest_plot_has_each_value_at_its_place(tmp_path: Path) -> None:
    rows = [
        Effect("a", 0.0123, 0.01, 0.02),
        Effect("b", -0.005, -0.02, 0.01, over_seeds=True, low_images=-0.01, high_images=0.0, claimed=0.013),
        Effect("c", 0.0, -0.01, 0.01, claimed=-0.005, like=False),
    ]
    figure = forest(rows)
    (images,), (seeds,), (paper,) = (named(figure, gid) for gid in ("delta False", "delta True", "claimed True"))
    (other,) = named(figure, "claimed False")
    assert (across(other), list(other.get_ydata())) == ([pytest.approx(-0.5)], [2])  # type: ignore[arg-type]
    assert across(images) == pytest.approx([1.23, 0.0]) and across(seeds) == pytest.approx([-0.5])
    assert list(seeds.get_ydata()) == [1]  # type: ignore[arg-type]
    assert (across(paper), list(paper.get_ydata())) == ([pytest.approx(1.3)], [1])  # type: ignore[arg-type]
    assert other.get_marker() != paper.get_marker()
    assert paper.get_markerfacecolor() == "none" and len({images.get_marker(), seeds.get_marker()}) == 2
    bars = [across(line) for line in figure.axes[0].lines if line.get_linewidth() == 3.5]
    assert [bar for bar in bars if len(bar) == 2] == [
        pytest.approx([1, 2]),
        pytest.approx([-1, 1]),
        pytest.approx([-1, 0]),
    ]
    assert [round(value, 6) for line in figure.axes[0].lines if line.get_marker() == "|" for value in across(line)] == [
        -2,
        1,
    ]
    words = words_in(svg_of(figure, tmp_path))
    assert [word for word in words if "interval over" in word] == [
        "95 % interval over images only",
        "95 % interval over images and seeds (thick: images)",
    ]
    assert (
        "the paper's value" in words
        and "the paper's value, not comparable" in words
        and words.index("a") < words.index("b")
    )


def test_an_interval_far_longer_than_the_others_becomes_an_arrow() -> None:
    rows = [Effect(f"{n}", 0.01, 0.005, 0.02, over_seeds=True) for n in range(5)]
    axes = forest([*rows, Effect("wide", 0.01, -0.9, 0.9, over_seeds=True)]).axes[0]
    assert axes.get_xlim()[1] < 10
    assert [line.get_marker() for line in axes.lines if line.get_marker() in ("<", ">")] == ["<", ">"]


def test_all_that_is_equal_still_has_a_width() -> None:
    for figure in (forest([Effect("a", 0.0, 0.0, 0.0)] * 3), gap([Gap("a", 0.1, 0.1)] * 2), orders(["a"])):
        left, right = figure.axes[0].get_xlim()
        assert right - left > 0.5


def test_few_arms_share_a_panel_a_split_and_many_have_one_each() -> None:
    few, many = curves([f"arm {n}" for n in range(6)]), curves([f"arm {n}" for n in range(7)])
    assert [axes.get_title() for axes in few.axes] == ["held-out images", "training images (clean)"]
    assert [axes.get_title() for axes in many.axes] == [f"arm {n}" for n in range(7)]
    lines = [[(line.get_marker(), line.get_linestyle()) for line in named(few, "mean")][:6]]
    assert len(set(lines[0])) == 6  # told apart without colours
    grey = [[line for line in axes.lines if line.get_color() == "#808080"] for axes in many.axes]
    assert all(len(found) == 2 for found in grey)
    limits = {axes.get_ylim() for axes in many.axes}
    assert len(limits) == 1


def test_a_mean_is_of_all_seeds_that_have_begun() -> None:
    seeds = ((0.5, None, 0.3, 0.2), (0.7, 0.6, math.nan), (None, None))
    figure = learning_curves([Curves("a", seeds)])
    (mean,) = named(figure, "mean")
    assert across(mean) == [1] and list(mean.get_ydata()) == pytest.approx([60])  # type: ignore[arg-type]
    thin = [across(line) for line in figure.axes[0].lines if line.get_gid() != "mean"]
    assert thin == [[1, 3, 4], [1, 2], []]


def test_steps_are_joined_in_their_order() -> None:
    figure = orders(["a", "b", "c"])
    first, second = named(figure, "error")
    assert across(first) == pytest.approx([50, 49, 48]) and across(second) == pytest.approx([48, 49, 50])
    assert first.get_marker() != second.get_marker() and first.get_linestyle() != second.get_linestyle()
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_cells_that_leave_out_zero_are_framed_and_missing_ones_blank() -> None:
    pairs = [Pair("b", "a", 0.0123, 0.01, 0.02), Pair("c", "a", -0.02, -0.05, 0.01), Pair("c", "b", None, 0.1, 0.2)]
    axes = heatmap(["a", "b", "c"], pairs).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["+1.23", "[+1.00, +2.00]", "−2.00", "[−5.00, +1.00]"]
    assert [text.get_fontweight() for text in axes.texts] == ["bold", "normal", "normal", "normal"]
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle) and not patch.get_fill()]
    assert len(axes.patches) == 3 and len(frames) == 1


def test_colours_are_symmetric_around_zero() -> None:
    def colour(value: float) -> tuple[float, ...]:
        figure = heatmap(["a", "b"], [Pair("a", "a", value), Pair("a", "b", 0.04), Pair("b", "b", -0.04)])
        return tuple(figure.axes[0].patches[0].get_facecolor())  # type: ignore[arg-type]

    red, green, blue, _ = colour(0.0)
    assert max(red, green, blue) - min(red, green, blue) < 0.02
    assert colour(0.04)[0] > 0.8 > 0.1 > colour(-0.04)[0]


def test_a_gap_joins_training_and_test_error() -> None:
    figure = gap([Gap("a", 0.1, 0.25), Gap("b", None, 0.3)])
    (train,), (test,) = named(figure, "train"), named(figure, "test")
    assert across(train)[0] == pytest.approx(10) and math.isnan(across(train)[1])
    assert across(test) == pytest.approx([25, 30]) and train.get_marker() != test.get_marker()


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: forest([]), "rows of the forest plot"),
        (lambda: learning_curves([]), "arms of the learning curves"),
        (lambda: steps([]), "orders of the cumulative curve"),
        (lambda: steps([Order("build up", ())]), "steps of 'build up'"),
        (lambda: heatmap([], []), "labels of the heat map"),
        (lambda: heatmap(["a"], []), "pairs of the heat map"),
        (lambda: gap([]), "rows of the gap"),
    ],
)
def test_nothing_to_draw_is_named(draw: Callable[[], Figure], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw()


any_figure = st.none() | st.floats()


@settings(max_examples=8)
@given(
    st.lists(st.builds(Effect, st.text(), *[any_figure] * 3, st.booleans(), *[any_figure] * 3), min_size=1, max_size=4)
)
def test_any_effects_can_be_drawn(tmp_path_factory: pytest.TempPathFactory, rows: list[Effect]) -> None:
    figure = forest(rows)
    svg_of(figure, tmp_path_factory.mktemp("effects"))
    assert all(math.isfinite(limit) for limit in figure.axes[0].get_xlim())


@settings(max_examples=8)
@given(st.text(max_size=600), st.lists(st.lists(any_figure, max_size=5).map(tuple), max_size=3).map(tuple))
def test_any_label_and_curve_can_be_written(
    tmp_path_factory: pytest.TempPathFactory, label: str, seeds: tuple[tuple[float | None, ...], ...]
) -> None:
    svg_of(learning_curves([Curves(label, seeds, seeds[1:])]), tmp_path_factory.mktemp("curves"))
