"""regularizer/best_epoch=on: the weights of the lowest held-out error are evaluated, however the run got there."""

import csv
from pathlib import Path

import pytest
import torch

from alexnet_sweep import checkpoint, job
from alexnet_sweep.errors import ConfigError, Interrupted
from alexnet_sweep.store import RunFolder
from alexnet_sweep.train import Trainer
from conftest import Compose
from test_train import forgetful, train, trainer_of

HELD_OUT = [0.5, 0.4, 0.4, 0.6]  # by epoch: the second is the first of the best


def trained(trainer: Trainer, errors: list[float] = HELD_OUT) -> list[dict[str, torch.Tensor]]:
    """Train to the end with these held-out errors; the weights after every epoch."""
    weights = []
    for step in trainer.steps():
        if step.ends_epoch:
            trainer.keep_if_best(errors[step.epoch])
            weights.append({name: value.clone() for name, value in trainer.evaluated.state_dict().items()})
            trainer.close_epoch()
    return weights


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("average", ["off", "on"])
def test_the_weights_of_the_first_best_epoch_are_evaluated(micro: Compose, average: str) -> None:
    trainer = trainer_of(micro("regularizer/best_epoch=on", f"regularizer/ema={average}", "trainer.epochs=4"))
    after = trained(trainer)
    assert trainer.take_chosen() == 1
    assert equal(trainer.evaluated.state_dict(), after[1]) and not equal(after[1], after[3])


def test_by_default_the_last_weights_are_evaluated(micro: Compose) -> None:
    trainer = trainer_of(micro("trainer.epochs=4"))
    after = trained(trainer)
    assert trainer.take_chosen() == 3 and equal(trainer.evaluated.state_dict(), after[3])


def test_a_restored_trainer_still_knows_its_best_epoch(micro: Compose, tmp_path: Path) -> None:
    config = micro("regularizer/best_epoch=on", "trainer.epochs=4", "trainer.batch_size=16")
    whole, stopped, resumed = trainer_of(config), trainer_of(config), forgetful(config)
    trained(whole)
    train(stopped, stop_after=7)  # in the third epoch; 0.5 each so far
    checkpoint.save(tmp_path / "checkpoint.pt", stopped, {})
    checkpoint.restore(tmp_path / "checkpoint.pt", resumed)
    trained(resumed, [0.5, 0.5, 0.9, 0.9])
    trained(trainer := trainer_of(config), [0.5, 0.5, 0.9, 0.9])
    assert resumed.take_chosen() == trainer.take_chosen() == 0
    assert equal(resumed.evaluated.state_dict(), trainer.evaluated.state_dict())


DIGITS = ("optim.learning_rate=0.04", "schedule=constant", "trainer.epochs=5", "regularizer/best_epoch=on")


def test_a_run_reports_the_epoch_of_the_lowest_heldout_error_stopped_or_not(
    micro: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = micro(*DIGITS)
    result = job.run(config, "0" * 12)
    undisturbed, stopped = (RunFolder(Path(config.paths.runs) / (digit * 12)) for digit in "01")
    with undisturbed.metrics.open() as lines:
        errors = [float(row["heldout_top1_error"]) for row in csv.DictReader(lines)]
    assert errors.index(min(errors)) < 4, "the last epoch is the best here: the test shows nothing"
    assert result["last_epoch"]["epoch"] == errors.index(min(errors)) + 1
    assert result["errors"]["heldout"]["centre"]["top1_error"] == min(errors)

    save = checkpoint.save

    def saving(path, trainer, history):
        save(path, trainer, history)
        if trainer.epoch == 5:
            raise Interrupted("enough")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", saving)
        with pytest.raises(Interrupted):
            job.run(config, stopped.run_id)
    job.run(config, stopped.run_id)
    for name in ("weights", "predictions", "metrics"):
        assert getattr(stopped, name).read_bytes() == getattr(undisturbed, name).read_bytes()


@pytest.mark.parametrize("override", ["data.heldout_fraction=0", "schedule.heldout_joins_fraction=0.5"])
def test_there_must_be_a_heldout_part_to_the_end(micro: Compose, override: str) -> None:
    with pytest.raises(ConfigError, match="best_epoch=on watches the held-out part"):
        micro("regularizer/best_epoch=on", override)
