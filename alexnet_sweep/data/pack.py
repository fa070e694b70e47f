"""The packed store: a data set decoded once into squares of uint8 pixels, shared by all runs.

    <store>/<fingerprint>/
        <split>.images.npy   uint8 (n, 3, side, side), read through memory mapping
        <split>.labels.npy   int64 (n,)
        <split>.ids.txt      one image id a line
        mean.npy             float64 (3, side, side): the training split's mean image
        colours.npz          eigenvalues (3,), descending, and eigenvectors (3, 3; columns) of its RGB covariance
        meta.json            class names, counts, geometry; written last

Built beside and renamed when whole. The mean image and the colours come from the training split alone
(paper §2, §4.1). Nothing here imports torch.
"""

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet_sweep.config import DataConfig
from alexnet_sweep.data.opening import content_id, open_source
from alexnet_sweep.data.source import Source, Split
from alexnet_sweep.errors import DataError
from alexnet_sweep.machine import usable_cores

FORMAT = 1
CHUNK = 256  # images decoded by one task
SPLITS = ("train", "test")

Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True)
class Meta:
    """What is known of a packed data set without opening its pixels."""

    fingerprint: str
    name: str
    class_names: list[str]
    counts: dict[str, int]
    stored_px: int


@dataclass(frozen=True)
class Packed:
    """A packed data set, opened: images are memory-mapped."""

    meta: Meta
    images: dict[str, NDArray[np.uint8]]
    labels: dict[str, NDArray[np.int64]]
    ids: dict[str, list[str]]
    mean: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    eigenvectors: NDArray[np.float64]


def fingerprint(data: DataConfig) -> str:
    """Sixteen hex digits: the content of the data set and the geometry it is stored in.

    Raises:
        DataError: where there is nothing to take it of.
    """
    parts = [
        FORMAT,
        content_id(data),
        data.stored_px,
        data.geometry,
        data.image_column,
        data.label_column,
        data.train_split,
        data.test_split,
        data.test_fraction,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def square(image: Image.Image, side: int, geometry: str = "central_square") -> NDArray[np.uint8]:
    """Shorter side to `side`, then the central square (paper §2): uint8 (3, side, side).

    Shrinking averages over areas; enlarging is cubic, as in the authors' later data tool. `warp_256` squeezes the whole
    image into the square instead, as the scripts around Caffe did (to 256 px).
    """
    width, height = image.size
    if geometry == "warp_256":
        shrinks = width * height > side**2
        image = image.resize((side, side), Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)
    elif min(width, height) != side:
        scale = side / min(width, height)
        size = (max(side, round(width * scale)), max(side, round(height * scale)))
        image = image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    pixels = np.asarray(image.crop((left, top, left + side, top + side)))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def describe(data: DataConfig, store: Path) -> Meta:
    """Class names and counts: of the packed store where there is one, else of the source itself.

    Raises:
        DataError: as `open_source`.
    """
    mark = fingerprint(data)
    if (store / mark / "meta.json").is_file():
        return _read_meta(store / mark)
    with tempfile.TemporaryDirectory() as scratch:
        return _meta(open_source(data, Path(scratch)), data, mark)


def _meta(source: Source, data: DataConfig, mark: str) -> Meta:
    counts = {"train": len(source.train.labels), "test": len(source.test.labels)}
    return Meta(mark, data.name, source.class_names, counts, data.stored_px)


def open_packed(data: DataConfig, store: Path, progress: Progress | None = None) -> Packed:
    """The packed data set, built first if it is not there.

    Raises:
        DataError: as `open_source`, or for a store that does not fit its description.
    """
    folder = store / fingerprint(data)
    if not (folder / "meta.json").is_file():
        _build(data, folder, progress)
    return _open(folder)


def _open(folder: Path) -> Packed:
    meta = _read_meta(folder)
    try:
        images = {s: np.load(folder / f"{s}.images.npy", mmap_mode="r") for s in SPLITS}
        labels = {s: np.load(folder / f"{s}.labels.npy") for s in SPLITS}
        ids = {s: (folder / f"{s}.ids.txt").read_text(encoding="utf-8").split("\n")[:-1] for s in SPLITS}
        mean = np.load(folder / "mean.npy")
        with (folder / "colours.npz").open("rb") as stream, np.load(stream) as colours:
            eigenvalues, eigenvectors = colours["eigenvalues"], colours["eigenvectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder}: damaged packed store ({error}); delete the folder and start again") from error
    for split in SPLITS:
        found = {len(images[split]), len(labels[split]), len(ids[split])}
        if found != {meta.counts[split]}:
            raise DataError(
                f"{folder}: damaged packed store ({split}: {sorted(found)} rows, {meta.counts[split]} "
                "expected); delete the folder and start again"
            )
    return Packed(meta, images, labels, ids, mean, eigenvalues, eigenvectors)


def _read_meta(folder: Path) -> Meta:
    try:
        values = json.loads((folder / "meta.json").read_text())
        if not isinstance(values, dict) or values.pop("format") != FORMAT:
            raise ValueError(f"not of format {FORMAT}")
        return Meta(**values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / 'meta.json'}: unreadable ({error}); delete the folder and start again") from error


def _build(data: DataConfig, folder: Path, progress: Progress | None) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder}: damaged packed store (no meta.json); delete the folder and start again")
    made = _make(folder.parent)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        scratch = beside / "scratch"
        scratch.mkdir()
        source = open_source(data, scratch)
        _pack(source, data, folder.name, beside, progress or (lambda done, total: None))
        shutil.rmtree(scratch, ignore_errors=True)
        beside.chmod(0o755)  # mkdtemp made it private, but a store is shared
        try:
            beside.rename(folder)
        except OSError:
            if not (folder / "meta.json").is_file():  # another builder was quicker: its store is the same
                raise
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        with suppress(OSError):  # not empty: another builder is at work there
            for place in made:
                place.rmdir()
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _make(folder: Path) -> list[Path]:
    """Make a folder; returns those that were not there, innermost first."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"paths.store={folder}: cannot be created ({error.strerror}); set it to a folder that can be written"
        ) from error
    return made


def _pack(source: Source, data: DataConfig, mark: str, folder: Path, progress: Progress) -> None:
    side, total, done = data.stored_px, len(source.train.labels) + len(source.test.labels), 0
    for name, split in (("train", source.train), ("test", source.test)):
        images = np.lib.format.open_memmap(
            folder / f"{name}.images.npy", "w+", np.uint8, (len(split.labels), 3, side, side)
        )
        sums = _Sums(side) if name == "train" else None
        for start, pixels in _squares(split, side, data.geometry):
            images[start : start + len(pixels)] = pixels
            if sums is not None:
                sums.add(pixels)
            done += len(pixels)
            progress(done, total)
        images.flush()
        np.save(folder / f"{name}.labels.npy", split.labels)
        (folder / f"{name}.ids.txt").write_text("".join(f"{image_id}\n" for image_id in split.ids), encoding="utf-8")
        if sums is not None:
            eigenvalues, eigenvectors = sums.colours()
            np.save(folder / "mean.npy", sums.mean())
            np.savez(folder / "colours.npz", eigenvalues=eigenvalues, eigenvectors=eigenvectors)
    values: dict[str, Any] = {"format": FORMAT, **vars(_meta(source, data, mark))}
    (folder / "meta.json").write_text(json.dumps(values, indent=1) + "\n")


def _squares(split: Split, side: int, geometry: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """(first row, pixels) chunk by chunk, in order; chunks are decoded in parallel, a few ahead."""

    def decode(start: int) -> NDArray[np.uint8]:
        stop = min(start + CHUNK, len(split.labels))
        return np.stack([square(image, side, geometry) for image in split.read(start, stop)])

    starts = list(range(0, len(split.labels), CHUNK))
    workers = usable_cores()
    with ThreadPoolExecutor(workers) as pool:
        ahead = 2 * workers
        tasks = [pool.submit(decode, start) for start in starts[:ahead]]
        for number, start in enumerate(starts):
            yield start, tasks.pop(0).result()
            if number + ahead < len(starts):
                tasks.append(pool.submit(decode, starts[number + ahead]))


class _Sums:
    """Exact running sums over the training split, for its mean image and RGB covariance."""

    def __init__(self, side: int) -> None:
        self.images = 0
        self.pixels = np.zeros((3, side, side), np.int64)
        self.products = np.zeros((3, 3), np.int64)

    def add(self, pixels: NDArray[np.uint8]) -> None:
        self.images += len(pixels)
        self.pixels += pixels.sum(0, dtype=np.int64)
        for first in range(3):
            for second in range(first, 3):
                product = np.multiply(pixels[:, first], pixels[:, second], dtype=np.uint32)
                self.products[first, second] += product.sum(dtype=np.int64)

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
