"""Signals become a question; which one it was is told to whoever acts on it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from alexnet_sweep.errors import Interrupted
from alexnet_sweep.stopping import UntilStopped, passed_on, stop_on_signal


@pytest.fixture
def launcher() -> Iterator[list[int]]:
    """A launcher's own handler of SIGUSR2; what it has heard."""
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    yield heard
    signal.signal(signal.SIGUSR2, before)


def test_a_signal_that_a_launcher_handles_asks_to_stop_and_is_told(launcher: list[int]) -> None:
    with pytest.raises(Interrupted) as caught, stop_on_signal() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)  # preempted: both come
        os.kill(os.getpid(), signal.SIGUSR2)
        assert stop()
        raise Interrupted("saved")
    assert caught.value.signal == signal.SIGUSR2 and launcher == []
    os.kill(os.getpid(), signal.SIGUSR2)
    assert launcher == [signal.SIGUSR2]  # it is the launcher's again


def test_a_user_signal_that_nobody_handles_stays_as_it_is() -> None:
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
    with stop_on_signal():
        assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


IGNORES = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
# A process that saves when it is asked to stop, as a run does.
SAVES = """
import signal, sys
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("saved"))
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_asks_this_process_to_stop_is_passed_on_and_those_asked_are_waited_for(number: signal.Signals) -> None:
    program = [sys.executable, "-c", SAVES]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.readline()
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt), passed_on(lambda: {child.pid} if child.poll() is None else set()):
            os.kill(os.getpid(), number)
        assert child.returncode == 1 and child.stderr.read().strip() == "saved"
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_waits_no_longer_and_a_second_sigterm_does() -> None:
    asked = iter([signal.SIGTERM, signal.SIGTERM, signal.SIGINT])
    program = f"import signal; {IGNORES}; print(flush=True); signal.pause()"
    deaf = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)

    def running() -> set[int]:
        os.kill(os.getpid(), next(asked))
        return {deaf.pid}

    with deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        with pytest.raises(KeyboardInterrupt), passed_on(running):
            os.kill(os.getpid(), signal.SIGINT)
        assert deaf.poll() is None and not list(asked)
        deaf.kill()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process as a worker of a launcher, until the test ends."""
    monkeypatch.setattr(UntilStopped, "_asked", False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_asked_to_stop_between_two_tasks_lives_and_begins_no_other(
    worker: None, number: signal.Signals
) -> None:
    done: list[str] = []
    assert UntilStopped(done.append)("first") is None
    os.kill(os.getpid(), number)
    with pytest.raises(Interrupted):
        UntilStopped(done.append)("second")
    assert done == ["first"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_asked_to_stop_at_its_task_ends_it_and_begins_no_other(worker: None, number: signal.Signals) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        UntilStopped(os.kill)(os.getpid(), number)
    with pytest.raises(Interrupted):
        UntilStopped(done.append)("second")
    assert not done
