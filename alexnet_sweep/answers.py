"""Which images each finished run had wrong: ranks of the labels, read once and lined up image by image."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alexnet_sweep.aggregate import RunRecord
from alexnet_sweep.errors import FolderError
from alexnet_sweep.store import RunFolder

AVERAGED, CENTRE = VIEWS = ("ten", "centre")  # all views averaged, however many there are
COLUMNS = ["split", "image", "label", "centre_rank", "ten_rank"]
METRICS = {"top1": 1, "top5": 5}  # a label of a higher rank is an error


@dataclass(frozen=True)
class _Part:
    """One run's answers on one split: ranks by view, in the order of the images of the list that `images` names."""

    images: int
    ranks: dict[str, NDArray[np.int32]]


class Answers:
    """Ranks of the labels of all finished runs, by run and split."""

    def __init__(self, records: Iterable[RunRecord], runs: Path) -> None:
        """Read the predictions of every record that is done; `unreadable` says of which that failed, and why."""
        self.unreadable: dict[str, str] = {}  # by run_id
        self._lists: list[tuple[pa.Array, pa.Array]] = []  # different lists of images, with their labels
        self._parts: dict[tuple[str, str], _Part] = {}
        for record in records:
            if record.done and not any(run == record.run_id for run, _ in self._parts):
                try:
                    self._read(record, RunFolder(runs / record.run_id))
                except FolderError as error:
                    self.unreadable[record.run_id] = str(error)

    def _read(self, record: RunRecord, folder: RunFolder) -> None:
        table, parts = folder.read_predictions(COLUMNS), {}
        for split in pc.unique(table["split"]).to_pylist():
            own = table.filter(pc.equal(table["split"], split))
            if pc.count_distinct(own["image"]).as_py() < len(own):
                raise FolderError(f"{folder.predictions}: has an image of split {split} twice")
            parts[split] = self._part(own)
            _check_counts(record, split, parts[split], folder)
        told = sorted((record.result or {})["errors"])
        if told != sorted(parts):
            raise FolderError(f"{folder.predictions}: of {', '.join(sorted(parts))}; its result of {', '.join(told)}")
        self._parts |= {(record.run_id, split): part for split, part in parts.items()}

    def _part(self, table: pa.Table) -> _Part:
        images, labels = table["image"].combine_chunks(), table["label"].combine_chunks()
        ranks = {view: table[f"{view}_rank"].to_numpy() for view in VIEWS}
        for place, (known, their_labels) in enumerate(self._lists):
            if len(known) != len(images):
                continue
            if known.equals(images) and their_labels.equals(labels):
                return _Part(place, ranks)
            where = pc.index_in(known, images)  # the row that holds each known image
            # Rows of two tables may have the same names; images of two labels are not the same image.
            if not where.null_count and labels.take(where).equals(their_labels):
                rows = where.to_numpy()
                return _Part(place, {view: values[rows] for view, values in ranks.items()})
        self._lists.append((images, labels))
        return _Part(len(self._lists) - 1, ranks)

    def images(self, run_id: str, split: str) -> int | None:
        """Which list of images a run was evaluated on, as a number to compare; None where it was not."""
        part = self._parts.get((run_id, split))
        return None if part is None else part.images

    def count(self, run_id: str, split: str) -> int:
        """How many images a run was evaluated on."""
        return len(self._lists[self._parts[run_id, split].images][0])

    def wrong(self, run_id: str, split: str, view: str, metric: str) -> NDArray[np.float64]:
        """1.0 for each image that the run has wrong, else 0.0; (images,)."""
        return (self._parts[run_id, split].ranks[view] > METRICS[metric]).astype(np.float64)

    @property
    def splits(self) -> list[str]:
        return list(dict.fromkeys(split for _, split in self._parts))


def _check_counts(record: RunRecord, split: str, part: _Part, folder: RunFolder) -> None:
    """Refuse predictions that have other images wrong than the result counts.

    Raises:
        FolderError: saying what differs.
    """
    for view, ranks in part.ranks.items():
        counts = (record.result or {})["errors"].get(split, {}).get(view, {})
        for metric, highest in METRICS.items():
            told, found = counts.get(metric), int((ranks > highest).sum())
            if told is not None and told != found:
                raise FolderError(
                    f"{folder.predictions}: {found} {metric} errors ({split}, {view}); {folder.result.name} has {told}"
                )
