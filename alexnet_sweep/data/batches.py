"""Training batches: the order of images and every random draw, keyed by seed, use and epoch.

Draws are made for all images of an epoch at once and looked up by an image's place in the training
split, so that neither the batch size nor the order changes which crop, mirror or colour an image gets.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_sweep.augment import (
    COPIED_EIGENVALUES,
    COPIED_EIGENVECTORS,
    central_offset,
    cut,
    cut_resized,
    lighting_shift,
    prepare,
)
from alexnet_sweep.config import AugConfig, DataConfig, InputsConfig
from alexnet_sweep.data.boxes import draw_boxes
from alexnet_sweep.data.feed import Reader, on_device
from alexnet_sweep.data.images import Images
from alexnet_sweep.data.packed import Packed
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.plugins import load
from alexnet_sweep.streams import stream, stream_seed


@dataclass(frozen=True)
class Pixels:
    """What turns stored pixels into inputs, on the training device."""

    mean: Tensor  # (3, crop, crop), the central part of the mean image, or a colour
    eigenvalues: Tensor  # (3,), 0–255 scale
    eigenvectors: Tensor  # (3, 3), columns
    crop_px: int
    input_divisor: float | Tensor  # (3, 1, 1) where each channel has its own
    memory_format: torch.memory_format = torch.contiguous_format  # of the inputs

    @classmethod
    def of(
        cls,
        packed: Packed,
        data: DataConfig,
        inputs: InputsConfig,
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> "Pixels":
        crop_px = data.crop_px
        edge = central_offset(packed.meta.stored_px, crop_px)
        mean = packed.mean[:, edge : edge + crop_px, edge : edge + crop_px]
        if inputs.mean is not None:
            mean = np.broadcast_to(np.array(inputs.mean)[:, None, None], mean.shape)
        divisor: float | Tensor = data.input_divisor
        if inputs.deviation is not None:
            divisor = torch.tensor(inputs.deviation, device=device)[:, None, None] * data.input_divisor

        def float32(array: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

        return cls(
            float32(mean),
            float32(packed.eigenvalues),
            float32(packed.eigenvectors),
            crop_px,
            divisor,
            memory_format,
        )


class TrainingBatches:
    """Augmented batches of the training part.

    `rows_of(epoch)` are the places in the training split that are trained on in that epoch; the last batch of an epoch
    holds what remains, so that every image is seen once an epoch.
    """

    def __init__(
        self,
        images: Images,
        labels: NDArray[np.int64],
        rows_of: Callable[[int], NDArray[np.int64]],
        *,
        pixels: Pixels,
        aug: AugConfig,
        batch_size: int,
        seed: int,
        device: torch.device,
        epochs: int,
    ) -> None:
        self.images, self.rows_of = images, rows_of
        self.reader = Reader(images, device)
        self.labels = torch.from_numpy(labels)
        self.pixels, self.aug = pixels, aug
        self.batch_size, self.seed, self.device, self.epochs = batch_size, seed, device, epochs
        self._transform = None if aug.transform.custom is None else load(aug.transform.custom)()
        if aug.lighting.colours == "copied":
            self.eigenvalues = torch.tensor(COPIED_EIGENVALUES, device=device) * 255.0**2
            self.eigenvectors = torch.tensor(COPIED_EIGENVECTORS, device=device)
        else:
            self.eigenvalues, self.eigenvectors = pixels.eigenvalues, pixels.eigenvectors

    def steps(self, epoch: int) -> int:
        """Batches in one epoch."""
        return -(-len(self.rows_of(epoch)) // self.batch_size)

    def steps_before(self, epoch: int) -> int:
        """Batches in all epochs before one; before `epochs`, those of the whole training."""
        return sum(self.steps(earlier) for earlier in range(epoch))

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, labels) of one epoch, from batch number `first` on."""
        rows = self.rows_of(epoch)
        order = rows[stream(self.seed, "order", epoch).permutation(len(rows))]
        places, uniforms, normals = self._draws(epoch)
        lit = epoch < round(self.aug.lighting.stop_fraction * self.epochs, 6)
        # Whose crop and mirror each image takes: its own, or the first one's of its chunk.
        leaders = order[np.arange(len(order)) // self.aug.crop.chunk * self.aug.crop.chunk]
        size = self.batch_size
        parts = [slice(number * size, (number + 1) * size) for number in range(first, self.steps(epoch))]
        for part, stored in zip(parts, self.reader.each(order[part] for part in parts), strict=True):
            rows, leading = order[part], leaders[part]
            inputs = self._augmented(epoch, rows, stored, places[leading], uniforms[leading], normals[rows], lit=lit)
            yield inputs, on_device(self.labels[rows], self.device)

    def _draws(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Where the crop lies, the mirror's uniform and the colours' normals, for every stored image.

        A crop has its top and left; one of any area its top, left, height and width.
        """
        count, side, crop = len(self.images), self.images.shape[-1], self.aug.crop
        if crop.area is None or crop.aspect is None:
            free = side - self.pixels.crop_px
            places = stream(self.seed, "crop", epoch).integers(0, free, (count, 2), endpoint=True)
        else:
            places = draw_boxes(stream(self.seed, "box", epoch), count, side, crop.area, crop.aspect)
        return (
            places,
            stream(self.seed, "flip", epoch).random(count),
            stream(self.seed, "lighting", epoch).standard_normal((count, 3)),
        )

    def _augmented(
        self,
        epoch: int,
        rows: NDArray[np.int64],
        stored: Tensor,
        places: NDArray[np.int64],
        uniforms: NDArray[np.float64],
        normals: NDArray[np.float64],
        *,
        lit: bool,
    ) -> Tensor:
        aug, pixels = self.aug, self.pixels
        if not aug.crop.random:
            places = np.full_like(places, central_offset(self.images.shape[-1], pixels.crop_px))
        flags = on_device(torch.from_numpy(uniforms < aug.flip.probability), self.device)
        shift, scale = None, 1.0
        if lit and aug.lighting.coefficient > 0:
            alphas = on_device(torch.from_numpy(normals.astype(np.float32)), self.device)
            shift = lighting_shift(alphas, self.eigenvalues, self.eigenvectors, aug.lighting)
        if lit and aug.lighting.divide:
            scale = 1.0 / (1.0 + aug.lighting.coefficient)
        if aug.crop.area is None:
            tops, lefts = on_device(torch.from_numpy(places), self.device).unbind(1)
            batch = cut(stored, tops, lefts, flags, pixels.crop_px)
        else:
            batch = cut_resized(stored, places, flags, pixels.crop_px)
        if self._transform is not None:
            batch = self._transformed(epoch, rows, batch)
        return prepare(batch, pixels.mean, pixels.input_divisor, shift, scale, pixels.memory_format)

    def _transformed(self, epoch: int, rows: NDArray[np.int64], batch: Tensor) -> Tensor:
        """Each image through the configured transform, whose draws come from a stream of the image's own."""
        assert self._transform is not None
        changed = []
        for row, image in zip(rows.tolist(), batch, strict=True):
            torch.manual_seed(stream_seed(self.seed, "transform", epoch, row))
            changed.append(self._transform(image))
        for image in changed:
            if image.shape != batch.shape[1:] or image.dtype != batch.dtype:
                raise ConfigError(
                    f"aug.transform.custom: gives {image.dtype} images of {list(image.shape)}; allowed: {batch.dtype} "
                    f"of {list(batch.shape[1:])}, as they come"
                )
        return torch.stack(changed)
