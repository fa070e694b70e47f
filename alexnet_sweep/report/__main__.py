"""`python -m alexnet_sweep.report STUDY`: rebuild a report from run folders. Trains nothing, imports no torch."""

import sys
from collections.abc import Sequence
from pathlib import Path

from alexnet_sweep.arguments import Arguments, refused, stopped
from alexnet_sweep.errors import SweepError
from alexnet_sweep.terminal import show


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Arguments(
        prog="python -m alexnet_sweep.report",
        description="Rebuild a study's report from its run folders; trains nothing.",
        epilog="example: python -m alexnet_sweep.report lrn-1a2b3c4d",
    )
    parser.add_argument("study", help="a folder name under RUNS/_studies")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders lie (runs)")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="where reports go (reports)")
    parser.add_argument(
        "--allow-mixed",
        action="store_true",
        help="compare runs that differ in what no factor switches: data, length, schedule, training sources",
    )
    parser.add_argument("--ensembles", action="store_true", help="average the probabilities of each arm's networks")
    chosen = parser.parse_args(arguments)
    try:
        asked = (chosen.allow_mixed or None, chosen.ensembles or None)
        from alexnet_sweep.report.write import write_report

        report = write_report(chosen.study, chosen.runs, chosen.reports, *asked)
    except (SweepError, OSError) as error:
        return refused(error)
    except KeyboardInterrupt:
        return stopped()
    show(f"{report.text}\nreport: {report.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
