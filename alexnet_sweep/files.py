"""Files that later code trusts: written beside, synced, and renamed, so that they are whole or absent."""

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from alexnet_sweep.errors import FolderError

HALF_WRITTEN = re.compile(r"\.(.+)\.[a-z0-9_]{8}")  # as `whole_file` names them


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends well; else nothing has changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
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


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as stream:
        stream.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file.

    Raises:
        FolderError: where it cannot be read, or holds something else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        value = json.loads(content)
    except ValueError as error:
        raise FolderError(f"{path}: not valid JSON ({error}); move its folder away to start it again") from error
    if not isinstance(value, dict):
        raise FolderError(f"{path}: not a JSON object; move its folder away to start it again")
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
