"""`python -m alexnet_sweep.bench [ROW…]`: how fast this machine's CPU carries out the program, as ratios in one run."""

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alexnet_sweep import machine, provenance
from alexnet_sweep.arguments import Arguments, refused
from alexnet_sweep.errors import ConfigError, SweepError, nearest
from alexnet_sweep.terminal import show, show_log

# By row, about how many minutes it takes on two cores; with --quick a third.
MINUTES = {
    "augment": 0.5,
    "decode": 0.3,
    "lrn": 1.0,
    "step": 2.0,
    "store": 2.5,
    "peak": 5.0,
    "small": 0.5,
    "views": 1.5,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all rows reach what they must, 1 where one does not or was not measured, 2 for a mistake of the user."""
    parser = Arguments(
        prog="python -m alexnet_sweep.bench",
        description="Measures on the CPU, in one run and in turn, what must be fast; each row is a ratio.",
        epilog="example: python -m alexnet_sweep.bench lrn step --quick",
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"all, or some of {', '.join(MINUTES)}")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller batches; misses no row")
    parser.add_argument("--threads", default="auto", metavar="N", help="as trainer.cpu_threads (default: all cores)")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: on a machine that others use")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="JPEGs in place of drawn ones")
    chosen = parser.parse_args(arguments)
    try:
        rows = asked(chosen.rows, chosen.photos, chosen.threads, chosen.clock)
    except (SweepError, OSError) as error:
        return refused(error)
    minutes = sum(MINUTES[name] for name in rows) / (3 if chosen.quick else 1)
    print(f"{', '.join(rows)}: about {max(1, round(minutes))} min on two cores, up to 6 GB of memory", file=sys.stderr)
    show_log()
    from alexnet_sweep.bench.rows import ROWS, Bench
    from alexnet_sweep.bench.subjects import FULL, QUICK
    from alexnet_sweep.bench.table import as_text, as_values
    from alexnet_sweep.bench.timing import CLOCKS
    from alexnet_sweep.composing import composed

    bench = Bench(
        composed, replace(QUICK if chosen.quick else FULL, threads=chosen.threads), chosen.photos, CLOCKS[chosen.clock]
    )
    try:
        found = [row for name in rows for row in ROWS[name](bench)]
    except (SweepError, OSError) as error:
        return refused(error)
    facts = machine_facts(chosen.threads) | {"clock": chosen.clock}
    show(json.dumps(as_values(facts, found), indent=1) if chosen.json else as_text(facts, found))
    return int(not chosen.quick and any(row.met is not True for row in found))


def asked(names: Sequence[str], photos: Path | None, threads: str, clock: str) -> list[str]:
    """The rows to measure, all of them where none is named.

    Raises:
        ConfigError: for an unknown row, a number of threads that is none, or a folder without JPEGs.
    """
    if threads != "auto" and not (threads.isdecimal() and int(threads) > 0):
        raise ConfigError(f"--threads {threads}: allowed: auto, or a number from 1")
    if clock == "cpu" and threads != "1":
        raise ConfigError(f"--clock cpu: adds up the time of all threads (--threads {threads}); add --threads 1")
    for name in names:
        if name not in MINUTES:
            raise ConfigError(f"{name}: no such row.{nearest(name, list(MINUTES))} Have: {', '.join(MINUTES)}")
    if photos is not None and not any(path.suffix.lower() in (".jpg", ".jpeg") for path in photos.rglob("*")):
        raise ConfigError(f"--photos {photos}: no JPEG files there; name a folder that has some, or leave it out")
    return [name for name in MINUTES if not names or name in names]


def machine_facts(threads: str) -> dict[str, str]:
    """What the figures depend on."""
    import torch

    versions = provenance.versions()
    return {
        "machine": f"{platform.machine()}, {platform.platform()}",
        "cores": f"{machine.usable_cores()}, threads: {threads}",
        "memory": f"{machine.memory_bytes() / 2**30:.0f} GiB",
        "torch": f"{versions['torch']}, {torch.backends.cpu.get_cpu_capability()}",
        "python": versions["python"],
        "commit": str(provenance.commit()),
    }


if __name__ == "__main__":
    sys.exit(main())
