"""Hydra's entry: composed config → typed config → one run."""

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from alexnet_sweep.config import Config, check, register_schema
from alexnet_sweep.groups import conf_folder

register_schema()


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def run_one(composed: DictConfig) -> dict[str, Any]:
    """Train the composed run, go on with it, or say that it is done; returns its result.

    Raises:
        SweepError: a mistake of the user's.
    """
    from alexnet_sweep.data.pack import describe, fingerprint
    from alexnet_sweep.data.splits import check_sizes
    from alexnet_sweep.errors import FolderError, SweepError
    from alexnet_sweep.identity import run_id, source_hash
    from alexnet_sweep.ledger import Action, decide
    from alexnet_sweep.store import RunFolder

    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    check(config)
    name = run_id(config, fingerprint(config.data))
    folder = RunFolder(Path(config.paths.runs) / name)
    decision = decide(folder, config.sweep, source_hash())
    if decision.action is Action.DONE:
        result = folder.read_result()
        assert result is not None
        error = result["errors"]["test"]["centre"]["top1_error"]
        print(f"run {name} is done: test error {error:.2%} (centre view); sweep.retrain={name} trains it again")
        return result
    if decision.action in (Action.STALE, Action.GIVEN_UP):
        raise SweepError(f"run {name}: {decision.why}; sweep.retrain={name} trains it again")
    if decision.action is Action.ALIVE:
        raise FolderError(f"run {name}: {decision.why}; wait for it, or stop it first")
    check_sizes(config, describe(config.data, Path(config.paths.store)).counts)
    if decision.clear:
        folder.clear()
    from alexnet_sweep.job import run

    return run(config, name)
