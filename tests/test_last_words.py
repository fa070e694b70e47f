"""What a run still writes when its folder has become another's, or when it is to stop on a full disk."""

import errno
import os
import shutil
import signal
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_sweep import checkpoint, job
from alexnet_sweep.assemble import assemble
from alexnet_sweep.errors import FolderError, Interrupted
from alexnet_sweep.store import RunFolder
from alexnet_sweep.train import Trainer
from conftest import Compose

PLACES = (
    *("assemble", "checkpoint.restore", "load_file", "effective_settings", "_epoch_row", "final_outcome"),
    *("to_safetensors", "provenance.machine_facts", "result_of", "_run"),
)


@pytest.mark.parametrize("place", PLACES)
def test_nothing_of_a_run_gets_into_a_folder_that_another_process_has_made_in_its_place(
    micro: Compose, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    config = micro("trainer.epochs=1")
    folder, usual = RunFolder(Path(config.paths.runs) / "run"), attrgetter(place)(job)
    anothers = dict.fromkeys(("status.json", "metrics.csv", "failure.txt"), "another's")
    if place == "load_file":  # of a run that has trained the same
        job.run(config, "source", training_id="same")
    if place == "checkpoint.restore":
        folder.path.mkdir(parents=True)
        folder.checkpoint.write_text("damaged")

    def meanwhile(*given: Any, **named: Any) -> Any:
        try:
            if place == "_run":
                raise ValueError("no luck")
            return usual(*given, **named)
        finally:
            shutil.rmtree(folder.path)
            folder.path.mkdir()
            for name, text in anothers.items():
                (folder.path / name).write_text(text)

    monkeypatch.setattr(f"alexnet_sweep.job.{place}", meanwhile)
    with pytest.raises(ValueError if place == "_run" else FolderError, match=r"no luck|deleted or moved while in use"):
        job.run(config, "run", training_id="same")
    assert {path.name: path.read_text() for path in folder.path.iterdir()} == anothers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_to_stop_on_a_full_disk_stops_and_keeps_its_last_checkpoint(
    micro: Compose, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    config = micro("checkpoint.every_minutes=0", "schedule=constant")  # saved after every step
    usual = Trainer.update

    def at_step_five(self: Trainer, *given: Any, **named: Any) -> Any:
        if self.steps_done == 4:
            monkeypatch.setattr("alexnet_sweep.files.os.fsync", full)
            os.kill(os.getpid(), number)
        return usual(self, *given, **named)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Trainer, "update", at_step_five)
    with pytest.raises(Interrupted, match=r"^run run stopped, and .* is not saved: .*the disk is full") as caught:
        job.run(config, "run")
    assert "\n" not in str(caught.value) and caught.value.signal == number
    monkeypatch.undo()
    folder = RunFolder(Path(config.paths.runs) / "run")
    assert folder.read_status()["failures"] == 0 and not folder.failure.exists()
    trainer = assemble(config, torch.device("cpu")).trainer
    checkpoint.restore(folder.checkpoint, trainer)
    assert trainer.steps_done == 4
