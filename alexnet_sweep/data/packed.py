"""A packed data set on the disk: what lies in its folder, and opening it. See `data.pack` for the whole of it."""

import json
import os
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_sweep import formats
from alexnet_sweep.data.images import Images, open_images
from alexnet_sweep.errors import DataError
from alexnet_sweep.files import check_is_file, read_file, write_json

DAMAGE = (OSError, ValueError, KeyError, EOFError, SyntaxError, zipfile.BadZipFile)  # what numpy makes of cut files
SPLITS = ("train", "test")
CHECKSUMS = "checksums.json"
CHECKED_BYTES = 256 << 20  # images of both splits up to this size are read whole whenever a store is opened
BLOCK_BYTES = 8 << 20
SMALL = (".labels.npy", ".ids.txt", ".ends.npy", "mean.npy", "colours.npz", "meta.json")  # all files but the images


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
        values = json.loads(read_file(folder / "meta.json"))
        formats.check(formats.STORE, values.pop("format"), folder)
        meta = Meta(**values)
        if meta.fingerprint != folder.name:
            raise ValueError(f"fingerprint {meta.fingerprint}")
        return meta
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / 'meta.json'}: unreadable ({error}); delete the folder and start again") from error


def read_ids(folder: Path, split: str) -> list[str]:
    return _file(folder / f"{split}.ids.txt").read_text(encoding="utf-8").split("\n")[:-1]


def read_packed(folder: Path) -> Packed:
    """Open a packed data set.

    Raises:
        DataError: where its files are missing, cut short, or do not fit its description.
    """
    meta = read_meta(folder)
    check_sums(folder)
    try:
        images = {s: open_images(folder, s, meta.stored_px) for s in SPLITS}
        labels = {s: np.load(_file(folder / f"{s}.labels.npy")) for s in SPLITS}
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


def write_checksums(folder: Path, images: dict[str, list[int]]) -> None:
    """CRC-32 and size of every file of a store; of images as they were handed to the disk, without a header."""
    files = {name: [(folder / name).stat().st_size, _crc(folder / name)] for name in _small(folder)}
    write_json(folder / CHECKSUMS, {"files": files, "images": images})


def check_sums(folder: Path, *, all_images: bool = False) -> None:
    """Refuse a store whose files are not as they were built.

    The size of each file is looked at, and what is in all but the images; in these too where they are small, or where
    `all_images` says so: of 250 GB that takes as long as reading them. Stores of earlier versions have no checksums.

    Raises:
        DataError: saying which file.
    """
    try:
        told = json.loads(read_file(folder / CHECKSUMS))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error
    try:
        if sorted(told["files"]) != _small(folder):
            raise ValueError(f"{CHECKSUMS} speaks of other files")
        for name, (size, checksum) in told["files"].items():
            if ((folder / name).stat().st_size, _crc(folder / name)) != (size, checksum):
                raise ValueError(f"{name} is not as it was built")
        whole = all_images or sum(size for size, _ in told["images"].values()) <= CHECKED_BYTES
        for split, (size, checksum) in told["images"].items():
            path = next(folder.glob(f"{split}.images.*"))
            header = path.stat().st_size - size
            if not 0 <= header <= 256 or (whole and _crc(path, header) != checksum):
                raise ValueError(f"{path.name} is not as it was built")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise _damaged(folder, error) from error


def _small(folder: Path) -> list[str]:
    """All files of a store but the images and the checksums themselves."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(SMALL) and entry.name[0] != ".")


def _crc(path: Path, first: int = 0) -> int:
    """CRC-32 of a file from a place on."""
    found = 0
    with _file(path).open("rb") as stream:
        stream.seek(first)
        while block := stream.read(BLOCK_BYTES):
            found = zlib.crc32(block, found)
    return found


def read_colours(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean image, eigenvalues and eigenvectors.

    Raises:
        DataError: where their files are missing or cut short.
    """
    try:
        mean: NDArray[np.float64] = np.load(_file(folder / "mean.npy"))
        with _file(folder / "colours.npz").open("rb") as stream, np.load(stream) as colours:
            return mean, colours["eigenvalues"], colours["eigenvectors"]
    except DAMAGE as error:
        raise _damaged(folder, error) from error


def _file(path: Path) -> Path:
    check_is_file(path)
    return path


def _damaged(folder: Path, error: Exception) -> DataError:
    return DataError(f"{folder}: damaged packed store ({error}); delete the folder and start again")


def description(meta: Meta) -> dict[str, Any]:
    """What `meta.json` holds."""
    return {"format": formats.STORE.written, **vars(meta)}
