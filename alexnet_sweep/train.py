"""The training loop (paper §5): batches in, sums out. Opens no file.

`Trainer.steps` yields after every step, so that its caller can save, stop or show progress between two of
them; a trainer restored from `state` goes on as if it had never stopped.
"""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from alexnet_sweep.config import MixConfig, OptimConfig, RegularizerConfig, TrainerConfig
from alexnet_sweep.data.batches import TrainingBatches
from alexnet_sweep.distributed import Team
from alexnet_sweep.metrics import TOP
from alexnet_sweep.model.layers import set_step
from alexnet_sweep.optim import lay_out_as_parameters, set_learning_rate_factors
from alexnet_sweep.plugins import load
from alexnet_sweep.schedule import Schedule
from alexnet_sweep.speed import STUCK_WINDOW_STEPS, StepsToThreshold
from alexnet_sweep.streams import stream_seed

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def effective_precision(wanted: str, device: torch.device) -> str:
    """The precision that `trainer.precision` means here; `auto` is bf16 on a GPU that has it."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "fp32"


@dataclass(frozen=True)
class Step:
    """Where training stands after a step: epochs and steps are counted from 0."""

    epoch: int
    number: int  # within the epoch
    before: int  # steps of earlier epochs
    total: int  # steps of the whole training
    images: int
    ends_epoch: bool


@dataclass(frozen=True)
class EpochSums:
    """Training figures of one epoch as trained: with augmentation and dropout, weights moving."""

    images: int
    loss: float  # mean cross-entropy, nats
    top1: int  # wrong first answers
    top5: int | None


class Trainer:
    """Trains one network; the position, sums and optimiser make up its whole state."""

    def __init__(
        self,
        net: nn.Module,
        batches: TrainingBatches,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        *,
        config: TrainerConfig,
        optim: OptimConfig,
        device: torch.device,
        classes: int,
        mix: MixConfig,
        regularizer: RegularizerConfig,
        team: Team | None = None,
    ) -> None:
        self.team = team or Team()
        self._copies: nn.Module | None = None
        self.net, self.batches, self.optimizer, self.schedule = net, batches, optimizer, schedule
        self.config, self.optim, self.device, self.classes = config, optim, device, classes
        self.label_smoothing = regularizer.label_smoothing.amount
        self._chooses = regularizer.best_epoch.kept
        self._best: dict[str, Any] | None = None  # error, epoch and weights (regularizer/best_epoch=on)
        self._mix = None if mix.custom is None else load(mix.custom)(num_classes=classes)
        self._averaged: AveragedModel | None = None
        if regularizer.ema.decay is not None:
            self._averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(regularizer.ema.decay))  # type: ignore[no-untyped-call]
        self.precision = effective_precision(config.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.to_threshold = StepsToThreshold(config.threshold_train_error, config.threshold_images)
        self._recent: deque[Tensor] = deque(maxlen=STUCK_WINDOW_STEPS)  # losses
        self._unseen: list[Tensor] = []  # losses of the steps since `not_finite` was asked
        self._last_finite: tuple[int, float] | None = None  # step and loss
        self.epoch = 0
        self.next_step = 0  # within the epoch
        self._clear_sums()

    @property
    def evaluated(self) -> nn.Module:
        """The network that answers: the one that is trained, or the running average of its weights."""
        return self.net if self._averaged is None else self._averaged.module

    def answer(self, inputs: Tensor) -> Tensor:
        """Logits of the evaluated network, at the run's precision."""
        return self._forward(self.evaluated, inputs)

    def _forward(self, net: nn.Module, inputs: Tensor) -> Tensor:
        with self._autocast():
            logits: Tensor = net(inputs)
        return logits

    def steps(self) -> Iterator[Step]:
        """Train from where the state stands to the last epoch, yielding after every step.

        At the end of an epoch the caller takes `epoch_sums`, evaluates, lets the schedule observe and then
        calls `close_epoch`; only then does the state point at the next epoch.
        """
        while self.epoch < self.config.epochs:
            set_learning_rate_factors(self.optimizer, self.schedule.factors(self.epoch), self.optim.velocity)
            of, before = self.batches.steps(self.epoch), self.batches.steps_before(self.epoch)
            total = self.batches.steps_before(self.config.epochs)
            self.net.train()
            for inputs, labels in self.batches.epoch(self.epoch, self.next_step):
                self._train_on(inputs, labels)
                number, self.next_step = self.next_step, self.next_step + 1
                yield Step(self.epoch, number, before, total, len(labels), ends_epoch=self.next_step == of)
            assert self.next_step == 0, "close_epoch was not called"

    def close_epoch(self) -> None:
        """Move on to the next epoch."""
        self.to_threshold.add(torch.stack(self._wrong).tolist(), self._counts)
        self.epoch, self.next_step = self.epoch + 1, 0
        self._clear_sums()

    def keep_if_best(self, heldout_top1_error: float) -> None:
        """At the end of an epoch: remember its weights if no earlier epoch did as well, where they are chosen so."""
        if self._chooses and (self._best is None or heldout_top1_error < self._best["error"]):
            weights = {name: value.detach().clone() for name, value in self.evaluated.state_dict().items()}
            self._best = {"error": heldout_top1_error, "epoch": self.epoch, "weights": weights}

    def take_chosen(self) -> int:
        """After the last epoch: evaluate with the weights remembered, if any; returns their epoch, counted from 0."""
        if self._best is None:
            return self.config.epochs - 1
        self.evaluated.load_state_dict(self._best["weights"])
        return int(self._best["epoch"])

    def epoch_sums(self) -> EpochSums:
        """The running epoch's figures; waits for the device."""
        images = self._images
        return EpochSums(
            images,
            float(self._loss) / max(images, 1),
            int(self._top1),
            int(self._top5) if self.classes > TOP else None,
        )

    @property
    def steps_done(self) -> int:
        """In all epochs so far."""
        return self.batches.steps_before(self.epoch) + self.next_step

    def recent_loss(self) -> float:
        """Mean training loss of the last steps, nats; waits for the device."""
        return float(torch.stack(list(self._recent)).double().mean())

    def not_finite(self) -> str | None:
        """What is no longer a finite number, and since when; waits for the device.

        Losses are looked at step by step, but only now: asking after every step would have a GPU wait. A step whose
        loss is finite may leave weights that are not; these are looked at as they are now.
        """
        first = self.steps_done - len(self._unseen)
        losses = torch.stack(self._unseen).tolist() if self._unseen else []
        self._unseen = []
        for step, loss in enumerate(losses, first + 1):
            if not math.isfinite(loss):
                return f"the training loss of step {step} is {loss}{self._since()}"
            self._last_finite = step, loss
        weights = {**dict(self.net.named_parameters()), **dict(self.net.named_buffers())}
        if self._averaged is not None:
            weights |= {f"averaged {name}": value for name, value in self._averaged.module.named_parameters()}
        finite = torch.stack([value.detach().isfinite().all() for value in weights.values()]).tolist()
        wrong = [name for name, good in zip(weights, finite, strict=True) if not good]
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            return f"after step {self.steps_done} the weights of {wrong[0]}{more} are not finite{self._since()}"
        return None

    def _since(self) -> str:
        if self._last_finite is None:
            return ""
        return f" (the last finite loss was {self._last_finite[1]:.4g}, in step {self._last_finite[0]})"

    @property
    def learning_rate(self) -> float:
        """Of the weights (but conv1's), in the running epoch."""
        return float(self.optimizer.param_groups[0]["lr"])

    def _train_on(self, inputs: Tensor, labels: Tensor) -> None:
        mine, weight = self._part(len(labels))
        set_step(self.net, self.steps_done, None if self.team.size == 1 else (mine, len(labels)))
        targets = labels  # class numbers, or where images are mixed (batch, classes) shares
        # For parts that draw from torch's own generator; ours have streams of their own.
        torch.manual_seed(stream_seed(self.batches.seed, "step", self.steps_done))
        if self._mix is not None:
            inputs, targets = self._mix(inputs, labels)
        whole, inputs, targets, labels = len(labels), inputs[mine], targets[mine], labels[mine]
        logits, loss = self.update(inputs, targets, weight)
        self._add_to_sums(logits, labels, loss, whole, counts=weight > 0)

    def update(self, inputs: Tensor, targets: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor]:
        """Forth, back and one step of the optimiser; returns the logits and the mean loss before it.

        `weight` is what this process's mean loss counts beside those of the others.
        """
        if self._copies is None:
            self._copies = self.team.copies(self.net, self.device)
        self.optimizer.zero_grad(set_to_none=True)
        logits = self._forward(self._copies, inputs).float()
        loss = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        if self.team.size > 1:
            loss = weight * loss
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.config.clip_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self._averaged is not None:
            self._averaged.update_parameters(self.net)
        return logits.detach(), loss.detach()

    def _part(self, whole: int) -> tuple[slice, float]:
        """This process's part of a batch, and what its mean loss counts beside those of the other processes.

        A process without an image, in a last batch that is smaller than the team, works on one that does not count.
        """
        mine = self.team.part(whole)
        images = mine.stop - mine.start
        if images == 0:
            return slice(0, 1), 0.0
        return mine, images * self.team.size / whole

    def _add_to_sums(self, logits: Tensor, labels: Tensor, loss: Tensor, whole: int, *, counts: bool) -> None:
        # Stays on the device: nothing here waits for it.
        own = logits.gather(1, labels[:, None])
        classes = torch.arange(logits.shape[1], device=self.device)
        behind = (logits < own) | ((logits == own) & (classes >= labels[:, None]))  # as metrics.label_ranks
        ranks = logits.shape[1] - behind.sum(1)
        wrong, wrong5 = (ranks >= 1).sum(), (ranks >= TOP).sum()
        if self.team.size > 1:
            wrong, wrong5 = self.team.summed(torch.stack([wrong, wrong5]) * int(counts)).unbind()
            loss = self.team.summed(loss / self.team.size)  # of the whole batch
        self._images += whole
        self._loss += loss.to(self._loss.dtype) * whole
        self._wrong.append(wrong)
        self._counts.append(whole)
        self._recent.append(loss)
        self._unseen.append(loss)
        self._top1 += wrong
        self._top5 += wrong5

    def _clear_sums(self) -> None:
        real = torch.float32 if self.device.type == "mps" else torch.float64  # MPS has no float64
        self._images = 0
        self._wrong: list[Tensor] = []  # of each step of the epoch
        self._counts: list[int] = []
        self._loss = torch.zeros((), dtype=real, device=self.device)
        self._top1 = torch.zeros((), dtype=torch.int64, device=self.device)
        self._top5 = torch.zeros((), dtype=torch.int64, device=self.device)

    def _autocast(self) -> AbstractContextManager[Any]:
        enabled = self.precision in DTYPES
        return torch.autocast(self.device.type, DTYPES.get(self.precision), enabled=enabled)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on as if never stopped; tensors are the live ones, to be saved at once."""
        return {
            "epoch": self.epoch,
            "next_step": self.next_step,
            "net": self.net.state_dict(),
            "averaged": None if self._averaged is None else self._averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "scaler": self.scaler.state_dict(),
            "images": self._images,
            "sums": [self._loss, self._top1, self._top5],
            "wrong": list(self._wrong),
            "counts": list(self._counts),
            "recent": list(self._recent),
            "to_threshold": self.to_threshold.state(),
            "best": self._best,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a `state`."""
        self.net.load_state_dict(state["net"])
        if self._averaged is not None:
            self._averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        lay_out_as_parameters(self.optimizer)
        self.schedule.restore(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.next_step = state["epoch"], state["next_step"]
        self._images = state["images"]
        self._wrong = [value.to(self.device) for value in state["wrong"]]
        self._counts = list(state["counts"])
        self._recent = deque((value.to(self.device) for value in state["recent"]), maxlen=STUCK_WINDOW_STEPS)
        self.to_threshold.restore(state["to_threshold"])
        self._best = state["best"]
        self._loss, self._top1, self._top5 = (value.to(self.device) for value in state["sums"])
        self._unseen = []
        self._last_finite = (self.steps_done, float(self._recent[-1])) if self._recent else None
