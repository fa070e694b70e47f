"""A finished run found by the name that somebody typed, with its config as the schema of today has it.

For the verbs that look at a run again. Writes nothing; imports no torch.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alexnet_sweep.checks import check
from alexnet_sweep.composing import composed
from alexnet_sweep.config import Config
from alexnet_sweep.errors import FolderError, nearest, one_line
from alexnet_sweep.identity import source_hash
from alexnet_sweep.store import DONE, RunFolder

SHOWN = 8  # names in a message


@dataclass(frozen=True)
class FinishedRun:
    """A run that is done: its folder, its result, and its config, whose paths are those of the folder as it lies."""

    folder: RunFolder
    result: dict[str, Any]
    config: Config

    @property
    def name(self) -> str:
        return self.folder.run_id

    @property
    def fingerprint(self) -> str:
        """Of the data set that it was trained on."""
        return str(self.result["data"]["fingerprint"])

    @property
    def stale(self) -> bool:
        """Whether it was trained by other sources than those of today."""
        return bool(self.result["source_hash"] != source_hash(self.config))


def finished_run(name: str, runs: Path) -> FinishedRun:
    """The finished run of that id, of an id that begins so, or in that folder.

    Raises:
        FolderError: where there is none, there are several, or it is not done; one line.
        ConfigError: where its config does not fit the schema of today.
    """
    return read_finished(find_run(name, runs))


def find_run(name: str, runs: Path) -> RunFolder:
    """A run's folder by its id below `runs`, by the beginning of it, or by its path; it need not be finished.

    Raises:
        FolderError: where there is none, or there are several.
    """
    if "/" in name or name in (".", ".."):
        path = Path(name).resolve()  # `.` has no name of its own
        if not path.is_dir():
            raise FolderError(f"{name}: no such folder; give a run's folder, or its id below {runs}")
        return RunFolder(path)
    there = _names(runs)
    found = [name] if name in there else [run_id for run_id in there if name and run_id.startswith(name)]
    if len(found) == 1:
        return RunFolder(runs / found[0])
    if found:
        raise FolderError(f"{name}: the beginning of {len(found)} runs below {runs} ({_some(found)}); write more of it")
    raise FolderError(
        f"{name}: no run of that id below {runs}; have: {_some(there)}.{nearest(name, there)} --runs says where runs "
        "lie, and a path with a / in it names a folder"
    )


def check_outside_runs(target: Path, option: str) -> None:
    """Refuse to write what was asked for into a run's folder, which stays as it is.

    Raises:
        FolderError: naming the folder.
    """
    for path in (target.resolve(), *target.resolve().parents):
        folder = RunFolder(path)
        if folder.result.is_file() or folder.status.is_file():
            raise FolderError(f"{option} {target}: lies in a run's folder ({path}), which stays as it is; give another")


def _names(runs: Path) -> list[str]:
    """Ids of the runs that are below a folder, sorted."""
    if not runs.is_dir():
        return []
    return sorted(item.name for item in runs.iterdir() if item.is_dir() and not item.name.startswith(("_", ".")))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none yet") + more


def read_finished(folder: RunFolder) -> FinishedRun:
    """What a finished run has recorded; its folder may have been moved or renamed.

    Raises:
        FolderError, ConfigError: as `finished_run`.
    """
    result = folder.read_result(of_any_run=True)
    if result is None:
        status = folder.read_status()
        state = str(status.get("state", ""))
        if not state or state == DONE:
            raise FolderError(f"{folder.path}: no finished run (no {folder.result.name}); train it first")
        epoch, epochs = status.get("epoch"), status.get("epochs")
        reached = ""
        if isinstance(epoch, int) and isinstance(epochs, int):
            reached = f", epoch {min(epoch + 1, epochs)} of {epochs}"
        raise FolderError(f"{folder.path}: not finished ({state}{reached}); start its sweep again, or wait for it")
    lacks = [key for key in ("data", "source_hash", "epochs") if key not in result]
    if lacks or "fingerprint" not in result["data"]:
        raise FolderError(f"{folder.result}: lacks {', '.join(lacks) or 'data.fingerprint'}; train the run again")
    return FinishedRun(folder, result, _config(folder))


def _config(folder: RunFolder) -> Config:
    """The recorded config. A key that the run's version did not have takes its default of today."""
    recorded = folder.read_config()
    if recorded is None:
        raise FolderError(f"{folder.config}: cannot be read; train the run again")
    try:
        values = OmegaConf.merge(OmegaConf.structured(Config), _over(composed([]), recorded))
        config = OmegaConf.to_object(values)
    except OmegaConfBaseException as error:
        told = one_line(error).split(" full_key:")[0].split(": ", 1)[-1]
        raise FolderError(
            f"{folder.config}: does not fit this version ({told}); look at it with the one that wrote it"
        ) from error
    assert isinstance(config, Config)
    paths = dataclasses.replace(config.paths, runs=str(folder.path.parent))
    config = dataclasses.replace(config, paths=paths)
    check(config)
    return config


def _over(defaults: Any, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded values over those of a table of the schema; what the schema does not know stays, to be refused."""
    whole = dict(recorded)
    for field in dataclasses.fields(defaults):
        value = getattr(defaults, field.name)
        if dataclasses.is_dataclass(value):
            below = recorded.get(field.name, {})
            whole[field.name] = _over(value, below) if isinstance(below, Mapping) else below
        else:
            whole.setdefault(field.name, value)
    return whole
