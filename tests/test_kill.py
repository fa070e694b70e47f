"""The quick study with one seed, killed again and again, ends with the bytes of the undisturbed one."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alexnet_sweep.running import alive_elsewhere
from alexnet_sweep.store import RunFolder

pytestmark = pytest.mark.slow

KILLS = 5
QUICK = Path(__file__).parents[1] / "sweeps/quick.yaml"
COMMAND = (
    *(sys.executable, "-m", "alexnet_sweep", "-m", "study=quick.yaml"),
    *("trainer.cpu_threads=1", "checkpoint.every_minutes=0.01", "trainer.progress=false"),
)
RUN_FILES = ("config.yaml", "metrics.csv", "predictions.parquet", "result.json", "weights.safetensors")
REPORT_FILES = ("results.csv", "deltas.csv")


def started(folder: Path) -> "subprocess.Popen[bytes]":
    folder.mkdir(exist_ok=True)
    (folder / "quick.yaml").write_text(QUICK.read_text().replace("seeds: 3", "seeds: 1"))
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(COMMAND, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def run_folders(folder: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted((folder / "runs").iterdir()) if not path.name.startswith("_")]


def contents(folder: Path) -> dict[str, bytes]:
    found = {
        f"{run.run_id}/{name}": (run.path / name).read_bytes() for run in run_folders(folder) for name in RUN_FILES
    }
    (report,) = (folder / "reports").iterdir()
    return found | {name: (report / name).read_bytes() for name in REPORT_FILES}


def in_training(folder: Path) -> bool:
    """Whether some run has saved a checkpoint and goes on."""
    if not (folder / "runs").is_dir():
        return False
    return any(run.checkpoint.is_file() and alive_elsewhere(run) is not None for run in run_folders(folder))


def killed_at_a_random_moment(folder: Path, moments: random.Random) -> None:
    """Start the study, wait until it trains and a little longer, and kill it and all it has started."""
    process = started(folder)
    try:
        while not in_training(folder):
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 3.0))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_study_killed_at_random_moments_ends_with_the_bytes_of_the_undisturbed_one(tmp_path: Path) -> None:
    quiet, disturbed = tmp_path / "quiet", tmp_path / "disturbed"
    assert started(quiet).wait() == 0, (quiet / "log").read_text()
    moments = random.Random(20121203)
    for _ in range(KILLS):
        killed_at_a_random_moment(disturbed, moments)
    assert started(disturbed).wait() == 0, (disturbed / "log").read_text()

    assert contents(disturbed) == contents(quiet)
    resumed = [
        (int(epoch), int(step))
        for run in run_folders(disturbed)
        for epoch, step in re.findall(r"resumed at epoch (\d+), step (\d+)", run.log.read_text())
    ]
    assert len(resumed) >= 1 and any(epoch > 1 or step > 0 for epoch, step in resumed)
    attempts = [json.loads(run.status.read_text())["attempts"] for run in run_folders(disturbed)]
    assert len(attempts) < sum(attempts) <= len(attempts) + KILLS
