"""Composing a config outside of `hydra.main`, for the commands that look at a config without running it."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from omegaconf import open_dict, read_write

from alexnet_sweep.arguments import check_words
from alexnet_sweep.cli import typed
from alexnet_sweep.config import Config
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.groups import conf_folder


def take_overrides(parser: argparse.ArgumentParser) -> None:
    """Let a command take overrides, and a folder of the user's own options, as `python -m alexnet_sweep` does."""
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="OVERRIDE", help="as python -m alexnet_sweep takes them"
    )
    parser.add_argument("-cd", "--config-dir", type=Path, metavar="FOLDER", help="options of your own, beside ours")


def words_of(chosen: argparse.Namespace) -> list[str]:
    """What was typed of that, as `alexnet_sweep.mistakes` looks at it."""
    own = [] if chosen.config_dir is None else [f"--config-dir={chosen.config_dir}"]
    return [*own, *chosen.overrides]


def composed(overrides: Sequence[str], own: Path | None = None) -> Config:
    """The typed, checked config of these overrides, as `python -m alexnet_sweep` would compose it.

    `own` is a folder of the user's own options, as `--config-dir` names one.

    Raises:
        SweepError, HydraException, OmegaConfBaseException: see `alexnet_sweep.mistakes`.
    """
    check_words(overrides)
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        if own is not None:
            _look_into(own)
        config = compose("config", overrides=list(overrides))
    with read_write(config), open_dict(config):
        config.pop("hydra", None)
    return typed(config, overrides)


def _look_into(own: Path) -> None:
    """Put a folder of options where `hydra.main` puts that of `--config-dir`."""
    if not own.is_dir():
        raise ConfigError(
            f"--config-dir {own}: no such folder; name the one that holds your options, as GROUP/NAME.yaml"
        )
    path = create_config_search_path(str(conf_folder()))
    path.prepend("command-line", f"file://{own.absolute()}", SearchPathQuery(provider="schema"))
    GlobalHydra.instance().clear()
    Hydra.create_main_hydra2("app", path)
