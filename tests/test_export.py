"""`python -m alexnet_sweep.export`: the same function for other programs, checked, and mistakes in one line."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet_sweep import exporting
from alexnet_sweep.augment import centre_view
from alexnet_sweep.data.pack import open_packed
from alexnet_sweep.export import main as export
from alexnet_sweep.model.build import build_model
from alexnet_sweep.model.portable import Portable
from alexnet_sweep.store import RunFolder
from conftest import Compose, Main, outside_hydra
from test_trained import SMALL, trained

NETS = {
    "two_gpu": ["model/topology=two_gpu", "inputs=imagenet_constants"],
    "three normalisers": ["model/lrn=with_within_map", "model/topology=dense"],
    "printed": ["model.lrn.alpha_convention=sum", "model.lrn.per_column=false", "model.lrn.beta=0.5"],
    "even window": ["model.lrn.size=4"],
    "no LRN": ["model/lrn=off", "model/activation=tanh"],
    "grouped": ["model/topology=no_communication", "model/pool=plain_released", "model/depth=six"],
    "padded": ["model/stem=px224_padded", "data.stored_px=96", "data.crop_px=94"],
    "conv_pool": ["model/net=conv_pool", "model/init=cifar_conv_pool", "model/lrn=cifar_18pct"],
    "conv_pool_hidden": ["model/net=conv_pool_hidden", "model/init=cifar_conv_pool_hidden"],
    "conv_local": ["model/net=conv_local", "model/init=cifar_conv_local", "model/lrn=cifar_11pct"],
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("output", ["probabilities", "logits"])
def test_the_portable_net_is_the_same_function(composed: Compose, name: str, output: str) -> None:
    config = composed("model.width=0.05", *NETS[name])
    px, net = config.data.crop_px, build_model(config, 10).eval().to(memory_format=torch.channels_last)
    mean, divisor = torch.rand(3, px, px) * 255, torch.rand(3, 1, 1) + 0.5
    pixels = torch.randint(0, 256, (5, 3, px, px), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net((pixels.float() - mean) / divisor)
        found = Portable(net, mean, divisor, output)(pixels)
    expected = expected.softmax(1) if output == "probabilities" else expected
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.fixture(scope="module")
def run(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    place = tmp_path_factory.mktemp("export")
    own = ("eval.clean_train_images=64", "regularizer/ema=on", "inputs=imagenet_constants")
    return trained(composed(*SMALL, *own, f"paths.runs={place / 'runs'}"))


def asked(run: RunFolder, *arguments: str) -> int:
    with outside_hydra():
        return export([run.run_id, "--runs", str(run.path.parent), *arguments])


@pytest.mark.slow
@pytest.mark.parametrize(("output", "dtype"), [("probabilities", "uint8"), ("logits", "float32")])
def test_the_file_answers_as_the_run_did_whatever_the_batch(
    run: RunFolder, composed: Compose, tmp_path: Path, output: str, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx
    import onnxruntime

    path, before = tmp_path / "new" / "net.onnx", sorted(run.path.iterdir())
    assert asked(run, "--onnx", str(path), "--output", output, "--input", dtype) == 0
    printed = capsys.readouterr()
    assert "64 of 64 first answers the same" in printed.out and printed.err == ""
    assert sorted(run.path.iterdir()) == before and [item.name for item in path.parent.iterdir()] == ["net.onnx"]

    model = onnx.load(path)
    onnx.checker.check_model(model)
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [18]
    assert notes["run"] == run.run_id and json.loads(notes["classes"]) == [str(digit) for digit in range(10)]
    assert dtype in notes["input_layout"] and notes["stored_px"] == "32"

    packed = open_packed(composed().data, run.path.parent / "_data")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = centre_view(torch.from_numpy(packed.images["test"][np.arange(360)]), 27).contiguous().numpy().astype(dtype)
    recorded = run.read_predictions(["split", "image", "centre_probabilities"]).to_pandas()
    recorded = recorded[recorded["split"] == "test"]
    assert recorded["image"].tolist() == packed.ids["test"]
    for size in (1, 3, 360):
        (found,) = session.run(None, {"images": images[:size]})
        if output == "logits":
            found = torch.from_numpy(found).softmax(1).numpy()
        np.testing.assert_allclose(found, np.stack(recorded["centre_probabilities"])[:size], atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two_gpu", "three normalisers", "grouped", "conv_pool", "conv_local"])
def test_every_kind_of_net_can_be_exported(composed: Compose, tmp_path: Path, name: str) -> None:
    folder = trained(composed(*SMALL, *NETS[name], f"paths.runs={tmp_path / 'runs'}", "eval.clean_train_images=0"))
    assert asked(folder, "--onnx", str(tmp_path / "net.onnx"), "--output", "logits") == 0


@pytest.mark.slow
def test_a_model_that_answers_otherwise_is_refused_and_not_left_behind(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(trained, images, output):
        return np.roll(expected(trained, images, output), 1, axis=1)

    expected = exporting._expected
    monkeypatch.setattr(exporting, "_expected", wrong)
    (tmp_path / "net.onnx").write_text("what was there")
    assert asked(run, "--onnx", str(tmp_path / "net.onnx")) == 2
    err = capsys.readouterr().err
    assert "differ by" in err and "nothing is written" in err and err.count("\n") == 1
    assert (tmp_path / "net.onnx").read_text() == "what was there" and len(list(tmp_path.iterdir())) == 1


class Unportable(torch.nn.Module):
    """A user's own activation whose way hangs on the values."""

    def forward(self, units: torch.Tensor) -> torch.Tensor:
        return units.relu() if float(units.detach().sum()) > 0 else units.relu() * 1.0


@pytest.mark.slow
def test_a_part_that_cannot_be_exported_is_one_line(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = "model.activation.custom={_target_: test_export.Unportable}"
    folder = trained(composed(*SMALL, own, f"paths.runs={tmp_path / 'runs'}", "eval.clean_train_images=0"))
    capsys.readouterr()
    assert asked(folder, "--onnx", str(tmp_path / "net.onnx")) == 2
    err = capsys.readouterr().err
    assert "cannot be exported" in err and err.count("\n") == 1 and not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize("lacks", ["result.json", "weights.safetensors"])
def test_an_untrained_run_is_refused_in_one_line(
    run: RunFolder, tmp_path: Path, lacks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = RunFolder(tmp_path / "runs" / run.run_id)
    shutil.copytree(run.path, copy.path)
    (copy.path / lacks).unlink()
    (tmp_path / "runs/_data").symlink_to(run.path.parent / "_data")
    assert asked(copy, "--onnx", str(tmp_path / "net.onnx")) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and (lacks in err) and not (tmp_path / "net.onnx").exists()


def test_without_onnx_it_says_what_to_install(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert asked(run, "--onnx", str(tmp_path / "net.onnx")) == 2
    err = capsys.readouterr().err
    assert "onnxscript: not installed; pip install 'alexnet-sweep[export]'" in err and err.count("\n") == 1


def test_no_runs_folder_is_written_into(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "status.json").write_text("{}")
    for folder in (run.path, other, other / "deeper"):
        assert asked(run, "--onnx", str(folder / "net.onnx")) == 2
        assert "lies in a run's folder" in capsys.readouterr().err
    assert [path.name for path in other.iterdir()] == ["status.json"]


@pytest.mark.parametrize(("images", "sizes"), [(1, (1,)), (7, (1, 7)), (12, (1, 7, 12)), (64, (1, 7, 64))])
def test_no_batch_that_is_tried_is_larger_than_all_images(images: int, sizes: tuple[int, ...]) -> None:
    assert exporting._sizes(torch.zeros(images, 3, 1, 1)) == sizes


def test_the_program_has_the_verb_and_its_help_an_example(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main("export", "--help")
    told = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and "example: python -m alexnet_sweep.export" in told and "--onnx alexnet.onnx" in told
    assert "%%" not in told
