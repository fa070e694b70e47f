"""A finished run keeps what checkpoint.keep says, however often it was stopped, and however it failed, before."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from alexnet_sweep import job
from alexnet_sweep.errors import Interrupted
from alexnet_sweep.store import RunFolder
from conftest import Compose

RUN = "0123456789ab"
KEPT = {
    "weights": {"weights.safetensors"},
    "full": {"weights.safetensors", "checkpoint.pt"},
    "none": set[str](),
}
Attempts = Callable[[Callable[[], Any], pytest.MonkeyPatch, RunFolder], None]


def undisturbed(run: Callable[[], Any], patch: pytest.MonkeyPatch, folder: RunFolder) -> None:
    """No attempt before the one that ends well."""


def stopped_twice(run: Callable[[], Any], patch: pytest.MonkeyPatch, folder: RunFolder) -> None:
    for steps in (3, 5):
        asked = iter(range(steps))

        @contextmanager
        def stopping(asked: Iterator[int] = asked) -> Iterator[Callable[[], bool]]:
            yield lambda: next(asked, None) is None

        with patch.context() as once, pytest.raises(Interrupted):
            once.setattr(job, "stop_on_signal", stopping)
            run()
        assert folder.checkpoint.is_file()


def failed_in_evaluation(run: Callable[[], Any], patch: pytest.MonkeyPatch, folder: RunFolder) -> None:
    def no_luck(*arguments: Any) -> None:
        raise ValueError("no luck")

    with patch.context() as once, pytest.raises(ValueError, match="no luck"):
        once.setattr(job, "final_outcome", no_luck)
        run()
    assert folder.checkpoint.is_file()


def killed_while_saving(run: Callable[[], Any], patch: pytest.MonkeyPatch, folder: RunFolder) -> None:
    stopped_twice(run, patch, folder)
    for name in (folder.checkpoint, folder.weights, folder.predictions):
        (folder.path / f".{name.name}.a1b2_3cd").write_bytes(b"half")


@pytest.mark.parametrize("before", [undisturbed, stopped_twice, failed_in_evaluation, killed_while_saving])
@pytest.mark.parametrize("keep", KEPT)
def test_a_finished_run_keeps_what_was_asked_for(
    micro: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, before: Attempts
) -> None:
    folder = RunFolder(tmp_path / "runs" / RUN)
    config = micro(f"checkpoint.keep={keep}", "model.width=0.03", "trainer.epochs=1")
    before(lambda: job.run(config, RUN), monkeypatch, folder)
    job.run(config, RUN)
    left = {path.name for path in folder.path.iterdir() if not path.name.startswith("events.")}
    always = {"config.yaml", "status.json", "metrics.csv", "predictions.parquet", "result.json", "provenance.json"}
    assert left - {"failure.txt"} == always | {"train.log", ".lock"} | KEPT[keep]


@pytest.mark.parametrize("keep", KEPT)
def test_a_run_that_is_only_evaluated_has_weights_and_no_checkpoint(micro: Compose, tmp_path: Path, keep: str) -> None:
    small = (f"checkpoint.keep={keep}", "model.width=0.03", "trainer.epochs=1")
    job.run(micro("model.width=0.03", "trainer.epochs=1"), "a" * 12, training_id="t")
    job.run(micro(*small, "eval=logits"), RUN, training_id="t")
    folder = RunFolder(tmp_path / "runs" / RUN)
    assert folder.read_provenance()["trained_by"] == "a" * 12
    assert folder.weights.is_file() == (keep != "none") and not folder.checkpoint.exists()
