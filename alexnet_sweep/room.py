"""Whether what a sweep will write fits the disks that it is written to, before its first run. Imports no torch.

An estimate: networks of the user's own, logs and data sets that the hub sends are not counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet_sweep.config import Config
from alexnet_sweep.data.packed import Meta
from alexnet_sweep.errors import SweepError
from alexnet_sweep.estimate import store_needed, work_of
from alexnet_sweep.machine import disk_of, free_bytes
from alexnet_sweep.wording import amount

REPORT_BYTES, REPORT_BYTES_A_RUN = 1 << 20, 32 << 10  # of reports of up to 200 arms


@dataclass(frozen=True)
class Disk:
    """What a sweep writes to one file system, by what it is."""

    folder: Path  # the first that is on it
    parts: tuple[tuple[str, int], ...]  # bytes
    free_bytes: int

    @property
    def needed_bytes(self) -> int:
        return sum(size for _, size in self.parts)

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.free_bytes

    def __str__(self) -> str:
        parts = ", ".join(f"{amount(size)} {what}" for what, size in self.parts)
        return (
            f"about {amount(self.needed_bytes)} on the disk of {self.folder} ({parts}); {amount(self.free_bytes)} free"
        )


def disks(runs: Sequence[Config], meta: Callable[[Config], Meta], at_once: int) -> list[Disk]:
    """What these runs will write, `at_once` of them at the same time, for each file system that they write to."""
    if not runs:
        return []
    paths = runs[0].paths
    works = [(config, work) for config in runs if (work := work_of(config, meta(config))) is not None]
    kept = sum(work.kept_bytes(config.checkpoint.keep) for config, work in works)
    largest = sorted((work.saving_bytes for _, work in works), reverse=True)[:at_once]
    stores = {meta(config).fingerprint: store_needed(config, meta(config)) for config in runs}
    packed = sum(store.needed_bytes for store in stores.values() if not store.packed)
    parts = [
        (Path(paths.store), "of packed data", packed),
        (Path(paths.runs), "kept by runs", kept),
        (Path(paths.runs), "of checkpoints while they train", sum(largest)),
        (Path(paths.reports), "of a report", REPORT_BYTES + len(runs) * REPORT_BYTES_A_RUN),
    ]
    found: dict[int, list[tuple[Path, str, int]]] = {}
    for part in parts:
        found.setdefault(disk_of(part[0]), []).append(part)
    return [
        Disk(mine[0][0], tuple((what, size) for _, what, size in mine if size), free_bytes(mine[0][0]))
        for mine in found.values()
    ]


def check_room(runs: Sequence[Config], meta: Callable[[Config], Meta], at_once: int) -> None:
    """Refuse runs that will not fit, unless sweep.check_disk says not to look.

    Raises:
        SweepError: one line.
    """
    for disk in disks(runs, meta, at_once):
        if runs[0].sweep.check_disk and not disk.fits:
            raise SweepError(f"does not fit the disk: {disk}. {WAYS_OUT}")


WAYS_OUT = (
    "Make room, set paths.runs, paths.store or paths.reports to another disk, or keep less (checkpoint.keep=none, "
    "data.store=jpeg); sweep.check_disk=false starts all the same"
)
