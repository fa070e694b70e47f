"""Planned runs against run folders: what is done, what goes on, what starts, and why."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from alexnet_sweep.config import Config, SweepConfig
from alexnet_sweep.errors import CannotRead, ConfigError, FolderError, OtherFormat, SweepError
from alexnet_sweep.running import alive_elsewhere
from alexnet_sweep.store import FAILED, RunFolder
from alexnet_sweep.study import PlannedRun
from alexnet_sweep.wording import counted


class Action(StrEnum):
    DONE = "done"
    RUN = "run"
    RESUME = "resume"
    EVALUATE = "evaluate"  # with the weights of another run: `Planner.foreseen` alone tells
    ALIVE = "alive elsewhere"
    GIVEN_UP = "failed too often"
    STALE = "stale"


TO_TRAIN = (Action.RUN, Action.RESUME)
TO_START = (*TO_TRAIN, Action.EVALUATE)
COUNTED_AS = {
    Action.DONE: "done",
    Action.RUN: "to train",
    Action.RESUME: "to resume",
    Action.EVALUATE: "to evaluate",
    Action.ALIVE: "in use elsewhere",
    Action.GIVEN_UP: "failed too often",
    Action.STALE: "of older training code",
}


@dataclass(frozen=True)
class Decision:
    """What happens to a run, why, and whether its folder is emptied first."""

    run_id: str
    action: Action
    why: str
    clear: bool = False
    aside: bool = False  # what is there cannot be read: it is moved away first
    mark: tuple[int, int] | None = None  # of the result that was read, see `RunFolder.result_mark`
    trained_by: str | None = None  # the run whose weights are evaluated, where that is all


def decide(folder: RunFolder, sweep: SweepConfig, sources: str) -> Decision:
    """What a start would do with one run; `sources` is the hash of today's training code.

    Raises:
        OtherFormat, CannotRead: where its folder is of a version that is not read, or cannot be read at the moment: it
            is neither used nor trained again.
    """
    name, retrain = folder.run_id, sweep.retrain
    owner = alive_elsewhere(folder)
    if owner is not None:
        return Decision(name, Action.ALIVE, f"in use by {owner}")
    status = folder.read_status()
    # An interrupted run is gone on with: this may be the retraining itself, stopped and started again.
    if retrain == name and (folder.result.exists() or status.get("state") == FAILED):
        return Decision(name, Action.RUN, "sweep.retrain names it", clear=True)
    mark = folder.result_mark()
    try:
        result = folder.read_result()
        if result is not None:
            folder.check_files(result)
    except (OtherFormat, CannotRead):
        raise
    except FolderError as error:
        return Decision(name, Action.RUN, f"unreadable: {error}", aside=True)
    if result is not None:
        if result.get("source_hash") == sources or sweep.stale == "keep":
            return Decision(name, Action.DONE, "has a result", mark=mark)
        if sweep.stale == "retrain":
            return Decision(name, Action.RUN, "its result is of older training code", clear=True)
        return Decision(name, Action.STALE, "its result is of older training code")
    if status.get("state") == FAILED:
        failures = int(status.get("failures", 1))
        if retrain == FAILED:
            return Decision(name, Action.RUN, "sweep.retrain=failed", clear=True)
        if failures > sweep.retries:
            return Decision(name, Action.GIVEN_UP, f"failed {failures}×: {status.get('reason')}")
        # A checkpoint is saved only where all is well, so that what was trained until then need not be trained again.
        resumes = folder.checkpoint.is_file() and (
            sweep.stale == "keep" or status.get("source_hash") in (None, sources)
        )
        return Decision(name, Action.RUN, f"failed {failures}×, tried again", clear=not resumes)
    if folder.checkpoint.is_file():
        older = status.get("source_hash") not in (None, sources)
        if older and sweep.stale == "stop":
            return Decision(name, Action.STALE, "its checkpoint is of older training code")
        if older and sweep.stale == "retrain":
            return Decision(name, Action.RUN, "its checkpoint is of older training code", clear=True)
        return Decision(name, Action.RESUME, f"stopped in epoch {_epoch(status) + 1}")
    return Decision(name, Action.RUN, "new" if not status else "stopped before its first checkpoint")


def _epoch(status: dict[str, Any]) -> int:
    epoch = status.get("epoch")
    return epoch if isinstance(epoch, int) else 0


def check_retrain(sweep: SweepConfig, known: Callable[[], set[str]]) -> None:
    """Refuse a sweep.retrain that names none of the runs at hand; these are asked for only where it names one.

    Raises:
        ConfigError: with those there are.
    """
    if sweep.retrain in (None, FAILED) or sweep.retrain in (there := known()):
        return
    raise ConfigError(
        f"sweep.retrain={sweep.retrain}: no run of this study; allowed: failed, or one of {', '.join(sorted(there))}"
    )


def decide_all(
    runs: Sequence[PlannedRun],
    runs_folder: Path,
    sweep: SweepConfig,
    sources_of: Callable[[Config], str],
    earlier: Sequence[Decision] = (),
) -> list[Decision]:
    """A decision for every planned run, in order; `sources_of` gives the hash of today's training code of a run.

    Files of runs that were done by `earlier` decisions of this start are not read again while their results are the
    same, and nobody trains them again.

    Raises:
        SweepError: where results of older training code would be mixed with new ones.
    """
    before = {decision.run_id: decision for decision in earlier}
    decisions = []
    for run in runs:
        folder, known = RunFolder(runs_folder / run.run_id), before.get(run.run_id)
        if known is None or not _still_done(folder, known):
            known = decide(folder, sweep, sources_of(run.config))
        decisions.append(known)
    stale = [decision.run_id for decision in decisions if decision.action is Action.STALE]
    if stale:
        raise SweepError(
            f"results of older training code: {len(stale)} of {counted(len(runs), 'run')} ({stale[0]}"
            f"{', …' if len(stale) > 1 else ''}); set sweep.stale=retrain to train them again, or sweep.stale=keep "
            "to use them as they are"
        )
    return decisions


def _still_done(folder: RunFolder, earlier: Decision) -> bool:
    if earlier.action is not Action.DONE or earlier.mark is None:
        return False
    return folder.result_mark() == earlier.mark and alive_elsewhere(folder) is None


def summary(decisions: Sequence[Decision]) -> str:
    """`4 runs: 3 done, 1 to train`."""
    return f"{counted(len(decisions), 'run')}: {in_words(decision.action for decision in decisions)}"


def in_words(actions: Iterable[Action]) -> str:
    """`3 done, 1 to train`."""
    return ", ".join(f"{number:,} {COUNTED_AS[action]}" for action, number in Counter(actions).items())
