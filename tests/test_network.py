"""Nothing listens on a network by itself: what a run opens, other machines cannot reach."""

import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

SMALL = ("model.width=0.05", "trainer.cpu_threads=1", "eval.clean_train_images=16", "trainer.batch_size=64")


def listening(process: psutil.Process) -> set[str]:
    """Addresses at which a process and its children wait for others, or hear what nobody has asked for."""
    found = set()
    for one in [process, *process.children(recursive=True)]:
        try:
            for connection in one.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN or not connection.raddr:
                    found.add(connection.laddr.ip)
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_listens_at_most_on_loopback(tmp_path: Path, processes: int) -> None:
    command = [sys.executable, "-m", "alexnet_sweep", *SMALL, "trainer.epochs=400", f"trainer.processes={processes}"]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seen: set[str] = set()
    try:
        process = psutil.Process(run.pid)
        while run.poll() is None and not any(tmp_path.glob("runs/*/metrics.csv")):
            seen |= listening(process)
            time.sleep(0.02)
        seen |= listening(process)
        assert run.poll() is None, run.stderr.read() if run.stderr else ""
    finally:
        run.terminate()
        run.communicate(timeout=60)
    assert all(ip_address(address).is_loopback for address in seen), seen
    assert bool(seen) == (processes > 1)
