import errno
import os
import signal
import subprocess
import sys

import pytest

from alexnet_sweep import failpoints


def passes(name: str, wanted: str) -> int:
    """How a process ends that passes a place twice, having told of it each time."""
    code = f"from alexnet_sweep import failpoints as f\nfor _ in 'ab': print('x', flush=True); f.pass_by({name!r})"
    environment = os.environ | {failpoints.VARIABLE: wanted}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=False)
    assert done.stdout.count(b"x") == (2 if wanted.endswith(":2") or done.returncode == 0 else 1)
    return done.returncode


@pytest.mark.parametrize("wanted", ["there:kill", "there:kill:1", "there:kill:2"])
def test_a_process_dies_at_the_place_it_is_told_to(wanted: str) -> None:
    assert passes("there", wanted) == -signal.SIGKILL


@pytest.mark.parametrize("wanted", ["elsewhere:kill", "there:kill:3", "therefore:kill", "there"])
def test_other_places_and_times_do_nothing(wanted: str) -> None:
    assert passes("there", wanted) == 0


@pytest.mark.parametrize(("action", "number"), [("full", errno.ENOSPC), ("broken", errno.EIO)])
def test_a_write_fails_once(monkeypatch: pytest.MonkeyPatch, action: str, number: int) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, f"once.{action}:{action}")
    with pytest.raises(OSError) as caught:
        failpoints.pass_by(f"once.{action}")
    assert caught.value.errno == number
    failpoints.pass_by(f"once.{action}")


def test_an_action_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "here:explode")
    with pytest.raises(ValueError, match="allowed: kill, term, stop, full, broken"):
        failpoints.pass_by("here")


def test_nothing_is_done_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(failpoints.VARIABLE, raising=False)
    failpoints.pass_by("anywhere")
