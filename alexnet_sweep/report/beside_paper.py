"""The section that sets a study beside the paper: each claim with its verdict, and what others have found."""

import pandas as pd

from alexnet_sweep.aggregate import values_of
from alexnet_sweep.claims import published, references
from alexnet_sweep.doubt import MOST_SEEDS, doubt, hidden_by_images, seeds_needed
from alexnet_sweep.effects import ALPHA, HELPS, HURTS, SEEDS
from alexnet_sweep.findings import HEADLINE, Findings
from alexnet_sweep.report.document import Block, Heading, Paragraph, Table
from alexnet_sweep.report.numbers import (
    MEASURE_WORDS,
    METRIC_WORDS,
    as_printed,
    claimed_words,
    interval_words,
    signed,
    times,
)
from alexnet_sweep.verdicts import DATA, INCONCLUSIVE, NOT_COMPARABLE, Verdict

VIEWS = {"ten": "ten views", "centre": "centre view"}


def published_errors(findings: Findings) -> list[Block]:
    """What networks of others reach on this data set, where anything is published, beside the baseline's errors."""
    names = {str(name) for name in values_of(findings.evidence.done, "data", "name")}
    known = [dataset for dataset, ours in DATA.items() if names & set(ours)]
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for claim in (one for dataset in known for one in published(dataset)):
        assert claim.full_error is not None, "published() has errors of single networks"
        where = f"{claim.dataset}, {claim.split}" + (f", {VIEWS[claim.views]}" if claim.views else "")
        rows.setdefault((claim.full, claim.source, where), {})[claim.measure] = as_printed(claim.full_error)
    if not rows:
        return []
    cells = [[*who, errors.get("top1", "–"), errors.get("top5", "–")] for who, errors in rows.items()]
    head = ["network", "source", "evaluated on", "Top-1 error", "Top-5 error"]
    return [
        Heading("Published errors on this data set", 3),
        Table.of(head, cells, "lllrr"),
        Paragraph("Full-size networks, trained in full: a scale to read errors by, and no comparison with this study."),
    ]


def claims(findings: Findings) -> list[Block]:
    """Every claim that the study tests with its verdict, and what logs and others have found on it."""
    if not findings.verdicts:
        return []
    head = ["arm", "claim", "measure", "claimed", "found [95 %]", "verdict", "seeds to show that", "why"]
    rows = [
        [
            *(findings.evidence.labels[found.arm_id], f"{found.claim.id}, {found.claim.source}"),
            MEASURE_WORDS.get(found.claim.measure, METRIC_WORDS.get(found.claim.measure, found.claim.measure)),
            _claim_words(found),
            "–" if pd.isna(found.delta) else _found(found),
            *(found.word, _more_seeds(findings, found), found.why),
        ]
        for found in findings.verdicts
    ]
    if not any(row[-2] for row in rows):
        head, rows = [*head[:-2], head[-1]], [[*row[:-2], row[-1]] for row in rows]
    blocks: list[Block] = [
        Heading("What the paper says"),
        Table.of(head, rows, align="lllrrlll"[: len(head)]),
        Paragraph(
            "A claim is comparable where data, network, length and views are the claim's own, and takes two seeds. "
            "Reproduced: the interval lies on the claim's side of zero and holds its number. Same sign: it lies there "
            "without the number. Contradicted: it lies on the other side, or holds zero and excludes the number. "
            "The paper's numbers are of single pairs of runs and printed rounded: each stands for all that is printed "
            "so, and for want of more runs has no doubt of its own here. "
            "Numbers in brackets in other tables are of claims that are not comparable."
        ),
    ]
    remarks = dict.fromkeys((one.claim.id, one.claim.remark) for one in findings.verdicts if one.claim.remark)
    if remarks:
        blocks.append(Paragraph("; ".join(f"{name}: {remark}" for name, remark in remarks) + "."))
    others = _references(findings)
    if others:
        head = ["of claim", "who", "what", "change", "measure", "Δ"]
        blocks += [Heading("What its authors' logs and others found", 3), Table.of(head, others, align="lllllr")]
    return blocks


def _claim_words(found: Verdict) -> str:
    claim = found.claim
    if claim.delta is None:
        return "hurts" if claim.sign > 0 else "helps"
    if claim.measure == "steps":
        return f"about ×{1 + claim.delta:.2g}"
    return claimed_words(claim)


def _found(found: Verdict) -> str:
    """What was found, and that its interval is over seeds only where those beside it are over images as well."""
    low, high = found.interval.low, found.interval.high
    words = interval_words({"delta": found.delta, "low": low, "high": high})
    if found.claim.measure == "steps":
        words = times(found.delta, low, high)
    return f"{words}, over {SEEDS}" if found.covers == SEEDS else words


def _more_seeds(findings: Findings, found: Verdict) -> str:
    """How many seeds would show what the paper claims once all arms are counted, where it is not settled."""
    claim = found.claim
    if claim.delta is None or claim.measure not in METRIC_WORDS or pd.isna(found.interval.low):
        return ""
    if found.finding in (HURTS, HELPS) or found.word not in (INCONCLUSIVE, NOT_COMPARABLE):
        return ""
    split, view = HEADLINE[0], claim.views or HEADLINE[1]
    if claim.is_of_views:
        differences, of_seeds, _ = findings.runs.less_averaged(found.arm_id, split, claim.measure)
    else:
        weights = {found.arm_id: 1.0, findings.evidence.baseline: -1.0}
        differences, of_seeds, _ = findings.runs.contrast(weights, split, view, claim.measure)
    if differences is None or len(of_seeds) < 2:
        return ""
    estimate, arms = doubt(differences), len(findings.evidence.labels) - (not claim.is_of_views)
    level = 1 - ALPHA / arms
    if hidden_by_images(claim.delta, estimate, level=level):
        return f"{signed(abs(claim.delta), 1).lstrip('+')} points need more test images"
    needed = seeds_needed(claim.delta, estimate, len(of_seeds), level=level)
    return f"more than {MOST_SEEDS:,}" if needed is None else f"about {needed}"


def _references(findings: Findings) -> list[list[str]]:
    rows = []
    for name in dict.fromkeys(found.claim.id for found in findings.verdicts):
        for claim in references(name):
            if claim.delta is not None:
                change = f"{claim.subject}: {claim.full} → {claim.ablated}"
                where = ", ".join(filter(None, (claim.dataset, claim.split, VIEWS.get(claim.views, ""), claim.remark)))
                rows.append([name, claim.source, where, change, METRIC_WORDS[claim.measure], signed(claim.delta)])
    return rows
