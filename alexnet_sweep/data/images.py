"""Stored images: rows of raw pixels in a memory-mapped file, or JPEGs one after the other, decoded as they are read.

    <split>.images.npy    store=raw:  uint8 (n, 3, side, side)
    <split>.images.jpeg   store=jpeg: n JPEG files, end to end
    <split>.ends.npy      store=jpeg: int64 (n,), where each of them ends

A batch reader takes either as `Images`. Nothing here imports torch.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet_sweep.errors import DataError
from alexnet_sweep.files import check_is_file
from alexnet_sweep.launching import cores_of_a_run

KINDS = ("raw", "jpeg")
QUALITY = 90  # about 30 KB a photograph of 256 px, with colours at full resolution
JPEG_BYTES_A_PIXEL, JPEG_HEADER_BYTES = 0.46, 620  # of photographs, measured
FEW = 8  # images that one thread decodes as soon as several


class Images(Protocol):
    """What a batch reader needs of stored images."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, 3, side, side)"""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any:
        """uint8 (rows, 3, side, side); of one row (3, side, side)."""
        ...


def open_images(folder: Path, split: str, side: int | None = None) -> Images:
    """The images of a split, whichever way they are stored.

    Raises:
        OSError, ValueError, EOFError: for files that are missing or do not fit each other.
    """
    raw, coded = folder / f"{split}.images.npy", folder / f"{split}.images.jpeg"
    images: Images
    if coded.is_file():
        check_is_file(folder / f"{split}.ends.npy")
        content, ends = np.memmap(coded, np.uint8, "r"), np.load(folder / f"{split}.ends.npy")
        images = JpegImages(coded, content, ends)
    else:
        check_is_file(raw)
        pixels: NDArray[np.uint8] = np.load(raw, mmap_mode="r")
        if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[1] != 3:
            raise ValueError(f"{raw.name} holds {pixels.dtype} {pixels.shape}")
        images = pixels
    if side is not None and images.shape[2:] != (side, side):
        raise ValueError(f"images of {split} are {images.shape[2:]} px, not {side}")
    return images


class JpegImages:
    """JPEGs of equal size, decoded by as many threads as a run may use cores; the same pixels as often as asked."""

    def __init__(self, path: Path, content: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        if ends.ndim != 1 or ends.dtype != np.int64 or len(ends) == 0 or ends[0] <= 0 or (np.diff(ends) <= 0).any():
            raise ValueError(f"{path.name}: its ends do not rise")
        if ends[-1] != len(content):
            raise ValueError(f"{path.name} has {len(content)} bytes, not {ends[-1]}")
        self._path, self._content, self._ends = path, content, ends
        self._side = Image.open(io.BytesIO(self._coded(0))).width

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._ends), 3, self._side, self._side)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, rows: Any, /) -> NDArray[np.uint8]:
        if isinstance(rows, int | np.integer):
            return self._one(range(len(self))[rows])
        places = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        batch = np.empty((len(places), *self.shape[1:]), np.uint8)

        def fill(first: int) -> None:
            for number in range(first, len(places), threads):
                batch[number] = self._one(int(places[number]))

        threads = cores_of_a_run() if len(places) > FEW else 1
        if threads == 1:
            fill(0)
        else:
            list(_pool(threads).map(fill, range(threads)))
        return batch

    def _coded(self, row: int) -> bytes:
        start = int(self._ends[row - 1]) if row else 0
        return self._content[start : int(self._ends[row])].tobytes()

    def _one(self, row: int) -> NDArray[np.uint8]:
        try:
            pixels = pixels_of(self._coded(row))
            if pixels.shape != self.shape[1:]:
                raise ValueError(f"of {pixels.shape}")
            return pixels
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(
                f"{self._path}: image {row} is damaged ({error}); delete its folder and start again"
            ) from error


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="decode")


def jpeg_of(pixels: NDArray[np.uint8]) -> bytes:
    """A JPEG file of uint8 (3, side, side)."""
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    image.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


def pixels_of(jpeg: bytes) -> NDArray[np.uint8]:
    """uint8 (3, side, side), as `JpegImages` gives them."""
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def stored_bytes(kind: str, images: int, side: int) -> int:
    """What images take on the disk: exactly so for raw, about so for jpeg, whose size hangs on what they show."""
    return images * (3 * side**2 if kind == "raw" else round(JPEG_HEADER_BYTES + JPEG_BYTES_A_PIXEL * side**2))
