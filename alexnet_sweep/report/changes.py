"""A comparison of two studies in words, and for programs."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from alexnet_sweep.comparison import (
    BY_CONFIG,
    BY_LABEL,
    BY_SHARED_LEVELS,
    FAMILY,
    MOVED,
    SAME_RUNS,
    Comparison,
)
from alexnet_sweep.findings import Findings
from alexnet_sweep.report.document import Block, Document, Heading, Paragraph, Table
from alexnet_sweep.report.numbers import METRIC_WORDS, interval_words
from alexnet_sweep.wording import counted

SPLITS = {"test": "test error", "heldout": "held-out error", "train": "training error"}
VIEWS = {"ten": "averaged views", "centre": "centre view"}
MATCHED = {
    BY_CONFIG: "matched as they are the same configuration, though their levels are written otherwise",
    BY_LABEL: "matched by their label alone, as their levels differ",
}


def document_of(comparison: Comparison, *, every: bool = False) -> Document:
    """The comparison in words; `every` split, view and metric, or the headline's alone."""
    a, b = comparison.a.evidence, comparison.b.evidence
    told = f"A is {a.plan['name']} ({a.runs}), B is {b.plan['name']} ({b.runs})."
    blocks: list[Block] = [Paragraph(f"{told} {_summary(comparison)}")]
    table = comparison.changes if every else comparison.headline
    if not table.empty:
        for cell, part in table.groupby(FAMILY, sort=False):
            split, view, metric = (str(word) for word in cell)
            title = f"Δ {METRIC_WORDS[metric]} {SPLITS.get(split, split)}, {VIEWS[view]}"
            blocks += [Heading(title), _changes(part)]
        blocks += [Paragraph(line) for line in _how_to_read(table)]
    blocks += [Paragraph(line) for line in _matching(comparison)]
    blocks.append(Heading("What else differs"))
    rows = [[found.what, found.a, found.b] for found in comparison.differences]
    blocks.append(Table.of(["what", "A", "B"], rows, "lll") if rows else Paragraph("Nothing that is on record."))
    return Document(f"{a.plan['name']} and {b.plan['name']}", tuple(blocks))


def _summary(comparison: Comparison) -> str:
    table = comparison.headline
    if table.empty or table["change"].isna().all():
        return "No arm can be compared."
    compared = table[table["change"].notna()]
    if (compared["finding"] == SAME_RUNS).all():
        return f"The same runs in both ({counted(len(compared), 'arm')}): nothing can have changed."
    moved = [str(arm) for arm in compared.loc[compared["finding"] == MOVED, "arm"]]
    told = f"{len(moved)} of {counted(len(compared), 'arm')} moved"
    return f"{told}: {'; '.join(moved)}." if moved else f"{told}."


def _changes(part: pd.DataFrame) -> Table:
    head = ["arm", "Δ in A [95 %]", "Δ in B [95 %]", "change [95 %]", "finding", "note"]
    rows = [
        [
            str(row["arm"]),
            _seeds(_interval(row, "delta_a", "low_a", "high_a"), row["seeds_a"]),
            _seeds(_interval(row, "delta_b", "low_b", "high_b"), row["seeds_b"]),
            _interval(row, "change", "low", "high"),
            str(row["finding"]),
            str(row["note"]),
        ]
        for row in part.to_dict("records")
    ]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return Table.of(head, rows, "lrrr" + "l" * (len(head) - 4))


def _interval(row: Mapping[Any, Any], value: str, low: str, high: str) -> str:
    return interval_words({"delta": row[value], "low": row[low], "high": row[high]})


def _seeds(text: str, seeds: int) -> str:
    return f"{text}, n = {seeds}" if seeds else text


def _how_to_read(table: pd.DataFrame) -> list[str]:
    lines = ["Percentage points; Δ is an arm less its study's baseline, n its paired seeds, a change is B less A."]
    if table["low"].notna().any():
        lines.append(
            "The studies are taken as independent: the half-width of a change is the root of the sum of both squared "
            "half-widths, which tends to be too wide where they share test images, seeds or runs. An arm has moved "
            "where its interval excludes zero and Holm's correction over the arms of its table leaves p below 0.05."
        )
    if (table["finding"] == SAME_RUNS).any():
        lines.append("Same runs: arm and baseline are the very same runs in both studies, so that nothing can change.")
    if table["note"].str.contains("over images only").any():
        lines.append("Over images only: of one seed; such an interval says nothing of another seed.")
    return lines


def _matching(comparison: Comparison) -> list[str]:
    lines = []
    pairs = comparison.pairs
    if any(pair.matched_by == BY_SHARED_LEVELS for pair in pairs):
        alone = [
            f"{', '.join(keys)} in {name} alone"
            for name, side in zip("AB", _both(comparison), strict=True)
            if (keys := [key for key in side.evidence.plan["keys"] if key not in comparison.shared])
        ]
        lines.append(
            f"Arms are matched by the factors of both ({', '.join(comparison.shared)}), where what one study alone "
            f"switches is at its baseline's level ({'; '.join(alone)})."
        )
    for how, told in MATCHED.items():
        labels = [pair.label for pair in pairs if pair.matched_by == how]
        if labels:
            lines.append(f"{'; '.join(labels)}: {told}.")
    for name, only in (("A", comparison.only_a), ("B", comparison.only_b)):
        if only:
            lines.append(f"Only in {name}: {'; '.join(only)}.")
    return lines


def _both(comparison: Comparison) -> tuple[Findings, Findings]:
    return comparison.a, comparison.b


def as_json(comparison: Comparison, *, every: bool = False) -> dict[str, Any]:
    """The same for programs; fractions, null where there is nothing."""
    table = comparison.changes if every else comparison.headline
    rows = [
        {str(key): None if isinstance(value, float) and pd.isna(value) else value for key, value in row.items()}
        for row in table.to_dict("records")
    ]
    studies = [{"study": side.evidence.plan["name"], "runs": str(side.evidence.runs)} for side in _both(comparison)]
    return {
        "a": studies[0],
        "b": studies[1],
        "factors_of_both": list(comparison.shared),
        "changes": rows,
        "only_in_a": list(comparison.only_a),
        "only_in_b": list(comparison.only_b),
        "differences": [{"what": found.what, "a": found.a, "b": found.b} for found in comparison.differences],
    }
