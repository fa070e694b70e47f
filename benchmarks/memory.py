"""What a long sweep leaves behind in its process: `python benchmarks/memory.py [--runs N] [OVERRIDE…]`.

Carries out a sweep of N small runs in this process, in a folder of its own, and looks after each run at the memory
that is resident, open files, threads, Python's objects and the sinks of the log. Prints them every so often, and at the
end how much each has grown a run since the first tenth, which is taken as warming up.
"""

import argparse
import contextlib
import gc
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from loguru import logger

import alexnet_sweep.__main__
from alexnet_sweep import job

SMALL = ("model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1", "eval.clean_train_images=64")


def footprint() -> dict[str, float]:
    """Of this process, now."""
    process = psutil.Process()
    gc.collect()
    return {
        "MiB": process.memory_info().rss / 2**20,
        "files": process.num_fds(),
        "mapped": len(process.memory_maps(grouped=False)),
        "threads": process.num_threads(),
        "objects": len(gc.get_objects()),
        "sinks": len(logger._core.handlers),  # type: ignore[attr-defined]
    }


def watched(run: Callable[..., Any], seen: list[dict[str, float]], every: int) -> Callable[..., Any]:
    """A run that is looked at once it has ended; the process's first output, not the sweep's, is printed to."""
    terminal = sys.stdout

    def one(*arguments: Any, **keys: Any) -> Any:
        try:
            return run(*arguments, **keys)
        finally:
            seen.append(footprint())
            if len(seen) % every == 0 or len(seen) == 1:
                print(line(f"run {len(seen)}", seen[-1]), file=terminal, flush=True)

    return one


def line(head: str, figures: dict[str, float]) -> str:
    return f"{head:<16}" + "".join(f"{value:>12,.1f} {name}" for name, value in figures.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("overrides", nargs="*")
    chosen = parser.parse_args()
    seen: list[dict[str, float]] = []
    job.run = watched(job.run, seen, max(1, chosen.runs // 10))
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(name)
        sys.argv[1:] = ["-m", f"seed={','.join(map(str, range(chosen.runs)))}", *SMALL, *chosen.overrides]
        code = alexnet_sweep.__main__.main()
        os.chdir(Path(__file__).parent)
    if code or len(seen) != chosen.runs:
        raise SystemExit(f"exit code {code} after {len(seen)} runs")
    first, last, runs = seen[chosen.runs // 10], seen[-1], max(1, chosen.runs - 1 - chosen.runs // 10)
    print(line("growth a run", {name: (last[name] - first[name]) / runs for name in last}))


if __name__ == "__main__":
    main()
