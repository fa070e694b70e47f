"""One stored image → upright RGB pixels, whatever its mode."""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from alexnet_sweep.errors import DataError


def decode(cell: dict[str, Any], image_id: str) -> Image.Image:
    """An image as RGB, upright as its EXIF orientation says; `cell` holds its `bytes` or its `path`.

    Raises:
        DataError: naming the image, where it is empty or cannot be read.
    """
    place = cell["bytes"] if cell.get("bytes") is not None else cell.get("path")
    if place is None:
        raise DataError(f"image {image_id}: the row is empty; remove it from the data set")
    try:
        with Image.open(io.BytesIO(place) if isinstance(place, bytes) else place) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):  # Pillow would clip it at 255
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            elif "transparency" in upright.info:  # Pillow warns of a palette that goes straight to RGB
                upright = upright.convert("RGBA")
            return upright.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
        reason = " ".join(str(error).split())
        raise DataError(f"image {image_id}: cannot be read ({reason}); mend or remove it") from error
