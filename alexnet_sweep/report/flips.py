"""Look at the errors: which test images an ablation breaks and which it fixes, seed by seed beside the baseline.

Broken: right with the baseline and wrong in the arm, with the same seed, averaged views; fixed: the other way round.
"""

import base64
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from alexnet_sweep import formats
from alexnet_sweep.data.images import Images, open_images
from alexnet_sweep.data.packed import read_ids
from alexnet_sweep.errors import FolderError
from alexnet_sweep.files import names_a_folder, read_file
from alexnet_sweep.store import RunFolder

FLIP_BYTES = 150  # of a flip in the page, without its image's name and picture


@dataclass(frozen=True)
class Limits:
    """How much of the flips a page may hold; where it would be more, every arm shows fewer images."""

    images: int = 200  # an arm
    picture_px: int = 64  # the longer side
    picture_bytes: int = 12_000_000  # all pictures together; each is there once
    text_bytes: int = 4_000_000


LIMITS = Limits()


@dataclass(frozen=True)
class Answer:
    """A class and its probability."""

    name: str
    probability: float


@dataclass(frozen=True)
class Flip:
    """An image that an arm breaks or fixes more often than the contrary; answers are those of `seed`, best first."""

    image: str
    label: str
    broken: int  # paired seeds
    fixed: int
    change: float  # of the label's probability, arm less baseline, mean over paired seeds
    seed: int  # the first paired seed in which it flipped
    baseline: tuple[Answer, ...]
    arm: tuple[Answer, ...]
    picture: str = ""  # as a data: address


@dataclass(frozen=True)
class ClassFlips:
    """A class's test images, and how often they are broken and fixed: once an image and paired seed."""

    name: str
    images: int
    broken: int
    fixed: int


@dataclass(frozen=True)
class ArmFlips:
    """An arm beside the baseline: all its classes, and the images that changed most, the foremost first."""

    arm_id: str
    label: str
    seeds: tuple[int, ...] = ()  # paired
    images: int = 0
    changed: int = 0  # images that are broken more often than fixed, or the other way round
    classes: tuple[ClassFlips, ...] = ()
    flips: tuple[Flip, ...] = ()
    notes: tuple[str, ...] = ()


class FinishedRun(Protocol):
    """A run that is done, as `aggregate.RunRecord` is one."""

    @property
    def run_id(self) -> str: ...
    @property
    def arm_id(self) -> str: ...
    @property
    def seed(self) -> int: ...


def arm_flips(
    runs: Path, labels: Mapping[str, str], baseline: str, done: Iterable[FinishedRun], limits: Limits = LIMITS
) -> tuple[ArmFlips, ...]:
    """Every arm but the baseline, in the order of `labels`, which has each arm's label by its arm_id.

    An arm that cannot be compared has no classes, no flips and a note that says why.
    """
    folders: dict[str, dict[int, RunFolder]] = {}
    for run in done:
        folders.setdefault(run.arm_id, {}).setdefault(run.seed, RunFolder(runs / run.run_id))
    before = {seed: _Run(folder) for seed, folder in sorted(folders.get(baseline, {}).items())}
    packed = _Packed.of(runs, next(iter(before.values()), None))
    found = [
        _compared(arm_id, label, folders.get(arm_id, {}), before, packed, limits)
        for arm_id, label in labels.items()
        if arm_id != baseline
    ]
    return _with_pictures(found, packed, limits)


def _compared(
    arm_id: str, label: str, mine: dict[int, RunFolder], baseline: "dict[int, _Run]", packed: "_Packed", limits: Limits
) -> ArmFlips:
    """An arm beside the baseline, still without pictures."""
    seeds = tuple(seed for seed in baseline if seed in mine)
    empty = ArmFlips(arm_id, label, seeds)
    if not seeds:
        return replace(empty, notes=("No seed is done both in this arm and in the baseline.",))
    base, own = [baseline[seed] for seed in seeds], [_Run(mine[seed]) for seed in seeds]
    try:
        images = next(iter(baseline.values())).images
        if not all(run.order_as(images) and np.array_equal(run.labels, base[0].labels) for run in base + own):
            return replace(empty, notes=("Evaluated on other images than the baseline.",))
        lost = np.stack([before.right & ~after.right for before, after in zip(base, own, strict=True)])
        won = np.stack([~before.right & after.right for before, after in zip(base, own, strict=True)])
        change = np.mean([a.probability - b.probability for a, b in zip(own, base, strict=True)], axis=0)
        broken, fixed = lost.sum(0), won.sum(0)
        net = broken - fixed
        names = packed.class_names(int(base[0].labels.max(initial=-1)) + 1)
        classes = _by_class(names, base[0].labels, broken, fixed)
        chosen = _chosen(net, change, base[0].order, limits.images)
        first = np.where(net > 0, lost, won).argmax(0)
        flips = [
            Flip(
                image=images[row].as_py(),
                label=names[base[0].labels[row]],
                broken=int(broken[row]),
                fixed=int(fixed[row]),
                change=float(change[row]),
                seed=seeds[first[row]],
                baseline=base[first[row]].answers(row, names),
                arm=own[first[row]].answers(row, names),
            )
            for row in chosen
        ]
    except FolderError as error:
        return replace(empty, notes=(str(error),))
    return replace(
        empty, images=len(net), changed=int(np.count_nonzero(net)), classes=classes, flips=tuple(flips), notes=()
    )


def _by_class(
    names: Sequence[str], labels: NDArray[np.int64], broken: NDArray[np.int64], fixed: NDArray[np.int64]
) -> tuple[ClassFlips, ...]:
    counts = [np.bincount(labels, weights, len(names)).astype(int) for weights in (None, broken, fixed)]
    return tuple(
        ClassFlips(name, int(images), int(lost), int(won))
        for name, images, lost, won in zip(names, *counts, strict=False)
        if images
    )


def _chosen(net: NDArray[np.int64], change: NDArray[np.float64], order: NDArray[np.int64], most: int) -> list[np.intp]:
    """Rows in which `net` is largest, broken and fixed by turns; of equal ones those whose probability moved most."""
    ranked = np.lexsort((order, np.sign(net) * change, -np.abs(net)))
    turns = zip_longest(ranked[net[ranked] > 0][:most], ranked[net[ranked] < 0][:most])
    return [row for row in chain.from_iterable(turns) if row is not None][:most]


def _with_pictures(found: Sequence[ArmFlips], packed: "_Packed", limits: Limits) -> tuple[ArmFlips, ...]:
    """The same with pictures, and with as many flips an arm as the limits allow for all of them."""
    pictures: dict[str, str] = {}
    kept, drawn, written = 0, 0, 0
    for rank in range(limits.images):
        for flip in (arm.flips[rank] for arm in found if rank < len(arm.flips)):
            written += FLIP_BYTES + len(json.dumps(flip.image))
            if flip.image not in pictures:
                pictures[flip.image] = packed.picture(flip.image, limits.picture_px)
                drawn += len(pictures[flip.image])
        if drawn > limits.picture_bytes or written > limits.text_bytes:
            break
        kept = rank + 1
    return tuple(
        replace(
            arm,
            flips=tuple(replace(flip, picture=pictures[flip.image]) for flip in arm.flips[:kept]),
            notes=(*arm.notes, *_notes(arm, kept, packed)),
        )
        for arm in found
    )


def _notes(arm: ArmFlips, kept: int, packed: "_Packed") -> Iterable[str]:
    if len(arm.flips) > kept:
        yield f"No more than {kept} images an arm are shown, so that the page stays small."
    if arm.flips and packed.lacking:
        yield packed.lacking


class _Run:
    """The averaged answers of one run to the test images; read when asked for."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._rows: NDArray[np.int64] | None = None  # where this order's images are in the file

    def order_as(self, images: pa.Array) -> bool:
        """From now on in the order of these images; False where they are not the same ones."""
        if not self.images.equals(images):
            places = pc.index_in(images, value_set=self._column("image"))
            if len(images) != len(self._columns) or places.null_count:
                return False
            self._rows = places.to_numpy().astype(np.int64)
        return True

    @cached_property
    def _columns(self) -> pa.Table:
        return self._read(["image", "label", "ten_rank", "ten_probability"])

    def _read(self, columns: list[str]) -> pa.Table:
        table = self.folder.read_predictions(["split", *columns])
        return table.filter(pc.equal(table["split"].cast(pa.string()), "test"))

    def _column(self, name: str) -> pa.Array:
        return self._columns[name].combine_chunks()

    def _ordered(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = self._columns[name].to_numpy()
        return values if self._rows is None else values[self._rows]

    @property
    def images(self) -> pa.Array:
        images = self._column("image")
        return images if self._rows is None else images.take(pa.array(self._rows))

    @property
    def labels(self) -> NDArray[np.int64]:
        return self._ordered("label").astype(np.int64)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Each image's place among all, sorted by name."""
        places = np.empty(len(self._columns), np.int64)
        places[pc.sort_indices(self.images).to_numpy()] = np.arange(len(places))
        return places

    @property
    def right(self) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = self._ordered("ten_rank") == 1
        return right

    @property
    def probability(self) -> NDArray[np.float64]:
        return np.nan_to_num(self._ordered("ten_probability").astype(np.float64))

    @cached_property
    def _best(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        table = self._read(["ten_best", "ten_best_probabilities"])
        shape = (len(table), -1)
        classes, values = (pc.list_flatten(table[name]).to_numpy().reshape(shape) for name in table.column_names[1:])
        return classes.astype(np.int64), np.nan_to_num(values.astype(np.float64))

    def answers(self, row: np.intp, names: Sequence[str]) -> tuple[Answer, ...]:
        """The best answers to one image."""
        place = row if self._rows is None else self._rows[row]
        classes, values = (columns[place].tolist() for columns in self._best)
        return tuple(Answer(_named(names, number), value) for number, value in zip(classes, values, strict=True))


def _named(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else f"class {number}"


@dataclass(frozen=True)
class _Packed:
    """Class names and test images of a packed data set (see `data.pack`); without them, `lacking` says so."""

    names: tuple[str, ...] = ()
    rows: dict[str, int] | None = None
    images: Images | None = None
    lacking: str = ""

    @classmethod
    def of(cls, runs: Path, run: _Run | None) -> "_Packed":
        """The data set of a run."""
        mark = ""
        try:
            result = run.folder.read_result() if run else None
            mark = str((result or {}).get("data", {}).get("fingerprint", ""))
            if not names_a_folder(mark):
                raise ValueError("leads elsewhere")
            folder = runs / "_data" / mark
            meta = json.loads(read_file(folder / "meta.json"))
            formats.check(formats.STORE, meta.get("format"), folder)
            names = meta["class_names"]
            ids, images = read_ids(folder, "test"), open_images(folder, "test")
            if len(images) != len(ids):
                raise ValueError("damaged")
        except (OSError, EOFError, SyntaxError, ValueError, KeyError, TypeError, AttributeError, FolderError):
            return cls(lacking=f"No pictures and no names of classes: the packed images ({mark}) are not there.")
        return cls(tuple(map(str, names)), {image: row for row, image in enumerate(ids)}, images)

    def class_names(self, classes: int) -> list[str]:
        """A name for each class and for `classes` at least, no name twice."""
        names = [*self.names, *(f"class {number}" for number in range(len(self.names), classes))]
        times = Counter(names)
        return [name if times[name] == 1 else f"{name} (class {place})" for place, name in enumerate(names)]

    def picture(self, image: str, px: int) -> str:
        """A test image as a data: address, PNG or JPEG, whichever is smaller; empty where there is none."""
        if self.images is None or not self.rows or image not in self.rows:
            return ""
        pixels = np.asarray(self.images[self.rows[image]])
        grey = bool((pixels == pixels[:1]).all())
        drawn = Image.fromarray(np.ascontiguousarray(pixels[0] if grey else pixels.transpose(1, 2, 0)))
        drawn.thumbnail((px, px), Image.Resampling.LANCZOS)
        kinds: dict[str, dict[str, Any]] = {
            "png": {"optimize": True},
            "jpeg": {"quality": 80, "subsampling": 0, "optimize": True},
        }
        coded = [(_coded(drawn, kind, options), kind) for kind, options in kinds.items()]
        content, kind = min(coded, key=lambda pair: len(pair[0]))
        return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _coded(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
