"""A study's findings in words: what a report says, section by section, as blocks of plain text."""

import importlib.metadata
import statistics
from collections.abc import Sequence

import pandas as pd

from alexnet_sweep.aggregate import RunRecord, values_of
from alexnet_sweep.comparable import by_design, effective_settings, mixed_settings
from alexnet_sweep.doubt import BOTH, IMAGES, SPARSE
from alexnet_sweep.findings import HEADLINE, Findings
from alexnet_sweep.report.beside_paper import claims, published_errors
from alexnet_sweep.report.differences import effects, fit, other_tables, ways, what_matters
from alexnet_sweep.report.document import Block, Document, Figure, Heading, Listing, Notice, Paragraph, Table
from alexnet_sweep.report.first_layer import FIGURE as KERNELS
from alexnet_sweep.report.first_layer import FirstLayer
from alexnet_sweep.report.first_layer import section as first_layer_section
from alexnet_sweep.report.numbers import either, signed
from alexnet_sweep.report.together import ensembles
from alexnet_sweep.wording import counted

WRITERS = ("alexnet-sweep", "pandas", "scipy", "pyarrow", "matplotlib")  # what a report's figures and tables hang on


def document_of(findings: Findings, figures: Sequence[Figure], layers: Sequence[FirstLayer], command: str) -> Document:
    """The whole report; `figures` are those that were drawn, `layers` its runs' first, `command` repeats the study."""
    drawn = {figure.name: figure for figure in figures}

    def shown(*names: str) -> list[Block]:
        return [drawn[name] for name in names if name in drawn]

    blocks: list[Block] = [*_headline(findings), *_notices(findings)]
    if findings.deltas.empty:
        blocks.append(Paragraph("No run is done yet."))
    else:
        blocks += [
            *what_matters(findings),
            *shown("forest"),
            *other_tables(findings),
            *claims(findings),
            *published_errors(findings),
            *ensembles(findings),
            *shown("ensembles"),
        ]
        blocks += [*ways(findings), *shown("steps"), *effects(findings), *shown("interactions")]
        blocks += [*fit(findings), *shown("gap", "curves"), *_how_to_read(findings)]
        blocks += first_layer_section(layers, shown(KERNELS))
    blocks += [*_runs(findings), *_provenance(findings, command)]
    return Document(str(findings.evidence.plan["name"]), tuple(blocks))


def _headline(findings: Findings) -> list[Block]:
    plan, records = findings.evidence.plan, findings.evidence.records
    arms, done = len(plan["arms"]), len(findings.evidence.done)
    states = pd.Series([record.state for record in records if not record.done]).value_counts()
    missing = ", ".join(f"{count} {state}" for state, count in states.items())
    line = f"{counted(arms, 'arm')}, {done:,} of {counted(len(records), 'run')} done" + (
        f" ({missing})" if missing else ""
    )
    design = "" if plan["design"] == "grid" else f" Design: {plan['design'].replace('_', ' ')}."
    baseline = findings.evidence.labels[findings.evidence.baseline]
    asked = [Paragraph(plan["question"])] if plan.get("question") else []
    return [*asked, Paragraph(f"{line}.{design} Baseline: {baseline}. {_tuned(findings)}")]


def _tuned(findings: Findings) -> str:
    """Whether each arm had a learning rate, or whatever else, of its own."""
    tuning = findings.evidence.plan.get("tuning")
    if tuning is None:
        rates, unlike = _learning_rates(findings), {what for out in findings.kept_out for what, _, _ in out.differs}
        if len(rates) > 1:
            return f"The arms were not tuned; their learning rates: {' and '.join(f'{rate:g}' for rate in rates)}."
        if unlike & {"schedule", "epochs"} or by_design(findings.evidence).keys() & {"schedule", "epochs"}:
            return "The arms were not tuned; not all have the same schedule (see below)."
        return "The arms were not tuned: all have the same learning rate and schedule."
    chosen = ", ".join(f"{label}: {level}" for label, level in tuning["chosen"].items())
    return (
        f"Tuned: each arm has its own {tuning['key']}, out of {', '.join(tuning['levels'])}, chosen by the lowest "
        f"error on the held-out part ({chosen})."
    )


def _learning_rates(findings: Findings) -> list[float]:
    """The learning rates of the finished runs, as far as their configs can be read."""
    rates = [((record.config or {}).get("optim") or {}).get("learning_rate") for record in findings.evidence.done]
    return sorted({float(rate) for rate in rates if isinstance(rate, int | float)})


def _notices(findings: Findings) -> list[Block]:
    blocks: list[Block] = []
    evidence, kept = findings.evidence, findings.kept_out
    if kept:
        compared = bool(kept) and kept[0].record.run_id in _compared(findings)
        what = "compared all the same, as report.allow_mixed is set" if compared else "kept out of every comparison"
        told = "; ".join(
            f"{evidence.labels[found.record.arm_id]}, seed {found.record.seed} ({found.words()})" for found in kept
        )
        blocks.append(
            Notice("Not alike", f"{counted(len(kept), 'finished run')} not like the baseline, {what}: {told}.")
        )
    switched = by_design(evidence)
    if switched:
        told = "; ".join(f"{what}: {' and '.join(values)}" for what, values in switched.items())
        blocks.append(Notice("By design", f"The study switches this, and its deltas hold the effect of it: {told}."))
    mixed = mixed_settings(evidence.done)
    if mixed:
        told = "; ".join(f"{key}: {' and '.join(values)}" for key, values in mixed.items())
        blocks.append(Notice("Mixed settings", f"The runs were not all made alike ({told})."))
    if "False" in effective_settings(evidence.done).get("deterministic", ()):
        told = "Some runs were not bound to deterministic algorithms (trainer.deterministic=false)"
        blocks.append(Notice("Not deterministic", f"{told}: made again, they may end with other figures."))
    stale = [record for record in evidence.done if _stale(findings, record)]
    if stale:
        blocks.append(
            Notice(
                "Stale",
                f"{len(stale)} of {len(evidence.done)} results were made by other training sources than those the "
                "study was last started with.",
            )
        )
    skipped = sorted({(_data(record, "name"), _data(record, "skipped_images")) for record in evidence.done})
    for name, images in skipped:
        if images not in ("", "0"):
            told = f"{counted(int(images), 'image')} of {name} could not be read, in training and test together"
            blocks.append(Notice("Left out", f"{told}; data.skip_bad=true left them out of both."))
    failed = [record for record in evidence.records if record.failure]
    if failed:
        told = "; ".join(
            f"{evidence.labels[record.arm_id]}, seed {record.seed}: {record.failure}" for record in failed[:5]
        )
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        blocks.append(Notice("Failed or unreadable", f"{told}{more}."))
    return blocks


def _data(record: RunRecord, key: str) -> str:
    """A figure of a run's data; none where an older version has not recorded it."""
    return str((record.result or {}).get("data", {}).get(key, ""))


def _compared(findings: Findings) -> set[str]:
    return {record.run_id for record in findings.compared}


def _stale(findings: Findings, record: RunRecord) -> bool:
    return record.result is not None and record.result["source_hash"] != findings.evidence.plan.get(
        "source_hash", record.result["source_hash"]
    )


def _how_to_read(findings: Findings) -> list[Block]:
    done = findings.evidence.done
    compared = findings.headline[~findings.headline["baseline"] & (findings.headline["paired_seeds"] > 0)]
    seeds = either(sorted(set(compared["paired_seeds"]))) if len(compared) else "none"

    def data(key: str) -> str:
        return either(values_of(done, "data", key))

    lines = [
        "Δ is the arm less the baseline in percentage points: positive means that the change hurt. It is paired: "
        f"same images, same seeds (paired seeds per arm: {seeds}; {data('test_images')} test images). An effect has a "
        "direction in words only where its interval excludes zero and Holm's correction over the arms of its table "
        "leaves p below 0.05."
    ]
    if (compared["covers"] == BOTH).any():
        lines.append(
            "Intervals over images and seeds add two half-widths as squares: Student's t over the seeds' own deltas, "
            "and what the choice of images adds beyond it; none is narrower than what other images alone would move "
            "these seeds' mean. In simulated sweeps of two equal arms 94 to 99 % of them hold zero: more than 95 % "
            f"where seeds move a run less than images do, and nearly all where fewer than {SPARSE} images change"
            + (", as here for some arms." if compared["conservative"].any() else ".")
        )
    if (compared["covers"] == IMAGES).any():
        lines.append(
            "Intervals over images only are those of Agresti and Min for paired proportions; they say nothing of "
            "another seed."
        )
    epochs = either(values_of(done, "epochs"))
    lines.append(
        f"Data: {data('name')}, {data('classes')} classes, {data('train_images')} images trained on, "
        f"{data('heldout_images')} held out; {epochs} epoch{'' if epochs == '1' else 's'}, {_which_counts(done)}. "
        f"Networks of {either(sorted(values_of(done, 'parameters')))} parameters."
    )
    return [Heading("How to read this"), *(Paragraph(line) for line in lines)]


def _which_counts(done: Sequence[RunRecord]) -> str:
    """Which epoch's weights were evaluated."""
    best = [bool(((record.config or {}).get("regularizer") or {}).get("best_epoch", {}).get("kept")) for record in done]
    if not any(best):
        return "the last one counts"
    chosen = "the one of the lowest held-out error"
    return f"{chosen} counts" if all(best) else f"the last one counts, or in arms with best_epoch {chosen}"


def _runs(findings: Findings) -> list[Block]:
    labels, compared = findings.evidence.labels, _compared(findings)
    unlike = [out.record for out in findings.kept_out]
    errors = {
        record.run_id: error for record in findings.evidence.done if (error := _headline_error(record)) is not None
    }
    baseline = {
        record.seed: errors[record.run_id]
        for record in findings.evidence.done
        if record.arm_id == findings.evidence.baseline and record.run_id in compared & errors.keys()
    }
    rows = []
    for record in findings.evidence.records:
        state = record.state
        if record.done:
            marks = ["not compared"] if record.run_id not in compared else ["not alike"] if record in unlike else []
            state = ", ".join([state, *marks, *(["stale"] if _stale(findings, record) else [])])
        error = errors.get(record.run_id)
        beside = baseline.get(record.seed) if record.arm_id != findings.evidence.baseline else None
        told = "" if error is None else f"{100 * error:.2f}"
        delta = "" if error is None or beside is None or record.run_id not in compared else signed(error - beside)
        rows.append([labels[record.arm_id], str(record.seed), record.run_id, told, delta, state, record.failure])
    head = ["arm", "seed", "run", "Top-1 error", "Δ of this seed", "state", "reason"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return [
        Heading("Runs"),
        Table.of(head, rows, "lrrrrl" + "l" * (len(head) - 6)),
        Paragraph("Test error in %, averaged views, and by how much it is above the baseline's of the same seed."),
    ]


def _headline_error(record: RunRecord) -> float | None:
    split, view, metric = HEADLINE
    error: float | None = ((record.result or {})["errors"].get(split, {}).get(view) or {}).get(f"{metric}_error")
    return error


def _provenance(findings: Findings, command: str) -> list[Block]:
    plan, facts = findings.evidence.plan, [record.provenance for record in findings.evidence.done]
    lines = [f"command   {plan['command']}", f"repeat    {command}", f"sources   {plan['source_hash']}"]
    found = {
        key: sorted({str(fact[key]) for fact in facts if fact.get(key) is not None})
        for key in ("commit", "host", "device", "platform")
    }
    lines += [f"{word:<9} {', '.join(values)}" for word, values in found.items() if values]
    settings = effective_settings(findings.evidence.done)
    told = [f"{key} {' and '.join(values)}" for key, values in settings.items() if key != "versions"]
    if told:
        lines.append(f"settings  {', '.join(told)}")
    seeds = sorted({record.seed for record in findings.evidence.records})
    lines.append(f"seeds     {', '.join(map(str, seeds))}")
    versions = sorted({f"{name} {version}" for fact in facts for name, version in fact.get("versions", {}).items()})
    if versions:
        lines.append(f"versions  {', '.join(versions)}")
    own = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in WRITERS)
    lines.append(f"report by {own}")
    seconds = [float(fact["wall_seconds"]) for fact in facts if "wall_seconds" in fact]
    if seconds:
        median = statistics.median(seconds)
        lines.append(
            f"compute   {sum(seconds) / 3600:,.2f} device hours in {len(seconds)} finished runs, "
            f"median {median:,.1f} s a run"
        )
    blocks: list[Block] = [Heading("Provenance"), Listing("\n".join(lines))]
    if plan.get("text"):
        blocks += [Heading("The study file", 3), Listing(str(plan["text"]).rstrip())]
    return blocks
