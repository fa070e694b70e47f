"""A sweep from plan to report: check it whole, write the plan, launch what is missing, report. No torch."""

import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from loguru import logger

from alexnet_sweep.config import SweepConfig
from alexnet_sweep.errors import ConfigError, Interrupted, RunsFailed, SweepError
from alexnet_sweep.identity import source_hash, training_id
from alexnet_sweep.ledger import TO_TRAIN, Action, Decision, check_retrain, decide_all, summary
from alexnet_sweep.planning import Asked, Planner, chosen_levels
from alexnet_sweep.room import check_room
from alexnet_sweep.running import alive_elsewhere, in_the_way, running_below
from alexnet_sweep.stopping import passed_on
from alexnet_sweep.store import FAILED, RunFolder
from alexnet_sweep.study import Compose, PlannedRun, Study
from alexnet_sweep.study_file import BASELINE
from alexnet_sweep.study_folder import study_folder
from alexnet_sweep.submitted import LONGEST_POLL_SECONDS, Cluster, Submitted, patiently
from alexnet_sweep.terminal import show
from alexnet_sweep.wording import counted

Launch = Callable[[list[list[str]]], None]
AtOnce = Callable[[int], int]
POLL_SECONDS = 1.0


def one(runs: int) -> int:
    """One at a time."""
    return min(1, runs)


def conduct(
    asked: Asked, *, compose: Compose, launch: Launch, cluster: Cluster | None = None, at_once: AtOnce = one
) -> None:
    """Carry out a sweep; `launch` runs override lists, and how each went is in its run folder.

    `at_once` says how many of so many runs `launch` carries out at the same time.

    With a `cluster` runs go to its queue instead, and on there if this process ends; a start of the same sweep finds
    them there.

    Raises:
        SweepError: before anything is written or launched.
        RunsFailed: after the report, where a run has no result.
        Interrupted: after the report, where the user asked to stop.
    """
    planner = Planner(asked, compose)
    tuning, study = planner.tuning(), planner.study()  # both are checked before the first run starts
    settings = planner.settings.sweep
    if settings.cancel:
        _cancel([tuning, study] if tuning else [study], planner)
        return
    if cluster is None and not settings.wait:
        raise ConfigError("sweep.wait=false: this launcher has no queue; add hydra/launcher=slurm, or set it to true")
    if cluster is not None:
        for run in (*(tuning.runs if tuning else ()), *study.runs):
            if cluster.tasks not in (1, run.config.trainer.processes):
                raise ConfigError(
                    f"trainer.processes={run.config.trainer.processes}: a job has {cluster.tasks} tasks "
                    "(hydra.launcher.nodes times tasks_per_node); the two go together"
                )
    check_retrain(settings, lambda: planner.run_ids(tuning))
    untouched: dict[str, str] = {}  # runs that were to be trained again and were not, and why
    try:
        if tuning is not None:
            study = tuning
            _check_disk(_to_start(tuning, planner, settings, whole=True), planner, at_once)
            _carried_out(tuning, planner, settings, launch, cluster, untouched)
            chosen = chosen_levels(tuning, planner.runs)
            stopped = settings.on_failure == "stop" and _undone(planner.runs, tuning.runs)
            if BASELINE in chosen and len(chosen) > 1 and not stopped:  # else there is nothing to compare
                study = planner.study(chosen)
                settings = _still_to_retrain(settings, tuning, study)
        if study is not tuning:
            _check_disk(_to_start(study, planner, settings), planner, at_once)
            _carried_out(study, planner, settings, launch, cluster, untouched)
    except _LeftInTheQueue as left:
        logger.info("{}; the same command goes on from here, sweep.cancel=true cancels them", left)
        return
    except _Cancelled as cancelled:
        what = f"cancelled meanwhile by sweep.cancel=true{_last_report(study, planner)}"
        raise Interrupted(f"{what}; the same command goes on from here") from cancelled
    except KeyboardInterrupt as interrupt:
        what = "stopped" if cluster is None else "no longer waiting, jobs in the queue go on"
        what += _last_report(study, planner)
        raise Interrupted(f"{what}; the same command goes on from here") from interrupt
    _report(study, planner)
    undone = _undone(planner.runs, (*(tuning.runs if tuning else ()), *study.runs))
    undone += [f"{name} ({why})" for name, why in untouched.items()]
    if undone:
        raise RunsFailed(f"{len(undone)} of {counted(len(study.runs), 'run')} not done: {'; '.join(undone)}")


class _LeftInTheQueue(Exception):
    """Jobs of the study are in the queue, and nobody waits for them."""


class _Cancelled(Exception):
    """Somebody has cancelled the study while this process waited for it."""


def _carried_out(
    study: Study,
    planner: Planner,
    settings: SweepConfig,
    launch: Launch,
    cluster: Cluster | None,
    untouched: dict[str, str],
) -> None:
    """Launch what is missing of a study, until all is done, given up, or failed where a failure stops it."""
    runs = planner.runs
    if cluster is not None:
        Submitted(study_folder(runs, study.name), runs).settle()
    decisions = decide_all(study.runs, runs, settings, source_hash)
    study_folder(runs, study.name).check_plan()
    for run in _to_train(study, decisions):
        planner.facts.pack(run.config)
    plan = study.as_plan() | {
        "command": command(),
        "source_hash": source_hash(planner.settings),
        "allow_mixed": planner.settings.report.allow_mixed,
        "ensembles": planner.settings.report.ensembles,
    }
    study_folder(runs, study.name).write_plan(plan)
    logger.info("study {}: {}", study.name, summary(planner.foreseen(study.runs, decisions)))
    if cluster is not None:
        untouched.update(_queued(study, planner, cluster, decisions))
        return
    launched: Counter[str] = Counter()
    waiting = False
    # What sweep.retrain asks for is started by then.
    later = replace(settings, retrain=None, stale="keep")
    while True:
        wanted = [run for run in _to_train(study, decisions) if launched[run.run_id] <= settings.retries]
        for batch in _batches(wanted, planner, settings):
            folders = [RunFolder(runs / run.run_id) for run in batch]
            with passed_on(partial(running_below, folders)):
                launch([list(run.overrides) for run in batch])
            tried = [run for run in batch if alive_elsewhere(RunFolder(runs / run.run_id)) is None]
            launched.update(run.run_id for run in tried)
            if settings.on_failure == "stop" and _undone(runs, tried):
                return
        elsewhere = [decision for decision in decisions if decision.action is Action.ALIVE]
        if not wanted and not elsewhere:
            return
        if not wanted:
            if not waiting:
                logger.info("waiting for {} of the runs: {}", len(elsewhere), elsewhere[0].why)
            waiting = True
            time.sleep(POLL_SECONDS)
        decisions = decide_all(study.runs, runs, later, source_hash, decisions)


def _still_to_retrain(settings: SweepConfig, tuning: Study, study: Study) -> SweepConfig:
    """The settings for the study that comes after a tuning, where what sweep.retrain names may not be left to do."""
    if settings.retrain in (None, FAILED):
        return settings
    if settings.retrain not in {run.run_id for run in tuning.runs}:  # which has trained it again
        if settings.retrain in {run.run_id for run in study.runs}:
            return settings
        logger.warning(
            "sweep.retrain={}: of a level that is not chosen by now; there is nothing to train again", settings.retrain
        )
    return replace(settings, retrain=None)


def _to_start(study: Study, planner: Planner, settings: SweepConfig, *, whole: bool = False) -> list[PlannedRun]:
    """What is still to be trained of a study; with `whole`, of what comes after a tuning too, as far as is known."""
    if not settings.check_disk:  # nobody asks
        return []
    decisions = decide_all(study.runs, planner.runs, settings, source_hash)
    missing = _to_train(study, decisions)
    if not whole:
        return missing
    still_open = [decision.run_id for decision in decisions if decision.action in (*TO_TRAIN, Action.ALIVE)]
    # Stale results stop that study once it comes, if they are still those of its levels.
    settings = replace(settings, stale="keep") if settings.stale == "stop" else settings
    known = {run.run_id for run in study.runs}
    try:
        later = planner.study_after(study, still_open)
        if later is None:
            return missing
        new = replace(later, runs=tuple(run for run in later.runs if run.run_id not in known))
        return [*missing, *_to_train(new, decide_all(new.runs, planner.runs, settings, source_hash))]
    except SweepError:  # levels are guessed: what is wrong with their runs is told of once these are to come
        return missing


def _check_disk(runs: Sequence[PlannedRun], planner: Planner, at_once: AtOnce) -> None:
    """Refuse what will not fit before the first of it starts.

    Raises:
        SweepError: one line.
    """
    check_room([run.config for run in runs], planner.facts.meta, at_once(len(runs)))


def _queued(study: Study, planner: Planner, cluster: Cluster, decisions: Sequence[Decision]) -> dict[str, str]:
    """Submit what is missing of a study and not in the queue yet, and wait until all is done, given up or cut off.

    A failed run is tried again; one that its queue has ended (cancelled, out of memory, …) is left to the next start.
    Returns the runs that were to be trained again and whose jobs have left their results untouched, with the reason.

    Raises:
        _LeftInTheQueue: where sweep.wait=false.
        _Cancelled: where it was cancelled meanwhile.
    """
    settings, runs, folder = planner.settings.sweep, planner.runs, study_folder(planner.runs, study.name)
    submitted: Counter[str] = Counter()
    cancelled, awaited = folder.last_cancelled(), set[str]()
    untouched: dict[str, str] = {}
    while True:
        wanted = [run for run in _to_train(study, decisions) if _may_start(run, submitted[run.run_id], planner)]
        missing = partial(_submit_missing, study, wanted, planner, cluster, cancelled)
        jobs, new, live = patiently(missing) if awaited else missing()
        submitted.update(new)
        elsewhere = [decision for decision in decisions if decision.action is Action.ALIVE]
        awaited |= new | live
        if not (new or live or elsewhere):
            return untouched
        if not settings.wait:
            raise _LeftInTheQueue(f"{counted(len(new), 'job')} submitted, {len(live)} were in the queue")
        jobs.wait()
        if not (new or live):
            time.sleep(LONGEST_POLL_SECONDS)
        untouched = {name: why for name, why in patiently(jobs.settle).items() if name in awaited}
        later = replace(settings, retrain=None, stale="keep")
        decisions = decide_all(study.runs, runs, later, source_hash, decisions)
        tried = [run for run in study.runs if run.run_id in new | live]
        if settings.on_failure == "stop" and (untouched or _undone(runs, tried)):
            return untouched


def _submit_missing(
    study: Study, wanted: Sequence[PlannedRun], planner: Planner, cluster: Cluster, cancelled: str | None
) -> tuple[Submitted, set[str], set[str]]:
    """Submit what can start of the wanted runs and is not in the queue; which runs came to it, and which were there.

    Raises:
        _Cancelled: where the study was cancelled meanwhile.
        QueueError: where the queue cannot be asked, or refuses.
    """
    folder = study_folder(planner.runs, study.name)
    with folder.locked():
        if folder.last_cancelled() != cancelled:
            raise _Cancelled
        jobs = Submitted(folder, planner.runs)
        jobs.withdraw()
        live = set(jobs.live())
        live |= jobs.adopt({run.run_id for run in study.runs} - live)
        names = {run.run_id for run in wanted} | live
        batches = _batches([run for run in study.runs if run.run_id in names], planner, planner.settings.sweep)
        due = [run for run in batches[0] if run.run_id not in live] if batches else []
        if cluster.most is not None:
            due = due[: max(0, cluster.most - len(live))]
        return jobs, jobs.submit(due, cluster) if due else set(), live


def _may_start(run: PlannedRun, submitted: int, planner: Planner) -> bool:
    status = RunFolder(planner.runs / run.run_id).read_status()
    failed = not status or status.get("state") == FAILED  # without a word: what its job has left is gone
    return submitted == 0 or (failed and submitted <= planner.settings.sweep.retries)


def _cancel(studies: Sequence[Study], planner: Planner) -> None:
    for study in studies:
        folder, number = study_folder(planner.runs, study.name), 0
        if folder.path.is_dir():
            with folder.locked():
                folder.note_cancelled()
                number = Submitted(folder, planner.runs).cancel()
        logger.info("study {}: {} cancelled", study.name, counted(number, "job"))


def _to_train(study: Study, decisions: Sequence[Decision]) -> list[PlannedRun]:
    chosen = {decision.run_id for decision in decisions if decision.action in TO_TRAIN}
    return [run for run in study.runs if run.run_id in chosen]


def _batches(wanted: Sequence[PlannedRun], planner: Planner, settings: SweepConfig) -> list[list[PlannedRun]]:
    """What is launched together, never an empty batch: launchers refuse it.

    Runs that differ in their evaluation alone come after the one of them that trains. Where a failure must stop the
    rest, runs go one by one.
    """
    if settings.on_failure == "stop":
        return [[run] for run in wanted]
    trained: set[str] = set()
    training: list[PlannedRun] = []
    evaluating: list[PlannedRun] = []
    for run in wanted:
        same = training_id(run.config, planner.facts.fingerprint(run.config))
        (evaluating if same in trained else training).append(run)
        trained.add(same)
    return [batch for batch in (training, evaluating) if batch]


def _report(study: Study, planner: Planner) -> None:
    from alexnet_sweep.report.write import write_report  # and matplotlib with it: only once there is something to draw

    report = write_report(study.name, planner.runs, planner.reports)
    show(report.text)
    logger.info("report: {}", report.path)


def _last_report(study: Study, planner: Planner) -> str:
    """Report what there is, if anything has begun, and say why where that cannot be: it was asked to stop, and does."""
    if not study_folder(planner.runs, study.name).plan.exists():
        return ""
    try:
        _report(study, planner)
    except SweepError as error:
        return f", without a report ({error})"
    return ""


def _undone(runs: Path, wanted: Sequence[PlannedRun]) -> list[str]:
    """Runs without a result, each with its reason."""
    folders = [RunFolder(runs / name) for name in dict.fromkeys(run.run_id for run in wanted)]
    return [f"{folder.run_id} ({_reason(folder)})" for folder in folders if folder.read_result() is None]


def _reason(folder: RunFolder) -> str:
    owner = alive_elsewhere(folder)
    if owner is not None:
        return f"in use by {owner}"
    return str(folder.read_status().get("reason") or in_the_way(folder) or "no reason recorded")


def command() -> str:
    """The command line of this process, as a user would type it."""
    return shlex.join(["python", "-m", "alexnet_sweep", *sys.argv[1:]])
