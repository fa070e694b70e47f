"""What can go from a runs folder, and deleting it without hurting anybody who is at work there. Imports no torch."""

import importlib.util
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from alexnet_sweep.errors import FolderError, OtherFormat
from alexnet_sweep.files import half_written, names_a_folder, read_file
from alexnet_sweep.identity import sources_hash
from alexnet_sweep.locks import DEAD_AFTER_SECONDS
from alexnet_sweep.plugins import RECORDED, nested_targets
from alexnet_sweep.progress import planned_runs
from alexnet_sweep.reuse import NOTES
from alexnet_sweep.running import alive_elsewhere
from alexnet_sweep.store import RUNNING, RunFolder
from alexnet_sweep.study_folder import STUDY_FILES, StudyFolder, study_folder
from alexnet_sweep.wording import counted

YOUNG_SECONDS = 3600.0  # a store younger than this may be packed for runs still to start, a file be still written
LOCK_SECONDS = 10.0
WAITERS_SECONDS = 0.3
STORE = re.compile(r"[0-9a-f]{16}")
LEFTOVER = re.compile(r"\.[0-9a-f]{16}\..+")  # a store on its way in or out
ASIDE = re.compile(r"set_aside-\d+")
STARTS_FROM = re.compile(r"\+*init_from=(.+)")
CHECKPOINT, SET_ASIDE, STALE, DATA, BUILD, POINTER = "checkpoint", "set_aside", "stale", "data", "build", "pointer"
WEIGHTS, HALF_WRITTEN, HALF_WRITTEN_BESIDE = "weights", "half_written", "half_written_beside"
KILLED = "left by a process that was killed while writing"


@dataclass(frozen=True)
class Finding:
    """Something that can go; one that is found again and is equal has not changed, nor has what speaks for its end."""

    kind: str
    path: Path
    size: int
    why: str
    marks: tuple[Any, ...] = ()


class LeftAlone(Exception):
    """Why something that was found is not deleted after all."""


class Cleaner:
    """Finds what can go below a runs folder, or of one study's runs alone, and deletes it."""

    def __init__(self, runs: Path, study: str | None = None) -> None:
        """
        Raises:
            FolderError: where there is no such folder or study.
        """
        if not runs.is_dir():
            raise FolderError(f"{runs}: no such folder; --runs says where run folders lie")
        self.runs = runs
        self._only = None if study is None else {run.run_id for run in planned_runs(study_folder(runs, study))}
        self._unjudged: set[str] = set()  # finished runs whose training code cannot be looked at
        self._closed: set[Path] = set()  # folders that their owners keep from the user
        self._notes: list[str] = []
        self._emptied: list[RunFolder] = []

    def findings(self) -> tuple[list[Finding], list[str]]:
        """All that can go, and notes on what could not be judged.

        Data comes first: once a stale run is gone, its study has a run to start, which may need any of it.
        """
        self._unjudged.clear()
        self._closed.clear()
        self._notes.clear()
        data = self._in_data() if self._only is None else []
        folders = self._run_folders(self._only)
        found = [finding for folder in folders for finding in self._in_run(folder)]
        foreign = sum(_is_foreign(folder) for folder in folders)
        if foreign:
            self._notes.append(f"{counted(foreign, 'run')} left alone: written by another version of alexnet-sweep")
        stale = {finding.path.name for finding in found if finding.kind == STALE}
        sources = self._started_from() if stale else set()
        needed = stale if sources is None else stale & sources
        if needed:
            why = "other runs start from" if sources is not None else "a plan or a run that cannot be read may need"
            self._notes.append(f"{counted(len(needed), 'run')} kept: stale, but {why} their weights (init_from)")
            found = [finding for finding in found if finding.kind != STALE or finding.path.name not in needed]
        if self._unjudged:
            self._notes.append(
                f"{counted(len(self._unjudged), 'run')} not judged: stale or not, parts of one's own or config.yaml "
                "cannot be found from here; start from the folder that holds them"
            )
        beside = self._half_written_beside() if self._only is None else []
        found += [*self._pointers(stale - needed), *beside]
        self._notes += [f"{path}: kept from you, not looked into" for path in sorted(self._closed)]
        return [*data, *found], list(self._notes)

    def delete(self, finding: Finding) -> None:
        """Delete what was found, if it is still just that.

        Raises:
            LeftAlone: where it is not.
            OSError: where it cannot be deleted.
        """
        if finding.kind == POINTER:
            if self._has_result(_named(finding.path)):
                raise LeftAlone("its run is there")
            finding.path.unlink(missing_ok=True)
        elif finding.kind == HALF_WRITTEN_BESIDE:
            if finding not in self._half_written_beside():
                raise LeftAlone("gone or in use by now")
            finding.path.unlink(missing_ok=True)
        elif finding.kind in (DATA, BUILD):
            if finding not in self._in_data():
                raise LeftAlone("changed or needed by now")
            _remove_store(finding.path)
        else:
            self._delete_from_run(finding)

    # --- runs ---

    def _run_folders(self, only: set[str] | None = None) -> list[RunFolder]:
        """Never a link: what it leads to may lie anywhere."""
        with os.scandir(self.runs) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        names = [name for name in names if name[0] not in "._" and (only is None or name in only)]
        folders = [RunFolder(self.runs / name) for name in sorted(names) if self._is_open(self.runs / name)]
        return [folder for folder in folders if folder.status.is_file() or folder.result.is_file()]

    def _in_run(self, folder: RunFolder) -> list[Finding]:
        if _in_use(folder) is not None or _is_foreign(folder):
            return []
        marks = (_mark(folder.status), _mark(folder.result))
        result = _result(folder)
        if result is not None and self._is_stale(folder, result):
            size, _ = _measured(folder.path)
            return [Finding(STALE, folder.path, size, "stale: its result is of older training code", marks)]
        found: list[Finding] = []
        if result is not None:
            checkpoint = (folder.read_config() or {}).get("checkpoint")
            keep = checkpoint.get("keep") if isinstance(checkpoint, dict) else None
            if _is(folder.checkpoint, stat.S_ISREG):
                why = "checkpoint of a finished run" + (", as checkpoint.keep=full asked for" if keep == "full" else "")
                size, newest = _measured(folder.checkpoint)
                found.append(Finding(CHECKPOINT, folder.checkpoint, size, why, (*marks, newest)))
            if keep == "none" and _is(folder.weights, stat.S_ISREG):  # it was killed before it had removed them
                size, newest = _measured(folder.weights)
                why = "weights of a finished run, though checkpoint.keep=none"
                found.append(Finding(WEIGHTS, folder.weights, size, why, (*marks, newest)))
        for path in half_written(folder.path, folder.names):
            size, newest = _measured(path)
            found.append(Finding(HALF_WRITTEN, path, size, KILLED, marks))
        for path in sorted(folder.path.iterdir()):
            if ASIDE.fullmatch(path.name) and _is(path, stat.S_ISDIR):
                size, newest = _measured(path)
                found.append(Finding(SET_ASIDE, path, size, "set aside: could not be read", (*marks, newest)))
        return found

    def _is_stale(self, folder: RunFolder, result: dict[str, Any]) -> bool:
        if result.get("source_hash") == sources_hash(()):
            return False
        config = folder.read_config()
        targets = set() if config is None else set(nested_targets(config))
        # What is not there would count as unchanged, and the run as stale: better not to judge it.
        if config is None or not all(_is_found(path.split(".")[0]) for path in targets):
            self._unjudged.add(folder.run_id)
            return False
        return bool(result.get("source_hash") != sources_hash(tuple(sorted(targets))))

    def _started_from(self) -> set[str] | None:
        """Names of runs whose weights a run starts from, or a planned one will; None where nobody can tell."""
        sources = [(folder.read_config() or {}).get("init_from") for folder in self._run_folders()]
        for study in self._studies():
            with suppress(FolderError, OSError, KeyError, TypeError):
                try:
                    plan = study.read_plan()
                except OtherFormat:
                    return None
                words = [str(word) for run in plan["runs"] for word in run["overrides"]]
                sources += [found[1].strip("'\"") for word in words if (found := STARTS_FROM.fullmatch(word))]
        if self._who_may_need():
            return None
        return {Path(str(source)).name for source in sources if source is not None}

    def _delete_from_run(self, finding: Finding) -> None:
        folder = RunFolder(finding.path if finding.kind == STALE else finding.path.parent)
        if not _is(folder.path, stat.S_ISDIR):
            raise LeftAlone("gone by now")
        try:
            with filelock.FileLock(folder.path / ".lock", timeout=LOCK_SECONDS):  # nobody can claim the run now
                owner = _in_use(folder)
                if owner is not None:
                    raise LeftAlone(owner)
                if finding not in self._in_run(folder):
                    raise LeftAlone("changed by now")
                if finding.kind == STALE:
                    _empty(folder)
                else:
                    _remove(finding.path)
        except filelock.Timeout as error:
            raise LeftAlone("in use: another process holds its lock") from error
        if finding.kind == STALE:
            self._emptied.append(folder)

    def finish(self) -> None:
        """Remove the folders of deleted runs, unless somebody has begun such a run anew.

        Not at once: whoever waits for the lock looks for it time and again, and would miss its folder.
        """
        if self._emptied:
            time.sleep(WAITERS_SECONDS)
        for folder in self._emptied:
            with suppress(OSError, filelock.Timeout), filelock.FileLock(folder.path / ".lock", timeout=0):
                if [path.name for path in folder.path.iterdir()] == [".lock"]:
                    (folder.path / ".lock").unlink()
            with suppress(OSError):  # not empty
                folder.path.rmdir()
        self._emptied.clear()

    # --- beside the runs ---

    def _studies(self) -> list[StudyFolder]:
        around = self.runs / "_studies"
        if self._is_open(around):
            for study in around.iterdir() if around.is_dir() else ():
                self._is_open(study)
        return [StudyFolder(plan.parent) for plan in sorted(around.glob("*/plan.json"))]

    def _is_open(self, folder: Path) -> bool:
        """Whether it may be looked into, if it is a folder."""
        if not _is(folder, stat.S_ISDIR) or os.access(folder, os.R_OK | os.X_OK):
            return True
        self._closed.add(folder)
        return False

    def _who_may_need(self) -> list[Path]:
        """Runs and studies that may not be looked into: nobody can tell what they need."""
        ours = (self.runs, self.runs / "_studies")
        return sorted(path for path in self._closed - {self.runs / "_data", self.runs / NOTES} if path.parent in ours)

    def _inside(self, folder: Path) -> Iterator[Path]:
        """What lies in a folder of ours; nothing where it is missing, closed, or a link to somewhere else."""
        if _is(folder, stat.S_ISDIR) and self._is_open(folder):
            yield from sorted(folder.iterdir())

    def _in_data(self) -> list[Finding]:
        """Packed stores that nothing refers to, and what is left of builds that broke off."""
        found: list[Finding] = []
        fingerprints, kinds, unknown = self._data_needed()
        unneeded = 0
        for path in self._inside(self.runs / "_data"):
            if not _is(path, stat.S_ISDIR) or not self._is_open(path):
                continue
            size, newest = _measured(path)
            if time.time() - newest < YOUNG_SECONDS:
                continue
            if LEFTOVER.fullmatch(path.name):
                found.append(Finding(BUILD, path, size, "left of a build that broke off", (newest,)))
            elif STORE.fullmatch(path.name) and path.name not in fingerprints and _kind_of(path) not in kinds:
                unneeded += 1
                if unknown is None:
                    found.append(Finding(DATA, path, size, "data that no run and no plan refers to", (newest,)))
        if unneeded and unknown is not None:
            self._notes.append(f"{unneeded} of {self.runs / '_data'} kept: {unknown}, and may need {_it(unneeded)}")
        return found

    def _data_needed(self) -> tuple[set[str], set[tuple[str, str]], str | None]:
        """Fingerprints that results name; names and sizes of unfinished runs' data; who needs what nobody can tell."""
        fingerprints: set[str] = set()
        kinds: set[tuple[str, str]] = set()
        known: set[str] = set()
        unknown: str | None = None
        for folder in self._run_folders():
            data: Any = (_result(folder) or folder.read_config() or {}).get("data")
            if _is_foreign(folder):
                unknown = f"{folder.path} was written by another version of alexnet-sweep"
            elif isinstance(data, dict):
                known.add(folder.run_id)
                fingerprints.add(str(data.get("fingerprint")))
                kinds.add((str(data.get("name")), str(data.get("stored_px"))))
            elif _in_use(folder) is not None:
                unknown = f"{folder.path} has just started"
        for study in self._studies():
            try:
                unstarted = [run for run in planned_runs(study) if run.run_id not in known]
            except (FolderError, OSError):
                unknown = f"{study.plan} cannot be read"
                continue
            if unstarted:
                unknown = f"study {study.name} has {counted(len(unstarted), 'run')} still to start"
        for path in self._who_may_need():
            unknown = f"{path} may not be looked into"
        return fingerprints, kinds, unknown

    def _half_written_beside(self) -> list[Finding]:
        """What was to become a file of a study, or a pointer; not if it may still be written."""
        trained = self.runs / NOTES
        left = half_written(trained, None) if _is(trained, stat.S_ISDIR) else []
        for study in self._inside(self.runs / "_studies"):
            left += half_written(study, STUDY_FILES) if _is(study, stat.S_ISDIR) else []
        measured = [(path, *_measured(path)) for path in left]
        return [
            Finding(HALF_WRITTEN_BESIDE, path, size, KILLED, (newest,))
            for path, size, newest in measured
            if time.time() - newest >= YOUNG_SECONDS
        ]

    def _pointers(self, going: set[str]) -> list[Finding]:
        """Files that name the run that trained something, where that run is gone, or among those `going`."""
        found: list[Finding] = []
        for path in self._inside(self.runs / NOTES):
            if path.name.startswith(".") or not _is(path, stat.S_ISREG):
                continue
            name = _named(path)
            if self._only is not None and name not in self._only:
                continue
            if name in going or not self._has_result(name):
                found.append(Finding(POINTER, path, _measured(path)[0], "names a run that is gone or stale"))
        return found

    def _has_result(self, name: str) -> bool:
        if not names_a_folder(name):
            return False
        return not self._is_open(self.runs / name) or RunFolder(self.runs / name).result.is_file()


def _it(number: int) -> str:
    return "it" if number == 1 else "them"


def _in_use(folder: RunFolder) -> str | None:
    """Who has the run, if anybody may: a status that cannot be read counts, and one that was written just now."""
    try:
        owner, status = alive_elsewhere(folder), folder.read_status()
        silent = time.time() - float(status.get("heartbeat") or 0.0)
    except (FolderError, OSError, ValueError, TypeError, OverflowError):
        return "its status cannot be read"
    if owner is not None:
        return f"in use by {owner}"
    if not status and folder.status.is_file():
        return "its status cannot be read"
    # A process of another container is not seen from here, though it runs on this host.
    return "in use a moment ago" if status.get("state") == RUNNING and abs(silent) < DEAD_AFTER_SECONDS else None


def _is_foreign(folder: RunFolder) -> bool:
    """Whether another version has written it, whose files are not read here."""
    try:
        folder.read_status()
        folder.read_result()
    except OtherFormat:
        return True
    except (FolderError, OSError):
        return False
    return False


def _result(folder: RunFolder) -> dict[str, Any] | None:
    try:
        return folder.read_result()
    except (FolderError, OSError):
        return None


def _kind_of(store: Path) -> tuple[str, str] | None:
    """What the config of a run that uses a packed store says of it."""
    try:
        meta = json.loads(read_file(store / "meta.json"))
        return str(meta["name"]), str(meta["stored_px"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # damaged: nobody can use it


def _is_found(package: str) -> bool:
    try:
        return package in RECORDED or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _named(pointer: Path) -> str:
    try:
        return (read_file(pointer).decode().split() or ["."])[0]
    except (OSError, UnicodeDecodeError):
        return "."


def _is(path: Path, kind: Any) -> bool:
    """Whether something of a kind is there, links not followed."""
    try:
        return bool(kind(path.lstat().st_mode))
    except OSError:
        return False


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _measured(path: Path) -> tuple[int, float]:
    """Bytes of a file or of all files in a folder, and when the newest of them was written; links count as links."""
    size, newest = 0, 0.0
    inner = (Path(root) / name for root, folders, files in os.walk(path) for name in (*folders, *files))
    for place in (path, *inner):
        with suppress(OSError):  # gone meanwhile
            found = place.lstat()
            size += 0 if stat.S_ISDIR(found.st_mode) else found.st_size
            newest = max(newest, found.st_mtime)
    return size, newest


def _empty(folder: RunFolder) -> None:
    """Delete a run's files, but for the lock, which is held; the result first, so that a run half gone is not done."""
    folder.result.unlink(missing_ok=True)
    for path in list(folder.path.iterdir()):
        if path.name != ".lock":
            _remove(path)


def _remove(path: Path) -> None:
    if _is(path, stat.S_ISDIR):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_store(path: Path) -> None:
    """By another name first: half a store under its own would stop whoever needs it next."""
    if not path.name.startswith("."):
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        path = path.rename(aside)
    shutil.rmtree(path)
