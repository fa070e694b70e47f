"""What each part matters: tables of paired differences, with their doubt, for every design.

A delta is *ablated - baseline* in fractions: positive means that removing the part hurt. It is paired twice: the same
seeds, and on each seed the same images.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from alexnet_sweep.aggregate import Evidence, RunRecord
from alexnet_sweep.answers import AVERAGED, CENTRE, METRICS, VIEWS, Answers
from alexnet_sweep.doubt import IMAGES, Doubt, doubt, holm, mcnemar

WORSE_ONCE, BETTER_ONCE = "worse with this seed", "better with this seed"  # other images alone would not turn it
HURTS, HELPS, UNCLEAR, HINT = "hurts", "helps", "not distinguishable", "not distinguishable after Holm"
ALPHA = 0.05


@dataclass(frozen=True)
class Runs:
    """The finished runs that may be compared, by arm and seed, and what they answered."""

    by_arm: Mapping[str, Mapping[int, RunRecord]]
    answers: Answers
    evidence: Evidence

    @classmethod
    def of(cls, evidence: Evidence, answers: Answers, leave_out: Sequence[str] = ()) -> "Runs":
        """All finished runs but those whose run_id is left out."""
        by_arm: dict[str, dict[int, RunRecord]] = {arm: {} for arm in evidence.labels}
        for record in evidence.done:
            if record.run_id not in leave_out:
                by_arm[record.arm_id][record.seed] = record
        return cls(by_arm, answers, evidence)

    @property
    def records(self) -> list[RunRecord]:
        """All of them, by arm and seed in the plan's order."""
        return [record for seeds in self.by_arm.values() for record in seeds.values()]

    def contrast(
        self, weights: Mapping[str, float], split: str, view: str, metric: str
    ) -> tuple[NDArray[np.float64] | None, list[int], str]:
        """Weighted errors of arms, (seeds, images), the seeds that all of them have, and a note if there is nothing."""
        return self._sums({(arm, view): weight for arm, weight in weights.items()}, split, metric)

    def less_averaged(self, arm: str, split: str, metric: str) -> tuple[NDArray[np.float64] | None, list[int], str]:
        """As `contrast`: what an arm's runs have wrong by the centre view alone, less that by all views averaged."""
        return self._sums({(arm, CENTRE): 1.0, (arm, AVERAGED): -1.0}, split, metric)

    def _sums(
        self, weights: Mapping[tuple[str, str], float], split: str, metric: str
    ) -> tuple[NDArray[np.float64] | None, list[int], str]:
        arms = list(dict.fromkeys(arm for arm, _ in weights))
        seeds = sorted(set.intersection(*(set(self.by_arm[arm]) for arm in arms)))
        if not seeds:
            return None, [], self._why_no_seed(arms)
        runs = [
            (self.by_arm[arm][seed].run_id, view, weight) for seed in seeds for (arm, view), weight in weights.items()
        ]
        lists = {self.answers.images(run_id, split) for run_id, _, _ in runs}
        if len(lists) > 1:
            return None, seeds, "other images"
        if lists == {None}:
            return None, seeds, ""
        parts = iter(weight * self.answers.wrong(run_id, split, view, metric) for run_id, view, weight in runs)
        rows = [np.sum([next(parts) for _ in weights], axis=0) for _ in seeds]
        return np.array(rows), seeds, ""

    def _why_no_seed(self, arms: Sequence[str]) -> str:
        """Why these arms have no finished seed in common; empty where none of them has any."""
        without = [self.evidence.labels[arm] for arm in arms if not self.by_arm[arm]]
        if len(without) == len(arms):
            return ""
        if without:
            return f"no finished run of {' and of '.join(without)}"
        return f"no seed that {'both' if len(arms) == 2 else 'all of them'} have finished"


def arm_table(results: pd.DataFrame, runs: Runs) -> pd.DataFrame:
    """One row for each arm, split, view and metric, in the order of the plan.

    Columns: arm, arm_id, baseline, split, view, metric, seeds (finished), images, error (mean over seeds),
    paired_seeds, delta, low, high, covers (what the interval covers), p (McNemar's exact one with one seed), p_holm
    (over the arms of the row's split, view and metric), finding, images_low, images_high (other images alone),
    bootstrap_low, bootstrap_high, seeds_low, seeds_high (other seeds alone), seed_spread, conservative,
    broken, fixed, mcnemar_p (with one paired seed), note. Missing where there is nothing to compare, as the note says.
    """
    baseline, rows = runs.evidence.baseline, []
    done = _compared(results[results["split"].isin(runs.answers.splits)], runs)
    for split in runs.answers.splits:
        for view, (metric, _) in itertools.product(VIEWS, METRICS.items()):
            chosen = done[(done["split"] == split) & (done["view"] == view)]
            errors = chosen.set_index(["arm_id", "seed"])[f"{metric}_error"].astype(float)
            if errors.isna().all():
                continue  # five classes or fewer: there is no top-5 error
            for arm_id, label in runs.evidence.labels.items():
                own = errors[errors.index.get_level_values("arm_id") == arm_id]
                row: dict[str, Any] = {"arm": label, "arm_id": arm_id, "baseline": arm_id == baseline}
                row |= {"split": split, "view": view, "metric": metric, "seeds": len(own)}
                row |= {"images": _images(runs, arm_id, split), "error": own.mean() if len(own) else np.nan}
                if arm_id == baseline:
                    row |= _nothing("")
                else:
                    row |= difference(runs, {arm_id: 1.0, baseline: -1.0}, split, view, metric)
                rows.append(row)
    return with_findings(pd.DataFrame(rows), ["split", "view", "metric"]) if rows else pd.DataFrame(rows)


def _compared(results: pd.DataFrame, runs: Runs) -> pd.DataFrame:
    """The rows of runs that may be compared: what is kept out moves no arm's own error either."""
    return results[results["run_id"].isin([record.run_id for record in runs.records])]


def _images(runs: Runs, arm_id: str, split: str) -> int:
    records = runs.by_arm[arm_id].values()
    known = [record.run_id for record in records if runs.answers.images(record.run_id, split) is not None]
    return max((runs.answers.count(run_id, split) for run_id in known), default=0)


def difference(runs: Runs, weights: Mapping[str, float], split: str, view: str, metric: str) -> dict[str, Any]:
    """The columns of one difference; see `arm_table`."""
    differences, seeds, note = runs.contrast(weights, split, view, metric)
    if differences is None:
        return _nothing(note)
    found = doubt(differences)
    row = _nothing(note) | doubt_columns(found) | {"paired_seeds": len(seeds)}
    if len(seeds) == 1 and len(weights) == 2:
        broken, fixed = int((differences > 0).sum()), int((differences < 0).sum())
        exact = mcnemar(broken, fixed)
        row |= {"broken": broken, "fixed": fixed, "mcnemar_p": exact, "p": exact}
    return row


def doubt_columns(found: Doubt) -> dict[str, Any]:
    return {
        "delta": found.delta,
        "low": found.interval.low,
        "high": found.interval.high,
        "covers": found.covers,
        "p": found.p,
        "images_low": found.images.low,
        "images_high": found.images.high,
        "bootstrap_low": found.bootstrap.low,
        "bootstrap_high": found.bootstrap.high,
        "seeds_low": found.seeds.low,
        "seeds_high": found.seeds.high,
        "seed_spread": found.seed_spread,
        "conservative": found.conservative,
    }


def _nothing(note: str) -> dict[str, Any]:
    figures = (
        *("delta", "low", "high", "p", "images_low", "images_high", "bootstrap_low", "bootstrap_high"),
        *("seeds_low", "seeds_high", "seed_spread"),
    )
    return (
        {"paired_seeds": 0, "covers": "", "conservative": False, "broken": np.nan, "fixed": np.nan}
        | {"mcnemar_p": np.nan, "note": note}
        | dict.fromkeys(figures, np.nan)
    )


def with_findings(table: pd.DataFrame, family: Sequence[str], unlisted: int = 0) -> pd.DataFrame:
    """Add p_holm, over each family, and the finding in words, which it says only where the interval excludes zero.

    A family has all differences that its rows are planned for, finished or not, and those `unlisted`, without a row.
    """
    planned = table["paired_seeds"].notna()
    if "baseline" in table:
        planned &= ~table["baseline"].astype(bool)
    adjusted = table.groupby(list(family), sort=False)["p"].transform(
        lambda p: holm(p.to_numpy(float), int(planned[p.index].sum()) + unlisted)
    )
    table = table.assign(p_holm=adjusted)
    figures = table[["low", "high", "p_holm"]].to_numpy(float)
    once = [covers == IMAGES for covers in table["covers"]] if "covers" in table else [False] * len(table)
    table["finding"] = [
        finding(low, high, p, once=alone) for (low, high, p), alone in zip(figures.tolist(), once, strict=True)
    ]
    last = ["finding", "note"]
    return table[[column for column in table if column not in last] + last]


def finding(low: float, high: float, p_holm: float, *, once: bool = False) -> str:
    """The direction of an effect in words; empty where there is no interval.

    `once`: there is one pair of runs, and nothing is said of the part itself.
    """
    if np.isnan(low):
        return ""
    if low <= 0 <= high:
        return UNCLEAR
    if once:  # the exact test has the last word
        return UNCLEAR if p_holm >= ALPHA else WORSE_ONCE if low > 0 else BETTER_ONCE
    if p_holm >= ALPHA:
        return HINT
    return HURTS if low > 0 else HELPS


def views_table(results: pd.DataFrame, runs: Runs) -> pd.DataFrame:
    """What the average over all views gains over the centre view, for each arm and metric, on the test images.

    The delta is *centre - averaged*: positive means that one view alone is worse. It is of the same networks on the
    same images, so it needs no second arm. Columns: arm, arm_id, metric, seeds, views, centre, averaged (errors), and
    those of a difference (`arm_table`). Runs of one view have no row.
    """
    rows: list[dict[str, Any]] = []
    done = _compared(results[results["split"] == "test"], runs)
    unfinished = sum(not runs.by_arm[arm_id] for arm_id in runs.evidence.labels)
    for metric in METRICS:
        errors = done.set_index(["arm_id", "view"])[f"{metric}_error"].astype(float).sort_index()
        if errors.isna().all():
            continue
        for arm_id, label in runs.evidence.labels.items():
            counts = {int((record.result or {})["views"]) for record in runs.by_arm[arm_id].values()}
            differences, seeds, note = runs.less_averaged(arm_id, "test", metric)
            if differences is None or counts == {1}:
                continue
            row: dict[str, Any] = {"arm": label, "arm_id": arm_id, "metric": metric, "seeds": len(seeds)}
            row |= {"views": " or ".join(map(str, sorted(counts)))}
            both = {"centre": CENTRE, "averaged": AVERAGED}
            row |= {name: errors.loc[[(arm_id, view)]].mean() for name, view in both.items()}
            rows.append(row | _nothing(note) | doubt_columns(doubt(differences)) | {"paired_seeds": len(seeds)})
    table = pd.DataFrame(rows)
    return with_findings(table, ["metric"], unfinished) if rows else table


MEASURES = ("train_error", "gap", "steps")
SEEDS = "seeds only"  # what an interval covers where there is one figure a run


def seed_table(results: pd.DataFrame, runs: Runs) -> pd.DataFrame:
    """What has one figure a run, and so an interval over seeds alone: a row for each arm and measure.

    Measures: `train_error`, of the training images evaluated without augmentation (centre view); `gap`, the test error
    less that; both as differences from the baseline. `steps`, the steps to the training-error threshold, as a relative
    change (a geometric mean: 0 as many as the baseline, 1 twice as many). Columns: arm, arm_id, baseline, measure,
    seeds, value (the arm's own mean: error, gap, or steps), paired_seeds, delta, low, high, p, covers (`SEEDS`, empty
    without an interval), p_holm, finding, note. Where a pair of runs lacks the figure on either side, there is no
    difference, and the note says of which side how many runs have it.
    """
    rows, results = [], _compared(results, runs)
    for measure in MEASURES:
        values = _measured(results, measure)
        base = {seed: values[arm, seed] for arm, seed in values if arm == runs.evidence.baseline}
        for arm_id, label in runs.evidence.labels.items():
            own = {seed: values[arm, seed] for arm, seed in values if arm == arm_id}
            row = {"arm": label, "arm_id": arm_id, "baseline": arm_id == runs.evidence.baseline, "measure": measure}
            row |= {"seeds": len(own), "value": np.mean(list(own.values())) if own else np.nan}
            both = set(runs.by_arm[arm_id]) & set(runs.by_arm[runs.evidence.baseline])
            seeds = [] if row["baseline"] else [seed for seed in sorted(both) if seed in own and seed in base]
            found = _over_seeds([own[s] for s in seeds], [base[s] for s in seeds], measure)
            sides = {"": own} if row["baseline"] else {"": own, "baseline": base}
            found |= _lacking(measure, {side: len(both & set(having)) for side, having in sides.items()}, len(both))
            rows.append(row | found | {"covers": "" if np.isnan(found["low"]) else SEEDS})
    table = pd.DataFrame(rows)
    return with_findings(table, ["measure"]) if len(table) else table


def _lacking(measure: str, having: Mapping[str, int], runs: int) -> dict[str, Any]:
    """No difference where runs of a side lack the figure, and how many of that side have it; the row's own has no name.

    Of these runs nothing is known but that they lack it: leaving them out would flatter their side.
    """
    lacking = [f"{side}: {there} of {runs}".removeprefix(": ") for side, there in having.items() if there < runs]
    if not lacking:
        return {}
    lacking[0] += " reached the threshold" if measure == "steps" else " have clean training images"
    return dict.fromkeys(("delta", "low", "high", "p"), np.nan) | {"paired_seeds": 0, "note": "; ".join(lacking)}


def _measured(results: pd.DataFrame, measure: str) -> dict[tuple[str, int], float]:
    """A measure of each run, by arm and seed."""
    if measure == "steps":
        steps = results.dropna(subset=["steps_to_threshold"]).drop_duplicates(["arm_id", "seed"])
        return _by_run(steps, "steps_to_threshold")
    centre = results[results["view"] == "centre"]
    train = _by_run(centre[centre["split"] == "train"], "top1_error")
    if measure == "train_error":
        return train
    test = _by_run(centre[centre["split"] == "test"], "top1_error")
    return {key: test[key] - train[key] for key in train if key in test}


def _by_run(rows: pd.DataFrame, column: str) -> dict[tuple[str, int], float]:
    return {
        (str(arm), int(seed)): float(value)
        for arm, seed, value in zip(rows["arm_id"], rows["seed"], rows[column], strict=True)
    }


def _over_seeds(own: Sequence[float], base: Sequence[float], measure: str) -> dict[str, Any]:
    row = {"paired_seeds": len(own), "delta": np.nan, "low": np.nan, "high": np.nan, "p": np.nan, "note": ""}
    if not own:
        return row
    ratio = measure == "steps"
    differences = np.log(np.array(own) / np.array(base)) if ratio else np.array(own) - np.array(base)
    mean = float(differences.mean())
    row["delta"] = float(np.expm1(mean)) if ratio else mean
    if len(own) < 2:
        return row | {"note": "one seed: no interval"}
    error = float(differences.std(ddof=1)) / np.sqrt(len(own))
    if error < 1e-12:  # figures are counts, and agree by chance: nobody can be as sure as this looks
        return row | {"note": "the seeds agree exactly: no interval"}
    half = float(stats.t.ppf(0.975, len(own) - 1)) * error
    low, high = mean - half, mean + half
    row["p"] = float(2 * stats.t.sf(abs(mean) / error, len(own) - 1))
    return row | {"low": float(np.expm1(low)) if ratio else low, "high": float(np.expm1(high)) if ratio else high}
