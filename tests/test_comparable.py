"""What keeps a run out of the deltas, rule by rule, and in what words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from alexnet_sweep.aggregate import gather
from alexnet_sweep.comparable import RULES, by_design, kept_out, mixed_settings
from alexnet_sweep.findings import Findings, find
from hand_made import LRN, Run, make_study, wrong

BASE, OFF = "000011", "100011"


def studied(
    folder: Path, last: Mapping[str, Any], *, key: str = "model/lrn", allow: bool | None = None, **plan: Any
) -> Findings:
    """Two arms of `key`, two seeds; `last` changes the files of the last run of the second."""
    arms = {"base": {key: "one"}, "off": {key: "other"}}
    made = {(arm, seed): wrong(BASE if arm == "base" else OFF) for arm in arms for seed in (0, 1)}
    made["off", 1] = wrong(OFF, **last)
    return find(make_study(folder, made, arms, **plan), folder, allow)


def paired(found: Findings) -> set[int]:
    return set(found.deltas[found.deltas["arm_id"] == "off"]["paired_seeds"])


# Each rule alone: what the last run has, the words, and a factor that is this very thing (None: there is none).
CASES = [
    ({"result": {"data.fingerprint": "g"}}, "data: g instead of f", "data"),
    ({"result": {"data.test_images": 7}}, "test images: 7 instead of 6", "data.test_fraction"),
    ({"result": {"data.train_images": 36}}, "training images: 36 instead of 40", "data.train_images"),
    ({"result": {"data.train_images": 44}}, "training images: 44 instead of 40", "schedule"),
    ({"config": {"data.heldout_fraction": 0.2}}, "held-out part: 0.2 instead of 0.1", "data.heldout_fraction"),
    ({"result": {"epochs": 5}}, "epochs: 5 instead of 90", "trainer.epochs"),
    ({"config": {"schedule.name": "cosine"}}, "schedule: name=cosine instead of name=multistep", "schedule"),
    (
        {"config": {"schedule.drop_epochs": [30, 60, 90]}},
        "schedule: drop_epochs=[30 60 90] instead of drop_epochs=[30 60 80]",
        "schedule.drop_epochs",
    ),
    (
        {"config": {"schedule.heldout_joins_fraction": 0.6}},
        "held-out part joins: 0.6 instead of nothing; "
        "schedule: heldout_joins_fraction=0.6 instead of heldout_joins_fraction=nothing",
        "schedule.heldout_joins_fraction",
    ),
    ({"result": {"views": 2}}, "views: 2 instead of 10", "eval.mirrored_views"),
    ({"config": {"eval.average": "logits"}}, "averaging over views: logits instead of probabilities", "eval"),
    ({"result": {"source_hash": "t"}}, "training sources: t instead of s", None),
]


@pytest.mark.parametrize(("last", "words", "factor"), CASES)
def test_a_run_that_differs_is_kept_out_and_named(tmp_path, last, words, factor):
    found = studied(tmp_path, last)
    (out,) = found.kept_out
    assert out.words() == words and (out.record.arm_id, out.record.seed) == ("off", 1)
    assert paired(found) == {1}
    assert [(record.arm_id, record.seed) for record in found.compared] == [("base", 0), ("base", 1), ("off", 0)]


@pytest.mark.parametrize(("last", "words", "factor"), [case for case in CASES if case[2]])
def test_a_run_that_differs_in_what_the_study_switches_is_compared(tmp_path, last, words, factor):
    found = studied(tmp_path, last, key=factor)
    assert not found.kept_out and paired(found) == {2}


@pytest.mark.parametrize("factor", ["model/lrn", "trainer.epochs", "schedule", "data", "experiment"])
def test_other_training_sources_keep_out_whatever_the_study_switches(tmp_path, factor):
    assert len(studied(tmp_path, {"result": {"source_hash": "t"}}, key=factor).kept_out) == 1


@pytest.mark.parametrize("factor", ["trainer.epochs_more", "schedules", "model/schedule", "database"])
def test_a_factor_of_a_like_name_is_another_thing(tmp_path, factor):
    last = {"result": {"epochs": 5, "data.fingerprint": "g"}, "config": {"schedule.name": "cosine"}}
    (out,) = studied(tmp_path, last, key=factor).kept_out
    assert [what for what, _, _ in out.differs] == ["data", "epochs", "schedule"]


def test_every_rule_is_tried_here():
    assert {name for name, _, _ in RULES} == {case[1].split(":")[0] for case in CASES}


def test_mixing_allowed_by_the_caller_or_by_the_study_compares_all_and_still_names_them(tmp_path):
    last = {"result": {"epochs": 5}}
    for place, found in enumerate(
        (studied(tmp_path / "a", last, allow=True), studied(tmp_path / "b", last, allow_mixed=True))
    ):
        assert paired(found) == {2} and len(found.kept_out) == 1, place
    assert paired(studied(tmp_path / "c", last, allow=False, allow_mixed=True)) == {1}


@pytest.mark.parametrize(
    "overrides", [["trainer.epochs=5"], ["+trainer.epochs=5"], ["model/lrn=off", "experiment=cifar10_13pct"]]
)
def test_what_a_bundle_of_overrides_switches_is_a_factor_too(tmp_path, overrides):
    """A factor may have a name of its own, and levels that are lists of overrides."""
    last = {"result": {"epochs": 5}, "overrides": overrides}
    assert paired(studied(tmp_path / "a", last, key="recipe")) == {2}
    assert paired(studied(tmp_path / "b", {"result": {"epochs": 5}}, key="recipe")) == {1}


@pytest.mark.parametrize("bundle", ["experiment=cifar10_13pct", "trainer.epochs=5"])
def test_what_one_arm_switches_excuses_no_other_arm(tmp_path, bundle):
    """Of a factorial of activation and recipe, an arm with the baseline's recipe must have the baseline's length."""
    arms = {
        "base": {"act": "relu", "net": "n"},
        "tanh": {"act": "tanh", "net": "n"},
        "other": {"act": "relu", "net": "m"},
        "both": {"act": "tanh", "net": "m"},
    }
    made = {}
    for arm, levels in arms.items():
        overrides = [f"act={levels['act']}", bundle if levels["net"] == "m" else "experiment=digits"]
        short = {"epochs": 5} if arm != "base" else {}
        made[arm, 0] = wrong(BASE, overrides=overrides, result=short)
    evidence = gather(make_study(tmp_path, made, arms, design="factorial"), tmp_path)
    (out,) = kept_out(evidence)
    assert (out.record.arm_id, out.words()) == ("tanh", "epochs: 5 instead of 90")
    assert by_design(evidence) == {"epochs": ["90", "5"]}


def test_todays_sources_are_the_reference_though_more_baselines_are_stale(tmp_path):
    stale = {"source_hash": "older"}
    made = {("base", seed): wrong(BASE, result=stale if seed else {}) for seed in (0, 1, 2)}
    made |= {("off", seed): wrong(OFF) for seed in (0, 1, 2)}
    out = kept_out(gather(make_study(tmp_path, made), tmp_path))
    assert [(found.record.arm_id, found.record.seed) for found in out] == [("base", 1), ("base", 2)]


def test_an_override_that_all_runs_share_switches_nothing(tmp_path):
    made = {(arm, seed): wrong(BASE, overrides=["trainer.epochs=5"]) for arm in LRN for seed in (0, 1)}
    made["off", 1] = wrong(OFF, overrides=["trainer.epochs=5"], result={"epochs": 5})
    assert len(kept_out(gather(make_study(tmp_path, made), tmp_path))) == 1


def test_the_baseline_is_what_most_of_its_runs_have(tmp_path):
    short = {"epochs": 5}
    made: dict[tuple[str, int], Run | None] = {
        ("base", 0): wrong(BASE),
        ("base", 1): wrong(BASE, result=short),
        ("base", 2): wrong(BASE, result=short),
        ("off", 0): wrong(OFF, result=short),
        ("off", 1): wrong(OFF, result=short),
        ("off", 2): wrong(OFF),
    }
    out = kept_out(gather(make_study(tmp_path, made), tmp_path))
    assert [(found.record.arm_id, found.record.seed) for found in out] == [("base", 0), ("off", 2)]
    assert {found.words() for found in out} == {"epochs: 90 instead of 5"}


def test_of_equally_many_the_first_baseline_counts(tmp_path):
    made: dict[tuple[str, int], Run | None] = {
        ("off", 0): wrong(OFF, result={"epochs": 5}),
        ("base", 0): wrong(BASE),
        ("base", 1): wrong(BASE, result={"epochs": 5}),
    }
    out = kept_out(gather(make_study(tmp_path, made), tmp_path))
    assert [(found.record.arm_id, found.record.seed) for found in out] == [("off", 0), ("base", 1)]


def test_without_a_finished_baseline_nothing_is_kept_out(tmp_path):
    made: dict[tuple[str, int], Run | None] = {("base", 0): None, ("off", 0): wrong(OFF), ("off", 1): wrong(OFF)}
    assert kept_out(gather(make_study(tmp_path, made), tmp_path)) == []


def test_settings_that_differ_between_runs_or_over_a_resumption_are_listed(tmp_path):
    made: dict[tuple[str, int], Run | None] = {
        ("base", 0): wrong(BASE),
        ("off", 0): wrong(OFF, result={"effective.cpu_threads": 2}),
        ("off", 1): wrong(OFF, result={"earlier_effective": [{"device": "cuda", "versions": {"torch": "2"}}]}),
        ("base", 1): wrong(BASE, result={"effective.versions": {"torch": "3", "numpy": "2"}}),
        ("base", 2): wrong(BASE, result={"effective.versions": {"torch": "2", "numpy": "2"}}),
    }
    done = gather(make_study(tmp_path, made), tmp_path).done
    assert mixed_settings(done) == {"cpu_threads": ["1", "2"], "device": ["cpu", "cuda"], "torch": ["2", "3"]}
    assert mixed_settings(done[:1]) == {}
