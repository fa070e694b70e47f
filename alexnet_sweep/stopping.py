"""Being asked to stop: Ctrl-C or SIGTERM become a question that training asks between two steps."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alexnet_sweep.errors import Interrupted

Stop = Callable[[], bool]


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """A question to ask between steps: has Ctrl-C or SIGTERM come? A second Ctrl-C stops at once."""
    asked: list[int] = []
    before = {}

    def note(number: int, frame: object) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    except ValueError:  # not the main thread: whoever runs us there owns the signals
        before.clear()
    try:
        yield lambda: bool(asked)
    except Interrupted:
        raise
    except KeyboardInterrupt as second:
        raise Interrupted("stopped at once; the same command goes on from the last checkpoint") from second
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
