"""The cluster that the tests start on this machine is a real one, and where it could be installed none is skipped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slurm
def test_a_job_runs_on_both_nodes_and_its_end_is_remembered(cluster: Path) -> None:
    said = cluster / "said"
    job = ask("sbatch", "--parsable", "--wait", "-N2", f"--output={said}", "--wrap", "srun printenv SLURMD_NODENAME")
    assert sorted(said.read_text().split()) == ["node1", "node2"]
    assert ask("sacct", "-X", "-n", "-P", "-o", "State", "-j", job.strip()).split() == ["COMPLETED"]


SKIPS = """
import pytest

@pytest.mark.slurm
def test_of_a_cluster():
    pytest.skip("there is none")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="root alone could install a cluster")
@pytest.mark.parametrize("installable", [True, False])
def test_a_cluster_test_is_skipped_only_where_no_cluster_could_be_installed(tmp_path: Path, installable: bool) -> None:
    (tmp_path / "test_it.py").write_text(SKIPS)
    commands = tmp_path / "commands"
    commands.mkdir()
    if installable:
        (commands / "apt-get").touch(mode=0o755)
    command = (sys.executable, "-m", "pytest", "-p", "conftest", "-c", "pyproject.toml", "-m", "slurm", "-n", "0")
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        env=os.environ
        | {"PATH": str(commands), "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if installable else 0), done.stdout
    assert ("skipped where a cluster could be installed" in done.stdout) == installable
    assert "there is none" in done.stdout or not installable
