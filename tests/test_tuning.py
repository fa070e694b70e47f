"""A tuned key: each arm's level is chosen on the held-out part, before the arms are compared."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from alexnet_sweep import job
from alexnet_sweep.config import Config
from alexnet_sweep.errors import SweepError
from alexnet_sweep.planning import chosen_levels
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study import Arm, PlannedRun, Study
from conftest import Compose, Main

LEVELS = ("rate=0.1", "rate=0.2", "rate=0.3")
SMALL = {"model.width": 0.05, "trainer.epochs": 1, "trainer.cpu_threads": 1, "eval.clean_train_images": 64}
WHOLE: dict[str, Any] = {
    "question": "Does normalisation matter, each arm at its own rate?",
    "design": "one_factor_at_a_time",
    "baseline": SMALL,
    "factors": {"model/lrn": ["on", "off"]},
    "seeds": 2,
    "tune": {"key": "optim.learning_rate", "levels": [0.05, 1.0e-09]},
}


def write(**changes: Any) -> Path:
    path = Path("ask.yaml")
    path.write_text(yaml.safe_dump(WHOLE | changes, sort_keys=False))
    return path


# --- choosing ---


@pytest.fixture
def config(composed: Compose) -> Config:
    return composed()


def tuning_of(config: Config, errors: dict[str, dict[str, list[float | None]]], runs: Path) -> Study:
    """A tuning whose runs have these held-out errors, by arm, level and seed; None for a run that is not done."""
    arms, planned, tuned = [], [], {}
    for arm, levels in errors.items():
        for level, found in levels.items():
            name = f"{arm} {level}"
            arms.append(Arm(name, (), name))
            tuned[name] = (arm, level)
            for seed, error in enumerate(found):
                run = PlannedRun(f"{name} {seed}", name, (), config)
                planned.append(run)
                if error is not None:
                    views = {"centre": {"top1_error": error}, "ten": {"top1_error": 1 - error}}
                    test = {"centre": {"top1_error": 1 - error}}
                    RunFolder(runs / run.run_id).write_result({"errors": {"heldout": views, "test": test}})
    return Study("ask", "tuning", (), tuple(arms), arms[0].arm_id, tuple(planned), {"tuned": tuned})


def test_each_arm_takes_the_level_of_its_own_lowest_held_out_error(config: Config, tmp_path: Path) -> None:
    errors: dict[str, dict[str, list[float | None]]] = {
        "baseline": dict(zip(LEVELS, ([0.5], [0.3], [0.4]), strict=True)),
        "lrn=off": dict(zip(LEVELS, ([0.1], [0.3], [0.4]), strict=True)),
        "pool=plain": dict(zip(LEVELS, ([0.9], [0.8], [0.7]), strict=True)),
    }
    assert chosen_levels(tuning_of(config, errors, tmp_path), tmp_path) == {
        "baseline": "rate=0.2",
        "lrn=off": "rate=0.1",
        "pool=plain": "rate=0.3",
    }


def test_errors_are_averaged_over_the_seeds(config: Config, tmp_path: Path) -> None:
    errors: dict[str, dict[str, list[float | None]]] = {"a": {LEVELS[0]: [0.0, 0.9], LEVELS[1]: [0.4, 0.4]}}
    assert chosen_levels(tuning_of(config, errors, tmp_path), tmp_path) == {"a": LEVELS[1]}


def test_a_tie_goes_to_the_first(config: Config, tmp_path: Path) -> None:
    errors: dict[str, dict[str, list[float | None]]] = {"a": dict(zip(LEVELS, ([0.5], [0.4], [0.4]), strict=True))}
    assert chosen_levels(tuning_of(config, errors, tmp_path), tmp_path) == {"a": LEVELS[1]}


def test_a_level_whose_runs_are_not_all_done_is_not_chosen(config: Config, tmp_path: Path) -> None:
    errors: dict[str, dict[str, list[float | None]]] = {"a": {LEVELS[0]: [0.1, None], LEVELS[1]: [0.4, 0.4]}}
    assert chosen_levels(tuning_of(config, errors, tmp_path), tmp_path) == {"a": LEVELS[1]}


def test_an_arm_without_any_level_done_chooses_none(config: Config, tmp_path: Path) -> None:
    errors: dict[str, dict[str, list[float | None]]] = {"a": {LEVELS[0]: [None]}, "b": {LEVELS[0]: [0.4]}}
    assert chosen_levels(tuning_of(config, errors, tmp_path), tmp_path) == {"b": LEVELS[0]}


# --- through the program ---


def folders() -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(Path("runs").iterdir()) if not path.name.startswith("_")]


def heldout_errors() -> dict[tuple[bool, float], float]:
    """Of the runs of seed 0, by whether they normalise and by their rate."""
    found = {}
    for folder in folders():
        config, result = yaml.safe_load(folder.config.read_text()), json.loads(folder.result.read_text())
        if config["seed"] == 0:
            key = (config["model"]["lrn"]["first"], config["optim"]["learning_rate"])
            found[key] = result["errors"]["heldout"]["centre"]["top1_error"]
    return found


def test_a_tuned_study_trains_each_arm_at_its_best_level_and_no_run_twice(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write()
    assert main("-m", "study=ask.yaml") == 0
    report = Path("reports/ask/README.md").read_text()
    assert "Tuned: each arm has its own optim.learning_rate, out of 0.05, 1e-09" in report
    assert "2 arms, 4 of 4 runs done" in capsys.readouterr().out
    plan = json.loads(Path("runs/_studies/ask/plan.json").read_text())
    errors, rates = heldout_errors(), (0.05, 1e-9)
    best = {on: min(rates, key=lambda rate: errors[on, rate]) for on in (True, False)}
    assert plan["tuning"] == {
        "key": "optim.learning_rate",
        "levels": ["0.05", "1e-09"],
        "seeds": [0],
        "chosen": {"baseline": f"{best[True]:g}", "model/lrn=off": f"{best[False]:g}"},
    }
    assert [run["overrides"][-2] for run in plan["runs"]] == [
        f"optim.learning_rate={best[on]:g}" for on in (True, True, False, False)
    ]
    # Two arms at two levels, seed 0; then seed 1 of each arm: seed 0 has been trained.
    assert [folder.log.read_text().count(" done: ") for folder in folders()] == [1] * 6

    before = {folder.run_id: folder.log.read_text() for folder in folders()}
    text = Path("runs/_studies/ask/plan.json").read_text()
    assert main("-m", f"study={path}") == 0
    assert {folder.run_id: folder.log.read_text() for folder in folders()} == before
    assert Path("runs/_studies/ask/plan.json").read_text() == text


def trainings() -> dict[str, int]:
    """How often each run has been trained to its end."""
    return {folder.run_id: folder.log.read_text().count(" done: ") for folder in folders()}


@pytest.mark.slow
def test_what_is_to_be_trained_of_both_stages_needs_room_and_can_be_named_to_be_trained_again(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("alexnet_sweep.sweep.check_room", lambda runs, meta, at_once: asked.append(len(runs)))
    monkeypatch.setattr("alexnet_sweep.sweep._report", lambda study, planner: None)
    write()
    assert main("-m", "study=ask.yaml") == 0
    assert asked == [6, 2] and len(trainings()) == 6  # four to tune with, and a second seed of each arm
    asked.clear()
    assert main("-m", "study=ask.yaml") == 0
    assert asked == [0, 0]

    plan = json.loads(Path("runs/_studies/ask/plan.json").read_text())
    second = next(run["run_id"] for run in plan["runs"] if run["seed"] == 1)
    both = next(run["run_id"] for run in plan["runs"] if run["seed"] == 0)
    (tuned, *_) = {folder.run_id for folder in folders()} - {run["run_id"] for run in plan["runs"]}
    # A second seed that the study may come to, at a level that is not chosen.
    other = min(known_runs(main, capsys) - trainings().keys())
    before = trainings()
    assert main("-m", "study=ask.yaml", f"sweep.retrain={other}") == 0
    assert f"sweep.retrain={other}: of a level that is not chosen by now" in capsys.readouterr().err
    assert trainings() == before
    # A level that was not chosen may be, once it is trained again: then its second seed is missing.
    for name, room in ((second, [1, 1]), (both, [1, 0]), (tuned, [2, 0])):
        before = trainings()
        asked.clear()
        assert main("-m", "study=ask.yaml", f"sweep.retrain={name}") == 0
        assert trainings() == before | {name: before[name] + 1} and asked == room
    for command in ("-m", "plan"):
        capsys.readouterr()
        assert main(command, "study=ask.yaml", "sweep.retrain=abc") == 2
        line = capsys.readouterr().err
        assert line.startswith("sweep.retrain=abc: no run of this study; allowed: failed, or one of ")
        assert line.count("\n") == 1 and all(name in line for name in (second, both, tuned))


def known_runs(main: Main, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """All that the study may come to."""
    capsys.readouterr()
    assert main("plan", "study=ask.yaml", "sweep.retrain=abc") == 2
    return set(capsys.readouterr().err.strip().rpartition("one of ")[2].split(", "))


def test_what_is_only_guessed_to_come_after_a_tuning_refuses_no_start(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def enough(runs: list[Config], meta: object, at_once: int) -> None:
        asked.append(len(runs))
        raise SweepError("enough")

    monkeypatch.setattr("alexnet_sweep.sweep.check_room", enough)
    write()
    known = known_runs(main, capsys)
    assert main("plan", "study=ask.yaml", "--json") == 0
    tuned = {run["run_id"] for run in json.loads(capsys.readouterr().out)["runs"]}
    assert len(tuned) == 4 and len(known - tuned) == 4
    for name in known - tuned:  # of another version: refused once they are what the study comes to
        folder = RunFolder(Path("runs") / name)
        folder.path.mkdir(parents=True)
        folder.status.write_text('{"format": 99}')
    assert main("-m", "study=ask.yaml") == 2
    assert capsys.readouterr().err == "enough\n" and asked == [4]


@pytest.mark.parametrize(
    ("override", "found"),
    [("data.heldout_fraction=0", "data.heldout_fraction=0"), ("schedule.heldout_joins_fraction=0.5", "fraction=0.5")],
)
def test_tuning_without_a_held_out_part_to_the_end_is_refused(
    main: Main, capsys: pytest.CaptureFixture[str], override: str, found: str
) -> None:
    path = write()
    assert main("-m", "study=ask.yaml", override) == 2
    line = capsys.readouterr().err
    assert line.startswith("ask.yaml: tune: levels are chosen on the held-out part, but an arm has ")
    assert found in line and line.count("\n") == 1
    assert list(Path().iterdir()) == [path]


def test_a_tuned_level_that_is_not_allowed_is_refused(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tune={"key": "optim.learning_rte", "levels": [0.1, 0.2]})
    assert main("-m", "study=ask.yaml") == 2
    line = "ask.yaml: optim.learning_rte: no such key. Did you mean 'optim.learning_rate'?"
    assert capsys.readouterr().err.startswith(line)
    assert list(Path().iterdir()) == [path]


def never(*arguments: object) -> object:
    raise ValueError("no luck")


def test_tuning_on_less_than_one_held_out_image_is_refused(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "_run", never)
    path = write()
    assert main("-m", "study=ask.yaml", "data.heldout_fraction=0.0001") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(Path().iterdir()) == [path]


def test_a_study_of_too_many_runs_is_refused_before_it_is_tuned(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "_run", never)
    path = write(seeds=5)
    assert main("-m", "study=ask.yaml", "sweep.max_runs=9") == 2
    assert capsys.readouterr().err.startswith("ask.yaml: has 10 runs; allowed: 9")
    assert list(Path().iterdir()) == [path]


def test_the_first_failure_of_the_tuning_stops_the_study_when_asked(
    main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_run", never)
    write()
    assert main("-m", "study=ask.yaml", "sweep.on_failure=stop", "sweep.retries=0") == 1
    assert len(folders()) == 1


def test_a_study_whose_other_arm_could_not_be_tuned_compares_nothing(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out = job._run

    def fails_without_lrn(config: Config, *rest: Any) -> Any:
        return carry_out(config, *rest) if config.model.lrn.first else never()

    monkeypatch.setattr(job, "_run", fails_without_lrn)
    write(seeds=[7])
    assert main("-m", "study=ask.yaml", "sweep.retries=0") == 1
    rates = {folder.read_config()["optim"]["learning_rate"] for folder in folders() if folder.result.is_file()}
    assert rates == {0.05, 1e-9}  # the tuning alone
    assert "ValueError: no luck" in capsys.readouterr().err


def test_runs_that_fail_while_tuning_are_reported_with_their_reason(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "_run", never)
    write(seeds=1)
    assert main("-m", "study=ask.yaml", "sweep.retries=0") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.count("ValueError: no luck") == len(folders())
