"""What runs that go side by side may use."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from alexnet_sweep import launching, machine
from alexnet_sweep.launching import AT_ONCE, at_once_here, cores_of_a_run, how_many_at_once, own_gpus, sharing


def test_as_many_go_at_once_as_asked_for_or_as_there_are_places() -> None:
    assert how_many_at_once(3, gpus=8, runs_per_gpu=1) == 3
    assert how_many_at_once(None, gpus=4, runs_per_gpu=2) == 8
    assert how_many_at_once(None, gpus=0, runs_per_gpu=2) == machine.usable_cores()
    assert how_many_at_once(None, gpus=4, runs_per_gpu=1, processes=2) == 2
    assert how_many_at_once(None, gpus=4, runs_per_gpu=1, processes=8) == 1


def test_the_cores_are_shared_while_runs_go_side_by_side_and_no_longer() -> None:
    assert cores_of_a_run() == machine.usable_cores()
    with sharing(machine.usable_cores(), 1):
        assert at_once_here() == machine.usable_cores() and cores_of_a_run() == 1
        with sharing(1, 1):
            assert cores_of_a_run() == machine.usable_cores()
        assert cores_of_a_run() == 1
    assert AT_ONCE not in os.environ


@pytest.mark.parametrize("told", ["", "many", "0", "-3"])
def test_nonsense_in_the_environment_counts_as_one(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv(AT_ONCE, told)
    assert at_once_here() == 1


def test_more_runs_than_cores_still_get_one_each() -> None:
    with sharing(10 * machine.usable_cores(), 1):
        assert cores_of_a_run() == 1


def test_a_run_alone_is_given_no_gpu_of_its_own(tmp_path: Path) -> None:
    with own_gpus(4, 1, tmp_path) as own:
        assert own == ()


def test_runs_side_by_side_take_different_gpus_first_and_then_share(tmp_path: Path) -> None:
    with sharing(4, 2), ExitStack() as runs:
        assert [runs.enter_context(own_gpus(2, 1, tmp_path)) for _ in range(3)] == [(0,), (1,), (0,)]


def test_runs_of_several_processes_take_a_gpu_for_each(tmp_path: Path) -> None:
    with sharing(3, 1), own_gpus(5, 2, tmp_path) as one, own_gpus(5, 2, tmp_path) as two:
        assert (one, two) == ((0, 1), (2, 3))
    with sharing(3, 2), own_gpus(3, 2, tmp_path) as one, own_gpus(3, 2, tmp_path) as two:
        assert (one, two) == ((0, 1), (2, 0))
    with sharing(2, 1), own_gpus(1, 2, tmp_path) as own:
        assert own == ()  # there are too few for one run: it says so itself


def test_who_waits_for_several_gpus_keeps_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sharing(3, 1), ExitStack() as running:
        running.enter_context(own_gpus(3, 1, tmp_path))
        single = ExitStack()
        single.enter_context(own_gpus(3, 1, tmp_path))

        def others_go_on(_: float) -> None:
            with own_gpus(3, 1, tmp_path) as own:
                assert own == (2,)
            single.close()

        monkeypatch.setattr(launching.time, "sleep", others_go_on)
        with own_gpus(3, 2, tmp_path) as own:
            assert own == (1, 2)


def test_a_gpu_is_free_again_when_its_run_ends(tmp_path: Path) -> None:
    with sharing(2, 1):
        for _ in range(3):
            with own_gpus(1, 1, tmp_path) as own:
                assert own == (0,)


HOLD = """
import sys, time
from pathlib import Path
from alexnet_sweep.launching import own_gpus
with own_gpus(1, 1, Path(sys.argv[1])) as own:
    print(*own, flush=True)
    time.sleep(60)
"""


def test_a_gpu_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    with sharing(2, 1):
        holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None and holder.stdout.readline().strip() == "0"
        holder.kill()
        holder.wait()
        holder.stdout.close()
        with own_gpus(1, 1, tmp_path) as own:
            assert own == (0,)
