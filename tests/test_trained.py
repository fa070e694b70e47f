"""A finished run, opened again: what it answers, and what is refused."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from alexnet_sweep.config import Config
from alexnet_sweep.errors import ConfigError, FolderError
from alexnet_sweep.finished import FinishedRun, find_run, finished_run, read_finished
from alexnet_sweep.identity import run_id
from alexnet_sweep.job import run
from alexnet_sweep.precheck import DataFacts
from alexnet_sweep.store import RunFolder
from alexnet_sweep.trained import opened, packed_images
from conftest import Compose, outside_hydra

SMALL = ("model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1", "trainer.batch_size=512")


def trained(config: Config) -> RunFolder:
    name = run_id(config, DataFacts().fingerprint(config))
    run(config, name)
    return RunFolder(Path(config.paths.runs) / name)


@pytest.fixture(scope="module")
def finished(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A small run on digits whose conv1, biases and threads are not those of the defaults."""
    place = tmp_path_factory.mktemp("trained")
    own = ("eval.clean_train_images=64", "model/topology=dense", "data.heldout_fraction=0.2", "eval=logits")
    return trained(composed(*SMALL, *own, f"paths.runs={place / 'runs'}"))


@pytest.fixture
def copied(finished: RunFolder, tmp_path: Path) -> Callable[[], RunFolder]:
    """A copy of the finished run among runs of its own, to be damaged."""

    def one(name: str = finished.run_id) -> RunFolder:
        place = tmp_path / "copies" / name
        shutil.copytree(finished.path, place)
        if not (place.parent / "_data").exists():
            (place.parent / "_data").symlink_to(finished.path.parent / "_data")
        return RunFolder(place)

    return one


def read(folder: RunFolder) -> FinishedRun:
    """As a command does, which starts Hydra itself."""
    with outside_hydra():
        return read_finished(folder)


# --- finding it ---


def test_a_run_is_found_by_its_id_the_beginning_of_it_or_its_folder(finished: RunFolder) -> None:
    runs, name = finished.path.parent, finished.run_id
    for typed in (name, name[:1], name[:7], str(finished.path)):
        assert find_run(typed, runs).path == finished.path


def test_a_whole_id_counts_before_others_that_begin_with_it(copied: Callable[..., RunFolder]) -> None:
    short, _ = copied("abc"), copied("abcd")
    assert find_run("abc", short.path.parent).path == short.path
    with pytest.raises(FolderError, match=r"^ab: the beginning of 2 runs below .* \(abc, abcd\); write more of it$"):
        find_run("ab", short.path.parent)


@pytest.mark.parametrize("name", ["", "nope", "_data", "a/b", "_studies"])
def test_a_run_that_is_not_there_is_one_line(finished: RunFolder, name: str) -> None:
    with pytest.raises(FolderError) as caught:
        find_run(name, finished.path.parent)
    assert "\n" not in str(caught.value) and str(finished.path.parent) in str(caught.value)


def test_no_folder_of_runs_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="have: none yet"):
        find_run("abc", tmp_path / "nowhere")


# --- its config ---


def test_the_config_is_the_one_that_was_trained_with(finished: RunFolder) -> None:
    found = read(finished)
    assert run_id(found.config, found.fingerprint) == found.result["run_id"] == finished.run_id
    assert not found.stale


def test_a_key_that_the_runs_version_did_not_have_takes_its_default(copied: Callable[..., RunFolder]) -> None:
    folder = copied()
    recorded = yaml.safe_load(folder.config.read_text())
    del recorded["trainer"]["processes"], recorded["regularizer"]["ema"], recorded["model"]["init"]["std"]["conv6"]
    folder.write_config(recorded)
    config = read(folder).config
    assert config.trainer.processes == 1 and config.regularizer.ema.decay is None
    assert "conv6" not in config.model.init.std  # a table by layer is the run's own


def test_a_key_that_is_no_more_is_one_line(copied: Callable[..., RunFolder]) -> None:
    folder = copied()
    recorded = yaml.safe_load(folder.config.read_text())
    recorded["trainer"]["gone"] = 3
    folder.write_config(recorded)
    with pytest.raises(FolderError, match=r"^.*config.yaml: does not fit this version \(.*gone.*\)[^\n]*$"):
        read(folder)


@pytest.mark.parametrize("state", ["running", "failed", "interrupted", ""])
def test_an_unfinished_run_is_refused(copied: Callable[..., RunFolder], state: str) -> None:
    folder = copied()
    folder.result.unlink()
    folder.status.write_text(f'{{"state": "{state}", "epoch": 1, "epochs": 4}}' if state else "{}")
    said = rf"not finished \({state}, epoch 2 of 4\)" if state else "no finished run"
    with pytest.raises(FolderError, match=rf"^[^\n]*{said}[^\n]*$"):
        finished_run(folder.run_id, folder.path.parent)


# --- opening it ---


def test_it_answers_as_it_did(finished: RunFolder) -> None:
    found = read(finished)
    table = finished.read_predictions(["split", "image", "centre_probability", "ten_probability", "label"]).to_pandas()
    with opened(found, "cpu") as again:
        for part in ("test", "heldout"):
            split, rows = again.part(part)
            got = again.probabilities(split, rows, all_views=True)
            own = table[table["split"] == part]
            assert [again.job.packed.ids[split][row] for row in rows] == list(own["image"])
            each = np.arange(len(rows)), own["label"].to_numpy()
            assert got.ten is not None
            np.testing.assert_array_equal(got.centre[each], own["centre_probability"].to_numpy())
            np.testing.assert_array_equal(got.ten[each], own["ten_probability"].to_numpy())


def test_the_parts_do_not_overlap_and_are_everything(finished: RunFolder) -> None:
    with opened(read(finished), "cpu") as again:
        (one, train), (other, heldout) = again.part("train"), again.part("heldout")
        assert one == other == "train"
        assert len(train) == again.run.result["data"]["train_images"]
        whole = np.sort(np.concatenate([train, heldout]))
        np.testing.assert_array_equal(whole, np.arange(again.job.packed.meta.counts["train"]))


def test_it_leaves_the_folder_and_the_process_as_they_were(finished: RunFolder) -> None:
    def seen() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in finished.path.iterdir()}

    before, threads, state = seen(), torch.get_num_threads(), torch.random.get_rng_state()
    with opened(read(finished), "cpu") as again:
        assert not again.net.training
        mine = again.net.state_dict()
        assert all(torch.equal(mine[name], value) for name, value in load_file(finished.weights).items())
    assert seen() == before
    assert torch.get_num_threads() == threads and torch.equal(torch.random.get_rng_state(), state)


def test_a_run_moved_away_with_its_images_opens(copied: Callable[..., RunFolder], finished: RunFolder) -> None:
    folder = copied("renamed")
    with opened(read(find_run(f"{folder.path}/", Path("runs"))), "cpu") as again:
        assert again.job.classes == 10


@pytest.mark.parametrize(("keep", "said"), [("none", "checkpoint.keep=none kept none"), ("weights", "has gone")])
def test_a_run_without_weights_is_refused(copied: Callable[..., RunFolder], keep: str, said: str) -> None:
    folder = copied()
    folder.weights.unlink()
    config = yaml.safe_load(folder.config.read_text())
    config["checkpoint"]["keep"] = keep
    folder.write_config(config)
    with (
        pytest.raises(FolderError, match=rf"^[^\n]*{said}[^\n]*checkpoint.keep=weights[^\n]*$"),
        opened(read(folder), "cpu"),
    ):
        pass


def test_weights_with_a_flipped_bit_are_refused(copied: Callable[..., RunFolder]) -> None:
    folder = copied()
    content = bytearray(folder.weights.read_bytes())
    content[-5] ^= 1
    folder.weights.write_bytes(content)
    with pytest.raises(FolderError, match=r"^[^\n]*weights.safetensors: damaged[^\n]*$"), opened(read(folder), "cpu"):
        pytest.fail("it is damaged")


def test_weights_that_are_cut_short_or_of_another_net_are_refused(copied: Callable[..., RunFolder]) -> None:
    folder = copied()
    whole = folder.weights.read_bytes()
    folder.weights.write_bytes(whole[:-100])
    with pytest.raises(FolderError, match=r"^[^\n]*cannot be read[^\n]*$"), opened(read(folder), "cpu"):
        pass
    folder.weights.write_bytes(whole)
    config = yaml.safe_load(folder.config.read_text())
    config["model"]["topology"]["groups"] = [1, 2, 1, 1, 1]
    folder.write_config(config)
    with pytest.raises(FolderError, match=r"^[^\n]*conv2.weight is[^\n]*$"), opened(read(folder), "cpu"):
        pass


def test_a_device_that_is_not_there_is_refused(finished: RunFolder) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("it is there")
    with pytest.raises(ConfigError, match="mps: not available"), opened(read(finished), "mps"):
        pass


def test_changed_images_are_refused_once_the_packed_ones_are_gone(
    composed: Compose, photos: Path, tmp_path: Path
) -> None:
    data = ("data=folder", f"data.path={photos}", "data.stored_px=32", "data.crop_px=27", "trainer.batch_size=8")
    folder = trained(composed(*SMALL, *data, f"paths.runs={tmp_path / 'runs'}"))
    found = read(folder)
    pixels = packed_images(found).images["test"][:]
    (photos / "val/red/00.png").rename(photos / "val/red/zz.png")
    np.testing.assert_array_equal(packed_images(found).images["test"][:], pixels)  # as they were packed
    shutil.rmtree(tmp_path / "runs/_data")
    with pytest.raises(FolderError, match=r"^[^\n]*no packed copy is left[^\n]*Bring back the images[^\n]*$"):
        packed_images(found)
    (photos / "val/red/zz.png").rename(photos / "val/red/00.png")
    np.testing.assert_array_equal(packed_images(found).images["test"][:], pixels)  # packed again


def test_the_way_of_evaluation_can_be_another(finished: RunFolder) -> None:
    found = read(finished)
    assert found.config.eval.average == "logits"
    other = dataclasses.replace(
        found,
        config=dataclasses.replace(found.config, eval=dataclasses.replace(found.config.eval, average="probabilities")),
    )
    ten = []
    for one in (found, other):
        with opened(one, "cpu") as again:
            ten.append(again.probabilities(*again.part("test"), all_views=True).ten)
    assert not np.array_equal(ten[0], ten[1])
