"""Alternatives timed in turn, so that whatever else the machine does falls on all of them; and rows made of that."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Clock = Callable[[], float]
# The wall's, or that of this process alone: with one thread the same, but for what others do on the machine.
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def interleaved(
    alternatives: Mapping[str, Callable[[], object]], rounds: int, clock: Clock, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each alternative in each round, once all have been run `warm_up` times."""
    for _ in range(warm_up):
        for one in alternatives.values():
            one()
    found: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(rounds):
        for name, one in alternatives.items():
            found[name].append(seconds_of(one, clock))
    return found


def seconds_of(one: Callable[[], object], clock: Clock) -> float:
    """How long a call takes."""
    began = clock()
    one()
    return clock() - began


def ratios(over: list[float], under: list[float]) -> list[float]:
    """Round by round: what was measured at the same time is compared."""
    return [one / other for one, other in zip(over, under, strict=True)]


@dataclass(frozen=True)
class Figure:
    """An absolute figure, a value a round."""

    unit: str
    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Row:
    """A ratio, what it must reach, and the figures that it is made of. `ratios` is empty where it was not measured."""

    name: str
    what: str
    must: float
    at_most: bool
    ratios: list[float]
    figures: dict[str, Figure] = field(default_factory=dict)
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The median over the rounds."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """Whether it reaches what it must; None where it was not measured."""
        if self.ratio is None:
            return None
        return self.ratio <= self.must if self.at_most else self.ratio >= self.must


def best(rows: list[Row]) -> Row:
    """The best of the settings tried for one row."""
    measured = [row for row in rows if row.ratio is not None]
    return (min if rows[0].at_most else max)(measured, key=lambda row: row.ratio or 0.0)
