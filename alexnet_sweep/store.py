"""Names and writes every file of a run folder; reads results back.

    runs/<run_id>/         one run, whichever study asked first     (RunFolder)
    runs/_studies/<name>/  what a study needs                       (alexnet_sweep.study_folder)
    runs/_trained/<id>     who has trained what evaluations share    (trained_as, note_trained)
    runs/_data/            packed data sets                          (alexnet_sweep.data.pack)

`result.json` is written last: its presence means that the run is done. Imports no torch.
"""

import csv
import errno
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from loguru import logger

from alexnet_sweep import formats, machine
from alexnet_sweep.errors import CannotWrite, FolderError, OtherFormat, one_line
from alexnet_sweep.files import (
    DISK,
    check_is_file,
    digest_of,
    half_written,
    names_a_folder,
    read_file,
    read_json,
    told,
    whole_file,
    write_json,
    write_text,
)
from alexnet_sweep.locks import DEAD_AFTER_SECONDS, held, owner_file
from alexnet_sweep.shape import COUNT, SHARE, TEXT, Each, Kind, Maybe, misfit

DIGEST_LINE = "# sha256 of all before: "
CHECKED_BYTES = 64 << 20  # files up to this size are read whole to see whether they are as recorded
PREDICTED = {"split": pa.string(), "image": pa.string()} | dict.fromkeys(
    ("label", "centre_rank", "ten_rank"), pa.int32()
)
COUNTS = {"images": COUNT, "top1": COUNT, "top5": Maybe(COUNT), "top1_error": SHARE, "top5_error": Maybe(SHARE)}
WRITTEN = Kind(  # of a file
    "its bytes and digest",
    lambda value: isinstance(value, list) and len(value) == 2 and COUNT.holds(value[0]) and TEXT.holds(value[1]),
)
ERRORS = Each({"centre": COUNTS, "ten": COUNTS})  # by split and view
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it
FORMAT_KEY = b"alexnet_sweep.format"  # in the metadata of predictions
RUNNING, DONE, FAILED, INTERRUPTED = "running", "done", "failed", "interrupted"


class InUse(FolderError):
    """A run that another live process has, or has just ended."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run (design: a run's folder)."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.parquet"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def provenance(self) -> Path:
        return self.path / "provenance.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    @property
    def failure(self) -> Path:
        return self.path / "failure.txt"

    @property
    def lock(self) -> Path:
        return self.path / ".lock"

    @property
    def names(self) -> set[str]:
        """Of the files that are written whole."""
        paths = (self.config, self.status, self.metrics, self.predictions, self.result, self.provenance)
        return {path.name for path in (*paths, self.checkpoint, self.weights, self.failure)}

    def write_config(self, config: dict[str, Any]) -> None:
        """With its digest in a last line: a result, which does not depend on paths, cannot hold it."""
        text = yaml.safe_dump(config, sort_keys=False)
        write_text(self.config, f"{text}{DIGEST_LINE}{hashlib.sha256(text.encode()).hexdigest()}\n")

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """One row an epoch; floats are written so that reading gives the same value."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.metrics, text.getvalue())

    def write_predictions(self, table: pa.Table) -> None:
        table = table.replace_schema_metadata({FORMAT_KEY: str(formats.RUN.written)})
        with whole_file(self.predictions) as stream:
            pq.write_table(table, stream, compression="zstd")

    @property
    def recorded(self) -> tuple[Path, ...]:
        """The files whose sizes and digests a result holds."""
        return (self.metrics, self.predictions, self.weights)

    def write_result(self, result: dict[str, Any]) -> None:
        """Last of all: from now on the run is done. With sizes and digests of its other files, and its own digest."""
        files = {path.name: [path.stat().st_size, digest_of(path)] for path in self.recorded if path.exists()}
        whole = {"format": formats.RUN.written, "run_id": self.run_id, **result, "files": files}
        write_json(self.result, whole | {"digest": _digest(whole)})

    def write_provenance(self, provenance: dict[str, Any]) -> None:
        write_json(self.provenance, provenance)

    def read_result(self, *, of_any_run: bool = False) -> dict[str, Any] | None:
        """The result, or None where the run is not done; `of_any_run` where the folder may have been renamed.

        Raises:
            OtherFormat: where it is of a version that is not read.
            FolderError: where the file is there but cannot be trusted.
        """
        result = read_json(self.result)
        if result is None:
            return None
        formats.check(formats.RUN, result.get("format", "none"), self.result)
        if result.get("run_id") != self.run_id and not of_any_run:
            raise FolderError(
                f"{self.result}: of run {result.get('run_id')}; expected run {self.run_id}. Move the folder away to "
                "train the run again"
            )
        told_digest = result.pop("digest", None)
        # Neither of the two was written by earlier versions.
        if ("files" in result or told_digest is not None) and told_digest != _digest(result):
            raise FolderError(f"{self.result}: damaged, its digest is another; move its folder away to start it again")
        return result

    def result_mark(self) -> tuple[int, int] | None:
        """What the result's file is known by without reading it: its time and size; None where there is none."""
        try:
            found = self.result.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def clear(self) -> None:
        """Forget the run's results; its log stays, and its status, which counts attempts and failures."""
        for path in (self.result, self.predictions, self.weights, self.checkpoint, self.metrics):
            path.unlink(missing_ok=True)
        for path in (self.provenance, self.failure):
            path.unlink(missing_ok=True)

    def read_predictions(self, columns: list[str]) -> pa.Table:
        """Some columns of the predictions, a row an evaluated image.

        Raises:
            FolderError: where the file cannot be read.
        """
        try:
            check_is_file(self.predictions)
            table = pq.read_table(self.predictions, columns=columns)
            for column, kind in PREDICTED.items():
                if column in columns:
                    cells = table[column].cast(kind)
                    if cells.null_count:
                        raise ValueError(f"{column} has empty cells")
                    table = table.set_column(columns.index(column), column, cells)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:  # what a damaged file makes of pyarrow
            raise FolderError(
                f"{self.predictions}: cannot be read ({one_line(error)}); move its folder away to train the run again"
            ) from error
        self._check_version(table.schema.metadata)
        return table

    def prediction_columns(self) -> list[str]:
        """What is known of each evaluated image.

        Raises:
            FolderError: where the file cannot be read.
        """
        try:
            check_is_file(self.predictions)
            return list(pq.read_schema(self.predictions).names)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise FolderError(f"{self.predictions}: cannot be read ({one_line(error)})") from error

    def _check_version(self, metadata: dict[bytes, bytes] | None) -> None:
        """Of the predictions."""
        found = (metadata or {}).get(FORMAT_KEY)
        version = None if found is None else int(found) if found.isdigit() else found
        formats.check(formats.RUN, version, self.predictions)

    def check_files(self, result: dict[str, Any], *, whole_up_to: float = CHECKED_BYTES) -> None:
        """Refuse files that are not as the result has recorded them; only the weights may be gone.

        Larger ones than `whole_up_to` are known by their size.

        Raises:
            FolderError: saying which, and how it differs.
        """
        self._check_predictions(result)
        self._check_recorded(result, self.recorded, whole_up_to)

    def check_weights(self, result: dict[str, Any]) -> None:
        """Refuse weights, read whole, and a config that are not as the result has recorded them.

        Raises:
            FolderError: saying how they differ.
        """
        self._check_recorded(result, [self.weights], math.inf)

    def _check_recorded(self, result: dict[str, Any], paths: Iterable[Path], whole_up_to: float) -> None:
        if "files" not in result:  # of an earlier version
            return
        self._check_config()
        wrong = misfit(result, {"files": Each(WRITTEN)})
        if wrong is not None:
            raise FolderError(f"{self.result}: {wrong}; move its folder away to train the run again")
        recorded = result["files"]
        for path in paths:
            size, digest = recorded.get(path.name, (None, None))
            if size is None or (path == self.weights and not path.exists()):
                continue
            try:
                found = path.stat().st_size
                damage = f"has {found} bytes, not {size}" if found != size else ""
                if not damage and size <= whole_up_to and digest_of(path) != digest:
                    damage = "damaged, its digest is another"
            except OSError as error:
                damage = f"cannot be read ({error.strerror})"
            if damage:
                raise FolderError(f"{path}: {damage}; move its folder away to train the run again")

    def _check_config(self) -> None:
        """Refuse a config that is not as it was written.

        Raises:
            FolderError: saying so.
        """
        try:
            content = read_file(self.config)
        except FileNotFoundError:  # the run's id says what it was
            return
        except OSError as error:
            raise FolderError(f"{self.config}: cannot be read ({error.strerror})") from error
        text, _, last = content.rpartition(DIGEST_LINE.encode())
        if last.decode(errors="replace") != hashlib.sha256(text).hexdigest() + "\n":
            raise FolderError(f"{self.config}: damaged, its digest is another; move its folder away to start it again")

    def _check_predictions(self, result: dict[str, Any]) -> None:
        """Refuse predictions that do not belong to a result: missing, cut short, or of another number of images.

        Raises:
            FolderError: saying so.
        """
        wrong = misfit(result, {"errors": ERRORS})
        if wrong is not None or "test" not in result["errors"]:
            raise FolderError(f"{self.result}: {wrong or 'lacks errors of the split test'}")
        expected = sum(views["centre"]["images"] for views in result["errors"].values())
        try:
            check_is_file(self.predictions)
            metadata = pq.read_metadata(self.predictions)
        except (OSError, ValueError, pa.ArrowException) as error:  # what a damaged file makes of pyarrow
            raise FolderError(f"{self.predictions}: cannot be read ({one_line(error)})") from error
        self._check_version(metadata.metadata)
        found = metadata.num_rows
        if found != expected:
            raise FolderError(f"{self.predictions}: has {found} rows; {self.result.name} speaks of {expected}")

    def set_aside(self) -> Path:
        """Move everything but the log and the status into a folder of its own, and return that."""
        number = 1
        while (self.path / f"set_aside-{number}").exists():
            number += 1
        aside = self.path / f"set_aside-{number}"
        aside.mkdir()
        for path in (self.result, self.predictions, self.weights, self.checkpoint, self.metrics, self.provenance):
            if path.exists():
                path.replace(aside / path.name)
        return aside

    def read_config(self) -> dict[str, Any] | None:
        """The config that was written; None where there is none that can be read."""
        try:
            config = yaml.load(read_file(self.config).decode(), Loader=_SafeLoader)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return None
        return config if isinstance(config, dict) else None

    def copy_metrics(self, source: "RunFolder") -> None:
        write_text(self.metrics, read_file(source.metrics).decode())

    def read_provenance(self) -> dict[str, Any]:
        return read_json(self.provenance) or {}

    def read_status(self) -> dict[str, Any]:
        """The last status, or an empty one; a status that cannot be read counts as none.

        Raises:
            OtherFormat: where it is of a version that is not read.
        """
        try:
            status = read_json(self.status) or {}
            formats.check(formats.RUN, status.get("format"), self.status)
            return status
        except OtherFormat:
            raise
        except FolderError:
            return {}

    def in_the_way(self) -> str | None:
        """What stands where a process that claims the run writes, and so keeps it from saying anything there."""
        for path in (self.lock, owner_file(self.lock), self.status):
            if path.is_dir() or (path == self.lock and path.is_symlink()):
                return f"{path} is no file; remove it"
        return None

    def left_by(self, jobs: Collection[str]) -> bool:
        """Whether the last to work on it was one of these jobs or none at all, and has left it without ending it."""
        status = self.read_status()
        if status.get("state") not in (RUNNING, INTERRUPTED) or status.get("job") not in (None, *jobs):
            return False
        return self.alive_elsewhere() is None

    def note_cut_off(self, reason: str, job: str, earlier: Collection[str] = ()) -> None:
        """Record from outside why the run's last job has ended, unless it has been started again since.

        Raises:
            InUse: where another process keeps the run to itself.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with held(self.lock, 30, InUse):
            status = self.read_status()
            own = status.get("job") == job and status.get("state") in (RUNNING, INTERRUPTED)
            if not status or own or self.left_by(earlier):
                write_json(
                    self.status,
                    status | {"format": formats.RUN.written, "state": INTERRUPTED, "reason": reason, "job": job},
                )

    def alive_elsewhere(self) -> str | None:
        """Who is running this run at the moment (`host process N`), if it is not this process."""
        status = self.read_status()
        if status.get("state") != RUNNING:
            return None
        if status.get("job") is not None and status["job"] == machine.queue_job():
            return None  # this job itself, before it was requeued
        host, process = status.get("host"), _number(status, "process")
        owner = f"{host} process {process:.0f}"
        if host != machine.host():  # whose clock may be ahead of ours, or ours was set back
            return owner if abs(time.time() - _number(status, "heartbeat")) < DEAD_AFTER_SECONDS else None
        if status.get("boot") != machine.boot() or process == os.getpid():
            return None
        started, noted = machine.started(int(process)), _number(status, "process_started")
        return owner if started is not None and abs(started - noted) < 1.0 else None

    @contextmanager
    def claimed(
        self, total_epochs: int, source_hash: str | None = None, admit: Callable[[], bool] = lambda: False
    ) -> Iterator["Claim"]:
        """This process runs this run until the block ends, which leaves a state other than `running`.

        `admit` is asked once nobody else can claim the run: it raises, or says whether earlier results go.

        A disk that is full or must not be written is no failure of the run: it is then interrupted.

        Raises:
            InUse: where another live process has it.
            FolderError: where the folder, or a file that every run writes first, cannot be written.
        """
        try:
            with told(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FolderError(
                f"{self.path}: cannot be created ({error.strerror}); set paths.runs to a folder that can be written"
            ) from error
        with _opened(self.path) as place:
            with held(self.lock, 30, InUse):  # only while claiming
                owner = self.alive_elsewhere()
                if owner is not None:
                    raise InUse(f"{self.path}: in use by {owner}; wait for it, or stop it first")
                before = self.read_status()
                attempts, failures = (int(_number(before, key)) for key in ("attempts", "failures"))
                claim = Claim(self, place, attempts + 1, failures, total_epochs, source_hash)
                claim.check_there()  # the lock may be of another that was made meanwhile
                if admit():
                    claim.check_there()
                    self.clear()
                for path in half_written(self.path, self.names):  # nobody else writes here now
                    path.unlink(missing_ok=True)
                claim.beat(force=True)
            try:
                with told(self.path, DISK):
                    yield claim
                claim.check_there()
            except KeyboardInterrupt:
                try:
                    claim.end(INTERRUPTED)
                except CannotWrite as error:  # the status of a process that is gone counts as that
                    logger.warning("{}", error)
                raise
            except CannotWrite as error:
                with suppress(CannotWrite):  # what is wrong is told all the same
                    claim.end(INTERRUPTED, reason=str(error))
                raise
            except BaseException as error:
                claim.failures += 1
                with suppress(CannotWrite):
                    claim.end(FAILED, reason=one_line(error))
                raise
            claim.end(DONE)


class Claim:
    """The status of a run that this process is running; written at most every few seconds."""

    EVERY_SECONDS = 5.0

    def __init__(
        self, folder: RunFolder, place: int, attempts: int, failures: int, total_epochs: int, source_hash: str | None
    ) -> None:
        self.folder, self.attempts, self.failures, self.source_hash = folder, attempts, failures, source_hash
        self._place = place  # what was claimed, whatever is called so by now
        self.progress: dict[str, Any] = {"epoch": 0, "epochs": total_epochs}
        self.started = time.time()
        self._last = 0.0

    def beat(self, *, force: bool = False, **progress: Any) -> None:
        """Note progress; write the status if the last one is old enough."""
        self.progress.update(progress)
        if force or time.monotonic() - self._last >= self.EVERY_SECONDS:
            self.check_there()
            self._write(RUNNING)
            self._last = time.monotonic()

    def check_there(self) -> None:
        """Refuse to go on in a folder that somebody has deleted or moved: what was written there before is gone.

        Raises:
            FolderError: saying so.
        """
        if not self.is_there():
            raise FolderError(
                f"{self.folder.path}: deleted or moved while in use; the same command starts the run again"
            )

    def is_there(self) -> bool:
        """Whether the folder is still the one that was claimed: another may be called so by now, which is not ours."""
        try:
            return os.path.samestat(self.folder.path.stat(), os.fstat(self._place))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
                return False
            raise

    def end(self, state: str, reason: str | None = None) -> None:
        """Note how it has ended, where the folder is still there; a failure also where there is none by now."""
        if self.is_there():
            self._write(state, reason)
        elif state == FAILED:
            with suppress(OSError, FolderError):  # the error itself goes on its way
                self.folder.path.mkdir()  # not one that another process has made
                with held(self.folder.lock, 30, InUse):
                    if not self.folder.read_status():
                        self._write(state, reason)

    def _write(self, state: str, reason: str | None = None) -> None:
        write_json(
            self.folder.status,
            {
                "format": formats.RUN.written,
                "state": state,
                "reason": reason,
                "heartbeat": time.time(),
                "started": self.started,
                "host": machine.host(),
                "boot": machine.boot(),
                "process": os.getpid(),
                "process_started": machine.started(os.getpid()),
                "job": machine.queue_job(),
                "attempts": self.attempts,
                "failures": self.failures,
                "source_hash": self.source_hash,
                **self.progress,
            },
        )


def newest_runs(runs: Path, most: int = 300) -> list[RunFolder]:
    """Run folders, the last changed first."""
    try:
        folders = [(entry.stat().st_mtime, entry.path) for entry in os.scandir(runs) if entry.is_dir()]
    except OSError:
        return []
    chosen = sorted((item for item in folders if not Path(item[1]).name.startswith(("_", "."))), reverse=True)
    return [RunFolder(Path(path)) for _, path in chosen[:most]]


def trained_as(runs: Path, training_id: str, source_hash: str) -> RunFolder | None:
    """A finished run that has trained just this with the same sources, and whose weights are there, if one is known."""
    try:
        run_id, sources = read_file(runs / "_trained" / training_id).decode().split()
        if not names_a_folder(run_id) or sources != source_hash:
            return None
        folder = RunFolder(runs / run_id)
        result = folder.read_result()
        if result is None:
            return None
        if not (folder.weights.is_file() and folder.metrics.is_file()):
            return None
        folder.check_files(result, whole_up_to=math.inf)
        return folder
    except (OSError, ValueError, FolderError):  # no note, or one that cannot be trusted
        return None


def note_trained(folder: RunFolder, training_id: str, source_hash: str) -> None:
    """Let runs that differ in their evaluation alone find this one's weights; the hash is of the training sources."""
    write_text(folder.path.parent / "_trained" / training_id, f"{folder.run_id} {source_hash}\n")


def run_to_start_from(runs: Path, name: str) -> RunFolder:
    """The finished run with weights that `init_from` names, by its id or its folder.

    Raises:
        FolderError: where there is none.
    """
    folder = RunFolder(Path(name) if "/" in name else runs / name)
    if folder.read_result(of_any_run=True) is None or not folder.weights.is_file():
        lacks = "no run folder" if not folder.path.is_dir() else "not done, or kept without weights"
        done = sorted(item.parent.name for item in runs.glob("*/weights.safetensors")) if runs.is_dir() else []
        raise FolderError(
            f"init_from={name}: {lacks} ({folder.path}); give the id of a finished run below {runs}, or a folder. "
            f"Have: {', '.join(done[:8]) or 'none yet'}"
        )
    result = folder.read_result(of_any_run=True)
    assert result is not None, "just seen"
    folder.check_weights(result)
    return folder


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A folder, held open: until the block ends its number on the disk goes to no other, even if it is deleted."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def _digest(result: dict[str, Any]) -> str:
    """SHA-256 of what a result says, however it is laid out."""
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def _number(status: dict[str, Any], key: str) -> float:
    """A number of a status file; 0 where it has none that makes sense."""
    value = status.get(key)
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e12 else 0.0
