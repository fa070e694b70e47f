"""Class probabilities of stored images by the centre view and by all views (paper §4.1)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet_sweep import failpoints
from alexnet_sweep.augment import centre_view, prepare, take_views, views_of
from alexnet_sweep.config import EvalConfig
from alexnet_sweep.data.batches import Pixels
from alexnet_sweep.data.feed import fetch
from alexnet_sweep.data.images import Images


@dataclass(frozen=True)
class Probabilities:
    """Float32 (images, classes) each; `ten` is None where only the centre view was asked for."""

    centre: NDArray[np.float32]
    ten: NDArray[np.float32] | None


Forward = Callable[[Tensor], Tensor]
Beat = Callable[[], None]


@torch.inference_mode()
def predict(
    net: nn.Module,
    forward: Forward,
    images: Images,
    rows: NDArray[np.int64],
    *,
    pixels: Pixels,
    config: EvalConfig,
    all_views: bool,
    device: torch.device,
    beat: Beat = lambda: None,
) -> Probabilities:
    """Evaluate rows of a stored split in evaluation mode.

    `forward` maps inputs to logits (with the run's precision); `config.average` says whether probabilities
    (paper §4.1) or logits are averaged over the views. The centre view is one of the ten, so that asking for
    both costs no more than the ten. `beat` is called after every batch.
    """
    stored_px = images.shape[-1]
    views = views_of(stored_px, pixels.crop_px, config.mirrored_views)
    chunk = images_at_once(config, views.count if all_views else 1)
    centre: list[Tensor] = []
    ten: list[Tensor] = []
    training = net.training
    net.eval()
    try:
        for start in range(0, len(rows), chunk):
            batch = fetch(images, rows[start : start + chunk], device)
            if all_views:
                seen = take_views(batch, pixels.crop_px, config.mirrored_views)
            else:
                seen = centre_view(batch, pixels.crop_px)[None]
            inputs = prepare(seen.flatten(0, 1), pixels.mean, pixels.input_divisor, memory_format=pixels.memory_format)
            logits = forward(inputs).float().reshape(len(seen), len(batch), -1)
            probabilities = logits.softmax(2)
            centre.append(probabilities[views.centre if all_views else 0].cpu())
            if all_views:
                averaged = probabilities.mean(0) if config.average == "probabilities" else logits.mean(0).softmax(1)
                ten.append(averaged.cpu())
            failpoints.pass_by("evaluate.batch")
            beat()
    finally:
        net.train(training)
    return Probabilities(_joined(centre), _joined(ten) if all_views else None)


def images_at_once(config: EvalConfig, views: int) -> int:
    return max(1, config.batch_size // views)


def _joined(parts: list[Tensor]) -> NDArray[np.float32]:
    return torch.cat(parts).numpy() if parts else np.empty((0, 0), np.float32)
