"""How long and how large a run will be, from runs that this machine has carried out. Imports no torch."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet_sweep.config import Config
from alexnet_sweep.data.images import stored_bytes
from alexnet_sweep.data.packed import Meta, is_whole
from alexnet_sweep.data.splits import heldout_size
from alexnet_sweep.errors import FolderError
from alexnet_sweep.machine import free_bytes
from alexnet_sweep.model.plan import plan_layers
from alexnet_sweep.store import RunFolder, newest_runs

NEAREST = 5  # measured runs that an estimate is made of
OVERHEAD = 2e7  # of an image that is fetched, augmented and stepped with, in multiply-accumulates (fitted on a CPU)
FORWARD_AND_BACKWARD = 3  # multiply-accumulates of a training step, in forward passes
BYTES_A_PARAMETER = 4
WHILE_SAVING = 2  # checkpoints: the new one is written beside the old one
BYTES_AN_IMAGE = 250  # a row of predictions
ALL_PROBABILITIES_UP_TO = 100  # classes
VIEWS = 10


@dataclass(frozen=True)
class Work:
    """What a run amounts to."""

    amount: float  # multiply-accumulates of the whole run, with what each image costs besides
    net: float  # of one image
    parameters: int
    predictions: int  # rows
    classes: int
    copies: int = 2  # of each parameter in a checkpoint: its value and its velocity

    @property
    def evaluating(self) -> float:
        """The part of `amount` that comes after the last epoch: all of it where another run has trained the weights."""
        return _amount(self.net, 0, 0, 0, self.predictions)

    @property
    def disk_bytes(self) -> int:
        """What stays, with checkpoint.keep=weights."""
        each = BYTES_AN_IMAGE + (4 * self.classes if self.classes <= ALL_PROBABILITIES_UP_TO else 0)
        return self.parameters * BYTES_A_PARAMETER + self.predictions * each

    @property
    def checkpoint_bytes(self) -> int:
        return self.parameters * BYTES_A_PARAMETER * self.copies

    @property
    def saving_bytes(self) -> int:
        """What is there besides while it runs, at most."""
        return WHILE_SAVING * self.checkpoint_bytes

    def kept_bytes(self, keep: str) -> int:
        """What stays, as checkpoint.keep says."""
        weights = self.parameters * BYTES_A_PARAMETER
        return self.disk_bytes + {"weights": 0, "full": self.checkpoint_bytes, "none": -weights}[keep]


@dataclass(frozen=True)
class StoreNeeded:
    """What packing a data set would take, in bytes."""

    name: str
    kind: str  # data.store
    folder: str
    packed: bool
    needed_bytes: int  # exact for raw
    jpeg_bytes: int
    free_bytes: int

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.free_bytes


def store_needed(config: Config, meta: Meta) -> StoreNeeded:
    """Of the packed store of a run's data set."""
    data, store, images = config.data, Path(config.paths.store), sum(meta.counts.values())
    return StoreNeeded(
        meta.name,
        data.store,
        str(store),
        is_whole(store / meta.fingerprint),
        stored_bytes(data.store, images, data.stored_px),
        stored_bytes("jpeg", images, data.stored_px),
        free_bytes(store),
    )


@dataclass(frozen=True)
class Measured:
    """A finished run: what it amounted to, how long it took, and on what kind of device."""

    work: float
    net: float
    seconds: float
    device: str


def work_of(config: Config, meta: Meta) -> Work | None:
    """Of a run still to be done; None for a network of the user's own, whose size is not known before it is built."""
    layers = plan_layers(config.model, config.data.crop_px, len(meta.class_names))
    if not layers:
        return None
    net = float(sum(layer.multiply_accumulates for layer in layers))
    heldout = heldout_size(meta.counts["train"], config.data.heldout_fraction)
    train = meta.counts["train"] - heldout
    looked_at = heldout + min(config.eval.clean_train_images, train)
    tested = meta.counts["test"] + heldout
    parameters = sum(layer.parameters for layer in layers)
    amount = _amount(net, config.trainer.epochs, train, looked_at, tested)
    states = {"sgd": 1, "adam": 2, "adamw": 2}[config.optim.name]
    copies = 1 + states + (config.regularizer.ema.decay is not None) + config.regularizer.best_epoch.kept
    return Work(amount, net, parameters, tested, len(meta.class_names), copies)


def _amount(net: float, epochs: int, train: int, looked_at: int, tested: int) -> float:
    """Of a run that trains on `train` images, looks at some after each epoch, and tests some by all views."""
    return (net + OVERHEAD) * (epochs * (FORWARD_AND_BACKWARD * train + looked_at) + VIEWS * tested)


def measured_runs(runs: Path) -> list[Measured]:
    """The newest finished runs of a runs folder that were trained in one go."""
    found = []
    for folder in newest_runs(runs):
        measured = _measured(folder)
        if measured is not None:
            found.append(measured)
    return found


def _measured(folder: RunFolder) -> Measured | None:
    try:
        result, provenance = folder.read_result(), folder.read_provenance()
        if result is None or provenance.get("trained_by") is not None or not provenance.get("images_per_second"):
            return None
        data, last = result["data"], result["last_epoch"]
        looked_at = data["heldout_images"] + (last.get("clean_train_images") or 0)
        tested = data["test_images"] + data["heldout_images"]
        net = float(result["multiply_accumulates"])
        amount = _amount(net, result["epochs"], data["train_images"], looked_at, tested)
        return Measured(amount, net, float(provenance["wall_seconds"]), str(result["effective"]["device"]))
    except (FolderError, KeyError, TypeError, ValueError, AttributeError):  # damaged, or of an older version
        return None


def seconds_of(work: Work, measured: Sequence[Measured], device: str | None) -> float | None:
    """Scaled from the measured runs whose networks are nearest in size, on that kind of device; None without any."""
    there = [run for run in measured if device in (None, run.device) and run.net > 0 and run.seconds > 0]
    there.sort(key=lambda run: abs(math.log(run.net / work.net)))
    if not there:
        return None
    return work.amount * statistics.median(run.seconds / run.work for run in there[:NEAREST])
