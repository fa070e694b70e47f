"""What a job of a SLURM cluster costs beside its run: many short runs, a few at a time, in several rounds.

    eval "$(tests/cluster/slurm up)"
    python benchmarks/slurm_overhead.py [JOBS] [AT_ONCE] [ROUNDS]
    tests/cluster/slurm down

The overhead of a job is what a place in the queue is taken beyond the run itself: submitting, scheduling, starting
Python and importing PyTorch, composing the config, and telling of the end.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def overhead(jobs: int, at_once: int) -> float:
    """Seconds a job, and prints what they are made of."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "alexnet_sweep", "-m", f"seed=range(0,{jobs})", "hydra/launcher=slurm"),
            *(f"hydra.launcher.array_parallelism={at_once}", "hydra.launcher.gpus_per_node=null"),
            *("hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1", "trainer.cpu_threads=1"),
            *("model.width=0.05", "trainer.epochs=1", "eval.clean_train_images=0"),
        ]
        began = time.monotonic()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        whole = time.monotonic() - began
        records = [json.loads(path.read_text()) for path in Path(folder).glob("runs/*/provenance.json")]
    in_runs = sum(record["wall_seconds"] for record in records)
    seconds = (whole * at_once - in_runs) / len(records)
    load = os.getloadavg()[0]
    print(
        f"{len(records)} jobs, {at_once} at a time: {whole:.0f} s, and {in_runs:.0f} s in runs, one after the other: "
        f"{seconds:.1f} s a job (load average {load:.1f})"
    )
    return seconds


def main(jobs: int = 24, at_once: int = 4, rounds: int = 3) -> None:
    found = [overhead(jobs, at_once) for _ in range(rounds)]
    middle, spread = statistics.median(found), f"{min(found):.1f} to {max(found):.1f}"
    print(f"overhead of a job: {middle:.1f} s of its place in the queue ({spread})")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
