"""Boxes of random area and shape within square images: what RandomResizedCrop draws (not in the paper)."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ATTEMPTS = 10  # torchvision's


def draw_boxes(
    generator: np.random.Generator, count: int, side: int, area: Sequence[float], aspect: Sequence[float]
) -> NDArray[np.int64]:
    """Top, left, height and width of a box in each of `count` images of `side` pixels, (count, 4).

    The box's share of the image is even between the two of `area`, the logarithm of its width over its height between
    those of `aspect`; what does not fit is drawn again, and after ten attempts it is the largest box of a fitting
    shape. As torchvision's RandomResizedCrop, whose boxes for square images are distributed alike. Every image has
    draws of its own, whichever of them fit.
    """
    shape = min(max(1.0, aspect[0]), aspect[1])
    heights = np.full(count, max(1, round(side * min(1.0, 1.0 / shape))))
    widths = np.full(count, max(1, round(side * min(1.0, shape))))
    waiting = np.full(count, True)
    for _ in range(ATTEMPTS):
        pixels = side**2 * generator.uniform(area[0], area[1], count)
        shapes = np.exp(generator.uniform(math.log(aspect[0]), math.log(aspect[1]), count))
        wide, tall = np.rint(np.sqrt(pixels * shapes)), np.rint(np.sqrt(pixels / shapes))
        fits = waiting & (wide >= 1) & (tall >= 1) & (wide <= side) & (tall <= side)
        widths[fits], heights[fits] = wide[fits], tall[fits]
        waiting &= ~fits
    free = side - np.stack([heights, widths], 1)
    places = np.floor(generator.random((count, 2)) * (free + 1)).astype(np.int64)
    return np.concatenate([places, heights[:, None], widths[:, None]], 1).astype(np.int64)
