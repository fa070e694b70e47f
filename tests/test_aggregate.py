"""Deltas derived by hand from runs made by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep.aggregate import arm_table, delta_interval, load_ranks, load_results
from alexnet_sweep.store import RunFolder, study_folder

# Ranks of the labels of four test images, ten views; the centre view gets every rank plus one.
RANKS = {
    ("base", 0): [1, 1, 1, 2],  # 1 of 4 wrong
    ("base", 1): [1, 1, 2, 6],  # 2 of 4 wrong, one not among five
    ("off", 0): [1, 2, 6, 2],  # 3 of 4 wrong, one not among five
    ("off", 1): [1, 1, 2, 6],  # as the baseline
}


def counts(ranks: list[int]) -> dict[str, Any]:
    top1, top5 = sum(rank > 1 for rank in ranks), sum(rank > 5 for rank in ranks)
    n = len(ranks)
    return {"images": n, "top1": top1, "top5": top5, "top1_error": top1 / n, "top5_error": top5 / n}


def make_run(folder: RunFolder, ranks: list[int], classes: int = 10, threads: int = 1, names: str = "image") -> None:
    """A finished run with these ranks in the ten views."""
    centre = [rank + 1 for rank in ranks]
    images = [f"{names}{number}" for number in range(len(ranks))]
    folder.write_predictions(
        pa.table(
            {
                "split": ["test"] * len(ranks),
                # another order in every run: pairing must go by the image
                "image": images,
                "centre_rank": pa.array(centre, pa.int32()),
                "ten_rank": pa.array(ranks, pa.int32()),
            }
        ).take(list(np.random.default_rng(sum(ranks)).permutation(len(ranks))))
    )
    folder.write_provenance({"wall_seconds": 2.0, "host": "here", "versions": {"python": "3"}})
    errors = {"test": {"centre": counts(centre), "ten": counts(ranks)}}
    if classes <= 5:
        for view in errors["test"].values():
            view.update(top5=None, top5_error=None)
    folder.write_result(
        {
            "views": 10,
            "epochs": 3,
            "parameters": 1234,
            "source_hash": "s",
            "effective": {"device": "cpu", "cpu_threads": threads},
            "earlier_effective": [],
            "data": {
                "name": "hand",
                "classes": classes,
                "train_images": 40,
                "heldout_images": 4,
                "test_images": len(ranks),
            },
            "errors": errors,
        }
    )


def make_study(runs: Path, ranks: dict[tuple[str, int], list[int] | None], classes: int = 10) -> str:
    """A study over model/lrn; None makes a run that is missing."""
    plan_runs = []
    for number, ((arm, seed), made) in enumerate(ranks.items()):
        run_id = f"{number:012x}"
        plan_runs.append({"run_id": run_id, "arm_id": arm, "seed": seed, "overrides": []})
        if made is not None:
            make_run(RunFolder(runs / run_id), made, classes)
    arms = [
        {"arm_id": "base", "label": "model/lrn=on", "levels": {"model/lrn": "on"}},
        {"arm_id": "off", "label": "model/lrn=off", "levels": {"model/lrn": "off"}},
    ]
    plan = {"name": "hand", "design": "grid", "keys": ["model/lrn"], "baseline": "base", "arms": arms}
    study_folder(runs, "hand").write_plan(plan | {"runs": plan_runs, "command": "typed", "source_hash": "s"})
    return "hand"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    make_study(tmp_path, dict(RANKS))
    return tmp_path


def table_of(runs: Path) -> Any:
    results = load_results("hand", runs)
    return arm_table(results, load_ranks(results, runs)).set_index(["arm_id", "split", "view", "metric"])


def test_the_tidy_frame_has_a_row_for_each_run_split_and_view(runs: Path) -> None:
    frame = load_results("hand", runs)
    assert len(frame) == 4 * 1 * 2
    row = frame[(frame["arm_id"] == "off") & (frame["seed"] == 0) & (frame["view"] == "ten")].iloc[0]
    assert row["model/lrn"] == "off" and row["state"] == "done" and not row["baseline"]
    assert (row["images"], row["top1_errors"], row["top5_errors"]) == (4, 3, 1)
    assert (row["top1_error"], row["top5_error"]) == (0.75, 0.25)


def test_deltas_and_intervals_are_those_worked_out_by_hand(runs: Path) -> None:
    table = table_of(runs)
    base, off = table.loc[("base", "test", "ten", "top1")], table.loc[("off", "test", "ten", "top1")]
    assert base["error"] == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert off["error"] == pytest.approx((3 / 4 + 2 / 4) / 2)
    # seed 0: 3/4 - 1/4 = 1/2; seed 1: 0; mean 1/4
    assert off["delta"] == pytest.approx(0.25)
    # images: (0+0)/2, (1+0)/2, (1+0)/2, (0+0)/2; sum 1, squares 1/2; with two pseudo-images n = 6:
    # centre 1/6, variance (1/2 + 1)/6 - 1/36 = 8/36, standard error sqrt(8/36/6)
    half = 1.959963984540054 * math.sqrt(8 / 36 / 6)
    assert (off["low"], off["high"]) == (pytest.approx(1 / 6 - half), pytest.approx(1 / 6 + half))
    # top-5: seed 0: 1/4 - 0; seed 1: 1/4 - 1/4; mean 1/8
    assert table.loc[("off", "test", "ten", "top5")]["delta"] == pytest.approx(0.125)


def test_the_baseline_has_no_delta(runs: Path) -> None:
    assert table_of(runs).loc["base"]["delta"].isna().all()


def test_only_seeds_that_both_arms_finished_are_compared(tmp_path: Path) -> None:
    make_study(tmp_path, dict(RANKS) | {("base", 0): None})
    off = table_of(tmp_path).loc[("off", "test", "ten", "top1")]
    assert off["seeds"] == 2 and off["paired_seeds"] == 1
    assert off["delta"] == 0.0


def test_an_arm_without_a_finished_partner_has_no_delta(tmp_path: Path) -> None:
    make_study(tmp_path, {("base", 0): None, ("off", 0): [1, 2, 1, 1]})
    off = table_of(tmp_path).loc[("off", "test", "ten", "top1")]
    assert off["error"] == 0.25 and math.isnan(off["delta"])


def test_missing_runs_stay_in_the_frame(tmp_path: Path) -> None:
    make_study(tmp_path, dict(RANKS) | {("off", 1): None})
    frame = load_results("hand", tmp_path)
    assert list(frame.drop_duplicates("run_id")["state"]) == ["done", "done", "done", "missing"]


def test_there_is_no_top5_with_five_classes_or_fewer(tmp_path: Path) -> None:
    make_study(tmp_path, dict(RANKS), classes=5)
    assert set(table_of(tmp_path).reset_index()["metric"]) == {"top1"}


def test_arms_evaluated_on_other_images_are_not_compared(tmp_path: Path) -> None:
    make_study(tmp_path, {("base", 0): [1, 2, 1, 1], ("off", 0): [1, 2, 2, 1]})
    make_run(RunFolder(tmp_path / f"{1:012x}"), [1, 2, 2, 1], names="photo")
    off = table_of(tmp_path).loc[("off", "test", "ten", "top1")]
    assert (off["error"], off["images"], off["note"]) == (0.5, 4, "other images")
    assert math.isnan(off["delta"]) and math.isnan(off["low"])


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=200))
def test_an_interval_contains_its_shrunk_centre_and_mirrors_with_the_sign(values: list[float]) -> None:
    differences = np.array(values)
    low, high = delta_interval(differences)
    assert low < differences.sum() / (len(values) + 2) < high
    assert delta_interval(-differences) == pytest.approx((-high, -low))


def test_an_arm_compared_with_its_own_answers_has_delta_zero(tmp_path: Path) -> None:
    make_study(tmp_path, {("base", 0): [1, 2, 3, 1], ("off", 0): [1, 2, 3, 1]})
    row = table_of(tmp_path).loc[("off", "test", "ten", "top1")]
    assert row["delta"] == 0.0 and row["low"] < 0.0 < row["high"]


def test_the_interval_covers_as_often_as_it_claims() -> None:
    # 300 test images, 8 % of them right in one arm only, 5 % in the other only: the true delta is 3 points.
    rng = np.random.default_rng(0)
    draws = rng.choice([1.0, -1.0, 0.0], p=[0.08, 0.05, 0.87], size=(4000, 300))
    covered = np.mean([low <= 0.03 <= high for low, high in map(delta_interval, draws)])
    assert 0.93 <= covered <= 0.97
