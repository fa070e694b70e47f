"""The full training state, saved whole and restored exactly.

Random streams are keyed by seed, use and step, so that the state holds no generator: weights, optimiser,
schedule, scaler, the place in training, the sums of the running epoch and the rows of the finished ones.

What `torch.save` writes is followed by its digest: PyTorch itself loads a file with a flipped bit.
"""

import hashlib
import os
from pathlib import Path
from typing import IO, Any, cast

import torch

from alexnet_sweep import failpoints, formats
from alexnet_sweep.errors import FolderError
from alexnet_sweep.files import whole_file
from alexnet_sweep.train import Trainer

MARK = b"sha256 of all before: "
TRAILER_BYTES = len(MARK) + 32


class _Hashed:
    """A stream that knows the digest of what was written, and keeps the error that PyTorch makes another of."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._digest = stream, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        try:
            failpoints.pass_by("checkpoint.write")
            written = self._stream.write(content)
        except OSError as error:
            self.error = error
            raise
        self._digest.update(content)
        return written

    def flush(self) -> None:
        self._stream.flush()

    def trailer(self) -> bytes:
        return MARK + self._digest.digest()


def save(path: Path, trainer: Trainer, history: dict[str, Any]) -> None:
    """Write the state of `trainer` and what its caller remembers of the run so far (plain values).

    Raises:
        OSError, CannotWrite: as `whole_file`; the checkpoint that was there is there still.
    """
    state = {"format": formats.RUN.written, "trainer": trainer.state(), "history": history}
    with whole_file(path) as stream:
        hashed = _Hashed(stream)
        try:
            torch.save(state, cast(IO[bytes], hashed))
        except RuntimeError:
            if hashed.error is None:
                raise
            raise hashed.error from None
        stream.write(hashed.trailer())


def restore(path: Path, trainer: Trainer) -> dict[str, Any]:
    """Put `trainer` where the checkpoint left off; returns the history saved with it.

    Raises:
        FolderError: where the file is damaged or of another format.
        MemoryError, torch.OutOfMemoryError, OSError: where it could not be read this time.
    """
    try:
        _check(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        formats.check(formats.RUN, state["format"], path)
        trainer.restore(state["trainer"])
        return dict(state["history"])
    except (MemoryError, torch.OutOfMemoryError, OSError):  # says nothing of the file
        raise
    except Exception as error:  # a damaged file can fail anywhere in the unpickler
        reason = " ".join(str(error).split())[:200]
        raise FolderError(
            f"{path}: cannot be resumed from ({reason}); delete the file to start the run again"
        ) from error


def _check(path: Path) -> None:
    """Refuse a file that is not as it was written."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        left = os.fstat(stream.fileno()).st_size - TRAILER_BYTES
        while left > 0:
            content = stream.read(min(left, 1 << 20))
            if not content:
                break
            digest.update(content)
            left -= len(content)
        trailer = stream.read()
    if not trailer.startswith(MARK):
        raise ValueError("no digest at its end: cut short, or written by an older version")
    if trailer != MARK + digest.digest():
        raise ValueError("damaged: its digest is another")
