"""From what was asked for to a checked study: used by a sweep before its first run, and by `plan` instead of one.

Everything is composed and checked before anything is written. Imports no torch.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alexnet_sweep.arguments import check_words
from alexnet_sweep.config import Config
from alexnet_sweep.data.splits import heldout_size
from alexnet_sweep.errors import ConfigError, SweepError
from alexnet_sweep.identity import training_id, training_source_hash
from alexnet_sweep.ledger import TO_TRAIN, Action, Decision
from alexnet_sweep.mistakes import explain, is_users
from alexnet_sweep.precheck import DataFacts
from alexnet_sweep.reuse import trained_as
from alexnet_sweep.store import CHECKED_BYTES, RunFolder
from alexnet_sweep.study import Compose, PlannedRun, SeededCompose, Study, plan_grid, plan_study, plan_tuning
from alexnet_sweep.study_file import BASELINE, StudyFile, override_key


@dataclass(frozen=True)
class Asked:
    """What the command line asks for: a grid of override lists, or a study file with overrides of its own."""

    jobs: Sequence[Sequence[str]] = ()
    swept: Sequence[str] = ()
    file: StudyFile | None = None
    extra: Sequence[str] = ()


class Planner:
    """Plans what was asked for; composes each arm once and looks at each data set once, however often it plans."""

    def __init__(self, asked: Asked, compose: Compose) -> None:
        self.asked, self.facts = asked, DataFacts()
        self._composed = SeededCompose(compose)
        first = asked.file.arms(asked.extra)[0].overrides if asked.file is not None else asked.jobs[0]
        self.settings = self._in_the_file(first)  # sweep.*, paths.*: the same in every run
        self.runs, self.reports = Path(self.settings.paths.runs), Path(self.settings.paths.reports)

    def study(self, chosen: Mapping[str, str] | None = None) -> Study:
        """The study itself; `chosen` is the tuned override of each arm that could be tuned, by its label.

        Raises:
            SweepError: one line; nothing is written.
        """
        asked, most = self.asked, self.settings.sweep.max_runs
        if asked.file is None:
            return plan_grid(
                asked.jobs, swept=asked.swept, compose=self._checked, fingerprint=self.facts.fingerprint, max_runs=most
            )
        return plan_study(
            asked.file,
            asked.extra,
            compose=self._checked,
            fingerprint=self.facts.fingerprint,
            max_runs=most,
            chosen=chosen,
        )

    def tuning(self) -> Study | None:
        """The runs that choose each arm's level of the tuned key, if the study has one.

        Raises:
            SweepError: one line; nothing is written.
        """
        file = self.asked.file
        if file is None or file.tuning is None:
            return None
        study = plan_tuning(
            file,
            self.asked.extra,
            compose=self._checked,
            fingerprint=self.facts.fingerprint,
            max_runs=self.settings.sweep.max_runs,
        )
        for run in study.runs:
            images = self.facts.meta(run.config).counts["train"]
            if (
                not heldout_size(images, run.config.data.heldout_fraction)
                or run.config.schedule.heldout_joins_fraction is not None
            ):
                raise ConfigError(
                    f"{file.path}: tune: levels are chosen on the held-out part, but an arm has data.heldout_fraction="
                    f"{run.config.data.heldout_fraction:g}, schedule.heldout_joins_fraction="
                    f"{run.config.schedule.heldout_joins_fraction}; hold images out to the end"
                )
        return study

    def study_after(self, tuning: Study, still_open: Collection[str]) -> Study | None:
        """The study after a tuning of whose runs these have not ended; None where nothing will be left to compare.

        An arm that has any is taken at the level of the first of them: which it will be cannot be told yet.

        Raises:
            SweepError: one line; nothing is written.
        """
        tuned = tuning.facts["tuned"]
        waiting: dict[str, str] = {}
        for run in tuning.runs:
            if run.run_id in still_open:
                waiting.setdefault(*tuned[run.arm_id])
        ended = tuple(arm for arm in tuning.arms if tuned[arm.arm_id][0] not in waiting)
        chosen = chosen_levels(replace(tuning, arms=ended), self.runs) | waiting
        return self.study(chosen) if BASELINE in chosen and len(chosen) > 1 else None

    def run_ids(self, tuning: Study | None) -> set[str]:
        """Of all runs that the study may come to, at whichever level each arm is tuned to.

        Raises:
            SweepError: one line; nothing is written.
        """
        if tuning is None:
            return {run.run_id for run in self.study().runs}
        found = {run.run_id for run in tuning.runs}
        tried = list(tuning.facts["tuned"].values())
        for level in dict.fromkeys(level for _, level in tried):
            with suppress(SweepError):  # a level at which all arms are the same: no study comes to that
                found |= {run.run_id for run in self.study({label: level for label, _ in tried}).runs}
        return found

    def foreseen(self, runs: Sequence[PlannedRun], decisions: Sequence[Decision]) -> list[Decision]:
        """The decision beside each run, but for runs that will find their weights trained: these are only evaluated.

        As it comes out if the runs start in this order and none fails.
        """
        found: list[Decision] = []
        sources: dict[str, str] = {}  # the first run of this start that leaves weights, by what was trained
        begun: set[str] = set()  # what these had before is gone by then
        for run, decision in zip(runs, decisions, strict=True):
            found.append(decision)
            if decision.action not in TO_TRAIN:
                continue
            begun.add(run.run_id)
            what = training_id(run.config, self.facts.fingerprint(run.config))
            source = sources.get(what) or self._trained_before(run.config, what, begun)
            goes_on = RunFolder(self.runs / run.run_id).checkpoint.is_file() and not (decision.clear or decision.aside)
            if source is not None and not goes_on:
                why = f"{decision.why}; with the weights of run {source}"
                found[-1] = replace(decision, action=Action.EVALUATE, why=why, trained_by=source)
            if run.config.checkpoint.keep != "none":
                sources.setdefault(what, run.run_id)
        return found

    def _trained_before(self, config: Config, what: str, begun: Collection[str]) -> str | None:
        """As the run itself will look; weights that are large are not read for a plan."""
        source = trained_as(self.runs, what, training_source_hash(config), whole_up_to=CHECKED_BYTES)
        return None if source is None or source.run_id in begun else source.run_id

    def _checked(self, overrides: Sequence[str]) -> Config:
        config = self._in_the_file(overrides)
        try:
            self.facts.check(config)
        except SweepError as error:
            if self.asked.file is None:
                raise
            raise type(error)(f"{self.asked.file.path}: {error}") from error
        return config

    def _in_the_file(self, overrides: Sequence[str]) -> Config:
        """Compose; a mistake that a study file makes is told of with its name."""
        file = self.asked.file
        try:
            check_words(overrides)
            return self._composed(overrides)
        except Exception as error:
            own = [override for override in overrides if override not in self.asked.extra]
            if file is None or not is_users(error):
                raise
            raise ConfigError(f"{file.path}: {explain(error, own)}") from error


def chosen_levels(tuning: Study, runs: Path) -> dict[str, str]:
    """For each arm's label the tuned override of the lowest held-out error, first of equals; see `plan_tuning`.

    The error is that of the centre view after the last epoch, averaged over the tuning seeds; a level whose runs are
    not all done is left out, and so is an arm without any.
    """
    best: dict[str, tuple[float, str]] = {}
    for arm in tuning.arms:
        label, override = tuning.facts["tuned"][arm.arm_id]
        results = [RunFolder(runs / run.run_id).read_result() for run in tuning.runs if run.arm_id == arm.arm_id]
        errors = [_heldout_error(result) for result in results if result is not None]
        if len(errors) < len(results):
            continue
        error = sum(errors) / len(errors)
        if label not in best or error < best[label][0]:
            best[label] = (error, override)
    return {label: override for label, (_, override) in best.items()}


def _heldout_error(result: Mapping[str, Any]) -> float:
    return float(result["errors"]["heldout"]["centre"]["top1_error"])


def asked_for(
    jobs: Sequence[Sequence[str]],
    swept: Sequence[str],
    file: StudyFile | None = None,
    seeds: Sequence[str] = (),
) -> Asked:
    """A study if there is a file, with other seeds where the command line names them; else the grid.

    Raises:
        ConfigError: where a study is swept over by hand as well, or a seed is no number.
    """
    if file is None:
        return Asked(jobs=jobs, swept=swept)
    for key in swept:
        if key.lstrip("+") != "seed":
            raise ConfigError(f"{key}: swept beside study={file.name}; make it a factor of {file.path} instead")
    wrong = [seed for seed in seeds if not seed.isdecimal()]
    if wrong:
        raise ConfigError(f"seed={wrong[0]}: not a number from 0; with study= write seed=0 or seed=0,1,2")
    extra = [override for override in jobs[0] if override_key(override) not in ("study", "seed")]
    numbers = list(dict.fromkeys(int(seed) for seed in seeds))
    return Asked(file=file.with_seeds(numbers) if numbers else file, extra=extra)
