"""Being asked to stop: a signal becomes a question that training asks between two steps."""

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from alexnet_sweep.errors import Interrupted

Stop = Callable[[], int]
POLL_SECONDS = 0.1


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


@contextmanager
def passed_on(running: Callable[[], Collection[int]]) -> Iterator[None]:
    """Ctrl-C and SIGTERM in this block first ask the processes that are `running` to stop, and wait until none is.

    A launcher may kill them as soon as this process goes on. A second Ctrl-C waits for none of them.

    Raises:
        KeyboardInterrupt: then.
    """
    asked = False
    before = {}

    def pass_on(number: int, frame: object) -> None:
        nonlocal asked
        if asked and number == signal.SIGTERM:
            return
        if not asked:
            asked, told = True, set[int]()
            # What a terminal sends them reaches them first, and one SIGTERM more changes nothing.
            while left := set(running()):
                time.sleep(POLL_SECONDS)
                for process in left - told:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGTERM)
                told |= left
        raise KeyboardInterrupt

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, pass_on)
    except ValueError:  # not the main thread, which alone hears signals
        before.clear()
    try:
        yield
    finally:
        for earlier, handler in before.items():
            signal.signal(earlier, handler)


class UntilStopped:
    """What a worker is given to do that lives on between two tasks: once asked to stop it begins none.

    It must not die between them either: whoever has started it would then kill those beside it.
    """

    _asked = False  # of this process
    _at_work = False

    def __init__(self, task: Callable[..., Any]) -> None:
        self.task = task

    def __call__(self, *arguments: Any) -> Any:
        """
        Raises:
            KeyboardInterrupt: what the task itself raises when it is asked to stop; or because it was before.
        """
        here = UntilStopped
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, here._hear)
        if here._asked:
            raise Interrupted("asked to stop before it has begun")
        here._at_work = True
        try:
            return self.task(*arguments)
        except KeyboardInterrupt:
            here._asked = True
            raise
        finally:
            here._at_work = False

    @staticmethod
    def _hear(number: int, frame: object) -> None:
        UntilStopped._asked = True
        if UntilStopped._at_work:
            raise KeyboardInterrupt
