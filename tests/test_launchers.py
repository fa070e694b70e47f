"""The same runs give the same bytes in one process or several, in any order, alone or through any launcher."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from test_sweep import SAME_BYTES

pytestmark = pytest.mark.slow

SMALL = ("model.width=0.05", "trainer.epochs=2", "trainer.cpu_threads=1", "eval.clean_train_images=64")
WAYS = {
    "in one process": ("-m", "model/lrn=on,off"),
    "in the other order": ("-m", "model/lrn=off,on"),
    "a process each": ("-m", "model/lrn=on,off", "sweep.isolation=process"),
    "joblib": ("-m", "model/lrn=on,off", "hydra/launcher=joblib"),
    "submitit": ("-m", "model/lrn=on,off", "hydra/launcher=submitit_local"),
}


def program(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "alexnet_sweep", *arguments, *SMALL]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def files(folder: Path) -> dict[str, bytes]:
    runs = [path for path in (folder / "runs").iterdir() if not path.name.startswith("_")]
    return {f"{path.name}/{name}": (path / name).read_bytes() for path in runs for name in SAME_BYTES}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Both runs, each started by itself."""
    folder = tmp_path_factory.mktemp("alone")
    for level in ("on", "off"):
        done = program(folder, f"model/lrn={level}")
        assert done.returncode == 0, done.stderr
    return files(folder)


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_the_same_whichever_way_it_is_started(way: str, alone: dict[str, bytes], tmp_path: Path) -> None:
    done = program(tmp_path / "here", *WAYS[way])
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs done" in done.stdout
    assert files(tmp_path / "here") == alone


@pytest.mark.parametrize("way", ["sweep.isolation=process", "hydra/launcher=joblib"])
def test_a_run_that_fails_elsewhere_is_told_of_and_the_others_finish(way: str, tmp_path: Path) -> None:
    # The second arm diverges: its loss is no longer a number after the first epoch.
    done = program(tmp_path / "here", "-m", "optim.learning_rate=0.01,1e9", "model/init=he", way)
    assert done.returncode == 1, done.stderr
    assert "1 of 2 runs done (1 failed)" in done.stdout
    assert "TrainingDiverged" in done.stderr and "lower optim.learning_rate" in done.stderr


def test_runs_at_once_share_the_cores(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    arguments = ("-m", "model/lrn=on,off", "hydra/launcher=joblib", "sweep.at_once=2", "trainer.cpu_threads=auto")
    command = [sys.executable, "-m", "alexnet_sweep", *SMALL[:2], *SMALL[3:], *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    import json

    shares = [json.loads(path.read_text())["effective"]["cpu_threads"] for path in tmp_path.glob("runs/*/result.json")]
    assert shares == [len(os.sched_getaffinity(0)) // 2] * 2
