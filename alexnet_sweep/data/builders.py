"""One builder of a packed data set at a time, over all processes and machines that share a disk."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
from loguru import logger

from alexnet_sweep.locks import POLL_SECONDS, Heartbeat, overtaken, told_by

Progress = Callable[[int, int], None]  # images done, images in all


@contextmanager
def only_builder(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of `folder`, which is to be built; waits for whoever has it, and tells of their progress."""
    place, told = folder.parent / f".{folder.name}.lock", False
    while True:
        lock = filelock.FileLock(place)
        try:
            lock.acquire(timeout=POLL_SECONDS)
            break
        except filelock.Timeout:
            pass
        builder = told_by(_builder_file(folder))
        if not told:
            logger.info("{}: being packed by {}; waiting for it", folder, builder.get("who", "another process"))
            told = True
        if builder.get("total"):
            progress(int(builder["done"]), int(builder["total"]))
        overtaken(place, _builder_file(folder))
    try:
        yield
    finally:
        lock.release()


@contextmanager
def building(folder: Path) -> Iterator[Progress]:
    """What a builder tells those who wait for `folder`, as long as the block lasts."""
    part_of(folder).mkdir(parents=True, exist_ok=True)
    with Heartbeat(_builder_file(folder)) as heart:
        yield lambda done, total: heart.note(done=done, total=total)


def part_of(folder: Path) -> Path:
    """Where a data set lies while it is built."""
    return folder.parent / f".{folder.name}.part"


def _builder_file(folder: Path) -> Path:
    return part_of(folder) / "builder.json"
