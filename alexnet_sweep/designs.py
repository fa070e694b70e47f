"""Designs: which combinations of factor levels a study looks at. Pure; the first level of a factor is the baseline's.

one_factor_at_a_time   the baseline, then each other level of each factor alone
cumulative             the recipe built up part by part, or taken away, or both: `order`
factorial              every combination
pairs                  one factor at a time, and every combination of two factors away from the baseline
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from alexnet_sweep.errors import ConfigError, nearest


@dataclass(frozen=True)
class Level:
    """One setting of a factor, and the overrides that make it."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Factor:
    """What is switched: a config group, a key, or a bundle of overrides under a name of its own."""

    name: str
    levels: tuple[Level, ...]  # the baseline's first


Cell = tuple[Level, ...]  # one level of every factor, in the factors' order
MOST_ARMS = 100_000  # more are not even listed
ORDERS = ("build_up", "take_away", "both")


def cells(design: str, factors: Sequence[Factor], order: str = "build_up") -> list[Cell]:
    """The design's combinations without duplicates, in a stable order.

    Raises:
        ConfigError: no such design or order, or factors that it cannot take.
    """
    if design not in DESIGNS:
        raise ConfigError(f"design: {design}: no such design.{nearest(design, DESIGNS)} Have: {', '.join(DESIGNS)}")
    if order not in ORDERS:
        raise ConfigError(f"order: {order}: no such order.{nearest(order, ORDERS)} Have: {', '.join(ORDERS)}")
    many = _count(design, [len(factor.levels) for factor in factors])
    if many > MOST_ARMS:
        raise ConfigError(f"design: {design} of these factors has {many:,} arms; allowed: {MOST_ARMS:,}. Take fewer")
    return list(dict.fromkeys(DESIGNS[design](factors, order)))


def _count(design: str, levels: Sequence[int]) -> int:
    """How many arms a design has, at most, without listing them."""
    others = [number - 1 for number in levels]
    if design == "factorial":
        return math.prod(levels)
    pairs = sum(one * two for one, two in itertools.combinations(others, 2)) if design == "pairs" else 0
    return 1 + sum(others) + pairs


def baseline(factors: Sequence[Factor]) -> Cell:
    """Every factor at its first level."""
    return tuple(factor.levels[0] for factor in factors)


def _one_factor_at_a_time(factors: Sequence[Factor], order: str) -> Iterator[Cell]:
    yield baseline(factors)
    for place, factor in enumerate(factors):
        for level in factor.levels[1:]:
            yield _replaced(baseline(factors), {place: level})


def _pairs(factors: Sequence[Factor], order: str) -> Iterator[Cell]:
    yield from _one_factor_at_a_time(factors, order)
    for one, two in itertools.combinations(range(len(factors)), 2):
        for first, second in itertools.product(factors[one].levels[1:], factors[two].levels[1:]):
            yield _replaced(baseline(factors), {one: first, two: second})


def _factorial(factors: Sequence[Factor], order: str) -> Iterator[Cell]:
    yield from itertools.product(*(factor.levels for factor in factors))


def _cumulative(factors: Sequence[Factor], order: str) -> Iterator[Cell]:
    for factor in factors:
        if len(factor.levels) != 2:
            raise ConfigError(
                f"factors: {factor.name} has {len(factor.levels)} levels; design=cumulative switches each factor once, "
                "so allowed: 2"
            )
    with_all, without = baseline(factors), tuple(factor.levels[1] for factor in factors)
    steps = range(len(factors) + 1)
    if order in ("build_up", "both"):  # parts come in the factors' order
        yield from (with_all[:step] + without[step:] for step in steps)
    if order in ("take_away", "both"):  # parts go in the factors' order
        yield from (without[:step] + with_all[step:] for step in steps)


def _replaced(cell: Cell, levels: dict[int, Level]) -> Cell:
    return tuple(levels.get(place, level) for place, level in enumerate(cell))


DESIGNS: dict[str, Callable[[Sequence[Factor], str], Iterator[Cell]]] = {
    "one_factor_at_a_time": _one_factor_at_a_time,
    "cumulative": _cumulative,
    "factorial": _factorial,
    "pairs": _pairs,
}
