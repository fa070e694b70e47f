"""How pictures that are not square become squares: the middle of them, or all of them squeezed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_sweep.data.decode import square
from alexnet_sweep.data.pack import describe, fingerprint, open_packed
from alexnet_sweep.identity import run_id
from conftest import Compose

GEOMETRIES = ("central_square", "warp_256")


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


def quarters(width: int, height: int) -> Image.Image:
    """Red at the left quarter, blue at the right one, green between."""
    pixels = np.zeros((height, width, 3), np.uint8)
    edge = width // 4
    pixels[:, :edge, 0] = pixels[:, edge:-edge, 1] = pixels[:, -edge:, 2] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(48, 36), (36, 48), (90, 24), (33, 32)])
def test_warping_squeezes_the_whole_picture_as_pillow_does(size: tuple[int, int]) -> None:
    expected = picture(*size).resize((24, 24), Image.Resampling.BOX)
    assert np.array_equal(square(picture(*size), 24, "warp_256"), np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(10, 8), (23, 24)])
def test_warping_enlarges_a_small_picture_cubically(size: tuple[int, int]) -> None:
    expected = picture(*size).resize((24, 24), Image.Resampling.BICUBIC)
    assert np.array_equal(square(picture(*size), 24, "warp_256"), np.asarray(expected).transpose(2, 0, 1))


def test_the_central_square_loses_the_edges_that_warping_keeps() -> None:
    wide = quarters(64, 32)
    cut, warped = (square(wide, 16, geometry) for geometry in GEOMETRIES)
    assert cut.shape == warped.shape == (3, 16, 16)
    assert (cut[1] == 255).all() and not cut[[0, 2]].any()
    assert (warped[0, :, :4] == 255).all() and (warped[1, :, 4:12] == 255).all() and (warped[2, :, 12:] == 255).all()


def test_the_central_square_is_the_default_of_the_function() -> None:
    assert np.array_equal(square(picture(40, 30), 20), square(picture(40, 30), 20, "central_square"))


@pytest.mark.parametrize("side", [16, 24, 37])
def test_square_pictures_are_the_same_in_both(side: int) -> None:
    for own in (16, 24, 50):
        cut, warped = (square(picture(own, own), side, geometry) for geometry in GEOMETRIES)
        assert np.array_equal(cut, warped)


def test_the_geometry_counts_in_the_data_sets_fingerprint_and_in_the_run(composed: Compose, photos: Path) -> None:
    for data in (("data=digits",), ("data=folder", f"data.path={photos}")):
        cut, warped = (composed(*data, f"data.geometry={geometry}") for geometry in GEOMETRIES)
        marks = fingerprint(cut.data), fingerprint(warped.data)
        assert marks[0] != marks[1]
        assert run_id(cut, marks[0]) != run_id(warped, marks[1])


def test_packed_photographs_are_squeezed_or_cut(composed: Compose, photos: Path, tmp_path: Path) -> None:
    data = ("data=folder", f"data.path={photos}", "data.stored_px=16", "data.crop_px=16")
    first = Image.open(photos / "train/blue/00.png")
    for geometry in GEOMETRIES:
        config = composed(*data, f"data.geometry={geometry}").data
        packed = open_packed(config, tmp_path / "store")
        assert packed.ids["train"][0].endswith("blue/00.png")
        assert np.array_equal(packed.images["train"][0], square(first, 16, geometry))
        assert describe(config, tmp_path / "store") == packed.meta


def test_square_digits_are_packed_alike(composed: Compose, tmp_path: Path) -> None:
    cut, warped = (
        open_packed(composed(f"data.geometry={geometry}", "data.stored_px=10", "data.crop_px=10").data, tmp_path)
        for geometry in GEOMETRIES
    )
    assert cut.meta.fingerprint != warped.meta.fingerprint
    assert all(np.array_equal(cut.images[split], warped.images[split]) for split in ("train", "test"))
    assert np.array_equal(cut.mean, warped.mean)
