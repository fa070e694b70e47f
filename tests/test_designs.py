"""Designs: which combinations of levels a study looks at."""

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep.designs import DESIGNS, ORDERS, Cell, Factor, Level, baseline, cells
from alexnet_sweep.errors import ConfigError


def factor(place: int, levels: int) -> Factor:
    name = f"f{place}"
    return Factor(name, tuple(Level(f"l{level}", (f"{name}={level}",)) for level in range(levels)))


def factors_of(least: int = 1, most: int = 4) -> st.SearchStrategy[list[Factor]]:
    """Between one and five factors, each with so many levels."""
    counts = st.lists(st.integers(least, most), min_size=1, max_size=5)
    return counts.map(lambda numbers: [factor(place, number) for place, number in enumerate(numbers)])


def differences(one: Cell, other: Cell) -> int:
    return sum(mine != theirs for mine, theirs in zip(one, other, strict=True))


def others(factors: list[Factor]) -> list[int]:
    """How many levels each factor has beside the baseline's."""
    return [len(factor.levels) - 1 for factor in factors]


switches = factors_of(2, 2)
designs = st.sampled_from([name for name in DESIGNS if name != "cumulative"])
any_design = st.one_of(
    st.tuples(designs, factors_of(), st.sampled_from(ORDERS)),
    st.tuples(st.just("cumulative"), switches, st.sampled_from(ORDERS)),
)


@given(any_design)
def test_every_cell_takes_one_level_of_each_factor(asked: tuple[str, list[Factor], str]) -> None:
    design, factors, order = asked
    for cell in cells(design, factors, order):
        assert len(cell) == len(factors)
        assert all(level in factor.levels for level, factor in zip(cell, factors, strict=True))


@given(any_design)
def test_no_cell_comes_twice(asked: tuple[str, list[Factor], str]) -> None:
    found = cells(*asked)
    assert len(set(found)) == len(found)


@given(any_design)
def test_the_baseline_is_among_the_cells(asked: tuple[str, list[Factor], str]) -> None:
    design, factors, order = asked
    assert baseline(factors) in cells(design, factors, order)


@given(any_design)
def test_the_order_of_cells_is_stable(asked: tuple[str, list[Factor], str]) -> None:
    assert cells(*asked) == cells(*asked)


@given(designs, factors_of())
def test_the_baseline_comes_first_but_in_a_cumulative_study(design: str, factors: list[Factor]) -> None:
    assert cells(design, factors)[0] == baseline(factors)


@given(any_design)
def test_the_factorial_contains_the_cells_of_every_design(asked: tuple[str, list[Factor], str]) -> None:
    assert set(cells(*asked)) <= set(cells("factorial", asked[1]))


@given(factors_of())
def test_a_factorial_has_every_combination(factors: list[Factor]) -> None:
    assert len(cells("factorial", factors)) == math.prod(len(factor.levels) for factor in factors)


@given(factors_of())
def test_one_factor_at_a_time_has_the_baseline_and_each_other_level_once(factors: list[Factor]) -> None:
    assert len(cells("one_factor_at_a_time", factors)) == 1 + sum(others(factors))


@given(factors_of())
def test_one_factor_at_a_time_differs_from_the_baseline_in_exactly_one_factor(factors: list[Factor]) -> None:
    first, *rest = cells("one_factor_at_a_time", factors)
    assert all(differences(first, cell) == 1 for cell in rest)


@given(factors_of())
def test_one_factor_at_a_time_takes_factors_and_levels_as_they_are_written(factors: list[Factor]) -> None:
    changed = [
        level
        for cell in cells("one_factor_at_a_time", factors)[1:]
        for level, factor in zip(cell, factors, strict=True)
        if level != factor.levels[0]
    ]
    assert changed == [level for factor in factors for level in factor.levels[1:]]


@given(factors_of())
def test_pairs_are_one_factor_at_a_time_and_every_two_away_from_the_baseline(factors: list[Factor]) -> None:
    found = cells("pairs", factors)
    alone = cells("one_factor_at_a_time", factors)
    assert found[: len(alone)] == alone
    assert all(differences(found[0], cell) == 2 for cell in found[len(alone) :])
    assert len(found) == len(alone) + sum(one * two for one, two in combinations(others(factors), 2))


@given(switches, st.sampled_from(["build_up", "take_away"]))
def test_a_cumulative_study_goes_from_one_end_to_the_other_a_factor_a_step(factors: list[Factor], order: str) -> None:
    found = cells("cumulative", factors, order)
    assert len(found) == len(factors) + 1
    assert [differences(before, after) for before, after in pairwise(found)] == [1] * len(factors)
    assert [differences(found[0], cell) for cell in found] == list(range(len(factors) + 1))


@given(switches)
def test_building_up_ends_at_the_baseline_and_taking_away_starts_there(factors: list[Factor]) -> None:
    assert cells("cumulative", factors, "build_up")[-1] == baseline(factors)
    assert cells("cumulative", factors, "take_away")[0] == baseline(factors)


@given(switches)
def test_taking_away_mirrors_building_up(factors: list[Factor]) -> None:
    def mirrored(cell: Cell) -> Cell:
        return tuple(factor.levels[1 - factor.levels.index(level)] for level, factor in zip(cell, factors, strict=True))

    up, away = (cells("cumulative", factors, order) for order in ("build_up", "take_away"))
    assert away == [mirrored(cell) for cell in up]


@given(switches)
def test_taking_away_is_building_up_the_other_way_round_backwards(factors: list[Factor]) -> None:
    up = cells("cumulative", factors[::-1], "build_up")
    assert cells("cumulative", factors, "take_away") == [cell[::-1] for cell in up[::-1]]


@given(switches)
def test_both_orders_share_their_two_ends_alone(factors: list[Factor]) -> None:
    up, away = (cells("cumulative", factors, order) for order in ("build_up", "take_away"))
    assert cells("cumulative", factors, "both") == list(dict.fromkeys(up + away))
    assert len(cells("cumulative", factors, "both")) == 2 * len(factors)


@pytest.mark.parametrize("levels", [1, 3])
def test_a_cumulative_study_takes_factors_of_two_levels_alone(levels: int) -> None:
    with pytest.raises(ConfigError, match=rf"^factors: f1 has {levels} levels; .*allowed: 2$"):
        cells("cumulative", [factor(0, 2), factor(1, levels)])


def test_an_unknown_design_is_refused_with_the_nearest_and_all_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        cells("factorials", [factor(0, 2)])
    assert str(caught.value) == (
        "design: factorials: no such design. Did you mean 'factorial'? "
        "Have: one_factor_at_a_time, cumulative, factorial, pairs"
    )


def test_an_unknown_order_is_refused_with_the_nearest_and_all_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        cells("cumulative", [factor(0, 2)], "buildup")
    assert str(caught.value) == (
        "order: buildup: no such order. Did you mean 'build_up'? Have: build_up, take_away, both"
    )
