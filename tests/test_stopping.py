"""Signals become a question; which one it was is told to whoever acts on it."""

import os
import signal
from collections.abc import Iterator

import pytest

from alexnet_sweep.errors import Interrupted
from alexnet_sweep.stopping import stop_on_signal


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
