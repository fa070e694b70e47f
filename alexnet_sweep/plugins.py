"""Parts of one's own: whatever a config names by `_target_` in place of one of ours.

    custom: {_target_: my_package.MyNet, width: 32}

is called with what the program gives at that place (`alexnet_sweep.config` says what) and with the arguments beside
`_target_`. Nested `_target_`s are built first, as by `hydra.utils.instantiate`. Imports nothing of the user's before it
is asked to.
"""

import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from alexnet_sweep.config import Config, leaves
from alexnet_sweep.errors import ConfigError

RECORDED = frozenset(("torch", "torchvision", "numpy"))  # libraries whose versions a run records


def load(custom: Mapping[str, Any]) -> Callable[..., Any]:
    """The named callable with its arguments, still to be called with what the program gives."""
    from hydra.utils import instantiate

    part: Callable[..., Any] = instantiate(dict(custom), _partial_=True, _convert_="all")
    return part


def check_plugins(config: Config) -> None:
    """Import every part of the user's that a config names.

    Raises:
        ConfigError: where one cannot be imported, or does not take the arguments beside it.
    """
    for key, custom in _customs(config):
        _check(key, custom)


def _check(key: str, custom: Mapping[str, Any]) -> None:
    from hydra.utils import get_object

    path = custom.get("_target_")
    if not isinstance(path, str):
        raise ConfigError(f"{key}={dict(custom)}: has no _target_; write {{_target_: package.name, …arguments}}")
    try:
        found = get_object(path)
    except Exception as error:  # whatever the user's module raises as it is imported
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise ConfigError(
            f"{key}._target_={path}: cannot be imported ({reason}); start from its folder, or put that on PYTHONPATH"
        ) from error
    arguments = {name: value for name, value in custom.items() if not name.startswith("_")}
    try:
        inspect.signature(found).bind_partial(**arguments)
    except TypeError as error:
        raise ConfigError(f"{key}: {path} does not take these arguments ({error})") from error
    except ValueError:
        pass  # a built-in that does not tell its signature


def targets(config: Config) -> set[str]:
    """All `_target_`s in a config, nested ones too."""
    return {path for _, custom in _customs(config) for path in nested_targets(custom)}


def _customs(config: Config) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, item, value in leaves(config):
        if item.name == "custom" and value is not None:
            yield key, value
    for name, custom in config.eval.metrics.items():
        yield f"eval.metrics.{name}", custom if isinstance(custom, dict) else {}


def nested_targets(value: Any) -> Iterator[str]:
    """Every `_target_` in plain nested values."""
    if isinstance(value, Mapping):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        for inner in value.values():
            yield from nested_targets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nested_targets(inner)


def sources(custom: tuple[str, ...]) -> list[list[str]]:
    """Names and texts of all Python files of the packages that hold the targets, but for `RECORDED` ones."""
    found: list[list[str]] = []
    for package in sorted({path.split(".")[0] for path in custom} - RECORDED):
        spec = importlib.util.find_spec(package)
        if spec is None:
            continue  # told of when it is imported
        folders = list(spec.submodule_search_locations or [])
        files = sorted(file for folder in folders for file in Path(folder).rglob("*.py"))
        if not folders and spec.origin is not None and Path(spec.origin).is_file():
            files = [Path(spec.origin)]
        found += [[f"{package}/{file.name}", file.read_text(errors="replace")] for file in files]
    return found
