"""Learning rate factors, epoch by epoch."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_sweep.config import ScheduleConfig
from alexnet_sweep.schedule import Schedule


def schedule(name: str, epochs: int = 90, **changes) -> Schedule:
    values = {
        "name": name,
        "drop_factor": 0.1,
        "drop_fractions": [0.25, 0.55, 0.85],
        "drop_epochs": [30, 60, 80],
        "max_drops": 3,
        "patience_epochs": 2,
        "drop_biases": True,
        "conv1_drop_fraction": None,
        "conv1_freeze_fraction": None,
        "heldout_joins_fraction": None,
    }
    return Schedule(ScheduleConfig(**(values | changes)), epochs)


def drops(subject: Schedule, epochs: int) -> list[int]:
    """The epochs, from 0, whose factor is below that of the epoch before."""
    factors = [subject.factor(epoch) for epoch in range(epochs)]
    assert factors[0] == 1.0
    return [epoch for epoch in range(1, epochs) if factors[epoch] < factors[epoch - 1]]


def test_constant_never_falls():
    assert {schedule("constant").factor(epoch) for epoch in range(90)} == {1.0}


def test_fractions_drop_at_a_quarter_and_so_on_of_90_epochs():
    subject = schedule("fractions")
    assert drops(subject, 90) == [23, 50, 77]  # the first epochs that start at 22.5, 49.5, 76.5 or later
    assert [subject.factor(epoch) for epoch in (0, 23, 50, 89)] == pytest.approx([1, 0.1, 0.01, 0.001])


@pytest.mark.parametrize(("epochs", "expected"), [(20, [5, 11, 17]), (12, [3, 7, 11]), (100, [25, 55, 85])])
def test_fractions_that_are_whole_epochs_drop_exactly_there(epochs, expected):
    assert drops(schedule("fractions", epochs), epochs) == expected


def test_multistep_drops_after_the_listed_epochs():
    subject = schedule("multistep")
    assert drops(subject, 90) == [30, 60, 80]  # epochs count from 0: thirty of them come before the first drop
    assert subject.factor(89) == pytest.approx(0.001)


def test_cosine_falls_from_one_towards_zero():
    subject = schedule("cosine", 8)
    assert subject.factor(0) == 1.0
    assert subject.factor(4) == pytest.approx(0.5)
    assert subject.factor(7) == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)
    assert drops(subject, 8) == list(range(1, 8))


def test_plateau_does_not_fall_by_itself():
    subject = schedule("plateau")
    assert {subject.factor(epoch) for epoch in range(90)} == {1.0}


def test_plateau_drops_after_its_patience_and_waits_anew():
    subject = schedule("plateau", patience_epochs=2)
    factors = []
    for epoch, error in enumerate([0.5, 0.4, 0.4, 0.45, 0.42, 0.39, 0.5, 0.5]):
        subject.observe(error)
        factors.append(subject.factor(epoch + 1))
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01])


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5]), max_size=40), st.integers(0, 4), st.integers(1, 3))
def test_plateau_drops_at_most_as_often_as_allowed(errors, max_drops, patience):
    subject = schedule("plateau", max_drops=max_drops, patience_epochs=patience)
    for error in errors:
        subject.observe(error)
    assert subject.drops <= min(max_drops, max(0, len(errors) - 1) // patience)


@pytest.mark.parametrize("name", ["constant", "fractions", "multistep", "cosine"])
def test_only_plateau_looks_at_errors(name):
    subject, blind = schedule(name), schedule(name)
    for _ in range(20):
        subject.observe(0.5)
    assert [subject.factor(e) for e in range(90)] == [blind.factor(e) for e in range(90)]


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.1, 0.2, 0.5]), max_size=20), st.integers(0, 20))
def test_a_restored_schedule_goes_on_as_if_it_had_not_stopped(errors, cut):
    whole = schedule("plateau")
    before = schedule("plateau")
    after = schedule("plateau")
    for error in errors[:cut]:
        before.observe(error)
    after.restore(before.state())
    for error in errors[cut:]:
        after.observe(error)
    for error in errors:
        whole.observe(error)
    assert after.state() == whole.state()
    assert after.factor(0) == whole.factor(0)


@pytest.mark.parametrize(
    ("fraction", "epochs", "first"),
    [(0.625, 160, 100), (0.5, 4, 2), (0.5, 5, 3), (0.55, 100, 55), (0.0, 4, 0), (1.0, 4, 4), (None, 4, 4)],
)
def test_the_heldout_part_is_trained_on_from_its_fraction_to_the_end(fraction, epochs, first):
    subject = schedule("fractions", epochs, heldout_joins_fraction=fraction)
    assert [subject.heldout_joined(epoch) for epoch in range(epochs)] == [epoch >= first for epoch in range(epochs)]


@pytest.mark.parametrize(("drop_biases", "biases"), [(True, [1, 0.1, 0.01]), (False, [1, 1, 1])])
def test_biases_fall_with_the_weights_or_not_at_all(drop_biases, biases):
    subject = schedule("multistep", 9, drop_epochs=[3, 6], drop_biases=drop_biases)
    assert [subject.factors(epoch).weights for epoch in (0, 3, 6)] == pytest.approx([1, 0.1, 0.01])
    assert [subject.factors(epoch).biases for epoch in (0, 3, 6)] == pytest.approx(biases)


def test_conv1_falls_with_the_others_until_it_is_cut_to_a_thousandth_and_frozen():
    subject = schedule("fractions", 20, conv1_drop_fraction=0.6, conv1_freeze_fraction=0.7)
    found = [subject.factors(epoch).conv1 for epoch in range(20)]
    assert found == pytest.approx([1] * 5 + [0.1] * 6 + [0.01] + [0.001] * 2 + [0] * 6)


def test_conv1_is_cut_with_its_biases_even_where_the_others_have_fallen_as_far():
    fallen = {"drop_fractions": [0.0, 0.0, 0.0], "conv1_drop_fraction": 0.5, "drop_biases": False}
    subject = schedule("fractions", 4, **fallen)
    assert [subject.factors(epoch).conv1 for epoch in range(4)] == pytest.approx([0.001] * 4)
    assert [subject.factors(epoch).conv1_biases for epoch in range(4)] == pytest.approx([1, 1, 0.001, 0.001])


def test_the_released_schedule_changes_at_the_epochs_of_the_notes(composed):
    # Config 145 on ILSVRC-2012 dropped at 25, 51 and 79; a quarter and so on of 91 epochs are within two of it.
    subject = Schedule(composed("schedule=released_code").schedule, 91)
    assert drops(subject, 91) == [23, 51, 78]
    conv1 = [subject.factors(epoch).conv1 for epoch in range(91)]
    assert conv1[66:68] == pytest.approx([0.01, 0.001])
    assert conv1[71:73] == pytest.approx([0.001, 0.0])


def test_the_printed_schedule_divides_by_ten_at_most_three_times(composed):
    subject = Schedule(composed("schedule=plateau").schedule, 90)
    for _ in range(90):
        subject.observe(0.5)
    assert subject.factor(89) == pytest.approx(1e-3)
