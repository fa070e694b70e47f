"""Names and writes every file of a run folder; reads results back.

    runs/<run_id>/         one run, whichever study asked first     (RunFolder)
    runs/_studies/<name>/  what a study needs                       (alexnet_sweep.study_folder)
    runs/_trained/<id>     who has trained what evaluations share    (alexnet_sweep.reuse)
    runs/_data/            packed data sets                          (alexnet_sweep.data.pack)

`result.json` is written last: its presence means that the run is done. Imports no torch.
"""

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from alexnet_sweep import formats
from alexnet_sweep.errors import FolderError, OtherFormat, unreadable
from alexnet_sweep.files import (
    check_is_file,
    digest_of,
    read_file,
    read_json,
    take_digest,
    whole_file,
    with_digest,
    write_json,
    write_text,
)
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
        write_json(self.result, with_digest(whole))

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
        whole = take_digest(result)
        # Neither of the two was written by earlier versions.
        if whole is False or (whole is None and "files" in result):
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
            raise unreadable(self.predictions, error, "move its folder away to train the run again") from error
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
            raise unreadable(self.predictions, error, "move its folder away to train the run again") from error

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
                raise unreadable(path, error, "move its folder away to train the run again") from error
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
            raise unreadable(self.config, error, "move its folder away to start it again") from error
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
            raise unreadable(self.predictions, error, "move its folder away to train the run again") from error
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


def newest_runs(runs: Path, most: int = 300) -> list[RunFolder]:
    """Run folders, the last changed first."""
    try:
        folders = [(entry.stat().st_mtime, entry.path) for entry in os.scandir(runs) if entry.is_dir()]
    except OSError:
        return []
    chosen = sorted((item for item in folders if not Path(item[1]).name.startswith(("_", "."))), reverse=True)
    return [RunFolder(Path(path)) for _, path in chosen[:most]]
