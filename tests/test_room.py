"""What will not fit the disk is refused before it starts; the estimate is compared with what runs really write."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep import checkpoint
from alexnet_sweep.assemble import assemble
from alexnet_sweep.config import Config
from alexnet_sweep.data.packed import Meta
from alexnet_sweep.errors import SweepError
from alexnet_sweep.estimate import work_of
from alexnet_sweep.room import Disk, check_room, disks
from conftest import Compose, Main, lacking

SMALL = ("model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1", "eval.clean_train_images=64")
META = Meta("f" * 16, "digits", [str(number) for number in range(10)], {"train": 1437, "test": 360}, 32)


def meta(config: Config) -> Meta:
    return META


def part(found: list[Disk], what: str) -> int:
    return sum(size for disk in found for name, size in disk.parts if what in name)


@given(runs=st.integers(1, 30), at_once=st.integers(1, 40))
def test_checkpoints_count_for_the_runs_at_once_and_results_for_all(composed: Compose, runs: int, at_once: int) -> None:
    config = composed("model.width=0.1")
    alone, all_of_them = disks([config], meta, 1), disks([config] * runs, meta, at_once)
    assert part(all_of_them, "kept") == runs * part(alone, "kept")
    assert part(all_of_them, "checkpoints") == min(runs, at_once) * part(alone, "checkpoints")
    assert part(all_of_them, "packed") == part(alone, "packed") == 1797 * 3 * 32 * 32


def test_more_is_kept_where_more_is_asked_for(composed: Compose) -> None:
    none, weights, full = (
        part(disks([composed(f"checkpoint.keep={keep}")], meta, 1), "kept") for keep in ("none", "weights", "full")
    )
    assert none < weights < full


def test_nothing_to_start_needs_nothing() -> None:
    assert disks([], meta, 1) == []


def test_what_lies_on_another_file_system_is_asked_of_that(composed: Compose, tmp_path: Path) -> None:
    there = Path("/dev/shm")
    if there.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system")
    config = composed(f"paths.runs={tmp_path / 'runs'}", f"paths.store={there / 'none'}", f"paths.reports={tmp_path}")
    store, runs = disks([config], meta, 1)
    assert [what for what, _ in store.parts] == ["of packed data"]
    assert [what for what, _ in runs.parts] == ["kept by runs", "of checkpoints while they train", "of a report"]


@pytest.mark.parametrize("how", [(), ("optim=adam",), ("regularizer/ema=on",)], ids=["sgd", "adam", "ema"])
def test_a_checkpoint_is_as_large_as_estimated(micro: Compose, tmp_path: Path, how: tuple[str, ...]) -> None:
    config = micro("model.width=0.2", *how)
    job = assemble(config, torch.device("cpu"))
    next(iter(job.trainer.steps()))
    checkpoint.save(tmp_path / "checkpoint.pt", job.trainer, {})
    work = work_of(config, job.packed.meta)
    assert work is not None
    size = (tmp_path / "checkpoint.pt").stat().st_size
    assert work.checkpoint_bytes <= size <= 1.05 * work.checkpoint_bytes + 2**16


def test_a_refusal_names_folder_sizes_and_ways_out(composed: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexnet_sweep.room.free_bytes", lambda folder: 2**20)
    with pytest.raises(SweepError) as caught:
        check_room([composed()], meta, 1)
    line = str(caught.value)
    assert "\n" not in line and line.startswith("does not fit the disk: about ") and "1.0 MiB free" in line
    assert "sweep.check_disk=false" in line and "runs/_data" in line
    check_room([composed("sweep.check_disk=false")], meta, 1)


def test_a_sweep_that_does_not_fit_is_refused_before_anything_is_written(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("alexnet_sweep.room.free_bytes", lambda folder: 1000)
    for arguments in (("-m", "seed=0,1", *SMALL), SMALL):
        assert main(*arguments) == 2
        assert capsys.readouterr().err.startswith("does not fit the disk: about ")
    assert main("plan", "seed=0,1", *SMALL) == 0
    assert "a start is refused" in capsys.readouterr().out
    assert list(Path().iterdir()) == []
    assert main("-m", "seed=0", *SMALL, "sweep.check_disk=false") == 0


def test_a_finished_sweep_needs_no_room(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main("-m", "seed=0", *SMALL) == 0
    monkeypatch.setattr("alexnet_sweep.room.free_bytes", lambda folder: 0)
    assert main("-m", "seed=0", *SMALL) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 7 MiB: the packed digits fit it, and a few small runs."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.getuid() != 0:
        lacking("only root may mount a file system")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        lacking("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.slow
def test_a_real_disk_that_is_too_small_stops_a_sweep_and_one_that_is_not_does_not(
    main: Main, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = (f"paths.runs={small_disk / 'runs'}", f"paths.store={small_disk / 'store'}")
    assert main("-m", "seed=0", *SMALL, "model.width=0.3", *there) == 2
    assert f"on the disk of {small_disk}" in capsys.readouterr().err and list(small_disk.iterdir()) == []
    assert main("-m", "seed=0", *SMALL, *there) == 0
