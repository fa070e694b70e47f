"""However images come to the device, they are the same, in the same order."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_sweep.assemble import assemble
from alexnet_sweep.cli import run_one
from alexnet_sweep.data import feed
from alexnet_sweep.data.feed import Held, Reader, ahead, fetch, hold
from alexnet_sweep.data.pack import open_packed
from alexnet_sweep.errors import ConfigError, DataError
from alexnet_sweep.identity import run_id
from conftest import Compose

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4), dtype=np.uint8)


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    feed._held.clear()
    yield
    feed._held.clear()


@given(st.lists(st.lists(st.integers(0, 19), min_size=1, max_size=6), max_size=12), st.lists(st.integers(0, 5)))
@settings(max_examples=25)
def test_parts_come_in_order_however_many_are_read_ahead(parts: list[list[int]], counts: list[int]) -> None:
    told = iter(counts)
    reader = Reader(IMAGES, CPU)
    found = []
    for batch in reader.each(np.array(part) for part in parts):
        reader.workers = next(told, reader.workers)
        found.append(batch.numpy())
    assert len(found) == len(parts)
    assert all(np.array_equal(one, IMAGES[part]) for one, part in zip(found, parts, strict=True))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_so_many_are_on_their_way_while_one_is_used(count: int) -> None:
    asked, arrived = [], threading.Semaphore(0)

    def read(rows: Any) -> torch.Tensor:
        asked.append(int(rows[0]))
        arrived.release()
        return torch.from_numpy(rows)

    taken = ahead(read, (np.array([number]) for number in range(10)), lambda: count)
    next(taken)
    for _ in range(count + 1):
        assert arrived.acquire(timeout=60)
    taken.close()  # type: ignore[attr-defined]
    assert sorted(asked) == list(range(count + 1))


@pytest.mark.parametrize("count", [0, 2])
def test_an_image_that_cannot_be_read_is_told_of_where_it_is_used(count: int) -> None:
    def read(rows: Any) -> torch.Tensor:
        if rows[0] == 2:
            raise DataError("image 2 is damaged")
        return torch.from_numpy(rows)

    taken = ahead(read, (np.array([number]) for number in range(5)), lambda: count)
    assert [int(next(taken)[0]), int(next(taken)[0])] == [0, 1]
    with pytest.raises(DataError, match="image 2"):
        next(taken)


@given(st.lists(st.integers(0, 19), max_size=30))
def test_held_images_are_those_that_are_fetched(rows: list[int]) -> None:
    chosen = np.array(rows, np.int64)
    assert torch.equal(fetch(Held(IMAGES, CPU), chosen, CPU), fetch(IMAGES, chosen, CPU))


def test_a_set_is_brought_to_the_device_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PART_BYTES", 3 * 48)
    assert np.array_equal(Held(IMAGES, CPU)[np.arange(20)].numpy(), IMAGES)


@pytest.mark.parametrize(
    ("store", "free", "is_held"), [("raw", 2**40, False), ("jpeg", 2**40, True), ("jpeg", 1, False)]
)
def test_auto_holds_what_gains_by_it_and_takes_little_of_the_room(
    micro: Compose, monkeypatch: pytest.MonkeyPatch, store: str, free: int, is_held: bool
) -> None:
    monkeypatch.setattr(feed, "_free_bytes", lambda device: free)
    job = assemble(micro(f"data.store={store}"), CPU)
    assert job.trainer.batches.reader.reads == (not is_held)
    assert isinstance(job.packed.images["test"], Held) == is_held


def test_a_set_that_must_be_held_and_does_not_fit_is_refused(micro: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_free_bytes", lambda device: 1000)
    with pytest.raises(ConfigError, match=r"^trainer\.hold_images=always: digits takes .* choose auto or never$"):
        assemble(micro("trainer.hold_images=always"), CPU)


def test_runs_in_one_process_share_what_is_held_and_another_set_takes_its_place(micro: Compose, tmp_path: Path) -> None:
    packed = open_packed(micro().data, tmp_path)
    first = hold(packed, "here", CPU, "always").images
    assert hold(packed, "here", CPU, "always").images is first
    assert hold(packed, "there", CPU, "always").images is not first
    assert len(feed._held) == 1


def test_no_byte_of_a_run_hangs_on_how_its_images_are_fed(micro: Compose) -> None:
    found, ids = [], set()
    for number, way in enumerate(({}, {"workers": "3"}, {"hold_images": "always"})):
        config = micro("data.store=jpeg", "trainer.workers=0", "trainer.hold_images=never", "trainer.epochs=1")
        for key, value in way.items():
            setattr(config.trainer, key, value)
        config.paths.runs += str(number)
        ids.add(run_id(config, "0" * 16))
        run_one(config)
        (result,) = Path(config.paths.runs).glob("*/predictions.parquet")
        found.append(result.read_bytes() + result.with_name("weights.safetensors").read_bytes())
    assert len(ids) == 1 and found[0] == found[1] == found[2]


@pytest.mark.parametrize("wrong", ["-1", "two", "1.5"])
def test_a_number_of_workers_that_is_none_is_refused(composed: Compose, wrong: str) -> None:
    with pytest.raises(ConfigError, match=rf"^trainer\.workers={wrong}: allowed: auto, or a number from 0$"):
        composed(f"trainer.workers={wrong}")
