"""What designs of several factors show beyond deltas: the cumulative curve, main effects and interactions."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from alexnet_sweep.effects import BETTER_ONCE, HELPS, HURTS, WORSE_ONCE, Runs, difference, with_findings

Levels = Mapping[str, str]
WORSE, BETTER = "worse than the sum", "better than the sum"
TOGETHER = {HURTS: WORSE, HELPS: BETTER} | {
    WORSE_ONCE: f"{WORSE}, with this seed",
    BETTER_ONCE: f"{BETTER}, with this seed",
}


def step_table(runs: Runs, split: str, view: str, metric: str) -> pd.DataFrame:
    """The way from the plain net to the full recipe, or back: a row for each step of each way.

    Columns: way (build_up, take_away), step (from 0), change (what this step switched; empty at 0), arm_id, error, then
    the columns of `effects.arm_table` for the difference from the step before.
    """
    plan = runs.evidence.plan
    arms = {_key(arm["levels"], plan["keys"]): arm["arm_id"] for arm in plan["arms"]}
    rows = []
    for way, cells in _ways(plan).items():
        before = None
        for step, cell in enumerate(cells):
            arm_id = arms.get(_key(cell, plan["keys"]))
            if arm_id is None or cell == before:  # the same run as another arm's, or one that could not be tuned
                continue
            row: dict[str, Any] = {"way": way, "step": step, "change": _change(before, cell), "arm_id": arm_id}
            row["error"] = _error(runs, arm_id, split, view, metric)
            if before is None:  # paired with nothing, and no member of the family
                row |= {"paired_seeds": float("nan"), "covers": "", "conservative": False, "note": ""}
            else:
                weights = {arm_id: 1.0, arms[_key(before, plan["keys"])]: -1.0}
                row |= difference(runs, weights, split, view, metric)
            rows.append(row)
            before = cell
    table = pd.DataFrame(rows)
    return with_findings(table, ["way"]) if "p" in table else table


def _ways(plan: Mapping[str, Any]) -> dict[str, list[Levels]]:
    """Each way as the levels of its steps, in their order: the baseline is the full recipe, with every first level."""
    full = next(arm["levels"] for arm in plan["arms"] if arm["arm_id"] == plan["baseline"])
    seen = {key: {arm["levels"][key] for arm in plan["arms"]} for key in plan["keys"]}
    plain = {key: next(iter(seen[key] - {level}), level) for key, level in full.items()}
    order = plan.get("order", "build_up")
    steps = range(len(plan["keys"]) + 1)

    def way(start: Levels, end: Levels) -> list[Levels]:
        return [
            {key: (end if place < step else start)[key] for place, key in enumerate(plan["keys"])} for step in steps
        ]

    ways = {"build_up": way(plain, full), "take_away": way(full, plain)}
    return ways if order == "both" else {order: ways[order]}


def _change(before: Levels | None, cell: Levels) -> str:
    if before is None:
        return ""
    return ", ".join(f"{key}={level}" for key, level in cell.items() if before[key] != level)


def _error(runs: Runs, arm_id: str, split: str, view: str, metric: str) -> float:
    wrong, _, _ = runs.contrast({arm_id: 1.0}, split, view, metric)
    return float("nan") if wrong is None else float(wrong.mean())


def effect_table(runs: Runs, split: str, view: str, metric: str) -> pd.DataFrame:
    """Main effects (of a factorial design) and interactions of two factors, each against the baseline's levels.

    A main effect is averaged over all levels of the other factors. An interaction is how much more, or less, two
    changes do together than both apart: of the four arms that two changes make, both - one - other + neither, averaged
    over the levels of the other factors for which all four are planned; as long as one of the arms has no run there is
    no figure. Columns: kind (main, interaction), first, second (what is switched: KEY=LEVEL), then those of
    `effects.arm_table`.
    """
    plan = runs.evidence.plan
    keys: Sequence[str] = plan["keys"]
    cells = {_key(arm["levels"], keys): arm["arm_id"] for arm in plan["arms"]}
    levels = {key: list(dict.fromkeys(arm["levels"][key] for arm in plan["arms"])) for key in keys}
    base = next(arm["levels"] for arm in plan["arms"] if arm["arm_id"] == plan["baseline"])
    changes = [(key, level) for key in keys for level in levels[key] if level != base[key]]
    rows: list[dict[str, Any]] = []
    if plan["design"] == "factorial" or (plan["design"] == "grid" and len(keys) > 1):
        for key, level in changes:
            weights = _weights(cells, keys, {key: (level, base[key])})
            if weights:
                rows.append(
                    {"kind": "main", "first": f"{key}={level}", "second": ""}
                    | difference(runs, weights, split, view, metric)
                )
    for (one, high), (two, wide) in itertools.combinations(changes, 2):
        weights = {} if one == two else _weights(cells, keys, {one: (high, base[one]), two: (wide, base[two])})
        if weights:
            rows.append(
                {"kind": "interaction", "first": f"{one}={high}", "second": f"{two}={wide}"}
                | difference(runs, weights, split, view, metric)
            )
    if not rows:
        return pd.DataFrame()
    table = with_findings(pd.DataFrame(rows), ["kind"])
    together = table["kind"] == "interaction"
    return table.assign(finding=table["finding"].where(~together, table["finding"].replace(TOGETHER)))


def _weights(
    cells: Mapping[tuple[str, ...], str], keys: Sequence[str], switched: Mapping[str, tuple[str, str]]
) -> dict[str, float]:
    """The contrast of one or two changes: +1 where an even number of them is left at the baseline's level, else -1."""
    groups: list[dict[str, float]] = []
    for cell in cells:
        if any(dict(zip(keys, cell, strict=True))[key] != level for key, (level, _) in switched.items()):
            continue
        group: dict[str, float] = {}
        for back in itertools.product(*((False, True) for _ in switched)):
            own = dict(zip(keys, cell, strict=True))
            own |= {key: levels[1] for (key, levels), off in zip(switched.items(), back, strict=True) if off}
            arm = cells.get(_key(own, keys))
            if arm is None:
                break
            group[arm] = (-1.0) ** sum(back)
        if len(group) == 2 ** len(switched):
            groups.append(group)
    weights: dict[str, float] = {}
    for group in groups:
        for arm, weight in group.items():
            weights[arm] = weights.get(arm, 0.0) + weight / len(groups)
    return weights


def _key(levels: Levels, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(levels[key] for key in keys)
