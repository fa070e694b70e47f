"""The table of claims: every row sound, and the paper's numbers as printed."""

import csv
from pathlib import Path

import pytest

import alexnet_sweep.claims
from alexnet_sweep.claims import all_claims, claims_of, comparisons, references

KINDS = {"P": "paper", "L": "author log", "C": "cuda-convnet", "E": "third party"}


def every(test):
    named = [pytest.param(claim, id=f"{claim.id} {claim.ablated} {claim.measure}") for claim in all_claims()]
    return pytest.mark.parametrize("claim", named)(test)


def test_every_row_of_the_file_is_a_claim():
    path = Path(alexnet_sweep.claims.__file__).with_name("claims.csv")
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == len(all_claims()) > 80
    for row in rows:
        assert None not in row and None not in row.values(), f"{row['id']}: as many fields as the head has"
        assert not any(value != value.strip() for value in row.values())
    assert len({(c.id, c.full, c.ablated, c.measure) for c in all_claims()}) == len(rows)


@every
def test_a_claim_is_of_a_known_kind_measure_and_reading(claim):
    assert claim.kind == KINDS[claim.id[0]]
    assert claim.measure in ("top1", "top5", "gap", "train_error", "steps")
    assert claim.reading in ("value", "about", "at least", "sign", "")
    assert claim.views in ("ten", "centre", "") and claim.split in ("train", "validation", "test", "")
    assert claim.source and claim.subject
    assert claim.dataset in ("ILSVRC-2010", "ILSVRC-2012", "ImageNet", "CIFAR-10")


@every
def test_a_difference_is_ablated_less_full_where_both_are_given(claim):
    if claim.full_error is not None and claim.ablated_error is not None:
        # hundredths of points at the most are lost in rounding
        assert claim.delta == pytest.approx(claim.ablated_error - claim.full_error, abs=0.0006)


@every
def test_errors_are_fractions_and_a_size_is_claimed_unless_only_the_direction_is(claim):
    for error in (claim.full_error, claim.ablated_error):
        assert error is None or 0.1 < error < 0.8
    assert (claim.delta is None) == (claim.reading in ("sign", ""))
    if claim.measure != "steps" and claim.delta is not None:
        assert abs(claim.delta) < 0.35
    assert claim.reading or claim.full_error is not None


@every
def test_a_reference_bears_on_a_claim_of_the_paper(claim):
    if claim.about:
        assert claim.kind != "paper"
        assert {other.kind for other in claims_of(claim.about)} == {"paper"}


def test_the_logs_are_what_the_paper_prints():
    """L02, L03, L05, L08 and L16 are the runs behind P02, P03, P05, P08 and P16."""
    for number in ("02", "03", "05", "08", "16"):
        for printed, logged in zip(claims_of(f"P{number}"), claims_of(f"L{number}"), strict=True):
            assert printed.measure == logged.measure and logged.about == printed.id
            assert abs(logged.delta - printed.delta) <= printed.rounding + logged.rounding


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("P03", 0.05),  # 1.4: the text gives the difference
        ("P08", 0.1),  # 39.0 less 37.5, each rounded
        ("P04", 1),  # 13 less 11 %
        ("L03", 0.0001),  # 42.0340 less 40.6640
        ("E03", 0.1),  # 40 (40.0 in print) less 40.5
        ("P01", 0),  # about six times
        ("P12a", 0),
    ],
)
def test_a_number_is_known_to_half_a_unit_of_the_last_digit_of_each_number_in_print(name, points):
    for claim in claims_of(name) + claims_of(f"-{name}"):
        assert claim.rounding == pytest.approx(points / 100)


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("P02", {"top1": 1.7, "top5": 1.2}),  # §3.2: two GPUs against one with half as many kernels
        ("P03", {"top1": 1.4, "top5": 1.2}),  # §3.3: response normalisation
        ("P04", {"top1": 2.0}),  # §3.3: 13 against 11 % on CIFAR-10
        ("P05", {"top1": 0.4, "top5": 0.3}),  # §3.4: overlapping pooling
        ("P06", {"top1": 1.0}),  # §4.1: over 1 %
        ("P08", {"top1": 1.5, "top5": 1.3}),  # 39.0 against 37.5, 18.3 against 17.0
        ("P12b", {"top1": 2.0}),  # §7: about 2 %
        ("P15", {"top1": 2.6, "top5": 1.8}),  # table 2: 40.7 and 38.1, 18.2 and 16.4
        ("P16", {"top1": 1.7, "top5": 1.6}),  # table 2: 40.7 and 39.0, 18.2 and 16.6
    ],
)
def test_the_papers_numbers_are_those_printed(name, points):
    found = {claim.measure: claim.delta for claim in claims_of(name)}
    assert found == {measure: pytest.approx(value / 100) for measure, value in points.items()}


def test_tables_one_and_two_of_the_paper():
    assert [claim.full_error for claim in claims_of("P13")] == pytest.approx([0.375, 0.17])
    assert [claim.full_error for claim in claims_of("P14")] == pytest.approx([0.407, 0.182])


def test_six_times_as_many_steps_are_five_times_more():
    (claim,) = claims_of("P01")
    assert (claim.measure, claim.delta, claim.reading) == ("steps", 5.0, "about")


def test_a_negative_number_says_that_the_change_helps():
    for claim in all_claims():
        assert claim.sign == (-1 if (claim.delta or 0) < 0 else 1)
    assert {claim.sign for claim in all_claims()} == {-1, 1}
    hurting = {claim.id for claim in all_claims() if claim.kind == "paper" and claim.sign == -1}
    assert hurting == {"P09"}  # without dropout training is quicker


def test_an_arm_can_test_a_claim_of_the_paper_that_compares():
    names = comparisons()
    assert len(names) == len(set(names)) and {"P01", "P03", "P12a", "P12b"} <= set(names)
    assert not {"P13", "P14"} & set(names)  # one net's errors, compared with none
    assert all(name.startswith("P") for name in names)


def test_references_of_a_claim_are_the_rows_about_it():
    found = references("P03")
    assert {"L03", "E04"} <= {claim.id for claim in found} and {claim.about for claim in found} == {"P03"}
    assert references("P99") == [] and claims_of("P99") == []
