"""ImageNet's own layouts: a folder of images a synset, and validation images in folders or flat with a list of answers.

    train/<wnid>/*.JPEG                 also train/<wnid>/images/*.JPEG, as Tiny ImageNet has it
    val/<wnid>/*.JPEG                   or val/*.JPEG or val/images/*.JPEG with one of
        LOC_val_solution.csv                            as on Kaggle (whose ILSVRC/Data/CLS-LOC is found, too)
        ILSVRC2012_validation_ground_truth.txt          numbers, which the devkit's meta.mat explains
        val_annotations.txt, val.txt, val_labels.txt    `filename wnid` a line, or a wnid a line in the files' order

Classes are in the order of their wnids, and shown by name where LOC_synset_mapping.txt, words.txt or meta.mat has it.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_sweep.config import DataConfig
from alexnet_sweep.data.content import IMAGE_SUFFIXES, what_is_in
from alexnet_sweep.data.source import Encoded, Source, Split
from alexnet_sweep.data.split_names import VALIDATION, train_and_test
from alexnet_sweep.data.splits import hold_out
from alexnet_sweep.errors import DataError

WNID = re.compile(r"n\d{8}")
KAGGLE = Path("ILSVRC/Data/CLS-LOC")
DEVKITS = ("ILSVRC2012_devkit_t12/data", "devkit-1.0/data", "devkit/data", "data")  # of 2012 and 2010
IMAGENETTE = {  # github.com/fastai/imagenette
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


def from_synsets(data: DataConfig) -> Source:
    """Open a folder of that layout.

    Raises:
        DataError: where folders, answers and classes do not fit each other.
    """
    assert data.path is not None
    top = Path(data.path)
    root = top / KAGGLE if (top / KAGGLE).is_dir() else top
    where = f"data.path={data.path}"
    splits = _folders(root)
    if data.train_split not in splits:
        raise DataError(
            f"{where}: holds no folder {data.train_split}; found {what_is_in(root)}; allowed: "
            f"{data.train_split}/ and val/ with a folder of images a class, or Parquet files"
        )
    train_name, test_name = train_and_test(data, splits, where)
    tree = _Tree(top, root)
    wnids = _folders(root / train_name)
    _check_classes(tree, wnids, where)
    train = tree.class_folders(train_name, wnids)
    empty = [wnids[label] for label in np.flatnonzero(np.bincount(train.labels, minlength=len(wnids)) == 0)]
    if empty or not wnids:
        told = ", ".join(empty[:5]) or "<class>"
        raise DataError(f"{where}: no images in {train_name}/{told}; every class needs a folder of some")
    names = readable(wnids, top)
    if test_name is None:
        assert data.test_fraction is not None
        kept, aside = hold_out(train.labels, data.test_fraction, "test")
        return Source(names, _part(train, kept), _part(train, aside))
    return Source(names, train, tree.opened(test_name, wnids))


def readable(wnids: Sequence[str], top: Path | None) -> list[str]:
    """The first name of each synset where a file below `top` has it, else its wnid; no name twice."""
    known = dict(IMAGENETTE) if set(wnids) <= set(IMAGENETTE) else {}
    if top is not None:
        known |= _names_below(top)
    names = [known.get(wnid, wnid) for wnid in wnids]
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(names, wnids, strict=True)]


def _part(split: Split, rows: Any) -> Split:
    return Split(
        split.labels[rows],
        [split.ids[row] for row in rows],
        lambda start, stop: [split.read(int(row), int(row) + 1)[0] for row in rows[start:stop]],
    )


def _check_classes(tree: "_Tree", wnids: Sequence[str], where: str) -> None:
    listed = tree.find("wnids.txt")
    if listed is None:
        return
    named = set(_text(listed).split())
    there = set(wnids)
    for word, odd in (("has no folder of", named - there), ("has folders that wnids.txt lacks:", there - named)):
        if odd:
            raise DataError(f"{where}: train {word} {', '.join(sorted(odd)[:5])}; mend wnids.txt, or the folders")


class _Tree:
    """The files around the images: answers, names, the devkit."""

    def __init__(self, top: Path, root: Path) -> None:
        self._top, self._root = top, root
        self._places = [root, top, *(top / devkit for devkit in DEVKITS)]

    def find(self, *names: str, beside: Path | None = None) -> Path | None:
        places = [*([beside] if beside else []), *self._places]
        return next((file for name in names for place in places if (file := place / name).is_file()), None)

    def class_folders(self, split: str, wnids: Sequence[str]) -> Split:
        ids: list[str] = []
        labels: list[int] = []
        for label, wnid in enumerate(wnids):
            files = list(self._images(self._root / split / wnid))
            ids += files
            labels += [label] * len(files)
        return self._split(ids, labels)

    def opened(self, split: str, wnids: Sequence[str]) -> Split:
        """A split to test on, in folders or flat."""
        folder = self._root / split
        inner = [name for name in _folders(folder) if name != "images"]
        if inner:
            unknown = sorted(set(inner) - set(wnids))
            if unknown:
                raise DataError(
                    f"{folder}: has different classes: train has no image of {', '.join(unknown[:5])}; both need the "
                    "same class folders"
                )
            return self.class_folders(split, wnids)
        ids = list(self._images(folder))
        if not ids:
            raise DataError(f"{folder}: holds no images; found {what_is_in(folder)}; choose another data.test_split")
        answers = self._answers(folder, split, [Path(image).name for image in ids])
        numbers = {wnid: label for label, wnid in enumerate(wnids)}
        unknown = sorted(set(answers) - set(numbers))
        if unknown:
            raise DataError(f"{folder}: has images of {', '.join(unknown[:5])}, which train/ has no folder of")
        return self._split(ids, [numbers[wnid] for wnid in answers])

    def _split(self, ids: list[str], labels: Iterable[int]) -> Split:
        top = self._top
        return Split(
            np.array(list(labels), np.int64),
            ids,
            lambda start, stop: [Encoded(str(top / image)) for image in ids[start:stop]],
        )

    def _images(self, folder: Path) -> Iterator[str]:
        """Names below the top of the images in a folder, or in its folder `images`, sorted."""
        place = folder / "images" if (folder / "images").is_dir() else folder
        if not place.is_dir():
            return
        below = place.relative_to(self._top).as_posix()
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES]
        yield from (f"{below}/{name}" for name in sorted(names) if not name.startswith("."))

    def _answers(self, folder: Path, split: str, images: Sequence[str]) -> list[str]:
        """The wnid of each image of a flat folder."""
        word = "validation" if split in VALIDATION else split
        kaggle = ("LOC_val_solution.csv",) if split in VALIDATION else ()
        numbered = tuple(f"ILSVRC{year}_{word}_ground_truth.txt" for year in (2012, 2010))
        plain = tuple(f"{split}{end}" for end in ("_annotations.txt", ".txt", "_labels.txt", "_ground_truth.txt"))
        file = self.find(*kaggle, *numbered, *plain, beside=folder)
        if file is None:
            raise DataError(
                f"{folder}: {len(images)} images without class folders, and no answers to them; put one of "
                f"{', '.join((*kaggle, numbered[0], *plain))} beside, or the images into a folder a class"
            )
        return _matched(file, images, self._numbers)

    def _numbers(self, file: Path) -> Mapping[int, str]:
        meta = self.find("meta.mat", beside=file.parent)
        if meta is None:
            raise DataError(f"{file}: holds numbers, which the devkit's meta.mat explains; put that beside it")
        return {number: wnid for number, wnid, _ in _synsets_of(meta)}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as UTF-8 text ({error}); save it as such") from error


def _matched(file: Path, images: Sequence[str], numbers: Any) -> list[str]:
    text = _text(file)
    lines = [re.split(r"[\s,]+", line.strip()) for line in text.splitlines() if line.strip()]
    if lines and lines[0][0] == "ImageId":
        lines = lines[1:]
    if all(len(line) > 1 for line in lines):
        answers = _by_name(file, [(Path(line[0]).name, line[1]) for line in lines], images)
    else:
        answers = [line[0] for line in lines]
        if len(answers) != len(images):
            raise DataError(f"{file}: {len(answers)} answers to {len(images)} images; there must be one each")
        _check_order(file, images)
        if all(answer.isdecimal() for answer in answers):
            explained = numbers(file)
            answers = [explained.get(int(answer), answer) for answer in answers]
    odd = next((answer for answer in answers if not WNID.fullmatch(answer)), None)
    if odd is not None:
        raise DataError(
            f"{file}: answers with {odd}; allowed: a wnid as n01440764, by the image's name or in its order"
        )
    return answers


def _check_order(file: Path, images: Sequence[str]) -> None:
    """Refuse names whose order is not clear where answers are given in the order of names."""
    by_number = sorted(images, key=lambda name: [int(part) if part.isdecimal() else part for part in _parts(name)])
    for one, other in zip(images, by_number, strict=True):
        if one != other:
            raise DataError(
                f"{file}: answers in the order of names, but {one} comes before {other} by letters and not by numbers; "
                "put the image's name before each answer, or pad the numbers in the names with zeros"
            )


def _parts(name: str) -> list[str]:
    return re.split(r"(\d+)", name)


def _by_name(file: Path, pairs: Sequence[tuple[str, str]], images: Sequence[str]) -> list[str]:
    """The answer to each image by its name, or where the list leaves out or changes its suffix by what is before."""
    known: dict[str, set[str]] = {}
    without: dict[str, set[str]] = {}
    for name, answer in pairs:
        known.setdefault(name, set()).add(answer)
        without.setdefault(_without_suffix(name), set()).add(answer)
    found = [known.get(image) or without.get(_without_suffix(image)) or set() for image in images]
    missing = [image for image, answers in zip(images, found, strict=True) if not answers]
    if missing:
        raise DataError(f"{file}: no answer to {', '.join(missing[:3])}; it must name every image")
    for image, answers in zip(images, found, strict=True):
        if len(answers) > 1:
            raise DataError(f"{file}: answers {image} with {', '.join(sorted(answers))}; there must be one answer each")
    return [next(iter(answers)) for answers in found]


def _without_suffix(name: str) -> str:
    return Path(name).stem if Path(name).suffix.lower() in IMAGE_SUFFIXES else name


def _names_below(top: Path) -> dict[str, str]:
    """Synsets by wnid, first name only."""
    tree = _Tree(top, top / KAGGLE if (top / KAGGLE).is_dir() else top)
    text = tree.find("LOC_synset_mapping.txt", "words.txt")
    if text is not None:
        pairs = (line.split(maxsplit=1) for line in text.read_text(encoding="utf-8", errors="replace").splitlines())
        return {pair[0]: _first(pair[1]) for pair in pairs if len(pair) == 2}
    meta = tree.find("meta.mat")
    return {wnid: _first(words) for _, wnid, words in _synsets_of(meta)} if meta is not None else {}


def _first(words: str) -> str:
    return words.split(",")[0].strip()


def _synsets_of(meta: Path) -> list[tuple[int, str, str]]:
    """ILSVRC id, wnid and names of each synset in a devkit's meta.mat."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        synsets = loadmat(meta, squeeze_me=True)["synsets"]
        key = next(name for name in synsets.dtype.names if name.endswith("_ID") and name.startswith("ILSVRC"))
        return [(int(row[key]), str(row["WNID"]), str(row["words"])) for row in np.atleast_1d(synsets)]
    except (OSError, ValueError, KeyError, TypeError, StopIteration, NotImplementedError, MatReadError) as error:
        raise DataError(f"{meta}: cannot be read ({type(error).__name__}: {error}); take it from the devkit") from error


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
