"""What is typed: the commands' arguments, and one line for a mistake in them, whatever it holds."""

import argparse
import os
import sys
from collections.abc import Iterable
from typing import Any, NoReturn, TypeGuard

from alexnet_sweep.errors import ConfigError, nearest
from alexnet_sweep.terminal import ready, show
from alexnet_sweep.wording import printable

LONGEST, LONGEST_WORD = 600, 200  # signs of a message, and of one word in it: a value, a path
LONGEST_OVERRIDE = 8000  # signs; parsing takes longer than in proportion to them


def one_message(text: str) -> str:
    """One line of at most `LONGEST` signs that moves no cursor; of a longer word the middle is left out, then the end.

    A value that is absurdly long hides neither its key nor what is allowed.
    """
    words = (word if len(word) <= LONGEST_WORD else f"{word[:120]}…{word[-40:]}" for word in text.split())
    line = printable(" ".join(words))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def refused(mistake: BaseException | str) -> int:
    """Say on one line what is wrong with what was typed; the exit code for it."""
    print(one_message(not_allowed(mistake) if is_not_allowed(mistake) else str(mistake)), file=sys.stderr)
    return 2


def stopped(told: str = "stopped") -> int:
    """Say that somebody has asked to stop; the exit code for it."""
    print(told, file=sys.stderr)
    return 130


def is_not_allowed(error: object) -> TypeGuard[PermissionError]:
    """Whether a file or folder is kept from the user: another's, or with permissions that were taken away."""
    return isinstance(error, PermissionError) and error.filename is not None


def not_allowed(error: PermissionError) -> str:
    path = os.fsdecode(error.filename)
    return f"{path}: kept from you ({error.strerror}); have its permissions changed, or name another folder"


def check_words(words: Iterable[str]) -> None:
    """Refuse what no key, option, path or value can be, before anything looks at it.

    Raises:
        ConfigError: for a null byte, a sign that UTF-8 does not have, or a word without end.
    """
    for word in words:
        if "\0" in word or word != word.encode(errors="replace").decode():
            raise ConfigError(f"{word}: holds what is no text; allowed: UTF-8 without null bytes")
        if len(word) > LONGEST_OVERRIDE:
            raise ConfigError(f"{word[:300]}: {len(word):,} signs; allowed: {LONGEST_OVERRIDE:,}")


class Arguments(argparse.ArgumentParser):
    """A parser whose answer to a mistake is one line, instead of its whole usage before it.

    What is typed has been through `check_words`.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        ready()
        try:
            check_words(sys.argv[1:] if args is None else args)
        except ConfigError as error:
            sys.exit(refused(error))
        return super().parse_known_args(args, namespace)

    def print_help(self, file: Any = None) -> None:
        show(self.format_help().rstrip("\n"))

    def error(self, message: str) -> NoReturn:
        wrong = message.rpartition("unrecognized arguments: ")[2].split() if "unrecognized" in message else []
        flags = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
        guess = nearest(wrong[0], flags) if wrong else ""
        sys.exit(refused(f"{message}.{guess} --help lists what there is"))
