"""All forms of a study's report: Markdown, HTML, CSV, Parquet, LaTeX, figures; `reports/<study>/`."""

import io
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from alexnet_sweep.files import remove_leftovers, told, whole_file, write_text
from alexnet_sweep.findings import find
from alexnet_sweep.report.board import write_board
from alexnet_sweep.report.drawings import draw
from alexnet_sweep.report.first_layer import FIGURE as KERNELS
from alexnet_sweep.report.first_layer import draw_kernels, first_layers, halves_table
from alexnet_sweep.report.flips import arm_flips
from alexnet_sweep.report.html import to_html
from alexnet_sweep.report.latex import to_latex
from alexnet_sweep.report.markdown import to_markdown
from alexnet_sweep.report.sections import document_of

FORMULA = re.compile(r"\s*[=+@-](?!\d*\.?\d+(?:[eE][+-]?\d+)?$)|[\t\r]")
TABLES = ("results", "deltas", "seeds", "views", "steps", "effects", "claims", "ensembles", "kernels")
ON_BOARD = ("forest", KERNELS)  # figures that TensorBoard shows as well


@dataclass(frozen=True)
class Report:
    """Where a report was written, and its text."""

    path: Path
    text: str


def write_report(
    study: str, runs: Path, reports: Path, allow_mixed: bool | None = None, ensembles: bool | None = None
) -> Report:
    """Rebuild a study's report from its plan and run folders; the same folders give the same bytes.

    `allow_mixed` compares runs that differ in what no factor switches, `ensembles` averages each arm's networks; None:
    as the study was started.

    Raises:
        FolderError: where there is no such study.
        CannotWrite: where the disk is full, or the folder must not be written.
    """
    with told(reports / study):
        return _write_report(study, runs, reports / study, allow_mixed, ensembles)


def _write_report(study: str, runs: Path, folder: Path, allow_mixed: bool | None, ensembles: bool | None) -> Report:
    findings = find(study, runs, allow_mixed, ensembles)
    remove_leftovers(folder, older_than_seconds=3600)
    layers = first_layers(findings)
    _write_tables(findings.tables() | {"kernels": halves_table(layers)}, folder)
    figures = [*draw(findings, folder), *draw_kernels(findings, layers, folder)]
    on_board = [(figure, folder / f"{figure.name}.png") for figure in figures if figure.name in ON_BOARD]
    write_board(findings, folder, on_board)
    asked = {"allow_mixed": allow_mixed, "ensembles": ensembles}
    flags = [
        f" --{key.replace('_', '-')}"
        for key, value in asked.items()
        if value and not findings.evidence.plan.get(key, False)
    ]
    command = f"python -m alexnet_sweep.report {shlex.quote(study)}{''.join(flags)}"
    document = document_of(findings, figures, layers, command)
    evidence = findings.evidence
    flips = arm_flips(runs, evidence.labels, evidence.baseline, findings.compared)
    drawn = {figure.name: (folder / f"{figure.name}.svg").read_text(encoding="utf-8") for figure in figures}
    write_text(folder / "report.html", to_html(document, flips, drawn))
    write_text(folder / "tables.tex", to_latex(document))
    text = to_markdown(document)
    path = folder / "README.md"
    write_text(path, text)
    return Report(path, text)


def _write_tables(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """NAME.csv and NAME.parquet of each table; those of an earlier report that this one lacks go."""
    for name in TABLES:
        csv, parquet = folder / f"{name}.csv", folder / f"{name}.parquet"
        if name not in tables or tables[name].empty:
            csv.unlink(missing_ok=True)
            parquet.unlink(missing_ok=True)
            continue
        write_text(csv, _without_formulas(tables[name]).to_csv(index=False, lineterminator="\n"))
        with whole_file(parquet) as stream:
            stream.write(_parquet(tables[name]))


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """An apostrophe before text that a spreadsheet would calculate; numbers, and the Parquet file, are as they are."""
    return table.map(lambda cell: f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell)


def _parquet(table: pd.DataFrame) -> bytes:
    """A column of mixed values becomes text: levels of a swept key may be numbers in one arm and words in another."""
    mixed = [column for column in table if table[column].dropna().map(type).nunique() > 1]
    stream = io.BytesIO()
    table.astype(dict.fromkeys(mixed, "string")).to_parquet(stream, index=False)
    return stream.getvalue()
