"""The first convolution's kernels: how much of each lies off the grey axis, half by half (paper §6.1, figure 3).

The paper saw one GPU's kernels mostly without colour and the other's mostly with it, in every run, and put it down to
the restricted connectivity. Here that is a number, and nets whose first layer feeds everything are its control: they
are cut into the same halves. Reads weights by themselves; imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from alexnet_sweep.errors import FolderError, one_line
from alexnet_sweep.streams import stream

Array = NDArray[np.float64]
OF_NOISE = 2 / 3  # the expected colour of a kernel whose colours are independent and equally strong
SHUFFLES = 9_999


@dataclass(frozen=True)
class Halves:
    """The mean colour of the kernels in each half, and how far apart they are."""

    first: float
    second: float
    difference: float  # |first − second|
    by_chance: float  # its mean over random halves of the same kernels
    p: float  # how often random halves are as far apart, or further


@dataclass(frozen=True)
class Kernels:
    """Weights (kernels, 3, height, width) of the first layer; `columns` is how many GPUs of the original it spans.

    With one column the halves are a control: nothing sets them apart.
    """

    layer: str
    weights: NDArray[np.float32]
    columns: int

    @property
    def first_half(self) -> int:
        """How many kernels are in the first half: the smaller one where their number is odd."""
        return len(self.weights) // 2

    @cached_property
    def colour(self) -> Array:
        """(kernels,): see `colour_of`."""
        return colour_of(self.weights)

    @cached_property
    def halves(self) -> Halves:
        return halves_of(self.colour, self.first_half)


def colour_of(weights: NDArray[np.floating[Any]]) -> Array:
    """The share of each kernel's energy that lies off the grey axis, (kernels,): 0 is grey, 1 has no brightness.

    Energy is the sum of squared weights of (kernels, 3, height, width); on the grey axis lies what is the same in red,
    green and blue, pixel by pixel. A kernel of zeros has none: nan. The scale of a kernel does not matter.
    """
    exact = weights.astype(np.float64)
    strongest: Array = np.abs(exact).max(axis=(1, 2, 3), keepdims=True)
    exact = np.divide(exact, strongest, out=np.zeros_like(exact), where=strongest > 0)  # so that no square vanishes
    off = exact - exact.mean(axis=1, keepdims=True)
    energy, beside = (np.square(part).sum(axis=(1, 2, 3)) for part in (exact, off))
    return np.asarray(np.divide(beside, energy, out=np.full(len(exact), np.nan), where=energy > 0))


def halves_of(colour: Array, first_half: int) -> Halves:
    """Both halves' mean colour, and how far apart random halves of the same sizes would be (the same draws always).

    Kernels without a colour (nan) are left out; a half without any kernel has none.
    """
    first, second = (part[~np.isnan(part)] for part in (colour[:first_half], colour[first_half:]))
    if not len(first) or not len(second):
        means = [float(part.mean()) if len(part) else np.nan for part in (first, second)]
        return Halves(means[0], means[1], np.nan, np.nan, np.nan)
    found = abs(float(first.mean() - second.mean()))
    every = np.concatenate([first, second])
    sums = every[_random_halves(len(every), len(first))].sum(axis=1)
    apart = np.abs(sums / len(first) - (every.sum() - sums) / len(second))
    as_far = int((apart >= found * (1 - 1e-9) - 1e-12).sum())
    return Halves(float(first.mean()), float(second.mean()), found, float(apart.mean()), (1 + as_far) / (1 + SHUFFLES))


@lru_cache(maxsize=8)
def _random_halves(count: int, first: int) -> NDArray[np.int32]:
    """(shuffles, first): which of so many kernels are in the first half."""
    places = np.tile(np.arange(count, dtype=np.int32), (SHUFFLES, 1))
    return stream(0, "kernels", "halves").permuted(places, axis=1)[:, :first]


def for_viewing(weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Kernels as pictures, (kernels, height, width, 3): zero is mid grey, a kernel's strongest weight at an end.

    Each kernel has a scale of its own, so that strong and weak ones are seen alike.
    """
    strongest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    scaled = np.divide(weights, strongest, out=np.zeros_like(weights), where=strongest > 0)
    return np.asarray(np.rint(127.5 + 127.5 * scaled.transpose(0, 2, 3, 1)).astype(np.uint8))


def read_kernels(weights: Path, config: Mapping[str, Any]) -> Kernels | None:
    """The kernels of the first layer with three input channels, from a file of weights; None where there is no such.

    Raises:
        FolderError: where the file is not there, or cannot be read.
    """
    if not weights.is_file():
        raise FolderError(f"{weights}: not there; checkpoint.keep=weights keeps a run's weights")
    try:
        with safe_open(weights, framework="numpy") as stored:
            shapes = {name: stored.get_slice(name).get_shape() for name in sorted(stored.keys())}
            seeing = [name for name, shape in shapes.items() if len(shape) == 4 and shape[1] == 3]
            name = "conv1.weight" if "conv1.weight" in seeing else next(iter(seeing), None)
            if name is None:
                return None
            return Kernels(name.rpartition(".")[0], stored.get_tensor(name).astype(np.float32), columns_of(config))
    except (OSError, SafetensorError, TypeError) as error:  # of a type that NumPy lacks
        raise FolderError(f"{weights}: cannot be read ({one_line(error)})") from error


def columns_of(config: Mapping[str, Any]) -> int:
    """How many GPUs a run's first layer is spread over; nets other than AlexNet have one."""
    model = config.get("model") or {}
    net = model.get("net") or {}
    if net.get("custom") is not None or net.get("name", "alexnet") != "alexnet":
        return 1
    return int((model.get("topology") or {}).get("columns", 1))
