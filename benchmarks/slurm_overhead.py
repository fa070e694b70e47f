"""What a job of a SLURM cluster costs beside its run: many short runs, a few at a time.

    eval "$(tests/cluster/slurm up)"; python benchmarks/slurm_overhead.py [JOBS] [AT_ONCE]; tests/cluster/slurm down

The overhead of a job is what a place in the queue is taken beyond the run itself: submitting, scheduling, starting
Python and importing PyTorch, composing the config, and telling of the end.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main(jobs: int = 60, at_once: int = 4) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "alexnet_sweep", "-m", f"seed=range(0,{jobs})", "hydra/launcher=slurm"),
            *(f"hydra.launcher.array_parallelism={at_once}", "hydra.launcher.gpus_per_node=null"),
            *("hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1", "trainer.cpu_threads=1"),
            *("model.width=0.05", "trainer.epochs=1", "eval.clean_train_images=0"),
        ]
        began = time.monotonic()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        whole = time.monotonic() - began
        records = [json.loads(path.read_text()) for path in Path(folder).glob("runs/*/provenance.json")]
    in_runs = sum(record["wall_seconds"] for record in records)
    print(f"{len(records)} jobs, {at_once} at a time: {whole:.0f} s, and {in_runs:.0f} s in runs, one after the other")
    print(f"overhead of a job: {(whole * at_once - in_runs) / len(records):.1f} s of its place in the queue")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
