"""One builder of a packed data set at a time, over all processes and machines that share a disk.

The lock is the operating system's: it ends with the process that holds it, however that ends. A builder on another
machine also leaves a heartbeat, so that a machine which is gone, and whose lock the file server may keep, is overtaken.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
from loguru import logger

from alexnet_sweep import machine
from alexnet_sweep.files import write_json
from alexnet_sweep.store import DEAD_AFTER_SECONDS

Progress = Callable[[int, int], None]  # images done, images in all
POLL_SECONDS = 0.5


@contextmanager
def only_builder(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of `folder`, which is to be built; waits for whoever has it, and tells of their progress."""
    place = folder.parent / f".{folder.name}.lock"
    told = False
    while True:
        lock = filelock.FileLock(place)
        try:
            lock.acquire(timeout=POLL_SECONDS)
            break
        except filelock.Timeout:
            pass
        builder = _builder(folder)
        if not told:
            logger.info("{}: being packed by {}; waiting for it", folder, builder.get("who", "another process"))
            told = True
        if builder.get("total"):
            progress(int(builder["done"]), int(builder["total"]))
        if _gone(builder):
            logger.warning("{}: {} has not been heard of for long; going on in its place", folder, builder.get("who"))
            place.unlink(missing_ok=True)  # its lock is on the file that was there
    try:
        yield
    finally:
        lock.release()


class Heartbeat:
    """What a builder tells those who wait: every few seconds while the block lasts, in its unfinished folder."""

    EVERY_SECONDS = 5.0

    def __init__(self, part: Path) -> None:
        self._part, self._ended = part, threading.Event()
        self._done, self._total = 0, 0
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._part.mkdir(parents=True, exist_ok=True)
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def note(self, done: int, total: int) -> None:
        first = not self._total
        self._done, self._total = done, total
        if first:
            self._beat()

    def _beat_on(self) -> None:
        while not self._ended.wait(self.EVERY_SECONDS):
            with suppress(OSError):  # a full disk is told of by the build itself
                self._beat()

    def _beat(self) -> None:
        told = {"who": f"{machine.host()} process {os.getpid()}", "host": machine.host(), "heartbeat": time.time()}
        write_json(self._part / "builder.json", told | {"done": self._done, "total": self._total})


def part_of(folder: Path) -> Path:
    """Where a data set lies while it is built."""
    return folder.parent / f".{folder.name}.part"


def _builder(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((part_of(folder) / "builder.json").read_text(encoding="utf-8"))
        return told if isinstance(told, dict) else {}
    except (OSError, ValueError):  # not there yet, or no longer
        return {}


def _gone(builder: dict[str, Any]) -> bool:
    """A builder of this machine is alive as long as it has the lock; of one elsewhere only its heartbeat is known."""
    there = builder.get("host")
    return there not in (None, machine.host()) and time.time() - float(builder["heartbeat"]) > DEAD_AFTER_SECONDS
