"""A study made twice has the same bytes, whatever hashes its processes draw; what cannot be promised is told of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_sweep.errors import ConfigError
from alexnet_sweep.job import run
from alexnet_sweep.report.write import write_report
from conftest import Compose
from hand_made import make_study, wrong
from test_sweep import SAME_BYTES, SMALL, folders

STUDY = ("-m", "model/lrn=on,off", "seed=0,1", "trainer.deterministic=true", "checkpoint.keep=full", *SMALL)
TABLES = (".csv", ".parquet", ".tex", ".svg", ".png")


def made(folder: Path, hash_seed: int) -> dict[str, bytes]:
    """The files of a study's runs and report that equal runs share, made by a process of its own."""
    folder.mkdir()
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-m", "alexnet_sweep", *STUDY]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    found = {
        f"{run.run_id}/{name}": (run.path / name).read_bytes()
        for run in folders(folder / "runs")
        for name in SAME_BYTES
    }
    plan = next((folder / "runs/_studies").glob("*/plan.json"))
    tables = [path for path in (folder / "reports").rglob("*") if path.suffix in TABLES]
    stores = [path for path in (folder / "runs/_data").rglob("*") if path.is_file()]
    return found | {str(path.relative_to(folder)): path.read_bytes() for path in (plan, *tables, *stores)}


@pytest.mark.slow
def test_a_study_made_twice_has_the_same_bytes_whatever_its_processes_hash(tmp_path: Path) -> None:
    once, again = made(tmp_path / "once", 1), made(tmp_path / "again", 2)
    assert {"deltas.csv", "results.csv", "tables.tex"} <= {Path(name).name for name in once}
    assert once.keys() == again.keys() and len(once) > 4 * len(SAME_BYTES)
    assert {name for name in once if once[name] != again[name]} == set()


UNSURE = """
import torch
from torch import nn

class Unsure(nn.ReLU):
    def forward(self, maps):
        torch.zeros(4).put_(torch.tensor([1]), torch.ones(1))  # which of two values stays is not said
        return super().forward(maps)
"""


@pytest.fixture
def unsure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An activation with an operation that has no deterministic form."""
    (tmp_path / "unsure.py").write_text(UNSURE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "model.activation.custom={_target_: unsure.Unsure}"


def test_an_operation_without_a_deterministic_form_is_told_of_in_one_line(
    micro: Compose, unsure: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(micro(unsure), "0123456789ab")
    line = str(caught.value)
    assert line.startswith("trainer.deterministic=true: put_ has no deterministic form on cpu; set trainer.determ")
    assert "\n" not in line and "Traceback" in (tmp_path / "runs/0123456789ab/failure.txt").read_text()


def test_what_was_not_bound_to_be_deterministic_is_recorded(micro: Compose, unsure: str) -> None:
    result = run(micro(unsure, "trainer.deterministic=false", "trainer.epochs=1"), "0123456789ab")
    assert result["effective"]["deterministic"] is False


def test_a_run_is_deterministic_by_default_and_says_so(micro: Compose) -> None:
    assert run(micro("trainer.epochs=1"), "0123456789ab")["effective"]["deterministic"] is True


@pytest.mark.parametrize("values", [(True, True), (True, False), (False, False)])
def test_the_report_shows_the_settings_and_tells_of_what_is_not_deterministic(
    tmp_path: Path, values: tuple[bool, bool]
) -> None:
    runs = {
        (arm, 0): wrong("0101", result={"effective.deterministic": value})
        for arm, value in zip(("base", "off"), values, strict=True)
    }
    text = write_report(make_study(tmp_path, runs), tmp_path, tmp_path / "reports").text
    told = " and ".join(map(str, sorted(set(values))))
    assert f"settings  device cpu, cpu_threads 1, deterministic {told}" in text
    assert ("Not deterministic" in text) == (False in values)
    assert (f"deterministic: {told}" in text) == (len(set(values)) == 2)
