"""Numbers that are no longer finite, and memory that runs out: what stops the run, what is said, what is kept."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from alexnet_sweep import checkpoint, predict
from alexnet_sweep.assemble import assemble
from alexnet_sweep.config import Config
from alexnet_sweep.job import run
from alexnet_sweep.store import FAILED, RunFolder
from alexnet_sweep.train import Trainer
from alexnet_sweep.trouble import OutOfMemory, TrainingDiverged
from conftest import Compose, Main
from test_sweep import SMALL

Update = Callable[..., tuple[Tensor, Tensor]]
SAVING = ("checkpoint.every_minutes=0", "schedule=constant")  # after every step


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, happens: Callable[[Trainer, Tensor], Tensor]) -> None:
    """Have something happen in a step, after its update; it gives the step's loss."""
    update: Update = Trainer.update

    def disturbed(self: Trainer, *given: Tensor, **named: float) -> tuple[Tensor, Tensor]:
        logits, loss = update(self, *given, **named)
        return logits, happens(self, loss) if self.steps_done + 1 == number else loss

    monkeypatch.setattr(Trainer, "update", disturbed)


def failed(config: Config, kind: type[Exception]) -> tuple[str, RunFolder]:
    """What a run says that fails so, as its status has it too."""
    with pytest.raises(kind) as caught:
        run(config, "run")
    folder = RunFolder(Path(config.paths.runs) / "run")
    status, said = folder.read_status(), str(caught.value)
    assert (status["state"], status["failures"]) == (FAILED, 1)
    assert "\n" not in said and status["reason"] == f"{kind.__name__}: {said}"[:500]
    assert folder.failure.is_file() and folder.read_result() is None
    return said, folder


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_told_with_its_step_and_the_last_checkpoint_stays(
    micro: Compose, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    config = micro(*SAVING, "optim.learning_rate=0.003")
    at_step(monkeypatch, 7, lambda trainer, loss: loss * value)
    said, folder = failed(config, TrainingDiverged)
    assert said.startswith(f"epoch 1: the training loss of step 7 is {value} (the last finite loss was 2.")
    assert ", in step 6), at learning rate 0.003; lower optim.learning_rate or set trainer.clip_grad_norm" in said
    trainer = assemble(config, torch.device("cpu")).trainer
    checkpoint.restore(folder.checkpoint, trainer)
    assert trainer.steps_done == 6 and trainer.not_finite() is None


def test_the_first_step_is_told_however_late_it_is_looked_for(micro: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(monkeypatch, 4, lambda trainer, loss: loss / 0)
    said, folder = failed(micro("checkpoint.every_minutes=60"), TrainingDiverged)
    assert "the training loss of step 4 is inf (the last finite loss was " in said and "in step 3)" in said
    assert not folder.checkpoint.exists()


def test_a_weight_that_is_not_finite_stops_a_run_whose_losses_are(
    micro: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(trainer: Trainer, loss: Tensor) -> Tensor:
        with torch.no_grad():
            next(trainer.net.parameters())[0] = torch.inf
        return loss

    at_step(monkeypatch, 3, spoil)
    said, folder = failed(micro(*SAVING), TrainingDiverged)
    assert "epoch 1: after step 3 the weights of " in said and " are not finite (the last finite loss was" in said
    trainer = assemble(micro(*SAVING), torch.device("cpu")).trainer
    checkpoint.restore(folder.checkpoint, trainer)
    assert trainer.steps_done == 2


def test_a_resumed_run_knows_the_last_finite_loss(micro: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(monkeypatch, 5, lambda trainer, loss: loss * math.nan)
    first, _ = failed(micro(*SAVING), TrainingDiverged)
    with pytest.raises(TrainingDiverged) as caught:
        run(micro(*SAVING), "run")
    assert str(caught.value) == first and "in step 4)" in first


def test_a_report_tells_why_a_run_failed(main: Main) -> None:
    assert main("-m", "optim.learning_rate=0.01,1e30", "sweep.retries=0", *SMALL) == 1
    (report,) = Path("reports").glob("*/README.md")
    (row,) = [line for line in report.read_text().splitlines() if line.startswith("|") and "TrainingDiverged" in line]
    assert "failed" in row and "the training loss of step 2 is nan" in row and "learning rate 1e+30" in row


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
    ids=["GPU", "CPU", "Python"],
)
def test_running_out_of_memory_names_what_to_lower(
    micro: Compose, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def none_left(*given: object, **named: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "update", none_left)
        said, _ = failed(micro("trainer.batch_size=48"), OutOfMemory)
    assert said.startswith("out of memory in training with trainer.batch_size=48, eval.batch_size=512 and 5 ")
    assert "; lower trainer.batch_size, model.width or data.crop_px, or use" in said
    monkeypatch.setattr(predict, "prepare", none_left)
    with pytest.raises(OutOfMemory, match=r"^out of memory in evaluation .*; lower eval\.batch_size, "):
        run(micro("trainer.batch_size=48"), "other")


def test_other_errors_are_not_taken_for_it(micro: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*given: object, **named: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Trainer, "update", wrong)
    failed(micro(), RuntimeError)
