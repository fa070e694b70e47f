"""MNIST's file format, IDX, as Fashion-MNIST comes in it: grey images and labels, gzipped or not (yann.lecun.com)."""

import gzip
import math
import zlib
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet_sweep.config import DataConfig
from alexnet_sweep.data.content import what_is_in
from alexnet_sweep.data.source import Source, Split
from alexnet_sweep.data.split_names import train_and_test
from alexnet_sweep.errors import DataError

PLACES = ("", "raw", "FashionMNIST/raw")  # the latter two as torchvision leaves it
PREFIXES = {"train": "train", "test": "t10k"}
EXPANDS = 1100  # a zipped byte becomes no more than this many
FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def from_idx(data: DataConfig) -> Source:
    """Open a folder of the four files.

    Raises:
        DataError: where one is missing, cut short, or of another kind.
    """
    assert data.path is not None
    parts = {name: _split(Path(data.path), name, prefix) for name, prefix in PREFIXES.items()}
    classes = 1 + max(int(part.labels.max()) for part in parts.values())
    names = list(FASHION) if data.name == "fashion_mnist" else [str(number) for number in range(classes)]
    if classes > len(names):
        raise DataError(
            f"data.path={data.path}: has labels up to {classes - 1}; data={data.name} has {len(names)} classes"
        )
    train, test = train_and_test(data, PREFIXES, f"data.path={data.path}")
    assert test is not None, "there is one of that name"
    return Source(names, parts[train], parts[test])


def _split(folder: Path, name: str, prefix: str) -> Split:
    images, labels = _find(folder, f"{prefix}-images", 3), _find(folder, f"{prefix}-labels", 1)
    count = _shape(images, 3)[0]
    answers = _content(labels, 1).astype(np.int64)
    if count != len(answers) or not count:
        raise DataError(f"{images}: {count} images, and {len(answers)} labels in {labels.name}; there must be one each")
    held: list[NDArray[np.uint8]] = []
    lock = Lock()

    def read(start: int, stop: int) -> list[Image.Image]:
        with lock:  # once, by the first thread that asks
            if not held:
                held.append(_content(images, 3))
        return [Image.fromarray(pixels).convert("RGB") for pixels in held[0][start:stop]]

    return Split(answers, [f"{name}/{row:07d}" for row in range(count)], read)


def _find(folder: Path, stem: str, axes: int) -> Path:
    names = [f"{stem}{mark}idx{axes}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    found = next((file for place in PLACES for name in names if (file := folder / place / name).is_file()), None)
    if found is None:
        raise DataError(
            f"data.path={folder}: holds no {names[0]} (or .gz); found {what_is_in(folder)}; allowed: the four files of "
            "the format, or Parquet files"
        )
    return found


def _shape(path: Path, axes: int) -> tuple[int, ...]:
    """Sizes of an array of bytes, from the head of its file."""
    head = _bytes(path, 4 + 4 * axes)
    if len(head) < 4 + 4 * axes or head[:4] != bytes([0, 0, 8, axes]):
        raise DataError(f"{path}: is no IDX file of bytes with {axes} axes; take it from its publisher again")
    shape = tuple(int(size) for size in np.frombuffer(head, ">u4", axes, 4))
    if 0 in shape:
        raise DataError(f"{path}: its shape is {shape}; no side may be 0: take it from its publisher again")
    return shape


def _content(path: Path, axes: int) -> NDArray[np.uint8]:
    shape = _shape(path, axes)
    head, size = 4 + 4 * axes, math.prod(shape)
    content = np.frombuffer(_bytes(path, head + size + 1), np.uint8, offset=head)  # a zipped file may hold far more
    if content.size != size:
        found = f"{content.size}" if content.size < size else f"more than {size}"
        raise DataError(f"{path}: has {found} bytes for {shape}; take it from its publisher again")
    return content.reshape(shape)


def _bytes(path: Path, count: int) -> bytes:
    zipped = path.suffix == ".gz"
    try:
        most = path.stat().st_size * (EXPANDS if zipped else 1)
        with gzip.open(path) if zipped else path.open("rb") as stream:
            return stream.read(min(count, most))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); take it from its publisher again") from error
