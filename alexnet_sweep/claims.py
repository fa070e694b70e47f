"""What the paper, its authors' logs and others have claimed: `claims.csv`, a row a claim and measure.

Columns: id (P: the paper's; L: its authors' logs beside the released code; C: cuda-convnet; E: third parties), kind,
dataset, split, views, subject, full and ablated (what was compared), measure (top1, top5, gap between test and clean
training error, train_error, steps to a training error), full_pct and ablated_pct (errors in %, the longer with the
digits in print), delta_points (percentage points; for steps the relative change in %), reading (value, about, at least,
sign: only the direction is claimed), about (the claim of the paper that a reference bears on), source, remark. Every
claim is that the change hurts, unless its number is negative.
"""

import csv
import dataclasses
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SIGN, AT_LEAST, ABOUT, VALUE = "sign", "at least", "about", "value"
OF_VIEWS = "test views"  # the subject of claims about the views of one run
TURNED = "-"  # before an id: the arm adds what the claim removes


@dataclass(frozen=True)
class Claim:
    """One claim about one measure; fractions."""

    id: str
    kind: str
    dataset: str
    split: str
    views: str  # ten, centre, or empty where unstated
    subject: str
    full: str
    ablated: str
    measure: str
    full_error: float | None
    ablated_error: float | None
    delta: float | None
    reading: str
    about: str
    source: str
    remark: str
    rounding: float  # by so much at the most may the difference be off, for the digits in print
    turned: bool = False  # tested from the ablated side: the arm adds what the claim removes

    @property
    def sign(self) -> int:
        """1 where the arm's change is said to hurt."""
        hurts = self.delta is None or self.delta >= 0
        return 1 if hurts != (self.turned and self.delta is None) else -1

    @property
    def has_size(self) -> bool:
        """Whether it says by how much an arm differs from the baseline."""
        return self.delta is not None and not self.is_of_views

    @property
    def is_of_views(self) -> bool:
        """Whether it compares two ways to evaluate the same networks, and no two arms."""
        return self.subject == OF_VIEWS

    @property
    def is_result(self) -> bool:
        """Whether it is an error of one network, and no comparison."""
        return self.delta is None and self.full_error is not None


@cache
def all_claims() -> tuple[Claim, ...]:
    """The whole table, in its order."""
    path = Path(__file__).with_name("claims.csv")
    with path.open(newline="", encoding="utf-8") as lines:
        return tuple(_claim(row) for row in csv.DictReader(lines))


def _claim(row: dict[str, str]) -> Claim:
    def fraction(key: str) -> float | None:
        return float(row[key]) / 100 if row[key] else None

    values: dict[str, Any] = {key: text for key, text in row.items() if not key.endswith(("_pct", "_points"))}
    full, ablated, delta = (fraction(key) for key in ("full_pct", "ablated_pct", "delta_points"))
    return Claim(**values, full_error=full, ablated_error=ablated, delta=delta, rounding=_rounding(row))


def _rounding(row: dict[str, str]) -> float:
    """Half a unit of the last digit, of the difference or of each of the two errors that it was worked out from."""
    if row["measure"] == "steps" or not row["delta_points"]:
        return 0.0
    errors = [text for text in (row["full_pct"], row["ablated_pct"]) if text]
    rounded = errors if len(errors) == 2 else [row["delta_points"]]
    digits = max(len(text.partition(".")[2]) for text in rounded)  # of a pair's 40 and 40.5, one is short of its zero
    return len(rounded) * 0.5 * 10.0**-digits / 100


def claims_of(name: str) -> list[Claim]:
    """The rows of one claim, as P03, or as -P03 turned round; none where there is no such claim."""
    rows = [claim for claim in all_claims() if claim.id == name.removeprefix(TURNED)]
    return [_turned(claim) for claim in rows] if name.startswith(TURNED) else rows


def _turned(claim: Claim) -> Claim:
    delta = None if claim.delta is None else -claim.delta
    if claim.delta is not None and claim.measure == "steps":  # a relative change: six times as many, or a sixth
        delta = 1 / (1 + claim.delta) - 1
    return dataclasses.replace(
        claim,
        full=claim.ablated,
        ablated=claim.full,
        full_error=claim.ablated_error,
        ablated_error=claim.full_error,
        delta=delta,
        turned=True,
    )


def published(dataset: str) -> list[Claim]:
    """Errors of single networks on a data set, the paper's and others'."""
    return [claim for claim in all_claims() if claim.dataset == dataset and claim.is_result]


def comparisons() -> list[str]:
    """Ids that an arm can be said to test: of the paper, and with a difference or a direction."""
    return list(dict.fromkeys(claim.id for claim in all_claims() if claim.kind == "paper" and claim.reading))


def references(name: str) -> list[Claim]:
    """What logs and others have found on a claim of the paper."""
    return [claim for claim in all_claims() if claim.about == name]
