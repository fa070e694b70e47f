"""Being asked to stop: a signal becomes a question that training asks between two steps."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alexnet_sweep.errors import Interrupted

Stop = Callable[[], int]


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """A question to ask between steps: which signal has come, Ctrl-C or SIGTERM; 0 as long as none has.

    So does a user signal for which whoever started this process has set a handler, as launchers of clusters do to hear
    of a time limit: it comes before the others, and is the `signal` of the `Interrupted` that leaves the block, to be
    acted on there, unless that names one itself. A second Ctrl-C stops at once.
    """
    asked: list[int] = []
    before = {}

    def note(number: int, frame: object) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    def asked_by() -> int:
        return next((number for number in asked if number in theirs), asked[0] if asked else 0)

    theirs = [number for number in (signal.SIGUSR1, signal.SIGUSR2) if callable(signal.getsignal(number))]
    try:
        for number in (signal.SIGINT, signal.SIGTERM, *theirs):
            before[number] = signal.signal(number, note)
    except ValueError:  # not the main thread: whoever runs us there owns the signals
        before.clear()
    try:
        yield asked_by
    except Interrupted as stopped:
        stopped.signal = stopped.signal or asked_by() or None
        raise
    except KeyboardInterrupt as second:
        raise Interrupted("stopped at once; the same command goes on from the last checkpoint") from second
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def not_interrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block has ended, here and in commands that are started in it."""
    came: list[int] = []
    before = {}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # another thread of this process may get it
            before[number] = signal.signal(number, lambda number, frame: came.append(number))
    except ValueError:  # not the main thread, which alone hears signals
        before.clear()
    try:
        yield
    finally:
        for late in signal.sigpending() & {signal.SIGINT, signal.SIGTERM} - set(blocked):
            came.append(late)
            signal.sigwait([late])
        for earlier, handler in before.items():
            signal.signal(earlier, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for held in came:
            signal.raise_signal(held)
