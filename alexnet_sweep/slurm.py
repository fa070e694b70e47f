"""SLURM's queue: what its commands say, as `alexnet_sweep.queues` puts it. Imports no torch."""

import re
import subprocess
from collections.abc import Mapping

from alexnet_sweep.queues import JobState, QueueError, Seen

ANSWER_SECONDS = 60
# States that no job leaves. Whatever else SLURM calls a job (CONFIGURING, COMPLETING, …) is on its way.
ENDS = {
    "BOOT_FAIL": "lost its node",
    "CANCELLED": "was cancelled",
    "COMPLETED": "ended",
    "DEADLINE": "met its deadline",
    "FAILED": "failed",
    "NODE_FAIL": "lost its node",
    "OUT_OF_MEMORY": "ran out of memory",
    "PREEMPTED": "was preempted",
    "REVOKED": "was revoked",
    "TIMEOUT": "met its time limit",
}
UNKNOWN = Seen(JobState.ENDED, "is not in the queue any more")


class SlurmQueue:
    """The cluster that this machine's SLURM commands talk to."""

    def look(self, jobs: Mapping[str, str]) -> dict[str, Seen]:
        if not jobs:
            return {}
        arrays = ",".join(dict.fromkeys(job.split("_")[0] for job in jobs))
        # -r: a line for each element of an array, waiting ones too; -t all: also what has just ended.
        fields = "JobArrayID:|,State:|,Reason:|,RestartCnt:|,exit_code:|,Name:|"
        listed = _ask("squeue", "-h", "-r", "-t", "all", "-O", fields, "-j", arrays, none="Invalid job id specified")
        seen = {}
        for line in listed.splitlines():
            job, state, reason, restarts, code, name = _words(line, "squeue", 6)
            if jobs.get(job, "") in ("", name):  # else somebody else's, of the same number
                seen[job] = _seen(state, divmod(_number(code, "squeue"), 256), reason, restarts)
        older = {job: name for job, name in jobs.items() if job not in seen}
        return {job: seen[job] for job in jobs if job in seen} | (_remembered(older) if older else {})

    def how_it_ended(self, seen: Seen, log: str) -> str:
        assert seen.why is not None, "an ended job says how it ended"
        # Without cgroups SLURM counts a job that it killed for its memory as failed, and tells of it in the log alone.
        if not seen.well and re.search(r"slurmstepd.*(memory limit|oom.kill)", log, re.IGNORECASE):
            return ENDS["OUT_OF_MEMORY"]
        return seen.why

    def cancel(self, jobs: Mapping[str, str]) -> None:
        live = [job for job, seen in self.look(jobs).items() if seen.live]
        if live:
            _ask("scancel", *live, none="already completing or completed")

    def withdraw(self, name: str) -> int:
        found = _ask("squeue", "-h", "-r", "-O", "JobArrayID:|", "--name", name).split()
        if found:
            _ask("scancel", "--name", name, none="already completing or completed")
        return len(found)


queue = SlurmQueue()


def largest_array() -> int | None:
    """How many jobs an array may have here; 1 where there are no arrays, None where it is not said.

    Raises:
        QueueError: where the cluster cannot be asked.
    """
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.MULTILINE)
    return None if found is None else max(1, int(found[1]))


def _seen(state: str, code_and_signal: tuple[int, int], reason: str = "", restarts: str = "0") -> Seen:
    if state == "PENDING":
        return Seen(JobState.REQUEUED if restarts not in ("", "0") else JobState.PENDING, reason or None)
    if state not in ENDS:
        return Seen(JobState.RUNNING)
    code, signal = code_and_signal
    if code > 128 and not signal:  # as a shell tells of it
        signal = code - 128
    how = ENDS[state]
    if state == "FAILED":
        how = f"was killed (signal {signal})" if signal else f"failed (exit code {code})"
    return Seen(JobState.ENDED, how, well=state == "COMPLETED")


def _words(line: str, command: str, count: int) -> list[str]:
    words = [word.strip() for word in line.split("|", count)][:count]
    if len(words) < count:
        raise QueueError(f"{command}: {line!r} is not understood; {count} fields are expected")
    return words


def _number(word: str, command: str) -> int:
    if not re.fullmatch(r"\d*", word):
        raise QueueError(f"{command}: exit code {word!r} is not understood; a number is expected")
    return int(word or 0)


def _remembered(jobs: Mapping[str, str]) -> dict[str, Seen]:
    """Of jobs that the queue has forgotten, from the accounting; a cluster without one remembers nothing."""
    from submitit.slurm.slurm import SlurmInfoWatcher  # reads ranges of arrays

    arrays = ",".join(dict.fromkeys(job.split("_")[0] for job in jobs))
    try:
        text = _ask("sacct", "-X", "-P", "-o", "JobID,State,ExitCode,JobName", "-j", arrays)
    except QueueError:
        return dict.fromkeys(jobs, UNKNOWN)
    known = SlurmInfoWatcher().read_info(text)
    found = {}
    for job, name in jobs.items():
        told = known.get(job, {})
        state = told.get("State", "").split(" ")[0]  # CANCELLED by 0
        code, _, signal = told.get("ExitCode", "0:0").partition(":")
        ours = name in ("", told.get("JobName"))
        ends = _seen(state, (_number(code, "sacct"), _number(signal, "sacct"))) if state in ENDS else UNKNOWN
        found[job] = ends if ours else UNKNOWN
    return found


def _ask(*command: str, none: str | None = None) -> str:
    """What a command prints; nothing where it fails because there is nothing to tell of, as its words `none` show."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except FileNotFoundError as error:
        raise QueueError(f"{command[0]}: no such command here; ask on a machine of the cluster") from error
    except subprocess.TimeoutExpired as error:
        raise QueueError(f"{command[0]}: no answer within {ANSWER_SECONDS} s") from error
    if done.returncode == 0:
        return done.stdout
    said = " ".join(done.stderr.split())
    if none is not None and none in said:
        return ""
    raise QueueError(f"{command[0]}: {said or f'exit code {done.returncode}'}")
