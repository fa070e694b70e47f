"""The packed store: a data set decoded once into squares of pixels, shared by all runs.

    <store>/<fingerprint>/
        <split>.images.*     see `data.images`: raw pixels, or with data.store=jpeg JPEGs
        <split>.labels.npy   int64 (n,)
        <split>.ids.txt      one image id a line
        mean.npy             float64 (3, side, side): the training split's mean image
        colours.npz          eigenvalues (3,), descending, and eigenvectors (3, 3; columns) of its RGB covariance
        meta.json            class names, counts, geometry, images left out; written last
    <store>/.<fingerprint>.part/   while it is built; a build that was killed goes on from there
    <store>/.<fingerprint>.lock    held by its builder

The mean image and the colours come from the training split alone (paper §2, §4.1), from exact sums. Nothing here
imports torch.
"""

import hashlib
import json
import tempfile
from pathlib import Path

from alexnet_sweep import formats
from alexnet_sweep.config import DataConfig
from alexnet_sweep.data.builders import Progress
from alexnet_sweep.data.building import build, meta_of
from alexnet_sweep.data.opening import content_id, open_source
from alexnet_sweep.data.packed import Meta, Packed, is_whole, read_meta, read_packed


def fingerprint(data: DataConfig) -> str:
    """Sixteen hex digits: the content of the data set and the geometry and form it is stored in.

    Raises:
        DataError: where there is nothing to take it of.
    """
    parts = [
        formats.STORE.written,
        content_id(data),
        data.source,  # the same files may be read in several ways, with other ids and class names
        data.name,
        data.stored_px,
        data.geometry,
        data.store,
        data.skip_bad,
        data.image_column,
        data.label_column,
        data.train_split,
        data.test_split,
        data.test_fraction,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def describe(data: DataConfig, store: Path) -> Meta:
    """Class names and counts: of the packed store where there is one, else of the source itself.

    Raises:
        DataError: as `open_source`.
    """
    mark = fingerprint(data)
    if is_whole(store / mark):
        return read_meta(store / mark)
    with tempfile.TemporaryDirectory() as scratch:
        return meta_of(open_source(data, Path(scratch)), data, mark)


def open_packed(data: DataConfig, store: Path, progress: Progress | None = None) -> Packed:
    """The packed data set, built first if it is not there.

    Raises:
        DataError: as `open_source`, or for a store that does not fit its description.
    """
    folder = store / fingerprint(data)
    if not is_whole(folder):
        build(data, folder, lambda scratch: open_source(data, scratch), progress or (lambda done, total: None))
    return read_packed(folder)
