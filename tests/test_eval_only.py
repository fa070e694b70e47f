"""Runs that differ in their evaluation alone share one training, and nothing else."""

from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from alexnet_sweep.reuse import note_trained, trained_as
from alexnet_sweep.store import RunFolder
from conftest import Main
from hand_made import errors_of

SMALL = ("model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1", "eval.clean_train_images=64")
SAME_BYTES = ("metrics.csv", "predictions.parquet", "result.json", "weights.safetensors")
TAKEN_OVER = "has trained this: only evaluated"
TRAINING, SOURCE = "0123456789ab", "ba9876543210"


def folder_of(average: str, root: str = "runs") -> RunFolder:
    """The run that averages so."""
    (found,) = [
        path.parent
        for path in Path(root).glob("*/config.yaml")
        if yaml.safe_load(path.read_text())["eval"]["average"] == average
    ]
    return RunFolder(found)


def contents(folder: RunFolder) -> dict[str, bytes]:
    return {name: (folder.path / name).read_bytes() for name in SAME_BYTES}


# --- which run has trained it ---


@pytest.fixture
def source(tmp_path: Path) -> RunFolder:
    """A finished run that is known to have trained it."""
    folder = RunFolder(tmp_path / "runs" / "fedcba987654")
    folder.write_metrics([{"epoch": 1}])
    folder.weights.write_bytes(b"weights")
    folder.write_predictions(pa.table({"image": ["a"]}))
    folder.write_result({"source_hash": SOURCE, "errors": errors_of(1)})
    note_trained(folder, TRAINING, SOURCE)
    return folder


def test_a_finished_run_is_known_by_what_it_has_trained(source: RunFolder) -> None:
    assert trained_as(source.path.parent, TRAINING, SOURCE) == source


def test_nothing_is_known_of_another_training(source: RunFolder) -> None:
    assert trained_as(source.path.parent, "0" * 12, SOURCE) is None


def test_weights_of_other_sources_are_not_used(source: RunFolder) -> None:
    assert trained_as(source.path.parent, TRAINING, "0" * 12) is None


@pytest.mark.parametrize("name", ["weights.safetensors", "result.json", "metrics.csv"])
def test_a_run_that_lacks_a_file_is_not_used(source: RunFolder, name: str) -> None:
    (source.path / name).unlink()
    assert trained_as(source.path.parent, TRAINING, SOURCE) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1, "run_id": "another"}'])
def test_a_run_whose_result_cannot_be_read_is_not_used(source: RunFolder, text: str) -> None:
    source.result.write_text(text)
    assert trained_as(source.path.parent, TRAINING, SOURCE) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"nobody\n"])
def test_a_note_of_no_run_is_of_no_use(source: RunFolder, content: bytes) -> None:
    (source.path.parent / "_trained" / TRAINING).write_bytes(content)
    assert trained_as(source.path.parent, TRAINING, SOURCE) is None


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\x00b"], ids=str)
def test_a_note_that_cannot_be_read_is_of_no_use(source: RunFolder, content: bytes) -> None:
    (source.path.parent / "_trained" / TRAINING).write_bytes(content)
    assert trained_as(source.path.parent, TRAINING, SOURCE) is None


# --- through the program ---


def test_the_second_evaluation_trains_nothing_and_has_the_bytes_of_a_run_of_its_own(main: Main) -> None:
    assert main("-m", "eval=probabilities,logits", *SMALL) == 0
    trained, evaluated = folder_of("probabilities"), folder_of("logits")
    assert TAKEN_OVER not in trained.log.read_text() and "epoch 1/1" in trained.log.read_text()
    log = evaluated.log.read_text()
    assert f"run {trained.run_id} {TAKEN_OVER}" in log and "epoch 1/1" not in log
    assert evaluated.read_provenance()["trained_by"] == trained.run_id
    assert trained.read_provenance()["trained_by"] is None
    assert contents(evaluated)["weights.safetensors"] == contents(trained)["weights.safetensors"]
    assert contents(evaluated)["predictions.parquet"] != contents(trained)["predictions.parquet"]

    assert main("eval=logits", *SMALL, "paths.runs=alone") == 0
    alone = folder_of("logits", "alone")
    assert TAKEN_OVER not in alone.log.read_text()
    assert alone.run_id == evaluated.run_id and contents(alone) == contents(evaluated)


def test_a_run_on_its_own_takes_over_what_another_has_trained(main: Main) -> None:
    assert main(*SMALL) == 0
    assert main("eval=logits", *SMALL) == 0
    assert TAKEN_OVER in folder_of("logits").log.read_text()


def test_weights_of_other_sources_are_trained_again(main: Main) -> None:
    assert main(*SMALL) == 0
    (note,) = Path("runs/_trained").iterdir()
    note.write_text(f"{folder_of('probabilities').run_id} {'0' * 12}\n")
    assert main("eval=logits", *SMALL) == 0
    log = folder_of("logits").log.read_text()
    assert TAKEN_OVER not in log and "epoch 1/1" in log


def test_a_run_that_keeps_no_weights_is_not_taken_over(main: Main) -> None:
    assert main("-m", "eval=probabilities,logits", *SMALL, "checkpoint.keep=none") == 0
    for average in ("probabilities", "logits"):
        log = folder_of(average).log.read_text()
        assert TAKEN_OVER not in log and "epoch 1/1" in log
        assert not folder_of(average).weights.exists()


def test_an_average_of_weights_is_taken_over_as_it_is(main: Main) -> None:
    assert main("-m", "eval=probabilities,logits", "regularizer/ema=on", *SMALL) == 0
    evaluated = folder_of("logits")
    assert TAKEN_OVER in evaluated.log.read_text()
    assert main("eval=logits", "regularizer/ema=on", *SMALL, "paths.runs=alone") == 0
    assert contents(folder_of("logits", "alone")) == contents(evaluated)


def test_a_metric_of_ones_own_trains_nothing_again(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own_metric.py").write_text("def mean(probabilities, labels):\n    return float(probabilities.mean())\n")
    monkeypatch.syspath_prepend(str(Path().resolve()))
    assert main(*SMALL) == 0
    assert main(*SMALL, "+eval.metrics.mean={_target_: own_metric.mean}") == 0
    logs = [path.read_text() for path in Path("runs").glob("*/train.log")]
    assert sorted(TAKEN_OVER in log for log in logs) == [False, True]
