"""Drawings made of images: everything is there once, and what is written reads back."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from alexnet_sweep.kernels import Kernels, for_viewing
from alexnet_sweep.report.canvas import write
from alexnet_sweep.report.pictures import Answered, Found, Query, answers_panel, kernel_grid, neighbours_panel


def layer(count: int, side: int = 3, columns: int = 2) -> Kernels:
    """Kernels whose pictures are all different."""
    rng = np.random.default_rng(count)
    return Kernels("conv1", rng.normal(size=(count, 3, side, side)).astype(np.float32), columns)


def images(figure: Any) -> list[NDArray[np.uint8]]:
    return [np.asarray(shown.get_array()) for axes in figure.axes for shown in axes.get_images()]


def picture(shade: int, side: int = 4) -> NDArray[np.uint8]:
    return np.full((side, side, 3), shade, np.uint8)


def texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@settings(max_examples=15)
@given(st.integers(1, 70), st.sampled_from([3, 5, 11]))
def test_the_grid_holds_each_kernel_once_in_its_half(count: int, side: int) -> None:
    kernels = layer(count, side)
    grids = images(kernel_grid(kernels))
    halves = [for_viewing(kernels.weights)[half] for half in (slice(0, count // 2), slice(count // 2, None))]
    halves = [half for half in halves if len(half)]
    assert len(grids) == len(halves)
    for grid, half in zip(grids, halves, strict=True):
        zoom = max(1, -(-24 // side))
        seen = grid[grid[..., 3] == 255][:, :3]
        colours, times = np.unique(seen, axis=0, return_counts=True)
        wanted, often = np.unique(half.reshape(-1, 3), axis=0, return_counts=True)
        np.testing.assert_array_equal(colours, wanted)
        np.testing.assert_array_equal(times, often * zoom**2)
        np.testing.assert_array_equal(grid[: zoom * side : zoom, : zoom * side : zoom, :3], half[0])  # in its place


def test_titles_name_kernels_and_halves() -> None:
    shown = texts(kernel_grid(layer(24), ("GPU 1", "GPU 2")))
    assert {"GPU 1: kernels 1 to 12", "GPU 2: kernels 13 to 24", "GPU 1", "GPU 2"} <= set(shown)


def test_kernels_of_zeros_are_drawn_without_a_colour() -> None:
    kernels = Kernels("conv1", np.zeros((4, 3, 5, 5), np.float32), 1)
    assert len(images(kernel_grid(kernels))) == 2
    with pytest.raises(ValueError, match="there are no kernels"):
        kernel_grid(Kernels("conv1", np.zeros((0, 3, 5, 5), np.float32), 1))


def test_bars_are_as_long_as_probabilities_and_the_label_is_marked() -> None:
    one = Answered(picture(9), "cat", ("dog", "cat", "a $\\b_c$ <&>"), (0.625, 0.25, 0.125))
    other = Answered(picture(7), "owl", ("dog",), (1.0,))
    figure = answers_panel([one, other])
    widths = [patch.get_width() for axes in figure.axes for patch in axes.patches]
    assert sorted(width for width in widths if width < 1) == [0.125, 0.25, 0.625]
    shown = texts(figure)
    assert {"cat", "owl", "dog", "cat ✓", "a $\\b_c$ <&>", "62.5", "25.0", "12.5"} <= set(shown)
    assert "dog ✓" not in shown and "owl ✓" not in shown


def test_neighbours_of_the_same_class_have_another_frame() -> None:
    near = tuple(Found(picture(shade), name) for shade, name in ((1, "cat"), (2, "dog"), (3, "cat")))
    figure = neighbours_panel([Query(picture(0), "cat", (("fc7", near), ("pixels", near[:1])))])
    assert [int(shown[0, 0, 0]) for shown in images(figure)] == [0, 1, 2, 3, 1]
    (axes,) = figure.axes
    places = [shown.get_extent()[0] for shown in axes.get_images()]
    frames = {patch.get_x(): patch.get_edgecolor() for patch in axes.patches}
    assert len(axes.patches) == 4 and places[0] not in frames  # the query has none
    assert frames[places[1]] == frames[places[3]] != frames[places[2]]


@pytest.mark.parametrize("kind", ["kernels", "answers", "neighbours"])
def test_the_same_drawing_is_the_same_bytes_with_all_its_colours(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)
    made = {
        "kernels": lambda: kernel_grid(layer(40, 5)),
        "answers": lambda: answers_panel([Answered(noise, "cat", ("cat",), (1.0,))]),
        "neighbours": lambda: neighbours_panel([Query(noise, "cat", (("fc7", (Found(noise, "cat"),)),))]),
    }[kind]
    files = []
    for name in ("one", "two"):
        write(made(), tmp_path / name, kind, photographs=True)
        files.append([(tmp_path / name / f"{kind}.{suffix}").read_bytes() for suffix in ("svg", "png")])
    assert files[0] == files[1]
    image = Image.open(io.BytesIO(files[0][1]))
    assert image.mode == "RGB" and len(image.getcolors(2**20) or []) > 256
