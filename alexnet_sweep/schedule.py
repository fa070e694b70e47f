"""How the learning rate falls: a factor of the full rate for each epoch (paper §5)."""

import math
from dataclasses import dataclass
from typing import Any

from alexnet_sweep.config import ScheduleConfig
from alexnet_sweep.plugins import load


@dataclass(frozen=True)
class Factors:
    """What the full learning rates are multiplied by in one epoch."""

    weights: float  # but conv1's
    biases: float  # but conv1's
    conv1: float  # its weights
    conv1_biases: float


CONV1_DROP = 1e-3  # 1e-5 of the released code's full rate 1e-2


class Schedule:
    """The factor for the epoch that comes next; only `plateau` looks at errors, and only at held-out ones."""

    def __init__(self, config: ScheduleConfig, total_epochs: int) -> None:
        self.config, self.total_epochs = config, total_epochs
        self._custom = None if config.custom is None else load(config.custom)
        self.drops = 0
        self.best: float | None = None
        self.waited = 0

    def factor(self, epoch: int) -> float:
        """Of weights but conv1's, for epoch `epoch`, counted from 0."""
        config = self.config
        if self._custom is not None:
            return float(self._custom(epoch, self.total_epochs))
        if config.name == "constant":
            return 1.0
        if config.name == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * epoch / self.total_epochs))
        if config.name == "fractions":
            # Rounded, so that 0.55 of 100 epochs is epoch 55 and not the one after it.
            drops = sum(epoch >= round(part * self.total_epochs, 6) for part in config.drop_fractions)
        elif config.name == "multistep":
            drops = sum(epoch >= after for after in config.drop_epochs)
        else:
            drops = self.drops
        return config.drop_factor**drops

    def factors(self, epoch: int) -> Factors:
        """For epoch `epoch`, counted from 0."""
        factor, cut = self.factor(epoch), self._conv1_cut(epoch)
        biases = factor if self.config.drop_biases else 1.0
        if cut is None:
            return Factors(factor, biases, conv1=factor, conv1_biases=biases)
        return Factors(factor, biases, conv1=cut, conv1_biases=cut)

    def heldout_joined(self, epoch: int) -> bool:
        """Whether the held-out part is trained on in epoch `epoch` (the second phase of cuda-convnet's recipes)."""
        joins = self.config.heldout_joins_fraction
        return joins is not None and epoch >= round(joins * self.total_epochs, 6)

    def _conv1_cut(self, epoch: int) -> float | None:
        """The factor of conv1 alone, once it has one: the released runs cut and then froze it before the others."""
        drop, freeze = self.config.conv1_drop_fraction, self.config.conv1_freeze_fraction
        if freeze is not None and epoch >= round(freeze * self.total_epochs, 6):
            return 0.0
        if drop is not None and epoch >= round(drop * self.total_epochs, 6):
            return CONV1_DROP
        return None

    def observe(self, heldout_top1_error: float) -> None:
        """Tell the schedule the held-out error after an epoch."""
        if self.config.name != "plateau":
            return
        if self.best is None or heldout_top1_error < self.best:
            self.best, self.waited = heldout_top1_error, 0
            return
        self.waited += 1
        if self.waited >= self.config.patience_epochs and self.drops < self.config.max_drops:
            self.drops, self.waited = self.drops + 1, 0

    def state(self) -> dict[str, Any]:
        return {"drops": self.drops, "best": self.best, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        self.drops, self.best, self.waited = state["drops"], state["best"], state["waited"]
