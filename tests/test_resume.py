"""A run that was stopped, in whichever way, ends with the bytes of one that was not."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_sweep.running import alive_elsewhere
from alexnet_sweep.store import RunFolder
from test_sweep import SAME_BYTES

pytestmark = pytest.mark.slow

ARGUMENTS = [
    *("model.width=0.05", "trainer.epochs=8", "trainer.batch_size=16", "trainer.cpu_threads=1"),
    *("eval.clean_train_images=64", "schedule=plateau", "optim.learning_rate=0.005"),
]


def start(folder: Path, *more: str, **how: Any) -> "subprocess.Popen[str]":
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "alexnet_sweep", *ARGUMENTS, *more],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        **how,
        # A shell that starts jobs in the background leaves SIGINT ignored; a person's terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finished(folder: Path, *more: str) -> dict[str, bytes]:
    process = start(folder, *more)
    _, printed = process.communicate()
    assert process.returncode == 0, printed
    run = run_of(folder)
    return {name: (run.path / name).read_bytes() for name in SAME_BYTES}


def run_of(folder: Path) -> RunFolder:
    (path,) = [path for path in (folder / "runs").iterdir() if not path.name.startswith("_")]
    return RunFolder(path)


def after_a_checkpoint(folder: Path, process: "subprocess.Popen[str]") -> RunFolder:
    """Wait until the run has saved, and is still running."""
    while process.poll() is None:
        found = list(folder.glob("runs/*/checkpoint.pt"))
        if found:
            return RunFolder(found[0].parent)
        time.sleep(0.01)
    raise AssertionError(f"ended before its first checkpoint: {process.communicate()[1]}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return finished(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_asked_to_stop_saves_says_so_and_goes_on_to_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes], number: signal.Signals
) -> None:
    process = start(tmp_path)
    run = after_a_checkpoint(tmp_path, process)
    process.send_signal(number)
    _, printed = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on with it" in printed and "Traceback" not in printed
    assert run.read_status()["state"] == "interrupted" and run.read_result() is None
    assert finished(tmp_path) == undisturbed
    assert "resumed at epoch" in run.log.read_text()


def test_a_killed_run_goes_on_from_its_last_checkpoint_to_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    process = start(tmp_path, "checkpoint.every_minutes=0")  # after every step: a free key, the run is the same
    run = after_a_checkpoint(tmp_path, process)
    while process.poll() is None and run.read_status().get("step", 0) < 3:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    status = run.read_status()
    assert status["state"] == "running" and alive_elsewhere(run) is None
    assert finished(tmp_path) == undisturbed
    ((epoch, step),) = re.findall(r"resumed at epoch (\d+), step (\d+)", run.log.read_text())
    steps_of_an_epoch = status["steps"] // 8
    # What was trained since the last checkpoint is trained again, and no more: here one step.
    assert (int(epoch) - 1) * steps_of_an_epoch + int(step) >= max(1, status["step"] - 1)


def test_a_sweep_asked_to_stop_reports_what_is_done_and_starts_nothing_more(tmp_path: Path) -> None:
    process = start(tmp_path, "-m", "seed=0,1,2")
    after_a_checkpoint(tmp_path, process)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate()
    assert process.returncode == 130 and "the same command goes on from here" in printed
    assert len(list(tmp_path.glob("runs/*/status.json"))) == 1
    (report,) = tmp_path.glob("reports/*/README.md")
    assert "0 of 3 runs done" in report.read_text()


@pytest.mark.parametrize(
    ("elsewhere", "grid", "number", "send"),
    [
        (
            "hydra/launcher=joblib",
            "trainer.epochs=1,500",
            signal.SIGINT,
            os.killpg,
        ),  # one worker has nothing left to do
        ("hydra/launcher=joblib", "seed=0,1", signal.SIGTERM, os.kill),
        ("sweep.isolation=process", "seed=0,1", signal.SIGINT, os.kill),
    ],
)
def test_a_sweep_asked_to_stop_lets_runs_in_other_processes_save_first(
    tmp_path: Path, elsewhere: str, grid: str, number: signal.Signals, send: Callable[[int, int], None]
) -> None:
    more = ("trainer.epochs=500", "checkpoint.every_epochs=500", "-m", elsewhere, "sweep.at_once=2", grid)
    process = start(tmp_path, *more, start_new_session=True)
    at_once = 2 if "joblib" in elsewhere else 1
    while process.poll() is None:  # until each is done or trains
        runs = [RunFolder(path.parent) for path in tmp_path.glob("runs/*/status.json")]
        told = [run.read_status() for run in runs]
        begun = [status for status in told if status["state"] == "done" or status.get("step", 0) > 0]
        if len(begun) == at_once and ("seed" in grid or any(status["state"] == "done" for status in told)):
            break
        time.sleep(0.01)
    send(process.pid, number)
    _, printed = process.communicate()
    assert process.returncode == 130 and "Traceback" not in printed, printed
    assert "the same command goes on from here" in printed
    stopped = [run for run in runs if run.read_result() is None]
    assert len(stopped) == (at_once if "seed" in grid else 1)
    for run in stopped:
        assert run.read_status()["state"] == "interrupted" and run.checkpoint.is_file()
        assert f"run {run.run_id} stopped" in printed


def test_a_run_stopped_in_its_last_evaluation_only_evaluates_again(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    process = start(tmp_path)
    run = after_a_checkpoint(tmp_path, process)
    while process.poll() is None and "epoch 8/8" not in run.log.read_text():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode in (0, 130)  # 0 where the evaluation was quicker than the signal
    assert finished(tmp_path) == undisturbed
    assert run.log.read_text().count("epoch 8/8") == 1
