"""Files that later code trusts: written beside, synced, and renamed, so that they are whole or absent."""

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from alexnet_sweep import failpoints
from alexnet_sweep.errors import CannotWrite, FolderError, unreadable
from alexnet_sweep.wording import amount

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no mistake in a path, which EACCES may be
MOST_READ_BYTES = 1 << 28  # of a file of text

HALF_WRITTEN = re.compile(r"\.(.+)\.[a-z0-9_]{8}")  # as `whole_file` names them


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends well; else nothing has changed.

    File and folder are synced: what is there after a power failure is the old file or the new one, and what was written
    earlier is there as well.

    Raises:
        CannotWrite: for a full disk, or a folder that must not be written.
        FolderError: where a folder is in its place.
    """
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(0o666 & ~_umask())
            failpoints.pass_by(f"{path.name}.beside")
            _put(Path(name), path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    failpoints.pass_by(f"{path.name}.renamed")


def _put(written: Path, path: Path) -> None:
    try:
        written.replace(path)
    except IsADirectoryError as error:
        raise FolderError(f"{path}: cannot be written: it is a folder; remove it, and start again") from error


@contextmanager
def told(path: Path, errors: Collection[int] = tuple(CannotWrite.REASONS)) -> Iterator[None]:
    """A disk that is full, or that must not be written, is told of in one line that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in errors:
            raise CannotWrite(path, error) from error
        raise


def half_written(folder: Path, names: Collection[str] | None) -> list[Path]:
    """What was on its way to take the place of these files of a folder, or None: of any.

    Where nobody writes, a process that was killed has left it.
    """
    found: list[Path] = []
    with suppress(OSError):  # no such folder, or a link to none
        for path in sorted(folder.iterdir()):
            match = HALF_WRITTEN.fullmatch(path.name)
            if match and (names is None or match[1] in names) and path.is_file() and not path.is_symlink():
                found.append(path)
    return found


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk; a file system that cannot sync folders does so by itself."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def remove_leftovers(folder: Path, older_than_seconds: float = 0.0) -> None:
    """Remove what is `half_written` in a folder; younger files may be another process's that is writing."""
    for path in half_written(folder, None):
        with suppress(FileNotFoundError):
            if not older_than_seconds or time.time() - path.stat().st_mtime > older_than_seconds:
                path.unlink()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    check_is_file(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_is_file(path: Path) -> None:
    """Refuse what is no file, nor a link to one: a pipe or a device would be waited for, or never end.

    Raises:
        OSError: saying so, or where it cannot be found.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no file", str(path))


def to_be_continued(path: Path) -> Path:
    """The path of a file that is written on where it lies: free, or a file of its own.

    Raises:
        FolderError: for a link, which leads elsewhere, and for a pipe, a folder or a device.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise FolderError(f"{path}: no file of its own, and is to be written on; remove it")
    return path


def read_file(path: Path) -> bytes:
    """All of a file that may be somebody else's.

    Raises:
        OSError: where there is none, or it is no file, or one of an absurd size.
    """
    check_is_file(path)
    size = path.stat().st_size
    if size > MOST_READ_BYTES:
        raise OSError(errno.EFBIG, f"{amount(size)}", str(path))
    return path.read_bytes()


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as stream:
        stream.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def with_digest(value: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with the SHA-256 of all that it says, however it will be laid out."""
    return value | {"digest": _digest(value)}


def take_digest(value: dict[str, Any]) -> bool | None:
    """Take the digest out of what was read; whether it is right, or None where there was none."""
    told = value.pop("digest", None)
    return None if told is None else told == _digest(value)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file.

    Raises:
        FolderError: where it cannot be read, or holds something else.
    """
    try:
        content = read_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error, "move its folder away to start it again") from error
    try:
        value = json.loads(content)
        if b"\\ud" in content.lower():  # halves of signs, which nothing could write down again
            value = _without_halves(value)
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path}: not valid JSON ({error}); move its folder away to start it again") from error
    if not isinstance(value, dict):
        raise FolderError(f"{path}: not a JSON object; move its folder away to start it again")
    return value


def names_a_folder(name: str) -> bool:
    """Whether a name from a command line, a file or a data set is that of a folder, and leads nowhere else."""
    try:
        return name not in ("", ".", "..") and not {"/", "\0"} & set(name) and len(os.fsencode(name)) <= 255
    except UnicodeEncodeError:
        return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _without_halves(value: Any) -> Any:
    """A JSON value with a question mark for each half of a sign."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _digest(value: dict[str, Any]) -> str:
    """Of a JSON object as it will be read."""
    return hashlib.sha256(json.dumps(_without_halves(value), sort_keys=True).encode()).hexdigest()
