"""Errors as fractions: counted, summed, divided once (never a mean of batch means)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOP = 5


@dataclass(frozen=True)
class ErrorCounts:
    """How many of `images` had their label not first, and not among the five best.

    `top5` is None with five classes or fewer, where a top-5 error says nothing.
    """

    images: int
    top1: int
    top5: int | None

    @property
    def top1_error(self) -> float:
        """Fraction in [0, 1]; NaN without images."""
        return self.top1 / self.images if self.images else float("nan")

    @property
    def top5_error(self) -> float | None:
        if self.top5 is None:
            return None
        return self.top5 / self.images if self.images else float("nan")


def label_ranks(scores: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank of each label among its row's scores, 1 = best; of equal scores the lower class comes first.

    Scores that are no numbers put the label last.
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    classes = np.arange(scores.shape[1])
    behind = (scores < own) | ((scores == own) & (classes >= labels[:, None]))
    ranks: NDArray[np.int64] = (~behind).sum(1, dtype=np.int64) + 1
    return ranks


def best_classes(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The (up to) five best classes of each row, best first; of equal scores the lower class comes first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :TOP].astype(np.int64)


def count_errors(ranks: NDArray[np.int64], classes: int) -> ErrorCounts:
    """Error counts from the labels' ranks."""
    top5 = int((ranks > TOP).sum()) if classes > TOP else None
    return ErrorCounts(len(ranks), int((ranks > 1).sum()), top5)
