"""A packed data set on the disk: what lies in its folder, and opening it. See `data.pack` for the whole of it."""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_sweep import formats
from alexnet_sweep.data.images import Images, open_images
from alexnet_sweep.errors import DataError

DAMAGE = (OSError, ValueError, KeyError, EOFError, SyntaxError, zipfile.BadZipFile)  # what numpy makes of cut files
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Meta:
    """What is known of a packed data set without opening its pixels."""

    fingerprint: str
    name: str
    class_names: list[str]
    counts: dict[str, int]
    stored_px: int
    store: str = "raw"
    skipped: dict[str, list[str]] = field(default_factory=dict)  # ids of images left out (data.skip_bad), by split

    @property
    def skipped_images(self) -> int:
        return sum(len(ids) for ids in self.skipped.values())


@dataclass(frozen=True)
class Packed:
    """A packed data set, opened: images are memory-mapped."""

    meta: Meta
    images: dict[str, Images]
    labels: dict[str, NDArray[np.int64]]
    ids: dict[str, list[str]]
    mean: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    eigenvectors: NDArray[np.float64]


def is_whole(folder: Path) -> bool:
    return (folder / "meta.json").is_file()


def read_meta(folder: Path) -> Meta:
    """The description of a packed data set.

    Raises:
        OtherFormat: where it is of a version that is not read.
        DataError: where it cannot be read, or belongs to another folder.
    """
    try:
        values = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        formats.check(formats.STORE, values.pop("format"), folder)
        meta = Meta(**values)
        if meta.fingerprint != folder.name:
            raise ValueError(f"fingerprint {meta.fingerprint}")
        return meta
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / 'meta.json'}: unreadable ({error}); delete the folder and start again") from error


def read_ids(folder: Path, split: str) -> list[str]:
    return (folder / f"{split}.ids.txt").read_text(encoding="utf-8").split("\n")[:-1]


def read_packed(folder: Path) -> Packed:
    """Open a packed data set.

    Raises:
        DataError: where its files are missing, cut short, or do not fit its description.
    """
    meta = read_meta(folder)
    try:
        images = {s: open_images(folder, s, meta.stored_px) for s in SPLITS}
        labels = {s: np.load(folder / f"{s}.labels.npy") for s in SPLITS}
        ids = {s: read_ids(folder, s) for s in SPLITS}
    except DAMAGE as error:
        raise _damaged(folder, error) from error
    mean, eigenvalues, eigenvectors = read_colours(folder)
    for split in SPLITS:
        found = {len(images[split]), len(labels[split]), len(ids[split])}
        if found != {meta.counts[split]}:
            raise DataError(
                f"{folder}: damaged packed store ({split}: {sorted(found)} rows, {meta.counts[split]} "
                "expected); delete the folder and start again"
            )
    return Packed(meta, images, labels, ids, mean, eigenvalues, eigenvectors)


def read_colours(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean image, eigenvalues and eigenvectors.

    Raises:
        DataError: where their files are missing or cut short.
    """
    try:
        mean: NDArray[np.float64] = np.load(folder / "mean.npy")
        with (folder / "colours.npz").open("rb") as stream, np.load(stream) as colours:
            return mean, colours["eigenvalues"], colours["eigenvectors"]
    except DAMAGE as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> DataError:
    return DataError(f"{folder}: damaged packed store ({error}); delete the folder and start again")


def description(meta: Meta) -> dict[str, Any]:
    """What `meta.json` holds."""
    return {"format": formats.STORE.written, **vars(meta)}
