"""How many batches are best read ahead (`trainer.workers=auto`): tried while a run trains, then remembered. No torch.

No bit hangs on it, so that the steps of the trial are the run's own.
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alexnet_sweep import machine
from alexnet_sweep.errors import FolderError
from alexnet_sweep.files import read_json, write_json
from alexnet_sweep.launching import cores_of_a_run

CANDIDATES = (0, 1, 2, 4)
ROUNDS = 3
FILLING_STEPS, STEPS, SECONDS = 2, 4, 0.5  # of one turn: not counted; at least; at least
WORTH = 0.98  # of the time of a step with fewer readers
REMEMBERED = ".readers.json"  # beside the packed data sets


class Trial:
    """Takes turns between the numbers, between steps; `chosen` is set once all have had theirs.

    The smallest number wins that no other betters by two percent: readers take cores from whatever else runs.
    """

    def __init__(self, use: Callable[[int], None], wait: Callable[[], object], clock: Callable[[], float]) -> None:
        """`use` sets a number; `wait` returns once the device has done what it was given."""
        self.chosen: int | None = None
        self._use, self._wait, self._clock = use, wait, clock
        self._numbers = [number for number in CANDIDATES if number <= cores_of_a_run()]
        self._seconds: dict[int, list[float]] = {number: [] for number in self._numbers}
        self._turn = 0
        self._start_turn()

    def after_step(self, *, ends_epoch: bool) -> None:
        """To be told of every step; one that ends an epoch, after which the run is evaluated, begins the turn anew."""
        if self.chosen is not None:
            return
        if ends_epoch:
            self._start_turn()
            return
        self._steps += 1
        if self._steps == FILLING_STEPS:
            self._wait()
            self._began = self._clock()
        elif self._steps >= FILLING_STEPS + STEPS and self._clock() - self._began >= SECONDS:
            self._wait()
            number = self._numbers[self._turn % len(self._numbers)]
            self._seconds[number].append((self._clock() - self._began) / (self._steps - FILLING_STEPS))
            self._turn += 1
            if self._turn == ROUNDS * len(self._numbers):
                self.chosen = fewest_worth_it({n: statistics.median(found) for n, found in self._seconds.items()})
                self._use(self.chosen)
            else:
                self._start_turn()

    def _start_turn(self) -> None:
        self._steps, self._began = 0, 0.0
        self._use(self._numbers[self._turn % len(self._numbers)])


def fewest_worth_it(seconds: dict[int, float]) -> int:
    """The smallest number whose step is not slower, by more than two percent, than any other's."""
    best = min(seconds.values())
    return min(number for number, found in seconds.items() if WORTH * found <= best)


def key_of(fingerprint: str, device: str, batch_size: int) -> str:
    """What a choice was made for: this machine and this store, and what is asked of them."""
    return f"{machine.host()}, {cores_of_a_run()} cores, {device}: {fingerprint}, batch {batch_size}"


def remembered(store: Path, key: str) -> int | None:
    """What was found to be best."""
    number = _all(store).get(key)
    return number if isinstance(number, int) and number >= 0 else None


def remember(store: Path, key: str, number: int) -> None:
    write_json(store / REMEMBERED, _all(store) | {key: number})


def _all(store: Path) -> dict[str, Any]:
    try:
        return read_json(store / REMEMBERED) or {}
    except FolderError:  # damaged: found anew
        return {}
