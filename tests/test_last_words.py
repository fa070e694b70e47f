"""What a run still writes when its folder has become another's."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from alexnet_sweep import job
from alexnet_sweep.errors import FolderError
from alexnet_sweep.store import RunFolder
from conftest import Compose


@pytest.mark.parametrize("place", ["assemble", "_epoch_row", "final_outcome", "result_of", "_run"])
def test_nothing_of_a_run_gets_into_a_folder_that_another_process_has_made_in_its_place(
    micro: Compose, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    config = micro("trainer.epochs=1")
    folder, usual = RunFolder(Path(config.paths.runs) / "run"), getattr(job, place)

    def meanwhile(*given: Any, **named: Any) -> Any:
        shutil.rmtree(folder.path)
        folder.path.mkdir()
        folder.status.write_text("another's")
        if place == "_run":
            raise ValueError("no luck")
        return usual(*given, **named)

    monkeypatch.setattr(job, place, meanwhile)
    with pytest.raises(ValueError if place == "_run" else FolderError, match=r"no luck|deleted or moved while in use"):
        job.run(config, "run")
    assert [path.name for path in folder.path.iterdir()] == ["status.json"]
    assert folder.status.read_text() == "another's"
