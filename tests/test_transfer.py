"""Training that starts from another run's weights."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from alexnet_sweep.config import Config
from alexnet_sweep.errors import ConfigError, FolderError, Interrupted
from alexnet_sweep.identity import arm_id, run_id
from alexnet_sweep.job import run
from alexnet_sweep.model.build import build_model
from alexnet_sweep.precheck import DataFacts
from alexnet_sweep.reuse import run_to_start_from
from alexnet_sweep.store import RunFolder
from alexnet_sweep.transfer import start_from
from conftest import Compose, Main
from hand_made import restate
from test_plugins import stopping_after, with_values

SMALL = ("model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1", "eval.clean_train_images=0")
FIXED = {"optim__learning_rate": 0.0}  # weights end as they start
BYTES = ("metrics.csv", "predictions.parquet", "result.json", "weights.safetensors")

Configured = Callable[..., Config]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("transfer")


def paths(place: Path) -> tuple[str, ...]:
    return f"paths.runs={place / 'runs'}", f"paths.store={place / 'store'}"


@pytest.fixture(scope="module")
def configured(composed: Compose, place: Path) -> Configured:
    """`configured(seed=1)`: a small run on digits, in the folder that all tests of this module share."""
    digits = composed(*SMALL, "trainer.batch_size=512", *paths(place))

    def one(base: Config = digits, **values: Any) -> Config:
        return with_values(base, **values)

    return one


@pytest.fixture(scope="module")
def source(configured: Configured) -> RunFolder:
    """The finished run that others start from."""
    return finished(configured(optim__learning_rate=0.02))


def name_of(config: Config) -> str:
    return run_id(config, DataFacts().fingerprint(config))


def finished(config: Config) -> RunFolder:
    folder = RunFolder(Path(config.paths.runs) / name_of(config))
    if folder.read_result() is None:
        run(config, folder.run_id)
    return folder


def weights(folder: RunFolder) -> dict[str, Tensor]:
    return load_file(folder.weights)


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    assert set(one) == set(other)
    return {name for name in one if one[name].shape != other[name].shape or not torch.equal(one[name], other[name])}


@pytest.fixture
def of_photos(composed: Compose, place: Path, photos: Path) -> Config:
    data = ("data=folder", f"data.path={photos}", "data.stored_px=32", "data.crop_px=27", "trainer.batch_size=8")
    return composed(*SMALL, *data, *paths(place))


# --- what is taken over ---


def test_all_weights_are_taken_over_where_the_classes_are_the_same(configured: Configured, source: RunFolder) -> None:
    fixed = finished(configured(init_from=source.run_id, seed=1, **FIXED))
    assert differing(weights(fixed), weights(source)) == set()
    assert "starts from the weights of" in fixed.log.read_text()


def test_training_goes_on_from_them(configured: Configured, source: RunFolder) -> None:
    moved = finished(configured(init_from=source.run_id, seed=1))
    assert differing(weights(moved), weights(source)) == set(weights(source))


def test_without_it_nothing_is_taken_over(configured: Configured, source: RunFolder) -> None:
    config = configured(seed=1, **FIXED)
    assert config.init_from is None
    start = build_model(config, 10).state_dict()
    assert differing(weights(finished(config)), dict(start)) == set()


def test_the_last_layer_is_fresh_where_the_classes_are_others(
    configured: Configured, source: RunFolder, of_photos: Config
) -> None:
    started = finished(configured(of_photos, init_from=source.run_id, **FIXED))
    fresh = finished(configured(of_photos, **FIXED))
    assert differing(weights(started), weights(source)) == {"fc8.weight", "fc8.bias"}
    # What it starts from is what it would be without the other run.
    same = set(weights(fresh)) - differing(weights(started), weights(fresh))
    assert {"fc8.weight", "fc8.bias"} <= same and "conv2.weight" not in same
    assert "but for fc8" in started.log.read_text()


def test_the_last_layer_is_fresh_where_as_many_classes_have_other_names(
    configured: Configured, of_photos: Config, photos: Path, tmp_path: Path
) -> None:
    trained = finished(of_photos)
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    for folder in list(other.glob("*/blue")):
        folder.rename(folder.with_name("azure"))
    for images, fresh in ((photos, set()), (other, {"fc8.weight", "fc8.bias"})):
        started = finished(configured(of_photos, data__path=str(images), init_from=trained.run_id, **FIXED))
        assert differing(weights(started), weights(trained)) == fresh


def test_running_averages_start_from_them_too(configured: Configured, source: RunFolder) -> None:
    fixed = finished(configured(init_from=source.run_id, seed=1, regularizer__ema__decay=0.5, **FIXED))
    for name, value in weights(fixed).items():
        torch.testing.assert_close(value, weights(source)[name])


# --- what is refused ---


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model__width": 0.1}, r"conv\d\.\w+ is \[\d.* there and \[\d.* here"),
        ({"model__depth__removed_conv": 4}, r"conv4\.bias is \[\d+\] there and missing here"),
        ({"model__depth__sixth_conv": True}, r"conv6\.bias is missing there and \[\d+\] here"),
    ],
)
def test_another_model_is_refused(configured: Configured, source: RunFolder, values: dict[str, Any], says: str) -> None:
    net = build_model(configured(**values), 10)
    for same_classes in (True, False):
        with pytest.raises(ConfigError, match=f"init_from=.*{source.run_id}: {says}; choose the model options"):
            start_from(net, source, same_classes=same_classes)


def arguments(place: Path, *overrides: str) -> list[str]:
    """As `configured`, for the command line."""
    return [*SMALL, "trainer.batch_size=512", *paths(place), *overrides]


def test_another_model_is_one_line_and_trains_nothing(
    main: Main, place: Path, source: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((place / "runs").glob("*/result.json"))
    assert main(*arguments(place, f"init_from={source.run_id}", "model/depth=six")) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("init_from=") and "conv6.bias is missing there" in last
    assert sorted((place / "runs").glob("*/result.json")) == before


@pytest.mark.parametrize("mode", [(), ("-m",)], ids=["alone", "in a sweep"])
def test_an_unknown_run_is_one_line_that_lists_those_there_are(
    main: Main, place: Path, source: RunFolder, capsys: pytest.CaptureFixture[str], mode: tuple[str, ...]
) -> None:
    before = sorted((place / "runs").iterdir())
    assert main(*mode, *arguments(place, "init_from=nope")) == 2
    printed = capsys.readouterr()
    assert len(printed.err.strip().splitlines()) == 1 and printed.out == ""
    assert "init_from=nope: no run folder" in printed.err
    listed = printed.err.strip().split("Have: ")[1].split(", ")
    done = sorted(path.parent.name for path in (place / "runs").glob("*/weights.safetensors"))
    assert listed == done[:8] and source.run_id in done
    assert sorted((place / "runs").iterdir()) == before and list(Path().iterdir()) == []


def test_where_there_are_no_runs_yet_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"init_from=nope: no run folder .* Have: none yet"):
        run_to_start_from(tmp_path / "runs", "nope")


@pytest.mark.parametrize("gone", ["result.json", "weights.safetensors"])
def test_a_run_that_is_not_done_or_has_no_weights_is_refused(source: RunFolder, tmp_path: Path, gone: str) -> None:
    copy = tmp_path / "runs" / source.run_id
    shutil.copytree(source.path, copy)
    (copy / gone).unlink()
    with pytest.raises(FolderError, match="not done, or kept without weights"):
        run_to_start_from(copy.parent, source.run_id)


# --- identity ---


def test_the_spelling_of_the_run_makes_no_difference(
    configured: Configured, source: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.path.parent.parent)
    copy = tmp_path / "elsewhere" / source.run_id
    shutil.copytree(source.path, copy)
    spellings = [source.run_id, f"runs/{source.run_id}", f"./runs/{source.run_id}/", str(source.path), str(copy)]
    names = {name_of(configured(init_from=spelling)) for spelling in spellings}
    assert len(names) == 1
    assert names != {name_of(configured())}


def test_other_weights_make_another_run(configured: Configured, source: RunFolder, tmp_path: Path) -> None:
    copy = tmp_path / source.run_id
    shutil.copytree(source.path, copy)
    config = configured(init_from=str(copy))
    before = name_of(config)
    with (copy / "weights.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        last = stream.read(1)
        stream.seek(-1, 2)
        stream.write(bytes([last[0] ^ 1]))
    with pytest.raises(FolderError, match=r"weights\.safetensors: damaged"):
        name_of(config)
    restate(RunFolder(copy))
    assert name_of(config) != before


def test_seeds_that_start_from_one_run_are_one_arm(configured: Configured, source: RunFolder) -> None:
    started, other = (configured(init_from=source.run_id, seed=seed) for seed in (0, 1))
    mark = DataFacts().fingerprint(started)
    assert arm_id(started, mark) == arm_id(other, mark) != arm_id(started, DataFacts().fingerprint(configured()))


def test_a_start_by_another_spelling_finds_the_run_done(
    main: Main, place: Path, source: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(*arguments(place, f"init_from={source.run_id}", "seed=2", "optim.learning_rate=0")) == 0
    capsys.readouterr()
    assert main(*arguments(place, f"init_from={source.path}", "seed=2", "optim.learning_rate=0")) == 0
    assert "is done" in capsys.readouterr().out


def test_a_sweep_compares_starts(
    main: Main, place: Path, source: RunFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    reports = f"paths.reports={tmp_path / 'reports'}"
    assert main("-m", *arguments(place, f"init_from=null,{source.run_id}", "seed=1", reports)) == 0
    printed = capsys.readouterr().out
    assert "2 arms, 2 of 2 runs done" in printed and source.run_id in printed


# --- stopping and going on ---


def test_a_resumed_run_does_not_start_from_the_other_one_again(
    configured: Configured, source: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(init_from=str(source.path), seed=3, paths__runs=str(tmp_path / "runs"))
    whole, again = RunFolder(tmp_path / "runs/whole"), RunFolder(tmp_path / "runs/again")
    run(config, whole.run_id)
    with stopping_after(2, monkeypatch), pytest.raises(Interrupted):
        run(config, again.run_id)
    run(config, again.run_id)
    log = again.log.read_text()
    assert log.count("starts from the weights of") == 1 and "resumed at epoch 1, step 2" in log
    for name in BYTES:
        one, other = (folder.path / name for folder in (whole, again))
        if name == "result.json":
            assert whole.read_result() == again.read_result() | {"run_id": "whole"}
        else:
            assert one.read_bytes() == other.read_bytes()


# --- names ---


def test_a_folder_of_another_name_can_be_started_from(
    configured: Configured, source: RunFolder, tmp_path: Path
) -> None:
    shutil.copytree(source.path, tmp_path / "pretrained")
    config = configured(init_from=str(tmp_path / "pretrained"), paths__runs=str(tmp_path / "runs"))
    assert differing(weights(finished(config)), weights(source))


def test_a_runs_id_is_read_as_it_was_written(composed: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    config = composed()
    monkeypatch.setattr("alexnet_sweep.identity._digest", lambda value: "12345e678901" + "ab" * 26)
    name = run_id(config, "mark")
    again = composed(f"init_from={name}", f"sweep.retrain={name}")
    assert (again.init_from, again.sweep.retrain) == (name, name)
