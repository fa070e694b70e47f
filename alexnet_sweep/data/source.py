"""What a data source is: a list of class names and two splits, whose images are decoded when they are packed.

Nothing here imports torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Encoded:
    """An image file still to be decoded: its content, or where it lies; None for a row without one."""

    content: bytes | str | Path | None


Read = Callable[[int, int], Sequence[Image.Image | Encoded]]


@dataclass(frozen=True)
class Split:
    """One part of a data set; `read(start, stop)` gives its images, as files or decoded as RGB."""

    labels: NDArray[np.int64]
    ids: list[str]
    read: Read


@dataclass(frozen=True)
class Source:
    """A data set opened for packing: `train` and `test`, sharing one list of class names."""

    class_names: list[str]
    train: Split
    test: Split


class CustomData(Protocol):
    """A data source of the user's own (data.custom)."""

    def content_id(self) -> str:
        """What the images and labels are, cheaply: another text wherever they differ."""
        ...

    def open(self, scratch: Path) -> Source:
        """Both splits, no image decoded yet; `scratch` is a folder for what must be cached, removed afterwards."""
        ...
