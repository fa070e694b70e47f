"""How many runs go at once on this machine, what each of them may use, and runs in processes of their own. No torch.

Several runs at once share the cores, and take one GPU each. What a run may use is told to it through the environment:
it is no part of its config, and so of no run's identity.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import filelock
from loguru import logger

from alexnet_sweep import machine

AT_ONCE = "ALEXNET_SWEEP_AT_ONCE"  # runs that share this machine
RUNS_PER_GPU = "ALEXNET_SWEEP_RUNS_PER_GPU"
POLL_SECONDS = 2.0
STOPPED = 130  # exit code of a run that was asked to stop


def cores_of_a_run() -> int:
    """Cores that one of the runs at once may use, one at least."""
    return max(1, machine.usable_cores() // at_once_here())


def at_once_here() -> int:
    """How many runs share this machine, as the sweep that launched this process says; 1 outside of one."""
    told = os.environ.get(AT_ONCE, "1")
    return max(1, int(told)) if told.isdecimal() else 1


def started_as() -> tuple[int, int, tuple[int, int]] | None:
    """Rank and number of the processes that `torchrun` or a job of several tasks has started for one run.

    And, as a pair, the same among those on this machine; None where this process was started alone.
    """
    told = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    if not (told["RANK"].isdecimal() and told["WORLD_SIZE"].isdecimal()) or int(told["WORLD_SIZE"]) == 1:
        return None
    local = int(told["LOCAL_RANK"] or 0), int(told["LOCAL_WORLD_SIZE"] or 1)
    return int(told["RANK"]), int(told["WORLD_SIZE"]), local


def how_many_at_once(wanted: int | None, gpus: int, runs_per_gpu: int, processes: int = 1) -> int:
    """As many as asked for; else as have a place on a GPU for each process, or without GPUs a core; one at least."""
    if wanted is not None:
        return wanted
    return max(1, (gpus * runs_per_gpu if gpus else machine.usable_cores()) // processes)


@contextmanager
def sharing(runs: int, runs_per_gpu: int) -> Iterator[None]:
    """Tell the processes that are launched in this block how many they are."""
    before = {name: os.environ.get(name) for name in (AT_ONCE, RUNS_PER_GPU)}
    os.environ[AT_ONCE], os.environ[RUNS_PER_GPU] = str(runs), str(runs_per_gpu)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def own_gpus(gpus: int, wanted: int = 1, places: Path | None = None) -> Iterator[tuple[int, ...]]:
    """The numbers of so many GPUs that no other run of a sweep on this machine uses, for as long as the block lasts.

    Empty where there is nothing to share: too few GPUs, or one run at a time. Waits while too many are taken, and keeps
    none meanwhile; a place is free again when its process ends, however it ends.
    """
    if gpus < wanted or at_once_here() == 1:
        yield ()
        return
    folder = places or Path(tempfile.gettempdir())
    told = os.environ.get(RUNS_PER_GPU, "1")
    # First a place on every GPU, then a second one on each.
    order = [(gpu, place) for place in range(int(told) if told.isdecimal() else 1) for gpu in range(gpus)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace(",", "-").replace("/", "-")
    waiting = False
    while True:
        with ExitStack() as taken:
            found: list[int] = []
            for gpu, place in order:
                lock = filelock.FileLock(folder / f"alexnet_sweep-{os.getuid()}-{visible}-gpu{gpu}-{place}.lock")
                if gpu in found or len(found) == wanted:
                    continue
                with suppress(filelock.Timeout):
                    lock.acquire(timeout=0)
                    taken.callback(lock.release)
                    found.append(gpu)
            if len(found) == wanted:
                yield tuple(found)
                return
        if not waiting:
            logger.info("waiting for {} of {} GPUs", wanted, gpus)
            waiting = True
        time.sleep(POLL_SECONDS)


def in_processes(batch: Sequence[Sequence[str]], flags: Sequence[str]) -> None:
    """Run override lists one after the other, each in a process of its own; how each went is in its run folder.

    Raises:
        KeyboardInterrupt: once a process that was asked to stop has saved its checkpoint.
    """
    for overrides in batch:
        process = subprocess.Popen([sys.executable, "-m", "alexnet_sweep", *flags, *overrides])
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()  # it may not have heard; one more changes nothing
            process.wait()
            raise
        if code == STOPPED:
            raise KeyboardInterrupt
