"""Run folders → tidy frame → table of paired deltas. Pure pandas; nothing here trains or imports torch.

Errors are fractions. A delta is *ablated - baseline*: positive means that removing the part hurt. It is paired
twice: only seeds that both arms have finished count, and the interval comes from differences on the same images.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alexnet_sweep.errors import FolderError
from alexnet_sweep.store import DONE, RunFolder, study_folder

VIEWS = ("ten", "centre")
METRICS = {"top1": 1, "top5": 5}  # a label of a higher rank is an error
NORMAL_95 = 1.959963984540054


def load_results(study: str, runs: str | Path = "runs") -> pd.DataFrame:
    """The tidy frame of a study: a row for each planned run, split and view.

    Columns: study, arm_id, arm (its label), baseline (bool), the swept factors by their keys, seed, run_id, state,
    split (test, heldout), view (ten, centre), images, top1_errors and top5_errors (counts), top1_error and
    top5_error (fractions; missing with five classes or fewer). A run that is not done has one row without figures.

    Raises:
        FolderError: where there is no such study.
    """
    plan = study_folder(Path(runs), study).read_plan()
    arms = {arm["arm_id"]: arm for arm in plan["arms"]}
    rows: list[dict[str, Any]] = []
    for planned in plan["runs"]:
        arm = arms[planned["arm_id"]]
        head = {
            "study": plan["name"],
            "arm_id": arm["arm_id"],
            "arm": arm["label"],
            "baseline": arm["arm_id"] == plan["baseline"],
            **arm["levels"],
            "seed": planned["seed"],
            "run_id": planned["run_id"],
        }
        rows.extend(head | tail for tail in _figures(RunFolder(Path(runs) / planned["run_id"])))
    return pd.DataFrame(rows)


def _figures(folder: RunFolder) -> list[dict[str, Any]]:
    try:
        result = folder.read_result()
    except FolderError:
        return [{"state": "unreadable"}]
    if result is None:
        return [{"state": folder.read_status().get("state", "missing")}]
    return [
        {
            "state": DONE,
            "split": split,
            "view": view,
            "images": counts["images"],
            "top1_errors": counts["top1"],
            "top5_errors": counts["top5"],
            "top1_error": counts["top1_error"],
            "top5_error": counts["top5_error"],
        }
        for split, views in result["errors"].items()
        for view, counts in views.items()
    ]


def load_ranks(results: pd.DataFrame, runs: str | Path = "runs") -> pd.DataFrame:
    """Ranks of the labels, a row for each evaluated image of each finished run.

    Columns: arm_id, seed, split, image, centre, ten.

    Raises:
        FolderError: where the predictions of a finished run cannot be read.
    """
    frames = []
    done = results[results["state"] == DONE].drop_duplicates("run_id")
    for run in done.itertuples():
        table = RunFolder(Path(runs) / str(run.run_id)).read_predictions(["split", "image", "centre_rank", "ten_rank"])
        frame = table.to_pandas().rename(columns={"centre_rank": "centre", "ten_rank": "ten"})
        frames.append(frame.assign(arm_id=run.arm_id, seed=run.seed))
    columns = ["arm_id", "seed", "split", "image", "centre", "ten"]
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)


def arm_table(results: pd.DataFrame, ranks: pd.DataFrame) -> pd.DataFrame:
    """One row for each arm, split, view and metric, in the order of the plan.

    Columns: arm, arm_id, baseline, split, view, metric, seeds (finished), images, error (mean over seeds),
    paired_seeds, delta, low, high, note. The last five compare with the baseline over the seeds that both have;
    the interval (see `delta_interval`) covers the test images only. Missing where there is nothing to compare, and
    where the two arms were not evaluated on the same images, as the note says.
    """
    done = results[results["state"] == DONE]
    arms = results.drop_duplicates("arm_id")[["arm_id", "arm", "baseline"]]
    rows: list[dict[str, Any]] = []
    for split in done["split"].unique():
        for view in VIEWS:
            wrong = _ranks_by_image(ranks, split, view)
            chosen = done[(done["split"] == split) & (done["view"] == view)]
            for metric, limit in METRICS.items():
                if chosen[f"{metric}_error"].isna().all():
                    continue  # five classes or fewer: there is no top-5 error
                for arm in arms.itertuples():
                    row = {"arm": arm.arm, "arm_id": arm.arm_id, "baseline": bool(arm.baseline)}
                    row |= {"split": split, "view": view, "metric": metric}
                    row |= _compared(chosen, wrong, arms, str(arm.arm_id), metric, limit)
                    rows.append(row)
    return pd.DataFrame(rows)


def _ranks_by_image(ranks: pd.DataFrame, split: str, view: str) -> pd.DataFrame:
    """Images down, (arm_id, seed) across."""
    part = ranks[ranks["split"] == split]
    return part.pivot(index="image", columns=["arm_id", "seed"], values=view)


def _compared(
    chosen: pd.DataFrame,
    by_image: pd.DataFrame,
    arms: pd.DataFrame,
    arm_id: str,
    metric: str,
    limit: int,
) -> dict[str, Any]:
    own = chosen[chosen["arm_id"] == arm_id].set_index("seed")[f"{metric}_error"].astype(float)
    baseline = str(arms.loc[arms["baseline"], "arm_id"].iloc[0])
    base = chosen[chosen["arm_id"] == baseline].set_index("seed")[f"{metric}_error"].astype(float)
    seeds = own.index.intersection(base.index)
    mine = by_image[[(arm_id, seed) for seed in own.index]].dropna()
    row: dict[str, Any] = {
        "seeds": len(own),
        "images": len(mine),
        "error": own.mean() if len(own) else np.nan,
        "paired_seeds": 0,
        "delta": np.nan,
        "low": np.nan,
        "high": np.nan,
        "note": "",
    }
    if arm_id == baseline or len(seeds) == 0:
        return row
    theirs = by_image[[(baseline, seed) for seed in seeds]].dropna()
    if not mine.index.equals(theirs.index):
        return row | {"note": "other images"}
    by_image = by_image.loc[mine.index]
    differences = np.mean(
        [
            (by_image[arm_id, seed] > limit).to_numpy(float) - (by_image[baseline, seed] > limit).to_numpy(float)
            for seed in seeds
        ],
        axis=0,
    )
    delta = float((own[seeds] - base[seeds]).mean())
    low, high = delta_interval(differences)
    return row | {"paired_seeds": len(seeds), "delta": delta, "low": low, "high": high}


def delta_interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """A 95 % interval for the mean difference between two arms, over the choice of test images.

    `differences` (images,) are each image's error of the arm less that of the baseline, averaged over paired
    seeds. One pseudo-image counts half for and half against (Agresti & Min 2005 for paired proportions), so that
    few disagreements do not make it too narrow. It says nothing about other seeds.
    """
    count = len(differences) + 2
    centre = differences.sum() / count
    variance = (np.square(differences).sum() + 1.0) / count - centre**2
    half = NORMAL_95 * np.sqrt(variance / count)
    return float(centre - half), float(centre + half)


def provenance_facts(results: pd.DataFrame, runs: str | Path) -> list[Mapping[str, Any]]:
    """Provenance of every finished run, in the order of the plan."""
    done = results[results["state"] == DONE].drop_duplicates("run_id")
    return [RunFolder(Path(runs) / str(run)).read_provenance() for run in done["run_id"]]
