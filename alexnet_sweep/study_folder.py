"""Names, writes and reads the files of a study's folder, runs/_studies/<name>/. Imports no torch.

plan.json       which runs the study needs, so that a report can tell which are missing
jobs.json       which jobs of a cluster's queue carry them out, whose logs lie in jobs/
cancelled       a new word each time the study is cancelled

Beside the folders of all studies lies the lock under which jobs are submitted: two studies may share a run.
"""

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_sweep import formats
from alexnet_sweep.errors import FolderError, OtherFormat, one_line
from alexnet_sweep.files import names_a_folder, read_file, read_json, take_digest, with_digest, write_json, write_text
from alexnet_sweep.locks import held

LOCK_PATIENCE_SECONDS = 300.0
STUDY_FILES = ("plan.json", "jobs.json", "cancelled")


@dataclass(frozen=True)
class Job:
    """A job of a cluster's queue that was submitted for a run."""

    job: str
    run_id: str
    log: Path
    name: str = ""  # that its queue knows it by: numbers are used again, and by every cluster
    study: str = ""  # that has submitted it, where it is another one


@dataclass(frozen=True)
class StudyFolder:
    """The plan of a study, from which a report can tell which runs are missing."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def jobs(self) -> Path:
        return self.path / "jobs.json"

    @property
    def job_logs(self) -> Path:
        return self.path / "jobs"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held while jobs are submitted or cancelled, so that no two starts, of any studies, submit the same.

        Raises:
            FolderError: where another process does not let go of it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with held(self.path.parent / ".jobs.lock", LOCK_PATIENCE_SECONDS):
            yield

    def others(self) -> "list[StudyFolder]":
        """Other studies that have submitted jobs."""
        found = sorted(file.parent for file in self.path.parent.glob("*/jobs.json"))
        return [StudyFolder(path) for path in found if path != self.path]

    def note_cancelled(self) -> None:
        """Let starts that wait know that the study is cancelled."""
        write_text(self.path / "cancelled", uuid.uuid4().hex)

    def last_cancelled(self) -> str | None:
        """Another word after each time that it was cancelled."""
        try:
            return read_file(self.path / "cancelled").decode(errors="replace")
        except OSError:
            return None

    def write_jobs(self, queue: str, jobs: Sequence[Job], submitting: str | None = None) -> None:
        """What this study has submitted to a queue, in that order, and under which name it is about to submit."""
        listed = [
            {"job": job.job, "run_id": job.run_id, "name": job.name, "log": os.path.relpath(job.log, self.path)}
            | ({"study": job.study} if job.study else {})
            for job in jobs
        ]
        write_json(
            self.jobs, {"format": formats.JOBS.written, "queue": queue, "submitting": submitting, "jobs": listed}
        )

    def read_jobs(self) -> tuple[str, list[Job], str | None] | None:
        """The queue's name, the jobs, and the name of a submission that nobody has seen through; None without any.

        Raises:
            FolderError: where the file cannot be trusted.
        """
        found = read_json(self.jobs)
        if found is None:
            return None
        try:
            formats.check(formats.JOBS, found["format"], self.jobs)
            jobs = [
                Job(
                    str(job["job"]),
                    str(job["run_id"]),
                    Path(os.path.normpath(self.path / job["log"])),
                    str(job.get("name", "")),
                    str(job.get("study", "")),
                )
                for job in found["jobs"]
            ]
            submitting = found.get("submitting")
            return str(found["queue"]), jobs, None if submitting is None else str(submitting)
        except (KeyError, TypeError, ValueError) as error:
            raise FolderError(
                f"{self.jobs}: cannot be read ({one_line(error)}); cancel the study's jobs by hand and delete the file"
            ) from error

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Write the plan, in place of an earlier one; see `check_plan` for one that is left alone."""
        write_json(self.plan, with_digest(plan | {"format": formats.PLAN.written}))

    def check_plan(self) -> None:
        """Refuse to go on with a study whose plan is of another version; a damaged plan is written anew.

        Raises:
            OtherFormat: saying so.
        """
        try:
            self.read_plan()
        except OtherFormat:
            raise
        except FolderError:
            pass

    def read_plan(self) -> dict[str, Any]:
        """The plan.

        Raises:
            OtherFormat: where it is of a version that is not read.
            FolderError: where there is none, naming the studies there are, or it is damaged.
        """
        plan = read_json(self.plan)
        if plan is None:
            around = self.path.parent
            known = sorted(item.name for item in around.iterdir() if item.is_dir()) if around.is_dir() else []
            raise FolderError(f"{self.path}: no study of that name; have: {', '.join(known) or 'none yet'}")
        formats.check(formats.PLAN, plan.get("format"), self.plan)
        whole = take_digest(plan)
        if whole is False or (whole is None and plan["format"] > 1):
            raise FolderError(f"{self.plan}: damaged, its digest is another; start the sweep again to mend it")
        return plan


def study_folder(runs: Path, name: str) -> StudyFolder:
    """
    Raises:
        FolderError: where the name would lead out of the folder of studies.
    """
    if not names_a_folder(name):
        raise FolderError(f"{name!r}: not the name of a study; give a folder name below {runs / '_studies'}")
    return StudyFolder(runs / "_studies" / name)
