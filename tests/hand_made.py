"""Studies made by hand: a plan, and run folders with the answers that a test asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_folder import study_folder

Levels = Mapping[str, str]
LRN: dict[str, Levels] = {"base": {"model/lrn": "on"}, "off": {"model/lrn": "off"}}

# Ranks of the labels of four test images, ten views; the centre view gets every rank plus one.
RANKS: dict[tuple[str, int], list[int] | None] = {
    ("base", 0): [1, 1, 1, 2],  # 1 of 4 wrong
    ("base", 1): [1, 1, 2, 6],  # 2 of 4 wrong, one not among five
    ("off", 0): [1, 2, 6, 2],  # 3 of 4 wrong, one not among five
    ("off", 1): [1, 1, 2, 6],  # as the baseline
}


@dataclass(frozen=True)
class Run:
    """One finished run: ranks of the labels, image by image, and what its files say besides."""

    ten: Sequence[int]
    centre: Sequence[int] = ()  # as the ten views, where there are none
    heldout: Sequence[int] = ()
    images: Sequence[str] = ()
    probabilities: Sequence[Sequence[float]] = ()  # of test images, in both views
    train_error: float | None = None  # of 100 training images without augmentation
    steps: int | None = None  # to the training-error threshold
    result: Mapping[str, Any] = field(default_factory=dict)  # by dotted key, in place of what stands there
    config: Mapping[str, Any] = field(default_factory=dict)
    overrides: Sequence[str] = ()


def wrong(pattern: str, **more: Any) -> Run:
    """A run from a row of 0 (right), 1 (wrong, but among five) and 6 (not among five), as "0106"."""
    return Run([{"0": 1, "1": 2, "6": 6}[mark] for mark in pattern if mark != " "], **more)


def errors_of(images: int) -> dict[str, Any]:
    """What a result says of so many test images, all of them right."""
    right = {"images": images, "top1": 0, "top5": None, "top1_error": 0.0, "top5_error": None}
    return {"test": {"centre": right, "ten": right}}


def _counts(ranks: Sequence[int], classes: int) -> dict[str, Any]:
    top1, top5 = sum(rank > 1 for rank in ranks), sum(rank > 5 for rank in ranks)
    found = {"images": len(ranks), "top1": top1, "top5": top5, "top1_error": top1 / len(ranks)}
    found["top5_error"] = top5 / len(ranks)
    return found if classes > 5 else found | {"top5": None, "top5_error": None}


def _replaced(tree: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    for path, value in values.items():
        *above, last = path.split(".")
        node = tree
        for key in above:
            node = node.setdefault(key, {})
        node[last] = value
    return tree


def make_run(folder: RunFolder, run: Run, classes: int = 10, shuffle: int = 0) -> None:
    """Write a finished run; its predictions in an order that hangs on `shuffle`."""
    splits: dict[str, tuple[Sequence[int], Sequence[int]]] = {"test": (run.centre or run.ten, run.ten)}
    if run.heldout:
        splits["heldout"] = (run.heldout, run.heldout)
    names = {split: [f"{split}{place}" for place in range(len(ten))] for split, (_, ten) in splits.items()}
    names["test"] = list(run.images) or names["test"]
    table = pa.table(
        {
            "split": [split for split in splits for _ in names[split]],
            "image": [name for split in splits for name in names[split]],
            "label": pa.array([place % 7 for split in splits for place in range(len(names[split]))], pa.int32()),
            "centre_rank": pa.array([rank for centre, _ in splits.values() for rank in centre], pa.int32()),
            "ten_rank": pa.array([rank for _, ten in splits.values() for rank in ten], pa.int32()),
        }
    )
    if run.probabilities:
        rows = [*run.probabilities, *([[0.0] * classes] * len(run.heldout))]
        halves = pa.array(np.array(rows, np.float16).ravel())
        for view in ("centre", "ten"):
            column = pa.FixedSizeListArray.from_arrays(halves, classes)
            table = table.append_column(f"{view}_probabilities", column)
    folder.write_predictions(table.take(list(np.random.default_rng(shuffle).permutation(len(table)))))
    folder.write_provenance({"wall_seconds": 2.0, "host": "here", "versions": {"python": "3"}})
    folder.write_config(_replaced(config_of(), run.config))
    errors = {split: {"centre": _counts(c, classes), "ten": _counts(t, classes)} for split, (c, t) in splits.items()}
    folder.write_result(_replaced(_result(run, errors, classes), run.result))


def restate(folder: RunFolder, **changes: Any) -> None:
    """Write a finished run's result anew, with these keys changed, or without those that are None."""
    result = (folder.read_result() or {}) | changes
    folder.write_result({key: value for key, value in result.items() if value is not None})


def config_of() -> dict[str, Any]:
    return {
        "data": {"heldout_fraction": 0.1, "stored_px": 256, "crop_px": 224},
        "schedule": {"name": "multistep", "drop_epochs": [30, 60, 80], "heldout_joins_fraction": None},
        "eval": {"average": "probabilities"},
        "model": {"width": 1.0, "net": {"name": "alexnet"}},
    }


def _result(run: Run, errors: Mapping[str, Any], classes: int) -> dict[str, Any]:
    last = {"clean_train_images": 0, "clean_train_top1_error": None, "clean_train_top5_error": None}
    if run.train_error is not None:
        last |= {"clean_train_images": 100, "clean_train_top1_error": run.train_error}
    return {
        "views": 10,
        "epochs": 90,
        "steps": 900,
        "parameters": 1234,
        "last_epoch": last,
        "steps_to_threshold": run.steps,
        "source_hash": "s",
        "effective": {"device": "cpu", "cpu_threads": 1},
        "earlier_effective": [],
        "data": {
            "name": "hand",
            "fingerprint": "f",
            "classes": classes,
            "train_images": 40,
            "heldout_images": 4,
            "test_images": len(run.ten),
        },
        "errors": errors,
    }


def make_study(
    runs: Path,
    made: Mapping[tuple[str, int], Run | None],
    arms: Mapping[str, Levels] = LRN,
    *,
    design: str = "one_factor_at_a_time",
    classes: int = 10,
    shuffle: int = 0,
    **plan: Any,
) -> str:
    """Write a study of `made` runs by arm and seed (None: missing); its first arm is the baseline. Returns its name."""
    planned = []
    for number, ((arm, seed), run) in enumerate(made.items()):
        run_id = f"{number:012x}"
        overrides = [*(run.overrides if run is not None else ()), f"seed={seed}"]
        planned.append({"run_id": run_id, "arm_id": arm, "seed": seed, "overrides": overrides})
        if run is not None:
            make_run(RunFolder(runs / run_id), run, classes, shuffle + number)
    whole = {
        "name": "hand",
        "design": design,
        "keys": list(next(iter(arms.values()))),
        "baseline": next(iter(arms)),
        "arms": [{"arm_id": arm, "label": label_of(levels), "levels": levels} for arm, levels in arms.items()],
        "runs": planned,
        "command": "typed",
        "source_hash": "s",
    }
    study_folder(runs, "hand").write_plan(whole | plan)
    return "hand"


def label_of(levels: Levels) -> str:
    return ", ".join(f"{key}={level}" for key, level in levels.items())


def ranked(ten: Sequence[int], **more: Any) -> Run:
    """A run with these ranks in the ten views, and every rank plus one in the centre view."""
    return Run(ten, centre=[rank + 1 for rank in ten], **more)


def ranked_study(runs: Path, ranks: Mapping[tuple[str, int], Sequence[int] | None], classes: int = 10) -> str:
    """A grid over model/lrn of `ranked` runs, each with its images in an order of its own; None: missing."""
    made = {key: None if ten is None else ranked(ten) for key, ten in ranks.items()}
    return make_study(runs, made, design="grid", classes=classes)
