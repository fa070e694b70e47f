"""One trained run looked at: its answers to some images, the neighbours of some, and their short codes.

Which images is drawn by streams of their own (`streams.py`), so that nobody has chosen them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from alexnet_sweep.doubt import bootstrap_interval
from alexnet_sweep.errors import FolderError
from alexnet_sweep.inspect.features import LastHidden, centre_pixels, features, last_hidden, pixel_parts
from alexnet_sweep.neighbours import Coder, Nearest, agreement, nearest, nearest_codes, recall
from alexnet_sweep.report.pictures import Answered, Found, Picture, Query
from alexnet_sweep.store import RunFolder
from alexnet_sweep.streams import stream
from alexnet_sweep.trained import Part, TrainedRun

SHOWN_ANSWERS, SHOWN_QUERIES, SHOWN_NEIGHBOURS = 8, 5, 6  # as in the paper's figure 4
CODE_BITS = (16, 32, 64, 128, 256)
LARGEST_PX = 96  # of a picture in a panel
QUERIES_AT_ONCE_BYTES = 2**27


@dataclass(frozen=True)
class Wanted:
    """What somebody asks for."""

    part: Part = "test"
    ks: tuple[int, ...] = (1, 5, 10, 50)
    images: int = 10_000  # training images that are searched
    queries: int = 1_000


@dataclass(frozen=True)
class Looked:
    """What was found. Shares are fractions, with 95 % intervals over the queries."""

    answered: tuple[Answered, ...]
    right: int  # of the answered: the first ones
    answers: pd.DataFrame
    layer: LastHidden
    indexed: int
    trained_on: int
    queries: int
    part: Part
    agreement: pd.DataFrame  # way, k, agreement, low, high; and the difference between the ways
    chance: float
    shown: tuple[Query, ...]
    neighbours: pd.DataFrame
    codes: pd.DataFrame  # bits, bytes, k, agreement, low, high, recall, recall_low, recall_high
    left_out: tuple[int, ...]  # numbers of neighbours that there are too few images for


def look(trained: TrainedRun, wanted: Wanted) -> Looked:
    """Look at a trained run.

    Raises:
        FolderError: where there are no images of that part, or the recorded predictions are not of these images.
    """
    split, rows = trained.part(wanted.part)
    if not len(rows):
        raise FolderError(f"{trained.run.folder.path}: nothing was held out; choose --split test")
    answered, right, answers = answers_of(trained, wanted.part, split, rows)
    layer = last_hidden(trained)
    index = _drawn("index", trained.part("train")[1], wanted.images)
    asked = _drawn("queries", rows, wanted.queries)
    labels = trained.job.packed.labels
    known, own = labels["train"][index], labels[split][asked]
    ks = tuple(k for k in wanted.ks if k <= len(index)) or (len(index),)
    most = min(max(*ks, SHOWN_NEIGHBOURS), len(index))
    indexed, sought = features(trained, layer, "train", index), features(trained, layer, split, asked)
    by_layer = nearest(sought, [indexed], most)
    by_pixels = _by_pixels(trained, split, asked, index, most)
    ways = {layer.name: by_layer, "pixels": by_pixels}
    shown, neighbours = _neighbours(trained, split, asked, index, ways)
    return Looked(
        answered,
        right,
        answers,
        layer,
        len(index),
        len(trained.part("train")[1]),
        len(asked),
        wanted.part,
        _agreement(ways, known, own, ks),
        float(np.mean(np.bincount(known, minlength=trained.job.classes)[own] / len(known))),
        shown,
        neighbours,
        codes_of(indexed, sought, by_layer, known, own, ks),
        tuple(k for k in wanted.ks if k not in ks),
    )


def _drawn(use: str, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Up to so many rows, in an order of chance: of a part that is sorted by class none comes first."""
    return rows[stream(0, "inspect", use).permutation(len(rows))[:most]]


def answers_of(
    trained: TrainedRun, part: Part, split: str, rows: NDArray[np.int64]
) -> tuple[tuple[Answered, ...], int, pd.DataFrame]:
    """Images with their five best classes as recorded (averaged views): half of them right, half wrong, as drawn.

    Where there are too few of one kind, more of the other fill up.
    """
    packed = trained.job.packed
    recorded = _recorded(trained.run.folder, part, [packed.ids[split][row] for row in rows])
    order = _drawn("answers", np.arange(len(rows)), len(rows))
    is_right = recorded["ten_rank"].to_numpy()[order] == 1
    right, wrong = order[is_right], order[~is_right]
    half = SHOWN_ANSWERS // 2
    kept = max(half, SHOWN_ANSWERS - len(wrong))
    right, wrong = right[:kept], wrong[: SHOWN_ANSWERS - len(right[:kept])]
    places = [*right, *wrong]
    names = packed.meta.class_names
    pictures = _pictures(trained, split, rows[places])
    found, table = [], []
    for place, picture in zip(places, pictures, strict=True):
        row = recorded.iloc[int(place)]
        best, probabilities = row["ten_best"].tolist(), row["ten_best_probabilities"].tolist()
        label = names[int(packed.labels[split][rows[place]])]
        found.append(Answered(picture, label, tuple(names[best_one] for best_one in best), tuple(probabilities)))
        for rank, (best_one, probability) in enumerate(zip(best, probabilities, strict=True), 1):
            head = {"image": row["image"], "label": label, "rank": rank}
            table.append(head | {"class": names[best_one], "probability": probability})
    return tuple(found), len(right), pd.DataFrame(table)


def _recorded(folder: RunFolder, part: Part, ids: Sequence[str]) -> pd.DataFrame:
    columns = ["split", "image", "ten_rank", "ten_best", "ten_best_probabilities"]
    table: pd.DataFrame = folder.read_predictions(columns).to_pandas()
    if list(table.columns) != columns:
        raise FolderError(
            f"{folder.predictions}: lacks {', '.join(sorted({*columns} - {*table}))}; train the run again"
        )
    table = table[table["split"] == part].reset_index(drop=True)
    if list(table["image"]) != list(ids):
        raise FolderError(
            f"{folder.predictions}: holds answers to other images than those of {part}; train the run again"
        )
    return table


def _by_pixels(trained: TrainedRun, split: str, asked: NDArray[np.int64], index: NDArray[np.int64], k: int) -> Nearest:
    """Some queries at a time, so that their pixels fit into memory."""
    at_once = max(1, QUERIES_AT_ONCE_BYTES // (3 * trained.job.pixels.crop_px**2 * 4))
    parts = []
    for first in range(0, len(asked), at_once):
        own = centre_pixels(trained, split, asked[first : first + at_once])
        own_flat = own.reshape(len(own), -1).astype(np.float32)
        parts.append(nearest(own_flat, pixel_parts(trained, "train", index), k))
    return Nearest(np.concatenate([part.places for part in parts]), np.concatenate([part.distances for part in parts]))


def _agreement(
    ways: dict[str, Nearest], known: NDArray[np.int64], own: NDArray[np.int64], ks: Sequence[int]
) -> pd.DataFrame:
    rows = []
    for k in ks:
        shares = {way: agreement(found.places, known, own, k) for way, found in ways.items()}
        one, other = shares.values()
        for way, values in {**shares, "difference": one - other}.items():
            rows.append({"way": way, "k": k, "agreement": float(values.mean())} | _interval(values))
    return pd.DataFrame(rows)


def _interval(values: NDArray[np.float64], prefix: str = "") -> dict[str, float]:
    """Over the choice of queries."""
    found = bootstrap_interval(values)
    return {f"{prefix}low": found.low, f"{prefix}high": found.high}


def _neighbours(
    trained: TrainedRun,
    split: str,
    asked: NDArray[np.int64],
    index: NDArray[np.int64],
    ways: dict[str, Nearest],
) -> tuple[tuple[Query, ...], pd.DataFrame]:
    """The first queries of different classes, and what each way finds for them."""
    packed, names = trained.job.packed, trained.job.packed.meta.class_names
    labels = packed.labels[split][asked]
    _, first_of_class = np.unique(labels, return_index=True)
    queries, table = [], []
    for query in np.sort(first_of_class)[:SHOWN_QUERIES]:
        row, found = asked[query], []
        for way, near in ways.items():
            places = near.places[query, :SHOWN_NEIGHBOURS]
            at = index[places]
            classes = [names[int(label)] for label in packed.labels["train"][at]]
            found.append((way, tuple(map(Found, _pictures(trained, "train", at), classes))))
            for rank, (there, name) in enumerate(zip(at, classes, strict=True), 1):
                table.append(
                    {
                        "query": packed.ids[split][row],
                        "label": names[int(labels[query])],
                        "way": way,
                        "rank": rank,
                        "image": packed.ids["train"][there],
                        "class": name,
                        "distance": float(near.distances[query, rank - 1]),
                    }
                )
        queries.append(Query(_pictures(trained, split, asked[[query]])[0], names[int(labels[query])], tuple(found)))
    return tuple(queries), pd.DataFrame(table)


def codes_of(
    indexed: NDArray[np.float32],
    sought: NDArray[np.float32],
    exact: Nearest,
    known: NDArray[np.int64],
    own: NDArray[np.int64],
    ks: Sequence[int],
) -> pd.DataFrame:
    """Codes of several lengths beside exact search; the components are those of the indexed training images alone."""
    coder = Coder.fitted(indexed, max(CODE_BITS))
    there, here = coder.codes(indexed), coder.codes(sought)
    rows = []
    for bits in sorted({min(bits, coder.bits) for bits in CODE_BITS}):
        found = nearest_codes(here[:, :bits], there[:, :bits], max(ks))
        for k in ks:
            agrees, finds = agreement(found.places, known, own, k), recall(found.places, exact.places, k)
            rows.append(
                {"bits": bits, "bytes": -(-bits // 8), "float_bytes": indexed.shape[1] * 4, "k": k}
                | {"agreement": float(agrees.mean())}
                | _interval(agrees)
                | {"recall": float(finds.mean())}
                | _interval(finds, "recall_")
            )
    return pd.DataFrame(rows)


def _pictures(trained: TrainedRun, split: str, rows: NDArray[np.int64]) -> list[Picture]:
    """Centre views of rows, (height, width, 3), no larger than a panel needs."""
    views = centre_pixels(trained, split, np.asarray(rows, np.int64)).transpose(0, 2, 3, 1)
    if views.shape[1] <= LARGEST_PX:
        return list(np.ascontiguousarray(views))
    size = (LARGEST_PX, LARGEST_PX)
    return [
        np.asarray(Image.fromarray(np.ascontiguousarray(view)).resize(size, Image.Resampling.BOX)) for view in views
    ]
