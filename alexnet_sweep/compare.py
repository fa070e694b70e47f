"""`python -m alexnet_sweep.compare STUDY_A STUDY_B`: what changed between two studies. Imports no torch."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from alexnet_sweep.arguments import Arguments, refused, stopped
from alexnet_sweep.errors import SweepError
from alexnet_sweep.terminal import show


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Arguments(
        prog="python -m alexnet_sweep.compare",
        description="What changed between two studies: each arm's delta in both, whether the change goes beyond their "
        "intervals, and what else differs. Reads run folders; writes nothing.",
        epilog="example: python -m alexnet_sweep.compare quick quick-1a2b3c4d",
    )
    parser.add_argument("study_a", metavar="STUDY_A", help="a folder name under RUNS/_studies")
    parser.add_argument("study_b", metavar="STUDY_B", help="another, or the same one under OTHER_RUNS")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders lie (runs)")
    parser.add_argument("--other-runs", type=Path, help="where those of STUDY_B lie (the same)")
    parser.add_argument("--all", action="store_true", help="every split, view and metric, not top-1 test error alone")
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args(arguments)
    try:
        show(_compared(chosen))
    except (SweepError, OSError) as error:
        return refused(error)
    except KeyboardInterrupt:
        return stopped()
    return 0


def _compared(chosen: argparse.Namespace) -> str:
    from alexnet_sweep.comparison import compare
    from alexnet_sweep.findings import find
    from alexnet_sweep.report.changes import as_json, document_of
    from alexnet_sweep.report.markdown import to_markdown

    a, b = find(chosen.study_a, chosen.runs), find(chosen.study_b, chosen.other_runs or chosen.runs)
    comparison = compare(a, b)
    if chosen.json:
        return json.dumps(as_json(comparison, every=chosen.all), indent=1)
    return to_markdown(document_of(comparison, every=chosen.all)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
