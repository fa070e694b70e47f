"""Stored images on the training device: a batch at a time, read ahead or not, or a small set held there as a whole.

Which of these it is changes no pixel. A memory map of a small set is in memory anyhow once it has been read (the
system's page cache), so that on a CPU only JPEGs gain by being held: they are then decoded once.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_sweep.data.images import Images
from alexnet_sweep.data.packed import Packed
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.launching import at_once_here
from alexnet_sweep.wording import amount

HELD_SHARE = 0.25  # of the device's free memory that an `auto` set may take
PART_BYTES = 64 << 20  # of a set that is brought to the device at once
MOST_READERS = 16

_held: dict[tuple[str, str], dict[str, Images]] = {}  # one set: runs in one process after the other share it


class Held:
    """A split as uint8 (n, 3, side, side) on a device; rows come as a tensor there."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self._pixels = torch.empty(images.shape, dtype=torch.uint8, device=device)
        each = max(1, PART_BYTES // max(1, int(np.prod(images.shape[1:]))))
        for start in range(0, len(images), each):
            part = np.array(images[start : start + each])  # a memory map is not writable, which PyTorch warns of
            self._pixels[start : start + each] = torch.from_numpy(part).to(device)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._pixels.shape)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, rows: Any, /) -> Tensor:
        return self._pixels.index_select(0, on_device(torch.as_tensor(rows), self._pixels.device))


def hold(packed: Packed, place: str, device: torch.device, wanted: str) -> Packed:
    """The data set with its images held on the device, if `trainer.hold_images` says so; `place` is its folder.

    Raises:
        ConfigError: where they must be held, and do not fit.
    """
    if wanted == "never" or (wanted == "auto" and device.type == "cpu" and packed.meta.store == "raw"):
        return packed
    key = (place, str(device))
    if key not in _held:
        _held.clear()
        needed = sum(int(np.prod(images.shape)) for images in packed.images.values())
        free = _free_bytes(device) // at_once_here()
        if wanted == "auto" and needed > HELD_SHARE * free:
            return packed
        if needed > free:
            raise ConfigError(
                f"trainer.hold_images=always: {packed.meta.name} takes {amount(needed)} and {device} has "
                f"{amount(free)} free for it; choose auto or never"
            )
        _held[key] = {split: Held(images, device) for split, images in packed.images.items()}
    return dataclasses.replace(packed, images=_held[key])


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what an earlier run of this process left with PyTorch is free, too
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host's on the device; a GPU takes it from pinned memory, and nobody waits for that."""
    return _ready(values, device).to(device, non_blocking=device.type == "cuda")


def _ready(values: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda" or values.is_cuda or values.is_pinned():
        return values
    return values.pin_memory()


def fetch(images: Images, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """Stored images of the given rows as a uint8 tensor on the device; rows need not be sorted."""
    return on_device(_read(images, rows, device), device)


def _read(images: Images, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    if isinstance(images, Held):
        return images[rows]
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():  # a thread starts on the first GPU
        return _ready(torch.from_numpy(images[rows]), device)


class Reader:
    """Reads batches of stored images, `workers` of them ahead of what is asked for, by as many threads; 0 reads none.

    The number may change while it reads: what comes, and in which order, does not hang on it.
    """

    def __init__(self, images: Images, device: torch.device, workers: int = 0) -> None:
        self.images, self.device, self.workers = images, device, workers

    @property
    def reads(self) -> bool:
        """Whether there is anything to read: not where the images are held."""
        return not isinstance(self.images, Held)

    def each(self, parts: Iterable[NDArray[np.int64]]) -> Iterator[Tensor]:
        """The images of each part's rows on the device, part by part."""
        return (
            on_device(found, self.device)
            for found in ahead(lambda rows: _read(self.images, rows, self.device), parts, lambda: self._threads)
        )

    @property
    def _threads(self) -> int:
        return min(self.workers, MOST_READERS) if self.reads else 0


def ahead(
    read: Callable[[NDArray[np.int64]], Tensor], parts: Iterable[NDArray[np.int64]], count: Callable[[], int]
) -> Iterator[Tensor]:
    """`map(read, parts)`, with `count()` results on their way while one is used."""
    left, waiting = iter(parts), deque[Future[Tensor]]()
    with ThreadPoolExecutor(MOST_READERS, thread_name_prefix="read") as pool:

        def fill() -> None:
            while len(waiting) < count() and (part := next(left, None)) is not None:
                waiting.append(pool.submit(read, part))

        try:
            while True:
                fill()
                if waiting:
                    found = waiting.popleft().result()
                    fill()
                    yield found
                elif (part := next(left, None)) is not None:
                    yield read(part)
                else:
                    return
        finally:
            pool.shutdown(cancel_futures=True)
