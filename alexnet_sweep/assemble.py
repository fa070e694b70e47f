"""From a typed config and an opened data set to a trainer ready to start."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from loguru import logger
from numpy.typing import NDArray
from torch import nn

from alexnet_sweep.config import Config
from alexnet_sweep.data.batches import Pixels, TrainingBatches
from alexnet_sweep.data.builders import Progress
from alexnet_sweep.data.feed import hold
from alexnet_sweep.data.pack import open_packed
from alexnet_sweep.data.packed import Packed
from alexnet_sweep.data.splits import check_sizes, hold_out
from alexnet_sweep.distributed import Team
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.model.build import build_model
from alexnet_sweep.model.compiled import compile_norms
from alexnet_sweep.optim import build_optimizer
from alexnet_sweep.schedule import Schedule
from alexnet_sweep.streams import stream
from alexnet_sweep.train import Trainer, effective_precision

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Parts:
    """Rows of the stored splits: trained on, held out of train, tested on, and evaluated cleanly while training."""

    train: NDArray[np.int64]
    heldout: NDArray[np.int64]
    test: NDArray[np.int64]
    clean: NDArray[np.int64]


@dataclass(frozen=True)
class Assembly:
    """Everything that one run works with."""

    packed: Packed
    parts: Parts
    pixels: Pixels
    trainer: Trainer
    device: torch.device
    memory_format: str
    compiled: bool

    def heldout_in(self, epoch: int) -> NDArray[np.int64]:
        """Rows of train that no epoch up to and including `epoch` trains on."""
        return self.parts.heldout[:0] if self.trainer.schedule.heldout_joined(epoch) else self.parts.heldout

    @property
    def classes(self) -> int:
        return len(self.packed.meta.class_names)


def effective_device(wanted: str) -> torch.device:
    """The device that `trainer.device` means here; `auto` prefers CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: where the wanted device is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if there[name]))
    if not there[wanted]:
        have = ", ".join(name for name, present in there.items() if present)
        raise ConfigError(f"trainer.device={wanted}: not available to this PyTorch; have: auto, {have}")
    return torch.device(wanted)


def effective_memory_format(config: Config, device: torch.device) -> str:
    """How maps and kernels lie in memory, as `trainer.memory_format` means here.

    `auto` takes channels last where convolutions and max pooling are faster for it: on a CPU, and in half precision on
    a GPU. Parts of the user's own in the network may count on the usual order, and get it.
    """
    if config.trainer.memory_format != "auto":
        return config.trainer.memory_format
    model = config.model
    own = [part.custom for part in (model.net, model.lrn, model.pool, model.activation)]
    half = device.type == "cuda" and effective_precision(config.trainer.precision, device) != "fp32"
    return "channels_last" if (device.type == "cpu" or half) and own == [None] * len(own) else "contiguous"


def assemble(
    config: Config, device: torch.device, progress: Progress | None = None, team: Team | None = None
) -> Assembly:
    """Open (or build) the packed data set, and build network, optimiser and schedule; `team` is who trains together.

    Raises:
        SweepError: a mistake that only the data could show.
    """
    packed = open_packed(config.data, Path(config.paths.store), progress)
    check_sizes(config, packed.meta.counts)
    place = str(Path(config.paths.store).resolve() / packed.meta.fingerprint)
    return assembled(config, device, hold(packed, place, device, config.trainer.hold_images), team)


def assembled(config: Config, device: torch.device, packed: Packed, team: Team | None = None) -> Assembly:
    """Build network, optimiser and schedule for an opened data set; `team` is who trains together.

    Raises:
        ConfigError: where a decay is set for a layer that is not there.
    """
    parts = split_parts(config, packed)
    named = effective_memory_format(config, device)
    memory_format = MEMORY_FORMATS[named]
    pixels = Pixels.of(packed, config.data, config.inputs, device, memory_format)
    net = build_model(config, len(packed.meta.class_names)).to(device)
    net.to(memory_format=memory_format)
    compiled = config.trainer.compile and _compiled(net, pixels, named)
    schedule = Schedule(config.schedule, config.trainer.epochs)
    everything = np.sort(np.concatenate([parts.train, parts.heldout]))
    trainer = Trainer(
        net,
        TrainingBatches(
            packed.images["train"],
            packed.labels["train"],
            lambda epoch: everything if schedule.heldout_joined(epoch) else parts.train,
            pixels=pixels,
            aug=config.aug,
            batch_size=config.trainer.batch_size,
            seed=config.seed,
            device=device,
            epochs=config.trainer.epochs,
        ),
        build_optimizer(net, config.optim, config.regularizer.weight_decay),
        schedule,
        config=config.trainer,
        optim=config.optim,
        device=device,
        classes=len(packed.meta.class_names),
        mix=config.aug.mix,
        regularizer=config.regularizer,
        team=team,
    )
    return Assembly(packed, parts, pixels, trainer, device, named, compiled)


def _compiled(net: nn.Module, pixels: Pixels, memory_format: str) -> bool:
    """Compile what can be; tells in the log why it cannot."""
    reason: str | None = f"with trainer.memory_format={memory_format} it is slower; choose channels_last"
    if memory_format == "channels_last":
        with torch.random.fork_rng(devices=[]):
            reason = compile_norms(net, torch.zeros(2, *pixels.mean.shape, device=pixels.mean.device))
    if reason is not None:
        logger.warning("trainer.compile: not compiled, {}", reason)
    return reason is None


def split_parts(config: Config, packed: Packed) -> Parts:
    """Which stored rows are used for what; the held-out part depends on neither seed nor arm."""
    train, heldout = hold_out(packed.labels["train"], config.data.heldout_fraction, "heldout")
    chosen = stream(0, "clean").permutation(len(train))[: config.eval.clean_train_images]
    return Parts(train, heldout, np.arange(len(packed.labels["test"])), train[np.sort(chosen)])
