"""`python -m alexnet_sweep.evaluate`: the run's own figures again, other splits and settings, mistakes in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from alexnet_sweep.doubt import proportion_interval
from alexnet_sweep.evaluate import main as evaluate
from alexnet_sweep.store import RunFolder
from conftest import Compose, Main, outside_hydra
from test_trained import SMALL, trained

Answer = tuple[int, str, str]


@pytest.fixture(scope="module")
def run(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    place = tmp_path_factory.mktemp("evaluate")
    return trained(composed(*SMALL, "eval.clean_train_images=64", f"paths.runs={place / 'runs'}"))


@pytest.fixture
def asked(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The verb in an empty folder: exit code, and what it printed on both streams."""
    monkeypatch.chdir(tmp_path)

    def one(*arguments: str, name: str = run.run_id, runs: Path = run.path.parent) -> Answer:
        with outside_hydra():
            code = evaluate([name, "--runs", str(runs), *arguments])
        return code, *capsys.readouterr()

    return one


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_the_runs_own_settings_give_its_own_figures_and_leave_it_alone(asked, run: RunFolder) -> None:
    before = bytes_of(run.path)
    code, out, err = asked("--split", "test", "--split", "heldout", "--out", "here", "trainer.device=cpu")
    assert code == 0 and err == ""
    assert bytes_of(run.path) == before
    table, recorded = pd.read_csv("here/errors.csv"), run.read_result()["errors"]
    for row in table.to_dict("records"):
        counts = recorded[row["split"]][row["view"]]
        assert (row["images"], row["wrong"]) == (counts["images"], counts[row["metric"]])
        assert row["error"] == counts[f"{row['metric']}_error"] and row["low"] <= row["error"] <= row["high"]
    assert len(table) == 8 and set(table["views"]) == {5}
    assert pq.read_table("here/predictions.parquet").equals(pq.read_table(run.predictions))
    error = recorded["test"]["ten"]["top1_error"]
    assert f"{100 * error:.2f} %" in out and out.endswith("files: here\n")


def test_training_images_come_with_a_warning_and_files_of_their_own(asked) -> None:
    code, _, err = asked("--split", "train")
    assert code == 0 and err.count("\n") == 1 and "was trained on these images" in err
    (folder,) = Path("evaluations").iterdir()
    told = json.loads((folder / "evaluation.json").read_text())
    assert [row["images"] for row in told["errors"]] == [1293] * 4 and len(told["remarks"]) == 1
    assert asked()[0] == 0 and len(list(Path("evaluations").iterdir())) == 2


@pytest.mark.parametrize("override", ["eval=logits", "eval.mirrored_views=true"])
def test_other_views_change_the_average_and_not_the_centre(asked, override: str) -> None:
    assert asked("--out", "plain")[0] == asked("--out", "other", override)[0] == 0
    plain, other = (pq.read_table(f"{name}/predictions.parquet") for name in ("plain", "other"))
    assert plain["centre_probability"].equals(other["centre_probability"])
    assert not plain["ten_probability"].equals(other["ten_probability"])


def test_the_batch_size_changes_answers_by_rounding_alone(asked) -> None:
    assert asked("--out", "plain")[0] == asked("--out", "small", "eval.batch_size=7")[0] == 0
    plain, small = (pq.read_table(f"{name}/predictions.parquet")["ten_probability"] for name in ("plain", "small"))
    np.testing.assert_allclose(plain.to_numpy(), small.to_numpy(), rtol=1e-4, atol=1e-6)


def test_json_is_what_the_file_holds(asked) -> None:
    code, out, _ = asked("--json", "--out", "here")
    assert code == 0 and json.loads(out) == json.loads(Path("here/evaluation.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["model/lrn=off"], "model/lrn=off: an evaluation may change eval, data.path and trainer.device"),
        (["evaluate.x=1"], "an evaluation may change"),
        (["eval.batch_sise=3"], "batch_sise"),
        (["eval.batch_size=some"], "some"),
        (["eval.batch_size=0"], "out of range"),
        (["eval=logit"], "Did you mean 'logits'?"),
        (["--out", "RUN/inside"], "lies in a run's folder"),
        (["trainer.device=mps"], "trainer.device=mps"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(asked, run: RunFolder, arguments: list[str], told: str) -> None:
    code, out, err = asked(*(word.replace("RUN", str(run.path)) for word in arguments))
    assert (code, out) == (2, "") and told in err and err.count("\n") == 1
    assert not Path("evaluations").exists() and not (run.path / "inside").exists()


def test_a_run_that_is_not_there_or_not_finished_is_one_line(asked, run: RunFolder) -> None:
    code, _, err = asked(name="nope")
    assert code == 2 and "no run of that id" in err and err.count("\n") == 1
    shutil.copytree(run.path, "runs/abc")
    Path("runs/abc/result.json").unlink()
    code, _, err = asked(name="abc", runs=Path("runs"))
    assert code == 2 and "no finished run" in err and err.count("\n") == 1


def test_a_run_without_a_heldout_part_is_one_line(asked, composed: Compose, tmp_path: Path) -> None:
    config = composed(*SMALL, "data.heldout_fraction=0", "eval.clean_train_images=0", f"paths.runs={tmp_path / 'r'}")
    folder = trained(config)
    code, _, err = asked("--split", "heldout", name=folder.run_id, runs=tmp_path / "r")
    assert code == 2 and "--split heldout" in err.splitlines()[-1] and "Traceback" not in err  # its training logs, too


# --- other images of the same classes ---


@pytest.fixture(scope="module")
def of_photos(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Path]:
    """A run on photographs of three colours, and the folder of these."""
    place = tmp_path_factory.mktemp("photos")
    small = ("data=folder", f"data.path={place / 'photos'}", "data.stored_px=40", "data.crop_px=32")
    tiny = ("trainer.batch_size=8", "trainer.epochs=2", "eval.mirrored_views=true")
    paint(place / "photos")
    paths = f"paths.runs={place / 'runs'}"
    return trained(composed(*SMALL, *small, *tiny, "eval.clean_train_images=8", paths)), place / "photos"


def paint(root: Path, names: tuple[str, ...] = ("blue", "green", "red"), seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for split, count in (("train", 12), ("val", 6)):
        for number, name in enumerate(names):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 80, (40, 48, 3), dtype=np.uint8)
                pixels[..., 2 - number] += 150
                Image.fromarray(pixels).save(root / split / name / f"{index:02d}.png")


def test_other_images_of_the_same_classes_are_evaluated_with_the_runs_mean_image(asked, of_photos) -> None:
    run, own = of_photos
    paint(Path("others"), seed=1)
    where = {"name": run.run_id, "runs": run.path.parent}
    assert asked("--out", "own", **where)[0] == 0
    shutil.copytree(own, "same")
    code, _, err = asked("data.path=same", "--split", "train", "--out", "same_out", **where)
    assert code == 0 and "was trained on" in err
    code, _, err = asked("data.path=others", "--split", "train", "--out", "others_out", **where)
    assert (code, err) == (0, "")
    told = [json.loads(Path(name, "evaluation.json").read_text())["data"] for name in ("own", "same_out", "others_out")]
    assert told[0]["fingerprint"] == told[1]["fingerprint"] != told[2]["fingerprint"]
    assert not Path("runs").exists()  # they are packed beside those of the run, wherever one stands
    assert pd.read_csv("others_out/errors.csv")["images"].tolist() == [32, 32]  # less the held-out tenth


def test_images_of_other_classes_are_refused(asked, of_photos) -> None:
    paint(Path("others"), ("blue", "green", "yellow"))
    code, _, err = asked("data.path=others", name=of_photos[0].run_id, runs=of_photos[0].path.parent)
    assert code == 2 and "give images of the same classes" in err and err.count("\n") == 1


def test_wilsons_interval_by_hand() -> None:
    found = proportion_interval(10, 100)
    # (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.959964
    assert (found.low, found.high) == pytest.approx((0.05522914, 0.17436566), abs=1e-6)
    assert proportion_interval(0, 50).low == 0.0 and proportion_interval(50, 50).high == 1.0


def test_the_program_has_the_verb_and_its_help_an_example(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main("evaluate", "--help")
    told = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and "example: python -m alexnet_sweep.evaluate" in told and "--split heldout" in told
    assert "%%" not in told


def test_of_what_is_lacking_only_the_run_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        evaluate([])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "the following arguments are required: RUN. --help lists what there is\n"
