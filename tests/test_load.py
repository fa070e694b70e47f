"""Eight runs write at once while somebody watches: no row is lost, none is shown torn, and nothing goes backwards."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_sweep.progress import WAITING, Reader, Row
from alexnet_sweep.store import DONE, RUNNING, RunFolder
from alexnet_sweep.study_folder import study_folder

WRITERS, ROWS = 8, 150
# The paths that a run's own rows and heartbeats take, as quickly as the disk lets them.
WRITER = """
import sys
from pathlib import Path
from alexnet_sweep.running import claimed
from alexnet_sweep.store import RunFolder

folder, rows = RunFolder(Path(sys.argv[1])), []
with claimed(folder, int(sys.argv[2]), "sources") as claim:
    for number in range(1, int(sys.argv[2]) + 1):
        rows.append({"epoch": number, "heldout_top1_error": 1 / number, "padding": "x" * 40})
        folder.write_metrics(rows)
        claim.beat(force=True, epoch=number - 1, step=number, steps=int(sys.argv[2]), first_step=0)
    folder.write_result({"epochs": number, "steps": number, "errors": {"test": {"centre": {"top1_error": 0.25}}}})
"""


def rows_of(folder: RunFolder) -> list[int]:
    """The epochs that the metrics hold, each with the error that belongs to it; none before there are any."""
    if not folder.metrics.exists():
        return []
    with folder.metrics.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(float(row["heldout_top1_error"]) == 1 / int(row["epoch"]) for row in rows)
    assert all(row["padding"] == "x" * 40 for row in rows)
    return [int(row["epoch"]) for row in rows]


def check(row: Row, before: Row) -> None:
    """What a watcher shows of a run, after what was shown before."""
    assert row.state in (WAITING, RUNNING, DONE), row
    order = (WAITING, RUNNING, DONE)
    assert order.index(row.state) >= order.index(before.state)
    assert (row.step or 0) >= (before.step or 0) and (row.epoch or 0) >= (before.epoch or 0)
    if row.state == RUNNING and row.error is not None:
        assert row.error_of == "held-out" and row.error == 1 / round(1 / row.error)
        assert before.error is None or row.error <= before.error


@pytest.mark.slow
def test_a_watcher_and_eight_writers_lose_nothing(tmp_path: Path) -> None:
    folders = [RunFolder(tmp_path / f"{number:012x}") for number in range(WRITERS)]
    planned = [{"run_id": folder.run_id, "arm_id": "a", "seed": seed} for seed, folder in enumerate(folders)]
    study_folder(tmp_path, "load").write_plan({"arms": [{"arm_id": "a", "label": "x"}], "runs": planned})
    reader = Reader(tmp_path, "load")
    shown, looks, seen = reader.rows(), 0, [0] * WRITERS
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, folder.path, str(ROWS)]) for folder in folders]
    try:
        while any(writer.poll() is None for writer in writers):
            rows = reader.rows()
            for row, before in zip(rows, shown, strict=True):
                check(row, before)
            for number, folder in enumerate(folders):
                epochs = rows_of(folder)
                assert epochs == list(range(1, len(epochs) + 1)) and len(epochs) >= seen[number]
                seen[number] = len(epochs)
            shown, looks = rows, looks + 1
    finally:
        for writer in writers:
            writer.kill()
    assert [writer.wait() for writer in writers] == [0] * WRITERS
    assert looks > 1 and [len(rows_of(folder)) for folder in folders] == [ROWS] * WRITERS
    assert {(row.state, row.error, row.epoch) for row in reader.rows()} == {(DONE, 0.25, ROWS)}
    left = {path.name for folder in folders for path in folder.path.iterdir()}
    assert left == {".lock", "status.json", "metrics.csv", "result.json"}
