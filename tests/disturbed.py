"""A micro-study in processes that are forked from one that has imported everything, disturbed on its way.

Two arms of drawn pictures, a net of a few thousand parameters, two epochs: a second or two from packing to report.
"""

import contextlib
import functools
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alexnet_sweep import failpoints
from alexnet_sweep.composing import composed
from alexnet_sweep.config import Config

COMMON = (
    *("experiment=photos", "data.path=../photos", "model.width=0.02", "trainer.epochs=2"),
    *("data.stored_px=32", "data.crop_px=27", "model/stem=px32", "trainer.batch_size=16", "trainer.cpu_threads=1"),
    *("eval.clean_train_images=8", "eval.mirrored_views=false", "trainer.progress=false", "checkpoint.every_minutes=0"),
    *("data.heldout_fraction=0.2", "model/depth=drop_conv4", "model/init=he", "optim.learning_rate=0.001"),
)
JOBS = [[f"model/lrn={level}", *COMMON] for level in ("on", "off")]
RUN_FILES = ("config.yaml", "metrics.csv", "predictions.parquet", "result.json", "weights.safetensors")
IMPORTS = ["disturbed", "alexnet_sweep.job", "alexnet_sweep.cli", "alexnet_sweep.report.write", "alexnet_sweep.sweep"]

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(IMPORTS)


def conducted(
    folder: Path, failpoint: str | None = None, more: Sequence[str] = (), before: Callable[[], None] | None = None
) -> int:
    """Carry out the study in a process of its own; its exit code, or less a signal's number."""
    process = started(folder, failpoint, more, before)
    process.join(120)
    if process.is_alive():
        process.kill()
        raise AssertionError(f"does not end: {log_of(folder)}")
    assert process.exitcode is not None
    return process.exitcode


def started(
    folder: Path, failpoint: str | None = None, more: Sequence[str] = (), before: Callable[[], None] | None = None
) -> "multiprocessing.context.ForkServerProcess":
    folder.mkdir(exist_ok=True)
    process = _forks.Process(target=_conduct, args=(folder, failpoint, [*more], before))
    process.start()
    return process


@functools.cache
def _composed(overrides: tuple[str, ...]) -> Config:
    return composed(list(overrides))


if multiprocessing.current_process().name == "MainProcess" and "forkserver" in " ".join(sys.orig_argv):
    for _job in (*JOBS, COMMON):  # once for all: Hydra takes longer for it than a run
        _composed(tuple(_job))


def _launched(batch: list[list[str]]) -> list[Any]:
    """As Hydra's own launcher: one after the other, and an error is one run's."""
    from alexnet_sweep.cli import run_one

    for overrides in batch:
        try:
            run_one(_composed(tuple(overrides)), in_a_sweep=True)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return []


def _conduct(folder: Path, failpoint: str | None, more: list[str], before: Callable[[], None] | None) -> None:
    import torch

    from alexnet_sweep.errors import RunsFailed, SweepError
    from alexnet_sweep.planning import asked_for
    from alexnet_sweep.sweep import conduct
    from alexnet_sweep.terminal import show_log

    torch.set_num_threads(1)
    if failpoint is not None:
        os.environ[failpoints.VARIABLE] = failpoint
    os.chdir(folder)
    sys.argv = ["alexnet_sweep", "-m"]
    code = 0
    with _log(folder).open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
        show_log()
        if before is not None:
            before()
        try:
            jobs = [[*job, *more] for job in JOBS]
            conduct(asked_for(jobs, ["model/lrn"]), compose=lambda given: _composed(tuple(given)), launch=_launched)
        except (RunsFailed, SweepError, KeyboardInterrupt) as error:  # as the command line ends
            print(error, file=sys.stderr)
            code = 1 if isinstance(error, RunsFailed) else 2 if isinstance(error, SweepError) else 130
    os._exit(code)


def _log(folder: Path) -> Path:
    """Not on the disk of the study, which may be full."""
    return folder.parent.parent / f"{folder.parent.name}-{folder.name}.log"


def log_of(folder: Path) -> str:
    log = _log(folder)
    return log.read_text(errors="replace") if log.is_file() else ""


def last_line(folder: Path) -> str:
    return log_of(folder).rstrip().rsplit("\n", 1)[-1]


def run_folders(folder: Path) -> list[Path]:
    return [path for path in sorted((folder / "runs").iterdir()) if not path.name.startswith("_")]


def contents(folder: Path) -> dict[str, bytes]:
    """All that must be the same bytes: of runs, of the packed data set, and the report's tables."""
    found = {f"{run.name}/{name}": (run / name).read_bytes() for run in run_folders(folder) for name in RUN_FILES}
    (store,) = (path for path in (folder / "runs/_data").iterdir() if not path.name.startswith("."))
    (report,) = (folder / "reports").iterdir()
    return found | {
        path.name: path.read_bytes() for path in (*store.iterdir(), *report.glob("*.csv")) if path.is_file()
    }


def finished(folder: Path) -> dict[str, tuple[int, int]]:
    """Each result that is there: its inode and time, which change where it is written again."""
    found = {}
    for run in run_folders(folder) if (folder / "runs").is_dir() else []:
        with contextlib.suppress(FileNotFoundError):
            told = (run / "result.json").stat()
            found[run.name] = (told.st_ino, told.st_mtime_ns)
    return found


def copied(source: Path, folder: Path) -> Path:
    """The same folder at another place, times and all."""
    shutil.copytree(source, folder, symlinks=True)
    return folder
