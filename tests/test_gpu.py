"""The same run on a CUDA device. Deselected unless asked for: `pytest -m gpu`."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from alexnet_sweep.assemble import assemble
from alexnet_sweep.backend import backend
from alexnet_sweep.cli import run_one
from alexnet_sweep.evaluation import evaluation
from alexnet_sweep.finished import finished_run
from alexnet_sweep.job import run
from alexnet_sweep.trouble import OutOfMemory
from conftest import Compose, outside_hydra

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


@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
@pytest.mark.parametrize("hold", ["always", "never"])
def test_no_step_waits_for_the_gpu(micro: Compose, hold: str) -> None:
    config = micro("trainer.device=cuda", "trainer.epochs=1", "trainer.precision=bf16", f"trainer.hold_images={hold}")
    with backend(config.trainer):
        steps = assemble(config, torch.device("cuda")).trainer.steps()
        next(steps)
        try:
            torch.cuda.set_sync_debug_mode("error")
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


@pytest.mark.parametrize(
    "how",
    [(), ("trainer.memory_format=channels_last",), ("trainer.memory_format=channels_last", "trainer.compile=true")],
)
@pytest.mark.parametrize("topology", ["two_gpu", "dense"])
def test_a_run_learns_on_the_gpu_what_it_learns_on_a_cpu(micro: Compose, topology: str, how: tuple[str, ...]) -> None:
    same = ("trainer.precision=fp32", "regularizer/dropout=off", f"model/topology={topology}")

    def losses(device: str, *more: str) -> list[float]:
        config = micro(f"trainer.device={device}", *same, *more)
        with backend(config.trainer):
            trainer = assemble(config, torch.device(device)).trainer
            return [trainer.recent_loss() for _ in islice(trainer.steps(), 8)]

    assert losses("cuda", *how) == pytest.approx(losses("cpu"), rel=2e-3)


def test_a_gpu_without_enough_memory_names_what_to_lower(micro: Compose) -> None:
    torch.cuda.empty_cache()
    share = (torch.cuda.memory_allocated() + (64 << 20)) / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        with pytest.raises(OutOfMemory, match=r"^out of memory in training with trainer\.batch_size=512, .*; lower "):
            run(micro("trainer.device=cuda", "model.width=1", "trainer.batch_size=512"), "0123456789ab")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def test_what_a_gpu_trained_is_evaluated_alike_on_a_cpu(micro: Compose, tmp_path: Path) -> None:
    run(micro("trainer.device=cuda", "trainer.precision=fp32", "trainer.epochs=6"), "0123456789ab")
    with outside_hydra():
        done = finished_run("0123456789ab", tmp_path / "runs")
        on_gpu, on_cpu = (evaluation(done, ["test"], device).rows for device in ("cuda", "cpu"))
    assert [row["error"] for row in on_gpu] == pytest.approx([row["error"] for row in on_cpu], abs=0.01)
