"""A few training steps, timed: what a run would take on this machine now. Writes nothing but the packed data set."""

import copy
import time
from dataclasses import dataclass

from alexnet_sweep.assemble import assemble, effective_device
from alexnet_sweep.backend import backend
from alexnet_sweep.config import Config
from alexnet_sweep.train import Trainer

WARM_UP_STEPS = 3
SECONDS = 5.0
STEPS = 30
NOT_TRAINING = 1.15  # evaluation and saving, as a share of the training time
LONG_SECONDS = 600.0  # a shorter run cannot win back half a minute of compiling by a few percent of its steps


@dataclass(frozen=True)
class Probed:
    """What a few steps of a run took."""

    step_seconds: float
    steps: int  # of the whole run
    set_up_seconds: float  # with compiling, if that was asked for
    compiled: bool
    device: str

    @property
    def seconds(self) -> float:
        """What the whole run would take."""
        return self.step_seconds * self.steps * NOT_TRAINING


@dataclass(frozen=True)
class Compiling:
    """What `trainer.compile=true` would do for a run."""

    step_seconds: float
    compiled_step_seconds: float
    compile_seconds: float
    steps: int

    @property
    def gain_seconds(self) -> float:
        """In the whole run; below 0 where it loses."""
        return (self.step_seconds - self.compiled_step_seconds) * self.steps - self.compile_seconds


def probed(config: Config) -> Probed:
    """Time a few steps of a run."""
    device = effective_device(config.trainer.device)
    with backend(config.trainer):
        start = time.monotonic()
        job = assemble(config, device)
        set_up = time.monotonic() - start
        done, began, total = 0, time.monotonic(), 0
        for step in job.trainer.steps():
            done, total = done + 1, step.total
            if done == WARM_UP_STEPS:
                began = _now(job.trainer)
            if step.ends_epoch:
                job.trainer.close_epoch()
            if done >= WARM_UP_STEPS + STEPS or (done > WARM_UP_STEPS and time.monotonic() - began > SECONDS):
                break
        each = (_now(job.trainer) - began) / max(1, done - WARM_UP_STEPS)
    return Probed(each, total, set_up, job.compiled, device.type)


def compiling(config: Config, eager: Probed) -> Compiling | None:
    """Time the same run's steps compiled; None where it is compiled already, is short, or cannot be compiled."""
    if config.trainer.compile or eager.seconds < LONG_SECONDS:
        return None
    other = copy.deepcopy(config)
    other.trainer.compile = True
    compiled = probed(other)
    if not compiled.compiled:
        return None
    taken = max(0.0, compiled.set_up_seconds - eager.set_up_seconds)
    return Compiling(eager.step_seconds, compiled.step_seconds, taken, eager.steps)


def _now(trainer: Trainer) -> float:
    """The time once the device has done what it was given."""
    trainer.recent_loss()  # waits for it
    return time.monotonic()
