"""The installed wheel, from an empty folder, gives the table of the checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SWEEP = ["-m", "model/lrn=on,off", "model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1"]


def swept(folder: Path, command: list[str], environment: dict[str, str]) -> bytes:
    folder.mkdir()
    subprocess.run([*command, *SWEEP], cwd=folder, env=environment, check=True, capture_output=True)
    (table,) = folder.glob("reports/*/deltas.csv")
    return table.read_bytes()


@pytest.mark.slow
def test_the_installed_command_gives_the_table_of_the_checkout(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(installed), str(wheel)], check=True)
    theirs = os.environ | {"PYTHONPATH": str(installed)}
    where = "import alexnet_sweep, alexnet_sweep.groups as g; print(alexnet_sweep.__file__, g.conf_folder())"
    found = subprocess.run([sys.executable, "-c", where], env=theirs, cwd=tmp_path, capture_output=True, text=True)
    assert all(path.startswith(str(installed)) for path in found.stdout.split()), found
    table = swept(tmp_path / "one", [sys.executable, str(installed / "bin/alexnet-sweep")], theirs)
    assert table == swept(tmp_path / "two", [sys.executable, "-m", "alexnet_sweep"], dict(os.environ))
    assert b"model/lrn=off" in table
