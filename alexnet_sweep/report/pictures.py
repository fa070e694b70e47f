"""Drawings made of images: the first layer's kernels, answers beside their images, images beside their neighbours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from alexnet_sweep.kernels import OF_NOISE, Kernels, for_viewing
from alexnet_sweep.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    NORMAL,
    SMALL,
    VERMILLION,
    WIDTH,
    axes_at,
    fit_text,
    not_empty,
    style,
)

Picture = NDArray[np.uint8]  # (height, width, 3)
ACROSS = 16  # kernels in a row of the grid
EDGE = 0.2  # inches


@style()
def kernel_grid(kernels: Kernels, titles: tuple[str, str] = ("first half", "second half")) -> Figure:
    """Every kernel once, in the network's order, a block a half; below each block its kernels' colour on one scale."""
    not_empty(range(len(kernels.weights)), "kernels")
    pictures, cut = for_viewing(kernels.weights), kernels.first_half
    parts = [(title, half) for title, half in zip(titles, (slice(0, cut), slice(cut, None)), strict=True)]
    shown = [(title, half) for title, half in parts if len(pictures[half])]
    across = min(ACROSS, max(len(pictures[half]) for _, half in shown))
    cell = min((WIDTH - 2 * EDGE) / across, 0.62)
    rows = [math.ceil(len(pictures[half]) / across) for _, half in shown]
    tall = sum(0.34 + cell * count for count in rows) + 0.2 + 0.34 * len(shown) + 0.6
    figure, top = Figure(figsize=(WIDTH, tall)), 0.0
    for (title, half), count in zip(shown, rows, strict=True):
        numbers = range(len(pictures))[half]
        axes = axes_at(figure, EDGE, top + 0.3, cell * across, cell * count)
        axes.set_title(
            fit_text(f"{title}: kernels {numbers[0] + 1} to {numbers[-1] + 1}", WIDTH - 2 * EDGE, NORMAL),
            fontsize=NORMAL,
            loc="left",
        )
        _bare(axes)
        axes.imshow(_grid(pictures[half], across, count), interpolation="none", aspect="auto")
        top += 0.34 + cell * count
    _colours(axes_at(figure, 1.1, top + 0.2, WIDTH - 1.1 - EDGE, 0.34 * len(shown)), kernels, shown)
    return figure


def _grid(pictures: Picture, across: int, down: int) -> Picture:
    """The pictures side by side with clear gaps, (height, width, 4)."""
    height, width = pictures.shape[1:3]
    zoom = max(1, math.ceil(24 / width))  # so that a gap can be a fraction of a kernel's pixel
    gap = max(1, zoom * width // 12)
    grid = np.zeros((down * (height * zoom + gap), across * (width * zoom + gap), 4), np.uint8)
    for number, picture in enumerate(pictures):
        top = number // across * (height * zoom + gap)
        left = number % across * (width * zoom + gap)
        large = picture.repeat(zoom, axis=0).repeat(zoom, axis=1)
        grid[top : top + height * zoom, left : left + width * zoom] = np.dstack(
            [large, np.full(large.shape[:2], 255, np.uint8)]
        )
    return grid


def _colours(axes: Axes, kernels: Kernels, halves: Sequence[tuple[str, slice]]) -> None:
    """Each kernel's colour as a mark, each half's mean as a stroke."""
    axes.axvline(OF_NOISE, color=GREY, linewidth=1, linestyle=(0, (3, 2)))
    for row, (_, half) in enumerate(halves):
        colour = kernels.colour[half]
        colour = colour[~np.isnan(colour)]
        axes.plot(colour, [row] * len(colour), "o", color=BLUE, alpha=0.7, markersize=5, markeredgewidth=0)
        if len(colour):
            axes.plot([colour.mean()] * 2, [row - 0.33, row + 0.33], color=VERMILLION, linewidth=2.2)
    axes.set_yticks(range(len(halves)), [fit_text(title, 0.95, SMALL) for title, _ in halves])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(halves) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("colour of each kernel: 0 is grey; stroke: mean; dashed: independent noise in red, green and blue")


def _bare(axes: Axes) -> None:
    axes.set_axis_off()


@dataclass(frozen=True)
class Answered:
    """An image with its best classes, best first, and their probabilities."""

    picture: Picture
    label: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


@style()
def answers_panel(images: Sequence[Answered], across: int = 4) -> Figure:
    """Each image, its true label, and its best classes with bars as long as their probabilities (figure 4, left)."""
    not_empty(images, "images")
    gap, bar, most = 0.2, 0.22, max(len(image.classes) for image in images)
    wide = (WIDTH - gap * (across + 1)) / across
    tall = wide * 0.78
    one = 0.3 + tall + 0.08 + bar * most + 0.14
    figure = Figure(figsize=(WIDTH, one * math.ceil(len(images) / across) + 0.05))
    for number, image in enumerate(images):
        left, top = gap + number % across * (wide + gap), 0.3 + number // across * one
        axes = axes_at(figure, left + (wide - tall) / 2, top, tall, tall)
        _bare(axes)
        axes.imshow(image.picture, interpolation="none", aspect="equal")
        axes.set_title(fit_text(image.label, wide, NORMAL), fontsize=NORMAL, weight="bold")
        _bars(axes_at(figure, left, top + tall + 0.08, wide, bar * most), image, most, wide)
    return figure


def _bars(axes: Axes, image: Answered, most: int, inches: float) -> None:
    """Bars from the left, names on them; the true label's bar has another colour and a tick."""
    _bare(axes)
    axes.set_xlim(0, 1)
    axes.set_ylim(most - 0.5, -0.5)
    for row, (name, probability) in enumerate(zip(image.classes, image.probabilities, strict=True)):
        right = name == image.label
        axes.add_patch(Rectangle((0, row - 0.42), 1, 0.84, facecolor=INK, alpha=0.05, linewidth=0))
        axes.add_patch(
            Rectangle((0, row - 0.42), probability, 0.84, facecolor=GREEN if right else BLUE, alpha=0.5, linewidth=0)
        )
        weight: Any = "bold" if right else "normal"
        text = fit_text(f"{name} ✓" if right else name, inches - 0.55, SMALL)
        axes.text(0.02, row, text, fontsize=SMALL, va="center_baseline", weight=weight)
        axes.text(0.98, row, f"{100 * probability:.1f}", fontsize=SMALL, va="center_baseline", ha="right")


@dataclass(frozen=True)
class Found:
    """A picture that was found for a query, and its class."""

    picture: Picture
    label: str


@dataclass(frozen=True)
class Query:
    """An image and what several ways of looking find for it, nearest first."""

    picture: Picture
    label: str
    found: tuple[tuple[str, tuple[Found, ...]], ...]  # by the way's name


@style()
def neighbours_panel(queries: Sequence[Query]) -> Figure:
    """Each query, and a row of neighbours for each way; framed green where the class is the query's (figure 4)."""
    not_empty(queries, "queries")
    across = max(len(images) for query in queries for _, images in query.found)
    ways = max(len(query.found) for query in queries)
    named, gap, under, between = 0.75, 0.08, 0.22, 0.16
    side = min((WIDTH - 2 * EDGE - named - gap * (across + 3)) / (across + 1.25), 0.85)
    row, large = side + under, 1.25 * side
    each = ways * row + between
    tall = 0.1 + len(queries) * each
    figure = Figure(figsize=(WIDTH, tall))
    axes = axes_at(figure, 0, 0, WIDTH, tall)  # in inches, from the upper left
    for number, query in enumerate(queries):
        top = 0.1 + number * each
        _thumb(axes, EDGE, top + (ways * row - under - large) / 2, large, Found(query.picture, query.label), None)
        left = EDGE + large + 2 * gap + named
        for line, (way, images) in enumerate(query.found):
            high = top + line * row
            axes.text(left, high + side / 2, fit_text(way, named, SMALL), fontsize=SMALL, ha="right", va="center")
            for place, image in enumerate(images):
                colour = GREEN if image.label == query.label else VERMILLION
                _thumb(axes, left + gap + place * (side + gap), high, side, image, colour)
    axes.set(xlim=(0, WIDTH), ylim=(tall, 0), aspect="auto")
    _bare(axes)
    return figure


def _thumb(axes: Axes, left: float, top: float, side: float, image: Found, frame: str | None) -> None:
    """A picture with its class below; its frame, if it has one, lies around it."""
    around = (left, left + side, top + side, top)
    axes.imshow(image.picture, interpolation="none", aspect="auto", extent=around)
    if frame is not None:
        axes.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor=frame, linewidth=2.0))
    text = fit_text(image.label, side, 7.0)
    weight: Any = "bold" if frame is None else "normal"
    axes.text(left + side / 2, top + side + 0.04, text, fontsize=7.0, ha="center", va="top", weight=weight)
