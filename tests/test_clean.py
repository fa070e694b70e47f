"""Cleaning: what is listed, what goes, and above all what stays."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock
import pytest

from alexnet_sweep import machine
from alexnet_sweep.clean import main
from alexnet_sweep.cleaner import Cleaner, Finding, LeftAlone, _empty
from alexnet_sweep.errors import FolderError
from alexnet_sweep.identity import sources_hash
from alexnet_sweep.locks import DEAD_AFTER_SECONDS
from alexnet_sweep.reuse import note_trained
from alexnet_sweep.running import claimed
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_folder import study_folder
from alexnet_sweep.wording import amount

MARK = "0123456789abcdef"  # a data set's fingerprint
OLD = time.time() - 7200
MEBIBYTE = bytes(2**20)


def write_status(folder: RunFolder, state: str = "done", **changes: Any) -> None:
    """In a process of this machine that is alive: our parent."""
    parent = os.getppid()
    values = {
        "state": state,
        "heartbeat": OLD,
        "host": machine.host(),
        "boot": machine.boot(),
        "process": parent,
        "process_started": machine.started(parent),
        "attempts": 1,
    }
    folder.status.write_text(json.dumps(values | changes))


def config_of(**changes: Any) -> dict[str, Any]:
    data = {"name": "digits", "stored_px": 32, "custom": None}
    return {"seed": 0, "init_from": None, "data": data, "checkpoint": {"keep": "weights"}} | changes


def make_run(runs: Path, number: int = 0, *, stale: bool = False, done: bool = True, **config: Any) -> RunFolder:
    folder = RunFolder(runs / f"{number:012x}")
    folder.write_config(config_of(**config))
    write_status(folder, "done" if done else "interrupted")
    if done:
        data = {"name": "digits", "fingerprint": MARK}
        folder.write_result({"source_hash": "older" if stale else sources_hash(()), "data": data})
        folder.weights.write_bytes(MEBIBYTE)
    return folder


def write_plan(runs: Path, *numbers: int, name: str = "hand", overrides: tuple[str, ...] = ()) -> None:
    listed = [{"run_id": f"{n:012x}", "arm_id": "a", "seed": n, "overrides": list(overrides)} for n in numbers]
    study_folder(runs, name).write_plan({"name": name, "arms": [{"arm_id": "a", "label": "x"}], "runs": listed})


def make_store(runs: Path, mark: str = MARK, when: float = OLD, **meta: Any) -> Path:
    folder = runs / "_data" / mark
    folder.mkdir(parents=True)
    (folder / "train.images.npy").write_bytes(MEBIBYTE)
    (folder / "meta.json").write_text(json.dumps({"name": "digits", "stored_px": 32} | meta))
    for path in (*folder.iterdir(), folder):
        os.utime(path, (when, when))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.fixture
def cleaned(runs: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """`cleaned("--yes")`: the verb's lines; it must end well."""

    def one(*arguments: str) -> list[str]:
        assert main([*arguments, "--runs", str(runs)]) == 0
        return capsys.readouterr().out.splitlines()

    return one


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- what can go ---


def test_a_checkpoint_left_in_a_finished_run_goes(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    folder = make_run(runs)
    folder.checkpoint.write_bytes(MEBIBYTE * 3)
    cleaned("--yes")
    assert not folder.checkpoint.exists() and folder.weights.exists() and folder.read_result() is not None


def test_a_checkpoint_of_an_unfinished_run_stays(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    folder = make_run(runs, done=False)
    folder.checkpoint.write_bytes(MEBIBYTE)
    assert cleaned("--yes") == ["nothing to delete"] and folder.checkpoint.exists()


def test_a_checkpoint_that_was_asked_for_is_said_to_be(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    make_run(runs, checkpoint={"keep": "full"}).checkpoint.write_bytes(b"x")
    assert "as checkpoint.keep=full asked for" in cleaned()[0]


@pytest.mark.parametrize("done", [True, False])
def test_what_was_set_aside_goes(runs: Path, cleaned: Callable[..., list[str]], done: bool) -> None:
    folder = make_run(runs, done=done)
    for number in (1, 2):
        (folder.path / f"set_aside-{number}").mkdir()
        (folder.path / f"set_aside-{number}" / "checkpoint.pt").write_bytes(MEBIBYTE)
    (folder.path / "set_aside-mine").mkdir()
    assert len(cleaned("--yes")) == 3
    assert sorted(path.name for path in folder.path.glob("set_aside*")) == ["set_aside-mine"]


@pytest.mark.parametrize("done", [True, False])
def test_what_a_killed_writer_has_left_in_a_run_goes(runs: Path, cleaned: Callable[..., list[str]], done: bool) -> None:
    folder = make_run(runs, done=done)
    kept = everything(folder.path)
    (folder.path / ".checkpoint.pt.a1b2_3cd").write_bytes(MEBIBYTE)
    (folder.path / ".mine.a1b2_3cd").write_bytes(b"")  # nothing that we would write
    line, total = cleaned()
    assert line.split()[:2] == ["1.0", "MiB"] and "killed while writing" in line and "nothing deleted" in total
    cleaned("--yes")
    assert everything(folder.path) == kept | {".mine.a1b2_3cd", ".lock"}


def test_what_a_writer_is_at_work_on_stays(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    folder = make_run(runs, done=False)
    write_status(folder, "running")
    (folder.path / ".checkpoint.pt.a1b2_3cd").write_bytes(MEBIBYTE)
    assert cleaned("--yes") == ["nothing to delete"]


def test_what_a_killed_writer_has_left_beside_the_runs_goes_once_it_is_old(
    runs: Path, cleaned: Callable[..., list[str]]
) -> None:
    make_run(runs)
    write_plan(runs, 0)
    left = [runs / "_studies/hand/.plan.json.a1b2_3cd", runs / "_trained/.0123456789ab.a1b2_3cd"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(MEBIBYTE)
    assert cleaned("--yes") == ["nothing to delete"]
    for path in left:
        os.utime(path, (OLD, OLD))
    assert len(cleaned("--yes")) == 3
    assert not any(path.exists() for path in left) and study_folder(runs, "hand").plan.is_file()


def test_weights_that_were_not_to_be_kept_go(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    kept, other = make_run(runs, 0), make_run(runs, 1, checkpoint={"keep": "none"})
    assert "checkpoint.keep=none" in cleaned()[0]
    cleaned("--yes")
    assert kept.weights.is_file() and not other.weights.exists()


@pytest.mark.parametrize("file", ["status", "result"])
def test_a_run_of_another_version_stays_with_all_it_may_need(
    runs: Path, cleaned: Callable[..., list[str]], file: str
) -> None:
    folder, store = make_run(runs, stale=True), make_store(runs, "f" * 16, name="other")
    path = getattr(folder, file)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    folder.checkpoint.write_bytes(MEBIBYTE)
    before = everything(runs)
    told = cleaned("--yes")
    assert everything(runs) == before and store.is_dir()
    assert any("1 run left alone: written by another version" in line for line in told)


def test_a_stale_run_stays_while_a_plan_of_another_version_may_need_it(
    runs: Path, cleaned: Callable[..., list[str]]
) -> None:
    folder = make_run(runs, stale=True)
    write_plan(runs, 0)
    plan = study_folder(runs, "hand").plan
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"format": 99}))
    assert any("a plan or a run that cannot be read may need" in line for line in cleaned("--yes"))
    assert folder.result.is_file()


def test_a_stale_run_goes_whole(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    stale, current = make_run(runs, 0, stale=True), make_run(runs, 1)
    stale.checkpoint.write_bytes(b"x")
    (lines := cleaned("--yes"))
    assert len(lines) == 2, "its checkpoint is not listed once more"
    assert not stale.path.exists() and current.read_result() is not None


def test_an_unfinished_run_of_older_code_stays(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    folder = make_run(runs, done=False)
    write_status(folder, "interrupted", source_hash="older")
    assert cleaned("--yes") == ["nothing to delete"] and folder.path.exists()


def test_an_unreadable_result_is_not_stale(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    folder = make_run(runs, stale=True)
    folder.result.write_text("{")
    assert cleaned("--yes") == ["nothing to delete"] and folder.path.exists()


def test_a_run_with_parts_of_ones_own_is_judged_by_these_too(
    runs: Path, tmp_path: Path, cleaned: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_parts_of_clean.py").write_text("one = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = {"act": {"custom": {"_target_": "own_parts_of_clean.one", "inner": [{"_target_": "torch.nn.ReLU"}]}}}
    folder = make_run(runs, stale=True, model=model)
    assert "stale" in cleaned()[0]
    hash_of_today = sources_hash(("own_parts_of_clean.one", "torch.nn.ReLU"))
    folder.write_result({"source_hash": hash_of_today, "data": {}})
    assert cleaned() == ["nothing to delete"]


def test_a_run_whose_own_parts_cannot_be_found_is_not_judged(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    folder = make_run(runs, stale=True, model={"net": {"custom": {"_target_": "nowhere_to_be_found.Net"}}})
    lines = cleaned("--yes")
    assert lines[0].startswith("1 run not judged") and lines[1:] == ["nothing to delete"] and folder.path.exists()


@pytest.mark.parametrize("text", [None, "", "{", "- 1", "a: !!python/object:x.y {}", "\x00"], ids=repr)
def test_a_run_without_a_config_that_can_be_read_is_not_judged(
    runs: Path, cleaned: Callable[..., list[str]], text: str | None
) -> None:
    folder = make_run(runs, stale=True)
    folder.config.unlink()
    if text is not None:
        folder.config.write_text(text)
    assert "1 run not judged" in cleaned("--yes")[0] and folder.path.exists()


@pytest.mark.parametrize("by", ["config", "plan"])
def test_a_stale_run_that_others_start_from_stays(runs: Path, cleaned: Callable[..., list[str]], by: str) -> None:
    stale = make_run(runs, 0, stale=True)
    note_trained(stale, "aaaa", "sources")
    if by == "config":
        make_run(runs, 1, init_from=stale.run_id)
    else:
        write_plan(runs, 0, overrides=("seed=0", f"init_from=runs/{stale.run_id}"))
    assert "1 run kept: stale, but other runs start from their weights" in cleaned("--yes")[0]
    assert stale.path.exists() and (runs / "_trained" / "aaaa").exists()


def test_a_pointer_to_a_run_that_is_gone_goes(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    there, gone = make_run(runs, 0), RunFolder(runs / f"{1:012x}")
    note_trained(there, "aaaa", "sources")
    note_trained(gone, "bbbb", "sources")
    (runs / "_trained" / "cccc").write_text(f"../runs/{there.run_id} sources\n")
    (runs / "_trained" / ".dddd.tmp").write_text("being written\n")
    cleaned("--yes")
    assert sorted(path.name for path in (runs / "_trained").iterdir()) == [".dddd.tmp", "aaaa"]


def test_a_pointer_whose_run_is_there_by_now_stays(runs: Path) -> None:
    note_trained(RunFolder(runs / f"{0:012x}"), "aaaa", "sources")
    cleaner, finding = find_one(runs, "pointer")
    make_run(runs)
    with pytest.raises(LeftAlone, match="its run is there"):
        cleaner.delete(finding)
    assert finding.path.exists()


def test_a_pointer_goes_with_its_stale_run(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    note_trained(make_run(runs, stale=True), "aaaa", "sources")
    assert len(cleaned("--yes")) == 3
    assert everything(runs) == {"_trained"}


# --- data ---


def test_data_that_nothing_refers_to_goes(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    make_run(runs)
    used, other = make_store(runs), make_store(runs, "f" * 16, name="other")
    cleaned("--yes")
    assert used.exists() and not other.exists()
    assert everything(runs / "_data") == {MARK, f"{MARK}/meta.json", f"{MARK}/train.images.npy"}


def test_young_data_stays(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    store = make_store(runs, when=time.time() - 3000)
    assert cleaned("--yes") == ["nothing to delete"] and store.exists()


def test_data_in_which_one_file_is_young_stays(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    store = make_store(runs, f".{MARK}.abcd")
    os.utime(store / "train.images.npy")
    assert cleaned("--yes") == ["nothing to delete"] and store.exists()


def test_data_of_an_unfinished_runs_name_and_size_stays(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    make_run(runs, done=False)
    same, smaller = make_store(runs), make_store(runs, "e" * 16, stored_px=16)
    cleaned("--yes")
    assert same.exists() and not smaller.exists()


def test_data_stays_while_a_study_has_runs_to_start(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    make_run(runs, 0)
    write_plan(runs, 0, 1)
    store = make_store(runs, "f" * 16, name="other")
    lines = cleaned("--yes")
    assert "study hand has 1 run still to start" in lines[0] and lines[1] == "nothing to delete" and store.exists()


def test_data_stays_while_a_plan_cannot_be_read(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    write_plan(runs, 0)
    study_folder(runs, "hand").plan.write_text("{")
    store = make_store(runs)
    assert "cannot be read" in cleaned("--yes")[0] and store.exists()


def test_data_stays_while_a_run_has_just_started(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    folder = RunFolder(runs / f"{0:012x}")
    folder.path.mkdir()
    write_status(folder, "running")
    store = make_store(runs)
    assert "has just started" in cleaned("--yes")[0] and store.exists()


def test_a_damaged_store_goes(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    make_run(runs, done=False)
    store = make_store(runs)
    (store / "meta.json").unlink()
    os.utime(store, (OLD, OLD))
    cleaned("--yes")
    assert not store.exists()


def test_what_is_left_of_a_broken_build_goes(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    make_run(runs)
    old, young = make_store(runs, f".{MARK}.abcd"), make_store(runs, f".{MARK}.efgh", when=time.time())
    strange = make_store(runs, ".mine")
    cleaned("--yes")
    assert not old.exists() and young.exists() and strange.exists()


def test_a_store_that_is_needed_by_now_stays(runs: Path) -> None:
    store = make_store(runs)
    cleaner = Cleaner(runs)
    ((finding,), _) = cleaner.findings()
    make_run(runs)
    with pytest.raises(LeftAlone, match="needed by now"):
        cleaner.delete(finding)
    assert store.exists()


# --- what stays ---


def find_one(runs: Path, kind: str) -> tuple[Cleaner, Finding]:
    cleaner = Cleaner(runs)
    ((finding,), _) = cleaner.findings()
    assert finding.kind == kind
    return cleaner, finding


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"host": "node7", "heartbeat": DEAD_AFTER_SECONDS / 2},
        {"process_started": 1.0},
        {"process": "x"},
    ],
    ids=["here", "another host", "another container of this host", "unreadable"],
)
def test_a_run_that_may_be_alive_is_not_listed(
    runs: Path, cleaned: Callable[..., list[str]], change: dict[str, Any]
) -> None:
    folder = make_run(runs, stale=True)
    folder.checkpoint.write_bytes(b"x")
    (folder.path / "set_aside-1").mkdir()
    heartbeat = time.time() - change.get("heartbeat", 0.0)  # its age; tests are collected long before they run
    write_status(folder, "running", **change | {"heartbeat": heartbeat})
    assert cleaned("--yes") == ["nothing to delete"] and folder.checkpoint.exists()


def test_a_status_that_cannot_be_read_keeps_a_run(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    folder = make_run(runs, stale=True)
    folder.status.write_text("{")
    assert cleaned("--yes") == ["nothing to delete"] and folder.path.exists()


def test_a_dead_runs_leavings_go(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    folder = make_run(runs)
    folder.checkpoint.write_bytes(b"x")
    write_status(folder, "running", process_started=1.0)
    cleaned("--yes")
    assert not folder.checkpoint.exists()


@pytest.mark.parametrize("kind", ["stale", "checkpoint", "set_aside"])
def test_a_run_that_has_come_alive_since_is_left_alone(runs: Path, kind: str) -> None:
    folder = make_run(runs, stale=kind == "stale")
    if kind == "checkpoint":
        folder.checkpoint.write_bytes(b"x")
    if kind == "set_aside":
        (folder.path / "set_aside-1").mkdir()
    cleaner, finding = find_one(runs, kind)
    before = everything(folder.path)
    write_status(folder, "running")
    with pytest.raises(LeftAlone, match=f"in use by {machine.host()} process {os.getppid()}"):
        cleaner.delete(finding)
    assert everything(folder.path) == before | {".lock"}


def test_a_run_that_has_been_trained_again_since_is_left_alone(runs: Path) -> None:
    folder = make_run(runs, stale=True)
    cleaner, finding = find_one(runs, "stale")
    folder.write_result({"source_hash": "older", "data": {}})
    with pytest.raises(LeftAlone, match="changed by now"):
        cleaner.delete(finding)
    assert folder.result.exists()


def test_a_checkpoint_that_is_another_one_by_now_is_left_alone(runs: Path) -> None:
    folder = make_run(runs)
    folder.checkpoint.write_bytes(b"x")
    cleaner, finding = find_one(runs, "checkpoint")
    folder.checkpoint.write_bytes(b"xy")
    with pytest.raises(LeftAlone, match="changed by now"):
        cleaner.delete(finding)
    assert folder.checkpoint.exists()


def test_a_run_folder_deleted_meanwhile_is_not_made_again(runs: Path) -> None:
    folder = make_run(runs, stale=True)
    cleaner, finding = find_one(runs, "stale")
    folder.path.rename(runs.parent / "moved")
    with pytest.raises(LeftAlone, match="gone by now"):
        cleaner.delete(finding)
    assert not folder.path.exists()


def test_a_run_whose_lock_is_held_is_left_alone(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexnet_sweep.cleaner.LOCK_SECONDS", 0.1)
    folder = make_run(runs, stale=True)
    cleaner, finding = find_one(runs, "stale")
    with (
        filelock.FileLock(folder.path / ".lock"),
        pytest.raises(LeftAlone, match="another process holds its lock"),
    ):
        cleaner.delete(finding)
    assert folder.result.exists()


def test_nobody_claims_a_run_while_it_goes(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(runs, stale=True)
    cleaner, finding = find_one(runs, "stale")
    empty, order = _empty, []

    def claim() -> None:
        with claimed(folder, 3):
            order.append("claimed")

    claimant = threading.Thread(target=claim)

    def slowly(given: RunFolder) -> None:
        claimant.start()
        time.sleep(0.3)
        order.append("emptied")
        empty(given)

    monkeypatch.setattr("alexnet_sweep.cleaner._empty", slowly)
    cleaner.delete(finding)
    cleaner.finish()
    claimant.join()
    assert order == ["emptied", "claimed"]
    assert folder.read_status()["state"] == "done" and folder.read_result() is None


def test_a_run_half_gone_is_not_done(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(runs, stale=True)
    cleaner, finding = find_one(runs, "stale")
    monkeypatch.setattr("alexnet_sweep.cleaner._remove", lambda path: (_ for _ in ()).throw(OSError("stopped here")))
    with pytest.raises(OSError, match="stopped here"):
        cleaner.delete(finding)
    assert folder.path.exists() and folder.read_result() is None


def test_links_out_of_the_runs_folder_are_not_followed(
    runs: Path, tmp_path: Path, cleaned: Callable[..., list[str]]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    outside = make_run(elsewhere, 0, stale=True)
    make_store(elsewhere)
    note_trained(RunFolder(elsewhere / "gone"), "aaaa", "sources")
    (elsewhere / "kept.txt").write_text("mine")
    (elsewhere / "set_aside-1").mkdir()
    before = everything(elsewhere)
    (runs / outside.run_id).symlink_to(outside.path)
    (runs / "_data").symlink_to(elsewhere / "_data")
    (runs / "_trained").symlink_to(elsewhere / "_trained")
    inside = make_run(runs, 1)
    half = elsewhere / "_trained" / ".aaaa.abcdefgh"
    half.write_text("half")
    os.utime(half, (0, 0))
    before = everything(elsewhere)
    inside.checkpoint.symlink_to(elsewhere / "kept.txt")
    (inside.path / "set_aside-1").symlink_to(elsewhere)
    assert cleaned("--yes") == ["nothing to delete"]
    assert everything(elsewhere) == before


@pytest.mark.parametrize("name", [".lock", ".lock.owner", "status.json", "result.json", "config.yaml"])
def test_nothing_is_written_through_a_link_in_a_run_folder(runs: Path, tmp_path: Path, name: str) -> None:
    stale = make_run(runs, stale=True)
    mine = tmp_path / "mine"
    mine.write_bytes((stale.path / name).read_bytes() if (stale.path / name).exists() else b"mine")
    before = mine.read_bytes()
    (stale.path / name).unlink(missing_ok=True)
    (stale.path / name).symlink_to(mine)
    assert main(["--yes", "--runs", str(runs)]) in (0, 1)
    assert mine.read_bytes() == before
    with suppress(FolderError), claimed(stale, 1):
        pass
    assert mine.read_bytes() == before


def test_a_link_inside_of_what_goes_goes_without_its_target(
    runs: Path, tmp_path: Path, cleaned: Callable[..., list[str]]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(MEBIBYTE)
    stale = make_run(runs, stale=True)
    (stale.path / "photos").symlink_to(tmp_path / "photos")
    (stale.path / "cat.png").symlink_to(tmp_path / "photos" / "cat.png")
    assert cleaned("--yes")[0].split()[:2] == ["1.0", "MiB"], "what a link leads to does not count"
    assert not stale.path.exists() and (tmp_path / "photos" / "cat.png").exists()


def test_folders_that_are_no_runs_stay(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    for name in ("notes", "_mine", ".hidden"):
        (runs / name / "set_aside-1").mkdir(parents=True)
        (runs / name / "checkpoint.pt").write_bytes(b"x")
    assert cleaned("--yes") == ["nothing to delete"]


# --- the verb ---


def test_without_yes_nothing_is_deleted(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    make_run(runs, 0, stale=True)
    make_run(runs, 1).checkpoint.write_bytes(MEBIBYTE * 2)
    make_store(runs, "f" * 16, name="other")
    note_trained(RunFolder(runs / "gone"), "aaaa", "sources")
    before = everything(runs)
    lines = cleaned()
    assert everything(runs) == before
    assert [line.split()[:2] for line in lines] == [[size, "MiB"] for size in ("1.0", "1.0", "2.0", "0.0", "4.0")]
    assert lines[-1].endswith("in all; nothing deleted; --yes deletes")


def test_a_study_limits_it_to_its_runs(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    for number in (0, 1):
        note_trained(make_run(runs, number, stale=True), f"{number}", "sources")
    note_trained(RunFolder(runs / "gone"), "2", "sources")
    write_plan(runs, 0, name="mine")
    store = make_store(runs, "f" * 16, name="other")
    cleaned("mine", "--yes")
    assert store.exists() and not (runs / f"{0:012x}").exists() and (runs / f"{1:012x}").exists()
    assert sorted(path.name for path in (runs / "_trained").iterdir()) == ["1", "2"]


def test_data_goes_though_stale_runs_of_a_plan_go_with_it(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    make_run(runs, stale=True)
    write_plan(runs, 0)
    make_store(runs, "f" * 16, name="other")
    assert cleaned("--yes")[-1].split(maxsplit=2)[2] == "deleted"


def test_what_was_left_alone_is_told(
    runs: Path, cleaned: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(runs, stale=True)
    monkeypatch.setattr("alexnet_sweep.cleaner.LOCK_SECONDS", 0.1)
    with filelock.FileLock(runs / f"{0:012x}" / ".lock"):
        lines = cleaned("--yes")
    assert "left alone: in use" in lines[0] and lines[1].split(maxsplit=2)[2] == "deleted; 1 left alone"


def test_what_cannot_be_deleted_is_told_and_is_exit_code_1(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(runs).checkpoint.write_bytes(b"x")
    monkeypatch.setattr(
        "alexnet_sweep.cleaner._remove", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    assert main(["--yes", "--runs", str(runs)]) == 1
    assert "left alone: cannot be deleted ([Errno 13] Permission denied)" in capsys.readouterr().out


def test_json_tells_what_was_done(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    folder = make_run(runs)
    folder.checkpoint.write_bytes(MEBIBYTE)
    for arguments, deleted in (("--json",), False), (("--json", "--yes"), True):
        found = json.loads("\n".join(cleaned(*arguments)))
        (row,) = found["found"]
        assert (row["kind"], row["path"], row["bytes"]) == ("checkpoint", str(folder.checkpoint), 2**20)
        assert (row["deleted"], row["left_alone"], found["bytes"]) == (deleted, None, 2**20)


def test_control_characters_in_names_are_spelt_out(runs: Path, cleaned: Callable[..., list[str]]) -> None:
    folder = RunFolder(runs / "a\x1b[31m\nb")
    folder.write_result({"source_hash": "older", "data": {}})
    folder.write_config(config_of())
    lines = cleaned()
    assert len(lines) == 2 and "a\\x1b[31m\\nb" in lines[0] and all(line.isprintable() for line in lines)


@pytest.mark.parametrize(("arguments", "message"), [(["nope"], "no study of that name"), ([], "no such folder")])
def test_mistakes_are_one_line(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    place = runs if arguments else runs / "nowhere"
    assert main([*arguments, "--runs", str(place)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.0 MiB"), (89_443_533, "85.3 MiB"), (2**30 - 1, "1,024.0 MiB"), (2**30 * 5 // 4, "1.2 GiB")],
)
def test_sizes_are_told_with_one_decimal(size: int, text: str) -> None:
    assert amount(size) == text


def test_it_starts_without_torch_hydra_and_pandas() -> None:
    code = "import sys, alexnet_sweep.clean\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "hydra", "pandas"} & {name.split(".")[0] for name in done.stdout.split()}
