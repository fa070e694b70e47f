"""The section on networks that answer together: errors by their number, and Table 2 of the paper beside them."""

from typing import Any

import pandas as pd

from alexnet_sweep.claims import Claim, claims_of
from alexnet_sweep.findings import Findings
from alexnet_sweep.report.document import Block, Heading, Paragraph, Table
from alexnet_sweep.report.numbers import METRIC_WORDS, as_printed, interval_words, records
from alexnet_sweep.verdicts import differences_from

CLAIM = "P15"  # one network against the average of five (table 2)
VIEW_WORDS = {"ten": "averaged views", "centre": "centre view"}
PAPERS = {"1 CNN": 1, "5 CNNs": 5}


def ensembles(findings: Findings) -> list[Block]:
    """Nothing where the study does not ask for it (report.ensembles)."""
    found = findings.ensembles
    if found is None:
        return []
    blocks: list[Block] = [Heading("Ensembles")]
    if not found.table.empty:
        blocks.append(
            Paragraph(
                "Class probabilities of networks that differ in their seed alone, averaged with equal weights; nothing "
                "is trained for it. A figure is the mean over all subsets of so many networks of the arm, with the "
                "least and the greatest of them. Gain: by how much the average is better than one of its networks, in "
                "percentage points, with a 95 % interval over images, for just these networks."
            )
        )
        for view, words in VIEW_WORDS.items():
            part = found.table[found.table["view"] == view]
            blocks += [Heading(f"Test error in % by number of networks, {words}", 3), _table(part)]
        blocks += _beside_table_2(findings)
    return [*blocks, *(Paragraph(note) for note in found.notes)]


def _table(part: pd.DataFrame) -> Table:
    metrics = [metric for metric in METRIC_WORDS if part[metric].notna().any()]
    head = ["arm", "networks", "subsets"]
    for metric in metrics:
        head += [f"{METRIC_WORDS[metric]} error [least, greatest]", f"{METRIC_WORDS[metric]} gain [95 %]"]
    cells = []
    for row in records(part):
        line = [str(row["arm"]), str(row["networks"]), str(row["subsets"])]
        for metric in metrics:
            line += [_error(row, metric), _gain(row, metric)]
        cells.append(line)
    return Table.of(head, cells)


def _error(row: dict[str, Any], metric: str) -> str:
    if pd.isna(row[metric]):  # of five classes or fewer, beside arms of more
        return "–"
    middle = f"{100 * row[metric]:.2f}"
    if row["subsets"] == 1:
        return middle
    return f"{middle} [{100 * row[f'{metric}_least']:.2f}, {100 * row[f'{metric}_greatest']:.2f}]"


def _gain(row: dict[str, Any], metric: str) -> str:
    if row["networks"] == 1:
        return "–"
    ends = {name: row[f"{metric}_gain_{name}"] for name in ("low", "high")}
    return interval_words({"delta": row[f"{metric}_gain"], **ends})


def _beside_table_2(findings: Findings) -> list[Block]:
    assert findings.ensembles is not None, "asked only where there are ensembles"
    by_measure = {claim.measure: claim for claim in claims_of(CLAIM)}
    cells = []
    for name, networks in PAPERS.items():
        claimed = [as_printed(_claimed(by_measure[metric], name)) for metric in METRIC_WORDS]
        cells.append([f"the paper's, table 2 ({name})", str(networks), *claimed])
    table = findings.ensembles.table
    ours = table[(table["view"] == "ten") & table["networks"].isin(PAPERS.values())]
    for row in records(ours):
        errors = ["–" if pd.isna(row[metric]) else f"{100 * row[metric]:.2f}" for metric in METRIC_WORDS]
        cells.append([str(row["arm"]), str(row["networks"]), *errors])
    arms = set(table["arm_id"])
    claim, compared = by_measure["top1"], [record for record in findings.compared if record.arm_id in arms]
    reasons = differences_from(claim, compared)
    words = "; ".join(reasons)
    told = f"Not comparable ({words})." if reasons else f"The same data, network and length: {claim.dataset}."
    return [
        Heading("Beside table 2", 3),
        Table.of(["networks of", "networks", *(f"{word} error" for word in METRIC_WORDS.values())], cells),
        Paragraph(
            f"Table 2 is of {claim.dataset}, {claim.split}, ten views: {claim.remark}, with weights that it does not "
            f"state. {told}"
        ),
    ]


def _claimed(claim: Claim, name: str) -> float:
    error = {claim.full: claim.full_error, claim.ablated: claim.ablated_error}[name]
    assert error is not None, "table 2 has them"
    return error
