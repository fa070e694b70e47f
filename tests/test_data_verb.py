"""`python -m alexnet_sweep.data`: describes without building, packs ahead of time, answers mistakes in one line."""

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tqdm import tqdm

import alexnet_sweep.__main__
from alexnet_sweep import precheck
from alexnet_sweep.data.__main__ import main
from alexnet_sweep.precheck import DataFacts
from conftest import outside_hydra


@pytest.fixture
def photographs(photos: Path, tmp_path: Path) -> list[str]:
    runs = f"paths.runs={tmp_path / 'runs'}"
    return ["data=folder", f"data.path={photos}", "data.stored_px=16", "data.crop_px=12", "model/stem=px32", runs]


@pytest.fixture(autouse=True)
def no_hydra() -> Iterator[None]:
    with outside_hydra():
        yield


def test_info_of_what_is_not_packed_says_so_and_builds_nothing(
    photographs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", *photographs]) == 0
    text = capsys.readouterr().out
    assert "3: blue, green, red" in text and "train 36, test 18" in text
    assert "raw, not built: " in text and "needed" in text and "free" in text
    assert not (tmp_path / "runs").exists()


def test_a_bar_shows_on_a_terminal_how_far_packing_is(
    photographs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", *photographs]) == 0
    assert "packing" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(precheck, "tqdm", partial(tqdm, mininterval=0))  # a fast machine ends before a bar is drawn
    assert main(["prepare", *photographs, "data.stored_px=20"]) == 0
    bar = capsys.readouterr().err
    assert "packing" in bar and "/54" in bar and "image/s" in bar


def test_prepare_packs_and_info_then_tells_the_colours(
    photographs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", *photographs]) == 0
    capsys.readouterr()
    assert main(["info", *photographs]) == 0
    text = capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / "_data").iterdir()
    assert str(folder) in text and "left out     none" in text and "mean RGB" in text and "eigenvalues" in text


def test_json_holds_the_same(photographs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--json", *photographs]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packed"] and found["images"] == {"train": 36, "test": 18} and found["skipped"] == {}
    assert len(found["mean_rgb"]) == 3 and found["eigenvalues"][0] >= found["eigenvalues"][1]


def test_images_that_were_left_out_are_listed(
    photographs: list[str], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "train" / "red" / "03.png").write_bytes(b"no image")
    assert main(["prepare", *photographs, "data.skip_bad=true"]) == 0
    assert "left out     1: train/red/03.png" in capsys.readouterr().out


def test_an_image_that_cannot_be_read_is_one_line_and_exit_code_1(
    photographs: list[str], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "train" / "red" / "03.png").write_bytes(b"no image")
    assert main(["prepare", *photographs]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("image train/red/03.png: cannot be read")


@pytest.mark.parametrize("kept", [None, 0, 20])
@pytest.mark.parametrize("name", ["mean.npy", "colours.npz"])
def test_info_of_a_damaged_store_is_one_line(
    photographs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, kept: int | None
) -> None:
    assert main(["prepare", *photographs]) == 0
    (file,) = (tmp_path / "runs" / "_data").glob(f"*/{name}")
    content = file.read_bytes()
    file.unlink() if kept is None else file.write_bytes(content[:kept])
    capsys.readouterr()
    assert main(["info", *photographs]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"{file.parent}: damaged packed store (") and err.count("\n") == 1


@pytest.mark.parametrize("wrong", [["data=digit"], ["data.stored=3"], ["data=folder"], ["data.store=zip"]])
def test_a_mistake_is_one_line_and_exit_code_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", *wrong]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and wrong[0].split("=")[0].split(".")[0] in err


def test_options_of_ones_own_are_taken(
    photographs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own, of me=[1]"  # signs that mean something in an override
    (own / "data").mkdir(parents=True)
    (own / "data" / "mine.yaml").write_text("defaults: [folder, _self_]\nstored_px: 20\ncrop_px: 18\n")
    asked = ["data=mine", *photographs[1:2], "model/stem=px32", photographs[-1]]
    for verb in ("info", "prepare", "info"):
        assert main([verb, *asked, "--config-dir", str(own)]) == 0
        assert "20 px stored, 18 px crops" in capsys.readouterr().out
    assert main(["info", "data=mien", "-cd", str(own)]) == 2
    assert "data=mien: no such option. Did you mean 'mine'?" in capsys.readouterr().err
    assert main(["info", "data=mine"]) == 2


def test_the_program_has_the_verb_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["alexnet-sweep", "data", "info", "data=synthetic"])
    assert alexnet_sweep.__main__.main() == 0
    assert "red 2, red 4" in capsys.readouterr().out


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "example: python -m alexnet_sweep.data info data=digits" in capsys.readouterr().out


def test_facts_are_those_of_the_source_before_packing(photographs: list[str]) -> None:
    from alexnet_sweep.composing import composed
    from alexnet_sweep.data.__main__ import facts_of

    found = facts_of(composed(photographs), DataFacts())
    assert found["bytes_needed"] == 54 * 3 * 16 * 16 and not found["packed"]
