"""A few training steps, timed, where no run has been measured yet. Writes nothing but the packed data set."""

import time

from alexnet_sweep.assemble import assemble, effective_device
from alexnet_sweep.backend import backend
from alexnet_sweep.config import Config
from alexnet_sweep.train import Trainer

WARM_UP_STEPS = 3
SECONDS = 5.0
STEPS = 30
NOT_TRAINING = 1.15  # evaluation and saving, as a share of the training time


def seconds_of_a_run(config: Config) -> tuple[float, str]:
    """What the whole run would take from here, and on which kind of device."""
    device = effective_device(config.trainer.device)
    with backend(config.trainer):
        job = assemble(config, device)
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
    return each * total * NOT_TRAINING, device.type


def _now(trainer: Trainer) -> float:
    """The time once the device has done what it was given."""
    trainer.recent_loss()  # waits for it
    return time.monotonic()
