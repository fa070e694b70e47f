"""The sections that show differences: what matters, by how much and how sure; ways, combinations, and the fit."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from alexnet_sweep.aggregate import values_of
from alexnet_sweep.doubt import IMAGES
from alexnet_sweep.effects import BETTER_ONCE, HELPS, HINT, HURTS, UNCLEAR, WORSE_ONCE
from alexnet_sweep.findings import Findings
from alexnet_sweep.report.document import Block, Heading, Paragraph, Table
from alexnet_sweep.report.numbers import (
    MEASURE_WORDS,
    METRIC_WORDS,
    claimed_words,
    either,
    interval_words,
    p_words,
    percent,
    records,
    signed,
    times,
)
from alexnet_sweep.verdicts import NOT_COMPARABLE, Verdict

VIEW_WORDS = {
    10: "ten views (four corners, centre, and their mirrors), averaged",
    5: "five views (four corners and centre; no mirrors), averaged",
    2: "two views (the image and its mirror; images are stored at the crop's size), averaged",
    1: "one view (images are stored at the crop's size; no mirrors)",
}
SENTENCES = {
    HURTS: "The change hurts",
    HELPS: "The change helps",
    WORSE_ONCE: "Worse in the one pair of runs there is; more seeds would say whether that is the change's doing",
    BETTER_ONCE: "Better in the one pair of runs there is; more seeds would say whether that is the change's doing",
}
WAYS = {"build_up": "The recipe, built up", "take_away": "The recipe, taken away"}


def what_matters(findings: Findings) -> list[Block]:
    """What the study says in sentences, and the table behind them."""
    rows = findings.headline
    blocks: list[Block] = [Heading("What matters"), *(Paragraph(line) for line in _sentences(findings, rows))]
    return [*blocks, Heading(f"Test error in %, {views_words(findings, 'ten')}"), _delta_table(findings, "ten")]


def _sentences(findings: Findings, rows: pd.DataFrame) -> list[str]:
    compared = rows[~rows["baseline"] & rows["delta"].notna()]
    if compared.empty:
        return ["Nothing can be compared yet: no arm has finished a seed that the baseline has finished."]
    split = "Top-1 test error, averaged views; Δ with its 95 % interval, in percentage points."
    lines = []
    for word, told in SENTENCES.items():
        part = compared[compared["finding"] == word].sort_values("delta", key=abs, ascending=False, kind="stable")
        for seeds, alike in part.groupby("paired_seeds", sort=False):
            at = "" if word in (WORSE_ONCE, BETTER_ONCE) else f" (n = {seeds})"
            lines.append(f"{told}{at}: {'; '.join(_told(row, findings) for row in records(alike))}.")
    hints = compared[compared["finding"] == HINT]
    if len(hints):
        lines.append(
            f"Beyond zero alone, but not once all {int((~rows['baseline']).sum())} arms are counted (Holm): "
            f"{'; '.join(_told(row, findings) for row in records(hints))}."
        )
    unclear = compared[compared["finding"] == UNCLEAR]
    for seeds, part in unclear.groupby("paired_seeds", sort=True):
        lines.append(f"Not distinguishable at n = {seeds}: {'; '.join(_told(row, findings) for row in records(part))}.")
    without = rows[~rows["baseline"] & rows["delta"].isna()]
    if len(without):
        lines.append(f"Not compared: {'; '.join(_why_not(row) for row in records(without))}.")
    return [f"{split} {_covers(compared)}", *lines]


def _told(row: Mapping[str, Any], findings: Findings) -> str:
    unlike = " (runs not alike)" if row["arm_id"] in findings.unlike_arms else ""
    return f"{row['arm']} {interval_words(row)}{unlike}"


def _why_not(row: Mapping[str, Any]) -> str:
    return f"{row['arm']} ({row['note'] if row['seeds'] else 'no finished run'})"


def _covers(compared: pd.DataFrame) -> str:
    seeds = sorted(set(compared["paired_seeds"]))
    if set(compared["covers"]) == {IMAGES}:
        return (
            "There is one paired seed an arm: the intervals cover the choice of the test images only, and another seed "
            "may move a delta further than that."
        )
    words = "The intervals cover both the choice of the test images and that of the seeds"
    if seeds[0] == 1:
        return f"{words}, but for arms with one paired seed, where they cover the images only."
    few = (
        "" if seeds[0] > 3 else f"; with n = {either([n for n in seeds if n <= 3])} they are very wide for that reason"
    )
    return f"{words}{few}."


def _delta_table(findings: Findings, view: str) -> Table:
    table = findings.deltas
    part = table[(table["split"] == "test") & (table["view"] == view)]
    metrics = [metric for metric in METRIC_WORDS if (part["metric"] == metric).any()]
    paper = {
        (found.arm_id, found.claim.measure): found
        for found in findings.verdicts
        if found.claim.views in ("", view) and found.claim.measure in METRIC_WORDS and found.claim.has_size
    }
    head, align, rows = ["arm", "seeds"], "lr", []
    for metric in metrics:
        head += [f"{METRIC_WORDS[metric]} error", f"Δ {METRIC_WORDS[metric]} [95 %]"]
        align += "rr"
        if metric == metrics[0]:
            head, align = [*head, "finding"], align + "l"
        if any(measure == metric for _, measure in paper):
            head, align = [*head, f"paper's Δ {METRIC_WORDS[metric]}"], align + "r"
    for arm_id in part["arm_id"].unique():
        cells = part[part["arm_id"] == arm_id].set_index("metric")
        row = [str(cells["arm"].iloc[0]), _seeds(cells.iloc[0])]
        for metric in metrics:
            row += _cells(cells.loc[metric])
            if metric == metrics[0]:
                unlike = arm_id in findings.unlike_arms and cells.loc[metric]["finding"]
                found = _finding(cells.loc[metric]) if cells.loc[metric]["finding"] else ""  # the note stands under Δ
                row.append(found + (" (runs not alike)" if unlike else ""))
            if any(measure == metric for _, measure in paper):
                row.append(_claimed(paper.get((arm_id, metric))))
        rows.append(row)
    return Table.of(head, rows, align)


def _cells(row: "pd.Series[Any]") -> list[str]:
    error = "–" if pd.isna(row["error"]) else f"{100 * row['error']:.2f}"
    if row["baseline"]:
        return [error, "baseline"]
    if pd.isna(row["delta"]):
        return [error, f"– {row['note']}".strip() if row["seeds"] else "–"]
    return [error, interval_words(row)]


def _seeds(row: "pd.Series[Any]") -> str:
    """Finished seeds, and of how many the difference is where these are fewer."""
    finished, paired = int(row["seeds"]), int(row["paired_seeds"])
    return f"{finished}" if row["baseline"] or paired in (0, finished) else f"{paired} paired of {finished}"


def _finding(row: "Mapping[str, Any] | pd.Series[Any]") -> str:
    """What is found, and with how many paired seeds."""
    finding = row.get("finding")
    if not finding or pd.isna(finding):
        return str(row.get("note") or "")
    return finding if finding in (WORSE_ONCE, BETTER_ONCE) else f"{finding} at n = {int(row['paired_seeds'])}"


def _claimed(found: Verdict | None) -> str:
    if found is None or found.claim.delta is None:
        return ""
    if found.word == NOT_COMPARABLE:
        return f"({_number(found)})"
    return _number(found)


def _number(found: Verdict) -> str:
    return claimed_words(found.claim)


def other_tables(findings: Findings) -> list[Block]:
    """The centre view, and with one seed an arm the images that changed."""
    blocks: list[Block] = [Heading("Test error in %, the centre view"), _delta_table(findings, "centre")]
    few = sorted({value for value in values_of(findings.evidence.done, "data", "classes") if value <= 5})
    if few:
        blocks.append(Paragraph(f"No top-5 errors where the data set has {either(few)} classes."))
    pairs = findings.headline[findings.headline["mcnemar_p"].notna()]
    if len(pairs):
        head = ["arm", "broken", "fixed", "McNemar's exact p", "95 %, images drawn anew"]
        rows = [
            [
                *(str(row["arm"]), str(int(row["broken"])), str(int(row["fixed"])), p_words(float(row["mcnemar_p"]))),
                _drawn_anew(row),
            ]
            for row in records(pairs)
        ]
        blocks += [Heading("One seed: images that the change breaks and fixes", 3), Table.of(head, rows)]
    return [*blocks, *_gain_of_views(findings)]


def _drawn_anew(row: Mapping[str, Any]) -> str:
    """A dash where all images answer alike: drawing them anew then says nothing of others."""
    ends = [float(row[f"bootstrap_{end}"]) for end in ("low", "high")]
    return "–" if pd.isna(ends).any() else f"[{', '.join(map(signed, ends))}]"


def _gain_of_views(findings: Findings) -> list[Block]:
    """What averaging over views gains: the same networks, evaluated twice."""
    table = findings.of_views[findings.of_views["metric"] == "top1"] if len(findings.of_views) else findings.of_views
    if table.empty:
        return []
    rows = [
        [
            *(str(row["arm"]), str(row["views"]), f"{100 * row['centre']:.2f}", f"{100 * row['averaged']:.2f}"),
            *(interval_words(row), _finding(row)),
        ]
        for _, row in table.iterrows()
    ]
    head = ["arm", "views", "centre alone", "averaged", "Δ centre less averaged [95 %]", "one view alone"]
    return [
        Heading("What averaging over views gains", 3),
        Table.of(head, rows, "lrrrrl"),
        Paragraph("Top-1 test error in %, of the same networks: positive means that the centre view alone is worse."),
    ]


def ways(findings: Findings) -> list[Block]:
    """The steps of a cumulative design."""
    blocks: list[Block] = []
    if findings.steps.empty:
        return blocks
    for way, part in findings.steps.groupby("way", sort=False):
        rows = []
        for row in records(part):
            change = row["change"] or "to begin with"
            delta = "–" if pd.isna(row.get("delta")) else interval_words(row)
            rows.append([change, "–" if pd.isna(row["error"]) else f"{100 * row['error']:.2f}", delta, _finding(row)])
        head = ["step", "Top-1 error", "Δ from the step before [95 %]", "finding"]
        blocks += [Heading(WAYS[str(way)]), Table.of(head, rows, align="lrrl")]
    return blocks


def effects(findings: Findings) -> list[Block]:
    """Main effects and interactions of designs with combinations."""
    if findings.effects.empty:
        return []
    blocks: list[Block] = [Heading("Main effects and interactions" if _has_main(findings) else "Interactions")]
    for kind, part in findings.effects.groupby("kind", sort=False):
        rows = [[str(row["first"]), str(row["second"]), interval_words(row), _finding(row)] for row in records(part)]
        if kind == "main":
            rows = [[row[0], *row[2:]] for row in rows]
            blocks.append(
                Table.of(["change, averaged over the other factors", "Δ Top-1 [95 %]", "finding"], rows, "lrl")
            )
        else:
            head = ["change", "and change", "Δ of both beyond the sum of each [95 %]", "finding"]
            blocks.append(Table.of(head, rows, "llrl"))
    return blocks


def _has_main(findings: Findings) -> bool:
    return bool((findings.effects["kind"] == "main").any())


def fit(findings: Findings) -> list[Block]:
    """Training error, its distance from the test error, and steps to the threshold."""
    table = findings.by_seed
    if table.empty or table["value"].isna().all():
        return []
    blocks: list[Block] = [Heading("How well the arms fit their training images")]
    head, rows = ["arm"], []
    measures = [measure for measure in MEASURE_WORDS if table.loc[table["measure"] == measure, "value"].notna().any()]
    for measure in measures:
        head += [MEASURE_WORDS[measure], "Δ [95 %]" if measure != "steps" else "factor [95 %]"]
    for arm_id, label in findings.evidence.labels.items():
        row = [label]
        for measure in measures:
            cells = table[(table["arm_id"] == arm_id) & (table["measure"] == measure)].iloc[0]
            row += _fit_cells(cells, measure)
        rows.append(row)
    threshold = "steps until the training error, as trained, reached trainer.threshold_train_error"
    return [
        *blocks,
        Table.of(head, rows),
        Paragraph(
            "Training images without augmentation, centre view, in %; intervals over seeds only (Student's t), which "
            f"are very wide at n ≤ 3{f'; {threshold}' if 'steps' in measures else ''}."
        ),
    ]


def _fit_cells(cells: "pd.Series[Any]", measure: str) -> list[str]:
    """The arm's own figure, and its difference or why there is none."""
    value, told = "–", str(cells["note"]) or "–"
    if not pd.isna(cells["value"]):
        value = f"{cells['value']:,.0f}" if measure == "steps" else percent(cells["value"])
    if not pd.isna(cells["delta"]):
        steps = measure == "steps"
        told = times(*(float(cells[key]) for key in ("delta", "low", "high"))) if steps else interval_words(cells)
        told = f"{told} ({cells['note']})" if cells["note"] else told
    return [value, f"baseline {cells['note']}".strip() if cells["baseline"] else told]


def views_words(findings: Findings, view: str) -> str:
    """Which views are averaged, in words."""
    return "the centre view" if view == "centre" else either([VIEW_WORDS[n] for n in _counts(findings)])


def _counts(findings: Findings) -> list[int]:
    return [int(value) for value in values_of(findings.evidence.done, "views")]
