"""The drawings of a report: `canvas.write(forest(rows), folder, "forest")`. The same data give the same bytes.

Figures are fractions here (0.0123) and percent on paper (1.23). What is missing or not finite is left out, labels are
plain text whatever they hold, and where there is nothing to draw it is a ValueError. No drawing depends on colour
alone, nor on a light page: the SVG has no background, and its text and axes are `currentColor`, so that they follow
the page that it is inlined in; as a file of its own it follows the reader's system.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from alexnet_sweep.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    NORMAL,
    ORANGE,
    PURPLE,
    ROW,
    SMALL,
    TALLEST,
    VERMILLION,
    WIDTH,
    Missing,
    axes_at,
    fit_text,
    limits_of,
    not_empty,
    percent_of,
    reach_of,
    signed_number,
    style,
    text_width,
    with_legend,
    wrap_text,
)

LOOKS = (  # of arms that share a panel: colour, marker, line; more arms than these have a panel each
    (INK, "o", "-"),
    (BLUE, "s", "--"),
    (VERMILLION, "^", "-."),
    (GREEN, "D", ":"),
    (PURPLE, "v", "--"),
    (ORANGE, "X", "-."),
)
SPLITS = ((BLUE, "o", "-"), (VERMILLION, "s", "--"))  # held-out, training
DIVERGING = LinearSegmentedColormap.from_list("blue-white-vermillion", [BLUE, "#f7f7f7", VERMILLION])
HURTS = "Δ Top-1 error, percentage points (right: the change hurts)"
BEYOND = "Δ beyond the sum of both, percentage points"


@dataclass(frozen=True)
class Effect:
    """A row of a forest plot: an arm's error less the baseline's, with a 95 % interval; all of it fractions.

    The interval is over images only, or over images and seeds; `low_images` and `high_images` are then the part of it
    that images alone make up. `claimed` is the paper's value, of an experiment
    like this one or (`like` false) of another.
    """

    label: str
    delta: Missing
    low: Missing
    high: Missing
    over_seeds: bool = False
    low_images: Missing = None
    high_images: Missing = None
    claimed: Missing = None
    like: bool = True


@dataclass(frozen=True)
class Curves:
    """An arm's errors (fractions) by epoch, a row a seed; `train` is evaluated like `heldout`, cleanly."""

    label: str
    heldout: tuple[tuple[Missing, ...], ...]
    train: tuple[tuple[Missing, ...], ...] = ()
    baseline: bool = False


@dataclass(frozen=True)
class Step:
    """One more part added or taken away, and the error that results (fractions)."""

    label: str
    error: Missing
    low: Missing = None
    high: Missing = None


@dataclass(frozen=True)
class Order:
    """Steps in the order in which they were made: `build up` or `take away`."""

    name: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Pair:
    """What two factors do together beyond the sum of what each does alone (a fraction), at a row and a column."""

    row: str
    column: str
    value: Missing
    low: Missing = None
    high: Missing = None


@dataclass(frozen=True)
class Gap:
    """An arm's error on training images, cleanly evaluated, and on test images (fractions)."""

    label: str
    train: Missing
    test: Missing


@dataclass(frozen=True)
class Point:
    """The error (fraction) of so many networks that answer together: mean, least and greatest of their subsets."""

    networks: int
    error: Missing
    least: Missing
    greatest: Missing


@dataclass(frozen=True)
class Averages:
    """An arm's errors in one view (ten, centre) by number of networks."""

    label: str
    view: str
    points: tuple[Point, ...]


@style()
def forest(rows: Sequence[Effect], axis: str = HURTS) -> Figure:
    """Deltas with their intervals, a row an arm in the order given, and what the paper claims."""
    not_empty(rows, "rows of the forest plot")
    figure, (axes,) = _stacked([[row.label for row in rows]], axis)
    axes.axvline(0, color=INK, linewidth=1)
    deltas, claims = [percent_of(row.delta) for row in rows], [percent_of(row.claimed) for row in rows]
    whole = [(percent_of(row.low), percent_of(row.high)) for row in rows]
    inner = [(percent_of(row.low_images), percent_of(row.high_images)) for row in rows]
    thick = [inner[number] if row.over_seeds else whole[number] for number, row in enumerate(rows)]
    left, right = reach_of([0.0, *deltas, *claims, *(end for ends in thick for end in ends)], whole)
    axes.set_xlim(left, right)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed_number(value, "g")))
    legend: list[tuple[Any, str]] = []
    for over_seeds, colour, marker, width, cap, words in (
        (False, BLUE, "o", 3.5, 0.0, "95 % interval over images only"),
        (True, VERMILLION, "s", 1.2, 3.0, "95 % interval over images and seeds (thick: images)"),
    ):
        chosen = [number for number, row in enumerate(rows) if row.over_seeds == over_seeds]
        for number in chosen:
            if over_seeds:
                _whisker(axes, number, *whole[number], colour)
            axes.plot(thick[number], [number] * 2, color=colour, linewidth=3.5, solid_capstyle="butt")
        axes.plot([deltas[number] for number in chosen], chosen, marker, color=colour, gid=f"delta {over_seeds}")
        if chosen:
            model = axes.errorbar([], [], xerr=[], fmt=marker, color=colour, elinewidth=width, capsize=cap)
            legend.append((model, words))
    for like, marker, words in ((True, "D", "the paper's value"), (False, "x", "the paper's value, not comparable")):
        chosen = [number for number, row in enumerate(rows) if row.like == like and math.isfinite(claims[number])]
        looks: dict[str, Any] = {"color": PURPLE, "markerfacecolor": "none", "markeredgewidth": 1.6, "markersize": 8}
        if chosen:
            (line,) = axes.plot([claims[number] for number in chosen], chosen, marker, **looks, gid=f"claimed {like}")
            legend.append((line, words))
    return with_legend(figure, legend)


@style()
def learning_curves(arms: Sequence[Curves], axis: str = "Top-1 error, %") -> Figure:
    """Errors by epoch: seeds thin, their mean thick. More than six arms have a panel each, and seeds are a band."""
    not_empty(arms, "arms of the learning curves")
    splits = ["held-out images"] + ["training images (clean)"] * any(_over(arm.train) for arm in arms)
    figure = _panels(arms, splits, axis) if len(arms) > len(LOOKS) else _together(arms, splits, axis)
    limits = limits_of([percent_of(value) for arm in arms for seed in (*arm.heldout, *arm.train) for value in seed])
    longest = max((len(seed) for arm in arms for seed in (*arm.heldout, *arm.train)), default=1)
    for axes in figure.axes:
        axes.set(xlim=(0, longest + 0.5), ylim=limits)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    return figure


def _together(arms: Sequence[Curves], splits: Sequence[str], axis: str) -> Figure:
    """All arms in one panel: held-out images to the left, training images to the right."""
    top = 0.4 + 0.17 * math.ceil(len(arms) / 3)
    figure = Figure(figsize=(WIDTH, top + 3.5))
    width = (WIDTH - 0.7) / len(splits)
    for column, split in enumerate(splits):
        axes = axes_at(figure, 0.7 + column * width, top, width - 0.25, 3.0)
        axes.set_title(split, fontsize=NORMAL)
        axes.set_xlabel("epoch")
        axes.set_ylabel("" if column else axis)
        axes.tick_params(labelleft=column == 0)
        errors = [arm.train if column else arm.heldout for arm in arms]
        lines = [_curve(axes, seeds, *look, "lines") for seeds, look in zip(errors, LOOKS, strict=False)]
    return with_legend(figure, [(line, fit_text(arm.label, 2.0, SMALL)) for line, arm in zip(lines, arms, strict=True)])


def _panels(arms: Sequence[Curves], splits: Sequence[str], axis: str) -> Figure:
    """A panel an arm, with the baseline in grey behind it."""
    columns, top, height = 4, 0.65, 1.65
    figure = Figure(figsize=(WIDTH, min(top + math.ceil(len(arms) / columns) * height + 0.25, TALLEST)))
    width = (WIDTH - 0.7) / columns
    behind = [errors for arm in arms if arm.baseline for errors in (arm.heldout, arm.train)]
    for number, arm in enumerate(arms):
        line, column = divmod(number, columns)
        axes = axes_at(figure, 0.7 + column * width, top + line * height, width - 0.2, height - 0.45)
        axes.set_title(wrap_text(arm.label, width - 0.1, SMALL), fontsize=SMALL, pad=3)
        axes.set_ylabel("" if column else axis, fontsize=SMALL)
        lowest = number + columns >= len(arms)
        axes.set_xlabel("epoch" if lowest else "", fontsize=SMALL)
        axes.tick_params(labelleft=column == 0, labelbottom=lowest)
        grey = [_curve(axes, one, GREY, "", dash) for one, dash in zip(behind, ("-", "--"), strict=False)]
        drawn = [_curve(axes, *of, "band") for of in ((arm.heldout, *SPLITS[0]), (arm.train, *SPLITS[1]))]
    entries = zip([*drawn[: len(splits)], *grey], [*splits, "the baseline's mean"], strict=False)
    return with_legend(figure, list(entries))


def _curve(
    axes: Axes, seeds: Sequence[Sequence[Missing]], colour: str, marker: str, line: str, spread: str = ""
) -> Line2D:
    """A thick line for the mean of seeds; each of them as a thin one (`lines`), or the range of them as a `band`."""
    for seed in seeds if spread == "lines" and len(seeds) > 1 else ():
        points = _over([seed])
        axes.plot([x for x, _ in points], [y for _, y in points], color=colour, linewidth=0.6, alpha=0.5)
    points = _over(seeds)
    epochs = [x for x, _ in points]
    if spread == "band" and len(seeds) > 1:
        low, high = ([y for _, y in _over(seeds, by)] for by in (min, max))
        axes.fill_between(epochs, low, high, color=colour, alpha=0.25, linewidth=0)
    looks: dict[str, Any] = {"marker": marker, "markersize": 4, "markevery": max(1, len(points) // 6), "gid": "mean"}
    (drawn,) = axes.plot(epochs, [y for _, y in points], line, color=colour, **looks)
    return drawn


def _over(
    seeds: Sequence[Sequence[Missing]], by: Callable[[Sequence[float]], float] = fmean
) -> list[tuple[int, float]]:
    """Epochs, from 1, and the mean error in percent, where all seeds that have any error have one."""
    figures = [[percent_of(value) for value in seed] for seed in seeds]
    begun = [values for values in figures if any(map(math.isfinite, values))]
    epochs = enumerate(zip_longest(*begun, fillvalue=math.nan), 1)
    return [(epoch, by(values)) for epoch, values in epochs if all(map(math.isfinite, values))]


@style()
def steps(orders: Sequence[Order], axis: str = "Top-1 error, %") -> Figure:
    """Errors as one part after the other is added, or taken away: a panel an order."""
    not_empty(orders, "orders of the cumulative curve")
    for order in orders:
        not_empty(order.steps, f"steps of {order.name!r}")
    figure, panels = _stacked(
        [[step.label for step in order.steps] for order in orders], axis, [order.name for order in orders]
    )
    ends = [percent_of(end) for order in orders for step in order.steps for end in (step.error, step.low, step.high)]
    for axes, order, (colour, marker, line) in zip(panels, orders, LOOKS[1:] * len(orders), strict=False):
        axes.set_xlim(*limits_of(ends))
        for number, step in enumerate(order.steps):
            _whisker(axes, number, percent_of(step.low), percent_of(step.high), colour)
        errors = [percent_of(step.error) for step in order.steps]
        axes.plot(errors, range(len(errors)), line, color=colour, marker=marker, gid="error")
    return figure


@style()
def heatmap(labels: Sequence[str], pairs: Sequence[Pair], axis: str = BEYOND) -> Figure:
    """A square of interactions in percentage points; missing pairs, and sides without any, stay blank."""
    not_empty(labels, "labels of the heat map")
    not_empty(pairs, "pairs of the heat map")
    rows = [label for label in labels if any(pair.row == label for pair in pairs)]
    columns = [label for label in labels if any(pair.column == label for pair in pairs)]
    beside, below = ([fit_text(label, 2.2, NORMAL) for label in side] for side in (rows, columns))
    longest = max(text_width(label, NORMAL) for label in (*beside, *below))
    across, down, left, top = 0.98 * len(columns), 0.5 * len(rows), longest + 0.25, 0.45
    tall = top + down + 0.7 * longest + 0.3
    figure = Figure(figsize=(max(left + across + 0.2, 4.6), tall))
    axes = axes_at(figure, left, top, across, down)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(range(len(columns)), below, rotation=40, ha="right", rotation_mode="anchor", fontsize=NORMAL)
    axes.set_yticks(range(len(rows)), beside, fontsize=NORMAL)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    most = max(
        (abs(value) for value in (percent_of(pair.value) for pair in pairs) if math.isfinite(value)), default=0.0
    )
    for pair in pairs:
        _cell(axes, columns.index(pair.column), rows.index(pair.row), pair, most or 1.0)
    words = f"{axis}\nframed, bold: the 95 % interval leaves out zero"
    figure.text(0.1 / figure.get_figwidth(), 1 - 0.06 / tall, words, va="top", fontsize=SMALL)
    return figure


def _cell(axes: Axes, column: int, row: int, pair: Pair, most: float) -> None:
    value, low, high = percent_of(pair.value), percent_of(pair.low), percent_of(pair.high)
    if not math.isfinite(value):
        return
    red, green, blue, _ = colour = DIVERGING(0.5 + value / most / 2)
    ink = "#111111" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#ffffff"
    clear = low > 0 or high < 0
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="none"))
    if clear:
        axes.add_patch(Rectangle((column - 0.46, row - 0.42), 0.92, 0.84, fill=False, edgecolor=ink, linewidth=1.6))
    bounded = math.isfinite(low) and math.isfinite(high)
    middle: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
    weight = "bold" if clear else "normal"
    axes.text(column, row - 0.14 * bounded, signed_number(value, ".2f"), fontsize=NORMAL, weight=weight, **middle)
    if bounded:
        axes.text(
            column, row + 0.2, f"[{signed_number(low, '.2f')}, {signed_number(high, '.2f')}]", fontsize=7, **middle
        )


@style()
def gap(rows: Sequence[Gap], axis: str = "Top-1 error, %") -> Figure:
    """Training and test error of each arm, joined."""
    not_empty(rows, "rows of the gap")
    figure, (axes,) = _stacked([[row.label for row in rows]], axis)
    train, test = [percent_of(row.train) for row in rows], [percent_of(row.test) for row in rows]
    for number, ends in enumerate(zip(train, test, strict=True)):
        axes.plot(ends, [number] * 2, color=GREY, linewidth=1.5)
    (left,) = axes.plot(train, range(len(rows)), "o", color=BLUE, gid="train")
    (right,) = axes.plot(test, range(len(rows)), "s", color=VERMILLION, gid="test")
    axes.set_xlim(*limits_of([*train, *test]))
    return with_legend(figure, [(left, "training images (clean)"), (right, "test images")])


@style()
def ensembles(curves: Sequence[Averages], axis: str = "Top-1 error, %") -> Figure:
    """Errors by the number of averaged networks: averaged views to the left, the centre view to the right."""
    not_empty(curves, "curves of the ensembles")
    labels = list(dict.fromkeys(curve.label for curve in curves))[: len(LOOKS)]
    views = {"ten": "averaged views", "centre": "centre view"}
    top = 0.4 + 0.17 * math.ceil(len(labels) / 3)
    figure, width = Figure(figsize=(WIDTH, top + 3.5)), (WIDTH - 0.7) / 2
    kept = [curve for curve in curves if curve.label in labels]
    ends = [percent_of(end) for curve in kept for point in curve.points for end in (point.least, point.greatest)]
    most = max(point.networks for curve in kept for point in curve.points)
    drawn: dict[str, Line2D] = {}
    for column, (view, words) in enumerate(views.items()):
        axes = axes_at(figure, 0.7 + column * width, top, width - 0.25, 3.0)
        axes.set_title(words, fontsize=NORMAL)
        axes.set(
            xlim=(0.5, most + 0.5), ylim=limits_of(ends), xlabel="networks averaged", ylabel="" if column else axis
        )
        axes.tick_params(labelleft=column == 0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.grid(color=INK, alpha=0.15, linewidth=0.6)
        for curve in (one for one in kept if one.view == view):
            colour, marker, line = LOOKS[labels.index(curve.label)]
            networks = [point.networks for point in curve.points]
            low, high = ([percent_of(getattr(point, end)) for point in curve.points] for end in ("least", "greatest"))
            axes.fill_between(networks, low, high, color=colour, alpha=0.2, linewidth=0)
            errors = [percent_of(point.error) for point in curve.points]
            (drawn[curve.label],) = axes.plot(networks, errors, line, color=colour, marker=marker, gid="error")
    return with_legend(figure, [(drawn[label], fit_text(label, 2.0, SMALL)) for label in labels])


def _stacked(groups: Sequence[Sequence[str]], axis: str, titles: Sequence[str] = ()) -> tuple[Figure, list[Axes]]:
    """A figure of rows with their labels to the left; a panel a group, one below the other. Row n lies at height n."""
    fitted = [[fit_text(label, 3.3, NORMAL) for label in labels] for labels in groups]
    left = 0.25 + max(text_width(label, NORMAL) for labels in fitted for label in labels)
    long = max(map(len, groups)) > 25
    top, between, bottom = 0.35 + 0.2 * long, 0.75 + 0.2 * long, 0.55
    rows = sum(map(len, groups))
    tall = min(top + rows * ROW + between * (len(groups) - 1) + bottom, TALLEST)
    figure, panels = Figure(figsize=(WIDTH, tall)), []
    row = (tall - top - bottom - between * (len(groups) - 1)) / rows
    for number, labels in enumerate(fitted):
        axes = axes_at(figure, left, top, WIDTH - left - 0.2, row * len(labels))
        top += row * len(labels) + between
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)), labels, fontsize=NORMAL)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", top=long, labeltop=long)
        axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
        for stripe in range(1, len(labels), 2):
            axes.axhspan(stripe - 0.5, stripe + 0.5, color=INK, alpha=0.05, linewidth=0)
        if titles:
            axes.set_title(fit_text(titles[number], 4.0, NORMAL), fontsize=NORMAL, weight="bold", loc="left")
        panels.append(axes)
    panels[-1].set_xlabel(axis)
    return figure, panels


def _whisker(axes: Axes, row: int, low: float, high: float, colour: str) -> None:
    """A thin interval with caps; an arrow instead of a cap where it goes on outside the axes."""
    axes.plot([low, high], [row, row], color=colour, linewidth=1.2)
    left, right = axes.get_xlim()
    inset = 0.008 * (right - left)
    for end in (low, high):
        if math.isfinite(end):
            mark = "<" if end < left else ">" if end > right else "|"
            axes.plot(min(max(end, left + inset), right - inset), row, mark, color=colour, markersize=6)
