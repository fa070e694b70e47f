"""What a typed config may not hold: values out of range, parts that do not go together, keys that nothing reads."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from alexnet_sweep.config import Config, ModelConfig, leaves
from alexnet_sweep.errors import ConfigError, nearest

ALEXNETS_OWN = (
    *("model.stem", "model.topology", "model.depth", "model.pool", "model.lrn.per_column"),
    "regularizer.dropout",
)
# What a network does not look at: no factor there makes a difference to it.
UNREAD = {
    "alexnet": ("model.local3_width", "model.net.hidden_units"),
    "conv_pool": (*ALEXNETS_OWN, "model.local3_width"),
    "conv_local": (*ALEXNETS_OWN, "model.net.hidden_units"),
}

# What a part of the user's own stands in for.
REPLACED = {
    "model.activation": ("name",),
    "model.lrn": ("kind", "size", "k", "alpha", "alpha_convention", "per_column"),
    "optim": ("name", "momentum"),
    "schedule": ("name", "drop_factor", "drop_fractions", "drop_epochs", "max_drops", "patience_epochs"),
}


def unread(config: Config) -> dict[str, str]:
    """Keys, and groups of keys, that nothing reads here, and what does not read them; they count in no identity."""
    found: dict[str, str] = {}
    for group, keys in REPLACED.items():
        node: Any = config
        for name in group.split("."):
            node = getattr(node, name)
        if node.custom is not None:
            found |= {f"{group}.{key}": f"{group}.custom" for key in keys}
    net = config.model.net
    if net.custom is not None:
        own = [f"model.{item.name}" for item in dataclasses.fields(ModelConfig) if item.name != "net"]
        parts = [*own, "model.net.name", "model.net.hidden_units", "regularizer.dropout"]
        found = {key: reader for key, reader in found.items() if not key.startswith("model.")}
        return found | dict.fromkeys(parts, "model.net.custom")
    return found | dict.fromkeys(UNREAD[net.name], f"model/net={net.name}")


def refuse_unread(config: Config, overrides: Sequence[str]) -> None:
    """Refuse what was typed about parts that the chosen network does not have: it would change nothing.

    Raises:
        ConfigError: naming the first such override.
    """
    for override in overrides:
        key = override.lstrip("+~").split("=", 1)[0].replace("/", ".")
        for part, reader in unread(config).items():
            if key == part or key.startswith(f"{part}."):
                raise ConfigError(f"{override}: {reader} does not read {part}; leave it out, or choose another option")


def watchers(config: Config) -> dict[str, str]:
    """What looks at the held-out part while it trains, and the option without that."""
    found = {}
    if config.schedule.name == "plateau":
        found["schedule=plateau"] = "schedule=fractions"
    if config.regularizer.best_epoch.kept:
        found["regularizer/best_epoch=on"] = "regularizer/best_epoch=off"
    return found


def check(config: Config) -> None:
    """Refuse values that the types allow but the program does not.

    Raises:
        ConfigError: one line with the key, the value found and what is allowed.
    """
    for key, item, value in leaves(config):
        _check_choice(key, item, value)
        _check_bounds(key, item, value)
    _check_across(config)


def _check_choice(key: str, item: dataclasses.Field[Any], value: Any) -> None:
    allowed = item.metadata.get("choices")
    if allowed and value not in allowed:
        raise ConfigError(f"{key}={value}: no such choice.{nearest(str(value), allowed)} Have: {', '.join(allowed)}")


def _check_bounds(key: str, item: dataclasses.Field[Any], value: Any) -> None:
    if "low" not in item.metadata or value is None:
        return
    low, high, open_high = (item.metadata[name] for name in ("low", "high", "open_high"))
    for number in _numbers(value):
        if not isinstance(number, int | float):  # a list in a list, which OmegaConf lets pass
            raise ConfigError(f"{key}={value}: holds {number}; allowed: numbers")
        if not low <= number <= high or (open_high and number == high) or not math.isfinite(number):
            end = "" if high == math.inf else f" and {'below' if open_high else 'at most'} {high:g}"
            raise ConfigError(f"{key}={value}: out of range; allowed: at least {low:g}{end}")


def _numbers(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


def _check_across(config: Config) -> None:
    data, model, schedule = config.data, config.model, config.schedule
    if (data.source == "custom") != (data.custom is not None):
        raise ConfigError(
            f"data.source={data.source}: data.custom is {'set' if data.custom else 'not set'}; the two go together"
        )
    if data.crop_px > data.stored_px:
        raise ConfigError(
            f"data.crop_px={data.crop_px}: larger than the stored images (data.stored_px={data.stored_px}); "
            "lower data.crop_px or raise data.stored_px"
        )
    stem = model.stem
    given = [value is not None for value in (stem.kernel, stem.stride, stem.padding)]
    if any(given) and not all(given):
        raise ConfigError(
            "model.stem: kernel, stride and padding go together; set all three, or none (model/stem=auto)"
        )
    if stem.padding is not None and len(stem.padding) != 4:
        raise ConfigError(f"model.stem.padding={stem.padding}: needs four numbers (left, right, top, bottom)")
    lengths: dict[str, tuple[list[Any], int]] = {
        "model.topology.kernels": (model.topology.kernels, 5),
        "model.topology.groups": (model.topology.groups, 5),
        "model.topology.fc_widths": (model.topology.fc_widths, 2),
        "model.topology.fc_groups": (model.topology.fc_groups, 2),
    }
    for key, (values, length) in lengths.items():
        if len(values) != length:
            raise ConfigError(f"{key}={values}: has {len(values)} values; needs {length}, one a layer")
    for watcher, otherwise in watchers(config).items():
        if data.heldout_fraction == 0:
            raise ConfigError(
                f"{watcher} watches the held-out part, but data.heldout_fraction=0; "
                f"set data.heldout_fraction=0.1 or choose {otherwise}"
            )
        if schedule.heldout_joins_fraction is not None:
            raise ConfigError(
                f"schedule.heldout_joins_fraction={schedule.heldout_joins_fraction:g}: {watcher} watches the "
                f"held-out part to the end; set it to null, or choose {otherwise}"
            )
    crop = config.aug.crop
    if (crop.area is None) != (crop.aspect is None) or (crop.area is not None and not crop.random):
        raise ConfigError(
            f"aug.crop.area={crop.area}: goes with aug.crop.aspect and aug.crop.random=true; set all three, or choose "
            "aug/crop=random_resized"
        )
    for key, ends in (("aug.crop.area", crop.area), ("aug.crop.aspect", crop.aspect)):
        if ends is not None and (len(ends) != 2 or not 0 < ends[0] <= ends[1]):
            raise ConfigError(f"{key}={ends}: needs two numbers above 0, the least and the largest")
    for key, colour in (("inputs.mean", config.inputs.mean), ("inputs.deviation", config.inputs.deviation)):
        if colour is not None and len(colour) != 3:
            raise ConfigError(f"{key}={colour}: needs three numbers (red, green, blue), or null")
    if config.trainer.processes > config.trainer.batch_size:
        raise ConfigError(
            f"trainer.processes={config.trainer.processes}: more than a batch has images (trainer.batch_size="
            f"{config.trainer.batch_size}); lower trainer.processes"
        )
    threads = config.trainer.cpu_threads
    if threads != "auto" and not (threads.isdecimal() and int(threads) > 0):
        raise ConfigError(f"trainer.cpu_threads={threads}: allowed: auto, or a number from 1")
    workers = config.trainer.workers
    if workers != "auto" and not workers.isdecimal():
        raise ConfigError(f"trainer.workers={workers}: allowed: auto, or a number from 0")
