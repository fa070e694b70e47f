"""Studies kept in `reports/studies`: figures of the page written by hand stand in rows of their arms."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

STUDIES = sorted((Path(__file__).parent.parent / "reports" / "studies").iterdir())
DELTA = re.compile(r"[+−]\d+\.\d+\s\[[+−]\d+\.\d+,\s[+−]\d+\.\d+\]")
FIGURE = re.compile(r"(?<![\d.+−])\d+\.\d{2,3}(?![\d.])")
PASSAGE = re.compile(r"\n(?=- |\| )|\n\n")
each_study = pytest.mark.parametrize("folder", STUDIES, ids=[folder.name for folder in STUDIES])


def tables(folder: Path) -> list[str]:
    texts = [path.read_text() for path in folder.glob("*.md") if path.name != "findings.md"]
    return [line for text in texts for line in text.splitlines() if line.startswith("| ")]


@each_study
def test_every_figure_of_the_page_is_in_a_row_of_its_arm(folder: Path) -> None:
    rows = tables(folder)
    rates = pd.read_csv(folder / "learning_rate.csv")
    shares = {f"{100 * share:.2f}" for share in rates.query("split == 'heldout' and view == 'centre'")["top1_error"]}
    tried = set(re.findall(r"[\d.]+", " ".join(rates["arm"])))
    looked_up = 0
    for passage in PASSAGE.split((folder / "findings.md").read_text()):
        arms = {word for word in re.findall(r"`([^`]+)`", passage) if any(row.startswith(f"| {word} ") for row in rows)}
        own = " ".join(row for row in rows if row.split("|")[1].strip() in arms)
        for delta in DELTA.findall(passage):
            assert " ".join(delta.split()) in own, (delta, arms)
            looked_up += 1
        for figure in set(FIGURE.findall(DELTA.sub("", passage))):
            assert figure in {*re.findall(r"\d+\.\d+", own), *shares, *tried}, (figure, arms)
            looked_up += 1
    assert looked_up > 40


@each_study
def test_the_words_of_the_page_are_those_of_the_report(folder: Path) -> None:
    words = {"not distinguishable after Holm": "not after Holm"}
    table = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in (folder / "findings.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    for column, report in ((2, "README.md"), (4, "five_seeds.md")):
        text = (folder / report).read_text().split("## Test error in %, the centre view")[0]
        found = {}
        for line in text.splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) > 5 and " at n = " in cells[5]:
                finding = cells[5].split(" at n = ")[0]
                found[cells[1]] = words.get(finding, finding)
        assert {row[0]: row[column] for row in table} == found


@each_study
def test_the_answers_that_are_kept_make_the_table(folder: Path) -> None:
    results = pd.read_csv(folder / "results.csv").query("split == 'test' and view == 'ten'")
    answers = pq.read_table(folder / "answers.parquet").to_pandas()
    errors = {f"{row.arm}, seed {row.seed}": row.top1_errors for row in results.itertuples()}
    assert list(answers.columns) == ["image", "label", *errors] and answers["image"].is_unique
    wrong = {name: np.asarray(answers[name] != answers["label"]) for name in errors}
    assert {name: int(found.sum()) for name, found in wrong.items()} == errors
    deltas = pd.read_csv(folder / "deltas.csv").query("split == 'test' and view == 'ten' and metric == 'top1'")
    seeds = sorted(set(results["seed"]))
    for row in deltas.query("not baseline").itertuples():
        pairs = [(wrong[f"{row.arm}, seed {seed}"], wrong[f"baseline, seed {seed}"]) for seed in seeds]
        assert row.delta == pytest.approx(np.mean([arm.mean() - base.mean() for arm, base in pairs]))


@each_study
def test_every_run_of_the_table_has_its_checksum(folder: Path) -> None:
    named = {line.split("  ")[1].split("/")[0] for line in (folder / "predictions.sha256").read_text().splitlines()}
    assert named == set(pd.read_csv(folder / "results.csv")["run_id"])
