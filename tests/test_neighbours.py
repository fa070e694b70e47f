"""Nearest neighbours, exact and by codes, against searching through everything by hand."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from alexnet_sweep.neighbours import Coder, agreement, nearest, nearest_codes, recall

Floats = NDArray[np.float32]
FEW = st.integers(0, 3).map(float)  # many of these distances are equal


def by_hand(queries: Floats, index: Floats, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    apart = np.sqrt(np.square(queries[:, None].astype(np.float64) - index[None]).sum(2))
    order = np.argsort(apart, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(apart, order, 1)


@settings(max_examples=40)
@given(arrays(np.float32, (3, 4), elements=FEW), arrays(np.float32, (13, 4), elements=FEW), st.integers(1, 13))
def test_nearest_are_those_found_by_hand(queries: Floats, index: Floats, k: int) -> None:
    found, (places, distances) = nearest(queries, [index], k), by_hand(queries, index, k)
    np.testing.assert_array_equal(found.places, places)
    np.testing.assert_array_equal(found.distances, distances)


@settings(max_examples=30)
@given(arrays(np.float32, (13, 3), elements=FEW), st.lists(st.integers(1, 12), max_size=3, unique=True))
def test_an_index_in_parts_is_the_same_index(index: Floats, cuts: list[int]) -> None:
    whole, parts = nearest(index[:4], [index], 6), nearest(index[:4], np.split(index, sorted(cuts)), 6)
    np.testing.assert_array_equal(whole.places, parts.places)
    np.testing.assert_array_equal(whole.distances, parts.distances)


def test_a_copy_is_at_no_distance_however_products_are_rounded() -> None:
    index = np.random.default_rng(0).integers(0, 256, (40, 300)).astype(np.float32)
    copies = np.concatenate([index, index, index])
    found = nearest(index, [copies], 3)
    np.testing.assert_array_equal(found.distances, 0)
    np.testing.assert_array_equal(found.places, np.arange(40)[:, None] + [0, 40, 80])


def test_many_neighbours_of_many_images_are_exact() -> None:
    rng = np.random.default_rng(1)
    queries, index = (rng.normal(size=(count, 32)).astype(np.float32) for count in (20, 500))
    np.testing.assert_array_equal(nearest(queries, [index], 50).places, by_hand(queries, index, 50)[0])


# --- codes ---


@given(arrays(np.bool_, (3, 5)), arrays(np.bool_, (11, 5)), st.integers(1, 11))
def test_nearest_codes_are_those_found_by_hand(queries: NDArray[np.bool_], index: NDArray[np.bool_], k: int) -> None:
    apart = (queries[:, None] != index[None]).sum(2)
    found = nearest_codes(queries, index, k)
    np.testing.assert_array_equal(found.places, np.argsort(apart, axis=1, kind="stable")[:, :k])
    np.testing.assert_array_equal(found.distances, np.sort(apart, axis=1)[:, :k])


def test_more_queries_than_are_held_at_once() -> None:
    rng = np.random.default_rng(0)
    queries, index = rng.random((600, 8)) > 0.5, rng.random((30, 8)) > 0.5
    whole = nearest_codes(queries, index, 4)
    for row in (0, 255, 256, 599):
        np.testing.assert_array_equal(nearest_codes(queries[[row]], index, 4).places[0], whole.places[row])


def test_a_bit_says_on_which_side_of_the_mean_an_image_lies() -> None:
    """Two features, spread 10 and 1 about (5, 1): the components are the axes, in this order."""
    features = np.array([[-5, 0], [15, 0], [-5, 2], [15, 2]], np.float32)
    coder = Coder.fitted(features, 16)
    assert coder.bits == 2  # no more than there are features
    codes = coder.codes(np.concatenate([features, [[4, 0.5]]]).astype(np.float32))
    for bit, right in enumerate(([0, 1, 0, 1, 0], [0, 0, 1, 1, 0])):
        sides = codes[:, bit].astype(int)
        assert list(sides) in (right, [1 - side for side in right])  # a direction has no sign


def test_codes_do_not_hang_on_scale_or_origin() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(200, 6)) * np.arange(1, 7)).astype(np.float32)
    plain, moved = Coder.fitted(features, 6), Coder.fitted(8 * features + 64, 6)
    one, other = plain.codes(features), moved.codes(8 * features + 64)
    same = (one == other).mean(axis=0)
    assert (np.minimum(same, 1 - same) == 0).all()  # each bit is the same throughout, or turned round throughout
    found = [nearest_codes(codes[:9], codes, 20).places for codes in (one, other)]
    np.testing.assert_array_equal(*found)


def test_longer_codes_begin_as_shorter_ones_and_find_more() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 24)).astype(np.float32)
    short, long = Coder.fitted(features, 4).codes(features), Coder.fitted(features, 24).codes(features)
    np.testing.assert_array_equal(short, long[:, :4])
    exact = nearest(features[:50], [features], 10).places
    found = [recall(nearest_codes(codes[:50], codes, 10).places, exact, 10).mean() for codes in (short, long)]
    assert found[0] < found[1] < 1


# --- shares ---


def test_agreement_and_recall_by_hand() -> None:
    labels, own = np.array([0, 1, 1, 2, 0]), np.array([1, 0])
    found = np.array([[1, 0, 2], [3, 2, 4]])
    np.testing.assert_allclose(agreement(found, labels, own, 1), [1, 0])
    np.testing.assert_allclose(agreement(found, labels, own, 3), [2 / 3, 1 / 3])
    exact = np.array([[2, 1, 3], [4, 0, 1]])
    np.testing.assert_allclose(recall(found, exact, 1), [0, 0])
    np.testing.assert_allclose(recall(found, exact, 2), [1 / 2, 0])
    np.testing.assert_allclose(recall(found, exact, 3), [2 / 3, 1 / 3])
