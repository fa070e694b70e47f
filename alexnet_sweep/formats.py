"""Which version of each kind of file is written here, and which are read: the one place that says so.

A file of another version is refused with a sentence, never misread, and nothing of it is changed. Whoever changes what
a file holds raises `written`, and leaves the older number in `read` only where it is still read rightly. The version of
a run folder covers all its files: status.json, result.json, predictions.parquet and checkpoint.pt carry it, for
config.yaml, metrics.csv and provenance.json too. That of a packed store is part of its fingerprint besides, and so of
its folder's name.
"""

from dataclasses import dataclass
from pathlib import Path

from alexnet_sweep.errors import FolderError, OtherFormat


@dataclass(frozen=True)
class Format:
    """The versions of one kind of file."""

    what: str
    written: int
    read: tuple[int, ...]
    unmarked: int | None = None  # the version of files that were written before they carried one
    key: str = "paths.runs"  # that says where such files lie


RUN = Format("run folder", written=1, read=(1,), unmarked=1)
PLAN = Format("study's plan", written=2, read=(1, 2))  # 2: with a digest
JOBS = Format("record of jobs", written=1, read=(1,))
STORE = Format("packed store", written=2, read=(2,), key="paths.store")


def check(kind: Format, found: object, path: Path) -> None:
    """Refuse a file whose version, `found`, is none of those that are read; None where it carries none.

    Raises:
        OtherFormat: where another version of alexnet-sweep has written it.
        FolderError: where it has no version, though it should.
    """
    version = kind.unmarked if found is None else found
    if not isinstance(version, int) or isinstance(version, bool):
        raise FolderError(f"{path}: format {found!r}, which is no version of a {kind.what}; move it away to start anew")
    if version in kind.read:
        return
    age = "a newer" if version > max(kind.read) else "an older"
    raise OtherFormat(
        f"{path}: format {version} of a {kind.what}, written by {age} version of alexnet-sweep; this one reads "
        f"{' and '.join(map(str, kind.read))}. Use that version, or set {kind.key} to another folder"
    )
