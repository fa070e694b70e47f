"""Nearest neighbours among indexed images: exact by Euclidean distance, and by short binary codes (paper §6.1, §7).

Places are places in the index. Where distances are equal the earlier place counts, so that an index in random order
prefers no class.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float32]
Places = NDArray[np.int64]
AT_ONCE = 256  # queries whose distances to the whole index are held
SPARE = 16  # more than k are looked for, as rounding may change their order


@dataclass(frozen=True)
class Nearest:
    """The nearest of each query, nearest first: both (queries, k)."""

    places: Places
    distances: NDArray[np.float64]


def nearest(queries: Floats, index: Iterable[Floats], k: int) -> Nearest:
    """The k nearest by Euclidean distance of an index that comes in parts, of which one is held at a time.

    `queries` are (queries, features), the index's parts (images, features); k is at most the number of images.
    scikit-learn finds a few more than k, by a matrix product that rounds; these are then measured again, difference by
    difference, so that copies of an image are at distance 0 and equal distances are equal.
    """
    distances: NDArray[np.float64] = np.empty((len(queries), 0))
    places: Places = np.empty((len(queries), 0), np.int64)
    before = 0
    for part in index:
        search = NearestNeighbors(n_neighbors=min(k + SPARE, len(part)), algorithm="brute", metric="euclidean")
        with threadpool_limits(1):  # how a product is rounded hangs on the number of threads
            where = search.fit(part).kneighbors(queries, return_distance=False).astype(np.int64)
        exact = np.stack([_distances(query, part[own]) for query, own in zip(queries, where, strict=True)])
        distances = np.concatenate([distances, exact], axis=1)
        places = np.concatenate([places, where + before], axis=1)
        order = np.lexsort((places, distances), axis=1)[:, :k]
        distances, places = np.take_along_axis(distances, order, 1), np.take_along_axis(places, order, 1)
        before += len(part)
    return Nearest(places, distances)


def _distances(query: Floats, images: Floats) -> NDArray[np.float64]:
    apart = images.astype(np.float64) - query
    return np.asarray(np.sqrt(np.square(apart).sum(axis=1)))


@dataclass(frozen=True)
class Coder:
    """Codes of up to `bits` bits: the signs of the first principal components (of the features it was fitted on)."""

    pca: PCA

    @classmethod
    def fitted(cls, features: Floats, bits: int) -> "Coder":
        """At most as many bits as there are features, or images less one."""
        components = min(bits, features.shape[1], len(features) - 1)
        with threadpool_limits(1):
            return cls(PCA(components, svd_solver="covariance_eigh").fit(features.astype(np.float64)))

    @property
    def bits(self) -> int:
        return int(self.pca.n_components_)

    def codes(self, features: Floats) -> NDArray[np.bool_]:
        """(images, bits): whether each component lies above its mean."""
        with threadpool_limits(1):
            return np.asarray(self.pca.transform(features.astype(np.float64)) > 0)


def nearest_codes(queries: NDArray[np.bool_], index: NDArray[np.bool_], k: int) -> Nearest:
    """The k nearest by Hamming distance: how many bits differ."""
    signs = np.where(index, np.float32(1), np.float32(-1))
    places, distances = [], []
    for first in range(0, len(queries), AT_ONCE):
        own = np.where(queries[first : first + AT_ONCE], np.float32(1), np.float32(-1))
        apart = np.rint((index.shape[1] - own @ signs.T) / 2).astype(np.int32)  # exact: sums of ±1
        order = np.argsort(apart, axis=1, kind="stable")[:, :k]
        places.append(order.astype(np.int64))
        distances.append(np.take_along_axis(apart, order, 1).astype(np.float64))
    return Nearest(np.concatenate(places), np.concatenate(distances))


def agreement(found: Places, labels: NDArray[np.int64], own: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """For each query the share of its k nearest that are of its class; `labels` are the index's, `own` the queries'."""
    return np.asarray((labels[found[:, :k]] == own[:, None]).mean(axis=1))


def recall(found: Places, exact: Places, k: int) -> NDArray[np.float64]:
    """For each query the share of its k exact neighbours that are among the k found."""
    hits = [np.isin(a, b).mean() for a, b in zip(exact[:, :k], found[:, :k], strict=True)]
    return np.array(hits)
