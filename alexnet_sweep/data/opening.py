"""From a data config to an opened source, and to what identifies it.

A source is opened without decoding a single image, so that class names, counts and mistakes are known
at once. Nothing here imports torch.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from alexnet_sweep.config import DataConfig
from alexnet_sweep.data import synthetic
from alexnet_sweep.data.cifar_python import FOLDER, batches_folder, from_pickles
from alexnet_sweep.data.content import IMAGE_SUFFIXES, files_below, hash_files
from alexnet_sweep.data.embedded import digits, digits_file, drawn_pictures
from alexnet_sweep.data.hugging_face import from_datasets
from alexnet_sweep.data.idx import from_idx
from alexnet_sweep.data.source import CustomData, Source
from alexnet_sweep.data.synsets import WNID, from_synsets, readable
from alexnet_sweep.errors import DataError
from alexnet_sweep.plugins import load

EMBEDDED = ("digits", "synthetic")  # sources that read nothing of the user's

Answer = TypeVar("Answer")


def open_source(data: DataConfig, scratch: Path) -> Source:
    """Open the configured data set. What a library must cache goes to `scratch`, which the caller removes.

    Raises:
        DataError: one line with the key or path, what was found and what is allowed.
    """
    source = _opened(data, scratch)
    for split in (source.train, source.test):
        _check_ids(split.ids)
    return source


def _check_ids(ids: list[str]) -> None:
    """Refuse names that would not come back from a store's list of them."""
    for image_id in ids:
        if "\n" in image_id or (not image_id.isascii() and image_id != image_id.encode(errors="replace").decode()):
            raise DataError(
                f"image {image_id!a}: its name has a line break or is not UTF-8, and cannot be written down; "
                "rename the file"
            )


def _opened(data: DataConfig, scratch: Path) -> Source:
    if data.custom is not None:
        return _asked(data.custom, lambda own: own.open(scratch))
    if data.source == "digits":
        return digits()
    if data.source == "synthetic":
        return drawn_pictures()
    if data.path is not None and data.source == "synsets" and not _is_tables(data.path):
        return from_synsets(data)
    if data.path is not None and data.source == "idx" and not _is_tables(data.path):
        return from_idx(data)
    if data.path is not None and data.source == "cifar10" and batches_folder(Path(data.path).resolve()):
        return from_pickles(data)
    source = from_datasets(data, scratch)
    if data.source == "synsets" and all(WNID.fullmatch(name) for name in source.class_names):
        names = readable(source.class_names, Path(data.path) if data.path else None)
        return dataclasses.replace(source, class_names=names)
    return source


def _is_tables(path: str) -> bool:
    """Whether a folder holds Parquet or Arrow files, and not a data set's original layout."""
    kinds = ("*.parquet", "*.arrow", "*/*.parquet", "*/*.arrow")
    return any(next(Path(path).glob(kind), None) is not None for kind in kinds)


def _asked(custom: dict[str, Any], ask: Callable[[CustomData], Answer]) -> Answer:
    """What a data source of the user's own answers."""
    name = custom.get("_target_")
    try:
        own: CustomData = load(custom)()
        for method in ("content_id", "open"):
            if not callable(getattr(own, method, None)):
                raise DataError(f"data.custom: {name} has no method {method}; see CustomData")
        return ask(own)
    except DataError:
        raise
    except Exception as error:  # it is the user's own code
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"data.custom: {name} failed ({type(error).__name__}: {reason})") from error


def content_id(data: DataConfig) -> str:
    """What the data set is, cheaply: file names, sizes and contents, or the hub's commit.

    A folder of up to 64 MiB is hashed whole; of a larger one names and sizes count, all of any file
    that is no image (up to 64 MiB each), and the first and last 64 KiB of up to 256 files evenly spread
    over it. Files may move or be copied: only the tree below `data.path` counts.
    """
    if data.custom is not None:
        return f"custom:{json.dumps(data.custom, sort_keys=True)}:{_asked(data.custom, lambda own: own.content_id())}"
    if data.source in EMBEDDED:
        if data.test_fraction is not None:
            raise DataError(
                f"data.test_fraction={data.test_fraction:g}: data={data.name} has a test set of its own; leave it out"
            )
        if data.path is not None:
            raise DataError(
                f"data.path={data.path}: data={data.name} is embedded and reads no path; choose data=folder (or "
                "data=cifar10) for images of your own"
            )
        if data.source == "synthetic":
            return synthetic.content_id()
        return hash_files([digits_file().name], digits_file().parent)
    if data.path is None:
        if data.hub is None:
            raise DataError(
                f"data.path: not set, and data={data.name} has no hub name; set data.path=FOLDER, "
                "a folder of Parquet or Arrow files or of one folder of images a class"
            )
        if data.revision is None:
            raise DataError(
                f"data.revision: not set for the hub data set {data.hub}; "
                "set it to a commit, so that the data cannot change under the results"
            )
        return f"hub:{data.hub}:{data.hub_config}:{data.revision}"
    folder = Path(data.path)
    if data.source == "cifar10":
        folder = batches_folder(folder.resolve()) or folder
    free = data.source == "idx" or folder.name == FOLDER  # whose files have names of their own
    files = files_below(str(folder), None if free else IMAGE_SUFFIXES)
    return hash_files(files, folder)
