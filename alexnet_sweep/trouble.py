"""What can be wrong with a run that trains: losses that are no numbers, or do not move, and memory that runs out."""

import math
from traceback import walk_tb

import torch
from loguru import logger

from alexnet_sweep.assemble import Assembly
from alexnet_sweep.augment import views_of
from alexnet_sweep.config import Config
from alexnet_sweep.errors import one_line
from alexnet_sweep.predict import predict
from alexnet_sweep.speed import is_stuck


class TrainingDiverged(Exception):
    """The training loss, or a weight, is no longer a finite number."""


class OutOfMemory(Exception):
    """The device, or the machine, has no memory left for the run."""


class TrainingStuck(Exception):
    """The training loss has not left that of guessing, and trainer.stop_if_stuck is set."""


def is_of_memory(error: BaseException) -> bool:
    """PyTorch has a class of its own for GPUs alone; on a CPU it says so in words."""
    words = ("can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(said in str(error) for said in words)
    )


def what_to_lower(config: Config, error: BaseException) -> str:
    evaluating = any(frame.f_globals["__name__"] == predict.__module__ for frame, _ in walk_tb(error.__traceback__))
    views = views_of(config.data.stored_px, config.data.crop_px, config.eval.mirrored_views).count
    return (
        f"out of memory {'in evaluation' if evaluating else 'in training'} with trainer.batch_size="
        f"{config.trainer.batch_size}, eval.batch_size={config.eval.batch_size} and {views} views an image; lower "
        f"{'eval.batch_size' if evaluating else 'trainer.batch_size'}, model.width or data.crop_px, or use a "
        f"device with more memory ({one_line(error)[:200]})"
    )


def look_whether_finite(config: Config, job: Assembly) -> None:
    """Stop before anything is saved that is no number.

    Raises:
        TrainingDiverged: with the step, the learning rate and the last finite loss.
    """
    told = job.trainer.not_finite()
    if told is not None:
        clip = " or set trainer.clip_grad_norm" if config.trainer.clip_grad_norm is None else ""
        raise TrainingDiverged(
            f"epoch {job.trainer.epoch + 1}: {told}, at learning rate {job.trainer.learning_rate:g}; lower "
            f"optim.learning_rate{clip}. Checkpoints saved before are good"
        )


def look_whether_stuck(config: Config, job: Assembly) -> None:
    """Tell, or stop, if the loss has not left that of guessing."""
    loss = job.trainer.recent_loss()
    if not is_stuck(loss, job.classes):
        return
    causes = [f"optim.learning_rate={config.optim.learning_rate:g}"]
    divisor = config.data.input_divisor * min(config.inputs.deviation or [1.0])
    if divisor > 1 and not config.model.init.follow_input:
        causes.insert(0, f"inputs divided by {divisor:g} (set model.init.follow_input=true)")
    if config.model.init.rule == "normal" and config.model.init.std.get("conv3", 1.0) < 0.03:
        causes.insert(0, "initial weights too small in conv3 to conv5 (choose model/init=released_code)")
    if config.model.bias.value >= 1:
        causes.append("initial biases of 1 (choose model/bias=tenth)")
    message = (
        f"not learning: after {job.trainer.steps_done} steps the training loss is {loss:.3f}, that of guessing is "
        f"ln({job.classes}) = {math.log(job.classes):.3f}. Likely: {', or '.join(causes)}"
    )
    if config.trainer.stop_if_stuck:
        raise TrainingStuck(message)
    logger.warning("{}", message)
