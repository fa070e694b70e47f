"""Runs in one process leave nothing behind for the next, and share every draw that their factor does not concern."""

import gc
import logging
import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loguru import logger

from alexnet_sweep.assemble import assemble
from alexnet_sweep.config import Config
from alexnet_sweep.model.layers import KeyedDropout
from alexnet_sweep.trouble import TrainingDiverged
from conftest import Compose, Main
from test_sweep import SAME_BYTES, SMALL


def process_state() -> dict[str, Any]:
    """What one run could leave behind for the next."""
    gc.collect()
    return {
        "python's draws": random.getstate(),
        "numpy's draws": str(np.random.get_state()),
        "torch's draws": torch.get_rng_state().tolist(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32),
        "matrix products": torch.get_float32_matmul_precision(),
        "torch's threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "number type": torch.get_default_dtype(),
        "log sinks": len(logger._core.handlers),  # type: ignore[attr-defined]
        "handlers of the root logger": [type(handler).__name__ for handler in logging.getLogger().handlers],
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "open files": sorted(
            target
            for entry in Path("/proc/self/fd").iterdir()
            if (target := _target(entry)).startswith("/") and not target.startswith("/dev")
        ),
        "networks": sum(1 for value in gc.get_objects() if issubclass(type(value), torch.nn.Module)),
    }


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:  # the listing's own
        return ""


@pytest.mark.parametrize("ending", [(), ("optim.learning_rate=1e30",)], ids=["done", "failed"])
def test_a_run_leaves_nothing_behind_in_its_process(main: Main, ending: tuple[str, ...]) -> None:
    main(*SMALL, "seed=8")  # what is imported and set up once, for all runs
    before = process_state()
    if ending:
        with pytest.raises(TrainingDiverged):
            main(*SMALL, "seed=9", *ending)
    else:
        assert main(*SMALL, "seed=9") == 0
    after = process_state()
    assert {what: after[what] for what in before if after[what] != before[what]} == {}


def finished() -> dict[str, bytes]:
    runs = [path for path in Path("runs").iterdir() if not path.name.startswith("_")]
    return {f"{run.name}/{name}": (run / name).read_bytes() for run in runs for name in SAME_BYTES}


def test_the_order_of_the_runs_changes_no_byte(main: Main) -> None:
    assert main("-m", "regularizer/dropout=on,off", "seed=0,1", *SMALL) == 0
    one_way = finished()
    Path("runs").rename("first")
    assert main("-m", "seed=1,0", "regularizer/dropout=off,on", *SMALL) == 0
    assert finished() == one_way


def masks_and_batches(config: Config) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Which units dropout keeps over an epoch, and the labels in their order."""
    job = assemble(config, torch.device("cpu"))
    masks: list[torch.Tensor] = []
    for module in job.trainer.net.modules():
        if isinstance(module, KeyedDropout):
            # A unit that is zero before says nothing of its mask: show the layer ones instead.
            module.register_forward_pre_hook(lambda _, given: (torch.ones_like(given[0]),))
            module.register_forward_hook(lambda _, given, kept: masks.append(kept.detach() != 0))
    labels = []
    original = job.trainer.batches.epoch

    def told(epoch: int, first: int = 0) -> Any:
        for inputs, of in original(epoch, first):
            labels.append(of)
            yield inputs, of

    job.trainer.batches.epoch = told  # type: ignore[method-assign]
    for step in job.trainer.steps():
        if step.ends_epoch:
            break
    return masks, labels


@pytest.mark.parametrize("switched", ["aug/lighting=off", "model/lrn=off", "aug/crop=off", "model/pool=plain"])
def test_switching_a_factor_leaves_order_and_dropout_masks_untouched(micro: Compose, switched: str) -> None:
    masks, labels = masks_and_batches(micro())
    others, their_labels = masks_and_batches(micro(switched))
    assert len(masks) == 2 * len(labels) > 0
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(masks, others, strict=True))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(labels, their_labels, strict=True))
