"""A small study from the command line to its report, and again."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

import alexnet_sweep
from alexnet_sweep import sweep
from alexnet_sweep.config import Config
from alexnet_sweep.locks import DEAD_AFTER_SECONDS
from alexnet_sweep.precheck import DataFacts
from alexnet_sweep.store import RunFolder
from conftest import Main
from hand_made import restate

SMALL = ("model.width=0.05", "trainer.epochs=2", "trainer.cpu_threads=1", "eval.clean_train_images=64")


def contents_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


GRID = ("-m", "model/lrn=on,off", "seed=0,1", *SMALL)
SAME_BYTES = ("config.yaml", "metrics.csv", "predictions.parquet", "result.json", "weights.safetensors")


def folders(root: Path = Path("runs")) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(root.iterdir()) if not path.name.startswith("_")]


def contents(root: Path = Path("runs")) -> dict[str, bytes]:
    return {f"{f.run_id}/{name}": (f.path / name).read_bytes() for f in folders(root) for name in SAME_BYTES}


def logged() -> list[str]:
    return [folder.log.read_text() for folder in folders()]


def test_a_sweep_leaves_runs_a_plan_and_a_report_and_trains_nothing_twice(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(*GRID) == 0
    first = capsys.readouterr().out
    assert "2 arms, 4 of 4 runs done. Baseline: model/lrn=on." in first
    (study,) = Path("runs/_studies").iterdir()
    assert study.name.startswith("lrn-") and len(study.name) == len("lrn-") + 8
    before, logs = contents(), logged()
    reports = contents_of(Path("reports", study.name))

    assert main(*GRID) == 0
    assert contents() == before and logged() == logs
    assert capsys.readouterr().out == first
    assert reports == contents_of(Path("reports", study.name))


def test_an_equivalent_spelling_of_an_arm_trains_nothing(main: Main) -> None:
    assert main("-m", "model/lrn=on,off", *SMALL) == 0
    before, logs = contents(), logged()
    assert main("model.lrn.first=false", "model.lrn.second=false", "seed=0", *SMALL) == 0
    assert main("-m", "model.lrn.k=2,2.0", *SMALL) == 0
    assert contents() == before and logged() == logs


def test_a_run_folder_holds_what_it_promises(main: Main) -> None:
    assert main(*SMALL) == 0
    (folder,) = folders()
    names = {path.name for path in folder.path.iterdir() if not path.name.startswith((".", "events."))}
    assert names == {*SAME_BYTES, "status.json", "provenance.json", "train.log"}
    assert any(path.name.startswith("events.out.tfevents") for path in folder.path.iterdir())
    assert folder.read_status()["state"] == "done"
    result = folder.read_result()
    assert result is not None
    table = pq.read_table(folder.predictions).to_pandas()
    for split, views in result["errors"].items():
        part = table[table["split"] == split]
        for view, counts in views.items():
            assert counts["images"] == len(part)
            assert counts["top1"] == int((part[f"{view}_rank"] > 1).sum())
            assert counts["top5"] == int((part[f"{view}_rank"] > 5).sum())
            best = part[f"{view}_best"].map(lambda classes: int(classes[0]))
            assert ((part[f"{view}_rank"] == 1) == (best == part["label"])).all()
    assert sorted(result["errors"]) == ["heldout", "test"]
    assert yaml.safe_load(folder.config.read_text())["trainer"]["epochs"] == 2
    metrics = pd.read_csv(folder.metrics)
    assert list(metrics["epoch"]) == [1, 2]
    assert metrics[["train_loss", "clean_train_top1_error", "heldout_top1_error"]].notna().all().all()


def test_load_results_gives_the_tidy_frame(main: Main) -> None:
    assert main(*GRID) == 0
    (study,) = Path("runs/_studies").iterdir()
    frame = alexnet_sweep.load_results(study.name)
    assert set(frame["model/lrn"]) == {"on", "off"} and set(frame["seed"]) == {0, 1}
    assert len(frame) == 4 * (2 * 2 + 1)  # runs × (splits × views, and the training images in the centre view)


def test_the_same_run_gives_the_same_bytes_alone_and_in_another_process(main: Main, tmp_path: Path) -> None:
    assert main(*GRID) == 0
    alone = tmp_path / "alone"
    alone.mkdir()
    command = [sys.executable, "-m", "alexnet_sweep", "model/lrn=off", "seed=1", *SMALL]
    subprocess.run(command, cwd=alone, check=True, capture_output=True)
    theirs = contents(alone / "runs")
    assert len(theirs) == len(SAME_BYTES)
    ours = contents()
    assert {name: ours[name] for name in theirs} == theirs


def test_a_failed_run_does_not_stop_the_others_and_is_reported(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    # A learning rate that no float survives: this arm diverges, the other one does not.
    grid = ("-m", "optim.learning_rate=1e30,0.01", *SMALL)
    assert main(*grid) == 1
    printed = capsys.readouterr()
    assert "1 of 2 runs done (1 failed)" in printed.out
    assert "1 of 2 runs not done" in printed.err and "TrainingDiverged" in printed.err
    (failed,) = [folder for folder in folders() if folder.read_result() is None]
    assert failed.read_status()["state"] == "failed" and "Traceback" in failed.failure.read_text()
    # It is tried once more (sweep.retries=1), then left alone until asked for.
    assert main(*grid) == 1 and failed.read_status()["failures"] == 2
    assert main(*grid) == 1 and failed.read_status()["failures"] == 2
    assert main(*grid, "sweep.retrain=failed") == 1 and failed.read_status()["failures"] == 3


def test_stop_at_the_first_failure_when_asked(main: Main) -> None:
    assert main("-m", "optim.learning_rate=1e30,0.01", "sweep.on_failure=stop", *SMALL) == 1
    assert len(folders()) == 1


def test_results_of_older_training_code_stop_a_start(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(*SMALL) == 0
    (folder,) = folders()
    restate(folder, source_hash="0" * 12)
    older = folder.result.read_bytes()
    capsys.readouterr()
    assert main("-m", "seed=0", *SMALL) == 2
    assert "results of older training code: 1 of 1 run (" in capsys.readouterr().err
    assert main("-m", "seed=0", "sweep.stale=keep", *SMALL) == 0
    assert folder.result.read_bytes() == older
    assert main("-m", "seed=0", "sweep.stale=retrain", *SMALL) == 0
    assert json.loads(folder.result.read_text())["source_hash"] != "0" * 12


def test_three_classes_have_no_top5(main: Main, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ("data.stored_px=32", "data.crop_px=27", "trainer.batch_size=8")
    assert main("-m", "model/lrn=on,off", "data=folder", f"data.path={photos}", *sizes, *SMALL) == 0
    assert "No top-5 errors where the data set has 3 classes." in capsys.readouterr().out


def test_an_unreadable_image_stops_a_sweep_before_its_first_run(
    main: Main, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "val/red/00.png").write_bytes(b"no image")
    arguments = ("data=folder", f"data.path={photos}", "data.stored_px=32", "data.crop_px=27", "trainer.batch_size=8")
    for mode in (["-m", "model/lrn=on,off"], []):
        assert main(*mode, *arguments, *SMALL) == 2
        printed = capsys.readouterr()
        assert "val/red/00.png: cannot be read" in printed.err and len(printed.err.strip().splitlines()) == 1
        assert list(Path().iterdir()) == []


def test_a_run_that_goes_on_elsewhere_is_waited_for_and_taken_over_when_it_dies(
    main: Main, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main("-m", "seed=0,1", *SMALL) == 0
    busy = folders()[0]
    busy.result.unlink()
    alive = json.loads(busy.status.read_text()) | {"state": "running", "host": "another-host", "process": 42}

    def heartbeat(seconds_ago: float) -> None:
        busy.status.write_text(json.dumps(alive | {"heartbeat": time.time() - seconds_ago}))

    heartbeat(0)
    monkeypatch.setattr(sweep.time, "sleep", lambda _: heartbeat(DEAD_AFTER_SECONDS + 1))  # it dies while we wait
    capsys.readouterr()
    assert main("-m", "seed=0,1", *SMALL) == 0
    printed = capsys.readouterr()
    assert "waiting for 1 of the runs: in use by another-host process 42" in printed.err
    assert "2 of 2 runs done" in printed.out and json.loads(busy.status.read_text())["host"] != "another-host"


def test_a_finished_run_that_goes_while_another_is_waited_for_is_trained_again(
    main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = ("-m", "seed=0,1", *SMALL, "trainer.epochs=1")
    assert main(*two) == 0
    busy, gone = folders()
    before = contents()
    busy.result.unlink()
    alive = json.loads(busy.status.read_text()) | {"state": "running", "host": "another-host", "process": 42}
    busy.status.write_text(json.dumps(alive | {"heartbeat": time.time()}))

    def meanwhile(_: float) -> None:
        shutil.rmtree(gone.path)
        busy.status.write_text(json.dumps(alive | {"heartbeat": 0.0}))

    monkeypatch.setattr(sweep.time, "sleep", meanwhile)
    assert main(*two) == 0
    assert contents() == before


def test_a_sweep_that_is_to_stop_while_it_packs_stops_with_a_line(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(facts: DataFacts, config: Config) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DataFacts, "pack", stopped)
    assert main("-m", "seed=0", *SMALL) == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from here\n"


# --- what stands in the place of a file ---


def a_link(path: Path) -> None:
    path.symlink_to("elsewhere")


def test_a_run_that_cannot_be_claimed_says_what_to_remove_alone_and_in_a_sweep(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ("seed=0", *SMALL, "trainer.epochs=1")
    assert main(*one) == 0
    (folder,) = folders()
    kinds: list[tuple[str, Callable[[Path], None]]] = [(".lock", Path.mkdir), (".lock", a_link)]
    for name, how in (*kinds, (".lock.owner", Path.mkdir), ("status.json", Path.mkdir)):
        shutil.rmtree(folder.path)
        folder.path.mkdir()
        path = folder.path / name
        how(path)
        capsys.readouterr()
        assert main(*one) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and f"{name}: cannot be " in told and "remove it, and start again" in told

        assert main("-m", *one) == 1
        told = capsys.readouterr().err
        assert told.count("remove it, and start again") == 2  # sweep.retries=1
        assert f"1 of 1 run not done: {folder.run_id} ({path} is no file; remove it)" in told.splitlines()[-1]
        assert "Traceback" not in told
