"""The full training state, saved whole and restored exactly.

Random streams are keyed by seed, use and step, so that the state holds no generator: weights, optimiser,
schedule, scaler, the place in training, the sums of the running epoch and the rows of the finished ones.
"""

from pathlib import Path
from typing import Any

import torch

from alexnet_sweep import formats
from alexnet_sweep.errors import FolderError
from alexnet_sweep.files import whole_file
from alexnet_sweep.train import Trainer


def save(path: Path, trainer: Trainer, history: dict[str, Any]) -> None:
    """Write the state of `trainer` and what its caller remembers of the run so far (plain values)."""
    state = {"format": formats.RUN.written, "trainer": trainer.state(), "history": history}
    with whole_file(path) as stream:
        torch.save(state, stream)


def restore(path: Path, trainer: Trainer) -> dict[str, Any]:
    """Put `trainer` where the checkpoint left off; returns the history saved with it.

    Raises:
        FolderError: where the file is damaged or of another format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        formats.check(formats.RUN, state["format"], path)
        trainer.restore(state["trainer"])
        return dict(state["history"])
    except Exception as error:  # a damaged file can fail anywhere in the unpickler
        reason = " ".join(str(error).split())[:200]
        raise FolderError(
            f"{path}: cannot be resumed from ({reason}); delete the file to start the run again"
        ) from error
