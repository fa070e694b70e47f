"""`python -m alexnet_sweep.plan ARGS`: what a sweep with these arguments would do, and how long it would take."""

import argparse
import re
import sys
from collections.abc import Sequence

from alexnet_sweep.arguments import Arguments

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Arguments(
        prog="python -m alexnet_sweep.plan",
        description="Which runs a sweep would skip, resume and train, and why; how long, how large. Trains none.",
        epilog="example: python -m alexnet_sweep.plan study=quick --budget 10min",
    )
    parser.add_argument("arguments", nargs="*", metavar="ARG", help="as python -m alexnet_sweep -m takes them")
    parser.add_argument("--budget", type=seconds, metavar="TIME", help="which runs fit, as 90s, 30min, 2h or 1d")
    parser.add_argument(
        "--probe", action="store_true", help="pack the data set and train a few steps, to know the time"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen, others = parser.parse_known_args(arguments)
    from alexnet_sweep.cli import answer

    asked = ["hydra.sweeper.plan_only=true", f"hydra.sweeper.plan_json={str(chosen.json).lower()}"]
    asked += [f"hydra.sweeper.plan_probe={str(chosen.probe).lower()}"]
    if chosen.budget is not None:
        asked.append(f"hydra.sweeper.plan_budget_seconds={chosen.budget}")
    flags = [word for word in others if word not in ("-m", "--multirun")]
    return answer(["-m", *flags, *chosen.arguments, *asked])


def seconds(text: str) -> float:
    """`90s`, `30min`, `2h`, `1.5d` in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text}: allowed: a number with s, min, h or d, as 2h")
    return float(found[1]) * UNITS[found[2]]


if __name__ == "__main__":
    sys.exit(main())
