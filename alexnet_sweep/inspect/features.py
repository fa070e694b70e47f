"""What a trained network makes of stored images just before its last layer: fc7 of AlexNet (paper §6.1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet_sweep.augment import centre_view, prepare
from alexnet_sweep.data.feed import fetch
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.trained import TrainedRun


@dataclass(frozen=True)
class LastHidden:
    """What the last layer reads: after the activation, and of AlexNet halved as dropout has it at test time.

    One factor for all changes no ranking by distance.
    """

    last: str  # the layer that reads it
    before: str  # the layer with weights before that
    width: int

    @property
    def name(self) -> str:
        """In a word or two: `fc7`, say."""
        return self.before if self.before.startswith("fc") else f"input of {self.last}"

    @property
    def words(self) -> str:
        after = "after its activation" if self.before.startswith("fc") else f"which follows {self.before}"
        return f"{self.name}, {after} ({self.width:,} values)"


@torch.inference_mode()
def last_hidden(trained: TrainedRun) -> LastHidden:
    """Find the last layer with weights that an image passes.

    Raises:
        ConfigError: for a network of the user's own whose last layer does not read one tensor.
    """
    passed: list[tuple[str, Any]] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            passed.append((name, inputs[0] if inputs else None))

        return hook

    owners = [name for name, module in trained.net.named_modules() if any(True for _ in module.parameters(False))]
    hooks = [trained.net.get_submodule(name).register_forward_pre_hook(note(name)) for name in owners]
    side = trained.job.pixels.crop_px
    try:
        trained.job.trainer.answer(torch.zeros((1, 3, side, side), device=trained.job.device))
    finally:
        for hook in hooks:
            hook.remove()
    if not passed or not isinstance(passed[-1][1], Tensor):
        raise ConfigError("model.net.custom: its last layer with weights reads no tensor; inspect cannot look there")
    last, read = passed[-1]
    return LastHidden(last, passed[-2][0] if len(passed) > 1 else "the image", read.flatten(1).shape[1])


@torch.inference_mode()
def features(trained: TrainedRun, layer: LastHidden, split: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(rows, width) of the centre views, in evaluation mode, a batch of `eval.batch_size` at a time."""
    found = np.empty((len(rows), layer.width), np.float32)
    seen: list[Tensor] = []
    module = trained.net.get_submodule(layer.last)
    hook = module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    pixels, at_once = trained.job.pixels, trained.run.config.eval.batch_size
    try:
        for first in range(0, len(rows), at_once):
            some = rows[first : first + at_once]
            batch = centre_view(fetch(trained.job.packed.images[split], some, trained.job.device), pixels.crop_px)
            inputs = prepare(batch, pixels.mean, pixels.input_divisor, memory_format=pixels.memory_format)
            seen.clear()
            trained.job.trainer.answer(inputs)
            found[first : first + len(some)] = seen[-1].float().flatten(1).cpu().numpy()
    finally:
        hook.remove()
    return found


def centre_pixels(trained: TrainedRun, split: str, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The centre views as they are stored, (rows, 3, crop, crop)."""
    images = fetch(trained.job.packed.images[split], rows, torch.device("cpu"))
    return centre_view(images, trained.job.pixels.crop_px).numpy()


def pixel_parts(
    trained: TrainedRun, split: str, rows: NDArray[np.int64], memory: int = 2**26
) -> Iterator[NDArray[np.float32]]:
    """The centre views' pixels, flat, in parts of (images, 3 · crop · crop) that take about so many bytes each."""
    each = 3 * trained.job.pixels.crop_px**2 * 4
    for first in range(0, len(rows), max(1, memory // each)):
        part = centre_pixels(trained, split, rows[first : first + max(1, memory // each)])
        yield part.reshape(len(part), -1).astype(np.float32)
