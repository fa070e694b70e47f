"""A grid, or a study file, becomes planned runs: stable order, no duplicates, the right baseline."""

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alexnet_sweep.config import Config
from alexnet_sweep.designs import Factor, Level
from alexnet_sweep.errors import SweepError
from alexnet_sweep.study import (
    SeededCompose,
    Study,
    file_study_name,
    plan_grid,
    plan_study,
    plan_tuning,
    study_name,
)
from alexnet_sweep.study_file import StudyFile, Tuning
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


# --- a study file ---


class Pretended:
    """Composes by setting keys in a config, and remembers what it was asked for."""

    def __init__(self, config: Config) -> None:
        self.config, self.asked = config, []  # type: tuple[Config, list[tuple[str, ...]]]

    def __call__(self, overrides: Sequence[str]) -> Config:
        self.asked.append(tuple(overrides))
        config = self.config
        for override in overrides:
            key, _, value = override.partition("=")
            config = _with(config, key.split("."), yaml.safe_load(value))
        return config


def _with(node: Any, keys: list[str], value: Any) -> Any:
    if len(keys) > 1:
        value = _with(getattr(node, keys[0]), keys[1:], value)
    return dataclasses.replace(node, **{keys[0]: value})


@pytest.fixture
def pretended(composed: Compose) -> Pretended:
    return Pretended(composed())


def factor(key: str, *levels: object) -> Factor:
    return Factor(key, tuple(Level(str(level), (f"{key}={level}",)) for level in levels))


RATE, WIDTH = factor("optim.learning_rate", 0.1, 0.2), factor("model.width", 1.0, 0.5, 0.25)


def asked(*factors: Factor, seeds: Sequence[int] = (0, 1), design: str = "one_factor_at_a_time", **more: Any) -> Any:
    values = {"order": "build_up", "common": (), "tuning": None, "claims": {}} | more
    path = Path("folder/ask.yaml")
    return StudyFile(
        path=path, question="Why?", design=design, factors=factors or (RATE,), seeds=tuple(seeds), **values
    )


def planned(file: StudyFile, compose: Any, extra: Sequence[str] = (), **more: Any) -> Study:
    return plan_study(file, extra, compose=compose, fingerprint=lambda config: MARK, **more)


def test_an_arm_that_could_not_be_tuned_is_not_compared(pretended: Pretended) -> None:
    file = asked(RATE, WIDTH)
    labels = [arm.label for arm in planned(file, pretended).arms]
    chosen = {label: "optim.momentum=0.5" for label in labels if label != "model.width=0.5"}
    study = planned(file, pretended, chosen=chosen)
    assert [arm.label for arm in study.arms] == [label for label in labels if label in chosen]
    assert all(run.config.optim.momentum == 0.5 for run in study.runs)


def never(overrides: Sequence[str]) -> Config:
    raise AssertionError("composed")


def test_the_baseline_comes_first_and_once_for_each_seed(pretended: Pretended) -> None:
    study = planned(asked(RATE, WIDTH, seeds=(4, 2), design="factorial"), pretended)
    assert study.arms[0].label == "baseline" and study.arms[0].arm_id == study.baseline
    first = [run for run in study.runs if run.arm_id == study.baseline]
    assert study.runs[:2] == tuple(first) and [run.seed for run in first] == [4, 2]


def test_a_cumulative_study_has_its_baseline_first_though_it_is_built_up_to_it(pretended: Pretended) -> None:
    study = planned(asked(RATE, factor("model.width", 1.0, 0.5), design="cumulative"), pretended)
    labels = [arm.label for arm in study.arms]
    assert labels == ["baseline", "optim.learning_rate=0.2, model.width=0.5", "model.width=0.5"]


@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_factorial_has_each_combination_once_for_each_seed(
    pretended: Pretended, rates: int, widths: int, seeds: list[int]
) -> None:
    factors = factor("optim.learning_rate", *range(rates)), factor("model.width", *range(5, 6 + widths))
    study = planned(asked(*factors, seeds=seeds, design="factorial"), pretended)
    assert len(study.arms) == rates * (widths + 1)
    assert len({run.run_id for run in study.runs}) == len(study.runs) == len(study.arms) * len(seeds)
    assert [run.seed for run in study.runs] == seeds * len(study.arms)


def test_every_run_has_its_seed_among_its_overrides(pretended: Pretended) -> None:
    study = planned(asked(), pretended)
    assert [run.overrides for run in study.runs] == [
        (f"optim.learning_rate={rate}", f"seed={seed}") for rate in ("0.1", "0.2") for seed in (0, 1)
    ]


def test_levels_that_come_to_the_same_collapse_into_the_first(pretended: Pretended) -> None:
    study = planned(asked(factor("optim.learning_rate", "0.1", "0.10", "0.2", "0.20", "2.0e-1")), pretended)
    assert [arm.label for arm in study.arms] == ["baseline", "optim.learning_rate=0.2"]
    assert len(study.runs) == 4


def test_a_study_whose_arms_are_all_the_same_is_refused(pretended: Pretended) -> None:
    file = asked(factor("optim.learning_rate", "0.1", "0.10", "1.0e-1"))
    with pytest.raises(SweepError, match=r"^folder/ask\.yaml: factors: all 3 arms come to the same run; name levels"):
        planned(file, pretended)


def test_a_study_of_too_many_runs_is_refused_before_anything_is_composed() -> None:
    with pytest.raises(SweepError) as caught:
        planned(asked(RATE, WIDTH, seeds=range(5)), never, max_runs=19)
    assert str(caught.value) == (
        "folder/ask.yaml: has 20 runs; allowed: 19 (sweep.max_runs). Take fewer levels or seeds, or raise it: "
        "sweep.max_runs=20"
    )


def test_a_study_of_as_many_runs_as_are_allowed_is_planned(pretended: Pretended) -> None:
    assert len(planned(asked(RATE, WIDTH, seeds=range(5)), pretended, max_runs=20).runs) == 20


@pytest.mark.parametrize("seeds", [1, 7])
def test_each_arm_is_composed_once_however_many_seeds_it_has(pretended: Pretended, seeds: int) -> None:
    study = planned(asked(RATE, WIDTH, seeds=range(seeds)), SeededCompose(pretended))
    assert len(study.runs) == 4 * seeds
    seeded = [overrides for overrides in pretended.asked if any("seed" in override for override in overrides)]
    assert len(seeded) == 1  # whether a seed changes more than itself is looked at once
    assert len(pretended.asked) == len(set(pretended.asked)) == 4 + 1


def test_an_arm_that_is_composed_once_has_the_runs_of_one_that_is_composed_for_each_seed(pretended: Pretended) -> None:
    file = asked(RATE, WIDTH, seeds=(0, 3, 10_000))
    assert planned(file, SeededCompose(pretended)) == planned(file, pretended)


@pytest.mark.parametrize(
    "overrides",
    [
        ("seed=1", "eval.clean_train_images=${seed}"),
        ("seed=${eval.batch_size}",),
        ("seed=-1",),
        ("seed=01",),
        ("seed=1000000000000",),
        ("seed=one",),
        ("seed=1", "seed=2"),
        ("model.width=1",),
    ],
    ids=" ".join,
)
def test_what_is_more_than_a_seed_is_composed_each_time_as_it_was_asked_for(overrides: tuple[str, ...]) -> None:
    asked_for = []
    compose = SeededCompose(lambda words: asked_for.append(words))  # type: ignore[func-returns-value, arg-type]
    compose(overrides)
    compose(overrides)
    assert asked_for == [overrides, overrides]


def test_an_option_of_ones_own_that_looks_at_the_seed_is_composed_for_each_seed(
    composed: Compose, tmp_path: Path
) -> None:
    own = tmp_path / "conf/experiment/mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# @package _global_\ndefaults: [digits, _self_]\neval: {clean_train_images: '${seed}'}\n")
    compose = SeededCompose(lambda words: composed(f"hydra.searchpath=[file://{tmp_path / 'conf'}]", *words))
    assert [compose(("experiment=mine", f"seed={seed}")).eval.clean_train_images for seed in (3, 4)] == [3, 4]


def test_the_plan_says_what_the_file_says(pretended: Pretended) -> None:
    claims = {"optim.learning_rate=0.2": ["P03"]}
    plan = planned(asked(claims=claims), pretended, extra=["model.width=0.5"]).as_plan()
    assert json.loads(json.dumps(plan)) == plan
    assert (plan["question"], plan["file"], plan["claims"]) == ("Why?", "folder/ask.yaml", claims)
    assert (plan["design"], plan["order"]) == ("one_factor_at_a_time", "build_up")
    assert (plan["keys"], plan["extra"]) == (["optim.learning_rate"], ["model.width=0.5"])
    assert [arm["levels"] for arm in plan["arms"]] == [{"optim.learning_rate": rate} for rate in ("0.1", "0.2")]
    assert [run["seed"] for run in plan["runs"]] == [0, 1, 0, 1]


# --- a tuned key ---

TUNING = Tuning("optim.learning_rate", ("optim.learning_rate=0.1", "optim.learning_rate=0.2"), (7, 8))


def tried(file: StudyFile, compose: Any, **more: Any) -> Study:
    return plan_tuning(file, (), compose=compose, fingerprint=lambda config: MARK, **more)


def test_tuning_tries_every_arm_at_each_level_with_each_of_its_own_seeds(pretended: Pretended) -> None:
    study = tried(asked(WIDTH, tuning=TUNING, common=("optim.learning_rate=9",)), pretended)
    assert [(run.config.model.width, run.config.optim.learning_rate, run.seed) for run in study.runs] == [
        *itertools.product((1.0, 0.5, 0.25), (0.1, 0.2), (7, 8))
    ]
    assert [study.facts["tuned"][arm.arm_id] for arm in study.arms] == [
        *itertools.product(("baseline", "model.width=0.5", "model.width=0.25"), TUNING.levels)
    ]


def test_tuning_of_too_many_runs_is_refused_before_anything_is_composed() -> None:
    with pytest.raises(SweepError, match=r"^folder/ask\.yaml: tune: has 12 runs; allowed: 11 "):
        tried(asked(WIDTH, tuning=TUNING), never, max_runs=11)


def test_each_arm_is_trained_at_its_chosen_level_and_the_plan_says_which(pretended: Pretended) -> None:
    chosen = {"baseline": "optim.learning_rate=0.2", "model.width=0.5": "optim.learning_rate=0.1"}
    file = asked(WIDTH, tuning=TUNING, common=("optim.learning_rate=9",), seeds=(0,))
    study = planned(file, pretended, chosen=chosen)
    assert [run.config.optim.learning_rate for run in study.runs] == [0.2, 0.1]  # and not the untuned arm at 9
    assert study.as_plan()["tuning"] == {
        "key": "optim.learning_rate",
        "levels": ["0.1", "0.2"],
        "seeds": [7, 8],
        "chosen": {"baseline": "0.2", "model.width=0.5": "0.1"},
    }


# --- the name of a study ---


@pytest.mark.parametrize(
    "extra",
    [[], ["data.path=x"], ["paths.runs=x"], ["sweep.retries=3"], ["checkpoint.keep=none"], ["trainer.progress=false"]],
    ids=str,
)
def test_a_study_is_named_after_its_file_where_no_override_changes_its_runs(extra: list[str]) -> None:
    assert file_study_name(asked(), extra) == "ask"


def test_overrides_that_change_runs_make_a_study_of_another_name_whatever_their_order() -> None:
    changing = ["model.width=0.5", "trainer.epochs=3"]
    name = file_study_name(asked(), [*changing, "paths.runs=x"])
    stem, _, digits = name.rpartition("-")
    assert stem == "ask" and len(digits) == 8 and int(digits, 16) >= 0
    assert name == file_study_name(asked(), changing[::-1])
    assert name != file_study_name(asked(), changing[:1])


@given(st.text(min_size=1).filter(lambda name: "/" not in name and "\0" not in name))
@settings(max_examples=50)
def test_the_name_of_a_study_never_leaves_its_folder(name: str) -> None:
    file = dataclasses.replace(asked(), path=Path("folder") / f"{name}.yaml")
    found = file_study_name(file, [])
    assert found and "/" not in found and not found.startswith(".")
