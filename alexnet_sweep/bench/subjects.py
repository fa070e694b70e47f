"""What is measured: sizes, photographs made on the spot, and trainers on noise in place of a data set."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from alexnet_sweep.assemble import Assembly, assembled
from alexnet_sweep.config import Config
from alexnet_sweep.data.decode import BadImage, decode
from alexnet_sweep.data.images import Images
from alexnet_sweep.data.packed import Meta, Packed
from alexnet_sweep.errors import ConfigError

CPU = torch.device("cpu")
FEWEST_PHOTOS = 2  # one a class
Compose = Callable[[list[str]], Config]


@dataclass(frozen=True)
class Sizes:
    """How much is measured; the ratios that must be reached are meant for the defaults."""

    rounds: int = 7
    stored_px: int = 256
    crop_px: int = 224
    width: float = 1.0
    batch: int = 32
    large_batch: int = 128
    small_batch: int | None = None  # of the CIFAR nets; None: as their recipes have it
    small_width: float | None = None
    photos: int = 48
    photo_px: tuple[int, int] = (500, 375)
    maps: tuple[int, int, int, int] = (64, 96, 55, 55)
    product_side: int = 3000
    steps: int = 4  # of the packed store, a round
    threads: str = "auto"  # trainer.cpu_threads, but for rows of one core


FULL = Sizes()
QUICK = Sizes(rounds=3, large_batch=64, photos=24, maps=(32, 96, 55, 55), steps=2)


def alexnet(compose: Compose, sizes: Sizes, *overrides: str, batch: int | None = None) -> Config:
    """AlexNet as released, on squares of the given sizes, on the CPU."""
    return compose(
        [
            "experiment=imagenet_released_code",
            "model/lrn=on",
            "data=folder",
            "data.path=.",
            "data.heldout_fraction=0",
            "eval.clean_train_images=0",
            "trainer.device=cpu",
            f"data.stored_px={sizes.stored_px}",
            f"data.crop_px={sizes.crop_px}",
            f"model.width={sizes.width}",
            f"trainer.batch_size={batch or sizes.batch}",
            f"trainer.cpu_threads={sizes.threads}",
            *overrides,
        ]
    )


def cifar(compose: Compose, sizes: Sizes, experiment: str) -> Config:
    """A net for small images, as its recipe has it."""
    own = [] if sizes.small_batch is None else [f"trainer.batch_size={sizes.small_batch}"]
    own += [] if sizes.small_width is None else [f"model.width={sizes.small_width}"]
    return compose(
        [f"experiment={experiment}", "data.path=.", "trainer.device=cpu", f"trainer.cpu_threads={sizes.threads}", *own]
    )


def squares(count: int, side: int) -> NDArray[np.uint8]:
    """Stored images of noise, (count, 3, side, side)."""
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def job_on(config: Config, images: Images, classes: int) -> Assembly:
    """A run's trainer on stored images with made-up labels, and few of them to test on."""
    labels = np.random.default_rng(1).integers(0, classes, len(images))
    side = images.shape[-1]
    meta = Meta("0" * 16, "noise", [str(place) for place in range(classes)], {"train": len(images), "test": 1}, side)
    packed = Packed(
        meta,
        {"train": images, "test": images[:1]},
        {"train": labels, "test": labels[:1]},
        {"train": [], "test": []},
        np.full((3, side, side), 127.0),
        np.array([5000.0, 900.0, 100.0]),
        np.eye(3),
    )
    return assembled(config, CPU, packed)


def endless(job: Assembly) -> Iterator[int]:
    """Training steps, epoch after epoch; yields how many images each had."""
    for step in job.trainer.steps():
        yield step.images
        if step.ends_epoch:
            job.trainer.close_epoch()


def photographs(folder: Path | None, beside: Path, sizes: Sizes) -> list[Path]:
    """JPEG files: the user's that can be decoded, or drawn ones of the size of ILSVRC's in a folder of their own.

    Raises:
        ConfigError: where there are too few.
    """
    if folder is not None:
        named = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        found = list(islice(filter(_is_whole, named), sizes.photos))
        if len(found) < FEWEST_PHOTOS:
            raise ConfigError(
                f"--photos {folder}: {len(found)} of {len(named)} JPEG files can be decoded; at least {FEWEST_PHOTOS} "
                "are needed: add some, or leave it out"
            )
        return found
    made = []
    for number, picture in enumerate(_pictures(sizes.photos, *sizes.photo_px)):
        made.append(beside / f"{number:03d}.jpg")
        Image.fromarray(picture).save(made[-1], quality=90)
    return made


def smooth_squares(count: int, side: int) -> NDArray[np.uint8]:
    """Stored images that JPEGs of photographs are as large as, (count, 3, side, side)."""
    return np.stack([picture.transpose(2, 0, 1) for picture in _pictures(count, side, side)])


def _pictures(count: int, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """Patches of colour under grain, (height, width, 3)."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        grainy = smooth + rng.normal(0, 12, smooth.shape).astype(np.int16)
        yield grainy.clip(0, 255).astype(np.uint8)


def _is_whole(path: Path) -> bool:
    try:
        decode(path, path.name)
    except BadImage:
        return False
    return True
