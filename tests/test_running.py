"""Who runs a run: one live process at a time, whatever becomes of it, of its clock and of its folder."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alexnet_sweep import machine
from alexnet_sweep.errors import CannotWrite, FolderError
from alexnet_sweep.locks import DEAD_AFTER_SECONDS
from alexnet_sweep.running import alive_elsewhere, claimed, running_below
from alexnet_sweep.store import RunFolder

RUN = "0123456789ab"

CLAIMANT = """
import sys
from pathlib import Path
from alexnet_sweep.running import claimed
from alexnet_sweep.store import RunFolder

with claimed(RunFolder(Path(sys.argv[1])), 3):
    print("claimed", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs" / RUN)


@pytest.fixture
def claimant(folder):
    """Another process that has claimed the run, and keeps it until it is told on its stdin."""
    with subprocess.Popen(
        [sys.executable, "-c", CLAIMANT, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "claimed\n"
            yield process
        finally:
            process.kill()


def claim_and_raise(folder, error):
    with claimed(folder, 3):
        raise error


def write_status(folder, **changes):
    """A status written by hand: running, in a process of this machine that is alive (our parent)."""
    parent = os.getppid()
    status = {
        "state": "running",
        "heartbeat": time.time(),
        "host": machine.host(),
        "boot": machine.boot(),
        "process": parent,
        "process_started": machine.started(parent),
        "attempts": 2,
        "failures": 1,
    }
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.status.write_text(json.dumps(status | changes))


@pytest.mark.parametrize("text", ["", "{", "[]"], ids=repr)
def test_a_status_that_cannot_be_read_counts_as_none(folder, text):
    folder.path.mkdir(parents=True)
    folder.status.write_text(text)
    assert folder.read_status() == {} and alive_elsewhere(folder) is None


def test_a_claim_that_ends_well_is_done(folder):
    with claimed(folder, 3):
        assert folder.read_status()["state"] == "running"
    assert folder.read_status()["state"] == "done"


def test_a_claim_whose_block_raises_is_failed_with_its_reason(folder):
    with pytest.raises(ValueError, match="no\nluck"):
        claim_and_raise(folder, ValueError("no\nluck"))
    status = folder.read_status()
    assert (status["state"], status["reason"], status["failures"]) == ("failed", "ValueError: no luck", 1)


def test_an_interrupted_claim_is_interrupted_and_no_failure(folder):
    with pytest.raises(KeyboardInterrupt):
        claim_and_raise(folder, KeyboardInterrupt())
    status = folder.read_status()
    assert (status["state"], status["failures"]) == ("interrupted", 0)


def placed_anew(folder):
    """Somebody deletes the folder of a run, and another process begins that run; what it has written."""
    shutil.rmtree(folder.path)
    folder.path.mkdir()
    (folder.path / "status.json").write_text("another's")
    return {"status.json": b"another's"}


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.path.iterdir()}


@pytest.mark.parametrize(
    "error",
    [ValueError("no luck"), KeyboardInterrupt(), CannotWrite(Path("x"), OSError(errno.ENOSPC, "")), None],
    ids=["failed", "interrupted", "full", "done"],
)
def test_a_claim_on_a_folder_that_is_another_by_now_writes_nothing_into_it(folder, error):
    with pytest.raises((FolderError, ValueError, KeyboardInterrupt)) as caught, claimed(folder, 3):
        anothers = placed_anew(folder)
        if error is not None:
            raise error
    assert files_in(folder) == anothers
    assert caught.value is error or "deleted or moved while in use" in str(caught.value)


def test_a_folder_that_is_another_before_it_is_claimed_keeps_its_results(folder):
    anothers = {}

    def meanwhile():
        anothers.update(placed_anew(folder))
        folder.result.write_text("another's")
        return True

    with pytest.raises(FolderError, match="deleted or moved while in use"), claimed(folder, 3, admit=meanwhile):
        pytest.fail("it is another's")
    assert files_in(folder) == anothers | {"result.json": b"another's"}


def test_no_other_folder_passes_for_the_claimed_one(folder):
    with pytest.raises(FolderError, match="deleted or moved while in use"), claimed(folder, 3) as claim:
        for _ in range(20):  # numbers of deleted folders are given again
            placed_anew(folder)
        claim.own()


def test_attempts_and_failures_count_over_claims(folder):
    seen = []
    for error in (ValueError(), KeyboardInterrupt(), ValueError()):
        with pytest.raises(type(error)):
            claim_and_raise(folder, error)
        seen.append(tuple(folder.read_status()[key] for key in ("attempts", "failures")))
    with claimed(folder, 3) as claim:
        seen.append((claim.attempts, claim.failures))
    assert seen == [(1, 1), (2, 1), (3, 2), (4, 2)]


def test_a_start_removes_what_a_killed_one_has_left_half_written(folder):
    folder.path.mkdir(parents=True)
    for name in (".checkpoint.pt.a1b2_3cd", ".status.json.________", ".mine.a1b2_3cd", ".checkpoint.pt.short"):
        (folder.path / name).write_bytes(b"half")
    with claimed(folder, 3):
        found = {path.name for path in folder.path.iterdir()}
    assert found == {".lock", "status.json", ".mine.a1b2_3cd", ".checkpoint.pt.short"}


def test_a_beat_records_progress(folder):
    with claimed(folder, 3) as claim:
        claim.beat(force=True, epoch=2, images_per_second=81.5)
        status = folder.read_status()
    assert (status["epoch"], status["epochs"], status["images_per_second"]) == (2, 3, 81.5)


def test_beats_in_quick_succession_write_once_but_forget_nothing(folder):
    with claimed(folder, 3) as claim:
        claim.beat(epoch=2)
        assert folder.read_status()["epoch"] == 0
    assert folder.read_status()["epoch"] == 2


def test_the_status_names_host_process_and_job(folder, monkeypatch):
    monkeypatch.setenv(machine.QUEUE_JOB, "4711")
    with claimed(folder, 3):
        status = folder.read_status()
    assert (status["host"], status["process"], status["job"]) == (machine.host(), os.getpid(), "4711")


def test_a_live_claimant_elsewhere_is_named_and_a_second_one_refused(folder, claimant):
    owner = f"{machine.host()} process {claimant.pid}"
    assert alive_elsewhere(folder) == owner
    with pytest.raises(FolderError, match=f"in use by {owner}"), claimed(folder, 3):
        pytest.fail("claimed twice")
    assert folder.read_status()["process"] == claimant.pid


def test_after_the_claimant_ends_the_run_can_be_claimed(folder, claimant):
    claimant.communicate("go on\n")
    assert folder.read_status()["state"] == "done"
    with claimed(folder, 3) as claim:
        assert claim.attempts == 2


def test_after_the_claimant_is_killed_the_run_can_be_claimed(folder, claimant):
    claimant.kill()
    claimant.wait()
    assert folder.read_status()["state"] == "running" and alive_elsewhere(folder) is None
    with claimed(folder, 3) as claim:
        assert (claim.attempts, claim.failures) == (2, 0)


def test_a_run_of_this_process_is_not_alive_elsewhere(folder):
    with claimed(folder, 3):
        assert alive_elsewhere(folder) is None


def test_a_living_process_of_this_machine_holds_its_run_however_old_its_heartbeat(folder):
    write_status(folder, heartbeat=time.time() - 10 * DEAD_AFTER_SECONDS)
    assert alive_elsewhere(folder) == f"{machine.host()} process {os.getppid()}"


@pytest.mark.parametrize(
    "change",
    [{"process_started": 1.0}, {"boot": "another boot"}, {"state": "interrupted"}],
    ids=["reused process id", "before a restart", "not running"],
)
def test_a_process_id_alone_does_not_hold_a_run(folder, change):
    write_status(folder, **change)
    assert alive_elsewhere(folder) is None


def test_a_fresh_heartbeat_on_another_host_is_alive(folder):
    write_status(folder, host="node7", process=42, heartbeat=time.time() - DEAD_AFTER_SECONDS / 2)
    assert alive_elsewhere(folder) == "node7 process 42"


def test_an_old_heartbeat_on_another_host_is_dead(folder):
    write_status(folder, host="node7", process=42, heartbeat=time.time() - DEAD_AFTER_SECONDS - 1)
    assert alive_elsewhere(folder) is None
    with claimed(folder, 3) as claim:
        assert (claim.attempts, claim.failures) == (3, 1)


# --- disks, clocks, and folders that go ---


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_no_more_interrupts_a_run_and_is_no_failure_of_it(folder, number):
    with pytest.raises(CannotWrite, match=r"cannot be written: .*start again, the same command goes on from there"):
        claim_and_raise(folder, OSError(number, "no"))
    status = folder.read_status()
    assert (status["state"], status["failures"]) == ("interrupted", 0) and "cannot be written" in status["reason"]


def test_any_other_error_of_a_disk_is_a_failure(folder):
    with pytest.raises(OSError):
        claim_and_raise(folder, OSError(errno.EIO, "broken"))
    assert folder.read_status()["state"] == "failed"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the clock is all there is")
def test_a_clock_that_is_set_leaves_a_live_claimant_its_run(folder, claimant, monkeypatch):
    monkeypatch.setattr("psutil.Process.create_time", lambda self: time.time() + 3600)
    assert alive_elsewhere(folder) == f"{machine.host()} process {claimant.pid}"


def test_only_a_process_below_this_one_that_is_at_work_on_the_run_is_this_sweep_s(folder, claimant):
    assert running_below([folder]) == {claimant.pid} and not running_below([])
    claimant.communicate("\n")
    assert not running_below([folder])
    write_status(folder)  # of our parent: another sweep's
    assert alive_elsewhere(folder) is not None and not running_below([folder])


def test_a_process_that_has_ended_is_not_below_this_one_even_if_nobody_has_noticed():
    with subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process.pid not in machine.below()


def test_a_process_that_is_not_there_has_not_started():
    assert machine.started(2**30) is None and machine.started(os.getpid()) == machine.started(os.getpid())


def test_a_heartbeat_far_in_the_future_is_dead(folder):
    write_status(folder, host="node7", process=42, heartbeat=time.time() + DEAD_AFTER_SECONDS + 60)
    assert alive_elsewhere(folder) is None


def test_a_claim_removes_what_a_killed_process_was_writing(folder):
    folder.path.mkdir(parents=True)
    (folder.path / ".checkpoint.pt.abcd1234").write_bytes(b"half")
    with claimed(folder, 3):
        assert not list(folder.path.glob(".checkpoint.pt.*"))


@pytest.mark.parametrize("again", [False, True], ids=["gone", "another in its place"])
def test_a_beat_in_a_folder_that_was_deleted_is_refused(folder, again):
    with pytest.raises(FolderError, match="deleted or moved while in use"), claimed(folder, 3) as claim:
        folder.path.rename(folder.path.parent / "elsewhere")
        if again:
            folder.path.mkdir()
        claim.beat(force=True)
    if again:
        assert not folder.status.exists()
    else:  # whoever waits for the run is told why
        status = folder.read_status()
        assert (status["state"], status["failures"]) == ("failed", 1) and "deleted or moved" in status["reason"]
        assert files_in(folder).keys() == {"status.json", ".lock"}
