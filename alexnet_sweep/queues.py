"""A cluster's queue as the rest of the program sees it: what became of a job, and cancelling it. Imports no torch.

Which scheduler it is, only the module that `queue_named` imports knows, and the launcher that submits to it.
"""

import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from alexnet_sweep.errors import FolderError, SweepError
from alexnet_sweep.files import check_is_file
from alexnet_sweep.running import left_by
from alexnet_sweep.store import FAILED, RunFolder
from alexnet_sweep.study_folder import Job

LOG_TAIL_BYTES = 65536  # how a job was killed stands at the end
QUEUES = {"slurm": "alexnet_sweep.slurm"}


class QueueError(SweepError):
    """A queue that cannot be asked, or refuses."""


class Refused(QueueError):
    """A queue that does not take a job: asking again does not help."""


class JobState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    REQUEUED = "requeued"  # it has run, and waits to run again
    ENDED = "ended"


@dataclass(frozen=True)
class Seen:
    """A job as its queue sees it."""

    state: JobState
    why: str | None = None  # of a waiting job the queue's own word, of an ended one how it ended
    well: bool = False  # it ended by itself, without an error

    @property
    def live(self) -> bool:
        return self.state is not JobState.ENDED


class Queue(Protocol):
    """What is asked of a scheduler."""

    def look(self, jobs: Mapping[str, str]) -> dict[str, Seen]:
        """Every one of these jobs, given with their names ("" where that is not known); one that is gone has ended.

        Raises:
            QueueError: where the queue cannot be asked.
        """

    def how_it_ended(self, seen: Seen, log: str) -> str:
        """Of a job that has ended, in the light of what stands in its log: `was cancelled`."""

    def cancel(self, jobs: Mapping[str, str]) -> None:
        """Cancel these jobs, given with their names; those that have ended are left alone.

        Raises:
            QueueError: where the queue refuses.
        """

    def withdraw(self, name: str) -> int:
        """Cancel all jobs of this name; how many there were.

        Raises:
            QueueError: where the queue refuses.
        """


def queue_named(name: str) -> Queue:
    """
    Raises:
        FolderError: where there is no such queue: whatever named it was written by another version.
    """
    if name not in QUEUES:
        raise FolderError(f"queue {name!r}: not known; have: {', '.join(QUEUES)}")
    queue: Queue = importlib.import_module(QUEUES[name]).queue
    return queue


def cut_off(folder: RunFolder, job: Job, earlier: Collection[str], seen: Seen, queue: Queue) -> str | None:
    """Why a run without a result was cut off by the end of its last job; None where it was not, or tells why itself.

    `earlier` are the jobs before that one: what they have left says nothing of it.
    """
    status = folder.read_status()
    if seen.live or status.get("state") == FAILED or (seen.well and status.get("job") != job.job):
        return None  # an end without an error and without a word: its files have been removed since
    if status and status.get("job") != job.job and not left_by(folder, earlier):
        return None
    try:
        check_is_file(job.log)
        with job.log.open("rb") as stream:
            stream.seek(max(0, job.log.stat().st_size - LOG_TAIL_BYTES))
            log = stream.read().decode(errors="replace")
    except OSError:  # it never started
        log = ""
    return f"job {job.job} {queue.how_it_ended(seen, log)}"
