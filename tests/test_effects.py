"""Deltas, intervals and words derived by hand from runs made by hand."""

import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from alexnet_sweep.answers import METRICS
from alexnet_sweep.doubt import BOTH, IMAGES, doubt
from alexnet_sweep.effects import HELPS, HINT, HURTS, UNCLEAR, WORSE_ONCE, finding
from alexnet_sweep.findings import Findings, find
from hand_made import LRN, Run, make_study, wrong

Z = 1.959963984540054
T1, T2 = 12.706204736174698, 4.302652729749464

ARMS = LRN | {"worse": {"model/lrn": "worse"}}
# Six test images, two seeds. 0: right, 1: wrong but among five, 6: not among five; the centre view has more wrong.
STUDY = {
    ("base", 0): wrong("000011", centre=[1, 1, 1, 1, 2, 2]),
    ("base", 1): wrong("000110", centre=[1, 1, 1, 2, 2, 1]),
    ("off", 0): wrong("110016", centre=[2, 2, 2, 1, 2, 6]),
    ("off", 1): wrong("100011", centre=[2, 2, 1, 1, 2, 2]),
    ("worse", 0): wrong("666611", centre=[6, 6, 6, 6, 2, 2]),
    ("worse", 1): wrong("666116", centre=[6, 6, 6, 2, 2, 6]),
}


def found_of(folder: Path, made: Mapping[tuple[str, int], Run | None] = STUDY, **more: Any) -> Findings:
    arms = more.pop("arms", None) or {arm: ARMS[arm] for arm in ARMS if any(arm == name for name, _ in made)}
    return find(make_study(folder, made, arms, **more), folder)


def rows(table: pd.DataFrame, *keys: str) -> Any:
    return table.set_index(list(keys))


@pytest.fixture
def deltas(tmp_path: Path) -> Any:
    return rows(found_of(tmp_path).deltas, "arm_id", "split", "view", "metric")


def test_there_is_a_row_for_each_arm_view_and_metric_in_the_plans_order(tmp_path):
    table = found_of(tmp_path).deltas
    asked = [(view, metric, arm) for view in ("ten", "centre") for metric in ("top1", "top5") for arm in ARMS]
    assert [tuple(row) for row in table[["view", "metric", "arm_id"]].to_numpy()] == asked
    assert list(table["arm"].unique()) == ["model/lrn=on", "model/lrn=off", "model/lrn=worse"]
    assert set(table["images"]) == {6} and set(table["seeds"]) == {2}
    assert list(table["baseline"]) == [True, False, False] * 4
    assert list(table.columns[-2:]) == ["finding", "note"]


def test_errors_are_means_over_seeds(deltas):
    assert deltas.loc[("base", "test", "ten", "top1"), "error"] == pytest.approx(2 / 6)
    assert deltas.loc[("off", "test", "ten", "top1"), "error"] == pytest.approx((4 / 6 + 3 / 6) / 2)
    assert deltas.loc[("off", "test", "ten", "top5"), "error"] == pytest.approx((1 / 6 + 0) / 2)
    assert deltas.loc[("off", "test", "centre", "top1"), "error"] == pytest.approx((5 / 6 + 4 / 6) / 2)
    assert deltas.loc[("worse", "test", "ten", "top5"), "error"] == pytest.approx(4 / 6)


def test_the_baseline_has_no_delta(deltas):
    base = deltas.loc[("base", "test", "ten", "top1")]
    assert math.isnan(base["delta"]) and math.isnan(base["p_holm"]) and base["finding"] == base["note"] == ""


def test_an_arm_whose_seeds_disagree_has_the_interval_worked_out_by_hand(deltas):
    """Differences 1 1 0 0 0 0 and 1 0 0 -1 0 1: seeds' means 1/3 and 1/6, delta 1/4."""
    off = deltas.loc[("off", "test", "ten", "top1")]
    assert off["delta"] == pytest.approx(1 / 4) and off["paired_seeds"] == 2 and off["covers"] == BOTH
    # Images' means 1, 1/2, 0, -1/2, 0, 1/2. Of squares: all 5 - 12/16 = 17/4, seeds 6 · 2 · (1/12)² = 1/12,
    # images 2 (7/4 - 6/16) = 11/4, rest 17/12. MS_seeds 1/12, MS_images 11/20, MS_rest 17/60.
    of_seeds = (1 / 12) / 12 + 1 / (12 * 2 * 36)
    of_images = (11 / 20 - 17 / 60) / 12 + 1 / (2 * 36)
    half = math.sqrt(T1**2 * of_seeds + Z**2 * of_images)
    assert (off["low"], off["high"]) == (pytest.approx(0.25 - half), pytest.approx(0.25 + half))
    assert half == pytest.approx(1.20281, abs=1e-5)
    # p is where the interval would just reach zero; of two arms this is the larger, so Holm leaves it.
    student, normal = special.stdtrit(1, off["p"] / 2), special.ndtri(off["p"] / 2)
    assert student**2 * of_seeds + normal**2 * of_images == pytest.approx(1 / 16, rel=1e-4)
    assert off["p_holm"] == pytest.approx(off["p"]) and off["finding"] == UNCLEAR
    # images alone: sum 3/2, squares 7/4, eight with two pseudo-images
    alone = Z * math.sqrt(((7 / 4 + 1) / 8 - (3 / 16) ** 2) / 8)
    assert (off["images_low"], off["images_high"]) == (pytest.approx(3 / 16 - alone), pytest.approx(3 / 16 + alone))
    # seeds alone
    assert (off["seeds_low"], off["seeds_high"]) == (
        pytest.approx(0.25 - T1 * math.sqrt(of_seeds)),
        pytest.approx(0.25 + T1 * math.sqrt(of_seeds)),
    )
    assert off["seed_spread"] == pytest.approx(math.sqrt(2 * of_seeds))
    assert off["bootstrap_low"] < 0.25 < off["bootstrap_high"]


def test_an_arm_that_breaks_nearly_all_is_said_to_hurt_only_if_seeds_and_images_are_sure(deltas):
    """Differences 1 1 1 1 0 0 and 1 1 1 0 0 1: both seeds 2/3."""
    worse = deltas.loc[("worse", "test", "ten", "top1")]
    # Images' means 1 1 1 1/2 0 1/2. Of squares: all 8 - 12 · 4/9 = 8/3, seeds 0, images 2 (7/2 - 8/3) = 5/3, rest 1.
    of_seeds = 1 / (12 * 2 * 36)
    of_images = (1 / 3 - 1 / 5) / 12 + 1 / 72
    half = math.sqrt(T1**2 * of_seeds + Z**2 * of_images)
    assert worse["delta"] == pytest.approx(2 / 3)
    assert (worse["low"], worse["high"]) == (pytest.approx(2 / 3 - half), pytest.approx(2 / 3 + half))
    assert half == pytest.approx(0.53188, abs=1e-5)
    # The interval excludes zero; p is 0.0373, twice that after Holm.
    student, normal = special.stdtrit(1, worse["p"] / 2), special.ndtri(worse["p"] / 2)
    assert student**2 * of_seeds + normal**2 * of_images == pytest.approx(4 / 9, rel=1e-4)
    assert worse["p_holm"] == pytest.approx(2 * worse["p"]) and worse["finding"] == HINT
    assert worse["p"] == pytest.approx(0.0373, abs=5e-5)


def test_every_view_and_metric_has_its_own_delta(deltas):
    assert deltas.loc[("off", "test", "ten", "top5"), "delta"] == pytest.approx(1 / 12)
    # centre: 1 1 1 0 0 0 and 1 1 0 -1 0 1
    assert deltas.loc[("off", "test", "centre", "top1"), "delta"] == pytest.approx((3 / 6 + 2 / 6) / 2)


def test_what_averaging_over_views_gains_is_a_difference_within_the_runs_of_an_arm(tmp_path):
    """Centre less ten views, off: 001000 and 010000; base: as many wrong, image for image."""
    table = found_of(tmp_path).of_views
    assert [tuple(row) for row in table[["metric", "arm_id"]].to_numpy()] == [(m, a) for m in METRICS for a in ARMS]
    gained = table.set_index(["arm_id", "metric"])
    off, base = gained.loc[("off", "top1")], gained.loc[("base", "top1")]
    assert (off["views"], off["seeds"], off["paired_seeds"]) == ("10", 2, 2)
    assert off["centre"] == pytest.approx((5 / 6 + 4 / 6) / 2)
    assert off["averaged"] == pytest.approx((4 / 6 + 3 / 6) / 2)
    assert off["delta"] == pytest.approx(1 / 6) and off["low"] < 0 and off["finding"] == UNCLEAR
    assert base["delta"] == 0 and base["finding"] == UNCLEAR
    worst = doubt(np.array([[0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]], float))
    assert (off["low"], off["high"], off["p"]) == (worst.interval.low, worst.interval.high, worst.p)


def test_one_view_gains_nothing_over_itself(tmp_path):
    made = {(arm, 0): wrong("0001", result={"views": 1}) for arm in ("base", "off")}
    found = found_of(tmp_path, made)
    assert found.of_views.empty and "views" not in found.tables()


def test_one_pair_of_runs_has_a_direction_only_if_the_exact_test_has_it(tmp_path):
    """Five images broken and none fixed are told from zero by the interval, but not by McNemar's test (p = 1/16)."""
    for place, (broken, word, p) in enumerate(((5, UNCLEAR, 2 / 32), (6, WORSE_ONCE, 2 / 64))):
        made = {("base", 0): wrong("0" * 1000), ("off", 0): wrong("1" * broken + "0" * (1000 - broken))}
        off = rows(found_of(tmp_path / str(place), made).deltas, "arm_id", "view", "metric").loc[("off", "ten", "top1")]
        assert off["low"] > 0 and off["p"] == off["mcnemar_p"] == pytest.approx(p) and off["finding"] == word


def test_no_interval_is_wider_than_all_images_and_drawing_the_same_says_nothing(tmp_path):
    made = {("base", 0): wrong("0000"), ("off", 0): wrong("1111")}
    off = rows(found_of(tmp_path, made).deltas, "arm_id", "view", "metric").loc[("off", "ten", "top1")]
    assert (off["delta"], off["high"]) == (1.0, 1.0) and off["low"] < 1 and math.isnan(off["bootstrap_low"])


def test_where_few_images_change_the_interval_is_called_conservative(tmp_path):
    for place, (one, other, sure) in enumerate(((2, 25, True), (20, 90, False))):
        made = {("base", seed): wrong("0" * 1000) for seed in (0, 1)}
        made |= {("off", seed): wrong("1" * n + "0" * (1000 - n)) for seed, n in enumerate((one, other))}
        off = rows(found_of(tmp_path / str(place), made).deltas, "arm_id", "view", "metric").loc[("off", "ten", "top1")]
        assert bool(off["conservative"]) == sure


def test_a_run_whose_predictions_contradict_its_result_is_unreadable_and_counts_nowhere(tmp_path):
    broken = {("off", 0): wrong("0001", result={"errors.test.ten.top1": 2}), ("base", 0): wrong("0000")}
    twice = {("off", 0): wrong("0001", images=["a", "b", "c", "a"]), ("base", 0): wrong("0000")}
    for place, (made, why) in enumerate(
        ((broken, "1 top1 errors (test, ten); result.json has 2"), (twice, "has an image of split test twice"))
    ):
        found = found_of(tmp_path / str(place), made)
        (off,) = [record for record in found.evidence.records if record.arm_id == "off"]
        assert off.state == "unreadable" and off.failure.endswith(why)
        assert set(found.deltas[found.deltas["arm_id"] == "off"]["seeds"]) == {0}
        assert set(found.results[found.results["arm_id"] == "off"]["state"]) == {"unreadable"}


def test_predictions_that_cannot_be_read_cost_their_run_alone(tmp_path):
    made = {(arm, seed): wrong("0001") for arm in ("base", "off") for seed in (0, 1)}
    study = make_study(tmp_path, made)
    path = tmp_path / f"{3:012x}" / "predictions.parquet"
    content = bytearray(path.read_bytes())
    content[4:40] = bytes(36)  # the footer is whole
    path.write_bytes(content)
    found = find(study, tmp_path)
    assert [record.state for record in found.evidence.records] == ["done", "done", "done", "unreadable"]
    assert set(found.deltas[found.deltas["arm_id"] == "off"]["paired_seeds"]) == {1}


def several(arms: int, finished: int) -> dict[tuple[str, int], Run | None]:
    """An arm that is worse by half of 400 images, give or take a few, and others that are not, or not done yet."""
    made: dict[tuple[str, int], Run | None] = {}
    for number, arm in enumerate(("base", *(f"arm{n}" for n in range(arms)))):
        for seed in range(2):
            bad = (200 + 8 * seed if arm == "arm0" else 0) + (number + seed) % 3
            made[arm, seed] = wrong("1" * bad + "0" * (400 - bad)) if number <= finished else None
    return made


@pytest.mark.parametrize("metric", ["top1", "top5"])
def test_arms_that_are_not_done_yet_count(tmp_path, metric):
    """Else the first arms of a study would be surer alone than they are in the end."""
    arms = {"base": {"model/lrn": "on"}} | {f"arm{n}": {"model/lrn": f"v{n}"} for n in range(6)}
    tables = {}
    for finished in (1, 3, 6):
        found = found_of(tmp_path / str(finished), several(6, finished), arms=arms, classes=12)
        table = rows(found.deltas, "arm_id", "view", "metric")
        tables[finished] = table.loc[("arm0", "ten", "top1")]
        views = rows(found.of_views, "arm_id", "metric")
        assert views.loc[("arm0", metric), "p_holm"] == min(1.0, 7 * views.loc[("arm0", metric), "p"])
    assert tables[1]["p"] == tables[6]["p"] < 0.05 < 6 * tables[1]["p"]
    assert tables[1]["p_holm"] == tables[3]["p_holm"] == tables[6]["p_holm"] == pytest.approx(6 * tables[6]["p"])
    assert tables[1]["finding"] == HINT


def test_holm_counts_the_arms_of_one_view_and_metric_alone(deltas):
    for _, family in deltas.groupby(["split", "view", "metric"]):
        (small, large), adjusted = sorted(family["p"].dropna()), sorted(family["p_holm"].dropna())
        assert adjusted == pytest.approx([min(1, 2 * small), min(1, max(2 * small, large))])


def test_pairing_goes_by_the_image_whatever_the_order_of_the_rows(tmp_path):
    tables = [found_of(tmp_path / str(shuffle), shuffle=shuffle).deltas for shuffle in (0, 100, 200)]
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other)


def test_one_image_changed_in_one_run_moves_its_arm_by_a_share(tmp_path):
    before = rows(found_of(tmp_path / "a").deltas, "arm_id", "view", "metric")
    made = STUDY | {("off", 1): wrong("110011", centre=STUDY["off", 1].centre)}
    after = rows(found_of(tmp_path / "b", made).deltas, "arm_id", "view", "metric")
    moved = (after["delta"] - before["delta"]).dropna()
    assert moved[("off", "ten", "top1")] == pytest.approx(1 / 12)
    assert moved.drop(("off", "ten", "top1")).abs().max() == 0


def test_other_images_are_not_compared_and_the_note_says_so(tmp_path):
    made = STUDY | {("off", 1): wrong("100011", images=[f"photo{place}" for place in range(6)])}
    off = rows(found_of(tmp_path, made).deltas, "arm_id", "view", "metric").loc[("off", "ten", "top1")]
    assert (off["note"], off["finding"], off["paired_seeds"]) == ("other images", "", 0)
    assert off["error"] == pytest.approx(7 / 12) and math.isnan(off["delta"]) and math.isnan(off["low"])


def test_images_one_more_or_one_other_are_other_images(tmp_path):
    renamed = [*(f"test{place}" for place in range(5)), "test7"]
    for place, run in enumerate((wrong("1000110"), wrong("100011", images=renamed))):
        arms = {"base": {"data": "one"}, "off": {"data": "other"}}
        found = found_of(tmp_path / str(place), {("base", 0): wrong("000011"), ("off", 0): run}, arms=arms)
        assert set(found.deltas[found.deltas["arm_id"] == "off"]["note"]) == {"other images"}


def test_a_seed_of_one_arm_alone_is_not_paired(tmp_path):
    made = STUDY | {("off", 7): wrong("111111"), ("base", 1): None}
    off = rows(found_of(tmp_path, made).deltas, "arm_id", "view", "metric").loc[("off", "ten", "top1")]
    assert (off["seeds"], off["paired_seeds"]) == (3, 1)
    assert off["delta"] == pytest.approx(2 / 6) and off["error"] == pytest.approx((4 + 3 + 6) / 18)


def test_arms_without_a_seed_in_common_are_not_compared_and_the_note_says_so(tmp_path):
    made = {("base", 0): wrong("000011"), ("base", 1): None, ("off", 0): None, ("off", 1): wrong("100011")}
    found = found_of(tmp_path, made)
    off = rows(found.deltas, "arm_id", "view", "metric").loc[("off", "ten", "top1")]
    assert off["note"] == "no seed that both have finished" and math.isnan(off["delta"]) and off["finding"] == ""


def test_an_arm_that_has_not_finished_a_run_has_an_empty_row(tmp_path):
    off = found_of(tmp_path, {("base", 0): wrong("000011"), ("off", 0): None}).deltas.iloc[1]
    assert (off["seeds"], off["images"], off["paired_seeds"]) == (0, 0, 0) and math.isnan(off["error"])


def test_nothing_finished_gives_no_table(tmp_path):
    found = found_of(tmp_path, {("base", 0): None, ("off", 0): None})
    assert found.deltas.empty and found.by_seed.empty and list(found.tables()) == ["results"]


def test_one_seed_covers_images_only_and_has_mcnemars_test(tmp_path):
    made = {("base", 0): wrong("0000011111"), ("off", 0): wrong("1111101111")}
    off = rows(found_of(tmp_path, made).deltas, "arm_id", "view", "metric").loc[("off", "ten", "top1")]
    assert off["covers"] == IMAGES and (off["broken"], off["fixed"]) == (5, 1)
    assert off["mcnemar_p"] == pytest.approx(2 * 7 / 64)  # (1 + 6) / 2⁶ on each side
    # sum 4, squares 6, twelve with two pseudo-images
    half = Z * math.sqrt((7 / 12 - 1 / 9) / 12)
    assert (off["low"], off["high"]) == (pytest.approx(1 / 3 - half), pytest.approx(1 / 3 + half))
    assert math.isnan(off["seeds_low"]) and math.isnan(off["seed_spread"])


def test_two_seeds_have_no_mcnemar_test(deltas):
    assert deltas[["broken", "fixed", "mcnemar_p"]].isna().all(axis=None)


def test_there_is_no_top5_with_five_classes(tmp_path):
    assert set(found_of(tmp_path, classes=5).deltas["metric"]) == {"top1"}


def test_a_split_that_one_arm_has_not_leaves_that_row_empty(tmp_path):
    """As where an arm trains on the held-out part as well: a factor of the study."""
    arms = {"base": {"data.heldout_fraction": "0.1"}, "off": {"data.heldout_fraction": "0"}}
    made = {("base", 0): wrong("000011", heldout=[1, 2, 1]), ("off", 0): wrong("100011")}
    table = rows(found_of(tmp_path, made, arms=arms).deltas, "arm_id", "split", "view", "metric")
    off = table.loc[("off", "heldout", "ten", "top1")]
    assert off["images"] == 0 and off["note"] == "other images" and math.isnan(off["delta"])
    assert table.loc[("base", "heldout", "ten", "top1"), "images"] == 3
    assert table.loc[("off", "test", "ten", "top1"), "delta"] == pytest.approx(1 / 6)


def test_the_words_for_a_finding():
    assert finding(0.01, 0.02, 0.01) == HURTS
    assert finding(-0.02, -0.01, 0.01) == HELPS
    assert finding(-0.01, 0.02, 0.01) == finding(0.0, 0.02, 0.01) == finding(-0.02, 0.0, 0.01) == UNCLEAR
    assert finding(0.01, 0.02, 0.05) == finding(-0.02, -0.01, 0.2) == HINT
    assert finding(math.nan, math.nan, math.nan) == ""


# --- one figure a run


SEEDS = {
    ("base", 0): wrong("0000000001", train_error=0.04, steps=100),  # gap 0.1 - 0.04
    ("base", 1): wrong("0000000011", train_error=0.06, steps=200),  # 0.2 - 0.06
    ("off", 0): wrong("0000000111", train_error=0.10, steps=400),  # 0.3 - 0.10
    ("off", 1): wrong("0000011111", train_error=0.14, steps=1800),  # 0.5 - 0.14
}


def test_training_error_and_gap_are_those_worked_out_by_hand(tmp_path):
    table = rows(found_of(tmp_path, SEEDS).by_seed, "arm_id", "measure")
    off = table.loc[("off", "train_error")]
    # differences 0.06 and 0.08: mean 0.07, standard error 0.01
    assert (off["value"], off["delta"]) == (pytest.approx(0.12), pytest.approx(0.07))
    assert (off["low"], off["high"]) == (pytest.approx(0.07 - T1 * 0.01), pytest.approx(0.07 + T1 * 0.01))
    # p of t = 7 with one degree of freedom: 1 - 2/pi · arctan 7
    assert off["p"] == pytest.approx(1 - 2 / math.pi * math.atan(7)) and off["finding"] == UNCLEAR
    gap = table.loc[("off", "gap")]
    # 0.20 - 0.06 and 0.36 - 0.14: 0.14 and 0.22, mean 0.18, standard error 0.04
    assert gap["delta"] == pytest.approx(0.18) and gap["value"] == pytest.approx(0.28)
    assert gap["high"] == pytest.approx(0.18 + T1 * 0.04)
    assert math.isnan(table.loc[("base", "gap"), "delta"]) and table.loc[("base", "gap"), "value"] == pytest.approx(0.1)


def test_steps_are_a_geometric_mean_of_ratios(tmp_path):
    steps = rows(found_of(tmp_path, SEEDS).by_seed, "arm_id", "measure").loc[("off", "steps")]
    # four and nine times: six times in the geometric mean, a relative change of 5; logs differ by log(9/4)
    assert steps["delta"] == pytest.approx(5.0) and steps["value"] == pytest.approx(1100)
    half = T1 * math.log(9 / 4) / 2
    assert (steps["low"], steps["high"]) == (
        pytest.approx(6 * math.exp(-half) - 1),
        pytest.approx(6 * math.exp(half) - 1),
    )


def test_the_gap_is_that_of_the_centre_view(tmp_path):
    made = {key: wrong("0000000000", centre=run.ten, train_error=run.train_error) for key, run in SEEDS.items()}
    gap = rows(found_of(tmp_path, made).by_seed, "arm_id", "measure").loc[("off", "gap")]
    assert gap["delta"] == pytest.approx(0.18)


def test_measures_that_no_run_has_are_empty_rows(tmp_path):
    table = found_of(tmp_path).by_seed
    assert len(table) == 9 and table[["value", "delta", "low", "p_holm"]].isna().all(axis=None)


def test_one_seed_has_a_difference_without_an_interval(tmp_path):
    made = SEEDS | {("off", 1): None}
    off = rows(found_of(tmp_path, made).by_seed, "arm_id", "measure").loc[("off", "train_error")]
    assert off["delta"] == pytest.approx(0.06) and math.isnan(off["low"]) and off["note"] == "one seed: no interval"
    assert off["paired_seeds"] == 1 and off["finding"] == ""


def test_where_a_run_never_reached_the_threshold_there_is_no_ratio(tmp_path):
    made = SEEDS | {("off", 1): wrong("0000011111", train_error=0.14)}
    steps = rows(found_of(tmp_path, made).by_seed, "arm_id", "measure").loc[("off", "steps")]
    # Leaving the slowest runs out would flatter the arm.
    assert (steps["seeds"], steps["paired_seeds"]) == (1, 0) and math.isnan(steps["delta"])
    assert steps["note"] == "1 of 2 reached the threshold"


def test_where_the_baseline_never_reached_it_the_note_names_the_baseline(tmp_path):
    slow = {("base", 1): wrong("0000000011", train_error=0.06)}
    table = rows(found_of(tmp_path / "a", SEEDS | slow).by_seed, "arm_id", "measure")
    steps = table.loc[("off", "steps")]
    assert steps["note"] == "baseline: 1 of 2 reached the threshold" and math.isnan(steps["delta"])
    assert table.loc[("base", "steps"), "note"] == "1 of 2 reached the threshold"
    both = SEEDS | slow | {("off", 0): wrong("0000000111", train_error=0.1)}  # no seed that has both
    table = rows(found_of(tmp_path / "b", both).by_seed, "arm_id", "measure")
    assert table.loc[("off", "steps"), "note"] == "1 of 2 reached the threshold; baseline: 1 of 2"


def test_an_interval_of_one_figure_a_run_covers_seeds_only(tmp_path):
    table = rows(found_of(tmp_path / "a", SEEDS).by_seed, "arm_id", "measure")
    assert set(table.loc["off", "covers"]) == {"seeds only"} and set(table.loc["base", "covers"]) == {""}
    one = rows(found_of(tmp_path / "b", SEEDS | {("off", 1): None}).by_seed, "arm_id", "measure")
    assert set(one.loc["off", "covers"]) == {""}  # one seed: no interval


def test_seeds_that_agree_exactly_make_nobody_sure(tmp_path):
    made = SEEDS | {("off", 1): wrong("0000011111", train_error=0.12)}  # 0.06 more, as in seed 0
    off = rows(found_of(tmp_path, made).by_seed, "arm_id", "measure").loc[("off", "train_error")]
    assert off["delta"] == pytest.approx(0.06) and math.isnan(off["low"]) and math.isnan(off["p"])
    assert off["note"] == "the seeds agree exactly: no interval" and off["finding"] == ""


def test_three_seeds_that_agree_closely_are_sure(tmp_path):
    train = {("base", seed): 0.1 + 0.01 * seed for seed in range(3)}
    train |= {("off", seed): 0.2 + 0.01 * seed + 0.001 * (seed - 1) for seed in range(3)}
    found = found_of(tmp_path, {key: wrong("000001", train_error=error) for key, error in train.items()})
    off = rows(found.by_seed, "arm_id", "measure").loc[("off", "train_error")]
    # differences 0.099, 0.100, 0.101: standard error 0.001 / sqrt(3)
    assert off["low"] == pytest.approx(0.1 - T2 * 0.001 / math.sqrt(3)) and off["finding"] == HURTS


def test_runs_kept_out_are_not_paired(tmp_path):
    made = SEEDS | {("off", 1): wrong("0000011111", train_error=0.14, steps=1800, result={"epochs": 5})}
    found = found_of(tmp_path, made)
    assert set(found.by_seed[found.by_seed["arm_id"] == "off"]["paired_seeds"]) == {1}
    assert found.deltas[found.deltas["arm_id"] == "off"]["paired_seeds"].tolist() == [1] * 4


def test_a_baselines_run_kept_out_is_not_paired_either(tmp_path):
    made = SEEDS | {("base", 1): wrong("0000000011", train_error=0.06, steps=200, result={"epochs": 5})}
    table = rows(found_of(tmp_path, made).by_seed, "arm_id", "measure")
    assert table.loc[("off", "train_error"), "delta"] == pytest.approx(0.06)
    assert table.loc[("off", "steps"), "delta"] == pytest.approx(3.0)


# --- what must not matter


patterns = st.lists(st.text("016", min_size=5, max_size=5), min_size=6, max_size=6)


@settings(max_examples=15)
@given(patterns, st.permutations(range(5)), st.permutations(range(6)))
def test_the_order_of_images_and_of_arms_changes_no_number(marks, images, order):
    keys = [(arm, seed) for arm in ARMS for seed in (0, 1)]
    one = dict(zip(keys, marks, strict=True))
    other = {keys[place]: one[keys[place]] for place in order}
    names = [f"test{place}" for place in range(5)]
    turned = ARMS if list(order) == sorted(order) else {arm: ARMS[arm] for arm in ("base", "worse", "off")}
    with TemporaryDirectory() as folder:
        first = found_of(Path(folder) / "a", {key: wrong(mark) for key, mark in one.items()}).deltas
        moved = {
            key: wrong("".join(mark[place] for place in images), images=[names[place] for place in images])
            for key, mark in other.items()
        }
        second = found_of(Path(folder) / "b", moved, arms=turned, shuffle=9).deltas
    index = ["arm_id", "split", "view", "metric"]
    left, right = first.set_index(index).sort_index(), second.set_index(index).sort_index()
    pd.testing.assert_frame_equal(left, right)


@settings(max_examples=15)
@given(patterns)
def test_another_baseline_turns_the_signs(marks):
    keys = [(arm, seed) for arm in LRN for seed in (0, 1, 2)]
    made = {key: wrong(mark) for key, mark in zip(keys, marks, strict=True)}
    with TemporaryDirectory() as folder:
        there = found_of(Path(folder) / "a", made).deltas.set_index(["arm_id", "view", "metric"])
        back = found_of(Path(folder) / "b", made, baseline="off").deltas.set_index(["arm_id", "view", "metric"])
    for view, metric in (("ten", "top1"), ("centre", "top5")):
        one, other = there.loc[("off", view, metric)], back.loc[("base", view, metric)]
        assert one["delta"] == pytest.approx(-other["delta"]) and one["low"] == pytest.approx(-other["high"])
        assert one["p"] == pytest.approx(other["p"], rel=1e-4)
