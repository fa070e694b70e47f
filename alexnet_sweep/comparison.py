"""What changed between two studies: arms matched, each change with its doubt, and what else differs. Writes nothing.

A change is Δ in study B less Δ in study A, in fractions. Where the studies share no runs, the doubts of both add as
squares: the half-width of the change is the root of the sum of both squared half-widths.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, special

from alexnet_sweep.aggregate import Evidence, RunRecord
from alexnet_sweep.doubt import IMAGES, LEVEL, holm
from alexnet_sweep.effects import ALPHA, HINT, UNCLEAR
from alexnet_sweep.findings import HEADLINE, Findings
from alexnet_sweep.identity import FREE_KEYS

MOVED, MOVED_ONCE, SAME_RUNS = "moved", "moved with these seeds", "same runs"
BY_LEVELS, BY_SHARED_LEVELS, BY_CONFIG, BY_LABEL = "levels", "shared levels", "same configuration", "label"
NOTHING = "–"
FAMILY = ["split", "view", "metric"]
STANDS_ALONE = ("seed", "trainer.epochs")  # of a config: these have a line of their own


@dataclass(frozen=True)
class Pair:
    """An arm that both studies have, by its arm_id in each."""

    a: str
    b: str
    label: str
    matched_by: str  # one of the BY_ words
    note: str  # in which levels the two differ all the same


@dataclass(frozen=True)
class Difference:
    """One thing in which the studies differ, as text."""

    what: str
    a: str
    b: str


@dataclass(frozen=True)
class Comparison:
    """Two studies side by side."""

    a: Findings
    b: Findings
    shared: Sequence[str]  # factors of both
    pairs: Sequence[Pair]
    only_a: Sequence[str]  # labels of arms
    only_b: Sequence[str]
    changes: pd.DataFrame  # change_table
    differences: Sequence[Difference]

    @property
    def headline(self) -> pd.DataFrame:
        """The changes by which a study is summed up."""
        table = self.changes
        if table.empty:
            return table
        return table[(table[FAMILY] == list(HEADLINE)).all(axis=1)]


def compare(a: Findings, b: Findings) -> Comparison:
    """Everything that changed from study A to study B."""
    pairs = match(a.evidence, b.evidence)
    shared = _shared(a.evidence, b.evidence)
    only_a = [label for arm, label in a.evidence.labels.items() if arm not in {pair.a for pair in pairs}]
    only_b = [label for arm, label in b.evidence.labels.items() if arm not in {pair.b for pair in pairs}]
    return Comparison(a, b, shared, pairs, only_a, only_b, change_table(a, b, pairs), differences(a, b))


# --- which arms belong together ---


def match(a: Evidence, b: Evidence) -> list[Pair]:
    """The arms that both studies have, in A's order.

    By their levels; where a factor is in one study alone, by the levels of the shared factors, as long as the others
    are at their baseline's level. Then what is left: the same resolved configuration, then the same label.
    """
    shared = _shared(a, b)
    alike = set(a.plan["keys"]) == set(b.plan["keys"])
    ways: list[tuple[str, Callable[[Evidence, Mapping[str, Any]], Hashable]]] = [
        (BY_LEVELS if alike else BY_SHARED_LEVELS, lambda study, arm: _levels(study, arm, shared)),
        (BY_CONFIG, lambda _, arm: str(arm["arm_id"])),
        (BY_LABEL, lambda _, arm: str(arm["label"])),
    ]
    left = {arm["arm_id"]: arm for arm in b.plan["arms"]}
    found: dict[str, Pair] = {}
    for how, key in ways:
        theirs = {key(b, arm): arm for arm in reversed(left.values())}  # of several the first
        for arm in a.plan["arms"]:
            own = key(a, arm)
            if arm["arm_id"] in found or own is None or own not in theirs:
                continue
            other = theirs.pop(own)
            del left[other["arm_id"]]
            found[arm["arm_id"]] = Pair(
                arm["arm_id"], other["arm_id"], str(arm["label"]), how, _unlike(arm["levels"], other["levels"])
            )
    return [found[arm["arm_id"]] for arm in a.plan["arms"] if arm["arm_id"] in found]


def _shared(a: Evidence, b: Evidence) -> list[str]:
    return [key for key in a.plan["keys"] if key in b.plan["keys"]]


def _levels(study: Evidence, arm: Mapping[str, Any], shared: Sequence[str]) -> tuple[str, ...] | None:
    """The levels of the shared factors; None where there are none, or another factor is switched."""
    base = next(other["levels"] for other in study.plan["arms"] if other["arm_id"] == study.baseline)
    alone = [key for key in study.plan["keys"] if key not in shared]
    if not shared or any(arm["levels"][key] != base[key] for key in alone):
        return None
    return tuple(arm["levels"][key] for key in shared)


def _unlike(a: Mapping[str, str], b: Mapping[str, str]) -> str:
    parts = [f"{key}: {a[key]} and {b[key]}" for key in a if key in b and a[key] != b[key]]
    return f"levels differ ({', '.join(parts)})" if parts else ""


# --- what changed ---


def change_table(a: Findings, b: Findings, pairs: Sequence[Pair]) -> pd.DataFrame:
    """A row for each split, view, metric and matched arm that is not the baseline of both.

    Columns: arm (its label in A), arm_id_a, arm_id_b, matched_by, split, view, metric; of each study delta_, low_,
    high_ and seeds_ (paired ones) with a or b; change, low, high, p, p_holm (over the arms of the row's split, view and
    metric), finding (moved; moved with these seeds, where a side has one alone; not distinguishable, the same after
    Holm, same runs; empty where there is no interval), note.
    """
    rows_a, rows_b = _by_cell(a.deltas), _by_cell(b.deltas)
    cells = dict.fromkeys(key[1:] for key in (*rows_a, *rows_b))
    rows = []
    for cell, pair in itertools.product(cells, pairs):
        if pair.a == a.evidence.baseline and pair.b == b.evidence.baseline:
            continue
        own, other = rows_a.get((pair.a, *cell)), rows_b.get((pair.b, *cell))
        row: dict[str, Any] = {"arm": pair.label, "arm_id_a": pair.a, "arm_id_b": pair.b}
        row |= {"matched_by": pair.matched_by, **dict(zip(FAMILY, cell, strict=True))}
        row |= _side(own, "a") | _side(other, "b") | _change(own, other, pair, a, b)
        row["planned"] = not row["same"] and not any(side is not None and side["baseline"] for side in (own, other))
        rows.append(row)
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    table["p_holm"] = table.groupby(FAMILY, sort=False)["p"].transform(
        lambda p: holm(p.to_numpy(float), int(table.loc[p.index, "planned"].sum()))
    )
    last = table[["low", "high", "p_holm"]].to_numpy(float).tolist()
    table["finding"] = [
        SAME_RUNS if same else _finding(low, high, p, once=once)
        for same, once, (low, high, p) in zip(table["same"], table["once"], last, strict=True)
    ]
    notes = table.pop("note")
    return table.drop(columns=["same", "once", "planned"]).assign(note=notes)


def _by_cell(deltas: pd.DataFrame) -> dict[tuple[str, ...], dict[str, Any]]:
    """Rows of `effects.arm_table` by arm_id, split, view and metric."""
    return {
        tuple(str(row[key]) for key in ("arm_id", *FAMILY)): {str(key): value for key, value in row.items()}
        for row in deltas.to_dict("records")
    }


def _side(row: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    figures = {f"{key}_{name}": np.nan if row is None else float(row[key]) for key in ("delta", "low", "high")}
    return {**figures, f"seeds_{name}": 0 if row is None else int(row["paired_seeds"])}


def _change(
    own: Mapping[str, Any] | None, other: Mapping[str, Any] | None, pair: Pair, a: Findings, b: Findings
) -> dict[str, Any]:
    row: dict[str, Any] = {"change": np.nan, "low": np.nan, "high": np.nan, "p": np.nan}
    row |= {"same": False, "once": False}
    missing = [*_missing(own, "A"), *_missing(other, "B")]
    if own is None or other is None or missing:
        return row | {"note": "; ".join([*missing, *([pair.note] if pair.note else [])])}
    row["change"] = float(other["delta"]) - float(own["delta"])
    runs_a, runs_b = _paired(a, pair.a), _paired(b, pair.b)
    both = sum(_same(record, runs_b.get(run_id)) for run_id, record in runs_a.items())
    notes = [pair.note] if pair.note else []
    if both == len(runs_a) == len(runs_b):
        return row | {"same": True, "note": "; ".join(notes)}
    if both:
        notes.append(f"{both} of {len(runs_a)} runs are in both, taken as independent")
    parts = [_Part.of(own), _Part.of(other)]
    centre = _centre(other) - _centre(own)
    half = math.sqrt(sum(part.squared_half((1 - LEVEL) / 2) for part in parts))
    row |= {"low": centre - half, "high": centre + half, "p": _p_value(centre, parts)}
    alone = [name for name, side in (("A", own), ("B", other)) if side["covers"] == IMAGES]
    if alone:
        notes.append(f"over images only in {' and '.join(alone)}")
    return row | {"once": bool(alone), "note": "; ".join(notes)}


def _missing(row: Mapping[str, Any] | None, name: str) -> list[str]:
    if row is None:
        return [f"not evaluated in {name}"]
    if row["baseline"]:
        return [f"the baseline of {name}"]
    if pd.isna(row["delta"]) or pd.isna(row["low"]):
        return [f"{row['note'] or 'not done'} in {name}"]
    return []


def _paired(findings: Findings, arm_id: str) -> dict[str, RunRecord]:
    """The runs that an arm's delta is made of, by run_id."""
    own, base = findings.runs.by_arm[arm_id], findings.runs.by_arm[findings.evidence.baseline]
    return {runs[seed].run_id: runs[seed] for seed in own if seed in base for runs in (own, base)}


def _same(record: RunRecord, other: RunRecord | None) -> bool:
    """Whether two records are of one training, or of one repeated to the same results in another folder."""
    return other is not None and record.result == other.result


@dataclass(frozen=True)
class _Part:
    """One delta's doubt, taken apart as `alexnet_sweep.doubt` puts it together."""

    seeds: int
    of_seeds: float
    of_images: float

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "_Part":
        seeds, tail = int(row["paired_seeds"]), (1 - LEVEL) / 2
        of_seeds = 0.0 if seeds < 2 else float(row["seed_spread"]) ** 2 / seeds
        rest = ((float(row["high"]) - float(row["low"])) / 2) ** 2 - cls(seeds, of_seeds, 0.0).squared_half(tail)
        return cls(seeds, of_seeds, max(0.0, rest) / float(special.ndtri(tail)) ** 2)

    def squared_half(self, tail: float) -> float:
        """The squared half-width of an interval that leaves out so much on either side."""
        of_seeds = float(special.stdtrit(self.seeds - 1, tail)) ** 2 * self.of_seeds if self.of_seeds else 0.0
        return of_seeds + float(special.ndtri(tail)) ** 2 * self.of_images


def _centre(row: Mapping[str, Any]) -> float:
    """An interval over images alone is not centred on its delta."""
    return (float(row["low"]) + float(row["high"])) / 2


def _p_value(centre: float, parts: Sequence[_Part]) -> float:
    """The level at which the change's interval just reaches zero, as a two-sided p."""
    if centre == 0.0:
        return 1.0

    def beyond(log_p: float) -> float:
        return sum(part.squared_half(math.exp(log_p) / 2) for part in parts) - centre**2

    smallest = math.log(1e-100)
    if beyond(smallest) <= 0:
        return 0.0
    return math.exp(float(optimize.brentq(beyond, smallest, 0.0, xtol=1e-6)))


def _finding(low: float, high: float, p_holm: float, *, once: bool) -> str:
    if math.isnan(low):
        return ""
    if low <= 0 <= high:
        return UNCLEAR
    if p_holm >= ALPHA:
        return HINT
    return MOVED_ONCE if once else MOVED


# --- what else differs ---


def differences(a: Findings, b: Findings) -> list[Difference]:
    """What differs in baseline, design, data, length, seeds, training sources, versions and settings.

    From the plans, and from what finished runs say of themselves; only what differs.
    """
    shared = _shared(a.evidence, b.evidence)
    facts_a, facts_b = _facts(a, shared), _facts(b, shared)
    settings_a, settings_b = _settings(a.evidence), _settings(b.evidence)
    if settings_a and settings_b:  # without a finished baseline nothing is known of its settings
        facts_a, facts_b = facts_a | settings_a, facts_b | settings_b
    found = []
    for what in dict.fromkeys([*facts_a, *facts_b]):
        own, other = facts_a.get(what, NOTHING), facts_b.get(what, NOTHING)
        if own != other:
            found.append(Difference(what, own, other))
    return found


def _facts(findings: Findings, shared: Sequence[str]) -> dict[str, str]:
    """What is to be compared, by what it is called; `shared` factors tell the baseline, others are named alone."""
    evidence = findings.evidence
    plan, done = evidence.plan, evidence.done
    tuning = plan.get("tuning")
    base = next(arm for arm in plan["arms"] if arm["arm_id"] == evidence.baseline)
    facts = {
        "baseline": ", ".join(f"{key}={base['levels'][key]}" for key in shared) or str(base["label"]),
        "design": str(plan["design"]).replace("_", " "),
        "factors": ", ".join(str(key) for key in plan["keys"]) or "none",
        "tuned": "no" if tuning is None else f"{tuning['key']}: {', '.join(map(str, tuning['levels']))}",
        "runs done": f"{len(done)} of {len(evidence.records)}",
        "seeds": ", ".join(str(seed) for seed in sorted({record.seed for record in evidence.records})),
    }
    of_results = {
        "data": ("data", "name"),
        "data fingerprint": ("data", "fingerprint"),
        "training images": ("data", "train_images"),
        "test images": ("data", "test_images"),
        "views": ("views",),
        "epochs": ("epochs",),
    }
    facts |= {what: _values(_at(record.result, path) for record in done) for what, path in of_results.items()}
    sources = [_at(record.result, ("source_hash",)) for record in done]
    facts["training sources"] = _values(sources or [plan.get("source_hash")])
    effective = [settings for record in done for settings in _effective(record)]
    for key in dict.fromkeys(key for settings in effective for key in settings):
        facts[key] = _values(settings.get(key) for settings in effective)
    return facts


def _settings(evidence: Evidence) -> dict[str, str]:
    """The settings of the baseline, of its first finished run."""
    configs = [record.config for record in evidence.done if record.arm_id == evidence.baseline and record.config]
    return {f"baseline's {key}": value for key, value in _flat(configs[0]).items()} if configs else {}


def _effective(record: RunRecord) -> list[dict[str, str]]:
    """Device, threads, precision and versions of a run, also before it was resumed."""
    assert record.result is not None, "only of runs that are done"
    found = []
    for settings in (record.result["effective"], *record.result["earlier_effective"]):
        flat = {key: value for key, value in settings.items() if key != "versions"}
        found.append({**flat, **{f"version of {name}": text for name, text in settings.get("versions", {}).items()}})
    return found


def _flat(config: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """A config's keys that can change a result, each with its value as text."""
    found: dict[str, str] = {}
    for name, value in config.items():
        key = f"{above}{name}"
        if key in FREE_KEYS or key in STANDS_ALONE:
            continue
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{key}.")
        else:
            found[key] = str(value)
    return found


def _at(tree: Any, path: Sequence[str]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _values(values: Iterable[Any]) -> str:
    """Different values in their order: `8`, `8 and 16`; a dash where there are none."""
    return " and ".join(dict.fromkeys(str(value) for value in values if value is not None)) or NOTHING
