"""Folders that their owners keep from the user: one line that names them, and what else there is still goes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alexnet_sweep.identity import sources_hash
from alexnet_sweep.reuse import note_trained
from alexnet_sweep.store import RunFolder
from hand_made import RANKS, ranked_study, restate

SMALL = ("model.width=0.05", "trainer.cpu_threads=1", "eval.clean_train_images=16", "trainer.epochs=1")
# Root may read everything, unless that is taken from it.
NO_MORE_THAN_OTHERS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []


def program(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*NO_MORE_THAN_OTHERS, sys.executable, "-m", "alexnet_sweep", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0)
    try:
        yield
    finally:
        folder.chmod(0o755)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "0123456789ab"),
        ("export", "0123456789ab", "--onnx", "x.onnx"),
        ("data", "info"),
        ("inspect", "0123456789ab"),
        ("clean",),
        ("status",),
        SMALL,
        ("-m", "model/lrn=on,off", *SMALL),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_closed_folder_of_runs_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with closed(tmp_path / "runs"):
        done = program(tmp_path, *arguments)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert done.stderr.startswith("runs") and "(Permission denied); " in done.stderr


@pytest.mark.slow
def test_a_run_whose_store_or_folder_is_closed_is_one_line(tmp_path: Path) -> None:
    assert program(tmp_path, *SMALL).returncode == 0
    (store,) = (tmp_path / "runs/_data").iterdir()
    (run,) = (tmp_path / "runs").glob("[0-9a-f]*")
    for place, arguments in ((store, (*SMALL, "seed=1")), (run, SMALL)):
        with closed(place):
            done = program(tmp_path, *arguments)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
        assert done.stderr.startswith(str(place.relative_to(tmp_path)))
    assert program(tmp_path, *SMALL).returncode == 0


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Four finished runs, each with an old checkpoint; old data that they do not need."""
    ranked_study(tmp_path / "runs", dict(RANKS))
    for folder in (tmp_path / "runs").glob("0*"):
        restate(RunFolder(folder), source_hash=sources_hash(()))
        (folder / "checkpoint.pt").write_bytes(b"x")
    store = tmp_path / "runs/_data/0123456789abcdef"
    store.mkdir(parents=True)
    os.utime(store, (0, 0))
    note_trained(RunFolder(tmp_path / "runs" / ("0" * 12)), "trained", sources_hash(()))
    return tmp_path / "runs"


def test_clean_names_a_run_that_it_may_not_look_into_and_goes_on(runs: Path) -> None:
    first = RunFolder(runs / ("0" * 12))
    with closed(first.path):
        done = program(runs.parent, "clean", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"runs/{first.run_id}: kept from you, not looked into" in done.stdout.splitlines()
    assert [path.parent.name for path in runs.glob("0*/checkpoint.pt")] == [first.run_id]
    # What it may need stays, and so does what names it.
    assert "1 of runs/_data kept" in done.stdout and len(list((runs / "_data").iterdir())) == 1
    assert len(list((runs / "_trained").iterdir())) == 1


@pytest.mark.parametrize("place", ["_data", "_trained", "_studies", "_studies/hand"])
def test_clean_goes_on_beside_a_closed_folder_of_ours(runs: Path, place: str) -> None:
    with closed(runs / place):
        done = program(runs.parent, "clean", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"runs/{place}: kept from you, not looked into" in done.stdout.splitlines()
    assert not list(runs.glob("0*/checkpoint.pt"))
    assert bool(list((runs / "_data").iterdir())) == (place != "_trained")  # a study may need what lies there
