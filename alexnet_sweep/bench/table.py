"""The benchmark's rows as text and as values."""

from collections.abc import Mapping, Sequence
from typing import Any

from alexnet_sweep.bench.timing import Figure, Row


def as_text(facts: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """The machine's facts, then a block a row: its ratio, what it must reach, and the figures it is made of."""
    lines = [f"{key}: {value}" for key, value in facts.items()] + [""]
    for row in rows:
        sign = "at most" if row.at_most else "at least"
        ratio, verdict = "not measured", ""
        if row.ratio is not None:
            ratio = f"{row.ratio:.3g} ({min(row.ratios):.3g} to {max(row.ratios):.3g})"
            verdict = ", met" if row.met else ", NOT met"
        lines.append(f"{row.name}: {ratio}, must be {sign} {row.must:g}{verdict}")
        lines.append(f"    {row.what}")
        lines += [f"    {name}: {_figure(figure)}" for name, figure in row.figures.items()]
        lines += [f"    {row.note}"] if row.note else []
    return "\n".join(lines)


def _figure(figure: Figure) -> str:
    return f"{figure.median:,.4g} {figure.unit} ({min(figure.values):,.4g} to {max(figure.values):,.4g})"


def as_values(facts: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "machine": dict(facts),
        "rows": [
            {
                "name": row.name,
                "what": row.what,
                "must": row.must,
                "at_most": row.at_most,
                "ratio": row.ratio,
                "ratios": row.ratios,
                "met": row.met,
                "note": row.note,
                "figures": {
                    name: {"unit": figure.unit, "median": figure.median, "values": figure.values}
                    for name, figure in row.figures.items()
                },
            }
            for row in rows
        ],
    }
