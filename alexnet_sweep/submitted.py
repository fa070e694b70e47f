"""What a study has handed to a cluster's queue: submitted once, found again by a later start, waited for, cancelled.

Results are never taken from a job: they lie in the run folders. Imports no torch.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from loguru import logger

from alexnet_sweep.queues import QueueError, Refused, Seen, cut_off, queue_named
from alexnet_sweep.running import InUse, note_cut_off
from alexnet_sweep.stopping import not_interrupted
from alexnet_sweep.store import DONE, FAILED, INTERRUPTED, RunFolder
from alexnet_sweep.study import PlannedRun
from alexnet_sweep.study_folder import Job, StudyFolder
from alexnet_sweep.wording import counted

# Submits override lists as jobs that log into a folder, under a name; returns the job and the log of each, in order, of
# as many as the queue takes at once.
Submit = Callable[[list[list[str]], Path, str], list[tuple[str, Path]]]
Answer = TypeVar("Answer")

FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 1.0, 15.0
ARRIVAL_SECONDS = 15.0  # what another host has written may be seen that late on a shared file system


@dataclass(frozen=True)
class Cluster:
    """A launcher that submits to a queue and does not wait."""

    queue: str  # a name in `alexnet_sweep.queues`
    submit: Submit
    tasks: int  # processes that it starts for each job
    name: str  # of its jobs; each submission adds a word of its own
    most: int | None = None  # jobs of the study in the queue at a time


class Submitted:
    """The jobs of one study, as its folder records them."""

    def __init__(self, folder: StudyFolder, runs: Path) -> None:
        """
        Raises:
            FolderError: where the record cannot be read, or names a queue that is not known.
        """
        self.folder, self.runs = folder, runs
        self.awaited: set[str] = set()  # jobs that were seen here before they ended
        self._read()

    def _read(self) -> None:
        found = self.folder.read_jobs()
        self.jobs: list[Job] = [] if found is None else found[1]
        self.submitting = None if found is None else found[2]
        self.queue = None if found is None else queue_named(found[0])

    def look(self) -> dict[str, tuple[Job, Seen]]:
        """The last job of every run that has one, as its queue sees it; not of runs that this job has finished.

        A run that is trained again keeps its earlier result until its job starts.

        Raises:
            QueueError: where the queue cannot be asked.
        """
        if self.queue is None:
            return {}
        last = {job.run_id: job for job in self.jobs}
        open_ones = [job for job in last.values() if not self._finished_by(job)]
        seen = self.queue.look({job.job: job.name for job in open_ones})
        return {job.run_id: (job, seen[job.job]) for job in open_ones}

    def _finished_by(self, job: Job) -> bool:
        folder = RunFolder(self.runs / job.run_id)
        if not folder.result.exists():
            return False
        status = folder.read_status()
        return status.get("state") == DONE and status.get("job") == job.job

    def live(self) -> dict[str, Job]:
        """Jobs that are in the queue, by the run that they carry out.

        Raises:
            QueueError: where the queue cannot be asked.
        """
        found = {name: job for name, (job, seen) in self.look().items() if seen.live}
        self.awaited |= {job.job for job in found.values()}
        return found

    def adopt(self, wanted: Collection[str]) -> set[str]:
        """Record jobs that other studies have in the queue for these runs; which runs they carry out.

        They are waited for as this study's own, and not cancelled with it. The caller holds the study folder's lock.

        Raises:
            FolderError: where another study's record cannot be read.
            QueueError: where the queue cannot be asked.
        """
        adopted: set[str] = set()
        for other in self.folder.others():
            theirs = Submitted(other, self.runs)
            theirs.jobs = [job for job in theirs.jobs if job.run_id in wanted and not job.study]
            found = [replace(job, study=other.name) for name, job in theirs.live().items() if name not in adopted]
            if not found:
                continue
            recorded = other.read_jobs()
            assert recorded is not None, "it has jobs"
            known = {job.job for job in self.jobs}
            self.folder.write_jobs(recorded[0], [*self.jobs, *(job for job in found if job.job not in known)])
            self._read()
            self.awaited |= {job.job for job in found}
            adopted |= {job.run_id for job in found}
            logger.info("{} of study {} carried out here as well", counted(len(found), "job"), other.name)
        return adopted

    def settle(self) -> dict[str, str]:
        """Record in the run folders why jobs that have ended left no result, where that is not known.

        Returns, by run, what became of a job that was to train it again and has left its earlier result untouched.

        Raises:
            QueueError: where the queue cannot be asked.
        """
        untouched = {}
        late = time.monotonic() + ARRIVAL_SECONDS  # for all of them together
        for name, (job, seen) in self.look().items():
            folder = RunFolder(self.runs / name)
            if seen.well and job.job in self.awaited and folder.read_status().get("job") in (None, job.job):
                self._wait_for_files(folder, job.job, late)
            if folder.result.exists():
                if not (seen.live or seen.well) and folder.read_status().get("job") != job.job:
                    untouched[name] = f"job {job.job} {seen.why}; its result is the earlier one"
                continue
            reason = self.why_cut_off(job, seen)
            if reason is not None:
                try:
                    note_cut_off(folder, reason, job.job, self._earlier(job))
                except InUse as error:
                    logger.warning("{}", error)
        return untouched

    def why_cut_off(self, job: Job, seen: Seen) -> str | None:
        """Why the run of a job has no result, if its end is the cause."""
        assert self.queue is not None, "it has jobs"
        return cut_off(RunFolder(self.runs / job.run_id), job, self._earlier(job), seen, self.queue)

    def _earlier(self, job: Job) -> set[str]:
        return {other.job for other in self.jobs if other.run_id == job.run_id} - {job.job}

    def _wait_for_files(self, folder: RunFolder, job: str, late: float) -> None:
        """Until what the run's job has written last is seen here."""
        while time.monotonic() < late and not folder.result.exists():
            status = folder.read_status()
            if status.get("job") not in (None, job) or status.get("state") in (FAILED, INTERRUPTED):
                return
            time.sleep(FIRST_POLL_SECONDS)
            if folder.path.is_dir():
                any(folder.path.iterdir())  # asks the file server anew

    def submit(self, batch: Sequence[PlannedRun], cluster: Cluster) -> set[str]:
        """Submit as many of these runs as the queue takes at once, and record their jobs; which runs those are.

        The caller holds the study folder's lock.

        Being asked to stop waits until they are recorded. What cannot be recorded is withdrawn, by its name: at once,
        or by the next start if this process does not live to do it.

        Raises:
            Refused: where the queue does not take them.
        """
        name = f"{cluster.name}-{uuid.uuid4().hex[:12]}"
        with not_interrupted():
            self.folder.write_jobs(cluster.queue, self.jobs, submitting=name)
            try:
                submitted = cluster.submit([list(run.overrides) for run in batch], self.folder.job_logs, name)
                new = [Job(job, run.run_id, log, name) for run, (job, log) in zip(batch, submitted, strict=False)]
                self.folder.write_jobs(cluster.queue, [*self.jobs, *new])
            except BaseException:
                self._read()
                try:
                    self.withdraw()
                except QueueError as error:
                    logger.warning("{}; the next start cancels what was submitted as {}", error, name)
                raise
        self._read()
        self.awaited |= {job.job for job in new}
        names = new[0].job if len(new) == 1 else f"{new[0].job} … {new[-1].job}"
        logger.info("submitted {}: {}", counted(len(new), "job"), names)
        return {job.run_id for job in new}

    def withdraw(self) -> None:
        """Cancel what a submission has left in the queue that was never recorded.

        Raises:
            QueueError: where the queue refuses.
        """
        if self.submitting is None or self.queue is None:
            return
        number = self.queue.withdraw(self.submitting)
        if number:
            logger.warning("{} of a submission that was cut off cancelled", counted(number, "job"))
        found = self.folder.read_jobs()
        assert found is not None, "it names the submission"
        self.folder.write_jobs(found[0], self.jobs)
        self._read()

    def wait(self) -> None:
        """Until no job of the study is in the queue; a queue that is away is waited for."""
        began, told = time.monotonic(), ""
        while True:
            counts = Counter(str(seen.state) for _, seen in patiently(self.look).values() if seen.live)
            if not counts:
                return
            words = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
            if words != told:
                logger.info("in the queue: {}", words)
            told = words
            elapsed = time.monotonic() - began
            time.sleep(min(LONGEST_POLL_SECONDS, max(FIRST_POLL_SECONDS, elapsed / 10)))

    def cancel(self) -> int:
        """Cancel what this study has submitted and is in the queue; how many jobs those were.

        Raises:
            QueueError: where the queue refuses.
        """
        self.withdraw()
        jobs = {job.job: job.name for job in self.live().values() if not job.study}
        if self.queue is not None and jobs:
            self.queue.cancel(jobs)
        return len(jobs)


def patiently(ask: Callable[[], Answer]) -> Answer:
    """What a question to a queue gives, as late as the queue can be asked.

    Raises:
        Refused: where it answers that it takes no job.
    """
    trouble = ""
    while True:
        try:
            return ask()
        except Refused:
            raise
        except QueueError as error:
            if str(error) != trouble:
                logger.warning("{}; asking again", error)
            trouble = str(error)
        time.sleep(LONGEST_POLL_SECONDS)
