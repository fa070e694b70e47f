"""Which images of a folder belong to which split: by their folders, never by their own names.

The loader would also read splits out of file names, and leave out what names none: of photographs called
`cat/test_1.jpg` and `cat/2.jpg` it takes the first alone.
"""

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from alexnet_sweep.data.content import IMAGE_SUFFIXES
from alexnet_sweep.data.split_names import VALIDATION

NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys((*VALIDATION, "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
TABLES = (".parquet", ".arrow", ".zip", ".tar", ".gz")


def by_split(files: Sequence[str], train_split: str, test_split: str | None) -> dict[str, list[str]] | None:
    """Images below a data folder by split, in the order given; None where they are no class folders.

    A folder directly below is a split if it is called like one (`train`, `val`, the names asked for) and holds
    folders of images; one that holds images itself is a class, whatever it is called. Without such a folder all images
    are of one split. Where other tables (Parquet, a list of labels) lie between them the loader knows better.
    """
    paths = [(file, PurePath(file)) for file in files]
    if any(path.suffix.lower() in TABLES for _, path in paths) or any(path.stem == "metadata" for _, path in paths):
        return None
    images = [(file, path.parts) for file, path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    known = NAMES | {name: name for name in (train_split, test_split) if name and name not in NAMES.values()}
    nested = {parts[0] for _, parts in images if len(parts) > 2}
    flat = {parts[0] for _, parts in images if len(parts) == 2}
    splits = {name for name in nested - flat if name in known}
    if not splits:
        return {train_split: [file for file, _ in images]}
    return _grouped((known[parts[0]], file) for file, parts in images if parts[0] in splits)


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for split, file in pairs:
        groups.setdefault(split, []).append(file)
    return groups
