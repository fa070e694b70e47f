"""From findings to drawings: which figures a study's report has, and what is in them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from alexnet_sweep.doubt import IMAGES
from alexnet_sweep.findings import Findings
from alexnet_sweep.report import figures
from alexnet_sweep.report.canvas import write
from alexnet_sweep.report.document import Figure
from alexnet_sweep.store import RunFolder
from alexnet_sweep.verdicts import NOT_COMPARABLE

MOST_CURVES = 24  # arms; more panels than this are not looked at
WAYS = {"build_up": "build up", "take_away": "take away"}


def draw(findings: Findings, folder: Path) -> list[Figure]:
    """Draw what there is to draw into the folder as NAME.svg and NAME.png; the figures drawn, in a reader's order."""
    drawn = []
    for name, (words, made) in DRAWINGS.items():
        figure = None if findings.deltas.empty else made(findings)
        for suffix in ("svg", "png"):
            if figure is None:
                (folder / f"{name}.{suffix}").unlink(missing_ok=True)
        if figure is not None:
            write(figure, folder, name)
            drawn.append(Figure(name, words))
    return drawn


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _forest(findings: Findings) -> Any:
    rows = findings.headline
    rows = rows[~rows["baseline"] & rows["delta"].notna()]
    if rows.empty:
        return None
    claimed = {
        found.arm_id: found for found in findings.verdicts if found.claim.measure == "top1" and found.claim.has_size
    }
    return figures.forest(
        [
            figures.Effect(
                str(row["arm"]),
                _number(row["delta"]),
                _number(row["low"]),
                _number(row["high"]),
                over_seeds=row["covers"] != IMAGES,
                low_images=_number(row["images_low"]),
                high_images=_number(row["images_high"]),
                claimed=claimed[str(row["arm_id"])].claim.delta if row["arm_id"] in claimed else None,
                like=row["arm_id"] not in claimed or claimed[str(row["arm_id"])].word != NOT_COMPARABLE,
            )
            for row in rows.to_dict("records")
        ]
    )


def _steps(findings: Findings) -> Any:
    if findings.steps.empty:
        return None
    orders = []
    for way, part in findings.steps.groupby("way", sort=False):
        steps = tuple(
            figures.Step(str(row["change"]) or "to begin with", _number(row["error"]))
            for row in part.to_dict("records")
        )
        orders.append(figures.Order(WAYS[str(way)], steps))
    return figures.steps(orders)


def _interactions(findings: Findings) -> Any:
    if findings.effects.empty:
        return None
    rows = findings.effects[(findings.effects["kind"] == "interaction") & findings.effects["delta"].notna()]
    if rows.empty:
        return None
    pairs = [
        figures.Pair(str(row["first"]), str(row["second"]), *(_number(row[key]) for key in ("delta", "low", "high")))
        for row in rows.to_dict("records")
    ]
    labels = list(dict.fromkeys([*rows["first"], *rows["second"]]))
    return figures.heatmap(labels, pairs)


def _gap(findings: Findings) -> Any:
    kept = [record.run_id for record in findings.compared]
    centre = findings.results[(findings.results["view"] == "centre") & findings.results["run_id"].isin(kept)]
    errors = centre.groupby(["arm_id", "split"], sort=False)["top1_error"].mean()
    rows = [
        figures.Gap(label, _number(errors[arm_id, "train"]), _number(errors[arm_id, "test"]))
        for arm_id, label in findings.evidence.labels.items()
        if (arm_id, "train") in errors.index and (arm_id, "test") in errors.index
    ]
    return figures.gap(rows) if rows else None


def _curves(findings: Findings) -> Any:
    arms = []
    for arm_id, label in list(findings.evidence.labels.items())[:MOST_CURVES]:
        runs = [record.run_id for record in findings.compared if record.arm_id == arm_id]
        metrics = [_metrics(findings.evidence.runs, run_id) for run_id in runs]
        heldout, train = (_column(metrics, key) for key in ("heldout_top1_error", "clean_train_top1_error"))
        if heldout or train:
            arms.append(figures.Curves(label, heldout, train, baseline=arm_id == findings.evidence.baseline))
    longest = max((len(seed) for arm in arms for seed in (*arm.heldout, *arm.train)), default=0)
    return figures.learning_curves(arms) if longest > 1 else None


def _ensembles(findings: Findings) -> Any:
    if findings.ensembles is None or findings.ensembles.table.empty:
        return None
    curves = []
    for (arm, view), part in findings.ensembles.table.groupby(["arm", "view"], sort=False):
        points = tuple(
            figures.Point(int(row["networks"]), *(_number(row[key]) for key in ("top1", "top1_least", "top1_greatest")))
            for row in part.to_dict("records")
        )
        curves.append(figures.Averages(str(arm), str(view), points))
    return figures.ensembles(curves)


def _column(tables: Sequence[pd.DataFrame], key: str) -> tuple[tuple[float | None, ...], ...]:
    numbers = (pd.to_numeric(table[key], errors="coerce") for table in tables if key in table)
    return tuple(tuple(_number(value) for value in column) for column in numbers)


def _metrics(runs: Path, run_id: str) -> pd.DataFrame:
    try:
        return pd.read_csv(RunFolder(runs / run_id).metrics)
    except (OSError, ValueError):  # a run folder from elsewhere may have lost it: a curve less, no wrong one
        return pd.DataFrame()


DRAWINGS: Mapping[str, tuple[str, Callable[[Findings], Any]]] = {
    "forest": ("Δ Top-1 error of each arm with its 95 % interval, and the paper's number where there is one", _forest),
    "steps": ("Top-1 error along the way from the plain net to the full recipe", _steps),
    "interactions": ("What two changes do together beyond the sum of each", _interactions),
    "gap": ("Error on training images without augmentation and on test images, centre view, for each arm", _gap),
    "ensembles": (
        "Top-1 error of averaged networks by their number: the mean over all subsets, and the range of these, "
        "of the first six arms",
        _ensembles,
    ),
    "curves": (f"Held-out and clean training error by epoch, of each arm, or of the first {MOST_CURVES}", _curves),
}
