"""Locks end with their processes, say whose they are, and outlive no machine."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest

from alexnet_sweep import locks, machine
from alexnet_sweep.errors import FolderError
from alexnet_sweep.locks import DEAD_AFTER_SECONDS, Heartbeat, held, overtaken, told_by

HOLD = """
import sys, time
from pathlib import Path
from alexnet_sweep.locks import held
with held(Path(sys.argv[1]), 5):
    print(flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@pytest.fixture
def owner(lock: Path) -> Path:
    """The file that says whose the lock is."""
    return lock.with_name("lock.owner")


@pytest.fixture
def holder(lock: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_lock_that_is_not_let_go_names_its_owner(lock: Path, holder: "subprocess.Popen[str]") -> None:
    says = f"lock: held by {machine.host()} process {holder.pid} for 0 s; wait"
    with pytest.raises(FolderError, match=says) as told, held(lock, 0.1):
        pytest.fail("it is held")
    assert "\n" not in str(told.value)


def test_a_lock_ends_with_its_process(lock: Path, owner: Path, holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.wait()
    assert owner.exists()
    with held(lock, 0.1):
        pass
    assert not owner.exists()


def says(owner: Path, silent: float) -> None:
    """As a process of another machine has left it."""
    told = {"who": "node7 process 42", "host": "node7", "heartbeat": time.time() - silent}
    owner.write_text(json.dumps(told))


def test_a_lock_of_a_machine_that_is_gone_is_taken(lock: Path, owner: Path) -> None:
    says(owner, DEAD_AFTER_SECONDS + 1)
    with filelock.FileLock(lock), held(lock, 5):  # which the file server has kept
        assert told_by(owner)["host"] == machine.host()


def test_a_lock_of_a_machine_that_is_there_is_not(lock: Path, owner: Path) -> None:
    says(owner, DEAD_AFTER_SECONDS / 2)
    with filelock.FileLock(lock), pytest.raises(FolderError, match="held by node7 process 42"), held(lock, 0.1):
        pytest.fail("it is held")


@pytest.mark.parametrize("told", [None, "", "[]", "{}", '{"host": "node7"}', '{"host": "node7", "heartbeat": "x"}'])
def test_a_lock_whose_owner_is_not_known_is_not_taken(lock: Path, owner: Path, told: str | None) -> None:
    if told is not None:
        owner.write_text(told)
    with filelock.FileLock(lock), pytest.raises(FolderError, match="lock: held by another process"), held(lock, 0.1):
        pytest.fail("it is held")


def test_of_several_who_would_overtake_one_does(lock: Path, owner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.touch()
    says(owner, DEAD_AFTER_SECONDS + 1)
    gone = locks._gone

    def meanwhile_another_was_quicker(told: dict[str, Any]) -> bool:
        monkeypatch.setattr(locks, "_gone", gone)
        answer = gone(told)
        says(owner, 0)
        return answer

    monkeypatch.setattr(locks, "_gone", meanwhile_another_was_quicker)
    assert not overtaken(lock, owner) and lock.exists()


def test_a_heartbeat_goes_on(owner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "EVERY_SECONDS", 0.01)
    with Heartbeat(owner):
        first = told_by(owner)["heartbeat"]
        while told_by(owner)["heartbeat"] == first:
            time.sleep(0.01)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_lock_whose_owner_cannot_be_noted_is_let_go(lock: Path, owner: Path, when: str) -> None:
    if when == "before":
        owner.mkdir()
        with (
            pytest.raises(FolderError, match=r"lock\.owner: cannot be written: it is a folder; remove it"),
            held(lock, 1),
        ):
            pytest.fail("nobody is told whose it is")
    else:
        with held(lock, 1):
            owner.unlink()
            owner.mkdir()
    with filelock.FileLock(lock, timeout=0):
        pass
