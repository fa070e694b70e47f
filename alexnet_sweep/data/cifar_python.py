"""CIFAR-10 as published for Python: pickles, which torchvision opens where their checksums are the known ones."""

from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_sweep.config import DataConfig
from alexnet_sweep.data.source import Source, Split
from alexnet_sweep.data.split_names import train_and_test
from alexnet_sweep.errors import DataError

FOLDER = "cifar-10-batches-py"


def batches_folder(path: Path) -> Path | None:
    """The folder of pickles that `path` is or holds, if any."""
    return next((place for place in (path, path / FOLDER) if place.name == FOLDER and place.is_dir()), None)


def from_pickles(data: DataConfig) -> Source:
    """Open it. The first use takes seconds: PyTorch is imported for it.

    Raises:
        DataError: where a file is missing or is not the published one.
    """
    assert data.path is not None
    folder = batches_folder(Path(data.path).resolve())
    assert folder is not None, "asked before"
    from torchvision.datasets import CIFAR10

    try:
        parts = {name: CIFAR10(str(folder.parent), train=name == "train") for name in ("train", "test")}
    except RuntimeError as error:  # a checksum
        raise DataError(
            f"data.path={data.path}: {folder.name} is not as published ({error}); unpack cifar-10-python.tar.gz again"
        ) from error

    def split(name: str) -> Split:
        pixels = parts[name].data
        return Split(
            np.array(parts[name].targets, np.int64),
            [f"{name}/{row:07d}" for row in range(len(pixels))],
            lambda start, stop: [Image.fromarray(image) for image in pixels[start:stop]],
        )

    train, test = train_and_test(data, ("train", "test"), f"data.path={data.path}")
    assert test is not None, "there is one of that name"
    return Source(list(parts["train"].classes), split(train), split(test))
