"""Hydra's and OmegaConf's exceptions as one line: what, which key or file, what is allowed, the nearest match.

Their own messages run over several lines and often leave the cause out. The typed arguments are looked at
again here, after the fact, so that nothing Hydra accepts is ever refused.
"""

import dataclasses
import errno
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeGuard

from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alexnet_sweep.arguments import is_not_allowed, not_allowed, one_message, refused, stopped
from alexnet_sweep.config import Config
from alexnet_sweep.errors import ConfigError, SweepError, nearest
from alexnet_sweep.groups import options, own_folder
from alexnet_sweep.terminal import show

LIBRARIES = ("hydra.", "omegaconf.", "antlr4.", "yaml.")
# Launchers that come with an extra, as Hydra's message names what it lacks.
IN_THE_EXTRA = {
    "joblib": ("hydra/launcher/joblib", "parallel"),
    "submitit_local": ("hydra/launcher/submitit_local", "parallel"),
    "submitit_slurm": ("hydra/launcher/submitit_slurm", "slurm"),
    "slurm": ("hydra/launcher/submitit_slurm", "slurm"),
    "slurm_multi_gpu": ("hydra/launcher/submitit_slurm", "slurm"),
}


def is_users(error: Exception) -> bool:
    """Whether an exception comes from what was typed: ours for the user, or raised inside the config libraries."""
    if isinstance(error, SweepError | HydraException | OmegaConfBaseException):
        return True
    if _is_too_long(error) or is_not_allowed(error):
        return True
    return _innermost_module(error.__traceback__).startswith(LIBRARIES)


def _is_too_long(error: Exception) -> TypeGuard[OSError]:
    """Whether a path is longer than a system takes one: nobody but the user makes names."""
    return isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG


def _innermost_module(trace: TracebackType | None) -> str:
    name = ""
    while trace is not None:
        name, trace = str(trace.tb_frame.f_globals.get("__name__", "")), trace.tb_next
    return name


def answered(
    work: Callable[[], str | int],
    typed: Sequence[str] = (),
    *,
    told: tuple[type[Exception], ...] = (),
    last_word: str = "stopped",
) -> int:
    """Carry out a verb's work and show the text that it gives; the verb's exit code, or the one that the work gives.

    A mistake in what was `typed` is told in one line, as are errors of the kinds `told`.
    """
    try:
        found = work()
    except KeyboardInterrupt:
        return stopped(last_word)
    except Exception as error:
        if is_users(error):
            return refused(explain(error, typed))
        if isinstance(error, told):
            return refused(error)
        raise
    if isinstance(found, int):
        return found
    show(found)
    return 0


def explain(error: Exception, arguments: Sequence[str]) -> str:
    """One line for a mistake in `arguments` or in a config file."""
    if isinstance(error, SweepError):
        return one_message(str(error))
    if isinstance(error, OverrideParseException):
        if "=" not in str(error.override):
            return f"'{error.override}': no value; write KEY=VALUE, or KEY=A,B with -m to sweep"
        reason = _flattened(error)
        return one_message(
            f"{error.override}: cannot be read as an override ({reason}); quote special characters, as in KEY='\"A B\"'"
        )
    if _is_too_long(error):
        return one_message(f"{error.filename}: too long for a file's name; give a shorter one")
    if is_not_allowed(error):
        return one_message(not_allowed(error))
    groups = options(own_folder(arguments))
    for argument in arguments:
        line = _about(argument, str(error), groups)
        if line is not None:
            return one_message(line)
    return one_message(_flattened(error))


def refuse_unknown_flags(arguments: Sequence[str]) -> None:
    """Refuse what Hydra's own parser of flags would refuse, in one line instead of its whole usage.

    Raises:
        ConfigError: what the parser says, and the nearest flag there is.
    """
    parser = get_args_parser()

    def refuse(message: str) -> typing.NoReturn:
        flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
        wrong = next((word for word in arguments if word.startswith("-") and word not in flags), "")
        raise ConfigError(f"{message}.{nearest(wrong, flags) if wrong else ''} --help lists what there is")

    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args(list(arguments))


def refuse_options_elsewhere(overrides: Sequence[str]) -> None:
    """Refuse `model/lrn=../pool/plain`: the file is there, but it is no option of that group.

    Raises:
        ConfigError: naming the override.
    """
    groups = options()
    for override in overrides:
        key, equals, value = override.lstrip("+~").partition("=")
        group = key.split("@")[0]
        if equals and group in groups and any(part in ("", ".", "..") for part in value.strip("'\"").split("/")):
            raise ConfigError(f"{override}: no such option. Have: {', '.join(groups[group])}")


def refuse_unknown_keys(composed: DictConfig) -> None:
    """Refuse keys that `+key=value` put beside the schema's: they would change nothing.

    Raises:
        ConfigError: naming the first one and the nearest key there is.
    """
    known = {key for key, _ in _keys()}
    for key in _leaf_keys(OmegaConf.to_container(composed), known):
        if key not in known:
            raise ConfigError(_no_such_key(key))


def _leaf_keys(node: Any, known: set[str], prefix: str = "") -> Iterator[str]:
    """Dotted keys of all leaves; a key of the schema that holds a dictionary is a leaf."""
    for name, value in node.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value and key not in known:
            yield from _leaf_keys(value, known, f"{key}.")
        else:
            yield key


def _keys(kind: type = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf key of the schema with its type."""
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _keys(hint, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", hint


def _about(argument: str, message: str, groups: dict[str, list[str]]) -> str | None:
    """What is wrong with one argument, if anything that can be told from the argument alone."""
    if argument.startswith("-"):
        return None
    key, equals, value = argument.lstrip("+~").partition("=")
    if not equals:
        return None
    if not key:
        return f"'{argument}': no key; write KEY=VALUE"
    if "Ambiguous value" in message and f"'{argument}'" in message:
        return f"{argument}: several values; add -m to sweep over them, or write a list as {key}=[{value}]"
    lacking, extra = IN_THE_EXTRA.get(value, ("", ""))
    if key == "hydra/launcher" and lacking and f"'{lacking}'" in message:
        return f"{argument}: not installed; install the extra: pip install -e '.[{extra}]' in the checkout"
    parents = {group.split("/")[0] for group in groups if "/" in group}
    if "Config group override must be" in message and (key in groups or key in parents):
        have = groups.get(key) or sorted(group for group in groups if group.startswith(f"{key}/"))
        return f"{argument}: not an option; have: {', '.join(have)}"
    if key in groups and f"Multiple values for {key}." in message:
        return f"{argument}: an option of {key} is chosen already; to choose another, write {key}={value}"
    if key in groups:
        hydras = ("basic", *IN_THE_EXTRA) if key == "hydra/launcher" else ()  # beside those in our own files
        return _about_options(key, value, sorted({*groups[key], *hydras}), message)
    keys = dict(_keys())
    if key in keys:
        return _about_value(argument, key, keys[key], message)
    if any(key.startswith(f"{known}.") for known in keys):
        return None  # inside a table
    if key == "hydra" or key.startswith(("hydra.", "hydra/")) or "@" in key:
        return None
    inner = {name.rsplit(".", 1)[0] for name in keys if "." in name}
    if key in inner and f"override {argument}" in message:
        below = [name for name in keys if name.startswith(f"{key}.")]
        return f"{argument}: '{key}' holds keys, not a value; set one of {', '.join(below[:8])}"
    if "/" in key:
        return f"{argument}: no config group '{key}'.{nearest(key, groups)} Have: {', '.join(sorted(groups))}"
    if key not in inner and key.split("@")[0] not in groups:
        return _no_such_key(key)
    return None


def _about_options(group: str, value: str, names: list[str], message: str) -> str | None:
    for chosen in value.split(","):
        if f"Could not find '{group}/{chosen}'" in message:
            return f"{group}={chosen}: no such option.{nearest(chosen, names)} Have: {', '.join(names)}"
    return None


def _about_value(argument: str, key: str, hint: Any, message: str) -> str | None:
    if f"Error merging override {key}=" in message or f"full_key: {key}\n" in message:
        return f"{argument}: wrong value; {key} takes {_type_words(hint)}"
    return None


def _type_words(hint: Any) -> str:
    if typing.get_origin(hint) is dict:
        return "a table, as {NAME: VALUE}"
    if typing.get_origin(hint) is list:
        return f"a list of {_type_words(typing.get_args(hint)[0]).split(' ', 1)[-1]}s"
    kinds = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a word",
        type(None): "null",
    }
    if hint in kinds:
        return kinds[hint]
    return " or ".join(_type_words(part) for part in typing.get_args(hint))


def _no_such_key(key: str) -> str:
    known = dict(_keys())
    prefix = key.rsplit(".", 1)[0] + "."
    beside = [name for name in known if name.startswith(prefix)]
    guess = nearest(key, [*known, *options()])
    listed = f" Have: {', '.join(beside)}" if beside else ""
    return f"{key}: no such key.{guess}{listed or ' --cfg job prints all keys'}"


def _flattened(error: BaseException) -> str:
    """The message and its cause's on one line, without what only a developer reads."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        kept = [
            line.strip()
            for line in str(cause).splitlines()
            if line.strip()
            and not re.match(r"\s*(See https?:|reference_type=|object_type=|provider=|Config search path)", line)
        ]
        parts += [part for part in kept if part not in parts]
        cause = cause.__cause__
    text = "; ".join(parts) or type(error).__name__
    unknown = re.search(r"Key '(.+?)' not in '(\w+)'", text)
    if unknown:
        fields = _fields_of(unknown[2])
        text += f".{nearest(unknown[1], fields)} Have: {', '.join(fields)}"
    return text


def _fields_of(name: str, kind: type = Config) -> list[str]:
    """Field names of the schema's dataclass of that name."""
    if kind.__name__ == name:
        return [item.name for item in dataclasses.fields(kind)]
    for hint in typing.get_type_hints(kind).values():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found = _fields_of(name, hint)
            if found:
                return found
    return []
