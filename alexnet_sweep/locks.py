"""Locks over all processes and machines that share a disk. Imports no torch.

A lock is the operating system's: it ends with the process that holds it, however that ends. Whoever holds one also
leaves a name and a heartbeat beside it, so that others can say for whom they wait, and so that a machine which is gone,
and whose lock the file server may keep, is overtaken.
"""

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
from loguru import logger

from alexnet_sweep import machine
from alexnet_sweep.errors import FolderError
from alexnet_sweep.files import read_json, write_json
from alexnet_sweep.files import told as disk_told

DEAD_AFTER_SECONDS = 120.0  # a heartbeat on another host that is further from now than this is a dead process's
EVERY_SECONDS = 5.0
POLL_SECONDS = 0.5


@contextmanager
def held(lock: Path, patience: float, kind: type[FolderError] = FolderError) -> Iterator[None]:
    """Hold a lock that nobody keeps for long.

    Raises:
        kind: where another process does not let go of it for so many seconds.
        FolderError: where something stands in its place that cannot be locked.
    """
    owner, late, told = owner_file(lock), time.monotonic() + patience, False
    while True:
        taken = filelock.FileLock(lock)
        try:
            with disk_told(lock):
                taken.acquire(timeout=min(POLL_SECONDS, patience))
            break
        except filelock.Timeout:
            pass
        except OSError as error:  # a folder in its place, or a link, which is not followed
            raise FolderError(f"{lock}: cannot be locked ({error.strerror}); remove it, and start again") from error
        who = told_by(owner).get("who", "another process")
        if overtaken(lock, owner):
            continue
        if time.monotonic() >= late:
            raise kind(f"{lock}: held by {who} for {patience:.0f} s; wait for it, or stop it, and start again")
        if not told:
            logger.info("{}: held by {}; waiting for it", lock, who)
        told = True
    try:
        with Heartbeat(owner):
            yield
    finally:
        try:
            with suppress(IsADirectoryError):  # which is told of where it was to be written
                owner.unlink(missing_ok=True)
        finally:
            taken.release()


def overtaken(lock: Path, owner: Path) -> bool:
    """Let go of a lock for its owner, if that is gone; of several who would, one does.

    An owner on this machine is alive as long as it has the lock; of one elsewhere only its heartbeat is known.
    """
    if not _gone(told_by(owner)):
        return False
    mine = owner.with_name(f"{owner.name}.{uuid.uuid4().hex}")
    try:
        owner.rename(mine)
    except FileNotFoundError:  # another process was quicker
        return False
    told = told_by(mine)
    mine.unlink()
    if not _gone(told):  # that of the process that was quicker, whose heartbeat writes it anew
        return False
    logger.warning("{}: {} has not been heard of for long; going on in its place", lock, told["who"])
    lock.unlink(missing_ok=True)  # its lock is on the file that was there
    return True


class Heartbeat:
    """Whose a lock is, with a heartbeat every few seconds while the block lasts."""

    def __init__(self, file: Path) -> None:
        self._file, self._ended = file, threading.Event()
        self._noted: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def note(self, **told: Any) -> None:
        """Something for those who wait; the first time at once, later with the next heartbeat."""
        first = not self._noted
        self._noted = told
        if first:
            self._beat()

    def _beat_on(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            with suppress(OSError, FolderError):  # a full disk is told of by whoever works here
                self._beat()

    def _beat(self) -> None:
        who = f"{machine.host()} process {os.getpid()}"
        write_json(self._file, {"who": who, "host": machine.host(), "heartbeat": time.time(), **self._noted})


def told_by(owner: Path) -> dict[str, Any]:
    """What a heartbeat says; nothing where there is none that can be read."""
    try:
        return read_json(owner) or {}
    except FolderError:
        return {}


def owner_file(lock: Path) -> Path:
    return lock.with_name(f"{lock.name}.owner")


def _gone(told: dict[str, Any]) -> bool:
    there, heartbeat = told.get("host"), told.get("heartbeat")
    if there in (None, machine.host()) or not isinstance(heartbeat, int | float):
        return False
    return abs(time.time() - heartbeat) > DEAD_AFTER_SECONDS
