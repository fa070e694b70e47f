"""What a person sees of a command: its answer, and a log of one short line a message, above a bar if there is one."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger
from tqdm import tqdm

from alexnet_sweep.wording import printable

LINE = "{time:HH:mm:ss} {message}"


def ready() -> None:
    """Have this process's streams take any text.

    A sign that their encoding lacks is spelt out. One that was closed leads nowhere from now on: where there is none,
    what is meant for it would go to the other one, or into the file that is opened next.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.set_inheritable(nowhere, True)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def show_log() -> None:
    """Send the log, and the standard library's warnings, to the terminal of this process."""
    logger.remove()
    logger.add(_above_the_bar, format=LINE, level="INFO")
    logging.basicConfig(handlers=[_ToLoguru()], level=logging.WARNING, force=True)


def show(text: str) -> None:
    """Print an answer, in which no name moves the cursor; whoever reads it may stop reading (`| head`)."""
    with unread():
        print(_harmless(text), flush=True)


@contextmanager
def unread() -> Iterator[None]:
    """Print here and not mind that nobody reads it any more: from then on it leads nowhere."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # nor may the interpreter's last flush stumble over it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _above_the_bar(message: str) -> None:
    tqdm.write(_harmless(message), file=sys.stderr, end="")


def _harmless(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


class _ToLoguru(logging.Handler):
    """Passes records of the standard library's logging on."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO"
        logger.opt(exception=record.exc_info).log(level, "{}: {}", record.name, record.getMessage())
