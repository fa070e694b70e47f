"""Crops, reflections, colour noise and views, on whole batches and on the batch's own device.

Every function is pure: what is random is drawn elsewhere and passed in. Images are (batch, 3, height, width);
crops and views keep uint8, `prepare` turns them into the network's float32 input.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from alexnet_sweep.config import LightingConfig

CACHED = 200_000  # values of a part of the batch that is prepared at once; a few such tensors fit a core's second cache


def cut(images: Tensor, tops: Tensor, lefts: Tensor, flags: Tensor, size: int) -> Tensor:
    """`crop`, then `mirror`; on a CPU image by image, which is twenty times as fast as indexing the whole batch."""
    if images.device.type != "cpu":
        return mirror(crop(images, tops, lefts, size), flags)
    source = images.numpy()
    found = np.empty((*source.shape[:2], size, size), source.dtype)
    for number, (top, left, flag) in enumerate(zip(tops.tolist(), lefts.tolist(), flags.tolist(), strict=True)):
        square = source[number, :, top : top + size, left : left + size]
        found[number] = square[:, :, ::-1] if flag else square
    return torch.from_numpy(found)


def cut_resized(images: Tensor, boxes: NDArray[np.int64], flags: Tensor, size: int) -> Tensor:
    """Each image's box, (batch, 4) of top, left, height and width, scaled to a square of side `size`; then `mirror`.

    Bilinear and antialiased, as torchvision's RandomResizedCrop scales by default.
    """
    squares = [
        transforms.resized_crop(image, *box, [size, size], antialias=True)
        for image, box in zip(images, boxes.tolist(), strict=True)
    ]
    return mirror(torch.stack(squares), flags)


def crop(images: Tensor, tops: Tensor, lefts: Tensor, size: int) -> Tensor:
    """The square of side `size` at each image's own offset; offsets are (batch,) integers."""
    steps = torch.arange(size, device=images.device)
    rows = (tops[:, None] + steps)[:, None, :, None]
    columns = (lefts[:, None] + steps)[:, None, None, :]
    image = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return images[image, channel, rows, columns]


def central_offset(stored_px: int, crop_px: int) -> int:
    """Where the centre view starts; torchvision's rounding, so that it is also the fifth of ten views."""
    return round((stored_px - crop_px) / 2)


def mirror(images: Tensor, flags: Tensor) -> Tensor:
    """Images whose flag is set, reflected left to right; `flags` is (batch,) bool."""
    return torch.where(flags[:, None, None, None], images.flip(3), images)


def lighting_shift(alphas: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, lighting: LightingConfig) -> Tensor:
    """Colour added to all pixels of each image, (batch, 3), on the 0–255 scale (paper §4.1).

    `alphas` (batch, 3) are standard normal. Eigenvalues (3,) and eigenvectors (3, 3; columns) are those
    of the RGB covariance on the 0–255 scale. `sqrt_eigenvalue` is what the released code ran;
    `eigenvalue` is the printed formula, which fits pixels in [0, 1] only and is computed there.
    """
    if lighting.scale == "sqrt_eigenvalue":
        spread = eigenvalues.clamp(min=0).sqrt()
    else:
        spread = eigenvalues / 255.0**2 * 255.0
    return (lighting.coefficient * alphas * spread) @ eigenvectors.T


def prepare(
    images: Tensor,
    mean: Tensor,
    input_divisor: float | Tensor,
    shift: Tensor | None = None,
    scale: float = 1.0,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Network input: (pixels - mean image + colour shift) · scale / input divisor, unclamped float32.

    `mean` is the central part of the mean image, (3, crop, crop), wherever the crop was taken (as in the
    released code). `memory_format` says how the inputs lie in memory, and changes no value.
    """
    inputs = torch.empty(images.shape, device=images.device, memory_format=memory_format)
    fits = max(1, CACHED // mean.numel()) if images.device.type == "cpu" else max(1, len(images))
    for first in range(0, len(images), fits):
        part = slice(first, first + fits)
        values = images[part].float().sub_(mean)
        if shift is not None:
            values.add_(shift[part, :, None, None])
        inputs[part] = values.mul_(scale / input_divisor)
    return inputs


# Of the RGB covariance on the [0, 1] scale, as in fb.resnet.torch's datasets/imagenet.lua and its many copies.
COPIED_EIGENVALUES = (0.2175, 0.0188, 0.0045)
COPIED_EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


@dataclass(frozen=True)
class Views:
    """The views of one image that are evaluated: their number, and which of them is the centre view."""

    count: int
    centre: int


def views_of(stored_px: int, crop_px: int, mirrored: bool) -> Views:
    """Ten views (four corners and centre, and their mirrors); 2, 5 or 1 where crops or mirrors add nothing."""
    places = 5 if stored_px > crop_px else 1
    return Views(places * (2 if mirrored else 1), centre=places - 1)


def centre_view(images: Tensor, crop_px: int) -> Tensor:
    """The central square of each image of a batch, (batch, 3, crop, crop); shares their memory."""
    middle = central_offset(images.shape[-1], crop_px)
    return images[..., middle : middle + crop_px, middle : middle + crop_px]


def take_views(images: Tensor, crop_px: int, mirrored: bool) -> Tensor:
    """All views of a batch, (views, batch, 3, crop, crop), in the order that `views_of` describes."""
    places = [images]
    if images.shape[-1] > crop_px:
        places = list(transforms.five_crop(images, [crop_px, crop_px]))
    # Not ten_crop: where stored and crop size differ by an odd number, its second centre is off by a pixel.
    return torch.stack(places + [place.flip(3) for place in places] if mirrored else places)
