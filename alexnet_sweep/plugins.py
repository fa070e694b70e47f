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


# What the program calls each part with: positional arguments, and named ones.
GIVEN = {
    "model.net.custom": (0, ("classes", "crop_px")),
    "model.lrn.custom": (1, ()),
    "model.pool.custom": (2, ("ceil_mode",)),
    "aug.mix.custom": (0, ("num_classes",)),
    "optim.custom": (1, ("lr",)),
    "schedule.custom": (2, ()),
    "eval.metrics": (2, ()),
}


def _check(key: str, custom: Any) -> None:
    if not isinstance(custom, Mapping) or not isinstance(custom.get("_target_"), str):
        shown = dict(custom) if isinstance(custom, Mapping) else custom
        raise ConfigError(f"{key}={shown}: has no _target_; write {{_target_: package.name, …arguments}}")
    for path in nested_targets(custom):
        _imported(key, path)
    path = custom["_target_"]
    found = _imported(key, path)
    group = "eval.metrics" if key.startswith("eval.metrics.") else key
    positional, named = GIVEN.get(group, (0, ()))
    arguments = {name: value for name, value in custom.items() if not name.startswith("_")}
    for name in named:
        if name in arguments:
            raise ConfigError(f"{key}: {name} is what the program gives {path}; leave it out of the file")
    try:
        given = [*custom.get("_args_", ()), *range(positional)]
        inspect.signature(found).bind(*given, **arguments, **dict.fromkeys(named))
    except TypeError as error:
        raise ConfigError(f"{key}: {path} does not take these arguments ({error})") from error
    except ValueError:
        pass  # a built-in that does not tell its signature


def _imported(key: str, path: str) -> Any:
    from hydra.utils import get_object

    try:
        return get_object(path)
    except Exception as error:  # whatever the user's module raises as it is imported
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise ConfigError(
            f"{key}._target_={path}: cannot be imported ({reason}); start from its folder, or put that on PYTHONPATH"
        ) from error


def targets(config: Config, *, metrics: bool = True) -> set[str]:
    """All `_target_`s in a config, nested ones too; with or without those of metrics."""
    customs = [custom for key, custom in _customs(config) if metrics or not key.startswith("eval.metrics.")]
    return {path for custom in customs for path in nested_targets(custom)}


def _customs(config: Config) -> Iterator[tuple[str, Any]]:
    for key, item, value in leaves(config):
        if item.name == "custom" and value is not None:
            yield key, value
    for name, custom in config.eval.metrics.items():
        yield f"eval.metrics.{name}", custom


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
        folders = [Path(folder) for folder in spec.submodule_search_locations or []]
        files = {file.relative_to(folder).as_posix(): file for folder in folders for file in folder.rglob("*.py")}
        if not folders and spec.origin is not None and Path(spec.origin).is_file():
            files = {Path(spec.origin).name: Path(spec.origin)}
        found += [[f"{package}/{name}", file.read_text(errors="replace")] for name, file in sorted(files.items())]
    return found
