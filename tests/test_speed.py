"""Steps to a training-error threshold, and the trap of a run that does not learn."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep.speed import StepsToThreshold, is_stuck
from conftest import Main

SMALL = ("model.width=0.05", "trainer.cpu_threads=1", "eval.clean_train_images=64", "trainer.batch_size=16")
STUCK = (
    "model/init=paper_text",
    "data.input_divisor=58",
    "model.init.follow_input=false",
    "model.init.keep_gain=false",
)
TRAP = ("trainer.epochs=1", "trainer.stuck_after_steps=80", "trainer.stop_if_stuck=true")


def test_the_first_step_is_worked_out_by_hand() -> None:
    # Batches of 10, window of 20: errors over the last two are -, .9, .5, .25, .2
    subject = StepsToThreshold(0.25, 20)
    subject.add([9, 9, 1, 4, 0], [10] * 5)
    assert subject.step == 4


def test_a_window_that_is_not_full_says_nothing() -> None:
    subject = StepsToThreshold(0.25, 30)
    subject.add([0, 0], [10, 10])
    assert subject.step is None


steps = st.lists(st.tuples(st.integers(0, 8), st.just(8)), min_size=1, max_size=40)


@given(steps, st.integers(0, 40), st.sampled_from([1, 8, 20, 33]))
def test_stopping_anywhere_changes_nothing(taken: list[tuple[int, int]], cut: int, window: int) -> None:
    whole, first, second = (StepsToThreshold(0.25, window) for _ in range(3))
    whole.add(*zip(*taken, strict=True))
    for part, subject in ((taken[:cut], first), (taken[cut:], second)):
        if subject is second:
            second.restore(first.state())
        if part:
            subject.add(*zip(*part, strict=True))
    assert second.state() == whole.state()


@given(steps)
def test_a_lower_threshold_is_never_reached_earlier(taken: list[tuple[int, int]]) -> None:
    low, high = StepsToThreshold(0.1, 16), StepsToThreshold(0.4, 16)
    for subject in (low, high):
        subject.add(*zip(*taken, strict=True))
    assert low.step is None or (high.step is not None and high.step <= low.step)


def test_the_loss_of_guessing_is_stuck_and_a_little_below_it_is_not() -> None:
    assert is_stuck(math.log(1000), 1000) and is_stuck(6.85, 1000) and not is_stuck(6.8, 1000)


def test_the_trap_springs_for_text_style_weights_on_rescaled_inputs(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("-m", "seed=0", *SMALL, *STUCK, *TRAP) == 1
    printed = capsys.readouterr().err
    assert "TrainingStuck: not learning: after 80 steps" in printed and "ln(10) = 2.303" in printed
    assert "model/init=released_code" in printed and "model.init.follow_input=true" in printed


def test_the_trap_does_not_spring_for_the_released_start_on_plain_pixels(main: Main) -> None:
    assert main("-m", "seed=0", *SMALL, *TRAP) == 0


def test_a_stuck_run_goes_on_when_not_asked_to_stop(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(*SMALL, *STUCK, *TRAP[:2]) == 0
    assert "not learning: after 80 steps" in capsys.readouterr().err
