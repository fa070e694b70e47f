"""Which training images are held out: the same for every seed and every arm of a study."""

import numpy as np
from numpy.typing import NDArray

from alexnet_sweep.checks import watchers
from alexnet_sweep.config import Config
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.streams import stream

SPLIT_SEED = 0  # not the run's seed: arms and seeds are compared on the same images


def hold_out(labels: NDArray[np.int64], fraction: float, use: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices kept and indices set aside, both ascending; `fraction` of every class, rounded over the whole.

    Images of each class are shuffled by a stream of their own (`use`), then taken where the running
    count of the fraction passes an integer, so that the total is floor(fraction · n + 1/2).
    """
    order = np.concatenate(
        [
            np.flatnonzero(labels == label)[
                stream(SPLIT_SEED, use, int(label)).permutation(int(np.sum(labels == label)))
            ]
            for label in np.unique(labels)
        ]
    )
    counted = np.floor(fraction * np.arange(1, len(order) + 1) + 0.5)
    aside = np.diff(counted, prepend=0) > 0
    return np.sort(order[~aside]), np.sort(order[aside])


def heldout_size(train_images: int, fraction: float) -> int:
    """How many of the training split `hold_out` sets aside."""
    return int(np.floor(fraction * train_images + 0.5))


def check_sizes(config: Config, counts: dict[str, int]) -> None:
    """Refuse a config that a data set of these sizes (images in `train` and `test`) cannot serve.

    Raises:
        ConfigError: one line with the key, the value and what is allowed.
    """
    heldout = heldout_size(counts["train"], config.data.heldout_fraction)
    left, batch = counts["train"] - heldout, config.trainer.batch_size
    if batch > left:
        raise ConfigError(
            f"trainer.batch_size={batch}: larger than the data set; data={config.data.name} has {left} training "
            f"images ({counts['train']} less {heldout} held out), so allowed: 1 to {left}"
        )
    for watcher in watchers(config) if heldout == 0 else ():
        raise ConfigError(
            f"data.heldout_fraction={config.data.heldout_fraction:g}: holds out no image of {counts['train']}, "
            f"but {watcher} watches them; raise it"
        )
