"""The summary prints the numbers of the paper's tables."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_sweep.summary import main as summarise
from conftest import Main, outside_hydra

FULL = ["model.width=1", "data.stored_px=256", "data.crop_px=224", "--classes", "1000"]


@pytest.fixture
def summary(main: Main) -> Main:
    """From an empty folder, outside of the session's Hydra."""

    def one(*arguments: str) -> int:
        with outside_hydra():
            return summarise(list(arguments))

    return one


@pytest.mark.parametrize(
    ("topology", "parameters", "multiply_accumulates"),
    [
        ("two_gpu", 60_965_224, 724_406_816),
        ("dense", 62_378_344, 1_135_256_096),
        ("one_gpu_half", 59_798_312, 391_514_384),
        ("no_communication", 60_714_408, 724_323_872),
        ("one_weird_trick", 61_100_840, 714_188_480),
    ],
)
def test_totals_are_those_of_the_paper(
    summary: Main,
    capsys: pytest.CaptureFixture[str],
    topology: str,
    parameters: int,
    multiply_accumulates: int,
) -> None:
    assert summary(f"model/topology={topology}", *FULL, "--json") == 0
    total = json.loads(capsys.readouterr().out)["total"]
    assert total == {"parameters": parameters, "multiply_accumulates": multiply_accumulates}


def test_the_table_shows_shapes_and_a_total(summary: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert summary(*FULL) == 0
    printed = capsys.readouterr().out
    assert "96 × 55 × 55" in printed and "256 × 6 × 6" in printed and "60,965,224" in printed


def test_the_classes_are_those_of_the_data_set(summary: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert summary() == 0
    assert "10 × 1 × 1" in capsys.readouterr().out


def test_a_mistake_is_one_line(summary: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert summary("model/lrn=offf") == 2
    assert "Did you mean 'off'?" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [["--config-dir", "own"], ["--config-dir=own"], ["-cd", "own"]])
def test_options_of_ones_own_are_taken(summary: Main, capsys: pytest.CaptureFixture[str], flag: list[str]) -> None:
    small = "model.width=0.25"
    assert summary(small, "--json") == 0
    ours = json.loads(capsys.readouterr().out)
    Path("own/model/topology").mkdir(parents=True)
    Path("own/model/topology/mine.yaml").write_text("defaults: [dense, _self_]\n")
    assert summary("model/topology=mine", *flag, small, "--json") == 0
    own = json.loads(capsys.readouterr().out)
    assert summary("model/topology=dense", small, "--json") == 0
    assert own == json.loads(capsys.readouterr().out) != ours
    assert summary("model/topology=mien", *flag) == 2
    assert "model/topology=mien: no such option. Did you mean 'mine'?" in capsys.readouterr().err


def test_a_folder_of_options_that_is_not_there_is_one_line(summary: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert summary("--config-dir", "nowhere") == 2
    err = capsys.readouterr().err
    assert err.startswith("--config-dir nowhere: no such folder; ") and err.count("\n") == 1


def test_a_real_process_answers_help_and_json() -> None:
    command = [sys.executable, "-m", "alexnet_sweep.summary"]
    assert "example:" in subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["total"]["parameters"] > 0
