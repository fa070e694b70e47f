"""Plan and run folders → what is known of each run, and the tidy frame of errors. Nothing here trains or imports torch.

Errors are fractions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from alexnet_sweep.errors import FolderError
from alexnet_sweep.files import names_a_folder
from alexnet_sweep.shape import COUNT, NUMBER, POSITIVE, SCALAR, SHARE, TABLE, TEXT, TEXTS, Each, Maybe, misfit
from alexnet_sweep.store import DONE, RunFolder
from alexnet_sweep.study_folder import StudyFolder, study_folder

COLUMNS = (
    *("state", "split", "view", "images", "top1_errors", "top5_errors", "top1_error", "top5_error"),
    "steps_to_threshold",
)

RESULT = {  # what a report needs of a run, beside its errors
    "epochs": COUNT,
    "views": COUNT,
    "parameters": COUNT,
    "source_hash": TEXT,
    "steps_to_threshold": Maybe(POSITIVE),
    "effective": TABLE,
    "earlier_effective": [TABLE],
    "last_epoch": Maybe(
        {"clean_train_images": Maybe(COUNT)}
        | dict.fromkeys(("clean_train_top1_error", "clean_train_top5_error"), Maybe(SHARE))
    ),
    "data": {"name": TEXT, "fingerprint": Maybe(TEXT)}
    | dict.fromkeys(("classes", "train_images", "heldout_images", "test_images"), COUNT),
}
CONFIG = dict.fromkeys(("data", "trainer", "optim"), Maybe(TABLE)) | {"model": Maybe({"net": Maybe(TABLE)})}
PROVENANCE = {"versions": Maybe(Each(TEXT)), "wall_seconds": Maybe(NUMBER), "images_per_second": Maybe(NUMBER)}
PLAN = {  # and of the study
    "name": TEXT,
    "design": TEXT,
    "keys": [TEXT],
    "baseline": TEXT,
    "command": TEXT,
    "source_hash": TEXT,
    "question": Maybe(TEXT),
    "text": Maybe(TEXT),
    "order": Maybe(TEXT),
    "arms": [{"arm_id": TEXT, "label": TEXT, "levels": Each(SCALAR)}],
    "runs": [{"run_id": TEXT, "arm_id": TEXT, "seed": COUNT, "overrides": [TEXT]}],
    "claims": Maybe(Each(TEXTS)),
    "tuning": Maybe({"key": TEXT, "levels": [TEXT], "chosen": Each(TEXT)}),
}


@dataclass(frozen=True)
class RunRecord:
    """One planned run and what its folder says of it."""

    run_id: str
    arm_id: str
    seed: int
    overrides: tuple[str, ...]
    state: str  # done, running, failed, interrupted, missing, unreadable
    result: Mapping[str, Any] | None  # of a run that is done
    config: Mapping[str, Any] | None  # of a run that is done
    provenance: Mapping[str, Any]
    failure: str  # the one-line reason why it failed, or why it cannot be read

    @property
    def done(self) -> bool:
        return self.result is not None


@dataclass(frozen=True)
class Evidence:
    """All that a report of a study is made from."""

    plan: Mapping[str, Any]
    runs: Path
    records: tuple[RunRecord, ...]  # in the order of the plan

    @property
    def baseline(self) -> str:
        """The arm_id that others are compared with."""
        return str(self.plan["baseline"])

    @property
    def labels(self) -> dict[str, str]:
        """Each arm's label by its arm_id, in the order of the plan."""
        return {arm["arm_id"]: arm["label"] for arm in self.plan["arms"]}

    @property
    def done(self) -> list[RunRecord]:
        return [record for record in self.records if record.done]

    def without(self, unreadable: Mapping[str, str]) -> "Evidence":
        """The same with some runs, by run_id, shown as unreadable, and why."""
        records = tuple(
            replace(record, state="unreadable", result=None, config=None, provenance={}, failure=why)
            if (why := unreadable.get(record.run_id)) is not None
            else record
            for record in self.records
        )
        return replace(self, records=records)


def gather(study: str, runs: str | Path = "runs") -> Evidence:
    """Read a study's plan and what its runs have left.

    Raises:
        FolderError: where there is no such study.
    """
    folder = study_folder(Path(runs), study)
    plan = folder.read_plan()
    _check_plan(folder, plan)
    return Evidence(plan, Path(runs), tuple(_record(planned, Path(runs)) for planned in plan["runs"]))


def _check_plan(folder: StudyFolder, plan: Mapping[str, Any]) -> None:
    """Refuse a plan that no report could be made of, or that names folders elsewhere.

    Raises:
        FolderError: saying where it is wrong.
    """
    wrong = misfit(plan, PLAN)
    if wrong is None:
        arms = {arm["arm_id"]: arm for arm in plan["arms"]}
        odd = [run["run_id"] for run in plan["runs"] if not names_a_folder(run["run_id"]) or run["arm_id"] not in arms]
        odd += [arm["arm_id"] for arm in plan["arms"] if not set(plan["keys"]) <= set(arm["levels"])]
        if odd or plan["baseline"] not in arms or len(arms) < len(plan["arms"]) or not plan["runs"]:
            wrong = f"its arms and runs do not fit each other ({odd[0] if odd else plan['baseline']})"
    if wrong is not None:
        raise FolderError(f"{folder.plan}: {wrong}; start the sweep again to mend it")


def _record(planned: Mapping[str, Any], runs: Path) -> RunRecord:
    folder = RunFolder(runs / planned["run_id"])
    head = (planned["run_id"], planned["arm_id"], int(planned["seed"]), tuple(planned["overrides"]))
    try:
        status, result = folder.read_status(), folder.read_result()
        if result is not None:
            _check_whole(folder, result)
    except FolderError as error:
        return RunRecord(*head, "unreadable", None, None, {}, str(error))
    if result is None:
        return RunRecord(*head, str(status.get("state", "missing")), None, None, {}, str(status.get("reason") or ""))
    return RunRecord(*head, DONE, result, _config(folder), _provenance(folder), "")


def _check_whole(folder: RunFolder, result: dict[str, Any]) -> None:
    """Refuse a result that lacks what a report needs, or whose files are not as it says: it counts nowhere.

    Raises:
        FolderError: saying what is missing.
    """
    wrong = misfit(result, RESULT)
    if wrong is not None:
        raise FolderError(f"{folder.result}: {wrong}; move its folder away to train the run again")
    folder.check_files(result)


def _provenance(folder: RunFolder) -> Mapping[str, Any]:
    """Times and versions, or nothing where they cannot be read: no figure hangs on them."""
    try:
        found = folder.read_provenance()
    except FolderError:
        return {}
    return found if misfit(found, PROVENANCE) is None else {}


def _config(folder: RunFolder) -> Mapping[str, Any] | None:
    """The run's config, or nothing where it is none of ours; a table of it that is empty is left out."""
    found = {key: value for key, value in (folder.read_config() or {}).items() if value is not None}
    return found if misfit(found, CONFIG) is None else None


def load_results(study: str, runs: str | Path = "runs") -> pd.DataFrame:
    """The tidy frame of a study: a row for each planned run, split and view.

    Columns: study, arm_id, arm (its label), baseline (bool), the swept factors by their keys, seed, run_id, state,
    split (test, heldout, train), view (ten, centre), images, top1_errors and top5_errors (counts), top1_error and
    top5_error (fractions; missing with five classes or fewer), steps_to_threshold (training steps until the error as
    trained reached trainer.threshold_train_error; missing where it never did). Split train holds the training images
    that were evaluated without augmentation after the last epoch, in the centre view. A run that is not done has one
    row without figures.

    Raises:
        FolderError: where there is no such study.
    """
    return results_of(gather(study, runs))


def results_of(evidence: Evidence) -> pd.DataFrame:
    """As `load_results`, from what has been gathered."""
    plan = evidence.plan
    arms = {arm["arm_id"]: arm for arm in plan["arms"]}
    rows: list[dict[str, Any]] = []
    for record in evidence.records:
        arm = arms[record.arm_id]
        head = arm["levels"] | {  # a bundle may be named as a column is: ours count
            "study": plan["name"],
            "arm_id": record.arm_id,
            "arm": arm["label"],
            "baseline": record.arm_id == plan["baseline"],
            "seed": record.seed,
            "run_id": record.run_id,
        }
        rows.extend(head | tail for tail in _figures(record))
    frame = pd.DataFrame(rows)
    first = [column for column in ("study", "arm_id", "arm", "baseline") if column in frame]
    frame = frame[[*first, *(column for column in frame if column not in first)]]
    for column in COLUMNS:
        if column not in frame:
            frame[column] = None
    return frame[[*(column for column in frame if column not in COLUMNS), *COLUMNS]]


def _figures(record: RunRecord) -> list[dict[str, Any]]:
    if record.result is None:
        return [{"state": record.state}]
    steps = record.result.get("steps_to_threshold")
    rows = [
        {
            "state": DONE,
            "split": split,
            "view": view,
            "images": counts["images"],
            "top1_errors": counts["top1"],
            "top5_errors": counts.get("top5"),
            "top1_error": counts["top1_error"],
            "top5_error": counts.get("top5_error"),
            "steps_to_threshold": steps,
        }
        for split, views in record.result["errors"].items()
        for view, counts in views.items()
    ]
    last = record.result.get("last_epoch") or {}
    if last.get("clean_train_images"):
        rows.append(_trained(last) | {"steps_to_threshold": steps})
    return rows


def _trained(last: Mapping[str, Any]) -> dict[str, Any]:
    """The row of the training images that were evaluated without augmentation."""
    images, row = int(last["clean_train_images"]), {"state": DONE, "split": "train", "view": "centre"}
    figures: dict[str, Any] = {"images": images}
    for metric in ("top1", "top5"):
        error = last.get(f"clean_train_{metric}_error")
        figures[f"{metric}_errors"] = None if error is None else round(error * images)
        figures[f"{metric}_error"] = error
    return row | figures


def values_of(records: Sequence[RunRecord], *path: str) -> list[Any]:
    """The different values of a key of the results, in the order of the runs."""
    found = []
    for record in records:
        value: Any = record.result
        for key in path:
            value = value[key]
        if value not in found:
            found.append(value)
    return found
