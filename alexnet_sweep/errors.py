"""The errors a user can cause.

SweepError            a mistake in what was typed or configured: one line, no traceback, exit code 2
├── ConfigError       a key, option or value of the composed config
├── DataError         a data set that is missing, unreadable, or not what the config says
└── FolderError       a run or study folder that cannot be read, or that somebody else is using
    ├── OtherFormat   of a version that this one does not read: left as it is
    ├── CannotRead    that this process may not read, or not at the moment: left as it is
    └── CannotWrite   a disk that is full, or a folder that must not be written
RunsFailed            a sweep whose runs did not all end well: exit code 1
Interrupted           the user asked to stop (Ctrl-C): exit code 130; a KeyboardInterrupt, so that a launcher
                      that collects failed jobs does not go on with the next one

A message says what happened, which file or key, what was found, what is allowed, and what to do.
"""

import difflib
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar


class SweepError(Exception):
    """A mistake of the user's: shown as one line, exit code 2."""


class ConfigError(SweepError):
    """A key, an option or a value that the config does not allow."""


class DataError(SweepError):
    """A data set that is missing, unreadable, or not what the config says."""


class FolderError(SweepError):
    """A run or study folder that cannot be read, or that is in use."""


class OtherFormat(FolderError):
    """A file that another version of this program has written, and this one does not read."""


class CannotRead(FolderError):
    """A file that may be well, but that this process may not read, or the disk does not give at the moment."""

    REASONS = frozenset(
        {errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT}
    )


def unreadable(path: Path, error: BaseException, advice: str) -> FolderError:
    """That a file cannot be read; `advice` says what to do where it is the file that is wrong."""
    if isinstance(error, OSError) and error.errno in CannotRead.REASONS:
        return CannotRead(f"{path}: cannot be read ({os.strerror(error.errno)}); make it readable, and start again")
    why = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
    return FolderError(f"{path}: cannot be read ({why}); {advice}")


class CannotWrite(FolderError):
    """A file that cannot be written for a reason outside the program: no run has failed by it."""

    REASONS: ClassVar = {
        errno.ENOSPC: "the disk is full; make room",
        errno.EDQUOT: "the quota of this disk is used up; make room",
        errno.EROFS: "the disk is read-only; make it writable",
        errno.EACCES: "writing there is not allowed; make the folder writable",
        errno.EPERM: "writing there is not allowed; make the folder writable",
    }

    def __init__(self, path: Path, error: OSError) -> None:
        why = self.REASONS[error.errno or 0]
        super().__init__(f"{path}: cannot be written: {why} and start again, the same command goes on from there")
        self.errno = error.errno


class RunsFailed(Exception):
    """Some runs of a sweep failed; the others are finished and reported. Exit code 1."""


class Interrupted(KeyboardInterrupt):
    """The user asked to stop; what was reached is saved. Exit code 130."""

    def __init__(self, *message: str, signal: int | None = None) -> None:
        super().__init__(*message)
        self.signal = signal  # that asked for it, where it was one


def nearest(found: str, allowed: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest allowed word, or nothing if none is close."""
    close = difflib.get_close_matches(found, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def one_line(error: BaseException) -> str:
    """An exception's kind and message on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
