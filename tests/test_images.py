"""Stored images are read alike whichever way they are stored."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep.data.images import JpegImages, jpeg_of, open_images, pixels_of, stored_bytes


def jpegs(count: int = 20, side: int = 16) -> tuple[JpegImages, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    coded = [jpeg_of(image) for image in pixels]
    ends = np.cumsum([len(jpeg) for jpeg in coded])
    images = JpegImages(Path("x.jpeg"), np.frombuffer(b"".join(coded), np.uint8), ends)
    return images, np.stack([pixels_of(jpeg) for jpeg in coded])


IMAGES, PIXELS = jpegs()


@given(st.lists(st.integers(-20, 19), max_size=40))
def test_rows_in_any_order_are_those_of_an_array(rows: list[int]) -> None:
    assert np.array_equal(IMAGES[np.array(rows, np.int64) % 20], PIXELS[np.array(rows, np.int64) % 20])


@given(st.slices(20))
def test_slices_are_those_of_an_array(rows: slice) -> None:
    assert np.array_equal(IMAGES[rows], PIXELS[rows])


@given(st.integers(-20, 19))
def test_one_row_is_one_image(row: int) -> None:
    assert np.array_equal(IMAGES[row], PIXELS[row])


def test_threads_change_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores in (1, 2, 5):
        monkeypatch.setattr("alexnet_sweep.data.images.cores_of_a_run", lambda cores=cores: cores)
        assert np.array_equal(IMAGES[:], PIXELS)


def test_a_row_that_is_not_there_is_an_error() -> None:
    with pytest.raises(IndexError):
        IMAGES[20]


@pytest.mark.parametrize("ends", [[], [0, 5], [9, 5], [5, 5], [3, 7]])
def test_ends_that_do_not_fit_are_refused(ends: list[int]) -> None:
    with pytest.raises(ValueError, match=r"x\.jpeg"):
        JpegImages(Path("x.jpeg"), np.zeros(8, np.uint8), np.array(ends, np.int64))


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4, 4)), np.zeros((2, 1, 4, 4), np.uint8)]
)
def test_pixels_of_another_kind_are_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    np.save(tmp_path / "train.images.npy", wrong)
    with pytest.raises(ValueError, match=r"train\.images\.npy holds"):
        open_images(tmp_path, "train")


def test_imagenet_takes_252_gigabytes_of_pixels_or_about_40_of_jpegs() -> None:
    assert stored_bytes("raw", 1_281_167, 256) == 1_281_167 * 196_608
    assert 38e9 < stored_bytes("jpeg", 1_281_167, 256) < 42e9
