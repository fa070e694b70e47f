"""A long sweep in one process holds no more after its last run than after its first few."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from loguru import logger

from alexnet_sweep import job
from conftest import Main
from test_sweep import SMALL

WARM_UP, SEEDS = 6, 8  # runs before the first that counts: what is made once for all
OBJECTS_A_RUN = 100  # a run whose config alone is kept holds fifteen times as many
KEPT_MIB = 20


def held() -> dict[str, float]:
    """What this process holds."""
    gc.collect()
    process = psutil.Process()
    return {
        "open files": process.num_fds(),
        "threads": threading.active_count(),
        "sinks of the log": len(logger._core.handlers),  # type: ignore[attr-defined]
        "networks": sum(issubclass(type(value), torch.nn.Module) for value in gc.get_objects()),
        "mapped stores": sum(".npy" in part.path for part in process.memory_maps()),
        "objects": len(gc.get_objects()),
        "MiB": process.memory_info().rss / 2**20,
    }


@pytest.mark.slow
def test_runs_of_a_long_sweep_leave_nothing_behind_them(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, float]] = []
    run: Callable[..., Any] = job.run

    def watched(*arguments: Any, **keys: Any) -> Any:
        seen.append(held())  # before each: what those before it have left
        return run(*arguments, **keys)

    monkeypatch.setattr(job, "run", watched)
    seeds = ",".join(map(str, range(SEEDS)))
    # Every second run fails, and its error holds all that it was at work on.
    grid = ("-m", f"seed={seeds}", "optim.learning_rate=0.01,1e30", *SMALL, "trainer.epochs=1", "sweep.retries=0")
    assert main(*grid) == 1
    assert len(seen) == 2 * SEEDS == len(list(Path("runs").glob("*/status.json")))
    first, last = seen[WARM_UP], seen[-1]
    exact = [what for what in first if what not in ("objects", "MiB")]
    assert {what: last[what] for what in exact} == {what: first[what] for what in exact}
    assert last["objects"] - first["objects"] < OBJECTS_A_RUN * (len(seen) - WARM_UP)
    assert last["MiB"] - first["MiB"] < KEPT_MIB
