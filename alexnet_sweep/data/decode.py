"""One image file → upright RGB pixels, whatever its mode, and the square that is stored of them."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from alexnet_sweep.data.source import Encoded, Split
from alexnet_sweep.errors import DataError

# What images come in. Pillow knows many more formats: one of them it hands to Ghostscript, which runs programs.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "TIFF", "WEBP")
LONGEST_SIDE = 65_535  # what a JPEG can have
# Pillow would merely warn of an image of more than MAX_IMAGE_PIXELS, and decode up to twice as many.
warnings.simplefilter("error", Image.DecompressionBombWarning)
SIXTEEN_BITS = ("PNG", "PPM")  # what Pillow may hold in 32
TRANSPOSED: dict[Any, Image.Transpose] = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(DataError):
    """An image that cannot be read."""


def decode(content: bytes | str | Path | None, image_id: str, side: int | None = None) -> Image.Image:
    """An image as RGB, upright as its EXIF orientation says.

    With `side`, a JPEG may come at a half, a quarter or an eighth of its size, as long as both sides keep `side`
    pixels: the coder averages over areas for much less than decoding all of them.

    Raises:
        BadImage: naming the image, where it is empty, cannot be read, or is too large to be one.
    """
    if content is None:
        raise BadImage(f"image {image_id}: the row is empty; remove it from the data set, or set data.skip_bad=true")
    try:
        if not isinstance(content, bytes) and Path(content).exists() and not Path(content).is_file():
            raise ValueError("a pipe or a device, no file")
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS) as image:
            if max(image.size) > LONGEST_SIDE:
                raise ValueError(f"{image.width} × {image.height} pixels; allowed: {LONGEST_SIDE:,} a side")
            if side is not None:
                image.draft(None, (side, side))
            image.load()
            return _rgb(_upright(image), image.format)
    except MemoryError:
        raise  # may be the machine's fault, and not the image's
    except Exception as error:  # Pillow's decoders fail in many ways on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(
            f"image {image_id}: cannot be read ({reason}); mend or remove it, or set data.skip_bad=true"
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says. `ImageOps.exif_transpose` would write all of the EXIF anew, which may be broken."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # then it says nothing
        return image
    method = TRANSPOSED.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _rgb(image: Image.Image, kind: str | None) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("its pixels are fractions of no known range")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        image = Image.fromarray(_high_byte(np.asarray(image), image.mode != "I" or kind in SIXTEEN_BITS))
    elif "transparency" in image.info:  # Pillow warns of a palette that goes straight to RGB
        image = image.convert("RGBA")
    return image.convert("RGB")


def _high_byte(pixels: NDArray[Any], sixteen_bits: bool) -> NDArray[np.uint8]:
    lowest, highest = int(pixels.min()), int(pixels.max())
    if lowest < 0 or highest > 65535:
        raise ValueError(f"its pixels are integers from {lowest} to {highest}; allowed: 0 to 65535")
    bytes_already = not sixteen_bits and highest <= 255
    return (pixels if bytes_already else pixels >> 8).astype(np.uint8)


def square(image: Image.Image, side: int, geometry: str = "central_square") -> NDArray[np.uint8]:
    """Shorter side to `side`, then the central square (paper §2): uint8 (3, side, side).

    Shrinking averages over areas; enlarging is cubic, as in the authors' later data tool. `warp_256` squeezes the whole
    image into the square instead, as the scripts around Caffe did (to 256 px).
    """
    width, height = image.size
    if geometry == "warp_256":
        columns, rows = side, side
    else:
        scale = side / min(width, height)
        columns, rows = max(side, round(width * scale)), max(side, round(height * scale))
    left, top = (columns - side) // 2, (rows - side) // 2
    if (columns, rows) == (width, height):
        image = image.crop((left, top, left + side, top + side))
    else:  # scaled as a whole it would be columns x rows; only the square is worked out
        x, y = width / columns, height / rows
        part = (left * x, top * y, (left + side) * x, (top + side) * y)
        shrinks = columns * rows < width * height
        image = image.resize((side, side), Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC, part)
    pixels = np.empty((3, side, side), np.uint8)
    pixels[:] = np.asarray(image).transpose(2, 0, 1)
    return pixels


def decoded(split: Split, start: int, stop: int, side: int | None = None) -> list[Image.Image]:
    """Images of a split as RGB; see `decode`."""
    return [
        decode(image.content, split.ids[start + place], side) if isinstance(image, Encoded) else image
        for place, image in enumerate(split.read(start, stop))
    ]
