"""Networks of one arm that answer together: class probabilities averaged over seeds (paper §6, table 2).

Every subset of an arm's seeds is looked at, so that the curve hangs on no order of theirs. Weights are equal. Nothing
is trained: probabilities are those of `predictions.parquet`, kept as float16, so that of two classes closer than a two
thousandth either may come first. Of one network alone the recorded ranks count, as everywhere else. Imports no torch.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alexnet_sweep.aggregate import RunRecord
from alexnet_sweep.answers import METRICS, VIEWS
from alexnet_sweep.doubt import images_interval
from alexnet_sweep.effects import Runs
from alexnet_sweep.metrics import TOP, label_ranks
from alexnet_sweep.store import RunFolder

MOST_NETWORKS = 10  # of an arm: 1,023 subsets
ROWS_AT_ONCE = 4096  # images whose probabilities are averaged at a time
SPLIT = "test"


@dataclass(frozen=True)
class Averaged:
    """What averaging has found: a row for each arm, view and number of networks, and what could not be averaged."""

    table: pd.DataFrame
    notes: tuple[str, ...] = ()


def averaged(runs: Runs) -> Averaged:
    """Errors by number of networks, over every subset of each arm's seeds, on the test images.

    Columns: arm, arm_id, view, networks, subsets, images, and for each metric NAME its error (the mean over subsets),
    NAME_least and NAME_greatest of a subset, NAME_spread (standard deviation over subsets; missing where there is one
    subset), NAME_gain (one network's mean error less this) with NAME_gain_low and NAME_gain_high, which cover other
    images and no other networks. Fractions; missing where there is no top-5 error.
    """
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for arm_id, label in runs.evidence.labels.items():
        records = [runs.by_arm[arm_id][seed] for seed in sorted(runs.by_arm[arm_id])]
        if len(records) < 2:
            notes.append(f"{label}: one network or none is done; averaging takes two.")
            continue
        why = _why_not(records, runs)
        if why:
            notes.append(f"{label}: {why}")
            continue
        if len(records) > MOST_NETWORKS:
            notes.append(f"{label}: the first {MOST_NETWORKS} of its {len(records)} seeds are averaged.")
        for view in VIEWS:
            head = {"arm": label, "arm_id": arm_id, "view": view}
            ranks = ranks_by_size(*_members(records[:MOST_NETWORKS], runs, view))
            rows += [head | row for row in _rows(ranks, _classes(records[0]))]
    return Averaged(pd.DataFrame(rows), tuple(notes))


def _classes(record: RunRecord) -> int:
    assert record.result is not None, "of runs that are done"
    return int(record.result["data"]["classes"])


def _why_not(records: Sequence[RunRecord], runs: Runs) -> str:
    """Why the networks of an arm cannot be averaged; empty where they can."""
    if len({runs.answers.images(record.run_id, SPLIT) for record in records}) > 1:
        return "its runs were evaluated on different images."
    for record in records:
        folder = RunFolder(runs.evidence.runs / record.run_id)
        if not {f"{view}_probabilities" for view in VIEWS} <= set(folder.prediction_columns()):
            classes = _classes(record)
            return (
                f"its predictions hold the five best of {classes:,} classes alone; eval.keep_classes={classes} keeps "
                "all probabilities, and trains nothing again for it."
            )
    return ""


def _members(
    records: Sequence[RunRecord], runs: Runs, view: str
) -> tuple[list[NDArray[np.float16]], list[NDArray[np.int64]], NDArray[np.int64]]:
    """Each run's probabilities (images, classes) and recorded ranks (images,), and the labels; by image names."""
    probabilities, ranks = [], []
    columns = ["split", "image", "label", f"{view}_rank", f"{view}_probabilities"]
    for record in records:
        table = RunFolder(runs.evidence.runs / record.run_id).read_predictions(columns)
        table = table.filter(pc.equal(table["split"], SPLIT))
        table = table.take(pc.sort_indices(table["image"])).combine_chunks()
        values = table[f"{view}_probabilities"].combine_chunks()
        assert isinstance(values, pa.FixedSizeListArray), "as outcome writes them"
        flat: NDArray[np.float16] = values.flatten().to_numpy(zero_copy_only=False)
        probabilities.append(flat.reshape(len(table), -1))
        ranks.append(table[f"{view}_rank"].to_numpy().astype(np.int64))
        labels = table["label"].to_numpy().astype(np.int64)
    return probabilities, ranks, labels


def subsets(networks: int, size: int) -> Iterator[tuple[int, ...]]:
    """Every choice of `size` networks, in a stable order."""
    return itertools.combinations(range(networks), size)


def ranks_by_size(
    probabilities: Sequence[NDArray[np.float16]], ranks: Sequence[NDArray[np.int64]], labels: NDArray[np.int64]
) -> dict[int, NDArray[np.int64]]:
    """By number of networks, the label's rank in the averaged probabilities: (subsets, images), as `subsets` has them.

    Sums of float16 numbers up to 1 are exact in float64, so that no order of the networks changes a tie.
    """
    networks, images = len(probabilities), len(labels)
    found = {1: np.stack(ranks)}
    for size in range(2, networks + 1):
        found[size] = np.empty((math.comb(networks, size), images), np.int64)
    for first in range(0, images, ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        parts = [one[rows].astype(np.float64) for one in probabilities]
        for size in range(2, networks + 1):
            for place, chosen in enumerate(subsets(networks, size)):
                total = sum((parts[number] for number in chosen[1:]), start=parts[chosen[0]])
                found[size][place, rows] = label_ranks(total, labels[rows])
    return found


def _rows(ranks: Mapping[int, NDArray[np.int64]], classes: int) -> list[dict[str, Any]]:
    rows = []
    for size, found in ranks.items():
        row: dict[str, Any] = {"networks": size, "subsets": len(found), "images": found.shape[1]}
        for metric, highest in METRICS.items():
            names = (metric, *(f"{metric}_{what}" for what in ("least", "greatest", "spread")))
            names += tuple(f"{metric}_gain{what}" for what in ("", "_low", "_high"))
            if metric == "top5" and classes <= TOP:
                row |= dict.fromkeys(names, math.nan)
                continue
            wrong, alone = found > highest, ranks[1] > highest
            errors = wrong.mean(axis=1)
            gains = alone.mean(axis=0) - wrong.mean(axis=0)
            doubt = images_interval(gains) if size > 1 else None
            low, high = (math.nan, math.nan) if doubt is None else (doubt.low, doubt.high)
            spread = float(errors.std(ddof=1)) if len(errors) > 1 else math.nan
            figures = (errors.mean(), errors.min(), errors.max(), spread, gains.mean(), low, high)
            row |= {name: float(value) for name, value in zip(names, figures, strict=True)}
        rows.append(row)
    return rows
