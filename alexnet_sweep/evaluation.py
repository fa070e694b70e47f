"""What a finished run gets right and wrong on parts of its images, or of others of the same classes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from alexnet_sweep.assemble import split_parts
from alexnet_sweep.augment import views_of
from alexnet_sweep.checks import watchers
from alexnet_sweep.data.pack import fingerprint, open_packed
from alexnet_sweep.data.packed import Packed
from alexnet_sweep.doubt import proportion_interval
from alexnet_sweep.errors import DataError
from alexnet_sweep.finished import FinishedRun
from alexnet_sweep.outcome import part_outcome
from alexnet_sweep.predict import Beat
from alexnet_sweep.trained import Part, TrainedRun, opened


@dataclass(frozen=True)
class Evaluation:
    """A row for each part, view and metric, a row of predictions for each image, and what a reader must know."""

    rows: list[dict[str, Any]]  # fractions
    predictions: pa.Table
    remarks: tuple[str, ...]
    data: dict[str, Any]
    device: str


def evaluation(run: FinishedRun, parts: Sequence[Part], device: str, beat: Beat = lambda: None) -> Evaluation:
    """Evaluate a run by its config's `eval`, on parts of the images that its `data` names.

    Raises:
        DataError: where a part has no images, or the images are of other classes.
        SweepError: as `trained.opened`.
    """
    with opened(run, device) as trained:
        own = trained.job.packed
        packed = _other_images(run, own)
        if packed is not own:
            job = dataclasses.replace(trained.job, packed=packed, parts=split_parts(run.config, packed))
            trained = TrainedRun(trained.run, job)
        views = views_of(packed.meta.stored_px, run.config.data.crop_px, run.config.eval.mirrored_views).count
        rows: list[dict[str, Any]] = []
        tables = []
        for part in parts:
            split, chosen = trained.part(part)
            if not len(chosen):
                raise DataError(f"--split {part}: run {run.name} has no such images; choose another")
            errors, table = part_outcome(trained.job, run.config.eval, part, split, chosen, beat)
            tables.append(table)
            for view, counts in errors.items():
                rows += _rows({"run": run.name, "split": part, "view": view, "views": views}, counts)
        data = {"name": packed.meta.name, "fingerprint": packed.meta.fingerprint, "run": run.fingerprint}
        remarks = _remarks(run, parts) if packed is own else ()
        return Evaluation(rows, pa.concat_tables(tables), remarks, data, trained.job.device.type)


def _other_images(run: FinishedRun, own: Packed) -> Packed:
    """The images of `data.path`, where they are others than those of the run; the mean image stays the run's."""
    data = run.config.data
    recorded = (run.folder.read_config() or {}).get("data", {}).get("path")
    if data.path == recorded or fingerprint(data) == run.fingerprint:
        return own
    packed = open_packed(data, run.folder.path.parent / "_data")
    ours, theirs = own.meta.class_names, packed.meta.class_names
    if ours != theirs:
        raise DataError(
            f"data.path={data.path}: {len(theirs)} classes ({', '.join(theirs[:3])}…); run {run.name} tells "
            f"{len(ours)} apart ({', '.join(ours[:3])}…); give images of the same classes, under the same names"
        )
    return packed


def _remarks(run: FinishedRun, parts: Sequence[Part]) -> tuple[str, ...]:
    remarks = []
    if "train" in parts:
        remarks.append("train: the network was trained on these images; their errors say nothing of others")
    for watcher in watchers(run.config) if "heldout" in parts else ():
        remarks.append(f"heldout: {watcher} has looked at these images; their errors are a little too low")
    return tuple(remarks)


def _rows(head: dict[str, Any], counts: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for metric in ("top1", "top5"):
        wrong, images = counts[metric], counts["images"]
        if wrong is not None:
            interval = proportion_interval(wrong, images)
            figures = {"images": images, "wrong": wrong, "error": wrong / images}
            rows.append(head | {"metric": metric} | figures | {"low": interval.low, "high": interval.high})
    for name, value in counts.get("metrics", {}).items():
        rows.append(head | {"metric": name, "images": counts["images"], "value": value})
    return rows
