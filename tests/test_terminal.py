"""Streams as shells leave them: closed, of an encoding that lacks signs, read by nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hand_made import RANKS, ranked_study

SMALL = ("model.width=0.05", "trainer.cpu_threads=1", "eval.clean_train_images=16", "trainer.epochs=1")


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which $A is the program."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=os.environ | {"A": f"{sys.executable} -m alexnet_sweep"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_signs_that_an_encoding_lacks_are_spelt_out(tmp_path: Path, encoding: str) -> None:
    ranked_study(tmp_path / "runs", dict(RANKS))
    done = shell("$A compare hand hand", tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u0394 is an arm less its study's baseline" in done.stdout


@pytest.mark.slow
def test_a_run_trains_though_its_streams_are_closed(tmp_path: Path) -> None:
    done = shell(f"$A {' '.join(SMALL)} >&- 2>&-", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 1


@pytest.mark.parametrize(("line", "code"), [("$A.status", 0), ("$A nope=3", 2), ("$A.clean --json", 0)])
def test_a_closed_stream_leads_nowhere_and_changes_no_answer(tmp_path: Path, line: str, code: int) -> None:
    ranked_study(tmp_path / "runs", dict(RANKS))
    usual, without = shell(line, tmp_path), shell(f"{line} 2>&-", tmp_path)
    assert (without.returncode, without.stdout) == (code, usual.stdout)
    silent = shell(f"{line} >&-", tmp_path)
    assert (silent.returncode, silent.stderr) == (code, usual.stderr)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "line", ["status", "status --json", "clean", "clean --json", "--help", "status --help", "--cfg job"]
)
def test_an_answer_may_be_read_by_nobody(tmp_path: Path, line: str, unbuffered: str) -> None:
    ranked_study(tmp_path / "runs", dict(RANKS))
    done = shell(f"$A {line} | true; exit ${{PIPESTATUS[0]}}", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_to_be_deleted_is_deleted_though_nobody_reads_of_it(tmp_path: Path) -> None:
    ranked_study(tmp_path / "runs", dict(RANKS))
    checkpoints = [folder / "checkpoint.pt" for folder in (tmp_path / "runs").glob("0*")]
    for path in checkpoints:
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    done = shell("$A clean --yes | true; exit ${PIPESTATUS[0]}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(checkpoints) == 4 and not any(path.exists() for path in checkpoints)


INTERRUPTED = """
import runpy, sys

place, module, sys.argv[1:] = sys.argv[1], sys.argv[2], sys.argv[3:]

class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == place:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("module", "arguments", "place"),
    [
        ("alexnet_sweep.compare", ["hand", "hand"], "scipy"),
        ("alexnet_sweep.report", ["hand"], "matplotlib"),
        ("alexnet_sweep", ["compare", "hand", "hand"], "pandas"),
        ("alexnet_sweep", ["evaluate", "0123456789ab"], "hydra"),
        ("alexnet_sweep", ["seed=1"], "hydra"),
    ],
)
def test_ctrl_c_while_something_is_imported_is_one_word(
    tmp_path: Path, module: str, arguments: list[str], place: str
) -> None:
    ranked_study(tmp_path / "runs", dict(RANKS))
    command = [sys.executable, "-c", INTERRUPTED, place, module, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


@pytest.mark.parametrize("line", ["seed=1", "status", "--help"])
def test_a_folder_that_was_deleted_under_ones_feet_is_one_line(tmp_path: Path, line: str) -> None:
    done = shell(f"mkdir gone; cd gone; rmdir ../gone; $A {line}", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "the folder that you are in has been deleted; change to another\n"
