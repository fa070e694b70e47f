"""Curves, main effects and interactions worked out by hand."""

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_sweep import interactions
from alexnet_sweep.effects import UNCLEAR
from alexnet_sweep.findings import Findings, find
from alexnet_sweep.interactions import effect_table
from alexnet_sweep.study_file import read_study
from hand_made import Run, make_study, wrong

IMAGES = 20


def errors(*counts: int) -> list[Run]:
    """A run a seed with so many of twenty images wrong, the first ones."""
    return [wrong("1" * count + "0" * (IMAGES - count)) for count in counts]


def study(folder: Path, cells: dict[str, list[Run]], design: str, **more) -> Findings:
    """`cells` maps levels, as "a=1 b=0", to the runs of their seeds, the baseline first."""
    arms = {cell: dict(part.split("=") for part in cell.split()) for cell in cells}
    made = {(cell, seed): run for cell, runs in cells.items() for seed, run in enumerate(runs)}
    return find(make_study(folder, made, arms, design=design, **more), folder)


def told(table: pd.DataFrame) -> dict[tuple[str, str], float]:
    return {(row["first"], row["second"]): row["delta"] for _, row in table.iterrows()}


def weighted(found: Findings, **asked: tuple[str, str]) -> dict[str, float]:
    from alexnet_sweep.interactions import _weights

    plan = found.evidence.plan
    cells = {tuple(arm["levels"].values()): arm["arm_id"] for arm in plan["arms"] if found.runs.by_arm[arm["arm_id"]]}
    return _weights(cells, plan["keys"], asked)


TWO_BY_TWO = {
    "a=on b=on": errors(2, 2),
    "a=off b=on": errors(4, 4),  # a alone: +2
    "a=on b=off": errors(5, 6),  # b alone: +3, +4
    "a=off b=off": errors(12, 12),  # both: +10, where +5 and +6 would add up
}


def test_a_two_by_two_factorial_has_two_main_effects_and_one_interaction(tmp_path):
    found = study(tmp_path, TWO_BY_TWO, "factorial")
    assert list(found.effects["kind"]) == ["main", "main", "interaction"]
    assert told(found.effects) == {
        # a: with b on 2, with b off 7 and 6; b: with a on 3 and 4, with a off 8
        ("a=off", ""): pytest.approx((2 + 2 + 7 + 6) / 4 / IMAGES),
        ("b=off", ""): pytest.approx((3 + 4 + 8 + 8) / 4 / IMAGES),
        # both - a - b + neither: 12 - 4 - 5 + 2 and 12 - 4 - 6 + 2
        ("a=off", "b=off"): pytest.approx((5 + 4) / 2 / IMAGES),
    }
    assert set(found.effects["paired_seeds"]) == {2} and found.effects["mcnemar_p"].isna().all()


def test_the_weights_of_a_two_by_two_are_halves_and_ones(tmp_path):
    found = study(tmp_path, TWO_BY_TWO, "factorial")
    assert weighted(found, a=("off", "on")) == {
        **{"a=off b=on": 0.5, "a=on b=on": -0.5},
        **{"a=off b=off": 0.5, "a=on b=off": -0.5},
    }
    assert weighted(found, a=("off", "on"), b=("off", "on")) == {
        **{"a=off b=off": 1.0, "a=on b=on": 1.0},
        **{"a=off b=on": -1.0, "a=on b=off": -1.0},
    }


TWO_BY_THREE = {
    f"a={a} b={b}": errors(count, count)
    for (a, b), count in zip(itertools.product(("on", "off"), ("x", "y", "z")), (1, 2, 4, 3, 8, 16), strict=True)
}


def test_a_main_effect_is_averaged_over_all_levels_of_the_other_factor(tmp_path):
    found = study(tmp_path, TWO_BY_THREE, "factorial")
    assert told(found.effects) == {
        ("a=off", ""): pytest.approx((2 + 6 + 12) / 3 / IMAGES),  # 3 - 1, 8 - 2, 16 - 4
        ("b=y", ""): pytest.approx((1 + 5) / 2 / IMAGES),  # 2 - 1, 8 - 3
        ("b=z", ""): pytest.approx((3 + 13) / 2 / IMAGES),  # 4 - 1, 16 - 3
        ("a=off", "b=y"): pytest.approx((8 - 3 - 2 + 1) / IMAGES),
        ("a=off", "b=z"): pytest.approx((16 - 3 - 4 + 1) / IMAGES),
    }
    assert weighted(found, a=("off", "on"))["a=off b=y"] == pytest.approx(1 / 3)


def test_a_missing_arm_leaves_out_what_it_would_have_been_compared_with(tmp_path):
    cells = TWO_BY_THREE | {"a=off b=y": []}
    found = study(tmp_path, cells, "factorial")
    # What is averaged over an arm without a run is not told at all: at one level of b it would be another effect.
    assert set(told(found.effects[found.effects["delta"].isna()])) == {("a=off", ""), ("b=y", ""), ("a=off", "b=y")}
    assert told(found.effects.dropna(subset=["delta"])) == {
        ("b=z", ""): pytest.approx((3 + 13) / 2 / IMAGES),
        ("a=off", "b=z"): pytest.approx((16 - 3 - 4 + 1) / IMAGES),
    }


def test_a_missing_arm_at_the_baselines_level_leaves_out_its_comparisons_too(tmp_path):
    found = study(tmp_path, TWO_BY_THREE | {"a=on b=z": []}, "factorial")
    assert told(found.effects.dropna(subset=["delta"])) == {
        ("b=y", ""): pytest.approx((1 + 5) / 2 / IMAGES),
        ("a=off", "b=y"): pytest.approx((8 - 3 - 2 + 1) / IMAGES),
    }


def test_holm_counts_main_effects_and_interactions_apart(tmp_path):
    effects = study(tmp_path, TWO_BY_THREE, "factorial").effects
    for kind, family in effects.groupby("kind"):
        assert len(family) == {"main": 3, "interaction": 2}[kind]
        assert family["p_holm"].min() == pytest.approx(len(family) * family["p"].min())


def test_an_interaction_of_two_is_averaged_over_a_third_factor(tmp_path):
    counts = dict(zip(itertools.product("01", repeat=3), (0, 1, 2, 4, 3, 5, 8, 15), strict=True))
    cells = {" ".join(f"{k}={v}" for k, v in zip("abc", cell, strict=True)): errors(n) for cell, n in counts.items()}
    found = study(tmp_path, cells, "factorial")
    # a and b with c=0: 8 - 3 - 2 + 0; with c=1: 15 - 5 - 4 + 1
    assert told(found.effects)["a=1", "b=1"] == pytest.approx((3 + 7) / 2 / IMAGES)
    assert len(found.effects) == 6
    assert set(found.effects["covers"]) == {"images only"}


def test_pairs_have_interactions_but_no_main_effects(tmp_path):
    cells = {
        **{"a=0 b=0 c=0": errors(1, 1), "a=1 b=0 c=0": errors(2, 2), "a=0 b=1 c=0": errors(3, 3)},
        **{"a=0 b=0 c=1": errors(4, 4), "a=1 b=1 c=0": errors(9, 9), "a=1 b=0 c=1": errors(5, 5)},
        **{"a=0 b=1 c=1": errors(5, 5)},
    }
    found = study(tmp_path, cells, "pairs")
    assert set(found.effects["kind"]) == {"interaction"}
    assert told(found.effects) == {
        ("a=1", "b=1"): pytest.approx((9 - 2 - 3 + 1) / IMAGES),
        ("a=1", "c=1"): pytest.approx(0, abs=1e-12),
        ("b=1", "c=1"): pytest.approx((5 - 3 - 4 + 1) / IMAGES),
    }


def test_changes_of_one_factor_alone_have_no_interaction(tmp_path):
    cells = {"a=0 b=0": errors(1, 1), "a=1 b=0": errors(2, 2), "a=0 b=1": errors(2, 2)}
    assert study(tmp_path, cells, "one_factor_at_a_time").effects.empty


def test_a_grid_of_two_keys_has_main_effects_and_one_of_one_key_has_not(tmp_path):
    assert list(study(tmp_path / "a", TWO_BY_TWO, "grid").effects["kind"]) == ["main", "main", "interaction"]
    assert study(tmp_path / "b", {"a=0": errors(1, 1), "a=1": errors(2, 2)}, "grid").effects.empty


def test_effects_are_taken_from_the_baselines_levels_wherever_it_stands(tmp_path):
    found = study(tmp_path, TWO_BY_TWO, "factorial", baseline="a=off b=off")
    assert told(found.effects)["a=on", ""] == pytest.approx(-(2 + 2 + 7 + 6) / 4 / IMAGES)
    assert told(found.effects)["a=on", "b=on"] == pytest.approx((5 + 4) / 2 / IMAGES)


def test_effects_of_one_view_and_metric_can_be_asked_for(tmp_path):
    found = study(tmp_path, TWO_BY_TWO, "factorial")
    assert set(told(effect_table(found.runs, "test", "centre", "top5")).values()) == {0.0}


# --- cumulative

STEPS = {  # the baseline first, as plans have it: the full recipe; parts come in the order a, b, c
    "a=on b=on c=on": errors(5, 5),
    "a=off b=off c=off": errors(16, 16),
    "a=on b=off c=off": errors(10, 12),
    "a=on b=on c=off": errors(9, 9),
}
BACK = {"a=off b=on c=on": errors(8, 8), "a=off b=off c=on": errors(11, 11)}


def curve(table: pd.DataFrame) -> list[tuple]:
    return [
        (row["step"], row["change"], row["error"], None if pd.isna(row["delta"]) else row["delta"])
        for _, row in table.iterrows()
    ]


UP = [
    (0, "", pytest.approx(16 / IMAGES), None),
    (1, "a=on", pytest.approx(11 / IMAGES), pytest.approx(-5 / IMAGES)),
    (2, "b=on", pytest.approx(9 / IMAGES), pytest.approx(-2 / IMAGES)),
    (3, "c=on", pytest.approx(5 / IMAGES), pytest.approx(-4 / IMAGES)),
]
DOWN = [
    (0, "", pytest.approx(5 / IMAGES), None),
    (1, "a=off", pytest.approx(8 / IMAGES), pytest.approx(3 / IMAGES)),
    (2, "b=off", pytest.approx(11 / IMAGES), pytest.approx(3 / IMAGES)),
    (3, "c=off", pytest.approx(16 / IMAGES), pytest.approx(5 / IMAGES)),
]


def test_building_up_tells_each_step_from_the_one_before(tmp_path):
    found = study(tmp_path, STEPS, "cumulative", order="build_up")
    assert curve(found.steps) == UP and set(found.steps["way"]) == {"build_up"} and found.effects.empty
    # p-values of three steps are one family
    p = found.steps["p"].dropna()
    assert found.steps["p_holm"].min() == pytest.approx(3 * p.min())
    assert found.steps["finding"].iloc[0] == "" and UNCLEAR in set(found.steps["finding"])


def test_taking_away_goes_from_the_full_recipe(tmp_path):
    cells = {"a=on b=on c=on": errors(5, 5), **BACK, "a=off b=off c=off": errors(16, 16)}
    found = study(tmp_path, cells, "cumulative", order="take_away")
    assert curve(found.steps) == DOWN and set(found.steps["way"]) == {"take_away"}


def test_both_ways_share_their_ends(tmp_path):
    found = study(tmp_path, STEPS | BACK, "cumulative", order="both")
    ways = found.steps.groupby("way", sort=False)
    assert {str(way): curve(table) for way, table in ways} == {"build_up": UP, "take_away": DOWN}


def test_a_step_that_is_no_arm_of_its_own_is_passed_over(tmp_path):
    found = study(tmp_path, {cell: runs for cell, runs in STEPS.items() if cell != "a=on b=on c=off"}, "cumulative")
    assert curve(found.steps)[2:] == [(3, "b=on, c=on", pytest.approx(5 / IMAGES), pytest.approx(-6 / IMAGES))]


def test_a_first_step_that_is_no_arm_is_passed_over(tmp_path):
    cells = {cell: runs for cell, runs in STEPS.items() if cell != "a=off b=off c=off"}
    found = study(tmp_path, cells, "cumulative")
    assert [row[1:] for row in curve(found.steps)][1:] == [row[1:] for row in UP[1:]][1:]
    assert len(found.steps) == 3 and found.steps["error"].iloc[0] == UP[1][2]


@pytest.mark.parametrize("order", ["build_up", "take_away", "both"])
def test_the_ways_are_those_that_a_study_file_is_planned_with(tmp_path, order):
    """Every step of every way is an arm of the plan, whose baseline comes first whatever the order."""
    factors = {key: ["on", "off"] for key in ("aug/crop", "aug/flip", "model/lrn")}
    values = {"question": "?", "design": "cumulative", "order": order, "factors": factors, "seeds": 1}
    path = tmp_path / "ask.yaml"
    path.write_text(yaml.safe_dump(values))
    arms = [
        {"arm_id": str(place), "label": arm.label, "levels": dict(arm.levels)}
        for place, arm in enumerate(read_study(path).arms())
    ]
    plan = {"keys": list(factors), "order": order, "baseline": "0", "arms": arms}
    ways = interactions._ways(plan)
    assert list(ways) == (["build_up", "take_away"] if order == "both" else [order])
    levels = [arm["levels"] for arm in arms]
    assert all(cell in levels for cells in ways.values() for cell in cells)
    for way, cells in ways.items():
        assert set(cells[0].values()) == ({"off"} if way == "build_up" else {"on"})
        assert set(cells[-1].values()) == ({"on"} if way == "build_up" else {"off"})


def test_an_arm_without_a_finished_run_has_a_step_without_figures(tmp_path):
    found = study(tmp_path, STEPS | {"a=on b=on c=off": []}, "cumulative")
    assert found.steps["error"].isna().tolist() == [False, False, True, False]
    assert found.steps["delta"].isna().tolist() == [True, False, True, True]
    assert found.steps["note"].iloc[2] == "no finished run of a=on, b=on, c=off"


# --- what must not matter


@settings(max_examples=10)
@given(st.permutations(sorted(TWO_BY_THREE)), st.lists(st.integers(0, IMAGES), min_size=12, max_size=12))
def test_the_order_of_arms_changes_no_effect(order, counts):
    cells = {cell: errors(*counts[2 * place : 2 * place + 2]) for place, cell in enumerate(TWO_BY_THREE)}
    with TemporaryDirectory() as folder:
        one = study(Path(folder) / "a", cells, "factorial").effects
        turned = {cell: cells[cell] for cell in order}
        other = study(Path(folder) / "b", turned, "factorial", baseline="a=on b=x").effects

    def figures(table: pd.DataFrame) -> dict:
        # an interaction is the same whichever change is named first
        return {
            frozenset((row["first"], row["second"])): row[["delta", "low", "high", "p"]] for _, row in table.iterrows()
        }

    left, right = figures(one), figures(other)
    assert left.keys() == right.keys()
    for name, row in left.items():
        assert list(right[name]) == pytest.approx(list(row), rel=1e-4, abs=1e-9)
