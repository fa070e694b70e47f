"""What is read of run folders made by hand."""

import math
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from alexnet_sweep.aggregate import gather, load_results, values_of
from alexnet_sweep.answers import Answers
from alexnet_sweep.running import claimed
from alexnet_sweep.store import RunFolder
from hand_made import RANKS, make_run, ranked, ranked_study, restate


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    ranked_study(tmp_path, dict(RANKS))
    return tmp_path


def test_the_tidy_frame_has_a_row_for_each_run_split_and_view(runs: Path) -> None:
    frame = load_results("hand", runs)
    assert len(frame) == 4 * 1 * 2
    row = frame[(frame["arm_id"] == "off") & (frame["seed"] == 0) & (frame["view"] == "ten")].iloc[0]
    assert row["model/lrn"] == "off" and row["state"] == "done" and not row["baseline"]
    assert (row["images"], row["top1_errors"], row["top5_errors"]) == (4, 3, 1)
    assert (row["top1_error"], row["top5_error"]) == (0.75, 0.25)


def test_missing_runs_stay_in_the_frame(tmp_path: Path) -> None:
    ranked_study(tmp_path, dict(RANKS) | {("off", 1): None})
    frame = load_results("hand", tmp_path)
    assert list(frame.drop_duplicates("run_id")["state"]) == ["done", "done", "done", "missing"]


def test_a_run_has_the_reason_of_its_failure(tmp_path: Path) -> None:
    ranked_study(tmp_path, dict(RANKS) | {("off", 1): None})
    failed = RunFolder(tmp_path / f"{3:012x}")
    with pytest.raises(ValueError), claimed(failed, 1):
        raise ValueError("too\nmuch")
    records = gather("hand", tmp_path).records
    assert [record.state for record in records] == ["done", "done", "done", "failed"]
    assert records[3].failure == "ValueError: too much" and records[0].failure == ""


def test_a_result_that_cannot_be_read_is_told_of_and_not_counted(tmp_path: Path) -> None:
    ranked_study(tmp_path, dict(RANKS))
    RunFolder(tmp_path / f"{0:012x}").result.write_text("{")
    evidence = gather("hand", tmp_path)
    assert evidence.records[0].state == "unreadable" and len(evidence.done) == 3


def test_the_training_images_evaluated_cleanly_are_a_split_of_the_frame(tmp_path: Path) -> None:
    ranked_study(tmp_path, dict(RANKS))
    folder = RunFolder(tmp_path / f"{0:012x}")
    last = {"clean_train_images": 40, "clean_train_top1_error": 0.125, "clean_train_top5_error": None}
    restate(folder, last_epoch=last, steps_to_threshold=7)
    frame = load_results("hand", tmp_path)
    (row,) = frame[frame["split"] == "train"].to_dict("records")
    assert (row["run_id"], row["view"], row["images"], row["top1_errors"]) == (f"{0:012x}", "centre", 40, 5)
    assert row["top1_error"] == 0.125 and math.isnan(row["top5_error"])
    assert set(frame.loc[frame["run_id"] == f"{0:012x}", "steps_to_threshold"]) == {7}


def test_values_of_the_results_are_listed_once_in_their_order(tmp_path: Path) -> None:
    ranked_study(tmp_path, dict(RANKS))
    make_run(RunFolder(tmp_path / f"{1:012x}"), ranked([1, 1, 2, 6]), classes=7)
    assert values_of(gather("hand", tmp_path).records, "data", "classes") == [10, 7]


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ({"views": None}, "lacks views"),
        ({"data": None}, "lacks data"),
        ({"steps_to_threshold": 0}, "steps_to_threshold is 0, not a whole number from 1"),  # no factor is of zero steps
        ({"errors": {"test": {}}}, "lacks errors"),
    ],
)
def test_a_result_that_lacks_what_a_report_needs_counts_nowhere(tmp_path: Path, spoilt: Any, why: str) -> None:
    ranked_study(tmp_path, dict(RANKS))
    folder = RunFolder(tmp_path / f"{0:012x}")
    restate(folder, **spoilt)
    record = gather("hand", tmp_path).records[0]
    assert (record.state, record.done) == ("unreadable", False) and why in record.failure


def test_a_run_without_its_predictions_counts_nowhere(tmp_path: Path) -> None:
    ranked_study(tmp_path, dict(RANKS))
    folder = RunFolder(tmp_path / f"{0:012x}")
    folder.predictions.unlink()
    record = gather("hand", tmp_path).records[0]
    assert record.state == "unreadable" and "predictions.parquet: cannot be read" in record.failure


def test_provenance_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    ranked_study(tmp_path, dict(RANKS))
    RunFolder(tmp_path / f"{0:012x}").provenance.write_text("{")
    record = gather("hand", tmp_path).records[0]
    assert record.done and record.provenance == {}


def test_images_of_the_same_names_and_other_labels_are_other_images(tmp_path: Path) -> None:
    ranked_study(tmp_path, dict(RANKS))
    folder = RunFolder(tmp_path / f"{0:012x}")
    table = pq.read_table(folder.predictions)
    turned = pc.add(table["label"], 1)
    folder.write_predictions(table.set_column(table.column_names.index("label"), "label", turned))
    restate(folder)
    answers = Answers(gather("hand", tmp_path).records, tmp_path)
    lists = [answers.images(f"{number:012x}", "test") for number in range(4)]
    assert lists == [0, 1, 1, 1]
