"""Composing a config outside of `hydra.main`, for the commands that look at a config without running it."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from omegaconf import open_dict, read_write

from alexnet_sweep.arguments import check_words
from alexnet_sweep.cli import typed
from alexnet_sweep.config import Config
from alexnet_sweep.groups import conf_folder


def composed(overrides: Sequence[str]) -> Config:
    """The typed, checked config of these overrides, as `python -m alexnet_sweep` would compose it.

    Raises:
        SweepError, HydraException, OmegaConfBaseException: see `alexnet_sweep.mistakes`.
    """
    check_words(overrides)
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", overrides=list(overrides))
    with read_write(config), open_dict(config):
        config.pop("hydra", None)
    return typed(config, overrides)
