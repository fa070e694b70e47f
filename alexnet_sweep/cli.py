"""Hydra's entry: composed config → typed config → one run. Imports no torch before a run really starts."""

import os
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from loguru import logger
from omegaconf import DictConfig, OmegaConf

from alexnet_sweep.arguments import check_words, refused, stopped
from alexnet_sweep.checks import check, refuse_unread
from alexnet_sweep.config import Config, register_schema
from alexnet_sweep.errors import ConfigError, RunsFailed
from alexnet_sweep.groups import conf_folder
from alexnet_sweep.mistakes import (
    explain,
    is_users,
    refuse_options_elsewhere,
    refuse_unknown_flags,
    refuse_unknown_keys,
)
from alexnet_sweep.terminal import show, show_log, unread

if TYPE_CHECKING:
    from alexnet_sweep.distributed import Team

register_schema()

_raised: list[Exception] = []


def answer(arguments: Sequence[str]) -> int:
    """Do what is asked for; exit code 0 if it is done, 1 where a run failed, 2 for a mistake, 130 if stopped."""
    sys.argv[1:] = flags_first(arguments)
    # Hydra then lets exceptions through instead of printing them in its own way.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        check_words(sys.argv[1:])
        refuse_unknown_flags(sys.argv[1:])
        shows_config = get_args_parser().parse_args(sys.argv[1:]).cfg is not None
        # Hydra prints it, and no run begins, whose own pipes may break.
        with unread() if shows_config else nullcontext():
            launch()
    except RunsFailed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        return stopped(str(error) or "stopped")
    except Exception as error:
        if not is_users(error):
            raise
        return refused(explain(error, sys.argv[1:]))
    return 0


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Flags may stand anywhere: Hydra's own parser takes those between overrides for mistakes."""
    known = {flag: action.nargs for action in get_args_parser()._actions for flag in action.option_strings}
    flags: list[str] = []
    others: list[str] = []
    words = deque(arguments)
    while words:
        word = words.popleft()
        lacks_value = not words and "=" not in word and known.get(word) is None
        if word.partition("=")[0] not in known or lacks_value:
            others.append(word)
        elif "=" in word or known[word] == 0:
            flags.append(word)
        elif known[word] is None:
            flags += [word, words.popleft()]
        else:  # --info: its word may be left out, but no override is one
            named = words and "=" not in words[0] and not words[0].startswith("-")
            flags.append(f"--info={words.popleft() if named else 'all'}")
    return [*flags, *others]


def launch() -> None:
    """Run what the command line asks for.

    Raises:
        SweepError: a mistake of the user's.
        RunsFailed, Interrupted: see `alexnet_sweep.errors`.
    """
    show_log()
    _task()
    if _raised:
        raise _raised.pop()


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def _task(composed: DictConfig) -> dict[str, Any] | None:
    in_a_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if in_a_sweep:
        show_log()  # a launcher's process starts without
    try:
        # Unresolved: a typed interpolation is resolved where it stands, or told of there.
        typed_overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
        assert isinstance(typed_overrides, list)
        config = typed(composed, [str(word) for word in typed_overrides])
        if config.study is not None and not in_a_sweep:
            raise ConfigError(f"study={config.study}: a study is a sweep; add -m")
        launcher = HydraConfig.get().runtime.choices["hydra/launcher"]
        if launcher != "basic" and not in_a_sweep:
            raise ConfigError(f"hydra/launcher={launcher}: launches the runs of a sweep; add -m, for one run as well")
        return run_one(config, in_a_sweep=in_a_sweep)
    except Exception as error:
        if in_a_sweep:
            raise
        _raised.append(error)  # raised again once Hydra has ended: it prints a line of its own about errors
        return None


def typed(composed: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """The dataclass of a composed config, checked; `overrides` are those that somebody typed.

    Raises:
        ConfigError: keys beside the schema's, values that are not allowed, overrides that would change nothing.
    """
    refuse_options_elsewhere(overrides)
    refuse_unknown_keys(composed)
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    check(config)
    refuse_unread(config, overrides)
    return config


def run_one(config: Config, *, in_a_sweep: bool = False) -> dict[str, Any] | None:
    """Train the composed run, go on with it, or say that it is done; returns its result.

    In a sweep, None for a run that another process has.

    Raises:
        SweepError: a mistake of the user's.
    """
    from alexnet_sweep.launching import started_as

    started = started_as()
    if started is None:
        return _run_one(config, in_a_sweep=in_a_sweep)
    rank, processes, local = started
    if processes != config.trainer.processes:
        raise ConfigError(
            f"trainer.processes={config.trainer.processes}: {processes} processes were started for the run; set it to "
            f"{processes}, or start as many as it says"
        )
    from alexnet_sweep.assemble import effective_device
    from alexnet_sweep.backend import backend
    from alexnet_sweep.distributed import team_of_environment
    from alexnet_sweep.job import follow

    with team_of_environment(effective_device(config.trainer.device), processes, rank, local) as team:
        if team.leads:
            try:
                result = _run_one(config, in_a_sweep=in_a_sweep, team=team)
            except BaseException:
                team.call_off()
                raise
            team.go(False)  # where there was no run: nobody waits for one
            return result
        if team.told():
            with backend(config.trainer, team.local_size):
                follow(team, config)
        return None


def _run_one(config: Config, *, in_a_sweep: bool, team: "Team | None" = None) -> dict[str, Any] | None:
    from alexnet_sweep.errors import FolderError
    from alexnet_sweep.identity import run_id, source_hash, training_id
    from alexnet_sweep.ledger import TO_TRAIN, Action, check_retrain, decide
    from alexnet_sweep.precheck import DataFacts
    from alexnet_sweep.room import check_room
    from alexnet_sweep.running import InUse
    from alexnet_sweep.store import RunFolder

    facts = DataFacts()
    mark = facts.fingerprint(config)
    name = run_id(config, mark)
    if not in_a_sweep:  # a sweep has checked it against all its runs
        check_retrain(config.sweep, lambda: {name})
    folder = RunFolder(Path(config.paths.runs) / name)
    decision = decide(folder, config.sweep, source_hash(config))
    if decision.action is Action.DONE:
        result = folder.read_result()
        assert result is not None
        error = result["errors"]["test"]["centre"]["top1_error"]
        show(f"run {name} is done: test error {error:.2%} (centre view); sweep.retrain={name} trains it again")
        return result
    if decision.action in (Action.STALE, Action.GIVEN_UP):
        raise FolderError(f"run {name}: {decision.why}; sweep.stale=retrain or sweep.retrain={name} trains it again")
    if decision.action is Action.ALIVE and not in_a_sweep:
        raise FolderError(f"run {name}: {decision.why}; wait for it, or stop it first")
    if decision.action is Action.ALIVE:
        return None
    facts.check(config)
    if not in_a_sweep:
        check_room([config], facts.meta, 1)
    from alexnet_sweep.assemble import effective_device
    from alexnet_sweep.job import run

    effective_device(config.trainer.device)  # refused before anything is written
    facts.pack(config)

    told: list[str] = []

    def admit() -> bool:
        """Decide again, now that nobody else can claim the run: whether what it has recorded goes."""
        again = decide(folder, config.sweep, source_hash(config))
        if again.action not in TO_TRAIN:
            raise InUse(f"run {name}: {again.why} by now; start again")
        if again.aside:
            told.append(f"run {name}: {again.why}; what was there is now in {folder.set_aside()}")
        return again.clear

    try:
        return run(config, name, admit, training_id(config, mark), told, team)
    except InUse:
        if in_a_sweep:  # another process was quicker: it trains the run, or has
            return None
        raise
    except FolderError as error:
        if in_a_sweep and str(error) not in str(folder.read_status().get("reason")):
            logger.error("run {}: {}", name, error)  # launchers keep it to themselves
        raise
