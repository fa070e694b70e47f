"""`plan`: what a sweep would do and why, how long it would take; nothing is written."""

import json
from pathlib import Path

import pytest

import alexnet_sweep.plan
from alexnet_sweep.config import Config
from alexnet_sweep.estimate import Measured, Work, seconds_of
from alexnet_sweep.plan import seconds
from alexnet_sweep.probe import Probed, compiling
from alexnet_sweep.store import RunFolder
from conftest import Compose, Main

SMALL = ("model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1", "eval.clean_train_images=64")
GRID = ("model/lrn=on,off", "seed=0,1", *SMALL)


def planned(main: Main, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    capsys.readouterr()
    assert main("plan", *arguments, "--json") == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def runs_of(plan: dict[str, object]) -> list[dict[str, object]]:
    rows = plan["runs"]
    assert isinstance(rows, list)
    return rows


def test_a_plan_says_what_is_new_done_resumed_and_failed_and_writes_nothing(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [row["why"] for row in runs_of(planned(main, capsys, *GRID))] == ["new"] * 4
    assert not Path("runs").exists() and not Path("reports").exists()
    assert main("-m", *GRID) == 0
    before = sorted(path.as_posix() for path in Path().rglob("*"))
    first, second, third, _ = (
        RunFolder(Path("runs") / str(row["run_id"])) for row in runs_of(planned(main, capsys, *GRID))
    )
    assert {row["action"] for row in runs_of(planned(main, capsys, *GRID))} == {"done"}
    assert sorted(path.as_posix() for path in Path().rglob("*")) == before

    second.result.write_text("{")
    third.result.unlink()
    status = json.loads(third.status.read_text())
    third.status.write_text(json.dumps(status | {"state": "failed", "failures": 2, "reason": "ValueError: no luck"}))
    rows = {row["run_id"]: row for row in runs_of(planned(main, capsys, *GRID))}
    assert rows[first.run_id]["action"] == "done"
    assert str(rows[second.run_id]["why"]).startswith("unreadable: ")
    assert rows[third.run_id]["why"] == "failed 2×: ValueError: no luck"


def test_a_new_run_says_which_key_is_not_as_in_a_run_that_is_there(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("-m", "seed=0", *SMALL) == 0
    (row,) = runs_of(planned(main, capsys, "seed=0", "optim.learning_rate=0.002", *SMALL))
    (folder,) = [path for path in Path("runs").iterdir() if not path.name.startswith("_")]
    assert row["why"] == f"new: optim.learning_rate not as in run {folder.name}"


def test_a_budget_says_how_many_runs_fit(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("-m", "seed=0", *SMALL) == 0
    plan = planned(main, capsys, "seed=0,1,2,3", *SMALL, "--budget", "1s")
    each = [row["seconds"] for row in runs_of(plan)]
    assert each[0] == 0 and len(set(each[1:])) == 1 and isinstance(each[1], float) and each[1] > 0
    assert runs_of(plan)[0]["fits"] is None
    plenty = planned(main, capsys, "seed=0,1,2,3", *SMALL, "--budget", "1d")
    assert [row["fits"] for row in runs_of(plenty)] == [None, True, True, True]


EVALUATIONS = ("eval=probabilities,logits", "eval.mirrored_views=true,false")


def times_of(rows: list[dict[str, object]]) -> list[float]:
    times = [row["seconds"] for row in rows]
    assert all(isinstance(time, float) for time in times)
    return [float(str(time)) for time in times]


def trained_by(rows: list[dict[str, object]]) -> list[object]:
    return [row["trained_by"] for row in rows]


def test_runs_that_differ_in_their_evaluation_alone_are_planned_as_trained_once(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("seed=0,1", *EVALUATIONS, *SMALL)
    plan = planned(main, capsys, *grid)
    rows = runs_of(plan)
    ids = [row["run_id"] for row in rows]
    assert plan["actions"] == {"run": 2, "evaluate": 6}
    assert trained_by(rows) == [None, ids[0], ids[0], ids[0], None, ids[4], ids[4], ids[4]]
    assert rows[1]["action"] == "evaluate" and rows[1]["why"] == f"new; with the weights of run {ids[0]}"
    assert main("plan", *grid) == 0
    assert "2 to train, 6 to evaluate" in capsys.readouterr().out.splitlines()


def test_what_is_planned_as_evaluated_is_what_a_sweep_evaluates_and_trainings_are_found_that_are_there(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("-m", "seed=0", "eval=probabilities", *SMALL) == 0
    (trained,) = [path.parent.name for path in Path("runs").glob("*/result.json")]
    grid = ("seed=0,1", "eval=probabilities,logits", *SMALL)
    rows = runs_of(planned(main, capsys, *grid))
    ids = [str(row["run_id"]) for row in rows]
    assert [row["action"] for row in rows] == ["done", "evaluate", "run", "evaluate"] and ids[0] == trained
    assert trained_by(rows) == [None, trained, None, ids[2]]
    capsys.readouterr()
    assert main("-m", *grid) == 0
    assert "4 runs: 1 done, 2 to evaluate, 1 to train" in capsys.readouterr().err
    assert [RunFolder(Path("runs") / name).read_provenance()["trained_by"] for name in ids] == trained_by(rows)


def test_an_evaluation_alone_takes_a_part_of_the_time_and_budgets_and_totals_follow(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("-m", "seed=0", *SMALL) == 0
    grid = ("seed=1,2,3", "eval=probabilities,logits", *SMALL)
    plan = planned(main, capsys, *grid)
    times = times_of(runs_of(plan))
    training, evaluating = times[::2], times[1::2]
    assert len(set(training)) == len(set(evaluating)) == 1 and 0 < evaluating[0] < training[0]
    assert plan["seconds"] == pytest.approx(sum(times))
    budget = f"{sum(training) + 1.5 * evaluating[0]:.6f}s"  # all trainings come first, then the evaluations
    fits = [row["fits"] for row in runs_of(planned(main, capsys, *grid, "--budget", budget))]
    assert fits == [True, True, True, False, True, False]
    one_by_one = planned(main, capsys, *grid, "--budget", budget, "sweep.on_failure=stop")
    assert [row["fits"] for row in runs_of(one_by_one)] == [True, True, True, True, False, False]
    assert main("plan", *grid, "--budget", budget) == 0
    assert "enough for 4 of 6 runs" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["without weights", "resumed", "of other sources"])
def test_a_run_that_will_train_all_the_same_is_planned_so(
    main: Main, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    if how == "without weights":
        rows = runs_of(planned(main, capsys, "eval=probabilities,logits", *SMALL, "checkpoint.keep=none"))
        assert [row["action"] for row in rows] == ["run", "run"]
        return
    assert main("-m", "eval=probabilities", *SMALL) == 0
    (found,) = [path.parent for path in Path("runs").glob("*/result.json")]
    (row,) = runs_of(planned(main, capsys, "eval=logits", *SMALL))
    assert (row["action"], row["trained_by"]) == ("evaluate", found.name)
    if how == "resumed":
        folder = RunFolder(Path("runs") / str(row["run_id"]))
        folder.path.mkdir()
        folder.checkpoint.write_bytes(b"state")
    else:
        (note,) = Path("runs/_trained").iterdir()
        note.write_text(f"{found.name} {'0' * 12}\n")
    (row,) = runs_of(planned(main, capsys, "eval=logits", *SMALL))
    assert (row["action"], row["trained_by"]) == ("resume" if how == "resumed" else "run", None)


def test_a_training_that_will_be_gone_is_no_source(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("-m", "eval=probabilities", *SMALL) == 0
    (found,) = [path.parent.name for path in Path("runs").glob("*/result.json")]
    grid = ("eval=probabilities,logits", *SMALL, f"sweep.retrain={found}")
    rows = runs_of(planned(main, capsys, *grid))
    assert [row["action"] for row in rows] == ["run", "evaluate"] and trained_by(rows) == [None, found]
    rows = runs_of(planned(main, capsys, *grid, "checkpoint.keep=none"))
    assert [row["action"] for row in rows] == ["run", "run"]


def test_a_plan_for_people_ends_with_totals(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("-m", "seed=0", *SMALL) == 0
    capsys.readouterr()
    assert main("plan", "seed=0,1", *SMALL, "--budget", "1d") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("1 arm, 2 runs") and lines[2].split()[:4] == ["arm", "seed", "run", "will"]
    assert "1 done, 1 to train" in lines
    assert any(line.startswith("time: about ") for line in lines)
    assert any(line.startswith("disk: about ") for line in lines)
    assert "budget 24 h 0 min: enough for 1 of 1 run" in lines


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["model/lrn=offf"], "no such option"),
        (["study=nope"], "no such study"),
        (["trainer.epochs=0"], "out of range"),
        (["seed=range(0,2000)"], "sweep.max_runs"),
    ],
)
def test_a_plan_refuses_what_a_sweep_refuses(
    main: Main, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main("plan", *arguments) == 2
    printed = capsys.readouterr()
    assert says in printed.err and len(printed.err.strip().splitlines()) == 1 and printed.out == ""


def test_a_plan_of_a_network_of_ones_own_proposes_no_probe(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    own = ("model.net.custom={_target_: torch.nn.Identity}", "seed=0", *SMALL[1:])
    assert main("plan", *own) == 0
    told = capsys.readouterr().out
    assert "1 to train\ntime: not known of networks of your own" in told and "--probe" not in told
    assert main("plan", *own, "--probe") == 2


def test_the_help_says_what_a_probe_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        alexnet_sweep.plan.main(["--help"])
    assert "pack the data set and train a few steps, to know the time" in " ".join(capsys.readouterr().out.split())


def test_a_probe_is_of_now_whatever_has_been_measured(
    main: Main, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main("-m", "seed=0", *SMALL) == 0
    monkeypatch.setattr("alexnet_sweep.probe.probed", lambda config: Probed(10.0, 1000, 1.0, False, "cpu"))
    monkeypatch.setattr("alexnet_sweep.probe.compiling", lambda config, eager: None)
    (row,) = runs_of(planned(main, capsys, "seed=1", *SMALL, "--probe"))
    assert row["seconds"] == pytest.approx(11_500)


def test_a_probe_times_a_few_steps_where_nothing_is_measured(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(main, capsys, "seed=0,1", *SMALL, "--probe")
    figures = [row["seconds"] for row in runs_of(plan)]
    assert all(isinstance(figure, float) and 0 < figure < 600 for figure in figures)
    assert [path.name for path in Path("runs").iterdir()] == ["_data"]


@pytest.mark.parametrize(
    ("compiled_step", "told"),
    [(0.9, "900 instead of 1,000 ms a step, after 30 s of compiling"), (0.9999, None), (1.1, None)],
)
def test_a_probe_says_where_compiling_pays(
    main: Main,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    compiled_step: float,
    told: str | None,
) -> None:
    def probed(config: Config) -> Probed:
        compiled = config.trainer.compile
        return Probed(compiled_step if compiled else 1.0, 1000, 31.0 if compiled else 1.0, compiled, "cpu")

    monkeypatch.setattr("alexnet_sweep.probe.probed", probed)
    assert main("plan", "seed=0", *SMALL, "--probe") == 0
    out = capsys.readouterr().out
    assert ("trainer.compile" in out) == (told is not None)
    assert told is None or (told in out and "1 min less" in out)


@pytest.mark.parametrize(("steps", "can"), [(10, True), (1000, False)], ids=["short", "no compiler"])
def test_compiling_is_proposed_neither_for_short_runs_nor_where_it_is_not_to_be_had(
    micro: Compose, monkeypatch: pytest.MonkeyPatch, steps: int, can: bool
) -> None:
    monkeypatch.setattr("alexnet_sweep.probe.probed", lambda config: Probed(0.5, steps, 1.0, can, "cpu"))
    assert compiling(micro(), Probed(1.0, steps, 1.0, False, "cpu")) is None


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("30min", 1800), ("1.5h", 5400), ("2 d", 172800), ("5m", 300)]
)
def test_a_budget_is_read_in_the_usual_units(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "two hours", "1h30"])
def test_other_budgets_are_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        alexnet_sweep.plan.main(["seed=0", f"--budget={text}"])
    assert caught.value.code == 2
    assert "as 2h" in capsys.readouterr().err


def work(net: float, passes: float = 1000) -> Work:
    return Work(net * passes, net, 1, 1, 10)


def test_an_estimate_is_scaled_from_the_runs_of_the_nearest_nets_on_the_same_device() -> None:
    near = [Measured(1e9, 1e6, seconds, "cpu") for seconds in (9.0, 10.0, 11.0, 10.0, 10.0)]
    far = [Measured(1e9, 1e9, 500.0, "cpu")] * 5
    other = [Measured(1e9, 1e6, 0.1, "cuda")] * 5
    assert seconds_of(work(1e6), [*far, *near, *other], "cpu") == pytest.approx(10.0)
    assert seconds_of(work(1e6, passes=2000), near, "cpu") == pytest.approx(20.0)
    assert seconds_of(work(1e6), other, "cuda") == pytest.approx(0.1)
    assert seconds_of(work(1e6), other, "cpu") is None
    assert seconds_of(work(1e6), [], None) is None


@pytest.mark.parametrize(
    ("free", "told"),
    [
        (10**9, "is packed first, "),
        (4_000_000, "it does not fit. data.store=jpeg takes about"),
        (1000, "it does not fit, nor would JPEGs"),
    ],
)
def test_a_plan_says_whether_the_packed_data_fit_the_disk(
    main: Main, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, free: int, told: str
) -> None:
    monkeypatch.setattr("alexnet_sweep.estimate.free_bytes", lambda folder: free)
    assert main("plan", "seed=0", *SMALL) == 0
    assert told in capsys.readouterr().out
    plan = planned(main, capsys, "seed=0", *SMALL)
    assert isinstance(plan["data"], list)
    (store,) = plan["data"]
    assert (store["name"], store["needed_bytes"], store["packed"]) == ("digits", 1797 * 3 * 32 * 32, False)
