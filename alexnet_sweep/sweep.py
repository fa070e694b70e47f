"""A sweep from plan to report: check it whole, write the plan, launch what is missing, report. No torch."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loguru import logger

from alexnet_sweep.config import Config
from alexnet_sweep.errors import Interrupted, RunsFailed
from alexnet_sweep.identity import source_hash
from alexnet_sweep.ledger import TO_TRAIN, decide_all, summary
from alexnet_sweep.precheck import DataFacts
from alexnet_sweep.report import write_report
from alexnet_sweep.store import RunFolder, study_folder
from alexnet_sweep.study import Compose, PlannedRun, plan_grid

Launch = Callable[[list[list[str]]], Sequence[Any]]


def conduct(jobs: Sequence[Sequence[str]], *, swept: Sequence[str], compose: Compose, launch: Launch) -> list[Any]:
    """Carry out a sweep; `launch` runs override lists and returns Hydra's job returns.

    Raises:
        SweepError: before anything is written or launched.
        RunsFailed: after the report, where a run has no result: it failed, or is running elsewhere.
        Interrupted: after the report, where the user asked to stop.
    """
    facts, settings = DataFacts(), compose(jobs[0])
    runs, reports = Path(settings.paths.runs), Path(settings.paths.reports)

    def checked(overrides: Sequence[str]) -> Config:
        config = compose(overrides)
        facts.check(config)
        return config

    study = plan_grid(
        jobs,
        swept=swept,
        compose=checked,
        fingerprint=facts.fingerprint,
        max_runs=settings.sweep.max_runs,
    )
    decisions = decide_all(study.runs, runs, settings.sweep, source_hash)
    chosen = {decision.run_id for decision in decisions if decision.action in TO_TRAIN}
    wanted = [run for run in study.runs if run.run_id in chosen]
    for run in wanted:
        facts.pack(run.config)
    study_folder(runs, study.name).write_plan(
        study.as_plan() | {"command": command(), "source_hash": source_hash(settings)}
    )
    logger.info("study {}: {}", study.name, summary(decisions))
    returns: list[Any] = []
    stopped = None
    try:
        for batch in _batches(wanted, settings.sweep.on_failure):
            returns.extend(launch([list(run.overrides) for run in batch]))
            if settings.sweep.on_failure == "stop" and _undone(runs, batch):
                break
    except KeyboardInterrupt as interrupt:
        stopped = interrupt
    report = write_report(study.name, runs, reports)
    print(report.text)
    logger.info("report: {}", report.path)
    if stopped is not None:
        raise Interrupted("stopped; the same command goes on from here") from stopped
    undone = _undone(runs, study.runs)
    if undone:
        raise RunsFailed(f"{len(undone)} of {len(study.runs)} runs are not done: {'; '.join(undone)}")
    return returns


def _batches(wanted: list[PlannedRun], on_failure: str) -> list[list[PlannedRun]]:
    """All at once (never an empty batch: launchers refuse it), or one by one where a failure must stop the rest."""
    if on_failure == "stop":
        return [[run] for run in wanted]
    return [wanted] if wanted else []


def _undone(runs: Path, wanted: Sequence[PlannedRun]) -> list[str]:
    """Runs without a result, each with its reason."""
    folders = [RunFolder(runs / run.run_id) for run in wanted]
    return [f"{folder.run_id} ({_reason(folder)})" for folder in folders if folder.read_result() is None]


def _reason(folder: RunFolder) -> str:
    owner = folder.alive_elsewhere()
    if owner is not None:
        return f"in use by {owner}"
    return str(folder.read_status().get("reason") or "no reason recorded")


def command() -> str:
    """The command line of this process, as a user would type it."""
    return shlex.join(["python", "-m", "alexnet_sweep", *sys.argv[1:]])
