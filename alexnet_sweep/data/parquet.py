"""Local Parquet files, read where they lie: labels by themselves, images a few at a time. Nothing is copied.

`datasets` would first write all of them to its cache, once more than the packed store needs.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alexnet_sweep.errors import DataError

BATCH_BYTES = 4 << 20  # about, of images that are in memory for one reader
BUFFER_BYTES = 1 << 20  # read at once: without it a whole column of a row group


class Rows:
    """The rows of one split: its files one after the other.

    Raises:
        OSError, ValueError, pa.ArrowException: for files that are no Parquet.
    """

    def __init__(self, files: Sequence[str], features: Any) -> None:
        """`features` are those of `datasets`, by column; where there are none, those of the first file's schema."""
        import datasets

        if not files:
            raise ValueError("no files")
        self._files = [Path(file) for file in files]
        described = [pq.read_metadata(file) for file in self._files]
        self._schemas = [metadata.schema.to_arrow_schema() for metadata in described]
        self._groups: list[tuple[Path, int, int, int]] = []  # file, number in it, first row, rows to read at once
        ends: list[int] = []
        for file, metadata in zip(self._files, described, strict=True):
            for number in range(metadata.num_row_groups):
                group, first = metadata.row_group(number), ends[-1] if ends else 0
                at_once = max(1, BATCH_BYTES * group.num_rows // max(1, group.total_byte_size))
                self._groups.append((file, number, first, at_once))
                ends.append(first + group.num_rows)
        self._ends = np.array(ends, np.int64)
        self.column_names = list(self._schemas[0].names)
        self.features = features or datasets.Features.from_arrow_schema(self._schemas[0])
        self._reader: _Reader | None = None

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, column: str) -> list[Any]:
        """All of one column."""
        return [value for file in self._files for value in _column(file, column)]

    def are_alike(self, columns: Sequence[str]) -> bool:
        """Whether these columns, where there are any, are of one type in all files, and known to the features."""
        return all(
            schema.names == self.column_names
            and all(schema.field(name).type == self._schemas[0].field(name).type for name in schema.names)
            for schema in self._schemas
        ) and all(name in self.features for name in columns if name in self.column_names)

    def holds_images(self, column: str) -> bool:
        """Whether a column is of image files: their bytes, or structures of bytes and a path."""
        if column not in self.column_names:
            return False
        kind = self._schemas[0].field(column).type
        if pa.types.is_struct(kind):
            names = {kind.field(place).name: kind.field(place).type for place in range(kind.num_fields)}
            return names.keys() == {"bytes", "path"} and _is_bytes(names["bytes"])
        return _is_bytes(kind)

    def paths(self, column: str) -> list[str | None]:
        """Where each image says that it lies."""
        if not pa.types.is_struct(self._schemas[0].field(column).type):
            return [None] * len(self)
        cells = (cell for file in self._files for cell in _column(file, f"{column}.path"))
        return [cell["path"] if cell else None for cell in cells]

    def cells(self, column: str, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Structures of bytes and a path of some rows; cheap as long as rows rise, from one call to the next too."""
        found: list[dict[str, Any]] = []
        for row in rows:
            place = int(np.searchsorted(self._ends, row, side="right"))
            if self._reader is None or self._reader.key != (place, column) or self._reader.at > row:
                self._reader = None  # its memory first
                file, group, first, rows_at_once = self._groups[place]
                self._reader = _Reader((place, column), file, group, first, rows_at_once)
            cell = self._reader.cell(row)
            found.append(cell if isinstance(cell, dict) else {"bytes": cell})
        return found


class _Reader:
    """One column of one row group, from its first row on."""

    def __init__(self, key: tuple[int, str], file: Path, group: int, first: int, rows_at_once: int) -> None:
        self.key, self.at = key, first  # `at`: the first row that can still be had
        self._file = file
        self._batches = _batches(file, group, key[1], rows_at_once)
        self._batch: Any = ()

    def cell(self, row: int) -> Any:
        try:
            while row >= self.at + len(self._batch):
                self.at += len(self._batch)
                self._batch = ()  # its memory first
                self._batch = next(self._batches)
            return self._batch[row - self.at].as_py()
        except (OSError, ValueError, StopIteration, pa.ArrowException) as error:
            raise _unreadable(self._file, self.key[1], error) from error


def _batches(file: Path, group: int, column: str, rows_at_once: int) -> Iterator[Any]:
    # No method: with a reference to its reader both would stay in memory until a collection of cycles.
    with pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False) as opened:
        for batch in opened.iter_batches(rows_at_once, row_groups=[group], columns=[column], use_threads=False):
            yield batch.column(0)


def _column(file: Path, name: str) -> list[Any]:
    """One column of a file, or of a column of structures one field.

    Raises:
        DataError: where it cannot be read.
    """
    try:
        with pq.ParquetFile(file) as opened:
            return list(opened.read([name]).column(0).to_pylist())
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(file, name, error) from error


def _unreadable(file: Path, column: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200] or "it ends too soon"
    return DataError(f"{file}: its column {column} cannot be read ({reason}); fetch the file anew")


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
