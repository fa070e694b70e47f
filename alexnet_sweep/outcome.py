"""What a trained network gets right and wrong: error counts, and a row an evaluated image."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alexnet_sweep.assemble import Assembly
from alexnet_sweep.augment import views_of
from alexnet_sweep.config import EvalConfig
from alexnet_sweep.metrics import ErrorCounts, best_classes, count_errors, label_ranks
from alexnet_sweep.plugins import load
from alexnet_sweep.predict import Beat, Probabilities, images_at_once, predict


def probabilities(
    job: Assembly, config: EvalConfig, split: str, rows: NDArray[np.int64], beat: Beat, *, all_views: bool
) -> Probabilities:
    """Evaluate stored rows of `train` or `test` with the network as it is, each by one process of the run's team.

    `beat` is called as often in each process of the team, so that these may ask each other something there.
    """
    team, images = job.trainer.team, job.packed.images[split]
    if team.size > 1:
        views = views_of(images.shape[-1], job.pixels.crop_px, config.mirrored_views).count if all_views else 1
        beat = _at_most(math.ceil(len(rows) // team.size / images_at_once(config, views)), beat)
    found = predict(
        job.trainer.evaluated,
        job.trainer.answer,
        images,
        team.rows(rows),
        pixels=job.pixels,
        config=config,
        all_views=all_views,
        device=job.device,
        beat=beat,
    )
    if team.size == 1:
        return found
    parts = [part for part in team.gathered(found) if len(part.centre)] or [found]
    ten = np.concatenate([part.ten for part in parts]) if all_views else None
    return Probabilities(np.concatenate([part.centre for part in parts]), ten)


def _at_most(times: int, beat: Beat) -> Beat:
    left = iter(range(times))

    def limited() -> None:
        if next(left, None) is not None:
            beat()

    return limited


def centre_errors(job: Assembly, config: EvalConfig, split: str, rows: NDArray[np.int64], beat: Beat) -> ErrorCounts:
    """Errors of the centre view on stored rows of `train` or `test`."""
    found = probabilities(job, config, split, rows, beat, all_views=False)
    if not len(rows):
        return ErrorCounts(0, 0, 0 if job.classes > 5 else None)
    return count_errors(label_ranks(found.centre, job.packed.labels[split][rows]), job.classes)


def final_outcome(
    job: Assembly, config: EvalConfig, beat: Beat
) -> tuple[dict[str, dict[str, dict[str, Any]]], pa.Table]:
    """Errors by split and view, and the table of predictions, of the test and the held-out part."""
    errors: dict[str, dict[str, dict[str, Any]]] = {}
    tables: list[pa.Table] = []
    heldout = job.heldout_in(job.trainer.config.epochs - 1)
    for name, split, rows in (("test", "test", job.parts.test), ("heldout", "train", heldout)):
        if len(rows):
            errors[name], table = part_outcome(job, config, name, split, rows, beat)
            tables.append(table)
    return errors, pa.concat_tables(tables)


def part_outcome(
    job: Assembly, config: EvalConfig, name: str, split: str, rows: NDArray[np.int64], beat: Beat
) -> tuple[dict[str, dict[str, Any]], pa.Table]:
    """Errors by view, and the table of predictions, of some rows of a stored split, under a name for them."""
    found = probabilities(job, config, split, rows, beat, all_views=True)
    assert found.ten is not None
    labels = job.packed.labels[split][rows]
    ids = [job.packed.ids[split][row] for row in rows]
    errors = {
        view: _as_dict(count_errors(label_ranks(values, labels), job.classes)) | _own_metrics(config, values, labels)
        for view, values in (("centre", found.centre), ("ten", found.ten))
    }
    return errors, _table(config, name, ids, labels, found)


def _own_metrics(
    config: EvalConfig, values: NDArray[np.float32], labels: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Metrics of the user's own, from probabilities (images, classes) and labels (images,)."""
    if not config.metrics:
        return {}
    return {"metrics": {name: float(load(custom)(values, labels)) for name, custom in config.metrics.items()}}


def _as_dict(counts: ErrorCounts) -> dict[str, Any]:
    return {
        "images": counts.images,
        "top1": counts.top1,
        "top5": counts.top5,
        "top1_error": counts.top1_error,
        "top5_error": counts.top5_error,
    }


def _table(config: EvalConfig, split: str, ids: list[str], labels: NDArray[np.int64], found: Probabilities) -> pa.Table:
    assert found.ten is not None, "asked for with all views"
    columns: dict[str, Any] = {
        "split": pa.array([split] * len(ids)).dictionary_encode(),
        "image": pa.array(ids),
        "label": pa.array(labels.astype(np.int32)),
    }
    for view, values in (("centre", found.centre), ("ten", found.ten)):
        own = values[np.arange(len(labels)), labels]
        columns[f"{view}_rank"] = pa.array(label_ranks(values, labels).astype(np.int32))
        columns[f"{view}_probability"] = pa.array(own)
        best = best_classes(values).astype(np.int32)
        columns[f"{view}_best"] = pa.FixedSizeListArray.from_arrays(best.ravel(), best.shape[1])
        columns[f"{view}_best_probabilities"] = pa.FixedSizeListArray.from_arrays(
            np.take_along_axis(values, best.astype(np.int64), 1).ravel(), best.shape[1]
        )
        if values.shape[1] <= config.keep_classes:
            halves = values.astype(np.float16)
            columns[f"{view}_probabilities"] = pa.FixedSizeListArray.from_arrays(
                pa.array(halves.ravel()), values.shape[1]
            )
    return pa.table(columns)
