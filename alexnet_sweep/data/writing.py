"""The unfinished store: images appended in order, and a record of how far that has come, from which a build goes on.

The record is written once everything before it is on the disk; what was appended after it is cut off again.
"""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from alexnet_sweep import failpoints, formats
from alexnet_sweep.data.colours import Sums
from alexnet_sweep.files import to_be_continued, whole_file

STATE = "state.npz"


@dataclass(frozen=True)
class Chunk:
    """Consecutive images of a split, ready to be written."""

    taken: int  # images of the source, skipped ones too
    content: bytes | memoryview  # of bytes
    lengths: list[int]  # bytes of each image
    skipped: list[int]  # rows of the source that cannot be read
    sums: Sums | None  # of training images


@dataclass
class Reached:
    """How far a split is: images of the source taken, and what of them is in the file."""

    taken: int = 0
    kept: int = 0
    size: int = 0  # bytes, without a header
    checksum: int = 0  # CRC-32 of these
    skipped: list[int] = field(default_factory=list)


@dataclass
class State:
    """How far a build is."""

    splits: dict[str, Reached]
    sums: Sums

    def save(self, part: Path, mark: str) -> None:
        told = {
            "format": formats.STORE.written,
            "fingerprint": mark,
            "splits": {k: asdict(v) for k, v in self.splits.items()},
        }
        with whole_file(part / STATE) as stream:
            np.savez(
                stream,
                told=np.array(json.dumps(told)),
                images=self.sums.images,
                pixels=self.sums.pixels,
                products=self.sums.products,
            )


def saved_state(part: Path, mark: str, kind: str, side: int, splits: Sequence[str]) -> State:
    """Where a build of just this store has come to; the beginning, where no record of it can be trusted."""
    try:
        with (part / STATE).open("rb") as stream, np.load(stream) as saved:
            told: dict[str, Any] = json.loads(str(saved["told"]))
            begun = (told["format"], told["fingerprint"], sorted(told["splits"])) == (
                formats.STORE.written,
                mark,
                sorted(splits),
            )
            if begun and all("checksum" in reached for reached in told["splits"].values()):
                sums = Sums(int(saved["images"]), saved["pixels"], saved["products"])
                state = State({split: Reached(**told["splits"][split]) for split in splits}, sums)
                if all(_is_there(part, split, kind, side, reached) for split, reached in state.splits.items()):
                    return state
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        pass  # none, or of a build that was not this one
    return State({split: Reached() for split in splits}, Sums.none(side))


def _is_there(part: Path, split: str, kind: str, side: int, reached: Reached) -> bool:
    if kind == "raw":
        return (part / f"{split}.images.npy").stat().st_size >= len(_header(0, side)) + reached.size
    lengths = (part / f"{split}.lengths").stat().st_size
    return lengths >= 8 * reached.kept and (part / f"{split}.images.jpeg").stat().st_size >= reached.size


class Writer:
    """Appends the images of one split, from where `reached` says."""

    def __init__(self, folder: Path, split: str, kind: str, count: int, side: int, reached: Reached) -> None:
        self.reached, self._side, self._kind = reached, side, kind
        self._folder, self._split = folder, split
        header = _header(count, side) if kind == "raw" else b""
        name = f"{split}.images.npy" if kind == "raw" else f"{split}.images.jpeg"
        self._images = _continued(folder / name, header, len(header) + reached.size)
        self._lengths = _continued(folder / f"{split}.lengths", b"", 8 * reached.kept) if kind == "jpeg" else None

    def add(self, chunk: Chunk) -> None:
        reached = self.reached
        self._images.write(chunk.content)
        failpoints.pass_by("data.chunk")
        if self._lengths is not None:
            self._lengths.write(np.array(chunk.lengths, np.int64).tobytes())
        reached.skipped += chunk.skipped
        reached.taken += chunk.taken
        reached.kept += chunk.taken - len(chunk.skipped)
        reached.size += len(chunk.content)
        reached.checksum = zlib.crc32(chunk.content, reached.checksum)

    def sync(self) -> None:
        for stream in (self._images, self._lengths):
            if stream is not None:
                stream.flush()
                os.fsync(stream.fileno())

    def finish(self) -> None:
        """Close the files, with the number of images that there came to be."""
        if self._kind == "raw" and self.reached.skipped:
            self._images.seek(0)
            self._images.write(_header(self.reached.kept, self._side))
        self.sync()
        if self._lengths is not None:
            lengths = np.fromfile(self._folder / f"{self._split}.lengths", np.int64)
            save_array(self._folder / f"{self._split}.ends.npy", np.cumsum(lengths))
        self.close()

    def close(self) -> None:
        self._images.close()
        if self._lengths is not None:
            self._lengths.close()


def save_array(path: Path, array: NDArray[Any]) -> None:
    with whole_file(path) as stream:
        np.save(stream, array)


def _header(count: int, side: int) -> bytes:
    """Of a .npy file; NumPy leaves room in it for any number of images, so that its length is always the same."""
    stream = io.BytesIO()
    shape = (count, 3, side, side)
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def _continued(path: Path, header: bytes, length: int) -> IO[bytes]:
    """A file cut to `length`, to be written on from there; begun with its header where that is all of it."""
    stream = to_be_continued(path).open("r+b" if path.is_file() else "w+b")
    if length == len(header):
        stream.write(header)
    stream.truncate(length)
    stream.seek(length)
    return stream
