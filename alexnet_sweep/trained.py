"""A finished run, open: its network with the trained weights, its images, and what evaluates them as the run did.

For the verbs that look at a run again; nothing is written into its folder.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from alexnet_sweep.assemble import Assembly, assembled, effective_device
from alexnet_sweep.backend import backend
from alexnet_sweep.data.builders import Progress
from alexnet_sweep.data.pack import fingerprint, open_packed
from alexnet_sweep.data.packed import Packed, is_whole, read_packed
from alexnet_sweep.errors import FolderError, one_line
from alexnet_sweep.finished import FinishedRun
from alexnet_sweep.identity import names_digest
from alexnet_sweep.outcome import probabilities
from alexnet_sweep.plugins import check_plugins
from alexnet_sweep.predict import Beat, Probabilities

Part = Literal["train", "heldout", "test"]
PARTS: tuple[Part, ...] = ("train", "heldout", "test")


@dataclass(frozen=True)
class TrainedRun:
    """A finished run with everything that it answers with."""

    run: FinishedRun
    job: Assembly  # as a run has it, with the weights that it has ended with

    @property
    def net(self) -> nn.Module:
        """The network that was evaluated, in evaluation mode, on `job.device`: (batch, 3, crop, crop) → logits."""
        return self.job.trainer.evaluated

    def part(self, name: Part) -> tuple[str, NDArray[np.int64]]:
        """The stored split and its rows: what was trained on, what was held out to the last, or the test images."""
        heldout = self.job.heldout_in(self.run.config.trainer.epochs - 1)
        if name == "test":
            return "test", self.job.parts.test
        if name == "heldout":
            return "train", heldout
        everything = np.concatenate([self.job.parts.train, self.job.parts.heldout])
        return "train", np.setdiff1d(everything, heldout)

    def probabilities(
        self, split: str, rows: NDArray[np.int64], *, all_views: bool, beat: Beat = lambda: None
    ) -> Probabilities:
        """Class probabilities of stored rows, by the config's way of evaluation."""
        return probabilities(self.job, self.run.config.eval, split, rows, beat, all_views=all_views)


@contextmanager
def opened(run: FinishedRun, device: str = "auto", progress: Progress | None = None) -> Iterator[TrainedRun]:
    """Open a finished run, with its own number of threads and its precision, for as long as the block lasts.

    On the device and with the libraries that it was trained with, the same images get the same answers. The config may
    have been changed in what training does not look at (`eval`). `progress` sees images packed, where they must be.

    Raises:
        FolderError: where the weights were not kept or do not fit, or the data are not those that it was trained on.
        DataError: where they are gone, with their packed copy.
        ConfigError: where the device is not there, or a part of the user's own cannot be loaded.
    """
    config = run.config
    check_plugins(config)
    chosen = effective_device(device)
    weights = read_weights(run)
    plain = dataclasses.replace(config.trainer, compile=False, processes=1)  # the same answers, and sooner
    with backend(config.trainer):
        job = assembled(dataclasses.replace(config, trainer=plain), chosen, packed_images(run, progress))
        _load(run, job.trainer.evaluated, weights)
        job.trainer.evaluated.eval()
        yield TrainedRun(run, job)


def read_weights(run: FinishedRun) -> dict[str, Tensor]:
    """The final weights, by parameter.

    Raises:
        FolderError: where they were not kept, cannot be read, or are not as they were recorded.
    """
    path = run.folder.weights
    if not path.is_file():
        kept = run.config.checkpoint.keep
        why = f"checkpoint.keep={kept} kept none" if kept == "none" else "it has gone from the folder"
        raise FolderError(
            f"{path}: not there ({why}); train the run again with checkpoint.keep=weights sweep.retrain={run.name}"
        )
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise FolderError(f"{path}: cannot be read ({one_line(error)}); train the run again") from error
    run.folder.check_weights(run.result)
    return weights


def packed_images(run: FinishedRun, progress: Progress | None = None) -> Packed:
    """The images that a run was trained on, by their fingerprint: as packed then, or packed again.

    Raises:
        FolderError: where the data set has changed since, and the packed copy is gone.
        DataError: where both are gone, or the packed copy is damaged.
    """
    data = run.config.data
    stores = [run.folder.path.parent / "_data", Path(run.config.paths.store)]
    for store in stores:
        if is_whole(store / run.fingerprint):
            return _of_the_run(run, read_packed(store / run.fingerprint))
    mark = fingerprint(data)
    if mark != run.fingerprint:
        raise FolderError(
            f"{run.folder.path}: trained on data of fingerprint {run.fingerprint}, of which no packed copy is left in "
            f"{stores[0]}; data={data.name} is {mark} by now. Bring back the images as they were, or train it again"
        )
    return _of_the_run(run, open_packed(data, stores[0], progress))


def _of_the_run(run: FinishedRun, packed: Packed) -> Packed:
    names = names_digest(packed.meta.class_names)
    if run.result["data"].get("class_names", names) != names:
        raise FolderError(f"{run.folder.path}: its classes were others than those of {run.fingerprint}; train it again")
    return packed


def _load(run: FinishedRun, net: nn.Module, weights: dict[str, Tensor]) -> None:
    ours = net.state_dict()
    for name in sorted({*ours, *weights}):
        there = list(weights[name].shape) if name in weights else "missing"
        here = list(ours[name].shape) if name in ours else "missing"
        if there != here:
            raise FolderError(
                f"{run.folder.weights}: {name} is {there} there and {here} in the network of {run.folder.config.name}; "
                "look at the run with the version that trained it"
            )
    with torch.no_grad():
        net.load_state_dict(weights)
