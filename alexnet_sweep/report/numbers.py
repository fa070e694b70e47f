"""Figures as a report shows them: percentage points with a sign and a true minus, intervals, factors, p-values."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from alexnet_sweep.claims import ABOUT, AT_LEAST, Claim

METRIC_WORDS = {"top1": "Top-1", "top5": "Top-5"}
MEASURE_WORDS = {
    "train_error": "clean training error",
    "gap": "test less training error",
    "steps": "steps to threshold",
}


def interval_words(row: "Mapping[str, Any] | pd.Series[Any]") -> str:
    """`+1.40 [+0.20, +2.60]`, of a row with delta, low and high in fractions; without an interval the delta alone."""
    if pd.isna(row["delta"]):
        return "–"
    delta, low, high = (signed(float(row[key])) for key in ("delta", "low", "high"))
    return delta if pd.isna(row["low"]) else f"{delta} [{low}, {high}]"


def percent(fraction: float, digits: int = 2) -> str:
    """In percent, with a true minus; what is zero as shown has none."""
    text = f"{100 * fraction:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def signed(fraction: float, digits: int = 2) -> str:
    """A difference in percentage points, with its sign and a true minus; what is zero as shown has a plus."""
    text = percent(fraction, digits)
    return text if text.startswith("−") else f"+{text}"


def claimed_words(claim: Claim) -> str:
    """A claimed difference in percentage points: `+1.4`, `about +2.0`, `> +1.0`, or turned round `< −1.0`."""
    assert claim.delta is not None, "asked only of claims with a number"
    beyond = "> " if claim.delta >= 0 else "< "
    return {AT_LEAST: beyond, ABOUT: "about "}.get(claim.reading, "") + signed(claim.delta, 1)


def as_printed(fraction: float) -> str:
    """A published percentage with the digits it was published with, but one at the least: `17.0`, `42.55`."""
    one = f"{100 * fraction:.1f}"
    return one if abs(100 * fraction - float(one)) < 1e-6 else f"{100 * fraction:.2f}"


def times(delta: float, low: float, high: float) -> str:
    """A relative change as a factor; `×<0.01` and `×>1000` where its digits would say nothing."""
    told, *ends = (_factor(1 + change) for change in (delta, low, high))
    return told if pd.isna(low) else f"{told} [{', '.join(ends)}]"


def _factor(value: float) -> str:
    return "×<0.01" if value < 0.005 else "×>1000" if value >= 1000 else f"×{value:.2f}"


def either(values: Sequence[Any]) -> str:
    """One value if all runs have the same, else all of them: `8`, `8 or 16`."""
    return " or ".join(f"{value:,}" if isinstance(value, int) else str(value) for value in dict.fromkeys(values))


def p_words(value: float) -> str:
    """A p-value with three digits, or its power of ten; below `1e-300` floats run out."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}" if value >= 1e-300 else "< 1e-300"


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each by its columns."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
