"""What SLURM's commands print, as states of jobs; no cluster is asked."""

import subprocess
from typing import Any

import pytest

from alexnet_sweep import slurm
from alexnet_sweep.queues import JobState, QueueError, Seen, queue_named


class Commands:
    """Stands in for the commands: what each prints, and what was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, []  # type: ignore[var-annotated]

    def __call__(self, command: Any, **_: Any) -> "subprocess.CompletedProcess[str]":
        self.asked.append(list(command))
        answer = self.answers[command[0]]
        if isinstance(answer, Exception):
            raise answer
        code, text = answer
        return subprocess.CompletedProcess(command, code, text if code == 0 else "", text if code else "")


def asking(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> Commands:
    commands = Commands(**answers)
    monkeypatch.setattr(slurm.subprocess, "run", commands)
    return commands


LISTED = """7_0|RUNNING|None|0|0|sweep-1|
7_1|PENDING|JobArrayTaskLimit|0|0|sweep-1|
7_2|PENDING|BeginTime|1|0|sweep-1|
7_3|COMPLETING|None|0|0|sweep-1|
8|COMPLETED|None|0|0|sweep-1|
9|FAILED|NonZeroExitCode|0|768|sweep-1|
10|FAILED|NonZeroExitCode|0|35072|sweep-1|
11|FAILED|JobLaunchFailure|0|9|sweep-1|
12|CANCELLED|None|0|15|sweep-1|
"""


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("7_0", Seen(JobState.RUNNING)),
        ("7_1", Seen(JobState.PENDING, "JobArrayTaskLimit")),
        ("7_2", Seen(JobState.REQUEUED, "BeginTime")),
        ("7_3", Seen(JobState.RUNNING)),
        ("8", Seen(JobState.ENDED, "ended", well=True)),
        ("9", Seen(JobState.ENDED, "failed (exit code 3)")),
        ("10", Seen(JobState.ENDED, "was killed (signal 9)")),
        ("11", Seen(JobState.ENDED, "was killed (signal 9)")),
        ("12", Seen(JobState.ENDED, "was cancelled")),
    ],
)
def test_a_job_in_the_queue_has_a_state(monkeypatch: pytest.MonkeyPatch, job: str, expected: Seen) -> None:
    asking(monkeypatch, squeue=(0, LISTED))
    assert slurm.queue.look({job: ""}) == {job: expected}


def test_what_the_queue_has_forgotten_the_accounting_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = "JobID|State|ExitCode\n7_0|COMPLETED|0:0\n7_[1-3%2]|CANCELLED by 0|0:0\n9|OUT_OF_MEMORY|0:125\n"
    asking(monkeypatch, squeue=(1, "slurm_load_jobs error: Invalid job id specified"), sacct=(0, remembered))
    found = slurm.queue.look(dict.fromkeys(["7_0", "7_2", "9", "10"], ""))
    assert {job: seen.why for job, seen in found.items()} == {
        "7_0": "ended",
        "7_2": "was cancelled",
        "9": "ran out of memory",
        "10": "is not in the queue any more",
    }
    assert not any(seen.live for seen in found.values())


def test_a_job_of_the_same_number_and_another_name_is_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = "JobID|State|ExitCode|JobName\n7_0|COMPLETED|0:0|other\n9|FAILED|1:0|sweep-2\n"
    commands = asking(monkeypatch, squeue=(0, LISTED), sacct=(0, remembered), scancel=(0, ""))
    found = slurm.queue.look({"7_0": "sweep-2", "7_1": "sweep-1", "9": "sweep-2"})
    assert found["7_0"] == slurm.UNKNOWN and found["7_1"].live
    assert found["9"] == Seen(JobState.ENDED, "failed (exit code 1)")
    slurm.queue.cancel({"7_0": "sweep-2"})
    assert "scancel" not in [command[0] for command in commands.asked]


def test_what_carries_a_name_is_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = asking(monkeypatch, squeue=(0, "7_0|\n7_1|\n"), scancel=(0, ""))
    assert slurm.queue.withdraw("sweep-1") == 2
    assert commands.asked[-1] == ["scancel", "--name", "sweep-1"]
    asking(monkeypatch, squeue=(0, ""))
    assert slurm.queue.withdraw("sweep-1") == 0


@pytest.mark.parametrize(("said", "expected"), [("1001", 1001), ("0", 1), ("50", 50)])
def test_a_cluster_says_how_large_an_array_may_be(monkeypatch: pytest.MonkeyPatch, said: str, expected: int) -> None:
    config = f"MailProg                = /bin/mail\nMaxArraySize            = {said}\nMaxJobCount = 10000\n"
    asking(monkeypatch, scontrol=(0, config))
    assert slurm.largest_array() == expected
    asking(monkeypatch, scontrol=(0, "nothing of the kind"))
    assert slurm.largest_array() is None


@pytest.mark.parametrize("line", ["7|FAILED|None|0|1:0|a|", "7|FAILED", "slurm_load_jobs: something new"])
def test_what_is_not_understood_is_one_line(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    asking(monkeypatch, squeue=(0, f"{line}\n"))
    with pytest.raises(QueueError, match=r"squeue: .* is not understood; .* expected"):
        slurm.queue.look({"7": ""})


def test_a_cluster_without_accounting_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    asking(monkeypatch, squeue=(0, ""), sacct=(1, "Slurm accounting storage is disabled"))
    assert slurm.queue.look({"7": ""}) == {"7": slurm.UNKNOWN}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (FileNotFoundError(), "squeue: no such command here"),
        (subprocess.TimeoutExpired("squeue", 60), "squeue: no answer within 60 s"),
        ((1, "slurm_load_jobs error: Unable to contact\nslurm controller"), "Unable to contact slurm controller"),
    ],
)
def test_a_queue_that_cannot_be_asked_is_one_line(monkeypatch: pytest.MonkeyPatch, answer: Any, says: str) -> None:
    asking(monkeypatch, squeue=answer)
    with pytest.raises(QueueError, match=says) as caught:
        slurm.queue.look({"7": ""})
    assert "\n" not in str(caught.value)


def test_only_what_is_live_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = asking(monkeypatch, squeue=(0, LISTED), scancel=(0, ""))
    slurm.queue.cancel(dict.fromkeys(["7_0", "7_2", "8", "12"], ""))
    assert commands.asked[-1] == ["scancel", "7_0", "7_2"]
    commands.asked.clear()
    slurm.queue.cancel({"8": ""})
    assert [command[0] for command in commands.asked] == ["squeue"]


def test_a_log_tells_of_memory_where_the_state_does_not() -> None:
    failed = Seen(JobState.ENDED, "failed (exit code 137)")
    assert slurm.queue.how_it_ended(failed, "slurmstepd-node1: error: exceeded memory limit") == "ran out of memory"
    assert slurm.queue.how_it_ended(failed, "Traceback: about a memory limit") == "failed (exit code 137)"


def test_the_queue_is_found_by_its_name() -> None:
    assert queue_named("slurm") is slurm.queue
    with pytest.raises(Exception, match="queue 'abacus': not known; have: slurm"):
        queue_named("abacus")
