"""A study file from the command line to its report: planned whole, each run trained once, mistakes told of first."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from alexnet_sweep import job
from alexnet_sweep.config import Config
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.planning import Asked, Planner, asked_for
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_file import read_study
from conftest import Compose, Main

SMALL = {"model.width": 0.05, "trainer.epochs": 1, "trainer.cpu_threads": 1, "eval.clean_train_images": 64}
WHOLE: dict[str, Any] = {
    "question": "Does normalisation matter?",
    "design": "one_factor_at_a_time",
    "baseline": SMALL,
    "factors": {"model/lrn": ["on", "off"]},
    "seeds": 2,
}
SAME_BYTES = ("config.yaml", "metrics.csv", "predictions.parquet", "result.json", "weights.safetensors")


def write(**changes: Any) -> Path:
    """`ask.yaml` with these keys changed."""
    path = Path("ask.yaml")
    path.write_text(yaml.safe_dump(WHOLE | changes, sort_keys=False))
    return path


def folders() -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(Path("runs").iterdir()) if not path.name.startswith("_")]


def logs() -> dict[str, str]:
    return {folder.run_id: folder.log.read_text() for folder in folders()}


def contents(folder: RunFolder) -> dict[str, bytes]:
    return {name: (folder.path / name).read_bytes() for name in SAME_BYTES}


def plan(name: str = "ask") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("runs/_studies", name, "plan.json").read_text())
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished")


def keep(finished: Path) -> None:
    if not (finished / "runs").exists():
        shutil.copytree("runs", finished / "runs")


@pytest.fixture
def ready(main: Main, finished: Path, capsys: pytest.CaptureFixture[str]) -> Main:
    """The program in a folder where the study of `ask.yaml` is done; it is trained for the first test alone."""
    write()
    if not (finished / "runs").exists():
        assert main("-m", "study=ask.yaml") == 0
        keep(finished)
    else:
        shutil.copytree(finished / "runs", "runs")
    capsys.readouterr()
    return main


# --- a study and its second start ---


def test_a_study_of_two_arms_and_two_seeds_comes_to_its_report(
    main: Main, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write()
    assert main("-m", "study=ask.yaml") == 0
    printed = capsys.readouterr()
    assert (
        "2 arms, 4 of 4 runs done. Design: one factor at a time. Baseline: baseline. The arms were not tuned"
        in printed.out
    )
    assert "Does normalisation matter?" in printed.out
    assert "study ask: 4 runs: 4 to train" in printed.err
    assert Path("reports/ask/README.md").is_file()
    assert [arm["label"] for arm in plan()["arms"]] == ["baseline", "model/lrn=off"]
    assert [run["seed"] for run in plan()["runs"]] == [0, 1, 0, 1]
    assert {run["run_id"] for run in plan()["runs"]} == set(logs())
    keep(finished)


def test_a_second_start_trains_nothing_and_reports_the_same(ready: Main, capsys: pytest.CaptureFixture[str]) -> None:
    before = logs()
    assert ready("-m", "study=ask.yaml") == 0
    first = capsys.readouterr()
    assert "study ask: 4 runs: 4 done" in first.err and logs() == before
    assert ready("-m", "study=ask.yaml") == 0
    assert capsys.readouterr().out == first.out


def test_a_further_level_trains_its_own_runs_alone(ready: Main) -> None:
    before = logs()
    write(factors={"model/lrn": ["on", "off", "first_only"]})
    assert ready("-m", "study=ask.yaml") == 0
    after = logs()
    assert len(after) == len(before) + 2 and before.items() <= after.items()


def test_more_seeds_train_their_own_runs_alone(ready: Main) -> None:
    before = logs()
    write(seeds=3)
    assert ready("-m", "study=ask.yaml") == 0
    after = logs()
    assert len(after) == len(before) + 2 and before.items() <= after.items()


def test_seeds_on_the_command_line_replace_those_of_the_file(ready: Main) -> None:
    before = logs()
    assert ready("-m", "study=ask.yaml", "seed=1,0") == 0
    assert logs() == before and [run["seed"] for run in plan()["runs"]] == [1, 0, 1, 0]


def test_a_grid_of_the_same_runs_trains_nothing(ready: Main) -> None:
    before = logs()
    assert ready("-m", "model/lrn=on,off", "seed=0,1", *[f"{key}={value}" for key, value in SMALL.items()]) == 0
    assert logs() == before


def test_overrides_that_change_no_run_leave_the_study_its_name(ready: Main) -> None:
    assert ready("-m", "study=ask.yaml", "paths.reports=elsewhere", "sweep.retries=3") == 0
    assert [path.name for path in Path("runs/_studies").iterdir()] == ["ask"]
    assert [path.name for path in Path("elsewhere").iterdir()] == ["ask"]


def test_overrides_that_could_change_runs_make_a_study_of_its_own(ready: Main) -> None:
    before = plan()
    assert ready("-m", "study=ask.yaml", "model.width=0.05") == 0
    (other,) = [path.name for path in Path("runs/_studies").iterdir() if path.name != "ask"]
    assert other.startswith("ask-") and plan() == before


def test_a_study_below_sweeps_is_found_by_its_name(ready: Main, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sweeps").mkdir()
    write().rename("sweeps/ask.yaml")
    assert ready("-m", "study=ask") == 0
    assert "4 runs: 4 done" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["two words.yaml", "a=b.yaml", "größe.yaml"])
def test_a_study_file_may_have_any_name(ready: Main, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write().rename(name)
    assert ready("-m", f"study='{name}'") == 0
    assert "4 runs: 4 done" in capsys.readouterr().err


# --- mistakes ---

MISTAKES = {
    "a misspelt key": (
        {"factor": {}},
        [],
        "ask.yaml: 'factor': no such key. Did you mean 'factors'?",
    ),
    "a factor that is no group": (
        {"factors": {"model/lnr": ["on", "off"]}},
        [],
        "ask.yaml: model/lnr=on: no config group 'model/lnr'. Did you mean 'model/lrn'?",
    ),
    "a factor that is no key": (
        {"factors": {"optim.learning_rte": [0.1, 0.2]}},
        [],
        "ask.yaml: optim.learning_rte: no such key. Did you mean 'optim.learning_rate'?",
    ),
    "a level that is no option": (
        {"factors": {"model/lrn": ["on", "of"]}},
        [],
        "ask.yaml: model/lrn=of: no such option. Did you mean 'off'?",
    ),
    "a level that is out of range": (
        {"factors": {"optim.learning_rate": [0.1, -1]}},
        [],
        "ask.yaml: optim.learning_rate=-1.0: out of range; allowed: at least 0",
    ),
    "a common override of no key": (
        {"baseline": SMALL | {"trainer.epoch": 3}},
        [],
        "ask.yaml: trainer.epoch: no such key. Did you mean 'trainer.epochs'?",
    ),
    "another key is swept": (
        {},
        ["model/pool=overlap,plain"],
        "model/pool: swept beside study=ask; make it a factor of ask.yaml instead",
    ),
    "a factor is set": (
        {},
        ["model/lrn=off"],
        "model/lrn=off: model/lrn is a factor of ask.yaml; leave it out, or change the file",
    ),
    "a seed is no number": ({}, ["seed=0,one"], "seed=one: not a number from 0; with study= write seed=0 or seed=0,1"),
    "too many runs": ({}, ["sweep.max_runs=3"], "ask.yaml: has 4 runs; allowed: 3 (sweep.max_runs). Take fewer"),
    "all arms are the same": (
        {"factors": {"model.lrn.k": [2, 2.0]}},
        [],
        "ask.yaml: factors: all 2 arms come to the same run; name levels that make a difference",
    ),
}


@pytest.mark.parametrize(("changes", "arguments", "line"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_nothing_is_written(
    main: Main, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], arguments: list[str], line: str
) -> None:
    path = write(**changes)
    assert main("-m", "study=ask.yaml", *arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(line) and printed.err.count("\n") == 1
    assert list(Path().iterdir()) == [path] and printed.out == ""


def test_an_override_of_no_key_beside_a_study_is_told_of_with_the_nearest(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    write()
    assert main("-m", "study=ask.yaml", "model.widht=1") == 2
    assert "model.widht: no such key. Did you mean 'model.width'?" in capsys.readouterr().err


def test_a_level_that_does_not_fit_the_data_is_told_of_with_its_file(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    write(factors={"model/stem": ["auto", "px224"]})
    assert main("-m", "study=ask.yaml") == 2
    assert capsys.readouterr().err.startswith("ask.yaml: data.crop_px=27: too small")


def test_a_study_without_the_flag_for_sweeps_is_refused(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "_run", lambda *arguments: {})
    write()
    assert main("study=ask.yaml") == 2
    assert "-m" in capsys.readouterr().err


# --- planning alone ---


def planner(compose: Compose, extra: Sequence[str] = ()) -> tuple[Planner, list[Sequence[str]]]:
    """A planner of `ask.yaml`, and what it composes."""
    composed = []

    def counted(overrides: Sequence[str]) -> Config:
        composed.append(overrides)
        return compose(*overrides)

    return Planner(Asked(file=read_study(Path("ask.yaml")), extra=extra), counted), composed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_planning_a_study_writes_nothing(here: Path, composed: Compose) -> None:
    path = write()
    assert len(planner(composed)[0].study().runs) == 4
    assert list(here.iterdir()) == [here / path]


def test_planning_again_composes_nothing(here: Path, composed: Compose) -> None:
    write(seeds=5)
    one, asked = planner(composed)
    study = one.study()
    before = len(asked)
    assert before <= 4  # two arms, and the settings of the sweep
    assert one.study() == study and len(asked) == before


def test_settings_of_the_sweep_come_from_the_file_and_from_overrides(here: Path, composed: Compose) -> None:
    write(baseline=SMALL | {"sweep.retries": 4, "paths.runs": "there"})
    one, _ = planner(composed, ["sweep.max_runs=5"])
    assert (one.settings.sweep.retries, one.settings.sweep.max_runs) == (4, 5)
    assert (one.runs, one.reports) == (Path("there"), Path("reports"))


def test_a_study_without_a_tuned_key_has_no_tuning(here: Path, composed: Compose) -> None:
    write()
    assert planner(composed)[0].tuning() is None


def test_what_is_asked_for_without_a_study_is_the_grid() -> None:
    jobs = [["a=1"], ["a=2"]]
    assert asked_for(jobs, ["a"]) == Asked(jobs=jobs, swept=["a"])


def test_what_is_asked_for_beside_a_study_are_its_overrides_and_seeds(here: Path) -> None:
    file = read_study(write())
    jobs = [["study=ask", "a=1", f"seed={seed}"] for seed in (3, 4, 3)]
    asked = asked_for(jobs, ["seed"], file, ["3", "4", "3"])
    assert asked == Asked(file=file.with_seeds([3, 4]), extra=["a=1"])


def test_without_a_seed_beside_a_study_those_of_its_file_stay(here: Path) -> None:
    file = read_study(write())
    assert asked_for([["study=ask"]], [], file) == Asked(file=file, extra=[])


@pytest.mark.parametrize("seed", ["-1", "x", "1.5", "", "null", "[0,1]"])
def test_a_seed_beside_a_study_that_is_no_number_is_refused(here: Path, seed: str) -> None:
    file = read_study(write())
    with pytest.raises(ConfigError, match=r"^seed=.*: not a number from 0; "):
        asked_for([["study=ask", f"seed={seed}"]], [], file, [seed])


# --- what goes wrong on the way ---


@pytest.mark.parametrize("name", ["result.json", "predictions.parquet"])
def test_what_cannot_be_read_is_set_aside_and_trained_again_to_the_same_bytes(
    ready: Main, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    damaged, *others = folders()
    before, untouched = contents(damaged), {folder.run_id: contents(folder) for folder in others}
    cut = before[name][: len(before[name]) // 2]
    (damaged.path / name).write_bytes(cut)
    assert ready("-m", "study=ask.yaml") == 0
    assert contents(damaged) == before
    assert (damaged.path / "set_aside-1" / name).read_bytes() == cut
    log = capsys.readouterr().err
    assert f"run {damaged.run_id}: unreadable: " in log and name in log
    assert f"what was there is now in {damaged.path / 'set_aside-1'}" in log
    assert {folder.run_id: contents(folder) for folder in others} == untouched


def test_what_is_set_aside_is_told_of_in_the_log_of_the_run(ready: Main) -> None:
    damaged = folders()[0]
    damaged.result.write_text("{")
    assert ready("-m", "study=ask.yaml") == 0
    assert "set_aside-1" in damaged.log.read_text()


class Unlucky:
    """Stands in for the inside of a run; without normalisation, it fails so many times."""

    def __init__(self, times: int) -> None:
        self.times, self.tries, self.real = times, Counter[int](), job._run

    def __call__(self, config: Config, *arguments: Any) -> Any:
        if not config.model.lrn.first:
            self.tries[config.seed] += 1
            if self.tries[config.seed] <= self.times:
                raise ValueError(f"no luck, try {self.tries[config.seed]}")
        return self.real(config, *arguments)


def unlucky(monkeypatch: pytest.MonkeyPatch, times: int) -> Unlucky:
    stand_in = Unlucky(times)
    monkeypatch.setattr(job, "_run", stand_in)
    return stand_in


def test_a_run_that_fails_once_is_tried_again_in_the_same_sweep(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = unlucky(monkeypatch, 1)
    write(seeds=1)
    assert main("-m", "study=ask.yaml") == 0
    assert stand_in.tries == {0: 2}
    statuses = [folder.read_status() for folder in folders()]
    assert sorted((status["attempts"], status["failures"]) for status in statuses) == [(1, 0), (2, 1)]


@pytest.mark.parametrize("retries", [0, 2])
def test_a_run_that_goes_on_failing_is_reported_with_its_reason_and_the_others_finish(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], retries: int
) -> None:
    stand_in = unlucky(monkeypatch, 99)
    write(seeds=1)
    assert main("-m", "study=ask.yaml", f"sweep.retries={retries}") == 1
    assert stand_in.tries == {0: retries + 1}
    printed = capsys.readouterr()
    assert "1 of 2 runs done (1 failed)" in printed.out
    (failed,) = [folder for folder in folders() if folder.read_result() is None]
    reason = f"ValueError: no luck, try {retries + 1}"
    assert printed.err.endswith(f"1 of 2 runs not done: {failed.run_id} ({reason})\n")
    assert "Traceback" in failed.failure.read_text()


def test_a_run_that_failed_too_often_is_left_alone_until_it_is_asked_for(
    main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = unlucky(monkeypatch, 2)
    write(seeds=1)
    assert main("-m", "study=ask.yaml") == 1
    assert main("-m", "study=ask.yaml") == 1 and stand_in.tries == {0: 2}
    assert main("-m", "study=ask.yaml", "sweep.retrain=failed") == 0 and stand_in.tries == {0: 3}


def test_two_sweeps_that_start_at_the_same_moment_train_each_run_once(tmp_path: Path) -> None:
    arguments = [f"{key}={value}" for key, value in SMALL.items()]
    command = [sys.executable, "-m", "alexnet_sweep", "-m", "seed=0,1,2", *arguments]
    sweeps = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [sweep.communicate(timeout=300) for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], ended
    assert all("3 of 3 runs done" in out for out, _ in ended)
    trained = [path.read_text() for path in tmp_path.glob("runs/*/train.log")]
    assert [log.count(" done: ") for log in trained] == [1, 1, 1]
    assert [log.count("epoch 1/1") for log in trained] == [1, 1, 1]
