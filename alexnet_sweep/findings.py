"""A study's evidence worked out: every table that a report shows, in one place. Reads run folders; writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from alexnet_sweep.aggregate import Evidence, RunRecord, gather, results_of
from alexnet_sweep.answers import Answers
from alexnet_sweep.comparable import KeptOut, kept_out
from alexnet_sweep.effects import Runs, arm_table, seed_table, views_table
from alexnet_sweep.ensembles import Averaged, averaged
from alexnet_sweep.interactions import effect_table, step_table
from alexnet_sweep.verdicts import Verdict, verdicts

HEADLINE = ("test", "ten", "top1")  # split, view and metric that a study is summed up by


@dataclass(frozen=True)
class Findings:
    """What a study has found so far; tables are empty where there is nothing to say."""

    evidence: Evidence
    results: pd.DataFrame  # aggregate.load_results
    kept_out: Sequence[KeptOut]  # left out of all that is compared, unless mixing is allowed
    runs: Runs
    deltas: pd.DataFrame  # effects.arm_table
    by_seed: pd.DataFrame  # effects.seed_table
    of_views: pd.DataFrame  # effects.views_table
    steps: pd.DataFrame  # interactions.step_table, of cumulative designs
    effects: pd.DataFrame  # interactions.effect_table, of designs with combinations
    verdicts: Sequence[Verdict]
    ensembles: Averaged | None = None  # None: not asked for

    @property
    def headline(self) -> pd.DataFrame:
        """The rows of `deltas` that sum the study up."""
        if self.deltas.empty:
            return self.deltas
        split, view, metric = HEADLINE
        table = self.deltas
        return table[(table["split"] == split) & (table["view"] == view) & (table["metric"] == metric)]

    @property
    def unlike_arms(self) -> set[str]:
        """Arms whose comparison with the baseline holds runs that are not alike, since mixing is allowed."""
        ran = {record.run_id for record in self.compared}
        arms = {out.record.arm_id for out in self.kept_out if out.record.run_id in ran}
        return set(self.evidence.labels) if self.evidence.baseline in arms else arms

    @property
    def compared(self) -> list[RunRecord]:
        """The finished runs that are compared, in the plan's order."""
        return self.runs.records

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by its name; those without a row are left out."""
        claims = pd.DataFrame(
            [
                {
                    "arm": self.evidence.labels[found.arm_id],
                    "arm_id": found.arm_id,
                    "claim": found.claim.id,
                    "source": found.claim.source,
                    "measure": found.claim.measure,
                    "claimed": found.claim.delta,
                    "reading": found.claim.reading,
                    "delta": found.delta,
                    "low": found.interval.low,
                    "high": found.interval.high,
                    "covers": found.covers,
                    "verdict": found.word,
                    "why": found.why,
                }
                for found in self.verdicts
            ]
        )
        named = {"results": self.results, "deltas": self.deltas, "seeds": self.by_seed}
        named |= {"views": self.of_views, "steps": self.steps, "effects": self.effects, "claims": claims}
        if self.ensembles is not None:
            named["ensembles"] = self.ensembles.table
        return {name: table for name, table in named.items() if not table.empty}


def find(study: str, runs: Path, allow_mixed: bool | None = None, ensembles: bool | None = None) -> Findings:
    """Work out a study; runs that differ in what no factor switches are compared only if mixing is allowed.

    `allow_mixed` and `ensembles`: None as the study was started with (report.allow_mixed, report.ensembles).

    Raises:
        FolderError: where there is no such study.
    """
    evidence = gather(study, runs)
    answers = Answers(evidence.done, runs)
    evidence = evidence.without(answers.unreadable)
    results = results_of(evidence)
    differing = kept_out(evidence)
    if allow_mixed is None:
        allow_mixed = bool(evidence.plan.get("allow_mixed", False))
    if ensembles is None:
        ensembles = bool(evidence.plan.get("ensembles", False))
    leave_out = [] if allow_mixed else [found.record.run_id for found in differing]
    compared = Runs.of(evidence, answers, leave_out)
    deltas, by_seed = arm_table(results, compared), seed_table(results, compared)
    of_views, nothing = views_table(results, compared), pd.DataFrame()
    done = not deltas.empty
    cumulative = evidence.plan["design"] == "cumulative"
    return Findings(
        evidence,
        results,
        differing,
        compared,
        deltas,
        by_seed if done else nothing,
        of_views,
        step_table(compared, *HEADLINE) if done and cumulative else nothing,
        effect_table(compared, *HEADLINE) if done and not cumulative else nothing,
        verdicts(evidence, compared.records, deltas, by_seed, of_views, differing) if done else [],
        averaged(compared) if done and ensembles else None,
    )
