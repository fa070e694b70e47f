"""Where images come from: embedded digits or drawn pictures, or Hugging Face `datasets` (hub name or local folder).

A source is opened without decoding a single image, so that class names, counts and mistakes are known
at once; `Split.read` decodes images later. Nothing here imports torch.
"""

import hashlib
import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet_sweep.config import DataConfig
from alexnet_sweep.data import synthetic
from alexnet_sweep.data.decode import decode
from alexnet_sweep.data.splits import hold_out
from alexnet_sweep.errors import DataError, nearest
from alexnet_sweep.plugins import load

VALIDATION = ("validation", "valid", "val")
TEST_SPLITS = (*VALIDATION, "test")  # what a null data.test_split is looked for as
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".parquet", ".arrow")
)
LIKELY_CLASSES = 1000  # numbered labels may reach this far in however few rows
EMBEDDED = ("digits", "synthetic")  # sources that read nothing of the user's
DIGITS_TEST = 360  # the last images come from other writers than the first
WHOLE_BYTES = 64 << 20  # a folder up to this size is hashed whole
SAMPLED_FILES = 256
SAMPLED_BYTES = 64 << 10

Answer = TypeVar("Answer")
Read = Callable[[int, int], list[Image.Image]]


@dataclass(frozen=True)
class Split:
    """One part of a data set; `read(start, stop)` decodes its images as RGB."""

    labels: NDArray[np.int64]
    ids: list[str]
    read: Read


@dataclass(frozen=True)
class Source:
    """A data set opened for packing: `train` and `test`, sharing one list of class names."""

    class_names: list[str]
    train: Split
    test: Split


class CustomData(Protocol):
    """A data source of the user's own (data.custom)."""

    def content_id(self) -> str:
        """What the images and labels are, cheaply: another text wherever they differ."""
        ...

    def open(self, scratch: Path) -> Source:
        """Both splits, no image decoded yet; `scratch` is a folder for what must be cached, removed afterwards."""
        ...


def open_source(data: DataConfig, scratch: Path) -> Source:
    """Open the configured data set. What a library must cache goes to `scratch`, which the caller removes.

    Raises:
        DataError: one line with the key or path, what was found and what is allowed.
    """
    if data.custom is not None:
        return _asked(data.custom, lambda own: own.open(scratch))
    if data.source == "digits":
        return _digits()
    return _synthetic() if data.source == "synthetic" else _from_datasets(data, scratch)


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
        return _hash_files([_digits_file()], _digits_file().parent)
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
    return _hash_files(_files_below(data.path), Path(data.path))


def _files_below(path: str) -> list[Path]:
    folder = Path(path)
    if not folder.is_dir():
        around = folder.parent
        names = [item.name for item in around.iterdir()] if around.is_dir() else []
        raise DataError(
            f"data.path={path}: no such folder.{nearest(folder.name, names)} Give a folder of Parquet or "
            "Arrow files, or of one folder of images a class"
        )
    if any(character in path for character in "*?[]"):
        raise DataError(
            f"data.path={path}: *, ?, [ and ] are taken for patterns by the loader; rename or link the folder"
        )
    # All of them: labels and class names may lie in files beside the images.
    files = sorted(
        Path(place) / name for place, _, names in os.walk(folder) for name in names if not name.startswith(".")
    )
    if not any(file.suffix.lower() in IMAGE_SUFFIXES for file in files):
        raise DataError(
            f"data.path={path}: holds no images; found {_what_is_in(folder)}; "
            f"allowed: {', '.join(sorted(IMAGE_SUFFIXES))} files, in one folder a class under train/ and val/"
        )
    return files


def _what_is_in(folder: Path) -> str:
    names = sorted(item.name for item in folder.iterdir())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"


def _hash_files(files: list[Path], folder: Path) -> str:
    digest = hashlib.sha256()
    try:
        sizes = [file.stat().st_size for file in files]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); mend or remove it") from error
    whole = sum(sizes) <= WHOLE_BYTES
    every = -(-len(files) // SAMPLED_FILES)
    for index, (file, size) in enumerate(zip(files, sizes, strict=True)):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{size}\0".encode())
        if whole:
            digest.update(file.read_bytes())
        elif index % every == 0:
            with file.open("rb") as stream:
                digest.update(stream.read(SAMPLED_BYTES))
                stream.seek(max(0, size - SAMPLED_BYTES))
                digest.update(stream.read(SAMPLED_BYTES))
    return digest.hexdigest()


def _digits_file() -> Path:
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.origin is not None, "scikit-learn is a dependency"
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _digits() -> Source:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)

    def part(chosen: slice) -> Split:
        images = pixels[chosen]
        first = chosen.indices(len(pixels))[0]
        return Split(
            labels[chosen],
            [f"digits/{first + row:04d}" for row in range(len(images))],
            lambda start, stop: [Image.fromarray(image).convert("RGB") for image in images[start:stop]],
        )

    names = [str(name) for name in bunch.target_names]
    return Source(names, part(slice(0, -DIGITS_TEST)), part(slice(-DIGITS_TEST, None)))


def _synthetic() -> Source:
    def part(name: str) -> Split:
        drawn = synthetic.draw(name)
        return Split(
            drawn.labels,
            [f"synthetic/{name}/{row:04d}" for row in range(len(drawn.labels))],
            lambda start, stop: [Image.fromarray(pixels) for pixels in drawn.pixels[start:stop]],
        )

    return Source(synthetic.class_names(), part("train"), part("test"))


def _from_datasets(data: DataConfig, scratch: Path) -> Source:
    splits = _load(data, scratch)
    where = f"data.path={data.path}" if data.path else f"data.hub={data.hub}"
    train_name = _found(data.train_split, splits)
    if train_name is None:
        raise DataError(
            f"data.train_split={data.train_split}: {where} has no such split."
            f"{nearest(data.train_split, splits)} Have: {', '.join(splits)}"
        )
    wanted = (data.test_split,) if data.test_split else TEST_SPLITS
    test_name = next((found for name in wanted if (found := _found(name, splits))), None)
    if data.test_split is not None and test_name is None:
        raise DataError(
            f"data.test_split={data.test_split}: {where} has no such split."
            f"{nearest(data.test_split, splits)} Have: {', '.join(splits)}"
        )
    if test_name == train_name:
        raise DataError(
            f"data.test_split={test_name}: {where} trains on that split; choose another, or set data.test_split=null "
            "data.test_fraction=0.2 to take a fifth of it"
        )
    if test_name is not None and data.test_fraction is not None:
        raise DataError(
            f"data.test_fraction={data.test_fraction:g}: {where} has a split {test_name} to test on; leave it out"
        )
    if test_name is None and not data.test_fraction:
        raise DataError(
            f"data.test_split: {where} has no split among {', '.join(TEST_SPLITS)}; found "
            f"{', '.join(splits)}. Name one, or set data.test_fraction=0.2 to take a fifth of "
            f"{data.train_split}"
        )
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


def _found(wanted: str, splits: dict[str, Any]) -> str | None:
    """The split of that name; `validation` has three spellings, and the loader renames the folder `val`."""
    names = VALIDATION if wanted in VALIDATION else (wanted,)
    return next((name for name in (wanted, *names) if name in splits), None)


def _load(data: DataConfig, scratch: Path) -> dict[str, Any]:
    """The data set's splits by name, images undecoded."""
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
                loaded = datasets.load_dataset(data.path, cache_dir=str(scratch / "datasets"))
    except Exception as error:  # the library's failures have no common base
        where = f"data.path={data.path}" if data.path else f"data.hub={data.hub}"
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())[:300]
        mend = "" if data.path else "; without a network, set data.path to a local copy"
        raise DataError(f"{where}: cannot be loaded ({type(error).__name__}: {reason}){mend}") from error
    if isinstance(loaded, datasets.DatasetDict):
        return {str(name): split for name, split in loaded.items()}
    return {data.train_split: loaded}


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
    values = np.asarray(split[data.label_column])
    feature = split.features[data.label_column]
    if values.dtype.kind == "O" and any(value is None for value in values.tolist()):
        raise DataError(
            f"data.label_column={data.label_column}: {where} has rows without a label; remove them from the data set"
        )
    if isinstance(feature, datasets.ClassLabel):
        names = [str(name) for name in feature.names]
    elif values.dtype.kind in "iu":
        highest = int(values.max())
        if highest >= max(len(values), LIKELY_CLASSES):
            raise DataError(
                f"data.label_column={data.label_column}: {where} has a label {highest} among {len(values)} rows; "
                "allowed: classes numbered from 0"
            )
        names = [str(number) for number in range(highest + 1)]
    elif values.dtype.kind in "UO" and all(isinstance(value, str) for value in values.tolist()):
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
    import datasets

    chosen = np.arange(len(labels)) if rows is None else rows
    try:
        undecoded = split.cast_column(data.image_column, datasets.Image(decode=False))
    except Exception as error:  # pyarrow and datasets both raise of their own here
        raise DataError(
            f"data.image_column={data.image_column}: split {name} holds "
            f"{split.features[data.image_column]} there; allowed: images"
        ) from error
    root = Path(data.path).resolve() if data.path else None

    def identify(row: int, path: str | None) -> str:
        """Its path below the data folder where it is a file of its own, else split and row."""
        if root is not None and path and Path(path).is_absolute() and root in Path(path).parents:
            return Path(path).relative_to(root).as_posix()
        return f"{name}/{row:07d}"

    def read(start: int, stop: int) -> list[Image.Image]:
        numbers = chosen[start:stop]
        cells = undecoded[numbers.tolist()][data.image_column]
        return [
            decode(cell or {}, identify(int(row), cell and cell.get("path")))
            for row, cell in zip(numbers, cells, strict=True)
        ]

    paths = _column(undecoded, data.image_column, "path")
    kind = split.features[data.image_column]
    if kind == datasets.Value("string") and not all(path is None or Path(path).is_file() for path in paths):
        raise DataError(
            f"data.image_column={data.image_column}: split {name} holds {kind} there, which name no files; "
            "allowed: images"
        )
    return Split(labels[chosen], [identify(int(row), paths[row]) for row in chosen], read)


def _column(split: Any, column: str, field: str) -> list[Any]:
    """One field of a column of structures, without reading the others."""
    flat = split.with_format("arrow")[:].flatten()
    return list(flat.column(f"{column}.{field}").to_pylist())
