"""Crops, mirrors, colour noise and views, against slices and formulae written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_sweep import augment
from alexnet_sweep.augment import (
    central_offset,
    centre_view,
    crop,
    cut,
    lighting_shift,
    mirror,
    prepare,
    take_views,
    views_of,
)
from alexnet_sweep.config import LightingConfig


def noise(batch: int, side: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, 3, side, side), generator=generator, dtype=torch.uint8)


def as_bytes(images: torch.Tensor) -> bytes:
    return images.contiguous().numpy().tobytes()


def lighting(scale: str, coefficient: float = 0.1) -> LightingConfig:
    return LightingConfig(coefficient=coefficient, scale=scale, divide=False)


def some_colours() -> tuple[torch.Tensor, torch.Tensor]:
    """ILSVRC's eigenvalues on the 0–255 scale, and a turned basis."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    return torch.tensor([121.78**2, 37.094**2, 19.721**2]), torch.tensor(basis, dtype=torch.float32)


@settings(max_examples=30)
@given(st.integers(1, 9), st.lists(st.booleans(), min_size=1, max_size=4), st.integers(0, 99))
def test_mirroring_twice_is_identity(side, flags, seed):
    images, chosen = noise(len(flags), side, seed), torch.tensor(flags)
    assert torch.equal(mirror(mirror(images, chosen), chosen), images)


def test_only_flagged_images_are_mirrored_and_left_to_right():
    images = noise(2, 4)
    mirrored = mirror(images, torch.tensor([False, True]))
    assert torch.equal(mirrored[0], images[0])
    for column in range(4):
        assert torch.equal(mirrored[1, :, :, column], images[1, :, :, 3 - column])


@settings(max_examples=40)
@given(st.data())
def test_crop_equals_slicing(data):
    side = data.draw(st.integers(1, 12))
    size = data.draw(st.integers(1, side))
    offsets = st.lists(st.integers(0, side - size), min_size=3, max_size=3)
    tops, lefts = data.draw(offsets), data.draw(offsets)
    images = noise(3, side)
    cropped = crop(images, torch.tensor(tops), torch.tensor(lefts), size)
    assert cropped.dtype == torch.uint8
    for index, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        assert torch.equal(cropped[index], images[index, :, top : top + size, left : left + size])


@pytest.mark.parametrize("side", [10, 9])
def test_ten_views_are_the_corners_the_centre_and_their_mirrors(side):
    images, size = noise(2, side), 6
    end, middle = side - size, central_offset(side, size)
    places = [(0, 0), (0, end), (end, 0), (end, end), (middle, middle)]
    straight = [images[..., top : top + size, left : left + size] for top, left in places]
    expected = {as_bytes(view) for view in straight} | {as_bytes(view.flip(3)) for view in straight}
    views = take_views(images, size, mirrored=True)
    assert views.shape == (10, 2, 3, 6, 6)
    assert len(expected) == 10
    assert {as_bytes(view) for view in views} == expected


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize(("stored", "size"), [(9, 6), (8, 5), (7, 6), (256, 224), (32, 27), (6, 6)])
def test_the_view_called_centre_is_the_central_crop(stored, size, mirrored):
    images = noise(1, stored)
    views = views_of(stored, size, mirrored)
    offset = torch.tensor([central_offset(stored, size)])
    taken = take_views(images, size, mirrored)
    assert len(taken) == views.count
    assert torch.equal(taken[views.centre], crop(images, offset, offset, size))
    assert torch.equal(centre_view(images, size), taken[views.centre])


def test_five_views_without_mirrors():
    assert views_of(32, 27, mirrored=False).count == 5
    assert len(take_views(noise(1, 9), 6, mirrored=False).unique(dim=0)) == 5


def test_without_room_for_crops_only_mirrors_are_left():
    images = noise(2, 6)
    both, one = take_views(images, 6, mirrored=True), take_views(images, 6, mirrored=False)
    assert views_of(6, 6, mirrored=True).count == 2
    assert torch.equal(both, torch.stack([images, images.flip(3)]))
    assert views_of(6, 6, mirrored=False).count == 1
    assert torch.equal(one, images[None])


def test_central_offset_of_the_paper_is_sixteen():
    assert central_offset(256, 224) == 16


def test_the_papers_ten_views_start_at_0_16_and_32_and_are_mirrored():
    row, column = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    images = torch.stack([row * 0, row, column])[None].to(torch.uint8)
    views = take_views(images, 224, mirrored=True)[:, 0]
    places = [(int(view[1, 0, 0]), int(view[2, 0].min())) for view in views]
    assert sorted(places[:5]) == [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]
    assert places[5:] == places[:5]
    assert [bool(view[2, 0, 0] > view[2, 0, -1]) for view in views] == [False] * 5 + [True] * 5


@pytest.mark.parametrize(
    ("scale", "levels"), [("sqrt_eigenvalue", [12.2, 3.7, 2.0]), ("eigenvalue", [5.8, 0.54, 0.15])]
)
def test_ilsvrcs_colours_move_by_so_many_grey_levels(scale, levels):
    eigenvalues, _ = some_colours()
    shift = lighting_shift(torch.eye(3), eigenvalues, torch.eye(3), lighting(scale))
    assert shift.diagonal().tolist() == pytest.approx(levels, rel=0.03)


@pytest.mark.parametrize("scale", ["sqrt_eigenvalue", "eigenvalue"])
def test_colour_shift_is_the_paper_formula(scale):
    eigenvalues, eigenvectors = some_colours()
    alphas = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    shift = lighting_shift(alphas, eigenvalues, eigenvectors, lighting(scale))
    for image in range(4):
        for channel in range(3):
            total = 0.0
            for component in range(3):
                value = float(eigenvalues[component])
                # As run: roots, on 0–255. As printed: eigenvalues of [0, 1] pixels, carried back to 0–255.
                spread = math.sqrt(value) if scale == "sqrt_eigenvalue" else value / 255**2 * 255
                total += 0.1 * float(alphas[image, component]) * spread * float(eigenvectors[channel, component])
            assert float(shift[image, channel]) == pytest.approx(total, rel=1e-4, abs=1e-4)


def test_root_form_has_the_covariance_of_the_pixels_times_the_coefficient_squared():
    eigenvalues, eigenvectors = some_colours()
    alphas = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(2))
    shift = lighting_shift(alphas, eigenvalues, eigenvectors, lighting("sqrt_eigenvalue", 0.2)).double()
    along = eigenvectors.double().T @ torch.cov(shift.T) @ eigenvectors.double()
    expected = 0.2**2 * eigenvalues.double()
    assert torch.allclose(along.diagonal(), expected, rtol=0.02)
    correlations = along / (expected.sqrt()[:, None] * expected.sqrt())
    assert (correlations - torch.eye(3)).abs().max() < 0.02


def test_rounding_below_zero_in_an_eigenvalue_does_no_harm():
    eigenvalues, eigenvectors = torch.tensor([10.0, 0.0, -1e-9]), torch.eye(3)
    shift = lighting_shift(torch.ones(1, 3), eigenvalues, eigenvectors, lighting("sqrt_eigenvalue"))
    assert torch.isfinite(shift).all()


def test_network_input_is_not_clamped():
    images = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 2, 2)
    shift = torch.tensor([[-40.0, 0.0, 40.0]] * 2)
    inputs = prepare(images, torch.full((3, 2, 2), 5.0), 1.0, shift)
    assert inputs.dtype == torch.float32
    assert inputs[:, :, 0, 0].tolist() == [[-45.0, -5.0, 35.0], [210.0, 250.0, 290.0]]


def test_mean_and_shift_are_scaled_with_the_pixels():
    images, mean = noise(2, 3), torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(3)) * 255
    shift = torch.tensor([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]])
    expected = (images.double() - mean.double() + shift.double()[:, :, None, None]) / 1.1 / 57.0
    inputs = prepare(images, mean, 57.0, shift, scale=1 / 1.1)
    assert torch.allclose(inputs.double(), expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=30)
@given(st.data())
def test_cutting_is_cropping_and_then_mirroring(data):
    side = data.draw(st.integers(1, 12))
    size = data.draw(st.integers(1, side))
    offsets = st.lists(st.integers(0, side - size), min_size=3, max_size=3)
    tops, lefts = torch.tensor(data.draw(offsets)), torch.tensor(data.draw(offsets))
    flags = torch.tensor(data.draw(st.lists(st.booleans(), min_size=3, max_size=3)))
    images = noise(3, side)
    assert torch.equal(cut(images, tops, lefts, flags, size), mirror(crop(images, tops, lefts, size), flags))


@pytest.mark.parametrize("cached", [1, 60, 10_000])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_neither_order_in_memory_nor_parts_change_a_bit_of_the_inputs(cached, memory_format, monkeypatch):
    images, mean = noise(7, 4), torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(3)) * 255
    shift = torch.randn(7, 3, generator=torch.Generator().manual_seed(4))
    expected = (images.float() - mean + shift[:, :, None, None]) * (0.9 / 57.0)
    monkeypatch.setattr(augment, "CACHED", cached)
    inputs = prepare(images, mean, 57.0, shift, 0.9, memory_format)
    assert torch.equal(inputs, expected) and inputs.is_contiguous(memory_format=memory_format)
    assert prepare(images[:0], mean, 57.0).shape == (0, 3, 4, 4)
