"""How many batches are read ahead: tried by turns, remembered with the store."""

from pathlib import Path

import pytest
from loguru import logger

from alexnet_sweep import readers
from alexnet_sweep.cli import run_one
from alexnet_sweep.readers import Trial, fewest_worth_it, key_of, remember, remembered
from conftest import Compose


class Machine:
    """A step takes as long as `seconds` says of the number of readers in use."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.now, self.number = seconds, 0.0, 0

    def use(self, number: int) -> None:
        self.number = number

    def run(self, trial: Trial, steps: int, epoch: int) -> None:
        for step in range(1, steps + 1):
            self.now += self.seconds[self.number]
            trial.after_step(ends_epoch=step % epoch == 0)
            if step % epoch == 0:
                self.now += 1000.0  # an evaluation


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "cores_of_a_run", lambda: 4)


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({0: 1.0, 1: 1.0, 2: 1.0, 4: 1.0}, 0),
        ({0: 1.0, 1: 0.99, 2: 0.985, 4: 0.985}, 0),
        ({0: 1.0, 1: 0.8, 2: 0.79, 4: 0.9}, 1),
        ({0: 1.0, 1: 0.8, 2: 0.5, 4: 0.3}, 4),
        ({0: 0.01, 1: 0.02, 2: 0.03, 4: 0.04}, 0),
    ],
)
def test_the_fewest_readers_that_are_worth_it_win(seconds: dict[int, float], best: int) -> None:
    machine = Machine(seconds)
    trial = Trial(machine.use, lambda: None, lambda: machine.now)
    machine.run(trial, 5000, epoch=100)
    assert trial.chosen == best == fewest_worth_it(seconds) and machine.number == best


@pytest.mark.usefixtures("four_cores")
def test_a_run_that_is_too_short_chooses_nothing() -> None:
    machine = Machine(dict.fromkeys((0, 1, 2, 4), 1.0))
    trial = Trial(machine.use, lambda: None, lambda: machine.now)
    machine.run(trial, 500, epoch=5)  # no turn fits between two evaluations
    assert trial.chosen is None


def test_more_readers_than_cores_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "cores_of_a_run", lambda: 1)
    machine = Machine({0: 1.0, 1: 0.5})
    trial = Trial(machine.use, lambda: None, lambda: machine.now)
    machine.run(trial, 100, epoch=1000)
    assert trial.chosen == 1


def test_a_choice_is_remembered_for_this_store_and_batch_alone(tmp_path: Path) -> None:
    one, other = key_of("a" * 16, "cpu", 64), key_of("a" * 16, "cpu", 128)
    assert remembered(tmp_path, one) is None
    remember(tmp_path, one, 2)
    remember(tmp_path, other, 0)
    assert (remembered(tmp_path, one), remembered(tmp_path, other)) == (2, 0)
    assert remembered(tmp_path, key_of("b" * 16, "cpu", 64)) is None


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"key": "two"}', '{"key": -1}'])
def test_a_damaged_note_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / readers.REMEMBERED).write_text(text)
    assert remembered(tmp_path, "key") is None
    remember(tmp_path, "key", 1)
    assert remembered(tmp_path, "key") == 1


def test_a_run_tries_and_the_next_one_knows(micro: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(readers, "SECONDS", 0.0)
    monkeypatch.setattr(readers, "STEPS", 1)
    monkeypatch.setattr(readers, "cores_of_a_run", lambda: 1)
    config = micro("trainer.epochs=2")
    run_one(config)
    (told,) = readers.read_json(tmp_path / "runs" / "_data" / readers.REMEMBERED).values()  # type: ignore[union-attr]
    assert told in (0, 1)
    monkeypatch.setattr(readers, "CANDIDATES", ())  # a trial would fail
    config.seed = 1
    run_one(config)


def test_a_run_goes_on_where_its_choice_cannot_be_remembered(
    micro: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(readers, "SECONDS", 0.0)
    monkeypatch.setattr(readers, "STEPS", 1)
    monkeypatch.setattr(readers, "cores_of_a_run", lambda: 1)
    (tmp_path / "runs" / "_data" / readers.REMEMBERED / "in the way").mkdir(parents=True)
    heard: list[str] = []
    handler = logger.add(heard.append, format="{message}")
    try:
        run_one(micro("trainer.epochs=1"))
    finally:
        logger.remove(handler)
    assert any("the next run will try again" in line for line in heard)
