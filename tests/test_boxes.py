"""Boxes of random area and shape: inside the image, as asked for, and distributed as torchvision's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import RandomResizedCrop

from alexnet_sweep.data.boxes import draw_boxes

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)


@given(
    st.integers(4, 300),
    st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)).map(sorted),
    st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0)).map(sorted),
)
def test_every_box_lies_in_the_image_and_has_a_pixel(side: int, area: list[float], aspect: list[float]) -> None:
    tops, lefts, heights, widths = draw_boxes(np.random.default_rng(0), 50, side, area, aspect).T
    assert (tops >= 0).all() and (lefts >= 0).all() and (heights >= 1).all() and (widths >= 1).all()
    assert (tops + heights <= side).all() and (lefts + widths <= side).all()


def test_areas_shapes_and_places_are_those_of_torchvision() -> None:
    side, count = 256, 3000
    torch.manual_seed(0)
    theirs = RandomResizedCrop(224, AREA, ASPECT)
    made = [theirs.make_params([torch.empty(3, side, side)]) for _ in range(count)]
    expected = np.array([[box[key] for key in ("top", "left", "height", "width")] for box in made])
    found = draw_boxes(np.random.default_rng(1), count, side, AREA, ASPECT)

    def figures(boxes: np.ndarray) -> np.ndarray:
        tops, lefts, heights, widths = boxes.T / side
        return np.stack([heights * widths, np.log(widths / heights), tops, lefts])

    for ours, their in zip(figures(found), figures(expected), strict=True):
        levels = np.linspace(0.05, 0.95, 10)
        assert np.quantile(ours, levels) == pytest.approx(np.quantile(their, levels), abs=0.03)


def test_what_never_fits_is_the_largest_box_of_a_fitting_shape() -> None:
    wide = draw_boxes(np.random.default_rng(0), 5, 30, (1.0, 1.0), (3.0, 3.0))
    assert wide[:, 2:].tolist() == [[10, 30]] * 5
    tall = draw_boxes(np.random.default_rng(0), 5, 30, (1.0, 1.0), (1 / 3, 1 / 3))
    assert tall[:, 2:].tolist() == [[30, 10]] * 5


def test_an_image_has_its_own_draws_whichever_of_the_others_fit() -> None:
    one, other = (draw_boxes(np.random.default_rng(0), 40, 64, area, ASPECT) for area in ((0.3, 1.0), (0.3, 1.0)))
    assert np.array_equal(one, other) and len(np.unique(one, axis=0)) > 30
