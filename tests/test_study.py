"""A grid becomes planned runs: stable order, no duplicates, the right baseline."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_sweep.errors import SweepError
from alexnet_sweep.study import Study, plan_grid, study_name
from conftest import Compose

MARK = "0" * 16


def grid(composed: Compose, max_runs: int | None = None, **levels: list[str]) -> Study:
    """The study of a grid given as model__lrn=["on", "off"]."""
    keys = {key.replace("__", "/"): values for key, values in levels.items()}
    jobs = [
        [f"{key}={value}" for key, value in zip(keys, chosen, strict=True)]
        for chosen in itertools.product(*keys.values())
    ]
    swept = [key for key, values in keys.items() if len(values) > 1]
    return plan_grid(
        jobs, swept=swept, compose=lambda job: composed(*job), fingerprint=lambda config: MARK, max_runs=max_runs
    )


def test_runs_come_in_the_order_of_the_grid(composed: Compose) -> None:
    study = grid(composed, model__lrn=["on", "off"], seed=["0", "1"])
    assert [run.overrides for run in study.runs] == [
        ("model/lrn=on", "seed=0"),
        ("model/lrn=on", "seed=1"),
        ("model/lrn=off", "seed=0"),
        ("model/lrn=off", "seed=1"),
    ]
    assert [arm.label for arm in study.arms] == ["model/lrn=on", "model/lrn=off"]


def test_the_baseline_is_the_arm_of_the_composed_defaults_wherever_it_stands(composed: Compose) -> None:
    study = grid(composed, model__lrn=["off", "first_only", "on"])
    baseline = next(arm for arm in study.arms if arm.arm_id == study.baseline)
    assert baseline.label == "model/lrn=on"


def test_the_first_arm_is_the_baseline_where_none_has_the_defaults(composed: Compose) -> None:
    study = grid(composed, model__lrn=["first_only", "off"])
    assert study.arms[0].arm_id == study.baseline


def test_equivalent_spellings_collapse_into_the_first(composed: Compose) -> None:
    key = "optim.learning_rate"
    study = plan_grid(
        [[f"{key}=0.001"], [f"{key}=1e-3"], [f"{key}=0.01"], [f"{key}=0.010"]],
        swept=[key],
        compose=lambda job: composed(*job),
        fingerprint=lambda config: MARK,
    )
    assert [run.overrides for run in study.runs] == [(f"{key}=0.001",), (f"{key}=0.01",)]
    assert [arm.label for arm in study.arms] == [f"{key}=0.001", f"{key}=0.01"]


def test_too_many_runs_are_refused_before_anything_is_composed() -> None:
    def never(job: object) -> object:
        raise AssertionError("composed")

    with pytest.raises(SweepError, match=r"sweep\.max_runs=3"):
        plan_grid(
            [["seed=0"], ["seed=1"], ["seed=2"]],
            swept=["seed"],
            compose=never,  # type: ignore[arg-type]
            fingerprint=lambda config: MARK,
            max_runs=2,
        )


@given(st.lists(st.text("0123456789abcdef", min_size=12, max_size=12), min_size=1, unique=True), st.randoms())
@settings(max_examples=50)
def test_a_study_is_named_the_same_in_any_order_of_its_runs(runs: list[str], random: object) -> None:
    assert study_name(["model/lrn"], runs) == study_name(["model/lrn"], sorted(runs))
    assert study_name(["model/lrn"], runs).startswith("lrn-")


def test_a_study_is_named_after_its_factors_and_never_leaves_its_folder() -> None:
    assert study_name(["model/lrn", "model/pool", "seed"], ["a"]).startswith("lrn-pool-")
    assert study_name(["seed"], ["a"]).startswith("run-")
    assert "/" not in study_name(["../../etc", "a b"], ["a"])
