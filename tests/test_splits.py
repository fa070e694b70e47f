from types import SimpleNamespace

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alexnet_sweep.data.splits import check_sizes, heldout_size, hold_out
from alexnet_sweep.errors import ConfigError

quick = settings(max_examples=60, deadline=None)
some_labels = arrays.arrays(np.int64, st.integers(1, 300), elements=st.integers(0, 6))
fractions = st.floats(0, 0.999)


@quick
@given(some_labels, fractions)
def test_every_image_is_either_kept_or_set_aside(labels, fraction):
    kept, aside = hold_out(labels, fraction, "heldout")
    assert sorted([*kept, *aside]) == list(range(len(labels)))


@quick
@given(some_labels, fractions)
def test_both_parts_are_ascending(labels, fraction):
    for part in hold_out(labels, fraction, "heldout"):
        assert (np.diff(part) > 0).all()


@quick
@given(some_labels, fractions)
@example(np.zeros(5, np.int64), 0.5)  # a half is rounded up
def test_the_size_set_aside_is_the_one_promised(labels, fraction):
    _, aside = hold_out(labels, fraction, "heldout")
    assert len(aside) == heldout_size(len(labels), fraction) == int(np.floor(fraction * len(labels) + 0.5))


@quick
@given(some_labels, fractions)
def test_every_class_gives_its_share_within_one_image(labels, fraction):
    _, aside = hold_out(labels, fraction, "heldout")
    for label in np.unique(labels):
        share = fraction * np.sum(labels == label)
        assert abs(np.sum(labels[aside] == label) - share) <= 1 + 1e-9


@quick
@given(some_labels, fractions)
def test_holding_out_twice_is_the_same_whatever_the_global_generator_holds(labels, fraction):
    np.random.seed(1)
    first = hold_out(labels, fraction, "heldout")
    np.random.seed(2)
    second = hold_out(labels, fraction, "heldout")
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


def test_nothing_is_set_aside_for_a_fraction_of_zero():
    kept, aside = hold_out(np.arange(7), 0.0, "heldout")
    assert list(kept) == list(range(7)) and len(aside) == 0


def test_another_use_sets_other_images_aside():
    labels = np.repeat([0, 1], 100)
    _, heldout = hold_out(labels, 0.2, "heldout")
    _, test = hold_out(labels, 0.2, "test")
    assert not np.array_equal(heldout, test)


def test_the_choice_in_one_class_does_not_hang_on_the_others():
    """A class added at the end leaves the choice among the first ones as it was."""
    labels = np.repeat([0, 1], 50)
    _, before = hold_out(labels, 0.2, "heldout")
    _, after = hold_out(np.concatenate([labels, np.full(50, 2)]), 0.2, "heldout")
    assert np.array_equal(before, after[after < 100])


def test_the_held_out_images_are_the_same_for_every_seed_of_a_run(micro):
    from alexnet_sweep.assemble import split_parts

    packed = SimpleNamespace(labels={"train": np.repeat([0, 1], 50), "test": np.zeros(4, np.int64)})
    first, second = (split_parts(micro(f"seed={seed}"), packed) for seed in (0, 7))
    assert len(first.heldout) == 10
    assert np.array_equal(first.heldout, second.heldout)


def test_a_batch_as_large_as_what_is_left_is_accepted(composed):
    check_sizes(composed("trainer.batch_size=63", "data.heldout_fraction=0.1"), {"train": 70, "test": 10})


def test_a_batch_larger_than_what_is_left_is_refused_with_the_largest_allowed(composed):
    config = composed("trainer.batch_size=64", "data.heldout_fraction=0.1")
    with pytest.raises(
        ConfigError, match=r"^trainer\.batch_size=64: .*data=digits has 63 .*70 less 7.*allowed: 1 to 63"
    ):
        check_sizes(config, {"train": 70, "test": 10})


def test_a_plateau_that_would_watch_no_image_is_refused(composed):
    config = composed("schedule=plateau", "data.heldout_fraction=0.001", "trainer.batch_size=8")
    with pytest.raises(ConfigError, match=r"^data\.heldout_fraction=0\.001: .*no image of 100.*raise it"):
        check_sizes(config, {"train": 100, "test": 10})


def test_a_fixed_schedule_needs_no_held_out_image(composed):
    check_sizes(composed("data.heldout_fraction=0", "trainer.batch_size=8"), {"train": 100, "test": 10})
