"""Studies kept in `reports/studies`: figures of the page written by hand are in a table, which the answers make."""

import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

STUDIES = sorted((Path(__file__).parent.parent / "reports" / "studies").iterdir())
FIGURE = re.compile(r"[+−]?\d+\.\d{2,3}\b")


def figures(text: str) -> set[str]:
    return {found.lstrip("+") for found in FIGURE.findall(text)}


@pytest.mark.parametrize("folder", STUDIES, ids=[folder.name for folder in STUDIES])
def test_every_figure_of_the_page_is_in_a_table(folder: Path) -> None:
    page = (folder / "findings.md").read_text()
    tables = "".join(path.read_text() for path in folder.glob("*.md") if path.name != "findings.md")
    tables += (folder / "learning_rate.csv").read_text()
    shares = pd.read_csv(folder / "learning_rate.csv")["top1_error"]
    known = figures(tables) | {f"{100 * share:.2f}" for share in shares}
    told = figures(page)
    assert len(told) > 30 and told <= known


@pytest.mark.parametrize("folder", STUDIES, ids=[folder.name for folder in STUDIES])
def test_the_answers_that_are_kept_make_the_table(folder: Path) -> None:
    results = pd.read_csv(folder / "results.csv").query("split == 'test' and view == 'ten'")
    answers = pq.read_table(folder / "answers.parquet").to_pandas()
    wrong = {f"{row.arm}, seed {row.seed}": row.top1_errors for row in results.itertuples()}
    assert list(answers.columns) == ["image", "label", *wrong] and answers["image"].is_unique
    assert {name: int((answers[name] != answers["label"]).sum()) for name in wrong} == wrong
    means = results.groupby("arm")["top1_error"].mean()
    deltas = pd.read_csv(folder / "deltas.csv").query("split == 'test' and view == 'ten' and metric == 'top1'")
    for row in deltas.itertuples():
        assert row.error == pytest.approx(means[row.arm])
        assert row.baseline or row.delta == pytest.approx(means[row.arm] - means["baseline"])


@pytest.mark.parametrize("folder", STUDIES, ids=[folder.name for folder in STUDIES])
def test_every_run_of_the_table_has_its_checksum(folder: Path) -> None:
    named = {line.split("  ")[1].split("/")[0] for line in (folder / "predictions.sha256").read_text().splitlines()}
    assert named == set(pd.read_csv(folder / "results.csv")["run_id"])
