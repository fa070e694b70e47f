"""Errors are counted from ranks; of equal scores the lower class comes first."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from alexnet_sweep.metrics import TOP, ErrorCounts, best_classes, count_errors, label_ranks


@st.composite
def answers(draw):
    """Scores with many ties, and labels."""
    images, classes = draw(st.integers(0, 8)), draw(st.integers(1, 12))
    scores = draw(arrays.arrays(np.float32, (images, classes), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
    labels = draw(arrays.arrays(np.int64, images, elements=st.integers(0, classes - 1)))
    return scores, labels


@settings(max_examples=60)
@given(answers())
def test_ranks_are_places_in_the_list_sorted_by_score_then_class(case):
    scores, labels = case
    for row, label, rank in zip(scores, labels, label_ranks(scores, labels), strict=True):
        assert sorted(range(len(row)), key=lambda c: (-row[c], c)).index(label) == rank - 1


@settings(max_examples=60)
@given(answers())
def test_top5_error_is_at_most_top1_error(case):
    scores, labels = case
    counts = count_errors(label_ranks(scores, labels), scores.shape[1])
    assert counts.top5 is None or counts.top5 <= counts.top1 <= counts.images


@settings(max_examples=60)
@given(answers())
def test_best_classes_and_ranks_agree(case):
    scores, labels = case
    ranks, best = label_ranks(scores, labels), best_classes(scores)
    assert best.shape == (len(labels), min(TOP, scores.shape[1]))
    for row, label, rank in zip(best, labels, ranks, strict=True):
        assert (label in row) == (rank <= TOP)
        assert rank > TOP or row[rank - 1] == label


def test_of_equal_scores_the_lower_class_comes_first():
    scores = np.array([[0.5, 0.9, 0.9]])
    assert label_ranks(np.repeat(scores, 3, 0), np.arange(3)).tolist() == [3, 1, 2]
    assert best_classes(scores).tolist() == [[1, 2, 0]]


def test_errors_are_counted_from_ranks():
    counts = count_errors(np.array([1, 2, 5, 6, 1, 10]), classes=10)
    assert counts == ErrorCounts(images=6, top1=4, top5=2)
    assert counts.top1_error == 4 / 6
    assert counts.top5_error == 2 / 6


def test_top5_says_nothing_with_five_classes():
    counts = count_errors(np.array([1, 5]), classes=5)
    assert counts.top5 is None
    assert counts.top5_error is None


def test_top5_is_counted_from_six_classes_on():
    assert count_errors(np.array([6]), classes=6).top5 == 1


def test_no_images_give_no_error_rather_than_zero():
    counts = count_errors(np.empty(0, np.int64), classes=10)
    assert counts.images == 0
    assert math.isnan(counts.top1_error)
    assert math.isnan(counts.top5_error)
