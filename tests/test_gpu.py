"""The same run on a CUDA device. Deselected unless asked for: `pytest -m gpu`."""

import pytest
import torch

from alexnet_sweep.assemble import assemble
from alexnet_sweep.backend import backend
from alexnet_sweep.cli import run_one
from conftest import Compose

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_trains_on_cuda_at_every_precision(micro: Compose, precision: str) -> None:
    result = run_one(micro("trainer.device=cuda", f"trainer.precision={precision}", "trainer.epochs=6"))
    assert result["effective"]["device"] == "cuda" and result["effective"]["precision"] == precision
    assert result["last_epoch"]["train_loss"] < 2.3


def test_the_same_run_gives_the_same_answers_on_one_gpu(micro: Compose, tmp_path: object) -> None:
    config = micro("trainer.device=cuda")
    first = run_one(config)
    config.paths.runs = f"{tmp_path}/again"
    assert run_one(config)["errors"] == first["errors"]


@pytest.mark.parametrize("hold", ["always", "never"])
def test_no_step_waits_for_the_gpu(micro: Compose, hold: str) -> None:
    config = micro("trainer.device=cuda", "trainer.epochs=1", "trainer.precision=bf16", f"trainer.hold_images={hold}")
    with backend(config.trainer):
        steps = assemble(config, torch.device("cuda")).trainer.steps()
        next(steps)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                next(steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("tf32", ["true", "false"])
def test_settings_of_speed_are_recorded_on_cuda(micro: Compose, memory_format: str, tf32: str) -> None:
    chosen = (f"trainer.memory_format={memory_format}", f"trainer.tf32={tf32}")
    effective = run_one(micro("trainer.device=cuda", "trainer.epochs=1", *chosen))["effective"]
    assert effective["memory_format"] == memory_format and effective["tf32"] == (tf32 == "true")


def test_images_held_on_the_gpu_make_the_same_batches(micro: Compose) -> None:
    def batches(*more: str) -> list[torch.Tensor]:
        job = assemble(micro("trainer.device=cuda", *more), torch.device("cuda"))
        assert job.trainer.batches.reader.reads == ("trainer.hold_images=never" in more)
        return [inputs.cpu() for inputs, _ in job.trainer.batches.epoch(0)]

    held, fetched = batches("trainer.hold_images=auto"), batches("trainer.hold_images=never")
    assert all(torch.equal(one, other) for one, other in zip(held, fetched, strict=True))


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_that_are_read_ahead_are_the_same_on_the_gpu(micro: Compose, workers: int) -> None:
    def batches(number: int) -> list[torch.Tensor]:
        job = assemble(micro("trainer.device=cuda", "trainer.hold_images=never"), torch.device("cuda"))
        job.trainer.batches.reader.workers = number
        return [inputs.cpu() for inputs, _ in job.trainer.batches.epoch(0)]

    assert all(torch.equal(one, other) for one, other in zip(batches(workers), batches(0), strict=True))
