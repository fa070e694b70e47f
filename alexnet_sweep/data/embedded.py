"""Data sets that need no files of the user's: scikit-learn's digits, and drawn pictures."""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_sweep.data import synthetic
from alexnet_sweep.data.source import Source, Split

DIGITS_TEST = 360  # the last images come from other writers than the first


def digits_file() -> Path:
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.origin is not None, "scikit-learn is a dependency"
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


def digits() -> Source:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)

    def part(chosen: slice) -> Split:
        images = pixels[chosen]
        first = chosen.indices(len(pixels))[0]
        return Split(
            labels[chosen],
            [f"digits/{first + row:04d}" for row in range(len(images))],
            lambda start, stop: [Image.fromarray(image).convert("RGB") for image in images[start:stop]],
        )

    names = [str(name) for name in bunch.target_names]
    return Source(names, part(slice(0, -DIGITS_TEST)), part(slice(-DIGITS_TEST, None)))


def drawn_pictures() -> Source:
    def part(name: str) -> Split:
        drawn = synthetic.draw(name)
        return Split(
            drawn.labels,
            [f"synthetic/{name}/{row:04d}" for row in range(len(drawn.labels))],
            lambda start, stop: [Image.fromarray(pixels) for pixels in drawn.pixels[start:stop]],
        )

    return Source(synthetic.class_names(), part("train"), part("test"))
