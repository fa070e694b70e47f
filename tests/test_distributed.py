"""Several processes train one run: the updates of one process, every image once, and no end without its cause."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep import distributed, job
from alexnet_sweep.assemble import assemble
from alexnet_sweep.config import Config
from alexnet_sweep.distributed import ProcessLost, Team, team_started_here
from alexnet_sweep.errors import Interrupted
from alexnet_sweep.launching import started_as
from alexnet_sweep.outcome import final_outcome, probabilities
from alexnet_sweep.store import RunFolder
from conftest import Compose, Main
from test_sweep import SAME_BYTES

CPU = torch.device("cpu")


@given(st.integers(1, 9), st.integers(0, 200))
def test_every_image_is_in_one_process_part(size: int, count: int) -> None:
    rows = np.arange(count)
    parts = [Team(rank, size).rows(rows) for rank in range(size)]
    assert np.concatenate(parts).tolist() == rows.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"RANK": "x", "WORLD_SIZE": "2"}, None),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, (3, 4, (1, 2))),
    ],
)
def test_who_started_this_process_is_read_from_its_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: Any
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert started_as() == expected


def first_steps(team: Team, config: Config) -> dict[str, Any]:
    """How far the weights have moved in the first three steps, and the figures of these."""
    torch.set_num_threads(1)
    trainer = assemble(config, CPU, team=team).trainer
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    for step in trainer.steps():
        if step.number == 2 or step.ends_epoch:
            break
    moved = {name: value - before[name] for name, value in trainer.net.state_dict().items()}
    return {
        "before": before,
        "moved": moved,
        "sums": trainer.epoch_sums(),
        "wrong": [int(value) for value in trainer._wrong],
    }


# 1293 images: in batches of 1292 the last has a single one, and one of the processes none.
@pytest.mark.parametrize("overrides", [["trainer.batch_size=41"], ["trainer.batch_size=1292", "aug/mix=mixup"]])
def test_the_updates_are_those_of_one_process_to_rounding(micro: Compose, overrides: list[str]) -> None:
    config = micro("trainer.epochs=1", "regularizer/dropout=on", *overrides)
    alone = first_steps(Team(), config)
    with team_started_here(CPU, 2, first_steps, config) as team:
        together = first_steps(team, config)
    for name, update in alone["moved"].items():
        # A weight is stored to 2⁻²⁴ of its size, whatever the size of its updates.
        rounding = 2**-22 * alone["before"][name].abs().max()
        apart = (together["moved"][name] - update).abs().max()
        assert apart <= 1e-5 * update.abs().max() + rounding < 0.1 * update.abs().max(), name
    assert together["wrong"] == alone["wrong"]
    assert together["sums"].images == alone["sums"].images
    assert together["sums"].loss == pytest.approx(alone["sums"].loss, rel=1e-6)


def does_nothing(team: Team, config: Config | None) -> None:
    pass


def only_other(known: set[int]) -> int:
    """The process that is started here beside those known."""
    while True:
        for child in psutil.Process().children():
            if child.pid not in known and "spawn_main" in " ".join(child.cmdline()):
                return int(child.pid)
        time.sleep(0.01)


@pytest.fixture
def to_the_other() -> Iterator[Callable[[int], threading.Thread]]:
    """Sends a signal to the process that this one starts, as soon as it is there."""
    known = {child.pid for child in psutil.Process().children()}
    threads = []

    def send(number: int) -> threading.Thread:
        thread = threading.Thread(target=lambda: os.kill(only_other(known), number))
        threads.append(thread)
        thread.start()
        return thread

    yield send
    for thread in threads:
        thread.join()


def test_a_process_that_dies_before_it_joins_ends_the_run(to_the_other: Callable[[int], threading.Thread]) -> None:
    to_the_other(signal.SIGKILL)
    with (
        pytest.raises(ProcessLost, match=r"process 1 ended before it joined \(exit code -9\)"),
        team_started_here(CPU, 2, does_nothing, None),
    ):
        pytest.fail("nobody is there")


def dies_while_it_joins(*arguments: Any) -> None:
    """In the place of `_other`: there, and gone before it has joined."""
    index, _, port, processes = arguments[:4]
    store = torch.distributed.TCPStore("127.0.0.1", port, processes, is_master=False)
    store.set(f"{distributed.READY}{index + 1}", "")
    os._exit(3)


@pytest.mark.slow
def test_a_process_that_dies_while_it_joins_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_other", dies_while_it_joins)
    monkeypatch.setattr(distributed, "JOIN", timedelta(seconds=2))
    with (
        pytest.raises(ProcessLost, match=r"process 1 ended before it joined \(exit code 3\); not all processes have"),
        team_started_here(CPU, 2, does_nothing, None),
    ):
        pytest.fail("nobody is there")


def is_asked(team: Team, config: Config | None) -> None:
    """Of two processes the second hears of a time limit alone; both hear Ctrl-C, and then nothing."""
    assert team.asked_to_stop(signal.SIGUSR2 if team.rank == 1 else 0) == signal.SIGUSR2
    assert team.asked_to_stop(signal.SIGUSR2 if team.rank == 1 else signal.SIGTERM) == signal.SIGUSR2
    assert team.asked_to_stop(signal.SIGINT) == signal.SIGINT
    assert team.asked_to_stop(0) == 0


@pytest.mark.slow
def test_all_processes_hear_by_which_signal_any_was_asked_to_stop() -> None:
    with team_started_here(CPU, 2, is_asked, None) as team:
        is_asked(team, None)


def leaves(team: Team, config: Config | None) -> None:
    team.told()
    os._exit(3)


@pytest.mark.slow
def test_a_leader_with_an_error_of_its_own_tells_of_that_even_if_nobody_hears_it() -> None:
    with pytest.raises(ValueError, match="the disk is full"), team_started_here(CPU, 2, leaves, None) as team:
        team.told()
        try:
            raise ValueError("the disk is full")
        except ValueError:
            while True:  # until the other one is gone
                team.going = False
                team.call_off()
                if not multiprocessing.active_children():
                    break
            raise


def test_processes_take_the_gpus_that_are_the_runs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    cuda = torch.device("cuda")
    assert [str(Team(rank, 2, rank, 2).device(cuda)) for rank in (0, 1)] == ["cuda:0", "cuda:1"]
    assert [str(Team(rank, 2, rank, 2, (3, 1)).device(cuda)) for rank in (0, 1)] == ["cuda:3", "cuda:1"]


def test_a_process_that_is_started_here_leaves_signals_to_the_leader(
    to_the_other: Callable[[int], threading.Thread],
) -> None:
    to_the_other(signal.SIGUSR2)
    with team_started_here(CPU, 2, does_nothing, None) as team:
        assert team.size == 2


class Lonely(Team):
    """One of several processes, without the others."""

    def gathered(self, value: Any) -> list[Any]:
        return [value]


@pytest.mark.parametrize(("count", "beats"), [(100, 4), (101, 4), (105, 4), (106, 5), (1, 0)])
def test_every_process_asks_as_often_while_it_evaluates(micro: Compose, count: int, beats: int) -> None:
    config = micro("eval.batch_size=13", "eval.mirrored_views=false")  # chunks of 13 centre views
    assembled = assemble(config, CPU)
    asked = []
    for rank in (0, 1):
        assembled.trainer.team = Lonely(rank, 2)
        asked.append(0)

        def beat() -> None:
            asked[-1] += 1

        if count > 1 or rank == 1:
            probabilities(assembled, config.eval, "test", np.arange(count), beat, all_views=False)
    assert asked == [beats, beats]


@pytest.mark.slow
def test_a_run_of_two_processes_stops_during_its_last_evaluation(
    micro: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = micro("trainer.processes=2", "trainer.epochs=1", "eval.batch_size=16")
    evaluates = []

    def noted(*arguments: Any) -> Any:
        evaluates.append(True)
        return final_outcome(*arguments)

    @contextmanager
    def stop() -> Iterator[Callable[[], int]]:
        yield lambda: signal.SIGINT if evaluates else 0

    monkeypatch.setattr(job, "final_outcome", noted)
    monkeypatch.setattr(job, "stop_on_signal", stop)
    with pytest.raises(Interrupted):
        job.run(config, "run")
    folder = RunFolder(Path(config.paths.runs) / "run")
    assert folder.read_status()["state"] == "interrupted" and folder.checkpoint.exists()
    monkeypatch.undo()
    assert job.run(config, "run")["epochs"] == 1


class NoWord:
    def check(self, keys: list[str]) -> bool:
        return False


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("PytorchStreamWriter failed writing file data/3: No space left on device"), False),
        (OSError("No space left on device"), False),
        (RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer"), True),
        (torch.distributed.DistStoreError("wait timeout"), True),
    ],
)
def test_an_error_of_its_own_is_not_taken_for_a_lost_process(error: Exception, lost: bool) -> None:
    cause = Team(0, 2, store=NoWord()).cause(error)
    assert isinstance(cause, ProcessLost) == lost and (lost or cause is error)


# --- whole runs ---

TWO = ("model.width=0.05", "trainer.epochs=2", "trainer.cpu_threads=1", "eval.clean_train_images=64")
TOGETHER = (*TWO, "trainer.processes=2")
PROGRAM = (sys.executable, "-m", "alexnet_sweep")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "alexnet_sweep")


def ran(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    folder.mkdir(exist_ok=True)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def the_run(folder: Path) -> RunFolder:
    (status,) = folder.glob("runs/*/status.json")
    return RunFolder(status.parent)


def files(folder: Path) -> dict[str, bytes]:
    return {name: (the_run(folder).path / name).read_bytes() for name in SAME_BYTES}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    done = ran(folder, *PROGRAM, *TOGETHER)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_image_is_evaluated_once(together: Path, main: Main) -> None:
    assert main(*TWO) == 0
    one, two = the_run(Path()), the_run(together)
    assert one.run_id != two.run_id  # the number of processes is part of what a run is
    tables = [pq.read_table(run.predictions).to_pandas() for run in (one, two)]
    for column in ("split", "image", "label"):
        assert tables[0][column].tolist() == tables[1][column].tolist()
    metrics = [pd.read_csv(run.metrics) for run in (one, two)]
    for column in ("clean_train_images", "heldout_images", "learning_rate"):
        assert metrics[0][column].tolist() == metrics[1][column].tolist()


@pytest.mark.slow
def test_only_the_leader_writes(together: Path) -> None:
    run = the_run(together)
    assert run.log.read_text().count("epoch 2/2") == 1
    assert len(list(run.path.glob("events.*"))) == 1
    assert {path.name for path in together.iterdir()} == {"runs"}


@pytest.mark.slow
def test_torchrun_gives_the_bytes_of_processes_started_here(together: Path, tmp_path: Path) -> None:
    done = ran(tmp_path, *TORCHRUN, *TOGETHER)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == files(together)
    again = ran(tmp_path, *TORCHRUN, *TOGETHER)  # nothing to do: nobody waits for a run that does not come
    assert again.returncode == 0 and "is done" in again.stdout


@pytest.mark.slow
def test_a_number_that_torchrun_does_not_start_is_refused(tmp_path: Path) -> None:
    done = ran(tmp_path, *TORCHRUN, *TWO)
    assert done.returncode != 0
    assert "trainer.processes=1: 2 processes were started for the run; set it to 2" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_sweep_starts_processes_for_each_run(together: Path, tmp_path: Path) -> None:
    done = ran(tmp_path, *PROGRAM, "-m", "seed=0,1", *TOGETHER)
    assert done.returncode == 0 and "2 of 2 runs done" in done.stdout
    first = the_run(together).run_id
    assert {name: (tmp_path / "runs" / first / name).read_bytes() for name in SAME_BYTES} == files(together)


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    long = (*TOGETHER, "trainer.epochs=12")
    undisturbed = ran(tmp_path / "undisturbed", *PROGRAM, *long)
    assert undisturbed.returncode == 0, undisturbed.stderr
    folder = tmp_path / "stopped"
    folder.mkdir()
    process = subprocess.Popen(
        [*PROGRAM, *long],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not list(folder.glob("runs/*/checkpoint.pt")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)  # to the leader alone
    printed = process.communicate()[1]
    assert process.returncode == 130 and "the same command goes on with it" in printed
    assert ran(folder, *PROGRAM, *long).returncode == 0
    assert files(folder) == files(tmp_path / "undisturbed")
    assert "resumed at epoch" in the_run(folder).log.read_text()


TRIPS = """
import os, signal
from torch import distributed, nn

class Trips(nn.ReLU):
    def forward(self, units):
        if self.training and distributed.is_initialized() and distributed.get_rank() == 1:
            {what}
        return super().forward(units)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("raise ValueError('tripped over a cable')", "process 1 on .*: ValueError: tripped over a cable"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "a process of the run was lost without a word"),
    ],
)
@pytest.mark.parametrize("way", [PROGRAM, TORCHRUN], ids=["started here", "torchrun"])
def test_a_process_that_raises_or_dies_ends_the_run_with_its_cause(
    tmp_path: Path, way: tuple[str, ...], what: str, cause: str
) -> None:
    (tmp_path / "own.py").write_text(TRIPS.format(what=what))
    done = ran(tmp_path, *way, *TOGETHER, "model.activation.custom={_target_: own.Trips}")
    assert done.returncode != 0
    status = the_run(tmp_path).read_status()
    assert the_run(tmp_path).read_result() is None
    assert status["state"] == "failed" and re.search(cause, status["reason"]), status["reason"]
