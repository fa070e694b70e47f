"""Of 200 arms and five seeds, report and status leave nothing out (`benchmarks/studies.py` says what they cost)."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alexnet_sweep.report.write import write_report
from alexnet_sweep.status import main as status
from hand_made import Levels, Run, make_study

ARMS, SEEDS, IMAGES = 200, 5, 40


@pytest.mark.slow
def test_a_thousand_runs_are_all_in_the_report_and_in_the_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    levels: dict[str, Levels] = {
        "base" if place == 0 else f"arm{place}": {"model/lrn": f"level{place}"} for place in range(ARMS)
    }
    ranks = {(arm, seed): draw.integers(1, 7, IMAGES).tolist() for arm in levels for seed in range(SEEDS)}
    make_study(tmp_path / "runs", {key: Run(found) for key, found in ranks.items()}, levels)
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    assert f"{ARMS * SEEDS:,} of {ARMS * SEEDS:,} runs done" in text
    results = pd.read_csv(tmp_path / "reports/hand/results.csv").query("split == 'test' and view == 'ten'")
    wrong = {(row.arm, row.seed): row.top1_errors for row in results.itertuples()}
    assert sorted(wrong.values()) == sorted(sum(rank > 1 for rank in found) for found in ranks.values())
    deltas = pd.read_csv(tmp_path / "reports/hand/deltas.csv")
    assert deltas.query("split == 'test' and view == 'ten' and metric == 'top1'")["arm"].nunique() == ARMS
    assert status(["--once", "--runs", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    assert "1,000 runs: 1,000 done" in shown and len(shown.splitlines()) > ARMS * SEEDS
