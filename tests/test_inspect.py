"""`python -m alexnet_sweep.inspect` on small trained runs: right figures, the same bytes again, refusals."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from alexnet_sweep.inspect.__main__ import _runs, main
from alexnet_sweep.inspect.features import centre_pixels, features, last_hidden, pixel_parts
from alexnet_sweep.inspect.page import _interval
from alexnet_sweep.kernels import colour_of
from alexnet_sweep.neighbours import Coder, nearest, nearest_codes
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_folder import study_folder
from alexnet_sweep.trained import opened
from conftest import Compose, outside_hydra
from test_trained import SMALL, read, trained

Inspect = Callable[..., int]
FILES = {"README.md", "inspection.html"} | {
    *(f"{name}.csv" for name in ("halves", "kernels", "answers", "agreement", "neighbours", "codes")),
    *(f"{name}.{suffix}" for name in ("kernels", "answers", "neighbours") for suffix in ("svg", "png")),
}


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A small AlexNet of two columns on digits, four epochs: right in most of them, and wrong in some."""
    place = tmp_path_factory.mktemp("inspect")
    small = ("model.width=0.06", "trainer.epochs=4", "trainer.cpu_threads=1", "eval.clean_train_images=0")
    return trained(composed(*small, f"paths.runs={place / 'runs'}"))


@pytest.fixture
def inspect(finished: RunFolder) -> Inspect:
    """`inspect(RUN, …)`: the verb in this process, on a CPU, among the runs of `finished`; returns its exit code."""

    def one(*arguments: str, runs: Path = finished.path.parent) -> int:
        with outside_hydra():
            return main([*arguments, "--runs", str(runs), "--device", "cpu"])

    return one


@pytest.fixture(scope="module")
def found(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one inspection that several tests read."""
    out = tmp_path_factory.mktemp("found") / "out"
    typed = [finished.run_id[:5], "--runs", str(finished.path.parent), "--out", str(out), "--device", "cpu"]
    with outside_hydra():
        assert main([*typed, "--queries", "150", "--k", "1,5,9"]) == 0
    return out


def test_the_folder_has_everything_and_the_same_bytes_again(found: Path, inspect: Inspect, tmp_path: Path) -> None:
    assert set(contents_of(found)) == FILES
    again = tmp_path / "again"
    run_id = pd.read_csv(found / "halves.csv")["run_id"].iloc[0]
    assert inspect(str(run_id), "--k", "1,5,9", "--queries", "150", "--out", str(again)) == 0
    assert contents_of(again) == contents_of(found)


def test_the_run_folder_is_left_alone_and_reports_get_a_folder(
    finished: RunFolder, inspect: Inspect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents_of(finished.path)
    reports = tmp_path / "reports"
    small = ("--queries", "20", "--images", "100", "--split", "heldout")
    assert inspect(finished.run_id, "--reports", str(reports), *small) == 0
    assert contents_of(finished.path) == before
    path = reports / finished.run_id / "inspect/README.md"
    told = capsys.readouterr().out
    assert told.rstrip().endswith(f"inspection: {path}") and path.read_text() in told
    assert f"python -m alexnet_sweep.inspect {finished.run_id} --split heldout --images 100 --queries 20" in told
    assert (
        "over 20 held-out images" in told and "Searched: 100 of the" in told and str(tmp_path) not in path.read_text()
    )


def test_a_network_agrees_more_than_pixels_or_chance(found: Path) -> None:
    table = pd.read_csv(found / "agreement.csv").set_index(["way", "k"])["agreement"]
    text = (found / "README.md").read_text()
    assert "of fc7, after its activation" in text
    for k in (1, 5, 9):
        assert table["difference", k] == pytest.approx(table["fc7", k] - table["pixels", k])
        assert table["fc7", k] > 0.5 and table["pixels", k] > 0.5  # digits are near each other in pixels too
    rows = pd.read_csv(found / "agreement.csv")
    assert (rows["low"] <= rows["agreement"]).all() and (rows["agreement"] <= rows["high"]).all()


def test_codes_cost_a_fraction_and_keep_most(found: Path) -> None:
    codes = pd.read_csv(found / "codes.csv")
    assert set(codes["bits"]) == {16, 32, 64, 128, 244} and set(codes["k"]) == {1, 5, 9}
    assert (codes["bytes"] == -(-codes["bits"] // 8)).all() and set(codes["float_bytes"]) == {4 * 244}
    assert codes["recall"].between(0, 1).all() and codes["agreement"].between(0.3, 1).all()


def test_answers_are_those_recorded_half_right_half_wrong(found: Path, finished: RunFolder) -> None:
    answers = pd.read_csv(found / "answers.csv")
    recorded = finished.read_predictions(["split", "image", "ten_rank", "ten_best_probabilities"]).to_pandas()
    recorded = recorded[recorded["split"] == "test"].set_index("image")
    images = answers["image"].drop_duplicates().tolist()
    assert len(images) == 8
    assert [recorded.loc[image, "ten_rank"] == 1 for image in images] == [True] * 4 + [False] * 4
    for image, rows in answers.groupby("image"):
        np.testing.assert_allclose(rows["probability"], recorded.loc[image, "ten_best_probabilities"], atol=1e-6)
        assert (rows["probability"].diff().dropna() <= 0).all()
        named = rows[rows["class"] == rows["label"]]["rank"].tolist()
        rank = recorded.loc[image, "ten_rank"]
        assert named == ([rank] if rank <= 5 else [])


def test_kernels_in_the_tables_are_those_of_the_weights(found: Path, finished: RunFolder) -> None:
    from safetensors.numpy import load_file

    weights = load_file(finished.weights)["conv1.weight"]
    table = pd.read_csv(found / "kernels.csv")
    np.testing.assert_allclose(table["colour"], colour_of(weights))
    assert list(table["half"]) == [1] * (len(weights) // 2) + [2] * (len(weights) - len(weights) // 2)
    halves = pd.read_csv(found / "halves.csv").iloc[0]
    means = table.groupby("half")["colour"].mean()
    assert halves["difference"] == pytest.approx(abs(means[1] - means[2])) and halves["columns"] == 2


# --- what is measured ---


def test_features_are_what_the_last_layer_reads(finished: RunFolder) -> None:
    with opened(read(finished), "cpu") as run:
        layer = last_hidden(run)
        assert (layer.name, layer.last, layer.width) == ("fc7", "fc8", 244)
        split, rows = run.part("test")
        rows = rows[[7, 3, 11]]
        seen: list[torch.Tensor] = []
        hook = run.net.get_submodule("act7").register_forward_hook(lambda module, inputs, output: seen.append(output))
        got = features(run, layer, split, rows)
        hook.remove()
        np.testing.assert_allclose(got, 0.5 * seen[0].numpy(), rtol=1e-6)  # dropout's factor at test time
        assert (got >= 0).all() and (got > 0).any()
        one = np.concatenate([features(run, layer, split, rows[[place]]) for place in range(3)])
        np.testing.assert_allclose(got, one, rtol=1e-4, atol=1e-5)


def test_pixels_come_in_parts_that_hang_together(finished: RunFolder) -> None:
    with opened(read(finished), "cpu") as run:
        rows = np.array([5, 0, 9, 200, 3])
        whole = centre_pixels(run, "train", rows)
        side, crop = run.job.packed.meta.stored_px, run.job.pixels.crop_px
        edge = round((side - crop) / 2)
        np.testing.assert_array_equal(
            whole, run.job.packed.images["train"][rows][..., edge : edge + crop, edge : edge + crop]
        )
        parts = list(pixel_parts(run, "train", rows, memory=2 * 4 * 3 * crop**2))
        assert [len(part) for part in parts] == [2, 2, 1]
        np.testing.assert_array_equal(np.concatenate(parts), whole.reshape(5, -1))


def test_an_image_that_was_trained_on_is_its_own_neighbour(finished: RunFolder) -> None:
    """Queries out of the index itself: each finds itself first, by features, by pixels and by codes."""
    with opened(read(finished), "cpu") as run:
        layer, rows = last_hidden(run), run.part("train")[1][:60]
        values = features(run, layer, "train", rows)
        pixels = np.concatenate(list(pixel_parts(run, "train", rows)))
        codes = Coder.fitted(values, 32).codes(values)
        for found in (nearest(values, [values], 1), nearest(pixels, [pixels], 1), nearest_codes(codes, codes, 1)):
            assert (found.distances == 0).all()


# --- other networks, other data ---


@pytest.fixture(scope="module")
def others(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """A cuda-convnet net with nothing held out, a dense net of two seeds, and one whose weights were not kept."""
    place = tmp_path_factory.mktemp("others")
    small = (*SMALL, "data=synthetic", "eval.clean_train_images=0", f"paths.runs={place / 'runs'}")
    pool = ("model/net=conv_pool", "model/init=cifar_conv_pool", "data.heldout_fraction=0")
    return {
        "pool": trained(composed(*small, *pool)),
        "dense": trained(composed(*small, "model/topology=dense")),
        "dense1": trained(composed(*small, "model/topology=dense", "seed=1")),
        "two": trained(composed(*small)),
        "bare": trained(composed(*small, "seed=2", "checkpoint.keep=none")),
    }


@pytest.mark.slow
def test_a_net_without_fc7_is_looked_at_before_its_classifier(
    others: dict[str, RunFolder], inspect: Inspect, tmp_path: Path
) -> None:
    folder = others["pool"]
    typed = (folder.run_id, "--queries", "30", "--images", "60", "--k", "1,100", "--out", str(tmp_path))
    assert inspect(*typed, runs=folder.path.parent) == 0
    text = (tmp_path / "README.md").read_text()
    assert "by input of fc10 (95 %)" in text and "which follows conv3" in text
    assert "Left out: k = 100, more than there are images to search." in text
    assert "first half above second half" in text and "| control" in text


@pytest.mark.slow
def test_several_runs_and_their_control_are_one_table(
    others: dict[str, RunFolder], inspect: Inspect, tmp_path: Path
) -> None:
    named = [others[name].run_id for name in ("two", "dense", "dense1")]
    small = ("--queries", "20", "--images", "40", "--k", "1", "--out", str(tmp_path))
    assert inspect(*named, *small, runs=others["two"].path.parent) == 0
    table = pd.read_csv(tmp_path / "halves.csv")
    assert list(table["run_id"]) == named and list(table["columns"]) == [2, 1, 1] and list(table["seed"]) == [0, 0, 1]
    text = (tmp_path / "README.md").read_text()
    assert "of 1 seed with both, too few for a p below 0.05" in text and f"# Inside run {named[0]}" in text


@pytest.mark.slow
def test_a_study_is_looked_at_by_its_baseline(
    others: dict[str, RunFolder], inspect: Inspect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {"base": ("bare", "dense1"), "other": ("two",)}
    seeds = {"bare": 2, "dense1": 1, "two": 0}
    study_folder(others["two"].path.parent, "both").write_plan(
        {
            "name": "both",
            "design": "grid",
            "keys": ["model/topology"],
            "baseline": "base",
            "arms": [{"arm_id": arm, "label": f"arm {arm}", "levels": {"model/topology": arm}} for arm in arms],
            "runs": [
                {"run_id": others[name].run_id, "arm_id": arm, "seed": seeds[name], "overrides": []}
                for arm, names in arms.items()
                for name in names
            ],
            "command": "typed",
            "source_hash": "s",
        }
    )
    typed = ("both", "--queries", "20", "--images", "40", "--k", "1", "--reports", str(tmp_path))
    assert inspect(*typed, runs=others["two"].path.parent) == 0
    text = (tmp_path / "both/inspect/README.md").read_text()
    assert f"# Inside run {others['dense1'].run_id}" in text  # of the baseline, the first that has its weights
    assert "| arm base " in text and "| arm other " in text
    assert "Not shown: 1 run (weights not kept)." in text
    assert "--images 40 --queries 20" in text and "inspect both" in text


def test_a_share_that_is_zero_as_shown_has_no_minus() -> None:
    share = pd.Series({"agreement": -0.0004, "low": -0.012, "high": 0.0004})
    assert _interval(share) == "0.0 (−1.2 to 0.0)"
    assert _interval(share.replace({-0.012: np.nan})) == "0.0"


# --- mistakes ---


def refused(inspect: Inspect, capsys: pytest.CaptureFixture[str], *arguments: str, **more: Path) -> str:
    capsys.readouterr()
    assert inspect(*arguments, **more) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


@pytest.mark.slow
def test_what_was_not_kept_or_not_held_out_is_one_line(
    others: dict[str, RunFolder], inspect: Inspect, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = others["bare"].path.parent
    assert "checkpoint.keep=none kept none" in refused(inspect, capsys, others["bare"].run_id, runs=runs)
    nothing_held_out = refused(inspect, capsys, others["pool"].run_id, "--split", "heldout", runs=runs)
    assert "nothing was held out; choose --split test" in nothing_held_out


def test_runs_that_cannot_be_looked_at_are_one_line(
    finished: RunFolder, inspect: Inspect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no run of that id" in refused(inspect, capsys, "nope")
    copy = tmp_path / "runs" / finished.run_id
    shutil.copytree(finished.path, copy)
    (copy / "weights.safetensors").unlink()
    (copy.parent / "_data").symlink_to(finished.path.parent / "_data")
    assert "it has gone from the folder" in refused(inspect, capsys, finished.run_id, runs=copy.parent)
    (copy / "result.json").unlink()
    (copy / "status.json").write_text('{"state": "interrupted", "epoch": 3, "epochs": 8}')
    said = refused(inspect, capsys, finished.run_id, runs=copy.parent)
    assert "not finished (interrupted, epoch 4 of 8)" in said
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]  # nothing was written


@pytest.mark.parametrize("named", ["{}", "{}/", "{}/../{name}"])
def test_a_run_may_be_named_by_its_folder(finished: RunFolder, tmp_path: Path, named: str) -> None:
    with outside_hydra():
        _, runs = _runs([named.format(finished.path, name=finished.run_id)], tmp_path)
    (path,) = [run.folder.path for _, run in runs]
    assert path == finished.path


def test_nothing_is_written_into_a_runs_folder(
    finished: RunFolder, inspect: Inspect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "runs" / "other"
    shutil.copytree(finished.path, other)
    for out in (finished.path, other / "inside"):
        before = contents_of(other)
        assert "lies in a run's folder" in refused(inspect, capsys, finished.run_id, "--out", str(out))
        assert contents_of(other) == before


def test_predictions_of_other_images_are_refused(
    finished: RunFolder, inspect: Inspect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = RunFolder(tmp_path / "runs" / finished.run_id)
    shutil.copytree(finished.path, copy.path)
    (copy.path.parent / "_data").symlink_to(finished.path.parent / "_data")
    table = finished.read_predictions(["split", "image", "ten_rank", "ten_best", "ten_best_probabilities"])
    copy.write_predictions(table.slice(1))
    assert "answers to other images" in refused(inspect, capsys, finished.run_id, runs=copy.path.parent)
    copy.write_predictions(table.drop(["ten_best"]))
    assert "ten_best" in refused(inspect, capsys, finished.run_id, runs=copy.path.parent)


@pytest.mark.parametrize(
    "typed", [["--k", "0"], ["--k", "1,x"], ["--images", "1"], ["--queries", "x"], ["--split", "no"]]
)
def test_options_that_make_no_sense_are_refused(
    inspect: Inspect, typed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        inspect("abc", *typed)
    assert ended.value.code == 2 and f"argument {typed[0]}" in capsys.readouterr().err


def test_help_is_answered_at_once_and_without_torch() -> None:
    code = (
        "import sys, alexnet_sweep.inspect.__main__ as verb\ntry:\n  verb.main(['--help'])\n"
        "except SystemExit as end:\n  assert not end.code\n"
        "assert not {'torch', 'sklearn', 'pandas', 'hydra'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "example: python -m alexnet_sweep.inspect" in done.stdout
