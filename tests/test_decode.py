"""One image file: whatever its mode, upright RGB; no larger than needed, and never smaller."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from alexnet_sweep.data.decode import BadImage, decode, square


def coded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def smooth(width: int, height: int) -> Image.Image:
    """Red rises from left to right, green from top to bottom."""
    rows, columns = np.mgrid[:height, :width]
    red, green = columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1)
    return Image.fromarray(np.stack([red, green, red * 0 + 99], 2).astype(np.uint8))


@given(st.integers(20, 400), st.integers(20, 400), st.integers(8, 64))
@settings(max_examples=40)
def test_a_jpeg_comes_no_smaller_than_needed_and_no_more_than_twice_as_large(
    width: int, height: int, side: int
) -> None:
    image = decode(coded(smooth(width, height), "JPEG"), "x", side)
    shorter = min(width, height)
    assert min(image.size) >= min(side, shorter)
    if shorter >= 2 * side:
        assert min(image.size) <= max(2 * side, shorter / 8 + 1)


def test_a_jpeg_decoded_at_a_fraction_shows_the_same_square() -> None:
    content = coded(smooth(800, 600), "JPEG", quality=95)
    small, whole = (square(decode(content, "x", side), 64).astype(int) for side in (64, None))
    assert decode(content, "x", 64).size == (100, 75)
    assert np.abs(small - whole).max() <= 4


def test_decoding_at_a_fraction_gives_the_same_bytes_each_time() -> None:
    content = coded(smooth(800, 600), "JPEG")
    assert decode(content, "x", 64).tobytes() == decode(content, "x", 64).tobytes()


def test_a_sideways_jpeg_at_a_fraction_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode(coded(smooth(640, 320), "JPEG", exif=exif), "x", 32)
    assert image.size == (40, 80)
    assert image.getpixel((20, 4))[0] < 40 and image.getpixel((20, 76))[0] > 215  # its left side came on top


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = coded(smooth(40, 20), exif=exif)
    with Image.open(io.BytesIO(content)) as image:
        expected = ImageOps.exif_transpose(image)
    assert np.array_equal(np.asarray(decode(content, "x")), np.asarray(expected))


def test_an_image_whose_other_exif_is_broken_is_read_and_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x011A] = 72.5
    content = coded(smooth(64, 32), "JPEG", exif=exif)
    broken = content.replace(bytes.fromhex("011a0005"), bytes.fromhex("011a0002"))  # a fraction, as text
    assert broken != content
    assert decode(broken, "x").size == (32, 64)


def test_a_decoder_that_fails_in_whichever_way_makes_a_bad_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise struct.error("unpack requires a buffer of 4 bytes")

    content = coded(smooth(20, 20))
    monkeypatch.setattr(Image.Image, "convert", fails)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fails)
    with pytest.raises(BadImage, match=r"^image x: cannot be read \(unpack requires"):
        decode(content, "x")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bits_keep_their_range_however_pillow_holds_them(dtype: Any) -> None:
    ramp = np.linspace(0, 65535, 256).astype(dtype).reshape(16, 16)
    found = np.asarray(decode(coded(Image.fromarray(ramp), "TIFF"), "x"))[..., 0].astype(int)
    assert np.abs(found - ramp // 257).max() <= 1


def test_integers_that_are_bytes_stay_as_they_are() -> None:
    ramp = np.arange(256).astype(np.int32).reshape(16, 16)
    assert np.array_equal(np.asarray(decode(coded(Image.fromarray(ramp), "TIFF"), "x"))[..., 0], ramp)


def test_a_dark_image_of_sixteen_bits_stays_dark() -> None:
    dark = np.full((4, 4), 200, np.uint16)
    for kind in ("PNG", "TIFF"):
        assert np.asarray(decode(coded(Image.fromarray(dark), kind), "x")).max() == 0


@pytest.mark.parametrize("value", [-1, 70000])
def test_integers_beyond_sixteen_bits_are_refused(value: int) -> None:
    with pytest.raises(BadImage, match=r"its pixels are integers from .*allowed: 0 to 65535\)"):
        decode(coded(Image.fromarray(np.array([[0, value]] * 2, np.int32)), "TIFF"), "x")


def test_pixels_of_no_known_range_are_refused() -> None:
    with pytest.raises(BadImage, match=r"^image x: cannot be read \(its pixels are fractions"):
        decode(coded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "x")


def test_a_bomb_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    content = coded(smooth(100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(
        BadImage, match=r"^image train/a\.png: cannot be read \(Image size \(10000 pixels\) exceeds limit"
    ):
        decode(content, "train/a.png")


def test_what_cannot_be_read_says_what_to_do() -> None:
    with pytest.raises(BadImage, match=r"mend or remove it, or set data\.skip_bad=true$"):
        decode(b"no image", "x")
    with pytest.raises(BadImage, match=r"the row is empty; .*data\.skip_bad=true$"):
        decode(None, "x")


@given(st.integers(1, 90), st.integers(1, 90), st.integers(4, 40), st.sampled_from(["central_square", "warp_256"]))
@settings(max_examples=60)
def test_a_square_is_a_square_of_bytes_and_a_flat_colour_stays(width: int, height: int, side: int, way: str) -> None:
    pixels = square(Image.new("RGB", (width, height), (200, 100, 50)), side, way)
    assert pixels.shape == (3, side, side) and pixels.dtype == np.uint8
    assert [set(np.unique(channel)) for channel in pixels] == [{200}, {100}, {50}]


@given(st.integers(30, 90), st.integers(30, 90))
@settings(max_examples=30)
def test_the_square_is_the_middle_of_the_whole_image_scaled(width: int, height: int) -> None:
    """Only the square is worked out; where a window ends on half a pixel, it may take the neighbour."""
    image, side = smooth(width, height), 24
    scale, step = side / min(width, height), 1 + 255 / (min(width, height) - 1)  # from a pixel to the next
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    whole = np.asarray(image.resize(size, Image.Resampling.BOX)).transpose(2, 0, 1)
    assert np.abs(square(image, side).astype(int) - whole[:, top : top + side, left : left + side]).max() <= step
