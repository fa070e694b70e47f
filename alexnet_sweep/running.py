"""Who runs a run: one live process claims its folder, and its status says which, how far, and how it ended.

No torch is imported here.
"""

import errno
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from loguru import logger

from alexnet_sweep import formats, machine
from alexnet_sweep.errors import CannotWrite, FolderError, one_line
from alexnet_sweep.files import DISK, half_written, told, write_json
from alexnet_sweep.locks import DEAD_AFTER_SECONDS, held, owner_file
from alexnet_sweep.store import DONE, FAILED, INTERRUPTED, RUNNING, RunFolder


class InUse(FolderError):
    """A run that another live process has, or has just ended."""


class Claim:
    """A run that this process is running: writes its status, at most every few seconds, and guards its files."""

    EVERY_SECONDS = 5.0

    def __init__(
        self, folder: RunFolder, place: int, attempts: int, failures: int, total_epochs: int, source_hash: str | None
    ) -> None:
        self.folder, self.attempts, self.failures, self.source_hash = folder, attempts, failures, source_hash
        self._place = place  # what was claimed, whatever is called so by now
        self.progress: dict[str, Any] = {"epoch": 0, "epochs": total_epochs}
        self.started = time.time()
        self._last = 0.0

    def beat(self, *, force: bool = False, **progress: Any) -> None:
        """Note progress; write the status if the last one is old enough."""
        self.progress.update(progress)
        if force or time.monotonic() - self._last >= self.EVERY_SECONDS:
            self.own()
            self._write(RUNNING)
            self._last = time.monotonic()

    def own(self) -> RunFolder:
        """The claimed folder, to write or remove something there at once.

        Raises:
            FolderError: where somebody has deleted or moved it: what was written there before is gone.
        """
        if not self.is_there():
            raise FolderError(
                f"{self.folder.path}: deleted or moved while in use; the same command starts the run again"
            )
        return self.folder

    def is_there(self) -> bool:
        """Whether the folder is still the one that was claimed: another may be called so by now, which is not ours."""
        try:
            return os.path.samestat(self.folder.path.stat(), os.fstat(self._place))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
                return False
            raise

    def end(self, state: str, reason: str | None = None) -> None:
        """Note how it has ended, where the folder is still there; a failure also where there is none by now."""
        if self.is_there():
            self._write(state, reason)
        elif state == FAILED:
            with suppress(OSError, FolderError):  # the error itself goes on its way
                self.folder.path.mkdir()  # not one that another process has made
                with held(self.folder.lock, 30, InUse):
                    if not self.folder.read_status():
                        self._write(state, reason)

    def _write(self, state: str, reason: str | None = None) -> None:
        write_json(
            self.folder.status,
            {
                "format": formats.RUN.written,
                "state": state,
                "reason": reason,
                "heartbeat": time.time(),
                "started": self.started,
                "host": machine.host(),
                "boot": machine.boot(),
                "process": os.getpid(),
                "process_started": machine.started(os.getpid()),
                "job": machine.queue_job(),
                "attempts": self.attempts,
                "failures": self.failures,
                "source_hash": self.source_hash,
                **self.progress,
            },
        )


@contextmanager
def claimed(
    folder: RunFolder, total_epochs: int, source_hash: str | None = None, admit: Callable[[], bool] = lambda: False
) -> Iterator[Claim]:
    """This process runs a run until the block ends, which leaves a state other than `running`.

    `admit` is asked once nobody else can claim the run: it raises, or says whether earlier results go.

    A disk that is full or must not be written is no failure of the run: it is then interrupted.

    Raises:
        InUse: where another live process has it.
        FolderError: where the folder, or a file that every run writes first, cannot be written.
    """
    try:
        with told(folder.path):
            folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(
            f"{folder.path}: cannot be created ({error.strerror}); set paths.runs to a folder that can be written"
        ) from error
    with _opened(folder) as place:
        with held(folder.lock, 30, InUse):  # only while claiming
            owner = alive_elsewhere(folder)
            if owner is not None:
                raise InUse(f"{folder.path}: in use by {owner}; wait for it, or stop it first")
            before = folder.read_status()
            attempts, failures = (int(_number(before, key)) for key in ("attempts", "failures"))
            claim = Claim(folder, place, attempts + 1, failures, total_epochs, source_hash)
            claim.own()  # the lock may be of another that was made meanwhile
            if admit():
                claim.own().clear()
            for path in half_written(folder.path, folder.names):  # nobody else writes here now
                path.unlink(missing_ok=True)
            claim.beat(force=True)
        try:
            with told(folder.path, DISK):
                yield claim
            claim.own()
        except KeyboardInterrupt:
            try:
                claim.end(INTERRUPTED)
            except CannotWrite as error:  # the status of a process that is gone counts as that
                logger.warning("{}", error)
            raise
        except CannotWrite as error:
            with suppress(CannotWrite):  # what is wrong is told all the same
                claim.end(INTERRUPTED, reason=str(error))
            raise
        except BaseException as error:
            claim.failures += 1
            with suppress(CannotWrite):
                claim.end(FAILED, reason=one_line(error))
            raise
        claim.end(DONE)


def alive_elsewhere(folder: RunFolder) -> str | None:
    """Who is running a run at the moment (`host process N`), if it is not this process.

    Raises:
        OtherFormat: where its status is of a version that is not read.
    """
    status = folder.read_status()
    if status.get("state") != RUNNING:
        return None
    if status.get("job") is not None and status["job"] == machine.queue_job():
        return None  # this job itself, before it was requeued
    host, process = status.get("host"), _number(status, "process")
    owner = f"{host} process {process:.0f}"
    if host != machine.host():  # whose clock may be ahead of ours, or ours was set back
        return owner if abs(time.time() - _number(status, "heartbeat")) < DEAD_AFTER_SECONDS else None
    if status.get("boot") != machine.boot() or process == os.getpid():
        return None
    started, noted = machine.started(int(process)), _number(status, "process_started")
    return owner if started is not None and abs(started - noted) < 1.0 else None


def running_below(folders: Sequence[RunFolder]) -> set[int]:
    """Those of the processes below this one that are running these runs at the moment."""
    below = machine.below()
    alive = [folder.read_status() for folder in folders if below and alive_elsewhere(folder) is not None]
    here = {int(_number(status, "process")) for status in alive if status.get("host") == machine.host()}
    return here & below


def left_by(folder: RunFolder, jobs: Collection[str]) -> bool:
    """Whether the last to work on it was one of these jobs or none at all, and has left it without ending it."""
    status = folder.read_status()
    if status.get("state") not in (RUNNING, INTERRUPTED) or status.get("job") not in (None, *jobs):
        return False
    return alive_elsewhere(folder) is None


def note_cut_off(folder: RunFolder, reason: str, job: str, earlier: Collection[str] = ()) -> None:
    """Record from outside why the run's last job has ended, unless it has been started again since.

    Raises:
        InUse: where another process keeps the run to itself.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with held(folder.lock, 30, InUse):
        status = folder.read_status()
        own = status.get("job") == job and status.get("state") in (RUNNING, INTERRUPTED)
        if not status or own or left_by(folder, earlier):
            write_json(
                folder.status,
                status | {"format": formats.RUN.written, "state": INTERRUPTED, "reason": reason, "job": job},
            )


def in_the_way(folder: RunFolder) -> str | None:
    """What stands where a process that claims the run writes, and so keeps it from saying anything there."""
    for path in (folder.lock, owner_file(folder.lock), folder.status):
        if path.is_dir() or (path == folder.lock and path.is_symlink()):
            return f"{path} is no file; remove it"
    return None


@contextmanager
def _opened(folder: RunFolder) -> Iterator[int]:
    """A folder, held open: until the block ends its number on the disk goes to no other, even if it is deleted."""
    handle = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def _number(status: dict[str, Any], key: str) -> float:
    """A number of a status file; 0 where it has none that makes sense."""
    value = status.get(key)
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e12 else 0.0
