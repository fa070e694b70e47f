"""What is asked of SLURM for a job, and what a job finds in its environment; no cluster is asked."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep import slurm
from alexnet_sweep.errors import ConfigError
from hydra_plugins import slurm_launcher
from hydra_plugins.slurm_launcher import OF_A_TEAM, PORTS, SlurmLauncher, shared_out

submitit = pytest.importorskip("submitit")


def launcher(**changes: Any) -> Any:
    params = {
        "array_parallelism": 16,
        "nodes": 1,
        "tasks_per_node": 1,
        "cpus_per_task": 4,
        "name": "sweep",
        "max_num_timeout": 3,
    }
    return SlurmLauncher(**(params | {"submitit_folder": "unused", "timeout_min": 60} | changes))


def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """What submitit is given for two jobs."""
    given: dict[str, Any] = {}

    class Executor:
        def __init__(self, **_: Any) -> None:
            self.update_parameters = given.update

        def map_array(self, function: Any, *arguments: Any) -> list[Any]:
            paths = SimpleNamespace(stderr=tmp_path / "err", stdout=tmp_path / "out")
            return [SimpleNamespace(job_id=f"7_{number}", paths=paths) for number in range(len(arguments[0]))]

    monkeypatch.setattr(submitit, "AutoExecutor", Executor)
    monkeypatch.setattr(slurm, "largest_array", lambda: 1001)
    jobs = launcher(**changes).submit([["seed=0"], ["seed=1"]], tmp_path, "sweep-1")
    log = tmp_path / ("out" if changes.get("stderr_to_stdout") else "err")
    assert jobs == [("7_0", log), ("7_1", log)]
    return given


def test_jobs_are_requeued_whatever_the_site_does_and_end_with_a_lost_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = asked(monkeypatch, tmp_path, additional_parameters={"mail-type": "END"})
    assert given["name"] == "sweep-1"
    assert given["slurm_additional_parameters"] == {"requeue": True, "mail-type": "END"}
    assert given["slurm_srun_args"] == ["--kill-on-bad-exit=1", "--cpus-per-task=4"]
    given = asked(monkeypatch, tmp_path, additional_parameters={"no-requeue": True}, cpus_per_task=None)
    assert given["slurm_additional_parameters"] == {"no-requeue": True}
    assert given["slurm_srun_args"] == ["--kill-on-bad-exit=1"]


@given(st.integers(1, 5000), st.integers(1, 1001), st.integers(1, 64))
def test_arrays_are_no_larger_than_allowed_and_share_what_may_run_at_a_time(
    jobs: int, largest: int, parallel: int
) -> None:
    arrays = shared_out(jobs, largest, parallel)
    assert all(1 <= size <= largest for size, _ in arrays)
    assert all(at_a_time >= 1 for _, at_a_time in arrays) and sum(at_a_time for _, at_a_time in arrays) == parallel
    carried_out = sum(size for size, _ in arrays)
    assert carried_out == jobs or len(arrays) == parallel  # the others' turn comes later
    assert max(size for size, _ in arrays) - min(size for size, _ in arrays) <= 1


def test_a_cluster_that_does_not_say_how_large_an_array_may_be_gets_one() -> None:
    assert shared_out(5000, None, 16) == [(5000, 16)]


def test_the_log_is_where_errors_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert asked(monkeypatch, tmp_path, stderr_to_stdout=True)["stderr_to_stdout"]


def test_a_job_that_would_be_stopped_at_once_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"signal_delay_s=120: a job has 60 s \(timeout_min=1\); allowed: fewer"):
        asked(monkeypatch, tmp_path, timeout_min=1, signal_delay_s=120)


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_job_does_not_inherit_where_others_meet(monkeypatch: pytest.MonkeyPatch, tasks: int) -> None:
    job = SimpleNamespace(
        job_id="7_0",
        num_tasks=tasks,
        num_nodes=1,
        hostnames=["node1"],
        global_rank=0,
        local_rank=0,
        USR_SIG="USR2",
    )
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: job)
    monkeypatch.setattr(submitit.helpers, "JobEnvironment", lambda: job)
    monkeypatch.setattr(slurm_launcher.signal, "getsignal", lambda number: print)
    found: dict[str, str] = {}

    def runs(self: Any, *arguments: Any, **keywords: Any) -> Any:
        found.update(os.environ)
        return SimpleNamespace(return_value=None)

    (base,) = SlurmLauncher.__bases__  # Hydra may have executed the module again since it was imported here
    monkeypatch.setattr(base, "__call__", runs)
    for name in (*OF_A_TEAM, "ALEXNET_SWEEP_JOB"):
        monkeypatch.setenv(name, "29500")
    launcher()()
    if tasks == 1:
        assert not set(OF_A_TEAM) & set(found)
    else:
        assert PORTS[0] <= int(found["MASTER_PORT"]) <= PORTS[1]
        assert (found["MASTER_ADDR"], found["RANK"], found["WORLD_SIZE"]) == ("node1", "0", "2")
