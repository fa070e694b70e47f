"""The cluster that the tests start on this machine is a real one: two nodes, a job history, limits that are kept."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slurm


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_job_runs_on_both_nodes_and_its_end_is_remembered(cluster: Path) -> None:
    said = cluster / "said"
    job = ask("sbatch", "--parsable", "--wait", "-N2", f"--output={said}", "--wrap", "srun printenv SLURMD_NODENAME")
    assert sorted(said.read_text().split()) == ["node1", "node2"]
    assert ask("sacct", "-X", "-n", "-P", "-o", "State", "-j", job.strip()).split() == ["COMPLETED"]
