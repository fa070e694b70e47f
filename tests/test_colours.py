"""Sums over images are exact: whatever their order and grouping."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep.data.colours import Sums


def pixels(seed: int, count: int, side: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


@given(st.integers(0, 1000), st.lists(st.integers(0, 12), max_size=4))
def test_grouping_changes_no_digit(seed: int, cuts: list[int]) -> None:
    images = pixels(seed, 12)
    total = Sums.none(5)
    for part in np.split(images, sorted(cuts)):
        total += Sums.of(part)
    whole = Sums.of(images[::-1])
    assert total.images == whole.images == 12
    assert np.array_equal(total.pixels, whole.pixels) and np.array_equal(total.products, whole.products)


@given(st.integers(0, 1000))
def test_sums_are_those_of_whole_numbers(seed: int) -> None:
    images = pixels(seed, 7)
    found, flat = Sums.of(images), images.transpose(1, 0, 2, 3).reshape(3, -1).astype(object)
    assert found.products.tolist() == np.triu(flat @ flat.T).astype(np.int64).tolist()
    assert np.array_equal(found.pixels, images.astype(np.int64).sum(0))


def test_the_brightest_images_overflow_nothing() -> None:
    white = np.full((300, 3, 64, 64), 255, np.uint8)
    found = Sums.of(white)
    assert found.pixels.max() == 300 * 255 and found.products[0, 2] == 300 * 64 * 64 * 255**2
    assert abs(found.colours()[0]).max() < 1e-6
