"""How much of a kernel is colour, and how far apart two halves of a layer are."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from safetensors.numpy import save_file

from alexnet_sweep.errors import FolderError
from alexnet_sweep.kernels import OF_NOISE, Kernels, colour_of, columns_of, for_viewing, halves_of, read_kernels

Weights = NDArray[np.float32]
VALUES = st.integers(-8, 8).map(lambda number: number / 2)


def kernels(count: int = 5, side: int = 3, seed: int = 0) -> Weights:
    return np.random.default_rng(seed).normal(size=(count, 3, side, side)).astype(np.float32)


def test_colour_by_hand() -> None:
    pixels = np.array(
        [
            [1, 1, 1],  # grey: all 3 of its energy on the axis
            [1, -1, 0],  # no brightness: nothing on it
            [1, 0, 0],  # one of three: 1/3 on it
            [2, 1, 0],  # 5 in all, (2+1)²/3 = 3 on it
        ],
        np.float32,
    )
    np.testing.assert_allclose(colour_of(pixels[:, :, None, None]), [0, 1, 2 / 3, 2 / 5], atol=1e-12)
    # Energies add up over pixels: 3 of grey and 2 without brightness.
    both = np.stack([pixels[0], pixels[1]], axis=1)[None, :, :, None]
    np.testing.assert_allclose(colour_of(both), [2 / 5])


@given(arrays(np.float32, (4, 1, 3, 3), elements=VALUES))
def test_grey_kernels_have_none(grey: Weights) -> None:
    colour = colour_of(np.repeat(grey, 3, axis=1))
    there = grey.any(axis=(1, 2, 3))
    np.testing.assert_allclose(colour[there], 0, atol=1e-12)
    assert np.isnan(colour[~there]).all()


@given(arrays(np.float32, (4, 3, 3, 3), elements=VALUES), st.integers(-60, 60).map(lambda power: 2.0**power))
def test_neither_scale_nor_places_nor_the_order_of_colours_matter(weights: Weights, scale: float) -> None:
    colour = colour_of(weights)
    there = ~np.isnan(colour)
    assert ((colour[there] >= 0) & (colour[there] <= 1 + 1e-12)).all()
    np.testing.assert_allclose(colour_of(weights * np.float32(-scale)), colour, atol=1e-9)
    np.testing.assert_allclose(colour_of(weights[:, [2, 0, 1]]), colour, atol=1e-9)
    np.testing.assert_allclose(colour_of(weights[:, :, ::-1].transpose(0, 1, 3, 2)), colour, atol=1e-9)


def test_noise_has_two_thirds() -> None:
    assert abs(colour_of(kernels(400, 11)).mean() - OF_NOISE) < 0.005


# --- halves ---


def test_halves_agree_with_every_way_to_share_kernels_out() -> None:
    colour = np.array([0.1, 0.2, 0.15, 0.7, 0.9, 0.3, 0.8])
    found = halves_of(colour, 3)
    every = []
    for chosen in itertools.combinations(range(7), 3):
        rest = [place for place in range(7) if place not in chosen]
        every.append(abs(colour[list(chosen)].mean() - colour[rest].mean()))
    assert found.first == pytest.approx(0.15) and found.second == pytest.approx(0.675)
    assert found.difference == pytest.approx(0.525)
    assert found.by_chance == pytest.approx(np.mean(every), abs=0.005)
    assert found.p == pytest.approx(np.mean(np.array(every) >= 0.525 - 1e-9), abs=0.01)
    assert halves_of(colour, 3) == found


def test_halves_that_are_alike_and_halves_that_could_not_be_further_apart() -> None:
    assert halves_of(np.full(8, 0.4), 4).p == 1
    apart = halves_of(np.repeat([0.0, 1.0], 24), 24)
    assert apart.difference == 1 and apart.p == pytest.approx(1e-4)
    assert halves_of(np.repeat([1.0, 0.0], 24), 24).difference == apart.difference  # GPUs may change places


def test_kernels_without_a_colour_do_not_count() -> None:
    colour = np.array([0.1, np.nan, 0.3, 0.5, np.nan, 0.7])
    found, whole = halves_of(colour, 3), halves_of(np.array([0.1, 0.3, 0.5, 0.7]), 2)
    assert found == whole
    none = halves_of(np.array([0.1, 0.2, np.nan, np.nan]), 2)
    assert none.first == pytest.approx(0.15) and np.isnan([none.second, none.difference, none.p]).all()


# --- pictures ---


@given(arrays(np.float32, (3, 3, 2, 2), elements=VALUES), st.floats(1e-3, 1e3))
def test_each_kernel_is_seen_at_its_own_scale(weights: Weights, scale: float) -> None:
    seen = for_viewing(weights)
    assert seen.shape == (3, 2, 2, 3)
    there = weights.any(axis=(1, 2, 3))
    assert (np.abs(seen[there].astype(int) - 127.5).max(axis=(1, 2, 3)) == 127.5).all()
    assert (seen[~there] == 128).all()
    np.testing.assert_allclose(for_viewing(weights * np.float32(scale)).astype(int), seen, atol=1)


# --- reading ---


def configured(name: str = "alexnet", columns: int = 2, custom: Any = None) -> dict[str, Any]:
    return {"model": {"net": {"name": name, "custom": custom}, "topology": {"columns": columns}}}


def test_the_first_layer_is_read_from_the_weights(tmp_path: Path) -> None:
    conv1 = kernels(6, 5)
    save_file({"conv1.weight": conv1, "conv2.weight": np.ones((4, 3, 5, 5), np.float32)}, tmp_path / "w")
    found = read_kernels(tmp_path / "w", configured())
    assert found is not None and found.layer == "conv1" and found.columns == 2 and found.first_half == 3
    np.testing.assert_array_equal(found.weights, conv1)


def test_a_net_of_ones_own_is_seen_by_the_layer_that_sees_three_colours(tmp_path: Path) -> None:
    own = {
        "stem.0.weight": kernels(4),
        "body.weight": np.ones((8, 4, 3, 3), np.float32),
        "z.bias": np.ones(3, np.float32),
    }
    save_file(own, tmp_path / "w")
    found = read_kernels(tmp_path / "w", configured(custom={"_target_": "mine.Net"}))
    assert found is not None and found.layer == "stem.0" and found.columns == 1
    save_file({"fc.weight": np.ones((2, 12), np.float32)}, tmp_path / "flat")
    assert read_kernels(tmp_path / "flat", configured()) is None


def test_missing_and_damaged_weights_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"^[^\n]*not there; checkpoint.keep=weights[^\n]*$"):
        read_kernels(tmp_path / "none", configured())
    (tmp_path / "cut").write_bytes(b"\x10\x00")
    with pytest.raises(FolderError, match=r"^[^\n]*cannot be read[^\n]*$"):
        read_kernels(tmp_path / "cut", configured())


def test_only_alexnet_is_spread_over_gpus() -> None:
    assert columns_of(configured()) == 2 and columns_of(configured(columns=1)) == 1
    assert columns_of(configured("conv_pool")) == 1  # whose config has columns that it does not read
    assert columns_of({}) == 1


def test_an_odd_layer_has_its_smaller_half_first() -> None:
    assert Kernels("conv1", kernels(5), 1).first_half == 2
