"""The Markdown report of a study, with its tables as CSV: `reports/<study>/README.md`."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from alexnet_sweep.aggregate import arm_table, load_ranks, load_results, provenance_facts
from alexnet_sweep.files import write_text
from alexnet_sweep.store import DONE, RunFolder, study_folder

VIEW_WORDS = {
    10: "ten views (four corners, centre, and their mirrors), averaged",
    5: "five views (four corners and centre; no mirrors), averaged",
    2: "two views (the image and its mirror; images are stored at the crop's size), averaged",
    1: "one view (images are stored at the crop's size; no mirrors)",
}
METRIC_WORDS = {"top1": "Top-1", "top5": "Top-5"}


@dataclass(frozen=True)
class Report:
    """Where a report was written, and its text."""

    path: Path
    text: str


def write_report(study: str, runs: Path, reports: Path) -> Report:
    """Rebuild a study's report from its plan and run folders; the same folders give the same bytes.

    Raises:
        FolderError: where there is no such study, or a finished run's predictions cannot be read.
    """
    plan = study_folder(runs, study).read_plan()
    results = load_results(study, runs)
    table = arm_table(results, load_ranks(results, runs)) if (results["state"] == DONE).any() else None
    folder = reports / study
    write_text(folder / "results.csv", results.to_csv(index=False, lineterminator="\n"))
    if table is not None:
        write_text(folder / "deltas.csv", table.to_csv(index=False, lineterminator="\n"))
    text = _page(plan, results, table, provenance_facts(results, runs), runs)
    path = folder / "README.md"
    write_text(path, text)
    return Report(path, text)


def _page(
    plan: Mapping[str, Any],
    results: pd.DataFrame,
    table: pd.DataFrame | None,
    facts: Sequence[Mapping[str, Any]],
    runs: Path,
) -> str:
    parts = [f"# {plan['name']}", ""]
    parts += _headline(plan, results)
    if table is None:
        parts += ["No run is done yet.", ""]
    else:
        found = _finished_results(results, runs)
        views = {"ten": _either([VIEW_WORDS[result["views"]] for result in found]), "centre": "the centre view"}
        few = sorted({result["data"]["classes"] for result in found if result["data"]["classes"] <= 5})
        if few:
            parts += [f"No top-5 errors where the data set has {_either(few)} classes.", ""]
        for view, words in views.items():
            parts += [f"## Test error in %, {words}", "", *_delta_rows(table, "test", view), ""]
        parts += _how_to_read(table, found) + _mixed(found)
    parts += _run_rows(results)
    parts += _provenance(plan, facts)
    return "\n".join(parts).rstrip() + "\n"


def _finished_results(results: pd.DataFrame, runs: Path) -> list[dict[str, Any]]:
    done = results.loc[results["state"] == DONE, "run_id"].drop_duplicates()
    found = [RunFolder(runs / str(run)).read_result() for run in done]
    return [result for result in found if result is not None]


def _either(values: Sequence[Any]) -> str:
    """One value if all runs have the same, else all of them: `8`, `8 or 16`."""
    return " or ".join(f"{value:,}" if isinstance(value, int) else str(value) for value in dict.fromkeys(values))


def _headline(plan: Mapping[str, Any], results: pd.DataFrame) -> list[str]:
    states = results.drop_duplicates("run_id")["state"].value_counts()
    done, total = int(states.get(DONE, 0)), int(states.sum())
    missing = ", ".join(f"{count} {state}" for state, count in states.items() if state != DONE)
    arms = len(plan["arms"])
    line = f"{arms} arm{'s' if arms != 1 else ''}, {done} of {total} runs done" + (f" ({missing})" if missing else "")
    baseline = next(arm["label"] for arm in plan["arms"] if arm["arm_id"] == plan["baseline"])
    asked = [escaped(plan["question"]), ""] if plan.get("question") else []
    design = "" if plan["design"] == "grid" else f" Design: {plan['design'].replace('_', ' ')}."
    return [*asked, f"{line}.{design} Baseline: {escaped(baseline)}. {_tuned(plan)}", ""]


def _tuned(plan: Mapping[str, Any]) -> str:
    """Whether each arm had a learning rate, or whatever else, of its own."""
    tuning = plan.get("tuning")
    if tuning is None:
        return "The arms were not tuned: all have the same learning rate and schedule, but for what they switch."
    chosen = ", ".join(f"{escaped(label)}: {level}" for label, level in tuning["chosen"].items())
    return (
        f"Tuned: each arm has its own {escaped(tuning['key'])}, out of {', '.join(tuning['levels'])}, chosen by the "
        f"lowest error on the held-out part ({chosen})."
    )


def _delta_rows(table: pd.DataFrame, split: str, view: str) -> list[str]:
    part = table[(table["split"] == split) & (table["view"] == view)]
    metrics = [metric for metric in METRIC_WORDS if (part["metric"] == metric).any()]
    head = ["arm", "seeds"]
    for metric in metrics:
        head += [f"{METRIC_WORDS[metric]} error", f"Δ {METRIC_WORDS[metric]} [95 %]"]
    rows = []
    for arm_id in part["arm_id"].unique():
        cells = part[part["arm_id"] == arm_id].set_index("metric")
        row = [escaped(str(cells["arm"].iloc[0])), str(int(cells["seeds"].iloc[0]))]
        for metric in metrics:
            row += _cells(cells.loc[metric])
        rows.append(row)
    return aligned(head, rows)


def _cells(row: "pd.Series[Any]") -> list[str]:
    error = "–" if pd.isna(row["error"]) else f"{100 * row['error']:.2f}"
    if row["baseline"]:
        return [error, "baseline"]
    if pd.isna(row["delta"]):
        return [error, f"– {row['note']}".strip()]
    delta, low, high = (_signed(row[key]) for key in ("delta", "low", "high"))
    return [error, f"{delta} [{low}, {high}]"]


def _signed(fraction: float) -> str:
    """A difference in percentage points, with its sign and a true minus."""
    return f"{100 * fraction + 0.0:+.2f}".replace("-", "−")


def _how_to_read(table: pd.DataFrame, found: Sequence[Mapping[str, Any]]) -> list[str]:
    compared = table.loc[~table["baseline"] & (table["paired_seeds"] > 0), "paired_seeds"]
    seeds = _either(sorted(set(compared))) if len(compared) else "none"

    def data(key: str) -> str:
        return _either([result["data"][key] for result in found])

    return [
        "Δ is the arm less the baseline in percentage points: positive means that the change hurt. It is paired: same "
        f"images, same seeds (paired seeds per arm: {seeds}). The interval covers the choice of the "
        f"{data('test_images')} test images only; another seed may move a delta further than that.",
        "",
        f"Data: {escaped(data('name'))}, {data('classes')} classes, {data('train_images')} images trained on, "
        f"{data('heldout_images')} held out; {_either([result['epochs'] for result in found])} epochs, the last one "
        f"counts. Networks of {_either(sorted({result['parameters'] for result in found}))} parameters.",
        "",
    ]


def _mixed(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A warning where runs were made with different effective settings, which can move results."""
    settings: dict[str, set[str]] = {}
    for result in found:
        for effective in [result["effective"], *result["earlier_effective"]]:
            for key, value in effective.items():
                settings.setdefault(key, set()).add(str(value))
    mixed = {key: values for key, values in settings.items() if len(values) > 1}
    if not mixed:
        return []
    told = "; ".join(f"{key}: {' and '.join(sorted(values))}" for key, values in mixed.items())
    return [f"**Mixed settings.** The runs were not all made alike ({escaped(told)}).", ""]


def _run_rows(results: pd.DataFrame) -> list[str]:
    chosen = results.drop_duplicates("run_id")
    rows = [[escaped(str(run.arm)), str(run.seed), str(run.run_id), str(run.state)] for run in chosen.itertuples()]
    return ["## Runs", "", *aligned(["arm", "seed", "run", "state"], rows), ""]


def _provenance(plan: Mapping[str, Any], facts: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"command   {plan['command']}", f"sources   {plan['source_hash']}"]
    for key, word in (("commit", "commit"), ("host", "host"), ("device", "device"), ("platform", "platform")):
        found = sorted({str(fact.get(key)) for fact in facts if fact.get(key) is not None})
        if found:
            lines.append(f"{word:<9} {', '.join(found)}")
    versions = sorted({f"{name} {version}" for fact in facts for name, version in fact.get("versions", {}).items()})
    if versions:
        lines.append(f"versions  {', '.join(versions)}")
    seconds = [float(fact["wall_seconds"]) for fact in facts if "wall_seconds" in fact]
    if seconds:
        lines.append(
            f"times     {sum(seconds):,.0f} s in {len(seconds)} runs, median {statistics.median(seconds):,.1f} s a run"
        )
    return ["## Provenance", "", "```text", *lines, "```", ""]


def aligned(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table whose columns line up in a terminal; the first column is left-aligned, the rest right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: list[str]) -> str:
        first, *rest = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    rule = (
        "|" + "|".join("-" * (width + 1) + ("-" if column == 0 else ":") for column, width in enumerate(widths)) + "|"
    )
    return [line(head), rule, *(line(row) for row in rows)]


def escaped(text: str) -> str:
    """Text that stays one cell of a Markdown table and runs as nothing else."""
    plain = " ".join(text.split())
    for character in "\\`*_[]<>|#":
        plain = plain.replace(character, "\\" + character)
    return plain
