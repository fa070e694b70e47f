"""`python -m alexnet_sweep.clean [STUDY]`: what can go from the runs folder; --yes deletes it. Imports no torch."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet_sweep.arguments import Arguments, refused, stopped
from alexnet_sweep.cleaner import Cleaner, Finding, LeftAlone
from alexnet_sweep.errors import SweepError
from alexnet_sweep.terminal import show
from alexnet_sweep.wording import amount, printable

CANNOT = "cannot be deleted"


def _line(finding: Finding, why: str) -> str:
    return f"{amount(finding.size):>12}  {printable(str(finding.path))}  {printable(why)}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Arguments(
        prog="python -m alexnet_sweep.clean",
        description="What can go from the runs folder: checkpoints of finished runs, what was set aside or left "
        "half written, stale runs, data that nothing refers to. Runs that are in use are left alone.",
        epilog="example: python -m alexnet_sweep.clean",
    )
    parser.add_argument("study", nargs="?", help="a folder name under RUNS/_studies: look at its runs alone")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders lie (runs)")
    parser.add_argument("--yes", action="store_true", help="delete it")
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args(arguments)
    try:
        cleaner = Cleaner(chosen.runs, chosen.study)
        findings, notes = cleaner.findings()
        return _carried_out(cleaner, findings, notes, delete=chosen.yes, as_json=chosen.json)
    except (SweepError, OSError) as error:
        return refused(error)
    except KeyboardInterrupt:
        return stopped()


def _carried_out(
    cleaner: Cleaner, findings: Sequence[Finding], notes: Sequence[str], *, delete: bool, as_json: bool
) -> int:
    """List the findings, delete them one by one if told to; exit code 1 where one could not be deleted."""
    rows: list[dict[str, Any]] = []
    try:
        for finding in findings:
            left = _left(cleaner, finding) if delete else None
            if not as_json:
                show(_line(finding, finding.why if left is None else f"left alone: {left}"))
            row = {"kind": finding.kind, "path": str(finding.path), "bytes": finding.size, "why": finding.why}
            rows.append(row | {"deleted": delete and left is None, "left_alone": left})
    finally:
        cleaner.finish()
    if as_json:
        show(json.dumps({"found": rows, "bytes": sum(finding.size for finding in findings), "notes": notes}, indent=1))
    else:
        show("\n".join([*(printable(note) for note in notes), _total(findings, rows, delete)]))
    return int(any(str(row["left_alone"]).startswith(CANNOT) for row in rows))


def _left(cleaner: Cleaner, finding: Finding) -> str | None:
    """Delete it, or say why it was left alone."""
    try:
        cleaner.delete(finding)
    except LeftAlone as reason:
        return str(reason)
    except OSError as error:
        return f"{CANNOT} ({error})"
    return None


def _total(findings: Sequence[Finding], rows: Sequence[dict[str, Any]], delete: bool) -> str:
    if not findings:
        return "nothing to delete"
    if not delete:
        return f"{amount(sum(finding.size for finding in findings)):>12}  in all; nothing deleted; --yes deletes"
    gone = sum(row["bytes"] for row in rows if row["deleted"])
    left = sum(not row["deleted"] for row in rows)
    return f"{amount(gone):>12}  deleted" + (f"; {left} left alone" if left else "")


if __name__ == "__main__":
    sys.exit(main())
