"""How far the runs of a study are: its files are read again and again, and only what has changed. No torch.

Where a study has jobs in a cluster's queue, the queue is asked too, every few seconds.
"""

import csv
import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alexnet_sweep import machine
from alexnet_sweep.errors import FolderError, one_line
from alexnet_sweep.files import names_a_folder, read_file
from alexnet_sweep.queues import QueueError, Seen
from alexnet_sweep.running import alive_elsewhere
from alexnet_sweep.store import DONE, FAILED, INTERRUPTED, RUNNING, RunFolder
from alexnet_sweep.study_folder import Job, StudyFolder, study_folder
from alexnet_sweep.submitted import Submitted
from alexnet_sweep.wording import counted, duration

WAITING, DEAD, UNREADABLE = "waiting", "dead", "unreadable"
STATES = (DONE, RUNNING, WAITING, FAILED, INTERRUPTED, DEAD, UNREADABLE)
TO_DO = (WAITING, INTERRUPTED, DEAD)  # what a sweep still starts, or goes on with
ASK_QUEUE_SECONDS = 5.0
READERS = 16  # on a shared file system most of the time is waiting for the server

Stamp = tuple[int, ...] | None


@dataclass(frozen=True)
class Planned:
    """A run as the plan names it."""

    run_id: str
    arm_id: str
    arm: str
    seed: int | str


@dataclass(frozen=True)
class Row:
    """What is known of one planned run; errors are fractions, of the centre view."""

    run_id: str
    arm_id: str
    arm: str
    seed: int | str
    state: str
    epoch: int | None = None  # the one it is in, from 1
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    packed_fraction: float | None = None  # of its data set, while that is being packed
    error: float | None = None
    error_of: str | None = None  # test, held-out or train
    images_per_second: float | None = None
    seconds_left: float | None = None
    whole_seconds: float | None = None  # from the first step to the last, at the pace seen
    host: str | None = None
    process: int | None = None
    reason: str | None = None
    queue: str | None = None  # pending, running or requeued, and why, where its job is in a cluster's queue


class Reader:
    """Rows of a study, time and again; what has not changed since is not read again."""

    def __init__(self, runs: Path, study: str | None) -> None:
        """
        Raises:
            FolderError: where there is no such study, or none at all.
        """
        self.runs = runs
        self.folder = newest_study(runs) if study is None else study_folder(runs, study)
        self._plan_stamp = _stamp(self.folder.plan)
        self._planned = planned_runs(self.folder)
        self._known: dict[Planned, tuple[tuple[Stamp, ...], Row]] = {}
        self._jobs_stamp: Stamp = None
        self._submitted: Submitted | None = None
        self._jobs: dict[str, tuple[Job, Seen]] = {}
        self._asked = -math.inf
        self.trouble: str | None = None  # why the queue could not be asked

    def rows(self) -> list[Row]:
        """One for every planned run, in the plan's order."""
        self._look_at_plan()
        self._look_at_queue()
        with ThreadPoolExecutor(READERS) as pool:
            return [self._in_the_queue(row) for row in pool.map(self._row, self._planned)]

    def _look_at_queue(self) -> None:
        stamp = _stamp(self.folder.jobs)
        if stamp is None or (stamp == self._jobs_stamp and time.monotonic() - self._asked < ASK_QUEUE_SECONDS):
            return
        try:
            if self._submitted is None or stamp != self._jobs_stamp:
                self._submitted = Submitted(self.folder, self.runs)
            self._jobs, self.trouble = self._submitted.look(), None
        except (FolderError, QueueError) as error:
            self._jobs, self.trouble = {}, str(error)
        self._jobs_stamp, self._asked = stamp, time.monotonic()

    def _in_the_queue(self, row: Row) -> Row:
        """The row with what the queue says of its job."""
        if row.run_id not in self._jobs:
            return row
        assert self._submitted is not None, "it has jobs"
        job, seen = self._jobs[row.run_id]
        if seen.live:
            told = None if row.state == INTERRUPTED else row.reason  # why it was interrupted is no news any more
            return replace(row, queue=f"{seen.state} ({seen.why})" if seen.why else str(seen.state), reason=told)
        if row.state == DONE:  # trained again, and its job has left what was there
            return row
        reason = self._submitted.why_cut_off(job, seen)
        return row if reason is None else replace(row, state=INTERRUPTED, reason=reason, seconds_left=None)

    def _look_at_plan(self) -> None:
        stamp = _stamp(self.folder.plan)
        if stamp == self._plan_stamp:
            return
        try:
            self._planned = planned_runs(self.folder)
            self._plan_stamp = stamp
        except (FolderError, OSError):
            pass  # gone or damaged meanwhile: the runs are still those we know

    def _row(self, planned: Planned) -> Row:
        folder = RunFolder(self.runs / planned.run_id)
        stamps = _stamps(folder)
        known = self._known.get(planned)
        if known is not None and known[0] == stamps and _still_true(known[1], folder):
            return known[1]
        row = read_row(planned, folder)
        self._known[planned] = stamps, row
        return row


def _stamps(folder: RunFolder) -> tuple[Stamp, ...]:
    """Of the files that a row depends on: of a finished run one alone, so that it costs one question."""
    result = _stamp(folder.result)
    return (result,) if result is not None else (None, _stamp(folder.status), _stamp(folder.metrics))


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except (OSError, ValueError):  # a name with a null byte is no file either
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _still_true(row: Row, folder: RunFolder) -> bool:
    """Whether the row of a run whose files have not changed stands: its process may have gone, a read succeed now."""
    if row.state != RUNNING:
        return row.state != UNREADABLE
    try:
        return alive_elsewhere(folder) is not None
    except (FolderError, OSError, ValueError, TypeError, OverflowError):
        return False


def newest_study(runs: Path) -> StudyFolder:
    """The study that was planned last.

    Raises:
        FolderError: where there is none.
    """
    plans = [(_stamp(plan) or (), plan) for plan in sorted((runs / "_studies").glob("*/plan.json"))]
    if not plans:
        raise FolderError(f"{runs}: no study yet; --runs says where run folders lie, a sweep (-m) makes a study")
    return StudyFolder(max(plans)[1].parent)


def planned_runs(study: StudyFolder) -> list[Planned]:
    """The runs of a plan with the labels of their arms.

    Raises:
        FolderError: where there is no such plan, or not one that names its runs.
    """
    plan = study.read_plan()
    try:
        labels = {str(arm["arm_id"]): str(arm["label"]) for arm in plan["arms"]}
        runs = [(str(run["run_id"]), str(run["arm_id"]), run["seed"]) for run in plan["runs"]]
    except (KeyError, TypeError) as error:
        raise FolderError(
            f"{study.plan}: names no runs ({one_line(error)}); start the sweep again to mend it"
        ) from error
    if not all(names_a_folder(name) for name, _, _ in runs):
        raise FolderError(f"{study.plan}: a run_id that is no folder's name; start the sweep again to mend it")
    return [
        Planned(name, arm, labels.get(arm, arm), seed if isinstance(seed, int) else str(seed))
        for name, arm, seed in runs
    ]


def read_row(planned: Planned, folder: RunFolder) -> Row:
    """A run as its files show it at this moment; never raises, whatever is in them."""
    bare = Row(planned.run_id, planned.arm_id, planned.arm, planned.seed, WAITING)
    try:
        # In this order: a run that ends in between is then done, and not for a moment without a result.
        status = folder.read_status()
        result = folder.read_result()
        if result is not None:
            return _finished(bare, status, result)
        if not status:
            there = folder.status.is_file()
            return replace(bare, state=UNREADABLE, reason=f"{folder.status.name}: not valid") if there else bare
        state, reason = _state(folder, status)
        if state is None:  # another status by now
            return read_row(planned, folder)
        return _unfinished(bare, folder, status, state, reason)
    except (FolderError, OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        return replace(bare, state=UNREADABLE, reason=one_line(error))


def _state(folder: RunFolder, status: dict[str, Any]) -> tuple[str | None, str | None]:
    """State and reason of a run without a result; no state where its status has just changed."""
    state = status.get("state")
    if state == RUNNING:
        if alive_elsewhere(folder) is not None:
            return RUNNING, None
        if folder.read_status() != status:
            return None, None
        if status.get("host") == machine.host():
            return DEAD, f"process {status.get('process')} is gone"
        silent = _number(status.get("heartbeat"))
        return DEAD, "no heartbeat" + (f" for {duration(time.time() - silent)}" if silent is not None else "")
    if state == DONE:
        return WAITING, None  # its result was taken away
    if state == FAILED:
        return FAILED, str(status.get("reason") or "no reason recorded")
    if state == INTERRUPTED:
        return INTERRUPTED, status.get("reason") and str(status["reason"])
    return UNREADABLE, f"{folder.status.name}: state {state!r}"


def _finished(bare: Row, status: dict[str, Any], result: dict[str, Any]) -> Row:
    epochs, steps = _whole(result.get("epochs")), _whole(result.get("steps"))
    error: Any = result
    for key in ("errors", "test", "centre", "top1_error"):
        error = error.get(key) if isinstance(error, dict) else None
    error = _number(error)
    return replace(
        _with_progress(bare, status),
        state=DONE,
        epoch=epochs,
        epochs=epochs,
        step=steps,
        steps=steps,
        packed_fraction=None,
        error=error,
        error_of=None if error is None else "test",
    )


def _unfinished(bare: Row, folder: RunFolder, status: dict[str, Any], state: str, reason: str | None) -> Row:
    if state == WAITING:
        return bare
    row = replace(_with_progress(bare, status), state=state, reason=reason)
    if state == RUNNING and row.whole_seconds is not None and row.step is not None and row.steps:
        row = replace(row, seconds_left=row.whole_seconds * max(0.0, 1 - row.step / row.steps))
    error, kind = _last_error(folder)
    return replace(row, error=error, error_of=kind)


def _with_progress(bare: Row, status: dict[str, Any]) -> Row:
    epoch, epochs = _whole(status.get("epoch")), _whole(status.get("epochs"))
    step, steps = _whole(status.get("step")), _whole(status.get("steps"))
    packed, to_pack = _number(status.get("packed")), _number(status.get("to_pack"))
    pace = _seconds_a_step(status)
    host = status.get("host")
    return replace(
        bare,
        epoch=None if epoch is None or epochs is None else min(epoch + 1, epochs),
        epochs=epochs,
        step=step,
        steps=steps,
        packed_fraction=packed / to_pack if step is None and packed is not None and to_pack else None,
        images_per_second=_number(status.get("images_per_second")),
        whole_seconds=None if pace is None or steps is None else pace * steps,
        host=None if host is None else str(host),
        process=_whole(status.get("process")),
    )


def _seconds_a_step(status: dict[str, Any]) -> float | None:
    """Over this attempt, by the clock of the host that runs it: clocks of two hosts are never compared."""
    step, first = _number(status.get("step")), _number(status.get("first_step"))
    started, heartbeat = _number(status.get("started")), _number(status.get("heartbeat"))
    if first is None:
        if status.get("attempts") != 1:
            return None  # it may have gone on from a checkpoint: nobody knows from which step
        first = 0.0
    if step is None or started is None or heartbeat is None or step <= first or heartbeat <= started:
        return None
    return (heartbeat - started) / (step - first)


def _last_error(folder: RunFolder) -> tuple[float | None, str | None]:
    """Of the last whole row of metrics: held out if there is such a part, else on clean training images."""
    try:
        text = read_file(folder.metrics).decode()
    except (OSError, UnicodeDecodeError):
        return None, None
    rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    for key, kind in (("heldout_top1_error", "held-out"), ("clean_train_top1_error", "train")):
        error = _number(rows[-1].get(key)) if rows else None
        if error is not None:
            return error, kind
    return None, None


def _number(value: Any) -> float | None:
    """A finite number, or None for whatever else a file may hold there."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


# --- what the rows come to ---


def seconds_left(rows: Sequence[Row]) -> float | None:
    """Until all is done, if as many runs go on at a time as do now; None where nothing tells."""
    running = [row for row in rows if row.state == RUNNING]
    seen = [row.whole_seconds for row in rows if row.state in (DONE, RUNNING) and row.whole_seconds is not None]
    if not running or not seen:
        return None
    typical = statistics.median(seen)
    going_on = [typical if row.seconds_left is None else row.seconds_left for row in running]
    to_start = [typical * max(0.0, 1 - (row.step or 0) / (row.steps or 1)) for row in rows if row.state in TO_DO]
    return max(*going_on, (sum(going_on) + sum(to_start)) / len(running))


def summary(rows: Sequence[Row]) -> str:
    """`12 runs: 7 done, 1 running, 4 waiting; about 14 min left`."""
    left = seconds_left(rows)
    whole = f"{counted(len(rows), 'run')}: {by_state(rows)}"
    return whole if left is None else f"{whole}; about {duration(left)} left"


def by_state(rows: Sequence[Row]) -> str:
    """`7 done, 1 running, 4 waiting`."""
    counts = Counter(row.state for row in rows)
    return ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts[state]) or "none planned"
