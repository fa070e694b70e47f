"""Parts of one's own for alexnet_sweep: a network, a data set, a schedule and a metric.

Each is named by `_target_` in one file below conf/, whose other keys are its arguments. What the program calls it with
is said at each; alexnet_sweep itself is not touched.
"""

import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from alexnet_sweep.data.source import Source, Split


class Tiny(nn.Sequential):
    """A network (model/net=tiny): two convolutions with batch normalisation and dropout.

    Called with the number of classes and the side of the crops; maps (batch, 3, crop_px, crop_px) inputs to
    (batch, classes) logits. Its initial values, and its dropout, follow from the run's seed.
    """

    def __init__(self, classes: int, crop_px: int, width: int = 8, dropout: float = 0.25) -> None:
        side = crop_px // 2 // 2  # after two poolings
        super().__init__(
            nn.Conv2d(3, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * width * side**2, classes),
        )


class Stripes:
    """A data set (data=stripes): thin and wide stripes, across and upright, in noise, drawn from a seed.

    Called with nothing but the arguments in its file. Told apart from other data sets by `content_id`.
    """

    NAMES = ("thin_across", "thin_upright", "wide_across", "wide_upright")

    def __init__(self, train_images: int = 400, test_images: int = 200, side: int = 32, seed: int = 0) -> None:
        self.side = side
        rng = np.random.default_rng(seed)
        self.parts = {"train": self._drawn(rng, train_images), "test": self._drawn(rng, test_images)}

    def content_id(self) -> str:
        """A text that differs wherever images or labels do; of large data, take names and sizes of files instead."""
        digest = hashlib.sha256()
        for images, labels in self.parts.values():
            digest.update(images.tobytes() + labels.tobytes())
        return digest.hexdigest()

    def open(self, scratch: Path) -> Source:
        """Both splits; `scratch` is a folder for what must be cached while the images are read."""
        return Source(list(self.NAMES), self._split("train"), self._split("test"))

    def _drawn(self, rng: np.random.Generator, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        labels = np.arange(count, dtype=np.int64) % len(self.NAMES)
        periods = np.where(labels < 2, 4, 8)
        phases = rng.integers(0, periods)
        lines = (np.arange(self.side) + phases[:, None]) % periods[:, None] < periods[:, None] // 2
        images = np.repeat(lines[:, :, None], self.side, axis=2) * 50.0
        images = np.where((labels % 2 == 1)[:, None, None], images.transpose(0, 2, 1), images)
        colours = rng.uniform(0.5, 1.0, (count, 1, 1, 3))
        noise = rng.normal(100, 40, (count, self.side, self.side, 3))
        return np.clip(images[..., None] * colours + noise, 0, 255).astype(np.uint8), labels

    def _split(self, name: str) -> Split:
        images, labels = self.parts[name]

        def read(start: int, stop: int) -> list[Image.Image]:
            return [Image.fromarray(image) for image in images[start:stop]]

        return Split(labels, [f"{name}/{row:04d}" for row in range(len(labels))], read)


def warmup(epoch: int, epochs: int, fraction: float = 0.1) -> float:
    """A schedule (schedule=warmup): the rate rises along a line, then falls along half a cosine.

    Called with the epoch, counted from 0, and their number; gives the factor of the full learning rate.
    """
    rising = max(1, round(fraction * epochs))
    if epoch < rising:
        return (epoch + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (epoch - rising) / (epochs - rising)))


def calibration_error(probabilities: NDArray[np.float32], labels: NDArray[np.int64], bins: int = 15) -> float:
    """A metric (eval=calibration): expected calibration error (arXiv 1706.04599), 0 at best.

    Called with the class probabilities of all evaluated images, (images, classes), and their labels, once by the centre
    view and once by all views. Images are binned by the probability of their first answer; in each bin its mean is
    compared with the share of right answers.
    """
    sure = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == labels
    place = np.minimum((sure * bins).astype(int), bins - 1)
    counts, surely, rightly = (np.bincount(place, of, bins) for of in (np.ones(len(sure)), sure, right))
    return float(np.abs(surely - rightly).sum() / counts.sum())
