"""Exact sums over training images, for their mean image and the eigenvectors of their colours (paper §2, §4.1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sums:
    """Whole numbers, so that neither order nor grouping of the images changes a digit."""

    images: int
    pixels: NDArray[np.int64]  # (3, side, side)
    products: NDArray[np.int64]  # (3, 3), the upper triangle

    @classmethod
    def none(cls, side: int) -> "Sums":
        return cls(0, np.zeros((3, side, side), np.int64), np.zeros((3, 3), np.int64))

    @classmethod
    def of(cls, pixels: NDArray[np.uint8]) -> "Sums":
        """Of uint8 (n, 3, side, side)."""
        products = np.zeros((3, 3), np.int64)
        for image in pixels:
            # Products of bytes and their sums over an image are whole numbers that float64 holds exactly.
            channels = image.reshape(3, -1).astype(np.float64)
            for first in range(3):
                for second in range(first, 3):
                    products[first, second] += int(np.dot(channels[first], channels[second]))
        sums = pixels.sum(0, dtype=np.uint32 if len(pixels) < 1 << 24 else np.int64)
        return cls(len(pixels), sums.astype(np.int64), products)

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.images + other.images, self.pixels + other.pixels, self.products + other.products)

    def mean(self) -> NDArray[np.float64]:
        return self.pixels / self.images

    def colours(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Eigenvalues (descending) and eigenvectors (columns) of the covariance of all RGB pixels."""
        count = self.images * self.pixels[0].size
        means = self.pixels.sum((1, 2)) / count
        moments = np.triu(self.products) + np.triu(self.products, 1).T
        eigenvalues, eigenvectors = np.linalg.eigh(moments / count - np.outer(means, means))
        vectors = eigenvectors[:, ::-1]
        signs = np.where(vectors[np.argmax(np.abs(vectors), 0), range(3)] < 0, -1.0, 1.0)
        return eigenvalues[::-1].copy(), vectors * signs
