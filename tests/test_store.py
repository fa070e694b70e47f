import csv
import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alexnet_sweep import formats, machine
from alexnet_sweep.errors import CannotWrite, FolderError
from alexnet_sweep.locks import DEAD_AFTER_SECONDS
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_folder import study_folder
from hand_made import errors_of

RUN = "0123456789ab"

CLAIMANT = """
import sys
from pathlib import Path
from alexnet_sweep.store import RunFolder

with RunFolder(Path(sys.argv[1])).claimed(3):
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
    with folder.claimed(3):
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


# --- writing and reading back ---


def test_every_file_lies_in_the_run_folder_under_its_own_name(folder):
    files = [folder.config, folder.status, folder.metrics, folder.predictions, folder.result, folder.provenance]
    files += [folder.checkpoint, folder.weights, folder.log, folder.failure]
    assert {file.parent for file in files} == {folder.path}
    assert len({file.name for file in files}) == len(files)


finite = st.floats(allow_nan=False)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.tuples(finite, finite), min_size=1, max_size=5))
def test_metrics_read_back_are_the_same_floats(folder, values):
    rows = [{"epoch": n, "train_loss": a, "learning_rate": b} for n, (a, b) in enumerate(values)]
    folder.write_metrics(rows)
    with folder.metrics.open(newline="") as stream:
        read = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
    assert read == rows


def test_metrics_keep_the_order_of_their_columns(folder):
    folder.write_metrics([{"epoch": 1, "train_loss": 0.5, "heldout_top1_error": None}])
    assert folder.metrics.read_text() == "epoch,train_loss,heldout_top1_error\n1,0.5,\n"


def test_config_read_back_is_what_was_written(folder):
    config = {"seed": 0, "data": {"path": None, "name": "digits"}, "init": {"conv_std": [0.01, 1e-5]}, "lrn": "on"}
    folder.write_config(config)
    read = yaml.safe_load(folder.config.read_text())
    assert read == config and list(read) == list(config)


def test_predictions_read_back_are_what_was_written(folder):
    table = pa.table({"image_id": ["a", "b"], "rank": pa.array([0, 3], pa.int16()), "probability": [0.25, 1e-7]})
    folder.write_predictions(table)
    assert folder.read_predictions(["image_id", "rank", "probability"]).equals(table)


def test_predictions_are_read_by_column(folder):
    folder.write_predictions(pa.table({"image_id": ["a"], "rank": [1]}))
    assert folder.read_predictions(["rank"]).column_names == ["rank"]


def test_the_same_predictions_are_the_same_bytes(folder):
    table = pa.table({"image_id": ["a", "b"], "rank": [1, 2]})
    folder.write_predictions(table)
    first = folder.predictions.read_bytes()
    folder.write_predictions(table)
    assert folder.predictions.read_bytes() == first


def test_a_result_read_back_is_what_was_written(folder):
    result = {"errors": {"test": {"top1_error": 1 / 3}}, "epochs": 90}
    folder.write_result(result)
    assert folder.read_result() == {"format": formats.RUN.written, "run_id": RUN, "files": {}, **result}


def test_a_run_that_is_not_done_has_no_result(folder):
    assert folder.read_result() is None


def test_provenance_read_back_is_what_was_written(folder):
    folder.write_provenance({"device": "cpu"})
    assert folder.read_provenance() == {"device": "cpu"}


def test_provenance_that_is_not_there_is_empty(folder):
    assert folder.read_provenance() == {}


def test_clearing_leaves_the_log_and_no_record(folder):
    folder.write_result({})
    folder.write_metrics([{"epoch": 1}])
    folder.write_provenance({})
    for file in (folder.checkpoint, folder.weights, folder.predictions, folder.failure, folder.log):
        file.write_bytes(b"x")
    folder.clear()
    assert [file.name for file in folder.path.iterdir()] == [folder.log.name]


def test_clearing_a_run_that_never_started_does_nothing(folder):
    folder.clear()
    assert not folder.path.exists()


# --- what cannot be trusted ---


def test_a_result_of_another_run_is_refused(folder):
    folder.write_result({})
    folder.result.write_text(json.dumps(json.loads(folder.result.read_text()) | {"run_id": "another"}))
    with pytest.raises(FolderError, match=r"result\.json: of run another; expected run 0123.* Move the folder"):
        folder.read_result()


@pytest.mark.parametrize("text", ["", '{"format": 1', "[]", "null", "\ufffd"], ids=repr)
def test_a_damaged_result_is_refused_with_its_path(folder, text):
    folder.path.mkdir(parents=True)
    folder.result.write_text(text)
    with pytest.raises(FolderError) as caught:
        folder.read_result()
    assert str(caught.value).startswith(f"{folder.result}: not ") and "move its folder away" in str(caught.value)


def test_a_result_of_bytes_that_are_no_text_is_refused_with_its_path(folder):
    folder.path.mkdir(parents=True)
    folder.result.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(FolderError, match=r"result\.json: not valid JSON"):
        folder.read_result()


def test_predictions_that_are_not_there_are_refused_with_their_path(folder):
    with pytest.raises(FolderError, match=r"predictions\.parquet: cannot be read"):
        folder.read_predictions(["rank"])


def test_damaged_predictions_are_refused_with_their_path(folder):
    folder.write_predictions(pa.table({"rank": [1, 2, 3]}))
    folder.predictions.write_bytes(folder.predictions.read_bytes()[:-9])
    with pytest.raises(FolderError, match=r"predictions\.parquet: cannot be read"):
        folder.read_predictions(["rank"])


@pytest.mark.parametrize("text", ["", "{", "[]"], ids=repr)
def test_a_status_that_cannot_be_read_counts_as_none(folder, text):
    folder.path.mkdir(parents=True)
    folder.status.write_text(text)
    assert folder.read_status() == {} and folder.alive_elsewhere() is None


# --- claims ---


def test_a_claim_that_ends_well_is_done(folder):
    with folder.claimed(3):
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
    with pytest.raises((FolderError, ValueError, KeyboardInterrupt)) as caught, folder.claimed(3):
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

    with pytest.raises(FolderError, match="deleted or moved while in use"), folder.claimed(3, admit=meanwhile):
        pytest.fail("it is another's")
    assert files_in(folder) == anothers | {"result.json": b"another's"}


def test_no_other_folder_passes_for_the_claimed_one(folder):
    with pytest.raises(FolderError, match="deleted or moved while in use"), folder.claimed(3) as claim:
        for _ in range(20):  # numbers of deleted folders are given again
            placed_anew(folder)
        claim.check_there()


def test_attempts_and_failures_count_over_claims(folder):
    seen = []
    for error in (ValueError(), KeyboardInterrupt(), ValueError()):
        with pytest.raises(type(error)):
            claim_and_raise(folder, error)
        seen.append(tuple(folder.read_status()[key] for key in ("attempts", "failures")))
    with folder.claimed(3) as claim:
        seen.append((claim.attempts, claim.failures))
    assert seen == [(1, 1), (2, 1), (3, 2), (4, 2)]


def test_a_start_removes_what_a_killed_one_has_left_half_written(folder):
    folder.path.mkdir(parents=True)
    for name in (".checkpoint.pt.a1b2_3cd", ".status.json.________", ".mine.a1b2_3cd", ".checkpoint.pt.short"):
        (folder.path / name).write_bytes(b"half")
    with folder.claimed(3):
        found = {path.name for path in folder.path.iterdir()}
    assert found == {".lock", "status.json", ".mine.a1b2_3cd", ".checkpoint.pt.short"}


def test_a_beat_records_progress(folder):
    with folder.claimed(3) as claim:
        claim.beat(force=True, epoch=2, images_per_second=81.5)
        status = folder.read_status()
    assert (status["epoch"], status["epochs"], status["images_per_second"]) == (2, 3, 81.5)


def test_beats_in_quick_succession_write_once_but_forget_nothing(folder):
    with folder.claimed(3) as claim:
        claim.beat(epoch=2)
        assert folder.read_status()["epoch"] == 0
    assert folder.read_status()["epoch"] == 2


def test_the_status_names_host_process_and_job(folder, monkeypatch):
    monkeypatch.setenv(machine.QUEUE_JOB, "4711")
    with folder.claimed(3):
        status = folder.read_status()
    assert (status["host"], status["process"], status["job"]) == (machine.host(), os.getpid(), "4711")


def test_a_live_claimant_elsewhere_is_named_and_a_second_one_refused(folder, claimant):
    owner = f"{machine.host()} process {claimant.pid}"
    assert folder.alive_elsewhere() == owner
    with pytest.raises(FolderError, match=f"in use by {owner}"), folder.claimed(3):
        pytest.fail("claimed twice")
    assert folder.read_status()["process"] == claimant.pid


def test_after_the_claimant_ends_the_run_can_be_claimed(folder, claimant):
    claimant.communicate("go on\n")
    assert folder.read_status()["state"] == "done"
    with folder.claimed(3) as claim:
        assert claim.attempts == 2


def test_after_the_claimant_is_killed_the_run_can_be_claimed(folder, claimant):
    claimant.kill()
    claimant.wait()
    assert folder.read_status()["state"] == "running" and folder.alive_elsewhere() is None
    with folder.claimed(3) as claim:
        assert (claim.attempts, claim.failures) == (2, 0)


def test_a_run_of_this_process_is_not_alive_elsewhere(folder):
    with folder.claimed(3):
        assert folder.alive_elsewhere() is None


def test_a_living_process_of_this_machine_holds_its_run_however_old_its_heartbeat(folder):
    write_status(folder, heartbeat=time.time() - 10 * DEAD_AFTER_SECONDS)
    assert folder.alive_elsewhere() == f"{machine.host()} process {os.getppid()}"


@pytest.mark.parametrize(
    "change",
    [{"process_started": 1.0}, {"boot": "another boot"}, {"state": "interrupted"}],
    ids=["reused process id", "before a restart", "not running"],
)
def test_a_process_id_alone_does_not_hold_a_run(folder, change):
    write_status(folder, **change)
    assert folder.alive_elsewhere() is None


def test_a_fresh_heartbeat_on_another_host_is_alive(folder):
    write_status(folder, host="node7", process=42, heartbeat=time.time() - DEAD_AFTER_SECONDS / 2)
    assert folder.alive_elsewhere() == "node7 process 42"


def test_an_old_heartbeat_on_another_host_is_dead(folder):
    write_status(folder, host="node7", process=42, heartbeat=time.time() - DEAD_AFTER_SECONDS - 1)
    assert folder.alive_elsewhere() is None
    with folder.claimed(3) as claim:
        assert (claim.attempts, claim.failures) == (3, 1)


# --- studies ---


def test_a_plan_read_back_is_what_was_written(tmp_path):
    plan = {"name": "lrn-1a2b3c4d", "runs": [{"run_id": RUN, "seed": 0}]}
    study = study_folder(tmp_path, "lrn-1a2b3c4d")
    study.write_plan(plan)
    assert study.read_plan() == {"format": formats.PLAN.written, **plan}
    assert study.plan == tmp_path / "_studies" / "lrn-1a2b3c4d" / "plan.json"


def test_an_unknown_study_is_refused_with_the_known_ones(tmp_path):
    for name in ("pool-2", "lrn-1"):
        study_folder(tmp_path, name).write_plan({})
    with pytest.raises(FolderError, match=r"lrn-2: no study of that name; have: lrn-1, pool-2$"):
        study_folder(tmp_path, "lrn-2").read_plan()


def test_a_study_is_refused_where_there_are_none_yet(tmp_path):
    with pytest.raises(FolderError, match="have: none yet"):
        study_folder(tmp_path / "nowhere", "lrn-1").read_plan()


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
    assert folder.alive_elsewhere() == f"{machine.host()} process {claimant.pid}"


def test_a_process_that_is_not_there_has_not_started():
    assert machine.started(2**30) is None and machine.started(os.getpid()) == machine.started(os.getpid())


def test_a_heartbeat_far_in_the_future_is_dead(folder):
    write_status(folder, host="node7", process=42, heartbeat=time.time() + DEAD_AFTER_SECONDS + 60)
    assert folder.alive_elsewhere() is None


def test_a_claim_removes_what_a_killed_process_was_writing(folder):
    folder.path.mkdir(parents=True)
    (folder.path / ".checkpoint.pt.abcd1234").write_bytes(b"half")
    with folder.claimed(3):
        assert not list(folder.path.glob(".checkpoint.pt.*"))


@pytest.mark.parametrize("again", [False, True], ids=["gone", "another in its place"])
def test_a_beat_in_a_folder_that_was_deleted_is_refused(folder, again):
    with pytest.raises(FolderError, match="deleted or moved while in use"), folder.claimed(3) as claim:
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


@pytest.mark.parametrize(
    "change", [{"epochs": 91}, {"errors": {}}, {"digest": None}, {"files": {"metrics.csv": [0, ""]}}]
)
def test_a_result_that_says_something_else_is_refused(folder, change):
    folder.write_result({"epochs": 90})
    result = json.loads(folder.result.read_text()) | change
    folder.result.write_text(json.dumps({key: value for key, value in result.items() if value is not None}))
    with pytest.raises(FolderError, match=r"result\.json: damaged, its digest is another"):
        folder.read_result()


def test_a_result_of_an_earlier_version_has_no_digests_and_is_read(folder):
    folder.write_predictions(pa.table({"image": ["a"]}))
    old = {"format": formats.RUN.written, "run_id": RUN, "errors": errors_of(1)}
    folder.result.write_text(json.dumps(old))
    assert folder.read_result() == old
    folder.check_files(old)
