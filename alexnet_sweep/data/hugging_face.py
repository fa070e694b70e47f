"""Data sets through Hugging Face `datasets`: a hub name, or a folder of Parquet, Arrow or class folders.

It says which files of a folder belong to which split; Parquet files are then read where they lie (`data.parquet`).
"""

import glob
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_sweep.config import DataConfig
from alexnet_sweep.data.class_folders import by_split
from alexnet_sweep.data.content import files_below
from alexnet_sweep.data.parquet import Rows
from alexnet_sweep.data.source import Encoded, Source, Split
from alexnet_sweep.data.split_names import train_and_test
from alexnet_sweep.data.splits import hold_out
from alexnet_sweep.errors import DataError, nearest
from alexnet_sweep.files import check_is_file

Cells = Callable[[list[int]], Sequence[dict[str, Any] | None]]  # bytes and paths of some rows

LIKELY_CLASSES = 1000  # numbered labels may reach this far in however few rows


def from_datasets(data: DataConfig, scratch: Path) -> Source:
    splits = _load(data, scratch)
    where = f"data.path={data.path}" if data.path else f"data.hub={data.hub}"
    train_name, test_name = train_and_test(data, splits, where)
    names, train_labels = _labels(splits[train_name], data, where)
    if test_name is None:
        assert data.test_fraction is not None
        kept, aside = hold_out(train_labels, data.test_fraction, "test")
        if not len(kept) or not len(aside):
            raise DataError(
                f"data.test_fraction={data.test_fraction:g}: takes {len(aside)} of {len(train_labels)} images; "
                "allowed: a fraction that leaves images in both splits"
            )
        train = _split(splits[train_name], data, data.train_split, train_labels, kept)
        test = _split(splits[train_name], data, data.train_split, train_labels, aside)
        return Source(names, train, test)
    test_names, test_labels = _labels(splits[test_name], data, where)
    numbered = all(name.isdecimal() for name in names)  # a split of bare numbers may lack the last classes
    if test_names != (names[: len(test_names)] if numbered else names):
        raise DataError(
            f"{where}: splits {data.train_split} and {test_name} have different classes "
            f"({len(names)} and {len(test_names)}); both need the same class folders or names"
        )
    unknown = [names[label] for label in sorted({*test_labels.tolist()} - {*train_labels.tolist()})]
    if unknown:
        raise DataError(
            f"{where}: splits {data.train_split} and {test_name} have different classes: {data.train_split} has no "
            f"image of {', '.join(unknown[:5])}; both need the same class folders or names"
        )
    return Source(
        names,
        _split(splits[train_name], data, data.train_split, train_labels, None),
        _split(splits[test_name], data, test_name, test_labels, None),
    )


def _load(data: DataConfig, scratch: Path) -> dict[str, Any]:
    """The data set's splits by name, images undecoded."""
    if data.path is not None and any(character in data.path for character in "*?[]"):
        raise DataError(
            f"data.path={data.path}: *, ?, [ and ] are taken for patterns by the loader; rename or link the folder"
        )
    import datasets
    import huggingface_hub

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    huggingface_hub.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    # its retries are told once, in our own error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's own deprecations are not the user's
            if data.path is None:
                assert data.hub is not None
                loaded = datasets.load_dataset(data.hub, data.hub_config, revision=data.revision)
            elif any((Path(data.path) / name).is_file() for name in ("dataset_dict.json", "state.json")):
                loaded = datasets.load_from_disk(data.path)
            else:
                _check_names(data)
                cache = str(scratch / "datasets")
                images = by_split(files_below(data.path), data.train_split, data.test_split)
                if images is None:
                    tables = _tables(datasets.load_dataset_builder(data.path, cache_dir=cache), data)
                    loaded = datasets.load_dataset(data.path, cache_dir=cache) if tables is None else tables
                else:
                    root = Path(data.path).resolve()
                    files = {
                        split: [glob.escape(f"{root}/{file}") for file in found]  # the loader takes them for patterns
                        for split, found in images.items()
                    }
                    loaded = datasets.load_dataset("imagefolder", data_files=files, cache_dir=cache)
    except DataError:
        raise
    except Exception as error:  # the library's failures have no common base
        where = f"data.path={data.path}" if data.path else f"data.hub={data.hub}"
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())[:300]
        mend = "" if data.path else _mend(data, reason)
        raise DataError(f"{where}: cannot be loaded ({type(error).__name__}: {reason}){mend}") from error
    if isinstance(loaded, dict):
        return {str(name): split for name, split in loaded.items()}
    return {data.train_split: loaded}


def _tables(builder: Any, data: DataConfig) -> dict[str, Rows] | None:
    """The splits of Parquet files that hold image files, by name; None where the library has to read the folder."""
    if builder.name != "parquet" or not builder.config.data_files:
        return None
    told = builder.info.splits or {}
    splits = {str(name): Rows(files, builder.info.features) for name, files in builder.config.data_files.items()}
    for name, rows in splits.items():
        wanted = told[name].num_examples if name in told else len(rows)
        if len(rows) != wanted:
            raise DataError(
                f"data.path={data.path}: split {name} has {len(rows):,} rows, and the folder's README.md says "
                f"{wanted:,}; fetch what is missing"
            )
    first, used = next(iter(splits.values())), (data.image_column, data.label_column)
    alike = all(rows.are_alike(used) and rows.column_names == first.column_names for rows in splits.values())
    return splits if alike and all(rows.holds_images(data.image_column) for rows in splits.values()) else None


def _check_names(data: DataConfig) -> None:
    """Refuse Parquet files that number their classes differently: the loader takes the first one's names for all."""
    assert data.path is not None
    import pyarrow as pa
    import pyarrow.parquet as pq

    known: tuple[str, list[str]] | None = None
    for file in sorted(Path(data.path).rglob("*.parquet")):
        try:
            check_is_file(file)  # a hidden one, which nobody else looks at, may be a pipe
            told = (pq.read_schema(file).metadata or {}).get(b"huggingface", b"{}")
            names = json.loads(told)["info"]["features"][data.label_column]["names"]
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            continue  # no names, or nothing that the loader can read
        if not isinstance(names, list):
            continue
        where = file.relative_to(data.path).as_posix()
        known = known or (where, names)
        if names != known[1]:
            place = next(
                (place for place, pair in enumerate(zip(names, known[1], strict=False)) if len({*pair}) > 1), None
            )
            found = (
                f"{len(known[1])} and {len(names)} classes"
                if place is None
                else (f"{known[1][place]} and {names[place]} for class {place}")
            )
            raise DataError(
                f"data.path={data.path}: {known[0]} and {where} have {found}; all files must name the same classes in "
                "the same order: write them again"
            )


def _mend(data: DataConfig, reason: str) -> str:
    """What to do where the hub does not give a data set."""
    from huggingface_hub import constants

    local = "set data.path to a local copy"
    if any(word in reason.lower() for word in ("gated", "401", "403", "authenticated")):
        return (
            f"; it asks who you are: accept its terms at huggingface.co/datasets/{data.hub}, then set HF_TOKEN or run "
            f"`hf auth login`; or {local}"
        )
    if constants.HF_HUB_OFFLINE:
        return f"; HF_HUB_OFFLINE is set, so that nothing is fetched: unset it once to fill the cache, or {local}"
    return f"; without a network, {local}; once it is in the cache, HF_HUB_OFFLINE=1 asks no more"


def _labels(split: Any, data: DataConfig, where: str) -> tuple[list[str], NDArray[np.int64]]:
    """Class names and labels of one split."""
    import datasets

    for key, column in (("image", data.image_column), ("label", data.label_column)):
        if column not in split.column_names and split.column_names == ["image"]:
            raise DataError(
                f"{where}: no classes; put the images of each class into a folder of its own, two classes at least, "
                "and none beside these folders"
            )
        if column not in split.column_names:
            raise DataError(
                f"data.{key}_column={column}: {where} has no such column."
                f"{nearest(column, split.column_names)} Have: {', '.join(split.column_names)}"
            )
    feature = split.features[data.label_column]
    try:
        values = np.asarray(split[data.label_column])
    except ValueError:  # lists of different lengths
        values = np.zeros((0, 0))
    if values.dtype.kind == "O" and any(value is None for value in values.tolist()):
        raise DataError(
            f"data.label_column={data.label_column}: {where} has rows without a label; remove them from the data set"
        )
    text = values.ndim == 1 and values.dtype.kind in "UO" and all(isinstance(value, str) for value in values.tolist())
    whole = values.ndim == 1 and values.dtype.kind in "iu"
    if isinstance(feature, datasets.ClassLabel) and len(values) and not whole:
        found = f"as {str(values[0])[:40]!r}" if values.ndim == 1 else "that are lists"
        raise DataError(
            f"data.label_column={data.label_column}: {where} has labels {found} there, and describes them as numbers "
            f"of its {len(feature.names)} classes; mend the description (README.md), or write the files again"
        )
    if isinstance(feature, datasets.ClassLabel):
        names = [str(name) for name in feature.names]
    elif whole:
        highest = int(values.max())
        if highest >= max(len(values), LIKELY_CLASSES):
            raise DataError(
                f"data.label_column={data.label_column}: {where} has a label {highest} among {len(values)} rows; "
                "allowed: classes numbered from 0"
            )
        names = [str(number) for number in range(highest + 1)]
    elif text:
        names = sorted(set(values.tolist()))
        values = np.asarray([names.index(value) for value in values.tolist()])
    else:
        raise DataError(
            f"data.label_column={data.label_column}: {where} holds {feature} there; "
            "allowed: whole numbers from 0, class labels, or strings"
        )
    labels = values.astype(np.int64)
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= len(names):
        found = f"{labels.min()} to {labels.max()}" if len(labels) else "no rows"
        raise DataError(
            f"data.label_column={data.label_column}: {where} has labels {found}; allowed: 0 to "
            f"{len(names) - 1}. A label of -1 marks an unlabelled split: choose another data.test_split"
        )
    return names, labels


def _split(split: Any, data: DataConfig, name: str, labels: NDArray[np.int64], rows: NDArray[np.int64] | None) -> Split:
    column, chosen = data.image_column, np.arange(len(labels)) if rows is None else rows
    if isinstance(split, Rows):
        paths: list[str | None] = split.paths(column)
        cells: Cells = partial(split.cells, column)
    else:
        paths, cells = _undecoded(split, data, name)
    root = Path(data.path).resolve() if data.path else None

    def identify(row: int, path: str | None) -> str:
        """Its path below the data folder where it is a file of its own, else split and row."""
        if root is not None and path and Path(path).is_absolute() and root in Path(path).parents:
            return Path(path).relative_to(root).as_posix()
        return f"{name}/{row:07d}"

    def read(start: int, stop: int) -> list[Encoded]:
        found = (cell or {} for cell in cells(chosen[start:stop].tolist()))
        return [Encoded(cell["bytes"] if cell.get("bytes") is not None else cell.get("path")) for cell in found]

    return Split(labels[chosen], [identify(int(row), paths[row]) for row in chosen], read)


def _undecoded(split: Any, data: DataConfig, name: str) -> tuple[list[str | None], Cells]:
    """Where the images of a split of `datasets` lie, and their structures by row."""
    import datasets

    column = data.image_column
    try:
        undecoded = split.cast_column(column, datasets.Image(decode=False))
    except Exception as error:  # pyarrow and datasets both raise of their own here
        raise DataError(
            f"data.image_column={column}: split {name} holds {split.features[column]} there; allowed: images"
        ) from error
    flat = undecoded.with_format("arrow")[:].flatten()  # one field of a column of structures, without the others
    paths = list(flat.column(f"{column}.path").to_pylist())
    kind = split.features[column]
    if kind == datasets.Value("string") and not all(path is None or Path(path).is_file() for path in paths):
        raise DataError(
            f"data.image_column={column}: split {name} holds {kind} there, which name no files; allowed: images"
        )
    return paths, lambda rows: undecoded[rows][column]
