"""What planning a large study and starting a finished one cost: `python benchmarks/studies.py [--arms N] [--seeds N]`.

Trains one small run, copies its folder for every planned run, and times as whole commands: the plan of the study before
any run and after all, its status, a start of the finished study with its report, the report alone, and what could be
deleted. Prints seconds, processor seconds and peak memory of each.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMALL = ("model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1", "eval.clean_train_images=64")


def timed(what: str, command: list[str], folder: Path) -> str:
    """Run a command; print its seconds, processor seconds and peak memory; return what it printed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with (folder / "printed").open("w+") as printed:
        process = subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stdout=printed)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if status:
            raise SystemExit(f"{what}: exit status {status}")
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{what:<46} {seconds:7.1f} s  {busy:7.1f} s of one core  {usage.ru_maxrss / 1024:6.0f} MiB", flush=True)
        printed.seek(0)
        return printed.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    rates = ",".join(f"{0.0001 * (place + 1):.4f}" for place in range(chosen.arms))
    grid = [f"optim.learning_rate={rates}", f"seed={','.join(map(str, range(chosen.seeds)))}", *SMALL]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "alexnet_sweep", *SMALL], cwd=folder, check=True, capture_output=True)
        (one,) = [path for path in (folder / "runs").iterdir() if not path.name.startswith("_")]
        count = f"{chosen.arms} arms x {chosen.seeds} seeds"
        plan = json.loads(timed(f"plan of {count}", ["alexnet_sweep.plan", *grid, "--json"], folder))
        for run in plan["runs"]:
            copy = folder / "runs" / run["run_id"]
            if not copy.exists():
                shutil.copytree(one, copy)
            result = json.loads((one / "result.json").read_text()) | {"run_id": run["run_id"], "seed": run["seed"]}
            (copy / "result.json").write_text(json.dumps(result))
        timed(f"plan of {count}, finished", ["alexnet_sweep.plan", *grid, "--json"], folder)
        timed(f"finished study of {count}, with its report", ["alexnet_sweep", "-m", *grid], folder)
        timed("its report alone", ["alexnet_sweep.report", plan["study"]], folder)
        timed("its status, once", ["alexnet_sweep.status", "--once"], folder)
        timed("what can be deleted", ["alexnet_sweep.clean"], folder)


if __name__ == "__main__":
    main()
