"""From a data config to an opened source, and to what identifies it.

A source is opened without decoding a single image, so that class names, counts and mistakes are known
at once. Nothing here imports torch.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from alexnet_sweep.config import DataConfig
from alexnet_sweep.data import synthetic
from alexnet_sweep.data.content import files_below, hash_files
from alexnet_sweep.data.embedded import digits, digits_file, drawn_pictures
from alexnet_sweep.data.hugging_face import from_datasets
from alexnet_sweep.data.source import CustomData, Source
from alexnet_sweep.errors import DataError
from alexnet_sweep.plugins import load

EMBEDDED = ("digits", "synthetic")  # sources that read nothing of the user's

Answer = TypeVar("Answer")


def open_source(data: DataConfig, scratch: Path) -> Source:
    """Open the configured data set. What a library must cache goes to `scratch`, which the caller removes.

    Raises:
        DataError: one line with the key or path, what was found and what is allowed.
    """
    if data.custom is not None:
        return _asked(data.custom, lambda own: own.open(scratch))
    if data.source == "digits":
        return digits()
    return drawn_pictures() if data.source == "synthetic" else from_datasets(data, scratch)


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

    A folder of up to 64 MiB is hashed whole; of a larger one names and sizes count, and the first and
    last 64 KiB of up to 256 files evenly spread over it. Files may move or be copied: only the tree
    below `data.path` counts.
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
        return hash_files([digits_file()], digits_file().parent)
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
    return hash_files(files_below(data.path), Path(data.path))
