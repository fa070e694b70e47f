"""Jobs of a study: recorded, found again, settled in the run folders, cancelled; with a queue made up here."""

import errno
import json
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from alexnet_sweep import machine, submitted, sweep
from alexnet_sweep.errors import CannotWrite, FolderError
from alexnet_sweep.queues import JobState, QueueError, Refused, Seen
from alexnet_sweep.running import alive_elsewhere, claimed
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study import PlannedRun
from alexnet_sweep.study_folder import Job, StudyFolder, study_folder
from alexnet_sweep.submitted import Cluster, Submitted, patiently
from alexnet_sweep.sweep import conduct
from conftest import Main

RUNNING, PENDING = Seen(JobState.RUNNING), Seen(JobState.PENDING, "Priority")
CANCELLED, LOST = Seen(JobState.ENDED, "was cancelled"), Seen(JobState.ENDED, "lost its node")


class MadeUp:
    """A queue that says what it is told to."""

    def __init__(self, **seen: Seen) -> None:
        self.seen, self.cancelled, self.withdrawn = seen, [], []  # type: ignore[var-annotated]

    def look(self, jobs: Mapping[str, str]) -> dict[str, Seen]:
        return {job: self.seen[job] for job in jobs}

    def how_it_ended(self, seen: Seen, log: str) -> str:
        return f"{seen.why}{' loudly' if log else ''}"

    def cancel(self, jobs: Mapping[str, str]) -> None:
        self.cancelled += jobs

    def withdraw(self, name: str) -> int:
        self.withdrawn.append(name)
        return 2


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    made_up = MadeUp()
    monkeypatch.setattr(submitted, "queue_named", lambda name: made_up)
    return made_up


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    return study_folder(tmp_path, "made-up")


def with_jobs(study: StudyFolder, tmp_path: Path, **runs: str) -> Submitted:
    """`with_jobs(…, j1="a")`: job j1 was submitted for run a."""
    study.write_jobs("made-up", [Job(job, run, tmp_path / f"{job}.err") for job, run in runs.items()])
    return Submitted(study, tmp_path)


def test_what_was_recorded_is_read_again(study: StudyFolder, tmp_path: Path) -> None:
    jobs = [Job("7_0", "a", tmp_path / "0.err", "sweep-1"), Job("7_1", "b", study.job_logs / "1.err", "sweep-1")]
    assert study.read_jobs() is None
    study.write_jobs("slurm", jobs)
    assert study.read_jobs() == ("slurm", jobs, None)
    study.write_jobs("slurm", jobs, submitting="sweep-2")
    assert study.read_jobs() == ("slurm", jobs, "sweep-2")
    assert str(tmp_path) not in study.jobs.read_text()  # the folder may be moved


@pytest.mark.parametrize(
    "text", ["{}", '{"format": 9, "queue": "slurm", "jobs": []}', '{"format": 1, "queue": "s"}', "x"]
)
def test_a_damaged_record_is_one_line(study: StudyFolder, text: str) -> None:
    study.path.mkdir(parents=True)
    study.jobs.write_text(text)
    with pytest.raises(FolderError, match=r"jobs\.json") as caught:
        study.read_jobs()
    assert "\n" not in str(caught.value)


def finished(folder: RunFolder, job: str) -> None:
    """As a job leaves a run that it has finished."""
    folder.path.mkdir()
    folder.status.write_text(f'{{"state": "done", "job": "{job}"}}')
    folder.result.write_text("{}")


def test_the_last_job_of_a_run_counts(study: StudyFolder, tmp_path: Path, queue: MadeUp) -> None:
    jobs = with_jobs(study, tmp_path, j1="a", j2="b", j3="a", j4="c")
    queue.seen |= {"j2": CANCELLED, "j3": RUNNING}
    finished(RunFolder(tmp_path / "c"), "j4")  # its job has done what it was for: nobody is asked
    assert {run: job.job for run, job in jobs.live().items()} == {"a": "j3"}


def test_a_run_that_is_trained_again_is_waited_for_though_it_has_a_result(
    study: StudyFolder, tmp_path: Path, queue: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(RunFolder(tmp_path / "a"), "j1")
    jobs = with_jobs(study, tmp_path, j1="a", j2="a")
    queue.seen["j2"] = PENDING
    assert jobs.live()["a"].job == "j2"

    def passes(_: float) -> None:
        queue.seen["j2"] = CANCELLED

    monkeypatch.setattr(submitted.time, "sleep", passes)
    jobs.wait()
    assert queue.seen["j2"] is CANCELLED
    assert jobs.settle() == {"a": "job j2 was cancelled; its result is the earlier one"}
    queue.seen["j2"] = RUNNING
    assert jobs.cancel() == 1 and queue.cancelled == ["j2"]


def test_nothing_submitted_asks_no_queue(study: StudyFolder, tmp_path: Path) -> None:
    jobs = Submitted(study, tmp_path)
    assert jobs.live() == {} and jobs.cancel() == 0
    jobs.settle()
    assert list(tmp_path.iterdir()) == []


def started(folder: RunFolder, monkeypatch: pytest.MonkeyPatch, job: str) -> None:
    """As a job that trains the run in a process that is gone without a word."""
    monkeypatch.setenv(machine.QUEUE_JOB, job)
    with claimed(folder, 3):
        status = folder.status.read_bytes()
    monkeypatch.delenv(machine.QUEUE_JOB)
    folder.status.write_bytes(status)


def test_a_job_cut_off_leaves_its_reason(
    study: StudyFolder, tmp_path: Path, queue: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = with_jobs(study, tmp_path, j1="a", j2="b")
    queue.seen |= {"j1": LOST, "j2": CANCELLED}
    (tmp_path / "j1.err").write_text("said something")
    started(RunFolder(tmp_path / "a"), monkeypatch, "j1")
    jobs.settle()
    one, other = (RunFolder(tmp_path / name).read_status() for name in "ab")
    assert one["state"] == other["state"] == "interrupted"
    assert one["reason"] == "job j1 lost its node loudly"
    assert other["reason"] == "job j2 was cancelled"  # before it started
    assert one["attempts"] == 1 and one["epochs"] == 3  # what the run has recorded itself stays


def test_a_run_that_goes_on_elsewhere_or_has_failed_is_left_alone(
    study: StudyFolder, tmp_path: Path, queue: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = with_jobs(study, tmp_path, j1="a", j2="b")
    queue.seen |= {"j1": CANCELLED, "j2": CANCELLED}
    started(RunFolder(tmp_path / "a"), monkeypatch, "another")
    monkeypatch.setenv(machine.QUEUE_JOB, "j2")
    with pytest.raises(ValueError, match="no luck"), claimed(RunFolder(tmp_path / "b"), 3):
        raise ValueError("no luck")
    before = [RunFolder(tmp_path / name).read_status() for name in "ab"]
    jobs.settle()
    assert [RunFolder(tmp_path / name).read_status() for name in "ab"] == before


def test_a_reason_is_that_of_the_last_job(
    study: StudyFolder, tmp_path: Path, queue: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(RunFolder(tmp_path / "a"), monkeypatch, "j1")
    jobs = with_jobs(study, tmp_path, j1="a")
    queue.seen["j1"] = CANCELLED
    jobs.settle()
    assert RunFolder(tmp_path / "a").read_status()["reason"] == "job j1 was cancelled"
    jobs = with_jobs(study, tmp_path, j1="a", j2="a")
    queue.seen["j2"] = LOST  # before it started
    jobs.settle()
    assert RunFolder(tmp_path / "a").read_status()["reason"] == "job j2 lost its node"


def test_runs_that_were_removed_since_are_not_waited_for(
    study: StudyFolder, tmp_path: Path, queue: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = with_jobs(study, tmp_path, j1="a", j2="b")
    queue.seen |= dict.fromkeys(("j1", "j2"), Seen(JobState.ENDED, "ended", well=True))
    monkeypatch.setattr(submitted.time, "sleep", lambda seconds: pytest.fail("waits"))
    jobs.settle()
    assert not (tmp_path / "a").exists()


def test_results_on_their_way_are_waited_for_together(
    study: StudyFolder, tmp_path: Path, queue: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = with_jobs(study, tmp_path, j1="a", j2="b")
    queue.seen |= {"j1": RUNNING, "j2": RUNNING}
    jobs.live()
    queue.seen |= dict.fromkeys(("j1", "j2"), Seen(JobState.ENDED, "ended", well=True))
    now = [0.0]
    monkeypatch.setattr(submitted.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(submitted.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    jobs.settle()
    assert now[0] == submitted.ARRIVAL_SECONDS


def test_a_queue_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [QueueError("squeue: no answer within 60 s"), QueueError("squeue: no answer within 60 s"), "here"]

    def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, QueueError):
            raise answer
        return answer

    monkeypatch.setattr(submitted.time, "sleep", lambda seconds: None)
    assert patiently(ask) == "here" and not answers


def test_a_queue_that_refuses_is_not_asked_again() -> None:
    def ask() -> None:
        raise Refused("too many jobs")

    with pytest.raises(Refused):
        patiently(ask)


def test_a_job_of_another_study_is_waited_for_and_not_cancelled(
    study: StudyFolder, tmp_path: Path, queue: MadeUp
) -> None:
    other = study_folder(tmp_path, "another")
    with_jobs(other, tmp_path, j1="a", j2="b", j3="c")
    queue.seen |= {"j1": PENDING, "j2": CANCELLED, "j3": RUNNING, "j4": RUNNING}
    jobs = with_jobs(study, tmp_path, j4="d")
    assert jobs.adopt({"a", "b"}) == {"a"}
    assert {run: job.job for run, job in Submitted(study, tmp_path).live().items()} == {"a": "j1", "d": "j4"}
    assert jobs.adopt({"a", "b"}) == {"a"} and len(jobs.jobs) == 2  # recorded once
    assert jobs.cancel() == 1 and queue.cancelled == ["j4"]
    assert Submitted(other, tmp_path).adopt({"a", "c", "d"}) == {"d"}  # and not its own ones back
    assert Submitted(other, tmp_path).cancel() == 2 and queue.cancelled == ["j4", "j1", "j3"]


def test_cancelling_is_for_what_is_in_the_queue(study: StudyFolder, tmp_path: Path, queue: MadeUp) -> None:
    jobs = with_jobs(study, tmp_path, j1="a", j2="b", j3="c")
    queue.seen |= {"j1": RUNNING, "j2": PENDING, "j3": CANCELLED}
    assert jobs.cancel() == 2 and queue.cancelled == ["j1", "j2"]


def planned(number: int) -> PlannedRun:
    return cast(PlannedRun, SimpleNamespace(run_id=f"run{number}", overrides=(f"seed={number}",)))


def test_a_submission_is_named_before_it_is_made_and_recorded_before_anybody_is_stopped(
    study: StudyFolder, tmp_path: Path, queue: MadeUp
) -> None:
    names = []

    def submit(batch: list[list[str]], folder: Path, name: str) -> list[tuple[str, Path]]:
        names.append(name)
        assert study.read_jobs() == ("made-up", [], name)
        os.kill(os.getpid(), signal.SIGINT)
        return [("7_0", folder / "log")]

    with pytest.raises(KeyboardInterrupt):
        Submitted(study, tmp_path).submit([planned(0)], Cluster("made-up", submit, 1, "sweep"))
    assert names[0].startswith("sweep-")
    assert study.read_jobs() == ("made-up", [Job("7_0", "run0", study.job_logs / "log", names[0])], None)


def test_what_cannot_be_recorded_is_withdrawn(study: StudyFolder, tmp_path: Path, queue: MadeUp) -> None:
    def submit(batch: list[list[str]], folder: Path, name: str) -> list[tuple[str, Path]]:
        raise QueueError("accepted, and then the disk was full")

    with pytest.raises(QueueError, match="disk was full"):
        Submitted(study, tmp_path).submit([planned(0)], Cluster("made-up", submit, 1, "sweep"))
    assert len(queue.withdrawn) == 1
    assert study.read_jobs() == ("made-up", [], None)


def test_the_next_start_withdraws_what_a_killed_one_has_left(study: StudyFolder, tmp_path: Path, queue: MadeUp) -> None:
    study.write_jobs("made-up", [], submitting="sweep-1")
    Submitted(study, tmp_path).withdraw()
    assert queue.withdrawn == ["sweep-1"] and study.read_jobs() == ("made-up", [], None)
    Submitted(study, tmp_path).withdraw()
    assert queue.withdrawn == ["sweep-1"]


def test_a_requeued_job_takes_its_own_run_for_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "a")
    started(folder, monkeypatch, "7_0")
    text = folder.status.read_text().replace(f'"host": "{machine.host()}"', '"host": "a node that is gone"')
    folder.status.write_text(text)
    assert alive_elsewhere(folder) is not None  # its heartbeat is fresh
    monkeypatch.setenv(machine.QUEUE_JOB, "7_0")
    assert alive_elsewhere(folder) is None


# --- a sweep and a queue in which nothing runs ---


class Idle(MadeUp):
    """Jobs of it wait at the first look, and are cancelled after that."""

    def __init__(self) -> None:
        super().__init__()
        self.submitted: list[list[str]] = []

    def submit(self, batch: list[list[str]], folder: Path, name: str) -> list[tuple[str, Path]]:
        numbers = range(len(self.submitted), len(self.submitted) + len(batch))
        self.submitted += batch
        return [(f"j{number}", folder / "no.err") for number in numbers]

    def look(self, jobs: Mapping[str, str]) -> dict[str, Seen]:
        found = {job: self.seen.get(job, PENDING) for job in jobs}
        self.seen |= dict.fromkeys(jobs, CANCELLED)
        return found


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> Idle:
    made_up = Idle()
    monkeypatch.setattr(submitted, "queue_named", lambda name: made_up)
    cluster = Cluster("made-up", made_up.submit, 1, "sweep")
    monkeypatch.setattr(sweep, "conduct", lambda *asked, **how: conduct(*asked, **(how | {"cluster": cluster})))
    monkeypatch.setattr(submitted, "FIRST_POLL_SECONDS", 0.01)
    return made_up


ONE = ("-m", "seed=0", "model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1", "eval.clean_train_images=0")


def test_a_run_whose_retraining_was_cancelled_is_told_of(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    assert main(*ONE) == 0
    (result,) = Path("runs").glob("*/result.json")
    queue: Idle = request.getfixturevalue("idle")
    assert main(*ONE, f"sweep.retrain={result.parent.name}") == 1
    assert len(queue.submitted) == 1
    assert "job j0 was cancelled; its result is the earlier one" in capsys.readouterr().err


@pytest.mark.parametrize("full", [False, True])
def test_a_start_that_waits_obeys_a_cancellation_on_a_full_disk_too(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], idle: Idle, full: bool
) -> None:
    def no_room(*_: object) -> None:
        raise CannotWrite(Path("reports"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    if full:
        monkeypatch.setattr("alexnet_sweep.report.write.write_report", no_room)

    def somebody_cancels(_: float) -> None:
        (plan,) = Path("runs/_studies").glob("*/plan.json")
        StudyFolder(plan.parent).note_cancelled()

    monkeypatch.setattr(submitted.time, "sleep", somebody_cancels)
    two = ("eval.mirrored_views=true,false",)  # the second is only evaluated, once the first has trained
    assert main(*ONE, *two) == 130
    assert len(idle.submitted) == 1
    without = ", without a report (reports: cannot be written: the disk is full" if full else "; the same command"
    assert f"cancelled meanwhile by sweep.cancel=true{without}" in capsys.readouterr().err


def test_a_run_that_another_study_has_in_the_queue_is_not_submitted_again(
    main: Main, capsys: pytest.CaptureFixture[str], idle: Idle
) -> None:
    assert main(*ONE, "sweep.wait=false") == 0
    two = (ONE[0], "seed=0,1", *ONE[2:])
    idle.seen.clear()
    assert main(*two, "sweep.wait=false") == 0
    assert "1 job submitted, 1 were in the queue" in capsys.readouterr().err
    assert [overrides[0] for overrides in idle.submitted] == ["seed=0", "seed=1"]


@pytest.mark.parametrize("when", ["while it runs", "once it has ended"])
def test_a_run_whose_folder_goes_is_submitted_again(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], idle: Idle, when: str
) -> None:
    usual = Idle.submit

    def submit(self: Idle, batch: list[list[str]], folder: Path, name: str) -> list[tuple[str, Path]]:
        run = RunFolder(Path("runs") / json.loads((folder.parent / "plan.json").read_text())["runs"][0]["run_id"])
        with suppress(FolderError), claimed(run, 1):
            if when == "while it runs":
                shutil.rmtree(run.path)
        if when != "while it runs":
            shutil.rmtree(run.path)
        return usual(self, batch, folder, name)

    def look(jobs: Mapping[str, str]) -> dict[str, Seen]:
        how = Seen(JobState.ENDED, "failed (exit code 1)", well=when != "while it runs")
        return dict.fromkeys(jobs, how)

    monkeypatch.setattr(Idle, "submit", submit)
    monkeypatch.setattr(idle, "look", look)
    monkeypatch.setattr(submitted, "ARRIVAL_SECONDS", 0.0)
    cluster = Cluster("made-up", idle.submit, 1, "sweep")
    monkeypatch.setattr(sweep, "conduct", lambda *asked, **how: conduct(*asked, **(how | {"cluster": cluster})))
    assert main(*ONE) == 1
    assert len(idle.submitted) == 2  # sweep.retries=1
    told = "deleted or moved while in use" if when == "while it runs" else "no reason recorded"
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_no_more_are_submitted_at_a_time_than_asked_for(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    made_up = Idle()

    def submit(batch: list[list[str]], folder: Path, name: str) -> list[tuple[str, Path]]:
        batches.append(len(batch))
        return made_up.submit(batch, folder, name)

    monkeypatch.setattr(submitted, "queue_named", lambda name: made_up)
    monkeypatch.setattr(submitted, "FIRST_POLL_SECONDS", 0.01)
    cluster = Cluster("made-up", submit, 1, "sweep", most=2)
    monkeypatch.setattr(sweep, "conduct", lambda *asked, **how: conduct(*asked, **(how | {"cluster": cluster})))
    assert main(ONE[0], "seed=0,1,2,3,4", *ONE[2:]) == 1  # all are cancelled
    assert batches == [2, 2, 1]


def test_what_a_queue_does_not_take_at_once_is_submitted_later(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = Idle()

    def submit(batch: list[list[str]], folder: Path, name: str) -> list[tuple[str, Path]]:
        return made_up.submit(batch[:3], folder, name)

    monkeypatch.setattr(submitted, "queue_named", lambda name: made_up)
    monkeypatch.setattr(submitted, "FIRST_POLL_SECONDS", 0.01)
    cluster = Cluster("made-up", submit, 1, "sweep")
    monkeypatch.setattr(sweep, "conduct", lambda *asked, **how: conduct(*asked, **(how | {"cluster": cluster})))
    assert main(ONE[0], "seed=0,1,2,3,4", *ONE[2:]) == 1
    assert len(made_up.submitted) == len({tuple(overrides) for overrides in made_up.submitted}) == 5
